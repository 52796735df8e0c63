//! What hosts say of sessions that they ended: believed when their agent signed it, counted by order, shown, and replayed.

use wire::api::{OrderProgress, SessionDetail};
use wire::hostlink::ToAuthority;
use wire::identifier::{HostName, OrderNumber, SessionId};
use wire::incident::{Cause, IncidentView};
use wire::kill::{HandedTally, Killed, Seal, SignedKill};
use wire::record::{EndReason, Event, Receipt, SessionEnded, Slow, Tally};
use wire::time::Timestamp;

use crate::authority::{Authority, Host, key};
use crate::certificate::eventually;
use crate::link::{began, greeted, record};

/// The agent's key of every host that [`Authority::host`] enrols.
const AGENT_KEY: u8 = 98;

fn killed(host: &Host, order: OrderNumber) -> Killed {
    Killed {
        version: wire::VERSION,
        host: host.enrolled.trust.host.clone(),
        session: session(),
        reason: EndReason::Locked { order, reason: "left the company".into() },
        at: Timestamp::from_secs(1_800_000_000),
        took_micros: 41_000,
        marked: true,
        passes: 6,
        killed: Tally { connection: 2, group: 3, alone: 4 },
        handed: HandedTally { units: 1, jobs: 2, manager: 3 },
        survivors: 0,
        named: Vec::new(),
        interrupted: false,
    }
}

fn session() -> SessionId {
    record(1, began()).session.unwrap()
}

fn said(killed: &Killed, by: u8) -> Event {
    Event::Killed(Box::new(killed.sign(Some(&key(by))).unwrap()))
}

fn locked(authority: &Authority) -> OrderNumber {
    authority.run(&["lock", "identity", "ana", "--reason", "left the company", "--json"]);
    OrderNumber::try_new(1).unwrap()
}

async fn progress(authority: &Authority, ops: &str, order: OrderNumber) -> OrderProgress {
    authority.read(&format!("/v1/orders/{order}"), ops).await.unwrap()
}

#[tokio::test]
async fn what_a_host_signed_of_its_kills_is_counted_by_order_shown_and_replayed() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let host = authority.host("db1").await;
    let order = locked(&authority);
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let receipt = Receipt {
        order,
        sessions: 1,
        killed: 9,
        survivors: 0,
        took_micros: 9,
        done: true,
        kills: 1,
    };
    frames.send(&ToAuthority::Receipt(receipt)).await;
    let slow = Slow { pid: 7, command: wire::octets::Octets::new("dd") };
    let late = Killed { survivors: 1, named: vec![slow], ..killed(&host, order) };
    frames
        .send(&ToAuthority::Records(vec![record(1, began()), record(2, said(&late, AGENT_KEY))]))
        .await;
    // Of the order's reply, and of whatever else is sent, the acknowledgement alone is looked for.
    until_acknowledged(&mut frames, 2).await;
    let before = progress(&authority, &ops, order).await;
    assert!(before.complete && !before.kills_are_in());
    assert_eq!((before.kills().survivors, before.kills().over), (1, 0));

    // Who waits for it is told when it comes.
    let path = format!("/v1/orders/{order}?wait_millis=20000&kills=true");
    let waiting = authority.read::<OrderProgress>(&path, &ops);
    let whole = killed(&host, order);
    let tell = async {
        frames.send(&ToAuthority::Records(vec![record(3, said(&whole, AGENT_KEY))])).await;
        until_acknowledged(&mut frames, 3).await;
    };
    let (waited, ()) = tokio::join!(waiting, tell);
    let kills = waited.unwrap().kills();
    assert_eq!((kills.sessions, kills.over, kills.signed, kills.survivors), (1, 1, 1, 0));
    assert_eq!((kills.killed, kills.handed), (whole.killed, whole.handed));

    // What comes again, or after it, changes nothing.
    let again = Killed { killed: Tally::default(), ..whole.clone() };
    let more = vec![record(4, said(&again, AGENT_KEY))];
    frames.send(&ToAuthority::Records(more)).await;
    until_acknowledged(&mut frames, 4).await;
    let path = format!("/v1/sessions/{}", session());
    let detail: SessionDetail = authority.read(&path, &ops).await.unwrap();
    let view = detail.killed.unwrap();
    assert_eq!((view.killed, view.seal), (whole, Seal::Signed));
    let shown = authority.run(&["ledger", "search", "--kind", "session_killed"]);
    assert_eq!(shown.matches("session_killed").count(), 2, "{shown}");
    let verified = authority.run(&["ledger", "verify"]);
    assert!(!verified.contains("kills"), "{verified}");
}

