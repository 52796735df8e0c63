//! Attempts to get away from a session, each made by a person in a real session, and what became of it. The tables in
//! `docs/escapes.md` are what was seen here: a run that sees something else fails.
//!
//! `CURFEW_WRITE_ESCAPES=1` writes the tables anew; one test at a time then.

use std::{env, fs, path::PathBuf};

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, compile, eventually, eventually_some};

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

/// One table of the page: its heading, the attempts, and where their marks begin, so that no two have the same.
struct Table(&'static str, &'static [Escape], u32);

#[test]
fn who_leaves_its_kin_is_as_the_page_says() -> Result<(), FleetError> {
    look(&Table("## By leaving one's kin", KIN, 7_700_000))
}

#[test]
fn who_takes_another_name_and_will_not_die_is_as_the_page_says() -> Result<(), FleetError> {
    look(&Table("## By another name, and against the kill", NAMES, 7_710_000))
}

#[test]
fn work_that_is_handed_on_is_as_the_page_says() -> Result<(), FleetError> {
    look(&Table("## By handing work on", HANDED, 7_720_000))
}

/// Makes every attempt of a table, on both tiers beside each other, each on a host of its own.
fn look(table: &Table) -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    db2.sh("echo 'attribution = \"audit\"' >>/etc/curfew/agent.toml")?.done()?;
    db2.restart("curfew-agent")?;
    site.wait_until_connected("db2")?;
    let helper = compile(HELPER, &["-pthread"])?;
    for host in [&db1, &db2] {
        host.put("/usr/local/bin/escape", &helper, 0o755)?;
    }
    let scene = Scene { site: &site, ana: &ana, ops: &ops };
    let (full, degraded) = std::thread::scope(|scope| {
        let [full, degraded] =
            [(&db1, 4), (&db2, 7)].map(|tier| scope.spawn(move || scene.all(table, tier)));
        let join = |tier: std::thread::ScopedJoinHandle<'_, Result<Vec<Seen>, FleetError>>| {
            tier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (join(full), join(degraded))
    });
    let mut seen = String::from(COLUMNS);
    for ((Escape(number, what, _), full), degraded) in table.1.iter().zip(full?).zip(degraded?) {
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
        seen.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    compare(table, &seen);
    Ok(())
}

/// What was seen stands on the page under the table's heading.
#[expect(clippy::expect_used, reason = "a page that is not there fails the test")]
fn compare(Table(heading, ..): &Table, seen: &str) {
    let path = page();
    let kept = fs::read_to_string(&path).expect("the page");
    let (before, rest) = kept.split_once(&format!("{heading}\n\n")).expect("the heading");
    let (was, after) = rest.split_once("\n## ").expect("the next heading");
    if env::var_os("CURFEW_WRITE_ESCAPES").is_some() {
        let whole = format!("{before}{heading}\n\n{seen}\n## {after}");
        return fs::write(&path, whole).expect("the page can be written");
    }
    for (is, was) in seen.lines().zip(was.lines()) {
        assert_eq!(is, was, "docs/escapes.md says something else than was seen");
    }
    assert_eq!(seen.lines().count(), was.lines().count());
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/escapes.md")
}

/// Who is there.
#[derive(Clone, Copy)]
struct Scene<'a> {
    site: &'a Site,
    ana: &'a Person,
    ops: &'a Person,
}

impl Scene<'_> {
    /// All attempts on one host; in column `place` of the page it stands whether one is dead.
    fn all(
        &self,
        Table(_, escapes, marks): &Table,
        (host, place): (&Host, usize),
    ) -> Result<Vec<Seen>, FleetError> {
        host.put("/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n", 0o440)?;
        let kept = fs::read_to_string(page()).unwrap_or_default();
        let fails = |escape: &Escape| {
            let begins = format!("| {} | {} |", escape.0, escape.1);
            let row = kept.lines().find(|line| line.starts_with(&begins)).unwrap_or_default();
            row.split(" | ").nth(place).is_some_and(|dead| dead.contains("**no**"))
        };
        let marks = marks.saturating_add(1)..;
        let each = marks.zip(*escapes);
        each.map(|(mark, escape)| self.attempt((mark, escape, fails(escape)), host)).collect()
    }

    fn attempt(
        &self,
        (mark, escape, fails): (u32, &Escape, bool),
        host: &Host,
    ) -> Result<Seen, FleetError> {
        let number = mark.to_string();
        let mark = format!("sleep {mark}");
        let script = format!("{}\nexec {SCRIPT_END}", escape.2.replace('§', &mark));
        let job = self.ana.ssh("deploy", host).start([script])?;
        let made = eventually_some("the attempt is made", || running(host, &mark));
        let session = eventually_some("the session is known", || {
            let said = host.run(["curfew-agent", "sessions", "--json"]).ok()?;
            let sessions: Value = serde_json::from_str(said.text()).ok()?;
            sessions.as_array()?.first()?.get("id")?.as_str().map(str::to_owned)
        })?;
        let Ok(pid) = made else {
            self.ops.lock(&["session", &session])?.done()?;
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
        self.ops.lock(&["session", &session])?.done()?;
        let is_gone = || running(host, &mark).is_none();
        // Of one that the page says lives on it is enough to see that it does, a while after everything else is over.
        let (recorded, handed) = self.records(&session, &number)?;
        let is_dead = if fails { is_gone() } else { eventually("nobody is left", is_gone).is_ok() };
        let alive = running(host, &mark);
        if alive.is_some() {
            // Finding none any more is as good.
            let _said = host.run(["pkill", "-KILL", "-fx", &format!("(/usr/bin/)?{mark}")])?;
        }
        host.sh(TIDY)?.done()?;
        drop(job);
        let is_incident = self.is_incident(&session)?;
        Ok(Seen {
            attributed,
            recorded: if recorded { "yes" } else { "**no**" },
            dead: if is_dead { "yes" } else { "**no**" },
            reported: match (attributed, handed, named) {
                ("yes", _, 0) => "–",
                ("yes", ..) if is_incident => "an incident; `explain` names what disagrees",
                ("yes", ..) => "`explain` names what disagrees",
                (_, true, _) => "a record of work handed on",
                ("as delegated", ..) => "`explain` names it",
                _ => "**no**",
            },
        })
    }

    /// Whether the authority has a record of a program that was started with this mark, and of work that was handed on.
    fn records(&self, session: &str, mark: &str) -> Result<(bool, bool), FleetError> {
        let detail = eventually_some("the session's end is known", || {
            let detail = self.ops.listing(["sessions", "show", session]).ok()?;
            detail.pointer("/session/ended")?.is_object().then_some(detail)
        })?;
        let records = detail.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
        // The script that makes the attempt has the mark in it too.
        let has = |place: &str| {
            records.iter().filter_map(|record| record.pointer(place)).any(|arguments| {
                let arguments = arguments.to_string();
                arguments.contains(mark) && !arguments.contains(SCRIPT_END)
            })
        };
        let handed = has("/event/delegated/exec/arguments");
        Ok((has("/event/exec/arguments") || handed, handed))
    }

    /// Whether what the session's processes carried was an incident. It is a record before the session's end.
    fn is_incident(&self, session: &str) -> Result<bool, FleetError> {
        let told = self.site.authority.run(["incident", "list"])?.ok()?;
        Ok(told.stdout.contains(&format!("in session {session} ")))
    }
}

