//! Signed tokens in compact form (RFC 7515), believed by the rules of RFC 8725.
//!
//! The header chooses nothing that was not allowed before it was read: algorithms come from a list of the settings, the key
//! from the issuer's set and never from the token, and whatever asks to be understood (`crit`) is refused.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json::{self, JsonFlaw};
use crate::jwk::{Algorithm, KeySet, MAX_ID};

/// A token that can be read, and is not believed yet.
#[derive(Debug, Clone)]
pub struct Unverified<'a> {
    algorithm: Algorithm,
    key: Option<String>,
    signed: &'a str,
    payload: Map<String, Value>,
    signature: Vec<u8>,
}

/// What a token says, once its signature was checked. Only [`Unverified::verify`] makes one.
#[derive(Debug)]
#[must_use = "a signature alone says nothing of whom it is for"]
pub struct Verified(Map<String, Value>);

impl Verified {
    /// What it says.
    #[must_use]
    pub fn into_members(self) -> Map<String, Value> {
        self.0
    }
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum TokenFlaw {
    /// Longer than any.
    #[error("the token is {0} bytes long; at most {MAX_TOKEN} are read")]
    Length(usize),
    /// Not three parts in URL-safe base64.
    #[error("the token is not three parts of URL-safe base64 with dots between them")]
    Parts,
    /// Its header or payload is no JSON for us.
    #[error("the token's {part}: {flaw}")]
    Json {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        flaw: JsonFlaw,
    },
    /// Its header lacks something, or has it in another form.
    #[error("the token's header has no usable `{0}`")]
    Header(&'static str),
    /// Its header asks for what is never done here.
    #[error("the token's header has `{0}`, which is refused")]
    Demand(&'static str),
    /// `none`, a shared secret, or one that is unknown.
    #[error("the token is signed by an algorithm that is never believed")]
    Unknown,
    /// One that was not allowed.
    #[error("the token is signed by {}, which is not allowed here", .0.name())]
    Algorithm(Algorithm),
    /// The set has no such key: perhaps the issuer has a new one.
    #[error("the issuer publishes no key that the token names")]
    NoKey,
    /// By no key of the issuer.
    #[error("the token's signature is not by its issuer")]
    Signature,
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// When it has another form, or its header asks for what is never done.
    pub fn parse(text: &'a str) -> Result<Self, TokenFlaw> {
        if text.len() > MAX_TOKEN {
            return Err(TokenFlaw::Length(text.len()));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenFlaw::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenFlaw::Parts)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_odd| TokenFlaw::Parts);
        // A third dot would be in what is decoded, and is none of its letters.
        let (header, payload) = (decoded(header)?, decoded(payload)?);
        let read = |part: &'static str, bytes: &[u8]| {
            json::object(bytes, MAX_TOKEN).map_err(|flaw| TokenFlaw::Json { part, flaw })
        };
        let header = read("header", &header)?;
        let (algorithm, key) = named(&header)?;
        let payload = read("payload", &payload)?;
        Ok(Self { algorithm, key, signed, payload, signature: decoded(signature)? })
    }

    /// Who says to have issued it; to choose whose keys to check it with, and for nothing else.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.payload.get("iss").and_then(Value::as_str)
    }

    /// The name of the key that signed it, as it says.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Checks its signature with the keys of one issuer.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(
        self,
        keys: &KeySet,
        allowed: &BTreeSet<Algorithm>,
    ) -> Result<Verified, TokenFlaw> {
        if !allowed.contains(&self.algorithm) {
            return Err(TokenFlaw::Algorithm(self.algorithm));
        }
        let key = keys.find(self.key.as_deref(), self.algorithm).ok_or(TokenFlaw::NoKey)?;
        if key.has_signed(self.algorithm, (self.signed.as_bytes(), &self.signature)) {
            Ok(Verified(self.payload))
        } else {
            Err(TokenFlaw::Signature)
        }
    }
}

/// The algorithm and the key that a header names, when it asks for nothing else that would matter.
fn named(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), TokenFlaw> {
    if let Some(demand) = DEMANDS.into_iter().find(|name| header.contains_key(*name)) {
        return Err(TokenFlaw::Demand(demand));
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(TokenFlaw::Header("alg"))?;
    let algorithm = Algorithm::named(algorithm).ok_or(TokenFlaw::Unknown)?;
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_str().ok_or(TokenFlaw::Header("typ"))?;
        // An access token, a logout token or a DPoP proof is not a token that says who somebody is.
        if !kind.eq_ignore_ascii_case("JWT") {
            return Err(TokenFlaw::Header("typ"));
        }
    }
    let key = match header.get("kid") {
        None => None,
        Some(id) => {
            let id = id.as_str().filter(|id| !id.is_empty() && id.len() <= MAX_ID);
            Some(id.ok_or(TokenFlaw::Header("kid"))?.to_owned())
        }
    };
    Ok((algorithm, key))
}

