//! A bucket as a store of recordings.

use tokio::runtime::Handle;
use wire::identifier::{HostName, SessionId};
use wire::recording::Place;

use super::{Store, StoreError};
use crate::bucket::{Bucket, BucketError};

/// A bucket; its calls are waited for on the runtime, from the threads that may wait.
#[derive(Debug)]
pub(crate) struct BucketStore {
    bucket: Bucket,
    runtime: Handle,
}

impl BucketStore {
    /// In this bucket, on this runtime.
    pub(crate) const fn new(bucket: Bucket, runtime: Handle) -> Self {
        Self { bucket, runtime }
    }
}

impl Store for BucketStore {
    fn put(&self, place: &Place, bytes: &[u8]) -> Result<(), StoreError> {
        let name = place.to_string();
        self.runtime.block_on(self.bucket.put(&name, bytes)).map_err(|error| match error {
            BucketError::Other(_) => StoreError::Other(place.clone()),
            error => StoreError::Bucket(error),
        })
    }

    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.runtime.block_on(self.bucket.get(&place.to_string()))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    fn remove(&self, place: &Place) -> Result<(), StoreError> {
        Ok(self.runtime.block_on(self.bucket.remove(&place.to_string()))?)
    }

    fn list(&self, host: &HostName, session: SessionId) -> Result<Vec<Place>, StoreError> {
        let folder = Place::session_folder(host, session);
        let found = self.runtime.block_on(self.bucket.list(&folder))?;
        let mut places: Vec<Place> =
            found.into_iter().filter_map(|(name, _)| name.parse().ok()).collect();
        places.sort();
        Ok(places)
    }
}
