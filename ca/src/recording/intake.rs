//! A host's recordings as they come: each block is held against what is stored, and only what continues is kept.
//!
//! Nothing here reads what is recorded: blocks are encrypted. A host speaks for itself alone, by the key of its agent, and
//! its recordings lie under its own name.

use std::collections::BTreeMap;

use ssh_key::public::KeyData;
use wire::VERSION;
use wire::channel::ChannelId;
use wire::identifier::{HostName, SessionId};
use wire::recording::block::{Block, Chain};
use wire::recording::lane::{Answer, Refusal};
use wire::recording::statement::{BlockSaid, Closed, Received, Said, Signed};
use wire::recording::stored::{Piece, Place, StoredBlock};
use wire::time::Timestamp;

use super::{Recordings, StoreError};
use crate::key::Sign;

/// What came whole.
#[derive(Debug)]
pub(crate) enum Brought {
    /// A block, and the host's word on it.
    Block(Vec<u8>, Signed),
    /// The host's last word on a recording.
    Closed(Signed),
}

/// A host's connection, as far as it brings recordings.
#[derive(Debug)]
pub(crate) struct Intake {
    host: HostName,
    /// The agent's key, by which alone the host is believed.
    agent_key: Option<KeyData>,
    /// How far recordings are that came lately.
    known: BTreeMap<(SessionId, ChannelId), Known>,
}

#[derive(Debug, Clone)]
struct Known {
    chain: Chain,
    closed: bool,
}

/// Why something was not taken.
#[derive(Debug, thiserror::Error)]
enum No {
    /// It is not what it should be: the same again would be refused again.
    #[error("{0}")]
    Wrong(String),
    /// The authority cannot now.
    #[error("{0}")]
    Later(String),
}

impl Intake {
    /// For this host, whose agent has this key.
    pub(crate) const fn new(host: HostName, agent_key: Option<KeyData>) -> Self {
        Self { host, agent_key, known: BTreeMap::new() }
    }

    /// Checks, stores, and signs that it is there. Waits for the disk: stays off the async threads.
    pub(crate) fn take(
        &mut self,
        brought: Brought,
        (recordings, signer): (&Recordings, &dyn Sign),
        now: Timestamp,
    ) -> Option<Answer> {
        let (of, taken) = match brought {
            Brought::Block(bytes, said) => match Block::parse(bytes) {
                Ok(block) => {
                    let of = (block.header().session, block.header().channel);
                    (of, self.take_block(StoredBlock { block, said }, recordings))
                }
                Err(flaw) => {
                    tracing::error!(host = %self.host, %flaw, "a host sent a block of a recording that is none");
                    return None;
                }
            },
            // What it is about is read before it is believed, so that a refusal can say it.
            Brought::Closed(said) => match serde_json::from_str(&said.text) {
                Ok(Said::Closed(closed)) => {
                    let of = (closed.session, closed.channel);
                    let believed = self.said(&said);
                    (of, believed.and_then(|_| self.take_closing(&closed, &said, recordings)))
                }
                Ok(Said::Block(_)) | Err(_) => {
                    tracing::error!(host = %self.host, "a host closed a recording with a word that closes none");
                    return None;
                }
            },
        };
        let signed = taken.and_then(|known| self.receipt(&known, signer, now));
        Some(signed.map_or_else(
            |no| {
                tracing::error!(host = %self.host, session = %of.0, channel = %of.1, %no, "a recording is not taken");
                let later = matches!(no, No::Later(_));
                Answer::Refused(Refusal { session: of.0, channel: of.1, why: no.to_string(), later })
            },
            Answer::Received,
        ))
    }

