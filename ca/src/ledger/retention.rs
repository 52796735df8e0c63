//! What is held, and what is deleted of what was recorded: by two people, after its time, and never from the entries.
//!
//! Shape: a deletion has the number of the entry that asks for it. When a second person has approved it, what it names is
//! deleted session by session: the entry that says so first, then what it was. A hold takes its session out of every
//! deletion that has not come to it.
//! Who can change this: as the ledger. Gains: root at the authority's machine can delete without anybody's approval, which
//! is found when recordings are verified, and cannot make it look like a deletion that was approved.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wire::api::{Ended, SessionView};
use wire::identifier::{HostName, Identity, SessionId};
use wire::log::Hash;
use wire::record::Record;
use wire::retention::{
    Class, Decided, Deleted, DeletionAsk, DeletionState, DeletionView, HoldAsk, HoldView,
    MAX_SESSIONS, Remains,
};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::session::{SELECT, view};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, odd};
use crate::command::shown;

/// What a deletion has come to, of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doomed {
    /// The deletion.
    pub(crate) deletion: u64,
    /// What of it.
    pub(crate) class: Class,
    /// The session.
    pub(crate) session: SessionId,
    /// Its host.
    pub(crate) host: HostName,
    /// Whether the ledger says so already, and only what it was may still be there.
    pub(crate) said: bool,
}

/// [`Kind::Held`] and [`Kind::Released`].
#[derive(Serialize, Deserialize)]
struct Holding {
    by: String,
    session: SessionId,
    host: HostName,
    reason: String,
}

/// [`Kind::DeletionAsked`].
#[derive(Serialize, Deserialize)]
struct Asking {
    by: Identity,
    class: Class,
    reason: String,
    sessions: Vec<Of>,
}

/// A session on its host.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Of {
    session: SessionId,
    host: HostName,
}

/// [`Kind::DeletionApproved`] and [`Kind::DeletionWithdrawn`].
#[derive(Serialize, Deserialize)]
struct Deciding {
    by: String,
    deletion: u64,
}

/// [`Kind::Deleted`].
#[derive(Serialize, Deserialize)]
struct Gone {
    deletion: u64,
    session: SessionId,
    host: HostName,
    class: Class,
    by: [String; 2],
    reason: String,
    what: Remains,
}

/// A deletion as its row has it.
struct Asked {
    class: Class,
    reason: String,
    by: Identity,
    decided_by: Option<String>,
    state: DeletionState,
}

impl Ledger {
    /// Holds a session: nothing of it is deleted until it is released, and no deletion from before is good for it any more.
    pub(crate) async fn hold(
        &self,
        by: Actor,
        ask: HoldAsk,
        now: Timestamp,
    ) -> Result<HoldView, LedgerError> {
        self.write(move |connection| {
            let HoldAsk { session, reason } = ask;
            let host = subject(connection, session)?.host;
            if held(connection, session, &host)?.is_some() {
                return Err(LedgerError::Conflict(format!("session {session} is held already")));
            }
            let data = Holding { by: by.as_str().to_owned(), session, host, reason };
            write_hold(connection, &data, now)?;
            entry::append(connection, Kind::Held, now, &data)?;
            let Holding { by, session, host, reason } = data;
            Ok(HoldView { session, host, by, at: now, reason })
        })
        .await
    }

