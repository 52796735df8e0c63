//! Several authorities on one ledger, and a ledger that moves from its file to a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wire::api::{HostView, OrderProgress, UnlockAsk};
use wire::certificate::Certificate;
use wire::hostlink::{ToAuthority, ToHost};
use wire::lock::{Lock, Target};
use wire::log::{EXTENSION, Evidence};
use wire::problem::{Code, Problem};
use wire::record::Receipt;

use crate::authority::Authority;
use crate::certificate::{ask, issue};
use crate::link::greeted;
use crate::postgres::{Database, Server};

/// An authority with two people, an operator and a host, with its ledger on a server.
async fn furnished(database: Database) -> Authority {
    let authority = Authority::start_on(Some(database));
    authority.add("ana", 1, &[]);
    authority.add("bob", 2, &[]);
    authority.add("ops", 3, &["--operator"]);
    let _host = authority.host("db1").await;
    authority
}

/// The entry of a certificate.
fn seq(certificate: &str) -> u64 {
    let certificate = Certificate::from_openssh(certificate).unwrap();
    let evidence = certificate.extensions().text(EXTENSION).unwrap().unwrap();
    let evidence: Evidence = std::str::from_utf8(evidence).unwrap().parse().unwrap();
    evidence.leaf().seq
}

#[expect(clippy::disallowed_methods, reason = "a test measures how long others take")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until it is so.
pub(crate) async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let began = now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "it is still not so");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lock_on(name: &str) -> Lock {
    Lock { target: Target::Identity(name.parse().unwrap()), reason: "test".into(), until: None }
}

#[tokio::test]
async fn what_one_node_decides_every_other_knows_at_once() {
    let first = furnished(Database::new()).await;
    let host = {
        let made = first.token("db2", &["--label", "env=prod"]);
        first.enrol(&made.token).await.unwrap()
    };
    let second = first.join();
    // A login at one is a login at the other, and a challenge is answered once among all.
    let token = first.login("ana", 1).await.unwrap();
    let answer = first.answer("ana", 1).await;
    let at_second: Result<wire::api::Token, _> = second.send("/v1/login", None, &answer).await;
    assert!(at_second.is_ok(), "{at_second:?}");
    let again: Result<wire::api::Token, Problem> = first.send("/v1/login", None, &answer).await;
    assert_eq!(again.unwrap_err().code, Code::Unauthenticated);
    for due in 1..=4 {
        let node = if due % 2 == 0 { &first } else { &second };
        let reply = issue(node, &token, &ask("db1")).await.unwrap();
        assert_eq!((reply.serial.number(), reply.grant.number()), (due, 1));
    }
    // An order of one reaches the host that is connected to the other, and its receipt comes back.
    let (mut frames, _) = greeted(&second, &host, 0).await;
    let ops = first.login("ops", 3).await.unwrap();
    let began = now();
    let lock = lock_on("ana");
    let ordered: OrderProgress = first.send("/v1/locks", Some(&ops), &lock).await.unwrap();
    let ToHost::Order(_) = frames.next().await.unwrap() else { panic!("no order") };
    assert!(began.elapsed() < Duration::from_millis(900), "it was polled for, not heard of");
    assert!(!ordered.complete, "the host of the other node was forgotten: {ordered:?}");
    let (order, path) = (ordered.order, format!("/v1/orders/{}", ordered.order));
    let receipt = Receipt {
        order,
        sessions: 0,
        killed: 0,
        survivors: 0,
        took_micros: 1,
        done: true,
        kills: 0,
    };
    frames.send(&ToAuthority::Receipt(receipt)).await;
    eventually(async || {
        let told: OrderProgress = first.read(&path, &ops).await.unwrap();
        told.complete && told.hosts.iter().any(|host| host.connected && host.receipt.is_some())
    })
    .await;
    assert_eq!(issue(&second, &token, &ask("db1")).await.unwrap_err().code, Code::Denied);
    let hosts: Vec<HostView> = first.read("/v1/hosts", &ops).await.unwrap();
    assert!(hosts.iter().any(|host| host.name.as_str() == "db2" && host.connected));
    // A host that is removed at one node loses its connection to the other.
    first.run(&["host", "remove", "db2"]);
    eventually(async || {
        tokio::time::timeout(Duration::from_millis(50), frames.next())
            .await
            .is_ok_and(|frame| frame.is_none())
    })
    .await;
    eventually(async || first.fetch("/checkpoint").await == second.fetch("/checkpoint").await)
        .await;
    assert!(second.run(&["ledger", "verify"]).contains("hold"));
    assert!(first.run(&["ledger", "rebuild"]).contains("identical"));
}

