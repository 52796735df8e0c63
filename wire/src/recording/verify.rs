//! Whether a recording in the store is whole, in order, from its host, and all that was acknowledged; or exactly where it is
//! not.
//!
//! Pure, and without the recording key: what is checked is what the host signed, so that whoever has the objects and the
//! host's public key can do it, and whoever cannot read a recording can still say that nobody changed it.

use std::collections::BTreeSet;
use std::fmt;

use ssh_key::public::KeyData;

use crate::channel::{ChannelId, End};
use crate::identifier::{HostName, SessionId};
use crate::log::Hash;

use super::block::{Chain, ChainFlaw};
use super::statement::{BlockSaid, Closed, Said, Signed};
use super::stored::{Piece, Place, StoredBlock};

/// Takes the objects of one recording, in the order of their names.
#[derive(Debug)]
pub struct Verifier<'a> {
    host: HostName,
    keys: &'a [KeyData],
    start: Chain,
    /// After the last block that holds; nothing after one that does not, until the next that does.
    chain: Option<Chain>,
    expected: u64,
    seen: BTreeSet<u64>,
    /// The last block that holds.
    last: Option<Last>,
    closed: Option<Closed>,
    report: Report,
}

/// The last block that holds.
#[derive(Debug, Clone, Copy)]
struct Last {
    number: u64,
    head: Hash,
}

/// What is remembered of a recording elsewhere than in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// How many blocks were acknowledged to the host.
    pub blocks: u64,
    /// The hash of the last of them.
    pub head: Option<Hash>,
    /// Whether the host's last word was acknowledged as well.
    pub closed: bool,
    /// The hash of the last block by the record that the host made when the channel closed.
    pub recorded: Option<Hash>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks that hold.
    pub blocks: u64,
    /// The number of the last record in them.
    pub records: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// The hash of the last block, if all hold.
    pub head: Option<Hash>,
    /// Whether it goes on, as far as the store knows.
    pub is_open: bool,
    /// How it ended.
    pub end: Option<End>,
    /// Everything that is not as it should be, in order.
    pub findings: Vec<Finding>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Spot,
    /// What.
    pub fault: Fault,
}

/// Where something is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// In this block.
    Block(u64),
    /// From this block to that one.
    Blocks(u64, u64),
    /// In the host's last word.
    Closing,
    /// In an object of this name.
    Object(String),
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// It is no object of a recording, or of this one.
    #[error("no object of this recording")]
    Stray,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Another block of this recording, or of another, lies in its place.
    #[error("another block lies here: number {number} of channel {channel} of session {session}")]
    Moved {
        /// Its number.
        number: u64,
        /// Its channel.
        channel: ChannelId,
        /// Its session.
        session: SessionId,
    },
    /// It does not continue the block before it.
    #[error("does not continue the block before it: {0}")]
    Order(ChainFlaw),
    /// The host did not sign it.
    #[error("not what the host signed: {0}")]
    Unsigned(String),
    /// The host signed something else.
    #[error("changed: the host signed a block with another hash")]
    Changed,
    /// It is not the block that was acknowledged.
    #[error("not the block that was acknowledged to the host")]
    NotAcknowledged,
    /// It is not the block that the host recorded as its last.
    #[error("not the block that the host recorded as the last one")]
    NotRecorded,
    /// The last word names another end than the blocks have.
    #[error("names {blocks} blocks, and {found} hold")]
    OtherEnd {
        /// How many it names.
        blocks: u64,
        /// How many there are.
        found: u64,
    },
    /// Blocks were lost on the host before they could be sent.
    #[error("blocks before the end could not be read on the host any more")]
    Broken,
    /// The recorder or the host died while it wrote.
    #[error(
        "{0} bytes of an unfinished block were left on the host: its recorder or the host died"
    )]
    Torn(u64),
    /// It should not be there any more.
    #[error("is still stored, though it was deleted")]
    StillThere,
    /// A block follows one that says that nothing does.
    #[error("follows a block that says that nothing follows")]
    AfterEnd,
}

