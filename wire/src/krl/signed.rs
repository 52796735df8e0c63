//! A list on its way to hosts: signed beside the file, for OpenSSH refuses a list with a signature in it, and sent in
//! parts, so that an order never waits behind one.
//!
//! The authority announces a list with its beginning; a host that lacks it asks for one part after the other. So no more
//! than one part is under way to a host, and a lost connection begins anew.
//! Who can change this: whoever holds the order key. Gains: can revoke and un-revoke where the agent is not asked.

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, PublicKey, Signature, SshSig};

use super::{Krl, KrlError};
use crate::octets::Octets;

/// A list as it is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedKrl {
    /// Its version; the list itself says the same, or is refused.
    pub version: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The armoured SSHSIG signature (PROTOCOL.sshsig) over its exact bytes, namespace [`NAMESPACE`].
    pub signature: String,
    /// Its first bytes, at most [`MAX_PART`]: most lists fit.
    pub beginning: Octets,
}

/// "Send me more of it", from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlAsk {
    /// Of the list with this version. When it is not the newest any more, the newest is announced instead.
    pub version: u64,
    /// From this byte on; from the first on, it is announced again.
    pub offset: u64,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlPart {
    /// Of the list with this version.
    pub version: u64,
    /// Its first byte's place.
    pub offset: u64,
    /// At most [`MAX_PART`] bytes.
    pub bytes: Octets,
}

/// How far a host is with lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KrlStanding {
    /// The version that sshd reads there; 0 for none of the authority's.
    pub version: u64,
    /// What keeps a newer one out, or keeps sshd from reading this one; what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Why a list was not signed or not believed.
#[derive(Debug, thiserror::Error)]
pub enum SignedKrlError {
    /// Whoever holds the order key did not sign.
    #[error("the order key did not sign the list")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The signature is malformed, or not by an order key over these bytes.
    #[error("the list's signature is not by the pinned order key")]
    Signature,
    /// sshd would refuse it.
    #[error("the list is signed and sshd would refuse it: {0}")]
    List(#[from] KrlError),
    /// It is another list than was announced.
    #[error("the list has version {found}, and {announced} was announced")]
    Version {
        /// What was announced.
        announced: u64,
        /// What it says.
        found: u64,
    },
}

impl SignedKrl {
    /// Has the list `bytes` signed by `sign`, which signs a message with the order key whose public half is `key`.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn sign<E>(
        (version, bytes): (u64, &[u8]),
        key: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Result<Signature, E>,
    ) -> Result<Self, SignedKrlError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let message = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, bytes)
            .map_err(|error| SignedKrlError::Key(error.into()))?;
        let raw = sign(&message).map_err(|error| SignedKrlError::Key(error.into()))?;
        let signature = SshSig::new(key.key_data().clone(), NAMESPACE, HashAlg::Sha512, raw)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|error| SignedKrlError::Key(error.into()))?;
        Ok(Self::announce(version, bytes, signature))
    }

    fn announce(version: u64, bytes: &[u8], signature: String) -> Self {
        let beginning = Octets::new(part(bytes, 0).to_vec());
        Self { version, length: length(bytes), signature, beginning }
    }
}

impl KrlPart {
    /// The part of the list `bytes` that begins at `offset`; nothing when it ends before.
    #[must_use]
    pub fn of(version: u64, bytes: &[u8], offset: u64) -> Option<Self> {
        let part = part(bytes, usize::try_from(offset).ok()?);
        (!part.is_empty()).then(|| Self { version, offset, bytes: Octets::new(part.to_vec()) })
    }
}

/// Checks the signature over `bytes` by one of `keys`, then that they are the list of this version, as sshd reads it.
///
/// # Errors
/// The first of these that is not so.
pub fn verify<'a>(
    (version, bytes): (u64, &[u8]),
    signature: &str,
    keys: impl IntoIterator<Item = &'a PublicKey>,
) -> Result<Krl, SignedKrlError> {
    let signature: SshSig = signature.parse().map_err(|_form| SignedKrlError::Signature)?;
    if !keys.into_iter().any(|key| key.verify(NAMESPACE, bytes, &signature).is_ok()) {
        return Err(SignedKrlError::Signature);
    }
    let list = Krl::decode(bytes)?;
    if list.version() == version {
        Ok(list)
    } else {
        Err(SignedKrlError::Version { announced: version, found: list.version() })
    }
}

