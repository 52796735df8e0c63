//! The authority's HTTP interface: JSON over one TLS 1.3 connection, verified against the pinned root.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::api::Token;
use wire::problem::{Code, Problem};

use crate::exit::Fault;
use crate::home::{Home, Membership};
use crate::url::Url;

/// A caller of the authority.
#[derive(Debug)]
pub(crate) struct Client {
    runtime: Runtime,
    url: Url,
    tls: Arc<ClientConfig>,
    token: Option<Token>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A caller whom nobody knows yet.
    pub(crate) fn stranger(membership: &Membership) -> Result<Self> {
        let tls = Arc::new(believing(&membership.root)?);
        Ok(Self {
            runtime: runtime()?,
            url: membership.url.clone(),
            tls,
            token: None,
            connection: None,
        })
    }

    /// A caller who is logged in.
    pub(crate) fn of(home: &Home) -> Result<Self> {
        let mut client = Self::stranger(&home.membership()?)?;
        client.become_known(home.session(crate::clock::now())?);
        Ok(client)
    }

    /// Speaks for whoever the token belongs to from now on.
    pub(crate) fn become_known(&mut self, token: Token) {
        self.token = Some(token);
    }

    /// Asks for `path`.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.call(Method::GET, path, Bytes::new(), PATIENCE)
    }

    /// Asks for `path`, which may take `wait` longer than others.
    pub(crate) fn get_slow<T: DeserializeOwned>(
        &mut self,
        path: &str,
        wait: Duration,
    ) -> Result<T> {
        self.call(Method::GET, path, Bytes::new(), PATIENCE.saturating_add(wait))
    }

    /// Sends `body` to `path`.
    pub(crate) fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(body).context("cannot write the request as JSON")?;
        self.call(Method::POST, path, Bytes::from(body), PATIENCE)
    }

    /// Sends `body` to `path`, which may take `wait` longer than others.
    pub(crate) fn post_slow<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<T> {
        let body = serde_json::to_vec(body).context("cannot write the request as JSON")?;
        self.call(Method::POST, path, Bytes::from(body), PATIENCE.saturating_add(wait))
    }

    /// Asks for `path` and takes what comes as it is.
    pub(crate) fn fetch(&mut self, path: &str) -> Result<Bytes> {
        self.exchange(Method::GET, path, Bytes::new(), PATIENCE)
    }

    /// Waits, before asking again.
    pub(crate) fn pause(&self, span: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<T> {
        let body = self.exchange(method, path, body, patience)?;
        serde_json::from_slice(&body).with_context(|| {
            format!("the authority's answer to {path} cannot be understood; is this curfew as new as the authority?")
        })
    }

    fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes> {
        let request = self.request(method, path, body)?;
        let held = self.connection.take();
        let (url, tls) = (&self.url, &self.tls);
        let answer = self.runtime.block_on(async {
            let mut connection = match held {
                Some(held) if held.is_ready() => held,
                _ => connect(url, tls).await?,
            };
            let answered = timeout(patience, exchange(&mut connection, (url, request))).await;
            let answered = answered.map_err(|_elapsed| late(url, patience))?;
            answered.map(|answer| (answer, connection))
        });
        let ((status, body), connection) = answer?;
        self.connection = Some(connection);
        if !status.is_success() {
            return Err(Fault::Refused(problem(status, &body)).into());
        }
        Ok(body)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.token))
                .map_err(|_no_header| Fault::NotLoggedIn("the stored login is damaged".into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).context("cannot form the request")
    }
}

/// Does the TLS handshake with `url` under `config` and gives the chain that the other side showed.
pub(crate) fn shake_hands(url: &Url, config: ClientConfig) -> Result<Vec<CertificateDer<'static>>> {
    let stream = runtime()?.block_on(dial(url, &Arc::new(config)))?;
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().context("the authority showed no certificate")?;
    Ok(chain.to_vec())
}