impl<'a> Verifier<'a> {
    /// Begins with a recording, whose host has or had one of these agent's keys.
    #[must_use]
    pub fn new(
        host: HostName,
        (session, channel): (SessionId, ChannelId),
        keys: &'a [KeyData],
    ) -> Self {
        let start = Chain::new(session, channel);
        Self {
            host,
            keys,
            chain: Some(start.clone()),
            start,
            expected: 1,
            seen: BTreeSet::new(),
            last: None,
            closed: None,
            report: Report::default(),
        }
    }

    /// Takes the next object.
    pub fn take(&mut self, name: &str, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.report.bytes = self.report.bytes.saturating_add(length);
        let place = name.parse::<Place>().ok().filter(|place| {
            place.host == self.host
                && place.session == self.start.session()
                && place.channel == self.start.channel()
        });
        match place.map(|place| place.piece) {
            None => self.find(Spot::Object(name.to_owned()), Fault::Stray),
            Some(Piece::Closed) => self.closing(bytes),
            Some(Piece::Block(number)) => self.block(number, bytes),
        }
    }

    fn block(&mut self, number: u64, bytes: &[u8]) {
        if number > self.expected {
            self.find(missing(self.expected, number.saturating_sub(1)), Fault::Missing);
            self.chain = None;
        }
        self.expected = number.saturating_add(1);
        self.seen.insert(number);
        match self.holds(number, bytes) {
            Ok(stored) => {
                let header = stored.block.header();
                let head = stored.block.hash();
                self.last = Some(Last { number, head });
                self.report.blocks = self.report.blocks.saturating_add(1);
                self.report.records = header.last;
                self.chain = Some(Chain::after(&stored.block));
            }
            Err(fault) => {
                self.find(Spot::Block(number), fault);
                self.chain = None;
            }
        }
    }

    /// The block, when it is this one, signed by the host, and continues the one before it as far as that is known.
    fn holds(&self, number: u64, bytes: &[u8]) -> Result<StoredBlock, Fault> {
        let stored =
            StoredBlock::decode(bytes).map_err(|flaw| Fault::Unreadable(flaw.to_string()))?;
        let header = stored.block.header();
        let is_here = (header.session, header.channel, header.number)
            == (self.start.session(), self.start.channel(), number);
        if !is_here {
            let (session, channel) = (header.session, header.channel);
            return Err(Fault::Moved { number: header.number, channel, session });
        }
        let said: Said =
            stored.said.read(self.keys).map_err(|error| Fault::Unsigned(error.to_string()))?;
        if said != Said::Block(BlockSaid::of(&self.host, &stored.block)) {
            return Err(Fault::Changed);
        }
        match &self.chain {
            Some(chain) if chain.has_ended() => Err(Fault::AfterEnd),
            Some(chain) => chain.fits(header).map(|()| stored).map_err(Fault::Order),
            None => Ok(stored),
        }
    }

