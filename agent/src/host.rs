//! The host's state and the hands that act on it: owned by one loop ([`crate::run`]), so that nothing happens between
//! a decision and its performance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use wire::hostlink::{ToAuthority, Trust};
use wire::identifier::{OrderNumber, SessionId};
use wire::limits::Limits;
use wire::record::{AgentStarted, Event, Receipt, Tier};
use wire::time::Uptime;

use crate::act;
use crate::clock::{Now, now};
use crate::config::Config;
use crate::gate::{Book, Others, Refusals, Rules};
use crate::kernel::{self, Kernel, KernelError};
use crate::kills::Part;
use crate::peer::Held;
use crate::proof::Proofs;
use crate::revocation::Revocation;
use crate::session::{Action, Input, Session, Sessions, State};
use crate::spool::{Spool, SpoolError};
use crate::status::Status;
use crate::store::{self, StoreError};
use crate::unwritten::Unwritten;
use crate::witness::Witness;

mod attempt;
mod authority;
mod bar;
mod breakglass;
mod channel;
mod explain;
mod files;
mod handed;
mod kills;
mod krl;
mod ledger;
mod limit;
mod local;
mod login;
mod outside;
mod program;
mod record;
mod recording;
mod renewal;
mod restore;
mod trust;
mod unit;
mod watch;

pub use authority::Link;
pub(crate) use unit::TRANSIENT as TRANSIENT_UNITS;

use renewal::Upkeep;
use trust::Believed;

/// The agent cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The host is not enrolled.
    #[error("this host is not enrolled ({0} is absent); run `curfew-agent enroll`")]
    NotEnrolled(PathBuf),
    /// A file of the agent cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A pinned key cannot be read.
    #[error("the pinned {what} cannot be read: {source}")]
    Key {
        /// Which key.
        what: &'static str,
        /// Why.
        source: ssh_key::Error,
    },
    /// A key that signs orders cannot be read.
    #[error("a pinned order key cannot be read: {source}")]
    OrderKey {
        /// Why.
        source: wire::trust::KeysError,
    },
    /// A pinned key of the ledger cannot be read.
    #[error("the pinned key of the ledger {text:?} cannot be read: {source}")]
    LogKey {
        /// What is pinned.
        text: String,
        /// Why.
        source: wire::log::FormError,
    },
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The kernel room cannot be used.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Where the agent keeps things.
#[derive(Debug)]
struct Places {
    /// What the host is and whom it believes.
    trust: PathBuf,
    /// Locks and the newest order.
    revocation: PathBuf,
    /// Locks of this host alone that were in force.
    local: PathBuf,
    /// What is known of work handed to daemons, on a file system that does not outlive the boot.
    handed: PathBuf,
    /// What does not outlive the boot.
    run: PathBuf,
    /// A file a session, on a file system that does not outlive the boot.
    sessions: PathBuf,
    /// A file a login, for `curfew-pty`.
    logins: PathBuf,
    /// What is known of the ledger.
    ledger: ledger::Places,
}

impl Places {
    fn of(config: &Config) -> Self {
        Self {
            trust: config.state_dir.join("trust.json"),
            revocation: config.state_dir.join("revocation.json"),
            handed: handed::kept_at(&config.run_dir),
            local: config.state_dir.join("local-locks.json"),
            run: config.run_dir.clone(),
            sessions: config.run_dir.join("sessions"),
            logins: config.run_dir.join("logins"),
            ledger: ledger::Places::of(config),
        }
    }
}

