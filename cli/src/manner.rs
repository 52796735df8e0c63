//! Who started a program in a session: a person who typed it, or a program that ran (capability S43). Pure.
//!
//! A label for each program, and not for the connection: what a script starts is started by a program, though a person
//! started the script. Each label says how sure it is and what it rests on. It is an opinion on records: nothing is let in,
//! recorded or ended by it. What a shell's own start files start counts as typed: nothing in a record tells it apart.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use wire::record::{ChannelEvent, Event, Exec, Record};
use wire::time::Uptime;

use crate::render::count;

/// Who started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Starter {
    /// A program, a script, a copy, a command that came with `ssh`.
    Program,
    /// Somebody at a terminal.
    Person,
}

/// How sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Confidence {
    /// Both are likely.
    Low,
    /// There are other ways for it to look so.
    Medium,
    /// It could look so otherwise only by intent.
    High,
}

/// A label, with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Manner {
    /// Who started it.
    pub(crate) starter: Starter,
    /// How sure that is.
    pub(crate) confidence: Confidence,
    /// What it rests on, in words.
    pub(crate) because: &'static str,
}

/// The label of a whole session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Whole {
    /// A person, where anybody typed anything that was started.
    pub(crate) starter: Starter,
    /// How sure that is: as sure as the surest of its programs of that kind.
    pub(crate) confidence: Confidence,
    /// Programs that a person started.
    pub(crate) by_persons: usize,
    /// All programs.
    pub(crate) programs: usize,
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sure = match self.confidence {
            Confidence::Low => "perhaps",
            Confidence::Medium => "probably",
            Confidence::High => "surely",
        };
        let all = count(u64::try_from(self.programs).unwrap_or(u64::MAX), "program");
        match self.starter {
            Starter::Program => write!(f, "programmatic ({sure}): nobody typed any of {all}"),
            Starter::Person => {
                write!(f, "manual ({sure}): {} of {all} typed at a terminal", self.by_persons)
            }
        }
    }
}

/// The label of each program, by the number of its record.
pub(crate) fn manners(records: &[Record]) -> BTreeMap<u64, Manner> {
    let typed = typed(records);
    let mut scene = Scene { typed, processes: BTreeMap::new() };
    let mut manners = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::Exec(exec) => {
                manners.insert(record.number.number(), scene.started(exec, record.uptime));
            }
            Event::Exit(exit) => {
                scene.processes.remove(&exit.pid);
            }
            _ => {}
        }
    }
    manners
}

/// The label of the session in which these are; none where nothing was started.
pub(crate) fn whole(manners: &BTreeMap<u64, Manner>) -> Option<Whole> {
    let starter = manners.values().map(|manner| manner.starter).max()?;
    let of_kind = manners.values().filter(|manner| manner.starter == starter);
    let confidence = of_kind.map(|manner| manner.confidence).max()?;
    let by_persons = manners.values().filter(|manner| manner.starter == Starter::Person).count();
    Some(Whole { starter, confidence, by_persons, programs: manners.len() })
}

/// How much was typed at each terminal that was closed, by its name as programs have it.
fn typed(records: &[Record]) -> BTreeMap<String, u64> {
    let mut names = BTreeMap::new();
    let mut typed = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::Channel(ChannelEvent::Opened { channel, terminal, .. }) => {
                names.insert(*channel, plain_name(terminal));
            }
            Event::Channel(ChannelEvent::Closed { channel, passed, .. }) => {
                if let Some(name) = names.remove(channel) {
                    let count = typed.entry(name).or_insert(0_u64);
                    *count = count.saturating_add(passed.typed);
                }
            }
            _ => {}
        }
    }
    typed
}

/// `pts/7` and `pts7` are the same.
fn plain_name(terminal: &str) -> String {
    terminal.chars().filter(|letter| *letter != '/').collect()
}

/// A process as it is known.
struct Known {
    /// A shell that reads what is typed.
    reads: bool,
    /// It only starts something else, as whoever started it meant it.
    passes_on: bool,
    manner: Manner,
    /// When it started something by itself, the newest last; no more than matter.
    started: Vec<Uptime>,
}

struct Scene {
    typed: BTreeMap<String, u64>,
    processes: BTreeMap<i32, Known>,
}

