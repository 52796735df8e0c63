//! The degraded tier: who belongs to a session by what `/proc` shows.
//!
//! A process is a member if it is the monitor, descends from a member, carries the audit session id
//! that `pam_loginuid` gave the monitor, or sits in the scope that logind moved the monitor to. The
//! last two appear only after the session began, so they are learned when they are first looked for;
//! kept as [`Marks`], they find the session again after a restart of the agent, its monitor alive or not.
//!
//! What it cannot do: see events, stop a fork, hold against root in the session (who can rewrite
//! login uid and cgroup), or find again, after a restart, a session whose monitor was gone before its
//! marks were learned.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

use super::process::{Stat, all_pids, pid_of, proc_path, read_if_there};
use super::{Event, Kernel, KernelError, Losses, Process, Tag, Tier, cgroup};
use crate::session::{Marks, Monitor};

/// Sessions known by audit session id, cgroup and parentage.
#[derive(Debug)]
pub struct Procfs {
    tier: Tier,
    sessions: BTreeMap<Tag, RefCell<Session>>,
}

impl Procfs {
    /// `why` says what stands in the way of the full tier.
    #[must_use]
    pub fn new(why: String) -> Self {
        Self { tier: Tier::Degraded { why }, sessions: BTreeMap::new() }
    }

    fn session(&self, tag: Tag) -> Result<&RefCell<Session>, KernelError> {
        self.sessions.get(&tag).ok_or(KernelError::Unknown(tag))
    }

    /// Whether the session is known with that monitor; refused if either is another's.
    fn has_begun(&self, tag: Tag, monitor: &Process) -> Result<bool, KernelError> {
        if let Some(known) = self.sessions.get(&tag) {
            let same = known.borrow().monitor.is(monitor);
            return if same { Ok(true) } else { Err(KernelError::TagInUse(tag)) };
        }
        let other = self.sessions.iter().find(|(_, session)| session.borrow().monitor.is(monitor));
        other.map_or(Ok(false), |(other, _)| Err(KernelError::AlreadyTagged(*other)))
    }
}

impl Kernel for Procfs {
    fn tier(&self) -> &Tier {
        &self.tier
    }

    fn begin(&mut self, tag: Tag, monitor: BorrowedFd<'_>) -> Result<(), KernelError> {
        let monitor = Process::of(monitor)?;
        if self.has_begun(tag, &monitor)? {
            return Ok(());
        }
        let look = Look::at(monitor.pid())?.ok_or(KernelError::Gone)?;
        if look.stat.threads != 1 {
            let (pid, threads) = (monitor.pid(), look.stat.threads);
            return Err(KernelError::Threads { pid, threads });
        }
        // The listening sshd has the marks that the monitor had when it began: true also of a session that is
        // taken up after a restart of the agent, when the monitor's own marks are the session's.
        let before = Look::at(look.stat.ppid)?.unwrap_or_else(|| look.clone());
        let mut session = Session::new(monitor, before);
        session.learn(&look);
        self.sessions.insert(tag, RefCell::new(session));
        Ok(())
    }

    fn marks(&self, tag: Tag) -> Option<Marks> {
        let marks = self.sessions.get(&tag)?.borrow().marks.clone();
        (!marks.is_empty()).then_some(marks)
    }

    fn resume(&mut self, tag: Tag, monitor: Monitor, marks: &Marks) -> Result<(), KernelError> {
        let Ok(pid) = u32::try_from(monitor.pid) else { return Err(KernelError::Gone) };
        let monitor = Process::kept(pid, monitor.start_ticks);
        if self.has_begun(tag, &monitor)? {
            return Ok(());
        }
        let session = Session::resumed(monitor, marks).ok_or(KernelError::Unknown(tag))?;
        self.sessions.insert(tag, RefCell::new(session));
        Ok(())
    }

    fn mark_ending(&mut self, tag: Tag) -> Result<(), KernelError> {
        // Nothing in the kernel to set; that it was tried on a known session is all there is.
        self.session(tag).map(|_| ())
    }

