//! Writing a list: header, a section for each issuer, keys, fingerprints in order.

use super::plan::Plan;
use super::reader::{
    BITMAP, CERTIFICATES, FORMAT, KEY_ID, LIST, MAGIC, RANGE, SECTION_KEY, SECTION_SHA1,
    SECTION_SHA256,
};
use super::{Certificates, Issuer, Krl, KrlError, MAX_BYTES, MAX_RUNS};

/// The list as bytes, not yet read back.
pub(super) fn write(krl: &Krl) -> Result<Vec<u8>, KrlError> {
    let runs = krl.certificates.values().map(|revoked| revoked.serials.len());
    if runs.fold(0, usize::saturating_add) > MAX_RUNS {
        return Err(KrlError::TooMany);
    }
    let mut to = Vec::new();
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&FORMAT.to_be_bytes());
    to.extend_from_slice(&krl.version.to_be_bytes());
    to.extend_from_slice(&krl.generated.secs().to_be_bytes());
    to.extend_from_slice(&NO_FLAGS.to_be_bytes());
    put(&mut to, b"")?;
    put(&mut to, &krl.comment)?;
    for (issuer, revoked) in &krl.certificates {
        section(&mut to, CERTIFICATES, &certificates(issuer, revoked)?)?;
    }
    blobs(&mut to, SECTION_KEY, &krl.keys)?;
    blobs(&mut to, SECTION_SHA1, &krl.sha1)?;
    blobs(&mut to, SECTION_SHA256, &krl.sha256)?;
    if to.len() > MAX_BYTES { Err(KrlError::TooLarge(to.len())) } else { Ok(to) }
}

fn certificates(issuer: &Issuer, revoked: &Certificates) -> Result<Vec<u8>, KrlError> {
    let mut to = Vec::new();
    put(&mut to, &issuer.0)?;
    put(&mut to, b"")?;
    let runs: Vec<(u64, u64)> = revoked.serials.runs().collect();
    let plan = Plan::of(&runs);
    if !plan.list.is_empty() {
        let list: Vec<u8> = plan.list.iter().flat_map(|serial| serial.to_be_bytes()).collect();
        section(&mut to, LIST, &list)?;
    }
    for (first, last) in &plan.ranges {
        section(&mut to, RANGE, &[first.to_be_bytes(), last.to_be_bytes()].concat())?;
    }
    for runs in &plan.bitmaps {
        section(&mut to, BITMAP, &bitmap(runs)?)?;
    }
    blobs(&mut to, KEY_ID, &revoked.key_ids)?;
    Ok(to)
}

/// The first serial, and a positive number with a bit for each serial from there.
fn bitmap(runs: &[(u64, u64)]) -> Result<Vec<u8>, KrlError> {
    let (Some((from, _)), Some((_, to))) = (runs.first(), runs.last()) else {
        return Err(KrlError::Range);
    };
    // The highest bit is set, so there is a leading zero byte when it would be the sign.
    let bytes = to.saturating_sub(*from).saturating_add(1) / 8;
    let mut bits = vec![0_u8; usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(1)];
    for serial in runs.iter().flat_map(|(first, last)| *first..=*last) {
        let bit = serial.saturating_sub(*from);
        let place = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(byte) = bits.iter_mut().rev().nth(place) {
            *byte |= 1 << (bit % 8);
        }
    }
    let mut section = from.to_be_bytes().to_vec();
    put(&mut section, &bits)?;
    Ok(section)
}

/// A section of strings; none when there are none.
fn blobs<T: AsRef<[u8]>>(
    to: &mut Vec<u8>,
    kind: u8,
    blobs: impl IntoIterator<Item = T>,
) -> Result<(), KrlError> {
    let mut strings = Vec::new();
    for blob in blobs {
        put(&mut strings, blob.as_ref())?;
    }
    if strings.is_empty() { Ok(()) } else { section(to, kind, &strings) }
}

fn section(to: &mut Vec<u8>, kind: u8, content: &[u8]) -> Result<(), KrlError> {
    to.push(kind);
    put(to, content)
}

/// A string of RFC 4251: its length, then itself.
fn put(to: &mut Vec<u8>, string: &[u8]) -> Result<(), KrlError> {
    let length = u32::try_from(string.len()).map_err(|_longer| KrlError::TooLarge(string.len()))?;
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(string);
    Ok(())
}

/// None are defined.
const NO_FLAGS: u64 = 0;
