//! Break-glass as a host meets it: certificates that custodians signed together, without the authority, when all else is down.
//!
//! They are signed by a key of their own (a group key: FROST, RFC 9591), open one account that nothing else opens, on named
//! hosts, for an hour at most, and carry their end, the incident and the custodians in the key id, where sshd's log shows
//! them. Their serials stand above all that a ledger can ever give, so that neither can be taken for the other.
//!
//! Who can change what is trusted: root on the host, by the file [`KEYS_PATH`]. Gains: opens the account of that host.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::certificate::{self, Certificate, verdict};
use crate::identifier::{
    Custodian, Fingerprint, GrantId, HostName, Identity, IncidentName, Login, NameError, Principal,
    RoleName, Serial, SessionId,
};
use crate::lock::Subject;
use crate::octets::Octets;
use crate::time::Timestamp;
use crate::trust::{AuthorityKey, KeysError};

pub mod pass;

/// What the key id of a break-glass certificate says: `breakglass/INC-42/ann.bob/1798761600/8070450532247928833`.
///
/// The end stands in it too: sshd logs the key id, so that who reads the log later knows when the session had to end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UseName {
    /// Whether it is an exercise.
    pub drill: bool,
    /// What it is for.
    pub incident: IncidentName,
    /// Who signed, each once.
    pub custodians: Vec<Custodian>,
    /// The certificate's end, and the session's; whole seconds.
    pub until: Timestamp,
    /// The certificate's number, from [`FIRST_SERIAL`] to [`LAST_SERIAL`].
    pub serial: Serial,
}

/// Why a text names no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseNameError {
    /// Its parts are not there.
    #[error("is not of the form breakglass/INCIDENT/CUSTODIANS/END/SERIAL")]
    Shape,
    /// A name in it is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// None, too many, or one twice.
    #[error("names no custodian, more than {MAX_SIGNERS}, or one twice")]
    Custodians,
    /// A number of another kind of certificate.
    #[error("has a serial outside the range of break-glass")]
    Serial,
}

/// What a break-glass certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Its name.
    pub name: UseName,
    /// Everything about it that a lock can name.
    pub subject: Subject,
    /// Why, in the words that the custodians saw.
    pub reason: String,
    /// What sshd holds the login to.
    pub options: BTreeMap<String, Octets>,
}

/// Why a break-glass certificate opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What no certificate may be.
    #[error(transparent)]
    Certificate(#[from] certificate::Refusal),
    /// Its key id.
    #[error("its key id {0}")]
    Name(UseNameError),
    /// Two of its parts disagree.
    #[error("its key id and its {0} disagree")]
    Differs(&'static str),
    /// Longer than one may be.
    #[error("it is valid for more than an hour")]
    Long,
    /// The reason is not there or not one line.
    #[error("it carries no reason of one line")]
    Reason,
}

/// A use of break-glass as a host reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// What its certificate is called.
    pub name: UseName,
    /// The unix account.
    pub login: Login,
    /// The client's address, as sshd gave it.
    pub remote: String,
    /// The certificate's subject key, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Fingerprint>,
    /// The group key that signed it.
    pub authority: Fingerprint,
    /// Why, in the words of the certificate; nothing where only sshd's log is left of it.
    pub reason: String,
    /// How the host came to know of it.
    pub noticed: Noticed,
    /// When it began, by the host's clock.
    pub at: Timestamp,
    /// Its session, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What became of each alarm of the host.
    pub alarms: Vec<Alarm>,
}

/// How a host came to know of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noticed {
    /// At the gate, before anything ran.
    Gate,
    /// Nobody answered at the gate; the hook in PAM left word, and the agent found it later.
    Word,
    /// Nobody answered at the gate, and nothing is left but sshd's log.
    Log,
}

/// One way in which a host raised the alarm, and whether it went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Which way: `journal`, `syslog`, `wall`, `command`.
    pub by: String,
    /// What went wrong; nothing when it went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether it is under way, and what becomes of it is told later ([`AlarmEnded`]). An older host says of a command that
    /// it was started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// What became of an alarm that was under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmEnded {
    /// The certificate whose use it tells of.
    pub serial: Serial,
    /// The alarm, as it ended.
    pub alarm: Alarm,
}

impl UseName {
    /// Checks the parts as a whole.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn check(&self) -> Result<(), UseNameError> {
        let distinct: std::collections::BTreeSet<_> = self.custodians.iter().collect();
        if self.custodians.is_empty()
            || self.custodians.len() > MAX_SIGNERS
            || distinct.len() != self.custodians.len()
        {
            return Err(UseNameError::Custodians);
        }
        if is_of_breakglass(self.serial.number()) { Ok(()) } else { Err(UseNameError::Serial) }
    }

    /// Under which identity its session is known: what a lock names.
    ///
    /// # Errors
    /// Never for a checked name.
    pub fn identity(&self) -> Result<Identity, NameError> {
        Identity::try_new(format!("{}:{}", self.kind(), self.incident))
    }

    const fn kind(&self) -> &'static str {
        if self.drill { DRILL } else { IN_EARNEST }
    }
}

