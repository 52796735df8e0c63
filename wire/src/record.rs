//! What a host reports: numbered without gaps on the host, kept there until the authority acknowledges.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::breakglass::pass::PassUse;
use crate::breakglass::{Alarm, AlarmEnded, Use, UseName};
use crate::channel::{ChannelId, End, Kept, Passed};
use crate::identifier::{Fingerprint, OrderNumber, RecordNumber, SessionId};
use crate::kill::SignedKill;
use crate::limits::{Limits, Measure, Response};
use crate::lock::{Lock, Subject, Target};
use crate::log::{Checkpoint, Era, Head, Note};
use crate::octets::Octets;
use crate::time::{Timestamp, Uptime};

/// One thing that happened on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place among the host's records.
    pub number: RecordNumber,
    /// Wall time on the host, for people.
    pub at: Timestamp,
    /// The host's monotonic time, for order and spans.
    pub uptime: Uptime,
    /// The session it belongs to, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What happened.
    pub event: Event,
}

/// The kinds of thing that happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The agent came up.
    AgentStarted(AgentStarted),
    /// A login was let in and tagged.
    SessionBegan(Box<SessionBegan>),
    /// A program was started in the session.
    Exec(Exec),
    /// A process of the session ended.
    Exit(Exit),
    /// The person was told something on the terminal.
    Warned {
        /// What was said.
        message: String,
        /// On how many terminals.
        terminals: u32,
    },
    /// The session was ordered to end.
    Ending {
        /// Why.
        reason: EndReason,
    },
    /// Nobody of the session is left.
    SessionEnded(SessionEnded),
    /// A login was refused.
    Refused(Refused),
    /// A login that is not under our authority.
    Outside(Outside),
    /// Something that must never happen, and needs a person.
    Incident(Box<Incident>),
    /// Root at the host settled a dispute with the ledger.
    DisputeSettled(Box<DisputeSettled>),
    /// Events that were lost, and where: between the sequence numbers named.
    Loss(Loss),
    /// A record that was written and can no longer be read; its number is kept. One may stand for several.
    Unreadable {
        /// How many bytes stand in its place.
        bytes: u64,
        /// The first of those that it stands for, where it is not alone: they end with its own number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<RecordNumber>,
    },
    /// A session went beyond a threshold. Only of sessions with limits, which an older authority does not give.
    Threshold(Crossed),
    /// The grant was extended, and with it the session. Only after an order that an older authority does not give.
    Extended {
        /// When the session ends now.
        until: Timestamp,
        /// How much later that is, in seconds.
        by_secs: u64,
    },
    /// Something became of the list of revoked keys that sshd reads. Recorded only once an authority has sent a list:
    /// an older one would not know what this is.
    Krl(KrlEvent),
    /// A lock of this host alone came into force, was lifted, or was refused.
    LocalLock(LocalLock),
    /// A program was started by work that a login handed to a daemon of the host. It belongs to no one session.
    Delegated(Box<Delegated>),
    /// Work that was handed to a daemon was ended.
    DelegatedEnded(DelegatedEnded),
    /// The login path, or what keeps the agent alive, is not as it was installed; or is again.
    Meddled(Meddled),
    /// Something became of a channel of the session.
    Channel(ChannelEvent),
    /// A break-glass session is over that began while nobody was at the gate.
    BreakGlassOver(BreakGlassOver),
    /// An alarm of the host did not go out.
    AlarmFailed(Alarm),
    /// A process of the session connected a stream socket, or listens with one.
    Network(Network),
    /// What it took to end the session and the work that it had handed on, signed by the agent.
    Killed(Box<SignedKill>),
    /// An alarm of break-glass that was under way has ended.
    AlarmEnded(AlarmEnded),
    /// A process of the session wrote a file, or opened one that the host's settings name.
    File(Box<FileTouched>),
    /// Files that the session's processes touched may be missing.
    FilesUnseen(FilesUnseen),
}

