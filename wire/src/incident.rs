//! What the authority keeps of an incident until an operator settles it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::breakglass::Use;
use crate::identifier::{
    Custodian, HostName, Identity, QuorumName, RequestId, RoleName, SessionId,
};
use crate::log::Head;
use crate::octets::{Octets, plain};
use crate::record::{Crossed, Incident};
use crate::request::Sentence;
use crate::time::Timestamp;

/// Something that must never happen, as the authority heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A host reports it.
    Reported(Incident),
    /// A host saw a certificate that our authority signed, of a serial that the ledger never gave, or gave to another.
    Unissued {
        /// The serial in it.
        serial: u64,
        /// Its key id.
        key_id: Octets,
        /// The unix account that it was shown for.
        login: Octets,
        /// From where, as sshd gave it.
        remote: String,
        /// Whether a session began with it.
        began: bool,
        /// Whether it may have been issued after the backup from which this ledger was restored.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
    },
    /// A session went beyond a threshold of its role.
    Threshold {
        /// The session.
        session: SessionId,
        /// What was crossed, and what came of it.
        crossed: Crossed,
    },
    /// A host believes a tree that the ledger does not have: the ledger went back, or is another.
    Ahead {
        /// The host's tree.
        known: Head,
        /// The ledger's newest.
        newest: Head,
    },
    /// A host does not have records any more that this ledger lacks: one that was given up had acknowledged them.
    Gone {
        /// The first of them.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Records in a host's spool are not what the host wrote, or are gone from it.
    Spoiled {
        /// The first of them.
        from: u64,
        /// The last.
        to: u64,
        /// What is wrong with them.
        flaw: String,
    },
    /// A host with people on it says nothing any more: its agent, its link or its network was stopped there.
    Silent {
        /// When it was last heard of.
        since: Timestamp,
        /// How many sessions were alive on it then.
        sessions: u64,
    },
    /// A reviewer found that what was done in a session must be looked into.
    Reviewed {
        /// The session.
        session: SessionId,
        /// Who reviewed it.
        by: String,
        /// Why.
        note: String,
    },
    /// What came as a host's word on the end of a session is not signed by its agent, or is no such word.
    Unbelieved {
        /// The session.
        session: SessionId,
        /// What is wrong with it.
        flaw: String,
    },
    /// A witness knows a tree that this ledger does not continue.
    Witnessed {
        /// The witness.
        witness: String,
        /// How many entries its tree has.
        size: u64,
        /// The ledger's newest.
        newest: Head,
    },
    /// Break-glass was used, and no custodian's receipt accounts for it.
    Unreceipted {
        /// What the host saw.
        used: Box<Use>,
        /// What the receipts say otherwise; nothing where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// Somebody took break-glass of the authority, which nobody approved.
    BreakGlass {
        /// The request.
        request: RequestId,
        /// Who.
        identity: Identity,
        /// Under which role.
        role: RoleName,
        /// Why.
        reason: Sentence,
    },
    /// A request was approved by fewer people than its quorum has seats, because nobody else could be found in time.
    Shrunk {
        /// The request.
        request: RequestId,
        /// Who asked.
        identity: Identity,
        /// Under which role.
        role: RoleName,
        /// The quorum.
        quorum: QuorumName,
        /// Who approved.
        by: Vec<Identity>,
    },
}

/// An incident in the authority's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentView {
    /// Its number: that of its entry in the ledger.
    pub number: u64,
    /// The host that saw it.
    pub host: HostName,
    /// When the authority first heard of it.
    pub first: Timestamp,
    /// When it last heard of the same.
    pub last: Timestamp,
    /// How often it was seen.
    pub count: u64,
    /// What it is.
    pub cause: Cause,
    /// How it was settled; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
}

/// An operator's word on an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What it was, and what was done.
    pub reason: String,
}

