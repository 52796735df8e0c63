//! The kernel room: what tags, sees and kills the processes of a session.
//!
//! Two ways to know who belongs to a session. [`Tier::Full`]: a tag in BPF task storage, copied at
//! fork; nothing that keeps parentage loses it, and every exec, fork and exit is seen.
//! [`Tier::Degraded`]: audit session id, cgroup and parentage as `/proc` shows them; it sees no
//! events and can be escaped by root, and it says so. Both are a [`Kernel`].
//!
//! Nothing here waits, reads a clock or remembers a bare pid: times come from the kernel, and a
//! process is signalled through a pidfd that was checked after it was opened.

use std::fmt;
use std::io;
use std::num::{NonZeroU64, ParseIntError};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::session::{Marks, Monitor};

pub use self::event::Event;
pub use self::process::Process;
pub(crate) use self::process::Stat;
pub(crate) use self::procfs::Look;

pub mod bpf;
pub(crate) mod cgroup;
mod chunk;
pub mod event;
pub mod kill;
mod process;
pub mod procfs;

/// What the agent needs from the kernel, whichever way it is known who belongs to a session.
///
/// All methods are synchronous and short: the longest, [`Kernel::members`], walks all tasks once.
pub trait Kernel: Send + fmt::Debug {
    /// How sessions are known.
    fn tier(&self) -> &Tier;

