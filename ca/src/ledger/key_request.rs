//! Requests for keys: what somebody wants to log in with besides, or instead, and the approval of somebody else.
//!
//! Shape: a request has the number of the entry that brings it. Its rows are verified again when it is approved: the wished key's
//! signature, that of whoever brought it, by a key that is still theirs, and the approver's.
//! Who can change this: as the ledger. Gains: nothing without a key of an approver; root at the authority's machine adds keys without
//! any of this (`curfew-ca identity key add`), and the entry says so.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::certificate::fingerprint;
use wire::identifier::{Fingerprint, Identity, OrderNumber};
use wire::identity::Method;
use wire::key_request::{
    KeyRequestAsk, KeyRequestState, KeyRequestView, SignedKeyApproval, SignedWish,
};
use wire::time::Timestamp;

use super::approval::unwritable;
use super::entry::{self, Kind};
use super::identity::{self, NewKey};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, order, request};
use crate::key::Keyring;
use crate::ledger::RequestRefusal;

mod check;

use check::{approvable, brought, consent, free};

/// Who brings a wish, asks or decides.
#[derive(Debug, Clone)]
pub(crate) struct Bringer {
    /// Who.
    pub(crate) identity: Identity,
    /// With what they logged in.
    pub(crate) method: Method,
    /// When they last showed a second factor in this login.
    pub(crate) mfa_at: Option<Timestamp>,
    /// Whether the policy lets them administer.
    pub(crate) administers: bool,
}

/// What an approval comes to.
#[derive(Debug)]
pub(crate) struct KeyTaken {
    /// Whose key it is now.
    pub(crate) identity: Identity,
    /// Which.
    pub(crate) key: Fingerprint,
    /// The newest order, where another key was given up for it.
    pub(crate) order: Option<OrderNumber>,
}

/// [`Kind::KeyRequested`]: with the keys, so that it can be verified from the entry alone.
#[derive(Serialize, Deserialize)]
struct Requested {
    by: Identity,
    identity: Identity,
    key: Fingerprint,
    signed: SignedWish,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consent: Option<Consent>,
    /// With what whoever brought it was logged in.
    method: Method,
}

/// What whoever brought a wish signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Consent {
    key: Fingerprint,
    public_key: String,
    signature: String,
}

/// [`Kind::KeyApproved`].
#[derive(Serialize, Deserialize)]
struct Approved {
    by: Identity,
    request: u64,
    key: Fingerprint,
    public_key: String,
    signed: SignedKeyApproval,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mfa_at: Option<Timestamp>,
}

/// [`Kind::KeyRequestEnded`].
#[derive(Serialize, Deserialize)]
struct Ended {
    by: String,
    request: u64,
    how: KeyRequestState,
    reason: String,
}

/// A request as its row has it.
struct Kept {
    number: u64,
    identity: Identity,
    by: Identity,
    signed: SignedWish,
    consent: Option<Consent>,
    at: Timestamp,
    state: KeyRequestState,
    decided: Option<(String, Timestamp)>,
}

type Refusable<T> = Result<Result<T, RequestRefusal>, LedgerError>;

impl Ledger {
    /// Takes a request for a key.
    pub(crate) async fn request_key(
        &self,
        by: Bringer,
        (ask, authority): (KeyRequestAsk, Fingerprint),
        now: Timestamp,
    ) -> Refusable<u64> {
        self.write(move |connection| {
            let (wish, key) = match ask.signed.verify() {
                Ok(read) => read,
                Err(flaw) => return Ok(Err(RequestRefusal::Malformed(flaw.to_string()))),
            };
            let locks = order::locks_in_force(connection, now)?;
            let refusal = match brought(connection, (&by, &wish, &key), (&authority, &locks), now)?
            {
                Err(refusal) => Some(refusal),
                Ok(()) => free(connection, (&wish, &key), &locks)?,
            };
            let consent = match refusal {
                None => consent(connection, (&by, &wish), &ask, &locks)?,
                Some(refusal) => Err(refusal),
            };
            let consent = match consent {
                Ok(consent) => consent,
                Err(refusal) => {
                    request::refused(connection, (&by.identity, None), &refusal, now)?;
                    return Ok(Err(refusal));
                }
            };
            let data = Requested {
                by: by.identity,
                identity: wish.identity,
                key: fingerprint(key.key_data()),
                signed: ask.signed,
                consent,
                method: by.method,
            };
            let number = entry::append(connection, Kind::KeyRequested, now, &data)?;
            write_request(connection, &data, (number, now))?;
            Ok(Ok(number))
        })
        .await
    }

