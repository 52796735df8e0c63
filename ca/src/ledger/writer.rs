//! The one writer: jobs that wait together share a transaction, and none is answered before it is durable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::order::Sent;
use super::sql::Connection;
use super::tree::Step;
use super::{Ledger, LedgerError, order};
use crate::clock;
use crate::metrics::Meter;

mod desk;
mod news;

pub(super) use desk::Desk;

/// Where jobs wait for the writer.
pub(super) struct Writer {
    jobs: mpsc::Sender<Work>,
    thread: std::thread::JoinHandle<()>,
}

/// Word of what became durable, for those who push it on, and the last orders themselves, so that ten thousand hosts do
/// not each read them from the disk.
pub(crate) struct Pulse {
    newest: watch::Sender<u64>,
    checkpoint: watch::Sender<Arc<Step>>,
    recent: Mutex<BTreeMap<u64, Recent>>,
    /// What is counted of all this.
    meter: Meter,
    /// Counts what other nodes have written.
    news: watch::Sender<u64>,
    /// The epoch as of the last of that.
    epoch: AtomicU64,
}

/// An order of this run of the program.
struct Recent {
    durable: Instant,
    order: Sent,
}

/// What the writer is asked for.
enum Work {
    /// A piece of work on the connection; it hands back its answer, sealed until the commit.
    Job(Job),
    /// Another node has written: its entries, orders and keys are taken over.
    Look,
}

/// Does its work in a transaction that was begun, or hears why none was.
struct Job(Box<dyn FnOnce(Begun<'_>) -> Sealed + Send>);

/// The transaction, or why there is none.
type Begun<'a> = Result<&'a Connection, Arc<str>>;

/// Sends an answer once it is known whether the transaction is durable.
struct Sealed(Box<dyn FnOnce(Committed) + Send>);

/// The checkpoint of a transaction that is durable, or why it is not.
type Committed = Result<Arc<Step>, Undone>;

/// What became of a transaction that was not seen to be durable.
#[derive(Clone)]
enum Undone {
    /// It was undone.
    Not(Arc<str>),
    /// Nobody knows yet.
    Unknown(Arc<str>),
}

impl From<Undone> for LedgerError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Not(reason) => Self::Commit(reason),
            Undone::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

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
        let job = Job(Box::new(move |begun: Begun<'_>| {
            let outcome = match begun {
                Ok(connection) => in_savepoint(connection, work),
                Err(reason) => Err(LedgerError::Unreachable(reason)),
            };
            Sealed(Box::new(move |committed| {
                let outcome = match committed {
                    Ok(step) => outcome.map(|done| (done, step)),
                    Err(undone) => outcome.and(Err(undone.into())),
                };
                drop(answer.send(outcome));
            }))
        }));
        self.writer.jobs.send(Work::Job(job)).await.map_err(|_closed| LedgerError::Stopped)?;
        waiting.await.map_err(|_closed| LedgerError::Stopped)?
    }
}

impl Writer {
    /// Starts the thread that owns the connection; it ends when the ledger is dropped. Where others write too, another
    /// thread hears of that.
    pub(super) fn start(desk: Desk) -> Result<Self, LedgerError> {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let ear = desk.place().node().map(|_shared| desk.place().clone());
        let running = thread("ledger", move || run(desk, waiting))?;
        if let Some(place) = ear {
            let jobs = jobs.downgrade();
            let look = move || {
                let Some(jobs) = jobs.upgrade() else { return false };
                // A writer with much to do looks by itself before each transaction.
                drop(jobs.try_send(Work::Look));
                true
            };
            thread("ledger-news", move || news::listen(&place, look))?;
        }
        Ok(Self { jobs, thread: running })
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

fn thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, LedgerError> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(LedgerError::Thread)
}

impl Pulse {
    /// Begins at the newest order there is, and the newest checkpoint.
    pub(super) fn new(newest: u64, checkpoint: Arc<Step>) -> Self {
        let (newest, checkpoint) = (watch::Sender::new(newest), watch::Sender::new(checkpoint));
        Self {
            newest,
            checkpoint,
            recent: Mutex::default(),
            meter: Meter::default(),
            news: watch::Sender::new(0),
            epoch: AtomicU64::new(0),
        }
    }

    /// What is counted.
    pub(crate) const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The newest checkpoint, and word of each new one.
    pub(super) fn checkpoints(&self) -> watch::Receiver<Arc<Step>> {
        self.checkpoint.subscribe()
    }

    /// Word of what other nodes have written.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The epoch as of what was last heard of other nodes.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Other nodes have written.
    pub(super) fn is_news(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Announces a checkpoint.
    pub(super) fn reached(&self, step: &Arc<Step>) {
        self.checkpoint.send_if_modified(|known| {
            let is_new = known.head() != step.head();
            known.clone_from(step);
            is_new
        });
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
    pub(super) fn beat(&self, connection: &Connection) -> Result<(), LedgerError> {
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

fn run(mut desk: Desk, mut waiting: mpsc::Receiver<Work>) {
    while let Some(first) = waiting.blocking_recv() {
        let (mut jobs, mut look) = (Vec::new(), false);
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Job(job) => jobs.push(job),
                Work::Look => look = true,
            }
            next = if jobs.len() < MAX_TOGETHER { waiting.try_recv().ok() } else { None };
        }
        if look {
            desk.look();
        }
        if !jobs.is_empty() {
            together(&mut desk, jobs);
        }
    }
}

/// Does these jobs in one transaction, and answers each when it is known what became of that.
fn together(desk: &mut Desk, jobs: Vec<Job>) {
    let (began, count) = (clock::instant(), jobs.len());
    let connection = match desk.begin() {
        Ok(connection) => connection,
        Err(error) => {
            tracing::error!(%error, jobs = jobs.len(), "the ledger cannot begin a transaction");
            let reason: Arc<str> = error.to_string().into();
            for job in jobs {
                let refused = (job.0)(Err(Arc::clone(&reason)));
                (refused.0)(Err(Undone::Not(Arc::clone(&reason))));
            }
            return;
        }
    };
    let sealed: Vec<Sealed> = jobs.into_iter().map(|job| (job.0)(Ok(connection))).collect();
    let committed = desk.commit();
    let meter = desk.pulse.meter();
    meter.commits.took(clock::instant().saturating_duration_since(began));
    meter.jobs.more(count);
    for sealed in sealed {
        (sealed.0)(committed.clone());
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
