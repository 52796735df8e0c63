//! Connections to the authority: TLS, and on it either frames or the least HTTP that keeps a connection alive.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::frame::{Decoder, MAX_FRAME, encode};
use wire::hostlink::{ToAuthority, ToHost};

/// Where to connect to, and whom to believe there.
#[derive(Clone)]
pub(crate) struct Dial {
    address: String,
    tls: Arc<ClientConfig>,
}

/// A connection that is kept for one request after the other.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

/// A connection that speaks frames.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
}

impl Dial {
    pub(super) fn new(address: String, tls: Arc<ClientConfig>) -> Self {
        Self { address, tls }
    }

    /// A connection after its handshake.
    pub(super) async fn stream(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(&self.address).await.context("the authority is not there")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?)
    }

    /// The same, for requests.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Ok(Connection { stream: self.stream().await?, read: Vec::with_capacity(READ) })
    }
}

impl Connection {
    /// Sends `body` to `path` and reads the answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let request = request(path, None, &serde_json::to_vec(body)?);
        Ok(serde_json::from_slice(self.exchange(&request).await?)?)
    }

    /// Sends a whole request and reads the answer's body; anything but a 200 is an error.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.read.clear();
        let (from, to) = loop {
            if let Some(whole) = whole(&self.read)? {
                break whole;
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the authority hung up");
            }
        };
        let body = self.read.get(from..to).unwrap_or_default();
        if !self.read.starts_with(b"HTTP/1.1 200 ") {
            bail!("the authority refused: {}", String::from_utf8_lossy(body));
        }
        Ok(body)
    }
}

/// A request as bytes.
pub(crate) fn request(path: &str, token: Option<&str>, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{token}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Where the body of a whole answer begins and ends; nothing while some of it is missing.
fn whole(answer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(answer.get(..head).unwrap_or_default())?;
    let length = text
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length: "))
        .context("the answer has no length")?;
    let from = head.saturating_add(4);
    let to = from.saturating_add(length.parse()?);
    Ok((answer.len() >= to).then_some((from, to)))
}

impl Frames {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, decoder: Decoder::new(MAX_FRAME) }
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, frame: &ToAuthority) -> Result<()> {
        self.stream.write_all(&encode(frame)?).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next frame.
    pub(super) async fn next(&mut self) -> Result<ToHost> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.take()? {
                return Ok(frame);
            }
            let length = self.stream.read(&mut buffer).await?;
            let read = buffer.get(..length).filter(|read| !read.is_empty());
            self.decoder.push(read.context("the authority hung up")?);
        }
    }
}

/// Larger than any answer that is measured.
const READ: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_all_of_its_body_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(whole(answer).expect("it has a length"), Some((38, 43)));
        assert_eq!(whole(&answer[..42]).expect("it has a length"), None);
        assert_eq!(whole(&answer[..20]).expect("it is only begun"), None);
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let request = request("/v1/x", Some("t"), b"{}");
        let text = String::from_utf8(request).expect("it is text");
        assert!(text.contains("\r\nauthorization: Bearer t\r\n"), "{text}");
        assert!(text.ends_with("content-length: 2\r\n\r\n{}"), "{text}");
    }
}
