//! What it took to end sessions: said to the authority under the agent's signature once nobody is left, or who is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wire::identifier::SessionId;
use wire::kill::{HandedTally, Killed};
use wire::record::{EndReason, Event, SessionEnded, Tally};
use wire::time::Uptime;

use super::Host;
use crate::act;
use crate::clock::Now;
use crate::handed::{Doer, doer};
use crate::kernel::Process;
use crate::kernel::kill::{KillPass, Struck};
use crate::kills::{Kills, Part};
use crate::store;

/// The kills that are under way, as they are kept.
#[derive(Debug, Default)]
pub(super) struct Book {
    kills: Kills,
    /// Whether the file does not say so yet.
    is_news: bool,
}

impl Book {
    /// As an agent before knew them.
    pub(super) fn resume(run_dir: &Path) -> Self {
        let kills = match store::read(&kept_at(run_dir)) {
            Ok(kills) => kills,
            Err(error) if error.is_absent() => Kills::default(),
            Err(error) => {
                tracing::error!(%error, "which kills were under way is not known; those that go on are counted from now");
                Kills::default()
            }
        };
        Self { kills, is_news: false }
    }
}

/// Where they are kept, which does not outlive the boot.
fn kept_at(run_dir: &Path) -> PathBuf {
    run_dir.join("kills.json")
}

impl Host {
    /// Takes up the kills of an agent before: `begun` are the adopted sessions that were ending, with why and since when.
    pub(super) fn resume_kills(&mut self, begun: Vec<(SessionId, EndReason, Uptime)>, now: Now) {
        let mut parts: BTreeSet<(SessionId, Part)> =
            begun.iter().map(|(id, ..)| (*id, Part::Session)).collect();
        for (tag, group) in self.work.handed.groups() {
            parts.extend(group.end.map(|end| (end.session, Part::Work(tag))));
        }
        let units = self.units.ending();
        parts.extend(units.map(|(unit, session)| (session, Part::Unit(unit.to_owned()))));
        self.kills.kills.resume(begun, &parts, now);
        self.kills.is_news = true;
    }

    /// A session is ordered to end.
    pub(super) fn kill_begins(&mut self, id: SessionId, reason: &EndReason, now: Now) {
        self.kills.kills.begin(id, reason.clone(), now);
        self.kills.is_news = true;
    }

    /// Work ends with a session.
    pub(super) fn kill_waits_for(&mut self, id: SessionId, part: Part) {
        self.kills.kills.wait_for(id, part);
        self.kills.is_news = true;
    }

    /// Nobody of a session itself is left.
    pub(super) fn session_over(&mut self, id: SessionId, ended: &SessionEnded, up: Uptime) {
        if let Some(steps) = &ended.steps {
            self.kills.kills.session_over(id, steps, up);
            self.kills.is_news = true;
        }
    }

    /// Nobody is left of work that ended with a session.
    pub(super) fn handed_over(
        &mut self,
        id: SessionId,
        part: &Part,
        tally: HandedTally,
        up: Uptime,
    ) {
        self.kills.kills.handed_over(id, part, tally, up);
        self.kills.is_news = true;
    }

    /// A pass of killing left somebody.
    pub(super) fn kill_left(&mut self, id: SessionId, part: Part, pass: &KillPass) {
        let count = u32::try_from(pass.survivors.len()).unwrap_or(u32::MAX);
        self.kills.kills.left(id, part, (count, act::named(pass)));
    }

    /// A pass over a unit left somebody.
    pub(super) fn unit_left(&mut self, unit: &str, id: SessionId, alive: u32) {
        self.kills.kills.left(id, Part::Unit(unit.to_owned()), (alive, Vec::new()));
    }

    /// Those that a pass over a session killed and none before had, by step.
    pub(super) fn tally(&mut self, id: SessionId, pass: &KillPass) -> Tally {
        let key = |process: &Process| (process.pid(), process.start_ticks());
        let monitor = self.monitors.get(&id).map(|held| held.name.pid);
        let spared = self.spared.entry(id).or_default();
        spared.extend(pass.spared.iter().map(key));
        let struck = self.struck.entry(id).or_default();
        let mut tally = Tally::default();
        for Struck { process, with_group, .. } in &pass.struck {
            if !struck.insert(key(process)) {
                continue;
            }
            let is_monitor = monitor.is_some_and(|pid| u32::try_from(pid) == Ok(process.pid()));
            let step = if is_monitor || spared.contains(&key(process)) {
                &mut tally.connection
            } else if *with_group {
                &mut tally.group
            } else {
                &mut tally.alone
            };
            *step = step.saturating_add(1);
        }
        tally
    }

    /// The same of a pass over handed work, by what had started them.
    pub(super) fn tally_handed(&mut self, id: SessionId, pass: &KillPass) -> HandedTally {
        let struck = self.struck.entry(id).or_default();
        let mut tally = HandedTally::default();
        for Struck { process, path, .. } in &pass.struck {
            if !struck.insert((process.pid(), process.start_ticks())) {
                continue;
            }
            let place = match doer(path.as_deref().unwrap_or_default()) {
                Doer::Manager => &mut tally.manager,
                Doer::Job => &mut tally.jobs,
                Doer::Unit => &mut tally.units,
            };
            *place = place.saturating_add(1);
        }
        tally
    }

    /// Says of which kills somebody is left after five seconds.
    pub(super) fn say_late_kills(&mut self, now: Now) {
        for id in self.kills.kills.late(now.up) {
            let Some(said) = self.kills.kills.said(id, &self.trust.host, now.up) else { continue };
            self.say_kill(id, &said, now);
            self.kills.is_news = true;
        }
    }

    /// Says of which kills nobody is left. Whether there was any.
    pub(super) fn say_kills(&mut self, now: Now) -> bool {
        let over = self.kills.kills.over();
        for id in &over {
            if let Some(said) = self.kills.kills.said(*id, &self.trust.host, now.up) {
                self.say_kill(*id, &said, now);
            }
            self.kills.kills.forget(*id);
            self.kills.is_news = true;
        }
        if std::mem::take(&mut self.kills.is_news)
            && let Err(error) = store::write(&kept_at(&self.places.run), &self.kills.kills)
        {
            tracing::error!(%error, "a restart of the agent will not know which kills are under way");
        }
        !over.is_empty()
    }

    /// Signs it and writes it down.
    fn say_kill(&mut self, id: SessionId, said: &Killed, now: Now) {
        match said.sign(self.upkeep.agent_key()) {
            Ok(signed) => self.record(Some(id), Event::Killed(Box::new(signed)), now),
            Err(error) => {
                tracing::error!(session = %id, %error, "what it took to end a session is not said");
            }
        }
    }
}
