//! The hosts that are connected now: who is there, when each was last heard of, and word of every change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use wire::identifier::HostName;
use wire::krl::signed::KrlStanding;
use wire::renewal::Standing;
use wire::time::Timestamp;

use crate::ledger::HostRow;

mod enrolment;
mod frames;
mod lane;
mod link;
pub(crate) mod listener;
mod renewal;
pub(crate) mod silence;
mod spool;

/// Who is connected.
pub(crate) struct Fleet {
    hosts: Mutex<BTreeMap<HostName, Place>>,
    changes: watch::Sender<u64>,
}

/// A connected host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Presence {
    /// When it was last heard of.
    pub(crate) seen: Timestamp,
    /// The newest order that it has in force.
    pub(crate) last_order: u64,
    /// How far its clock is off, in seconds, either way.
    pub(crate) skew_secs: u64,
    /// How far it is with lists of revoked keys; nothing when its agent knows none.
    pub(crate) krl: Option<KrlStanding>,
}

struct Place {
    seat: u64,
    presence: Presence,
    standing: Option<Standing>,
    trouble: Option<String>,
    waiting: Option<u64>,
    leave: Arc<Notify>,
    renew: Arc<Notify>,
}

/// A host's place while its connection lives; dropping it says that the host is gone.
pub(crate) struct Seat<'a> {
    fleet: &'a Fleet,
    host: HostName,
    number: u64,
    leave: Arc<Notify>,
    renew: Arc<Notify>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { hosts: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Fleet {
    /// Seats a host. A connection of the same host that is still there is told to leave.
    pub(crate) fn seat(&self, host: HostName, presence: Presence) -> Seat<'_> {
        let (leave, renew) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let number = self.change();
        let place = Place {
            seat: number,
            presence,
            standing: None,
            trouble: None,
            waiting: None,
            leave: Arc::clone(&leave),
            renew: Arc::clone(&renew),
        };
        let before = self.hosts().insert(host.clone(), place);
        if let Some(before) = before {
            before.leave.notify_one();
        }
        Seat { fleet: self, host, number, leave, renew }
    }

    /// Tells the host's connection to leave, if it has one.
    pub(crate) fn dismiss(&self, host: &HostName) {
        if let Some(place) = self.hosts().get(host) {
            place.leave.notify_one();
        }
    }

    /// Tells every host to leave that is not among these: it was removed at another node.
    pub(crate) fn keep(&self, hosts: &[HostRow]) {
        for (name, place) in self.hosts().iter() {
            if !hosts.iter().any(|host| host.name == *name) {
                place.leave.notify_one();
            }
        }
    }

    /// Has the host ask for its SSH certificates now, if it is connected; one that is not is told when it comes.
    pub(crate) fn ask_renewal(&self, host: &HostName) {
        if let Some(place) = self.hosts().get(host) {
            place.renew.notify_one();
        }
    }

    /// How the host stands with its SSH certificates, when it is connected and has said.
    pub(crate) fn standing(&self, host: &HostName) -> Option<Standing> {
        self.hosts().get(host).and_then(|place| place.standing.clone())
    }

    /// What keeps the host from recording, as it says, when it is connected.
    pub(crate) fn trouble(&self, host: &HostName) -> Option<String> {
        self.hosts().get(host).and_then(|place| place.trouble.clone())
    }

    /// How many records of the host's wait there for the authority, when it is connected and has said.
    pub(crate) fn waiting(&self, host: &HostName) -> Option<u64> {
        self.hosts().get(host).and_then(|place| place.waiting)
    }

    /// The host's presence, when it is connected.
    pub(crate) fn presence(&self, host: &HostName) -> Option<Presence> {
        self.hosts().get(host).map(|place| place.presence.clone())
    }

    /// When each host that is connected was heard of last.
    pub(crate) fn heard(&self) -> BTreeMap<HostName, Timestamp> {
        self.hosts().iter().map(|(host, place)| (host.clone(), place.presence.seen)).collect()
    }

    /// Whether the host is connected.
    pub(crate) fn is_connected(&self, host: &HostName) -> bool {
        self.hosts().contains_key(host)
    }

    /// Word of every receipt, arrival and departure.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says that something changed.
    pub(crate) fn change(&self) -> u64 {
        let mut number = 0;
        self.changes.send_modify(|count| {
            *count = count.wrapping_add(1);
            number = *count;
        });
        number
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostName, Place>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Notes that the host was heard of.
    pub(crate) fn heard(&self, presence: Presence) {
        if let Some(place) = self.fleet.hosts().get_mut(&self.host)
            && place.seat == self.number
        {
            let last_order = place.presence.last_order.max(presence.last_order);
            place.presence = Presence { last_order, ..presence };
        }
    }

    /// Notes how the host stands with its SSH certificates.
    pub(crate) fn stands(&self, standing: Standing) {
        if let Some(place) = self.fleet.hosts().get_mut(&self.host)
            && place.seat == self.number
        {
            place.standing = Some(standing);
        }
    }

    /// Notes how many records wait at the host, and what keeps it from recording, as it says; nothing when all is well again.
    pub(crate) fn records(&self, waiting: u64, trouble: Option<String>) {
        if let Some(place) = self.fleet.hosts().get_mut(&self.host)
            && place.seat == self.number
        {
            (place.waiting, place.trouble) = (Some(waiting), trouble);
        }
    }

    /// Returns when the host is to ask for its SSH certificates.
    pub(crate) async fn renewal_asked(&self) {
        self.renew.notified().await;
    }

    /// The newest order that the host is known to have in force.
    pub(crate) fn last_order(&self) -> u64 {
        self.fleet.presence(&self.host).map_or(0, |presence| presence.last_order)
    }

    /// Returns when another connection of the same host has taken its place, or when the host was removed.
    pub(crate) async fn dismissed(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        {
            let mut hosts = self.fleet.hosts();
            if hosts.get(&self.host).is_some_and(|place| place.seat == self.number) {
                hosts.remove(&self.host);
            }
        }
        self.fleet.change();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Presence =
        Presence { seen: Timestamp::from_secs(1), last_order: 3, skew_secs: 0, krl: None };

    #[tokio::test]
    async fn a_second_connection_of_a_host_takes_the_place_of_the_first() {
        let fleet = Fleet::default();
        let host: HostName = "db1".parse().unwrap();
        let first = fleet.seat(host.clone(), HERE);
        let second = fleet.seat(host.clone(), HERE);
        first.dismissed().await;
        drop(first);
        assert!(fleet.is_connected(&host));
        drop(second);
        assert!(!fleet.is_connected(&host));
    }

    #[test]
    fn the_newest_order_of_a_host_only_rises() {
        let fleet = Fleet::default();
        let seat = fleet.seat("db1".parse().unwrap(), HERE);
        seat.heard(Presence { last_order: 1, ..HERE });
        assert_eq!(seat.last_order(), 3);
    }
}
