//! Enrolled hosts: records, orders and receipts.

use std::num::NonZeroU64;
use std::time::Duration;

use wire::api::{SessionDetail, SessionView, Status};
use wire::hostlink::{Heartbeat, Hello, ToAuthority, ToHost, Welcome};
use wire::identifier::{RecordNumber, Serial, SessionId};
use wire::lock::Subject;
use wire::problem::Code;
use wire::record::{EndReason, Event, Exec, Receipt, Record, SessionBegan, SessionEnded, Tier};
use wire::time::{Timestamp, Uptime};

use crate::authority::{Authority, Frames, Host, key};
use crate::certificate::{ask, eventually, issue};

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn hello(last_order: u64) -> ToAuthority {
    ToAuthority::Hello(Hello {
        version: wire::VERSION,
        agent_version: "test".into(),
        tier: Tier::Full,
        last_order,
        at: AT,
        krl: None,
        tree: None,
        proof: None,
        renews: true,
        keys: None,
        era: None,
        recording: None,
    })
}

pub(crate) async fn greeted(
    authority: &Authority,
    host: &Host,
    last_order: u64,
) -> (Frames, Welcome) {
    let mut frames = authority.link(Some(host)).await;
    frames.send(&hello(last_order)).await;
    match frames.next().await.unwrap() {
        ToHost::Welcome(welcome) => (frames, welcome),
        other => panic!("{other:?}"),
    }
}

fn session() -> SessionId {
    SessionId::new(NonZeroU64::new(0xfeed).unwrap())
}

pub(crate) fn record(number: u64, event: Event) -> Record {
    Record {
        number: RecordNumber::try_new(number).unwrap(),
        at: AT,
        uptime: Uptime::from_nanos(number),
        session: Some(session()),
        event,
    }
}

pub(crate) fn began() -> Event {
    Event::SessionBegan(Box::new(SessionBegan {
        subject: Subject {
            identity: "ana".parse().unwrap(),
            grant: "g1".parse().unwrap(),
            serial: Serial::try_new(1).unwrap(),
            key: wire::identifier::Fingerprint::of(b"key"),
            role: "deploy".parse().unwrap(),
            login: "deploy".parse().unwrap(),
            host: "db1".parse().unwrap(),
            authority: None,
        },
        certificate_until: AT,
        grant_until: AT.after(Duration::from_secs(60)),
        remote: "10.0.0.9".into(),
        monitor_pid: 100,
        options: std::collections::BTreeMap::new(),
        limits: Default::default(),
    }))
}

pub(crate) fn exec() -> Event {
    Event::Exec(Exec {
        sequence: 1,
        pid: 5,
        parent: 4,
        uid: 0,
        euid: 0,
        path: wire::octets::Octets::new("/bin/ls"),
        arguments: vec![wire::octets::Octets::new(vec![0xff, 0x00])],
        cut: 0,
        terminal: None,
        nameless: false,
        program: None,
    })
}

pub(crate) fn ended() -> Event {
    Event::SessionEnded(SessionEnded {
        reason: EndReason::Left,
        killed: 0,
        survivors: 0,
        took_micros: 0,
        steps: None,
    })
}

pub(crate) async fn acknowledged(frames: &mut Frames) -> u64 {
    match frames.next().await.unwrap() {
        ToHost::Acknowledged(number) => number.number(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn records_are_kept_once_in_order_and_across_a_crash() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let (mut frames, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 0);
    frames.send(&ToAuthority::Records(vec![record(1, began()), record(2, exec())])).await;
    assert_eq!(acknowledged(&mut frames).await, 2);
    authority.restart();
    let (mut frames, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 2);
    frames.send(&ToAuthority::Records(vec![record(2, exec()), record(3, ended())])).await;
    assert_eq!(acknowledged(&mut frames).await, 3);
    let token = authority.login("ana", 1).await.unwrap();
    let sessions: Vec<SessionView> = authority.read("/v1/sessions", &token).await.unwrap();
    let [view] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!((view.execs, view.ended.is_some()), (1, true));
    let path = format!("/v1/sessions/{}", session());
    let detail: SessionDetail = authority.read(&path, &token).await.unwrap();
    assert_eq!(detail.records, [record(1, began()), record(2, exec()), record(3, ended())]);
}

#[tokio::test]
async fn a_gap_is_refused_and_nothing_after_it_is_kept() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(2, exec())])).await;
    let Some(ToHost::Refused(problem)) = frames.next().await else { panic!("not refused") };
    assert_eq!(
        (problem.code, problem.message.as_str()),
        (Code::Malformed, "record 2 came where 1 was due")
    );
    assert!(frames.next().await.is_none());
    let (_frames, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 0);
}