/// A file that a process of the session wrote, or opened. What was written is not kept.
///
/// The kernel tells of files apart from everything else: there is no sequence number, and what was told late of a process
/// that is gone is known by what was seen of it before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTouched {
    /// Its process id on the host; sshd's own for what is copied by its own sftp server.
    pub pid: i32,
    /// What the process called itself when it was seen last, at most 15 bytes; absent where it was never seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Octets>,
    /// What it did.
    pub what: FileDeed,
    /// The file, from the root of the namespace in which it was opened.
    pub path: Octets,
    /// Its inode.
    pub inode: u64,
    /// The device that it lies on.
    pub device: u64,
    /// Whether it had no name any more when it was told of.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nameless: bool,
    /// How often at once.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u64,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileDeed {
    /// It was closed by somebody who could write to it.
    Written,
    /// It was opened, for whatever.
    Opened,
}

/// From here on files may be missing among what is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesUnseen {
    /// Why: one sentence.
    pub why: String,
}

const fn once() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_once(times: &u64) -> bool {
    *times == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(said: &bool) -> bool {
    !*said
}

/// What a process did with a stream socket (TCP and its kin). Whether anybody answered is not known; datagrams are not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The kernel's sequence number within the session.
    pub sequence: u64,
    /// Its process id on the host; sshd's own for what is forwarded.
    pub pid: i32,
    /// What the process calls itself, at most 15 bytes.
    pub program: Octets,
    /// What it did.
    pub what: NetworkDeed,
    /// Where to, or where at; absent for a socket that is of no version of IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port; 0 where the kernel chose one later.
    pub port: u16,
}

/// What was done with a stream socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkDeed {
    /// It went out.
    Connect,
    /// It waits for others to come in.
    Listen,
}

impl Network {
    /// `10.0.0.9:443`, `[2001:db8::1]:443`; a port alone where there is no address.
    #[must_use]
    pub fn place(&self) -> String {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).to_string(),
            None => format!(":{}", self.port),
        }
    }
}

/// The end of a break-glass session that began while nobody was at the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassOver {
    /// What its certificate is called.
    pub name: UseName,
    /// Why it ended.
    pub reason: EndReason,
}

impl Event {
    /// Which authorities can read it: those that say at least this in [`crate::hostlink::Welcome::records`].
    #[must_use]
    pub const fn generation(&self) -> u32 {
        match self {
            Self::Ending { reason } | Self::SessionEnded(SessionEnded { reason, .. }) => {
                match reason {
                    EndReason::Left | EndReason::GrantEnded | EndReason::Locked { .. } => 1,
                    _ => 2,
                }
            }
            Self::Incident(incident) => match **incident {
                Incident::Unproved { .. } | Incident::Dispute(_) => 1,
                Incident::Pass(_) => 6,
                _ => 2,
            },
            Self::Channel(
                ChannelEvent::Closed { kept: Some(_), .. }
                | ChannelEvent::Closed { end: End::Unkept, .. },
            ) => 3,
            Self::Network(_) => 4,
            Self::Killed(_) => 5,
            Self::AlarmEnded(_) => 6,
            Self::File(_) | Self::FilesUnseen(_) => 7,
            Self::Unreadable { from: Some(_), .. } => 8,
            Self::AgentStarted(_)
            | Self::SessionBegan(_)
            | Self::Exec(_)
            | Self::Exit(_)
            | Self::Warned { .. }
            | Self::Refused(_)
            | Self::Outside(_)
            | Self::DisputeSettled(_)
            | Self::Loss(_)
            | Self::Unreadable { .. }
            | Self::Krl(_) => 1,
            _ => 2,
        }
    }
}

/// The newest generation of [`Event`]s that this version reads; 1 is what authorities read that do not say.
pub const GENERATION: u32 = 8;

/// A program started by work that a login handed to a daemon: a user unit, `at`, `cron`, `systemd-run`, a container.
///
/// The kernel does not say which session asked for it. So it is the login's, with every session that may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegated {
    /// The unix account whose work it is; none where root's daemon started it for nobody that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The systemd unit it runs in, as its control group says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Sessions that may have asked for it: alive then, and of that login or with a process that was root.
    pub candidates: Vec<SessionId>,
    /// The program.
    pub exec: Exec,
}

/// Work handed to a daemon, as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedEnded {
    /// Whose work it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The unit that was stopped, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The session whose end took it along.
    pub session: SessionId,
    /// Processes that were killed.
    pub killed: u32,
    /// Processes that still live.
    pub survivors: u32,
    /// From the decision until the last process was dead, in microseconds.
    pub took_micros: u64,
}

