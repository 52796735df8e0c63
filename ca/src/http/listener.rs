//! Accepting connections for the HTTP interface: bounded in number, in time, and each on its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::caller::{Local, Peer};

/// Serves people, over TLS, until `stop`.
pub(crate) async fn serve_people(
    listener: TcpListener,
    router: Router,
    tls: Arc<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Some(place) = unless_stopped(&mut stop, Arc::clone(&room).acquire_owned()).await else {
            return;
        };
        let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await else { return };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let (acceptor, stop) = (acceptor.clone(), stop.clone());
        let router = router.clone().layer(Extension(Peer(peer.ip())));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => serve(stream, router, stop).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_elapsed) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        });
    }
}

/// Serves the operator of this machine, over its socket, until `stop`: root, or the user that the authority runs as.
pub(crate) async fn serve_local(
    listener: UnixListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let router = router.layer(Extension(Local)).layer(Extension(Peer([127, 0, 0, 1].into())));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await else { return };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == own => {
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move { serve(stream, router, stop).await });
            }
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), "somebody else tried the operator's socket");
            }
            Err(error) => tracing::warn!(%error, "the operator's peer has no credentials"),
        }
    }
}

/// Serves this machine, in the clear, until `stop`.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MAX_PLAIN));
    loop {
        let Some(place) = unless_stopped(&mut stop, Arc::clone(&room).acquire_owned()).await else {
            return;
        };
        let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await else { return };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move {
                    let _place = place;
                    serve(stream, router, stop).await;
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// What `work` gives, or nothing when it is time to stop.
pub(crate) async fn unless_stopped<T>(
    stop: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = stopped(stop) => None,
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that whoever would stop us is gone, which is as good.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Out of file descriptors or the like: said, and not tried again at once.
pub(crate) async fn pause_after(error: &std::io::Error) {
    tracing::error!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn serve<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Most people's connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// Most connections at once of those who read figures.
const MAX_PLAIN: usize = 16;
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the head of the next request.
const IDLE: Duration = Duration::from_secs(60);
const MAX_HEADERS: usize = 32;
