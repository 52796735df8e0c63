//! Break-glass while the authority is up: who may take it, how loud it is, and what waits until somebody has looked into it. And
//! quorums that shrink, which are as loud.

use wire::api::{CertificateAsk, CertificateReply, ExtendAsk, ExtendReply, GrantView, Token};
use wire::breakglass::pass::{self, Pass};
use wire::ceremony::{BreakGlass, PassView};
use wire::certificate::Certificate;
use wire::incident::{Cause, IncidentView};
use wire::limits::{EXTENSION, Limits};
use wire::problem::{Code, Problem};
use wire::request::{End, RequestAsk, RequestDetail, State, VerdictAsk};
use wire::review::{Review, Verdict};

use crate::certificate::{ask, eventually, issue};
use crate::policy::{entries, put};
use crate::request::{Site, TWO, dba};
use crate::sk::SecurityKey;

/// The default, and break-glass for whoever has the role.
fn policy(site: &Site) -> String {
    let default = site.authority.run(&["policy", "default"]);
    format!(
        "{default}\n@id(\"on-call\")\npermit (principal, action == Curfew::Action::\"breakglass\", resource)\n\
         when {{ principal in context.role && context.seconds <= 3600 }};\n"
    )
}

fn broken(hosts: &[&str]) -> RequestAsk {
    RequestAsk { breakglass: true, ..dba(hosts) }
}

/// Somebody's login with a security key that was touched and knew its holder.
async fn strong(site: &Site, who: &str, seed: u8) -> String {
    let key = SecurityKey::new(seed);
    site.authority.run(&["identity", "add", who, "--key", &key.public()]);
    again(site, who, &key).await
}

async fn again(site: &Site, who: &str, key: &SecurityKey) -> String {
    let mut answer = site.authority.answer(who, 1).await;
    let fingerprint = &site.authority.fingerprint;
    let message = wire::login::message(fingerprint, &answer.identity, &answer.challenge);
    answer.signature = key.seal(wire::login::NAMESPACE, message.as_bytes(), 5);
    let token: Token = site.authority.send("/v1/login", None, &answer).await.unwrap();
    token.token
}

async fn take(site: &Site, token: &str, ask: &RequestAsk) -> Result<RequestDetail, Problem> {
    site.authority.send("/v1/requests", Some(token), ask).await
}

fn refused(said: Result<RequestDetail, Problem>, code: Code, words: &str) {
    let problem = said.unwrap_err();
    assert!(problem.code == code && problem.message.contains(words), "{problem:?}");
}

async fn review(site: &Site, who: &str, request: &str) -> Result<Review, Problem> {
    let ask = VerdictAsk { verdict: Verdict::Ok, note: "it was stuck".into(), reviewer: None };
    let path = format!("/v1/requests/{request}/review");
    site.authority.send(&path, Some(site.token(who)), &ask).await
}

async fn deny(site: &Site, request: &str) {
    let because = serde_json::json!({"reason": "it is over"});
    let (path, token) = (format!("/v1/requests/{request}/deny"), site.token("ops"));
    let _over: RequestDetail = site.authority.send(&path, Some(token), &because).await.unwrap();
}

async fn passes(site: &Site) -> Vec<PassView> {
    let state: BreakGlass = site.authority.read("/v1/breakglass", site.token("ops")).await.unwrap();
    state.passes
}

async fn incidents(site: &Site) -> Vec<IncidentView> {
    site.authority.read("/v1/incidents", site.token("ops")).await.unwrap()
}

/// What `curfew-ca` calls when it is used: it writes what it hears into a file.
fn paged(site: &Site) -> std::path::PathBuf {
    let path = site.authority.dir.path().join("paged");
    let script = format!("cat >> {0}; echo >> {0}", path.display());
    site.authority.configure(&format!("breakglass_alarm = [\"/bin/sh\", \"-c\", {script:?}]\n"));
    path
}

