//! PostgreSQL: a server that several authorities share.
//!
//! The tables are in the schema `ledger` of one database, beside four functions that give statements the words that they
//! have in `SQLite`. Statements are prepared with the kinds of their values, so that the server guesses nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls};

use super::value::{Cell, Kind, Value};
use super::{SqlError, Unexpected};

mod tls;

pub(in crate::ledger) use tls::{Tls, TlsError};

/// How to reach the server.
#[derive(Debug, Clone)]
pub(in crate::ledger) struct Address {
    /// Where, as whom, which database.
    pub(in crate::ledger) config: Config,
    /// How the connection is protected; nothing on this machine.
    pub(in crate::ledger) tls: Option<Tls>,
    /// The name of this run of the program: hexadecimal digits.
    pub(in crate::ledger) node: String,
}

/// A connection to the server.
pub(super) struct Post {
    client: RefCell<Client>,
    known: RefCell<BTreeMap<String, Vec<Prepared>>>,
    node: String,
    commit: String,
}

/// A statement for values of these kinds.
struct Prepared {
    kinds: Vec<Kind>,
    statement: postgres::Statement,
}

/// A statement of this connection.
pub(super) struct Statement<'a> {
    post: &'a Post,
    sql: String,
}

impl Address {
    fn client(&self) -> Result<Client, postgres::Error> {
        match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        }
    }
}

impl Post {
    /// Connects, and sets what the ledger relies on.
    pub(super) fn connect(address: &Address) -> Result<Self, SqlError> {
        let mut client = address.client().map_err(SqlError::Unreachable)?;
        client.batch_execute(SESSION)?;
        let fsync: String = client.query_one("SELECT current_setting('fsync')", &[])?.try_get(0)?;
        if fsync != "on" {
            return Err(SqlError::NotDurable);
        }
        let node = address.node.clone();
        let commit = format!("NOTIFY {CHANNEL}, '{node}'; COMMIT");
        Ok(Self { client: RefCell::new(client), known: RefCell::default(), node, commit })
    }

    pub(super) fn prepare(&self, sql: &str) -> Statement<'_> {
        Statement { post: self, sql: sql.to_owned() }
    }

    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.client.borrow_mut().batch_execute(sql)?)
    }

    /// Begins the one transaction that may write: others wait here, and then see what this one has written.
    pub(super) fn begin(&self) -> Result<(), SqlError> {
        self.execute_batch(BEGIN)
    }

    /// Ends the transaction, and lets other nodes know.
    pub(super) fn commit(&self) -> Result<(), SqlError> {
        self.execute_batch(&self.commit)
    }

    /// Lifts the limit on idleness in a transaction.
    pub(super) fn be_patient(&self) -> Result<(), SqlError> {
        self.execute_batch("SET idle_in_transaction_session_timeout = 0")
    }

    /// Listens to what other nodes say.
    pub(super) fn listen(&self) -> Result<(), SqlError> {
        self.execute_batch(&format!("LISTEN {CHANNEL}"))
    }

    /// Whether the connection is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.client.borrow().is_closed()
    }

    /// Waits for word of another node's commit; `false` when there was none for so long.
    pub(super) fn heard(&self, patience: Duration) -> Result<bool, SqlError> {
        let mut client = self.client.borrow_mut();
        let mut notifications = client.notifications();
        let mut is_news = match notifications.timeout_iter(patience).next()? {
            None => return Ok(false),
            Some(first) => first.payload() != self.node,
        };
        // Those that came with it say nothing more.
        let mut others = notifications.iter();
        while let Some(more) = others.next()? {
            is_news |= more.payload() != self.node;
        }
        Ok(is_news)
    }

    /// Hands over every row of a query, some at a time.
    pub(super) fn each_of(
        &self,
        sql: &str,
        visit: &mut dyn FnMut(&postgres::Row) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        self.execute_batch(&format!("DECLARE every NO SCROLL CURSOR FOR {sql}"))?;
        loop {
            // Not prepared: what comes is of another shape for each query.
            let rows = self.client.borrow_mut().query("FETCH 1000 FROM every", &[])?;
            if rows.is_empty() {
                return self.execute_batch("CLOSE every");
            }
            rows.iter().try_for_each(&mut *visit)?;
        }
    }

    fn ready(&self, sql: &str, values: &[Value<'_>]) -> Result<postgres::Statement, SqlError> {
        let kinds: Vec<Kind> = values.iter().map(Value::kind).collect();
        if let Some(known) = self.known.borrow().get(sql)
            && let Some(found) = known.iter().find(|one| one.kinds == kinds)
        {
            return Ok(found.statement.clone());
        }
        let types: Vec<Type> = kinds.iter().map(|kind| kind.of_server()).collect();
        let statement = self.client.borrow_mut().prepare_typed(&numbered(sql), &types)?;
        let kept = Prepared { kinds, statement: statement.clone() };
        self.known.borrow_mut().entry(sql.to_owned()).or_default().push(kept);
        Ok(statement)
    }
}

