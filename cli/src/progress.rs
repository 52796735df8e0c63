//! How far an order has come, in sentences.

use std::collections::BTreeSet;

use wire::api::{HostProgress, OrderProgress};
use wire::identifier::HostName;
use wire::kill::Kills;

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

/// What it took on each host, and on all together where there are several.
pub(crate) fn steps(progress: &OrderProgress) -> Vec<(Tone, String)> {
    let ended = |host: &&HostProgress| host.kills.is_some_and(|kills| kills.sessions > 0);
    let hosts: Vec<&HostProgress> = progress.hosts.iter().filter(ended).collect();
    let told = |kills: &Kills| {
        let whole = kills.survivors == 0 && kills.signed == kills.sessions;
        if whole { Tone::Plain } else { Tone::Bad }
    };
    let mut steps: Vec<(Tone, String)> = hosts
        .iter()
        .filter_map(|host| Some((host, host.kills?)))
        .map(|(host, kills)| (told(&kills), format!("{}: {kills}", host.host)))
        .collect();
    if steps.len() > 1 {
        let all = progress.kills();
        steps.push((told(&all), format!("in all: {all}")));
    }
    for host in progress.hosts.iter().filter(|host| host.kills.is_some()) {
        let promised = host.receipt.as_ref().map_or(0, |receipt| receipt.kills);
        let missing = promised.saturating_sub(host.kills.map_or(0, |kills| kills.over));
        if missing > 0 {
            let sessions = count(missing.into(), "session");
            let words = "is not told yet that all that it had handed on is over too";
            steps.push((Tone::Warning, format!("{}: of {sessions} it {words}", host.host)));
        }
    }
    steps
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
        Kind::Lock => {
            let alive = survivors(progress).saturating_add(progress.kills().survivors.into());
            progress.hosts.iter().all(is_done) && alive == 0
        }
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
    use wire::record::{Receipt, Tally};
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
            kills: sessions,
        });
        HostProgress { host: name.parse().unwrap(), connected, receipt, kills: None }
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
    fn what_it_took_is_told_of_each_host_and_of_all_and_what_is_missing_is_said() {
        let kills = |alone, signed| {
            let killed = Tally { alone, ..Tally::default() };
            Kills { sessions: 1, over: 1, signed, killed, ..Kills::default() }
        };
        let with = |name, kills| {
            let kills = Some(kills);
            HostProgress { kills, ..host(name, true, Some((1, 0, true))) }
        };
        let hosts = vec![
            with("a", kills(3, 1)),
            with("b", kills(4, 0)),
            with("c", Kills::default()),
            host("d", true, Some((1, 0, true))),
        ];
        let progress = progress(hosts, true);
        let told = steps(&progress);
        let texts: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
        assert!(texts[0].starts_with("a: 3 killed") && texts[0].ends_with("signed by the host"));
        assert!(texts[1].ends_with("1 of 1 NOT SIGNED by the host") && told[1].0 == Tone::Bad);
        assert!(texts[2].starts_with("in all: 7 killed"), "{texts:?}");
        assert!(texts[3].starts_with("c: of 1 session it is not told yet"), "{texts:?}");
        assert_eq!(texts.len(), 4);
        assert!(!progress.kills_are_in());
    }

    #[test]
    fn who_is_alive_of_handed_work_is_no_success() {
        let alive = Kills { sessions: 1, survivors: 1, ..Kills::default() };
        let kills = Some(alive);
        let one = HostProgress { kills, ..host("a", true, Some((1, 0, true))) };
        let progress = progress(vec![one], true);
        assert!(!is_success(&progress, Kind::Lock));
        assert_eq!(steps(&progress)[0].0, Tone::Bad);
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
