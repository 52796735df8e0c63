//! Attempts to get away from a session, each made by a person in a real session, and what became of it. The table in
//! `docs/escapes.md` is what was seen here: a run that sees something else fails.
//!
//! `CURFEW_WRITE_ESCAPES=1` writes the table anew.

use std::fmt::Write as _;
use std::{env, fs, path::PathBuf};

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually, eventually_some};

/// An attempt: its number in the list, what it is, and how it is made; `§` stands for what is left running.
struct Escape(&'static str, &'static str, &'static str);

/// What was seen of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    attributed: &'static str,
    recorded: &'static str,
    dead: &'static str,
    reported: &'static str,
}

#[test]
fn each_escape_is_as_the_page_says() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    db2.sh("echo 'attribution = \"audit\"' >>/etc/curfew/agent.toml")?.done()?;
    db2.restart("curfew-agent")?;
    site.wait_until_connected("db2")?;
    let people = (&ana, &ops);
    // The two tiers beside each other, each on a host of its own.
    let (full, degraded) = std::thread::scope(|scope| {
        let [full, degraded] =
            [(&db1, 4), (&db2, 7)].map(|tier| scope.spawn(move || all(people, tier)));
        let join = |tier: std::thread::ScopedJoinHandle<'_, Result<Vec<Seen>, FleetError>>| {
            tier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (join(full), join(degraded))
    });
    let mut seen = String::from(HEAD);
    for ((Escape(number, what, _), full), degraded) in ESCAPES.iter().zip(full?).zip(degraded?) {
        let Seen { attributed, recorded, dead, reported } = full;
        let row = [
            number,
            what,
            attributed,
            recorded,
            dead,
            reported,
            degraded.attributed,
            degraded.dead,
        ];
        writeln!(seen, "| {} |", row.join(" | ")).expect("a string takes all");
    }
    seen.push_str(TAIL);
    let path = page();
    if env::var_os("CURFEW_WRITE_ESCAPES").is_some() {
        fs::write(&path, &seen).expect("the page can be written");
    }
    let kept = fs::read_to_string(&path).expect("the page");
    for (is, was) in seen.lines().zip(kept.lines()) {
        assert_eq!(is, was, "docs/escapes.md says something else than was seen");
    }
    assert_eq!(seen.lines().count(), kept.lines().count());
    Ok(())
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/escapes.md")
}

/// All attempts on one host; in column `place` of the page it stands whether one is dead.
fn all(
    (ana, ops): (&Person, &Person),
    (host, place): (&Host, usize),
) -> Result<Vec<Seen>, FleetError> {
    host.put("/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n", 0o440)?;
    let kept = fs::read_to_string(page()).unwrap_or_default();
    let fails = |escape: &Escape| {
        let begins = format!("| {} | {} |", escape.0, escape.1);
        let row = kept.lines().find(|line| line.starts_with(&begins)).unwrap_or_default();
        row.split(" | ").nth(place).is_some_and(|dead| dead.contains("**no**"))
    };
    (1..)
        .zip(ESCAPES)
        .map(|(row, escape)| attempt((row, escape, fails(escape)), (ana, ops), host))
        .collect()
}

