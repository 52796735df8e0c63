//! The state, made again from the entries alone: a replay into empty tables beside the ledger, and the comparison.
//!
//! What is no decision is not replayed: records and receipts of hosts, login tokens, when a host was heard of, what it has
//! in force, and what is counted of a session or found odd in it.

use serde::Deserialize;
use serde_json::Value;
use wire::api::Ended;
use wire::identifier::{Fingerprint, HostName};
use wire::incident::{Cause, Settled};
use wire::lock::{Lock, Target};
use wire::log::Hash;
use wire::order::{Instruction, Order};
use wire::record::SessionEnded;
use wire::renewal::Window;
use wire::request::Asked;
use wire::review::Review;
use wire::time::Timestamp;

use super::entry::Kind;
use super::sql::{Cell, Connection, Params, SqlError, params};
use super::vouch::Certified;
use super::{
    LedgerError, approval, behaviour, ceremony, column, directory, extend, grant, incident,
    key_request, kill, odd, order, pass, request, restore, retention, subject, team,
};
use crate::risk::Reckoned;

/// What the replay came to.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    /// Each row that is not as the entries say.
    pub(crate) differences: Vec<String>,
    /// Rows that are there, and that an erased body or an entry of an older form may have explained.
    pub(crate) unexplained: u64,
    /// Entries that were replayed.
    pub(crate) entries: u64,
    /// Entries whose bodies were erased.
    pub(crate) erased: u64,
}

/// A table that follows from the entries: its key, and its other columns that do.
struct Table {
    name: &'static str,
    key: &'static str,
    columns: &'static str,
}

/// One entry, as it is replayed.
struct Said<'a> {
    seq: u64,
    at: Timestamp,
    kind: Kind,
    text: &'a str,
    body: Value,
}

#[derive(Deserialize)]
struct SessionOver {
    #[serde(default)]
    at: Option<Timestamp>,
    ended: SessionEnded,
}

/// Replays `ledger.entries` into the empty tables of the connection's own database, and compares.
pub(super) fn replay(connection: &Connection) -> Result<Rebuilt, LedgerError> {
    let mut rebuilt = Rebuilt::default();
    // Entries that do not say all that follows from them: whose bodies were erased, or of an older form.
    let mut vague: u64 = 0;
    let mut reached = i64::MIN;
    loop {
        let page = page(connection, reached)?;
        let Some((last, ..)) = page.last() else { break };
        reached = i64::try_from(*last).unwrap_or(i64::MAX);
        for (seq, at, kind, text) in page {
            rebuilt.entries = rebuilt.entries.saturating_add(1);
            let Some(text) = text else {
                rebuilt.erased = rebuilt.erased.saturating_add(1);
                if COUNTED.contains(&kind.as_str()) {
                    grant::bump_epoch(connection)?;
                }
                continue;
            };
            let unreadable =
                |_error| LedgerError::Torn(format!("the body of entry {seq} is no text"));
            let text = String::from_utf8(text).map_err(unreadable)?;
            let body = serde_json::from_str(&text)?;
            let kind = Kind::of(&kind).ok_or_else(|| {
                LedgerError::Torn(format!("entry {seq} is of the kind {kind}, which there is not"))
            })?;
            let said = Said { seq, at, kind, body, text: &text };
            if said.replay(connection)? == Told::Partly {
                vague = vague.saturating_add(1);
            }
        }
    }
    let may_be_unexplained = vague > 0 || rebuilt.erased > 0;
    for table in TABLES {
        table.compare(connection, may_be_unexplained, &mut rebuilt)?;
    }
    Ok(rebuilt)
}

/// A row of an entry: its number, moment, kind and body.
type Kept = (u64, Timestamp, String, Option<Vec<u8>>);