    fn members(&self, tag: Tag) -> Result<Vec<Process>, KernelError> {
        let mut session = self.session(tag)?.borrow_mut();
        session.look(&everyone()?);
        Ok(session.members.iter().cloned().collect())
    }

    fn hold(&self, tag: Tag, member: &Process) -> Result<Option<OwnedFd>, KernelError> {
        self.session(tag)?;
        let Some(pidfd) = member.open_unchecked()? else { return Ok(None) };
        match Process::of(pidfd.as_fd()) {
            Ok(now) if now.is(member) => Ok(Some(pidfd)),
            Ok(_) | Err(KernelError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn live(&self, tag: Tag) -> Result<u32, KernelError> {
        Ok(u32::try_from(self.members(tag)?.len()).unwrap_or(u32::MAX))
    }

    fn tag_of(&self, pidfd: BorrowedFd<'_>) -> Result<Option<Tag>, KernelError> {
        let pid = pid_of(pidfd)?;
        let looks = lineage(pid)?;
        for (tag, session) in &self.sessions {
            let session = session.borrow();
            if looks.values().any(|look| session.claims(look)) {
                return Ok(Some(*tag));
            }
        }
        Ok(None)
    }

    fn forget(&mut self, tag: Tag) -> Result<(), KernelError> {
        match self.live(tag)? {
            0 => {
                self.sessions.remove(&tag);
                Ok(())
            }
            live => Err(KernelError::Alive { tag, live }),
        }
    }

    fn known(&self) -> Result<Vec<(Tag, u32)>, KernelError> {
        self.sessions.keys().map(|tag| Ok((*tag, self.live(*tag)?))).collect()
    }

    fn drain(&mut self, _out: &mut Vec<Event>) -> Result<(), KernelError> {
        Ok(())
    }

    fn losses(&self, tag: Tag) -> Result<Losses, KernelError> {
        self.session(tag).map(|_| Losses::default())
    }

    fn readiness(&self) -> Option<RawFd> {
        None
    }
}

/// What is known of one session.
#[derive(Debug)]
struct Session {
    monitor: Process,
    /// The audit session and cgroup of sshd, which others share. `None`: they are not known any more, and nothing
    /// further is learned, lest marks that others share be taken for the session's.
    before: Option<(Option<u32>, Option<String>)>,
    /// Its own, once `pam_loginuid` and logind have acted.
    marks: Marks,
    members: BTreeSet<Process>,
}

impl Session {
    fn new(monitor: Process, sshd: Look) -> Self {
        let members = BTreeSet::from([monitor.clone()]);
        let before = Some((sshd.sessionid, sshd.cgroup));
        Self { monitor, before, marks: Marks::default(), members }
    }

    /// From what was kept of it. `None`: nothing of that can tell the session from others.
    fn resumed(monitor: Process, marks: &Marks) -> Option<Self> {
        let scope = marks.scope.clone().filter(|path| is_session_scope(path));
        let marks = Marks { sessionid: marks.sessionid.and_then(set), scope };
        let members = BTreeSet::from([monitor.clone()]);
        (!marks.is_empty()).then_some(Self { monitor, before: None, marks, members })
    }

    /// Learns the marks of the monitor, then finds who is a member now. Whoever was a member and
    /// is alive stays one, so that a child whose parent ended is not lost between two looks.
    fn look(&mut self, everyone: &BTreeMap<u32, Look>) {
        if let Some(look) = everyone.get(&self.monitor.pid()) {
            self.learn(look);
        }
        let mut found = BTreeSet::new();
        let mut fresh: Vec<u32> =
            everyone.iter().filter(|(_, look)| self.claims(look)).map(|(pid, _)| *pid).collect();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, look) in everyone {
            children.entry(look.stat.ppid).or_default().push(*pid);
        }
        while let Some(pid) = fresh.pop() {
            if found.insert(pid) {
                fresh.extend(children.get(&pid).into_iter().flatten());
            }
        }
        self.members = found
            .iter()
            .filter_map(|pid| everyone.get(pid))
            .filter(|look| look.stat.is_alive())
            .map(|look| look.stat.process.clone())
            .collect();
    }

    fn learn(&mut self, monitor: &Look) {
        let Some((sessionid, cgroup)) = &self.before else { return };
        if !monitor.stat.process.is(&self.monitor) {
            return;
        }
        if self.marks.sessionid.is_none() && monitor.sessionid != *sessionid {
            self.marks.sessionid = monitor.sessionid;
        }
        if self.marks.scope.is_none() && monitor.cgroup != *cgroup {
            self.marks.scope = monitor.cgroup.clone().filter(|path| is_session_scope(path));
        }
    }

    fn claims(&self, look: &Look) -> bool {
        let Marks { sessionid, scope } = &self.marks;
        let by_audit = sessionid.is_some() && look.sessionid == *sessionid;
        let by_scope = scope.is_some() && look.cgroup == *scope;
        let known = self.members.iter().any(|member| member.is(&look.stat.process));
        by_audit || by_scope || known
    }
}

/// What `/proc` shows of one process.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    stat: Stat,
    sessionid: Option<u32>,
    cgroup: Option<String>,
}

impl Look {
    /// `None`: there is no such process.
    pub(crate) fn at(pid: u32) -> Result<Option<Self>, KernelError> {
        let Some(stat) = Stat::read(pid)? else { return Ok(None) };
        let Some(sessionid) = sessionid_of(pid)? else { return Ok(None) };
        let cgroup = cgroup::path_of(pid)?;
        Ok(Some(Self { stat, sessionid: set(sessionid), cgroup }))
    }

