//! What hosts say of sessions that they ended: each under its agent's signature, an entry, and the newest word of each session.

use std::collections::BTreeMap;

use wire::identifier::{HostName, OrderNumber, SessionId};
use wire::incident::Cause;
use wire::key;
use wire::kill::{KillView, Killed, Kills, Seal, SignedKill};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Ledger, LedgerError, column, incident};

impl Ledger {
    /// What an order came to on each host that has said it.
    pub(crate) async fn kills(
        &self,
        order: OrderNumber,
    ) -> Result<BTreeMap<HostName, Kills>, LedgerError> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT host, said FROM kills WHERE order_number = ?")?;
            let rows = statement.query_map([order.number()], |row| {
                Ok((column::name(row, 0)?, column::json::<KillView>(row, 1)?))
            })?;
            let mut kills: BTreeMap<HostName, Kills> = BTreeMap::new();
            for row in rows {
                let (host, view) = row?;
                kills.entry(host).or_default().count(&view);
            }
            Ok(kills)
        })
        .await
    }
}

/// Takes what a host says of a session of its own. What is not signed as it must be is kept as that, and is an incident.
pub(super) fn take(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
    (signed, at): (&SignedKill, Timestamp),
    now: Timestamp,
) -> Result<(), LedgerError> {
    let unbelieved = |flaw: String| {
        let cause = Cause::Unbelieved { session, flaw };
        incident::open(connection, host, &cause, (1, now))
    };
    let killed = match signed.read() {
        Ok(killed) => killed,
        Err(error) => return unbelieved(error.to_string()),
    };
    let checked = if (&killed.host, killed.session) == (host, session) {
        let key = agent_key(connection, host)?;
        signed.check(key.as_ref()).map_err(|flaw| flaw.to_string())
    } else {
        Err(format!("it is of session {} on {}", killed.session, killed.host))
    };
    let seal = match checked {
        Ok(seal) => seal,
        Err(flaw) => {
            unbelieved(flaw)?;
            Seal::Wrong
        }
    };
    if !is_news(connection, (host, session))? {
        return Ok(());
    }
    let data = entry::Killed { host, session, at, seal, signed };
    entry::append(connection, Kind::SessionKilled, now, &data)?;
    write(connection, (host, session), &KillView { killed, seal })
}

/// The key of the host's agent; none of one that enrolled before agents had keys.
fn agent_key(
    connection: &Connection,
    host: &HostName,
) -> Result<Option<ssh_key::public::KeyData>, LedgerError> {
    let text: Option<Option<String>> = connection
        .prepare_cached("SELECT agent_key FROM hosts WHERE name = ?")?
        .query_row([host.as_str()], |row| row.get(0))
        .optional()?;
    let Some(text) = text.flatten() else { return Ok(None) };
    let key = key::from_openssh(&text);
    let key =
        key.map_err(|flaw| LedgerError::Torn(format!("the key of the agent of {host}: {flaw}")))?;
    Ok(Some(key.key_data().clone()))
}

/// Whether another word of the session says more than the one that is here: that one was not the last, or not the host's.
fn is_news(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
) -> Result<bool, LedgerError> {
    let here = of(connection, (host, session))?;
    Ok(here.is_none_or(|view| !view.killed.is_over() || view.seal == Seal::Wrong))
}

/// The newest word of a session.
pub(super) fn of(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
) -> Result<Option<KillView>, LedgerError> {
    let found = connection
        .prepare_cached("SELECT said FROM kills WHERE session = ? AND host = ?")?
        .query_row(params![session.to_string(), host.as_str()], |row| column::json(row, 0))
        .optional()?;
    Ok(found)
}

/// Replays an entry.
pub(super) fn replay(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
    (signed, seal): (&SignedKill, Seal),
) -> Result<(), LedgerError> {
    let killed: Killed = signed.read().map_err(|error| LedgerError::Torn(error.to_string()))?;
    write(connection, (host, session), &KillView { killed, seal })
}

fn write(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
    view: &KillView,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO kills (session, host, order_number, said) VALUES (?, ?, ?, ?) \
             ON CONFLICT (session, host) DO UPDATE SET order_number = excluded.order_number, said = excluded.said",
        )?
        .execute(params![
            session.to_string(),
            host.as_str(),
            view.killed.order().map(|order| order.number()),
            serde_json::to_string(view)?
        ])?;
    Ok(())
}
