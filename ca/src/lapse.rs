//! What time does to requests, put into the ledger: nobody waits for it to decide, and everybody can read it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;

/// Records what has run out, every [`PAUSE`].
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    while unless_stopped(&mut stop, tokio::time::sleep(PAUSE)).await.is_some() {
        let now = clock::now();
        let recorded = match authority.ledger.next_due().await {
            Ok(Some(due)) if due <= now => authority.ledger.settle_requests(now).await.map(drop),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "requests that have run out could not be recorded; trying again");
        }
    }
}

/// How late the ledger may say what decisions know at once.
const PAUSE: Duration = Duration::from_secs(2);
