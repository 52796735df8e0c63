//! Policy where it is asked besides certificates: at requests, at approvals, and before somebody does what is of others.

use wire::api::{LockView, OrderProgress, SessionView};
use wire::hostlink::ToAuthority;
use wire::incident::IncidentView;
use wire::ledger::Page;
use wire::lock::{Lock, Target};
use wire::problem::{Code, Problem};
use wire::request::{RequestAsk, RequestView, State};
use wire::review::{Review, ReviewAsk, Verdict};

use crate::link::{acknowledged, began, ended, greeted, record};
use crate::policy::{entries, put};
use crate::request::{Site, dba};

/// A role that asks for no approval by itself, and a quorum that only policy can ask for.
const FREE: &str = r#"
[role.dba]
members = ["ana"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "10m"
max_duration = "1h"

[quorum.colleague]
seats = [{ people = ["bob", "cleo"] }]

[quorum.other]
seats = [{ people = ["eve"] }]
"#;
const MEMBERS: &str = r#"
@id("members") permit (principal, action in [Curfew::Action::"request", Curfew::Action::"issue"], resource)
when { principal in context.role };
"#;
const ANYBODY: &str =
    "@id(\"anybody\") permit (principal, action == Curfew::Action::\"approve\", resource);\n";
const COLLEAGUE: &str = r#"
@id("colleague") @advice("a colleague's approval")
forbid (principal, action == Curfew::Action::"issue", resource)
unless { context.quorums.contains("colleague") };
"#;

fn all(parts: &[&str]) -> String {
    parts.concat()
}

#[tokio::test]
async fn what_only_the_policy_demands_is_shown_collected_and_opens() {
    let site = Site::with(FREE).await;
    put(&site.authority, &all(&[MEMBERS, ANYBODY, COLLEAGUE])).await;
    let refused = site.certificate("ana").await.unwrap_err();
    let way =
        "still required: a colleague's approval; ask for it with `curfew request dba --host db1";
    assert!(refused.message.contains(way), "{refused}");
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    assert!(matches!(made.view.state, State::Pending { .. }), "{made:?}");
    assert!(made.missing.is_empty(), "the role demands nothing: {made:?}");
    let [demanded] = made.demanded.as_slice() else { panic!("{made:?}") };
    assert_eq!(demanded.rule.as_deref(), Some("colleague"));
    assert!(demanded.by_approval && demanded.advice == "a colleague's approval", "{demanded:?}");
    let [quorum] = demanded.quorums.as_slice() else { panic!("{demanded:?}") };
    assert_eq!(quorum.quorum.as_str(), "colleague");
    let who: Vec<&str> = quorum.seats[0].who.iter().map(|who| who.as_str()).collect();
    assert_eq!(who, ["bob", "cleo"]);
    let waiting = site.certificate("ana").await.unwrap_err();
    assert!(waiting.message.contains("request r1 waits for it"), "{waiting}");
    // In the inbox of whoever could give it, and of nobody else.
    for (name, seen) in [("bob", 1), ("cleo", 1), ("eve", 0), ("dan", 0)] {
        let inbox: Vec<RequestView> =
            site.authority.read("/v1/requests", site.token(name)).await.unwrap();
        assert_eq!(inbox.iter().filter(|view| view.yours_to_approve).count(), seen, "{name}");
    }
    assert_eq!(site.show("eve", 1).await.unwrap_err().code, Code::NotFound);
    let told = site.authority.run(&["policy", "explain", "r1"]);
    assert!(told.contains("r1: deploy on db1"), "{told}");
    assert!(told.contains("now       still required: a colleague's approval"), "{told}");
    let approved = site.approve("bob", 1).await.unwrap();
    assert!(matches!(approved.view.state, State::Approved { .. }), "{approved:?}");
    assert!(approved.demanded.is_empty(), "{approved:?}");
    assert!(site.authority.run(&["policy", "explain", "r1"]).contains("allowed by members"));
    assert!(site.certificate("ana").await.is_ok());
    site.holds();
}

#[tokio::test]
async fn approvals_by_whomever_count_where_the_policy_counts_people() {
    let site = Site::with(FREE).await;
    let two = r#"
@id("two") @advice("two approvals")
forbid (principal, action == Curfew::Action::"issue", resource) unless { context.approvers >= 2 };
@id("not-eve") @advice("eve approves nothing")
forbid (principal, action == Curfew::Action::"approve", resource) when { principal.name == "eve" };
"#;
    put(&site.authority, &all(&[MEMBERS, ANYBODY, two])).await;
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    let who: Vec<&str> = made.demanded[0].who.iter().map(|who| who.as_str()).collect();
    assert_eq!(who, ["bob", "cleo", "dan", "eve", "ops"], "what eve lacks she might still get");
    let no = site.approve("eve", 1).await.unwrap_err();
    assert_eq!(
        (no.code, no.message.contains("eve approves nothing")),
        (Code::Denied, true),
        "{no}"
    );
    let one = site.approve("bob", 1).await.unwrap();
    assert!(matches!(one.view.state, State::Pending { .. }) && one.demanded.len() == 1, "{one:?}");
    let both = site.approve("dan", 1).await.unwrap();
    assert!(matches!(both.view.state, State::Approved { .. }), "{both:?}");
    assert!(site.certificate("ana").await.is_ok());
    // Whom the policy lets approve no more, does not count at the next certificate.
    let later = two.replace("\"eve\" }", "\"dan\" }");
    put(&site.authority, &all(&[MEMBERS, ANYBODY, &later])).await;
    let denied = site.certificate("ana").await.unwrap_err();
    assert!(denied.message.contains("two approvals"), "{denied}");
    let detail = site.show("ana", 1).await.unwrap();
    let void: Vec<bool> = detail.approvals.iter().map(|one| one.void.is_some()).collect();
    assert_eq!(void, [false, true], "{detail:?}");
    site.holds();
}

#[tokio::test]
async fn who_may_ask_for_what_is_the_policys_to_say_and_a_refusal_is_an_entry() {
    let site = Site::with(FREE).await;
    let short = r#"
@id("short") @advice("at most ten minutes: ask with --for 10m")
forbid (principal, action == Curfew::Action::"request", resource) when { context.seconds > 600 };
"#;
    put(&site.authority, &all(&[MEMBERS, ANYBODY, short])).await;
    let long = RequestAsk { duration_secs: Some(601), ..dba(&["db1"]) };
    let no = site.request("ana", &long).await.unwrap_err();
    assert_eq!(no.code, Code::Denied);
    assert!(no.message.contains("db1: still required: at most ten minutes"), "{no}");
    let refused = entries(&site.authority, "request_refused");
    assert_eq!(refused[0]["policy"]["verdict"]["missing"][0]["id"], "short");
    assert!(site.request("ana", &dba(&["db1"])).await.is_ok());
    let made = entries(&site.authority, "request_made");
    assert_eq!(made[0]["policy"][0]["verdict"]["allowed"]["by"][0], "members");
    // And both are decided again, with the certificates, by other policies.
    let other = site.authority.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("main.cedar"), all(&[MEMBERS, ANYBODY])).unwrap();
    let (code, said) =
        site.authority.refuse(&["policy", "backtest", "--policy", &other.display().to_string()]);
    assert_eq!((code, said.trim()), (1, "curfew-ca: 1 decisions would have been otherwise"));
    // Nobody may ask: nothing is said of what else would be required.
    put(&site.authority, ANYBODY).await;
    let no = site.request("ana", &dba(&["db2"])).await.unwrap_err();
    assert!(no.message.contains("the policy in force does not let ana ask for that"), "{no}");
}

