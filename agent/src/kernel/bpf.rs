//! The full tier: sessions by tag, in the kernel, with every fork, exec and exit.
//!
//! The programs are `bpf/session.bpf.c`. Everything that must outlive the agent is pinned
//! (`bpf/pins.rs`): while the agent is away, tags spread, counts are kept and events wait in the ring.
//!
//! Who can change this: root on the host, by name in bpffs. They can blind or free a session; the
//! authority sees that it went silent.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use libbpf_rs::{Iter, MapCore as _, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::io::Errno;

use self::pins::{Links, Maps, Pins};
use super::chunk::Chunks;
use super::event::{self, DecodeError, Event};
use super::process::{self, Stat};
use super::{Kernel, KernelError, Losses, Process, Tag, Tier};

mod pins;

/// Sessions known by tag.
#[derive(Debug)]
pub struct Bpf {
    tier: Tier,
    maps: Maps,
    links: Links,
    events: Ring<Event>,
    payload: Ring<OwnedChunk>,
    chunks: Chunks,
    undecoded: u64,
    pins: Pins,
}

impl Bpf {
    /// Loads the programs, takes over what an earlier agent left in `pin_dir`, and attaches.
    ///
    /// Programs of an earlier agent act until these are attached: no fork goes untagged, no event
    /// is missed and none is counted twice.
    ///
    /// # Errors
    /// The kernel cannot do it, another agent holds `pin_dir`, or it has another layout. Nothing
    /// that was running before is touched then.
    pub fn open(pin_dir: &Path) -> Result<Self, KernelError> {
        Self::load(pin_dir, Storage::Works)
    }

    /// As [`Bpf::open`], but as if no task storage could be made at fork: for tests of the table
    /// that takes its place.
    ///
    /// # Errors
    /// As [`Bpf::open`].
    #[doc(hidden)]
    pub fn open_without_storage(pin_dir: &Path) -> Result<Self, KernelError> {
        Self::load(pin_dir, Storage::Fails)
    }

    fn load(pin_dir: &Path, storage: Storage) -> Result<Self, KernelError> {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Info, log)));
        let pins = Pins::hold(pin_dir)?;
        let (maps, links) = pins.attach(storage)?;
        let events = Ring::open(&maps.events, "open the ring of events", event::decode)?;
        let payload = Ring::open(&maps.payload, "open the ring of arguments", OwnedChunk::decode)?;
        Ok(Self {
            tier: Tier::Full,
            maps,
            links,
            events,
            payload,
            chunks: Chunks::default(),
            undecoded: 0,
            pins,
        })
    }

    /// All live members of all sessions; also settles strays.
    fn list(&self) -> Result<Vec<event::Member>, KernelError> {
        let action = "list the tagged tasks";
        let mut iter = Iter::new(&self.links.lister).map_err(bpf(action))?;
        let mut output = Vec::new();
        iter.read_to_end(&mut output).map_err(|error| bpf(action)(error.into()))?;
        Ok(event::decode_members(&output)?)
    }

    fn mark_of(&self, pidfd: BorrowedFd<'_>) -> Result<Option<Tag>, KernelError> {
        let key = pidfd.as_raw_fd().to_ne_bytes();
        let mark =
            self.maps.tags.lookup(&key, MapFlags::ANY).map_err(bpf("look up a process's tag"))?;
        let Some(mark) = mark else { return Ok(None) };
        let tag = mark.first_chunk().ok_or(KernelError::Missing("mark"))?;
        Ok(Tag::new(u64::from_ne_bytes(*tag)))
    }

    fn session(&self, tag: Tag) -> Result<Option<Row>, KernelError> {
        let row = self
            .maps
            .sessions
            .lookup(&key_of(tag), MapFlags::ANY)
            .map_err(bpf("look up a session"))?;
        row.map(|row| Row::decode(&row)).transpose()
    }
}

impl Kernel for Bpf {
    fn tier(&self) -> &Tier {
        &self.tier
    }

