//! One pass of killing a session.
//!
//! Mark it in the kernel, so that it can only shrink; SIGKILL the sshd monitor by pidfd, so that the
//! connection starts nothing more; `cgroup.kill` where a cgroup holds this session and nobody else;
//! sweep the rest by tag. The caller repeats passes, on its own timer, until [`KillPass::is_over`].
//!
//! Nothing stops a pass: a step that fails is kept in [`KillPass::faults`] and the next one is taken.
//! Sessions of other people on the same account are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::cgroup::{self, Hierarchy};
use super::process::{self, Signalled, Stat};
use super::{Kernel, KernelError, Process, Tag, Tier};

/// Whom to kill.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The session.
    pub tag: Tag,
    /// Its sshd monitor, if the agent still holds it.
    pub monitor: Option<BorrowedFd<'a>>,
    /// Its logind scope as `/proc/PID/cgroup` names it (`/user.slice/…/session-4.scope`), if known.
    pub scope: Option<&'a str>,
    /// The monitor's process id, to leave sshd's own processes (the monitor, and its child that carries the
    /// connection) out of this pass, so that they can bring the last line to the client. Marked, they can
    /// start nothing any more. The next pass comes without.
    pub spare_sshd: Option<i32>,
}

/// A process that a pass killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// The process.
    pub process: Process,
    /// Whether it went with its control group, which was killed whole.
    pub with_group: bool,
    /// Its control group, where that was looked at.
    pub path: Option<String>,
}

/// What one pass did, and who was left when it ended.
#[derive(Debug, Default)]
#[must_use]
pub struct KillPass {
    /// Whether the monitor was alive and got SIGKILL.
    pub monitor: bool,
    /// Cgroups that were killed whole.
    pub cgroups_killed: usize,
    /// Cgroups that hold members but others too, and were left to the sweep.
    pub cgroups_shared: usize,
    /// Members that this pass killed: through a pidfd, or with their cgroup or their monitor. One that is slow to die
    /// is struck again in the next pass, and named there again.
    pub struck: Vec<Struck>,
    /// Members that were left out as sshd's own.
    pub spared: Vec<Process>,
    /// Whether the kernel took the mark.
    pub marked: bool,
    /// Live tasks by the kernel's count, after the pass. `None`: the count could not be read.
    pub live: Option<u32>,
    /// Members that had not died yet when the pass ended, by number and name.
    pub survivors: Vec<Process>,
    /// Steps that failed.
    pub faults: Vec<KernelError>,
}

impl KillPass {
    /// Nobody is left, by two witnesses and without a doubt.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.live == Some(0) && self.survivors.is_empty()
    }

    fn keep<T>(&mut self, result: Result<T, KernelError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults.push(error);
                None
            }
        }
    }
}

/// Does one pass.
pub fn kill(kernel: &mut dyn Kernel, target: &Target<'_>) -> KillPass {
    let mut pass = KillPass::default();
    let marked = kernel.mark_ending(target.tag);
    pass.marked = pass.keep(marked).is_some() && *kernel.tier() == Tier::Full;
    let mut members = pass.keep(kernel.members(target.tag)).unwrap_or_default();
    let mut places = Places::default();
    if let Some(monitor) = target.spare_sshd {
        pass.spared = members.extract_if(.., |member| is_sshd(member, monitor)).collect();
    } else {
        if let Some(monitor) = target.monitor {
            pass.monitor = pass.keep(process::kill(monitor)) == Some(Signalled::Sent);
        }
        places = kill_cgroups(kernel, target, &members, &mut pass);
    }
    let all_at_once = target.spare_sshd.is_none();
    for process in members {
        let signalled = pass.keep(signal(kernel, target.tag, &process));
        // Gone in a pass that killed whole cgroups: it went with its cgroup.
        if signalled == Some(Signalled::Sent) || (all_at_once && signalled.is_some()) {
            let path = places.of.remove(&process.pid());
            let with_group = path.as_ref().is_some_and(|path| places.killed.contains(path));
            pass.struck.push(Struck { process, with_group, path });
        }
    }
    pass.live = pass.keep(kernel.live(target.tag));
    if let Some(survivors) = pass.keep(kernel.members(target.tag)) {
        pass.survivors = survivors;
    } else {
        // Without a list nobody can say that it is over.
        pass.live = None;
    }
    pass
}

