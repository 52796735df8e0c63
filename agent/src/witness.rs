//! The newest tree of the ledger that this host believes, and what contradicts it: every host is a witness. Pure, and kept
//! as one file.
//!
//! A larger tree is believed when the authority shows that it continues the one before. A certificate rests on a tree of
//! its own, which may be newer, or older and never seen: it is let in on the ledger's signature, and the tree waits until the
//! authority shows that it is its own. What cannot be shown is a dispute. From then on nothing new is believed until root at
//! this host settles it; trees that were shown to be the ledger's before stay good.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::hostlink::{Continuation, MAX_SIZES};
use wire::log::{Attested, Checkpoint, Head, Note, verify_consistency};
use wire::record::{Dispute, Quarrel};
use wire::time::Timestamp;

mod restore;

pub use restore::{Accepted, Branch};

/// What is kept of the ledger.
///
/// Who can change this: root on the host. Gains: can make this host believe a ledger that was forked or went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The version of this format.
    pub version: u32,
    /// The newest checkpoint that is believed; none before the first.
    pub newest: Option<Note>,
    /// What contradicts it, until it is settled.
    pub dispute: Option<Dispute>,
    /// What declared restores gave up, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restores: Vec<Branch>,
}

/// What this host knows of the ledger.
#[derive(Debug, Clone)]
pub struct Witness {
    kept: Kept,
    /// Trees of certificates that the authority has not shown to be its own, by size.
    waiting: BTreeMap<u64, Seen>,
    /// Trees that are the ledger's, by size; the newest is among them.
    shown: BTreeMap<u64, Seen>,
    /// What was asked and not answered.
    asked: Option<Vec<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    head: Head,
    note: Note,
}

/// What a certificate's tree is to this host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Weight {
    /// The ledger's, as was shown before.
    Shown,
    /// It waits to be shown already.
    Waiting,
    /// Never seen: it must be remembered before anybody is let in on it.
    New,
    /// It contradicts another that the ledger's key signed.
    Fork(Box<Dispute>),
    /// A dispute is open, and this tree is not among those shown before.
    Disputed,
    /// Too many wait.
    Full,
}

impl Default for Kept {
    fn default() -> Self {
        Self { version: wire::VERSION, newest: None, dispute: None, restores: Vec::new() }
    }
}

impl Witness {
    /// Takes up what was kept, and the trees that waited.
    #[must_use]
    pub fn resume(kept: Kept, waiting: Vec<Note>) -> Self {
        let seen = |note: Note| Seen::read(note).map(|seen| (seen.head.size, seen));
        let shown = kept.newest.clone().and_then(seen).into_iter().collect();
        let waiting = waiting.into_iter().filter_map(seen).collect();
        Self { kept, waiting, shown, asked: None }
    }

    /// What must be on the disk.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The newest tree that is believed.
    #[must_use]
    pub fn newest(&self) -> Option<Head> {
        self.newest_seen().map(|seen| seen.head)
    }

    /// What is open.
    #[must_use]
    pub const fn dispute(&self) -> Option<&Dispute> {
        self.kept.dispute.as_ref()
    }

