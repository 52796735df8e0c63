//! Reading beside the writer, each read on one snapshot.

use std::sync::{Arc, Mutex, PoisonError};

use super::sql::Connection;
use super::{Ledger, LedgerError, Place};

/// Connections that only read, opened as they are needed.
pub(super) struct Readers(Arc<Pool>);

struct Pool {
    place: Place,
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
    /// Readers of the database there.
    pub(super) fn new(place: Place) -> Self {
        Self(Arc::new(Pool { place, idle: Mutex::default() }))
    }
}

impl Pool {
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let connection = self.begun()?;
        let outcome = work(&connection);
        connection.execute_batch("ROLLBACK")?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        outcome
    }

    /// A connection that sees one moment. Those that were lost while nobody read are passed over.
    fn begun(&self) -> Result<Connection, LedgerError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(connection) = idle else { break };
            if connection.begin_snapshot().is_ok() {
                return Ok(connection);
            }
        }
        let connection = self.place.open_read_only()?;
        connection.begin_snapshot()?;
        Ok(connection)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        if idle.iter().any(Connection::is_shared) {
            // Their library waits while they close, which an async thread must not.
            let closing = std::thread::Builder::new().spawn(move || drop(idle));
            if let Err(error) = closing {
                tracing::debug!(%error, "connections could not be closed in order");
            }
        }
    }
}

/// Most connections kept open while nobody reads.
const MAX_IDLE: usize = 8;