    fn closing(&mut self, bytes: &[u8]) {
        let signed: Result<Signed, _> = serde_json::from_slice(bytes);
        let said = match signed {
            Ok(signed) => signed.read::<Said>(self.keys).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match said {
            Ok(Said::Closed(closed))
                if (&closed.host, closed.session, closed.channel)
                    == (&self.host, self.start.session(), self.start.channel()) =>
            {
                self.closed = Some(closed);
            }
            Ok(_) => self.find(Spot::Closing, Fault::Unsigned("it is about something else".into())),
            Err(reason) => self.find(Spot::Closing, Fault::Unsigned(reason)),
        }
    }

    /// Says what came of it, with what is known of the recording elsewhere.
    #[must_use]
    pub fn finish(mut self, known: &Known) -> Report {
        let there = self.expected.saturating_sub(1);
        match self.closed.take() {
            Some(closed) => self.judge(&closed, there),
            None if known.closed => self.find(Spot::Closing, Fault::Missing),
            None => self.report.is_open = true,
        }
        let already =
            |report: &Report, spot: &Spot| report.findings.iter().any(|one| one.at == *spot);
        let cut = missing(self.expected, known.blocks);
        if known.blocks > there && !already(&self.report, &cut) {
            self.find(cut, Fault::Missing);
        }
        let at_last = self.last.filter(|last| last.number == known.blocks);
        if let (Some(last), Some(head)) = (at_last, known.head)
            && last.head != head
        {
            self.find(Spot::Block(last.number), Fault::NotAcknowledged);
        }
        match (self.last, known.recorded) {
            (Some(last), Some(recorded)) if last.head != recorded => {
                self.find(Spot::Block(last.number), Fault::NotRecorded);
            }
            (None, Some(_)) if self.report.findings.is_empty() => {
                self.find(Spot::Block(1), Fault::Missing);
            }
            _ => {}
        }
        self.report.head =
            self.last.map(|last| last.head).filter(|_| self.report.findings.is_empty());
        self.report
    }

    fn judge(&mut self, closed: &Closed, there: u64) {
        self.report.end = closed.end;
        if closed.blocks > there {
            self.find(missing(there.saturating_add(1), closed.blocks), Fault::Missing);
        } else {
            let head = self.last.map_or_else(|| self.start.head(), |last| last.head);
            let is_same = closed.blocks == there && closed.head == head;
            // Where the last block does not hold, that is said already.
            let is_known = self.last.map_or(0, |last| last.number) == there;
            if is_known && !is_same {
                let (blocks, found) = (closed.blocks, there);
                self.find(Spot::Closing, Fault::OtherEnd { blocks, found });
            }
        }
        if closed.broken {
            self.find(Spot::Closing, Fault::Broken);
        }
        if closed.torn > 0 {
            self.find(Spot::Closing, Fault::Torn(closed.torn));
        }
    }

    fn find(&mut self, at: Spot, fault: Fault) {
        self.report.findings.push(Finding { at, fault });
    }
}

const fn missing(from: u64, to: u64) -> Spot {
    if from >= to { Spot::Block(to) } else { Spot::Blocks(from, to) }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(number) => write!(f, "block {number}"),
            Self::Blocks(from, to) => write!(f, "blocks {from} to {to}"),
            Self::Closing => f.write_str("the host's last word"),
            Self::Object(name) => write!(f, "object {name:?}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.fault)
    }
}

#[cfg(test)]
#[cfg(feature = "recording")]
mod tests {
    use super::*;
    use crate::VERSION;
    use crate::recording::batch::Gatherer;
    use crate::recording::block::Block;
    use crate::recording::record::{Begin, Content, Size};
    use crate::recording::seal::{OpeningKey, Sealer};
    use crate::time::{Timestamp, Uptime};
    use ssh_key::private::Ed25519Keypair;
    use ssh_key::{PrivateKey, Signature, SigningKey};

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn signed(said: &Said, seed: u8) -> Signed {
        let key = key(seed);
        Signed::make(said, key.public_key(), |message| raw(&key, message)).unwrap()
    }

    fn host() -> HostName {
        "db1".parse().unwrap()
    }

    fn session() -> SessionId {
        "00000000000000a1".parse().unwrap()
    }

    const CHANNEL: ChannelId = ChannelId::new(5);

    /// A recording of so many blocks.
    fn blocks(count: u64) -> Vec<Block> {
        let at = |millis: u64| Uptime::from_nanos(millis.saturating_mul(1_000_000));
        let begin =
            Begin { at: Timestamp::from_secs(9), size: Size { columns: 80, rows: 24 }, term: None };
        let mut gatherer = Gatherer::new(begin, at(0));
        let public = OpeningKey::new(&[9; 32]).unwrap().public();
        let mut sealer = Sealer::new(Chain::new(session(), CHANNEL), public);
        let mut made = Vec::new();
        for number in 1..=count {
            let (now, later) =
                (number.saturating_mul(2_000), number.saturating_mul(2_000).saturating_add(1_500));
            gatherer.push(at(now), Content::Output(format!("line {number}").into()));
            if number == count {
                gatherer.push(at(now), Content::End(End::Exited));
            }
            made.push(sealer.seal(&gatherer.take_due(at(later)).unwrap()).unwrap());
        }
        made
    }

