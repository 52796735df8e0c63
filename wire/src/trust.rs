//! The keys that a host believes, as one whole: which sign user certificates, host certificates, orders and checkpoints.
//!
//! Shape: four lists, none of them empty, each with the key that signs now first and at most [`MAX_KEYS`] keys; no key
//! stands twice, in one list or in two. Keys are kept in the form in which they are given out, without comments, so
//! that equal sets have equal [`Keys::digest`]s: that is how a host says which set it has in force.
//! Who can change this: whoever holds an order key. Gains: can make hosts believe keys of their own.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::identifier::Fingerprint;
use crate::key::{self, KeyFlaw};
use crate::log::LogKey;

/// Every key that a host is to believe, as one order brings them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Lists", into = "Lists")]
pub struct Keys(Lists);

/// The lists before they are checked as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// Keys that sign user certificates; the first signs now.
    pub user_authorities: Vec<AuthorityKey>,
    /// Keys that sign host certificates; the first signs now.
    pub host_authorities: Vec<AuthorityKey>,
    /// Keys that sign orders; the first signs now.
    pub order_keys: Vec<AuthorityKey>,
    /// Keys that sign the ledger's checkpoints; the first signs now.
    pub log_keys: Vec<LogKey>,
}

/// A public key of the authority, in OpenSSH form, on one line and without a comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthorityKey {
    key: PublicKey,
    text: String,
}

/// Why keys were refused.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A list is empty: a host that believes nobody can never be told anything again.
    #[error("the list of {0} is empty")]
    Empty(&'static str),
    /// A list is too long.
    #[error("the list of {list} has {count} keys; at most {MAX_KEYS} are allowed")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A key stands twice.
    #[error("the key {0} stands twice; each key serves one purpose")]
    Twice(Fingerprint),
    /// The text is no public key that the authority could sign with.
    #[error("a key cannot be used: {0}")]
    Flaw(#[from] KeyFlaw),
    /// Something besides the type and the key, or another way to write them.
    #[error("a key must be written as its type and its base64, with one space and nothing else")]
    Spelling,
}

impl Keys {
    /// Checks the lists as a whole.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn try_new(lists: Lists) -> Result<Self, KeysError> {
        let lengths = [
            ("user authorities", lists.user_authorities.len()),
            ("host authorities", lists.host_authorities.len()),
            ("order keys", lists.order_keys.len()),
            ("ledger keys", lists.log_keys.len()),
        ];
        for (list, count) in lengths {
            match count {
                0 => return Err(KeysError::Empty(list)),
                count if count > MAX_KEYS => return Err(KeysError::TooMany { list, count }),
                _ => {}
            }
        }
        let ssh = [&lists.user_authorities, &lists.host_authorities, &lists.order_keys];
        let mut seen = BTreeSet::new();
        let prints = ssh.into_iter().flatten().map(AuthorityKey::fingerprint);
        for print in prints.chain(lists.log_keys.iter().map(log_fingerprint)) {
            if !seen.insert(print.clone()) {
                return Err(KeysError::Twice(print));
            }
        }
        Ok(Self(lists))
    }

    /// Keys that sign user certificates; the first signs now.
    #[must_use]
    pub fn user_authorities(&self) -> &[AuthorityKey] {
        &self.0.user_authorities
    }

    /// Keys that sign host certificates; the first signs now.
    #[must_use]
    pub fn host_authorities(&self) -> &[AuthorityKey] {
        &self.0.host_authorities
    }

    /// Keys that sign orders; the first signs now.
    #[must_use]
    pub fn order_keys(&self) -> &[AuthorityKey] {
        &self.0.order_keys
    }

    /// Keys that sign the ledger's checkpoints; the first signs now.
    #[must_use]
    pub fn log_keys(&self) -> &[LogKey] {
        &self.0.log_keys
    }

    /// The lists.
    #[must_use]
    pub const fn lists(&self) -> &Lists {
        &self.0
    }

    /// What names this very set, with the order of its keys.
    #[must_use]
    pub fn digest(&self) -> Fingerprint {
        let lists = &self.0;
        let texts = |keys: &[AuthorityKey]| keys.iter().map(ToString::to_string).collect();
        digest(&[
            texts(&lists.user_authorities),
            texts(&lists.host_authorities),
            texts(&lists.order_keys),
            lists.log_keys.iter().map(ToString::to_string).collect(),
        ])
    }
}

/// What names four lists of keys: user authorities, host authorities, order keys, ledger keys.
pub(crate) fn digest(lists: &[Vec<String>; 4]) -> Fingerprint {
    // No key holds a line feed, so that no two different sets read alike.
    let text: String = lists
        .iter()
        .map(|keys| {
            keys.iter().map(|key| format!("{key}\n")).chain(["\n".into()]).collect::<String>()
        })
        .collect();
    Fingerprint::of(text.as_bytes())
}

impl TryFrom<Lists> for Keys {
    type Error = KeysError;

    fn try_from(lists: Lists) -> Result<Self, KeysError> {
        Self::try_new(lists)
    }
}

impl From<Keys> for Lists {
    fn from(keys: Keys) -> Self {
        keys.0
    }
}

