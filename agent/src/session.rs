//! What must happen to sessions: a pure state machine. No clock, no kernel, no disk.
//!
//! [`Sessions::step`] takes what happened and gives back orders. An [`Action`] is an order, not a fact: a session
//! told to end stays [`State::Ending`] until the kernel says that nobody is left, and every tick orders again.
//!
//! A lock and the sessions it covers meet in one step: there is no moment between "stored" and "matched" in which
//! a login could slip through, because the gate asks the same single-threaded owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::identifier::{GrantId, OrderNumber, SessionId};
use wire::limits::Limits;
use wire::lock::{Lock, Subject};
use wire::record::{EndReason, Event, Receipt, SessionEnded, Steps};
use wire::time::{Timestamp, Uptime};

use crate::activity::{Activity, Look};
use crate::revocation::LocalLock;
use crate::threshold::{Meter, Started};

mod limit;

pub use limit::Relayed;

use limit::warn_idle;

/// One session as the agent keeps it, also across its own restarts (`/run/curfew/sessions/`).
///
/// Who can change this: root on the host. Gains: can end sessions, or keep them past their deadline, on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The version of this format.
    pub version: u32,
    /// Its name and kernel tag.
    pub id: SessionId,
    /// Who, under what.
    pub subject: Subject,
    /// The client's address, as sshd gave it.
    pub remote: String,
    /// sshd's monitor of the connection.
    pub monitor: Monitor,
    /// When it began, for people.
    pub began: Timestamp,
    /// The grant's end, for people.
    pub grant_until: Timestamp,
    /// The grant's end on the clock that nobody can move.
    pub deadline: Uptime,
    /// How it stands.
    pub state: State,
    /// What its processes carry that others do not, where it must be kept for a restart: in the degraded tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
    /// What holds for it besides the grant's end.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// What its client did last, and what it did so far.
    #[serde(default)]
    pub activity: Activity,
    /// What its certificate forces to be run, whatever the client asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<wire::octets::Octets>,
    /// What it did so far, as far as that is limited.
    #[serde(default, skip_serializing_if = "Meter::is_empty")]
    pub meter: Meter,
}

/// What the processes of a session carry that others do not, as `/proc` shows it.
///
/// They name a session only while the host is up. Audit session ids count up and come again after 2^32 logins, which
/// does not happen within a boot; a reboot begins anew, and clears `/run`, where these are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The audit session id that `pam_loginuid` gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessionid: Option<u32>,
    /// The cgroup that logind made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Marks {
    /// Whether there is no mark, so that nobody can be known by them.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sessionid.is_none() && self.scope.is_none()
    }
}

/// sshd's monitor: a process by number and start, so that a reused number is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// Its process id on this host.
    pub pid: i32,
    /// When it started, in the kernel's clock ticks after boot (`proc_pid_stat(5)`, field 22).
    pub start_ticks: u64,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It lives. How many of the warnings before the deadline have been given.
    Live {
        /// Warnings given so far.
        warned: usize,
    },
    /// It has been told to end and is not gone yet.
    Ending {
        /// Why.
        reason: EndReason,
        /// Since when.
        since: Uptime,
        /// Processes killed so far.
        killed: u32,
        /// What was done so far.
        #[serde(default)]
        steps: Box<Steps>,
    },
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The gate let a login in; its tag is in place.
    Began(Box<Session>),
    /// A session from before the agent's restart is still alive.
    Adopted(Box<Session>),
    /// A lock came into force.
    Locked {
        /// The order that brought it.
        order: OrderNumber,
        /// The lock.
        lock: Lock,
    },
    /// A lock of this host alone came into force.
    LockedHere(LocalLock),
    /// sshd's accounts of a session were looked at.
    Looked {
        /// The session.
        session: SessionId,
        /// What they show.
        look: Look,
    },
    /// Whoever relays a session's channel spoke of it.
    Relayed {
        /// The session.
        session: SessionId,
        /// What it said.
        word: Relayed,
    },
    /// A program was started in a session that has thresholds.
    Started {
        /// The session.
        session: SessionId,
        /// The program.
        program: Box<Started>,
    },
    /// A file was written in a session that has thresholds.
    Wrote {
        /// The session.
        session: SessionId,
        /// The file.
        path: Vec<u8>,
        /// Who wrote it, where that is known.
        program: Option<wire::octets::Octets>,
    },
    /// A grant ends later than it did.
    Extended {
        /// The grant.
        grant: GrantId,
        /// Its end now.
        until: Timestamp,
    },
    /// A pass of killing was made.
    Struck {
        /// The session.
        session: SessionId,
        /// Processes killed in the pass.
        killed: u32,
        /// Processes that were alive after it.
        left: u32,
        /// What was done in it.
        steps: Box<Steps>,
    },
    /// The kernel says that nobody of the session is left.
    Gone(SessionId),
    /// Time passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keep the session's state where a restart finds it.
    Keep(SessionId),
    /// Tell the person on every terminal of the session.
    Tell {
        /// The session.
        session: SessionId,
        /// The sentence.
        message: String,
    },
    /// Make a pass of killing. Until the answer is [`Input::Gone`], it will be ordered again.
    Strike(SessionId),
    /// Write a record.
    Record {
        /// The session.
        session: SessionId,
        /// What to write.
        event: Event,
    },
    /// Tell the authority how an order stands.
    Receipt(Receipt),
    /// The session is over; let go of its tag and its state.
    Forget(SessionId),
}

