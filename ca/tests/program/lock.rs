//! Locks, as they bear on certificates and logins.

use wire::api::{CertificateAsk, CertificateReply, LockView, OrderProgress, UnlockAsk};
use wire::hostlink::{ToAuthority, ToHost};
use wire::lock::{Lock, Target};
use wire::problem::{Code, Problem};
use wire::record::Receipt;

use crate::authority::{Authority, key};
use crate::certificate::eventually;
use crate::link::greeted;

#[tokio::test]
async fn each_kind_of_lock_denies_certificates_until_it_is_lifted() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("ops", 3, &["--operator"]);
    let _host = authority.host("db1").await;
    let (ana, ops) =
        (authority.login("ana", 1).await.unwrap(), authority.login("ops", 3).await.unwrap());
    let ask = CertificateAsk {
        public_key: key(7).public_key().to_openssh().unwrap(),
        host: "db1".parse().unwrap(),
        login: "deploy".parse().unwrap(),
        role: None,
        duration_secs: None,
        wishes: Default::default(),
        reason: None,
    };
    let issue = async || -> Result<CertificateReply, Problem> {
        authority.send("/v1/certificates", Some(&ana), &ask).await
    };
    let grant = issue().await.unwrap().grant;
    let subject = wire::certificate::fingerprint(key(7).public_key().key_data());
    for target in [
        Target::Identity("ana".parse().unwrap()),
        Target::Grant(grant),
        Target::Key(subject),
        Target::Host("db1".parse().unwrap()),
        Target::Role("deploy".parse().unwrap()),
        Target::Login("deploy".parse().unwrap()),
    ] {
        let lock = Lock { target: target.clone(), reason: "stolen".into(), until: None };
        let ordered: OrderProgress = authority.send("/v1/locks", Some(&ops), &lock).await.unwrap();
        assert!(ordered.complete, "nobody is connected");
        let denied = issue().await.unwrap_err();
        assert_eq!(
            (denied.code, denied.message),
            (Code::Denied, format!("{target} is locked: stolen"))
        );
        let unlock = UnlockAsk { target, reason: "found".into() };
        let _: OrderProgress = authority.send("/v1/unlocks", Some(&ops), &unlock).await.unwrap();
        assert!(issue().await.is_ok());
    }
    let locks: Vec<LockView> = authority.read("/v1/locks", &ops).await.unwrap();
    assert!(locks.is_empty());
}

#[tokio::test]
async fn a_lock_survives_a_crash_and_says_who_ordered_it() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let lock = Lock {
        target: Target::Identity("ana".parse().unwrap()),
        reason: "gone".into(),
        until: None,
    };
    let _: OrderProgress = authority.send("/v1/locks", Some(&ops), &lock).await.unwrap();
    authority.restart();
    let locks: Vec<LockView> = authority.read("/v1/locks", &ops).await.unwrap();
    let [view] = locks.as_slice() else { panic!("{locks:?}") };
    assert_eq!((view.lock.clone(), view.by.as_str(), view.order.number()), (lock, "ops", 1));
}

#[tokio::test]
async fn a_reason_that_drives_a_terminal_is_refused() {
    let authority = Authority::start();
    for reason in ["", "  ", "a\u{1b}[2J", "a\nb", &"x".repeat(401)] {
        let (code, _) = authority.refuse(&["lock", "identity", "ana", "--reason", reason]);
        assert_eq!(code, 1);
    }
    let (_, complaint) = authority.refuse(&["unlock", "identity", "ana"]);
    assert!(complaint.contains("identity ana is not locked"), "{complaint}");
}

