//! `curfew-link`: carries frames between the authority and the agent. It has a network and no privileges; the agent
//! has privileges and no network. It understands the form of what it carries, so that nothing else passes.
//!
//! It cannot forge an order (they are signed), nor reorder them (they are numbered). What it can do is stay silent;
//! the authority notices that within [`wire::hostlink::SILENCE_SECS`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use wire::frame::{Decoder, FrameError, MAX_FRAME, encode};
use wire::hostlink::{ToAuthority, ToHost};

use crate::clock::now;

/// Where the link finds both of its ends, and who it is.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The authority's host listener: `name:port`.
    pub authority: String,
    /// The agent's socket.
    pub agent_socket: PathBuf,
    /// The folder with `key.pem`, `certificate.pem` and `root.pem`.
    pub identity_dir: PathBuf,
}

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The host is not enrolled, or its identity cannot be used.
    #[error(
        "the host's TLS identity in {path} cannot be used ({why}); enrol with `curfew-agent enroll`"
    )]
    Identity {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The authority's address is not `name:port`.
    #[error("the authority's address {0:?} is not of the form name:port")]
    Address(String),
    /// The agent does not answer.
    #[error("the agent does not answer on {path}: {source}")]
    Agent {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authority does not answer.
    #[error("the authority does not answer at {address}: {source}")]
    Authority {
        /// Its address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A connection that stood has ended.
    #[error("the connection has ended: {0}")]
    Ended(#[from] io::Error),
    /// Something that is no frame came.
    #[error("what came is no frame: {0}")]
    Frame(#[from] FrameError),
    /// The authority refused.
    #[error("the authority refused: {0}")]
    Refused(wire::problem::Problem),
}

/// Carries until a connection ends. Returns how it ended; the caller waits and calls again.
///
/// # Errors
/// Always, in the end: how the connection ended.
pub async fn carry(ends: &Ends) -> Result<std::convert::Infallible, LinkError> {
    let agent = UnixStream::connect(&ends.agent_socket)
        .await
        .map_err(|source| LinkError::Agent { path: ends.agent_socket.clone(), source })?;
    let authority = connect(ends).await?;
    let (mut agent_in, mut agent_out) = agent.into_split();
    let (mut authority_in, mut authority_out) = tokio::io::split(authority);
    tracing::info!(authority = %ends.authority, "connected to the authority");
    tokio::select! {
        end = relay::<ToAuthority, _, _>(&mut agent_in, &mut authority_out) => end,
        end = relay::<ToHost, _, _>(&mut authority_in, &mut agent_out) => end,
    }
}

/// Carries frames of one kind one way.
async fn relay<T, R, W>(from: &mut R, to: &mut W) -> Result<std::convert::Infallible, LinkError>
where
    T: Serialize + DeserializeOwned + Refusal,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        decoder.push(bytes.get(..count).unwrap_or_default());
        while let Some(frame) = decoder.take::<T>()? {
            to.write_all(&encode(&frame)?).await?;
            if let Some(problem) = frame.refusal() {
                return Err(LinkError::Refused(problem));
            }
        }
        to.flush().await?;
    }
}

/// A frame that may be the last one before the other side closes.
trait Refusal {
    fn refusal(self) -> Option<wire::problem::Problem>;
}

impl Refusal for ToAuthority {
    fn refusal(self) -> Option<wire::problem::Problem> {
        None
    }
}

impl Refusal for ToHost {
    fn refusal(self) -> Option<wire::problem::Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

async fn connect(ends: &Ends) -> Result<tokio_rustls::client::TlsStream<TcpStream>, LinkError> {
    let config = identity(&ends.identity_dir)?;
    let wrong = || LinkError::Address(ends.authority.clone());
    let (name, _port) = ends.authority.rsplit_once(':').ok_or_else(wrong)?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let server = ServerName::try_from(name.to_owned()).map_err(|_odd| wrong())?;
    let failed = |source| LinkError::Authority { address: ends.authority.clone(), source };
    let attempt = async {
        let stream = TcpStream::connect(&ends.authority).await?;
        stream.set_nodelay(true)?;
        // A path that has gone silent is noticed by heartbeats that nobody acknowledges.
        rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENCE_MILLIS)?;
        TlsConnector::from(Arc::new(config)).connect(server, stream).await
    };
    match tokio::time::timeout(CONNECT_PATIENCE, attempt).await {
        Ok(result) => result.map_err(failed),
        Err(_elapsed) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

fn identity(folder: &Path) -> Result<ClientConfig, LinkError> {
    let unusable = |why: String| LinkError::Identity { path: folder.into(), why };
    let said = |error: &dyn std::fmt::Display| unusable(error.to_string());
    let read = |name: &str| {
        std::fs::read(folder.join(name)).map_err(|error| unusable(format!("{name}: {error}")))
    };
    let root = CertificateDer::from_pem_slice(&read("root.pem")?).map_err(|error| said(&error))?;
    let certificate =
        CertificateDer::from_pem_slice(&read("certificate.pem")?).map_err(|error| said(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")?).map_err(|error| said(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(|error| said(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)
        })
        .map_err(|error| said(&error))
}

/// Runs for ever: carries, and after an end waits a little longer each time, with jitter, and carries again.
///
/// # Errors
/// Never returns otherwise than by an error that waiting cannot mend: an identity or address that cannot be used.
pub async fn run(ends: &Ends) -> Result<std::convert::Infallible, LinkError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = now().up;
        match carry(ends).await {
            Err(error @ (LinkError::Identity { .. } | LinkError::Address(_))) => return Err(error),
            Err(error) => tracing::warn!(%error, retry_ms = pause.as_millis(), "not connected"),
            Ok(never) => match never {},
        }
        if now().up.since(began) >= STEADY {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(jitter(pause)).await;
        pause = pause.saturating_mul(2).min(LAST_PAUSE);
    }
}

/// Between half of `pause` and all of it, so that many hosts do not come back in the same moment.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [128];
    if getrandom::fill(&mut byte).is_err() {
        return pause;
    }
    let [part] = byte;
    let percent = 50_u32.saturating_add(u32::from(part) % 51);
    pause.saturating_mul(percent).checked_div(100).unwrap_or(pause)
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that stood this long begins with a short pause again.
const STEADY: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const SILENCE_MILLIS: u32 = 15_000;
