//! The authority's TLS: 1.3 alone, a certificate of its own that is renewed while it serves, and hosts known by theirs.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use wire::time::Timestamp;

use crate::x509::{Root, X509Error};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The certificate could not be made.
    #[error(transparent)]
    X509(#[from] X509Error),
    /// rustls refused something.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The verifier of client certificates could not be built.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The server's certificate in use; it can be replaced while connections come in.
#[derive(Debug)]
pub(crate) struct Leaf {
    provider: Arc<CryptoProvider>,
    key: RwLock<Arc<CertifiedKey>>,
}

impl Leaf {
    /// Issues the first one.
    pub(crate) fn issue(
        root: &Root,
        names: &[String],
        now: Timestamp,
    ) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = RwLock::new(certified(&provider, root, names, now)?);
        Ok(Arc::new(Self { provider, key }))
    }

    /// Issues the next one.
    pub(crate) fn renew(
        &self,
        root: &Root,
        names: &[String],
        now: Timestamp,
    ) -> Result<(), TlsError> {
        let next = certified(&self.provider, root, names, now)?;
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// How people are served.
    pub(crate) fn for_people(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// How hosts are served: a certificate is checked when one is shown; without one a host can only enrol.
    pub(crate) fn for_hosts(self: &Arc<Self>, root: &Root) -> Result<Arc<ServerConfig>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .allow_unauthenticated()
        .build()?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Self>::clone(self));
        // A resumed connection would keep a client certificate's verdict from before.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(
    provider: &CryptoProvider,
    root: &Root,
    names: &[String],
    now: Timestamp,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let leaf = root.issue_leaf(names, now)?;
    Ok(Arc::new(CertifiedKey::from_der(leaf.chain, leaf.key, provider)?))
}
