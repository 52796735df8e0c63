//! Teams: who is in which, by whose word.
//!
//! An operator, the identity provider and a directory each say who is in a team, and each takes back only what it said
//! itself; an identity is in a team while one of them says so. Every change is an entry, and counts the epoch, for it can
//! turn a yes into a no.
//! Who can change this: root on the authority's machine, and whoever may speak for the provider or the directory. Gains:
//! whatever roles and policy give to a team.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, TeamName};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, params};
use super::{Actor, Ledger, LedgerError, column, grant};

/// By whose word somebody is in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// An operator's.
    Local,
    /// The identity provider's, in the claims of a login.
    Oidc,
    /// A directory's, over SCIM.
    Scim,
}

impl Source {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Oidc => "oidc",
            Self::Scim => "scim",
        }
    }
}

/// A team as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TeamRow {
    /// Its name.
    pub(crate) team: TeamName,
    /// Who is in it.
    pub(crate) members: Vec<MemberRow>,
}

/// One of a team's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberRow {
    /// Who.
    pub(crate) identity: Identity,
    /// By whose word.
    pub(crate) source: Source,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// A change of one team, by one word.
#[derive(Debug, Clone)]
pub(crate) struct TeamChange {
    /// The team.
    pub(crate) team: TeamName,
    /// By whose word.
    pub(crate) source: Source,
    /// Who comes into it.
    pub(crate) join: BTreeSet<Identity>,
    /// Who leaves it.
    pub(crate) leave: BTreeSet<Identity>,
}

/// What an entry says of a change, as far as state follows from it.
#[derive(Deserialize)]
pub(super) struct Said {
    team: TeamName,
    source: Source,
    joined: Vec<Identity>,
    left: Vec<Identity>,
}

impl Ledger {
    /// Changes who is in a team, and says whom that concerned; nobody when all was so already.
    pub(crate) async fn change_team(
        &self,
        by: Actor,
        change: TeamChange,
        now: Timestamp,
    ) -> Result<BTreeSet<Identity>, LedgerError> {
        self.write(move |connection| {
            for identity in &change.join {
                let known = connection
                    .prepare_cached("SELECT 1 FROM identities WHERE name = ?")?
                    .exists([identity.as_str()])?;
                if !known {
                    return Err(LedgerError::NotFound(format!("there is no identity {identity}")));
                }
            }
            alter(connection, &by, &change, now)
        })
        .await
    }

    /// Every team that has members, in order of name.
    pub(crate) async fn teams(&self) -> Result<Vec<TeamRow>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT team, identity, source, since FROM members ORDER BY team, identity, source",
            )?;
            let rows = statement.query_map((), |row| {
                let identity = column::name(row, 1)?;
                let (source, since) = (column::word(row, 2)?, column::moment(row, 3)?);
                Ok((column::name(row, 0)?, MemberRow { identity, source, since }))
            })?;
            let mut teams: BTreeMap<TeamName, Vec<MemberRow>> = BTreeMap::new();
            for row in rows {
                let (team, member) = row?;
                teams.entry(team).or_default().push(member);
            }
            Ok(teams.into_iter().map(|(team, members)| TeamRow { team, members }).collect())
        })
        .await
    }

    /// The teams that an identity is in, by whosever word.
    pub(crate) async fn teams_of(
        &self,
        identity: Identity,
    ) -> Result<BTreeSet<TeamName>, LedgerError> {
        self.read(move |connection| of(connection, &identity)).await
    }
}

/// The teams that an identity is in, by whosever word.
pub(super) fn of(
    connection: &Connection,
    identity: &Identity,
) -> Result<BTreeSet<TeamName>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT team FROM members WHERE identity = ?")?;
    let teams = statement.query_map([identity.as_str()], |row| column::name(row, 0))?;
    Ok(teams.collect::<Result<_, _>>()?)
}

