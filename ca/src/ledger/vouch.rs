//! What the authority vouches for of a host: which SSH keys are its own, under which names, until when.
//!
//! Each time is a full decision on the ledger's one writer: the host must be enrolled under the certificate that it
//! connected with and must not be locked, and its names are those of this moment. SSH keys that the host did not have
//! before are certified only to its agent, which proves itself by a key that the link cannot read.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::identifier::{Address, Fingerprint, HostName, Label};
use wire::lock::Target;
use wire::renewal::{Proof, Window};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column, grant, keys, order, restore};
use crate::key::Purpose;

/// What is to be said of a host's SSH keys.
#[derive(Debug, Clone)]
pub(crate) struct Vouch {
    /// The keys.
    pub(crate) keys: Vec<Fingerprint>,
    /// How long the certificates live.
    pub(crate) lifetime: Duration,
}

/// What is durable in the ledger of a host's keys, so that it can be signed. Only the ledger makes one.
#[derive(Debug)]
#[must_use = "what is vouched for can be signed"]
pub(crate) struct Vouched {
    host: HostName,
    addresses: Vec<Address>,
    keys: Vec<Fingerprint>,
    entry: u64,
    window: Window,
    authority: Fingerprint,
}

/// A host's newest certificates, as the ledger keeps them beside the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certified {
    /// The names that they are valid for.
    pub(crate) names: Vec<String>,
    /// The keys.
    pub(crate) keys: Vec<Fingerprint>,
    /// The host authority that signed them; unknown for those from before this was kept.
    pub(crate) authority: Option<Fingerprint>,
    /// Their life; unknown for those from before this was kept.
    pub(crate) window: Option<Window>,
}

/// Why a host gets no certificates; each case says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VouchRefusal {
    /// A lock is on the host.
    #[error(
        "host {host} is locked: {reason}; its certificates are renewed when the lock is lifted"
    )]
    Locked {
        /// The host.
        host: HostName,
        /// Why.
        reason: String,
    },
    /// A key that the host did not have, and no proof that its agent asks.
    #[error(
        "host key {0} is new, and the ask is not signed by the agent's key: enrol the host again with a token of \
         `curfew-ca host token`"
    )]
    NewKey(Fingerprint),
    /// It asked a moment ago.
    #[error("the host was certified a moment ago; it may ask again in {0} s")]
    Soon(u64),
    /// It has no key.
    #[error("no host key was sent")]
    NoKey,
}

impl Vouched {
    /// The host.
    pub(crate) const fn host(&self) -> &HostName {
        &self.host
    }

    /// Where it is reached.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The keys, and no others.
    pub(crate) fn keys(&self) -> &[Fingerprint] {
        &self.keys
    }

    /// The entry that says so, by its number outside; the certificates carry it.
    pub(crate) const fn entry(&self) -> u64 {
        self.entry
    }

    /// The host authority that is to sign.
    pub(crate) const fn authority(&self) -> &Fingerprint {
        &self.authority
    }

    /// The certificates' life.
    pub(crate) const fn window(&self) -> Window {
        self.window
    }
}

impl Certified {
    /// Whether certificates by `authority` would say anything else now.
    pub(crate) fn differs(
        &self,
        host: &HostName,
        addresses: &[Address],
        authority: &Fingerprint,
    ) -> bool {
        self.authority.as_ref() != Some(authority) || self.names != names(host, addresses)
    }
}

/// What a host's certificates are valid for: its name, then its addresses.
pub(crate) fn names(host: &HostName, addresses: &[Address]) -> Vec<String> {
    let others = addresses.iter().map(Address::as_str).filter(|name| *name != host.as_str());
    std::iter::once(host.as_str()).chain(others).map(str::to_owned).collect()
}

impl Ledger {
    /// Vouches again for a host that is connected under `enrolment`.
    pub(crate) async fn renew_host(
        &self,
        (host, enrolment): (HostName, u64),
        (vouch, proof): (Vouch, Proof),
        now: Timestamp,
    ) -> Result<Vouched, LedgerError> {
        self.write(move |connection| {
            let (addresses, before) = standing(connection, &host, enrolment)?;
            refuse(connection, (&host, &before), (&vouch, proof), now)?;
            vouch_for(connection, (host, addresses), vouch, (Kind::HostCertified, now))
        })
        .await
    }

