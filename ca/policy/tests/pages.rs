//! Every policy that a page shows is good, and the recipes of the cookbook give the answers that are said here.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use curfew_policy::{Cases, File, PolicySet};
use jiff::tz::TimeZone;

#[test]
fn every_policy_that_a_page_shows_is_good() {
    let mut shown = 0;
    for page in pages::all().unwrap() {
        for (line, text) in page.blocks("cedar") {
            let place = format!("{}:{line}", page.path);
            load(&[(&place, &text)]);
            shown += 1;
        }
    }
    assert!(shown >= 10, "the pages show few policies: {shown}");
}

#[test]
fn every_recipe_gives_the_answers_that_are_said_here() {
    let cases = File { name: "pages.rs".to_owned(), text: CASES.to_owned() };
    let cases = Cases::read(&cases, &TimeZone::UTC).unwrap();
    let pages = pages::all().unwrap();
    let cookbook = pages.iter().find(|page| page.path == "docs/policy.md").unwrap();
    let blocks = cookbook.blocks("cedar");
    for id in RECIPES {
        let named = format!("@id(\"{id}\")\n");
        let (_, recipe) = blocks.iter().find(|(_, text)| text.starts_with(&named)).unwrap();
        let set = load(&[("members", MEMBERS), (id, recipe)]);
        let outcomes = cases.run(&set);
        let ours: Vec<_> =
            outcomes.iter().filter(|it| it.name.starts_with(&format!("{id}: "))).collect();
        assert!(ours.len() >= 2, "{id} has few cases");
        for outcome in ours {
            let failed = outcome.failed.as_ref().map(ToString::to_string);
            assert_eq!(failed, None, "{}", outcome.name);
        }
    }
}

