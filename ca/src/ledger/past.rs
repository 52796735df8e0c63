//! What bears on a risk, as of one moment: sessions, requests, refusals, grants. Nothing of later is read, but for two things: of
//! several reviews of a session the last alone is known here, and peers are those of the teams of now.

use std::net::{IpAddr, SocketAddr};

use risk::{Marks, Use, Verdict};
use wire::api::Ended;
use wire::identifier::{Fingerprint, Identity, RequestId};
use wire::record::EndReason;
use wire::review::{self, Review};
use wire::time::Timestamp;

use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{LedgerError, column};
use crate::risk::{Gathered, network};

/// Whose past, and with which key they are logged in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) identity: &'a Identity,
    /// The enrolled key of their login, if there is one.
    pub(super) key: Option<&'a Fingerprint>,
    /// The request that is reckoned itself.
    pub(super) but: Option<RequestId>,
}

/// Reads what bears on a risk.
pub(super) fn gather(
    connection: &Connection,
    whose: Whose<'_>,
    at: Timestamp,
) -> Result<Gathered, LedgerError> {
    let who = whose.identity.as_str();
    let own = connection
        .prepare_cached(&format!(
            "{SELECT} WHERE identity = ?1 AND known AND began <= ?2 ORDER BY began DESC LIMIT {OWN}"
        ))?
        .query_map(params![who, at.millis()], session)?
        .collect::<Result<_, _>>()?;
    let team = connection
        .prepare_cached(&format!(
            "{SELECT} WHERE identity IN (SELECT other.identity FROM members AS mine              JOIN members AS other ON other.team = mine.team WHERE mine.identity = ?1)              AND identity <> ?1 AND known AND began <= ?2 ORDER BY began DESC LIMIT {TEAM}"
        ))?
        .query_map(params![who, at.millis()], session)?
        .collect::<Result<_, _>>()?;
    let added: Option<u64> = connection
        .prepare_cached("SELECT added FROM identities WHERE name = ?")?
        .query_row([who], |row| row.get(0))
        .optional()?;
    Ok(Gathered {
        own,
        team,
        marks: marks(connection, whose, at)?,
        known_secs: added.map(|added| at.since(Timestamp::from_millis(added)).as_secs()),
        hardware_key: whose.key.map(|key| is_hardware(connection, key)).transpose()?,
    })
}

fn marks(connection: &Connection, whose: Whose<'_>, at: Timestamp) -> Result<Marks, LedgerError> {
    let (who, since) = (whose.identity.as_str(), at.before(DAY).millis());
    let but = whose.but.map_or(0, RequestId::number);
    let requests = connection
        .prepare_cached(
            "SELECT at FROM requests WHERE identity = ? AND at > ? AND at <= ? AND id <> ? LIMIT 1000",
        )?
        .query_map(params![who, since, at.millis(), but], |row| seconds(row, 0))?
        .collect::<Result<_, _>>()?;
    let refusals = connection
        .prepare_cached(
            "SELECT last, count FROM attempts WHERE identity = ? AND last > ? AND first <= ? LIMIT 1000",
        )?
        .query_map(params![who, since, at.millis()], |row| {
            let count: u64 = row.get(1)?;
            let last = seconds(row, 0)?.min(at.secs());
            Ok((last, u32::try_from(count).unwrap_or(u32::MAX)))
        })?
        .collect::<Result<_, _>>()?;
    let concurrent: u64 = connection
        .prepare_cached(
            "SELECT count(*) FROM grants WHERE identity = ?1 AND began <= ?2 AND until > ?2",
        )?
        .query_row(params![who, at.millis()], |row| row.get(0))?;
    let concurrent = u32::try_from(concurrent).unwrap_or(u32::MAX);
    let incidents = connection
        .prepare_cached(
            "SELECT host, first FROM incidents WHERE first > ? AND first <= ? ORDER BY first DESC LIMIT 10000",
        )?
        .query_map(params![at.before(QUARTER).millis(), at.millis()], |row| {
            Ok((row.get::<String>(0)?, seconds(row, 1)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Marks { requests, refusals, concurrent, incidents })
}

/// Whether a login key lies in a security key.
fn is_hardware(connection: &Connection, key: &Fingerprint) -> Result<bool, LedgerError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT public_key FROM keys WHERE fingerprint = ?")?
        .query_row([key.as_str()], |row| row.get(0))
        .optional()?;
    Ok(text.is_some_and(|text| text.starts_with("sk-")))
}

/// The same with when its certificate was issued, before which it did not end, whatever its host's clock says.
pub(super) fn used(row: &Row<'_>) -> Result<Use, SqlError> {
    let issued = column::maybe_moment(row, 7)?.map_or(0, Timestamp::secs);
    let one = session(row)?;
    Ok(Use { ended: one.ended.map(|ended| ended.max(issued)), ..one })
}

fn session(row: &Row<'_>) -> Result<Use, SqlError> {
    let (began, until) = (column::moment(row, 3)?, column::moment(row, 4)?);
    let ended: Option<Ended> = column::maybe_json(row, 5)?;
    let review: Option<Review> = column::maybe_json(row, 6)?;
    let remote: String = row.get(2)?;
    let verdict = |review: Review| match review.verdict {
        review::Verdict::Ok => (review.at.secs(), Verdict::Ok),
        review::Verdict::OutOfScope | review::Verdict::Incident => (review.at.secs(), Verdict::Bad),
    };
    Ok(Use {
        host: row.get(0)?,
        login: row.get(1)?,
        source: address(&remote).map(network),
        began: began.secs(),
        was_stopped: ended.as_ref().is_some_and(|ended| was_stopped(&ended.reason)),
        ended: ended.map(|ended| ended.at.secs()),
        seconds: until.since(began).as_secs(),
        reviews: review.map(verdict).into_iter().collect(),
    })
}

/// Whether a session ended for what was done in it. A lock says nothing of that: giving a grant back is one.
const fn was_stopped(reason: &EndReason) -> bool {
    matches!(reason, EndReason::Threshold(_))
}

/// The address of a client as hosts tell it, with or without a port.
fn address(remote: &str) -> Option<IpAddr> {
    let with_port = || remote.parse().ok().map(|socket: SocketAddr| socket.ip());
    remote.parse().ok().or_else(with_port)
}

fn seconds(row: &Row<'_>, column: usize) -> Result<u64, SqlError> {
    column::moment(row, column).map(Timestamp::secs)
}

const SELECT: &str = "SELECT host, login, remote, began, until, ended, review FROM sessions";
/// Most sessions of their own that are read, the newest first.
const OWN: u64 = 1_000;
/// Most of others.
const TEAM: u64 = 2_000;
/// For how long incidents count.
const QUARTER: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3_600);
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);
