//! Grants and certificates: the facts a decision rests on, and the entry without which nothing is signed.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::certificate::Checked;
use wire::identifier::{
    Address, Fingerprint, GrantId, HostName, Identity, RequestId, RoleName, Serial,
};
use wire::identity;
use wire::log::{Evidence, FormError, Hash, Leaf, Proof};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{
    Ledger, LedgerError, approval, attempt, behaviour, column, keys, order, request, restore, risk,
    team,
};
use crate::access::{Ask, Denial, Facts, Grant, Host, Permit, Plan, Standing};
use crate::certificate;
use crate::key::Purpose;
use crate::role::MAX_COOLING_OFF;
use crate::signer::Blank;

/// A permit that is durable in the ledger, with its serial, all that its certificate says, and the proof that it was
/// recorded. Only [`Ledger::record`] makes one.
#[derive(Debug)]
#[must_use = "what is recorded can be signed"]
pub(crate) struct Recorded {
    permit: Permit,
    serial: Serial,
    grant: GrantId,
    draft: Checked,
    blank: Blank,
    evidence: Evidence,
    authority: Fingerprint,
}

impl Recorded {
    /// What was decided.
    pub(crate) const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The certificate's serial.
    pub(crate) const fn serial(&self) -> Serial {
        self.serial
    }

    /// The key that is to sign it: the one whose turn it was when it was recorded.
    pub(crate) const fn authority(&self) -> &Fingerprint {
        &self.authority
    }

    /// The grant that it is under.
    pub(crate) const fn grant(&self) -> GrantId {
        self.grant
    }

    /// What the certificate says, but for the proof.
    pub(crate) const fn draft(&self) -> &Checked {
        &self.draft
    }

    /// The nonce and the authority that were recorded with it.
    pub(crate) const fn blank(&self) -> &Blank {
        &self.blank
    }

    /// The proof that it was recorded.
    pub(crate) const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The same, proved by another checkpoint over its entry.
    pub(crate) fn proved_by(self, proof: Proof) -> Result<Self, FormError> {
        let evidence = Evidence::new(self.evidence.leaf().clone(), proof)?;
        Ok(Self { evidence, ..self })
    }
}

impl Ledger {
    /// What bears on an ask, on one snapshot.
    pub(crate) async fn facts(
        &self,
        identity: Identity,
        host: Address,
        now: Timestamp,
    ) -> Result<Arc<Facts>, LedgerError> {
        self.read_facts((identity, host), None, now).await
    }

    /// The same, with what bears on the risk; with the key of the login, if there is one.
    pub(crate) async fn facts_with_risk(
        &self,
        (identity, host): (Identity, Address),
        key: Option<Fingerprint>,
        now: Timestamp,
    ) -> Result<Arc<Facts>, LedgerError> {
        self.read_facts((identity, host), Some(key), now).await
    }

    async fn read_facts(
        &self,
        (identity, host): (Identity, Address),
        key: Option<Option<Fingerprint>>,
        now: Timestamp,
    ) -> Result<Arc<Facts>, LedgerError> {
        let with_risk = key.is_some();
        let (who, place) = (identity.clone(), host.clone());
        let facts = self.read(move |connection| {
            let found = host_at(connection, &place)?;
            let (grants, ended) = match &found {
                Some(host) => (
                    grants(connection, &who, &host.name, now)?,
                    ended(connection, (&who, &host.name), now)?,
                ),
                None => (Vec::new(), BTreeMap::new()),
            };
            let (standing, kind) = standing(connection, &who)?;
            let requests = match &found {
                Some(host) => approval::backings(connection, (&who, &host.name), now)?,
                None => Vec::new(),
            };
            Ok(Facts {
                epoch: epoch(connection)?,
                standing,
                kind,
                acknowledged: behaviour::acknowledged(connection, &who)?,
                teams: team::of(connection, &who)?,
                operator: is_operator(connection, &who)?,
                host: found,
                locks: Arc::new(order::locks_in_force(connection, now)?),
                grants,
                requests,
                ended,
                gathered: match key {
                    Some(key) => Some(risk::gathered(connection, (&who, key.as_ref()), now)?),
                    None => None,
                },
            })
        });
        let facts = facts.await?;
        // What was before changes without a change of the epoch, so it is not kept.
        Ok(if with_risk { Arc::new(facts) } else { self.lately.keep_facts(identity, host, facts) })
    }

