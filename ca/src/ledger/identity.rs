//! Identities and the keys they log in with.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::api::KeyRow;
use wire::identifier::{Fingerprint, Identity, OrderNumber, Serial, TeamName};
use wire::identity;
use wire::lock::{Lock, Target};
use wire::order::Instruction;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column, grant, order, team};
use crate::key::Keyring;

/// An identity as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRow {
    /// Its name.
    pub(crate) identity: Identity,
    /// Whether it may lock, unlock and see everybody's sessions.
    pub(crate) operator: bool,
    /// Whether it is a person or a workload.
    pub(crate) kind: identity::Kind,
    /// Whether it is disabled.
    pub(crate) disabled: bool,
    /// When it was added.
    pub(crate) added: Timestamp,
    /// Fingerprints of its keys.
    pub(crate) keys: Vec<Fingerprint>,
    /// The teams it is in.
    pub(crate) teams: BTreeSet<TeamName>,
}

/// What an identity is when it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Nature {
    /// A person or a workload.
    pub(crate) kind: identity::Kind,
    /// Whether it may lock, unlock and see everybody's sessions.
    pub(crate) operator: bool,
}

/// A key to log in with.
#[derive(Debug, Clone)]
pub(crate) struct NewKey {
    /// Its fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// Itself, in OpenSSH form.
    pub(crate) public_key: String,
}

