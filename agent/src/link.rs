//! `curfew-link`: carries frames between the authority and the agent. It has a network and no privileges; the agent
//! has privileges and no network. It understands the form of what it carries, so that nothing else passes.
//!
//! It cannot forge an order (they are signed), nor reorder them (they are numbered). What it can do is stay silent;
//! the authority notices that within [`wire::hostlink::SILENCE_SECS`].

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use wire::frame::{Decoder, FrameError, MAX_FRAME, encode};
use wire::hostlink::{ToAuthority, ToHost};
use wire::renewal::LinkAnswer;

use crate::clock::now;
use crate::store::StoreError;

pub mod identity;
mod renewal;

use identity::{Choice, Identity};
use renewal::Watch;

/// Where the link finds both of its ends, and who it is.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The authority's host listener: `name:port`.
    pub authority: String,
    /// The agent's socket.
    pub agent_socket: PathBuf,
    /// The folder with the [`Identity`] and the authority's root.
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
    /// The next certificate has come.
    #[error("the certificate of the connection was renewed; connecting with the new one")]
    Renewed,
    /// The next certificate cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Carries until a connection ends. Returns how it ended; the caller waits and calls again.
///
/// # Errors
/// Always, in the end: how the connection ended.
pub async fn carry(ends: &Ends, choice: Choice) -> Result<std::convert::Infallible, LinkError> {
    let identity = Identity::read(&ends.identity_dir, choice)?;
    let agent = UnixStream::connect(&ends.agent_socket)
        .await
        .map_err(|source| LinkError::Agent { path: ends.agent_socket.clone(), source })?;
    let authority = connect(ends, identity.config(&ends.identity_dir)?).await?;
    let (mut agent_in, mut agent_out) = agent.into_split();
    let (mut authority_in, mut authority_out) = tokio::io::split(authority);
    tracing::info!(authority = %ends.authority, "connected to the authority");
    let (say, own) = mpsc::channel(1);
    let watch = Watch::over(identity.window);
    let mut down = Down { folder: &ends.identity_dir, choice, watch, say };
    tokio::select! {
        end = up(&mut agent_in, &mut authority_out, own) => end,
        end = down.carry(&mut authority_in, &mut agent_out) => end,
    }
}

/// Carries what the agent says to the authority, and what the link says itself.
async fn up<R, W>(
    from: &mut R,
    to: &mut W,
    mut own: mpsc::Receiver<ToAuthority>,
) -> Result<std::convert::Infallible, LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut incoming = Incoming::new();
    loop {
        tokio::select! {
            arrived = incoming.arrive(from) => arrived?,
            Some(frame) = own.recv() => to.write_all(&encode(&frame)?).await?,
        }
        while let Some(frame) = incoming.decoder.take::<ToAuthority>()? {
            to.write_all(&encode(&frame)?).await?;
        }
        to.flush().await?;
    }
}

/// Carries what the authority says to the agent, except what it says to the link.
struct Down<'a> {
    folder: &'a Path,
    choice: Choice,
    watch: Watch,
    say: mpsc::Sender<ToAuthority>,
}

impl Down<'_> {
    async fn carry<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
    ) -> Result<std::convert::Infallible, LinkError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut incoming = Incoming::new();
        loop {
            if let Some(ask) = self.watch.ask(now())
                && self.say.try_send(ToAuthority::RenewLink(ask)).is_err()
            {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            }
            tokio::select! {
                arrived = incoming.arrive(from) => arrived?,
                () = tokio::time::sleep(self.watch.wait(now())) => {}
            }
            while let Some(frame) = incoming.decoder.take::<ToHost>()? {
                self.pass_on(frame, to).await?;
            }
            to.flush().await?;
        }
    }

    /// Takes what is for the link itself, and hands everything else to the agent; a refusal is the last frame.
    async fn pass_on<W>(&mut self, frame: ToHost, to: &mut W) -> Result<(), LinkError>
    where
        W: AsyncWrite + Unpin,
    {
        let frame = match frame {
            ToHost::LinkRenewed(answer) => return self.renewed(answer),
            frame => frame,
        };
        self.look_at(&frame)?;
        to.write_all(&encode(&frame)?).await?;
        match frame {
            ToHost::Refused(problem) => Err(LinkError::Refused(problem)),
            _ => Ok(()),
        }
    }

    /// A welcome says that this identity is good: the next one becomes the current one, and the current one, welcomed
    /// after the next one was not, stays.
    fn look_at(&mut self, frame: &ToHost) -> Result<(), LinkError> {
        let ToHost::Welcome(welcome) = frame else { return Ok(()) };
        self.watch.welcomed(welcome.challenge.is_some());
        match self.choice {
            Choice::Next => {
                identity::promote(self.folder)?;
                tracing::info!(
                    "the authority has welcomed the next certificate of this connection"
                );
            }
            Choice::Current if Choice::Next.path(self.folder).exists() => {
                tracing::warn!(
                    "the next certificate of this connection was not welcomed; it is thrown away"
                );
                identity::drop_next(self.folder)?;
                self.watch.pause(now());
            }
            Choice::Current => {}
        }
        Ok(())
    }

    /// Keeps the next identity beside the current one, and ends the connection to try it.
    fn renewed(&mut self, answer: LinkAnswer) -> Result<(), LinkError> {
        let Some(next) = self.watch.answered(answer, now()) else { return Ok(()) };
        // One that TLS cannot speak with is not worth a connection.
        next.config(self.folder)?;
        next.keep(self.folder, Choice::Next)?;
        Err(LinkError::Renewed)
    }
}