#[tokio::test]
async fn a_node_with_other_roles_decides_nothing_by_them() {
    let first = furnished(Database::new()).await;
    let second = first.join();
    let token = first.login("ana", 1).await.unwrap();
    let path = first.dir.path().join("roles.toml");
    let roles = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, roles.replace("\"ana\", \"bob\"", "\"bob\"")).unwrap();
    eventually(async || issue(&first, &token, &ask("db1")).await.is_err()).await;
    let refused = issue(&second, &token, &ask("db1")).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.message.contains("roles file"), "{}", refused.message);
    std::fs::copy(&path, second.dir.path().join("roles.toml")).unwrap();
    eventually(async || {
        issue(&second, &token, &ask("db1")).await.is_err_and(|no| no.code == Code::Denied)
    })
    .await;
}

#[tokio::test]
async fn without_its_database_nothing_is_issued_and_with_it_again_everything_is() {
    let database = Database::on(Server::start());
    let authority = furnished(database.clone()).await;
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    // Cut connections are made again without anybody being told.
    database.cut();
    eventually(async || issue(&authority, &token, &ask("db1")).await.is_ok()).await;
    database.server().halt();
    let refused = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy, "{}", refused.message);
    assert!(refused.message.contains("cannot be reached"), "{}", refused.message);
    database.server().resume();
    eventually(async || issue(&authority, &token, &ask("db1")).await.is_ok()).await;
    assert!(authority.run(&["ledger", "verify"]).contains("hold"));
}

#[tokio::test]
async fn a_database_that_was_put_back_or_forked_is_not_continued() {
    let database = Database::new();
    let authority = furnished(database.clone()).await;
    let token = authority.login("ana", 1).await.unwrap();
    let former = authority.fetch("/checkpoint").await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    // As an older copy of the database would have it.
    let size = std::str::from_utf8(&former).unwrap().lines().nth(1).unwrap().to_owned();
    for (table, column) in [("checkpoints", "size"), ("bodies", "seq"), ("entries", "seq")] {
        database.ask(&format!("DELETE FROM ledger.{table} WHERE {column} > {size}"));
    }
    let refused = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert!(refused.message.contains("put back to an older state"), "{}", refused.message);
}

#[tokio::test]
async fn a_ledger_moves_to_a_server_whole_and_its_file_is_closed() {
    let authority = Authority::start_on(None);
    authority.add("ana", 1, &[]);
    authority.add("ops", 3, &["--operator"]);
    let host = authority.host("db1").await;
    let (ana, ops) =
        (authority.login("ana", 1).await.unwrap(), authority.login("ops", 3).await.unwrap());
    assert_eq!(issue(&authority, &ana, &ask("db1")).await.unwrap().serial.number(), 1);
    let lock = lock_on("bob");
    let _: OrderProgress = authority.send("/v1/locks", Some(&ops), &lock).await.unwrap();
    let database = Database::new();
    let migrate = ["migrate", "--to", &database.url()];
    let (_, complaint) = authority.refuse(&migrate);
    assert!(complaint.contains("an authority is serving"), "{complaint}");
    authority.stop();
    let moved = authority.run(&migrate);
    assert!(moved.contains("certificates: 1 rows") && moved.contains("[ledger]"), "{moved}");
    // The file says where the ledger went, to whoever would serve or move it again.
    for command in [&["serve"][..], &migrate, &["ledger", "rebuild"]] {
        let (_, complaint) = authority.refuse(command);
        assert!(complaint.contains("was moved to postgres://"), "{command:?}: {complaint}");
    }
    let path = authority.dir.path().join("ca.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}ledger = {{ url = {:?} }}\n", database.url())).unwrap();
    authority.start_again();
    // Everything goes on: logins, serials, the host's connection and the orders that it has.
    assert_eq!(issue(&authority, &ana, &ask("db1")).await.unwrap().serial.number(), 2);
    let (_frames, welcome) = greeted(&authority, &host, 1).await;
    assert_eq!(welcome.newest_order, 1);
    assert!(authority.run(&["ledger", "verify"]).contains("hold"));
    assert!(authority.run(&["ledger", "rebuild"]).contains("identical"));
    let elsewhere = Authority::start_on(None);
    elsewhere.stop();
    let (_, complaint) = elsewhere.refuse(&migrate);
    assert!(complaint.contains("exists already"), "{complaint}");
    elsewhere.start_again();
}

/// What a client was told, and when.
struct Acknowledged {
    asked: Instant,
    told: Instant,
    serial: u64,
    seq: u64,
}

