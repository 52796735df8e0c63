//! Sessions: one's own, and those of others that the policy lets one look into.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::api::{SessionDetail, SessionView};
use wire::identifier::{HostName, Identity, Login, NameError, RoleName, SessionId};
use wire::odd::Odd;
use wire::problem::Code;
use wire::record::EndReason;
use wire::review::Verdict;
use wire::time::Timestamp;

use super::body::{Path, Query};
use super::caller::Caller;
use super::power::Onlooker;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::{After, Judged, LISTED, Which};

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
/// Whoever may look into no session of others sees their own, whatever identity they ask for.
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    let onlooker = Onlooker::of(&authority, &caller).await?;
    let owner = own(caller).filter(|_| !onlooker.sees_others());
    let which = asked.which(owner)?;
    seen(&authority, which, &onlooker).await.map(Json)
}

/// The next sessions that the caller may look into. What they may not is passed over, for a while.
async fn seen(
    authority: &Authority,
    mut which: Which,
    onlooker: &Onlooker,
) -> Result<Vec<SessionView>, Refusal> {
    let limit = usize::try_from(which.limit.min(LISTED)).unwrap_or(usize::MAX);
    let mut found: Vec<SessionView> = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = authority.ledger.sessions(which.clone()).await?;
        let is_last = page.len() < limit;
        which.after = page.last().map(|last| After {
            ended: last.ended.is_some(),
            began: last.began,
            session: last.session,
            host: last.host.clone(),
        });
        let seen = page.into_iter().filter(|session| onlooker.may_watch(session));
        // Who must not judge is not told either what stands out of what they do.
        found.extend(seen.map(|session| {
            let odd = session.odd.clone().filter(|_| onlooker.may_review(&session));
            SessionView { odd, ..session }
        }));
        if is_last || found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
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
    let onlooker = Onlooker::of(&authority, &caller).await?;
    let mut detail = detail
        .filter(|detail| onlooker.may_watch(&detail.session))
        .ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no session {session}")))?;
    if onlooker.may_review(&detail.session) {
        detail.odd = odd(&authority, &detail.session).await?;
        detail.session.odd = detail.odd.as_ref().and_then(Odd::glance);
    }
    Ok(Json(detail))
}

/// What was odd in a session, or is so far.
async fn odd(authority: &Authority, session: &SessionView) -> Result<Option<Odd>, Refusal> {
    let (ledger, place) = (&authority.ledger, (session.session, session.host.clone()));
    if session.ended.is_some() {
        let (session, host) = place.clone();
        if let Some(odd) = ledger.odd_of(session, host).await? {
            return Ok(Some(odd));
        }
    }
    let learn_until = authority.risk().weights().learn_until();
    let judged = ledger.judge(place, (learn_until, clock::now())).await?;
    Ok(judged.map(Judged::into_odd))
}

fn own(caller: Caller) -> Option<Identity> {
    match caller {
        Caller::Person(login) => Some(login.identity),
        Caller::Local => None,
    }
}

/// Most pages that are passed over in one listing.
const MAX_PAGES: usize = 20;
