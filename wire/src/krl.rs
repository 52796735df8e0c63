//! The key revocation list that sshd reads: which keys and certificates open nothing any more (`PROTOCOL.krl`).
//!
//! sshd refuses *every* public-key login while its list cannot be read, and revokes *nothing* while the file is empty.
//! So nothing is written here that is not read back and compared first, every bitmap stays within what sshd reads
//! ([`MAX_BITS`]), and a list without entries is a header, never zero bytes. Reading refuses whatever sshd refuses.
//! sshd reads the file at every login, and a large one takes it longer than in proportion (measured with 9.2p1), so
//! its size is what a login pays: serials are written as lists, ranges or bitmaps, whatever is smallest together.
//!
//! Times: whole seconds. Source: `PROTOCOL.krl`; `RevokedKeys` in `sshd_config(5)`; OpenSSH's `krl.c` where they differ.
//! Who can change this: root on the host. Gains: un-revokes there. The file carries no signature (OpenSSH refuses one).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::certificate::Certificate;
use crate::identifier::{Fingerprint, Serial};
use crate::octets::Octets;
use crate::time::Timestamp;

mod plan;
mod reader;
mod serials;
pub mod signed;
mod text;
mod writer;

use serials::Serials;
pub use text::RevokedKeysError;

/// A set of revocations with its header. Equal sets are written as equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Krl {
    version: u64,
    generated: Timestamp,
    comment: Vec<u8>,
    certificates: BTreeMap<Issuer, Certificates>,
    keys: BTreeSet<Vec<u8>>,
    sha1: BTreeSet<[u8; 20]>,
    sha256: BTreeSet<[u8; 32]>,
}

/// Whose certificates an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issuer(Vec<u8>);

/// What is revoked of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Certificates {
    serials: Serials,
    key_ids: BTreeSet<Vec<u8>>,
}

/// Which entry revokes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    /// The certificate's serial.
    Serial,
    /// The certificate's key id.
    KeyId,
    /// The key itself.
    Key,
    /// The SHA-1 fingerprint of the key.
    Sha1,
    /// The SHA-256 fingerprint of the key.
    Sha256,
    /// The key that signed the certificate is revoked, on whichever axis.
    Authority,
}

/// How much a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    /// Serials, of all issuers together.
    pub serials: u64,
    /// Key ids, of all issuers together.
    pub key_ids: u64,
    /// Keys.
    pub keys: u64,
    /// Fingerprints, of both kinds together.
    pub fingerprints: u64,
}

