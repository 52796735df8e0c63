//! Public keys as PKCS#11 objects describe them, in both directions. Pure.
//!
//! Source: PKCS#11 3.1, 6.3 (elliptic curves) and 6.1 (RSA); RFC 8410 for the name of Ed25519.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, KeyType};
use ssh_key::encoding::Encode as _;
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, Mpint, PublicKey, Signature};

use super::TokenError;
use crate::config::keys::Kind;
use crate::key::{ecdsa, make::element};

/// The public key that these attributes describe; none if it is of a kind that SSH has no name for.
pub(super) fn public(attributes: &[Attribute]) -> Option<PublicKey> {
    let kind = attributes.iter().find_map(|attribute| match attribute {
        Attribute::KeyType(kind) => Some(*kind),
        _ => None,
    })?;
    let mut blob = Vec::new();
    if kind == KeyType::RSA {
        let (n, e) = (modulus(attributes)?, exponent(attributes)?);
        "ssh-rsa".encode(&mut blob).ok()?;
        Mpint::from_positive_bytes(e).encode(&mut blob).ok()?;
        Mpint::from_positive_bytes(n).encode(&mut blob).ok()?;
    } else {
        let (curve, point) = (curve(attributes)?, point(attributes)?);
        match curve {
            None => "ssh-ed25519".encode(&mut blob).ok()?,
            Some(curve) => {
                format!("ecdsa-sha2-{curve}").encode(&mut blob).ok()?;
                curve.as_str().encode(&mut blob).ok()?;
            }
        }
        point.encode(&mut blob).ok()?;
    }
    wire::key::from_bytes(&blob).ok().map(PublicKey::from)
}

/// How a key of this kind signs, and what is given to the token: some hash by themselves.
pub(super) fn mechanism(key: &PublicKey, message: &[u8]) -> Option<(Mechanism<'static>, Vec<u8>)> {
    use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
    let hashed = |algorithm| (Mechanism::Ecdsa, digest(algorithm, message).as_ref().to_vec());
    match key.key_data() {
        KeyData::Ed25519(_) => {
            let params = EddsaParams::new(EddsaSignatureScheme::Pure);
            Some((Mechanism::Eddsa(params), message.to_vec()))
        }
        KeyData::Rsa(_) => Some((Mechanism::Sha512RsaPkcs, message.to_vec())),
        KeyData::Ecdsa(EcdsaPublicKey::NistP256(_)) => Some(hashed(&SHA256)),
        KeyData::Ecdsa(EcdsaPublicKey::NistP384(_)) => Some(hashed(&SHA384)),
        KeyData::Ecdsa(EcdsaPublicKey::NistP521(_)) => Some(hashed(&SHA512)),
        _ => None,
    }
}

/// What the token made, as SSH writes it.
pub(super) fn signature(key: &PublicKey, raw: &[u8]) -> Result<Signature, TokenError> {
    let odd = |error: String| TokenError::Signature(error);
    match key.algorithm() {
        Algorithm::Ecdsa { curve } => {
            ecdsa::signature(curve, raw).map_err(|error| odd(error.to_string()))
        }
        Algorithm::Rsa { .. } => {
            Signature::new(Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, raw)
                .map_err(|error| odd(error.to_string()))
        }
        algorithm => Signature::new(algorithm, raw).map_err(|error| odd(error.to_string())),
    }
}

/// How a key of this kind is made: the mechanism, and what its public half is to be.
pub(super) fn making(kind: Kind) -> (Mechanism<'static>, Vec<Attribute>) {
    let curve = |oid: &[u8]| vec![Attribute::EcParams(oid.to_vec())];
    let rsa = |bits: u64| {
        vec![Attribute::ModulusBits(bits.into()), Attribute::PublicExponent(vec![1, 0, 1])]
    };
    match kind {
        Kind::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, curve(ED25519)),
        Kind::EcdsaP256 => (Mechanism::EccKeyPairGen, curve(P256)),
        Kind::EcdsaP384 => (Mechanism::EccKeyPairGen, curve(P384)),
        Kind::EcdsaP521 => (Mechanism::EccKeyPairGen, curve(P521)),
        Kind::Rsa3072 => (Mechanism::RsaPkcsKeyPairGen, rsa(3072)),
        Kind::Rsa4096 => (Mechanism::RsaPkcsKeyPairGen, rsa(4096)),
    }
}

/// The curve; within, nothing for Ed25519.
fn curve(attributes: &[Attribute]) -> Option<Option<EcdsaCurve>> {
    let name = attributes.iter().find_map(|attribute| match attribute {
        Attribute::EcParams(name) => Some(name.as_slice()),
        _ => None,
    })?;
    match name {
        ED25519 | ED25519_IN_WORDS => Some(None),
        P256 => Some(Some(EcdsaCurve::NistP256)),
        P384 => Some(Some(EcdsaCurve::NistP384)),
        P521 => Some(Some(EcdsaCurve::NistP521)),
        _ => None,
    }
}

/// The point: as the standard says inside an octet string, by some tokens bare.
fn point(attributes: &[Attribute]) -> Option<&[u8]> {
    let point = attributes.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => Some(point.as_slice()),
        _ => None,
    })?;
    match element(point, OCTETS) {
        Some((inner, [])) if point.len() != ED25519_POINT => Some(inner),
        _ => Some(point),
    }
}

fn modulus(attributes: &[Attribute]) -> Option<&[u8]> {
    attributes.iter().find_map(|attribute| match attribute {
        Attribute::Modulus(number) => Some(number.as_slice()),
        _ => None,
    })
}

fn exponent(attributes: &[Attribute]) -> Option<&[u8]> {
    attributes.iter().find_map(|attribute| match attribute {
        Attribute::PublicExponent(number) => Some(number.as_slice()),
        _ => None,
    })
}

const OCTETS: u8 = 4;
const ED25519_POINT: usize = 32;
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED25519_IN_WORDS: &[u8] = b"\x13\x0cedwards25519";
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_point_is_read_wrapped_and_bare() {
        // A bare point may begin like an octet string.
        let mut point = vec![7; 32];
        (point[0], point[1]) = (4, 30);
        let wrapped = [&[4, 32], point.as_slice()].concat();
        for (name, point) in [(ED25519, wrapped), (ED25519_IN_WORDS, point.clone())] {
            let attributes = [
                Attribute::KeyType(KeyType::EC_EDWARDS),
                Attribute::EcParams(name.to_vec()),
                Attribute::EcPoint(point),
            ];
            let key = public(&attributes).unwrap();
            assert_eq!(key.key_data().ed25519().unwrap().0[..3], [4, 30, 7]);
        }
    }

    #[test]
    fn what_ssh_has_no_name_for_is_no_key() {
        let unknown = [
            vec![],
            vec![Attribute::KeyType(KeyType::AES)],
            vec![
                Attribute::KeyType(KeyType::EC),
                Attribute::EcParams(vec![0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]),
                Attribute::EcPoint(vec![4; 67]),
            ],
            vec![
                Attribute::KeyType(KeyType::EC),
                Attribute::EcParams(P256.to_vec()),
                Attribute::EcPoint(vec![4, 3, 1, 2, 3]),
            ],
            vec![Attribute::KeyType(KeyType::RSA), Attribute::Modulus(vec![1; 384])],
        ];
        for attributes in unknown {
            assert_eq!(public(&attributes), None, "{attributes:?}");
        }
    }
}
