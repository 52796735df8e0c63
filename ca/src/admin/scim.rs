//! The tokens of directories.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use wire::problem::Code;

use crate::authority::Authority;
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::ledger::DirectoryToken;
use crate::random::Secret;

/// A token's name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameToken {
    /// The name.
    pub(crate) name: String,
}

/// A token, and where it serves.
#[derive(Serialize, Deserialize)]
pub(crate) struct DirectoryTokenMade {
    /// Where the directory is to send what it knows.
    pub(crate) url: String,
    /// The secret; it is shown this once.
    pub(crate) token: String,
}

/// `GET /admin/scim/tokens`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<DirectoryToken>>, Refusal> {
    Ok(Json(authority.ledger.directory_tokens().await?))
}

/// `POST /admin/scim/tokens`
pub(crate) async fn make(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<NameToken>,
) -> Result<Json<DirectoryTokenMade>, Refusal> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if ask.name.is_empty() || ask.name.len() > MAX_NAME || !ask.name.chars().all(is_good) {
        let message = format!("a token's name is 1 to {MAX_NAME} letters, digits and . _ -");
        return Err(Refusal::new(Code::Malformed, message));
    }
    let secret = Secret::generate().map_err(|error| Refusal::internal(&error))?;
    let new = (ask.name.clone(), secret.hash());
    authority.ledger.make_directory_token(caller.actor(), new, clock::now()).await?;
    tracing::warn!(name = %ask.name, "a directory got a token");
    let url = format!("https://{}/scim/v2", authority.address(authority.config.listen.port()));
    Ok(Json(DirectoryTokenMade { url, token: secret.reveal() }))
}

/// `POST /admin/scim/tokens/end`
pub(crate) async fn end(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<NameToken>,
) -> Result<Json<NameToken>, Refusal> {
    authority.ledger.end_directory_token(caller.actor(), ask.name.clone(), clock::now()).await?;
    tracing::warn!(name = %ask.name, "a directory's token was ended");
    Ok(Json(ask))
}

/// Longest name of a token.
const MAX_NAME: usize = 32;
