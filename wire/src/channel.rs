//! What is said about a channel of a session: by `curfew-pty`, which sshd starts in it; by the recorder, which stands
//! between the client's terminal and the session's; and by the agent, which brings them together.
//!
//! `curfew-pty` asks ([`Ask`], its terminal with it) and is answered ([`Answer`]). After [`Answer::Relay`] the same
//! connection is the recorder's: it sends [`Started`] with the session's own terminal, and from then on single
//! bytes: [`RESIZED`] and [`EXITED`] one way, [`DRAINED`] the other. Nothing of this is believed for what it says of
//! its sender: the agent learns from the kernel who asks, and only the recorder's own user may report.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identifier::SessionId;
use crate::log::Hash;
use crate::octets::Octets;
use crate::recording::RecordingKey;
use crate::time::Uptime;

/// The name of a channel: a number that the agent draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelId(u64);

impl ChannelId {
    /// The channel of that number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// "What am I to run, and on which terminal?"
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The version of the wire.
    pub version: u32,
    /// Whether the client's terminal comes with this.
    pub terminal: bool,
    /// What the client calls its terminal (`TERM`): for whoever looks at a recording, and believed for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
}

/// The agent's answer to [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The login is not under our authority: run what was asked for.
    Outside,
    /// Run it as things are; in place of what was asked for, what the certificate forces.
    Run {
        /// The certificate's forced command.
        #[serde(default)]
        forced: Option<Octets>,
    },
    /// A recorder takes the terminal and sends [`Started`] on this connection; run it on the terminal that comes with
    /// that.
    Relay {
        /// The certificate's forced command.
        #[serde(default)]
        forced: Option<Octets>,
        /// Whether it must not run without.
        required: bool,
    },
    /// Run nothing, and show the line.
    Refuse(String),
}

/// From the recorder to `curfew-pty`, with the session's terminal: it is relayed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The terminal's name: `/dev/pts/7`.
    pub terminal: String,
}

/// From the agent to a recorder, with four descriptors: the connection of `curfew-pty`, the client's terminal, and
/// both ends of the session's terminal, its own end first; and with a fifth where what passes is kept: the file for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The version of the wire.
    pub version: u32,
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// The number of the client's terminal.
    pub outer: u32,
    /// The number of the session's terminal.
    pub inner: u32,
    /// How what passes is kept; where it is only counted, nothing.
    #[serde(default)]
    pub keep: Option<Keep>,
}

/// How what passes is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// What it is encrypted to.
    pub key: RecordingKey,
    /// Most bytes of the recording.
    pub quota: u64,
    /// So many bytes are left free on the disk; a quarter of it, where the recording is required.
    pub reserve: u64,
    /// Whether the channel must end when it cannot be kept.
    pub required: bool,
    /// What the client calls its terminal.
    #[serde(default)]
    pub term: Option<String>,
}

/// What a recorder tells the agent, at most once a second and at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The first frame of a connection, also after a restart of the agent: which channel this is about.
    Here {
        /// The session.
        session: SessionId,
        /// The channel.
        channel: ChannelId,
        /// The number of the client's terminal.
        outer: u32,
        /// The number of the session's terminal.
        inner: u32,
        /// What has passed so far.
        passed: Passed,
    },
    /// More has passed.
    Passed(Passed),
    /// The channel is over; nothing follows.
    Over {
        /// All that passed.
        passed: Passed,
        /// Why it ended.
        end: End,
        /// What was kept of it.
        #[serde(default)]
        kept: Option<Kept>,
    },
}

/// What has passed a channel since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Bytes from the client's terminal.
    pub input: u64,
    /// Of these, bytes that a person (or a program in their place) typed: answers that the client's terminal gave by
    /// itself are left out.
    pub typed: u64,
    /// When the last of these came.
    #[serde(default)]
    pub typed_at: Option<Uptime>,
    /// Bytes to the client's terminal.
    pub output: u64,
    /// Bytes of the recording that are in its file.
    #[serde(default)]
    pub kept: u64,
}

/// Why a channel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// What ran in it ended.
    Exited,
    /// The client hung up, or sshd did.
    HungUp,
    /// `curfew-pty` was killed.
    Deserted,
    /// The recorder could not go on.
    Failed,
    /// The recorder died, or was killed: the agent noticed that it is gone.
    Lost,
    /// It could not be kept any more, and must not go on without.
    Unkept,
}

/// A recording as it was written on the host ([`crate::recording`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How many blocks it has.
    pub blocks: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// The hash of the last block.
    pub head: Hash,
    /// Bytes that passed and were not kept; where, its loss records say.
    #[serde(default)]
    pub lost: u64,
}

/// What is known of a login beside the agent, so that `curfew-pty` knows what to do without it: a file a session, named
/// by sshd's monitor.
///
/// Who can change this: root on the host. Gains: nothing that root does not have. Anyone may read it: the command is
/// shown by `ps` as soon as it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The version of this format.
    pub version: u32,
    /// Whether a terminal of this login must not be used without a recorder.
    pub required: bool,
    /// The certificate's forced command.
    #[serde(default)]
    pub forced: Option<Octets>,
}

/// The client's terminal has another size, or `curfew-pty` has just let go of it: whoever relays it leads it now.
pub const RESIZED: u8 = b'w';
/// `curfew-pty` waits no longer: who has not touched its terminal yet must not, and who has hands it over all the same.
pub const GAVE_UP: u8 = b'g';
/// What ran has ended; what it wrote last may still be on its way.
pub const EXITED: u8 = b'x';
/// Everything is with the client's terminal.
pub const DRAINED: u8 = b'd';
/// From the agent to a recorder: what need not be kept is not to be, until [`KEEP_ON`].
pub const HOLD: u8 = b'h';
/// From the agent to a recorder: there is room again.
pub const KEEP_ON: u8 = b'k';
/// Where the agent listens for `curfew-pty` and for recorders.
pub const CHANNEL_PATH: &str = "/run/curfew/channel.sock";
/// Where systemd listens for the agent in the place of the recorders.
pub const RECORDER_PATH: &str = "/run/curfew/recorder.sock";
/// The folder of [`Standing`] files, `<pid>-<start>` each.
pub const STANDING_DIR: &str = "/run/curfew/logins";
/// Largest frame here, in bytes: a forced command of 8 KiB in base64, with room.
pub const MAX_CHANNEL_FRAME: usize = 64 * 1024;
/// How long `curfew-pty` waits for an answer, and for its recorder, before it says [`GAVE_UP`] and waits as long once more; in
/// milliseconds.
pub const RECORDER_PATIENCE_MILLIS: u64 = 2_000;
