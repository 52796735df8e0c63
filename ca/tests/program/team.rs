//! Teams, what identities are, and what a login knows of a second factor.

use wire::api::{HostView, Token, Whoami};
use wire::identity::{Kind, Method};
use wire::problem::{Code, Problem};

use crate::authority::Authority;
use crate::certificate::{ask, issue};
use crate::sk;

#[tokio::test]
async fn teams_are_entries_and_their_members_see_them() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("ci:deploy", 2, &["--workload"]);
    let said = authority.run(&["team", "add", "sre", "ana", "ci:deploy"]);
    assert_eq!(said, "ana is in sre\nci:deploy is in sre\n");
    let said = authority.run(&["team", "add", "sre", "ana"]);
    assert_eq!(said, "ana is in sre (nothing changed)\n");
    authority.run(&["team", "add", "db-owners", "ana"]);
    authority.run(&["team", "remove", "sre", "ci:deploy"]);
    let listed = authority.run(&["team", "list"]);
    let rows: Vec<&str> = listed.lines().collect();
    assert_eq!(rows.len(), 3, "{listed}");
    assert!(rows[1].starts_with("db-owners  ana"), "{listed}");
    let ana: Whoami =
        authority.read("/v1/whoami", &authority.login("ana", 1).await.unwrap()).await.unwrap();
    let teams: Vec<&str> = ana.teams.iter().map(|team| team.as_str()).collect();
    assert_eq!((teams, ana.kind), (vec!["db-owners", "sre"], Kind::Person));
    let ci: Whoami = authority
        .read("/v1/whoami", &authority.login("ci:deploy", 2).await.unwrap())
        .await
        .unwrap();
    assert_eq!((ci.teams.len(), ci.kind), (0, Kind::Workload));
    for _ in 0..2 {
        let rebuilt = authority.run(&["ledger", "rebuild"]);
        assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
        authority.restart();
    }
}

#[tokio::test]
async fn a_role_of_a_team_opens_to_whoever_is_in_it_and_shuts_when_they_leave() {
    let authority = Authority::start();
    authority.add("eve", 1, &[]);
    let _host = authority.host("db1").await;
    let roles = authority.dir.path().join("roles.toml");
    let text = std::fs::read_to_string(&roles).unwrap();
    std::fs::write(&roles, format!("{text}teams = [\"sre\"]\n")).unwrap();
    authority.restart();
    let eve = authority.login("eve", 1).await.unwrap();
    assert_eq!(issue(&authority, &eve, &ask("db1")).await.unwrap_err().code, Code::Denied);
    authority.run(&["team", "add", "sre", "eve"]);
    assert!(issue(&authority, &eve, &ask("db1")).await.is_ok());
    let hosts: Vec<HostView> = authority.read("/v1/hosts", &eve).await.unwrap();
    assert_eq!(hosts.len(), 1);
    authority.run(&["team", "remove", "sre", "eve"]);
    assert_eq!(issue(&authority, &eve, &ask("db1")).await.unwrap_err().code, Code::Denied);
}

#[test]
fn a_team_of_strangers_and_a_name_that_is_none_are_refused() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let (code, said) = authority.refuse(&["team", "add", "sre", "ana", "eve"]);
    assert_eq!((code, said.contains("there is no identity eve")), (1, true), "{said}");
    assert_eq!(authority.run(&["team", "list", "--json"]), "[]\n");
    for name in ["", "a b", "-x", "a,b", "a*", "a\nb"] {
        assert_eq!(authority.refuse(&["team", "add", name, "ana"]).0, 64, "{name:?}");
    }
    let key = crate::authority::key(3).public_key().to_openssh().unwrap();
    let both = ["identity", "add", "x", "--key", &key, "--operator", "--workload"];
    assert_eq!(authority.refuse(&both).0, 64);
    let (_, said) = authority.refuse(&["identity", "add", "ana", "--key", &key, "--workload"]);
    assert!(said.contains("ana exists and is a person"), "{said}");
}

#[tokio::test]
async fn only_a_key_that_was_touched_and_knew_its_holder_counts_as_a_second_factor() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let security_key = sk::SecurityKey::new(9);
    authority.run(&["identity", "add", "ana", "--key", &security_key.public()]);
    let plain = authority.login("ana", 1).await.unwrap();
    let who: Whoami = authority.read("/v1/whoami", &plain).await.unwrap();
    assert_eq!((who.method, who.mfa_at), (Method::Key, None));
    for (flags, counts) in [(1, false), (5, true)] {
        let token = sk_login(&authority, &security_key, flags).await.unwrap();
        let who: Whoami = authority.read("/v1/whoami", &token).await.unwrap();
        assert_eq!(who.mfa_at.is_some(), counts, "{flags}");
    }
    // Nobody touched it: no login at all, whatever else it says.
    for flags in [0, 4] {
        assert!(sk_login(&authority, &security_key, flags).await.is_err());
    }
}

async fn sk_login(
    authority: &Authority,
    key: &sk::SecurityKey,
    flags: u8,
) -> Result<String, Problem> {
    let mut answer = authority.answer("ana", 1).await;
    let message = wire::login::message(&authority.fingerprint, &answer.identity, &answer.challenge);
    answer.signature = key.seal(wire::login::NAMESPACE, message.as_bytes(), flags);
    authority.send("/v1/login", None, &answer).await.map(|token: Token| token.token)
}

#[tokio::test]
async fn the_entry_of_a_certificate_says_when_a_second_factor_was_shown() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let security_key = sk::SecurityKey::new(9);
    authority.run(&["identity", "add", "ana", "--key", &security_key.public()]);
    let plain = authority.login("ana", 1).await.unwrap();
    let strong = sk_login(&authority, &security_key, 5).await.unwrap();
    for (token, says) in [(plain, false), (strong, true)] {
        issue(&authority, &token, &ask("db1")).await.unwrap();
        let newest = authority.run(&["ledger", "search", "--kind", "certificate"]);
        let last = newest.lines().last().unwrap();
        assert_eq!(last.contains("mfa_at"), says, "{newest}");
    }
}
