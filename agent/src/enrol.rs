//! `curfew-agent enroll`: joins this host to an authority, once, with a one-time token.
//!
//! The authority is believed because its root has the fingerprint that the operator gave; nothing is sent before that
//! is checked. The host's TLS key is made here and never leaves; what comes back is all that this host will trust.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::User;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use ssh_key::PublicKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wire::frame::{Decoder, FrameError, MAX_FRAME, encode};
use wire::hostlink::{Enrol, Enrolled, ToAuthority, ToHost};
use wire::identifier::Fingerprint;
use wire::log::LogKey;
use wire::tls::PinnedRoot;
use wire::trust::{AuthorityKey, KeysError};
use zeroize::Zeroizing;

use crate::clock::now;
use crate::config::{Config, ConfigError};
use crate::link::identity::{self, Choice, Identity};
use crate::renewal::Renewal;
use crate::renewal::disk::{self, Certificates};
use crate::store::{self, StoreError};

/// What the operator says.
#[derive(Clone)]
pub struct Invitation {
    /// The authority's host listener, `name:port`.
    pub authority: String,
    /// The fingerprint of its root.
    pub fingerprint: Fingerprint,
    /// The one-time token.
    pub token: String,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// The host could not join. Nothing was changed on it, unless [`EnrolError::Store`] says so.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Only root can.
    #[error("curfew-agent enroll must be run by root")]
    NotRoot,
    /// It has joined already.
    #[error("this host is enrolled already as {0}; `curfew-agent uninstall --purge` forgets that")]
    Already(String),
    /// The link has no user yet.
    #[error("there is no user curfew-link; run `systemd-sysusers` (the package does)")]
    NoLinkUser,
    /// The configuration names another authority.
    #[error("{path} names the authority {configured}, not {asked}; change one of them")]
    OtherAuthority {
        /// The configuration.
        path: PathBuf,
        /// What it says.
        configured: String,
        /// What was asked for.
        asked: String,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is not `name:port`.
    #[error("the authority's address {0:?} is not of the form name:port")]
    Address(String),
    /// The authority does not answer.
    #[error("the authority does not answer at {address}: {source}")]
    Connect {
        /// Its address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The root that was presented is not the one that was named.
    #[error(
        "the authority at {address} is not the one you named\n  expected root {expected}\n  offered root  {offered}\n\
         Either the fingerprint was mistyped (compare with `curfew-ca status`), or somebody stands in between. Nothing was sent."
    )]
    Fingerprint {
        /// Its address.
        address: String,
        /// What was given.
        expected: Fingerprint,
        /// What the last certificate it offered has.
        offered: Fingerprint,
    },
    /// The authority said no.
    #[error("the authority refused: {0}")]
    Refused(wire::problem::Problem),
    /// What came is not an answer.
    #[error("the authority's answer cannot be used: {0}")]
    Answer(String),
    /// sshd's keys cannot be read.
    #[error(transparent)]
    HostKeys(#[from] disk::KeysError),
    /// The host's own keys cannot be made.
    #[error("{what}: {why}")]
    Keys {
        /// What was tried.
        what: String,
        /// Why not.
        why: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where enrolment writes, besides the agent's own folders.
#[derive(Debug, Clone)]
pub struct Places {
    /// The agent's configuration.
    pub config: PathBuf,
    /// sshd's configuration folder.
    pub ssh_dir: PathBuf,
    /// The link's TLS identity.
    pub identity_dir: PathBuf,
    /// What sshd reads as `TrustedUserCAKeys`.
    pub user_authorities: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            config: "/etc/curfew/agent.toml".into(),
            ssh_dir: "/etc/ssh".into(),
            identity_dir: "/var/lib/curfew-link".into(),
            user_authorities: crate::install::sshd::USER_AUTHORITIES_PATH.into(),
        }
    }
}

/// Joins. When this returns, the host can be installed and run.
///
/// # Errors
/// Why the host did not join.
pub async fn enrol(invitation: &Invitation, places: &Places) -> Result<Enrolled, EnrolError> {
    if !rustix::process::geteuid().is_root() {
        return Err(EnrolError::NotRoot);
    }
    let link = User::from_name("curfew-link").ok().flatten().ok_or(EnrolError::NoLinkUser)?;
    let (config, to_write) = configuration(invitation, &places.config)?;
    let trust_path = config.state_dir.join("trust.json");
    if let Ok(trust) = store::read::<wire::hostlink::Trust>(&trust_path) {
        return Err(EnrolError::Already(trust.host.to_string()));
    }
    let keys = disk::host_keys(&places.ssh_dir)?;
    let host_keys: Result<Vec<String>, _> = keys.iter().map(|key| key.key.to_openssh()).collect();
    let host_keys = host_keys.map_err(|error| unmade("printing the host keys", &error))?;
    let agent_key = disk::make_agent_key();
    let agent_key = agent_key.map_err(|error| unmade("making the agent's key", &error))?;
    let printed = agent_key.public_key().to_openssh();
    let printed = printed.map_err(|error| unmade("printing the agent's key", &error))?;
    let request = Identity::request();
    let (key, csr) = request.map_err(|error| unmade("making the host's TLS key", &error))?;
    let ask = Enrol {
        version: wire::VERSION,
        token: invitation.token.clone(),
        csr,
        host_keys,
        agent_key: Some(printed),
    };
    let enrolled = converse(invitation, ask).await?;
    check(&enrolled, &invitation.fingerprint)?;
    let mut renewal = Renewal::default();
    renewal.asked(keys, now().up);
    let authorities: Vec<PublicKey> =
        enrolled.trust.host_authorities.iter().filter_map(|text| text.parse().ok()).collect();
    let whose = (&enrolled.trust.host, authorities.as_slice());
    let fitting =
        renewal.fitting(&enrolled.host_certificates, whose).map_err(EnrolError::Answer)?;

    if let Some(text) = to_write {
        make_folder(places.config.parent().unwrap_or(Path::new("/")), 0o755)?;
        store::write_bytes(&places.config, text.as_bytes(), 0o644)?;
    }
    make_folder(&config.state_dir, 0o700)?;
    make_folder(&places.identity_dir, 0o700)?;
    keep_identity(&places.identity_dir, (key, &enrolled), &link)?;
    Certificates::in_state(&config.state_dir).replace(&fitting)?;
    disk::keep_agent_key(&config.state_dir, &agent_key)?;
    let authorities: String = enrolled.trust.user_authorities.iter().map(|key| line(key)).collect();
    store::write_bytes(&places.user_authorities, authorities.as_bytes(), 0o644)?;
    // Last: with this the host is enrolled.
    store::write(&trust_path, &enrolled.trust)?;
    Ok(enrolled)
}

/// What the link connects with; of what another enrolment left, nothing stays.
fn keep_identity(
    folder: &Path,
    (key, enrolled): (Zeroizing<String>, &Enrolled),
    owner: &User,
) -> Result<(), StoreError> {
    let (certificate, window) = (enrolled.certificate.clone(), enrolled.window);
    let identity = Identity { version: wire::VERSION, key, certificate, window };
    identity.keep(folder, Choice::Current)?;
    identity::drop_next(folder)?;
    identity::forget_former(folder)?;
    let root = folder.join(identity::ROOT);
    store::write_bytes(&root, enrolled.root.as_bytes(), 0o600)?;
    for path in [Choice::Current.path(folder), root, folder.into()] {
        give(&path, owner)?;
    }
    Ok(())
}

fn unmade(what: &str, why: &dyn std::fmt::Display) -> EnrolError {
    EnrolError::Keys { what: what.into(), why: why.to_string() }
}

/// The configuration, which names this authority; one that is yet to be written, with its text, if there is none.
fn configuration(
    invitation: &Invitation,
    path: &Path,
) -> Result<(Config, Option<String>), EnrolError> {
    if !path.exists() {
        let text = crate::config::sample(checked_address(&invitation.authority)?);
        return Ok((Config::parse(path, &text)?, Some(text)));
    }
    let config = Config::load(path)?;
    if config.authority == invitation.authority {
        return Ok((config, None));
    }
    Err(EnrolError::OtherAuthority {
        path: path.into(),
        configured: config.authority,
        asked: invitation.authority.clone(),
    })
}

fn checked_address(address: &str) -> Result<&str, EnrolError> {
    let plain =
        address.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte));
    let shaped = address
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    if plain && shaped { Ok(address) } else { Err(EnrolError::Address(address.into())) }
}

