//! What the ledger keeps of the policy: each set that came into force, with the difference, and each that was refused.

use std::sync::{Arc, Mutex, PoisonError};

use policy::PolicySet;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, grant};
use crate::policy::{Judged, Origin, Policy};
use crate::random::sha256;

/// The mark of the policy that this node has put in force.
pub(super) type Mark = Arc<Mutex<Option<i64>>>;

/// A policy that was refused, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusedPolicy {
    /// Why.
    pub(crate) reason: String,
    /// What its files say, unless they cannot be read.
    pub(crate) files: Vec<policy::File>,
}

impl Ledger {
    /// Records the policy that is in force now, unless it is that of the last entry. Permits from before are stale.
    pub(crate) async fn policy_changed(
        &self,
        after: Policy,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let own = Arc::clone(&self.policy);
        self.write(move |connection| {
            let (set, is_folder) = (after.set(), after.origin() == Origin::Folder);
            let mark = mark(set.hash(), is_folder);
            *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
            if counter(connection, "policy")? == Some(mark) {
                return Ok(false);
            }
            keep(connection, (mark, is_folder))?;
            grant::bump_epoch(connection)?;
            let before = last_recorded(connection)?;
            let changes = policy::changes(before.as_ref(), set);
            let (hash, files) = (set.hash(), set.files());
            let data = entry::PolicyNow { hash, is_folder, files, changes };
            entry::append(connection, Kind::PolicyChanged, now, &data)?;
            Ok(true)
        })
        .await
    }

    /// Records that a changed policy was refused and that the one from before stayed.
    pub(crate) async fn policy_refused(
        &self,
        (refused, kept): (RefusedPolicy, Policy),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let hash = (!refused.files.is_empty()).then(|| policy::hash(&refused.files));
            let data = entry::PolicyRefused {
                reason: &refused.reason,
                kept: kept.set().hash(),
                hash: hash.as_deref(),
                files: &refused.files,
            };
            entry::append(connection, Kind::PolicyRefused, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Records that the policy did not let somebody do something.
    pub(crate) async fn refuse_act(
        &self,
        by: Actor,
        judged: Judged,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let data = entry::ActRefused { by: &by, reason: judged.to_string(), policy: &judged };
            entry::append(connection, Kind::ActRefused, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Whether the last policy came from a folder.
    pub(crate) async fn policy_was_a_folder(&self) -> Result<bool, LedgerError> {
        self.read(move |connection| Ok(counter(connection, "policy_folder")? == Some(1))).await
    }
}

/// Refuses to decide by another policy than the one in force: another node has put it there.
pub(super) fn refuse_others(connection: &Connection, own: &Mark) -> Result<(), LedgerError> {
    if !connection.is_shared() {
        return Ok(());
    }
    let own = *own.lock().unwrap_or_else(PoisonError::into_inner);
    if own == counter(connection, "policy")? { Ok(()) } else { Err(LedgerError::OtherPolicy) }
}

/// What is kept to know the same policy again.
pub(super) fn mark(hash: &str, is_folder: bool) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[hash.as_bytes(), &[u8::from(is_folder)]]);
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Keeps the mark of the policy in force, and where it comes from.
pub(super) fn keep(
    connection: &Connection,
    (mark, is_folder): (i64, bool),
) -> Result<(), LedgerError> {
    for (name, value) in [("policy", mark), ("policy_folder", i64::from(is_folder))] {
        connection
            .prepare_cached(
                "INSERT INTO counters (name, value) VALUES (?, ?) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![name, value])?;
    }
    Ok(())
}

fn counter(connection: &Connection, name: &str) -> Result<Option<i64>, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT value FROM counters WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

/// The policy of the last entry, as far as this program still reads it: the difference rests on it, and nothing else.
fn last_recorded(connection: &Connection) -> Result<Option<PolicySet>, LedgerError> {
    let body: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT body FROM entries JOIN bodies USING (seq) WHERE kind = 'policy_changed' \
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row((), |row| row.get(0))
        .optional()?;
    let Some(body) = body else {
        return Ok(None);
    };
    let said: Said = serde_json::from_slice(&body)?;
    Ok(PolicySet::load(&said.files).ok())
}

/// What an entry says of a policy, as far as the next one is compared with it.
#[derive(serde::Deserialize)]
struct Said {
    files: Vec<policy::File>,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, ledger, open};
    use super::*;
    use crate::ledger::{Audit, Place, Search};
    use crate::policy::tests::{default, of};

    async fn bodies(ledger: &Ledger, kind: &str) -> Vec<serde_json::Value> {
        let search = Search { kind: Some(kind.into()), limit: 10, ..Search::default() };
        let page = ledger.entries(search).await.unwrap();
        let body =
            |entry: wire::ledger::Entry| serde_json::from_str(&entry.body.unwrap().text).unwrap();
        page.entries.into_iter().map(body).collect()
    }

    async fn epoch(ledger: &Ledger) -> u64 {
        let (ana, db1) = ("ana".parse().unwrap(), "db1".parse().unwrap());
        ledger.facts(ana, db1, NOW).await.unwrap().epoch
    }

    fn other() -> Policy {
        of("@id(\"all\") permit (principal, action, resource);")
    }

    #[tokio::test]
    async fn a_policy_is_recorded_once_with_what_is_different() {
        let (dir, ledger) = ledger();
        assert!(!ledger.policy_was_a_folder().await.unwrap());
        let before = epoch(&ledger).await;
        assert!(ledger.policy_changed(default(), NOW).await.unwrap());
        assert!(!ledger.policy_changed(default(), NOW).await.unwrap());
        assert!(ledger.policy_changed(other(), NOW).await.unwrap());
        assert_eq!(epoch(&ledger).await, before + 2);
        let told = bodies(&ledger, "policy_changed").await;
        assert_eq!(told.len(), 2);
        assert_eq!(told[1]["hash"], other().set().hash());
        assert_eq!(told[1]["changes"].as_array().unwrap().len(), 1 + default().set().len());
        assert!(ledger.policy_was_a_folder().await.unwrap());
        drop(ledger);
        // What is different is known also over a restart, and so is that there was a folder.
        let ledger = open(&dir.path().join("ledger.db")).unwrap();
        assert!(ledger.policy_was_a_folder().await.unwrap());
        assert!(ledger.policy_changed(default(), NOW).await.unwrap());
        let told = bodies(&ledger, "policy_changed").await;
        assert_eq!(told[2]["changes"].as_array().unwrap().len(), 1 + default().set().len());
        let audit = Audit::open(&Place::File(dir.path().join("ledger.db"))).unwrap();
        assert_eq!(audit.compare().unwrap().differences, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_refused_policy_is_recorded_with_what_it_said() {
        let (_dir, ledger) = ledger();
        let files = vec![policy::File { name: "a.cedar".into(), text: "permit".into() }];
        let refused = RefusedPolicy { reason: "a.cedar:1: no".into(), files };
        ledger.policy_refused((refused, default()), NOW).await.unwrap();
        let told = bodies(&ledger, "policy_refused").await;
        assert_eq!(told[0]["kept"], default().set().hash());
        assert_eq!(told[0]["files"][0]["text"], "permit");
        assert!(told[0]["hash"].is_string(), "{told:?}");
    }
}
