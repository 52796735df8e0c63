//! Every field of every call that holds words of a person: what cannot be seen, what turns the rest around, what is empty, and what
//! is too long is refused, with the reason, and nothing of it gets into the ledger.

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use ssh_key::{HashAlg, LineEnding};
use tokio::net::UnixStream;
use wire::certificate::fingerprint;
use wire::key_request::{CONSENT, POSSESSION};
use wire::problem::{Code, Problem};

use crate::authority::{Authority, key};

/// What no field takes, and by what the refusal says so.
const ODD: [(&str, &str); 18] = [
    ("evil\u{202e}gpj.exe", "202e"),
    ("isolated\u{2066}x\u{2069}", "2066"),
    ("mark\u{200f}", "200f"),
    ("letter\u{61c}", "61c"),
    ("zero\u{200b}width", "200b"),
    ("join\u{200d}er", "200d"),
    ("soft\u{ad}hyphen", "ad"),
    ("variation\u{fe0f}", "fe0f"),
    ("line\u{2028}separator", "2028"),
    ("tag\u{e0041}", "e0041"),
    ("private\u{e000}", "e000"),
    ("none\u{fdd0}", "fdd0"),
    ("bom\u{feff}", "feff"),
    ("nul\u{0}", "0"),
    ("two\nlines", "a"),
    ("\u{1b}[2Jclear", "1b"),
    ("nel\u{85}", "85"),
    ("delete\u{7f}", "7f"),
];

/// A field of a call: where, a body in which all else is right, and the field's place in it.
struct Field {
    path: &'static str,
    body: Value,
    place: &'static str,
    /// What it holds: a line that a person wrote, or a name of a strict form.
    is_name: bool,
}

fn line(path: &'static str, body: Value, place: &'static str) -> Field {
    Field { path, body, place, is_name: false }
}

fn name(path: &'static str, body: &Value, place: &'static str) -> Field {
    Field { path, body: body.clone(), place, is_name: true }
}

/// Fields of the people's interface.
fn of_people() -> Vec<Field> {
    let request = json!({"role": "deploy", "hosts": ["db1"], "reason": "because",
        "expected": "it works", "ticket": "OPS-1"});
    let public_key = key(9).public_key().to_openssh().unwrap();
    let certificate =
        json!({"public_key": public_key, "host": "db1", "login": "deploy", "role": "deploy"});
    let print = fingerprint(key(9).public_key().key_data());
    let session = "4f0c9a1be2d37781";
    let review = json!({"session": session, "verdict": "out-of-scope", "note": "because"});
    let lock = json!({"target": {"identity": "bob"}, "reason": "because"});
    let deletion = json!({"class": "terminals", "sessions": [session]});
    vec![
        name("/v1/login/challenge", &json!({"identity": "ana"}), "/identity"),
        line("/v1/certificates", certificate.clone(), "/reason"),
        name("/v1/certificates", &certificate, "/host"),
        name("/v1/certificates", &certificate, "/login"),
        name("/v1/certificates", &certificate, "/role"),
        line("/v1/grants/g1/end", json!({}), "/reason"),
        line("/v1/grants/g1/extend", json!({"by_secs": 60}), "/reason"),
        line("/v1/requests", request.clone(), "/reason"),
        line("/v1/requests", request.clone(), "/expected"),
        name("/v1/requests", &request, "/role"),
        name("/v1/requests", &request, "/hosts/0"),
        name("/v1/requests", &request, "/ticket"),
        line("/v1/requests/r1/deny", json!({}), "/reason"),
        line("/v1/requests/r1/withdraw", json!({}), "/reason"),
        line("/v1/requests/r1/review", json!({"verdict": "ok"}), "/note"),
        line("/v1/reviews", review.clone(), "/note"),
        line("/v1/reviews", review, "/gap"),
        line("/v1/retention/holds", json!({"session": session}), "/reason"),
        line("/v1/retention/releases", json!({"session": session}), "/reason"),
        line("/v1/retention/deletions", deletion, "/reason"),
        line("/v1/locks", lock.clone(), "/reason"),
        name("/v1/locks", &lock, "/target/identity"),
        line("/v1/unlocks", lock.clone(), "/reason"),
        name("/v1/unlocks", &lock, "/target/identity"),
        line("/v1/incidents/settle", json!({"number": 1}), "/reason"),
        line("/v1/breakglass/groups", json!({"group": "x"}), "/reason"),
        line("/v1/breakglass/groups/retire", json!({"key": print}), "/reason"),
        line("/v1/breakglass/reviews", json!({"serial": 1, "verdict": "ok"}), "/note"),
        line("/v1/keys/revoke", json!({"key": print}), "/reason"),
        line("/v1/keys/requests/1/end", json!({}), "/reason"),
    ]
}