    fn begin(&mut self, tag: Tag, monitor: BorrowedFd<'_>) -> Result<(), KernelError> {
        match self.tag_of(monitor)? {
            Some(known) if known == tag => return Ok(()),
            Some(other) => return Err(KernelError::AlreadyTagged(other)),
            None => {}
        }
        let pid = process::pid_of(monitor)?;
        let threads = Stat::read(pid)?.ok_or(KernelError::Gone)?.threads;
        if threads != 1 {
            return Err(KernelError::Threads { pid, threads });
        }
        // The row first: a tag without a row could fork before it is counted.
        match self.maps.sessions.update(&key_of(tag), &Row::new().encode(), MapFlags::NO_EXIST) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::AlreadyExists => {
                return Err(KernelError::TagInUse(tag));
            }
            other => other.map_err(bpf("make a session"))?,
        }
        let tagged =
            self.maps.tags.update(&monitor.as_raw_fd().to_ne_bytes(), &mark(tag), MapFlags::ANY);
        if let Err(error) = tagged {
            self.maps.sessions.delete(&key_of(tag)).map_err(bpf("undo a session"))?;
            return match error.kind() {
                libbpf_rs::ErrorKind::NotFound => Err(KernelError::Gone),
                _ => Err(bpf("tag the monitor")(error)),
            };
        }
        Ok(())
    }

    fn mark_ending(&mut self, tag: Tag) -> Result<(), KernelError> {
        if self.session(tag)?.is_none() {
            return Err(KernelError::Unknown(tag));
        }
        self.maps
            .ending
            .update(&key_of(tag), &1_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(bpf("mark a session as ending"))
    }

    fn members(&self, tag: Tag) -> Result<Vec<Process>, KernelError> {
        // One entry per thread, all under the number of their process.
        let mut members = BTreeMap::new();
        for member in self.list()? {
            if member.tag == tag && member.process.pid() != 0 {
                members.insert(member.process.pid(), member.process);
            }
        }
        Ok(members.into_values().collect())
    }

    fn hold(&self, tag: Tag, member: &Process) -> Result<Option<OwnedFd>, KernelError> {
        let Some(pidfd) = member.open_unchecked()? else { return Ok(None) };
        Ok((self.tag_of(pidfd.as_fd())? == Some(tag)).then_some(pidfd))
    }

    fn live(&self, tag: Tag) -> Result<u32, KernelError> {
        self.session(tag)?.map(|row| row.live).ok_or(KernelError::Unknown(tag))
    }

    fn tag_of(&self, pidfd: BorrowedFd<'_>) -> Result<Option<Tag>, KernelError> {
        if let Some(tag) = self.mark_of(pidfd)? {
            return Ok(Some(tag));
        }
        if self.maps.control(pins::STRAYS)? == 0 {
            return Ok(None);
        }
        self.list()?;
        self.mark_of(pidfd)
    }

    fn forget(&mut self, tag: Tag) -> Result<(), KernelError> {
        match self.session(tag)? {
            None => {}
            Some(Row { live: 0, .. }) => {
                self.maps.sessions.delete(&key_of(tag)).map_err(bpf("remove a session"))?;
            }
            Some(Row { live, .. }) => return Err(KernelError::Alive { tag, live }),
        }
        self.chunks.forget(tag);
        match self.maps.ending.delete(&key_of(tag)) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(()),
            other => other.map_err(bpf("remove the mark of an ended session")),
        }
    }

    fn hand(&mut self, loginuid: u32, tag: Tag, open: bool) -> Result<(), KernelError> {
        if open && self.session(tag)?.is_none() {
            let row = Row { live: 0, ..Row::new() };
            let made = self.maps.sessions.update(&key_of(tag), &row.encode(), MapFlags::NO_EXIST);
            made.map_err(bpf("make a group of handed work"))?;
        }
        let mut value = tag.number().to_ne_bytes().to_vec();
        value.extend(u32::from(open).to_ne_bytes());
        value.extend([0; 4]);
        let key = loginuid.to_ne_bytes();
        let kept = self.maps.handed.update(&key, &value, MapFlags::ANY);
        kept.map_err(bpf("say whose work is handed to daemons"))
    }

    fn handed(&self) -> Result<Vec<(u32, Tag)>, KernelError> {
        let mut handed = Vec::new();
        for key in self.maps.handed.keys() {
            let value = self.maps.handed.lookup(&key, MapFlags::ANY);
            let value = value.map_err(bpf("look up whose work is handed to daemons"))?;
            let uid = key.first_chunk().map(|key| u32::from_ne_bytes(*key));
            let tag = value.as_ref().and_then(|value| value.first_chunk());
            let tag = tag.and_then(|tag| Tag::new(u64::from_ne_bytes(*tag)));
            handed.extend(uid.zip(tag));
        }
        Ok(handed)
    }

    fn unhand(&mut self, loginuid: u32) -> Result<(), KernelError> {
        match self.maps.handed.delete(&loginuid.to_ne_bytes()) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(()),
            other => other.map_err(bpf("forget whose work is handed to daemons")),
        }
    }

    fn known(&self) -> Result<Vec<(Tag, u32)>, KernelError> {
        let mut known = Vec::new();
        for key in self.maps.sessions.keys() {
            let number = key.first_chunk().map(|key| u64::from_ne_bytes(*key));
            let tag = number.and_then(Tag::new).ok_or(KernelError::Missing("tag of a session"))?;
            if let Some(row) = self.session(tag)? {
                known.push((tag, row.live));
            }
        }
        known.sort_unstable();
        Ok(known)
    }

    fn drain(&mut self, out: &mut Vec<Event>) -> Result<(), KernelError> {
        let start = out.len();
        // Events before arguments: what belongs to an event was written before it.
        let (events, undecoded) = self.events.take(MAX_EVENTS)?;
        out.extend(events);
        self.undecoded = self.undecoded.saturating_add(undecoded);
        let (chunks, undecoded) = self.payload.take(MAX_CHUNKS)?;
        self.undecoded = self.undecoded.saturating_add(undecoded);
        for chunk in &chunks {
            self.chunks.keep(&chunk.borrow());
        }
        let fresh = out.get_mut(start..).unwrap_or_default();
        for event in fresh.iter_mut() {
            self.chunks.complete(event);
        }
        fresh.sort_by_key(|event| (event.tag, event.seq));
        Ok(())
    }

    fn losses(&self, tag: Tag) -> Result<Losses, KernelError> {
        let row = self.session(tag)?.ok_or(KernelError::Unknown(tag))?;
        Ok(Losses { events: row.lost_events, chunks: row.lost_chunks, undecoded: self.undecoded })
    }

    fn remember(&mut self, tag: Tag) -> Result<u32, KernelError> {
        let tasks = self.list()?.iter().filter(|member| member.tag == tag).count();
        let live = u32::try_from(tasks).unwrap_or(u32::MAX);
        if live > 0 {
            let row = Row { live, ..Row::new() };
            let made = self.maps.sessions.update(&key_of(tag), &row.encode(), MapFlags::NO_EXIST);
            made.map_err(bpf("make a session again"))?;
        }
        Ok(live)
    }

    fn trouble(&self) -> Option<String> {
        self.pins.trouble(self.links.generation)
    }

    fn readiness(&self) -> Option<RawFd> {
        // An event follows all of its arguments: one ring wakes for both.
        Some(self.events.ring.epoll_fd())
    }
}

