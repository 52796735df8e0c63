//! What sshd's log says of logins that never reached the gate: pure.
//!
//! sshd refuses some certificates before it asks us (`RevokedKeys`) and some after (`source-address`, a security key's
//! flags, a key that was not proved). Its log is the only place that says so. Nothing is decided from it: what is read
//! here becomes a record that says where it was seen, and nothing else.
//!
//! Who can change this: root on the host, and whoever chooses a login name. The journal says which user wrote a line; a name is a
//! stranger's text, so lines are read from the right, strictly, and what does not fit whole is passed over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use wire::identifier::Fingerprint;
use wire::octets::Octets;
use wire::record::{Refused, Refuser};
use wire::time::Uptime;

/// A line of the journal, of those fields that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the journal.
    pub cursor: String,
    /// Who wrote it: sshd's monitor.
    pub pid: i32,
    /// What it says.
    pub line: Line,
}

/// A line of sshd's that says something of a login that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The key, or its certificate, stands on a list of revoked keys.
    Revoked {
        /// The key.
        key: Fingerprint,
    },
    /// A certificate opened nothing.
    Failed(Box<Failed>),
    /// A certificate opened a login.
    Accepted(Box<Failed>),
    /// The certificate is bound to networks, and this is none of them.
    Elsewhere {
        /// The unix account.
        login: String,
        /// The client's address.
        remote: String,
    },
    /// The security key did not say what was demanded of it.
    Unverified {
        /// The key.
        key: Fingerprint,
        /// What was missing, in sshd's words.
        why: String,
    },
    /// The connection is over, and nobody was let in.
    Closed {
        /// The unix account.
        login: String,
        /// The client's address.
        remote: String,
    },
}

/// "Failed publickey" or "Accepted publickey", with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The unix account.
    pub login: String,
    /// The client's address.
    pub remote: String,
    /// The key.
    pub key: Fingerprint,
    /// The certificate's key id, without blanks.
    pub key_id: String,
    /// The certificate's serial.
    pub serial: u64,
    /// Who signed it.
    pub authority: Fingerprint,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "MESSAGE")]
    message: serde_json::Value,
    #[serde(rename = "_PID")]
    pid: String,
    #[serde(rename = "_UID")]
    uid: String,
}

impl Entry {
    /// Reads a line of `journalctl --output=json`. Nothing: it says nothing of a failed login, or root did not write it.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        if json.len() > MAX_ENTRY {
            return None;
        }
        let fields: Fields = serde_json::from_slice(json).ok()?;
        let pid = fields.pid.parse().ok().filter(|pid| *pid > 0)?;
        if fields.uid != "0" || fields.cursor.len() > MAX_CURSOR {
            return None;
        }
        // The journal gives what is not text as numbers; sshd escapes such bytes, so it is none of its lines.
        let line = Line::parse(fields.message.as_str()?)?;
        Some(Self { cursor: fields.cursor, pid, line })
    }
}

impl Line {
    /// Reads what sshd wrote; nothing when it is of no interest or does not fit whole.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        if message.len() > MAX_MESSAGE {
            return None;
        }
        let text = message.strip_prefix("error: ").unwrap_or(message);
        let text = text.strip_suffix(" [preauth]").unwrap_or(text).trim_end();
        if let Some(rest) = text.strip_prefix("Authentication key ") {
            return revoked(rest);
        }
        if let Some(rest) = text.strip_prefix("Failed publickey for ") {
            return failed(rest).map(|said| Self::Failed(Box::new(said)));
        }
        if let Some(rest) = text.strip_prefix("Accepted publickey for ") {
            return failed(rest).map(|said| Self::Accepted(Box::new(said)));
        }
        if let Some(rest) = text.strip_prefix("cert: Authentication tried for ") {
            return elsewhere(rest);
        }
        if let Some(rest) = text.strip_prefix("public key ") {
            return unverified(rest);
        }
        ENDINGS.into_iter().find_map(|ending| closed(text.strip_prefix(ending)?))
    }
}

/// `ED25519-CERT SHA256:… revoked by file /path`
fn revoked(text: &str) -> Option<Line> {
    let mut words = text.splitn(6, ' ');
    let (_kind, key) = (words.next()?, words.next()?);
    let is_it = words.next()? == "revoked" && words.next()? == "by" && words.next()? == "file";
    (is_it && words.next()?.starts_with('/')).then_some(())?;
    Some(Line::Revoked { key: key.parse().ok()? })
}

/// `[invalid user ]LOGIN from ADDRESS port N ssh2: KIND SHA256:… ID KEY-ID (serial N) CA KIND SHA256:…`
fn failed(text: &str) -> Option<Failed> {
    let mut words = text.rsplitn(15, ' ');
    let authority = words.next()?.parse().ok()?;
    let _kind = words.next()?;
    (words.next()? == "CA").then_some(())?;
    let serial = words.next()?.strip_suffix(')')?.parse().ok()?;
    (words.next()? == "(serial").then_some(())?;
    let key_id = words.next().filter(|id| !id.is_empty())?.to_owned();
    (words.next()? == "ID").then_some(())?;
    let key = words.next()?.parse().ok()?;
    words.next()?.ends_with("-CERT").then_some(())?;
    (words.next()? == "ssh2:").then_some(())?;
    port(words.next()?)?;
    (words.next()? == "port").then_some(())?;
    let remote = address(words.next()?)?;
    (words.next()? == "from").then_some(())?;
    let login = name(words.next()?);
    Some(Failed { login, remote, key, key_id, serial, authority })
}

