//! Hearing of what other nodes write: the server says it at once, and it is looked for every second besides. This is also where
//! a node says that it is alive.

use std::time::Duration;

use super::super::sql::{Connection, params};
use super::super::{LedgerError, Place};
use crate::clock;

/// Calls `look` for whatever other nodes write, until it says that nobody wants to know any more.
pub(super) fn listen(place: &Place, look: impl Fn() -> bool) {
    let mut is_told = false;
    loop {
        match hear(place, &look) {
            Ok(()) => return,
            Err(error) => {
                if !is_told {
                    tracing::warn!(%error, "what other nodes write is not heard of; trying again");
                }
                is_told = true;
            }
        }
        std::thread::park_timeout(PAUSE);
        if !look() {
            return;
        }
    }
}

fn hear(place: &Place, look: &impl Fn() -> bool) -> Result<(), LedgerError> {
    let connection = place.open()?;
    connection.listen()?;
    let mut alive = None;
    loop {
        let now = clock::instant();
        if alive.is_none_or(|since| now.saturating_duration_since(since) >= ALIVE) {
            say_alive(&connection, place)?;
            alive = Some(now);
        }
        connection.heard(PATIENCE)?;
        if !look() {
            return Ok(());
        }
    }
}

/// Writes down that this node lives, and forgets those that have not for long.
fn say_alive(connection: &Connection, place: &Place) -> Result<(), LedgerError> {
    let Some(node) = place.node() else { return Ok(()) };
    let now = clock::now();
    connection.execute(
        "INSERT INTO nodes (node, seen) VALUES (?, ?) ON CONFLICT (node) DO UPDATE SET seen = excluded.seen",
        params![node, now.millis()],
    )?;
    let long_ago = now.millis().saturating_sub(FORGOTTEN_MILLIS);
    connection.execute("DELETE FROM nodes WHERE seen < ?", [long_ago])?;
    Ok(())
}

/// How often it is looked when nothing is heard.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a lost server is looked for again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a node says that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// A node that has not said so for a day is forgotten.
const FORGOTTEN_MILLIS: u64 = 24 * 3_600_000;