/// Everything that the agent is.
#[derive(Debug)]
pub struct Host {
    trust: Trust,
    believed: Believed,
    upkeep: Upkeep,
    others: Others,
    /// The host's own limits, which hold for every session.
    ceiling: Limits,
    places: Places,
    kernel: Box<dyn Kernel>,
    tier: Tier,
    sessions: Sessions,
    /// sshd's monitor of each session, held.
    monitors: BTreeMap<SessionId, Held>,
    /// Tags that the kernel knows and we do not: a login that was under way when an agent died. They are ended.
    strays: BTreeSet<SessionId>,
    /// Sessions of which a record could not be written.
    unrecorded: BTreeSet<SessionId>,
    /// Processes killed in each session that is ending, each once: one that is slow to die is struck again.
    struck: BTreeMap<SessionId, BTreeSet<(u32, u64)>>,
    /// sshd's own of each session that is ending, as long as they carried the last line.
    spared: BTreeMap<SessionId, BTreeSet<(u32, u64)>>,
    kills: kills::Book,
    /// What is seen of files.
    seeing: files::Seeing,
    marks: crate::marks::Book,
    /// The kernel's event numbers of each session.
    sequences: BTreeMap<SessionId, watch::Sequence>,
    /// The processes of sessions, as they were seen last.
    running: program::Running,
    /// When every session is looked at next, whatever the events said; soon, when absent.
    next_look: Option<Uptime>,
    /// Whether events may wait that nobody will wake us for.
    behind: bool,
    channels: channel::Channels,
    recordings: recording::Recordings,
    /// The user that recorders run as.
    recorder_uid: Option<u32>,
    /// What clients do, looked at where limits ask for it.
    watching: limit::Watching,
    book: Book,
    refusals: Refusals,
    attempts: attempt::Attempts,
    bar: bar::Bar,
    revocation: Revocation,
    proofs: Proofs,
    witness: Witness,
    /// When the newest checkpoint was asked for last.
    followed: Option<Uptime>,
    spool: Spool,
    unwritten: Unwritten,
    link: Option<Link>,
    lists: krl::Lists,
    local: local::Local,
    work: handed::Work,
    others_seen: outside::Others,
    units: unit::Units,
    doors: breakglass::Doors,
    /// Last receipts, said again when the authority may have missed them.
    receipts: Vec<Receipt>,
    outbox: Vec<ToAuthority>,
}

impl Host {
    /// Opens everything: what ready promises. Sessions from before are adopted, and those that are due end at once.
    ///
    /// # Errors
    /// When the host is not enrolled, or something that it needs cannot be used.
    pub fn open(config: &Config) -> Result<Self, HostError> {
        let places = Places::of(config);
        let trust = read_trust(&places.trust)?;
        let (revocation, lacks_orders) = bar::open_revocation(&places.revocation, &trust)?;
        let kernel = kernel::open(config.attribution, &config.bpf_dir)?;
        let tier = match kernel.tier() {
            kernel::Tier::Full => Tier::Full,
            kernel::Tier::Degraded { why } => Tier::Degraded { reason: why.clone() },
        };
        let mut host = Self {
            believed: Believed::read(&trust)?,
            upkeep: Upkeep::open(&config.state_dir)?,
            others: config.others(),
            ceiling: config.ceiling.clone(),
            spool: Spool::open(&config.state_dir.join("spool"), config.records_quota)?,
            unwritten: Unwritten::default(),
            sessions: Sessions::new(config.warn_before.clone()),
            proofs: ledger::proofs(config, &trust)?,
            witness: ledger::resume(&places.ledger)?,
            followed: None,
            trust,
            places,
            kernel,
            tier,
            revocation,
            monitors: BTreeMap::new(),
            strays: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
            struck: BTreeMap::new(),
            spared: BTreeMap::new(),
            kills: kills::Book::resume(&config.run_dir),
            seeing: files::Seeing::default(),
            marks: crate::marks::Book::default(),
            sequences: BTreeMap::new(),
            running: program::Running::default(),
            next_look: None,
            behind: false,
            channels: channel::Channels::default(),
            recordings: recording::Recordings::open(config)?,
            recorder_uid: recorder_uid(),
            watching: limit::Watching::default(),
            book: Book::default(),
            refusals: Refusals::default(),
            attempts: attempt::Attempts::default(),
            bar: bar::Bar::open(lacks_orders, config.strict_silence, &config.run_dir),
            link: None,
            lists: krl::Lists::default(),
            local: local::Local::default(),
            work: handed::Work::resume(&config.run_dir, config.ends_handed),
            others_seen: outside::Others::of(config.other_logins),
            units: unit::Units::resume(&config.run_dir),
            doors: breakglass::Doors::of(config),
            receipts: Vec::new(),
            outbox: Vec::new(),
        };
        host.mend_user_authorities();
        host.go_on(config, now())?;
        if let Some(concern) = host.concern() {
            tracing::error!("{concern}");
        }
        host.adopt(now()).map(|()| host)
    }

