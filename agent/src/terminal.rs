//! Terminals: which of them sshd made for a session's client, and the session's own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use pty::passing::send;
use rustix::fs::{FileType, Uid, fchown, fstat, major, minor, stat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use wire::channel::{RECORDER_PATH, Start};

/// The number of a terminal of this host, `/dev/pts/N`; nothing for anything else, a terminal of another instance of
/// devpts among them, which a user can mount.
///
/// # Errors
/// When it cannot be looked at.
pub fn number_of(terminal: impl AsFd) -> io::Result<Option<u32>> {
    let found = fstat(terminal)?;
    let instance = stat("/dev/pts")?;
    if FileType::from_raw_mode(found.st_mode) != FileType::CharacterDevice
        || found.st_dev != instance.st_dev
        || !PTS_MAJORS.contains(&major(found.st_rdev))
    {
        return Ok(None);
    }
    let block = major(found.st_rdev).saturating_sub(*PTS_MAJORS.start());
    Ok(block.checked_mul(PTS_A_MAJOR).and_then(|base| base.checked_add(minor(found.st_rdev))))
}

/// Whether the process `pid` holds the other end of terminal `number`: sshd does for those that a client asked for. A
/// terminal that a user made would let anybody pretend to be at it.
///
/// # Errors
/// When the process cannot be looked at.
pub fn is_served_by(pid: i32, number: u32) -> io::Result<bool> {
    let folder = format!("/proc/{pid}/fdinfo");
    for entry in std::fs::read_dir(Path::new(&folder))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        if masters(&text).any(|found| found == number) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The numbers that `fdinfo` gives for the master end of a terminal.
fn masters(fdinfo: &str) -> impl Iterator<Item = u32> {
    fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix("tty-index:"))
        .filter_map(|number| number.trim().parse().ok())
}

/// Both ends of a new terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The end that is read and written by whoever shows it.
    pub own: OwnedFd,
    /// The session's end.
    pub session: OwnedFd,
    /// `/dev/pts/N`.
    pub number: u32,
}

impl Terminal {
    /// Makes a terminal that belongs to `uid`.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn make(uid: u32) -> io::Result<Self> {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&own)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let session = ioctl_tiocgptpeer(&own, flags)?;
        let name = ptsname(&own, Vec::new())?;
        let number = name.to_str().ok().and_then(|name| name.rsplit('/').next()?.parse().ok());
        let number = number.ok_or_else(|| io::Error::other("a new terminal has no number"))?;
        // Group and mode are devpts's own, as for sshd's.
        fchown(&session, Some(Uid::from_raw(uid)), None)?;
        Ok(Self { own, session, number })
    }
}

/// A connection on which a recorder waits to be told what to relay.
#[derive(Debug)]
pub struct Recorder(OwnedFd);

impl Recorder {
    /// Reaches for one. Does not wait.
    ///
    /// # Errors
    /// When nobody listens, or too many wait already.
    pub fn reach() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(RECORDER_PATH)?)?;
        Ok(Self(socket))
    }

    /// Gives it a terminal to relay: who uses it, the client's end, both ends of the session's, and the file for what is
    /// kept. What is given is kept by nobody else.
    ///
    /// # Errors
    /// When it has gone.
    pub fn begin(
        self,
        start: &Start,
        stub: impl AsFd,
        (outer, inner): (&OwnedFd, &Terminal),
        file: Option<&File>,
    ) -> Result<(), pty::passing::PassError> {
        let mut ends = vec![stub.as_fd(), outer.as_fd(), inner.own.as_fd(), inner.session.as_fd()];
        ends.extend(file.map(AsFd::as_fd));
        send(&self.0, start, &ends)
    }
}

/// `/dev/pts/N` (Documentation/admin-guide/devices.txt).
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;
/// How many terminals share a major number, since minor numbers have 20 bits.
const PTS_A_MAJOR: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_known_by_its_number_and_by_who_serves_it() {
        let terminal = Terminal::make(rustix::process::getuid().as_raw()).unwrap();
        assert_eq!(number_of(&terminal.session).unwrap(), Some(terminal.number));
        assert_eq!(number_of(&terminal.own).unwrap(), None);
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(is_served_by(me, terminal.number).unwrap());
        drop(terminal.own);
        assert!(!is_served_by(me, terminal.number).unwrap());
        assert_eq!(number_of(File::open("/dev/null").unwrap()).unwrap(), None);
    }

    #[test]
    fn only_the_masters_index_is_read() {
        let text = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\nino:\t91\ntty-index:\t12\n";
        assert_eq!(masters(text).collect::<Vec<_>>(), [12]);
        assert_eq!(masters("pos:\t0\ntty-index:\tx\n").count(), 0);
    }
}
