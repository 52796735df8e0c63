//! What a host says of a session that it ended: what was done, step by step, how long it took, and who is left. JSON text with
//! an SSHSIG signature of the agent's key over its exact bytes, as for recordings: the link that carries it cannot make one.
//!
//! One for each session that was ended; another before it, where somebody was still alive after five seconds.

use std::fmt;

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use crate::VERSION;
use crate::identifier::{HostName, OrderNumber, SessionId};
use crate::record::{EndReason, Slow, Tally};
use crate::sshsig::{self, SealFlaw};
use crate::time::Timestamp;

/// The end of one session, with the work that it had handed on and that ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Killed {
    /// The version of this format.
    pub version: u32,
    /// The host.
    pub host: HostName,
    /// The session.
    pub session: SessionId,
    /// Why it was ended; a lock's order is in it.
    pub reason: EndReason,
    /// When it was ordered to end, by the host's wall clock.
    pub at: Timestamp,
    /// From then until the last of them was dead, in microseconds; until this was said, where somebody is alive.
    pub took_micros: u64,
    /// Whether the kernel took the mark: from then on it let none of the session fork or start a program.
    pub marked: bool,
    /// Passes over the session that were made.
    pub passes: u32,
    /// Processes of the session that were killed, by step.
    pub killed: Tally,
    /// Processes of its handed work that were killed, by what had started them.
    pub handed: HandedTally,
    /// Who was alive when this was said.
    pub survivors: u32,
    /// They by name: at most [`crate::record::MAX_SLOW`] of the session and as many of its handed work.
    pub named: Vec<Slow>,
    /// Whether the agent died meanwhile: what it had counted by then may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// Processes of handed work, by what had started them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedTally {
    /// Units: by `systemd-run` of root, of a container.
    pub units: u32,
    /// Jobs of `at`, `cron` and their kin.
    pub jobs: u32,
    /// The login's own manager of systemd, and its units.
    pub manager: u32,
}

impl HandedTally {
    /// All of them.
    #[must_use]
    pub const fn sum(self) -> u32 {
        self.units.saturating_add(self.jobs).saturating_add(self.manager)
    }

    /// Counts these too.
    pub const fn add(&mut self, more: Self) {
        self.units = self.units.saturating_add(more.units);
        self.jobs = self.jobs.saturating_add(more.jobs);
        self.manager = self.manager.saturating_add(more.manager);
    }
}

/// What a host says, as it travels: the exact bytes, and the signature over them, if the agent has a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedKill {
    /// A [`Killed`] as JSON.
    pub text: String,
    /// The armoured signature (PROTOCOL.sshsig), namespace [`NAMESPACE`]; none on a host that enrolled before agents had keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What the signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    /// The host's agent signed it.
    Signed,
    /// Its agent has no key.
    Unsigned,
    /// It must be signed by this host's agent for this session, and is not.
    Wrong,
}

/// Why what is said of a kill cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// It is longer than any.
    #[error("what is said of a kill is longer than {MAX_TEXT} bytes")]
    Length,
    /// It is not in the form of this version.
    #[error("what is said of a kill is not in the form of version {VERSION}")]
    Form(#[source] serde_json::Error),
    /// It is of another version.
    #[error("what is said of a kill has version {0}; this program knows {VERSION}")]
    Version(u32),
    /// The agent's key does not sign.
    #[error("what is said of a kill could not be signed")]
    Key(#[source] ssh_key::Error),
}

impl Killed {
    /// The order that ended it, where a lock of the authority did.
    #[must_use]
    pub const fn order(&self) -> Option<OrderNumber> {
        match &self.reason {
            EndReason::Locked { order, .. } => Some(*order),
            _ => None,
        }
    }

    /// Whether nobody is left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.survivors == 0
    }

    /// As it travels, signed where the agent has a key.
    ///
    /// # Errors
    /// When the key does not sign, or it is longer than any.
    pub fn sign(&self, key: Option<&PrivateKey>) -> Result<SignedKill, KillError> {
        let text = serde_json::to_string(self).map_err(KillError::Form)?;
        if text.len() > MAX_TEXT {
            return Err(KillError::Length);
        }
        let sign = |key: &PrivateKey| {
            let signature = key.sign(NAMESPACE, HashAlg::Sha512, text.as_bytes())?;
            signature.to_pem(LineEnding::LF)
        };
        let signature = key.map(sign).transpose().map_err(KillError::Key)?;
        Ok(SignedKill { text, signature })
    }
}

