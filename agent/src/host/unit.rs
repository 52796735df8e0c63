//! Transient units of systemd that appear while sessions live: `systemd-run` by root, a container's scope. They carry no
//! login, so they are told with the sessions that may have asked, and end only with whoever alone asked.

use std::collections::{BTreeMap, BTreeSet};

use wire::identifier::{Identity, SessionId};
use wire::octets::Octets;
use wire::record::{Delegated, DelegatedEnded, Event, Exec};
use wire::time::Uptime;

use super::Host;
use crate::clock::Now;
use crate::install::{Host as _, System};
use crate::kernel::kill::end_unit;
use crate::kernel::{Stat, cgroup};

/// The transient units of the host.
#[derive(Debug, Default)]
pub(super) struct Units {
    known: BTreeMap<String, Option<Asked>>,
    /// Whether there was a reading before: what is found by the first was asked for before anybody looked.
    begun: bool,
}

/// A unit that somebody in a session may have asked for.
#[derive(Debug, Clone)]
struct Asked {
    /// Its control group.
    path: String,
    /// Whose sessions started a program that asks, just before; nobody's, when nobody is known to have.
    by: BTreeSet<Identity>,
    end: Option<(SessionId, Uptime, u32)>,
}

impl Host {
    /// Takes the transient units that there are.
    pub(super) fn take_units(&mut self, units: BTreeSet<String>, now: Now) {
        self.units.known.retain(|unit, asked| {
            units.contains(unit) || asked.as_ref().is_some_and(|asked| asked.end.is_some())
        });
        for unit in units {
            if self.units.known.contains_key(&unit) {
                continue;
            }
            let is_news = self.units.begun && !self.sessions.is_empty();
            let asked = if is_news { self.asked_for(&unit, now) } else { None };
            self.units.known.insert(unit, asked);
        }
        self.units.begun = true;
    }

    fn asked_for(&mut self, unit: &str, now: Now) -> Option<Asked> {
        let (pid, path) = first_process(unit)?;
        // With a session's tag it is that session's own, wherever its control group is.
        if self.is_tagged_process(pid) {
            return None;
        }
        let all = self.sessions.iter().map(|session| session.id).collect();
        let asked = self.asked_lately(now.up);
        let candidates = if asked.is_empty() { all } else { asked.clone() };
        let owner = |id: &SessionId| Some(self.sessions.find(*id)?.subject.identity.clone());
        let by = asked.iter().filter_map(owner).collect();
        let session = match candidates.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let exec = exec_of(pid)?;
        tracing::warn!(unit, pid, "a daemon runs work that a session may have asked for");
        let unit = Some(unit.to_owned());
        let delegated = Delegated { login: None, unit, candidates, exec };
        self.record(session, Event::Delegated(Box::new(delegated)), now);
        Some(Asked { path, by, end: None })
    }

    /// A lock ends a session of `who`: units that nobody else can have asked for end with it, and systemd is told to let
    /// go of them.
    pub(super) fn end_units(&mut self, who: &Identity, session: SessionId, now: Now) {
        for (unit, asked) in &mut self.units.known {
            let Some(asked) = asked else { continue };
            let is_theirs = !asked.by.is_empty() && asked.by.iter().all(|by| by == who);
            if !is_theirs || asked.end.is_some() {
                continue;
            }
            asked.end = Some((session, now.up, 0));
            stop(unit.clone());
        }
    }