fn load(files: &[(&str, &str)]) -> PolicySet {
    let file = |(name, text): &(&str, &str)| File { name: (*name).into(), text: (*text).into() };
    let files: Vec<File> = files.iter().map(file).collect();
    let told = |faults: Vec<curfew_policy::Fault>| {
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    PolicySet::load(&files).map_err(told).unwrap()
}

const RECIPES: [&str; 7] = [
    "working-hours",
    "long-needs-owner",
    "root-by-two",
    "outsiders",
    "freeze",
    "jobs",
    "fresh-approver",
];

const MEMBERS: &str = r#"
@id("members")
permit (principal, action in [Curfew::Action::"request", Curfew::Action::"issue"], resource)
when { principal in context.role };

@id("approvers")
permit (principal, action == Curfew::Action::"approve", resource);
"#;

/// A name begins with the recipe that it is of. 2026-12-01 is a Tuesday.
const CASES: &str = r#"
[identity."ana@example.com"]
roles = ["deploy"]

[identity."ext@example.com"]
teams = ["contractors"]
roles = ["deploy"]

[identity."ci:deploy"]
workload = true
roles = ["deploy"]

[host.db1]
labels = ["tier=0"]

[host.box1]
labels = ["tier=2", "jobs=yes"]

[[case]]
name = "working-hours: on a Tuesday at noon"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-01T12:00"
expect = "allowed"

[[case]]
name = "working-hours: at six in the evening it is over"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-01T18:00"
expect = ["working-hours"]

[[case]]
name = "working-hours: on a Saturday"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-05T12:00"
expect = ["working-hours"]

[[case]]
name = "working-hours: what began goes on"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-01T18:30"
renewal = true
expect = "allowed"

[[case]]
name = "working-hours: who is on call, at night"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-01T03:00"
on_call = true
expect = "allowed"

[[case]]
name = "long-needs-owner: half an hour"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
duration = "30m"
expect = "allowed"

[[case]]
name = "long-needs-owner: an hour"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
duration = "1h"
expect = ["long-needs-owner"]

[[case]]
name = "long-needs-owner: an hour that an owner approved"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
duration = "1h"
approvers = 1
quorums = ["owner"]
expect = "allowed"

[[case]]
name = "root-by-two: alone"
who = "ana@example.com"
action = "issue"
host = "box1"
role = "deploy"
login = "root"
reason = "the disk is full"
expect = ["root-by-two"]

[[case]]
name = "root-by-two: with a colleague, and no reason"
who = "ana@example.com"
action = "issue"
host = "box1"
role = "deploy"
login = "root"
approvers = 1
quorums = ["colleague"]
expect = ["root-by-two"]

[[case]]
name = "root-by-two: with a colleague"
who = "ana@example.com"
action = "issue"
host = "box1"
role = "deploy"
login = "root"
reason = "the disk is full"
approvers = 1
quorums = ["colleague"]
expect = "allowed"

[[case]]
name = "root-by-two: a job, whoever agrees"
who = "ci:deploy"
action = "issue"
host = "box1"
role = "deploy"
login = "root"
reason = "the disk is full"
approvers = 1
quorums = ["colleague"]
on_call = true
expect = ["root-by-two"]

[[case]]
name = "outsiders: an hour with an open ticket"
who = "ext@example.com"
action = "request"
host = "box1"
role = "deploy"
login = "app"
duration = "1h"
ticket = "OPS-1"
ticket_open = true
expect = "allowed"

[[case]]
name = "outsiders: a ticket that is closed"
who = "ext@example.com"
action = "issue"
host = "box1"
role = "deploy"
login = "app"
duration = "1h"
ticket = "OPS-1"
expect = ["outsiders"]

[[case]]
name = "outsiders: two hours"
who = "ext@example.com"
action = "request"
host = "box1"
role = "deploy"
login = "app"
duration = "2h"
ticket = "OPS-1"
ticket_open = true
expect = ["outsiders"]

[[case]]
name = "outsiders: nobody else is concerned"
who = "ana@example.com"
action = "issue"
host = "box1"
role = "deploy"
login = "app"
duration = "2h"
expect = "allowed"

[[case]]
name = "freeze: before it"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-18T16:59"
expect = "allowed"

[[case]]
name = "freeze: within it, an incident that is not said to be urgent"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-24T12:00"
approvers = 1
quorums = ["incident"]
expect = ["freeze"]

[[case]]
name = "freeze: within it, an urgent incident"
who = "ana@example.com"
action = "issue"
host = "db1"
role = "deploy"
login = "app"
at = "2026-12-24T12:00"
urgent = true
approvers = 1
quorums = ["incident"]
expect = "allowed"

[[case]]
name = "jobs: where they may"
who = "ci:deploy"
action = "issue"
host = "box1"
role = "deploy"
login = "app"
expect = "allowed"

[[case]]
name = "jobs: elsewhere"
who = "ci:deploy"
action = "request"
host = "db1"
role = "deploy"
login = "app"
expect = ["jobs"]

[[case]]
name = "fresh-approver: a second factor of a minute ago"
who = "ana@example.com"
action = "approve"
requester = "ext@example.com"
host = "db1"
role = "deploy"
login = "app"
mfa_age = "1m"
expect = "allowed"

[[case]]
name = "fresh-approver: of an hour ago, on a host of tier 0"
who = "ana@example.com"
action = "approve"
requester = "ext@example.com"
host = "db1"
role = "deploy"
login = "app"
mfa_age = "1h"
expect = ["fresh-approver"]

[[case]]
name = "fresh-approver: of an hour ago, for something of high risk"
who = "ana@example.com"
action = "approve"
requester = "ext@example.com"
host = "box1"
role = "deploy"
login = "app"
mfa_age = "1h"
risk = 70
expect = ["fresh-approver"]

[[case]]
name = "fresh-approver: of an hour ago, for something else"
who = "ana@example.com"
action = "approve"
requester = "ext@example.com"
host = "box1"
role = "deploy"
login = "app"
mfa_age = "1h"
risk = 10
expect = "allowed"
"#;
