//! What a directory says over SCIM: who there is and whether they are active, and its groups, which are teams here.
//!
//! A directory creates identities and disables them. What it has disabled it can enable again, and nothing that an operator
//! has. It says who is in a team under a source of its own, and takes back only that.
//! Who can change this: whoever holds a directory's token. Gains: can disable anybody whom it knows, and put them into teams.

use std::collections::BTreeSet;
use std::sync::Arc;

use idp::scim::{Filter, GROUP, USER};
use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, OrderNumber, TeamName};
use wire::identity::Kind as IdentityKind;
use wire::lock::{Lock, Target};
use wire::order::Instruction;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::identity::{self, Nature};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::team::{self, Source, TeamChange};
use super::{Actor, Ledger, LedgerError, column, order};
use crate::key::Keyring;

/// A user of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryUser {
    /// Its id, for good; numbers are never given twice.
    pub(crate) id: u64,
    /// Who it is.
    pub(crate) identity: Identity,
    /// What the directory calls them.
    pub(crate) external: Option<String>,
    /// How they are shown.
    pub(crate) display: Option<String>,
    /// Whether the directory lets them have access.
    pub(crate) active: bool,
    /// Whether it was the directory that disabled them.
    pub(crate) disabled_here: bool,
    /// The order of the lock that came with that, where there was none before.
    pub(crate) locked_by: Option<OrderNumber>,
    /// When it was changed last.
    pub(crate) changed: Timestamp,
}

/// A group of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryGroup {
    /// Its id, for good.
    pub(crate) id: u64,
    /// The team that it is.
    pub(crate) team: TeamName,
    /// What the directory calls it.
    pub(crate) external: Option<String>,
    /// The ids of the users in it.
    pub(crate) members: BTreeSet<u64>,
    /// When it was changed last.
    pub(crate) changed: Timestamp,
}

/// What a directory wants a user to be.
#[derive(Debug, Clone)]
pub(crate) struct WantedUser {
    /// Who it is; stays, when absent.
    pub(crate) identity: Option<Identity>,
    /// What the directory calls them; stays, when absent.
    pub(crate) external: Option<Option<String>>,
    /// How they are shown; stays, when absent.
    pub(crate) display: Option<Option<String>>,
    /// Whether they may have access; stays, when absent.
    pub(crate) active: Option<bool>,
}

/// What a directory wants a group to be.
#[derive(Debug, Clone)]
pub(crate) struct WantedGroup {
    /// The team that it is; stays, when absent.
    pub(crate) team: Option<TeamName>,
    /// What the directory calls it; stays, when absent.
    pub(crate) external: Option<Option<String>>,
    /// What becomes of its members.
    pub(crate) members: idp::scim::GroupPatch,
}

/// A token of a directory, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryToken {
    /// Its name.
    pub(crate) name: String,
    /// When it was made.
    pub(crate) made: Timestamp,
}

/// Whom a token speaks for.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    /// As the ledger names it.
    pub(crate) actor: Actor,
}

impl Ledger {
    /// Makes a token for a directory.
    pub(crate) async fn make_directory_token(
        &self,
        by: Actor,
        (name, hash): (String, [u8; 32]),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let known = connection
                .prepare_cached("SELECT 1 FROM directory_tokens WHERE name = ?")?
                .exists([&name])?;
            if known {
                let message = format!("there is a token {name} already; revoke it first");
                return Err(LedgerError::Conflict(message));
            }
            write_token(connection, (&name, hash), now)?;
            let hash = wire::log::Hash(hash);
            let data = entry::DirectoryToken { by: &by, name: &name, token: Some(hash) };
            entry::append(connection, Kind::DirectoryTokenMade, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Ends a directory's token.
    pub(crate) async fn end_directory_token(
        &self,
        by: Actor,
        name: String,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let gone = connection
                .prepare_cached("DELETE FROM directory_tokens WHERE name = ?")?
                .execute([&name])?;
            if gone == 0 {
                return Err(LedgerError::NotFound(format!("there is no token {name}")));
            }
            let data = entry::DirectoryToken { by: &by, name: &name, token: None };
            entry::append(connection, Kind::DirectoryTokenEnded, now, &data)?;
            Ok(())
        })
        .await
    }

