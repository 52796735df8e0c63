//! The seam between the ledger and its database: everything in this room speaks to a [`Connection`] and to nothing else.
//!
//! It is as small as the ledger needs: static statements with `?` or `?1` for their values, rows read by column, one
//! transaction at a time with savepoints in it. What a statement is given and gives back are [`Value`]s of five kinds, so
//! that no text ever becomes part of a statement.

use std::fmt;
use std::ops::Deref;

mod lite;
mod value;

pub(super) use value::{Cell, FromValue, Params, ToValue};

use lite::Lite;

/// The values of a statement, of whatever types they are.
macro_rules! params {
    () => { () };
    ($($value:expr),+ $(,)?) => {
        $crate::ledger::sql::listed(&[$(&$value),+])
    };
}
pub(super) use params;

/// A connection to the ledger's database.
pub(super) struct Connection(Lite);

/// A statement that is ready to run; connections keep those that were prepared before.
pub(super) struct Statement<'a>(lite::Statement<'a>);

/// A row, while it is read.
pub(super) struct Row<'a>(lite::Row<'a>);

/// A transaction; dropped without an end it is undone.
#[must_use = "a transaction that is dropped is undone"]
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    is_over: bool,
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqlError {
    /// `SQLite` failed.
    #[error(transparent)]
    Lite(#[from] rusqlite::Error),
    /// There is no such row.
    #[error("no row was found")]
    NoRow,
    /// A number has no place in the database, whose numbers end at 2^63.
    #[error("{0} is more than the database counts to")]
    Range(u64),
    /// A column holds something else than it should.
    #[error("column {column} cannot be read: {source}")]
    Column {
        /// Which, from 0.
        column: usize,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Connection {
    /// The statement, prepared now or before.
    pub(super) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>, SqlError> {
        self.0.prepare(sql).map(Statement)
    }

    /// Runs a statement, and says how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, SqlError> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// The first row of a query.
    pub(super) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.prepare_cached(sql)?.query_row(params, read)
    }

    /// Runs several statements without values.
    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), SqlError> {
        self.0.execute_batch(sql)
    }

    /// Begins a transaction in which everything is seen as of one moment.
    pub(super) fn transaction(&self) -> Result<Transaction<'_>, SqlError> {
        self.execute_batch("BEGIN")?;
        Ok(Transaction { connection: self, is_over: false })
    }

    /// Begins the one transaction that may write: nobody else writes until it is over.
    pub(super) fn begin(&self) -> Result<(), SqlError> {
        self.0.begin()
    }
}

impl Transaction<'_> {
    /// Makes what was written durable.
    pub(super) fn commit(mut self) -> Result<(), SqlError> {
        self.connection.execute_batch("COMMIT")?;
        self.is_over = true;
        Ok(())
    }

    /// Ends what was only reading.
    pub(super) fn finish(mut self) -> Result<(), SqlError> {
        self.is_over = true;
        self.connection.execute_batch("ROLLBACK")
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            // The database has undone it by itself, or does when the connection ends.
            tracing::debug!(%error, "a transaction could not be rolled back");
        }
    }
}

impl Statement<'_> {
    /// Runs it, and says how many rows it changed.
    pub(super) fn execute(&mut self, params: impl Params) -> Result<usize, SqlError> {
        self.0.execute(&params.values()?)
    }

    /// The first row.
    pub(super) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let mut read = Some(read);
        let mut found = None;
        self.0.each(&params.values()?, &mut |row| {
            if let Some(read) = read.take() {
                found = Some(read(&Row(row))?);
            }
            Ok(false)
        })?;
        found.ok_or(SqlError::NoRow)
    }

    /// Every row, read.
    pub(super) fn query_map<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<std::vec::IntoIter<Result<T, SqlError>>, SqlError> {
        let mut rows = Vec::new();
        self.0.each(&params.values()?, &mut |row| {
            rows.push(read(&Row(row)));
            Ok(true)
        })?;
        Ok(rows.into_iter())
    }

    /// Whether there is a row.
    pub(super) fn exists(&mut self, params: impl Params) -> Result<bool, SqlError> {
        self.query_row(params, |_row| Ok(())).optional().map(|found| found.is_some())
    }
}

impl Row<'_> {
    /// What stands in a column.
    pub(super) fn get<T: FromValue>(&self, column: usize) -> Result<T, SqlError> {
        let cell = self.cell(column)?;
        T::from_value(cell).ok_or_else(|| SqlError::column(column, Unexpected))
    }

    /// What stands in a column, whatever it is.
    pub(super) fn cell(&self, column: usize) -> Result<Cell<'_>, SqlError> {
        lite::cell(self.0, column)
    }
}

impl SqlError {
    /// What stands in this column is not what it should be.
    pub(super) fn column(
        column: usize,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Column { column, source: Box::new(source) }
    }
}

/// Values of different types as one list.
pub(super) const fn listed<'a>(values: &'a [&'a dyn ToValue]) -> &'a [&'a dyn ToValue] {
    values
}

/// A value of another kind than was expected.
#[derive(Debug, thiserror::Error)]
#[error("it holds a value of another kind, or out of range")]
struct Unexpected;

/// Nothing where there is no row.
pub(super) trait OptionalExtension<T> {
    /// The row, if there is one.
    fn optional(self) -> Result<Option<T>, SqlError>;
}

impl<T> OptionalExtension<T> for Result<T, SqlError> {
    fn optional(self) -> Result<Option<T>, SqlError> {
        match self {
            Err(SqlError::NoRow) => Ok(None),
            other => other.map(Some),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection")
    }
}
