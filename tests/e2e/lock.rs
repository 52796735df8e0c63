//! A lock ends what it covers, everywhere, all of it, and nothing else; and lets nobody in until it is lifted.

use rustix::process::Signal;
use serde_json::Value;
use tests::{FleetError, Host, Person, REASON, Running, Site, Terminal, eventually};

#[test]
fn a_lock_ends_all_of_a_person_on_two_hosts_and_nothing_of_another() -> Result<(), FleetError> {
    let site = Site::open()?;
    let hosts = site.hosts(["db1", "db2"])?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let hers = hosts.each_ref().map(|host| Settled::begin(&ana, "41", host));
    let his = hosts.each_ref().map(|host| Settled::begin(&bob, "42", host));
    let (mut hers, his) = (all(hers)?, all(his)?);
    let before = count(&hosts, "sleep 42")?;

    let said = ops.lock(&["ana@example.com"])?.ok()?;
    assert_eq!(count(&hosts, "sleep 41")?, 0, "when the lock is done, all are dead");
    assert!(said.text().contains("2 of 2 hosts, 4 sessions ended, 0 survivors"), "{said:?}");
    assert_eq!((count(&hosts, "sleep 42")?, before), (2 * HABITS, 2 * HABITS));
    for settled in &mut hers {
        settled.shell.wait()?;
        assert!(settled.shell.screen().contains(REASON), "{}", settled.shell.screen());
    }
    for mut settled in his {
        settled.shell.enter("echo al''ive")?;
        settled.shell.wait_for("alive")?;
        assert!(!settled.shell.screen().contains(REASON) && settled.job.is_running());
    }
    assert!(
        site.listing(["sessions", "--live"])?
            .iter()
            .all(|session| session["identity"] == "bob@example.com")
    );
    // What it took is known of each.
    let sessions = site.listing(["sessions"])?;
    let hers = sessions.iter().filter(|session| session["identity"] == "ana@example.com");
    for session in hers {
        ops.records_when(session, |records| {
            let steps = |record: &Value| record.pointer("/event/session_ended/steps").cloned();
            let passes = records.iter().find_map(steps).and_then(|steps| steps["passes"].as_u64());
            passes.is_some_and(|passes| passes > 0)
        })?;
        let id = session["session"].as_str().unwrap_or_default();
        let killed = ops.listing(["sessions", "show", id])?["killed"].clone();
        assert_eq!(killed["seal"], "signed", "{killed}");
        let said = &killed["killed"];
        assert_eq!((&said["marked"], &said["survivors"]), (&true.into(), &0.into()), "{said}");
        let by_step = |step: &str| said["killed"][step].as_u64().unwrap_or_default();
        let sum = by_step("connection") + by_step("group") + by_step("alone");
        // sshd's own two may be gone by themselves before they are struck.
        assert!(sum >= 1, "{said}");
        assert_eq!(Some(sum), session["ended"]["killed"].as_u64(), "{said}");
    }
    // And it is what the command showed, by host and in all.
    for words in ["db1: ", "db2: ", "in all: "] {
        let line =
            |line: &&str| line.trim_start().starts_with(words) && line.contains("one by one");
        let line = said.text().lines().find(line);
        assert!(line.is_some_and(|line| line.ends_with("signed by the host")), "{said:?}");
    }
    Ok(())
}

#[test]
fn who_is_locked_gets_no_certificate_and_the_one_at_hand_opens_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mine = ana.certificate("deploy", &db1)?;
    ops.lock(&["ana@example.com"])?.done()?;

    let refused = ana.curfew(["ssh", "deploy@db2", "--", "true"])?;
    assert!(!refused.succeeded() && refused.stderr.contains("locked"), "{refused:?}");
    assert!(!ana.ssh("deploy", &db2).run(["true"])?.succeeded());
    assert!(!ana.offering(&mine, "deploy", &db1)?.run(["true"])?.succeeded());
    // The gate says so, until the list of revoked keys is there; from then on sshd itself.
    let by_gate = db1.journal("curfew-agent")?.contains("identity ana@example.com is locked");
    let by_list = db1.journal("ssh")?.contains("revoked by file");
    assert!(by_gate || by_list);

    ops.unlock(&["ana@example.com"])?;
    eventually("the list lets the certificate go", || {
        let again = ana.offering(&mine, "deploy", &db1).and_then(|ssh| ssh.run(["true"]));
        again.is_ok_and(|said| said.succeeded())
    })?;
    ana.ssh("deploy", &db2).run(["true"])?.done()
}