    /// Starts a session with the process behind `monitor`, which must have one thread and no
    /// other tag. Everything it forks from now on belongs to the session.
    ///
    /// Call this before the gate answers PAM, so that nothing of the session exists before its
    /// tag. A second call with the same tag and monitor changes nothing.
    ///
    /// # Errors
    /// The process is gone, has threads, or belongs to another session; or the kernel refused.
    /// The login must then be refused.
    fn begin(&mut self, tag: Tag, monitor: BorrowedFd<'_>) -> Result<(), KernelError>;

    /// What the session's processes can be known by after a restart: keep it, for [`Kernel::resume`]. `None`: nothing
    /// is known yet, or it is the kernel that remembers.
    fn marks(&self, tag: Tag) -> Option<Marks> {
        let _ = tag;
        None
    }

    /// Takes up a session from before a restart by its marks, its monitor alive or not. A second call with the same tag
    /// and monitor changes nothing.
    ///
    /// # Errors
    /// The marks name nobody, or the tier does not know sessions by marks; or tag or monitor are another's.
    fn resume(&mut self, tag: Tag, monitor: Monitor, marks: &Marks) -> Result<(), KernelError> {
        let _ = (monitor, marks);
        Err(KernelError::Unknown(tag))
    }

    /// From now on the session can only shrink: every fork and exec in it is killed by the kernel.
    /// There is no way back. The degraded tier cannot do this and only remembers it.
    ///
    /// # Errors
    /// The kernel refused, or the session is unknown.
    fn mark_ending(&mut self, tag: Tag) -> Result<(), KernelError>;

    /// The processes of a session that are alive now: no zombies; stopped and frozen ones too.
    ///
    /// # Errors
    /// The list could not be read whole.
    fn members(&self, tag: Tag) -> Result<Vec<Process>, KernelError>;

    /// Opens a pidfd of a member and then checks that what it opened belongs to the session: a
    /// number that was reused meanwhile is caught. `None`: the member is gone.
    ///
    /// # Errors
    /// The check could not be made.
    fn hold(&self, tag: Tag, member: &Process) -> Result<Option<OwnedFd>, KernelError>;

    /// How many tasks, threads included, are alive in a session. 0 means that nobody is left and
    /// that every event of the session has been written. The degraded tier counts processes.
    ///
    /// # Errors
    /// The session is unknown, or the kernel refused.
    fn live(&self, tag: Tag) -> Result<u32, KernelError>;

    /// Which session the process behind a pidfd belongs to.
    ///
    /// # Errors
    /// The kernel refused.
    fn tag_of(&self, pidfd: BorrowedFd<'_>) -> Result<Option<Tag>, KernelError>;

    /// Removes a session that has nobody left.
    ///
    /// # Errors
    /// Somebody is left, or the kernel refused.
    fn forget(&mut self, tag: Tag) -> Result<(), KernelError>;

    /// From now on, while `open`, whatever a daemon starts for the login uid `loginuid`, which no session started, gets
    /// `tag`: the login's handed work, of no one session. A second call changes whether it is open. The degraded tier
    /// sees no such work, and says nothing of it.
    ///
    /// # Errors
    /// The kernel refused.
    fn hand(&mut self, loginuid: u32, tag: Tag, open: bool) -> Result<(), KernelError> {
        let _ = (loginuid, tag, open);
        Ok(())
    }

    /// The login uids whose handed work has a tag, open or not: what a restarted agent goes on with.
    ///
    /// # Errors
    /// The kernel refused.
    fn handed(&self) -> Result<Vec<(u32, Tag)>, KernelError> {
        Ok(Vec::new())
    }

    /// Forgets a login uid's handed work; its tag is forgotten as a session's is.
    ///
    /// # Errors
    /// The kernel refused.
    fn unhand(&mut self, loginuid: u32) -> Result<(), KernelError> {
        let _ = loginuid;
        Ok(())
    }

    /// The sessions that the kernel knows, with their live tasks: what a restarted agent adopts.
    /// The degraded tier knows none after a restart; call [`Kernel::begin`] again, or [`Kernel::resume`].
    ///
    /// # Errors
    /// The kernel refused.
    fn known(&self) -> Result<Vec<(Tag, u32)>, KernelError>;

    /// Appends what happened since the last call, ordered by number within each session. Between
    /// two calls the order can be broken by events that were written at the same moment.
    ///
    /// Takes a bounded number: call it until it adds nothing, then wait for [`Kernel::readiness`].
    ///
    /// # Errors
    /// The ring could not be read.
    fn drain(&mut self, out: &mut Vec<Event>) -> Result<(), KernelError>;

    /// What could not be recorded of a session so far.
    ///
    /// # Errors
    /// The session is unknown, or the kernel refused.
    fn losses(&self, tag: Tag) -> Result<Losses, KernelError>;

    /// Makes the kernel count a session again that it does not know any more although processes carry its tag: somebody
    /// removed it there. Gives how many tasks there are; 0 when there are none, and then nothing is changed.
    ///
    /// # Errors
    /// The kernel refused.
    fn remember(&mut self, tag: Tag) -> Result<u32, KernelError> {
        let _ = tag;
        Ok(0)
    }

    /// What somebody did to what the kernel keeps for us, one sentence; nothing when all is there.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// A descriptor that polls readable while [`Kernel::drain`] has something to take. It lives
    /// as long as the room. `None`: there are no events in this tier.
    fn readiness(&self) -> Option<RawFd>;
}

/// A random number, never 0, that names one session in the kernel.
///
/// Draw it from the system's random generator; whoever could guess it could do nothing with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(NonZeroU64);

impl Tag {
    /// The tag of that number; 0 is none.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number, known not to be 0.
    #[must_use]
    pub const fn nonzero(self) -> NonZeroU64 {
        self.0
    }

    /// The tag of a number that is known not to be 0.
    #[must_use]
    pub const fn of(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        if text.len() != 16 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(TagError::Shape);
        }
        Self::new(u64::from_str_radix(text, 16)?).ok_or(TagError::Zero)
    }
}

/// Why a text is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// Not 16 lower-case hexadecimal digits.
    #[error("a tag has 16 hexadecimal digits, in lower case")]
    Shape,
    /// Not a number.
    #[error("a tag is a number")]
    Number(#[from] ParseIntError),
    /// 0 means "no session".
    #[error("a tag is not 0")]
    Zero,
}

/// How well the agent can know who belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tier {
    /// By tag, in the kernel, with events.
    Full,
    /// By what `/proc` shows, without events.
    Degraded {
        /// What stands in the way of the full tier: one sentence for the operator.
        why: String,
    },
}

/// What the configuration says about the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// The best that loads.
    Probe,
    /// The degraded tier, even where the full one would load.
    Audit,
}

/// What could not be recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events of this session that found the ring full.
    pub events: u64,
    /// Pieces of arguments of this session that found the second ring full.
    pub chunks: u64,
    /// Records, of any session, that this agent could not decode.
    pub undecoded: u64,
}

