//! `curfew-pty`: what sshd starts in every channel, as the user, in place of what was asked for.
//!
//! It decides nothing. It asks the agent, which knows by the kernel's tag what login this is; gives its terminal away;
//! and runs what was asked for as sshd would have. Killing or tracing it gains a user nothing: it holds no terminal of
//! the session's any more, and the recorder hangs up when it is gone. Of the environment it reads
//! `SSH_ORIGINAL_COMMAND`, which is what the user asked for, `LOGNAME`, to choose between two accounts of one uid, and `TERM`, which is
//! noted in a recording and decides nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::User;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use wire::channel::{
    Answer, Ask, CHANNEL_PATH, DRAINED, EXITED, GAVE_UP, RECORDER_PATIENCE_MILLIS, RESIZED,
    STANDING_DIR, Started,
};
use wire::octets::Octets;
use wire::recording::record::Term;

use crate::passing::{Inbox, PassError, send};
use crate::plan::{Plan, SFTP_SERVERS};
use crate::{standing, tty};

/// How `curfew-pty` ends, when it does not become what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(u8),
    /// As what it ran: by this signal.
    Signal(i32),
}

/// Why a channel is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The agent says no, or its answer cannot be had where it must be.
    #[error("{0}")]
    Told(String),
    /// Something of the system fails.
    #[error("cannot {what}: {source}; tell whoever runs this host")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// What to run, and where.
#[derive(Debug)]
enum Place {
    /// Here, in place of this process.
    Here,
    /// On another terminal, which a recorder relays.
    Relayed(Relayed),
}

/// The connection to the agent, which is its recorder's once the agent has answered. The recorder may have answered too
/// before we read: what has come so far stays with the connection.
#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    inbox: Inbox,
}

/// A terminal of the session's, and the connection to who relays it.
#[derive(Debug)]
struct Relayed {
    recorder: OwnedFd,
    inner: OwnedFd,
    name: String,
}

/// Runs what was asked for; comes back with how it ended, unless this process has become it.
///
/// # Errors
/// When it must not or cannot run.
pub fn run() -> Result<End, Refusal> {
    let asked = std::env::var_os("SSH_ORIGINAL_COMMAND").map(|text| Octets::new(text.into_vec()));
    let account = account()?;
    let (place, forced) = place(io::stdin().is_terminal())?;
    let plan = Plan::of(asked.as_ref(), forced.as_ref());
    let mut command = command(&plan, &account)?;
    // sshd says what was asked for only to a command that is forced.
    if forced.is_none() {
        command.env_remove("SSH_ORIGINAL_COMMAND");
    }
    match place {
        Place::Here => {
            SigSet::empty()
                .thread_set_mask()
                .map_err(|error| Refusal::Failed { what: "hear signals", source: error.into() })?;
            let source = command.exec();
            Err(Refusal::Failed { what: "start the login shell", source })
        }
        Place::Relayed(relayed) => attend(command, relayed),
    }
}

/// The account that this process belongs to.
fn account() -> Result<User, Refusal> {
    let failed = |source| Refusal::Failed { what: "find this account", source };
    let uid = nix::unistd::getuid();
    let named =
        std::env::var("LOGNAME").ok().and_then(|name| User::from_name(&name).ok().flatten());
    if let Some(user) = named.filter(|user| user.uid == uid) {
        return Ok(user);
    }
    let found = User::from_uid(uid).map_err(|error| failed(error.into()))?;
    found.ok_or_else(|| failed(io::Error::other(format!("no account has the uid {uid}"))))
}

/// Where to run, and what is forced, as the agent says; without it, as it left word.
fn place(terminal: bool) -> Result<(Place, Option<Octets>), Refusal> {
    let mut gave_up = false;
    let (why, forced, required) = match ask(terminal) {
        Ok((_, Answer::Outside)) => return Ok((Place::Here, None)),
        Ok((_, Answer::Run { forced })) => return Ok((Place::Here, forced)),
        Ok((_, Answer::Refuse(line))) => return Err(Refusal::Told(line)),
        Ok((line, Answer::Relay { forced, required })) => match relayed(line) {
            Ok(relayed) => return Ok((Place::Relayed(relayed), forced)),
            Err(error) => {
                gave_up = true;
                (format!("the recorder did not answer ({error})"), forced, required)
            }
        },
        Err(error) => {
            let pid = std::process::id();
            let left = standing::find(Path::new("/proc"), Path::new(STANDING_DIR), pid);
            match left {
                Ok(None) => return Ok((Place::Here, None)),
                Ok(Some(left)) => {
                    (format!("the agent did not answer ({error})"), left.forced, left.required)
                }
                Err(source) => {
                    return Err(Refusal::Failed { what: "learn what this login may do", source });
                }
            }
        }
    };
    if terminal && required {
        return Err(Refusal::Told(format!(
            "this login needs a recorder for its terminal, and {why}; try again, or ask whoever runs this host"
        )));
    }
    if gave_up {
        take_back().map_err(|source| Refusal::Failed { what: "take the terminal back", source })?;
        complain(&format!("{why}; this terminal goes on without it"));
    }
    Ok((Place::Here, forced))
}

