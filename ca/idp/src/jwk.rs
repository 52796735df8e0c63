//! Public keys as providers publish them (RFC 7517), those of them that can sign tokens for us.
//!
//! A key of another kind, for another use, or malformed, is left out and counted; it never makes the others useless. No
//! symmetric key is ever taken: a secret that many share proves nobody.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{self, JsonFlaw};

/// An algorithm by which tokens are signed. `none` and those with a shared secret are not here, so that no header can
/// name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA, PKCS #1 1.5, SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSA, PKCS #1 1.5, SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSA, PKCS #1 1.5, SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
    /// RSA-PSS, SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA on P-256, SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384, SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// As tokens name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name; letters count.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// The keys of one issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// How many were left out.
    pub left_out: usize,
}

/// One key.
#[derive(Debug, Clone)]
pub struct Key {
    id: Option<String>,
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a set was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeySetFlaw {
    /// It cannot be read.
    #[error("the set of keys: {0}")]
    Json(#[from] JsonFlaw),
    /// It has no `keys`.
    #[error("the set of keys has no list `keys`")]
    NoKeys,
    /// More than anybody has.
    #[error("the set has {0} keys; at most {MAX_KEYS} are read")]
    Many(usize),
    /// Two keys have one name, so that a token could choose between them.
    #[error("two keys of the set are named {0:?}")]
    Twice(String),
    /// None that can sign for us.
    #[error("none of the set's keys can sign tokens")]
    Nothing,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// When it is none, has two keys of one name, or no key that is of use.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetFlaw> {
        let members = json::object(bytes, MAX_SET)?;
        let Some(Value::Array(list)) = members.get("keys") else { return Err(KeySetFlaw::NoKeys) };
        if list.len() > MAX_KEYS {
            return Err(KeySetFlaw::Many(list.len()));
        }
        let mut set = Self::default();
        for one in list {
            match one.as_object().and_then(Key::of) {
                None => set.left_out = set.left_out.saturating_add(1),
                Some(key) => {
                    if let Some(id) = &key.id
                        && set.keys.iter().any(|known| known.id.as_ref() == Some(id))
                    {
                        return Err(KeySetFlaw::Twice(id.clone()));
                    }
                    set.keys.push(key);
                }
            }
        }
        if set.keys.is_empty() { Err(KeySetFlaw::Nothing) } else { Ok(set) }
    }

    /// The key of this name that makes signatures of this algorithm. Without a name, the only one that does.
    #[must_use]
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.makes(algorithm));
        if id.is_some() {
            return fitting.find(|key| key.id.as_deref() == id);
        }
        let only = fitting.next();
        if fitting.next().is_some() { None } else { only }
    }

    /// Whether there is a key of this name, of whatever algorithm.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl Key {
    fn of(members: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") || members.contains_key("d") {
            return None;
        }
        if let Some(operations) = members.get("key_ops") {
            let verifies = |one: &Value| one.as_str() == Some("verify");
            operations.as_array().filter(|list| list.iter().any(verifies))?;
        }
        let only = match members.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name.as_str()?)?),
        };
        let id = match members.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().filter(|id| id.len() <= MAX_ID)?.to_owned()),
        };
        let point = |width: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let is_whole = x.len() == width && y.len() == width;
            is_whole.then(|| [&[UNCOMPRESSED], &x[..], &y[..]].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", None) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let is_good = (MIN_RSA..=MAX_RSA).contains(&n.len()) && (1..=8).contains(&e.len());
                is_good.then_some(Material::Rsa { n, e })?
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Self { id, only, material }).filter(|key| only.is_none_or(|named| key.makes(named)))
    }

    /// Whether it makes signatures of this algorithm: by what it is, and by what is said of it.
    fn makes(&self, algorithm: Algorithm) -> bool {
        let by_kind = match algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 => {
                matches!(self.material, Material::Rsa { .. })
            }
            Algorithm::Es256 => matches!(self.material, Material::P256(_)),
            Algorithm::Es384 => matches!(self.material, Material::P384(_)),
            Algorithm::EdDsa => matches!(self.material, Material::Ed25519(_)),
        };
        by_kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is by this key over `message`, by this algorithm, which must be one of its own.
    pub(crate) fn has_signed(
        &self,
        algorithm: Algorithm,
        (message, signature): (&[u8], &[u8]),
    ) -> bool {
        if !self.makes(algorithm) {
            return false;
        }
        let verified =
            match &self.material {
                Material::Rsa { n, e } => {
                    let parameters: &RsaParameters = match algorithm {
                        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
                        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
                        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                        _ => &RSA_PKCS1_2048_8192_SHA256,
                    };
                    RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
                }
                Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature),
                Material::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                    .verify(message, signature),
                Material::Ed25519(point) => {
                    UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
                }
            };
        verified.is_ok()
    }
}

