//! What an OpenID provider says of itself and answers.
//!
//! Source: `OpenID Connect` Discovery §3 and §4, RFC 6749 §5, RFC 8628 §3, RFC 7636 §4.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::time::Duration;

use crate::json::{self, JsonFlaw};

/// Where a provider is asked for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its keys.
    pub keys: String,
    /// Tokens; an issuer of workloads has none.
    pub token: Option<String>,
    /// Where a person's browser is sent.
    pub authorization: Option<String>,
    /// Codes for a device without a browser.
    pub device: Option<String>,
}

/// What a person is to do, somewhere with a browser (RFC 8628 §3.2).
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCode {
    /// What the provider knows the device by: a secret.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub complete: Option<String>,
    /// How long that holds.
    pub lifetime: Duration,
    /// How long to wait between two questions.
    pub interval: Duration,
}

impl std::fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceCode").field("user_code", &self.user_code).finish_non_exhaustive()
    }
}

/// What came of a question for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// The token that says who it is.
    Token(String),
    /// Not yet; ask again, and more slowly where it says so.
    Pending {
        /// Whether to wait longer from now on.
        slower: bool,
    },
    /// The person said no.
    Denied,
    /// It took too long, or was answered already.
    Over,
}

/// Why an answer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFlaw {
    /// It cannot be read.
    #[error("its answer: {0}")]
    Json(#[from] JsonFlaw),
    /// Something is missing or of another form.
    #[error("its answer has no usable `{0}`")]
    Form(&'static str),
    /// It calls itself otherwise than it was called.
    #[error("it calls itself by another name than `issuer` in the settings")]
    Issuer,
    /// An address that would be spoken to without protection.
    #[error("its `{0}` is not under https")]
    Unprotected(&'static str),
    /// It says that it went wrong, in its own word.
    #[error("it answered {0:?}")]
    Refused(String),
}

impl Provider {
    /// Where an issuer's description lies.
    #[must_use]
    pub fn place(issuer: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
    }

    /// Reads the description of the issuer of this name.
    ///
    /// # Errors
    /// When it is of another, lacks something, or names an address without protection where the issuer has it.
    pub fn parse(bytes: &[u8], issuer: &str) -> Result<Self, AnswerFlaw> {
        let members = json::object(bytes, MAX_ANSWER)?;
        if members.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(AnswerFlaw::Issuer);
        }
        let is_protected = issuer.starts_with("https://");
        let place = |name: &'static str| match members.get(name) {
            None => Ok(None),
            Some(value) => {
                let url = value.as_str().filter(|url| url.len() <= MAX_URL);
                let url = url.ok_or(AnswerFlaw::Form(name))?;
                if is_protected && !url.starts_with("https://") {
                    return Err(AnswerFlaw::Unprotected(name));
                }
                Ok(Some(url.to_owned()))
            }
        };
        Ok(Self {
            keys: place("jwks_uri")?.ok_or(AnswerFlaw::Form("jwks_uri"))?,
            token: place("token_endpoint")?,
            authorization: place("authorization_endpoint")?,
            device: place("device_authorization_endpoint")?,
        })
    }
}

impl DeviceCode {
    /// Reads the answer to the question for one.
    ///
    /// # Errors
    /// When it is none, or the provider refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, AnswerFlaw> {
        let members = json::object(bytes, MAX_ANSWER)?;
        if let Some(error) = refusal(&members) {
            return Err(error);
        }
        let text = |name: &'static str| {
            let found = members.get(name).and_then(Value::as_str);
            found.filter(|text| is_shown(text)).map(ToOwned::to_owned)
        };
        let needed = |name: &'static str| text(name).ok_or(AnswerFlaw::Form(name));
        let secs = |name: &'static str| members.get(name).and_then(Value::as_u64);
        let lifetime = secs("expires_in").filter(|secs| (1..=MAX_WAIT).contains(secs));
        Ok(Self {
            device_code: needed("device_code")?,
            user_code: needed("user_code")?,
            verification_uri: needed("verification_uri")?,
            complete: text("verification_uri_complete"),
            lifetime: Duration::from_secs(lifetime.ok_or(AnswerFlaw::Form("expires_in"))?),
            interval: Duration::from_secs(secs("interval").unwrap_or(5).clamp(1, 60)),
        })
    }
}