/// The next entries after this one.
fn page(connection: &Connection, after: i64) -> Result<Vec<Kept>, LedgerError> {
    let rows = connection
        .prepare_cached(
            "SELECT seq, at, kind, body FROM ledger.entries LEFT JOIN ledger.bodies USING (seq) \
             WHERE seq > ? ORDER BY seq LIMIT 1000",
        )?
        .query_map([after], |row| {
            Ok((row.get(0)?, column::moment(row, 1)?, row.get(2)?, row.get(3)?))
        })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts the replayed rows in place of those of the ledger.
pub(super) fn put(connection: &Connection) -> Result<(), LedgerError> {
    for Table { name, key, columns } in TABLES {
        let set: Vec<String> =
            columns.split(", ").map(|column| format!("{column} = excluded.{column}")).collect();
        let (set, own) = (set.join(", "), connection.own());
        // What repeats of an incident is only counted; a row that is put back begins at once.
        let more = if name == "incidents" { ", name, first, last, count" } else { "" };
        connection.execute_batch(&format!(
            "DELETE FROM ledger.{name} WHERE ({key}) NOT IN (SELECT {key} FROM {own}.{name}); \
             INSERT INTO ledger.{name} ({key}, {columns}{more}) SELECT {key}, {columns}{more} FROM {own}.{name} WHERE true \
             ON CONFLICT ({key}) DO UPDATE SET {set};"
        ))?;
    }
    Ok(())
}

/// Whether an entry says all that follows from it.
#[derive(PartialEq, Eq)]
enum Told {
    Wholly,
    Partly,
}

impl Table {
    fn compare(
        &self,
        connection: &Connection,
        may_be_unexplained: bool,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), LedgerError> {
        let Self { name, key, columns } = self;
        let rows = |one: &str, other: &str| {
            let sql = format!(
                "SELECT {key}, {columns} FROM {one}.{name} EXCEPT SELECT {key}, {columns} FROM {other}.{name} LIMIT {MAX_TOLD}"
            );
            keys(connection, &sql, key)
        };
        let (is, should) = (rows("ledger", connection.own())?, rows(connection.own(), "ledger")?);
        for row in &is {
            let changed = should.contains(row);
            if !changed && may_be_unexplained {
                rebuilt.unexplained = rebuilt.unexplained.saturating_add(1);
            } else if changed {
                rebuilt.differences.push(format!("{name} {row}: not as the entries say"));
            } else {
                rebuilt.differences.push(format!("{name} {row}: no entry says so"));
            }
        }
        for row in should.iter().filter(|row| !is.contains(row)) {
            rebuilt.differences.push(format!("{name} {row}: missing, and the entries say it"));
        }
        Ok(())
    }
}

/// The keys of the rows, as text.
fn keys(connection: &Connection, sql: &str, key: &str) -> Result<Vec<String>, LedgerError> {
    let width = key.split(", ").count();
    let mut found = connection.prepare_cached(sql)?;
    let rows = found.query_map((), |row| {
        let parts: Result<Vec<String>, SqlError> = (0..width)
            .map(|column| {
                Ok(match row.cell(column)? {
                    Cell::Number(number) => number.to_string(),
                    Cell::Bytes(bytes) => {
                        bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
                    }
                    Cell::Text(text) => text.to_owned(),
                    Cell::Flag(flag) => flag.to_string(),
                    Cell::Null => String::new(),
                })
            })
            .collect();
        Ok(parts?.join("@"))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Said<'_> {
    /// Every kind, by name: who adds one says here what follows from it.
    #[expect(clippy::too_many_lines, reason = "a list of all kinds, each by its name")]
    fn replay(&self, connection: &Connection) -> Result<Told, LedgerError> {
        match self.kind {
            Kind::IdentityAdded => self.identity_added(connection),
            Kind::TeamChanged
            | Kind::LoginEnded
            | Kind::KeyRevoked
            | Kind::SubjectBound
            | Kind::SubjectReleased
            | Kind::DirectoryTokenMade
            | Kind::DirectoryTokenEnded
            | Kind::DirectoryUserPut
            | Kind::DirectoryGroupPut
            | Kind::DirectoryRemoved
            | Kind::BehaviourAcknowledged
            | Kind::BehaviourAccepted => self.who(connection),
            Kind::KeyAdded => self.key_added(connection),
            Kind::IdentityDisabled => self.disable(connection, true),
            Kind::IdentityEnabled => self.enable(connection),
            Kind::HostTokenMade => self.token_made(connection),
            Kind::HostEnrolled => self.enrolled(connection),
            Kind::HostCertified => self.certified(connection),
            Kind::HostChanged => self.host_changed(connection),
            Kind::HostRemoved => self.host_removed(connection),
            Kind::GrantBegun => self.grant_begun(connection),
            Kind::Certificate => self.certificate(connection),
            Kind::Lock
            | Kind::Unlock
            | Kind::Trust
            | Kind::Restored
            | Kind::RecordingKey
            | Kind::WatchAnnounced
            | Kind::GrantExtended => self.order(connection),
            Kind::GrantEnded => self.grant_ended(connection),
            Kind::RolesChanged => self.roles(connection),
            Kind::PolicyChanged => self.policy(connection),
            Kind::RiskChanged => self.risk(connection),
            Kind::BehaviourChanged => self.behaviour(connection),
            Kind::KeysChanged => self.keys_changed(connection),
            Kind::Incident => self.incident(connection),
            Kind::IncidentSettled => self.incident_settled(connection),
            Kind::RequestMade => self.request_made(connection),
            Kind::RequestApproved => self.request_approved(connection),
            Kind::RequestMoved => self.request_moved(connection),
            Kind::RequestReviewed => self.request_reviewed(connection),
            Kind::SessionBegun
            | Kind::SessionEnded
            | Kind::SessionReviewed
            | Kind::SessionOdd
            | Kind::SessionKilled => {
                self.session(connection)
            }
            Kind::Held
            | Kind::Released
            | Kind::DeletionAsked
            | Kind::DeletionApproved
            | Kind::DeletionWithdrawn
            | Kind::Deleted => {
                retention::replay(connection, (self.kind, self.seq, self.at), &self.body)?;
                Ok(Told::Wholly)
            }
            Kind::BreakglassGroupAdded
            | Kind::BreakglassGroupRetired
            | Kind::BreakglassReceipt
            | Kind::BreakglassReviewed
            | Kind::BreakglassAlarm => self.ceremony(connection),
            Kind::KeyRequested | Kind::KeyApproved | Kind::KeyRequestEnded => {
                key_request::replay(connection, (self.kind, self.seq, self.at), &self.body)?;
                Ok(Told::Wholly)
            }
            // No state follows from these: what was, was refused, or was done outside of the ledger.
            Kind::AuthorityCreated
            | Kind::Denial
            | Kind::ExtensionDenied
            | Kind::RequestRefused
            | Kind::ActRefused
            | Kind::RiskRefused
            | Kind::RolesRefused
            | Kind::PolicyRefused
            | Kind::Backup
            | Kind::BodiesErased
            | Kind::Searched
            | Kind::Exported
            | Kind::IncidentReported
            | Kind::RecordingRead
            | Kind::RecordingWatched
            | Kind::RecordingsSearched
            // What follows is made new when it is lost: a login by logging in, a host's TLS certificate by its host.
            | Kind::Login
            | Kind::LinkCertified => Ok(Told::Wholly),
        }
    }

    fn enable(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        self.disable(connection, false)
    }

    fn session(&self, connection: &Connection) -> Result<Told, LedgerError> {
        match self.kind {
            Kind::SessionBegun => self.begun(connection),
            Kind::SessionEnded => self.ended(connection),
            Kind::SessionKilled => self.killed(connection),
            Kind::SessionOdd => {
                let (host, session): (HostName, _) = (self.read("/host")?, self.read("/session")?);
                odd::told(connection, (session, &host), self.seq)?;
                Ok(Told::Wholly)
            }
            _ => self.reviewed(connection),
        }
    }

    /// What follows for who there is, what they log in with, and who is in which team.
    fn who(&self, connection: &Connection) -> Result<Told, LedgerError> {
        match self.kind {
            Kind::TeamChanged => self.team_changed(connection),
            Kind::KeyRevoked => self.run(
                connection,
                "DELETE FROM keys WHERE fingerprint = ?1",
                params![self.text_of("/key")?],
            ),
            Kind::LoginEnded => {
                grant::bump_epoch(connection)?;
                Ok(Told::Wholly)
            }
            Kind::SubjectBound => self.subject_bound(connection),
            Kind::DirectoryTokenMade => {
                let hash = self.read::<Hash>("/token")?.0;
                directory::write_token(connection, (self.text_of("/name")?, hash), self.at)?;
                Ok(Told::Wholly)
            }
            Kind::DirectoryTokenEnded => self.run(
                connection,
                "DELETE FROM directory_tokens WHERE name = ?1",
                params![self.text_of("/name")?],
            ),
            Kind::DirectoryUserPut => {
                directory::write_user(connection, &self.read("/user")?)?;
                Ok(Told::Wholly)
            }
            Kind::DirectoryGroupPut => {
                directory::write_group(connection, &self.read("/group")?)?;
                Ok(Told::Wholly)
            }
            Kind::DirectoryRemoved => self.directory_removed(connection),
            Kind::BehaviourAcknowledged | Kind::BehaviourAccepted => {
                let who = (&self.read("/by")?, self.read("/text")?);
                behaviour::insert(connection, who, self.at)?;
                Ok(Told::Wholly)
            }
            Kind::SubjectReleased => {
                grant::bump_epoch(connection)?;
                self.run(
                    connection,
                    "DELETE FROM subjects WHERE identity = ?1",
                    params![self.text_of("/identity")?],
                )
            }
            _ => Ok(Told::Wholly),
        }
    }

    fn identity_added(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let kind = self.body.pointer("/kind").and_then(Value::as_str);
        self.run(
            connection,
            "INSERT INTO identities (name, operator, disabled, added, kind) VALUES (?1, ?2, FALSE, ?3, ?4)",
            params![
                self.text_of("/identity")?,
                self.body.pointer("/operator").and_then(Value::as_bool),
                self.at.millis(),
                kind.unwrap_or(wire::identity::Kind::default().name())
            ],
        )
    }

    fn team_changed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        team::replay(connection, &serde_json::from_str(self.text)?, self.at)?;
        Ok(Told::Wholly)
    }

    fn host_changed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        self.run(
            connection,
            "UPDATE hosts SET addresses = ?2, labels = ?3 WHERE name = ?1",
            params![self.text_of("/host")?, self.json_of("/addresses"), self.json_of("/labels")],
        )?;
        self.put_addresses(connection)
    }

    fn grant_begun(&self, connection: &Connection) -> Result<Told, LedgerError> {
        self.run(
            connection,
            "INSERT INTO grants (id, identity, role, host, began, until, request) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.number_of("/grant")?,
                self.text_of("/identity")?,
                self.text_of("/role")?,
                self.text_of("/host")?,
                self.number_of("/from")?,
                self.number_of("/until")?,
                self.body.pointer("/request").and_then(Value::as_u64)
            ],
        )
    }

    fn incident_settled(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let settled = Settled { by: self.read("/by")?, at: self.at, reason: self.read("/reason")? };
        self.run(
            connection,
            "UPDATE incidents SET settled = ?2 WHERE number = ?1",
            params![self.number_of("/incident")?, serde_json::to_string(&settled)?],
        )
    }

    fn request_made(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let text = self.text_of("/asked")?;
        let unreadable = |flaw| LedgerError::Torn(format!("entry {}: {flaw}", self.seq));
        let asked = Asked::parse(text).map_err(unreadable)?;
        let confirmed = self.body.pointer("/confirmed").and_then(Value::as_bool).unwrap_or(false);
        let risk: Option<Reckoned> = self.read("/risk")?;
        request::insert(connection, &asked, (text, confirmed), risk.as_ref())?;
        Ok(Told::Wholly)
    }

    fn request_approved(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let who = (self.read("/request")?, &self.read("/by")?, &self.read("/key")?);
        let mfa_at: Option<Timestamp> = self.read("/mfa_at")?;
        approval::insert(connection, who, (&self.read("/signed")?, mfa_at, self.at))?;
        Ok(Told::Wholly)
    }

    fn request_moved(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let note = self.body.pointer("/reason").and_then(Value::as_str);
        request::set(connection, self.read("/request")?, (self.read("/state")?, note))?;
        Ok(Told::Wholly)
    }

    fn request_reviewed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let (verdict, by) = (self.read("/verdict")?, self.read("/reviewer")?);
        let (at, note) = (self.at, self.read("/note")?);
        let review = Review { verdict, by, at, note, gap: None };
        pass::write_review(connection, self.read("/request")?, &review)?;
        Ok(Told::Wholly)
    }

    fn subject_bound(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let subject = (self.text_of("/issuer")?, self.text_of("/subject")?);
        subject::write_bound(connection, subject, &self.read("/identity")?, self.at)?;
        Ok(Told::Wholly)
    }

    fn directory_removed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let is_user = self.text_of("/kind")? == "user";
        let schema = if is_user { idp::scim::USER } else { idp::scim::GROUP };
        directory::remove(connection, schema, self.number_of("/id")?)?;
        Ok(Told::Wholly)
    }

    fn host_removed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        let host = self.text_of("/host")?;
        self.run(connection, "DELETE FROM addresses WHERE host = ?1", params![host])?;
        self.run(connection, "DELETE FROM hosts WHERE name = ?1", params![host])
    }

    fn token_made(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let Some(token) = self.token()? else { return Ok(Told::Partly) };
        self.run(
            connection,
            "INSERT INTO tokens (hash, host, addresses, labels, until) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                token,
                self.text_of("/host")?,
                self.json_of("/addresses"),
                self.json_of("/labels"),
                self.number_of("/until")?
            ],
        )
    }

    fn enrolled(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        // What a host that joined before this was kept had certified; the next entry says it for others.
        let certified = format!(r#"{{"names":[],"keys":{}}}"#, self.json_of("/host_keys"));
        self.run(
            connection,
            "INSERT INTO hosts (name, labels, addresses, enrolment, enrolled, orders_from, last_order, agent_key, certified) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8) \
             ON CONFLICT (name) DO UPDATE SET labels = excluded.labels, addresses = excluded.addresses, \
             enrolment = excluded.enrolment, enrolled = excluded.enrolled, orders_from = excluded.orders_from, \
             agent_key = excluded.agent_key, certified = excluded.certified",
            params![
                self.text_of("/host")?, self.json_of("/labels"), self.json_of("/addresses"), restore::outside(connection, self.seq)?, self.at.millis(),
                order::newest(connection)?, self.body.pointer("/agent_key").and_then(Value::as_str), certified
            ],
        )?;
        self.put_addresses(connection)?;
        let Some(token) = self.token()? else { return Ok(Told::Partly) };
        self.run(
            connection,
            "UPDATE tokens SET used = ?2 WHERE hash = ?1",
            params![token, self.at.millis()],
        )
    }

    fn certified(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let until: Timestamp = self.read("/until")?;
        let certified = Certified {
            names: self.read("/names")?,
            keys: self.read("/host_keys")?,
            authority: Some(self.read::<Fingerprint>("/authority")?),
            window: Some(Window { from: Timestamp::from_secs(self.at.secs()), until }),
        };
        self.run(
            connection,
            "UPDATE hosts SET certified = ?2 WHERE name = ?1",
            params![self.text_of("/host")?, serde_json::to_string(&certified)?],
        )
    }

    fn put_addresses(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let addresses: Vec<wire::identifier::Address> = self.read("/addresses")?;
        super::host::put_addresses(connection, &self.read("/host")?, &addresses)?;
        Ok(Told::Wholly)
    }

    fn certificate(&self, connection: &Connection) -> Result<Told, LedgerError> {
        self.run(
            connection,
            "INSERT INTO certificates (serial, grant_id, identity, login, host, key, issued, valid_before, login_key) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                self.number_of("/serial")?, self.number_of("/grant")?, self.text_of("/identity")?, self.text_of("/login")?,
                self.text_of("/host")?, self.text_of("/key")?, self.at.millis(),
                Timestamp::from_secs(self.number_of("/valid_before_secs")?).millis(),
                self.body.pointer("/login_key").and_then(Value::as_str)
            ],
        )
    }

    fn order(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let text = self.text_of("/signed/order")?;
        let order: Order = serde_json::from_str(text)?;
        self.run(
            connection,
            "INSERT INTO orders (number, at, order_text, signature) VALUES (?1, ?2, ?3, ?4)",
            params![
                order.number.number(),
                self.at.millis(),
                text,
                self.text_of("/signed/signature")?
            ],
        )?;
        order::apply(connection, &order)?;
        grant::bump_epoch(connection)?;
        Ok(Told::Wholly)
    }

    /// An order that locks the grant, which ended at that moment.
    fn grant_ended(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let told = self.order(connection)?;
        let order: Order = serde_json::from_str(self.text_of("/signed/order")?)?;
        if let Instruction::Lock(Lock { target: Target::Grant(grant), .. }) = order.instruction {
            extend::set_end(connection, grant, self.at)?;
        }
        Ok(told)
    }

    fn roles(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        self.run(
            connection,
            "INSERT INTO counters (name, value) VALUES ('roles', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            params![super::role::mark(self.text.as_bytes())],
        )
    }

    fn behaviour(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        let hash: Option<Hash> = self.read("/hash")?;
        behaviour::keep(connection, behaviour::mark(hash))?;
        Ok(Told::Wholly)
    }

    fn risk(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        let trial = self.body.pointer("/trial").and_then(Value::as_str);
        let seal = |pointer| self.body.pointer(pointer).and_then(Value::as_str);
        let seals = [seal("/signed/signature"), seal("/trial_signed/signature")];
        let mark = super::risk::mark((self.text_of("/weights")?, trial), seals);
        super::risk::keep(connection, mark)?;
        Ok(Told::Wholly)
    }

    fn policy(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        let is_folder: bool = self.read("/is_folder")?;
        let mark = super::policy::mark(self.text_of("/hash")?, is_folder);
        super::policy::keep(connection, (mark, is_folder))?;
        Ok(Told::Wholly)
    }

    fn keys_changed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        grant::bump_epoch(connection)?;
        let keys: Vec<Value> = self.read("/keys")?;
        for key in &keys {
            let text = |name| key.pointer(name).and_then(Value::as_str);
            let number = |name| key.pointer(name).and_then(Value::as_u64);
            self.run(
                connection,
                "INSERT INTO authority_keys (purpose, number, fingerprint, public_key, stage, since, made) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (purpose, number) DO UPDATE SET \
                 stage = excluded.stage, since = excluded.since",
                params![
                    self.text_of("/purpose")?,
                    number("/number"),
                    text("/fingerprint"),
                    text("/public_key"),
                    key.pointer("/stage").map(Value::to_string),
                    number("/since"),
                    self.at.millis()
                ],
            )?;
        }
        Ok(Told::Wholly)
    }

    fn incident(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let cause: Cause = self.read("/cause")?;
        let host: HostName = self.read("/host")?;
        incident::insert(connection, (self.seq, &host, &cause), (1, self.at))?;
        Ok(Told::Wholly)
    }

    fn begun(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let Some(at) = self.body.pointer("/at").and_then(Value::as_u64) else {
            return Ok(Told::Partly);
        };
        let subject = |name: &str| self.text_of(&format!("/began/{name}"));
        self.run(
            connection,
            "INSERT INTO sessions (session, host, identity, login, role, grant_id, serial, remote, began, until, known) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
            params![
                self.text_of("/session")?, self.text_of("/host")?, subject("subject/identity")?, subject("subject/login")?,
                subject("subject/role")?, self.number_of("/began/subject/grant")?, self.number_of("/began/subject/serial")?,
                subject("remote")?, at, self.number_of("/began/grant_until")?,
                self.body.pointer("/known").and_then(Value::as_bool)
            ],
        )
    }

    fn ended(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let over: SessionOver = serde_json::from_str(self.text)?;
        let Some(at) = over.at else { return Ok(Told::Partly) };
        let SessionEnded { reason, killed, survivors, took_micros, .. } = over.ended;
        let how = Ended { at, reason, killed, survivors, took_micros };
        self.run(
            connection,
            "UPDATE sessions SET ended = ?3 WHERE session = ?1 AND host = ?2",
            params![
                self.text_of("/session")?,
                self.text_of("/host")?,
                serde_json::to_string(&how)?
            ],
        )
    }

    fn killed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let (host, session) = (self.read("/host")?, self.read("/session")?);
        let (signed, seal) = (self.read("/signed")?, self.read("/seal")?);
        kill::replay(connection, (&host, session), (&signed, seal))?;
        Ok(Told::Wholly)
    }

    fn reviewed(&self, connection: &Connection) -> Result<Told, LedgerError> {
        let review = Review {
            verdict: self.read("/verdict")?,
            by: self.read("/by")?,
            at: self.at,
            note: self.read("/note")?,
            gap: self.read("/gap")?,
        };
        self.run(
            connection,
            "UPDATE sessions SET review = ?3 WHERE session = ?1 AND host = ?2",
            params![
                self.text_of("/session")?,
                self.text_of("/host")?,
                serde_json::to_string(&review)?
            ],
        )
    }

    /// What follows of break-glass.
    fn ceremony(&self, connection: &Connection) -> Result<Told, LedgerError> {
        match self.kind {
            Kind::BreakglassGroupAdded => {
                let letter = self.text_of("/letter")?;
                let people: Option<ceremony::People> = self.read("/people")?;
                let group = (&self.read("/said")?, letter, &people.unwrap_or_default());
                ceremony::write_group(connection, group, self.at)?;
            }
            Kind::BreakglassGroupRetired => {
                ceremony::retire(connection, &self.read("/key")?, self.at)?;
            }
            Kind::BreakglassAlarm => {
                let host: HostName = self.read("/host")?;
                ceremony::write_alarm(connection, &host, &self.read("/ended")?)?;
            }
            Kind::BreakglassReceipt => {
                let letter = self.text_of("/letter")?;
                ceremony::write_receipt(connection, (&self.read("/said")?, letter), self.at)?;
            }
            _ => {
                let reviewer: Option<String> = self.read("/reviewer")?;
                let by = reviewer.map_or_else(|| self.read("/by"), Ok)?;
                let (verdict, note) = (self.read("/verdict")?, self.read("/note")?);
                let at = self.at;
                let review = Review { verdict, by, at, note, gap: None };
                ceremony::write_review(connection, self.read("/serial")?, &review)?;
            }
        }
        Ok(Told::Wholly)
    }

    fn key_added(&self, connection: &Connection) -> Result<Told, LedgerError> {
        self.run(
            connection,
            "INSERT INTO keys (fingerprint, identity, public_key, added) VALUES (?1, ?2, ?3, ?4)",
            params![
                self.text_of("/key")?,
                self.text_of("/identity")?,
                self.text_of("/public_key")?,
                self.at.millis()
            ],
        )
    }

    fn disable(&self, connection: &Connection, disabled: bool) -> Result<Told, LedgerError> {
        self.run(
            connection,
            "UPDATE identities SET disabled = ?2 WHERE name = ?1",
            params![self.text_of("/identity")?, disabled],
        )
    }

    fn run(
        &self,
        connection: &Connection,
        sql: &'static str,
        values: impl Params,
    ) -> Result<Told, LedgerError> {
        connection.prepare_cached(sql)?.execute(values)?;
        Ok(Told::Wholly)
    }

    fn token(&self) -> Result<Option<[u8; 32]>, LedgerError> {
        if self.body.pointer("/token").is_none() {
            return Ok(None);
        }
        Ok(Some(self.read::<Hash>("/token")?.0))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, pointer: &str) -> Result<T, LedgerError> {
        Ok(T::deserialize(self.body.pointer(pointer).unwrap_or(&Value::Null))?)
    }

    fn text_of(&self, pointer: &str) -> Result<&str, LedgerError> {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.ok_or_else(|| self.lacks(pointer))
    }

    fn number_of(&self, pointer: &str) -> Result<u64, LedgerError> {
        let found = self.body.pointer(pointer);
        // Numbered names such as `g7` are kept as text in some bodies.
        let number = found.and_then(|value| {
            value.as_u64().or_else(|| value.as_str()?.trim_start_matches('g').parse().ok())
        });
        number.ok_or_else(|| self.lacks(pointer))
    }

    fn json_of(&self, pointer: &str) -> String {
        self.body.pointer(pointer).unwrap_or(&Value::Null).to_string()
    }

    fn lacks(&self, pointer: &str) -> LedgerError {
        LedgerError::Torn(format!("the body of entry {} has no {pointer}", self.seq))
    }
}

