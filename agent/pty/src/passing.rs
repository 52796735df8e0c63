//! Frames with descriptors, over unix sockets.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use wire::channel::MAX_CHANNEL_FRAME;
use wire::frame::{Decoder, FrameError, encode};

/// A frame could not be passed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The other end has closed.
    #[error("the other end closed the connection")]
    Closed,
    /// The system says no.
    #[error("the connection broke: {0}")]
    Broken(#[from] Errno),
    /// The system says no otherwise.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// What came, or was to be sent, is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// More descriptors came than anybody sends.
    #[error("more than {MAX_DESCRIPTORS} descriptors came with a frame")]
    TooMany,
}

/// Sends one frame, and with it descriptors.
///
/// # Errors
/// When the peer is gone, or its queue takes no more (a socket that does not wait).
pub fn send<T: serde::Serialize>(
    socket: impl AsFd,
    value: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), PassError> {
    let frame = encode(value)?;
    let mut rest: &[u8] = &frame;
    let mut with = descriptors;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !with.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(with)) {
            return Err(PassError::TooMany);
        }
        match sendmsg(&socket, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                with = &[];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes frames, and the descriptors that come with them.
#[derive(Debug)]
pub struct Inbox {
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { decoder: Decoder::new(MAX_CHANNEL_FRAME), descriptors: Vec::new() }
    }
}

impl Inbox {
    /// Takes what the socket has now; waits for something if the socket waits.
    ///
    /// # Errors
    /// When the other end closed, or the connection broke.
    pub fn fill(&mut self, socket: impl AsFd) -> Result<(), PassError> {
        let mut bytes = [0u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        if self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(PassError::TooMany);
        }
        if got.bytes == 0 {
            return Err(PassError::Closed);
        }
        self.decoder.push(bytes.get(..got.bytes).unwrap_or_default());
        Ok(())
    }

    /// The next whole frame, if it has come.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, PassError> {
        Ok(self.decoder.take()?)
    }

    /// The descriptors that have come so far.
    pub fn descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Waits for one frame, on a socket that waits.
    ///
    /// # Errors
    /// When none comes.
    pub fn wait<T: serde::de::DeserializeOwned>(
        &mut self,
        socket: impl AsFd,
    ) -> Result<T, PassError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            match self.fill(&socket) {
                Err(PassError::Broken(Errno::INTR)) => {}
                other => other?,
            }
        }
    }
}

/// Descriptors that one frame brings at most: a connection, three terminals' ends, and a file.
pub const MAX_DESCRIPTORS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use wire::channel::Ask;

    #[test]
    fn a_frame_brings_its_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (kept, sent) = UnixStream::pair().unwrap();
        let ask = Ask { version: 1, terminal: true, term: None };
        send(&ours, &ask, &[sent.as_fd()]).unwrap();
        drop(sent);
        let mut inbox = Inbox::default();
        assert_eq!(inbox.wait::<Ask>(&theirs).unwrap(), ask);
        let mut descriptors = inbox.descriptors();
        let passed = UnixStream::from(descriptors.pop().unwrap());
        assert!(descriptors.is_empty());
        std::io::Write::write_all(&mut &passed, b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut &kept, &mut byte).unwrap();
        assert_eq!(byte, *b"x");
    }

    #[test]
    fn who_closes_or_sends_nonsense_sends_no_frame() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(matches!(Inbox::default().wait::<Ask>(&theirs), Err(PassError::Closed)));
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &ours, &[0xff; 8]).unwrap();
        assert!(matches!(Inbox::default().wait::<Ask>(&theirs), Err(PassError::Frame(_))));
    }
}
