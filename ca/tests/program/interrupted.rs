//! Backups, restores and moves that are killed in the middle: what is there afterwards is whole or nothing, and the same
//! command begun again gets it done.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "what a test gets wrong here ends it, and a long run says what it did"
)]

use std::path::Path;
use std::time::Duration;

use crate::authority::{Authority, spawn};
use crate::certificate::{ask, issue};
use crate::postgres::Database;

/// Moments that differ from run to run.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        Self(u64::from(std::process::id()) | 1)
    }

    fn next(&mut self, limit: u64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % limit)
    }
}

/// Begins a command and kills it so much later; says whether it was killed before its end.
async fn killed(dir: &Path, arguments: &[&str], after: Duration) -> bool {
    let mut child = spawn(dir, arguments);
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// An authority with a person, a host, and some certificates.
async fn furnished(database: Option<Database>) -> Authority {
    let authority = Authority::start_on(database);
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    for _ in 0..20 {
        issue(&authority, &token, &ask("db1")).await.unwrap();
    }
    authority
}

/// It serves, and the next certificate has a higher number than any before.
async fn serves_above(authority: &Authority, serial: u64) -> u64 {
    let token = authority.login("ana", 1).await.unwrap();
    let reply = issue(authority, &token, &ask("db1")).await.unwrap();
    assert!(reply.serial.number() > serial, "{} after {serial}", reply.serial);
    assert!(authority.run(&["ledger", "verify"]).contains("the state is what the entries say"));
    reply.serial.number()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// How often each is killed.
fn times() -> u64 {
    std::env::var("CURFEW_CRASH_KILLS").map_or(8, |kills| kills.parse().unwrap())
}

async fn backups_are_whole_or_not_there(database: Option<Database>) {
    let authority = furnished(database).await;
    let folder = authority.dir.path().join("backups");
    std::fs::create_dir(&folder).unwrap();
    let (mut moments, mut broken) = (Moments::new(), 0_u64);
    for number in 0..times() {
        let to = folder.join(format!("{number}.tar"));
        let name = to.display().to_string();
        let after = if number == 0 { Duration::ZERO } else { moments.next(500) };
        broken += u64::from(killed(authority.dir.path(), &["backup", "--to", &name], after).await);
        if to.exists() {
            assert!(authority.run(&["restore", &name, "--check"]).contains("every hash holds"));
        }
    }
    // The next one tidies up after those that could not.
    let last = folder.join("last.tar").display().to_string();
    authority.run(&["backup", "--to", &last]);
    assert!(authority.run(&["restore", &last, "--check"]).contains("every hash holds"));
    let left = names(&folder);
    assert!(
        left.iter().all(|name| Path::new(name).extension().is_some_and(|is| is == "tar")),
        "{left:?}"
    );
    println!("{broken} of {} backups were broken off, {} are whole", times(), left.len());
    assert!(broken > 0);
    serves_above(&authority, 20).await;
}

async fn restores_are_whole_or_begun_again(database: Option<Database>) {
    let mut authority = furnished(database).await;
    let dir = authority.dir.path().to_owned();
    let path = |name: &str| dir.join(name);
    let (backup, keys) =
        (path("backup.tar").display().to_string(), path("former").display().to_string());
    authority.run(&["backup", "--to", &backup]);
    authority.stop();
    std::fs::rename(path("state"), path("former")).unwrap();
    let is_shared = authority.database.is_some();
    let fresh = |authority: &mut Authority| {
        authority.settle_on(is_shared.then(Database::new));
    };
    fresh(&mut authority);
    let restore = ["restore", &backup, "--keys", &keys];
    let (mut moments, mut broken, mut serial) = (Moments::new(), 0_u64, 20);
    for number in 0..times() {
        let after = if number == 0 { Duration::ZERO } else { moments.next(2_000) };
        broken += u64::from(killed(&dir, &restore, after).await);
        if !path("state").exists() {
            continue;
        }
        // In its place, with its keys: it serves, or says that it was broken off.
        if verified(&dir) {
            authority.start_again();
            serial = serves_above(&authority, serial).await;
            authority.stop();
            fresh(&mut authority);
        } else {
            let (_, complaint) = authority.refuse(&["serve"]);
            assert!(is_shared && complaint.contains("is not whole"), "{complaint}");
        }
        std::fs::remove_dir_all(path("state")).unwrap();
    }
    authority.run(&restore);
    authority.start_again();
    serves_above(&authority, serial).await;
    assert!(!path("state.restoring").exists());
    println!("{broken} of {} restores were broken off", times());
    assert!(broken > 0);
}

fn verified(dir: &Path) -> bool {
    crate::authority::run(dir, &["ledger", "verify"]).status.success()
}

#[tokio::test]
async fn a_backup_that_is_killed_is_whole_or_not_there() {
    backups_are_whole_or_not_there(None).await;
}

#[tokio::test]
async fn a_backup_from_a_server_that_is_killed_is_whole_or_not_there() {
    backups_are_whole_or_not_there(Some(Database::new())).await;
}

#[tokio::test]
async fn a_restore_that_is_killed_is_whole_or_begun_again() {
    restores_are_whole_or_begun_again(None).await;
}

#[tokio::test]
async fn a_restore_to_a_server_that_is_killed_is_whole_or_begun_again() {
    restores_are_whole_or_begun_again(Some(Database::new())).await;
}

#[tokio::test]
async fn a_move_that_is_killed_leaves_one_ledger_and_is_finished_by_the_next() {
    let mut authority = furnished(None).await;
    let dir = authority.dir.path().to_owned();
    let database = Database::new();
    let url = database.url();
    let migrate = ["migrate", "--to", &url];
    authority.stop();
    let (mut moments, mut broken) = (Moments::new(), 0_u64);
    let mut is_marked = false;
    for number in 0..times() {
        let after = if number == 0 { Duration::ZERO } else { moments.next(2_000) };
        broken += u64::from(killed(&dir, &migrate, after).await);
        let said = crate::authority::run(&dir, &["ledger", "rebuild"]);
        let said = String::from_utf8(said.stderr).unwrap();
        // The file counts, or says where it went; what is on the server is then whole, or finished by the same command.
        is_marked = said.contains("was moved to postgres://");
        if is_marked {
            break;
        }
        assert!(verified(&dir), "{said}");
    }
    let last = crate::authority::run(&dir, &migrate);
    let said = String::from_utf8([last.stdout, last.stderr].concat()).unwrap();
    let is_done = said.contains("[ledger]") || (is_marked && said.contains("was moved to"));
    assert!(is_done, "{said}");
    println!("{broken} moves were broken off; marked before the last: {is_marked}");
    authority.settle_on(Some(database));
    authority.start_again();
    assert_eq!(serves_above(&authority, 20).await, 21);
}