/// An order whose sessions are not all gone.
#[derive(Debug)]
struct Pending {
    waiting: BTreeSet<SessionId>,
    since: Uptime,
    sessions: u32,
    /// Of the sessions, those that this order and nothing before ended.
    kills: u32,
    killed: u32,
    /// Processes alive after the last pass, by session.
    left: BTreeMap<SessionId, u32>,
    /// Whether the authority has been told that this takes too long.
    told_late: bool,
}

/// Every session of the host under the authority.
#[derive(Debug)]
pub struct Sessions {
    /// How long before the deadline to warn, longest first.
    warn_before: Vec<Duration>,
    sessions: BTreeMap<SessionId, Session>,
    pending: BTreeMap<OrderNumber, Pending>,
}

impl Sessions {
    /// No sessions yet; warns `warn_before` the deadline, each once.
    #[must_use]
    pub fn new(mut warn_before: Vec<Duration>) -> Self {
        warn_before.sort_unstable_by(|a, b| b.cmp(a));
        Self { warn_before, sessions: BTreeMap::new(), pending: BTreeMap::new() }
    }

    /// The session, if it is not over.
    #[must_use]
    pub fn find(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All that are not over.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// Takes the marks of a session, and says whether they are news, which must be kept.
    pub fn mark(&mut self, id: SessionId, marks: Marks) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let is_news = session.marks.as_ref() != Some(&marks);
        session.marks = Some(marks);
        is_news
    }

    /// How many are not over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// When [`Input::Tick`] is due next: the nearest warning or deadline, or soon while a session is ending.
    #[must_use]
    pub fn next_tick(&self, now: Uptime) -> Option<Uptime> {
        self.sessions
            .values()
            .map(|session| match &session.state {
                State::Ending { since, .. } if now.since(*since) > LATE => now.after(SLOW_RETRY),
                State::Ending { .. } => now.after(RETRY),
                State::Live { warned } => {
                    let (end, _) = session.fixed_end();
                    let lead = self.warn_before.get(*warned);
                    let fixed = lead.map_or(end, |lead| earlier(end, *lead));
                    session.idle_tick().map_or(fixed, |idle| idle.min(fixed))
                }
            })
            .min()
    }

    /// Takes what happened and says what to do.
    pub fn step(&mut self, input: Input, now: Uptime) -> Vec<Action> {
        match input {
            Input::Began(session) | Input::Adopted(session) => {
                let id = session.id;
                self.sessions.insert(id, *session);
                self.tick(now)
            }
            Input::Locked { order, lock } => self.lock(order, &lock, now),
            Input::LockedHere(local) => self.lock_here(&local, now),
            Input::Looked { session, look } => self.looked(session, &look, now),
            Input::Relayed { session, word } => self.relayed(session, word, now),
            Input::Started { session, program } => self.started(session, &program, now),
            Input::Wrote { session, path, program } => self.wrote(session, &path, program, now),
            Input::Extended { grant, until } => self.extend(grant, until, now),
            Input::Struck { session, killed, left, steps } => {
                self.count(session, (killed, left), *steps);
                Vec::new()
            }
            Input::Gone(session) => self.gone(session, now),
            Input::Tick => self.tick(now),
        }
    }

