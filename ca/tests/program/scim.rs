//! A directory that says who there is: what it can do, what it cannot, and what an outside judge says of it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wire::api::Whoami;
use wire::problem::Problem;

use crate::authority::Authority;

/// An authority with a directory that has a token.
struct Site {
    authority: Authority,
    token: String,
}

impl Site {
    fn start() -> Self {
        let authority = Authority::start();
        let made: Value =
            serde_json::from_str(&authority.run(&["scim", "token", "okta", "--json"])).unwrap();
        Self { authority, token: made["token"].as_str().unwrap().into() }
    }

    async fn call(&self, call: (&str, &str), body: Value) -> (u16, Value) {
        self.authority.scim(call, Some(&self.token), &body).await
    }

    async fn user(&self, name: &str) -> String {
        let body = json!({"schemas": [USER], "userName": name, "externalId": name});
        let (status, user) = self.call(("POST", "/Users"), body).await;
        assert_eq!(status, 201, "{user}");
        user["id"].as_str().unwrap().into()
    }

    async fn active(&self, id: &str, active: bool) -> (u16, Value) {
        let operation = json!({"op": "replace", "path": "active", "value": active});
        self.patch("Users", id, operation).await
    }

    async fn patch(&self, kind: &str, id: &str, operation: Value) -> (u16, Value) {
        let body = json!({"schemas": [PATCH], "Operations": [operation]});
        self.call(("PATCH", &format!("/{kind}/{id}")), body).await
    }

    fn rebuilds(&self) {
        for _ in 0..2 {
            let rebuilt = self.authority.run(&["ledger", "rebuild"]);
            assert!(rebuilt.contains("the state is identical"), "{rebuilt}");
            self.authority.restart();
        }
    }
}

#[tokio::test]
async fn who_is_deactivated_is_disabled_and_locked_and_comes_back_when_activated() {
    let site = Site::start();
    let authority = &site.authority;
    let id = site.user("ana").await;
    authority.add("ana", 1, &[]);
    let token = authority.login("ana", 1).await.unwrap();
    let (status, user) = site.active(&id, false).await;
    assert_eq!((status, &user["active"]), (200, &Value::Bool(false)));
    let who: Result<Whoami, Problem> = authority.read("/v1/whoami", &token).await;
    assert!(who.is_err());
    assert!(authority.login("ana", 1).await.is_err());
    assert!(authority.run(&["lock", "list"]).contains("ana"));
    // Once more changes nothing.
    let orders = authority.run(&["ledger", "search", "--kind", "lock"]);
    assert_eq!(site.active(&id, false).await.0, 200);
    assert_eq!(authority.run(&["ledger", "search", "--kind", "lock"]), orders);
    assert_eq!(site.active(&id, true).await.0, 200);
    assert!(authority.login("ana", 1).await.is_ok());
    assert!(!authority.run(&["lock", "list"]).contains("ana"));
    site.rebuilds();
}

#[tokio::test]
async fn what_an_operator_has_done_no_directory_undoes() {
    let site = Site::start();
    let authority = &site.authority;
    let id = site.user("ana").await;
    authority.add("ana", 1, &[]);
    // Locked before: the directory's activation leaves the lock.
    authority.run(&["lock", "identity", "ana", "--reason", "an operator's"]);
    site.active(&id, false).await;
    site.active(&id, true).await;
    assert!(authority.run(&["lock", "list"]).contains("ana"));
    authority.run(&["unlock", "identity", "ana"]);
    assert!(authority.login("ana", 1).await.is_ok());
    // Disabled before: it stays disabled.
    authority.run(&["identity", "disable", "ana", "--reason", "an operator's"]);
    site.active(&id, false).await;
    site.active(&id, true).await;
    assert!(authority.login("ana", 1).await.is_err());
    site.rebuilds();
}

#[tokio::test]
async fn groups_are_teams_and_leave_the_operator_s_members_alone() {
    let site = Site::start();
    let authority = &site.authority;
    let (ana, bob) = (site.user("ana").await, site.user("bob").await);
    authority.add("eve", 3, &[]);
    authority.run(&["team", "add", "sre", "eve"]);
    let member = |id: &str| json!({"value": id});
    let body = json!({"schemas": [GROUP], "displayName": "sre", "members": [member(&ana)]});
    let (status, group) = site.call(("POST", "/Groups"), body.clone()).await;
    assert_eq!(status, 201, "{group}");
    let id = group["id"].as_str().unwrap().to_owned();
    assert_eq!(site.call(("POST", "/Groups"), body).await.0, 409);
    let add = json!({"op": "add", "path": "members", "value": [member(&bob)]});
    let (_, group) = site.patch("Groups", &id, add).await;
    assert_eq!(group["members"].as_array().unwrap().len(), 2);
    let gone = json!({"op": "remove", "path": format!("members[value eq \"{ana}\"]")});
    assert_eq!(site.patch("Groups", &id, gone).await.0, 200);
    let listed = authority.run(&["team", "list"]);
    assert!(
        listed.contains("bob") && listed.contains("eve") && !listed.contains("ana"),
        "{listed}"
    );
    let renamed = json!({"op": "replace", "path": "displayName", "value": "ops"});
    assert_eq!(site.patch("Groups", &id, renamed).await.0, 200);
    let listed = authority.run(&["team", "list"]);
    assert!(listed.contains("ops   bob") && listed.contains("sre   eve"), "{listed}");
    let stranger = json!({"op": "add", "path": "members", "value": [member("999999")]});
    assert_eq!(site.patch("Groups", &id, stranger).await.0, 404);
    assert_eq!(site.call(("DELETE", &format!("/Users/{bob}")), Value::Null).await.0, 204);
    assert!(!authority.run(&["team", "list"]).contains("bob"));
    assert_eq!(site.call(("DELETE", &format!("/Groups/{id}")), Value::Null).await.0, 204);
    site.rebuilds();
}

