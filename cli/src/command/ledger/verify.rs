//! `curfew ledger verify`: what can be said of a copy of the ledger from files and public keys alone.

use std::io::BufRead as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use wire::certificate::Certificate;
use wire::ledger::{Edge, Line};
use wire::log::{Attested, Head, Leaf, Policy, leaf_hash};

use crate::exit::{Exit, Fault};
use crate::ledger::directory::Directory;
use crate::ledger::{Believed, believe};
use crate::render::{Screen, Tone};

/// Check a copy of the ledger, or a certificate, offline
///
/// Nothing is asked of anybody: the ledger's public keys decide. Whatever was changed, left out, added or put in another
/// order is found. The exit code is 65 when something does not hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// A file of JSON lines (`-` for standard input) or a folder of tiles, both made by `ledger export`
    #[arg(long, value_name = "FILE|DIR", required_unless_present = "certificate")]
    from: Option<PathBuf>,
    /// Only these entries, both ends included
    #[arg(long, value_name = "FIRST..LAST", value_parser = numbers, requires = "from")]
    entries: Option<(u64, u64)>,
    /// A certificate: that its proof holds and, with --from, that the copy holds its entry
    #[arg(long, value_name = "FILE", conflicts_with = "entries")]
    certificate: Option<PathBuf>,
    /// A checkpoint that somebody kept, which the copy must continue
    #[arg(long, value_name = "FILE", requires = "from")]
    against: Vec<PathBuf>,
    #[command(flatten)]
    believed: Believed,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What holds.
#[derive(Debug, Serialize)]
struct Holds {
    /// The first entry that was checked; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    /// The certificates among them; the serial, when one was checked.
    certificates: u64,
    /// The bodies that were erased; absent where no bodies are.
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<u64>,
    /// The tree of the checkpoint.
    tree: Head,
    /// The witnesses that cosigned it.
    cosigned: Vec<String>,
}

/// What is to be found in a copy.
struct Sought {
    /// These entries; all of them when absent.
    wanted: Option<(u64, u64)>,
    /// The entry of a certificate.
    leaf: Option<Leaf>,
}

/// What a copy was found to be.
struct Outcome {
    holds: Option<Holds>,
    faults: Vec<String>,
}

impl Verify {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let policy = self.believed.offline()?;
        let known = Policy { logs: policy.logs.clone(), ..Policy::default() };
        let mut seen = Vec::new();
        for path in &self.against {
            let shown = path.display().to_string();
            let note =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
            seen.push(believe(&note, &known, &shown)?);
        }
        let proved = self.certificate.as_deref().map(|path| proved(path, &policy)).transpose()?;
        let wanted = match &proved {
            Some((leaf, _)) => Some((leaf.seq, leaf.seq)),
            None => self.entries,
        };
        let sought = Sought { wanted, leaf: proved.as_ref().map(|(leaf, _)| leaf.clone()) };
        let outcome = match (&self.from, &proved) {
            (Some(from), _) if from.is_dir() => tiles(from, (&policy, &seen), &sought, screen)?,
            (Some(from), _) => lines(from, (&policy, &seen), &sought)?,
            (None, Some((leaf, attested))) => {
                let holds = Holds::over((leaf.seq, leaf.seq), 1, attested);
                Outcome { holds: Some(holds), faults: Vec::new() }
            }
            (None, None) => return Err(Fault::Usage("name a copy with --from".into()).into()),
        };
        self.tell(outcome, screen)
    }

    fn tell(&self, outcome: Outcome, screen: &Screen) -> Result<Exit> {
        let Outcome { holds, faults } = outcome;
        let holds = holds.filter(|_| faults.is_empty());
        if self.json {
            screen.json(&serde_json::json!({ "holds": holds, "faults": faults }))?;
        } else {
            for fault in &faults {
                screen.short_line(&format!("! {fault}"))?;
            }
        }
        let Some(holds) = holds else {
            let what = self.from.as_deref().unwrap_or_else(|| Path::new("the certificate"));
            let count = faults.len();
            return Err(
                Fault::Untrue(format!("{} does not hold: {count} faults", what.display())).into()
            );
        };
        if !self.json {
            screen.toned(Tone::Good, &holds.to_string())?;
        }
        Ok(Exit::Done)
    }
}

