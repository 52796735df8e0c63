//! Reading what is stored of recordings, off the async threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::channel::ChannelId;
use wire::identifier::{HostName, SessionId};
use wire::octets::Octets;
use wire::reading::{Passage, ReadAsk, RecordingView};
use wire::recording::seal::OpenError;
use wire::recording::stored::{Piece, StoredFlaw};
use wire::recording::{Place, StoredBlock};

use super::{OpeningKeys, Store, StoreError};
use crate::authority::Authority;

/// Reads recordings.
pub(crate) struct Reader {
    store: Arc<dyn Store>,
    opening: Arc<OpeningKeys>,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The store failed.
    #[error("the store of recordings failed: {0}")]
    Store(#[from] StoreError),
    /// What is stored is no block.
    #[error("block {number} cannot be read: {flaw}; see `curfew audit verify`")]
    Block {
        /// Which.
        number: u64,
        /// Why.
        flaw: StoredFlaw,
    },
    /// It cannot be opened.
    #[error("block {number} cannot be opened: {error}; see `curfew audit verify`")]
    Open {
        /// Which.
        number: u64,
        /// Why.
        error: OpenError,
    },
    /// The thread is gone.
    #[error("the reading was cut off")]
    Stopped,
}

/// Some objects with their names, and after which name to go on.
type Objects = (Vec<(String, Vec<u8>)>, Option<String>);

impl Reader {
    /// Of this authority's recordings.
    pub(crate) fn of(authority: &Authority) -> Self {
        Self { store: Arc::clone(&authority.recordings.store), opening: authority.opening() }
    }

    /// Which recordings a session has.
    pub(crate) async fn list(
        self,
        host: HostName,
        session: SessionId,
    ) -> Result<Vec<RecordingView>, ReadError> {
        aside(move || {
            let mut found: BTreeMap<ChannelId, RecordingView> = BTreeMap::new();
            for place in self.store.list(&host, session)? {
                let view = found.entry(place.channel).or_insert_with(|| RecordingView {
                    channel: place.channel,
                    host: host.clone(),
                    blocks: 0,
                    closed: false,
                });
                match place.piece {
                    Piece::Block(number) => view.blocks = view.blocks.max(number),
                    Piece::Closed => view.closed = true,
                }
            }
            Ok(found.into_values().collect())
        })
        .await
    }

    /// What passed, from this block on: as many blocks as make a page.
    pub(crate) async fn read(self, what: ReadAsk, from: u64) -> Result<Passage, ReadError> {
        aside(move || {
            let mut records = Vec::new();
            let (mut next, mut ended) = (from.max(1), false);
            while records.len() < PAGE && !ended {
                let place = Place {
                    host: what.host.clone(),
                    session: what.session,
                    channel: what.channel,
                    piece: Piece::Block(next),
                };
                let Some(bytes) = self.store.get(&place)? else { break };
                let number = next;
                let stored = StoredBlock::decode(&bytes)
                    .map_err(|flaw| ReadError::Block { number, flaw })?;
                let opened = self.opening.open(&stored.block);
                for record in opened.map_err(|error| ReadError::Open { number, error })? {
                    record.write(&mut records);
                }
                ended = stored.block.header().ends;
                next = next.saturating_add(1);
            }
            if !ended && records.is_empty() {
                let piece = Piece::Closed;
                let (host, session, channel) = (what.host, what.session, what.channel);
                ended = self.store.get(&Place { host, session, channel, piece })?.is_some();
            }
            Ok(Passage { records: Octets::new(records), next, ended })
        })
        .await
    }

    /// Objects as they lie in the store, those after a name.
    pub(crate) async fn stored(
        self,
        host: HostName,
        session: SessionId,
        after: Option<String>,
    ) -> Result<Objects, ReadError> {
        aside(move || {
            let (mut objects, mut weight) = (Vec::new(), 0_usize);
            let places = self.store.list(&host, session)?;
            let last = after.and_then(|after| after.parse::<Place>().ok());
            for place in
                places.into_iter().filter(|place| last.as_ref().is_none_or(|last| place > last))
            {
                if weight >= PAGE {
                    let next = objects.last().map(|(name, _): &(String, Vec<u8>)| name.clone());
                    return Ok((objects, next));
                }
                // What vanished since it was listed is missing to whoever checks.
                if let Some(bytes) = self.store.get(&place)? {
                    weight = weight.saturating_add(bytes.len());
                    objects.push((place.to_string(), bytes));
                }
            }
            Ok((objects, None))
        })
        .await
    }
}

/// Does what waits for the store off the async threads.
pub(crate) async fn aside<T, F>(work: F) -> Result<T, ReadError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ReadError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|_cancelled| ReadError::Stopped)?
}

/// After so many bytes a page is long enough.
const PAGE: usize = 1024 * 1024;
