//! Going on with a ledger that was put back from a backup and declared it: what was believed beyond the tree that it goes
//! on from is given up, and stays known as given up. Pure.

use serde::{Deserialize, Serialize};
use wire::log::{Checkpoint, Era, Head, Note, Restore};
use wire::record::{Dispute, Quarrel};
use wire::time::Timestamp;

use super::{Seen, Witness};

/// A part of the ledger that a declared restore gave up, as it is kept.
///
/// Who can change this: root on the host. Gains: certificates of that part open this host again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The era that the restore began.
    pub era: Era,
    /// The checkpoint that the restored ledger goes on from.
    pub cut: Note,
    /// The newest checkpoint beyond it that was believed here; none when this host had seen nothing beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Note>,
    /// When this host was told.
    pub at: Timestamp,
}

/// What going on with a restored ledger came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Accepted {
    /// It is followed from now on.
    Now {
        /// What was given up.
        branch: Branch,
        /// The sizes of trees on which somebody was let in, that were never shown, and now never will be.
        unshown: Vec<u64>,
    },
    /// It was followed already.
    Before,
}

impl Witness {
    /// The era that this host knows of.
    #[must_use]
    pub fn era(&self) -> Era {
        self.kept.restores.last().map_or(Era::FIRST, |branch| branch.era)
    }

    /// Goes on with the ledger from the tree that it was put back to.
    ///
    /// # Errors
    /// What contradicts it: a tree of the very size of the cut that is another one, or a newer restore. The restore is not
    /// followed then.
    pub fn restore(&mut self, restore: &Restore, now: Timestamp) -> Result<Accepted, Box<Dispute>> {
        let (era, cut) = (restore.statement().era, restore.statement().cut);
        if self.kept.restores.iter().any(|known| known.era == era && known.cut == *restore.cut()) {
            return Ok(Accepted::Before);
        }
        let held = self.shown.get(&cut.size).or_else(|| self.waiting.get(&cut.size));
        if let Some(seen) = held.filter(|seen| seen.head != cut) {
            return Err(Box::new(seen.dispute(Quarrel::Fork, restore.cut(), now)));
        }
        if era <= self.era() {
            let known = self.kept.restores.last().map_or(restore.cut(), |branch| &branch.cut);
            let (known, offered) = (known.clone(), restore.cut().clone());
            return Err(Box::new(Dispute {
                quarrel: Quarrel::Rollback,
                known,
                offered,
                since: now,
            }));
        }
        let known = self.newest_seen().filter(|seen| seen.head.size > cut.size);
        let branch = Branch {
            era,
            cut: restore.cut().clone(),
            known: known.map(|seen| seen.note.clone()),
            at: now,
        };
        let unshown = self.give_up(&branch, cut);
        Ok(Accepted::Now { branch, unshown })
    }

    fn give_up(&mut self, branch: &Branch, cut: Head) -> Vec<u64> {
        let beyond = cut.size.saturating_add(1);
        self.shown.split_off(&beyond);
        let unshown = self.waiting.split_off(&beyond).into_keys().collect();
        self.asked = None;
        if branch.known.is_some() || self.kept.newest.is_none() {
            self.kept.newest = Some(branch.cut.clone());
            self.shown.insert(cut.size, Seen { head: cut, note: branch.cut.clone() });
        }
        if self.kept.dispute.as_ref().is_some_and(|open| size(&open.known) > cut.size) {
            // Both trees of it are given up.
            self.kept.dispute = None;
        }
        self.kept.restores.push(branch.clone());
        if self.kept.restores.len() > MAX_RESTORES {
            self.kept.restores.remove(0);
        }
        unshown
    }

    /// The restore that gave up the tree on which a certificate of this serial rests, if one did: it was issued before that,
    /// and stands beyond the cut.
    #[must_use]
    pub fn given_up(&self, tree: Head, serial: u64) -> Option<Era> {
        let is_beyond =
            |branch: &&Branch| serial <= branch.era.floor() && tree.size > size(&branch.cut);
        self.kept.restores.iter().find(is_beyond).map(|branch| branch.era)
    }
}

fn size(note: &Note) -> u64 {
    note.text().parse::<Checkpoint>().map_or(0, |checkpoint| checkpoint.head.size)
}

