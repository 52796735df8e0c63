//! What the ledger keeps of the weights of risks: each file that came into force, and each that was refused; and the scores.

use ::risk::Case;
use wire::identifier::{Fingerprint, Identity, RequestId};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::past::{Whose, gather};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, approval, grant, request};
use crate::access::Rules;
use crate::access::question::is_on_call;
use crate::random::sha256;
use crate::risk::{Access, Reckoned, Risk, Seals, Vouched};

/// From where, by which key and with what somebody asks.
#[derive(Debug, Clone)]
pub(crate) struct Bearing {
    /// The weights in force.
    pub(crate) risk: Risk,
    /// From where.
    pub(crate) from: Option<std::net::IpAddr>,
    /// By which enrolled key they are logged in.
    pub(crate) key: Option<Fingerprint>,
    /// When they last showed a second factor in this login.
    pub(crate) mfa_at: Option<Timestamp>,
}

/// A score, and the same case as the ledger would have it now, as of then.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// As it was kept.
    pub(crate) kept: Reckoned,
    /// As it is reckoned again from what the ledger has of the time before.
    pub(crate) again: Case,
}

impl Ledger {
    /// Records the weights that are in force now, unless they are those of the last entry. Permits from before are stale.
    pub(crate) async fn risk_changed(
        &self,
        after: Vouched,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.write(move |connection| {
            let Vouched { risk, weights: signed, trial: trial_signed } = &after;
            if is_known(connection, risk)? {
                return Ok(false);
            }
            let mark = mark_of(risk);
            let (weights, trial) = (risk.weights(), risk.trial().map(::risk::Weights::text));
            keep(connection, mark)?;
            grant::bump_epoch(connection)?;
            let (hash, name, weights) = (weights.hash(), weights.name(), weights.text());
            let by = match signed {
                Some(signed) => Actor::person(&signed.by),
                None if risk.is_file() => Actor::local(),
                None => Actor::authority(),
            };
            let (signed, trial_signed) = (signed.as_ref(), trial_signed.as_ref());
            let data = entry::RiskNow { by: &by, hash, name, weights, trial, signed, trial_signed };
            entry::append(connection, Kind::RiskChanged, now, &data)?;
            Ok(true)
        })
        .await
    }

    /// Whether these weights, with these signatures, are those of the last entry.
    pub(crate) async fn knows_risk(&self, risk: Risk) -> Result<bool, LedgerError> {
        self.read(move |connection| is_known(connection, &risk)).await
    }

    /// Records that changed weights were refused and that those from before stayed.
    pub(crate) async fn risk_refused(
        &self,
        (reason, kept): (String, Risk),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let data = entry::RiskRefused { reason: &reason, kept: kept.weights().hash() };
            entry::append(connection, Kind::RiskRefused, now, &data)?;
            Ok(())
        })
        .await
    }

    /// The score of a request, and the same reckoned again as of when it was asked for; nothing when there is no score.
    pub(crate) async fn replay_risk(
        &self,
        id: RequestId,
        (roles, policy, risk): (std::sync::Arc<crate::role::Roles>, crate::policy::Policy, Risk),
    ) -> Result<Option<Replayed>, LedgerError> {
        self.read(move |connection| {
            let Some(kept) = request::find(connection, id)? else { return Ok(None) };
            let Some(reckoned) = kept.risk.clone() else { return Ok(None) };
            let (case, at) = (reckoned.case(), kept.asked.at);
            let mfa_at = case.mfa_age.map(|secs| at.before(std::time::Duration::from_secs(secs)));
            let bearing = Bearing { risk, from: None, key: None, mfa_at };
            let rules = Rules::of(&roles, &policy);
            let again = reckon(connection, (&kept.asked, &bearing), &rules, at)?;
            let Some(again) = again else { return Ok(None) };
            // What only the login knew is taken as it was: it is in no table.
            let again = Case {
                source: case.source.clone(),
                hardware_key: case.hardware_key,
                past: ::risk::Past {
                    own: with_source(&again.past.own, &case.past.own),
                    team: with_source(&again.past.team, &case.past.team),
                    // Those of before incidents were counted have none.
                    incidents: case.past.incidents.and(again.past.incidents),
                    ..again.past
                },
                ..again
            };
            Ok(Some(Replayed { kept: reckoned, again }))
        })
        .await
    }
}

