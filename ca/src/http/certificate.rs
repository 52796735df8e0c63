//! Certificates.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use wire::api::{CertificateAsk, CertificateReply};
use wire::problem::Code;

use super::body::Body;
use super::caller::{Asking, Peer};
use super::refusal::Refusal;
use crate::access::Ask;
use crate::authority::{Authority, NoCertificate};
use crate::clock;

/// `POST /v1/certificates`
pub(crate) async fn issue(
    State(authority): State<Arc<Authority>>,
    Extension(Peer(from)): Extension<Peer>,
    asking: Asking,
    Body(ask): Body<CertificateAsk>,
) -> Result<Json<CertificateReply>, Refusal> {
    let malformed = |message: String| Refusal::new(Code::Malformed, message);
    let key = wire::key::from_openssh(&ask.public_key)
        .map_err(|flaw| malformed(format!("the public key: {flaw}")))?;
    if let Some(reason) = &ask.reason {
        super::check_reason(reason)?;
    }
    let ask = Ask {
        identity: asking.login.identity.clone(),
        key,
        host: ask.host,
        login: ask.login,
        role: ask.role,
        duration: ask.duration_secs.map(Duration::from_secs),
        wishes: ask.wishes,
        reason: ask.reason,
        login_key: asking.login.key.clone(),
        mfa_at: asking.login.mfa_at,
        from: Some(from),
    };
    let (meter, began) = (authority.ledger.meter(), clock::instant());
    let named = (ask.identity.clone(), ask.host.clone());
    let signed = authority.certify(ask, &asking).await.inspect_err(|error| {
        if let NoCertificate::Denied(denial) = error {
            meter.denied.one();
            let (identity, host) = &named;
            tracing::info!(%identity, %host, %denial, "a certificate was denied");
        } else {
            meter.failed.one();
        }
    })?;
    meter.issued.took(clock::instant().saturating_duration_since(began));
    let recorded = signed.recorded();
    let permit = recorded.permit();
    tracing::info!(
        identity = %named.0, host = %permit.host(), login = %permit.ask().login,
        cert.serial = recorded.serial().number(), grant = %recorded.grant(), "a certificate was issued"
    );
    Ok(Json(CertificateReply {
        certificate: signed.text().to_owned(),
        serial: recorded.serial(),
        grant: recorded.grant(),
        host: permit.host().clone(),
        valid_before: permit.valid_before(),
        grant_until: permit.plan().until(),
    }))
}
