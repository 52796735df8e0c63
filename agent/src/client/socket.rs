//! What the kernel counts of a TCP connection.
//!
//! `unsafe` because no wrapper that we use asks for `TCP_INFO` as far as the counts of bytes, nor for the queue's length.
#![expect(unsafe_code, reason = "two calls of the kernel that fill a buffer of ours")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::libc;

/// Bytes of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Written to it, whether or not they have left.
    pub(super) written: u64,
    /// Received on it, whether or not they were read.
    pub(super) received: u64,
}

impl Counts {
    /// Both together.
    pub(super) const fn with(self, other: Self) -> Self {
        Self {
            written: self.written.saturating_add(other.written),
            received: self.received.saturating_add(other.received),
        }
    }
}

/// What the other end has acknowledged, and what was received (`tcpi_bytes_acked` and `tcpi_bytes_received` of
/// `linux/tcp.h`, at the same place since Linux 4.1).
///
/// # Errors
/// When it is no TCP socket, no connection, or the kernel does not count.
pub(super) fn acknowledged(socket: BorrowedFd<'_>) -> io::Result<Counts> {
    let mut info = [0_u8; RECEIVED_AT + 8];
    let mut length = libc::socklen_t::try_from(info.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is that long, and the length it wrote to
    // `length`; both live until the call is over. The descriptor is borrowed for as long.
    let said = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if said != 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::try_from(length).map_err(io::Error::other)? < info.len() || is_listener(&info) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Counts { written: number(&info, ACKED_AT), received: number(&info, RECEIVED_AT) })
}

/// Bytes that are written and not acknowledged (`SIOCOUTQ`, `tcp(7)`).
///
/// # Errors
/// When the socket has no such queue.
pub(super) fn queued(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int to where its argument points, which lives until the
    // call is over. The descriptor is borrowed for as long.
    let said = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if said != 0 {
        return Err(io::Error::last_os_error());
    }
    u64::try_from(bytes).map_err(io::Error::other)
}

fn is_listener(info: &[u8]) -> bool {
    info.first() == Some(&TCP_LISTEN)
}

fn number(info: &[u8], at: usize) -> u64 {
    let bytes = info.get(at..at.saturating_add(8)).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

const ACKED_AT: usize = 120;
const RECEIVED_AT: usize = 128;
/// `TCP_LISTEN` of `net/tcp_states.h`.
const TCP_LISTEN: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn every_byte_is_counted_on_both_sides() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let before = (acknowledged(here.as_fd()).unwrap(), acknowledged(there.as_fd()).unwrap());
        here.write_all(&[7; 70_001]).unwrap();
        there.read_exact(&mut [0; 70_001]).unwrap();
        let written = || {
            let counts = acknowledged(here.as_fd()).unwrap();
            counts.written + queued(here.as_fd()).unwrap()
        };
        assert_eq!(written() - before.0.written, 70_001);
        let received = acknowledged(there.as_fd()).unwrap().received;
        assert_eq!(received - before.1.received, 70_001);
    }

    #[test]
    fn what_is_no_connection_has_no_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(acknowledged(listener.as_fd()).is_err());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(acknowledged(one.as_fd()).is_err());
    }
}
