//! `SQLite`: a file, without a server.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::StepResult;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{OpenFlags, ToSql};

use super::value::{Cell, Value};
use super::{Connection, Library, SqlError};

/// A connection to a file.
pub(super) struct Lite(rusqlite::Connection);

/// A prepared statement.
pub(super) struct Statement<'a>(rusqlite::CachedStatement<'a>);

/// A row, while it is read.
pub(super) type Row<'a> = &'a rusqlite::Row<'a>;

impl Connection {
    /// Opens a file to write, and makes it when it is not there. What holds for a connection and not for the file is set.
    pub(in crate::ledger) fn open(path: &Path) -> Result<Self, SqlError> {
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Self::plain(connection)
    }

    /// Opens a file that is there, to read.
    pub(in crate::ledger) fn open_read_only(path: &Path) -> Result<Self, SqlError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::plain(rusqlite::Connection::open_with_flags(path, flags)?)
    }

    /// Makes a database in the empty file `path` of which nothing counts until it is whole: written without waiting for the
    /// disk, and without another file beside it.
    pub(in crate::ledger) fn open_draft(path: &Path) -> Result<Self, SqlError> {
        let connection = rusqlite::Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        // Rows come table by table, not in the order in which they refer to one another.
        connection.pragma_update(None, "foreign_keys", false)?;
        Self::plain(connection)
    }

    /// Opens an empty database that vanishes with the connection.
    pub(in crate::ledger) fn open_empty() -> Result<Self, SqlError> {
        Self::plain(rusqlite::Connection::open("")?)
    }

    /// A number that the file's head holds.
    pub(in crate::ledger) fn header(&self, database: &str, name: &str) -> Result<i64, SqlError> {
        let lite = self.lite("the head of a file")?;
        Ok(lite.0.pragma_query_value(Some(database), name, |row| row.get(0))?)
    }

    /// Writes a number into the file's head, or sets how the connection works.
    pub(in crate::ledger) fn set(&self, name: &str, value: i64) -> Result<(), SqlError> {
        Ok(self.lite("a pragma")?.0.pragma_update(None, name, value)?)
    }

    /// Copies the write-ahead log into the database and cuts it, so that no former page stays in it.
    pub(in crate::ledger) fn truncate_log(&self) -> Result<(), SqlError> {
        let lite = self.lite("the write-ahead log")?;
        Ok(lite.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))?)
    }

    /// Copies the whole database, as this connection's transaction sees it, into the empty file `to`.
    pub(in crate::ledger) fn copy_to(
        &self,
        to: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), SqlError> {
        let mut into = rusqlite::Connection::open(to)?;
        into.pragma_update(None, "journal_mode", "MEMORY")?;
        into.pragma_update(None, "synchronous", "OFF")?;
        {
            let copying =
                rusqlite::backup::Backup::new(&self.lite("a copy of the pages")?.0, &mut into)?;
            loop {
                let step = copying.step(PAGES)?;
                let so_far = copying.progress();
                let all = u64::try_from(so_far.pagecount).unwrap_or(0);
                let left = u64::try_from(so_far.remaining).unwrap_or(0);
                progress(all.saturating_sub(left), all);
                match step {
                    StepResult::Done => break,
                    StepResult::More => {}
                    _ => {
                        return Err(rusqlite::Error::SqliteFailure(
                            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                            Some("the ledger is locked by another program".into()),
                        )
                        .into());
                    }
                }
            }
        }
        // As the pages say, it has a write-ahead log; without one, whoever reads it leaves nothing beside it.
        into.pragma_update(None, "journal_mode", "DELETE")?;
        into.close().map_err(|(_connection, error)| error)?;
        Ok(())
    }

    fn plain(connection: rusqlite::Connection) -> Result<Self, SqlError> {
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self(Library::Lite(Lite(connection))))
    }
}

impl Lite {
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement<'_>, SqlError> {
        Ok(Statement(self.0.prepare_cached(sql)?))
    }

    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    pub(super) fn begin(&self) -> Result<(), SqlError> {
        self.execute_batch("BEGIN IMMEDIATE")
    }
}

impl Statement<'_> {
    pub(super) fn execute(&mut self, values: &[Value<'_>]) -> Result<usize, SqlError> {
        Ok(self.0.execute(rusqlite::params_from_iter(values))?)
    }

    /// Hands over row after row, until told that it is enough.
    pub(super) fn each(
        &mut self,
        values: &[Value<'_>],
        take: &mut dyn FnMut(Row<'_>) -> Result<bool, SqlError>,
    ) -> Result<(), SqlError> {
        let mut rows = self.0.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !take(row)? {
                break;
            }
        }
        Ok(())
    }
}

/// What stands in a column of a row.
pub(super) fn cell<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<Cell<'a>, SqlError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Number(number),
        ValueRef::Text(bytes) => {
            Cell::Text(std::str::from_utf8(bytes).map_err(|error| SqlError::column(column, error))?)
        }
        ValueRef::Blob(bytes) => Cell::Bytes(bytes),
        ValueRef::Real(_) => return Err(SqlError::column(column, super::Unexpected)),
    })
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null(_) => ValueRef::Null,
            Value::Number(number) => ValueRef::Integer(*number),
            Value::Flag(flag) => ValueRef::Integer(i64::from(*flag)),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// How long to wait for another connection's transaction.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages copied at a time: some 4 MiB.
const PAGES: i32 = 1024;
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 128;
