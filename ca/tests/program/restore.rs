//! Backups: made while the authority serves, put back, declared to hosts.
#![expect(clippy::arithmetic_side_effects, reason = "what a test gets wrong here ends it")]

use std::os::unix::fs::PermissionsExt as _;

use wire::api::{OrderProgress, UnlockAsk};
use wire::certificate::Certificate;
use wire::hostlink::{Hello, ToAuthority, ToHost};
use wire::identifier::RecordNumber;
use wire::incident::IncidentView;
use wire::lock::{Lock, Target};
use wire::log::{Era, Note, Restore};
use wire::order::{Instruction, Order};
use wire::problem::Code;
use wire::record::{Abandoned, Event, Incident, KeptLock};

use crate::authority::{Authority, Frames, Host, run};
use crate::certificate::ask;
use crate::link::{hello, record};
use crate::postgres::Database;

/// What `restore --json` says.
#[derive(serde::Deserialize)]
struct Restored {
    era: u64,
    first_order: u64,
    entries: u64,
    locks: usize,
}

/// An authority that was put back from a backup, on another database if it has one; what it was is in `abandoned` beside it.
fn put_back(authority: &mut Authority, backup: &str) -> Restored {
    authority.stop();
    if authority.database.is_some() {
        authority.settle_on(Some(Database::new()));
    }
    put_back_there(authority, (backup, &[]))
}

/// The same of one that is stopped, where its settings say.
fn put_back_there(authority: &Authority, (backup, more): (&str, &[&str])) -> Restored {
    let state = authority.dir.path().join("state");
    let abandoned = authority.dir.path().join("abandoned");
    std::fs::rename(&state, &abandoned).unwrap();
    let keys = abandoned.display().to_string();
    let restore = ["restore", backup, "--keys", &keys, "--reason", "the disk died", "--json"];
    let said = authority.run(&[&restore, more].concat());
    authority.start_again();
    serde_json::from_str(&said).unwrap()
}

fn back_up(authority: &Authority, name: &str) -> String {
    let to = authority.dir.path().join(name).display().to_string();
    authority.run(&["backup", "--to", &to]);
    to
}

/// A certificate for ana, who logs in for it; its serial.
async fn issued(authority: &Authority) -> u64 {
    let token = authority.login("ana", 1).await.unwrap();
    let reply = crate::certificate::issue(authority, &token, &ask("db1")).await.unwrap();
    Certificate::from_openssh(&reply.certificate).unwrap().serial()
}

/// Locks as an operator, who does not wait for hosts.
async fn lock(authority: &Authority, target: Target, reason: &str) {
    let token = authority.login("ops", 2).await.unwrap();
    let lock = Lock { target, reason: reason.into(), until: None };
    let _progress: OrderProgress = authority.send("/v1/locks", Some(&token), &lock).await.unwrap();
}

fn ana() -> Target {
    Target::Identity("ana".parse().unwrap())
}

/// Says hello as a host that knows of eras.
async fn greet(authority: &Authority, host: &Host, last_order: u64, era: Era) -> Frames {
    let mut frames = authority.link(Some(host)).await;
    let ToAuthority::Hello(said) = hello(last_order) else { unreachable!() };
    frames.send(&ToAuthority::Hello(Hello { era: Some(era), ..said })).await;
    frames
}

async fn next_order(frames: &mut Frames, host: &Host) -> Order {
    loop {
        match frames.next().await.unwrap() {
            ToHost::Order(signed) => {
                return signed.verify_any(&host.enrolled.trust.order_keys().unwrap()).unwrap();
            }
            ToHost::Refused(problem) => panic!("{problem}"),
            _ => {}
        }
    }
}

fn declared(order: &Order, host: &Host) -> Restore {
    let Instruction::Restored(declared) = &order.instruction else { panic!("{order:?}") };
    let logs: Vec<_> =
        host.enrolled.trust.log_keys.iter().map(|key| key.parse().unwrap()).collect();
    declared.believe(&logs).unwrap()
}

#[tokio::test]
async fn a_backup_is_put_back_in_a_new_era_and_declared() {
    goes_on_in_a_new_era(Authority::start_on(None)).await;
}