#[tokio::test]
async fn another_person_s_session_is_not_there() {
    let authority = Authority::start();
    authority.add("bob", 2, &[]);
    authority.add("ops", 3, &["--operator"]);
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began())])).await;
    assert_eq!(acknowledged(&mut frames).await, 1);
    let path = format!("/v1/sessions/{}", session());
    let bob = authority.login("bob", 2).await.unwrap();
    let hidden: Result<SessionDetail, _> = authority.read(&path, &bob).await;
    assert_eq!(hidden.unwrap_err().code, Code::NotFound);
    let ops = authority.login("ops", 3).await.unwrap();
    assert!(authority.read::<SessionDetail>(&path, &ops).await.is_ok());
    let status: Status = authority.read("/v1/status", &ops).await.unwrap();
    assert_eq!((status.sessions, status.connected), (1, 1));
    assert!(status.concerns.iter().any(|concern| concern.contains("the ledger never issued")));
}

#[tokio::test]
async fn missed_orders_follow_the_welcome_and_new_ones_come_at_once() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    authority.run(&["lock", "identity", "ana", "--reason", "one", "--json"]);
    let (mut frames, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.newest_order, 1);
    let key: ssh_key::PublicKey = host.enrolled.trust.order_key.parse().unwrap();
    let Some(ToHost::Order(first)) = frames.next().await else { panic!("no order") };
    assert_eq!(first.verify(&key).unwrap().number.number(), 1);
    let authority = std::sync::Arc::new(authority);
    let operator = std::sync::Arc::clone(&authority);
    let running = tokio::task::spawn_blocking(move || operator.run(&["unlock", "identity", "ana"]));
    let Some(ToHost::Order(second)) = frames.next().await else { panic!("no order") };
    let order = second.verify(&key).unwrap().number;
    assert_eq!(order.number(), 2);
    let (sessions, killed) = (2, 5);
    let receipt =
        Receipt { order, sessions, killed, survivors: 0, took_micros: 9, done: true, kills: 0 };
    frames.send(&ToAuthority::Receipt(receipt)).await;
    let running = running.await.unwrap();
    assert!(running.contains("1 of 1 hosts, 2 sessions ended, 0 survivors"), "{running}");
}

#[tokio::test]
async fn a_host_that_joined_anew_is_another_and_one_from_the_future_is_refused() {
    let authority = Authority::start();
    let before = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &before, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, exec())])).await;
    assert_eq!(acknowledged(&mut frames).await, 1);
    let after = authority.host("db1").await;
    let mut frames = authority.link(Some(&before)).await;
    frames.send(&hello(0)).await;
    let Some(ToHost::Refused(problem)) = frames.next().await else { panic!("not refused") };
    assert_eq!(problem.code, Code::Unauthenticated);
    let (_frames, welcome) = greeted(&authority, &after, 0).await;
    assert_eq!(welcome.last_record, 0);
    let mut frames = authority.link(Some(&after)).await;
    frames.send(&hello(9)).await;
    let Some(ToHost::Refused(problem)) = frames.next().await else { panic!("not refused") };
    assert_eq!(problem.code, Code::Conflict);
}

