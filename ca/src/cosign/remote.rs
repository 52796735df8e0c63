//! A witness at the other end of HTTP: one submission, one answer, and what it means.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wire::log::{LogKey, Note, Policy, Signature, Submission, WitnessKey, conflict, cosignatures};
use wire::time::Timestamp;

use crate::config::witness::WitnessAt;
use crate::web::{self, Roots};

/// A witness, and the connection to it while it holds.
pub(super) struct Remote {
    at: WitnessAt,
    tls: Option<TlsConnector>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has cosigned, at this moment.
    Cosigned(Signature, Timestamp),
    /// It has a tree of another size than was believed.
    Knows(u64),
    /// It has a tree that this one does not continue.
    Forked,
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// Its roots cannot be read.
    #[error("the roots in {path} cannot be read: {why}")]
    Roots {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Nobody answered in time.
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Late,
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
    /// Its answer cannot be read.
    #[error("its answer cannot be understood: {0}")]
    Form(#[from] wire::log::FormError),
    /// What came is not by its key, or not over this checkpoint.
    #[error("what it answered is no cosignature by its key: {0}")]
    Unproved(#[from] wire::log::Unproved),
    /// It does not know the log.
    #[error("it does not know this log, or not its key; give it `curfew-ca ledger keys`")]
    Unknown,
    /// Another answer.
    #[error("it answered {0}")]
    Other(StatusCode),
}

impl Remote {
    /// Of this witness.
    pub(super) fn new(at: WitnessAt) -> Result<Self, RemoteError> {
        let is_https = at.url.scheme_str() == Some("https");
        let tls = if is_https { Some(connector(&at)?) } else { None };
        Ok(Self { at, tls, connection: None })
    }

    /// Sends a submission, and says what the answer means.
    pub(super) async fn submit(
        &mut self,
        submission: &Submission,
        logs: &[LogKey],
    ) -> Result<Meaning, RemoteError> {
        let exchanged = tokio::time::timeout(PATIENCE, self.exchange(submission.to_string())).await;
        let (status, body) = exchanged.map_err(|_elapsed| RemoteError::Late)??;
        meaning((status, &body), (submission, logs), &self.at.key)
    }

    async fn exchange(&mut self, body: String) -> Result<(StatusCode, String), RemoteError> {
        let held = self.connection.take().filter(|held| !held.is_closed());
        let mut sender = match held {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let url = &self.at.url;
        let path = format!("{}/add-checkpoint", url.path().trim_end_matches('/'));
        let host = url.authority().map_or("", hyper::http::uri::Authority::as_str);
        let request = Request::post(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), wire::log::MAX_NOTE).collect().await;
        let body = body.map_err(RemoteError::Body)?.to_bytes();
        self.connection = Some(sender);
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, RemoteError> {
        let url = &self.at.url;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return shaken(stream).await };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        shaken(tls.connect(name, stream).await?).await
    }
}

async fn shaken<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> Result<SendRequest<Full<Bytes>>, RemoteError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; what goes wrong on it is told by the call that waits for an answer.
    drop(tokio::spawn(connection));
    Ok(sender)
}

fn connector(at: &WitnessAt) -> Result<TlsConnector, RemoteError> {
    web::connector(at.root.as_deref())
        .map_err(|Roots { path, why }| RemoteError::Roots { path, why })
}

/// What a witness's answer means (c2sp.org/tlog-witness).
fn meaning(
    (status, body): (StatusCode, &str),
    (submission, logs): (&Submission, &[LogKey]),
    key: &WitnessKey,
) -> Result<Meaning, RemoteError> {
    match status {
        StatusCode::OK => {
            let (line, at) = cosigned(cosignatures(body)?, (&submission.note, logs), key)?;
            Ok(Meaning::Cosigned(line, at))
        }
        StatusCode::CONFLICT => match conflict(body)? {
            // It has a tree of just the size that was named, and another root.
            size if size == submission.old => Ok(Meaning::Forked),
            size => Ok(Meaning::Knows(size)),
        },
        StatusCode::UNPROCESSABLE_ENTITY => Ok(Meaning::Forked),
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Err(RemoteError::Unknown),
        other => Err(RemoteError::Other(other)),
    }
}

/// The line among these that is this witness's, when it verifies.
fn cosigned(
    lines: Vec<Signature>,
    (note, logs): (&Note, &[LogKey]),
    key: &WitnessKey,
) -> Result<(Signature, Timestamp), RemoteError> {
    let policy = Policy { logs: logs.to_vec(), witnesses: vec![key.clone()], quorum: 1 };
    let mut refused = wire::log::Unproved::Witnesses { found: 0, needed: 1 };
    for line in lines.into_iter().filter(|line| line.name == *key.name()) {
        match policy.attest(note.with([line.clone()])?) {
            Ok(attested) => {
                let at = attested.cosigned().first().map(|by| by.at);
                return Ok((line, at.unwrap_or(Timestamp::from_secs(0))));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused.into())
}

/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(old: u64) -> Submission {
        let note = "log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— log AAAAAQI=\n";
        Submission { old, path: Vec::new(), note: note.parse().unwrap() }
    }

    #[test]
    fn an_answer_means_what_the_protocol_says() {
        let key = WitnessKey::new("w1".parse().unwrap(), [1; 32]);
        let of = |status, body: &str| meaning((status, body), (&submission(7), &[]), &key);
        assert_eq!(of(StatusCode::CONFLICT, "9\n").unwrap(), Meaning::Knows(9));
        assert_eq!(of(StatusCode::CONFLICT, "7\n").unwrap(), Meaning::Forked);
        assert_eq!(of(StatusCode::UNPROCESSABLE_ENTITY, "").unwrap(), Meaning::Forked);
        assert!(matches!(of(StatusCode::NOT_FOUND, ""), Err(RemoteError::Unknown)));
        assert!(matches!(of(StatusCode::FORBIDDEN, ""), Err(RemoteError::Unknown)));
        assert!(matches!(of(StatusCode::BAD_GATEWAY, ""), Err(RemoteError::Other(_))));
        assert!(matches!(of(StatusCode::CONFLICT, "many"), Err(RemoteError::Form(_))));
        assert!(matches!(of(StatusCode::OK, "fine\n"), Err(RemoteError::Form(_))));
        let foreign = "— other AAAAAQI=\n";
        assert!(matches!(of(StatusCode::OK, foreign), Err(RemoteError::Unproved(_))));
        let forged = key.line(1, [0; 64]);
        assert!(matches!(
            of(StatusCode::OK, &format!("{forged}\n")),
            Err(RemoteError::Unproved(_))
        ));
    }
}
