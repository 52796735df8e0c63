//! Renewal of a host's certificates: when each is due, and what the host says to get the next. Pure.
//!
//! An ask is signed by the agent's own key, which the link cannot read, over a challenge that the authority gave to this
//! connection: without it, the authority certifies only SSH keys that the host had before, so that a link that went bad
//! gets no key of its own certified. Who the host is, is never taken from the ask: the TLS certificate says it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use crate::VERSION;
use crate::identifier::HostName;
use crate::problem::Problem;
use crate::time::Timestamp;

/// The life of a certificate: issued, and of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it was issued.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Window {
    /// The life of a certificate that says these times, which the authority backdated by [`BACKDATE`].
    #[must_use]
    pub fn of(valid_after: Timestamp, valid_before: Timestamp) -> Self {
        let issued = valid_after.after(BACKDATE);
        // One that was not issued by these rules lives from its own beginning.
        let from = if issued < valid_before { issued } else { valid_after };
        Self { from, until: valid_before }
    }

    /// When the next one is asked for: two thirds of its life are over.
    #[must_use]
    pub fn due(self) -> Timestamp {
        self.until.before(self.until.since(self.from).checked_div(3).unwrap_or_default())
    }

    /// When an operator must be told that the next one did not come: five sixths of its life are over.
    #[must_use]
    pub fn overdue(self) -> Timestamp {
        self.until.before(self.until.since(self.from).checked_div(6).unwrap_or_default())
    }

    /// How long after a failure the next attempt is made: a hundredth of its life, 5 s to 1 h.
    #[must_use]
    pub fn pause(self) -> Duration {
        let hundredth = self.until.since(self.from).checked_div(100).unwrap_or_default();
        hundredth.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }
}

/// Which keys a host wants certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The version of this format.
    pub version: u32,
    /// The host, so that an ask of one says nothing for another.
    pub host: HostName,
    /// What the authority said in its welcome.
    pub challenge: String,
    /// The host's public SSH keys as they are now, in OpenSSH form.
    pub host_keys: Vec<String>,
}

/// An ask as it travels: its exact bytes, and an SSHSIG signature over them by the agent's key, if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAsk {
    /// The ask as JSON.
    pub ask: String,
    /// The armoured signature (PROTOCOL.sshsig), namespace [`NAMESPACE`].
    #[serde(default)]
    pub signature: Option<String>,
}

/// What the authority answers to an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A certificate for each key that was sent, in the same order, in OpenSSH form.
    Certified(Vec<String>),
    /// None, and why.
    Refused(Problem),
}

/// A request for the next TLS certificate: made by the link, for the connection that it speaks on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAsk {
    /// A PKCS#10 request, PEM, with a new key. Its names are ignored: the connection decides them.
    pub csr: String,
}

/// What the authority answers to the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkAnswer {
    /// The next one.
    Certified(LinkCertificate),
    /// None, and why.
    Refused(Problem),
}

/// A TLS certificate with its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its life.
    pub window: Window,
}

/// How a host stands with its SSH certificates, in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The end of the one that ends first; nothing when there is none.
    pub until: Option<Timestamp>,
    /// What keeps the next from coming, or sshd from offering it.
    pub problem: Option<String>,
}

/// Why an ask was not believed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is no ask of this version.
    #[error("the ask for certificates is not in the form of version {VERSION}")]
    Form(#[source] serde_json::Error),
    /// The signature is malformed, or not by the agent's key over these bytes.
    #[error(
        "the ask for certificates is not signed by the key that the agent had when it enrolled"
    )]
    Signature(#[source] ssh_key::Error),
    /// It answers another connection's challenge.
    #[error("the ask for certificates answers another challenge")]
    Challenge,
    /// It is another host's.
    #[error("the ask for certificates is of host {0}")]
    Host(HostName),
}

impl Ask {
    /// The ask with the agent's signature; without one when the agent has no key.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, key: Option<&PrivateKey>) -> Result<SignedAsk, AskError> {
        let ask = serde_json::to_string(self).map_err(AskError::Form)?;
        let sign = |key: &PrivateKey| {
            let signature = key.sign(NAMESPACE, HashAlg::Sha512, ask.as_bytes())?;
            signature.to_pem(LineEnding::LF)
        };
        let signature = key.map(sign).transpose().map_err(AskError::Signature)?;
        Ok(SignedAsk { ask, signature })
    }
}

