use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::config::keys::Place;

/// What a store does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Answers so.
    Answer(&'static str),
    /// Hangs up in the middle of its answer.
    BreakOff,
    /// Hangs up at once.
    HangUp,
}

/// A store that does these things, one for each request, and tells the first lines of what came with the lengths of bodies.
fn store(script: Vec<Does>) -> (Bucket, Receiver<(String, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = BucketAt {
        endpoint: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
        bucket: "records".into(),
        prefix: "p/".into(),
        region: "us-east-1".into(),
        access_key: Place::Default,
        secret_key: Place::Default,
        root: None,
    };
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for does in script {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let (first, mut length) = (line.trim().to_owned(), 0);
            while line.trim() != "" || line.is_empty() {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            told.send((first, length)).unwrap();
            let answer = match does {
                Does::Answer(answer) => answer,
                Does::BreakOff => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
                Does::HangUp => "",
            };
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let secret_key = Secret::of("secret");
    let (access_key, idle) = ("key".into(), Mutex::default());
    (Bucket { at, access_key, secret_key, tls: None, idle }, heard)
}

const OK: Does =
    Does::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
const BUSY: Does =
    Does::Answer("HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
const DENIED: Does = Does::Answer(
    "HTTP/1.1 403 No\r\ncontent-length: 39\r\nconnection: close\r\n\r\n<Error><Code>AccessDenied</Code></Error>",
);
const THERE: Does =
    Does::Answer("HTTP/1.1 412 There\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
const ABSENT: Does = Does::Answer(
    "HTTP/1.1 404 No\r\ncontent-length: 36\r\nconnection: close\r\n\r\n<Error><Code>NoSuchKey</Code></Error>",
);

#[tokio::test]
async fn what_fails_for_a_while_is_tried_again_and_comes_whole() {
    let (bucket, heard) = store(vec![BUSY, Does::HangUp, Does::BreakOff, OK]);
    assert_eq!(bucket.get("a/b").await.unwrap().as_deref(), Some(b"ok".as_slice()));
    assert_eq!(
        heard.iter().take(4).filter(|(line, _)| line == "GET /records/p/a/b HTTP/1.1").count(),
        4
    );
}

#[tokio::test]
async fn what_is_refused_is_not_asked_again() {
    let (bucket, heard) = store(vec![DENIED]);
    let error = bucket.put("a", b"xyz").await.unwrap_err();
    assert_eq!(error.to_string(), "the store of recordings refused: 403 Forbidden AccessDenied");
    assert_eq!(heard.iter().collect::<Vec<_>>(), [("PUT /records/p/a HTTP/1.1".to_owned(), 3)]);
}

#[tokio::test]
async fn the_same_object_again_is_fine_and_another_is_not() {
    // A put whose answer was lost: it is there already.
    let (bucket, _heard) = store(vec![Does::HangUp, THERE, OK]);
    bucket.put("a", b"ok").await.unwrap();
    let (bucket, _heard) = store(vec![THERE, OK]);
    assert!(
        matches!(bucket.put("a", b"other").await, Err(BucketError::Other(name)) if name == "a")
    );
}

#[tokio::test]
async fn what_is_not_there_is_nothing_and_no_failure() {
    let (bucket, _heard) = store(vec![ABSENT]);
    assert_eq!(bucket.get("a").await.unwrap(), None);
}
