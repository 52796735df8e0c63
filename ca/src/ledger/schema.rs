//! The tables, and the steps from one version of them to the next.

use super::sql::{Connection, params};
use super::{LedgerError, Place, entry};

/// Makes the tables of the newest version where there are none, within a transaction.
pub(super) fn create(connection: &Connection, place: &Place) -> Result<(), LedgerError> {
    if connection.is_shared() {
        absent(connection, place)?;
        connection.execute_batch(SERVER)?;
    } else {
        connection.set("application_id", APPLICATION)?;
    }
    step(connection, 0)
}

/// The same on a server, within a transaction, for a ledger that nobody opens before it is whole. One that was begun so and
/// never finished is thrown away.
pub(super) fn create_unfinished(connection: &Connection, place: &Place) -> Result<(), LedgerError> {
    if is_unfinished(connection)? {
        connection.execute_batch("DROP SCHEMA ledger CASCADE")?;
    }
    create(connection, place)?;
    connection.execute("UPDATE about SET version = ?", [UNFINISHED])?;
    Ok(())
}

/// Whether a server has a ledger that is not whole yet.
pub(super) fn is_unfinished(connection: &Connection) -> Result<bool, LedgerError> {
    Ok(server_version(connection)? == Some(UNFINISHED))
}

/// Says that it is whole: from now on it can be opened.
pub(super) fn finish(connection: &Connection) -> Result<(), LedgerError> {
    connection.execute(
        "UPDATE about SET version = ?1 WHERE version = ?2",
        params![newest(), UNFINISHED],
    )?;
    Ok(())
}

/// Refuses a server that has a ledger.
pub(super) fn absent(connection: &Connection, place: &Place) -> Result<(), LedgerError> {
    match server_version(connection)? {
        None => Ok(()),
        Some(UNFINISHED) => Err(LedgerError::Unfinished(place.clone())),
        Some(_) => Err(LedgerError::Exists(place.clone())),
    }
}

/// The same in an empty database of the connection's own.
pub(super) fn create_empty(connection: &Connection) -> Result<(), LedgerError> {
    if !connection.is_shared() {
        connection.set("application_id", APPLICATION)?;
    }
    let transaction = connection.transaction()?;
    step(&transaction, 0)?;
    Ok(transaction.commit()?)
}

/// Refuses what is not ours or is newer than we are, and takes an older one forward.
pub(super) fn migrate(connection: &Connection, place: &Place) -> Result<(), LedgerError> {
    let transaction = connection.transaction()?;
    let found = version(&transaction, "main", place)?;
    step(&transaction, usize::try_from(found).unwrap_or(usize::MAX))?;
    Ok(transaction.commit()?)
}

/// The version of a database's tables: ours, and none that is newer than we are, nor one that is not whole.
pub(super) fn version(
    connection: &Connection,
    database: &str,
    place: &Place,
) -> Result<i64, LedgerError> {
    match any_version(connection, database, place)? {
        UNFINISHED => Err(LedgerError::Unfinished(place.clone())),
        found => Ok(found),
    }
}

/// The same, also of one that is not whole yet.
pub(super) fn any_version(
    connection: &Connection,
    database: &str,
    place: &Place,
) -> Result<i64, LedgerError> {
    let found = if connection.is_shared() {
        server_version(connection)?.ok_or_else(|| LedgerError::Missing(place.clone()))?
    } else if connection.header(database, "application_id")? == APPLICATION {
        connection.header(database, "user_version")?
    } else {
        return Err(LedgerError::NotALedger(place.clone()));
    };
    if found == MOVED {
        let sql = format!("SELECT place FROM {database}.moved");
        let to = connection.query_row(&sql, (), |row| row.get(0))?;
        return Err(LedgerError::Moved(place.clone(), to));
    }
    if found > newest() && found != UNFINISHED {
        return Err(LedgerError::Newer { found, known: newest() });
    }
    Ok(found)
}

/// Marks a file as one that goes on elsewhere: nobody opens it any more.
pub(super) fn mark_moved(connection: &Connection, to: &str) -> Result<(), LedgerError> {
    connection.define("CREATE TABLE moved (place TEXT NOT NULL) STRICT")?;
    connection.execute("INSERT INTO moved (place) VALUES (?)", [to])?;
    Ok(connection.set("user_version", MOVED)?)
}