fn with_source(again: &::risk::Habits, kept: &::risk::Habits) -> ::risk::Habits {
    ::risk::Habits { source: kept.source, ..again.clone() }
}

/// How much of a risk a request is, of which the text is known and nothing more is recorded yet.
pub(super) fn reckon_request(
    connection: &Connection,
    (asked, bearing): (&wire::request::Asked, &Bearing),
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Option<Reckoned>, LedgerError> {
    let Some(role) = rules.roles.find(&asked.role) else { return Ok(None) };
    let who = approval::requester(connection, &asked.identity)?;
    let window = approval::window(connection, asked.extends)?;
    let before = window.map_or(0, |(from, until)| until.since(from).as_secs());
    let hosts = request::hosts(connection, asked)?;
    let whose =
        Whose { identity: &asked.identity, key: bearing.key.as_ref(), but: Some(asked.request) };
    let gathered = gather(connection, whose, now)?;
    let access = Access {
        identity: &asked.identity,
        who: &who,
        hosts: &hosts,
        logins: &asked.logins,
        role,
        seconds: before.saturating_add(asked.duration_secs),
        begins: asked.start.map_or(now, |start| start.max(now)),
        from: bearing.from,
        mfa_at: bearing.mfa_at,
        on_call: is_on_call(&asked.identity, rules, now),
    };
    Ok(Some(bearing.risk.reckon(&access, &gathered, now)))
}

fn reckon(
    connection: &Connection,
    said: (&wire::request::Asked, &Bearing),
    rules: &Rules<'_>,
    at: Timestamp,
) -> Result<Option<Case>, LedgerError> {
    Ok(reckon_request(connection, said, rules, at)?.map(|reckoned| reckoned.case().clone()))
}

/// What bears on the risk of an access without a request.
pub(super) fn gathered(
    connection: &Connection,
    (identity, key): (&Identity, Option<&Fingerprint>),
    now: Timestamp,
) -> Result<crate::risk::Gathered, LedgerError> {
    gather(connection, Whose { identity, key, but: None }, now)
}

fn is_known(connection: &Connection, risk: &Risk) -> Result<bool, LedgerError> {
    let before: Option<i64> = connection
        .prepare_cached("SELECT value FROM counters WHERE name = 'risk'")?
        .query_row((), |row| row.get(0))
        .optional()?;
    Ok(before == Some(mark_of(risk)))
}

fn mark_of(risk: &Risk) -> i64 {
    let Seals { weights, trial } = risk.seals();
    let seals = [weights.as_deref(), trial.as_deref()];
    mark((risk.weights().text(), risk.trial().map(::risk::Weights::text)), seals)
}

/// What is kept to know the same weights with the same signatures again.
pub(super) fn mark((weights, trial): (&str, Option<&str>), seals: [Option<&str>; 2]) -> i64 {
    let trial = trial.unwrap_or_default();
    let length = u64::try_from(weights.len()).unwrap_or(u64::MAX).to_be_bytes();
    let mut said = vec![length.as_slice(), weights.as_bytes(), trial.as_bytes()];
    // Nothing is added where nothing is signed: so was it before there were signatures.
    for (seal, name) in seals.iter().zip([b"\0weights", b"\0trial\0\0"]) {
        if let Some(seal) = seal {
            said.extend([name.as_slice(), seal.as_bytes()]);
        }
    }
    let [a, b, c, d, e, f, g, h, ..] = sha256(&said);
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Keeps the mark of the weights in force.
pub(super) fn keep(connection: &Connection, mark: i64) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO counters (name, value) VALUES ('risk', ?) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![mark])?;
    Ok(())
}
