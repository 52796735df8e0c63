//! Signatures as by `ssh-keygen -Y sign` (`PROTOCOL.sshsig`): by a known key, for one purpose, over these bytes.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};

use crate::key::{self, KeyKind};
use crate::signature::{self, Presence, SignatureFlaw};

/// Why a sealed message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealFlaw {
    /// Longer than any.
    #[error("it is {0} bytes long; at most {MAX_SEAL} are read")]
    Length(usize),
    /// No SSHSIG.
    #[error("it is not in the form that `ssh-keygen -Y sign` writes")]
    Form,
    /// By another key.
    #[error("it is by another key")]
    Key,
    /// For another purpose.
    #[error("it was made for another purpose")]
    Namespace,
    /// Nobody touched the security key.
    #[error(
        "the security key was not touched; a key made with no-touch-required does not serve here"
    )]
    Untouched,
    /// The signature within.
    #[error(transparent)]
    Signature(#[from] SignatureFlaw),
}

/// Reads a public key with which somebody is to log in: one whose signatures can be checked.
///
/// # Errors
/// The first thing that is wrong.
pub fn login_key(text: &str) -> Result<PublicKey, SignatureFlaw> {
    let key = key::from_openssh(text)?;
    signature::can_verify(key.key_data())?;
    Ok(key)
}

/// Reads an armoured signature.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<SshSig, SealFlaw> {
    if text.len() > MAX_SEAL {
        return Err(SealFlaw::Length(text.len()));
    }
    let seal: SshSig = text.parse().map_err(|_unreadable| SealFlaw::Form)?;
    if seal.version() == SshSig::VERSION { Ok(seal) } else { Err(SealFlaw::Form) }
}

/// Checks that `seal` is by `key`, for `namespace`, over `message`; and with a security key, that somebody touched it.
/// Whether its holder was verified as well comes back, and nothing for other keys.
///
/// # Errors
/// The first reason not to believe it.
pub fn verify(
    seal: &SshSig,
    key: &KeyData,
    namespace: &str,
    message: &[u8],
) -> Result<Option<Presence>, SealFlaw> {
    KeyKind::of(key).map_err(SignatureFlaw::Key)?;
    if seal.public_key() != key {
        return Err(SealFlaw::Key);
    }
    if seal.namespace() != namespace {
        return Err(SealFlaw::Namespace);
    }
    let hash: HashAlg = seal.hash_alg();
    let signed =
        SshSig::signed_data(namespace, hash, message).map_err(|_unwritable| SealFlaw::Form)?;
    match signature::verify(key, &signed, seal.signature())? {
        Some(presence) if !presence.touched => Err(SealFlaw::Untouched),
        presence => Ok(presence),
    }
}

/// Longest armoured signature: an RSA key and its signature of 16,384 bits come to 6 KiB.
pub const MAX_SEAL: usize = 16 * 1024;