    /// Records that a host's connection gets its next TLS certificate. A locked host gets one too: orders must reach it.
    pub(crate) async fn renew_link(
        &self,
        (host, enrolment): (HostName, u64),
        (key, window): (Fingerprint, Window),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            standing(connection, &host, enrolment)?;
            let data = entry::LinkCertified { host: &host, key: &key, until: window.until };
            entry::append(connection, Kind::LinkCertified, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Gives a host other addresses and labels; what is absent stays. Decisions from before are made again.
    pub(crate) async fn change_host(
        &self,
        (by, host): (Actor, HostName),
        (addresses, labels): (Option<Vec<Address>>, Option<Vec<Label>>),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let found = connection
                .prepare_cached("SELECT addresses, labels FROM hosts WHERE name = ?")?
                .query_row([host.as_str()], |row| {
                    Ok((column::json(row, 0)?, column::json(row, 1)?))
                })
                .optional()?;
            let (had_addresses, had_labels): (Vec<Address>, Vec<Label>) =
                found.ok_or_else(|| LedgerError::NotFound(format!("there is no host {host}")))?;
            let (addresses, labels) =
                (addresses.unwrap_or(had_addresses), labels.unwrap_or(had_labels));
            super::host::refuse_taken(connection, &host, &addresses)?;
            connection
                .prepare_cached("UPDATE hosts SET addresses = ?, labels = ? WHERE name = ?")?
                .execute(params![
                    serde_json::to_string(&addresses)?,
                    serde_json::to_string(&labels)?,
                    host.as_str()
                ])?;
            super::host::put_addresses(connection, &host, &addresses)?;
            grant::bump_epoch(connection)?;
            let data = entry::Host {
                by: &by,
                host: &host,
                addresses: &addresses,
                labels: &labels,
                until: None,
                host_keys: &[],
                agent_key: None,
                token: None,
            };
            entry::append(connection, Kind::HostChanged, now, &data)?;
            Ok(())
        })
        .await
    }
}

/// Where the host is reached, and what was said of it last.
fn standing(
    connection: &Connection,
    host: &HostName,
    enrolment: u64,
) -> Result<(Vec<Address>, Option<Certified>), LedgerError> {
    let found = connection
        .prepare_cached("SELECT addresses, certified FROM hosts WHERE name = ? AND enrolment = ?")?
        .query_row(params![host.as_str(), enrolment], |row| {
            Ok((column::json(row, 0)?, column::maybe_json(row, 1)?))
        })
        .optional()?;
    found.ok_or_else(|| {
        LedgerError::NotFound(format!(
            "host {host} is not enrolled under this certificate (enrolment {enrolment}); enrol it again"
        ))
    })
}

fn refuse(
    connection: &Connection,
    (host, before): (&HostName, &Option<Certified>),
    (vouch, proof): (&Vouch, Proof),
    now: Timestamp,
) -> Result<(), LedgerError> {
    let is_on_it = |target: &Target| matches!(target, Target::Host(name) if name == host);
    let locks = order::locks_in_force(connection, now)?;
    if let Some(lock) = locks.into_iter().find(|lock| is_on_it(&lock.target)) {
        return Err(VouchRefusal::Locked { host: host.clone(), reason: lock.reason }.into());
    }
    if vouch.keys.is_empty() {
        return Err(VouchRefusal::NoKey.into());
    }
    let known = before.as_ref().map_or(&[][..], |before| &before.keys);
    let unknown = vouch.keys.iter().find(|key| !known.contains(key));
    if let (Some(key), Proof::None) = (unknown, proof) {
        return Err(VouchRefusal::NewKey(key.clone()).into());
    }
    let last = before.as_ref().and_then(|before| before.window).map(|window| window.from);
    let since = last.map_or(Duration::MAX, |last| now.since(last));
    if since < SHORTEST_PAUSE {
        let left = SHORTEST_PAUSE.saturating_sub(since).as_secs().saturating_add(1);
        return Err(VouchRefusal::Soon(left).into());
    }
    Ok(())
}

/// Writes the entry and what follows from it.
pub(super) fn vouch_for(
    connection: &Connection,
    (host, addresses): (HostName, Vec<Address>),
    vouch: Vouch,
    (kind, now): (Kind, Timestamp),
) -> Result<Vouched, LedgerError> {
    // Certificates count whole seconds; what is said elsewhere is what they say.
    let from = Timestamp::from_secs(now.secs());
    let window = Window { from, until: from.after(vouch.lifetime) };
    let names = names(&host, &addresses);
    let authority = keys::signing(connection, Purpose::Host)?;
    let data = entry::Vouched {
        host: &host,
        names: &names,
        host_keys: &vouch.keys,
        authority: &authority,
        until: window.until,
    };
    let entry = restore::outside(connection, entry::append(connection, kind, now, &data)?)?;
    let certified = Certified {
        names,
        keys: vouch.keys,
        authority: Some(authority.clone()),
        window: Some(window),
    };
    connection
        .prepare_cached("UPDATE hosts SET certified = ? WHERE name = ?")?
        .execute(params![serde_json::to_string(&certified)?, host.as_str()])?;
    Ok(Vouched { host, addresses, keys: certified.keys, entry, window, authority })
}

/// A host that asks more often only fills the ledger.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
