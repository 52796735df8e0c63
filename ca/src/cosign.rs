//! Collecting cosignatures: witnesses are asked for their word on the ledger's checkpoints, and a certificate is signed only
//! when as many as the settings demand have cosigned the checkpoint that proves it (c2sp.org/tlog-witness).
//!
//! Nobody is asked for each certificate: whoever waits together is covered by one checkpoint, as in the ledger itself. What
//! witnesses have seen cannot be taken back, so a forked ledger is found before anything that rests on it is given out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use wire::api::WitnessStatus;
use wire::hostlink::Continuation;
use wire::identifier::HostName;
use wire::incident::Cause;
use wire::log::{Note, Proof, Submission};
use wire::time::Timestamp;

mod board;
mod remote;

pub(crate) use board::Cosigned;

use board::Board;
use remote::{Meaning, Remote, RemoteError};

use crate::authority::Authority;
use crate::clock;
use crate::config::witness::{Cosigning, WitnessAt};
use crate::http::listener::unless_stopped;
use crate::ledger::{Ledger, LedgerError, Recorded, Step};

/// The witnesses, and what they have cosigned.
pub(crate) struct Witnesses {
    quorum: usize,
    each: Vec<Standing>,
    board: Mutex<Board>,
    /// What everybody is asked about.
    target: watch::Sender<Option<Arc<Step>>>,
    /// The newest checkpoint that enough have cosigned.
    newest: watch::Sender<Option<Arc<Cosigned>>>,
}

/// A witness, and how it stands.
struct Standing {
    at: WitnessAt,
    said: Mutex<Said>,
}

#[derive(Debug, Default, Clone)]
struct Said {
    size: Option<u64>,
    at: Option<Timestamp>,
    problem: Option<String>,
    /// The tree about which an incident was opened, so that it is not opened again at every try.
    forked: Option<u64>,
}

/// What was recorded, with the word of as many witnesses as the settings demand. Only [`Witnesses::witness`] makes one.
#[derive(Debug)]
#[must_use = "what is witnessed can be signed"]
pub(crate) struct Witnessed(Recorded);

/// Why there is no word of enough witnesses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwitnessed {
    /// Too few answered.
    #[error(
        "it was recorded and is not given out: {quorum} witnesses must cosign the ledger, and these do not: {missing}"
    )]
    Few {
        /// How many must.
        quorum: usize,
        /// Who does not, and why.
        missing: String,
    },
    /// The proof could not be made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Witnessed {
    /// What was recorded.
    pub(crate) const fn recorded(&self) -> &Recorded {
        &self.0
    }

    /// The same, to be kept.
    pub(crate) fn into_recorded(self) -> Recorded {
        self.0
    }
}

impl Witnesses {
    /// Those of the settings; nobody was asked yet.
    pub(crate) fn new(settings: &Cosigning) -> Self {
        let standing = |at: &WitnessAt| Standing { at: at.clone(), said: Mutex::default() };
        Self {
            quorum: settings.quorum,
            each: settings.each.iter().map(standing).collect(),
            board: Mutex::new(Board::new(settings.quorum)),
            target: watch::Sender::new(None),
            newest: watch::Sender::new(None),
        }
    }

    /// Waits until enough witnesses have cosigned a checkpoint over this entry, and puts that into its proof.
    pub(crate) async fn witness(
        &self,
        ledger: &Ledger,
        recorded: Recorded,
    ) -> Result<Witnessed, Unwitnessed> {
        if self.quorum == 0 {
            return Ok(Witnessed(recorded));
        }
        let seq = recorded.evidence().leaf().seq;
        let cosigned = tokio::time::timeout(PATIENCE, self.covering(seq)).await;
        let few = || Unwitnessed::Few { quorum: self.quorum, missing: self.missing(seq) };
        let cosigned = cosigned.ok().flatten().ok_or_else(few)?;
        let before = recorded.evidence().proof();
        // Of its own checkpoint the path is known; of a later one it is read.
        let proof = if before.checkpoint.text() == cosigned.note().text() {
            Proof { checkpoint: cosigned.note().clone(), ..before.clone() }
        } else {
            ledger.prove_in(seq, cosigned.head().size, cosigned.note().clone()).await?
        };
        let recorded = recorded.proved_by(proof).map_err(LedgerError::from)?;
        Ok(Witnessed(recorded))
    }