/// Restores that are remembered: certificates that those before them gave up ended long ago.
const MAX_RESTORES: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::grown::Ledger;
    use super::super::{Kept, Weight};
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_900_000_000);

    /// The ledger up to 30, abandoned beyond; and the one that was put back to 20 and went on.
    fn ledgers() -> (Ledger, Ledger) {
        (Ledger::new(60, 60), Ledger::new(60, 20))
    }

    fn era() -> Era {
        Era::FIRST.next(NOW).unwrap()
    }

    fn restore(ledger: &Ledger, era: Era, size: u64) -> Restore {
        ledger.declared(era, size, 0).believe(&[ledger.key()]).unwrap()
    }

    fn ask(witness: &mut Witness, ledger: &Ledger, size: u64) -> Result<(), Box<Dispute>> {
        let asked = witness.ask(true).unwrap();
        witness.take(&ledger.at(size), &ledger.answer(size, &asked), NOW).map(|_done| ())
    }

    fn at_thirty(ledger: &Ledger) -> Witness {
        let mut witness = Witness::resume(Kept::default(), Vec::new());
        ask(&mut witness, ledger, 10).unwrap();
        ask(&mut witness, ledger, 30).unwrap();
        witness.remember(&ledger.at(15));
        witness.remember(&ledger.at(40));
        witness
    }

    #[test]
    fn a_declared_restore_is_followed_and_what_it_gave_up_opens_nothing() {
        let (before, after) = ledgers();
        let mut witness = at_thirty(&before);
        let accepted = witness.restore(&restore(&before, era(), 20), NOW).unwrap();
        let Accepted::Now { branch, unshown } = accepted else { panic!("{accepted:?}") };
        assert_eq!((branch.known, unshown), (Some(before.note(30)), vec![40]));
        assert_eq!((witness.newest().unwrap().size, witness.era()), (20, era()));
        // Of serials from before, what stands beyond the cut is given up; what stands up to it is not.
        assert_eq!(witness.given_up(before.at(30).head(), 17), Some(era()));
        assert_eq!(witness.given_up(before.at(40).head(), era().floor()), Some(era()));
        assert_eq!(witness.given_up(before.at(15).head(), 5), None);
        assert_eq!(witness.given_up(after.at(30).head(), era().floor() + 1), None);
        // The new tree is followed, the one tree that waited and is of both is shown.
        assert_eq!(witness.weigh(&after.at(30), NOW), Weight::New);
        ask(&mut witness, &after, 25).unwrap();
        assert_eq!(witness.weigh(&after.at(15), NOW), Weight::Shown);
        // And the abandoned one is another ledger from now on, also after a restart.
        let mut again = Witness::resume(witness.kept().clone(), Vec::new());
        assert_eq!(again.era(), era());
        assert!(ask(&mut again, &before, 30).is_err());
        let twice = witness.restore(&restore(&before, era(), 20), NOW).unwrap();
        assert_eq!(twice, Accepted::Before);
    }

    #[test]
    fn an_undeclared_one_is_disputed_until_the_declared_one_comes() {
        let (before, after) = ledgers();
        let mut witness = at_thirty(&before);
        let dispute = ask(&mut witness, &after, 22).unwrap_err();
        assert_eq!(dispute.quarrel, Quarrel::Rollback);
        assert!(witness.open(&dispute));
        let accepted = witness.restore(&restore(&before, era(), 20), NOW).unwrap();
        assert!(matches!(accepted, Accepted::Now { .. }));
        assert_eq!(witness.dispute(), None);
        ask(&mut witness, &after, 22).unwrap();
    }

    #[test]
    fn a_restore_to_a_tree_that_never_was_or_to_an_era_that_is_over_is_refused() {
        let (before, after) = ledgers();
        let mut witness = at_thirty(&before);
        // Both of size 30, the host knows the other.
        let fork = witness.restore(&restore(&after, era(), 30), NOW).unwrap_err();
        assert_eq!(fork.quarrel, Quarrel::Fork);
        let later = era().next(NOW).unwrap();
        assert!(witness.restore(&restore(&before, later, 20), NOW).is_ok());
        let replayed = witness.restore(&restore(&before, era(), 10), NOW).unwrap_err();
        assert_eq!(replayed.quarrel, Quarrel::Rollback);
        let again = witness.restore(&restore(&before, later, 10), NOW).unwrap_err();
        assert_eq!(again.quarrel, Quarrel::Rollback);
        assert_eq!(witness.newest().unwrap().size, 20);
    }

    #[test]
    fn a_host_that_had_seen_less_goes_on_as_if_nothing_was() {
        let (before, after) = ledgers();
        let mut witness = Witness::resume(Kept::default(), Vec::new());
        ask(&mut witness, &before, 10).unwrap();
        let accepted = witness.restore(&restore(&before, era(), 20), NOW).unwrap();
        let Accepted::Now { branch, unshown } = accepted else { panic!("{accepted:?}") };
        assert_eq!((branch.known, unshown), (None, Vec::new()));
        assert_eq!(witness.newest().unwrap().size, 10);
        ask(&mut witness, &after, 40).unwrap();
        // What it never saw of the abandoned part opens nothing all the same.
        assert_eq!(witness.given_up(before.at(33).head(), 9), Some(era()));
    }
}
