//! What is told to others by the authority itself, read from the entries: which of them bear on somebody outside, and how far each
//! receiver has been told.
//!
//! The ledger is the queue: nothing waits anywhere else, so that nothing is lost with a process. Of nodes that share a ledger one tells
//! a receiver at a time: it has a lease, and another takes over when that has run out.
//! Who can change this: whoever has the ledger's database. Gains: has receivers told less, or the same again.

use std::time::Duration;

use serde_json::Value;
use wire::key_request::KeyRequestView;
use wire::time::Timestamp;

use super::entry::Kind;
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Ledger, LedgerError, column};

/// An entry that may be told of.
#[derive(Debug)]
pub(crate) struct Noted {
    /// Its number.
    pub(crate) entry: u64,
    /// When it was made.
    pub(crate) at: Timestamp,
    /// What kind it is.
    pub(crate) kind: Kind,
    /// What it says; nothing once that was erased.
    pub(crate) body: Option<Value>,
}

/// Entries in their order, and how far was looked.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Those that may be told of.
    pub(crate) noted: Vec<Noted>,
    /// No other one is before this entry, or is it.
    pub(crate) up_to: u64,
}

impl Ledger {
    /// This node, as others know it.
    fn node_name(&self) -> String {
        self.place.node().unwrap_or_default().to_owned()
    }

    /// Leases a receiver until a moment, and says how far it has been told; nothing while another node has it. One that nobody has told
    /// anything for [`FORGOTTEN`], or that is new, begins with what comes now.
    pub(crate) async fn lease_notices(
        &self,
        receiver: String,
        (until, now): (Timestamp, Timestamp),
    ) -> Result<Option<u64>, LedgerError> {
        let (node, size) = (self.node_name(), self.checkpoints().borrow().head().size);
        self.write(move |connection| {
            let held: Option<(u64, String, Timestamp)> = connection
                .prepare_cached("SELECT told, node, until FROM notices WHERE receiver = ?")?
                .query_row([receiver.as_str()], |row| {
                    Ok((row.get(0)?, row.get(1)?, column::moment(row, 2)?))
                })
                .optional()?;
            let told = match held {
                Some((_, holder, ends)) if holder != node && ends > now => return Ok(None),
                Some((told, _, ends)) if ends.after(FORGOTTEN) > now => told,
                Some(_) | None => size,
            };
            connection
                .prepare_cached(
                    "INSERT INTO notices (receiver, told, node, until) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (receiver) DO UPDATE SET told = ?2, node = ?3, until = ?4",
                )?
                .execute(params![receiver, told, node, until.millis()])?;
            Ok(Some(told))
        })
        .await
    }

    /// A receiver has been told of all up to this entry; says whether it still is this node's to tell.
    pub(crate) async fn advance_notices(
        &self,
        receiver: String,
        (told, until): (u64, Timestamp),
    ) -> Result<bool, LedgerError> {
        let node = self.node_name();
        self.write(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE notices SET told = ?1, until = ?4 WHERE receiver = ?2 AND node = ?3 AND told <= ?1",
                )?
                .execute(params![told, receiver, node, until.millis()])?;
            Ok(changed > 0)
        })
        .await
    }

    /// Gives a lease up, so that another node need not wait for its end.
    pub(crate) async fn release_notices(
        &self,
        receiver: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let node = self.node_name();
        self.write(move |connection| {
            connection
                .prepare_cached("UPDATE notices SET until = ?1 WHERE receiver = ?2 AND node = ?3")?
                .execute(params![now.millis(), receiver, node])?;
            Ok(())
        })
        .await
    }

    /// The next entries of these kinds after this one, as far as they are durable and in the tree.
    pub(crate) async fn noted(&self, after: u64, kinds: Vec<Kind>) -> Result<Batch, LedgerError> {
        let size = self.checkpoints().borrow().head().size;
        self.read(move |connection| batch(connection, (after, size), &kinds)).await
    }

    /// A request for a key, as whoever sees all of them sees it.
    pub(crate) async fn key_request(
        &self,
        number: u64,
        now: Timestamp,
    ) -> Result<Option<KeyRequestView>, LedgerError> {
        let all = self.key_requests(None, now).await?;
        Ok(all.into_iter().find(|view| view.request == number))
    }
}