    /// The tokens of directories.
    pub(crate) async fn directory_tokens(&self) -> Result<Vec<DirectoryToken>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT name, made FROM directory_tokens ORDER BY name")?;
            let rows = statement.query_map((), |row| {
                Ok(DirectoryToken { name: row.get(0)?, made: column::moment(row, 1)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Whom this token speaks for.
    pub(crate) async fn directory(&self, hash: [u8; 32]) -> Result<Option<Directory>, LedgerError> {
        self.read(move |connection| {
            let name: Option<String> = connection
                .prepare_cached("SELECT name FROM directory_tokens WHERE hash = ?")?
                .query_row([hash], |row| row.get(0))
                .optional()?;
            Ok(name.map(|name| Directory { actor: Actor::directory(&name) }))
        })
        .await
    }

    /// The users of the directory that are looked for, in order of id, from this place on; and how many there are in all.
    pub(crate) async fn directory_users(
        &self,
        filter: Option<Filter>,
        (skip, most): (usize, usize),
    ) -> Result<(usize, Vec<DirectoryUser>), LedgerError> {
        self.read(move |connection| {
            let users = users(connection)?;
            let is_it = |user: &DirectoryUser| filter.as_ref().is_none_or(|filter| user.is(filter));
            let found: Vec<DirectoryUser> = users.into_iter().filter(is_it).collect();
            Ok((found.len(), found.into_iter().skip(skip).take(most).collect()))
        })
        .await
    }

    /// The same of groups.
    pub(crate) async fn directory_groups(
        &self,
        filter: Option<Filter>,
        (skip, most): (usize, usize),
    ) -> Result<(usize, Vec<DirectoryGroup>), LedgerError> {
        self.read(move |connection| {
            let groups = groups(connection)?;
            let is_it =
                |group: &DirectoryGroup| filter.as_ref().is_none_or(|filter| group.is(filter));
            let found: Vec<DirectoryGroup> = groups.into_iter().filter(is_it).collect();
            let total = found.len();
            let mut page: Vec<DirectoryGroup> = found.into_iter().skip(skip).take(most).collect();
            for group in &mut page {
                group.members = members(connection, &group.team)?;
            }
            Ok((total, page))
        })
        .await
    }

    /// Makes or changes a user, as far as it is not so already. Who is no longer active is disabled and locked in the same
    /// transaction; the order is said too.
    pub(crate) async fn put_directory_user(
        &self,
        by: Directory,
        (id, wanted): (Option<u64>, WantedUser),
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<(DirectoryUser, Option<OrderNumber>), LedgerError> {
        self.write(move |connection| {
            let by = by.actor;
            let mut user = match id {
                Some(id) => user(connection, id)?,
                None => new_user(connection, &by, &wanted, now)?,
            };
            if wanted.identity.as_ref().is_some_and(|name| *name != user.identity) {
                return Err(LedgerError::Fixed("userName cannot be changed".into()));
            }
            let before = user.clone();
            user.external = wanted.external.unwrap_or(user.external);
            user.display = wanted.display.unwrap_or(user.display);
            let active = wanted.active.unwrap_or(user.active);
            let order = turn(connection, &by, (&mut user, active), (&*keyring, now))?;
            if id.is_none() || user != before {
                user.changed = now;
                write_user(connection, &user)?;
                let data = entry::DirectoryUserPut { by: &by, user: &user };
                entry::append(connection, Kind::DirectoryUserPut, now, &data)?;
            }
            Ok((user, order))
        })
        .await
    }

    /// Forgets a user, who is disabled and locked where that was not so.
    pub(crate) async fn remove_directory_user(
        &self,
        by: Directory,
        (id, keyring): (u64, Arc<Keyring>),
        now: Timestamp,
    ) -> Result<Option<OrderNumber>, LedgerError> {
        self.write(move |connection| {
            let by = by.actor;
            let mut user = user(connection, id)?;
            let order = turn(connection, &by, (&mut user, false), (&*keyring, now))?;
            for team in teams_of(connection, &user.identity)? {
                let leave = BTreeSet::from([user.identity.clone()]);
                let join = BTreeSet::new();
                let change = TeamChange { team, source: Source::Scim, join, leave };
                team::alter(connection, &by, &change, now)?;
            }
            remove(connection, USER, id)?;
            let data = entry::DirectoryRemoved { by: &by, kind: "user", id };
            entry::append(connection, Kind::DirectoryRemoved, now, &data)?;
            Ok(order)
        })
        .await
    }

    /// Makes or changes a group.
    pub(crate) async fn put_directory_group(
        &self,
        by: Directory,
        (id, wanted): (Option<u64>, WantedGroup),
        now: Timestamp,
    ) -> Result<DirectoryGroup, LedgerError> {
        self.write(move |connection| {
            let by = by.actor;
            let mut group = match id {
                Some(id) => group(connection, id)?,
                None => new_group(connection, &wanted, now)?,
            };
            let before = group.clone();
            let team = wanted.team.unwrap_or_else(|| group.team.clone());
            if team != before.team {
                refuse_taken(connection, &team)?;
            }
            group.external = wanted.external.unwrap_or(group.external);
            group.members = wanted.members.members_after(&before.members);
            group.team = team;
            regroup(connection, &by, (&before, &group), now)?;
            if id.is_none() || group != before {
                group.changed = now;
                write_group(connection, &group)?;
                let data = entry::DirectoryGroupPut { by: &by, group: &group };
                entry::append(connection, Kind::DirectoryGroupPut, now, &data)?;
            }
            Ok(group)
        })
        .await
    }

    /// Forgets a group; whom it put into its team is in it no more.
    pub(crate) async fn remove_directory_group(
        &self,
        by: Directory,
        id: u64,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let by = by.actor;
            let before = group(connection, id)?;
            let after = DirectoryGroup { members: BTreeSet::new(), ..before.clone() };
            regroup(connection, &by, (&before, &after), now)?;
            remove(connection, GROUP, id)?;
            let data = entry::DirectoryRemoved { by: &by, kind: "group", id };
            entry::append(connection, Kind::DirectoryRemoved, now, &data)?;
            Ok(())
        })
        .await
    }
}

impl DirectoryUser {
    fn is(&self, filter: &Filter) -> bool {
        let value = Some(filter.value.as_str());
        match filter.attribute {
            "userName" => value == Some(self.identity.as_str()),
            "externalId" => value == self.external.as_deref(),
            "displayName" => value == self.display.as_deref(),
            "active" => filter.value == self.active.to_string(),
            _ => filter.value == self.id.to_string(),
        }
    }
}

impl DirectoryGroup {
    fn is(&self, filter: &Filter) -> bool {
        match filter.attribute {
            "displayName" => filter.value == self.team.as_str(),
            "externalId" => Some(filter.value.as_str()) == self.external.as_deref(),
            _ => filter.value == self.id.to_string(),
        }
    }
}

/// Enables or disables the identity as the directory wants it, and says the order that came of it.
fn turn(
    connection: &Connection,
    by: &Actor,
    (user, active): (&mut DirectoryUser, bool),
    (keyring, now): (&Keyring, Timestamp),
) -> Result<Option<OrderNumber>, LedgerError> {
    if user.active == active {
        return Ok(None);
    }
    user.active = active;
    let name = user.identity.clone();
    let target = Target::Identity(name.clone());
    let is_disabled = identity::find(connection, &name)?.is_some_and(|known| known.disabled);
    if !active {
        if !is_disabled {
            user.disabled_here = true;
            identity::disable(connection, by, &name, ("deactivated by the directory", now))?;
        }
        let was_locked = order::is_locked(connection, &target)?;
        let reason = "deactivated by the directory";
        let lock = Lock { target, reason: reason.into(), until: None };
        let what = (Instruction::Lock(lock), now);
        let order = order::issue(connection, keyring, (by, reason), what)?;
        user.locked_by = (!was_locked).then_some(order);
        return Ok(Some(order));
    }
    // What an operator has done meanwhile stays.
    if std::mem::take(&mut user.disabled_here) && is_disabled {
        identity::enable(connection, by, &name, now)?;
    }
    let Some(ours) = user.locked_by.take() else { return Ok(None) };
    if order::lock_order(connection, &target)? != Some(ours) {
        return Ok(None);
    }
    let what = (Instruction::Unlock(target), now);
    order::issue(connection, keyring, (by, "activated by the directory"), what).map(Some)
}

/// A user that is to be, whose identity is there or comes into being.
fn new_user(
    connection: &Connection,
    by: &Actor,
    wanted: &WantedUser,
    now: Timestamp,
) -> Result<DirectoryUser, LedgerError> {
    let identity = wanted.identity.clone();
    let identity = identity.ok_or_else(|| LedgerError::Fixed("userName is missing".into()))?;
    let taken = connection
        .prepare_cached("SELECT 1 FROM directory_users WHERE identity = ?")?
        .exists([identity.as_str()])?;
    if taken {
        return Err(LedgerError::Conflict(format!("there is a user {identity} already")));
    }
    match identity::find(connection, &identity)? {
        None => identity::insert(connection, by, &identity, (Nature::default(), now))?,
        Some(known) if known.kind != IdentityKind::Person => {
            return Err(LedgerError::Conflict(format!("{identity} is a workload")));
        }
        // Removed by a directory, or disabled by an operator: perhaps another person of the same name.
        Some(known) if known.disabled => {
            return Err(LedgerError::Conflict(format!(
                "{identity} is disabled; an operator enables it again first with `curfew-ca identity enable`"
            )));
        }
        Some(_) => {}
    }
    Ok(DirectoryUser {
        id: next_id(connection)?,
        identity,
        external: None,
        display: None,
        active: true,
        disabled_here: false,
        locked_by: None,
        changed: now,
    })
}

fn new_group(
    connection: &Connection,
    wanted: &WantedGroup,
    now: Timestamp,
) -> Result<DirectoryGroup, LedgerError> {
    let team = wanted.team.clone();
    let team = team.ok_or_else(|| LedgerError::Fixed("displayName is missing".into()))?;
    refuse_taken(connection, &team)?;
    let (external, members) = (None, BTreeSet::new());
    Ok(DirectoryGroup { id: next_id(connection)?, team, external, members, changed: now })
}

fn refuse_taken(connection: &Connection, team: &TeamName) -> Result<(), LedgerError> {
    let taken = connection
        .prepare_cached("SELECT 1 FROM directory_groups WHERE team = ?")?
        .exists([team.as_str()])?;
    if taken {
        return Err(LedgerError::Conflict(format!("there is a group {team} already")));
    }
    Ok(())
}

/// Brings the team to what the group is to be; with another name, the former team is left by all.
fn regroup(
    connection: &Connection,
    by: &Actor,
    (before, after): (&DirectoryGroup, &DirectoryGroup),
    now: Timestamp,
) -> Result<(), LedgerError> {
    let names = |ids: &BTreeSet<u64>| -> Result<BTreeSet<Identity>, LedgerError> {
        ids.iter().map(|id| user(connection, *id).map(|user| user.identity)).collect()
    };
    let (source, nobody) = (Source::Scim, BTreeSet::new());
    let (old, new) = (names(&before.members)?, names(&after.members)?);
    if before.team != after.team {
        let team = before.team.clone();
        let change = TeamChange { team, source, join: nobody.clone(), leave: old.clone() };
        team::alter(connection, by, &change, now)?;
    }
    let kept = if before.team == after.team { old } else { nobody };
    let join = new.difference(&kept).cloned().collect();
    let leave = kept.difference(&new).cloned().collect();
    let change = TeamChange { team: after.team.clone(), source, join, leave };
    team::alter(connection, by, &change, now)?;
    Ok(())
}

fn teams_of(connection: &Connection, identity: &Identity) -> Result<Vec<TeamName>, LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT team FROM members WHERE identity = ? AND source = 'scim'")?;
    let teams = statement.query_map([identity.as_str()], |row| column::name(row, 0))?;
    Ok(teams.collect::<Result<_, _>>()?)
}

/// The next id, above all that were ever given.
fn next_id(connection: &Connection) -> Result<u64, LedgerError> {
    let next = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM entries")?
        .query_row((), |row| row.get(0))?;
    Ok(next)
}

fn users(connection: &Connection) -> Result<Vec<DirectoryUser>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, identity, external, display, active, disabled_here, locked_by, changed \
         FROM directory_users ORDER BY id",
    )?;
    Ok(statement.query_map((), read_user)?.collect::<Result<_, _>>()?)
}

