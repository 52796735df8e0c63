//! The HTTP interface, `/v1`: one file per group of routes, each of which decodes, calls, encodes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use wire::problem::Code;

use crate::authority::Authority;

mod about;
mod attempt;
mod behaviour;
pub(crate) mod body;
mod breakglass;
pub(crate) mod caller;
mod certificate;
mod entry;
mod export;
mod grant;
mod host;
mod incident;
mod key_request;
pub(crate) mod listener;
mod lock;
mod log;
mod login;
pub(crate) mod metrics;
mod oidc;
mod order;
mod power;
mod recording;
pub(crate) mod refusal;
mod request;
mod retention;
mod review;
pub(crate) mod room;
pub(crate) mod scim;
mod search;
mod session;
mod status;
mod workload;

pub(crate) use entry::erase;
pub(crate) use lock::{check_reason, progress_of};
pub(crate) use login::revoked;
use refusal::Refusal;

/// The routes of `wire::api`, for people and, on its own socket, for the operator of this machine.
pub(crate) fn router(authority: Arc<Authority>) -> Router {
    Router::new()
        .route("/v1/authority", get(about::show))
        .route("/v1/login/challenge", post(login::challenge))
        .route("/v1/login", post(login::login))
        .route("/v1/login/oidc/begin", post(oidc::begin))
        .route("/v1/login/oidc/finish", post(oidc::finish))
        .route("/v1/login/workload", post(workload::login))
        .route("/v1/logins", get(login::list))
        .route("/v1/logins/end", post(login::end))
        .route("/v1/whoami", get(about::whoami))
        .route("/v1/behaviour", get(behaviour::show).post(behaviour::sign))
        .route("/v1/behaviour/accept", post(behaviour::accept))
        .route("/v1/hosts", get(host::list))
        .route("/v1/certificates", post(certificate::issue))
        .route("/v1/grants", get(grant::list))
        .route("/v1/grants/{grant}/end", post(grant::end))
        .route("/v1/grants/{grant}/extend", post(grant::extend))
        .route("/v1/requests", get(request::list).post(request::make))
        .route("/v1/requests/{request}", get(request::show))
        .route("/v1/requests/{request}/approve", post(request::approve))
        .route("/v1/requests/{request}/deny", post(request::deny))
        .route("/v1/requests/{request}/withdraw", post(request::withdraw))
        .route("/v1/requests/{request}/review", post(request::review))
        .route("/v1/sessions", get(session::list))
        .route("/v1/sessions/{session}", get(session::show))
        .route("/v1/sessions/{session}/recordings", get(recording::list))
        .route("/v1/sessions/{session}/stored", get(recording::stored))
        .route("/v1/sessions/{session}/checking", get(recording::checking))
        .route("/v1/readings", post(recording::begin))
        .route("/v1/readings/{entry}", get(recording::read))
        .route("/v1/reviews", post(review::review))
        .route("/v1/reviews/due", get(review::due))
        .route("/v1/reviews/gaps", get(review::gaps))
        .route("/v1/retention", get(retention::show))
        .route("/v1/retention/due", get(retention::due))
        .route("/v1/retention/holds", post(retention::hold))
        .route("/v1/retention/releases", post(retention::release))
        .route("/v1/retention/deletions", post(retention::ask))
        .route("/v1/retention/deletions/{number}/approve", post(retention::approve))
        .route("/v1/retention/deletions/{number}/withdraw", post(retention::withdraw))
        .route("/v1/search", post(search::search))
        .route("/v1/search/terminals", post(search::terminals))
        .route("/v1/exports", post(export::export))
        .route("/v1/locks", get(lock::list).post(lock::lock))
        .route("/v1/unlocks", post(lock::unlock))
        .route("/v1/orders/{number}", get(order::progress))
        .route("/v1/incidents", get(incident::list))
        .route("/v1/incidents/settle", post(incident::settle))
        .route("/v1/incidents/{number}/report", post(incident::report))
        .route("/v1/attempts", get(attempt::list))
        .route("/v1/status", get(status::show))
        .route("/v1/entries", get(entry::list))
        .route("/v1/entries/range", get(entry::range))
        .route("/healthz", get(metrics::health))
        .route("/readyz", get(metrics::ready))
        .route("/checkpoint", get(log::checkpoint))
        .route("/tile/{*path}", get(log::tile))
        .merge(of_breakglass())
        .merge(of_keys())
        .with_state(authority)
}

/// What is done after break-glass.
fn of_breakglass() -> Router<Arc<Authority>> {
    Router::new()
        .route("/v1/breakglass", get(breakglass::show))
        .route("/v1/breakglass/groups", post(breakglass::add_group))
        .route("/v1/breakglass/groups/retire", post(breakglass::retire_group))
        .route("/v1/breakglass/receipts", post(breakglass::take_receipt))
        .route("/v1/breakglass/reconcile", post(breakglass::reconcile))
        .route("/v1/breakglass/reviews", post(breakglass::review))
}

/// What people log in with.
fn of_keys() -> Router<Arc<Authority>> {
    Router::new()
        .route("/v1/keys", get(login::keys))
        .route("/v1/keys/revoke", post(login::revoke_key))
        .route("/v1/keys/requests", get(key_request::list).post(key_request::make))
        .route("/v1/keys/requests/{number}/approve", post(key_request::approve))
        .route("/v1/keys/requests/{number}/end", post(key_request::end))
}

/// What holds for every route: a limit on bodies, a limit on time, and a problem for whatever is not there.
pub(crate) fn bounded(router: Router) -> Router {
    router
        .fallback(async || Refusal::new(Code::NotFound, "there is no such call"))
        .method_not_allowed_fallback(async || {
            let problem = Refusal::new(Code::Malformed, "this call has another method");
            (StatusCode::METHOD_NOT_ALLOWED, problem.into_body())
        })
        .layer(middleware::from_fn(in_time))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            Refusal::new(Code::Busy, "the authority did not get to it in time; try again")
                .into_response()
        }
    }
}

/// Largest request, in bytes: the largest is a public key and a reason.
const MAX_BODY: usize = 64 * 1024;
/// Longest time that a call may take, waiting for orders included.
const PATIENCE: Duration = Duration::from_secs(40);