#[tokio::test]
async fn nobody_takes_break_glass_whom_the_policy_does_not_let_or_without_a_second_factor() {
    let site = Site::with(TWO).await;
    let ana = strong(&site, "ana", 21).await;
    refused(take(&site, &ana, &broken(&["db1"])).await, Code::Denied, "does not let ana do that");
    put(&site.authority, &policy(&site)).await;
    let plain = site.request("ana", &broken(&["db1"])).await;
    refused(plain, Code::Denied, "second factor that was shown in the last 10 minutes");
    let eve = strong(&site, "eve", 22).await;
    refused(take(&site, &eve, &broken(&["db1"])).await, Code::Denied, "does not let eve in on db1");
    refused(take(&site, &ana, &broken(&["db9"])).await, Code::Denied, "in on db9");
    let extends = Some("g1".parse().unwrap());
    for (ask, words) in [
        (RequestAsk { duration_secs: Some(3_601), ..broken(&["db1"]) }, "an hour at most"),
        (RequestAsk { ticket: Some("OPS-1".parse().unwrap()), ..broken(&["db1"]) }, "ticket"),
        (
            RequestAsk { start: Some(wire::time::Timestamp::from_secs(1)), ..broken(&["db1"]) },
            "in the past",
        ),
        (RequestAsk { extends, ..broken(&[]) }, "no grant g1"),
    ] {
        let problem = take(&site, &ana, &ask).await.unwrap_err();
        assert!(problem.message.contains(words), "{words}: {problem:?}");
    }
    assert!(incidents(&site).await.is_empty());
    assert!(entries(&site.authority, "request_refused").len() >= 5);
    site.holds();
}

#[tokio::test]
async fn break_glass_is_told_at_once_recorded_whole_and_the_next_waits_for_a_review() {
    let site = Site::with(TWO).await;
    let paged = paged(&site);
    put(&site.authority, &policy(&site)).await;
    let ana = strong(&site, "ana", 21).await;
    let taken = take(&site, &ana, &broken(&["db1"])).await.unwrap();
    assert!(matches!(taken.view.state, State::Approved { secs: 600, .. }), "{:?}", taken.view);
    assert_eq!(taken.note.as_deref(), Some("break-glass: nobody approved it"));
    let id = taken.view.request.to_string();
    // Before there is any certificate: an incident, the log, and whoever is called.
    let told = incidents(&site).await;
    let is_told = |one: &IncidentView| matches!(&one.cause, Cause::BreakGlass { identity, .. } if identity.as_str() == "ana");
    assert!(told.len() == 1 && is_told(&told[0]), "{told:?}");
    assert!(site.authority.log().contains("BREAK-GLASS by ana, which nobody approved"));
    let heard = || std::fs::read_to_string(&paged).unwrap_or_default();
    eventually(|| heard().contains("the primary is stuck")).await;
    is_whole(&site, &ana, &id).await;
    goes_on_and_waits(&site, &ana, &id).await;
    // Its end, and what waits then.
    refused_review(&site, &id, "ops", "goes on").await;
    deny(&site, &id).await;
    let waits = take(&site, &ana, &broken(&["db1"])).await;
    refused(waits, Code::Conflict, "has not been reviewed");
    let status = site.authority.run(&["status"]);
    assert!(status.contains(&format!("curfew breakglass review {id}")), "{status}");
    refused_review(&site, &id, "ana", "does not let ana").await;
    refused_review(&site, &id, "bob", "does not let bob").await;
    let kept = review(&site, "ops", &id).await.unwrap();
    assert_eq!((kept.by.as_str(), kept.verdict), ("ops", Verdict::Ok));
    assert!(incidents(&site).await.is_empty(), "a good verdict settles them");
    let another = take(&site, &ana, &broken(&["db2"])).await.unwrap();
    assert_ne!(another.view.request, taken.view.request);
    site.holds();
}

