//! Telling receivers, each by a task of its own: in the order of the entries, one after the other, again until it was taken.
//!
//! Nothing is kept in memory that a restart would lose: what was not taken is read from the ledger again. A receiver that is away
//! holds up nobody but itself. One that says it will never take a notice is asked three times, and then goes on without it; that
//! is said in the log and, until the next one is taken, in `curfew status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use wire::time::Timestamp;

use super::receiver::{Receiver, Untold};
use super::{LookUp, Notice, Standing, Unreadable, look_up};
use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::{Kind, LedgerError, Noted, Speaker};

/// What receivers were not told, by their names; until the next notice is taken.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<BTreeMap<String, String>>);

/// How far a receiver has come, as far as this node knows.
#[derive(Debug, Default)]
struct Course {
    /// Until when it is this node's to tell.
    leased: Option<Timestamp>,
    /// It has been told of all that there is up to this entry.
    told: u64,
    /// The ledger says so of all up to this one.
    kept: u64,
    /// How often the next notice was tried in vain, and how often it was refused.
    failures: u32,
    refusals: u32,
}

/// Why a pass broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("another node has taken over")]
    TakenOver,
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// There was nothing to tell, or not by this node.
    Rest,
    /// There may be more.
    On,
    /// Nobody took the next one.
    Failed,
}

impl Notices {
    /// What an operator should know of.
    pub(crate) fn concerns(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn keep(&self, receiver: &str, fault: Option<String>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => kept.insert(receiver.to_owned(), fault),
            None => kept.remove(receiver),
        };
    }
}

/// Tells one receiver for as long as the authority serves.
pub(crate) async fn keep(
    authority: Arc<Authority>,
    receiver: Arc<Receiver>,
    mut stop: watch::Receiver<bool>,
) {
    let mut news = authority.ledger.checkpoints();
    let mut course = Course::default();
    loop {
        // A pass that is stopped in the middle told something twice at worst.
        let passed = unless_stopped(&mut stop, pass(&authority, &receiver, &mut course)).await;
        let came = match passed {
            None => return give_up(&authority, &receiver, &course).await,
            Some(Ok(came)) => came,
            Some(Err(error)) => {
                tracing::error!(receiver = receiver.name(), %error, "notices could not be read; trying again");
                course.leased = None;
                Came::Rest
            }
        };
        let pause = match came {
            Came::On => continue,
            Came::Rest => Duration::ZERO,
            Came::Failed => backoff(course.failures),
        };
        let next = async {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
                return;
            }
            tokio::time::sleep(PAUSE).await;
            // What another node wrote is no news here, and a lease must be renewed.
            let _waited = tokio::time::timeout(LONG, news.changed()).await;
        };
        if unless_stopped(&mut stop, next).await.is_none() {
            return give_up(&authority, &receiver, &course).await;
        }
    }
}

/// Lets another node go on at once.
async fn give_up(authority: &Authority, receiver: &Receiver, course: &Course) {
    if course.leased.is_none() {
        return;
    }
    let name = receiver.name().to_owned();
    if let Err(error) = authority.ledger.release_notices(name, clock::now()).await {
        tracing::warn!(receiver = receiver.name(), %error, "the lease on a receiver runs out by itself");
    }
}

async fn pass(
    authority: &Authority,
    receiver: &Receiver,
    course: &mut Course,
) -> Result<Came, Broken> {
    let (ledger, now) = (&authority.ledger, clock::now());
    if course.leased.is_none_or(|until| until.before(RENEWAL) <= now) {
        let until = now.after(LEASE);
        let held = ledger.lease_notices(receiver.name().to_owned(), (until, now)).await?;
        let Some(told) = held else {
            course.leased = None;
            return Ok(Came::Rest);
        };
        if course.leased.is_none() {
            *course = Course { told, kept: told, ..Course::default() };
        }
        course.leased = Some(until);
    }
    let batch = ledger.noted(course.told, kinds(receiver)).await?;
    let is_last = batch.noted.is_empty();
    for noted in batch.noted {
        match look(authority, receiver, &noted).await? {
            Some(notice) => match tell(authority, receiver, (&notice, course)).await {
                Came::Failed => return Ok(Came::Failed),
                _ => advance(authority, receiver, (course, noted.entry)).await?,
            },
            None => course.told = noted.entry,
        }
    }
    course.told = course.told.max(batch.up_to);
    if course.told.saturating_sub(course.kept) >= UNKEPT {
        let told = course.told;
        advance(authority, receiver, (course, told)).await?;
    }
    Ok(if is_last { Came::Rest } else { Came::On })
}

