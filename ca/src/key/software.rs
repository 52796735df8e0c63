//! A private key in this process's memory. It signs through aws-lc, whose copy is wiped when it is dropped.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA512,
};
use ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, Signature};
use zeroize::Zeroizing;

use super::{Sign, SignError, ecdsa};

/// A key that is held here.
pub(super) struct SoftwareKey {
    public: PublicKey,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaCurve, EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// Not decrypted.
    #[error("the key is encrypted")]
    Encrypted,
    /// Not a type that this program signs with.
    #[error("keys of type {0} are not signed with; use ed25519, ecdsa or rsa")]
    Kind(String),
    /// Too weak, or too much work.
    #[error("an RSA key of {0} bits is not used; take {MIN_RSA} to {MAX_RSA}")]
    Size(u32),
    /// The two halves do not belong together.
    #[error("the key is damaged: its parts do not belong together")]
    Damaged,
}

impl SoftwareKey {
    /// Takes a copy of the key into aws-lc.
    pub(super) fn new(key: &PrivateKey) -> Result<Self, Unusable> {
        let pair = match key.key_data() {
            KeypairData::Ed25519(pair) => {
                let (seed, public) = (Zeroizing::new(pair.private.to_bytes()), pair.public);
                Ed25519KeyPair::from_seed_and_public_key(&*seed, public.as_ref())
                    .map(Pair::Ed25519)
                    .map_err(|_rejected| Unusable::Damaged)?
            }
            KeypairData::Ecdsa(pair) => Pair::Ecdsa(pair.curve(), ecdsa_pair(pair)?),
            KeypairData::Rsa(pair) => Pair::Rsa(rsa_pair(pair)?),
            KeypairData::Encrypted(_) => return Err(Unusable::Encrypted),
            _ => return Err(Unusable::Kind(key.algorithm().to_string())),
        };
        let public = PublicKey::new(key.public_key().key_data().clone(), "");
        Ok(Self { public, pair })
    }
}

impl Sign for SoftwareKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn waits(&self) -> bool {
        false
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let random = SystemRandom::new();
        let failed = |_unspecified| SignError::Computation;
        match &self.pair {
            Pair::Ed25519(pair) => {
                let raw = pair.try_sign(message).map_err(failed)?;
                Ok(Signature::new(Algorithm::Ed25519, raw.as_ref())?)
            }
            Pair::Ecdsa(curve, pair) => {
                let raw = pair.sign(&random, message).map_err(failed)?;
                ecdsa::signature(*curve, raw.as_ref())
            }
            Pair::Rsa(pair) => {
                let mut raw = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA512, &random, message, &mut raw).map_err(failed)?;
                Ok(Signature::new(Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, raw)?)
            }
        }
    }
}

fn ecdsa_pair(pair: &EcdsaKeypair) -> Result<EcdsaKeyPair, Unusable> {
    let algorithm = match pair.curve() {
        EcdsaCurve::NistP256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        EcdsaCurve::NistP384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        EcdsaCurve::NistP521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    };
    let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
    let made = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public);
    made.map_err(|_rejected| Unusable::Damaged)
}

fn rsa_pair(pair: &RsaKeypair) -> Result<rsa::KeyPair, Unusable> {
    if !(MIN_RSA..=MAX_RSA).contains(&pair.key_size()) {
        return Err(Unusable::Size(pair.key_size()));
    }
    let plain = |number: &ssh_key::Mpint| {
        let bytes = number.as_positive_bytes().ok_or(Unusable::Damaged)?;
        Ok::<_, Unusable>(Zeroizing::new(bytes.to_vec()))
    };
    let (public, private) = (pair.public(), pair.private());
    let (d, p, q) = (plain(private.d())?, plain(private.p())?, plain(private.q())?);
    let components = rsa::KeyPairComponents {
        public_key: rsa::PublicKeyComponents { n: plain(public.n())?, e: plain(public.e())? },
        dP: remainder(&d, &less_one(&p)),
        dQ: remainder(&d, &less_one(&q)),
        qInv: plain(private.iqmp())?,
        d,
        p,
        q,
    };
    let bytes = rsa::KeyPairComponents {
        public_key: rsa::PublicKeyComponents {
            n: components.public_key.n.as_slice(),
            e: components.public_key.e.as_slice(),
        },
        d: components.d.as_slice(),
        p: components.p.as_slice(),
        q: components.q.as_slice(),
        dP: components.dP.as_slice(),
        dQ: components.dQ.as_slice(),
        qInv: components.qInv.as_slice(),
    };
    rsa::KeyPair::from_components(&bytes).map_err(|_rejected| Unusable::Damaged)
}

/// One less than an odd number, big-endian.
fn less_one(odd: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut even = Zeroizing::new(odd.to_vec());
    if let Some(last) = even.last_mut() {
        *last &= 0xfe;
    }
    even
}

/// `value` modulo `modulus`, both big-endian, bit by bit: OpenSSH's files leave the two exponents of RSA's shortcut out.
fn remainder(value: &[u8], modulus: &[u8]) -> Zeroizing<Vec<u8>> {
    // One byte more, for the doubling.
    let mut rest = Zeroizing::new(vec![0_u8; modulus.len().saturating_add(1)]);
    let mut wide = Zeroizing::new(vec![0_u8]);
    wide.extend_from_slice(modulus);
    for bit in value.iter().flat_map(|byte| (0..8).rev().map(move |at| (byte >> at) & 1)) {
        let mut carry = bit;
        for digit in rest.iter_mut().rev() {
            let next = *digit >> 7;
            *digit = (*digit << 1) | carry;
            carry = next;
        }
        if rest.as_slice() >= wide.as_slice() {
            let mut borrow = false;
            for (digit, take) in rest.iter_mut().zip(wide.iter()).rev() {
                let (less, first) = digit.overflowing_sub(*take);
                let (less, second) = less.overflowing_sub(u8::from(borrow));
                *digit = less;
                borrow = first || second;
            }
        }
    }
    rest
}

/// Smallest RSA key that signs for an authority.
pub(super) const MIN_RSA: u32 = 3072;
/// Largest: the work grows with the cube.
pub(super) const MAX_RSA: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_arithmetic() {
        proptest::proptest!(|(value: u64, modulus in 1_u32..)| {
            let rest = remainder(&value.to_be_bytes(), &modulus.to_be_bytes());
            let expected = value.checked_rem(modulus.into()).unwrap();
            let rest = rest.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
            proptest::prop_assert_eq!(rest, expected);
        });
    }
}
