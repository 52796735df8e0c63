//! Who reads recordings, and what the ledger knows to check them by.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::api::SessionView;
use wire::identifier::{HostName, SessionId};
use wire::order::{Instruction, Watched};
use wire::reading::ReadAsk;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::order::{self, Ordering};
use super::session::{SELECT, view};
use super::sql::OptionalExtension as _;
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

impl Ledger {
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
