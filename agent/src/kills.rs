//! Sessions that are being ended, each with the work that ends with it, until what became of them is said to the authority. Pure.
//!
//! It is said once nobody is left of a session and of all that it had handed on; and once before, with names, where somebody is
//! still alive after five seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::identifier::{HostName, SessionId};
use wire::kill::{HandedTally, Killed};
use wire::record::{EndReason, Slow, Steps, Tally};
use wire::time::{Timestamp, Uptime};

use crate::clock::Now;

/// All that is under way.
///
/// Who can change this: root on the host. Gains: can spoil the counts of a kill that an agent died in; ends and keeps nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kills {
    open: BTreeMap<SessionId, Open>,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The session's own processes.
    Session,
    /// The handed work of its login, by tag.
    Work(SessionId),
    /// A unit that it alone can have asked for.
    Unit(String),
}

/// One that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    reason: EndReason,
    at: Timestamp,
    since: Uptime,
    waiting: BTreeSet<Part>,
    passes: u32,
    marked: bool,
    killed: Tally,
    handed: HandedTally,
    /// When the last of what was waited for was over.
    last: Uptime,
    /// Whether somebody was named as alive.
    told_late: bool,
    interrupted: bool,
    /// Who was alive after the last late pass.
    #[serde(skip)]
    left: BTreeMap<Part, (u32, Vec<Slow>)>,
}

impl Kills {
    /// A session is ordered to end.
    pub fn begin(&mut self, id: SessionId, reason: EndReason, now: Now) {
        self.open.entry(id).or_insert_with(|| Open::new(reason, now.at, now.up));
    }

    /// Work ends with the session. Of one that is not being ended it is nothing to wait for.
    pub fn wait_for(&mut self, id: SessionId, part: Part) {
        if let Some(open) = self.open.get_mut(&id) {
            open.waiting.insert(part);
        }
    }

    /// So many were alive after a pass that came late; some of them by name.
    pub fn left(&mut self, id: SessionId, part: Part, (count, named): (u32, Vec<Slow>)) {
        if let Some(open) = self.open.get_mut(&id)
            && open.waiting.contains(&part)
        {
            open.left.insert(part, (count, named));
        }
    }

    /// Nobody of the session itself is left.
    pub fn session_over(&mut self, id: SessionId, steps: &Steps, now: Uptime) {
        if let Some(open) = self.open.get_mut(&id) {
            (open.passes, open.marked, open.killed) = (steps.passes, steps.marked, steps.tally);
            open.done(&Part::Session, now);
        }
    }

    /// Nobody is left of work that ended with it.
    pub fn handed_over(&mut self, id: SessionId, part: &Part, tally: HandedTally, now: Uptime) {
        if let Some(open) = self.open.get_mut(&id) {
            open.handed.add(tally);
            open.done(part, now);
        }
    }

    /// Those of which nobody is left; [`Kills::forget`] them once that is said.
    #[must_use]
    pub fn over(&self) -> Vec<SessionId> {
        let over = self.open.iter().filter(|(_, open)| open.waiting.is_empty());
        over.map(|(id, _)| *id).collect()
    }

    /// Those of which somebody is still alive after five seconds, each once.
    pub fn late(&mut self, now: Uptime) -> Vec<SessionId> {
        let is_late =
            |open: &Open| !open.told_late && !open.left.is_empty() && now.since(open.since) >= LATE;
        let late = self.open.iter_mut().filter(|(_, open)| is_late(open));
        late.map(|(id, open)| {
            open.told_late = true;
            *id
        })
        .collect()
    }

