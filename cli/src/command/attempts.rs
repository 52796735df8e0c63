//! `curfew attempts`.

use anyhow::Result;
use wire::attempt::{AttemptView, Door};
use wire::identifier::{Address, Identity};
use wire::octets::plain;
use wire::time::Timestamp;

use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment};
use crate::url::escaped;

/// List logins and certificates that were refused, and why
///
/// You see those with your own certificates; an operator sees everybody's. Attempts that are alike are one line with their
/// number.
#[derive(Debug, clap::Args)]
pub(crate) struct Attempts {
    /// Only those on this host
    #[arg(long)]
    host: Option<Address>,
    /// Only those of this identity
    #[arg(long)]
    identity: Option<Identity>,
    /// Only those of the last such span, as in 30m or 12h
    #[arg(long, value_name = "SPAN")]
    since: Option<Span>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Attempts {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let now = clock::now();
        let mut asked = Vec::new();
        asked.extend(self.host.as_ref().map(|host| format!("host={host}")));
        asked.extend(
            self.identity
                .as_ref()
                .map(|identity| format!("identity={}", escaped(identity.as_str()))),
        );
        asked.extend(
            self.since.map(|span| format!("since_secs={}", now.before(span.duration()).secs())),
        );
        let path = format!("/v1/attempts?{}", asked.join("&"));
        let attempts: Vec<AttemptView> = Client::of(&Home::find()?)?.get(&path)?;
        if self.json {
            screen.json(&attempts)?;
        } else if attempts.is_empty() {
            screen.line("No attempt was refused.")?;
        } else {
            screen.table(&table(&attempts, now))?;
        }
        Ok(Exit::Done)
    }
}

/// Why this certificate was refused, if a host has said so by then; asked for as long as a host may take to tell.
pub(crate) fn why(
    client: &mut Client,
    (serial, since): (u64, Timestamp),
) -> Result<Option<AttemptView>> {
    let wait = std::time::Duration::from_secs(3);
    let (since, millis) = (since.secs(), wait.as_millis());
    let path = format!("/v1/attempts?serial={serial}&since_secs={since}&wait_millis={millis}");
    let attempts: Vec<AttemptView> = client.get_slow(&path, wait)?;
    Ok(attempts.into_iter().next())
}

fn table(attempts: &[AttemptView], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "LAST", "TIMES", "IDENTITY", "LOGIN", "HOST", "FROM", "SERIAL", "BY", "REASON",
    ]);
    for attempt in attempts {
        let identity = match &attempt.identity {
            Some(identity) => Cell::toned(Tone::Strong, identity.as_str()),
            None => Cell::toned(Tone::Faint, "unknown"),
        };
        table.row(vec![
            moment::relative(attempt.last, now).into(),
            attempt.count.to_string().into(),
            identity,
            attempt.login.display().to_string().into(),
            attempt.host.as_str().into(),
            plain(&attempt.remote).into(),
            if attempt.serial == 0 { String::new() } else { attempt.serial.to_string() }.into(),
            door(attempt.by).into(),
            reason(attempt).into(),
        ]);
    }
    table
}

fn reason(attempt: &AttemptView) -> String {
    let when = match attempt.within {
        Some(false) => " (outside the grant's time)",
        Some(true) | None => "",
    };
    format!("{}{when}", plain(&attempt.reason))
}

const fn door(by: Door) -> &'static str {
    match by {
        Door::Authority => "the authority",
        Door::Gate => "the host",
        Door::Sshd => "sshd",
        Door::Unfinished => "nobody",
        Door::Other => "?",
    }
}
