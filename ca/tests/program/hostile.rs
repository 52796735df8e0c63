//! Connections that mean no good: idle ones by the thousand, requests that never end, that are too long, that are none.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::authority::Authority;
use crate::nodes::eventually;

const LISTEN: &str = "metrics_listen = \"127.0.0.1:0\"\n";

/// Connections from an address of this machine's, to that one.
async fn idle(from: IpAddr, to: &str, count: usize) -> Vec<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        all.push(socket.connect(to).await.unwrap());
    }
    all
}

/// How many of them the other end has closed.
fn closed(all: &[TcpStream]) -> usize {
    let is_closed = |stream: &&TcpStream| matches!(stream.try_read(&mut [0; 1]), Ok(0));
    all.iter().filter(is_closed).count()
}

/// What comes back until the other end closes; within `patience`, or it does not close.
async fn answer<S>(mut stream: S, said: &[u8], patience: Duration) -> Option<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // It may have heard enough before all of it is said.
    drop(stream.write_all(said).await);
    drop(stream.flush().await);
    let mut heard = Vec::new();
    match tokio::time::timeout(patience, stream.read_to_end(&mut heard)).await {
        Ok(_) => Some(String::from_utf8_lossy(&heard).into_owned()),
        Err(_elapsed) => None,
    }
}

async fn people(authority: &Authority) -> TlsStream<TcpStream> {
    authority.connect(&authority.people(), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_keep_nobody_out() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let authority = Authority::start_with(LISTEN, None);
    authority.add("ana", 1, &[]);
    let fds = async || {
        let (_, page) = authority.figures("/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix("process_open_fds "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = fds().await;

    // One address has its part, and no more.
    let one = idle([127, 0, 0, 2].into(), &authority.people(), 600).await;
    eventually(async || closed(&one) >= 600 - 512).await;
    assert_eq!(closed(&one), 600 - 512);
    authority.login("ana", 1).await.unwrap();

    // From many addresses all places are taken: those that idle give way, and whoever comes is served.
    let mut many = Vec::new();
    for last in 3..=12 {
        many.extend(idle([127, 0, 0, last].into(), &authority.people(), 450).await);
    }
    for _ in 0..3 {
        let login = authority.login("ana", 1);
        tokio::time::timeout(Duration::from_secs(30), login).await.unwrap().unwrap();
    }
    drop((one, many));
    eventually(async || fds().await < before + 50).await;
}

#[tokio::test]
async fn who_never_ends_a_request_and_who_hangs_up_halfway_is_let_go() {
    let authority = Authority::start();
    // Whoever says no more will hear no more either.
    let mut half = people(&authority).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    drop(half.shutdown().await);
    assert!(answer(half, b"", Duration::from_secs(20)).await.is_some());
    // A body that is announced and does not come.
    let body = b"POST /v1/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    let said = answer(people(&authority).await, body, Duration::from_secs(60)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 503") || said.starts_with("HTTP/1.1 429"), "{said}");
}

#[tokio::test]
async fn what_is_no_request_or_too_long_gets_a_plain_no() {
    let authority = Authority::start();
    let patience = Duration::from_secs(20);
    let cases: [(&str, Vec<u8>); 8] = [
        ("no HTTP", b"\x00\xff\x80nonsense\r\n\r\n".to_vec()),
        ("another version", b"GET / HTTP/9.9\r\n\r\n".to_vec()),
        ("two lengths", b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
        ("a length and chunks", b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()),
        ("a length below nothing", b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_vec()),
        ("a line without end", [b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat()),
        ("many headers", [b"GET /healthz HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(200), b"\r\n".to_vec()].concat()),
        ("a long header", [b"GET /healthz HTTP/1.1\r\na: ".to_vec(), vec![b'b'; 1 << 20], b"\r\n\r\n".to_vec()].concat()),
    ];
    for (what, said) in cases {
        let heard = answer(people(&authority).await, &said, patience).await;
        let heard = heard.unwrap_or_else(|| panic!("{what}: nobody hung up"));
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{what}: {heard}");
    }
    // A body beyond what is taken, on calls that take one.
    for path in ["/v1/login", "/v1/challenge", "/v1/certificates", "/v1/requests", "/v1/locks"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer x\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\nconnection: close\r\n\r\n"
        );
        let said = [head.into_bytes(), vec![b' '; 1 << 20]].concat();
        let heard = answer(people(&authority).await, &said, patience).await;
        let heard = heard.unwrap_or_else(|| panic!("{path}: nobody hung up"));
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{path}: {heard}");
    }
    // And it is there as before.
    assert_eq!(authority.fetch("/healthz").await.unwrap(), "ok\n");
}