fn attempt(
    (row, escape, fails): (u32, &Escape, bool),
    (ana, ops): (&Person, &Person),
    host: &Host,
) -> Result<Seen, FleetError> {
    let mark = format!("sleep {}", MARKS.saturating_add(row));
    let script = format!("{}\nexec {SCRIPT_END}", escape.2.replace('§', &mark));
    let job = ana.ssh("deploy", host).start([script])?;
    let made = eventually_some("the attempt is made", || running(host, &mark));
    let session = eventually_some("the session is known", || {
        let said = host.run(["curfew-agent", "sessions", "--json"]).ok()?;
        let sessions: Value = serde_json::from_str(said.text()).ok()?;
        sessions.as_array()?.first()?.get("id")?.as_str().map(str::to_owned)
    })?;
    let Ok(pid) = made else {
        ops.lock(&["session", &session])?.done()?;
        return Ok(Seen { attributed: NOT_MADE, recorded: NONE, dead: NONE, reported: NONE });
    };
    let told = host.run(["curfew-agent", "explain", &pid, "--json"])?.ok()?;
    let told: Value = serde_json::from_str(told.text()).unwrap_or_default();
    let belongs = told.get("belongs").cloned().unwrap_or_default();
    let attributed = if belongs.get("session").is_some_and(|id| *id == *session) {
        "yes"
    } else if belongs.get("delegated").is_some() {
        "as delegated"
    } else {
        "**no**"
    };
    let named = told.get("disagreements").and_then(Value::as_array).map_or(0, Vec::len);
    ops.lock(&["session", &session])?.done()?;
    let is_gone = || running(host, &mark).is_none();
    // Of one that the page says lives on it is enough to see that it does, a while after everything else is over.
    let (recorded, handed) = records(ops, &session, row)?;
    let is_dead = if fails { is_gone() } else { eventually("nobody is left", is_gone).is_ok() };
    let alive = running(host, &mark);
    if alive.is_some() {
        // Finding none any more is as good.
        let _said = host.run(["pkill", "-KILL", "-fx", &format!("(/usr/bin/)?{mark}")])?;
    }
    host.sh(TIDY)?.done()?;
    drop(job);
    Ok(Seen {
        attributed,
        recorded: if recorded { "yes" } else { "**no**" },
        dead: if is_dead { "yes" } else { "**no**" },
        reported: match (attributed, handed, named) {
            ("yes", _, 0) => "–",
            ("yes", ..) => "`explain` names what disagrees",
            (_, true, _) => "a record of work handed on",
            ("as delegated", ..) => "`explain` names it",
            _ => "**no**",
        },
    })
}

/// Whether the authority has a record of a program that was started with this mark, and of work that was handed on.
fn records(ops: &Person, session: &str, row: u32) -> Result<(bool, bool), FleetError> {
    let mark = MARKS.saturating_add(row).to_string();
    let detail = eventually_some("the session's end is known", || {
        let detail = ops.listing(["sessions", "show", session]).ok()?;
        detail.pointer("/session/ended")?.is_object().then_some(detail)
    })?;
    let records = detail.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
    // The script that makes the attempt has the mark in it too.
    let has = |place: &str| {
        records.iter().filter_map(|record| record.pointer(place)).any(|arguments| {
            let arguments = arguments.to_string();
            arguments.contains(&mark) && !arguments.contains(SCRIPT_END)
        })
    };
    let handed = has("/event/delegated/exec/arguments");
    Ok((has("/event/exec/arguments") || handed, handed))
}

/// The number of the process that is left running, on the host.
fn running(host: &Host, mark: &str) -> Option<String> {
    let said = host.run(["pgrep", "-fx", &format!("(/usr/bin/)?{mark}")]).ok()?;
    said.text().lines().next().map(str::to_owned).filter(|pid| !pid.is_empty())
}

