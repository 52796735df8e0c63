//! A request to log in with another key: what its owner writes, what signs it, and what somebody else approves.
//!
//! Shape: a person's program writes a [`KeyWish`] once, as JSON; its SHA-256 names it. The wished key signs that text (namespace
//! [`POSSESSION`]): nobody asks for a key that they do not hold. Whoever brings it to the authority signs it too (namespace
//! [`CONSENT`]), with a key that they log in with. An approver signs the text of a [`KeyApproval`] (namespace [`APPROVAL`]), which
//! names the hash and the number under which the request was entered. All texts are canonical: what reads is written again as the
//! same bytes, or it is refused.
//! Who can change this: whoever has the ledger's database. Gains: nothing; a wish that was changed has signatures that do not hold, and
//! an approval cannot be made without the approver's key.

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::VERSION;
use crate::certificate::fingerprint;
use crate::identifier::{Fingerprint, Identity};
use crate::log::Hash;
use crate::request::{RequestFlaw, Sentence, read, written};
use crate::sshsig::{self, SealFlaw};
use crate::time::Timestamp;

/// "I want to log in with this key."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyWish {
    /// The version of this format.
    pub version: u32,
    /// The authority that it is for, by its root.
    pub authority: Fingerprint,
    /// Whose key it will be.
    pub identity: Identity,
    /// The key, in OpenSSH form, without a comment.
    pub public_key: String,
    /// The key that it takes the place of: that one is given up when this one is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Fingerprint>,
    /// Why.
    pub reason: Sentence,
    /// When it was written.
    pub at: Timestamp,
}

/// A wish as it travels and is kept: the exact bytes, and what the wished key signed over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedWish {
    /// The wish as JSON; these exact bytes are signed.
    pub wish: String,
    /// The armoured signature by the wished key.
    pub possession: String,
}

/// A request for a key: `POST /v1/keys/requests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequestAsk {
    /// The wish.
    pub signed: SignedWish,
    /// What whoever brings it signed over the same bytes; absent for somebody who has no key yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
}

/// "I approve this": what an approver signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyApproval {
    /// The version of this format.
    pub version: u32,
    /// The authority that it is for, by its root.
    pub authority: Fingerprint,
    /// The number of the request.
    pub request: u64,
    /// The hash of the wish.
    pub hash: Hash,
    /// Who approves.
    pub by: Identity,
    /// When it was signed, by the authority's clock as the approver was told.
    pub at: Timestamp,
}

/// An approval as it travels and is kept: the exact bytes, and an SSHSIG signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedKeyApproval {
    /// The approval as JSON; these exact bytes are signed.
    pub approval: String,
    /// The armoured signature.
    pub signature: String,
}

/// "I approve it": `POST /v1/keys/requests/{number}/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyApprovalAsk {
    /// What was signed.
    pub signed: SignedKeyApproval,
}

/// How a request for a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRequestState {
    /// It waits for somebody else's approval.
    Waiting,
    /// It was approved, and the key is enrolled.
    Approved,
    /// It was refused.
    Denied,
    /// Whoever asked took it back.
    Withdrawn,
    /// Nobody approved it in time.
    Lapsed,
}

/// A request for a key in a listing: `GET /v1/keys/requests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequestView {
    /// Its number.
    pub request: u64,
    /// Whose key it will be.
    pub identity: Identity,
    /// Who brought it.
    pub by: Identity,
    /// The fingerprint of the wished key.
    pub key: Fingerprint,
    /// The text of the wish, which approvers sign the hash of.
    pub wish: String,
    /// The key by which it was brought; absent where whoever brought it had none, and was known by their login alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Fingerprint>,
    /// When it was brought.
    pub at: Timestamp,
    /// Until when it can be approved.
    pub until: Timestamp,
    /// How it stands.
    pub state: KeyRequestState,
    /// Who decided, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<(String, Timestamp)>,
    /// Whether it waits for the caller.
    pub yours_to_approve: bool,
    /// The authority's clock.
    pub now: Timestamp,
}

