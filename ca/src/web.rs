//! What the authority asks of others over HTTPS: one question, one answer, both bounded; no redirect is followed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Roots that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the roots in {path} cannot be read: {why}")]
pub(crate) struct Roots {
    /// The file.
    pub(crate) path: String,
    /// Why.
    pub(crate) why: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// The address is none.
    #[error("{0:?} is no address that can be asked")]
    Address(String),
    /// Nobody answered in time.
    #[error("it does not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The connection failed.
    #[error("it cannot be reached: {0}")]
    Connection(#[from] std::io::Error),
    /// HTTP failed.
    #[error("the connection to it broke: {0}")]
    Http(#[from] hyper::Error),
    /// The request has no form.
    #[error("it cannot be asked: {0}")]
    Request(#[from] hyper::http::Error),
    /// Its answer is too long, or broke off.
    #[error("its answer broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks others, whose certificates it believes by these roots.
pub(crate) struct Web {
    tls: Option<TlsConnector>,
}

impl Web {
    /// By the roots of this file; by the system's, when none is named. Without https nobody's are read.
    pub(crate) fn new(root: Option<&Path>, is_https: bool) -> Result<Self, Roots> {
        Ok(Self { tls: if is_https { Some(connector(root)?) } else { None } })
    }

    /// `GET url`
    pub(crate) async fn read(
        &self,
        url: &str,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), WebError> {
        self.ask((Method::GET, url), String::new(), longest).await
    }

    /// `POST url` with a form.
    pub(crate) async fn send(
        &self,
        url: &str,
        form: String,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), WebError> {
        self.ask((Method::POST, url), form, longest).await
    }

    async fn ask(
        &self,
        (method, url): (Method, &str),
        body: String,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), WebError> {
        let place: Uri = url.parse().map_err(|_odd| WebError::Address(url.into()))?;
        let asked = tokio::time::timeout(PATIENCE, self.exchange(method, &place, body, longest));
        asked.await.map_err(|_elapsed| WebError::Late(PATIENCE))?
    }

    /// `POST url` with JSON, of which no error says the address: it may be a secret.
    pub(crate) async fn post(
        &self,
        url: &Uri,
        (headers, body): (Vec<(HeaderName, HeaderValue)>, Bytes),
        longest: usize,
    ) -> Result<(StatusCode, Bytes), WebError> {
        let path = url.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let host = url.authority().map_or("", hyper::http::uri::Authority::as_str);
        let mut request = Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        request.headers_mut().extend(headers.into_iter().map(|(name, value)| (Some(name), value)));
        let sent = tokio::time::timeout(PATIENCE_OF_POSTS, self.sent(url, request, longest));
        sent.await.map_err(|_elapsed| WebError::Late(PATIENCE_OF_POSTS))?
    }

    async fn exchange(
        &self,
        method: Method,
        place: &Uri,
        body: String,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), WebError> {
        let odd = || WebError::Address(place.to_string());
        let authority = place.authority().ok_or_else(odd)?;
        let path = place.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))?;
        self.sent(place, request, longest).await
    }

    /// Sends a request to the place that an address names.
    async fn sent(
        &self,
        place: &Uri,
        request: Request<Full<Bytes>>,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), WebError> {
        let odd = || WebError::Address(place.host().unwrap_or_default().to_owned());
        let host = place.host().ok_or_else(odd)?.trim_matches(['[', ']']);
        let is_https = place.scheme_str() == Some("https");
        let port = place.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if is_https {
            let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
            let tls = self.tls.as_ref().ok_or_else(odd)?;
            return answered(tls.connect(name, stream).await?, request, longest).await;
        }
        answered(stream, request, longest).await
    }
}

async fn answered<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> Result<(StatusCode, Bytes), WebError> {
    let mut sender = shaken(stream).await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), longest).collect().await.map_err(WebError::Body)?;
    Ok((status, body.to_bytes()))
}

/// HTTP/1.1 over a connection that stands.
pub(crate) async fn shaken<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> Result<SendRequest<Full<Bytes>>, hyper::Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; what goes wrong on it is told by the call that waits for an answer.
    drop(tokio::spawn(connection));
    Ok(sender)
}

/// TLS that believes by the roots of this file; by the system's, when none is named.
pub(crate) fn connector(root: Option<&Path>) -> Result<TlsConnector, Roots> {
    let path = root.unwrap_or_else(|| Path::new(SYSTEM_ROOTS));
    let odd = |why: String| Roots { path: path.display().to_string(), why };
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(path).map_err(|error| odd(error.to_string()))?;
    for root in read {
        let root = root.map_err(|error| odd(error.to_string()))?;
        roots.add(root).map_err(|error| odd(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| odd(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// How long another may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long somebody who is told something may take: nobody waits for it.
const PATIENCE_OF_POSTS: Duration = Duration::from_secs(15);
const AGENT: &str = concat!("curfew-ca/", env!("CARGO_PKG_VERSION"));
/// Where most systems keep the roots that they believe.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