/// The version of the tables on a server; nothing when there are none.
fn server_version(connection: &Connection) -> Result<Option<i64>, LedgerError> {
    let found: Option<String> =
        connection
            .query_row("SELECT CAST(to_regclass('ledger.about') AS TEXT)", (), |row| row.get(0))?;
    if found.is_none() {
        return Ok(None);
    }
    Ok(Some(connection.query_row("SELECT version FROM ledger.about", (), |row| row.get(0))?))
}

/// The version of the tables that this program writes.
pub(super) fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

fn step(connection: &Connection, from: usize) -> Result<(), LedgerError> {
    let mut from = from;
    if connection.is_shared() && from == 0 {
        connection.define(SERVER_TABLES)?;
        from = SERVER_BEGINS;
    }
    for (sql, finish) in STEPS.iter().skip(from) {
        connection.define(sql)?;
        finish(connection)?;
    }
    if connection.is_shared() {
        connection.execute("UPDATE about SET version = ?", [newest()])?;
        return Ok(());
    }
    Ok(connection.set("user_version", newest())?)
}

/// What `file(1)` and we know the database by: "CRFW".
const APPLICATION: i64 = 0x4352_4657;
/// The version of a file that was moved.
const MOVED: i64 = 0x4d56_4544;
/// The version of a ledger on a server that is being put there.
const UNFINISHED: i64 = 0x4e4f_5459;