impl Ledger {
    /// Adds an identity with a key; or a key to an identity that is there, whose standing stays.
    pub(crate) async fn add_identity(
        &self,
        by: Actor,
        identity: Identity,
        (key, nature): (NewKey, Nature),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let known = find(connection, &identity)?;
            if let Some(known) = &known {
                if nature.operator && !known.operator {
                    return Err(LedgerError::Conflict(format!(
                        "{identity} exists and is no operator; add an operator under a name of its own"
                    )));
                }
                if nature.kind == identity::Kind::Workload && known.kind != nature.kind {
                    return Err(LedgerError::Conflict(format!(
                        "{identity} exists and is a person; add a workload under a name of its own"
                    )));
                }
            } else {
                insert(connection, &by, &identity, (nature, now))?;
            }
            insert_key(connection, &by, &identity, ((&key, None), now))
        })
        .await
    }

    /// Disables an identity and locks it everywhere, in one transaction; the lock is an order to every host.
    pub(crate) async fn disable_identity(
        &self,
        by: Actor,
        identity: Identity,
        (reason, keyring): (String, Arc<Keyring>),
        now: Timestamp,
    ) -> Result<OrderNumber, LedgerError> {
        self.write(move |connection| {
            disable(connection, &by, &identity, (&reason, now))?;
            let lock = Lock {
                target: Target::Identity(identity.clone()),
                reason: reason.clone(),
                until: None,
            };
            order::issue(connection, &keyring, (&by, &reason), (Instruction::Lock(lock), now))
        })
        .await
    }

    /// Enables an identity again and lifts the lock on it, if there is one.
    pub(crate) async fn enable_identity(
        &self,
        by: Actor,
        identity: Identity,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<Option<OrderNumber>, LedgerError> {
        self.write(move |connection| {
            enable(connection, &by, &identity, now)?;
            let target = Target::Identity(identity.clone());
            if !order::is_locked(connection, &target)? {
                return Ok(None);
            }
            let instruction = Instruction::Unlock(target);
            order::issue(connection, &keyring, (&by, "enabled"), (instruction, now)).map(Some)
        })
        .await
    }

    /// Takes a key from an identity for good: it logs in nowhere, a lock is on it, and so is one on every certificate that
    /// was obtained by a login with it and is still of use, or in use. Says the newest order.
    pub(crate) async fn revoke_key(
        &self,
        by: Actor,
        (identity, key): (Identity, Fingerprint),
        (reason, keyring): (String, Arc<Keyring>),
        now: Timestamp,
    ) -> Result<OrderNumber, LedgerError> {
        self.write(move |connection| {
            revoke(connection, &by, (&identity, &key), (&reason, &keyring, now))
        })
        .await
    }

    /// Every identity, in order of name.
    pub(crate) async fn identities(&self) -> Result<Vec<IdentityRow>, LedgerError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT name FROM identities ORDER BY name")?;
            let names: Vec<Identity> =
                statement.query_map((), |row| column::name(row, 0))?.collect::<Result<_, _>>()?;
            names.iter().filter_map(|name| find(connection, name).transpose()).collect()
        })
        .await
    }

    /// One identity.
    pub(crate) async fn identity(
        &self,
        identity: Identity,
    ) -> Result<Option<IdentityRow>, LedgerError> {
        self.read(move |connection| find(connection, &identity)).await
    }

    /// Whose key it is, unless it or they are locked.
    pub(crate) async fn holder_of(
        &self,
        key: Fingerprint,
        now: Timestamp,
    ) -> Result<Option<IdentityRow>, LedgerError> {
        self.read(move |connection| {
            let Some(name) = owner(connection, &key)? else { return Ok(None) };
            let targets = [Target::Key(key.clone()), Target::Identity(name.clone())];
            let locks = order::locks_in_force(connection, now)?;
            if locks.iter().any(|lock| lock.holds_at(now) && targets.contains(&lock.target)) {
                return Ok(None);
            }
            find(connection, &name)
        })
        .await
    }

    /// The keys that an identity logs in with, as they are listed.
    pub(crate) async fn keys_of(&self, identity: Identity) -> Result<Vec<KeyRow>, LedgerError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT fingerprint, public_key, added FROM keys WHERE identity = ? ORDER BY added, fingerprint",
            )?;
            let keys = statement.query_map([identity.as_str()], |row| {
                let (public_key, added) = (row.get(1)?, column::moment(row, 2)?);
                Ok(KeyRow { key: column::name(row, 0)?, public_key, added })
            })?;
            Ok(keys.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The keys that an identity logs in with, in OpenSSH form.
    pub(crate) async fn login_keys(&self, identity: Identity) -> Result<Vec<String>, LedgerError> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT public_key FROM keys WHERE identity = ?")?;
            let keys = statement.query_map([identity.as_str()], |row| row.get(0))?;
            Ok(keys.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// An identity, when there is one of that name.
pub(super) fn find(
    connection: &Connection,
    name: &Identity,
) -> Result<Option<IdentityRow>, LedgerError> {
    let row = connection
        .prepare_cached("SELECT operator, disabled, added, kind FROM identities WHERE name = ?")?
        .query_row([name.as_str()], |row| {
            Ok(IdentityRow {
                identity: name.clone(),
                operator: row.get(0)?,
                disabled: row.get(1)?,
                added: column::moment(row, 2)?,
                kind: column::word(row, 3)?,
                keys: Vec::new(),
                teams: BTreeSet::new(),
            })
        })
        .optional()?;
    let Some(mut row) = row else {
        return Ok(None);
    };
    let mut statement = connection
        .prepare_cached("SELECT fingerprint FROM keys WHERE identity = ? ORDER BY fingerprint")?;
    row.keys = statement
        .query_map([name.as_str()], |row| column::name(row, 0))?
        .collect::<Result<_, _>>()?;
    row.teams = team::of(connection, name)?;
    Ok(Some(row))
}

/// Writes a new identity with its entry.
pub(super) fn insert(
    connection: &Connection,
    by: &Actor,
    identity: &Identity,
    (Nature { kind, operator }, now): (Nature, Timestamp),
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO identities (name, operator, disabled, added, kind) VALUES (?, ?, FALSE, ?, ?)",
        )?
        .execute(params![identity.as_str(), operator, now.millis(), kind.name()])?;
    let person = entry::Person { by, identity, operator, reason: None, kind: Some(kind) };
    entry::append(connection, Kind::IdentityAdded, now, &person)?;
    Ok(())
}

/// Whose key it is, if it is anybody's.
pub(super) fn owner(
    connection: &Connection,
    key: &Fingerprint,
) -> Result<Option<Identity>, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT identity FROM keys WHERE fingerprint = ?")?
        .query_row([key.as_str()], |row| column::name(row, 0))
        .optional()?)
}

