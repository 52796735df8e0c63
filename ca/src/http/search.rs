//! `POST /v1/search`: records by what is in them, for operators; `/v1/search/terminals`: what terminals showed. Each search is an
//! entry before it finds anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::problem::Code;
use wire::search::query::{Query, Reach};
use wire::search::{MAX_HITS, Next, SearchAnswer, SearchAsk};
use wire::time::Timestamp;

mod terminal;

use super::body::Body;
use super::caller::Caller;
use super::power::Exporter;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::index;
use crate::ledger::Quest;

pub(crate) use terminal::terminals;

/// `POST /v1/search`
pub(crate) async fn search(
    State(authority): State<Arc<Authority>>,
    Exporter(caller): Exporter,
    Body(ask): Body<SearchAsk>,
) -> Result<Json<SearchAnswer>, Refusal> {
    let (query, reach) = parsed(&ask.query)?;
    if !reach.records {
        let message = "the search: it is about terminals alone (/v1/search/terminals)";
        return Err(Refusal::new(Code::Malformed, message));
    }
    let ledger = &authority.ledger;
    let (entry, now, unsearched) = match &ask.next {
        Some(next) => {
            let now = begun(&authority, &caller, (&ask.query, next.entry)).await?;
            (next.entry, now, 0)
        }
        None => {
            let now = clock::now();
            let entry = ledger.begin_search(caller.actor(), ask.query.clone(), now).await?;
            tracing::info!(entry, by = caller.actor().as_str(), "somebody searches records");
            (entry, now, index::catch_up(ledger).await?)
        }
    };
    let from = ask.next.map(|next| (next.block, next.after));
    let quest = Quest { query, now, limit: ask.limit.clamp(1, MAX_HITS), from };
    let found = ledger.search(quest).await?;
    let next = found.next.map(|(block, after)| Next { entry, block, after });
    Ok(Json(SearchAnswer { entry, hits: found.hits, next, read: found.read, unsearched }))
}

/// The search, and where it looks.
fn parsed(query: &str) -> Result<(Query, Reach), Refusal> {
    let wrong = |error: String| Refusal::new(Code::Malformed, format!("the search: {error}"));
    let query = Query::parse(query).map_err(|error| wrong(error.to_string()))?;
    let reach = query.reach().map_err(|error| wrong(error.to_string()))?;
    Ok((query, reach))
}

/// When the search began that this is a further page of: the same person's, for the same.
async fn begun(
    authority: &Authority,
    caller: &Caller,
    (query, entry): (&str, u64),
) -> Result<Timestamp, Refusal> {
    let begun = authority.ledger.begun_search(entry).await?;
    begun
        .filter(|(begun, _)| begun.by == caller.actor().as_str() && begun.query == query)
        .map(|(_, at)| at)
        .ok_or_else(|| {
            let message = format!("entry {entry} is no such search of yours; search anew");
            Refusal::new(Code::NotFound, message)
        })
}
