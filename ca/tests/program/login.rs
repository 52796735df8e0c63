//! Logging in.

use std::process::Command;

use base64::Engine as _;
use wire::api::{KeyRow, LoginAsk, OrderProgress, RevokeKey, Token, Whoami};
use wire::login::{EndLogins, LoginRow, LoginsEnded};
use wire::problem::{Code, Problem};

use crate::authority::Authority;
use crate::certificate::{ask, issue};
use crate::sk::SecurityKey;

#[tokio::test]
async fn an_enrolled_key_logs_in_and_the_token_says_who() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let token = authority.login("ana", 1).await.unwrap();
    let who: Whoami = authority.read("/v1/whoami", &token).await.unwrap();
    assert_eq!((who.identity.as_str(), who.operator), ("ana", false));
}

#[tokio::test]
async fn a_challenge_serves_once() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let answer = authority.answer("ana", 1).await;
    let first: Result<Token, Problem> = authority.send("/v1/login", None, &answer).await;
    assert!(first.is_ok());
    let replayed: Result<Token, Problem> = authority.send("/v1/login", None, &answer).await;
    assert_eq!(
        replayed.err().unwrap().message,
        "this challenge was answered already; ask for a new one"
    );
}

#[tokio::test]
async fn another_key_another_identity_and_an_unknown_one_are_refused_alike() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("bob", 2, &[]);
    let wrong = authority.login("ana", 2).await.unwrap_err();
    let unknown = authority.login("eve", 2).await.unwrap_err();
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.code, Code::Unauthenticated);
    let ana = authority.answer("ana", 1).await;
    let stolen = LoginAsk { identity: "bob".parse().unwrap(), ..ana };
    let crossed: Result<Token, Problem> = authority.send("/v1/login", None, &stolen).await;
    assert_eq!(crossed.err().unwrap().code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_disabled_identity_loses_its_login_and_gets_no_other() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let token = authority.login("ana", 1).await.unwrap();
    authority.run(&["identity", "disable", "ana", "--reason", "left the company"]);
    let who: Result<Whoami, Problem> = authority.read("/v1/whoami", &token).await;
    assert_eq!(who.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(authority.login("ana", 1).await.unwrap_err().code, Code::Unauthenticated);
    authority.run(&["identity", "enable", "ana"]);
    assert!(authority.login("ana", 1).await.is_ok());
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_or_with_another_s_place() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let token = authority.login("ana", 1).await.unwrap();
    for path in
        ["/v1/whoami", "/v1/hosts", "/v1/sessions", "/v1/locks", "/v1/status", "/v1/orders/1"]
    {
        let stranger: Result<serde_json::Value, Problem> = authority.read(path, "guess").await;
        assert_eq!(stranger.unwrap_err().code, Code::Unauthenticated, "{path}");
    }
    for path in ["/v1/locks", "/v1/orders/1"] {
        let person: Result<serde_json::Value, Problem> = authority.read(path, &token).await;
        assert_eq!(person.unwrap_err().code, Code::Denied, "{path}");
    }
    for path in ["/admin/identities", "/admin/roles", "/nothing"] {
        let outside: Result<serde_json::Value, Problem> = authority.read(path, &token).await;
        assert_eq!(outside.unwrap_err().code, Code::NotFound, "{path}");
    }
}

#[tokio::test]
async fn wrong_answers_are_braked_after_a_while() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let mut codes = Vec::new();
    for _ in 0..25 {
        codes.push(authority.login("ana", 9).await.unwrap_err().code);
    }
    assert_eq!(codes.first(), Some(&Code::Unauthenticated));
    assert_eq!(codes.last(), Some(&Code::Busy));
}

#[tokio::test]
async fn whatever_is_malformed_is_answered_with_a_problem() {
    let authority = Authority::start();
    authority.add("ops", 3, &["--operator"]);
    let ops = authority.login("ops", 3).await.unwrap();
    for path in [
        "/v1/orders/x",
        "/v1/orders/0",
        "/v1/orders/1?wait_millis=x",
        "/v1/orders/1?x=1",
        "/v1/sessions/x",
    ] {
        let refused: Result<serde_json::Value, Problem> = authority.read(path, &ops).await;
        assert_eq!(refused.unwrap_err().code, Code::Malformed, "{path}");
    }
    for path in ["/v1/locks", "/v1/unlocks", "/v1/certificates", "/v1/login", "/v1/login/challenge"]
    {
        let empty = serde_json::json!({});
        let long = serde_json::json!({ "identity": "a".repeat(100_000) });
        for body in [empty, long] {
            let refused: Result<serde_json::Value, Problem> =
                authority.send(path, Some(&ops), &body).await;
            assert_eq!(refused.unwrap_err().code, Code::Malformed, "{path}");
        }
    }
    let method: Result<serde_json::Value, Problem> =
        authority.send("/v1/whoami", Some(&ops), &1).await;
    assert_eq!(method.unwrap_err().code, Code::Malformed);
}

