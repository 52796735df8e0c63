//! Keeping, holding, and deleting by two people what hosts recorded.

use std::path::PathBuf;
use std::time::Duration;

use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use wire::api::SessionDetail;
use wire::hostlink::ToAuthority;
use wire::ledger::Page;
use wire::problem::{Code, Problem};
use wire::reading::{Checking, ReadAnswer, RecordingView, StoredPage};
use wire::record::{Event, Record};
use wire::recording::lane::Answer;
use wire::recording::remains::Remaining;
use wire::retention::{
    Class, DeletionAsk, DeletionState, DeletionView, HoldAsk, HoldView, Remains, RetentionView,
};
use wire::search::{SearchAnswer, SearchAsk};
use wire::time::Timestamp;

use crate::authority::{Authority, Host};
use crate::link::{acknowledged, began, ended, exec, greeted, record};
use crate::postgres::Database;
use crate::reading::{ask as reading, recorded};
use crate::recording::{of, recording, send};

/// Everything can be deleted as soon as two people want it.
pub(crate) const AT_ONCE: &str = "[retention]\nterminals = \"0s\"\nactivity = \"0s\"\n";

/// An operator who is logged in.
pub(crate) struct Operator<'a> {
    authority: &'a Authority,
    token: String,
}

impl<'a> Operator<'a> {
    pub(crate) async fn new(authority: &'a Authority, name: &str, seed: u8) -> Self {
        authority.add(name, seed, &["--operator"]);
        Self { authority, token: authority.login(name, seed).await.unwrap() }
    }

    pub(crate) async fn ask(&self, class: Class) -> Result<DeletionView, Problem> {
        let ask = DeletionAsk { class, sessions: vec![of().0], reason: "its time is over".into() };
        self.authority.send("/v1/retention/deletions", Some(&self.token), &ask).await
    }

    pub(crate) async fn decide(&self, number: u64, how: &str) -> Result<DeletionView, Problem> {
        let path = format!("/v1/retention/deletions/{number}/{how}");
        self.authority.send(&path, Some(&self.token), &()).await
    }

    async fn hold(&self, how: &str) -> Result<serde_json::Value, Problem> {
        let ask = HoldAsk { session: of().0, reason: "a case in court".into() };
        self.authority.send(&format!("/v1/retention/{how}"), Some(&self.token), &ask).await
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.authority.read(path, &self.token).await.unwrap()
    }