impl fmt::Display for UseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let custodians: Vec<&str> = self.custodians.iter().map(Custodian::as_str).collect();
        let (kind, incident) = (self.kind(), &self.incident);
        let (until, serial) = (self.until.secs(), self.serial);
        write!(f, "{kind}/{incident}/{}/{until}/{serial}", custodians.join("."))
    }
}

impl FromStr for UseName {
    type Err = UseNameError;

    fn from_str(text: &str) -> Result<Self, UseNameError> {
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, incident, custodians, until, serial] = parts.as_slice() else {
            return Err(UseNameError::Shape);
        };
        let drill = match *kind {
            IN_EARNEST => false,
            DRILL => true,
            _ => return Err(UseNameError::Shape),
        };
        let custodians = custodians.split('.').map(str::parse).collect::<Result<_, _>>()?;
        let until: u64 =
            until.parse().map_err(|_odd: std::num::ParseIntError| UseNameError::Shape)?;
        let name = Self {
            drill,
            incident: incident.parse()?,
            custodians,
            until: Timestamp::from_secs(until),
            serial: serial.parse()?,
        };
        name.check()?;
        // One name, one text: no leading zeros, no plus.
        if name.to_string() == text { Ok(name) } else { Err(UseNameError::Shape) }
    }
}

impl TryFrom<String> for UseName {
    type Error = UseNameError;

    fn try_from(text: String) -> Result<Self, UseNameError> {
        text.parse()
    }
}

impl From<UseName> for String {
    fn from(name: UseName) -> Self {
        name.to_string()
    }
}

impl Use {
    /// Whether every alarm went out. One that is under way has not.
    #[must_use]
    pub fn is_loud(&self) -> bool {
        let is_out = |alarm: &Alarm| alarm.fault.is_none() && !alarm.waits;
        !self.alarms.is_empty() && self.alarms.iter().all(is_out)
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.name.drill { "a drill of break-glass" } else { "BREAK-GLASS" };
        let custodians: Vec<&str> = self.name.custodians.iter().map(Custodian::as_str).collect();
        write!(
            f,
            "{what} for {}: {} from {}, signed by {} (serial {})",
            self.name.incident,
            self.login,
            if self.remote.is_empty() { "the host itself" } else { &self.remote },
            custodians.join(" and "),
            self.name.serial
        )?;
        match self.noticed {
            Noticed::Gate => {}
            Noticed::Word => write!(f, ", while the agent was down")?,
            Noticed::Log => write!(f, ", while the agent was down, known from sshd's log alone")?,
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// Whether a serial is one of break-glass.
#[must_use]
pub const fn is_of_breakglass(serial: u64) -> bool {
    serial >= FIRST_SERIAL && serial <= LAST_SERIAL
}

/// The serial with these bits; what is beyond [`SERIAL_BITS`] does not count.
#[must_use]
pub fn serial(bits: u64) -> Serial {
    Serial::of(std::num::NonZeroU64::MIN | (FIRST_SERIAL | (bits & SERIAL_BITS)))
}

/// Checks that `certificate` opens `login` on `host` at `now`: trusted group key, signature, kind, window, principal, options,
/// key id. Everything but locks.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify(
    certificate: &Certificate,
    keys: &[PublicKey],
    login: &Login,
    host: &HostName,
    now: Timestamp,
) -> Result<Opening, Refusal> {
    verdict::verify_signer(certificate, keys)?;
    certificate.verify_signature().map_err(|_flaw| certificate::Refusal::Signature)?;
    verdict::verify_window(certificate, now)?;
    read(certificate, login, host)
}

/// The same without its window: of a session that began while nobody could judge.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify_afterwards(
    certificate: &Certificate,
    keys: &[PublicKey],
    login: &Login,
    host: &HostName,
) -> Result<Opening, Refusal> {
    verdict::verify_signer(certificate, keys)?;
    certificate.verify_signature().map_err(|_flaw| certificate::Refusal::Signature)?;
    read(certificate, login, host)
}

fn read(certificate: &Certificate, login: &Login, host: &HostName) -> Result<Opening, Refusal> {
    verdict::verify_principal(certificate, login, host)?;
    let options = verdict::verify_options(certificate)?;
    let key_id = std::str::from_utf8(certificate.key_id().as_bytes());
    let key_id = key_id.map_err(|_odd| Refusal::Name(UseNameError::Shape))?;
    let name: UseName = key_id.parse().map_err(Refusal::Name)?;
    if name.serial.number() != certificate.serial() {
        return Err(Refusal::Differs("serial"));
    }
    if name.until.secs() != certificate.valid_before() {
        return Err(Refusal::Differs("end"));
    }
    let life = certificate.valid_before().saturating_sub(certificate.valid_after());
    if life > LONGEST.as_secs() {
        return Err(Refusal::Long);
    }
    let reason = verdict::extension(certificate, REASON)?;
    if !is_reason(reason) {
        return Err(Refusal::Reason);
    }
    let named = |error: NameError| Refusal::Name(UseNameError::Name(error));
    let subject = Subject {
        identity: name.identity().map_err(named)?,
        // Grants of a ledger are numbered below: a lock on one never means the other.
        grant: GrantId::try_new(name.serial.number()).map_err(named)?,
        serial: name.serial,
        key: certificate::fingerprint(certificate.subject()),
        role: RoleName::try_new(ROLE).map_err(named)?,
        login: login.clone(),
        host: host.clone(),
        authority: Some(certificate::fingerprint(certificate.authority())),
    };
    Ok(Opening { subject, reason: reason.to_owned(), options, name })
}

/// Whether a text serves as a reason: one line of printable ASCII that says something.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    !text.trim().is_empty()
        && text.trim() == text
        && text.len() <= MAX_REASON
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// The keys in a file like [`KEYS_PATH`]: a key a line in OpenSSH's form, with or without a comment; `#` begins a remark.
///
/// # Errors
/// The first line that is no key of the right kind, too many, or one twice.
pub fn keys(text: &str) -> Result<Vec<AuthorityKey>, KeysFlaw> {
    let mut keys: Vec<AuthorityKey> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index.saturating_add(1);
        let wrong = |source: KeysError| KeysFlaw::Line { number, source };
        let key = crate::key::from_openssh(line).map_err(|flaw| wrong(flaw.into()))?;
        if !matches!(key.key_data(), ssh_key::public::KeyData::Ed25519(_)) {
            return Err(KeysFlaw::Kind(number));
        }
        let key = AuthorityKey::of(&key).map_err(wrong)?;
        if keys.contains(&key) {
            return Err(wrong(KeysError::Twice(key.fingerprint())));
        }
        keys.push(key);
    }
    if keys.len() > MAX_KEYS { Err(KeysFlaw::Many) } else { Ok(keys) }
}

