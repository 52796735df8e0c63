//! The seam between the ledger and its database: everything in this room speaks to a [`Connection`] and to nothing else.
//!
//! It is as small as the ledger needs: static statements with `?` or `?1` for their values, rows read by column, one
//! transaction at a time with savepoints in it. What a statement is given and gives back are [`Value`]s of five kinds, so
//! that no text ever becomes part of a statement.

use std::error::Error as _;
use std::fmt;
use std::ops::Deref;

mod lite;
mod post;
mod value;

pub(super) use post::{Address, Tls, TlsError};
pub(super) use value::{Cell, FromValue, Kind, Params, ToValue, Value};

use lite::Lite;
use post::Post;

/// The values of a statement, of whatever types they are.
macro_rules! params {
    () => { () };
    ($($value:expr),+ $(,)?) => {
        $crate::ledger::sql::listed(&[$(&$value),+])
    };
}
pub(super) use params;

/// A connection to the ledger's database.
pub(super) struct Connection(Library);

enum Library {
    Lite(Lite),
    Post(Box<Post>),
}

/// A statement that is ready to run; connections keep those that were prepared before.
pub(super) struct Statement<'a>(Prepared<'a>);

enum Prepared<'a> {
    Lite(lite::Statement<'a>),
    Post(post::Statement<'a>),
}

/// A row, while it is read.
pub(super) struct Row<'a>(Found<'a>);

enum Found<'a> {
    Lite(lite::Row<'a>),
    Post(&'a postgres::Row),
}

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
    /// PostgreSQL failed.
    #[error("{}", post_reason(.0))]
    Post(#[from] postgres::Error),
    /// PostgreSQL is not there.
    #[error("the database's server cannot be reached: {}", post_reason(.0))]
    Unreachable(#[source] postgres::Error),
    /// PostgreSQL would forget.
    #[error(
        "the database's server runs with fsync off, and nothing on it is durable; switch it on"
    )]
    NotDurable,
    /// Only a file can do this.
    #[error("{0} is for a ledger in a file")]
    OnlyFile(&'static str),
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
        match &self.0 {
            Library::Lite(lite) => lite.prepare(sql).map(Prepared::Lite).map(Statement),
            Library::Post(post) => Ok(Statement(Prepared::Post(post.prepare(sql)))),
        }
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
        match &self.0 {
            Library::Lite(lite) => lite.execute_batch(sql),
            Library::Post(post) => post.execute_batch(sql),
        }
    }

    /// Runs definitions of tables, which are written for `SQLite`; `FLAG` is the type of a yes or no.
    pub(super) fn define(&self, sql: &str) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(lite) => lite.execute_batch(&sql.replace("FLAG", "INTEGER")),
            Library::Post(post) => post.execute_batch(&post::definition(sql)),
        }
    }

    /// Begins a transaction that writes beside others that do.
    pub(super) fn transaction(&self) -> Result<Transaction<'_>, SqlError> {
        match &self.0 {
            Library::Lite(lite) => lite.execute_batch("BEGIN")?,
            Library::Post(post) => post.begin()?,
        }
        Ok(Transaction { connection: self, is_over: false })
    }

    /// Begins a transaction that only reads, and sees everything as of one moment.
    pub(super) fn snapshot(&self) -> Result<Transaction<'_>, SqlError> {
        self.begin_snapshot()?;
        Ok(Transaction { connection: self, is_over: false })
    }

    /// The same for whoever ends it.
    pub(super) fn begin_snapshot(&self) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(lite) => lite.execute_batch("BEGIN"),
            Library::Post(post) => post.execute_batch("BEGIN ISOLATION LEVEL REPEATABLE READ"),
        }
    }

    /// Ends the transaction that was begun with [`Self::begin`], and makes it durable; other nodes hear of it.
    pub(super) fn commit(&self) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(lite) => lite.execute_batch("COMMIT"),
            Library::Post(post) => post.commit(),
        }
    }

    /// A connection to a server.
    pub(super) fn connect(address: &Address) -> Result<Self, SqlError> {
        Ok(Self(Library::Post(Box::new(Post::connect(address)?))))
    }

    /// Whether others write to this database too.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self.0, Library::Post(_))
    }

    /// What tables of the connection's own are called, beside those of a ledger that is looked at.
    pub(super) const fn own(&self) -> &'static str {
        match self.0 {
            Library::Lite(_) => "main",
            Library::Post(_) => "pg_temp",
        }
    }

    /// Whether the connection is gone, so that only another one can help.
    pub(super) fn is_lost(&self) -> bool {
        match &self.0 {
            Library::Lite(_) => false,
            Library::Post(post) => post.is_lost(),
        }
    }

    /// Has this connection hear of what other nodes write.
    pub(super) fn listen(&self) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(_) => Ok(()),
            Library::Post(post) => post.listen(),
        }
    }

    /// Waits until another node has committed, or until patience is over, and says which.
    pub(super) fn heard(&self, patience: std::time::Duration) -> Result<bool, SqlError> {
        match &self.0 {
            Library::Lite(_) => Ok(false),
            Library::Post(post) => post.heard(patience),
        }
    }

    /// Lets a transaction of this connection be idle for as long as it takes: another database is read or written meanwhile.
    pub(super) fn be_patient(&self) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(_) => Ok(()),
            Library::Post(post) => post.be_patient(),
        }
    }

    /// Hands over every row of a query without values, however many there are, within a transaction.
    pub(super) fn each_of(
        &self,
        sql: &str,
        mut visit: impl FnMut(&Row<'_>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(_) => self.prepare_cached(sql)?.visit((), visit),
            Library::Post(post) => post.each_of(sql, &mut |row| visit(&Row(Found::Post(row)))),
        }
    }

    fn lite(&self, what: &'static str) -> Result<&Lite, SqlError> {
        match &self.0 {
            Library::Lite(lite) => Ok(lite),
            Library::Post(_) => Err(SqlError::OnlyFile(what)),
        }
    }

    /// Begins the one transaction that may write: nobody else writes until it is over.
    pub(super) fn begin(&self) -> Result<(), SqlError> {
        match &self.0 {
            Library::Lite(lite) => lite.begin(),
            Library::Post(post) => post.begin(),
        }
    }
}

