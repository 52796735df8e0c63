//! The entries: one for each decision, numbered without gaps, never changed.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use serde::Serialize;
use wire::identifier::{
    Address, Fingerprint, GrantId, HostName, Identity, Label, Login, OrderNumber, RoleName, Serial,
    SessionId,
};
use wire::options::Ability;
use wire::order::SignedOrder;
use wire::record::{SessionBegan, SessionEnded};
use wire::time::Timestamp;

use super::{Actor, LedgerError};
use crate::random::sha256;
use crate::role::Role;

/// What kind of decision it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The authority came into being.
    AuthorityCreated,
    /// An identity was added.
    IdentityAdded,
    /// An identity got a key to log in with.
    KeyAdded,
    /// An identity was disabled.
    IdentityDisabled,
    /// An identity was enabled again.
    IdentityEnabled,
    /// Somebody logged in.
    Login,
    /// A token to enrol a host was made.
    HostTokenMade,
    /// A host joined.
    HostEnrolled,
    /// A host was removed.
    HostRemoved,
    /// A grant began.
    GrantBegun,
    /// A certificate was allowed.
    Certificate,
    /// A request was denied.
    Denial,
    /// A lock came into force.
    Lock,
    /// A lock was lifted.
    Unlock,
    /// Other roles are in force.
    RolesChanged,
    /// A changed roles file was refused, and the roles stayed.
    RolesRefused,
    /// A host says that a session began.
    SessionBegun,
    /// A host says that a session ended.
    SessionEnded,
}

/// A leaf of the ledger: what is hashed.
#[derive(Serialize)]
struct Leaf<'a, T> {
    version: u32,
    seq: u64,
    at: Timestamp,
    kind: Kind,
    data: &'a T,
}

/// [`Kind::AuthorityCreated`].
#[derive(Serialize)]
pub(super) struct Created<'a> {
    pub(super) fingerprint: &'a Fingerprint,
}

/// [`Kind::IdentityAdded`], [`Kind::IdentityDisabled`], [`Kind::IdentityEnabled`].
#[derive(Serialize)]
pub(super) struct Person<'a> {
    pub(super) by: &'a Actor,
    pub(super) identity: &'a Identity,
    pub(super) operator: bool,
    pub(super) reason: Option<&'a str>,
}

/// [`Kind::KeyAdded`].
#[derive(Serialize)]
pub(super) struct Key<'a> {
    pub(super) by: &'a Actor,
    pub(super) identity: &'a Identity,
    pub(super) key: &'a Fingerprint,
    pub(super) public_key: &'a str,
}

/// [`Kind::Login`].
#[derive(Serialize)]
pub(super) struct LoggedIn<'a> {
    pub(super) identity: &'a Identity,
    pub(super) key: &'a Fingerprint,
    pub(super) until: Timestamp,
}

/// [`Kind::HostTokenMade`], [`Kind::HostEnrolled`] and [`Kind::HostRemoved`].
#[derive(Serialize)]
pub(super) struct Host<'a> {
    pub(super) by: &'a Actor,
    pub(super) host: &'a HostName,
    pub(super) addresses: &'a [Address],
    pub(super) labels: &'a [Label],
    pub(super) until: Option<Timestamp>,
    pub(super) host_keys: &'a [Fingerprint],
}

/// [`Kind::GrantBegun`].
#[derive(Serialize)]
pub(super) struct Grant<'a> {
    pub(super) grant: GrantId,
    pub(super) identity: &'a Identity,
    pub(super) role: &'a RoleName,
    pub(super) host: &'a HostName,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reason: Option<&'a str>,
}

/// [`Kind::Certificate`]: all that the certificate says.
#[derive(Serialize)]
pub(super) struct Certificate<'a> {
    pub(super) serial: Serial,
    pub(super) grant: GrantId,
    pub(super) identity: &'a Identity,
    pub(super) login: &'a Login,
    pub(super) host: &'a HostName,
    pub(super) role: &'a RoleName,
    pub(super) abilities: Vec<Ability>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) critical_options: BTreeMap<&'static str, String>,
    pub(super) key: &'a Fingerprint,
    pub(super) valid_after_secs: u64,
    pub(super) valid_before_secs: u64,
    pub(super) grant_until_secs: u64,
}

/// [`Kind::Denial`].
#[derive(Serialize)]
pub(super) struct Denied<'a> {
    pub(super) identity: &'a Identity,
    pub(super) host: &'a Address,
    pub(super) login: &'a Login,
    pub(super) role: Option<&'a RoleName>,
    pub(super) key: &'a Fingerprint,
    pub(super) reason: String,
}

/// [`Kind::Lock`] and [`Kind::Unlock`].
#[derive(Serialize)]
pub(super) struct Ordered<'a> {
    pub(super) by: &'a Actor,
    pub(super) order: OrderNumber,
    pub(super) reason: &'a str,
    pub(super) signed: &'a SignedOrder,
}

/// [`Kind::RolesChanged`].
#[derive(Serialize)]
pub(super) struct RolesNow<'a> {
    pub(super) roles: &'a BTreeMap<RoleName, Role>,
}

/// [`Kind::RolesRefused`].
#[derive(Serialize)]
pub(super) struct RolesRefused<'a> {
    pub(super) reason: &'a str,
}

/// [`Kind::SessionBegun`].
#[derive(Serialize)]
pub(super) struct Begun<'a> {
    pub(super) host: &'a HostName,
    pub(super) session: SessionId,
    pub(super) known: bool,
    pub(super) began: &'a SessionBegan,
}

/// [`Kind::SessionEnded`].
#[derive(Serialize)]
pub(super) struct Ended<'a> {
    pub(super) host: &'a HostName,
    pub(super) session: SessionId,
    pub(super) ended: &'a SessionEnded,
}

/// Adds an entry and says its number.
pub(super) fn append<T: Serialize>(
    connection: &Connection,
    kind: Kind,
    at: Timestamp,
    data: &T,
) -> Result<u64, LedgerError> {
    let seq: u64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM entries")?
        .query_row([], |row| row.get(0))?;
    let body = serde_json::to_vec(&Leaf { version: VERSION, seq, at, kind, data })?;
    let hash = sha256(&[LEAF_PREFIX, &body]);
    let kind = serde_json::to_value(kind)?;
    connection
        .prepare_cached(
            "INSERT INTO entries (seq, at, kind, version, body, leaf_hash) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![seq, at.millis(), kind.as_str(), VERSION, body, hash])?;
    Ok(seq)
}

/// The version of the bodies.
const VERSION: u32 = 1;
/// What tells a leaf's hash from a node's (RFC 6962, 2.1).
const LEAF_PREFIX: &[u8] = &[0];
