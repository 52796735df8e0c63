//! Places for connections: bounded in all and from each address. When all are taken, whoever does nothing in theirs gives way.
//!
//! Who can change this: anybody who reaches the port. Gains: from one address a part of the places; from many, all of them,
//! each for a few seconds, in which whoever comes waits for the next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock;

/// All places.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Semaphore>,
    each: usize,
    from: Mutex<BTreeMap<IpAddr, usize>>,
    full: Notify,
}

/// A place of a connection from an address; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    address: IpAddr,
    since: std::time::Instant,
    _free: OwnedSemaphorePermit,
}

impl Room {
    /// So many places, of which one address can have `each`.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(all)),
            each,
            from: Mutex::default(),
            full: Notify::new(),
        }))
    }

    /// The next place that is free; while there is none, those who sit idle are asked for theirs.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            let places = Arc::clone(&self.0.places);
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                return place;
            }
            self.0.full.notify_waiters();
            if let Ok(Ok(place)) = tokio::time::timeout(AGAIN, places.acquire_owned()).await {
                return place;
            }
        }
    }

    /// Gives the place to a connection from there, unless that address has as many as it can.
    pub(crate) fn admit(&self, free: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut from = self.0.from.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = from.entry(address).or_default();
        if *taken >= self.0.each {
            return None;
        }
        *taken = taken.saturating_add(1);
        Some(Place { room: self.clone(), address, since: clock::instant(), _free: free })
    }
}

impl Place {
    /// Returns when somebody else needs the place more, which is not before this one has had it for a moment.
    pub(crate) async fn is_wanted(&self) {
        loop {
            self.room.0.full.notified().await;
            if clock::instant().saturating_duration_since(self.since) >= MOMENT {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut from = self.room.0.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = from.get_mut(&self.address) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                from.remove(&self.address);
            }
        }
    }
}

/// How often those who sit idle are asked while there is no place.
const AGAIN: Duration = Duration::from_secs(1);
/// What everybody can have a place for, to say what they want.
const MOMENT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[tokio::test]
    async fn one_address_has_its_part_and_what_is_left_is_for_others() {
        let room = Room::new(3, 2);
        let first = room.admit(room.place().await, address(1)).unwrap();
        let _second = room.admit(room.place().await, address(1)).unwrap();
        assert!(room.admit(room.place().await, address(1)).is_none());
        // The same address, written as one of the newer version.
        let mapped = std::net::Ipv4Addr::from([127, 0, 0, 1]).to_ipv6_mapped().into();
        assert!(room.admit(room.place().await, mapped).is_none());
        let other = room.admit(room.place().await, address(2)).unwrap();
        drop((first, other));
        assert!(room.admit(room.place().await, address(1)).is_some());
        assert_eq!(room.0.from.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn who_idles_is_asked_when_there_is_no_place_and_not_before() {
        let room = Room::new(1, 1);
        let place = room.admit(room.place().await, address(1)).unwrap();
        let wanted = tokio::time::timeout(Duration::from_millis(50), place.is_wanted()).await;
        assert!(wanted.is_err());
        let next = tokio::spawn({
            let room = room.clone();
            async move { room.place().await }
        });
        let since = clock::instant();
        place.is_wanted().await;
        assert!(place.since.elapsed() >= MOMENT && since.elapsed() < MOMENT * 3);
        drop(place);
        drop(next.await.unwrap());
    }
}
