//! What the authority tells others by itself: over HTTP and by a command, in order, at least once, whatever dies meanwhile.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::hostlink::ToAuthority;
use wire::record::{Event, Incident, Meddled};
use wire::request::State;

use crate::authority::{Authority, Host};
use crate::link::{greeted, record};
use crate::nodes::eventually;
use crate::postgres::Database;
use crate::request::{Site, TWO, dba};

/// What was posted: the head of the request, and its body.
#[derive(Debug, Clone)]
struct Post {
    head: String,
    body: Vec<u8>,
}

/// Somebody who is told, answers as they are told to, and remembers what they took.
pub(crate) struct Receiver {
    pub(crate) url: String,
    status: Arc<Mutex<u16>>,
    /// What it will never take: whatever holds this.
    never: Arc<Mutex<Option<String>>>,
    posts: Arc<Mutex<Vec<(u16, Post)>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/hidden-in-the-address", listener.local_addr().unwrap());
        let (status, posts) = (Arc::new(Mutex::new(204)), Arc::new(Mutex::new(Vec::new())));
        let never = Arc::new(Mutex::new(None));
        let answers = Answers {
            status: Arc::clone(&status),
            never: Arc::clone(&never),
            posts: Arc::clone(&posts),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, answers.clone()));
            }
        });
        Self { url, status, never, posts }
    }

    fn say(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// What was taken, each once, in the order in which it first came.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut taken = Vec::new();
        for (status, post) in self.posts.lock().unwrap().iter() {
            let notice: Value = serde_json::from_slice(&post.body).unwrap();
            if *status == 204 && !entries.contains(&notice["entry"]) {
                entries.push(notice["entry"].clone());
                taken.push(notice);
            }
        }
        taken
    }

    fn events(&self) -> Vec<String> {
        self.taken().iter().map(|notice| notice["event"].as_str().unwrap().to_owned()).collect()
    }

    /// How often it was asked and answered so.
    fn answered(&self, status: u16) -> usize {
        self.posts.lock().unwrap().iter().filter(|(said, _)| *said == status).count()
    }

    pub(crate) async fn has(&self, events: &[&str]) {
        eventually(async || self.events() == events).await;
    }
}

/// What it answers, and what it remembers.
#[derive(Clone)]
struct Answers {
    status: Arc<Mutex<u16>>,
    never: Arc<Mutex<Option<String>>>,
    posts: Arc<Mutex<Vec<(u16, Post)>>>,
}

async fn serve(mut stream: TcpStream, answers: Answers) {
    let (mut said, mut buffer) = (Vec::new(), vec![0; 4096]);
    let (head, length) = loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return;
        }
        said.extend_from_slice(buffer.get(..read).unwrap());
        let text = String::from_utf8_lossy(&said).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (head.to_owned(), length.unwrap().parse::<usize>().unwrap());
        }
    };
    let mut body = said.split_off(head.len() + 4);
    while body.len() < length {
        let read = stream.read(&mut buffer).await.unwrap();
        body.extend_from_slice(buffer.get(..read).unwrap());
    }
    let never = answers.never.lock().unwrap().clone();
    let is_never = never.is_some_and(|text| String::from_utf8_lossy(&body).contains(&text));
    let status = if is_never { 422 } else { *answers.status.lock().unwrap() };
    answers.posts.lock().unwrap().push((status, Post { head, body }));
    // Whoever has heard enough may have hung up.
    drop(
        stream
            .write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .await,
    );
}

