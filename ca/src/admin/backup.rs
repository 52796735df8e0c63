//! Beginning a backup: the entry that says so, and what the copy needs to know.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use wire::identifier::Fingerprint;
use wire::log::LogKey;
use wire::octets::is_hidden;
use wire::problem::Code;

use crate::authority::Authority;
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::key::Purpose;

/// "A backup begins."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginBackup {
    /// Where to, as the operator named it.
    pub(crate) to: String,
    /// Whether private keys go along that no passphrase protects.
    pub(crate) plain_keys: bool,
}

/// It may begin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BackupBegun {
    /// The entry that says so.
    pub(crate) seq: u64,
    /// The authority's fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// The keys that sign checkpoints.
    pub(crate) log_keys: Vec<LogKey>,
}

/// `POST /admin/backup`
pub(super) async fn begin(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<BeginBackup>,
) -> Result<Json<BackupBegun>, Refusal> {
    if ask.to.is_empty() || ask.to.len() > MAX_PATH || ask.to.chars().any(is_hidden) {
        let message =
            format!("a backup's path has 1 to {MAX_PATH} bytes, and nothing that cannot be seen");
        return Err(Refusal::new(Code::Malformed, message));
    }
    let to = ask.to.clone();
    let what = (ask.to, ask.plain_keys);
    let seq = authority.ledger.begin_backup(caller.actor(), what, clock::now()).await?;
    tracing::warn!(seq, to, plain_keys = ask.plain_keys, "a backup of the authority begins");
    let mut log_keys = Vec::new();
    for (_, key) in authority.keyring().slots(Purpose::Log) {
        log_keys.push(authority.ledger.log_key(key.clone()).await?);
    }
    Ok(Json(BackupBegun { seq, fingerprint: authority.root.fingerprint(), log_keys }))
}

/// Longest path that the ledger keeps, in bytes: Linux takes none that is longer.
const MAX_PATH: usize = 4096;
