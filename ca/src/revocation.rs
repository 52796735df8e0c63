//! What a machine without the agent has to refuse: the locks, as the list of revoked certificates and keys that stock
//! sshd reads. From facts alone: no I/O, no clock.
//!
//! A list names certificates that are out there, so it covers those that can still open something; what is locked gets
//! no new ones. It says no more about a session that is under way: only the agent ends one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ssh_key::PublicKey;
use wire::identifier::{Fingerprint, Identity, Serial, SessionId};
use wire::krl::{Issuer, Krl, KrlError};
use wire::lock::{Lock, Subject, Target};
use wire::time::Timestamp;

/// What the ledger knows that bears on the list, as of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The number of the newest entry; it rises with every change.
    pub(crate) version: u64,
    /// Every lock in force.
    pub(crate) locks: Vec<Lock>,
    /// Identities that are disabled, whether or not there is still a lock on them.
    pub(crate) disabled: BTreeSet<Identity>,
    /// Certificates that may still open something, and those that a lock names.
    pub(crate) certificates: Vec<Issued>,
}

/// A certificate as it was recorded.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// What can be locked about it.
    pub(crate) subject: Subject,
    /// It opens nothing from this moment on.
    pub(crate) valid_before: Timestamp,
}

/// What is to be refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Revoked {
    /// Certificates.
    pub(crate) serials: BTreeSet<Serial>,
    /// Keys.
    pub(crate) keys: BTreeSet<Fingerprint>,
    /// Locked sessions, which a list cannot name.
    pub(crate) sessions: BTreeSet<SessionId>,
}

impl Revoked {
    /// Everything that is locked at `now`.
    pub(crate) fn of(facts: &Facts, now: Timestamp) -> Self {
        let mut revoked = Self::default();
        let mut ends = BTreeMap::new();
        for issued in &facts.certificates {
            let subject = &issued.subject;
            ends.insert(subject.serial, issued.valid_before);
            let is_locked = facts.disabled.contains(&subject.identity)
                || facts.locks.iter().any(|lock| lock.covers(subject, None));
            if is_locked && may_open(issued.valid_before, now) {
                revoked.serials.insert(subject.serial);
            }
        }
        for lock in &facts.locks {
            match &lock.target {
                // One that was never issued here may be a forgery, which ends nobody knows when.
                Target::Serial(serial) if !ends.contains_key(serial) => {
                    revoked.serials.insert(*serial);
                }
                // A key of the authority stands for every certificate that it signed.
                Target::Key(key) | Target::Authority(key) => {
                    revoked.keys.insert(key.clone());
                }
                Target::Session(session) => {
                    revoked.sessions.insert(*session);
                }
                _ => {}
            }
        }
        revoked
    }

    /// The list: serials under each of these authorities, for any of them may have signed.
    pub(crate) fn list(
        &self,
        version: u64,
        authorities: &[&PublicKey],
        now: Timestamp,
    ) -> Result<Krl, KrlError> {
        let mut krl = Krl::new(version, now).with_comment(COMMENT)?;
        for authority in authorities {
            let issuer = Issuer::of(authority.key_data())?;
            self.serials.iter().for_each(|serial| krl.revoke_serial(&issuer, *serial));
        }
        for key in &self.keys {
            krl.revoke_fingerprint(key)?;
        }
        Ok(krl)
    }
}

/// Certificates that ended before this open nothing anywhere.
pub(crate) fn horizon(now: Timestamp) -> Timestamp {
    now.before(SKEW)
}

fn may_open(valid_before: Timestamp, now: Timestamp) -> bool {
    valid_before >= horizon(now)
}