    /// Waits until a deletion is done.
    pub(crate) async fn done(&self, number: u64) {
        for _ in 0..600 {
            let view: RetentionView = self.read("/v1/retention").await;
            let one = view.deletions.iter().find(|one| one.deletion == number).unwrap();
            if one.state == DeletionState::Done {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("deletion {number} is not done: {}", self.authority.log());
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Problem>, code: Code, says: &str) {
    let problem = answer.unwrap_err();
    assert_eq!(problem.code, code, "{problem}");
    assert!(problem.message.contains(says), "{problem}");
}

/// A record of some years ago.
fn past(number: u64, event: Event) -> Record {
    Record { at: Timestamp::from_secs(1_700_000_000), ..record(number, event) }
}

/// The host says that a program ran and that the session ended.
pub(crate) async fn over(authority: &Authority, host: &Host) {
    let (mut frames, _) = greeted(authority, host, 0).await;
    frames.send(&ToAuthority::Records(vec![past(2, exec()), past(3, ended())])).await;
    acknowledged(&mut frames).await;
}

/// What is wrong with what is left of the recording that was deleted.
async fn findings(ops: &Operator<'_>) -> Vec<String> {
    let session = of().0;
    let checking: Checking = ops.read(&format!("/v1/sessions/{session}/checking")).await;
    let stored: StoredPage = ops.read(&format!("/v1/sessions/{session}/stored")).await;
    let keys: Vec<KeyData> = checking
        .agent_keys
        .iter()
        .map(|key| PublicKey::from_openssh(key).unwrap().key_data().clone())
        .collect();
    let deleted = checking.deleted.unwrap();
    assert_eq!((deleted.by, deleted.class), (["ops".into(), "eve".into()], Class::Terminals));
    let Remains::Recordings(was) = &deleted.what else { panic!("{:?}", deleted.what) };
    let [was] = was.as_slice() else { panic!("{was:?}") };
    assert_eq!((was.blocks, was.closed, was.findings.len()), (3, true, 0));
    let remaining =
        Remaining { host: &checking.host, session, was, keys: &keys, recorded: was.head };
    let left = stored.objects.iter().map(|one| (one.name.as_str(), one.bytes.as_bytes()));
    remaining.findings(left).iter().map(ToString::to_string).collect()
}

/// Two people delete a recording, whichever store it is in; what is left verifies.
pub(crate) async fn deletes(authority: &Authority) {
    let host = recorded(authority, 3).await;
    let ops = Operator { authority, token: authority.login("ops", 2).await.unwrap() };
    let eve = Operator::new(authority, "eve", 4).await;
    let session = of().0;
    refused(ops.ask(Class::Terminals).await, Code::Conflict, "has not ended");
    over(authority, &host).await;
    let due: Vec<wire::api::SessionView> = ops.read("/v1/retention/due?class=terminals").await;
    assert_eq!(due.iter().map(|one| one.session).collect::<Vec<_>>(), [session]);

    // Nobody alone, and nobody who is no operator.
    let bob = Operator { authority, token: authority.login("bob", 3).await.unwrap() };
    refused(bob.ask(Class::Terminals).await, Code::Denied, "does not let bob administer");
    let first = ops.ask(Class::Terminals).await.unwrap().deletion;
    refused(ops.decide(first, "approve").await, Code::Conflict, "somebody else");
    refused(bob.decide(first, "approve").await, Code::Denied, "does not let bob administer");
    refused(ops.decide(99_999, "approve").await, Code::NotFound, "no deletion");
    // What is held comes out of deletions that were asked for before, for good.
    eve.hold("holds").await.unwrap();
    refused(eve.hold("holds").await, Code::Conflict, "held already");
    refused(eve.decide(first, "approve").await, Code::Conflict, "held meanwhile");
    refused(ops.ask(Class::Terminals).await, Code::Conflict, "is held by eve: a case in court");
    let due: Vec<wire::api::SessionView> = ops.read("/v1/retention/due?class=terminals").await;
    assert_eq!(due, []);
    ops.hold("releases").await.unwrap();
    refused(ops.hold("releases").await, Code::NotFound, "not held");
    refused(eve.decide(first, "approve").await, Code::Conflict, "held meanwhile");
    let withdrawn = ops.decide(first, "withdraw").await.unwrap();
    assert_eq!(withdrawn.state, DeletionState::Withdrawn);
    refused(eve.decide(first, "approve").await, Code::Conflict, "was withdrawn");

    let second = ops.ask(Class::Terminals).await.unwrap().deletion;
    let approved = eve.decide(second, "approve").await.unwrap();
    assert_eq!(approved.decided.unwrap().by, "eve");
    refused(eve.decide(second, "approve").await, Code::Conflict, "approved already");
    ops.done(second).await;
    refused(ops.ask(Class::Terminals).await, Code::Conflict, "deleted already");
    let path = format!("/v1/sessions/{session}/recordings");
    let absent = authority.read::<Vec<RecordingView>>(&path, &ops.token).await;
    refused(absent, Code::NotFound, "deleted on");
    let ask = reading(&host);
    let begun = authority.send::<ReadAnswer>("/v1/readings", Some(&ops.token), &ask).await;
    refused(begun, Code::NotFound, "by ops and eve: its time is over");
    assert_eq!(findings(&ops).await, [""; 0]);
    // The host brings it again: it said that nothing follows, and it stays deleted.
    let (mut frames, _) = greeted(authority, &host, 0).await;
    let again = recording(host.enrolled.trust.recording.unwrap().key, 1);
    let answer = send(&mut frames, &host, again.first().unwrap()).await;
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    let detail: SessionDetail = ops.read(&format!("/v1/sessions/{session}")).await;
    assert_eq!((detail.records.len(), detail.deleted.len()), (3, 1));
    let page: Page = ops.read("/v1/entries?kind=deleted").await;
    assert_eq!(page.entries.len(), 1);
}

fn folder(authority: &Authority) -> PathBuf {
    let (session, channel) = of();
    authority.dir.path().join(format!("state/recordings/db1/{session}/{channel}"))
}

async fn deleted_in_a_folder(database: Option<Database>) {
    let table = database.as_ref().map(|on| format!("ledger = {{ url = {:?} }}\n", on.url()));
    let settings = format!("{}{AT_ONCE}", table.unwrap_or_default());
    let authority = Authority::start_with(&settings, database);
    deletes(&authority).await;
    let names = std::fs::read_dir(folder(&authority)).unwrap();
    let left: Vec<String> =
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["closed"]);
    // The tree, and the state as the entries say it, hold; also after it was made again from them.
    authority.run(&["ledger", "verify"]);
    authority.stop();
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
    authority.run(&["ledger", "rebuild", "--write"]);
    authority.start_again();
    let ops = Operator { authority: &authority, token: authority.login("ops", 2).await.unwrap() };
    assert_eq!(findings(&ops).await, [""; 0]);
    // What comes back is found.
    std::fs::write(folder(&authority).join("0000000002.block"), b"x").unwrap();
    assert_eq!(findings(&ops).await, ["block 2: is still stored, though it was deleted"]);
    std::fs::remove_file(folder(&authority).join("closed")).unwrap();
    assert_eq!(findings(&ops).await.len(), 2);
}

#[tokio::test]
async fn two_people_delete_a_recording_and_what_is_left_verifies() {
    deleted_in_a_folder(None).await;
}

#[tokio::test]
async fn two_people_delete_a_recording_where_the_ledger_is_on_a_server() {
    deleted_in_a_folder(Some(Database::new())).await;
}

#[tokio::test]
async fn nothing_is_deleted_before_its_time_or_by_whose_session_it_was() {
    let authority = Authority::start();
    let ops = Operator::new(&authority, "ops", 2).await;
    let ana = Operator::new(&authority, "ana", 1).await;
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began())])).await;
    acknowledged(&mut frames).await;
    over(&authority, &host).await;
    refused(ops.ask(Class::Activity).await, Code::Conflict, "kept for good");
    authority.configure("[retention]\nactivity = \"36500d\"\n");
    refused(ops.ask(Class::Activity).await, Code::Conflict, "must be kept until");
    refused(
        ana.ask(Class::Activity).await,
        Code::Conflict,
        "nobody deletes what was recorded of their own",
    );
    refused(ops.ask(Class::Terminals).await, Code::Conflict, "kept for good");
    let due: Vec<wire::api::SessionView> = ops.read("/v1/retention/due?class=activity").await;
    assert_eq!(due, []);
    let ask = DeletionAsk { class: Class::Activity, sessions: Vec::new(), reason: "none".into() };
    let empty = authority.send::<DeletionView>("/v1/retention/deletions", Some(&ops.token), &ask);
    refused(empty.await, Code::Conflict, "names 1 to 500");
    let silent = HoldAsk { session: of().0, reason: String::new() };
    let silent = authority.send::<HoldView>("/v1/retention/holds", Some(&ops.token), &silent);
    assert_eq!(silent.await.unwrap_err().code, Code::Malformed);
}

