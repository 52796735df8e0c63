//! `curfew-files`: has the kernel tell which files are closed after writing, and which of a list are opened.
//!
//! The kernel takes marks on whole file systems from nobody but a holder of `CAP_SYS_ADMIN`, which the agent must not have.
//! So a small program of its own holds that right and nothing else: it makes the group, keeps its marks as file systems
//! come and go, and hands the group's descriptor to the agent, which reads it without any right.
//!
//! In reading order: [`Ask`] and [`Watching`] are what the two say to each other, [`mounts`] is which file systems are
//! watched, [`watch`] sets the marks, [`serve`] turns the one loop.
//!
//! Source: `fanotify(7)`, `fanotify_mark(2)`, `proc_pid_mountinfo(5)`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod mounts;
pub mod serve;
pub mod watch;

/// What the agent asks for: one frame on a new connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The version of this format.
    pub version: u32,
    /// Files whose opening is told as well, whatever for.
    pub sensitive: Vec<PathBuf>,
}

/// What the agent is answered: one frame, and with it the group's descriptor, unless there is trouble.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watching {
    /// The version of this format.
    pub version: u32,
    /// How many file systems are watched.
    pub filesystems: usize,
    /// Where the kernel said no, and why, a sentence each; at most [`MAX_MISSED`].
    #[serde(default)]
    pub missed: Vec<String>,
    /// Why nothing is watched at all.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// The version of what is said here.
pub const VERSION: u32 = 1;
/// The socket, in the folder of the agent's sockets.
pub const SOCKET: &str = "files.sock";
/// Most files whose opening is told.
pub const MAX_SENSITIVE: usize = 64;
/// Most refusals of the kernel that are passed on.
pub const MAX_MISSED: usize = 16;
