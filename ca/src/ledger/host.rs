//! Hosts and the tokens by which they join.

use std::time::Duration;

use wire::hostlink::Hello;
use wire::identifier::{Address, Fingerprint, HostName, Label};
use wire::krl::signed::KrlStanding;
use wire::lock::Lock;
use wire::log::Hash;
use wire::record::Tier;
use wire::time::Timestamp;
use wire::trust::Keys;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::vouch::{self, Certified, Vouch, Vouched};
use super::{Actor, Ledger, LedgerError, column, grant, keys, order, restore};

/// A token to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    /// For which host.
    pub(crate) host: HostName,
    /// Where it is reached.
    pub(crate) addresses: Vec<Address>,
    /// Its labels.
    pub(crate) labels: Vec<Label>,
    /// When the token is of no use any more.
    pub(crate) until: Timestamp,
}

/// Why a token opens nothing; each case says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenRefusal {
    /// It was never made here.
    #[error(
        "this authority has made no such token: was it cut when it was copied, or made by another authority? \
         Make one with `curfew-ca host token NAME`"
    )]
    Unknown,
    /// It was used.
    #[error("this token was used already, by {0}; make another with `curfew-ca host token {0}`")]
    Used(HostName),
    /// Its time is over.
    #[error("this token has expired; make another with `curfew-ca host token {0}`")]
    Expired(HostName),
}

/// A host that has just joined: its row is durable. Only [`Ledger::enrol`] makes one.
#[derive(Debug)]
#[must_use = "the host waits for its certificates"]
pub(crate) struct Enrolled {
    vouched: Vouched,
    labels: Vec<Label>,
    enrolment: u64,
    orders_from: u64,
    locks: Vec<Lock>,
    keys: Keys,
}

/// What a host brings along when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Joining {
    /// What is to be said of its SSH keys.
    pub(crate) vouch: Vouch,
    /// The key by which its agent will prove itself, in OpenSSH form.
    pub(crate) agent_key: Option<String>,
}

#[cfg(test)]
impl Joining {
    /// A host with one key.
    pub(super) fn plain() -> Self {
        let lifetime = Duration::from_secs(1000);
        let keys = vec![Fingerprint::of(b"host key")];
        Self { vouch: Vouch { keys, lifetime }, agent_key: None }
    }
}

impl Enrolled {
    /// Its name.
    pub(crate) const fn host(&self) -> &HostName {
        self.vouched.host()
    }

    /// Its SSH keys, under its names.
    pub(crate) const fn vouched(&self) -> &Vouched {
        &self.vouched
    }

    /// Its labels.
    pub(crate) fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The entry by which it joined.
    pub(crate) const fn enrolment(&self) -> u64 {
        self.enrolment
    }

    /// The newest order at that moment.
    pub(crate) const fn orders_from(&self) -> u64 {
        self.orders_from
    }

    /// The keys that it is to believe, as of the newest order at that moment.
    pub(crate) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The locks in force at that moment.
    pub(crate) fn locks(&self) -> &[Lock] {
        &self.locks
    }
}

/// A host as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostRow {
    /// Its name.
    pub(crate) name: HostName,
    /// Where it is reached.
    pub(crate) addresses: Vec<Address>,
    /// Its labels.
    pub(crate) labels: Vec<Label>,
    /// The entry by which it joined last.
    pub(crate) enrolment: u64,
    /// When it was last heard of, as of the end of its last connection.
    pub(crate) seen: Option<Timestamp>,
    /// How much its agent sees.
    pub(crate) tier: Option<Tier>,
    /// The newest order that it has in force.
    pub(crate) last_order: u64,
    /// The newest of its records that is durable.
    pub(crate) last_record: u64,
    /// The newest order when it joined; it gets those after it.
    pub(crate) orders_from: u64,
    /// Its newest SSH certificates.
    pub(crate) certified: Option<Certified>,
    /// The key by which its agent proves itself, in OpenSSH form.
    pub(crate) agent_key: Option<String>,
    /// How far it was with lists of revoked keys when it was last asked; nothing when its agent knows none.
    pub(crate) krl: Option<KrlStanding>,
    /// When the node was last alive that the host is connected to; nothing where there is no such node.
    pub(crate) node_seen: Option<Timestamp>,
    /// The hash of the frame of the newest record, where that came sealed and could be opened.
    pub(crate) spool_head: Option<Hash>,
}

impl HostRow {
    /// Whether it is connected to another node, which is alive.
    pub(crate) fn is_elsewhere(&self, now: Timestamp) -> bool {
        self.node_seen.is_some_and(|seen| now.since(seen) < NODE_SILENCE)
    }
}

