//! The authority's own keys as the ledger has them: which one signs, which are believed, and every step between.
//!
//! A step is one transaction: the entry, the rows, the order that tells hosts. What signs is read on the connection that
//! writes, so that nothing is ever signed with a key whose turn is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use serde::Serialize;
use wire::identifier::{Fingerprint, HostName, OrderNumber};
use wire::lock::{Lock, Target};
use wire::order::Instruction;
use wire::time::Timestamp;
use wire::trust;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, params};
use super::{Actor, Ledger, LedgerError, column, grant, log, order};
use crate::key::{Keyring, Purpose, Sign};
use crate::rotation::{Confirmation, Exceptions, Facts, Fresh, Input, Key, Keys, Refusal, Stage};

/// A step to be taken.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// Of which purpose.
    pub(crate) purpose: Purpose,
    /// What.
    pub(crate) input: Input,
    /// On whose responsibility what is left out.
    pub(crate) exceptions: Exceptions,
    /// Why.
    pub(crate) reason: String,
}

/// All keys, as of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The keys of each purpose.
    pub(crate) keys: BTreeMap<Purpose, Keys>,
    /// What hosts are to believe.
    pub(crate) believed: trust::Keys,
    /// Every enrolled host, and whether it does.
    pub(crate) hosts: Vec<(HostName, Confirmation)>,
    /// For each believed key, the end of the last certificate that it signed.
    pub(crate) ends: Vec<(Fingerprint, Timestamp)>,
}

impl Standing {
    /// The key that signs for this purpose.
    pub(crate) fn signing(&self, purpose: Purpose) -> Option<&Key> {
        self.keys.get(&purpose)?.at(Stage::Signing)
    }
}

impl Ledger {
    /// All keys, and who believes them.
    pub(crate) async fn keys(&self) -> Result<Standing, LedgerError> {
        self.read(standing).await
    }

    /// All keys, as of the last step of a rotation.
    pub(crate) fn keys_now(&self) -> Arc<Standing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keys that are believed and that this node does not have, as another has made them; whether each signs already.
    pub(crate) fn absent(&self, keyring: &Keyring) -> Vec<(Purpose, Fingerprint, bool)> {
        let standing = self.keys_now();
        let believed = standing.keys.iter().flat_map(|(purpose, keys)| {
            keys.believed()
                .map(|key| (*purpose, key.fingerprint.clone(), key.stage == Stage::Signing))
        });
        believed.filter(|(_, fingerprint, _)| keyring.find(fingerprint).is_none()).collect()
    }

    /// How the ledger writes down this key.
    pub(crate) async fn fresh_key(
        &self,
        place: (Purpose, u32),
        public: ssh_key::PublicKey,
    ) -> Result<Fresh, LedgerError> {
        self.read(move |connection| fresh(connection, place, &public)).await
    }

    /// Takes a step: records it, and orders hosts to believe the keys of afterwards. A key that is given up for users is
    /// locked as well, so that the sessions end that it let in. Says the newest order.
    pub(crate) async fn rotate(
        &self,
        by: Actor,
        (step, keyring): (Move, Arc<Keyring>),
        now: Timestamp,
    ) -> Result<OrderNumber, LedgerError> {
        let (log_keys, keys) = (self.log_keys.clone(), Arc::clone(&self.keys));
        self.write(move |connection| {
            let order = take(connection, &by, (&step, &keyring), now)?;
            // The checkpoint of this very transaction carries the signature of a key that it announces.
            log_keys.renew(connection, &keyring)?;
            let standing = standing(connection)?;
            *keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(standing);
            Ok(order)
        })
        .await
    }

