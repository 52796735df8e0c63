//! Looking at what clients do, and holding sessions to their limits.

use std::time::Duration;

use wire::identifier::{GrantId, OrderNumber, SessionId};
use wire::time::{Timestamp, Uptime};

use super::{Host, authority};
use crate::client::Clients;
use crate::clock::Now;
use crate::kernel::event::{Detail, Event, Flags};
use crate::session::{Input, Session};
use crate::threshold::Started;

/// What is looked at, and when next.
#[derive(Debug, Default)]
pub(super) struct Watching {
    clients: Clients,
    next: Option<Uptime>,
    /// Sessions whose client cannot be seen, each said once.
    blind: std::collections::BTreeSet<SessionId>,
}

impl Host {
    /// Looks at clients when it is time, and once more at each that seems to be idle for too long.
    pub(super) fn look_at_clients(&mut self, now: Now) {
        let is_time = self.watching.next.is_none_or(|next| next <= now.up);
        let due =
            |session: &&Session| session.is_watched() && (is_time || session.seems_idle(now.up));
        let due: Vec<_> =
            self.sessions.iter().filter(due).map(|session| (session.id, session.monitor)).collect();
        for (id, monitor) in due {
            let look = match self.watching.clients.look(id, monitor) {
                Ok(look) => look.unwrap_or_default(),
                Err(error) => {
                    if self.watching.blind.insert(id) {
                        tracing::error!(session = %id, %error, "what the client does cannot be seen: the session ends \
                            as if it were idle");
                    }
                    continue;
                }
            };
            let actions = self.sessions.step(Input::Looked { session: id, look }, now.up);
            self.perform(actions, now);
        }
        if is_time {
            let any = self.sessions.iter().any(Session::is_watched);
            self.watching.next = any.then(|| now.up.after(LOOK_EVERY));
        }
    }

    /// Looks at the client of a session from before a restart, so that what it did meanwhile counts before anything is due.
    pub(super) fn see_again(&mut self, session: &mut Session, now: Now) {
        if !session.is_watched() {
            return;
        }
        match self.watching.clients.look(session.id, session.monitor) {
            Ok(look) => session.activity.looked(&look.unwrap_or_default(), now.up),
            Err(error) => {
                tracing::warn!(session = %session.id, %error, "what the client did meanwhile is not known");
            }
        }
    }

    /// When clients are looked at next.
    pub(super) fn next_client_look(&self, now: Uptime) -> Option<Uptime> {
        let any = self.sessions.iter().any(Session::is_watched);
        any.then(|| self.watching.next.unwrap_or(now))
    }

    /// The session is over.
    pub(super) fn forget_client(&mut self, id: SessionId) {
        self.watching.clients.forget(id);
        self.watching.blind.remove(&id);
    }

    /// What a started program is held against, where the session has thresholds.
    pub(super) fn metered(&self, id: SessionId, event: &Event) -> Option<Started> {
        let Detail::Exec(exec) = &event.detail else { return None };
        let session = self.sessions.find(id)?;
        if session.limits.thresholds.is_empty() {
            return None;
        }
        Some(Started {
            file: exec.filename.clone(),
            interpreter: exec.interp.clone(),
            argv: exec.argv.clone(),
            is_privileged: event.flags.has(Flags::SECUREEXEC),
        })
    }

    /// Holds a started program against the thresholds, after its own record was written.
    pub(super) fn meter(&mut self, id: SessionId, program: Started, now: Now) {
        let program = Box::new(program);
        let actions = self.sessions.step(Input::Started { session: id, program }, now.up);
        self.perform(actions, now);
    }

    /// A grant ends later: its sessions too, at once.
    pub(super) fn extend_grant(
        &mut self,
        (grant, until): (GrantId, Timestamp),
        order: OrderNumber,
        now: Now,
    ) {
        tracing::info!(%order, %grant, "a grant ends later");
        let actions = self.sessions.step(Input::Extended { grant, until }, now.up);
        self.perform(actions, now);
        self.receipt(authority::nothing_ended(order));
    }
}

/// How often clients are looked at: an idle end is known to this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