/// Whether a member is the monitor, or runs the monitor's program as its child. In doubt it is not.
fn is_sshd(member: &Process, monitor: i32) -> bool {
    let Ok(monitor) = u32::try_from(monitor) else { return false };
    if member.pid() == monitor {
        return true;
    }
    let stat = Stat::read(member.pid());
    if !matches!(stat, Ok(Some(stat)) if stat.ppid == monitor && stat.process.is(member)) {
        return false;
    }
    // Only of the monitor's own child: a program of the session's choice may lie where looking at it never returns (a
    // file server that is gone).
    let program = |pid| {
        std::fs::metadata(process::proc_path(pid, "exe")).map(|file| (file.dev(), file.ino()))
    };
    matches!((program(member.pid()), program(monitor)), (Ok(one), Ok(other)) if one == other)
}

fn signal(kernel: &dyn Kernel, tag: Tag, member: &Process) -> Result<Signalled, KernelError> {
    match kernel.hold(tag, member)? {
        Some(pidfd) => process::kill(pidfd.as_fd()),
        None => Ok(Signalled::Gone),
    }
}

fn kill_cgroups(
    kernel: &dyn Kernel,
    target: &Target<'_>,
    members: &[Process],
    pass: &mut KillPass,
) -> Places {
    let mut places = Places::default();
    let Some(Some(hierarchy)) = pass.keep(Hierarchy::find()) else { return places };
    let mut paths: BTreeSet<String> = target.scope.map(str::to_owned).into_iter().collect();
    for member in members {
        if let Some(path) = pass.keep(cgroup::path_of(member.pid())).flatten() {
            paths.insert(path.clone());
            places.of.insert(member.pid(), path);
        }
    }
    for (path, folder) in paths.iter().filter_map(|path| Some((path, hierarchy.folder(path)?))) {
        match pass.keep(kill_if_ours(kernel, target.tag, &folder)) {
            Some(Cgroup::Killed) => {
                pass.cgroups_killed = pass.cgroups_killed.saturating_add(1);
                places.killed.insert(path.clone());
            }
            Some(Cgroup::Shared) => pass.cgroups_shared = pass.cgroups_shared.saturating_add(1),
            Some(Cgroup::Empty) | None => {}
        }
    }
    places
}

/// The control groups of members, and which of them were killed whole.
#[derive(Debug, Default)]
struct Places {
    of: BTreeMap<u32, String>,
    killed: BTreeSet<String>,
}

/// One pass against a login that logind knows and that has no tag: its scope, if nobody tagged is in it, else each of its
/// processes that is not. `leader` is its first process.
///
/// # Errors
/// What could not be looked at or killed.
pub fn end_login(kernel: &dyn Kernel, leader: u32) -> Result<(), KernelError> {
    let scope = cgroup::path_of(leader)?;
    let is_scope = |path: &String| path.contains("/session-") && path.ends_with(".scope");
    let folder = Hierarchy::find()?.zip(scope.filter(is_scope));
    let Some(folder) = folder.and_then(|(hierarchy, path)| hierarchy.folder(&path)) else {
        // Without a scope of its own only its first process is known to be of it.
        return match process::open_pid(leader)? {
            Some(pidfd) => process::kill(pidfd.as_fd()).map(drop),
            None => Ok(()),
        };
    };
    let mut strangers = Vec::new();
    let mut is_shared = false;
    for pid in cgroup::processes(&folder)? {
        let Some(pidfd) = process::open_pid(pid)? else { continue };
        match kernel.tag_of(pidfd.as_fd()) {
            Ok(None) => strangers.push(pidfd),
            Ok(Some(_)) => is_shared = true,
            Err(KernelError::Gone) => {}
            Err(error) => return Err(error),
        }
    }
    if !is_shared {
        return cgroup::kill(&folder);
    }
    strangers.iter().try_for_each(|pidfd| process::kill(pidfd.as_fd()).map(drop))
}

