//! Commands as argument vectors: how they run, and what they said.
//!
//! No command line is ever put together from text. The environment is built from nothing, so that a
//! test sees the same on every machine.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{FleetError, clock::Deadline, clock::pause, patience::patience};

/// What a command said and how it ended. A failed command is a value: see [`Output::ok`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
    command: String,
}

impl Output {
    /// Whether it ended with success.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Goes on with a success only.
    ///
    /// # Errors
    /// [`FleetError::Command`] with what it said on standard error.
    pub fn ok(self) -> Result<Self, FleetError> {
        if self.status.success() {
            return Ok(self);
        }
        let stderr = if self.stderr.is_empty() { self.stdout } else { self.stderr };
        Err(FleetError::Command {
            command: self.command,
            status: self.status,
            stderr: stderr.trim_end().to_owned(),
        })
    }

    /// Goes on with a success only, whatever it said.
    ///
    /// # Errors
    /// As [`Output::ok`].
    pub fn done(self) -> Result<(), FleetError> {
        self.ok().map(drop)
    }

    /// Standard output without the white space around it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

/// A command that goes on while the test does other things. Dropped, it is killed.
///
/// What it says goes to files, so that it never waits for a reader.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: File,
    stderr: File,
    command: String,
}

impl Running {
    /// Starts `command`; its standard input is a pipe that stays open.
    pub(crate) fn start(mut command: Command) -> Result<Self, FleetError> {
        let line = line(&command);
        let (stdout, stderr) = (said_file()?, said_file()?);
        let failed = || FleetError::io::<io::Error>(format!("start `{line}`"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(stdout.try_clone().map_err(failed())?)
            .stderr(stderr.try_clone().map_err(failed())?)
            .spawn()
            .map_err(failed())?;
        Ok(Self { stdin: child.stdin.take(), child, stdout, stderr, command: line })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has said on standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Hands it something on its standard input.
    ///
    /// # Errors
    /// When it does not read any more.
    pub fn feed(&mut self, input: &[u8]) -> Result<(), FleetError> {
        let stdin = self.stdin.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into());
        stdin
            .and_then(|stdin: &mut ChildStdin| stdin.write_all(input))
            .map_err(FleetError::io(format!("feed `{}`", self.command)))
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        drop(self.stdin.take());
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<(), FleetError> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        pidfd
            .and_then(|pidfd| pidfd_send_signal(&pidfd, signal))
            .map_err(FleetError::io(format!("signal `{}`", self.command)))
    }

    /// Closes its standard input, waits for its end, and returns what it said.
    ///
    /// # Errors
    /// [`FleetError::Impatient`] when it does not end within the patience; it is killed then.
    pub fn wait(mut self) -> Result<Output, FleetError> {
        self.close_input();
        let deadline = Deadline::after(patience());
        while self.is_running() {
            let Some(left) = deadline.left() else {
                return Err(FleetError::Impatient {
                    what: format!("`{}` ends", self.command),
                    waited: deadline.patience(),
                    last: self.stderr(),
                });
            };
            pause(left.min(POLL));
        }
        self.collect()
    }

    /// Kills it, and returns what it had said.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<Output, FleetError> {
        self.child.kill().map_err(FleetError::io(format!("kill `{}`", self.command)))?;
        self.collect()
    }

    fn collect(mut self) -> Result<Output, FleetError> {
        let status =
            self.child.wait().map_err(FleetError::io(format!("wait for `{}`", self.command)))?;
        let command = std::mem::take(&mut self.command);
        Ok(Output { status, stdout: self.stdout(), stderr: self.stderr(), command })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what a drop wants.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A file without a name that takes what a command says.
fn said_file() -> Result<File, FleetError> {
    tempfile::tempfile().map_err(FleetError::io("make a temporary file"))
}

/// All of a file, read without moving the position at which its writer goes on.
fn text(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = file.read_at(&mut buffer, u64::try_from(bytes.len()).unwrap_or(0))
    {
        bytes.extend(buffer.get(..length).unwrap_or_default());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A command with an environment built from nothing.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    command
}

/// Runs `command` to its end, with `input` on its standard input.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Result<Output, FleetError> {
    let line = line(&command);
    let failed = || FleetError::io::<io::Error>(format!("run `{line}`"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed())?;
    let stdin = child.stdin.take();
    let said = thread::scope(|scope| {
        // A command may well end without reading all of it: not an error of the test.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    })
    .map_err(failed())?;
    Ok(Output {
        status: said.status,
        stdout: String::from_utf8_lossy(&said.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
        command: line,
    })
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Where the programs of a Debian machine are.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const POLL: std::time::Duration = std::time::Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_of_the_test_is_not_handed_on() {
        let said = run(command("env"), b"").expect("env runs").ok().expect("env succeeds");
        let names: Vec<_> = said.stdout.lines().filter_map(|line| line.split_once('=')).collect();
        assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["LC_ALL", "PATH"]);
    }

    #[test]
    fn a_failure_says_what_ran_and_what_it_said() {
        let mut command = command("sh");
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let failure = run(command, b"").expect("sh runs").ok().expect_err("it exits 3");
        assert!(failure.to_string().ends_with("no such luck"), "{failure}");
    }

    #[test]
    fn input_is_handed_in_whole() {
        let input = vec![b'x'; 1 << 20];
        let said = run(command("cat"), &input).expect("cat runs");
        assert_eq!(said.stdout.len(), input.len());
    }

    #[test]
    fn a_running_command_can_be_killed() {
        let mut sleep = command("sleep");
        sleep.arg("600");
        let mut running = Running::start(sleep).expect("sleep starts");
        assert!(running.is_running());
        assert!(!running.kill().expect("it is killed").succeeded());
    }

    #[test]
    fn what_a_running_command_says_never_stops_it() {
        let mut loud = command("sh");
        loud.args(["-c", "head -c 1000000 /dev/zero; read word; echo $word >&2"]);
        let mut running = Running::start(loud).expect("it starts");
        running.feed(b"enough\n").expect("it reads");
        let said = running.wait().expect("it ends");
        assert_eq!((said.stdout.len(), said.stderr.as_str()), (1_000_000, "enough\n"));
    }
}
