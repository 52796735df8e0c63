//! The authority's X.509 side: a root that names it, short-lived certificates for its own server, and one for each host.
//!
//! Who can change the files: root and the authority's user. Gains: can pose as the authority and as any host.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wire::identifier::{Fingerprint, HostName};
use wire::renewal::Window;
use wire::time::Timestamp;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::key::{KeyError, create_private, read_private};
use crate::random::{self, NoRandomness};

/// The root and its key.
pub(crate) struct Root {
    der: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate of the server with its key.
pub(crate) struct Leaf {
    /// The leaf, then the root, so that whoever knows only the fingerprint finds the root.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Whose client certificate it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostCertificate {
    /// The host.
    pub(crate) host: HostName,
    /// The ledger entry of the enrolment that it came from: an earlier enrolment's certificate opens nothing.
    pub(crate) enrolment: u64,
}

/// Why X.509 did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum X509Error {
    /// A file is missing or wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Making or reading a certificate failed.
    #[error("X.509: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Reading a certificate's PEM failed.
    #[error("the root certificate is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A client certificate is not of our form.
    #[error("the client certificate names no host")]
    NoHost,
    /// No serial.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl Root {
    /// Makes a root in `dir`, where there must be none.
    pub(crate) fn create(dir: &Path, now: Timestamp) -> Result<Fingerprint, X509Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Curfew authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_window(&mut params, now, ROOT_LIFETIME);
        params.serial_number = Some(serial()?);
        let root = params.self_signed(&key)?;
        create_private(&dir.join(ROOT_KEY), key.serialize_pem().as_bytes())?;
        create_private(&dir.join(ROOT), root.pem().as_bytes())?;
        Ok(Fingerprint::of(root.der()))
    }

    /// Reads the root from `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, X509Error> {
        let pem = read_private(&dir.join(ROOT))?.to_string();
        let key = KeyPair::from_pem(&read_private(&dir.join(ROOT_KEY))?)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())?;
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { der, pem, issuer })
    }

    /// What names the authority.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The root, PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The root, DER.
    pub(crate) const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A certificate for the authority's own server.
    pub(crate) fn issue_leaf(&self, names: &[String], now: Timestamp) -> Result<Leaf, X509Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = named("Curfew authority server");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_window(&mut params, now, LEAF_LIFETIME);
        params.serial_number = Some(serial()?);
        let leaf = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Leaf { chain: vec![leaf.der().clone(), self.der.clone()], key })
    }

    /// A client certificate, PEM, for an enrolled host. Of the request only the key is taken.
    pub(crate) fn issue_host(
        &self,
        request: &CertificateSigningRequestParams,
        to: &HostCertificate,
        window: Window,
    ) -> Result<String, X509Error> {
        let mut params = CertificateParams::new(vec![to.host.to_string()])?;
        let uri = format!("{HOST_URI}{}:{}", to.host, to.enrolment);
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        params.distinguished_name = named(to.host.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = moment(window.from.before(BACKDATE));
        params.not_after = moment(window.until);
        params.serial_number = Some(serial()?);
        Ok(params.signed_by(&request.public_key, &self.issuer)?.pem())
    }
}

impl HostCertificate {
    /// Reads whose a verified client certificate is.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Result<Self, X509Error> {
        Self::find(der).ok_or(X509Error::NoHost)
    }

    fn find(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let uri = names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(HOST_URI),
            _ => None,
        })?;
        let (host, enrolment) = uri.split_once(':')?;
        Some(Self { host: host.parse().ok()?, enrolment: enrolment.parse().ok()? })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_window(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    params.not_before = moment(now.before(BACKDATE));
    params.not_after = moment(now.after(lifetime));
}

fn moment(at: Timestamp) -> time::OffsetDateTime {
    i64::try_from(at.secs())
        .ok()
        .and_then(|secs| time::OffsetDateTime::from_unix_timestamp(secs).ok())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn serial() -> Result<SerialNumber, NoRandomness> {
    let mut bytes = random::bytes::<16>()?;
    if let Some(first) = bytes.first_mut() {
        // A serial is a positive integer (RFC 5280, 4.1.2.2).
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// The root's file in the state folder.
pub(crate) const ROOT: &str = "root.pem";
/// The file of the root's key there.
pub(crate) const ROOT_KEY: &str = "root_key.pem";
/// How a client certificate names its host: then the name, a colon, and the ledger entry of the enrolment.
const HOST_URI: &str = "curfew:host:";
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The server's own certificate is renewed at a third of this.
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// For clocks that are slow.
const BACKDATE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let made = Root::create(dir.path(), NOW).unwrap();
        let root = Root::read(dir.path()).unwrap();
        assert_eq!(root.fingerprint(), made);
        (dir, root)
    }

    #[test]
    fn a_host_certificate_names_the_token_s_host_whatever_was_requested() {
        let (_dir, root) = root();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = CertificateParams::new(vec!["evil".to_owned()]).unwrap();
        let csr = request.serialize_request(&key).unwrap().pem().unwrap();
        let csr = CertificateSigningRequestParams::from_pem(&csr).unwrap();
        let to = HostCertificate { host: "db1".parse().unwrap(), enrolment: 12 };
        let window = Window { from: NOW, until: NOW.after(Duration::from_secs(60)) };
        let pem = root.issue_host(&csr, &to, window).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(HostCertificate::read(&der).unwrap(), to);
        let text = String::from_utf8_lossy(&der).into_owned();
        assert!(!text.contains("evil"));
    }

    #[test]
    fn the_server_s_own_certificate_names_no_host() {
        let (_dir, root) = root();
        let leaf = root.issue_leaf(&["localhost".into(), "127.0.0.1".into()], NOW).unwrap();
        assert!(HostCertificate::read(&leaf.chain[0]).is_err());
        assert_eq!(Fingerprint::of(&leaf.chain[1]), root.fingerprint());
    }
}
