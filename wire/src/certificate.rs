//! Certificates, exactly as OpenSSH means them (`PROTOCOL.certkeys`), and as Curfew means them on top.
//!
//! Parsing is total, bounded and strict, and is not validating: what came over a wire is a [`Certificate`], which keeps
//! the exact bytes; what was checked is [`Facts`]; what is to be signed is a [`Draft`]. A signature is checked over the
//! bytes that were received, never over fields written again.
//!
//! Stricter than OpenSSH in what it cannot need: a NUL at the end of a name (C cuts it off there), integers and points in
//! a second form, DSA, RSA below 2048 bits, certificates beyond [`MAX_BYTES`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, Signature};

use crate::identifier::Fingerprint;
use crate::key::{KeyFlaw, KeyKind};
use crate::octets::Octets;
use crate::signature::{self, SignatureFlaw};

mod draft;
mod options;
mod reader;
pub(crate) mod verdict;

pub use draft::{
    Checked, Draft, MAX_KEY_ID, MAX_LIFE, MAX_PRINCIPAL, NONCE, Sealed, ToBeSigned, Unfit,
};
pub use options::{OptionFlaw, Options};
pub use verdict::{
    Facts, GRANT_UNTIL, KNOWN_CRITICAL_OPTIONS, KNOWN_EXTENSIONS, ROLE, Refusal, verify,
    verify_sealed,
};

/// A certificate as it was received: its exact bytes, and what they say.
#[derive(Clone)]
pub struct Certificate {
    bytes: Vec<u8>,
    /// How many of the bytes are signed: all before the signature.
    signed: usize,
    /// Where the extensions begin and end among the bytes, their length left out.
    extensions_at: (usize, usize),
    nonce: Octets,
    subject: KeyData,
    serial: u64,
    kind: Kind,
    key_id: Octets,
    principals: Vec<Octets>,
    valid_after: u64,
    valid_before: u64,
    critical: Options,
    extensions: Options,
    authority: KeyData,
    signature: Signature,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A person or a workload that logs in.
    User,
    /// A machine that is logged in to.
    Host,
}

/// Why bytes or text are no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than any that could be used.
    #[error("it is {0} bytes long; at most {MAX_BYTES} are read")]
    Length(usize),
    /// It ends in the middle.
    #[error("it is cut short")]
    Short,
    /// Bytes are left over.
    #[error("there is more after its end")]
    Trailing,
    /// No line as in a `-cert.pub` file.
    #[error("it is not one line of the form `type base64 comment`")]
    Line,
    /// The type before the certificate is not the certificate's own.
    #[error("it is announced as {0}, which it is not")]
    Announced(String),
    /// Something else, or a certificate for a kind of key that is not used.
    #[error("{0} is no type of certificate that is used")]
    Type(String),
    /// Neither for users nor for hosts.
    #[error("it is for neither a user nor a host, but {0}")]
    Kind(u32),
    /// C reads text up to the first NUL.
    #[error("its {0} holds a NUL byte")]
    Nul(&'static str),
    /// More than OpenSSH reads.
    #[error("it has more than {MAX_PRINCIPALS} principals, which OpenSSH does not read")]
    Principals,
    /// The key that is certified.
    #[error("the key that it certifies: {0}")]
    Subject(KeyFlaw),
    /// The key that certifies. A certificate does not.
    #[error("the key that signed it: {0}")]
    Authority(KeyFlaw),
    /// The signature.
    #[error("its signature: {0}")]
    Signature(SignatureFlaw),
}