/// Three nodes, people who ask any of them, and everything dies in turn.
struct Cluster {
    nodes: Vec<Authority>,
    database: Database,
    turn: AtomicUsize,
    is_over: AtomicBool,
}

impl Cluster {
    fn any(&self) -> &Authority {
        self.node(self.turn.fetch_add(1, Ordering::Relaxed))
    }

    fn node(&self, turn: usize) -> &Authority {
        self.nodes.iter().cycle().nth(turn.rem_euclid(self.nodes.len())).unwrap()
    }

    /// One request at any node; nothing when nobody answered, or not with a yes or a denial.
    async fn ask_once(self: &Arc<Self>, token: &str) -> Option<Result<Acknowledged, Problem>> {
        let (cluster, token) = (Arc::clone(self), token.to_owned());
        // A node that dies meanwhile breaks this task, and no other.
        let asked = now();
        let reply =
            tokio::spawn(async move { issue(cluster.any(), &token, &ask("db1")).await }).await;
        let told = now();
        match reply.ok()? {
            Ok(reply) => {
                let (serial, seq) = (reply.serial.number(), seq(&reply.certificate));
                Some(Ok(Acknowledged { asked, told, serial, seq }))
            }
            Err(problem) if problem.code == Code::Denied => Some(Err(problem)),
            Err(_) => None,
        }
    }

    async fn client(self: Arc<Self>, token: String) -> Vec<Acknowledged> {
        let mut all = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            match self.ask_once(&token).await {
                Some(told) => all.push(told.unwrap()),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        all
    }

    /// Locks and unlocks somebody, and sees that every node denies and allows from the moment that any one has said so.
    async fn locker(self: Arc<Self>, (ops, bob): (String, String)) -> u64 {
        let (mut rounds, mut is_locked) = (0_u64, false);
        while !self.is_over.load(Ordering::Relaxed) {
            let (cluster, ops) = (Arc::clone(&self), ops.clone());
            let done = tokio::spawn(async move {
                let target = Target::Identity("bob".parse().unwrap());
                let ask = UnlockAsk { target, reason: "test".into() };
                if is_locked {
                    cluster.any().send::<OrderProgress>("/v1/unlocks", Some(&ops), &ask).await
                } else {
                    cluster.any().send("/v1/locks", Some(&ops), &lock_on("bob")).await
                }
            });
            match done.await {
                Ok(Ok(_)) => is_locked = !is_locked,
                // Whether an order happened is not known; an unlock of what is not locked says so.
                Ok(Err(problem)) if problem.code == Code::NotFound => is_locked = false,
                _ => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            for _ in 0..3 {
                if let Some(told) = self.ask_once(&bob).await {
                    assert_eq!(told.is_err(), is_locked, "a node did not know of the lock");
                    rounds = rounds.saturating_add(1);
                }
            }
        }
        rounds
    }

    /// Kills nodes, connections and the database, one after the other.
    fn chaos(&self, lasting: Duration) -> BTreeMap<&'static str, u64> {
        let (began, mut done) = (now(), BTreeMap::new());
        for round in 0_usize.. {
            // On a busy machine each takes its time, and all are to be seen.
            if began.elapsed() > lasting && done.len() == 3 {
                break;
            }
            let node = self.node(round);
            let what = match round.rem_euclid(4) {
                0 | 2 => {
                    node.stop();
                    std::thread::park_timeout(Duration::from_millis(200));
                    node.start_again();
                    "a node killed"
                }
                1 => {
                    self.database.cut();
                    "all connections cut"
                }
                _ => {
                    self.database.server().crash();
                    "the database killed"
                }
            };
            done.entry(what)
                .and_modify(|count: &mut u64| *count = count.saturating_add(1))
                .or_insert(1);
            std::thread::park_timeout(Duration::from_millis(600));
        }
        done
    }
}

/// Every answer is in the ledger, once, where it belongs in time; and the ledger holds.
fn check(cluster: &Cluster, mut told: Vec<Acknowledged>) {
    let rows = cluster.database.ask(
        "SELECT body::text FROM (SELECT seq, convert_from(body, 'UTF8')::json ->> 'serial' AS body \
         FROM ledger.entries JOIN ledger.bodies USING (seq) WHERE kind = 'certificate' ORDER BY seq) AS c",
    );
    let serials: Vec<u64> = rows.lines().map(|line| line.parse().unwrap()).collect();
    // Dense and in order: none twice, none missing, also of those that nobody was told of.
    assert!(serials.iter().copied().eq(1..=u64::try_from(serials.len()).unwrap()), "{serials:?}");
    let seqs =
        cluster.database.ask("SELECT count(*) = max(seq) AND min(seq) = 1 FROM ledger.entries");
    assert_eq!(seqs, "t");
    let places = cluster.database.ask(
        "SELECT (convert_from(body, 'UTF8')::json ->> 'serial') || ' ' || seq FROM ledger.entries \
         JOIN ledger.bodies USING (seq) WHERE kind = 'certificate'",
    );
    let places: BTreeMap<u64, u64> = places
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(serial, seq)| (serial.parse().unwrap(), seq.parse().unwrap()))
        .collect();
    for one in &told {
        assert_eq!(
            places.get(&one.serial),
            Some(&one.seq),
            "serial {} was acknowledged",
            one.serial
        );
    }
    // Real time: whoever asked after another was told stands after them.
    told.sort_by_key(|one| one.told);
    let mut ends: Vec<(Instant, u64)> = Vec::new();
    let mut newest = 0;
    for one in &told {
        newest = newest.max(one.seq);
        ends.push((one.told, newest));
    }
    for one in &told {
        let before = ends.partition_point(|(end, _)| *end < one.asked);
        if let Some((_, newest)) = before.checked_sub(1).and_then(|last| ends.get(last)) {
            assert!(
                one.seq > *newest,
                "entry {} was asked for after entry {newest} was told",
                one.seq
            );
        }
    }
    assert!(cluster.node(0).run(&["ledger", "verify"]).contains("hold"));
    assert!(cluster.node(1).run(&["ledger", "rebuild"]).contains("identical"));
}

