//! A key that any ssh-agent holds, security keys among them. The private half never comes here.
//!
//! One request and one reply at a time over the agent's socket (draft-ietf-sshm-ssh-agent).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, Signature};

use super::SignError;
use super::remote::Holder;
use crate::clock;

mod reply;

use reply::{Malformed, Reply};

/// A connection to an ssh-agent, for one of its keys.
pub(super) struct Agent {
    key: KeyData,
    socket: PathBuf,
    timeout: Duration,
    /// While it is good.
    connection: Option<UnixStream>,
}

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// Nobody is there.
    #[error("the ssh-agent at {path} does not answer: {source}; is it running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long, or went away.
    #[error("the conversation with the ssh-agent at {path} broke off: {source}")]
    Conversation {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It speaks something else.
    #[error("the ssh-agent at {path} answers nonsense: {source}")]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// What.
        source: Malformed,
    },
    /// It does not hold the key.
    #[error(
        "the ssh-agent at {path} does not hold the key {wanted}; it holds {held}: add it with ssh-add"
    )]
    NotHeld {
        /// The socket.
        path: PathBuf,
        /// The fingerprint of the key.
        wanted: String,
        /// What it holds, in words.
        held: String,
    },
    /// It said no.
    #[error(
        "the ssh-agent at {path} holds the key {wanted} and refuses to sign with it: was the question answered, the security key touched?"
    )]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The fingerprint of the key.
        wanted: String,
    },
}

impl Agent {
    /// For the key with this public half, which the agent must hold.
    pub(super) fn open(
        socket: &Path,
        public: &PublicKey,
        timeout: Duration,
    ) -> Result<Self, AgentError> {
        let (key, socket) = (public.key_data().clone(), socket.into());
        let agent = Self { key, socket, timeout, connection: None };
        agent.require_held()?;
        Ok(agent)
    }

    fn require_held(&self) -> Result<(), AgentError> {
        let held = Asking::begin(&self.socket, self.timeout).held()?;
        if held.contains(&self.key) {
            return Ok(());
        }
        Err(not_held(&self.socket, &print(&self.key), &held))
    }

    fn ask(&mut self, message: &[u8]) -> Result<Signature, AgentError> {
        let asking = Asking::begin(&self.socket, self.timeout);
        let request =
            reply::sign_request(&self.key, message).map_err(|source| asking.malformed(source))?;
        match asking.ask(&mut self.connection, &request)? {
            Reply::Signature(signature) => Ok(signature),
            Reply::Failure => {
                // A key that is gone and a person who says no look alike.
                self.require_held()?;
                let wanted = print(&self.key);
                Err(AgentError::Refused { path: self.socket.clone(), wanted })
            }
            Reply::Identities(_) => Err(asking.malformed(Malformed::Kind)),
        }
    }
}

impl Holder for Agent {
    fn sign(&mut self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(self.ask(message)?)
    }
}

/// The key that the agent holds under this fingerprint.
pub(super) fn choose(
    socket: &Path,
    fingerprint: &str,
    timeout: Duration,
) -> Result<PublicKey, AgentError> {
    let mut held = Asking::begin(socket, timeout).held()?;
    match held.iter().position(|key| print(key) == fingerprint) {
        Some(at) => Ok(held.swap_remove(at).into()),
        None => Err(not_held(socket, fingerprint, &held)),
    }
}

/// One conversation, which ends in time.
struct Asking<'a> {
    socket: &'a Path,
    until: Option<Instant>,
}

impl<'a> Asking<'a> {
    fn begin(socket: &'a Path, timeout: Duration) -> Self {
        Self { socket, until: clock::instant().checked_add(timeout) }
    }

    fn held(&self) -> Result<Vec<KeyData>, AgentError> {
        match self.ask(&mut None, &reply::LIST_REQUEST)? {
            Reply::Identities(keys) => Ok(keys),
            Reply::Failure => Ok(Vec::new()),
            Reply::Signature(_) => Err(self.malformed(Malformed::Kind)),
        }
    }

    /// Asks over the connection if there is one; it may have died since, and then a new one is tried.
    fn ask(
        &self,
        connection: &mut Option<UnixStream>,
        request: &[u8],
    ) -> Result<Reply, AgentError> {
        if let Some(stream) = connection.take()
            && let Ok(bytes) = self.exchange(&stream, request)
        {
            *connection = Some(stream);
            return self.read(&bytes);
        }
        let failed = |source| AgentError::Connect { path: self.socket.into(), source };
        let stream = UnixStream::connect(self.socket).map_err(failed)?;
        let broken = |source| AgentError::Conversation { path: self.socket.into(), source };
        let bytes = self.exchange(&stream, request).map_err(broken)?;
        *connection = Some(stream);
        self.read(&bytes)
    }

    fn read(&self, bytes: &[u8]) -> Result<Reply, AgentError> {
        Reply::read(bytes).map_err(|source| self.malformed(source))
    }

    fn exchange(&self, mut stream: &UnixStream, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let too_long = || std::io::Error::other("the message is too long for the protocol");
        let length = u32::try_from(request.len()).map_err(|_long| too_long())?;
        stream.set_write_timeout(Some(self.left()?))?;
        stream.write_all(&[&length.to_be_bytes(), request].concat())?;
        let mut length = [0; 4];
        self.fill(stream, &mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > reply::MAX {
            return Err(too_long());
        }
        let mut bytes = vec![0; length];
        self.fill(stream, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads until `bytes` is full; an agent that drips gets no more time than one that is silent.
    fn fill(&self, mut stream: &UnixStream, mut bytes: &mut [u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            stream.set_read_timeout(Some(self.left()?))?;
            let count = match stream.read(bytes) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            };
            bytes = bytes.split_at_mut_checked(count).map_or(&mut [], |(_, rest)| rest);
        }
        Ok(())
    }

    fn left(&self) -> std::io::Result<Duration> {
        let left = self.until.and_then(|until| until.checked_duration_since(clock::instant()));
        left.filter(|left| !left.is_zero()).ok_or(std::io::ErrorKind::TimedOut.into())
    }

    fn malformed(&self, source: Malformed) -> AgentError {
        AgentError::Malformed { path: self.socket.into(), source }
    }
}

fn print(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn not_held(socket: &Path, wanted: &str, held: &[KeyData]) -> AgentError {
    let held = match held {
        [] => "no key".to_owned(),
        held => held.iter().take(SHOWN).map(print).collect::<Vec<_>>().join(", "),
    };
    AgentError::NotHeld { path: socket.into(), wanted: wanted.to_owned(), held }
}

/// Most keys that are named to an operator who looks for one.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests;
