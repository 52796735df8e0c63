//! Terminals and signals, where no safe call exists: the one room here with `unsafe`.
#![expect(
    unsafe_code,
    reason = "system calls for which there is no safe wrapper; each place says why it is sound"
)]

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use nix::sys::signal::{SigHandler, SigSet, Signal, raise};

nix::ioctl_none_bad!(
    /// `TIOCNOTTY`: the process gives up its controlling terminal.
    tiocnotty,
    nix::libc::TIOCNOTTY
);

/// Gives up the controlling terminal. Who leads its session sends SIGHUP and SIGCONT to the terminal's foreground: block
/// SIGHUP first. Nothing is hung up.
///
/// # Errors
/// When `terminal` is not the controlling one.
pub fn let_go(terminal: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the request takes no argument, and the descriptor is open as long as it is borrowed.
    let done = unsafe { tiocnotty(terminal.as_raw_fd()) };
    done.map(drop).map_err(io::Error::from)
}

/// Has the command lead a session of its own, with its standard input as the controlling terminal.
pub fn on_its_terminal(command: &mut Command) {
    let lead = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        // What we block, so as to wait for it, would be blocked in everything that is run.
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes three system calls and nothing else: it takes no lock and allocates nothing.
    unsafe { command.pre_exec(lead) };
}

/// Sends a signal to a child that has not been waited for: its number is its own until then.
///
/// # Errors
/// When the system says no.
pub fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let number = i32::try_from(child.id()).map_err(io::Error::other)?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), signal).map_err(io::Error::from)
}

/// Ends this process by `signal`, as its child ended; returns when that signal does not end a process.
///
/// # Errors
/// When there is no such signal, or the system says no.
pub fn die_by(signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    // SAFETY: no handler is installed anywhere in this process, so none is taken away under somebody's feet.
    let reset = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    reset.or_else(
        |error| if signal == Signal::SIGKILL { Ok(SigHandler::SigDfl) } else { Err(error) },
    )?;
    let mut set = SigSet::empty();
    set.add(signal);
    set.thread_unblock()?;
    raise(signal).map_err(io::Error::from)
}