    /// The newest cosigned checkpoint over at least so many entries, once there is one; nothing when nobody collects.
    async fn covering(&self, size: u64) -> Option<Arc<Cosigned>> {
        let mut newest = self.newest.subscribe();
        let is_over = |cosigned: &Option<Arc<Cosigned>>| {
            cosigned.as_ref().is_some_and(|cosigned| cosigned.head().size >= size)
        };
        newest.wait_for(is_over).await.ok()?.clone()
    }

    /// What a host is shown of the ledger: the newest tree, and where witnesses must cosign, the newest that they have.
    pub(crate) async fn continuation(
        &self,
        ledger: &Ledger,
        sizes: Vec<u64>,
    ) -> Result<Option<Continuation>, LedgerError> {
        if self.quorum == 0 {
            return ledger.continuation(sizes).await.map(Some);
        }
        let Some(cosigned) = self.covering(1).await else { return Ok(None) };
        let (head, note) = (cosigned.head(), cosigned.note().clone());
        ledger.continuation_in((head, note), sizes).await.map(Some)
    }

    /// The newest checkpoint with the cosignatures that came in so far.
    pub(crate) fn checkpoint(&self, newest: &Step) -> Note {
        let found = self.board().newest(newest.head().size);
        found.unwrap_or_else(|| newest.note().clone())
    }

    /// How each witness stands.
    pub(crate) fn status(&self) -> Vec<WitnessStatus> {
        let status = |standing: &Standing| {
            let Said { size, at, problem, .. } = standing.said().clone();
            WitnessStatus { name: standing.at.key.name().to_string(), size, at, problem }
        };
        self.each.iter().map(status).collect()
    }

    /// What is wrong with witnesses, each in a sentence.
    pub(crate) fn concerns(&self) -> Vec<String> {
        let mut concerns = Vec::new();
        let mut silent: usize = 0;
        for status in self.status() {
            if let Some(problem) = status.problem {
                silent = silent.saturating_add(1);
                concerns.push(format!("witness {} does not cosign: {problem}", status.name));
            }
        }
        if self.quorum > 0 && self.each.len().saturating_sub(silent) < self.quorum {
            concerns.push(format!(
                "no certificate is given out: {} witnesses must cosign the ledger, and too few do",
                self.quorum
            ));
        }
        concerns
    }