/// A file that only its owner may read.
fn secret(authority: &Authority, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = authority.dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

pub(crate) fn table(name: &str, url: &str, more: &str) -> String {
    format!("[[notify]]\nname = {name:?}\nurl = {url:?}\n{more}\n")
}

/// A host says that somebody meddled with it: an incident.
async fn meddle(authority: &Authority, host: &Host, number: u64) {
    let meddled = Meddled { what: format!("sshd was changed {number}"), mended: false };
    let (mut frames, _) = greeted(authority, host, 0).await;
    let event = Event::Incident(Box::new(Incident::Meddled(meddled)));
    frames.send(&ToAuthority::Records(vec![record(number, event)])).await;
    drop(frames.next().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_must_act_is_told_at_once_with_a_signature_and_secrets_stay_secret() {
    let chat = Receiver::start().await;
    let site = Site::with(TWO).await;
    let authority = &site.authority;
    let url = secret(authority, "url", &chat.url);
    let token = secret(authority, "token", "bearer-of-news\n");
    let key = secret(authority, "secret", "hush-hush\n");
    authority.configure(&format!(
        "[[notify]]\nname = \"chat\"\nurl_file = {url:?}\ntoken_file = {token:?}\nsecret_file = {key:?}\n\
         events = [\"request\", \"decision\", \"incident\", \"lock\"]\n"
    ));
    let host = authority.host("db3").await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    chat.has(&["request"]).await;
    let notice = chat.taken().remove(0);
    assert_eq!(notice["who"], json!(["bob", "cleo", "dan", "ops"]));
    assert_eq!(notice["next"], "curfew approve r1");
    assert_eq!(notice["authority"], authority.fingerprint.as_str());
    assert_eq!(notice["about"]["request"]["request"]["reason"], "the primary is stuck");
    site.approve("bob", 1).await.unwrap();
    site.approve("cleo", 1).await.unwrap();
    meddle(authority, &host, 1).await;
    authority.run(&["lock", "identity", "eve", "--reason", "left"]);
    chat.has(&["request", "decision", "incident", "lock"]).await;
    let texts: Vec<Value> = chat.taken().iter().map(|notice| notice["text"].clone()).collect();
    assert!(texts[1].as_str().unwrap().starts_with("approved"), "{texts:?}");
    assert!(texts[2].as_str().unwrap().contains("sshd was changed 1"), "{texts:?}");
    // Who gets it can know who sent it, and that it is whole.
    let (_, Post { head, body }) = chat.posts.lock().unwrap()[0].clone();
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned()
    };
    assert_eq!(header("authorization"), "Bearer bearer-of-news");
    assert_eq!(header("content-type"), "application/json");
    let said = [header("webhook-id"), header("webhook-timestamp")].join(".");
    let said = [said.as_bytes(), b".", body.as_slice()].concat();
    let tag = STANDARD.encode(sign(&Key::new(HMAC_SHA256, b"hush-hush"), &said));
    assert_eq!(header("webhook-signature"), format!("v1,{tag}"));
    // By hand too; and nothing of it is in a log.
    assert_eq!(authority.run(&["notify", "test"]), "chat: told\n");
    chat.say(503);
    let (code, said) = authority.refuse(&["notify", "test", "chat"]);
    assert!(code == 1 && said.contains("it answered 503"), "{said}");
    site.request("ops", &dba(&["db1"])).await.unwrap();
    eventually(async || authority.run(&["status"]).contains("was not told of entry")).await;
    let log = authority.log() + &said + &authority.run(&["status"]);
    for hidden in ["bearer-of-news", "hush-hush", "hidden-in-the-address"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
    chat.say(204);
    chat.has(&["request", "decision", "incident", "lock", "test", "request"]).await;
    eventually(async || !authority.run(&["status"]).contains("was not told")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_high_risk_is_told_at_once_whether_it_waits_or_not() {
    let chat = Receiver::start().await;
    let site = Site::with(&TWO.replace("requires = [\"two\"]", "")).await;
    let more = "events = [\"risk\", \"request\"]\nrisk_from = 1";
    site.authority.configure(&table("chat", &chat.url, more));
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    assert!(matches!(made.view.state, State::Approved { .. }), "{made:?}");
    chat.has(&["risk"]).await;
    let notice = chat.taken().remove(0);
    assert_eq!(notice["about"]["request"]["risk"], made.risk.unwrap().score);
    assert_eq!(notice["next"], "curfew requests show r1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_delivered_survives_a_receiver_that_is_away_and_a_kill() {
    let chat = Receiver::start().await;
    let site = Site::with(TWO).await;
    let authority = &site.authority;
    // What was before it was set up is told to nobody.
    site.request("ana", &dba(&["db2"])).await.unwrap();
    chat.say(503);
    authority.configure(&table("chat", &chat.url, "events = [\"incident\", \"request\"]"));
    let host = authority.host("db3").await;
    site.request("ops", &dba(&["db1"])).await.unwrap();
    eventually(async || chat.answered(503) >= 2).await;
    for number in 1..=3 {
        meddle(authority, &host, number).await;
    }
    authority.restart();
    eventually(async || chat.answered(503) >= 3).await;
    assert!(chat.taken().is_empty());
    // A request that is decided meanwhile waits for nobody, and is not told of any more.
    let because = json!({"reason": "not now"});
    let (path, ops) = ("/v1/requests/r2/deny", site.token("bob"));
    let _over: Value = authority.send(path, Some(ops), &because).await.unwrap();
    authority.stop();
    authority.start_again();
    chat.say(204);
    chat.has(&["incident", "incident", "incident"]).await;
    let texts: Vec<String> =
        chat.taken().iter().map(|notice| notice["text"].as_str().unwrap().to_owned()).collect();
    for (text, number) in texts.iter().zip(1..) {
        assert!(text.contains(&format!("sshd was changed {number}")), "in order: {texts:?}");
    }
    // Told is told: a restart begins after it.
    let posts = chat.posts.lock().unwrap().len();
    authority.restart();
    meddle(authority, &host, 4).await;
    chat.has(&["incident"; 4]).await;
    assert_eq!(chat.posts.lock().unwrap().len(), posts + 1);
    site.holds();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_will_never_take_one_gets_the_next_and_holds_up_nobody_else() {
    let (chat, pager) = (Receiver::start().await, Receiver::start().await);
    let site = Site::with(TWO).await;
    let authority = &site.authority;
    let told = authority.dir.path().join("told");
    let script = format!("cat >> {0}; echo >> {0}", told.display());
    authority.configure(&format!(
        "{}{}[[notify]]\nname = \"script\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\nevents = [\"request\", \"key\"]\n",
        table("chat", &chat.url, ""),
        table("pager", &pager.url, "events = [\"incident\"]"),
    ));
    let host = authority.host("db3").await;
    *chat.never.lock().unwrap() = Some("curfew approve r1".into());
    site.request("ana", &dba(&["db1"])).await.unwrap();
    meddle(authority, &host, 1).await;
    pager.has(&["incident"]).await;
    let lines = || std::fs::read_to_string(&told).unwrap_or_default();
    eventually(async || lines().lines().count() == 1).await;
    let notice: Value = serde_json::from_str(lines().trim()).unwrap();
    assert_eq!(
        (&notice["event"], &notice["next"]),
        (&json!("request"), &json!("curfew approve r1"))
    );
    // Three times, and then the next one.
    chat.has(&["incident"]).await;
    let posts = chat.posts.lock().unwrap().clone();
    let statuses: Vec<u16> = posts.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [422, 422, 422, 204]);
    eventually(async || authority.log().contains("it is told no more of this one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_share_a_ledger_one_tells_and_another_goes_on() {
    let chat = Receiver::start().await;
    let first = Authority::start_on(Some(Database::new()));
    let second = first.join();
    for node in [&first, &second] {
        node.configure(&table("chat", &chat.url, "events = [\"lock\"]"));
    }
    first.add("ana", 1, &[]);
    for (node, number) in [&first, &second].into_iter().cycle().zip(1..=6) {
        node.run(&["lock", "grant", &format!("g{number}"), "--reason", "test"]);
    }
    chat.has(&["lock"; 6]).await;
    assert_eq!(chat.answered(204), 6, "each once");
    for (gone, other) in [(&first, &second), (&second, &first)] {
        gone.signal(Signal::TERM);
        let before = chat.answered(204);
        other.run(&["lock", "grant", &format!("g{}", before + 1), "--reason", "test"]);
        eventually(async || chat.answered(204) == before + 1).await;
        gone.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_secret_cannot_be_read_is_told_at_the_start() {
    let authority = Authority::start();
    let table = "[[notify]]\nname = \"chat\"\nurl = \"https://127.0.0.1:9/\"\ntoken_file = \"/nowhere/token\"\n";
    let path = authority.dir.path().join("ca.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    authority.stop();
    std::fs::write(&path, before.clone() + table).unwrap();
    let (code, said) = authority.refuse(&["serve"]);
    assert!(
        code != 0
            && said.contains("the receiver chat of notices")
            && said.contains("/nowhere/token"),
        "{said}"
    );
    let open = secret(&authority, "token", "x");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&path, before + &table.replace("/nowhere/token", &open)).unwrap();
    let (_, said) = authority.refuse(&["notify", "test"]);
    assert!(said.contains("can be read by others"), "{said}");
}
