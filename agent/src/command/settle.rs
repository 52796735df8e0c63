//! `curfew-agent settle`: root decides a dispute with the ledger.

use anyhow::{Context as _, bail};
use clap::Args;
use wire::gate::{Answer, Question};

use super::{Exit, table};
use crate::config::Config;

/// What root decides, and why.
#[derive(Debug, Args)]
pub(crate) struct Settle {
    /// Go on from the tree that the ledger offered: it was restored on purpose.
    #[arg(long, conflicts_with = "keep", required_unless_present = "keep")]
    accept: bool,
    /// Go on from the tree that this host knows: what was offered was false, and the ledger is as it was again.
    #[arg(long)]
    keep: bool,
    /// Why; it is recorded, and sent to the authority.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

impl Settle {
    pub(crate) fn perform(self, config: &Config) -> anyhow::Result<Exit> {
        let question = Question::Settle { accept: self.accept, reason: self.reason };
        let answer = ask::ask(&config.run_dir.join("gate.sock"), &question)
            .context("the agent was not reached; nothing was decided")?;
        match answer {
            Answer::Permit => table::say("settled; the next checkpoint must continue this tree")?,
            Answer::Refuse(why) if why.is_empty() => bail!("only root settles a dispute"),
            Answer::Refuse(why) => bail!("{why}"),
            Answer::Principals(_) | Answer::Outside | Answer::Explained(_) => {
                bail!("the agent answered something else")
            }
        }
        Ok(Exit::Ok)
    }
}
