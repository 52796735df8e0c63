//! Strings and numbers as SSH writes them (RFC 4251, section 5): a string is its length in four bytes, then itself.

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob<'a>(&'a [u8]);

/// The bytes end before what they announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

impl<'a> Blob<'a> {
    /// All of `bytes`.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub(crate) const fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next number of four bytes.
    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next number of eight bytes.
    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next string.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Short> {
        let length = usize::try_from(self.u32()?).map_err(|_beyond_memory| Short)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(string)
    }

    /// The next `count` strings as they stand, lengths included.
    pub(crate) fn strings(&mut self, count: u8) -> Result<&'a [u8], Short> {
        let before = self.0;
        for _ in 0..count {
            self.string()?;
        }
        let length = before.len().saturating_sub(self.0.len());
        before.get(..length).ok_or(Short)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*array)
    }
}

/// Appends a string. Nothing of ours comes near the four gigabytes at which its length would not fit.
pub(crate) fn put(to: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(string);
}
