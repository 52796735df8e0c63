//! The reader's terminal while a recording is shown on it: taken over, drawn on, and given back as it was.
//!
//! Nothing is written here but what [`paint`] makes, and a line of our own below it.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use screen::frame::Frame;
use screen::paint::{Window, paint};

use crate::render::plain;

/// The terminal.
pub(crate) struct Stage {
    before: Termios,
    shown: Option<(Frame, Window, String)>,
}

impl Stage {
    /// Takes the terminal over.
    pub(crate) fn enter() -> Result<Self> {
        use io::IsTerminal as _;
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            bail!(
                "a recording is shown on a terminal; --text and --asciicast write it to a file or a pipe"
            );
        }
        let before = tcgetattr(io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)
            .context("cannot change the terminal's settings")?;
        let stage = Self { before, shown: None };
        write(ENTER)?;
        Ok(stage)
    }

    /// Shows a picture, and a line below it.
    pub(crate) fn show(&mut self, frame: Frame, line: &str) -> Result<()> {
        let window = window();
        let before = self.shown.as_ref().filter(|(_, before, _)| *before == window);
        let mut text = String::new();
        if before.is_none_or(|(shown, ..)| *shown != frame) {
            text.push_str(&paint(before.map(|(shown, ..)| shown), &frame, window));
        }
        let line = fitted(line, window.columns);
        if !text.is_empty() || before.is_none_or(|(.., shown)| *shown != line) {
            let row = window.rows.saturating_add(1);
            // The cursor's place is kept while the line is written.
            text.push_str(&format!("\u{1b}7\u{1b}[{row};1H\u{1b}[0;7m{line}\u{1b}[0m\u{1b}8"));
        }
        if !text.is_empty() {
            write(&text)?;
        }
        self.shown = Some((frame, window, line));
        Ok(())
    }

    /// Waits for keys; nothing when none came in that time.
    #[expect(clippy::unused_self, reason = "keys are the terminal's only while it is taken over")]
    pub(crate) fn keys(&self, patience: Duration) -> Result<Vec<u8>> {
        let stdin = io::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        let patience = Timespec::try_from(patience).context("cannot wait so long")?;
        let count = match poll(&mut ready, Some(&patience)) {
            Ok(count) => count,
            // The window changed its size; it is drawn anew.
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error).context("cannot wait for keys"),
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = [0; 256];
        let length = rustix::io::read(&stdin, &mut bytes).context("cannot read keys")?;
        if length == 0 {
            // Nobody is there any more.
            return Ok(vec![b'q']);
        }
        Ok(bytes.get(..length).unwrap_or_default().to_vec())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Where the terminal is gone, there is nothing to give back.
        drop(write(LEAVE));
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}

/// How much room there is above the line.
fn window() -> Window {
    let size = tcgetwinsize(io::stdout()).ok();
    let columns = size.map_or(80, |size| size.ws_col).max(10);
    let rows = size.map_or(24, |size| size.ws_row).max(2);
    Window { columns, rows: rows.saturating_sub(1) }
}

/// A line as wide as the terminal.
fn fitted(line: &str, columns: u16) -> String {
    let width = usize::from(columns);
    let line: String = plain(line).chars().take(width).collect();
    format!("{line:width$}")
}

fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to the terminal")
}

/// Another screen, empty, without a title of ours.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[2J\u{1b}[H";
/// Back to what was there.
const LEAVE: &str = "\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l";
