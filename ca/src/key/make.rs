//! New private keys, by the system's randomness, in OpenSSH's form.

use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use ssh_key::encoding::{Decode as _, Encode as _};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{EcdsaCurve, Mpint};
use zeroize::Zeroizing;

use crate::config::keys::Kind;
use crate::random::{self, NoRandomness};

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The computation failed.
    #[error("no key could be computed")]
    Computation,
    /// The key cannot be written in OpenSSH's form.
    #[error("the key cannot be written: {0}")]
    Form(#[from] ssh_key::Error),
}

/// Makes a key pair of this kind.
pub(super) fn pair(kind: Kind) -> Result<KeypairData, NotMade> {
    let (p256, p384, p521) = (
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &ECDSA_P384_SHA384_FIXED_SIGNING,
        &ECDSA_P521_SHA512_FIXED_SIGNING,
    );
    match kind {
        Kind::Ed25519 => {
            let seed = Zeroizing::new(random::bytes::<32>()?);
            Ok(Ed25519Keypair::from_seed(&seed).into())
        }
        Kind::EcdsaP256 => ecdsa(p256, EcdsaCurve::NistP256),
        Kind::EcdsaP384 => ecdsa(p384, EcdsaCurve::NistP384),
        Kind::EcdsaP521 => ecdsa(p521, EcdsaCurve::NistP521),
        Kind::Rsa3072 => rsa(rsa::KeySize::Rsa3072),
        Kind::Rsa4096 => rsa(rsa::KeySize::Rsa4096),
    }
}

fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    curve: EcdsaCurve,
) -> Result<KeypairData, NotMade> {
    let failed = |_unspecified| NotMade::Computation;
    loop {
        let pair = EcdsaKeyPair::generate(algorithm).map_err(failed)?;
        let private: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(failed)?;
        // Some readers refuse a number that is shorter than its curve.
        if private.as_ref().first() == Some(&0) && curve != EcdsaCurve::NistP521 {
            continue;
        }
        let mut blob = Zeroizing::new(Vec::with_capacity(ROOM));
        let name = format!("ecdsa-sha2-{curve}");
        for text in [name.as_bytes(), curve.as_str().as_bytes(), pair.public_key().as_ref()] {
            text.encode(&mut *blob).map_err(ssh_key::Error::from)?;
        }
        let number = Zeroizing::new(Mpint::from_positive_bytes(private.as_ref()));
        number.encode(&mut *blob).map_err(ssh_key::Error::from)?;
        return Ok(KeypairData::decode(&mut blob.as_slice())?);
    }
}

fn rsa(size: rsa::KeySize) -> Result<KeypairData, NotMade> {
    let failed = |_unspecified| NotMade::Computation;
    let pair = rsa::KeyPair::generate(size).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    let [_version, n, e, d, p, q, _dp, _dq, inverse] =
        numbers(der.as_ref()).ok_or(NotMade::Computation)?;
    let mut blob = Zeroizing::new(Vec::with_capacity(ROOM));
    "ssh-rsa".encode(&mut *blob).map_err(ssh_key::Error::from)?;
    for number in [n, e, d, inverse, p, q] {
        let number = Zeroizing::new(Mpint::from_positive_bytes(number));
        number.encode(&mut *blob).map_err(ssh_key::Error::from)?;
    }
    Ok(KeypairData::decode(&mut blob.as_slice())?)
}

/// The nine numbers of an RSA private key (RFC 8017, A.1.2) inside PKCS#8 (RFC 5208).
fn numbers(pkcs8: &[u8]) -> Option<[&[u8]; 9]> {
    let (outer, _) = element(pkcs8, SEQUENCE)?;
    let (_version, outer) = element(outer, INTEGER)?;
    let (_algorithm, outer) = element(outer, SEQUENCE)?;
    let (inner, _) = element(outer, OCTETS)?;
    let (mut rest, _) = element(inner, SEQUENCE)?;
    let mut numbers = [&[][..]; 9];
    for number in &mut numbers {
        (*number, rest) = element(rest, INTEGER)?;
    }
    Some(numbers)
}

/// The content of the first element, which has this tag, and what comes after it (X.690, 8.1).
pub(super) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*length & 0x7f))?;
        let fold = |sum: usize, digit: &u8| Some(sum.checked_mul(256)? | usize::from(*digit));
        (digits.iter().try_fold(0, fold)?, rest)
    };
    if *first == tag { rest.split_at_checked(length) } else { None }
}

const INTEGER: u8 = 2;
const OCTETS: u8 = 4;
const SEQUENCE: u8 = 0x30;
/// Longest private key in OpenSSH's form; room for it, so that growing leaves no copy behind.
const ROOM: usize = 8 * 1024;