    /// The same as they were at an epoch that may be over, if that was lately: good for a permit alone.
    pub(crate) fn facts_lately(&self, identity: &Identity, host: &Address) -> Option<Arc<Facts>> {
        self.lately.facts(identity, host)
    }

    /// Has the next one who asks for these facts read them anew.
    pub(crate) fn forget_facts(&self, identity: &Identity, host: &Address) {
        self.lately.forget(identity, host);
    }

    /// Makes the permit durable and gives it its serial and its grant. [`LedgerError::Stale`] when anything that could
    /// turn it into a denial has changed since it was decided.
    ///
    /// The entry commits to every byte that is to be signed but the proof, and the proof is of the checkpoint that ends
    /// this very transaction.
    pub(crate) async fn record(
        &self,
        permit: Permit,
        blank: Blank,
        now: Timestamp,
    ) -> Result<Recorded, LedgerError> {
        let own = (Arc::clone(&self.roles), Arc::clone(&self.policy));
        let work = move |connection: &Connection| {
            super::role::refuse_others(connection, &own.0)?;
            super::policy::refuse_others(connection, &own.1)?;
            if permit.epoch() != epoch(connection)? {
                return Err(LedgerError::Stale);
            }
            let grant = match permit.plan() {
                Plan::Reuse(grant, _) => grant,
                Plan::Begin(until) => begin(connection, &permit, (until, None), now)?,
                Plan::Under { request, until, before } => {
                    let by = &permit.ask().identity;
                    request::used(connection, (request, before), (by, now))?;
                    begin(connection, &permit, (until, Some(request)), now)?
                }
            };
            let authority = keys::signing(connection, Purpose::User)?;
            if *blank.authority() != authority {
                return Err(LedgerError::Stale);
            }
            let serial = next_serial(connection)?;
            let draft = certificate::user(&permit, grant, serial)?;
            let tbs = Hash::of(blank.to_be_signed(draft.clone())?.as_bytes());
            let leaf = issue(connection, &permit, (serial, grant, tbs), (&authority, now))?;
            Ok((permit, blank, draft, leaf, (serial, grant, authority)))
        };
        let (written, step) = self.write_proved(work).await?;
        let (permit, blank, draft, leaf, (serial, grant, authority)) = written;
        let proof = step.prove(leaf.seq)?;
        let evidence = Evidence::new(leaf, proof)?;
        Ok(Recorded { permit, serial, grant, authority, draft, blank, evidence })
    }

    /// Records a denial.
    pub(crate) async fn deny(
        &self,
        ask: Ask,
        denial: &Denial,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (reason, denial) = (denial.to_string(), denial.clone());
        self.write(move |connection| {
            let key = wire::certificate::fingerprint(ask.key.key_data());
            let data = entry::Denied {
                identity: &ask.identity,
                host: &ask.host,
                login: &ask.login,
                role: ask.role.as_ref(),
                key: &key,
                reason,
                policy: denial.judged(),
                risk: denial.risk(),
            };
            let (asked, why) =
                ((&ask.identity, &ask.host, &ask.login), (&key, data.reason.as_str()));
            attempt::denied(connection, asked, why, now)?;
            entry::append(connection, Kind::Denial, now, &data)?;
            Ok(())
        })
        .await
    }
}

/// What bears on a grant that is under way, with nothing of other grants.
pub(super) fn facts_about(
    connection: &Connection,
    (identity, host): (&Identity, &HostName),
    now: Timestamp,
) -> Result<Facts, LedgerError> {
    let (standing, kind) = standing(connection, identity)?;
    Ok(Facts {
        standing,
        kind,
        teams: team::of(connection, identity)?,
        operator: is_operator(connection, identity)?,
        host: host_at(connection, &Address::try_new(host.as_str())?)?,
        locks: Arc::new(order::locks_in_force(connection, now)?),
        ..Facts::default()
    })
}

/// Counts a change that can turn a yes into a no.
pub(super) fn bump_epoch(connection: &Connection) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'epoch'")?
        .execute(())?;
    Ok(())
}

/// Counts changes that can turn a yes into a no.
pub(super) fn epoch(connection: &Connection) -> Result<u64, LedgerError> {
    let epoch = connection
        .prepare_cached("SELECT value FROM counters WHERE name = 'epoch'")?
        .query_row((), |row| row.get(0))?;
    Ok(epoch)
}

