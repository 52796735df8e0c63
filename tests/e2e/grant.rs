//! A grant that is given back ends at once and is not taken up again; one that is extended ends later, at once too.

use serde_json::Value;
use tests::{FleetError, Site, grace};

#[test]
fn who_is_done_gives_the_grant_back_with_its_sessions() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let bob = site.person("bob@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    let number = session["grant"].clone();
    let grant = format!("g{number}");
    shell.enter("setsid sleep 4309 & ")?;
    let certificate = ana.certificate("deploy", &db1)?;
    let said = bob.curfew(["done", &grant])?;
    assert!(!said.succeeded() && said.stderr.contains("there is no grant"), "{said:?}");
    let said = ana.curfew(["done"])?.ok()?;
    assert!(said.text().contains(&format!("Grant {grant} has ended")), "{said:?}");
    shell.wait()?;
    assert!(db1.processes_like("sleep 4309")?.is_empty());
    let again = ana.offering(&certificate, "deploy", &db1)?.run(["true"])?;
    assert!(!again.succeeded(), "its certificate opens nothing any more");
    assert_eq!(ana.listing(["grants"])?, Value::Array(Vec::new()));
    // The role is still theirs: another grant begins.
    assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    let next = ana.listing(["grants"])?;
    assert_ne!(next[0]["grant"], number, "{next}");
    Ok(())
}

#[test]
fn an_extension_moves_the_end_at_once_and_no_further_than_the_role() -> Result<(), FleetError> {
    let site = Site::open()?;
    site.set_roles(
        "[role.short]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
         default_duration = \"20s\"\nmax_duration = \"60s\"\n",
    )?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell =
        ana.client.terminal("curfew", ["ssh", "deploy@db1", "--for", "12s", "--", "-t"])?;
    shell.wait_for("deploy@db1:")?;
    let session = site.session(&ana, &db1)?;
    let said = ana.curfew(["extend", "--by", "8s"])?.ok()?;
    assert!(said.text().contains("ends"), "{said:?}");
    shell.wait_for("the grant was extended: this session ends in")?;
    shell.wait_for("this session has ended: the grant's time is over")?;
    shell.wait()?;
    let ended = site.ended(&session)?;
    let moment = |place: &str| ended.pointer(place).and_then(Value::as_u64).unwrap_or_default();
    let lasted = moment("/ended/at") - moment("/began");
    assert!((18_000..18_000 + grace(3_000)).contains(&lasted), "it lasted {lasted} ms: {ended}");
    let said = ana.curfew(["extend", "g1", "--by", "1m"])?;
    assert!(said.stderr.contains("has ended already"), "{said:?}");
    // As long as the role allows, and not a second more, by whoever it is.
    assert!(ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    site.authority.run(["grant", "extend", "g2", "--by", "1h"])?.done()?;
    let grants = ana.listing(["grants"])?;
    let length = grants[0]["until"].as_u64().unwrap_or_default()
        - grants[0]["from"].as_u64().unwrap_or_default();
    assert!((59_000..=60_000).contains(&length), "{grants}");
    let refused = site.authority.run(["grant", "extend", "g2", "--by", "1h"])?;
    assert!(refused.stderr.contains("allows no longer one"), "{refused:?}");
    for kind in ["grant_extended", "extension_denied"] {
        let entries = site.authority.run(["ledger", "search", "--kind", kind])?.ok()?;
        assert!(entries.text().contains("local:root"), "{kind}: {entries:?}");
    }
    Ok(())
}
