//! What is locked and which certificates it bears on, as of one moment, and which list says so.

use std::collections::{BTreeMap, BTreeSet};

use wire::identifier::{Fingerprint, GrantId, Identity, Serial};
use wire::lock::{Lock, Subject, Target};
use wire::time::Timestamp;

use super::sql::{Connection, Params, Row, SqlError, params};
use super::{Ledger, LedgerError, column, order};
use crate::revocation::{Facts, Issued, Published, horizon};

impl Ledger {
    /// What bears on the list of revoked certificates and keys, on one snapshot. What it costs depends on what is locked
    /// and still lives, not on what was ever issued.
    pub(crate) async fn revocations(&self, now: Timestamp) -> Result<Facts, LedgerError> {
        self.read(move |connection| {
            let locks = order::locks_in_force(connection, now)?;
            let disabled = disabled(connection)?;
            let people =
                disabled.iter().chain(locks.iter().filter_map(|lock| match &lock.target {
                    Target::Identity(name) => Some(name),
                    _ => None,
                }));
            Ok(Facts {
                newest_entry: newest_entry(connection)?,
                published: published(connection)?,
                login_keys: login_keys(connection, people)?,
                certificates: certificates(connection, (&locks, &disabled), now)?,
                disabled,
                locks,
            })
        })
        .await
    }

    /// Remembers the list that is published next; from then on its version is taken, whatever happens.
    pub(crate) async fn publish_krl(&self, published: Published) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE krl SET version = ?1, generated = ?2, digest = ?3 WHERE version < ?1",
                )?
                .execute(params![
                    published.version,
                    published.generated.millis(),
                    published.digest
                ])?;
            if changed == 0 {
                return Err(LedgerError::Stale);
            }
            Ok(())
        })
        .await
    }

    /// Notes that a host has a list of this version: the next one is above it. `true` when ours was not.
    pub(crate) async fn raise_krl(&self, version: u64) -> Result<bool, LedgerError> {
        self.write(move |connection| {
            let raised = connection
                .prepare_cached("UPDATE krl SET version = ?1, digest = ?2 WHERE version < ?1")?
                .execute(params![version, [0_u8; 0]])?;
            Ok(raised > 0)
        })
        .await
    }
}

fn newest_entry(connection: &Connection) -> Result<u64, LedgerError> {
    let newest = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM entries")?
        .query_row((), |row| row.get(0))?;
    Ok(newest)
}

fn published(connection: &Connection) -> Result<Published, LedgerError> {
    let published = connection
        .prepare_cached("SELECT version, generated, digest FROM krl")?
        .query_row((), |row| {
            Ok(Published {
                version: row.get(0)?,
                generated: column::moment(row, 1)?,
                digest: row.get(2)?,
            })
        })?;
    Ok(published)
}

fn disabled(connection: &Connection) -> Result<BTreeSet<Identity>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT name FROM identities WHERE disabled")?;
    let names = statement.query_map((), |row| column::name(row, 0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn login_keys<'a>(
    connection: &Connection,
    people: impl Iterator<Item = &'a Identity>,
) -> Result<BTreeSet<Fingerprint>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT fingerprint FROM keys WHERE identity = ?")?;
    let mut keys = BTreeSet::new();
    for identity in people {
        let found = statement.query_map([identity.as_str()], |row| column::name(row, 0))?;
        keys.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(keys)
}

/// Those that a lock may cover and that may still open something, and those that a lock names. By the index of what each
/// lock is on; roles and logins have none, so there it is whatever lives.
fn certificates(
    connection: &Connection,
    (locks, disabled): (&[Lock], &BTreeSet<Identity>),
    now: Timestamp,
) -> Result<Vec<Issued>, LedgerError> {
    let since = horizon(now).millis();
    let mut found = Found { connection, certificates: BTreeMap::new() };
    for identity in disabled {
        found.add(OF_IDENTITY, params![identity.as_str(), since])?;
    }
    for lock in locks {
        match &lock.target {
            Target::Identity(name) => found.add(OF_IDENTITY, params![name.as_str(), since])?,
            Target::Host(name) => found.add(OF_HOST, params![name.as_str(), since])?,
            Target::Key(key) => found.add(OF_KEY, params![key.as_str(), since])?,
            Target::Grant(grant) => found.add(OF_GRANT, params![grant.number(), since])?,
            Target::Role(name) => found.add(OF_ROLE, params![name.as_str(), since])?,
            Target::Login(name) => found.add(OF_LOGIN, params![name.as_str(), since])?,
            Target::Serial(serial) => {
                // Beyond what the database counts to, nothing was ever issued.
                let Ok(serial) = i64::try_from(serial.number()) else { continue };
                found.add("serial = ?", params![serial])?;
            }
            Target::Session(_) | Target::Authority(_) | Target::Network(_) => {}
        }
    }
    Ok(found.certificates.into_values().collect())
}

/// Certificates, each once.
struct Found<'a> {
    connection: &'a Connection,
    certificates: BTreeMap<Serial, Issued>,
}

