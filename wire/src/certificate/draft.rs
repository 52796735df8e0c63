//! What is to be signed: checked before, read back after, and compared.
//!
//! The order of steps is the type: a [`Draft`] is checked, what was [`Checked`] gives [`ToBeSigned`], and that takes the
//! signature and gives the [`Certificate`] only when it says what the draft said, and the signature verifies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use ssh_key::Signature;
use ssh_key::public::KeyData;

use crate::blob;
use crate::identifier::Serial;
use crate::key::{self, KeyFlaw, KeyKind};
use crate::network::Networks;
use crate::octets::Octets;
use crate::options::ForceCommand;
use crate::signature::{self, SignatureFlaw};
use crate::time::Timestamp;

use super::verdict::{FORCE_COMMAND, KNOWN_EXTENSIONS, SOURCE_ADDRESS, VERIFY_REQUIRED};
use super::{Certificate, Kind, MAX_PRINCIPALS, Malformed};

mod rule;

/// Everything that a certificate is to say, except its nonce, its authority and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Whom it is for.
    pub kind: Kind,
    /// The key to certify.
    pub subject: KeyData,
    /// Its number.
    pub serial: Serial,
    /// What it says of itself.
    pub key_id: String,
    /// Whom or what it opens, in this order.
    pub principals: Vec<String>,
    /// The first second in which it is valid.
    pub valid_after: Timestamp,
    /// The first second in which it is no longer valid.
    pub valid_before: Timestamp,
    /// Options that must be understood: names and texts; an empty text makes a flag.
    pub critical: BTreeMap<String, String>,
    /// Options that may be passed over, likewise.
    pub extensions: BTreeMap<String, String>,
}

/// A draft that breaks no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is signed yet"]
pub struct Checked(Draft);

/// The bytes that an authority has to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is signed yet"]
pub struct ToBeSigned {
    draft: Draft,
    nonce: [u8; NONCE],
    authority: KeyData,
    bytes: Vec<u8>,
}

/// A certificate that was made here: read back from its bytes, compared with its draft, and its signature checked. Only
/// [`ToBeSigned::finish`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a certificate is for whoever asked"]
pub struct Sealed(Certificate);

