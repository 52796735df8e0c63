//! Keeps what passes a terminal: gathers it on the relay's own thread, and on another compresses, encrypts and writes it, so
//! that a disk that is slow is not felt at once at the keyboard.
//!
//! Blocks go to a file that the agent opened and handed over. It holds blocks and nothing else: what could not be written
//! whole is cut off again. What is not kept is counted where it passed, and told in the recording as soon as there is room.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::fstatvfs;
use wire::channel::{ChannelId, End, Keep, Kept};
use wire::identifier::SessionId;
use wire::recording::batch::{Batch, Gatherer};
use wire::recording::block::{Block, Chain};
use wire::recording::record::{Begin, Content, Lost, Size, Term, Why};
use wire::recording::seal::Sealer;
use wire::time::{Timestamp, Uptime};

use crate::clock::now;
use crate::veil::{Echo, Veil};

/// What is kept of one channel.
#[derive(Debug)]
pub struct Tape {
    gatherer: Gatherer,
    veil: Veil,
    batches: SyncSender<Batch>,
    /// A batch that nobody takes now, because there is no room.
    waiting: Option<Batch>,
    /// Batches that were taken.
    handed: u64,
    state: Arc<State>,
    thread: JoinHandle<Kept>,
    /// Not kept since this began.
    lost: Option<Lost>,
    /// All that was not kept.
    lost_bytes: u64,
    required: bool,
}

/// What both threads know.
#[derive(Debug, Default)]
struct State {
    /// Bytes that the file holds.
    written: AtomicU64,
    /// Batches that the thread is done with.
    done: AtomicU64,
    /// Why there is no room, while there is none.
    full: Mutex<Option<Why>>,
    /// The agent's word that what need not be kept is not to be.
    held: AtomicBool,
    /// The channel is over: what cannot be written now is not waited for.
    over: AtomicBool,
}

/// How a recording begins.
#[derive(Debug)]
pub struct Beginning {
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// The terminal's size.
    pub size: Size,
    /// What the client calls its terminal.
    pub term: Option<Term>,
    /// The wall clock.
    pub at: Timestamp,
}