#[tokio::test]
async fn an_approver_shows_what_the_policy_demands_of_approvers() {
    let site = Site::with(crate::request::TWO).await;
    let fresh = r#"
@id("fresh") @advice("approve with a second factor that is at most 10 minutes old: log in again")
forbid (principal, action == Curfew::Action::"approve", resource) unless { context.mfaAge <= 600 };
"#;
    put(&site.authority, &all(&[MEMBERS, ANYBODY, fresh])).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let no = site.approve("cleo", 1).await.unwrap_err();
    assert_eq!(no.code, Code::Denied);
    assert!(no.message.contains("at most 10 minutes old: log in again"), "{no}");
    let refused = entries(&site.authority, "request_refused");
    assert_eq!(refused[0]["policy"]["question"]["act"]["approve"]["requester"], "ana");
    assert!(site.show("ana", 1).await.unwrap().approvals.is_empty());
    put(&site.authority, &all(&[MEMBERS, ANYBODY])).await;
    assert_eq!(site.approve("cleo", 1).await.unwrap().approvals.len(), 1);
    let approved = entries(&site.authority, "request_approved");
    assert_eq!(approved[0]["policy"][0]["verdict"]["allowed"]["by"][0], "anybody");
}

/// Security locks, looks and judges; operators administer, and nothing else.
const SECURITY: &str = r#"
@id("security")
permit (principal in Curfew::Team::"security",
        action in [Curfew::Action::"lock", Curfew::Action::"export"], resource);
