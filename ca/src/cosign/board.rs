//! Cosignatures as they come in: which checkpoint the witnesses are asked about, and when enough of them have answered. Pure.
//!
//! Everybody is asked about the same checkpoint until enough have cosigned it, because a certificate carries one checkpoint
//! with all of its cosignatures. Whoever is slow goes on to the newest when it has answered.

use std::collections::BTreeMap;

use wire::log::{FormError, Head, Note, Signature};

/// What was gathered for the last few checkpoints.
#[derive(Debug)]
pub(super) struct Board {
    quorum: usize,
    rounds: BTreeMap<u64, Round>,
}

#[derive(Debug)]
struct Round {
    head: Head,
    note: Note,
    /// By the witness's place in the settings.
    lines: BTreeMap<usize, Signature>,
}

/// A checkpoint that enough witnesses have cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cosigned {
    head: Head,
    note: Note,
}

impl Cosigned {
    /// Its tree.
    pub(crate) const fn head(&self) -> Head {
        self.head
    }

    /// The checkpoint with its cosignatures.
    pub(crate) const fn note(&self) -> &Note {
        &self.note
    }
}

impl Board {
    /// Nothing was asked yet; `quorum` are enough.
    pub(super) const fn new(quorum: usize) -> Self {
        Self { quorum, rounds: BTreeMap::new() }
    }

    /// Everybody is asked about this checkpoint from now on.
    pub(super) fn begin(&mut self, head: Head, note: &Note) {
        let round = Round { head, note: note.clone(), lines: BTreeMap::new() };
        self.rounds.entry(head.size).or_insert(round);
        while self.rounds.len() > MAX_ROUNDS {
            self.rounds.pop_first();
        }
    }

    /// A witness has cosigned the tree of this size. Gives the checkpoint once enough have.
    ///
    /// # Errors
    /// When a checkpoint cannot carry so many.
    pub(super) fn take(
        &mut self,
        (witness, line): (usize, Signature),
        size: u64,
    ) -> Result<Option<Cosigned>, FormError> {
        let Some(round) = self.rounds.get_mut(&size) else { return Ok(None) };
        round.lines.insert(witness, line);
        if round.lines.len() < self.quorum.max(1) {
            return Ok(None);
        }
        let note = round.note.with(round.lines.values().cloned())?;
        Ok(Some(Cosigned { head: round.head, note }))
    }

    /// The checkpoint over this tree with every cosignature that came in.
    pub(super) fn newest(&self, size: u64) -> Option<Note> {
        let round = self.rounds.get(&size)?;
        round.note.with(round.lines.values().cloned()).ok()
    }
}

/// Checkpoints that a slow witness may still answer.
const MAX_ROUNDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::log::Hash;

    fn line(name: &str) -> Signature {
        Signature { name: name.parse().unwrap(), id: 1, bytes: vec![0; 72] }
    }

    fn head(size: u64) -> (Head, Note) {
        let head = Head { size, root: Hash::of(&size.to_be_bytes()) };
        let text = format!("log\n{size}\n{}\n", head.root);
        (head, Note::new(text, vec![line("log")]).unwrap())
    }

    #[test]
    fn enough_is_the_quorum_of_one_checkpoint_and_each_witness_counts_once() {
        let mut board = Board::new(2);
        let ((one, note), (other, next)) = (head(7), head(9));
        board.begin(one, &note);
        assert_eq!(board.take((0, line("a")), 7), Ok(None));
        assert_eq!(board.take((0, line("a")), 7), Ok(None), "the same again");
        board.begin(other, &next);
        assert_eq!(board.take((1, line("b")), 9), Ok(None), "of another checkpoint");
        let enough = board.take((1, line("b")), 7).unwrap().unwrap();
        assert_eq!((enough.head().size, enough.note().signatures().len()), (7, 3));
        assert_eq!(board.take((2, line("c")), 8), Ok(None), "nobody was asked about it");
        assert_eq!(board.newest(9).unwrap().signatures().len(), 2);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut board = Board::new(1);
        for size in 1..=100 {
            let (tree, note) = head(size);
            board.begin(tree, &note);
        }
        assert_eq!(board.rounds.len(), MAX_ROUNDS);
        assert_eq!(board.take((0, line("a")), 1), Ok(None));
        assert!(board.take((0, line("a")), 100).unwrap().is_some());
    }
}