impl SignedKill {
    /// Reads it, whoever signed it.
    ///
    /// # Errors
    /// When it is no such text of this version.
    pub fn read(&self) -> Result<Killed, KillError> {
        if self.text.len() > MAX_TEXT {
            return Err(KillError::Length);
        }
        let killed: Killed = serde_json::from_str(&self.text).map_err(KillError::Form)?;
        if killed.version == VERSION { Ok(killed) } else { Err(KillError::Version(killed.version)) }
    }

    /// Whether `key`, that of the host's agent, signed these bytes. An agent that has a key and did not sign is as one that
    /// signed wrongly.
    ///
    /// # Errors
    /// Why the signature is not believed.
    pub fn check(&self, key: Option<&KeyData>) -> Result<Seal, SealFlaw> {
        let Some(key) = key else { return Ok(Seal::Unsigned) };
        let signature = self.signature.as_deref().ok_or(SealFlaw::Form)?;
        let seal = sshsig::parse(signature)?;
        sshsig::verify(&seal, key, NAMESPACE, self.text.as_bytes())?;
        Ok(Seal::Signed)
    }
}

/// What a host said of a session that it ended, and what its signature is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillView {
    /// What it said.
    pub killed: Killed,
    /// Whether its agent signed it.
    pub seal: Seal,
}

/// What one order came to on a host, by what the host said of each session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kills {
    /// Sessions of which it said something.
    pub sessions: u32,
    /// Of these, how many are over with all that they had handed on.
    pub over: u32,
    /// Of these, how many its agent signed.
    pub signed: u32,
    /// Processes of sessions, by the step that killed them.
    pub killed: Tally,
    /// Processes of handed work.
    pub handed: HandedTally,
    /// Who was alive when it was said last.
    pub survivors: u32,
    /// The longest of them, in microseconds.
    pub took_micros: u64,
}

impl Kills {
    /// Counts one more session.
    pub fn count(&mut self, view: &KillView) {
        let killed = &view.killed;
        self.add(Self {
            sessions: 1,
            over: u32::from(killed.is_over()),
            signed: u32::from(view.seal == Seal::Signed),
            killed: killed.killed,
            handed: killed.handed,
            survivors: killed.survivors,
            took_micros: killed.took_micros,
        });
    }

    /// Counts what another host came to.
    pub fn add(&mut self, more: Self) {
        self.sessions = self.sessions.saturating_add(more.sessions);
        self.over = self.over.saturating_add(more.over);
        self.signed = self.signed.saturating_add(more.signed);
        self.killed.add(more.killed);
        self.handed.add(more.handed);
        self.survivors = self.survivors.saturating_add(more.survivors);
        self.took_micros = self.took_micros.max(more.took_micros);
    }
}

impl fmt::Display for Kills {
    /// `9 processes killed: 2 of connections, 3 with their control groups, 4 one by one; of handed work 6: …; signed`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { connection, group, alone } = self.killed;
        write!(
            f,
            "{} killed of the sessions themselves: {connection} with the connection, {group} with their control group, {alone} one by one",
            self.killed.sum()
        )?;
        if self.handed.sum() > 0 {
            let HandedTally { units, jobs, manager } = self.handed;
            write!(
                f,
                "; {} of handed work: {units} of units, {jobs} of at and cron, {manager} of the login's own systemd",
                self.handed.sum()
            )?;
        }
        if self.survivors > 0 {
            write!(f, "; {} ALIVE", self.survivors)?;
        }
        match self.sessions.saturating_sub(self.signed) {
            0 => f.write_str("; signed by the host"),
            unsigned => write!(f, "; {unsigned} of {} NOT SIGNED by the host", self.sessions),
        }
    }
}

