//! Receipts of custodians, joined with what hosts saw of break-glass.

use wire::breakglass::Use;
use wire::ceremony::{
    BreakGlass, CeremonyReviewAsk, CeremonyView, ReceiptAsk, ReceiptTaken, Standing,
};
use wire::hostlink::ToAuthority;
use wire::identifier::Serial;
use wire::incident::{Cause, IncidentView};
use wire::ledger::Page;
use wire::problem::Code;
use wire::record::{Event, Incident};
use wire::review::{Review, Verdict};
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::custodians::{Pair, used};
use crate::link::{acknowledged, greeted, record};
use crate::postgres::Database;

fn reported(used: Use) -> Event {
    Event::Incident(Box::new(Incident::BreakGlass(used)))
}

async fn state(authority: &Authority, token: &str) -> BreakGlass {
    authority.read("/v1/breakglass", token).await.unwrap()
}

async fn of(authority: &Authority, token: &str, serial: Serial) -> CeremonyView {
    let all = state(authority, token).await.ceremonies;
    all.into_iter().find(|one| one.name.serial == serial).unwrap()
}

/// Open incidents, and how many of them are for want of a receipt.
async fn open(authority: &Authority, token: &str) -> (usize, usize) {
    let all: Vec<IncidentView> = authority.read("/v1/incidents", token).await.unwrap();
    let bare = all.iter().filter(|one| matches!(one.cause, Cause::Unreceipted { .. })).count();
    (all.len(), bare)
}

/// An hour ago: what was signed then has ended.
fn before() -> Timestamp {
    Timestamp::from_secs(crate::issuer::now() - 3_600)
}

/// Forged ones and those of strangers are refused; good ones are taken once.
async fn takes_receipts(authority: &Authority, ops: &str, ours: &Pair, receipts: &[String]) {
    let send = async |receipt: &str| {
        let ask = ReceiptAsk { receipt: receipt.to_owned() };
        authority.send::<ReceiptTaken>("/v1/breakglass/receipts", Some(ops), &ask).await
    };
    let early = send(&receipts[0]).await.unwrap_err();
    assert_eq!((early.code, early.message.contains("not known here")), (Code::Denied, true));
    let file = authority.dir.path().join("group.txt");
    std::fs::write(&file, ours.group()).unwrap();
    let file = file.to_str().unwrap();
    authority.run(&["breakglass", "group", "add", file, "--reason", "the first"]);
    names_custodians(authority, file);
    let (_, twice) = authority.refuse(&["breakglass", "group", "add", file, "--reason", "again"]);
    assert!(twice.contains("known already"), "{twice}");
    let stranger = Pair::new().sign(before()).remove(0);
    assert_eq!(send(&stranger).await.unwrap_err().code, Code::Denied);
    let mut body = breakglass::letter::Letter::read(&receipts[0]).unwrap();
    *body.body.last_mut().unwrap() ^= 1;
    assert_eq!(send(&body.to_string()).await.unwrap_err().code, Code::Malformed);
    assert_eq!(send("CURFEW-1 RECEIPT\nEND 00 0").await.unwrap_err().code, Code::Malformed);
    for receipt in receipts {
        assert!(send(receipt).await.unwrap().is_new);
        assert!(!send(receipt).await.unwrap().is_new);
    }
}

