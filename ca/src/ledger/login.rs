//! Logins: who holds which token. Tokens are stored as hashes only.

use wire::identifier::{Fingerprint, Identity};
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
    /// When it ends.
    pub(crate) until: Timestamp,
    /// As of which change this was read; what ends a login before its end is a change.
    pub(crate) epoch: u64,
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
        (hash, answered): ([u8; 32], Answered),
        (identity, key): (Identity, Fingerprint),
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            spend(connection, answered, now)?;
            let active: Option<bool> = connection
                .prepare_cached("SELECT NOT disabled FROM identities WHERE name = ?")?
                .query_row([identity.as_str()], |row| row.get(0))
                .optional()?;
            if active != Some(true) {
                return Err(LedgerError::NotFound(format!("{identity} is not active")));
            }
            let barred = order::locks_in_force(connection, now)?.into_iter().find(|lock| {
                lock.target == Target::Identity(identity.clone())
                    || lock.target == Target::Key(key.clone())
            });
            if let Some(lock) = barred {
                return Err(LedgerError::NotFound(format!("{} is locked", lock.target)));
            }
            connection
                .prepare_cached("DELETE FROM logins WHERE until <= ?")?
                .execute([now.millis()])?;
            connection
                .prepare_cached(
                    "INSERT INTO logins (hash, identity, key, until) VALUES (?, ?, ?, ?)",
                )?
                .execute(params![hash, identity.as_str(), key.as_str(), until.millis()])?;
            let data = entry::LoggedIn { identity: &identity, key: &key, until };
            entry::append(connection, Kind::Login, now, &data)?;
            Ok(())
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
                    "SELECT identity, operator, until FROM logins JOIN identities ON name = identity \
                     WHERE hash = ? AND until > ? AND NOT disabled",
                )?
                .query_row(params![hash, now.millis()], |row| {
                    Ok(Login {
                        identity: column::name(row, 0)?,
                        operator: row.get(1)?,
                        locked: false,
                        until: column::moment(row, 2)?,
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

/// Takes a challenge, once among all nodes.
fn spend(connection: &Connection, answered: Answered, now: Timestamp) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM answered WHERE until <= ?", [now.millis()])?;
    let is_new = connection.execute(
        "INSERT INTO answered (challenge, until) VALUES (?, ?) ON CONFLICT DO NOTHING",
        params![answered.hash, answered.until.millis()],
    )?;
    if is_new == 0 { Err(LedgerError::Answered) } else { Ok(()) }
}
