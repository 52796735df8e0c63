//! A sealed record behind what must be known of it without opening it.
//!
//! ```text
//!   0  magic c5 52 45 43     by which the next frame is found behind one that was damaged
//!   4  body u32 | plain u32  bytes of what follows, and of the record before it was packed
//!  12  generation u32        which authorities can read it
//!  16  number u64            its place among the host's records
//!  24  previous, 32 bytes    the hash of the frame before it, or of the segment's cover
//!  56  body                  the record, packed and encrypted, and a tag that holds all of the above as well
//! ```

use crate::log::Hash;

use super::{MAX_BODY, MAX_PLAIN};

/// A sealed record, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    head: FrameHead,
    bytes: &'a [u8],
}

/// What a frame says in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of its body.
    pub body: u32,
    /// Bytes of the record before it was packed.
    pub plain: u32,
    /// Which authorities can read it ([`crate::record::Event::generation`]).
    pub generation: u32,
    /// The record's number.
    pub number: u64,
    /// The hash of the frame before it, or of the segment's cover.
    pub previous: Hash,
}

/// Why bytes begin with no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFlaw {
    /// They end before it does.
    #[error("a record is cut off")]
    Short,
    /// They are no frame, or one that says what no frame says.
    #[error("what stands here is no record")]
    Form,
}

impl FrameHead {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(HEAD_BYTES);
        to.extend_from_slice(&MAGIC);
        let numbers = [self.body, self.plain, self.generation];
        to.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        to.extend_from_slice(&self.number.to_be_bytes());
        to.extend_from_slice(&self.previous.0);
        to
    }

    fn decode(bytes: &[u8]) -> Result<Self, FrameFlaw> {
        let known = bytes.len().min(MAGIC.len());
        if bytes.get(..known) != MAGIC.get(..known) {
            return Err(FrameFlaw::Form);
        }
        let mut rest = bytes.get(MAGIC.len()..).ok_or(FrameFlaw::Short)?;
        let mut short = || {
            let (number, left) = rest.split_first_chunk::<4>().ok_or(FrameFlaw::Short)?;
            rest = left;
            Ok(u32::from_be_bytes(*number))
        };
        let (body, plain, generation) = (short()?, short()?, short()?);
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(FrameFlaw::Short)?;
        let (previous, _) = rest.split_first_chunk::<32>().ok_or(FrameFlaw::Short)?;
        let number = u64::from_be_bytes(*number);
        let fits = (TAG..=MAX_BODY).contains(&body) && (1..=MAX_PLAIN).contains(&plain);
        if !fits || number == 0 || generation == 0 {
            return Err(FrameFlaw::Form);
        }
        Ok(Self { body, plain, generation, number, previous: Hash(*previous) })
    }

    /// The length of the whole frame, in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        usize::try_from(self.body).unwrap_or(usize::MAX).saturating_add(HEAD_BYTES)
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` begin with; says what follows it.
    ///
    /// # Errors
    /// When they begin with none.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FrameFlaw> {
        let head = FrameHead::decode(bytes)?;
        let (bytes, rest) = bytes.split_at_checked(head.frame_bytes()).ok_or(FrameFlaw::Short)?;
        Ok((Self { head, bytes }, rest))
    }

    /// What it says in the clear.
    #[must_use]
    pub const fn head(&self) -> &FrameHead {
        &self.head
    }

    /// All of it.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the clear part.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEAD_BYTES..).unwrap_or_default()
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.bytes)
    }
}

/// Where in `bytes` the next frame begins whose number is one of those that are looked for; nothing when there is none.
/// For what lies behind damage: it looks at each byte.
#[must_use]
pub fn find(bytes: &[u8], numbers: &std::ops::RangeInclusive<u64>) -> Option<usize> {
    let found = |at: &usize| {
        let read = bytes.get(*at..).map(FrameHead::decode);
        matches!(read, Some(Ok(head)) if numbers.contains(&head.number))
    };
    (0..bytes.len()).find(found)
}

/// Length of the clear part, in bytes.
pub const HEAD_BYTES: usize = 56;
/// Length of a tag, in bytes.
pub(crate) const TAG: u32 = 16;
/// Begins with a byte that no text has.
const MAGIC: [u8; 4] = [0xc5, b'R', b'E', b'C'];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64) -> Vec<u8> {
        let head = FrameHead { body: 20, plain: 4, generation: 1, number, previous: Hash([9; 32]) };
        [head.encode(), vec![7; 20]].concat()
    }

    #[test]
    fn a_frame_reads_back_and_a_cut_one_is_short() {
        let bytes = [frame(3), frame(4)].concat();
        let (first, rest) = Frame::read(&bytes).unwrap();
        assert_eq!((first.head().number, first.body()), (3, &[7; 20][..]));
        assert_eq!((first.head().encode().len(), rest), (HEAD_BYTES, &frame(4)[..]));
        for cut in 0..frame(3).len() {
            assert_eq!(Frame::read(&bytes[..cut]), Err(FrameFlaw::Short));
        }
    }

    #[test]
    fn what_no_frame_says_is_none() {
        type Change = fn(&mut FrameHead);
        let wrong: [Change; 6] = [
            |head| head.body = TAG - 1,
            |head| head.body = MAX_BODY + 1,
            |head| head.plain = 0,
            |head| head.plain = MAX_PLAIN + 1,
            |head| head.generation = 0,
            |head| head.number = 0,
        ];
        for change in wrong {
            let bytes = frame(3);
            let mut head = *Frame::read(&bytes).unwrap().0.head();
            change(&mut head);
            assert_eq!(Frame::read(&head.encode()), Err(FrameFlaw::Form));
        }
        assert_eq!(Frame::read(b"{\"number\":1}"), Err(FrameFlaw::Form));
    }

    #[test]
    fn the_next_frame_is_found_behind_damage() {
        let mut bytes = [frame(3), frame(4), frame(5)].concat();
        let each = frame(3).len();
        bytes[2] ^= 1;
        assert_eq!(find(&bytes, &(3..=9)), Some(each));
        assert_eq!(find(&bytes, &(5..=9)), Some(2 * each));
        assert_eq!(find(&bytes, &(6..=9)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_what_is_read_is_written_alike(
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [&MAGIC[..], &rest].concat();
            if let Ok((frame, left)) = Frame::read(&bytes) {
                prop_assert_eq!(frame.head().encode(), &bytes[..HEAD_BYTES]);
                prop_assert_eq!([frame.bytes(), left].concat(), bytes);
            }
        }
    }
}
