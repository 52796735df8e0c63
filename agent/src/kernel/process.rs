//! A process, told apart from every other one that had or will have its number.
//!
//! A pid is reused; a pid with its start time is not. To act on one, open a pidfd first and compare
//! afterwards: the pidfd then is that process for good.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::KernelError;

/// Who a process is: number and start time; and its `comm`, which it chooses itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pid: u32,
    start_ticks: u64,
    comm: String,
}

impl Process {
    /// From what the kernel side reports: `start` on `CLOCK_BOOTTIME`.
    pub(crate) fn new(pid: u32, start: Duration, comm: &[u8]) -> Self {
        let ticks = start.as_nanos().checked_div(NANOS_PER_TICK).unwrap_or_default();
        let start_ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        Self { pid, start_ticks, comm: printable(comm) }
    }

    /// From what was kept of it: it may be gone, and its number another's.
    pub(crate) fn kept(pid: u32, start_ticks: u64) -> Self {
        Self { pid, start_ticks, comm: String::new() }
    }

    /// The process behind a pidfd.
    ///
    /// # Errors
    /// [`KernelError::Gone`] if it ended; or `/proc` cannot be read.
    pub fn of(pidfd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        let pid = pid_of(pidfd)?;
        let stat = Stat::read(pid)?.ok_or(KernelError::Gone)?;
        // The number still stands for the same process: it was read while the pidfd's was alive.
        if pid_of(pidfd)? == pid { Ok(stat.process) } else { Err(KernelError::Gone) }
    }

    /// The number, in the agent's pid namespace; 0 if it has none there.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Start time after boot in hundredths of a second, as field 22 of `/proc/PID/stat`.
    #[must_use]
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// The name it gives itself, control characters escaped: fit for a log, not for a decision.
    #[must_use]
    pub fn comm(&self) -> &str {
        &self.comm
    }

    /// Whether both are the same process, whatever they call themselves.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.start_ticks == other.start_ticks
    }

    /// Opens a pidfd of whatever has this number now. `None`: nothing has.
    pub(crate) fn open_unchecked(&self) -> Result<Option<OwnedFd>, KernelError> {
        open_pid(self.pid)
    }
}

/// Opens a pidfd of the process that has that number now.
pub(crate) fn open_pid(pid: u32) -> Result<Option<OwnedFd>, KernelError> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // EINVAL: the number belongs to a thread by now.
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(errno) => {
            Err(KernelError::Process { action: "open a pidfd of", pid, source: errno.into() })
        }
    }
}

/// Whether a signal found its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signalled {
    Sent,
    Gone,
}

/// Sends SIGKILL.
pub(crate) fn kill(pidfd: BorrowedFd<'_>) -> Result<Signalled, KernelError> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) => Ok(Signalled::Sent),
        Err(Errno::SRCH) => Ok(Signalled::Gone),
        Err(errno) => {
            let pid = pid_of(pidfd).unwrap_or_default();
            Err(KernelError::Process { action: "kill", pid, source: errno.into() })
        }
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone)]
pub(crate) struct Stat {
    pub(crate) process: Process,
    pub(crate) ppid: u32,
    /// The controlling terminal as the kernel's `dev_t`; 0 for none.
    pub(crate) tty: u64,
    pub(crate) threads: usize,
    pub(crate) state: u8,
}

impl Stat {
    /// `None`: there is no such process.
    pub(crate) fn read(pid: u32) -> Result<Option<Self>, KernelError> {
        let path = proc_path(pid, "stat");
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        match Self::parse(pid, &text) {
            Some(stat) => Ok(Some(stat)),
            None => Err(KernelError::File { path, source: io::ErrorKind::InvalidData.into() }),
        }
    }

    /// Whether it can still run: no zombie.
    pub(crate) fn is_alive(&self) -> bool {
        // A zombie leader whose threads go on is alive.
        !matches!(self.state, b'Z' | b'X') || self.threads > 1
    }

    /// `comm` stands in parentheses and may contain them: the last one counts.
    fn parse(pid: u32, text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let comm = text.get(open.checked_add(1)?..close)?;
        let rest = std::str::from_utf8(text.get(close.checked_add(1)?..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let ppid = fields.next()?.parse().ok()?;
        let tty = fields.nth(2)?.parse().ok()?;
        let threads = fields.nth(12)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        let process = Process { pid, start_ticks, comm: printable(comm) };
        Some(Self { process, ppid, tty, threads, state })
    }
}

/// The number of the process behind a pidfd.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> Result<u32, KernelError> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let text = fs::read_to_string(&path)
        .map_err(|source| KernelError::File { path: path.clone(), source })?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.map(|number| number.trim().parse::<i64>()) {
        Some(Ok(pid)) => u32::try_from(pid).ok().filter(|pid| *pid != 0).ok_or(KernelError::Gone),
        Some(Err(_)) | None => {
            Err(KernelError::File { path, source: io::ErrorKind::InvalidInput.into() })
        }
    }
}

/// The numbers of all processes.
pub(crate) fn all_pids() -> Result<Vec<u32>, KernelError> {
    let failed = |source| KernelError::File { path: PathBuf::from("/proc"), source };
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

pub(crate) fn proc_path(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// Reads a file of a process; `None` when the process is gone.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, KernelError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(KernelError::File { path: path.to_owned(), source }),
    }
}

/// A file of a process that ended: not there, or ESRCH while it was read.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

fn printable(comm: &[u8]) -> String {
    comm.escape_ascii().to_string()
}

/// `USER_HZ` is 100 on every architecture we build for.
const NANOS_PER_TICK: u128 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_hostile_comm() {
        let text = b"7 (a) R 1 (\n) S 5 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 12345 1 2 3\n";
        let stat = Stat::parse(7, text).unwrap();
        assert_eq!((stat.ppid, stat.threads, stat.state), (5, 3, b'S'));
        assert_eq!(stat.process.start_ticks(), 12345);
        assert_eq!(stat.process.comm(), "a) R 1 (\\n");
    }

    #[test]
    fn cut_stat_is_refused() {
        for text in [&b""[..], b"7", b"7 (a", b")7(", b"7 (a)", b"7 (a) S 5 7 7 0"] {
            assert!(Stat::parse(7, text).is_none());
        }
    }

    #[test]
    fn own_process_is_found_by_pidfd() {
        let pidfd = open_pid(std::process::id()).unwrap().unwrap();
        let process = Process::of(std::os::fd::AsFd::as_fd(&pidfd)).unwrap();
        assert_eq!(process.pid(), std::process::id());
        assert!(all_pids().unwrap().contains(&process.pid()));
    }
}