    /// A pass over the units that end. Whether any is left.
    pub(super) fn strike_units(&mut self, now: Now) -> bool {
        let mut over = Vec::new();
        let mut is_left = false;
        for (unit, asked) in &mut self.units.known {
            let Some(Asked { path, end: Some((session, since, killed)), .. }) = asked else {
                continue;
            };
            match end_unit(self.kernel.as_ref(), path) {
                Ok(0) => over.push((unit.clone(), *session, now.up.since(*since), *killed)),
                Ok(alive) => {
                    *killed = (*killed).max(alive);
                    is_left = true;
                }
                Err(error) => {
                    is_left = true;
                    tracing::error!(unit, %error, "a unit that a locked session asked for could not be ended; it is tried again");
                }
            }
        }
        for (unit, session, took, killed) in over {
            self.units.known.insert(unit.clone(), None);
            let ended = DelegatedEnded {
                login: None,
                unit: Some(unit),
                session,
                killed,
                survivors: 0,
                took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            };
            self.record(Some(session), Event::DelegatedEnded(ended), now);
        }
        is_left
    }

    fn is_tagged_process(&self, pid: u32) -> bool {
        let number = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let held = number.and_then(|number| crate::peer::Held::open(number).ok());
        held.is_some_and(|held| {
            matches!(self.kernel.tag_of(std::os::fd::AsFd::as_fd(&held)), Ok(Some(_)))
        })
    }
}

/// The first process of a unit, and the control group it is in.
fn first_process(unit: &str) -> Option<(u32, String)> {
    let hierarchy = cgroup::Hierarchy::find().ok()??;
    // Where systemd puts units that say nothing of a slice, and where a person's scopes are.
    [
        format!("/system.slice/{unit}"),
        format!("/user.slice/{unit}"),
        format!("/machine.slice/{unit}"),
    ]
    .into_iter()
    .find_map(|path| {
        let pids = cgroup::processes(&hierarchy.folder(&path)?).ok()?;
        Some((pids.into_iter().find(|pid| *pid != 0)?, path))
    })
}

/// A process as it is now, for a record: nobody saw it begin.
fn exec_of(pid: u32) -> Option<Exec> {
    let stat = Stat::read(pid).ok()??;
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = read("cmdline");
    let arguments: Vec<Octets> = line
        .strip_suffix(&[0])
        .unwrap_or(&line)
        .split(|byte| *byte == 0)
        .take(MAX_ARGUMENTS)
        .map(|argument| Octets::new(argument.get(..MAX_ARGUMENT).unwrap_or(argument)))
        .collect();
    let kept: usize =
        arguments.iter().map(|argument| argument.as_bytes().len().saturating_add(1)).sum();
    let status = String::from_utf8_lossy(&read("status")).into_owned();
    let ids = |line: &str| line.strip_prefix("Uid:").map(str::to_owned);
    let ids = status.lines().find_map(ids).unwrap_or_default();
    let mut ids = ids.split_whitespace().filter_map(|id| id.parse().ok());
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Some(Exec {
        sequence: 0,
        pid: i32::try_from(pid).ok()?,
        parent: i32::try_from(stat.ppid).unwrap_or(0),
        uid: ids.next().unwrap_or(u32::MAX),
        euid: ids.next().unwrap_or(u32::MAX),
        path: Octets::new(std::os::unix::ffi::OsStrExt::as_bytes(program.as_os_str())),
        cut: u64::try_from(line.len().saturating_sub(kept)).unwrap_or(u64::MAX),
        arguments,
        terminal: None,
        nameless: false,
        program: None,
    })
}

/// Told beside the loop: systemd may take its time, and nothing waits for it.
fn stop(unit: String) {
    let told = std::thread::Builder::new().name("stop".into()).spawn(move || {
        match System.run("/usr/bin/systemctl", &["stop", "--no-block", "--", &unit]) {
            Ok(ran) if ran.ok => {}
            Ok(ran) => tracing::warn!(unit, "systemctl stop: {}", ran.last_line()),
            Err(error) => tracing::error!(unit, %error, "systemctl cannot be run; systemd may start the unit again"),
        }
    });
    if let Err(error) = told {
        tracing::error!(%error, "systemd cannot be told to let go of a unit; it may start it again");
    }
}

/// Arguments kept of one process, and bytes of one argument.
const MAX_ARGUMENTS: usize = 256;
const MAX_ARGUMENT: usize = 4_096;
