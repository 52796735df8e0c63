//! `POST /add-checkpoint` over HTTP: the requests need no secret, and whoever needs TLS puts a proxy before it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use wire::log::MAX_SUBMISSION;

use super::{Answer, Witness, WitnessError};
use crate::clock;

/// The one route.
pub(crate) fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add))
        .layer(DefaultBodyLimit::max(MAX_SUBMISSION))
        .with_state(witness)
}

async fn add(State(witness): State<Arc<Witness>>, body: String) -> Response {
    let judged = tokio::task::spawn_blocking(move || witness.add(&body, clock::now())).await;
    match judged {
        Ok(judged) => answer(judged),
        Err(error) => {
            tracing::error!(%error, "a submission was not judged");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn answer(judged: Result<Answer, WitnessError>) -> Response {
    match judged {
        Ok(Answer::Cosigned(line)) => format!("{line}\n").into_response(),
        Ok(Answer::Malformed(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        Ok(Answer::Unsigned) => StatusCode::FORBIDDEN.into_response(),
        Ok(Answer::Unknown) => StatusCode::NOT_FOUND.into_response(),
        Ok(Answer::Conflict(size)) => {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Ok(Answer::Inconsistent) => {
            tracing::error!("a log offers a tree that does not continue the one it had");
            StatusCode::UNPROCESSABLE_ENTITY.into_response()
        }
        Err(error) => {
            tracing::error!(%error, "nothing was cosigned");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
