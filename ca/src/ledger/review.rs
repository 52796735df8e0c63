//! Verdicts on sessions that have ended.

use wire::api::SessionView;
use wire::identifier::{HostName, Identity};
use wire::incident::Cause;
use wire::review::{Review, ReviewAsk, Verdict};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::session::{SELECT_WITH_ODD, view_with_odd};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column, incident};

impl Ledger {
    /// Keeps a verdict; a later one on the same session takes its place, and both stay in the ledger.
    pub(crate) async fn review(
        &self,
        by: Actor,
        ask: ReviewAsk,
        now: Timestamp,
    ) -> Result<Review, LedgerError> {
        self.write(move |connection| {
            let (host, serial) = reviewable(connection, &ask, &by)?;
            let ReviewAsk { session, verdict, note, gap } = ask;
            let review = Review { verdict, by: by.as_str().to_owned(), at: now, note, gap };
            connection
                .prepare_cached("UPDATE sessions SET review = ? WHERE session = ? AND host = ?")?
                .execute(params![
                    serde_json::to_string(&review)?,
                    session.to_string(),
                    host.as_str()
                ])?;
            let (note, gap) = (review.note.as_str(), review.gap.as_ref());
            let data =
                entry::Reviewed { by: &by, session, host: &host, serial, verdict, note, gap };
            entry::append(connection, Kind::SessionReviewed, now, &data)?;
            if verdict == Verdict::Incident {
                let (by, note) = (review.by.clone(), review.note.clone());
                incident::open(
                    connection,
                    &host,
                    &Cause::Reviewed { session, by, note },
                    (1, now),
                )?;
            }
            Ok(review)
        })
        .await
    }

    /// Sessions that have ended and have no verdict: the oddest first, and of those alike the oldest.
    pub(crate) async fn due(&self) -> Result<Vec<SessionView>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "{SELECT_WITH_ODD} WHERE ended IS NOT NULL AND review IS NULL \
                 ORDER BY oddness DESC, began, session, host LIMIT {DUE}"
            ))?;
            let sessions = statement.query_map((), view_with_odd)?;
            Ok(sessions.collect::<Result<_, _>>()?)
        })
        .await
    }
}

impl Ledger {
    /// Sessions in whose review somebody found what roles or policy should not have let through, the newest first.
    pub(crate) async fn gaps(&self) -> Result<Vec<SessionView>, LedgerError> {
        self.read(|connection| {
            // What people write has its quotes escaped, so that this stands nowhere else.
            let mut statement = connection.prepare_cached(&format!(
                "{SELECT_WITH_ODD} WHERE review LIKE '%\"gap\":\"%' ORDER BY began DESC, session, host LIMIT {DUE}"
            ))?;
            let sessions = statement.query_map((), view_with_odd)?;
            Ok(sessions.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The session's host and certificate, when it has ended and is not the reviewer's own.
fn reviewable(
    connection: &Connection,
    ask: &ReviewAsk,
    by: &Actor,
) -> Result<(HostName, u64), LedgerError> {
    let session = ask.session;
    let (host, identity, has_ended, serial): (HostName, Identity, bool, u64) = connection
        .prepare_cached(
            "SELECT host, identity, ended IS NOT NULL, serial FROM sessions WHERE session = ? ORDER BY known DESC, began LIMIT 1",
        )?
        .query_row([session.to_string()], |row| {
            Ok((column::name(row, 0)?, column::name(row, 1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?
        .ok_or_else(|| LedgerError::NotFound(format!("there is no session {session}")))?;
    if identity.as_str() == by.as_str() {
        return Err(LedgerError::Conflict("nobody reviews a session of their own".into()));
    }
    if !has_ended {
        return Err(LedgerError::Conflict(format!("session {session} has not ended yet")));
    }
    Ok((host, serial))
}

/// Most sessions in the list of those that are due.
const DUE: u64 = 1000;
