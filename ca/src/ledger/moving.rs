//! Moving a ledger from its file to a server: everything, in one cut, compared row by row, and never both of them in use.
//!
//! The file is held shut while it is copied. It is marked as moved only when what the server has is durable and the same;
//! until then it is what counts, and whatever breaks off leaves it as it was.

use aws_lc_rs::digest::{Context, SHA256};

use super::sql::{Cell, Connection, Kind, SqlError, ToValue, Value};
use super::{LedgerError, Place, schema};

/// What was moved.
#[derive(Debug)]
pub(crate) struct Moved {
    /// Each table, and how many rows it has.
    pub(crate) tables: Vec<(String, u64)>,
}

/// A file that is held shut and was copied; what was copied is durable on the server.
#[must_use = "the file is used again unless it is marked"]
pub(crate) struct Copied {
    source: Connection,
    to: Place,
    moved: Moved,
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
    schema::create(&target, to)?;
    let copied = copy_all(&source, &target);
    let copied = copied.and_then(|moved| Ok(target.commit().map(|()| moved)?));
    match copied {
        Ok(moved) => Ok(Copied { source, to: to.clone(), moved }),
        Err(error) => {
            // What was made there stands empty; the next try begins anew.
            if let Err(left) = schema::remove(&target) {
                tracing::warn!(error = %left, "what was begun on the server could not be removed");
            }
            Err(error)
        }
    }
}

impl Copied {
    /// Marks the file: from now on it says where the ledger goes on, and nobody serves it any more.
    pub(crate) fn finish(self) -> Result<Moved, LedgerError> {
        schema::mark_moved(&self.source, &self.to.to_string())?;
        self.source.commit()?;
        Ok(self.moved)
    }

    /// Leaves the file as it was, and removes the copy.
    pub(crate) fn give_up(self) -> Result<(), LedgerError> {
        schema::remove(&self.to.open()?)
    }
}

fn copy_all(source: &Connection, target: &Connection) -> Result<Moved, LedgerError> {
    target.begin()?;
    let mut tables = Vec::new();
    for table in tables_of(source, target)? {
        target.execute_batch(&format!("DELETE FROM {}", table.name))?;
        let copied = table.copy(source, target)?;
        let (here, there) = (table.digest(source)?, table.digest(target)?);
        if here != there {
            return Err(LedgerError::Torn(format!(
                "the table {} has other rows on the server than in the file",
                table.name
            )));
        }
        tables.push((table.name, copied));
    }
    Ok(Moved { tables })
}

/// Every table of the file, with the columns and kinds that the server has, which must be the same.
fn tables_of(source: &Connection, target: &Connection) -> Result<Vec<Table>, LedgerError> {
    let names: Vec<String> = source
        .prepare_cached(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
        )?
        .query_map((), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    names.into_iter().map(|name| Table::of(name, source, target)).collect()
}

impl Table {
    fn of(name: String, source: &Connection, target: &Connection) -> Result<Self, LedgerError> {
        let here: Vec<(String, u64)> = source
            .prepare_cached("SELECT name, pk FROM pragma_table_info(?) ORDER BY name")?
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut columns = target
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

    fn copy(&self, source: &Connection, target: &Connection) -> Result<u64, LedgerError> {
        let (mut waiting, mut copied): (Vec<Kept>, u64) = (Vec::new(), 0);
        let width = self.columns.len();
        let most = AT_ONCE.saturating_mul(width);
        source.prepare_cached(&self.select())?.visit((), |row| {
            for (at, column) in self.columns.iter().enumerate() {
                waiting.push(Kept::of(row.cell(at)?, column.kind));
            }
            copied = copied.saturating_add(1);
            if waiting.len() >= most {
                self.put(target, &waiting)?;
                waiting.clear();
            }
            Ok(())
        })?;
        if !waiting.is_empty() {
            self.put(target, &waiting)?;
        }
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

/// Rows that are sent together.
const AT_ONCE: usize = 200;
