//! Jobs that log in with tokens of their issuer, and what is no such token.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use wire::api::Whoami;
use wire::identity::{Kind, Method};
use wire::login::{Known, WorkloadAsk};
use wire::problem::{Code, Problem};

use crate::authority::Authority;
use crate::issuer::{Issuer, now, pair, raw, token};

/// An authority that takes the jobs of this issuer's main branch.
fn trusting(issuer: &Issuer) -> Authority {
    let authority = Authority::start();
    let name = &issuer.name;
    let table = |identity: &str, claims: &str| {
        format!(
            "\n[[workload]]\nissuer = {name:?}\naudience = \"curfew\"\nidentity = {identity:?}\nclaims = {{ {claims} }}\n"
        )
    };
    let main = table("ci:deploy", "repository = \"acme/app\", ref = \"refs/heads/main\"");
    let tag = table("ci:release", "repository = \"acme/app\", tag = \"true\"");
    authority.configure(&format!("{main}{tag}"));
    authority
}

async fn exchange(authority: &Authority, token: &str) -> Result<Known, Problem> {
    let ask = WorkloadAsk { token: token.into(), identity: None };
    authority.send("/v1/login/workload", None, &ask).await
}

#[tokio::test]
async fn a_job_s_token_is_exchanged_once_for_a_login_of_what_it_was_mapped_to() {
    let issuer = Issuer::start();
    let authority = trusting(&issuer);
    let job = issuer.token();
    let known = exchange(&authority, &job).await.unwrap();
    assert_eq!(known.identity.as_str(), "ci:deploy");
    let who: Whoami = authority.read("/v1/whoami", &known.token.token).await.unwrap();
    assert_eq!((who.kind, who.method, who.mfa_at), (Kind::Workload, Method::Workload, None));
    assert!(!who.operator && who.expires.secs() <= now() + 15 * 60 + 5);
    let again = exchange(&authority, &job).await.unwrap_err();
    assert!(again.message.contains("exchanged already"), "{}", again.message);
    authority.restart();
    assert!(exchange(&authority, &job).await.is_err(), "also after a restart");
    assert!(exchange(&authority, &issuer.token()).await.is_ok());
    // Disabled like anybody else.
    authority.run(&["identity", "disable", "ci:deploy", "--reason", "a test"]);
    assert!(authority.read::<Whoami>("/v1/whoami", &known.token.token).await.is_err());
    let refused = exchange(&authority, &issuer.token()).await.unwrap_err();
    assert!(refused.message.contains("not active"), "{}", refused.message);
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}

#[tokio::test]
async fn every_forged_stale_or_foreign_token_is_refused_for_its_reason() {
    let issuer = Issuer::start();
    let other = Issuer::start();
    let authority = trusting(&issuer);
    for (what, bad, why) in forged(&issuer).into_iter().chain(unfit(&issuer, &other)) {
        // Whoever is refused often is braked; that is not what is looked at here.
        authority.restart_if_braked(19);
        let refused = exchange(&authority, &bad).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated, "{what}: {}", refused.message);
        assert!(refused.message.contains(why), "{what}: {}", refused.message);
        let signature = bad.rsplit('.').next().unwrap_or_default();
        assert!(signature.len() < 40 || !authority.log().contains(signature), "{what}");
    }
}

/// A token that is refused: what is wrong with it, itself, and what must be said.
type Bad = (&'static str, String, &'static str);

