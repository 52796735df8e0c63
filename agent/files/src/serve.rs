//! One connection at a time: the newest is the agent. Its group lives on for a while when it goes, so that a restart of the
//! agent misses nothing, and not for ever: what the kernel has told and nobody reads keeps file systems from being unmounted.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::errno::Errno;
use pty::passing::{Inbox, PassError, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;

use crate::watch::Watch;
use crate::{Ask, MAX_SENSITIVE, VERSION, Watching};

/// Why there is nothing to serve with.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system says no.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The kernel does not show its mounts.
    #[error("{MOUNTS}: {0}")]
    Mounts(#[source] io::Error),
}

/// What there is between two turns.
struct Desk {
    listener: UnixListener,
    mounts: File,
    agent: Option<UnixStream>,
    watch: Option<Watch>,
}

/// Serves the socket at `input` for ever.
///
/// # Errors
/// When it cannot begin, or cannot wait any more.
pub fn serve(input: OwnedFd) -> Result<(), ServeError> {
    let listener = UnixListener::from(input);
    listener.set_nonblocking(true)?;
    let mounts = File::open(MOUNTS).map_err(ServeError::Mounts)?;
    let mut desk = Desk { listener, mounts, agent: None, watch: None };
    loop {
        desk.turn()?;
    }
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Nothing, for as long as there was to wait.
    Nothing,
    /// A file system came or went.
    Mounts,
    /// Something from the agent, which says nothing more: it is gone, or it is none of ours.
    Agent,
    /// Somebody at the socket.
    Somebody,
}

impl Desk {
    fn turn(&mut self) -> Result<(), ServeError> {
        for came in self.wait()? {
            match came {
                Came::Nothing => match (&self.agent, &mut self.watch) {
                    (Some(_), Some(watch)) => watch.mark_sensitive(),
                    _ => self.watch = None,
                },
                Came::Mounts => {
                    let watching = self.mark()?;
                    watching
                        .missed
                        .iter()
                        .for_each(|missed| say(&format!("not watched: {missed}")));
                }
                Came::Agent => self.agent = None,
                Came::Somebody => self.accept()?,
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<Came>, ServeError> {
        let pause = match (&self.agent, &self.watch) {
            (Some(_), _) => Some(SENSITIVE_EVERY),
            (None, Some(_)) => Some(KEEP_FOR),
            (None, None) => None,
        };
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        let mut waits = vec![PollFd::new(&self.mounts, PollFlags::PRI)];
        // Without an agent, its place is one where nothing is waited for.
        let agent = self.agent.as_ref().map(|agent| PollFd::new(agent, PollFlags::IN));
        waits.push(agent.unwrap_or_else(|| PollFd::new(&self.listener, PollFlags::empty())));
        waits.push(PollFd::new(&self.listener, PollFlags::IN));
        match poll(&mut waits, pause.as_ref()) {
            Ok(0) => return Ok(vec![Came::Nothing]),
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            other => other.map_err(io::Error::from)?,
        };
        // The agent before whoever comes now: that may be the next one.
        let order = [Came::Mounts, Came::Agent, Came::Somebody];
        let ready = order.into_iter().zip(&waits).filter(|(_, wait)| !wait.revents().is_empty());
        Ok(ready.map(|(came, _)| came).collect())
    }

    fn accept(&mut self) -> Result<(), ServeError> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                say(&format!("cannot accept a connection: {error}"));
                let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                poll(&mut [], Some(&pause)).map_err(io::Error::from)?;
                return Ok(());
            }
        };
        match self.answer(stream) {
            Ok(agent) => self.agent = agent.or(self.agent.take()),
            Err(error) => say(&format!("an agent was not answered: {error}")),
        }
        Ok(())
    }

    /// Answers whoever has connected; gives the connection if it is the agent's.
    fn answer(&mut self, stream: UnixStream) -> Result<Option<UnixStream>, PassError> {
        let peer = socket_peercred(&stream)?;
        if !peer.uid.is_root() {
            say("refused a connection that is not root's");
            return Ok(None);
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let ask: Ask = Inbox::default().wait(&stream)?;
        if ask.version != VERSION || ask.sensitive.len() > MAX_SENSITIVE {
            let trouble =
                format!("curfew-files speaks version {VERSION}; restart it after an upgrade");
            send(&stream, &Watching { trouble: Some(trouble), ..nothing() }, &[])?;
            return Ok(None);
        }
        match self.begin(ask) {
            Ok(watching) => {
                let group = self.watch.as_ref().map(|watch| watch.group().as_fd());
                send(&stream, &watching, group.as_slice())?;
                Ok(Some(stream))
            }
            Err(why) => {
                say(&why);
                send(&stream, &Watching { trouble: Some(why), ..nothing() }, &[])?;
                Ok(None)
            }
        }
    }

    /// Makes the group, where there is none from before, and sets its marks.
    fn begin(&mut self, ask: Ask) -> Result<Watching, String> {
        if self.watch.is_none() {
            self.watch = Some(Watch::new().map_err(refused)?);
        }
        if let Some(watch) = &mut self.watch {
            watch.be_told_of(ask.sensitive);
        }
        let watching = self.mark().map_err(|error| error.to_string())?;
        if watching.filesystems == 0 {
            self.watch = None;
            return Err(format!("no file system can be watched: {}", watching.missed.join("; ")));
        }
        Ok(watching)
    }

    fn mark(&mut self) -> Result<Watching, ServeError> {
        let mut table = Vec::new();
        // Read anew each time; this one stays open because it is the one that is waited on.
        let read = File::open(MOUNTS).and_then(|mut mounts| mounts.read_to_end(&mut table));
        read.map_err(ServeError::Mounts)?;
        Ok(self.watch.as_mut().map_or_else(nothing, |watch| watch.mark(&table)))
    }
}

fn nothing() -> Watching {
    Watching { version: VERSION, ..Watching::default() }
}

fn refused(error: Errno) -> String {
    match error {
        Errno::ENOSYS => "this kernel has no fanotify".to_owned(),
        Errno::EPERM => "the kernel lets this process watch nothing (CAP_SYS_ADMIN)".to_owned(),
        other => format!("the kernel gives no fanotify group: {other}"),
    }
}

/// Goes to the journal.
pub(crate) fn say(line: &str) {
    let shown = writeln!(io::stderr(), "curfew-files: {line}");
    drop(shown);
}

/// The table of mounts, which the kernel says has changed.
const MOUNTS: &str = "/proc/self/mountinfo";
/// How often sensitive files are marked anew: one that was replaced is not told of for that long.
const SENSITIVE_EVERY: Duration = Duration::from_secs(2);
/// How long a group outlives its agent.
const KEEP_FOR: Duration = Duration::from_secs(30);
/// How long an agent that has connected may take to say what for.
const PATIENCE: Duration = Duration::from_secs(2);
