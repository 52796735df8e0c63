//! The recorder of one terminal: stands between the client's (*outer*) and the session's (*inner*), and relays.
//!
//! One process, one thread, one terminal. It holds the inner terminal's own end and reads the outer one: when it dies,
//! both hang up. What passes is not changed. Nobody waits for the agent: it is told what has passed when it listens,
//! and told again from the beginning when it comes back.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fchmod, fcntl_getfl, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use wire::channel::{DRAINED, EXITED, End, Keep, Passed, RESIZED, Start, Started};
use wire::recording::record::{Size, Term};
use wire::time::Uptime;

use crate::clock::{now, wall};
use crate::passing::{Inbox, send};
use crate::tape::{Beginning, Tape};
use crate::tty;
use crate::typed::Scanner;
use crate::veil::Echo;

mod queue;
mod report;

use queue::Queue;
use report::Desk;

/// A terminal could not be relayed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct RelayError {
    /// What was tried.
    pub what: &'static str,
    /// Why not.
    pub source: io::Error,
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> RelayError {
    move |source| RelayError { what, source: source.into() }
}

/// One terminal while it lives.
#[derive(Debug)]
struct Relay {
    outer: OwnedFd,
    inner: OwnedFd,
    stub: OwnedFd,
    signals: SignalFd,
    /// On its way to the session.
    input: Queue,
    /// On its way to the client.
    output: Queue,
    scanner: Scanner,
    passed: Passed,
    desk: Desk,
    /// What keeps what passes.
    tape: Option<Tape>,
    /// Nothing more comes from the session: all of its ends are closed.
    closed: bool,
    /// Why it is about to end, since when, and how much has come since.
    ending: Option<Ending>,
}

/// The last moments: what ran has ended, and what it wrote is still shown.
#[derive(Debug, Clone, Copy)]
struct Ending {
    why: End,
    since: Uptime,
    output: u64,
}

/// Takes one terminal over from the agent, on the connection at `agent`, and relays it to its end.
///
/// # Errors
/// When it cannot begin.
pub fn run(agent: impl AsFd) -> Result<(), RelayError> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(failed("keep others from looking into this process"))?;
    let mut inbox = Inbox::default();
    let start: Start =
        inbox.wait(agent).map_err(io::Error::other).map_err(failed("hear what to relay"))?;
    if start.version != wire::VERSION {
        let source = io::Error::other(format!(
            "it speaks version {}, and this is {}",
            start.version,
            wire::VERSION
        ));
        return Err(RelayError { what: "understand the agent", source });
    }
    let missing = || RelayError {
        what: "begin",
        source: io::Error::other("the agent did not send the descriptors that belong to its word"),
    };
    let mut ends = inbox.descriptors();
    let file = start.keep.as_ref().and_then(|_| ends.pop());
    if file.is_none() && start.keep.is_some() {
        return Err(missing());
    }
    let ends: [OwnedFd; 4] = ends.try_into().map_err(|_sent: Vec<OwnedFd>| missing())?;
    let mut relay = Relay::begin(&start, ends, file)?;
    let end = relay.turn();
    let why = end.as_ref().map_or(End::Failed, |why| *why);
    relay.finish(why);
    end.map(drop)
}

