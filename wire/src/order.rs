//! A numbered, signed instruction from the authority to hosts.
//!
//! Who can change this: whoever holds the order key. Gains: can lock, unlock, and say whom hosts believe. The link that
//! carries orders can neither forge nor reorder them: the signature covers the exact bytes, and hosts take numbers only
//! upwards.

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, PublicKey, Signature, SshSig};

use crate::VERSION;
use crate::identifier::{Fingerprint, GrantId, OrderNumber, SessionId};
use crate::lock::{Lock, Target};
use crate::log::Declared;
use crate::recording::RecordingKey;
use crate::sshsig::{self, SealFlaw};
use crate::time::Timestamp;
use crate::trust::{AuthorityKey, Keys};

/// What a host is told to do. Each is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Refuse what the lock covers, and end the sessions it covers.
    Lock(Lock),
    /// Lift the lock on this target, if there is one.
    Unlock(Target),
    /// Believe these keys from now on and no others.
    Trust(Keys),
    /// The ledger was put back from a backup: go on with it, in the era that this order is the first of. Only to a host
    /// that said in its hello that it knows of eras.
    Restored(Box<Declared>),
}

/// A grant's new end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Which grant.
    pub grant: GrantId,
    /// Its end now; never earlier than before.
    pub until: Timestamp,
}

/// That a session is watched, for those who sit at its terminals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Which session.
    pub session: SessionId,
    /// Who watches, as the ledger names them.
    pub by: String,
}

impl Watched {
    /// What the order unlocks beside it: a key that nobody has.
    #[must_use]
    pub fn beside() -> Target {
        Target::Key(Fingerprint::of(b"a session is watched"))
    }
}

/// An instruction with its place in the sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The version of this format.
    pub version: u32,
    /// Its place: orders are numbered without gaps from 1.
    pub number: OrderNumber,
    /// When it was decided.
    pub at: Timestamp,
    /// Who ordered it: an identity, or `local:root` at the authority's own machine.
    pub by: String,
    /// What to do.
    pub instruction: Instruction,
    /// A grant that ends later from now on. It stands beside an unlocking of that grant, which is not locked: an agent from
    /// before extensions takes the order, does nothing, and ends sessions when they would have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extend: Option<Extension>,
    /// What terminals are recorded to from now on. It stands beside an unlocking of this very key, which nobody locks: an
    /// agent from before recordings takes the order and does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingKey>,
    /// Somebody watches this session from now on, and its terminals are to say so. It stands beside an unlocking of
    /// [`Watched::beside`], which nobody locks: an agent from before it takes the order and does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
    /// Whether a host that cannot read the instruction may pass over it. Who cannot read one that it may not pass over
    /// lets nobody in until it can ([`Unread`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passable: bool,
}

/// What is read of an order whose instruction this version does not know: it was signed, it has its place, and nobody can
/// say whom it locks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unread {
    /// The version of the format, which is known.
    pub version: u32,
    /// Its place.
    pub number: OrderNumber,
    /// Whether it may be passed over.
    #[serde(default)]
    pub passable: bool,
}

/// An order that was signed by a key that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is known what it says.
    Order(Box<Order>),
    /// It was given by an authority of a later version.
    Unread(Unread),
}

/// An order as it travels and as it is kept: its exact bytes and an SSHSIG signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// The order as JSON; these exact bytes are signed.
    pub order: String,
    /// The armoured SSHSIG signature (PROTOCOL.sshsig), namespace [`NAMESPACE`].
    pub signature: String,
}

/// Why an order was not believed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The order cannot be written or read as JSON.
    #[error("the order is not in the form of version {VERSION}")]
    Form(#[source] serde_json::Error),
    /// The signature is malformed, or not by the order key over these bytes.
    #[error("the order's signature is not by a pinned order key: {0}")]
    Signature(#[from] SealFlaw),
    /// What was signed cannot be written.
    #[error("the order's signature cannot be written")]
    Seal(#[source] ssh_key::Error),
    /// Whoever holds the order key did not sign.
    #[error("the order key did not sign")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another version of the format.
    #[error("the order has version {0}; this program knows {VERSION}")]
    Version(u32),
}

impl Order {
    /// Has the order signed by `sign`, which signs a message with the order key whose public half is `key`.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn sign<E>(
        &self,
        key: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Result<Signature, E>,
    ) -> Result<SignedOrder, OrderError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let order = serde_json::to_string(self).map_err(OrderError::Form)?;
        let message = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, order.as_bytes())
            .map_err(OrderError::Seal)?;
        let raw = sign(&message).map_err(|error| OrderError::Key(error.into()))?;
        let signature = SshSig::new(key.key_data().clone(), NAMESPACE, HashAlg::Sha512, raw)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(OrderError::Seal)?;
        Ok(SignedOrder { order, signature })
    }
}

impl SignedOrder {
    /// Checks the signature, then reads the order.
    ///
    /// # Errors
    /// When the signature is not by `key` over these bytes, or they are no order that this version knows.
    pub fn verify(&self, key: &PublicKey) -> Result<Order, OrderError> {
        match self.hear(key)? {
            Heard::Order(order) => Ok(*order),
            Heard::Unread(_) => Err(self.flaw()),
        }
    }

    /// Checks that any one of these keys signed, then reads the order.
    ///
    /// # Errors
    /// When none of `keys` signed these bytes, or they are no order that this version knows.
    pub fn verify_any(&self, keys: &[AuthorityKey]) -> Result<Order, OrderError> {
        match self.hear_any(keys)? {
            Heard::Order(order) => Ok(*order),
            Heard::Unread(_) => Err(self.flaw()),
        }
    }

