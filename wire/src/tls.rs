//! First contact: an authority's root is believed because its fingerprint was given, not because it was offered.

use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::identifier::Fingerprint;

/// Accepts a server whose chain ends in the root with this fingerprint and is otherwise in order: names, times, signatures.
#[derive(Debug)]
pub struct PinnedRoot {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
    offered: Mutex<Vec<Fingerprint>>,
}

impl PinnedRoot {
    /// Believes only the root with the fingerprint `pin` ([`Fingerprint::of`] its DER form).
    #[must_use]
    pub fn new(pin: Fingerprint, provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { pin, provider, offered: Mutex::default() })
    }

    /// The last certificate of the chain that was offered, when nothing in it is the pinned root: for a refusal to name.
    #[must_use]
    pub fn offered_instead(&self) -> Option<Fingerprint> {
        let offered = self.offered.lock().ok()?;
        if offered.contains(&self.pin) { None } else { offered.last().cloned() }
    }

    /// The pinned root among the certificates a server presented, if it is there.
    #[must_use]
    pub fn find<'a, 'b>(&self, chain: &'a [CertificateDer<'b>]) -> Option<&'a CertificateDer<'b>> {
        chain.iter().find(|certificate| Fingerprint::of(certificate) == self.pin)
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut offered) = self.offered.lock() {
            let chain = std::iter::once(end_entity).chain(intermediates);
            *offered = chain.map(|certificate| Fingerprint::of(certificate)).collect();
        }
        let root = self
            .find(intermediates)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
