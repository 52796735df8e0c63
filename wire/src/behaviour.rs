//! The rules of behaviour: a text, and what a person signs to say that they have read it.
//!
//! Shape: the text is named by its SHA-256, so that another text is another version. A person signs the text of an
//! [`Acknowledgement`], which names that hash, with a login key (`PROTOCOL.sshsig`, namespace [`NAMESPACE`]). It is canonical: what
//! reads is written again as the same bytes, or it is refused.
//! Who can change this: root on the authority's machine changes the text. Gains: everybody reads and signs another one before
//! their next certificate; nobody is made to have signed what they did not.

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::VERSION;
use crate::identifier::{Fingerprint, Identity};
use crate::log::Hash;
use crate::request::{RequestFlaw, read, written};
use crate::sshsig;
use crate::time::Timestamp;

/// "I have read this, and act by it": what a person signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The version of this format.
    pub version: u32,
    /// The authority that it is for, by its root.
    pub authority: Fingerprint,
    /// Who has read it.
    pub by: Identity,
    /// The hash of the text.
    pub text: Hash,
    /// When it was signed, by the authority's clock as they were told.
    pub at: Timestamp,
}

/// An acknowledgement as it travels and is kept: the exact bytes, and an SSHSIG signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAcknowledgement {
    /// The acknowledgement as JSON; these exact bytes are signed.
    pub acknowledgement: String,
    /// The armoured signature.
    pub signature: String,
}

/// The rules of behaviour in force: `GET /v1/behaviour`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BehaviourView {
    /// The text.
    pub text: String,
    /// What names exactly this text.
    pub hash: Hash,
    /// When the caller acknowledged it; not yet, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Timestamp>,
    /// Whether the caller has no key, and may accept it by their login, without a signature.
    #[serde(default)]
    pub by_login: bool,
    /// The authority's clock.
    pub now: Timestamp,
}

/// "I have read it, and have no key to sign with": `POST /v1/behaviour/accept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptAsk {
    /// The hash of the text that was read.
    pub text: Hash,
}

/// "I have read it": `POST /v1/behaviour`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehaviourAsk {
    /// What was signed, with the signature.
    pub signed: SignedAcknowledgement,
}

impl Acknowledgement {
    /// The text that is signed.
    ///
    /// # Errors
    /// When it is longer than is read again.
    pub fn text(&self) -> Result<String, RequestFlaw> {
        written(self)
    }
}

impl SignedAcknowledgement {
    /// Checks that `key` signed it as an acknowledgement, then reads it.
    ///
    /// # Errors
    /// When the signature is not by `key`, for [`NAMESPACE`], over these bytes; or they are no acknowledgement of this version.
    pub fn verify(&self, key: &PublicKey) -> Result<Acknowledgement, RequestFlaw> {
        let seal = sshsig::parse(&self.signature)?;
        let bytes = self.acknowledgement.as_bytes();
        let _presence = sshsig::verify(&seal, key.key_data(), NAMESPACE, bytes)?;
        let said: Acknowledgement = read(&self.acknowledgement)?;
        match said.version {
            VERSION => Ok(said),
            other => Err(RequestFlaw::Version(other)),
        }
    }
}

/// The SSHSIG namespace of acknowledgements.
pub const NAMESPACE: &str = "behaviour@curfew.internal";
/// Longest text of rules, in bytes: more than that nobody reads.
pub const MAX_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use ssh_key::private::{Ed25519Keypair, PrivateKey};
    use ssh_key::{HashAlg, LineEnding};

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn said() -> Acknowledgement {
        Acknowledgement {
            version: VERSION,
            authority: Fingerprint::of(b"root"),
            by: "ana".parse().unwrap(),
            text: Hash::of(b"Be kind."),
            at: Timestamp::from_secs(1_800_000_000),
        }
    }

    fn signed(text: &str, namespace: &str) -> SignedAcknowledgement {
        let seal = key(1).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
        let signature = seal.to_pem(LineEnding::LF).unwrap();
        SignedAcknowledgement { acknowledgement: text.into(), signature }
    }

    #[test]
    fn only_the_key_that_signed_it_as_this_is_believed() {
        let text = said().text().unwrap();
        let good = signed(&text, NAMESPACE);
        assert_eq!(good.verify(key(1).public_key()), Ok(said()));
        assert!(good.verify(key(2).public_key()).is_err());
        let approval = signed(&text, crate::request::NAMESPACE);
        assert!(approval.verify(key(1).public_key()).is_err(), "signed as something else");
        let other = text.replace("ana", "bob");
        assert!(
            SignedAcknowledgement { acknowledgement: other, ..good }
                .verify(key(1).public_key())
                .is_err()
        );
    }

    #[test]
    fn what_is_written_in_another_way_is_refused_though_it_is_signed() {
        let text = said().text().unwrap();
        for odd in [
            text.replace(':', ": "),
            text.replace(r#""version":1"#, r#""version":2"#),
            format!("{text} "),
        ] {
            assert!(signed(&odd, NAMESPACE).verify(key(1).public_key()).is_err(), "{odd}");
        }
    }
}
