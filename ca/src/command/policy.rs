//! `curfew-ca policy`: read policies before they are in force, put their cases to them, and hold them against the past.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use policy::{
    Act, Being, DEFAULT, Explained, Outcome, Question, Requirement, Verdict, Who, nearest,
};
use wire::identifier::{NameError, RequestId};

use super::{say, say_bytes, say_json, talk};
use crate::config::Config;
use crate::policy::{Origin, Policy};
use crate::role::Roles;

#[path = "policy/past.rs"]
mod past;

use past::{Past, Replayed};

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read policies, and say what is wrong with them: file, line and what to write instead
    Check {
        #[command(flatten)]
        which: Which,
    },
    /// Put the cases beside the policies (*.test.toml) to them
    Test {
        #[command(flatten)]
        which: Which,
    },
    /// Decide again what was decided before, by other policies, and list what would have been otherwise
    ///
    /// Certificates and denials are decided with what was known then: teams, roles, labels, approvals, the hour. Exit code 1
    /// when something would have been otherwise.
    Backtest {
        #[command(flatten)]
        which: Which,
        /// From how long ago on
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = crate::config::duration)]
        since: std::time::Duration,
        /// A JSON object for each decision that would have been otherwise
        #[arg(long)]
        json: bool,
    },
    /// Say what a decision rested on, why it was so, and what the policies say of it now
    ///
    /// Of a request: what they would say to a certificate under it now, host by host and login by login, with the approvals
    /// that are there, without a second factor.
    Explain {
        #[command(flatten)]
        which: Which,
        /// A request such as r42; or the number of an entry in the ledger, which `curfew-ca ledger search` names
        #[arg(value_name = "REQUEST|ENTRY")]
        about: About,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the policy that is in force where there is no folder
    Default,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// A decision of before.
    Entry(u64),
    /// A request as it stands.
    Request(RequestId),
}

impl FromStr for About {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse() {
            Ok(entry) => Ok(Self::Entry(entry)),
            Err(_no_number) => text.parse().map(Self::Request),
        }
    }
}

/// Which policies.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// A folder of policies; the one of the settings, when absent
    #[arg(long = "policy", value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Check { which } => {
                let (policy, folder) = which.read(config)?;
                say(&good(&policy, folder))?;
                let roles = Roles::read(&config.roles_file)?;
                doubts(&policy, &roles).iter().try_for_each(|doubt| say(doubt))
            }
            Self::Test { which } => {
                let (policy, folder) = which.read(config)?;
                match test(&policy, folder)? {
                    0 => bail!("{}: there is no *.test.toml file in it", folder.display()),
                    _ => Ok(()),
                }
            }
            Self::Backtest { which, since, json } => backtest(config, &which, (since, json)),
            Self::Explain { which, about: About::Entry(entry), json } => {
                explain(config, &which, (entry, json))
            }
            Self::Explain { which, about: About::Request(request), json } => {
                explain_request(config, &which, (request, json))
            }
            Self::Default => say_bytes(DEFAULT.as_bytes()),
        }
    }
}

impl Which {
    fn read<'a>(&'a self, config: &'a Config) -> anyhow::Result<(Policy, &'a Path)> {
        let folder = self.folder.as_deref().unwrap_or(&config.policy_dir);
        let policy = Policy::read(folder, config.time_zone.clone())?;
        if self.folder.is_some() && policy.origin() == Origin::Default {
            bail!("{}: there is no such folder", folder.display());
        }
        Ok((policy, folder))
    }
}

/// A policy that was read, in words.
pub(crate) fn good(policy: &Policy, folder: &Path) -> String {
    let (set, folder) = (policy.set(), folder.display());
    match policy.origin() {
        Origin::Folder => format!("{folder}: good, {} policies, {}", set.len(), set.hash()),
        Origin::Default => format!(
            "{folder}: there is no such folder; the default policy is in force, which gives members of a role what it gives"
        ),
    }
}

/// What policies name that nobody has defined, and what they forgot: nothing else would say so until it is needed.
pub(crate) fn doubts(policy: &Policy, roles: &Roles) -> Vec<String> {
    let known: Vec<&str> = roles.iter().map(|(name, _)| name.as_str()).collect();
    let absent = |name: &str, place: (&str, usize)| {
        let meant = nearest(name, known.iter().copied());
        let meant = meant.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        format!("{}:{}: there is no role {name:?}{meant}", place.0, place.1)
    };
    let named = policy.set().mentions("Role");
    named
        .filter(|(name, ..)| !known.contains(&name.as_str()))
        .map(|(name, file, line)| absent(&name, (file, line)))
        .chain(forgotten(policy))
        .collect()
}

/// What operators do, and no policy speaks of: only whoever is on the authority's machine can do it then.
fn forgotten(policy: &Policy) -> impl Iterator<Item = String> {
    let nobody = |(act, name): &(Act, &str)| {
        let who = Who {
            name: "an operator".into(),
            kind: Being::Person,
            teams: BTreeSet::new(),
            roles: BTreeSet::new(),
            disabled: false,
            operator: true,
        };
        let moment = policy.moment(crate::clock::now());
        let question = Question { who, act: act.clone(), moment, mfa_age: Some(1) };
        let is_named = policy.set().mentions("Action").any(|(action, ..)| action == *name);
        !is_named && matches!(policy.set().decide(&question), Verdict::NotEligible)
    };
    let acts = [(Act::Lock, "lock"), (Act::Administer, "administer"), (Act::Export, "export")];
    acts.into_iter().filter(nobody).collect::<Vec<_>>().into_iter().map(|(act, name)| {
        let words = act.words();
        format!(
            "no policy lets anybody {words}, operators included: permit the action {name:?}, or it can be done on the \
             authority's machine alone"
        )
    })
}