    fn take_block(&mut self, stored: StoredBlock, recordings: &Recordings) -> Result<Known, No> {
        let header = stored.block.header();
        let of = (header.session, header.channel);
        let Said::Block(said) = self.said(&stored.said)? else {
            return Err(No::Wrong("what is said of the block is about something else".into()));
        };
        if said != BlockSaid::of(&self.host, &stored.block) {
            return Err(No::Wrong("what the host says is not about this block".into()));
        }
        let mut known = self.known(of, recordings)?;
        let place = self.place(of, Piece::Block(header.number));
        if header.number <= known.chain.blocks() {
            // It came before, and its acknowledgement was lost; or it is another one.
            let same = self.stored(&place, recordings)?.is_some_and(|it| it.block == stored.block);
            return if same {
                Ok(known)
            } else {
                Err(No::Wrong(format!("another block is here as {place}")))
            };
        }
        if known.closed {
            return Err(No::Wrong("the host said before that nothing follows".into()));
        }
        known.chain.take(&stored.block).map_err(|flaw| No::Wrong(flaw.to_string()))?;
        recordings.store.put(&place, &stored.encode()).map_err(refused)?;
        recordings.arrived(place);
        self.known.insert(of, known.clone());
        Ok(known)
    }

    fn take_closing(
        &mut self,
        closed: &Closed,
        said: &Signed,
        recordings: &Recordings,
    ) -> Result<Known, No> {
        let of = (closed.session, closed.channel);
        if closed.host != self.host {
            return Err(No::Wrong(format!("it is of the host {}", closed.host)));
        }
        let mut known = self.known(of, recordings)?;
        let chain = &known.chain;
        if (closed.blocks, closed.head) != (chain.blocks(), chain.head()) {
            let (says, here) = (closed.blocks, chain.blocks());
            return Err(No::Wrong(format!(
                "it ends with block {says}, and block {here} is the last here"
            )));
        }
        let place = self.place(of, Piece::Closed);
        if !known.closed {
            let bytes = serde_json::to_vec(said).map_err(|error| No::Wrong(error.to_string()))?;
            recordings.store.put(&place, &bytes).map_err(refused)?;
            recordings.arrived(place);
            known.closed = true;
        }
        self.known.insert(of, known.clone());
        Ok(known)
    }

    /// Believes what the host says of a recording.
    fn said(&self, said: &Signed) -> Result<Said, No> {
        let Some(key) = &self.agent_key else {
            let why = "this host enrolled before its agent had a key; enrol it again (`curfew-agent enroll`)";
            return Err(No::Later(why.into()));
        };
        said.read(std::iter::once(key)).map_err(|error| No::Wrong(error.to_string()))
    }

    /// How far a recording is: as it came, or as it lies in the store.
    fn known(&mut self, of: (SessionId, ChannelId), recordings: &Recordings) -> Result<Known, No> {
        if let Some(known) = self.known.get(&of) {
            return Ok(known.clone());
        }
        let places = recordings.store.list(&self.host, of.0).map_err(refused)?;
        let mut known = Known { chain: Chain::new(of.0, of.1), closed: false };
        for place in places.into_iter().filter(|place| place.channel == of.1) {
            match place.piece {
                Piece::Closed => known.closed = true,
                // In order of their numbers: the last one counts.
                Piece::Block(_) if place.piece > Piece::Block(known.chain.blocks()) => {
                    let last = self.stored(&place, recordings)?;
                    let gone = || No::Later(format!("{place} is gone from the store"));
                    known.chain = Chain::after(&last.ok_or_else(gone)?.block);
                }
                Piece::Block(_) => {}
            }
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(of, known.clone());
        Ok(known)
    }

    fn stored(&self, place: &Place, recordings: &Recordings) -> Result<Option<StoredBlock>, No> {
        let Some(bytes) = recordings.store.get(place).map_err(refused)? else { return Ok(None) };
        let read = StoredBlock::decode(&bytes);
        read.map(Some).map_err(|flaw| No::Later(format!("{place} in the store is damaged: {flaw}")))
    }

    fn receipt(&self, known: &Known, signer: &dyn Sign, now: Timestamp) -> Result<Signed, No> {
        let Known { chain, closed } = known;
        let received = Received {
            version: VERSION,
            host: self.host.clone(),
            session: chain.session(),
            channel: chain.channel(),
            block: chain.blocks(),
            last: chain.last(),
            head: chain.head(),
            closed: *closed,
            at: now,
        };
        Signed::make(&received, signer.public(), |message| signer.sign(message))
            .map_err(|error| No::Later(error.to_string()))
    }

    fn place(&self, (session, channel): (SessionId, ChannelId), piece: Piece) -> Place {
        Place { host: self.host.clone(), session, channel, piece }
    }
}

fn refused(error: StoreError) -> No {
    match error {
        StoreError::Other(_) => No::Wrong(error.to_string()),
        StoreError::Io { .. } | StoreError::Bucket(_) => No::Later(error.to_string()),
    }
}

/// Recordings of one host that are remembered; more are looked up again.
const MAX_KNOWN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::given;
    use crate::recording::store::Folder;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;
    use std::num::NonZeroU64;
    use std::sync::Arc;
    use wire::channel::End;
    use wire::recording::batch::Gatherer;
    use wire::recording::record::{Begin, Content, Size};
    use wire::recording::seal::{OpeningKey, Sealer};
    use wire::time::Uptime;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    struct Given {
        _dir: tempfile::TempDir,
        recordings: Recordings,
        intake: Intake,
        blocks: Vec<Block>,
    }

