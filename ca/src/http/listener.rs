//! Accepting connections for the HTTP interface: bounded in number, in time, and each on its own.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::caller::{Local, Peer};
use super::room::{Place, Room};

/// Serves people, over TLS, until `stop`.
pub(crate) async fn serve_people(
    listener: TcpListener,
    router: Router,
    tls: Arc<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Room::new(MAX_CONNECTIONS, MAX_OF_AN_ADDRESS);
    loop {
        let Some(free) = unless_stopped(&mut stop, room.place()).await else { return };
        let Some(accepted) = unless_stopped(&mut stop, listener.accept()).await else { return };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let Some(place) = room.admit(free, peer.ip()) else {
            tracing::debug!(%peer, "a connection was closed: its address has as many as it can");
            continue;
        };
        let (acceptor, stop) = (acceptor.clone(), stop.clone());
        let router = router.clone().layer(Extension(Peer(peer.ip())));
        tokio::spawn(async move {
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)) => shaken,
                () = place.is_wanted() => {
                    return tracing::debug!(%peer, "a connection without a handshake gave way to others");
                }
            };
            match shaken {
                Ok(Ok(stream)) => serve(stream, (router, Some(&place)), stop).await,
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
                tokio::spawn(async move { serve(stream, (router, None), stop).await });
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
                    serve(stream, (router, None), stop).await;
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

async fn serve<S>(
    stream: S,
    (router, place): (Router, Option<&Place>),
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let busy = Arc::new(AtomicUsize::new(0));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let (answer, busy) = (router.call(request), Busy::begin(&busy));
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
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
        () = is_wanted(place) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GIVE_WAY, connection.as_mut()).await {
                Ok(ended) => ended,
                // Whoever is still at the head of a request has said nothing in all that time.
                Err(_elapsed) if busy.load(Ordering::Relaxed) == 0 => {
                    return tracing::debug!("a connection that said nothing gave way to others");
                }
                Err(_elapsed) => connection.await,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn is_wanted(place: Option<&Place>) {
    match place {
        Some(place) => place.is_wanted().await,
        None => std::future::pending().await,
    }
}

/// A request that is being answered.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn begin(busy: &Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(busy))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most people's connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// Most of them from one address.
const MAX_OF_AN_ADDRESS: usize = 512;
/// How long a connection that is to give way has for the request that it is at.
const GIVE_WAY: Duration = Duration::from_secs(3);
/// Most connections at once of those who read figures.
const MAX_PLAIN: usize = 16;
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the head of the next request.
const IDLE: Duration = Duration::from_secs(60);
const MAX_HEADERS: usize = 32;
