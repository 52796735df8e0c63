//! What stock sshd has to refuse by itself: the locks, as the list of revoked certificates and keys that it reads. From
//! facts alone: no I/O, no clock.
//!
//! A list names certificates that are out there, so it covers those that can still open something; what is locked gets
//! no new ones. It says no more about a session that is under way: only the agent ends one.
//!
//! A certificate is revoked by serial under each authority, which is always complete, and by key id besides; a locked
//! person also by every key of theirs, so that none serves where a stranger's `authorized_keys` names it. A locked key
//! may be an authority's: then all its certificates are refused. SHA-256 is what every sshd since 8.2 reads, so nothing
//! is named by SHA-1.

use std::collections::BTreeSet;
use std::time::Duration;

use ssh_key::PublicKey;
use wire::identifier::{Fingerprint, Identity, KeyId, Serial, SessionId};
use wire::krl::{Issuer, Krl, KrlError};
use wire::lock::{Lock, Subject, Target};
use wire::time::Timestamp;

/// What the ledger knows that bears on the list, as of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The number of the newest entry.
    pub(crate) newest_entry: u64,
    /// The list that was published last.
    pub(crate) published: Published,
    /// Every lock in force.
    pub(crate) locks: Vec<Lock>,
    /// Identities that are disabled, whether or not there is still a lock on them.
    pub(crate) disabled: BTreeSet<Identity>,
    /// The login keys of identities that are locked or disabled.
    pub(crate) login_keys: BTreeSet<Fingerprint>,
    /// Certificates that a lock may cover and that may still open something, and those that a lock names.
    pub(crate) certificates: Vec<Issued>,
}

/// What is remembered of the list that was published last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Its version; 0 for none. Only ever rises.
    pub(crate) version: u64,
    /// When it was made.
    pub(crate) generated: Timestamp,
    /// The SHA-256 of its bytes; of none when a host has a newer list than this ledger remembers.
    pub(crate) digest: Vec<u8>,
}

impl Default for Published {
    fn default() -> Self {
        Self { version: 0, generated: Timestamp::from_secs(0), digest: Vec::new() }
    }
}

impl Published {
    /// The version of the next list: above every one before it, also above those that were exported when the newest entry
    /// was the version, and above those of a ledger that a backup has since replaced, as far as entries followed it.
    pub(crate) fn next(&self, newest_entry: u64) -> u64 {
        self.version.saturating_add(1).max(newest_entry)
    }
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
    /// The same by key id, as long as they are few: a second net, which must not make every login slow.
    pub(crate) key_ids: BTreeSet<String>,
    /// Keys.
    pub(crate) keys: BTreeSet<Fingerprint>,
    /// Locked sessions, which a list cannot name.
    pub(crate) sessions: BTreeSet<SessionId>,
    /// When it changes by itself: a lock ends, or a certificate is over everywhere.
    pub(crate) changes: Option<Timestamp>,
}

impl Revoked {
    /// Everything that is locked at `now`.
    pub(crate) fn of(facts: &Facts, now: Timestamp) -> Self {
        let mut revoked = Self { keys: facts.login_keys.clone(), ..Self::default() };
        let mut known = BTreeSet::new();
        for issued in &facts.certificates {
            let subject = &issued.subject;
            known.insert(subject.serial);
            let is_person_locked = facts.is_locked(&subject.identity);
            let is_locked =
                is_person_locked || facts.locks.iter().any(|lock| lock.covers(subject, None));
            if !is_locked || !may_open(issued.valid_before, now) {
                continue;
            }
            revoked.serials.insert(subject.serial);
            revoked.key_ids.insert(key_id(subject));
            if is_person_locked {
                revoked.keys.insert(subject.key.clone());
            }
            revoked.changes_at(issued.valid_before.after(SKEW).after(INSTANT));
        }
        if revoked.key_ids.len() > MAX_KEY_IDS {
            revoked.key_ids.clear();
        }
        revoked.by_name(&facts.locks, &known);
        revoked
    }

    /// What locks name directly.
    fn by_name(&mut self, locks: &[Lock], known: &BTreeSet<Serial>) {
        for lock in locks {
            match &lock.target {
                // One that was never issued here may be a forgery, which ends nobody knows when.
                Target::Serial(serial) if !known.contains(serial) => {
                    self.serials.insert(*serial);
                }
                // A key of the authority stands for every certificate that it signed.
                Target::Key(key) | Target::Authority(key) => {
                    self.keys.insert(key.clone());
                }
                Target::Session(session) => {
                    self.sessions.insert(*session);
                }
                _ => {}
            }
            if let Some(until) = lock.until {
                self.changes_at(until);
            }
        }
    }

    fn changes_at(&mut self, at: Timestamp) {
        self.changes = Some(self.changes.map_or(at, |known| known.min(at)));
    }

    /// Whether a list of the one says the same as a list of the other.
    pub(crate) fn is_same_list(&self, other: &Self) -> bool {
        (&self.serials, &self.key_ids, &self.keys) == (&other.serials, &other.key_ids, &other.keys)
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
            for key_id in &self.key_ids {
                krl.revoke_key_id(&issuer, key_id.as_bytes())?;
            }
        }
        for key in &self.keys {
            krl.revoke_fingerprint(key)?;
        }
        Ok(krl)
    }
}

impl Facts {
    fn is_locked(&self, identity: &Identity) -> bool {
        let locked =
            |lock: &Lock| matches!(&lock.target, Target::Identity(name) if name == identity);
        self.disabled.contains(identity) || self.locks.iter().any(locked)
    }
}

