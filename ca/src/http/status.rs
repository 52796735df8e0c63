//! The one page: what is there and what is wrong.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::api::Status;
use wire::identifier::HostName;
use wire::incident::IncidentView;
use wire::record::Tier;
use wire::renewal::{Standing, Window};
use wire::time::Timestamp;

mod krl;

use super::caller::Caller;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::ceremony;
use crate::clock;
use crate::config::shown;
use crate::ledger::{HostRow, LedgerError};

/// `GET /v1/status`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    _caller: Caller,
) -> Result<Json<Status>, Refusal> {
    let now = clock::now();
    let hosts = authority.ledger.hosts().await?;
    let sessions = authority.ledger.session_counts().await?;
    let mut concerns = concerns_of_hosts(&authority, &hosts, now);
    concerns.extend(refused_files(&authority));
    concerns.extend(concerns_of_ledger(&authority).await?);
    let krl = authority.krl.newest().map(|list| krl::standing(&authority, &hosts, &list));
    concerns.extend(krl.iter().flat_map(|(_, concerns)| concerns.iter().cloned()));
    concerns.extend(authority.krl.failure().map(|reason| {
        format!("what is locked is not in the list of revoked keys that hosts have: {reason}")
    }));
    let (incidents, newest) = authority.ledger.open_incidents().await?;
    concerns.extend(newest.map(|newest| incident_concern(incidents, &newest)));
    concerns.extend(concerns_of_keys(&authority));
    concerns.extend(concerns_of_breakglass(&authority, now).await?);
    concerns.extend(authority.alarms.concern());
    concerns.extend(authority.notices.concerns());
    concerns.extend(crate::risk::overdue(authority.risk().weights(), now));
    concerns.extend(authority.witnesses.concerns());
    Ok(Json(Status {
        authority_version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: authority.root.fingerprint(),
        at: now,
        hosts: count(hosts.len()),
        connected: count(
            hosts
                .iter()
                .filter(|host| authority.fleet.is_connected(&host.name) || host.is_elsewhere(now))
                .count(),
        ),
        sessions: sessions.alive,
        locks: count(authority.ledger.locks(now).await?.len()),
        krl: krl.map(|(status, _)| status),
        witnesses: authority.witnesses.status(),
        concerns,
    }))
}

/// What is wrong with hosts, one by one.
fn concerns_of_hosts(authority: &Authority, hosts: &[HostRow], now: Timestamp) -> Vec<String> {
    let newest = *authority.ledger.orders().borrow();
    let connections = hosts.iter().filter_map(|host| concern(authority, host, (newest, now)));
    let certificates = hosts.iter().filter_map(|host| {
        let standing = authority.fleet.standing(&host.name);
        let window = host.certified.as_ref().and_then(|certified| certified.window);
        certificate_concern(&host.name, (window, standing), now)
    });
    let troubles = hosts.iter().filter_map(|host| {
        let trouble = authority.fleet.trouble(&host.name)?;
        Some(format!("host {}: {trouble}", host.name))
    });
    connections.chain(certificates).chain(troubles).collect()
}

/// What the ledger says is left to do by hand.
async fn concerns_of_ledger(authority: &Authority) -> Result<Vec<String>, Refusal> {
    let survivors = authority.ledger.survivors().await?.into_iter().map(|(order, host, alive)| {
        format!("{alive} processes survive order {order} on host {host}: end them there by hand")
    });
    let kept = authority.ledger.kept_locks().await?.into_iter().map(|kept| {
        format!(
            "host {} keeps a lock on {} ({}) that was ordered after the backup from which this ledger was restored: lock it \
             again with `curfew-ca lock`, or lift it there with `curfew-ca unlock`",
            kept.host, kept.target, kept.reason
        )
    });
    Ok(survivors.chain(kept).collect())
}

/// Keys that do not sign, and keys that are not here.
fn concerns_of_keys(authority: &Authority) -> Vec<String> {
    let keyring = authority.keyring();
    let troubles = keyring.troubles().map(|(slot, trouble)| {
        format!("the key {slot} does not sign, and nothing that it signs is given out: {trouble}")
    });
    let absent = authority.ledger.absent(&keyring).into_iter().map(|(purpose, key, signs)| {
        let until = if signs {
            "it does nothing that needs it"
        } else {
            "it will do nothing once that key signs"
        };
        format!(
            "this node lacks the key {key} of {}, which another node has made: {until}; copy the key and its record into the \
             state folder and restart",
            purpose.name()
        )
    });
    troubles.chain(absent).collect()
}

