//! The report of an incident: what was asked, approved, done, locked and killed, by which entries; and who may not have it.

use wire::api::{OrderProgress, SessionView};
use wire::hostlink::{ToAuthority, ToHost};
use wire::identifier::SessionId;
use wire::incident::{Cause, IncidentView};
use wire::kill::{HandedTally, Killed, Seal};
use wire::ledger::Page;
use wire::limits::{Measure, Response};
use wire::lock::{Lock, Target};
use wire::octets::Octets;
use wire::order::{Instruction, Order};
use wire::problem::Code;
use wire::record::{
    Crossed, EndReason, Event, Exec, Incident, Meddled, Receipt, Record, SessionEnded, Tally,
};
use wire::report::{DeedKind, MAX_NAMED, Relation, Report};
use wire::time::Timestamp;

use crate::authority::{Authority, Frames, Host, key};
use crate::issuer;
use crate::link::{began, exec, greeted, record};
use crate::nodes::eventually;
use crate::postgres::Database;
use crate::request::{Site, TWO, dba};

/// The agent's key of every host that [`Authority::host`] enrols.
const AGENT_KEY: u8 = 98;

fn now() -> Timestamp {
    Timestamp::from_secs(issuer::now())
}

fn session() -> SessionId {
    record(1, began()).session.unwrap()
}

fn ran(path: &str, argument: String) -> Event {
    let Event::Exec(exec) = exec() else { panic!() };
    let arguments = vec![Octets::new("x"), Octets::new(argument)];
    Event::Exec(Exec { path: Octets::new(path), arguments, ..exec })
}

/// Sends events of the session from this number on, and waits until they are kept.
async fn tell(frames: &mut Frames, first: u64, events: Vec<Event>) -> u64 {
    let numbered = (first..).zip(events);
    let records: Vec<Record> =
        numbered.map(|(number, event)| Record { at: now(), ..record(number, event) }).collect();
    let last = records.last().unwrap().number.number();
    frames.send(&ToAuthority::Records(records)).await;
    loop {
        match frames.next().await.unwrap() {
            ToHost::Acknowledged(number) if number.number() == last => return last + 1,
            ToHost::Refused(problem) => panic!("{problem}"),
            _ => {}
        }
    }
}

async fn report(authority: &Authority, token: &str, number: u64) -> Report {
    authority.send(&format!("/v1/incidents/{number}/report"), Some(token), &()).await.unwrap()
}

async fn incident(authority: &Authority, token: &str, is_it: fn(&Cause) -> bool) -> IncidentView {
    let all: Vec<IncidentView> = authority.read("/v1/incidents?all=true", token).await.unwrap();
    all.into_iter().find(|one| is_it(&one.cause)).unwrap()
}

/// What ana does under her certificate, until she goes beyond a threshold.
async fn misuse(site: &Site, frames: &mut Frames) -> u64 {
    let issued = site.certificate("ana").await.unwrap();
    let mut event = began();
    let Event::SessionBegan(session) = &mut event else { panic!("{event:?}") };
    session.subject.grant = issued.grant;
    session.subject.serial = issued.serial;
    session.subject.role = "dba".parse().unwrap();
    session.subject.key = wire::certificate::fingerprint(key(7).public_key().key_data());
    let mut events = vec![event];
    let hostile = "|</table>\u{1b}[2J\u{202e}\n# x";
    events.push(ran("/bin/cat", hostile.into()));
    events.extend((0..100).map(|number| ran("/bin/cat", format!("/srv/{number}"))));
    events.push(Event::Threshold(Crossed {
        measure: Measure::ExecsPerMinute,
        limit: 100,
        count: 101,
        response: Response::Alert,
        rule: None,
        program: Some(Octets::new("/bin/cat")),
        file: None,
    }));
    tell(frames, 1, events).await
}