    fn agent_key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn of() -> (SessionId, ChannelId) {
        (SessionId::new(NonZeroU64::new(7).unwrap()), ChannelId::new(8))
    }

    fn given() -> Given {
        let dir = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(Arc::new(Folder::new(dir.path().join("recordings"))));
        let key = agent_key(3).public_key().key_data().clone();
        let intake = Intake::new("db1".parse().unwrap(), Some(key));
        Given { _dir: dir, recordings, intake, blocks: blocks(4) }
    }

    fn blocks(count: u64) -> Vec<Block> {
        let begin = Begin { at: NOW, size: Size { columns: 80, rows: 24 }, term: None };
        let at = |secs: u64| Uptime::from_nanos(secs.saturating_mul(1_000_000_000));
        let mut gatherer = Gatherer::new(begin, at(0));
        let key = OpeningKey::new(&[9; 32]).unwrap().public();
        let mut sealer = Sealer::new(Chain::new(of().0, of().1), key);
        let block = |number: u64| {
            gatherer.push(at(number), Content::Output(format!("{number}").into()));
            let later = at(number.saturating_add(1));
            sealer.seal(&gatherer.take_due(later).unwrap()).unwrap()
        };
        (0..count).map(block).collect()
    }

    /// Another recording of the same channel.
    fn fork() -> Vec<Block> {
        blocks(2)
    }

    fn signed(said: &Said, seed: u8) -> Signed {
        let key = agent_key(seed);
        Signed::make(said, key.public_key(), |message| raw(&key, message)).unwrap()
    }

    fn raw(
        key: &impl ssh_key::SigningKey,
        message: &[u8],
    ) -> Result<ssh_key::Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn word(block: &Block, seed: u8) -> Signed {
        signed(&Said::Block(BlockSaid::of(&"db1".parse().unwrap(), block)), seed)
    }

    fn closing(block: &Block) -> Closed {
        let header = block.header();
        Closed {
            version: VERSION,
            host: "db1".parse().unwrap(),
            session: header.session,
            channel: header.channel,
            blocks: header.number,
            head: block.hash(),
            end: Some(End::Lost),
            torn: 3,
            broken: false,
        }
    }

    impl Given {
        fn give(&mut self, brought: Brought) -> Option<Answer> {
            let signer = given::key(5);
            self.intake.take(brought, (&self.recordings, &*signer), NOW)
        }

        fn block(&mut self, block: &Block, said: Signed) -> Answer {
            self.give(Brought::Block(block.bytes().to_vec(), said)).unwrap()
        }

        fn received(&mut self, block: &Block) -> Received {
            let said = word(block, 3);
            read(&self.block(block, said))
        }

        fn refused(&mut self, block: &Block, said: Signed) -> Refusal {
            match self.block(block, said) {
                Answer::Refused(refusal) => refusal,
                other => panic!("{other:?}"),
            }
        }

        /// What another connection, or another start of the authority, sees.
        fn anew(&mut self) {
            let key = agent_key(3).public_key().key_data().clone();
            self.intake = Intake::new("db1".parse().unwrap(), Some(key));
        }
    }

