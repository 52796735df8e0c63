//! Work that a login hands to a daemon of the host: user units, `at`, `cron`, `systemd-run`, containers. Pure.
//!
//! The kernel does not say which session asked a daemon for something. So such work is never one session's: it is the
//! login's, with the sessions that may have asked. Two ways it is seen. By login uid: what daemons start for a login that
//! has sessions carries that login's tag of handed work, from its first program on ([`crate::kernel::Kernel::hand`]). By
//! unit: systemd's transient units that appear while sessions live, which carry no login.
//!
//! It ends with the sessions only where it cannot be another person's: on an account of people, when everybody who had a
//! session of the login since the work began is the one whose session a lock ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, Login, SessionId};
use wire::kill::HandedTally;
use wire::time::Uptime;

/// What handed work there is.
///
/// Who can change this: root on the host. Gains: can hide handed work from its end; cannot touch sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handed {
    /// By tag.
    groups: BTreeMap<SessionId, Group>,
    /// The tags of logins outside any grant, so that theirs is not taken for handed work.
    outsiders: BTreeSet<SessionId>,
}

/// The work that daemons do for one login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The login's uid.
    pub uid: u32,
    /// The login.
    pub login: Login,
    /// Everybody who had a session of the login since the work began.
    pub owners: BTreeSet<Identity>,
    /// Whether what daemons start now belongs to it: sessions of the login live.
    pub open: bool,
    /// Its end, if it has been told to.
    pub end: Option<End>,
}

/// The end of handed work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The session whose end takes it along.
    pub session: SessionId,
    /// Since when.
    pub since: Uptime,
    /// Processes killed so far.
    pub killed: u32,
    /// The same, by what had started them; nothing of those that an agent before counted.
    #[serde(default)]
    pub tally: HandedTally,
}

impl Handed {
    /// A session of `login` begins: the group that is open from now on, `fresh` if there is none that goes on.
    pub fn begin(
        &mut self,
        (uid, login): (u32, &Login),
        who: &Identity,
        fresh: SessionId,
    ) -> SessionId {
        let going_on = |group: &&mut Group| group.uid == uid && group.end.is_none();
        let known = self.groups.iter_mut().find(|(_, group)| going_on(group));
        if let Some((id, group)) = known {
            group.owners.insert(who.clone());
            group.open = true;
            return *id;
        }
        let owners = BTreeSet::from([who.clone()]);
        let group = Group { uid, login: login.clone(), owners, open: true, end: None };
        self.groups.insert(fresh, group);
        fresh
    }

    /// The last session of `login` has gone: the group that is closed by that.
    pub fn close(&mut self, login: &Login) -> Option<(SessionId, u32)> {
        let open = |group: &&mut Group| group.login == *login && group.open;
        let (id, group) = self.groups.iter_mut().find(|(_, group)| open(group))?;
        group.open = false;
        Some((*id, group.uid))
    }

    /// A lock ends a session of `who` on `login`: the work that goes with it, if it is nobody else's.
    pub fn end(
        &mut self,
        (login, who): (&Login, &Identity),
        session: SessionId,
        now: Uptime,
    ) -> Option<SessionId> {
        let (id, group) = self
            .groups
            .iter_mut()
            .find(|(_, group)| group.login == *login && group.end.is_none())?;
        let is_theirs = group.owners.iter().all(|owner| owner == who);
        if !is_theirs || group.uid < FIRST_PERSON {
            return None;
        }
        let tally = HandedTally::default();
        group.end = Some(End { session, since: now, killed: 0, tally });
        group.open = false;
        Some(*id)
    }

    /// Counts what a pass killed; gives back how the end stands.
    pub fn count(&mut self, id: SessionId, killed: HandedTally) -> Option<End> {
        let end = self.groups.get_mut(&id)?.end.as_mut()?;
        end.killed = end.killed.saturating_add(killed.sum());
        end.tally.add(killed);
        Some(*end)
    }

    /// The group of that tag.
    #[must_use]
    pub fn group(&self, id: SessionId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// All of them.
    pub fn groups(&self) -> impl Iterator<Item = (SessionId, &Group)> {
        self.groups.iter().map(|(id, group)| (*id, group))
    }

    /// Nobody of it is left.
    pub fn forget(&mut self, id: SessionId) -> Option<Group> {
        self.outsiders.remove(&id);
        self.groups.remove(&id)
    }

    /// A login outside any grant is known by this tag.
    pub fn add_outsider(&mut self, id: SessionId) {
        self.outsiders.insert(id);
    }

    /// Those logins.
    pub fn outsiders(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.outsiders.iter().copied()
    }

    /// Whether the tag is no session's: of handed work, or of a login outside any grant.
    #[must_use]
    pub fn holds(&self, id: SessionId) -> bool {
        self.groups.contains_key(&id) || self.outsiders.contains(&id)
    }
}

/// Whether a transient unit is work that somebody asked for, and not the scope of a login.
#[must_use]
pub fn is_work(unit: &str) -> bool {
    let is_scope =
        unit.ends_with(".scope") && !unit.starts_with("session-") && unit != "init.scope";
    is_scope || (unit.ends_with(".service") && !unit.starts_with("user@"))
}

/// What had started a process of handed work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doer {
    /// The login's own manager of systemd, itself or by a unit of its.
    Manager,
    /// `at`, `cron`, or one of their kin.
    Job,
    /// Whatever else.
    Unit,
}

