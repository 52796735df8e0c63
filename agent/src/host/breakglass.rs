//! Break-glass at the gate, and what is done about logins that came while nobody was at the gate.
//!
//! Allowed without the authority and without a proof of the ledger, refused by a lock, recorded as much as this host can, ended
//! at the certificate's end, and never quiet. Of a login that came while the agent was dead the hook in PAM left word: it is told
//! as soon as somebody is here to tell it, and its session, which has no tag, ends at its end by its control group.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;
use wire::breakglass::pass::{Pass, PassUse};
use wire::breakglass::{self, AlarmEnded, Noticed, Opening, Use, UseName};
use wire::certificate::{Certificate, Facts};
use wire::gate::{Answer, Login, Word, used_certificate};
use wire::identifier::{Fingerprint, HostName, Login as Account, Serial, SessionId};
use wire::limits::{Level, Limits, Need, Recording};
use wire::lock::Subject;
use wire::octets::Octets;
use wire::record::{BreakGlassOver, EndReason, Event, Incident, Refused, Refuser};
use wire::time::{Timestamp, Uptime};
use wire::trust::AuthorityKey;

use super::Host;
use crate::alarm::Siren;
use crate::clock::Now;
use crate::config::Config;
use crate::gate::{No, Trouble};
use crate::install::sshd::BREAKGLASS_KEYS_PATH;
use crate::kernel::cgroup;
use crate::kernel::kill::{end_held, end_unit};
use crate::peer::{Held, Peer};
use crate::session::{Monitor, Session};
use crate::sshd_log::Failed;
use crate::store;

/// What is known of break-glass on this host.
#[derive(Debug)]
pub(super) struct Doors {
    login: Account,
    keys_path: PathBuf,
    words_dir: PathBuf,
    siren: Siren,
    /// Sessions that nobody let in, by the file of their word.
    open: BTreeMap<PathBuf, Unasked>,
    /// What the log says and the gate may still explain.
    heard: Vec<(Uptime, Failed)>,
    /// Serials that were told of since the agent started.
    told: BTreeSet<Serial>,
    alarms_ended: (Sender<AlarmEnded>, Receiver<AlarmEnded>),
}

/// A session that began while nobody was at the gate, as it is kept in its word's file until it is over.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    word: Word,
    name: UseName,
    subject: Subject,
    remote: String,
    /// The session's end on the clock that nobody moves.
    deadline: Uptime,
    scope: Option<String>,
}

#[derive(Debug)]
struct Unasked {
    kept: Kept,
    monitor: Option<Held>,
    ending: Option<EndReason>,
}

impl Doors {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            login: config.breakglass_login.clone(),
            keys_path: breakglass::KEYS_PATH.into(),
            words_dir: config.state_dir.join("unasked"),
            siren: Siren::of(config),
            open: BTreeMap::new(),
            heard: Vec::new(),
            told: BTreeSet::new(),
            alarms_ended: channel(),
        }
    }

    /// The group keys that root placed; none where there is no break-glass. Read when they are needed, which is rarely.
    fn keys(&self) -> Result<Vec<PublicKey>, String> {
        let path = self.keys_path.display();
        let text = match std::fs::read_to_string(&self.keys_path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| format!("{path}: {error}"))?,
        };
        let keys = breakglass::keys(&text).map_err(|error| format!("{path}: {error}"))?;
        Ok(keys.iter().map(|key| key.key().clone()).collect())
    }

    /// The group keys by which somebody gets in here: those that root placed, and that were installed for sshd too. Keys that cannot
    /// be read let nobody in.
    pub(super) fn believed(&self, host: &HostName) -> Vec<Fingerprint> {
        let text = std::fs::read_to_string(&self.keys_path).unwrap_or_default();
        let installed = std::fs::read_to_string(BREAKGLASS_KEYS_PATH).unwrap_or_default();
        believed((&text, &installed), &self.login, host)
    }

    /// When there is something to do.
    pub(super) fn next_due(&self, now: Uptime) -> Option<Uptime> {
        let one = |unasked: &Unasked| match unasked.ending {
            Some(_) => now.after(AGAIN),
            None => unasked.kept.deadline,
        };
        self.open.values().map(one).min()
    }

    /// A session that nobody let in and that is not over.
    pub(super) fn concern(&self) -> Option<String> {
        let unasked = self.open.values().next()?;
        Some(format!(
            "a break-glass session began while nobody was at the gate and goes on: {}",
            unasked.kept.name
        ))
    }
}

