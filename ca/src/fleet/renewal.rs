//! A connected host that asks for its next certificates: of its SSH keys, or of the connection itself.
//!
//! Who asks is what the connection's TLS certificate says, never what the ask says; what is certified is decided by the
//! ledger as of this moment.

use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};
use ssh_key::PublicKey;
use wire::identifier::Fingerprint;
use wire::problem::{Code, Problem};
use wire::renewal::{Answer, LinkAnswer, LinkAsk, LinkCertificate, SignedAsk, Window};
use wire::time::Timestamp;

use super::enrolment::host_keys;
use crate::authority::Authority;
use crate::http::refusal::Refusal;
use crate::ledger::LedgerError;
use crate::random::{self, NoRandomness};
use crate::x509::HostCertificate;

/// What a connection needs to renew certificates.
pub(super) struct Desk<'a> {
    authority: &'a Authority,
    whose: &'a HostCertificate,
    challenge: String,
    agent_key: Option<PublicKey>,
}

impl<'a> Desk<'a> {
    /// Opens one for a connection, with a challenge of its own. `agent_key` is what the host enrolled with.
    pub(super) fn open(
        (authority, whose): (&'a Authority, &'a HostCertificate),
        agent_key: Option<&str>,
    ) -> Result<Self, NoRandomness> {
        let challenge = random::Secret::generate()?.reveal();
        // A key that cannot be read proves nothing: known host keys alone are certified then.
        let agent_key = agent_key.and_then(|text| text.parse().ok());
        Ok(Self { authority, whose, challenge, agent_key })
    }

    /// What an ask on this connection must carry.
    pub(super) fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Certifies the host's SSH keys, or says why not.
    pub(super) async fn renew(&self, ask: &SignedAsk, now: Timestamp) -> Answer {
        match self.certify(ask, now).await {
            Ok(certificates) => Answer::Certified(certificates),
            Err(problem) => {
                tracing::warn!(host = %self.whose.host, %problem, "a host's keys were not certified");
                Answer::Refused(problem)
            }
        }
    }

    async fn certify(&self, ask: &SignedAsk, now: Timestamp) -> Result<Vec<String>, Problem> {
        let malformed = |message: String| Problem::new(Code::Malformed, message);
        let host = &self.whose.host;
        let read = ask.read(host, &self.challenge, self.agent_key.as_ref());
        let (ask, proof) = read.map_err(|error| malformed(error.to_string()))?;
        let keys = host_keys(&ask.host_keys).map_err(malformed)?;
        let whose = (host.clone(), self.whose.enrolment);
        let vouch = (self.authority.vouch(&keys), proof);
        let vouched = self.authority.ledger.renew_host(whose, vouch, now).await.map_err(refused)?;
        let signed = self.authority.signer.sign_host(&vouched, &keys);
        let certificates = signed.map_err(|error| Refusal::internal(&error).0)?;
        tracing::info!(
            %host, entry = vouched.entry(), host_keys = keys.len(), until = vouched.window().until.secs(),
            "a host's keys were certified again"
        );
        self.authority.fleet.change();
        Ok(certificates)
    }

    /// Certifies the connection's next TLS key, or says why not.
    pub(super) async fn renew_link(&self, ask: &LinkAsk, now: Timestamp) -> LinkAnswer {
        match self.certify_link(ask, now).await {
            Ok(certificate) => LinkAnswer::Certified(certificate),
            Err(problem) => {
                tracing::warn!(host = %self.whose.host, %problem, "a host's connection was not certified");
                LinkAnswer::Refused(problem)
            }
        }
    }

    async fn certify_link(
        &self,
        ask: &LinkAsk,
        now: Timestamp,
    ) -> Result<LinkCertificate, Problem> {
        let request = CertificateSigningRequestParams::from_pem(&ask.csr).map_err(|error| {
            let message = format!("the certificate request cannot be used: {error}");
            Problem::new(Code::Malformed, message)
        })?;
        let host = &self.whose.host;
        let lifetime = self.authority.config.link_certificate_lifetime;
        let window = Window { from: now, until: now.after(lifetime) };
        let key = Fingerprint::of(request.public_key.der_bytes());
        let whose = (host.clone(), self.whose.enrolment);
        self.authority.ledger.renew_link(whose, (key, window), now).await.map_err(refused)?;
        let issued = self.authority.root.issue_host(&request, self.whose, window);
        let certificate = issued.map_err(|error| Refusal::internal(&error).0)?;
        tracing::info!(%host, until = window.until.secs(), "a host's connection was certified again");
        Ok(LinkCertificate { certificate, window })
    }
}

fn refused(error: LedgerError) -> Problem {
    match error {
        LedgerError::NotFound(message) => Problem::new(Code::Unauthenticated, message),
        other => Refusal::from(other).0,
    }
}