    /// How many trees wait to be shown.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn newest_seen(&self) -> Option<&Seen> {
        self.shown.last_key_value().map(|(_, seen)| seen)
    }

    /// Weighs the tree that a certificate rests on.
    pub fn weigh(&self, offered: &Attested, now: Timestamp) -> Weight {
        let head = offered.head();
        for (held, same) in [(&self.shown, Weight::Shown), (&self.waiting, Weight::Waiting)] {
            match held.get(&head.size) {
                Some(seen) if seen.head == head => {
                    let is_good = same == Weight::Shown || self.dispute().is_none();
                    return if is_good { same } else { Weight::Disputed };
                }
                Some(seen) => {
                    let dispute = seen.dispute(Quarrel::Fork, offered.note(), now);
                    return Weight::Fork(Box::new(dispute));
                }
                None => {}
            }
        }
        if self.dispute().is_some() {
            Weight::Disputed
        } else if self.waiting.len() >= MAX_WAITING {
            Weight::Full
        } else {
            Weight::New
        }
    }

    /// Remembers a tree that is [`Weight::New`], and says what must be kept of it.
    pub fn remember(&mut self, offered: &Attested) {
        let seen = Seen { head: offered.head(), note: offered.note().clone() };
        self.waiting.insert(seen.head.size, seen);
    }

    /// What to ask the authority, if it is time: always when trees wait, else when `is_due`. One question at a time.
    pub fn ask(&mut self, is_due: bool) -> Option<Vec<u64>> {
        let is_settled = self.waiting.is_empty() && !is_due;
        if self.asked.is_some() || self.dispute().is_some() || is_settled {
            return None;
        }
        let newest = self.newest().map(|head| head.size);
        let waiting = self.waiting.keys().copied().filter(|size| Some(*size) != newest);
        let sizes: Vec<u64> = newest.into_iter().chain(waiting).take(MAX_SIZES).collect();
        self.asked = Some(sizes.clone());
        Some(sizes)
    }

    /// Forgets what was asked: the connection is gone.
    pub fn hang_up(&mut self) {
        self.asked = None;
    }

    /// Takes the authority's answer: its newest tree, and that it continues those that were asked about. Says which trees wait
    /// no longer, or nothing when nothing was asked.
    ///
    /// # Errors
    /// What the answer contradicts; the dispute is the caller's to open. What was shown before it is taken all the same.
    pub fn take(
        &mut self,
        answer: &Attested,
        paths: &Continuation,
        now: Timestamp,
    ) -> Result<Option<Vec<u64>>, Box<Dispute>> {
        let Some(asked) = self.asked.take() else {
            return Ok(None);
        };
        self.advance(answer, paths, now)?;
        let mut done = Vec::new();
        for size in asked {
            let Some(seen) = self.waiting.get(&size) else {
                continue;
            };
            if !continues(seen.head, answer.head(), paths) {
                return Err(Box::new(seen.dispute(Quarrel::Stray, answer.note(), now)));
            }
            self.shown.extend(self.waiting.remove_entry(&size));
            done.push(size);
        }
        while self.shown.len() > MAX_SHOWN {
            self.shown.pop_first();
        }
        Ok(Some(done))
    }

    fn advance(
        &mut self,
        answer: &Attested,
        paths: &Continuation,
        now: Timestamp,
    ) -> Result<(), Box<Dispute>> {
        let head = answer.head();
        if let Some(known) = self.newest_seen() {
            let quarrel = match head.size.cmp(&known.head.size) {
                std::cmp::Ordering::Less => Some(Quarrel::Rollback),
                std::cmp::Ordering::Equal => (head != known.head).then_some(Quarrel::Fork),
                std::cmp::Ordering::Greater => {
                    (!continues(known.head, head, paths)).then_some(Quarrel::Discontinuity)
                }
            };
            if let Some(quarrel) = quarrel {
                return Err(Box::new(known.dispute(quarrel, answer.note(), now)));
            }
        }
        self.shown.insert(head.size, Seen { head, note: answer.note().clone() });
        self.kept.newest = Some(answer.note().clone());
        Ok(())
    }

    /// Opens a dispute, unless one is open already; says whether it did.
    pub fn open(&mut self, dispute: &Dispute) -> bool {
        let is_first = self.kept.dispute.is_none();
        if is_first {
            self.kept.dispute = Some(dispute.clone());
        }
        is_first
    }

    /// Closes the dispute as root decided: on from the tree that was offered, or from the one that is known.
    pub fn settle(&mut self, accept: bool) -> Option<Dispute> {
        let dispute = self.kept.dispute.take()?;
        if accept {
            self.kept.newest = Some(dispute.offered.clone());
        }
        // What waited was seen before the decision.
        *self = Self::resume(std::mem::take(&mut self.kept), Vec::new());
        Some(dispute)
    }
}

impl Seen {
    fn read(note: Note) -> Option<Self> {
        let checkpoint: Checkpoint = note.text().parse().ok()?;
        Some(Self { head: checkpoint.head, note })
    }

    fn dispute(&self, quarrel: Quarrel, offered: &Note, since: Timestamp) -> Dispute {
        Dispute { quarrel, known: self.note.clone(), offered: offered.clone(), since }
    }
}

/// Whether the answer shows that `new` continues `old`.
fn continues(old: Head, new: Head, answer: &Continuation) -> bool {
    let none = Vec::new();
    let path = answer.paths.iter().find(|path| path.size == old.size);
    let path = path.map_or(&none, |path| &path.path);
    verify_consistency(old, new, path).is_ok()
}

/// Trees that may wait: certificates last minutes, and each login while the authority is out of reach may rest on a tree
/// of its own.
const MAX_WAITING: usize = 1024;
/// Trees that are remembered as the ledger's; a certificate that rests on an older one is asked about again.
const MAX_SHOWN: usize = 256;

#[cfg(test)]
pub(crate) mod grown;
#[cfg(test)]
mod tests;