    fn read(answer: &Answer) -> Received {
        let Answer::Received(signed) = answer else { panic!("{answer:?}") };
        signed.read(&[given::key(5).public().key_data().clone()]).unwrap()
    }

    #[test]
    fn blocks_are_stored_in_order_and_acknowledged_under_a_signature() {
        let mut it = given();
        let blocks = it.blocks.clone();
        let mut arrivals = it.recordings.arrivals();
        for block in &blocks[..2] {
            let received = it.received(block);
            let place = arrivals.try_recv().unwrap();
            assert_eq!(place.piece, Piece::Block(block.header().number));
            assert_eq!((received.block, received.head), (block.header().number, block.hash()));
        }
        it.anew();
        // An acknowledgement was lost: the newest that is here is told, whatever came again.
        assert_eq!(it.received(&blocks[0]).block, 2);
        assert_eq!(it.received(&blocks[2]).block, 3);
        let listed = it.recordings.store.list(&"db1".parse().unwrap(), of().0).unwrap();
        assert_eq!(listed.len(), 3);
        let stored = it.recordings.store.get(&listed[1]).unwrap().unwrap();
        assert_eq!(StoredBlock::decode(&stored).unwrap().block, blocks[1]);
    }

    #[test]
    fn a_gap_a_fork_and_a_foreign_word_are_refused_and_nothing_is_stored() {
        let mut it = given();
        let blocks = it.blocks.clone();
        let gap = it.refused(&blocks[1], word(&blocks[1], 3));
        assert!(!gap.later && gap.why.contains("block 2, where block 1 belongs"), "{}", gap.why);
        assert!(it.refused(&blocks[0], word(&blocks[0], 4)).why.contains("another key"));
        assert!(it.refused(&blocks[0], word(&blocks[1], 3)).why.contains("not about this block"));
        let elsewhere = Said::Block(BlockSaid::of(&"db2".parse().unwrap(), &blocks[0]));
        assert!(!it.refused(&blocks[0], signed(&elsewhere, 3)).later);
        assert!(it.recordings.store.list(&"db1".parse().unwrap(), of().0).unwrap().is_empty());

        it.received(&blocks[0]);
        let fork = fork();
        let refused = it.refused(&fork[0], word(&fork[0], 3));
        assert!(refused.why.contains("another block is here"), "{}", refused.why);
        let refused = it.refused(&fork[1], word(&fork[1], 3));
        assert!(refused.why.contains("does not continue"), "{}", refused.why);
        assert_eq!(it.received(&blocks[1]).block, 2);
    }

    #[test]
    fn a_closing_ends_a_recording_at_the_block_that_it_names() {
        let mut it = given();
        let blocks = it.blocks.clone();
        it.received(&blocks[0]);
        let early = signed(&Said::Closed(closing(&blocks[1])), 3);
        let Some(Answer::Refused(refused)) = it.give(Brought::Closed(early)) else { panic!() };
        assert!(refused.why.contains("block 1 is the last here"), "{}", refused.why);
        let last = signed(&Said::Closed(closing(&blocks[0])), 3);
        for _ in 0..2 {
            assert!(read(&it.give(Brought::Closed(last.clone())).unwrap()).closed);
            it.anew();
        }
        let refused = it.refused(&blocks[1], word(&blocks[1], 3));
        assert!(refused.why.contains("nothing follows"), "{}", refused.why);
        let foreign = signed(&Said::Closed(closing(&blocks[0])), 4);
        let Some(Answer::Refused(refused)) = it.give(Brought::Closed(foreign)) else { panic!() };
        assert!(refused.why.contains("another key"), "{}", refused.why);
        assert_eq!(it.give(Brought::Closed(word(&blocks[0], 3))), None);
    }

    #[test]
    fn a_host_without_a_key_is_told_to_enrol_again() {
        let mut it = given();
        it.intake.agent_key = None;
        let block = it.blocks[0].clone();
        let refused = it.refused(&block, word(&block, 3));
        assert!(refused.later && refused.why.contains("enrol it again"), "{}", refused.why);
    }
}
