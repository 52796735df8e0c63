//! `curfew-ca ledger verify`, `rebuild`, `keys`: what can be said of a ledger from its file and public keys alone.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use wire::certificate::Certificate;
use wire::ledger::{Fault, Line, Signed, Verified};
use wire::log::{LogKey, Note, Policy};

use super::super::say;
use crate::config::Config;
use crate::key::secret::Secrets;
use crate::key::{Purpose, Store};
use crate::ledger::{Audit, Place, Rebuilt, log_key};

/// What to check, and against what.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An export, instead of this authority's ledger; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    file: Option<PathBuf>,
    /// A certificate, instead of a ledger
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Another ledger's database, such as a copy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "certificate"])]
    database: Option<PathBuf>,
    /// The log's public key, as `ledger keys` prints it; this authority's own when absent
    #[arg(long = "log-key", value_name = "KEY")]
    log_keys: Vec<LogKey>,
    /// A checkpoint that a host or a monitor kept: the ledger must continue it
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
}

/// Checks what was named.
pub(crate) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let logs = match arguments.log_keys.as_slice() {
        [] => own_keys(config)?,
        named => named.to_vec(),
    };
    let policy = Policy { logs, ..Policy::default() };
    if let Some(path) = &arguments.certificate {
        return certificate(path, &policy);
    }
    if let Some(path) = &arguments.file {
        return export(path, &policy);
    }
    let place = match &arguments.database {
        Some(path) => Place::File(path.clone()),
        None => Place::of(config)?,
    };
    whole(&place, &policy, &arguments.against)
}

fn whole(place: &Place, policy: &Policy, against: &[PathBuf]) -> anyhow::Result<()> {
    let seen = against.iter().map(|path| note(path)).collect::<Result<Vec<_>, _>>()?;
    let report = Audit::open(place)?.verify(policy, &seen)?;
    let rebuilt = Audit::open(place)?.compare();
    let mut faults = report.faults;
    match rebuilt {
        Ok(rebuilt) => {
            faults.extend(
                rebuilt.differences.iter().map(|difference| format!("state: {difference}")),
            );
        }
        Err(error) => {
            faults.push(format!("the state cannot be made again from the entries: {error}"));
        }
    }
    for fault in &faults {
        say(&format!("! {fault}"))?;
    }
    match report.verified {
        Some(verified) if faults.is_empty() => {
            say(&described(&verified))?;
            say(&format!(
                "{} checkpoints hold, and the state is what the entries say",
                report.checkpoints
            ))
        }
        _ => bail!("{place} does not hold: {} faults", faults.len()),
    }
}

fn export(path: &Path, policy: &Policy) -> anyhow::Result<()> {
    let shown = path.display();
    let reader: Box<dyn std::io::BufRead> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
        Box::new(std::io::BufReader::new(file))
    };
    // The first line that cannot be read ends the lines; what it was is told afterwards.
    let mut unreadable = None;
    let lines = (1_u64..).zip(reader.lines()).map_while(|(number, line)| {
        let read = line
            .map_err(anyhow::Error::from)
            .and_then(|line| Ok(serde_json::from_str::<Line>(&line)?))
            .with_context(|| format!("{shown}, line {number}"));
        read.map_err(|error| unreadable = Some(error)).ok()
    });
    let mut told = Ok(());
    let verified = wire::ledger::verify(lines, policy, |fault: &Fault| {
        if told.is_ok() {
            told = say(&format!("! {fault}"));
        }
    });
    told?;
    if let Some(error) = unreadable {
        return Err(error);
    }
    let verified = verified.with_context(|| format!("{shown} does not hold"))?;
    say(&described(&verified))
}

fn certificate(path: &Path, policy: &Policy) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let certificate = Certificate::from_openssh(text.trim())?;
    let (seq, size) = wire::ledger::certificate(&certificate, policy)?;
    say(&format!(
        "the certificate with serial {} is entry {seq} of the ledger (checkpoint over {size} entries)",
        certificate.serial()
    ))
}

/// `curfew-ca ledger rebuild`
pub(crate) fn rebuild(config: &Config, write: bool) -> anyhow::Result<()> {
    let place = Place::of(config)?;
    let rebuilt = if write {
        Audit::open_to_rebuild(&place)?.rebuild()?
    } else {
        Audit::open(&place)?.compare()?
    };
    let Rebuilt { differences, unexplained, entries, erased } = &rebuilt;
    for difference in differences {
        say(&format!("! {difference}"))?;
    }
    say(&format!("{entries} entries were replayed, of which {erased} have no body any more"))?;
    if *unexplained > 0 {
        say(&format!(
            "{unexplained} rows cannot be explained any more, because bodies were erased or entries are of version 1"
        ))?;
        anyhow::ensure!(!write, "nothing was replaced: those rows would be lost");
    }
    match differences.len() {
        0 => say("the state is identical to what the entries say"),
        count if write => say(&format!("{count} rows were put right")),
        count => {
            bail!("{count} rows differ; put them right with `curfew-ca ledger rebuild --write`")
        }
    }
}

/// `curfew-ca ledger keys`
pub(crate) fn keys(config: &Config) -> anyhow::Result<()> {
    own_keys(config)?.iter().try_for_each(|key| say(&key.to_string()))
}

/// The log's keys as the serving authority gives them; as they lie in its places when none is serving.
pub(super) fn own_keys(config: &Config) -> anyhow::Result<Vec<LogKey>> {
    let mut given: Result<Vec<LogKey>, _> = Err(anyhow::anyhow!("nobody answered"));
    super::super::talk(config, async |client| {
        given = client.read("/admin/log-keys").await.map_err(Into::into);
        Ok(())
    })?;
    match given {
        Ok(keys) => Ok(keys),
        Err(absent) => stored_keys(config).with_context(|| {
            format!("name the log's key with --log-key: the authority gave none ({absent:#})")
        }),
    }
}

/// The log's keys as they lie in their places.
pub(in crate::command) fn stored_keys(config: &Config) -> anyhow::Result<Vec<LogKey>> {
    let name = Audit::open(&Place::of(config)?)?.name()?;
    let store = Store::new(&config.state_dir, config.keys.clone(), Secrets::default());
    let keyring = store.open()?;
    let keys = keyring.slots(Purpose::Log).map(|(_, key)| log_key(&name, key));
    Ok(keys.collect::<Result<_, _>>()?)
}

fn note(path: &Path) -> anyhow::Result<Note> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is no checkpoint", path.display()))
}

fn described(verified: &Verified) -> String {
    let Verified { first, last, erased, certificates, signed, head } = verified;
    let Signed { approvals, keys, behaviour, weights } = signed;
    format!(
        "entries {first} to {last} hold under the checkpoint over {} entries: {certificates} certificates, {erased} bodies erased, \
         {approvals} approvals; signed besides: {keys} keys, {behaviour} rules of behaviour, {weights} weights of risks",
        head.size
    )
}