pub(super) fn standing(
    connection: &Connection,
    identity: &Identity,
) -> Result<(Standing, identity::Kind), LedgerError> {
    let found: Option<(bool, identity::Kind)> = connection
        .prepare_cached("SELECT disabled, kind FROM identities WHERE name = ?")?
        .query_row([identity.as_str()], |row| Ok((row.get(0)?, column::word(row, 1)?)))
        .optional()?;
    Ok(match found {
        None => (Standing::Unknown, identity::Kind::default()),
        Some((false, kind)) => (Standing::Active, kind),
        Some((true, kind)) => (Standing::Disabled, kind),
    })
}

pub(super) fn is_operator(
    connection: &Connection,
    identity: &Identity,
) -> Result<bool, LedgerError> {
    let found: Option<bool> = connection
        .prepare_cached("SELECT operator FROM identities WHERE name = ?")?
        .query_row([identity.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(false))
}

pub(super) fn host_at(
    connection: &Connection,
    address: &Address,
) -> Result<Option<Host>, LedgerError> {
    let host = connection
        .prepare_cached(
            "SELECT name, labels FROM hosts WHERE name = ?1 \
             UNION ALL SELECT name, labels FROM addresses JOIN hosts ON name = host WHERE address = ?1 LIMIT 1",
        )?
        .query_row([address.as_str()], |row| {
            Ok(Host { name: column::name(row, 0)?, labels: column::json(row, 1)? })
        })
        .optional()?;
    Ok(host)
}

fn grants(
    connection: &Connection,
    identity: &Identity,
    host: &HostName,
    now: Timestamp,
) -> Result<Vec<Grant>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, role, until, request, began FROM grants WHERE identity = ? AND host = ? AND until > ?",
    )?;
    let rows =
        statement.query_map(params![identity.as_str(), host.as_str(), now.millis()], |row| {
            Ok(Grant {
                id: column::number(row, 0, GrantId::try_new)?,
                role: column::name(row, 1)?,
                until: column::moment(row, 2)?,
                request: column::maybe_number(row, 3, RequestId::try_new)?,
                from: column::moment(row, 4)?,
            })
        })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the last grant of each role ended there, as far back as a role can rest.
fn ended(
    connection: &Connection,
    (identity, host): (&Identity, &HostName),
    now: Timestamp,
) -> Result<BTreeMap<RoleName, Timestamp>, LedgerError> {
    let since = now.before(MAX_COOLING_OFF).millis();
    let mut statement = connection.prepare_cached(
        "SELECT role, max(until) FROM grants WHERE identity = ? AND host = ? AND until > ? AND until <= ? GROUP BY role",
    )?;
    let rows = statement
        .query_map(params![identity.as_str(), host.as_str(), since, now.millis()], |row| {
            Ok((column::name(row, 0)?, column::moment(row, 1)?))
        })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Begins a grant, unless one that would have been reused began since the decision.
fn begin(
    connection: &Connection,
    permit: &Permit,
    (until, request): (Timestamp, Option<RequestId>),
    now: Timestamp,
) -> Result<GrantId, LedgerError> {
    let ask = permit.ask();
    let twin = connection
        .prepare_cached(
            "SELECT 1 FROM grants WHERE identity = ?1 AND host = ?2 AND role = ?3 AND until > ?4 \
             AND ((?6 IS NULL AND request IS NULL AND until > ?7 AND until <= ?5) OR request = ?6)",
        )?
        .exists(params![
            ask.identity.as_str(),
            permit.host().as_str(),
            permit.role().as_str(),
            now.millis(),
            permit.reuse_until().millis(),
            request.map(RequestId::number),
            permit.reuse_from().millis()
        ])?;
    if twin {
        return Err(LedgerError::Stale);
    }
    let id: u64 = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM grants")?
        .query_row((), |row| row.get(0))?;
    let id = restore::after(connection, id)?;
    let grant = GrantId::try_new(id)?;
    connection
        .prepare_cached(
            "INSERT INTO grants (id, identity, role, host, began, until, request) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            ask.identity.as_str(),
            permit.role().as_str(),
            permit.host().as_str(),
            now.millis(),
            until.millis(),
            request.map(RequestId::number)
        ])?;
    let data = entry::Grant {
        grant,
        identity: &ask.identity,
        role: permit.role(),
        host: permit.host(),
        from: now,
        until,
        reason: ask.reason.as_deref(),
        request,
    };
    entry::append(connection, Kind::GrantBegun, now, &data)?;
    Ok(grant)
}