#[tokio::test]
async fn a_ledger_on_a_server_is_backed_up_and_put_back_on_another() {
    goes_on_in_a_new_era(Authority::start_on(Some(Database::new()))).await;
}

async fn goes_on_in_a_new_era(mut authority: Authority) {
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let host = authority.host("db1").await;
    let before = issued(&authority).await;
    lock(&authority, Target::Grant("g77".parse().unwrap()), "before the backup").await;
    let backup = back_up(&authority, "backup.tar");
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    // What is lost: a certificate, a lock, a token that is used up.
    let lost = issued(&authority).await;
    lock(&authority, Target::Grant("g78".parse().unwrap()), "after the backup").await;

    let restored = put_back(&mut authority, &backup);
    assert_eq!((restored.first_order, restored.locks), ((restored.era << 20) + 1, 1));
    assert!(authority.run(&["ledger", "verify"]).contains("the state is what the entries say"));
    authority.run(&["ledger", "rebuild"]);

    // Logins of before are over; serials go on above every one that was given.
    assert_eq!((before, lost), (1, 2));
    assert_eq!(issued(&authority).await, (restored.era << 20) + 1);

    // A host that has more orders than the backup is told, then told the locks again.
    let mut frames = greet(&authority, &host, 2, Era::FIRST).await;
    let order = next_order(&mut frames, &host).await;
    assert_eq!(order.number.number(), restored.first_order);
    let said = declared(&order, &host);
    assert_eq!((said.statement().last_order, said.statement().cut.size), (1, restored.entries));
    assert_eq!(said.statement().reason, "the disk died");
    let again = next_order(&mut frames, &host).await;
    assert_eq!(again.number.number(), restored.first_order + 1);
    assert!(
        matches!(again.instruction, Instruction::Lock(lock) if lock.target.to_string().contains("g77"))
    );

    // A new host hears of it when it joins, and of no order twice.
    let joined = authority.host("db2").await;
    assert_eq!(joined.enrolled.trust.restores.len(), 1);
    assert_eq!(joined.enrolled.trust.orders_from, restored.first_order + 1);
}

#[tokio::test]
async fn what_hosts_had_seen_beyond_the_backup_is_an_incident_and_their_locks_are_named() {
    let mut authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let host = authority.host("db1").await;
    let (mut frames, _) = crate::link::greeted(&authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, crate::link::ended())])).await;
    assert_eq!(crate::link::acknowledged(&mut frames).await, 1);
    let backup = back_up(&authority, "backup.tar");
    let more = (2..=5).map(|number| record(number, crate::link::ended())).collect();
    frames.send(&ToAuthority::Records(more)).await;
    assert_eq!(crate::link::acknowledged(&mut frames).await, 5);
    lock(&authority, ana(), "stolen laptop").await;
    let lost = authority.fetch("/checkpoint").await.unwrap();
    let lost: Note = std::str::from_utf8(&lost).unwrap().parse().unwrap();

    let restored = put_back(&mut authority, &backup);
    let era = Era::try_from(restored.era).unwrap();
    let mut frames = greet(&authority, &host, 1, Era::FIRST).await;
    let order = next_order(&mut frames, &host).await;
    let cut = declared(&order, &host).cut().clone();

    // It has let go of records 2 to 4; 5 is still there, and its own incident follows.
    let mut frames = greet(&authority, &host, restored.first_order, era).await;
    assert!(matches!(frames.next().await, Some(ToHost::Welcome(_))));
    frames.send(&ToAuthority::Gone(RecordNumber::try_new(4).unwrap())).await;
    assert_eq!(crate::link::acknowledged(&mut frames).await, 4);
    let stolen = Lock { target: ana(), reason: "stolen laptop".into(), until: None };
    let kept = KeptLock { lock: stolen, order: "1".parse().unwrap() };
    let (locks, known) = (vec![kept], Some(lost));
    let abandoned = Abandoned { era, cut, known, unshown: 0, locks, more: 0 };
    let incident = Event::Incident(Box::new(Incident::Restored(abandoned)));
    frames
        .send(&ToAuthority::Records(vec![record(5, crate::link::ended()), record(6, incident)]))
        .await;
    assert_eq!(crate::link::acknowledged(&mut frames).await, 6);

    let listed = authority.run(&["incident", "list"]);
    assert!(listed.contains("declared restore: the ledger was put back to"), "{listed}");
    assert!(listed.contains("records 2 to 4 are lost"), "{listed}");
    let incidents: Vec<IncidentView> =
        serde_json::from_str(&authority.run(&["incident", "list", "--json"])).unwrap();
    assert_eq!(incidents.len(), 2);
    let status = authority.run(&["status"]);
    assert!(status.contains("host db1 keeps a lock on identity ana (stolen laptop)"), "{status}");
    authority.run(&["ledger", "verify"]);
    // The operator lifts what this ledger never ordered, and the host is told.
    let token = authority.login("ops", 2).await.unwrap();
    let ask = UnlockAsk { target: ana(), reason: "found".into() };
    let _progress: OrderProgress = authority.send("/v1/unlocks", Some(&token), &ask).await.unwrap();
    let lifted = loop {
        let order = next_order(&mut frames, &host).await;
        if matches!(order.instruction, Instruction::Unlock(_)) {
            break order;
        }
    };
    assert_eq!(lifted.number.number(), restored.first_order + 1);
    assert!(!authority.run(&["status"]).contains("keeps a lock"));
    authority.run(&["ledger", "verify"]);
    let again = authority.refuse(&["unlock", "identity", "ana", "--reason", "found"]);
    assert!(again.1.contains("is not locked"), "{again:?}");
}

