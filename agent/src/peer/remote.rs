//! From where a process is spoken to, as the kernel knows it: the peer of its one TCP connection.
//!
//! sshd tells its principals command no address (before 9.4 it could not). The monitor holds the connection, so `/proc` says.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The peer of the first established TCP connection that the process holds; nothing when it holds none, or is gone.
#[must_use]
pub fn remote_of(pid: i32) -> Option<IpAddr> {
    let sockets = sockets(pid);
    if sockets.is_empty() {
        return None;
    }
    ["tcp", "tcp6"].into_iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        text.lines().skip(1).find_map(|line| {
            let (inode, remote) = connection(line)?;
            sockets.contains(&inode).then_some(remote)
        })
    })
}

fn sockets(pid: i32) -> Vec<u64> {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = folder.flatten().take(MAX_DESCRIPTORS);
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| inode(link.to_str()?)).collect()
}

fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode and the peer of a line of `/proc/PID/net/tcp` that is about an established connection.
fn connection(line: &str) -> Option<(u64, IpAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let (remote, state) = (fields.nth(2)?, fields.next()?);
    (state == ESTABLISHED).then_some(())?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some((inode, address(remote.split_once(':')?.0)?))
}

/// The kernel writes an address as words of 32 bits in the machine's own order.
fn address(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(address.to_canonical())
}

/// `TCP_ESTABLISHED` of `net/tcp_states.h`.
const ESTABLISHED: &str = "01";
/// sshd's monitor has about ten.
const MAX_DESCRIPTORS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_our_own_connection_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _there = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(remote_of(pid), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(remote_of(i32::MAX), None);
    }

    #[test]
    fn only_whole_lines_of_established_connections_count() {
        let line = "   1: 0202630A:0016 0102630A:D2F4 01 00000000:00000000 02:000A 00000000     0        0 12345 2 0000";
        #[cfg(target_endian = "little")]
        assert_eq!(connection(line), Some((12345, "10.99.2.1".parse().unwrap())));
        assert_eq!(connection(&line.replace(" 01 ", " 0A ")), None);
        let mapped = address("0000000000000000FFFF00000102630A");
        #[cfg(target_endian = "little")]
        assert_eq!(mapped, Some("10.99.2.1".parse().unwrap()));
        for cut in ["", "   1:", "1: x y 01", "1: 0:0 zz:1 01 a b c d e 5 x"] {
            assert_eq!(connection(cut), None);
        }
    }
}