/// Members of a header that bring a key along, name a place to fetch one from, or demand to be understood.
const DEMANDS: [&str; 8] = ["crit", "jwk", "jku", "x5u", "b64", "zip", "enc", "cty"];
/// Longest token: those with many groups have 8 KiB.
pub const MAX_TOKEN: usize = 16 * 1024;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aws_lc_rs::hmac;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    pub(crate) fn keypair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    pub(crate) fn set(id: &str, seed: u8) -> KeySet {
        let x = URL_SAFE_NO_PAD.encode(keypair(seed).public_key().as_ref());
        let key = format!(
            "{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{x}\",\"kid\":\"{id}\"}}]}}"
        );
        KeySet::parse(key.as_bytes()).unwrap()
    }

    pub(crate) fn token(header: &str, payload: &str, seed: u8) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = keypair(seed).sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    pub(crate) fn all() -> BTreeSet<Algorithm> {
        Algorithm::ALL.into()
    }

    const HEADER: &str = r#"{"alg":"EdDSA","kid":"a","typ":"JWT"}"#;

    fn check(text: &str) -> Result<Verified, TokenFlaw> {
        Unverified::parse(text)?.verify(&set("a", 1), &all())
    }

    #[test]
    fn a_token_of_the_issuer_is_believed_and_every_other_bit_is_not() {
        let good = token(HEADER, r#"{"iss":"x"}"#, 1);
        assert_eq!(check(&good).unwrap().into_members()["iss"], "x");
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(check(std::str::from_utf8(&bytes).unwrap()).is_err(), "byte {at}");
        }
        assert!(matches!(check(&token(HEADER, "{}", 2)), Err(TokenFlaw::Signature)));
    }

    #[test]
    fn no_header_chooses_its_own_algorithm_or_key() {
        let of = |header: &str| check(&token(header, "{}", 1)).unwrap_err();
        for none in ["none", "None", "NONE", "nOnE", "HS256", "HS512", "eddsa", ""] {
            let header = format!(r#"{{"alg":"{none}","kid":"a"}}"#);
            assert!(matches!(of(&header), TokenFlaw::Unknown), "{none}");
        }
        // Named as another that the key does not make.
        assert!(matches!(of(r#"{"alg":"RS256","kid":"a"}"#), TokenFlaw::NoKey));
        assert!(matches!(of(r#"{"alg":"ES256","kid":"a"}"#), TokenFlaw::NoKey));
        assert!(matches!(of(r#"{"alg":"EdDSA","kid":"b"}"#), TokenFlaw::NoKey));
        assert!(matches!(of(r#"{"kid":"a"}"#), TokenFlaw::Header("alg")));
        assert!(matches!(of(r#"{"alg":["EdDSA"],"kid":"a"}"#), TokenFlaw::Header("alg")));
        for demand in DEMANDS {
            let header = format!(r#"{{"alg":"EdDSA","kid":"a","{demand}":["exp"]}}"#);
            assert!(matches!(of(&header), TokenFlaw::Demand(name) if name == demand));
        }
        for twice in
            [r#"{"alg":"none","alg":"EdDSA","kid":"a"}"#, r#"{"alg":"EdDSA","kid":"b","kid":"a"}"#]
        {
            assert!(matches!(of(twice), TokenFlaw::Json { part: "header", .. }), "{twice}");
        }
        for kind in [r#""at+jwt""#, r#""logout+jwt""#, "7"] {
            let header = format!(r#"{{"alg":"EdDSA","kid":"a","typ":{kind}}}"#);
            assert!(matches!(of(&header), TokenFlaw::Header("typ")), "{kind}");
        }
    }

    #[test]
    fn a_public_key_is_never_taken_for_a_shared_secret() {
        let public = keypair(1).public_key().as_ref().to_vec();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"a"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode("{}"));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), signed.as_bytes());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert!(matches!(check(&forged), Err(TokenFlaw::Unknown)));
    }

    #[test]
    fn an_algorithm_that_is_not_allowed_here_is_refused_though_the_signature_holds() {
        let text = token(HEADER, "{}", 1);
        let only = BTreeSet::from([Algorithm::Rs256]);
        let refused = Unverified::parse(&text).unwrap().verify(&set("a", 1), &only);
        assert!(matches!(refused, Err(TokenFlaw::Algorithm(Algorithm::EdDsa))));
    }

    #[test]
    fn another_form_is_refused() {
        let good = token(HEADER, "{}", 1);
        for text in [
            String::new(),
            "..".to_owned(),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}="),
            format!("{good} "),
            good.replace('.', " "),
            good.replacen('.', "..", 1),
        ] {
            assert!(check(&text).is_err(), "{text:?}");
        }
        let unsigned = good.rsplit_once('.').unwrap().0;
        assert!(check(&format!("{unsigned}.")).is_err());
        assert!(matches!(check(&"a".repeat(MAX_TOKEN + 1)), Err(TokenFlaw::Length(_))));
        assert!(matches!(
            check(&token(HEADER, r#"{"aud":"a","aud":"b"}"#, 1)),
            Err(TokenFlaw::Json { part: "payload", .. })
        ));
    }
}
