//! Reading and checking stored recordings.

use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use wire::hostlink::ToAuthority;
use wire::ledger::Page;
use wire::problem::Code;
use wire::reading::{Checking, Passage, ReadAnswer, ReadAsk, RecordingView, StoredPage};
use wire::recording::record::{Content, Record};
use wire::recording::verify::{Known, Report, Verifier};

use crate::authority::{Authority, Host};
use crate::link::{acknowledged, began, greeted, record};
use crate::recording::{closed, of, recording, send};

/// An authority with a session of ana's on db1 that has a recording of so many blocks.
pub(crate) async fn recorded(authority: &Authority, blocks: u64) -> Host {
    authority.add("ana", 1, &[]);
    authority.add("bob", 3, &[]);
    authority.add("ops", 2, &["--operator"]);
    let host = authority.host("db1").await;
    let to = host.enrolled.trust.recording.unwrap();
    let (mut frames, _) = greeted(authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began())])).await;
    acknowledged(&mut frames).await;
    let made = recording(to.key, blocks);
    for block in &made {
        send(&mut frames, &host, block).await;
    }
    closed(&mut frames, &host, made.last().unwrap()).await;
    host
}

pub(crate) fn ask(host: &Host) -> ReadAsk {
    let (session, channel) = of();
    ReadAsk { session, host: host.enrolled.trust.host.clone(), channel, live: false }
}

async fn read(authority: &Authority, token: &str, host: &Host) -> Vec<Record> {
    let begun: ReadAnswer = authority.send("/v1/readings", Some(token), &ask(host)).await.unwrap();
    let (mut records, mut next) = (Vec::new(), 1);
    loop {
        let path = format!("/v1/readings/{}?block={next}", begun.entry);
        let passage: Passage = authority.read(&path, token).await.unwrap();
        records.extend(Record::read_all(passage.records.as_bytes()).unwrap());
        next = passage.next;
        if passage.ended {
            return records;
        }
    }
}

async fn report(authority: &Authority, token: &str) -> Report {
    let (session, channel) = of();
    let checking: Checking =
        authority.read(&format!("/v1/sessions/{session}/checking"), token).await.unwrap();
    let keys: Vec<KeyData> = checking
        .agent_keys
        .iter()
        .map(|key| PublicKey::from_openssh(key).unwrap().key_data().clone())
        .collect();
    let mut verifier = Verifier::new(checking.host, (session, channel), &keys);
    let mut after = String::new();
    loop {
        let path = format!("/v1/sessions/{session}/stored{after}");
        let page: StoredPage = authority.read(&path, token).await.unwrap();
        for object in &page.objects {
            verifier.take(&object.name, object.bytes.as_bytes());
        }
        match page.next {
            Some(name) => after = format!("?after={}", name.replace('/', "%2F")),
            None => return verifier.finish(&Known::default()),
        }
    }
}

/// Reads and checks what is stored, whichever store it is.
pub(crate) async fn reads_and_checks(authority: &Authority) {
    let host = recorded(authority, 40).await;
    let ana = authority.login("ana", 1).await.unwrap();
    let (session, _) = of();
    let list: Vec<RecordingView> =
        authority.read(&format!("/v1/sessions/{session}/recordings"), &ana).await.unwrap();
    assert_eq!(list.iter().map(|one| (one.blocks, one.closed)).collect::<Vec<_>>(), [(40, true)]);
    let records = read(authority, &ana, &host).await;
    let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=u64::try_from(records.len()).unwrap()).collect::<Vec<_>>());
    let outputs = records.iter().filter(|one| matches!(one.content, Content::Output(_))).count();
    assert_eq!(outputs, 40);
    let report = report(authority, &ana).await;
    assert_eq!(
        (report.blocks, report.is_open, report.findings.as_slice()),
        (40, false, [].as_slice())
    );
}

#[tokio::test]
async fn whose_session_it_is_and_operators_read_it_and_every_reading_is_an_entry() {
    let authority = Authority::start();
    reads_and_checks(&authority).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let page: Page = authority.read("/v1/entries?kind=recording_read", &ops).await.unwrap();
    let [entry] = page.entries.as_slice() else { panic!("{page:?}") };
    let said = &entry.body.as_ref().unwrap().text;
    assert!(
        said.starts_with(r#"{"by":"ana","ask":{"session":"000000000000feed","host":"db1""#),
        "{said}"
    );
}

#[tokio::test]
async fn somebody_else_s_recording_is_not_there_in_any_way() {
    let authority = Authority::start();
    let host = recorded(&authority, 1).await;
    let bob = authority.login("bob", 3).await.unwrap();
    let (session, _) = of();
    for path in ["recordings", "stored", "checking"] {
        let path = format!("/v1/sessions/{session}/{path}");
        let refused = authority.read::<serde_json::Value>(&path, &bob).await.unwrap_err();
        assert_eq!(refused.code, Code::NotFound, "{path}");
    }
    let refused = authority.send::<ReadAnswer>("/v1/readings", Some(&bob), &ask(&host)).await;
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
    let ana = authority.login("ana", 1).await.unwrap();
    let begun: ReadAnswer = authority.send("/v1/readings", Some(&ana), &ask(&host)).await.unwrap();
    // Nor by the entry of whoever may.
    for token in [&bob, &authority.login("ops", 2).await.unwrap()] {
        let path = format!("/v1/readings/{}?block=1", begun.entry);
        let refused = authority.read::<Passage>(&path, token).await.unwrap_err();
        assert_eq!(refused.code, Code::NotFound);
    }
}

#[tokio::test]
async fn what_was_done_to_the_stored_objects_is_found_in_its_place() {
    let authority = Authority::start();
    recorded(&authority, 5).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let (session, channel) = of();
    let folder = authority.dir.path().join(format!("state/recordings/db1/{session}/{channel}"));
    let block = |number: u64| folder.join(format!("{number:010}.block"));
    let third = std::fs::read(block(3)).unwrap();
    let mut changed = third.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(block(3), &changed).unwrap();
    let said = |report: Report| report.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let found = said(report(&authority, &ops).await);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("block 3: changed"), "{found:?}");
    std::fs::remove_file(block(3)).unwrap();
    assert_eq!(said(report(&authority, &ops).await), ["block 3: missing"]);
    std::fs::write(block(3), &third).unwrap();
    std::fs::remove_file(block(5)).unwrap();
    assert_eq!(said(report(&authority, &ops).await), ["block 5: missing"]);
}