/// The certificate under it: an hour at most, everything recorded, and only for a login with a second factor.
async fn is_whole(site: &Site, ana: &str, id: &str) {
    let plain = issue(&site.authority, site.token("ana"), &ask("db1")).await.unwrap_err();
    assert!(plain.message.contains("this login has shown no second factor"), "{plain:?}");
    let reply: CertificateReply = issue(&site.authority, ana, &ask("db1")).await.unwrap();
    let certificate = Certificate::from_openssh(&reply.certificate).unwrap();
    let text = |name| {
        let text = certificate.extensions().text(name).unwrap().unwrap();
        std::str::from_utf8(text).unwrap().to_owned()
    };
    let said = Pass::from_extension(&text(pass::EXTENSION)).unwrap();
    assert_eq!(said.request.to_string(), id);
    let limits = Limits::from_extension(&text(EXTENSION)).unwrap();
    assert_eq!(limits.recording, pass::limits().recording);
    let issued = entries(&site.authority, "certificate");
    let asked = &issued.last().unwrap()["policy"]["question"]["act"];
    assert!(asked["breakglass"].is_object(), "{asked}");
    // Nothing makes it longer, whatever its role says.
    let grants: Vec<GrantView> = site.authority.read("/v1/grants", ana).await.unwrap();
    let path = format!("/v1/grants/{}/extend", grants[0].grant);
    let more = ExtendAsk { by_secs: 60, reason: "more".into() };
    let longer: Result<ExtendReply, Problem> = site.authority.send(&path, Some(ana), &more).await;
    assert!(longer.is_err());
    let free = CertificateAsk { host: "db2".parse().unwrap(), ..ask("db2") };
    assert!(issue(&site.authority, ana, &free).await.is_err(), "it opens what was named");
}

/// The same again is the same; anything else is a second use.
async fn goes_on_and_waits(site: &Site, ana: &str, id: &str) {
    let same = take(site, ana, &broken(&["db1"])).await.unwrap();
    assert_eq!((same.view.request.to_string(), incidents(site).await.len()), (id.to_owned(), 1));
    let other = take(site, ana, &broken(&["db2"])).await;
    refused(other, Code::Conflict, "you have break-glass");
    let seen = passes(site).await;
    assert!(seen.len() == 1 && seen[0].is_used && seen[0].due.is_some(), "{seen:?}");
}

async fn refused_review(site: &Site, id: &str, who: &str, words: &str) {
    let problem = review(site, who, id).await.unwrap_err();
    assert!(problem.message.contains(words), "{who}: {problem:?}");
}

#[tokio::test]
async fn nobody_reviews_their_own_and_on_the_authority_s_machine_a_reviewer_is_named() {
    let site = Site::with(TWO).await;
    put(&site.authority, &policy(&site)).await;
    let ops = strong(&site, "ops", 23).await;
    let taken = take(&site, &ops, &broken(&["db1"])).await.unwrap();
    let id = taken.view.request.to_string();
    issue(&site.authority, &ops, &ask("db1")).await.unwrap();
    site.authority.run(&["grant", "end", "g1", "--reason", "done"]);
    assert!(matches!(
        site.show("ops", taken.view.request.number()).await.unwrap().view.state,
        State::Ended { how: End::Returned | End::Revoked, .. }
    ));
    let own = review(&site, "ops", &id).await.unwrap_err();
    assert!(own.message.contains("nobody reviews"), "{own:?}");
    let line = |reviewer: &'static str| {
        ["breakglass", "review", &id, "--reviewer", reviewer, "--verdict", "ok", "--note", "fine"]
            .map(str::to_owned)
    };
    let run = |reviewer| {
        let line = line(reviewer);
        site.authority.refuse(&line.each_ref().map(String::as_str)).1
    };
    assert!(run("ops").contains("break-glass of their own"));
    assert!(run("nobody").contains("nobody is no active person"));
    let line = line("bob");
    let said = site.authority.run(&line.each_ref().map(String::as_str));
    assert!(said.contains("is reviewed by bob: ok"), "{said}");
    let kept = entries(&site.authority, "request_reviewed");
    assert_eq!((&kept[0]["by"], &kept[0]["reviewer"]), (&"local:root".into(), &"bob".into()));
    let told = site.authority.run(&["breakglass", "status"]);
    assert!(told.contains(&format!("{id}  taken by ops without approval")), "{told}");
    for (wrong, words) in [("r99", "there is no request r99"), ("x", "neither a serial nor")] {
        let args =
            ["breakglass", "review", wrong, "--reviewer", "bob", "--verdict", "ok", "--note", "x"];
        let (_, said) = site.authority.refuse(&args);
        assert!(said.contains(words), "{said}");
    }
    site.holds();
}

