//! Recordings of terminals on the host's disk, from the moment a recorder writes them until the authority has them.
//!
//! A folder of its own with a file a channel, which the agent opens and a recorder writes; beside it a small file that says
//! how far the authority has it. Blocks are encrypted as they are written: nobody on this host reads them again. What the
//! authority has is given back to the file system while the channel lives, and removed with it. A file that is not what was
//! written is moved aside, once, and no other waits for it.
//!
//! Who can change this: root on the host. Gains: removes what the authority does not have yet, or puts something else in
//! its place, which does not continue what the authority has; reads nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use serde::{Deserialize, Serialize};
use wire::channel::{ChannelId, End};
use wire::identifier::SessionId;
use wire::recording::MAX_BLOCK;
use wire::recording::block::{Block, Chain, HEADER_BYTES, Header};
use wire::recording::statement::Received;

use crate::store::{self, StoreError};

/// Which recording.
pub type Of = (SessionId, ChannelId);

/// The folder.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
}

/// One recording on it.
#[derive(Debug)]
pub struct Reel {
    of: Of,
    path: PathBuf,
    file: File,
    /// As far as the authority has it.
    has: Chain,
    /// Where the block after that begins.
    offset: u64,
    /// Where the last block that it has begins.
    last: u64,
    /// How far that is written down.
    noted: u64,
    /// Whether the channel is over, and why, where its last record may not say it.
    ended: Option<Option<End>>,
}

/// What follows what the authority has.
#[derive(Debug)]
pub enum Next {
    /// A block.
    Block(Block),
    /// Nothing yet.
    Nothing,
    /// So many bytes of a block that is not whole: it is being written, or never will be.
    Torn(u64),
    /// Something that was not written by a recorder, or not there.
    Broken(String),
}

/// How far the authority has a recording, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    version: u32,
    /// Where the last block that it has begins, and ends; 0 for none.
    last: u64,
    offset: u64,
    /// Whether the channel is over.
    #[serde(default)]
    ended: Option<Option<End>>,
}

impl Shelf {
    /// The folder in this state folder, which is made if it is not there, and what lies in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(state_dir: &Path) -> Result<(Self, Vec<Reel>), StoreError> {
        let folder = state_dir.join("recordings");
        let failed = |source| StoreError::Io { path: folder.clone(), source };
        make(&folder).and_then(|()| make(&folder.join(ASIDE))).map_err(failed)?;
        let this = Self { folder: folder.clone() };
        let mut reels = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(of) = of_name(&path) else { continue };
            match Reel::reopen(of, &path) {
                Ok(reel) => reels.push(reel),
                Err(error) => {
                    tracing::error!(%error, "a recording cannot be taken up again; it is moved aside");
                    this.move_aside(&path);
                }
            }
        }
        Ok((this, reels))
    }

    /// A new recording, and its file for the recorder.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    pub fn begin(&self, of: Of) -> Result<(Reel, File), StoreError> {
        let path = self.folder.join(format!("{}-{}{RECORDING}", of.0, of.1));
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        let for_recorder = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        let has = Chain::new(of.0, of.1);
        let reel = Reel { of, path, file, has, offset: 0, last: 0, noted: 0, ended: None };
        Ok((reel, for_recorder))
    }

    /// Bytes that lie here, moved aside included.
    #[must_use]
    pub fn used(&self) -> u64 {
        let size = |folder: &Path| -> u64 {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let blocks = entries.filter_map(|entry| entry.metadata().ok());
            blocks.map(|found| found.blocks().saturating_mul(512)).sum()
        };
        size(&self.folder).saturating_add(size(&self.folder.join(ASIDE)))
    }

    /// Bytes that the file system has free for whoever is not root, and its size.
    ///
    /// # Errors
    /// When it does not say.
    pub fn free(&self) -> io::Result<(u64, u64)> {
        let found = fstatvfs(File::open(&self.folder)?.as_fd())?;
        let bytes = |count: u64| count.saturating_mul(found.f_frsize);
        Ok((bytes(found.f_bavail), bytes(found.f_blocks)))
    }

    /// Removes a recording that the authority has to its end.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, reel: &Reel) -> Result<(), StoreError> {
        store::remove(&reel.path)?;
        store::remove(&note_path(&reel.path))
    }

    /// Moves a recording aside that the authority does not take; the oldest of many goes.
    pub fn set_aside(&self, reel: &Reel) {
        self.move_aside(&reel.path);
    }

    fn move_aside(&self, path: &Path) {
        let folder = self.folder.join(ASIDE);
        let to = folder.join(path.file_name().unwrap_or_default());
        if let Err(error) = fs::rename(path, &to).and_then(|()| trim(&folder)) {
            tracing::error!(path = %path.display(), %error, "a recording could not be moved aside");
        }
        if let Err(error) = store::remove(&note_path(path)) {
            tracing::error!(%error, "a note on a recording that was moved aside stays");
        }
    }
}

