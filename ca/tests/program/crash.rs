//! The authority, and the server of its database, killed again and again at random moments under load. What was answered is
//! there afterwards; what was signed has its entry; no number is given twice; the tree that a host has seen goes on.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what a test gets wrong here ends it"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use wire::api::OrderProgress;
use wire::certificate::Certificate;
use wire::hostlink::{ToAuthority, ToHost};
use wire::ledger::Line;
use wire::lock::{Lock, Target};
use wire::log::{Head, Policy, verify_consistency};

use crate::authority::{Authority, Host, TokenMade};
use crate::certificate::{ask, issue};
use crate::link::{ended, greeted, record};
use crate::postgres::{Database, Server};

/// What was answered before the authority died, and must be there ever after.
#[derive(Default)]
struct Answered {
    certificates: Vec<(u64, String)>,
    orders: BTreeSet<u64>,
    logins: Vec<String>,
    hosts: BTreeSet<String>,
    records: u64,
}

type Shared = Arc<Mutex<Answered>>;

/// What dies in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Node,
    Database,
    Both,
}

/// Those who keep it busy.
struct Site {
    authority: Authority,
    policy: Policy,
    host: Host,
    ana: String,
    ops: String,
    answered: Shared,
    /// What a host has seen of the tree last.
    seen: Head,
    state: u64,
}

impl Site {
    async fn open(database: Option<Database>) -> Self {
        let authority = Authority::start_on(database);
        authority.add("ana", 1, &[]);
        authority.add("ops", 2, &["--operator"]);
        let host = authority.host("db1").await;
        let ana = authority.login("ana", 1).await.unwrap();
        let ops = authority.login("ops", 2).await.unwrap();
        let policy = authority.log_policy().await;
        let answered = Shared::default();
        let state = u64::from(std::process::id()) | 1;
        Self { authority, policy, host, ana, ops, answered, seen: Head::empty(), state }
    }

    /// A number below `limit`, other ones in every run.
    fn draw(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit
    }

    /// Load, a kill in the middle of it, and everything again. Nobody who was cut off has an answer.
    async fn round(mut self, number: u64) -> Self {
        let (pause, victim) = (Duration::from_millis(self.draw(600)), self.victim());
        // Made before the load: each is one command.
        let token: Option<(String, TokenMade)> = number.is_multiple_of(16).then(|| {
            let name = format!("web{number}");
            let made = self.authority.token(&name, &["--label", "env=prod"]);
            (name, made)
        });
        let shared = Arc::new(self.authority);
        let host = Arc::new(self.host);
        let mut load = Vec::new();
        for _ in 0..6 {
            let (ana, answered) = (self.ana.clone(), Arc::clone(&self.answered));
            load.push(tokio::spawn(certificates(Arc::clone(&shared), ana, answered)));
        }
        let (ops, answered) = (self.ops.clone(), Arc::clone(&self.answered));
        load.push(tokio::spawn(locks(Arc::clone(&shared), (ops, number), answered)));
        load.push(tokio::spawn(logins(Arc::clone(&shared), Arc::clone(&self.answered))));
        let (linked, answered) = (Arc::clone(&host), Arc::clone(&self.answered));
        load.push(tokio::spawn(records(Arc::clone(&shared), linked, answered)));
        if let Some(token) = token {
            let answered = Arc::clone(&self.answered);
            load.push(tokio::spawn(enrolments(Arc::clone(&shared), token, answered)));
        }
        tokio::time::sleep(pause).await;
        let dying = Arc::clone(&shared);
        tokio::task::spawn_blocking(move || strike(&dying, victim)).await.unwrap();
        for task in load {
            // A node that outlives its database may answer yet; nobody listens any more.
            task.abort();
            drop(task.await);
        }
        let authority = Arc::into_inner(shared).unwrap();
        let host = Arc::into_inner(host).unwrap();
        if victim != Victim::Database {
            authority.start_again();
        }
        Self { authority, host, ..self }
    }

