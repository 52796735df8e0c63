//! What this host refuses, and up to which order it knows: pure, and kept as one file.
//!
//! Orders are numbered without gaps. A host takes the next one and no other: an older one is known already, a later
//! one means that something was missed and must be asked for again.

use serde::{Deserialize, Serialize};
use wire::identifier::{GrantId, OrderNumber};
use wire::lock::{Lock, Subject};
use wire::log::Declared;
use wire::order::{Extension, Instruction, Order, Unread};
use wire::record::KeptLock;
use wire::time::Timestamp;
use wire::trust::Keys;

/// The locks in force on this host.
///
/// Who can change this: root on the host. Gains: can let locked people into this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The version of this format.
    pub version: u32,
    /// The newest order that is in force here; 0 for none.
    pub last_order: u64,
    /// Locks, at most one a target.
    pub locks: Vec<Held>,
    /// Locks of this host alone ([`crate::local`]). Where they come from keeps them; here they are only in force.
    #[serde(skip)]
    pub local: Vec<LocalLock>,
    /// Grants that end later than certificates from before say, until they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<Extension>,
    /// The first order that this version cannot read and may not pass over. Until it can, nobody is let in; then every
    /// order from there on is asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<OrderNumber>,
}

/// A lock of this host alone, in force with no authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalLock {
    /// What put it in force: a file in `locks.d`, or an account of this host.
    pub source: String,
    /// The lock.
    pub lock: Lock,
}

/// A lock and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The lock.
    pub lock: Lock,
    /// The order that brought it; none for those that were in force when the host joined.
    pub order: Option<OrderNumber>,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It is in force; here is a lock that sessions must be matched against.
    Lock(Lock),
    /// It is in force; nothing has to end.
    Unlock,
    /// It brings other keys; it is in force when the host has them on its disk.
    Trust(Box<Keys>),
    /// It declares a restore; it is in force when [`Revocation::restored`] is on the host's disk.
    Restored(Box<Declared>),
    /// It is in force; sessions under the grant end later.
    Extend(Extension),
    /// It was in force already.
    Known,
    /// Orders are missing before it; it was not taken.
    Gap {
        /// The number that was expected.
        expected: u64,
    },
}

impl Revocation {
    /// As a host begins: the locks of that moment, and orders from there.
    #[must_use]
    pub fn joined(orders_from: u64, locks: Vec<Lock>) -> Self {
        let locks = locks.into_iter().map(|lock| Held { lock, order: None }).collect();
        Self {
            version: wire::VERSION,
            last_order: orders_from,
            locks,
            local: Vec::new(),
            extended: Vec::new(),
            unread: None,
        }
    }

    /// Takes an order that has been verified.
    pub fn take(&mut self, order: &Order) -> Taken {
        let expected = self.last_order.saturating_add(1);
        let number = order.number.number();
        if number < expected {
            return Taken::Known;
        }
        if let Instruction::Restored(declared) = &order.instruction
            && self.leaps_to(number, declared)
        {
            return Taken::Restored(declared.clone());
        }
        if number > expected {
            return Taken::Gap { expected };
        }
        self.last_order = number;
        if let Some(extension) = order.extend {
            self.extended.retain(|held| held.grant != extension.grant && order.at < held.until);
            self.extended.push(extension);
            return Taken::Extend(extension);
        }
        match &order.instruction {
            Instruction::Lock(lock) => {
                self.locks.retain(|held| held.lock.target != lock.target);
                self.locks.push(Held { lock: lock.clone(), order: Some(order.number) });
                Taken::Lock(lock.clone())
            }
            Instruction::Unlock(target) => {
                self.locks.retain(|held| held.lock.target != *target);
                Taken::Unlock
            }
            Instruction::Trust(keys) => Taken::Trust(Box::new(keys.clone())),
            Instruction::Restored(declared) => Taken::Restored(declared.clone()),
        }
    }

    /// Takes an order of a later version, as far as it can be read: it has its place, and unless it may be passed over it
    /// is remembered that it is not known what it says.
    pub fn take_unread(&mut self, order: &Unread) -> Taken {
        let expected = self.last_order.saturating_add(1);
        let number = order.number.number();
        if number < expected {
            return Taken::Known;
        }
        if number > expected {
            return Taken::Gap { expected };
        }
        self.last_order = number;
        if !order.passable {
            self.unread.get_or_insert(order.number);
        }
        Taken::Unlock
    }

    /// Goes back to before the first order that could not be read, as the agent begins: it may be of a version now that
    /// can. All from there on come again, in their order, and each can be taken twice. Whether there was one.
    pub fn go_back_to_read(&mut self) -> bool {
        let Some(unread) = self.unread.take() else { return false };
        self.last_order = unread.number().saturating_sub(1);
        true
    }

    /// When a grant ends whose certificate says `until`: later, when it was extended since.
    #[must_use]
    pub fn end_of(&self, grant: GrantId, until: Timestamp) -> Timestamp {
        let extended = self.extended.iter().filter(|held| held.grant == grant);
        extended.map(|held| held.until).fold(until, Timestamp::max)
    }

    /// Whether this order is the first of an era that this host can go over to: it has every order up to the cut.
    fn leaps_to(&self, number: u64, declared: &Declared) -> bool {
        declared.read().is_ok_and(|said| {
            number == said.era.first_order() && self.last_order >= said.last_order
        })
    }

    /// Goes over to the era that this order began, and says which locks the ledger does not know any more: those of orders
    /// after `cut`. They stay in force.
    pub fn restored(&mut self, order: OrderNumber, cut: u64) -> Vec<KeptLock> {
        self.last_order = order.number();
        let later = self.locks.iter().filter_map(|held| Some((held, held.order?)));
        let later = later.filter(|(_, order)| order.number() > cut);
        later.map(|(held, order)| KeptLock { lock: held.lock.clone(), order }).collect()
    }

