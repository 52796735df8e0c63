//! The one writer: jobs that wait together share a transaction, and none is answered before it is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::order::Sent;
use super::sql::Connection;
use super::tree::{Step, Tree};
use super::{Ledger, LedgerError, order};
use crate::clock;

/// Where jobs wait for the writer.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: std::thread::JoinHandle<()>,
}

/// Word of what became durable, for those who push it on, and the last orders themselves, so that ten thousand hosts do
/// not each read them from the disk.
pub(crate) struct Pulse {
    newest: watch::Sender<u64>,
    checkpoint: watch::Sender<Arc<Step>>,
    recent: Mutex<BTreeMap<u64, Recent>>,
}

/// An order of this run of the program.
struct Recent {
    durable: Instant,
    order: Sent,
}

/// A piece of work on the connection; it hands back its answer, sealed until the commit.
struct Job(Box<dyn FnOnce(&Connection) -> Sealed + Send>);

/// Sends an answer once it is known whether the transaction is durable.
struct Sealed(Box<dyn FnOnce(Committed) + Send>);

/// The checkpoint of a transaction that is durable, or why it is not.
type Committed = Result<Arc<Step>, Arc<str>>;

impl Ledger {
    /// Runs `work` in a transaction; the answer comes when it is durable. An error undoes this work alone.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        Ok(self.write_proved(work).await?.0)
    }

    /// The same; with the answer comes the checkpoint that the transaction ended with, which proves its entries.
    pub(super) async fn write_proved<T, F>(&self, work: F) -> Result<(T, Arc<Step>), LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let (answer, waiting) = oneshot::channel();
        let job = Job(Box::new(move |connection| {
            let outcome = in_savepoint(connection, work);
            Sealed(Box::new(move |committed| {
                let outcome = match committed {
                    Ok(step) => outcome.map(|done| (done, step)),
                    Err(reason) => outcome.and(Err(LedgerError::Commit(reason))),
                };
                drop(answer.send(outcome));
            }))
        }));
        self.writer.jobs.send(job).await.map_err(|_closed| LedgerError::Stopped)?;
        waiting.await.map_err(|_closed| LedgerError::Stopped)?
    }
}

impl Writer {
    /// Starts the thread that owns the connection; it ends when the ledger is dropped.
    pub(super) fn start(
        connection: Connection,
        tree: Tree,
        pulse: Arc<Pulse>,
    ) -> Result<Self, LedgerError> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || run((&connection, tree), waiting, &pulse))
            .map_err(LedgerError::Thread)?;
        Ok(Self { jobs, thread })
    }

    /// Lets the thread end, and waits until it has closed the database.
    pub(super) fn close(self) {
        let Self { jobs, thread } = self;
        drop(jobs);
        if thread.join().is_err() {
            tracing::error!("the ledger's thread died");
        }
    }
}

impl Pulse {
    /// Begins at the newest order there is, and the newest checkpoint.
    pub(super) fn new(newest: u64, checkpoint: Arc<Step>) -> Self {
        let (newest, checkpoint) = (watch::Sender::new(newest), watch::Sender::new(checkpoint));
        Self { newest, checkpoint, recent: Mutex::default() }
    }

    /// The newest checkpoint, and word of each new one.
    pub(super) fn checkpoints(&self) -> watch::Receiver<Arc<Step>> {
        self.checkpoint.subscribe()
    }

    /// The newest order's number, and word of each new one.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// When this order became durable, if that was in this run of the program and not long ago.
    pub(crate) fn durable_since(&self, order: u64) -> Option<Instant> {
        self.recent().get(&order).map(|recent| recent.durable)
    }

    /// The orders after `after`, when all of them are recent.
    pub(super) fn recent_after(&self, after: u64) -> Option<Vec<Sent>> {
        let recent = self.recent();
        let next = after.saturating_add(1);
        recent
            .contains_key(&next)
            .then(|| recent.range(next..).map(|(_, recent)| recent.order.clone()).collect())
    }

    /// Announces what has just become durable.
    fn beat(&self, connection: &Connection) -> Result<(), LedgerError> {
        let before = *self.newest.borrow();
        let newest = order::newest(connection)?;
        if newest <= before {
            return Ok(());
        }
        let durable = clock::instant();
        let mut last = before;
        while last < newest {
            let orders = order::after(connection, last)?;
            last = orders.last().map_or(newest, |order| order.number);
            let mut recent = self.recent();
            recent
                .extend(orders.into_iter().map(|order| (order.number, Recent { durable, order })));
            while recent.len() > MAX_RECENT {
                recent.pop_first();
            }
        }
        self.newest.send_replace(newest);
        Ok(())
    }

    fn recent(&self) -> MutexGuard<'_, BTreeMap<u64, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(
    (connection, mut tree): (&Connection, Tree),
    mut waiting: mpsc::Receiver<Job>,
    pulse: &Pulse,
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < MAX_TOGETHER {
            let Ok(job) = waiting.try_recv() else { break };
            jobs.push(job);
        }
        if let Err(error) = connection.begin() {
            // Dropping the jobs tells each of them that the ledger has stopped.
            tracing::error!(%error, jobs = jobs.len(), "the ledger cannot begin a transaction");
            continue;
        }
        let sealed: Vec<Sealed> = jobs.into_iter().map(|job| (job.0)(connection)).collect();
        let committed = commit(connection, &mut tree);
        if committed.is_ok() {
            pulse.checkpoint.send_if_modified(|known| {
                let is_new = known.head() != tree.newest().head();
                known.clone_from(tree.newest());
                is_new
            });
            if let Err(error) = pulse.beat(connection) {
                tracing::error!(%error, "new orders cannot be read and are not sent yet");
            }
        }
        for sealed in sealed {
            (sealed.0)(committed.clone());
        }
    }
}

/// Takes the new entries into the tree, signs its checkpoint, and makes all of it durable at once, or nothing.
fn commit(connection: &Connection, tree: &mut Tree) -> Committed {
    let ended = tree.grow(connection, clock::now()).and_then(|step| {
        connection.execute_batch("COMMIT")?;
        Ok(step)
    });
    match ended {
        Ok(step) => {
            if let Some(step) = step {
                tree.adopt(step);
            }
            Ok(Arc::clone(tree.newest()))
        }
        Err(error) => {
            tracing::error!(%error, "the ledger cannot commit");
            if let Err(error) = connection.execute_batch("ROLLBACK") {
                tracing::error!(%error, "the ledger cannot roll back");
            }
            Err(error.to_string().into())
        }
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    connection.prepare_cached("SAVEPOINT job")?.execute(())?;
    match work(connection) {
        Ok(done) => {
            connection.prepare_cached("RELEASE job")?.execute(())?;
            Ok(done)
        }
        Err(error) => {
            connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
            Err(error)
        }
    }
}

/// Most jobs that wait; beyond that their senders wait too.
const MAX_WAITING: usize = 4096;
/// Most jobs in one transaction, so that the first does not wait long for the last.
const MAX_TOGETHER: usize = 512;
/// Most orders kept in memory.
const MAX_RECENT: usize = 1024;