    /// The node alone where there is no server; otherwise half of the times the server too, or alone.
    fn victim(&mut self) -> Victim {
        let has_server = self.authority.database.is_some();
        match self.draw(4) {
            0 if has_server => Victim::Database,
            1 if has_server => Victim::Both,
            _ => Victim::Node,
        }
    }

    /// Waits until a node that was left without its database works again.
    async fn is_back(&self) {
        for _ in 0..600 {
            if self.authority.login("ana", 1).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the authority does not come back: {}", self.authority.log());
    }

    /// What a host asks when it is back: that the tree goes on, and up to which record it is known.
    async fn looks_back(&mut self) {
        let (mut frames, welcome) = greeted(&self.authority, &self.host, 0).await;
        let known = self.answered.lock().unwrap().records;
        assert!(welcome.last_record >= known, "{} after {known}", welcome.last_record);
        frames.send(&ToAuthority::Prove(vec![self.seen.size.max(1)])).await;
        loop {
            let ToHost::Checkpoint(shown) = frames.next().await.unwrap() else { continue };
            let attested = self.policy.attest(shown.checkpoint.clone()).unwrap();
            if self.seen.size > 0 {
                let path = shown.paths.iter().find(|path| path.size == self.seen.size).unwrap();
                verify_consistency(self.seen, attested.head(), &path.path).unwrap();
            }
            self.seen = attested.head();
            return;
        }
    }

    /// Everything that was ever answered, held against everything that is there.
    async fn reckons(&self) -> String {
        let verified = self.authority.run(&["ledger", "verify"]);
        assert!(verified.contains("the state is what the entries say"), "{verified}");
        let said = Said::read(&self.authority.run(&["ledger", "export"]));
        let answered = self.answered.lock().unwrap();
        for (serial, text) in &answered.certificates {
            assert!(said.serials.contains(serial), "no entry for serial {serial}");
            let certificate = Certificate::from_openssh(text).unwrap();
            assert_eq!(certificate.serial(), *serial);
            wire::ledger::certificate(&certificate, &self.policy).unwrap();
        }
        let serials: BTreeSet<u64> =
            answered.certificates.iter().map(|(serial, _)| *serial).collect();
        assert_eq!(serials.len(), answered.certificates.len(), "a serial was given twice");
        assert!(answered.orders.is_subset(&said.orders), "an order is lost");
        assert!(answered.hosts.is_subset(&said.hosts), "a host is lost");
        format!(
            "{} entries, {} certificates, {} orders, {} logins, {} records, {} hosts",
            said.entries,
            answered.certificates.len(),
            answered.orders.len(),
            answered.logins.len(),
            answered.records,
            answered.hosts.len()
        )
    }
}

/// What the ledger says, read from its export.
#[derive(Default)]
struct Said {
    entries: u64,
    serials: BTreeSet<u64>,
    orders: BTreeSet<u64>,
    hosts: BTreeSet<String>,
}

impl Said {
    fn read(export: &str) -> Self {
        let mut said = Self::default();
        for line in export.lines() {
            let Line::Entry(entry) = serde_json::from_str(line).unwrap() else { continue };
            said.entries += 1;
            let leaf: Value = serde_json::from_str(&entry.leaf).unwrap();
            let body: Value = serde_json::from_str(&entry.body.unwrap().text).unwrap();
            match leaf["kind"].as_str().unwrap() {
                "certificate" => {
                    assert!(said.serials.insert(body["serial"].as_u64().unwrap()), "twice: {body}");
                }
                "lock" | "unlock" | "trust" => {
                    assert!(said.orders.insert(body["order"].as_u64().unwrap()), "twice: {body}");
                }
                "host_enrolled" => {
                    said.hosts.insert(body["host"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
        said
    }
}

async fn certificates(authority: Arc<Authority>, token: String, answered: Shared) {
    while let Ok(reply) = issue(&authority, &token, &ask("db1")).await {
        let one = (reply.serial.number(), reply.certificate);
        answered.lock().unwrap().certificates.push(one);
    }
}

async fn locks(authority: Arc<Authority>, (token, number): (String, u64), answered: Shared) {
    for step in 0_u64.. {
        let grant = format!("g{}", 1_000_000 + number * 10_000 + step).parse().unwrap();
        let lock = Lock { target: Target::Grant(grant), reason: "crash".into(), until: None };
        let locked: Result<OrderProgress, _> =
            authority.send("/v1/locks", Some(&token), &lock).await;
        let Ok(progress) = locked else { return };
        answered.lock().unwrap().orders.insert(progress.order.number());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn logins(authority: Arc<Authority>, answered: Shared) {
    while let Ok(token) = authority.login("ana", 1).await {
        answered.lock().unwrap().logins.push(token);
    }
}

async fn records(authority: Arc<Authority>, host: Arc<Host>, answered: Shared) {
    let (mut frames, welcome) = greeted(&authority, &host, 0).await;
    let mut last = welcome.last_record;
    loop {
        let batch = (1..=5).map(|step| record(last + step, ended())).collect();
        frames.send(&ToAuthority::Records(batch)).await;
        loop {
            match frames.next().await {
                Some(ToHost::Acknowledged(number)) => {
                    last = number.number();
                    answered.lock().unwrap().records = last;
                    break;
                }
                Some(ToHost::Refused(problem)) => panic!("{problem}"),
                Some(_) => {}
                None => return,
            }
        }
    }
}

async fn enrolments(
    authority: Arc<Authority>,
    (name, made): (String, TokenMade),
    answered: Shared,
) {
    if authority.enrol(&made.token).await.is_ok() {
        answered.lock().unwrap().hosts.insert(name);
    }
}

/// Ends what is to end. A database that died is up again when this returns.
fn strike(authority: &Authority, victim: Victim) {
    let server = authority.database.as_ref().map(|database| Arc::clone(database.server()));
    match (victim, server) {
        (Victim::Database, Some(server)) => server.crash(),
        (Victim::Both, Some(server)) => {
            server.halt();
            authority.stop();
            server.resume();
        }
        _ => authority.stop(),
    }
}

async fn killed(times: u64, database: Option<Database>) {
    let mut site = Site::open(database).await;
    for number in 0..times {
        site = site.round(number).await;
        site.is_back().await;
        site.looks_back().await;
        if number.is_multiple_of(100) {
            site.reckons().await;
        }
    }
    // A login that was answered is worth something after every death.
    let last = site.answered.lock().unwrap().logins.last().cloned();
    if let Some(token) = last {
        issue(&site.authority, &token, &ask("db1")).await.unwrap();
    }
    let sum = site.reckons().await;
    assert!(!site.answered.lock().unwrap().certificates.is_empty(), "nobody was answered");
    println!("{times} kills: {sum}; nothing that was answered is lost");
}

/// How many kills a long run makes.
fn many() -> u64 {
    std::env::var("CURFEW_CRASH_KILLS").map_or(500, |kills| kills.parse().unwrap())
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_by_twenty_kills() {
    killed(20, None).await;
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_by_ten_kills_of_node_or_database() {
    killed(10, Some(Database::on(Server::start()))).await;
}

#[tokio::test]
#[ignore = "takes minutes: CURFEW_CRASH_KILLS=500 cargo test -p curfew-ca --test program -- --ignored --nocapture by_many_kills"]
async fn nothing_that_was_answered_is_lost_by_many_kills() {
    killed(many(), None).await;
}

#[tokio::test]
#[ignore = "takes minutes: CURFEW_CRASH_KILLS=500 cargo test -p curfew-ca --test program -- --ignored --nocapture by_many_kills"]
async fn nothing_that_was_answered_is_lost_by_many_kills_of_node_or_database() {
    killed(many(), Some(Database::on(Server::start()))).await;
}
