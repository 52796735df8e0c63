//! Hosts that fall silent while people are on them: somebody there may have stopped the agent, cut the link or shut the
//! network off. That is an incident, once a silence; of a host without sessions the status says that it is unreachable.
//!
//! Measured on the authority's own clock that nobody can set, from when it last heard of the host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wire::identifier::HostName;
use wire::incident::Cause;
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::LedgerError;

/// Looks for silent hosts until it is stopped.
pub(crate) async fn watch(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut silences = match authority.ledger.hosts().await {
        Ok(hosts) => {
            // Who does not come back after the authority was away is silent too.
            let known = hosts.into_iter().filter_map(|host| Some((host.name, host.seen?)));
            Silences::begin(known, clock::instant())
        }
        Err(error) => {
            tracing::error!(%error, "hosts that do not come back are not noticed");
            Silences::default()
        }
    };
    while unless_stopped(&mut stop, tokio::time::sleep(LOOK)).await.is_some() {
        for (host, seen) in silences.look(authority.fleet.heard(), clock::instant()) {
            if let Err(error) = tell(&authority, host.clone(), seen).await {
                tracing::error!(%host, %error, "the silence of a host could not be recorded");
                silences.again(&host);
            }
        }
    }
}

/// Opens the incident where people are on the host.
async fn tell(authority: &Authority, host: HostName, seen: Timestamp) -> Result<(), LedgerError> {
    let now = clock::now();
    let row = authority.ledger.hosts().await?.into_iter().find(|row| row.name == host);
    if row.is_none_or(|row| row.is_elsewhere(now)) {
        return Ok(());
    }
    let sessions = authority.ledger.sessions_on(host.clone()).await?;
    if sessions == 0 {
        return Ok(());
    }
    authority.ledger.notice(host, Cause::Silent { since: seen, sessions }, now).await
}

/// When each host was heard of last.
#[derive(Debug, Default)]
struct Silences {
    hosts: BTreeMap<HostName, Heard>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// When, as it stands in the listings.
    seen: Timestamp,
    /// When that was noticed here.
    noticed: Instant,
    told: bool,
}

impl Silences {
    fn begin(known: impl Iterator<Item = (HostName, Timestamp)>, now: Instant) -> Self {
        let heard = |seen| Heard { seen, noticed: now, told: false };
        Self { hosts: known.map(|(host, seen)| (host, heard(seen))).collect() }
    }

    /// Takes when connected hosts were heard of, and gives those that have been silent for too long, each once.
    fn look(
        &mut self,
        connected: BTreeMap<HostName, Timestamp>,
        now: Instant,
    ) -> Vec<(HostName, Timestamp)> {
        for (host, seen) in connected {
            let heard = Heard { seen, noticed: now, told: false };
            let known = self.hosts.entry(host).or_insert(heard);
            if known.seen != seen {
                *known = heard;
            }
        }
        let mut silent = Vec::new();
        for (host, heard) in &mut self.hosts {
            if !heard.told && now.saturating_duration_since(heard.noticed) >= QUIET {
                heard.told = true;
                silent.push((host.clone(), heard.seen));
            }
        }
        silent
    }

    /// It could not be told; at the next look it is due again.
    fn again(&mut self, host: &HostName) {
        if let Some(heard) = self.hosts.get_mut(host) {
            heard.told = false;
        }
    }
}

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a host with people on it may say nothing. It says something every five seconds; what is promised is fifteen.
const QUIET: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    fn db(number: u8) -> HostName {
        format!("db{number}").parse().unwrap()
    }

    fn heard(hosts: &[(u8, u64)]) -> BTreeMap<HostName, Timestamp> {
        hosts.iter().map(|(host, at)| (db(*host), Timestamp::from_secs(*at))).collect()
    }

    #[test]
    fn a_host_is_silent_once_and_again_only_after_it_was_heard_of() {
        let start = clock::instant();
        let at = |secs| start + Duration::from_secs(secs);
        let mut silences = Silences::begin(heard(&[(2, 1)]).into_iter(), start);
        assert!(silences.look(heard(&[(1, 100)]), at(0)).is_empty());
        assert!(silences.look(heard(&[(1, 105)]), at(5)).is_empty());
        // One that is connected and says nothing, and one that never came back.
        let silent = silences.look(heard(&[(1, 105)]), at(12));
        assert_eq!(silent, [(db(2), Timestamp::from_secs(1))]);
        let silent = silences.look(heard(&[(1, 105)]), at(17));
        assert_eq!(silent, [(db(1), Timestamp::from_secs(105))]);
        assert!(silences.look(heard(&[]), at(60)).is_empty(), "each once");
        assert!(silences.look(heard(&[(1, 160)]), at(61)).is_empty());
        assert_eq!(silences.look(heard(&[]), at(73)).len(), 1);
        silences.again(&db(1));
        assert_eq!(silences.look(heard(&[]), at(74)).len(), 1);
    }
}
