//! Reading a list, as strictly as OpenSSH does: all of it is understood, or it is refused.

use std::collections::BTreeSet;

use ssh_key::PublicKey;

use super::{Certificates, Issuer, Krl, KrlError, MAX_BITS, MAX_BYTES, MAX_RUNS, without_nul};
use crate::octets::Octets;
use crate::time::Timestamp;

/// Reads a whole list.
pub(super) fn read(bytes: &[u8]) -> Result<Krl, KrlError> {
    if bytes.is_empty() {
        return Err(KrlError::Empty);
    }
    if bytes.len() > MAX_BYTES {
        return Err(KrlError::TooLarge(bytes.len()));
    }
    let mut from = Cursor(bytes.strip_prefix(&MAGIC).ok_or(KrlError::Magic)?);
    let format = from.u32()?;
    if format != FORMAT {
        return Err(KrlError::Format(format));
    }
    let mut krl = Krl::new(from.u64()?, Timestamp::from_secs(from.u64()?));
    // Flags and a reserved string: none are defined, and OpenSSH passes over them.
    from.u64()?;
    from.string()?;
    krl.comment = c_string("comment", from.string()?)?;
    let mut runs = 0;
    while !from.is_done() {
        let kind = from.u8()?;
        if kind == SECTION_SIGNATURE {
            return Err(KrlError::Signature);
        }
        let mut section = Cursor(from.string()?);
        match kind {
            CERTIFICATES => certificates(&mut krl, &mut section, &mut runs)?,
            SECTION_KEY => {
                while !section.is_done() {
                    krl.keys.insert(section.string()?.to_vec());
                }
            }
            SECTION_SHA1 => hashes(&mut krl.sha1, &mut section)?,
            SECTION_SHA256 => hashes(&mut krl.sha256, &mut section)?,
            SECTION_EXTENSION => extension(&mut section)?,
            other => return Err(KrlError::Section(other)),
        }
    }
    Ok(krl)
}

/// `runs` counts those of all sections.
fn certificates(krl: &mut Krl, from: &mut Cursor<'_>, runs: &mut usize) -> Result<(), KrlError> {
    let issuer = issuer(from.string()?)?;
    // A reserved string, passed over.
    from.string()?;
    let revoked = krl.certificates.entry(issuer).or_default();
    let elsewhere = runs.saturating_sub(revoked.serials.len());
    while !from.is_done() {
        let kind = from.u8()?;
        let mut section = Cursor(from.string()?);
        match kind {
            LIST => {
                while !section.is_done() {
                    let serial = section.u64()?;
                    revoke(revoked, serial, serial)?;
                }
            }
            RANGE => revoke(revoked, section.u64()?, section.u64()?)?,
            BITMAP => bitmap(revoked, section.u64()?, section.string()?)?,
            KEY_ID => {
                while !section.is_done() {
                    revoked.key_ids.insert(c_string("key id", section.string()?)?);
                }
            }
            CERTIFICATE_EXTENSION => extension(&mut section)?,
            other => return Err(KrlError::CertificateSection(other)),
        }
        section.end()?;
        *runs = elsewhere.saturating_add(revoked.serials.len());
        if *runs > MAX_RUNS {
            return Err(KrlError::TooMany);
        }
    }
    Ok(())
}

fn issuer(blob: &[u8]) -> Result<Issuer, KrlError> {
    if !blob.is_empty() {
        let key = PublicKey::from_bytes(blob).map_err(KrlError::Key)?;
        if key.key_data().is_certificate() {
            return Err(KrlError::NotPlain);
        }
    }
    Ok(Issuer(blob.to_vec()))
}

fn revoke(revoked: &mut Certificates, first: u64, last: u64) -> Result<(), KrlError> {
    if first == 0 {
        return Err(KrlError::SerialZero);
    }
    if last < first {
        return Err(KrlError::Range);
    }
    revoked.serials.insert(first, last);
    Ok(())
}

