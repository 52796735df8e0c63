//! Recordings: which there are, what passed, and the stored objects for whoever checks them. One's own, or everybody's for
//! an operator. Who reads what passed says so first, and that is an entry.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::api::SessionView;
use wire::identifier::{NameError, SessionId};
use wire::octets::Octets;
use wire::problem::Code;
use wire::reading::{
    Checking, Passage, ReadAnswer, ReadAsk, RecordingView, StoredObject, StoredPage,
};
use wire::retention::{Class, Deleted};

use super::body::{Body, Path, Query};
use super::caller::Caller;
use super::power::Onlooker;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::command::shown;
use crate::ledger::LedgerError;
use crate::recording::reader::Reader;

/// Where to go on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    block: u64,
}

/// Which objects.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    #[serde(default)]
    after: Option<String>,
}

/// `GET /v1/sessions/{session}/recordings`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Json<Vec<RecordingView>>, Refusal> {
    let session = readable(&authority, &caller, &session).await?;
    there(&authority, &session).await?;
    let reader = Reader::of(&authority);
    Ok(Json(reader.list(session.host, session.session).await?))
}

/// `POST /v1/readings`: the entry is durable before anything is read.
pub(crate) async fn begin(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<ReadAsk>,
) -> Result<Json<ReadAnswer>, Refusal> {
    let session = readable(&authority, &caller, &ask.session.to_string()).await?;
    if session.host != ask.host {
        return Err(absent(ask.session));
    }
    there(&authority, &session).await?;
    let by = caller.actor();
    let role = authority.roles().find(&session.role).is_some_and(|role| role.announce_watching);
    // One's own terminal need not say that one looks at it.
    let is_own = session.identity.as_str() == by.as_str();
    let announced = (ask.live && role && !is_own).then(|| authority.keyring());
    let entry = authority.ledger.begin_reading(by, (ask, announced), clock::now()).await?;
    Ok(Json(ReadAnswer { entry }))
}

/// `GET /v1/readings/{entry}?block=`: what passed from this block on.
pub(crate) async fn read(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(entry): Path<u64>,
    Query(from): Query<From>,
) -> Result<Json<Passage>, Refusal> {
    let begun = authority.ledger.begun_reading(entry).await?;
    let begun = begun.filter(|begun| begun.by == caller.actor().as_str()).ok_or_else(|| {
        Refusal::new(Code::NotFound, format!("entry {entry} is no reading of yours; begin anew"))
    })?;
    // Who was an operator then and is none now reads no further.
    readable(&authority, &caller, &begun.ask.session.to_string()).await?;
    Ok(Json(Reader::of(&authority).read(begun.ask, from.block).await?))
}

/// `GET /v1/sessions/{session}/stored?after=`: the objects of all recordings of the session, as they lie in the store.
pub(crate) async fn stored(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(session): Path<String>,
    Query(after): Query<After>,
) -> Result<Json<StoredPage>, Refusal> {
    let session = readable(&authority, &caller, &session).await?;
    let page = Reader::of(&authority).stored(session.host, session.session, after.after).await?;
    let (objects, next) = page;
    let objects = objects
        .into_iter()
        .map(|(name, bytes)| StoredObject { name, bytes: Octets::new(bytes) })
        .collect();
    Ok(Json(StoredPage { objects, next }))
}

/// `GET /v1/sessions/{session}/checking`: what the ledger knows of the session's host and recordings, to hold the objects
/// against.
pub(crate) async fn checking(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Json<Checking>, Refusal> {
    let session = readable(&authority, &caller, &session).await?;
    let agent_keys = authority.ledger.agent_keys(session.host.clone()).await?;
    let deleted = deleted(&authority, &session).await?;
    Ok(Json(Checking { host: session.host, agent_keys, deleted }))
}

/// That its recordings were deleted, if they were.
async fn deleted(
    authority: &Authority,
    session: &SessionView,
) -> Result<Option<Deleted>, LedgerError> {
    let kept = authority.ledger.kept_of(session.session, session.host.clone()).await?;
    Ok(kept.1.into_iter().find(|deleted| deleted.class == Class::Terminals))
}

/// Says what became of recordings that were deleted.
async fn there(authority: &Authority, session: &SessionView) -> Result<(), Refusal> {
    match deleted(authority, session).await? {
        None => Ok(()),
        Some(Deleted { by: [one, other], at, reason, .. }) => Err(Refusal::new(
            Code::NotFound,
            format!(
                "what terminals of session {} showed was deleted on {} by {one} and {other}: {reason}",
                session.session,
                shown(at)
            ),
        )),
    }
}

/// The session, when the caller may see it. Somebody else's is not there.
async fn readable(
    authority: &Authority,
    caller: &Caller,
    session: &str,
) -> Result<SessionView, Refusal> {
    let session: SessionId = session
        .parse()
        .map_err(|error: NameError| Refusal::new(Code::Malformed, error.to_string()))?;
    let found = authority.ledger.session_head(session).await?;
    let onlooker = Onlooker::of(authority, caller).await?;
    found.filter(|view| onlooker.may_watch(view)).ok_or_else(|| absent(session))
}

fn absent(session: SessionId) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no session {session}"))
}
