//! What authorities that share a ledger know of one another.

use super::LedgerError;
use super::sql::{Connection, OptionalExtension as _, params};
use crate::random;

/// The key of login challenges: the same for all who share the database, and a new one for each run of who is alone.
pub(super) fn challenge_key(connection: &Connection) -> Result<[u8; 32], LedgerError> {
    let fresh = random::bytes::<32>()?;
    if !connection.is_shared() {
        return Ok(fresh);
    }
    connection.execute(
        "INSERT INTO shared (name, value) VALUES ('challenges', ?) ON CONFLICT DO NOTHING",
        params![fresh],
    )?;
    let kept = connection
        .query_row("SELECT value FROM shared WHERE name = 'challenges'", (), |row| row.get(0))
        .optional()?;
    kept.ok_or_else(|| LedgerError::Torn("the key of login challenges is gone".into()))
}