    /// Before anything is recorded: what the ledger gave up opens nothing, and records go on in the spool, sealed where that is
    /// known.
    fn go_on(&mut self, config: &Config, now: Now) -> Result<(), HostError> {
        self.join_restored(now);
        self.spool.remember_in(&config.run_dir.join("spool.tail"))?;
        self.seal_records();
        self.tell_found(now);
        Ok(())
    }

    /// Finds the sessions of an agent before this one: those the kernel still has are adopted, the others are over.
    fn adopt(&mut self, now: Now) -> Result<(), HostError> {
        let known: BTreeSet<SessionId> =
            self.kernel.known()?.into_iter().map(|(tag, _)| session_of(tag)).collect();
        let mut actions = Vec::new();
        let mut ending = Vec::new();
        let mut adopted: u32 = 0;
        let kept = self.kept_sessions()?;
        let ours: BTreeSet<SessionId> = kept.iter().map(|session| session.id).collect();
        let handed = |id: &SessionId| self.work.handed.holds(*id);
        self.strays = known.difference(&ours).copied().filter(|id| !handed(id)).collect();
        for mut session in kept {
            let id = session.id;
            self.see_again(&mut session, now);
            let held = Held::find(session.monitor).ok();
            if let Err(error) = self.leave_word(&session) {
                tracing::error!(session = %id, %error, "without the agent it is unknown what this login may do");
            }
            if !known.contains(&id) {
                self.take_up(&session, held.as_ref());
                if self.tier == Tier::Full && held.is_some() {
                    self.tell_meddled(
                        format!("session {id} was taken out of the kernel's memory: what it had started before is not followed"),
                        now,
                    );
                }
            }
            self.monitors.extend(held.map(|held| (id, held)));
            adopted = adopted.saturating_add(1);
            if let State::Ending { reason, since, .. } = &session.state {
                ending.push((id, reason.clone(), *since));
            }
            actions.extend(self.sessions.step(Input::Adopted(Box::new(session)), now.up));
        }
        let started = AgentStarted {
            agent_version: env!("CARGO_PKG_VERSION").into(),
            tier: self.tier.clone(),
            adopted,
        };
        self.record(None, Event::AgentStarted(started), now);
        if !self.strays.is_empty() {
            tracing::error!(
                strays = self.strays.len(),
                "ending processes of logins that were never let in"
            );
        }
        self.resume_kills(ending, now);
        self.perform(actions, now);
        self.relock(now);
        self.drain(now);
        self.look_for_ended(now);
        self.look_for_words(now);
        self.settle(now.up);
        Ok(())
    }

