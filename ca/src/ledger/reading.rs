//! Who reads and searches recordings, and what the ledger knows to check them by.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::api::SessionView;
use wire::identifier::{HostName, SessionId};
use wire::order::{Instruction, Watched};
use wire::reading::ReadAsk;
use wire::search::terminal::TerminalNext;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::order::{self, Ordering};
use super::session::{SELECT, view};
use super::sql::{OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError};
use crate::key::Keyring;

/// A reading that was begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Who reads.
    pub(crate) by: String,
    /// What.
    pub(crate) ask: ReadAsk,
}

/// Sessions whose terminals may hold what is searched for: the newest first.
#[derive(Debug)]
pub(crate) struct Reached {
    /// Only those that had not ended by then.
    pub(crate) since: Timestamp,
    /// Only those that began before then.
    pub(crate) until: Timestamp,
    /// Only those that come after this one; it is among them when it was looked at in part.
    pub(crate) from: Option<TerminalNext>,
    /// At most so many.
    pub(crate) limit: u64,
}

/// [`Kind::RecordingsSearched`].
#[derive(Serialize)]
struct Opened<'a> {
    by: &'a Actor,
    search: u64,
    sessions: &'a [SessionAt],
}

/// A session, and its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SessionAt {
    /// Its name.
    pub(crate) session: SessionId,
    /// Its host.
    pub(crate) host: HostName,
}

impl Ledger {
    /// Says in the ledger which sessions' recordings were opened for a search, before anybody learns what is in them.
    pub(crate) async fn tell_opened(
        &self,
        by: Actor,
        (search, sessions): (u64, Vec<SessionAt>),
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        self.write(move |connection| {
            let opened = Opened { by: &by, search, sessions: &sessions };
            entry::append(connection, Kind::RecordingsSearched, now, &opened)
        })
        .await
    }

    /// Sessions that a search reaches.
    pub(crate) async fn sessions_reached(
        &self,
        reached: Reached,
    ) -> Result<Vec<SessionView>, LedgerError> {
        self.read(move |connection| {
            let stored = |at: Timestamp| at.millis().min(i64::MAX.unsigned_abs());
            let from = reached.from.as_ref();
            let mut statement = connection.prepare_cached(&format!(
                "{SELECT} WHERE began < ?1 AND (ended IS NULL OR CAST(json_extract(ended, '$.at') AS BIGINT) >= ?2) \
                 AND (?3 IS NULL OR began < ?3 OR (began = ?3 AND ((session, host) > (?4, ?5) \
                 OR (?6 AND session = ?4 AND host = ?5)))) ORDER BY began DESC, session, host LIMIT ?7"
            ))?;
            let sessions = statement.query_map(
                params![
                    stored(reached.until),
                    stored(reached.since),
                    from.map(|from| stored(from.began)),
                    from.map(|from| from.session.to_string()),
                    from.map(|from| from.host.as_str()),
                    from.is_some_and(|from| from.within.is_some()),
                    reached.limit,
                ],
                view,
            )?;
            Ok(sessions.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Says in the ledger that somebody reads a recording; the reading has the entry's number. With the keys of orders, its
    /// host is ordered to say so on the session's terminals.
    pub(crate) async fn begin_reading(
        &self,
        by: Actor,
        (ask, announced): (ReadAsk, Option<Arc<Keyring>>),
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        let kind = if ask.live { Kind::RecordingWatched } else { Kind::RecordingRead };
        let session = ask.session;
        let reading = Reading { by: by.as_str().to_owned(), ask };
        self.write(move |connection| {
            let entry = entry::append(connection, kind, now, &reading)?;
            if let Some(keyring) = announced {
                let watched = Watched { session, by: reading.by };
                let ordering = Ordering {
                    watched: Some(watched),
                    ..Ordering::of(Instruction::Unlock(Watched::beside()))
                };
                let said = (&by, "its terminals say that it is watched");
                order::write(connection, &keyring, said, (ordering, now))?;
            }
            Ok(entry)
        })
        .await
    }

    /// The reading of that number.
    pub(crate) async fn begun_reading(&self, entry: u64) -> Result<Option<Reading>, LedgerError> {
        self.read(move |connection| {
            let body: Option<Vec<u8>> = connection
                .prepare_cached(
                    "SELECT body FROM entries JOIN bodies USING (seq) \
                     WHERE seq = ? AND kind IN ('recording_read', 'recording_watched')",
                )?
                .query_row([entry], |row| row.get(0))
                .optional()?;
            Ok(body.map(|body| serde_json::from_slice(&body)).transpose()?)
        })
        .await
    }

    /// A session without its records.
    pub(crate) async fn session_head(
        &self,
        session: SessionId,
    ) -> Result<Option<SessionView>, LedgerError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(&format!(
                    "{SELECT} WHERE session = ? ORDER BY known DESC, began LIMIT 1"
                ))?
                .query_row([session.to_string()], view)
                .optional()?)
        })
        .await
    }

    /// Every agent key that a host of this name ever enrolled with, in OpenSSH form.
    pub(crate) async fn agent_keys(&self, host: HostName) -> Result<Vec<String>, LedgerError> {
        self.read(move |connection| {
            let mut found = connection.prepare_cached(
                "SELECT body FROM entries JOIN bodies USING (seq) WHERE kind = 'host_enrolled' ORDER BY seq",
            )?;
            let mut keys = BTreeSet::new();
            for body in found.query_map((), |row| row.get::<Vec<u8>>(0))? {
                let body: serde_json::Value = serde_json::from_slice(&body?)?;
                let is_its = body.pointer("/host").and_then(serde_json::Value::as_str) == Some(host.as_str());
                let key = body.pointer("/agent_key").and_then(serde_json::Value::as_str);
                keys.extend(key.filter(|_| is_its).map(str::to_owned));
            }
            Ok(keys.into_iter().collect())
        })
        .await
    }
}
