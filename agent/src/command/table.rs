//! Writing for people: the one place of the agent that prints.

use std::io::Write as _;
use std::time::Duration;

/// Writes a text and a newline to standard output.
///
/// # Errors
/// When nobody reads it.
pub(crate) fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// Writes a value as one line of JSON. Users of the host have a say in what stands in it, and none in what the terminal does.
///
/// # Errors
/// When nobody reads it.
pub(crate) fn say_json(value: &impl serde::Serialize) -> std::io::Result<()> {
    say(&wire::octets::plain_json(&serde_json::to_string(value)?))
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// When nobody reads it.
pub(crate) fn say_bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Rows with their columns aligned, without blanks at the ends of lines.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A span with its two largest units: `1h 5m`, `4m 10s`, `20s`.
pub(crate) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    let (hours, minutes, rest) = (secs / 3600, secs / 60 % 60, secs % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m {rest}s"),
        _ => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["A", "BB", ""], ["long", "x", "y"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "A     BB\nlong  x   y");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_900, "1h 5m")];
        for (secs, text) in cases {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
    }
}
