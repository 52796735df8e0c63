//! Signatures by SSH keys, checked by one library over the exact bytes that were signed.
//!
//! Source: RFC 8332 (RSA), 5656 (ECDSA), 8709 (Ed25519), `PROTOCOL.u2f` (security keys). SHA-1 is never believed.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use ssh_key::public::{EcdsaPublicKey, KeyData, RsaPublicKey};
use ssh_key::{Algorithm, HashAlg, Signature};

use crate::blob::Blob;
use crate::key::{self, KeyFlaw, KeyKind};
use crate::octets::Octets;

/// What a security key says in its signature about the person in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Somebody touched it.
    pub touched: bool,
    /// Somebody proved to it who they are, by PIN or finger.
    pub verified: bool,
    /// How often it has signed.
    pub counter: u32,
}

/// Why a signature is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFlaw {
    /// It cannot be read.
    #[error("it is malformed")]
    Form,
    /// SHA-1 can be collided.
    #[error("it rests on SHA-1 (ssh-rsa); use rsa-sha2-256 or rsa-sha2-512")]
    Sha1,
    /// Of an algorithm that is not one of the key's.
    #[error("it is of type {0}, which its key does not make")]
    Algorithm(String),
    /// The key is not one that Curfew works with.
    #[error("its key: {0}")]
    Key(#[from] KeyFlaw),
    /// Longer than the library checks.
    #[error(
        "its RSA key has {0} bits; signatures are checked up to {MAX_CHECKED_BITS}, so it can be certified, but neither certify nor log in to the authority: take a shorter one there"
    )]
    LongRsa(u32),
    /// Not by this key over these bytes.
    #[error("it does not verify")]
    Wrong,
}

/// Reads a signature in its binary form.
///
/// # Errors
/// When it is malformed, or something follows.
pub fn from_bytes(bytes: &[u8]) -> Result<Signature, SignatureFlaw> {
    let signature = Signature::try_from(bytes).map_err(|_unreadable| SignatureFlaw::Form)?;
    if to_bytes(&signature)? == bytes { Ok(signature) } else { Err(SignatureFlaw::Form) }
}

/// A signature's binary form.
///
/// # Errors
/// When it has none.
pub fn to_bytes(signature: &Signature) -> Result<Vec<u8>, SignatureFlaw> {
    Vec::try_from(signature.clone()).map_err(|_unwritable| SignatureFlaw::Form)
}

/// Whether `key` is of a kind that makes signatures like this one.
///
/// # Errors
/// When it is not, or the signature is by SHA-1.
pub fn fits(key: &KeyData, signature: &Signature) -> Result<(), SignatureFlaw> {
    let kind = KeyKind::of(key)?;
    let fits = match signature.algorithm() {
        Algorithm::Rsa { hash: None } => return Err(SignatureFlaw::Sha1),
        Algorithm::Rsa { hash: Some(HashAlg::Sha256 | HashAlg::Sha512) } => kind == KeyKind::Rsa,
        other => kind != KeyKind::Rsa && other.as_str() == kind.name(),
    };
    let name = || Octets::new(signature.algorithm().as_str()).display();
    if fits { Ok(()) } else { Err(SignatureFlaw::Algorithm(name())) }
}

/// Whether signatures by this key can be checked at all.
///
/// # Errors
/// When the key is not one that Curfew works with, or an RSA key beyond [`MAX_CHECKED_BITS`].
pub fn can_verify(key: &KeyData) -> Result<(), SignatureFlaw> {
    key::check(key)?;
    match key.rsa().map(key::rsa_bits) {
        Some(bits) if bits > MAX_CHECKED_BITS => Err(SignatureFlaw::LongRsa(bits)),
        _ => Ok(()),
    }
}

