//! What a session's limits do to it: the nearest end, the idle end and its warning, thresholds, a later end. Pure.

use std::time::Duration;

use wire::identifier::{GrantId, SessionId};
use wire::limits::Response;
use wire::record::{EndReason, Event};
use wire::time::{Timestamp, Uptime};

use crate::activity::{Channel, Kind, Look};
use crate::threshold::{Started, Verdict};

use super::{Action, Session, Sessions, State, earlier, span};

/// What whoever relays a channel says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// It relays this channel from now on.
    Opened(Channel, Kind),
    /// So many bytes were typed, without what the client's terminal sent by itself.
    Typed(Channel, u64),
    /// So many bytes moved, towards the host and from it.
    Moved(Channel, (u64, u64)),
    /// It relays it no more.
    Closed(Channel),
}

impl Session {
    /// When it ends whatever is done in it, and why.
    #[must_use]
    pub fn fixed_end(&self) -> (Uptime, EndReason) {
        let longest = self.limits.longest_secs.map(|secs| {
            let end = self.activity.began().after(Duration::from_secs(secs));
            (end, EndReason::TooLong { secs })
        });
        match longest {
            Some((end, reason)) if end < self.deadline => (end, reason),
            _ => (self.deadline, EndReason::GrantEnded),
        }
    }

    /// What is due now, if anything is.
    pub(super) fn due(&self, now: Uptime) -> Option<EndReason> {
        let (end, reason) = self.fixed_end();
        if end <= now {
            return Some(reason);
        }
        let (end, span) = self.activity.idle_end(&self.limits)?;
        (end <= now).then_some(EndReason::Idle { secs: span.as_secs() })
    }

    /// When something is due about its idleness: the warning, or the end.
    pub(super) fn idle_tick(&self) -> Option<Uptime> {
        let (end, span) = self.activity.idle_end(&self.limits)?;
        let is_warned = self.activity.warned == Some(end);
        Some(if is_warned { end } else { earlier(end, lead(span)) })
    }

    /// Whether its idle end has come by what was last seen of its client.
    #[must_use]
    pub fn seems_idle(&self, now: Uptime) -> bool {
        let end = self.activity.idle_end(&self.limits);
        matches!(self.state, State::Live { .. }) && end.is_some_and(|(end, _)| end <= now)
    }

    /// Whether what its client does must be looked at.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let limits = &self.limits;
        matches!(self.state, State::Live { .. })
            && (limits.idle_secs.is_some()
                || limits.transfer_idle_secs.is_some()
                || !limits.thresholds.bytes_out.is_empty())
    }

    fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }
}