fn next_serial(connection: &Connection) -> Result<Serial, LedgerError> {
    let number: u64 = connection
        .prepare_cached("SELECT coalesce(max(serial), 0) FROM certificates")?
        .query_row((), |row| row.get(0))?;
    Ok(Serial::try_new(restore::after(connection, number)?)?)
}

fn issue(
    connection: &Connection,
    permit: &Permit,
    (serial, grant, tbs): (Serial, GrantId, Hash),
    (authority, now): (&Fingerprint, Timestamp),
) -> Result<Leaf, LedgerError> {
    let (ask, key) = (permit.ask(), permit.key());
    connection
        .prepare_cached(
            "INSERT INTO certificates (serial, grant_id, identity, login, host, key, issued, valid_before, authority, login_key) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            serial.number(),
            grant.number(),
            ask.identity.as_str(),
            ask.login.as_str(),
            permit.host().as_str(),
            key.as_str(),
            now.millis(),
            permit.valid_before().millis(),
            authority.as_str(),
            ask.login_key.as_ref().map(Fingerprint::as_str)
        ])?;
    let data = entry::Certificate {
        serial,
        grant,
        identity: &ask.identity,
        login: &ask.login,
        host: permit.host(),
        role: permit.role(),
        abilities: permit.bounds().abilities.iter().copied().collect(),
        critical_options: permit.bounds().critical_options(),
        key,
        valid_after_secs: permit.valid_after().secs(),
        valid_before_secs: permit.valid_before().secs(),
        grant_until_secs: permit.plan().until().secs(),
        authority,
        login_key: ask.login_key.as_ref(),
        mfa_at: ask.mfa_at,
        policy: permit.judged(),
        risk: permit.risk(),
    };
    entry::append_certificate(connection, now, &data, tbs)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use wire::lock::{Lock, Target};
    use wire::order::Instruction;

    use super::super::tests::{NOW, ledger};
    use super::super::{Actor, Directive, Nature, NewKey, NewToken};
    use super::*;
    use crate::access::{decide, tests as given};
    use crate::role::Roles;

    pub(in crate::ledger) async fn furnished(ledger: &Ledger) {
        let key = NewKey { fingerprint: Fingerprint::of(b"login"), public_key: "k".into() };
        let ana = "ana".parse().unwrap();
        ledger.add_identity(Actor::local(), ana, (key, Nature::default()), NOW).await.unwrap();
        let token = NewToken {
            host: "db1".parse().unwrap(),
            addresses: Vec::new(),
            labels: vec!["env=prod".parse().unwrap()],
            until: NOW.after(Duration::from_secs(60)),
        };
        ledger.make_token(Actor::local(), (token, [1; 32]), NOW).await.unwrap();
        assert!(ledger.enrol([1; 32], super::super::Joining::plain(), NOW).await.is_ok());
    }

    pub(in crate::ledger) fn blank() -> Blank {
        let keyring = crate::key::given::keyring();
        let user = keyring.oldest(Purpose::User).unwrap();
        let print = wire::certificate::fingerprint(user.public().key_data());
        let ring = Arc::new(crate::key::Ring::new(keyring));
        crate::signer::Signer::new(ring).blank(&print).unwrap()
    }

    pub(in crate::ledger) async fn permit(ledger: &Ledger, roles: &Roles) -> Permit {
        let ask = given::ask();
        let facts = ledger.facts(ask.identity.clone(), ask.host.clone(), NOW).await.unwrap();
        decide(ask, &facts, &given::rules(roles), NOW).unwrap()
    }

    async fn kinds(ledger: &Ledger) -> Vec<String> {
        ledger
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT kind, seq FROM entries ORDER BY seq")?;
                let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get::<u64>(1)?)))?;
                let rows: Vec<(String, u64)> = rows.collect::<Result<_, _>>()?;
                assert!(rows.iter().zip(1..).all(|((_, seq), due)| *seq == due), "{rows:?}");
                Ok(rows.into_iter().map(|(kind, _)| kind).collect())
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn every_step_is_an_entry_and_serials_are_dense() {
        let (_dir, ledger) = ledger();
        let roles = given::roles();
        furnished(&ledger).await;
        for due in 1..=3 {
            let recorded =
                ledger.record(permit(&ledger, &roles).await, blank(), NOW).await.unwrap();
            assert_eq!((recorded.serial().number(), recorded.grant().number()), (due, 1));
        }
        let kinds = kinds(&ledger).await;
        let expected = [
            "authority_created",
            "keys_changed",
            "keys_changed",
            "keys_changed",
            "keys_changed",
            "identity_added",
            "key_added",
            "host_token_made",
            "host_enrolled",
            "host_certified",
            "grant_begun",
            "certificate",
            "certificate",
            "certificate",
        ];
        assert_eq!(kinds, expected);
    }

    #[tokio::test]
    async fn many_at_once_are_each_recorded_with_a_proof_of_their_own() {
        let (_dir, ledger) = ledger();
        let ledger = Arc::new(ledger);
        let roles = given::roles();
        furnished(&ledger).await;
        assert!(ledger.record(permit(&ledger, &roles).await, blank(), NOW).await.is_ok());
        let mut asked = Vec::new();
        for _ in 0..40 {
            let (ledger, permit) = (Arc::clone(&ledger), permit(&ledger, &roles).await);
            asked.push(tokio::spawn(async move { ledger.record(permit, blank(), NOW).await }));
        }
        let key = crate::key::given::key(9).public().clone();
        let logs = vec![ledger.log_key(key).await.unwrap()];
        let policy = wire::log::Policy { logs, ..Default::default() };
        let mut seen = std::collections::BTreeSet::new();
        for recorded in asked {
            let recorded = recorded.await.unwrap().unwrap();
            assert!(seen.insert(recorded.serial()));
            let bytes = recorded.blank().to_be_signed(recorded.draft().clone()).unwrap();
            let tbs = Hash::of(bytes.as_bytes());
            let evidence = recorded.evidence().clone();
            assert!(evidence.clone().verify(Hash::of(b"another"), &policy).is_err());
            let head = evidence.clone().verify(tbs, &policy).unwrap().head();
            let newest = ledger.checkpoints().borrow().head();
            let path = ledger.consistency(head.size, newest.size).await.unwrap();
            wire::log::verify_consistency(head, newest, &path).unwrap();
            let proof = ledger.prove(evidence.leaf().seq).await.unwrap();
            proof.verify(evidence.leaf().hash().unwrap(), &policy).unwrap();
        }
    }

    #[tokio::test]
    async fn a_permit_from_before_a_lock_is_stale_and_leaves_nothing() {
        let (_dir, ledger) = ledger();
        let roles = given::roles();
        furnished(&ledger).await;
        let early = permit(&ledger, &roles).await;
        let lock = Lock {
            target: Target::Identity("ana".parse().unwrap()),
            reason: "stolen".into(),
            until: None,
        };
        let directive = Directive {
            by: Actor::local(),
            instruction: Instruction::Lock(lock),
            reason: "stolen".into(),
        };
        let key = Arc::new(crate::key::given::keyring());
        ledger.order(directive, key, NOW).await.unwrap();
        assert!(matches!(ledger.record(early, blank(), NOW).await, Err(LedgerError::Stale)));
        assert_eq!(kinds(&ledger).await.last().unwrap(), "lock");
    }

    #[tokio::test]
    async fn a_permit_from_before_other_roles_is_stale() {
        let (_dir, ledger) = ledger();
        let roles = given::roles();
        furnished(&ledger).await;
        let early = permit(&ledger, &roles).await;
        assert!(ledger.roles_changed(Roles::default(), NOW).await.unwrap());
        assert!(matches!(ledger.record(early, blank(), NOW).await, Err(LedgerError::Stale)));
        assert!(!ledger.roles_changed(Roles::default(), NOW).await.unwrap());
    }

    #[tokio::test]
    async fn two_permits_for_one_new_grant_end_under_one() {
        let (_dir, ledger) = ledger();
        let roles = given::roles();
        furnished(&ledger).await;
        let (first, second) = (permit(&ledger, &roles).await, permit(&ledger, &roles).await);
        assert!(ledger.record(first, blank(), NOW).await.is_ok());
        assert!(matches!(ledger.record(second, blank(), NOW).await, Err(LedgerError::Stale)));
        let again = ledger.record(permit(&ledger, &roles).await, blank(), NOW).await.unwrap();
        assert_eq!(again.grant().number(), 1);
    }
}