/// The keys that an identity logs in with.
pub(super) fn keys_of(
    connection: &Connection,
    identity: &Identity,
) -> Result<BTreeSet<Fingerprint>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT fingerprint FROM keys WHERE identity = ?")?;
    let keys = statement.query_map([identity.as_str()], |row| column::name(row, 0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Enrols a key, under the request that asked for it, where one did.
pub(super) fn insert_key(
    connection: &Connection,
    by: &Actor,
    identity: &Identity,
    ((key, request), now): ((&NewKey, Option<u64>), Timestamp),
) -> Result<(), LedgerError> {
    if let Some(owner) = owner(connection, &key.fingerprint)? {
        return Err(LedgerError::Conflict(format!(
            "the key {} belongs to {owner} already",
            key.fingerprint
        )));
    }
    connection
        .prepare_cached(
            "INSERT INTO keys (fingerprint, identity, public_key, added) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![
            key.fingerprint.as_str(),
            identity.as_str(),
            key.public_key,
            now.millis()
        ])?;
    let (print, public_key) = (&key.fingerprint, key.public_key.as_str());
    let added = entry::Key { by, identity, key: print, public_key, request };
    entry::append(connection, Kind::KeyAdded, now, &added)?;
    Ok(())
}

/// Takes a key away, with all that was obtained with it; says the newest order.
pub(super) fn revoke(
    connection: &Connection,
    by: &Actor,
    (identity, key): (&Identity, &Fingerprint),
    (reason, keyring, now): (&str, &Keyring, Timestamp),
) -> Result<OrderNumber, LedgerError> {
    let gone = connection
        .prepare_cached("DELETE FROM keys WHERE fingerprint = ? AND identity = ?")?
        .execute([key.as_str(), identity.as_str()])?;
    if gone == 0 {
        return Err(LedgerError::NotFound(format!("{identity} has no key {key}")));
    }
    let data = entry::KeyRevoked { by, identity, key, reason };
    entry::append(connection, Kind::KeyRevoked, now, &data)?;
    let lock = |target| Lock { target, reason: reason.to_owned(), until: None };
    for serial in obtained_with(connection, key, now)? {
        let instruction = Instruction::Lock(lock(Target::Serial(serial)));
        order::issue(connection, keyring, (by, reason), (instruction, now))?;
    }
    let instruction = Instruction::Lock(lock(Target::Key(key.clone())));
    order::issue(connection, keyring, (by, reason), (instruction, now))
}

/// The certificates that logins with this key obtained, and that still open something or hold a session.
fn obtained_with(
    connection: &Connection,
    key: &Fingerprint,
    now: Timestamp,
) -> Result<Vec<Serial>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT serial FROM certificates WHERE login_key = ?1 AND (valid_before > ?2 OR EXISTS \
         (SELECT 1 FROM sessions WHERE sessions.serial = certificates.serial AND ended IS NULL)) ORDER BY serial",
    )?;
    let serials = statement.query_map(params![key.as_str(), now.millis()], |row| {
        column::number(row, 0, Serial::try_new)
    })?;
    Ok(serials.collect::<Result<_, _>>()?)
}

/// Disables an identity and ends its logins, with the entry that says it; the lock is another.
pub(super) fn disable(
    connection: &Connection,
    by: &Actor,
    identity: &Identity,
    (reason, now): (&str, Timestamp),
) -> Result<(), LedgerError> {
    let operator = set_disabled(connection, identity, true)?;
    let person = entry::Person { by, identity, operator, reason: Some(reason), kind: None };
    entry::append(connection, Kind::IdentityDisabled, now, &person)?;
    connection
        .prepare_cached("DELETE FROM logins WHERE identity = ?")?
        .execute([identity.as_str()])?;
    Ok(())
}

/// Enables an identity, with the entry that says it.
pub(super) fn enable(
    connection: &Connection,
    by: &Actor,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let operator = set_disabled(connection, identity, false)?;
    let person = entry::Person { by, identity, operator, reason: None, kind: None };
    entry::append(connection, Kind::IdentityEnabled, now, &person)?;
    grant::bump_epoch(connection)
}

/// Disables or enables, and says whether the identity is an operator.
fn set_disabled(
    connection: &Connection,
    identity: &Identity,
    disabled: bool,
) -> Result<bool, LedgerError> {
    let known = find(connection, identity)?
        .ok_or_else(|| LedgerError::NotFound(format!("there is no identity {identity}")))?;
    if known.disabled == disabled {
        let standing = if disabled { "disabled" } else { "active" };
        return Err(LedgerError::Conflict(format!("{identity} is {standing} already")));
    }
    connection
        .prepare_cached("UPDATE identities SET disabled = ? WHERE name = ?")?
        .execute(params![disabled, identity.as_str()])?;
    Ok(known.operator)
}