    fn lock(&mut self, order: OrderNumber, lock: &Lock, now: Uptime) -> Vec<Action> {
        let covered = self.covered(lock);
        let mut actions = Vec::new();
        let lives = |id: &&SessionId| {
            self.find(**id).is_some_and(|session| matches!(session.state, State::Live { .. }))
        };
        let kills = u32::try_from(covered.iter().filter(lives).count()).unwrap_or(u32::MAX);
        for id in &covered {
            let reason = EndReason::Locked { order, reason: lock.reason.clone() };
            actions.extend(self.end(*id, reason, now));
        }
        let sessions = u32::try_from(covered.len()).unwrap_or(u32::MAX);
        let left = BTreeMap::new();
        let (waiting, since, told_late) = (covered, now, false);
        let pending = Pending { waiting, since, sessions, kills, killed: 0, left, told_late };
        actions.push(Action::Receipt(pending.receipt(order, now)));
        if !pending.waiting.is_empty() {
            self.pending.insert(order, pending);
        }
        actions
    }

    fn covered(&self, lock: &Lock) -> BTreeSet<SessionId> {
        let covers = |session: &&Session| {
            lock.covers(&session.subject, Some(session.id)) || lock.covers_remote(&session.remote)
        };
        self.sessions.values().filter(covers).map(|session| session.id).collect()
    }

    /// No order, no receipt: whoever laid the lock reads this host's own records.
    fn lock_here(&mut self, local: &LocalLock, now: Uptime) -> Vec<Action> {
        let LocalLock { source, lock } = local;
        let reason = EndReason::LockedHere { source: source.clone(), reason: lock.reason.clone() };
        let covered = self.covered(lock).into_iter();
        covered.flat_map(|id| self.end(id, reason.clone(), now)).collect()
    }

    /// Orders the end of one session. One that is ending already keeps its first reason.
    fn end(&mut self, id: SessionId, reason: EndReason, now: Uptime) -> Vec<Action> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        if matches!(session.state, State::Ending { .. }) {
            return vec![Action::Strike(id)];
        }
        let message = farewell(&reason);
        session.state =
            State::Ending { reason: reason.clone(), since: now, killed: 0, steps: Box::default() };
        vec![
            Action::Tell { session: id, message },
            Action::Strike(id),
            Action::Keep(id),
            Action::Record { session: id, event: Event::Ending { reason } },
        ]
    }

    fn count(&mut self, id: SessionId, (more, left): (u32, u32), pass: Steps) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let State::Ending { killed, steps, .. } = &mut session.state {
            steps.add(pass);
            *killed = killed.saturating_add(more);
        }
        for pending in self.pending.values_mut().filter(|pending| pending.waiting.contains(&id)) {
            pending.killed = pending.killed.saturating_add(more);
            pending.left.insert(id, left);
        }
    }

    fn gone(&mut self, id: SessionId, now: Uptime) -> Vec<Action> {
        let Some(session) = self.sessions.remove(&id) else {
            return Vec::new();
        };
        let (reason, killed, took, steps) = match session.state {
            State::Live { .. } => (EndReason::Left, 0, Duration::ZERO, None),
            State::Ending { reason, since, killed, steps } => {
                (reason, killed, now.since(since), Some(steps))
            }
        };
        let ended = SessionEnded { reason, killed, survivors: 0, took_micros: micros(took), steps };
        let event = Event::SessionEnded(ended);
        let mut actions = vec![Action::Record { session: id, event }];
        let mut done = Vec::new();
        for (order, pending) in &mut self.pending {
            pending.left.remove(&id);
            if pending.waiting.remove(&id) && pending.waiting.is_empty() {
                done.push(*order);
                actions.push(Action::Receipt(pending.receipt(*order, now)));
            }
        }
        for order in done {
            self.pending.remove(&order);
        }
        actions.push(Action::Forget(id));
        actions
    }

    fn tick(&mut self, now: Uptime) -> Vec<Action> {
        let mut actions = Vec::new();
        let due = |session: &Session| match &session.state {
            State::Ending { reason, .. } => Some((session.id, reason.clone())),
            State::Live { .. } => session.due(now).map(|reason| (session.id, reason)),
        };
        let due: Vec<(SessionId, EndReason)> = self.sessions.values().filter_map(due).collect();
        for (id, reason) in due {
            actions.extend(self.end(id, reason, now));
        }
        for session in self.sessions.values_mut() {
            actions.extend(warn(session, &self.warn_before, now));
            actions.extend(warn_idle(session, now));
        }
        for (order, pending) in &mut self.pending {
            if !pending.told_late && now.since(pending.since) >= LATE {
                pending.told_late = true;
                actions.push(Action::Receipt(pending.receipt(*order, now)));
            }
        }
        actions
    }
}

