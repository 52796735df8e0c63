//! Work handed to daemons, and logins outside any grant: told apart from sessions, recorded as what they are, and ended
//! where that is right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::identifier::{Login, SessionId};
use wire::kill::HandedTally;
use wire::record::{Delegated, DelegatedEnded, EndReason, Event, Exec};
use wire::time::Uptime;

use super::Host;
use crate::act;
use crate::clock::Now;
use crate::handed::{End, Group, Handed};
use crate::kernel::KernelError;
use crate::kills::Part;
use crate::peer::Held;
use crate::session::Session;
use crate::status::HandedWork;
use crate::store;

/// How the host is with handed work.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) handed: Handed,
    /// The host's own accounts.
    pub(super) uids: BTreeMap<String, u32>,
    /// When a session last started a program by which daemons are asked for work.
    pub(super) asked: BTreeMap<SessionId, Uptime>,
    /// When what ends is struck next.
    next: Option<Uptime>,
    /// Whether it ends with the session that a lock ends.
    ends: bool,
}

impl Work {
    /// As an agent before knew it; it `ends` with the session that a lock ends, or does not.
    pub(super) fn resume(run_dir: &Path, ends: bool) -> Self {
        let handed = match store::read(&kept_at(run_dir)) {
            Ok(handed) => handed,
            Err(error) if error.is_absent() => Handed::default(),
            Err(error) => {
                tracing::error!(%error, "which work was handed to daemons is not known; it counts as nobody's and ends");
                Handed::default()
            }
        };
        Self { handed, ends, ..Self::default() }
    }
}

/// Where it is kept, which does not outlive the boot.
pub(super) fn kept_at(run_dir: &Path) -> PathBuf {
    run_dir.join("handed.json")
}

impl Host {
    fn keep_handed(&self) {
        if let Err(error) = store::write(&self.places.handed, &self.work.handed) {
            tracing::error!(%error, "a restart of the agent will not know which work was handed to daemons");
        }
    }

    /// A session begins: from now on what daemons start for its login is seen. The uid is that of the host's own account,
    /// or, for an account from elsewhere, what the session's first program shows.
    pub(super) fn watch_handed(&mut self, session: &Session, seen: Option<u32>) {
        let (login, who) = (session.subject.login.clone(), session.subject.identity.clone());
        let Some(uid) = seen.or_else(|| self.work.uids.get(login.as_str()).copied()) else {
            return;
        };
        let fresh = match super::login::draw_session() {
            Ok(fresh) => fresh,
            Err(error) => {
                return tracing::error!(%error, login = %login, "work handed to daemons is not seen");
            }
        };
        let before = self.work.handed.clone();
        let group = self.work.handed.begin((uid, &login), &who, fresh);
        if self.work.handed == before {
            return;
        }
        // Known before it is open: a restart must not take its processes for strays.
        self.keep_handed();
        if let Err(error) = self.kernel.hand(uid, act::tag(group), true) {
            tracing::error!(%error, login = %login, "work handed to daemons is not seen");
        }
    }

    /// A session has gone: with the last of its login, what daemons start is nobody's of ours any more.
    pub(super) fn leave_handed(&mut self, login: &Login) {
        if self.sessions.iter().any(|session| session.subject.login == *login) {
            return;
        }
        if let Some((group, uid)) = self.work.handed.close(login) {
            self.shut(group, uid);
            self.keep_handed();
        }
    }

    fn shut(&mut self, group: SessionId, uid: u32) {
        if let Err(error) = self.kernel.hand(uid, act::tag(group), false) {
            tracing::error!(%error, uid, "what daemons start goes on counting as handed work");
        }
    }

    /// A session is ordered to end: by a lock, its login's handed work goes with it where it is nobody else's.
    pub(super) fn end_handed(&mut self, id: SessionId, reason: &EndReason, now: Now) {
        let by_lock = matches!(reason, EndReason::Locked { .. } | EndReason::LockedHere { .. });
        if !by_lock || !self.work.ends {
            return;
        }
        let Some(session) = self.sessions.find(id) else { return };
        let (login, who) = (session.subject.login.clone(), session.subject.identity.clone());
        self.end_units(&who, id, now);
        let Some(group) = self.work.handed.end((&login, &who), id, now.up) else {
            return self.strike_handed(now);
        };
        let uid = self.work.handed.group(group).map(|group| group.uid);
        uid.into_iter().for_each(|uid| self.shut(group, uid));
        self.keep_handed();
        self.kill_waits_for(id, Part::Work(group));
        self.strike_handed(now);
    }

    /// A pass over all handed work that ends; and what is over is forgotten.
    pub(super) fn strike_handed(&mut self, now: Now) {
        let ending: Vec<(SessionId, u32, bool)> = self
            .work
            .handed
            .groups()
            .map(|(id, group)| (id, group.uid, group.end.is_some()))
            .collect();
        let mut next = self.strike_units(now).then(|| now.up.after(RETRY));
        for (id, uid, ends) in ending {
            let Some(group) = self.work.handed.group(id).cloned() else { continue };
            if !ends && (group.open || self.is_alive(id)) {
                continue;
            }
            let pass = ends.then(|| act::strike(self.kernel.as_mut(), id, None, false));
            let killed =
                pass.as_ref().map_or_else(HandedTally::default, |it| self.tally_handed(id, it));
            let end = self.work.handed.count(id, killed);
            if pass.as_ref().is_none_or(crate::kernel::kill::KillPass::is_over) {
                self.forget_group(id, uid);
                if let Some(end) = end {
                    self.group_over((id, &group.login), end, now);
                }
            } else if let Some(end) = end {
                let late = now.up.since(end.since) > LATE;
                if let Some(pass) = pass.as_ref().filter(|_| late) {
                    self.kill_left(end.session, Part::Work(id), pass);
                }
                let pause = now.up.after(if late { SLOW } else { RETRY });
                next = Some(next.map_or(pause, |next: Uptime| next.min(pause)));
            }
        }
        self.work.next = next;
    }

