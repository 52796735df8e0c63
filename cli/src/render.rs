//! The terminal: the only place that writes to it. Colour only on a terminal and without `NO_COLOR`.

pub(crate) mod moment;
mod table;

pub(crate) use table::{Cell, Table};
pub(crate) use wire::octets::plain;
use wire::octets::plain_json;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Where output goes, and what it can show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    width: usize,
    colour: bool,
    colour_of_errors: bool,
}

/// What a piece of text means, and so how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading or a name that matters.
    Strong,
    /// In order.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Beside the point.
    Faint,
}

impl Screen {
    /// Standard output and standard error as they are now.
    pub(crate) fn of_this_terminal() -> Self {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = io::stdout().is_terminal();
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Self {
            width: if terminal { columns.unwrap_or(80) } else { usize::MAX },
            colour: allowed && terminal,
            colour_of_errors: allowed && io::stderr().is_terminal(),
        }
    }

    /// One line.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// One line in `tone`.
    pub(crate) fn toned(&self, tone: Tone, text: &str) -> Result<()> {
        self.line(&paint(self.colour, tone, text))
    }

    /// `text` in `tone`, to be put into a line.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.colour, tone, text)
    }

    /// A table, as wide as the terminal at most.
    pub(crate) fn table(&self, table: &Table) -> Result<()> {
        let mut text = String::new();
        for line in table.lines(self.width) {
            let cells: Vec<String> =
                line.iter().map(|cell| paint(self.colour, cell.tone, &cell.text)).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// A value as JSON, for programs.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
        self.line(&plain_json(&text))
    }

    /// A value as one line of JSON, for programs that read line by line.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value).context("cannot write JSON")?;
        self.line(&plain_json(&text))
    }

    /// One line of text from elsewhere: safe for the terminal, and cut to its width.
    pub(crate) fn short_line(&self, text: &str) -> Result<()> {
        let text = plain(text);
        if text.chars().count() <= self.width {
            return self.line(&text);
        }
        let kept: String = text.chars().take(self.width.saturating_sub(1)).collect();
        self.line(&format!("{kept}…"))
    }

    /// How far long work has come, on standard error, over what was said of it before; only where a person watches.
    pub(crate) fn progress(&self, text: &str) {
        if io::stderr().is_terminal() {
            eprint!("\r\u{1b}[K{}", paint(self.colour_of_errors, Tone::Faint, &plain(text)));
        }
    }

    /// Bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .context("cannot write to the standard output")
    }

    /// A line for the person that is no part of the output, on standard error.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("{}", paint(self.colour_of_errors, Tone::Faint, &plain(text)));
    }

    /// What failed, why and what to do, on standard error; nothing when the reader of our output has left.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let left = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        if left.into_iter().any(|cause| cause.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        let shown: Vec<String> = format!("{error:#}").lines().map(plain).collect();
        let name = paint(self.colour_of_errors, Tone::Bad, "curfew:");
        eprintln!("{name} {}", shown.join("\n"));
    }
}

/// "1 host", "2 hosts".
pub(crate) fn count(number: u64, noun: &str) -> String {
    let (stem, end) = match (number, noun.strip_suffix('y')) {
        (1, _) => (noun, ""),
        (_, Some(stem)) => (stem, "ies"),
        (_, None) if noun.ends_with('s') => (noun, "es"),
        (_, None) => (noun, "s"),
    };
    format!("{number} {stem}{end}")
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Strong => "1",
        Tone::Good => "32",
        Tone::Warning => "33",
        Tone::Bad => "31",
        Tone::Faint => "2",
    };
    if colour && !text.is_empty() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(
            plain("it's \"ok\"\u{1b}]0;x\u{7}\r\u{202e}"),
            "it's \"ok\"\\u{1b}]0;x\\u{7}\\r\\u{202e}"
        );
        assert_eq!(plain("Grüße, 41 µs"), "Grüße, 41 µs");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(paint(false, Tone::Bad, "no"), "no");
        assert_eq!(paint(true, Tone::Bad, "no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(paint(true, Tone::Plain, "no"), "no");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(count(1, "process"), "1 process");
        assert_eq!(count(7, "process"), "7 processes");
        assert_eq!(count(0, "host"), "0 hosts");
        assert_eq!(count(2, "entry"), "2 entries");
    }
}
