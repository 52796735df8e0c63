//! The list of revoked keys in force: made whenever what is locked changes, signed, remembered, and then published to
//! hosts and to whoever exports it.
//!
//! A list is encoded, read back and compared before anybody sees it. Its version is durable before it is published, so
//! that no version ever means two lists, and it only rises, also over a restart. Where a backup took it back, hosts say
//! which version they have, and the next list is above that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ssh_key::PublicKey;
use tokio::sync::{Notify, watch};
use wire::krl::signed::{KrlPart, MAX_SENT, SignedKrl, SignedKrlError};
use wire::krl::{Extent, KrlError};
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::key::Sign;
use crate::ledger::LedgerError;
use crate::random::sha256;
use crate::revocation::{Facts, Published, Revoked};

/// The newest list, and word of each newer one.
pub(crate) struct Lists {
    newest: watch::Sender<Option<Arc<List>>>,
    wake: Notify,
    /// One list is made at a time.
    making: tokio::sync::Mutex<()>,
    /// Why the list that should be in force could not be made.
    failure: Mutex<Option<String>>,
}

/// A list that was published.
pub(crate) struct List {
    revoked: Revoked,
    authorities: Vec<PublicKey>,
    signer: PublicKey,
    bytes: Vec<u8>,
    announced: SignedKrl,
    generated: Timestamp,
    extent: Extent,
    took: Duration,
    since: Instant,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It could not be written as sshd reads it.
    #[error("the list cannot be written: {0}")]
    Krl(#[from] KrlError),
    /// Hosts would refuse it.
    #[error(
        "the list has {0} bytes, and hosts take {MAX_SENT}; lift locks that are not needed any more"
    )]
    TooLarge(usize),
    /// The order key did not sign it.
    #[error(transparent)]
    Sign(#[from] SignedKrlError),
    /// The thread that makes it is gone.
    #[error("the making of the list was broken off")]
    Stopped,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            newest: watch::Sender::new(None),
            wake: Notify::new(),
            making: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
        }
    }
}

impl Lists {
    /// Says that what is revoked may have changed in a way that no order tells of: keys, authorities, identities.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The newest list; nothing while the first is being made.
    pub(crate) fn newest(&self) -> Option<Arc<List>> {
        self.newest.borrow().clone()
    }

    /// Word of each newer list.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<List>>> {
        self.newest.subscribe()
    }

    /// Why the newest list is older than it should be.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, error: Option<&ListError>) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        *failure = error.map(ToString::to_string);
    }
}

impl List {
    /// Its version.
    pub(crate) const fn version(&self) -> u64 {
        self.announced.version
    }

    /// When it was made.
    pub(crate) const fn generated(&self) -> Timestamp {
        self.generated
    }

    /// How much it holds.
    pub(crate) const fn extent(&self) -> Extent {
        self.extent
    }

    /// What it revokes.
    pub(crate) const fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Its exact bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How hosts are told of it.
    pub(crate) const fn announced(&self) -> &SignedKrl {
        &self.announced
    }

    /// A part of it; nothing beyond its end.
    pub(crate) fn part(&self, offset: u64) -> Option<KrlPart> {
        KrlPart::of(self.version(), &self.bytes, offset)
    }

    /// How long it took to make.
    pub(crate) const fn took(&self) -> Duration {
        self.took
    }

    /// Since when it is published, in this run of the program.
    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    fn says(&self, revoked: &Revoked, authorities: &[PublicKey], signer: &PublicKey) -> bool {
        let same = self.authorities == authorities && self.signer == *signer;
        same && self.revoked.is_same_list(revoked)
    }
}

/// Makes each list as it is due, until `stop`.
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut orders = authority.ledger.orders();
    loop {
        orders.mark_unchanged();
        let pause = match refresh(&authority).await {
            Ok((_, changes)) => {
                let now = clock::now();
                changes.map_or(LOOK, |at| at.since(now).clamp(SETTLE, LOOK))
            }
            Err(error) => {
                tracing::error!(%error, "the list of revoked keys is not up to date; trying again");
                RETRY
            }
        };
        let woken = async {
            tokio::select! {
                changed = orders.changed() => changed.is_ok(),
                () = authority.krl.wake.notified() => true,
                () = tokio::time::sleep(pause) => true,
            }
        };
        let woken = unless_stopped(&mut stop, woken).await;
        if woken != Some(true)
            || unless_stopped(&mut stop, tokio::time::sleep(SETTLE)).await.is_none()
        {
            return;
        }
    }
}

