//! The link's socket: orders and acknowledgements come in, records and receipts go out.

use std::os::fd::AsFd as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use wire::frame::{Decoder, MAX_FRAME, encode};
use wire::hostlink::{ToAuthority, ToHost};

use crate::peer::Peer;

/// What the link brings.
#[derive(Debug)]
pub enum Fed {
    /// A link has connected; frames for the authority go here. It replaces the one before.
    Connected {
        /// Which connection, counted.
        connection: u64,
        /// For frames.
        out: mpsc::Sender<ToAuthority>,
    },
    /// A frame from the authority.
    Frame {
        /// Which connection.
        connection: u64,
        /// The frame.
        frame: ToHost,
    },
    /// A link has gone.
    Gone {
        /// Which connection.
        connection: u64,
    },
}

/// Takes links for ever, from root and the user `link_uid` alone.
pub async fn serve(listener: UnixListener, link_uid: Option<u32>, desk: mpsc::Sender<Fed>) {
    let mut connection: u64 = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the link's socket could not accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        match Peer::of(stream.as_fd()) {
            Ok(peer) if peer.uid == 0 || Some(peer.uid) == link_uid => {}
            Ok(peer) => {
                tracing::warn!(uid = peer.uid, "refused a link that is not curfew-link");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "refused a link whose peer is unknown");
                continue;
            }
        }
        connection = connection.saturating_add(1);
        let desk = desk.clone();
        tokio::task::spawn_local(async move { attend(stream, connection, desk).await });
    }
}

async fn attend(stream: UnixStream, connection: u64, desk: mpsc::Sender<Fed>) {
    let (incoming, outgoing) = stream.into_split();
    let (out, frames) = mpsc::channel(WAITING_FRAMES);
    if desk.send(Fed::Connected { connection, out }).await.is_err() {
        return;
    }
    let end = tokio::select! {
        end = read(incoming, connection, &desk) => end,
        end = write(outgoing, frames) => end,
    };
    tracing::info!(connection, end = %end.unwrap_or_else(|error| error.to_string()), "the link has gone");
    if desk.send(Fed::Gone { connection }).await.is_err() {
        tracing::debug!("nobody is left to hear that the link has gone");
    }
}

async fn read(
    mut incoming: OwnedReadHalf,
    connection: u64,
    desk: &mpsc::Sender<Fed>,
) -> std::io::Result<String> {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = incoming.read(&mut bytes).await?;
        if count == 0 {
            return Ok("it closed".into());
        }
        decoder.push(bytes.get(..count).unwrap_or_default());
        while let Some(frame) = decoder.take().map_err(std::io::Error::other)? {
            let fed = Fed::Frame { connection, frame };
            desk.send(fed).await.map_err(std::io::Error::other)?;
        }
    }
}

/// Ends when the agent drops its end: the connection was replaced or is of no use.
async fn write(
    mut outgoing: OwnedWriteHalf,
    mut frames: mpsc::Receiver<ToAuthority>,
) -> std::io::Result<String> {
    while let Some(frame) = frames.recv().await {
        outgoing.write_all(&encode(&frame).map_err(std::io::Error::other)?).await?;
    }
    Ok("the agent let go of it".into())
}

/// Frames that may wait for the link; more are held back in the spool.
const WAITING_FRAMES: usize = 64;
