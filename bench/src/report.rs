//! What a benchmark says: one row a case, for people as a table, for programs one JSON object a line.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

/// The figures of one case, in the order in which they are shown.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    name: &'static str,
    case: String,
    figures: Vec<(&'static str, Figure)>,
}

/// One figure; its unit is in its name.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Figure {
    Whole(u64),
    Measured(f64),
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(name: &'static str, case: impl Into<String>) -> Self {
        Self { name, case: case.into(), figures: Vec::new() }
    }

    /// Adds a measured figure; kept to a thousandth of its unit.
    #[must_use]
    pub(crate) fn measured(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, Figure::Measured((value * 1000.0).round() / 1000.0)));
        self
    }

    /// Adds a counted figure.
    #[must_use]
    pub(crate) fn counted(mut self, name: &'static str, value: usize) -> Self {
        self.figures.push((name, Figure::Whole(u64::try_from(value).unwrap_or(u64::MAX))));
        self
    }

    fn cells(&self) -> Vec<String> {
        let figures = self.figures.iter().map(|(_, figure)| match figure {
            Figure::Whole(value) => value.to_string(),
            Figure::Measured(value) => format!("{value:.2}"),
        });
        std::iter::once(self.case.clone()).chain(figures).collect()
    }

    fn head(&self) -> Vec<String> {
        let figures = self.figures.iter().map(|(name, _)| (*name).to_owned());
        std::iter::once(self.name.to_owned()).chain(figures).collect()
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("case", &self.case)?;
        for (name, figure) in &self.figures {
            map.serialize_entry(name, figure)?;
        }
        map.end()
    }
}

/// One JSON object a line.
pub(crate) fn json(rows: &[Row]) -> Result<String, serde_json::Error> {
    rows.iter().map(|row| serde_json::to_string(row).map(|line| line + "\n")).collect()
}

/// A table: what stands in a column has one name, so a row with other names than the one above begins a new head.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut shown: Option<Vec<String>> = None;
    for row in rows {
        let head = row.head();
        if shown.as_ref() != Some(&head) {
            lines.push(head.clone());
            shown = Some(head);
        }
        lines.push(row.cells());
    }
    align(&lines)
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| {
        lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        ["idle shell", "tree"].map(|case| {
            Row::new("kill", case).measured("p99_ms", 12.345_67).counted("survivors", 0)
        })
    }

    #[test]
    fn a_line_of_json_keeps_the_order_of_the_figures() {
        let text = json(&rows()).expect("rows can be written");
        let first = text.lines().next().expect("a line");
        let wanted = r#"{"name":"kill","case":"idle shell","p99_ms":12.346,"survivors":0}"#;
        assert_eq!(first, wanted);
    }

    #[test]
    fn a_table_has_one_head_and_numbers_to_the_right() {
        let wanted = "\
kill        p99_ms  survivors
idle shell   12.35          0
tree         12.35          0
";
        assert_eq!(table(&rows()), wanted);
    }
}
