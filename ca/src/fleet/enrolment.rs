//! A host without a certificate: one frame with a token, one answer, and the connection is over.
//!
//! Everything that a stranger sent is checked before the token is taken, so that a malformed request spends none.

use std::time::Duration;

use rcgen::CertificateSigningRequestParams;
use ssh_key::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::VERSION;
use wire::hostlink::{
    Enrol, Enrolled as Reply, MAX_HOST_KEYS, RecordTo, ToAuthority, ToHost, Trust,
};
use wire::problem::{Code, Problem};
use wire::renewal::Window;
use wire::trust::AuthorityKey;

use super::frames::{Incoming, LinkError, Outgoing};
use crate::authority::Authority;
use crate::clock;
use crate::http::refusal::Refusal;
use crate::ledger::Joining;
use crate::random::Secret;
use crate::x509::HostCertificate;

/// Serves one enrolment.
pub(super) async fn serve<R, W>(
    reader: R,
    writer: &mut Outgoing<W>,
    authority: &Authority,
) -> Result<(), LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut incoming = Incoming::new(reader, MAX_ENROL);
    let reply = match incoming.next(PATIENCE).await? {
        ToAuthority::Enrol(enrol) => enrolled(authority, enrol).await,
        _ => Err(Problem::new(
            Code::Unauthenticated,
            "a host without a certificate can only enrol; get a token with `curfew-ca host token NAME`",
        )),
    };
    let reply = reply.map_or_else(ToHost::Refused, |reply| ToHost::Enrolled(Box::new(reply)));
    writer.send(&reply).await
}

async fn enrolled(authority: &Authority, enrol: Enrol) -> Result<Reply, Problem> {
    if enrol.version != VERSION {
        return Err(version_problem(enrol.version));
    }
    let malformed = |message: String| Problem::new(Code::Malformed, message);
    let request = CertificateSigningRequestParams::from_pem(&enrol.csr)
        .map_err(|error| malformed(format!("the certificate request cannot be used: {error}")))?;
    let keys = host_keys(&enrol.host_keys).map_err(malformed)?;
    let agent_key = enrol.agent_key.map(|text| wire::key::from_openssh(&text)).transpose();
    let agent_key = agent_key.map_err(|flaw| malformed(format!("the agent's key: {flaw}")))?;
    let failed = |error: &dyn std::error::Error| Refusal::internal(error).0;
    let printed = |key| Authority::printed(key).map_err(|error| failed(&error));
    let agent_key = agent_key.as_ref().map(printed).transpose()?;
    let now = clock::now();
    let hash = Secret::shown(enrol.token).hash();
    let enrolled = authority
        .ledger
        .enrol(hash, Joining { vouch: authority.vouch(&keys), agent_key }, now)
        .await
        .inspect_err(|error| tracing::warn!(%error, "an enrolment was refused"))
        .map_err(|error| Refusal::from(error).0)?;
    // A connection of its former enrolment speaks for nobody now.
    authority.fleet.dismiss(enrolled.host());
    let to = HostCertificate { host: enrolled.host().clone(), enrolment: enrolled.enrolment() };
    let window = Window { from: now, until: now.after(authority.config.link_certificate_lifetime) };
    let certificate =
        authority.root.issue_host(&request, &to, window).map_err(|error| failed(&error))?;
    let host_certificates =
        authority.signer.sign_host(enrolled.vouched(), &keys).map_err(|error| failed(&error))?;
    tracing::info!(host = %to.host, host_keys = keys.len(), "a host enrolled");
    authority.fleet.change();
    let restores = authority.ledger.restores().await.map_err(|error| failed(&error))?;
    let told = authority.ledger.recording_key().await.map_err(|error| failed(&error))?;
    let order = told.map_or(0, |told| told.to.order);
    let recording = authority.opening().newest().map(|key| RecordTo { key, order, seals: true });
    let keys = enrolled.keys();
    let texts = |keys: &[AuthorityKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let order_keys = texts(keys.order_keys());
    let trust = Trust {
        version: VERSION,
        host: to.host,
        labels: enrolled.labels().to_vec(),
        user_authorities: texts(keys.user_authorities()),
        order_key: order_keys.first().cloned().unwrap_or_default(),
        order_keys,
        host_authorities: texts(keys.host_authorities()),
        log_keys: keys.log_keys().iter().map(ToString::to_string).collect(),
        order: None,
        orders_from: enrolled.orders_from(),
        locks: enrolled.locks().to_vec(),
        restores,
        recording,
    };
    let root = authority.root.pem().to_owned();
    Ok(Reply { trust, certificate, root, host_certificates, window: Some(window) })
}

pub(super) fn host_keys(texts: &[String]) -> Result<Vec<PublicKey>, String> {
    if texts.len() > MAX_HOST_KEYS {
        return Err(format!(
            "{} host keys came; at most {MAX_HOST_KEYS} are certified",
            texts.len()
        ));
    }
    texts
        .iter()
        .map(|text| wire::key::from_openssh(text).map_err(|flaw| format!("a host key: {flaw}")))
        .collect()
}

/// What a peer that speaks another version is told.
pub(super) fn version_problem(version: u32) -> Problem {
    let message = format!(
        "the host speaks version {version}, the authority version {VERSION}; bring both to the same release"
    );
    Problem::new(Code::Version, message)
}

/// Largest enrolment: a token, a request and [`MAX_HOST_KEYS`] keys.
const MAX_ENROL: usize = 64 * 1024;
/// Longest wait for the one frame.
const PATIENCE: Duration = Duration::from_secs(10);