    /// Releases a session that is held.
    pub(crate) async fn release(
        &self,
        by: Actor,
        ask: HoldAsk,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let HoldAsk { session, reason } = ask;
            let host = subject(connection, session)?.host;
            if held(connection, session, &host)?.is_none() {
                return Err(LedgerError::NotFound(format!("session {session} is not held")));
            }
            let data = Holding { by: by.as_str().to_owned(), session, host, reason };
            write_release(connection, &data)?;
            entry::append(connection, Kind::Released, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Asks for a deletion; nothing happens until somebody else approves it.
    pub(crate) async fn ask_deletion(
        &self,
        by: Identity,
        ask: DeletionAsk,
        (keep, now): (Option<Duration>, Timestamp),
    ) -> Result<DeletionView, LedgerError> {
        self.write(move |connection| {
            let DeletionAsk { class, mut sessions, reason } = ask;
            sessions.sort_unstable();
            sessions.dedup();
            if sessions.is_empty() || sessions.len() > MAX_SESSIONS {
                let why = format!("a deletion names 1 to {MAX_SESSIONS} sessions");
                return Err(LedgerError::Conflict(why));
            }
            let mut of = Vec::new();
            for session in sessions {
                let subject = subject(connection, session)?;
                subject.refuse((class, keep), (&by, now), connection)?;
                of.push(Of { session, host: subject.host });
            }
            let data = Asking { by, class, reason, sessions: of };
            let number = entry::append(connection, Kind::DeletionAsked, now, &data)?;
            write_ask(connection, &data, (number, now))?;
            deletion(connection, number)
        })
        .await
    }

    /// Approves a deletion that somebody else asked for. All that was so when it was asked for must still be so.
    pub(crate) async fn approve_deletion(
        &self,
        by: Identity,
        number: u64,
        keep: impl Fn(Class) -> Option<Duration> + Send + 'static,
        now: Timestamp,
    ) -> Result<DeletionView, LedgerError> {
        self.write(move |connection| {
            let asked = waiting(connection, number)?;
            if asked.by == by {
                return Err(LedgerError::Conflict(
                    "you asked for it; somebody else must approve it".into(),
                ));
            }
            let left = of(connection, number, "NOT spared")?;
            if left.is_empty() {
                let why = "every session of it was held meanwhile; nothing is left to delete";
                return Err(LedgerError::Conflict(why.into()));
            }
            for session in left {
                let rule = (asked.class, keep(asked.class));
                subject(connection, session)?.refuse(rule, (&by, now), connection)?;
            }
            let data = Deciding { by: by.to_string(), deletion: number };
            write_decision(connection, &data, (DeletionState::Approved, now))?;
            entry::append(connection, Kind::DeletionApproved, now, &data)?;
            deletion(connection, number)
        })
        .await
    }

    /// Takes a deletion back that nobody has approved yet, or refuses it.
    pub(crate) async fn withdraw_deletion(
        &self,
        by: Actor,
        number: u64,
        now: Timestamp,
    ) -> Result<DeletionView, LedgerError> {
        self.write(move |connection| {
            waiting(connection, number)?;
            let data = Deciding { by: by.as_str().to_owned(), deletion: number };
            write_decision(connection, &data, (DeletionState::Withdrawn, now))?;
            entry::append(connection, Kind::DeletionWithdrawn, now, &data)?;
            deletion(connection, number)
        })
        .await
    }

    /// What is held, and the newest deletions, those that wait first.
    pub(crate) async fn retention(
        &self,
    ) -> Result<(Vec<HoldView>, Vec<DeletionView>), LedgerError> {
        self.read(|connection| {
            let holds = connection
                .prepare_cached(
                    "SELECT session, host, held_by, at, reason FROM holds ORDER BY at, session",
                )?
                .query_map((), hold_view)?
                .collect::<Result<_, _>>()?;
            let numbers: Vec<u64> = connection
                .prepare_cached(
                    "SELECT number FROM deletions ORDER BY state <> 'asked', number DESC LIMIT 100",
                )?
                .query_map((), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let deletions = numbers.into_iter().map(|number| deletion(connection, number));
            Ok((holds, deletions.collect::<Result<_, _>>()?))
        })
        .await
    }

    /// Sessions of which this can be deleted now, as far as the ledger knows, the oldest first: of so many after that place, and
    /// the last of those.
    pub(crate) async fn deletable(
        &self,
        (class, keep): (Class, Duration),
        (after, limit): (Option<(Timestamp, SessionId)>, usize),
        now: Timestamp,
    ) -> Result<(Vec<SessionView>, Option<(Timestamp, SessionId)>), LedgerError> {
        self.read(move |connection| {
            let (at, id) = after.map_or((0, String::new()), |(at, id)| (at.millis(), id.to_string()));
            let sessions: Vec<SessionView> = connection
                .prepare_cached(&format!(
                    "{SELECT} WHERE ended IS NOT NULL AND (began > ?1 OR (began = ?1 AND session > ?2)) \
                     AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.session = sessions.session AND h.host = sessions.host) \
                     AND NOT EXISTS (SELECT 1 FROM deletion_sessions d JOIN deletions x ON x.number = d.deletion \
                     WHERE d.session = sessions.session AND d.host = sessions.host AND x.class = ?3 \
                     AND x.state <> 'withdrawn' AND NOT d.spared) ORDER BY began, session LIMIT ?4"
                ))?
                .query_map(params![at, id, class.as_str(), u64::try_from(limit).unwrap_or(u64::MAX >> 1)], view)?
                .collect::<Result<_, _>>()?;
            let last = sessions.last().map(|last| (last.began, last.session));
            let mut due = Vec::new();
            for one in sessions {
                if subject(connection, one.session)?.kept_until(keep).is_some_and(|until| until <= now) {
                    due.push(one);
                }
            }
            Ok((due, last))
        })
        .await
    }

    /// What approved deletions still have to do.
    pub(crate) async fn doomed(&self) -> Result<Vec<Doomed>, LedgerError> {
        self.read(|connection| {
            let rows = connection
                .prepare_cached(
                    "SELECT d.deletion, x.class, d.session, d.host, d.gone IS NOT NULL FROM deletion_sessions d \
                     JOIN deletions x ON x.number = d.deletion \
                     WHERE x.state = 'approved' AND NOT d.spared AND NOT d.removed ORDER BY d.deletion, d.session LIMIT 100",
                )?
                .query_map((), |row| {
                    Ok(Doomed {
                        deletion: row.get(0)?,
                        class: column::word(row, 1)?,
                        session: column::name(row, 2)?,
                        host: column::name(row, 3)?,
                        said: row.get(4)?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
        .await
    }

    /// Says in the ledger that recordings are deleted, before they are; unless the session was held meanwhile.
    pub(crate) async fn say_deleted(
        &self,
        doomed: Doomed,
        what: Remains,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.write(move |connection| {
            if !is_doomed(connection, &doomed)? {
                return Ok(false);
            }
            say_gone(connection, &doomed, what, now)?;
            Ok(true)
        })
        .await
    }

    /// Deletes the records of programs with what was derived from them, and says so in the same transaction; unless the session was
    /// held meanwhile.
    pub(crate) async fn delete_records(
        &self,
        doomed: Doomed,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let done = self
            .write(move |connection| {
                if !is_doomed(connection, &doomed)? {
                    return Ok(false);
                }
                // As for erased bodies: the freed pages are overwritten, not only given back.
                let is_file = !connection.is_shared();
                if is_file {
                    connection.set("secure_delete", 1)?;
                }
                let what = remove_records(connection, &doomed)?;
                odd::forget_deeds(connection, (doomed.session, &doomed.host))?;
                if is_file {
                    connection.set("secure_delete", 0)?;
                }
                say_gone(connection, &doomed, what, now)?;
                removed(connection, &doomed)?;
                Ok(true)
            })
            .await?;
        if done {
            for table in ["records", "habits", "sessions"] {
                self.forget(table).await?;
            }
        }
        Ok(done)
    }

    /// Nothing is left of it.
    pub(crate) async fn is_removed(&self, doomed: Doomed) -> Result<(), LedgerError> {
        self.write(move |connection| removed(connection, &doomed)).await
    }

    /// Who holds a session, and what of it was deleted.
    pub(crate) async fn kept_of(
        &self,
        session: SessionId,
        host: HostName,
    ) -> Result<(Option<HoldView>, Vec<Deleted>), LedgerError> {
        self.read(move |connection| kept(connection, session, &host)).await
    }
}

/// The same on a connection.
pub(super) fn kept(
    connection: &Connection,
    session: SessionId,
    host: &HostName,
) -> Result<(Option<HoldView>, Vec<Deleted>), LedgerError> {
    let gone = connection
        .prepare_cached(
            "SELECT e.at, b.body FROM deletion_sessions d JOIN entries e ON e.seq = d.gone \
             JOIN bodies b ON b.seq = d.gone WHERE d.session = ? AND d.host = ? ORDER BY d.gone",
        )?
        .query_map(params![session.to_string(), host.as_str()], |row| {
            Ok((column::moment(row, 0)?, row.get::<Vec<u8>>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let deleted = gone.into_iter().map(|(at, body)| {
        let Gone { deletion, class, by, reason, what, .. } = serde_json::from_slice(&body)?;
        Ok(Deleted { deletion, class, by, at, reason, what })
    });
    Ok((held(connection, session, host)?, deleted.collect::<Result<_, LedgerError>>()?))
}

/// A session, as far as it matters for keeping it.
struct Subject {
    session: SessionId,
    host: HostName,
    identity: Identity,
    ended: Option<Ended>,
    grant_until: Option<Timestamp>,
}

fn subject(connection: &Connection, session: SessionId) -> Result<Subject, LedgerError> {
    connection
        .prepare_cached(
            "SELECT s.host, s.identity, s.ended, g.until FROM sessions s LEFT JOIN grants g ON g.id = s.grant_id \
             WHERE s.session = ? ORDER BY s.known DESC, s.began LIMIT 1",
        )?
        .query_row([session.to_string()], |row| {
            Ok(Subject {
                session,
                host: column::name(row, 0)?,
                identity: column::name(row, 1)?,
                ended: column::maybe_json(row, 2)?,
                grant_until: column::maybe_moment(row, 3)?,
            })
        })
        .optional()?
        .ok_or_else(|| LedgerError::NotFound(format!("there is no session {session}")))
}

impl Subject {
    /// Until when it must be kept, once it has ended. A host whose clock is slow shortens nothing: the grant's end, which the
    /// authority gave, counts where it is later.
    fn kept_until(&self, keep: Duration) -> Option<Timestamp> {
        let ended = self.ended.as_ref()?.at;
        Some(self.grant_until.map_or(ended, |until| until.max(ended)).after(keep))
    }

    /// Why nothing of this class can be deleted of it by this person, if so.
    fn refuse(
        &self,
        (class, keep): (Class, Option<Duration>),
        (by, now): (&Identity, Timestamp),
        connection: &Connection,
    ) -> Result<(), LedgerError> {
        let session = self.session;
        let no = |why: String| Err(LedgerError::Conflict(why));
        if self.identity == *by {
            return no(format!(
                "session {session} is yours; nobody deletes what was recorded of their own"
            ));
        }
        let Some(keep) = keep else {
            return no(format!(
                "{class} are kept for good; name a time for them under [retention] in ca.toml to have them deleted after it"
            ));
        };
        match self.kept_until(keep) {
            None => return no(format!("session {session} has not ended")),
            Some(until) if until > now => {
                return no(format!(
                    "{class} of session {session} must be kept until {}",
                    shown(until)
                ));
            }
            Some(_) => {}
        }
        if let Some(hold) = held(connection, session, &self.host)? {
            return no(format!("session {session} is held by {}: {}", hold.by, hold.reason));
        }
        let is_gone = connection
            .prepare_cached(
                "SELECT 1 FROM deletion_sessions d JOIN deletions x ON x.number = d.deletion \
                 WHERE d.session = ? AND d.host = ? AND x.class = ? AND x.state = 'approved' AND NOT d.spared",
            )?
            .exists(params![session.to_string(), self.host.as_str(), class.as_str()])?;
        if is_gone {
            return no(format!("{class} of session {session} were deleted already"));
        }
        Ok(())
    }
}

fn held(
    connection: &Connection,
    session: SessionId,
    host: &HostName,
) -> Result<Option<HoldView>, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT session, host, held_by, at, reason FROM holds WHERE session = ? AND host = ?",
        )?
        .query_row(params![session.to_string(), host.as_str()], hold_view)
        .optional()?)
}

fn hold_view(row: &Row<'_>) -> Result<HoldView, SqlError> {
    Ok(HoldView {
        session: column::name(row, 0)?,
        host: column::name(row, 1)?,
        by: row.get(2)?,
        at: column::moment(row, 3)?,
        reason: row.get(4)?,
    })
}

/// A deletion that waits for an approval.
fn waiting(connection: &Connection, number: u64) -> Result<Asked, LedgerError> {
    let asked = asked(connection, number)?;
    match asked.state {
        DeletionState::Asked => Ok(asked),
        DeletionState::Withdrawn => {
            Err(LedgerError::Conflict(format!("deletion {number} was withdrawn")))
        }
        DeletionState::Approved | DeletionState::Done => {
            Err(LedgerError::Conflict(format!("deletion {number} is approved already")))
        }
    }
}

fn asked(connection: &Connection, number: u64) -> Result<Asked, LedgerError> {
    connection
        .prepare_cached(
            "SELECT class, reason, asked_by, decided_by, state FROM deletions WHERE number = ?",
        )?
        .query_row([number], |row| {
            Ok(Asked {
                class: column::word(row, 0)?,
                reason: row.get(1)?,
                by: column::name(row, 2)?,
                decided_by: row.get(3)?,
                state: column::word(row, 4)?,
            })
        })
        .optional()?
        .ok_or_else(|| LedgerError::NotFound(format!("there is no deletion {number}")))
}

fn deletion(connection: &Connection, number: u64) -> Result<DeletionView, LedgerError> {
    let Asked { class, reason, by: asked_by, decided_by, state } = asked(connection, number)?;
    let (asked_at, decided_at) = connection
        .prepare_cached("SELECT asked_at, decided_at FROM deletions WHERE number = ?")?
        .query_row([number], |row| Ok((column::moment(row, 0)?, column::maybe_moment(row, 1)?)))?;
    let is_done = of(connection, number, "NOT spared AND NOT removed")?.is_empty();
    let state = match state {
        DeletionState::Approved if is_done => DeletionState::Done,
        state => state,
    };
    Ok(DeletionView {
        deletion: number,
        class,
        reason,
        asked_by,
        asked_at,
        decided: decided_by.zip(decided_at).map(|(by, at)| Decided { by, at }),
        state,
        sessions: of(connection, number, "TRUE")?,
        deleted: u64::try_from(of(connection, number, "removed")?.len()).unwrap_or(u64::MAX),
    })
}

/// The sessions of a deletion that are so.
fn of(
    connection: &Connection,
    number: u64,
    so: &'static str,
) -> Result<Vec<SessionId>, LedgerError> {
    let sessions = connection
        .prepare_cached(&format!(
            "SELECT session FROM deletion_sessions WHERE deletion = ? AND {so} ORDER BY session"
        ))?
        .query_map([number], |row| column::name(row, 0))?
        .collect::<Result<_, _>>()?;
    Ok(sessions)
}

/// Whether a deletion is still to do something to a session: it is approved, and nobody holds it.
fn is_doomed(connection: &Connection, doomed: &Doomed) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM deletion_sessions d JOIN deletions x ON x.number = d.deletion \
             WHERE d.deletion = ? AND d.session = ? AND d.host = ? AND x.state = 'approved' AND NOT d.spared AND d.gone IS NULL",
        )?
        .exists(params![doomed.deletion, doomed.session.to_string(), doomed.host.as_str()])?)
}

fn say_gone(
    connection: &Connection,
    doomed: &Doomed,
    what: Remains,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let Asked { class, reason, by, decided_by, .. } = asked(connection, doomed.deletion)?;
    let by = [by.to_string(), decided_by.unwrap_or_default()];
    let Doomed { deletion, session, host, .. } = doomed.clone();
    let data = Gone { deletion, session, host, class, by, reason, what };
    let seq = entry::append(connection, Kind::Deleted, now, &data)?;
    write_gone(connection, &data, seq)
}

fn remove_records(connection: &Connection, doomed: &Doomed) -> Result<Remains, LedgerError> {
    let rows = connection
        .prepare_cached(
            "SELECT enrolment, number, body FROM records WHERE session = ? AND host = ? ORDER BY enrolment, number",
        )?
        .query_map(params![doomed.session.to_string(), doomed.host.as_str()], |row| {
            Ok((row.get::<u64>(0)?, row.get::<u64>(1)?, row.get::<String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let (mut count, mut digest) = (0_u64, Sha256::new());
    for (enrolment, number, body) in rows {
        let record: Record = serde_json::from_str(&body)?;
        if !doomed.class.has(&record.event) {
            continue;
        }
        digest.update(body.as_bytes());
        digest.update(b"\n");
        count = count.saturating_add(1);
        connection
            .prepare_cached("DELETE FROM records WHERE enrolment = ? AND number = ?")?
            .execute(params![enrolment, number])?;
    }
    Ok(Remains::Records { count, digest: Hash(digest.finalize().into()) })
}

fn removed(connection: &Connection, doomed: &Doomed) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE deletion_sessions SET removed = TRUE WHERE deletion = ? AND session = ? AND host = ?",
        )?
        .execute(params![doomed.deletion, doomed.session.to_string(), doomed.host.as_str()])?;
    Ok(())
}

/// Makes the rows again that follow from an entry of one of these kinds.
pub(super) fn replay(
    connection: &Connection,
    (kind, seq, at): (Kind, u64, Timestamp),
    body: &Value,
) -> Result<(), LedgerError> {
    match kind {
        Kind::Held => write_hold(connection, &Holding::deserialize(body)?, at),
        Kind::Released => write_release(connection, &Holding::deserialize(body)?),
        Kind::DeletionAsked => write_ask(connection, &Asking::deserialize(body)?, (seq, at)),
        Kind::DeletionApproved => {
            let decision = (DeletionState::Approved, at);
            write_decision(connection, &Deciding::deserialize(body)?, decision)
        }
        Kind::DeletionWithdrawn => {
            let decision = (DeletionState::Withdrawn, at);
            write_decision(connection, &Deciding::deserialize(body)?, decision)
        }
        Kind::Deleted => write_gone(connection, &Gone::deserialize(body)?, seq),
        _ => Ok(()),
    }
}

fn write_hold(connection: &Connection, hold: &Holding, at: Timestamp) -> Result<(), LedgerError> {
    let Holding { by, session, host, reason } = hold;
    connection
        .prepare_cached(
            "INSERT INTO holds (session, host, held_by, at, reason) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![session.to_string(), host.as_str(), by, at.millis(), reason])?;
    connection
        .prepare_cached(
            "UPDATE deletion_sessions SET spared = TRUE WHERE session = ? AND host = ? AND gone IS NULL",
        )?
        .execute(params![session.to_string(), host.as_str()])?;
    Ok(())
}

fn write_release(connection: &Connection, hold: &Holding) -> Result<(), LedgerError> {
    connection
        .prepare_cached("DELETE FROM holds WHERE session = ? AND host = ?")?
        .execute(params![hold.session.to_string(), hold.host.as_str()])?;
    Ok(())
}

fn write_ask(
    connection: &Connection,
    asking: &Asking,
    (number, at): (u64, Timestamp),
) -> Result<(), LedgerError> {
    let Asking { by, class, reason, sessions } = asking;
    connection
        .prepare_cached(
            "INSERT INTO deletions (number, class, reason, asked_by, asked_at, state) VALUES (?, ?, ?, ?, ?, 'asked')",
        )?
        .execute(params![number, class.as_str(), reason, by.as_str(), at.millis()])?;
    for Of { session, host } in sessions {
        connection
            .prepare_cached(
                "INSERT INTO deletion_sessions (deletion, session, host) VALUES (?, ?, ?)",
            )?
            .execute(params![number, session.to_string(), host.as_str()])?;
    }
    Ok(())
}

fn write_decision(
    connection: &Connection,
    deciding: &Deciding,
    (state, at): (DeletionState, Timestamp),
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE deletions SET state = ?, decided_by = ?, decided_at = ? WHERE number = ?",
        )?
        .execute(params![state.as_str(), deciding.by, at.millis(), deciding.deletion])?;
    Ok(())
}

fn write_gone(connection: &Connection, gone: &Gone, seq: u64) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE deletion_sessions SET gone = ? WHERE deletion = ? AND session = ? AND host = ?",
        )?
        .execute(params![seq, gone.deletion, gone.session.to_string(), gone.host.as_str()])?;
    Ok(())
}