/// Why the kernel room could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The BPF subsystem refused.
    #[error("cannot {action}: {}", described(source))]
    Bpf {
        /// What was tried.
        action: &'static str,
        /// What the kernel or libbpf said.
        source: libbpf_rs::Error,
    },
    /// A file under `/proc`, `/sys` or bpffs.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call on a process.
    #[error("cannot {action} process {pid}: {source}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Which process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Where pins should live there is no bpffs.
    #[error("{} is not on a bpffs; mount one: mount -t bpf bpf /sys/fs/bpf", .0.display())]
    NoBpffs(PathBuf),
    /// Two agents on one set of pins would take each other's events.
    #[error("another agent holds {}; stop it first", .0.display())]
    Held(PathBuf),
    /// Pins of a version with another layout.
    #[error(
        "{} was made by a version with another layout ({what}); end its sessions with that version, \
         then remove the directory", pin_dir.display()
    )]
    Layout {
        /// Where the pins are.
        pin_dir: PathBuf,
        /// What differs.
        what: String,
    },
    /// The kernel side wrote something that this version does not understand.
    #[error("the kernel side wrote what cannot be read: {0}")]
    Decode(#[from] event::DecodeError),
    /// The built-in program is not what this version expects.
    #[error("the kernel program has no {0}")]
    Missing(&'static str),
    /// The process ended.
    #[error("the process is gone")]
    Gone,
    /// A process with threads cannot be tagged whole.
    #[error("process {pid} has {threads} threads; a monitor has one")]
    Threads {
        /// Which process.
        pid: u32,
        /// How many threads.
        threads: usize,
    },
    /// A process has one session.
    #[error("the process already belongs to session {0}")]
    AlreadyTagged(Tag),
    /// A tag is used once.
    #[error("session {0} already began with another process")]
    TagInUse(Tag),
    /// No such session.
    #[error("session {0} is unknown to the kernel")]
    Unknown(Tag),
    /// Only an empty session is forgotten.
    #[error("session {tag} still has {live} live tasks")]
    Alive {
        /// Which session.
        tag: Tag,
        /// How many are left.
        live: u32,
    },
}

/// Opens the best kernel room there is, or the one that is asked for.
///
/// `pin_dir` is on a bpffs and belongs to this agent alone (`/sys/fs/bpf/curfew`). Tags, sessions
/// and unread events live in the kernel while a directory entry there names them: dropping the room
/// ends nothing, and the next `open` goes on where this one stopped.
///
/// # Errors
/// Another agent is running, or an older version left pins of another layout. What merely cannot
/// load is no error but [`Tier::Degraded`].
pub fn open(attribution: Attribution, pin_dir: &Path) -> Result<Box<dyn Kernel>, KernelError> {
    if attribution == Attribution::Audit {
        let why = "the configuration asks for attribution by audit session".to_owned();
        return Ok(Box::new(procfs::Procfs::new(why)));
    }
    match bpf::Bpf::open(pin_dir) {
        Ok(full) => Ok(Box::new(full)),
        Err(error @ (KernelError::Held(_) | KernelError::Layout { .. })) => Err(error),
        Err(error) => Ok(Box::new(procfs::Procfs::new(error.to_string()))),
    }
}

/// The systemd unit that a process is in, as its control group says; none when it is gone or in none.
#[must_use]
pub fn unit_of(pid: u32) -> Option<String> {
    let path = cgroup::path_of(pid).ok()??;
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    path.rsplit('/').find(is_unit).map(str::to_owned)
}

/// libbpf's errors name their causes in the alternate form.
fn described(error: &libbpf_rs::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_reads_back_what_it_shows() {
        let tag = Tag::new(0x2a).unwrap();
        assert_eq!(tag.to_string(), "000000000000002a");
        assert_eq!(tag.to_string().parse(), Ok(tag));
    }

    #[test]
    fn zero_short_and_upper_case_are_no_tags() {
        assert_eq!("0000000000000000".parse::<Tag>(), Err(TagError::Zero));
        for text in ["", "2a", "00000000 000002a", "000000000000002A", "+00000000000002a"] {
            assert_eq!(text.parse::<Tag>(), Err(TagError::Shape));
        }
    }
}