    /// The lock that covers this login from `remote` at `now`, if there is one: the authority's, or this host's own.
    #[must_use]
    pub fn covering(&self, subject: &Subject, remote: &str, now: Timestamp) -> Option<&Lock> {
        let ordered = self.locks.iter().map(|held| &held.lock);
        let mut locks = ordered.chain(self.local.iter().map(|local| &local.lock));
        locks.find(|lock| {
            lock.holds_at(now) && (lock.covers(subject, None) || lock.covers_remote(remote))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::identifier::{Fingerprint, Serial};
    use wire::lock::Target;

    fn target() -> Target {
        Target::Identity("ana".parse().unwrap())
    }

    fn order(number: u64, instruction: Instruction) -> Order {
        let number = OrderNumber::try_new(number).unwrap();
        Order {
            version: 1,
            number,
            at: Timestamp::from_secs(0),
            by: "local:root".into(),
            instruction,
            extend: None,
            recording: None,
            watched: None,
            passable: false,
        }
    }

    fn lock(number: u64) -> Order {
        order(number, Instruction::Lock(Lock { target: target(), reason: "r".into(), until: None }))
    }

    fn subject() -> Subject {
        Subject {
            identity: "ana".parse().unwrap(),
            grant: "g1".parse().unwrap(),
            serial: Serial::try_new(1).unwrap(),
            key: Fingerprint::of(b"key"),
            role: "deploy".parse().unwrap(),
            login: "app".parse().unwrap(),
            host: "db1".parse().unwrap(),
            authority: None,
        }
    }

    #[test]
    fn orders_are_taken_once_and_in_order() {
        let mut held = Revocation::joined(4, Vec::new());
        assert_eq!(held.take(&lock(6)), Taken::Gap { expected: 5 });
        assert!(matches!(held.take(&lock(5)), Taken::Lock(_)));
        assert_eq!(held.take(&lock(5)), Taken::Known);
        assert_eq!(held.last_order, 5);
        assert!(held.covering(&subject(), "", Timestamp::from_secs(1)).is_some());
    }

    #[test]
    fn an_old_lock_replayed_after_its_unlock_stays_lifted() {
        let mut held = Revocation::joined(0, Vec::new());
        assert!(matches!(held.take(&lock(1)), Taken::Lock(_)));
        assert_eq!(held.take(&order(2, Instruction::Unlock(target()))), Taken::Unlock);
        assert_eq!(held.take(&lock(1)), Taken::Known);
        assert!(held.covering(&subject(), "", Timestamp::from_secs(1)).is_none());
    }

    #[test]
    fn a_host_that_joins_has_the_locks_of_that_moment() {
        let lock =
            Lock { target: target(), reason: "r".into(), until: Some(Timestamp::from_secs(5)) };
        let held = Revocation::joined(9, vec![lock]);
        assert!(held.covering(&subject(), "", Timestamp::from_secs(4)).is_some());
        assert!(held.covering(&subject(), "", Timestamp::from_secs(5)).is_none());
    }

    #[test]
    fn a_lock_of_this_host_covers_without_an_order_and_is_kept_elsewhere() {
        let mut held = Revocation::joined(0, Vec::new());
        let lock = Lock { target: target(), reason: "r".into(), until: None };
        held.local.push(LocalLock { source: "a.toml".into(), lock });
        assert!(held.covering(&subject(), "", Timestamp::from_secs(1)).is_some());
        let kept = serde_json::to_string(&held).unwrap();
        assert_eq!(serde_json::from_str::<Revocation>(&kept).unwrap().local, []);
    }

    #[test]
    fn a_network_is_asked_about_once_it_is_known() {
        let network = Target::Network("10.0.0.0/8".parse().unwrap());
        let lock = Lock { target: network, reason: "r".into(), until: None };
        let held = Revocation::joined(0, vec![lock]);
        let covers = |remote| held.covering(&subject(), remote, Timestamp::from_secs(1)).is_some();
        assert_eq!((covers(""), covers("10.0.0.7"), covers("192.0.2.1")), (false, true, false));
    }

    #[test]
    fn what_cannot_be_read_has_its_place_and_is_asked_for_again_with_all_after_it() {
        let unread = |number: u64, passable| Unread {
            version: 1,
            number: OrderNumber::try_new(number).unwrap(),
            passable,
        };
        let mut revocation = Revocation::joined(0, Vec::new());
        assert!(!revocation.go_back_to_read());
        assert_eq!(revocation.take_unread(&unread(2, false)), Taken::Gap { expected: 1 });
        assert_eq!(revocation.take_unread(&unread(1, true)), Taken::Unlock, "passed over");
        assert_eq!((revocation.last_order, revocation.unread), (1, None));
        assert_eq!(revocation.take_unread(&unread(2, false)), Taken::Unlock);
        assert!(matches!(revocation.take(&lock(3)), Taken::Lock(_)), "later ones are in force");
        assert_eq!(revocation.take_unread(&unread(4, false)), Taken::Unlock);
        assert_eq!(revocation.take_unread(&unread(4, false)), Taken::Known);
        assert_eq!(revocation.unread.map(|order| order.number()), Some(2), "the first is kept");
        let kept = serde_json::to_string(&revocation).unwrap();
        let mut again: Revocation = serde_json::from_str(&kept).unwrap();
        assert!(again.go_back_to_read());
        assert_eq!((again.last_order, again.unread, again.locks.len()), (1, None, 1));
        assert!(matches!(again.take(&lock(2)), Taken::Lock(_)), "it can be read now");
        assert!(matches!(again.take(&lock(3)), Taken::Lock(_)), "and what came after it");
    }
}
