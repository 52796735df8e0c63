//! A report of an incident: what happened, under what, what was done about it, and which entries of the ledger say so.
//! `POST /v1/incidents/{number}/report`.
//!
//! It is bounded, and says how much it leaves out. What strangers wrote is in it as they wrote it: whoever shows it escapes it.
//! Who can change this: whoever holds the file. Gains: tells another story, which the ledger's entries contradict.

use serde::{Deserialize, Serialize};

use crate::api::{GrantView, HostProgress, OrderProgress, SessionView};
use crate::identifier::{Fingerprint, OrderNumber};
use crate::incident::IncidentView;
use crate::kill::KillView;
use crate::lock::Target;
use crate::log::{Hash, Head};
use crate::octets::Octets;
use crate::odd::Odd;
use crate::request::RequestDetail;
use crate::retention::Deleted;
use crate::time::Timestamp;

/// All that the authority knows of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// When it was made.
    pub made: Timestamp,
    /// For whom.
    pub by: String,
    /// The entry that says so.
    pub reading: u64,
    /// The authority, by its root.
    pub authority: Fingerprint,
    /// The ledger's newest tree then.
    pub tree: Head,
    /// The incident.
    pub incident: IncidentView,
    /// How its sessions belong to it.
    pub relation: Relation,
    /// Sessions, in order of time.
    pub sessions: Vec<ReportedSession>,
    /// How many more there were.
    pub more_sessions: u64,
    /// The requests that they were under, with who approved.
    pub requests: Vec<RequestDetail>,
    /// Locks that cover them, and what lifted these, in order.
    pub orders: Vec<ReportedOrder>,
    /// How many more there were.
    pub more_orders: u64,
    /// The entries that this rests on, in order.
    pub entries: Vec<EntryRef>,
    /// How many more there were.
    pub more_entries: u64,
    /// Whether there were too many entries in that time to look at all of them: some may be missing here.
    pub unsearched: bool,
}

/// How sessions belong to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// It is of them.
    Subject,
    /// They were on its host at that time; it says nothing of them.
    Around,
}

/// A session of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedSession {
    /// The session.
    pub session: SessionView,
    /// The grant that it was under, as it stands now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantView>,
    /// What was odd in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd: Option<Odd>,
    /// What its host said last of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<KillView>,
    /// What was done in it, by kind.
    pub deeds: Vec<Deeds>,
    /// What of it was deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<Deleted>,
}

/// What was done in a session, of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deeds {
    /// Of which kind.
    pub kind: DeedKind,
    /// How often in all.
    pub total: u64,
    /// Different things, in the order in which they came first: at most [`MAX_NAMED`].
    pub named: Vec<Named>,
    /// How many records are of things that are not named.
    pub more: u64,
}

/// Kinds of deeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeedKind {
    /// Programs that were started, with their arguments.
    Ran,
    /// Where was connected to.
    Connected,
    /// Where was listened.
    Listened,
    /// Files that were written.
    Wrote,
    /// Watched files that were opened.
    Opened,
    /// Thresholds that were crossed.
    Crossed,
    /// What was lost or not seen.
    Unseen,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// What; cut at [`MAX_WORDS`] bytes.
    pub what: Octets,
    /// How often.
    pub times: u64,
    /// When first, by the host's clock.
    pub first: Timestamp,
}

/// An order of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedOrder {
    /// Its number.
    pub order: OrderNumber,
    /// When.
    pub at: Timestamp,
    /// Who gave it.
    pub by: String,
    /// Why, where it locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it locks, or unlocks.
    pub target: Target,
    /// Whether it unlocks.
    pub lifted: bool,
    /// To how many hosts it went.
    pub hosts: u64,
    /// How many of them are done with it.
    pub done: u64,
    /// Of hosts on which it ended sessions, or that are not done: how far they have come, with what they signed of each session.
    /// At most [`MAX_HOSTS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<OrderProgress>,
    /// How many more of these there were.
    pub more: u64,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRef {
    /// Its number.
    pub entry: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// The hash of its leaf, as it is in the tree.
    pub hash: Hash,
}

impl DeedKind {
    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Connected => "connected to",
            Self::Listened => "listened at",
            Self::Wrote => "wrote",
            Self::Opened => "opened",
            Self::Crossed => "crossed",
            Self::Unseen => "not seen",
        }
    }
}

impl ReportedOrder {
    /// Says how far hosts have come with it.
    pub fn came_to(&mut self, mut progress: OrderProgress) {
        let is_done =
            |host: &HostProgress| host.receipt.as_ref().is_some_and(|receipt| receipt.done);
        let ended = |host: &HostProgress| {
            host.receipt.as_ref().is_some_and(|receipt| receipt.sessions > 0)
                || host.kills.is_some_and(|kills| kills.sessions > 0)
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.hosts = count(progress.hosts.len());
        self.done = count(progress.hosts.iter().filter(|host| is_done(host)).count());
        progress.hosts.retain(|host| ended(host) || !is_done(host));
        self.more = count(progress.hosts.len().saturating_sub(MAX_HOSTS));
        progress.hosts.sort_by_key(|host| !ended(host));
        progress.hosts.truncate(MAX_HOSTS);
        self.progress = Some(progress);
    }
}

/// Most different things of a kind that are named of one session.
pub const MAX_NAMED: usize = 50;
/// Longest of them, in bytes.
pub const MAX_WORDS: usize = 200;
/// Most sessions of a report.
pub const MAX_SESSIONS: usize = 20;
/// Most hosts of one order.
pub const MAX_HOSTS: usize = 100;
/// Most orders.
pub const MAX_ORDERS: usize = 50;
/// Most entries.
pub const MAX_ENTRIES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Receipt;

    fn host(name: &str, sessions: u32, done: bool) -> HostProgress {
        let order = OrderNumber::try_new(4).unwrap();
        let (killed, survivors, took_micros, kills) = (0, 0, 1, 0);
        let receipt = Receipt { order, sessions, killed, survivors, took_micros, done, kills };
        let receipt = Some(receipt);
        HostProgress { host: name.parse().unwrap(), connected: true, receipt, kills: None }
    }

    #[test]
    fn of_many_hosts_those_are_named_where_something_ended_or_is_not_done() {
        let mut hosts: Vec<HostProgress> =
            (0..5_000).map(|number| host(&format!("idle{number}"), 0, true)).collect();
        hosts.extend((0..150).map(|number| host(&format!("late{number}"), 0, false)));
        hosts.push(host("db1", 2, true));
        let (order, at) = (OrderNumber::try_new(4).unwrap(), Timestamp::from_secs(1));
        let mut told = ReportedOrder {
            order,
            at,
            by: "ops".into(),
            reason: None,
            target: Target::Identity("ana".parse().unwrap()),
            lifted: false,
            hosts: 0,
            done: 0,
            progress: None,
            more: 0,
        };
        told.came_to(OrderProgress { order, at, hosts, took_micros: 9, complete: false });
        assert_eq!((told.hosts, told.done, told.more), (5_151, 5_001, 51));
        let named = told.progress.unwrap().hosts;
        assert_eq!((named.len(), named[0].host.as_str()), (MAX_HOSTS, "db1"));
    }
}
