//! What a block of records holds, as bits: a Bloom filter.
//!
//! Shape: as many bits as [`BITS_EACH`] for each token, a multiple of 8, at most [`MAX_BYTES`]; each token sets [`SET`] of
//! them. One token of ten in a hundred thousand is seen where it is not; none is missed where it is.

use std::collections::BTreeSet;

/// What is to be found, each thing as a number: words of a kind, and every three neighbouring bytes of text.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeSet<u64>);

/// The bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(Vec<u8>);

impl Tokens {
    /// A word of a kind.
    pub(crate) fn word(&mut self, kind: u8, word: &[u8]) {
        self.0.insert(mixed(word.iter().fold(taken(BASIS, kind), |hash, byte| taken(hash, *byte))));
    }

    /// A path and every folder it lies in.
    pub(crate) fn path(&mut self, path: &str) {
        let mut hash = taken(BASIS, b'p');
        for byte in path.bytes() {
            if byte == b'/' {
                self.0.insert(mixed(hash));
            }
            hash = taken(hash, byte);
        }
        self.0.insert(mixed(hash));
    }

    /// Text: each three bytes that stand beside one another. Shorter text leaves nothing.
    pub(crate) fn text(&mut self, text: &[u8]) {
        for three in text.windows(3) {
            self.word(b'g', three);
        }
    }

    /// Whether a filter holds all of them, perhaps.
    pub(crate) fn is_held_by(&self, filter: &Filter) -> bool {
        self.0.iter().all(|token| filter.places(*token).all(|place| filter.is_set(place)))
    }
}

impl Filter {
    /// The filter over these tokens.
    pub(crate) fn of(tokens: &Tokens) -> Self {
        let bits = tokens.0.len().saturating_mul(BITS_EACH);
        let bytes = bits.div_ceil(8).clamp(MIN_BYTES, MAX_BYTES);
        let mut filter = Self(vec![0; bytes]);
        for token in &tokens.0 {
            let places: Vec<u64> = filter.places(*token).collect();
            for place in places {
                if let Some(byte) = filter.byte(place) {
                    *byte |= 1 << (place % 8);
                }
            }
        }
        filter
    }

    /// The filter as it is kept.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// To keep it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn byte(&mut self, place: u64) -> Option<&mut u8> {
        usize::try_from(place / 8).ok().and_then(|at| self.0.get_mut(at))
    }

    /// A bit that is not there rules nothing out.
    fn is_set(&self, place: u64) -> bool {
        let byte = usize::try_from(place / 8).ok().and_then(|at| self.0.get(at));
        byte.is_none_or(|byte| byte & (1 << (place % 8)) != 0)
    }

    /// The bits of a token.
    fn places(&self, token: u64) -> impl Iterator<Item = u64> + use<> {
        let bits = u64::try_from(self.0.len()).unwrap_or(0).saturating_mul(8).max(1);
        let (first, step) = (token, token.rotate_left(32) | 1);
        (0..SET).map(move |count| first.wrapping_add(step.wrapping_mul(count)).rem_euclid(bits))
    }
}

/// FNV-1a: one byte more.
const fn taken(hash: u64, byte: u8) -> u64 {
    (hash ^ widened(byte)).wrapping_mul(0x0100_0000_01b3)
}

const fn widened(byte: u8) -> u64 {
    u64::from_le_bytes([byte, 0, 0, 0, 0, 0, 0, 0])
}

/// Spreads a hash over all its bits.
const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
/// Bits for each token.
const BITS_EACH: usize = 10;
/// How many of them a token sets.
const SET: u64 = 5;
/// Shortest and longest filter. A block with more tokens than fit is let through more often.
const MIN_BYTES: usize = 64;
const MAX_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missed_and_little_is_seen_that_is_not_there() {
        let mut tokens = Tokens::default();
        for number in 0..10_000_u32 {
            tokens.word(b'x', &number.to_be_bytes());
        }
        let filter = Filter::of(&tokens);
        assert_eq!(filter.as_bytes().len(), 12_500);
        let held = |number: u32| {
            let mut one = Tokens::default();
            one.word(b'x', &number.to_be_bytes());
            one.is_held_by(&filter)
        };
        assert!((0..10_000).all(held));
        let seen = (10_000..20_000).filter(|number| held(*number)).count();
        assert!(seen < 200, "{seen} of 10,000");
    }

    #[test]
    fn a_path_lies_in_each_of_its_folders() {
        let mut tokens = Tokens::default();
        tokens.path("/etc/nginx/a");
        let filter = Filter::of(&tokens);
        for (path, is_there) in [("", true), ("/etc", true), ("/etc/nginx/a", true), ("/et", false)]
        {
            let mut one = Tokens::default();
            one.word(b'p', path.as_bytes());
            assert_eq!(one.is_held_by(&filter), is_there, "{path}");
        }
    }

    #[test]
    fn a_filter_that_is_damaged_rules_nothing_out() {
        let mut one = Tokens::default();
        one.word(b'x', b"rm");
        assert!(one.is_held_by(&Filter::from_bytes(Vec::new())));
    }
}
