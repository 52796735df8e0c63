//! Logins that were refused: by the gate, by sshd as its log says, and those that ended before anybody was let in.

use std::collections::{BTreeSet, VecDeque};

use wire::record::Refused;

use super::Host;
use crate::clock::Now;
use crate::gate::{No, Trouble};
use crate::peer::Held;
use crate::session::Monitor;
use crate::sshd_log::{Entry, Heard, Line, Watched};
use crate::status::{Denials, Denied};

/// What is known of attempts, beside what the gate counts.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    log: Watched,
    /// Monitors that were found ended at the last look: what the log says of them may still be on its way.
    fading: BTreeSet<(i32, u64)>,
    total: u64,
    newest: VecDeque<Denied>,
}

impl Attempts {
    pub(super) fn next_due(&self) -> Option<wire::time::Uptime> {
        self.log.next_due()
    }

    pub(super) fn denials(&self) -> Denials {
        Denials { total: self.total, newest: self.newest.iter().cloned().collect() }
    }

    fn count(&mut self, refused: &Refused, now: Now) {
        self.total = self.total.saturating_add(u64::from(refused.count));
        if self.newest.len() >= SHOWN {
            self.newest.pop_front();
        }
        self.newest.push_back(Denied { at: now.at, refused: refused.clone() });
    }
}

impl Host {
    /// Takes a line of sshd's log.
    pub fn log_says(&mut self, entry: Entry, now: Now) {
        if let Line::Accepted(said) = &entry.line {
            return self.heard_of_breakglass(said, now);
        }
        let authorities: Vec<_> = self
            .believed
            .authorities
            .iter()
            .map(|key| wire::certificate::fingerprint(key.key_data()))
            .collect();
        self.attempts.log.note(entry, &authorities, now.up);
    }

    /// Records a refusal, or counts it with those that are the same.
    pub(super) fn note_refusal(&mut self, no: No, monitor: Option<Monitor>, now: Now) {
        self.attempts.total = self.attempts.total.saturating_add(1);
        if let Some(monitor) = monitor {
            self.book.decide(monitor);
            self.attempts.log.known(monitor.pid, no.refused.key.clone(), now.up);
        }
        let Some(mut no) = self.refusals.note(no, now.up) else { return };
        if no.refused.remote.is_empty()
            && let Some(remote) = monitor.and_then(|monitor| crate::peer::remote_of(monitor.pid))
        {
            no.refused.remote = remote.to_string();
        }
        let refused = &no.refused;
        tracing::info!(login = %refused.login.display(), key_id = %refused.key_id.display(),
            cert.serial = refused.serial, remote = refused.remote, reason = refused.reason, "refused a login");
        self.attempts.total = self.attempts.total.saturating_sub(1);
        self.attempts.count(&no.refused, now);
        self.record(None, no.event(false), now);
    }

    /// Tells of what sshd's log has said, once the lines that belong together are there.
    pub(super) fn tell_attempts(&mut self, now: Now) {
        for told in self.attempts.log.due(now.up) {
            for Heard { key, mut refused } in told.attempts {
                if let Some((monitor, shown)) = self.book.shown_by(told.pid, key.as_ref()) {
                    self.book.decide(monitor);
                    complete(&mut refused, shown);
                }
                self.note_refusal(No { refused, trouble: Trouble::None }, None, now);
            }
        }
    }

    /// Writes what is counted and not written yet: the agent stops.
    pub fn count_out(&mut self, now: Now) {
        for no in self.refusals.flush() {
            self.record(None, no.event(false), now);
        }
    }

    /// Looks for connections that showed a certificate and ended before anybody was let in. They are told of at the second
    /// look, when the log has had the time to say why.
    pub fn look_for_unfinished(&mut self, now: Now) {
        if !self.book.has_undecided() {
            self.attempts.fading.clear();
            return;
        }
        let faded = std::mem::take(&mut self.attempts.fading);
        let fading = &mut self.attempts.fading;
        let told = self.book.unfinished(|monitor| {
            let name = (monitor.pid, monitor.start_ticks);
            if Held::find(monitor).is_ok() {
                return true;
            }
            let is_news = !faded.contains(&name);
            if is_news {
                fading.insert(name);
            }
            is_news
        });
        for unfinished in told {
            let who = self.attempts.log.who(unfinished.monitor.pid);
            let remote = who.map(|(_, remote)| remote.to_owned()).unwrap_or_default();
            for mut refused in unfinished.attempts {
                refused.remote.clone_from(&remote);
                self.note_refusal(No { refused, trouble: Trouble::None }, None, now);
            }
        }
    }
}

/// The certificate as the gate was shown it says more than the log.
fn complete(refused: &mut Refused, shown: Refused) {
    (refused.key, refused.key_id, refused.serial) = (shown.key, shown.key_id, shown.serial);
    if refused.login.as_bytes().is_empty() {
        refused.login = shown.login;
    }
}

/// How many the status shows.
const SHOWN: usize = 20;
