//! The ledger: every decision is an entry, and nothing is answered before its entry is durable. All SQL is here.
//!
//! Shape: one database, a SQLite file (WAL, `synchronous=FULL`) or on a PostgreSQL server, with one writer at a time, whose waiting jobs share a transaction, and
//! readers on connections of their own. The entries are the source of truth: each is a leaf without personal data in a
//! Merkle tree, whose signed checkpoint ends every transaction, and a salted body beside it (docs/ledger.md). Bodies are
//! canonical JSON, that is `serde_json` over structs whose field order is the order of declaration, with no spaces;
//! maps are sorted. Every other table is a projection, written in the same transaction as the entry that it follows
//! from, except what is no decision (records of sessions, receipts, when a host was seen).
//! Who can change this: root and the authority's user. Gains: can rewrite history that nobody has witnessed yet.

use std::sync::{Arc, RwLock};

use tokio::sync::watch;
use wire::identifier::{Fingerprint, Identity};
use wire::order::OrderError;
use wire::time::Timestamp;

use crate::clock;
use crate::key::{KeyError, Purpose, Ring, SignError, create_private};
use crate::metrics::Meter;
use crate::random::NoRandomness;

mod approval;
mod attempt;
mod audit;
mod backup;
mod behaviour;
mod ceremony;
mod column;
mod directory;
mod entry;
mod export;
mod extend;
mod grant;
mod history;
mod host;
mod identity;
mod incident;
mod key_request;
mod keys;
mod kill;
mod lately;
mod log;
mod login;
pub(crate) mod moving;
mod node;
mod notice;
mod odd;
mod order;
mod pass;
mod past;
mod place;
mod policy;
mod reader;
mod reading;
mod rebuild;
mod recording;
mod report;
mod request;
mod restore;
mod retention;
mod review;
mod revocation;
mod risk;
mod role;
mod schema;
mod search;
mod session;
mod spoiled;
mod sql;
mod subject;
mod team;
mod tile;
mod tree;
mod usage;
mod vouch;
mod writer;

pub(crate) use approval::NewApproval;
pub(crate) use attempt::Asked;
pub(crate) use audit::Audit;
pub(crate) use backup::copy;
pub(crate) use directory::{
    Directory, DirectoryGroup, DirectoryToken, DirectoryUser, WantedGroup, WantedUser,
};
pub(crate) use entry::Kind;
pub(crate) use extend::GrantWish;
pub(crate) use grant::Recorded;
pub(crate) use history::Search;
pub(crate) use host::{HostRow, Joining, NewToken, TokenRefusal};
pub(crate) use identity::{IdentityRow, Nature, NewKey};
pub(crate) use key_request::Bringer;
pub(crate) use keys::{Move, Standing};
pub(crate) use log::{log_key, named_after};
pub(crate) use login::{Answered, Ending, Login, NewLogin, Proof};
pub(crate) use notice::Noted;
pub(crate) use odd::Judged;
pub(crate) use order::{Directive, ReceiptRow};
pub(crate) use pass::NewVerdict;
pub(crate) use place::{LEDGER, Place, PlaceError};
pub(crate) use policy::RefusedPolicy;
pub(crate) use reading::{Reached, SessionAt};
pub(crate) use rebuild::Rebuilt;
pub(crate) use report::Gathered;
pub(crate) use request::{NewRequest, No, RequestRefusal, Speaker};
pub(crate) use restore::Restored;
pub(crate) use retention::Doomed;
pub(crate) use risk::Bearing;
pub(crate) use search::{BLOCK, Quest};
pub(crate) use session::{After, LISTED, Which};
pub(crate) use sql::SqlError;
pub(crate) use subject::{Bound, May, Vouchee};
pub(crate) use team::{Source, TeamChange, TeamRow};
pub(crate) use tree::Step;
pub(crate) use vouch::{Certified, Vouch, VouchRefusal, Vouched};
pub(crate) use writer::Pulse;

use lately::Lately;
use log::{Log, LogKeys};
use reader::Readers;
use tree::Tree;
use writer::{Desk, Writer};