/// What is not as it was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meddled {
    /// What: one sentence.
    pub what: String,
    /// Whether it is in order again.
    pub mended: bool,
}

/// What became of a lock of one host alone: a file in `/etc/curfew/locks.d`, or an account of the host that was locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalLock {
    /// It is in force, with no order.
    InForce {
        /// The file, or the account.
        source: String,
        /// The lock.
        lock: Lock,
    },
    /// It was lifted, where it came from.
    Lifted {
        /// The file, or the account.
        source: String,
        /// What it was on.
        target: Target,
    },
    /// What stands there is no lock; what was in force from it stays.
    Refused {
        /// The file.
        source: String,
        /// Why, by line.
        reason: String,
    },
}

impl Event {
    /// Whether it tells of a login that was refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Incident(incident) => {
                matches!(incident.as_ref(), Incident::Unproved { admitted: false, .. })
            }
            _ => false,
        }
    }

    /// How many records it says are lost.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        match self {
            Self::Loss(loss) => loss.missing,
            _ => 0,
        }
    }
}

/// What became of a channel of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelEvent {
    /// A recorder stands between the client's terminal and the session's from now on.
    Opened {
        /// The channel.
        channel: ChannelId,
        /// The session's terminal: `pts/7`.
        terminal: String,
        /// Whether what passes is kept, and not only counted.
        #[serde(default)]
        kept: bool,
    },
    /// It is over.
    Closed {
        /// The channel.
        channel: ChannelId,
        /// What passed.
        passed: Passed,
        /// Why it ended.
        end: End,
        /// What was kept of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<Kept>,
    },
    /// A terminal could not be relayed.
    Unrelayed {
        /// Why.
        why: String,
        /// Whether it was refused for that, as the session's role wants it.
        refused: bool,
    },
}

/// What became of the list of revoked keys that sshd reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KrlEvent {
    /// A newer list is in place; sshd reads it from the next login on.
    InPlace {
        /// Its version.
        version: u64,
        /// Its length, what was taken over from the host's own lists included.
        bytes: u64,
        /// From its arrival until it was in place, in microseconds.
        took_micros: u64,
    },
    /// A list was refused; the one from before stays.
    Refused {
        /// The version that was announced.
        version: u64,
        /// Why.
        reason: String,
    },
    /// Somebody else had changed or removed the file; it was put back.
    Restored {
        /// The version that was put back.
        version: u64,
        /// What was found.
        found: String,
    },
}

/// The agent's state when it came up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStarted {
    /// The agent's version.
    pub agent_version: String,
    /// How much it can see.
    pub tier: Tier,
    /// Sessions found alive from before.
    pub adopted: u32,
}

/// How much an agent can see on its kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Kernel tags and exec records.
    Full,
    /// Audit session and cgroup only; no exec records.
    Degraded {
        /// Why.
        reason: String,
    },
}

/// A session as it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBegan {
    /// Who, under what.
    pub subject: Subject,
    /// The certificate's last second.
    pub certificate_until: Timestamp,
    /// The grant's end, when the session ends.
    pub grant_until: Timestamp,
    /// The client's address, as sshd gave it.
    pub remote: String,
    /// The sshd monitor's process id on the host.
    pub monitor_pid: i32,
    /// What sshd holds it to: the certificate's critical options, each with its text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Octets>,
    /// What holds for it besides the grant's end: the role's limits, and the host's own where they are tighter.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// A program that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The kernel's sequence number within the session.
    pub sequence: u64,
    /// Its process id on the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// The user it runs as.
    pub uid: u32,
    /// The effective user, which differs for setuid programs.
    pub euid: u32,
    /// The file that was asked for.
    pub path: Octets,
    /// Its arguments, the name it was called by first.
    pub arguments: Vec<Octets>,
    /// Bytes of arguments that are not in `arguments`, because they pass the stated limit or could not be read.
    pub cut: u64,
    /// The terminal, if it has one: `pts0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The file has no name any more (deleted, or made in memory).
    #[serde(default)]
    pub nameless: bool,
    /// What else is known of it; absent from agents that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Box<Program>>,
}

