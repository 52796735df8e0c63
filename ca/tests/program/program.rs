//! The program as an operator meets it: exit codes, complaints, and what must never be in a log.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;
use wire::api::Token;

use crate::authority::{Authority, run};
use crate::nodes::eventually;

#[test]
fn init_is_once_and_serving_makes_nothing() {
    let authority = Authority::start();
    let (code, complaint) = authority.refuse(&["init", "--unencrypted"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("nothing was changed"), "{complaint}");
    std::fs::remove_file(authority.dir.path().join("state/order")).unwrap();
    let (code, complaint) = authority.refuse(&["serve"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("curfew-ca init"), "{complaint}");
}

#[test]
fn a_wrong_file_is_78_with_its_line_and_a_wrong_word_is_64() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.toml");
    std::fs::write(&path, "\nlistening = 1\n").unwrap();
    for command in ["check", "serve", "init"] {
        let output = run(dir.path(), &[command]);
        assert_eq!(output.status.code(), Some(78));
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains("ca.toml:2: unknown field `listening`"), "{complaint}");
    }
    assert_eq!(run(dir.path(), &["dance"]).status.code(), Some(64));
    assert_eq!(run(dir.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn a_second_authority_and_an_absent_one_say_so() {
    let authority = Authority::start();
    let (_, complaint) = authority.refuse(&["serve"]);
    assert!(complaint.contains("(setting `admin_socket`)"), "{complaint}");
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    std::fs::write(dir.path().join("ca.toml"), format!("admin_socket = {socket:?}\n")).unwrap();
    let output = run(dir.path(), &["status"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("the authority is not running"), "{complaint}");
}

#[tokio::test]
async fn no_secret_is_ever_in_the_log() {
    let authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    let made = authority.token("db1", &["--label", "env=prod"]);
    let _host = authority.enrol(&made.token).await.unwrap();
    assert!(authority.enrol(&made.token).await.is_err());
    let answer = authority.answer("ana", 1).await;
    let token: Token = authority.send("/v1/login", None, &answer).await.unwrap();
    assert!(authority.send::<Token>("/v1/login", None, &answer).await.is_err());
    let altered = format!("{}x", token.token);
    assert!(authority.read::<serde_json::Value>("/v1/whoami", &altered).await.is_err());
    // What it writes comes through a pipe.
    eventually(async || authority.log().contains("logged in")).await;
    let log = authority.log();
    for secret in [&made.token, &token.token, &answer.signature, &answer.challenge] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    let private = std::fs::read_to_string(authority.dir.path().join("state/user_ca")).unwrap();
    let line = private.lines().nth(1).unwrap();
    assert!(!log.contains(line));
    let ledger = std::fs::read(authority.dir.path().join("state/ledger.db")).unwrap();
    let wal = std::fs::read(authority.dir.path().join("state/ledger.db-wal")).unwrap();
    for secret in [&made.token, &token.token] {
        for bytes in [&ledger, &wal] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn how_much_is_logged_changes_while_it_serves() {
    const FAILED: &str = "a TLS handshake failed";
    let authority = Authority::start_on(None);
    authority.restart_at("info");
    let count = || authority.log().matches(FAILED).count();
    authority.add("ana", 1, &[]);
    // Whatever is logged of it is logged before a login that comes later.
    let fail = async || {
        let mut stream = TcpStream::connect(authority.people()).unwrap();
        stream.write_all(&[b'x'; 64]).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
        authority.login("ana", 1).await.unwrap();
    };
    fail().await;
    authority.signal(Signal::USR1);
    eventually(async || authority.log().contains("level=\"debug\"")).await;
    assert_eq!(count(), 0, "at the level that it began with, that is not logged");
    fail().await;
    eventually(async || count() > 0).await;
    authority.signal(Signal::USR2);
    eventually(async || authority.log().contains("level=\"info\"")).await;
    let before = count();
    fail().await;
    assert_eq!(count(), before);
}