impl Sessions {
    /// sshd's accounts were looked at.
    pub(super) fn looked(&mut self, id: SessionId, look: &Look, now: Uptime) -> Vec<Action> {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_live()) else {
            return Vec::new();
        };
        session.activity.looked(look, now);
        let verdicts = session.meter.sent(&session.limits.thresholds, session.activity.sent());
        let mut actions = keep_activity(session);
        actions.extend(self.answer(id, verdicts, now));
        actions
    }

    /// Whoever relays a channel spoke of it.
    pub(super) fn relayed(&mut self, id: SessionId, word: Relayed, now: Uptime) -> Vec<Action> {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_live()) else {
            return Vec::new();
        };
        let activity = &mut session.activity;
        match word {
            Relayed::Opened(channel, kind) => activity.opened(channel, kind, now),
            Relayed::Typed(channel, bytes) => activity.typed(channel, bytes, now),
            Relayed::Moved(channel, bytes) => activity.moved(channel, bytes, now),
            Relayed::Closed(channel) => activity.closed(channel),
        }
        keep_activity(session)
    }

    /// A program was started.
    pub(super) fn started(&mut self, id: SessionId, program: &Started, now: Uptime) -> Vec<Action> {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_live()) else {
            return Vec::new();
        };
        let verdicts = session.meter.started(&session.limits.thresholds, program, now);
        self.answer(id, verdicts, now)
    }

    /// A file was written.
    pub(super) fn wrote(
        &mut self,
        id: SessionId,
        path: &[u8],
        program: Option<wire::octets::Octets>,
        now: Uptime,
    ) -> Vec<Action> {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_live()) else {
            return Vec::new();
        };
        let verdicts = session.meter.wrote(&session.limits.thresholds, path, program);
        self.answer(id, verdicts, now)
    }

    /// A grant ends later: what began under it does too, by as much, on the clock that nobody can move. An earlier end
    /// is none: grants are shortened by locks.
    pub(super) fn extend(&mut self, grant: GrantId, until: Timestamp, now: Uptime) -> Vec<Action> {
        let mut actions = Vec::new();
        let under = |session: &&mut Session| {
            session.subject.grant == grant && session.is_live() && session.grant_until < until
        };
        for session in self.sessions.values_mut().filter(under) {
            let by = until.since(session.grant_until);
            session.grant_until = until;
            session.deadline = session.deadline.after(by);
            let (end, _) = session.fixed_end();
            let given = self.warn_before.iter().filter(|lead| earlier(end, **lead) <= now).count();
            session.state = State::Live { warned: given };
            let left = span(end.since(now));
            let message = format!("the grant was extended: this session ends in {left}");
            let id = session.id;
            actions.extend([
                Action::Keep(id),
                Action::Record {
                    session: id,
                    event: Event::Extended { until, by_secs: by.as_secs() },
                },
                Action::Tell { session: id, message },
            ]);
        }
        actions
    }

    /// What comes of thresholds. The record is written before the session ends.
    fn answer(&mut self, id: SessionId, verdicts: Vec<Verdict>, now: Uptime) -> Vec<Action> {
        let mut actions = Vec::new();
        for verdict in verdicts {
            match verdict {
                Verdict::Near { measure, count, limit } => {
                    let message = format!(
                        "careful: {}; at {limit} this session is ended",
                        measure.described(count)
                    );
                    actions.push(Action::Tell { session: id, message });
                }
                Verdict::Crossed(crossed) => {
                    let event = Event::Threshold(crossed.clone());
                    actions.extend([Action::Record { session: id, event }, Action::Keep(id)]);
                    match crossed.response {
                        Response::Alert => {}
                        Response::Warn => {
                            let message = format!("careful: {crossed}; this was reported");
                            actions.push(Action::Tell { session: id, message });
                        }
                        Response::Kill => {
                            let reason = EndReason::Threshold(Box::new(crossed));
                            actions.extend(self.end(id, reason, now));
                        }
                    }
                }
            }
        }
        actions
    }
}

/// The warning of an idle end, when it is due: once for each end.
pub(super) fn warn_idle(session: &mut Session, now: Uptime) -> Vec<Action> {
    let Some((end, limit)) = session.activity.idle_end(&session.limits) else {
        return Vec::new();
    };
    let is_due = session.is_live() && earlier(end, lead(limit)) <= now;
    if !is_due || session.activity.warned == Some(end) {
        return Vec::new();
    }
    session.activity.warned = Some(end);
    let message = format!(
        "this session ends in {}: nothing has come from you for {}; press a key to keep it",
        span(end.since(now)),
        span(now.since(session.activity.last()))
    );
    let id = session.id;
    vec![Action::Tell { session: id, message }, Action::Keep(id)]
}

/// How long before an idle end the person is told: a minute, or half of it all where that is less.
fn lead(limit: Duration) -> Duration {
    IDLE_WARNING.min(limit.checked_div(2).unwrap_or_default())
}

/// Keeps what the client did last, when it is news by enough: a restart finds out the rest from sshd's accounts.
fn keep_activity(session: &mut Session) -> Vec<Action> {
    let last = session.activity.last();
    if last.since(session.activity.kept) < KEEP_EVERY {
        return Vec::new();
    }
    session.activity.kept = last;
    vec![Action::Keep(session.id)]
}

