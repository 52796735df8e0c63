//! Locks of this host alone: in force in the step that stores them, recorded, and said in the status.

use wire::record::{Event, LocalLock};

use super::Host;
use crate::clock::Now;
use crate::local::watch::{Reading, Watch};
use crate::local::{Change, Found, Locals};
use crate::session::Input;
use crate::store;

/// How the host is with its own locks.
#[derive(Debug, Default)]
pub(super) struct Local {
    watch: Option<Watch>,
    files: Locals,
    accounts: Locals,
    /// What cannot be read as a whole; said once.
    trouble: Vec<String>,
}

impl Host {
    /// From now on `watch` looks at the host's own locks; `first` is in force when this returns. What was in force when
    /// the agent stopped is, until a reading says otherwise.
    pub fn keep_local(&mut self, watch: Watch, first: Reading, now: Now) {
        match store::read(&self.places.local) {
            Ok(files) => self.local.files = files,
            Err(error) if error.is_absent() => {}
            Err(error) => {
                tracing::error!(%error, "which of this host's own locks were in force is not known; those of files that \
                    are in order are");
            }
        }
        self.local.watch = Some(watch);
        self.enforce_local(now);
        self.take_local(first, now);
    }

    /// Looks at the files, whatever the watcher says.
    pub fn local_look(&self) {
        if let Some(watch) = &self.local.watch {
            watch.look();
        }
    }

    /// Takes what was found. What is news is stored, matched against the live sessions and recorded in this one step.
    pub fn take_local(&mut self, reading: Reading, now: Now) {
        self.take_logins(&reading.logins, now);
        self.take_units(reading.units, now);
        self.take_disorder(reading.disorder, now);
        let before = self.local.files.clone();
        if !reading.uids.is_empty() {
            self.work.uids = reading.uids;
        }
        self.take_arrivals(&reading.arrivals, now);
        let mut trouble = Vec::new();
        let mut changes = Vec::new();
        let mut take = |found: Result<Found, String>, locals: &mut Locals| match found {
            Ok(found) => changes.extend(locals.take(found)),
            Err(why) => trouble.push(why),
        };
        take(reading.locks, &mut self.local.files);
        take(reading.accounts, &mut self.local.accounts);
        for why in &trouble {
            if !self.local.trouble.contains(why) {
                tracing::error!("this host's own locks stay as they were: {why}");
                let refused = LocalLock::Refused {
                    source: "this host's own locks".into(),
                    reason: why.clone(),
                };
                self.record(None, Event::LocalLock(refused), now);
            }
        }
        self.local.trouble = trouble;
        self.enforce_local(now);
        if self.local.files != before
            && let Err(error) = store::write(&self.places.local, &self.local.files)
        {
            tracing::error!(%error, "this host's own locks are in force, and a restart of the agent will know only \
                those whose files are in order then");
        }
        for change in changes {
            self.say_local(change, now);
        }
    }

    /// Logins are held against them from here on, and sessions at once.
    fn enforce_local(&mut self, now: Now) {
        self.revocation.local = self.local.files.iter().chain(self.local.accounts.iter()).collect();
        let locks = self.revocation.local.clone();
        for local in locks.into_iter().filter(|local| local.lock.holds_at(now.at)) {
            let actions = self.sessions.step(Input::LockedHere(local), now.up);
            self.perform(actions, now);
        }
    }

    fn say_local(&mut self, change: Change, now: Now) {
        let event = match change {
            Change::InForce(crate::revocation::LocalLock { source, lock }) => {
                tracing::warn!(source, target = %lock.target, reason = lock.reason, "a lock of this host is in force");
                LocalLock::InForce { source, lock }
            }
            Change::Lifted { source, target } => {
                tracing::warn!(source, %target, "a lock of this host is lifted");
                LocalLock::Lifted { source, target }
            }
            Change::Refused { source, reason } => {
                tracing::error!(
                    source,
                    reason,
                    "this is no lock, and what was in force from it stays"
                );
                LocalLock::Refused { source, reason }
            }
        };
        self.record(None, Event::LocalLock(event), now);
    }

    /// What stands among the host's own locks and is none.
    pub(super) fn local_trouble(&self) -> Vec<String> {
        let files = self.local.files.refused();
        self.local.trouble.iter().cloned().chain(files).collect()
    }
}