impl Ledger {
    /// Records a token, by its hash.
    pub(crate) async fn make_token(
        &self,
        by: Actor,
        (token, hash): (NewToken, [u8; 32]),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            refuse_taken(connection, &token.host, &token.addresses)?;
            connection
                .prepare_cached(
                    "INSERT INTO tokens (hash, host, addresses, labels, until) VALUES (?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    hash,
                    token.host.as_str(),
                    serde_json::to_string(&token.addresses)?,
                    serde_json::to_string(&token.labels)?,
                    token.until.millis()
                ])?;
            let data = entry::Host {
                by: &by,
                host: &token.host,
                addresses: &token.addresses,
                labels: &token.labels,
                until: Some(token.until),
                host_keys: &[],
                agent_key: None,
                token: Some(Hash(hash)),
            };
            entry::append(connection, Kind::HostTokenMade, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Takes the token, once, and records the host, in one transaction. A host that joins again begins anew: its former
    /// certificate opens nothing any more, and its records are numbered from 1.
    pub(crate) async fn enrol(
        &self,
        hash: [u8; 32],
        joining: Joining,
        now: Timestamp,
    ) -> Result<Enrolled, LedgerError> {
        self.write(move |connection| {
            let token = take_token(connection, hash, now)?;
            refuse_taken(connection, &token.host, &token.addresses)?;
            let by = Actor("token".into());
            let data = entry::Host {
                by: &by,
                host: &token.host,
                addresses: &token.addresses,
                labels: &token.labels,
                until: None,
                host_keys: &joining.vouch.keys,
                agent_key: joining.agent_key.as_deref(),
                token: Some(Hash(hash)),
            };
            let entry = entry::append(connection, Kind::HostEnrolled, now, &data)?;
            let enrolment = restore::outside(connection, entry)?;
            let orders_from = order::newest(connection)?;
            insert(connection, (&token, &joining.agent_key), (enrolment, orders_from), now)?;
            let believed = keys::believed(connection)?;
            believes(connection, (&token.host, enrolment), &believed.digest())?;
            grant::bump_epoch(connection)?;
            let whose = (token.host, token.addresses);
            let said = (Kind::HostCertified, now);
            Ok(Enrolled {
                vouched: vouch::vouch_for(connection, whose, joining.vouch, said)?,
                labels: token.labels,
                enrolment,
                orders_from,
                locks: order::locks_in_force(connection, now)?,
                keys: believed,
            })
        })
        .await
    }

    /// Notes which keys a host says that it believes.
    pub(crate) async fn host_believes(
        &self,
        (host, enrolment): (HostName, u64),
        digest: Fingerprint,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| believes(connection, (&host, enrolment), &digest)).await
    }

    /// Notes by which group keys of break-glass a host says that it lets in. What it says, and no decision: no entry.
    pub(crate) async fn host_lets_in(
        &self,
        (host, enrolment): (HostName, u64),
        keys: Vec<Fingerprint>,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE hosts SET group_keys = ? WHERE name = ? AND enrolment = ?")?
                .execute(params![serde_json::to_string(&keys)?, host.as_str(), enrolment])?;
            Ok(())
        })
        .await
    }

    /// Removes a host: nothing is certified for it any more, and its own certificate opens nothing.
    pub(crate) async fn remove_host(
        &self,
        by: Actor,
        host: HostName,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            connection
                .prepare_cached("DELETE FROM addresses WHERE host = ?")?
                .execute([host.as_str()])?;
            let removed = connection
                .prepare_cached("DELETE FROM hosts WHERE name = ?")?
                .execute([host.as_str()])?;
            if removed == 0 {
                return Err(LedgerError::NotFound(format!("there is no host {host}")));
            }
            grant::bump_epoch(connection)?;
            let data = entry::Host {
                by: &by,
                host: &host,
                addresses: &[],
                labels: &[],
                until: None,
                host_keys: &[],
                agent_key: None,
                token: None,
            };
            entry::append(connection, Kind::HostRemoved, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Every host, in order of name.
    pub(crate) async fn hosts(&self) -> Result<Vec<HostRow>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY name"))?;
            let hosts = statement.query_map((), row)?;
            Ok(hosts.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Notes what a host said of itself when it connected.
    pub(crate) async fn greet(
        &self,
        (host, enrolment): (HostName, u64),
        hello: Hello,
        now: Timestamp,
    ) -> Result<HostRow, LedgerError> {
        let node = self.place.node().map(str::to_owned);
        self.write(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE hosts SET seen = ?, tier = ?, agent_version = ?, last_order = ?, krl = ?, keys = ?, node = ? \
                     WHERE name = ? AND enrolment = ?",
                )?
                .execute(params![
                    now.millis(),
                    serde_json::to_string(&hello.tier)?,
                    hello.agent_version,
                    hello.last_order,
                    hello.krl.as_ref().map(serde_json::to_string).transpose()?,
                    hello.keys.as_ref().map(Fingerprint::as_str),
                    node,
                    host.as_str(),
                    enrolment
                ])?;
            if changed == 0 {
                return Err(LedgerError::NotFound(format!(
                    "host {host} is not enrolled under this certificate (enrolment {enrolment}); enrol it again"
                )));
            }
            let row = connection
                .prepare_cached(&format!("{SELECT} WHERE name = ?"))?
                .query_row([host.as_str()], row)?;
            Ok(row)
        })
        .await
    }

    /// Notes that a host was heard of, and what it has in force.
    pub(crate) async fn seen(
        &self,
        host: HostName,
        (last_order, krl): (u64, Option<KrlStanding>),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let node = self.place.node().map(str::to_owned);
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "UPDATE hosts SET node = CASE WHEN node = ?5 THEN NULL ELSE node END, seen = CASE WHEN seen > ?1 THEN seen ELSE ?1 END, \
                     last_order = CASE WHEN last_order > ?2 THEN last_order ELSE ?2 END, \
                     krl = coalesce(?3, krl) WHERE name = ?4",
                )?
                .execute(params![
                    now.millis(),
                    last_order,
                    krl.as_ref().map(serde_json::to_string).transpose()?,
                    host.as_str(),
                    node
                ])?;
            Ok(())
        })
        .await
    }
}

