//! Every error of the HTTP interface: one body, `wire::problem::Problem`, and a status that follows from its code. What
//! the outside reads and what our log says are two strings.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use wire::problem::{Code, Problem};

use crate::authority::NoCertificate;
use crate::challenge::ChallengeRefusal;
use crate::cosign::Unwitnessed;
use crate::ledger::{LedgerError, SqlError, TokenRefusal, VouchRefusal};
use crate::recording::reader::ReadError;

/// A call that was refused or failed.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Problem);

impl Refusal {
    /// With this code and this sentence.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Problem::new(code, message))
    }

    /// Its body alone, for who knows a better status than the code gives.
    pub(crate) fn into_body(self) -> Json<Problem> {
        Json(self.0)
    }

    /// Our own failure: logged in full, told without detail.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "a call failed");
        Self::new(Code::Internal, "the authority could not do its work; its log says why")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            Code::Malformed | Code::Version => StatusCode::BAD_REQUEST,
            Code::Unauthenticated | Code::Expired => StatusCode::UNAUTHORIZED,
            Code::Denied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Conflict => StatusCode::CONFLICT,
            Code::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal | Code::Other => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        let code = match &error {
            LedgerError::Conflict(_) | LedgerError::Token(TokenRefusal::Used(_)) => Code::Conflict,
            LedgerError::NotFound(_) | LedgerError::Token(TokenRefusal::Unknown) => Code::NotFound,
            LedgerError::Token(TokenRefusal::Expired(_)) => Code::Expired,
            LedgerError::Sql(SqlError::Unreachable(_))
            | LedgerError::Unreachable(_)
            | LedgerError::Unknown(_) => {
                tracing::error!(%error, "a call cannot be answered");
                Code::Busy
            }
            LedgerError::KeyAbsent { .. } => {
                tracing::error!(%error, "a call cannot be answered");
                Code::Busy
            }
            LedgerError::OtherRoles
            | LedgerError::Stale
            | LedgerError::Vouch(VouchRefusal::Soon(_)) => Code::Busy,
            LedgerError::Vouch(_) => Code::Denied,
            LedgerError::Gap { .. } | LedgerError::Name(_) | LedgerError::Fixed(_) => {
                Code::Malformed
            }
            _ => return Self::internal(&error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<NoCertificate> for Refusal {
    fn from(error: NoCertificate) -> Self {
        match error {
            NoCertificate::Denied(denial) => Self::new(Code::Denied, denial.to_string()),
            NoCertificate::LoggedOut => super::caller::ended(),
            NoCertificate::Busy => Self::new(Code::Busy, error.to_string()),
            NoCertificate::Ledger(error) => error.into(),
            NoCertificate::Unwitnessed(Unwitnessed::Ledger(error)) => error.into(),
            NoCertificate::Unwitnessed(few) => Self::new(Code::Busy, few.to_string()),
            NoCertificate::Signer(error) => Self::internal(&error),
        }
    }
}

impl From<ChallengeRefusal> for Refusal {
    fn from(refusal: ChallengeRefusal) -> Self {
        let code = match refusal {
            ChallengeRefusal::Unknown | ChallengeRefusal::Used => Code::Unauthenticated,
            ChallengeRefusal::Expired => Code::Expired,
            ChallengeRefusal::Busy => Code::Busy,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match &error {
            // What is wrong with a recording is for whoever reads it; what is wrong with the store is not.
            ReadError::Block { .. } | ReadError::Open { .. } => {
                tracing::error!(%error, "a recording cannot be read");
                Self::new(Code::Conflict, error.to_string())
            }
            ReadError::Store(_) | ReadError::Stopped => Self::internal(&error),
        }
    }
}

/// An error with everything beneath it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
