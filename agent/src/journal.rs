//! Following sshd's lines in the journal, on a thread of its own: `journalctl` reads, we take what it prints.
//!
//! Where it was is kept beside the sessions, so that a restart of the agent misses nothing and says nothing twice.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::sshd_log::Entry;
use crate::store;

/// The thread's door. The thread goes on until what it says is not heard any more.
#[derive(Debug)]
pub struct Follower {
    _stop: Sender<()>,
}

impl Follower {
    /// Follows the journal from where the file at `cursor_path` says, or from now; what sshd says of failed logins goes to `desk`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(cursor_path: PathBuf, desk: mpsc::Sender<Entry>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            loop {
                let why = match follow(&cursor_path, &desk) {
                    Ok(()) => return,
                    Err(why) => why,
                };
                tracing::warn!(%why, "sshd's log is not followed: what sshd refuses by itself is not recorded meanwhile");
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

/// Returns when nobody hears any more; otherwise why there is nothing more to read.
fn follow(cursor_path: &Path, desk: &mpsc::Sender<Entry>) -> std::io::Result<()> {
    let mut child = journalctl(cursor(cursor_path).as_deref()).spawn()?;
    let ended = match child.stdout.take() {
        Some(out) => read(out, cursor_path, desk),
        None => Err(std::io::ErrorKind::BrokenPipe.into()),
    };
    end(&mut child)?;
    ended
}

fn journalctl(cursor: Option<&str>) -> Command {
    let mut command = Command::new("journalctl");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command.args(["--follow", "--quiet", "--output=json", "--output-fields=MESSAGE,_PID,_UID"]);
    match cursor {
        Some(cursor) => command.arg(format!("--after-cursor={cursor}")).arg("--no-tail"),
        None => command.arg("--lines=0"),
    };
    command.args(["_UID=0", "SYSLOG_IDENTIFIER=sshd", "SYSLOG_IDENTIFIER=sshd-session"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn read(out: ChildStdout, cursor_path: &Path, desk: &mpsc::Sender<Entry>) -> std::io::Result<()> {
    let mut reader = BufReader::new(out);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Err(std::io::Error::other("journalctl ended"));
        }
        // What is longer than any line of sshd's comes in pieces, and no piece is JSON.
        let Some(entry) = Entry::parse(line.trim_ascii_end()) else { continue };
        let cursor = entry.cursor.clone();
        if desk.blocking_send(entry).is_err() {
            return Ok(());
        }
        if let Err(error) = store::write_bytes(cursor_path, cursor.as_bytes(), 0o600) {
            tracing::warn!(%error, "a restart of the agent will read sshd's log from then on");
        }
    }
}

fn cursor(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let is_one =
        !text.is_empty() && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then_some(text)
}

fn end(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// Longest line that is taken whole.
const MAX_LINE: u64 = 16 * 1024;
/// How long to wait before the journal is followed again.
const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cursor_is_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.cursor");
        assert_eq!(cursor(&path), None);
        for (text, holds) in
            [("s=1;i=2;b=3", true), ("", false), ("a b", false), ("a\n--file=x", false)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(cursor(&path).is_some(), holds, "{text:?}");
        }
    }
}
