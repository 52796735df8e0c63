//! Following the ledger: what is kept of it, what the authority is asked, and what contradicts it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::gate::Answer;
use wire::hostlink::{Continuation, ProofMode, ToAuthority, Trust};
use wire::log::{Attested, LogKey, Note};
use wire::octets::plain;
use wire::record::{Dispute, DisputeSettled, Event, Incident};

use super::{Host, HostError, Link};
use crate::clock::Now;
use crate::config::Config;
use crate::proof::Proofs;
use crate::store::{self, StoreError};
use crate::witness::{Kept, Weight, Witness};

/// Where what is known of the ledger is kept.
#[derive(Debug)]
pub(super) struct Places {
    /// The newest checkpoint, and what contradicts it.
    kept: PathBuf,
    /// A file a tree that waits to be shown, on a file system that does not outlive the boot, as no session does.
    waiting: PathBuf,
}

impl Places {
    pub(super) fn of(config: &Config) -> Self {
        Self { kept: config.state_dir.join("ledger.json"), waiting: config.run_dir.join("trees") }
    }

    pub(super) fn tree(&self, size: u64) -> PathBuf {
        self.waiting.join(format!("{size}.json"))
    }
}

/// What is asked of certificates here.
pub(super) fn proofs(config: &Config, trust: &Trust) -> Result<Proofs, HostError> {
    let quorum = (config.witnesses.clone(), config.quorum);
    Ok(Proofs::new(config.require_proof, log_keys(trust)?, quorum))
}

/// The keys of the ledger that are pinned.
pub(super) fn log_keys(trust: &Trust) -> Result<Vec<LogKey>, HostError> {
    let parse = |text: &String| {
        text.parse().map_err(|source| HostError::LogKey { text: text.clone(), source })
    };
    trust.log_keys.iter().map(parse).collect()
}

/// Takes up what an agent before this one kept.
pub(super) fn resume(places: &Places) -> Result<Witness, HostError> {
    let kept = match store::read(&places.kept) {
        Err(error) if error.is_absent() => Kept::default(),
        other => other?,
    };
    Ok(Witness::resume(kept, waiting(&places.waiting)?))
}

/// A tree that cannot be read back is lost to the question whether it is the ledger's, and says so.
fn waiting(folder: &Path) -> Result<Vec<Note>, StoreError> {
    let failed = |source| StoreError::Io { path: folder.into(), source };
    let mut notes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            match store::read(&path) {
                Ok(note) => notes.push(note),
                Err(error) => {
                    tracing::error!(%error, "a tree on which somebody was let in is not asked about");
                }
            }
        }
    }
    Ok(notes)
}

impl Host {
    /// Remembers a tree on which somebody is about to be let in, and asks about it.
    pub(super) fn remember(&mut self, tree: &Attested, now: Now) -> Result<(), StoreError> {
        if self.witness.weigh(tree, now.at) == Weight::New {
            store::write(&self.places.ledger.tree(tree.head().size), tree.note())?;
            self.witness.remember(tree);
            self.ask_about_trees(false);
        }
        Ok(())
    }

    /// Opens a dispute, durably, and says so to everybody who can hear it; once.
    pub(super) fn dispute(&mut self, dispute: &Dispute, now: Now) {
        if !self.witness.open(dispute) {
            return;
        }
        tracing::error!(%dispute, "INCIDENT: the ledger contradicts what this host has seen; nothing new of it is believed");
        self.keep_ledger(self.witness.kept());
        self.record(None, Event::Incident(Box::new(Incident::Dispute(dispute.clone()))), now);
    }

    pub(super) fn keep_ledger(&self, kept: &Kept) -> bool {
        let kept = store::write(&self.places.ledger.kept, kept);
        if let Err(error) = &kept {
            tracing::error!(%error, "what is known of the ledger could not be kept; a restart will not know it");
        }
        kept.is_ok()
    }