    /// Who has not cosigned a tree of so many entries, and why.
    fn missing(&self, size: u64) -> String {
        let missing = self.status().into_iter().filter(|status| status.size.unwrap_or(0) < size);
        let missing = missing.map(|status| {
            let why = status.problem.unwrap_or_else(|| "it has not answered in time".to_owned());
            format!("{} ({why})", status.name)
        });
        missing.collect::<Vec<_>>().join(", ")
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A witness has cosigned.
    fn take(
        &self,
        (place, size): (usize, u64),
        (line, at): (wire::log::Signature, Timestamp),
    ) -> Result<(), RemoteError> {
        if let Some(standing) = self.each.get(place) {
            let mut said = standing.said();
            said.size = said.size.max(Some(size));
            (said.at, said.problem) = (Some(at), None);
        }
        let Some(cosigned) = self.board().take((place, line), size)? else { return Ok(()) };
        self.newest.send_if_modified(|newest| {
            let is_newer = newest.as_ref().is_none_or(|newest| newest.head().size < size);
            // Of the same checkpoint with one word more nobody waits to hear.
            if is_newer {
                *newest = Some(Arc::new(cosigned));
            }
            is_newer
        });
        Ok(())
    }
}

impl Standing {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the witnesses about each new checkpoint, until it is time to stop.
pub(crate) async fn collect(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut tasks = tokio::task::JoinSet::new();
    for place in 0..authority.witnesses.each.len() {
        tasks.spawn(ask(Arc::clone(&authority), place, stop.clone()));
    }
    let witnesses = &authority.witnesses;
    let mut checkpoints = authority.ledger.checkpoints();
    let mut newest = witnesses.newest.subscribe();
    loop {
        let step = checkpoints.borrow_and_update().clone();
        if !witnesses.each.is_empty() {
            witnesses.board().begin(step.head(), step.note());
            let size = step.head().size;
            witnesses.target.send_replace(Some(step));
            let enough = newest.wait_for(|cosigned| {
                cosigned.as_ref().is_some_and(|cosigned| cosigned.head().size >= size)
            });
            let round = tokio::time::timeout(ROUND, enough);
            if unless_stopped(&mut stop, round).await.is_none() {
                return;
            }
        }
        match unless_stopped(&mut stop, checkpoints.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Asks one witness about what everybody is asked about.
async fn ask(authority: Arc<Authority>, place: usize, mut stop: watch::Receiver<bool>) {
    let witnesses = &authority.witnesses;
    let Some(standing) = witnesses.each.get(place) else { return };
    let mut target = witnesses.target.subscribe();
    let mut remote = None;
    let (mut known, mut pause) = (0, SHORTEST);
    loop {
        let step = target.borrow_and_update().clone();
        let mut is_done = true;
        if let Some(step) = step {
            let asked = submit((&authority, standing), &mut remote, (&step, &mut known));
            let Some(asked) = unless_stopped(&mut stop, asked).await else { return };
            let size = step.head().size;
            let taken = match asked {
                Ok(cosigned) => witnesses.take((place, size), cosigned).map_err(Trouble::from),
                Err(trouble) => Err(trouble),
            };
            match taken {
                Ok(()) => pause = SHORTEST,
                Err(trouble) => {
                    is_done = false;
                    noted((&authority, standing), &step, &trouble).await;
                }
            }
        }
        let next = async {
            if is_done {
                return target.changed().await.is_ok();
            }
            tokio::time::sleep(pause).await;
            true
        };
        match unless_stopped(&mut stop, next).await {
            Some(true) => {}
            Some(false) | None => return,
        }
        if !is_done {
            pause = pause.saturating_mul(2).min(LONGEST);
        }
    }
}

/// Why a witness gave no word.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("the ledger could not prove what it asked for: {0}")]
    Ledger(#[from] LedgerError),
    #[error(
        "it has cosigned a tree of {0} entries that this ledger does not continue: the ledger was forked, or went back"
    )]
    Forked(u64),
}

/// Submits a checkpoint; a witness that has another size is asked once more from there.
async fn submit(
    (authority, standing): (&Authority, &Standing),
    remote: &mut Option<Remote>,
    (step, known): (&Step, &mut u64),
) -> Result<(wire::log::Signature, Timestamp), Trouble> {
    let size = step.head().size;
    let keys = authority.ledger.keys_now();
    for _ in 0..TRIES {
        if *known > size {
            return Err(Trouble::Forked(*known));
        }
        let path = match *known {
            known if known == 0 || known == size => Vec::new(),
            known => authority.ledger.consistency(known, size).await?,
        };
        let submission = Submission { old: *known, path, note: step.note().clone() };
        let remote = match remote {
            Some(remote) => remote,
            None => remote.insert(Remote::new(standing.at.clone())?),
        };
        match remote.submit(&submission, keys.believed.log_keys()).await? {
            Meaning::Cosigned(line, at) => {
                *known = size;
                return Ok((line, at));
            }
            Meaning::Knows(other) => *known = other,
            Meaning::Forked => return Err(Trouble::Forked(*known)),
        }
    }
    Err(Trouble::Forked(*known))
}

/// Keeps why a witness gave no word; what contradicts the ledger is an incident.
async fn noted((authority, standing): (&Authority, &Standing), step: &Step, trouble: &Trouble) {
    let name = standing.at.key.name();
    let is_news = {
        let mut said = standing.said();
        let why = trouble.to_string();
        let is_news = said.problem.as_ref() != Some(&why);
        said.problem = Some(why);
        is_news
    };
    if is_news {
        tracing::warn!(witness = %name, error = %trouble, "a witness does not cosign");
    }
    let Trouble::Forked(size) = trouble else { return };
    let size = *size;
    if standing.said().forked == Some(size) {
        return;
    }
    let witness = name.to_string();
    let host = witness.split('/').next().and_then(|host| HostName::try_new(host).ok());
    let Some(host) = host.or_else(|| HostName::try_new("witness").ok()) else { return };
    let cause = Cause::Witnessed { witness, size, newest: step.head() };
    match authority.ledger.notice(host, cause, clock::now()).await {
        Ok(()) => standing.said().forked = Some(size),
        Err(error) => tracing::error!(%error, "an incident could not be recorded"),
    }
}

impl fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witnesses").field("quorum", &self.quorum).finish_non_exhaustive()
    }
}

/// How long a certificate waits for witnesses: less than a person's program waits for its answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long everybody is asked about the same checkpoint when too few answer.
const ROUND: Duration = Duration::from_secs(4);
/// How long a witness that did not answer is left alone, at first and at last.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// How often a witness may name another size before it is believed to be mocking.
const TRIES: usize = 4;