    /// Tells hosts the keys of now once more, when no order has yet and every host can be told: the first time after an
    /// authority was taken over from a version whose hosts knew fewer keys.
    pub(crate) async fn tell_keys(
        &self,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<Option<OrderNumber>, LedgerError> {
        self.write(move |connection| {
            let standing = standing(connection)?;
            let digest = standing.believed.digest();
            let is_told = told(connection)? == Some(digest.to_string());
            let has = |wanted| standing.hosts.iter().any(|(_, said)| *said == wanted);
            if is_told || has(Confirmation::TooOld) || !has(Confirmation::Behind) {
                return Ok(None);
            }
            let by = Actor::authority();
            let said = (&by, "hosts do not know these keys yet");
            tell(connection, &*keyring.signing(connection, Purpose::Order)?, said, now).map(Some)
        })
        .await
    }
}

impl Keyring {
    /// The key that signs for this purpose, by what the ledger says on this connection.
    pub(super) fn signing(
        &self,
        connection: &Connection,
        purpose: Purpose,
    ) -> Result<Arc<dyn Sign>, LedgerError> {
        let fingerprint = signing(connection, purpose)?;
        self.find(&fingerprint).ok_or(LedgerError::KeyAbsent { purpose, fingerprint })
    }
}

/// Takes over the first key of each purpose that the ledger knows no key of, and checks that those it knows are there.
pub(super) fn adopt(
    connection: &Connection,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<(), LedgerError> {
    for purpose in Purpose::ALL {
        if let Some(keys) = kept(connection, purpose)? {
            for key in keys.believed() {
                let fingerprint = key.fingerprint.clone();
                let absent = LedgerError::KeyAbsent { purpose, fingerprint };
                keyring.find(&key.fingerprint).ok_or(absent)?;
            }
            continue;
        }
        let Some((slot, public)) = keyring.slots(purpose).next() else { continue };
        let fresh = fresh(connection, (purpose, slot.number), public)?;
        let keys = Keys::begin(fresh, now);
        let data = Changed {
            by: &Actor::local(),
            purpose: purpose.name(),
            keys: &keys,
            reason: "these keys were made when the authority was set up",
            without: &BTreeSet::new(),
            early: false,
        };
        write(connection, &data, (purpose, &keys), now)?;
    }
    Ok(())
}

/// A key of the keyring as the ledger writes it down.
pub(super) fn fresh(
    connection: &Connection,
    (purpose, number): (Purpose, u32),
    public: &ssh_key::PublicKey,
) -> Result<Fresh, LedgerError> {
    let key = trust::AuthorityKey::of(public)?;
    let public_key = match purpose {
        Purpose::Log => log::log_key(&log::name(connection)?, public)?.to_string(),
        _ => key.to_string(),
    };
    Ok(Fresh { number, fingerprint: key.fingerprint(), public_key })
}

/// The fingerprint of the key that signs for this purpose.
pub(super) fn signing(
    connection: &Connection,
    purpose: Purpose,
) -> Result<Fingerprint, LedgerError> {
    let found = connection
        .prepare_cached(
            "SELECT fingerprint FROM authority_keys WHERE purpose = ? AND stage = '\"signing\"'",
        )?
        .query_row([purpose.name()], |row| column::name(row, 0))
        .optional()?;
    found.ok_or_else(|| LedgerError::Torn(format!("no key signs as {}", purpose.name())))
}

/// What hosts are to believe.
pub(super) fn believed(connection: &Connection) -> Result<trust::Keys, LedgerError> {
    let texts = |purpose| -> Result<Vec<String>, LedgerError> {
        let keys = of(connection, purpose)?;
        Ok(keys.believed().map(|key| key.public_key.clone()).collect())
    };
    let ssh = |purpose| -> Result<Vec<trust::AuthorityKey>, LedgerError> {
        Ok(texts(purpose)?.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
    };
    Ok(trust::Keys::try_new(trust::Lists {
        user_authorities: ssh(Purpose::User)?,
        host_authorities: ssh(Purpose::Host)?,
        order_keys: ssh(Purpose::Order)?,
        log_keys: texts(Purpose::Log)?
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, wire::log::FormError>>()?,
    })?)
}

/// All keys, as of now.
pub(super) fn standing(connection: &Connection) -> Result<Standing, LedgerError> {
    let believed = believed(connection)?;
    let mut keys = BTreeMap::new();
    for purpose in Purpose::ALL {
        keys.insert(purpose, of(connection, purpose)?);
    }
    let hosts = hosts(connection, &believed.digest())?;
    let mut ends = Vec::new();
    for (purpose, keys) in &keys {
        for key in keys.believed() {
            let end = end(connection, (*purpose, keys), key)?;
            ends.extend(end.map(|end| (key.fingerprint.clone(), end)));
        }
    }
    Ok(Standing { keys, believed, hosts, ends })
}

/// Whether each enrolled host believes the keys of this digest.
fn hosts(
    connection: &Connection,
    digest: &Fingerprint,
) -> Result<Vec<(HostName, Confirmation)>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT name, keys FROM hosts ORDER BY name")?;
    let hosts = statement.query_map((), |row| {
        let said = match row.get::<Option<String>>(1)? {
            None => Confirmation::TooOld,
            Some(said) if said == digest.as_str() => Confirmation::Confirmed,
            Some(_) => Confirmation::Behind,
        };
        Ok((column::name(row, 0)?, said))
    })?;
    Ok(hosts.collect::<Result<_, _>>()?)
}

/// When the last certificate ends that rests on this key. Those from before it was written down rest on the first.
fn end(
    connection: &Connection,
    (purpose, keys): (Purpose, &Keys),
    key: &Key,
) -> Result<Option<Timestamp>, LedgerError> {
    let is_first = keys.all().first().is_some_and(|first| first.number == key.number);
    let sql = match purpose {
        // Each goes down the index once, however many certificates there are; joined by OR they would all be read.
        Purpose::User => [
            "SELECT max(valid_before) FROM certificates WHERE authority = ?",
            "SELECT max(valid_before) FROM certificates WHERE authority IS NULL",
        ],
        Purpose::Host => [
            "SELECT max(CAST(json_extract(certified, '$.window.until') AS BIGINT)) FROM hosts \
             WHERE json_extract(certified, '$.authority') = ?",
            "SELECT max(CAST(json_extract(certified, '$.window.until') AS BIGINT)) FROM hosts \
             WHERE json_extract(certified, '$.authority') IS NULL",
        ],
        // Every key that is believed signs each checkpoint: what a retired one leaves behind is what came before.
        Purpose::Log => return log_end(connection, keys, key),
        Purpose::Order => return Ok(None),
    };
    let [named, unnamed] = sql;
    let read = |row: &Row<'_>| column::maybe_moment(row, 0);
    let end = connection.prepare_cached(named)?.query_row([key.fingerprint.as_str()], read)?;
    if !is_first {
        return Ok(end);
    }
    Ok(end.max(connection.prepare_cached(unnamed)?.query_row((), read)?))
}

/// The certificates whose proof this key signed and the other that is believed did not: those from before that was made.
fn log_end(
    connection: &Connection,
    keys: &Keys,
    key: &Key,
) -> Result<Option<Timestamp>, LedgerError> {
    let Some(other) = keys.believed().find(|other| other.number != key.number) else {
        return Ok(None);
    };
    let made: u64 = connection
        .prepare_cached("SELECT made FROM authority_keys WHERE purpose = 'log' AND number = ?")?
        .query_row([other.number], |row| row.get(0))?;
    let end = connection
        // From the last end down: what was issued since is passed over, and what is older never read.
        .prepare_cached(
            "SELECT valid_before FROM certificates WHERE issued <= ? ORDER BY valid_before DESC LIMIT 1",
        )?
        .query_row([made], |row| column::moment(row, 0))
        .optional()?;
    Ok(end)
}

/// The keys of the purpose.
pub(super) fn of(connection: &Connection, purpose: Purpose) -> Result<Keys, LedgerError> {
    let name = purpose.name();
    let keys = kept(connection, purpose)?;
    keys.ok_or_else(|| LedgerError::Torn(format!("there is no key as {name}, or several sign")))
}

/// The keys of the purpose; nothing when there are none yet.
fn kept(connection: &Connection, purpose: Purpose) -> Result<Option<Keys>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, fingerprint, public_key, stage, since FROM authority_keys WHERE purpose = ?",
    )?;
    let rows = statement.query_map([purpose.name()], |row| {
        Ok(Key {
            number: row.get(0)?,
            fingerprint: column::name(row, 1)?,
            public_key: row.get(2)?,
            stage: column::json(row, 3)?,
            since: column::moment(row, 4)?,
        })
    })?;
    let rows: Vec<Key> = rows.collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Ok(None);
    }
    let torn = || LedgerError::Torn(format!("not exactly one key signs as {}", purpose.name()));
    Keys::kept(rows).map(Some).ok_or_else(torn)
}