async fn converse(invitation: &Invitation, ask: Enrol) -> Result<Enrolled, EnrolError> {
    let address = checked_address(&invitation.authority)?;
    let failed = |source| EnrolError::Connect { address: address.into(), source };
    let (name, _port) =
        address.rsplit_once(':').ok_or_else(|| EnrolError::Address(address.into()))?;
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let server = ServerName::try_from(name).map_err(|_odd| EnrolError::Address(address.into()))?;
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(address))
        .await
        .map_err(|_elapsed| failed(io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = PinnedRoot::new(invitation.fingerprint.clone(), Arc::clone(&provider));
    let connector = TlsConnector::from(Arc::new(client_config(provider, Arc::clone(&pinned))?));
    let mut stream = match connector.connect(server, stream).await {
        Ok(stream) => stream,
        Err(source) => return Err(explain(invitation, &pinned, source)),
    };
    let frame =
        encode(&ToAuthority::Enrol(ask)).map_err(|error| EnrolError::Answer(error.to_string()))?;
    stream.write_all(&frame).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut bytes = vec![0; 16 * 1024];
    loop {
        match decoder.take().map_err(|error: FrameError| EnrolError::Answer(error.to_string()))? {
            Some(ToHost::Enrolled(enrolled)) => return Ok(*enrolled),
            Some(ToHost::Refused(problem)) => return Err(EnrolError::Refused(problem)),
            Some(_) => return Err(EnrolError::Answer("it is not about enrolment".into())),
            None => {}
        }
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await;
        let count =
            read.map_err(|_elapsed| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        if count == 0 {
            return Err(EnrolError::Answer("it closed the connection first".into()));
        }
        decoder.push(bytes.get(..count).unwrap_or_default());
    }
}

fn client_config(
    provider: Arc<CryptoProvider>,
    pinned: Arc<PinnedRoot>,
) -> Result<ClientConfig, EnrolError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| EnrolError::Answer(error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth())
}

/// A handshake that failed on the root names both roots.
fn explain(invitation: &Invitation, pinned: &PinnedRoot, source: io::Error) -> EnrolError {
    let address = invitation.authority.clone();
    match pinned.offered_instead() {
        None => EnrolError::Connect { address, source },
        Some(offered) => {
            EnrolError::Fingerprint { address, expected: invitation.fingerprint.clone(), offered }
        }
    }
}

/// What came back hangs together: the root is the pinned one, and every key of it can be read.
fn check(enrolled: &Enrolled, pin: &Fingerprint) -> Result<(), EnrolError> {
    let root = CertificateDer::from_pem_slice(enrolled.root.as_bytes())
        .map_err(|error| EnrolError::Answer(format!("its root is no certificate: {error}")))?;
    if Fingerprint::of(&root) != *pin {
        return Err(EnrolError::Answer("its root is not the pinned one".into()));
    }
    if enrolled.trust.version != wire::VERSION {
        let version = enrolled.trust.version;
        return Err(EnrolError::Answer(format!(
            "it speaks version {version}, not {}",
            wire::VERSION
        )));
    }
    let trust = &enrolled.trust;
    let odd = |error: KeysError| EnrolError::Answer(format!("a key of it cannot be read: {error}"));
    trust.order_keys().map_err(odd)?;
    for key in trust.user_authorities.iter().chain(&trust.host_authorities) {
        key.trim().parse::<AuthorityKey>().map_err(odd)?;
    }
    for key in &trust.log_keys {
        let odd = |error| EnrolError::Answer(format!("a log key of it cannot be read: {error}"));
        key.parse::<LogKey>().map_err(odd)?;
    }
    Ok(())
}

fn make_folder(path: &Path, mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| StoreError::Io { path: path.into(), source })
}

fn give(path: &Path, owner: &User) -> Result<(), StoreError> {
    // Never through a link: the folder is the owner's, who could put one there that leads to a file of root's.
    let given = std::os::unix::fs::lchown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()));
    given.map_err(|source| StoreError::Io { path: path.into(), source })
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_carry_anything_else_into_the_configuration() {
        for good in ["ca.example:7443", "10.0.0.1:7443", "[::1]:7443"] {
            assert!(checked_address(good).is_ok(), "{good}");
        }
        for bad in
            ["ca", "ca:", "ca:x", ":7443", "ca:7443\nbpf_dir = \"/\"", "c\"a:7443", "ca:99999"]
        {
            assert!(checked_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_never_given_away_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("key.pem");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let us = User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
        give(&link, &us).unwrap();
    }
}