impl Certificate {
    /// Reads a certificate in its binary form. The signature is read, and not checked.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        reader::read(bytes)
    }

    /// Reads a certificate from a line as in a `-cert.pub` file: `type base64 comment`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_openssh(text: &str) -> Result<Self, Malformed> {
        let line = text.trim_ascii();
        if line.len() > MAX_LINE {
            return Err(Malformed::Length(line.len()));
        }
        let (name, bytes, _comment) = crate::key::split(line).ok_or(Malformed::Line)?;
        let certificate = Self::from_bytes(&bytes)?;
        if certificate.name() == name {
            return Ok(certificate);
        }
        Err(Malformed::Announced(Octets::new(name).display()))
    }

    /// The exact bytes that were read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The exact bytes that were read.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// The certificate as one line, without a comment.
    #[must_use]
    pub fn to_openssh(&self) -> String {
        format!("{} {}", self.name(), STANDARD.encode(&self.bytes))
    }

    /// Its type, as its line begins.
    #[must_use]
    pub fn name(&self) -> &'static str {
        // Reading has refused every other kind.
        KeyKind::of(&self.subject).map_or("", KeyKind::certificate_name)
    }

    /// Whom it is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The random bytes that make what is signed unforeseeable.
    #[must_use]
    pub fn nonce(&self) -> &[u8] {
        self.nonce.as_bytes()
    }

    /// The key that it certifies.
    #[must_use]
    pub const fn subject(&self) -> &KeyData {
        &self.subject
    }

    /// Its number; 0 when its authority does not number them.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// What it says of itself; any bytes but NUL.
    #[must_use]
    pub const fn key_id(&self) -> &Octets {
        &self.key_id
    }

    /// Whom or what it opens; any bytes but NUL. None means nobody here, and anybody for OpenSSH before 10.3.
    #[must_use]
    pub fn principals(&self) -> &[Octets] {
        &self.principals
    }

    /// The first second in which it is valid, since 1970.
    #[must_use]
    pub const fn valid_after(&self) -> u64 {
        self.valid_after
    }

    /// The first second in which it is no longer valid, since 1970; [`FOREVER`] when it never ends.
    #[must_use]
    pub const fn valid_before(&self) -> u64 {
        self.valid_before
    }

    /// The options that whoever believes it has to understand.
    #[must_use]
    pub const fn critical(&self) -> &Options {
        &self.critical
    }

    /// The options that may be passed over.
    #[must_use]
    pub const fn extensions(&self) -> &Options {
        &self.extensions
    }

    /// The key that signed it.
    #[must_use]
    pub const fn authority(&self) -> &KeyData {
        &self.authority
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checks the signature by [`Certificate::authority`] over the bytes that were received. That this authority is
    /// trusted is another question. As with OpenSSH, a security key that certifies need not have been touched.
    ///
    /// # Errors
    /// When it does not verify, or its kind is not checked.
    pub fn verify_signature(&self) -> Result<(), SignatureFlaw> {
        signature::verify(&self.authority, self.to_be_signed(), &self.signature).map(drop)
    }

    /// The bytes that are signed: everything before the signature.
    #[must_use]
    pub fn to_be_signed(&self) -> &[u8] {
        self.bytes.get(..self.signed).unwrap_or_default()
    }

    /// The bytes that would have been signed without the extension of this name; nothing when there is not exactly one.
    #[must_use]
    pub fn to_be_signed_without(&self, name: &str) -> Option<Vec<u8>> {
        let kept = self.extensions.encoded_without(name)?;
        let (from, to) = self.extensions_at;
        let before = self.bytes.get(..from.checked_sub(4)?)?;
        let after = self.bytes.get(to..self.signed)?;
        let mut bytes = before.to_vec();
        crate::blob::put(&mut bytes, &kept);
        bytes.extend_from_slice(after);
        Some(bytes)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("kind", &self.kind)
            .field("key_id", &self.key_id)
            .field("serial", &self.serial)
            .field("principals", &self.principals)
            .field("valid_after", &self.valid_after)
            .field("valid_before", &self.valid_before)
            .field("critical", &self.critical)
            .field("extensions", &self.extensions)
            .finish_non_exhaustive()
    }
}

impl std::str::FromStr for Certificate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::from_openssh(text)
    }
}

impl Kind {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::User => 1,
            Self::Host => 2,
        }
    }
}

/// The fingerprint of a public key, as OpenSSH prints it.
#[must_use]
pub fn fingerprint(key: &KeyData) -> Fingerprint {
    let printed = key.fingerprint(HashAlg::Sha256).to_string();
    Fingerprint::try_new(printed).unwrap_or_else(|_impossible| Fingerprint::of(b""))
}

/// Largest certificate: sshd hands it to `AuthorizedPrincipalsCommand` in base64 as one argument, and Linux passes none
/// above 128 KiB. RSA keys of 16,384 bits on both sides and 256 principals of 97 bytes come to a third of it.
pub const MAX_BYTES: usize = 96 * 1024;
/// Most principals (`SSHKEY_CERT_MAX_PRINCIPALS`).
pub const MAX_PRINCIPALS: usize = 256;
/// The end of a certificate that never ends.
pub const FOREVER: u64 = u64::MAX;
/// Longest line: the largest certificate in base64, its type, and a comment.
const MAX_LINE: usize = MAX_BYTES / 3 * 4 + 4096;
