//! What is odd in a session: found when it ends, first in review, told, and gone with what it rests on.

use std::num::NonZeroU64;

use serde_json::Value;
use wire::api::{EndGrantAsk, OrderProgress, SessionDetail, SessionView};
use wire::hostlink::ToAuthority;
use wire::identifier::SessionId;
use wire::ledger::Page;
use wire::octets::Octets;
use wire::odd::Oddity;
use wire::problem::Code;
use wire::record::{Event, Exec, FileDeed, FileTouched, Loss, Network, NetworkDeed, Record};
use wire::retention::{Class, DeletionAsk, DeletionView};
use wire::review::{Review, ReviewAsk, Verdict};
use wire::time::Timestamp;

use crate::authority::{Authority, Frames, Host, key};
use crate::certificate::{ask, issue};
use crate::issuer;
use crate::link::{acknowledged, began, ended, exec, greeted, record};
use crate::nodes::eventually;
use crate::notice::{Receiver, table};
use crate::postgres::Database;

/// A host that has told of so much.
struct Told {
    frames: Frames,
    last: u64,
}

fn now() -> Timestamp {
    Timestamp::from_secs(issuer::now())
}

fn id(number: u64) -> SessionId {
    SessionId::new(NonZeroU64::new(number).unwrap())
}

fn ran(path: &str) -> Event {
    let Event::Exec(exec) = exec() else { panic!() };
    Event::Exec(Exec { path: Octets::new(path), ..exec })
}

impl Told {
    async fn new(authority: &Authority, host: &Host) -> Self {
        Self { frames: greeted(authority, host, 0).await.0, last: 0 }
    }

    /// More of a session.
    async fn more(&mut self, session: SessionId, events: Vec<Event>) {
        let mut records = Vec::new();
        for event in events {
            self.last += 1;
            let of = record(self.last, event);
            records.push(Record { at: now(), session: Some(session), ..of });
        }
        self.frames.send(&ToAuthority::Records(records)).await;
        while acknowledged(&mut self.frames).await < self.last {}
    }

    /// A session of ana's under a certificate that the ledger issued.
    async fn begin(&mut self, authority: &Authority, number: u64, events: Vec<Event>) -> SessionId {
        let ana = authority.login("ana", 1).await.unwrap();
        let issued = issue(authority, &ana, &ask("db1")).await.unwrap();
        let mut event = began();
        let Event::SessionBegan(session) = &mut event else { panic!("{event:?}") };
        session.subject.grant = issued.grant;
        session.subject.serial = issued.serial;
        session.subject.key = wire::certificate::fingerprint(key(7).public_key().key_data());
        let all = std::iter::once(event).chain(events).collect();
        self.more(id(number), all).await;
        id(number)
    }

    /// The same, which has ended.
    async fn session(
        &mut self,
        authority: &Authority,
        number: u64,
        mut events: Vec<Event>,
    ) -> SessionId {
        events.push(ended());
        self.begin(authority, number, events).await
    }
}

async fn show(authority: &Authority, token: &str, session: SessionId) -> SessionDetail {
    authority.read(&format!("/v1/sessions/{session}"), token).await.unwrap()
}

async fn due(authority: &Authority, token: &str) -> Vec<SessionView> {
    authority.read("/v1/reviews/due", token).await.unwrap()
}

/// What was odd in a session, once that was found.
async fn weight(authority: &Authority, token: &str, session: SessionId, least: u8) {
    eventually(async || {
        let due = due(authority, token).await;
        let one = due.iter().find(|one| one.session == session);
        one.and_then(|one| one.odd.as_ref()).is_some_and(|odd| odd.weight >= least)
    })
    .await;
}

/// Three sessions that a reviewer found in order, so that it is known what is usual.
async fn usual(authority: &Authority, told: &mut Told, ops: &str) {
    for number in 1..=3 {
        let session = told.session(authority, number, vec![ran("/usr/bin/psql")]).await;
        // Learnt from once it was looked at; nothing is known before that.
        weight(authority, ops, session, 1).await;
        let ask = ReviewAsk { session, verdict: Verdict::Ok, note: String::new(), gap: None };
        let _: Review = authority.send("/v1/reviews", Some(ops), &ask).await.unwrap();
    }
}

fn strange() -> Vec<Event> {
    let program = Octets::new("nc\u{1b}[2J");
    let address = Some("203.0.113.7".parse().unwrap());
    let what = NetworkDeed::Connect;
    vec![
        ran("/usr/bin/psql"),
        ran("/usr/bin/nc"),
        Event::Network(Network { sequence: 2, pid: 5, program, what, address, port: 4444 }),
        Event::File(Box::new(FileTouched {
            pid: 5,
            program: None,
            what: FileDeed::Written,
            path: Octets::new("/etc/sudoers"),
            inode: 1,
            device: 1,
            nameless: false,
            times: 1,
        })),
    ]
}