/// How long everything dies: briefly, unless the environment says otherwise.
fn lasting() -> Duration {
    let said = std::env::var("CURFEW_NODES_SECS").ok();
    Duration::from_secs(said.map_or(6, |secs| secs.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_whose_parts_die_in_turn_lose_nothing_and_keep_the_order_of_time() {
    let database = Database::on(Server::start());
    let first = furnished(database.clone()).await;
    let mut tokens = Vec::new();
    for (name, seed) in [("ana", 1), ("bob", 2), ("ops", 3)] {
        tokens.push(first.login(name, seed).await.unwrap());
    }
    let nodes = vec![first.join(), first.join(), first];
    let (turn, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let cluster = Arc::new(Cluster { nodes, database, turn, is_over });
    let clients: Vec<_> =
        (0..6).map(|_| tokio::spawn(Arc::clone(&cluster).client(tokens[0].clone()))).collect();
    let people = (tokens[2].clone(), tokens[1].clone());
    let locker = tokio::spawn(Arc::clone(&cluster).locker(people));
    let dying = Arc::clone(&cluster);
    let died = tokio::task::spawn_blocking(move || dying.chaos(lasting())).await.unwrap();
    // And once everything lives again, everything works.
    eventually(async || cluster.ask_once(&tokens[0]).await.is_some()).await;
    cluster.is_over.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for client in clients {
        told.extend(client.await.unwrap());
    }
    let rounds = locker.await.unwrap();
    println!("{died:?}; {} certificates acknowledged, {rounds} looks at locks", told.len());
    assert!(told.len() > 20 && rounds > 0 && died.len() == 3, "{} {rounds} {died:?}", told.len());
    check(&cluster, told);
}

#[tokio::test]
async fn a_node_that_lacks_a_key_says_which_before_it_signs_and_does_nothing_with_it() {
    let database = Database::new();
    let first = Authority::start_on(Some(database));
    first.add("ana", 1, &[]);
    let host = {
        let made = first.token("db1", &["--label", "env=prod"]);
        first.enrol(&made.token).await.unwrap()
    };
    let second = first.join();
    let token = first.login("ana", 1).await.unwrap();
    let step = ["keys", "rotate", "user", "--without", "db1"];
    first.run(&step);
    // Announced: nothing needs it yet, and whoever looks after this node hears of it.
    let lacks = "this node lacks the key SHA256:";
    eventually(async || second.run(&["status"]).contains(lacks)).await;
    assert!(!first.run(&["status"]).contains(lacks));
    assert!(issue(&second, &token, &ask("db1")).await.is_ok());
    assert_eq!(second.fetch("/readyz").await.unwrap(), "ready\n");
    // It signs: here nothing is given out any more, there everything is.
    first.run(&step);
    assert!(issue(&first, &token, &ask("db1")).await.is_ok());
    assert!(issue(&second, &token, &ask("db1")).await.is_err());
    drop(host);
}
