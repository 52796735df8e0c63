//! Reading request bodies: JSON of the expected form, or a problem that says what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use wire::problem::Code;

use super::refusal::Refusal;

/// A request's body as a `T`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Refusal::new(Code::Malformed, rejection.body_text()))?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            Refusal::new(
                Code::Malformed,
                format!("the request is not in the expected form: {error}"),
            )
        })
    }
}
