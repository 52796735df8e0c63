//! Orders, the locks that they bring, and what hosts say about them.

use std::sync::Arc;

use wire::VERSION;
use wire::api::LockView;
use wire::identifier::{HostName, OrderNumber};
use wire::lock::{Lock, Target};
use wire::order::{Extension, Instruction, Order, SignedOrder, Watched};
use wire::record::Receipt;
use wire::recording::RecordingKey;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, extend, grant, restore};
use crate::key::{Keyring, Purpose, Sign};

/// What to order, by whom, and why.
#[derive(Debug, Clone)]
pub(crate) struct Directive {
    /// Who.
    pub(crate) by: Actor,
    /// What.
    pub(crate) instruction: Instruction,
    /// Why.
    pub(crate) reason: String,
}

/// An order with its number, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Its number.
    pub(crate) number: u64,
    /// Itself.
    pub(crate) order: SignedOrder,
}

/// A receipt as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct ReceiptRow {
    /// Whose.
    pub(crate) host: HostName,
    /// What it says.
    pub(crate) receipt: Receipt,
    /// From the ledger to its arrival, in microseconds.
    pub(crate) elapsed_micros: u64,
}

/// What an order is to say, and as what it is recorded.
#[derive(Debug)]
pub(super) struct Ordering {
    /// What to do.
    pub(super) instruction: Instruction,
    /// A grant that ends later.
    pub(super) extend: Option<Extension>,
    /// What terminals are recorded to.
    pub(super) recording: Option<RecordingKey>,
    /// Who watches a session, where its terminals are to say so.
    pub(super) watched: Option<Watched>,
    /// The kind of its entry; what follows from the instruction, when absent.
    pub(super) kind: Option<Kind>,
}

impl Ordering {
    /// The instruction alone.
    pub(super) const fn of(instruction: Instruction) -> Self {
        Self { instruction, extend: None, recording: None, watched: None, kind: None }
    }
}

