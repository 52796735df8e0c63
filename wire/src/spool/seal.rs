//! Seals records of a segment, and opens them again.
//!
//! A segment's key is drawn when it begins and encrypted to the recording key as blocks of recordings are: HPKE (RFC 9180),
//! once for up to [`super::MAX_FRAMES`] records. From it come the records' keys, one after the other: HMAC-SHA-256 of a key
//! gives the next record's own key, and the key after it, and then it is forgotten. Each record's own key encrypts that
//! record alone (AES-256-GCM), so that its nonce may always be the same. Who becomes root on the host finds the key of the
//! record that is to come, from which no earlier one follows: what was written before he can neither read nor write anew.
//!
//! Packed are records by zstd with a dictionary of a record's usual words, for one record alone has too little to repeat.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;
use zstd::bulk::{Compressor, Decompressor};

use crate::log::Hash;
use crate::recording::RecordingKey;
use crate::recording::seal::{OpenError, OpeningKey, encrypt};

use super::cover::{Cover, SEALED};
use super::frame::{Frame, FrameHead, TAG};
use super::{MAX_BODY, MAX_FRAMES, MAX_PLAIN};

/// Why a record is not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It could not be packed.
    #[error("a record could not be packed")]
    Pack(#[source] std::io::Error),
    /// It is longer than any.
    #[error("a record of {0} bytes is longer than any")]
    Length(usize),
    /// The segment's key could not be encrypted: the recording key is none.
    #[error("a segment's key could not be encrypted to the recording key")]
    Key(#[source] rustls::Error),
    /// The library refuses.
    #[error("a record could not be encrypted")]
    Cipher,
    /// The segment is full.
    #[error("the segment is full")]
    Full,
}

/// Packs records.
pub struct Packer(Compressor<'static>);

/// A record to be sealed.
#[derive(Debug)]
pub struct Packed {
    bytes: Vec<u8>,
    plain: u32,
    generation: u32,
}

/// Seals the records of one segment, in order.
#[derive(Debug)]
pub struct Sealer {
    keys: Keys,
    first: u64,
    next: u64,
    head: Hash,
}

/// The key of a segment, or of what is left of it.
pub struct Keys(Zeroizing<[u8; 32]>);

/// Opens records of one segment, in order.
pub(super) struct Opener {
    keys: Keys,
    first: u64,
    next: u64,
    unpacker: Decompressor<'static>,
}

impl Packer {
    /// Begins.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Self, SealError> {
        Compressor::with_dictionary(LEVEL, WORDS).map(Self).map_err(SealError::Pack)
    }

    /// Packs a record, which authorities of this generation can read.
    ///
    /// # Errors
    /// When it is longer than any.
    pub fn pack(&mut self, record: &[u8], generation: u32) -> Result<Packed, SealError> {
        let long = || SealError::Length(record.len());
        let plain = u32::try_from(record.len()).map_err(|_beyond| long())?;
        if plain == 0 || plain > MAX_PLAIN {
            return Err(long());
        }
        let bytes = self.0.compress(record).map_err(SealError::Pack)?;
        let body = u32::try_from(bytes.len()).map_err(|_beyond| long())?.saturating_add(TAG);
        if body > MAX_BODY { Err(long()) } else { Ok(Packed { bytes, plain, generation }) }
    }
}

impl Packed {
    /// How many bytes its frame has.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        usize::try_from(TAG)
            .unwrap_or(usize::MAX)
            .saturating_add(self.bytes.len())
            .saturating_add(super::frame::HEAD_BYTES)
    }
}