    /// Takes an approval: the key is enrolled, and the one that it replaces is given up, in one transaction.
    pub(crate) async fn approve_key(
        &self,
        by: Bringer,
        (number, signed): (u64, SignedKeyApproval),
        (authority, keyring): (Fingerprint, Arc<Keyring>),
        now: Timestamp,
    ) -> Refusable<KeyTaken> {
        self.write(move |connection| {
            let kept = find(connection, number)?;
            let (approver, wish, key) =
                match approvable(connection, (&kept, &by), (&signed, &authority), now)? {
                    Ok(approvable) => approvable,
                    Err(refusal) => {
                        request::refused(connection, (&by.identity, None), &refusal, now)?;
                        return Ok(Err(refusal));
                    }
                };
            let data = Approved {
                key: fingerprint(approver.key_data()),
                public_key: approver.to_openssh().map_err(unwritable)?,
                by: by.identity,
                request: number,
                signed,
                mfa_at: by.mfa_at,
            };
            entry::append(connection, Kind::KeyApproved, now, &data)?;
            write_end(connection, (number, KeyRequestState::Approved), (data.by.as_str(), now))?;
            let actor = Actor::person(&data.by);
            let new =
                NewKey { fingerprint: fingerprint(key.key_data()), public_key: wish.public_key };
            let added = (&new, Some(number));
            identity::insert_key(connection, &actor, &wish.identity, (added, now))?;
            let order = match wish.replaces {
                None => None,
                Some(old) => {
                    let reason = format!("replaced by {}", new.fingerprint);
                    let whose = (&wish.identity, &old);
                    Some(identity::revoke(connection, &actor, whose, (&reason, &keyring, now))?)
                }
            };
            Ok(Ok(KeyTaken { identity: wish.identity, key: new.fingerprint, order }))
        })
        .await
    }

    /// Ends a request that waits: taken back by whose it is or who brought it, refused by who may approve it.
    pub(crate) async fn end_key_request(
        &self,
        by: Option<Bringer>,
        (number, reason): (u64, String),
        now: Timestamp,
    ) -> Result<KeyRequestState, LedgerError> {
        self.write(move |connection| {
            let kept = find(connection, number)?;
            let how = match &by {
                Some(by) if kept.is_of(&by.identity) => KeyRequestState::Withdrawn,
                Some(by) if !by.administers => return Err(absent(number)),
                _ => KeyRequestState::Denied,
            };
            let state = kept.current(now);
            if state != KeyRequestState::Waiting {
                return Err(LedgerError::Conflict(over(number, state)));
            }
            let actor = by.map_or_else(Actor::local, |by| Actor::person(&by.identity));
            let data = Ended { by: actor.as_str().to_owned(), request: number, how, reason };
            entry::append(connection, Kind::KeyRequestEnded, now, &data)?;
            write_end(connection, (number, how), (&data.by, now))?;
            Ok(how)
        })
        .await
    }

    /// The newest requests for keys: those that are of somebody's business, all where nobody is named.
    pub(crate) async fn key_requests(
        &self,
        whose: Option<Bringer>,
        now: Timestamp,
    ) -> Result<Vec<KeyRequestView>, LedgerError> {
        self.read(move |connection| {
            let only = whose.as_ref().filter(|by| !by.administers).map(|by| by.identity.as_str());
            let mut statement = connection.prepare_cached(&format!(
                "{SELECT} WHERE ?1 IS NULL OR identity = ?1 OR asked_by = ?1 ORDER BY number DESC LIMIT {LISTED}"
            ))?;
            let rows: Vec<Kept> =
                statement.query_map(params![only], kept)?.collect::<Result<_, _>>()?;
            Ok(rows.iter().map(|kept| kept.view(whose.as_ref(), now)).collect())
        })
        .await
    }
}

impl Kept {
    /// Whether it is whose it is, or who brought it.
    fn is_of(&self, who: &Identity) -> bool {
        self.identity == *who || self.by == *who
    }

    /// Until when it can be approved.
    fn until(&self) -> Timestamp {
        self.at.after(PATIENCE)
    }

