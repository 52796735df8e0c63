//! Frames on a connection: read with a limit, written with patience that ends.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wire::frame::{Decoder, FrameError, encode};

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The peer sent something that is no frame of ours.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer said nothing for too long.
    #[error("the peer was silent for {0} s")]
    Silent(u64),
    /// The peer took nothing for too long.
    #[error("the peer did not take what was sent to it")]
    Stuck,
    /// The peer sent a part of a recording that does not belong there.
    #[error(transparent)]
    Part(#[from] wire::recording::lane::PartFlaw),
}

/// Frames that arrive.
pub(super) struct Incoming<R> {
    stream: R,
    decoder: Decoder,
    buffer: Vec<u8>,
}

/// Frames that leave.
pub(super) struct Outgoing<W>(W);

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Refuses frames of more than `limit` bytes.
    pub(super) fn new(stream: R, limit: usize) -> Self {
        Self { stream, decoder: Decoder::new(limit), buffer: vec![0; CHUNK] }
    }

    /// The next frame, which must arrive within `patience`.
    pub(super) async fn next<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> Result<T, LinkError> {
        tokio::time::timeout(patience, self.arrive())
            .await
            .map_err(|_elapsed| LinkError::Silent(patience.as_secs()))?
    }

    async fn arrive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        loop {
            if let Some(frame) = self.decoder.take()? {
                return Ok(frame);
            }
            let length = self.stream.read(&mut self.buffer).await?;
            match self.buffer.get(..length) {
                None | Some([]) => return Err(LinkError::Closed),
                Some(arrived) => self.decoder.push(arrived),
            }
        }
    }
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    /// Writes to `stream`.
    pub(super) const fn new(stream: W) -> Self {
        Self(stream)
    }

    /// Sends a frame; a peer that does not take it in time is given up.
    pub(super) async fn send<T: Serialize + Sync>(&mut self, frame: &T) -> Result<(), LinkError> {
        let bytes = encode(frame)?;
        let sent = async {
            self.0.write_all(&bytes).await?;
            self.0.flush().await
        };
        tokio::time::timeout(PATIENCE, sent).await.map_err(|_elapsed| LinkError::Stuck)??;
        Ok(())
    }

    /// Ends the stream in order, so that the last frame arrives.
    pub(super) async fn close(&mut self) {
        if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, self.0.shutdown()).await {
            tracing::debug!(%error, "a connection did not close in order");
        }
    }
}

const CHUNK: usize = 16 * 1024;
/// Longest time that one frame may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);
