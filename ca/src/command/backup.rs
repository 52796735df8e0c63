//! `curfew-ca backup`: one file that holds the authority, made while it serves.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use wire::octets::plain;

use super::{say, say_json, shown, talk};
use crate::admin::backup::{BackupBegun, BeginBackup};
use crate::backup::{LeftOut, Made, Order, make};
use crate::clock;
use crate::config::Config;
use crate::key::Store;
use crate::key::secret::Secrets;
use crate::ledger::Place;

/// Where to, and with what.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file to make, or a folder in which it gets a name of its own; nothing is overwritten
    #[arg(long, value_name = "FILE|DIR")]
    to: PathBuf,
    /// Private keys that no passphrase protects, too: whoever reads the file is then the authority
    #[arg(long)]
    with_plain_keys: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was made.
#[derive(Serialize)]
struct View<'a> {
    file: &'a Path,
    bytes: u64,
    /// The entry that says that it was begun.
    entry: u64,
    /// How many entries it holds.
    entries: u64,
    left_out: &'a [LeftOut],
}

/// Makes it.
pub(crate) fn run(
    config: &Config,
    (settings, arguments): (&Path, &Arguments),
) -> anyhow::Result<()> {
    let at = clock::now();
    let to = match arguments.to.is_dir() {
        true => arguments.to.join(format!("curfew-ca-{}.tar", shown(at).replace(':', ""))),
        false => arguments.to.clone(),
    };
    anyhow::ensure!(!to.exists(), "{} exists already, and nothing was changed", to.display());
    let plain_keys = arguments.with_plain_keys;
    let ask = BeginBackup { to: plain(&to.display().to_string()), plain_keys };
    let mut begun: Option<BackupBegun> = None;
    talk(config, async |client| {
        begun = Some(client.send("/admin/backup", &ask).await?);
        Ok(())
    })?;
    let Some(begun) = begun else { anyhow::bail!("the authority gave no answer") };
    let ledger = Place::of(config)?;
    let order = Order {
        ledger: &ledger,
        state: &config.state_dir,
        settings,
        roles: &config.roles_file,
        policy: &config.policy_dir,
        to: &to,
        plain_keys,
        begun: begun.seq,
        fingerprint: &begun.fingerprint,
        log_keys: &begun.log_keys,
        at,
    };
    let store = Store::new(&config.state_dir, config.keys.clone(), Secrets::default());
    let is_shown = std::io::stderr().is_terminal();
    let made = make(&order, &store, |done, all| progress(is_shown, done, all))?;
    tell(arguments, (&to, &made), begun.seq)
}

fn tell(arguments: &Arguments, (to, made): (&Path, &Made), entry: u64) -> anyhow::Result<()> {
    let Made { manifest, bytes } = made;
    let head = manifest.checkpoint.text().parse::<wire::log::Checkpoint>()?.head;
    if arguments.json {
        let left_out = &manifest.left_out;
        return say_json(&View { file: to, bytes: *bytes, entry, entries: head.size, left_out });
    }
    say(&format!(
        "{}: {bytes} bytes, {} entries of {}",
        to.display(),
        head.size,
        manifest.origin.as_str()
    ))?;
    for LeftOut { key, whereabouts } in &manifest.left_out {
        say(&format!("NOT in it: the private key {key}, which is {}", whereabouts.in_words()))?;
    }
    if arguments.with_plain_keys {
        say("Private keys are in it as they are: whoever reads this file is the authority.")?;
    }
    say("Read it back with `curfew-ca restore FILE --check`.")
}

fn progress(is_shown: bool, done: u64, all: u64) {
    if !is_shown {
        return;
    }
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    let end = if done >= all { "\n" } else { "" };
    // Nobody is left to tell when standard error is closed.
    drop(write!(std::io::stderr(), "\rcopying the ledger: {percent:3} %{end}"));
}
