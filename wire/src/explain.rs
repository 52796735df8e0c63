//! What a process on a host belongs to, and by what evidence: the answer of `curfew-agent explain`.
//!
//! Evidence is ranked: the kernel's tag decides where there is one; the rest is what `/proc` and logind show, which root in a
//! session can change. What disagrees is named, never smoothed over.

use serde::{Deserialize, Serialize};

use crate::identifier::SessionId;
use crate::octets::Octets;

/// A process, and what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The process that was asked about.
    pub pid: i32,
    /// When it started, in the kernel's clock ticks after boot.
    pub start_ticks: u64,
    /// The name that it gives itself.
    pub command: Octets,
    /// The file that it runs; nothing for the kernel's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Octets>,
    /// The user it runs as.
    pub uid: u32,
    /// Its parent.
    pub parent: i32,
    /// What it belongs to.
    pub belongs: Belongs,
    /// What each mark says.
    pub evidence: Vec<Evidence>,
    /// What does not agree, one sentence each.
    pub disagreements: Vec<String>,
}

/// What a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Belongs {
    /// A session under the authority, by the kernel's tag or, in the degraded tier, by what it carries.
    Session(SessionId),
    /// No session by its tag, and yet it carries marks of sessions: work that was handed to a daemon, most likely.
    Delegated {
        /// The sessions it may come from.
        candidates: Vec<SessionId>,
    },
    /// A login that is not under the authority.
    Outside {
        /// The audit session that the login got.
        audit_session: u32,
        /// The user who logged in.
        login_uid: u32,
    },
    /// The kernel itself.
    Kernel,
    /// A process in a process namespace of its own: a container, most likely.
    Container,
    /// The host's own: a service, or what nobody's login started.
    Host,
}

/// One mark of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which mark.
    pub mark: Mark,
    /// What it holds, for people.
    pub holds: String,
    /// The session that it names, when it names one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

/// The marks that a process may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The kernel's tag, copied at each fork.
    Tag,
    /// Its ancestors.
    Parentage,
    /// The audit session id that PAM gave the login.
    AuditSession,
    /// The user who logged in, as PAM wrote it.
    LoginUid,
    /// The control group that logind made.
    Cgroup,
    /// The process namespace.
    Namespace,
}

impl Mark {
    /// Its name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "kernel tag",
            Self::Parentage => "parentage",
            Self::AuditSession => "audit session",
            Self::LoginUid => "login uid",
            Self::Cgroup => "control group",
            Self::Namespace => "pid namespace",
        }
    }
}
