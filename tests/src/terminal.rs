//! A program on a real pseudo terminal, and the person in front of it.

use std::{
    fmt,
    fs::File,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    termios::Winsize,
};

use crate::{
    FleetError,
    clock::{Deadline, pause},
    patience::patience,
};

/// A program that believes a person is typing. Dropped, the terminal hangs up and the program is
/// killed.
pub struct Terminal {
    child: Child,
    // Taken when the terminal hangs up: first the reader stops, then the last handle closes.
    keyboard: Option<File>,
    stop: Option<PipeWriter>,
    reader: Option<JoinHandle<()>>,
    screen: Arc<Screen>,
    /// How much of the screen [`Terminal::wait_for`] has passed.
    seen: usize,
}

impl Terminal {
    /// Starts `command` with a terminal of 80 by 24 as its standard streams. The command must take
    /// it as its controlling terminal itself (`setsid --ctty`).
    pub(crate) fn open(mut command: Command) -> Result<Self, FleetError> {
        let failed = || "open a terminal".to_owned();
        let (master, slave) = pair().map_err(FleetError::io(failed()))?;
        rustix::termios::tcsetwinsize(&master, winsize(80, 24))
            .map_err(FleetError::io(failed()))?;
        let copies = (slave.try_clone(), slave.try_clone());
        command.stdin(slave);
        command.stdout(copies.0.map_err(FleetError::io(failed()))?);
        command.stderr(copies.1.map_err(FleetError::io(failed()))?);
        let child = command.spawn().map_err(FleetError::io("start a program on a terminal"))?;
        // The command holds the slave open as long as it exists, and the end would never be seen.
        drop(command);
        let keyboard = File::from(master);
        let screen = Arc::new(Screen::default());
        let (stopped, stop) = io::pipe().map_err(FleetError::io(failed()))?;
        let reader = thread::spawn({
            let eye = keyboard.try_clone().map_err(FleetError::io(failed()))?;
            let screen = Arc::clone(&screen);
            move || screen.watch(eye, &stopped)
        });
        let keyboard = Some(keyboard);
        Ok(Self { child, keyboard, stop: Some(stop), reader: Some(reader), screen, seen: 0 })
    }

    /// Types `text` as it is.
    ///
    /// # Errors
    /// When the terminal has hung up.
    pub fn type_text(&mut self, text: &str) -> Result<(), FleetError> {
        let mut keyboard = self.keyboard()?;
        keyboard.write_all(text.as_bytes()).map_err(FleetError::io("type on a terminal"))
    }

    /// Types `text` and presses Enter.
    ///
    /// # Errors
    /// When the terminal has hung up.
    pub fn enter(&mut self, text: &str) -> Result<(), FleetError> {
        self.type_text(&format!("{text}\r"))
    }

    /// Waits until `text` appears after all that was waited for before, and returns what stood in
    /// front of it. What is typed is echoed and appears too.
    ///
    /// # Errors
    /// [`FleetError::Impatient`] with what appeared instead.
    pub fn wait_for(&mut self, text: &str) -> Result<String, FleetError> {
        let deadline = Deadline::after(patience());
        let mut shown = self.screen.lock();
        loop {
            let fresh = shown.bytes.get(self.seen..).unwrap_or_default();
            if let Some(at) = find(fresh, text.as_bytes()) {
                let before = fresh.get(..at).unwrap_or_default();
                self.seen = self.seen.saturating_add(at).saturating_add(text.len());
                return Ok(String::from_utf8_lossy(before).into_owned());
            }
            let left = deadline.left().filter(|_| !shown.ended);
            let Some(left) = left else {
                return Err(FleetError::Impatient {
                    what: format!("`{text}` appears"),
                    waited: deadline.elapsed(),
                    last: String::from_utf8_lossy(fresh).into_owned(),
                });
            };
            shown = self
                .screen
                .changed
                .wait_timeout(shown, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// All that has appeared so far, controls included.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().bytes).into_owned()
    }

    /// Changes the window; the program gets its SIGWINCH.
    ///
    /// # Errors
    /// When the terminal has hung up.
    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<(), FleetError> {
        rustix::termios::tcsetwinsize(self.keyboard()?, winsize(columns, rows))
            .map_err(FleetError::io("resize a terminal"))
    }

    /// Hangs up, as when the person closes the window: the program gets its SIGHUP.
    pub fn hang_up(&mut self) {
        drop(self.stop.take());
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has stopped too.
            drop(reader.join());
        }
        drop(self.keyboard.take());
    }

    /// Whether the program still runs. When it does not, what it last showed is on the screen.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        let is_running = matches!(self.child.try_wait(), Ok(None));
        if !is_running {
            self.screen.settle();
        }
        is_running
    }

