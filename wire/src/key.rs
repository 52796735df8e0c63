//! Public keys, read strictly: of a kind that Curfew knows, strong enough, in the one form that OpenSSH writes.
//!
//! Parsing is total and bounded. What comes out encodes to exactly the bytes that came in, so a fingerprint taken here
//! is the one that OpenSSH prints. Source: RFC 4253 and 5656, `PROTOCOL.u2f`.

use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::{EcdsaPublicKey, KeyData, RsaPublicKey};
use ssh_key::{Mpint, PublicKey};

use crate::blob::{Blob, Short};
use crate::octets::Octets;

/// The kinds of key that are certified and believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
    /// RSA of [`MIN_RSA_BITS`] to [`MAX_RSA_BITS`].
    Rsa,
    /// Ed25519 on a security key.
    SkEd25519,
    /// ECDSA on NIST P-256 on a security key.
    SkEcdsaP256,
}

/// Why bytes or text are not a public key that Curfew works with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFlaw {
    /// Longer than any key.
    #[error("it is {0} bytes long; at most {MAX_KEY} are read")]
    Length(usize),
    /// It ends in the middle.
    #[error("it is cut short")]
    Short,
    /// Bytes are left over.
    #[error("there is more after its end")]
    Trailing,
    /// No line of an OpenSSH public key file.
    #[error("it is not one line of the form `type base64 comment`")]
    Line,
    /// The type before the key is not the key's own.
    #[error("it is announced as {0}, which it is not")]
    Announced(String),
    /// A certificate stands where a plain key is wanted.
    #[error("it is a certificate; give the plain key")]
    Certificate,
    /// Of a kind that is not used.
    #[error("keys of type {0} are not used; use ed25519, ecdsa, rsa or a security key")]
    Kind(String),
    /// Too weak.
    #[error("an RSA key of {0} bits is too short; use at least {MIN_RSA_BITS}")]
    WeakRsa(u32),
    /// Longer than OpenSSH reads.
    #[error("an RSA key of {0} bits is too long; at most {MAX_RSA_BITS} are read")]
    LongRsa(u32),
    /// An exponent under which nothing is secret.
    #[error("its RSA exponent is even or 1")]
    Exponent,
    /// Not on its curve, or not written in full.
    #[error("its point is not an uncompressed point of its curve")]
    Point,
    /// Its parts are not what its type has.
    #[error("it is malformed")]
    Form,
    /// Another form of the same key, which would have another fingerprint.
    #[error("it is not in the form that OpenSSH writes")]
    NotCanonical,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa,
        Self::SkEd25519,
        Self::SkEcdsaP256,
    ];

    /// The kind of a key, or why it is not used.
    ///
    /// # Errors
    /// When the key is a certificate or of another kind.
    pub fn of(key: &KeyData) -> Result<Self, KeyFlaw> {
        match key {
            KeyData::Ed25519(_) => Ok(Self::Ed25519),
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(_)) => Ok(Self::EcdsaP256),
            KeyData::Ecdsa(EcdsaPublicKey::NistP384(_)) => Ok(Self::EcdsaP384),
            KeyData::Ecdsa(EcdsaPublicKey::NistP521(_)) => Ok(Self::EcdsaP521),
            KeyData::Rsa(_) => Ok(Self::Rsa),
            KeyData::SkEd25519(_) => Ok(Self::SkEd25519),
            KeyData::SkEcdsaSha2NistP256(_) => Ok(Self::SkEcdsaP256),
            KeyData::Certificate(_) => Err(KeyFlaw::Certificate),
            other => Err(KeyFlaw::Kind(other.algorithm().to_string())),
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The name of a certificate for such a key.
    #[must_use]
    pub const fn certificate_name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
            Self::Rsa => "ssh-rsa-cert-v01@openssh.com",
            Self::SkEd25519 => "sk-ssh-ed25519-cert-v01@openssh.com",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        }
    }

    /// Whether the key lives in a security key, whose signatures say if somebody touched it.
    #[must_use]
    pub const fn is_security_key(self) -> bool {
        matches!(self, Self::SkEd25519 | Self::SkEcdsaP256)
    }

    /// How many strings such a key consists of, after its name.
    pub(crate) const fn strings(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => 2,
            Self::Rsa | Self::SkEd25519 => 2,
            Self::SkEcdsaP256 => 3,
        }
    }

    /// The kind whose certificates have this name.
    pub(crate) fn certified_as(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.certificate_name().as_bytes() == name)
    }
}

/// Reads a plain public key in its binary form.
///
/// # Errors
/// The first thing that is wrong.
pub fn from_bytes(bytes: &[u8]) -> Result<KeyData, KeyFlaw> {
    if bytes.len() > MAX_KEY {
        return Err(KeyFlaw::Length(bytes.len()));
    }
    let mut from = Blob::new(bytes);
    let name = from.string().map_err(cut)?;
    if KeyKind::certified_as(name).is_some() {
        return Err(KeyFlaw::Certificate);
    }
    let kind = KeyKind::ALL.into_iter().find(|kind| kind.name().as_bytes() == name);
    let kind = kind.ok_or_else(|| KeyFlaw::Kind(Octets::new(name).display()))?;
    from.strings(kind.strings()).map_err(cut)?;
    if !from.is_done() {
        return Err(KeyFlaw::Trailing);
    }
    let key = PublicKey::from_bytes(bytes).map_err(|_parts_unlike_its_name| KeyFlaw::Form)?;
    let key = KeyData::from(key);
    check(&key)?;
    // An integer with zero bytes before it is the same key under another fingerprint.
    if to_bytes(&key)? == bytes { Ok(key) } else { Err(KeyFlaw::NotCanonical) }
}

