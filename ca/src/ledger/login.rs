//! Logins: who holds which token. Tokens are stored as hashes only.

use wire::identifier::{Fingerprint, Identity};
use wire::identity::{self, Method};
use wire::lock::Target;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Ledger, LedgerError, column, grant, order};

/// A login that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// Who.
    pub(crate) identity: Identity,
    /// Whether they are an operator.
    pub(crate) operator: bool,
    /// Whether a lock on them is in force: they may look on, and operate nothing.
    pub(crate) locked: bool,
    /// Whether they are a person or a workload.
    pub(crate) kind: identity::Kind,
    /// The number of the login's entry; 0 where it is from before logins were numbered.
    pub(crate) number: u64,
    /// With what it was made.
    pub(crate) method: Method,
    /// When a second factor was last shown in it; never, when absent.
    pub(crate) mfa_at: Option<Timestamp>,
    /// When it ends.
    pub(crate) until: Timestamp,
    /// As of which change this was read; what ends a login before its end is a change.
    pub(crate) epoch: u64,
}

/// A login that is to begin.
#[derive(Debug, Clone)]
pub(crate) struct NewLogin {
    /// The hash of its token.
    pub(crate) hash: [u8; 32],
    /// Who.
    pub(crate) identity: Identity,
    /// What proved it.
    pub(crate) proof: Proof,
    /// When a second factor was shown.
    pub(crate) mfa_at: Option<Timestamp>,
    /// When it ends.
    pub(crate) until: Timestamp,
}

/// What proves a login.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// A signature by this enrolled key.
    Key(Fingerprint),
}

impl Proof {
    const fn method(&self) -> Method {
        match self {
            Self::Key(_) => Method::Key,
        }
    }

    const fn key(&self) -> Option<&Fingerprint> {
        match self {
            Self::Key(key) => Some(key),
        }
    }
}

/// A challenge that was answered: its hash, and when it would have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// Its hash.
    pub(crate) hash: [u8; 32],
    /// When it is of no use to anybody.
    pub(crate) until: Timestamp,
}

impl Ledger {
    /// Records a login of an active identity, and forgets those that are over.
    pub(crate) async fn begin_login(
        &self,
        (new, answered): (NewLogin, Answered),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            spend(connection, answered, now)?;
            begin(connection, &new, now)
        })
        .await
    }

    /// The same as [`Self::login`], or as it was at an epoch that may be over: good for a permit alone, which is refused
    /// then, and for nothing else.
    pub(crate) async fn login_lately(
        &self,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Login>, LedgerError> {
        match self.lately.login(&hash, now) {
            Some(login) => Ok(Some(login)),
            None => self.login(hash, now).await,
        }
    }

    /// Whose token it is, when it holds at `now` and its owner is active.
    pub(crate) async fn login(
        &self,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Login>, LedgerError> {
        let login = self.read(move |connection| {
            let epoch = grant::epoch(connection)?;
            let mut login = connection
                .prepare_cached(
                    "SELECT identity, operator, until, kind, number, method, mfa \
                     FROM logins JOIN identities ON name = identity \
                     WHERE hash = ? AND until > ? AND NOT disabled",
                )?
                .query_row(params![hash, now.millis()], |row| {
                    Ok(Login {
                        identity: column::name(row, 0)?,
                        operator: row.get(1)?,
                        locked: false,
                        until: column::moment(row, 2)?,
                        kind: column::word(row, 3)?,
                        number: row.get(4)?,
                        method: column::word(row, 5)?,
                        mfa_at: column::maybe_moment(row, 6)?,
                        epoch,
                    })
                })
                .optional()?;
            if let Some(login) = &mut login {
                let target = Target::Identity(login.identity.clone());
                login.locked = connection
                    .prepare_cached(
                        "SELECT 1 FROM locks WHERE target = ? AND (until IS NULL OR until > ?)",
                    )?
                    .exists(params![serde_json::to_string(&target)?, now.millis()])?;
            }
            Ok(login)
        });
        let login = login.await?;
        if let Some(login) = &login {
            self.lately.keep_login(hash, login);
        }
        Ok(login)
    }
}

/// Writes a login of an identity that is active, by a proof that is not locked.
fn begin(connection: &Connection, new: &NewLogin, now: Timestamp) -> Result<(), LedgerError> {
    let NewLogin { hash, identity, proof, mfa_at, until } = new;
    let active: Option<bool> = connection
        .prepare_cached("SELECT NOT disabled FROM identities WHERE name = ?")?
        .query_row([identity.as_str()], |row| row.get(0))
        .optional()?;
    if active != Some(true) {
        return Err(LedgerError::NotFound(format!("{identity} is not active")));
    }
    let barred = order::locks_in_force(connection, now)?.into_iter().find(|lock| {
        let of_key = |key: &Fingerprint| lock.target == Target::Key(key.clone());
        lock.target == Target::Identity(identity.clone()) || proof.key().is_some_and(of_key)
    });
    if let Some(lock) = barred {
        return Err(LedgerError::NotFound(format!("{} is locked", lock.target)));
    }
    connection.prepare_cached("DELETE FROM logins WHERE until <= ?")?.execute([now.millis()])?;
    let (method, key) = (proof.method(), proof.key());
    let data = entry::LoggedIn { identity, method, key, mfa_at: *mfa_at, until: *until };
    let number = entry::append(connection, Kind::Login, now, &data)?;
    connection
        .prepare_cached(
            "INSERT INTO logins (hash, number, identity, begun, until, method, key, mfa) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            *hash,
            number,
            identity.as_str(),
            now.millis(),
            until.millis(),
            method.name(),
            key.map(Fingerprint::as_str),
            mfa_at.map(Timestamp::millis)
        ])?;
    Ok(())
}

/// Takes a challenge, once among all nodes.
fn spend(connection: &Connection, answered: Answered, now: Timestamp) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM answered WHERE until <= ?", [now.millis()])?;
    let is_new = connection.execute(
        "INSERT INTO answered (challenge, until) VALUES (?, ?) ON CONFLICT DO NOTHING",
        params![answered.hash, answered.until.millis()],
    )?;
    if is_new == 0 { Err(LedgerError::Answered) } else { Ok(()) }
}
