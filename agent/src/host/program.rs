//! What is recorded of a program beside what it was started with: what really runs, from where, as whom it was before, and
//! how long it ran.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use wire::identifier::SessionId;
use wire::octets::Octets;
use wire::record::{Fault, Program};
use wire::time::Uptime;

use crate::kernel::event::{Event, Exec, Flags};

/// The processes of sessions, as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Running {
    processes: BTreeMap<(SessionId, u32), Seen>,
    /// Whose each number is, or was a moment ago: what is told late of a process is known by that.
    owners: BTreeMap<u32, Owner>,
}

/// Whose process a number is.
#[derive(Debug, Clone)]
struct Owner {
    session: SessionId,
    /// What it calls itself.
    comm: String,
    /// When it ended, if it has.
    ended: Option<Uptime>,
}

/// A process as it was seen last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    uid: u32,
    euid: u32,
    /// When its program was started, or it was made.
    since: Uptime,
}

impl Running {
    /// A process was made, or a program was started in it: who it was before, where it was somebody else.
    pub(super) fn note(&mut self, session: SessionId, event: &Event) -> Option<(u32, u32)> {
        if self.processes.len() >= MAX_RUNNING {
            // Ends that were lost. What is forgotten is not known of the next program of each process.
            self.processes.clear();
        }
        if self.owners.len() >= MAX_RUNNING {
            self.owners.clear();
        }
        let comm = event.process.comm().to_owned();
        self.owners.insert(event.process.pid(), Owner { session, comm, ended: None });
        let (uid, euid) = (event.uid, event.euid);
        let seen = Seen { uid, euid, since: at(event) };
        let before = self.processes.insert((session, event.process.pid()), seen)?;
        ((before.uid, before.euid) != (uid, euid)).then_some((before.uid, before.euid))
    }

    /// A process ended: how long its last program ran.
    pub(super) fn end(&mut self, session: SessionId, event: &Event) -> Option<u64> {
        if let Some(owner) = self.owners.get_mut(&event.process.pid()) {
            owner.ended = Some(at(event));
        }
        let seen = self.processes.remove(&(session, event.process.pid()))?;
        u64::try_from(at(event).since(seen.since).as_micros()).ok()
    }

    /// The session is over.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.processes.retain(|(of, _), _| *of != session);
        self.owners.retain(|_, owner| owner.session != session);
    }

    /// Whose process this is, or was a moment ago, and what it called itself.
    pub(super) fn owner(&self, pid: u32) -> Option<(SessionId, &str)> {
        self.owners.get(&pid).map(|owner| (owner.session, owner.comm.as_str()))
    }

    /// Forgets whose the processes were that ended a while ago; their numbers may come again.
    pub(super) fn tidy(&mut self, now: Uptime) {
        self.owners
            .retain(|_, owner| owner.ended.is_none_or(|ended| now.since(ended) < REMEMBERED));
    }
}

/// What else is known of a program. What is read of the process itself is read only while nobody else can have its number.
pub(super) fn program(
    event: &Event,
    exec: &Exec,
    before: Option<(u32, u32)>,
    now: Uptime,
) -> Program {
    let pid = event.process.pid();
    let fresh = now.since(at(event)) < FRESH && pid > 0;
    let link = |name: &str| {
        let path = std::fs::read_link(format!("/proc/{pid}/{name}")).ok().filter(|_| fresh)?;
        Some(Octets::new(path.into_os_string().into_vec()))
    };
    Program {
        interpreter: (exec.interp != exec.filename).then(|| Octets::new(exec.interp.clone())),
        resolved: link("exe"),
        inode: exec.inode,
        device: exec.device,
        folder: link("cwd"),
        gid: exec.gid,
        egid: exec.egid,
        login_uid: exec.loginuid,
        before,
        elevated: event.flags.has(Flags::SECUREEXEC),
        faults: faults(event.flags),
    }
}

fn faults(flags: Flags) -> Vec<Fault> {
    let table = [
        (Flags::ARGV_FAULT, Fault::Arguments),
        (Flags::ARGV_LOST, Fault::ArgumentsLost),
        (Flags::NAME_CUT, Fault::PathCut),
        (Flags::NAME_FAULT, Fault::Path),
        (Flags::INTERP_CUT, Fault::InterpreterCut),
        (Flags::INTERP_FAULT, Fault::Interpreter),
    ];
    table.into_iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, fault)| fault).collect()
}

fn at(event: &Event) -> Uptime {
    Uptime::from_nanos(u64::try_from(event.at.as_nanos()).unwrap_or(u64::MAX))
}

/// No number of a process comes again so soon: that takes tens of thousands of forks.
const FRESH: Duration = Duration::from_secs(1);
/// How long it is remembered whose a process was.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Most processes that are remembered; more are not there at a time.
const MAX_RUNNING: usize = 65_536;
