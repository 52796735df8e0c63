//! The tracker: whether a ticket exists, is open, and is assigned to whoever asks. Asked over HTTP when somebody asks for access,
//! and again while the request lives; a ticket that was closed ends it.
//!
//! What is not an answer in the expected form, in time, is no. That the tracker is away ends nothing that was begun.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use wire::identifier::{Identity, RequestId, Ticket};

use crate::authority::Authority;
use crate::clock;
use crate::config::tracker::TrackerAt;
use crate::http::listener::unless_stopped;
use crate::web;

mod answer;

use answer::Answer;
pub(crate) use answer::Unfit;

/// Where tickets are looked up.
pub(crate) struct Tracker {
    at: TrackerAt,
    tls: Option<TlsConnector>,
}

/// What is asked.
#[derive(Serialize)]
struct Question<'a> {
    version: u32,
    ticket: &'a Ticket,
    identity: &'a Identity,
}

/// Why the tracker said nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrackerError {
    /// Its roots cannot be read.
    #[error(transparent)]
    Roots(#[from] web::Roots),
    /// Nobody answered in time.
    #[error("the tracker does not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// The connection failed.
    #[error("the tracker cannot be reached: {0}")]
    Connection(#[from] std::io::Error),
    /// HTTP failed.
    #[error("the connection to the tracker broke: {0}")]
    Http(#[from] hyper::Error),
    /// The request has no form.
    #[error("the tracker cannot be asked: {0}")]
    Request(#[from] hyper::http::Error),
    /// Its answer is too long, or broke off.
    #[error("the tracker's answer broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its answer, or our question, has not the form.
    #[error("the tracker's answer cannot be understood: {0}")]
    Form(#[from] serde_json::Error),
    /// Another answer.
    #[error("the tracker answered {0}")]
    Status(StatusCode),
}

impl Tracker {
    /// The one at this place.
    pub(crate) fn new(at: TrackerAt) -> Result<Self, TrackerError> {
        let is_https = at.url.scheme_str() == Some("https");
        let tls = if is_https { Some(web::connector(at.root.as_deref())?) } else { None };
        Ok(Self { at, tls })
    }

    /// Looks a ticket up.
    pub(crate) async fn look_up(
        &self,
        ticket: &Ticket,
        identity: &Identity,
    ) -> Result<Result<(), Unfit>, TrackerError> {
        let question = Question { version: wire::VERSION, ticket, identity };
        let body = serde_json::to_vec(&question)?;
        let answered = tokio::time::timeout(PATIENCE, self.exchange(body)).await;
        let (status, body) = answered.map_err(|_elapsed| TrackerError::Late)??;
        if status != StatusCode::OK {
            return Err(TrackerError::Status(status));
        }
        Ok(Answer::parse(&body)?.judge(ticket, identity))
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<(StatusCode, Bytes), TrackerError> {
        let mut sender = self.connect().await?;
        let url = &self.at.url;
        let path = url.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let host = url.authority().map_or("", hyper::http::uri::Authority::as_str);
        let request = Request::post(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(TrackerError::Body)?.to_bytes()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, TrackerError> {
        let url = &self.at.url;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        let Some(tls) = &self.tls else { return Ok(web::shaken(stream).await?) };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(web::shaken(tls.connect(name, stream).await?).await?)
    }
}

/// Looks up the tickets of all requests that are not over, and ends those whose tickets do not serve any more.
pub(crate) async fn follow(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let Some(tracker) = &authority.tracker else {
        // Nothing to do until the end.
        let _stopped: Option<()> = unless_stopped(&mut stop, std::future::pending()).await;
        return;
    };
    while unless_stopped(&mut stop, tokio::time::sleep(tracker.at.every)).await.is_some() {
        let ticketed = match authority.ledger.ticketed_requests().await {
            Ok(ticketed) => ticketed,
            Err(error) => {
                tracing::error!(%error, "requests with tickets could not be read; trying again");
                continue;
            }
        };
        for (request, ticket, identity) in ticketed {
            let looked = unless_stopped(&mut stop, tracker.look_up(&ticket, &identity)).await;
            match looked {
                None => return,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(unfit))) => end(&authority, request, &unfit).await,
                Some(Err(error)) => {
                    tracing::warn!(%request, %ticket, %error, "a ticket could not be looked up");
                    // The others would not be answered either.
                    break;
                }
            }
        }
    }
}

async fn end(authority: &Authority, request: RequestId, unfit: &Unfit) {
    let (why, keyring) = (unfit.to_string(), authority.keyring());
    match authority.ledger.end_request(request, (why.clone(), keyring), clock::now()).await {
        Ok(()) => {
            tracing::warn!(%request, why, "a request was ended by its ticket");
            authority.krl.wake();
        }
        Err(error) => {
            tracing::error!(%request, %error, "a request could not be ended by its ticket");
        }
    }
}

/// How long the tracker may take: a person waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read: three short fields.
const MAX_ANSWER: usize = 4 * 1024;
