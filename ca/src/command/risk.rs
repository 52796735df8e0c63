//! `curfew-ca risk`: read weights, explain a score, and hold other weights against the past.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use risk::{DEFAULT, Score, Weights};
use serde::{Deserialize, Serialize};
use wire::identifier::RequestId;
use wire::ledger::Page;
use wire::octets::plain;

use super::{say, say_bytes, say_json, talk};
use crate::admin::client::Client;
use crate::admin::risk::RiskTold;
use crate::config::Config;
use crate::risk::{Reckoned, Risk, overdue};

mod verdicts;

/// What to do with risks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the files of weights, and say what is wrong with them
    Check {
        /// A file of weights; those of the settings, when absent
        #[arg(long, value_name = "FILE")]
        weights: Option<PathBuf>,
    },
    /// Say what the risk of a request is made of, what would make it lower, and whether it comes out the same again
    ///
    /// The score is reckoned again from what was kept with the request; what was known of the time before is read again from
    /// the ledger, as of the moment of the request.
    Explain {
        /// The request, such as r42
        request: RequestId,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Reckon risks of before again, by other weights, and say how many would have been otherwise
    Compare {
        /// The file of the other weights; that of the settings that are only tried, when absent
        #[arg(long, value_name = "FILE")]
        weights: Option<PathBuf>,
        /// From how long ago on
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = crate::config::duration)]
        since: std::time::Duration,
        /// From which risk on policy asks for more
        #[arg(long, value_name = "RISK", default_value_t = 70)]
        at: u8,
        /// A JSON object for each
        #[arg(long)]
        json: bool,
    },
    /// Say whether scores foresaw what reviewers found: how many sessions that were not in order had a high one, and which had not
    Verdicts {
        /// From how long ago on
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = crate::config::duration)]
        since: std::time::Duration,
        /// From which risk on it is a high one
        #[arg(long, value_name = "RISK", default_value_t = 70)]
        at: u8,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the weights that are in force where there is no file
    Default,
}

/// How a comparison went.
#[derive(Debug, Default)]
struct Compared {
    all: u64,
    raised: u64,
    lowered: u64,
    unknown: u64,
}

/// One risk by two files of weights.
#[derive(Debug, Serialize)]
struct Line<'a> {
    entry: u64,
    identity: &'a str,
    before: u8,
    after: u8,
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Check { weights: Some(file) } => good(&read(&file)?, &file),
            Self::Check { weights: None } => check(config),
            Self::Explain { request, json } => explain(config, (request, json)),
            Self::Compare { weights, since, at, json } => {
                let file = weights.unwrap_or_else(|| config.risk_trial_file.clone());
                compare(config, (&read(&file)?, at), (since, json))
            }
            Self::Verdicts { since, at, json } => {
                let since = crate::clock::now().before(since);
                talk(config, async |client| verdicts::show(client, (since, at), json).await)
            }
            Self::Default => say_bytes(DEFAULT.as_bytes()),
        }
    }
}

/// Reads the files of the settings, and says how they are.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let risk = Risk::read(&config.risk_file, &config.risk_trial_file)?;
    if config.risk_file.exists() {
        good(risk.weights(), &config.risk_file)?;
    } else {
        let file = config.risk_file.display();
        say(&format!(
            "{file}: there is no such file; the weights that come with the program hold"
        ))?;
    }
    match risk.trial() {
        Some(trial) => good(trial, &config.risk_trial_file),
        None => Ok(()),
    }
}

fn read(file: &Path) -> anyhow::Result<Weights> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Weights::parse(&text).with_context(|| file.display().to_string())
}

fn good(weights: &Weights, file: &Path) -> anyhow::Result<()> {
    let (file, name, hash) = (file.display(), plain(weights.name()), weights.hash());
    say(&format!("{file}: good, {name:?}, {hash}"))?;
    match overdue(weights, crate::clock::now()) {
        Some(overdue) => say(&format!("{file}: {overdue}"))?,
        None if weights.review_by().is_none() => say(&format!(
            "{file}: it names no `review_by`, a day such as 2027-06-01, so nobody is reminded to look at it again"
        ))?,
        None => {}
    }
    let unnamed: Vec<&str> = weights.unnamed().map(risk::Factor::name).collect();
    if unnamed.is_empty() {
        return Ok(());
    }
    say(&format!(
        "{file}: these factors count nothing, as it does not name them: {}",
        unnamed.join(", ")
    ))
}