/// How far the clock of a machine may be behind ours: until then it still takes a certificate that has ended here, so
/// it stays on the list. Nobody watches the clock of a machine without the agent, hence minutes and not seconds.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// What tells a list of ours from somebody else's.
pub(crate) const COMMENT: &str = "curfew";

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn issued(serial: u64, identity: &str) -> Issued {
        let subject = Subject {
            identity: identity.parse().unwrap(),
            grant: format!("g{serial}").parse().unwrap(),
            serial: Serial::try_new(serial).unwrap(),
            key: Fingerprint::of(&serial.to_be_bytes()),
            role: format!("role{serial}").parse().unwrap(),
            login: format!("login{serial}").parse().unwrap(),
            host: format!("host{serial}").parse().unwrap(),
            authority: None,
        };
        Issued { subject, valid_before: NOW }
    }

    fn facts(targets: impl IntoIterator<Item = Target>) -> Facts {
        let lock = |target| Lock { target, reason: "r".into(), until: None };
        Facts {
            version: 7,
            locks: targets.into_iter().map(lock).collect(),
            disabled: BTreeSet::new(),
            certificates: vec![issued(1, "ana"), issued(2, "bob"), issued(3, "bob")],
        }
    }

    fn serials(facts: &Facts) -> Vec<u64> {
        Revoked::of(facts, NOW).serials.into_iter().map(Serial::number).collect()
    }

    #[test]
    fn each_kind_of_lock_revokes_what_it_covers_and_no_more() {
        assert!(serials(&facts([])).is_empty());
        let cases = [
            (Target::Identity("bob".parse().unwrap()), vec![2, 3]),
            (Target::Grant("g1".parse().unwrap()), vec![1]),
            (Target::Serial(Serial::try_new(2).unwrap()), vec![2]),
            (Target::Key(Fingerprint::of(&3_u64.to_be_bytes())), vec![3]),
            (Target::Host("host1".parse().unwrap()), vec![1]),
            (Target::Role("role2".parse().unwrap()), vec![2]),
            (Target::Login("login3".parse().unwrap()), vec![3]),
        ];
        for (target, expected) in cases {
            assert_eq!(serials(&facts([target.clone()])), expected, "{target}");
        }
    }

    #[test]
    fn a_disabled_identity_is_revoked_without_a_lock() {
        let mut facts = facts([]);
        facts.disabled.insert("ana".parse().unwrap());
        assert_eq!(serials(&facts), [1]);
    }

    #[test]
    fn a_certificate_stays_on_the_list_until_its_end_and_the_skew_are_over() {
        let mut facts = facts([Target::Identity("ana".parse().unwrap())]);
        let cases = [(0, vec![1]), (299, vec![1]), (300, vec![1]), (301, vec![])];
        for (secs, expected) in cases {
            let ended = NOW.before(Duration::from_secs(secs));
            facts.certificates.iter_mut().for_each(|issued| issued.valid_before = ended);
            assert_eq!(serials(&facts), expected, "ended {secs} s ago");
        }
        let named = Target::Serial(Serial::try_new(1).unwrap());
        facts.locks = vec![Lock { target: named, reason: "r".into(), until: None }];
        assert!(serials(&facts).is_empty(), "named, known and over");
    }

    #[test]
    fn a_serial_that_was_never_issued_stays_on_the_list() {
        assert_eq!(
            serials(&facts([Target::Serial(Serial::try_new(u64::MAX).unwrap())])),
            [u64::MAX]
        );
    }

    #[test]
    fn the_list_holds_serials_under_each_authority_keys_and_no_sessions() {
        let key = |seed| PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
        let (old, new) = (key(1), key(2));
        let stolen = Fingerprint::of(b"stolen");
        let targets = [
            Target::Identity("bob".parse().unwrap()),
            Target::Key(stolen.clone()),
            Target::Session("00000000000000ff".parse().unwrap()),
        ];
        let revoked = Revoked::of(&facts(targets), NOW);
        assert_eq!((revoked.keys.len(), revoked.sessions.len()), (1, 1));
        let krl = revoked.list(7, &[old.public_key(), new.public_key()], NOW).unwrap();
        let extent = krl.extent();
        assert_eq!((extent.serials, extent.fingerprints), (4, 1), "two serials, two authorities");
        assert_eq!((krl.version(), krl.generated()), (7, NOW));
        let empty = Revoked::default().list(8, &[old.public_key()], NOW).unwrap();
        assert_eq!(empty.extent(), wire::krl::Extent::default());
        assert!(!empty.encode().unwrap().is_empty());
    }
}
