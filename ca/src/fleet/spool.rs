//! A host's sealed records on its connection: opened off the async threads, and made durable with what is found in them.
//!
//! What cannot be opened because a recording key is not here is not taken, and nothing that follows it: it stays on the host,
//! and the connection goes on for everything else. Somebody is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ssh_key::PublicKey;
use wire::hostlink::ToHost;
use wire::identifier::RecordNumber;
use wire::incident::Cause;
use wire::problem::{Code, Problem};
use wire::record::{Event, Record};
use wire::spool::Sealed;
use wire::spool::check::{ReadError, Reader, Standing, Taken};
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::http::refusal::Refusal;
use crate::ledger::{HostRow, LedgerError};
use crate::x509::HostCertificate;

/// One host's sealed records.
pub(super) struct Intake {
    reader: Arc<Mutex<Reader>>,
    /// Whether what comes is not taken, until the host connects again.
    is_held: AtomicBool,
}

impl Intake {
    /// Those of the host in `row`, which go on where its records end.
    pub(super) fn open(row: &HostRow) -> Self {
        let agent_key = row.agent_key.as_deref().map(|text| text.parse::<PublicKey>());
        let agent_key = agent_key.transpose();
        if let Err(error) = &agent_key {
            tracing::error!(host = %row.name, %error, "the key of a host's agent cannot be read: its sealed records are not taken");
        }
        let is_held = AtomicBool::new(agent_key.is_err());
        let agent_key = agent_key.ok().flatten().map(|key| key.key_data().clone());
        let standing = Standing { last: row.last_record, head: row.spool_head };
        let reader = Reader::new(row.name.clone(), agent_key, standing);
        Self { reader: Arc::new(Mutex::new(reader)), is_held }
    }

    /// Whether what comes is not taken, until the host connects again.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Records came otherwise: `last` is the newest now.
    pub(super) fn passed(&self, last: u64) {
        lock(&self.reader).passed(last);
    }

    /// Opens what came and makes it durable.
    pub(super) async fn take(
        &self,
        (authority, whose): (&Authority, &HostCertificate),
        sealed: Box<Sealed>,
        now: Timestamp,
    ) -> Result<Option<ToHost>, Problem> {
        let (reader, opening) = (Arc::clone(&self.reader), authority.opening());
        let opened = tokio::task::spawn_blocking(move || {
            lock(&reader).take(&sealed, |cover| opening.segment(cover), now)
        });
        let opened = opened.await.map_err(|_cancelled| refused(whose, LedgerError::Stopped))?;
        let taken = match opened {
            Ok(taken) => taken,
            Err(error) => return self.not_taken((authority, whose), error, now).await,
        };
        tell(whose, &taken);
        let who = (whose.host.clone(), whose.enrolment);
        let is_news = taken.records.iter().any(tells);
        let last = authority.ledger.take_opened(who, taken, now).await;
        let last = last.map_err(|error| refused(whose, error))?;
        if is_news {
            authority.fleet.change();
        }
        Ok(RecordNumber::try_new(last).ok().map(ToHost::Acknowledged))
    }

    async fn not_taken(
        &self,
        (authority, whose): (&Authority, &HostCertificate),
        error: ReadError,
        now: Timestamp,
    ) -> Result<Option<ToHost>, Problem> {
        let from = match error {
            ReadError::Gap { expected, got } => {
                return Err(refused(whose, LedgerError::Gap { expected, got }));
            }
            ReadError::Key { from, .. } => from,
            ReadError::NoCover | ReadError::Form(_) | ReadError::Length | ReadError::Memory(_) => {
                tracing::warn!(host = %whose.host, %error, "what a host sent was refused");
                return Err(Problem::new(Code::Malformed, error.to_string()));
            }
        };
        self.is_held.store(true, Ordering::Relaxed);
        tracing::error!(host = %whose.host, %error, "a host's records are not taken and wait there; put the recording key back");
        let flaw = format!("{error}; they are not taken, and wait on the host until it is");
        let cause = Cause::Spoiled { from, to: from, flaw };
        let noted = authority.ledger.notice(whose.host.clone(), cause, now).await;
        noted.map(|()| None).map_err(|error| refused(whose, error))
    }
}

/// Whether whoever waits for word of the fleet hears of it.
pub(super) fn tells(record: &Record) -> bool {
    record.event.is_refusal() || matches!(record.event, Event::Killed(_))
}

fn tell(whose: &HostCertificate, taken: &Taken) {
    for found in &taken.findings {
        let (from, to, fault) = (found.from, found.to, &found.fault);
        tracing::error!(host = %whose.host, from, to, %fault, "INCIDENT: records of a host are not what it wrote");
    }
}

fn refused(whose: &HostCertificate, error: LedgerError) -> Problem {
    tracing::warn!(host = %whose.host, %error, "what a host sent was refused");
    Refusal::from(error).0
}

fn lock(reader: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}
