//! A list from its parts; pure. It is asked for part by part, so that no more than one is ever under way.

use wire::krl::signed::{KrlAsk, KrlPart, MAX_SENT, SignedKrl};

/// A list of which some has come.
#[derive(Debug)]
pub struct Assembly {
    version: u64,
    length: usize,
    signature: String,
    bytes: Vec<u8>,
}

/// A whole list, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The version that was announced.
    pub version: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The signature that came with it.
    pub signature: String,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// More of it is to be asked for.
    Ask(KrlAsk),
    /// It is whole.
    Whole(Received),
}

impl Assembly {
    /// Begins with what was announced.
    ///
    /// # Errors
    /// When it is longer than a list may be, or shorter than its beginning.
    pub fn begin(announced: SignedKrl) -> Result<Self, String> {
        let SignedKrl { version, length, signature, beginning } = announced;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = beginning.as_bytes().to_vec();
        if length > MAX_SENT || bytes.len() > length {
            return Err(format!(
                "it is announced with {length} bytes; at most {MAX_SENT} are taken"
            ));
        }
        Ok(Self { version, length, signature, bytes })
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Adds a part. One that is not the next is passed over, and asked for again.
    pub fn add(&mut self, part: &KrlPart) {
        let due = u64::try_from(self.bytes.len()).ok();
        let room = self.length.saturating_sub(self.bytes.len());
        if part.version == self.version && Some(part.offset) == due {
            let bytes = part.bytes.as_bytes();
            self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// What comes next, and the assembly itself when more has to come.
    #[must_use]
    pub fn next(self) -> (Option<Self>, Next) {
        if self.bytes.len() >= self.length {
            let Self { version, signature, bytes, .. } = self;
            return (None, Next::Whole(Received { version, bytes, signature }));
        }
        let offset = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        let ask = KrlAsk { version: self.version, offset };
        (Some(self), Next::Ask(ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::octets::Octets;

    fn announced(bytes: &[u8], beginning: usize) -> SignedKrl {
        SignedKrl {
            version: 7,
            length: u64::try_from(bytes.len()).unwrap(),
            signature: "s".into(),
            beginning: Octets::new(&bytes[..beginning.min(bytes.len())]),
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_comes() {
        let mut long = announced(b"", 0);
        long.length = u64::MAX;
        assert!(Assembly::begin(long).is_err());
        let mut short = announced(b"abc", 3);
        short.length = 2;
        assert!(Assembly::begin(short).is_err());
    }

    proptest! {
        #[test]
        fn parts_make_the_whole_whatever_else_comes(bytes: Vec<u8>, beginning in 0_usize..9, size in 1_usize..9) {
            let mut assembly = Assembly::begin(announced(&bytes, beginning)).unwrap();
            let whole = loop {
                let (rest, next) = assembly.next();
                match next {
                    Next::Whole(whole) => break whole,
                    Next::Ask(ask) => {
                        assembly = rest.unwrap();
                        let from = usize::try_from(ask.offset).unwrap();
                        let part = |version, offset: u64| KrlPart {
                            version,
                            offset,
                            bytes: Octets::new(&bytes[from..from.saturating_add(size).min(bytes.len())]),
                        };
                        assembly.add(&part(6, ask.offset));
                        assembly.add(&part(7, ask.offset.saturating_add(1)));
                        assembly.add(&part(7, ask.offset));
                        assembly.add(&part(7, ask.offset));
                    }
                }
            };
            prop_assert_eq!((whole.version, whole.bytes), (7, bytes));
        }
    }
}
