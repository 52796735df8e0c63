//! What fails around a session takes nobody's end away, and is said. The rows of `docs/fail-matrix.md` that no other test makes.

use serde_json::Value;
use tests::{FleetError, Host, Site, Stopwatch, compile, eventually, eventually_some, grace};

#[test]
fn a_full_disk_ends_who_must_be_recorded_and_what_was_lost_is_recorded_when_there_is_room()
-> Result<(), FleetError> {
    let site = Site::open()?;
    site.set_roles(TWO_NEEDS)?;
    let db1 = site.host("db1")?;
    // Room for the spool alone, so that nothing else of the host is short of it.
    db1.sh(SMALL_SPOOL)?.done()?;
    site.wait_until_connected("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut strict = ana.shell("deploy", &db1)?;
    let must = site.session(&ana, &db1)?;
    let mut loose = ana.shell("app", &db1)?;
    let may = eventually_some("both sessions are known", || {
        let live = site.listing(["sessions", "--live"]).ok()?;
        live.into_iter().find(|session| session["login"] == "app")
    })?;

    db1.sh("head -c 4M /dev/zero >/var/lib/curfew/spool/filler 2>/dev/null || :")?.done()?;
    loose.enter("for i in {1..20}; do /bin/echo while-full-$i; done")?;
    loose.wait_for("while-full-20\r")?;
    strict.enter("/bin/true")?;
    strict.wait()?;
    assert!(strict.screen().contains("cannot record it any more"), "{}", strict.screen());
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded(), "nobody else who must be");
    loose.enter("echo al''ive")?;
    loose.wait_for("alive")?;
    is_a_concern(&site, "host db1: its disk takes no records")?;
    let status = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(status.stdout.contains("its disk takes no records"), "{status:?}");

    db1.run(["rm", "/var/lib/curfew/spool/filler"])?.done()?;
    let ended = site.ended(&must)?;
    assert_eq!(ended["ended"]["reason"]["locked_here"]["source"], "records", "{ended}");
    let records = ops.records_when(&may, |records| lost(records) > 0)?;
    assert!(lost(&records) >= 20, "{records:?}");
    eventually("it is no concern any more", || {
        let status = site.authority.run(["status"]);
        status.is_ok_and(|said| !said.stdout.contains("takes no records"))
    })?;
    eventually("who must be recorded gets in again", || {
        ana.ssh("deploy", &db1).run(["true"]).is_ok_and(|said| said.succeeded())
    })
}

#[test]
fn an_authority_that_is_away_for_long_costs_the_host_no_more_than_its_quota()
-> Result<(), FleetError> {
    let site = Site::open()?;
    site.set_roles(TWO_NEEDS)?;
    let db1 = site.host("db1")?;
    db1.sh("echo 'records_quota = \"16MiB\"' >> /etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let strict_certificate = ana.certificate("deploy", &db1)?;
    let mut strict = ana.shell("deploy", &db1)?;
    let must = site.session(&ana, &db1)?;
    let mut loose = ana.shell("app", &db1)?;
    let may = eventually_some("both sessions are known", || {
        let live = site.listing(["sessions", "--live"]).ok()?;
        live.into_iter().find(|session| session["login"] == "app")
    })?;

    db1.cut_link()?;
    // A hundred and twenty thousand bytes of arguments each, of which packing spares a quarter; how many it takes depends on how
    // much of it the kernel's rings lose on a slow machine.
    loose.enter(
        "words=$(head -c 90000 /dev/urandom | base64 -w 0); n=0; \
         until [ -e /tmp/enough ]; do /bin/true $words; n=$((n+1)); done; echo r''an=$n=",
    )?;
    eventually("the quota is used up, and said to be", || {
        let said = db1.run(["curfew-agent", "status"]);
        said.is_ok_and(|said| said.stdout.contains(" of the 16 MiB of `records_quota`"))
    })?;
    db1.sh("touch /tmp/enough")?.done()?;
    loose.wait_for("ran=")?;
    let ran: u64 = loose.wait_for("=")?.parse().expect("a number");
    let taken = db1.sh("cat /var/lib/curfew/spool/* | wc -c")?.ok()?;
    let taken: u64 = taken.text().parse().unwrap_or(u64::MAX);
    assert!((12 << 20..=16 << 20).contains(&taken), "{taken}");
    strict.enter("/bin/true")?;
    strict.wait()?;
    assert!(strict.screen().contains("cannot record it any more"), "{}", strict.screen());
    let again = ana.offering(&strict_certificate, "deploy", &db1)?.run(["true"])?;
    assert!(!again.succeeded(), "nobody else who must be recorded: {again:?}");
    db1.mend_link()?;
    let ended = site.ended(&must)?;
    assert_eq!(ended["ended"]["reason"]["locked_here"]["source"], "records", "{ended}");
    loose.enter("exit")?;
    loose.wait()?;
    site.ended(&may)?;
    // Of every one, its beginning and its end are there or counted: by the quota, and by the kernel's rings on a slow machine.
    let records = ops.records_when(&may, |records| lost(records) > 0)?;
    let count = |is: &dyn Fn(&Value) -> bool| {
        u64::try_from(records.iter().filter(|record| is(record)).count()).unwrap_or_default()
    };
    // What had no room for its arguments is there without them.
    let is_true = |record: &Value| {
        let path = record.pointer("/event/exec/path").and_then(Value::as_str);
        path.is_some_and(|path| path.ends_with("bin/true"))
    };
    let (began, ended) = (count(&is_true), count(&|record| record["event"]["exit"].is_object()));
    let missing = lost(&records);
    assert!((50..ran).contains(&began), "{began} of {ran}");
    assert!(missing >= ran - began, "{began} of {ran}, {missing}");
    let all = began + ended + missing;
    assert!((2 * ran..2 * ran + 40).contains(&all), "{ran}: {began}, {ended}, {missing}");
    eventually("who must be recorded gets in again", || {
        ana.ssh("deploy", &db1).run(["true"]).is_ok_and(|said| said.succeeded())
    })
}

#[test]
fn sshd_that_is_restarted_and_replaced_in_place_keeps_sessions_and_their_ends()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let (mut hers, mut his) = (ana.shell("deploy", &db1)?, bob.shell("app", &db1)?);
    site.session(&ana, &db1)?;
    db1.restart("ssh")?;
    // As a package does it: another file in its place, and the service restarted.
    db1.sh("cp -p /usr/sbin/sshd /usr/sbin/sshd.new && mv /usr/sbin/sshd.new /usr/sbin/sshd")?
        .done()?;
    db1.restart("ssh")?;
    for shell in [&mut hers, &mut his] {
        shell.enter("echo al''ive")?;
        shell.wait_for("alive")?;
    }
    ana.ssh("app", &db1).run(["true"])?.done()?;
    hers.enter("setsid sleep 4801 & (trap '' HUP TERM; setsid sleep 4801) & echo le''ft")?;
    hers.wait_for("left")?;
    assert!(ops.lock(&["ana@example.com"])?.ok()?.text().contains("0 survivors"));
    hers.wait()?;
    assert!(db1.processes_like("sleep 4801")?.is_empty());
    his.enter("echo st''ill")?;
    his.wait_for("still")?;
    Ok(())
}