#[tokio::test]
async fn every_kind_of_key_that_ssh_keygen_makes_logs_in() {
    let authority = Authority::start();
    for (kind, bits) in
        [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048")]
    {
        let path = authority.dir.path().join(format!("{kind}-{bits}"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", kind, "-b", bits, "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        let name = format!("{kind}-{bits}");
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        authority.run(&["identity", "add", &name, "--key", public.trim()]);
        let mut answer = authority.answer(&name, 9).await;
        let message =
            wire::login::message(&authority.fingerprint, &answer.identity, &answer.challenge);
        let file = path.with_extension("message");
        std::fs::write(&file, message).unwrap();
        let sealed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", wire::login::NAMESPACE, "-f"])
            .args([&path, &file])
            .status();
        assert!(sealed.unwrap().success());
        answer.signature = std::fs::read_to_string(path.with_extension("message.sig")).unwrap();
        let token: Result<Token, Problem> = authority.send("/v1/login", None, &answer).await;
        assert!(token.is_ok(), "{kind} {bits}");
    }
}

#[tokio::test]
async fn a_key_whose_signatures_cannot_be_checked_is_not_enrolled() {
    let authority = Authority::start();
    let blob =
        |text: &[u8]| [u32::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text].concat();
    let modulus = [&[0, 0x80][..], &[1; 1087]].concat();
    let bytes = [blob(b"ssh-rsa"), blob(&[1, 0, 1]), blob(&modulus)].concat();
    let key = format!("ssh-rsa {}", base64::engine::general_purpose::STANDARD.encode(bytes));
    let (_, refused) = authority.refuse(&["identity", "add", "ana", "--key", &key]);
    assert!(refused.contains("8704 bits; signatures are checked up to 8192"), "{refused}");
}

#[tokio::test]
async fn logins_are_listed_and_ended_by_their_owner_and_by_operators_alone() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("bob", 2, &[]);
    authority.add("ops", 3, &["--operator"]);
    let (one, other) =
        (authority.login("ana", 1).await.unwrap(), authority.login("ana", 1).await.unwrap());
    let (bob, ops) =
        (authority.login("bob", 2).await.unwrap(), authority.login("ops", 3).await.unwrap());
    let logins: Vec<LoginRow> = authority.read("/v1/logins", &one).await.unwrap();
    assert_eq!(logins.len(), 2);
    let all: Vec<LoginRow> = authority.read("/v1/logins", &ops).await.unwrap();
    assert_eq!(all.len(), 4);
    let first = all.iter().map(|row| row.login).min().unwrap();
    let end = async |token: &str, ask: EndLogins| {
        let ended: Result<LoginsEnded, Problem> =
            authority.send("/v1/logins/end", Some(token), &ask).await;
        ended.map(|ended| ended.ended).map_err(|problem| problem.code)
    };
    let number = |login| EndLogins { login: Some(login), identity: None };
    let of = |name: &str| EndLogins { login: None, identity: Some(name.parse().unwrap()) };
    // Another's is not there, and another's name is refused.
    assert_eq!(end(&bob, number(first)).await, Err(Code::NotFound));
    assert_eq!(end(&bob, of("ana")).await, Err(Code::Denied));
    assert_eq!(end(&one, number(first)).await, Ok(1));
    assert!(authority.read::<Whoami>("/v1/whoami", &one).await.is_err());
    assert!(authority.read::<Whoami>("/v1/whoami", &other).await.is_ok());
    assert_eq!(end(&ops, of("ana")).await, Ok(1));
    assert!(authority.read::<Whoami>("/v1/whoami", &other).await.is_err());
    // Without a name it is the one that asks.
    assert_eq!(end(&bob, EndLogins::default()).await, Ok(1));
    assert!(authority.read::<Whoami>("/v1/whoami", &bob).await.is_err());
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}

#[tokio::test]
async fn a_revoked_key_logs_in_nowhere_and_what_it_obtained_is_over() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("ana", 2, &[]);
    let _host = authority.host("db1").await;
    let (stolen, kept) =
        (authority.login("ana", 1).await.unwrap(), authority.login("ana", 2).await.unwrap());
    let theirs = issue(&authority, &stolen, &ask("db1")).await.unwrap();
    let mine = issue(&authority, &kept, &ask("db1")).await.unwrap();
    let keys: Vec<KeyRow> = authority.read("/v1/keys", &kept).await.unwrap();
    let print = wire::certificate::fingerprint(crate::authority::key(1).public_key().key_data());
    assert_eq!(keys.len(), 2);
    let revoke = RevokeKey { key: print.clone(), reason: "stolen".into() };
    let _order: OrderProgress =
        authority.send("/v1/keys/revoke", Some(&kept), &revoke).await.unwrap();
    assert!(authority.read::<Whoami>("/v1/whoami", &stolen).await.is_err());
    assert_eq!(authority.login("ana", 1).await.unwrap_err().code, Code::Unauthenticated);
    assert!(authority.read::<Whoami>("/v1/whoami", &kept).await.is_ok());
    let locked = authority.run(&["lock", "list"]);
    assert!(locked.contains(print.as_str()), "{locked}");
    assert!(locked.contains(&format!("certificate {}", theirs.serial)), "{locked}");
    assert!(!locked.contains(&format!("certificate {} ", mine.serial)), "{locked}");
    // Neither twice, nor another's; and it does not come back by being added again.
    for (token, key) in [(&kept, print.clone()), (&kept, wire::identifier::Fingerprint::of(b"x"))] {
        let revoke = RevokeKey { key, reason: "again".into() };
        let refused: Result<OrderProgress, Problem> =
            authority.send("/v1/keys/revoke", Some(token), &revoke).await;
        assert_eq!(refused.unwrap_err().code, Code::NotFound);
    }
    authority.add("ana", 1, &[]);
    assert_eq!(authority.login("ana", 1).await.unwrap_err().code, Code::Unauthenticated);
    let other = wire::certificate::fingerprint(crate::authority::key(2).public_key().key_data());
    let said = authority.run(&["identity", "key", "revoke", "ana", other.as_str()]);
    assert!(said.contains("is revoked"), "{said}");
    assert!(authority.read::<Whoami>("/v1/whoami", &kept).await.is_err());
    for _ in 0..2 {
        let rebuilt = authority.run(&["ledger", "rebuild"]);
        assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
        authority.restart();
    }
}

#[tokio::test]
async fn where_a_second_factor_is_demanded_a_login_without_one_is_good_for_nothing() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    authority.add("ci:deploy", 3, &["--workload"]);
    drop(authority.host("db1").await);
    assert!(authority.run(&["check"]).contains("nobody is asked for a second factor"));
    let before = authority.login("ana", 1).await.unwrap();
    let config = authority.dir.path().join("ca.toml");
    let settings = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("second_factor = true\n{settings}")).unwrap();
    authority.restart();
    assert!(!authority.run(&["check"]).contains("nobody is asked for a second factor"));
    // Neither a login of before nor a new one, nor an operator's.
    let plain = authority.login("ana", 1).await.unwrap();
    let ops = authority.login("ops", 2).await.unwrap();
    for token in [&before, &plain, &ops] {
        for path in ["/v1/whoami", "/v1/hosts", "/v1/requests", "/v1/sessions", "/v1/locks"] {
            let no = authority.read::<serde_json::Value>(path, token).await.unwrap_err();
            assert!(
                no.code == Code::Denied && no.message.contains("second factor"),
                "{path}: {no}"
            );
        }
        let no = issue(&authority, token, &ask("db1")).await.unwrap_err();
        assert!(no.message.contains("curfew keys offer"), "{no}");
    }
    // Who has a security key gets on, and so do jobs and root here.
    let sk = SecurityKey::new(21);
    authority.run(&["identity", "add", "ana", "--key", &sk.public()]);
    let mut answer = authority.answer("ana", 1).await;
    let said = wire::login::message(&authority.fingerprint, &answer.identity, &answer.challenge);
    answer.signature = sk.seal(wire::login::NAMESPACE, said.as_bytes(), 5);
    let token: Token = authority.send("/v1/login", None, &answer).await.unwrap();
    issue(&authority, &token.token, &ask("db1")).await.unwrap();
    let job = authority.login("ci:deploy", 3).await.unwrap();
    authority.read::<serde_json::Value>("/v1/whoami", &job).await.unwrap();
    authority.run(&["lock", "identity", "bob", "--reason", "test"]);
}
