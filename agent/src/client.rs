//! What sshd's own accounts show of a session's client: how much it wrote into channels and read from them, and what runs
//! in them.
//!
//! sshd's process for a connection does nothing but carry bytes between one TCP connection and the session's channels.
//! What it wrote in all (`/proc/PID/io`), less what it wrote to the connection (`TCP_INFO` and the socket's queue), is
//! what it wrote into channels: the client's payload, to the byte. Keepalives, rekeying and window changes write nothing
//! there, and what the host puts out goes the other way. Connections that it forwards are TCP sockets too, with counts of
//! their own, and are taken out; what goes through a unix socket (a forwarded agent) is not told apart, nor is a forwarded
//! connection that began and ended between two looks.
//!
//! Numbers are read in an order that can only make the payload look smaller, and looked at again until two readings
//! agree; whoever counts keeps the largest.
//!
//! Source: `proc_pid_io(5)`, `tcp(7)`, `session.c` and `channels.c` of OpenSSH.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use wire::identifier::SessionId;

use crate::activity::Look;
use crate::kernel::Stat;
use crate::session::Monitor;

mod socket;

use socket::Counts;

/// The clients of sessions that are looked at.
#[derive(Debug, Default)]
pub struct Clients(BTreeMap<SessionId, Watch>);

/// One connection.
#[derive(Debug)]
struct Watch {
    /// sshd's process that serves it.
    server: Monitor,
    /// Its socket: the descriptor's number there, and the inode.
    connection: (i32, u64),
    /// Forwarded connections by inode, as they were last seen.
    forwards: BTreeMap<u64, Counts>,
    /// What went through forwarded connections that are no more.
    past: Counts,
}

impl Clients {
    /// Looks at the client of a session; nothing when there is no connection, or none yet.
    ///
    /// # Errors
    /// When the accounts cannot be read, although the connection is there.
    pub fn look(&mut self, id: SessionId, monitor: Monitor) -> io::Result<Option<Look>> {
        if self.0.get(&id).is_none_or(|watch| !is_alive(watch.server)) {
            match find(monitor)? {
                Some(watch) => drop(self.0.insert(id, watch)),
                None => {
                    self.0.remove(&id);
                    return Ok(None);
                }
            }
        }
        let Some(watch) = self.0.get_mut(&id) else { return Ok(None) };
        match watch.look() {
            Ok(look) => Ok(Some(look)),
            // It ended while it was looked at.
            Err(_) if !is_alive(watch.server) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The session is over.
    pub fn forget(&mut self, id: SessionId) {
        self.0.remove(&id);
    }
}

impl Watch {
    fn look(&mut self) -> io::Result<Look> {
        let process = Process::open(self.server)?;
        let pid = self.server.pid;
        let (read, written) = io_of(pid)?;
        let connection = settled(&process, self.connection.0)?;
        let files = files(pid)?;
        let forwarded = self.forwarded(&process, &files);
        let (terminals, commands) = (terminals(pid, &files), commands(pid)?);
        // Where the beginning lies does not matter, only that it never goes below nothing.
        let less = |all: u64, one: u64, other: u64| {
            ORIGIN.saturating_add(all).saturating_sub(one).saturating_sub(other)
        };
        Ok(Look {
            server: Some((pid, self.server.start_ticks)),
            terminals,
            commands,
            put: less(written, connection.written, forwarded.written),
            taken: less(read, connection.received, forwarded.received),
            sent: connection.written,
        })
    }

    /// What went through forwarded connections so far.
    fn forwarded(&mut self, process: &Process, files: &[File]) -> Counts {
        let mut seen = BTreeMap::new();
        for file in files {
            let File::Socket { number, inode } = *file else { continue };
            if inode != self.connection.1
                && let Ok(counts) = settled(process, number)
            {
                seen.insert(inode, counts);
            }
        }
        for (inode, counts) in std::mem::take(&mut self.forwards) {
            if !seen.contains_key(&inode) {
                self.past = self.past.with(counts);
            }
        }
        self.forwards = seen;
        self.forwards.values().fold(self.past, |sum, counts| sum.with(*counts))
    }
}

/// A process that is held while its descriptors are asked about.
struct Process(OwnedFd);

impl Process {
    fn open(name: Monitor) -> io::Result<Self> {
        let pid = Pid::from_raw(name.pid).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // Still the one that is meant, now that it is held.
        if is_alive(name) { Ok(Self(pidfd)) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Its descriptor, for a moment: as long as we hold it, a connection does not close.
    fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        Ok(pidfd_getfd(self.0.as_fd(), number, PidfdGetfdFlags::empty())?)
    }
}

/// One open file of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Socket { number: i32, inode: u64 },
    Terminal { number: i32 },
}

/// sshd's process that serves the connection, and the connection. With users other than root it is a child of the monitor
/// that holds the same socket; root's connections are served by the monitor itself, which then has other children.
fn find(monitor: Monitor) -> io::Result<Option<Watch>> {
    if !is_alive(monitor) {
        return Ok(None);
    }
    let Some(connection) = connection_of(monitor)? else { return Ok(None) };
    let program = program_of(monitor.pid)?;
    let children = children(monitor.pid)?;
    let mut has_others = false;
    for child in children {
        let Some(name) = name_of(child) else { continue };
        let is_sshd = program_of(child).is_ok_and(|other| other == program);
        let held = if is_sshd { files(child).unwrap_or_default() } else { Vec::new() };
        let holds = held.iter().find_map(|file| match file {
            File::Socket { number, inode } if *inode == connection.1 => Some(*number),
            _ => None,
        });
        match holds {
            Some(number) => return Ok(Some(Watch::new(name, (number, connection.1)))),
            None => has_others = true,
        }
    }
    Ok(has_others.then(|| Watch::new(monitor, connection)))
}

impl Watch {
    fn new(server: Monitor, connection: (i32, u64)) -> Self {
        Self { server, connection, forwards: BTreeMap::new(), past: Counts::default() }
    }
}

/// The monitor's connection: its first TCP socket, which it had before all others.
fn connection_of(monitor: Monitor) -> io::Result<Option<(i32, u64)>> {
    let process = Process::open(monitor)?;
    let mut files = files(monitor.pid)?;
    files.sort_by_key(|file| match file {
        File::Socket { number, .. } | File::Terminal { number } => *number,
    });
    for file in files {
        let File::Socket { number, inode } = file else { continue };
        match settled(&process, number) {
            Ok(_counts) => return Ok(Some((number, inode))),
            // We may not look at all: that is no answer.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_no_connection) => {}
        }
    }
    Ok(None)
}

/// The counts of a TCP connection, when two readings around the queue's length agree: else an acknowledgement came between.
fn settled(process: &Process, number: i32) -> io::Result<Counts> {
    let socket = process.descriptor(number)?;
    let socket: BorrowedFd<'_> = socket.as_fd();
    let mut before = socket::acknowledged(socket)?;
    for _ in 0..MAX_READINGS {
        let queued = socket::queued(socket)?;
        let after = socket::acknowledged(socket)?;
        if after.written == before.written {
            return Ok(Counts { written: after.written.saturating_add(queued), ..after });
        }
        before = after;
    }
    // Too busy to settle: as if all that could be under way had been written, so that nothing is taken for payload.
    Ok(Counts { written: before.written.saturating_add(MOST_QUEUED), ..before })
}

/// Bytes that a process read and wrote so far (`proc_pid_io(5)`).
fn io_of(pid: i32) -> io::Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse::<u64>().ok())
    };
    match (field("rchar:"), field("wchar:")) {
        (Some(read), Some(written)) => Ok((read, written)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn files(pid: i32) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok());
        let (Some(number), Ok(target)) = (number, fs::read_link(&path)) else { continue };
        let Some(target) = target.to_str() else { continue };
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
            files.push(File::Socket { number, inode });
        } else if target.ends_with("/ptmx") {
            files.push(File::Terminal { number });
        }
    }
    Ok(files)
}