/// Checks a folder of tiles.
fn tiles(
    from: &Path,
    (policy, seen): (&Policy, &[Attested]),
    sought: &Sought,
    screen: &Screen,
) -> Result<Outcome> {
    let directory = Directory::open(from, policy)?;
    let attested = directory.attested();
    let size = attested.head().size;
    let (first, last) = sought.wanted.unwrap_or((1, size));
    let mut faults = beyond(last, size);
    let places: Range<u64> = first.saturating_sub(1)..last.min(size);
    let found = directory.walk(places, seen, screen)?;
    faults.extend(found.faults);
    if sought.wanted.is_none() {
        faults.extend(directory.strangers()?);
    }
    if let Some(leaf) = &sought.leaf
        && found.leaf.as_ref() != Some(leaf)
        && faults.is_empty()
    {
        faults.push(format!("entry {} of the copy is not the certificate's", leaf.seq));
    }
    let certificates = found.walked.map(|walked| walked.certificates);
    let holds = certificates.map(|count| Holds::over((first, last), count, attested));
    Ok(Outcome { holds, faults })
}

/// Checks a file of JSON lines.
fn lines(from: &Path, (policy, seen): (&Policy, &[Attested]), sought: &Sought) -> Result<Outcome> {
    let shown = from.display();
    let reader: Box<dyn std::io::BufRead> = if from.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(from).with_context(|| format!("cannot read {shown}"))?;
        Box::new(std::io::BufReader::new(file))
    };
    let mut watch = Watch::new(seen, sought.leaf.as_ref());
    let mut faults = Vec::new();
    let mut attested = None;
    // The first line that cannot be read ends the lines; what it was is told afterwards.
    let mut unreadable = None;
    let read = (1_u64..).zip(reader.lines()).map_while(|(number, line)| {
        let line = line
            .map_err(anyhow::Error::from)
            .and_then(|line| Ok(serde_json::from_str::<Line>(&line)?))
            .with_context(|| format!("{shown}, line {number}"));
        let line = line.map_err(|error| unreadable = Some(format!("{error:#}"))).ok()?;
        watch.look(&line);
        if let Line::Checkpoint(end) = &line {
            attested = believe(&end.note, policy, "the checkpoint").ok();
        }
        Some(line)
    });
    let verified = wire::ledger::verify(read, policy, |fault| faults.push(fault.to_string()));
    faults.extend(unreadable);
    let verified = match (verified, attested) {
        (Ok(verified), Some(attested)) => (verified, attested),
        (verified, _) => {
            if let Err(fault) = verified
                && faults.is_empty()
            {
                faults.push(fault.to_string());
            }
            return Ok(Outcome { holds: None, faults });
        }
    };
    let (verified, attested) = verified;
    faults.extend(watch.faults);
    let (first, last) = sought.wanted.unwrap_or((verified.first, verified.last));
    if first < verified.first || last > verified.last {
        faults.push(format!(
            "the copy holds the entries {} to {}, and {first} to {last} are asked for",
            verified.first, verified.last
        ));
    } else if sought.leaf.is_some() && !watch.is_met {
        faults.push(format!("entry {first} of the copy is not the certificate's"));
    }
    faults.extend(seen.iter().filter(|old| old.head().size > attested.head().size).map(|old| {
        format!("somebody has seen a checkpoint over {} entries: the ledger was rolled back, or this copy is older", old.head().size)
    }));
    let mut holds = Holds::over((verified.first, verified.last), verified.certificates, &attested);
    holds.erased = Some(verified.erased);
    Ok(Outcome { holds: Some(holds), faults })
}

