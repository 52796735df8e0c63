//! Break-glass afterwards: groups that are known, receipts that were handed in, verdicts; and how they join with what hosts saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::breakglass::{Alarm, AlarmEnded};
use wire::ceremony::{
    BreakGlass, CeremonyReviewAsk, CeremonyView, GroupSaid, GroupView, ReceiptSaid, Reconciled,
    Standing, UseView,
};
use wire::identifier::{Custodian, Fingerprint, HostName, Identity, Serial};
use wire::identity::Kind as Being;
use wire::incident::Cause;
use wire::log::Hash;
use wire::record::Incident;
use wire::review::{Review, Verdict};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, grant, incident, pass};
use crate::access;
use crate::ceremony::{self, Charter, Known, Proven};

/// Who custodians are among the identities of the authority.
pub(crate) type People = BTreeMap<Custodian, Identity>;

impl Ledger {
    /// All that is known of break-glass.
    pub(crate) async fn breakglass(
        &self,
        (drills, now): (Duration, Timestamp),
    ) -> Result<BreakGlass, LedgerError> {
        self.read(move |connection| all(connection, (drills, now))).await
    }

    /// Groups whose receipts are taken.
    pub(crate) async fn breakglass_groups(&self) -> Result<Vec<GroupView>, LedgerError> {
        self.read(groups).await
    }

    /// Takes receipts of a group from now on.
    pub(crate) async fn add_breakglass_group(
        &self,
        by: Actor,
        (charter, people, reason): (Charter, People, String),
        now: Timestamp,
    ) -> Result<GroupView, LedgerError> {
        self.write(move |connection| {
            let Charter { said, letter } = charter;
            if let Some(why) = unfit(connection, &said, &people)? {
                return Err(LedgerError::Conflict(why));
            }
            let known = groups(connection)?.into_iter().find(|it| it.said.digest == said.digest);
            if known.as_ref().is_some_and(|known| people.is_empty() || known.people == people) {
                return Err(LedgerError::Conflict(
                    "this group is known already, and nothing was changed".into(),
                ));
            }
            write_group(connection, (&said, &letter, &people), now)?;
            let data = entry::BreakglassGroup {
                by: &by,
                said: &said,
                letter: &letter,
                people: &people,
                reason: &reason,
            };
            entry::append(connection, Kind::BreakglassGroupAdded, now, &data)?;
            let (added, retired) = known.map_or((now, None), |it| (it.added, it.retired));
            Ok(GroupView { said, added, retired, people })
        })
        .await
    }