impl Transaction<'_> {
    /// Makes what was written durable.
    pub(super) fn commit(mut self) -> Result<(), SqlError> {
        self.connection.execute_batch("COMMIT")?;
        self.is_over = true;
        Ok(())
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
        match &mut self.0 {
            Prepared::Lite(lite) => lite.execute(&params.values()?),
            Prepared::Post(post) => post.execute(&params.values()?),
        }
    }

    /// The first row.
    pub(super) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let mut read = Some(read);
        let mut found = None;
        self.each(&params.values()?, &mut |row| {
            if let Some(read) = read.take() {
                found = Some(read(row)?);
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
        self.each(&params.values()?, &mut |row| {
            rows.push(read(row));
            Ok(true)
        })?;
        Ok(rows.into_iter())
    }

    /// Hands over every row, without keeping them where the library does not.
    pub(super) fn visit(
        &mut self,
        params: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        self.each(&params.values()?, &mut |row| visit(row).map(|()| true))
    }

    /// Whether there is a row.
    pub(super) fn exists(&mut self, params: impl Params) -> Result<bool, SqlError> {
        self.query_row(params, |_row| Ok(())).optional().map(|found| found.is_some())
    }

    /// Hands over row after row, until told that it is enough.
    fn each(
        &mut self,
        values: &[Value<'_>],
        take: &mut dyn FnMut(&Row<'_>) -> Result<bool, SqlError>,
    ) -> Result<(), SqlError> {
        match &mut self.0 {
            Prepared::Lite(lite) => lite.each(values, &mut |row| take(&Row(Found::Lite(row)))),
            Prepared::Post(post) => {
                for row in &post.rows(values)? {
                    if !take(&Row(Found::Post(row)))? {
                        break;
                    }
                }
                Ok(())
            }
        }
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
        match &self.0 {
            Found::Lite(row) => lite::cell(row, column),
            Found::Post(row) => post::cell(row, column),
        }
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

/// What the server said, or what went wrong on the way to it.
fn post_reason(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
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
