//! `curfew-recorder`: relays terminals, each in a process of its own, as a user of its own.
//!
//! `curfew-recorder serve` takes connections of root's on the socket at its standard input, which systemd opened, and
//! starts `curfew-recorder relay` on each. It looks at nothing that comes on them.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{WaitOptions, wait};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match words.iter().map(|word| word.as_os_str()).collect::<Vec<&OsStr>>().as_slice() {
        [word] if *word == "serve" => serve().map_err(|error| error.to_string()),
        [word] if *word == "relay" => {
            pty::relay::run(io::stdin()).map_err(|error| error.to_string())
        }
        _ => {
            say("usage: curfew-recorder serve | relay; systemd and the agent start it");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// Starts a process for each connection, for ever.
fn serve() -> io::Result<()> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    loop {
        reap();
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        let pause = Timespec { tv_sec: REAP_SECS, tv_nsec: 0 };
        match poll(&mut fds, Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                say(&format!("cannot accept a connection: {error}"));
                poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }))?;
                continue;
            }
        };
        if !socket_peercred(&stream)?.uid.is_root() {
            say("refused a connection that is not root's");
            continue;
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        if let Err(error) = start(stream.into()) {
            say(&format!("cannot start a recorder: {error}"));
        }
    }
}

fn start(connection: OwnedFd) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("curfew-recorder")
        .arg("relay")
        .env_clear()
        .stdin(Stdio::from(connection))
        .stdout(Stdio::null());
    command.spawn().map(drop)
}

/// Takes note of those that ended.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Goes to the journal.
fn say(line: &str) {
    let shown = writeln!(io::stderr(), "curfew-recorder: {line}");
    drop(shown);
}

/// How often those that ended are taken note of, when nobody comes.
const REAP_SECS: i64 = 60;
/// How long an agent that has connected may take to say what for.
const PATIENCE: Duration = Duration::from_secs(2);