impl Ledger {
    /// Numbers, signs and records an order; it is in force when this returns.
    pub(crate) async fn order(
        &self,
        directive: Directive,
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<OrderNumber, LedgerError> {
        self.write(move |connection| {
            let Directive { by, instruction, reason } = directive;
            issue(connection, &keyring, (&by, &reason), (instruction, now))
        })
        .await
    }

    /// The next orders after this one: the recent ones from memory, older ones [`BATCH`] at a time.
    pub(crate) async fn orders_after(&self, number: u64) -> Result<Vec<Sent>, LedgerError> {
        match self.pulse().recent_after(number) {
            Some(orders) => Ok(orders),
            None => self.read(move |connection| after(connection, number)).await,
        }
    }

    /// The locks in force, in order of target.
    pub(crate) async fn locks(&self, now: Timestamp) -> Result<Vec<LockView>, LedgerError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT target, reason, until, order_number, by, at FROM locks \
                 WHERE until IS NULL OR until > ? ORDER BY order_number",
            )?;
            let locks = statement.query_map([now.millis()], |row| {
                Ok(LockView {
                    lock: lock(row)?,
                    order: column::number(row, 3, OrderNumber::try_new)?,
                    by: row.get(4)?,
                    at: column::moment(row, 5)?,
                })
            })?;
            Ok(locks.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Keeps a host's newest receipt for an order; one that says "done" stays.
    pub(crate) async fn take_receipt(
        &self,
        row: ReceiptRow,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        if row.receipt.done {
            self.meter().done.took(std::time::Duration::from_micros(row.elapsed_micros));
        }
        self.write(move |connection| {
            let known = connection
                .prepare_cached("SELECT 1 FROM orders WHERE number = ?")?
                .exists([row.receipt.order.number()])?;
            if !known {
                let order = row.receipt.order;
                return Err(LedgerError::NotFound(format!("there is no order {order}")));
            }
            connection
                .prepare_cached(
                    "INSERT INTO receipts (order_number, host, body, done, elapsed_micros) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT (order_number, host) DO UPDATE SET body = excluded.body, done = excluded.done, \
                     elapsed_micros = excluded.elapsed_micros WHERE NOT receipts.done",
                )?
                .execute(params![
                    row.receipt.order.number(),
                    row.host.as_str(),
                    serde_json::to_string(&row.receipt)?,
                    row.receipt.done,
                    row.elapsed_micros
                ])?;
            connection
                .prepare_cached(
                    "UPDATE hosts SET last_order = CASE WHEN last_order > ?1 THEN last_order ELSE ?1 END, seen = ?2 \
                     WHERE name = ?3",
                )?
                .execute(params![row.receipt.order.number(), now.millis(), row.host.as_str()])?;
            Ok(())
        })
        .await
    }

    /// When the order was decided, and every receipt for it; nothing when there is no such order.
    pub(crate) async fn receipts(
        &self,
        order: OrderNumber,
    ) -> Result<Option<(Timestamp, Vec<ReceiptRow>)>, LedgerError> {
        self.read(move |connection| {
            let at = connection
                .prepare_cached("SELECT at FROM orders WHERE number = ?")?
                .query_row([order.number()], |row| column::moment(row, 0))
                .optional()?;
            let Some(at) = at else {
                return Ok(None);
            };
            let mut statement = connection.prepare_cached(
                "SELECT host, body, elapsed_micros FROM receipts WHERE order_number = ? ORDER BY host",
            )?;
            let rows = statement.query_map([order.number()], |row| {
                Ok(ReceiptRow {
                    host: column::name(row, 0)?,
                    receipt: column::json(row, 1)?,
                    elapsed_micros: row.get(2)?,
                })
            })?;
            Ok(Some((at, rows.collect::<Result<_, _>>()?)))
        })
        .await
    }

    /// The newest orders that some host could not carry out to the end: the order, the host, and how many processes live.
    pub(crate) async fn survivors(&self) -> Result<Vec<(u64, HostName, u64)>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT order_number, host, alive FROM (SELECT order_number, host, \
                 CAST(json_extract(body, '$.survivors') AS BIGINT) AS alive FROM receipts) AS told \
                 WHERE alive > 0 ORDER BY order_number DESC LIMIT 10",
            )?;
            let rows = statement
                .query_map((), |row| Ok((row.get(0)?, column::name(row, 1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The newest order's number; 0 for none.
pub(super) fn newest(connection: &Connection) -> Result<u64, LedgerError> {
    let newest = connection
        .prepare_cached("SELECT coalesce(max(number), 0) FROM orders")?
        .query_row((), |row| row.get(0))?;
    Ok(newest)
}

/// The next orders after this one, at most [`BATCH`] of them.
pub(super) fn after(connection: &Connection, number: u64) -> Result<Vec<Sent>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, order_text, signature FROM orders WHERE number > ? ORDER BY number LIMIT ?",
    )?;
    let orders = statement.query_map(params![number, BATCH], |row| {
        let order = SignedOrder { order: row.get(1)?, signature: row.get(2)? };
        Ok(Sent { number: row.get(0)?, order })
    })?;
    Ok(orders.collect::<Result<_, _>>()?)
}

/// The locks in force.
pub(super) fn locks_in_force(
    connection: &Connection,
    now: Timestamp,
) -> Result<Vec<Lock>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT target, reason, until FROM locks WHERE until IS NULL OR until > ? ORDER BY order_number",
    )?;
    let locks = statement.query_map([now.millis()], lock)?;
    Ok(locks.collect::<Result<_, _>>()?)
}

/// Whether there is a lock on this target, over or not.
pub(super) fn is_locked(connection: &Connection, target: &Target) -> Result<bool, LedgerError> {
    let target = serde_json::to_string(target)?;
    Ok(connection.prepare_cached("SELECT 1 FROM locks WHERE target = ?")?.exists([target])?)
}

/// The order by which this target is locked, over or not.
pub(super) fn lock_order(
    connection: &Connection,
    target: &Target,
) -> Result<Option<OrderNumber>, LedgerError> {
    let target = serde_json::to_string(target)?;
    let order = connection
        .prepare_cached("SELECT order_number FROM locks WHERE target = ?")?
        .query_row([target], |row| column::number(row, 0, OrderNumber::try_new))
        .optional()?;
    Ok(order)
}

/// Numbers, signs and writes an order with its entry, and brings the locks up to date.
pub(super) fn issue(
    connection: &Connection,
    keyring: &Keyring,
    said: (&Actor, &str),
    what: (Instruction, Timestamp),
) -> Result<OrderNumber, LedgerError> {
    let key = keyring.signing(connection, Purpose::Order)?;
    issue_with(connection, &*key, said, what)
}

/// The same for an order that says more, or is recorded as something else.
pub(super) fn write(
    connection: &Connection,
    keyring: &Keyring,
    said: (&Actor, &str),
    what: (Ordering, Timestamp),
) -> Result<OrderNumber, LedgerError> {
    let key = keyring.signing(connection, Purpose::Order)?;
    write_with(connection, &*key, said, what)
}

/// The same with this key, which every host believes at this place among the orders.
pub(super) fn issue_with(
    connection: &Connection,
    key: &dyn Sign,
    said: (&Actor, &str),
    (instruction, at): (Instruction, Timestamp),
) -> Result<OrderNumber, LedgerError> {
    write_with(connection, key, said, (Ordering::of(instruction), at))
}

fn write_with(
    connection: &Connection,
    key: &dyn Sign,
    (by, reason): (&Actor, &str),
    (ordering, at): (Ordering, Timestamp),
) -> Result<OrderNumber, LedgerError> {
    let Ordering { instruction, extend, recording, watched, kind } = ordering;
    let number = match &instruction {
        Instruction::Restored(declared) => declared.read()?.era.first_order(),
        _ => restore::after(connection, newest(connection)?)?,
    };
    let number = OrderNumber::try_new(number)?;
    let order = Order {
        version: VERSION,
        number,
        at,
        by: by.as_str().to_owned(),
        instruction,
        extend,
        recording,
        watched,
        passable: false,
    };
    let signed = order.sign(key.public(), |message| key.sign(message))?;
    connection
        .prepare_cached(
            "INSERT INTO orders (number, at, order_text, signature) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![number.number(), at.millis(), signed.order, signed.signature])?;
    let applied = apply(connection, &order)?;
    let kind = kind.unwrap_or(applied);
    let data = entry::Ordered { by, order: number, reason, signed: &signed };
    entry::append(connection, kind, at, &data)?;
    grant::bump_epoch(connection)?;
    Ok(number)
}

/// Brings the locks up to date.
pub(super) fn apply(connection: &Connection, order: &Order) -> Result<Kind, LedgerError> {
    if let Some(extension) = order.extend {
        extend::set_end(connection, extension.grant, extension.until)?;
        return Ok(Kind::GrantExtended);
    }
    if order.recording.is_some() {
        return Ok(Kind::RecordingKey);
    }
    if order.watched.is_some() {
        return Ok(Kind::WatchAnnounced);
    }
    match &order.instruction {
        Instruction::Lock(lock) => {
            connection
                .prepare_cached(
                    "INSERT INTO locks (target, reason, until, order_number, by, at) VALUES (?, ?, ?, ?, ?, ?) \
                     ON CONFLICT (target) DO UPDATE SET reason = excluded.reason, until = excluded.until, \
                     order_number = excluded.order_number, by = excluded.by, at = excluded.at",
                )?
                .execute(params![
                    serde_json::to_string(&lock.target)?,
                    lock.reason,
                    lock.until.map(Timestamp::millis),
                    order.number.number(),
                    order.by,
                    order.at.millis()
                ])?;
            restore::let_go(connection, &lock.target)?;
            if let Target::Key(key) = &lock.target {
                // A stolen key's logins end with it.
                connection
                    .prepare_cached("DELETE FROM logins WHERE key = ?")?
                    .execute([key.as_str()])?;
            }
            Ok(Kind::Lock)
        }
        Instruction::Unlock(target) => {
            let lifted = connection
                .prepare_cached("DELETE FROM locks WHERE target = ?")?
                .execute([serde_json::to_string(target)?])?;
            if !restore::let_go(connection, target)? && lifted == 0 {
                return Err(LedgerError::NotFound(format!("{target} is not locked")));
            }
            Ok(Kind::Unlock)
        }
        Instruction::Trust(_) => Ok(Kind::Trust),
        Instruction::Restored(declared) => {
            restore::apply(connection, declared)?;
            Ok(Kind::Restored)
        }
    }
}

fn lock(row: &Row<'_>) -> Result<Lock, SqlError> {
    Ok(Lock {
        target: column::json(row, 0)?,
        reason: row.get(1)?,
        until: column::maybe_moment(row, 2)?,
    })
}

/// Most orders read at once.
const BATCH: u64 = 256;

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, ledger};
    use super::*;