#[test]
fn without_logind_people_get_in_are_told_apart_and_are_ended_alone() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    db1.sh("systemctl mask --runtime --now systemd-logind.service")?.done()?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    // The same account, and one control group: nothing but the tag tells them apart.
    let (mut hers, mut his) = (ana.shell("deploy", &db1)?, bob.shell("deploy", &db1)?);
    hers.enter("setsid sleep 4811 & nohup sleep 4811 >/dev/null 2>&1 & echo le''ft")?;
    hers.wait_for("left")?;
    his.enter("setsid sleep 4812 & echo le''ft")?;
    his.wait_for("left")?;
    let session = site.session(&ana, &db1)?;
    assert!(ops.lock(&["ana@example.com"])?.ok()?.text().contains("0 survivors"));
    hers.wait()?;
    assert!(db1.processes_like("sleep 4811")?.is_empty());
    assert_eq!(db1.processes_like("sleep 4812")?.len(), 1, "bob goes on");
    his.enter("echo al''ive")?;
    his.wait_for("alive")?;
    assert!(db1.is_active("ssh")?, "sshd's own control group was not killed");
    // One by one, for the group holds others too.
    let killed = ops.listing(["sessions", "show", session["session"].as_str().unwrap_or("")])?;
    let killed = killed.pointer("/killed/killed/killed").cloned().unwrap_or_default();
    assert_eq!(
        (&killed["group"], killed["alone"].as_u64() >= Some(2)),
        (&0.into(), true),
        "{killed}"
    );
    Ok(())
}

#[test]
fn while_the_agent_is_frozen_nobody_gets_in_and_afterwards_everything_is_done()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let mut hers = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    let his = bob.certificate("deploy", &db1)?;
    // The watchdog would end it, which is another row.
    db1.sh(
        "mkdir -p /run/systemd/system/curfew-agent.service.d; \
         printf '[Service]\\nWatchdogSec=0\\n' >/run/systemd/system/curfew-agent.service.d/unwatched.conf; \
         systemctl daemon-reload",
    )?
    .done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    db1.kill_unit("curfew-agent", "STOP")?;
    let watch = Stopwatch::start();
    let refused = bob.offering(&his, "deploy", &db1)?.run(["true"])?;
    let took = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    assert!(!refused.succeeded(), "{refused:?}");
    assert!(took < grace(ANSWERED), "{took} ms until sshd refused");
    hers.enter("setsid sleep 4821 & echo al''ive")?;
    hers.wait_for("alive")?;
    let lock = ops.client.start("curfew", ["lock", "ana@example.com", "--reason", "gone"])?;
    eventually("she is locked", || {
        site.listing(["lock", "list"]).is_ok_and(|locks| locks.len() == 1)
    })?;
    assert!(hers.is_running());
    db1.kill_unit("curfew-agent", "CONT")?;
    hers.wait()?;
    assert_eq!(site.ended(&session)?["ended"]["survivors"], 0);
    assert!(db1.processes_like("sleep 4821")?.is_empty());
    bob.offering(&his, "deploy", &db1)?.run(["true"])?.done()?;
    drop(lock);
    Ok(())
}