/// Whether a fork can give the child its tag in the ordinary place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    Works,
    Fails,
}

/// One ring, and what its callback decoded.
struct Ring<T> {
    ring: RingBuffer<'static>,
    decoded: Receiver<Result<T, DecodeError>>,
}

impl<T> std::fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Ring<T> {
    fn open(
        map: &MapHandle,
        action: &'static str,
        decode: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Self, KernelError> {
        let (sender, decoded): (Sender<Result<T, DecodeError>>, _) = channel();
        let mut builder = RingBufferBuilder::new();
        builder
            .add(map, move |record| match sender.send(decode(record)) {
                Ok(()) => 0,
                Err(_) => Errno::PIPE.raw_os_error().saturating_neg(),
            })
            .map_err(bpf(action))?;
        let ring = builder.build().map_err(bpf(action))?;
        Ok(Self { ring, decoded })
    }

    /// At most `count` records, and how many of them could not be decoded.
    fn take(&self, count: usize) -> Result<(Vec<T>, u64), KernelError> {
        let taken = self.ring.consume_raw_n(count);
        if taken < 0 {
            let error = libbpf_rs::Error::from_raw_os_error(taken.saturating_neg());
            return Err(bpf("read a ring")(error));
        }
        let mut records = Vec::new();
        let mut undecoded = 0_u64;
        for decoded in self.decoded.try_iter() {
            match decoded {
                Ok(record) => records.push(record),
                Err(error) => {
                    undecoded = undecoded.saturating_add(1);
                    tracing::error!(%error, "a kernel record was dropped");
                }
            }
        }
        Ok((records, undecoded))
    }
}

/// A piece of arguments, copied out of the ring.
#[derive(Debug)]
struct OwnedChunk {
    tag: Tag,
    seq: u64,
    offset: u32,
    bytes: Vec<u8>,
}

impl OwnedChunk {
    fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let event::Chunk { tag, seq, offset, bytes } = event::decode_chunk(record)?;
        Ok(Self { tag, seq, offset, bytes: bytes.to_vec() })
    }