/// The SSHSIG namespace, so that no other signature can pass for one.
pub const NAMESPACE: &str = "kill@curfew.internal";
/// Longest text: the program that crossed a threshold may have a path of 4 KiB, and each of its bytes may be escaped.
pub const MAX_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::octets::Octets;
    use ssh_key::private::Ed25519Keypair;

    fn key(seed: u8) -> PrivateKey {
        Ed25519Keypair::from_seed(&[seed; 32]).into()
    }

    fn public(seed: u8) -> KeyData {
        key(seed).public_key().key_data().clone()
    }

    fn killed() -> Killed {
        Killed {
            version: VERSION,
            host: "db1".parse().unwrap(),
            session: "00000000000000a1".parse().unwrap(),
            reason: EndReason::Locked {
                order: OrderNumber::try_new(4).unwrap(),
                reason: "left the company".into(),
            },
            at: Timestamp::from_secs(1_800_000_000),
            took_micros: 41_000,
            marked: true,
            passes: 6,
            killed: Tally { connection: 2, group: 3, alone: 4 },
            handed: HandedTally { units: 1, jobs: 2, manager: 3 },
            survivors: 0,
            named: Vec::new(),
            interrupted: false,
        }
    }

    #[test]
    fn it_reads_back_as_it_was_signed_and_by_no_other_key() {
        let signed = killed().sign(Some(&key(7))).unwrap();
        assert_eq!(signed.read().unwrap(), killed());
        assert_eq!(signed.check(Some(&public(7))), Ok(Seal::Signed));
        assert_eq!(signed.check(Some(&public(8))), Err(SealFlaw::Key));
        assert_eq!(signed.check(None), Ok(Seal::Unsigned));
    }

    #[test]
    fn another_byte_another_purpose_and_no_signature_are_not_believed() {
        let signed = killed().sign(Some(&key(7))).unwrap();
        let more = SignedKill { text: signed.text.replace("41000", "41"), ..signed.clone() };
        assert!(more.check(Some(&public(7))).is_err());
        let bare = SignedKill { signature: None, ..signed.clone() };
        assert_eq!(bare.check(Some(&public(7))), Err(SealFlaw::Form));
        let other = key(7).sign("renew@curfew.internal", HashAlg::Sha512, signed.text.as_bytes());
        let other = other.unwrap().to_pem(LineEnding::LF).unwrap();
        let other = SignedKill { signature: Some(other), ..signed };
        assert_eq!(other.check(Some(&public(7))), Err(SealFlaw::Namespace));
    }

    #[test]
    fn an_agent_without_a_key_says_it_all_the_same() {
        let said = killed().sign(None).unwrap();
        assert_eq!((said.read().unwrap(), said.signature), (killed(), None));
    }

    #[test]
    fn what_is_longer_of_another_version_or_says_more_is_refused() {
        let said = |text: String| SignedKill { text, signature: None }.read();
        assert!(matches!(said("x".repeat(MAX_TEXT + 1)), Err(KillError::Length)));
        let later = Killed { version: VERSION + 1, ..killed() };
        let later = serde_json::to_string(&later).unwrap();
        assert!(matches!(said(later), Err(KillError::Version(2))));
        let text = serde_json::to_string(&killed()).unwrap();
        let more = text.replacen('{', "{\"also\":1,", 1);
        assert!(matches!(said(more), Err(KillError::Form(_))));
        let long = Killed {
            named: vec![Slow { pid: 1, command: Octets::new("x".repeat(MAX_TEXT)) }],
            ..killed()
        };
        assert!(matches!(long.sign(None), Err(KillError::Length)));
    }

    #[test]
    fn sessions_of_an_order_are_counted_together() {
        let view = |survivors, seal| KillView { killed: Killed { survivors, ..killed() }, seal };
        let mut kills = Kills::default();
        kills.count(&view(0, Seal::Signed));
        kills.count(&view(2, Seal::Unsigned));
        assert_eq!((kills.sessions, kills.over, kills.signed, kills.survivors), (2, 1, 1, 2));
        assert_eq!((kills.killed.sum(), kills.handed.sum(), kills.took_micros), (18, 12, 41_000));
        assert_eq!(
            kills.to_string(),
            "18 killed of the sessions themselves: 4 with the connection, 6 with their control group, 8 one by one; \
             12 of handed work: 2 of units, 4 of at and cron, 6 of the login's own systemd; 2 ALIVE; 1 of 2 NOT SIGNED by the host"
        );
        let mut one = Kills::default();
        let alone = Killed { handed: HandedTally::default(), ..killed() };
        one.count(&KillView { killed: alone, seal: Seal::Signed });
        assert_eq!(
            one.to_string(),
            "9 killed of the sessions themselves: 2 with the connection, 3 with their control group, 4 one by one; signed by the host"
        );
    }
}