#[test]
fn each_kind_of_lock_ends_what_it_covers() -> Result<(), FleetError> {
    let site = Site::open()?;
    site.set_roles(TWO_ROLES)?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let open = || -> Result<_, FleetError> {
        let here = job(&site, &ana, "deploy", &db1)?;
        Ok([here, job(&site, &bob, "app", &db1)?, job(&site, &ana, "deploy", &db2)?])
    };
    for (kind, covered) in COVERED {
        let mut jobs = open()?;
        let session = site.session(&ana, &db1)?;
        let value = match kind {
            "grant" => format!("g{}", session["grant"]),
            "serial" => session["serial"].to_string(),
            kind => session[kind].as_str().unwrap_or_default().to_owned(),
        };
        let said = ops.lock(&[kind, &value])?.ok()?;
        let ended = covered.iter().filter(|covered| **covered).count();
        assert!(said.text().contains(&format!("{ended} session")), "{kind}: {said:?}");
        for (job, covered) in jobs.iter_mut().zip(covered) {
            eventually(&format!("{kind} ends {covered}"), || job.is_running() != covered)?;
        }
        ops.unlock(&[kind, &value])?;
        drop(jobs);
        eventually("all are gone", || live(&site) == Some(0))?;
    }
    Ok(())
}

#[test]
fn disabling_an_identity_ends_its_sessions() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mine = ana.certificate("deploy", &db1)?;
    let mut settled = Settled::begin(&ana, "41", &db1)?;
    site.authority.run(["identity", "disable", "ana@example.com", "--reason", REASON])?.done()?;
    settled.shell.wait()?;
    assert!(settled.shell.screen().contains(REASON), "{}", settled.shell.screen());
    eventually("nothing of hers is left", || {
        db1.processes_like("sleep 41").is_ok_and(|left| left.is_empty())
    })?;
    assert!(!ana.offering(&mine, "deploy", &db1)?.run(["true"])?.succeeded());
    assert!(!ana.curfew(["ssh", "deploy@db1", "--", "true"])?.succeeded());
    Ok(())
}

#[test]
fn a_lock_leaves_nobody_of_a_fork_storm() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    db1.put("/usr/local/bin/storm", STORM, 0o755)?;
    let storm = ana.ssh("deploy", &db1).start(["storm"])?;
    eventually("the storm rages", || gusts(&db1) >= 300)?;
    let said = ops.lock(&["ana@example.com"])?.ok()?;
    assert_eq!(gusts(&db1), 0, "{said:?}");
    assert!(said.text().contains("1 session ended, 0 survivors"), "{said:?}");
    drop(storm);
    Ok(())
}

#[test]
fn a_host_that_cannot_be_reached_is_named_and_locks_when_it_is_back() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut near = job(&site, &ana, "deploy", &db1)?;
    let mut far = job(&site, &ana, "deploy", &db2)?;
    let mine = ana.certificate("deploy", &db2)?;
    db2.cut_link()?;
    let said = ops.curfew(["lock", "ana@example.com", "--reason", REASON, "--wait", "2s"])?;
    assert!(!said.succeeded() && said.text().contains("1 of 2 hosts"), "{said:?}");
    assert!(said.stdout.contains("db2:"), "{said:?}");
    assert!(!near.is_running() && far.is_running());
    db2.mend_link()?;
    eventually("the lock has reached db2", || !far.is_running())?;
    assert!(!ana.offering(&mine, "deploy", &db2)?.run(["true"])?.succeeded());
    Ok(())
}

#[test]
fn nobody_slips_in_beside_a_lock() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mine = ana.certificate("deploy", &db1)?;
    let rush = || ana.offering(&mine, "deploy", &db1)?.start(["sleep", "4301"]);
    let before: Vec<Running> = (0..8).map(|_| rush()).collect::<Result<_, _>>()?;
    eventually("some are in", || db1.processes_like("sleep 4301").is_ok_and(|all| all.len() > 2))?;
    let lock = ops.client.start("curfew", ["lock", "ana@example.com", "--reason", REASON])?;
    let beside: Vec<Running> = (0..8).map(|_| rush()).collect::<Result<_, _>>()?;
    lock.wait()?.done()?;
    for one in before.into_iter().chain(beside) {
        assert!(!one.wait()?.succeeded());
    }
    assert!(db1.processes_like("sleep 4301")?.is_empty());
    eventually("no session is alive", || live(&site) == Some(0))
}

#[test]
fn who_is_behind_a_client_that_stopped_reading_is_ended_all_the_same() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let flood = "until [ -e /tmp/go ]; do sleep 0.1; done; exec yes behind-a-stopped-client";
    let client = ana.ssh("deploy", &db1).with(["-tt"]).start([flood])?;
    site.session(&ana, &db1)?;
    let like = |line: &str| db1.processes_like(line).map_or(0, |found| found.len());
    // Only what was asked for runs on without its client.
    eventually("it waits for a word", || like("until [ -e /tmp/go ]") > 0)?;
    client.signal(Signal::STOP)?;
    db1.put("/tmp/go", "", 0o644)?;
    let alive = || like("behind-a-stopped-client");
    eventually("it floods", || like("until [ -e /tmp/go ]") == 0 && alive() > 0)?;
    assert!(ops.lock(&["ana@example.com"])?.ok()?.text().contains("0 survivors"));
    eventually("nobody is left", || alive() == 0)
}