/// What a step does, and what remains to do that SQL cannot.
type Step = (&'static str, fn(&Connection) -> Result<(), LedgerError>);

const fn nothing(_connection: &Connection) -> Result<(), LedgerError> {
    Ok(())
}

/// What a server has beside the tables: words of `SQLite` that statements use.
const SERVER: &str = "
CREATE SCHEMA IF NOT EXISTS ledger;
CREATE OR REPLACE FUNCTION ledger.json_extract(body TEXT, path TEXT) RETURNS TEXT LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    AS $$ SELECT body::jsonb #>> string_to_array(substr(path, 3), '.') $$;
CREATE OR REPLACE FUNCTION ledger.instr(whole BYTEA, part BYTEA) RETURNS BIGINT LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    AS $$ SELECT position(part IN whole)::BIGINT $$;
";
/// The version that the tables on a server begin with.
const SERVER_BEGINS: usize = 6;
/// The tables of that version. They refer to one another as those of a file do; that they do is not left to the server, which
/// would lock a row for every reference, but looked at by `ledger verify`.
const SERVER_TABLES: &str = "
CREATE TABLE about (version INTEGER NOT NULL);
INSERT INTO about VALUES (0);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('epoch', 0);
CREATE TABLE identities (
    name TEXT PRIMARY KEY, operator FLAG NOT NULL, disabled FLAG NOT NULL, added INTEGER NOT NULL
);
CREATE TABLE keys (
    fingerprint TEXT PRIMARY KEY, identity TEXT NOT NULL, public_key TEXT NOT NULL, added INTEGER NOT NULL
);
CREATE INDEX keys_by_identity ON keys (identity);
CREATE TABLE logins (
    hash BLOB PRIMARY KEY, identity TEXT NOT NULL, key TEXT NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX logins_by_end ON logins (until);
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY, host TEXT NOT NULL, addresses TEXT NOT NULL, labels TEXT NOT NULL,
    until INTEGER NOT NULL, used INTEGER
);
CREATE TABLE hosts (
    name TEXT PRIMARY KEY, labels TEXT NOT NULL, addresses TEXT NOT NULL, enrolment INTEGER NOT NULL,
    enrolled INTEGER NOT NULL, seen INTEGER, tier TEXT, agent_version TEXT,
    orders_from INTEGER NOT NULL, last_order INTEGER NOT NULL DEFAULT 0, last_record INTEGER NOT NULL DEFAULT 0,
    certified TEXT, agent_key TEXT, krl TEXT, keys TEXT
);
CREATE TABLE addresses (address TEXT PRIMARY KEY, host TEXT NOT NULL);
CREATE INDEX addresses_by_host ON addresses (host);
CREATE TABLE grants (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, role TEXT NOT NULL, host TEXT NOT NULL,
    began INTEGER NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX grants_by_identity ON grants (identity, host, until);
CREATE TABLE certificates (
    serial INTEGER PRIMARY KEY, grant_id INTEGER NOT NULL, identity TEXT NOT NULL,
    login TEXT NOT NULL, host TEXT NOT NULL, key TEXT NOT NULL, issued INTEGER NOT NULL,
    valid_before INTEGER NOT NULL, authority TEXT
);
CREATE INDEX certificates_by_identity ON certificates (identity, valid_before);
CREATE INDEX certificates_by_host ON certificates (host, valid_before);
CREATE INDEX certificates_by_key ON certificates (key);
CREATE INDEX certificates_by_grant ON certificates (grant_id);
CREATE INDEX certificates_by_end ON certificates (valid_before);
CREATE INDEX certificates_by_authority ON certificates (authority, valid_before);
CREATE TABLE orders (
    number INTEGER PRIMARY KEY, at INTEGER NOT NULL, order_text TEXT NOT NULL, signature TEXT NOT NULL
);
CREATE TABLE locks (
    target TEXT PRIMARY KEY, reason TEXT NOT NULL, until INTEGER,
    order_number INTEGER NOT NULL, by TEXT NOT NULL, at INTEGER NOT NULL
);
CREATE TABLE receipts (
    order_number INTEGER NOT NULL, host TEXT NOT NULL,
    body TEXT NOT NULL, done FLAG NOT NULL, elapsed_micros INTEGER NOT NULL,
    PRIMARY KEY (order_number, host)
);
CREATE TABLE sessions (
    session TEXT NOT NULL, host TEXT NOT NULL, identity TEXT NOT NULL, login TEXT NOT NULL, role TEXT NOT NULL,
    grant_id INTEGER NOT NULL, serial INTEGER NOT NULL, remote TEXT NOT NULL, began INTEGER NOT NULL,
    until INTEGER NOT NULL, ended TEXT, execs INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
    known FLAG NOT NULL, PRIMARY KEY (session, host)
);
CREATE INDEX sessions_by_start ON sessions (began);
CREATE INDEX sessions_by_identity ON sessions (identity, began);
CREATE INDEX sessions_alive ON sessions (host) WHERE ended IS NULL;
CREATE TABLE records (
    enrolment INTEGER NOT NULL, number INTEGER NOT NULL, host TEXT NOT NULL, session TEXT,
    body TEXT NOT NULL, PRIMARY KEY (enrolment, number)
);
CREATE INDEX records_by_session ON records (session, host, number) WHERE session IS NOT NULL;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, leaf BLOB NOT NULL, leaf_hash BLOB NOT NULL
);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, salt BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE subtrees (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, number)
);
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, at INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE log (name TEXT NOT NULL);
CREATE TABLE krl (version INTEGER NOT NULL, generated INTEGER NOT NULL, digest BLOB NOT NULL);
INSERT INTO krl VALUES (0, 0, x'');
CREATE TABLE incidents (
    number INTEGER PRIMARY KEY, host TEXT NOT NULL, name TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, cause TEXT NOT NULL, settled TEXT
);
CREATE UNIQUE INDEX incidents_open ON incidents (host, name) WHERE settled IS NULL;
CREATE TABLE authority_keys (
    purpose TEXT NOT NULL, number INTEGER NOT NULL, fingerprint TEXT NOT NULL UNIQUE, public_key TEXT NOT NULL,
    stage TEXT NOT NULL, since INTEGER NOT NULL, made INTEGER NOT NULL, PRIMARY KEY (purpose, number)
);
CREATE TABLE authority_told (one INTEGER PRIMARY KEY CHECK (one = 1), digest TEXT NOT NULL);
";

