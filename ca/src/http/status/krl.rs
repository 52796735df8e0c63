//! Which hosts have the newest list of revoked keys, and what to say about the others.

use wire::api::{KrlBehind, KrlStatus, MAX_BEHIND};
use wire::identifier::HostName;
use wire::krl::signed::KrlStanding;

use super::count;
use crate::authority::Authority;
use crate::clock;
use crate::krl::List;
use crate::ledger::HostRow;

/// Which hosts have this list, and what to say about those that are connected and should have it by now.
pub(super) fn standing(
    authority: &Authority,
    hosts: &[HostRow],
    list: &List,
) -> (KrlStatus, Vec<String>) {
    let is_late = clock::instant().saturating_duration_since(list.since()) > LIST_PATIENCE;
    let (mut others, mut concerns) = (Vec::new(), Vec::new());
    for host in hosts {
        let presence = authority.fleet.presence(&host.name);
        let is_connected = presence.is_some();
        let krl = presence.map_or_else(|| host.krl.clone(), |presence| presence.krl);
        let Some(named) = behind(&host.name, krl, list.version()) else { continue };
        if is_connected && is_late {
            concerns.push(late(&named, list.version()));
        }
        others.push(named);
    }
    let extent = list.extent();
    let status = KrlStatus {
        version: list.version(),
        generated: list.generated(),
        bytes: count(list.bytes().len()),
        build_micros: u64::try_from(list.took().as_micros()).unwrap_or(u64::MAX),
        certificates: count(list.revoked().serials.len()),
        keys: extent.keys.saturating_add(extent.fingerprints),
        current: count(hosts.len().saturating_sub(others.len())),
        hosts: count(hosts.len()),
        behind: others.into_iter().take(MAX_BEHIND).collect(),
    };
    (status, concerns)
}

fn behind(host: &HostName, krl: Option<KrlStanding>, newest: u64) -> Option<KrlBehind> {
    let is_current = krl.as_ref().is_some_and(|krl| krl.version >= newest && krl.trouble.is_none());
    let (version, trouble) = krl.map_or((None, None), |krl| (Some(krl.version), krl.trouble));
    (!is_current).then(|| KrlBehind { host: host.clone(), version, trouble })
}

fn late(behind: &KrlBehind, newest: u64) -> String {
    let host = &behind.host;
    match (&behind.trouble, behind.version) {
        (Some(trouble), _) => {
            format!(
                "sshd on host {host} does not refuse what list {newest} of revoked keys names: {trouble}"
            )
        }
        (None, None) => format!(
            "the agent of host {host} is too old for lists of revoked keys; upgrade it, then run `curfew-agent install` there"
        ),
        (None, Some(version)) => format!(
            "host {host} has list {version} of revoked keys and {newest} is the newest; look at curfew-agent there"
        ),
    }
}

/// A connected host has a new list in place long before this, but for lists that take a login as long.
const LIST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_where_sshd_reads_the_newest_list_is_current() {
        let host: HostName = "db1".parse().unwrap();
        let standing = |version, trouble: Option<&str>| {
            Some(KrlStanding { version, trouble: trouble.map(str::to_owned) })
        };
        assert_eq!(behind(&host, standing(812, None), 812), None);
        assert_eq!(behind(&host, standing(813, None), 812), None, "made just now");
        let table = [
            (None, "db1 (its agent is too old)", "too old"),
            (standing(0, None), "db1 (none)", "has list 0"),
            (standing(811, None), "db1 (811)", "812 is the newest"),
            (standing(812, Some("no sshd")), "db1 (812)", "names: no sshd"),
        ];
        for (krl, words, concern) in table {
            let named = behind(&host, krl, 812).unwrap();
            assert_eq!(named.in_words(), words);
            assert!(late(&named, 812).contains(concern), "{}", late(&named, 812));
        }
    }
}
