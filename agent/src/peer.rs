//! Who is at the other end of a unix socket, as the kernel says it, and who is sshd's monitor behind them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::kernel::Stat;
use crate::session::Monitor;

mod remote;

pub use remote::remote_of;

/// A peer: its user, and a process that is held, not only named.
#[derive(Debug)]
pub struct Peer {
    /// Its user id.
    pub uid: u32,
    /// The process, held so that its number cannot come to mean another one.
    pub process: Held,
}

/// A process that is held by a pidfd.
#[derive(Debug)]
pub struct Held {
    /// Its name: number and start.
    pub name: Monitor,
    pidfd: OwnedFd,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Peer {
    /// The peer of a connected socket.
    ///
    /// # Errors
    /// When the kernel does not say, or the process is gone.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(socket)?;
        let peer = Self { uid: credentials.uid.as_raw(), process: Held::open(credentials.pid)? };
        // Kernels before 6.5 have no SO_PEERPIDFD. The socket is still open at the other end after the process was
        // held: so it is still the process that connected, and its number has not come to mean another.
        if is_closed(socket)? { Err(io::ErrorKind::NotConnected.into()) } else { Ok(peer) }
    }

    /// The parent of the peer, held: sshd's monitor, when the peer is a command that sshd runs.
    ///
    /// # Errors
    /// When either process is gone.
    pub fn parent(&self) -> io::Result<Held> {
        let (parent, _) = lineage(self.process.name.pid)?;
        let held = Held::open(Pid::from_raw(parent).ok_or(io::ErrorKind::NotFound)?)?;
        // Still the peer's parent now that it is held: so it was its parent all along.
        if lineage(self.process.name.pid)? == (parent, self.process.name.start_ticks) {
            Ok(held)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

impl Held {
    /// Holds the process `pid`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(pid: Pid) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let pid = pid.as_raw_nonzero().get();
        let (_, start_ticks) = lineage(pid)?;
        let held = Self { name: Monitor { pid, start_ticks }, pidfd };
        if held.is_alive()? { Ok(held) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Holds the process that `name` names, if it is still that one.
    ///
    /// # Errors
    /// When it is gone.
    pub fn find(name: Monitor) -> io::Result<Self> {
        let pid = Pid::from_raw(name.pid).ok_or(io::ErrorKind::NotFound)?;
        let held = Self::open(pid)?;
        if held.name == name { Ok(held) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Whether it has not exited. A zombie has.
    fn is_alive(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut fds, Some(&at_once))? == 0)
    }

    /// The raw descriptor, for the kernel's maps.
    #[must_use]
    pub fn raw(&self) -> i32 {
        self.pidfd.as_raw_fd()
    }
}

/// Whether the other end has been closed.
fn is_closed(socket: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [found] = fds;
    Ok(found.revents().contains(PollFlags::HUP))
}

/// The parent of a process, and when it started.
fn lineage(pid: i32) -> io::Result<(i32, u64)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let number = u32::try_from(pid).map_err(io::Error::other)?;
    let stat = Stat::read(number).map_err(io::Error::other)?.ok_or_else(gone)?;
    let parent = i32::try_from(stat.ppid).map_err(io::Error::other)?;
    Ok((parent, stat.process.start_ticks()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_who_the_kernel_says() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(ours.as_fd()).unwrap();
        assert_eq!(peer.process.name.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(Held::find(peer.process.name).unwrap().name, peer.process.name);
        let parent = peer.parent().unwrap();
        assert_ne!(parent.name.pid, peer.process.name.pid);
    }

    #[test]
    fn a_peer_that_has_gone_is_nobody() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Peer::of(ours.as_fd()).is_err());
    }

    #[test]
    fn a_process_that_started_at_another_time_is_not_found() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(Held::find(Monitor { pid, start_ticks: 1 }).is_err());
    }
}