fn take(
    connection: &Connection,
    by: &Actor,
    (step, keyring): (&Move, &Keyring),
    now: Timestamp,
) -> Result<OrderNumber, LedgerError> {
    let Move { purpose, input, exceptions, reason } = step;
    // Before the step: what orders are signed with now is believed by every host, whatever the step does to it.
    let order_key = keyring.signing(connection, Purpose::Order)?;
    let standing = standing(connection)?;
    let facts = Facts { hosts: standing.hosts, ends: standing.ends };
    let keys = of(connection, *purpose)?.step(input.clone(), (&facts, exceptions), now)?;
    for key in keys.believed() {
        let fingerprint = key.fingerprint.clone();
        let absent = LedgerError::KeyAbsent { purpose: *purpose, fingerprint };
        keyring.find(&key.fingerprint).ok_or(absent)?;
    }
    let data = Changed {
        by,
        purpose: purpose.name(),
        keys: &keys,
        reason,
        without: &exceptions.without,
        early: exceptions.early,
    };
    write(connection, &data, (*purpose, &keys), now)?;
    let told = tell(connection, &*order_key, (by, reason), now)?;
    let Input::Compromise(key, _) = input else { return Ok(told) };
    if *purpose != Purpose::User {
        return Ok(told);
    }
    let lock = Lock { target: Target::Authority(key.clone()), reason: reason.clone(), until: None };
    order::issue(connection, keyring, (by, reason), (Instruction::Lock(lock), now))
}

