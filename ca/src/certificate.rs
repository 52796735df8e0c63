//! Building SSH certificates: what is to be signed, checked before it is signed. Pure.
//!
//! The builder of `ssh-key` accepts empty principals, newlines in key ids and windows of no length; the rules are ours.
//! Source: PROTOCOL.certkeys.

use std::collections::BTreeMap;

use ssh_key::certificate::{Builder, CertType, OptionsMap};
use ssh_key::public::KeyData;
use ssh_key::{Certificate, PublicKey};
use wire::certificate::{GRANT_UNTIL, ROLE};
use wire::identifier::{Address, HostName, KeyId, NameError, Principal};
use wire::renewal::{BACKDATE, Window};

use crate::ledger::Recorded;

/// Everything that a certificate is to say, except its nonce and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    kind: CertType,
    subject: KeyData,
    serial: u64,
    key_id: String,
    principals: Vec<String>,
    valid_after: u64,
    valid_before: u64,
    critical_options: BTreeMap<String, String>,
    extensions: BTreeMap<String, String>,
}

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The key cannot be read.
    #[error("the public key cannot be read: {0}")]
    Unreadable(ssh_key::Error),
    /// The text is longer than any key.
    #[error("the public key is {0} bytes long; at most {MAX_KEY} are read")]
    Length(usize),
    /// The key is itself a certificate.
    #[error("the public key is a certificate; send the plain key")]
    IsCertificate,
    /// The key is of a kind that is not certified.
    #[error("keys of type {0} are not certified; use ed25519, ecdsa, rsa or a security key")]
    Kind(String),
    /// The key is too weak.
    #[error("an RSA key of {0} bits is too short; use at least 2048")]
    Short(u32),
    /// The RSA key is so long that checking it is a burden.
    #[error("an RSA key of {0} bits is too long; use at most 8192")]
    Long(u32),
    /// The names do not make a principal.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The window has no length.
    #[error("the certificate would not be valid at any time")]
    Window,
    /// The encoding failed.
    #[error("the certificate cannot be encoded")]
    Encoding(#[source] ssh_key::Error),
}

/// Reads a public key that is to be certified: plain, strong enough, of a known kind.
pub(crate) fn subject_key(text: &str) -> Result<PublicKey, Unfit> {
    if text.len() > MAX_KEY {
        return Err(Unfit::Length(text.len()));
    }
    let key = PublicKey::from_openssh(text.trim()).map_err(Unfit::Unreadable)?;
    match key.key_data() {
        KeyData::Ed25519(_)
        | KeyData::Ecdsa(_)
        | KeyData::SkEcdsaSha2NistP256(_)
        | KeyData::SkEd25519(_) => Ok(key),
        KeyData::Rsa(rsa) if rsa.key_size() < 2048 => Err(Unfit::Short(rsa.key_size())),
        KeyData::Rsa(rsa) if rsa.key_size() > 8192 => Err(Unfit::Long(rsa.key_size())),
        KeyData::Rsa(_) => Ok(key),
        data if data.is_certificate() => Err(Unfit::IsCertificate),
        data => Err(Unfit::Kind(data.algorithm().to_string())),
    }
}

impl Draft {
    /// The user certificate for what was decided and recorded.
    pub(crate) fn user(recorded: &Recorded) -> Result<Self, Unfit> {
        let permit = recorded.permit();
        let identity = permit.ask().identity.clone();
        let key_id = KeyId { identity, grant: recorded.grant(), serial: recorded.serial() };
        let until = permit.plan().until();
        let mut extensions = BTreeMap::from([
            (GRANT_UNTIL.to_owned(), until.secs().to_string()),
            (ROLE.to_owned(), permit.role().to_string()),
        ]);
        let bounds = permit.bounds();
        for ability in &bounds.abilities {
            extensions.insert(ability.extension().to_owned(), String::new());
        }
        let draft = Self {
            kind: CertType::User,
            subject: permit.ask().key.key_data().clone(),
            serial: recorded.serial().number(),
            key_id: key_id.to_string(),
            principals: vec![Principal::of(&permit.ask().login, permit.host())?.to_string()],
            valid_after: permit.valid_after().secs(),
            valid_before: permit.valid_before().min(until).secs(),
            critical_options: (bounds.critical_options().into_iter())
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            extensions,
        };
        draft.checked()
    }

    /// A host certificate for one of an enrolled host's keys.
    pub(crate) fn host(
        key: &PublicKey,
        host: &HostName,
        addresses: &[Address],
        (entry, window): (u64, Window),
    ) -> Result<Self, Unfit> {
        let mut principals = vec![host.to_string()];
        principals.extend(
            addresses.iter().map(ToString::to_string).filter(|name| *name != host.as_str()),
        );
        let draft = Self {
            kind: CertType::Host,
            subject: key.key_data().clone(),
            serial: entry,
            key_id: format!("host/{host}/{entry}"),
            principals,
            valid_after: window.from.before(BACKDATE).secs(),
            valid_before: window.until.secs(),
            critical_options: BTreeMap::new(),
            extensions: BTreeMap::new(),
        };
        draft.checked()
    }