impl Pending {
    fn receipt(&self, order: OrderNumber, now: Uptime) -> Receipt {
        Receipt {
            order,
            sessions: self.sessions,
            killed: self.killed,
            survivors: self.left.values().fold(0, |sum, left| sum.saturating_add(*left)),
            took_micros: micros(now.since(self.since)),
            done: self.waiting.is_empty(),
            kills: self.kills,
        }
    }
}

/// The warning that is due, if one is; several that became due together are given as one.
fn warn(session: &mut Session, warn_before: &[Duration], now: Uptime) -> Vec<Action> {
    let (end, reason) = session.fixed_end();
    let State::Live { warned } = &mut session.state else {
        return Vec::new();
    };
    let due = warn_before.iter().filter(|lead| earlier(end, **lead) <= now).count();
    if due <= *warned {
        return Vec::new();
    }
    *warned = due;
    let why = match reason {
        EndReason::TooLong { secs } => {
            format!(
                "no session under its role lasts longer than {}",
                span(Duration::from_secs(secs))
            )
        }
        _ => "the grant is over then".to_owned(),
    };
    let message = format!("this session ends in {}: {why}", span(end.since(now)));
    let id = session.id;
    vec![Action::Tell { session: id, message }, Action::Keep(id)]
}

/// What a person is told when the session ends.
fn farewell(reason: &EndReason) -> String {
    match reason {
        EndReason::Left => "this session has ended".into(),
        EndReason::GrantEnded => "this session has ended: the grant's time is over".into(),
        EndReason::Idle { secs } => format!(
            "this session has ended: nothing came from you for {}",
            span(Duration::from_secs(*secs))
        ),
        EndReason::TooLong { secs } => format!(
            "this session has ended: no session under its role lasts longer than {}",
            span(Duration::from_secs(*secs))
        ),
        EndReason::Threshold(crossed) => format!("this session has been ended: {crossed}"),
        EndReason::Locked { order, reason } => {
            format!("this session has been ended by order {order}: {reason}")
        }
        EndReason::LockedHere { reason, .. } => {
            format!("this session has been ended on this host: {reason}")
        }
    }
}