impl Relay {
    /// Puts itself between the two, and then lets the session have its terminal: nothing passes before that.
    fn begin(start: &Start, ends: [OwnedFd; 4], file: Option<OwnedFd>) -> Result<Self, RelayError> {
        let [stub, outer, inner, slave] = ends;
        wants(&stub)?;
        let signals = signals().map_err(failed("wait for signals"))?;
        let outer = open_anew(&outer).map_err(failed("open the client's terminal"))?;
        let termios = tcgetattr(&outer).map_err(failed("read the terminal's settings"))?;
        tcsetattr(&slave, OptionalActions::Now, &termios).map_err(failed("set the terminal"))?;
        let flags = fcntl_getfl(&inner).map_err(failed("use the session's terminal"))?;
        fcntl_setfl(&inner, flags | OFlags::NONBLOCK)
            .map_err(failed("use the session's terminal"))?;
        let tape = match (&start.keep, file) {
            (Some(keep), Some(file)) => Some(keep_in(file, (start, keep), &outer)?),
            _ => None,
        };
        let relay = Self {
            outer,
            inner,
            stub,
            signals,
            input: Queue::default(),
            output: Queue::default(),
            scanner: Scanner::default(),
            passed: Passed::default(),
            desk: Desk::new(start, now()),
            tape,
            closed: false,
            ending: None,
        };
        // All that takes time was before: from here on the session's terminal is touched.
        wants(&relay.stub)?;
        lead(&relay.outer);
        relay.resize().map_err(failed("size the session's terminal"))?;
        let mut raw = termios.clone();
        raw.make_raw();
        tcsetattr(&relay.outer, OptionalActions::Now, &raw)
            .map_err(failed("set the client's terminal"))?;
        let started = Started { terminal: format!("/dev/pts/{}", start.inner) };
        if let Err(error) = send(&relay.stub, &started, &[slave.as_fd()]) {
            // It went on without us this very moment, on a terminal as it was; our end must not hang it up.
            tcsetattr(&relay.outer, OptionalActions::Now, &termios).unwrap_or_default();
            tty::let_go(relay.outer.as_fd()).unwrap_or_default();
            return Err(failed("hand the session its terminal")(io::Error::other(error)));
        }
        Ok(relay)
    }

    fn resize(&self) -> io::Result<()> {
        tcsetwinsize(&self.inner, tcgetwinsize(&self.outer)?)?;
        Ok(())
    }

    /// Relays until one side ends.
    fn turn(&mut self) -> Result<End, RelayError> {
        loop {
            let up = now();
            self.keep(up);
            self.desk.tell(self.passed, up);
            if let Some(why) = self.is_over(up) {
                return Ok(why);
            }
            let ready = self.wait(up).map_err(failed("wait for the terminals"))?;
            if ready.signals {
                self.hear_signals().map_err(failed("read signals"))?;
            }
            if ready.stub {
                self.hear_stub();
            }
            if ready.outer_in && self.take_input().is_err() {
                return Ok(End::HungUp);
            }
            if ready.inner_in {
                self.take_output();
            }
            if ready.outer_out && self.output.flush(&self.outer).is_err() {
                return Ok(End::HungUp);
            }
            if ready.inner_out && self.input.flush(&self.inner).is_err() {
                self.closed = true;
            }
        }
    }

    /// Looks after what is kept. A channel that must be kept and cannot be is over.
    fn keep(&mut self, up: Uptime) {
        let Some(tape) = &mut self.tape else { return };
        if let Some(held) = self.desk.held() {
            tape.hold(held);
        }
        tape.look(up);
        self.passed.kept = tape.written();
        if tape.must_end() {
            self.end(End::Unkept);
        }
    }

    /// Whether nothing is left to do.
    fn is_over(&self, up: Uptime) -> Option<End> {
        let ending = self.ending?;
        if ending.why == End::Unkept {
            return Some(End::Unkept);
        }
        let quiet = self.closed
            || up.since(ending.since) >= LINGER
            || self.passed.output.saturating_sub(ending.output) > LAST_WORDS;
        (quiet && self.output.is_empty()).then_some(ending.why)
    }