    /// Checks that any one of these keys signed, then reads the order as far as this version can.
    ///
    /// # Errors
    /// When none of `keys` signed these bytes, or they are no order of this version of the format.
    pub fn hear_any(&self, keys: &[AuthorityKey]) -> Result<Heard, OrderError> {
        let mut refused = OrderError::Signature(SealFlaw::Key);
        for key in keys {
            match self.hear(key.key()) {
                Err(error @ OrderError::Signature(_)) => refused = error,
                other => return other,
            }
        }
        Err(refused)
    }

    fn hear(&self, key: &PublicKey) -> Result<Heard, OrderError> {
        let seal = sshsig::parse(&self.signature)?;
        sshsig::verify(&seal, key.key_data(), NAMESPACE, self.order.as_bytes())?;
        let heard = match serde_json::from_str::<Order>(&self.order) {
            Ok(order) => Heard::Order(Box::new(order)),
            // Signed, so it is no noise: what every order has is read, and the rest is a later version's.
            Err(form) => match serde_json::from_str::<Unread>(&self.order) {
                Ok(unread) => Heard::Unread(unread),
                Err(_) => return Err(OrderError::Form(form)),
            },
        };
        let version = match &heard {
            Heard::Order(order) => order.version,
            Heard::Unread(unread) => unread.version,
        };
        if version == VERSION { Ok(heard) } else { Err(OrderError::Version(version)) }
    }

    /// Why the order cannot be read, which was signed.
    fn flaw(&self) -> OrderError {
        match serde_json::from_str::<Order>(&self.order) {
            Err(form) => OrderError::Form(form),
            Ok(order) => OrderError::Version(order.version),
        }
    }
}

/// The SSHSIG namespace of orders, so that no other signature can pass for one.
pub const NAMESPACE: &str = "order@curfew.internal";

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::private::Ed25519Keypair;
    use ssh_key::{PrivateKey, SigningKey};

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn signed() -> SignedOrder {
        signed_by(&key(1))
    }

    fn signed_by(key: &PrivateKey) -> SignedOrder {
        order().sign(key.public_key(), |message| raw(key, message)).unwrap()
    }

    fn order() -> Order {
        let lock =
            Lock { target: Target::Grant("g1".parse().unwrap()), reason: "r".into(), until: None };
        Order {
            version: VERSION,
            number: OrderNumber::try_new(1).unwrap(),
            at: Timestamp::from_secs(1),
            by: "local:root".into(),
            instruction: Instruction::Lock(lock),
            extend: None,
            recording: None,
            watched: None,
            passable: false,
        }
    }

    #[test]
    fn a_signed_order_reads_back() {
        let signed = signed();
        assert_eq!(signed.verify(key(1).public_key()).unwrap(), order());
    }

    #[test]
    fn an_order_by_another_key_or_with_another_byte_is_refused() {
        let signed = signed();
        assert!(signed.verify(key(2).public_key()).is_err());
        let forged =
            SignedOrder { order: signed.order.replace("\"r\"", "\"s\""), ..signed.clone() };
        assert_ne!(forged, signed);
        assert!(forged.verify(key(1).public_key()).is_err());
    }

    #[test]
    fn any_pinned_key_may_have_signed_and_no_other() {
        let pinned = [1, 2].map(|seed| AuthorityKey::of(key(seed).public_key()).unwrap());
        for seed in [1, 2] {
            assert_eq!(signed_by(&key(seed)).verify_any(&pinned).unwrap(), order());
        }
        assert!(signed_by(&key(3)).verify_any(&pinned).is_err());
        assert!(signed().verify_any(&[]).is_err());
    }

    #[test]
    fn an_instruction_of_a_later_version_is_heard_with_its_place_and_never_taken_for_another() {
        let pinned = [AuthorityKey::of(key(1).public_key()).unwrap()];
        let text = |instruction: &str, more: &str| {
            format!(
                r#"{{"version":1,"number":7,"at":1,"by":"local:root","instruction":{instruction}{more}}}"#
            )
        };
        let by = |seed: u8, text: String| {
            let signature = key(seed).sign(NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
            SignedOrder { order: text, signature: signature.to_pem(LineEnding::LF).unwrap() }
        };
        let number = OrderNumber::try_new(7).unwrap();
        for (instruction, more, passable) in [
            (r#"{"freeze":{"host":"db1"}}"#, "", false),
            (r#"{"lock":{"target":{"planet":"mars"},"reason":"r"}}"#, "", false),
            (r#"{"greet":"hello"}"#, r#","passable":true"#, true),
        ] {
            let order = by(1, text(instruction, more));
            let unread = Unread { version: VERSION, number, passable };
            assert_eq!(order.hear_any(&pinned).unwrap(), Heard::Unread(unread), "{instruction}");
            assert!(matches!(order.verify_any(&pinned), Err(OrderError::Form(_))));
            // Nobody without the key has a host believe that there is such an order.
            assert!(matches!(
                by(2, text(instruction, more)).hear_any(&pinned),
                Err(OrderError::Signature(_))
            ));
        }
        for broken in ["", "{}", "[]", r#"{"version":1}"#, r#"{"version":1,"number":0}"#] {
            assert!(matches!(by(1, broken.into()).hear_any(&pinned), Err(OrderError::Form(_))));
        }
        let later = text(r#"{"x":1}"#, "").replace("\"version\":1", "\"version\":2");
        assert!(matches!(by(1, later).hear_any(&pinned), Err(OrderError::Version(2))));
    }

    #[test]
    fn a_signature_for_another_purpose_is_no_order() {
        let text = serde_json::to_string(&order()).unwrap();
        let signature = key(1)
            .sign("login@curfew.internal", HashAlg::Sha512, text.as_bytes())
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .unwrap();
        assert!(SignedOrder { order: text, signature }.verify(key(1).public_key()).is_err());
    }
}
