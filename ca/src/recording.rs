//! What was recorded of terminals: taken from hosts, checked, stored, and acknowledged under a signature.
//!
//! In reading order: [`key`] opens recordings; [`store`] keeps them; [`intake`] is a host's connection as far as it brings
//! them. The form is `wire::recording`.

use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast};
use wire::recording::Place;

pub(crate) mod bucket;
pub(crate) mod intake;
pub(crate) mod key;
pub(crate) mod reader;
pub(crate) mod store;
pub(crate) mod sweep;

pub(crate) use key::OpeningKeys;
pub(crate) use store::{Store, StoreError};

/// The recordings of an authority that serves.
pub(crate) struct Recordings {
    /// Where they are.
    pub(crate) store: Arc<dyn Store>,
    /// What arrives: the place of each object, as it becomes durable.
    arrivals: broadcast::Sender<Place>,
    /// Who may look through them now: one search at a time, so that it takes a part of the machine and not all of it.
    pub(crate) sweeps: Semaphore,
}

impl Recordings {
    /// In this store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let (arrivals, _) = broadcast::channel(ARRIVALS);
        Self { store, arrivals, sweeps: Semaphore::new(1) }
    }

    /// Hears of what arrives from now on. Who is too slow is told how much they missed, and looks into the store.
    #[cfg_attr(not(test), expect(dead_code, reason = "for who watches live: the next piece"))]
    pub(crate) fn arrivals(&self) -> broadcast::Receiver<Place> {
        self.arrivals.subscribe()
    }

    fn arrived(&self, place: Place) {
        // Nobody need listen.
        drop(self.arrivals.send(place));
    }
}

impl std::fmt::Debug for Recordings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recordings").finish_non_exhaustive()
    }
}

/// Arrivals that a slow listener may have behind it.
const ARRIVALS: usize = 256;
