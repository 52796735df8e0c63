//! Taking what the kernel saw: every exec and exit becomes a record, every gap is said, and the last exit ends a session.

use std::collections::BTreeSet;

use wire::identifier::SessionId;
use wire::octets::Octets;
use wire::record::{Event, Exec, Exit, ExitStatus, Loss, Network, NetworkDeed, Program, Tier};
use wire::time::Uptime;

use super::{Host, program, session_of};
use crate::act;
use crate::clock::Now;
use crate::handed::asks_a_daemon;
use crate::kernel::KernelError;
use crate::kernel::event::{self, Detail, Flags};
use crate::session::Input;

/// The event numbers of a session as they come: up to where they are whole, and those that came early.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    early: BTreeSet<u64>,
    reported: u64,
    /// The first number seen: an agent that adopts a session has not seen those before.
    begun: bool,
}

impl Sequence {
    fn note(&mut self, number: u64) {
        if !self.begun {
            self.begun = true;
            self.next = number;
        }
        self.early.insert(number);
        while self.early.remove(&self.next) {
            self.next = self.next.saturating_add(1);
        }
    }

    /// What is newly lost, by the kernel's own count.
    fn loss(&mut self, lost: u64) -> Option<Loss> {
        let missing = lost.checked_sub(self.reported).filter(|missing| *missing > 0)?;
        let after = self.next.saturating_sub(1);
        self.reported = lost;
        self.next = self.next.saturating_add(missing);
        while self.early.remove(&self.next) {
            self.next = self.next.saturating_add(1);
        }
        Some(Loss { after, missing })
    }
}

impl Host {
    /// Takes what the kernel has for us. Sessions whose last task has gone are over.
    pub fn drain(&mut self, now: Now) {
        for session in self.take_events(now) {
            self.look(session, now);
        }
    }

    /// Takes everything that was there when it began, and says whose processes ended. What comes meanwhile may wait: a
    /// session that makes events faster than they are written must not keep orders and deadlines waiting.
    fn take_events(&mut self, now: Now) -> BTreeSet<SessionId> {
        let mut events = Vec::new();
        let mut left = BTreeSet::new();
        self.behind = true;
        for _ in 0..MAX_PASSES {
            events.clear();
            if let Err(error) = self.kernel.drain(&mut events) {
                tracing::error!(%error, "the kernel's events could not be taken");
            }
            if events.is_empty() {
                self.behind = false;
                break;
            }
            for event in events.drain(..) {
                let session = session_of(event.tag);
                if matches!(event.detail, Detail::Exit(_)) {
                    left.insert(session);
                }
                self.sequences.entry(session).or_default().note(event.seq);
                let up = Uptime::from_nanos(u64::try_from(event.at.as_nanos()).unwrap_or(u64::MAX));
                let loginuid = match &event.detail {
                    Detail::Exec(exec) => exec.loginuid,
                    _ => None,
                };
                let metered = self.metered(session, &event);
                if let Some(event) = self.described(session, event, now) {
                    self.note(session, event, (loginuid, now.when(up)));
                }
                if let Some(program) = metered {
                    self.meter(session, program, now);
                }
            }
        }
        left
    }

    /// What is recorded of an event; forks are counted in the sequence and not written.
    fn described(&mut self, session: SessionId, event: event::Event, now: Now) -> Option<Event> {
        let pid = i32::try_from(event.process.pid()).unwrap_or(0);
        match &event.detail {
            Detail::Fork => {
                self.running.note(session, &event);
                None
            }
            Detail::Exit(status) => {
                let ran_micros = self.running.end(session, &event);
                let status = match (status.signal(), status.code()) {
                    (Some(signal), _) => ExitStatus::Signal(signal),
                    (None, code) => ExitStatus::Code(code.unwrap_or(0)),
                };
                Some(Event::Exit(Exit { sequence: event.seq, pid, status, ran_micros }))
            }
            Detail::Socket(socket) => Some(Event::Network(Network {
                sequence: event.seq,
                pid,
                program: Octets::new(event.process.comm()),
                what: if socket.connects { NetworkDeed::Connect } else { NetworkDeed::Listen },
                address: socket.address,
                port: socket.port,
            })),
            Detail::Exec(exec) => {
                self.compare_marks(session, (event.process.pid(), exec), now);
                let before = self.running.note(session, &event);
                let program = program::program(&event, exec, before, now.up);
                Some(Event::Exec(started(&event, exec, program)))
            }
        }
    }

    /// A thing that was seen: of a session it is recorded as it is, of handed work as that, of others not at all.
    fn note(&mut self, id: SessionId, event: Event, (loginuid, now): (Option<u32>, Now)) {
        if self.work.handed.holds(id) {
            if let Event::Exec(exec) = event {
                self.note_handed(id, exec, now);
            }
            return;
        }
        if let Event::Exec(exec) = &event {
            if asks_a_daemon(exec.path.as_bytes()) {
                self.work.asked.insert(id, now.up);
            }
            // An account that is not one of the host's own is known by its uid only here.
            if let (Some(uid), Some(session)) = (loginuid, self.sessions.find(id).cloned())
                && !self.work.uids.contains_key(session.subject.login.as_str())
            {
                self.watch_handed(&session, Some(uid));
            }
        }
        self.record(Some(id), event, now);
    }