fn key_id(subject: &Subject) -> String {
    let Subject { identity, grant, serial, .. } = subject.clone();
    KeyId { identity, grant, serial }.to_string()
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
pub(crate) const SKEW: Duration = Duration::from_secs(5 * 60);
/// The smallest step of time that we know.
const INSTANT: Duration = Duration::from_millis(1);
/// Most key ids in a list. Each is about 40 bytes and slows each login; serials, which are always complete, are two bits.
const MAX_KEY_IDS: usize = 4_096;
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
            key: print(serial),
            role: format!("role{serial}").parse().unwrap(),
            login: format!("login{serial}").parse().unwrap(),
            host: format!("host{serial}").parse().unwrap(),
            authority: None,
        };
        Issued { subject, valid_before: NOW }
    }

    fn print(serial: u64) -> Fingerprint {
        Fingerprint::of(&serial.to_be_bytes())
    }

    fn facts(targets: impl IntoIterator<Item = Target>) -> Facts {
        let lock = |target| Lock { target, reason: "r".into(), until: None };
        Facts {
            locks: targets.into_iter().map(lock).collect(),
            certificates: vec![issued(1, "ana"), issued(2, "bob"), issued(3, "bob")],
            ..Facts::default()
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
        // The stolen key, and those of bob's two certificates.
        assert_eq!((revoked.keys.len(), revoked.sessions.len()), (3, 1));
        let krl = revoked.list(7, &[old.public_key(), new.public_key()], NOW).unwrap();
        let extent = krl.extent();
        assert_eq!((extent.serials, extent.key_ids), (4, 4), "two serials, two authorities");
        assert_eq!(extent.fingerprints, 3);
        assert_eq!((krl.version(), krl.generated()), (7, NOW));
        let empty = Revoked::default().list(8, &[old.public_key()], NOW).unwrap();
        assert_eq!(empty.extent(), wire::krl::Extent::default());
        assert!(!empty.encode().unwrap().is_empty());
    }

    #[test]
    fn a_locked_person_is_revoked_by_serial_by_key_id_and_by_every_key() {
        let login = Fingerprint::of(b"login");
        for is_disabled in [false, true] {
            let mut facts = facts([]);
            let bob: Identity = "bob".parse().unwrap();
            if is_disabled {
                facts.disabled.insert(bob);
            } else {
                let lock = Lock { target: Target::Identity(bob), reason: "r".into(), until: None };
                facts.locks.push(lock);
            }
            facts.login_keys.insert(login.clone());
            let revoked = Revoked::of(&facts, NOW);
            let key_ids: Vec<&str> = revoked.key_ids.iter().map(String::as_str).collect();
            assert_eq!(key_ids, ["bob/g2/2", "bob/g3/3"]);
            let keys = [login.clone(), print(2), print(3)];
            assert_eq!(revoked.keys, keys.into_iter().collect());
        }
        // A key that the authority gave up stands for all that it signed.
        assert!(Revoked::of(&facts([Target::Authority(print(9))]), NOW).keys.contains(&print(9)));
        // A lock on one grant says nothing about the person's keys.
        let revoked = Revoked::of(&facts([Target::Grant("g2".parse().unwrap())]), NOW);
        assert_eq!((revoked.serials.len(), revoked.keys.len()), (1, 0));
    }

    #[test]
    fn key_ids_are_left_out_where_they_are_many_and_serials_never() {
        let mut facts = facts([Target::Identity("ana".parse().unwrap())]);
        let most = u64::try_from(MAX_KEY_IDS).unwrap();
        facts.certificates = (1..=most).map(|serial| issued(serial, "ana")).collect();
        let revoked = Revoked::of(&facts, NOW);
        assert_eq!((revoked.serials.len(), revoked.key_ids.len()), (MAX_KEY_IDS, MAX_KEY_IDS));
        facts.certificates.push(issued(most.saturating_add(1), "ana"));
        let revoked = Revoked::of(&facts, NOW);
        assert_eq!((revoked.serials.len(), revoked.key_ids.len()), (MAX_KEY_IDS + 1, 0));
    }

    #[test]
    fn a_list_is_made_again_when_a_lock_ends_or_a_certificate_is_over() {
        let at = |secs| NOW.after(Duration::from_secs(secs));
        let lock = |target, until| Lock { target, reason: "r".into(), until };
        assert_eq!(Revoked::of(&facts([]), NOW).changes, None);
        let mut facts = facts([Target::Identity("ana".parse().unwrap())]);
        let pruned = Revoked::of(&facts, NOW).changes.unwrap();
        assert_eq!(pruned, at(300).after(INSTANT));
        // One moment before, it must still be there; at that moment it is gone.
        assert_eq!(Revoked::of(&facts, at(300)).serials.len(), 1);
        assert_eq!(Revoked::of(&facts, pruned).serials.len(), 0);
        facts.locks.push(lock(Target::Grant("g3".parse().unwrap()), Some(at(7))));
        assert_eq!(Revoked::of(&facts, NOW).changes, Some(at(7)));
    }

    #[test]
    fn the_next_version_is_above_the_last_and_not_below_the_ledger() {
        let last = |version| Published { version, ..Published::default() };
        for (version, newest_entry, expected) in
            [(0, 0, 1), (0, 41, 41), (41, 41, 42), (90, 41, 91), (u64::MAX, 1, u64::MAX)]
        {
            assert_eq!(last(version).next(newest_entry), expected);
        }
    }
}