impl Sealer {
    /// Begins a segment with record `first`, behind the frame of this hash, and encrypts its key.
    ///
    /// # Errors
    /// When the recording key is none.
    pub fn begin(
        (first, previous): (u64, Hash),
        to: &RecordingKey,
    ) -> Result<(Self, Cover), SealError> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).map_err(|_says_no_more| SealError::Cipher)?;
        let mut cover = Cover { first, previous, key: to.name(), sealed: [0; SEALED] };
        let sealed = encrypt(to, (INFO, &cover.header()), &*secret).map_err(SealError::Key)?;
        cover.sealed = sealed.try_into().map_err(|_other_length| SealError::Cipher)?;
        let sealer = Self { keys: Keys(secret), first, next: first, head: cover.hash() };
        Ok((sealer, cover))
    }

    /// The hash of the newest frame; of the cover, before the first.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.head
    }

    /// Whether there is no place for another.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.next.saturating_sub(self.first) >= MAX_FRAMES
    }

    /// Seals the next record; its key is forgotten. One that is not kept afterwards is missing: no other can have its place
    /// in this segment.
    ///
    /// # Errors
    /// When the segment is full.
    pub fn seal(&mut self, packed: Packed) -> Result<Vec<u8>, SealError> {
        if self.is_full() {
            return Err(SealError::Full);
        }
        let Packed { bytes: mut body, plain, generation } = packed;
        let length = u32::try_from(body.len()).map_err(|_beyond| SealError::Cipher)?;
        let head = FrameHead {
            body: length.saturating_add(TAG),
            plain,
            generation,
            number: self.next,
            previous: self.head,
        };
        let mut frame = head.encode();
        let key = self.keys.take().ok_or(SealError::Cipher)?;
        key.seal_in_place_append_tag(nonce(), Aad::from(&frame), &mut body)
            .map_err(|_says_no_more| SealError::Cipher)?;
        frame.extend_from_slice(&body);
        self.head = Hash::of(&frame);
        self.next = self.next.saturating_add(1);
        Ok(frame)
    }
}

impl Keys {
    /// The next record's own key; what is left has no way back to it.
    fn take(&mut self) -> Option<LessSafeKey> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let own = hmac::sign(&key, OWN);
        self.skip();
        UnboundKey::new(&AES_256_GCM, own.as_ref()).ok().map(LessSafeKey::new)
    }

    /// Goes past a record.
    fn skip(&mut self) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let next = hmac::sign(&key, NEXT);
        for (to, from) in self.0.iter_mut().zip(next.as_ref()) {
            *to = *from;
        }
    }
}

impl OpeningKey {
    /// Opens a segment's key.
    ///
    /// # Errors
    /// When it is encrypted to another recording key, or the cover was changed.
    pub fn segment(&self, cover: &Cover) -> Result<Keys, OpenError> {
        if cover.key != self.public().name() {
            return Err(OpenError::Key(cover.key));
        }
        let secret = Zeroizing::new(self.decrypt((INFO, &cover.header()), &cover.sealed)?);
        let mut keys = Zeroizing::new([0; 32]);
        if secret.len() != keys.len() {
            return Err(OpenError::Length);
        }
        keys.copy_from_slice(&secret);
        Ok(Keys(keys))
    }
}

impl Opener {
    /// Opens the segment that begins with record `first`.
    pub(super) fn new(keys: Keys, first: u64) -> Result<Self, std::io::Error> {
        let unpacker = Decompressor::with_dictionary(WORDS)?;
        Ok(Self { keys, first, next: first, unpacker })
    }

    /// The record in a frame, as it was written; nothing when the frame is not what was sealed in its place. Frames before one
    /// that was opened cannot be opened any more.
    pub(super) fn open(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let head = frame.head();
        let place = head.number.checked_sub(self.first)?;
        if place >= MAX_FRAMES || head.number < self.next {
            return None;
        }
        while self.next < head.number {
            self.keys.skip();
            self.next = self.next.saturating_add(1);
        }
        let key = self.keys.take()?;
        self.next = self.next.saturating_add(1);
        let mut body = frame.body().to_vec();
        let packed = key.open_in_place(nonce(), Aad::from(head.encode()), &mut body).ok()?;
        // What it says beyond its limit is never made room for.
        let room = usize::try_from(head.plain).ok()?;
        let plain = self.unpacker.decompress(packed, room).ok()?;
        (plain.len() == room).then_some(plain)
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("next", &self.next).finish_non_exhaustive()
    }
}