    fn borrow(&self) -> event::Chunk<'_> {
        event::Chunk { tag: self.tag, seq: self.seq, offset: self.offset, bytes: &self.bytes }
    }
}

/// A value of the map `sessions`: `struct session`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    lost_events: u64,
    lost_chunks: u64,
    live: u32,
}

impl Row {
    fn new() -> Self {
        Self { lost_events: 0, lost_chunks: 0, live: 1 }
    }

    /// Numbering starts at 0.
    fn encode(self) -> Vec<u8> {
        let mut row = 0_u64.to_ne_bytes().to_vec();
        row.extend(self.lost_events.to_ne_bytes());
        row.extend(self.lost_chunks.to_ne_bytes());
        row.extend(self.live.to_ne_bytes());
        row.extend([0; 4]);
        row
    }

    fn decode(row: &[u8]) -> Result<Self, KernelError> {
        let field = |at: usize| row.get(at..).and_then(<[u8]>::first_chunk::<8>).copied();
        let live = row.get(24..).and_then(<[u8]>::first_chunk::<4>).copied();
        let (Some(events), Some(chunks), Some(live)) = (field(8), field(16), live) else {
            return Err(DecodeError::Length(row.len()).into());
        };
        Ok(Self {
            lost_events: u64::from_ne_bytes(events),
            lost_chunks: u64::from_ne_bytes(chunks),
            live: u32::from_ne_bytes(live),
        })
    }
}

/// A value of the map `tags`: `struct mark`.
fn mark(tag: Tag) -> [u8; 24] {
    let mut mark = [0; 24];
    if let Some(start) = mark.first_chunk_mut() {
        *start = tag.number().to_ne_bytes();
    }
    mark
}

fn key_of(tag: Tag) -> [u8; 8] {
    tag.number().to_ne_bytes()
}

fn bpf(action: &'static str) -> impl Fn(libbpf_rs::Error) -> KernelError {
    move |source| KernelError::Bpf { action, source }
}

/// libbpf's own words; the refusal itself comes back as an error and is told there.
fn log(level: libbpf_rs::PrintLevel, message: String) {
    let message = message.trim_end();
    match level {
        libbpf_rs::PrintLevel::Warn => tracing::warn!(message, "libbpf"),
        libbpf_rs::PrintLevel::Info | libbpf_rs::PrintLevel::Debug => {
            tracing::debug!(message, "libbpf");
        }
    }
}

/// Events taken by one drain: more than two full rings of execs.
const MAX_EVENTS: usize = 8192;
/// More pieces of 4 KiB than the second ring, of 1 MiB, can hold.
const MAX_CHUNKS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_marks_are_as_long_as_the_c_structs() {
        let row = Row { lost_events: 3, lost_chunks: 4, live: 5 };
        assert_eq!(row.encode().len(), 32);
        assert_eq!(Row::decode(&row.encode()).unwrap(), row);
        assert!(Row::decode(&[0; 27]).is_err());
        assert_eq!(mark(Tag::new(7).unwrap()).first_chunk(), Some(&7_u64.to_ne_bytes()));
    }
}
