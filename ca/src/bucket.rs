//! A bucket of a store that speaks S3: objects are put, read, listed and removed.
//!
//! Shape: one request for each object, signed (AWS Signature Version 4) with its length and SHA-256, so that a part of one is
//! never taken for the whole; recordings come in blocks of less than half a megabyte. What fails for a while is tried again with
//! growing pauses; every request does the same when it is repeated.
//! Who can change what is there: whoever holds the access key, or the store. Gains: can remove objects, which is found
//! when recordings are verified; reads nothing, because they are encrypted before they come here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::config::bucket::BucketAt;
use crate::key::secret::{Secret, SecretError, password_of};
use crate::random;
use crate::web;

mod listing;
mod sign;
#[cfg(test)]
mod tests;

use listing::Listing;
use sign::Signing;

/// A bucket.
pub(crate) struct Bucket {
    at: BucketAt,
    access_key: String,
    secret_key: Secret,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// The access key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The roots of its certificate cannot be read.
    #[error(transparent)]
    Roots(#[from] web::Roots),
    /// It is not there.
    #[error("the store of recordings cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    /// It does not answer.
    #[error("the store of recordings did not answer in {} s", PATIENCE.as_secs())]
    Late,
    /// HTTP broke.
    #[error("the store of recordings broke off: {0}")]
    Http(#[from] hyper::Error),
    /// A request cannot be formed.
    #[error("a request to the store of recordings cannot be formed: {0}")]
    Form(#[from] hyper::http::Error),
    /// Its answer is too long, or broke off.
    #[error("an answer of the store of recordings broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It says no.
    #[error("the store of recordings refused: {status} {code}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its own code, such as `AccessDenied`.
        code: String,
    },
    /// Its listing cannot be read.
    #[error("a listing of the store of recordings cannot be understood: {0}")]
    Listing(&'static str),
    /// Another object of that name is there.
    #[error("{0} is there already, and is another one")]
    Other(String),
}

impl BucketError {
    /// Whether it may work when it is tried again.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Late | Self::Http(_) | Self::Body(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            _ => false,
        }
    }
}

impl Bucket {
    /// The bucket there. Nothing is sent yet.
    pub(crate) fn open(at: BucketAt) -> Result<Self, BucketError> {
        let access_key = password_of("S3 access key", &at.access_key)?.reveal().to_owned();
        let secret_key = password_of("S3 secret key", &at.secret_key)?;
        let is_https = at.endpoint.scheme_str() == Some("https");
        let tls = if is_https { Some(web::connector(at.root.as_deref())?) } else { None };
        Ok(Self { at, access_key, secret_key, tls, idle: Mutex::default() })
    }

