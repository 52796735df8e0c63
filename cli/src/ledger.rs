//! The ledger from a person's machine: whom its checkpoints are believed from, and what contradicts what was seen before.

pub(crate) mod directory;
pub(crate) mod entry;
pub(crate) mod memory;
pub(crate) mod mirror;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use wire::api;
use wire::log::{Attested, Head, LogKey, Note, Policy, WitnessKey};
use wire::record::{Dispute, Quarrel};

use crate::client::Client;
use crate::clock;
use crate::exit::Fault;

/// The ledger's key signed two checkpoints that cannot both be true: evidence, to be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Contradiction(pub(crate) Dispute);

/// Whose word is taken.
#[derive(Debug, clap::Args)]
pub(crate) struct Believed {
    /// A key of the ledger, or a file with one on each line, as `curfew ledger keys` prints them
    #[arg(long = "keys", value_name = "KEY|FILE")]
    keys: Vec<String>,
    /// A witness's key, or a file with one on each line
    #[arg(long = "witness", value_name = "KEY|FILE")]
    witnesses: Vec<String>,
    /// How many of the witnesses must have cosigned
    #[arg(long, value_name = "COUNT", default_value_t = 0, requires = "witnesses")]
    quorum: usize,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dispute { known, offered, .. } = &self.0;
        writeln!(f, "THE LEDGER CONTRADICTS ITSELF: {}", self.0)?;
        writeln!(
            f,
            "Its own key signed both of these. Keep them, and tell your operators by another way."
        )?;
        write!(f, "--- seen before\n{known}--- offered now\n{offered}---")
    }
}

impl Contradiction {
    /// As the failure that it is.
    pub(crate) fn fault(quarrel: Quarrel, known: &Note, offered: &Note) -> Fault {
        let (known, offered, since) = (known.clone(), offered.clone(), clock::now());
        Fault::Contradicted(Box::new(Self(Dispute { quarrel, known, offered, since })))
    }
}

impl Believed {
    /// The keys that were named, and nothing else.
    pub(crate) fn offline(&self) -> Result<Policy> {
        let policy = self.named()?;
        if policy.logs.is_empty() {
            let sentence = "name the ledger's keys with --keys: `curfew ledger keys` prints them";
            return Err(Fault::Usage(sentence.to_owned()).into());
        }
        Ok(policy)
    }

    /// The keys that were named; else those that the authority, which is known by its root, says to be the ledger's.
    pub(crate) fn online(&self, client: &mut Client) -> Result<Policy> {
        let named = self.named()?;
        let logs = if named.logs.is_empty() { told_keys(client)? } else { named.logs };
        Ok(Policy { logs, ..named })
    }

    fn named(&self) -> Result<Policy> {
        let quorum = self.quorum;
        let logs: Vec<LogKey> = keys(&self.keys)?;
        let witnesses: Vec<WitnessKey> = keys(&self.witnesses)?;
        if quorum > witnesses.len() {
            let sentence = format!("--quorum {quorum} is more than the witnesses that are named");
            return Err(Fault::Usage(sentence).into());
        }
        Ok(Policy { logs, witnesses, quorum })
    }
}

/// The ledger's keys, as the authority says.
pub(crate) fn told_keys(client: &mut Client) -> Result<Vec<LogKey>> {
    let told: api::Authority = client.get("/v1/authority")?;
    if told.log_keys.is_empty() {
        let sentence = "this authority does not tell its ledger's keys; name them with --keys";
        return Err(Fault::Usage(sentence.to_owned()).into());
    }
    Ok(told.log_keys)
}

/// The authority's newest checkpoint, as far as `policy` believes it.
pub(crate) fn newest(client: &mut Client, policy: &Policy) -> Result<Attested> {
    let bytes = client.fetch("/checkpoint")?;
    let note = std::str::from_utf8(&bytes).context("the authority's checkpoint is no text")?;
    believe(note, policy, "the authority's checkpoint")
}

/// The checkpoint in this text, if policy believes it.
pub(crate) fn believe(note: &str, policy: &Policy, what: &str) -> Result<Attested> {
    let note: Result<Note, _> = note.parse();
    let attested = note.map_err(Into::into).and_then(|note| policy.attest(note));
    attested.map_err(|error| Fault::Untrue(format!("{what} is not believed: {error}")).into())
}

/// Compares a tree with one that was seen before: whether there is more in it.
pub(crate) fn grew(known: &Attested, offered: &Attested) -> Result<bool, Fault> {
    let (old, new): (Head, Head) = (known.head(), offered.head());
    let quarrel = match new.size.cmp(&old.size) {
        std::cmp::Ordering::Greater => return Ok(true),
        std::cmp::Ordering::Equal if new == old => return Ok(false),
        std::cmp::Ordering::Equal => Quarrel::Fork,
        std::cmp::Ordering::Less => Quarrel::Rollback,
    };
    Err(Contradiction::fault(quarrel, known.note(), offered.note()))
}

/// Keys as they stand on the command line: each itself, or a file with one on each line.
fn keys<K: std::str::FromStr<Err = wire::log::FormError>>(named: &[String]) -> Result<Vec<K>> {
    let mut keys = Vec::new();
    for name in named {
        match name.parse() {
            Ok(key) => keys.push(key),
            Err(error) if !Path::new(name).exists() => {
                let sentence = format!("{name:?} is no file, and no key: {error}");
                return Err(Fault::Usage(sentence).into());
            }
            Err(_no_key) => {
                let text =
                    std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
                for line in text.lines().map(str::trim) {
                    if !line.is_empty() && !line.starts_with('#') {
                        let key = line.parse();
                        keys.push(key.with_context(|| format!("{name}: {line:?} is no key"))?);
                    }
                }
            }
        }
    }
    Ok(keys)
}