@id("security-looks")
permit (principal in Curfew::Team::"security",
        action in [Curfew::Action::"watch", Curfew::Action::"review"], resource)
when { resource.host == "db3" };
@id("operators") permit (principal, action == Curfew::Action::"administer", resource)
when { principal.operator };
"#;

#[tokio::test]
async fn who_locks_reads_and_administers_is_the_policys_to_say() {
    let site = Site::with(FREE).await;
    site.authority.run(&["team", "add", "security", "dan"]);
    put(&site.authority, SECURITY).await;
    let lock = Lock {
        target: Target::Identity("eve".parse().unwrap()),
        reason: "drill".into(),
        until: None,
    };
    let try_lock = async |who: &str| -> Result<OrderProgress, Problem> {
        site.authority.send("/v1/locks", Some(site.token(who)), &lock).await
    };
    let no = try_lock("ops").await.unwrap_err();
    assert_eq!(no.code, Code::Denied);
    assert!(no.message.contains("does not let ops lock, unlock or end"), "{no}");
    let tried = entries(&site.authority, "act_refused");
    assert_eq!(
        (&tried[0]["by"], &tried[0]["policy"]["question"]["act"]),
        (&"ops".into(), &"lock".into())
    );
    assert!(try_lock("eve").await.is_err());
    assert!(try_lock("dan").await.is_ok());
    let locks: Result<Vec<LockView>, Problem> =
        site.authority.read("/v1/locks", site.token("ops")).await;
    assert_eq!(locks.unwrap_err().code, Code::Denied);
    let page = async |who: &str| -> Result<Page, Problem> {
        site.authority.read("/v1/entries", site.token(who)).await
    };
    assert!(page("dan").await.is_ok());
    assert_eq!(page("ops").await.unwrap_err().code, Code::Denied);
    let incidents = async |who: &str| -> Result<Vec<IncidentView>, Problem> {
        site.authority.read("/v1/incidents", site.token(who)).await
    };
    assert!(incidents("ops").await.is_ok());
    assert_eq!(incidents("dan").await.unwrap_err().code, Code::Denied);
    // Whoever is locked does nothing of the kind, whatever the policy says.
    site.authority.run(&["lock", "identity", "dan", "--reason", "drill"]);
    assert!(try_lock("dan").await.unwrap_err().message.contains("you are locked"));
    // At the authority's own machine everything goes on.
    assert!(site.authority.run(&["lock", "list"]).contains("eve"));
}

#[tokio::test]
async fn who_looks_into_sessions_and_judges_them_is_the_policys_to_say() {
    let site = Site::with(FREE).await;
    site.authority.run(&["team", "add", "security", "dan"]);
    let host = site.authority.host("db3").await;
    let (mut frames, _) = greeted(&site.authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began()), record(2, ended())])).await;
    acknowledged(&mut frames).await;
    let listed = async |who: &str| -> Vec<SessionView> {
        site.authority.read("/v1/sessions", site.token(who)).await.unwrap()
    };
    let session = listed("ops").await[0].session;
    put(&site.authority, SECURITY).await;
    assert_eq!((listed("ops").await.len(), listed("dan").await.len()), (0, 1));
    assert_eq!(listed("ana").await.len(), 1, "one's own, always");
    let show = async |who: &str| -> Result<serde_json::Value, Problem> {
        site.authority.read(&format!("/v1/sessions/{session}"), site.token(who)).await
    };
    assert!(show("dan").await.is_ok());
    assert_eq!(show("ops").await.unwrap_err().code, Code::NotFound);
    let due = async |who: &str| -> Vec<SessionView> {
        site.authority.read("/v1/reviews/due", site.token(who)).await.unwrap()
    };
    assert_eq!((due("ops").await.len(), due("dan").await.len()), (0, 1));
    let ask = ReviewAsk { session, verdict: Verdict::Ok, note: String::new(), gap: None };
    let review = async |who: &str| -> Result<Review, Problem> {
        site.authority.send("/v1/reviews", Some(site.token(who)), &ask).await
    };
    let no = review("ops").await.unwrap_err();
    assert!(no.message.contains("does not let ops review that session"), "{no}");
    assert!(review("dan").await.is_ok());
    // Another host is not theirs to look at.
    put(&site.authority, &SECURITY.replace("\"db3\"", "\"db2\"")).await;
    assert_eq!(listed("dan").await.len(), 0);
    assert_eq!(show("dan").await.unwrap_err().code, Code::NotFound);
}