/// Why a certificate is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The key to certify.
    #[error("the key to certify: {0}")]
    Subject(KeyFlaw),
    /// The key to certify with.
    #[error("the certifying key: {0}")]
    Authority(SignatureFlaw),
    /// The authority would certify itself.
    #[error("the certifying key does not certify itself")]
    Itself,
    /// Empty, too long, or with a character that is not allowed.
    #[error("the key id {0:?} is not 1 to {MAX_KEY_ID} of letters, digits and @ . _ : = / -")]
    KeyId(Octets),
    /// It would open nothing here, and everything for OpenSSH before 10.3.
    #[error("it names no principal")]
    NoPrincipal,
    /// More than OpenSSH reads.
    #[error("it has {0} principals; OpenSSH reads at most {MAX_PRINCIPALS}")]
    Principals(usize),
    /// Empty, too long, or with a character that is not allowed.
    #[error("the principal {0:?} is not 1 to {MAX_PRINCIPAL} of letters, digits and @ . _ : -")]
    Principal(Octets),
    /// One principal twice.
    #[error("the principal {0} is there twice")]
    Twice(String),
    /// The window has no length.
    #[error("it would not be valid at any time")]
    Window,
    /// The window has no end.
    #[error("it would be valid for more than {} days", MAX_LIFE.as_secs() / 86_400)]
    Endless,
    /// An option that sshd does not know, or not in such a certificate.
    #[error("the option {0:?} is not one that such a certificate may carry")]
    Option(Octets),
    /// An option with something else than what it takes.
    #[error("the option {0} {1}")]
    Value(String, &'static str),
    /// The key did not sign as it should.
    #[error("the signature: {0}")]
    Signature(SignatureFlaw),
    /// What was put together cannot be read.
    #[error("the certificate that was signed cannot be read back: {0}")]
    Malformed(#[from] Malformed),
    /// What was put together says something else; it is not released.
    #[error("the certificate that was signed says another {0} than what was to be signed")]
    Differs(&'static str),
}

impl Draft {
    /// Holds the draft against every rule.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(self) -> Result<Checked, Unfit> {
        key::check(&self.subject).map_err(Unfit::Subject)?;
        if !rule::is_key_id(&self.key_id) {
            return Err(Unfit::KeyId(Octets::new(self.key_id)));
        }
        self.check_principals()?;
        if self.valid_before.secs() <= self.valid_after.secs() {
            return Err(Unfit::Window);
        }
        if self.valid_before.since(self.valid_after) > MAX_LIFE {
            return Err(Unfit::Endless);
        }
        for (name, value) in &self.critical {
            self.check_critical(name, value)?;
        }
        for (name, value) in &self.extensions {
            self.check_extension(name, value)?;
        }
        Ok(Checked(self))
    }

    fn check_principals(&self) -> Result<(), Unfit> {
        if self.principals.is_empty() {
            return Err(Unfit::NoPrincipal);
        }
        if self.principals.len() > MAX_PRINCIPALS {
            return Err(Unfit::Principals(self.principals.len()));
        }
        let mut seen = BTreeSet::new();
        for principal in &self.principals {
            if !rule::is_principal(principal) {
                return Err(Unfit::Principal(Octets::new(principal.as_str())));
            }
            if !seen.insert(principal) {
                return Err(Unfit::Twice(principal.clone()));
            }
        }
        Ok(())
    }

    /// sshd knows three, and none in a host's certificate.
    fn check_critical(&self, name: &str, value: &str) -> Result<(), Unfit> {
        let wrong = |reason| Err(Unfit::Value(name.to_owned(), reason));
        match name {
            _ if self.kind == Kind::Host => Err(Unfit::Option(Octets::new(name))),
            FORCE_COMMAND if ForceCommand::try_new(value).is_err() => {
                wrong("takes a command of one line without control characters")
            }
            SOURCE_ADDRESS if Networks::from_option(value).is_err() => wrong(
                "takes networks as in 10.0.0.0/8,2001:db8::/32, with no bit set after the prefix",
            ),
            VERIFY_REQUIRED if !value.is_empty() => wrong("is a flag, and takes nothing"),
            FORCE_COMMAND | SOURCE_ADDRESS | VERIFY_REQUIRED => Ok(()),
            _ => Err(Unfit::Option(Octets::new(name))),
        }
    }

    /// Those of sshd are flags and only for users; anybody else's are named after a domain.
    fn check_extension(&self, name: &str, value: &str) -> Result<(), Unfit> {
        let wrong = |reason| Err(Unfit::Value(name.to_owned(), reason));
        if rule::is_of_a_domain(name) {
            return if rule::is_text(value) { Ok(()) } else { wrong("is too long or holds a NUL") };
        }
        if self.kind == Kind::Host || !KNOWN_EXTENSIONS.contains(&name) {
            return Err(Unfit::Option(Octets::new(name)));
        }
        if value.is_empty() { Ok(()) } else { wrong("is a flag, and takes nothing") }
    }
}

impl Checked {
    /// What was checked.
    #[must_use]
    pub const fn draft(&self) -> &Draft {
        &self.0
    }

    /// The same with one more extension.
    ///
    /// # Errors
    /// When there is one of this name, or it breaks a rule.
    pub fn with_extension(mut self, name: &str, value: &str) -> Result<Self, Unfit> {
        self.0.check_extension(name, value)?;
        if self.0.extensions.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Unfit::Value(name.to_owned(), "is there twice"));
        }
        Ok(self)
    }

    /// The bytes that `authority` has to sign. The nonce is fresh from the system, and nobody's choice.
    ///
    /// # Errors
    /// When `authority` cannot certify this.
    pub fn to_be_signed(
        self,
        nonce: [u8; NONCE],
        authority: &KeyData,
    ) -> Result<ToBeSigned, Unfit> {
        let Self(draft) = self;
        signature::can_verify(authority).map_err(Unfit::Authority)?;
        if *authority == draft.subject {
            return Err(Unfit::Itself);
        }
        let bytes = draft.encode(&nonce, authority)?;
        Ok(ToBeSigned { draft, nonce, authority: authority.clone(), bytes })
    }
}

impl ToBeSigned {
    /// The bytes to sign.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts the signature to them, reads the whole back, compares every field, and checks the signature.
    ///
    /// # Errors
    /// When the certificate would not be exactly the one that was drafted.
    pub fn finish(self, signature: &Signature) -> Result<Sealed, Unfit> {
        let mut bytes = self.bytes.clone();
        let signature = signature::to_bytes(signature).map_err(Unfit::Signature)?;
        blob::put(&mut bytes, &signature);
        let certificate = Certificate::from_bytes(&bytes)?;
        self.compare(&certificate)?;
        certificate.verify_signature().map_err(Unfit::Signature)?;
        Ok(Sealed(certificate))
    }