impl Scene {
    fn started(&mut self, exec: &Exec, at: Uptime) -> Manner {
        let manner = self.manner(exec, at);
        let known = Known {
            reads: reads_what_is_typed(exec),
            passes_on: PASS_ON.contains(&called(exec).as_str()),
            manner,
            started: Vec::new(),
        };
        self.processes.insert(exec.pid, known);
        manner
    }

    fn manner(&mut self, exec: &Exec, at: Uptime) -> Manner {
        let Some(terminal) = &exec.terminal else { return NO_TERMINAL };
        let typed = self.typed.get(&plain_name(terminal)).copied();
        if typed == Some(0) {
            return NOTHING_TYPED;
        }
        // A program in whose place this one runs: `env`, `nice`, a shell's `exec`.
        if let Some(before) = self.processes.get(&exec.pid).filter(|before| before.passes_on) {
            return before.manner;
        }
        match self.processes.get_mut(&exec.parent) {
            None => PART_OF_THE_LOGIN,
            Some(parent) if parent.passes_on => parent.manner,
            Some(parent) if parent.reads => {
                parent.started.retain(|then| at.since(*then) < A_SECOND);
                parent.started.push(at);
                if parent.started.len() > TYPED_A_SECOND {
                    return TOO_FAST;
                }
                let confidence =
                    if typed.is_some() { Confidence::High } else { Confidence::Medium };
                Manner {
                    starter: Starter::Person,
                    confidence,
                    because: "its shell reads a terminal",
                }
            }
            Some(_) => BY_A_PROGRAM,
        }
    }
}

/// A shell without a script and without `-c`.
fn reads_what_is_typed(exec: &Exec) -> bool {
    let is_option = |argument: &[u8]| {
        let is_command =
            argument.starts_with(b"-") && !argument.starts_with(b"--") && argument.contains(&b'c');
        (argument.starts_with(b"-") || argument.starts_with(b"+")) && !is_command
    };
    SHELLS.contains(&called(exec).as_str())
        && exec.arguments.iter().skip(1).all(|argument| is_option(argument.as_bytes()))
}

/// What it is called: by the name that it was given, without its folders and a login shell's dash.
fn called(exec: &Exec) -> String {
    let name = exec.arguments.first().map_or(exec.path.as_bytes(), |name| name.as_bytes());
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let base = base.strip_prefix(b"-").unwrap_or(base);
    String::from_utf8_lossy(base).into_owned()
}