/// TLS 1.3, and nothing before it, whoever is believed.
pub(crate) fn tls(
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 is not available")
}

fn believing(root: &str) -> Result<ClientConfig> {
    let damaged = || {
        Fault::Config(
            "authority.json holds no root certificate; run `curfew login` with --ca again".into(),
        )
    };
    let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|_no_pem| damaged())?;
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(|_no_certificate| damaged())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(tls(provider)?.with_root_certificates(roots).with_no_client_auth())
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")
}

async fn connect(url: &Url, tls: &Arc<ClientConfig>) -> Result<SendRequest<Full<Bytes>>> {
    let stream = dial(url, tls).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .with_context(|| format!("{url} does not speak HTTP"))?;
    // It ends with the sender; what goes wrong on it is told by the call that waits for an answer.
    drop(tokio::spawn(connection));
    Ok(sender)
}

async fn dial(url: &Url, tls: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let unreachable = |reason: String| Fault::Unreachable { place: url.to_string(), reason };
    let socket = reach(url).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => unreachable(format!("no answer in {} s", DIAL.as_secs())),
        _ => unreachable(error.to_string()),
    })?;
    socket.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let name = url.server_name()?;
    let shaken = timeout(DIAL, TlsConnector::from(Arc::clone(tls)).connect(name, socket)).await;
    shaken
        .map_err(|_elapsed| unreachable(format!("no TLS handshake in {} s", DIAL.as_secs())))?
        .map_err(|error| handshake_failure(url, &error))
}

/// The first address of that name that takes a connection: the authority may have several nodes, and one that says nothing
/// keeps nobody from the next.
async fn reach(url: &Url) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "its name has no address");
    for address in tokio::net::lookup_host((url.host(), url.port())).await? {
        match timeout(DIAL, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn handshake_failure(url: &Url, error: &std::io::Error) -> anyhow::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => anyhow!(
            "{url} could not prove that it is your authority ({reason}); nothing was sent. If your operator set it up \
             anew, log in with its new --fingerprint"
        ),
        Some(other) => anyhow!("the TLS handshake with {url} failed: {other}"),
        None => Fault::Unreachable { place: url.to_string(), reason: error.to_string() }.into(),
    }
}

fn late(url: &Url, patience: Duration) -> Fault {
    let reason = format!("no answer in {} s", patience.as_secs());
    Fault::Unreachable { place: url.to_string(), reason }
}

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    (url, request): (&Url, Request<Full<Bytes>>),
) -> Result<(hyper::StatusCode, Bytes)> {
    let broken = |reason: String| Fault::Unreachable { place: url.to_string(), reason };
    let answer = connection.send_request(request).await;
    let answer = answer.map_err(|error| broken(format!("it hung up ({error})")))?;
    let (status, body) = (answer.status(), collect(answer).await);
    Ok((status, body.map_err(|error| broken(format!("its answer broke off ({error})")))?))
}

async fn collect(
    answer: Response<hyper::body::Incoming>,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?;
    Ok(body.to_bytes())
}

fn problem(status: hyper::StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_not_ours| {
        Problem::new(Code::Other, format!("the authority answered {status} without a reason"))
    })
}

/// How long to wait for a connection: long enough for a far continent, short enough for a person.
const DIAL: Duration = Duration::from_secs(5);
/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest answer that is read: a session of a day with a hundred thousand records stays below it.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_our_body_still_says_something() {
        let status = hyper::StatusCode::BAD_GATEWAY;
        let problem = problem(status, b"<html>");
        assert_eq!(problem.message, "the authority answered 502 Bad Gateway without a reason");
    }

    #[test]
    fn nobody_listening_is_told_apart_from_a_refusal() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = tls(provider)
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let error = shake_hands(&url, config).unwrap_err();
        assert_eq!(crate::exit::Exit::of(&error), crate::exit::Exit::Unreachable, "{error}");
    }
}