    fn compare(&self, said: &Certificate) -> Result<(), Unfit> {
        let draft = &self.draft;
        let principals = draft.principals.iter().map(String::as_bytes);
        let is_same = [
            ("content", said.to_be_signed() == self.bytes),
            ("kind", said.kind() == draft.kind),
            ("nonce", said.nonce() == self.nonce),
            ("key", *said.subject() == draft.subject),
            ("serial", said.serial() == draft.serial.number()),
            ("key id", said.key_id().as_bytes() == draft.key_id.as_bytes()),
            ("principals", principals.eq(said.principals().iter().map(Octets::as_bytes))),
            ("beginning", said.valid_after() == draft.valid_after.secs()),
            ("end", said.valid_before() == draft.valid_before.secs()),
            ("critical options", says(said.critical(), &draft.critical)),
            ("extensions", says(said.extensions(), &draft.extensions)),
            ("authority", *said.authority() == self.authority),
        ];
        match is_same.into_iter().find(|(_, same)| !same) {
            None => Ok(()),
            Some((field, _)) => Err(Unfit::Differs(field)),
        }
    }
}

impl Sealed {
    /// The certificate, as anybody would read it.
    #[must_use]
    pub fn into_certificate(self) -> Certificate {
        self.0
    }
}

impl Deref for Sealed {
    type Target = Certificate;

    fn deref(&self) -> &Certificate {
        &self.0
    }
}

impl Draft {
    fn encode(&self, nonce: &[u8], authority: &KeyData) -> Result<Vec<u8>, Unfit> {
        let kind = KeyKind::of(&self.subject).map_err(Unfit::Subject)?;
        let subject = key::to_bytes(&self.subject).map_err(Unfit::Subject)?;
        let named = kind.name().len().saturating_add(4);
        let parts = subject.get(named..).ok_or(Unfit::Subject(KeyFlaw::Form))?;
        let mut to = Vec::new();
        blob::put(&mut to, kind.certificate_name().as_bytes());
        blob::put(&mut to, nonce);
        to.extend_from_slice(parts);
        to.extend_from_slice(&self.serial.number().to_be_bytes());
        to.extend_from_slice(&self.kind.number().to_be_bytes());
        blob::put(&mut to, self.key_id.as_bytes());
        let mut principals = Vec::new();
        for principal in &self.principals {
            blob::put(&mut principals, principal.as_bytes());
        }
        blob::put(&mut to, &principals);
        to.extend_from_slice(&self.valid_after.secs().to_be_bytes());
        to.extend_from_slice(&self.valid_before.secs().to_be_bytes());
        blob::put(&mut to, &options(&self.critical));
        blob::put(&mut to, &options(&self.extensions));
        blob::put(&mut to, b"");
        let authority = key::to_bytes(authority).map_err(SignatureFlaw::Key);
        blob::put(&mut to, &authority.map_err(Unfit::Authority)?);
        Ok(to)
    }
}

/// Sorted by name, as a map is. A text is a string within the data's string; a flag's data is empty.
fn options(options: &BTreeMap<String, String>) -> Vec<u8> {
    let mut to = Vec::new();
    for (name, value) in options {
        blob::put(&mut to, name.as_bytes());
        let mut data = Vec::new();
        if !value.is_empty() {
            blob::put(&mut data, value.as_bytes());
        }
        blob::put(&mut to, &data);
    }
    to
}

fn says(said: &super::Options, meant: &BTreeMap<String, String>) -> bool {
    let is_said = |name: &str, value: &str| match value {
        "" => said.flag(name) == Ok(true),
        text => said.text(name) == Ok(Some(text.as_bytes())),
    };
    said.len() == meant.len() && meant.iter().all(|(name, value)| is_said(name, value))
}

/// Bytes of a nonce: twice what OpenSSH's own draft asks for at least.
pub const NONCE: usize = 32;
/// Longest key id: an identity, a grant and a serial at their longest fit.
pub const MAX_KEY_ID: usize = 128;
/// Longest principal: a DNS name at its longest fits.
pub const MAX_PRINCIPAL: usize = 253;
/// Longest life: nothing of ours is meant to be forgotten.
pub const MAX_LIFE: std::time::Duration = std::time::Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests;