fn believes(
    connection: &Connection,
    (host, enrolment): (&HostName, u64),
    digest: &Fingerprint,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE hosts SET keys = ? WHERE name = ? AND enrolment = ?")?
        .execute(params![digest.as_str(), host.as_str(), enrolment])?;
    Ok(())
}

fn row(row: &Row<'_>) -> Result<HostRow, SqlError> {
    Ok(HostRow {
        name: column::name(row, 0)?,
        addresses: column::json(row, 1)?,
        labels: column::json(row, 2)?,
        enrolment: row.get(3)?,
        seen: column::maybe_moment(row, 4)?,
        tier: column::maybe_json(row, 5)?,
        last_order: row.get(6)?,
        last_record: row.get(7)?,
        orders_from: row.get(8)?,
        certified: column::maybe_json(row, 9)?,
        agent_key: row.get(10)?,
        krl: column::maybe_json(row, 11)?,
        node_seen: column::maybe_moment(row, 12)?,
        spool_head: head(row.get(13)?),
    })
}

/// The hash as it is kept; one that cannot be read is not known.
fn head(text: Option<String>) -> Option<Hash> {
    text?.parse().ok()
}

fn take_token(
    connection: &Connection,
    hash: [u8; 32],
    now: Timestamp,
) -> Result<NewToken, LedgerError> {
    let found = connection
        .prepare_cached("SELECT host, addresses, labels, until, used FROM tokens WHERE hash = ?")?
        .query_row([hash], |row| {
            let token = NewToken {
                host: column::name(row, 0)?,
                addresses: column::json(row, 1)?,
                labels: column::json(row, 2)?,
                until: column::moment(row, 3)?,
            };
            Ok((token, column::maybe_moment(row, 4)?))
        })
        .optional()?;
    let (token, used) = found.ok_or(TokenRefusal::Unknown)?;
    if used.is_some() {
        return Err(TokenRefusal::Used(token.host).into());
    }
    if token.until <= now {
        return Err(TokenRefusal::Expired(token.host).into());
    }
    connection
        .prepare_cached("UPDATE tokens SET used = ? WHERE hash = ?")?
        .execute(params![now.millis(), hash])?;
    Ok(token)
}

/// Refuses a name or an address that another host has, so that each of them means one host.
pub(super) fn refuse_taken(
    connection: &Connection,
    host: &HostName,
    addresses: &[Address],
) -> Result<(), LedgerError> {
    let mut owner = connection.prepare_cached(
        "SELECT host FROM addresses WHERE address = ?1 AND host <> ?2 \
         UNION ALL SELECT name FROM hosts WHERE name = ?1 AND name <> ?2",
    )?;
    for name in std::iter::once(host.as_str()).chain(addresses.iter().map(Address::as_str)) {
        let taken: Option<String> =
            owner.query_row([name, host.as_str()], |row| row.get(0)).optional()?;
        if let Some(taken) = taken {
            return Err(LedgerError::Conflict(format!("{name} belongs to host {taken} already")));
        }
    }
    Ok(())
}