/// An operator locks her, and the host says what that took, signed.
async fn answer(site: &Site, (frames, host): (&mut Frames, &Host), next: u64) {
    let reason = "reads what | she must not".to_owned();
    let lock = Lock {
        target: Target::Identity("ana".parse().unwrap()),
        reason: reason.clone(),
        until: None,
    };
    let locking = site.authority.send("/v1/locks", Some(site.token("ops")), &lock);
    let (locked, ()) = tokio::join!(locking, obey(frames, host, (next, reason)));
    let locked: OrderProgress = locked.unwrap();
    let path = format!("/v1/orders/{}", locked.order);
    eventually(async || {
        let told: OrderProgress = site.authority.read(&path, site.token("ops")).await.unwrap();
        let is_done = told.hosts.iter().any(|host| host.receipt.as_ref().is_some_and(|it| it.done));
        is_done && told.kills().signed == 1
    })
    .await;
}

async fn obey(frames: &mut Frames, host: &Host, (next, reason): (u64, String)) {
    let order = loop {
        let ToHost::Order(signed) = frames.next().await.unwrap() else { continue };
        let order: Order = serde_json::from_str(&signed.order).unwrap();
        if matches!(&order.instruction, Instruction::Lock(lock) if lock.reason == reason) {
            break order.number;
        }
    };
    let (sessions, killed, survivors, took_micros) = (1, 9, 0, 41_000);
    let reason = EndReason::Locked { order, reason };
    let word = Killed {
        version: wire::VERSION,
        host: host.enrolled.trust.host.clone(),
        session: session(),
        reason: reason.clone(),
        at: now(),
        took_micros,
        marked: true,
        passes: 6,
        killed: Tally { connection: 2, group: 3, alone: 4 },
        handed: HandedTally::default(),
        survivors,
        named: Vec::new(),
        interrupted: false,
    };
    let ended = SessionEnded { reason, killed, survivors, took_micros, steps: None };
    let signed = word.sign(Some(&key(AGENT_KEY))).unwrap();
    let events = vec![Event::SessionEnded(ended), Event::Killed(Box::new(signed))];
    tell(frames, next, events).await;
    let receipt = Receipt { order, sessions, killed, survivors, took_micros, done: true, kills: 1 };
    frames.send(&ToAuthority::Receipt(receipt)).await;
}