fn explain(config: &Config, (request, json): (RequestId, bool)) -> anyhow::Result<()> {
    talk(config, async |client| {
        let told: RiskTold = client.read(&format!("/admin/requests/{request}/risk")).await?;
        if json {
            return say_json(&told);
        }
        let score = told.kept.in_force();
        say(&format!(
            "risk of {request}: {} ({:?}, weights {})",
            score.score,
            plain(&score.name),
            score.weights
        ))?;
        parts(score)?;
        say(&format!("how much it rests on what they did before: {} of 100", score.confidence))?;
        for missing in &score.missing {
            say(&format!("not known, and counted in full: {}", plain(missing)))?;
        }
        for one in &told.otherwise {
            let by = score.score.saturating_sub(one.score);
            say(&format!("-{by:<4} {}", plain(&one.says)))?;
        }
        if !told.has_weights {
            say(
                "other weights are in force by now; `curfew-ca ledger search --kind risk_changed` has those of then",
            )?;
        }
        if let Some(other) = told.kept.other() {
            say(&format!("the other weights say {} ({:?})", other.score, plain(&other.name)))?;
        }
        say(if told.is_same {
            "reckoned again as of then: the same"
        } else {
            "reckoned again as of then: not the same; what it rests on is with the request (--json)"
        })
    })
}

fn parts(score: &Score) -> anyhow::Result<()> {
    for part in &score.parts {
        let points = format!("{}.{}", part.milli / 1_000, part.milli % 1_000 / 100);
        say(&format!("+{points:<5} {:14} {}", part.factor.name(), plain(&part.says)))?;
    }
    if score.relief > 0 {
        say(&format!("-{:<5} {:14} who asks is on call", score.relief, "relief"))?;
    }
    Ok(())
}

fn compare(
    config: &Config,
    (weights, at): (&Weights, u8),
    (since, json): (std::time::Duration, bool),
) -> anyhow::Result<()> {
    let since = crate::clock::now().before(since);
    talk(config, async |client| {
        let mut compared = Compared::default();
        each(client, since, &mut compared, |entry, kept, compared| {
            let (before, after) = (kept.score(), risk::score(kept.case(), weights).score);
            compared.count((before, after), at);
            if !json && (before >= at) == (after >= at) {
                return Ok(());
            }
            let identity = kept.case().who.name.as_str();
            if json {
                return say_json(&Line { entry, identity, before, after });
            }
            say(&format!("#{entry}  {}: was {before}; would be {after}", plain(identity)))
        })
        .await?;
        if !json {
            say(&compared.in_words(at))?;
        }
        match compared.raised.saturating_add(compared.lowered) {
            0 => Ok(()),
            count => bail!("{count} risks would have been on the other side of {at}"),
        }
    })
}

impl Compared {
    fn count(&mut self, (before, after): (u8, u8), at: u8) {
        self.all = self.all.saturating_add(1);
        let place = match (before >= at, after >= at) {
            (false, true) => &mut self.raised,
            (true, false) => &mut self.lowered,
            _ => return,
        };
        *place = place.saturating_add(1);
    }

    fn in_words(&self, at: u8) -> String {
        let Self { all, raised, lowered, unknown } = self;
        format!(
            "{all} risks; {raised} would have been {at} or more that were less, {lowered} less that were more; {unknown} entries hold none"
        )
    }
}

/// Every risk that was kept from a moment on, in order.
async fn each(
    client: &Client,
    since: wire::time::Timestamp,
    compared: &mut Compared,
    mut work: impl FnMut(u64, &Reckoned, &mut Compared) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for kind in ["request_made", "certificate"] {
        let mut after = 0;
        loop {
            let millis = since.millis();
            let path = format!("/v1/entries?after={after}&kind={kind}&since_millis={millis}");
            let page: Page = client.read(&path).await?;
            for entry in &page.entries {
                let leaf = wire::log::Leaf::from_bytes(entry.leaf.as_bytes())?;
                let body = entry.body.as_ref().map(|body| serde_json::from_str(&body.text));
                match body.transpose()? {
                    Some(Body { risk: Some(kept) }) => work(leaf.seq, &kept, compared)?,
                    _ => compared.unknown = compared.unknown.saturating_add(1),
                }
            }
            if page.reached >= page.size || page.reached <= after {
                break;
            }
            after = page.reached;
        }
    }
    Ok(())
}

/// What is read of a body.
#[derive(Deserialize)]
struct Body {
    risk: Option<Reckoned>,
}
