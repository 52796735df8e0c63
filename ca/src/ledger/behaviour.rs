//! The rules of behaviour in the ledger: each text that came into force, and who signed which.
//!
//! Who can change this: whoever has the ledger's database. Gains: makes it seem that somebody has read a text; the entry with their
//! signature is not there then, and `ledger rebuild` says so.

use std::collections::BTreeSet;

use ssh_key::PublicKey;
use wire::behaviour::{Acknowledgement, SignedAcknowledgement};
use wire::identifier::{Fingerprint, Identity};
use wire::log::Hash;
use wire::time::Timestamp;

use super::approval::{FRESH, SKEW, signer, unwritable};
use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Ledger, LedgerError, Login, column, grant, identity, order};
use crate::behaviour::Behaviour;
use crate::ledger::RequestRefusal;

impl Ledger {
    /// Records the text that is in force now, unless it is that of the last entry. Permits from before are stale.
    pub(crate) async fn behaviour_changed(
        &self,
        after: Option<Behaviour>,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.write(move |connection| {
            let mark = mark(after.as_ref().map(Behaviour::hash));
            let before: Option<i64> = connection
                .prepare_cached("SELECT value FROM counters WHERE name = 'behaviour'")?
                .query_row((), |row| row.get(0))
                .optional()?;
            if before.unwrap_or(NONE) == mark {
                return Ok(false);
            }
            keep(connection, mark)?;
            grant::bump_epoch(connection)?;
            let text = after.as_ref().map(Behaviour::text);
            let hash = after.as_ref().map(Behaviour::hash);
            entry::append(
                connection,
                Kind::BehaviourChanged,
                now,
                &entry::BehaviourNow { hash, text },
            )?;
            Ok(true)
        })
        .await
    }

    /// Takes what somebody signed about the text in force.
    pub(crate) async fn acknowledge(
        &self,
        (by, signed): (Identity, SignedAcknowledgement),
        (authority, text): (Fingerprint, Hash),
        now: Timestamp,
    ) -> Result<Result<(), RequestRefusal>, LedgerError> {
        self.write(move |connection| {
            let (key, said) = match held(connection, (&by, &signed), now)? {
                Ok(held) => held,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if let Err(why) = agrees(&said, (&by, &authority, text), now) {
                return Ok(Err(RequestRefusal::Denied(why.into())));
            }
            if !is_in_force(connection, text)? {
                return Ok(Err(RequestRefusal::Conflict(ELSEWHERE.into())));
            }
            if acknowledged(connection, &by)?.contains(&text) {
                return Ok(Ok(()));
            }
            let data = entry::BehaviourAcknowledged {
                by: &by,
                text,
                key: &wire::certificate::fingerprint(key.key_data()),
                public_key: &key.to_openssh().map_err(unwritable)?,
                signed: &signed,
            };
            entry::append(connection, Kind::BehaviourAcknowledged, now, &data)?;
            insert(connection, (&by, text), now)?;
            Ok(Ok(()))
        })
        .await
    }

    /// Takes it from somebody who has no key that they accept the text in force by their login.
    pub(crate) async fn accept_behaviour(
        &self,
        login: Login,
        text: Hash,
        now: Timestamp,
    ) -> Result<Result<(), RequestRefusal>, LedgerError> {
        self.write(move |connection| {
            let by = &login.identity;
            if !identity::keys_of(connection, by)?.is_empty() {
                let why = "you have a key: sign with it, `curfew behaviour --sign`";
                return Ok(Err(RequestRefusal::Denied(why.into())));
            }
            if !is_in_force(connection, text)? {
                return Ok(Err(RequestRefusal::Conflict(ELSEWHERE.into())));
            }
            if acknowledged(connection, by)?.contains(&text) {
                return Ok(Ok(()));
            }
            let Login { number, method, mfa_at, .. } = login;
            let data = entry::BehaviourAccepted { by, text, login: number, method, mfa_at };
            entry::append(connection, Kind::BehaviourAccepted, now, &data)?;
            insert(connection, (by, text), now)?;
            Ok(Ok(()))
        })
        .await
    }

    /// When somebody acknowledged a text.
    pub(crate) async fn acknowledged_at(
        &self,
        by: Identity,
        text: Hash,
    ) -> Result<Option<Timestamp>, LedgerError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached("SELECT at FROM acknowledgements WHERE identity = ? AND text = ?")?
                .query_row(params![by.as_str(), text.0], |row| column::moment(row, 0))
                .optional()?)
        })
        .await
    }
}