const IDLE_WARNING: Duration = Duration::from_secs(60);
const KEEP_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::tests::{at, id, session, sessions};
    use super::*;
    use crate::kernel::event::Argv;
    use crate::session::Input;
    use wire::limits::{Limits, Steps, Thresholds};

    fn idle(secs: u64) -> Limits {
        Limits { idle_secs: Some(secs), transfer_idle_secs: Some(secs), ..Limits::default() }
    }

    fn limited(limits: Limits) -> Sessions {
        let mut all = sessions();
        let mut one = session(1, "ana", 10_000);
        one.limits = limits;
        all.step(Input::Began(one), at(0));
        all
    }

    fn typed(put: u64) -> Input {
        let look = Look { server: Some((1, 1)), terminals: 1, put, ..Look::default() };
        Input::Looked { session: id(1), look }
    }

    fn told(actions: &[Action]) -> Vec<&str> {
        let mut told = Vec::new();
        for action in actions {
            if let Action::Tell { message, .. } = action {
                told.push(message.as_str());
            }
        }
        told
    }

    fn ending(actions: &[Action]) -> Option<&EndReason> {
        actions.iter().find_map(|action| match action {
            Action::Record { event: Event::Ending { reason }, .. } => Some(reason),
            _ => None,
        })
    }

    #[test]
    fn the_idle_are_warned_once_for_each_end_and_then_ended() {
        let mut all = limited(idle(600));
        all.step(typed(1), at(1));
        assert_eq!(all.next_tick(at(2)), Some(at(541)));
        let warned = all.step(Input::Tick, at(541));
        assert!(told(&warned)[0].contains("ends in 60 seconds"), "{warned:?}");
        assert!(told(&all.step(Input::Tick, at(550))).is_empty());
        // A key moves the end, and is warned of anew.
        all.step(typed(2), at(560));
        assert_eq!(all.next_tick(at(561)), Some(at(1_100)));
        assert_eq!(told(&all.step(Input::Tick, at(1_100))).len(), 1);
        assert_eq!(all.next_tick(at(1_101)), Some(at(1_160)));
        assert_eq!(ending(&all.step(Input::Tick, at(1_159))), None);
        let ended = all.step(Input::Tick, at(1_160));
        assert_eq!(ending(&ended), Some(&EndReason::Idle { secs: 600 }));
    }

    #[test]
    fn a_short_limit_is_warned_of_at_its_half() {
        let mut all = limited(idle(10));
        all.step(typed(1), at(0));
        assert_eq!(all.next_tick(at(0)), Some(at(5)));
    }

    #[test]
    fn the_nearest_end_counts_and_no_activity_moves_it() {
        let mut all = limited(Limits { longest_secs: Some(100), ..idle(90) });
        for second in 1..100 {
            assert_eq!(ending(&all.step(typed(second), at(second))), None);
            assert_eq!(ending(&all.step(Input::Tick, at(second))), None);
        }
        let ended = all.step(Input::Tick, at(100));
        assert_eq!(ending(&ended), Some(&EndReason::TooLong { secs: 100 }));
    }

    #[test]
    fn an_extension_moves_the_end_by_its_length_and_no_wall_clock_is_asked() {
        let mut all = sessions();
        all.step(Input::Began(session(1, "ana", 1_000)), at(0));
        all.step(Input::Tick, at(950));
        let extended = |secs| Input::Extended {
            grant: "g1".parse().unwrap(),
            until: Timestamp::from_secs(secs),
        };
        let actions = all.step(extended(1_600), at(960));
        assert!(told(&actions)[0].contains("ends in 11 minutes"), "{actions:?}");
        assert_eq!(ending(&all.step(Input::Tick, at(1_000))), None);
        // Once more the same, and an earlier one, change nothing.
        assert!(all.step(extended(1_600), at(1_001)).is_empty());
        assert!(all.step(extended(1_200), at(1_001)).is_empty());
        assert_eq!(
            told(&all.step(Input::Tick, at(1_300))).len(),
            1,
            "warned anew, 5 minutes before"
        );
        let ended = all.step(Input::Tick, at(1_600));
        assert_eq!(ending(&ended), Some(&EndReason::GrantEnded));
        let other =
            Input::Extended { grant: "g2".parse().unwrap(), until: Timestamp::from_secs(9_000) };
        assert!(all.step(other, at(1_600)).is_empty());
    }

    #[test]
    fn a_threshold_is_recorded_before_it_ends_the_session() {
        let kill = Steps([(Response::Kill, 1)].into());
        let thresholds = Thresholds { execs_per_minute: kill, ..Thresholds::default() };
        let mut all = limited(Limits { thresholds, ..Limits::default() });
        let argv = Argv { bytes: b"x\0".to_vec(), total: 2, count: 1 };
        let (file, interpreter) = (b"/bin/x".to_vec(), b"/bin/x".to_vec());
        let program = Box::new(Started { file, interpreter, argv, is_privileged: false });
        let actions = all.step(Input::Started { session: id(1), program }, at(5));
        let place = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
        let recorded =
            place(|action| matches!(action, Action::Record { event: Event::Threshold(_), .. }));
        let struck = place(|action| matches!(action, Action::Strike(_)));
        assert!(recorded < struck, "{actions:?}");
        assert!(matches!(ending(&actions), Some(EndReason::Threshold(_))));
    }
}