    /// Whether events may wait that the kernel will not wake anybody for.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Asks the kernel whether a session is over, and keeps what a restart must know of it if it is not.
    pub(super) fn look(&mut self, id: SessionId, now: Now) {
        self.note_losses(id, now);
        if self.sessions.find(id).is_none() {
            return;
        }
        match self.kernel.live(act::tag(id)) {
            Ok(0) => {
                // Nobody is left to make more of them: its last events come before its end.
                self.take_events(now);
                self.take_last_files(now);
                self.note_losses(id, now);
                self.gone(id, now);
            }
            Ok(_) => self.keep_marks(id),
            Err(KernelError::Unknown(_)) => {
                if self.is_remembered(id, now) {
                    return;
                }
                // Where the kernel remembers, whom it does not know is over. Elsewhere it was forgotten.
                if self.tier != Tier::Full {
                    tracing::error!(session = %id, "the session is taken for over, but it is unknown whether processes \
                        of it are left: it was forgotten with the agent before");
                }
                self.gone(id, now);
            }
            Err(error) => {
                tracing::error!(session = %id, %error, "it is unknown whether the session lives");
            }
        }
    }

    /// A session that the kernel does not know any more, and whose processes are there all the same: somebody took it out
    /// of the kernel's memory. It is counted again, and told.
    fn is_remembered(&mut self, id: SessionId, now: Now) -> bool {
        match self.kernel.remember(act::tag(id)) {
            Ok(0) => false,
            Ok(tasks) => {
                self.tell_meddled(
                    format!(
                        "session {id} was taken out of the kernel's memory with {tasks} tasks alive"
                    ),
                    now,
                );
                true
            }
            Err(error) => {
                tracing::error!(session = %id, %error, "it is unknown whether the session lives");
                true
            }
        }
    }

    fn gone(&mut self, id: SessionId, now: Now) {
        let login = self.sessions.find(id).map(|session| session.subject.login.clone());
        let actions = self.sessions.step(Input::Gone(id), now.up);
        self.perform(actions, now);
        login.into_iter().for_each(|login| self.leave_handed(&login));
    }

    fn keep_marks(&mut self, id: SessionId) {
        let Some(marks) = self.kernel.marks(act::tag(id)) else { return };
        if self.sessions.mark(id, marks) {
            self.keep(id);
        }
    }

    /// Looks at every session: those that are ending, and, where the kernel brings no events, all of them.
    pub(super) fn look_for_ended(&mut self, now: Now) {
        let all: Vec<SessionId> = self.sessions.iter().map(|session| session.id).collect();
        for id in all {
            self.look(id, now);
        }
        let any = !self.sessions.is_empty();
        self.next_look = any.then(|| now.up.after(LOOK));
    }

    fn note_losses(&mut self, id: SessionId, now: Now) {
        if self.sessions.find(id).is_none() {
            return;
        }
        let Ok(losses) = self.kernel.losses(act::tag(id)) else { return };
        let loss = self.sequences.entry(id).or_default().loss(losses.events);
        if let Some(loss) = loss {
            tracing::error!(session = %id, missing = loss.missing, "events were lost");
            self.record(Some(id), Event::Loss(loss), now);
        }
    }
}

fn started(event: &event::Event, exec: &event::Exec, program: Program) -> Exec {
    let arguments: Vec<Octets> = exec.argv.args().take(MAX_ARGUMENTS).map(Octets::new).collect();
    let kept = arguments.iter().map(|argument| argument.as_bytes().len().saturating_add(1));
    let kept: usize = kept.sum::<usize>().min(exec.argv.bytes.len());
    Exec {
        sequence: event.seq,
        pid: i32::try_from(event.process.pid()).unwrap_or(0),
        parent: i32::try_from(event.ppid).unwrap_or(0),
        uid: event.uid,
        euid: event.euid,
        cut: u64::from(exec.argv.total).saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX)),
        arguments,
        terminal: terminal(&exec.tty),
        nameless: event.flags.has(Flags::UNLINKED),
        path: Octets::new(exec.filename.clone()),
        program: Some(Box::new(program)),
    }
}

fn terminal(name: &[u8]) -> Option<String> {
    (!name.is_empty()).then(|| Octets::new(name).display())
}

/// Arguments kept of one program; each costs up to 17 bytes more in a record than it is long, and a record must fit a
/// frame. What is left out is counted in `cut`.
const MAX_ARGUMENTS: usize = 20_000;
/// How often every session is looked at, whatever the events said.
const LOOK: std::time::Duration = std::time::Duration::from_millis(500);
/// Together these take more events than the kernel's ring holds: 2 MiB, of 80 bytes each or more.
const MAX_PASSES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_placed_and_counted_once() {
        let mut sequence = Sequence::default();
        for number in [0, 1, 2, 6, 5] {
            sequence.note(number);
        }
        assert_eq!(sequence.loss(0), None);
        assert_eq!(sequence.loss(2), Some(Loss { after: 2, missing: 2 }));
        assert_eq!(sequence.loss(2), None);
        assert_eq!(sequence.next, 7);
    }

    #[test]
    fn events_that_swap_places_are_no_loss() {
        let mut sequence = Sequence::default();
        for number in [4, 6, 5, 7] {
            sequence.note(number);
        }
        assert_eq!((sequence.next, sequence.early.len()), (8, 0));
    }
}