/// The number of the process that is left running, on the host.
fn running(host: &Host, mark: &str) -> Option<String> {
    let said = host.run(["pgrep", "-fx", &format!("(/usr/bin/)?{mark}")]).ok()?;
    said.text().lines().next().map(str::to_owned).filter(|pid| !pid.is_empty())
}

/// Those that leave their parents. Numbers are those of the list that the page continues; letters are beyond it.
const KIN: &[Escape] = &[
    Escape("1", "`setsid`", "setsid -f §"),
    Escape("2", "`nohup`", "nohup § >/dev/null 2>&1 &"),
    Escape("3", "double fork, reparented to init", "( setsid sh -c 'setsid § & exit' & )"),
    Escape("4", "`disown`", "§ & disown"),
    Escape("5", "`perl -e exec`", "perl -e 'exec split / /, \"§\"' &"),
    Escape("6", "`vfork`", "escape vfork § &"),
    Escape("7", "a thread that becomes a program", "escape thread § &"),
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
    Escape(
        "67",
        "an empty environment, and a library before all others",
        "env -i LD_PRELOAD=/tmp/none.so PATH=/usr/bin § &",
    ),
    Escape("68", "`base64 -d \\| sh`", "printf '§' | base64 | base64 -d | sh &"),
];
/// Those that become somebody else, or will not die. Numbers are those of the list that the page continues; letters are beyond it.
const NAMES: &[Escape] = &[
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
    Escape(
        "21, 44",
        "an sshd of one's own, without PAM, started by root, and a login by it",
        "ssh-keygen -q -t ed25519 -N '' -f ~/own; sudo mkdir -p /home/app/.ssh; \
         sudo cp own.pub /home/app/.ssh/authorized_keys; sudo usermod -p '*' app; \
         sudo /usr/sbin/sshd -o UsePAM=no -o PidFile=none -o AuthorizedPrincipalsCommand=none -o TrustedUserCAKeys=none \
         -o RevokedKeys=none -o ForceCommand=none -p 2299; \
         ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i own -p 2299 app@127.0.0.1 'exec §' &",
    ),
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
        "74",
        "moved from group to group by root while it is killed",
        "(until [ -e /tmp/moved ]; do sleep 0.1; done; exec §) & p=$!; \
         sudo setsid -f bash -c \"mkdir -p /sys/fs/cgroup/m1 /sys/fs/cgroup/m2; trap '' HUP TERM; \
         while :; do for g in m1 m2; do echo $p > /sys/fs/cgroup/\\$g/cgroup.procs; done; touch /tmp/moved; done\"",
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
/// Those that have a daemon do it. Numbers are those of the list that the page continues; letters are beyond it.
const HANDED: &[Escape] = &[
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
];

/// Puts the host back for the next attempt.
const TIDY: &str =
    "rm -f /run/systemd/system/away.service /home/deploy/.config/systemd/user/away.service
crontab -u deploy -r 2>/dev/null || :
loginctl disable-linger deploy || :
systemctl daemon-reload
systemctl reset-failed || :
umount /tmp/x 2>/dev/null || :
rm -f /tmp/moved /home/deploy/own /home/deploy/own.pub /home/app/.ssh/authorized_keys";
const NONE: &str = "–";
/// What the script of an attempt becomes once it is made.
const SCRIPT_END: &str = "sleep 600";
const NOT_MADE: &str = "could not be made";

const COLUMNS: &str = "| # | attempt | attributed | recorded | dead after the kill | reported | degraded: attributed | dead |
|---|---|---|---|---|---|---|---|
";
/// For what no shell can do.
const HELPER: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static char **words;

static void *become(void *unused)
{
	execvp(words[0], words);
	_exit(1);
}

int main(int argc, char **argv)
{
	pthread_t other;

	if (argc < 3)
		return 2;
	words = argv + 2;
	if (!strcmp(argv[1], "vfork")) {
		if (vfork() == 0)
			execvp(words[0], words), _exit(1);
		return 0;
	}
	pthread_create(&other, 0, become, 0);
	pause();
}
"#;