/// Orders hosts to believe the keys of now.
fn tell(
    connection: &Connection,
    key: &dyn Sign,
    (by, reason): (&Actor, &str),
    now: Timestamp,
) -> Result<OrderNumber, LedgerError> {
    let believed = believed(connection)?;
    connection
        .prepare_cached(
            "INSERT INTO authority_told (one, digest) VALUES (1, ?) \
             ON CONFLICT (one) DO UPDATE SET digest = excluded.digest",
        )?
        .execute([believed.digest().as_str()])?;
    order::issue_with(connection, key, (by, reason), (Instruction::Trust(believed), now))
}

/// What the newest order about keys said.
fn told(connection: &Connection) -> Result<Option<String>, LedgerError> {
    let digest = connection
        .prepare_cached("SELECT digest FROM authority_told")?
        .query_row((), |row| row.get(0))
        .optional()?;
    Ok(digest)
}

/// Writes the entry, and the rows that follow from it.
fn write(
    connection: &Connection,
    data: &Changed<'_>,
    (purpose, keys): (Purpose, &Keys),
    now: Timestamp,
) -> Result<(), LedgerError> {
    entry::append(connection, Kind::KeysChanged, now, data)?;
    let mut row = connection.prepare_cached(
        "INSERT INTO authority_keys (purpose, number, fingerprint, public_key, stage, since, made) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (purpose, number) DO UPDATE SET \
         stage = excluded.stage, since = excluded.since",
    )?;
    for key in keys.all() {
        row.execute(params![
            purpose.name(),
            key.number,
            key.fingerprint.as_str(),
            key.public_key,
            serde_json::to_string(&key.stage)?,
            key.since.millis(),
            now.millis()
        ])?;
    }
    grant::bump_epoch(connection)
}

/// [`Kind::KeysChanged`]: the keys of one purpose after a step.
#[derive(Serialize)]
struct Changed<'a> {
    by: &'a Actor,
    purpose: &'static str,
    keys: &'a Keys,
    reason: &'a str,
    without: &'a BTreeSet<HostName>,
    early: bool,
}

impl From<Refusal> for LedgerError {
    fn from(refusal: Refusal) -> Self {
        Self::Conflict(refusal.to_string())
    }
}