    /// What is to be said of one now; nothing of one that is not known.
    #[must_use]
    pub fn said(&self, id: SessionId, host: &HostName, now: Uptime) -> Option<Killed> {
        let open = self.open.get(&id)?;
        let survivors =
            open.left.values().fold(0_u32, |sum, (count, _)| sum.saturating_add(*count));
        let end = if open.waiting.is_empty() { open.last } else { now };
        let took = end.since(open.since).as_micros();
        Some(Killed {
            version: wire::VERSION,
            host: host.clone(),
            session: id,
            reason: open.reason.clone(),
            at: open.at,
            took_micros: u64::try_from(took).unwrap_or(u64::MAX),
            marked: open.marked,
            passes: open.passes,
            killed: open.killed,
            handed: open.handed,
            survivors,
            named: open.left.values().flat_map(|(_, named)| named.iter().cloned()).collect(),
            interrupted: open.interrupted,
        })
    }

    /// It is said.
    pub fn forget(&mut self, id: SessionId) {
        self.open.remove(&id);
    }

    /// Another agent takes up what this one, or one before it, had begun: what is there to be waited for, and no more.
    /// `begun` are sessions that are ending, with why and since when.
    pub fn resume(
        &mut self,
        begun: impl IntoIterator<Item = (SessionId, EndReason, Uptime)>,
        parts: &BTreeSet<(SessionId, Part)>,
        now: Now,
    ) {
        for (id, reason, since) in begun {
            let at = now.at.before(now.up.since(since));
            self.open.entry(id).or_insert_with(|| Open::new(reason, at, since));
        }
        for (id, open) in &mut self.open {
            open.interrupted = true;
            let waited = |part: &Part| parts.contains(&(*id, part.clone()));
            let over: Vec<Part> = open.waiting.iter().filter(|it| !waited(it)).cloned().collect();
            let more = parts.iter().filter(|(whose, _)| whose == id).map(|(_, part)| part.clone());
            open.waiting.extend(more);
            for part in over {
                open.done(&part, now.up);
            }
        }
    }
}

impl Open {
    fn new(reason: EndReason, at: Timestamp, since: Uptime) -> Self {
        Self {
            reason,
            at,
            since,
            waiting: BTreeSet::from([Part::Session]),
            passes: 0,
            marked: false,
            killed: Tally::default(),
            handed: HandedTally::default(),
            last: since,
            told_late: false,
            interrupted: false,
            left: BTreeMap::new(),
        }
    }

    fn done(&mut self, part: &Part, now: Uptime) {
        if self.waiting.remove(part) {
            self.left.remove(part);
            self.last = self.last.max(now);
        }
    }
}