impl Found<'_> {
    fn add(&mut self, which: &str, params: impl Params) -> Result<(), LedgerError> {
        let mut statement = self.connection.prepare_cached(&format!("{SELECT} WHERE {which}"))?;
        for row in statement.query_map(params, issued)? {
            let issued = row?;
            self.certificates.insert(issued.subject.serial, issued);
        }
        Ok(())
    }
}

fn issued(row: &Row<'_>) -> Result<Issued, SqlError> {
    let subject = Subject {
        serial: column::number(row, 0, Serial::try_new)?,
        grant: column::number(row, 1, GrantId::try_new)?,
        identity: column::name(row, 2)?,
        role: column::name(row, 3)?,
        login: column::name(row, 4)?,
        host: column::name(row, 5)?,
        key: column::name(row, 6)?,
        authority: column::maybe_name(row, 8)?,
    };
    Ok(Issued { subject, valid_before: column::moment(row, 7)? })
}

/// The sign keeps the certificates, which are few, on the outside, and never scans the grants.
const SELECT: &str = "SELECT serial, grant_id, certificates.identity, role, login, certificates.host, key, valid_before, certificates.authority \
     FROM certificates JOIN grants ON grants.id = +grant_id";
const OF_IDENTITY: &str = "certificates.identity = ? AND valid_before >= ?";
const OF_HOST: &str = "certificates.host = ? AND valid_before >= ?";
const OF_KEY: &str = "key = ? AND valid_before >= ?";
const OF_GRANT: &str = "grant_id = ? AND valid_before >= ?";
const OF_ROLE: &str = "role = ? AND valid_before >= ?";
const OF_LOGIN: &str = "login = ? AND valid_before >= ?";

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, ledger, open};
    use super::*;

    #[tokio::test]
    async fn no_lock_makes_the_ledger_read_all_that_was_ever_issued() {
        let (_dir, ledger) = ledger();
        let plans = ledger.read(|connection| {
            let mut plans = Vec::new();
            for which in [OF_IDENTITY, OF_HOST, OF_KEY, OF_GRANT, OF_ROLE, OF_LOGIN, "serial = ?"] {
                let sql = format!("EXPLAIN QUERY PLAN {SELECT} WHERE {which}");
                let mut statement = connection.prepare_cached(&sql)?;
                let steps = match which.matches('?').count() {
                    1 => statement.query_map([1_i64], |row| row.get::<String>(3))?,
                    _ => statement.query_map([1_i64, 1], |row| row.get::<String>(3))?,
                };
                plans.push((which, steps.collect::<Result<Vec<_>, _>>()?.join("; ")));
            }
            Ok(plans)
        });
        for (which, plan) in plans.await.unwrap() {
            assert!(!plan.contains("SCAN"), "{which}: {plan}");
        }
    }

    #[tokio::test]
    async fn the_version_of_a_list_is_taken_once_and_never_falls() {
        let (dir, ledger) = ledger();
        let list = |version| Published { version, generated: NOW, digest: vec![1] };
        ledger.publish_krl(list(5)).await.unwrap();
        for late in [5, 4] {
            let refused = ledger.publish_krl(list(late)).await;
            assert!(matches!(refused, Err(LedgerError::Stale)));
        }
        assert!(!ledger.raise_krl(5).await.unwrap());
        assert!(ledger.raise_krl(9).await.unwrap());
        drop(ledger);
        let again = open(&dir.path().join("ledger.db")).unwrap();
        let facts = again.revocations(NOW).await.unwrap();
        assert_eq!(facts.published, Published { version: 9, generated: NOW, digest: Vec::new() });
        assert_eq!(facts.published.next(facts.newest_entry), 10);
        assert_eq!(facts.published.next(500), 500);
    }
}