#[test]
fn a_lock_with_an_end_lets_in_again_by_itself() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mine = ana.certificate("deploy", &db1)?;
    ops.curfew(["lock", "ana@example.com", "--reason", REASON, "--for", "3s"])?.done()?;
    assert!(!ana.offering(&mine, "deploy", &db1)?.run(["true"])?.succeeded());
    eventually("the lock is over", || {
        ana.offering(&mine, "deploy", &db1)
            .and_then(|ssh| ssh.run(["true"]))
            .is_ok_and(|said| said.succeeded())
    })
}

#[test]
fn only_an_operator_locks() -> Result<(), FleetError> {
    let site = Site::open()?;
    let ana = site.person("ana@example.com")?;
    let said = ana.lock(&["bob@example.com"])?;
    assert!(
        !said.succeeded() && said.stderr.contains("does not let ana@example.com lock"),
        "{said:?}"
    );
    assert!(site.listing(["lock", "list"])?.is_empty());
    Ok(())
}

/// Somebody who is on a host in every way we know of: as many processes as [`HABITS`], each a `sleep` whose length begins
/// with the person's number.
struct Settled {
    shell: Terminal,
    job: Running,
}

impl Settled {
    fn begin(who: &Person, number: &str, host: &Host) -> Result<Self, FleetError> {
        host.run(["install", "-m", "4755", "/usr/bin/setsid", "/usr/local/bin/rootly"])?.done()?;
        let mut shell = who.shell("deploy", host)?;
        shell.enter(&EVERY_HABIT.replace('N', number))?;
        let job = who.ssh("deploy", host).start(["sleep", &format!("{number}09")])?;
        eventually(&format!("{} has settled", who.identity), || {
            host.processes_like(&format!("sleep {number}")).is_ok_and(|all| sleeps(&all) == HABITS)
        })?;
        Ok(Self { shell, job })
    }
}

fn all<const N: usize>(
    settled: [Result<Settled, FleetError>; N],
) -> Result<Vec<Settled>, FleetError> {
    settled.into_iter().collect()
}

fn count(hosts: &[Host], what: &str) -> Result<usize, FleetError> {
    hosts.iter().map(|host| Ok(sleeps(&host.processes_like(what)?))).sum()
}

fn sleeps(processes: &[tests::Process]) -> usize {
    processes.iter().filter(|process| process.line().starts_with("sleep ")).count()
}

fn gusts(host: &Host) -> usize {
    host.processes_like("storm").map_or(0, |all| all.len())
}

/// A session without a terminal that ends when its person goes, known to the authority.
fn job(site: &Site, who: &Person, login: &str, host: &Host) -> Result<Running, FleetError> {
    let job = who.ssh(login, host).start(["cat"])?;
    site.session(who, host)?;
    Ok(job)
}

fn live(site: &Site) -> Option<usize> {
    site.listing(["sessions", "--live"]).ok().map(|sessions| sessions.len())
}

const HABITS: usize = 11;
const EVERY_HABIT: &str = "sleep N01 & setsid sleep N02 & nohup sleep N03 >/dev/null 2>&1 & \
    ( ( sleep N04 & ) & ); tmux -L N new -d 'exec sleep N05'; \
    ( trap '' TERM HUP INT QUIT; exec sleep N06 ) & setsid -f setsid -f sleep N07; \
    ( trap '' HUP; setsid bash -c 'sleep N08; :' & ); rootly sleep N10 & sleep N11 & \
    until grep -q sleep /proc/$!/comm; do :; done; kill -STOP $!";

/// Each kind of lock by the field of a session, and whether it ends ana as deploy on db1, bob as app on db1, and ana as
/// deploy on db2.
const COVERED: [(&str, [bool; 3]); 7] = [
    ("session", [true, false, false]),
    ("serial", [true, false, false]),
    ("grant", [true, false, false]),
    ("role", [true, false, true]),
    ("login", [true, false, true]),
    ("identity", [true, false, true]),
    ("host", [true, true, false]),
];

const TWO_ROLES: &str = r#"[role.deploy]
members = ["ana@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "1h"
max_duration = "1h"
abilities = ["pty"]
[role.app]
members = ["bob@example.com"]
logins = ["app"]
hosts = ["env=prod"]
default_duration = "1h"
max_duration = "1h"
abilities = ["pty"]
"#;

/// Three hundred processes, each of which lives for a moment and leaves a child: never the same ones, never more than
/// the limit.
const STORM: &str = r#"#!/bin/bash
ulimit -u 1000
gust() { read -rt 0.3 <> <(:); trap '' TERM HUP; gust & }
for _ in {1..300}; do gust & done
wait
sleep 600
"#;
