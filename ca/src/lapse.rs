//! What time and other people's changes do to requests, put into the ledger: nobody waits for it to decide, and everybody can read
//! it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::LedgerError;

/// Records what has run out, and counts anew after a change, every [`PAUSE`].
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut counted = None;
    while unless_stopped(&mut stop, tokio::time::sleep(PAUSE)).await.is_some() {
        match pass(&authority, counted).await {
            Ok(now) => counted = Some(now),
            Err(error) => {
                tracing::error!(%error, "what became of requests could not be recorded; trying again");
            }
        }
    }
}

/// Gives back by which epoch was counted, and when.
async fn pass(
    authority: &Authority,
    counted: Option<(u64, Timestamp)>,
) -> Result<(u64, Timestamp), LedgerError> {
    let (ledger, now) = (&authority.ledger, clock::now());
    let (due, epoch) = ledger.next_due().await?;
    if due.is_some_and(|due| due <= now) {
        ledger.settle_requests(now).await?;
    }
    let is_other = counted.is_none_or(|(before, _)| before != epoch);
    let has_shrunk = match counted {
        Some((_, since)) if due.is_some() && !is_other => {
            ledger.has_shrunk(authority.roles(), (since, now)).await?
        }
        _ => false,
    };
    if due.is_some() && (is_other || has_shrunk) {
        let with = ((authority.roles(), authority.policy()), authority.keyring());
        ledger.recount_requests(with, now).await?;
    }
    Ok((epoch, now))
}

/// How late the ledger may say what decisions know at once.
const PAUSE: Duration = Duration::from_secs(2);
