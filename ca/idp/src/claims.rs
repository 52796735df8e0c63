//! What a verified token says, and whether that is for us, now (RFC 7519; `OpenID Connect` Core §3.1.3.7).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};
use wire::time::Timestamp;

use crate::jws::Verified;

/// What must hold of a token.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who must have issued it, letter by letter.
    pub issuer: &'a str,
    /// For whom it must be.
    pub audience: &'a str,
    /// Whether it may be for others too, when it names us as the party it was issued to (`azp`).
    pub others: bool,
    /// What it must repeat, where something was asked to be repeated.
    pub nonce: Option<&'a str>,
    /// How far clocks may be apart.
    pub skew: Duration,
    /// How long after its issue it is of use, whatever it says.
    pub longest: Duration,
}

/// What a token says that is for us and holds now. Only [`Claims::check`] makes one.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Whom it is about, in the issuer's own terms; never given to another.
    pub subject: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends, with the skew: the same token is of no use after that.
    pub until: Timestamp,
    /// Its number, where it has one.
    pub id: Option<String>,
    members: Map<String, Value>,
}

/// Why a token is not for us, or not now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFlaw {
    /// Something is missing or of another form.
    #[error("the token has no usable `{0}`")]
    Form(&'static str),
    /// By somebody else.
    #[error("the token is of another issuer")]
    Issuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// For several, and not issued to us.
    #[error("the token was issued to another party")]
    Party,
    /// An answer to another question.
    #[error("the token does not repeat what was asked (nonce)")]
    Nonce,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not yet.
    #[error("the token is not valid yet; are both clocks right?")]
    Early,
    /// Good for longer than is allowed here.
    #[error("the token was issued for longer, or longer ago, than is allowed here")]
    Long,
}

impl Claims {
    /// Checks what a verified token says.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(
        token: Verified,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Self, ClaimFlaw> {
        let members = token.into_members();
        if text(&members, "iss", MAX_URL)? != Some(expected.issuer) {
            return Err(ClaimFlaw::Issuer);
        }
        audience(&members, expected)?;
        let subject = text(&members, "sub", MAX_SUBJECT)?.ok_or(ClaimFlaw::Form("sub"))?.to_owned();
        let needed = |name| moment(&members, name)?.ok_or(ClaimFlaw::Form(name));
        let (issued, expires) = (needed("iat")?, needed("exp")?);
        let until = expires.after(expected.skew);
        if until <= now {
            return Err(ClaimFlaw::Expired);
        }
        let early = |at: Timestamp| at > now.after(expected.skew);
        if early(issued) || moment(&members, "nbf")?.is_some_and(early) {
            return Err(ClaimFlaw::Early);
        }
        if expires < issued
            || expires.since(issued) > expected.longest
            || now.since(issued) > expected.longest.saturating_add(expected.skew)
        {
            return Err(ClaimFlaw::Long);
        }
        if let Some(nonce) = expected.nonce
            && text(&members, "nonce", MAX_TEXT)? != Some(nonce)
        {
            return Err(ClaimFlaw::Nonce);
        }
        let id = text(&members, "jti", MAX_TEXT)?.map(ToOwned::to_owned);
        Ok(Self { subject, issued, until, id, members })
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str().filter(|text| text.len() <= MAX_TEXT)
    }

    /// Whether a claim is just this text, number or flag.
    #[must_use]
    pub fn is(&self, name: &str, value: &str) -> bool {
        match self.members.get(name) {
            Some(Value::String(text)) => text == value,
            Some(Value::Bool(flag)) => flag.to_string() == value,
            Some(Value::Number(number)) => number.to_string() == value,
            _ => false,
        }
    }

