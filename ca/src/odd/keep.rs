//! Looks at each session once it has ended: beside the taking in of records, never in its way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::LedgerError;

/// Looks at sessions as they end, and again where more of them comes, until told to stop.
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    while unless_stopped(&mut stop, tokio::time::sleep(LOOK)).await.is_some() {
        // What fails here is tried again at the next look; sessions are due for review all the same.
        if let Err(error) = pass(&authority, &mut stop).await {
            tracing::warn!(%error, "it cannot be said what was odd in sessions; reviews list them by age");
        }
    }
}

async fn pass(authority: &Authority, stop: &mut watch::Receiver<bool>) -> Result<(), LedgerError> {
    let ledger = &authority.ledger;
    loop {
        let ended = ledger.unjudged().await?;
        let Some(last) = ended.len().checked_sub(1) else { return Ok(()) };
        for (place, one) in ended.into_iter().enumerate() {
            let learn_until = authority.risk().weights().learn_until();
            if let Some(judged) = ledger.judge(one, (learn_until, clock::now())).await? {
                ledger.keep_odd(judged, clock::now()).await?;
            }
            let pause = if place == last { LOOK } else { BETWEEN };
            if unless_stopped(stop, tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }
}

/// How often it is looked for sessions that have ended.
const LOOK: Duration = Duration::from_secs(1);
/// How long the ledger is left alone between two sessions.
const BETWEEN: Duration = Duration::from_millis(5);