#[tokio::test]
async fn a_host_that_does_not_read_holds_up_nobody() {
    let authority = Authority::start();
    let (deaf, good) = (authority.host("deaf").await, authority.host("good").await);
    let (_deaf, _) = greeted(&authority, &deaf, 0).await;
    let (mut frames, _) = greeted(&authority, &good, 0).await;
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let orders = 200;
    for grant in 1..=orders {
        let target = wire::lock::Target::Grant(wire::identifier::GrantId::try_new(grant).unwrap());
        let lock = wire::lock::Lock { target, reason: "x".repeat(400), until: None };
        let _: wire::api::OrderProgress =
            authority.send("/v1/locks", Some(&ops), &lock).await.unwrap();
    }
    let key: ssh_key::PublicKey = good.enrolled.trust.order_key.parse().unwrap();
    for due in 1..=orders {
        let Some(ToHost::Order(order)) = frames.next().await else { panic!("no order {due}") };
        assert_eq!(order.verify(&key).unwrap().number.number(), due);
    }
}

#[tokio::test]
async fn what_a_host_says_of_itself_drives_no_terminal() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let mut frames = authority.link(Some(&host)).await;
    let ToAuthority::Hello(hello) = hello(0) else { panic!("no hello") };
    let tier = Tier::Degraded { reason: "no\u{1b}[2Jbpf\u{202e}".into() };
    frames.send(&ToAuthority::Hello(Hello { tier, ..hello })).await;
    let Some(ToHost::Welcome(_)) = frames.next().await else { panic!("not welcome") };
    for listing in [["host", "list"].as_slice(), &["status"]] {
        let shown = authority.run(listing);
        assert!(shown.contains("db1"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    }
}

#[tokio::test]
async fn another_host_cannot_put_its_own_in_the_place_of_a_session() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let (db1, db2) = (authority.host("db1").await, authority.host("db2").await);
    let ana = authority.login("ana", 1).await.unwrap();
    let certified = issue(&authority, &ana, &ask("db1")).await.unwrap();
    let Event::SessionBegan(began) = began() else { panic!("no beginning") };
    let subject = Subject {
        serial: certified.serial,
        grant: certified.grant,
        key: wire::certificate::fingerprint(key(7).public_key().key_data()),
        ..began.subject
    };
    let told = record(1, Event::SessionBegan(Box::new(SessionBegan { subject, ..*began })));
    let forged = Record { at: Timestamp::from_secs(1), ..told.clone() };
    for (host, told) in [(&db1, told), (&db2, forged)] {
        let (mut frames, _) = greeted(&authority, host, 0).await;
        frames.send(&ToAuthority::Records(vec![told])).await;
        assert_eq!(acknowledged(&mut frames).await, 1);
    }
    let path = format!("/v1/sessions/{}", session());
    let shown: SessionDetail = authority.read(&path, &ana).await.unwrap();
    assert_eq!(shown.session.host.as_str(), "db1");
}

/// Now, as the authority reads it.
pub(crate) async fn now(authority: &Authority) -> Timestamp {
    let about: wire::api::Authority =
        authority.call(("GET", "/v1/authority"), None, &()).await.unwrap();
    about.at
}

#[tokio::test]
async fn a_host_whose_clock_is_ahead_or_behind_is_a_concern_until_it_is_set_right() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let clock_is_off = || authority.run(&["status"]).contains("the clock of host db1 is ");
    let minutes = Duration::from_secs(180);
    let shifts: [fn(Timestamp, Duration) -> Timestamp; 2] = [Timestamp::after, Timestamp::before];
    for shift in shifts {
        let at = shift(now(&authority).await, minutes);
        let ToAuthority::Hello(hello) = hello(0) else { panic!("no hello") };
        let mut frames = authority.link(Some(&host)).await;
        frames.send(&ToAuthority::Hello(Hello { at, ..hello })).await;
        assert!(matches!(frames.next().await, Some(ToHost::Welcome(_))));
        eventually(clock_is_off).await;
        let right = Heartbeat {
            at: now(&authority).await,
            sessions: 0,
            spooled: 0,
            last_order: None,
            krl: None,
            certificates: None,
            keys: None,
            trouble: None,
            group_keys: None,
        };
        frames.send(&ToAuthority::Heartbeat(right)).await;
        eventually(|| !clock_is_off()).await;
    }
}
