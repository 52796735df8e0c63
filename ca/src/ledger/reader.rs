//! Reading beside the writer, each read on one snapshot.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::sql::Connection;
use super::{Ledger, LedgerError};

/// Connections that only read, opened as they are needed.
pub(super) struct Readers(Arc<Pool>);

struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Ledger {
    /// Runs `work` on one snapshot of the ledger, off the async threads.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let pool = Arc::clone(&self.readers.0);
        tokio::task::spawn_blocking(move || pool.read(work))
            .await
            .map_err(|_cancelled| LedgerError::Stopped)?
    }
}

impl Readers {
    /// Readers of the database at `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Pool { path, idle: Mutex::default() }))
    }
}

impl Pool {
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let connection = self.take()?;
        let snapshot = connection.transaction()?;
        let outcome = work(&snapshot);
        snapshot.finish()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        outcome
    }

    fn take(&self) -> Result<Connection, LedgerError> {
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(idle);
        }
        Ok(Connection::open_read_only(&self.path)?)
    }
}

/// Most connections kept open while nobody reads.
const MAX_IDLE: usize = 8;