#[tokio::test]
async fn what_another_signed_is_kept_as_that_and_is_an_incident() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let host = authority.host("db1").await;
    let order = locked(&authority);
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let bare = killed(&host, order).sign(None).unwrap();
    let elsewhere = Killed { host: "db2".parse::<HostName>().unwrap(), ..killed(&host, order) };
    let other = Killed { session: "00000000000000b2".parse().unwrap(), ..killed(&host, order) };
    let noise = SignedKill { text: "{}".into(), signature: None };
    let wrong = [
        said(&killed(&host, order), 97),
        Event::Killed(Box::new(bare)),
        said(&elsewhere, AGENT_KEY),
        said(&other, AGENT_KEY),
        Event::Killed(Box::new(noise)),
    ];
    let mut records = vec![record(1, began())];
    records.extend((2..).zip(wrong).map(|(number, event)| record(number, event)));
    frames.send(&ToAuthority::Records(records)).await;
    until_acknowledged(&mut frames, 6).await;
    let incidents: Vec<IncidentView> = authority.read("/v1/incidents", &ops).await.unwrap();
    let unbelieved: Vec<_> =
        incidents.iter().filter(|one| matches!(one.cause, Cause::Unbelieved { .. })).collect();
    assert_eq!(unbelieved.iter().map(|one| one.count).sum::<u64>(), 5, "{incidents:?}");
    let kills = progress(&authority, &ops, order).await.kills();
    assert_eq!((kills.sessions, kills.signed), (1, 0));
    // The host's own word takes its place.
    frames
        .send(&ToAuthority::Records(vec![record(7, said(&killed(&host, order), AGENT_KEY))]))
        .await;
    until_acknowledged(&mut frames, 7).await;
    let kills = progress(&authority, &ops, order).await.kills();
    assert_eq!((kills.sessions, kills.signed), (1, 1));
    let verified = authority.run(&["ledger", "verify"]);
    assert!(!verified.contains("kills"), "{verified}");
}

#[tokio::test]
async fn the_end_of_a_session_that_an_older_agent_tells_of_promises_no_more() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let host = authority.host("db1").await;
    let order = locked(&authority);
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let receipt = Receipt {
        order,
        sessions: 1,
        killed: 9,
        survivors: 0,
        took_micros: 9,
        done: true,
        kills: 0,
    };
    frames.send(&ToAuthority::Receipt(receipt)).await;
    let reason = EndReason::Locked { order, reason: "left the company".into() };
    let ended = SessionEnded { reason, killed: 9, survivors: 0, took_micros: 9, steps: None };
    let ended = Event::SessionEnded(ended);
    frames.send(&ToAuthority::Records(vec![record(1, began()), record(2, ended)])).await;
    until_acknowledged(&mut frames, 2).await;
    let path = format!("/v1/orders/{order}?wait_millis=20000&kills=true");
    let progress: OrderProgress = authority.read(&path, &ops).await.unwrap();
    assert!(progress.complete && progress.kills_are_in());
    eventually(|| authority.run(&["lock", "list"]).contains("identity ana")).await;
}

/// Reads on until the authority has this record; orders that come in between are passed over.
async fn until_acknowledged(frames: &mut crate::authority::Frames, number: u64) {
    use wire::hostlink::ToHost;
    loop {
        match frames.next().await.unwrap() {
            ToHost::Acknowledged(got) if got.number() == number => return,
            ToHost::Refused(problem) => panic!("{problem}"),
            _ => {}
        }
    }
}
