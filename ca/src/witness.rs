//! `curfew-ca witness`: a separate machine that remembers the newest tree of each log that it knows, and cosigns what
//! continues it (c2sp.org/tlog-witness, c2sp.org/tlog-cosignature, Ed25519).
//!
//! Shape: a folder with `seed` (the key), `name`, and a file for each log with its newest checkpoint. What is compared and
//! what is put on the disk happen under one lock, before the answer: a witness that answered first could be rolled back.
//! Who can change this: root and the witness's user on that machine. Gains: cosigns a forked log.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use wire::log::{
    FormError, Head, KeyName, LogKey, Note, Policy, Signature, Submission, Unproved, WitnessKey,
    verify_consistency,
};
use wire::time::Timestamp;

use crate::random::{self, sha256};

pub(crate) mod server;
mod store;

/// A witness with its key, the logs that it knows, and where it remembers them.
pub(crate) struct Witness {
    dir: PathBuf,
    key: WitnessKey,
    pair: Ed25519KeyPair,
    logs: Vec<LogKey>,
    /// Held from the comparison until the new checkpoint is on the disk.
    memory: Mutex<()>,
}

/// The witness's own files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{0} does not hold what it should; restore it from a backup")]
    Content(PathBuf),
    /// It was set up already.
    #[error("{0} exists already; this witness has been set up, and nothing was changed")]
    Exists(PathBuf),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
}

/// What a submission comes to; tlog-witness gives each its number.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 200: cosigned.
    Cosigned(Signature),
    /// 400: it cannot be read, or the old tree is larger than the new one.
    Malformed(String),
    /// 403: no known key of the log signed it.
    Unsigned,
    /// 404: the log is not known here.
    Unknown,
    /// 409: this witness has another tree, of this size.
    Conflict(u64),
    /// 422: the proof does not hold.
    Inconsistent,
}

impl Witness {
    /// Makes a witness's key, once.
    pub(crate) fn create(dir: &Path, name: &KeyName) -> Result<(), WitnessError> {
        store::make_folder(dir)?;
        let seed = random::bytes::<32>()?;
        store::create(&dir.join(SEED), &seed)?;
        store::create(&dir.join(NAME), name.as_str().as_bytes())
    }

    /// Opens it, to cosign these logs.
    pub(crate) fn open(dir: &Path, logs: Vec<LogKey>) -> Result<Self, WitnessError> {
        let odd = |name: &str| WitnessError::Content(dir.join(name));
        let seed = store::read(&dir.join(SEED))?.ok_or_else(|| odd(SEED))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_odd| odd(SEED))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_odd| odd(SEED))?;
        let name = store::read(&dir.join(NAME))?.and_then(|name| String::from_utf8(name).ok());
        let name = name.and_then(|name| KeyName::try_new(name).ok()).ok_or_else(|| odd(NAME))?;
        let key = WitnessKey::new(name, public);
        Ok(Self { dir: dir.into(), key, pair, logs, memory: Mutex::default() })
    }

    /// What hosts pin.
    pub(crate) const fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// Judges a submission; a cosignature is given only when the new tree is on the disk.
    pub(crate) fn add(&self, body: &str, now: Timestamp) -> Result<Answer, WitnessError> {
        let submission: Submission = match body.parse() {
            Ok(submission) => submission,
            Err(error) => return Ok(Answer::Malformed(error.to_string())),
        };
        let origin = submission.note.text().lines().next().unwrap_or_default();
        let logs: Vec<LogKey> =
            self.logs.iter().filter(|log| log.name().as_str() == origin).cloned().collect();
        if logs.is_empty() {
            return Ok(Answer::Unknown);
        }
        let policy = Policy { logs, ..Policy::default() };
        let attested = match policy.attest(submission.note.clone()) {
            Ok(attested) => attested,
            Err(Unproved::Form(error)) => return Ok(Answer::Malformed(error.to_string())),
            Err(_unsigned) => return Ok(Answer::Unsigned),
        };
        let new = attested.head();
        if submission.old > new.size {
            let why = "the old size is larger than the checkpoint's";
            return Ok(Answer::Malformed(why.to_owned()));
        }
        let _held = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(file_name(origin));
        let known = self.known(&path)?;
        if submission.old != known.size || (known.size == new.size && known.root != new.root) {
            return Ok(Answer::Conflict(known.size));
        }
        if verify_consistency(known, new, &submission.path).is_err() {
            return Ok(Answer::Inconsistent);
        }
        store::replace(&path, submission.note.to_string().as_bytes())?;
        Ok(Answer::Cosigned(self.cosign(submission.note.text(), now)?))
    }

    fn known(&self, path: &Path) -> Result<Head, WitnessError> {
        let Some(bytes) = store::read(path)? else {
            return Ok(Head::empty());
        };
        let odd = || WitnessError::Content(path.into());
        let note = String::from_utf8(bytes).map_err(|_odd| odd())?;
        let note: Note = note.parse().map_err(|_odd: FormError| odd())?;
        let checkpoint: wire::log::Checkpoint =
            note.text().parse().map_err(|_odd: FormError| odd())?;
        Ok(checkpoint.head)
    }

    fn cosign(&self, text: &str, now: Timestamp) -> Result<Signature, WitnessError> {
        let message = WitnessKey::message(text, now.secs());
        let signature = self.pair.sign(message.as_bytes());
        let signature = signature.as_ref().try_into();
        let odd = |_length| WitnessError::Content(self.dir.join(SEED));
        Ok(self.key.line(now.secs(), signature.map_err(odd)?))
    }
}

/// A name for the file of a log, whatever its own name is.
fn file_name(origin: &str) -> String {
    let digest = sha256(&[origin.as_bytes()]);
    let short: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("log-{short}")
}

const SEED: &str = "seed";
const NAME: &str = "name";

#[cfg(test)]
mod tests;
