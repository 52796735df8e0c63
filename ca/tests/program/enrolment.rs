//! Hosts that join.

use wire::certificate::{Certificate, Kind};
use wire::hostlink::{Heartbeat, ToAuthority, ToHost};
use wire::octets::Octets;
use wire::problem::Code;
use wire::time::Timestamp;

use crate::authority::{Authority, key};

#[tokio::test]
async fn a_token_serves_once_and_decides_the_name() {
    let authority = Authority::start();
    let made = authority.token("db1", &["--address", "10.0.0.1", "--label", "env=prod"]);
    assert_eq!(made.fingerprint, authority.fingerprint);
    let host = authority.enrol(&made.token).await.unwrap();
    let trust = &host.enrolled.trust;
    assert_eq!(trust.host.as_str(), "db1");
    assert_eq!(trust.labels.first().unwrap().as_str(), "env=prod");
    let certificate: Certificate =
        host.enrolled.host_certificates.first().unwrap().parse().unwrap();
    assert_eq!(certificate.kind(), Kind::Host);
    let names: Vec<&[u8]> = certificate.principals().iter().map(Octets::as_bytes).collect();
    assert_eq!(names, [&b"db1"[..], b"10.0.0.1"]);
    assert_eq!(certificate.subject(), key(99).public_key().key_data());
    let again = authority.enrol(&made.token).await.err().unwrap();
    assert_eq!(again.code, Code::Conflict);
    assert!(again.message.starts_with("this token was used already, by db1"), "{}", again.message);
}

#[tokio::test]
async fn an_expired_and_an_unknown_token_say_which() {
    let authority = Authority::start();
    let made = authority.token("db1", &["--valid", "1s"]);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(authority.enrol(&made.token).await.err().unwrap().code, Code::Expired);
    let unknown = authority.enrol("made-up").await.err().unwrap();
    assert_eq!(unknown.code, Code::NotFound);
    let other = Authority::start().token("db1", &[]);
    assert_eq!(authority.enrol(&other.token).await.err().unwrap().code, Code::NotFound);
}

#[tokio::test]
async fn a_host_without_a_certificate_can_only_enrol() {
    let authority = Authority::start();
    let mut frames = authority.link(None).await;
    let beat = Heartbeat {
        at: Timestamp::from_secs(0),
        sessions: 0,
        spooled: 0,
        last_order: None,
        krl: None,
        certificates: None,
        keys: None,
        trouble: None,
        group_keys: None,
    };
    frames.send(&ToAuthority::Heartbeat(beat)).await;
    let Some(ToHost::Refused(problem)) = frames.next().await else { panic!("not refused") };
    assert_eq!(problem.code, Code::Unauthenticated);
    assert!(frames.next().await.is_none());
}

#[tokio::test]
async fn a_name_or_address_of_another_host_is_refused() {
    let authority = Authority::start();
    let _host = authority.host("db1").await;
    let (code, complaint) =
        authority.refuse(&["host", "token", "db2", "--address", "db1.example.com"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("db1.example.com belongs to host db1 already"), "{complaint}");
}

#[tokio::test]
async fn a_removed_host_is_dropped_and_not_let_back() {
    let authority = Authority::start();
    let host = authority.host("db1").await;
    let (mut frames, _) = crate::link::greeted(&authority, &host, 0).await;
    authority.run(&["host", "remove", "db1"]);
    assert!(frames.next().await.is_none());
    let mut frames = authority.link(Some(&host)).await;
    frames.send(&crate::link::hello(0)).await;
    let Some(ToHost::Refused(problem)) = frames.next().await else { panic!("not refused") };
    assert_eq!(problem.code, Code::Unauthenticated);
    assert_eq!(authority.run(&["host", "list", "--json"]).trim(), "[]");
}

#[tokio::test]
async fn a_connection_from_before_a_new_enrolment_ends() {
    let authority = Authority::start();
    let before = authority.host("db1").await;
    let (mut frames, _) = crate::link::greeted(&authority, &before, 0).await;
    let _after = authority.host("db1").await;
    assert!(frames.next().await.is_none());
}
