//! The writer's desk: its connection, the tree as it knows it, and what it does when either is behind.
//!
//! Where several nodes write to one database, a transaction begins when it is this node's turn, and the tree is then brought up
//! to what the others have added. A server that is lost is looked for again, at growing intervals; meanwhile nothing is
//! decided. When it is lost in the middle of a commit, whether that happened is read from the database: the checkpoint
//! that would have ended it is there, or it is not.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::super::log::LogKeys;
use super::super::sql::{Connection, SqlError};
use super::super::tree::{Step, Tree};
use super::super::{LedgerError, Place, grant, keys};
use super::{Committed, Pulse, Undone};
use crate::clock;
use crate::key::Ring;

/// What the writer works with.
pub(in crate::ledger) struct Desk {
    /// Where the ledger is.
    pub(in crate::ledger) place: Place,
    /// The one connection that writes.
    pub(in crate::ledger) connection: Connection,
    /// The tree as of the last durable transaction that is known here.
    pub(in crate::ledger) tree: Tree,
    /// Who is told.
    pub(in crate::ledger) pulse: Arc<Pulse>,
    /// The authority's keys that are at hand.
    pub(in crate::ledger) ring: Arc<Ring>,
    /// The log's keys, which sign.
    pub(in crate::ledger) log_keys: LogKeys,
    /// All keys as the ledger has them.
    pub(in crate::ledger) standing: Arc<RwLock<Arc<keys::Standing>>>,
    /// Which changes are known here.
    pub(in crate::ledger) epoch: u64,
    /// Since when the server is away, and when it is looked for again.
    pub(in crate::ledger) away: Option<Away>,
}

/// A server that did not answer.
pub(in crate::ledger) struct Away {
    again: Instant,
    pause: Duration,
    reason: String,
}

impl Desk {
    /// Where the ledger is.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Begins a transaction, and knows then all that was written before it.
    pub(super) fn begin(&mut self) -> Result<&Connection, LedgerError> {
        if !self.connection.is_shared() {
            self.connection.begin()?;
            return Ok(&self.connection);
        }
        let begun =
            if self.away.is_none() { self.connection.begin() } else { Err(SqlError::NoRow) };
        if begun.is_err() {
            self.reconnect()?;
            self.connection.begin()?;
        }
        if let Err(error) = self.catch_up() {
            self.undo();
            return Err(error);
        }
        Ok(&self.connection)
    }

    /// Takes the new entries into the tree, signs its checkpoint, and makes all of it durable at once, or nothing.
    pub(super) fn commit(&mut self) -> Committed {
        let committed = match self.tree.grow(&self.connection, clock::now()) {
            Ok(step) => match self.connection.commit() {
                Ok(()) => Ok(step),
                Err(error) if self.connection.is_shared() => self.settle(step, &error),
                Err(error) => {
                    self.undo();
                    Err(Undone::Not(error.to_string().into()))
                }
            },
            Err(error) => {
                self.undo();
                Err(Undone::Not(error.to_string().into()))
            }
        };
        match committed {
            Ok(step) => {
                if let Some(step) = step {
                    self.tree.adopt(step);
                }
                self.announce();
                Ok(Arc::clone(self.tree.newest()))
            }
            Err(undone) => {
                let (Undone::Not(reason) | Undone::Unknown(reason)) = &undone;
                tracing::error!(%reason, "the ledger cannot commit");
                Err(undone)
            }
        }
    }

    /// Takes over what other nodes have written, and passes the word on.
    pub(super) fn look(&mut self) {
        let looked = self.snapshot().and_then(|()| self.catch_up().inspect(|()| self.announce()));
        match looked {
            Ok(()) => {
                self.undo();
                self.pulse.is_news(self.epoch);
            }
            Err(error) => {
                tracing::error!(%error, "what other nodes have written cannot be read");
                self.undo();
            }
        }
    }

    fn snapshot(&mut self) -> Result<(), LedgerError> {
        if self.away.is_some() || self.connection.begin_snapshot().is_err() {
            self.reconnect()?;
            self.connection.begin_snapshot()?;
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<(), LedgerError> {
        if !self.tree.catch_up(&self.connection)? {
            return Ok(());
        }
        let epoch = grant::epoch(&self.connection)?;
        if epoch != self.epoch {
            // First: it is what says that a key is missing here.
            let standing = Arc::new(keys::standing(&self.connection)?);
            *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
            self.log_keys.renew(&self.connection, &self.ring.now())?;
            self.epoch = epoch;
        }
        Ok(())
    }

    fn announce(&self) {
        self.pulse.reached(self.tree.newest());
        if let Err(error) = self.pulse.beat(&self.connection) {
            tracing::error!(%error, "new orders cannot be read and are not sent yet");
        }
    }

    fn undo(&self) {
        if let Err(error) = self.connection.execute_batch("ROLLBACK")
            && !self.connection.is_lost()
        {
            tracing::error!(%error, "the ledger cannot roll back");
        }
    }

    /// Finds out whether a transaction is durable whose end the server did not confirm. Its turn is over once it is ours
    /// again, so that it cannot become durable after it was looked for.
    fn settle(&mut self, step: Option<Step>, error: &SqlError) -> Result<Option<Step>, Undone> {
        let since = clock::instant();
        tracing::warn!(%error, "the database was lost in the middle of a commit; looking whether it happened");
        loop {
            match self.happened(step.as_ref()) {
                Ok(Some(true)) => return Ok(step),
                Ok(Some(false)) => return Err(Undone::Not(error.to_string().into())),
                // Nothing that can be looked for: a host was heard of, a receipt came.
                Ok(None) => return Err(Undone::Unknown(error.to_string().into())),
                Err(again) => {
                    tracing::warn!(error = %again, "the database cannot be asked yet");
                    if clock::instant().saturating_duration_since(since) > SETTLING {
                        return Err(Undone::Unknown(error.to_string().into()));
                    }
                    std::thread::park_timeout(PAUSE);
                }
            }
        }
    }

    fn happened(&mut self, step: Option<&Step>) -> Result<Option<bool>, LedgerError> {
        self.connection = self.place.open()?;
        let Some(step) = step else { return Ok(None) };
        self.connection.begin()?;
        let held = Tree::holds(&self.connection, step);
        self.undo();
        held.map(Some)
    }

    fn reconnect(&mut self) -> Result<(), LedgerError> {
        let now = clock::instant();
        let pause = match &self.away {
            Some(away) if now < away.again => {
                return Err(LedgerError::Unreachable(away.reason.as_str().into()));
            }
            Some(away) => away.pause.saturating_mul(2).min(LONGEST_PAUSE),
            None => PAUSE,
        };
        match self.place.open() {
            Ok(connection) => {
                tracing::info!(place = %self.place, "connected to the ledger's database again");
                (self.connection, self.away) = (connection, None);
                Ok(())
            }
            Err(error) => {
                let again = now.checked_add(pause).unwrap_or(now);
                self.away = Some(Away { again, pause, reason: error.to_string() });
                Err(error)
            }
        }
    }
}

/// How soon a lost server is looked for again, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long whoever waits for an answer is kept waiting while it is not known what became of a commit.
const SETTLING: Duration = Duration::from_secs(15);