/// The same for every record: each has a key of its own.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// What HPKE is told that it is for.
const INFO: &[u8] = b"spool@curfew.internal";
/// What a key gives: the next record's own, and the key after it.
const OWN: &[u8] = b"curfew spool record v1";
const NEXT: &[u8] = b"curfew spool next v1";
/// Records of the usual kinds. A part of the format: what was packed with other words is not read with these.
const WORDS: &[u8] = include_bytes!("words.txt");
/// Of zstd: its own default.
const LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> OpeningKey {
        OpeningKey::new(&[seed; 32]).unwrap()
    }

    fn sealed(texts: &[&[u8]]) -> (Cover, Vec<Vec<u8>>) {
        let (mut sealer, cover) = Sealer::begin((7, Hash([1; 32])), &key(9).public()).unwrap();
        let mut packer = Packer::new().unwrap();
        let seal = |text: &&[u8]| sealer.seal(packer.pack(text, 1).unwrap()).unwrap();
        let frames = texts.iter().map(seal).collect();
        (cover, frames)
    }

    fn read(frame: &[u8]) -> Frame<'_> {
        let (frame, rest) = Frame::read(frame).unwrap();
        assert!(rest.is_empty());
        frame
    }

    #[test]
    fn records_are_opened_in_order_and_from_the_middle_and_each_holds_the_one_before() {
        let (cover, frames) = sealed(&[b"one", b"two", b"three"]);
        let mut opener = Opener::new(key(9).segment(&cover).unwrap(), 7).unwrap();
        let mut previous = cover.hash();
        for (frame, text) in frames.iter().zip(["one", "two", "three"]) {
            let frame = read(frame);
            assert_eq!(frame.head().previous, previous);
            assert_eq!(opener.open(&frame).unwrap(), text.as_bytes());
            previous = frame.hash();
        }
        let mut opener = Opener::new(key(9).segment(&cover).unwrap(), 7).unwrap();
        assert_eq!(opener.open(&read(&frames[2])).unwrap(), b"three");
        assert_eq!(opener.open(&read(&frames[1])), None, "its key is gone");
    }

    #[test]
    fn every_changed_byte_is_found_and_costs_nothing_behind_it() {
        let (cover, frames) = sealed(&[b"one", b"two"]);
        for at in 0..frames[0].len() {
            let mut changed = frames[0].clone();
            changed[at] ^= 1;
            let mut opener = Opener::new(key(9).segment(&cover).unwrap(), 7).unwrap();
            if let Ok((frame, _)) = Frame::read(&changed) {
                assert_eq!(opener.open(&frame), None, "{at}");
            }
            let mut opener = Opener::new(key(9).segment(&cover).unwrap(), 7).unwrap();
            assert_eq!(opener.open(&read(&frames[1])).unwrap(), b"two", "{at}");
        }
    }

    #[test]
    fn a_changed_cover_and_another_key_open_nothing() {
        let (cover, _) = sealed(&[b"one"]);
        assert!(matches!(key(8).segment(&cover), Err(OpenError::Key(_))));
        for change in [
            Cover { first: 8, ..cover.clone() },
            Cover { previous: Hash([2; 32]), ..cover.clone() },
            Cover { sealed: [0; SEALED], ..cover },
        ] {
            assert!(key(9).segment(&change).is_err());
        }
    }

    #[test]
    fn a_segment_has_an_end() {
        let (mut sealer, _) = Sealer::begin((1, Hash([0; 32])), &key(9).public()).unwrap();
        sealer.next = MAX_FRAMES;
        let mut packer = Packer::new().unwrap();
        sealer.seal(packer.pack(b"x", 1).unwrap()).unwrap();
        assert!(sealer.is_full());
        let over = sealer.seal(packer.pack(b"x", 1).unwrap());
        assert!(matches!(over, Err(SealError::Full)));
    }

    #[test]
    fn what_is_longer_than_any_is_not_sealed() {
        let mut packer = Packer::new().unwrap();
        let most = usize::try_from(MAX_PLAIN).unwrap();
        assert!(matches!(packer.pack(&vec![b'x'; most + 1], 1), Err(SealError::Length(_))));
        assert!(matches!(packer.pack(b"", 1), Err(SealError::Length(0))));
        let long = packer.pack(&vec![b'x'; most], 1).unwrap();
        assert!(long.frame_bytes() < 4_096);
    }

    /// What a program is recorded in is a third of what it was, its frame included.
    #[test]
    fn a_usual_record_is_packed_well() {
        let exec = br#"{"number":48213,"at":1796084417123,"uptime":91034120311456,"session":"5d1c9a77e02b4f10","event":{"exec":{"sequence":901,"pid":48120,"parent":48002,"uid":1001,"euid":1001,"path":"/usr/bin/gcc","arguments":["gcc","-O2","-c","src/main.c","-o","build/main.o"],"cut":0,"nameless":false,"program":{"resolved":"/usr/bin/x86_64-linux-gnu-gcc-14","inode":1203411,"device":[254,1],"folder":"/home/deploy/work","gid":1001,"egid":1001,"login_uid":1001}}}}"#;
        let packed = Packer::new().unwrap().pack(exec, 1).unwrap();
        assert!(packed.frame_bytes() * 10 < exec.len() * 7, "{}", packed.frame_bytes());
    }

    #[test]
    #[ignore = "a measurement, for a release build: `--release -- --ignored --nocapture`"]
    #[expect(clippy::disallowed_methods, reason = "it measures time")]
    fn what_sealing_costs() {
        let exec = br#"{"number":48213,"at":1796084417123,"uptime":91034120311456,"session":"5d1c9a77e02b4f10","event":{"exec":{"sequence":901,"pid":48120,"parent":48002,"uid":1001,"euid":1001,"path":"/usr/bin/gcc","arguments":["gcc","-O2","-c","src/main.c","-o","build/main.o"],"cut":0,"nameless":false,"program":{"resolved":"/usr/bin/x86_64-linux-gnu-gcc-14","inode":1203411,"device":[254,1],"folder":"/home/deploy/work","gid":1001,"egid":1001,"login_uid":1001}}}}"#;
        let mut packer = Packer::new().unwrap();
        let begun = std::time::Instant::now();
        let (mut sealer, cover) = Sealer::begin((1, Hash([1; 32])), &key(9).public()).unwrap();
        println!("a segment is begun in {:?}", begun.elapsed());
        let count = 50_000_u32;
        let begun = std::time::Instant::now();
        let packed: Vec<Packed> = (0..count).map(|_| packer.pack(exec, 1).unwrap()).collect();
        println!("packed in {:?} each", begun.elapsed() / count);
        let begun = std::time::Instant::now();
        let frames: Vec<Vec<u8>> =
            packed.into_iter().map(|packed| sealer.seal(packed).unwrap()).collect();
        println!(
            "sealed in {:?} each, {} bytes of {}",
            begun.elapsed() / count,
            frames[0].len(),
            exec.len()
        );
        let begun = std::time::Instant::now();
        let mut opener = Opener::new(key(9).segment(&cover).unwrap(), 1).unwrap();
        assert!(frames.iter().all(|frame| opener.open(&read(frame)).is_some()));
        println!("opened in {:?} each", begun.elapsed() / count);
    }

    /// What was sealed by version 1 must be opened by every version: whoever changes the words makes a version 2.
    #[test]
    fn the_words_are_a_part_of_the_format() {
        assert_eq!(Hash::of(WORDS).to_string(), KNOWN);
    }

    const KNOWN: &str = "W8iHRGvF2+RhD+e8NVJ3CxxJMiVrcdifgaYN4FQu2Cc=";
}
