//! Reading a certificate: what OpenSSH reads, in the one form it writes, or why not.

use crate::blob::{Blob, Short};
use crate::key::{self, KeyFlaw, KeyKind};
use crate::octets::Octets;
use crate::signature;

use super::{Certificate, Kind, MAX_BYTES, MAX_PRINCIPALS, Malformed, Options};

/// Reads all of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Certificate, Malformed> {
    if bytes.len() > MAX_BYTES {
        return Err(Malformed::Length(bytes.len()));
    }
    let mut from = Blob::new(bytes);
    let name = from.string()?;
    let key_kind =
        KeyKind::certified_as(name).ok_or_else(|| Malformed::Type(Octets::new(name).display()))?;
    let nonce = Octets::new(from.string()?);
    let subject = subject(key_kind, &mut from)?;
    let serial = from.u64()?;
    let kind = kind(from.u32()?)?;
    let key_id = text("key id", from.string()?)?;
    let principals = principals(from.string()?)?;
    let (valid_after, valid_before) = (from.u64()?, from.u64()?);
    let critical = Options::read(from.string()?)?;
    let extensions = from.string()?;
    let extensions_end = bytes.len().saturating_sub(from.rest().len());
    let extensions_at = (extensions_end.saturating_sub(extensions.len()), extensions_end);
    let extensions = Options::read(extensions)?;
    // Reserved, and passed over by OpenSSH; the signature covers it.
    from.string()?;
    let authority = key::from_bytes(from.string()?).map_err(Malformed::Authority)?;
    let signed = bytes.len().saturating_sub(from.rest().len());
    let signature = signature::from_bytes(from.string()?).map_err(Malformed::Signature)?;
    signature::fits(&authority, &signature).map_err(Malformed::Signature)?;
    if !from.is_done() {
        return Err(Malformed::Trailing);
    }
    let bytes = bytes.to_vec();
    Ok(Certificate {
        bytes,
        signed,
        extensions_at,
        nonce,
        subject,
        serial,
        kind,
        key_id,
        principals,
        valid_after,
        valid_before,
        critical,
        extensions,
        authority,
        signature,
    })
}

/// The subject's key stands without its name, which is the certificate's.
fn subject(kind: KeyKind, from: &mut Blob<'_>) -> Result<ssh_key::public::KeyData, Malformed> {
    let parts = from.strings(kind.strings())?;
    let mut blob = Vec::with_capacity(parts.len().saturating_add(64));
    crate::blob::put(&mut blob, kind.name().as_bytes());
    blob.extend_from_slice(parts);
    key::from_bytes(&blob).map_err(|flaw| match flaw {
        KeyFlaw::Short => Malformed::Short,
        other => Malformed::Subject(other),
    })
}

const fn kind(number: u32) -> Result<Kind, Malformed> {
    match number {
        1 => Ok(Kind::User),
        2 => Ok(Kind::Host),
        other => Err(Malformed::Kind(other)),
    }
}

fn principals(bytes: &[u8]) -> Result<Vec<Octets>, Malformed> {
    let mut from = Blob::new(bytes);
    let mut principals = Vec::new();
    while !from.is_done() {
        if principals.len() >= MAX_PRINCIPALS {
            return Err(Malformed::Principals);
        }
        principals.push(text("principal", from.string()?)?);
    }
    Ok(principals)
}

/// Text as C reads it must not end early.
pub(super) fn text(what: &'static str, bytes: &[u8]) -> Result<Octets, Malformed> {
    if bytes.contains(&0) { Err(Malformed::Nul(what)) } else { Ok(Octets::new(bytes)) }
}

impl From<Short> for Malformed {
    fn from(_short: Short) -> Self {
        Self::Short
    }
}