/// Checks that `signature` is by `key` over `message`. What a security key says of its holder comes back, and nothing for
/// other keys; whether that is enough is for the caller to decide.
///
/// # Errors
/// The first reason not to believe it.
pub fn verify(
    key: &KeyData,
    message: &[u8],
    signature: &Signature,
) -> Result<Option<Presence>, SignatureFlaw> {
    fits(key, signature)?;
    can_verify(key)?;
    let bytes = signature.as_bytes();
    match key {
        KeyData::Ed25519(point) => by_ed25519(&point.0, message, bytes).map(|()| None),
        KeyData::Ecdsa(point) => by_ecdsa(point, message, bytes).map(|()| None),
        KeyData::Rsa(numbers) => {
            by_rsa(numbers, message, signature.algorithm(), bytes).map(|()| None)
        }
        KeyData::SkEd25519(security_key) => {
            let (bytes, presence, message) = unpack(security_key.application(), message, bytes)?;
            by_ed25519(&security_key.public_key().0, &message, bytes)?;
            Ok(Some(presence))
        }
        KeyData::SkEcdsaSha2NistP256(security_key) => {
            let (bytes, presence, message) = unpack(security_key.application(), message, bytes)?;
            let point = EcdsaPublicKey::NistP256(*security_key.ec_point());
            by_ecdsa(&point, &message, bytes)?;
            Ok(Some(presence))
        }
        _ => Err(SignatureFlaw::Form),
    }
}

fn by_ed25519(point: &[u8], message: &[u8], bytes: &[u8]) -> Result<(), SignatureFlaw> {
    let key = UnparsedPublicKey::new(&ED25519, point);
    key.verify(message, bytes).map_err(|_unspecified| SignatureFlaw::Wrong)
}

/// Two integers, which the library wants side by side at the curve's full width.
fn by_ecdsa(key: &EcdsaPublicKey, message: &[u8], bytes: &[u8]) -> Result<(), SignatureFlaw> {
    let width = width(key);
    let mut numbers = Blob::new(bytes);
    let mut side_by_side = Vec::with_capacity(width.saturating_mul(2));
    for _ in 0..2 {
        let number = numbers.string().map_err(|_short| SignatureFlaw::Form)?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        let padding = width.checked_sub(number.len()).ok_or(SignatureFlaw::Form)?;
        side_by_side.extend(std::iter::repeat_n(0, padding));
        side_by_side.extend_from_slice(number);
    }
    let key = UnparsedPublicKey::new(key::of_curve(key), key.as_sec1_bytes());
    key.verify(message, &side_by_side).map_err(|_unspecified| SignatureFlaw::Wrong)
}

/// Bytes of a number on this curve.
const fn width(key: &EcdsaPublicKey) -> usize {
    match key {
        EcdsaPublicKey::NistP256(_) => 32,
        EcdsaPublicKey::NistP384(_) => 48,
        EcdsaPublicKey::NistP521(_) => 66,
    }
}

fn by_rsa(
    key: &RsaPublicKey,
    message: &[u8],
    algorithm: Algorithm,
    bytes: &[u8],
) -> Result<(), SignatureFlaw> {
    let parameters: &RsaParameters = match algorithm {
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(SignatureFlaw::Sha1),
    };
    let n = key.n().as_positive_bytes().ok_or(SignatureFlaw::Form)?;
    let e = key.e().as_positive_bytes().ok_or(SignatureFlaw::Form)?;
    // Some ssh-agents leave zero bytes at the beginning out; OpenSSH puts them back too.
    let padding = n.len().checked_sub(bytes.len()).ok_or(SignatureFlaw::Form)?;
    let whole: Vec<u8> = std::iter::repeat_n(0, padding).chain(bytes.iter().copied()).collect();
    let key = RsaPublicKeyComponents { n, e };
    key.verify(parameters, message, &whole).map_err(|_unspecified| SignatureFlaw::Wrong)
}

/// A security key signs a digest of what it is for, its flags and counter, and a digest of the message.
fn unpack<'a>(
    application: &str,
    message: &[u8],
    bytes: &'a [u8],
) -> Result<(&'a [u8], Presence, Vec<u8>), SignatureFlaw> {
    let (signature, said) = bytes.split_last_chunk::<SAID>().ok_or(SignatureFlaw::Form)?;
    let [flags, counter @ ..] = *said;
    let presence = Presence {
        touched: flags & TOUCHED != 0,
        verified: flags & VERIFIED != 0,
        counter: u32::from_be_bytes(counter),
    };
    let sha256 = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes);
    let (purpose, message) = (sha256(application.as_bytes()), sha256(message));
    let signed = [purpose.as_ref(), said.as_slice(), message.as_ref()].concat();
    Ok((signature, presence, signed))
}

/// Most bits of an RSA key whose signatures are checked: what the library checks. Longer keys are certified, but neither
/// certify nor log in to the authority.
pub const MAX_CHECKED_BITS: u32 = 8_192;
/// A security key's signature ends in a byte of flags and a counter of four.
const SAID: usize = 5;
const TOUCHED: u8 = 1;
const VERIFIED: u8 = 4;