/// Those that only the operator of the machine has.
fn of_operators() -> Vec<Field> {
    let public_key = key(9).public_key().to_openssh().unwrap();
    let print = fingerprint(key(9).public_key().key_data());
    let identity = json!({"identity": "dan", "public_key": public_key, "operator": false});
    let team = json!({"team": "sre", "join": ["ana"], "leave": []});
    let host = json!({"host": "db7", "addresses": ["db7.example.com"], "labels": ["env=prod"], "valid_secs": 60});
    let change = json!({"host": "db1", "addresses": ["db1.example.com"], "labels": ["env=prod"]});
    let step = json!({"purpose": "user", "step": "rotate", "without": [], "early": false});
    vec![
        name("/admin/identities", &identity, "/identity"),
        line("/admin/identities/disable", json!({"identity": "bob"}), "/reason"),
        name("/admin/identities/enable", &json!({"identity": "bob"}), "/identity"),
        line("/admin/identities/keys/revoke", json!({"identity": "bob", "key": print}), "/reason"),
        name("/admin/identities/unbind", &json!({"identity": "bob"}), "/identity"),
        name("/admin/scim/tokens", &json!({"name": "okta"}), "/name"),
        name("/admin/teams", &team, "/team"),
        name("/admin/teams", &team, "/join/0"),
        name("/admin/tokens", &host, "/host"),
        name("/admin/tokens", &host, "/addresses/0"),
        name("/admin/tokens", &host, "/labels/0"),
        name("/admin/hosts/change", &change, "/host"),
        name("/admin/hosts/change", &change, "/addresses/0"),
        name("/admin/hosts/change", &change, "/labels/0"),
        name("/admin/hosts/remove", &json!({"host": "db1"}), "/host"),
        line("/admin/erase", json!({"entries": [1]}), "/reason"),
        name("/admin/backup", &json!({"to": "/backup", "plain_keys": false}), "/to"),
        line("/admin/keys", step, "/reason"),
        line("/admin/keys/recording", json!({}), "/reason"),
    ]
}

/// The body with this text in the field; an object's last field may be new.
fn filled(field: &Field, text: &str) -> Value {
    let mut body = field.body.clone();
    if let Some(there) = body.pointer_mut(field.place) {
        *there = text.into();
    } else {
        let object = body.as_object_mut().unwrap();
        object.insert(field.place.trim_start_matches('/').to_owned(), text.into());
    }
    body
}

/// Everything that is said on the operator's socket.
async fn local(authority: &Authority, path: &str, body: &Value) -> Result<Value, Problem> {
    let stream = UnixStream::connect(authority.dir.path().join("admin.sock")).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::from(serde_json::to_vec(body).unwrap()));
    let request = Request::post(path).header("host", "localhost").body(body).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let is_good = response.status().is_success();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    if is_good {
        Ok(serde_json::from_slice(&bytes).unwrap())
    } else {
        Err(serde_json::from_slice(&bytes).unwrap())
    }
}

/// How many entries the ledger has.
async fn entries(authority: &Authority) -> u64 {
    let note = authority.fetch("/checkpoint").await.unwrap();
    std::str::from_utf8(&note).unwrap().lines().nth(1).unwrap().parse().unwrap()
}

async fn refused(
    authority: &Authority,
    (field, token): (&Field, Option<&str>),
    text: &str,
) -> Problem {
    let body = filled(field, text);
    let said = match token {
        Some(_) => authority.send::<Value>(field.path, token, &body).await,
        None => local(authority, field.path, &body).await,
    };
    let at = format!("{} {} {text:?}", field.path, field.place);
    let Err(problem) = said else { panic!("{at}: it was taken") };
    assert_eq!(problem.code, Code::Malformed, "{at}: {problem}");
    problem
}