/// Has the client's terminal again, which no recorder took. Giving it up sent us a hang-up: that is not for what runs next.
fn take_back() -> io::Result<()> {
    if let Err(error) = rustix::process::ioctl_tiocsctty(io::stdin())
        && error != Errno::PERM
    {
        return Err(error.into());
    }
    // Where a shell did not become us, it leads the session and has kept it: that is the refusal above.
    let signals = SignalFd::with_flags(&mask(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    while signals.read_signal()?.is_some() {}
    Ok(())
}

/// Asks the agent, with the terminal.
fn ask(terminal: bool) -> Result<(Line, Answer), PassError> {
    let patience = Some(Duration::from_millis(RECORDER_PATIENCE_MILLIS));
    let agent = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&agent, Timeout::Send, patience)?;
    set_socket_timeout(&agent, Timeout::Recv, patience)?;
    connect(&agent, &SocketAddrUnix::new(CHANNEL_PATH)?)?;
    if !socket_peercred(&agent)?.uid.is_root() {
        // The folder is root's: nobody else can listen there, unless this is not the host we think.
        return Err(PassError::Broken(Errno::ACCESS));
    }
    let stdin = io::stdin();
    let with = [stdin.as_fd()];
    let term = std::env::var("TERM").ok().filter(|_| terminal);
    let term = term.filter(|term| Term::new(term).is_some());
    let ask = Ask { version: wire::VERSION, terminal, term };
    send(&agent, &ask, if terminal { &with } else { &[] })?;
    let mut line = Line { socket: agent, inbox: Inbox::default() };
    let answer = line.hear()?;
    Ok((line, answer))
}

impl Line {
    /// Waits for a frame for as long as the socket's patience is; then says that it gave up, and waits once more. Whoever
    /// is at work on the terminal at that moment either hands it over after all, or has left it as it was when it closes: a
    /// shell that began in between would take a half-made terminal for its own.
    fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, PassError> {
        match self.inbox.wait(&self.socket) {
            Err(PassError::Broken(Errno::AGAIN)) => {
                say(&self.socket, GAVE_UP)?;
                self.inbox.wait(&self.socket)
            }
            other => other,
        }
    }
}

/// Gives the client's terminal up, and waits until a recorder has it.
fn relayed(mut line: Line) -> Result<Relayed, PassError> {
    // Nobody of the user's may hold on to the client's terminal: who does could pretend to type.
    mask().thread_block().map_err(io::Error::from)?;
    // Where a shell did not become us, it leads the session and keeps the terminal; the recorder then learns of a new
    // size from us.
    let gave_up = tty::let_go(io::stdin().as_fd());
    drop(gave_up);
    let Started { terminal } = line.hear()?;
    let inner = line.inbox.descriptors().pop().ok_or(PassError::Closed)?;
    // A recorder that was faster than we are could not make the client's terminal its own while it was ours. One that is gone
    // is noticed where its end is waited for.
    say(&line.socket, RESIZED).unwrap_or_default();
    Ok(Relayed { recorder: line.socket, inner, name: terminal })
}

/// Signals that are waited for, not suffered.
fn mask() -> SigSet {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGWINCH,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        mask.add(signal);
    }
    mask
}

/// The command, as sshd would start it.
fn command(plan: &Plan, account: &User) -> Result<Command, Refusal> {
    let shell =
        if account.shell.as_os_str().is_empty() { Path::new("/bin/sh") } else { &account.shell };
    let name = shell.file_name().unwrap_or(OsStr::new("sh"));
    let mut command = Command::new(shell);
    match plan {
        Plan::Login => {
            let mut dashed = OsString::from("-");
            dashed.push(name);
            command.arg0(dashed);
        }
        Plan::Command(text) => {
            command.arg0(name).arg("-c").arg(OsStr::from_bytes(text.as_bytes()));
        }
        Plan::Sftp(words) => {
            let server = SFTP_SERVERS.iter().map(PathBuf::from).find(|path| path.is_file());
            let server = server.ok_or_else(|| {
                Refusal::Told(format!(
                    "there is no sftp server in {}; install OpenSSH's",
                    SFTP_SERVERS.join(", ")
                ))
            })?;
            command = Command::new(server);
            command.args(words.iter().map(|word| OsStr::from_bytes(word.as_bytes())));
        }
        Plan::OnlySftp => {
            return Err(Refusal::Told("this login is for sftp only".into()));
        }
    }
    Ok(command)
}