/// Each entry that it names is there, with that hash, and they are those of this matter alone.
async fn holds(authority: &Authority, ops: &str, told: &Report) {
    let kinds: Vec<&str> = told.entries.iter().map(|entry| entry.kind.as_str()).collect();
    for kind in [
        "request_made",
        "grant_begun",
        "certificate",
        "session_begun",
        "incident",
        "lock",
        "session_ended",
        "session_killed",
        "incident_settled",
    ] {
        assert_eq!(kinds.iter().filter(|one| **one == kind).count(), 1, "{kind}: {kinds:?}");
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == "request_approved").count(), 2);
    assert_eq!((told.more_entries, told.unsearched), (0, false));
    for entry in &told.entries {
        let path = format!("/v1/entries?after={}&limit=1", entry.entry - 1);
        let page: Page = authority.read(&path, ops).await.unwrap();
        let leaf = &page.entries[0].leaf;
        assert_eq!(wire::log::leaf_hash(leaf.as_bytes()), entry.hash, "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_says_who_asked_who_approved_what_was_done_and_what_ended_it() {
    let site = Site::with(TWO).await;
    let authority = &site.authority;
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(authority, &host, 0).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.approve("cleo", 1).await.unwrap();
    site.approve("dan", 1).await.unwrap();
    let next = misuse(&site, &mut frames).await;
    answer(&site, (&mut frames, &host), next).await;
    let ops = site.token("ops");
    let number =
        incident(authority, ops, |cause| matches!(cause, Cause::Threshold { .. })).await.number;
    let settled = number.to_string();
    authority.run(&["incident", "settle", &settled, "--reason", "talked to ana"]);

    let told = report(authority, ops, number).await;
    assert_eq!(
        (told.incident.number, told.by.as_str(), told.relation),
        (number, "ops", Relation::Subject)
    );
    assert_eq!(told.incident.settled.as_ref().unwrap().reason, "talked to ana");
    let [one] = told.sessions.as_slice() else { panic!("{told:?}") };
    assert_eq!((one.session.session, one.session.identity.as_str()), (session(), "ana"));
    let cat = one.deeds.iter().find(|deeds| deeds.kind == DeedKind::Ran).unwrap();
    assert_eq!((cat.total, cat.named.len(), cat.more), (101, MAX_NAMED, 51));
    assert!(one.deeds.iter().any(|deeds| deeds.kind == DeedKind::Crossed));
    let kill = one.killed.as_ref().unwrap();
    assert_eq!((kill.seal, kill.killed.killed.sum(), kill.killed.survivors), (Seal::Signed, 9, 0));
    let [request] = told.requests.as_slice() else { panic!("{told:?}") };
    let by: Vec<&str> = request.approvals.iter().map(|one| one.by.as_str()).collect();
    assert_eq!(by, ["cleo", "dan"]);
    let [order] = told.orders.as_slice() else { panic!("{:?}", told.orders) };
    assert_eq!(order.target, Target::Identity("ana".parse().unwrap()));
    let kills = order.progress.as_ref().unwrap().kills();
    assert_eq!((kills.sessions, kills.signed, kills.survivors), (1, 1, 0));

    holds(authority, ops, &told).await;
    // That it was read is an entry, which is there before it is.
    let page: Page = authority.read("/v1/entries?kind=incident_reported", ops).await.unwrap();
    let [read] = page.entries.as_slice() else { panic!("{page:?}") };
    let expected = format!("{{\"by\":\"ops\",\"incident\":{number}}}");
    assert_eq!(read.body.as_ref().unwrap().text, expected);
    assert!(told.tree.size >= told.reading);
    site.holds();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_report_of_what_is_not_theirs_to_see_or_not_there() {
    let site = Site::with(TWO).await;
    let authority = &site.authority;
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(authority, &host, 0).await;
    let what = "sshd was changed | <b>".to_owned();
    let meddled = Event::Incident(Box::new(Incident::Meddled(Meddled { what, mended: false })));
    tell(&mut frames, 1, vec![began(), meddled]).await;
    let ops = site.token("ops");
    let meddled = incident(authority, ops, |cause| matches!(cause, Cause::Reported(_))).await;
    let ask = async |token: Option<&str>, number: &str| {
        let path = format!("/v1/incidents/{number}/report");
        authority.send::<Report>(&path, token, &()).await.unwrap_err().code
    };
    let number = meddled.number.to_string();
    assert_eq!(ask(Some(site.token("ana")), &number).await, Code::Denied);
    assert_eq!(ask(None, &number).await, Code::Unauthenticated);
    for absent in ["1", "99999", "18446744073709551615"] {
        assert_eq!(ask(Some(ops), absent).await, Code::NotFound, "{absent}");
    }
    for odd in ["x", "-1", "18446744073709551616"] {
        assert_eq!(ask(Some(ops), odd).await, Code::Malformed, "{odd}");
    }
    let page: Page = authority.read("/v1/entries?kind=incident_reported", ops).await.unwrap();
    assert!(page.entries.is_empty(), "nothing was read");
    // It is of the host, and says so of whoever was there.
    let told = report(authority, ops, meddled.number).await;
    assert_eq!((told.relation, told.sessions.len()), (Relation::Around, 1));
    let listed: Vec<SessionView> = authority.read("/v1/sessions", ops).await.unwrap();
    assert_eq!(listed[0].session, told.sessions[0].session.session);
}

#[tokio::test]
async fn the_same_report_on_a_server() {
    let authority = Authority::start_on(Some(Database::new()));
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    tell(&mut frames, 1, vec![began(), ran("/bin/ls", "/".into())]).await;
    // Its certificate was never issued.
    let number =
        incident(&authority, &ops, |cause| matches!(cause, Cause::Unissued { .. })).await.number;
    let told = report(&authority, &ops, number).await;
    let [one] = told.sessions.as_slice() else { panic!("{told:?}") };
    assert_eq!((one.session.session, one.grant.is_none(), one.deeds.len()), (session(), true, 1));
    let kinds: Vec<&str> = told.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["incident", "session_begun"]);
}