/// What else is known of a program that was started. A field that could not be read is absent, or its absence is said in
/// `faults`; an event is never left out for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What runs a script: its interpreter. Absent where the file itself runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<Octets>,
    /// The file that runs, as the kernel names it; absent where the process was over before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Octets>,
    /// That file's inode.
    pub inode: u64,
    /// Its device, as major and minor number.
    pub device: (u32, u32),
    /// The folder that it was started in; absent where the process was over before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<Octets>,
    /// The group it runs as.
    pub gid: u32,
    /// The effective group.
    pub egid: u32,
    /// Whose login it belongs to by the kernel's audit, which root can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// User and effective user that the process was seen with last before it, where they were others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<(u32, u32)>,
    /// Whether a set-id bit or file capabilities took effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elevated: bool,
    /// What of it could not be read whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// What of an event could not be read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A page of the arguments.
    Arguments,
    /// A part of the arguments was lost on its way.
    ArgumentsLost,
    /// The path is longer than what is kept of it.
    PathCut,
    /// The path.
    Path,
    /// The interpreter's path is longer than what is kept of it.
    InterpreterCut,
    /// The interpreter's path.
    Interpreter,
    /// A version after this one says something that this one does not know.
    #[serde(other)]
    Other,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The kernel's sequence number within the session.
    pub sequence: u64,
    /// Its process id on the host.
    pub pid: i32,
    /// How it ended.
    pub status: ExitStatus,
    /// How long its last program ran, in microseconds; since it was made, where it started none. Absent where neither was
    /// seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_micros: Option<u64>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// Why a session ends before its owner leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The owner left and nothing of the session runs any more.
    Left,
    /// The grant's time is over.
    GrantEnded,
    /// Nothing came from the client for too long.
    Idle {
        /// For how long, in seconds.
        secs: u64,
    },
    /// It has lasted as long as a session may.
    TooLong {
        /// How long that is, in seconds.
        secs: u64,
    },
    /// It went beyond a threshold.
    Threshold(Box<Crossed>),
    /// A lock covers it.
    Locked {
        /// The order that brought the lock.
        order: OrderNumber,
        /// The reason given with it.
        reason: String,
    },
    /// A lock of this host alone covers it.
    LockedHere {
        /// The file in `locks.d`, or the account.
        source: String,
        /// The reason given with it.
        reason: String,
    },
}

impl EndReason {
    /// The name of each kind, as JSON has it.
    pub const NAMES: [&str; 7] =
        ["left", "grant_ended", "idle", "too_long", "threshold", "locked", "locked_here"];

    /// The kind's name, one of [`Self::NAMES`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::GrantEnded => "grant_ended",
            Self::Idle { .. } => "idle",
            Self::TooLong { .. } => "too_long",
            Self::Threshold(_) => "threshold",
            Self::Locked { .. } => "locked",
            Self::LockedHere { .. } => "locked_here",
        }
    }
}

/// A threshold, and how it was crossed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    /// What was counted.
    pub measure: Measure,
    /// From how many on this happens.
    pub limit: u64,
    /// How many there were.
    pub count: u64,
    /// What happens.
    pub response: Response,
    /// The rule that was broken, where something forbidden was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The program that did it, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Octets>,
    /// The file that was written, where that was it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Octets>,
}

impl fmt::Display for Crossed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) if self.file.is_some() => {
                write!(f, "a file was written that is forbidden ({rule})")
            }
            Some(rule) => write!(f, "a program was started that is forbidden ({rule})"),
            None => {
                write!(f, "{}; the limit is {}", self.measure.described(self.count), self.limit)
            }
        }
    }
}

/// A session as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// Why.
    pub reason: EndReason,
    /// Processes that were killed.
    pub killed: u32,
    /// Processes still alive: 0, or the agent goes on trying and says who.
    pub survivors: u32,
    /// From the order to end until the last process was dead, in microseconds; 0 when the owner left.
    pub took_micros: u64,
    /// What was done to that end, step by step; nothing of one that ended by itself, or by an agent that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Box<Steps>>,
}

