//! First contact with an authority: its root is fetched, and believed because the person gave its fingerprint.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use wire::identifier::Fingerprint;
use wire::tls::PinnedRoot;

use crate::client;
use crate::url::Url;

/// Fetches the root with fingerprint `pin` from the authority at `url`, as PEM.
pub(crate) fn root(url: &Url, pin: &Fingerprint) -> Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = PinnedRoot::new(pin.clone(), Arc::clone(&provider));
    let witness = Arc::new(Witness { pinned: Arc::clone(&pinned), offered: Mutex::default() });
    let verifier: Arc<dyn ServerCertVerifier> = witness.clone();
    let config = client::tls(provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let chain =
        client::shake_hands(url, config).map_err(|error| match witness.offered_instead(pin) {
            Some(offered) => mismatch(url, pin, &offered),
            None => error,
        })?;
    let root = pinned.find(&chain).context("the pinned root is gone from the chain")?;
    Ok(pem(root))
}

fn mismatch(url: &Url, pin: &Fingerprint, offered: &Fingerprint) -> anyhow::Error {
    anyhow!(
        "the authority at {url} is not the one you named\n  \
         expected root {pin}\n  offered root  {offered}\n\
         Nothing was sent. Ask your operator for the fingerprint by another way; if it is the offered one, use that."
    )
}

/// Judges as [`PinnedRoot`] does, and remembers what was offered so that a refusal can name it.
#[derive(Debug)]
struct Witness {
    pinned: Arc<PinnedRoot>,
    offered: Mutex<Vec<Fingerprint>>,
}

impl Witness {
    /// The last certificate of the offered chain, when nothing in it is `pin`.
    fn offered_instead(&self, pin: &Fingerprint) -> Option<Fingerprint> {
        let offered = self.offered.lock().ok()?;
        if offered.contains(pin) { None } else { offered.last().cloned() }
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut offered) = self.offered.lock() {
            *offered = std::iter::once(end_entity)
                .chain(intermediates)
                .map(|certificate| Fingerprint::of(certificate))
                .collect();
        }
        self.pinned.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.pinned.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.pinned.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.pinned.supported_verify_schemes()
    }
}

/// RFC 7468 form.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in text.chars().enumerate() {
        if index != 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn pem_reads_back() {
        for length in [0, 1, 47, 48, 49, 600] {
            let der = CertificateDer::from(vec![7; length]);
            assert_eq!(CertificateDer::from_pem_slice(pem(&der).as_bytes()).unwrap(), der);
        }
    }
}