    fn name(piece: Piece) -> String {
        Place { host: host(), session: session(), channel: CHANNEL, piece }.to_string()
    }

    fn object(block: &Block, seed: u8) -> Vec<u8> {
        let said = signed(&Said::Block(BlockSaid::of(&host(), block)), seed);
        StoredBlock { block: block.clone(), said }.encode()
    }

    fn closing(blocks: &[Block]) -> Closed {
        Closed {
            version: VERSION,
            host: host(),
            session: session(),
            channel: CHANNEL,
            blocks: u64::try_from(blocks.len()).unwrap(),
            head: blocks.last().unwrap().hash(),
            end: None,
            torn: 0,
            broken: false,
        }
    }

    /// The objects of a recording as they lie in the store.
    fn store(count: u64) -> (Vec<(String, Vec<u8>)>, Known) {
        let blocks = blocks(count);
        let numbered = (1..).zip(&blocks);
        let mut objects: Vec<_> = numbered
            .map(|(number, block)| (name(Piece::Block(number)), object(block, 1)))
            .collect();
        let closed = signed(&Said::Closed(closing(&blocks)), 1);
        objects.push((name(Piece::Closed), serde_json::to_vec(&closed).unwrap()));
        let head = Some(blocks.last().unwrap().hash());
        (objects, Known { blocks: count, head, closed: true, recorded: head })
    }

    fn report(objects: &[(String, Vec<u8>)], known: &Known) -> Report {
        let keys = [key(3), key(1)].map(|key| key.public_key().key_data().clone());
        let mut verifier = Verifier::new(host(), (session(), CHANNEL), &keys);
        for (name, bytes) in objects {
            verifier.take(name, bytes);
        }
        verifier.finish(known)
    }