/// How many terminals are held: sshd holds the master of each more than once.
fn terminals(pid: i32, files: &[File]) -> u32 {
    let mut indexes = BTreeSet::new();
    for file in files {
        let File::Terminal { number } = file else { continue };
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        let index = text.lines().find_map(|line| line.strip_prefix("tty-index:"));
        indexes.insert(index.map(|index| index.trim().to_owned()));
    }
    u32::try_from(indexes.len()).unwrap_or(u32::MAX)
}

/// How many children without a terminal live: commands, copies, subsystems.
fn commands(pid: i32) -> io::Result<u32> {
    let mut commands: u32 = 0;
    for child in children(pid)? {
        let stat = u32::try_from(child).ok().and_then(|child| Stat::read(child).ok().flatten());
        if stat.is_some_and(|stat| stat.tty == 0 && stat.is_alive()) {
            commands = commands.saturating_add(1);
        }
    }
    Ok(commands)
}

fn children(pid: i32) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect())
}

/// The program that a process runs, by device and inode.
fn program_of(pid: i32) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let program = fs::metadata(format!("/proc/{pid}/exe"))?;
    Ok((program.dev(), program.ino()))
}

fn name_of(pid: i32) -> Option<Monitor> {
    let stat = Stat::read(u32::try_from(pid).ok()?).ok()??;
    stat.is_alive().then(|| Monitor { pid, start_ticks: stat.process.start_ticks() })
}

fn is_alive(name: Monitor) -> bool {
    name_of(name.pid) == Some(name)
}

/// Readings of a connection that is written to all the time; one of a few microseconds settles nearly always.
const MAX_READINGS: u32 = 16;
/// More than a connection's queue grows between two readings.
const MOST_QUEUED: u64 = 64 << 20;
/// Where counts begin: before sshd's process was made, others had written to its connection.
const ORIGIN: u64 = 1 << 62;
