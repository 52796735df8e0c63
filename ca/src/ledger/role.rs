//! What the ledger keeps of the roles: each set that came into force, and each file that was refused.

use std::sync::{Arc, Mutex, PoisonError};

use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _};
use super::{Ledger, LedgerError, grant};
use crate::random::sha256;
use crate::role::Roles;

/// The mark of the roles that this node has put in force.
pub(super) type Mark = Arc<Mutex<Option<i64>>>;

impl Ledger {
    /// Records the roles that are in force now, unless they are those of the last entry. Permits from before are stale.
    pub(crate) async fn roles_changed(
        &self,
        roles: Roles,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let own = Arc::clone(&self.roles);
        self.write(move |connection| {
            let data = entry::RolesNow { roles: &roles };
            let mark = mark(&serde_json::to_vec(&data)?);
            *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
            let before: Option<i64> = connection
                .prepare_cached("SELECT value FROM counters WHERE name = 'roles'")?
                .query_row((), |row| row.get(0))
                .optional()?;
            if before == Some(mark) {
                return Ok(false);
            }
            connection
                .prepare_cached(
                    "INSERT INTO counters (name, value) VALUES ('roles', ?) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute([mark])?;
            grant::bump_epoch(connection)?;
            entry::append(connection, Kind::RolesChanged, now, &data)?;
            Ok(true)
        })
        .await
    }

    /// Records that a changed file was refused and that the roles stayed as they were.
    pub(crate) async fn roles_refused(
        &self,
        reason: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let data = entry::RolesRefused { reason: &reason };
            entry::append(connection, Kind::RolesRefused, now, &data)?;
            Ok(())
        })
        .await
    }
}

/// Refuses to decide by other roles than those in force: another node has put them there.
pub(super) fn refuse_others(connection: &Connection, own: &Mark) -> Result<(), LedgerError> {
    if !connection.is_shared() {
        return Ok(());
    }
    let own = *own.lock().unwrap_or_else(PoisonError::into_inner);
    let kept: Option<i64> = connection
        .prepare_cached("SELECT value FROM counters WHERE name = 'roles'")?
        .query_row((), |row| row.get(0))
        .optional()?;
    if own == kept { Ok(()) } else { Err(LedgerError::OtherRoles) }
}

/// What is kept of an entry's body to know the same roles again.
pub(super) fn mark(body: &[u8]) -> i64 {
    i64::from_be_bytes(first_eight(sha256(&[body])))
}

fn first_eight(hash: [u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = hash;
    [a, b, c, d, e, f, g, h]
}
