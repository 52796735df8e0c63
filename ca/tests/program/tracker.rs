//! Tickets: looked up when somebody asks, and again while access lasts.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::api::GrantView;
use wire::problem::{Code, Problem};
use wire::request::{End, RequestDetail, State};

use crate::authority::{Authority, settings};
use crate::certificate::{ask, eventually, issue};

const ROLES: &str = "[role.deploy]\nmembers = [\"ana\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\nticket = true\n";

/// A tracker that says what it is told to say, and remembers what it was asked.
struct Tracker {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<String>>,
}

impl Tracker {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/look?from=curfew", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(good()));
        let asked = Arc::new(Mutex::new(String::new()));
        let (says, hears) = (Arc::clone(&answer), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&says), Arc::clone(&hears)));
            }
        });
        Self { url, answer, asked }
    }

    fn say(&self, answer: &str) {
        *self.answer.lock().unwrap() = answer.to_owned();
    }
}

/// One question and its answer; none when the client is gone or the tracker is told to be silent.
async fn serve(mut stream: TcpStream, says: Arc<Mutex<String>>, hears: Arc<Mutex<String>>) {
    let mut buffer = vec![0; 4096];
    let mut text = String::new();
    while !text.ends_with('}') {
        let length = stream.read(&mut buffer).await.unwrap();
        if length == 0 {
            return;
        }
        text.push_str(std::str::from_utf8(buffer.get(..length).unwrap()).unwrap());
    }
    *hears.lock().unwrap() = text;
    let said = says.lock().unwrap().clone();
    if said == SILENT {
        std::future::pending::<()>().await;
    }
    let (status, body) = said.split_once(' ').unwrap();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
    // Whoever has heard enough may have hung up.
    drop(stream.write_all((head + body).as_bytes()).await);
}

const SILENT: &str = "silent";

fn answer(exists: bool, open: bool, whose: &str) -> String {
    format!("200 {}", json!({"exists": exists, "open": open, "assigned_to": whose}))
}

fn good() -> String {
    answer(true, true, "ana")
}

/// An authority with this tracker, on a file; with a person and a host.
async fn site(tracker: Option<&Tracker>) -> (Authority, String) {
    let authority = Authority::start_on(None);
    let dir = authority.dir.path();
    std::fs::write(dir.join("roles.toml"), ROLES).unwrap();
    let table = tracker
        .map(|tracker| format!("[tracker]\nurl = \"{}\"\nevery = \"1s\"\n", tracker.url))
        .unwrap_or_default();
    std::fs::write(dir.join("ca.toml"), format!("{}{table}", settings(dir))).unwrap();
    authority.restart();
    authority.add("ana", 1, &[]);
    drop(authority.host("db1").await);
    let token = authority.login("ana", 1).await.unwrap();
    (authority, token)
}

async fn request(
    authority: &Authority,
    token: &str,
    ticket: Option<&str>,
) -> Result<RequestDetail, Problem> {
    let mut body = json!({"role": "deploy", "hosts": ["db1"], "reason": "hotfix"});
    if let (Some(ticket), Value::Object(map)) = (ticket, &mut body) {
        map.insert("ticket".into(), ticket.into());
    }
    authority.send("/v1/requests", Some(token), &body).await
}

#[tokio::test]
async fn only_an_open_ticket_of_ones_own_serves_and_anything_else_is_no() {
    let tracker = Tracker::start().await;
    let (authority, token) = site(Some(&tracker)).await;
    let denied = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert!(denied.message.contains("curfew request deploy --host db1 --ticket"), "{denied}");
    let bare = request(&authority, &token, None).await.unwrap_err();
    assert!(bare.code == Code::Malformed && bare.message.contains("--ticket"), "{bare}");
    for (said, code, why) in [
        (answer(false, true, "ana"), Code::Denied, "there is no ticket OPS-1"),
        (answer(true, false, "ana"), Code::Denied, "ticket OPS-1 is closed"),
        (answer(true, true, "bob"), Code::Denied, "ticket OPS-1 is not assigned to ana"),
        ("200 {}".into(), Code::Busy, "nothing was asked for"),
        ("200 true".into(), Code::Busy, "nothing was asked for"),
        ("500 {}".into(), Code::Busy, "nothing was asked for"),
        ("302 {}".into(), Code::Busy, "nothing was asked for"),
        (format!("{} ", good().replace('}', ",\"x\":1}")), Code::Busy, "nothing was asked for"),
        (format!("200 \"{}\"", "x".repeat(5_000)), Code::Busy, "nothing was asked for"),
        (SILENT.into(), Code::Busy, "does not answer within"),
    ] {
        tracker.say(&said);
        let refused = request(&authority, &token, Some("OPS-1")).await.unwrap_err();
        assert!(refused.code == code && refused.message.contains(why), "{said}: {refused}");
    }
    tracker.say(&good());
    let made = request(&authority, &token, Some("OPS-1")).await.unwrap();
    assert!(matches!(made.view.state, State::Approved { .. }), "{made:?}");
    let asked = tracker.asked.lock().unwrap().clone();
    assert!(asked.starts_with("POST /look?from=curfew HTTP/1.1\r\n"), "{asked}");
    let question: Value = serde_json::from_str(asked.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(question, json!({"version": 1, "ticket": "OPS-1", "identity": "ana"}));
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
}

#[tokio::test]
async fn closing_the_ticket_ends_the_access_and_a_tracker_that_is_away_does_not() {
    let tracker = Tracker::start().await;
    let (authority, token) = site(Some(&tracker)).await;
    request(&authority, &token, Some("OPS-1")).await.unwrap();
    issue(&authority, &token, &ask("db1")).await.unwrap();
    tracker.say("500 {}");
    eventually(|| authority.log().contains("a ticket could not be looked up")).await;
    let show =
        async || -> RequestDetail { authority.read("/v1/requests/r1", &token).await.unwrap() };
    assert!(matches!(show().await.view.state, State::Active { .. }));
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    tracker.say(&answer(true, false, "ana"));
    eventually(|| authority.log().contains("a request was ended by its ticket")).await;
    let detail = show().await;
    assert!(matches!(detail.view.state, State::Ended { how: End::Revoked, .. }), "{detail:?}");
    assert_eq!(detail.note.as_deref(), Some("ticket OPS-1 is closed"));
    let grants: Vec<GrantView> = authority.read("/v1/grants", &token).await.unwrap();
    assert!(grants.is_empty());
    assert!(authority.run(&["lock", "list"]).contains("grant g1"));
    assert!(issue(&authority, &token, &ask("db1")).await.is_err());
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("identical"), "{rebuilt}");
}

#[tokio::test]
async fn a_role_that_needs_a_ticket_is_shut_without_a_tracker() {
    let (authority, token) = site(None).await;
    let refused = request(&authority, &token, Some("OPS-1")).await.unwrap_err();
    assert!(refused.code == Code::Denied && refused.message.contains("[tracker]"), "{refused}");
    assert!(issue(&authority, &token, &ask("db1")).await.is_err());
}