/// Changes a team as far as it is not so already, with the entry that says it.
pub(super) fn alter(
    connection: &Connection,
    by: &Actor,
    change: &TeamChange,
    now: Timestamp,
) -> Result<BTreeSet<Identity>, LedgerError> {
    let TeamChange { team, source, join, leave } = change;
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    for identity in join.difference(leave) {
        if insert(connection, (team, *source), identity, now)? > 0 {
            joined.push(identity.clone());
        }
    }
    for identity in leave {
        if delete(connection, (team, *source), identity)? > 0 {
            left.push(identity.clone());
        }
    }
    if joined.is_empty() && left.is_empty() {
        return Ok(BTreeSet::new());
    }
    grant::bump_epoch(connection)?;
    let data = entry::TeamChanged { by, team, source: *source, joined: &joined, left: &left };
    entry::append(connection, Kind::TeamChanged, now, &data)?;
    Ok(joined.into_iter().chain(left).collect())
}

/// What follows from an entry that says so.
pub(super) fn replay(
    connection: &Connection,
    said: &Said,
    at: Timestamp,
) -> Result<(), LedgerError> {
    let place = (&said.team, said.source);
    for identity in &said.joined {
        insert(connection, place, identity, at)?;
    }
    for identity in &said.left {
        delete(connection, place, identity)?;
    }
    grant::bump_epoch(connection)
}

fn insert(
    connection: &Connection,
    (team, source): (&TeamName, Source),
    identity: &Identity,
    now: Timestamp,
) -> Result<usize, LedgerError> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO members (team, identity, source, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![team.as_str(), identity.as_str(), source.name(), now.millis()])?;
    Ok(inserted)
}

fn delete(
    connection: &Connection,
    (team, source): (&TeamName, Source),
    identity: &Identity,
) -> Result<usize, LedgerError> {
    let deleted = connection
        .prepare_cached("DELETE FROM members WHERE team = ? AND identity = ? AND source = ?")?
        .execute(params![team.as_str(), identity.as_str(), source.name()])?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::super::grant::tests::{blank, furnished, permit};
    use super::super::tests::{NOW, ledger};
    use super::*;
    use crate::access::tests as given;

    fn change(join: &[&str], leave: &[&str]) -> TeamChange {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let team = "sre".parse().unwrap();
        TeamChange { team, source: Source::Local, join: names(join), leave: names(leave) }
    }

    #[tokio::test]
    async fn who_joins_and_who_leaves_is_a_fact_and_makes_earlier_permits_stale() {
        let (_dir, ledger) = ledger();
        furnished(&ledger).await;
        let ask = given::ask();
        let facts =
            async || ledger.facts(ask.identity.clone(), ask.host.clone(), NOW).await.unwrap();
        assert!(facts().await.teams.is_empty());
        for (join, leave) in [(&["ana"][..], &[][..]), (&[], &["ana"])] {
            let early = permit(&ledger, &given::roles()).await;
            let before = facts().await.epoch;
            let changed =
                ledger.change_team(Actor::local(), change(join, leave), NOW).await.unwrap();
            assert_eq!(changed.len(), 1);
            assert_eq!(facts().await.epoch, before + 1);
            let refused = ledger.record(early, blank(), NOW).await;
            assert!(matches!(refused, Err(LedgerError::Stale)));
            assert_eq!(facts().await.teams.len(), join.len());
            // What is so already is no change: no entry, and nothing is stale.
            let again = ledger.change_team(Actor::local(), change(join, leave), NOW).await;
            assert!(again.unwrap().is_empty());
            assert_eq!(facts().await.epoch, before + 1);
        }
    }

    #[tokio::test]
    async fn nobody_unknown_joins_and_nothing_of_such_a_change_happens() {
        let (_dir, ledger) = ledger();
        furnished(&ledger).await;
        let refused = ledger.change_team(Actor::local(), change(&["ana", "eve"], &[]), NOW).await;
        assert!(matches!(refused, Err(LedgerError::NotFound(_))));
        assert!(ledger.teams().await.unwrap().is_empty());
    }
}
