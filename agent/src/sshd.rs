//! The gate socket: questions from the login path come in here, one connection each, and go to the agent's one loop.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use wire::gate::{Answer, MAX_QUESTION, PATIENCE_MILLIS, Question};

use crate::peer::Peer;
use crate::socket::{read_frame, write_frame};

/// A question with who asks it and where the answer goes.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// Who asks, as the kernel says it.
    pub peer: Peer,
    /// For the answer.
    pub reply: oneshot::Sender<Answer>,
}

/// Takes questions for ever and hands them to `desk`.
pub async fn serve(listener: UnixListener, desk: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::task::spawn_local(async move {
                    let patience = Duration::from_millis(PATIENCE_MILLIS);
                    match tokio::time::timeout(patience, attend(stream, desk)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "a question at the gate was not answered");
                        }
                        Err(_elapsed) => tracing::warn!("a question at the gate took too long"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the gate could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn attend(mut stream: UnixStream, desk: mpsc::Sender<Asked>) -> std::io::Result<()> {
    let peer = Peer::of(stream.as_fd())?;
    let question = read_frame(&mut stream, MAX_QUESTION).await?;
    let (reply, answer) = oneshot::channel();
    desk.send(Asked { question, peer, reply }).await.map_err(std::io::Error::other)?;
    let answer = answer.await.map_err(std::io::Error::other)?;
    write_frame(&mut stream, &answer).await
}

/// Questions in hand at once; sshd's default `MaxStartups` lets at most 100 logins be under way.
const MAX_AT_ONCE: usize = 256;
