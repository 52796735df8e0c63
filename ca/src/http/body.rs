//! Reading what a call brings: its body, the names in its path, and its query; or a problem that says what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
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
        let unlike = |why: &dyn std::fmt::Display| {
            let message = format!("the request is not in the expected form: {why}");
            Refusal::new(Code::Malformed, message)
        };
        // serde would take an array for an object, field by field in the order in which they are written down.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(unlike(&"it is no JSON object"));
        }
        serde_json::from_slice(&bytes).map(Body).map_err(|error| unlike(&error))
    }
}

/// The names in a call's path as a `T`.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(rejection) => Err(Refusal::new(Code::Malformed, rejection.body_text())),
        }
    }
}

/// A call's query as a `T`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Refusal::new(Code::Malformed, rejection.body_text())),
        }
    }
}
