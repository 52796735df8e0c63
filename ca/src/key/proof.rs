//! Each key proves that it signs before anything rests on it.
//!
//! What is signed can be nothing else: it is the form of PROTOCOL.sshsig under a namespace of its own. An order is
//! sealed under another namespace; a certificate begins with the length of its type's name, so with a zero byte; a
//! checkpoint is text, and has no zero bytes.

use ssh_key::{HashAlg, SshSig};

use super::{KeyError, Sign, SignError, Slot};
use crate::random;

/// Has the key sign a random challenge, and checks what comes back.
pub(super) fn prove(slot: Slot, key: &dyn Sign) -> Result<(), KeyError> {
    let challenge = random::bytes::<32>()?;
    let message = [slot.to_string().as_bytes(), &challenge].concat();
    let message = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, &message)
        .map_err(|error| KeyError::Mute(error.into()))?;
    let signature = key.sign(&message)?;
    let said = wire::signature::verify(key.public().key_data(), &message, &signature);
    said.map(drop).map_err(|flaw| KeyError::Mute(SignError::Wrong(flaw)))
}

/// The namespace of these challenges, and of nothing else.
const NAMESPACE: &str = "start-up@curfew.internal";

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ssh_key::{PublicKey, Signature};

    use super::super::{Purpose, given};
    use super::*;

    /// Signs with one key and shows another; keeps what it was asked to sign.
    struct Liar(PublicKey, std::sync::Arc<dyn Sign>, Mutex<Vec<u8>>);

    impl Sign for Liar {
        fn public(&self) -> &PublicKey {
            &self.0
        }

        fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
            self.2.lock().unwrap().extend_from_slice(message);
            self.1.sign(message)
        }
    }

    #[test]
    fn a_key_that_signs_with_another_is_refused() {
        let (honest, other) = (given::key(1), given::key(2));
        prove(Purpose::User.first(), &*honest).unwrap();
        let liar = Liar(honest.public().clone(), other, Mutex::default());
        let error = prove(Purpose::User.first(), &liar).unwrap_err();
        assert!(matches!(error, KeyError::Mute(SignError::Wrong(_))), "{error}");
    }

    #[test]
    fn what_is_signed_can_be_nothing_else() {
        let key = given::key(1);
        let spy = Liar(key.public().clone(), key, Mutex::default());
        prove(Purpose::Log.first(), &spy).unwrap();
        let first = spy.2.lock().unwrap().clone();
        assert!(first.starts_with(b"SSHSIG\0\0\0\x18start-up@curfew.internal"));
        assert_ne!(NAMESPACE, wire::order::NAMESPACE);
        assert_ne!(NAMESPACE, wire::login::NAMESPACE);
        prove(Purpose::Log.first(), &spy).unwrap();
        let both = spy.2.lock().unwrap();
        assert_ne!(both[first.len()..], first, "a challenge is never the same");
    }
}
