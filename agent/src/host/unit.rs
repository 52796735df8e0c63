//! Transient units of systemd that appear while sessions live: `systemd-run` by root, a container's scope. They carry no
//! login, so they are told with the sessions that may have asked, and end only with whoever alone asked.
//!
//! systemd lists a unit before it starts anything in it, and a timer's service long before: who asked is noted when it
//! is listed, and what it runs is told when it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, SessionId};
use wire::kill::HandedTally;
use wire::octets::Octets;
use wire::record::{Delegated, DelegatedEnded, Event, Exec};
use wire::time::Uptime;

use super::Host;
use crate::clock::Now;
use crate::install::{Host as _, System};
use crate::kernel::kill::end_unit;
use crate::kernel::{Stat, cgroup};
use crate::kills::{LATE, Part};
use crate::store;

/// The transient units of the host that somebody in a session may have asked for.
///
/// Who can change this: root on the host. Gains: can hide such work from its end; cannot touch sessions.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Units {
    /// By name. Nothing where nobody can have asked: it was there before anybody looked, or is a session's own.
    known: BTreeMap<String, Option<Asked>>,
    /// Whether there was a reading before: what is found by the first was asked for before anybody looked.
    begun: bool,
}

/// A unit that somebody in a session may have asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// When it was listed.
    since: Uptime,
    /// The sessions that may have asked.
    candidates: Vec<SessionId>,
    /// Whose sessions started a program that asks, just before; nobody's, when nobody is known to have.
    by: BTreeSet<Identity>,
    /// Its control group, once something runs in it.
    path: Option<String>,
    /// The session whose end takes it along, since when, and how many were killed.
    end: Option<(SessionId, Uptime, u32)>,
}

impl Units {
    /// As an agent before knew them.
    pub(super) fn resume(run_dir: &Path) -> Self {
        match store::read(&kept_at(run_dir)) {
            Ok(units) => units,
            Err(error) if error.is_absent() => Self::default(),
            Err(error) => {
                tracing::error!(%error, "which units sessions may have asked for is not known; they count as nobody's");
                Self::default()
            }
        }
    }

    /// The sessions that may have asked for the unit.
    pub(super) fn candidates(&self, unit: &str) -> &[SessionId] {
        let asked = self.known.get(unit).and_then(Option::as_ref);
        asked.map_or(&[], |asked| &asked.candidates)
    }

    /// Those that end, and with which session.
    pub(super) fn ending(&self) -> impl Iterator<Item = (&str, SessionId)> {
        self.known.iter().filter_map(|(unit, asked)| {
            let (session, ..) = asked.as_ref()?.end?;
            Some((unit.as_str(), session))
        })
    }

    /// When units that have not begun are looked at next: often at first, for most begin at once.
    pub(super) fn next_look(&self, now: Uptime) -> Option<Uptime> {
        let waiting = self.known.values().flatten().filter(|asked| asked.is_waiting());
        let next = |asked: &Asked| {
            let is_late = now.since(asked.since) > SOON;
            now.after(if is_late { SELDOM } else { OFTEN })
        };
        waiting.map(next).min()
    }
}

impl Asked {
    const fn is_waiting(&self) -> bool {
        self.path.is_none() && self.end.is_none()
    }
}

/// Where they are kept, which does not outlive the boot.
fn kept_at(run_dir: &Path) -> PathBuf {
    run_dir.join("units.json")
}

impl Host {
    fn keep_units(&self) {
        if let Err(error) = store::write(&kept_at(&self.places.run), &self.units) {
            tracing::error!(%error, "a restart of the agent will not know which units sessions may have asked for");
        }
    }

    /// Takes the transient units that there are.
    pub(super) fn take_units(&mut self, units: BTreeSet<String>, now: Now) {
        // Whoever asked has started a program for it, which may still wait to be taken.
        self.drain(now);
        let is_over = |unit: &String, asked: &Option<Asked>| {
            !units.contains(unit) && asked.as_ref().is_none_or(|asked| asked.end.is_none())
        };
        let before = self.units.known.len();
        self.units.known.retain(|unit, asked| !is_over(unit, asked));
        let mut is_news = self.units.known.len() != before || !self.units.begun;
        for unit in units {
            if self.units.known.contains_key(&unit) {
                continue;
            }
            let may_ask = self.units.begun && !self.sessions.is_empty();
            let asked = may_ask.then(|| self.asked_for(now));
            self.units.known.insert(unit, asked);
            is_news = true;
        }
        self.units.begun = true;
        if is_news {
            self.keep_units();
        }
        self.look_at_units(now);
    }

