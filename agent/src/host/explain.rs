//! Looking at a process for `curfew-agent explain`, and at all of a session's for what does not agree.

use std::os::fd::AsFd as _;

use rustix::process::Pid;
use wire::gate::Answer;
use wire::identifier::SessionId;
use wire::octets::Octets;

use super::{Host, session_of};
use crate::clock::Now;
use crate::explain::{Known, Seen, explain};
use crate::kernel::{self, KernelError, Look};
use crate::marks::{Carried, Own};
use crate::peer::Held;
use crate::session::Monitor;

impl Host {
    /// Answers `curfew-agent explain`.
    pub(super) fn explain(&self, pid: i32) -> Answer {
        match self.see(pid) {
            Ok(Some(seen)) => Answer::Explained(Box::new(explain(&seen, &self.known_marks()))),
            Ok(None) => Answer::Refuse(format!("there is no process {pid}")),
            Err(error) => Answer::Refuse(format!("process {pid} cannot be looked at: {error}")),
        }
    }

    /// A process with all that it carries; nothing when it is gone.
    pub(super) fn see(&self, pid: i32) -> Result<Option<Seen>, KernelError> {
        let Some(held) = Pid::from_raw(pid).and_then(|pid| Held::open(pid).ok()) else {
            return Ok(None);
        };
        let number = u32::try_from(pid).unwrap_or_default();
        let Some(look) = Look::at(number)? else { return Ok(None) };
        // A tag of handed work, or of a login outside any grant, is no session's.
        let tag = self.kernel.tag_of(held.as_fd())?.map(session_of);
        let tag = tag.filter(|id| !self.work.handed.holds(*id));
        let ancestor = if tag.is_some() { None } else { self.tagged_ancestor(number)? };
        let unit = kernel::unit_of(number);
        let asked = unit.map_or(Vec::new(), |unit| self.units.candidates(&unit).to_vec());
        Ok(Some(Seen {
            asked,
            pid,
            start_ticks: held.name.start_ticks,
            command: Octets::new(look.comm()),
            program: look.program(),
            uid: look.uid(),
            parent: i32::try_from(look.parent()).unwrap_or_default(),
            tag,
            ancestor,
            audit: look.audit_session(),
            login_uid: look.login_uid(),
            cgroup: look.cgroup().map(str::to_owned),
            is_apart: look.is_apart(),
            is_kernel: look.is_kernel(),
        }))
    }

    /// Compares what a program of a session carries with the session's own marks; what does not fit is an incident.
    pub(super) fn compare_marks(
        &mut self,
        id: SessionId,
        (pid, exec): (u32, &kernel::event::Exec),
        now: Now,
    ) {
        let Some(monitor) = self.sessions.find(id).map(|session| session.monitor) else { return };
        let carried =
            Carried { login_uid: exec.loginuid, audit: exec.sessionid, cgroup: exec.cgroup };
        let learn = || own_marks(monitor);
        let place = || kernel::cgroup::path_of(pid).ok().flatten();
        for what in self.marks.compare(id, carried, learn, place) {
            self.tell_meddled(
                format!("in session {id} {what}; it is followed and ended all the same"),
                now,
            );
        }
    }

    fn tagged_ancestor(&self, pid: u32) -> Result<Option<(SessionId, i32)>, KernelError> {
        for ancestor in Look::ancestors(pid)? {
            let Some(number) = i32::try_from(ancestor).ok() else { continue };
            let Some(held) = Pid::from_raw(number).and_then(|pid| Held::open(pid).ok()) else {
                continue;
            };
            let tag = self.kernel.tag_of(held.as_fd())?.map(session_of);
            if let Some(tag) = tag.filter(|id| !self.work.handed.holds(*id)) {
                return Ok(Some((tag, number)));
            }
        }
        Ok(None)
    }

    /// The marks of each session that lives, as its monitor carries them while it is there.
    pub(super) fn known_marks(&self) -> Vec<Known> {
        self.sessions
            .iter()
            .map(|session| {
                let is_there = self
                    .monitors
                    .get(&session.id)
                    .is_some_and(|held| Held::find(held.name).is_ok());
                let pid = u32::try_from(session.monitor.pid).unwrap_or_default();
                let look = is_there.then(|| Look::at(pid).ok().flatten()).flatten();
                let kept = session.marks.clone().unwrap_or_default();
                Known {
                    id: session.id,
                    audit: look.as_ref().and_then(Look::audit_session).or(kept.sessionid),
                    login_uid: look.as_ref().and_then(Look::login_uid),
                    scope: look
                        .as_ref()
                        .and_then(|look| look.cgroup().map(str::to_owned))
                        .filter(|path| path.contains("/session-"))
                        .or(kept.scope),
                }
            })
            .collect()
    }
}

/// The marks that sshd's process of a connection carries: nothing as long as PAM has not set them, an error once it is gone.
fn own_marks(monitor: Monitor) -> std::io::Result<Option<Own>> {
    let held = Held::find(monitor)?;
    let pid = u32::try_from(held.name.pid).map_err(std::io::Error::other)?;
    let look = Look::at(pid).map_err(std::io::Error::other)?;
    let own = look.and_then(|look| {
        let (login_uid, audit) = (look.login_uid()?, look.audit_session()?);
        Some(Own { login_uid, audit, cgroup: look.cgroup()?.to_owned() })
    });
    Ok(own)
}
