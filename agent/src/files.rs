//! Which files are written, as the kernel tells it to whoever reads the group that `curfew-files` made.
//!
//! What is told names a process by its number alone, and has no number of its own: whose process it was is found by the
//! loop, and what the kernel could not keep is known to be missing and not how much it was. The loop reads it itself, so that
//! what a session did last is recorded before its end; a thread asks for the group and waits for its maker.
//!
//! Source: `fanotify(7)`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use files::{Ask, VERSION, Watching};
use nix::errno::Errno;
use nix::sys::fanotify::{Fanotify, FanotifyEvent, MaskFlags};
use pty::passing::{Inbox, PassError, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;
use wire::record::FileDeed;

/// What the thread brings.
#[derive(Debug)]
pub enum Word {
    /// Files are watched from now on; this is where the kernel tells of them.
    Watching(Group, Watching),
    /// They are not, and why; it goes on asking.
    Blind(String),
    /// Whoever made the group has gone: it goes on telling of what is watched, and no file system that comes now is.
    MakerGone,
}

/// Where the kernel tells of files.
#[derive(Debug)]
pub struct Group(Fanotify);

/// A file that a process touched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    /// The process, by the number that it had.
    pub pid: u32,
    /// What it did.
    pub deed: FileDeed,
    /// The file, from the root of the namespace in which it was opened.
    pub path: Vec<u8>,
    /// Its inode.
    pub inode: u64,
    /// The device that it lies on.
    pub device: u64,
    /// Whether it has no name any more.
    pub nameless: bool,
}

/// What was there to be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Each file with how often it was touched by the same process in the same way, in the order of the first time.
    pub touched: Vec<(Touched, u64)>,
    /// Whether the kernel could not keep all that it saw.
    pub overflowed: bool,
    /// Whether there may be more, for which nobody will be woken.
    pub more: bool,
}

/// Asks for a group in a thread of its own, again and again, for as long as anybody takes what it brings.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    run_dir: &Path,
    sensitive: Vec<PathBuf>,
    desk: mpsc::UnboundedSender<Word>,
) -> io::Result<()> {
    let socket = run_dir.join(files::SOCKET);
    let ask = Ask { version: VERSION, sensitive };
    let mut asking = Asking { socket, ask, desk, said: None };
    let run = move || while asking.turn().is_ok() {};
    std::thread::Builder::new().name("files".into()).spawn(run).map(drop)
}

struct Asking {
    socket: PathBuf,
    ask: Ask,
    desk: mpsc::UnboundedSender<Word>,
    /// The trouble that was told of last, so that it is told once.
    said: Option<String>,
}

/// Nobody is left to tell.
struct Over;

impl Asking {
    /// Asks once, and waits until it is time to ask again.
    fn turn(&mut self) -> Result<(), Over> {
        match begin(&self.socket, &self.ask) {
            Ok((watching, Some(group), maker)) => {
                self.said = None;
                self.tell(Word::Watching(group, watching))?;
                wait_for_end(&maker);
                self.tell(Word::MakerGone)?;
            }
            Ok((watching, None, _)) => {
                let why = watching.trouble.unwrap_or_else(|| "curfew-files gives nothing".into());
                self.blind(why)?;
            }
            Err(error) => self.blind(format!("curfew-files does not answer: {error}"))?,
        }
        pause();
        Ok(())
    }

    fn blind(&mut self, why: String) -> Result<(), Over> {
        if self.said.as_ref() == Some(&why) {
            return if self.desk.is_closed() { Err(Over) } else { Ok(()) };
        }
        self.said = Some(why.clone());
        self.tell(Word::Blind(why))
    }

    fn tell(&self, word: Word) -> Result<(), Over> {
        self.desk.send(word).map_err(|_nobody| Over)
    }
}

/// Waits until it is time to ask again.
fn pause() {
    let pause = Timespec::try_from(AGAIN).ok();
    if let Err(error) = poll(&mut [], pause.as_ref())
        && error != rustix::io::Errno::INTR
    {
        tracing::error!(%error, "cannot wait before curfew-files is asked again");
    }
}

/// Asks `curfew-files` for a group.
fn begin(socket: &Path, ask: &Ask) -> Result<(Watching, Option<Group>, UnixStream), PassError> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    send(&stream, ask, &[])?;
    let mut inbox = Inbox::default();
    let watching: Watching = inbox.wait(&stream)?;
    let group = inbox.descriptors().pop().filter(|_| watching.trouble.is_none()).map(Group::of);
    Ok((watching, group, stream))
}