#[tokio::test]
async fn who_was_removed_is_locked_and_does_not_come_back_under_the_same_name() {
    let site = Site::start();
    let id = site.user("ana").await;
    assert_eq!(site.call(("DELETE", &format!("/Users/{id}")), Value::Null).await.0, 204);
    assert_eq!(site.call(("GET", &format!("/Users/{id}")), Value::Null).await.0, 404);
    assert!(site.authority.run(&["identity", "list"]).contains("disabled"));
    let body = json!({"schemas": [USER], "userName": "ana"});
    let (status, fault) = site.call(("POST", "/Users"), body.clone()).await;
    assert_eq!(status, 409);
    assert!(fault["detail"].as_str().unwrap().contains("identity enable"), "{fault}");
    site.authority.run(&["identity", "enable", "ana"]);
    let (status, user) = site.call(("POST", "/Users"), body).await;
    assert_eq!(status, 201);
    assert_ne!(user["id"], Value::String(id), "an id is never given twice");
    site.rebuilds();
}

#[tokio::test]
async fn only_a_token_that_holds_opens_it_and_what_is_wrong_is_answered_with_a_fault() {
    let site = Site::start();
    let authority = &site.authority;
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    for token in [None, Some(""), Some("x"), Some(ops.as_str())] {
        for call in [("GET", "/Users"), ("POST", "/Users"), ("GET", "/Schemas"), ("GET", "/none")] {
            let (status, fault) = authority.scim(call, token, &Value::Null).await;
            assert_eq!((status, &fault["status"]), (401, &"401".into()), "{call:?} {token:?}");
        }
    }
    let whoami: Result<Whoami, Problem> = authority.read("/v1/whoami", &site.token).await;
    assert!(whoami.is_err(), "a directory is nobody else");
    for (call, body, status, kind) in [
        (("POST", "/Users"), json!({"schemas": [USER], "userName": "a b"}), 400, "invalidValue"),
        (
            ("POST", "/Users"),
            json!({"schemas": [USER], "userName": "x".repeat(65)}),
            400,
            "invalidValue",
        ),
        (("POST", "/Users"), json!({"userName": "ana"}), 400, "invalidSyntax"),
        (("POST", "/Users"), json!([]), 400, "invalidSyntax"),
        (
            ("POST", "/Groups"),
            json!({"schemas": [GROUP], "displayName": "a b"}),
            400,
            "invalidValue",
        ),
        (("GET", "/Users?filter=userName%20sw%20%22a%22"), Value::Null, 400, "invalidFilter"),
        (("GET", "/Users?attributes=a&excludedAttributes=b"), Value::Null, 400, "invalidValue"),
        (("GET", "/Users/07"), Value::Null, 404, ""),
        (
            ("PATCH", "/Users/7"),
            json!({"schemas": [PATCH], "Operations": []}),
            400,
            "invalidSyntax",
        ),
    ] {
        let (said, fault) = site.call(call, body).await;
        assert_eq!(said, status, "{call:?}: {fault}");
        assert_eq!(fault["scimType"].as_str().unwrap_or_default(), kind, "{call:?}: {fault}");
    }
    let id = site.user("ana").await;
    let renamed = json!({"op": "replace", "path": "userName", "value": "bob"});
    assert_eq!(site.patch("Users", &id, renamed).await.1["scimType"], "mutability");
    let (_, found) =
        site.call(("GET", "/Users?filter=userName%20eq%20%22ana%22"), Value::Null).await;
    assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&1.into(), &id.into()));
    let (_, none) =
        site.call(("GET", "/Users?filter=userName%20eq%20%22eve%22"), Value::Null).await;
    assert_eq!(none["totalResults"], 0);
    authority.run(&["scim", "revoke", "okta"]);
    assert_eq!(site.call(("GET", "/Users"), Value::Null).await.0, 401);
    assert!(!authority.log().contains(&site.token));
}

#[test]
fn an_outside_judge_finds_nothing_wrong() {
    let site = Site::start();
    let cache = std::env::var_os("CURFEW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/curfew"))).unwrap();
    let python = cache.join("scim/bin/python");
    assert!(python.exists(), "{} is missing; run `cargo xtask setup`", python.display());
    let judge = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scim/judge.py");
    let port = site.authority.people().rsplit_once(':').unwrap().1.to_owned();
    let mut judged = Command::new(python)
        .arg(judge)
        .arg(format!("https://localhost:{port}/scim/v2"))
        .arg(site.authority.dir.path().join("state/root.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    judged.stdin.take().unwrap().write_all(format!("{}\n", site.token).as_bytes()).unwrap();
    let output = judged.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    site.rebuilds();
}

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