#[tokio::test]
async fn what_ran_is_deleted_and_that_somebody_was_there_stays() {
    let authority = Authority::start_with(AT_ONCE, None);
    authority.add("ana", 1, &[]);
    let ops = Operator::new(&authority, "ops", 2).await;
    let eve = Operator::new(&authority, "eve", 4).await;
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began())])).await;
    acknowledged(&mut frames).await;
    over(&authority, &host).await;
    let find = SearchAsk { query: "exec:ls".into(), limit: 9, next: None };
    let found: SearchAnswer = authority.send("/v1/search", Some(&ops.token), &find).await.unwrap();
    assert_eq!(found.hits.len(), 1);
    let number = eve.ask(Class::Activity).await.unwrap().deletion;
    ops.decide(number, "approve").await.unwrap();
    ops.done(number).await;
    let found: SearchAnswer = authority.send("/v1/search", Some(&ops.token), &find).await.unwrap();
    assert_eq!(found.hits, []);
    let detail: SessionDetail = ops.read(&format!("/v1/sessions/{}", of().0)).await;
    assert_eq!(detail.records, [record(1, began()), past(3, ended())]);
    let [deleted] = detail.deleted.as_slice() else { panic!("{:?}", detail.deleted) };
    let body = serde_json::to_string(&past(2, exec())).unwrap();
    let digest = wire::log::Hash::of(format!("{body}\n").as_bytes());
    assert_eq!(deleted.what, Remains::Records { count: 1, digest });
    assert_eq!(deleted.by, ["eve", "ops"]);
    // What the host sends next has the next number all the same.
    let (_, welcome) = greeted(&authority, &host, 0).await;
    assert_eq!(welcome.last_record, 3);
    authority.run(&["ledger", "verify"]);
}