    fn found(objects: &[(String, Vec<u8>)], known: &Known) -> Vec<String> {
        report(objects, known).findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_recording_that_nobody_touched_holds() {
        let (objects, known) = store(4);
        let report = report(&objects, &known);
        assert_eq!(
            (report.findings.as_slice(), report.blocks, report.is_open),
            ([].as_slice(), 4, false)
        );
        assert_eq!(report.head, known.head);
    }

    #[test]
    fn one_that_goes_on_is_open_and_no_fault() {
        let (mut objects, mut known) = store(4);
        objects.pop();
        (known.closed, known.recorded) = (false, None);
        let report = report(&objects, &known);
        assert!(report.is_open && report.findings.is_empty(), "{report:?}");
    }

    #[test]
    fn every_byte_that_is_changed_is_found_in_its_block() {
        let (objects, known) = store(3);
        for (place, (_, bytes)) in objects.iter().enumerate() {
            let step = bytes.len().div_ceil(60).max(1);
            for at in (0..bytes.len()).step_by(step) {
                let mut changed = objects.clone();
                changed[place].1[at] ^= 0x04;
                let found = report(&changed, &known).findings;
                let Some(first) = found.first() else { panic!("object {place}, byte {at}") };
                let spot = match place {
                    3 => Spot::Closing,
                    block => Spot::Block(u64::try_from(block).unwrap().saturating_add(1)),
                };
                assert_eq!(first.at, spot, "object {place}, byte {at}: {found:?}");
            }
        }
    }

    #[test]
    fn what_is_cut_out_or_off_is_named() {
        let (objects, known) = store(5);
        let without = |gone: &[usize]| {
            let kept = objects.iter().enumerate().filter(|(at, _)| !gone.contains(at));
            kept.map(|(_, object)| object.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&without(&[1]), &known), ["block 2: missing"]);
        assert_eq!(found(&without(&[1, 2]), &known), ["blocks 2 to 3: missing"]);
        assert_eq!(found(&without(&[0]), &known), ["block 1: missing"]);
        let last = "block 4: not the block that the host recorded as the last one";
        assert_eq!(found(&without(&[4]), &known), ["block 5: missing", last]);
        assert_eq!(found(&without(&[5]), &known), ["the host's last word: missing"]);
        let last = "block 3: not the block that the host recorded as the last one";
        let end = "the host's last word: missing";
        assert_eq!(found(&without(&[3, 4, 5]), &known), [end, "blocks 4 to 5: missing", last]);
        // Also where nothing is remembered but what the host recorded.
        let little = Known { recorded: known.recorded, ..Known::default() };
        assert_eq!(found(&without(&[3, 4, 5]), &little), [last]);
        assert_eq!(found(&[], &little), ["block 1: missing"]);
        assert_eq!(found(&[], &known), ["the host's last word: missing", "blocks 1 to 5: missing"]);
    }

    #[test]
    fn what_is_reordered_repeated_or_from_elsewhere_is_named() {
        let (objects, known) = store(4);
        let mut swapped = objects.clone();
        let second = swapped[1].1.clone();
        swapped[1].1 = swapped[2].1.clone();
        swapped[2].1 = second.clone();
        let said = found(&swapped, &known);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("block 2: another block lies here: number 3"), "{said:?}");
        assert!(said[1].starts_with("block 3: another block lies here: number 2"), "{said:?}");
        let mut repeated = objects.clone();
        repeated[3].1 = second;
        assert!(found(&repeated, &known)[0].starts_with("block 4: another block lies here"));
        let mut more = objects.clone();
        more.push(("db1/00000000000000a1/0000000000000006/0000000001.block".into(), Vec::new()));
        assert_eq!(found(&more, &known).len(), 1, "{:?}", found(&more, &known));
    }

    #[test]
    fn another_recording_under_the_same_name_is_found_whoever_signed_it() {
        let (objects, known) = store(3);
        // Whoever has the host's key later makes another recording in the place of this one.
        let (other, _) = store(3);
        let said = found(&other, &known);
        assert_eq!(
            said,
            [
                "block 3: not the block that was acknowledged to the host",
                "block 3: not the block that the host recorded as the last one"
            ]
        );
        let mut mixed = objects.clone();
        mixed[1] = other[1].clone();
        assert!(
            found(&mixed, &known)[0].starts_with("block 2: does not continue"),
            "{:?}",
            found(&mixed, &known)
        );
        let foreign: Vec<_> = (1..)
            .zip(blocks(1))
            .map(|(number, block)| (name(Piece::Block(number)), object(&block, 2)))
            .collect();
        assert!(
            found(&foreign, &Known::default())[0].starts_with("block 1: not what the host signed")
        );
    }

    #[test]
    fn what_the_host_says_of_its_end_is_held_against_the_blocks() {
        let (mut objects, known) = store(2);
        let all = blocks(2);
        let mut closed = closing(&all);
        closed.torn = 7;
        closed.broken = true;
        objects[2].1 = serde_json::to_vec(&signed(&Said::Closed(closed.clone()), 1)).unwrap();
        let said = found(&objects, &known);
        // These are other blocks than those of `all`: each seal has a key of its own.
        assert!(said.iter().any(|one| one.contains("names 2 blocks, and 2 hold")), "{said:?}");
        assert!(said.iter().any(|one| one.contains("7 bytes of an unfinished block")), "{said:?}");
        assert!(said.iter().any(|one| one.contains("could not be read on the host")), "{said:?}");
        closed.channel = ChannelId::new(6);
        objects[2].1 = serde_json::to_vec(&signed(&Said::Closed(closed), 1)).unwrap();
        assert!(found(&objects, &known)[0].contains("about something else"));
    }
}