    fn directive(grant: u64) -> Directive {
        let lock = Lock {
            target: Target::Grant(wire::identifier::GrantId::try_new(grant).unwrap()),
            reason: "test".into(),
            until: None,
        };
        Directive {
            by: Actor::local(),
            instruction: Instruction::Lock(lock),
            reason: "test".into(),
        }
    }

    #[tokio::test]
    async fn orders_are_gapless_signed_and_announced() {
        let (_dir, ledger) = ledger();
        let ledger = Arc::new(ledger);
        let keyring = Arc::new(crate::key::given::keyring());
        let told = ledger.orders();
        let orders: Vec<_> = (1..=40)
            .map(|grant| {
                let (ledger, keyring) = (Arc::clone(&ledger), Arc::clone(&keyring));
                tokio::spawn(async move { ledger.order(directive(grant), keyring, NOW).await })
            })
            .collect();
        let mut numbers = Vec::new();
        for order in orders {
            numbers.push(order.await.unwrap().unwrap().number());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        assert_eq!(*told.borrow(), 40);
        let sent = ledger.orders_after(38).await.unwrap();
        assert_eq!(sent.iter().map(|sent| sent.number).collect::<Vec<_>>(), [39, 40]);
        for sent in sent {
            let order =
                sent.order.verify(keyring.oldest(Purpose::Order).unwrap().public()).unwrap();
            assert_eq!(order.number.number(), sent.number);
        }
        assert_eq!(ledger.locks(NOW).await.unwrap().len(), 40);
    }

    #[tokio::test]
    async fn an_unlock_of_what_is_not_locked_takes_no_number() {
        let (_dir, ledger) = ledger();
        let keyring = Arc::new(crate::key::given::keyring());
        let target = Target::Identity("ana".parse().unwrap());
        let unlock = Directive {
            by: Actor::local(),
            instruction: Instruction::Unlock(target),
            reason: "test".into(),
        };
        let refused = ledger.order(unlock, Arc::clone(&keyring), NOW).await;
        assert!(matches!(refused, Err(LedgerError::NotFound(_))));
        assert_eq!(ledger.order(directive(1), keyring, NOW).await.unwrap().number(), 1);
    }
}