/// What it took to end a session, over all passes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// Passes that were made.
    pub passes: u32,
    /// Whether sshd's process of the connection was alive and was killed by itself.
    pub connection: bool,
    /// Control groups that were killed whole, for they held nobody else.
    pub groups: u32,
    /// Control groups that held others too, so that those of the session in them were killed one by one.
    pub shared: u32,
    /// Steps that failed and were taken again.
    pub faults: u32,
    /// Whether the kernel took the mark, after which none of the session could fork or start a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
    /// Processes by the step that killed them, each once.
    #[serde(default, skip_serializing_if = "Tally::is_empty")]
    pub tally: Tally,
    /// Who was still alive five seconds after the order, by name: at most [`MAX_SLOW`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<Slow>,
}

/// Processes of a session that were killed, by the step that did it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// sshd's own two of the connection, by pidfd.
    pub connection: u32,
    /// With their control group, which held nobody else.
    pub group: u32,
    /// One by one, by tag and pidfd.
    pub alone: u32,
}

impl Tally {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sum() == 0
    }

    /// All of them.
    #[must_use]
    pub const fn sum(self) -> u32 {
        self.connection.saturating_add(self.group).saturating_add(self.alone)
    }

    /// Counts these too.
    pub const fn add(&mut self, more: Self) {
        self.connection = self.connection.saturating_add(more.connection);
        self.group = self.group.saturating_add(more.group);
        self.alone = self.alone.saturating_add(more.alone);
    }
}

/// A process that took long to die.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// Its process id on the host.
    pub pid: u32,
    /// The name that it gave itself.
    pub command: Octets,
}

/// Most processes that are named as slow to die.
pub const MAX_SLOW: usize = 32;

impl Steps {
    /// Counts another pass.
    pub fn add(&mut self, pass: Self) {
        self.passes = self.passes.saturating_add(pass.passes);
        self.connection |= pass.connection;
        self.groups = self.groups.saturating_add(pass.groups);
        // The same ones are found shared in each pass.
        self.shared = self.shared.max(pass.shared);
        self.faults = self.faults.saturating_add(pass.faults);
        self.marked |= pass.marked;
        self.tally.add(pass.tally);
        let news = pass.slow.into_iter().filter(|slow| !self.slow.contains(slow));
        let news: Vec<Slow> = news.collect();
        let room = MAX_SLOW.saturating_sub(self.slow.len());
        self.slow.extend(news.into_iter().take(room));
    }
}

/// A login that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The unix account that was asked for, as sshd gave it.
    pub login: Octets,
    /// The client's address, as sshd gave it.
    pub remote: String,
    /// The certificate's key id, as it stands in it.
    pub key_id: Octets,
    /// The certificate's serial, as it stands in it.
    pub serial: u64,
    /// The certificate's subject key.
    pub key: Fingerprint,
    /// Why.
    pub reason: String,
    /// How many attempts this record stands for: repeated ones are counted, not repeated.
    pub count: u32,
    /// Whether an authority that the host trusts signed the certificate: then the ledger must know its serial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ours: bool,
    /// Who refused it.
    #[serde(default, skip_serializing_if = "Refuser::is_gate")]
    pub by: Refuser,
}

/// Who refused a login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuser {
    /// Our gate, from the certificate itself.
    #[default]
    Gate,
    /// sshd, as its log says: what is recorded is no more certain than that log.
    Sshd,
    /// Nobody that we know of: the certificate was shown, and no login followed.
    Unfinished,
    /// A version after this one says something that this one does not know.
    #[serde(other)]
    Other,
}

impl Refuser {
    /// Whether it was our gate.
    #[must_use]
    pub fn is_gate(&self) -> bool {
        *self == Self::Gate
    }
}

/// Something that must never happen: somebody holds a key that is not theirs, or the ledger was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    /// A certificate that a trusted authority signed came without a valid proof that the ledger holds it.
    Unproved {
        /// The login attempt; its reason says what is wrong with the proof.
        attempt: Refused,
        /// Whether it was let in, because the host only reports.
        admitted: bool,
    },
    /// The ledger's checkpoints contradict what the host has seen.
    Dispute(Dispute),
    /// Somebody logged in outside a grant on a host where that is an alarm.
    Outside(Outside),
    /// The login path, or what keeps the agent alive, was changed by hand on the host.
    Meddled(Meddled),
    /// Somebody got in by break-glass.
    BreakGlass(Use),
    /// Somebody got in by break-glass of the authority, which nobody approved.
    Pass(Box<PassUse>),
    /// The ledger was put back from a backup and declared it, and the host had seen more than the backup holds. Recorded
    /// only under an authority that declares such things.
    Restored(Abandoned),
}

