//! Moving a ledger between a file and a server: everything, in one cut, compared row by row, and never both of them in use.
//!
//! To a server: the file is held shut while it is copied, and what the server has stays marked as unfinished, so that nobody
//! opens it, until the file is marked as moved. Whatever breaks off leaves one of them that counts, and the same command
//! begun again throws the unfinished one away or, where the file is marked, finishes it.

use aws_lc_rs::digest::{Context, SHA256};

use super::sql::{Cell, Connection, Kind, SqlError, ToValue, Value};
use super::{LedgerError, Place, schema};

/// What was moved.
#[derive(Debug)]
pub(crate) struct Moved {
    /// Each table, and how many rows it has.
    pub(crate) tables: Vec<(String, u64)>,
}

/// A file that is held shut and was copied; what was copied is durable on the server, and nobody opens it yet.
#[must_use = "the file is used again unless it is marked"]
pub(crate) struct Copied {
    source: Connection,
    waiting: Waiting,
    moved: Moved,
}

/// A whole ledger on a server, which nobody opens yet.
#[must_use = "nobody opens it before it is finished"]
pub(crate) struct Waiting {
    on: Place,
}

/// A table as both sides have it.
struct Table {
    name: String,
    columns: Vec<Column>,
    /// The columns of its key, with commas between them.
    key: String,
}

struct Column {
    name: String,
    kind: Kind,
}

/// A value on its way.
struct Kept {
    kind: Kind,
    held: Held,
}