/// "This incident is settled."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleAsk {
    /// Its number.
    pub number: u64,
    /// What it was, and what was done.
    pub reason: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported(incident) => incident.fmt(f),
            Self::Unissued { serial, key_id, login, remote, began, lost } => {
                let became = if *began { "a session began with it" } else { "it was refused" };
                let maker = if *lost {
                    "It is of before the restore: it was issued after the backup was made, or whoever made it has the user authority's key"
                } else {
                    "Whoever made it has the user authority's key"
                };
                write!(
                    f,
                    "a certificate of our own authority that the ledger never issued: serial {serial}, key id {}, login {}, \
                     from {remote}; {became}. {maker}",
                    key_id.display(),
                    login.display()
                )
            }
            Self::Witnessed { witness, size, newest } => write!(
                f,
                "witness {witness} has cosigned a tree of {size} entries that this ledger, with {} under {}, does not continue: \
                 was it forked, or an older copy put in its place?",
                newest.size, newest.root
            ),
            Self::Silent { sessions, .. } => write!(
                f,
                "the host fell silent with {sessions} sessions on it: the agent, the link or the network there was stopped, \
                 or the host itself. What happens there is not seen; sessions still end on time where the agent runs"
            ),
            Self::Threshold { session, crossed } => {
                let by =
                    crossed.program.as_ref().map(|program| format!(" by {}", program.display()));
                let by = by.unwrap_or_default();
                write!(f, "session {session}: {crossed}{by}; answered with {}", crossed.response)
            }
            Self::Ahead { known, newest } => write!(
                f,
                "the host knows a ledger of {} entries under {}, and this one has {} under {}: was an older copy put in its place?",
                known.size, known.root, newest.size, newest.root
            ),
            Self::Reviewed { session, by, note } => {
                write!(f, "session {session} must be looked into, says {by}: {note}")
            }
            Self::Unbelieved { session, flaw } => write!(
                f,
                "what came as this host's word on the end of session {session} is not believed: {flaw}. Look at the host and at its \
                 link: who made it does not have the agent's key"
            ),
            Self::Unreceipted { used, fault } => unreceipted(used, fault.as_deref(), f),
            Self::BreakGlass { .. } | Self::Shrunk { .. } => self.without_approval(f),
            Self::Gone { .. } | Self::Spoiled { .. } => self.of_records(f),
        }
    }
}

impl Cause {
    /// What became of records on their way.
    fn of_records(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spoiled { from, to, flaw } if from == to => {
                write!(f, "record {from} of the host's spool: {}", plain(flaw))
            }
            Self::Spoiled { from, to, flaw } => {
                write!(f, "records {from} to {to} of the host's spool: {}", plain(flaw))
            }
            Self::Gone { from, to } => write!(
                f,
                "records {from} to {to} are lost: this ledger does not have them, and the host has them no more. A ledger that was \
                 given up had acknowledged them, or they were taken out of the host's spool"
            ),
            _ => Ok(()),
        }
    }

    /// What went on without the approval that is usual.
    fn without_approval(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BreakGlass { request, identity, role, reason } => write!(
                f,
                "BREAK-GLASS by {identity}, which nobody approved: role {role}, request {request}: {reason}. Somebody else must \
                 review it within a day: `curfew breakglass review {request}`"
            ),
            Self::Shrunk { request, identity, role, quorum, by } => {
                let by: Vec<&str> = by.iter().map(Identity::as_str).collect();
                write!(
                    f,
                    "request {request} of {identity} for role {role} was approved by {} alone: nobody else filled a seat of \
                     quorum {quorum} in time",
                    by.join(" and ")
                )
            }
            _ => Ok(()),
        }
    }
}

fn unreceipted(used: &Use, fault: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let custodians: Vec<&str> = used.name.custodians.iter().map(Custodian::as_str).collect();
    let why = fault.map_or_else(
        || "and no custodian has handed in a receipt of it".to_owned(),
        |fault| format!("and the receipts say otherwise: {fault}"),
    );
    write!(
        f,
        "break-glass was used for {} (serial {}, in the names of {}), {why}. Ask them; who else could have signed has shares of \
         the group's key",
        used.name.incident,
        used.name.serial,
        custodians.join(" and ")
    )
}
