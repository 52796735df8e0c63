//! Looking through a recording for lines: opened block by block, some at a time, and nothing of it kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::channel::ChannelId;
use wire::identifier::{HostName, SessionId};
use wire::recording::record::Record;
use wire::recording::stored::Piece;
use wire::recording::{Place, StoredBlock};
use wire::search::terminal::Within;

use super::reader::{ReadError, aside};
use super::{OpeningKeys, Store};
use crate::authority::Authority;
use crate::clock;
use crate::search::{Found, Scan, Sought};

/// Looks through recordings.
pub(crate) struct Sweep {
    store: Arc<dyn Store>,
    opening: Arc<OpeningKeys>,
    sought: Arc<Sought>,
    /// When it is enough for one page.
    until: Instant,
}

/// A recording as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its channel.
    pub(crate) channel: ChannelId,
    /// The numbers of its blocks.
    blocks: Vec<u64>,
    /// Whether its host says that nothing follows.
    closed: bool,
}

/// What there is in a recording.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Lines that fit.
    pub(crate) lines: Vec<Found>,
    /// Where to go on in it.
    pub(crate) next: Option<Within>,
    /// Whether it has more lines than were asked for.
    pub(crate) is_crowded: bool,
    /// Bytes that were looked at.
    pub(crate) bytes: u64,
    /// How long it is, when it was looked at to its end.
    pub(crate) length: Duration,
    /// What could not be looked at.
    pub(crate) flaws: Vec<String>,
}

/// A block that was opened.
struct Opened {
    number: u64,
    bytes: u64,
    records: Vec<Record>,
}

impl Sweep {
    /// Of this authority's recordings, for a page that begins now.
    pub(crate) fn of(authority: &Authority, sought: Arc<Sought>) -> Self {
        let store = Arc::clone(&authority.recordings.store);
        let until = clock::instant().checked_add(PAGE).unwrap_or_else(clock::instant);
        Self { store, opening: authority.opening(), sought, until }
    }

    /// Whether it is enough for one page.
    pub(crate) fn is_over(&self) -> bool {
        clock::instant() >= self.until
    }

    /// The recordings of a session, by their channels.
    pub(crate) async fn list(
        &self,
        host: HostName,
        session: SessionId,
    ) -> Result<Vec<Listed>, ReadError> {
        let store = Arc::clone(&self.store);
        aside(move || {
            let mut found: Vec<Listed> = Vec::new();
            for place in store.list(&host, session)? {
                if found.last().is_none_or(|last| last.channel != place.channel) {
                    found.push(Listed {
                        channel: place.channel,
                        blocks: Vec::new(),
                        closed: false,
                    });
                }
                let Some(last) = found.last_mut() else { continue };
                match place.piece {
                    Piece::Block(number) => last.blocks.push(number),
                    Piece::Closed => last.closed = true,
                }
            }
            Ok(found)
        })
        .await
    }

    /// Looks through a recording from there on, until it ends, there are so many lines, or it is enough for one page.
    pub(crate) async fn look(
        &self,
        of: (&HostName, SessionId, &Listed),
        from: Within,
        (most, wanted): (u64, usize),
    ) -> Result<Swept, ReadError> {
        let room = usize::try_from(most.saturating_sub(from.told)).unwrap_or(usize::MAX);
        let mut scan = Scan::new(Arc::clone(&self.sought), room);
        let mut swept = Swept::default();
        // What stands on the screen there was shown before.
        let begin = from.block.saturating_sub(WARM).max(1);
        if begin > 1 {
            let first = self.open(of, &[1], &mut Vec::new()).await?;
            first.iter().flat_map(|block| block.records.first()).for_each(|it| scan.begin(it));
        }
        let numbers: Vec<u64> =
            of.2.blocks.iter().copied().filter(|number| *number >= begin).collect();
        let mut expected = begin;
        let mut parts = numbers.chunks(AT_ONCE).peekable();
        while let Some(part) = parts.next() {
            for number in part {
                swept.gap(expected.max(from.block), *number);
                expected = number.saturating_add(1);
            }
            let blocks = self.open(of, part, &mut swept.flaws).await?;
            let new = blocks.iter().filter(|block| block.number >= from.block);
            swept.bytes = new.fold(swept.bytes, |sum, block| sum.saturating_add(block.bytes));
            scan = aside(move || {
                scan.take_blocks(&blocks, from.block);
                Ok(scan)
            })
            .await?;
            let is_enough = scan.lines().len() >= wanted || self.is_over();
            if scan.is_crowded() {
                break;
            }
            if is_enough && expected > from.block && parts.peek().is_some() {
                let told = u64::try_from(scan.lines().len()).unwrap_or(u64::MAX);
                let (block, told) = (expected, from.told.saturating_add(told));
                swept.next = Some(Within { block, told, ..from });
                swept.lines = scan.into_lines();
                return Ok(swept);
            }
        }
        scan.finish();
        swept.end(scan, of.2.closed);
        Ok(swept)
    }