    /// Asks the authority to show trees as its own, when it is time and it can answer.
    pub(super) fn ask_about_trees(&mut self, is_due: bool) {
        if self.proofs.mode() == ProofMode::Unpinned || !self.answers_about_trees() {
            return;
        }
        if let Some(sizes) = self.witness.ask(is_due) {
            self.outbox.push(ToAuthority::Prove(sizes));
        }
    }

    fn answers_about_trees(&self) -> bool {
        self.link.as_ref().is_some_and(Link::shows_trees)
    }

    /// Follows the ledger on, as often as is worth while.
    pub(super) fn follow_ledger(&mut self, now: Now) {
        let is_due =
            self.followed.is_none_or(|at| now.up.since(at) >= self.bar.ask_every(FOLLOW_EVERY));
        if is_due && self.answers_about_trees() {
            self.followed = Some(now.up);
        }
        self.ask_about_trees(is_due);
    }

    /// Takes the authority's newest checkpoint. It is on the disk before it is believed.
    pub(super) fn take_continuation(&mut self, answer: &Continuation, now: Now) {
        let attested = match self.proofs.policy().attest(answer.checkpoint.clone()) {
            Ok(attested) => attested,
            Err(error) => {
                // Nobody signed it, so it proves nothing against the ledger; but it is not what was asked for.
                tracing::error!(%error, "the authority's checkpoint is not believed; asking again");
                self.link = None;
                return;
            }
        };
        let mut next = self.witness.clone();
        match next.take(&attested, answer, now.at) {
            Ok(None) => tracing::warn!("the authority showed a tree that was not asked for"),
            Ok(Some(done)) => {
                if next.newest() != self.witness.newest() && !self.keep_ledger(next.kept()) {
                    self.link = None;
                    return;
                }
                self.witness = next;
                for size in done {
                    if let Err(error) = store::remove(&self.places.ledger.tree(size)) {
                        tracing::warn!(%error, "a tree that was shown will be asked about again");
                    }
                }
                self.ask_about_trees(false);
            }
            Err(dispute) => self.dispute(&dispute, now),
        }
    }

    /// Root at this host settles the dispute: on from the tree that was offered (`accept`), or from the known one.
    pub(super) fn settle_dispute(&mut self, accept: bool, reason: &str, now: Now) -> Answer {
        let mut next = self.witness.clone();
        let Some(dispute) = next.settle(accept) else {
            return Answer::Refuse("there is no dispute with the ledger".into());
        };
        if !self.keep_ledger(next.kept()) {
            return Answer::Refuse("the decision could not be kept; nothing was settled".into());
        }
        self.witness = next;
        for path in self.waiting_files() {
            if let Err(error) = store::remove(&path) {
                tracing::warn!(%error, "a tree from before the decision will be asked about again");
            }
        }
        let (from, reason) = (self.witness.newest(), plain(reason));
        tracing::warn!(%dispute, accept, reason, "root settled the dispute with the ledger");
        let settled = DisputeSettled { dispute, from, reason };
        self.record(None, Event::DisputeSettled(Box::new(settled)), now);
        self.followed = None;
        self.follow_ledger(now);
        Answer::Permit
    }

    fn waiting_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.places.ledger.waiting);
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// What an operator of this host should know, in one sentence; nothing when all is well.
    pub(super) fn concern(&self) -> Option<String> {
        if let Some(dispute) = self.witness.dispute() {
            return Some(format!("the ledger contradicts what this host has seen: {dispute}"));
        }
        if self.link.as_ref().is_some_and(Link::holds_back) {
            return Some("the authority is too old to read this host's records, which wait here: upgrade curfew-ca".into());
        }
        if let Some(disorder) = self.disorder() {
            return Some(disorder);
        }
        match self.proofs.mode() {
            ProofMode::Require => None,
            ProofMode::Report => Some("certificates without proof of the ledger are let in and only reported".into()),
            ProofMode::Unpinned => Some(
                "this host knows no key of the ledger, so a stolen authority key opens it; the authority sends the key \
                 when it is of a version that has one"
                    .into(),
            ),
        }
    }
}

/// How often the newest checkpoint is asked for when nothing waits.
const FOLLOW_EVERY: Duration = Duration::from_secs(60);