impl Reel {
    fn reopen(of: Of, path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { path: path.into(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let note = match store::read::<Note>(&note_path(path)) {
            Err(error) if error.is_absent() => Note { version: 1, last: 0, offset: 0, ended: None },
            read => read?,
        };
        let Note { last, offset, ended, .. } = note;
        let mut has = Chain::new(of.0, of.1);
        if offset > 0 {
            let length = usize::try_from(offset.saturating_sub(last)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(MAX_BLOCK)];
            file.read_exact_at(&mut bytes, last).map_err(failed)?;
            let block = Block::parse(bytes).map_err(|flaw| failed(io::Error::other(flaw)))?;
            has = Chain::after(&block);
        }
        Ok(Self { of, path: path.into(), file, has, offset, last, noted: offset, ended })
    }

    /// Which recording it is.
    #[must_use]
    pub const fn of(&self) -> Of {
        self.of
    }

    /// As far as the authority has it.
    #[must_use]
    pub const fn has(&self) -> &Chain {
        &self.has
    }

    /// Whether the channel is over, and why.
    #[must_use]
    pub const fn ended(&self) -> Option<Option<End>> {
        self.ended
    }

    /// The channel is over; nothing more is written. What was known before stays.
    pub fn end(&mut self, end: Option<End>) {
        if self.ended.is_none() {
            self.ended = Some(end);
            self.write_down();
        }
    }

    /// What follows what the authority has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next(&self) -> io::Result<Next> {
        self.read_at(self.offset, &self.has)
    }

    fn read_at(&self, offset: u64, chain: &Chain) -> io::Result<Next> {
        let left = self.file.metadata()?.len().saturating_sub(offset);
        if left == 0 {
            return Ok(Next::Nothing);
        }
        let mut head = [0; HEADER_BYTES];
        if left < bytes(HEADER_BYTES) {
            return Ok(Next::Torn(left));
        }
        self.file.read_exact_at(&mut head, offset)?;
        let header = match Header::decode(&head) {
            Ok(header) => header,
            Err(flaw) => return Ok(Next::Broken(flaw.to_string())),
        };
        if let Err(flaw) = chain.fits(&header) {
            return Ok(Next::Broken(flaw.to_string()));
        }
        let length = header.block_bytes();
        if left < bytes(length) {
            return Ok(Next::Torn(left));
        }
        let mut whole = vec![0; length];
        self.file.read_exact_at(&mut whole, offset)?;
        Ok(Block::parse(whole).map_or_else(|flaw| Next::Broken(flaw.to_string()), Next::Block))
    }

    /// The authority has it up to this block, which it names by its hash. Blocks whose acknowledgements were lost are
    /// passed over. What it has is given back to the file system from time to time.
    ///
    /// # Errors
    /// When what it has is not what is here.
    pub fn received(&mut self, received: &Received) -> Result<(), String> {
        let (mut chain, mut offset, mut last) = (self.has.clone(), self.offset, self.last);
        while chain.blocks() < received.block {
            match self.read_at(offset, &chain).map_err(|error| error.to_string())? {
                Next::Block(block) => {
                    last = offset;
                    offset = offset.saturating_add(bytes(block.bytes().len()));
                    chain = Chain::after(&block);
                }
                Next::Broken(why) => return Err(why),
                Next::Nothing | Next::Torn(_) => {
                    return Err("the authority has more of it than is here".into());
                }
            }
        }
        if chain.blocks() == received.block && chain.head() != received.head {
            return Err("the authority has another block than the one that is here".into());
        }
        (self.has, self.offset, self.last) = (chain, offset, last);
        if self.offset.saturating_sub(self.noted) >= NOTED_EVERY {
            self.write_down();
        }
        Ok(())
    }

    /// Writes down how far the authority has it, and gives back what it has.
    pub fn write_down(&mut self) {
        let note = Note { version: 1, last: self.last, offset: self.offset, ended: self.ended };
        if let Err(error) = store::write(&note_path(&self.path), &note) {
            tracing::error!(%error, "how far the authority has a recording could not be written down");
            return;
        }
        self.noted = self.offset;
        // The last block stays: from it the next start goes on. A file system that gives nothing back keeps all.
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.last > 0
            && let Err(error) = fallocate(&self.file, punch, 0, self.last)
        {
            tracing::debug!(%error, "the file system gives nothing back of a recording");
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes the oldest of what was moved aside, beyond [`MAX_ASIDE`].
fn trim(folder: &Path) -> io::Result<()> {
    let mut aside = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        aside.push((entry.metadata()?.mtime(), entry.path()));
    }
    aside.sort();
    let more = aside.len().saturating_sub(MAX_ASIDE);
    aside.into_iter().take(more).try_for_each(|(_, path)| fs::remove_file(path))
}

fn of_name(path: &Path) -> Option<Of> {
    let name = path.file_name()?.to_str()?.strip_suffix(RECORDING)?;
    let (session, channel) = name.split_once('-')?;
    let number = u64::from_str_radix(channel, 16).ok().filter(|_| channel.len() == 16)?;
    Some((session.parse().ok()?, ChannelId::new(number)))
}

fn note_path(path: &Path) -> PathBuf {
    path.with_extension("note")
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const RECORDING: &str = ".recording";
/// The folder of what the authority does not take.
const ASIDE: &str = "aside";
/// Most recordings that are kept there.
const MAX_ASIDE: usize = 8;
/// How often it is written down how far the authority has a recording, in bytes.
const NOTED_EVERY: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::num::NonZeroU64;
    use wire::recording::batch::Gatherer;
    use wire::recording::record::{Begin, Content, Size};
    use wire::recording::seal::{OpeningKey, Sealer};
    use wire::time::{Timestamp, Uptime};

    fn of() -> Of {
        (SessionId::new(NonZeroU64::new(7).unwrap()), ChannelId::new(8))
    }

    fn blocks(count: u64) -> Vec<Block> {
        let begin = Begin { at: Timestamp::from_secs(1), size: Size::default(), term: None };
        let at = |secs: u64| Uptime::from_nanos(secs.saturating_mul(1_000_000_000));
        let mut gatherer = Gatherer::new(begin, at(0));
        let key = OpeningKey::new(&[9; 32]).unwrap().public();
        let mut sealer = Sealer::new(Chain::new(of().0, of().1), key);
        (0..count)
            .map(|number| {
                gatherer.push(at(number), Content::Output(vec![1; 100]));
                sealer.seal(&gatherer.take_due(at(number.saturating_add(1))).unwrap()).unwrap()
            })
            .collect()
    }

    /// Another recording of the same channel.
    fn fork() -> Vec<Block> {
        blocks(1)
    }

    fn received(block: &Block) -> Received {
        Received {
            version: 1,
            host: "db1".parse().unwrap(),
            session: of().0,
            channel: of().1,
            block: block.header().number,
            last: block.header().last,
            head: block.hash(),
            closed: false,
            at: Timestamp::from_secs(2),
        }
    }

    fn next(reel: &Reel) -> Block {
        match reel.next().unwrap() {
            Next::Block(block) => block,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_recording_is_taken_up_where_the_authority_has_it() {
        let state = tempfile::tempdir().unwrap();
        let (shelf, found) = Shelf::open(state.path()).unwrap();
        assert!(found.is_empty());
        let blocks = blocks(4);
        let (mut reel, mut file) = shelf.begin(of()).unwrap();
        assert!(matches!(reel.next().unwrap(), Next::Nothing));
        assert!(shelf.begin(of()).is_err());
        for block in &blocks[..3] {
            file.write_all(block.bytes()).unwrap();
        }
        assert_eq!(next(&reel), blocks[0]);
        // The word on the first was lost.
        reel.received(&received(&blocks[1])).unwrap();
        assert_eq!(next(&reel), blocks[2]);
        reel.received(&received(&blocks[0])).unwrap();
        assert_eq!(next(&reel), blocks[2]);
        reel.write_down();

        let (shelf, mut found) = Shelf::open(state.path()).unwrap();
        let mut reel = found.pop().unwrap();
        assert_eq!((reel.of(), reel.has().blocks(), reel.ended()), (of(), 2, None));
        assert_eq!(next(&reel), blocks[2]);
        file.write_all(&blocks[3].bytes()[..50]).unwrap();
        reel.received(&received(&blocks[2])).unwrap();
        assert!(matches!(reel.next().unwrap(), Next::Torn(50)));
        reel.end(Some(End::Lost));
        let (_, mut found) = Shelf::open(state.path()).unwrap();
        assert_eq!(found.pop().unwrap().ended(), Some(Some(End::Lost)));
        assert!(shelf.used() > 0);
        shelf.remove(&reel).unwrap();
        assert!(Shelf::open(state.path()).unwrap().1.is_empty());
    }

    #[test]
    fn what_was_changed_is_found_and_moved_aside() {
        let state = tempfile::tempdir().unwrap();
        let (shelf, _) = Shelf::open(state.path()).unwrap();
        let blocks = blocks(3);
        let (mut reel, file) = shelf.begin(of()).unwrap();
        let whole: Vec<u8> = blocks.iter().flat_map(|block| block.bytes().to_vec()).collect();
        file.write_all_at(&whole, 0).unwrap();
        let other = received(&fork()[0]);
        assert!(reel.received(&other).unwrap_err().contains("another block"));
        assert!(reel.received(&Received { block: 9, ..other }).unwrap_err().contains("more of it"));
        // A block that was cut out.
        let first = blocks[0].bytes().len();
        let cut = [&whole[..first], blocks[2].bytes()].concat();
        file.set_len(0).unwrap();
        file.write_all_at(&cut, 0).unwrap();
        reel.received(&received(&blocks[0])).unwrap();
        let Next::Broken(why) = reel.next().unwrap() else { panic!() };
        assert!(why.contains("block 3, where block 2 belongs"), "{why}");
        file.write_all_at(b"XXXX", bytes(first)).unwrap();
        assert!(matches!(reel.next().unwrap(), Next::Broken(_)));
        reel.write_down();
        shelf.set_aside(&reel);
        let (_, found) = Shelf::open(state.path()).unwrap();
        assert!(found.is_empty());
        assert_eq!(fs::read_dir(state.path().join("recordings/aside")).unwrap().count(), 1);
    }
}