/// `LOGIN with valid certificate but not from a permitted source address (ADDRESS).`
fn elsewhere(text: &str) -> Option<Line> {
    let (login, rest) =
        text.rsplit_once(" with valid certificate but not from a permitted source address (")?;
    let remote = address(rest.strip_suffix(").")?)?;
    Some(Line::Elsewhere { login: name(login), remote })
}

/// `KIND SHA256:… signature for LOGIN from ADDRESS port N rejected: WHY`
fn unverified(text: &str) -> Option<Line> {
    let (head, why) = text.rsplit_once(" rejected: ")?;
    let mut words = head.splitn(4, ' ');
    let (_kind, key) = (words.next()?, words.next()?.parse().ok()?);
    (words.next()? == "signature" && words.next()?.starts_with("for ")).then_some(())?;
    let why = REQUIREMENTS.into_iter().find(|known| why.starts_with(known))?.to_owned();
    Some(Line::Unverified { key, why })
}

/// `LOGIN ADDRESS port N`
fn closed(text: &str) -> Option<Line> {
    let mut words = text.rsplitn(4, ' ');
    port(words.next()?)?;
    (words.next()? == "port").then_some(())?;
    let remote = address(words.next()?)?;
    Some(Line::Closed { login: name(words.next()?), remote })
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok()
}

fn address(text: &str) -> Option<String> {
    // A link-local address carries its interface.
    let bare = text.split_once('%').map_or(text, |(bare, _)| bare);
    bare.parse::<std::net::IpAddr>().ok()?;
    (text.len() <= MAX_ADDRESS).then(|| text.to_owned())
}

fn name(text: &str) -> String {
    let text = text.strip_prefix("invalid user ").unwrap_or(text);
    text.chars().take(MAX_LOGIN).collect()
}

/// What the log has said of each of sshd's monitors lately; bounded in number and age.
#[derive(Debug, Default)]
pub struct Watched {
    monitors: BTreeMap<i32, Seen>,
}

#[derive(Debug)]
struct Seen {
    since: Uptime,
    login: String,
    remote: String,
    attempts: Vec<Attempt>,
    /// Keys of which the gate itself has told.
    known: Vec<Fingerprint>,
}

/// A refusal that the log tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    key: Option<Fingerprint>,
    key_id: String,
    serial: u64,
    reason: String,
}

/// What is ready to be told of one monitor.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// sshd's monitor.
    pub pid: i32,
    /// The attempts.
    pub attempts: Vec<Heard>,
}

/// An attempt as the log tells of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    /// The key, where the log names one; else it is about the certificate that the gate was shown last.
    pub key: Option<Fingerprint>,
    /// What is recorded, when the gate has seen nothing that says more.
    pub refused: Refused,
}

impl Watched {
    /// Takes a line. `authorities` are the keys whose certificates are ours.
    pub fn note(&mut self, entry: Entry, authorities: &[Fingerprint], now: Uptime) {
        self.make_room(entry.pid);
        let seen = self.monitors.entry(entry.pid).or_insert_with(|| Seen::since(now));
        match entry.line {
            Line::Revoked { key } => seen.add(Attempt::of(Some(key), REVOKED)),
            Line::Unverified { key, why } => {
                seen.add(Attempt::of(Some(key), &format!("the security key: {why}")));
            }
            Line::Elsewhere { login, remote } => {
                (seen.login, seen.remote) = (login, remote);
                seen.add(Attempt::of(None, ELSEWHERE));
            }
            Line::Closed { login, remote } => (seen.login, seen.remote) = (login, remote),
            Line::Failed(failed) if authorities.contains(&failed.authority) => {
                (seen.login, seen.remote) = (failed.login, failed.remote);
                seen.fill(failed.key, failed.key_id, failed.serial);
            }
            Line::Failed(_) | Line::Accepted(_) => {}
        }
    }

    /// The gate has told of this key on this connection: what the log says of it is no news.
    pub fn known(&mut self, pid: i32, key: Fingerprint, now: Uptime) {
        self.make_room(pid);
        let seen = self.monitors.entry(pid).or_insert_with(|| Seen::since(now));
        seen.attempts.retain(|attempt| attempt.key.as_ref() != Some(&key));
        if seen.known.len() < MAX_ATTEMPTS {
            seen.known.push(key);
        }
    }

