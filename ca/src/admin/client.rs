//! The operator's commands, talking to the authority that serves on this machine.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use wire::problem::Problem;

/// Calls over the operator's socket.
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody serves.
    #[error(
        "the authority is not running (nothing listens on {0}); start it with `systemctl start curfew-ca` or `curfew-ca serve`"
    )]
    NotRunning(PathBuf),
    /// The socket is not for us.
    #[error("{0} is for root and the authority's user; use sudo")]
    NotAllowed(PathBuf),
    /// The connection failed.
    #[error("the connection to the authority failed: {0}")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what it should be.
    #[error("the authority's answer is not in the expected form: {0}")]
    Form(#[from] serde_json::Error),
    /// The authority said no.
    #[error(transparent)]
    Refused(#[from] Problem),
}

impl Client {
    /// Of the authority that serves on `socket`.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.into() }
    }

    /// `GET path`
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = Request::get(path).header("host", "localhost").body(Full::default());
        self.call(request.map_err(|error| ClientError::Connection(error.into()))?).await
    }

    /// `GET path`, and the bytes that come.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Bytes, ClientError> {
        let request = Request::get(path).header("host", "localhost").body(Full::default());
        self.exchange(request.map_err(|error| ClientError::Connection(error.into()))?).await
    }

    /// `POST path` with `body`
    pub(crate) async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = Full::new(Bytes::from(serde_json::to_vec(body)?));
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(body);
        self.call(request.map_err(|error| ClientError::Connection(error.into()))?).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.exchange(request).await?)?)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError> {
        let failed = |error: hyper::Error| ClientError::Connection(error.into());
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.absent(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(ClientError::Connection)?
            .to_bytes();
        connection.abort();
        if status.is_success() {
            Ok(body)
        } else {
            Err(ClientError::Refused(serde_json::from_slice(&body)?))
        }
    }

    fn absent(&self, error: std::io::Error) -> ClientError {
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(self.socket.clone())
            }
            std::io::ErrorKind::PermissionDenied => ClientError::NotAllowed(self.socket.clone()),
            _ => ClientError::Connection(error.into()),
        }
    }
}

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