/// Runs the command on its terminal, and stays until it has ended or its recorder has.
fn attend(mut command: Command, relayed: Relayed) -> Result<End, Refusal> {
    let failed = |what: &'static str| move |source| Refusal::Failed { what, source };
    let Relayed { recorder, inner, name } = relayed;
    let copy = || inner.try_clone().map_err(failed("use the session's terminal"));
    command.stdin(copy()?).stdout(copy()?).stderr(inner).env("SSH_TTY", name);
    tty::on_its_terminal(&mut command);
    let signals = SignalFd::with_flags(&mask(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| failed("wait for signals")(error.into()))?;
    // Giving the client's terminal up sent us a hang-up: that is not for what runs next.
    while signals.read_signal().map_err(|error| failed("read signals")(error.into()))?.is_some() {}
    let mut child = command.spawn().map_err(failed("start the login shell"))?;
    // It holds the session's terminal too.
    drop(command);
    let ended =
        wait(&mut child, &recorder, &signals).map_err(failed("wait for the login shell"))?;
    let Some(status) = ended else {
        hang_up(&child);
        let line = "the recorder of this terminal has ended, and the terminal with it";
        return Err(Refusal::Told(line.into()));
    };
    settle(&recorder).map_err(failed("wait for the recorder"))?;
    Ok(match (status.code().and_then(|code| u8::try_from(code).ok()), status.signal()) {
        (None, Some(signal)) => End::Signal(signal),
        (code, _) => End::Code(code.unwrap_or(u8::MAX)),
    })
}

/// Waits for the child; nothing when the recorder goes first.
fn wait(
    child: &mut Child,
    recorder: &OwnedFd,
    signals: &SignalFd,
) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let mut fds = [PollFd::new(recorder, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let [from_recorder, _] = &fds;
        if !from_recorder.revents().is_empty() {
            // It says nothing before it is told that the child has ended: it is gone.
            return child.try_wait();
        }
        while let Some(seen) = signals.read_signal()? {
            pass(seen.ssi_signo, child, recorder)?;
        }
    }
}

/// What a signal to us is about: the terminal's size, or the child, which sshd knows by our number.
fn pass(signal: u32, child: &Child, recorder: &OwnedFd) -> io::Result<()> {
    let signal = i32::try_from(signal).ok().and_then(|signal| Signal::try_from(signal).ok());
    match signal {
        None | Some(Signal::SIGCHLD) => Ok(()),
        Some(Signal::SIGWINCH) => say(recorder, RESIZED),
        Some(signal) => tty::signal(child, signal),
    }
}

/// The terminal is gone: what runs on it is told, as by a hang-up.
fn hang_up(child: &Child) {
    if let Err(error) = tty::signal(child, Signal::SIGHUP) {
        complain(&format!("what ran here could not be told: {error}"));
    }
}

/// Has everything that was written shown before we end, for sshd closes the terminal then.
fn settle(recorder: &OwnedFd) -> io::Result<()> {
    if say(recorder, EXITED).is_err() {
        return Ok(());
    }
    let mut byte = [0u8];
    set_socket_timeout(recorder, Timeout::Recv, None)?;
    loop {
        match rustix::io::read(recorder, &mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) if byte == [DRAINED] => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn say(recorder: &OwnedFd, what: u8) -> io::Result<()> {
    use rustix::net::SendFlags;
    rustix::net::send(recorder, &[what], SendFlags::NOSIGNAL)?;
    Ok(())
}

/// One line to whoever logs in. The terminal may take bytes as they are, so the line ends as on a raw one.
pub fn complain(line: &str) {
    let shown = write!(io::stderr(), "curfew: {line}\r\n");
    drop(shown);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_waits_no_longer_says_so_and_takes_what_comes_all_the_same() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        set_socket_timeout(&ours, Timeout::Recv, Some(Duration::from_millis(200))).unwrap();
        let late = std::thread::spawn(move || {
            let mut byte = [0u8];
            theirs.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [GAVE_UP]);
            send(&theirs, &Started { terminal: "/dev/pts/7".into() }, &[]).unwrap();
            // And then it leaves the terminal as it was.
            theirs.read_exact(&mut byte).unwrap();
        });
        let mut line = Line { socket: ours, inbox: Inbox::default() };
        assert_eq!(line.hear::<Started>().unwrap().terminal, "/dev/pts/7");
        assert!(matches!(line.hear::<Started>(), Err(PassError::Closed)));
        late.join().unwrap();
    }

    #[test]
    fn a_recorder_that_answers_before_the_agent_is_heard_is_heard_too() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let patience = Some(Duration::from_millis(200));
        set_socket_timeout(&ours, Timeout::Recv, patience).unwrap();
        let terminal = std::fs::File::open("/dev/null").unwrap();
        send(&theirs, &Answer::Relay { forced: None, required: true }, &[]).unwrap();
        send(&theirs, &Started { terminal: "/dev/pts/7".into() }, &[terminal.as_fd()]).unwrap();
        let mut line = Line { socket: ours.into(), inbox: Inbox::default() };
        assert!(matches!(line.hear().unwrap(), Answer::Relay { required: true, .. }));
        assert_eq!(line.hear::<Started>().unwrap().terminal, "/dev/pts/7");
        assert_eq!(line.inbox.descriptors().len(), 1);
    }
}
