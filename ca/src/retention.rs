//! Does what two people decided to delete: what the ledger says first, then what it was. What a crash or a store that is away
//! interrupts is gone on with.

use std::sync::Arc;
use std::time::Duration;

use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use tokio::sync::watch;
use wire::channel::ChannelId;
use wire::recording::Place;
use wire::recording::stored::Piece;
use wire::recording::verify::{Known, Report, Verifier};
use wire::retention::{Class, RecordingWas, Remains};

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::{Doomed, LedgerError};
use crate::recording::reader::{ReadError, aside};
use crate::recording::{Store, StoreError};

/// Why something is not deleted yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Deletes what is to be, until told to stop.
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut pause = LOOK;
    while unless_stopped(&mut stop, tokio::time::sleep(pause)).await.is_some() {
        pause = match round(&authority).await {
            Ok(()) => LOOK,
            Err(error) => {
                tracing::error!(%error, "what two people decided to delete is not deleted yet; trying again");
                AFTER_A_FAULT
            }
        };
    }
}

async fn round(authority: &Arc<Authority>) -> Result<(), NotYet> {
    for doomed in authority.ledger.doomed().await? {
        let (deletion, session) = (doomed.deletion, doomed.session);
        match doomed.class {
            Class::Terminals => recordings(authority, doomed).await?,
            Class::Activity if doomed.said => authority.ledger.is_removed(doomed).await?,
            Class::Activity => {
                authority.ledger.delete_records(doomed, clock::now()).await?;
            }
        }
        tracing::warn!(deletion, %session, "what two people decided to delete was deleted");
    }
    Ok(())
}

/// The blocks of a session's recordings; the host's last words stay.
async fn recordings(authority: &Arc<Authority>, doomed: Doomed) -> Result<(), NotYet> {
    if !doomed.said {
        let keys = authority.ledger.agent_keys(doomed.host.clone()).await?;
        let store = Arc::clone(&authority.recordings.store);
        let of = doomed.clone();
        let what = aside(move || Ok(look(&*store, &of, &keys)?)).await?;
        let what = Remains::Recordings(what);
        if !authority.ledger.say_deleted(doomed.clone(), what, clock::now()).await? {
            // Held meanwhile, or another node was first; the next look knows.
            return Ok(());
        }
    }
    let (store, of) = (Arc::clone(&authority.recordings.store), doomed.clone());
    aside(move || Ok(remove(&*store, &of)?)).await?;
    Ok(authority.ledger.is_removed(doomed).await?)
}

/// What there is, and whether it holds.
fn look(store: &dyn Store, of: &Doomed, keys: &[String]) -> Result<Vec<RecordingWas>, StoreError> {
    let keys: Vec<KeyData> = keys
        .iter()
        .filter_map(|key| PublicKey::from_openssh(key).ok())
        .map(|key| key.key_data().clone())
        .collect();
    let places = store.list(&of.host, of.session)?;
    let mut found = Vec::new();
    for places in places.chunk_by(|one, next| one.channel == next.channel) {
        let Some(channel) = places.first().map(|place| place.channel) else { continue };
        let mut verifier = Verifier::new(of.host.clone(), (of.session, channel), &keys);
        for place in places {
            if let Some(bytes) = store.get(place)? {
                verifier.take(&place.to_string(), &bytes);
            }
        }
        found.push(was(channel, &verifier.finish(&Known::default())));
    }
    Ok(found)
}

fn was(channel: ChannelId, report: &Report) -> RecordingWas {
    let findings = report.findings.iter().take(MAX_FINDINGS).map(ToString::to_string);
    RecordingWas {
        channel,
        blocks: report.blocks,
        bytes: report.bytes,
        closed: !report.is_open,
        head: report.head,
        findings: findings.collect(),
    }
}

fn remove(store: &dyn Store, of: &Doomed) -> Result<(), StoreError> {
    let is_block = |place: &Place| matches!(place.piece, Piece::Block(_));
    let blocks = store.list(&of.host, of.session)?;
    blocks.iter().filter(|place| is_block(place)).try_for_each(|place| store.remove(place))
}

/// How often it is looked whether there is anything to delete.
const LOOK: Duration = Duration::from_secs(2);
/// The same when it could not be done.
const AFTER_A_FAULT: Duration = Duration::from_secs(30);
/// Most findings that the entry keeps of one recording.
const MAX_FINDINGS: usize = 20;