impl Statement<'_> {
    pub(super) fn execute(&mut self, values: &[Value<'_>]) -> Result<usize, SqlError> {
        let statement = self.post.ready(&self.sql, values)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(dynamic).collect();
        let changed = self.post.client.borrow_mut().execute(&statement, &values)?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn rows(&mut self, values: &[Value<'_>]) -> Result<Vec<postgres::Row>, SqlError> {
        let statement = self.post.ready(&self.sql, values)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(dynamic).collect();
        Ok(self.post.client.borrow_mut().query(&statement, &values)?)
    }
}

/// What stands in a column of a row.
pub(super) fn cell(row: &postgres::Row, column: usize) -> Result<Cell<'_>, SqlError> {
    let unexpected = || SqlError::column(column, Unexpected);
    let of = row.columns().get(column).ok_or_else(unexpected)?.type_();
    let cell = match *of {
        Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(Cell::Number),
        Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(|it| Cell::Number(it.into())),
        Type::BOOL => row.try_get::<_, Option<bool>>(column)?.map(Cell::Flag),
        Type::TEXT | Type::VARCHAR => row.try_get::<_, Option<&str>>(column)?.map(Cell::Text),
        Type::BYTEA => row.try_get::<_, Option<&[u8]>>(column)?.map(Cell::Bytes),
        _ => return Err(unexpected()),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

const fn dynamic<'a>(value: &'a Value<'_>) -> &'a (dyn ToSql + Sync) {
    value
}

impl Kind {
    const fn of_server(self) -> Type {
        match self {
            Self::Number => Type::INT8,
            Self::Flag => Type::BOOL,
            Self::Text => Type::TEXT,
            Self::Bytes => Type::BYTEA,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null(_) => Ok(IsNull::Yes),
            Self::Number(number) => number.to_sql(of, out),
            Self::Flag(flag) => flag.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::BOOL | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

/// A statement with the places of its values as the server writes them: `?` counts on, `?2` is the second.
fn numbered(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len().saturating_add(16));
    let (mut quoted, mut count) = (false, 0_usize);
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        quoted ^= letter == '\'';
        if letter != '?' || quoted {
            text.push(letter);
            continue;
        }
        text.push('$');
        if !letters.peek().is_some_and(char::is_ascii_digit) {
            count = count.saturating_add(1);
            text.push_str(&count.to_string());
        }
    }
    text
}

/// Definitions of tables as the server writes them. `FLAG` is yes or no; text is in the order of its bytes, as everywhere.
pub(super) fn definition(sql: &str) -> String {
    [
        (" STRICT, WITHOUT ROWID", ""),
        (" STRICT", ""),
        ("INTEGER", "BIGINT"),
        ("FLAG", "BOOLEAN"),
        ("BLOB", "BYTEA"),
        (" TEXT", " TEXT COLLATE \"C\""),
        ("x''", "''"),
    ]
    .iter()
    .fold(sql.to_owned(), |sql, (from, to)| sql.replace(from, to))
}

/// What holds for a connection. Durability is not left to the server's default, and a node that hangs in a transaction
/// does not hold up the others for long.
const SESSION: &str = "\
SET search_path = ledger; SET client_min_messages = warning;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET idle_in_transaction_session_timeout = '20s'; SET lock_timeout = '20s';
SET standard_conforming_strings = on";
/// Where nodes tell one another of what they wrote.
const CHANNEL: &str = "curfew_ledger";
/// The number is `CRFW`, by which everybody who writes to this ledger waits for one another.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock(1129465431)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_values_are_numbered() {
        let table = [
            ("SELECT 1", "SELECT 1"),
            ("a = ? AND b = ?", "a = $1 AND b = $2"),
            ("a = ?2 AND b = ?1", "a = $2 AND b = $1"),
            ("a = '?' AND b = ?", "a = '?' AND b = $1"),
        ];
        for (here, there) in table {
            assert_eq!(numbered(here), there);
        }
    }

    #[test]
    fn a_definition_of_a_table_is_translated() {
        let here =
            "CREATE TABLE a (b INTEGER, c BLOB NOT NULL, d TEXT, e FLAG) STRICT, WITHOUT ROWID;";
        let there = "CREATE TABLE a (b BIGINT, c BYTEA NOT NULL, d TEXT COLLATE \"C\", e BOOLEAN);";
        assert_eq!(definition(here), there);
    }
}