impl AuthorityKey {
    /// This key, without its comment.
    ///
    /// # Errors
    /// When it is no key that the authority could sign with.
    pub fn of(key: &PublicKey) -> Result<Self, KeysError> {
        key::check(key.key_data())?;
        let key = PublicKey::new(key.key_data().clone(), "");
        let text = key.to_openssh().map_err(|_unwritten| KeyFlaw::Form)?.trim_end().to_owned();
        Ok(Self { key, text })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        crate::certificate::fingerprint(self.key.key_data())
    }
}

impl FromStr for AuthorityKey {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let key = Self::of(&key::from_openssh(text)?)?;
        if key.text == text { Ok(key) } else { Err(KeysError::Spelling) }
    }
}

impl fmt::Display for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for AuthorityKey {
    type Error = KeysError;

    fn try_from(text: String) -> Result<Self, KeysError> {
        text.parse()
    }
}

impl From<AuthorityKey> for String {
    fn from(key: AuthorityKey) -> Self {
        key.text
    }
}

/// The fingerprint of a log's key, as OpenSSH would print it: wherever the authority keeps it, it is an SSH key.
#[must_use]
pub fn log_fingerprint(key: &LogKey) -> Fingerprint {
    let key = ssh_key::public::Ed25519PublicKey(key.public());
    crate::certificate::fingerprint(&KeyData::Ed25519(key))
}

/// Most keys of one purpose: the one that signs, the one before it, the one after it, and one to spare.
pub const MAX_KEYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;

    fn private(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn key(seed: u8) -> AuthorityKey {
        AuthorityKey::of(private(seed).public_key()).unwrap()
    }

    fn note(seed: u8) -> LogKey {
        let public = private(seed).public_key().key_data().ed25519().unwrap().0;
        LogKey::new("ledger.example.com".parse().unwrap(), public)
    }

    fn lists() -> Lists {
        Lists {
            user_authorities: vec![key(1), key(2)],
            host_authorities: vec![key(3)],
            order_keys: vec![key(4)],
            log_keys: vec![note(5)],
        }
    }

    #[test]
    fn a_whole_set_reads_back_and_has_one_digest() {
        let keys = Keys::try_new(lists()).unwrap();
        let text = serde_json::to_string(&keys).unwrap();
        let again: Keys = serde_json::from_str(&text).unwrap();
        assert_eq!(again, keys);
        assert_eq!(again.digest(), keys.digest());
        let mut turned = lists();
        turned.user_authorities.reverse();
        assert_ne!(Keys::try_new(turned).unwrap().digest(), keys.digest(), "who signs counts");
    }

    #[test]
    fn an_empty_list_a_long_one_and_a_key_twice_are_refused() {
        for list in 0..4 {
            let mut short = lists();
            match list {
                0 => short.user_authorities.clear(),
                1 => short.host_authorities.clear(),
                2 => short.order_keys.clear(),
                _ => short.log_keys.clear(),
            }
            assert!(matches!(Keys::try_new(short), Err(KeysError::Empty(_))), "{list}");
        }
        let long = Lists { order_keys: (10..15).map(key).collect(), ..lists() };
        assert!(matches!(Keys::try_new(long), Err(KeysError::TooMany { count: 5, .. })));
        let twice = Lists { user_authorities: vec![key(1), key(1)], ..lists() };
        assert!(matches!(Keys::try_new(twice), Err(KeysError::Twice(_))));
        let shared = Lists { order_keys: vec![key(1)], ..lists() };
        assert!(matches!(Keys::try_new(shared), Err(KeysError::Twice(_))));
        let shared = Lists { log_keys: vec![note(4)], ..lists() };
        assert!(matches!(Keys::try_new(shared), Err(KeysError::Twice(_))));
    }

    #[test]
    fn an_unknown_list_is_refused() {
        let text = serde_json::to_string(&Keys::try_new(lists()).unwrap()).unwrap();
        let more = text.replacen('{', "{\"witnesses\":[],", 1);
        assert!(serde_json::from_str::<Keys>(&more).is_err());
    }

    #[test]
    fn a_key_has_one_spelling() {
        let text = key(1).to_string();
        assert_eq!(text.parse::<AuthorityKey>().unwrap(), key(1));
        let odd = [
            format!("{text} comment"),
            format!("{text}\n"),
            format!(" {text}"),
            text.replace(' ', "  "),
            format!("cert-authority {text}"),
            format!("{text}{}", "A".repeat(8_000)),
            String::new(),
        ];
        for odd in odd {
            assert!(odd.parse::<AuthorityKey>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_certificate_is_no_key_of_the_authority() {
        let mut builder =
            ssh_key::certificate::Builder::new([0; 32], private(1).public_key(), 0, 10).unwrap();
        builder.valid_principal("root").unwrap();
        let text = builder.sign(&private(2)).unwrap().to_openssh().unwrap();
        assert!(text.parse::<AuthorityKey>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_key_panic(text in "\\PC{0,200}|(ssh-(ed25519|rsa) )?[A-Za-z0-9+/=]{0,200}") {
            drop(text.parse::<AuthorityKey>());
            drop(serde_json::from_str::<Keys>(&text));
        }
    }
}