/// Who custodians are is said once more, of a group that is known, and only what can be so is taken.
fn names_custodians(authority: &Authority, file: &str) {
    for (name, seed) in [("ann@example.com", 31), ("bob@example.com", 32)] {
        authority.add(name, seed, &[]);
    }
    let add = |people: &[&str]| -> Vec<String> {
        let mut line = vec!["breakglass", "group", "add", file, "--reason", "who they are"];
        people.iter().for_each(|one| line.extend(["--custodian", one]));
        line.into_iter().map(str::to_owned).collect()
    };
    let refuse = |people: &[&str]| {
        let line = add(people);
        authority.refuse(&line.iter().map(String::as_str).collect::<Vec<_>>()).1
    };
    assert!(refuse(&["ann"]).contains("write it as NAME=IDENTITY"));
    assert!(refuse(&["zoe=ann@example.com"]).contains("zoe is no custodian of this group"));
    assert!(
        refuse(&["ann=nobody@example.com"]).contains("there is no identity nobody@example.com")
    );
    assert!(refuse(&["ann=ann@example.com", "bob=ann@example.com"]).contains("two custodians"));
    let line = add(&["ann=ann@example.com", "bob=bob@example.com"]);
    authority.run(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let listed = authority.run(&["breakglass", "group", "list"]);
    assert!(listed.contains("2 of ann (ann@example.com),bob (bob@example.com)"), "{listed}");
    assert!(listed.contains("0 of 0 hosts believe it"), "{listed}");
}

async fn reconciles(database: Option<Database>) {
    let is_file = database.is_none();
    let authority = Authority::start_on(database);
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let ours = Pair::new();
    let (joined, unused, bare) = (ours.sign(before()), ours.sign(before()), ours.sign(before()));
    takes_receipts(&authority, &ops, &ours, &[joined.as_slice(), &unused[..1]].concat()).await;
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let uses = [used(&joined[0]), used(&bare[0])];
    let serials = uses.each_ref().map(|one| one.name.serial);
    let records = (1..).zip(uses).map(|(number, used)| record(number, reported(used))).collect();
    frames.send(&ToAuthority::Records(records)).await;
    acknowledged(&mut frames).await;
    assert_eq!(open(&authority, &ops).await, (2, 0));
    // Said twice, it is an incident once.
    let said = authority.run(&["breakglass", "reconcile"]);
    assert!(said.contains("1 incidents were opened") && said.contains("unreceipted"), "{said}");
    let said = authority.run(&["breakglass", "reconcile"]);
    assert!(!said.contains("were opened"), "{said}");
    assert_eq!(open(&authority, &ops).await, (3, 1));
    let standing = async |serial| of(&authority, &ops, serial).await.standing;
    assert_eq!(standing(serials[0]).await, Standing::Joined);
    assert_eq!(standing(used(&unused[0]).name.serial).await, Standing::Unused);
    let status = authority.run(&["status"]);
    assert!(status.contains("no receipt is here"), "{status}");
    reviews(&authority, &ops, (serials, &bare)).await;
    let page: Page = authority.read("/v1/entries?kind=breakglass_receipt", &ops).await.unwrap();
    assert_eq!(page.entries.len(), 4);
    if is_file {
        // The state is what the entries say.
        authority.run(&["ledger", "verify"]);
    }
}

/// Verdicts wait for receipts; `ok` settles what belongs to the ceremony, and nothing else.
async fn reviews(
    authority: &Authority,
    ops: &str,
    ([joined, bare], receipts): ([Serial; 2], &[String]),
) {
    let review = async |serial: Serial, verdict: Verdict| {
        let (note, reviewer) = ("looked into".into(), None);
        let ask = CeremonyReviewAsk { serial, verdict, note, reviewer };
        authority.send::<Review>("/v1/breakglass/reviews", Some(ops), &ask).await
    };
    let unknown = Serial::try_new(7).unwrap();
    assert_eq!(review(unknown, Verdict::Ok).await.unwrap_err().code, Code::NotFound);
    let early = review(bare, Verdict::Ok).await.unwrap_err();
    assert!(early.message.contains("receipts of its custodians first"), "{early}");
    review(joined, Verdict::Ok).await.unwrap();
    assert_eq!(open(authority, ops).await, (2, 1));
    assert!(of(authority, ops, joined).await.review.is_some());
    // A receipt that comes late; beside it one that is none, which keeps nobody from entering the good one.
    let (good, bad) = (authority.dir.path().join("late.txt"), authority.dir.path().join("bad.txt"));
    std::fs::write(&good, format!("Hello,\n\n{}\nYours", receipts[0])).unwrap();
    std::fs::write(&bad, "no receipt").unwrap();
    let paths = [bad.to_str().unwrap(), good.to_str().unwrap()];
    let (_, complaint) = authority.refuse(&["breakglass", "reconcile", paths[0], paths[1]]);
    assert!(complaint.contains("bad.txt") && !complaint.contains("late.txt"), "{complaint}");
    assert_eq!(of(authority, ops, bare).await.standing, Standing::Joined);
    let serial = bare.to_string();
    let review = |reviewer: &'static str| {
        let note = "the receipt was late";
        let line = ["breakglass", "review", &serial, "--verdict", "ok", "--note", note];
        [&line[..], &["--reviewer", reviewer]].concat()
    };
    let (_, own) = authority.refuse(&review("bob@example.com"));
    assert!(own.contains("bob@example.com signed it as bob, and cannot review it"), "{own}");
    authority.run(&review("ops"));
    assert_eq!(open(authority, ops).await, (0, 0));
    let key = state(authority, ops).await.groups.remove(0).said.key.to_string();
    authority.run(&["breakglass", "group", "retire", &key, "--reason", "rotated"]);
    assert!(authority.run(&["breakglass", "status"]).contains("retired at"));
    authority.refuse(&["breakglass", "group", "retire", &key, "--reason", "again"]);
}

#[tokio::test]
async fn receipts_join_with_uses_and_a_use_without_one_is_an_incident_once() {
    reconciles(None).await;
}

#[tokio::test]
async fn the_same_receipts_on_a_server() {
    reconciles(Some(Database::new())).await;
}