#[tokio::test]
async fn a_copy_of_the_files_is_no_restore_and_a_host_that_is_ahead_is_refused() {
    let authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let host = authority.host("db1").await;
    authority.stop();
    let dir = authority.dir.path().to_owned();
    let path = |name: &str| dir.join(name);
    std::fs::create_dir(path("copy")).unwrap();
    for entry in std::fs::read_dir(path("state")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), path("copy").join(entry.file_name())).unwrap();
    }
    authority.start_again();
    lock(&authority, ana(), "test").await;
    authority.stop();
    std::fs::rename(path("state"), path("abandoned")).unwrap();
    std::fs::rename(path("copy"), path("state")).unwrap();
    authority.start_again();
    let mut frames = greet(&authority, &host, 1, Era::FIRST).await;
    match frames.next().await.unwrap() {
        ToHost::Refused(problem) => {
            assert_eq!(problem.code, Code::Conflict);
            assert!(problem.message.contains("curfew-ca restore"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_restores_of_one_backup_never_give_a_number_twice() {
    let mut authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let backup = back_up(&authority, "backup.tar");
    let first = put_back(&mut authority, &backup);
    let one = issued(&authority).await;
    std::fs::rename(
        authority.dir.path().join("abandoned"),
        authority.dir.path().join("abandoned.first"),
    )
    .unwrap();
    // At once: a restore waits until its second is another than that of any before.
    let second = put_back(&mut authority, &backup);
    assert!(second.era > first.era);
    let two = issued(&authority).await;
    assert!(two > one, "{two} after {one}");
    // A host that followed the first is told of the second.
    let era = Era::try_from(first.era).unwrap();
    let mut frames = greet(&authority, &host, first.first_order, era).await;
    let order = next_order(&mut frames, &host).await;
    assert_eq!(declared(&order, &host).statement().era.number(), second.era);
}

#[test]
fn a_restore_overwrites_nothing_and_says_what_is_missing() {
    let authority = Authority::start_on(None);
    let backup = back_up(&authority, "backup.tar");
    let (_, living) = authority.refuse(&["restore", &backup]);
    assert!(living.contains("stop it first"), "{living}");
    authority.stop();
    let (_, full) = authority.refuse(&["restore", &backup]);
    assert!(full.contains("is not empty"), "{full}");
    let to = authority.dir.path().join("new").display().to_string();
    let (_, keys) = authority.refuse(&["restore", &backup, "--to", &to]);
    assert!(keys.contains("root_key.pem") && keys.contains("--keys"), "{keys}");
    assert!(!authority.dir.path().join("new.restoring").exists());
    assert!(authority.run(&["restore", &backup, "--check"]).contains("every hash holds"));
    // Any byte of the ledger in it.
    let mut bytes = std::fs::read(&backup).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&backup, bytes).unwrap();
    let (_, changed) = authority.refuse(&["restore", &backup, "--check"]);
    assert!(changed.contains("changed or is damaged"), "{changed}");
    std::fs::write(&backup, b"no backup").unwrap();
    authority.refuse(&["restore", &backup, "--check"]);
    let again = run(authority.dir.path(), &["backup", "--to", &backup]);
    assert!(!again.status.success());
}

#[tokio::test]
async fn a_server_that_has_a_ledger_keeps_it_and_a_rehearsal_needs_no_server() {
    let authority = Authority::start_on(Some(Database::new()));
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let secret = authority.database.as_ref().unwrap().ask("SELECT name FROM ledger.shared");
    assert_eq!(secret, "challenges");
    let backup = back_up(&authority, "backup.tar");
    authority.stop();
    let dir = authority.dir.path();
    let (keys, new) = (dir.join("state").display().to_string(), dir.join("new"));
    let restore = ["restore", &backup, "--keys", &keys, "--to", &new.display().to_string()];
    let (_, complaint) = authority.refuse(&restore);
    assert!(
        complaint.contains("exists already") && complaint.contains("--into-file"),
        "{complaint}"
    );
    assert!(!new.exists() && !dir.join("new.restoring").exists());
    let said = authority.run(&[&restore[..], &["--into-file"]].concat());
    assert!(said.contains("is a file in that folder"), "{said}");
    // What nodes share while they serve is no part of a backup.
    let file = new.join("ledger.db");
    let held = rusqlite::Connection::open(&file).unwrap();
    let shared: u64 = held.query_row("SELECT count(*) FROM shared", [], |row| row.get(0)).unwrap();
    assert_eq!(shared, 0);
    // And the other way: what was put back from a server's backup serves from the file.
    let mut authority = authority;
    authority.settle_on(None);
    let restored = put_back_there(&authority, (&backup, &[]));
    assert_eq!(issued(&authority).await, (restored.era << 20) + 1);
    assert!(authority.run(&["ledger", "verify"]).contains("hold"));
}

#[tokio::test]
async fn policies_are_in_a_backup_and_come_back_where_none_are() {
    let mut authority = Authority::start();
    let folder = authority.dir.path().join("policy");
    let held = || std::fs::read_to_string(folder.join("all.cedar")).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let policy = authority.run(&["policy", "default"]);
    std::fs::write(folder.join("all.cedar"), &policy).unwrap();
    std::fs::write(folder.join(".all.cedar.swp"), "half").unwrap();
    std::fs::write(folder.join("notes.txt"), "not ours").unwrap();
    let backup = back_up(&authority, "backup.tar");
    assert!(authority.run(&["restore", &backup, "--check"]).contains("policy/all.cedar"));
    authority.stop();

    // What is there stays.
    std::fs::write(folder.join("all.cedar"), "// newer\n").unwrap();
    let to = authority.dir.path().join("rehearsed").display().to_string();
    let keys = authority.dir.path().join("state").display().to_string();
    authority.run(&["restore", &backup, "--to", &to, "--keys", &keys, "--into-file"]);
    assert_eq!(held(), "// newer\n");

    // Where nothing is, they come back, for the authority's user to read, and nothing else does.
    std::fs::remove_dir_all(&folder).unwrap();
    put_back(&mut authority, &backup);
    assert_eq!(held(), policy);
    let mode = std::fs::metadata(folder.join("all.cedar")).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    authority.run(&["policy", "check"]);

    // A name that a backup cannot hold is named, and no backup is made.
    std::fs::write(folder.join("the rules.cedar"), &policy).unwrap();
    let again = authority.dir.path().join("again.tar").display().to_string();
    let (_, complaint) = authority.refuse(&["backup", "--to", &again]);
    assert!(
        complaint.contains("the rules.cedar") && complaint.contains("rename it"),
        "{complaint}"
    );
    assert!(!std::path::Path::new(&again).exists());
}