/// Puts the cases to a policy, says how each went, and how many there were; an error when one went wrong.
pub(crate) fn test(policy: &Policy, folder: &Path) -> anyhow::Result<usize> {
    let cases = policy.cases(folder)?;
    let outcomes: Vec<Outcome> = cases.iter().flat_map(|cases| cases.run(policy.set())).collect();
    let mut failed: usize = 0;
    for outcome in &outcomes {
        if let Some(what) = &outcome.failed {
            failed = failed.saturating_add(1);
            let file = folder.join(&outcome.file);
            say(&format!("{}:{}: {:?}: {what}", file.display(), outcome.line, outcome.name))?;
        }
    }
    if failed > 0 {
        bail!("{failed} of {} cases failed", outcomes.len());
    }
    if !outcomes.is_empty() {
        say(&format!("{}: {} cases, all as expected", folder.display(), outcomes.len()))?;
    }
    Ok(outcomes.len())
}

fn backtest(
    config: &Config,
    which: &Which,
    (since, json): (std::time::Duration, bool),
) -> anyhow::Result<()> {
    let (policy, folder) = which.read(config)?;
    let since = crate::clock::now().before(since);
    let mut replayed = Replayed::default();
    talk(config, async |client| {
        let gaps = past::gaps(client, since).await?;
        let mut about: BTreeMap<u64, Option<Verdict>> =
            gaps.iter().map(|gap| (gap.serial(), None)).collect();
        let unknown = past::each(client, since, |past| {
            let after = policy.set().decide(past.question());
            if let Some(said) = past.serial().and_then(|serial| about.get_mut(&serial)) {
                *said = Some(after.clone());
            }
            if replayed.count(past, &after) {
                if json {
                    say_json(&past.otherwise(&after))?;
                } else {
                    say(&past.in_words(&after))?;
                }
            }
            Ok(())
        })
        .await?;
        replayed.unknown = unknown;
        for gap in &gaps {
            let after = about.get(&gap.serial()).and_then(Option::as_ref);
            if json {
                say_json(&serde_json::json!({ "gap": gap, "after": after }))?;
            } else {
                say(&gap.in_words(after))?;
            }
        }
        Ok(())
    })?;
    if !json {
        say(&format!("{}: {}", folder.display(), replayed.in_words()))?;
    }
    match replayed.otherwise() {
        0 => Ok(()),
        count => bail!("{count} decisions would have been otherwise"),
    }
}

fn explain(config: &Config, which: &Which, (entry, json): (u64, bool)) -> anyhow::Result<()> {
    let (policy, folder) = which.read(config)?;
    talk(config, async |client| {
        let past: Past = past::of(client, entry).await?;
        let now = policy.set().explain(past.question());
        if json {
            return say_json(&past.explained(&now));
        }
        show(&past, &now, &good(&policy, folder))
    })
}

fn explain_request(
    config: &Config,
    which: &Which,
    (request, json): (RequestId, bool),
) -> anyhow::Result<()> {
    let (policy, folder) = which.read(config)?;
    talk(config, async |client| {
        let questions: Vec<Question> =
            client.read(&format!("/admin/requests/{request}/questions")).await?;
        for question in &questions {
            let now = policy.set().explain(question);
            if json {
                say_json(
                    &serde_json::json!({"request": request, "question": question, "now": now}),
                )?;
                continue;
            }
            let (Act::Issue(access) | Act::Request(access)) = &question.act else { continue };
            say(&format!("{request}: {} on {}", access.login, access.host.name))?;
            facts(question).context("the question cannot be shown")?;
            reasons(&now)?;
        }
        if json { Ok(()) } else { say(&good(&policy, folder)) }
    })
}

fn show(past: &Past, now: &Explained, policy: &str) -> anyhow::Result<()> {
    say(&past.head())?;
    facts(past.question()).context("the question cannot be shown")?;
    say(&format!("then      {} (policy {})", past.verdict(), past.set()))?;
    reasons(now)?;
    say(policy)
}

/// What the policies say, and each requirement that applies.
fn reasons(now: &Explained) -> anyhow::Result<()> {
    say(&format!("now       {}", now.verdict))?;
    let missing = match &now.verdict {
        Verdict::Missing(missing) => missing.as_slice(),
        Verdict::Allowed { .. } | Verdict::NotEligible | Verdict::Refused(_) => &[],
    };
    let line =
        |mark: &str, one: &Requirement| say(&format!("  {mark} {:24} {}", one.id, one.advice));
    missing.iter().try_for_each(|one| line("-", one))?;
    now.met.iter().try_for_each(|one| line("+", one))
}

/// What was known, a line each.
fn facts(question: &Question) -> anyhow::Result<()> {
    let serde_json::Value::Object(parts) = serde_json::to_value(question)? else {
        return Ok(());
    };
    for (name, value) in parts {
        say(&format!("{name:9} {}", wire::octets::plain(&value.to_string())))?;
    }
    Ok(())
}