fn user(connection: &Connection, id: u64) -> Result<DirectoryUser, LedgerError> {
    let found = connection
        .prepare_cached(
            "SELECT id, identity, external, display, active, disabled_here, locked_by, changed \
             FROM directory_users WHERE id = ?",
        )?
        .query_row([id], read_user)
        .optional()?;
    found.ok_or_else(|| LedgerError::NotFound(format!("there is no user {id}")))
}

fn read_user(row: &Row<'_>) -> Result<DirectoryUser, SqlError> {
    let locked_by: Option<u64> = row.get(6)?;
    Ok(DirectoryUser {
        id: row.get(0)?,
        identity: column::name(row, 1)?,
        external: row.get(2)?,
        display: row.get(3)?,
        active: row.get(4)?,
        disabled_here: row.get(5)?,
        locked_by: locked_by.and_then(|number| OrderNumber::try_new(number).ok()),
        changed: column::moment(row, 7)?,
    })
}

fn groups(connection: &Connection) -> Result<Vec<DirectoryGroup>, LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT id, team, external, changed FROM directory_groups ORDER BY id")?;
    Ok(statement.query_map((), read_group)?.collect::<Result<_, _>>()?)
}

fn group(connection: &Connection, id: u64) -> Result<DirectoryGroup, LedgerError> {
    let found = connection
        .prepare_cached("SELECT id, team, external, changed FROM directory_groups WHERE id = ?")?
        .query_row([id], read_group)
        .optional()?;
    let found = found.ok_or_else(|| LedgerError::NotFound(format!("there is no group {id}")))?;
    let members = members(connection, &found.team)?;
    Ok(DirectoryGroup { members, ..found })
}