    /// The numbers of its ancestors, the nearest first.
    pub(crate) fn ancestors(pid: u32) -> Result<Vec<u32>, KernelError> {
        let mut found = Vec::new();
        let mut next = pid;
        while let Some(stat) = Stat::read(next)? {
            next = stat.ppid;
            if next == 0 || found.contains(&next) {
                break;
            }
            found.push(next);
        }
        Ok(found)
    }

    /// The name that it gives itself, control characters escaped.
    pub(crate) fn comm(&self) -> &str {
        self.stat.process.comm()
    }

    /// The file that it runs; nothing for the kernel's own, or when it is gone.
    pub(crate) fn program(&self) -> Option<wire::octets::Octets> {
        use std::os::unix::ffi::OsStrExt as _;
        let link = std::fs::read_link(proc_path(self.pid(), "exe")).ok()?;
        Some(wire::octets::Octets::new(link.as_os_str().as_bytes()))
    }

    /// The user it runs as: the owner of its folder, which for what may not be traced is root.
    pub(crate) fn uid(&self) -> u32 {
        let status = std::fs::read_to_string(proc_path(self.pid(), "status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let first = line.and_then(|line| line.split_ascii_whitespace().next());
        first.and_then(|uid| uid.parse().ok()).unwrap_or(u32::MAX)
    }

    pub(crate) const fn parent(&self) -> u32 {
        self.stat.ppid
    }

    pub(crate) const fn audit_session(&self) -> Option<u32> {
        self.sessionid
    }

    /// The user who logged in, as PAM wrote it, when it is set.
    pub(crate) fn login_uid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(proc_path(self.pid(), "loginuid")).ok()?;
        set(text.trim().parse().ok()?)
    }

    pub(crate) fn cgroup(&self) -> Option<&str> {
        self.cgroup.as_deref()
    }

    /// Whether it is in another process namespace than this agent.
    pub(crate) fn is_apart(&self) -> bool {
        let theirs = std::fs::read_link(proc_path(self.pid(), "ns/pid"));
        let ours = std::fs::read_link("/proc/self/ns/pid");
        matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs != ours)
    }

