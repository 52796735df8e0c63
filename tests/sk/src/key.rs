//! The keys themselves, and what they sign (PROTOCOL.u2f).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// ECDSA over P-256.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

impl Algorithm {
    /// By the interface's number.
    pub(crate) const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Ecdsa),
            1 => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// What a signature says of the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    /// As `touched` and `verified` say, whatever is true.
    pub(crate) fn claimed(words: &str) -> Self {
        let flag = |word: &str| match word {
            "touched" => TOUCHED,
            "verified" => VERIFIED,
            _ => 0,
        };
        Self(words.split(',').map(flag).fold(0, |all, flag| all | flag))
    }
}

/// A key that was made.
pub(crate) struct Token {
    /// As SSH has it: 32 bytes, or a point.
    pub(crate) public: Vec<u8>,
    /// PKCS #8; a real token would give out a wrapped key, or a number.
    pub(crate) handle: Vec<u8>,
}

impl Token {
    /// A fresh one.
    pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519 => {
                let handle = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
                let pair = Ed25519KeyPair::from_pkcs8(handle.as_ref()).ok()?;
                let public = pair.public_key().as_ref().to_vec();
                Some(Self { public, handle: handle.as_ref().to_vec() })
            }
            Algorithm::Ecdsa => {
                let random = SystemRandom::new();
                let handle =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
                let pair = ecdsa(handle.as_ref())?;
                let public = pair.public_key().as_ref().to_vec();
                Some(Self { public, handle: handle.as_ref().to_vec() })
            }
        }
    }
}

/// A signature's parts.
pub(crate) struct Signed {
    /// How often the token signed; ours cannot count.
    pub(crate) counter: u32,
    /// R, or the whole of an Ed25519 signature.
    pub(crate) r: Vec<u8>,
    /// S, for ECDSA.
    pub(crate) s: Option<Vec<u8>>,
}

/// Signs `data` for `application` with the key in `handle`.
pub(crate) fn sign(
    algorithm: Algorithm,
    handle: &[u8],
    (application, data): (&[u8], &[u8]),
    flags: Flags,
) -> Option<Signed> {
    let (application, data) = (digest(&SHA256, application), digest(&SHA256, data));
    let counter = COUNTER.to_be_bytes();
    let message = [application.as_ref(), &[flags.0], &counter, data.as_ref()].concat();
    match algorithm {
        Algorithm::Ed25519 => {
            let signature = Ed25519KeyPair::from_pkcs8(handle).ok()?.sign(&message);
            Some(Signed { counter: COUNTER, r: signature.as_ref().to_vec(), s: None })
        }
        Algorithm::Ecdsa => {
            let signature = ecdsa(handle)?.sign(&SystemRandom::new(), &message).ok()?;
            let (r, s) = signature.as_ref().split_at_checked(32)?;
            Some(Signed { counter: COUNTER, r: r.to_vec(), s: Some(s.to_vec()) })
        }
    }
}

fn ecdsa(handle: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, handle).ok()
}

const TOUCHED: u8 = 0x01;
const VERIFIED: u8 = 0x04;
/// Every signature says this.
const COUNTER: u32 = 7;
