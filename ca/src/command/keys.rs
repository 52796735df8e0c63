//! `curfew-ca keys`: which keys sign, which are believed, and the way from one to the next.

use clap::Subcommand;
use wire::identifier::{Fingerprint, HostName};
use wire::time::Timestamp;

use super::{list, say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::keys::{
    KeyStep, KeyView, KeysMoved, KeysView, MakeRecording, MoveKeys, RecordingMade,
};
use crate::key::Purpose;
use crate::rotation::{Confirmation, Stage};

/// What to do with the authority's own keys.
///
/// A rotation has two steps of `rotate` and one of `retire`: the next key is announced; when every host believes it, it
/// signs; when nothing is valid any more that the former key signed, that key is retired. `revert` goes one step back.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys, their phases, and the hosts that have not confirmed them
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One step on: make the next key and announce it to hosts, or let the announced key sign
    Rotate(Step),
    /// One step back: let the former key sign again, or give up the announced one
    Revert(Step),
    /// Stop believing the key that signed before, or a compromised one at once
    Retire {
        #[command(flatten)]
        step: Step,
        /// This key is compromised: no host believes it any more, what it signed for users is locked, and its sessions end
        #[arg(long, value_name = "FINGERPRINT")]
        compromised: Option<Fingerprint>,
    },
    /// Make a new key to record terminals to, and tell hosts: the first one, or the next
    Record {
        /// Why; it is recorded
        #[arg(long, value_name = "TEXT", default_value = "rotation")]
        reason: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// What every step takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Step {
    /// Which key: user, host, order or log
    #[arg(value_enum)]
    purpose: Purpose,
    /// Do not wait for this host; it is recorded
    #[arg(long, value_name = "HOST")]
    without: Vec<HostName>,
    /// Let the key end although certificates that it signed are still valid; their logins are refused
    #[arg(long)]
    before_certificates_end: bool,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "rotation")]
    reason: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let (step, what) = match self {
            Self::List { all, json } => return show(&client.read("/admin/keys").await?, all, json),
            Self::Record { reason, json } => return record(client, reason, json).await,
            Self::Rotate(step) => (step, KeyStep::Rotate),
            Self::Revert(step) => (step, KeyStep::Revert),
            Self::Retire { step, compromised: None } => (step, KeyStep::Retire),
            Self::Retire { step, compromised: Some(key) } => (step, KeyStep::Compromise(key)),
        };
        let Step { purpose, without, before_certificates_end: early, reason, json } = step;
        let without = without.into_iter().collect();
        let ask = MoveKeys { purpose, step: what, without, early, reason };
        let moved: KeysMoved = client.send("/admin/keys", &ask).await?;
        if json {
            return say_json(&moved);
        }
        say(&format!("Recorded; hosts hear of it by order {}.", moved.order))?;
        say("")?;
        show(&moved.keys, false, false)?;
        say("")?;
        say(&next(&moved.keys, purpose))
    }
}

async fn record(client: &Client, reason: String, json: bool) -> anyhow::Result<()> {
    let made: RecordingMade =
        client.send("/admin/keys/recording", &MakeRecording { reason }).await?;
    if json {
        return say_json(&made);
    }
    say(&format!(
        "Terminals are recorded to {} from now on; hosts hear of it by order {}.",
        made.key, made.order
    ))?;
    say(
        "Keys from before open what was recorded to them: keep their files, and back up the new one.",
    )
}

fn show(view: &KeysView, all: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(view);
    }
    let is_over = |key: &&KeyView| matches!(key.stage, Stage::Retired | Stage::Compromised);
    let rows: Vec<Vec<String>> =
        view.keys.iter().filter(|key| all || !is_over(key)).map(|key| row(view, key)).collect();
    say_table(&HEAD, &rows)?;
    if view.unconfirmed.is_empty() {
        return Ok(());
    }
    say("")?;
    say(&format!("Not confirmed: {}", list(view.unconfirmed.iter().map(missing))))
}

fn row(view: &KeysView, key: &KeyView) -> Vec<String> {
    let confirmed = view.hosts.saturating_sub(view.unconfirmed.len());
    let hosts = match key.stage {
        Stage::Retired | Stage::Compromised => "-".into(),
        _ => format!("{confirmed} of {}", view.hosts),
    };
    vec![
        key.purpose.word().into(),
        key.slot.clone(),
        key.backend.clone().unwrap_or_else(|| "absent".into()),
        key.kind.clone().unwrap_or_else(|| "absent".into()),
        key.fingerprint.to_string(),
        stage(key.stage).into(),
        shown(key.since),
        hosts,
        left(key.certificates_until, view.at),
    ]
}

const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Signing => "signs",
        Stage::Next => "announced",
        Stage::Previous => "believed",
        Stage::Retired => "retired",
        Stage::Compromised => "compromised",
    }
}

/// How long certificates are valid yet that rest on the key.
fn left(until: Option<Timestamp>, now: Timestamp) -> String {
    let Some(until) = until.filter(|until| *until > now) else { return "none".into() };
    let secs = until.since(now).as_secs();
    match (secs / 86_400, secs / 3_600, secs / 60) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, _) => format!("{hours}h"),
        (days, ..) => format!("{days}d"),
    }
}

fn missing((host, why): &(HostName, Confirmation)) -> String {
    match why {
        Confirmation::TooOld => format!("{host} (its agent is too old to be told)"),
        _ => host.to_string(),
    }
}

/// What comes after, in words.
fn next(view: &KeysView, purpose: Purpose) -> String {
    let word = purpose.word();
    let phase = view.phases.iter().find(|(of, _)| *of == purpose).map(|(_, phase)| phase.as_str());
    match phase {
        Some("announced") => format!(
            "When `curfew-ca keys list` says that all hosts have confirmed: `curfew-ca keys rotate {word}` lets the new \
             key sign. Back: `curfew-ca keys revert {word}`."
        ),
        Some("signing") => format!(
            "The new key signs. When no certificate of the former is left: `curfew-ca keys retire {word}`. Back: \
             `curfew-ca keys revert {word}`."
        ),
        _ => "Nothing is under way for this key now. Files of keys that are over can be removed."
            .into(),
    }
}

const HEAD: [&str; 9] = [
    "PURPOSE",
    "KEPT AS",
    "BACKEND",
    "TYPE",
    "FINGERPRINT",
    "PHASE",
    "SINCE",
    "HOSTS CONFIRMED",
    "CERTIFICATES LEFT",
];