    /// Makes a session from before known to the kernel again: the degraded tier keeps nothing there. With the monitor, if
    /// it is alive, or by the marks that were kept.
    fn take_up(&mut self, session: &Session, held: Option<&Held>) {
        let (id, tag) = (session.id, act::tag(session.id));
        if let Some(held) = held {
            match self.kernel.begin(tag, std::os::fd::AsFd::as_fd(held)) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(session = %id, %error, "a session from before does not go on with its monitor");
                }
            }
        }
        // Without either, the first look at it says that it is unknown.
        let Some(marks) = &session.marks else { return };
        if let Err(error) = self.kernel.resume(tag, session.monitor, marks) {
            tracing::error!(session = %id, %error, "a session from before cannot be found by its marks: it is unknown \
                whether processes of it are left");
        }
    }

    /// Every lock in force is matched again, so that no session slips through a restart, and every order is said to be
    /// done again when it is: the agent before may have died between the two. The authority knows repetitions.
    fn relock(&mut self, now: Now) {
        let held: Vec<_> = self
            .revocation
            .locks
            .iter()
            .filter(|held| held.lock.holds_at(now.at))
            .filter_map(|held| Some((held.order?, held.lock.clone())))
            .collect();
        let newest = OrderNumber::try_new(self.revocation.last_order).ok();
        if let Some(newest) = newest.filter(|newest| held.iter().all(|(order, _)| order != newest))
        {
            self.receipt(authority::nothing_ended(newest));
        }
        for (order, lock) in held {
            let actions = self.sessions.step(Input::Locked { order, lock }, now.up);
            self.perform(actions, now);
        }
    }

    fn kept_sessions(&self) -> Result<Vec<Session>, HostError> {
        let failed = |source| StoreError::Io { path: self.places.sessions.clone(), source };
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&self.places.sessions).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                kept.extend(readable(&path));
            }
        }
        Ok(kept)
    }

    /// Does what is ordered, at once and in order.
    fn perform(&mut self, actions: Vec<Action>, now: Now) {
        for action in actions {
            match action {
                Action::Keep(id) => self.keep(id),
                Action::Tell { session, message } => self.tell(session, message, now),
                Action::Strike(id) => self.strike(id, now),
                Action::Record { session, event } => self.record_of(session, event, now),
                Action::Receipt(receipt) => self.receipt(receipt),
                Action::Forget(id) => self.forget(id),
            }
        }
    }

    /// Writes a record of a session; with its end begins and ends its kill, and ends what it handed on.
    fn record_of(&mut self, id: SessionId, event: Event, now: Now) {
        match &event {
            Event::Ending { reason } => {
                let reason = reason.clone();
                self.kill_begins(id, &reason, now);
                self.record(Some(id), event, now);
                self.end_handed(id, &reason, now);
            }
            Event::SessionEnded(ended) => {
                self.session_over(id, ended, now.up);
                self.record(Some(id), event, now);
            }
            _ => self.record(Some(id), event, now),
        }
    }

    fn keep(&self, id: SessionId) {
        let Some(session) = self.sessions.find(id) else { return };
        if let Err(error) = store::write(&self.session_path(id), session) {
            tracing::error!(session = %id, %error, "a restart of the agent will not know this of the session");
        }
    }

    fn session_path(&self, id: SessionId) -> PathBuf {
        self.places.sessions.join(format!("{id}.json"))
    }

    fn tell(&mut self, session: SessionId, message: String, now: Now) {
        match act::tell(self.kernel.as_ref(), session, &message, &self.channels.clients(session)) {
            Ok(terminals) => self.record(Some(session), Event::Warned { message, terminals }, now),
            Err(error) => tracing::warn!(%session, %error, "nobody could be told: {message}"),
        }
    }

    /// One pass, and what came of it. Gentle while the last line may still be on its way to the client.
    fn strike(&mut self, id: SessionId, now: Now) {
        let since = self.sessions.find(id).and_then(|session| match &session.state {
            State::Ending { since, .. } => Some(*since),
            State::Live { .. } => None,
        });
        let gently = since.is_some_and(|since| now.up.since(since) < LAST_LINE);
        let pass = act::strike(self.kernel.as_mut(), id, self.monitors.get(&id), gently);
        for fault in &pass.faults {
            tracing::error!(session = %id, %fault, "a step of ending the session failed; it will be taken again");
        }
        let tally = self.tally(id, &pass);
        let left = u32::try_from(pass.survivors.len()).unwrap_or(u32::MAX);
        let is_late = since.is_some_and(|since| now.up.since(since) > NAME_SURVIVORS);
        let steps = Box::new(act::steps(&pass, tally, is_late));
        let struck = Input::Struck { session: id, killed: tally.sum(), left, steps };
        let actions = self.sessions.step(struck, now.up);
        self.perform(actions, now);
        if is_late {
            self.kill_left(id, Part::Session, &pass);
            for process in &pass.survivors {
                tracing::error!(session = %id, pid = process.pid(), command = process.comm(), "still alive");
            }
        }
    }

    fn receipt(&mut self, receipt: Receipt) {
        self.receipts.retain(|kept| kept.order != receipt.order);
        self.receipts.push(receipt.clone());
        if self.receipts.len() > KEPT_RECEIPTS {
            self.receipts.remove(0);
        }
        self.outbox.push(ToAuthority::Receipt(receipt));
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(monitor) = self.monitors.get(&id).map(|held| held.name) {
            self.take_word_back(monitor);
        }
        self.monitors.remove(&id);
        self.sequences.remove(&id);
        self.running.forget(id);
        self.struck.remove(&id);
        self.spared.remove(&id);
        self.marks.forget(id);
        self.forget_client(id);
        if let Err(error) = self.kernel.forget(act::tag(id)) {
            if matches!(error, KernelError::Alive { .. }) {
                // A second look saw somebody: ended all the same.
                self.strays.insert(id);
            }
            tracing::warn!(session = %id, %error, "the kernel's memory of a session that is over stays");
        }
        if let Err(error) = store::remove(&self.session_path(id)) {
            tracing::error!(session = %id, %error, "a session that is over is still kept");
        }
        self.work.asked.remove(&id);
    }

    /// Time passed: deadlines, warnings, sessions that are ending, counts that are due.
    pub fn tick(&mut self, now: Now) {
        self.look_at_clients(now);
        let actions = self.sessions.step(Input::Tick, now.up);
        self.perform(actions, now);
        self.tell_attempts(now);
        for no in self.refusals.due(now.up) {
            self.record(None, no.event(false), now);
        }
        self.drain(now);
        self.look_for_ended(now);
        self.look_at_units(now);
        self.look_at_handed(now);
        self.strike_strays();
        self.end_unasked(now);
        self.say_late_kills(now);
        self.write_what_waits(now);
    }

    /// When [`Host::tick`] is due next.
    #[must_use]
    pub fn next_tick(&self, now: Uptime) -> Option<Uptime> {
        let strays = (!self.strays.is_empty()).then(|| now.after(STRAY_PAUSE));
        let look = (!self.sessions.is_empty()).then(|| self.next_look.unwrap_or(now));
        let client = self.next_client_look(now);
        let (counts, log) = (self.refusals.next_due(), self.attempts.next_due());
        let (units, unasked) = (self.units.next_look(now), self.doors.next_due(now));
        let own = [self.sessions.next_tick(now), self.next_handed(), look, client, unasked];
        let disk = self.unwritten.next_due();
        own.into_iter().chain([counts, log, strays, units, disk]).flatten().min()
    }

    fn strike_strays(&mut self) {
        let strays = std::mem::take(&mut self.strays);
        for id in strays {
            let pass = act::strike(self.kernel.as_mut(), id, None, false);
            if pass.is_over() && self.kernel.forget(act::tag(id)).is_ok() {
                self.sequences.remove(&id);
            } else {
                self.strays.insert(id);
            }
        }
    }

    /// After each turn of the loop: frames go out, and records follow as the authority takes them.
    pub fn settle(&mut self, up: Uptime) {
        if !self.unrecorded.is_empty() {
            self.end_unrecorded();
        }
        self.send(up);
        self.tell_found(now());
        // After the receipts: signing takes a moment.
        if self.say_kills(now()) {
            self.send(up);
        }
    }

    /// Whether records wait to be brought to the disk.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.spool.is_dirty()
    }

    /// Brings records to the disk. They survive the agent's own death without it; this is for the host's.
    pub fn sync(&mut self) {
        if let Err(error) = self.spool.sync() {
            tracing::error!(%error, "records could not be brought to the disk");
        }
    }

    /// The records that are not on the disk yet, for somebody else to bring there.
    pub fn to_sync(&mut self) -> Option<std::fs::File> {
        match self.spool.to_sync() {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::error!(%error, "records could not be brought to the disk");
                None
            }
        }
    }

    /// What came of it.
    pub fn was_synced(&mut self, synced: std::io::Result<()>) {
        if let Err(error) = self.spool.was_synced(synced) {
            tracing::error!(%error, "records could not be brought to the disk");
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            host: &self.trust.host,
            authorities: &self.believed.authorities,
            revocation: &self.revocation,
            proofs: &self.proofs,
            witness: &self.witness,
            others: self.others,
        }
    }

    /// What the status socket says.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        Status {
            version: wire::VERSION,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            host: self.trust.host.clone(),
            tier: self.tier.clone(),
            connected: self.link.as_ref().is_some_and(Link::is_welcome),
            last_order: self.revocation.last_order,
            krl: self.lists.standing(),
            locks: self.revocation.locks.len(),
            local_locks: self.revocation.local.clone(),
            local_trouble: self.local_trouble(),
            recordings: self.recordings.waiting(),
            recordings_full: self.recordings.full().map(str::to_owned),
            handed: self.handed_work(),
            spooled: self.spool.waiting(),
            spool: Some(self.spool.extent()),
            certificates: self.upkeep.renewal.standing(),
            at: now.at,
            up: now.up,
            sessions: self.sessions.iter().cloned().collect(),
            proof: Some(self.proofs.mode()),
            tree: self.witness.newest(),
            unshown: self.witness.waiting(),
            dispute: self.witness.dispute().cloned(),
            concern: self
                .barred(now)
                .or_else(|| self.record_trouble().map(|trouble| format!("this host: {trouble}")))
                .or_else(|| self.concern())
                .or_else(|| self.doors.concern()),
            denials: self.attempts.denials(),
            files: self.files_standing(),
        }
    }

    /// One line for systemd.
    #[must_use]
    pub fn standing(&self) -> String {
        let connected = self.link.as_ref().is_some_and(Link::is_welcome);
        let link = if connected { "connected" } else { "the authority is out of reach" };
        let tier = if self.tier == Tier::Full { "" } else { ", degraded" };
        let (sessions, waiting) = (self.sessions.len(), self.spool.waiting());
        let concern = self.concern().map(|concern| format!("; {concern}")).unwrap_or_default();
        format!("{link}{tier}; {sessions} sessions, {waiting} records waiting{concern}")
    }

    /// The kernel room, to wait for its events.
    #[must_use]
    pub fn readiness(&self) -> Option<std::os::fd::RawFd> {
        self.kernel.readiness()
    }
}

