//! Sessions: one's own, or everybody's for an operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use wire::api::{SessionDetail, SessionView};
use wire::identifier::{HostName, Identity, Login, NameError, RoleName, SessionId};
use wire::problem::Code;
use wire::record::EndReason;
use wire::review::Verdict;
use wire::time::Timestamp;

use super::caller::Caller;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::ledger::{After, LISTED, Which};

/// Which ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    identity: Option<Identity>,
    host: Option<HostName>,
    login: Option<Login>,
    role: Option<RoleName>,
    since_millis: Option<Timestamp>,
    before_millis: Option<Timestamp>,
    how: Option<String>,
    verdict: Option<Verdict>,
    #[serde(default)]
    live: bool,
    limit: Option<u64>,
    after_ended: Option<bool>,
    after_began_millis: Option<Timestamp>,
    after_session: Option<SessionId>,
    after_host: Option<HostName>,
}

impl Asked {
    /// Those of `owner`, or everybody's.
    fn which(self, owner: Option<Identity>) -> Result<Which, Refusal> {
        let malformed = |message: &str| Refusal::new(Code::Malformed, message);
        let after = match (
            self.after_ended,
            self.after_began_millis,
            self.after_session,
            self.after_host,
        ) {
            (None, None, None, None) => None,
            (Some(ended), Some(began), Some(session), Some(host)) => {
                Some(After { ended, began, session, host })
            }
            _ => return Err(malformed("a place in the listing has four parts")),
        };
        let how = match self.how.as_deref() {
            None => None,
            Some(asked) => {
                let known = EndReason::NAMES.into_iter().find(|name| *name == asked);
                Some(known.ok_or_else(|| malformed("no session ends in that way"))?)
            }
        };
        Ok(Which {
            identity: owner.or(self.identity),
            host: self.host,
            login: self.login,
            role: self.role,
            since: self.since_millis,
            before: self.before_millis,
            how,
            verdict: self.verdict,
            live: self.live,
            after,
            limit: self.limit.unwrap_or(LISTED),
        })
    }
}

/// `GET /v1/sessions?identity=&host=&login=&role=&since_millis=&before_millis=&how=&verdict=&live=&limit=&after_…=`
///
/// Whoever is no operator sees their own, whatever identity they ask for.
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    let Query(asked) =
        asked.map_err(|rejection| Refusal::new(Code::Malformed, rejection.body_text()))?;
    let which = asked.which(owner(caller))?;
    Ok(Json(authority.ledger.sessions(which).await?))
}

/// `GET /v1/sessions/{id}`. Somebody else's session is not there.
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Json<SessionDetail>, Refusal> {
    let session: SessionId = session
        .parse()
        .map_err(|error: NameError| Refusal::new(Code::Malformed, error.to_string()))?;
    let detail = authority.ledger.session(session).await?;
    let owner = owner(caller);
    detail
        .filter(|detail| owner.is_none_or(|owner| owner == detail.session.identity))
        .map(Json)
        .ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no session {session}")))
}

/// Whose sessions the caller sees; everybody's when this is nothing.
fn owner(caller: Caller) -> Option<Identity> {
    match caller {
        caller if caller.is_operator() => None,
        Caller::Person(login) => Some(login.identity),
        Caller::Local => None,
    }
}
