//! Accepting hosts: over TLS, each on its own, with a certificate or with a token to get one.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use wire::hostlink::ToHost;
use wire::problem::{Code, Problem};

use super::frames::{LinkError, Outgoing};
use super::{enrolment, link};
use crate::authority::Authority;
use crate::http::listener::{pause_after, unless_stopped};
use crate::x509::HostCertificate;

/// Serves hosts until `stop`.
pub(crate) async fn serve_hosts(
    listener: TcpListener,
    authority: Arc<Authority>,
    tls: Arc<ServerConfig>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let Some(Ok(place)) = unless_stopped(&mut stop, Arc::clone(&room).acquire_owned()).await
        else {
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
        let (authority, acceptor, mut stop) =
            (Arc::clone(&authority), acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await;
            drop(place);
            match shaken {
                Ok(Ok(stream)) => {
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
