//! Logins: who holds which token. Tokens are stored as hashes only.

use wire::identifier::{Fingerprint, Identity};
use wire::identity::{self, Method};
use wire::lock::Target;
use wire::login::LoginRow;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column, grant, order};

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
    /// The enrolled key that made it, if one did.
    pub(crate) key: Option<Fingerprint>,
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
    /// A token of the identity provider.
    Oidc,
    /// A token of an issuer of workloads.
    Workload,
}

impl Proof {
    const fn method(&self) -> Method {
        match self {
            Self::Key(_) => Method::Key,
            Self::Oidc => Method::Oidc,
            Self::Workload => Method::Workload,
        }
    }

    const fn key(&self) -> Option<&Fingerprint> {
        match self {
            Self::Key(key) => Some(key),
            Self::Oidc | Self::Workload => None,
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

/// Which logins are to end.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    /// The one of this number.
    One(u64),
    /// All of an identity.
    All(Identity),
}

impl Ledger {
    /// The logins that have not ended, the newest first: an identity's, or all.
    pub(crate) async fn logins(
        &self,
        whose: Option<Identity>,
        now: Timestamp,
    ) -> Result<Vec<LoginRow>, LedgerError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, identity, method, key, begun, until, mfa FROM logins \
                 WHERE until > ?1 AND (?2 IS NULL OR identity = ?2) ORDER BY begun DESC, number DESC",
            )?;
            let whose = whose.as_ref().map(Identity::as_str);
            let rows = statement.query_map(params![now.millis(), whose], |row| {
                Ok(LoginRow {
                    login: row.get(0)?,
                    identity: column::name(row, 1)?,
                    method: column::word(row, 2)?,
                    key: column::maybe_name(row, 3)?,
                    begun: column::moment(row, 4)?,
                    expires: column::moment(row, 5)?,
                    mfa_at: column::maybe_moment(row, 6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Ends logins before their time, of this identity alone where one is named, and says how many.
    pub(crate) async fn end_logins(
        &self,
        by: Actor,
        (ending, only): (Ending, Option<Identity>),
        now: Timestamp,
    ) -> Result<usize, LedgerError> {
        self.write(move |connection| {
            let (number, whose) = match &ending {
                Ending::One(number) => (Some(*number), only),
                Ending::All(identity) => (None, Some(identity.clone())),
            };
            let mut statement = connection.prepare_cached(
                "SELECT number, identity FROM logins \
                 WHERE until > ?1 AND (?2 IS NULL OR number = ?2) AND (?3 IS NULL OR identity = ?3) ORDER BY number",
            )?;
            let whose = whose.as_ref().map(Identity::as_str);
            let found: Vec<(u64, Identity)> = statement
                .query_map(params![now.millis(), number, whose], |row| {
                    Ok((row.get(0)?, column::name(row, 1)?))
                })?
                .collect::<Result<_, _>>()?;
            let Some((_, identity)) = found.first() else {
                return match number {
                    Some(_) => Err(LedgerError::NotFound("there is no such login".into())),
                    None => Ok(0),
                };
            };
            let logins: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
            connection
                .prepare_cached(
                    "DELETE FROM logins WHERE identity = ?1 AND (?2 IS NULL OR number = ?2)",
                )?
                .execute(params![identity.as_str(), number])?;
            grant::bump_epoch(connection)?;
            let data = entry::LoginEnded { by: &by, identity, logins: &logins };
            entry::append(connection, Kind::LoginEnded, now, &data)?;
            Ok(logins.len())
        })
        .await
    }

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
                    "SELECT identity, operator, until, kind, number, method, mfa, key \
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
                        key: column::maybe_name(row, 7)?,
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
pub(super) fn begin(
    connection: &Connection,
    new: &NewLogin,
    now: Timestamp,
) -> Result<(), LedgerError> {
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
pub(super) fn spend(
    connection: &Connection,
    answered: Answered,
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM answered WHERE until <= ?", [now.millis()])?;
    let is_new = connection.execute(
        "INSERT INTO answered (challenge, until) VALUES (?, ?) ON CONFLICT DO NOTHING",
        params![answered.hash, answered.until.millis()],
    )?;
    if is_new == 0 { Err(LedgerError::Answered) } else { Ok(()) }
}
