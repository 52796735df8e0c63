//! Grants that end otherwise than they began: earlier, because their owner is done, or later, because they were extended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wire::api::GrantView;
use wire::identifier::{GrantId, HostName, Identity, Login, OrderNumber, RequestId, RoleName};
use wire::lock::{Lock, Target};
use wire::order::{Extension, Instruction};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::order::{self, Ordering};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, grant, pass, request};
use crate::access::backing::Backing;
use crate::access::{self, Denial, Facts, Rules, Running};
use crate::key::Keyring;
use crate::policy::Policy;
use crate::role::Roles;

/// Who wants something of a grant, and why.
#[derive(Debug, Clone)]
pub(crate) struct GrantWish {
    /// Which grant.
    pub(crate) grant: GrantId,
    /// Whose it must be; anybody's, when absent.
    pub(crate) owner: Option<Identity>,
    /// Who asks.
    pub(crate) by: Actor,
    /// Why.
    pub(crate) reason: String,
    /// When who asks last showed a second factor.
    pub(crate) mfa_at: Option<Timestamp>,
}

impl Ledger {
    /// Grants that have not ended: those of `owner`, or all; the next to end first.
    pub(crate) async fn live_grants(
        &self,
        owner: Option<Identity>,
        now: Timestamp,
    ) -> Result<Vec<GrantView>, LedgerError> {
        self.read(move |connection| {
            let owner = owner.as_ref().map(Identity::as_str);
            let mut statement = connection.prepare_cached(&format!(
                "{SELECT} WHERE until > ?1 AND (?2 IS NULL OR identity = ?2) ORDER BY until, id LIMIT {LISTED}"
            ))?;
            let grants = statement.query_map(params![now.millis(), owner], view)?;
            Ok(grants.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Ends a grant now: its certificates open nothing any more, its sessions end, and it is not taken up again.
    pub(crate) async fn end_grant(
        &self,
        wish: GrantWish,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<OrderNumber, LedgerError> {
        self.write(move |connection| {
            let running = running(connection, &wish, now)?;
            let grant = (wish.grant, running.until);
            let said = (&wish.by, wish.reason.as_str());
            let number = end(connection, &keyring, grant, (said, now))?;
            let said = (&wish.by, Some(wish.reason.as_str()));
            request::given_back(connection, wish.grant, (said, now))?;
            Ok(number)
        })
        .await
    }

    /// Decides on a later end, and orders it: in one transaction, so that nothing changes between.
    pub(crate) async fn extend_grant(
        &self,
        (wish, by): (GrantWish, Duration),
        ((roles, policy), keyring): ((Arc<Roles>, Policy), Arc<Keyring>),
        now: Timestamp,
    ) -> Result<Result<(OrderNumber, Timestamp), Denial>, LedgerError> {
        self.write(move |connection| {
            let running = running(connection, &wish, now)?;
            let facts = grant::facts_about(connection, (&running.identity, &running.host), now)?;
            let rules = Rules::of(&roles, &policy);
            match access::extend(&running, by, &facts, (&rules, now)) {
                Ok(until) => Ok(Ok((lengthen(connection, &keyring, (&wish, until), now)?, until))),
                Err(denial) => {
                    let data = entry::ExtensionDenied {
                        by: &wish.by,
                        grant: wish.grant,
                        reason: denial.to_string(),
                        policy: denial.judged(),
                    };
                    entry::append(connection, Kind::ExtensionDenied, now, &data)?;
                    Ok(Err(denial))
                }
            }
        })
        .await
    }
}

/// Ends a grant: by an order that locks it until it would have ended, and a little longer, as clocks of hosts differ.
pub(super) fn end(
    connection: &Connection,
    keyring: &Keyring,
    (grant, until): (GrantId, Timestamp),
    ((by, reason), now): ((&Actor, &str), Timestamp),
) -> Result<OrderNumber, LedgerError> {
    let (target, until) = (Target::Grant(grant), Some(until.after(SKEW)));
    let lock = Lock { target, reason: reason.to_owned(), until };
    let ordering = Ordering {
        kind: Some(Kind::GrantEnded),
        extend: None,
        ..Ordering::of(Instruction::Lock(lock))
    };
    let number = order::write(connection, keyring, (by, reason), (ordering, now))?;
    set_end(connection, grant, now)?;
    Ok(number)
}

/// Gives a grant the later end that a request of its owner was approved for.
pub(super) fn approved(
    connection: &Connection,
    (wish, by, backing): (&GrantWish, Duration, Backing),
    (rules, keyring): (&Rules<'_>, &Keyring),
    now: Timestamp,
) -> Result<Result<Timestamp, Denial>, LedgerError> {
    let request = Some(backing.asked.request);
    let running = Running { request, ..running(connection, wish, now)? };
    let facts = grant::facts_about(connection, (&running.identity, &running.host), now)?;
    let facts = Facts { requests: vec![backing], ..facts };
    match access::extend_approved(&running, by, &facts, (rules, now)) {
        Ok(until) => {
            lengthen(connection, keyring, (wish, until), now)?;
            Ok(Ok(until))
        }
        Err(denial) => Ok(Err(denial)),
    }
}

fn lengthen(
    connection: &Connection,
    keyring: &Keyring,
    (wish, until): (&GrantWish, Timestamp),
    now: Timestamp,
) -> Result<OrderNumber, LedgerError> {
    if pass::is_above(connection, wish.grant)? {
        let id = wish.grant;
        return Err(LedgerError::Conflict(format!(
            "grant {id} is one of break-glass, which nothing makes longer"
        )));
    }
    let ordering = Ordering {
        kind: Some(Kind::GrantExtended),
        extend: Some(Extension { grant: wish.grant, until }),
        ..Ordering::of(Instruction::Unlock(Target::Grant(wish.grant)))
    };
    let said = (&wish.by, wish.reason.as_str());
    let number = order::write(connection, keyring, said, (ordering, now))?;
    request::lengthened(connection, (wish.grant, until), (&wish.by, now))?;
    Ok(number)
}

/// The grant, if it has not ended and is whose it must be.
fn running(
    connection: &Connection,
    wish: &GrantWish,
    now: Timestamp,
) -> Result<Running, LedgerError> {
    let id = wish.grant;
    let none = || LedgerError::NotFound(format!("there is no grant {id}"));
    let found = connection
        .prepare_cached(&format!("{SELECT} WHERE id = ?"))?
        .query_row([id.number()], view)
        .optional()?
        .filter(|grant| wish.owner.as_ref().is_none_or(|owner| *owner == grant.identity))
        .ok_or_else(none)?;
    if found.until <= now {
        return Err(LedgerError::Conflict(format!("grant {id} has ended already")));
    }
    let GrantView { grant, identity, role, host, from, until, request } = found;
    let logins = opened(connection, grant)?;
    Ok(Running { grant, identity, role, host, from, until, request, logins, mfa_at: wish.mfa_at })
}

/// The logins that a grant has opened.
fn opened(connection: &Connection, grant: GrantId) -> Result<BTreeSet<Login>, LedgerError> {
    let mut found = connection
        .prepare_cached("SELECT DISTINCT login FROM certificates WHERE grant_id = ? LIMIT 1000")?;
    let found = found.query_map([grant.number()], |row| column::name(row, 0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The grant's end, as it is from now on.
pub(super) fn set_end(
    connection: &Connection,
    grant: GrantId,
    until: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE grants SET until = ? WHERE id = ?")?
        .execute(params![until.millis(), grant.number()])?;
    Ok(())
}

fn view(row: &Row<'_>) -> Result<GrantView, SqlError> {
    Ok(GrantView {
        grant: column::number(row, 0, GrantId::try_new)?,
        identity: column::name::<Identity>(row, 1)?,
        role: column::name::<RoleName>(row, 2)?,
        host: column::name::<HostName>(row, 3)?,
        from: column::moment(row, 4)?,
        until: column::moment(row, 5)?,
        request: column::maybe_number(row, 6, RequestId::try_new)?,
    })
}

const SELECT: &str = "SELECT id, identity, role, host, began, until, request FROM grants";
/// Most grants in one listing.
const LISTED: u64 = 1000;
const SKEW: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, ledger};
    use super::*;
    use crate::access::tests as given;

    fn later(secs: u64) -> Timestamp {
        NOW.after(Duration::from_secs(secs))
    }

    fn wish(owner: Option<&str>) -> GrantWish {
        GrantWish {
            grant: "g1".parse().unwrap(),
            owner: owner.map(|name| name.parse().unwrap()),
            by: Actor::local(),
            reason: "done".into(),
            mfa_at: None,
        }
    }

    async fn with_grant(ledger: &Ledger) {
        grant::tests::furnished(ledger).await;
        let permit = grant::tests::permit(ledger, &given::roles()).await;
        assert!(ledger.record(permit, grant::tests::blank(), NOW).await.is_ok());
    }

    /// Where the tables differ from what the entries say.
    fn differences(dir: &tempfile::TempDir) -> Vec<String> {
        let audit =
            super::super::Audit::open(&super::super::Place::File(dir.path().join("ledger.db")))
                .unwrap();
        audit.compare().unwrap().differences
    }

    fn keyring() -> Arc<Keyring> {
        Arc::new(crate::key::given::keyring())
    }

    #[tokio::test]
    async fn a_grant_that_is_done_is_not_taken_up_again_and_another_can_begin() {
        let (dir, ledger) = ledger();
        with_grant(&ledger).await;
        let stranger = ledger.end_grant(wish(Some("bob")), keyring(), NOW).await;
        assert!(matches!(stranger, Err(LedgerError::NotFound(_))));
        ledger.end_grant(wish(Some("ana")), keyring(), later(5)).await.unwrap();
        assert_eq!(ledger.live_grants(None, later(5)).await.unwrap(), []);
        let locks = ledger.locks(later(6)).await.unwrap();
        assert_eq!(locks[0].lock.target, Target::Grant("g1".parse().unwrap()));
        let again = ledger.end_grant(wish(None), keyring(), later(6)).await;
        assert!(matches!(again, Err(LedgerError::Conflict(_))));
        let ask = given::ask();
        let facts = ledger.facts(ask.identity.clone(), ask.host.clone(), later(6)).await.unwrap();
        let roles = given::roles();
        let permit = access::decide(ask, &facts, &given::rules(&roles), later(6)).unwrap();
        assert!(matches!(permit.plan(), access::Plan::Begin(_)));
        assert_eq!(differences(&dir), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_extension_is_an_order_that_older_agents_can_read_and_never_beyond_the_role() {
        let (dir, ledger) = ledger();
        with_grant(&ledger).await;
        let roles = Arc::new(given::roles());
        let extend = async |secs| {
            let asked = (wish(None), Duration::from_secs(secs));
            let rules = (Arc::clone(&roles), crate::policy::tests::default());
            ledger.extend_grant(asked, (rules, keyring()), later(1)).await.unwrap()
        };
        let before = ledger.live_grants(None, NOW).await.unwrap()[0].until;
        let (number, until) = extend(60).await.unwrap();
        assert_eq!(until, before.after(Duration::from_secs(60)));
        let sent = ledger.orders_after(number.number() - 1).await.unwrap();
        let order: wire::order::Order = serde_json::from_str(&sent[0].order.order).unwrap();
        assert_eq!(order.extend, Some(Extension { grant: "g1".parse().unwrap(), until }));
        assert!(matches!(order.instruction, Instruction::Unlock(Target::Grant(_))));
        let (_, until) = extend(86_400).await.unwrap();
        assert_eq!(until, NOW.after(Duration::from_secs(3_600)), "the role's hour is the end");
        assert!(matches!(extend(60).await, Err(Denial::Longest { .. })));
        assert_eq!(ledger.live_grants(None, NOW).await.unwrap()[0].until, until);
        assert_eq!(differences(&dir), Vec::<String>::new());
    }
}
