//! What is written of the people's interface (`docs/openapi.json`) is what the program does: every call is in it and none that
//! is not there, bodies have the fields that it says and no others; and an outside tool that calls whatever the description
//! allows, and much that it does not, finds nothing.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};
use wire::problem::Problem;

use crate::authority::Authority;
use crate::routes::calls;

fn description() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

/// Every call in it: method, path, and what is said of it.
fn described(description: &Value) -> Vec<(String, String, &Value)> {
    let mut described = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, said) in methods.as_object().unwrap() {
            described.push((method.to_uppercase(), path.clone(), said));
        }
    }
    described
}

/// A value as the schema shows one by its examples.
fn example(description: &Value, schema: &Value) -> Value {
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
        return example(description, description.pointer(place.trim_start_matches('#')).unwrap());
    }
    if let Some(one) = schema.pointer("/anyOf/0") {
        return example(description, one);
    }
    let properties = schema["properties"].as_object().unwrap();
    let fields = properties.iter().map(|(name, of)| (name.clone(), example(description, of)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Something in the places of the names.
fn filled(path: &str) -> String {
    let path = path.replace("{session}", "4f0c9a1be2d37781").replace("{grant}", "g1");
    let path = path.replace("{request}", "r1").replace("{path}", "0/000");
    path.replace("{number}", "1").replace("{entry}", "1")
}

/// Whether the program takes the body or the query for one of the expected form, whatever it then says to it.
async fn is_understood(
    authority: &Authority,
    call: (&str, &str),
    (token, body): (&str, &Value),
) -> Result<(), String> {
    let said: Result<Value, Problem> = authority.call(call, Some(token), body).await;
    match said {
        Err(problem) if FORM.iter().any(|words| problem.message.starts_with(words)) => {
            Err(problem.message)
        }
        _ => Ok(()),
    }
}

#[test]
fn every_call_is_described_and_nothing_else() {
    let description = description();
    let mut written: Vec<_> =
        described(&description).into_iter().map(|(method, path, _)| (method, path)).collect();
    let mut there: Vec<_> = calls()
        .into_iter()
        .map(|(method, path)| (method.to_owned(), path.replace("{*", "{")))
        .collect();
    written.sort();
    there.sort();
    assert_eq!(written, there);
}

#[tokio::test]
async fn a_body_has_the_fields_that_are_described_and_no_others() {
    let authority = Authority::start();
    authority.add("ops", 2, &["--operator"]);
    let token = authority.login("ops", 2).await.unwrap();
    let description = description();
    let mut bodies = 0;
    for (method, path, said) in described(&description) {
        let Some(schema) = said.pointer("/requestBody/content/application~1json/schema") else {
            continue;
        };
        bodies += 1;
        authority.restart_if_braked(4);
        let place = filled(&path);
        let call = (method.as_str(), place.as_str());
        let whole = example(&description, schema);
        is_understood(&authority, call, (&token, &whole)).await.unwrap_or_else(|why| {
            panic!("{call:?} does not understand {whole}: {why}");
        });
        let mut more = whole.clone();
        more["more"] = 1.into();
        let said = is_understood(&authority, call, (&token, &more)).await;
        assert!(said.is_err(), "{call:?} takes a field that is not described");
        for name in whole.as_object().unwrap().keys() {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(name);
            let said = is_understood(&authority, call, (&token, &less)).await;
            let required = schema["required"].as_array().into_iter().flatten();
            let is_required = required.into_iter().any(|required| required == name);
            assert_eq!(said.is_err(), is_required, "{call:?} without {name}: {said:?}");
        }
    }
    assert!(bodies > 25, "{bodies}");
}

#[tokio::test]
async fn a_query_has_the_names_that_are_described_and_no_others() {
    let authority = Authority::start();
    authority.add("ops", 2, &["--operator"]);
    let token = authority.login("ops", 2).await.unwrap();
    let description = description();
    let mut queries = 0;
    for (method, path, said) in described(&description) {
        let parameters = said["parameters"].as_array().into_iter().flatten();
        let of_query: Vec<&Value> = parameters.filter(|one| one["in"] == "query").collect();
        if of_query.is_empty() {
            continue;
        }
        queries += 1;
        let words: Vec<String> = of_query
            .iter()
            .map(|one| {
                let value = example(&description, &one["schema"]);
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{}={}", one["name"].as_str().unwrap(), value.replace('@', "%40"))
            })
            .collect();
        let place = format!("{}?{}", filled(&path), words.join("&"));
        let call = (method.as_str(), place.as_str());
        is_understood(&authority, call, (&token, &Value::Null)).await.unwrap_or_else(|why| {
            panic!("{call:?} is not understood: {why}");
        });
        let place = format!("{place}&more=1");
        let call = (method.as_str(), place.as_str());
        let said = is_understood(&authority, call, (&token, &Value::Null)).await;
        assert!(said.is_err(), "{call:?} takes what is not described");
    }
    assert!(queries >= 10, "{queries}");
}

#[tokio::test]
async fn an_outside_tool_that_calls_whatever_it_can_think_of_finds_nothing() {
    let authority = Authority::start();
    authority.add("ops", 2, &["--operator"]);
    let token = authority.login("ops", 2).await.unwrap();
    let settings = authority.dir.path().join("fuzzer.toml");
    std::fs::write(&settings, format!("[headers]\nAuthorization = \"Bearer {token}\"\n")).unwrap();
    let cache = std::env::var_os("CURFEW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/curfew"))).unwrap();
    let fuzzer = cache.join("openapi/bin/schemathesis");
    assert!(fuzzer.exists(), "{} is not there: run `cargo xtask setup`", fuzzer.display());
    let description = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let said = Command::new(fuzzer)
        .arg("--config-file")
        .arg(&settings)
        .arg("run")
        .arg(description)
        .args(["--url", &format!("https://{}", authority.people()), "--tls-verify", "false"])
        .args(FUZZED)
        .current_dir(authority.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    // It really called: the ledger has grown, and is whole.
    let cases = text.lines().find_map(|line| line.trim().split_once(" generated, "));
    let cases: u32 = cases.and_then(|(count, _)| count.parse().ok()).unwrap_or_default();
    assert!(cases > 1_000, "{text}");
    authority.run(&["ledger", "verify"]);
    assert!(!authority.log().contains("panicked"));
}

/// How the program begins its answer to what is not of the expected form.
const FORM: [&str; 2] =
    ["the request is not in the expected form", "Failed to deserialize query string"];
/// Not tried: to end one's own login, after which nothing else would be tried, and logins, which are slowed after the tenth refusal
/// (503, and that would be all that is seen of them); `hostile.rs` and `login.rs` try those.
const FUZZED: [&str; 18] = [
    "--phases",
    "examples,coverage,fuzzing",
    "--checks",
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth,\
     negative_data_rejection,unsupported_method",
    "--max-examples",
    "5",
    "--seed",
    "1",
    "--exclude-path",
    "/v1/logins/end",
    "--exclude-path-regex",
    "^/v1/login(/|$)",
    "--generation-database",
    "none",
    "--request-timeout",
    "60",
    "--continue-on-failure",
    "--no-color",
];