/// The step at index N takes version N to version N + 1. Steps are only ever added.
const STEPS: [Step; 26] = [("
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, version INTEGER NOT NULL,
    body BLOB NOT NULL, leaf_hash BLOB NOT NULL
) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('epoch', 0);
CREATE TABLE identities (
    name TEXT PRIMARY KEY, operator INTEGER NOT NULL, disabled INTEGER NOT NULL, added INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE keys (
    fingerprint TEXT PRIMARY KEY, identity TEXT NOT NULL REFERENCES identities (name),
    public_key TEXT NOT NULL, added INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_identity ON keys (identity);
CREATE TABLE logins (
    hash BLOB PRIMARY KEY, identity TEXT NOT NULL REFERENCES identities (name), key TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX logins_by_end ON logins (until);
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY, host TEXT NOT NULL, addresses TEXT NOT NULL, labels TEXT NOT NULL,
    until INTEGER NOT NULL, used INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE hosts (
    name TEXT PRIMARY KEY, labels TEXT NOT NULL, addresses TEXT NOT NULL, enrolment INTEGER NOT NULL,
    enrolled INTEGER NOT NULL, seen INTEGER, tier TEXT, agent_version TEXT,
    orders_from INTEGER NOT NULL, last_order INTEGER NOT NULL DEFAULT 0, last_record INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE addresses (
    address TEXT PRIMARY KEY, host TEXT NOT NULL REFERENCES hosts (name)
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_by_host ON addresses (host);
CREATE TABLE grants (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, role TEXT NOT NULL, host TEXT NOT NULL,
    began INTEGER NOT NULL, until INTEGER NOT NULL
) STRICT;
CREATE INDEX grants_by_identity ON grants (identity, host, until);
CREATE TABLE certificates (
    serial INTEGER PRIMARY KEY, grant_id INTEGER NOT NULL REFERENCES grants (id), identity TEXT NOT NULL,
    login TEXT NOT NULL, host TEXT NOT NULL, key TEXT NOT NULL, issued INTEGER NOT NULL,
    valid_before INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_by_identity ON certificates (identity, valid_before);
CREATE INDEX certificates_by_host ON certificates (host, valid_before);
CREATE INDEX certificates_by_key ON certificates (key);
CREATE INDEX certificates_by_grant ON certificates (grant_id);
CREATE TABLE orders (
    number INTEGER PRIMARY KEY, at INTEGER NOT NULL, order_text TEXT NOT NULL, signature TEXT NOT NULL
) STRICT;
CREATE TABLE locks (
    target TEXT PRIMARY KEY, reason TEXT NOT NULL, until INTEGER,
    order_number INTEGER NOT NULL REFERENCES orders (number), by TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE receipts (
    order_number INTEGER NOT NULL REFERENCES orders (number), host TEXT NOT NULL,
    body TEXT NOT NULL, done INTEGER NOT NULL, elapsed_micros INTEGER NOT NULL,
    PRIMARY KEY (order_number, host)
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    session TEXT NOT NULL, host TEXT NOT NULL, identity TEXT NOT NULL, login TEXT NOT NULL, role TEXT NOT NULL,
    grant_id INTEGER NOT NULL, serial INTEGER NOT NULL, remote TEXT NOT NULL, began INTEGER NOT NULL,
    until INTEGER NOT NULL, ended TEXT, execs INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0,
    known INTEGER NOT NULL, PRIMARY KEY (session, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_start ON sessions (began);
CREATE INDEX sessions_by_identity ON sessions (identity, began);
CREATE INDEX sessions_alive ON sessions (host) WHERE ended IS NULL;
CREATE TABLE records (
    enrolment INTEGER NOT NULL, number INTEGER NOT NULL, host TEXT NOT NULL, session TEXT,
    body TEXT NOT NULL, PRIMARY KEY (enrolment, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_by_session ON records (session, host, number) WHERE session IS NOT NULL;
", nothing), ("
ALTER TABLE entries RENAME TO former_entries;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, leaf BLOB NOT NULL, leaf_hash BLOB NOT NULL
) STRICT;
CREATE TABLE bodies (
    seq INTEGER PRIMARY KEY REFERENCES entries (seq), salt BLOB NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE subtrees (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, at INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
CREATE TABLE log (name TEXT NOT NULL) STRICT;
", entry::take_over), ("
ALTER TABLE hosts ADD COLUMN certified TEXT;
ALTER TABLE hosts ADD COLUMN agent_key TEXT;
UPDATE hosts SET certified = (
    SELECT json_object('names', json('[]'), 'keys', json_extract(CAST(body AS TEXT), '$.host_keys'))
    FROM bodies WHERE seq = enrolment
);
", nothing), ("
CREATE INDEX certificates_by_end ON certificates (valid_before);
CREATE TABLE krl (version INTEGER NOT NULL, generated INTEGER NOT NULL, digest BLOB NOT NULL) STRICT;
INSERT INTO krl VALUES (0, 0, x'');
ALTER TABLE hosts ADD COLUMN krl TEXT;
", nothing), ("
CREATE TABLE incidents (
    number INTEGER PRIMARY KEY REFERENCES entries (seq), host TEXT NOT NULL, name TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, cause TEXT NOT NULL, settled TEXT
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (host, name) WHERE settled IS NULL;
", nothing), ("
CREATE TABLE authority_keys (
    purpose TEXT NOT NULL, number INTEGER NOT NULL, fingerprint TEXT NOT NULL UNIQUE, public_key TEXT NOT NULL,
    stage TEXT NOT NULL, since INTEGER NOT NULL, made INTEGER NOT NULL, PRIMARY KEY (purpose, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE authority_told (one INTEGER PRIMARY KEY CHECK (one = 1), digest TEXT NOT NULL) STRICT;
ALTER TABLE certificates ADD COLUMN authority TEXT;
CREATE INDEX certificates_by_authority ON certificates (authority, valid_before);
ALTER TABLE hosts ADD COLUMN keys TEXT;
", nothing), ("
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, host TEXT NOT NULL, identity TEXT, serial INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_by_time ON attempts (last);
CREATE INDEX attempts_by_serial ON attempts (serial, last);
CREATE INDEX attempts_by_identity ON attempts (identity, last);
INSERT INTO counters VALUES ('attempts_forgotten', 0);
", nothing), ("
CREATE TABLE restores (era INTEGER PRIMARY KEY, size INTEGER NOT NULL, declared TEXT NOT NULL) STRICT;
CREATE TABLE kept_locks (target TEXT PRIMARY KEY, reason TEXT NOT NULL, host TEXT NOT NULL) STRICT, WITHOUT ROWID;
", nothing), ("
ALTER TABLE hosts ADD COLUMN node TEXT;
CREATE TABLE nodes (node TEXT PRIMARY KEY, seen INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE shared (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE answered (challenge BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
", nothing), ("
ALTER TABLE identities ADD COLUMN kind TEXT NOT NULL DEFAULT 'person';
CREATE TABLE members (
    team TEXT NOT NULL, identity TEXT NOT NULL, source TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (team, identity, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_identity ON members (identity);
ALTER TABLE logins RENAME TO former_logins;
CREATE TABLE logins (
    hash BLOB PRIMARY KEY, number INTEGER NOT NULL, identity TEXT NOT NULL, begun INTEGER NOT NULL,
    until INTEGER NOT NULL, method TEXT NOT NULL, key TEXT, mfa INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO logins (hash, number, identity, begun, until, method, key)
    SELECT hash, 0, identity, 0, until, 'key', key FROM former_logins;
DROP TABLE former_logins;
CREATE INDEX logins_by_end ON logins (until);
CREATE INDEX logins_by_identity ON logins (identity);
", nothing), ("
CREATE TABLE streams (
    enrolment INTEGER PRIMARY KEY, host TEXT NOT NULL, indexed INTEGER NOT NULL, closed FLAG NOT NULL
) STRICT;
INSERT INTO streams (enrolment, host, indexed, closed) SELECT enrolment, min(host), 0, FALSE FROM records GROUP BY enrolment;
INSERT INTO streams (enrolment, host, indexed, closed) SELECT enrolment, name, 0, FALSE FROM hosts WHERE true ON CONFLICT DO NOTHING;
CREATE TABLE search_blocks (
    number INTEGER PRIMARY KEY, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, filter BLOB NOT NULL
) STRICT;
CREATE TABLE search_ranges (
    block INTEGER NOT NULL, enrolment INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (block, enrolment)
) STRICT, WITHOUT ROWID;
", nothing), ("
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL, role TEXT NOT NULL, asked TEXT NOT NULL, state TEXT NOT NULL,
    due INTEGER, extends INTEGER, at INTEGER NOT NULL, note TEXT
) STRICT;
CREATE INDEX requests_by_due ON requests (due);
CREATE INDEX requests_by_identity ON requests (identity, due);
CREATE TABLE request_hosts (
    request INTEGER NOT NULL, host TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (request, host)
) STRICT, WITHOUT ROWID;
CREATE TABLE approvals (
    request INTEGER NOT NULL, identity TEXT NOT NULL, key TEXT NOT NULL, approval TEXT NOT NULL,
    signature TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (request, identity)
) STRICT, WITHOUT ROWID;
ALTER TABLE grants ADD COLUMN request INTEGER;
CREATE INDEX grants_by_request ON grants (request);
", nothing), ("
CREATE TABLE subjects (
    issuer TEXT NOT NULL, subject TEXT NOT NULL, identity TEXT NOT NULL UNIQUE, bound INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
ALTER TABLE certificates ADD COLUMN login_key TEXT;
CREATE INDEX certificates_by_login_key ON certificates (login_key);
", nothing), ("
CREATE TABLE directory_users (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, external TEXT, display TEXT, active FLAG NOT NULL,
    disabled_here FLAG NOT NULL, locked_by INTEGER, changed INTEGER NOT NULL
) STRICT;
CREATE TABLE directory_groups (
    id INTEGER PRIMARY KEY, team TEXT NOT NULL UNIQUE, external TEXT, changed INTEGER NOT NULL
) STRICT;
CREATE TABLE directory_tokens (name TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, made INTEGER NOT NULL) STRICT;
", nothing), ("
ALTER TABLE sessions ADD COLUMN review TEXT;
CREATE INDEX sessions_due ON sessions (began) WHERE ended IS NOT NULL AND review IS NULL;
", nothing), ("
CREATE TABLE holds (
    session TEXT NOT NULL, host TEXT NOT NULL, held_by TEXT NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (session, host)
) STRICT, WITHOUT ROWID;
CREATE TABLE deletions (
    number INTEGER PRIMARY KEY, class TEXT NOT NULL, reason TEXT NOT NULL, asked_by TEXT NOT NULL, asked_at INTEGER NOT NULL,
    decided_by TEXT, decided_at INTEGER, state TEXT NOT NULL
) STRICT;
CREATE TABLE deletion_sessions (
    deletion INTEGER NOT NULL, session TEXT NOT NULL, host TEXT NOT NULL, spared FLAG NOT NULL DEFAULT FALSE, gone INTEGER,
    removed FLAG NOT NULL DEFAULT FALSE, PRIMARY KEY (deletion, session, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX deletion_sessions_by_session ON deletion_sessions (session, host);
", nothing), ("
ALTER TABLE requests ADD COLUMN confirmed FLAG NOT NULL DEFAULT FALSE;
ALTER TABLE approvals ADD COLUMN mfa INTEGER;
", nothing), ("
ALTER TABLE requests ADD COLUMN risk TEXT;
", nothing), ("
CREATE TABLE acknowledgements (
    identity TEXT NOT NULL, text BLOB NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (identity, text)
) STRICT, WITHOUT ROWID;
", nothing), ("
CREATE TABLE breakglass_groups (
    digest TEXT PRIMARY KEY, key TEXT NOT NULL, said TEXT NOT NULL, letter TEXT NOT NULL, added INTEGER NOT NULL,
    retired INTEGER
) STRICT;
CREATE TABLE breakglass_receipts (
    hash TEXT PRIMARY KEY, serial INTEGER NOT NULL, said TEXT NOT NULL, letter TEXT NOT NULL, entered INTEGER NOT NULL
) STRICT;
CREATE TABLE breakglass_reviews (serial INTEGER PRIMARY KEY, review TEXT NOT NULL) STRICT;
", nothing), ("
CREATE TABLE key_requests (
    number INTEGER PRIMARY KEY, identity TEXT NOT NULL, asked_by TEXT NOT NULL, wish TEXT NOT NULL, possession TEXT NOT NULL,
    consent TEXT, at INTEGER NOT NULL, state TEXT NOT NULL, decided_by TEXT, decided_at INTEGER
) STRICT;
CREATE INDEX key_requests_by_identity ON key_requests (identity, state);
", nothing), ("
CREATE TABLE kills (
    session TEXT NOT NULL, host TEXT NOT NULL, order_number INTEGER, said TEXT NOT NULL, PRIMARY KEY (session, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX kills_by_order ON kills (order_number);
", nothing), ("
ALTER TABLE requests ADD COLUMN breakglass FLAG NOT NULL DEFAULT FALSE;
ALTER TABLE requests ADD COLUMN review TEXT;
CREATE INDEX requests_for_breakglass ON requests (identity) WHERE breakglass;
ALTER TABLE breakglass_groups ADD COLUMN people TEXT NOT NULL DEFAULT '{}';
ALTER TABLE hosts ADD COLUMN group_keys TEXT;
CREATE TABLE breakglass_alarms (
    host TEXT NOT NULL, serial INTEGER NOT NULL, way TEXT NOT NULL, alarm TEXT NOT NULL, PRIMARY KEY (host, serial, way)
) STRICT, WITHOUT ROWID;
", nothing), ("
CREATE TABLE notices (receiver TEXT PRIMARY KEY, told INTEGER NOT NULL, node TEXT NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
", nothing), ("
ALTER TABLE sessions ADD COLUMN oddness INTEGER NOT NULL DEFAULT -1;
ALTER TABLE sessions ADD COLUMN odd TEXT;
ALTER TABLE sessions ADD COLUMN odd_entry INTEGER;
CREATE INDEX sessions_unjudged ON sessions (began) WHERE ended IS NOT NULL AND oddness < 0;
CREATE INDEX sessions_to_review ON sessions (oddness DESC, began) WHERE ended IS NOT NULL AND review IS NULL;
CREATE TABLE habits (
    facet TEXT NOT NULL, what TEXT NOT NULL, whose TEXT NOT NULL, began INTEGER NOT NULL, session TEXT NOT NULL, host TEXT NOT NULL,
    PRIMARY KEY (facet, what, whose, began, session, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX habits_by_session ON habits (session, host);
CREATE INDEX incidents_by_host ON incidents (host, number);
", nothing), ("
ALTER TABLE hosts ADD COLUMN spool_head TEXT;
CREATE TABLE spoiled (
    enrolment INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, host TEXT NOT NULL, flaw TEXT NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (enrolment, first, last)
) STRICT, WITHOUT ROWID;
", nothing)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_first_version_keep_what_they_say_and_get_salted_leaves() {
        let connection = Connection::open_empty().unwrap();
        connection.set("application_id", APPLICATION).unwrap();
        connection.execute_batch(STEPS[0].0).unwrap();
        connection.set("user_version", 1).unwrap();
        let data = [
            (
                "authority_created",
                r#"{"fingerprint":"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}"#,
            ),
            (
                "identity_added",
                r#"{"by":"local:root","identity":"ana","operator":false,"reason":null}"#,
            ),
        ];
        for (seq, (kind, data)) in (1_u64..).zip(data) {
            let body =
                format!(r#"{{"version":1,"seq":{seq},"at":1000,"kind":"{kind}","data":{data}}}"#);
            let hash = crate::random::sha256(&[&[0], body.as_bytes()]);
            connection
                .execute(
                    "INSERT INTO entries (seq, at, kind, version, body, leaf_hash) VALUES (?, 1000, ?, 1, ?, ?)",
                    crate::ledger::sql::params![seq, kind, body.as_bytes(), hash],
                )
                .unwrap();
        }
        migrate(&connection, &Place::File("ledger.db".into())).unwrap();
        let mut rows = connection
            .prepare_cached("SELECT leaf, leaf_hash, salt, body FROM entries JOIN bodies USING (seq) ORDER BY seq")
            .unwrap()
            .query_map((), |row| Ok([0, 1, 2, 3].map(|column| row.get(column).unwrap())))
            .unwrap();
        for (kind, data) in data {
            let [leaf, hash, salt, body]: [Vec<u8>; 4] = rows.next().unwrap().unwrap();
            let leaf = wire::log::Leaf::from_bytes(&leaf).unwrap();
            assert_eq!((leaf.kind.as_str(), &leaf.hash().unwrap().0[..]), (kind, &hash[..]));
            assert_eq!(body, data.as_bytes());
            assert_eq!(leaf.body, wire::log::Hash::of(&[salt, body].concat()));
        }
        assert!(rows.next().is_none());
        let name = super::super::log::name(&connection).unwrap();
        assert!(name.as_str().starts_with("log.curfew.internal/"), "{name:?}");
    }
}