/// What had started a process, by its control group. It is counted by this, and by nothing decided.
#[must_use]
pub fn doer(path: &str) -> Doer {
    let mut parts = path.split('/');
    if parts.clone().any(|part| part.starts_with("user@") && part.ends_with(".service")) {
        Doer::Manager
    } else if parts.any(|part| JOBS.contains(&part)) {
        Doer::Job
    } else {
        Doer::Unit
    }
}

/// Whether a program is one by which daemons are asked for work.
#[must_use]
pub fn asks_a_daemon(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    ASKING.contains(&name)
}

/// The first uid of people, and of accounts that people share: below are the system's own (`login.defs(5)`, `UID_MIN`),
/// whose daemons' work is never ended with a session.
const FIRST_PERSON: u32 = 1000;
const JOBS: [&str; 6] = [
    "atd.service",
    "cron.service",
    "crond.service",
    "cronie.service",
    "anacron.service",
    "incron.service",
];
const ASKING: [&[u8]; 17] = [
    b"systemd-run",
    b"run0",
    b"systemctl",
    b"busctl",
    b"gdbus",
    b"dbus-send",
    b"at",
    b"batch",
    b"crontab",
    b"loginctl",
    b"machinectl",
    b"docker",
    b"podman",
    b"nerdctl",
    b"ctr",
    b"lxc",
    b"pkexec",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn id(tag: u64) -> SessionId {
        SessionId::new(NonZeroU64::new(tag).unwrap())
    }

    fn who(name: &str) -> Identity {
        name.parse().unwrap()
    }

    fn app() -> Login {
        "app".parse().unwrap()
    }

    const NOW: Uptime = Uptime::from_nanos(7);

    #[test]
    fn work_of_one_person_ends_with_their_session() {
        let mut handed = Handed::default();
        assert_eq!(handed.begin((1000, &app()), &who("ana"), id(1)), id(1));
        assert_eq!(handed.begin((1000, &app()), &who("ana"), id(2)), id(1), "it goes on");
        assert_eq!(handed.end((&app(), &who("ana")), id(9), NOW), Some(id(1)));
        assert_eq!(handed.end((&app(), &who("ana")), id(9), NOW), None, "once");
        let jobs = HandedTally { jobs: 3, ..HandedTally::default() };
        let counted = handed.count(id(1), jobs).unwrap();
        assert_eq!((counted.killed, counted.tally), (3, jobs));
        // Who comes while it ends has work of their own.
        assert_eq!(handed.begin((1000, &app()), &who("bob"), id(3)), id(3));
        assert!(handed.forget(id(1)).is_some());
        assert_eq!(handed.close(&app()), Some((id(3), 1000)));
        assert_eq!(handed.close(&app()), None);
    }

    #[test]
    fn work_that_may_be_another_persons_lives_on() {
        let mut handed = Handed::default();
        handed.begin((1000, &app()), &who("ana"), id(1));
        handed.begin((1000, &app()), &who("bob"), id(2));
        assert_eq!(handed.end((&app(), &who("ana")), id(9), NOW), None);
        // Also after bob has left: what he asked for may still run.
        handed.close(&app());
        handed.begin((1000, &app()), &who("ana"), id(3));
        assert_eq!(handed.end((&app(), &who("ana")), id(9), NOW), None);
    }

    #[test]
    fn work_of_the_systems_own_accounts_is_never_ended() {
        let mut handed = Handed::default();
        let root: Login = "root".parse().unwrap();
        handed.begin((0, &root), &who("ana"), id(1));
        assert_eq!(handed.end((&root, &who("ana")), id(9), NOW), None);
    }

    #[test]
    fn it_is_kept_as_it_is() {
        let mut handed = Handed::default();
        handed.begin((1000, &app()), &who("ana"), id(1));
        handed.end((&app(), &who("ana")), id(9), NOW);
        handed.add_outsider(id(5));
        let kept = serde_json::to_string(&handed).unwrap();
        let again: Handed = serde_json::from_str(&kept).unwrap();
        assert_eq!(again, handed);
        assert!(again.holds(id(1)) && again.holds(id(5)) && !again.holds(id(9)));
    }

    #[test]
    fn what_started_a_process_is_read_off_its_control_group() {
        for (path, is) in [
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", Doer::Manager),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", Doer::Manager),
            ("/system.slice/atd.service", Doer::Job),
            ("/system.slice/cron.service", Doer::Job),
            ("/system.slice/xatd.service", Doer::Unit),
            ("/system.slice/run-u1.service", Doer::Unit),
            ("", Doer::Unit),
        ] {
            assert_eq!(doer(path), is, "{path}");
        }
    }

    #[test]
    fn scopes_of_logins_are_no_work_and_asking_programs_are_known_by_name() {
        for (unit, is) in [
            ("run-u12.service", true),
            ("docker-0a.scope", true),
            ("session-4.scope", false),
            ("init.scope", false),
            ("user@1000.service", false),
            ("run-r3.timer", false),
        ] {
            assert_eq!(is_work(unit), is, "{unit}");
        }
        assert!(asks_a_daemon(b"/usr/bin/systemd-run") && asks_a_daemon(b"at"));
        assert!(!asks_a_daemon(b"/usr/bin/cat") && !asks_a_daemon(b""));
    }
}
