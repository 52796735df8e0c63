//! Access that two people must approve: nobody gets in before, everybody approved gets in after, and saying no ends it.

use tests::{FleetError, Person, Site};

const ROLES: &str = r#"[role.dba]
members = ["ana@example.com", "ops@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "30m"
max_duration = "1h"
requires = ["two"]

[quorum.two]
seats = [
    { people = ["bob@example.com", "ops@example.com"] },
    { people = ["bob@example.com", "cleo@example.com"] },
]
"#;

fn request(person: &Person) -> Result<String, FleetError> {
    let made = person.listing([
        "request",
        "dba",
        "--host",
        "db1",
        "--for",
        "20m",
        "--reason",
        "the primary is stuck",
        "--expect",
        "it answers again",
    ])?;
    let number = made.pointer("/view/request").cloned().unwrap_or_default();
    Ok(format!("r{number}"))
}

#[test]
fn two_people_approve_and_then_plain_ssh_gets_in() -> Result<(), FleetError> {
    let site = Site::open()?;
    site.set_roles(ROLES)?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let bob = site.person("bob@example.com")?;
    let ops = site.operator("ops@example.com")?;
    let refused = ana.curfew(["ssh", "deploy@db1", "--", "true"])?;
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(refused.stderr.contains("curfew request dba --host db1"), "{refused:?}");
    let id = request(&ana)?;
    let inbox = bob.curfew(["requests"])?.ok()?;
    assert!(
        inbox.text().contains(&format!("{id} waits for you: curfew approve {id}")),
        "{inbox:?}"
    );
    let own = ana.curfew(["approve", &id, "--yes"])?;
    assert!(own.stderr.contains("nobody approves their own request"), "{own:?}");
    // Bob could take either seat; he comes first and must not take the only one that is left for ops.
    let shown = bob.curfew(["approve", &id, "--yes"])?.ok()?;
    for part in ["ana@example.com", "it answers again", "20 min from the first login", "needs"] {
        assert!(shown.text().contains(part), "{part}: {shown:?}");
    }
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    ops.curfew(["approve", &id, "--yes", "--for", "10m"])?.done()?;
    let whole = ana.curfew(["requests", "show", &id])?.ok()?;
    assert!(whole.text().contains("approved for 10 min"), "{whole:?}");
    assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    let grants = ana.listing(["grants"])?;
    let length = |key: &str| grants[0][key].as_u64().unwrap_or_default();
    assert_eq!(length("request"), 1, "{grants}");
    assert!(length("until") - length("from") <= 600_000, "{grants}");
    let verified = site.authority.run(["ledger", "verify"])?.ok()?;
    assert!(verified.text().contains("2 approvals"), "{verified:?}");
    Ok(())
}

#[test]
fn an_operator_does_not_approve_their_own_request_and_a_no_ends_what_runs() -> Result<(), FleetError>
{
    let site = Site::open()?;
    site.set_roles(ROLES)?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let bob = site.person("bob@example.com")?;
    let cleo = site.person("cleo@example.com")?;
    let ops = site.operator("ops@example.com")?;
    let theirs = request(&ops)?;
    let own = ops.curfew(["approve", &theirs, "--yes"])?;
    assert!(own.stderr.contains("operators included"), "{own:?}");
    bob.curfew(["approve", &theirs, "--yes"])?.done()?;
    let refused = ops.curfew(["ssh", "deploy@db1", "--", "true"])?;
    assert!(refused.stderr.contains(&format!("request {theirs} waits for it")), "{refused:?}");
    let id = request(&ana)?;
    bob.curfew(["approve", &id, "--yes"])?.done()?;
    // An approver who is disabled before the issue does not count.
    ops.curfew(["approve", &id, "--yes"])?.done()?;
    site.authority.run(["identity", "disable", "bob@example.com", "--reason", "left"])?.done()?;
    let refused = ana.curfew(["ssh", "deploy@db1", "--", "true"])?;
    assert!(refused.stderr.contains("cleo@example.com"), "{refused:?}");
    cleo.curfew(["approve", &id, "--yes"])?.done()?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter("setsid sleep 4317 & ")?;
    let said = cleo.curfew(["deny", &id, "--reason", "the window is over"])?.ok()?;
    assert!(said.text().contains("revoked"), "{said:?}");
    shell.wait()?;
    assert!(db1.processes_like("sleep 4317")?.is_empty());
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    Ok(())
}