/// The list as of now, published if it is another than before; and when it changes by itself.
pub(crate) async fn refresh(
    authority: &Authority,
) -> Result<(Arc<List>, Option<Timestamp>), ListError> {
    let _one = authority.krl.making.lock().await;
    let mut made = make(authority).await;
    for _ in 0..MAX_RACES {
        // Another node has published one meanwhile; most likely the same.
        if !matches!(made, Err(ListError::Ledger(LedgerError::Stale))) {
            break;
        }
        made = make(authority).await;
    }
    authority.krl.failed(made.as_ref().err());
    made
}

async fn make(authority: &Authority) -> Result<(Arc<List>, Option<Timestamp>), ListError> {
    let now = clock::now();
    let facts = authority.ledger.revocations(now).await?;
    let making = Making {
        before: authority.krl.newest(),
        authorities: authority.user_authorities(),
        key: authority.order_key()?,
        now,
    };
    let made = tokio::task::spawn_blocking(move || making.list(&facts))
        .await
        .map_err(|_cancelled| ListError::Stopped)?;
    let (made, changes) = made?;
    let (list, is_new) = match made {
        Made::Same(list) => return Ok((list, changes)),
        Made::Known(list) => (list, false),
        Made::New(list) => (list, true),
    };
    if is_new {
        let published = Published {
            version: list.version(),
            generated: list.generated,
            digest: sha256(&[&list.bytes]).to_vec(),
        };
        authority.ledger.publish_krl(published).await?;
    }
    let extent = list.extent;
    tracing::info!(
        version = list.version(),
        serials = extent.serials,
        key_ids = extent.key_ids,
        fingerprints = extent.fingerprints,
        bytes = list.bytes.len(),
        took_micros = list.took.as_micros(),
        "a list of revoked keys is published"
    );
    let list = Arc::new(list);
    authority.krl.newest.send_replace(Some(Arc::clone(&list)));
    Ok((list, changes))
}

/// What a list is made from, beside the facts.
struct Making {
    before: Option<Arc<List>>,
    authorities: Vec<PublicKey>,
    key: Arc<dyn Sign>,
    now: Timestamp,
}

/// What became of it.
enum Made {
    /// The one that is published says it already.
    Same(Arc<List>),
    /// The one that was published before this run of the program says it.
    Known(List),
    /// A list with a version of its own.
    New(List),
}

impl Making {
    fn list(self, facts: &Facts) -> Result<(Made, Option<Timestamp>), ListError> {
        let began = clock::instant();
        let revoked = Revoked::of(facts, self.now);
        let (changes, stored) = (revoked.changes, &facts.published);
        if let Some(before) = self.before.as_ref().filter(|before| {
            before.version() == stored.version
                && before.says(&revoked, &self.authorities, self.key.public())
        }) {
            return Ok((Made::Same(Arc::clone(before)), changes));
        }
        // It was published before this run of the program, or by another node of this authority.
        let known = self.before.as_ref().map_or(0, |before| before.version());
        if stored.version > known {
            let written = self.write(&revoked, (stored.version, stored.generated))?;
            if sha256(&[&written.bytes]).as_slice() == stored.digest {
                return Ok((Made::Known(self.sign(revoked, written, began)?), changes));
            }
        }
        let generated = Timestamp::from_secs(self.now.secs());
        let written = self.write(&revoked, (stored.next(facts.newest_entry), generated))?;
        Ok((Made::New(self.sign(revoked, written, began)?), changes))
    }

    fn write(
        &self,
        revoked: &Revoked,
        (version, generated): (u64, Timestamp),
    ) -> Result<Written, ListError> {
        let authorities: Vec<&PublicKey> = self.authorities.iter().collect();
        let krl = revoked.list(version, &authorities, generated)?;
        let (bytes, extent) = (krl.encode()?, krl.extent());
        if bytes.len() > MAX_SENT {
            return Err(ListError::TooLarge(bytes.len()));
        }
        Ok(Written { version, generated, bytes, extent })
    }

    fn sign(self, revoked: Revoked, written: Written, began: Instant) -> Result<List, ListError> {
        let Written { version, generated, bytes, extent } = written;
        let announced = SignedKrl::sign((version, &bytes), self.key.public(), |message| {
            self.key.sign(message)
        })?;
        let since = clock::instant();
        Ok(List {
            announced,
            took: since.saturating_duration_since(began),
            authorities: self.authorities,
            signer: self.key.public().clone(),
            revoked,
            bytes,
            generated,
            extent,
            since,
        })
    }
}

/// A list as bytes that were read back and compared.
struct Written {
    version: u64,
    generated: Timestamp,
    bytes: Vec<u8>,
    extent: Extent,
}

/// How often another node may be faster.
const MAX_RACES: usize = 5;
/// Orders first, and one list for a burst of them: hosts that have the order do not need the list to obey it.
const SETTLE: Duration = Duration::from_millis(200);
/// However quiet it is, what is revoked is looked at again after this.
const LOOK: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