    /// Says that a group's key is to be believed no more.
    pub(crate) async fn retire_breakglass_group(
        &self,
        by: Actor,
        (key, reason): (Fingerprint, String),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            if retire(connection, &key, now)? == 0 {
                return Err(LedgerError::NotFound(format!(
                    "no break-glass group has the key {key}, or it is retired already"
                )));
            }
            let data = entry::BreakglassRetired { by: &by, key: &key, reason: &reason };
            entry::append(connection, Kind::BreakglassGroupRetired, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Takes a receipt; says whether it was not here before.
    pub(crate) async fn take_breakglass_receipt(
        &self,
        by: Actor,
        proven: Proven,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.write(move |connection| {
            let Proven { said, letter } = proven;
            let is_known = connection
                .prepare_cached("SELECT 1 FROM breakglass_receipts WHERE hash = ?")?
                .exists([hash(&letter).as_str()])?;
            if is_known {
                return Ok(false);
            }
            write_receipt(connection, (&said, &letter), now)?;
            let data = entry::BreakglassReceipt { by: &by, said: &said, letter: &letter };
            entry::append(connection, Kind::BreakglassReceipt, now, &data)?;
            Ok(true)
        })
        .await
    }

    /// Opens an incident for each use that no receipt accounts for, once.
    pub(crate) async fn reconcile(
        &self,
        (drills, now): (Duration, Timestamp),
    ) -> Result<Reconciled, LedgerError> {
        self.write(move |connection| {
            let mut opened: u64 = 0;
            let state = all(connection, (drills, now))?;
            for ceremony in &state.ceremonies {
                opened = opened.saturating_add(open_unaccounted(connection, ceremony, now)?);
            }
            Ok(Reconciled { opened, state: all(connection, (drills, now))? })
        })
        .await
    }

    /// Keeps a verdict on a ceremony; `ok` settles its incidents too. A later verdict takes its place, and both stay here.
    pub(crate) async fn review_ceremony(
        &self,
        (by, reviewer): (Actor, Identity),
        ask: CeremonyReviewAsk,
        now: Timestamp,
    ) -> Result<Review, LedgerError> {
        self.write(move |connection| {
            let CeremonyReviewAsk { serial, verdict, note, .. } = ask;
            let found = ceremonies(connection)?.into_iter().find(|one| one.name.serial == serial);
            let found = found.ok_or_else(|| {
                LedgerError::NotFound(format!("no break-glass of the serial {serial} is known"))
            })?;
            let standing = grant::standing(connection, &reviewer)?;
            if standing != (access::Standing::Active, Being::Person) {
                let why = format!("{reviewer} is no active person here");
                return Err(LedgerError::Conflict(why));
            }
            let said = (verdict, &reviewer);
            if let Some(why) = ceremony::refuses((&found, &groups(connection)?), said, now) {
                return Err(LedgerError::Conflict(why));
            }
            let review = Review { verdict, by: reviewer.to_string(), at: now, note, gap: None };
            write_review(connection, serial, &review)?;
            let (note, reviewer) = (review.note.as_str(), Some(&reviewer));
            let data = entry::BreakglassReviewed { by: &by, reviewer, serial, verdict, note };
            entry::append(connection, Kind::BreakglassReviewed, now, &data)?;
            if verdict == Verdict::Ok {
                for number in open_incidents(connection, serial)? {
                    incident::settle(connection, &by, (number, note), now)?;
                }
            }
            Ok(review)
        })
        .await
    }
}

/// A group's row.
pub(super) fn write_group(
    connection: &Connection,
    (said, letter, people): (&GroupSaid, &str, &People),
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO breakglass_groups (digest, key, said, letter, added, people) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (digest) DO UPDATE SET people = excluded.people",
        )?
        .execute(params![
            said.digest.to_string(),
            said.key.as_str(),
            serde_json::to_string(said)?,
            letter,
            now.millis(),
            serde_json::to_string(people)?
        ])?;
    Ok(())
}

/// What is wrong with who custodians are said to be.
fn unfit(
    connection: &Connection,
    said: &GroupSaid,
    people: &People,
) -> Result<Option<String>, LedgerError> {
    for (custodian, identity) in people {
        if !said.members.contains(custodian) {
            return Ok(Some(format!("{custodian} is no custodian of this group")));
        }
        if grant::standing(connection, identity)?.0 == access::Standing::Unknown {
            return Ok(Some(format!("there is no identity {identity}")));
        }
    }
    let distinct: BTreeSet<&Identity> = people.values().collect();
    let is_twice = distinct.len() < people.len();
    Ok(is_twice.then(|| "one identity cannot be two custodians".to_owned()))
}

/// Marks all generations of a key; says how many there were that were not marked.
pub(super) fn retire(
    connection: &Connection,
    key: &Fingerprint,
    now: Timestamp,
) -> Result<usize, LedgerError> {
    Ok(connection
        .prepare_cached(
            "UPDATE breakglass_groups SET retired = ? WHERE key = ? AND retired IS NULL",
        )?
        .execute(params![now.millis(), key.as_str()])?)
}

/// A receipt's row.
pub(super) fn write_receipt(
    connection: &Connection,
    (said, letter): (&ReceiptSaid, &str),
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO breakglass_receipts (hash, serial, said, letter, entered) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            hash(letter),
            said.name.serial.number(),
            serde_json::to_string(said)?,
            letter,
            now.millis()
        ])?;
    Ok(())
}

/// A host says how an alarm ended that was under way when it told of a use.
pub(super) fn alarm_ended(
    connection: &Connection,
    (host, ended): (&HostName, &AlarmEnded),
    now: Timestamp,
) -> Result<(), LedgerError> {
    if let Some(fault) = &ended.alarm.fault {
        let (by, serial) = (&ended.alarm.by, ended.serial);
        tracing::error!(%host, by, fault, cert.serial = %serial, "an alarm of break-glass did not go out on a host");
    }
    let data = entry::BreakglassAlarm { host, ended };
    entry::append(connection, Kind::BreakglassAlarm, now, &data)?;
    write_alarm(connection, host, ended)
}

/// The row of it.
pub(super) fn write_alarm(
    connection: &Connection,
    host: &HostName,
    ended: &AlarmEnded,
) -> Result<(), LedgerError> {
    // A host speaks for its own uses alone; said again, the last word counts.
    connection
        .prepare_cached(
            "INSERT INTO breakglass_alarms (host, serial, way, alarm) VALUES (?, ?, ?, ?) \
             ON CONFLICT (host, serial, way) DO UPDATE SET alarm = excluded.alarm",
        )?
        .execute(params![
            host.as_str(),
            ended.serial.number(),
            ended.alarm.by.as_str(),
            serde_json::to_string(&ended.alarm)?
        ])?;
    Ok(())
}

/// What became of alarms that were under way.
pub(super) fn settle_alarms(
    connection: &Connection,
    (host, serial): (&HostName, Serial),
    alarms: &mut [Alarm],
) -> Result<(), LedgerError> {
    for alarm in alarms.iter_mut().filter(|alarm| alarm.waits) {
        let ended: Option<Alarm> = connection
            .prepare_cached(
                "SELECT alarm FROM breakglass_alarms WHERE host = ? AND serial = ? AND way = ?",
            )?
            .query_row(params![host.as_str(), serial.number(), alarm.by.as_str()], |row| {
                column::json(row, 0)
            })
            .optional()?;
        if let Some(ended) = ended {
            *alarm = ended;
        }
    }
    Ok(())
}