/// Longest set: 64 RSA keys of 8,192 bits with certificates come to less.
pub const MAX_SET: usize = 256 * 1024;
/// Most keys of a set; issuers that rotate have two to ten.
const MAX_KEYS: usize = 64;
/// Longest name of a key: a SHA-512 thumbprint in hex is half as long.
pub(crate) const MAX_ID: usize = 256;
/// Bytes of an RSA modulus: 2,048 to 8,192 bits, and a leading zero that some write.
const MIN_RSA: usize = 256;
const MAX_RSA: usize = 1025;
/// What a point begins with whose two numbers follow.
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[String]) -> Result<KeySet, KeySetFlaw> {
        KeySet::parse(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes())
    }

    fn ed25519(more: &str) -> String {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{x}\"{more}}}")
    }

    #[test]
    fn what_cannot_sign_for_us_is_left_out() {
        let secret = "{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"HS256\"}".to_owned();
        let short = format!("{{\"kty\":\"RSA\",\"n\":\"{}\",\"e\":\"AQAB\"}}", "A".repeat(170));
        let table = [
            secret,
            short,
            ed25519(",\"use\":\"enc\""),
            ed25519(",\"key_ops\":[\"sign\"]"),
            ed25519(",\"alg\":\"RS256\""),
            ed25519(",\"alg\":\"none\""),
            ed25519(",\"d\":\"AAAA\""),
            ed25519(",\"kid\":7"),
            "7".to_owned(),
        ];
        for bad in &table {
            assert!(matches!(set(std::slice::from_ref(bad)), Err(KeySetFlaw::Nothing)), "{bad}");
            let both = set(&[bad.clone(), ed25519("")]).unwrap();
            assert_eq!((both.keys.len(), both.left_out), (1, 1), "{bad}");
        }
        assert!(
            set(&[ed25519(",\"use\":\"sig\",\"alg\":\"EdDSA\",\"key_ops\":[\"verify\"]")]).is_ok()
        );
    }

    #[test]
    fn a_name_names_one_key_and_no_name_the_only_one() {
        let (a, b) = (ed25519(",\"kid\":\"a\""), ed25519(",\"kid\":\"b\""));
        assert!(matches!(set(&[a.clone(), a.clone()]), Err(KeySetFlaw::Twice(_))));
        let both = set(&[a.clone(), b]).unwrap();
        assert!(both.find(Some("a"), Algorithm::EdDsa).is_some() && both.knows("b"));
        assert!(both.find(Some("c"), Algorithm::EdDsa).is_none() && !both.knows("c"));
        assert!(both.find(Some("a"), Algorithm::Es256).is_none());
        assert!(both.find(None, Algorithm::EdDsa).is_none());
        assert!(set(&[a]).unwrap().find(None, Algorithm::EdDsa).is_some());
    }

    #[test]
    fn a_set_is_bounded() {
        let many: Vec<String> = (0..65).map(|id| ed25519(&format!(",\"kid\":\"{id}\""))).collect();
        assert!(matches!(set(&many), Err(KeySetFlaw::Many(65))));
        assert!(matches!(KeySet::parse(b"{}"), Err(KeySetFlaw::NoKeys)));
    }
}