/// What was signed, by a key of theirs that is enrolled and not locked.
fn held(
    connection: &Connection,
    (by, signed): (&Identity, &SignedAcknowledgement),
    now: Timestamp,
) -> Result<Result<(PublicKey, Acknowledgement), RequestRefusal>, LedgerError> {
    let locks = order::locks_in_force(connection, now)?;
    let Some((_, key)) = signer(connection, (by, &signed.signature), &locks)? else {
        let why = if identity::keys_of(connection, by)?.is_empty() {
            "you have no key to sign with; ask for one: `curfew keys add`"
        } else {
            "the signature is by no key of yours that is enrolled and not locked"
        };
        return Ok(Err(RequestRefusal::Denied(why.into())));
    };
    Ok(match signed.verify(&key) {
        Ok(said) => Ok((key, said)),
        Err(flaw) => Err(RequestRefusal::Denied(format!("the acknowledgement: {flaw}"))),
    })
}

/// Whether what was signed is about this text, for this authority, now.
fn agrees(
    said: &Acknowledgement,
    (by, authority, text): (&Identity, &Fingerprint, Hash),
    now: Timestamp,
) -> Result<(), &'static str> {
    if said.authority != *authority {
        return Err("the acknowledgement is for another authority");
    }
    if said.by != *by {
        return Err("the acknowledgement names somebody else");
    }
    if said.text != text {
        return Err(
            "the rules of behaviour are others by now; read them again: `curfew behaviour`",
        );
    }
    if said.at > now.after(SKEW) || said.at < now.before(FRESH) {
        return Err("the acknowledgement was not signed just now; sign again");
    }
    Ok(())
}

/// Whether the last entry of a text is of this one: each acknowledgement stands after its text.
fn is_in_force(connection: &Connection, text: Hash) -> Result<bool, LedgerError> {
    let in_force: Option<i64> = connection
        .prepare_cached("SELECT value FROM counters WHERE name = 'behaviour'")?
        .query_row((), |row| row.get(0))
        .optional()?;
    Ok(in_force == Some(mark(Some(text))))
}

/// The texts that somebody has acknowledged.
pub(super) fn acknowledged(
    connection: &Connection,
    by: &Identity,
) -> Result<BTreeSet<Hash>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT text FROM acknowledgements WHERE identity = ?")?;
    let rows = statement.query_map([by.as_str()], |row| row.get(0).map(Hash))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The row of an acknowledgement.
pub(super) fn insert(
    connection: &Connection,
    (by, text): (&Identity, Hash),
    at: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("INSERT INTO acknowledgements (identity, text, at) VALUES (?, ?, ?)")?
        .execute(params![by.as_str(), text.0, at.millis()])?;
    Ok(())
}

/// What is kept to know the same text again.
pub(super) fn mark(text: Option<Hash>) -> i64 {
    let Some(Hash([a, b, c, d, e, f, g, h, ..])) = text else { return NONE };
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Keeps the mark of the text in force.
pub(super) fn keep(connection: &Connection, mark: i64) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO counters (name, value) VALUES ('behaviour', ?) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![mark])?;
    Ok(())
}

const ELSEWHERE: &str = "other rules of behaviour came into force just now, or at another node; read them again: `curfew behaviour`";
/// That there is no text.
const NONE: i64 = 0;