fn insert(
    connection: &Connection,
    (token, agent_key): (&NewToken, &Option<String>),
    (enrolment, orders_from): (u64, u64),
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO hosts (name, labels, addresses, enrolment, enrolled, orders_from, last_order, agent_key) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) \
             ON CONFLICT (name) DO UPDATE SET labels = excluded.labels, addresses = excluded.addresses, \
             enrolment = excluded.enrolment, enrolled = excluded.enrolled, \
             orders_from = excluded.orders_from, last_order = excluded.last_order, \
             last_record = 0, seen = NULL, tier = NULL, certified = NULL, agent_key = excluded.agent_key, \
             krl = NULL, spool_head = NULL",
        )?
        .execute(params![
            token.host.as_str(),
            serde_json::to_string(&token.labels)?,
            serde_json::to_string(&token.addresses)?,
            enrolment,
            now.millis(),
            orders_from,
            agent_key
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO streams (enrolment, host, indexed, closed) VALUES (?, ?, 0, FALSE) ON CONFLICT DO NOTHING",
        )?
        .execute(params![enrolment, token.host.as_str()])?;
    put_addresses(connection, &token.host, &token.addresses)
}

/// Makes these the host's addresses, and no others.
pub(super) fn put_addresses(
    connection: &Connection,
    host: &HostName,
    addresses: &[Address],
) -> Result<(), LedgerError> {
    connection.prepare_cached("DELETE FROM addresses WHERE host = ?")?.execute([host.as_str()])?;
    let mut address = connection.prepare_cached(
        "INSERT INTO addresses (address, host) VALUES (?, ?) ON CONFLICT DO NOTHING",
    )?;
    for name in addresses {
        address.execute([name.as_str(), host.as_str()])?;
    }
    Ok(())
}

const SELECT: &str = "SELECT name, addresses, labels, enrolment, seen, tier, last_order, last_record, orders_from, \
     certified, agent_key, krl, (SELECT nodes.seen FROM nodes WHERE nodes.node = hosts.node), spool_head FROM hosts";
/// A node that was silent for longer is not there; each says every two seconds that it is.
const NODE_SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{NOW, ledger};
    use super::*;

    fn token(host: &str, address: &str) -> NewToken {
        NewToken {
            host: host.parse().unwrap(),
            addresses: vec![address.parse().unwrap()],
            labels: vec!["env=prod".parse().unwrap()],
            until: NOW.after(Duration::from_secs(60)),
        }
    }

    async fn make(ledger: &Ledger, token: NewToken, hash: [u8; 32]) -> Result<(), LedgerError> {
        ledger.make_token(Actor::local(), (token, hash), NOW).await
    }

    #[tokio::test]
    async fn a_token_serves_once_also_when_many_try_at_once() {
        let (_dir, ledger) = ledger();
        let ledger = Arc::new(ledger);
        make(&ledger, token("db1", "10.0.0.1"), [1; 32]).await.unwrap();
        let tries: Vec<_> = (0..20)
            .map(|_| {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move { ledger.enrol([1; 32], Joining::plain(), NOW).await })
            })
            .collect();
        let mut joined = 0;
        for attempt in tries {
            match attempt.await.unwrap() {
                Ok(_) => joined += 1,
                Err(LedgerError::Token(TokenRefusal::Used(host))) => {
                    assert_eq!(host.as_str(), "db1");
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(joined, 1);
    }

    #[tokio::test]
    async fn an_unknown_or_expired_token_says_which() {
        let (_dir, ledger) = ledger();
        make(&ledger, token("db1", "10.0.0.1"), [1; 32]).await.unwrap();
        let unknown = ledger.enrol([2; 32], Joining::plain(), NOW).await;
        assert!(matches!(unknown, Err(LedgerError::Token(TokenRefusal::Unknown))));
        let late = NOW.after(Duration::from_secs(60));
        let expired = ledger.enrol([1; 32], Joining::plain(), late).await;
        assert!(matches!(expired, Err(LedgerError::Token(TokenRefusal::Expired(_)))));
        assert!(ledger.hosts().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_address_means_one_host() {
        let (_dir, ledger) = ledger();
        make(&ledger, token("db1", "10.0.0.1"), [1; 32]).await.unwrap();
        assert!(ledger.enrol([1; 32], Joining::plain(), NOW).await.is_ok());
        let taken = make(&ledger, token("db2", "10.0.0.1"), [2; 32]).await.unwrap_err();
        assert_eq!(taken.to_string(), "10.0.0.1 belongs to host db1 already");
        assert!(make(&ledger, token("db2", "db1"), [3; 32]).await.is_err());
        assert!(make(&ledger, token("db1", "10.0.0.1"), [4; 32]).await.is_ok());
    }
}
