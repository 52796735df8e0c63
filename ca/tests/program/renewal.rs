//! A certificate for a grant that is under way is a new decision: whatever would refuse the first refuses the next.

use wire::api::CertificateAsk;
use wire::problem::Code;

use crate::authority::{Authority, Host};
use crate::certificate::{ask, eventually, issue};

/// Ana, logged in, with a certificate for `db1`.
async fn granted() -> (Authority, Host, String) {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    (authority, host, token)
}

/// Puts other roles in force.
async fn change_roles(authority: &Authority, from: &str, to: &str) {
    let path = authority.dir.path().join("roles.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let after = before.replace(from, to);
    assert_ne!(before, after);
    let listed = authority.run(&["role", "list", "--json"]);
    std::fs::write(&path, after).unwrap();
    eventually(|| authority.run(&["role", "list", "--json"]) != listed).await;
}

#[tokio::test]
async fn who_left_the_role_is_not_renewed() {
    let (authority, _host, token) = granted().await;
    change_roles(&authority, "\"ana\", ", "").await;
    let denied = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (Code::Denied, "no role lets ana be deploy on db1")
    );
}

#[tokio::test]
async fn what_the_role_no_longer_opens_is_not_renewed() {
    for (from, to) in
        [("\"deploy\"]", "\"other\"]"), ("env=prod", "env=test"), ("[role.deploy]", "[role.x]")]
    {
        let (authority, _host, token) = granted().await;
        let named = CertificateAsk { role: Some("deploy".parse().unwrap()), ..ask("db1") };
        assert!(issue(&authority, &token, &named).await.is_ok());
        change_roles(&authority, from, to).await;
        let denied = issue(&authority, &token, &named).await.unwrap_err();
        assert_eq!(denied.code, Code::Denied, "{to}");
    }
}

#[tokio::test]
async fn a_role_that_allows_less_ends_the_grant_it_no_longer_gives() {
    let (authority, _host, token) = granted().await;
    let first = issue(&authority, &token, &ask("db1")).await.unwrap();
    let path = authority.dir.path().join("roles.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let brief = before.replace("\"10m\"", "\"2m\"").replace("\"1h\"", "\"2m\"");
    change_roles(&authority, &before, &brief).await;
    let second = issue(&authority, &token, &ask("db1")).await.unwrap();
    assert_ne!(second.grant, first.grant);
    assert!(second.grant_until < first.grant_until);
    assert!(second.valid_before <= second.grant_until);
}

#[tokio::test]
async fn who_is_disabled_is_not_renewed() {
    let (authority, _host, token) = granted().await;
    authority.run(&["identity", "disable", "ana"]);
    let refused = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert!(matches!(refused.code, Code::Denied | Code::Unauthenticated), "{refused:?}");
}

#[tokio::test]
async fn for_a_host_that_is_removed_nothing_is_renewed() {
    let (authority, _host, token) = granted().await;
    authority.run(&["host", "remove", "db1"]);
    let denied = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (Code::Denied, "no role lets ana be deploy on db1")
    );
}

#[tokio::test]
async fn renewal_moves_no_end() {
    let (authority, _host, token) = granted().await;
    let first = issue(&authority, &token, &ask("db1")).await.unwrap();
    for round in 0..3 {
        // The certificate counts whole seconds; past one, an end that moved is seen.
        tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
        let next = issue(&authority, &token, &ask("db1")).await.unwrap();
        assert_eq!((next.grant, next.grant_until), (first.grant, first.grant_until), "{round}");
        assert!(next.valid_before <= first.grant_until);
        let certificate = wire::certificate::Certificate::from_openssh(&next.certificate).unwrap();
        assert_eq!(certificate.valid_before(), next.valid_before.secs());
        assert!(certificate.valid_before() <= first.grant_until.secs());
        assert!(next.serial > first.serial);
    }
}