const NO_TERMINAL: Manner = Manner {
    starter: Starter::Program,
    confidence: Confidence::High,
    because: "it has no terminal",
};
const NOTHING_TYPED: Manner = Manner {
    starter: Starter::Program,
    confidence: Confidence::High,
    because: "nothing was typed at its terminal",
};
const PART_OF_THE_LOGIN: Manner = Manner {
    starter: Starter::Program,
    confidence: Confidence::Low,
    because: "it is part of the login, or was given with ssh",
};
const TOO_FAST: Manner = Manner {
    starter: Starter::Program,
    confidence: Confidence::Medium,
    because: "its shell starts programs faster than anybody types",
};
const BY_A_PROGRAM: Manner = Manner {
    starter: Starter::Program,
    confidence: Confidence::Medium,
    because: "a program started it, and no shell that reads a terminal",
};
/// Shells that people type at.
const SHELLS: [&str; 10] =
    ["sh", "bash", "rbash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "tcsh"];
/// What only starts something else, as whoever started it meant it.
const PASS_ON: [&str; 14] = [
    "sudo", "doas", "su", "env", "nice", "ionice", "nohup", "setsid", "stdbuf", "time", "timeout",
    "chroot", "runuser", "exec",
];
/// More programs in a second than a line of people's has parts.
const TYPED_A_SECOND: usize = 8;
const A_SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(number: u64, millis: u64, event: Value) -> Record {
        let uptime = millis.saturating_mul(1_000_000);
        let record = json!({"number": number, "at": 1, "uptime": uptime, "session": "00000000000000a1", "event": event});
        serde_json::from_value(record).unwrap()
    }

    fn exec(pid: i32, parent: i32, terminal: Option<&str>, words: &[&str]) -> Value {
        json!({"exec": {"sequence": 1, "pid": pid, "parent": parent, "uid": 1, "euid": 1, "path": format!("/bin/{}", words[0]),
            "arguments": words, "cut": 0, "terminal": terminal}})
    }

    fn opened() -> Value {
        json!({"channel": {"opened": {"channel": 193, "terminal": "pts/0", "kept": true}}})
    }

    fn closed(typed: u64) -> Value {
        json!({"channel": {"closed": {"channel": 193,
            "passed": {"typed": typed, "input": typed, "output": 9, "kept": 0}, "end": "exited"}}})
    }

    fn labels(events: Vec<(u64, Value)>) -> Vec<(Starter, Confidence)> {
        let numbered = (1_u64..).zip(events);
        let records: Vec<Record> =
            numbered.map(|(number, (millis, event))| record(number, millis, event)).collect();
        manners(&records).values().map(|manner| (manner.starter, manner.confidence)).collect()
    }

    const TTY: Option<&str> = Some("pts0");
    use Confidence::{High, Low, Medium};
    use Starter::{Person, Program};

    #[test]
    fn what_is_typed_is_told_from_what_a_script_starts() {
        let told = labels(vec![
            (0, opened()),
            (1, exec(10, 9, TTY, &["-bash"])),
            (2_000, exec(11, 10, TTY, &["ls", "-l"])),
            (5_000, exec(12, 10, TTY, &["bash", "deploy.sh"])),
            (5_001, exec(13, 12, TTY, &["cp", "a", "b"])),
            (9_000, exec(14, 10, TTY, &["sudo", "id"])),
            (9_001, exec(15, 14, TTY, &["id"])),
            (12_000, exec(16, 10, TTY, &["env", "A=1", "top"])),
            (12_001, exec(16, 10, TTY, &["top"])),
            (20_000, closed(60)),
        ]);
        let expected = [
            (Program, Low),
            (Person, High),
            (Person, High),
            (Program, Medium),
            (Person, High),
            (Person, High),
            (Person, High),
            (Person, High),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_loop_is_no_person_and_a_pipeline_may_be() {
        let mut events = vec![(0, exec(10, 9, TTY, &["bash", "-i"]))];
        events.extend((0..3).map(|part| (1_000, exec(20 + part, 10, TTY, &["cat"]))));
        events.extend((0..20).map(|turn| (9_000 + 50 * turn, exec(30, 10, TTY, &["true"]))));
        let told = labels(events);
        assert_eq!(told[1..4], [(Person, Medium); 3], "one line with three parts");
        assert_eq!(told[14..], [(Program, Medium); 10]);
    }

    #[test]
    fn where_nobody_types_nobody_started_anything() {
        assert_eq!(labels(vec![(0, exec(10, 9, None, &["rsync"]))]), [(Program, High)]);
        let forced = labels(vec![
            (0, opened()),
            (1, exec(10, 9, TTY, &["bash"])),
            (2, exec(11, 10, TTY, &["ls"])),
            (3, closed(0)),
        ]);
        assert_eq!(forced, [(Program, High); 2]);
        let script = labels(vec![
            (0, exec(10, 9, TTY, &["bash", "-lc", "ls"])),
            (1, exec(11, 10, TTY, &["ls"])),
        ]);
        assert_eq!(script, [(Program, Low), (Program, Medium)]);
    }

    #[test]
    fn a_number_that_comes_again_is_another_process() {
        let told = labels(vec![
            (0, exec(10, 9, TTY, &["-zsh"])),
            (1, json!({"exit": {"sequence": 2, "pid": 10, "status": {"code": 0}}})),
            (2, exec(10, 9, TTY, &["make"])),
            (3, exec(11, 10, TTY, &["cc"])),
        ]);
        assert_eq!(told[2], (Program, Medium));
    }

    #[test]
    fn a_session_is_a_persons_where_anything_was_typed() {
        let of = |list: &[Manner]| whole(&(0_u64..).zip(list.iter().copied()).collect());
        assert_eq!(of(&[]), None);
        let typed = Manner { starter: Person, confidence: Medium, because: "" };
        let both = of(&[NO_TERMINAL, typed, NO_TERMINAL]).unwrap();
        assert_eq!((both.starter, both.confidence), (Person, Medium));
        assert_eq!((both.by_persons, both.programs), (1, 3));
        assert_eq!(of(&[NO_TERMINAL, PART_OF_THE_LOGIN]).unwrap().confidence, High);
    }
}