impl Host {
    /// Whether a login is to the account that break-glass opens. With keys that cannot be read it is, and is refused.
    pub(super) fn is_breakglass(&self, login: &Octets) -> bool {
        self.doors.login.as_str().as_bytes() == login.as_bytes()
            && !self.doors.keys().is_ok_and(|keys| keys.is_empty())
    }

    /// Answers PAM's session phase for the account. The authority's silence does not matter here; a lock does.
    pub(super) fn open_breakglass(
        &mut self,
        peer: Peer,
        (login, auth_info): (&Login, &Octets),
        now: Now,
    ) -> Answer {
        let remote = super::login::printable(&login.remote);
        let opening = self.judge_breakglass(auth_info, &remote, Some(now.at));
        let (opening, authority) = match opening {
            Ok(opening) => opening,
            Err(reason) => {
                tracing::error!(remote, reason, "refused a login to the break-glass account");
                let no = self.not_broken(login, auth_info, (remote, reason));
                return self.refuse(no, peer.process.name, now);
            }
        };
        let facts = Facts {
            subject: opening.subject.clone(),
            valid_before: opening.name.until,
            grant_until: opening.name.until,
            options: opening.options.clone(),
            limits: strongest(),
            pass: None,
        };
        let monitor = peer.process.name;
        let answer = self.begin(peer.process, facts, remote.clone(), now);
        if answer == Answer::Permit {
            let session = self.sessions.iter().find(|session| session.monitor == monitor);
            let session = session.map(|session| session.id);
            self.tell_use(opening, authority, (remote, Noticed::Gate, session, now.at), now);
        }
        answer
    }

    /// What the certificate proves, unless it is locked. Without a moment its window is left aside.
    fn judge_breakglass(
        &self,
        auth_info: &Octets,
        remote: &str,
        at: Option<Timestamp>,
    ) -> Result<(Opening, Fingerprint), String> {
        let bytes = used_certificate(auth_info.as_bytes())
            .ok_or("the break-glass account opens by a certificate alone")?;
        let certificate = Certificate::from_bytes(&bytes).map_err(|error| error.to_string())?;
        let keys = self.doors.keys()?;
        let (login, host) = (&self.doors.login, &self.trust.host);
        let opening = match at {
            Some(at) => breakglass::verify(&certificate, &keys, login, host, at),
            None => breakglass::verify_afterwards(&certificate, &keys, login, host),
        };
        let opening = opening.map_err(|error| error.to_string())?;
        if let Some(at) = at
            && let Some(lock) = self.revocation.covering(&opening.subject, remote, at)
        {
            return Err(format!("{} is locked: {}", lock.target, lock.reason));
        }
        Ok((opening, wire::certificate::fingerprint(certificate.authority())))
    }

    fn not_broken(&self, login: &Login, auth_info: &Octets, why: (String, String)) -> No {
        let (remote, reason) = why;
        let bytes = used_certificate(auth_info.as_bytes()).unwrap_or_default();
        let certificate = Certificate::from_bytes(&bytes).ok();
        let refused = Refused {
            login: login.user.clone(),
            remote,
            key_id: certificate.as_ref().map_or_else(Octets::default, |one| one.key_id().clone()),
            serial: certificate.as_ref().map_or(0, Certificate::serial),
            key: certificate.as_ref().map_or_else(
                || Fingerprint::of(&bytes),
                |one| wire::certificate::fingerprint(one.subject()),
            ),
            reason,
            count: 1,
            ours: false,
            by: Refuser::Gate,
        };
        No { refused, trouble: Trouble::None }
    }