#[test]
fn a_clock_that_jumps_either_way_moves_no_end_and_is_told() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let clock = Clock::under_the_agent(&site, &db1)?;
    let mut long = ana.shell("deploy", &db1)?;
    let lasting = site.session(&ana, &db1)?;
    let mut short =
        ana.client.terminal("curfew", ["ssh", "app@db1", "--for", "12s", "--", "-t"])?;
    short.wait_for("app@db1:")?;
    let ending = eventually_some("both sessions are known", || {
        let live = site.listing(["sessions", "--live"]).ok()?;
        live.into_iter().find(|session| session["login"] == "app")
    })?;
    // Five hours back: what is due soon is due no later.
    clock.shift(&db1, -18_000)?;
    short.wait()?;
    let (now, until) = (millis(&db1)?, ending["until"].as_u64().unwrap_or_default());
    assert!(now >= until.saturating_sub(500), "ended {} ms early", until.saturating_sub(now));
    // Hours would show; how exact an end is, `deadline.rs` measures where it happens.
    assert!(
        now < until.saturating_add(grace(20_000)),
        "ended {} ms late",
        now.saturating_sub(until)
    );
    // Five hours on: the longest grant would be over by that clock.
    clock.shift(&db1, 18_000)?;
    is_a_concern(&site, "the clock of host db1 is ")?;
    long.enter("echo al''ive")?;
    long.wait_for("alive")?;
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded(), "no certificate is good by then");
    clock.shift(&db1, 0)?;
    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    let live = site.listing(["sessions", "--live"])?;
    assert!(live.iter().any(|session| session["session"] == lasting["session"]), "{live:?}");
    Ok(())
}

/// The agent's wall clock, which is moved without the machine's: a library that answers for the system's.
struct Clock;

impl Clock {
    fn under_the_agent(site: &Site, host: &Host) -> Result<Self, FleetError> {
        let library = compile(SHIFT, &["-shared", "-fPIC"])?;
        host.put("/usr/local/lib/shift.so", library, 0o755)?;
        host.sh("head -c 8 /dev/zero >/run/clock.shift
             mkdir -p /run/systemd/system/curfew-agent.service.d
             printf '[Service]\\nEnvironment=LD_PRELOAD=/usr/local/lib/shift.so\\n' \\
                 >/run/systemd/system/curfew-agent.service.d/shift.conf
             systemctl daemon-reload")?
            .done()?;
        host.restart("curfew-agent")?;
        site.wait_until_connected(host.name())?;
        Ok(Self)
    }

    /// From now on it is so many seconds off.
    fn shift(&self, host: &Host, secs: i64) -> Result<(), FleetError> {
        let write = ["dd", "of=/run/clock.shift", "conv=notrunc", "status=none"];
        host.run_with_input(write, &secs.to_ne_bytes())?.done()
    }
}

/// How many records are recorded as lost.
fn lost(records: &[Value]) -> u64 {
    records.iter().filter_map(|it| it.pointer("/event/loss/missing")?.as_u64()).sum()
}

fn is_a_concern(site: &Site, words: &str) -> Result<(), FleetError> {
    eventually(words, || {
        site.authority.run(["status"]).is_ok_and(|status| status.stdout.contains(words))
    })
}

/// The host's time, in milliseconds since 1970.
fn millis(host: &Host) -> Result<u64, FleetError> {
    Ok(host.run(["date", "+%s%3N"])?.ok()?.text().parse().unwrap_or_default())
}

/// Within how many milliseconds a login is refused when the gate does not answer: each of its questions has two seconds.
const ANSWERED: u64 = 10_000;
const TWO_NEEDS: &str = r#"[role.strict]
members = ["ana@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "1h"
max_duration = "4h"
abilities = ["pty"]
recording = { level = "commands", need = "required" }

[role.loose]
members = ["ana@example.com"]
logins = ["app"]
hosts = ["env=prod"]
default_duration = "1h"
max_duration = "4h"
abilities = ["pty"]
"#;
const SMALL_SPOOL: &str = "
systemctl stop curfew-agent
cp -a /var/lib/curfew/spool /var/lib/curfew/spool.before
mount -t tmpfs -o size=1m,mode=0700 none /var/lib/curfew/spool
cp -a /var/lib/curfew/spool.before/. /var/lib/curfew/spool/
systemctl start curfew-agent";
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *shift;

__attribute__((constructor)) static void begin(void)
{
	int file = open("/run/clock.shift", O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return;
	void *seen = mmap(0, sizeof(*shift), PROT_READ, MAP_SHARED, file, 0);
	if (seen != MAP_FAILED)
		shift = seen;
	close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	long failed = syscall(SYS_clock_gettime, clock, now);
	if (!failed && shift && clock == CLOCK_REALTIME)
		now->tv_sec += *shift;
	return failed;
}
"#;