    /// Whether a claim is the flag `true`.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.members.get(name) == Some(&Value::Bool(true))
    }

    /// Whether a claim is this text, or a list that holds it.
    #[must_use]
    pub fn holds(&self, name: &str, value: &str) -> bool {
        self.texts(name).contains(value)
    }

    /// The texts of a claim that is one, or a list of them; what is no text in a list is passed over.
    #[must_use]
    pub fn texts(&self, name: &str) -> BTreeSet<&str> {
        match self.members.get(name) {
            Some(Value::String(text)) => BTreeSet::from([text.as_str()]),
            Some(Value::Array(list)) => {
                list.iter().take(MAX_LIST).filter_map(Value::as_str).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// When a second factor was shown: when the person last proved who they are, if that was in one of these ways. A
    /// provider that says nothing of when is taken to mean the token's issue; a moment to come, nothing.
    #[must_use]
    pub fn second_factor(
        &self,
        methods: &BTreeSet<String>,
        classes: &BTreeSet<String>,
    ) -> Option<Timestamp> {
        let said = self.texts("amr");
        let by_method = methods.iter().any(|method| said.contains(method.as_str()));
        let by_class = self.text("acr").is_some_and(|class| classes.contains(class));
        if !by_method && !by_class {
            return None;
        }
        match moment(&self.members, "auth_time") {
            Err(_odd) => None,
            Ok(None) => Some(self.issued),
            Ok(Some(at)) => (at <= self.issued).then_some(at),
        }
    }
}

fn audience(members: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), ClaimFlaw> {
    let wrong = ClaimFlaw::Form("aud");
    let all: Vec<&str> = match members.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) if !list.is_empty() && list.len() <= MAX_AUDIENCES => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.ok_or(wrong)?
        }
        _ => return Err(wrong),
    };
    if !all.contains(&expected.audience) {
        return Err(ClaimFlaw::Audience);
    }
    let party = text(members, "azp", MAX_TEXT)?;
    let is_ours = party == Some(expected.audience);
    if all.len() > 1 && !(expected.others && is_ours) {
        return Err(ClaimFlaw::Party);
    }
    // For a token of one audience, a party that is named must still be us where a party matters at all.
    if expected.others && party.is_some() && !is_ours {
        return Err(ClaimFlaw::Party);
    }
    Ok(())
}

/// A text of at most so many bytes; nothing when it is absent.
fn text<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
    most: usize,
) -> Result<Option<&'a str>, ClaimFlaw> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= most => Ok(Some(text)),
        Some(_) => Err(ClaimFlaw::Form(name)),
    }
}