/// The open ledger.
pub(crate) struct Ledger {
    writer: Writer,
    readers: Readers,
    pulse: Arc<Pulse>,
    place: Place,
    log_keys: LogKeys,
    /// The keys as of the last step of a rotation; what hosts say of them may have changed since.
    keys: Arc<RwLock<Arc<Standing>>>,
    /// The key of login challenges.
    challenges: [u8; 32],
    /// The roles that this node has put in force last, where others could put others.
    roles: role::Mark,
    /// The policy, in the same way.
    policy: policy::Mark,
    lately: Lately,
}

/// Why the ledger did not do it. Whatever was asked has then not happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// There is no database.
    #[error("{0} is missing; set the authority up once with `curfew-ca init`")]
    Missing(Place),
    /// There is one already.
    #[error("{0} exists already; this authority has been set up, and nothing was changed")]
    Exists(Place),
    /// It was moved elsewhere.
    #[error(
        "the ledger {0} was moved to {1}, and goes on there; name that as `url` under [ledger] in ca.toml"
    )]
    Moved(Place, String),
    /// It was being put there, and that was broken off.
    #[error(
        "the ledger {0} is not whole: moving it there, or restoring it, was broken off; run that command again, which begins anew or finishes it"
    )]
    Unfinished(Place),
    /// Where it is kept cannot be asked.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The file cannot be made.
    #[error(transparent)]
    File(KeyError),
    /// A newer program wrote the database.
    #[error(
        "the ledger has version {found}; this program knows up to {known}; install the newer one"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An older program wrote the database.
    #[error(
        "the ledger has version {found}, and this program reads version {known}; start the authority with this program once"
    )]
    Older {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file is SQLite's, but not ours.
    #[error("{0} is no ledger")]
    NotALedger(Place),
    /// The database failed.
    #[error("the ledger's database failed: {0}")]
    Sql(#[from] SqlError),
    /// The shared transaction did not become durable.
    #[error("the ledger could not commit: {0}")]
    Commit(Arc<str>),
    /// The database cannot be reached, or contradicts what this node knows.
    #[error("the ledger cannot be written, and nothing was decided: {0}")]
    Unreachable(Arc<str>),
    /// The connection was lost in the middle of a commit.
    #[error(
        "the ledger's database was lost in the middle of a commit, and whether it happened is not known yet; look, or ask again: {0}"
    )]
    Unknown(Arc<str>),
    /// A challenge was answered already, here or at another node.
    #[error("this challenge was answered already")]
    Answered,
    /// Another node has put other roles in force.
    #[error(
        "another node has put other roles in force; make the roles file of this node the same, and try again"
    )]
    OtherRoles,
    /// Another node has put another policy in force.
    #[error(
        "another node has put another policy in force; make the policy folder of this node the same, and try again"
    )]
    OtherPolicy,
    /// The ledger's thread is gone.
    #[error("the ledger has stopped")]
    Stopped,
    /// The thread could not be started.
    #[error("the ledger's thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
    /// Something changed between the decision and its entry; decide again.
    #[error("what the decision rested on has changed meanwhile")]
    Stale,
    /// It is there already.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be changed.
    #[error("{0}")]
    Fixed(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// A value has no JSON form, or stored JSON cannot be read.
    #[error("a stored value cannot be written or read: {0}")]
    Form(#[from] serde_json::Error),
    /// The enrolment token is no good.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// A host gets no certificates.
    #[error(transparent)]
    Vouch(#[from] VouchRefusal),
    /// An order could not be signed.
    #[error("the order could not be signed: {0}")]
    Order(#[from] OrderError),
    /// The log's key did not sign the checkpoint.
    #[error("the checkpoint could not be signed: {0}")]
    Sign(#[from] SignError),
    /// A key that signs or is believed is not there.
    #[error("the key {fingerprint} of {} is not where keys are kept; bring it back from a backup, or copy it here, with its record, from the node that made it", .purpose.name())]
    KeyAbsent {
        /// What it is for.
        purpose: Purpose,
        /// Which.
        fingerprint: Fingerprint,
    },
    /// A key of the authority's own cannot be told to hosts.
    #[error("the authority's keys cannot be told to hosts: {0}")]
    Keys(#[from] wire::trust::KeysError),
    /// The log's key is of another type.
    #[error("the key that signs the ledger's checkpoints must be an Ed25519 key")]
    LogKey,
    /// What is stored contradicts itself.
    #[error(
        "the ledger is damaged or was changed by another hand: {0}; look at it with `curfew-ca ledger verify`"
    )]
    Torn(String),
    /// A part of the log has no form, or stored text is none.
    #[error("a part of the log cannot be written or read: {0}")]
    Log(#[from] wire::log::FormError),
    /// The tree lacks what it must have.
    #[error("the tree cannot be computed: {0}")]
    Tree(#[from] tlog_tiles::Error),
    /// No salt.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// What is to be certified cannot be.
    #[error(transparent)]
    Unfit(#[from] crate::certificate::Unfit),
    /// A stored name breaks the rules of names.
    #[error("a stored name is malformed: {0}")]
    Name(#[from] wire::identifier::NameError),
    /// A host left out records.
    #[error("record {got} came where {expected} was due")]
    Gap {
        /// The next one due.
        expected: u64,
        /// The one that came.
        got: u64,
    },
}

impl Ledger {
    /// Makes the database, where there must be none, with its first entry.
    pub(crate) fn create(
        place: &Place,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        if let Some(path) = place.file() {
            create_private(path, b"").map_err(|error| match error {
                KeyError::Exists(path) => LedgerError::Exists(Place::File(path)),
                other => LedgerError::File(other),
            })?;
        }
        let connection = place.open()?;
        let transaction = connection.transaction()?;
        schema::create(&transaction, place)?;
        log::christen(&transaction, fingerprint)?;
        let created = entry::Created { fingerprint: fingerprint.clone() };
        entry::append(&transaction, Kind::AuthorityCreated, now, &created)?;
        transaction.commit()?;
        Ok(())
    }

    /// Whether the database can be made: a server is asked, and has no ledger.
    pub(crate) fn may_be_created(place: &Place) -> Result<(), LedgerError> {
        if place.file().is_some() {
            return Ok(());
        }
        schema::absent(&place.open()?, place)
    }

    /// Opens the database, which must be there, and brings an older one up to date. The log's keys sign its checkpoints.
    pub(crate) fn open(place: &Place, ring: &Arc<Ring>) -> Result<Self, LedgerError> {
        // Whoever opens it may be on a thread that must not wait, and a server is waited for.
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| Self::open_here(place, ring)).join();
            opened.map_err(|_died| LedgerError::Stopped)?
        })
    }

    fn open_here(place: &Place, ring: &Arc<Ring>) -> Result<Self, LedgerError> {
        let keyring = &*ring.now();
        let connection = place.open()?;
        schema::migrate(&connection, place)?;
        let transaction = connection.transaction()?;
        keys::adopt(&transaction, keyring, clock::now())?;
        transaction.commit()?;
        let log = Log::open(&connection, keyring)?;
        let log_keys = log.keys();
        let standing = Arc::new(RwLock::new(Arc::new(keys::standing(&connection)?)));
        let tree = Tree::open(&connection, log, clock::now())?;
        let pulse = Pulse::new(order::newest(&connection)?, Arc::clone(tree.newest()));
        let pulse = Arc::new(pulse);
        let challenges = node::challenge_key(&connection)?;
        let writer = Writer::start(Desk {
            place: place.clone(),
            tree,
            pulse: Arc::clone(&pulse),
            ring: Arc::clone(ring),
            log_keys: log_keys.clone(),
            standing: Arc::clone(&standing),
            epoch: grant::epoch(&connection)?,
            away: None,
            connection,
        })?;
        let readers = Readers::new(place.clone());
        let (place, roles, policy) =
            (place.clone(), role::Mark::default(), policy::Mark::default());
        let lately = Lately::default();
        Ok(Self {
            writer,
            readers,
            pulse,
            place,
            log_keys,
            keys: standing,
            challenges,
            roles,
            policy,
            lately,
        })
    }

    /// Closes the database: when this returns, nothing of it is open any more.
    pub(crate) fn close(self) {
        let Self { writer, readers, .. } = self;
        drop(readers);
        writer.close();
    }

    /// The number of the newest order, and word of each new one.
    pub(crate) fn orders(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    /// The newest checkpoint, and word of each new one.
    pub(crate) fn checkpoints(&self) -> watch::Receiver<Arc<Step>> {
        self.pulse.checkpoints()
    }

    /// Counts changes that other nodes must heed, as far as this one knows of them.
    pub(crate) fn epoch(&self) -> u64 {
        self.pulse.epoch()
    }

    /// The key of login challenges, which all nodes share.
    pub(crate) const fn challenge_key(&self) -> [u8; 32] {
        self.challenges
    }

    /// Word of what other nodes have written.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.pulse.news()
    }

    /// What is counted of this process's work.
    pub(crate) fn meter(&self) -> &Meter {
        self.pulse.meter()
    }

    /// Reads from the ledger, to see that it can be.
    pub(crate) async fn is_there(&self) -> Result<(), LedgerError> {
        self.read(|connection| grant::epoch(connection).map(|_epoch| ())).await
    }

    /// When orders became durable.
    pub(crate) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

/// Who decided it: an identity, or whoever is at the authority's own machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct Actor(String);

impl Actor {
    /// An identity.
    pub(crate) fn person(identity: &Identity) -> Self {
        Self(identity.to_string())
    }

    /// Whoever runs the operator's commands on the authority's machine.
    pub(crate) fn local() -> Self {
        Self("local:root".into())
    }

    /// Nobody: time passed.
    pub(crate) fn time() -> Self {
        Self("local:time".into())
    }

    /// Nobody: the rules say so.
    pub(crate) fn rules() -> Self {
        Self("local:rules".into())
    }

    /// The authority by itself.
    pub(crate) fn authority() -> Self {
        Self("local:authority".into())
    }

    /// The settings themselves, which said beforehand what is to be done.
    pub(crate) fn settings() -> Self {
        Self("local:settings".into())
    }

    /// Whoever holds a directory's token of this name.
    pub(crate) fn directory(name: &str) -> Self {
        Self(format!("directory:{name}"))
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::sql::Connection;
    use super::*;

    pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    pub(crate) fn open(path: &Path) -> Result<Ledger, LedgerError> {
        let ring = Ring::new(crate::key::given::keyring());
        Ledger::open(&Place::File(path.into()), &Arc::new(ring))
    }

    /// The log with its given key, in tables that have no entry yet.
    pub(super) fn given_log(connection: &Connection) -> Log {
        let keyring = crate::key::given::keyring();
        let public = keyring.oldest(Purpose::Log).unwrap().public().clone();
        let key = keys::fresh(connection, (Purpose::Log, 1), &public).unwrap();
        connection
            .execute(
                "INSERT INTO authority_keys VALUES ('log', 1, ?, ?, '\"signing\"', 0, 0)",
                [key.fingerprint.as_str(), &key.public_key],
            )
            .unwrap();
        Log::open(connection, &keyring).unwrap()
    }

    pub(crate) fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        Ledger::create(&Place::File(path.clone()), &Fingerprint::of(b"root"), NOW).unwrap();
        let ledger = open(&path).unwrap();
        (dir, ledger)
    }

    #[tokio::test]
    async fn a_ledger_is_never_made_by_opening_nor_made_twice() {
        let (dir, _ledger) = ledger();
        let path = dir.path().join("ledger.db");
        let again = Ledger::create(&Place::File(path), &Fingerprint::of(b"root"), NOW);
        assert!(matches!(again, Err(LedgerError::Exists(_))));
        assert!(matches!(open(&dir.path().join("other")), Err(LedgerError::Missing(_))));
    }

    #[tokio::test]
    async fn a_newer_ledger_is_refused_with_both_numbers() {
        let (dir, ledger) = ledger();
        drop(ledger);
        let path = dir.path().join("ledger.db");
        let raw = Connection::open(&path).unwrap();
        raw.set("user_version", 99).unwrap();
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains("version 99; this program knows up to "), "{error}");
    }
}
