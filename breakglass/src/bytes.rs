//! The bytes inside a letter: numbers, texts with their length before them, and arrays; nothing optional, nothing left over.

/// The bytes end before what they announce, or say what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its content is cut short or malformed ({0})")]
pub struct Malformed(pub(crate) &'static str);

/// What is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes with their length in two bytes before them; what is longer is cut, and reads back as malformed.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> &mut Self {
        self.raw(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()).raw(bytes)
    }

    /// How many follow, in one byte.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.u8(u8::try_from(count).unwrap_or(u8::MAX))
    }

    pub(crate) fn done(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_length| Malformed("too short"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_garbled| Malformed("no text"))
    }

    /// A checked name.
    pub(crate) fn name<T: std::str::FromStr>(
        &mut self,
        what: &'static str,
    ) -> Result<T, Malformed> {
        self.text()?.parse().map_err(|_unnamed| Malformed(what))
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("more than it should hold")) }
    }
}