    fn checked(self) -> Result<Self, Unfit> {
        if self.valid_before <= self.valid_after || self.principals.is_empty() || self.serial == 0 {
            return Err(Unfit::Window);
        }
        Ok(self)
    }

    /// The same for the signer.
    pub(crate) fn builder(&self, nonce: [u8; 32]) -> Result<Builder, Unfit> {
        let (after, before) = (self.valid_after, self.valid_before);
        let mut builder =
            Builder::new(nonce, self.subject.clone(), after, before).map_err(Unfit::Encoding)?;
        self.fill(&mut builder).map_err(Unfit::Encoding)?;
        Ok(builder)
    }

    fn fill(&self, builder: &mut Builder) -> Result<(), ssh_key::Error> {
        builder.serial(self.serial)?.cert_type(self.kind)?.key_id(self.key_id.clone())?;
        for principal in &self.principals {
            builder.valid_principal(principal.clone())?;
        }
        for (name, value) in &self.critical_options {
            builder.critical_option(name.clone(), value.clone())?;
        }
        for (name, value) in &self.extensions {
            builder.extension(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// Whether the certificate says exactly this and nothing else.
    pub(crate) fn is_said_by(&self, certificate: &Certificate) -> bool {
        let said = Self {
            kind: certificate.cert_type(),
            subject: certificate.public_key().clone(),
            serial: certificate.serial(),
            key_id: certificate.key_id().to_owned(),
            principals: certificate.valid_principals().to_vec(),
            valid_after: certificate.valid_after(),
            valid_before: certificate.valid_before(),
            critical_options: options(certificate.critical_options()),
            extensions: options(certificate.extensions()),
        };
        *self == said
    }
}

fn options(map: &OptionsMap) -> BTreeMap<String, String> {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Largest public key text: an RSA key of 8192 bits is 1.4 KiB in base64.
const MAX_KEY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::private::{Ed25519Keypair, PrivateKey};
    use wire::time::Timestamp;

    const WINDOW: Window =
        Window { from: Timestamp::from_secs(100_000), until: Timestamp::from_secs(200_000) };

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    #[test]
    fn a_certificate_is_not_taken_for_a_key() {
        let mut builder = Builder::new([0; 32], key(1).public_key(), 0, 10).unwrap();
        builder.valid_principal("root").unwrap();
        let text = builder.sign(&key(2)).unwrap().to_openssh().unwrap();
        assert!(subject_key(&text).is_err());
    }

    #[test]
    fn weak_and_unknown_keys_are_refused() {
        let rsa1024 = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDAlA7JGjjfUxEKL8nvtWEe/cBVz5q2MMlj5X8nTr2JZ7ZJRbBhuJCRGgW2FzbOyIoOZn3w8fQUfW0aK1fQ4rwE0UwE9u5xH0Jv1Q3B5m9n0uC2y9DkQ1r0nQn6yJwEo8rGmZz0rQv2hRjz6zZyVn9m0mJ0m1W1Jx0y8Q3cW1Jm5w==";
        for text in ["", "ssh-ed25519", "ssh-dss AAAA", rsa1024, &"a".repeat(5_000)] {
            assert!(subject_key(text).is_err(), "{text:?}");
        }
        assert!(subject_key(&key(1).public_key().to_openssh().unwrap()).is_ok());
    }

    #[test]
    fn a_host_certificate_names_the_host_and_its_addresses_only() {
        let host = "db1".parse().unwrap();
        let addresses = ["db1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let draft = Draft::host(key(1).public_key(), &host, &addresses, (4, WINDOW)).unwrap();
        let certificate = draft.builder([0; 32]).unwrap().sign(&key(2)).unwrap();
        assert!(draft.is_said_by(&certificate));
        assert_eq!(certificate.valid_principals(), ["db1", "10.0.0.1"]);
        assert_eq!(certificate.cert_type(), CertType::Host);
    }

    #[test]
    fn one_word_more_or_less_is_noticed() {
        let host = "db1".parse().unwrap();
        let draft = Draft::host(key(1).public_key(), &host, &[], (4, WINDOW)).unwrap();
        let mut builder = draft.builder([0; 32]).unwrap();
        builder.valid_principal("root").unwrap();
        assert!(!draft.is_said_by(&builder.sign(&key(2)).unwrap()));
        let mut builder = draft.builder([0; 32]).unwrap();
        builder.critical_option("force-command", "x").unwrap();
        assert!(!draft.is_said_by(&builder.sign(&key(2)).unwrap()));
    }

    #[test]
    fn no_text_makes_a_key_panic() {
        proptest::proptest!(|(text in "(ssh-(ed25519|rsa)|ecdsa-sha2-nistp256)? ?[A-Za-z0-9+/=]{0,300}")| {
            drop(subject_key(&text));
        });
    }
}
