//! What can be wrong with a key, in words that say what to do.

use std::path::PathBuf;
use std::time::Duration;

use super::Slot;
use super::agent::AgentError;
use super::make::NotMade;
use super::remote::MAX_WAITING;
use super::secret::SecretError;
use super::token::TokenError;

/// Why a key did not sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The computation failed.
    #[error("the key did not sign: the computation failed")]
    Computation,
    /// The ssh-agent did not do it.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The token did not do it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It answers too slowly.
    #[error("there is no signature after {0:?}")]
    Slow(Duration),
    /// Too many wait.
    #[error("whoever holds the key is stuck: {MAX_WAITING} signatures wait for it already")]
    Busy,
    /// The thread that talks to its holder has ended.
    #[error("nobody talks to the key's holder any more; start the authority again")]
    Ended,
    /// The thread could not be started.
    #[error("no thread could be started: {0}")]
    Thread(#[source] std::io::Error),
    /// What came out is no signature.
    #[error("the key made no signature of its type: {0}")]
    Form(#[from] ssh_key::Error),
    /// What came out is not by this key over these bytes.
    #[error("what came back is no signature by this key: {0}")]
    Wrong(#[from] wire::signature::SignatureFlaw),
}

/// Why a key could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Which key it is about.
    #[error("the key {slot} ({backend}): {source}")]
    Of {
        /// The key.
        slot: Slot,
        /// What holds it.
        backend: &'static str,
        /// What is wrong.
        source: Box<Self>,
    },
    /// The file is there already; nothing is overwritten.
    #[error("{0} exists already; this authority has been set up, and nothing was changed")]
    Exists(PathBuf),
    /// The file is not there.
    #[error("{0} is missing; set the authority up once with `curfew-ca init`")]
    Missing(PathBuf),
    /// Others can read it.
    #[error("{path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no key.
    #[error("{path} is not an OpenSSH private key: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ssh_key::Error,
    },
    /// The key or its record cannot serve.
    #[error("{path}: {reason}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The wrong passphrase.
    #[error("the passphrase does not open {0}; nothing was changed")]
    Passphrase(PathBuf),
    /// No passphrase or PIN.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Not of the type that the purpose needs.
    #[error(
        "it is of type {0}; the log's key must be ed25519, because checkpoints are signed notes"
    )]
    NotForNotes(String),
    /// The backend offers another key than the one that was pinned.
    #[error(
        "it offers the key {offered}, but {pinned} is the one that hosts trust; bring that one back (another takes its place by rotation only)"
    )]
    Other {
        /// What it offers.
        offered: String,
        /// What was pinned.
        pinned: String,
    },
    /// The ssh-agent does not have it.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The token does not have it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It does not sign.
    #[error("it cannot sign: {0}")]
    Mute(#[from] SignError),
    /// Two purposes share one key.
    #[error("{0} and {1} are the same key; each purpose needs its own")]
    Shared(Slot, Slot),
    /// No key can be made.
    #[error(transparent)]
    Make(#[from] NotMade),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] crate::random::NoRandomness),
}
