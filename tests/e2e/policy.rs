//! Policy on real hosts: who asks, approves, looks, judges, locks and administers; what a risk asks for; rules of behaviour before the first
//! certificate; and a key that another approved.

use std::fs;

use serde_json::Value;
use tests::{FleetError, Host, Output, Person, Site, eventually};

const ROLES: &str = r#"[role.dba]
members = ["ana@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "30m"
max_duration = "1h"

[quorum.colleague]
seats = [{ people = ["bob@example.com"] }]
"#;
/// Members ask; security approves, looks, judges and locks; operators administer, and nothing else.
const POINTS: &str = r#"
@id("members") permit (principal, action in [Curfew::Action::"request", Curfew::Action::"issue"], resource)
when { principal in context.role };
@id("security")
permit (principal in Curfew::Team::"security",
        action in [Curfew::Action::"approve", Curfew::Action::"watch", Curfew::Action::"review", Curfew::Action::"lock",
                   Curfew::Action::"export"], resource);
@id("operators") permit (principal, action == Curfew::Action::"administer", resource) when { principal.operator };
@id("colleague") @advice("a colleague's approval")
forbid (principal, action == Curfew::Action::"issue", resource) unless { context.quorums.contains("colleague") };
"#;
/// A colleague's approval from this risk on; approvers are whoever fills a seat.
const RISKY: &str = r#"
@id("members") permit (principal, action in [Curfew::Action::"request", Curfew::Action::"issue"], resource)
when { principal in context.role };
@id("approvers") permit (principal, action == Curfew::Action::"approve", resource);
@id("risk") @advice("a colleague's approval: the risk is 30 or more")
forbid (principal, action == Curfew::Action::"issue", resource)
when { context.risk >= 30 } unless { context.quorums.contains("colleague") };
"#;
/// A host is worth 40 when nobody says of which tier it is, and nothing in tier 3.
const WEIGHTS: &str = "version = 1\nname = \"e2e\"\n[factor.tier]\npoints = 40\n";

/// A site whose authority begins with this policy, these weights and this text, and a host.
fn site(policy: &str, behaviour: Option<&str>) -> Result<(Site, Host), FleetError> {
    let mut site = Site::open()?;
    let dir = site.authority.dir().to_owned();
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, text)).map_err(|error| site.broken(&error.to_string()))
    };
    put("policy/main.cedar", policy)?;
    put("risk.toml", WEIGHTS)?;
    let dir = dir.display();
    let mut settings = format!("policy_dir = \"{dir}/policy\"\nrisk_file = \"{dir}/risk.toml\"\n");
    if let Some(text) = behaviour {
        put("behaviour.txt", text)?;
        settings.push_str(&format!("[behaviour]\nfile = \"{dir}/behaviour.txt\"\n"));
    }
    site.authority.set(&settings)?;
    site.authority.restart()?;
    site.set_roles(ROLES)?;
    let host = site.host("db1")?;
    Ok((site, host))
}

fn asked(person: &Person) -> Result<String, FleetError> {
    let ask = ["request", "dba", "--host", "db1", "--reason", "the primary is stuck"];
    let made = person.listing(ask)?;
    Ok(format!("r{}", made.pointer("/view/request").unwrap_or(&Value::Null)))
}

/// A refusal by the authority, which says this.
fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(output.stderr.contains(why), "{why}: {output:?}");
}

#[test]
fn policy_says_who_asks_approves_looks_judges_locks_and_administers() -> Result<(), FleetError> {
    let (site, db1) = site(POINTS, None)?;
    let ana = site.person("ana@example.com")?;
    let bob = site.person("bob@example.com")?;
    let ops = site.operator("ops@example.com")?;
    site.authority.run(["team", "add", "security", "bob@example.com"])?.done()?;
    // Request and issue.
    let stranger = ["request", "dba", "--host", "db1", "--reason", "let me see"];
    refused(&ops.curfew(stranger)?, "does not let ops@example.com in on db1");
    let early = ana.curfew(["ssh", "deploy@db1", "--", "true"])?;
    refused(&early, "still required: a colleague's approval");
    let id = asked(&ana)?;
    // Approve: an operator is none of those whom this policy lets.
    assert!(!ops.curfew(["approve", &id, "--yes"])?.succeeded());
    bob.curfew(["approve", &id, "--yes"])?.done()?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter("setsid sleep 4331 & ")?;
    eventually("her work is under way", || {
        db1.processes_like("sleep 4331").is_ok_and(|found| !found.is_empty())
    })?;
    // Watch.
    let seen = |who: &Person| -> Result<Vec<Value>, FleetError> {
        Ok(who.listing(["sessions", "--all"])?.as_array().cloned().unwrap_or_default())
    };
    eventually("her session is known", || seen(&bob).is_ok_and(|all| all.len() == 1))?;
    let all = seen(&bob)?;
    let session = all.first().and_then(|one| one.get("session")?.as_str()).unwrap_or_default();
    assert_eq!((seen(&ops)?.len(), seen(&ana)?.len()), (0, 1), "one's own, and else by policy");
    assert!(!ops.curfew(["sessions", "show", session])?.succeeded());
    bob.curfew(["sessions", "show", session])?.done()?;
    // Lock: what runs is over.
    let lock = ["lock", "ana@example.com", "--reason", "drill"];
    refused(&ops.curfew(lock)?, "does not let ops@example.com lock");
    assert!(!db1.processes_like("sleep 4331")?.is_empty());
    bob.curfew(lock)?.done()?;
    shell.wait()?;
    eventually("nothing of hers is left", || {
        db1.processes_like("sleep 4331").is_ok_and(|left| left.is_empty())
    })?;
    bob.curfew(["unlock", "ana@example.com", "--reason", "drill over"])?.done()?;
    judging(session, (&ana, &bob, &ops))?;
    administering(&site, (&ana, &bob, &ops))
}