/// Every table that follows from the entries.
const TABLES: [Table; 33] = [
    Table { name: "kills", key: "session, host", columns: "order_number, said" },
    Table { name: "acknowledgements", key: "identity, text", columns: "at" },
    Table { name: "restores", key: "era", columns: "size, declared" },
    Table { name: "kept_locks", key: "target", columns: "reason, host" },
    Table { name: "identities", key: "name", columns: "operator, disabled, added, kind" },
    Table { name: "members", key: "team, identity, source", columns: "since" },
    Table {
        name: "directory_users",
        key: "id",
        columns: "identity, external, display, active, disabled_here, locked_by, changed",
    },
    Table { name: "directory_groups", key: "id", columns: "team, external, changed" },
    Table { name: "directory_tokens", key: "name", columns: "hash, made" },
    Table { name: "subjects", key: "issuer, subject", columns: "identity, bound" },
    Table { name: "keys", key: "fingerprint", columns: "identity, public_key, added" },
    Table {
        name: "key_requests",
        key: "number",
        columns: "identity, asked_by, wish, possession, consent, at, state, decided_by, decided_at",
    },
    Table { name: "tokens", key: "hash", columns: "host, addresses, labels, until, used" },
    Table {
        name: "hosts",
        key: "name",
        columns: "labels, addresses, enrolment, enrolled, orders_from, agent_key, certified",
    },
    Table { name: "addresses", key: "address", columns: "host" },
    Table { name: "grants", key: "id", columns: "identity, role, host, began, until, request" },
    Table {
        name: "requests",
        key: "id",
        columns: "identity, role, asked, state, due, extends, at, note, confirmed, risk, breakglass, review",
    },
    Table { name: "request_hosts", key: "request, host", columns: "place" },
    Table {
        name: "approvals",
        key: "request, identity",
        columns: "key, approval, signature, at, mfa",
    },
    Table {
        name: "certificates",
        key: "serial",
        columns: "grant_id, identity, login, host, key, issued, valid_before, login_key",
    },
    Table { name: "orders", key: "number", columns: "at, order_text, signature" },
    Table { name: "locks", key: "target", columns: "reason, until, order_number, by, at" },
    Table {
        name: "sessions",
        key: "session, host",
        columns: "identity, login, role, grant_id, serial, remote, began, until, ended, known, review, odd_entry",
    },
    Table {
        name: "authority_keys",
        key: "purpose, number",
        columns: "fingerprint, public_key, stage, since, made",
    },
    Table { name: "incidents", key: "number", columns: "host, cause, settled" },
    Table {
        name: "breakglass_groups",
        key: "digest",
        columns: "key, said, letter, added, retired, people",
    },
    Table { name: "breakglass_receipts", key: "hash", columns: "serial, said, letter, entered" },
    Table { name: "breakglass_reviews", key: "serial", columns: "review" },
    Table { name: "breakglass_alarms", key: "host, serial, way", columns: "alarm" },
    Table { name: "counters", key: "name", columns: "value" },
    Table { name: "holds", key: "session, host", columns: "held_by, at, reason" },
    Table {
        name: "deletions",
        key: "number",
        columns: "class, reason, asked_by, asked_at, decided_by, decided_at, state",
    },
    Table { name: "deletion_sessions", key: "deletion, session, host", columns: "spared, gone" },
];
/// Kinds of entries that count the epoch, whatever they say: an erased body leaves no doubt about that.
const COUNTED: [&str; 20] = [
    "behaviour_changed",
    "risk_changed",
    "identity_enabled",
    "team_changed",
    "login_ended",
    "subject_released",
    "host_enrolled",
    "host_changed",
    "host_removed",
    "roles_changed",
    "keys_changed",
    "lock",
    "unlock",
    "trust",
    "restored",
    "recording_key",
    "watch_announced",
    "grant_ended",
    "grant_extended",
    "request_moved",
];
/// Most rows told of one table.
const MAX_TOLD: u64 = 100;