impl Granted {
    /// Reads the answer to the question for a token.
    ///
    /// # Errors
    /// When it is none, or a refusal that asking again does not help.
    pub fn parse(bytes: &[u8]) -> Result<Self, AnswerFlaw> {
        let members = json::object(bytes, MAX_ANSWER)?;
        match members.get("error").and_then(Value::as_str) {
            None => {}
            Some("authorization_pending") => return Ok(Self::Pending { slower: false }),
            Some("slow_down") => return Ok(Self::Pending { slower: true }),
            Some("access_denied") => return Ok(Self::Denied),
            Some("expired_token" | "invalid_grant") => return Ok(Self::Over),
            Some(_) => return Err(refusal(&members).unwrap_or(AnswerFlaw::Form("error"))),
        }
        let token = members.get("id_token").and_then(Value::as_str);
        Ok(Self::Token(token.ok_or(AnswerFlaw::Form("id_token"))?.to_owned()))
    }
}

/// The challenge of a proof key (RFC 7636, S256): what is told first of a secret that is told last.
#[must_use]
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref())
}

/// A form as browsers and OAuth send it: names and values, each escaped.
#[must_use]
pub fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}

/// A text whose every byte that is no letter, digit or one of `-._~` is written as `%XX`.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn refusal(members: &Map<String, Value>) -> Option<AnswerFlaw> {
    let error = members.get("error")?.as_str()?;
    let word: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
    Some(AnswerFlaw::Refused(word))
}

/// Whether a text of a provider may be shown on a terminal: one line of visible ASCII.
fn is_shown(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_URL && text.chars().all(|c| c.is_ascii_graphic())
}

/// Longest answer.
pub const MAX_ANSWER: usize = 64 * 1024;
const MAX_URL: usize = 2_048;
/// Longest life of a device code: half an hour is what providers give.
const MAX_WAIT: u64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_of_the_issuer_that_was_asked_and_protected_as_it_is() {
        let text = |issuer: &str, keys: &str| {
            format!("{{\"issuer\":\"{issuer}\",\"jwks_uri\":\"{keys}\",\"x\":1}}")
        };
        let of =
            |issuer: &str, keys: &str| Provider::parse(text(issuer, keys).as_bytes(), "https://a");
        assert_eq!(of("https://a", "https://b/keys").unwrap().keys, "https://b/keys");
        assert!(matches!(of("https://a/", "https://b"), Err(AnswerFlaw::Issuer)));
        assert!(matches!(of("https://a", "http://b"), Err(AnswerFlaw::Unprotected("jwks_uri"))));
        assert!(matches!(of("https://a", "file:///etc"), Err(AnswerFlaw::Unprotected(_))));
        let none = Provider::parse(b"{\"issuer\":\"https://a\"}", "https://a");
        assert!(matches!(none, Err(AnswerFlaw::Form("jwks_uri"))));
        assert_eq!(Provider::place("https://a/x/"), "https://a/x/.well-known/openid-configuration");
    }

    #[test]
    fn a_device_code_is_bounded_and_drives_no_terminal() {
        let of = |code: &str, secs: &str| {
            DeviceCode::parse(
                format!(
                    "{{\"device_code\":\"d\",\"user_code\":\"{code}\",\"verification_uri\":\"https://a/d\",\"expires_in\":{secs}}}"
                )
                .as_bytes(),
            )
        };
        let code = of("ABCD-EFGH", "600").unwrap();
        assert_eq!((code.interval.as_secs(), code.lifetime.as_secs()), (5, 600));
        for bad in ["", "a b", "\\u001b[2J", "\\u202eabc", "a\\nb"] {
            assert!(of(bad, "600").is_err(), "{bad}");
        }
        for bad in ["0", "-1", "3601", "\"600\"", "1.5"] {
            assert!(of("A", bad).is_err(), "{bad}");
        }
        let refused = DeviceCode::parse(b"{\"error\":\"unauthorized_client\\u001b\"}");
        assert_eq!(refused.unwrap_err().to_string(), "it answered \"unauthorized_client\"");
    }

    #[test]
    fn each_answer_of_the_token_endpoint_means_one_thing() {
        let of = |text: &str| Granted::parse(text.as_bytes());
        let error = |word: &str| of(&format!("{{\"error\":\"{word}\"}}"));
        assert_eq!(error("authorization_pending").unwrap(), Granted::Pending { slower: false });
        assert_eq!(error("slow_down").unwrap(), Granted::Pending { slower: true });
        assert_eq!(error("access_denied").unwrap(), Granted::Denied);
        assert_eq!(error("expired_token").unwrap(), Granted::Over);
        assert!(matches!(error("invalid_client"), Err(AnswerFlaw::Refused(_))));
        assert_eq!(of("{\"id_token\":\"a.b.c\"}").unwrap(), Granted::Token("a.b.c".into()));
        assert!(of("{\"access_token\":\"x\"}").is_err() && of("{\"id_token\":7}").is_err());
    }

    #[test]
    fn a_challenge_is_that_of_the_rfc_and_a_form_keeps_values_apart() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(form(&[("a", "1&b=2"), ("c", "ä +")]), "a=1%26b%3D2&c=%C3%A4%20%2B");
    }
}
