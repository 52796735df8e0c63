//! A table of short texts, aligned, cut to the width of the terminal and never wrapped.

use super::{Tone, plain};

/// A table with a heading over each column.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// One text in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What it says, safe for a terminal.
    pub(super) text: String,
    /// How it looks.
    pub(super) tone: Tone,
}

impl Cell {
    /// `text` in `tone`.
    pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { text: plain(text.as_ref()), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::toned(Tone::Plain, value.to_string())
    }
}

impl Table {
    /// An empty table under these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|text| Cell::toned(Tone::Faint, text)).collect()] }
    }

    /// Adds a row, as long as the headings.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines, padded to their columns, none longer than `width` where columns can be cut.
    pub(super) fn lines(&self, width: usize) -> Vec<Vec<Cell>> {
        let widths = self.widths(width);
        let fit = |row: &Vec<Cell>| {
            row.iter()
                .zip(&widths)
                .map(|(cell, width)| Cell { text: fitted(&cell.text, *width), tone: cell.tone })
                .collect()
        };
        self.rows.iter().map(fit).collect()
    }

    /// Each column's width: what it needs, the widest cut first until all fit.
    fn widths(&self, width: usize) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.chars().count().max(*width);
            }
        }
        let gaps = columns.saturating_sub(1).saturating_mul(GAP);
        let room = width.saturating_sub(gaps);
        while widths.iter().sum::<usize>() > room {
            // The first column is what a row is called by, and is there to be copied.
            match widths.iter_mut().skip(1).max() {
                Some(widest) if *widest > NARROWEST => *widest = widest.saturating_sub(1),
                _ => break,
            }
        }
        widths
    }
}

fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Blanks between columns.
const GAP: usize = 2;
/// A column is not cut below this; the line runs over instead.
const NARROWEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table, width: usize) -> Vec<String> {
        let join =
            |row: Vec<Cell>| row.into_iter().map(|cell| cell.text).collect::<Vec<_>>().join("  ");
        table.lines(width).into_iter().map(join).collect()
    }

    fn table() -> Table {
        let mut table = Table::new(&["HOST", "WHY"]);
        table.row(vec!["db1".into(), "a rather long sentence".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        assert_eq!(
            shown(&table(), usize::MAX),
            ["HOST  WHY                   ", "db1   a rather long sentence"]
        );
    }

    #[test]
    fn the_widest_column_is_cut_to_the_terminal() {
        let lines = shown(&table(), 20);
        assert_eq!(lines[1], "db1   a rather long…".to_owned());
        assert!(lines.iter().all(|line| line.chars().count() == 20));
    }

    #[test]
    fn a_terminal_too_narrow_for_anything_still_shows_something() {
        assert_eq!(shown(&table(), 1)[1], "db1   a rathe…");
    }

    #[test]
    fn what_a_row_is_called_by_is_never_cut() {
        let mut table = Table::new(&["SESSION", "WHO"]);
        table.row(vec!["00000000000000a1".into(), "ana@example.com".into()]);
        assert_eq!(shown(&table, 10)[1], "00000000000000a1  ana@exa…");
    }
}
