//! One question to the agent's gate, one answer, within [`wire::gate::PATIENCE_MILLIS`].
//!
//! Runs inside sshd's monitor and in the helper that sshd starts, so it has no threads, reads no environment and
//! writes nothing. The answer is believed only from a socket that root listens on: `/run/curfew` is root's, and the
//! kernel says who listens (`SO_PEERCRED`, unix(7)).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use wire::frame::{Decoder, FrameError, encode};
use wire::gate::{Answer, PATIENCE_MILLIS, Question};

mod clock;

use clock::Deadline;

/// Why there is no answer that may be believed. All of these mean the same to a login: the agent is down.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The gate cannot be reached.
    #[error("the gate cannot be reached at {path}")]
    Connect {
        /// Where it should listen.
        path: String,
        /// What the kernel said.
        source: Errno,
    },
    /// Somebody else listens where the agent should.
    #[error("the gate is held by uid {uid}, not by root")]
    NotRoot {
        /// Who listens.
        uid: u32,
    },
    /// The agent hears us and does not answer in time.
    #[error("the gate did not answer within {PATIENCE_MILLIS} ms")]
    Silent,
    /// The connection ended before a whole answer had come.
    #[error("the gate closed the connection before it answered")]
    Closed,
    /// The connection broke.
    #[error("the connection to the gate broke")]
    Broken(#[source] Errno),
    /// What came is not an answer, or the question is too large to be asked.
    #[error("what passed the gate is no frame of ours")]
    Frame(#[from] FrameError),
}

/// Asks `question` at the socket `gate_path` and returns the answer, or the reason there is none.
///
/// # Errors
/// When no answer from a root-owned gate arrived whole and in time; see [`AskError`].
pub fn ask(gate_path: &Path, question: &Question) -> Result<Answer, AskError> {
    let deadline = Deadline::after(Duration::from_millis(PATIENCE_MILLIS));
    let frame = encode(question)?;
    let gate = reach(gate_path, deadline)?;
    put(&gate, &frame, deadline)?;
    hear(&gate, deadline)
}

/// Connects. A full queue of a stopped agent makes connect(2) wait, for as long as the send timeout says.
fn reach(gate_path: &Path, deadline: Deadline) -> Result<OwnedFd, AskError> {
    let failed = |source| AskError::Connect { path: gate_path.display().to_string(), source };
    let address = SocketAddrUnix::new(gate_path).map_err(failed)?;
    let gate = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    loop {
        set_socket_timeout(&gate, Timeout::Send, Some(remaining(deadline)?)).map_err(failed)?;
        match connect(&gate, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(AskError::Silent),
            Err(source) => return Err(failed(source)),
        }
    }
    let listener = socket_peercred(&gate).map_err(failed)?;
    if !listener.uid.is_root() {
        return Err(AskError::NotRoot { uid: listener.uid.as_raw() });
    }
    Ok(gate)
}

fn put(gate: &OwnedFd, mut frame: &[u8], deadline: Deadline) -> Result<(), AskError> {
    while !frame.is_empty() {
        set_socket_timeout(gate, Timeout::Send, Some(remaining(deadline)?))
            .map_err(AskError::Broken)?;
        match send(gate, frame, SendFlags::NOSIGNAL) {
            Ok(sent) => frame = frame.get(sent..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(AskError::Silent),
            Err(source) => return Err(AskError::Broken(source)),
        }
    }
    Ok(())
}

fn hear(gate: &OwnedFd, deadline: Deadline) -> Result<Answer, AskError> {
    let mut decoder = Decoder::new(MAX_ANSWER);
    let mut chunk = [0u8; 4096];
    loop {
        if let Some(answer) = decoder.take::<Answer>()? {
            return Ok(answer);
        }
        set_socket_timeout(gate, Timeout::Recv, Some(remaining(deadline)?))
            .map_err(AskError::Broken)?;
        match recv(gate, &mut chunk, RecvFlags::empty()) {
            Ok((0, _)) => return Err(AskError::Closed),
            Ok((read, _)) => decoder.push(chunk.get(..read).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(AskError::Silent),
            Err(source) => return Err(AskError::Broken(source)),
        }
    }
}

fn remaining(deadline: Deadline) -> Result<Duration, AskError> {
    deadline.remaining().ok_or(AskError::Silent)
}

/// Largest answer, in bytes: a few principals of 97 characters or one line of text, with much room.
const MAX_ANSWER: usize = 64 * 1024;
/// Where the agent listens.
pub const GATE_PATH: &str = "/run/curfew/gate.sock";

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure how long was waited")]
mod tests;