/// Those that are made here. Numbers are those of the list that the page continues; letters are beyond it.
const ESCAPES: &[Escape] = &[
    Escape("1", "`setsid`", "setsid -f §"),
    Escape("2", "`nohup`", "nohup § >/dev/null 2>&1 &"),
    Escape("3", "double fork, reparented to init", "( setsid sh -c 'setsid § & exit' & )"),
    Escape("4", "`disown`", "§ & disown"),
    Escape("5", "`perl -e exec`", "perl -e 'exec split / /, \"§\"' &"),
    Escape("8", "a user namespace", "unshare -Ur § &"),
    Escape("8a", "a process namespace, by root", "sudo unshare -p -f --mount-proc § &"),
    Escape("9", "`chroot` by root", "sudo chroot / § &"),
    Escape(
        "9a",
        "`chroot` by root to where there is no `/proc`",
        "sudo sh -c 'mkdir -p /tmp/x; mount --bind / /tmp/x; exec chroot /tmp/x §' &",
    ),
    Escape(
        "10",
        "`nsenter` into init's namespaces by root",
        "sudo nsenter -t 1 -m -u -i -n -p § &",
    ),
    Escape("15", "`su -` to another account by root", "sudo su - app -c '§' &"),
    Escape("16", "`runuser` by root", "sudo runuser -u app -- § &"),
    Escape(
        "17",
        "root unsets the login uid",
        "sudo sh -c 'echo 4294967295 > /proc/self/loginuid; exec §' &",
    ),
    Escape(
        "18",
        "root moves into another control group",
        "sudo sh -c 'mkdir -p /sys/fs/cgroup/away; echo $$ > /sys/fs/cgroup/away/cgroup.procs; exec §' &",
    ),
    Escape(
        "17, 18",
        "both, in a session of its own, after a while",
        "sudo setsid -f sh -c 'sleep 2; echo 4294967295 > /proc/self/loginuid; \
         mkdir -p /sys/fs/cgroup/away; echo $$ > /sys/fs/cgroup/away/cgroup.procs; exec §'",
    ),
    Escape("19", "`systemd-run --user --scope`", "systemd-run --user --scope -q § &"),
    Escape("19a", "`systemd-run --scope` by root", "sudo systemd-run --scope -q § &"),
    Escape("20", "`sg`", "sg deploy -c '§' &"),
    Escape("23", "`systemd-run --user`", "until systemd-run --user -q §; do sleep 0.2; done"),
    Escape("24", "`systemd-run` by root", "sudo systemd-run -q §"),
    Escape("24a", "`systemd-run` by root, after a while", "sudo systemd-run -q --on-active=1 §"),
    Escape(
        "24b",
        "a transient unit by D-Bus alone, by root",
        "sudo busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
         StartTransientUnit 'ssa(sv)a(sa(sv))' asked.service fail 1 ExecStart 'a(sasb)' 1 /usr/bin/sleep 2 $(echo §) false 0",
    ),
    Escape("26", "`at now`", "echo '§' | at now 2>/dev/null"),
    Escape("26a", "`at now` by root", "echo '§' | sudo at now 2>/dev/null"),
    Escape(
        "27",
        "`cron`, at its start",
        "echo '@reboot §' | crontab -; sudo rm -f /run/crond.reboot; sudo systemctl restart cron",
    ),
    Escape(
        "28",
        "a user's unit that starts again, and linger",
        "mkdir -p ~/.config/systemd/user; \
         printf '[Service]\\nExecStart=/usr/bin/§\\nRestart=always\\n' > ~/.config/systemd/user/away.service; \
         sudo loginctl enable-linger deploy; systemctl --user daemon-reload; systemctl --user start away",
    ),
    Escape(
        "32",
        "a unit that root writes and starts",
        "printf '[Service]\\nExecStart=/usr/bin/§\\n' | sudo tee /run/systemd/system/away.service >/dev/null; \
         sudo systemctl daemon-reload; sudo systemctl start away",
    ),
    Escape("68", "`base64 -d \\| sh`", "printf '§' | base64 | base64 -d | sh &"),
    Escape(
        "69",
        "ignores every signal that can be",
        "sh -c 'trap \"\" HUP INT QUIT TERM USR1; exec §' &",
    ),
    Escape("72", "stopped", "§ & sleep 0.5; kill -STOP $!"),
    Escape(
        "72a",
        "in a control group that root froze",
        "sudo sh -c 'mkdir -p /sys/fs/cgroup/ice; echo $$ > /sys/fs/cgroup/ice/cgroup.procs; setsid -f §; sleep 0.5; \
         echo $$ > /sys/fs/cgroup/cgroup.procs; echo 1 > /sys/fs/cgroup/ice/cgroup.freeze'",
    ),
    Escape(
        "76",
        "listens, under another name",
        "perl -MIO::Socket::INET -e '$0=\"§\"; $s=IO::Socket::INET->new(Listen=>1,LocalPort=>7799); sleep 900' &",
    ),
    Escape("77", "`tmux`", "tmux new -d '§'"),
    Escape(
        "a",
        "starts itself again and again",
        "setsid -f sh -c 'while :; do setsid -f §; sleep 0.2; done'",
    ),
];

/// Puts the host back for the next attempt.
const TIDY: &str =
    "rm -f /run/systemd/system/away.service /home/deploy/.config/systemd/user/away.service
crontab -u deploy -r 2>/dev/null || :
loginctl disable-linger deploy || :
systemctl daemon-reload
systemctl reset-failed || :
umount /tmp/x 2>/dev/null || :";
const NONE: &str = "–";
/// Programs that are left running sleep for this many seconds and their number.
const MARKS: u32 = 7_700_000;
/// What the script of an attempt becomes once it is made.
const SCRIPT_END: &str = "sleep 600";
const NOT_MADE: &str = "could not be made";

const HEAD: &str = "# Escapes

What becomes of a process that tries to get away from its session. Each row of the first table is an attempt that is made in a real session on a real host
by `tests/e2e/escapes.rs`, which fails when it sees something else than stands here. *Attributed*: `curfew-agent explain` names the session.
*Recorded*: the authority has the record of the program. *Dead*: nobody is left after the session is locked. *Reported*: where one of them fails, what says so.
**no** is a failing row. The last two columns are the degraded tier, in which programs are not recorded.

