//! What is said to an ssh-agent and what it answers, as bytes. Pure.
//!
//! Source: draft-ietf-sshm-ssh-agent. A reply is at most [`MAX`] bytes and is read to its end; nothing is skipped.

use ssh_key::Signature;
use ssh_key::encoding::{Decode, Encode as _};
use ssh_key::public::KeyData;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// No.
    Failure,
    /// The keys that it holds, of the kinds that Curfew knows; certificates are left out.
    Identities(Vec<KeyData>),
    /// The signature.
    Signature(Signature),
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It is not of the kind that was asked for.
    #[error("the reply is of another kind")]
    Kind,
    /// It ends too early or too late.
    #[error("the reply's length is wrong")]
    Length,
    /// More keys than anybody has.
    #[error("it lists more than {MAX_KEYS} keys")]
    Keys,
    /// The signature is none.
    #[error("the signature cannot be read")]
    Signature,
    /// The key cannot be written.
    #[error("the key cannot be written")]
    Key,
}

impl Reply {
    /// Reads a reply, without the length before it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut body) = bytes.split_first().ok_or(Malformed::Length)?;
        match *kind {
            FAILURE => finished(body, Self::Failure),
            IDENTITIES_ANSWER => {
                let keys = identities(&mut body)?;
                finished(body, Self::Identities(keys))
            }
            SIGN_RESPONSE => {
                let blob = string(&mut body)?;
                let signature =
                    wire::signature::from_bytes(&blob).map_err(|_flaw| Malformed::Signature)?;
                finished(body, Self::Signature(signature))
            }
            _ => Err(Malformed::Kind),
        }
    }
}

/// What asks for a signature.
pub(super) fn sign_request(key: &KeyData, message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let blob = wire::key::to_bytes(key).map_err(|_flaw| Malformed::Key)?;
    // Without the flag an agent signs by SHA-1.
    let flags: u32 = if key.is_rsa() { RSA_SHA2_512 } else { 0 };
    let mut request = vec![SIGN_REQUEST];
    let written = blob
        .encode(&mut request)
        .and_then(|()| message.encode(&mut request))
        .and_then(|()| flags.encode(&mut request));
    written.map(|()| request).map_err(|_long| Malformed::Length)
}

fn identities(body: &mut &[u8]) -> Result<Vec<KeyData>, Malformed> {
    let count = u32::decode(body).map_err(|_short| Malformed::Length)?;
    if count > MAX_KEYS {
        return Err(Malformed::Keys);
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, _comment) = (string(body)?, string(body)?);
        // Kinds that we do not know and certificates are not ours to judge.
        keys.extend(wire::key::from_bytes(&blob));
    }
    Ok(keys)
}

fn string(body: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    Vec::<u8>::decode(body).map_err(|_short| Malformed::Length)
}

fn finished(rest: &[u8], reply: Reply) -> Result<Reply, Malformed> {
    if rest.is_empty() { Ok(reply) } else { Err(Malformed::Length) }
}

const FAILURE: u8 = 5;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// What asks for the list of keys.
pub(super) const LIST_REQUEST: [u8; 1] = [11];
const RSA_SHA2_512: u32 = 4;
/// The limit that OpenSSH's own agent keeps.
pub(super) const MAX: usize = 256 * 1024;
/// As many as fit if each has a name.
const MAX_KEYS: u32 = 4096;