    /// Who may have asked for a unit that is listed now.
    fn asked_for(&self, now: Now) -> Asked {
        let asked = self.asked_lately(now.up);
        let owner = |id: &SessionId| Some(self.sessions.find(*id)?.subject.identity.clone());
        let by = asked.iter().filter_map(owner).collect();
        let all = || self.sessions.iter().map(|session| session.id).collect();
        let candidates = if asked.is_empty() { all() } else { asked };
        Asked { since: now.up, candidates, by, path: None, end: None }
    }

    /// Looks whether units have begun that had not, those that end among them: what they ran is told before it is killed.
    pub(super) fn look_at_units(&mut self, now: Now) {
        let waiting = |(unit, asked): (&String, &Option<Asked>)| {
            asked.as_ref().filter(|asked| asked.path.is_none()).map(|_| unit.clone())
        };
        let waiting: Vec<String> = self.units.known.iter().filter_map(waiting).collect();
        for unit in waiting {
            let Some((pid, path)) = first_process(&unit) else { continue };
            if is_still_systemd(pid, now.up) {
                continue;
            }
            self.begun(unit, (pid, path), now);
            self.keep_units();
        }
    }

    /// Something runs in a unit that a session may have asked for.
    fn begun(&mut self, unit: String, (pid, path): (u32, String), now: Now) {
        // With a session's tag it is that session's own, wherever its control group is.
        if self.is_tagged_process(pid) {
            self.units.known.insert(unit, None);
            return;
        }
        let Some(Some(asked)) = self.units.known.get_mut(&unit) else { return };
        asked.path = Some(path);
        let candidates = asked.candidates.clone();
        // It may be over already; its name alone tells enough then.
        let Some(exec) = exec_of(pid) else { return };
        tracing::warn!(unit, pid, "a daemon runs work that a session may have asked for");
        let session = match candidates.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let delegated = Delegated { login: None, unit: Some(unit), candidates, exec };
        self.record(session, Event::Delegated(Box::new(delegated)), now);
    }

    /// A lock ends a session of `who`: units that nobody else can have asked for end with it, those too that wait for a
    /// timer, and systemd is told to let go of them.
    pub(super) fn end_units(&mut self, who: &Identity, session: SessionId, now: Now) {
        self.look_at_units(now);
        let mut ends = Vec::new();
        for (unit, asked) in &mut self.units.known {
            let Some(asked) = asked else { continue };
            let is_theirs = !asked.by.is_empty() && asked.by.iter().all(|by| by == who);
            if !is_theirs || asked.end.is_some() {
                continue;
            }
            asked.end = Some((session, now.up, 0));
            ends.push(unit.clone());
            stop(unit.clone());
        }
        for unit in ends {
            self.kill_waits_for(session, Part::Unit(unit));
        }
        self.keep_units();
    }