/// Review, and export: what is due, by whom the policy lets, and never one's own.
fn judging(session: &str, (ana, bob, ops): (&Person, &Person, &Person)) -> Result<(), FleetError> {
    let due = |who: &Person| -> Result<usize, FleetError> {
        Ok(who.listing(["reviews"])?.as_array().map_or(0, Vec::len))
    };
    eventually("her session is due", || due(bob).is_ok_and(|count| count == 1))?;
    assert_eq!((due(ops)?, due(ana)?), (0, 0));
    let review = ["review", session, "--verdict", "out-of-scope", "--note", "it slept"];
    refused(&ops.curfew(review)?, "does not let ops@example.com review");
    bob.curfew(review)?.done()?;
    assert_eq!(due(bob)?, 0);
    refused(&ops.curfew(["ledger", "search"])?, "does not let ops@example.com read or take out");
    bob.curfew(["ledger", "search", "--kind", "session_reviewed"])?.done()
}

/// Another key of ana's, which only who administers approves.
fn administering(
    site: &Site,
    (ana, bob, ops): (&Person, &Person, &Person),
) -> Result<(), FleetError> {
    ana.log_in(site)?;
    let path = ana.client.make_key("new", "ed25519")?.display().to_string();
    let made = ana.listing(["keys", "add", &path, "--reason", "a new laptop"])?;
    let number = made.get("request").map(Value::to_string).unwrap_or_default();
    let no = bob.curfew(["keys", "approve", &number, "--yes"])?;
    assert!(!no.succeeded(), "{no:?}");
    ops.curfew(["keys", "approve", &number, "--yes"])?.done()?;
    ana.curfew(["login", "--key", &path])?.done()?;
    let verified = site.authority.run(["ledger", "verify"])?.ok()?;
    assert!(verified.text().contains("1 approvals; signed besides: 1 keys"), "{verified:?}");
    Ok(())
}

#[test]
fn risk_asks_for_an_approval_and_rules_of_behaviour_for_a_signature() -> Result<(), FleetError> {
    let (site, db1) = site(RISKY, Some("Be kind.\n"))?;
    let ana = site.person("ana@example.com")?;
    let bob = site.person("bob@example.com")?;
    let enter = || ana.curfew(["ssh", "deploy@db1", "--", "true"]);
    // Nobody has a certificate before they signed.
    refused(&enter()?, "sign the rules of behaviour first");
    let shown = ana.curfew(["behaviour", "--sign", "--yes"])?.ok()?;
    assert!(
        shown.text().contains("Be kind.") && shown.text().contains("You signed this"),
        "{shown:?}"
    );
    // Nobody says of which tier the host is: the strictest, which is a risk of 40.
    refused(&enter()?, "the risk is 30 or more");
    let id = asked(&ana)?;
    let approved = bob.curfew(["approve", &id, "--yes"])?.ok()?;
    for part in ["40 of 100", "+40"] {
        assert!(approved.text().contains(part), "{part}: {approved:?}");
    }
    assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    ana.curfew(["done"])?.done()?;
    refused(&enter()?, "the risk is 30 or more");
    // A host that is said to matter less asks for nobody.
    let labels = ["host", "set", "db1", "--label", "env=prod", "--label", "tier=3"];
    site.authority.run(labels)?.done()?;
    assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    // Another text asks everybody again.
    fs::write(site.authority.dir().join("behaviour.txt"), "Be kinder.\n")
        .map_err(|error| site.broken(&error.to_string()))?;
    eventually("the other rules ask for a signature", || {
        ana.curfew(["behaviour"]).is_ok_and(|said| said.text().contains("Be kinder."))
    })?;
    refused(&enter()?, "sign the rules of behaviour first");
    let verified = site.authority.run(["ledger", "verify"])?.ok()?;
    assert!(verified.text().contains("1 rules of behaviour"), "{verified:?}");
    Ok(())
}