/// Why a list cannot be built, written or read.
#[derive(Debug, thiserror::Error)]
pub enum KrlError {
    /// Text with a NUL in it is cut there by OpenSSH.
    #[error("the {0} holds a NUL byte")]
    Nul(&'static str),
    /// A range of serials that ends before it begins.
    #[error("a range of serials ends before it begins")]
    Range,
    /// A plain key was wanted.
    #[error("a certificate stands where a plain key is wanted")]
    NotPlain,
    /// A key cannot be written or read.
    #[error("a key in it cannot be read")]
    Key(#[source] ssh_key::Error),
    /// sshd would not read it.
    #[error("it has {0} bytes; sshd reads at most {MAX_BYTES}")]
    TooLarge(usize),
    /// A login would take minutes.
    #[error("it has more than {MAX_RUNS} separate serials and ranges")]
    TooMany,
    /// What was written is not what was meant; it is not released.
    #[error("what was written reads back as something else")]
    Differs,
    /// No bytes: sshd revokes nothing with such a file, and says nothing.
    #[error("it is empty, which revokes nothing; a list without entries has a header")]
    Empty,
    /// Something else.
    #[error("it is no key revocation list")]
    Magic,
    /// Another format.
    #[error("it has format version {0}; 1 is known")]
    Format(u32),
    /// It ends in the middle.
    #[error("it is cut short")]
    Short,
    /// Bytes are left over.
    #[error("a section of it holds more than it should")]
    Trailing,
    /// A section that OpenSSH does not know, and refuses.
    #[error("it has a section of the unknown type {0}")]
    Section(u8),
    /// The same among the sections about certificates.
    #[error("it has a certificate section of the unknown type {0:#04x}")]
    CertificateSection(u8),
    /// Refused by OpenSSH from 9.4 on.
    #[error("it has a signature section, which sshd refuses; sign the file beside it")]
    Signature,
    /// An extension that must be understood.
    #[error("it has the unknown critical extension {0}")]
    Critical(String),
    /// Serial 0 means "none" and cannot be revoked.
    #[error("it revokes serial 0, which sshd refuses")]
    SerialZero,
    /// A bitmap longer than OpenSSH reads.
    #[error("it has a bitmap of more than {MAX_BITS} bits, which sshd refuses")]
    Bitmap,
    /// A bitmap that is a negative number.
    #[error("it has a bitmap that is a negative number, which sshd refuses")]
    Negative,
    /// A bitmap that goes beyond the last serial.
    #[error("it has a bitmap that goes beyond the last serial")]
    Wraps,
    /// A fingerprint of another length.
    #[error("it has a fingerprint of {0} bytes")]
    Fingerprint(usize),
}

impl Issuer {
    /// Every authority.
    pub const ANY: Self = Self(Vec::new());

    /// The authority with this key, and no other.
    ///
    /// # Errors
    /// When `key` is a certificate or has no binary form.
    pub fn of(key: &KeyData) -> Result<Self, KrlError> {
        blob(key).map(Self)
    }
}

impl Krl {
    /// A list that revokes nothing. `version` has to rise with each change: a host keeps the highest.
    #[must_use]
    pub fn new(version: u64, generated: Timestamp) -> Self {
        Self {
            version,
            generated: Timestamp::from_secs(generated.secs()),
            comment: Vec::new(),
            certificates: BTreeMap::new(),
            keys: BTreeSet::new(),
            sha1: BTreeSet::new(),
            sha256: BTreeSet::new(),
        }
    }

    /// The same list with a comment.
    ///
    /// # Errors
    /// When `comment` holds a NUL.
    pub fn with_comment(mut self, comment: impl Into<Vec<u8>>) -> Result<Self, KrlError> {
        self.comment = without_nul("comment", comment.into())?;
        Ok(self)
    }

    /// Revokes one certificate of `issuer`.
    pub fn revoke_serial(&mut self, issuer: &Issuer, serial: Serial) {
        self.of(issuer).serials.insert(serial.number(), serial.number());
    }

    /// Revokes all certificates of `issuer` from `first` to `last`, both included.
    ///
    /// # Errors
    /// When `last` is before `first`.
    pub fn revoke_serials(
        &mut self,
        issuer: &Issuer,
        first: Serial,
        last: Serial,
    ) -> Result<(), KrlError> {
        if last < first {
            return Err(KrlError::Range);
        }
        self.of(issuer).serials.insert(first.number(), last.number());
        Ok(())
    }

    /// Revokes every certificate of `issuer` with this key id.
    ///
    /// # Errors
    /// When `key_id` holds a NUL.
    pub fn revoke_key_id(
        &mut self,
        issuer: &Issuer,
        key_id: impl Into<Vec<u8>>,
    ) -> Result<(), KrlError> {
        let key_id = without_nul("key id", key_id.into())?;
        self.of(issuer).key_ids.insert(key_id);
        Ok(())
    }

    /// Revokes a key: as itself, as the subject of every certificate, and as an authority with all its certificates.
    ///
    /// # Errors
    /// When `key` is a certificate or has no binary form.
    pub fn revoke_key(&mut self, key: &KeyData) -> Result<(), KrlError> {
        self.keys.insert(blob(key)?);
        Ok(())
    }

    /// The same for the key with this fingerprint.
    ///
    /// # Errors
    /// When the fingerprint's base64 is not that of 32 bytes.
    pub fn revoke_fingerprint(&mut self, key: &Fingerprint) -> Result<(), KrlError> {
        let text = key.as_str().strip_prefix("SHA256:").unwrap_or_default();
        let hash = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text);
        let hash = hash.map_err(|_not_base64| KrlError::Fingerprint(0))?;
        let length = hash.len();
        self.revoke_sha256(hash.try_into().map_err(|_other| KrlError::Fingerprint(length))?);
        Ok(())
    }

    /// The same for the key whose binary form has this SHA-256.
    pub fn revoke_sha256(&mut self, hash: [u8; 32]) {
        self.sha256.insert(hash);
    }

    /// The same for the key whose binary form has this SHA-1.
    pub fn revoke_sha1(&mut self, hash: [u8; 20]) {
        self.sha1.insert(hash);
    }

    /// Writes the list, reads it back, and compares.
    ///
    /// # Errors
    /// When sshd could not read it, or it is not what was meant.
    pub fn encode(&self) -> Result<Vec<u8>, KrlError> {
        let bytes = writer::write(self)?;
        if Self::decode(&bytes)? == *self { Ok(bytes) } else { Err(KrlError::Differs) }
    }

    /// Reads a list. What sshd refuses is refused; extensions that are not critical are passed over.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, KrlError> {
        reader::read(bytes)
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// When it was made, in whole seconds.
    #[must_use]
    pub const fn generated(&self) -> Timestamp {
        self.generated
    }

    /// Its comment.
    #[must_use]
    pub fn comment(&self) -> Octets {
        Octets::new(self.comment.as_slice())
    }

    /// How much it holds.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let of = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let mut extent = Extent {
            keys: of(self.keys.len()),
            fingerprints: of(self.sha1.len()).saturating_add(of(self.sha256.len())),
            ..Extent::default()
        };
        for certificates in self.certificates.values() {
            extent.serials = extent.serials.saturating_add(certificates.serials.count());
            extent.key_ids = extent.key_ids.saturating_add(of(certificates.key_ids.len()));
        }
        extent
    }

    /// Whether `certificate` opens nothing any more.
    #[must_use]
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        self.axis(certificate).is_some()
    }

    /// Whether `key` opens nothing any more, neither alone nor in a certificate.
    #[must_use]
    pub fn is_revoked_key(&self, key: &KeyData) -> bool {
        self.key_axis(key).is_some()
    }

    /// What revokes `certificate`, if anything does.
    #[must_use]
    pub fn axis(&self, certificate: &Certificate) -> Option<Axis> {
        let authority = certificate.authority();
        if let Some(axis) = self.key_axis(certificate.subject()) {
            return Some(axis);
        }
        if self.is_revoked_key(authority) {
            return Some(Axis::Authority);
        }
        let by_name = Issuer::of(authority).ok().and_then(|issuer| self.certificates.get(&issuer));
        [by_name, self.certificates.get(&Issuer::ANY)]
            .into_iter()
            .flatten()
            .find_map(|revoked| revoked.axis(certificate))
    }

    /// What revokes `key`, if anything does.
    #[must_use]
    pub fn key_axis(&self, key: &KeyData) -> Option<Axis> {
        // A key without a binary form cannot have been offered by anybody.
        let blob = blob(key).ok()?;
        let sha1: [u8; 20] = Sha1::digest(&blob).into();
        let sha256: [u8; 32] = Sha256::digest(&blob).into();
        if self.keys.contains(&blob) {
            Some(Axis::Key)
        } else if self.sha256.contains(&sha256) {
            Some(Axis::Sha256)
        } else if self.sha1.contains(&sha1) {
            Some(Axis::Sha1)
        } else {
            None
        }
    }

    fn of(&mut self, issuer: &Issuer) -> &mut Certificates {
        self.certificates.entry(issuer.clone()).or_default()
    }
}