/// A positive number, highest byte first, with a bit for each serial from `from`.
fn bitmap(revoked: &mut Certificates, from: u64, number: &[u8]) -> Result<(), KrlError> {
    if number.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(KrlError::Negative);
    }
    let is_over = number.len() > MAX_NUMBER && number.first().is_some_and(|byte| *byte != 0);
    if is_over || number.len() > MAX_NUMBER.saturating_add(1) {
        return Err(KrlError::Bitmap);
    }
    let mut run: Option<(u64, u64)> = None;
    for (place, byte) in (0_u64..).zip(number.iter().rev()).filter(|(_, byte)| **byte != 0) {
        for bit in (0..8_u64).filter(|bit| byte >> bit & 1 == 1) {
            let serial = place
                .saturating_mul(8)
                .checked_add(bit)
                .and_then(|bit| from.checked_add(bit))
                .ok_or(KrlError::Wraps)?;
            run = match run {
                Some((first, last)) if last.checked_add(1) == Some(serial) => Some((first, serial)),
                Some((first, last)) => {
                    revoke(revoked, first, last)?;
                    Some((serial, serial))
                }
                None => Some((serial, serial)),
            };
        }
    }
    run.map_or(Ok(()), |(first, last)| revoke(revoked, first, last))
}

fn hashes<const N: usize>(
    to: &mut BTreeSet<[u8; N]>,
    from: &mut Cursor<'_>,
) -> Result<(), KrlError> {
    while !from.is_done() {
        let hash = from.string()?;
        to.insert(hash.try_into().map_err(|_other| KrlError::Fingerprint(hash.len()))?);
    }
    Ok(())
}

/// No extension is known: one that must be understood refuses the list.
fn extension(from: &mut Cursor<'_>) -> Result<(), KrlError> {
    let name = from.string()?;
    let is_critical = from.u8()? != 0;
    from.string()?;
    from.end()?;
    if is_critical {
        return Err(KrlError::Critical(Octets::new(name).display()));
    }
    Ok(())
}

/// Text as C reads it: OpenSSH takes a NUL at the end and refuses one anywhere else.
fn c_string(what: &'static str, bytes: &[u8]) -> Result<Vec<u8>, KrlError> {
    without_nul(what, bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec())
}

/// What is still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    const fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses anything left over.
    const fn end(&self) -> Result<(), KrlError> {
        if self.is_done() { Ok(()) } else { Err(KrlError::Trailing) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KrlError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(KrlError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, KrlError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, KrlError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, KrlError> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], KrlError> {
        let length = usize::try_from(self.u32()?).map_err(|_huge| KrlError::Short)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(KrlError::Short)?;
        self.0 = rest;
        Ok(string)
    }
}

/// How a list begins.
pub(super) const MAGIC: [u8; 8] = *b"SSHKRL\n\0";
/// The format's version.
pub(super) const FORMAT: u32 = 1;
/// The types of sections.
pub(super) const CERTIFICATES: u8 = 1;
pub(super) const SECTION_KEY: u8 = 2;
pub(super) const SECTION_SHA1: u8 = 3;
pub(super) const SECTION_SHA256: u8 = 5;
const SECTION_SIGNATURE: u8 = 4;
const SECTION_EXTENSION: u8 = 255;
/// The types of sections within a section about certificates.
pub(super) const LIST: u8 = 0x20;
pub(super) const RANGE: u8 = 0x21;
pub(super) const BITMAP: u8 = 0x22;
pub(super) const KEY_ID: u8 = 0x23;
const CERTIFICATE_EXTENSION: u8 = 0x39;
/// Longest number that OpenSSH reads, in bytes; a zero byte before it is not counted.
#[expect(clippy::as_conversions, reason = "2,048 fits everywhere, and `try_from` is not const")]
const MAX_NUMBER: usize = (MAX_BITS / 8) as usize;
