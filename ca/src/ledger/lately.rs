//! What was read lately of people and hosts, so that the next certificate for the same is decided without reading again.
//!
//! Only a "yes" may rest on it. Whatever turns a yes into a no counts the epoch, and a permit from an epoch that is over is
//! refused when it is recorded, by the database itself; so all that is kept here is of one epoch, and the first news of
//! the next one drops it. A "no", which may have become a yes meanwhile, is decided on what is read anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::identifier::{Address, Identity};
use wire::lock::Lock;
use wire::time::Timestamp;

use super::Login;
use crate::access::Facts;

/// What is kept, bounded.
#[derive(Default)]
pub(super) struct Lately(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    epoch: u64,
    /// By the hash of the token.
    logins: BTreeMap<[u8; 32], Login>,
    facts: BTreeMap<(Identity, Address), Arc<Facts>>,
    /// The locks of this epoch, which all facts share.
    locks: Arc<Vec<Lock>>,
}

impl Lately {
    /// Whose token it was, unless the login is over by now.
    pub(super) fn login(&self, hash: &[u8; 32], now: Timestamp) -> Option<Login> {
        self.kept().logins.get(hash).filter(|login| now < login.until).cloned()
    }

    /// What bore on an ask.
    pub(super) fn facts(&self, identity: &Identity, host: &Address) -> Option<Arc<Facts>> {
        self.kept().facts.get(&(identity.clone(), host.clone())).map(Arc::clone)
    }

    /// Keeps a login as it was read.
    pub(super) fn keep_login(&self, hash: [u8; 32], login: &Login) {
        let mut kept = self.kept();
        if kept.is_of(login.epoch) {
            if kept.logins.len() >= MOST {
                kept.logins.clear();
            }
            kept.logins.insert(hash, login.clone());
        }
    }

    /// Keeps facts as they were read.
    pub(super) fn keep_facts(&self, identity: Identity, host: Address, facts: Facts) -> Arc<Facts> {
        let mut kept = self.kept();
        if !kept.is_of(facts.epoch) {
            return Arc::new(facts);
        }
        if kept.locks != facts.locks {
            kept.locks = Arc::clone(&facts.locks);
        }
        let facts = Arc::new(Facts { locks: Arc::clone(&kept.locks), ..facts });
        if kept.facts.len() >= MOST {
            kept.facts.clear();
        }
        kept.facts.insert((identity, host), Arc::clone(&facts));
        facts
    }

    /// Forgets what bore on an ask.
    pub(super) fn forget(&self, identity: &Identity, host: &Address) {
        self.kept().facts.remove(&(identity.clone(), host.clone()));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether something of this epoch may be kept; a newer one drops what is of the one before.
    fn is_of(&mut self, epoch: u64) -> bool {
        if self.epoch < epoch {
            *self = Self { epoch, ..Self::default() };
        }
        self.epoch == epoch
    }
}

/// Most logins, and most pairs of a person and a host: about 16 MB. Beyond that all are read anew.
const MOST: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn login(epoch: u64) -> Login {
        Login {
            identity: "ana".parse().unwrap(),
            operator: false,
            locked: false,
            kind: wire::identity::Kind::Person,
            number: 7,
            method: wire::identity::Method::Key,
            key: None,
            mfa_at: None,
            until: NOW.after(Duration::from_secs(60)),
            epoch,
        }
    }

    fn pair() -> (Identity, Address) {
        ("ana".parse().unwrap(), "db1".parse().unwrap())
    }

    #[test]
    fn a_newer_epoch_drops_all_and_an_older_one_is_not_kept() {
        let (lately, (ana, db1)) = (Lately::default(), pair());
        lately.keep_login([1; 32], &login(4));
        lately.keep_facts(ana.clone(), db1.clone(), Facts { epoch: 4, ..Facts::default() });
        assert_eq!(lately.login(&[1; 32], NOW), Some(login(4)));
        assert_eq!(lately.facts(&ana, &db1).unwrap().epoch, 4);
        lately.keep_login([2; 32], &login(5));
        assert_eq!(lately.login(&[1; 32], NOW), None);
        assert!(lately.facts(&ana, &db1).is_none());
        lately.keep_facts(ana.clone(), db1.clone(), Facts { epoch: 4, ..Facts::default() });
        assert!(lately.facts(&ana, &db1).is_none());
    }

    #[test]
    fn a_login_is_not_remembered_beyond_its_end() {
        let lately = Lately::default();
        lately.keep_login([1; 32], &login(4));
        assert_eq!(lately.login(&[1; 32], login(4).until), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let lately = Lately::default();
        for number in 0..=MOST {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            lately.keep_login(hash, &login(1));
        }
        assert_eq!(lately.kept().logins.len(), 1);
    }
}
