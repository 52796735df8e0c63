//! Records on their way to the spool: what it does not take waits or is counted as lost, and who must be recorded and is
//! not, is ended.

use wire::identifier::SessionId;
use wire::limits::Need;
use wire::lock::{Lock, Target};
use wire::record::Event;
use wire::retention::Class;

use super::Host;
use crate::clock::{Now, now};
use crate::revocation::LocalLock;
use crate::session::{Input, Session};
use crate::status::Extent;
use crate::unwritten::Waiting;

impl Host {
    /// Writes a record. A spool that takes none is an error that an operator must act on; what is being done goes on.
    pub(super) fn record(&mut self, session: Option<SessionId>, event: Event, now: Now) {
        if !self.is_recorded(session, event, now) {
            self.unrecorded.extend(session);
        }
    }

    /// Writes a record; whether the spool took it. One that it did not take waits in memory, or is counted as lost.
    pub(super) fn is_recorded(
        &mut self,
        session: Option<SessionId>,
        event: Event,
        now: Now,
    ) -> bool {
        self.write_what_waits(now);
        // Until a loss is written, what sessions do goes on being counted: a record in the gap would hide how large it is.
        let lacks_room = !self.unwritten.is_empty() || !self.spool.has_room();
        if self.unwritten.is_waiting() || (Class::Activity.has(&event) && lacks_room) {
            self.say_loss();
            self.unwritten.keep(Waiting { session, event, now });
            return false;
        }
        if let (Some(id), Event::SessionEnded(_)) = (session, &event) {
            self.write_loss(id, now);
        }
        let written = self.spool.append(session, &event, now);
        if let Err(error) = &written {
            tracing::error!(%error, "the disk takes no records: they wait in memory, and those of programs are lost");
            self.unwritten.keep(Waiting { session, event, now });
        }
        written.is_ok()
    }

    /// Once, when the first is lost.
    fn say_loss(&self) {
        if self.unwritten.is_empty()
            && let Some(trouble) = self.record_trouble()
        {
            tracing::error!("{trouble}");
        }
    }

    /// Says what of a session was lost before it says that it is over; what cannot be written is tried again later.
    fn write_loss(&mut self, id: SessionId, now: Now) {
        let Some(loss) = self.unwritten.lost_of(id).cloned() else { return };
        if self.spool.append(Some(id), &Event::Loss(loss), now).is_ok() {
            self.unwritten.told(id);
        }
    }

    /// Tries the disk again, where it took nothing before.
    pub(super) fn write_what_waits(&mut self, now: Now) {
        if !self.unwritten.is_due(now.up) {
            return;
        }
        while let Some(Waiting { session, event, now: when }) = self.unwritten.next(now) {
            // A loss is said when it is over, or with its session's end: not twice a second for as long as it lasts.
            let goes_on = !self.unwritten.is_waiting() && !self.spool.has_room();
            if goes_on || self.spool.append(session, &event, when).is_err() {
                return self.unwritten.put_off(now.up);
            }
            self.unwritten.written();
        }
        tracing::warn!("records are written again; what was lost meanwhile is recorded as lost");
    }

    /// Why records are not written as they should be, in one sentence for the operator.
    pub(super) fn record_trouble(&self) -> Option<String> {
        if self.spool.has_room() {
            return self.unwritten.trouble();
        }
        let Extent { bytes, quota } = self.spool.extent();
        Some(format!(
            "records that the authority does not have yet take {} of the {} MiB of `records_quota`: what programs, connections \
             and files there are is counted and not kept ({} so far); nobody gets in who must be recorded, and who was in and \
             must be has been ended",
            bytes >> 20,
            quota >> 20,
            self.unwritten.lost()
        ))
    }

    /// Ends the sessions of which a record could not be written and that must not go on without.
    pub(super) fn end_unrecorded(&mut self) {
        let now = now();
        for id in std::mem::take(&mut self.unrecorded) {
            let required = |session: &Session| session.limits.recording.need == Need::Required;
            if !self.sessions.find(id).is_some_and(required) {
                continue;
            }
            let reason = "this host cannot record it any more".to_owned();
            let lock = Lock { target: Target::Session(id), reason, until: None };
            let local = LocalLock { source: "records".into(), lock };
            let actions = self.sessions.step(Input::LockedHere(local), now.up);
            self.perform(actions, now);
        }
    }
}