fn part(bytes: &[u8], from: usize) -> &[u8] {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.get(..MAX_PART).unwrap_or(rest)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The SSHSIG namespace of lists, so that no other signature can pass for one.
pub const NAMESPACE: &str = "krl@curfew.internal";
/// Most bytes in a part: an order waits at most for so many, a tenth of a second on 8 Mbit/s.
pub const MAX_PART: usize = 64 * 1024;
/// Most bytes in a list for hosts, four times a million serials at random: it bounds what a link that lies can make an
/// agent hold before a signature is checked.
pub const MAX_SENT: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifier::Serial;
    use crate::krl::Issuer;
    use crate::time::Timestamp;
    use ssh_key::private::Ed25519Keypair;
    use ssh_key::{PrivateKey, SigningKey};

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn signed(bytes: &[u8], namespace: &str) -> String {
        let signature = key(1).sign(namespace, HashAlg::Sha512, bytes).unwrap();
        signature.to_pem(LineEnding::LF).unwrap()
    }

    fn list(version: u64, serials: u64) -> Vec<u8> {
        let mut krl = Krl::new(version, Timestamp::from_secs(1));
        (1..=serials).for_each(|n| {
            krl.revoke_serial(&Issuer::ANY, Serial::try_new(n << 40).unwrap());
        });
        krl.encode().unwrap()
    }

    #[test]
    fn a_list_is_believed_by_its_own_signature_only() {
        let bytes = list(7, 3);
        let (good, keys) = (signed(&bytes, NAMESPACE), [key(2).public_key().clone()]);
        let both = [keys[0].clone(), key(1).public_key().clone()];
        assert_eq!(verify((7, &bytes), &good, &both).unwrap().version(), 7);
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(matches!(verify((7, &bytes), &good, &keys), Err(SignedKrlError::Signature)));
        assert!(matches!(verify((7, &other), &good, &both), Err(SignedKrlError::Signature)));
        assert!(matches!(verify((7, &bytes), "", &both), Err(SignedKrlError::Signature)));
        let order = signed(&bytes, crate::order::NAMESPACE);
        assert!(matches!(verify((7, &bytes), &order, &both), Err(SignedKrlError::Signature)));
        let replayed = verify((8, &bytes), &good, &both).unwrap_err();
        assert!(matches!(replayed, SignedKrlError::Version { announced: 8, found: 7 }));
        for junk in [&b""[..], b"<html>", &bytes[..bytes.len() - 1]] {
            let signature = signed(junk, NAMESPACE);
            assert!(matches!(verify((7, junk), &signature, &both), Err(SignedKrlError::List(_))));
        }
    }

    #[test]
    fn parts_make_the_whole_and_fit_into_frames() {
        let bytes = list(7, 30_000);
        assert!(bytes.len() > 3 * MAX_PART);
        let sign = |message: &[u8]| raw(&key(1), message);
        let announced = SignedKrl::sign((7, &bytes), key(1).public_key(), sign).unwrap();
        assert!(verify((7, &bytes), &announced.signature, &[key(1).public_key().clone()]).is_ok());
        let mut whole = announced.beginning.as_bytes().to_vec();
        while let Some(part) = KrlPart::of(7, &bytes, length(&whole)) {
            let frame = crate::hostlink::ToHost::KrlPart(part.clone());
            assert!(crate::frame::encode(&frame).unwrap().len() < crate::frame::MAX_FRAME / 8);
            whole.extend_from_slice(part.bytes.as_bytes());
        }
        assert_eq!((length(&whole), whole == bytes), (announced.length, true));
        assert_eq!(KrlPart::of(7, &bytes, u64::MAX), None);
    }
}