    /// Raises every alarm, and makes the record.
    fn tell_use(
        &mut self,
        opening: Opening,
        authority: Fingerprint,
        (remote, noticed, session, at): (String, Noticed, Option<SessionId>, Timestamp),
        now: Now,
    ) {
        let used = Use {
            key: Some(opening.subject.key),
            name: opening.name,
            login: self.doors.login.clone(),
            remote,
            authority,
            reason: opening.reason,
            noticed,
            at,
            session,
            alarms: Vec::new(),
        };
        self.raise(used, now);
    }

    fn raise(&mut self, mut used: Use, now: Now) {
        tracing::error!(incident = %used.name.incident, drill = used.name.drill, login = %used.login,
            remote = used.remote, cert.serial = %used.name.serial, "INCIDENT: {used}");
        self.doors.told.insert(used.name.serial);
        let (serial, ended) = (used.name.serial, &self.doors.alarms_ended.0);
        used.alarms = self.doors.siren.raise(serial, &used, ended);
        self.record(used.session, Event::Incident(Box::new(Incident::BreakGlass(used))), now);
    }

    /// Raises every alarm for a session that began under break-glass of the authority, and makes the record.
    pub(super) fn tell_pass(
        &mut self,
        (pass, subject): (Pass, Subject),
        remote: String,
        monitor: Monitor,
        now: Now,
    ) {
        let Some(session) = self.sessions.iter().find(|one| one.monitor == monitor) else { return };
        let (session, at, serial) = (session.id, now.at, subject.serial);
        let mut used = PassUse { pass, subject, remote, at, session, alarms: Vec::new() };
        tracing::error!(request = %used.pass.request, identity = %used.subject.identity, login = %used.subject.login,
            remote = used.remote, cert.serial = %serial, "INCIDENT: {used}");
        used.alarms = self.doors.siren.raise(serial, &used, &self.doors.alarms_ended.0);
        self.record(Some(session), Event::Incident(Box::new(Incident::Pass(Box::new(used)))), now);
    }