/// What is due after break-glass, and before it is needed.
async fn concerns_of_breakglass(
    authority: &Authority,
    now: Timestamp,
) -> Result<Vec<String>, LedgerError> {
    let state = authority.ledger.breakglass((authority.config.drills, now)).await?;
    Ok(ceremony::concerns(&state))
}

/// Files that were refused, so that older ones are in force.
fn refused_files(authority: &Authority) -> impl Iterator<Item = String> {
    let roles = authority
        .roles_refusal()
        .map(|reason| format!("the roles file is refused and older roles are in force: {reason}"));
    let policy = authority
        .policy_refusal()
        .map(|reason| format!("the policy is refused and an older one is in force: {reason}"));
    let risk = authority.risk_refusal().map(|reason| {
        format!("the weights of risks are refused and older ones are in force: {reason}")
    });
    let behaviour = authority.behaviour_refusal().map(|reason| {
        format!("the rules of behaviour are refused and older ones are in force: {reason}")
    });
    roles.into_iter().chain(policy).chain(risk).chain(behaviour)
}

fn concern(
    authority: &Authority,
    host: &HostRow,
    (newest, now): (u64, Timestamp),
) -> Option<String> {
    let name = &host.name;
    let Some(presence) = authority.fleet.presence(name) else {
        if host.is_elsewhere(now) {
            return None;
        }
        let when = host.seen.map_or_else(
            || {
                "has never connected since it enrolled; start curfew-agent and curfew-link there"
                    .to_owned()
            },
            |seen| {
                let since = std::time::Duration::from_secs(now.since(seen).as_secs());
                format!(
                    "is unreachable, last heard of {} ago; look at curfew-link there",
                    shown(since)
                )
            },
        );
        return Some(format!("host {name} {when}"));
    };
    if presence.skew_secs > MAX_SKEW_SECS {
        return Some(format!(
            "the clock of host {name} is {} s off; certificates may be refused there",
            presence.skew_secs
        ));
    }
    if presence.last_order < newest {
        return Some(format!(
            "host {name} has order {} in force and {newest} is the newest; look at curfew-agent there if that stays",
            presence.last_order
        ));
    }
    match &host.tier {
        Some(Tier::Degraded { reason }) => {
            Some(format!("host {name} sees less than it should: {reason}"))
        }
        _ => None,
    }
}

/// What is wrong with a host's SSH certificates: they have ended, the next ones are overdue, or sshd does not offer them.
fn certificate_concern(
    host: &HostName,
    (window, standing): (Option<Window>, Option<Standing>),
    now: Timestamp,
) -> Option<String> {
    let problem = standing.and_then(|standing| standing.problem);
    let why = problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
    match window {
        Some(window) if window.until <= now => Some(format!(
            "the SSH certificates of host {host} have ended, so ssh refuses it{why}; look at curfew-agent there"
        )),
        Some(window) if window.overdue() <= now => {
            let left = std::time::Duration::from_secs(window.until.since(now).as_secs());
            Some(format!(
                "the SSH certificates of host {host} end in {} and were not renewed{why}; look at curfew-agent there",
                shown(left)
            ))
        }
        _ => problem.map(|problem| format!("the SSH certificates of host {host}: {problem}")),
    }
}

/// What must be looked at before everything else.
fn incident_concern(count: u64, newest: &IncidentView) -> String {
    let others = match count {
        1 => String::new(),
        count => format!(" ({count} incidents are open)"),
    };
    format!(
        "INCIDENT {} on host {}: {}{others}; see `curfew-ca incident list`",
        newest.number, newest.host, newest.cause
    )
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Certificates are backdated by 30 s; a clock further off than this refuses some.
const MAX_SKEW_SECS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_overdue_or_not_offered_is_a_concern() {
        let at = Timestamp::from_secs;
        let window = Some(Window { from: at(0), until: at(600) });
        let standing = |problem: Option<&str>| {
            Some(Standing { until: Some(at(600)), problem: problem.map(str::to_owned) })
        };
        let say = |standing, secs| {
            certificate_concern(&"db1".parse().unwrap(), (window, standing), at(secs))
        };
        assert_eq!(say(standing(None), 499), None);
        assert_eq!(say(None, 499), None);
        let overdue = say(standing(Some("refused")), 500).unwrap();
        assert!(overdue.contains("end in 1m 40s and were not renewed: refused;"), "{overdue}");
        assert!(say(None, 600).unwrap().contains("have ended, so ssh refuses it; look"));
        let hidden = say(standing(Some("sshd offers none")), 1).unwrap();
        assert_eq!(hidden, "the SSH certificates of host db1: sshd offers none");
        let unknown = certificate_concern(&"db1".parse().unwrap(), (None, standing(None)), at(1));
        assert_eq!(unknown, None);
    }
}
