//! One consistent cut of the ledger, copied beside the authority that serves.

use std::path::Path;

use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::Connection;
use super::{Actor, Ledger, LedgerError, Place, moving, schema};

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

/// Copies the ledger at `from`, as of one moment, into the empty file `to`, whatever it is kept in. `progress` hears how much
/// is copied, and of how much: pages of a file, rows of a server.
pub(crate) fn copy(
    from: &Place,
    to: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<(), LedgerError> {
    let Some(file) = from.file() else { return rows(from, to, progress) };
    if !file.exists() {
        return Err(LedgerError::Missing(from.clone()));
    }
    let connection = Connection::open_read_only(file)?;
    // What is read first decides of which moment the copy is, however long it takes and whoever writes meanwhile.
    let snapshot = connection.snapshot()?;
    let _size: u64 =
        snapshot.query_row("SELECT coalesce(max(seq), 0) FROM entries", (), |row| row.get(0))?;
    snapshot.copy_to(to, progress)?;
    Ok(snapshot.commit()?)
}

/// The same from a server: row by row, compared when it is done.
fn rows(from: &Place, to: &Path, progress: impl FnMut(u64, u64)) -> Result<(), LedgerError> {
    let connection = from.open_read_only()?;
    connection.be_patient()?;
    let snapshot = connection.snapshot()?;
    let (found, known) = (schema::version(&snapshot, "main", from)?, schema::newest());
    if found != known {
        return Err(LedgerError::Older { found, known });
    }
    let target = Connection::open_draft(to)?;
    schema::create_empty(&target)?;
    moving::take(&snapshot, &target, progress)?;
    Ok(snapshot.commit()?)
}