/// A session as it was kept. One that cannot be read must not keep all others from being adopted: the kernel's tag that
/// is then nobody's is ended with all that carries it.
fn readable(path: &std::path::Path) -> Option<Session> {
    match store::read(path) {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::error!(%error, "a session from before is not adopted; its processes are ended where the kernel \
                remembers them");
            None
        }
    }
}

/// The user that recorders run as; none on a host where they were not set up.
#[must_use]
pub fn recorder_uid() -> Option<u32> {
    let user = nix::unistd::User::from_name("curfew-rec").ok().flatten();
    user.map(|user| user.uid.as_raw())
}

fn read_trust(path: &std::path::Path) -> Result<Trust, HostError> {
    match store::read(path) {
        Err(error) if error.is_absent() => Err(HostError::NotEnrolled(path.into())),
        other => Ok(other?),
    }
}

fn session_of(tag: kernel::Tag) -> SessionId {
    SessionId::new(tag.nonzero())
}

/// How long sshd's own processes may live on in a session that ends, to carry the last line to the client.
const LAST_LINE: std::time::Duration = std::time::Duration::from_millis(25);
/// After this, those who will not die are named in the log on every pass.
const NAME_SURVIVORS: std::time::Duration = std::time::Duration::from_secs(5);
const STRAY_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
/// Receipts said again after a reconnection.
const KEPT_RECEIPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_cannot_be_read_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000000000000002a.json");
        assert_eq!(readable(&path), None);
        std::fs::write(&path, b"{\"version\": 1").unwrap();
        assert_eq!(readable(&path), None);
    }
}
