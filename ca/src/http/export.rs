//! `POST /v1/exports`: records to be taken elsewhere, for operators. Each export is an entry before anything leaves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::export::{ExportAnswer, ExportAsk, Next};
use wire::problem::Code;

use super::body::Body;
use super::power::Exporter;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;

/// `POST /v1/exports`
pub(crate) async fn export(
    State(authority): State<Arc<Authority>>,
    Exporter(caller): Exporter,
    Body(ask): Body<ExportAsk>,
) -> Result<Json<ExportAnswer>, Refusal> {
    let (ledger, by) = (&authority.ledger, caller.actor());
    let (entry, from) = match ask.next {
        Some(next) => (next.entry, (next.enrolment, next.number)),
        None => {
            let times = (ask.since, ask.before);
            let entry = ledger.begin_export(by.clone(), times, clock::now()).await?;
            tracing::info!(entry, by = by.as_str(), "somebody takes records elsewhere");
            (entry, (0, 0))
        }
    };
    // What was begun decides, not what is asked for later.
    let begun = ledger.begun_export(entry).await?;
    let begun = begun.filter(|begun| begun.by == by.as_str()).ok_or_else(|| {
        Refusal::new(Code::NotFound, format!("entry {entry} is no export of yours; begin anew"))
    })?;
    let page = ledger.export(begun, from).await?;
    let next = page.next.map(|(enrolment, number)| Next { entry, enrolment, number });
    Ok(Json(ExportAnswer { records: page.records, next }))
}