/// How long somebody may live on before they are named.
pub const LATE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use wire::octets::Octets;

    fn id(tag: u64) -> SessionId {
        SessionId::new(NonZeroU64::new(tag).unwrap())
    }

    fn at(millis: u64) -> Uptime {
        Uptime::from_nanos(millis.saturating_mul(1_000_000))
    }

    fn now(millis: u64) -> Now {
        Now {
            at: Timestamp::from_secs(1_800_000_000).after(Duration::from_millis(millis)),
            up: at(millis),
        }
    }

    fn host() -> HostName {
        "db1".parse().unwrap()
    }

    fn steps() -> Steps {
        let tally = Tally { connection: 2, group: 0, alone: 5 };
        Steps { passes: 3, marked: true, tally, ..Steps::default() }
    }

    fn begun() -> Kills {
        let mut kills = Kills::default();
        kills.begin(id(1), EndReason::GrantEnded, now(100));
        kills
    }

    #[test]
    fn a_kill_is_said_when_the_session_and_all_that_it_handed_on_are_over() {
        let mut kills = begun();
        kills.wait_for(id(1), Part::Work(id(9)));
        kills.wait_for(id(1), Part::Unit("run-u1.service".into()));
        kills.session_over(id(1), &steps(), at(110));
        let (jobs, units) = (
            HandedTally { jobs: 2, ..HandedTally::default() },
            HandedTally { units: 1, ..HandedTally::default() },
        );
        kills.handed_over(id(1), &Part::Work(id(9)), jobs, at(140));
        assert!(kills.over().is_empty());
        kills.handed_over(id(1), &Part::Unit("run-u1.service".into()), units, at(150));
        assert_eq!(kills.over(), [id(1)]);
        let said = kills.said(id(1), &host(), at(9_000)).unwrap();
        assert_eq!((said.took_micros, said.passes, said.marked), (50_000, 3, true));
        assert_eq!((said.killed.sum(), said.handed.sum(), said.survivors), (7, 3, 0));
        assert_eq!(said.handed, HandedTally { units: 1, jobs: 2, manager: 0 });
        assert!(!said.interrupted);
        kills.forget(id(1));
        assert_eq!((kills.over(), kills.said(id(1), &host(), at(1))), (Vec::new(), None));
    }

    #[test]
    fn who_lives_on_is_named_once_after_five_seconds() {
        let mut kills = begun();
        let slow = Slow { pid: 7, command: Octets::new("dd") };
        assert!(kills.late(at(6_000)).is_empty(), "nobody has said who lives");
        kills.left(id(1), Part::Session, (1, vec![slow.clone()]));
        kills.left(id(1), Part::Unit("never".into()), (4, Vec::new()));
        assert!(kills.late(at(5_000)).is_empty());
        assert_eq!(kills.late(at(5_100)), [id(1)]);
        assert!(kills.late(at(5_200)).is_empty(), "once");
        let said = kills.said(id(1), &host(), at(5_100)).unwrap();
        assert_eq!((said.survivors, said.named), (1, vec![slow]));
        assert_eq!(said.took_micros, 5_000_000);
        kills.session_over(id(1), &steps(), at(7_100));
        let said = kills.said(id(1), &host(), at(8_000)).unwrap();
        assert_eq!((said.survivors, said.named.len(), said.took_micros), (0, 0, 7_000_000));
    }

    #[test]
    fn a_second_word_of_the_end_changes_nothing_and_others_are_not_waited_for() {
        let mut kills = begun();
        kills.begin(id(1), EndReason::Left, now(500));
        kills.wait_for(id(2), Part::Session);
        kills.session_over(id(2), &steps(), at(1));
        kills.handed_over(id(2), &Part::Session, HandedTally::default(), at(1));
        assert_eq!(kills.said(id(1), &host(), at(200)).unwrap().reason, EndReason::GrantEnded);
        assert_eq!(kills.over(), []);
    }

    #[test]
    fn another_agent_goes_on_with_what_is_there_and_says_that_it_was_interrupted() {
        let mut kills = begun();
        kills.wait_for(id(1), Part::Work(id(9)));
        kills.wait_for(id(1), Part::Unit("gone.service".into()));
        kills.session_over(id(1), &steps(), at(130));
        kills.begin(id(2), EndReason::GrantEnded, now(100));
        let kept = serde_json::to_string(&kills).unwrap();
        let mut again: Kills = serde_json::from_str(&kept).unwrap();
        let parts = BTreeSet::from([
            (id(1), Part::Work(id(9))),
            (id(3), Part::Session),
            (id(4), Part::Session),
        ]);
        let reason = EndReason::Idle { secs: 9 };
        again.resume([(id(3), reason, at(300))], &parts, now(1_000));
        // Of the second nobody is left, and nobody had said so.
        assert_eq!(again.over(), [id(2)]);
        let second = again.said(id(2), &host(), at(2_000)).unwrap();
        assert_eq!((second.interrupted, second.killed.sum()), (true, 0));
        let third = again.said(id(3), &host(), at(1_300)).unwrap();
        assert_eq!((third.at, third.took_micros), (now(300).at, 1_000_000));
        again.handed_over(id(1), &Part::Work(id(9)), HandedTally::default(), at(1_500));
        assert_eq!(again.over(), [id(1), id(2)]);
        assert_eq!(again.said(id(1), &host(), at(9)).unwrap().killed.sum(), 7);
    }
}