/// A span in the unit that fits, rounded to the nearest: `5 minutes`, `20 seconds`.
fn span(span: Duration) -> String {
    let secs = u64::try_from(span.as_millis().saturating_add(500) / 1000).unwrap_or(u64::MAX);
    let (count, unit) =
        if secs >= 120 { (secs.saturating_add(30) / 60, "minute") } else { (secs, "second") };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn earlier(deadline: Uptime, lead: Duration) -> Uptime {
    let lead = u64::try_from(lead.as_nanos()).unwrap_or(u64::MAX);
    Uptime::from_nanos(deadline.nanos().saturating_sub(lead))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// How soon a session that is ending is struck again. Deaths wake the agent by themselves; this is for those that do not come.
const RETRY: Duration = Duration::from_millis(5);
/// The same once it took longer than [`LATE`]: who waits for a disk that is gone does not die sooner.
const SLOW_RETRY: Duration = Duration::from_secs(1);
/// After this the authority is told how many processes are still alive; the agent goes on trying.
const LATE: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use wire::identifier::{Fingerprint, Serial};
    use wire::lock::Target;

    pub(crate) fn at(secs: u64) -> Uptime {
        Uptime::from_nanos(0).after(Duration::from_secs(secs))
    }

    pub(crate) fn id(tag: u64) -> SessionId {
        SessionId::new(NonZeroU64::new(tag).unwrap())
    }

    pub(crate) fn session(tag: u64, identity: &str, deadline: u64) -> Box<Session> {
        let subject = Subject {
            identity: identity.parse().unwrap(),
            grant: "g1".parse().unwrap(),
            serial: Serial::try_new(tag).unwrap(),
            key: Fingerprint::of(b"key"),
            role: "deploy".parse().unwrap(),
            login: "app".parse().unwrap(),
            host: "db1".parse().unwrap(),
            authority: None,
        };
        Box::new(Session {
            version: wire::VERSION,
            id: id(tag),
            subject,
            remote: "10.0.0.1".into(),
            monitor: Monitor { pid: 7, start_ticks: 1 },
            began: Timestamp::from_secs(0),
            grant_until: Timestamp::from_secs(deadline),
            deadline: at(deadline),
            state: State::Live { warned: 0 },
            marks: None,
            limits: Limits::default(),
            activity: Activity::new(at(0)),
            forced: None,
            meter: Meter::default(),
        })
    }

    pub(crate) fn sessions() -> Sessions {
        Sessions::new(vec![Duration::from_secs(60), Duration::from_secs(300)])
    }

    fn lock(identity: &str) -> Input {
        let target = Target::Identity(identity.parse().unwrap());
        let lock = Lock { target, reason: "left the company".into(), until: None };
        Input::Locked { order: OrderNumber::try_new(1).unwrap(), lock }
    }

    fn strikes(actions: &[Action]) -> Vec<SessionId> {
        actions
            .iter()
            .filter_map(|action| match action {
                Action::Strike(id) => Some(*id),
                _ => None,
            })
            .collect()
    }

    fn receipts(actions: &[Action]) -> Vec<&Receipt> {
        actions
            .iter()
            .filter_map(|action| match action {
                Action::Receipt(receipt) => Some(receipt),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_lock_ends_all_it_covers_and_nobody_else() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        sessions.step(Input::Began(session(2, "bob", 1_000)), at(0));
        sessions.step(Input::Began(session(3, "ana", 1_000)), at(0));
        let actions = sessions.step(lock("ana"), at(1));
        assert_eq!(strikes(&actions), [id(1), id(3)]);
        assert!(!receipts(&actions)[0].done);
    }

    #[test]
    fn a_session_is_struck_until_the_kernel_says_it_is_gone() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        sessions.step(lock("ana"), at(1));
        for second in 2..5 {
            assert_eq!(strikes(&sessions.step(Input::Tick, at(second))), [id(1)]);
        }
        sessions.step(
            Input::Struck {
                session: id(1),
                killed: 9,
                left: 0,
                steps: Box::new(Steps { passes: 1, groups: 1, ..Steps::default() }),
            },
            at(5),
        );
        let actions = sessions.step(Input::Gone(id(1)), at(6));
        let receipt = receipts(&actions)[0];
        assert!(receipt.done);
        let said = actions.iter().find_map(|action| match action {
            Action::Record { event: Event::SessionEnded(ended), .. } => ended.steps.clone(),
            _ => None,
        });
        assert_eq!(said.map(|steps| (steps.passes, steps.groups)), Some((1, 1)));
        assert_eq!((receipt.sessions, receipt.killed, receipt.took_micros), (1, 9, 5_000_000));
        assert!(actions.contains(&Action::Forget(id(1))));
        assert!(sessions.is_empty());
        assert!(sessions.step(Input::Tick, at(7)).is_empty());
    }

    #[test]
    fn an_order_is_done_when_its_last_session_is_gone() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        sessions.step(Input::Began(session(3, "ana", 1_000)), at(0));
        sessions.step(lock("ana"), at(1));
        assert!(receipts(&sessions.step(Input::Gone(id(3)), at(2))).is_empty());
        assert!(receipts(&sessions.step(Input::Gone(id(1)), at(3)))[0].done);
    }

    #[test]
    fn survivors_are_reported_once_after_five_seconds() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        sessions.step(lock("ana"), at(1));
        sessions.step(
            Input::Struck { session: id(1), killed: 3, left: 2, steps: Box::default() },
            at(1),
        );
        assert!(receipts(&sessions.step(Input::Tick, at(5))).is_empty());
        let actions = sessions.step(Input::Tick, at(6));
        assert_eq!((receipts(&actions)[0].survivors, receipts(&actions)[0].done), (2, false));
        assert!(receipts(&sessions.step(Input::Tick, at(7))).is_empty());
        assert_eq!(receipts(&sessions.step(Input::Gone(id(1)), at(8)))[0].survivors, 0);
    }

    #[test]
    fn a_lock_that_covers_nobody_is_done_at_once() {
        let actions = sessions().step(lock("ana"), at(1));
        assert_eq!(receipts(&actions).len(), 1);
        assert!(receipts(&actions)[0].done);
    }

    #[test]
    fn the_deadline_ends_a_session_after_a_warning_each_given_once() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        assert_eq!(sessions.next_tick(at(0)), Some(at(700)));
        assert!(sessions.step(Input::Tick, at(699)).is_empty());
        let told = sessions.step(Input::Tick, at(700));
        assert!(matches!(&told[0], Action::Tell { message, .. } if message.contains("5 minutes")));
        assert!(sessions.step(Input::Tick, at(701)).is_empty());
        assert_eq!(sessions.next_tick(at(701)), Some(at(940)));
        sessions.step(Input::Tick, at(940));
        assert_eq!(sessions.next_tick(at(941)), Some(at(1_000)));
        assert!(strikes(&sessions.step(Input::Tick, at(999))).is_empty());
        assert_eq!(strikes(&sessions.step(Input::Tick, at(1_000))), [id(1)]);
    }

    #[test]
    fn a_session_shorter_than_every_warning_is_told_once_at_its_beginning() {
        let mut sessions = sessions();
        let told = sessions.step(Input::Began(session(1, "ana", 20)), at(0));
        assert!(
            matches!(&told[..], [Action::Tell { message, .. }, Action::Keep(_)] if message.contains("20 seconds"))
        );
        assert!(sessions.step(Input::Tick, at(1)).is_empty());
    }

    #[test]
    fn a_session_adopted_past_its_deadline_ends_at_once() {
        let mut sessions = sessions();
        let actions = sessions.step(Input::Adopted(session(1, "ana", 10)), at(11));
        assert_eq!(strikes(&actions), [id(1)]);
    }

    #[test]
    fn one_who_leaves_is_not_reported_as_killed() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        let actions = sessions.step(Input::Gone(id(1)), at(5));
        let left = SessionEnded {
            reason: EndReason::Left,
            killed: 0,
            survivors: 0,
            took_micros: 0,
            steps: None,
        };
        assert_eq!(actions[0], Action::Record { session: id(1), event: Event::SessionEnded(left) });
    }

    #[test]
    fn marks_are_news_once_and_outlive_a_restart() {
        let mut sessions = sessions();
        sessions.step(Input::Began(session(1, "ana", 1_000)), at(0));
        let marks = Marks { sessionid: Some(4), scope: None };
        assert!(sessions.mark(id(1), marks.clone()));
        assert!(!sessions.mark(id(1), marks.clone()));
        assert!(!sessions.mark(id(2), marks.clone()));
        let kept = serde_json::to_string(sessions.find(id(1)).unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&kept).unwrap().marks, Some(marks));
    }

    #[test]
    fn a_session_kept_without_marks_is_read() {
        let kept = serde_json::to_string(&session(1, "ana", 1_000)).unwrap();
        assert!(!kept.contains("marks"));
        assert_eq!(serde_json::from_str::<Session>(&kept).unwrap(), *session(1, "ana", 1_000));
    }

    proptest::proptest! {
        /// No order of events leaves a locked session without a strike on every tick until it is gone.
        #[test]
        fn a_locked_session_is_never_forgotten(events in proptest::collection::vec(0u8..5, 0..40)) {
            let mut sessions = sessions();
            let mut locked = BTreeSet::new();
            for ((now, tag), event) in (1..).zip([1, 2, 3].into_iter().cycle()).zip(&events) {
                let who = if tag == 2 { "bob" } else { "ana" };
                match event {
                    0 if sessions.find(id(tag)).is_none() => {
                        sessions.step(Input::Began(session(tag, who, 1_000)), at(now));
                    }
                    1 => {
                        sessions.step(lock("ana"), at(now));
                        locked.extend(sessions.iter().filter(|s| s.subject.identity.as_str() == "ana").map(|s| s.id));
                    }
                    2 => {
                        sessions.step(Input::Gone(id(tag)), at(now));
                        locked.remove(&id(tag));
                    }
                    3 => { sessions.step(Input::Struck { session: id(tag), killed: 1, left: 1, steps: Box::default() }, at(now)); }
                    _ => {}
                }
                let struck: BTreeSet<SessionId> = strikes(&sessions.step(Input::Tick, at(now))).into_iter().collect();
                proptest::prop_assert_eq!(&struck, &locked);
            }
        }
    }
}