    /// How it stands, time included.
    fn current(&self, now: Timestamp) -> KeyRequestState {
        match self.state {
            KeyRequestState::Waiting if self.until() <= now => KeyRequestState::Lapsed,
            state => state,
        }
    }

    fn view(&self, whose: Option<&Bringer>, now: Timestamp) -> KeyRequestView {
        let state = self.current(now);
        let may = |by: &Bringer| by.administers && !self.is_of(&by.identity);
        let key = match self.signed.verify() {
            Ok((_, key)) => fingerprint(key.key_data()),
            Err(_altered) => Fingerprint::of(b""),
        };
        KeyRequestView {
            request: self.number,
            identity: self.identity.clone(),
            by: self.by.clone(),
            key,
            wish: self.signed.wish.clone(),
            consent: self.consent.as_ref().map(|consent| consent.key.clone()),
            at: self.at,
            until: self.until(),
            state,
            decided: self.decided.clone(),
            yours_to_approve: state == KeyRequestState::Waiting && whose.is_some_and(may),
            now,
        }
    }
}

fn over(number: u64, state: KeyRequestState) -> String {
    format!("request {number} for a key is over: {}", state.as_str())
}

fn absent(number: u64) -> LedgerError {
    LedgerError::NotFound(format!("there is no request {number} for a key"))
}

fn find(connection: &Connection, number: u64) -> Result<Kept, LedgerError> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE number = ?"))?
        .query_row([number], kept)
        .optional()?
        .ok_or_else(|| absent(number))
}

/// The requests of somebody that wait.
fn waiting(
    connection: &Connection,
    identity: &Identity,
    now: Timestamp,
) -> Result<Vec<Kept>, LedgerError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE identity = ? AND state = 'waiting'"))?;
    let rows: Vec<Kept> =
        statement.query_map([identity.as_str()], kept)?.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter(|kept| kept.current(now) == KeyRequestState::Waiting).collect())
}

fn kept(row: &Row<'_>) -> Result<Kept, SqlError> {
    let by: Option<String> = row.get(8)?;
    Ok(Kept {
        number: row.get(0)?,
        identity: column::name(row, 1)?,
        by: column::name(row, 2)?,
        signed: SignedWish { wish: row.get(3)?, possession: row.get(4)? },
        consent: column::maybe_json(row, 5)?,
        at: column::moment(row, 6)?,
        state: column::word(row, 7)?,
        decided: by.zip(column::maybe_moment(row, 9)?),
    })
}

/// Makes the rows again that follow from an entry of one of these kinds.
pub(super) fn replay(
    connection: &Connection,
    (kind, seq, at): (Kind, u64, Timestamp),
    body: &Value,
) -> Result<(), LedgerError> {
    match kind {
        Kind::KeyRequested => write_request(connection, &Requested::deserialize(body)?, (seq, at)),
        Kind::KeyApproved => {
            let Approved { by, request, .. } = Approved::deserialize(body)?;
            write_end(connection, (request, KeyRequestState::Approved), (by.as_str(), at))
        }
        Kind::KeyRequestEnded => {
            let Ended { by, request, how, .. } = Ended::deserialize(body)?;
            write_end(connection, (request, how), (&by, at))
        }
        _ => Ok(()),
    }
}

fn write_request(
    connection: &Connection,
    requested: &Requested,
    (number, at): (u64, Timestamp),
) -> Result<(), LedgerError> {
    let Requested { by, identity, signed, consent, .. } = requested;
    let consent = consent.as_ref().map(serde_json::to_string).transpose()?;
    connection
        .prepare_cached(
            "INSERT INTO key_requests (number, identity, asked_by, wish, possession, consent, at, state) \
             VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting')",
        )?
        .execute(params![
            number,
            identity.as_str(),
            by.as_str(),
            signed.wish,
            signed.possession,
            consent,
            at.millis()
        ])?;
    Ok(())
}

fn write_end(
    connection: &Connection,
    (number, how): (u64, KeyRequestState),
    (by, at): (&str, Timestamp),
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE key_requests SET state = ?, decided_by = ?, decided_at = ? WHERE number = ?",
        )?
        .execute(params![how.as_str(), by, at.millis(), number])?;
    Ok(())
}

const SELECT: &str = "SELECT number, identity, asked_by, wish, possession, consent, at, state, decided_by, decided_at \
                      FROM key_requests";
/// How long a request waits for its approval.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most requests listed.
const LISTED: u64 = 200;
