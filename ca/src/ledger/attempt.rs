//! Denied attempts: what hosts and the authority itself refused, one row for those that are alike on one day.
//!
//! Nothing is decided from this table. Rows beyond [`KEPT`] and [`MAX_ROWS`] go, and how many attempts they stood for is
//! kept in the counter `attempts_forgotten`.

use std::time::Duration;

use wire::attempt::{AttemptView, Door};
use wire::identifier::{Address, Fingerprint, GrantId, HostName, Identity};
use wire::octets::Octets;
use wire::record::{Refused, Refuser};
use wire::time::Timestamp;

use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Ledger, LedgerError, column};

/// Which attempts are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Those of this identity only.
    pub(crate) identity: Option<Identity>,
    /// Those on this host only.
    pub(crate) host: Option<Address>,
    /// Those with this certificate only.
    pub(crate) serial: Option<u64>,
    /// Those told of from then on only.
    pub(crate) since: Option<Timestamp>,
}

/// One attempt, before it has a number.
struct Attempt {
    host: Address,
    login: Octets,
    owner: Option<Owner>,
    remote: String,
    serial: u64,
    key_id: Octets,
    key: Fingerprint,
    reason: String,
    by: Door,
    at: Timestamp,
    count: u64,
}

/// Whose certificate it was.
struct Owner {
    identity: Identity,
    grant: Option<GrantId>,
    serial: u64,
    within: Option<bool>,
}