/// Looks at lines as they pass: for trees that were seen before, and for the entry of a certificate.
struct Watch<'a> {
    edge: Edge,
    seen: &'a [Attested],
    sought: Option<&'a Leaf>,
    is_met: bool,
    faults: Vec<String>,
}

impl<'a> Watch<'a> {
    fn new(seen: &'a [Attested], sought: Option<&'a Leaf>) -> Self {
        Self { edge: Edge::default(), seen, sought, is_met: false, faults: Vec::new() }
    }

    fn look(&mut self, line: &Line) {
        match line {
            Line::After(after) => {
                self.edge = Edge::new(after.seq, after.edge.clone()).unwrap_or_default();
                let before = self.seen.iter().filter(|old| old.head().size < after.seq);
                self.faults.extend(before.map(|old| {
                    format!("the copy begins after entry {}, so that it says nothing of the tree of {} entries", after.seq, old.head().size)
                }));
            }
            Line::Entry(entry) => {
                self.edge.push(leaf_hash(entry.leaf.as_bytes()));
                let is_sought = |leaf: &&Leaf| {
                    leaf.to_bytes().is_ok_and(|bytes| bytes == entry.leaf.as_bytes())
                };
                self.is_met |= self.sought.as_ref().is_some_and(is_sought);
            }
            Line::Checkpoint(_) => return,
        }
        let here = self.edge.head();
        let other =
            self.seen.iter().filter(|old| old.head().size == here.size && old.head() != here);
        self.faults.extend(other.map(|old| {
            format!("somebody has seen another tree of {} entries, root {} instead of {}: the ledger was forked", here.size, old.head().root, here.root)
        }));
    }
}

impl Holds {
    fn over((first, last): (u64, u64), certificates: u64, attested: &Attested) -> Self {
        let cosigned = attested.cosigned().iter().map(|by| by.witness.name().to_string());
        let (first, last) = if first > last { (None, None) } else { (Some(first), Some(last)) };
        let cosigned = cosigned.collect();
        Self { first, last, certificates, erased: None, tree: attested.head(), cosigned }
    }
}

impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => write!(f, "entry {first} holds")?,
            (Some(first), Some(last)) => write!(f, "entries {first} to {last} hold")?,
            _ => f.write_str("there is no entry, and that holds")?,
        }
        write!(
            f,
            " under the checkpoint over {} entries: {} certificates",
            self.tree.size, self.certificates
        )?;
        match self.erased {
            Some(erased) => write!(f, ", {erased} bodies erased")?,
            None => f.write_str("; what they say is not in this copy")?,
        }
        if !self.cosigned.is_empty() {
            write!(f, "; cosigned by {}", self.cosigned.join(", "))?;
        }
        Ok(())
    }
}

/// The entry of a certificate and the checkpoint that proves it.
fn proved(path: &Path, policy: &Policy) -> Result<(Leaf, Attested)> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let certificate = Certificate::from_openssh(text.trim())
        .with_context(|| format!("{shown} holds no certificate"))?;
    wire::ledger::certified(&certificate, policy)
        .map_err(|error| Fault::Untrue(format!("{shown} does not hold: {error}")).into())
}

fn beyond(last: u64, size: u64) -> Vec<String> {
    let is_beyond = last > size;
    is_beyond.then(|| format!("the copy ends at entry {size}, before {last}")).into_iter().collect()
}

/// `100..200`, both ends included; or one number.
fn numbers(text: &str) -> Result<(u64, u64), String> {
    let odd = || format!("{text:?} is not of the form 100..200");
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |digits: &str| digits.parse::<u64>().ok();
    let (first, last) = number(first).zip(number(last)).ok_or_else(odd)?;
    if first == 0 || first > last { Err(odd()) } else { Ok((first, last)) }
}