/// Why a file of group keys is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeysFlaw {
    /// A line is no key.
    #[error("line {number}: {source}")]
    Line {
        /// From 1.
        number: usize,
        /// Why.
        source: KeysError,
    },
    /// A group key is Ed25519, and nothing else.
    #[error("line {0}: a group key is of type ssh-ed25519")]
    Kind(usize),
    /// More than a rotation needs.
    #[error("there are more than {MAX_KEYS} keys")]
    Many,
}

/// The line by which sshd believes `key` for `login` on `host`, and for nothing else, in an `AuthorizedKeysFile` of root's.
///
/// # Errors
/// Never for checked names, unless together they pass the limit.
pub fn authorized_line(
    key: &AuthorityKey,
    login: &Login,
    host: &HostName,
) -> Result<String, NameError> {
    // Strict names: neither comma nor quote can stand in a principal.
    Ok(format!("cert-authority,principals=\"{}\" {key}", Principal::of(login, host)?))
}

/// The file of a host's group keys; root puts it there.
pub const KEYS_PATH: &str = "/etc/curfew/breakglass.pub";
/// The account that break-glass opens, where no other is named.
pub const LOGIN: &str = "breakglass";
/// The extension that carries the reason.
pub const REASON: &str = "breakglass-reason@curfew.internal";
/// The role under which its sessions are known.
pub const ROLE: &str = "breakglass";
/// The first serial of break-glass: beside the numbers of the last era of a ledger there is room for 2^61 more before it.
pub const FIRST_SERIAL: u64 = 3 << 61;
/// The bits by which two of them can differ; the lowest is always set.
pub const SERIAL_BITS: u64 = LAST_SERIAL ^ FIRST_SERIAL;
/// The last: what databases hold ends there.
pub const LAST_SERIAL: u64 = i64::MAX.unsigned_abs();
/// Longest validity.
pub const LONGEST: Duration = Duration::from_secs(3_600);
/// Most custodians that sign one certificate: their names must fit into the key id.
pub const MAX_SIGNERS: usize = 5;
/// Longest reason, in bytes.
pub const MAX_REASON: usize = 200;
/// Most group keys of a host: the one in force, the one before it, the one after it.
pub const MAX_KEYS: usize = 3;
const IN_EARNEST: &str = "breakglass";
const DRILL: &str = "drill";

#[cfg(test)]
mod tests;
