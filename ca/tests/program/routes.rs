//! Every call of the people's interface with every kind of caller: what is not open to somebody is shut to them.

use wire::problem::{Code, Problem};

use crate::authority::Authority;

/// Every call there is, as the program itself lists them: a new one is met here before anybody decided who may call it.
pub(crate) fn calls() -> Vec<(&'static str, &'static str)> {
    let code = include_str!("../../src/http.rs");
    let routes = code.split(".route(").skip(1).map(|rest| rest.split("\n").next().unwrap());
    let mut calls = Vec::new();
    for route in routes {
        let path = route.split('"').nth(1).unwrap();
        for (method, word) in [("GET", "get("), ("POST", "post(")] {
            if route.contains(word) {
                calls.push((method, path));
            }
        }
    }
    assert!(calls.len() >= 15 && calls.contains(&("POST", "/v1/unlocks")), "{calls:?}");
    calls
}

/// The path with something in the places of its names.
fn filled(path: &str) -> String {
    let path = path
        .replace("{session}", "4f0c9a1be2d37781")
        .replace("{number}", "1")
        .replace("{grant}", "g1")
        .replace("{request}", "r1")
        .replace("{entry}", "1");
    path.replace("{*path}", "0/000")
}

async fn refusal(
    authority: &Authority,
    call: (&str, &str),
    token: Option<&str>,
) -> Option<Problem> {
    let path = filled(call.1);
    // Without a number it would be the login that asks which ends.
    let body = match path.as_str() {
        "/v1/logins/end" => serde_json::json!({ "login": 1_000_000 }),
        _ => serde_json::json!({}),
    };
    let said: Result<Anything, Problem> = authority.call((call.0, &path), token, &body).await;
    said.err()
}

/// An answer that is not looked at.
#[derive(serde::Deserialize)]
#[serde(from = "serde::de::IgnoredAny")]
struct Anything;

impl From<serde::de::IgnoredAny> for Anything {
    fn from(_answer: serde::de::IgnoredAny) -> Self {
        Self
    }
}

#[tokio::test]
async fn no_call_is_open_to_a_stranger_but_those_that_must_be() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let token = authority.login("ana", 1).await.unwrap();
    let altered = format!("{}A", token.get(1..).unwrap());
    let disabled = token.clone();
    authority.run(&["identity", "disable", "ana"]);
    let strangers = [None, Some(""), Some("x"), Some(altered.as_str()), Some(disabled.as_str())];
    for call in calls().into_iter().filter(|call| !OPEN.contains(call)) {
        for token in strangers {
            let problem = refusal(&authority, call, token).await;
            let code = problem.as_ref().map(|problem| problem.code);
            assert_eq!(code, Some(Code::Unauthenticated), "{call:?} with {token:?}: {problem:?}");
        }
    }
    for call in OPEN {
        assert!(calls().contains(&call), "{call:?} is gone");
    }
}

#[tokio::test]
async fn what_is_an_operator_s_is_shut_to_everybody_else() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let (ana, ops) =
        (authority.login("ana", 1).await.unwrap(), authority.login("ops", 2).await.unwrap());
    for call in calls().into_iter().filter(|call| !OPEN.contains(call)) {
        let mine = refusal(&authority, call, Some(&ana)).await.map(|problem| problem.code);
        let theirs = refusal(&authority, call, Some(&ops)).await.map(|problem| problem.code);
        let is_operators = !EVERYBODY.contains(&call);
        assert_eq!(mine == Some(Code::Denied), is_operators, "{call:?}: {mine:?}");
        assert_ne!(theirs, Some(Code::Denied), "{call:?}");
    }
}

#[tokio::test]
async fn what_the_machine_s_operator_does_is_not_on_the_network() {
    let authority = Authority::start();
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let code = include_str!("../../src/admin.rs");
    let paths: Vec<&str> = code
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|path| path.starts_with("/admin"))
        .collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        for method in ["GET", "POST"] {
            let problem = refusal(&authority, (method, path), Some(&ops)).await.unwrap();
            assert_eq!(problem.code, Code::NotFound, "{method} {path}");
        }
    }
}

/// What anybody may call: who the authority is and whether it works, to log in, and the ledger's public half, which holds hashes.
const OPEN: [(&str, &str); 10] = [
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("POST", "/v1/login/oidc/begin"),
    ("POST", "/v1/login/oidc/finish"),
    ("POST", "/v1/login/workload"),
    ("GET", "/v1/authority"),
    ("POST", "/v1/login/challenge"),
    ("POST", "/v1/login"),
    ("GET", "/checkpoint"),
    ("GET", "/tile/{*path}"),
];
/// What everybody may call who is logged in; each answers with what is the caller's own.
const EVERYBODY: [(&str, &str); 35] = [
    ("POST", "/v1/behaviour/accept"),
    ("GET", "/v1/behaviour"),
    ("POST", "/v1/behaviour"),
    ("POST", "/v1/reviews"),
    ("GET", "/v1/reviews/due"),
    ("GET", "/v1/reviews/gaps"),
    ("GET", "/v1/requests"),
    ("POST", "/v1/requests"),
    ("GET", "/v1/requests/{request}"),
    ("POST", "/v1/requests/{request}/review"),
    ("POST", "/v1/requests/{request}/approve"),
    ("POST", "/v1/requests/{request}/deny"),
    ("POST", "/v1/requests/{request}/withdraw"),
    ("GET", "/v1/logins"),
    ("POST", "/v1/logins/end"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys/revoke"),
    ("GET", "/v1/keys/requests"),
    ("POST", "/v1/keys/requests"),
    ("POST", "/v1/keys/requests/{number}/end"),
    ("GET", "/v1/whoami"),
    ("GET", "/v1/hosts"),
    ("POST", "/v1/certificates"),
    ("GET", "/v1/sessions"),
    ("GET", "/v1/sessions/{session}"),
    ("GET", "/v1/sessions/{session}/recordings"),
    ("GET", "/v1/sessions/{session}/stored"),
    ("GET", "/v1/sessions/{session}/checking"),
    ("POST", "/v1/readings"),
    ("GET", "/v1/readings/{entry}"),
    ("GET", "/v1/status"),
    ("GET", "/v1/grants"),
    ("POST", "/v1/grants/{grant}/end"),
    ("POST", "/v1/grants/{grant}/extend"),
    ("GET", "/v1/attempts"),
];
