//! Keeps the index of records: beside the taking in, never in its way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authority::Authority;
use crate::http::listener::unless_stopped;
use crate::ledger::{BLOCK, Ledger, LedgerError};

/// Makes blocks of records as they come, until told to stop.
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut looks: u32 = 0;
    while unless_stopped(&mut stop, tokio::time::sleep(LOOK)).await.is_some() {
        let is_time = looks.is_multiple_of(PATIENCE);
        looks = looks.wrapping_add(1);
        // What fails here is tried again at the next look; records are safe, and a search says what it could not see.
        if let Err(error) = fill(&authority.ledger, is_time, &mut stop).await {
            tracing::warn!(%error, "the index of records cannot be kept; searches miss what waits");
        }
    }
}

/// Makes whole blocks while there are enough records, and one of fewer when it is time.
async fn fill(
    ledger: &Ledger,
    is_time: bool,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), LedgerError> {
    let mut waiting = ledger.unindexed().await?;
    while waiting >= BLOCK {
        ledger.index().await?;
        if unless_stopped(stop, tokio::time::sleep(BETWEEN)).await.is_none() {
            return Ok(());
        }
        waiting = ledger.unindexed().await?;
    }
    if is_time && waiting > 0 {
        ledger.index().await?;
    }
    Ok(())
}

/// Brings the index up to date for a search, as far as that goes quickly, and says how many records still wait.
pub(crate) async fn catch_up(ledger: &Ledger) -> Result<u64, LedgerError> {
    for _ in 0..AT_A_SEARCH {
        if ledger.unindexed().await? == 0 {
            return Ok(0);
        }
        ledger.index().await?;
    }
    ledger.unindexed().await
}

/// How often it is looked whether there are enough records for a block.
const LOOK: Duration = Duration::from_secs(2);
/// After how many looks a block is made of however few there are.
const PATIENCE: u32 = 30;
/// How long the writer is left alone between two blocks.
pub(crate) const BETWEEN: Duration = Duration::from_millis(20);
/// Most blocks that a search makes before it begins.
const AT_A_SEARCH: usize = 8;