#[tokio::test]
async fn a_call_that_fails_is_told_until_one_goes_out() {
    let site = Site::with(TWO).await;
    put(&site.authority, &policy(&site)).await;
    let gone = site.authority.dir.path().join("modem");
    let script = format!("test -e {} || {{ echo no modem >&2; exit 3; }}", gone.display());
    site.authority.configure(&format!("breakglass_alarm = [\"/bin/sh\", \"-c\", {script:?}]\n"));
    let ana = strong(&site, "ana", 21).await;
    take(&site, &ana, &broken(&["db1"])).await.unwrap();
    let concerned = || site.authority.run(&["status"]).contains("nobody was called for incident");
    eventually(concerned).await;
    std::fs::write(&gone, "").unwrap();
    // It is told again at the next start: what came lately may have been missed.
    site.authority.restart();
    eventually(|| site.authority.log().contains("somebody was called")).await;
    assert!(!concerned());
}

/// The same two seats, of which one does after a while.
fn shrinking() -> String {
    format!(
        "{TWO}\n[quorum.two.shrink]\nafter = \"2s\"\nseats = [{{ people = [\"bob\"] }}]\nroles = [\"dba\"]\n"
    )
}

#[tokio::test]
async fn a_quorum_shrinks_where_the_rules_say_so_and_that_is_an_incident() {
    let site = Site::with(&shrinking()).await;
    let urgent = RequestAsk { urgent: true, ..dba(&["db1"]) };
    let calm = site.request("ana", &dba(&["db2"])).await.unwrap().view.request.number();
    let first = site.request("ana", &urgent).await.unwrap();
    let id = first.view.request.number();
    assert!(first.missing[0].shrinks.is_some(), "{:?}", first.missing);
    for request in [id, calm] {
        let view = site.approve("bob", request).await.unwrap().view;
        assert!(matches!(view.state, State::Pending { .. } | State::Approved { .. }), "{view:?}");
    }
    // Nobody does anything more: time alone makes it enough.
    let mut state = site.show("ana", id).await.unwrap().view.state;
    for _ in 0..200 {
        if matches!(state, State::Approved { .. }) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        state = site.show("ana", id).await.unwrap().view.state;
    }
    assert!(matches!(state, State::Approved { .. }), "{state:?}");
    let told = incidents(&site).await;
    let is_shrunk = |one: &IncidentView| match &one.cause {
        Cause::Shrunk { quorum, by, .. } => {
            quorum.as_str() == "two" && by.iter().map(|who| who.as_str()).eq(["bob"])
        }
        _ => false,
    };
    assert!(told.len() == 1 && is_shrunk(&told[0]), "{told:?}");
    site.certificate("ana").await.unwrap();
    let waits = site.show("ana", calm).await.unwrap().view.state;
    assert!(matches!(waits, State::Pending { .. }), "what can wait waits for everybody");
    site.holds();
}

#[tokio::test]
async fn a_policy_that_asks_for_a_quorum_by_name_is_not_content_with_fewer() {
    let site = Site::with(&shrinking()).await;
    let rule = |or: &str| {
        format!(
            "{}\n@id(\"two\") @advice(\"two people\")\nforbid (principal, action == Curfew::Action::\"issue\", resource)\n\
             unless {{ context.quorums.contains(\"two\"){or} }};\n",
            site.authority.run(&["policy", "default"])
        )
    };
    put(&site.authority, &rule("")).await;
    let urgent = RequestAsk { urgent: true, ..dba(&["db1"]) };
    let id = site.request("ana", &urgent).await.unwrap().view.request.number();
    site.approve("bob", id).await.unwrap();
    let log = || site.authority.log();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let state = site.show("ana", id).await.unwrap().view.state;
    assert!(matches!(state, State::Pending { .. }), "{state:?}: {}", log());
    put(&site.authority, &rule(" || context.quorums.contains(\"two/shrunk\")")).await;
    for _ in 0..200 {
        if site.certificate("ana").await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{:?}", site.certificate("ana").await);
}