    /// Looks for words that the hook in PAM left, and goes on with those that are known.
    pub fn look_for_words(&mut self, now: Now) {
        while let Ok(ended) = self.doors.alarms_ended.1.try_recv() {
            self.record(None, Event::AlarmEnded(ended), now);
        }
        self.tell_heard(now);
        let entries = match std::fs::read_dir(&self.doors.words_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                return tracing::error!(%error, "words of break-glass logins cannot be looked for");
            }
        };
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let is_word =
                name.is_some_and(|name| name.ends_with(".json") && !name.starts_with('.'));
            if is_word && !self.doors.open.contains_key(&path) {
                self.take_word(&path, now);
            }
        }
        self.end_unasked(now);
    }

    fn take_word(&mut self, path: &Path, now: Now) {
        if let Ok(kept) = store::read::<Kept>(path) {
            return self.go_on_with(path, kept);
        }
        let word: Word = match store::read(path) {
            Ok(word) => word,
            Err(error) => {
                tracing::error!(%error, "a word of a break-glass login cannot be read; it is kept as it is");
                let unreadable = path.with_extension("unreadable");
                return complain(std::fs::rename(path, unreadable));
            }
        };
        let remote = super::login::printable(&word.login.remote);
        let written = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let at = written.map_or(now.at, crate::clock::moment);
        match self.judge_breakglass(&word.auth_info, &remote, None) {
            Err(reason) => {
                tracing::error!(
                    reason,
                    "INCIDENT: a login to the break-glass account while nobody was at the gate, and its certificate is not good"
                );
                let no = self.not_broken(&word.login, &word.auth_info, (remote, reason));
                self.record(None, Event::Refused(no.refused), now);
                complain(store::remove(path).map_err(std::io::Error::other));
            }
            Ok((opening, authority)) => {
                let kept = Kept {
                    name: opening.name.clone(),
                    subject: opening.subject.clone(),
                    remote: remote.clone(),
                    deadline: now.up.after(opening.name.until.since(now.at)),
                    scope: scope_of(&word),
                    word,
                };
                self.tell_use(opening, authority, (remote, Noticed::Word, None, at), now);
                if let Err(error) = store::write(path, &kept) {
                    tracing::error!(%error, "a break-glass login will be told again at the next start");
                }
                self.go_on_with(path, kept);
            }
        }
    }

    fn go_on_with(&mut self, path: &Path, kept: Kept) {
        let monitor = Monitor { pid: kept.word.pid, start_ticks: kept.word.start_ticks };
        let is_of_this_boot = boot().is_some_and(|boot| boot == kept.word.boot);
        let monitor = if is_of_this_boot { Held::find(monitor).ok() } else { None };
        self.doors.open.insert(path.to_owned(), Unasked { kept, monitor, ending: None });
    }

    /// Ends what is due or locked, until nobody is left.
    pub(super) fn end_unasked(&mut self, now: Now) {
        let mut over = Vec::new();
        for (path, unasked) in &mut self.doors.open {
            let Kept { subject, remote, deadline, scope, .. } = &unasked.kept;
            if unasked.ending.is_none() {
                let lock = self.revocation.covering(subject, remote, now.at);
                let lock = lock.map(|lock| EndReason::LockedHere {
                    source: lock.target.to_string(),
                    reason: lock.reason.clone(),
                });
                let due = now.up >= *deadline;
                unasked.ending = lock.or_else(|| due.then_some(EndReason::GrantEnded));
            }
            let monitor = unasked.monitor.as_ref().filter(|held| Held::find(held.name).is_ok());
            let alive = match (&unasked.ending, scope) {
                (None, Some(scope)) => monitor.is_some() || is_populated(scope),
                (None, None) => monitor.is_some(),
                (Some(_), scope) => {
                    if let Some(held) = monitor {
                        complain(end_held(held.as_fd()).map_err(std::io::Error::other));
                    }
                    let left = scope.as_deref().map(|scope| end_unit(self.kernel.as_ref(), scope));
                    let left = left.transpose().unwrap_or_else(|error| {
                        tracing::error!(%error, "a break-glass session could not be ended; it is tried again");
                        Some(1)
                    });
                    monitor.is_some() || left.is_some_and(|left| left > 0)
                }
            };
            if !alive {
                let reason = unasked.ending.clone().unwrap_or(EndReason::Left);
                over.push((path.clone(), unasked.kept.name.clone(), reason));
            }
        }
        for (path, name, reason) in over {
            tracing::warn!(%name, ?reason, "a break-glass session that nobody let in is over");
            self.doors.open.remove(&path);
            self.record(None, Event::BreakGlassOver(BreakGlassOver { name, reason }), now);
            complain(store::remove(&path).map_err(std::io::Error::other));
        }
    }

    /// Takes what sshd's log says of a login by certificate.
    pub(super) fn heard_of_breakglass(&mut self, accepted: &Failed, now: Now) {
        let keys = self.doors.keys().unwrap_or_default();
        let signed =
            |key: &PublicKey| wire::certificate::fingerprint(key.key_data()) == accepted.authority;
        if keys.iter().any(signed) && self.doors.heard.len() < MAX_HEARD {
            self.doors.heard.push((now.up, accepted.clone()));
        }
    }

    /// Tells of logins of which the log alone knows: the hook in PAM was not there, or its word is gone.
    fn tell_heard(&mut self, now: Now) {
        let is_due = |(since, _): &mut (Uptime, Failed)| now.up.since(*since) >= EXPLAINED;
        let due: Vec<(Uptime, Failed)> = self.doors.heard.extract_if(.., is_due).collect();
        for (_, accepted) in due {
            let Ok(name) = accepted.key_id.parse::<UseName>() else { continue };
            let is_session = |session: &Session| session.subject.serial == name.serial;
            let is_known = self.sessions.iter().any(is_session)
                || self.doors.told.contains(&name.serial)
                || self.doors.open.values().any(|one| one.kept.name.serial == name.serial);
            let Some(login) = accepted.login.parse().ok().filter(|_| !is_known) else { continue };
            let used = Use {
                name,
                login,
                remote: accepted.remote,
                key: Some(accepted.key),
                authority: accepted.authority,
                reason: String::new(),
                noticed: Noticed::Log,
                at: now.at,
                session: None,
                alarms: Vec::new(),
            };
            self.raise(used, now);
        }
    }
}