fn read_group(row: &Row<'_>) -> Result<DirectoryGroup, SqlError> {
    let (external, changed) = (row.get(2)?, column::moment(row, 3)?);
    let (id, team) = (row.get(0)?, column::name(row, 1)?);
    Ok(DirectoryGroup { id, team, external, members: BTreeSet::new(), changed })
}

/// The ids of those whom the directory has put into this team.
fn members(connection: &Connection, team: &TeamName) -> Result<BTreeSet<u64>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM members JOIN directory_users ON directory_users.identity = members.identity \
         WHERE team = ? AND source = 'scim'",
    )?;
    let ids = statement.query_map([team.as_str()], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Writes a user as it is now.
pub(super) fn write_user(connection: &Connection, user: &DirectoryUser) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO directory_users (id, identity, external, display, active, disabled_here, locked_by, changed) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET external = excluded.external, \
             display = excluded.display, active = excluded.active, disabled_here = excluded.disabled_here, \
             locked_by = excluded.locked_by, changed = excluded.changed",
        )?
        .execute(params![
            user.id,
            user.identity.as_str(),
            user.external,
            user.display,
            user.active,
            user.disabled_here,
            user.locked_by.map(OrderNumber::number),
            user.changed.millis()
        ])?;
    Ok(())
}

/// Writes a group as it is now, but for its members.
pub(super) fn write_group(
    connection: &Connection,
    group: &DirectoryGroup,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO directory_groups (id, team, external, changed) VALUES (?, ?, ?, ?) \
             ON CONFLICT (id) DO UPDATE SET team = excluded.team, external = excluded.external, \
             changed = excluded.changed",
        )?
        .execute(params![group.id, group.team.as_str(), group.external, group.changed.millis()])?;
    Ok(())
}

/// Writes a token.
pub(super) fn write_token(
    connection: &Connection,
    (name, hash): (&str, [u8; 32]),
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("INSERT INTO directory_tokens (name, hash, made) VALUES (?, ?, ?)")?
        .execute(params![name, hash, now.millis()])?;
    Ok(())
}

/// Forgets a user or a group.
pub(super) fn remove(connection: &Connection, schema: &str, id: u64) -> Result<(), LedgerError> {
    let sql = if schema == USER {
        "DELETE FROM directory_users WHERE id = ?"
    } else {
        "DELETE FROM directory_groups WHERE id = ?"
    };
    connection.prepare_cached(sql)?.execute([id])?;
    Ok(())
}
