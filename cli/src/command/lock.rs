//! `curfew lock`: no access for someone or something, at once and everywhere, until it is lifted.

use anyhow::Result;
use wire::api::OrderProgress;
use wire::lock::{self, Target};
use wire::network::NetworkError;
use wire::request::Sentence;

use std::time::Duration;

use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::progress::{self, Kind, Teller};
use crate::render::{Screen, Tone};

/// End all access of someone or something, at once
///
/// `curfew lock ana@example.com --reason …` locks an identity. Others are named by kind: identity, grant, certificate,
/// key, session, host, role, login, network. New logins are refused and running sessions are killed. Then it is shown what that
/// took on each host, as its agent signed it: processes by step, and of work that was handed to daemons. The exit code is 0
/// only when every host has finished and nothing survived.
#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    /// What to lock: an identity, or KIND VALUE
    #[arg(required = true, num_args = 1..=2, value_names = ["[KIND] VALUE"])]
    target: Vec<String>,
    /// Why; shown to whoever is ended
    #[arg(long)]
    reason: String,
    /// Lift it by itself after this long, such as 2h
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<Span>,
    /// How long to wait for hosts
    #[arg(long, value_name = "SPAN", default_value = "10s")]
    wait: Span,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Lock {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let target = target(&self.target)?;
        let reason = reason(self.reason)?;
        let until = self.span.map(|span| clock::now().after(span.duration()));
        let mut client = Client::of(&Home::find()?)?;
        let ordered: OrderProgress =
            client.post("/v1/locks", &lock::Lock { target: target.clone(), reason, until })?;
        if !self.json {
            screen.line(&format!("Locked {target} (order {}).", ordered.order))?;
        }
        follow(
            &mut client,
            ordered,
            Kind::Lock,
            &Watch { patience: self.wait.duration(), json: self.json },
            screen,
        )
    }
}

/// How to follow an order.
pub(crate) struct Watch {
    /// For how long.
    pub(crate) patience: Duration,
    /// Whether a program reads along.
    pub(crate) json: bool,
}

/// Tells how `progress` goes on until it is complete or the patience is over.
pub(crate) fn follow(
    client: &mut Client,
    mut progress: OrderProgress,
    kind: Kind,
    watch: &Watch,
    screen: &Screen,
) -> Result<Exit> {
    let deadline = clock::now().after(watch.patience);
    let mut teller = Teller::default();
    loop {
        let told = teller.news(&progress, kind);
        if !watch.json {
            tell(&told, screen)?;
        }
        let left = deadline.since(clock::now()).min(LONGEST_POLL);
        if (progress.complete && progress.kills_are_in()) || left.is_zero() {
            break;
        }
        // An authority of a version that does not tell of kills does not know the word either.
        let tells = progress.hosts.iter().any(|host| host.kills.is_some());
        let kills = if tells { "&kills=true" } else { "" };
        let path = format!("/v1/orders/{}?wait_millis={}{kills}", progress.order, left.as_millis());
        progress = client.get_slow(&path, left)?;
    }
    if watch.json {
        screen.json(&progress)?;
    } else {
        tell(&progress::unfinished(&progress, kind), screen)?;
        tell(&progress::steps(&progress), screen)?;
        let tone = if progress::is_success(&progress, kind) { Tone::Good } else { Tone::Bad };
        screen.toned(tone, &progress::summary(&progress, kind))?;
    }
    Ok(if progress::is_success(&progress, kind) { Exit::Done } else { Exit::Failure })
}

fn tell(sentences: &[(Tone, String)], screen: &Screen) -> Result<()> {
    for (tone, sentence) in sentences {
        screen.toned(*tone, &format!("  {sentence}"))?;
    }
    Ok(())
}

/// `VALUE` is an identity; `KIND VALUE` is what it says.
pub(crate) fn target(words: &[String]) -> Result<Target, Fault> {
    let (kind, value) = match words {
        [value] if KINDS.contains(&value.as_str()) => {
            return Err(Fault::Usage(format!("which {value}? write: {value} VALUE")));
        }
        [value] => ("identity", value),
        [kind, value] => (kind.as_str(), value),
        _ => return Err(Fault::Usage("name one thing: an identity, or KIND VALUE".into())),
    };
    let target = match kind {
        "identity" => value.parse().map(Target::Identity),
        "grant" => value.parse().map(Target::Grant),
        "serial" | "certificate" => value.parse().map(Target::Serial),
        "key" => value.parse().map(Target::Key),
        "session" => value.parse().map(Target::Session),
        "host" => value.parse().map(Target::Host),
        "role" => value.parse().map(Target::Role),
        "login" => value.parse().map(Target::Login),
        "network" => {
            return value
                .parse()
                .map(Target::Network)
                .map_err(|error: NetworkError| Fault::Usage(error.to_string()));
        }
        _ => {
            let known = KINDS.join(", ");
            return Err(Fault::Usage(format!(
                "{kind:?} is no kind of thing to lock; there are {known}"
            )));
        }
    };
    target.map_err(|error| Fault::Usage(error.to_string()))
}

/// A reason that says something and is no longer than is kept.
pub(crate) fn reason(text: String) -> Result<String, Fault> {
    match Sentence::check(&text) {
        Ok(()) => Ok(text),
        Err(flaw) => Err(Fault::Usage(format!("--reason {flaw}; say why, in one line"))),
    }
}

const KINDS: [&str; 10] = [
    "identity",
    "grant",
    "certificate",
    "serial",
    "key",
    "session",
    "host",
    "role",
    "login",
    "network",
];
/// One question to the authority waits no longer than this, whatever the patience.
const LONGEST_POLL: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use wire::request::MAX_SENTENCE;

    fn read(words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        target(&words).map(|target| target.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_target_is_an_identity_or_a_kind_and_a_value() {
        assert_eq!(read(&["ana@example.com"]).unwrap(), "identity ana@example.com");
        assert_eq!(read(&["grant", "g17"]).unwrap(), "grant g17");
        assert_eq!(read(&["certificate", "7"]).unwrap(), "certificate 7");
        assert_eq!(read(&["session", "00000000000000a1"]).unwrap(), "session 00000000000000a1");
        assert_eq!(read(&["host", "db1"]).unwrap(), "host db1");
    }

    #[test]
    fn half_a_target_and_a_wrong_one_are_refused_with_what_to_write() {
        assert_eq!(read(&["grant"]).unwrap_err(), "which grant? write: grant VALUE");
        assert!(read(&["person", "ana"]).unwrap_err().contains("there are identity, grant"));
        assert_eq!(read(&["grant", "17"]).unwrap_err(), "grant is not gN");
    }

    #[test]
    fn a_reason_says_something() {
        assert!(reason("  ".into()).is_err());
        assert!(reason("x".repeat(MAX_SENTENCE + 1)).is_err());
        assert!(reason("a\u{202e}b".into()).unwrap_err().to_string().contains("U+202E"));
        assert!(reason("left the company".into()).is_ok());
    }
}