#[tokio::test]
async fn a_host_that_was_there_a_moment_ago_is_waited_for() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let host = authority.host("db1").await;
    let (frames, _) = greeted(&authority, &host, 0).await;
    drop(frames);
    eventually(|| authority.run(&["status"]).contains("0 of 1 hosts connected")).await;
    let lock = Lock {
        target: Target::Identity("ana".parse().unwrap()),
        reason: "gone".into(),
        until: None,
    };
    let ordered: OrderProgress = authority.send("/v1/locks", Some(&ops), &lock).await.unwrap();
    assert!(!ordered.complete && !ordered.hosts.first().unwrap().connected, "{ordered:?}");
    let path = format!("/v1/orders/{}?wait_millis=20000", ordered.order);
    let back = async {
        let (mut frames, _) = greeted(&authority, &host, 0).await;
        let order = ordered.order;
        let receipt = Receipt {
            order,
            sessions: 0,
            killed: 0,
            survivors: 0,
            took_micros: 9,
            done: true,
            kills: 0,
        };
        frames.send(&ToAuthority::Receipt(receipt)).await;
        frames
    };
    let (progress, _frames) = tokio::join!(authority.read::<OrderProgress>(&path, &ops), back);
    assert!(progress.unwrap().complete);
}

#[tokio::test]
async fn the_key_that_signs_is_locked_by_no_name() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    let private = std::fs::read_to_string(authority.dir.path().join("state/user_ca")).unwrap();
    let private = ssh_key::PrivateKey::from_openssh(private).unwrap();
    let print = wire::certificate::fingerprint(private.public_key().key_data());
    for target in [Target::Key(print.clone()), Target::Authority(print)] {
        let lock = Lock { target, reason: "stolen".into(), until: None };
        let refused: Result<OrderProgress, _> =
            authority.send("/v1/locks", Some(&ops), &lock).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, Code::Malformed);
        assert!(refused.message.contains("keys retire --compromised"), "{refused}");
    }
    let locks: Vec<LockView> = authority.read("/v1/locks", &ops).await.unwrap();
    assert!(locks.is_empty());
}

#[tokio::test]
async fn an_operator_who_is_locked_lifts_no_lock() {
    let authority = Authority::start();
    for (name, seed) in [("ops", 3), ("eve", 4)] {
        authority.add(name, seed, &["--operator"]);
    }
    let (ops, eve) =
        (authority.login("ops", 3).await.unwrap(), authority.login("eve", 4).await.unwrap());
    let target = Target::Identity("eve".parse().unwrap());
    let lock = Lock { target: target.clone(), reason: "stolen laptop".into(), until: None };
    let _: OrderProgress = authority.send("/v1/locks", Some(&ops), &lock).await.unwrap();
    let unlock = UnlockAsk { target, reason: "no, really".into() };
    let refused: Result<OrderProgress, _> =
        authority.send("/v1/unlocks", Some(&eve), &unlock).await;
    let refused = refused.unwrap_err();
    assert!(refused.code == Code::Denied && refused.message.contains("locked"), "{refused}");
    let locks: Result<Vec<LockView>, Problem> = authority.read("/v1/locks", &eve).await;
    assert_eq!(locks.unwrap_err().code, Code::Denied);
    let _: OrderProgress = authority.send("/v1/unlocks", Some(&ops), &unlock).await.unwrap();
    let locks: Result<Vec<LockView>, Problem> = authority.read("/v1/locks", &eve).await;
    assert!(locks.unwrap().is_empty());
}

#[tokio::test]
async fn a_lock_that_somebody_survives_fails_also_for_programs() {
    let authority = std::sync::Arc::new(Authority::start());
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let operator = std::sync::Arc::clone(&authority);
    let locking = tokio::task::spawn_blocking(move || {
        operator.refuse(&["lock", "identity", "ana", "--reason", "gone", "--json"])
    });
    let Some(ToHost::Order(_)) = frames.next().await else { panic!("no order") };
    let order = wire::identifier::OrderNumber::try_new(1).unwrap();
    let receipt = Receipt {
        order,
        sessions: 1,
        killed: 0,
        survivors: 2,
        took_micros: 9,
        done: true,
        kills: 0,
    };
    frames.send(&ToAuthority::Receipt(receipt)).await;
    let (code, complaint) = locking.await.unwrap();
    assert!(code == 1 && complaint.contains("2 processes are still alive on db1"), "{complaint}");
}