/// Keys of which the line stands in what sshd reads.
fn believed(
    (placed, installed): (&str, &str),
    login: &Account,
    host: &HostName,
) -> Vec<Fingerprint> {
    let is_installed = |key: &AuthorityKey| {
        let line = breakglass::authorized_line(key, login, host);
        line.is_ok_and(|line| installed.lines().any(|one| one.trim() == line))
    };
    let keys = breakglass::keys(placed).unwrap_or_default();
    keys.iter().filter(|key| is_installed(key)).map(AuthorityKey::fingerprint).collect()
}

/// As much as can be recorded. Best effort: who is let in when all is down is not kept out because a recorder is.
fn strongest() -> Limits {
    let recording = Recording { level: Level::Full, need: Need::BestEffort };
    Limits { recording, ..Limits::default() }
}

/// logind's scope of a monitor that is alive.
fn scope_of(word: &Word) -> Option<String> {
    Held::find(Monitor { pid: word.pid, start_ticks: word.start_ticks }).ok()?;
    let path = cgroup::path_of(u32::try_from(word.pid).ok()?).ok()??;
    (path.contains("/session-") && path.ends_with(".scope")).then_some(path)
}

fn is_populated(scope: &str) -> bool {
    let folder = cgroup::Hierarchy::find().ok().flatten().and_then(|all| all.folder(scope));
    folder.is_some_and(|folder| cgroup::processes(&folder).is_ok_and(|pids| !pids.is_empty()))
}

fn boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn complain(done: std::io::Result<()>) {
    if let Err(error) = done {
        tracing::error!(%error, "a step about a break-glass login failed; it is taken again");
    }
}

/// How soon who does not die is struck again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long the log waits for the gate and the hook to explain a login.
const EXPLAINED: Duration = Duration::from_secs(10);
/// Logins of the log that wait.
const MAX_HEARD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_believes_what_is_placed_and_installed_and_nothing_else() {
        let (login, host): (Account, HostName) =
            ("breakglass".parse().unwrap(), "db1".parse().unwrap());
        let key = |seed: u8| {
            let pair = ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
            let public = ssh_key::PrivateKey::from(pair).public_key().clone();
            AuthorityKey::of(&public).unwrap()
        };
        let (old, new) = (key(1), key(2));
        let line = |key: &AuthorityKey, host: &HostName| {
            breakglass::authorized_line(key, &login, host).unwrap()
        };
        let installed = format!("# by curfew-agent\n{}\n", line(&old, &host));
        let says = |placed: &str, installed: &str| believed((placed, installed), &login, &host);
        assert_eq!(says(&format!("{old}\n{new}\n"), &installed), [old.fingerprint()]);
        let both = format!("{installed}{}\n", line(&new, &host));
        assert_eq!(says(&format!("{new}\n"), &both), [new.fingerprint()]);
        // Lines of another host, a file that cannot be read, and nothing at all.
        let elsewhere = line(&old, &"db2".parse().unwrap());
        for (placed, installed) in [
            (format!("{old}\n"), elsewhere),
            (format!("{old}\nnonsense\n"), both.clone()),
            (String::new(), both),
            (format!("{old}\n"), String::new()),
        ] {
            assert!(says(&placed, &installed).is_empty(), "{placed} {installed}");
        }
    }
}
