//! Which key hosts record terminals to, and how they hear of it: by an order that older agents can read.

use std::sync::Arc;

use wire::hostlink::RecordTo;
use wire::identifier::{Fingerprint, OrderNumber};
use wire::lock::Target;
use wire::order::{Instruction, Order, SignedOrder};
use wire::recording::RecordingKey;
use wire::time::Timestamp;

use super::entry::Kind;
use super::order::{self, Ordering};
use super::sql::{Connection, OptionalExtension as _};
use super::{Actor, Ledger, LedgerError};
use crate::key::{Keyring, Purpose};

/// The newest order that named a recording key.
#[derive(Debug, Clone)]
pub(crate) struct ToldKey {
    /// The key, and the order's number.
    pub(crate) to: RecordTo,
    /// The order itself.
    pub(crate) signed: SignedOrder,
}

impl Ledger {
    /// What hosts were told last; nothing when they were told of none.
    pub(crate) async fn recording_key(&self) -> Result<Option<ToldKey>, LedgerError> {
        self.read(told).await
    }

    /// Orders hosts to record to `key`; nothing to do where the newest such order says so already, under a key that hosts
    /// still believe.
    pub(crate) async fn record_to(
        &self,
        (by, reason): (Actor, String),
        key: RecordingKey,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<Option<OrderNumber>, LedgerError> {
        self.write(move |connection| {
            let signing = keyring.signing(connection, Purpose::Order)?;
            let signing = signing.public().clone();
            let stands =
                |told: &ToldKey| told.to.key == key && told.signed.verify(&signing).is_ok();
            if told(connection)?.as_ref().is_some_and(stands) {
                return Ok(None);
            }
            // Nobody locks this key: unlocking it does nothing, to an agent of any version.
            let target = Target::Key(Fingerprint::of(key.as_bytes()));
            let ordering = Ordering {
                recording: Some(key),
                kind: Some(Kind::RecordingKey),
                ..Ordering::of(Instruction::Unlock(target))
            };
            let said = (&by, reason.as_str());
            order::write(connection, &keyring, said, (ordering, now)).map(Some)
        })
        .await
    }
}

fn told(connection: &Connection) -> Result<Option<ToldKey>, LedgerError> {
    let signed = connection
        .prepare_cached(
            "SELECT order_text, signature FROM orders WHERE json_extract(order_text, '$.recording') IS NOT NULL \
             ORDER BY number DESC LIMIT 1",
        )?
        .query_row((), |row| Ok(SignedOrder { order: row.get(0)?, signature: row.get(1)? }))
        .optional()?;
    let Some(signed) = signed else { return Ok(None) };
    let order: Order = serde_json::from_str(&signed.order)?;
    let to =
        order.recording.map(|key| RecordTo { key, order: order.number.number(), seals: false });
    Ok(to.map(|to| ToldKey { to, signed }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, ledger};
    use super::*;

    #[tokio::test]
    async fn hosts_are_told_once_by_an_order_that_does_nothing_to_older_agents() {
        let (dir, ledger) = ledger();
        let keyring = Arc::new(crate::key::given::keyring());
        assert!(ledger.recording_key().await.unwrap().is_none());
        let tell = async |byte: u8| {
            let said = (Actor::local(), "first".to_owned());
            let key = RecordingKey::new([byte; 32]);
            ledger.record_to(said, key, Arc::clone(&keyring), NOW).await.unwrap()
        };
        assert_eq!(tell(1).await.unwrap().number(), 1);
        assert!(tell(1).await.is_none());
        assert_eq!(tell(2).await.unwrap().number(), 2);
        let told = ledger.recording_key().await.unwrap().unwrap();
        assert_eq!((told.to.key, told.to.order), (RecordingKey::new([2; 32]), 2));
        assert!(ledger.locks(NOW).await.unwrap().is_empty());
        // As an agent reads it that knows of no recordings.
        let mut order: serde_json::Value = serde_json::from_str(&told.signed.order).unwrap();
        order.as_object_mut().unwrap().remove("recording");
        let order: Order = serde_json::from_value(order).unwrap();
        assert!(matches!(order.instruction, Instruction::Unlock(Target::Key(_))));
        let file = super::super::Place::File(dir.path().join("ledger.db"));
        let audit = super::super::Audit::open(&file).unwrap();
        assert_eq!(audit.compare().unwrap().differences, Vec::<String>::new());
    }
}