    /// Opens blocks, each beside the others. One that cannot be opened is a flaw, and the others are opened all the same.
    async fn open(
        &self,
        (host, session, listed): (&HostName, SessionId, &Listed),
        numbers: &[u64],
        flaws: &mut Vec<String>,
    ) -> Result<Vec<Opened>, ReadError> {
        let jobs: Vec<_> = numbers
            .iter()
            .map(|number| {
                let (host, channel, piece) = (host.clone(), listed.channel, Piece::Block(*number));
                let place = Place { host, session, channel, piece };
                let (store, opening) = (Arc::clone(&self.store), Arc::clone(&self.opening));
                (*number, tokio::task::spawn_blocking(move || opened(&place, &*store, &opening)))
            })
            .collect();
        let mut blocks = Vec::new();
        for (number, job) in jobs {
            match job.await.map_err(|_cancelled| ReadError::Stopped)? {
                Ok(Some(block)) => blocks.push(block),
                // It was there a moment ago.
                Ok(None) => flaws.push(format!("block {number} is missing")),
                Err(error @ (ReadError::Store(_) | ReadError::Stopped)) => return Err(error),
                Err(error) => flaws.push(error.to_string()),
            }
        }
        Ok(blocks)
    }
}

impl Scan {
    /// Takes what passed; what stands before `from` is only to know the screen by.
    fn take_blocks(&mut self, blocks: &[Opened], from: u64) {
        for block in blocks {
            self.silence(block.number < from);
            for record in &block.records {
                if self.is_crowded() {
                    return;
                }
                self.take(record);
            }
        }
    }
}

impl Swept {
    /// Says that blocks are missing, if some are.
    fn gap(&mut self, expected: u64, found: u64) {
        match found.checked_sub(expected) {
            None | Some(0) => {}
            Some(1) => self.flaws.push(format!("block {expected} is missing")),
            Some(_) => {
                let last = found.saturating_sub(1);
                self.flaws.push(format!("blocks {expected} to {last} are missing"));
            }
        }
    }

    /// It was looked at to its end, or as far as there are lines to tell.
    fn end(&mut self, scan: Scan, closed: bool) {
        self.length = scan.length();
        self.is_crowded = scan.is_crowded();
        if scan.lost() > 0 {
            self.flaws.push(format!("{} bytes of it passed and were not kept", scan.lost()));
        }
        if !closed && !self.is_crowded {
            self.flaws.push("it goes on, and was looked at as far as it has come".to_owned());
        }
        self.lines = scan.into_lines();
    }
}

/// Waits for the store, and opens the block.
fn opened(
    place: &Place,
    store: &dyn Store,
    opening: &OpeningKeys,
) -> Result<Option<Opened>, ReadError> {
    let Piece::Block(number) = place.piece else { return Ok(None) };
    let Some(bytes) = store.get(place)? else { return Ok(None) };
    let stored = StoredBlock::decode(&bytes).map_err(|flaw| ReadError::Block { number, flaw })?;
    let records = opening.open(&stored.block).map_err(|error| ReadError::Open { number, error })?;
    let bytes = u64::from(stored.block.header().plain);
    Ok(Some(Opened { number, bytes, records }))
}