/// Frames that arrive.
struct Incoming {
    decoder: Decoder,
    bytes: Vec<u8>,
}

impl Incoming {
    fn new() -> Self {
        Self { decoder: Decoder::new(MAX_FRAME), bytes: vec![0; 64 * 1024] }
    }

    /// Takes what there is; may be given up at any moment, and loses nothing then.
    async fn arrive<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> Result<(), LinkError> {
        let count = from.read(&mut self.bytes).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.decoder.push(self.bytes.get(..count).unwrap_or_default());
        Ok(())
    }
}

async fn connect(
    ends: &Ends,
    config: ClientConfig,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, LinkError> {
    let wrong = || LinkError::Address(ends.authority.clone());
    let (name, _port) = ends.authority.rsplit_once(':').ok_or_else(wrong)?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let server = ServerName::try_from(name.to_owned()).map_err(|_odd| wrong())?;
    let failed = |source| LinkError::Authority { address: ends.authority.clone(), source };
    let attempt = async {
        let addresses = tokio::net::lookup_host(&ends.authority).await?.collect();
        let stream = reach(turned(addresses), EACH_PATIENCE).await?;
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

/// The first of these addresses that takes a connection. One that says nothing, as a machine without power does, keeps nobody
/// from the next.
async fn reach(addresses: Vec<SocketAddr>, each: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// The addresses of an authority's nodes, beginning at any, so that hosts spread over them and the next try begins elsewhere.
fn turned(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut byte = [0];
    if getrandom::fill(&mut byte).is_ok() && !addresses.is_empty() {
        let [byte] = byte;
        let by = usize::from(byte).checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(by);
    }
    addresses
}

/// Runs for ever: carries, and after an end waits a little longer each time, with jitter, and carries again.
///
/// # Errors
/// Never returns otherwise than by an error that waiting cannot mend: an identity or address that cannot be used.
pub async fn run(ends: &Ends) -> Result<std::convert::Infallible, LinkError> {
    let mut pause = FIRST_PAUSE;
    // A next identity is tried first; when it is not welcomed, the current one and it take turns until one is.
    let mut choice = Choice::Next;
    loop {
        let began = now().up;
        if choice == Choice::Next && !Choice::Next.path(&ends.identity_dir).exists() {
            choice = Choice::Current;
        }
        let tried = choice;
        choice = match choice {
            Choice::Next => Choice::Current,
            Choice::Current => Choice::Next,
        };
        match carry(ends, tried).await {
            Err(error @ LinkError::Address(_)) => return Err(error),
            Err(error @ LinkError::Identity { .. }) if tried == Choice::Current => {
                return Err(error);
            }
            Err(LinkError::Renewed) => {
                tracing::info!("{}", LinkError::Renewed);
                continue;
            }
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
/// How long one address may say nothing: three of them within the patience for all.
const EACH_PATIENCE: Duration = Duration::from_secs(3);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const SILENCE_MILLIS: u32 = 15_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_says_nothing_keeps_nobody_from_the_next() {
        // Its queue is full, and nobody empties it: whoever connects hears nothing, as of a machine without power.
        let mute = tokio::net::TcpSocket::new_v4().unwrap();
        mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mute = mute.listen(0).unwrap();
        let silent = mute.local_addr().unwrap();
        let mut queued = Vec::new();
        let full = Duration::from_secs(1);
        while let Ok(stream) = tokio::time::timeout(full, TcpStream::connect(silent)).await {
            queued.push(stream.unwrap());
        }
        let living = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = living.local_addr().unwrap();
        let each = Duration::from_millis(200);
        let stream = reach(vec![silent, good], each).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = reach(vec![silent], each).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(reach(Vec::new(), each).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn every_address_keeps_its_turn() {
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let mut turned = turned(addresses.clone());
        turned.sort();
        assert_eq!(turned, addresses);
        assert!(super::turned(Vec::new()).is_empty());
    }
}