    fn wait(&mut self, up: Uptime) -> io::Result<Ready> {
        let mut outer = PollFlags::empty();
        outer.set(PollFlags::IN, self.input.has_room());
        outer.set(PollFlags::OUT, !self.output.is_empty());
        let mut inner = PollFlags::empty();
        inner.set(PollFlags::IN, self.output.has_room() && !self.closed);
        inner.set(PollFlags::OUT, !self.input.is_empty() && !self.closed);
        let stub = if self.ending.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = vec![
            PollFd::new(&self.outer, outer),
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.stub, stub),
        ];
        // A terminal whose other ends are all closed is always ready, and has nothing.
        if !self.closed {
            fds.push(PollFd::new(&self.inner, inner));
        }
        // Its end is all that the agent says; then it is looked for again.
        fds.extend(self.desk.agent().map(|agent| PollFd::new(agent, PollFlags::IN)));
        let tape = self.tape.as_ref().and_then(|tape| tape.due(up));
        let wait = [self.desk.due(self.passed, up), self.ending.map(|_| LINGER), tape]
            .into_iter()
            .flatten()
            .min();
        let timeout = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            other => other?,
        };
        let of = |at: usize| fds.get(at).map_or_else(PollFlags::empty, |fd| fd.revents());
        let inner = if self.closed { PollFlags::empty() } else { of(3) };
        let gone = PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            outer_in: of(0).intersects(PollFlags::IN | gone),
            outer_out: of(0).intersects(PollFlags::OUT),
            signals: !of(1).is_empty(),
            stub: self.ending.is_none() && !of(2).is_empty(),
            inner_in: inner.intersects(PollFlags::IN | gone),
            inner_out: inner.intersects(PollFlags::OUT),
        })
    }

    fn hear_signals(&mut self) -> io::Result<()> {
        while let Some(seen) = self.signals.read_signal()? {
            if seen.ssi_signo == SIGWINCH {
                self.resized();
            }
        }
        Ok(())
    }

    fn resized(&mut self) {
        // A terminal that has just gone has no size; its end is noticed where it is read.
        self.resize().unwrap_or_default();
        if let (Some(tape), Ok(size)) = (&mut self.tape, size_of(&self.inner)) {
            tape.resized(size, now());
        }
    }

    /// What `curfew-pty` says; that it is gone, too.
    fn hear_stub(&mut self) {
        let mut bytes = [0u8; 16];
        let count = match rustix::io::read(&self.stub, &mut bytes) {
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(_) | Ok(0) => {
                self.end(End::Deserted);
                return;
            }
            Ok(count) => count,
        };
        for byte in bytes.iter().take(count) {
            match *byte {
                RESIZED => {
                    lead(&self.outer);
                    self.resized();
                }
                EXITED => self.end(End::Exited),
                _ => {}
            }
        }
    }

    fn end(&mut self, why: End) {
        self.ending.get_or_insert(Ending { why, since: now(), output: self.passed.output });
    }

    /// Takes what the client's terminal sent.
    fn take_input(&mut self) -> Result<(), Errno> {
        let Some(bytes) = self.input.fill(&self.outer)? else { return Ok(()) };
        let up = now();
        let typed = self.scanner.input(bytes, up);
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if let Some(tape) = &mut self.tape {
            // Settings that cannot be read are those of a terminal that shows nothing.
            let echo = tcgetattr(&self.inner).map_or(Echo::Nobody, |settings| Echo::of(&settings));
            tape.input(bytes, echo, up);
        }
        self.passed.input = self.passed.input.saturating_add(count);
        if typed > 0 {
            self.passed.typed = self.passed.typed.saturating_add(typed);
            self.passed.typed_at = Some(up);
        }
        // At once, where it can be: a key must not wait for another turn.
        if !self.closed && self.input.flush(&self.inner).is_err() {
            self.closed = true;
        }
        Ok(())
    }

    /// Takes what the session wrote.
    fn take_output(&mut self) {
        match self.output.fill(&self.inner) {
            Ok(Some(bytes)) => {
                let up = now();
                self.scanner.output(bytes, up);
                if let Some(tape) = &mut self.tape {
                    tape.output(bytes, up);
                }
                let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.passed.output = self.passed.output.saturating_add(count);
                // Who still has something to say is heard out.
                if let Some(ending) = &mut self.ending {
                    ending.since = now();
                }
                // A client that is gone is noticed where its terminal is read.
                self.output.flush(&self.outer).unwrap_or_default();
            }
            Ok(None) => {}
            // All of the session's ends are closed: nothing can be written there any more. curfew-pty says when what it
            // ran has ended.
            Err(_) => self.closed = true,
        }
    }

    /// Lets go of the terminals, in an order that loses nothing, and tells who must know.
    fn finish(self, why: End) {
        let Self { outer, inner, stub, desk, tape, mut passed, .. } = self;
        if why == End::Unkept {
            // A terminal that takes nothing now is not waited for.
            rustix::io::write(&outer, UNKEPT).unwrap_or_default();
        }
        drop(inner);
        // Who leads a session and ends hangs its terminal up, and what the client has not read yet would be lost.
        let gave_up = tty::let_go(outer.as_fd());
        drop((gave_up, outer));
        let told = rustix::net::send(&stub, &[DRAINED], rustix::net::SendFlags::NOSIGNAL);
        drop((told, stub));
        let kept = tape.and_then(|tape| tape.end(why, now()));
        passed.kept = kept.as_ref().map_or(passed.kept, |kept| kept.bytes);
        desk.close(passed, why, kept);
    }
}