/// A moment in whole seconds; nothing when it is absent.
fn moment(
    members: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Timestamp>, ClaimFlaw> {
    match members.get(name) {
        None => Ok(None),
        Some(value) => {
            let secs = value.as_u64().filter(|secs| *secs <= LAST).ok_or(ClaimFlaw::Form(name))?;
            Ok(Some(Timestamp::from_secs(secs)))
        }
    }
}

/// Longest issuer.
const MAX_URL: usize = 2_048;
/// Longest subject (`OpenID Connect` Core §2).
const MAX_SUBJECT: usize = 255;
/// Longest other text that is looked at.
const MAX_TEXT: usize = 1_024;
/// Most audiences of a token.
const MAX_AUDIENCES: usize = 16;
/// Most members of a list, such as groups.
const MAX_LIST: usize = 1_024;
/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::Unverified;
    use crate::jws::tests::{all, set, token};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn expected() -> Expected<'static> {
        Expected {
            issuer: "https://id.example.com",
            audience: "curfew",
            others: true,
            nonce: Some("n"),
            skew: Duration::from_secs(60),
            longest: Duration::from_secs(3_600),
        }
    }

    fn payload(changes: &[(&str, &str)]) -> String {
        let mut members = vec![
            ("iss", "\"https://id.example.com\""),
            ("aud", "\"curfew\""),
            ("sub", "\"248289761001\""),
            ("iat", "1799999990"),
            ("exp", "1800000290"),
            ("nonce", "\"n\""),
        ];
        for (name, value) in changes {
            members.retain(|(known, _)| known != name);
            if !value.is_empty() {
                members.push((name, value));
            }
        }
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }

    fn verified(changes: &[(&str, &str)]) -> Verified {
        let text = token(r#"{"alg":"EdDSA","kid":"a"}"#, &payload(changes), 1);
        Unverified::parse(&text).unwrap().verify(&set("a", 1), &all()).unwrap()
    }

    fn check(changes: &[(&str, &str)]) -> Result<Claims, ClaimFlaw> {
        Claims::check(verified(changes), &expected(), NOW)
    }

    #[test]
    fn a_token_for_us_is_taken_and_each_claim_alone_refuses() {
        assert_eq!(check(&[]).unwrap().subject, "248289761001");
        let table: &[(&[(&str, &str)], ClaimFlaw)] = &[
            (&[("iss", "\"https://id.example.com/\"")], ClaimFlaw::Issuer),
            (&[("iss", "\"https://ID.example.com\"")], ClaimFlaw::Issuer),
            (&[("iss", "\"https://evil.example\"")], ClaimFlaw::Issuer),
            (&[("iss", "")], ClaimFlaw::Issuer),
            (&[("iss", "[\"https://id.example.com\"]")], ClaimFlaw::Form("iss")),
            (&[("aud", "\"other\"")], ClaimFlaw::Audience),
            (&[("aud", "")], ClaimFlaw::Form("aud")),
            (&[("aud", "[]")], ClaimFlaw::Form("aud")),
            (&[("aud", "[\"curfew\",7]")], ClaimFlaw::Form("aud")),
            (&[("aud", "{\"curfew\":1}")], ClaimFlaw::Form("aud")),
            (&[("aud", "[\"curfew\",\"other\"]")], ClaimFlaw::Party),
            (&[("azp", "\"other\"")], ClaimFlaw::Party),
            (&[("aud", "[\"curfew\",\"other\"]"), ("azp", "\"other\"")], ClaimFlaw::Party),
            (&[("sub", "")], ClaimFlaw::Form("sub")),
            (&[("sub", "7")], ClaimFlaw::Form("sub")),
            (&[("sub", "\"\"")], ClaimFlaw::Form("sub")),
            (&[("nonce", "\"m\"")], ClaimFlaw::Nonce),
            (&[("nonce", "")], ClaimFlaw::Nonce),
            (&[("exp", "")], ClaimFlaw::Form("exp")),
            (&[("iat", "")], ClaimFlaw::Form("iat")),
            (&[("exp", "\"1800000290\"")], ClaimFlaw::Form("exp")),
            (&[("exp", "1800000290.5")], ClaimFlaw::Form("exp")),
            (&[("exp", "-1")], ClaimFlaw::Form("exp")),
            (&[("exp", "1e300")], ClaimFlaw::Form("exp")),
            (&[("exp", "18446744073709551615")], ClaimFlaw::Form("exp")),
            (&[("nbf", "\"x\"")], ClaimFlaw::Form("nbf")),
            (&[("iat", "1799999000"), ("exp", "1799999940")], ClaimFlaw::Expired),
            (&[("iat", "1800000061")], ClaimFlaw::Early),
            (&[("nbf", "1800000061")], ClaimFlaw::Early),
            (&[("exp", "1800003600")], ClaimFlaw::Long),
            (&[("iat", "1799990000"), ("exp", "1800000290")], ClaimFlaw::Long),
        ];
        for (changes, flaw) in table {
            assert_eq!(check(changes).unwrap_err(), *flaw, "{changes:?}");
        }
    }

    #[test]
    fn the_edges_of_time_are_the_skew_s() {
        assert!(check(&[("iat", "1800000060")]).is_ok());
        assert!(check(&[("nbf", "1800000060")]).is_ok());
        let at = |exp: &str| check(&[("iat", "1799999000"), ("exp", exp)]);
        assert!(at("1799999941").is_ok() && at("1799999940").is_err());
        assert_eq!(check(&[]).unwrap().until, Timestamp::from_secs(1_800_000_350));
    }

    #[test]
    fn several_audiences_are_for_whoever_was_issued_the_token_and_for_no_workload() {
        let several = [("aud", "[\"curfew\",\"other\"]"), ("azp", "\"curfew\"")];
        assert!(check(&several).is_ok());
        let alone = Expected { others: false, nonce: None, ..expected() };
        assert_eq!(Claims::check(verified(&several), &alone, NOW).unwrap_err(), ClaimFlaw::Party);
        let party = verified(&[("azp", "\"runner\"")]);
        assert!(Claims::check(party, &alone, NOW).is_ok());
    }

    #[test]
    fn claims_are_compared_whole() {
        let claims = check(&[
            ("groups", "[\"sre\",7,\"dba\"]"),
            ("ref", "\"refs/heads/main\""),
            ("run", "7"),
            ("ok", "true"),
        ])
        .unwrap();
        assert_eq!(claims.texts("groups"), BTreeSet::from(["dba", "sre"]));
        assert!(claims.holds("groups", "sre") && !claims.holds("groups", "sr"));
        assert!(claims.is("ref", "refs/heads/main") && !claims.is("ref", "refs/heads/mai"));
        assert!(claims.is("run", "7") && claims.is("ok", "true") && !claims.is("groups", "sre"));
        assert!(claims.is_true("ok") && !claims.is_true("run") && !claims.is("absent", ""));
    }

    #[test]
    fn a_second_factor_is_what_the_settings_call_one_and_no_later_than_the_token() {
        let of = |changes: &[(&str, &str)]| {
            let methods = BTreeSet::from(["otp".to_owned(), "mfa".to_owned()]);
            let classes = BTreeSet::from(["gold".to_owned()]);
            check(changes).unwrap().second_factor(&methods, &classes)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("amr", "[\"pwd\"]"), ("acr", "\"silver\"")]), None);
        let issued = Some(Timestamp::from_secs(1_799_999_990));
        assert_eq!(of(&[("amr", "[\"pwd\",\"otp\"]")]), issued);
        assert_eq!(of(&[("acr", "\"gold\"")]), issued);
        let before = ("auth_time", "1799990000");
        assert_eq!(of(&[("acr", "\"gold\""), before]), Some(Timestamp::from_secs(1_799_990_000)));
        for odd in ["1800000000", "\"now\"", "-5"] {
            assert_eq!(of(&[("acr", "\"gold\""), ("auth_time", odd)]), None, "{odd}");
        }
    }
}