    /// Puts an object that is not there. The same object again is no fault; another of its name is, and stays.
    pub(crate) async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BucketError> {
        let body = Bytes::copy_from_slice(bytes);
        match self.call(Method::PUT, (name, &[]), &body).await {
            Ok(_) => Ok(()),
            Err(BucketError::Refused {
                status: StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT,
                ..
            }) => {
                // It is there: this one, put by a request whose answer was lost, or another.
                match self.get(name).await? {
                    Some(there) if *there == *bytes => Ok(()),
                    _ => Err(BucketError::Other(name.to_owned())),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// An object; nothing when there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>, BucketError> {
        match self.call(Method::GET, (name, &[]), &Bytes::new()).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BucketError::Refused { status: StatusCode::NOT_FOUND, code })
                if code != "NoSuchBucket" =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes an object; where there is none, that is fine. A bucket that keeps versions keeps them: that is its owner's to end.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), BucketError> {
        match self.call(Method::DELETE, (name, &[]), &Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(BucketError::Refused { status: StatusCode::NOT_FOUND, code })
                if code != "NoSuchBucket" =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The names of all objects that begin like this, in order, each with its length.
    pub(crate) async fn list(&self, beginning: &str) -> Result<Vec<(String, u64)>, BucketError> {
        let mut found = Vec::new();
        let mut token = None::<String>;
        loop {
            let mut query = vec![
                ("list-type", "2".to_owned()),
                ("prefix", format!("{}{beginning}", self.at.prefix)),
            ];
            query.extend(token.take().map(|token| ("continuation-token", token)));
            query.sort();
            let page = self.call(Method::GET, ("", &query), &Bytes::new()).await?;
            let page = Listing::parse(&page).map_err(BucketError::Listing)?;
            for (name, length) in page.objects {
                let name = name.strip_prefix(&self.at.prefix).unwrap_or(&name).to_owned();
                found.push((name, length));
            }
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// Sends a request until it is answered, or the faults are not of the passing kind, or there were enough of them.
    async fn call(
        &self,
        method: Method,
        what: (&str, &[(&str, String)]),
        body: &Bytes,
    ) -> Result<Bytes, BucketError> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(&method, what, body).await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, object = what.0, "trying the store of recordings again");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = pause.saturating_mul(2);
                }
                other => return other,
            }
        }
        self.once(&method, what, body).await
    }

    async fn once(
        &self,
        method: &Method,
        what: (&str, &[(&str, String)]),
        body: &Bytes,
    ) -> Result<Bytes, BucketError> {
        let exchanged = tokio::time::timeout(PATIENCE, self.exchange(method, what, body)).await;
        let (status, answer) = exchanged.map_err(|_elapsed| BucketError::Late)??;
        if status.is_success() {
            return Ok(answer);
        }
        let code = listing::code_of(&answer);
        Err(BucketError::Refused { status, code })
    }

    async fn exchange(
        &self,
        method: &Method,
        (name, query): (&str, &[(&str, String)]),
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes), BucketError> {
        let object =
            if name.is_empty() { String::new() } else { format!("{}{name}", self.at.prefix) };
        let signing = Signing {
            method: method.as_str(),
            host: self.at.endpoint.authority().map_or("", |authority| authority.as_str()),
            path: sign::path(&self.at.bucket, &object),
            query: sign::query(query),
            payload: random::sha256(&[body]),
            is_new: *method == Method::PUT,
        };
        let keys = (self.access_key.as_str(), self.secret_key.reveal());
        let headers = signing.headers(keys, &self.at.region, clock::now());
        let target = if signing.query.is_empty() {
            signing.path.clone()
        } else {
            format!("{}?{}", signing.path, signing.query)
        };
        let mut request = Request::builder().method(method.clone()).uri(target);
        for (name, value) in &headers {
            let mut value = HeaderValue::try_from(value).map_err(hyper::http::Error::from)?;
            value.set_sensitive(*name == "authorization");
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.clone()))?;
        let mut sender = self.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let answer = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let answer = answer.map_err(BucketError::Body)?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(sender);
        }
        Ok((status, answer))
    }

    /// A connection that takes a request: one that was kept, unless the store has closed it meanwhile.
    async fn ready(&self) -> Result<SendRequest<Full<Bytes>>, BucketError> {
        while let Some(mut held) = self.held() {
            if held.ready().await.is_ok() {
                return Ok(held);
            }
        }
        let mut fresh = self.connect().await?;
        fresh.ready().await?;
        Ok(fresh)
    }

    fn held(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(held) = idle.pop() {
            if !held.is_closed() {
                return Some(held);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, BucketError> {
        let url = &self.at.endpoint;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(web::shaken(stream).await?) };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(web::shaken(tls.connect(name, stream).await?).await?)
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({})", self.at)
    }
}

/// Between half of a pause and all of it, so that many who wait do not come back together.
fn jittered(pause: Duration) -> Duration {
    let part = random::bytes::<1>().map_or(255, |[byte]| byte);
    pause.mul_f64(f64::midpoint(1.0, f64::from(part) / 255.0))
}

/// How long one request may take, a block of half a megabyte on a slow line included.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a request is sent before its failure counts.
const TRIES: usize = 4;
/// The pause after the first failure.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest answer: a page of a thousand names, or a block with what was said of it.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Most connections that are kept while nothing is asked.
const MAX_IDLE: usize = 8;
