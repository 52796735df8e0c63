//! The socket at which `curfew-pty` asks what to run and hands its terminal over, and recorders say what has passed.
//!
//! Everybody may connect: who is let in is decided by the kernel's word on who connected. A user has few connections at a
//! time and little patience is given, so that nobody keeps the others from logging in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as Connection;
use std::rc::Rc;
use std::time::Duration;

use pty::passing::{Inbox, PassError};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use wire::channel::{Ask, RECORDER_PATIENCE_MILLIS, Report};

use crate::peer::Peer;

/// What came in.
#[derive(Debug)]
pub enum Said {
    /// `curfew-pty`, or a process that does as if, asks.
    Asked(Asked),
    /// A recorder has connected; bytes for it go here.
    Reporting {
        /// Which connection, counted.
        connection: u64,
        /// For the agent's words.
        words: mpsc::Sender<u8>,
    },
    /// A recorder reports.
    Reported {
        /// Which connection, counted.
        connection: u64,
        /// What it says.
        report: Report,
    },
    /// A recorder's connection has ended.
    Gone {
        /// Which.
        connection: u64,
    },
}

/// A question about a channel.
#[derive(Debug)]
pub struct Asked {
    /// Who asks, as the kernel says it.
    pub peer: Peer,
    /// What they ask.
    pub ask: Ask,
    /// The descriptors that came with it.
    pub with: Vec<OwnedFd>,
    /// Where the answer goes, and then the recorder.
    pub connection: Connection,
}

/// Takes questions and reports for ever, and hands them to `desk`; reports come from the user `recorder` alone.
pub async fn serve(listener: UnixListener, recorder: Option<u32>, desk: mpsc::Sender<Said>) {
    let askers = Askers::default();
    let mut count: u64 = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a channel could not be heard");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let peer = match Peer::of(stream.as_fd()) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!(%error, "who asked about a channel is gone");
                continue;
            }
        };
        let desk = desk.clone();
        count = count.saturating_add(1);
        if Some(peer.uid) == recorder {
            tokio::task::spawn_local(hear_reports(stream, count, desk));
        } else if let Some(place) = askers.place(peer.uid) {
            tokio::task::spawn_local(async move {
                let patience = Duration::from_millis(RECORDER_PATIENCE_MILLIS);
                match tokio::time::timeout(patience, hear_ask(stream, peer, desk)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a channel was not answered"),
                    Err(_elapsed) => tracing::warn!("a channel took too long to ask"),
                }
                drop(place);
            });
        } else {
            tracing::warn!(uid = peer.uid, "refused a channel: this user has too many under way");
        }
    }
}

async fn hear_ask(
    stream: UnixStream,
    peer: Peer,
    desk: mpsc::Sender<Said>,
) -> Result<(), PassError> {
    let mut inbox = Inbox::default();
    let ask = next(&stream, &mut inbox).await?;
    let with = inbox.descriptors();
    let connection = stream.into_std()?;
    let asked = Said::Asked(Asked { peer, ask, with, connection });
    desk.send(asked).await.map_err(std::io::Error::other)?;
    Ok(())
}

async fn hear_reports(stream: UnixStream, connection: u64, desk: mpsc::Sender<Said>) {
    let mut inbox = Inbox::default();
    let (words, mut to_say) = mpsc::channel(WORDS);
    if desk.send(Said::Reporting { connection, words }).await.is_err() {
        return;
    }
    loop {
        let heard = tokio::select! {
            heard = next(&stream, &mut inbox) => heard,
            Some(word) = to_say.recv() => {
                // A recorder whose socket takes not even a byte hears the next one.
                if let Err(error) = stream.try_write(&[word]) {
                    tracing::debug!(%error, "a recorder was not told");
                }
                continue;
            }
        };
        match heard {
            Ok(report) => {
                if desk.send(Said::Reported { connection, report }).await.is_err() {
                    return;
                }
            }
            Err(PassError::Closed) => break,
            Err(error) => {
                tracing::warn!(%error, "a recorder is not understood");
                break;
            }
        }
    }
    if desk.send(Said::Gone { connection }).await.is_err() {
        tracing::debug!("nobody is left to hear that a recorder has gone");
    }
}

/// The next frame, and what comes with it.
async fn next<T: serde::de::DeserializeOwned>(
    stream: &UnixStream,
    inbox: &mut Inbox,
) -> Result<T, PassError> {
    loop {
        if let Some(frame) = inbox.take()? {
            return Ok(frame);
        }
        stream.readable().await?;
        let filled = stream.try_io(Interest::READABLE, || match inbox.fill(stream) {
            Err(PassError::Broken(Errno::AGAIN)) => Err(std::io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        });
        match filled {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => other??,
        }
    }
}

/// How many questions each user has under way.
#[derive(Debug, Clone, Default)]
struct Askers(Rc<RefCell<BTreeMap<u32, u32>>>);

/// A place at the socket, given back when it is dropped.
#[derive(Debug)]
struct Place(Askers, u32);

impl Askers {
    fn place(&self, uid: u32) -> Option<Place> {
        let mut askers = self.0.borrow_mut();
        let count = askers.entry(uid).or_default();
        if *count >= MAX_OF_ONE {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place(self.clone(), uid))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut askers = self.0.0.borrow_mut();
        let left = askers.get(&self.1).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            askers.remove(&self.1);
        } else {
            askers.insert(self.1, left);
        }
    }
}

/// Words that may wait for a recorder.
const WORDS: usize = 4;
/// Questions of one user under way at once: more than a burst of logins to a shared account, far fewer than the agent's
/// descriptors.
const MAX_OF_ONE: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_does_not_take_the_places_of_the_others() {
        let askers = Askers::default();
        let taken: Vec<_> = (0..MAX_OF_ONE).map(|_| askers.place(7).unwrap()).collect();
        assert!(askers.place(7).is_none());
        assert!(askers.place(8).is_some());
        drop(taken);
        assert!(askers.place(7).is_some());
        assert!(askers.0.borrow().is_empty());
    }
}
