//! Requests and approvals, through the authority's interface: signatures count, and nothing else does.

use std::time::Duration;

use ssh_key::{HashAlg, LineEnding};
use wire::api::GrantView;
use wire::identifier::Fingerprint;
use wire::log::Hash;
use wire::problem::{Code, Problem};
use wire::request::{
    Approval, ApprovalAsk, Asked, End, NAMESPACE, RequestAsk, RequestDetail, RequestView,
    SignedApproval, State,
};
use wire::time::Timestamp;

use crate::authority::{Authority, key, settings};
use crate::certificate::{ask, eventually, issue};

/// A role that two people must approve; bob could take either seat, the others one each.
pub(crate) const TWO: &str = r#"
[role.dba]
members = ["ana", "bob", "ops"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "10m"
max_duration = "1h"
requires = ["two"]

[quorum.two]
seats = [{ people = ["bob", "cleo", "ops"] }, { people = ["bob", "dan"] }]
"#;
const PEOPLE: [(&str, u8); 6] =
    [("ana", 1), ("bob", 2), ("cleo", 3), ("dan", 4), ("ops", 5), ("eve", 6)];

pub(crate) struct Site {
    pub(crate) authority: Authority,
    tokens: Vec<String>,
}

impl Site {
    pub(crate) async fn with(roles: &str) -> Self {
        let authority = Authority::start();
        std::fs::write(authority.dir.path().join("roles.toml"), roles).unwrap();
        authority.restart();
        let mut tokens = Vec::new();
        for (name, seed) in PEOPLE {
            let more: &[&str] = if name == "ops" { &["--operator"] } else { &[] };
            authority.add(name, seed, more);
            tokens.push(authority.login(name, seed).await.unwrap());
        }
        drop(authority.host("db1").await);
        drop(authority.host("db2").await);
        Self { authority, tokens }
    }

    pub(crate) fn token(&self, who: &str) -> &str {
        let place = PEOPLE.iter().position(|(name, _)| *name == who).unwrap();
        self.tokens.get(place).unwrap()
    }

    pub(crate) fn seed(&self, who: &str) -> u8 {
        let place = PEOPLE.iter().find(|(name, _)| *name == who);
        place.map(|(_, seed)| *seed).unwrap()
    }

    pub(crate) async fn request(
        &self,
        who: &str,
        ask: &RequestAsk,
    ) -> Result<RequestDetail, Problem> {
        self.authority.send("/v1/requests", Some(self.token(who)), ask).await
    }

    pub(crate) async fn show(&self, who: &str, request: u64) -> Result<RequestDetail, Problem> {
        self.authority.read(&format!("/v1/requests/r{request}"), self.token(who)).await
    }

    async fn post(&self, who: &str, path: &str) -> Result<RequestDetail, Problem> {
        let body = serde_json::json!({"reason": "because"});
        self.authority.send(&format!("/v1/requests/{path}"), Some(self.token(who)), &body).await
    }

    /// What `who` would sign.
    async fn approval(&self, who: &str, request: u64) -> Approval {
        let detail = self.show(who, request).await.unwrap();
        let asked = Asked::parse(&detail.text).unwrap();
        Approval {
            version: wire::VERSION,
            authority: self.authority.fingerprint.clone(),
            request: asked.request,
            hash: Hash::of(detail.text.as_bytes()),
            by: who.parse().unwrap(),
            duration_secs: asked.duration_secs,
            policy: detail.policy,
            at: detail.now,
            until: asked.latest_start(),
        }
    }

    async fn send(
        &self,
        who: &str,
        request: u64,
        signed: SignedApproval,
    ) -> Result<RequestDetail, Problem> {
        let path = format!("/v1/requests/r{request}/approve");
        self.authority.send(&path, Some(self.token(who)), &ApprovalAsk { signed }).await
    }

    pub(crate) async fn approve(&self, who: &str, request: u64) -> Result<RequestDetail, Problem> {
        let approval = self.approval(who, request).await;
        self.send(who, request, sign(&approval, NAMESPACE, seed(who))).await
    }

    pub(crate) async fn certificate(
        &self,
        who: &str,
    ) -> Result<wire::api::CertificateReply, Problem> {
        issue(&self.authority, self.token(who), &ask("db1")).await
    }

    /// The whole ledger holds, and the tables are what its entries say.
    pub(crate) fn holds(&self) -> String {
        let rebuilt = self.authority.run(&["ledger", "rebuild"]);
        assert!(rebuilt.contains("identical"), "{rebuilt}");
        self.authority.run(&["ledger", "verify"])
    }
}

fn seed(who: &str) -> u8 {
    PEOPLE.iter().find(|(name, _)| *name == who).unwrap().1
}

fn sign(approval: &Approval, namespace: &str, seed: u8) -> SignedApproval {
    let text = approval.text().unwrap();
    let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
    SignedApproval { approval: text, signature: seal.to_pem(LineEnding::LF).unwrap() }
}

pub(crate) fn dba(hosts: &[&str]) -> RequestAsk {
    RequestAsk {
        role: "dba".parse().unwrap(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        duration_secs: None,
        start: None,
        extends: None,
        reason: "the primary is stuck".parse().unwrap(),
        expected: None,
        ticket: None,
        urgent: false,
        breakglass: false,
    }
}

fn is_active(detail: &RequestDetail) -> bool {
    matches!(detail.view.state, State::Active { .. })
}

#[tokio::test]
async fn two_people_approve_and_only_then_there_is_a_certificate() {
    let site = Site::with(TWO).await;
    let denied = site.certificate("ana").await.unwrap_err();
    assert_eq!(denied.code, Code::Denied);
    for part in ["needs approval", "two (bob or cleo or ops", "`curfew request dba --host db1"] {
        assert!(denied.message.contains(part), "{part}: {denied}");
    }
    let made = site.request("ana", &dba(&["db1", "db2"])).await.unwrap();
    assert!(matches!(made.view.state, State::Pending { .. }));
    let who = |at: usize| made.missing[0].seats[at].who.iter().map(ToString::to_string);
    assert_eq!(who(0).collect::<Vec<_>>(), ["bob", "cleo", "ops"]);
    assert_eq!(made.missing.len(), 2, "each host by itself");
    let denied = site.certificate("ana").await.unwrap_err();
    assert!(denied.message.contains("request r1 waits for it"), "{denied}");
    let inbox: Vec<RequestView> =
        site.authority.read("/v1/requests", site.token("bob")).await.unwrap();
    assert!(inbox[0].yours_to_approve);
    // Bob first: a count that gives people the first seat that fits would leave nobody for the second.
    let half = site.approve("bob", 1).await.unwrap();
    assert!(matches!(half.view.state, State::Pending { .. }), "{half:?}");
    assert!(site.certificate("ana").await.unwrap_err().message.contains("two ("));
    let whole = site.approve("cleo", 1).await.unwrap();
    assert!(matches!(whole.view.state, State::Approved { secs: 600, .. }), "{whole:?}");
    let reply = site.certificate("ana").await.unwrap();
    assert!(is_active(&site.show("ana", 1).await.unwrap()));
    let grants: Vec<GrantView> =
        site.authority.read("/v1/grants", site.token("ana")).await.unwrap();
    assert_eq!(grants[0].request.map(|id| id.number()), Some(1));
    // One end for all that is under it.
    let other = issue(&site.authority, site.token("ana"), &ask("db2")).await.unwrap();
    assert_eq!(other.grant_until, reply.grant_until);
    assert_ne!(other.grant, reply.grant);
    // What is approved for ana is not for bob.
    assert!(site.certificate("bob").await.is_err());
    assert!(site.holds().contains("2 approvals"));
}

#[tokio::test]
async fn nobody_approves_their_own_request_operators_included() {
    let site = Site::with(TWO).await;
    for who in ["ops", "bob"] {
        let made = site.request(who, &dba(&["db1"])).await.unwrap();
        let number = made.view.request.number();
        let refused = site.approve(who, number).await.unwrap_err();
        assert_eq!(refused.code, Code::Denied);
        assert!(refused.message.contains("nobody approves their own request"), "{refused}");
        assert!(site.certificate(who).await.is_err());
    }
    let searched = site.authority.run(&["ledger", "search", "--kind", "request_refused"]);
    assert!(searched.contains("operators included"), "{searched}");
    site.holds();
}

#[tokio::test]
async fn who_has_no_business_with_a_request_learns_nothing_of_it() {
    let site = Site::with(TWO).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let absent = site.show("eve", 9).await.unwrap_err();
    let hidden = site.show("eve", 1).await.unwrap_err();
    assert_eq!(hidden.message.replace("r1", "r9"), absent.message);
    for path in ["r1/deny", "r1/withdraw"] {
        assert_eq!(site.post("eve", path).await.unwrap_err().code, Code::NotFound, "{path}");
    }
    let garbage = SignedApproval { approval: "{}".into(), signature: "x".into() };
    assert_eq!(site.send("eve", 1, garbage).await.unwrap_err().code, Code::NotFound);
    let inbox: Vec<RequestView> =
        site.authority.read("/v1/requests?all=true", site.token("eve")).await.unwrap();
    assert!(inbox.is_empty());
    let stranger: Result<RequestDetail, _> = site.authority.read("/v1/requests/r1", "guess").await;
    assert_eq!(stranger.unwrap_err().code, Code::Unauthenticated);
    // A role that is not theirs, and a host that is not there, are told alike.
    let not_theirs = site.request("eve", &dba(&["db1"])).await.unwrap_err();
    let not_there = site.request("ana", &dba(&["db9"])).await.unwrap_err();
    assert_eq!(
        not_theirs.message.replace("eve", "X").replace("db1", "H"),
        not_there.message.replace("ana", "X").replace("db9", "H")
    );
}

#[tokio::test]
async fn a_signature_that_is_not_exactly_this_approval_is_refused_with_the_reason() {
    let site = Site::with(TWO).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.request("ops", &dba(&["db1"])).await.unwrap();
    let good = site.approval("bob", 1).await;
    let refused = async |approval: &Approval, namespace: &str, seed: u8| {
        let refused = site.send("bob", 1, sign(approval, namespace, seed)).await.unwrap_err();
        assert_eq!(refused.code, Code::Denied, "{refused}");
        refused.message
    };
    for namespace in ["login@curfew.internal", "order@curfew.internal", "file"] {
        let said = refused(&good, namespace, 2).await;
        assert!(said.contains("made for another purpose"), "{said}");
    }
    // Cleo's key, ana's key, and one that nobody enrolled.
    for seed in [3, 1, 99] {
        let said = refused(&good, NAMESPACE, seed).await;
        assert!(said.contains("by no key of yours"), "{said}");
    }
    let later = |secs| good.at.after(Duration::from_secs(secs));
    let earlier = |secs| good.at.before(Duration::from_secs(secs));
    let other = site.approval("bob", 2).await;
    let table: [(Approval, &str); 10] = [
        (other, "of another request"),
        (Approval { hash: Hash::of(b"x"), ..good.clone() }, "of another text"),
        (Approval { authority: Fingerprint::of(b"x"), ..good.clone() }, "for another authority"),
        (Approval { by: "cleo".parse().unwrap(), ..good.clone() }, "names somebody else"),
        (Approval { duration_secs: 601, ..good.clone() }, "not lengthen it"),
        (Approval { duration_secs: 0, ..good.clone() }, "not lengthen it"),
        (Approval { policy: Hash::of(b"x"), ..good.clone() }, "the rules have changed"),
        (Approval { at: earlier(3_600), ..good.clone() }, "not signed just now"),
        (Approval { at: later(600), ..good.clone() }, "not signed just now"),
        (Approval { until: earlier(1), ..good.clone() }, "end is past"),
    ];
    for (approval, why) in table {
        let said = refused(&approval, NAMESPACE, 2).await;
        assert!(said.contains(why), "{why}: {said}");
    }
    let mut text = sign(&good, NAMESPACE, 2);
    text.approval.push(' ');
    assert!(site.send("bob", 1, text).await.is_err());
    // The real one serves once.
    let real = sign(&good, NAMESPACE, 2);
    assert!(site.send("bob", 1, real.clone()).await.is_ok());
    let again = site.send("bob", 1, real.clone()).await.unwrap_err();
    assert_eq!(again.code, Code::Conflict);
    // And not for whoever else sends it.
    assert!(site.send("cleo", 1, real).await.is_err());
    assert!(site.certificate("ana").await.is_err());
    assert!(site.holds().contains("1 approvals"));
}

#[tokio::test]
async fn what_changes_between_the_approval_and_the_issue_counts() {
    let one = TWO.replace("{ people = [\"bob\", \"dan\"] }", "");
    let site = Site::with(&one).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let approved = site.approve("cleo", 1).await.unwrap();
    assert!(matches!(approved.view.state, State::Approved { .. }));
    // The rules of the moment of the issue, not of the approval.
    std::fs::write(site.authority.dir.path().join("roles.toml"), TWO).unwrap();
    let path = "/v1/requests/r1";
    eventually(|| site.authority.log().contains("other roles are in force")).await;
    let denied = site.certificate("ana").await.unwrap_err();
    assert!(denied.message.contains("two (bob or dan)"), "{denied}");
    let detail: RequestDetail = site.authority.read(path, site.token("ana")).await.unwrap();
    assert_eq!(detail.missing.len(), 1);
    assert!(matches!(detail.view.state, State::Approved { .. }));
    site.approve("dan", 1).await.unwrap();
    // An approver who is disabled by then.
    site.authority.run(&["identity", "disable", "cleo", "--reason", "left"]);
    let denied = site.certificate("ana").await.unwrap_err();
    assert!(denied.message.contains("two (bob or cleo or ops)"), "{denied}");
    let shown = site.show("ana", 1).await.unwrap();
    assert!(shown.approvals[0].void.as_ref().unwrap().contains("disabled"), "{shown:?}");
    site.approve("bob", 1).await.unwrap();
    assert!(site.certificate("ana").await.is_ok());
    // Also a renewal is counted anew.
    site.authority.run(&["identity", "disable", "dan", "--reason", "left"]);
    assert!(site.certificate("ana").await.unwrap_err().message.contains("bob or dan"));
    site.authority.run(&["identity", "enable", "dan"]);
    assert!(site.certificate("ana").await.is_ok());
    assert!(site.holds().contains("3 approvals"));
}

#[tokio::test]
async fn each_way_to_end_a_request_ends_it_for_good() {
    let site = Site::with(TWO).await;
    let how = |detail: &RequestDetail| match detail.view.state {
        State::Ended { how, .. } => Some(how),
        _ => None,
    };
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let twin = site.request("ana", &dba(&["db2", "db1"])).await.unwrap_err();
    assert!(twin.code == Code::Conflict && twin.message.contains("r1"), "{twin}");
    assert_eq!(how(&site.post("cleo", "r1/deny").await.unwrap()), Some(End::Denied));
    let late = site.approve("bob", 1).await.unwrap_err();
    assert!(late.message.contains("is over: denied"), "{late}");
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let own = site.post("ana", "r2/deny").await.unwrap_err();
    assert!(own.message.contains("curfew withdraw"), "{own}");
    assert_eq!(how(&site.post("ana", "r2/withdraw").await.unwrap()), Some(End::Withdrawn));
    assert!(site.approve("bob", 2).await.is_err());
    // Taken away while it is used: the grant ends with it, by an order to every host.
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.approve("bob", 3).await.unwrap();
    site.approve("cleo", 3).await.unwrap();
    site.certificate("ana").await.unwrap();
    assert!(site.post("ana", "r3/withdraw").await.unwrap_err().message.contains("curfew done"));
    assert_eq!(how(&site.post("dan", "r3/deny").await.unwrap()), Some(End::Revoked));
    let grants: Vec<GrantView> =
        site.authority.read("/v1/grants", site.token("ana")).await.unwrap();
    assert!(grants.is_empty());
    let locks = site.authority.run(&["lock", "list"]);
    assert!(locks.contains("grant g1"), "{locks}");
    assert!(site.certificate("ana").await.is_err());
    // Given back.
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.approve("bob", 4).await.unwrap();
    site.approve("cleo", 4).await.unwrap();
    let grant = site.certificate("ana").await.unwrap().grant;
    let done = serde_json::json!({"reason": "done"});
    let path = format!("/v1/grants/{grant}/end");
    let _: wire::api::OrderProgress =
        site.authority.send(&path, Some(site.token("ana")), &done).await.unwrap();
    assert_eq!(how(&site.show("ana", 4).await.unwrap()), Some(End::Returned));
    assert!(site.certificate("ana").await.is_err());
    site.holds();
}

#[tokio::test]
async fn an_approver_allows_less_and_the_window_is_the_one_that_was_approved() {
    let site = Site::with(TWO).await;
    let now = site.request("ana", &dba(&["db2"])).await.unwrap().now;
    let start = Timestamp::from_secs(now.after(Duration::from_secs(3)).secs());
    let window = RequestAsk { start: Some(start), ..dba(&["db1"]) };
    site.request("ana", &window).await.unwrap();
    let short = Approval { duration_secs: 120, ..site.approval("bob", 2).await };
    site.send("bob", 2, sign(&short, NAMESPACE, 2)).await.unwrap();
    let scheduled = site.approve("cleo", 2).await.unwrap();
    let until = start.after(Duration::from_secs(120));
    let is_scheduled = scheduled.view.state == State::Scheduled { from: start, until };
    let is_begun =
        matches!(scheduled.view.state, State::Approved { until: end, .. } if end == until);
    assert!(is_scheduled || is_begun, "{scheduled:?}");
    let mut reply = site.certificate("ana").await;
    if is_scheduled && let Err(early) = &reply {
        assert!(early.message.contains("cannot be used yet"), "{early}");
    }
    for _ in 0..600 {
        if reply.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        reply = site.certificate("ana").await;
    }
    assert_eq!(reply.unwrap().grant_until, until);
    site.holds();
}

#[tokio::test]
async fn a_grant_that_needed_approval_lasts_longer_only_with_another() {
    let site = Site::with(TWO).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.approve("bob", 1).await.unwrap();
    site.approve("cleo", 1).await.unwrap();
    let reply = site.certificate("ana").await.unwrap();
    let path = format!("/v1/grants/{}/extend", reply.grant);
    let longer = serde_json::json!({"by_secs": 600, "reason": "not done"});
    let refused: Result<wire::api::ExtendReply, Problem> =
        site.authority.send(&path, Some(site.token("ana")), &longer).await;
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("curfew request dba --extend g1"), "{refused}");
    let extension = RequestAsk { extends: Some(reply.grant), duration_secs: Some(600), ..dba(&[]) };
    assert_eq!(site.request("bob", &extension).await.unwrap_err().code, Code::Malformed);
    site.request("ana", &extension).await.unwrap();
    site.approve("dan", 2).await.unwrap();
    assert_eq!(site.certificate("ana").await.unwrap().grant_until, reply.grant_until);
    let done = site.approve("bob", 2).await.unwrap();
    let later = reply.grant_until.after(Duration::from_secs(600));
    assert_eq!(done.view.state, State::Active { until: later });
    let renewed = site.certificate("ana").await.unwrap();
    assert_eq!((renewed.grant, renewed.grant_until), (reply.grant, later));
    assert_eq!(site.show("ana", 1).await.unwrap().view.state, State::Active { until: later });
    // For less than what is left: this certificate's sessions end sooner, and the grant does not.
    let brief = wire::api::CertificateAsk { duration_secs: Some(5), ..ask("db1") };
    let brief = issue(&site.authority, site.token("ana"), &brief).await.unwrap();
    assert!(brief.grant == reply.grant && brief.grant_until < reply.grant_until, "{brief:?}");
    // A no to the longer time, once it runs, ends it all.
    site.post("dan", "r2/deny").await.unwrap();
    for request in [1, 2] {
        let state = site.show("ana", request).await.unwrap().view.state;
        assert!(matches!(state, State::Ended { .. }), "{state:?}");
    }
    assert!(site.certificate("ana").await.is_err());
    site.holds();
}

#[tokio::test]
async fn what_nobody_approves_or_uses_runs_out_by_itself() {
    let site = Site::with(TWO).await;
    let config = settings(site.authority.dir.path());
    let more = "approval_timeout = \"3s\"\nfirst_use_timeout = \"1s\"\n";
    std::fs::write(site.authority.dir.path().join("ca.toml"), format!("{config}{more}")).unwrap();
    if site.authority.database.is_some() {
        return;
    }
    site.authority.restart();
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.request("ana", &dba(&["db2"])).await.unwrap();
    site.approve("bob", 2).await.unwrap();
    site.approve("cleo", 2).await.unwrap();
    let over = |kind: &str| {
        let entries = site.authority.run(&["ledger", "search", "--kind", "request_moved"]);
        entries.contains(kind)
    };
    eventually(|| over("timed_out") && over("unused")).await;
    assert!(site.certificate("ana").await.is_err());
    assert!(site.approve("bob", 1).await.unwrap_err().message.contains("timed out"));
    site.holds();
}

#[tokio::test]
async fn what_needs_no_approval_is_approved_at_once_and_by_a_rule_with_a_name() {
    let on_call = "automatic = \"sre\"\n[[rota.sre]]\nwho = \"ana\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2100-01-01T00:00:00Z\"\n";
    let site = Site::with(&format!("{TWO}{on_call}")).await;
    let made = site.request("ana", &dba(&["db1"])).await.unwrap();
    assert!(matches!(made.view.state, State::Approved { .. }), "{made:?}");
    assert_eq!(made.note.as_deref(), Some("who asks is on call"));
    assert!(site.certificate("ana").await.is_ok());
    let bob = site.request("bob", &dba(&["db1"])).await.unwrap();
    assert!(matches!(bob.view.state, State::Pending { .. }), "bob is not on call");
    site.holds();
}

#[tokio::test]
async fn the_teams_of_the_moment_and_the_owners_of_each_host_decide() {
    let owners = TWO.replace(
        "{ people = [\"bob\", \"cleo\", \"ops\"] }, { people = [\"bob\", \"dan\"] }",
        "\"owner\", { team = \"security\" }",
    );
    let site = Site::with(&owners).await;
    site.authority.run(&["team", "add", "dba", "bob", "cleo"]);
    site.authority.run(&["team", "add", "security", "bob", "ana"]);
    site.authority.add("ci:deploy", 8, &["--workload"]);
    site.authority.run(&["team", "add", "dba", "ci:deploy"]);
    let orphan = site.request("ana", &dba(&["db1"])).await.unwrap();
    let seat = &orphan.missing[0].seats[0];
    assert!(seat.words.contains("owns the host") && seat.who.is_empty(), "no host, no owner");
    site.post("ana", "r1/withdraw").await.unwrap();
    let labels = ["--label", "env=prod", "--label", "owner=dba"];
    let made =
        site.authority.token("db3", &[&labels[..], &["--address", "db3.example.com"]].concat());
    drop(site.authority.enrol(&made.token).await.unwrap());
    let made = site.request("ana", &dba(&["db3"])).await.unwrap();
    let names: Vec<&str> = made.missing[0].seats[0].who.iter().map(|who| who.as_str()).collect();
    assert_eq!(names, ["bob", "cleo"], "people, and no workload");
    let number = made.view.request.number();
    site.approve("bob", number).await.unwrap();
    // Bob is in both teams, and is one person.
    assert_eq!(site.show("ana", number).await.unwrap().missing[0].seats.len(), 1);
    assert!(site.show("dan", number).await.is_err(), "dan has no say yet");
    let approved = site.approve("cleo", number).await.unwrap();
    assert!(matches!(approved.view.state, State::Approved { .. }), "{approved:?}");
    let db3 = async || issue(&site.authority, site.token("ana"), &ask("db3")).await;
    // Cleo leaves the team before the issue; dan comes to security, and bob moves over to her seat.
    site.authority.run(&["team", "remove", "dba", "cleo"]);
    assert!(db3().await.unwrap_err().message.contains("two (somebody of"));
    site.authority.run(&["team", "add", "security", "dan"]);
    site.approve("dan", number).await.unwrap();
    assert!(db3().await.is_ok());
    // Who comes into a team after they approved counts from then on, and nobody needs to approve again.
    site.authority.run(&["team", "add", "dba", "dan"]);
    let bob = site.request("bob", &dba(&["db3"])).await.unwrap().view.request.number();
    site.approve("dan", bob).await.unwrap();
    site.authority.run(&["team", "add", "security", "eve"]);
    assert!(site.show("bob", bob).await.unwrap().missing.len() == 1);
    site.authority.run(&["team", "add", "dba", "eve"]);
    site.approve("eve", bob).await.unwrap();
    assert!(matches!(site.show("bob", bob).await.unwrap().view.state, State::Approved { .. }));
    site.holds();
}

#[tokio::test]
async fn a_rule_that_asks_for_less_lets_what_waits_go_on_by_itself() {
    let site = Site::with(TWO).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    site.approve("cleo", 1).await.unwrap();
    let one = TWO.replace("{ people = [\"bob\", \"dan\"] }", "");
    std::fs::write(site.authority.dir.path().join("roles.toml"), one).unwrap();
    for _ in 0..600 {
        if site.certificate("ana").await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let detail = site.show("ana", 1).await.unwrap();
    assert!(is_active(&detail), "{detail:?}");
    assert!(detail.note.unwrap().contains("approved by cleo"));
    site.holds();
}

/// One value of each field beyond what it can hold.
fn beyond(far: serde_json::Value) -> Vec<(&'static str, serde_json::Value)> {
    let hosts: Vec<String> = (0..33).map(|n| format!("h{n}")).collect();
    vec![
        ("reason", "x".repeat(401).into()),
        ("reason", "".into()),
        ("reason", " \u{3000}".into()),
        ("reason", "a\u{202e}b".into()),
        ("reason", "a\u{200b}b".into()),
        ("reason", "a\nb".into()),
        ("reason", "a\u{0}b".into()),
        ("expected", "a\u{1b}[2J".into()),
        ("ticket", "#".repeat(65).into()),
        ("ticket", "OPS 1".into()),
        ("ticket", "../../x".into()),
        ("role", "DBA".into()),
        ("hosts", serde_json::json!([])),
        ("hosts", hosts.into()),
        ("hosts", serde_json::json!(["db1\u{0}"])),
        ("duration_secs", 0.into()),
        ("duration_secs", 3_601.into()),
        ("duration_secs", u64::MAX.into()),
        ("duration_secs", (-1).into()),
        ("duration_secs", 1.5.into()),
        ("start", 0.into()),
        ("start", far),
        ("start", u64::MAX.into()),
        ("extends", 0.into()),
        ("extends", 7.into()),
        ("more", 1.into()),
    ]
}

#[tokio::test]
async fn every_field_holds_at_its_limit_and_is_refused_beyond() {
    let site = Site::with(TWO).await;
    let good = serde_json::to_value(dba(&["db1"])).unwrap();
    let send = async |field: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[field] = value;
        let made: Result<RequestDetail, Problem> =
            site.authority.send("/v1/requests", Some(site.token("ana")), &body).await;
        if let Ok(made) = &made {
            assert!(matches!(made.view.state, State::Pending { .. }), "{field} skips approval");
            site.post("ana", &format!("{}/withdraw", made.view.request)).await.unwrap();
        }
        made
    };
    let now = site.request("ana", &dba(&["db2"])).await.unwrap().now;
    let day = 86_400_u64;
    let at = |secs: u64| serde_json::json!(now.after(Duration::from_secs(secs)));
    for (field, value) in [
        ("reason", "x".repeat(400).into()),
        ("reason", "größe 日本語 🙂".into()),
        ("expected", "x".repeat(400).into()),
        ("ticket", "#".repeat(64).into()),
        ("duration_secs", 3_600.into()),
        ("duration_secs", 1.into()),
        ("start", at(29 * day)),
        ("urgent", true.into()),
    ] {
        let made = send(field, value.clone()).await;
        assert!(made.is_ok(), "{field} {value}: {made:?}");
    }
    for (field, value) in beyond(at(31 * day)) {
        let made = send(field, value.clone()).await;
        assert_eq!(made.unwrap_err().code, Code::Malformed, "{field} {value}");
    }
    site.holds();
}

#[tokio::test]
async fn what_is_no_number_of_a_request_is_malformed() {
    let site = Site::with(TWO).await;
    for path in ["r0", "1", "r", "r-1", "r99999999999999999999999", "R1", "r1%2f"] {
        let refused: Result<RequestDetail, Problem> =
            site.authority.read(&format!("/v1/requests/{path}"), site.token("ana")).await;
        assert_eq!(refused.unwrap_err().code, Code::Malformed, "{path}");
    }
}

#[tokio::test]
async fn whoever_has_the_database_cannot_invent_an_approval() {
    let authority = Authority::start_on(None);
    std::fs::write(authority.dir.path().join("roles.toml"), TWO).unwrap();
    authority.restart();
    for (name, seed) in PEOPLE {
        authority.add(name, seed, &[]);
    }
    drop(authority.host("db1").await);
    let mut tokens = Vec::new();
    for (name, seed) in PEOPLE {
        tokens.push(authority.login(name, seed).await.unwrap());
    }
    let site = Site { authority, tokens };
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let (bob, cleo) = (site.approval("bob", 1).await, site.approval("cleo", 1).await);
    site.approve("bob", 1).await.unwrap();
    site.authority.stop();
    let path = site.authority.dir.path().join("state/ledger.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    let put = |signed: &SignedApproval| {
        let print = wire::certificate::fingerprint(key(3).public_key().key_data());
        database
            .execute(
                "INSERT OR REPLACE INTO approvals VALUES (1, 'cleo', ?, ?, ?, 0, NULL)",
                (print.as_str(), &signed.approval, &signed.signature),
            )
            .unwrap();
        let state =
            serde_json::to_string(&State::Approved { until: cleo.until, secs: 600, fixed: false })
                .unwrap();
        database.execute("UPDATE requests SET state = ?", [state]).unwrap();
    };
    // With a key of theirs in the name of another; with bob's signature under another name.
    let borrowed = sign(&bob, NAMESPACE, 2);
    let renamed =
        SignedApproval { approval: sign(&cleo, NAMESPACE, 9).approval, ..borrowed.clone() };
    for forged in [sign(&cleo, NAMESPACE, 9), borrowed, renamed] {
        put(&forged);
        site.authority.start_again();
        let token = site.authority.login("ana", 1).await.unwrap();
        let denied = issue(&site.authority, &token, &ask("db1")).await.unwrap_err();
        assert!(denied.message.contains("two ("), "{denied}");
        let (code, faults) = site.authority.refuse(&["ledger", "verify"]);
        assert_eq!(code, 1);
        assert!(faults.contains("does not hold"), "{faults}");
        site.authority.stop();
    }
    // A request that was made longer behind the approvers' backs.
    database.execute("DELETE FROM approvals WHERE identity = 'cleo'", ()).unwrap();
    put(&sign(&cleo, NAMESPACE, 3));
    let longer = "UPDATE requests SET asked = replace(asked, '\"duration_secs\":600', '\"duration_secs\":900')";
    assert_eq!(database.execute(longer, ()).unwrap(), 1);
    site.authority.start_again();
    let token = site.authority.login("ana", 1).await.unwrap();
    assert!(issue(&site.authority, &token, &ask("db1")).await.is_err());
}

#[tokio::test]
async fn who_waits_hears_of_it_at_once_also_when_it_came_between_two_questions() {
    let site = Site::with(TWO).await;
    site.request("ana", &dba(&["db1"])).await.unwrap();
    let waits = async |heard: usize| {
        let path = format!("/v1/requests/r1?wait_millis=20000&approvals={heard}");
        let asked = site.authority.read::<RequestDetail>(&path, site.token("ana"));
        // Far from the 20 s after which nothing would be told.
        tokio::time::timeout(Duration::from_secs(15), asked).await.unwrap().unwrap()
    };
    let (half, ()) = tokio::join!(waits(0), async {
        // It may be asked before or after: either way it hears of it.
        site.approve("bob", 1).await.unwrap();
    });
    assert_eq!(half.approvals.len(), 1);
    assert_eq!(waits(0).await.approvals.len(), 1, "it was given before the question");
    let (whole, ()) = tokio::join!(waits(1), async {
        site.approve("cleo", 1).await.unwrap();
    });
    assert!(matches!(whole.view.state, State::Approved { .. }), "{whole:?}");
    assert!(matches!(waits(2).await.view.state, State::Approved { .. }));
    let old = "/v1/requests/r1?wait_millis=20000";
    let asked = site.authority.read::<RequestDetail>(old, site.token("ana"));
    assert!(tokio::time::timeout(Duration::from_secs(15), asked).await.is_ok());
}