/// What a host had seen of a ledger beyond the tree that a declared restore goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandoned {
    /// The era that the restore began.
    pub era: Era,
    /// The checkpoint that the restored ledger goes on from.
    pub cut: Note,
    /// The newest checkpoint that the host had believed, when it is beyond the cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Note>,
    /// Trees beyond the cut on which somebody was let in and that the authority never showed to be its own.
    pub unshown: u64,
    /// Locks that orders beyond the cut had brought; they stay in force on the host. At most [`MAX_KEPT`].
    pub locks: Vec<KeptLock>,
    /// How many more there are.
    pub more: u64,
}

/// A lock that a host keeps although the ledger does not know it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLock {
    /// The lock.
    pub lock: Lock,
    /// The order of the abandoned ledger that brought it.
    pub order: OrderNumber,
}

/// Most kept locks that are named in one record.
pub const MAX_KEPT: usize = 256;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "declared restore: the ledger was put back to {}", brief(&self.cut))?;
        if let Some(known) = &self.known {
            write!(f, ", and the host had seen {}", brief(known))?;
        }
        if self.unshown > 0 {
            write!(f, "; logins rested on {} more trees that were never shown", self.unshown)?;
        }
        let named: Vec<String> =
            self.locks.iter().map(|kept| kept.lock.target.to_string()).collect();
        if !named.is_empty() {
            let more =
                if self.more > 0 { format!(" and {} more", self.more) } else { String::new() };
            write!(
                f,
                "; locks that the ledger does not know stay in force there: {}{more}",
                named.join(", ")
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unproved { attempt, admitted } => {
                let became =
                    if *admitted { "let in, because this host only reports" } else { "refused" };
                write!(
                    f,
                    "a certificate of our own authority without proof of the ledger: {} (key id {}, serial {}, login {}, \
                     from {}); {became}. Whoever made it has the user authority's key",
                    attempt.reason,
                    attempt.key_id.display(),
                    attempt.serial,
                    attempt.login.display(),
                    attempt.remote
                )
            }
            Self::Dispute(dispute) => dispute.fmt(f),
            Self::Outside(outside) => outside.fmt(f),
            Self::Meddled(Meddled { what, mended: true }) => write!(f, "in order again: {what}"),
            Self::Meddled(Meddled { what, mended: false }) => f.write_str(what),
            Self::BreakGlass(used) => used.fmt(f),
            Self::Pass(used) => used.fmt(f),
            Self::Restored(abandoned) => abandoned.fmt(f),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.remote.is_empty() { "the host itself" } else { &self.remote };
        let by = self.via.as_deref().unwrap_or("sshd");
        let became = match (self.ended, self.allowed) {
            (true, _) => "it is ended",
            (false, true) => "it goes on",
            (false, false) => "it was refused",
        };
        write!(
            f,
            "a login outside any grant: {} from {from} by {by}; {became}",
            self.login.display()
        )
    }
}

impl fmt::Display for Dispute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.quarrel {
            Quarrel::Fork => "the ledger's key signed two trees of one size",
            Quarrel::Rollback => "the ledger went back",
            Quarrel::Discontinuity => "the ledger does not continue the tree that it had",
            Quarrel::Stray => "a certificate rests on a tree that is not the ledger's",
        };
        write!(f, "{what}: known {}, offered {}", brief(&self.known), brief(&self.offered))
    }
}

/// Size and root of a checkpoint, on one line.
fn brief(note: &Note) -> String {
    note.text().parse::<Checkpoint>().map_or_else(
        |error| error.to_string(),
        |checkpoint| format!("{} entries under {}", checkpoint.head.size, checkpoint.head.root),
    )
}

/// Two checkpoints, both signed by the ledger's key, of which no tree can have both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// How they contradict each other.
    pub quarrel: Quarrel,
    /// The newest checkpoint that the host believed.
    pub known: Note,
    /// The one that was offered to it.
    pub offered: Note,
    /// When the host noticed.
    pub since: Timestamp,
}