/// Tokens that their issuer did not sign as they stand.
fn forged(issuer: &Issuer) -> Vec<Bad> {
    let header = json!({"alg": "EdDSA", "kid": "one"});
    let claims = issuer.claims();
    let text = claims.to_string();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let secret = hmac::Key::new(hmac::HMAC_SHA256, pair(1).public_key().as_ref());
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","kid":"one"}"#), part(&text));
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signed.as_bytes()).as_ref());
    let none = format!("{}.{}.", part(r#"{"alg":"none","kid":"one"}"#), part(&text));
    let named = |header: &str| raw(header, &text, 1);
    vec![
        ("the public key as a shared secret", format!("{signed}.{tag}"), "never believed"),
        ("no algorithm", none, "never believed"),
        ("another algorithm", named(r#"{"alg":"RS256","kid":"one"}"#), "no key that"),
        ("another key under its name", token(&header, &claims, 2), "not by its issuer"),
        ("a key that is not published", named(r#"{"alg":"EdDSA","kid":"two"}"#), "no key that"),
        ("a key along", named(r#"{"alg":"EdDSA","kid":"one","jwk":{}}"#), "`jwk`, which is"),
        ("a demand", named(r#"{"alg":"EdDSA","kid":"one","crit":["a"],"a":1}"#), "`crit`, which"),
        ("a doubled header", named(r#"{"alg":"none","alg":"EdDSA","kid":"one"}"#), "twice"),
        (
            "a doubled claim",
            raw(&header.to_string(), &text.replace('{', r#"{"sub":"x","#), 1),
            "twice",
        ),
        ("no token", "x".into(), "not three parts"),
    ]
}

/// Tokens that are signed well, and are not for us, or not now, or not for this.
fn unfit(issuer: &Issuer, other: &Issuer) -> Vec<Bad> {
    let at = now();
    let with = |changes: serde_json::Value| issuer.token_with(&changes);
    let posing = token(&json!({"alg": "EdDSA", "kid": "one"}), &other.claims(), 1);
    vec![
        ("another audience", with(json!({"aud": "other"})), "another audience"),
        ("several audiences", with(json!({"aud": ["curfew", "other"]})), "another party"),
        ("over", with(json!({"iat": at - 900, "exp": at - 300})), "expired"),
        ("not yet", with(json!({"nbf": at + 300})), "not valid yet"),
        ("from the future", with(json!({"iat": at + 300, "exp": at + 600})), "not valid yet"),
        ("good for a day", with(json!({"exp": at + 86_400})), "longer"),
        ("without an end", with(json!({"exp": null})), "`exp`"),
        ("another issuer's", other.token(), "or this issuer"),
        ("of another issuer, by name", posing, "or this issuer"),
        ("another branch", with(json!({"ref": "refs/heads/main2"})), "these claims"),
        ("another repository", with(json!({"repository": "acme/app/x"})), "these claims"),
        ("without the claim", with(json!({"ref": null})), "these claims"),
    ]
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_followed_and_the_old_one_is_not_believed_then() {
    let issuer = Issuer::start();
    let authority = trusting(&issuer);
    exchange(&authority, &issuer.token()).await.unwrap();
    issuer.publish(&[("two", 2)]);
    let of = |id: &str, seed| token(&json!({"alg": "EdDSA", "kid": id}), &issuer.claims(), seed);
    for tries in 0.. {
        match exchange(&authority, &of("two", 2)).await {
            Ok(known) => {
                assert_eq!(known.identity.as_str(), "ci:deploy");
                break;
            }
            Err(problem) => assert!(tries < 15, "{}", problem.message),
        }
        // Made-up names of keys make nobody fetch more often than every few seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(exchange(&authority, &of("one", 1)).await.is_err());
}

#[tokio::test]
async fn without_its_issuer_logins_go_on_and_new_ones_say_why() {
    let issuer = Issuer::start();
    let authority = trusting(&issuer);
    let known = exchange(&authority, &issuer.token()).await.unwrap();
    issuer.set_up(false);
    // Its keys are known for a while.
    assert!(exchange(&authority, &issuer.token()).await.is_ok());
    authority.restart();
    let refused = exchange(&authority, &issuer.token()).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.message.contains("cannot be asked: it answered 503"), "{}", refused.message);
    assert!(authority.read::<Whoami>("/v1/whoami", &known.token.token).await.is_ok());
    issuer.set_up(true);
    assert!(exchange(&authority, &issuer.token()).await.is_ok());
}

#[tokio::test]
async fn where_several_fit_one_must_be_named() {
    let issuer = Issuer::start();
    let authority = trusting(&issuer);
    let both = json!({"tag": true});
    let refused = exchange(&authority, &issuer.token_with(&both)).await.unwrap_err();
    assert!(refused.message.contains("ci:deploy, ci:release"), "{}", refused.message);
    let identity = Some("ci:release".parse().unwrap());
    let ask = WorkloadAsk { token: issuer.token_with(&both), identity };
    let known: Known = authority.send("/v1/login/workload", None, &ask).await.unwrap();
    assert_eq!(known.identity.as_str(), "ci:release");
}
