//! A gate that behaves badly, and what is made of it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Instant;

use super::*;

#[test]
fn an_answer_is_heard_however_it_is_cut() {
    let bytes = encode(&Answer::Refuse("the grant ended".to_owned())).unwrap();
    let (answer, _) = ask_a_gate_that(move |mut peer| {
        for byte in bytes {
            peer.write_all(&[byte]).unwrap();
        }
    });
    assert_eq!(answer.unwrap(), Answer::Refuse("the grant ended".to_owned()));
}

#[test]
fn a_silent_gate_is_left_after_two_seconds() {
    let (answer, waited) = ask_a_gate_that(|mut peer| {
        // Until the other side leaves.
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
    });
    assert!(matches!(answer, Err(AskError::Silent)), "{answer:?}");
    assert!(waited < Duration::from_millis(2_500), "{waited:?}");
}

#[test]
fn a_gate_that_drips_does_not_extend_the_patience() {
    let bytes = encode(&Answer::Refuse("x".repeat(4_000))).unwrap();
    let (answer, waited) = ask_a_gate_that(move |mut peer| {
        peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        for byte in bytes {
            if peer.write_all(&[byte]).is_err() {
                return;
            }
            // Waits 100 ms, or learns that the other side has left.
            if let Ok(0) = peer.read(&mut [0]) {
                return;
            }
        }
    });
    assert!(matches!(answer, Err(AskError::Silent)), "{answer:?}");
    assert!(waited < Duration::from_millis(2_500), "{waited:?}");
}

#[test]
fn a_full_queue_is_left_after_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gate.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    let stopped =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&stopped, &address).unwrap();
    rustix::net::listen(&stopped, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let began = Instant::now();
    let answer = ask(&path, &Question::Close);
    assert!(matches!(answer, Err(AskError::Silent)), "{answer:?}");
    assert!(began.elapsed() < Duration::from_millis(2_500));
}

#[test]
fn what_is_no_answer_is_refused() {
    type Wrong = fn(&Result<Answer, AskError>) -> bool;
    let frame = |error: &Result<Answer, AskError>| matches!(error, Err(AskError::Frame(_)));
    let closed = |error: &Result<Answer, AskError>| matches!(error, Err(AskError::Closed));
    let table: [(&[u8], Wrong); 7] = [
        (b"", closed),
        (b"\0\0", closed),
        (b"\0\0\0\x0b\"permi", closed),
        (b"HTTP/1.1 200 OK\r\n\r\n", frame),
        (b"\xff\xff\xff\xff", frame),
        (b"\0\0\0\x04true", frame),
        (b"\0\0\0\x08\"permit!", frame),
    ];
    for (bytes, wrong) in table {
        let (answer, _) = ask_a_gate_that(move |mut peer| {
            peer.write_all(bytes).unwrap();
        });
        assert!(wrong(&answer), "{bytes:?}: {answer:?}");
    }
}

#[test]
fn an_absent_gate_is_named() {
    let error = ask(Path::new("/run/curfew-absent/gate.sock"), &Question::Close).unwrap_err();
    assert!(matches!(error, AskError::Connect { source: Errno::NOENT, .. }), "{error:?}");
}

#[test]
fn a_question_beyond_the_limit_is_not_asked() {
    let certificate = wire::octets::Octets::new(vec![b'A'; wire::frame::MAX_FRAME]);
    let question = Question::Principals {
        login: wire::octets::Octets::new("root"),
        key_type: wire::octets::Octets::new("x"),
        certificate,
    };
    let error = ask(Path::new("/run/curfew-absent/gate.sock"), &question).unwrap_err();
    assert!(matches!(error, AskError::Frame(_)), "{error:?}");
}

/// Listens, hears one question, then does `act`; says what [`ask`] made of it and how long it took.
fn ask_a_gate_that(
    act: impl FnOnce(UnixStream) + Send + 'static,
) -> (Result<Answer, AskError>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gate.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gate = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        peer.read_exact(&mut length).unwrap();
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        peer.read_exact(&mut body).unwrap();
        act(peer);
    });
    let began = Instant::now();
    let answer = ask(&path, &Question::Close);
    let waited = began.elapsed();
    gate.join().unwrap();
    (answer, waited)
}