/// Reads a plain public key from a line as in a `.pub` file: `type base64 comment`.
///
/// # Errors
/// The first thing that is wrong.
pub fn from_openssh(text: &str) -> Result<PublicKey, KeyFlaw> {
    let line = text.trim_ascii();
    if line.len() > MAX_LINE {
        return Err(KeyFlaw::Length(line.len()));
    }
    let (name, bytes, comment) = split(line).ok_or(KeyFlaw::Line)?;
    let key = from_bytes(&bytes)?;
    if KeyKind::of(&key)?.name() != name {
        return Err(KeyFlaw::Announced(Octets::new(name).display()));
    }
    Ok(PublicKey::new(key, comment))
}

/// Whether a key that was read elsewhere is one that Curfew works with.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(key: &KeyData) -> Result<(), KeyFlaw> {
    match KeyKind::of(key)? {
        KeyKind::Ed25519 | KeyKind::SkEd25519 => Ok(()),
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
            key.ecdsa().map_or(Err(KeyFlaw::Form), check_point)
        }
        KeyKind::SkEcdsaP256 => key.sk_ecdsa_p256().map_or(Err(KeyFlaw::Form), |key| {
            check_point(&EcdsaPublicKey::NistP256(*key.ec_point()))
        }),
        KeyKind::Rsa => key.rsa().map_or(Err(KeyFlaw::Form), check_rsa),
    }
}

/// A plain key's binary form.
///
/// # Errors
/// When it is a certificate, or has no binary form.
pub fn to_bytes(key: &KeyData) -> Result<Vec<u8>, KeyFlaw> {
    if key.is_certificate() {
        return Err(KeyFlaw::Certificate);
    }
    PublicKey::new(key.clone(), "").to_bytes().map_err(|_unwritable| KeyFlaw::Form)
}

/// How many bits an RSA key's modulus has.
#[must_use]
pub fn rsa_bits(key: &RsaPublicKey) -> u32 {
    let bytes = key.n().as_positive_bytes().unwrap_or_default();
    let zeros = bytes.first().map_or(0, |byte| byte.leading_zeros());
    let bits = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(8);
    bits.saturating_sub(zeros)
}

/// The three parts of a line, the bytes decoded.
pub(crate) fn split(line: &str) -> Option<(&str, Vec<u8>, &str)> {
    if line.chars().any(char::is_control) {
        return None;
    }
    let (name, rest) = line.split_once(' ')?;
    let (base64, comment) = rest.split_once(' ').unwrap_or((rest, ""));
    STANDARD.decode(base64).ok().map(|bytes| (name, bytes, comment))
}

/// The algorithm that checks signatures of this curve.
pub(crate) const fn of_curve(key: &EcdsaPublicKey) -> &'static EcdsaVerificationAlgorithm {
    match key {
        EcdsaPublicKey::NistP256(_) => &signature::ECDSA_P256_SHA256_FIXED,
        EcdsaPublicKey::NistP384(_) => &signature::ECDSA_P384_SHA384_FIXED,
        EcdsaPublicKey::NistP521(_) => &signature::ECDSA_P521_SHA512_FIXED,
    }
}

fn check_point(key: &EcdsaPublicKey) -> Result<(), KeyFlaw> {
    let point = key.as_sec1_bytes();
    if point.first() != Some(&UNCOMPRESSED) {
        return Err(KeyFlaw::Point);
    }
    ParsedPublicKey::new(of_curve(key), point).map(drop).map_err(|_rejected| KeyFlaw::Point)
}

fn check_rsa(key: &RsaPublicKey) -> Result<(), KeyFlaw> {
    let bits = rsa_bits(key);
    if bits < MIN_RSA_BITS {
        return Err(KeyFlaw::WeakRsa(bits));
    }
    if bits > MAX_RSA_BITS {
        return Err(KeyFlaw::LongRsa(bits));
    }
    let is_odd = |number: &Mpint| number.as_bytes().last().is_some_and(|byte| byte & 1 == 1);
    if !is_odd(key.e()) || key.e().as_bytes() == [1] {
        return Err(KeyFlaw::Exponent);
    }
    if is_odd(key.n()) { Ok(()) } else { Err(KeyFlaw::Form) }
}

fn cut(_short: Short) -> KeyFlaw {
    KeyFlaw::Short
}

/// Fewest bits of an RSA key.
pub const MIN_RSA_BITS: u32 = 2048;
/// Most bits of an RSA key: what OpenSSH reads (`SSHBUF_MAX_BIGNUM`).
pub const MAX_RSA_BITS: u32 = 16_384;
/// Largest key in binary form: two integers of [`MAX_RSA_BITS`] and a name.
const MAX_KEY: usize = 4_352;
/// Longest line: the largest key in base64, its type, and a comment.
const MAX_LINE: usize = 8_192;
/// How a point that is written in full begins (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;
