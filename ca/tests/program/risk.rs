//! Risk in the authority: reckoned when somebody asks, kept with what it rests on, and what policy makes of it.

use std::time::Duration;

use wire::api::SessionView;
use wire::hostlink::ToAuthority;
use wire::identifier::SessionId;
use wire::problem::Code;
use wire::record::{Event, Incident, Meddled, Record};
use wire::request::State;
use wire::review::{Review, ReviewAsk, Verdict};

use crate::authority::key;
use crate::certificate::{ask, eventually, issue};
use crate::link::{acknowledged, began, ended, greeted, record};
use crate::policy::{entries, put};
use crate::request::{Site, dba};

const FREE: &str = r#"
[role.dba]
members = ["ana"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "10m"
max_duration = "1h"

[quorum.colleague]
seats = [{ people = ["bob"] }]
"#;
/// A colleague's approval from this risk on.
fn from(risk: u8) -> String {
    format!(
        r#"
@id("members") permit (principal, action, resource) when {{ true }};
@id("risk") @advice("a colleague's approval: the risk is {risk} or more")
forbid (principal, action == Curfew::Action::"issue", resource)
when {{ context.risk >= {risk} }} unless {{ context.quorums.contains("colleague") }};
"#
    )
}

fn weights(site: &Site, file: &str, points: &[(&str, u32)], more: &str) {
    let mut text = format!("version = 1\nname = \"{file}\"\n{more}\n");
    for (factor, points) in points {
        text.push_str(&format!("[factor.{factor}]\npoints = {points}\n"));
    }
    std::fs::write(site.authority.dir.path().join(file), text).unwrap();
}

async fn site() -> Site {
    let site = Site::with(FREE).await;
    let path = |file: &str| site.authority.dir.path().join(file).display().to_string();
    // Before the first table of the file.
    let config = site.authority.dir.path().join("ca.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    let more = format!(
        "risk_file = {:?}\nrisk_trial_file = {:?}\n",
        path("risk.toml"),
        path("risk-trial.toml")
    );
    std::fs::write(&config, more + &before).unwrap();
    site.authority.restart();
    site
}

#[tokio::test]
async fn a_risk_is_kept_with_its_reasons_and_comes_out_the_same_again() {
    let site = site().await;
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    let risk = made.risk.unwrap();
    assert!(risk.score > 40, "nothing is known of ana: {risk:?}");
    assert!(risk.reasons[0].starts_with('+'), "{risk:?}");
    assert!(risk.lower.iter().any(|one| one.how.contains("second factor")), "{risk:?}");
    assert!(risk.missing.iter().any(|one| one.contains("tier of db1")), "{risk:?}");
    let kept = entries(&site.authority, "request_made");
    assert_eq!(kept[0]["risk"]["in_force"]["score"], risk.score);
    assert_eq!(kept[0]["risk"]["case"]["source"], "127.0.0.0/24");
    let weights = entries(&site.authority, "risk_changed");
    assert_eq!(kept[0]["risk"]["in_force"]["weights"], weights[0]["hash"]);
    let told = site.authority.run(&["risk", "explain", "r1"]);
    assert!(told.contains(&format!("risk of r1: {} (\"as shipped\"", risk.score)), "{told}");
    assert!(told.contains("no second factor was shown in this login"), "{told}");
    assert!(told.contains("reckoned again as of then: the same"), "{told}");
    // What happens afterwards, and a start, change nothing of what was known then.
    site.request("ana", &dba(&["db2"])).await.unwrap();
    site.authority.restart();
    let again = site.authority.run(&["risk", "explain", "r1"]);
    assert_eq!(again, told);
    let (code, said) = site.authority.refuse(&["risk", "explain", "r9"]);
    assert!(code == 1 && said.contains("there is no request r9"), "{said}");
    site.holds();
}

#[tokio::test]
async fn policy_asks_for_more_from_a_risk_on_and_no_sooner() {
    let site = site().await;
    put(&site.authority, &from(30)).await;
    weights(&site, "risk.toml", &[("tier", 29)], "");
    eventually(|| site.authority.log().contains("other weights are in force")).await;
    assert!(
        site.certificate("ana").await.is_ok(),
        "a host without a tier is of 29 points, and no more"
    );
    let issued = entries(&site.authority, "certificate");
    assert_eq!(issued[0]["policy"]["question"]["act"]["issue"]["risk"], 29);
    assert_eq!(issued[0]["risk"]["in_force"]["score"], 29);
    weights(&site, "risk.toml", &[("tier", 30)], "");
    eventually(|| site.authority.log().matches("other weights are in force").count() == 2).await;
    let refused = site.certificate("ana").await.unwrap_err();
    assert_eq!(refused.code, Code::Denied);
    assert!(refused.message.contains("the risk is 30 or more; ask for it with"), "{refused}");
    let denied = entries(&site.authority, "denial");
    assert_eq!(denied[0]["risk"]["in_force"]["score"], 30);
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    assert!(matches!(made.view.state, State::Pending { .. }), "{made:?}");
    assert_eq!((made.risk.unwrap().score, made.demanded.len()), (30, 1));
    site.approve("bob", 1).await.unwrap();
    assert!(site.certificate("ana").await.is_ok());
    site.holds();
}

#[tokio::test]
async fn weights_that_are_wrong_are_refused_and_those_from_before_stay() {
    let site = site().await;
    weights(&site, "risk.toml", &[("tier", 10)], "");
    eventually(|| site.authority.log().contains("other weights are in force")).await;
    weights(&site, "risk.toml", &[("tiers", 10)], "");
    eventually(|| site.authority.log().contains("weights are refused")).await;
    let status = site.authority.run(&["status"]);
    assert!(
        status.contains("the weights of risks are refused") && status.contains("risk.toml:4: "),
        "{status}"
    );
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    assert_eq!(made.risk.unwrap().score, 10);
    let refused = entries(&site.authority, "risk_refused");
    assert_eq!(refused[0]["kept"], entries(&site.authority, "risk_changed")[1]["hash"]);
    let (code, said) = site.authority.refuse(&["check"]);
    assert!(code == 78 && said.contains("risk.toml:4: "), "{code} {said}");
    // Weights for pilots alone are not for everybody.
    weights(&site, "risk.toml", &[("tier", 1)], "pilot = ['dba']");
    let (code, said) = site.authority.refuse(&["risk", "check"]);
    assert!(code == 78 && said.contains("`pilot` is for weights that are only tried"), "{said}");
}

#[tokio::test]
async fn weights_on_trial_are_recorded_and_count_for_pilots_alone() {
    let site = site().await;
    weights(&site, "risk.toml", &[("tier", 10)], "");
    weights(&site, "risk-trial.toml", &[("tier", 90)], "pilot = ['pilots']");
    site.authority.restart();
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.authority.run(&["team", "add", "pilots", "ana"]);
    site.request("ana", &dba(&["db2"])).await.unwrap();
    let kept = entries(&site.authority, "request_made");
    let scores = |at: usize| {
        (kept[at]["risk"]["in_force"]["score"].clone(), kept[at]["risk"]["other"]["score"].clone())
    };
    assert_eq!(scores(0), (10.into(), 90.into()));
    assert_eq!(scores(1), (90.into(), 10.into()));
    let (code, said) = site.authority.refuse(&["risk", "compare", "--at", "50"]);
    assert_eq!(
        (code, said.trim()),
        (1, "curfew-ca: 1 risks would have been on the other side of 50")
    );
    assert!(site.authority.run(&["risk", "compare", "--at", "95"]).starts_with("2 risks; 0 would"));
}

/// A session of ana's on db3 under a certificate that the ledger issued, as a host reports it; it has ended.
async fn used(site: &Site) -> SessionId {
    let host = site.authority.host("db3").await;
    let (mut frames, _) = greeted(&site.authority, &host, 0).await;
    let issued = issue(&site.authority, site.token("ana"), &ask("db3")).await.unwrap();
    let now = issued.valid_before.before(Duration::from_secs(600));
    let mut event = began();
    if let Event::SessionBegan(began) = &mut event {
        began.subject.grant = issued.grant;
        began.subject.serial = issued.serial;
        began.subject.host = issued.host.clone();
        began.subject.key = wire::certificate::fingerprint(key(7).public_key().key_data());
    }
    let at = |number, event| Record { at: now, ..record(number, event) };
    frames.send(&ToAuthority::Records(vec![at(1, event), at(2, ended())])).await;
    acknowledged(&mut frames).await;
    let sessions: Vec<SessionView> =
        site.authority.read("/v1/sessions", site.token("ops")).await.unwrap();
    sessions[0].session
}

#[tokio::test]
async fn only_what_a_reviewer_found_in_order_becomes_usual() {
    let site = site().await;
    weights(&site, "risk.toml", &[("new-login", 40), ("outcomes", 60)], "");
    site.authority.restart();
    let session = used(&site).await;
    let score = async |request: u64| {
        site.request("ana", &dba(&[if request == 1 { "db1" } else { "db2" }])).await.unwrap();
        let made = entries(&site.authority, "request_made");
        let kept = made.last().unwrap();
        (kept["risk"]["in_force"]["score"].as_u64().unwrap(), kept["risk"]["case"]["past"].clone())
    };
    let (before, past) = score(1).await;
    assert_eq!(past["own"]["weight"], 0, "nobody has looked at it: {past}");
    let ask = ReviewAsk { session, verdict: Verdict::Ok, note: String::new(), gap: None };
    let _: Review =
        site.authority.send("/v1/reviews", Some(site.token("ops")), &ask).await.unwrap();
    let (after, past) = score(2).await;
    assert!(past["own"]["weight"].as_u64().unwrap() > 0, "{past}");
    assert!(after < before, "{before} {after}");
}

#[tokio::test]
async fn who_signed_weights_is_in_their_entry_and_only_who_administers_signs_them() {
    let site = site().await;
    let config = site.authority.dir.path().join("ca.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("risk_signed = true\n{before}")).unwrap();
    // The weights that come with the program need nobody's signature.
    site.authority.restart();
    let text = |points: u32| {
        let (name, tier) = ("ours", "[factor.tier]");
        format!("version = 1\nname = \"{name}\"\n{tier}\npoints = {points}\n")
    };
    let file = site.authority.dir.path().join("risk.toml");
    let seal_path = site.authority.dir.path().join("risk.toml.sig");
    // A signature over weights of these points, then weights of those.
    let put = |signed: u32, points: u32, (seed, namespace): (u8, &str)| {
        let seal = key(seed)
            .sign(namespace, ssh_key::HashAlg::Sha512, text(signed).as_bytes())
            .and_then(|seal| seal.to_pem(ssh_key::LineEnding::LF))
            .unwrap();
        std::fs::write(&seal_path, seal).unwrap();
        std::fs::write(&file, text(points)).unwrap();
    };
    let refused = async |why: &str| {
        eventually(|| {
            site.authority.run(&["status"]).contains("the weights of risks are refused")
                && site.authority.run(&["status"]).contains(why)
        })
        .await;
    };
    let namespace = wire::risk::NAMESPACE;
    let (ops, bob) = (site.seed("ops"), site.seed("bob"));
    std::fs::write(&file, text(10)).unwrap();
    refused("nobody has signed them").await;
    put(11, 11, (bob, namespace));
    refused("does not let bob administer").await;
    put(12, 12, (99, namespace));
    refused("is nobody's key").await;
    put(13, 13, (ops, wire::request::NAMESPACE));
    refused("another purpose").await;
    put(14, 15, (ops, namespace));
    refused("does not verify").await;
    std::fs::write(&seal_path, "no signature").unwrap();
    refused("risk.toml.sig: ").await;
    assert_eq!(entries(&site.authority, "risk_changed").len(), 1, "none of it came into force");
    put(16, 16, (ops, namespace));
    eventually(|| entries(&site.authority, "risk_changed").len() == 2).await;
    let changed = entries(&site.authority, "risk_changed");
    assert_eq!(changed[0]["by"], "local:authority");
    assert_eq!((&changed[1]["by"], &changed[1]["signed"]["by"]), (&"ops".into(), &"ops".into()));
    // Who signed them may leave: they stay in force, also over a start.
    site.authority.run(&["identity", "disable", "ops"]);
    site.authority.restart();
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    assert_eq!(made.risk.unwrap().score, 16);
    let verified = site.authority.run(&["ledger", "verify"]);
    assert!(verified.contains("1 weights of risks"), "{verified}");
    site.holds();
}

#[tokio::test]
async fn scores_are_held_against_what_reviewers_found_and_somebody_is_reminded_to() {
    let site = site().await;
    weights(&site, "risk.toml", &[("tier", 60)], "review_by = '2026-01-01'");
    site.authority.restart();
    put(&site.authority, &from(90)).await;
    let session = used(&site).await;
    let note = "it read the customers".to_owned();
    let ask = ReviewAsk { session, verdict: Verdict::Incident, note, gap: None };
    let _: Review =
        site.authority.send("/v1/reviews", Some(site.token("ops")), &ask).await.unwrap();
    let foreseen = site.authority.run(&["risk", "verdicts", "--at", "60"]);
    assert!(
        foreseen.starts_with("of 1 sessions that were not in order 1 had a risk of 60"),
        "{foreseen}"
    );
    let missed = site.authority.run(&["risk", "verdicts", "--at", "61"]);
    let line = format!(
        "missed: session {session} was incident with a risk of 60: it read the customers\n"
    );
    assert!(
        missed.starts_with(&line) && missed.contains("in order 0 had a risk of 61"),
        "{missed}"
    );
    let json = site.authority.run(&["risk", "verdicts", "--at", "61", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["agreement"]["missed"], &json["sessions"][0]["score"]),
        (&1.into(), &60.into())
    );
    // It is told that somebody should look, until they have.
    let told = || site.authority.run(&["status"]).contains("to be looked at again by 2026-01-01");
    assert!(told(), "{}", site.authority.run(&["status"]));
    assert!(site.authority.run(&["risk", "check"]).contains("to be looked at again by 2026-01-01"));
    weights(&site, "risk.toml", &[("tier", 60)], "review_by = '2999-01-01'");
    eventually(|| !told()).await;
    assert!(!site.authority.run(&["risk", "check"]).contains("review"));
    weights(&site, "risk.toml", &[("tier", 60)], "");
    assert!(site.authority.run(&["check"]).contains("it names no `review_by`"));
    weights(&site, "risk.toml", &[("tier", 60)], "review_by = 'soon'");
    let (code, said) = site.authority.refuse(&["risk", "check"]);
    assert!(
        code == 78 && said.contains("risk.toml:3: review_by: write a day as 2027-06-01"),
        "{said}"
    );
}

#[tokio::test]
async fn an_incident_on_a_host_raises_the_risk_of_going_there() {
    let site = site().await;
    weights(&site, "risk.toml", &[("incidents", 90)], "");
    site.authority.restart();
    let host = site.authority.host("db3").await;
    let score = async |name: &str| {
        let made = site.request("ana", &dba(&[name])).await.unwrap();
        let because = serde_json::json!({"reason": "asked anew"});
        let path = format!("/v1/requests/{}/withdraw", made.view.request);
        let _over: serde_json::Value =
            site.authority.send(&path, Some(site.token("ana")), &because).await.unwrap();
        made.risk.unwrap()
    };
    assert_eq!(score("db3").await.score, 0);
    let (mut frames, _) = greeted(&site.authority, &host, 0).await;
    for (number, risk) in [(1, 30), (2, 60), (3, 90), (4, 90)] {
        let meddled = Meddled { what: format!("sshd was changed {number}"), mended: false };
        let event = Event::Incident(Box::new(Incident::Meddled(meddled)));
        frames.send(&ToAuthority::Records(vec![record(number, event)])).await;
        acknowledged(&mut frames).await;
        let told = score("db3").await;
        assert_eq!(told.score, risk, "{told:?}");
    }
    let told = score("db3").await;
    assert!(told.reasons[0].contains("4 incidents on a host within 90 days"), "{told:?}");
    assert_eq!(score("db1").await.score, 0, "elsewhere nothing happened");
    // Settled is not forgotten, and it comes out the same again.
    let open = site.authority.run(&["incident", "list", "--json"]);
    assert!(open.contains("sshd was changed 1"), "{open}");
    let explained = site.authority.run(&["risk", "explain", "r2"]);
    assert!(explained.contains("reckoned again as of then: the same"), "{explained}");
}