fn batch(
    connection: &Connection,
    (after, size): (u64, u64),
    kinds: &[Kind],
) -> Result<Batch, LedgerError> {
    let end = size.min(after.saturating_add(STRETCH));
    // Our own words, and none of a stranger's.
    let names: Vec<String> = kinds
        .iter()
        .map(|kind| Ok(format!("'{}'", kind.name()?)))
        .collect::<Result<_, LedgerError>>()?;
    if names.is_empty() {
        return Ok(Batch { noted: Vec::new(), up_to: end });
    }
    let mut statement = connection.prepare_cached(&format!(
        "SELECT entries.seq, entries.at, entries.kind, bodies.body FROM entries LEFT JOIN bodies ON bodies.seq = entries.seq \
         WHERE entries.seq > ? AND entries.seq <= ? AND entries.kind IN ({}) ORDER BY entries.seq LIMIT {AT_ONCE}",
        names.join(", ")
    ))?;
    let rows = statement.query_map(params![after, end], |row| {
        let body: Option<Vec<u8>> = row.get(3)?;
        let head: (u64, String) = (row.get(0)?, row.get(2)?);
        Ok((head, column::moment(row, 1)?, body))
    })?;
    let mut noted = Vec::new();
    for row in rows {
        let ((entry, kind), at, body) = row?;
        let body = body.map(|body| serde_json::from_slice(&body)).transpose()?;
        let kind = Kind::of(&kind);
        noted.extend(kind.map(|kind| Noted { entry, at, kind, body }));
    }
    let up_to = match noted.last() {
        Some(last) if noted.len() >= AT_ONCE => last.entry,
        _ => end,
    };
    Ok(Batch { noted, up_to })
}

/// Most entries that are looked at together.
const STRETCH: u64 = 10_000;
/// Most that are told of together.
const AT_ONCE: usize = 50;
/// After how long without anybody who told it a receiver begins anew: what a receiver missed that was taken out of the settings is
/// not poured over it when it comes back.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{NOW, ledger};

    fn at(secs: u64) -> Timestamp {
        NOW.after(Duration::from_secs(secs))
    }

    async fn lease(ledger: &Ledger, now: u64) -> Option<u64> {
        ledger
            .lease_notices("chat".into(), (at(now).after(Duration::from_secs(60)), at(now)))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_receiver_begins_with_what_comes_and_goes_on_where_it_was() {
        let (_dir, ledger) = ledger();
        let begin = lease(&ledger, 0).await.unwrap();
        assert_eq!(begin, ledger.checkpoints().borrow().head().size);
        let cause = wire::incident::Cause::Gone { from: 1, to: 2 };
        ledger.notice("db1".parse().unwrap(), cause, at(1)).await.unwrap();
        let found = ledger.noted(begin, vec![Kind::Incident]).await.unwrap();
        assert_eq!((found.noted.len(), found.up_to), (1, begin + 1));
        assert_eq!(found.noted[0].entry, begin + 1);
        assert_eq!(found.noted[0].body.as_ref().unwrap()["host"], "db1");
        assert!(ledger.noted(begin, vec![Kind::Lock]).await.unwrap().noted.is_empty());
        assert_eq!(lease(&ledger, 30).await, Some(begin), "not told yet");
        assert!(ledger.advance_notices("chat".into(), (begin + 1, at(60))).await.unwrap());
        assert!(
            !ledger.advance_notices("chat".into(), (begin, at(60))).await.unwrap(),
            "never back"
        );
        assert!(!ledger.advance_notices("none".into(), (begin, at(60))).await.unwrap());
        assert_eq!(lease(&ledger, 3_600).await, Some(begin + 1), "after hours too");
        assert!(ledger.noted(begin + 1, vec![Kind::Incident]).await.unwrap().noted.is_empty());
    }

    #[tokio::test]
    async fn one_node_tells_at_a_time_and_who_was_forgotten_begins_anew() {
        let (_dir, ledger) = ledger();
        let begin = lease(&ledger, 0).await.unwrap();
        let taken = |node: &'static str| {
            ledger.write(move |connection| {
                connection.execute("UPDATE notices SET node = ?", [node])?;
                Ok(())
            })
        };
        taken("another").await.unwrap();
        assert_eq!(lease(&ledger, 59).await, None);
        assert!(!ledger.advance_notices("chat".into(), (begin + 9, at(60))).await.unwrap());
        assert_eq!(lease(&ledger, 61).await, Some(begin), "it has run out");
        let cause = wire::incident::Cause::Gone { from: 1, to: 2 };
        ledger.notice("db1".parse().unwrap(), cause, at(1)).await.unwrap();
        assert_eq!(lease(&ledger, 62).await, Some(begin));
        assert_eq!(lease(&ledger, 62 + 8 * 24 * 3600).await, Some(begin + 1));
    }
}
