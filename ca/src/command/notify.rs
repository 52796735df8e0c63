//! `curfew-ca notify`: those whom the authority tells what goes on, `[[notify]]` in the settings.

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::{list, say, say_table};
use crate::clock;
use crate::config::Config;
use crate::config::notify::{NotifyAt, Way};
use crate::notice::receiver::Receiver;
use crate::notice::{Event, Notice};
use crate::x509::Root;

/// What to do with them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who is told, how, and of what
    List,
    /// Tell them something, and see whether it arrives
    ///
    /// Credentials of systemd are there for the service alone; run this in the same way then:
    /// `systemd-run --pipe --wait --property=User=curfew-ca --property=LoadCredentialEncrypted=NAME curfew-ca notify test`.
    Test {
        /// Which one; all, when absent
        receiver: Option<String>,
    },
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::List => listed(config),
            Self::Test { receiver } => test(config, receiver.as_deref()),
        }
    }
}

fn listed(config: &Config) -> anyhow::Result<()> {
    if config.notify.is_empty() {
        return say("Nobody is told: there is no [[notify]] in the settings.");
    }
    let row = |at: &NotifyAt| {
        let way = match &at.way {
            Way::Command(words) => words.first().cloned().unwrap_or_default(),
            Way::Post { .. } => "post".to_owned(),
        };
        vec![at.name.clone(), way, list(at.events.iter().map(|event: &Event| event.as_str()))]
    };
    let rows: Vec<Vec<String>> = config.notify.iter().map(row).collect();
    say_table(&["RECEIVER", "HOW", "EVENTS"], &rows)
}

fn test(config: &Config, only: Option<&str>) -> anyhow::Result<()> {
    let mut chosen: Vec<NotifyAt> = config.notify.clone();
    chosen.retain(|at| only.is_none_or(|name| name == at.name));
    if chosen.is_empty() {
        bail!("there is no such [[notify]] in the settings; `curfew-ca notify list` shows them");
    }
    let notice = Notice::test(&Root::read(&config.state_dir)?.fingerprint(), clock::now());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let mut failures = Vec::new();
    for at in chosen {
        let receiver = Receiver::open(at)?;
        let told = runtime.block_on(receiver.tell(&notice, clock::now()));
        match told {
            Ok(()) => say(&format!("{}: told", receiver.name()))?,
            Err(untold) => failures.push(format!("{}: {untold}", receiver.name())),
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("not told: {}", failures.join("; ")) }
}
