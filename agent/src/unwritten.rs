//! Records that the disk or the spool's quota did not take: what must not be lost waits in memory and is written when there is room again, in its
//! order; of the rest it is counted how much is lost. Pure.
//!
//! While anything waits nothing is written before it, so that records stand in the order in which things happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wire::identifier::SessionId;
use wire::record::{Event, Loss};
use wire::retention::Class;
use wire::time::Uptime;

use crate::clock::Now;

/// What was not written.
#[derive(Debug, Default)]
pub struct Unwritten {
    waiting: VecDeque<Waiting>,
    /// How many are lost, by session, and after which of the kernel's numbers.
    lost: BTreeMap<Option<SessionId>, Loss>,
    retry: Option<Uptime>,
}

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The session it belongs to.
    pub session: Option<SessionId>,
    /// What happened.
    pub event: Event,
    /// When.
    pub now: Now,
}

impl Unwritten {
    /// Whether everything is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost.is_empty()
    }

    /// Whether anything waits that is not counted as lost.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is lost of a session, to be written before its end is.
    #[must_use]
    pub fn lost_of(&self, session: SessionId) -> Option<&Loss> {
        self.lost.get(&Some(session))
    }

    /// That is written.
    pub fn told(&mut self, session: SessionId) {
        self.lost.remove(&Some(session));
        if self.is_empty() {
            self.retry = None;
        }
    }

    /// How many are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.values().fold(0, |sum, loss| sum.saturating_add(loss.missing))
    }

    /// Takes what the disk did not take.
    pub fn keep(&mut self, record: Waiting) {
        let fits = self.waiting.len() < MAX_WAITING && !Class::Activity.has(&record.event);
        self.retry.get_or_insert(record.now.up.after(RETRY));
        if fits {
            self.waiting.push_back(record);
            return;
        }
        let after = sequence(&record.event).map_or(0, |number| number.saturating_sub(1));
        let lost = self.lost.entry(record.session).or_insert(Loss { after, missing: 0 });
        lost.missing = lost.missing.saturating_add(1);
    }

    /// Whether it is time to try again.
    #[must_use]
    pub fn is_due(&self, now: Uptime) -> bool {
        self.retry.is_some_and(|retry| retry <= now)
    }

    /// When it is time to try again.
    #[must_use]
    pub const fn next_due(&self) -> Option<Uptime> {
        self.retry
    }

    /// The next to be written: what waits, then what is lost. Take it away with [`Unwritten::written`].
    #[must_use]
    pub fn next(&self, now: Now) -> Option<Waiting> {
        let lost = || {
            let (session, loss) = self.lost.first_key_value()?;
            Some(Waiting { session: *session, event: Event::Loss(loss.clone()), now })
        };
        self.waiting.front().cloned().or_else(lost)
    }

    /// The one that [`Unwritten::next`] gave is written.
    pub fn written(&mut self) {
        if self.waiting.pop_front().is_none() {
            self.lost.pop_first();
        }
        if self.is_empty() {
            self.retry = None;
        }
    }

    /// The disk still takes nothing.
    pub fn put_off(&mut self, now: Uptime) {
        self.retry = Some(now.after(RETRY));
    }

    /// One sentence for the operator; nothing when everything is written.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        Some(format!(
            "its disk takes no records: {} wait in the agent's memory and {} of programs, connections and files are lost; \
             nobody gets in who must be recorded, and who was in and must be has been ended",
            self.waiting.len(),
            self.lost()
        ))
    }
}

/// The kernel's number of what it saw.
const fn sequence(event: &Event) -> Option<u64> {
    match event {
        Event::Exec(exec) => Some(exec.sequence),
        Event::Exit(exit) => Some(exit.sequence),
        Event::Network(network) => Some(network.sequence),
        _ => None,
    }
}

/// Most that waits in memory. A record may have 256 KiB, but those that wait have a few hundred bytes.
const MAX_WAITING: usize = 4_096;
/// How soon the disk is tried again.
const RETRY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use wire::record::{Exit, ExitStatus};
    use wire::time::Timestamp;

    fn now(millis: u64) -> Now {
        Now {
            at: Timestamp::from_millis(millis),
            up: Uptime::from_nanos(millis.saturating_mul(1_000_000)),
        }
    }

    fn warned(millis: u64) -> Waiting {
        let event = Event::Warned { message: millis.to_string(), terminals: 1 };
        Waiting { session: None, event, now: now(millis) }
    }

    fn exit(tag: u64, sequence: u64) -> Waiting {
        let status = ExitStatus::Code(0);
        let event = Event::Exit(Exit { sequence, pid: 1, status, ran_micros: None });
        let session = NonZeroU64::new(tag).map(SessionId::new);
        Waiting { session, event, now: now(9) }
    }

    #[test]
    fn what_must_not_be_lost_waits_in_order_and_the_rest_is_counted_by_session() {
        let mut unwritten = Unwritten::default();
        assert!(unwritten.is_empty() && unwritten.trouble().is_none());
        for record in [warned(1), exit(1, 7), exit(2, 3), exit(1, 8), warned(2)] {
            unwritten.keep(record);
        }
        let said = unwritten.trouble().unwrap();
        assert!(said.contains("2 wait") && said.contains("3 of programs"), "{said}");
        assert!(!unwritten.is_due(now(500).up) && unwritten.is_due(now(501).up));
        let mut came = Vec::new();
        while let Some(next) = unwritten.next(now(600)) {
            came.push(next);
            unwritten.written();
        }
        assert_eq!(came[..2], [warned(1), warned(2)]);
        let losses: Vec<&Event> = came[2..].iter().map(|record| &record.event).collect();
        let loss = |after, missing| Event::Loss(Loss { after, missing });
        assert_eq!(losses, [&loss(6, 2), &loss(2, 1)]);
        assert_eq!((unwritten.next_due(), unwritten.is_empty()), (None, true));
    }

    #[test]
    fn what_a_session_lost_is_told_before_its_end() {
        let mut unwritten = Unwritten::default();
        let id = NonZeroU64::new(1).map(SessionId::new).unwrap();
        for record in [exit(1, 7), exit(2, 3), exit(1, 8)] {
            unwritten.keep(record);
        }
        assert_eq!(unwritten.lost_of(id), Some(&Loss { after: 6, missing: 2 }));
        assert!(!unwritten.is_waiting());
        unwritten.told(id);
        assert_eq!((unwritten.lost_of(id), unwritten.lost()), (None, 1));
        assert!(unwritten.next_due().is_some());
        unwritten.written();
        assert!(unwritten.is_empty() && unwritten.next_due().is_none());
    }

    #[test]
    fn a_disk_that_is_still_full_is_tried_again_later() {
        let mut unwritten = Unwritten::default();
        unwritten.keep(warned(1));
        unwritten.put_off(now(501).up);
        assert!(!unwritten.is_due(now(1_000).up) && unwritten.is_due(now(1_001).up));
        assert_eq!(unwritten.next(now(2_000)), Some(warned(1)), "it is still there");
    }

    #[test]
    fn memory_is_bounded_and_what_is_beyond_is_counted() {
        let mut unwritten = Unwritten::default();
        for at in 0..5_000 {
            unwritten.keep(warned(at));
        }
        assert!(unwritten.trouble().unwrap().contains("4096 wait"));
        assert!(unwritten.trouble().unwrap().contains("904 of"));
    }
}
