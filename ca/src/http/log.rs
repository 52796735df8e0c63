//! The log for anybody who watches it, as `tlog-tiles` says (c2sp.org/tlog-tiles): no login, and no personal data.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use wire::log::FormError;
use wire::log::tile::TileName;
use wire::problem::Code;

use super::body::Path;
use super::refusal::Refusal;
use crate::authority::Authority;

/// `GET /checkpoint`
pub(crate) async fn checkpoint(State(authority): State<Arc<Authority>>) -> Response {
    let head = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    let newest = authority.ledger.checkpoints().borrow().clone();
    (head, authority.witnesses.checkpoint(&newest).to_string()).into_response()
}

/// `GET /tile/<L>/<N>[.p/<W>]`, `GET /tile/entries/<N>[.p/<W>]`
pub(crate) async fn tile(
    State(authority): State<Arc<Authority>>,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let absent = || Refusal::new(Code::NotFound, "the log has no such tile");
    let name: TileName = path.parse().map_err(|_odd: FormError| absent())?;
    let tile = authority.ledger.tile(name).await?.ok_or_else(absent)?;
    let head = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((head, tile).into_response())
}
