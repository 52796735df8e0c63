//! ssh as a child, so that somebody is left to say why it was refused. It keeps the terminal, and everything else is as if it had
//! been started by the shell: it can be stopped and continued, and what ends us ends it.

use std::process::Command;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How ssh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this code; 255 is ssh's own failure.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

/// Runs it to its end. Call it with no other thread: signals are waited for by this one.
pub(super) fn run(command: &mut Command) -> Result<Ended> {
    let child = command.spawn().context("cannot start ssh; is it installed?")?;
    let pid = i32::try_from(child.id()).context("ssh has a number that no process can have")?;
    let pid = Pid::from_raw(pid);
    let mut awaited = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGHUP] {
        awaited.add(signal);
    }
    // After the start: ssh must not begin with signals blocked.
    awaited.thread_block().context("cannot block signals")?;
    let ended = see_through(pid, &awaited);
    awaited.thread_unblock().context("cannot unblock signals")?;
    ended
}

#[expect(clippy::as_conversions, reason = "the value of the variant is the signal's number")]
const fn number(signal: Signal) -> i32 {
    signal as i32
}

fn see_through(pid: Pid, awaited: &SigSet) -> Result<Ended> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(_, code)) => {
                return Ok(Ended::Code(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Signal(number(signal))),
            Ok(WaitStatus::Stopped(..)) => {
                // The shell sees us stopped as it would see ssh, and continues us both.
                raise(Signal::SIGSTOP).context("cannot stop")?;
                continue;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for ssh"),
        }
        let signal = awaited.wait().context("cannot wait for signals")?;
        if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) {
            match kill(pid, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("cannot end ssh"),
            }
        }
    }
}