    /// Whether it is a thread of the kernel's: those descend from its number 2.
    pub(crate) fn is_kernel(&self) -> bool {
        (self.pid() == 2 || self.stat.ppid == 2) && self.program().is_none()
    }

    fn pid(&self) -> u32 {
        self.stat.process.pid()
    }
}

fn everyone() -> Result<BTreeMap<u32, Look>, KernelError> {
    let mut looks = BTreeMap::new();
    for pid in all_pids()? {
        if let Some(look) = Look::at(pid)? {
            looks.insert(pid, look);
        }
    }
    Ok(looks)
}

/// A process and its ancestors.
fn lineage(pid: u32) -> Result<BTreeMap<u32, Look>, KernelError> {
    let mut looks = BTreeMap::new();
    let mut pid = pid;
    while !looks.contains_key(&pid) {
        let Some(look) = Look::at(pid)? else { break };
        let parent = look.stat.ppid;
        looks.insert(pid, look);
        pid = parent;
    }
    Ok(looks)
}

fn sessionid_of(pid: u32) -> Result<Option<u32>, KernelError> {
    let path = proc_path(pid, "sessionid");
    let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
    let number = String::from_utf8_lossy(&bytes).trim().parse::<u32>();
    number.map(Some).map_err(|error| KernelError::File {
        path,
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}

/// The kernel's "not set" is the highest number.
fn set(sessionid: u32) -> Option<u32> {
    (sessionid != u32::MAX).then_some(sessionid)
}

/// logind's scope of one login; a slice or a service holds other people too.
fn is_session_scope(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("session-") && name.ends_with(".scope")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn look(pid: u32, ppid: u32, sessionid: Option<u32>, cgroup: &str) -> (u32, Look) {
        let process = Process::new(pid, Duration::from_secs(u64::from(pid)), b"x");
        let stat = Stat { process, ppid, tty: 0, threads: 1, state: b'S' };
        (pid, Look { stat, sessionid, cgroup: Some(cgroup.to_owned()) })
    }

    fn begun() -> Session {
        let (_, monitor) = look(100, 1, None, "/system.slice/ssh.service");
        Session::new(monitor.stat.process.clone(), monitor)
    }

    fn pids(session: &Session) -> Vec<u32> {
        session.members.iter().map(Process::pid).collect()
    }

    const SERVICE: &str = "/system.slice/ssh.service";
    const SCOPE: &str = "/user.slice/user-1000.slice/session-4.scope";

    #[test]
    fn descendants_belong_before_pam_has_marked_the_monitor() {
        let mut session = begun();
        session.look(&BTreeMap::from([
            look(1, 0, None, "/"),
            look(100, 1, None, SERVICE),
            look(101, 100, None, SERVICE),
            look(102, 101, None, SERVICE),
            look(200, 1, None, SERVICE),
        ]));
        assert_eq!(pids(&session), [100, 101, 102]);
    }

    #[test]
    fn audit_session_and_scope_find_the_reparented() {
        let mut session = begun();
        session.look(&BTreeMap::from([
            look(100, 1, Some(4), SCOPE),
            look(103, 1, Some(4), "/elsewhere"),
            look(104, 1, Some(9), SCOPE),
            look(105, 104, Some(9), "/elsewhere"),
            look(200, 1, Some(5), "/user.slice/user-1000.slice/session-5.scope"),
        ]));
        assert_eq!(pids(&session), [100, 103, 104, 105]);
    }

    #[test]
    fn a_mark_that_sshd_already_had_claims_nobody() {
        let (_, monitor) = look(100, 1, Some(2), "/user.slice/session-2.scope");
        let mut session = Session::new(monitor.stat.process.clone(), monitor);
        session.look(&BTreeMap::from([
            look(100, 1, Some(2), "/user.slice/session-2.scope"),
            look(300, 1, Some(2), "/user.slice/session-2.scope"),
        ]));
        assert_eq!(pids(&session), [100]);
    }

    #[test]
    fn the_marks_of_a_session_from_before_are_its_own() {
        let (_, sshd) = look(50, 1, None, SERVICE);
        let (_, monitor) = look(100, 50, Some(4), SCOPE);
        let mut session = Session::new(monitor.stat.process, sshd);
        session.look(&BTreeMap::from([
            look(100, 50, Some(4), SCOPE),
            look(103, 1, Some(4), "/elsewhere"),
            look(104, 1, Some(9), SCOPE),
        ]));
        assert_eq!(pids(&session), [100, 103, 104]);
    }

    #[test]
    fn kept_marks_find_a_session_whose_monitor_is_gone() {
        let marks = Marks { sessionid: Some(4), scope: Some(SCOPE.to_owned()) };
        let mut session = Session::resumed(Process::kept(100, 10_000), &marks).unwrap();
        let (pid, mut other) = look(100, 1, None, SERVICE);
        other.stat.process = Process::kept(100, 500_000);
        session.look(&BTreeMap::from([
            (pid, other),
            look(103, 1, Some(4), "/elsewhere"),
            look(104, 1, Some(9), SCOPE),
            look(105, 103, None, "/elsewhere"),
            look(200, 1, Some(5), SERVICE),
        ]));
        assert_eq!(pids(&session), [103, 104, 105]);
        assert_eq!(session.marks, marks);
    }

    #[test]
    fn a_session_from_kept_marks_learns_no_others() {
        let marks = Marks { sessionid: None, scope: Some(SCOPE.to_owned()) };
        let mut session = Session::resumed(Process::kept(100, 10_000), &marks).unwrap();
        session
            .look(&BTreeMap::from([look(100, 1, Some(2), SERVICE), look(50, 1, Some(2), SERVICE)]));
        assert_eq!(pids(&session), [100]);
        assert_eq!(session.marks, marks);
    }

    #[test]
    fn marks_that_tell_nobody_apart_are_refused() {
        let mut kernel = Procfs::new(String::new());
        let (tag, monitor) = (Tag::new(7).unwrap(), Monitor { pid: 100, start_ticks: 1 });
        for marks in [
            Marks::default(),
            Marks { sessionid: Some(u32::MAX), scope: None },
            Marks { sessionid: None, scope: Some(SERVICE.to_owned()) },
        ] {
            let refused = kernel.resume(tag, monitor, &marks);
            assert!(matches!(refused, Err(KernelError::Unknown(_))), "{marks:?}");
        }
        let marks = Marks { sessionid: Some(4), scope: None };
        kernel.resume(tag, monitor, &marks).unwrap();
        kernel.resume(tag, monitor, &marks).unwrap();
        assert_eq!(kernel.marks(tag), Some(marks.clone()));
        let other = kernel.resume(Tag::new(8).unwrap(), monitor, &marks);
        assert!(matches!(other, Err(KernelError::AlreadyTagged(known)) if known == tag));
    }

    #[test]
    fn a_child_seen_once_stays_after_its_parents_end() {
        let mut session = begun();
        session.look(&BTreeMap::from([look(100, 1, None, SERVICE), look(101, 100, None, SERVICE)]));
        session.look(&BTreeMap::from([look(101, 1, None, SERVICE), look(102, 101, None, SERVICE)]));
        assert_eq!(pids(&session), [101, 102]);
    }

    #[test]
    fn a_reused_number_is_somebody_else() {
        let mut session = begun();
        let (pid, mut other) = look(100, 1, None, SERVICE);
        other.stat.process = Process::new(100, Duration::from_secs(5000), b"y");
        session.look(&BTreeMap::from([(pid, other)]));
        assert_eq!(pids(&session), Vec::<u32>::new());
    }

    #[test]
    fn only_a_session_scope_is_learned_as_scope() {
        assert!(is_session_scope(SCOPE));
        for path in ["/", SERVICE, "/user.slice", "/user.slice/session-4.scope/x", "/a.scope"] {
            assert!(!is_session_scope(path), "{path}");
        }
    }
}
