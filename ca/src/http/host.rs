//! Hosts, as a person sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use policy::Act;
use wire::api::{HostView, LoginView};

use super::caller::Caller;
use super::power::Power;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::HostRow;
use crate::role::{Holder, Roles};

/// `GET /v1/hosts`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<HostView>>, Refusal> {
    let roles = authority.roles();
    let teams = match &caller {
        Caller::Local => BTreeSet::new(),
        Caller::Person(login) => authority.ledger.teams_of(login.identity.clone()).await?,
    };
    let sees_all = Power::of(&authority, &caller).await?.may(Act::Administer);
    let mut views = Vec::new();
    for host in authority.ledger.hosts().await? {
        let logins = match &caller {
            Caller::Local => Vec::new(),
            Caller::Person(login) => {
                let (identity, kind) = (&login.identity, login.kind);
                logins(&roles, Holder { identity, kind, teams: &teams }, &host)
            }
        };
        if sees_all || !logins.is_empty() {
            views.push(view(&authority, host, logins));
        }
    }
    Ok(Json(views))
}

fn logins(roles: &Roles, who: Holder<'_>, host: &HostRow) -> Vec<LoginView> {
    let labels: BTreeSet<_> = host.labels.iter().cloned().collect();
    roles
        .iter()
        .filter(|(_, role)| role.is_had_by(who) && role.reaches(&host.name, &labels))
        .flat_map(|(name, role)| {
            role.logins.iter().map(|login| LoginView { login: login.clone(), role: name.clone() })
        })
        .collect()
}

fn view(authority: &Authority, host: HostRow, logins: Vec<LoginView>) -> HostView {
    let presence = authority.fleet.presence(&host.name);
    let standing = authority.fleet.standing(&host.name);
    let connected = presence.is_some() || host.is_elsewhere(clock::now());
    let kept = host.certified.as_ref().and_then(|certified| certified.window);
    let krl = presence.as_ref().map_or(host.krl, |presence| presence.krl.clone());
    HostView {
        certificate_until: standing
            .as_ref()
            .and_then(|standing| standing.until)
            .or(kept.map(|window| window.until)),
        certificate_problem: standing.and_then(|standing| standing.problem),
        seen: presence.as_ref().map(|presence| presence.seen).or(host.seen),
        last_order: presence.as_ref().map_or(host.last_order, |presence| presence.last_order),
        connected,
        name: host.name,
        addresses: host.addresses,
        labels: host.labels,
        tier: host.tier,
        krl,
        logins,
    }
}