impl Certificates {
    fn axis(&self, certificate: &Certificate) -> Option<Axis> {
        if self.key_ids.contains(certificate.key_id().as_bytes()) {
            Some(Axis::KeyId)
        } else if self.serials.contains(certificate.serial()) {
            Some(Axis::Serial)
        } else {
            None
        }
    }
}

/// A plain key's binary form.
fn blob(key: &KeyData) -> Result<Vec<u8>, KrlError> {
    if key.is_certificate() {
        return Err(KrlError::NotPlain);
    }
    PublicKey::new(key.clone(), "").to_bytes().map_err(KrlError::Key)
}

fn without_nul(what: &'static str, text: Vec<u8>) -> Result<Vec<u8>, KrlError> {
    if text.contains(&0) { Err(KrlError::Nul(what)) } else { Ok(text) }
}

/// Most bits in a bitmap: OpenSSH reads numbers of up to 2,048 bytes (`SSHBUF_MAX_BIGNUM`), though it writes longer ones.
pub const MAX_BITS: u64 = 16_384;
/// Most bytes in a list: what OpenSSH reads into one buffer (`SSHBUF_SIZE_MAX`).
pub const MAX_BYTES: usize = 0x0800_0000;
/// Most separate serials and ranges in a list: a hundredth of that already makes each login slow, and it bounds what
/// reading a stranger's list can take.
pub const MAX_RUNS: usize = 8 << 20;