    /// The process id of the program in front.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program has ended by itself, and returns how. What it last showed is on the screen then.
    ///
    /// # Errors
    /// [`FleetError::Impatient`] when it goes on beyond the patience.
    pub fn wait(&mut self) -> Result<ExitStatus, FleetError> {
        let deadline = Deadline::after(patience());
        loop {
            let ended = self.child.try_wait().map_err(FleetError::io("wait for a program"))?;
            if let Some(status) = ended {
                self.screen.settle();
                return Ok(status);
            }
            let Some(left) = deadline.left() else {
                return Err(FleetError::Impatient {
                    what: "the program on the terminal ends".to_owned(),
                    waited: deadline.patience(),
                    last: self.screen(),
                });
            };
            pause(left.min(POLL));
        }
    }

    fn keyboard(&self) -> Result<&File, FleetError> {
        self.keyboard.as_ref().ok_or_else(|| FleetError::Io {
            doing: "use a terminal that has hung up".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("pid", &self.pid())
            .field("screen", &self.screen())
            .finish()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
        // Both fail only when it is gone already, which is what a drop wants.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What has appeared on the terminal.
#[derive(Debug, Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shown {
    bytes: Vec<u8>,
    ended: bool,
}

impl Screen {
    /// Reads until the last program on the terminal is gone, or until `stopped` closes.
    fn watch(&self, mut eye: File, stopped: &PipeReader) {
        let mut buffer = [0; 16 * 1024];
        while readable(&eye, stopped) {
            // EIO is how a terminal says that nobody is left on it.
            let Ok(length @ 1..) = eye.read(&mut buffer) else { break };
            self.lock().bytes.extend(buffer.get(..length).unwrap_or_default());
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until all that was written has been read; not for long, where somebody else keeps the terminal open.
    fn settle(&self) {
        let shown = self.lock();
        let settled = self.changed.wait_timeout_while(shown, SETTLE, |shown| !shown.ended);
        drop(settled.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits; `false` when `stopped` was closed.
fn readable(eye: &File, stopped: &PipeReader) -> bool {
    let mut fds = [PollFd::new(eye, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    match rustix::event::poll(&mut fds, None) {
        Ok(_) => fds.last().is_some_and(|stopped| stopped.revents().is_empty()),
        Err(errno) => errno == rustix::io::Errno::INTR,
    }
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let path = rustix::pty::ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(path.as_c_str(), flags, Mode::empty())?;
    Ok((master, slave))
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

/// How long a reader may take to come to the end of what a program wrote before it ended.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(2);
const POLL: std::time::Duration = std::time::Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::command;

    fn on_a_terminal(args: &[&str]) -> Terminal {
        let mut command = command("setsid");
        command.arg("--ctty").args(args);
        Terminal::open(command).expect("a terminal opens")
    }

    #[test]
    fn a_program_sees_a_terminal_and_is_seen() {
        let mut terminal =
            on_a_terminal(&["sh", "-c", "tty >/dev/tty; read x; echo \"<$x>\"; exit 3"]);
        terminal.wait_for("/dev/pts/").expect("it has a terminal");
        terminal.enter("hello").expect("typed");
        terminal.wait_for("<hello>").expect("it answers");
        assert_eq!(terminal.wait().expect("it ends").code(), Some(3));
    }

    #[test]
    fn the_window_can_be_resized() {
        let mut terminal = on_a_terminal(&["sh", "-c", "stty size; read x; stty size"]);
        terminal.wait_for("24 80").expect("the first size");
        terminal.resize(132, 50).expect("resized");
        terminal.enter("").expect("typed");
        terminal.wait_for("50 132").expect("the second size");
    }

    #[test]
    fn hanging_up_ends_the_program() {
        let mut terminal = on_a_terminal(&["sh", "-c", "echo here; sleep 600"]);
        terminal.wait_for("here").expect("it runs");
        terminal.hang_up();
        assert!(!terminal.wait().expect("it ends").success());
    }

    #[test]
    fn what_was_waited_for_is_not_found_again() {
        let mut terminal = on_a_terminal(&["sh", "-c", "echo one two one"]);
        terminal.wait_for("one").expect("the first");
        assert_eq!(terminal.wait_for("one").expect("the second"), " two ");
        assert!(terminal.wait_for("one").is_err());
    }
}