/// What is ready.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each direction of each descriptor")]
struct Ready {
    outer_in: bool,
    outer_out: bool,
    inner_in: bool,
    inner_out: bool,
    signals: bool,
    stub: bool,
}

/// Who is late must not touch a terminal that went on without.
fn wants(stub: &OwnedFd) -> Result<(), RelayError> {
    if has_gone(stub).map_err(failed("look for the session"))? {
        let source = io::Error::from(io::ErrorKind::BrokenPipe);
        return Err(RelayError { what: "begin: the session did not wait", source });
    }
    Ok(())
}

/// Whether nobody is at the other end any more.
fn has_gone(stub: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(stub, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [stub] = &fds;
    // Before it has its terminal it says nothing but that it gave up.
    Ok(stub.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR))
}

/// The client's terminal, opened anew so that no flag of ours is anybody else's; ours alone to open.
fn open_anew(terminal: &OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd as _;
    fchmod(terminal, Mode::RUSR | Mode::WUSR)?;
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Makes it our controlling terminal, so that nobody of the user's can pretend to type on it and its size is told to us. Where
/// a login shell that did not become curfew-pty holds it, curfew-pty tells us of a new size instead; where curfew-pty itself
/// has not let go of it yet, it says so when it has.
fn lead(terminal: &OwnedFd) {
    // Who leads a session already stays its leader.
    rustix::process::setsid().map(drop).unwrap_or_default();
    rustix::process::ioctl_tiocsctty(terminal).unwrap_or_default();
}

/// Keeps what passes in `file`.
fn keep_in(
    file: OwnedFd,
    (start, keep): (&Start, &Keep),
    outer: &OwnedFd,
) -> Result<Tape, RelayError> {
    let beginning = Beginning {
        session: start.session,
        channel: start.channel,
        size: size_of(outer).unwrap_or_default(),
        term: keep.term.as_deref().and_then(Term::new),
        at: wall(),
    };
    Tape::begin(&beginning, keep, file).map_err(failed("keep what passes"))
}

fn size_of(terminal: impl AsFd) -> io::Result<Size> {
    let size = tcgetwinsize(terminal)?;
    Ok(Size { columns: size.ws_col, rows: size.ws_row })
}

fn signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in
        [Signal::SIGWINCH, Signal::SIGHUP, Signal::SIGCONT, Signal::SIGTTOU, Signal::SIGTTIN]
    {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

#[expect(clippy::as_conversions, reason = "the number of a signal, known when this is built")]
const SIGWINCH: u32 = Signal::SIGWINCH as u32;
const UNKEPT: &[u8] =
    b"\r\n*** curfew: this terminal ends, because it cannot be recorded any more ***\r\n";
/// How long after its end what ran in a terminal may be heard, when something it left behind keeps the terminal open.
const LINGER: Duration = Duration::from_millis(50);
/// How much of it.
const LAST_WORDS: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_terminal_of_who_gave_up_is_not_touched() {
        let (stub, ours) = UnixStream::pair().unwrap();
        let ours = OwnedFd::from(ours);
        assert!(!has_gone(&ours).unwrap());
        rustix::net::send(&stub, &[wire::channel::GAVE_UP], rustix::net::SendFlags::NOSIGNAL)
            .unwrap();
        assert!(has_gone(&ours).unwrap());
        let (stub, ours) = UnixStream::pair().unwrap();
        drop(stub);
        assert!(has_gone(&OwnedFd::from(ours)).unwrap());
    }
}