    fn make_room(&mut self, pid: i32) {
        if self.monitors.len() < MAX_WATCHED || self.monitors.contains_key(&pid) {
            return;
        }
        let oldest = self.monitors.iter().min_by_key(|(_, seen)| seen.since);
        let oldest = oldest.map(|(pid, _)| *pid);
        if let Some(oldest) = oldest {
            self.monitors.remove(&oldest);
        }
    }

    /// The client's address and the account of this monitor's connection, if the log has named them.
    #[must_use]
    pub fn who(&self, pid: i32) -> Option<(&str, &str)> {
        let seen = self.monitors.get(&pid)?;
        (!seen.remote.is_empty()).then_some((seen.login.as_str(), seen.remote.as_str()))
    }

    /// What has waited long enough for the lines that belong to it.
    pub fn due(&mut self, now: Uptime) -> Vec<Told> {
        let mut told = Vec::new();
        for (pid, seen) in &mut self.monitors {
            if now.since(seen.since) >= WAIT && !seen.attempts.is_empty() {
                let attempts = std::mem::take(&mut seen.attempts);
                let attempts = attempts.into_iter().map(|attempt| seen.heard(attempt)).collect();
                told.push(Told { pid: *pid, attempts });
            }
        }
        self.monitors.retain(|_, seen| now.since(seen.since) < KEPT);
        told
    }

    /// When [`Watched::due`] is worth asking.
    #[must_use]
    pub fn next_due(&self) -> Option<Uptime> {
        let waiting = self.monitors.values().filter(|seen| !seen.attempts.is_empty());
        waiting.map(|seen| seen.since.after(WAIT)).min()
    }
}

impl Seen {
    fn since(now: Uptime) -> Self {
        let (login, remote) = (String::new(), String::new());
        Self { since: now, login, remote, attempts: Vec::new(), known: Vec::new() }
    }

    fn add(&mut self, attempt: Attempt) {
        if attempt.key.as_ref().is_some_and(|key| self.known.contains(key)) {
            return;
        }
        let is_known = self.attempts.iter().any(|known| {
            known.reason == attempt.reason && (known.key == attempt.key || attempt.key.is_none())
        });
        if !is_known && self.attempts.len() < MAX_ATTEMPTS {
            self.attempts.push(attempt);
        }
    }

    /// The certificate to a key of which something was said, or one that sshd refused without saying why.
    fn fill(&mut self, key: Fingerprint, key_id: String, serial: u64) {
        match self.attempts.iter_mut().find(|known| known.key.as_ref() == Some(&key)) {
            Some(known) => (known.key_id, known.serial) = (key_id, serial),
            None => self.add(Attempt { key: Some(key), key_id, serial, reason: UNSAID.into() }),
        }
    }

    fn heard(&self, attempt: Attempt) -> Heard {
        let key = attempt.key.clone();
        let refused = Refused {
            login: Octets::new(self.login.as_str()),
            remote: self.remote.clone(),
            key_id: Octets::new(attempt.key_id.as_str()),
            serial: attempt.serial,
            key: attempt.key.unwrap_or_else(|| Fingerprint::of(b"")),
            reason: attempt.reason,
            count: 1,
            ours: false,
            by: Refuser::Sshd,
        };
        Heard { key, refused }
    }
}

impl Attempt {
    fn of(key: Option<Fingerprint>, reason: &str) -> Self {
        Self { key, key_id: String::new(), serial: 0, reason: reason.to_owned() }
    }
}

/// How sshd's lines about connections that end before anybody is let in begin.
const ENDINGS: [&str; 6] = [
    "Connection closed by authenticating user ",
    "Connection closed by invalid user ",
    "Connection reset by authenticating user ",
    "Connection reset by invalid user ",
    "Disconnected from authenticating user ",
    "Disconnected from invalid user ",
];
/// What may be demanded of a security key.
const REQUIREMENTS: [&str; 2] = [
    "user presence (authenticator touch) requirement not met",
    "user verification requirement not met",
];
const REVOKED: &str = "it stands on the list of revoked keys that sshd reads (seen in sshd's log)";
const ELSEWHERE: &str = "its certificate does not open this host from there (seen in sshd's log)";
/// What the log says when it names a certificate and no reason.
pub const UNSAID: &str = "sshd refused it, and its log does not say why";
/// sshd cuts a line at about 1,024 bytes; the journal's own fields and escapes come on top.
const MAX_ENTRY: usize = 16 * 1024;
const MAX_MESSAGE: usize = 2048;
const MAX_CURSOR: usize = 512;
/// An IPv6 address with the longest interface name.
const MAX_ADDRESS: usize = 62;
/// Longest login that is kept; accounts have at most 32 characters.
const MAX_LOGIN: usize = 64;
/// Connections remembered at once; beyond them the oldest is forgotten.
const MAX_WATCHED: usize = 1024;
/// Different refusals of one connection; sshd stops at six tries.
const MAX_ATTEMPTS: usize = 16;
/// How long lines of one connection are waited for.
const WAIT: Duration = Duration::from_millis(1500);
/// How long it is remembered who a connection was; sshd's default `LoginGraceTime` is 120 s.
const KEPT: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests;
