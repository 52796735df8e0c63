//! Accepting hosts: over TLS, each on its own, with a certificate or with a token to get one.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use wire::hostlink::ToHost;
use wire::problem::{Code, Problem};

use super::frames::{LinkError, Outgoing};
use super::{enrolment, link};
use crate::authority::Authority;
use crate::http::listener::{pause_after, unless_stopped};
use crate::http::room::Room;
use crate::x509::HostCertificate;

/// Serves hosts until `stop`.
pub(crate) async fn serve_hosts(
    listener: TcpListener,
    authority: Arc<Authority>,
    tls: Arc<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Room::new(MAX_HANDSHAKES, MAX_OF_AN_ADDRESS);
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
            tracing::debug!(%peer, "a connection was closed: its address has as many handshakes as it can");
            continue;
        };
        let (authority, acceptor, mut stop) =
            (Arc::clone(&authority), acceptor.clone(), stop.clone());
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
                Ok(Ok(stream)) => {
                    // Whoever has no certificate is no host yet, and keeps its place until it is one, or goes.
                    let _place = match stream.get_ref().1.peer_certificates() {
                        Some(_) => None,
                        None => Some(place),
                    };
                    let served = unless_stopped(&mut stop, serve(stream, &authority)).await;
                    if let Some(Err(error)) = served {
                        tracing::debug!(%peer, %error, "a host's connection ended");
                    }
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_elapsed) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        });
    }
}

async fn serve(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    authority: &Authority,
) -> Result<(), LinkError> {
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let whose = shown.map(HostCertificate::read);
    let (reader, writer) = tokio::io::split(stream);
    let mut writer = Outgoing::new(writer);
    let outcome = match whose {
        None => enrolment::serve(reader, &mut writer, authority).await,
        Some(Ok(whose)) => link::serve(reader, &mut writer, (authority, whose)).await,
        Some(Err(error)) => {
            let problem = Problem::new(Code::Unauthenticated, error.to_string());
            writer.send(&ToHost::Refused(problem)).await
        }
    };
    writer.close().await;
    outcome
}

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most handshakes at once; an established connection does not count.
const MAX_HANDSHAKES: usize = 512;
/// Most of them from one address, behind which many hosts can be.
const MAX_OF_AN_ADDRESS: usize = 128;