/// Why a wish is not taken for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishFlaw {
    /// The text.
    #[error(transparent)]
    Text(#[from] RequestFlaw),
    /// The key that is wished for.
    #[error("the key: {0}")]
    Key(#[from] crate::signature::SignatureFlaw),
    /// It is written in another way than this program writes it.
    #[error("the key is not written as `type base64`, without a comment")]
    Written,
    /// The wished key did not sign it.
    #[error("the wished key's own signature: {0}")]
    Possession(SealFlaw),
    /// Whoever brings it did not sign it.
    #[error("the signature of whoever asks: {0}")]
    Consent(SealFlaw),
}

impl KeyWish {
    /// The text that is signed.
    ///
    /// # Errors
    /// When it is longer than is read again.
    pub fn text(&self) -> Result<String, RequestFlaw> {
        written(self)
    }
}

impl SignedWish {
    /// Checks that the key that is wished for signed the wish, and reads it.
    ///
    /// # Errors
    /// When it is no wish of this version, the key is none to log in with, or did not sign it.
    pub fn verify(&self) -> Result<(KeyWish, PublicKey), WishFlaw> {
        let wish: KeyWish = read(&self.wish)?;
        if wish.version != VERSION {
            return Err(RequestFlaw::Version(wish.version).into());
        }
        let key = sshsig::login_key(&wish.public_key)?;
        let plain = PublicKey::from(key.key_data().clone());
        if plain.to_openssh().ok().as_deref() != Some(wish.public_key.as_str()) {
            return Err(WishFlaw::Written);
        }
        let seal = sshsig::parse(&self.possession).map_err(WishFlaw::Possession)?;
        sshsig::verify(&seal, plain.key_data(), POSSESSION, self.wish.as_bytes())
            .map_err(WishFlaw::Possession)?;
        Ok((wish, plain))
    }

    /// Checks that `key` signed the same wish for whoever brings it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify_consent(&self, key: &PublicKey, consent: &str) -> Result<(), WishFlaw> {
        let seal = sshsig::parse(consent).map_err(WishFlaw::Consent)?;
        sshsig::verify(&seal, key.key_data(), CONSENT, self.wish.as_bytes())
            .map(drop)
            .map_err(WishFlaw::Consent)
    }
}

impl KeyRequestView {
    /// The wish, after what the listing says of it was compared with its text.
    ///
    /// # Errors
    /// When the text cannot be read, or is about another key or another person than the listing says.
    pub fn read(&self) -> Result<(KeyWish, Hash), RequestFlaw> {
        let wish: KeyWish = read(&self.wish)?;
        let key = sshsig::login_key(&wish.public_key).map_err(|_odd| RequestFlaw::Form)?;
        if wish.identity != self.identity || fingerprint(key.key_data()) != self.key {
            return Err(RequestFlaw::Form);
        }
        Ok((wish, Hash::of(self.wish.as_bytes())))
    }
}

impl KeyApproval {
    /// The text that is signed.
    ///
    /// # Errors
    /// When it is longer than is read again.
    pub fn text(&self) -> Result<String, RequestFlaw> {
        written(self)
    }
}

impl SignedKeyApproval {
    /// Checks that `key` signed it as an approval of a key, then reads it.
    ///
    /// # Errors
    /// When the signature is not by `key`, for [`APPROVAL`], over these bytes; or they are no approval of this version.
    pub fn verify(&self, key: &PublicKey) -> Result<KeyApproval, RequestFlaw> {
        let seal = sshsig::parse(&self.signature)?;
        let _presence = sshsig::verify(&seal, key.key_data(), APPROVAL, self.approval.as_bytes())?;
        let said: KeyApproval = read(&self.approval)?;
        match said.version {
            VERSION => Ok(said),
            other => Err(RequestFlaw::Version(other)),
        }
    }
}

impl KeyRequestState {
    /// Its name, as the ledger keeps it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

/// The SSHSIG namespace in which a wished key says that its holder has it.
pub const POSSESSION: &str = "key-possession@curfew.internal";
/// The SSHSIG namespace in which whoever brings a wish says so.
pub const CONSENT: &str = "key-request@curfew.internal";
/// The SSHSIG namespace of approvals of keys.
pub const APPROVAL: &str = "key-approval@curfew.internal";

#[cfg(test)]
mod tests {
    use ssh_key::private::{Ed25519Keypair, PrivateKey};
    use ssh_key::{HashAlg, LineEnding};

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn wish() -> KeyWish {
        KeyWish {
            version: VERSION,
            authority: Fingerprint::of(b"root"),
            identity: "ana".parse().unwrap(),
            public_key: key(2).public_key().to_openssh().unwrap(),
            replaces: None,
            reason: "a new laptop".parse().unwrap(),
            at: Timestamp::from_secs(1_800_000_000),
        }
    }

