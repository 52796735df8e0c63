//! Break-glass while the authority is up, on a real host: one command and a touch, in at once, loudly, recorded whole, an hour at
//! most, and no second time before somebody else has looked into it.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, Stopwatch, eventually, eventually_some};

/// What two people must approve, and what bob may do anyway.
const ROLES: &str = r#"[role.dba]
members = ["ana@example.com", "bob@example.com"]
logins = ["app"]
hosts = ["env=prod"]
default_duration = "2h"
max_duration = "4h"
requires = ["two"]

[role.deploy]
members = ["bob@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]

[quorum.two]
seats = [{ people = ["bob@example.com"] }, { people = ["cleo@example.com"] }]

[[rota.primary]]
who = "ana@example.com"
from = "2020-01-01T00:00:00Z"
until = "2090-01-01T00:00:00Z"
"#;

/// The default, and break-glass for whoever is on call.
const POLICY: &str = r#"
@id("members")
permit (principal, action in [Curfew::Action::"request", Curfew::Action::"issue"], resource)
when { principal in context.role };

@id("on-call")
permit (principal, action == Curfew::Action::"breakglass", resource)
when { principal in context.role && context.onCall };

@id("approvers")
permit (principal, action == Curfew::Action::"approve", resource);

@id("operators")
permit (
    principal,
    action in [Curfew::Action::"review", Curfew::Action::"watch", Curfew::Action::"lock", Curfew::Action::"administer", Curfew::Action::"export"],
    resource
) when { principal.operator };
"#;

/// An authority with that policy, and a command that it calls when break-glass is used.
fn site() -> Result<Site, FleetError> {
    let mut site = Site::open()?;
    let dir = site.authority.dir().display().to_string();
    let write = |name: &str, text: &str| {
        let path = site.authority.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        std::fs::write(&path, text)
    };
    write("policy/main.cedar", POLICY).map_err(broken)?;
    write("page", &format!("cat >> {dir}/paged; echo >> {dir}/paged\n")).map_err(broken)?;
    site.authority.set(&format!(
        "policy_dir = \"{dir}/policy\"\nbreakglass_alarm = [\"/bin/sh\", \"{dir}/page\"]"
    ))?;
    site.set_roles(ROLES)?;
    site.authority.restart()?;
    Ok(site)
}

fn broken(error: std::io::Error) -> FleetError {
    FleetError::Authority { why: error.to_string() }
}

/// Somebody gets a security key, and logs in with it from now on.
fn with_token(site: &Site, person: &Person) -> Result<(), FleetError> {
    let key = person.client.make_key_with("token", &["-t", "ed25519-sk"])?.display().to_string();
    let public = format!("{key}.pub");
    site.authority.run(["identity", "add", &person.identity, "--key", &public])?.done()?;
    verified(person, &["login", "--key", &key])?.done()
}

/// Runs `curfew` with a security key that says that it was touched and knew its holder.
fn verified(person: &Person, words: &[&str]) -> Result<tests::Output, FleetError> {
    person.client.run("env", [&["CURFEW_TEST_SK=touched,verified", "curfew"], words].concat())
}

/// Takes break-glass.
fn take(person: &Person, more: &[&str]) -> Result<tests::Output, FleetError> {
    verified(person, &[&TAKE[..], more].concat())
}

/// The host calls somebody too.
fn page_from(site: &Site, host: &Host) -> Result<(), FleetError> {
    host.sh("printf '#!/bin/sh\\ncp \"$1\" /root/paged.json\\n' > /usr/local/bin/page; chmod 755 /usr/local/bin/page; \
            echo 'breakglass_alarm = [\"/usr/local/bin/page\"]' >> /etc/curfew/agent.toml; systemctl restart curfew-agent")?
        .done()?;
    site.wait_until_connected(host.name())
}

const TAKE: [&str; 5] =
    ["breakglass", "--host", "db1", "--reason", "the primary is down, nobody answers"];

#[test]
fn who_is_on_call_gets_in_at_once_loudly_recorded_whole_and_waits_for_a_review()
-> Result<(), FleetError> {
    let site = site()?;
    let db1 = site.host("db1")?;
    page_from(&site, &db1)?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    // Neither who is not on call, nor who shows no second factor.
    let not_on_call = take(&bob, &["--login", "app"])?;
    assert_eq!(not_on_call.status.code(), Some(77), "{not_on_call:?}");
    let plain = take(&ana, &[])?;
    assert!(plain.stderr.contains("asks for a second factor that was shown"), "{plain:?}");
    with_token(&site, &ana)?;
    let mut watcher = bob.shell("deploy", &db1)?;
    let watch = Stopwatch::start();
    let words = [&["CURFEW_TEST_SK=touched,verified", "curfew"], &TAKE[..]].concat();
    let mut shell = ana.client.terminal("env", words)?;
    shell.wait_for("app@db1:")?;
    println!("break-glass: 1 command, {:.1} s to a shell", watch.elapsed().as_secs_f64());
    // Every way that the authority and the host have.
    watcher.wait_for("BREAK-GLASS by ana@example.com")?;
    let paged = site.authority.dir().join("paged");
    eventually("everybody is told", || {
        let called = std::fs::read_to_string(&paged).unwrap_or_default();
        let journal = db1.run(["journalctl", "--no-pager", "-b"]).map(|said| said.stdout);
        called.contains("\"break_glass\"")
            && called.contains("\"pass\"")
            && site
                .authority
                .log()
                .contains("BREAK-GLASS by ana@example.com, which nobody approved")
            && journal.is_ok_and(|said| said.contains("curfew: BREAK-GLASS by ana@example.com"))
            && db1.has("/root/paged.json")
    })?;
    let told = eventually_some("the host's alarms are known to have gone out", || {
        let said = site.authority.run(["breakglass", "status"]).ok()?.stdout;
        said.contains("every alarm went out").then_some(said)
    })?;
    assert!(told.contains("r1  taken by ana@example.com without approval: active"), "{told}");
    shell.enter("/bin/echo in''side")?;
    shell.wait_for("inside")?;
    ends_and_waits(&site, (&ana, &bob, &ops), shell)
}

/// Given back it ends; a second use waits for the review of the first, which is somebody else's.
fn ends_and_waits(
    site: &Site,
    (ana, bob, ops): (&Person, &Person, &Person),
    mut shell: tests::Terminal,
) -> Result<(), FleetError> {
    let grants = ana.listing(["grants"])?;
    let at = |value: &Value, path: &str| value.pointer(path).cloned().unwrap_or_default();
    let length = |key: &str| at(&grants, &format!("/0/{key}")).as_u64().unwrap_or_default();
    let long = length("until").saturating_sub(length("from"));
    assert!(long > 3_500_000 && long <= 3_600_000, "{grants}");
    let early = ops.curfew(["breakglass", "review", "r1", "--verdict", "ok", "--note", "early"])?;
    assert!(early.stderr.contains("goes on"), "{early:?}");
    ana.curfew(["done"])?.done()?;
    shell.wait()?;
    let session = eventually_some("its session has ended", || {
        let sessions = site.listing(["sessions"]).ok()?;
        let is_it = |one: &&Value| at(one, "/role") == "dba" && at(one, "/ended").is_object();
        sessions.iter().find(is_it).cloned()
    })?;
    let id = at(&session, "/session").as_str().unwrap_or_default().to_owned();
    // All of it is there to be read, what its role says of recording or not.
    eventually("the recording is there", || {
        let shown = ops.curfew(["replay", &id, "--text"]);
        shown.is_ok_and(|shown| shown.stdout.contains("inside"))
    })?;
    let waits = take(ana, &["--", "true"])?;
    assert!(waits.stderr.contains("your break-glass r1 has not been reviewed"), "{waits:?}");
    let line = |which: &'static str| {
        ["breakglass", "review", which, "--verdict", "ok", "--note", "the primary was down"]
    };
    for (person, which, words) in [
        (ana, "r1", "does not let ana@example.com"),
        (bob, "r1", "does not let bob@example.com"),
        (ops, "r9", "there is no request r9"),
        (ops, "nine", "neither a request"),
    ] {
        let refused = person.curfew(line(which))?;
        assert!(!refused.succeeded() && refused.stderr.contains(words), "{refused:?}");
    }
    let status = site.authority.run(["status"])?.ok()?.stdout;
    assert!(status.contains("break-glass r1 by ana@example.com is to be reviewed"), "{status}");
    ops.curfew(line("r1"))?.done()?;
    assert!(site.listing(["incident", "list"])?.is_empty());
    take(ana, &["--for", "5m", "--", "true"])?.done()?;
    let verified = site.authority.run(["ledger", "verify"])?.ok()?;
    assert!(verified.text().contains("approvals"), "{verified:?}");
    Ok(())
}

#[test]
fn a_lock_refuses_break_glass_and_so_does_a_host_that_cannot_record() -> Result<(), FleetError> {
    let site = site()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let ops = site.operator("ops@example.com")?;
    with_token(&site, &ana)?;
    ops.curfew(["lock", "role", "dba", "--reason", "nobody today"])?.done()?;
    let locked = take(&ana, &["--", "true"])?;
    assert!(locked.stderr.contains("nobody today"), "{locked:?}");
    ops.curfew(["unlock", "role", "dba", "--reason", "over"])?.done()?;
    // What must be recorded and cannot be does not begin.
    db1.sh("echo 'recordings_quota = \"1MiB\"' >> /etc/curfew/agent.toml; mkdir -p /var/lib/curfew/recordings/aside; \
            head -c 3000000 /dev/urandom > /var/lib/curfew/recordings/aside/x")?
        .done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    eventually("it must be recorded, and cannot be", || {
        let said = take(&ana, &["--", "true"]);
        said.is_ok_and(|said| said.stderr.contains("this login must be recorded, and cannot be"))
    })
}
