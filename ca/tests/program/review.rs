//! Verdicts on sessions.

use wire::api::SessionView;
use wire::hostlink::ToAuthority;
use wire::identifier::SessionId;
use wire::incident::{Cause, IncidentView};
use wire::ledger::Page;
use wire::problem::Code;
use wire::record::Event;
use wire::review::{Review, ReviewAsk, Verdict};

use crate::authority::{Authority, key};
use crate::certificate::{ask as asked, issue};
use crate::link::{acknowledged, began, ended, greeted, record};
use crate::postgres::Database;

fn ask(session: SessionId, verdict: Verdict, note: &str) -> ReviewAsk {
    ReviewAsk { session, verdict, note: note.into(), gap: None }
}

async fn reviewed(database: Option<Database>) {
    let is_file = database.is_none();
    let authority = Authority::start_on(database);
    authority.add("ana", 1, &["--operator"]);
    authority.add("ops", 2, &["--operator"]);
    authority.add("bob", 3, &[]);
    let ops = authority.login("ops", 2).await.unwrap();
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began())])).await;
    acknowledged(&mut frames).await;
    let sessions: Vec<SessionView> = authority.read("/v1/sessions", &ops).await.unwrap();
    let session = sessions.first().unwrap().session;
    let refusal = async |token: &str, ask: ReviewAsk| {
        authority.send::<Review>("/v1/reviews", Some(token), &ask).await.unwrap_err()
    };
    let alive = refusal(&ops, ask(session, Verdict::Ok, "")).await;
    assert_eq!((alive.code, alive.message.contains("has not ended")), (Code::Conflict, true));
    frames.send(&ToAuthority::Records(vec![record(2, ended())])).await;
    acknowledged(&mut frames).await;
    let due: Vec<SessionView> = authority.read("/v1/reviews/due", &ops).await.unwrap();
    assert_eq!(due.iter().map(|one| one.session).collect::<Vec<_>>(), [session]);
    let ana = authority.login("ana", 1).await.unwrap();
    let own = refusal(&ana, ask(session, Verdict::Ok, "")).await;
    assert!(own.message.contains("their own session"), "{own}");
    let bob = authority.login("bob", 3).await.unwrap();
    assert_eq!(refusal(&bob, ask(session, Verdict::Ok, "")).await.code, Code::Denied);
    let silent = refusal(&ops, ask(session, Verdict::OutOfScope, "")).await;
    assert_eq!(silent.code, Code::Malformed);
    let other: SessionId = "00000000000000a1".parse().unwrap();
    assert_eq!(refusal(&ops, ask(other, Verdict::Ok, "")).await.code, Code::NotFound);

    let verdict = ask(session, Verdict::Incident, "it read the shadow file");
    let _: Review = authority.send("/v1/reviews", Some(&ops), &verdict).await.unwrap();
    let incidents: Vec<IncidentView> = authority.read("/v1/incidents", &ops).await.unwrap();
    // The session's certificate was never issued, which is an incident of its own.
    let opened = incidents.iter().filter(|one| matches!(one.cause, Cause::Reviewed { .. })).count();
    assert_eq!(opened, 1, "{incidents:?}");
    let _: Review =
        authority.send("/v1/reviews", Some(&ops), &ask(session, Verdict::Ok, "")).await.unwrap();
    let due: Vec<SessionView> = authority.read("/v1/reviews/due", &ops).await.unwrap();
    assert!(due.is_empty());
    let listed = async |verdict: &str| -> usize {
        let path = format!("/v1/sessions?verdict={verdict}");
        authority.read::<Vec<SessionView>>(&path, &ops).await.unwrap().len()
    };
    assert_eq!((listed("ok").await, listed("incident").await), (1, 0));
    let page: Page = authority.read("/v1/entries?kind=session_reviewed", &ops).await.unwrap();
    assert_eq!(page.entries.len(), 2);
    if is_file {
        // The state is what the entries say, the verdict included.
        authority.run(&["ledger", "verify"]);
    }
}

#[tokio::test]
async fn a_verdict_is_an_operators_on_an_ended_session_of_somebody_else_and_an_entry() {
    reviewed(None).await;
}

#[tokio::test]
async fn the_same_verdict_on_a_server() {
    reviewed(Some(Database::new())).await;
}