    fn seal(seed: u8, namespace: &str, text: &str) -> String {
        let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
        seal.to_pem(LineEnding::LF).unwrap()
    }

    fn signed(text: &str) -> SignedWish {
        SignedWish { wish: text.into(), possession: seal(2, POSSESSION, text) }
    }

    #[test]
    fn nobody_asks_for_a_key_that_they_do_not_hold() {
        let text = wish().text().unwrap();
        let good = signed(&text);
        let (read, public) = good.verify().unwrap();
        assert_eq!((read, public.key_data()), (wish(), key(2).public_key().key_data()));
        let no = |possession: String| {
            SignedWish { wish: text.clone(), possession }.verify().unwrap_err()
        };
        assert_eq!(no(seal(1, POSSESSION, &text)), WishFlaw::Possession(SealFlaw::Key));
        for namespace in [CONSENT, APPROVAL, crate::login::NAMESPACE, crate::request::NAMESPACE] {
            let flaw = no(seal(2, namespace, &text));
            assert_eq!(flaw, WishFlaw::Possession(SealFlaw::Namespace), "{namespace}");
        }
        let other = text.replace("ana", "bob");
        let moved = SignedWish { wish: other, possession: good.possession.clone() };
        assert!(matches!(moved.verify(), Err(WishFlaw::Possession(_))), "for somebody else");
    }

    #[test]
    fn a_wish_is_written_in_one_way_and_for_a_key_to_log_in_with() {
        let text = wish().text().unwrap();
        for odd in [format!("{text} "), text.replacen(':', ": ", 1), text.replace("ana", "an a")] {
            assert!(matches!(signed(&odd).verify(), Err(WishFlaw::Text(_))), "{odd}");
        }
        let with = |public_key: String| {
            signed(&KeyWish { public_key, ..wish() }.text().unwrap()).verify().unwrap_err()
        };
        let plain = wish().public_key;
        assert_eq!(with(format!("{plain} ana@laptop")), WishFlaw::Written);
        assert!(matches!(with("ssh-dss AAAA".into()), WishFlaw::Key(_)));
        let newer = KeyWish { version: 2, ..wish() }.text().unwrap();
        assert_eq!(signed(&newer).verify().unwrap_err(), WishFlaw::Text(RequestFlaw::Version(2)));
    }

    #[test]
    fn whoever_brings_it_signs_it_for_that_alone() {
        let text = wish().text().unwrap();
        let good = signed(&text);
        let by = key(1).public_key().clone();
        assert_eq!(good.verify_consent(&by, &seal(1, CONSENT, &text)), Ok(()));
        for (seed, namespace) in [(2, CONSENT), (1, POSSESSION), (1, APPROVAL)] {
            let flaw = good.verify_consent(&by, &seal(seed, namespace, &text));
            assert!(matches!(flaw, Err(WishFlaw::Consent(_))), "{seed} {namespace}");
        }
    }

    #[test]
    fn only_an_approval_of_a_key_is_taken_for_one() {
        let said = KeyApproval {
            version: VERSION,
            authority: Fingerprint::of(b"root"),
            request: 7,
            hash: Hash::of(wish().text().unwrap().as_bytes()),
            by: "bob".parse().unwrap(),
            at: Timestamp::from_secs(1_800_000_000),
        };
        let text = said.text().unwrap();
        let with = |namespace: &str, text: &str| SignedKeyApproval {
            approval: text.into(),
            signature: seal(3, namespace, text),
        };
        let bob = key(3).public_key().clone();
        assert_eq!(with(APPROVAL, &text).verify(&bob), Ok(said));
        assert!(with(CONSENT, &text).verify(&bob).is_err());
        assert!(with(crate::request::NAMESPACE, &text).verify(&bob).is_err());
        assert!(with(APPROVAL, &format!("{text}\n")).verify(&bob).is_err());
        assert!(with(APPROVAL, &text).verify(key(1).public_key()).is_err());
    }
}
