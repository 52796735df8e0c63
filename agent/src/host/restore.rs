//! Going on with a ledger that was put back from a backup, because it declares so.
//!
//! Both must say it: an order key by the order, a log key by the statement in it. What is given up is recorded first, then the
//! tree to go on from is kept, then the order's number: a death in between takes the same steps again, and the authority
//! knows repetitions. Then the connection begins anew, so that nothing that was asked before is answered after.

use wire::hostlink::ToAuthority;
use wire::identifier::{OrderNumber, RecordNumber};
use wire::log::{Declared, Era};
use wire::record::{Abandoned, Event, Incident, KeptLock, MAX_KEPT};

use super::{Host, authority};
use crate::clock::Now;
use crate::store;
use crate::witness::{Accepted, Branch};

impl Host {
    /// The first order of an era.
    pub(super) fn take_restore(&mut self, declared: &Declared, order: OrderNumber, now: Now) {
        let restore = match declared.believe(&self.proofs.policy().logs) {
            Ok(restore) => restore,
            Err(error) => {
                tracing::error!(%order, %error, "an order says that the ledger was restored, and the ledger's key does not; asking again");
                self.link = None;
                return;
            }
        };
        let mut next = self.witness.clone();
        let accepted = match next.restore(&restore, now.at) {
            Ok(accepted) => accepted,
            Err(dispute) => {
                self.dispute(&dispute, now);
                self.link = None;
                return;
            }
        };
        let mut revocation = self.revocation.clone();
        let kept = revocation.restored(order, restore.statement().last_order);
        if let Accepted::Now { branch, unshown } = accepted {
            self.record_given_up(&branch, unshown.len(), kept, now);
            if !self.keep_ledger(next.kept()) {
                self.link = None;
                return;
            }
            self.witness = next;
            self.forget_trees(&unshown);
            tracing::warn!(%order, era = branch.era.number(), reason = restore.statement().reason,
                "the ledger was put back from a backup and declared it; this host goes on with it");
        }
        if let Err(error) = store::write(&self.places.revocation, &revocation) {
            tracing::error!(%order, %error, "a restore was taken and its order is not durable; asking again");
            self.link = None;
            return;
        }
        self.revocation = revocation;
        // What was done about orders that the ledger lost is nothing to it.
        let cut = restore.statement().last_order;
        self.receipts.retain(|receipt| receipt.order.number() <= cut);
        self.receipt(authority::nothing_ended(order));
        // Begin anew: what was asked about the trees of before must not be answered about those of now.
        self.link = None;
    }

    /// What this host had seen, and the authority cannot know; nothing when it had seen nothing beyond.
    fn record_given_up(&mut self, branch: &Branch, unshown: usize, kept: Vec<KeptLock>, now: Now) {
        if branch.known.is_none() && unshown == 0 && kept.is_empty() {
            return;
        }
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let more = count(kept.len().saturating_sub(MAX_KEPT));
        let abandoned = Abandoned {
            era: branch.era,
            cut: branch.cut.clone(),
            known: branch.known.clone(),
            unshown: count(unshown),
            locks: kept.into_iter().take(MAX_KEPT).collect(),
            more,
        };
        tracing::error!(%abandoned, "INCIDENT: the ledger lost what this host had seen of it");
        let incident = Incident::Restored(abandoned);
        self.record(None, Event::Incident(Box::new(incident)), now);
    }

    /// The restores from before the host joined: what they gave up opens nothing here either.
    pub(super) fn join_restored(&mut self, now: Now) {
        let mut next = self.witness.clone();
        for declared in &self.trust.restores {
            let restored = declared
                .believe(&self.proofs.policy().logs)
                .map_err(|error| error.to_string())
                .and_then(|restore| {
                    next.restore(&restore, now.at).map_err(|dispute| dispute.to_string())
                });
            match restored {
                Ok(Accepted::Now { .. } | Accepted::Before) => {}
                Err(reason) => {
                    tracing::error!(%reason, "a restore of the ledger from before this host joined is not followed");
                }
            }
        }
        if next.kept() != self.witness.kept() && self.keep_ledger(next.kept()) {
            self.witness = next;
        }
    }

    /// Records that the authority lacks and that are not here any more are named to it, once, by their numbers; says after
    /// which one records go on.
    pub(super) fn past_what_is_gone(&mut self, last: u64, era: Option<Era>) -> u64 {
        let oldest = match self.spool.oldest() {
            Ok(oldest) => oldest,
            Err(error) => {
                tracing::error!(%error, "it is unknown which records are still here");
                return last;
            }
        };
        let gone = oldest.saturating_sub(1);
        if era.is_none() || gone <= last {
            return last;
        }
        let Ok(number) = RecordNumber::try_new(gone) else { return last };
        tracing::error!(
            after = last,
            to = gone,
            "the authority lost records that it had acknowledged, and they are not here any more"
        );
        self.outbox.push(ToAuthority::Gone(number));
        gone
    }

    fn forget_trees(&self, sizes: &[u64]) {
        for size in sizes {
            if let Err(error) = store::remove(&self.places.ledger.tree(*size)) {
                tracing::warn!(%error, "a tree that was given up will be asked about");
            }
        }
    }
}