| # | attempt | attributed | recorded | dead after the kill | reported | degraded: attributed | dead |
|---|---|---|---|---|---|---|---|
";
const TAIL: &str = "
## Held by other tests

| # | attempt | test |
|---|---|---|
| 13, 14 | a process from before the agent's start; the window of its restart | `tests/e2e/restart.rs` |
| 17–19 in the degraded tier | what root rewrites | `tests/e2e/degraded.rs` |
| 23, 26 | `systemd-run --user`, `at`, with the agent killed in between | `tests/e2e/delegation.rs: work_handed_to_at_cron_and_the_users_own_manager_is_seen_and_ends_with_a_lock` |
| 35, 45 | the login's environment and `SSH_USER_AUTH` forged | `tests/e2e/hostile.rs: what_a_user_writes_into_the_environment_changes_nothing` |
| 36 | hostile key ids | `wire::identifier::tests::hostile_names_are_refused`, `agent::sshd_log` and its fuzz target |
| 37 | a public certificate shown without its key | `tests/e2e/attempt.rs: a_certificate_that_is_shown_without_its_key_is_told_of` |
| 38 | expired, wrong principal, another authority | `tests/e2e/login.rs: a_certificate_that_is_not_right_opens_nothing`, `a_certificate_of_another_authority_opens_nothing` |
| 43 | a user's process at the agent's sockets | `tests/e2e/hostile.rs: who_is_in_a_session_reaches_nothing_of_ours` |
| 59 | the clock moved | `tests/e2e/deadline.rs` |
| 64, 65 | a full ring | `agent/tests/kernel.rs`, `tests/e2e/record.rs` |
| 70 | a fork storm | `cargo xtask bench kill`, `tests/e2e/lock.rs` |
| 79 | an order twice, reordered, forged | `agent::revocation::tests`, `wire::order` |
| 80 | the agent killed in the middle of a kill | `tests/e2e/restart.rs` |

## Tamper: root in the session

Not prevented. Each is an incident at the authority within 15 seconds (`tests/e2e/tamper.rs`, `tests/e2e/outside.rs`), unless it says otherwise.

| # | attempt | told as |
|---|---|---|
| 81 | the agent stopped; killed for good | the host fell silent, with how many sessions |
| 81 | the agent killed once | it is back within a second, and says in a record that it started |
| 81 | the agent or the link masked | the unit is masked |
| 82 | SIGSTOP; its control group frozen | the host fell silent; where nobody told systemd otherwise, its watchdog starts it again |
| 83 | a program's link unpinned; the BPF file system unmounted | what the kernel knows does not outlive the agent |
| 83 | the kernel's memory taken away while the agent is down | which sessions it knew; **what they had started before is not followed** |
| 83 | one session taken out of the kernel's table | which; it is counted again (`agent/tests/kernel.rs`) |
| 84 | the network shut off | the host fell silent |
| 86 | PAM line removed, `sshd_config` overridden, our settings changed, a program replaced | each by name |
| 88 | the clock set | a concern in `curfew status` from 20 s on (`ca/tests/program/link.rs`); deadlines do not move (`tests/e2e/deadline.rs`). Not set on a test host, whose clock is the machine's |
| 89 | `/etc/ld.so.preload` made | that it was |

**No**: 82 by starving the agent of processor time, short of silence; 85 a mount over the spool; 87 a stolen key of the link (it opens no session and reads no record, and works until the host is removed or enrolled anew); 89 by a name-service module.

## Failing

| # | attempt | what was seen |
|---|---|---|
| 24 and others of the degraded tier | work handed to daemons | said to be handed by `explain` where a mark is left, never recorded, and it lives on: the degraded tier sees no programs start |
| 17, 18 in the degraded tier | both at once, in a session of its own, between two looks at `/proc` (500 ms) | seen on a busy host: neither attributed nor dead. After a look it is known, as the table says |
| 26a | a job that root hands to `at` or `cron` | it is root's own: neither attributed nor ended. The program that asked is recorded |
| 32 | a unit that root writes and starts | the same: it is the host's own. The programs by which it was written and started are recorded |

## Pending

Not tried yet, and not to be relied on: 6, 7, 11, 12, 21, 25, 29–31, 33, 34, 39–42, 44, 46–58, 60–63, 66, 67, 71, 73–75, 78. 34 would change the kernel of the machine that tests run on. Containers are not in the image of the test hosts.
";