impl Tape {
    /// Begins to keep, in `file`, which is empty.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin(begin: &Beginning, keep: &Keep, file: OwnedFd) -> io::Result<Self> {
        let (at, size, term) = (begin.at, begin.size, begin.term.clone());
        let gatherer = Gatherer::new(Begin { at, size, term }, now());
        let state = Arc::new(State::default());
        let (batches, came) = sync_channel(WAITING);
        let writer = Writer {
            file: File::from(file),
            sealer: Sealer::new(Chain::new(begin.session, begin.channel), keep.key),
            keep: keep.clone(),
            state: Arc::clone(&state),
            synced: now(),
            dirty: false,
            given_up: false,
        };
        let thread = std::thread::Builder::new()
            .name("recording".into())
            .spawn(move || writer.run(&came))?;
        let (veil, required) = (Veil::default(), keep.required);
        Ok(Self {
            gatherer,
            veil,
            batches,
            waiting: None,
            handed: 0,
            state,
            thread,
            lost: None,
            lost_bytes: 0,
            required,
        })
    }

    /// Bytes that the file holds.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.state.written.load(Ordering::Relaxed)
    }

    /// Heeds the agent: whether what need not be kept is not to be.
    pub fn hold(&self, held: bool) {
        self.state.held.store(held, Ordering::Relaxed);
    }

    /// Whether the channel must end, because it must be kept and cannot be.
    #[must_use]
    pub fn must_end(&self) -> bool {
        self.required && (self.full().is_some() || self.thread.is_finished())
    }

    /// Takes input as it passes.
    pub fn input(&mut self, bytes: &[u8], echo: Echo, at: Uptime) {
        if self.no_room(0, bytes.len()) {
            return;
        }
        let (veil, gatherer) = (&mut self.veil, &mut self.gatherer);
        veil.input(bytes, echo, at, &mut |at, content| gatherer.push(at, content));
        self.hand_over(at);
    }

    /// Takes output as it passes.
    pub fn output(&mut self, bytes: &[u8], at: Uptime) {
        if self.no_room(bytes.len(), 0) {
            return;
        }
        let (veil, gatherer) = (&mut self.veil, &mut self.gatherer);
        veil.output(bytes, at, &mut |at, content| gatherer.push(at, content));
        gatherer.push(at, Content::Output(bytes.to_vec()));
        self.hand_over(at);
    }

    /// The terminal has another size.
    pub fn resized(&mut self, size: Size, at: Uptime) {
        let (veil, gatherer) = (&mut self.veil, &mut self.gatherer);
        veil.settle(&mut |at, content| gatherer.push(at, content));
        gatherer.push(at, Content::Size(size));
        self.hand_over(at);
    }

    /// Time passed: a block may be old enough, and what nothing answered is told of.
    pub fn look(&mut self, at: Uptime) {
        let (veil, gatherer) = (&mut self.veil, &mut self.gatherer);
        veil.look(at, &mut |at, content| gatherer.push(at, content));
        self.hand_over(at);
    }

    /// How long until [`Tape::look`] must be called; nothing when there is no need to.
    #[must_use]
    pub fn due(&self, at: Uptime) -> Option<Duration> {
        // Whatever the thread is at must be heard of, though nothing passes the terminal meanwhile.
        let busy = self.waiting.is_some() || self.handed != self.state.done.load(Ordering::Relaxed);
        let due = self.gatherer.due().map(|due| due.since(at));
        [due, busy.then_some(AGAIN), self.veil.is_open().then_some(OPEN)]
            .into_iter()
            .flatten()
            .min()
    }

    /// The channel is over. Waits for the disk, a moment; says what was kept.
    #[must_use]
    pub fn end(mut self, end: End, at: Uptime) -> Option<Kept> {
        let (veil, gatherer) = (&mut self.veil, &mut self.gatherer);
        veil.settle(&mut |at, content| gatherer.push(at, content));
        self.tell_lost(at);
        self.gatherer.push(at, Content::End(end));
        // From here on the thread waits for no room, so that these come to their end.
        self.state.over.store(true, Ordering::Relaxed);
        for batch in self.waiting.take().into_iter().chain(self.gatherer.take_due(at)) {
            // A thread that has died says so below.
            drop(self.batches.send(batch));
        }
        drop(self.batches);
        let mut kept = self.thread.join().ok()?;
        kept.lost = kept.lost.saturating_add(self.lost_bytes);
        Some(kept)
    }

    fn full(&self) -> Option<Why> {
        *self.state.full.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no room for what passes; then it is counted.
    fn no_room(&mut self, output: usize, input: usize) -> bool {
        let held = self.state.held.load(Ordering::Relaxed) && !self.required;
        let why = self.full().or(held.then_some(Why::Quota));
        let Some(why) = why.or_else(|| self.waiting.as_ref().map(|_| Why::Disk)) else {
            self.tell_lost(now());
            return false;
        };
        let (output, input) = (count(output), count(input));
        let lost = self.lost.get_or_insert(Lost { output: 0, input: 0, why });
        lost.output = lost.output.saturating_add(output);
        lost.input = lost.input.saturating_add(input);
        self.lost_bytes = self.lost_bytes.saturating_add(output).saturating_add(input);
        true
    }

    fn tell_lost(&mut self, at: Uptime) {
        if let Some(lost) = self.lost.take() {
            self.gatherer.push(at, Content::Loss(lost));
        }
    }

    /// Hands over what is due. While the disk is slow this waits, and so does the terminal; while there is no room it does
    /// not.
    fn hand_over(&mut self, at: Uptime) {
        if self.waiting.is_none() {
            self.waiting = self.gatherer.take_due(at);
        }
        while let Some(batch) = self.waiting.take() {
            match self.batches.try_send(batch) {
                Ok(()) => self.handed = self.handed.saturating_add(1),
                Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                    self.waiting = Some(batch);
                    if self.full().is_some() || self.thread.is_finished() {
                        return;
                    }
                    std::thread::park_timeout(SLOW);
                }
            }
        }
    }
}