/// A verdict's row.
pub(super) fn write_review(
    connection: &Connection,
    serial: Serial,
    review: &Review,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO breakglass_reviews (serial, review) VALUES (?, ?) \
             ON CONFLICT (serial) DO UPDATE SET review = excluded.review",
        )?
        .execute(params![serial.number(), serde_json::to_string(review)?])?;
    Ok(())
}

fn hash(letter: &str) -> String {
    Hash::of(letter.as_bytes()).to_string()
}

fn all(
    connection: &Connection,
    (drills, now): (Duration, Timestamp),
) -> Result<BreakGlass, LedgerError> {
    let (groups, ceremonies) = (groups(connection)?, ceremonies(connection)?);
    let mut statement =
        connection.prepare_cached("SELECT name, enrolled, group_keys FROM hosts ORDER BY name")?;
    let hosts = statement
        .query_map((), |row| {
            Ok((column::name(row, 0)?, column::moment(row, 1)?, column::maybe_json(row, 2)?))
        })?
        .collect::<Result<_, _>>()?;
    let hosts = ceremony::proofs((&groups, &ceremonies), hosts, (drills, now));
    Ok(BreakGlass { groups, ceremonies, hosts, passes: pass::all(connection)?, at: now })
}

fn groups(connection: &Connection) -> Result<Vec<GroupView>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT said, added, retired, people FROM breakglass_groups ORDER BY added, digest",
    )?;
    let rows = statement.query_map((), |row| {
        Ok(GroupView {
            said: column::json(row, 0)?,
            added: column::moment(row, 1)?,
            retired: column::maybe_moment(row, 2)?,
            people: column::json(row, 3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn ceremonies(connection: &Connection) -> Result<Vec<CeremonyView>, LedgerError> {
    let receipts = connection
        .prepare_cached("SELECT said, entered FROM breakglass_receipts ORDER BY entered, hash")?
        .query_map((), |row| Ok((column::json(row, 0)?, column::moment(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let reviews = connection
        .prepare_cached("SELECT serial, review FROM breakglass_reviews")?
        .query_map((), |row| Ok((column::number(row, 0, Serial::try_new)?, column::json(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let known = Known { receipts, uses: uses(connection)?, alive: alive(connection)?, reviews };
    Ok(ceremony::join(known))
}

/// What hosts told of. Beyond the many open incidents that a host may have, its uses are counted and not listed.
fn uses(connection: &Connection) -> Result<Vec<UseView>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, settled IS NULL, host, first, count, cause FROM incidents \
         WHERE name LIKE 'breakglass %' ORDER BY number",
    )?;
    let rows = statement.query_map((), seen)?.collect::<Result<Vec<_>, _>>()?;
    let mut uses: Vec<UseView> = rows.into_iter().flatten().collect();
    for seen in &mut uses {
        let which = (&seen.host, seen.used.name.serial);
        settle_alarms(connection, which, &mut seen.used.alarms)?;
    }
    Ok(uses)
}

fn seen(row: &Row<'_>) -> Result<Option<UseView>, SqlError> {
    let Cause::Reported(Incident::BreakGlass(used)) = column::json(row, 5)? else {
        return Ok(None);
    };
    Ok(Some(UseView {
        incident: row.get(0)?,
        is_open: row.get(1)?,
        host: column::name(row, 2)?,
        first: column::moment(row, 3)?,
        count: row.get(4)?,
        used,
        fault: None,
    }))
}

/// How many sessions of each of its serials go on.
fn alive(connection: &Connection) -> Result<BTreeMap<Serial, u64>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT serial, count(*) FROM sessions WHERE ended IS NULL AND serial >= ? GROUP BY serial",
    )?;
    let rows = statement.query_map([wire::breakglass::FIRST_SERIAL], |row| {
        Ok((column::number(row, 0, Serial::try_new)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open_unaccounted(
    connection: &Connection,
    ceremony: &CeremonyView,
    now: Timestamp,
) -> Result<u64, LedgerError> {
    let mut opened: u64 = 0;
    for seen in &ceremony.uses {
        let is_accounted = match ceremony.standing {
            Standing::Joined | Standing::Unused => true,
            Standing::Contradicted => seen.fault.is_none(),
            Standing::Unreceipted => false,
        };
        if is_accounted || is_noticed(connection, &seen.host, ceremony.name.serial)? {
            continue;
        }
        let used = Box::new(seen.used.clone());
        let cause = Cause::Unreceipted { used, fault: seen.fault.clone() };
        incident::open(connection, &seen.host, &cause, (1, now))?;
        opened = opened.saturating_add(1);
    }
    Ok(opened)
}

/// Whether this was an incident before, settled ones included: joining twice says it once.
fn is_noticed(
    connection: &Connection,
    host: &HostName,
    serial: Serial,
) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM incidents WHERE host = ? AND name = ?")?
        .exists(params![host.as_str(), format!("unreceipted {serial}")])?)
}

fn open_incidents(connection: &Connection, serial: Serial) -> Result<Vec<u64>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number FROM incidents WHERE settled IS NULL AND (name = ? OR name LIKE ?) ORDER BY number",
    )?;
    let (unreceipted, used) = (format!("unreceipted {serial}"), format!("breakglass {serial} %"));
    let rows = statement.query_map(params![unreceipted, used], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
