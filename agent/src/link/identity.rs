//! The TLS identity of the host's connection: a key with its certificate, in one file, so that no moment has one without
//! the other; and, while it is being renewed, the next one beside it until the authority has welcomed it.
//!
//! Who can change these files: root and curfew-link on the host. Gains: speaks to the authority as this host.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use wire::renewal::Window;
use zeroize::Zeroizing;

use super::LinkError;
use crate::store::{self, StoreError};

/// A key and its certificate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The version of this format.
    pub version: u32,
    /// The private key, PEM.
    pub key: Zeroizing<String>,
    /// The certificate, PEM.
    pub certificate: String,
    /// The certificate's life; unknown of one from before this was kept.
    #[serde(default)]
    pub window: Option<Window>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The one that has served so far.
    Current,
    /// The next one, which the authority has not welcomed yet.
    Next,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("window", &self.window).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new key and a request for its certificate. The names in the request mean nothing.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn request() -> Result<(Zeroizing<String>, String), rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let request = rcgen::CertificateParams::default().serialize_request(&key)?;
        Ok((Zeroizing::new(key.serialize_pem()), request.pem()?))
    }

    /// Reads the identity that `choice` names; the current one may lie in the two files of an earlier version.
    pub(super) fn read(folder: &Path, choice: Choice) -> Result<Self, LinkError> {
        let unusable = |why: String| LinkError::Identity { path: folder.into(), why };
        match store::read(&choice.path(folder)) {
            Err(error) if error.is_absent() && choice == Choice::Current => {
                let read = |name: &str| {
                    let text = std::fs::read_to_string(folder.join(name));
                    text.map_err(|error| unusable(format!("{name}: {error}")))
                };
                let (key, certificate) = (read(FORMER_KEY)?.into(), read(FORMER_CERTIFICATE)?);
                Ok(Self { version: wire::VERSION, key, certificate, window: None })
            }
            other => other.map_err(|error| unusable(error.to_string())),
        }
    }

    /// Writes it as what `choice` names.
    ///
    /// # Errors
    /// When the system says no.
    pub fn keep(&self, folder: &Path, choice: Choice) -> Result<(), StoreError> {
        store::write(&choice.path(folder), self)
    }

    /// How TLS is spoken with it, to an authority whose root lies beside it.
    pub(super) fn config(&self, folder: &Path) -> Result<ClientConfig, LinkError> {
        let unusable = |why: String| LinkError::Identity { path: folder.into(), why };
        let said = |error: &dyn std::fmt::Display| unusable(error.to_string());
        let root = std::fs::read(folder.join(ROOT));
        let root = root.map_err(|error| unusable(format!("{ROOT}: {error}")))?;
        let root = CertificateDer::from_pem_slice(&root).map_err(|error| said(&error))?;
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|error| said(&error))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let key = key.map_err(|error| said(&error))?;
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|error| said(&error))?;
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| {
                builder.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)
            })
            .map_err(|error| said(&error))
    }
}

impl Choice {
    /// Where it lies.
    #[must_use]
    pub fn path(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Current => "identity.json",
            Self::Next => "identity.next.json",
        })
    }
}

/// Makes the next identity the current one: the authority has welcomed it.
pub(super) fn promote(folder: &Path) -> Result<(), StoreError> {
    let to = Choice::Current.path(folder);
    std::fs::rename(Choice::Next.path(folder), &to)
        .and_then(|()| std::fs::File::open(folder)?.sync_all())
        .map_err(|source| StoreError::Io { path: to, source })?;
    forget_former(folder)
}

/// Removes the next identity: it is no good.
///
/// # Errors
/// When the system says no.
pub fn drop_next(folder: &Path) -> Result<(), StoreError> {
    store::remove(&Choice::Next.path(folder))
}

/// Removes what an earlier version kept.
///
/// # Errors
/// When the system says no.
pub fn forget_former(folder: &Path) -> Result<(), StoreError> {
    store::remove(&folder.join(FORMER_KEY))?;
    store::remove(&folder.join(FORMER_CERTIFICATE))
}

/// The authority's X.509 root.
pub const ROOT: &str = "root.pem";
const FORMER_KEY: &str = "key.pem";
const FORMER_CERTIFICATE: &str = "certificate.pem";

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(certificate: &str) -> Identity {
        let key = "key".to_owned().into();
        Identity { version: 1, key, certificate: certificate.into(), window: None }
    }

    fn says(folder: &Path, choice: Choice) -> Option<String> {
        Identity::read(folder, choice).ok().map(|identity| identity.certificate)
    }

    #[test]
    fn the_next_takes_the_place_of_the_current_and_of_the_former_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        assert_eq!(says(folder, Choice::Current), None);
        std::fs::write(folder.join(FORMER_KEY), "key").unwrap();
        std::fs::write(folder.join(FORMER_CERTIFICATE), "former").unwrap();
        assert_eq!(says(folder, Choice::Current).as_deref(), Some("former"));
        identity("next").keep(folder, Choice::Next).unwrap();
        assert_eq!(says(folder, Choice::Current).as_deref(), Some("former"));
        assert_eq!(says(folder, Choice::Next).as_deref(), Some("next"));
        promote(folder).unwrap();
        assert_eq!(says(folder, Choice::Current).as_deref(), Some("next"));
        assert_eq!(says(folder, Choice::Next), None);
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
    }

    #[test]
    fn an_identity_shows_no_key() {
        let shown = format!("{:?}", Identity { key: "planted".to_owned().into(), ..identity("c") });
        assert!(!shown.contains("planted"), "{shown}");
    }
}
