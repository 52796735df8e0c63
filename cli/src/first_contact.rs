//! First contact with an authority: its root is fetched, and believed because the person gave its fingerprint.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use wire::identifier::Fingerprint;
use wire::tls::PinnedRoot;

use crate::client;
use crate::url::Url;

/// Fetches the root with fingerprint `pin` from the authority at `url`, as PEM.
pub(crate) fn root(url: &Url, pin: &Fingerprint) -> Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = PinnedRoot::new(pin.clone(), Arc::clone(&provider));
    let verifier: Arc<dyn ServerCertVerifier> = pinned.clone();
    let config = client::tls(provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let chain =
        client::shake_hands(url, config).map_err(|error| match pinned.offered_instead() {
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