/// How long a page takes, roughly: whoever waits sees how far it is.
const PAGE: Duration = Duration::from_secs(4);
/// Blocks that are opened beside each other: a bucket takes its time for each, and a machine has some processors.
const AT_ONCE: usize = 16;
/// Blocks before a place that are taken in to know what stands on the screen there.
const WARM: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::key::derive;
    use crate::recording::store::Folder;
    use std::num::NonZeroU64;
    use wire::recording::batch::Gatherer;
    use wire::recording::block::Chain;
    use wire::recording::record::{Begin, Content, Size};
    use wire::recording::seal::Sealer;
    use wire::recording::statement::Signed;
    use wire::search::query::Query;
    use wire::time::{Timestamp, Uptime};

    /// A store with a recording of what passed at these moments, in milliseconds; and its blocks.
    fn stored(
        passed: impl Iterator<Item = (u64, Vec<u8>)>,
    ) -> (tempfile::TempDir, Sweep, HostName, Listed) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Folder::new(dir.path().join("recordings")));
        let key = derive(&[1; 32]).unwrap();
        let (host, channel): (HostName, _) = ("db1".parse().unwrap(), ChannelId::new(5));
        let at = |millis: u64| Uptime::from_nanos(millis.saturating_mul(1_000_000));
        let begin = Begin { at: NOW, size: Size { columns: 120, rows: 40 }, term: None };
        let mut gatherer = Gatherer::new(begin, at(0));
        let mut sealer = Sealer::new(Chain::new(session(), channel), key.public());
        let mut blocks = Vec::new();
        let mut keep = |gatherer: &mut Gatherer, now: Uptime| {
            while let Some(batch) = gatherer.take_due(now) {
                let block = sealer.seal(&batch).unwrap();
                let number = block.header().number;
                let said = Signed { text: "{}".into(), signature: "x".into() };
                let place = Place {
                    host: host.clone(),
                    session: session(),
                    channel,
                    piece: Piece::Block(number),
                };
                store.put(&place, &StoredBlock { block, said }.encode()).unwrap();
                blocks.push(number);
            }
        };
        let mut last = 0;
        for (millis, bytes) in passed {
            keep(&mut gatherer, at(millis));
            gatherer.push(at(millis), Content::Output(bytes));
            last = millis;
        }
        keep(&mut gatherer, at(last.saturating_add(2_000)));
        let mut opening = OpeningKeys::default();
        opening.add(key);
        let query = Query::parse("text:\"drop table\" since:1d").unwrap();
        let sought = Arc::new(Sought::of(&query, query.reach().unwrap(), NOW));
        let until = clock::instant().checked_add(Duration::from_secs(600)).unwrap();
        let sweep = Sweep { store, opening: Arc::new(opening), sought, until };
        (dir, sweep, host, Listed { channel, blocks, closed: true })
    }

    fn session() -> SessionId {
        SessionId::new(NonZeroU64::new(0xfeed).unwrap())
    }

    /// Lines as a shell, a pager and a full-screen program write them.
    fn line(number: &mut u32) -> String {
        *number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = *number % 100_000;
        match *number >> 28 {
            0..=9 => format!(
                "-rw-r--r-- 1 root root {word:>6} Dec  1 00:{:02} \x1b[01;34mrelease-{word}\x1b[0m.tar\r\n",
                word % 60
            ),
            10..=12 => format!(
                "\x1b[{};{}H\x1b[7m{word:>6}\x1b[0m {:>5}.{} S\x1b[K",
                word % 24,
                word % 60,
                word % 999,
                word % 9
            ),
            _ => format!("$ kubectl get pods -n team-{word}\x08\x08\x1b[K\r\n"),
        }
    }

    async fn looked_through(sweep: &Sweep, host: &HostName, listed: &Listed) -> (Swept, Duration) {
        let begun = clock::instant();
        let from = Within { channel: listed.channel, block: 1, told: 0 };
        let swept = sweep.look((host, session(), listed), from, (20, 500)).await.unwrap();
        (swept, clock::instant().saturating_duration_since(begun))
    }

    #[tokio::test]
    async fn what_is_in_the_last_block_of_many_is_found_with_its_moment() {
        let passed = (1..60).map(|second| {
            let text = if second == 59 { "now drop Table users\r\n" } else { "nothing\r\n" };
            (second * 1_500, text.as_bytes().to_vec())
        });
        let (_dir, sweep, host, listed) = stored(passed);
        assert!(listed.blocks.len() > AT_ONCE * 2, "{listed:?}");
        let (swept, _) = looked_through(&sweep, &host, &listed).await;
        let found: Vec<_> =
            swept.lines.iter().map(|it| (it.into.as_millis(), it.text.as_str())).collect();
        assert_eq!(found, [(59 * 1_500, "now drop Table users")]);
        assert_eq!((swept.flaws.len(), swept.next, swept.is_crowded), (0, None, false));
    }

    /// `cargo test --release … -- --ignored --nocapture`: how fast recordings are looked through, from the folder to the line.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement, for a quiet machine"]
    async fn how_fast_recordings_are_looked_through() {
        let mut number = 0;
        let mut lines =
            |count: u64| (0..count).map(|_| line(&mut number)).collect::<String>().into_bytes();
        let dense: Vec<_> = (0..16_000).map(|place| (place * 10, lines(70))).collect();
        let hour: Vec<_> = (0..3_600).map(|second| (second * 1_001, lines(3))).collect();
        for (name, passed) in [
            ("output as fast as it comes", dense),
            ("an hour in which something passes every second", hour),
        ] {
            let (_dir, sweep, host, listed) = stored(passed.into_iter());
            for round in 0..3 {
                let (swept, took) = looked_through(&sweep, &host, &listed).await;
                assert!(swept.lines.is_empty() && swept.flaws.is_empty(), "{swept:?}");
                let (bytes, millis) =
                    (swept.bytes, u64::try_from(took.as_millis()).unwrap().max(1));
                println!(
                    "round {round}, {name}: {} blocks, {} kB in {millis} ms, {} MB/s",
                    listed.blocks.len(),
                    bytes / 1_000,
                    bytes / 1_000 / millis
                );
            }
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
}