impl Ledger {
    /// Attempts, those told of last first.
    pub(crate) async fn attempts(&self, asked: Asked) -> Result<Vec<AttemptView>, LedgerError> {
        self.read(move |connection| {
            let identity = asked.identity.as_ref().map(|identity| identity.as_str().to_owned());
            let host = asked.host.as_ref().map(|host| host.as_str().to_owned());
            let since = asked.since.map_or(0, Timestamp::millis);
            let mut statement = connection.prepare_cached(&format!(
                "SELECT number, first, last, count, body FROM attempts \
                 WHERE last >= ?1 AND (?2 IS NULL OR identity = ?2) AND (?3 IS NULL OR host = ?3) \
                 AND (?4 IS NULL OR serial = ?4) ORDER BY last DESC, number DESC LIMIT {LISTED}"
            ))?;
            let found = statement.query_map(params![since, identity, host, asked.serial], view)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Takes what a host tells of. Incidents of certificates without proof are attempts too.
pub(super) fn told(
    connection: &Connection,
    host: &HostName,
    refused: &Refused,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let owner = owner(connection, refused, at)?;
    let attempt = Attempt {
        host: address(host)?,
        login: refused.login.clone(),
        serial: owner.as_ref().map_or(refused.serial, |owner| owner.serial),
        owner,
        remote: refused.remote.clone(),
        key_id: refused.key_id.clone(),
        key: refused.key.clone(),
        reason: refused.reason.clone(),
        by: refused.by.into(),
        at,
        count: u64::from(refused.count),
    };
    note(connection, attempt)
}

/// Takes a denial of the authority's own.
pub(super) fn denied(
    connection: &Connection,
    (identity, host, login): (&Identity, &Address, &wire::identifier::Login),
    (key, reason): (&Fingerprint, &str),
    at: Timestamp,
) -> Result<(), LedgerError> {
    let owner = Owner { identity: identity.clone(), grant: None, serial: 0, within: None };
    let attempt = Attempt {
        host: host.clone(),
        login: Octets::new(login.as_str()),
        owner: Some(owner),
        remote: String::new(),
        serial: 0,
        key_id: Octets::default(),
        key: key.clone(),
        reason: reason.to_owned(),
        by: Door::Authority,
        at,
        count: 1,
    };
    note(connection, attempt)
}

fn address(host: &HostName) -> Result<Address, LedgerError> {
    host.as_str().parse().map_err(LedgerError::Name)
}

/// The certificate as this ledger knows it: by serial and key, or, where only the key is known, the newest over it.
fn owner(
    connection: &Connection,
    refused: &Refused,
    at: Timestamp,
) -> Result<Option<Owner>, LedgerError> {
    let by_key = refused.by != Refuser::Gate && refused.serial == 0;
    let (sql, serial) = if by_key { (BY_KEY, 0) } else { (BY_SERIAL, refused.serial) };
    let key = refused.key.as_str();
    let found = connection.prepare_cached(sql)?.query_row(params![key, serial], |row| {
        let (began, until): (u64, u64) = (row.get(3)?, row.get(4)?);
        Ok(Owner {
            identity: column::name(row, 0)?,
            grant: Some(column::number(row, 1, GrantId::try_new)?),
            serial: row.get(2)?,
            within: Some((began..until).contains(&at.millis())),
        })
    });
    match found {
        // A number beyond those of the database is none of ours.
        Err(SqlError::Range(_)) => Ok(None),
        found => Ok(found.optional()?),
    }
}

fn note(connection: &Connection, attempt: Attempt) -> Result<(), LedgerError> {
    let name = name(&attempt)?;
    let now = attempt.at.millis();
    let serial = i64::try_from(attempt.serial).unwrap_or(i64::MAX).unsigned_abs();
    let changed = connection
        .prepare_cached("UPDATE attempts SET count = count + ?, last = ? WHERE name = ?")?
        .execute(params![attempt.count, now, name])?;
    if changed > 0 {
        return Ok(());
    }
    let newest: u64 = connection
        .prepare_cached("SELECT coalesce(max(number), 0) FROM attempts")?
        .query_row((), |row| row.get(0))?;
    let number = newest.saturating_add(1);
    let view = shown(number, attempt);
    let identity = view.identity.as_ref().map(|identity| identity.as_str().to_owned());
    connection
        .prepare_cached(
            "INSERT INTO attempts (number, name, host, identity, serial, first, last, count, body) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            number,
            name,
            view.host.as_str(),
            identity,
            serial,
            now,
            now,
            view.count,
            serde_json::to_string(&view)?
        ])?;
    if number.is_multiple_of(TIDY_EVERY) {
        forget(connection, number.saturating_sub(MAX_ROWS), view.last.before(KEPT))?;
    }
    Ok(())
}

/// Lets go of rows up to a number and of those from before a moment; how many attempts they stood for is kept.
fn forget(connection: &Connection, upto: u64, before: Timestamp) -> Result<(), LedgerError> {
    let before = before.millis();
    let count: u64 = connection
        .prepare_cached(
            "SELECT CAST(coalesce(sum(count), 0) AS BIGINT) FROM attempts WHERE number <= ?1 OR last < ?2",
        )?
        .query_row(params![upto, before], |row| row.get(0))?;
    if count == 0 {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM attempts WHERE number <= ?1 OR last < ?2")?
        .execute(params![upto, before])?;
    connection
        .prepare_cached("UPDATE counters SET value = value + ? WHERE name = 'attempts_forgotten'")?
        .execute(params![count])?;
    Ok(())
}

/// What makes two attempts alike. From where they came does not: the first that is known stands in the row.
fn name(attempt: &Attempt) -> Result<String, LedgerError> {
    let day = attempt.at.millis().checked_div(DAY_MILLIS).unwrap_or_default();
    let within = attempt.owner.as_ref().and_then(|owner| owner.within);
    let parts = serde_json::to_string(&(
        day,
        attempt.host.as_str(),
        &attempt.login,
        attempt.serial,
        attempt.key.as_str(),
        &attempt.reason,
        attempt.by.as_str(),
        within,
        attempt.owner.as_ref().map(|owner| owner.identity.as_str()),
    ))?;
    Ok(Fingerprint::of(parts.as_bytes()).as_str().to_owned())
}

fn shown(number: u64, attempt: Attempt) -> AttemptView {
    let Attempt { owner, .. } = attempt;
    let (identity, grant, within) = match owner {
        Some(owner) => (Some(owner.identity), owner.grant, owner.within),
        None => (None, None, None),
    };
    AttemptView {
        number,
        host: attempt.host,
        login: attempt.login,
        identity,
        grant,
        remote: attempt.remote,
        serial: attempt.serial,
        key_id: attempt.key_id,
        key: attempt.key,
        reason: attempt.reason,
        by: attempt.by,
        within,
        first: attempt.at,
        last: attempt.at,
        count: attempt.count,
    }
}

fn view(row: &Row<'_>) -> Result<AttemptView, SqlError> {
    let kept: AttemptView = column::json(row, 4)?;
    Ok(AttemptView {
        number: row.get(0)?,
        first: column::moment(row, 1)?,
        last: column::moment(row, 2)?,
        count: row.get(3)?,
        ..kept
    })
}

const BY_SERIAL: &str = "SELECT certificates.identity, grant_id, serial, began, until FROM certificates \
    JOIN grants ON grants.id = grant_id WHERE key = ?1 AND serial = ?2";
const BY_KEY: &str = "SELECT certificates.identity, grant_id, serial, began, until FROM certificates \
    JOIN grants ON grants.id = grant_id WHERE key = ?1 AND ?2 = 0 ORDER BY serial DESC LIMIT 1";
/// How long attempts are kept.
const KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Most rows.
const MAX_ROWS: u64 = 100_000;
/// How many rows come between two looks for what to forget.
const TIDY_EVERY: u64 = 64;
/// Most rows in one listing.
const LISTED: u64 = 1000;
const DAY_MILLIS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{NOW, ledger};

    fn refused(reason: &str, serial: u64) -> Refused {
        Refused {
            login: Octets::new("app"),
            remote: "10.0.0.9".into(),
            key_id: Octets::new("ana@example.com/g1/9"),
            serial,
            key: Fingerprint::of(b"key"),
            reason: reason.into(),
            count: 2,
            ours: false,
            by: Refuser::Gate,
        }
    }

    async fn tell(ledger: &Ledger, what: Refused, at: Timestamp) {
        let host: HostName = "db1".parse().unwrap();
        ledger.write(move |connection| told(connection, &host, &what, at)).await.unwrap();
    }

    #[tokio::test]
    async fn attempts_that_are_alike_are_one_row_with_their_count_and_each_day_has_its_own() {
        let (_dir, ledger) = ledger();
        let day = Duration::from_secs(86_400);
        for at in [NOW, NOW.after(Duration::from_secs(1)), NOW.after(day)] {
            tell(&ledger, refused("no", 9), at).await;
        }
        tell(&ledger, refused("never", u64::MAX), NOW).await;
        let all = ledger.attempts(Asked::default()).await.unwrap();
        let counts: Vec<_> = all.iter().map(|row| (row.reason.as_str(), row.count)).collect();
        assert_eq!(counts, [("no", 2), ("no", 4), ("never", 2)]);
        assert_eq!((all[0].last, all[0].identity.as_ref()), (NOW.after(day), None));
        let since = Some(NOW.after(day));
        let some = ledger.attempts(Asked { since, ..Asked::default() }).await.unwrap();
        assert_eq!(some.len(), 1);
        let other = Some("db2".parse().unwrap());
        assert!(
            ledger.attempts(Asked { host: other, ..Asked::default() }).await.unwrap().is_empty()
        );
    }

    #[tokio::test]
    async fn what_is_forgotten_stays_counted() {
        let (_dir, ledger) = ledger();
        for number in 0..TIDY_EVERY {
            tell(&ledger, refused(&format!("{number}"), 1), NOW).await;
        }
        let late = NOW.after(KEPT).after(Duration::from_secs(60));
        for number in 0..TIDY_EVERY {
            tell(&ledger, refused(&format!("late {number}"), 1), late).await;
        }
        assert_eq!(ledger.attempts(Asked::default()).await.unwrap().len(), 64);
        let forgotten: u64 = ledger
            .read(|connection| {
                Ok(connection.query_row(
                    "SELECT value FROM counters WHERE name = 'attempts_forgotten'",
                    (),
                    |row| row.get(0),
                )?)
            })
            .await
            .unwrap();
        assert_eq!(forgotten, 128);
    }
}