/// The maker says nothing more: when there is something, it is its end.
fn wait_for_end(maker: &UnixStream) {
    loop {
        match poll(&mut [PollFd::new(maker, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "cannot wait for curfew-files");
                return;
            }
            Ok(_) => return,
        }
    }
}

impl Group {
    #[expect(unsafe_code, reason = "nix makes a group of a descriptor only that way")]
    fn of(descriptor: OwnedFd) -> Self {
        // SAFETY: the number is that of an open descriptor which is owned here, and is given up with this.
        Self(unsafe { Fanotify::from_raw_fd(descriptor.into_raw_fd()) })
    }

    /// Another descriptor of the same, to wait on.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn to_wait_on(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// What is there now, up to a limit: [`Read::more`] says whether it was reached.
    ///
    /// # Errors
    /// When the kernel tells nothing any more.
    pub fn read(&self) -> Result<Read, Errno> {
        read(&self.0)
    }
}

fn read(group: &Fanotify) -> Result<Read, Errno> {
    let mut order: BTreeMap<Touched, (usize, u64)> = BTreeMap::new();
    let mut overflowed = false;
    let mut more = true;
    for _ in 0..MAX_READS {
        let events = match group.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN) => {
                more = false;
                break;
            }
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        };
        for event in &events {
            overflowed |= event.mask().contains(MaskFlags::FAN_Q_OVERFLOW);
            for touched in touched(event) {
                let place = order.len();
                let (_, times) = order.entry(touched).or_insert((place, 0));
                *times = times.saturating_add(1);
            }
        }
    }
    let mut all: Vec<_> = order.into_iter().collect();
    all.sort_by_key(|(_, (place, _))| *place);
    let touched = all.into_iter().map(|(touched, (_, times))| (touched, times)).collect();
    Ok(Read { touched, overflowed, more })
}

/// What one event says; one that names no file, or a process outside, says nothing.
fn touched(event: &FanotifyEvent) -> Vec<Touched> {
    let Some(descriptor) = event.fd() else { return Vec::new() };
    let Ok(pid) = u32::try_from(event.pid()) else { return Vec::new() };
    if pid == 0 || pid == std::process::id() {
        return Vec::new();
    }
    let Some((path, stat)) = name(descriptor) else { return Vec::new() };
    let deeds =
        [(MaskFlags::FAN_CLOSE_WRITE, FileDeed::Written), (MaskFlags::FAN_OPEN, FileDeed::Opened)];
    let nameless = stat.st_nlink == 0;
    deeds
        .into_iter()
        .filter(|(flag, _)| event.mask().contains(*flag))
        .map(|(_, deed)| Touched {
            pid,
            deed,
            path: path.clone(),
            inode: stat.st_ino,
            device: stat.st_dev,
            nameless,
        })
        .collect()
}

/// The name that the kernel gives a file, and what it is.
fn name(descriptor: BorrowedFd<'_>) -> Option<(Vec<u8>, rustix::fs::Stat)> {
    let stat = rustix::fs::fstat(descriptor).ok()?;
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let mut path = std::fs::read_link(link).ok()?.into_os_string().into_vec();
    if stat.st_nlink == 0
        && let Some(plain) = path.strip_suffix(DELETED)
    {
        path.truncate(plain.len());
    }
    Some((path, stat))
}

/// What the kernel writes behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";
/// How soon `curfew-files` is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Reads of up to 170 events each that are taken together, so that nobody who writes many files keeps others waiting.
const MAX_READS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_that_is_not_there_is_told_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, mut told) = mpsc::unbounded_channel();
        let ask = Ask { version: VERSION, sensitive: Vec::new() };
        let socket = folder.path().join(files::SOCKET);
        let mut asking = Asking { socket, ask, desk, said: None };
        assert!(asking.turn().is_ok() && asking.turn().is_ok());
        assert!(matches!(told.try_recv(), Ok(Word::Blind(why)) if why.contains("does not answer")));
        assert!(told.try_recv().is_err());
        drop(told);
        assert!(asking.turn().is_err(), "nobody is left to tell");
    }

    #[test]
    fn a_file_is_named_as_it_is_called_and_one_without_a_name_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept (deleted)");
        std::fs::write(&path, b"x").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let bytes = path.clone().into_os_string().into_vec();
        let (named, stat) = name(file.as_fd()).unwrap();
        assert_eq!((named, stat.st_nlink), (bytes.clone(), 1));
        std::fs::remove_file(&path).unwrap();
        let (named, stat) = name(file.as_fd()).unwrap();
        assert_eq!((named, stat.st_nlink), (bytes, 0));
    }
}