enum Held {
    Null,
    Number(i64),
    Flag(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// Copies a file's ledger to a server that has none.
pub(crate) fn copy(from: &Place, to: &Place) -> Result<Copied, LedgerError> {
    let source = from.open()?;
    schema::migrate(&source, from)?;
    source.begin()?;
    let target = to.open()?;
    target.be_patient()?;
    target.begin()?;
    schema::create_unfinished(&target, to)?;
    let tables = tables_of(&source, &target)?;
    let moved = copy_all(tables, (&source, &target), |_rows| {})?;
    target.commit()?;
    Ok(Copied { source, waiting: Waiting { on: to.clone() }, moved })
}

/// Whether a ledger can be put there: a server has none, or one that was begun and never finished.
pub(crate) fn is_free(on: &Place) -> Result<(), LedgerError> {
    match schema::absent(&on.open()?, on) {
        Err(LedgerError::Unfinished(_)) => Ok(()),
        other => other,
    }
}

/// Finishes a move that broke off after the file was marked; says whether there was one.
pub(crate) fn resume(from: &Place, to: &Place) -> Result<bool, LedgerError> {
    let source = from.open()?;
    match schema::version(&source, "main", from) {
        Err(LedgerError::Moved(_, place)) if place == to.to_string() => {}
        _ => return Ok(false),
    }
    let target = to.open()?;
    if !schema::is_unfinished(&target)? || newest(&source)? != newest(&target)? {
        return Ok(false);
    }
    schema::finish(&target)?;
    Ok(true)
}

/// Which ledger it is, and how far it goes.
fn newest(connection: &Connection) -> Result<(String, String), LedgerError> {
    let sql = "SELECT name, (SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1) FROM log";
    Ok(connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Copies what `source` sees, a server's ledger, into a file that is made for it. `progress` hears how many rows are copied,
/// and of how many.
pub(super) fn take(
    source: &Connection,
    target: &Connection,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), LedgerError> {
    let tables = tables_of(target, source)?;
    let mut all: u64 = 0;
    for table in &tables {
        let count = format!("SELECT count(*) FROM {}", table.name);
        let rows: u64 = source.query_row(&count, (), |row| row.get(0))?;
        all = all.saturating_add(rows);
    }
    target.begin()?;
    copy_all(tables, (source, target), |done| progress(done, all))?;
    Ok(target.commit()?)
}

impl Copied {
    /// Marks the file, which from now on says where the ledger goes on, and has the server's opened from now on.
    pub(crate) fn finish(self) -> Result<Moved, LedgerError> {
        schema::mark_moved(&self.source, &self.waiting.on.to_string())?;
        self.source.commit()?;
        self.waiting.finish()?;
        Ok(self.moved)
    }

    /// Lets go of the file, which is about to be removed.
    pub(crate) fn without_file(self) -> Waiting {
        self.waiting
    }
}

impl Waiting {
    /// Has it opened from now on.
    pub(crate) fn finish(self) -> Result<(), LedgerError> {
        schema::finish(&self.on.open()?)
    }
}

fn copy_all(
    tables: Vec<Table>,
    (source, target): (&Connection, &Connection),
    mut progress: impl FnMut(u64),
) -> Result<Moved, LedgerError> {
    let (mut moved, mut done) = (Vec::new(), 0_u64);
    for table in tables {
        target.execute_batch(&format!("DELETE FROM {}", table.name))?;
        let copied = table.copy((source, target), |rows| progress(done.saturating_add(rows)))?;
        let (here, there) = (table.digest(source)?, table.digest(target)?);
        if here != there {
            return Err(LedgerError::Torn(format!(
                "the table {} was copied and has other rows than before",
                table.name
            )));
        }
        done = done.saturating_add(copied);
        moved.push((table.name, copied));
    }
    Ok(Moved { tables: moved })
}

/// Every table of the file, with the columns and kinds that the server has, which must be the same.
fn tables_of(file: &Connection, server: &Connection) -> Result<Vec<Table>, LedgerError> {
    let names: Vec<String> = file
        .prepare_cached(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
        )?
        .query_map((), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    names
        .into_iter()
        .filter(|name| !OF_NODES.contains(&name.as_str()))
        .map(|name| Table::of(name, file, server))
        .collect()
}

impl Table {
    fn of(name: String, file: &Connection, server: &Connection) -> Result<Self, LedgerError> {
        let here: Vec<(String, u64)> = file
            .prepare_cached("SELECT name, pk FROM pragma_table_info(?) ORDER BY name")?
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut columns = server
            .prepare_cached(
                "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = 'ledger' AND table_name = ?",
            )?
            .query_map([&name], |row| Ok(Column { name: row.get(0)?, kind: kind(&row.get::<String>(1)?) }))?
            .collect::<Result<Vec<_>, _>>()?;
        columns.sort_by(|one, other| one.name.cmp(&other.name));
        if !here.iter().map(|(name, _)| name).eq(columns.iter().map(|column| &column.name)) {
            return Err(LedgerError::Torn(format!(
                "the table {name} has other columns on the server than in the file"
            )));
        }
        let mut key: Vec<_> = here.iter().filter(|(_, place)| *place > 0).collect();
        key.sort_by_key(|(_, place)| *place);
        let mut key: Vec<&str> = key.into_iter().map(|(name, _)| name.as_str()).collect();
        if key.is_empty() {
            key = columns.iter().map(|column| column.name.as_str()).collect();
        }
        let key = key.join(", ");
        Ok(Self { name, columns, key })
    }

    fn select(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), self.name, self.key)
    }

    fn copy(
        &self,
        (source, target): (&Connection, &Connection),
        mut progress: impl FnMut(u64),
    ) -> Result<u64, LedgerError> {
        let (mut waiting, mut copied): (Vec<Kept>, u64) = (Vec::new(), 0);
        let width = self.columns.len();
        let most = AT_ONCE.saturating_mul(width);
        source.each_of(&self.select(), |row| {
            for (at, column) in self.columns.iter().enumerate() {
                waiting.push(Kept::of(row.cell(at)?, column.kind));
            }
            copied = copied.saturating_add(1);
            if waiting.len() >= most {
                self.put(target, &waiting)?;
                waiting.clear();
                progress(copied);
            }
            Ok(())
        })?;
        if !waiting.is_empty() {
            self.put(target, &waiting)?;
        }
        progress(copied);
        Ok(copied)
    }

    fn put(&self, target: &Connection, values: &[Kept]) -> Result<(), SqlError> {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        let rows = values.len().checked_div(columns.len()).unwrap_or(0);
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.name,
            columns.join(", "),
            vec![row.as_str(); rows].join(", ")
        );
        target.execute(&sql, values)?;
        Ok(())
    }

    /// The digest of all rows in the order of their key.
    fn digest(&self, side: &Connection) -> Result<Vec<u8>, LedgerError> {
        let mut digest = Context::new(&SHA256);
        side.each_of(&self.select(), |row| {
            for (at, column) in self.columns.iter().enumerate() {
                Kept::of(row.cell(at)?, column.kind).add_to(&mut digest);
            }
            Ok(())
        })?;
        Ok(digest.finish().as_ref().to_vec())
    }
}

impl Kept {
    fn of(cell: Cell<'_>, kind: Kind) -> Self {
        let held = match (cell, kind) {
            (Cell::Null, _) => Held::Null,
            (Cell::Number(number), Kind::Flag) => Held::Flag(number != 0),
            (Cell::Number(number), _) => Held::Number(number),
            (Cell::Flag(flag), _) => Held::Flag(flag),
            (Cell::Text(text), _) => Held::Text(text.to_owned()),
            (Cell::Bytes(bytes), _) => Held::Bytes(bytes.to_vec()),
        };
        Self { kind, held }
    }

    /// Each value with its kind and length before it, so that no two rows read alike.
    fn add_to(&self, digest: &mut Context) {
        let (kind, bytes): (u8, &[u8]) = match &self.held {
            Held::Null => (0, &[]),
            Held::Number(number) => (1, &number.to_be_bytes()),
            Held::Flag(flag) => (2, &[u8::from(*flag)]),
            Held::Text(text) => (3, text.as_bytes()),
            Held::Bytes(bytes) => (4, bytes),
        };
        digest.update(&[kind]);
        digest.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(bytes);
    }
}

impl ToValue for Kept {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(match &self.held {
            Held::Null => Value::Null(self.kind),
            Held::Number(number) => Value::Number(*number),
            Held::Flag(flag) => Value::Flag(*flag),
            Held::Text(text) => Value::Text(text),
            Held::Bytes(bytes) => Value::Bytes(bytes),
        })
    }
}

/// The kind of a column of the server.
fn kind(of: &str) -> Kind {
    match of {
        "boolean" => Kind::Flag,
        "bigint" => Kind::Number,
        "bytea" => Kind::Bytes,
        _ => Kind::Text,
    }
}

/// What nodes that serve at this moment know of one another, and a key of theirs: nothing of the ledger's, and moved nowhere.
const OF_NODES: [&str; 3] = ["answered", "nodes", "shared"];
/// Rows that are sent together.
const AT_ONCE: usize = 200;
