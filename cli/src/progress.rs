//! How far an order has come, in sentences.

use std::collections::BTreeSet;

use wire::api::{HostProgress, OrderProgress};
use wire::identifier::HostName;

use crate::duration::took;
use crate::render::{Tone, count};

/// What kind of order is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ends sessions.
    Lock,
    /// Ends nothing.
    Unlock,
}

/// Tells each host's outcome once, as it comes.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told: BTreeSet<HostName>,
}

impl Teller {
    /// Sentences about hosts that have finished since the last call.
    pub(crate) fn news(&mut self, progress: &OrderProgress, kind: Kind) -> Vec<(Tone, String)> {
        let mut news = Vec::new();
        for host in progress.hosts.iter().filter(|host| is_done(host)) {
            if self.told.insert(host.host.clone())
                && let Some(sentence) = outcome(host, kind)
            {
                news.push(sentence);
            }
        }
        news
    }
}

/// Sentences about hosts that have not finished, and what that means.
pub(crate) fn unfinished(progress: &OrderProgress, kind: Kind) -> Vec<(Tone, String)> {
    let hosts = progress.hosts.iter().filter(|host| !is_done(host));
    hosts.map(|host| (Tone::Warning, format!("{}: {}", host.host, meaning(host, kind)))).collect()
}

/// The last line: `3 of 3 hosts, 2 sessions ended, 0 survivors, 41 ms`.
pub(crate) fn summary(progress: &OrderProgress, kind: Kind) -> String {
    let done = progress.hosts.iter().filter(|host| is_done(host)).count();
    let hosts = count(u64::try_from(progress.hosts.len()).unwrap_or(u64::MAX), "host");
    let span = took(progress.took_micros);
    match kind {
        Kind::Unlock => format!("{done} of {hosts}, {span}"),
        Kind::Lock => {
            let sessions = count(sum(progress, |receipt| receipt.sessions), "session");
            format!(
                "{done} of {hosts}, {sessions} ended, {}, {span}",
                count(survivors(progress), "survivor")
            )
        }
    }
}

/// Whether what was ordered is so: for a lock, each host has finished and nobody survived; for an unlock, each host that
/// can be reached has taken it, as an absent one only refuses for longer.
pub(crate) fn is_success(progress: &OrderProgress, kind: Kind) -> bool {
    match kind {
        Kind::Unlock => progress.complete,
        Kind::Lock => progress.hosts.iter().all(is_done) && survivors(progress) == 0,
    }
}

/// Processes that hosts say are still alive.
fn survivors(progress: &OrderProgress) -> u64 {
    sum(progress, |receipt| receipt.survivors)
}

fn is_done(host: &HostProgress) -> bool {
    host.receipt.as_ref().is_some_and(|receipt| receipt.done)
}

fn outcome(host: &HostProgress, kind: Kind) -> Option<(Tone, String)> {
    let receipt = host.receipt.as_ref()?;
    if kind == Kind::Unlock || (receipt.sessions == 0 && receipt.survivors == 0) {
        return None;
    }
    let tone = if receipt.survivors == 0 { Tone::Good } else { Tone::Bad };
    let sentence = format!(
        "{}: {} ended, {} killed, {}, {}",
        host.host,
        count(receipt.sessions.into(), "session"),
        count(receipt.killed.into(), "process"),
        count(receipt.survivors.into(), "survivor"),
        took(receipt.took_micros)
    );
    Some((tone, sentence))
}

fn meaning(host: &HostProgress, kind: Kind) -> &'static str {
    match (kind, host.connected, host.receipt.is_some()) {
        (Kind::Lock, true, true) => "in force, and still ending sessions",
        (Kind::Lock, true, false) => "has not answered yet; what runs there may go on",
        (Kind::Lock, false, _) => {
            "not connected; no new certificate is issued, but one issued before opens it until it ends, and what runs \
             there goes on until its grant ends or the host returns and gets this order"
        }
        (Kind::Unlock, true, _) => "has not answered yet; it still refuses",
        (Kind::Unlock, false, _) => {
            "not connected; it refuses until it returns and gets this order"
        }
    }
}

fn sum(progress: &OrderProgress, of: impl Fn(&wire::record::Receipt) -> u32) -> u64 {
    progress
        .hosts
        .iter()
        .filter_map(|host| host.receipt.as_ref())
        .map(|receipt| u64::from(of(receipt)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::identifier::OrderNumber;
    use wire::record::Receipt;
    use wire::time::Timestamp;

    fn host(name: &str, connected: bool, receipt: Option<(u32, u32, bool)>) -> HostProgress {
        let order = OrderNumber::try_new(4).unwrap();
        let receipt = receipt.map(|(sessions, survivors, done)| Receipt {
            order,
            sessions,
            killed: 7,
            survivors,
            took_micros: 38_000,
            done,
        });
        HostProgress { host: name.parse().unwrap(), connected, receipt }
    }

    fn progress(hosts: Vec<HostProgress>, complete: bool) -> OrderProgress {
        let order = OrderNumber::try_new(4).unwrap();
        OrderProgress { order, at: Timestamp::from_secs(0), hosts, took_micros: 41_234, complete }
    }

    #[test]
    fn a_finished_lock_is_one_line() {
        let hosts =
            ["a", "b", "c"].map(|name| host(name, true, Some((u32::from(name != "c"), 0, true))));
        let progress = progress(hosts.to_vec(), true);
        assert_eq!(
            summary(&progress, Kind::Lock),
            "3 of 3 hosts, 2 sessions ended, 0 survivors, 41 ms"
        );
        assert_eq!(summary(&progress, Kind::Unlock), "3 of 3 hosts, 41 ms");
        assert!(is_success(&progress, Kind::Lock));
        assert!(unfinished(&progress, Kind::Lock).is_empty());
    }

    #[test]
    fn each_host_is_told_once_and_only_where_something_ended() {
        let mut teller = Teller::default();
        let first =
            progress(vec![host("a", true, Some((1, 0, true))), host("b", true, None)], false);
        let told = "a: 1 session ended, 7 processes killed, 0 survivors, 38 ms";
        assert_eq!(teller.news(&first, Kind::Lock), [(Tone::Good, told.to_owned())]);
        assert!(teller.news(&first, Kind::Lock).is_empty());
        let then = progress(vec![host("b", true, Some((0, 0, true)))], true);
        assert!(teller.news(&then, Kind::Lock).is_empty());
    }

    #[test]
    fn a_survivor_is_no_success() {
        let progress = progress(vec![host("a", true, Some((1, 1, true)))], true);
        assert!(!is_success(&progress, Kind::Lock));
        assert_eq!(Teller::default().news(&progress, Kind::Lock)[0].0, Tone::Bad);
        assert!(summary(&progress, Kind::Lock).contains("1 survivor,"));
    }

    #[test]
    fn an_absent_host_is_named_with_what_it_means() {
        let progress =
            progress(vec![host("a", true, Some((0, 0, true))), host("b", false, None)], true);
        let said = unfinished(&progress, Kind::Lock);
        assert_eq!(said.len(), 1);
        assert!(!is_success(&progress, Kind::Lock), "its sessions may go on");
        assert!(is_success(&progress, Kind::Unlock));
        assert!(said[0].1.starts_with("b: not connected; no new certificate"), "{said:?}");
        assert_eq!(
            summary(&progress, Kind::Lock),
            "1 of 2 hosts, 0 sessions ended, 0 survivors, 41 ms"
        );
    }
}