    /// A pass over the units that end. Whether any is left.
    pub(super) fn strike_units(&mut self, now: Now) -> bool {
        self.look_at_units(now);
        let mut over = Vec::new();
        let mut late = Vec::new();
        let mut is_left = false;
        for (unit, asked) in &mut self.units.known {
            let Some(Asked { path, end: Some((session, since, killed)), .. }) = asked else {
                continue;
            };
            *path = path.take().or_else(|| first_process(unit).map(|(_, path)| path));
            let left = path.as_ref().map_or(Ok(0), |path| end_unit(self.kernel.as_ref(), path));
            match left {
                Ok(0) => over.push((unit.clone(), *session, now.up.since(*since), *killed)),
                Ok(alive) => {
                    *killed = (*killed).max(alive);
                    is_left = true;
                    if now.up.since(*since) >= LATE {
                        late.push((unit.clone(), *session, alive));
                    }
                }
                Err(error) => {
                    is_left = true;
                    tracing::error!(unit, %error, "a unit that a locked session asked for could not be ended; it is tried again");
                }
            }
        }
        for (unit, session, alive) in late {
            self.unit_left(&unit, session, alive);
        }
        for (unit, session, took, killed) in over {
            self.units.known.insert(unit.clone(), None);
            let tally = HandedTally { units: killed, ..HandedTally::default() };
            self.handed_over(session, &Part::Unit(unit.clone()), tally, now.up);
            let ended = DelegatedEnded {
                login: None,
                unit: Some(unit),
                session,
                killed,
                survivors: 0,
                took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            };
            self.record(Some(session), Event::DelegatedEnded(ended), now);
            self.keep_units();
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

/// Whether it is what systemd forked a moment ago, which has not become the unit's program yet: its name is the program's
/// in parentheses then, and it runs systemd's file.
fn is_still_systemd(pid: u32, now: Uptime) -> bool {
    let Ok(Some(stat)) = Stat::read(pid) else { return false };
    let nanos = stat.process.start_ticks().saturating_mul(NANOS_PER_TICK);
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    stat.process.comm().starts_with('(')
        && program.starts_with("/usr/lib/systemd")
        && now.since(Uptime::from_nanos(nanos)) < BECOMES
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
        // A service of a timer's comes again with it.
        let timer = unit.strip_suffix(".service").map(|name| format!("{name}.timer"));
        let timer = timer.filter(|timer| Path::new(TRANSIENT).join(timer).exists());
        let mut words = vec!["stop", "--no-block", "--", unit.as_str()];
        words.extend(timer.as_deref());
        match System.run("/usr/bin/systemctl", &words) {
            Ok(ran) if ran.ok => {}
            Ok(ran) => tracing::warn!(unit, "systemctl stop: {}", ran.last_line()),
            Err(error) => tracing::error!(unit, %error, "systemctl cannot be run; systemd may start the unit again"),
        }
    });
    if let Err(error) = told {
        tracing::error!(%error, "systemd cannot be told to let go of a unit; it may start it again");
    }
}

/// Where systemd keeps transient units.
pub(crate) const TRANSIENT: &str = "/run/systemd/transient";
/// How often units that have not begun are looked at: for this long often, and then seldom.
const SOON: Duration = Duration::from_secs(2);
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);
/// How long what systemd forked is waited for to become the unit's program.
const BECOMES: Duration = Duration::from_secs(1);
const NANOS_PER_TICK: u64 = 10_000_000;
/// Arguments kept of one process, and bytes of one argument.
const MAX_ARGUMENTS: usize = 256;
const MAX_ARGUMENT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn asked(since: Uptime) -> Asked {
        let candidates = vec![SessionId::new(NonZeroU64::new(7).unwrap())];
        let by = BTreeSet::from(["ana@example.com".parse().unwrap()]);
        Asked { since, candidates, by, path: None, end: None }
    }

    fn at(millis: u64) -> Uptime {
        Uptime::from_nanos(millis.saturating_mul(1_000_000))
    }

    #[test]
    fn a_unit_that_has_not_begun_is_looked_at_often_then_seldom_and_once_it_runs_no_more() {
        let mut units = Units { begun: true, ..Units::default() };
        assert_eq!(units.next_look(at(0)), None);
        units.known.insert("run-u1.service".into(), Some(asked(at(0))));
        units.known.insert("run-u2.service".into(), None);
        assert_eq!(units.next_look(at(1_000)), Some(at(1_020)));
        assert_eq!(units.next_look(at(5_000)), Some(at(6_000)));
        let runs = Asked { path: Some("/system.slice/run-u1.service".into()), ..asked(at(0)) };
        units.known.insert("run-u1.service".into(), Some(runs));
        assert_eq!(units.next_look(at(5_000)), None);
    }

    #[test]
    fn a_restart_knows_who_may_have_asked() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Units::resume(folder.path()), Units::default());
        let mut units = Units { begun: true, ..Units::default() };
        units.known.insert("run-u1.service".into(), Some(asked(at(3))));
        store::write(&kept_at(folder.path()), &units).unwrap();
        let again = Units::resume(folder.path());
        assert_eq!(again, units);
        assert_eq!(again.candidates("run-u1.service").len(), 1);
        assert!(again.candidates("run-u9.service").is_empty());
    }
}