    /// Nobody is left of a login's handed work that ended.
    fn group_over(&mut self, (id, login): (SessionId, &Login), end: End, now: Now) {
        let took = now.up.since(end.since).as_micros();
        let ended = DelegatedEnded {
            login: Some(login.to_string()),
            unit: None,
            session: end.session,
            killed: end.killed,
            survivors: 0,
            took_micros: u64::try_from(took).unwrap_or(u64::MAX),
        };
        self.record(Some(end.session), Event::DelegatedEnded(ended), now);
        self.handed_over(end.session, &Part::Work(id), end.tally, now.up);
    }

    /// What there is of it, for the status.
    pub(super) fn handed_work(&self) -> Vec<HandedWork> {
        let tasks = |id| self.kernel.live(act::tag(id)).unwrap_or(0);
        let view = |(id, group): (SessionId, &Group)| HandedWork {
            login: group.login.clone(),
            owners: group.owners.clone(),
            tasks: tasks(id),
            ending: group.end.is_some(),
        };
        self.work.handed.groups().map(view).filter(|work| work.tasks > 0).collect()
    }

    fn is_alive(&self, id: SessionId) -> bool {
        !matches!(self.kernel.live(act::tag(id)), Ok(0) | Err(KernelError::Unknown(_)))
    }

    fn forget_group(&mut self, id: SessionId, uid: u32) {
        let is_current = self.kernel.handed().is_ok_and(|all| all.contains(&(uid, act::tag(id))));
        if is_current && let Err(error) = self.kernel.unhand(uid) {
            tracing::error!(%error, uid, "handed work that is over stays known to the kernel");
        }
        if let Err(error) = self.kernel.forget(act::tag(id)) {
            tracing::warn!(%error, uid, "the kernel's memory of handed work stays");
        }
        self.sequences.remove(&id);
        self.struck.remove(&id);
        self.work.handed.forget(id);
        self.keep_handed();
    }

    /// When [`Host::strike_handed`] is due next.
    pub(super) fn next_handed(&self) -> Option<Uptime> {
        self.work.next
    }

    /// Looks whether handed work and outside logins are over.
    pub(super) fn look_at_handed(&mut self, now: Now) {
        let gone: Vec<SessionId> =
            self.work.handed.outsiders().filter(|id| !self.is_alive(*id)).collect();
        for id in &gone {
            if let Err(error) = self.kernel.forget(act::tag(*id)) {
                tracing::warn!(%error, "the kernel's memory of a login outside any grant stays");
            }
            self.sequences.remove(id);
            self.work.handed.forget(*id);
        }
        if !gone.is_empty() {
            self.keep_handed();
        }
        self.strike_handed(now);
    }

    /// A program that carries a tag which is no session's: of handed work it is recorded, with all who may have asked.
    pub(super) fn note_handed(&mut self, id: SessionId, exec: Exec, now: Now) {
        let Some(group) = self.work.handed.group(id) else { return };
        let login = Some(group.login.to_string());
        let unit = crate::kernel::unit_of(u32::try_from(exec.pid).unwrap_or(0));
        let of_login = self.sessions.iter().filter(|session| session.subject.login == group.login);
        let candidates = self.likeliest(of_login.map(|session| session.id).collect(), now.up);
        // Where one alone may have asked it is told with that session, and still as a candidate.
        let session = match candidates.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let delegated = Delegated { login, unit, candidates, exec };
        self.record(session, Event::Delegated(Box::new(delegated)), now);
    }

    /// Of the sessions that may have asked, those that started a program to ask with a moment ago; all, if none did.
    fn likeliest(&self, all: Vec<SessionId>, now: Uptime) -> Vec<SessionId> {
        let asked = self.asked_lately(now);
        let asked: Vec<SessionId> = all.iter().filter(|id| asked.contains(id)).copied().collect();
        if asked.is_empty() { all } else { asked }
    }

    /// The sessions that started a program to ask with a moment ago.
    pub(super) fn asked_lately(&self, now: Uptime) -> Vec<SessionId> {
        let lately = |asked: &Uptime| now.since(*asked) < LATELY;
        let asked = self.work.asked.iter().filter(|(_, asked)| lately(asked));
        asked.map(|(id, _)| *id).collect()
    }

    /// Tags a login that is outside any grant, so that its processes are not taken for work handed to daemons.
    pub(super) fn tag_outsider(&mut self, monitor: &Held) {
        let id = match super::login::draw_session() {
            Ok(id) => id,
            Err(error) => {
                return tracing::error!(%error, "a login outside any grant counts as handed work");
            }
        };
        self.work.handed.add_outsider(id);
        self.keep_handed();
        if let Err(error) = self.kernel.begin(act::tag(id), std::os::fd::AsFd::as_fd(monitor)) {
            tracing::warn!(%error, "a login outside any grant counts as handed work");
            self.work.handed.forget(id);
            self.keep_handed();
        }
    }
}

/// How soon those who do not die are struck again; and how soon after [`LATE`].
const RETRY: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(5);
/// How long after somebody started a program to ask a daemon they are the likeliest to have asked.
const LATELY: Duration = Duration::from_secs(5);
