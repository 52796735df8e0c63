//! `cargo xtask demo`: one session from its certificate to its end, on a real host, told as a story with times.
//!
//! Everything shown is what the programs really printed; this program only types, waits and tells.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use serde_json::Value;
use tests::{FleetError, Host, Person, ROLES, Site, Stopwatch, Terminal, eventually_some};

fn main() -> ExitCode {
    let mut story = Story { colour: io::stdout().is_terminal() && no_colour_unset(), line: None };
    match tell(&mut story) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("curfew-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn no_colour_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn tell(story: &mut Story) -> Result<(), FleetError> {
    story.title("Before: an authority, a host, two people");
    story.step("the authority makes its keys and its ledger, and serves");
    let site = Site::open()?;
    story.done(&format!("at {}", site.authority.url()));
    story.step("a host boots: systemd, logind, PAM, stock sshd");
    let db1 = site.fleet.host("db1")?;
    story.done(&db1.address().to_string());
    story.step("it joins, with a one-time token and the authority's fingerprint");
    site.prepare(&db1)?;
    let enrolled = site.enrol(&db1, &site.token(&db1)?)?.ok()?;
    story.done("");
    story.output("db1# curfew-agent enroll …", &enrolled.stdout);
    story.step("the agent goes into its login path");
    let installed = site.install(&db1)?;
    site.wait_until_connected("db1")?;
    story.done("");
    story.output("db1# curfew-agent install", &installed.stdout);
    story.output("roles.toml", ROLES);

    let ops = site.operator("ops@example.com")?;
    act_one(story, &site, &db1, &ops)?;
    act_two(story, &site, &db1, &ops)
}

/// A person is locked in the middle of her work.
fn act_one(story: &mut Story, site: &Site, db1: &Host, ops: &Person) -> Result<(), FleetError> {
    story.title("Act one: Ana is locked");
    story.step("Ana logs in to the authority with her SSH key");
    let ana = site.person("ana@example.com")?;
    let _agent = ana.client.agent()?;
    story.done("");
    story.step("she uses plain ssh; it asks Curfew for a certificate by itself");
    let mut shell = ana.ssh("deploy", db1).shell()?;
    shell.wait_for("deploy@db1")?;
    story.done("");
    story.output("ana$ ssh-add -l", &ana.client.run("ssh-add", ["-l"])?.ok()?.stdout);
    for line in WORK {
        shell.enter(line)?;
        shell.wait_for("$ ")?;
    }
    shell.enter("echo all\"\"set")?;
    shell.wait_for("allset")?;
    story.output("ana, on db1", &WORK.join("\n"));
    let alive = eventually_some("her programs run", || {
        let alive = hers(db1).ok()?;
        (alive.len() >= MANY).then_some(alive)
    })?;
    story.output("alive on db1", &alive.join("\n"));

    let locked = ops.curfew(["lock", "ana@example.com", "--reason", "her laptop was stolen"])?;
    story.output(
        "ops$ curfew lock ana@example.com --reason \"her laptop was stolen\"",
        &locked.ok()?.stdout,
    );
    shell.wait()?;
    story.output("Ana's terminal said", &last_words(&shell));
    let left = hers(db1)?;
    let shown = if left.is_empty() { "nothing of hers".to_owned() } else { left.join("\n") };
    story.output("alive on db1", &shown);
    let refused = ana.curfew(["ssh", "deploy@db1", "--", "true"])?;
    story.output("ana$ curfew ssh deploy@db1", &refused.stderr);
    story.step("and with the certificate that she still holds");
    let refused = ana.held_certificate("deploy", db1).run(["true"])?;
    story.done("");
    story.output("ana$ ssh -i … deploy@db1", &refused.stderr);
    let journal = db1.journal("curfew-agent")?;
    let why = journal.lines().rev().find(|line| line.contains("refused a login"));
    story.output("db1's gate says why, to its operator", why.map_or("", str::trim));

    let ended = ended_session(site, "ana@example.com")?;
    let id = at(&ended, "/session").as_str().unwrap_or_default().to_owned();
    story.output(
        "ops$ curfew sessions show …",
        &ops.curfew(["sessions", "show", &id])?.ok()?.stdout,
    );
    let took = at(&ended, "/ended/took_micros").as_f64().unwrap_or(f64::NAN) / 1000.0;
    let survivors = at(&ended, "/ended/survivors").to_string();
    story.verdict(&format!("lock to last process dead: {took:.1} ms, survivors: {survivors}"));
    if survivors == "0" && left.is_empty() {
        Ok(())
    } else {
        Err(site.broken("somebody survived the lock"))
    }
}

/// A grant of 20 seconds ends by itself.
fn act_two(story: &mut Story, site: &Site, db1: &Host, ops: &Person) -> Result<(), FleetError> {
    story.title("Act two: Bob's 20 seconds are over");
    let bob = site.person("bob@example.com")?;
    let watch = Stopwatch::start();
    let mut shell = bob.client.terminal("curfew", ["ssh", "app@db1", "--for", "20s"])?;
    shell.wait_for("app@db1")?;
    shell.enter("(setsid sleep 3000 &); tail -f /dev/null")?;
    story.step("Bob has a grant of 20 seconds, and works");
    shell.wait_for("this session ends in")?;
    story.done("");
    story.step("he was warned on his terminal; the grant runs out");
    shell.wait()?;
    story.done(&format!("{:.1} s after he asked for it", watch.elapsed().as_secs_f64()));
    story.output("Bob's terminal said", &last_words(&shell));
    let ended = ended_session(site, "bob@example.com")?;
    let id = at(&ended, "/session").as_str().unwrap_or_default();
    let shown = ops.curfew(["sessions", "show", id])?.ok()?.stdout;
    let about = ["began ", "ended ", " warned ", " ending "];
    let lines: Vec<&str> =
        shown.lines().filter(|line| about.iter().any(|word| line.contains(word))).collect();
    story.output("ops$ curfew sessions show … (warnings and end)", &lines.join("\n"));
    let left = db1.processes_like("sleep 3000")?.len();
    let after = at(&ended, "/ended/at").as_i64().zip(at(&ended, "/until").as_i64());
    let late = after.map_or(0, |(at, until)| at.saturating_sub(until));
    story.verdict(&format!("grant's end to last process dead: {late} ms, survivors: {left}"));
    if left == 0 { Ok(()) } else { Err(site.broken("somebody survived the deadline")) }
}

/// What Ana leaves running, each in its own way of staying alive.
const WORK: [&str; 4] = [
    "setsid sleep 1001 < /dev/null > /dev/null 2>&1 &",
    "nohup sleep 1002 < /dev/null > /dev/null 2>&1 &",
    "tmux new-session -d 'sleep 1003'",
    "( ( trap '' TERM HUP INT; exec sleep 1004 ) < /dev/null > /dev/null 2>&1 & )",
];
/// The four of them, at least.
const MANY: usize = 4;

/// Ana's programs: her login's processes that would stay.
fn hers(db1: &Host) -> Result<Vec<String>, FleetError> {
    let processes = db1.processes_like("sleep 100")?;
    Ok(processes.iter().map(|process| format!("{:>6}  {}", process.pid, process.line())).collect())
}

/// The session of `identity`, once its end is recorded at the authority.
fn ended_session(site: &Site, identity: &str) -> Result<Value, FleetError> {
    eventually_some("the end is recorded", || {
        let sessions = site.listing(["sessions"]).ok()?;
        sessions.into_iter().find(|session| {
            at(session, "/identity") == identity && at(session, "/ended").is_object()
        })
    })
}

/// What stands there in a JSON value, or nothing.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

/// The last lines of a terminal that say something.
fn last_words(shell: &Terminal) -> String {
    let screen = shell.screen();
    let lines = screen
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("*** curfew:") || line.contains("closed"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Telling: what is done, what came of it, how long it took.
struct Story {
    colour: bool,
    line: Option<(String, Stopwatch)>,
}

impl Story {
    fn title(&mut self, text: &str) {
        self.print(&format!("\n{}\n", self.paint("1", text)));
    }

    fn step(&mut self, text: &str) {
        if self.colour {
            self.print(&format!("           {text} …"));
        }
        self.line = Some((text.to_owned(), Stopwatch::start()));
    }

    fn done(&mut self, result: &str) {
        let Some((text, watch)) = self.line.take() else { return };
        let took = format!("{:>6} ms", watch.elapsed().as_millis());
        let result = if result.is_empty() { String::new() } else { format!(": {result}") };
        let back = if self.colour { "\r\x1b[K" } else { "" };
        self.print(&format!("{back}{}  {text}{result}\n", self.paint("2", &took)));
    }

    fn output(&self, of: &str, text: &str) {
        let head = if of.is_empty() {
            String::new()
        } else {
            format!("           {}\n", self.paint("36", of))
        };
        let lines: String = text.lines().map(|line| format!("           │ {line}\n")).collect();
        self.print(&format!("{head}{lines}"));
    }

    fn verdict(&self, text: &str) {
        self.print(&format!("\n  {}\n", self.paint("1;32", text)));
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A reader who has left ends the story at its next step, not with a panic.
    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}