/// Writes blocks, on a thread of its own.
struct Writer {
    file: File,
    sealer: Sealer,
    keep: Keep,
    state: Arc<State>,
    synced: Uptime,
    dirty: bool,
    /// Whether a batch was given up: those after it would not continue.
    given_up: bool,
}

impl Writer {
    /// Until the channel is over; says what was kept.
    fn run(mut self, came: &Receiver<Batch>) -> Kept {
        let mut lost: u64 = 0;
        loop {
            match came.recv_timeout(SYNC) {
                Ok(batch) => {
                    if self.given_up || !self.write(&batch) {
                        self.given_up = true;
                        lost = lost.saturating_add(batch.passed);
                    }
                    self.state.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.sync();
        }
        self.synced = Uptime::from_nanos(0);
        self.sync();
        let chain = self.sealer.chain();
        let bytes = self.state.written.load(Ordering::Relaxed);
        Kept { blocks: chain.blocks(), bytes, head: chain.head(), lost }
    }

    /// Closes a batch and writes the block; tried again until there is room, or the channel is over.
    fn write(&mut self, batch: &Batch) -> bool {
        let before = self.sealer.chain().clone();
        let Ok(block) = self.sealer.seal(batch) else {
            self.say(Some(Why::Seal));
            return false;
        };
        loop {
            match self.try_write(&block) {
                Ok(()) => {
                    self.say(None);
                    return true;
                }
                Err(why) => self.say(Some(why)),
            }
            if self.state.over.load(Ordering::Relaxed) {
                // The block never was: the recording ends before it.
                self.sealer = Sealer::new(before, self.keep.key);
                return false;
            }
            std::thread::park_timeout(AGAIN);
        }
    }

    fn try_write(&mut self, block: &Block) -> Result<(), Why> {
        let (at, more) = (self.state.written.load(Ordering::Relaxed), count(block.bytes().len()));
        let length = at.saturating_add(more);
        let free = fstatvfs(&self.file).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        let reserve = if self.keep.required { self.keep.reserve / 4 } else { self.keep.reserve };
        let room = free.map_err(|_odd| Why::Disk)?.saturating_sub(more) >= reserve;
        if length > self.keep.quota || !room {
            return Err(Why::Quota);
        }
        let written = self.file.seek(SeekFrom::Start(at));
        let written = written.and_then(|_| self.file.write_all(block.bytes()));
        if written.is_err() {
            // Whatever part was written does not stay; where that fails too, the next block goes over it.
            drop(self.file.set_len(at));
            return Err(Why::Disk);
        }
        self.state.written.store(length, Ordering::Relaxed);
        self.dirty = true;
        Ok(())
    }

    /// Brings blocks to the disk, at most once a second.
    fn sync(&mut self) {
        let now = now();
        if self.dirty && now.since(self.synced) >= SYNC {
            // One that cannot be synced is noticed by the next write.
            self.dirty = self.file.sync_data().is_err();
            self.synced = now;
        }
    }

    fn say(&self, why: Option<Why>) {
        *self.state.full.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Batches that may wait for the disk.
const WAITING: usize = 4;
/// How often at most blocks are brought to the disk.
const SYNC: Duration = Duration::from_secs(1);
/// How soon a batch is handed over again to a thread that is busy.
const SLOW: Duration = Duration::from_millis(1);
/// How soon a write is tried again for which there was no room.
const AGAIN: Duration = Duration::from_millis(250);
/// How soon what is typed is looked at again that nothing has answered yet.
const OPEN: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use wire::recording::record::Record;
    use wire::recording::seal::OpeningKey;

    fn opening() -> OpeningKey {
        OpeningKey::new(&[9; 32]).unwrap()
    }

    fn keep(quota: u64, required: bool) -> Keep {
        Keep { key: opening().public(), quota, reserve: 0, required, term: None }
    }

    fn begin(keep: &Keep, file: &File) -> Tape {
        let beginning = Beginning {
            session: SessionId::new(NonZeroU64::new(7).unwrap()),
            channel: ChannelId::new(8),
            size: Size { columns: 80, rows: 24 },
            term: Term::new("xterm"),
            at: Timestamp::from_secs(1),
        };
        Tape::begin(&beginning, keep, file.try_clone().unwrap().into()).unwrap()
    }

    /// Everything that the file holds: whole blocks that continue each other, and nothing else.
    fn records(file: &mut File) -> (Vec<Record>, Chain) {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        io::Read::read_to_end(file, &mut bytes).unwrap();
        let mut chain = Chain::new(SessionId::new(NonZeroU64::new(7).unwrap()), ChannelId::new(8));
        let (mut rest, mut records) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let header = wire::recording::block::Header::decode(rest).unwrap();
            let (block, left) = rest.split_at(header.block_bytes());
            let block = Block::parse(block.to_vec()).unwrap();
            chain.take(&block).unwrap();
            records.extend(opening().open(&block).unwrap());
            rest = left;
        }
        (records, chain)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state: u32 = 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_passes_is_kept_in_order_and_to_the_last_byte() {
        let mut file = tempfile::tempfile().unwrap();
        let mut tape = begin(&keep(u64::MAX, true), &file);
        let sent = noise(3_000_000);
        for chunk in sent.chunks(50_000) {
            tape.output(chunk, now());
        }
        tape.input(b"ls\r", Echo::Terminal, now());
        tape.resized(Size { columns: 100, rows: 30 }, now());
        let kept = tape.end(End::Exited, now()).unwrap();
        let (records, chain) = records(&mut file);
        assert_eq!((kept.blocks, kept.head, kept.lost), (chain.blocks(), chain.head(), 0));
        assert!(chain.has_ended() && chain.blocks() > 5);
        let output: Vec<u8> = records
            .iter()
            .filter_map(|record| match &record.content {
                Content::Output(bytes) => Some(bytes.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert!(output == sent);
        assert!(records.iter().any(|record| record.content == Content::Input(b"ls\r".to_vec())));
    }

    #[test]
    fn what_has_no_room_is_counted_and_the_rest_is_whole() {
        let mut file = tempfile::tempfile().unwrap();
        let mut tape = begin(&keep(700_000, false), &file);
        let sent = noise(3_000_000);
        for chunk in sent.chunks(50_000) {
            tape.output(chunk, now());
        }
        let kept = tape.end(End::Exited, now()).unwrap();
        let (records, chain) = records(&mut file);
        assert_eq!((kept.blocks, kept.head), (chain.blocks(), chain.head()));
        let output: usize = records
            .iter()
            .map(|record| match &record.content {
                Content::Output(bytes) => bytes.len(),
                _ => 0,
            })
            .sum();
        assert!(output > 0 && kept.bytes <= 700_000);
        assert!(count(output) + kept.lost >= 3_000_000, "{output} {}", kept.lost);
    }

    #[test]
    fn what_the_agent_holds_is_a_loss_at_its_place() {
        let mut file = tempfile::tempfile().unwrap();
        let mut tape = begin(&keep(u64::MAX, false), &file);
        tape.output(b"before", now());
        tape.hold(true);
        tape.output(b"12345", now());
        tape.input(b"678", Echo::Terminal, now());
        tape.hold(false);
        tape.output(b"after", now());
        let kept = tape.end(End::HungUp, now()).unwrap();
        let contents: Vec<Content> =
            records(&mut file).0.into_iter().map(|record| record.content).collect();
        let lost = Lost { output: 5, input: 3, why: Why::Quota };
        assert_eq!(
            contents[1..],
            [
                Content::Output(b"before".to_vec()),
                Content::Loss(lost),
                Content::Output(b"after".to_vec()),
                Content::End(End::HungUp),
            ]
        );
        assert_eq!(kept.lost, 8);
    }

    #[test]
    fn what_must_be_kept_and_cannot_be_ends_the_channel() {
        let file = tempfile::tempfile().unwrap();
        let mut tape = begin(&keep(1_000, true), &file);
        tape.hold(true);
        assert!(!tape.must_end());
        tape.output(&noise(400_000), now());
        let began = now();
        while !tape.must_end() {
            assert!(now().since(began) < Duration::from_secs(20));
            std::thread::yield_now();
        }
        assert!(tape.end(End::Unkept, now()).unwrap().lost > 0);
    }
}
