//! What time and other people's changes do to requests, put into the ledger: nobody waits for it to decide, and everybody can read
//! it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::LedgerError;

/// Records what has run out, and counts anew after a change, every [`PAUSE`].
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut counted = None;
    while unless_stopped(&mut stop, tokio::time::sleep(PAUSE)).await.is_some() {
        match pass(&authority, counted).await {
            Ok(epoch) => counted = Some(epoch),
            Err(error) => {
                tracing::error!(%error, "what became of requests could not be recorded; trying again");
            }
        }
    }
}

/// Gives back the epoch that was counted by.
async fn pass(authority: &Authority, counted: Option<u64>) -> Result<u64, LedgerError> {
    let (ledger, now) = (&authority.ledger, clock::now());
    let (due, epoch) = ledger.next_due().await?;
    if due.is_some_and(|due| due <= now) {
        ledger.settle_requests(now).await?;
    }
    if due.is_some() && counted != Some(epoch) {
        let with = ((authority.roles(), authority.policy()), authority.keyring());
        ledger.recount_requests(with, now).await?;
    }
    Ok(epoch)
}

/// How late the ledger may say what decisions know at once.
const PAUSE: Duration = Duration::from_secs(2);
