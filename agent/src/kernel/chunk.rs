//! Long arguments, put together from the pieces that came through the second ring.
//!
//! The kernel side writes all pieces before the event they belong to. So at the time an event is
//! read, its pieces are in the ring; pieces whose event never comes (it was lost) are the only ones
//! that stay, and they are bounded by [`MAX_HELD`].

use std::collections::BTreeMap;

use super::Tag;
use super::event::{Chunk, Detail, Event, Flags};

/// Pieces that wait for their event.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    held: BTreeMap<(Tag, u64), Vec<u8>>,
    bytes: usize,
}

impl Chunks {
    /// Keeps a piece. Pieces of one event come in order; one out of order is left out, which
    /// leaves the arguments shorter than announced.
    pub(crate) fn keep(&mut self, chunk: &Chunk<'_>) {
        let argv = self.held.entry((chunk.tag, chunk.seq)).or_default();
        if usize::try_from(chunk.offset).is_ok_and(|offset| offset == argv.len()) {
            argv.extend_from_slice(chunk.bytes);
            self.bytes = self.bytes.saturating_add(chunk.bytes.len());
        }
        while self.bytes > MAX_HELD {
            let Some((_, dropped)) = self.held.pop_first() else { return };
            self.bytes = self.bytes.saturating_sub(dropped.len());
        }
    }

    /// Gives an event the arguments that were sent apart from it.
    pub(crate) fn complete(&mut self, event: &mut Event) {
        if !event.flags.has(Flags::ARGV_CHUNKED) {
            return;
        }
        let Detail::Exec(exec) = &mut event.detail else { return };
        if let Some(argv) = self.held.remove(&(event.tag, event.seq)) {
            self.bytes = self.bytes.saturating_sub(argv.len());
            exec.argv.bytes = argv;
        }
    }

    /// Drops what is left of a session.
    pub(crate) fn forget(&mut self, tag: Tag) {
        self.held.retain(|(held, _), argv| {
            if *held == tag {
                self.bytes = self.bytes.saturating_sub(argv.len());
            }
            *held != tag
        });
    }
}

/// Twice what the ring can hold: nothing whose event is still to come is dropped.
const MAX_HELD: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::super::event::{decode, decode_chunk, tests::chunk_record, tests::exec_record};
    use super::*;

    fn argv_of(chunks: &mut Chunks, seq: u64) -> Vec<u8> {
        let mut event = decode(&exec_record(1 << 2, seq, &[b'x'; 600], 600)).unwrap();
        chunks.complete(&mut event);
        let Detail::Exec(exec) = event.detail else { panic!("not an exec") };
        exec.argv.bytes
    }

    #[test]
    fn pieces_are_joined_per_event() {
        let mut chunks = Chunks::default();
        for (seq, offset, bytes) in [(1, 0, &b"ab"[..]), (2, 0, b"xy"), (1, 2, b"cd")] {
            chunks.keep(&decode_chunk(&chunk_record(seq, offset, bytes)).unwrap());
        }
        assert_eq!(argv_of(&mut chunks, 1), b"abcd");
        assert_eq!(argv_of(&mut chunks, 2), b"xy");
        assert_eq!(argv_of(&mut chunks, 3), b"");
        assert_eq!(chunks.bytes, 0);
    }

    #[test]
    fn a_missing_piece_shortens_and_never_shifts() {
        let mut chunks = Chunks::default();
        for (offset, bytes) in [(0, &b"ab"[..]), (4, b"ef")] {
            chunks.keep(&decode_chunk(&chunk_record(1, offset, bytes)).unwrap());
        }
        assert_eq!(argv_of(&mut chunks, 1), b"ab");
    }

    #[test]
    fn orphaned_pieces_are_bounded() {
        let mut chunks = Chunks::default();
        for seq in 0..4096 {
            chunks.keep(&decode_chunk(&chunk_record(seq, 0, &[b'x'; 4096])).unwrap());
        }
        assert!(chunks.bytes <= MAX_HELD);
        chunks.forget(Tag::new(7).unwrap());
        assert_eq!((chunks.bytes, chunks.held.len()), (0, 0));
    }
}
