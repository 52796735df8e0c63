//! One consistent cut of the ledger, copied beside the authority that serves.

use std::path::Path;

use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::Connection;
use super::{Actor, Ledger, LedgerError, Place};

impl Ledger {
    /// Records that a backup is begun; says by which entry.
    pub(crate) async fn begin_backup(
        &self,
        by: Actor,
        (to, plain_keys): (String, bool),
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        self.write(move |connection| {
            let data = entry::Backup { by: &by, to: &to, plain_keys };
            entry::append(connection, Kind::Backup, now, &data)
        })
        .await
    }
}

/// Copies the ledger in the file `from`, as of one moment, into the empty file `to`. `progress` hears how many pages are
/// copied, and of how many.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<(), LedgerError> {
    if !from.exists() {
        return Err(LedgerError::Missing(Place::File(from.into())));
    }
    let connection = Connection::open_read_only(from)?;
    // What is read first decides of which moment the copy is, however long it takes and whoever writes meanwhile.
    let snapshot = connection.snapshot()?;
    let _size: u64 =
        snapshot.query_row("SELECT coalesce(max(seq), 0) FROM entries", (), |row| row.get(0))?;
    snapshot.copy_to(to, progress)?;
    Ok(snapshot.commit()?)
}