/// How a checkpoint contradicts another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quarrel {
    /// Two trees of one size with different roots: a signed proof of a fork.
    Fork,
    /// The authority answers with a tree that is smaller than one that was believed.
    Rollback,
    /// A larger tree, and the authority cannot show that it continues the smaller one.
    Discontinuity,
    /// A certificate rests on a tree that the authority cannot show to be its own.
    Stray,
}

/// What root at the host decided about a dispute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeSettled {
    /// The dispute that was open.
    pub dispute: Dispute,
    /// The tree from which the host goes on; none when it believes the next one that the ledger signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Head>,
    /// Why, as it was typed.
    pub reason: String,
}

/// A login that is not under our authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// The unix account.
    pub login: Octets,
    /// The client's address, as sshd gave it.
    pub remote: String,
    /// Whether host policy let it in.
    pub allowed: bool,
    /// By what it came, as far as the host knows: `password`, `publickey`, `login`, `su`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Whether it is ended, because this host ends them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// Events that were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The last sequence number seen before the gap.
    pub after: u64,
    /// How many are missing.
    pub missing: u64,
}

/// What a host did about one order, once it is done: nothing covered by it is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The order.
    pub order: OrderNumber,
    /// Sessions that it ended.
    pub sessions: u32,
    /// Processes that were killed.
    pub killed: u32,
    /// Processes still alive.
    pub survivors: u32,
    /// From the order's arrival until the last process was dead, in microseconds.
    pub took_micros: u64,
    /// Whether the host is done with it; a first receipt without says only that the order is stored and in force.
    pub done: bool,
    /// Of the sessions, how many a [`crate::kill::Killed`] follows for that names this order; none from agents that say none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub kills: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_none(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_authority_cannot_read_is_of_a_later_generation() {
        let ended = |reason| {
            Event::SessionEnded(SessionEnded {
                reason,
                killed: 0,
                survivors: 0,
                took_micros: 0,
                steps: None,
            })
        };
        assert_eq!(ended(EndReason::Left).generation(), 1);
        let here = EndReason::LockedHere { source: "a.toml".into(), reason: "r".into() };
        assert_eq!(Event::Ending { reason: here.clone() }.generation(), 2);
        assert_eq!(ended(here).generation(), 2);
        let meddled = Meddled { what: "x".into(), mended: false };
        assert_eq!(Event::Incident(Box::new(Incident::Meddled(meddled))).generation(), 2);
    }

    #[test]
    fn passes_are_counted_together_and_an_older_record_has_none() {
        let slow = |pid| Slow { pid, command: Octets::new("sh") };
        let pass =
            |slow: Vec<Slow>| Steps { passes: 1, groups: 2, shared: 1, slow, ..Steps::default() };
        let mut steps = Steps::default();
        steps.add(Steps { connection: true, ..pass(Vec::new()) });
        steps.add(pass(vec![slow(7)]));
        steps.add(pass((0..100).map(slow).collect()));
        assert_eq!((steps.passes, steps.groups, steps.shared, steps.connection), (3, 6, 1, true));
        assert_eq!(steps.slow.len(), MAX_SLOW);
        assert_eq!(steps.slow.iter().filter(|one| one.pid == 7).count(), 1);
        let old = r#"{"reason":"grant_ended","killed":2,"survivors":0,"took_micros":5}"#;
        let ended: SessionEnded = serde_json::from_str(old).unwrap();
        assert_eq!(
            (ended.steps.is_none(), serde_json::to_string(&ended).unwrap()),
            (true, old.to_owned())
        );
    }

    #[test]
    fn a_login_outside_a_grant_is_told_with_what_became_of_it() {
        let text = r#"{"login":"app","remote":"10.0.0.9","allowed":true}"#;
        let mut outside: Outside = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_string(&outside).unwrap(),
            text,
            "as the version before wrote it"
        );
        outside.ended = true;
        outside.via = Some("password".into());
        assert_eq!(
            outside.to_string(),
            "a login outside any grant: app from 10.0.0.9 by password; it is ended"
        );
    }
}
