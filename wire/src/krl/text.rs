//! What else sshd takes for a `RevokedKeys` file: public keys as text, one a line.
//!
//! sshd compares what is offered, and the key that signed it, with each line; a line that it cannot read makes it refuse
//! everybody. Here such a line refuses the file. A certificate on a line is taken for its key, which revokes more than
//! sshd would, never less.

use ssh_key::{Certificate, PublicKey};

use super::{Krl, KrlError};
use crate::time::Timestamp;

/// Why a `RevokedKeys` file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum RevokedKeysError {
    /// No bytes at all are an accident more often than a wish.
    #[error("it is empty (zero bytes)")]
    Empty,
    /// A binary list that sshd refuses.
    #[error(transparent)]
    List(#[from] KrlError),
    /// Neither a list nor text.
    #[error("it is neither a key revocation list nor text")]
    NotText,
    /// A line is no key.
    #[error("line {0} is no public key")]
    Line(usize),
}

impl Krl {
    /// Reads the file as sshd would: a list by its magic, else text. The version of text is 0.
    ///
    /// # Errors
    /// When sshd would refuse everybody with such a file, or the file has no bytes.
    pub fn revoked_keys(bytes: &[u8]) -> Result<Self, RevokedKeysError> {
        if bytes.is_empty() {
            return Err(RevokedKeysError::Empty);
        }
        match Self::decode(bytes) {
            Err(KrlError::Magic) => text(bytes),
            other => Ok(other?),
        }
    }

    /// Revokes whatever `other` revokes, too. Version, moment and comment stay.
    pub fn absorb(&mut self, other: Self) {
        for (issuer, revoked) in other.certificates {
            let here = self.certificates.entry(issuer).or_default();
            revoked.serials.runs().for_each(|(first, last)| here.serials.insert(first, last));
            here.key_ids.extend(revoked.key_ids);
        }
        self.keys.extend(other.keys);
        self.sha1.extend(other.sha1);
        self.sha256.extend(other.sha256);
    }
}

fn text(bytes: &[u8]) -> Result<Krl, RevokedKeysError> {
    let text = std::str::from_utf8(bytes).map_err(|_binary| RevokedKeysError::NotText)?;
    let mut krl = Krl::new(0, Timestamp::from_secs(0));
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let kind = line.split_whitespace().next().unwrap_or_default();
        let refused = |_error: ssh_key::Error| RevokedKeysError::Line(number);
        let key = if kind.ends_with(CERTIFICATE) {
            line.parse::<Certificate>().map_err(refused)?.public_key().clone()
        } else {
            line.parse::<PublicKey>().map_err(refused)?.key_data().clone()
        };
        krl.revoke_key(&key)?;
    }
    Ok(krl)
}

/// How the types of certificates end.
const CERTIFICATE: &str = "-cert-v01@openssh.com";
