//! Verdicts on sessions.

use wire::api::SessionView;
use wire::hostlink::ToAuthority;
use wire::identifier::SessionId;
use wire::incident::{Cause, IncidentView};
use wire::ledger::Page;
use wire::problem::Code;
use wire::review::{Review, ReviewAsk, Verdict};

use crate::authority::Authority;
use crate::link::{acknowledged, began, ended, greeted, record};
use crate::postgres::Database;

fn ask(session: SessionId, verdict: Verdict, note: &str) -> ReviewAsk {
    ReviewAsk { session, verdict, note: note.into() }
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