/// What there is to tell of an entry, as the matter stands now.
async fn look(
    authority: &Authority,
    receiver: &Receiver,
    noted: &Noted,
) -> Result<Option<Notice>, LedgerError> {
    let (ledger, now) = (&authority.ledger, clock::now());
    let unreadable = |error: Unreadable| {
        tracing::error!(receiver = receiver.name(), %error, "an entry is passed over");
    };
    let mut standing = Standing::default();
    match look_up(noted) {
        Ok(LookUp::Nothing) => {}
        Ok(LookUp::Request(request)) => {
            let by = Speaker { identity: None, is_operator: true };
            let rules = ((authority.roles(), authority.policy()), authority.risk());
            standing.request = ledger.request((by, request), rules, now).await?.map(Box::new);
        }
        Ok(LookUp::Key(number)) => {
            standing.key = ledger.key_request(number, now).await?.map(Box::new);
        }
        Ok(LookUp::Session(session)) => {
            if let Some(mut view) = ledger.session_head(session).await? {
                let odd = ledger.odd_of(session, view.host.clone()).await?;
                view.odd = odd.and_then(|odd| odd.glance());
                standing.session = Some(Box::new(view));
            }
        }
        Err(error) => {
            unreadable(error);
            return Ok(None);
        }
    }
    let root = authority.root.fingerprint();
    match Notice::of(&root, noted, &standing, &receiver.interest()) {
        Ok(notice) => Ok(notice),
        Err(error) => {
            unreadable(error);
            Ok(None)
        }
    }
}

/// Tells it once; says whether to go on with the next.
async fn tell(
    authority: &Authority,
    receiver: &Receiver,
    (notice, course): (&Notice, &mut Course),
) -> Came {
    let (name, entry, event) = (receiver.name(), notice.entry(), notice.event().as_str());
    let untold = match receiver.tell(notice, clock::now()).await {
        Ok(()) => {
            tracing::info!(receiver = name, entry, event, "a notice was taken");
            authority.notices.keep(name, None);
            (course.failures, course.refusals) = (0, 0);
            return Came::On;
        }
        Err(untold) => untold,
    };
    course.failures = course.failures.saturating_add(1);
    let is_refused = matches!(untold, Untold::Refused(_));
    course.refusals = if is_refused { course.refusals.saturating_add(1) } else { 0 };
    let gives_up = course.refusals >= REFUSALS;
    let next = if gives_up { "it is told no more of this one" } else { "it is tried again" };
    tracing::error!(receiver = name, entry, event, %untold, next, "a notice was NOT taken");
    let concern = format!(
        "the receiver {name} of notices was not told of entry {entry} ({event}): {untold}; {next}"
    );
    authority.notices.keep(name, Some(concern));
    if !gives_up {
        return Came::Failed;
    }
    (course.failures, course.refusals) = (0, 0);
    Came::On
}

/// Keeps in the ledger how far it has been told.
async fn advance(
    authority: &Authority,
    receiver: &Receiver,
    (course, to): (&mut Course, u64),
) -> Result<(), Broken> {
    let until = clock::now().after(LEASE);
    let name = receiver.name().to_owned();
    let kept = authority.ledger.advance_notices(name, (to, until)).await?;
    if !kept {
        return Err(Broken::TakenOver);
    }
    (course.told, course.kept, course.leased) = (to, to, Some(until));
    Ok(())
}

/// The kinds of entries that a receiver may be told of.
fn kinds(receiver: &Receiver) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for kind in receiver.interest().events.iter().flat_map(|event| event.kinds()) {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    kinds
}

/// How long to wait after so many failures: twice as long each time, and never longer than [`LONGEST`].
fn backoff(failures: u32) -> Duration {
    let doubled = SHORTEST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST)
}

/// Between two looks: many commits become one.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it may take until what another node wrote is seen.
const LONG: Duration = Duration::from_secs(5);
/// How long a lease lasts: longer than telling one notice can take.
const LEASE: Duration = Duration::from_secs(90);
/// How long before its end it is renewed.
const RENEWAL: Duration = Duration::from_secs(45);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How often a receiver may say that it will never take a notice before it is believed.
const REFUSALS: u32 = 3;
/// After how many entries that concern nobody the place is kept all the same.
const UNKEPT: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let pauses = [1, 2, 3, 6, 7, 40, u32::MAX].map(|failures| backoff(failures).as_secs());
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn what_a_receiver_was_not_told_is_known_until_it_is_told() {
        let notices = Notices::default();
        notices.keep("chat", Some("away".into()));
        notices.keep("pager", Some("broken".into()));
        assert_eq!(notices.concerns(), ["away", "broken"]);
        notices.keep("chat", None);
        assert_eq!(notices.concerns(), ["broken"]);
    }
}
