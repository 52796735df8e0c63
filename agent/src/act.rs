//! Performing what [`crate::session`] orders on the host: telling people, and striking.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use wire::identifier::SessionId;
use wire::octets::Octets;
use wire::record::{MAX_SLOW, Slow, Steps, Tally};

use crate::kernel::kill::{KillPass, Target, kill};
use crate::kernel::{Kernel, KernelError, Process, Stat, Tag};
use crate::peer::Held;

/// The kernel's name for a session.
#[must_use]
pub const fn tag(session: SessionId) -> Tag {
    Tag::of(session.tag())
}

/// Writes a line on every terminal that a process of the session has, and says on how many. On those that are relayed it
/// is written at the client's end, of which `clients` has the number: there it is shown at once, whatever the session
/// does to its own end.
///
/// A terminal that takes no output right now (its owner pressed ^S) is not waited for.
///
/// # Errors
/// When the session's processes cannot be listed.
pub fn tell(
    kernel: &dyn Kernel,
    session: SessionId,
    message: &str,
    clients: &BTreeMap<u32, u32>,
) -> Result<u32, KernelError> {
    let mut terminals: BTreeSet<PathBuf> = kernel
        .members(tag(session))?
        .iter()
        .take(MAX_ASKED)
        .filter_map(|process| terminal_of(process.pid()))
        .collect();
    for (inner, outer) in clients {
        if terminals.remove(&pts(*inner)) {
            terminals.insert(pts(*outer));
        }
    }
    let line = format!("\r\n*** curfew: {message} ***\r\n");
    let mut told: u32 = 0;
    for terminal in &terminals {
        let written = OpenOptions::new()
            .write(true)
            .custom_flags(OPEN_FLAGS)
            .open(terminal)
            .and_then(|mut terminal| terminal.write_all(line.as_bytes()));
        match written {
            Ok(()) => told = told.saturating_add(1),
            Err(error) => {
                tracing::debug!(%session, terminal = %terminal.display(), %error, "a terminal was not told");
            }
        }
    }
    Ok(told)
}

/// One pass of killing. `gently` leaves sshd's own two processes a moment to carry the last line to the client;
/// they can start nothing any more.
pub fn strike(
    kernel: &mut dyn Kernel,
    session: SessionId,
    monitor: Option<&Held>,
    gently: bool,
) -> KillPass {
    let target = Target {
        tag: tag(session),
        monitor: monitor.map(Held::as_fd),
        spare_sshd: monitor.filter(|_| gently).map(|held| held.name.pid),
        scope: None,
    };
    kill(kernel, &target)
}

/// What a pass did, for the record of the session's end; who survived it is named when it is `late`. `tally` is of those
/// that no pass before had struck.
#[must_use]
pub fn steps(pass: &KillPass, tally: Tally, late: bool) -> Steps {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Steps {
        passes: 1,
        connection: pass.monitor,
        groups: count(pass.cgroups_killed),
        shared: count(pass.cgroups_shared),
        faults: count(pass.faults.len()),
        marked: pass.marked,
        tally,
        slow: if late { named(pass) } else { Vec::new() },
    }
}

/// Who survived a pass, by name.
#[must_use]
pub fn named(pass: &KillPass) -> Vec<Slow> {
    let slow =
        |process: &Process| Slow { pid: process.pid(), command: Octets::new(process.comm()) };
    pass.survivors.iter().take(MAX_SLOW).map(slow).collect()
}

/// The pseudo-terminal that a process has, from the device number in `/proc/PID/stat`.
fn terminal_of(pid: u32) -> Option<PathBuf> {
    let device = Stat::read(pid).ok()??.tty;
    let (major, minor) = (device >> 8 & 0xfff, (device & 0xff) | (device >> 12 & 0xf_ff00));
    if !PTS_MAJORS.contains(&major) {
        return None;
    }
    let number = major.checked_sub(*PTS_MAJORS.start())?.checked_mul(256)?.checked_add(minor)?;
    let path = pts(u32::try_from(number).ok()?);
    let found = std::fs::symlink_metadata(&path).ok()?;
    let same = found.file_type().is_char_device()
        && rustix::fs::major(found.rdev()) == u32::try_from(major).ok()?;
    same.then_some(path)
}

fn pts(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/pts/{number}"))
}

/// `/dev/pts/N` (Documentation/admin-guide/devices.txt).
const PTS_MAJORS: std::ops::RangeInclusive<u64> = 136..=143;
/// Processes asked for their terminal; a session has few terminals, and a storm of processes must not delay its end.
const MAX_ASKED: usize = 128;
/// Never becomes our terminal, never waits, never follows a link.
const OPEN_FLAGS: i32 = {
    let flags = rustix::fs::OFlags::NOCTTY
        .union(rustix::fs::OFlags::NONBLOCK)
        .union(rustix::fs::OFlags::NOFOLLOW);
    flags.bits().cast_signed()
};