#[tokio::test]
async fn no_field_takes_what_cannot_be_seen_or_is_too_long() {
    let authority = Authority::start();
    authority.add("bob", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let before = entries(&authority).await;
    let people = of_people().into_iter().map(|field| (field, Some(ops.as_str())));
    for (field, token) in people.chain(of_operators().into_iter().map(|field| (field, None))) {
        for (odd, code) in ODD {
            let problem = refused(&authority, (&field, token), odd).await;
            let said = problem.message.to_lowercase();
            let is_told = field.is_name || said.contains(&format!("u+{code:0>4}"));
            assert!(is_told, "{} {} {odd:?}: {problem}", field.path, field.place);
            assert!(!problem.message.contains(odd), "it is not said again: {problem:?}");
        }
        refused(&authority, (&field, token), "").await;
        refused(&authority, (&field, token), &"x".repeat(5_000)).await;
        if !field.is_name {
            refused(&authority, (&field, token), " \u{3000}").await;
            let problem = refused(&authority, (&field, token), &"é".repeat(201)).await;
            assert!(problem.message.contains("is 402 bytes long; at most 400"), "{problem}");
        }
    }
    assert_eq!(entries(&authority).await, before, "nothing of it is in the ledger");
    // And what people do write is taken, to the last byte.
    for good in ["größe Ω 日本語 🙂", &"é".repeat(200)] {
        let lock = json!({"target": {"identity": "bob"}, "reason": good});
        authority.send::<Value>("/v1/locks", Some(&ops), &lock).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_signed_over_odd_words_is_refused_too() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let token = authority.login("ana", 1).await.unwrap();
    let before = entries(&authority).await;
    for (odd, _) in ODD {
        let text =
            json!({"version": wire::VERSION, "authority": authority.fingerprint, "identity": "ana",
            "public_key": key(9).public_key().to_openssh().unwrap(), "reason": odd, "at": 1})
            .to_string();
        let seal = |seed: u8, namespace: &str| {
            let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
            seal.to_pem(LineEnding::LF).unwrap()
        };
        let ask = json!({"signed": {"wish": text, "possession": seal(9, POSSESSION)}, "consent": seal(1, CONSENT)});
        let no =
            authority.send::<Value>("/v1/keys/requests", Some(&token), &ask).await.unwrap_err();
        assert_eq!(no.code, Code::Malformed, "{odd:?}: {no}");
    }
    assert_eq!(entries(&authority).await, before);
}

/// A call that comes new is met here before anybody decided what its fields may hold.
#[test]
fn every_call_that_is_sent_something_is_tried_or_holds_no_words() {
    let sources = [include_str!("../../src/http.rs"), include_str!("../../src/admin.rs")];
    let tried: Vec<&str> =
        of_people().iter().chain(&of_operators()).map(|field| field.path).collect();
    let mut posts = 0;
    for route in sources.iter().flat_map(|code| code.split(".route(").skip(1)) {
        let route = route.split('\n').next().unwrap();
        let path = route.split('"').nth(1).unwrap();
        if !route.contains("post(") {
            continue;
        }
        posts += 1;
        let filled =
            path.replace("{grant}", "g1").replace("{request}", "r1").replace("{number}", "1");
        let is_known = tried.contains(&filled.as_str()) != WORDLESS.contains(&path);
        assert!(is_known, "{path}: put its fields of words into the table, or it into WORDLESS");
    }
    assert!(posts >= 40, "{posts}");
}

/// Calls that hold no words that a person wrote: numbers, moments, keys, challenges, and texts that are verified as a whole.
const WORDLESS: [&str; 20] = [
    "/v1/login",
    "/v1/login/oidc/begin",
    "/v1/login/oidc/finish",
    "/v1/login/workload",
    "/v1/logins/end",
    "/v1/behaviour",
    "/v1/behaviour/accept",
    "/v1/requests/{request}/approve",
    "/v1/readings",
    "/v1/incidents/{number}/report",
    "/v1/retention/deletions/{number}/approve",
    "/v1/retention/deletions/{number}/withdraw",
    // What is searched for may be odd, and is shown escaped.
    "/v1/search",
    "/v1/search/terminals",
    "/v1/exports",
    "/v1/breakglass/receipts",
    "/v1/breakglass/reconcile",
    "/v1/keys/requests",
    "/v1/keys/requests/{number}/approve",
    // Names one that is there.
    "/admin/scim/tokens/end",
];
