//! Who can get where by which role, and when each of it was last used. Pure.
//!
//! What policy demands, and whom it shuts out, is not in it: that depends on the moment. A role that is not held is not given by any policy,
//! so that nobody gets anywhere that is not here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::identifier::{HostName, Identity, Label, Login, RoleName, TeamName};
use wire::identity::Kind;
use wire::time::Timestamp;

use crate::role::{Holder, Role, Roles};

/// What somebody can get by one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// Who.
    pub(crate) identity: Identity,
    /// A person or a workload.
    pub(crate) kind: Kind,
    /// By which role.
    pub(crate) role: RoleName,
    /// The teams by which they have it; none, where they are named in it.
    pub(crate) teams: BTreeSet<TeamName>,
    /// Whether somebody must approve a request first, by the role itself.
    pub(crate) on_request: bool,
    /// As whom, and when each was last used.
    pub(crate) logins: BTreeMap<Login, Option<Timestamp>>,
    /// Where, and when each was last used.
    pub(crate) hosts: BTreeMap<HostName, Option<Timestamp>>,
}

/// Somebody, as far as roles go.
#[derive(Debug, Clone)]
pub(crate) struct Somebody {
    /// Their name.
    pub(crate) identity: Identity,
    /// A person or a workload.
    pub(crate) kind: Kind,
    /// Their teams.
    pub(crate) teams: BTreeSet<TeamName>,
}

/// That somebody used a role somewhere, the last time.
#[derive(Debug, Clone)]
pub(crate) struct LastUse {
    /// Who.
    pub(crate) identity: Identity,
    /// By which role.
    pub(crate) role: RoleName,
    /// Where.
    pub(crate) host: HostName,
    /// As whom.
    pub(crate) login: Login,
    /// When.
    pub(crate) at: Timestamp,
}

impl Reach {
    /// When anything of it was last used.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.hosts.values().chain(self.logins.values()).copied().max().flatten()
    }

    /// How many of its hosts were used since then.
    pub(crate) fn hosts_used(&self, since: Timestamp) -> usize {
        used(&self.hosts, since)
    }

    /// Whether there is a host or an account of it that was not used since then.
    pub(crate) fn is_wider_than_used(&self, since: Timestamp) -> bool {
        self.hosts_used(since) < self.hosts.len() || used(&self.logins, since) < self.logins.len()
    }
}

fn used<K>(last: &BTreeMap<K, Option<Timestamp>>, since: Timestamp) -> usize {
    last.values().filter(|at| at.is_some_and(|at| at >= since)).count()
}

/// All that there is to get, in order of names; roles that reach no host are left out.
pub(crate) fn inventory(
    people: &[Somebody],
    hosts: &[(HostName, BTreeSet<Label>)],
    roles: &Roles,
    uses: &[LastUse],
) -> Vec<Reach> {
    let mut used: BTreeMap<(&Identity, &RoleName), Vec<&LastUse>> = BTreeMap::new();
    for one in uses {
        used.entry((&one.identity, &one.role)).or_default().push(one);
    }
    let mut found = Vec::new();
    for (name, role) in roles.iter() {
        let reached: Vec<&HostName> = hosts
            .iter()
            .filter(|(host, labels)| role.reaches(host, labels))
            .map(|(host, _)| host)
            .collect();
        for one in people.iter().filter(|_| !reached.is_empty()) {
            let holder = Holder { identity: &one.identity, kind: one.kind, teams: &one.teams };
            if role.is_had_by(holder) {
                let uses = used.get(&(&one.identity, name)).map_or(&[][..], Vec::as_slice);
                found.push(reach(one, (name, role), (&reached, uses)));
            }
        }
    }
    found.sort_by(|one, other| (&one.identity, &one.role).cmp(&(&other.identity, &other.role)));
    found
}