impl SignedAsk {
    /// Reads the ask of `host` on the connection with this `challenge`, and says whether `key`, the agent's, signed it.
    /// A signature that is there must be right; one that is missing is said to be.
    ///
    /// # Errors
    /// When it is no ask, another host's or another connection's, or the signature is wrong.
    pub fn read(
        &self,
        host: &HostName,
        challenge: &str,
        key: Option<&PublicKey>,
    ) -> Result<(Ask, Proof), AskError> {
        let proof = match (&self.signature, key) {
            (Some(signature), Some(key)) => {
                let signature = signature.parse::<SshSig>().map_err(AskError::Signature)?;
                key.verify(NAMESPACE, self.ask.as_bytes(), &signature)
                    .map_err(AskError::Signature)?;
                Proof::Agent
            }
            _ => Proof::None,
        };
        let ask: Ask = serde_json::from_str(&self.ask).map_err(AskError::Form)?;
        if ask.challenge != challenge {
            return Err(AskError::Challenge);
        }
        if ask.host != *host {
            return Err(AskError::Host(ask.host));
        }
        Ok((ask, proof))
    }
}

/// Who is known to have asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "without proof only known keys are certified"]
pub enum Proof {
    /// The agent, which is root on the host.
    Agent,
    /// Whoever holds the connection.
    None,
}

/// The SSHSIG namespace of asks, so that no other signature can pass for one.
pub const NAMESPACE: &str = "renew@curfew.internal";
/// How long before their issue the windows of a host's certificates begin, for clocks that are slow.
pub const BACKDATE: Duration = Duration::from_secs(3600);
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::private::Ed25519Keypair;

    const DAY: u64 = 24 * 3600;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn ask() -> Ask {
        Ask {
            version: VERSION,
            host: "db1".parse().unwrap(),
            challenge: "c".into(),
            host_keys: vec!["ssh-ed25519 AAAA".into()],
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        let issued = 100 * DAY;
        let window = Window::of(at(issued - 3600), at(issued + 30 * DAY));
        assert_eq!(window.from, at(issued));
        assert_eq!(window.due(), at(issued + 20 * DAY));
        assert_eq!(window.overdue(), at(issued + 25 * DAY));
        let short = Window::of(at(issued - 3600), at(issued + 60));
        assert_eq!((short.due(), short.overdue()), (at(issued + 40), at(issued + 50)));
        assert_eq!((window.pause(), short.pause()), (LONGEST_PAUSE, SHORTEST_PAUSE));
    }

    #[test]
    fn a_certificate_by_other_rules_is_due_within_its_own_window() {
        for (after, before) in [(0, 90), (50, 50), (90, 10), (0, u64::MAX)] {
            let window = Window::of(at(after), at(before));
            assert!(window.due() <= window.until, "{after} {before}");
            assert!(window.due() <= window.overdue());
        }
        assert_eq!(Window::of(at(0), at(90)).due(), at(60));
    }

    #[test]
    fn an_ask_is_the_agent_s_or_nobody_s() {
        let host = "db1".parse().unwrap();
        let (agent, other) = (key(1), key(2));
        let signed = ask().sign(Some(&agent)).unwrap();
        let read = signed.read(&host, "c", Some(agent.public_key())).unwrap();
        assert_eq!(read, (ask(), Proof::Agent));
        assert!(signed.read(&host, "c", Some(other.public_key())).is_err());
        // A host that enrolled without a key of its agent proves nothing by any signature.
        assert_eq!(signed.read(&host, "c", None).unwrap().1, Proof::None);
        let plain = ask().sign(None).unwrap();
        assert_eq!(plain.read(&host, "c", Some(agent.public_key())).unwrap().1, Proof::None);
        let changed = SignedAsk { ask: signed.ask.replace("AAAA", "AAAB"), ..signed };
        assert!(changed.read(&host, "c", Some(agent.public_key())).is_err());
    }

    #[test]
    fn an_ask_serves_one_host_and_one_connection() {
        let signed = ask().sign(Some(&key(1))).unwrap();
        let public = key(1);
        let read = |host: &str, challenge| {
            signed.read(&host.parse().unwrap(), challenge, Some(public.public_key()))
        };
        assert!(matches!(read("db2", "c"), Err(AskError::Host(_))));
        assert!(matches!(read("db1", "d"), Err(AskError::Challenge)));
    }

    #[test]
    fn a_signature_for_another_purpose_is_no_proof() {
        let text = serde_json::to_string(&ask()).unwrap();
        let signature = key(1)
            .sign("order@curfew.internal", HashAlg::Sha512, text.as_bytes())
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .unwrap();
        let signed = SignedAsk { ask: text, signature: Some(signature) };
        assert!(signed.read(&"db1".parse().unwrap(), "c", Some(key(1).public_key())).is_err());
    }

    #[test]
    fn what_is_due_is_never_after_the_end_and_never_before_the_beginning() {
        proptest::proptest!(|(from in 0_u64..1 << 40, until in 0_u64..1 << 40)| {
            let window = Window { from: at(from), until: at(until) };
            proptest::prop_assert!(window.due() <= window.overdue());
            proptest::prop_assert!(window.overdue() <= window.until);
            proptest::prop_assert!(until < from || window.from <= window.due());
        });
    }
}