async fn found_first_told_and_gone(database: Option<Database>) {
    let is_file = database.is_none();
    let chat = Receiver::start().await;
    let authority = Authority::start_on(database);
    authority.configure(&format!(
        "{}[retention]\nactivity = \"0s\"\n",
        table("chat", &chat.url, "events = [\"odd\"]\nodd_from = 80")
    ));
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    authority.add("eve", 4, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let host = authority.host("db1").await;
    let mut told = Told::new(&authority, &host).await;
    usual(&authority, &mut told, &ops).await;

    let odd = first_and_told(&authority, (&mut told, &chat), &ops).await;

    // More of it comes late, and is looked at; it is told no second time.
    told.more(odd, vec![Event::Loss(Loss { after: 4, missing: 3 })]).await;
    weight(&authority, &ops, odd, 100).await;
    let page: Page = authority.read("/v1/entries?kind=session_odd", &ops).await.unwrap();
    assert_eq!(page.entries.len(), 1);

    delete(&authority, odd).await;
    eventually(async || {
        let odd = show(&authority, &ops, odd).await.odd;
        let kinds = odd.unwrap().reasons.iter().map(|one| one.oddity).collect::<Vec<_>>();
        // That something was lost is kept for good; what was done is not.
        kinds == [Oddity::Unseen]
    })
    .await;
    if is_file {
        authority.run(&["ledger", "verify"]);
        let rebuilt = authority.run(&["ledger", "rebuild"]);
        assert!(rebuilt.contains("identical to what the entries say"), "{rebuilt}");
    }
}

/// The odd one comes first, with its reasons, to those who may judge; and is told.
async fn first_and_told(
    authority: &Authority,
    (told, chat): (&mut Told, &Receiver),
    ops: &str,
) -> SessionId {
    // The older one is plain, the younger one is odd: the odd one comes first.
    let plain = told.session(authority, 10, vec![ran("/usr/bin/psql")]).await;
    let odd = told.session(authority, 11, strange()).await;
    weight(authority, ops, odd, 80).await;
    let order: Vec<SessionId> = due(authority, ops).await.iter().map(|one| one.session).collect();
    assert_eq!(order, [odd, plain]);
    let detail = show(authority, ops, odd).await;
    let reasons = detail.odd.unwrap().reasons;
    let says: Vec<&str> = reasons.iter().map(|reason| reason.says.as_str()).collect();
    assert_eq!(
        says,
        [
            "wrote what guards who gets in: /etc/sudoers",
            "connected to 203.0.113.7:4444 (nc\\u{1b}[2J), which nobody with role deploy did before",
            "ran /usr/bin/nc, which nobody with role deploy did before",
        ]
    );
    assert_eq!(detail.session.odd.unwrap().reasons, 3);
    let nothing = show(authority, ops, plain).await;
    assert_eq!((nothing.odd.unwrap().reasons, nothing.session.odd), (Vec::new(), None));

    // Whose session it is learns nothing of what stands out in it.
    let ana = authority.login("ana", 1).await.unwrap();
    let own = show(authority, &ana, odd).await;
    assert_eq!((own.odd, own.session.odd), (None, None));
    let listed: Vec<SessionView> = authority.read("/v1/sessions", &ana).await.unwrap();
    assert!(listed.len() == 5 && listed.iter().all(|one| one.odd.is_none()));
    assert!(due(authority, &ana).await.is_empty());

    // It is told once, and the entry names no deed.
    chat.has(&["odd"]).await;
    let notice = chat.taken().remove(0);
    let text = notice["text"].as_str().unwrap();
    assert!(text.contains("wrote what guards who gets in: /etc/sudoers"), "{text}");
    assert_eq!(notice["next"], format!("curfew sessions show {odd}"));
    let page: Page = authority.read("/v1/entries?kind=session_odd", ops).await.unwrap();
    let [entry] = page.entries.as_slice() else { panic!("{page:?}") };
    let said: Value = serde_json::from_str(&entry.body.as_ref().unwrap().text).unwrap();
    let expected = serde_json::json!({"session": odd, "host": "db1", "weight": 85, "why": ["guarded-file", "new-address", "new-program"]});
    assert_eq!(said, expected);
    odd
}

/// Two people delete what was done in a session.
async fn delete(authority: &Authority, session: SessionId) {
    let ops = authority.login("ops", 2).await.unwrap();
    let eve = authority.login("eve", 4).await.unwrap();
    let (class, sessions) = (Class::Activity, vec![session]);
    // The grant's end counts where it is later than the session's.
    let ana = authority.login("ana", 1).await.unwrap();
    let because = EndGrantAsk { reason: "done".into() };
    let _: OrderProgress = authority.send("/v1/grants/g1/end", Some(&ana), &because).await.unwrap();
    let ask = DeletionAsk { class, sessions, reason: "its time is over".into() };
    let path = "/v1/retention/deletions";
    let asked: DeletionView = authority.send(path, Some(&ops), &ask).await.unwrap();
    let path = format!("/v1/retention/deletions/{}/approve", asked.deletion);
    let _: DeletionView = authority.send(&path, Some(&eve), &()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_session_is_first_in_review_told_and_gone_with_what_was_done_in_it() {
    found_first_told_and_gone(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_oddities_on_a_server() {
    found_first_told_and_gone(Some(Database::new())).await;
}

#[tokio::test]
async fn one_that_goes_on_is_looked_at_when_somebody_asks_and_a_stranger_s_is_not_there() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("bob", 3, &[]);
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let host = authority.host("db1").await;
    let mut told = Told::new(&authority, &host).await;
    usual(&authority, &mut told, &ops).await;
    let session = told.begin(&authority, 10, vec![ran("/usr/bin/psql")]).await;
    let of = async |token: &str| show(&authority, token, session).await.odd.unwrap();
    assert_eq!(of(&ops).await.weight, 0);
    told.more(session, strange()).await;
    assert_eq!(of(&ops).await.weight, 85, "as it stands now");
    assert!(due(&authority, &ops).await.is_empty(), "it has not ended");
    let bob = authority.login("bob", 3).await.unwrap();
    let path = format!("/v1/sessions/{session}");
    let hidden = authority.read::<SessionDetail>(&path, &bob).await.unwrap_err();
    assert_eq!(hidden.code, Code::NotFound);
    // A node that stops and comes back goes on where it was.
    told.more(session, vec![ended()]).await;
    authority.restart();
    weight(&authority, &ops, session, 85).await;
    assert_eq!(of(&ops).await.weight, 85);
}