fn reach(
    one: &Somebody,
    (name, role): (&RoleName, &Role),
    (reached, uses): (&[&HostName], &[&LastUse]),
) -> Reach {
    let last = |is_it: &dyn Fn(&LastUse) -> bool| {
        uses.iter().filter(|found| is_it(found)).map(|found| found.at).max()
    };
    let is_named = role.members.contains(&one.identity);
    Reach {
        identity: one.identity.clone(),
        kind: one.kind,
        role: name.clone(),
        teams: if is_named {
            BTreeSet::new()
        } else {
            role.teams.intersection(&one.teams).cloned().collect()
        },
        on_request: !role.is_free(),
        logins: role
            .logins
            .iter()
            .map(|login| (login.clone(), last(&|found| found.login == *login)))
            .collect(),
        hosts: reached
            .iter()
            .map(|host| ((*host).clone(), last(&|found| found.host == **host)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: &str = r#"
[role.deploy]
members = ["ana"]
teams = ["sre"]
logins = ["app", "deploy"]
hosts = ["env=prod"]
default_duration = "10m"
max_duration = "1h"

[role.dba]
teams = ["dba"]
logins = ["postgres"]
host_names = ["db1"]
default_duration = "10m"
max_duration = "1h"
requires = ["two"]

[role.nowhere]
members = ["ana"]
logins = ["x"]
host_names = ["gone"]
default_duration = "10m"
max_duration = "1h"

[quorum.two]
seats = [{ team = "security" }]
"#;

    fn roles() -> Roles {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roles.toml");
        std::fs::write(&path, ROLES).unwrap();
        Roles::read(&path).unwrap()
    }

    fn somebody(name: &str, teams: &[&str]) -> Somebody {
        Somebody {
            identity: name.parse().unwrap(),
            kind: Kind::Person,
            teams: teams.iter().map(|team| team.parse().unwrap()).collect(),
        }
    }

    fn host(name: &str, label: &str) -> (HostName, BTreeSet<Label>) {
        (name.parse().unwrap(), BTreeSet::from([label.parse().unwrap()]))
    }

    fn last(who: &str, role: &str, place: (&str, &str), at: u64) -> LastUse {
        LastUse {
            identity: who.parse().unwrap(),
            role: role.parse().unwrap(),
            login: place.0.parse().unwrap(),
            host: place.1.parse().unwrap(),
            at: Timestamp::from_secs(at),
        }
    }

    #[test]
    fn everybody_is_listed_with_all_that_they_reach_and_nobody_with_more() {
        let people = [somebody("ana", &["dba"]), somebody("bob", &["sre"]), somebody("eve", &[])];
        let hosts = [host("db1", "env=prod"), host("web1", "env=prod"), host("lab1", "env=lab")];
        let uses = [
            last("ana", "deploy", ("app", "db1"), 100),
            last("ana", "deploy", ("app", "web1"), 900),
            // Of a role that is not theirs any more, and of a host that is gone.
            last("eve", "deploy", ("app", "db1"), 900),
            last("ana", "deploy", ("app", "old1"), 999),
        ];
        let found = inventory(&people, &hosts, &roles(), &uses);
        let heads: Vec<(&str, &str, bool)> = found
            .iter()
            .map(|one| (one.identity.as_str(), one.role.as_str(), one.on_request))
            .collect();
        assert_eq!(
            heads,
            [("ana", "dba", true), ("ana", "deploy", false), ("bob", "deploy", false)]
        );
        let deploy = &found[1];
        let names: Vec<&str> = deploy.hosts.keys().map(HostName::as_str).collect();
        assert_eq!(names, ["db1", "web1"]);
        assert_eq!(
            deploy.last(),
            Some(Timestamp::from_secs(999)),
            "as app, on a host that is gone"
        );
        let since = Timestamp::from_secs(500);
        assert_eq!((deploy.hosts_used(since), deploy.is_wider_than_used(since)), (1, true));
        assert!(deploy.teams.is_empty() && found[2].teams.len() == 1, "by name, and by a team");
        assert_eq!((found[2].last(), found[2].hosts_used(since)), (None, 0));
    }

    #[test]
    fn what_is_used_everywhere_is_not_too_wide() {
        let people = [somebody("ana", &["dba"])];
        let uses = [last("ana", "dba", ("postgres", "db1"), 900)];
        let found = inventory(&people, &[host("db1", "env=lab")], &roles(), &uses);
        assert!(!found[0].is_wider_than_used(Timestamp::from_secs(900)));
        assert!(found[0].is_wider_than_used(Timestamp::from_secs(901)));
    }
}