/// A session of ana's as deploy on db1, under a certificate that the ledger issued, which has ended.
async fn used(authority: &Authority) -> SessionId {
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(authority, &host, 0).await;
    let ana = authority.login("ana", 1).await.unwrap();
    let issued = issue(authority, &ana, &asked("db1")).await.unwrap();
    let mut event = began();
    let Event::SessionBegan(session) = &mut event else { panic!("{event:?}") };
    session.subject.grant = issued.grant;
    session.subject.serial = issued.serial;
    session.subject.key = wire::certificate::fingerprint(key(7).public_key().key_data());
    frames.send(&ToAuthority::Records(vec![record(1, event), record(2, ended())])).await;
    acknowledged(&mut frames).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let sessions: Vec<SessionView> = authority.read("/v1/sessions", &ops).await.unwrap();
    sessions.first().unwrap().session
}

#[tokio::test]
async fn a_gap_that_a_reviewer_found_is_listed_and_held_against_another_policy() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let session = used(&authority).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let listed = async |token: &str| -> Vec<SessionView> {
        authority.read("/v1/reviews/gaps", token).await.unwrap()
    };
    assert!(listed(&ops).await.is_empty());
    let odd = serde_json::json!({"session": session, "verdict": "ok", "gap": "a\u{202e}b"});
    let refused: Result<Review, _> = authority.send("/v1/reviews", Some(&ops), &odd).await;
    assert_eq!(refused.unwrap_err().code, Code::Malformed);
    // Words that look like the mark of a gap are none.
    let plain = ask(session, Verdict::Ok, r#"he said "gap":"x" to me"#);
    let _: Review = authority.send("/v1/reviews", Some(&ops), &plain).await.unwrap();
    assert!(listed(&ops).await.is_empty());
    let gap = Some("deploy reads the dumps".parse().unwrap());
    let found = ReviewAsk { gap, ..ask(session, Verdict::Ok, "") };
    let _: Review = authority.send("/v1/reviews", Some(&ops), &found).await.unwrap();
    let gaps = listed(&ops).await;
    assert_eq!(gaps[0].review.as_ref().unwrap().gap, found.gap);
    let ana = authority.login("ana", 1).await.unwrap();
    assert!(listed(&ana).await.is_empty(), "for whom the policy lets judge");
    let backtest = |policy: &str| {
        let dir = authority.dir.path().join("candidate");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("main.cedar"), policy).unwrap();
        let path = dir.display().to_string();
        crate::authority::run(authority.dir.path(), &["policy", "backtest", "--policy", &path])
    };
    let open = backtest("@id(\"all\") permit (principal, action, resource);\n");
    let said = String::from_utf8(open.stdout).unwrap();
    assert!(open.status.success(), "{said}");
    assert!(said.contains("on db1: deploy reads the dumps: stays open"), "{said}");
    let shut = "@id(\"all\") permit (principal, action, resource);\n\
                @id(\"two\") @advice(\"two approvals\") forbid (principal, action == Curfew::Action::\"issue\", resource)\n\
                unless { context.approvers >= 2 };\n";
    let said = String::from_utf8(backtest(shut).stdout).unwrap();
    assert!(
        said.contains("deploy reads the dumps: would be closed: still required: two approvals"),
        "{said}"
    );
    // The last word counts.
    let _: Review =
        authority.send("/v1/reviews", Some(&ops), &ask(session, Verdict::Ok, "")).await.unwrap();
    assert!(listed(&ops).await.is_empty());
    assert!(!String::from_utf8(backtest(shut).stdout).unwrap().contains("dumps"));
    authority.run(&["ledger", "verify"]);
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}

#[tokio::test]
async fn who_can_get_where_is_listed_with_what_of_it_is_used() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("bob", 3, &[]);
    authority.add("ops", 2, &["--operator"]);
    used(&authority).await;
    drop(authority.host("db2").await);
    let told = authority.run(&["access"]);
    assert!(
        told.contains("2 roles held; of 4 ways to a host 1 were used within 90 days"),
        "{told}"
    );
    let bob = told.lines().find(|line| line.starts_with("bob")).unwrap();
    assert!(bob.ends_with("never"), "{told}");
    let of = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&authority.run(&[&["access", "--json"], more].concat())).unwrap()
    };
    let ana = &of(&["--identity", "ana"])[0];
    assert!(ana["hosts"]["db1"].is_number() && ana["hosts"]["db2"].is_null(), "{ana}");
    assert_eq!(of(&["--unused", "90d"]).as_array().unwrap().len(), 2, "db2 is wider than used");
    assert_eq!(of(&["--role", "deploy", "--host", "db3"]).as_array().unwrap().len(), 0);
    authority.run(&["identity", "disable", "bob"]);
    assert_eq!(of(&[]).as_array().unwrap().len(), 1, "who is disabled gets nowhere");
    let (code, said) = authority.refuse(&["access", "--unused", "soon"]);
    assert!(code == 64 && said.contains("write it as 90s"), "{code} {said}");
}
