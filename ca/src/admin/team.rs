//! Who is in which team, by the operator's word.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, TeamName};
use wire::problem::Code;

use crate::authority::Authority;
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::ledger::{Source, TeamChange, TeamRow};

/// "These come into the team, and those leave it."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeTeam {
    /// The team.
    pub(crate) team: TeamName,
    /// Who comes.
    #[serde(default)]
    pub(crate) join: BTreeSet<Identity>,
    /// Who leaves.
    #[serde(default)]
    pub(crate) leave: BTreeSet<Identity>,
}

/// Whom it concerned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TeamChanged {
    /// Who came or left; who had done so already is not among them.
    pub(crate) changed: BTreeSet<Identity>,
}

/// `GET /admin/teams`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<TeamRow>>, Refusal> {
    Ok(Json(authority.ledger.teams().await?))
}

/// `POST /admin/teams`
pub(crate) async fn change(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<ChangeTeam>,
) -> Result<Json<TeamChanged>, Refusal> {
    let ChangeTeam { team, join, leave } = ask;
    if join.len().max(leave.len()) > MAX_AT_ONCE || !join.is_disjoint(&leave) {
        let message = format!(
            "a team changes by at most {MAX_AT_ONCE} identities at once, and nobody comes and leaves"
        );
        return Err(Refusal::new(Code::Malformed, message));
    }
    let change = TeamChange { team: team.clone(), source: Source::Local, join, leave };
    let changed = authority.ledger.change_team(caller.actor(), change, clock::now()).await?;
    if !changed.is_empty() {
        tracing::warn!(%team, identities = changed.len(), "a team changed");
    }
    Ok(Json(TeamChanged { changed }))
}

/// Most who come or leave in one entry.
const MAX_AT_ONCE: usize = 256;
