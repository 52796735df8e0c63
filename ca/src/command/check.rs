//! `curfew-ca check`: settings, roles and policy, before they are put in force.

use std::path::Path;

use clap::Args;

use super::policy::{doubts, good, test};
use super::say;
use crate::behaviour::Behaviour;
use crate::config::behaviour::BEHAVIOUR_SETTINGS;
use crate::config::identity::{OIDC_SETTINGS, WORKLOAD_SETTINGS};
use crate::config::keys::KEY_SETTINGS;
use crate::config::ledger::LEDGER_SETTINGS;
use crate::config::notify::NOTIFY_SETTINGS;
use crate::config::tracker::TRACKER_SETTINGS;
use crate::config::witness::{QUORUM_SETTINGS, WITNESS_SETTINGS};
use crate::config::{Config, SETTINGS, Setting};
use crate::policy::Policy;
use crate::role::Roles;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print every setting with its default, its range and what it is
    #[arg(long)]
    settings: bool,
}

/// Reads both files and says what is wrong with either.
pub(crate) fn run(path: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.settings {
        SETTINGS.iter().try_for_each(print)?;
        say("\n# The same for [keys.host], [keys.order] and [keys.log]:\n#[keys.user]")?;
        KEY_SETTINGS.iter().try_for_each(print)?;
        say("\n#[ledger]")?;
        LEDGER_SETTINGS.iter().chain(&QUORUM_SETTINGS).try_for_each(print)?;
        say("\n# One for each witness:\n#[[witness]]")?;
        WITNESS_SETTINGS.iter().try_for_each(print)?;
        say("\n#[oidc]")?;
        OIDC_SETTINGS.iter().try_for_each(print)?;
        say("\n# One for each kind of job:\n#[[workload]]")?;
        WORKLOAD_SETTINGS.iter().try_for_each(print)?;
        say("\n#[tracker]")?;
        TRACKER_SETTINGS.iter().try_for_each(print)?;
        say("\n#[behaviour]")?;
        BEHAVIOUR_SETTINGS.iter().try_for_each(print)?;
        say("\n# One for each receiver:\n#[[notify]]")?;
        return NOTIFY_SETTINGS.iter().try_for_each(print);
    }
    let config = Config::read(path)?;
    say(&format!("{}: good", path.display()))?;
    for witness in &config.witnesses.each {
        say(&format!("witness {} at {}", witness.key.name(), witness.url))?;
    }
    if !config.witnesses.each.is_empty() {
        say(&format!(
            "a certificate needs {} of {} witnesses; `curfew-ca status` shows what each has cosigned",
            config.witnesses.quorum,
            config.witnesses.each.len()
        ))?;
    }
    let roles = Roles::read(&config.roles_file)?;
    say(&format!("{}: good, {} roles", config.roles_file.display(), roles.len()))?;
    let policy = Policy::read(&config.policy_dir, config.time_zone.clone())?;
    say(&good(&policy, &config.policy_dir))?;
    doubts(&policy, &roles).iter().try_for_each(|doubt| say(doubt))?;
    if !config.second_factor && !policy.set().reads("mfaAge") {
        say(
            "nobody is asked for a second factor: a stolen login key is enough. Set `second_factor = true`, or ask for one in the policy \
             where it matters (`context.mfaAge`)",
        )?;
    }
    test(&policy, &config.policy_dir)?;
    super::risk::check(&config)?;
    match &config.behaviour {
        Some(at) => {
            let rules = Behaviour::read(&at.file)?;
            say(&format!("{}: good, {}", at.file.display(), rules.hash()))
        }
        None => Ok(()),
    }
}

fn print(setting: &Setting) -> anyhow::Result<()> {
    say(&format!("# {} ({})", setting.sentence, setting.range))?;
    let is_number =
        !setting.default.is_empty() && setting.default.bytes().all(|it| it.is_ascii_digit());
    let is_bare = is_number || BARE.contains(&setting.default);
    let quote = if setting.default.starts_with(['[', '{']) || is_bare { "" } else { "\"" };
    say(&format!("#{} = {quote}{}{quote}", setting.key, setting.default))
}

/// Words that are written without quotation marks, as numbers are.
const BARE: [&str; 2] = ["true", "false"];