/// One pass against a connection that came past our gate: the process that serves it, and everything below it that has no tag.
/// What had left that tree before is not known to be of it.
///
/// # Errors
/// What could not be looked at or killed.
pub fn end_below(kernel: &dyn Kernel, connection: &Process) -> Result<(), KernelError> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in process::all_pids()? {
        if let Some(stat) = Stat::read(pid)? {
            children.entry(stat.ppid).or_default().push(pid);
        }
    }
    let mut next = vec![connection.pid()];
    while let Some(pid) = next.pop() {
        let Some(pidfd) = process::open_pid(pid)? else { continue };
        if pid == connection.pid() && !Stat::read(pid)?.is_some_and(|it| it.process.is(connection))
        {
            return Ok(());
        }
        match kernel.tag_of(pidfd.as_fd()) {
            Ok(None) => process::kill(pidfd.as_fd()).map(drop)?,
            // A session of ours, and all below it: not this connection's to take along.
            Ok(Some(_)) => continue,
            Err(KernelError::Gone) => {}
            Err(error) => return Err(error),
        }
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(())
}

/// Kills one process that is held.
///
/// # Errors
/// When the kernel refuses.
pub fn end_held(pidfd: BorrowedFd<'_>) -> Result<(), KernelError> {
    process::kill(pidfd).map(drop)
}

/// What is left of a unit that systemd runs, and all of it killed. A unit in which a session has processes of its own is
/// left to the session's end.
///
/// # Errors
/// What could not be looked at or killed.
pub fn end_unit(kernel: &dyn Kernel, path: &str) -> Result<u32, KernelError> {
    let Some(folder) = Hierarchy::find()?.and_then(|hierarchy| hierarchy.folder(path)) else {
        return Ok(0);
    };
    let mut alive = 0_u32;
    for pid in cgroup::processes(&folder)? {
        let Some(pidfd) = process::open_pid(pid)? else { continue };
        if matches!(kernel.tag_of(pidfd.as_fd()), Ok(Some(_))) {
            return Ok(0);
        }
        alive = alive.saturating_add(1);
    }
    if alive > 0 {
        cgroup::kill(&folder)?;
    }
    Ok(alive)
}

enum Cgroup {
    Killed,
    Shared,
    Empty,
}

fn kill_if_ours(kernel: &dyn Kernel, tag: Tag, folder: &Path) -> Result<Cgroup, KernelError> {
    let mut ours = 0_usize;
    for pid in cgroup::processes(folder)? {
        // 0: a process that cannot be seen from here, so it cannot be ours to judge.
        if pid == 0 {
            return Ok(Cgroup::Shared);
        }
        let Some(pidfd) = process::open_pid(pid)? else { continue };
        match kernel.tag_of(pidfd.as_fd()) {
            Ok(Some(found)) if found == tag => ours = ours.saturating_add(1),
            Err(KernelError::Gone) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(Cgroup::Shared),
        }
    }
    if ours == 0 {
        return Ok(Cgroup::Empty);
    }
    cgroup::kill(&PathBuf::from(folder))?;
    Ok(Cgroup::Killed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_monitor_and_its_own_program_below_it_are_sshd() {
        let us = std::process::id();
        let monitor = i32::try_from(us).unwrap();
        let process = |pid| Stat::read(pid).unwrap().unwrap().process;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_sshd(&process(us), monitor));
        assert!(!is_sshd(&process(child.id()), monitor));
        assert!(!is_sshd(&process(child.id()), monitor.saturating_add(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
