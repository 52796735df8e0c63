//! When each role was last used, by whom, where: by sessions that hosts told of, and by certificates, where a host told of none.

use wire::time::Timestamp;

use super::sql::{Connection, Row, SqlError};
use super::{Ledger, LedgerError, column};
use crate::inventory::LastUse;

impl Ledger {
    /// The last use of each.
    pub(crate) async fn uses(&self) -> Result<Vec<LastUse>, LedgerError> {
        self.read(|connection| {
            let mut uses = last(connection, SESSIONS)?;
            uses.extend(last(connection, CERTIFICATES)?);
            Ok(uses)
        })
        .await
    }
}

fn last(connection: &Connection, sql: &'static str) -> Result<Vec<LastUse>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((), one)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn one(row: &Row<'_>) -> Result<LastUse, SqlError> {
    Ok(LastUse {
        identity: column::name(row, 0)?,
        role: column::name(row, 1)?,
        host: column::name(row, 2)?,
        login: column::name(row, 3)?,
        at: Timestamp::from_millis(row.get(4)?),
    })
}

/// Of sessions under certificates of this ledger: what else a host says does not make a role used.
const SESSIONS: &str = "SELECT identity, role, host, login, max(began) FROM sessions WHERE known \
                        GROUP BY identity, role, host, login";
const CERTIFICATES: &str = "SELECT c.identity, g.role, c.host, c.login, max(c.issued) FROM certificates c JOIN grants g ON g.id = c.grant_id \
     GROUP BY c.identity, g.role, c.host, c.login";
