//! A page: prose, and blocks between fences.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A page of this tree.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it is, from the top of the tree.
    pub path: String,
    text: String,
}

impl Page {
    /// A page of this text.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Its blocks in this language, each with the line in which it begins.
    #[must_use]
    pub fn blocks(&self, language: &str) -> Vec<(usize, String)> {
        let block = |part| match part {
            Part::Block { line, language: its, text } if its == language => Some((line, text)),
            _ => None,
        };
        self.parts().into_iter().filter_map(block).collect()
    }

    /// The rows of the tables under this heading, without their heads, in cells.
    #[must_use]
    pub fn rows(&self, heading: &str) -> Vec<Vec<String>> {
        let lines: Vec<String> = self
            .parts()
            .into_iter()
            .filter_map(|part| match part {
                Part::Prose { text, .. } => Some(text),
                Part::Block { .. } => None,
            })
            .collect();
        let is_heading = |line: &&String| line.starts_with('#');
        let under =
            lines.iter().skip_while(|line| !line.trim_start_matches('#').trim().eq(heading));
        let under: Vec<&String> = under.skip(1).take_while(|line| !is_heading(line)).collect();
        let is_divider = |line: &str| line.starts_with("|---");
        let follows = under.iter().skip(1).map(|line| line.as_str()).chain([""]);
        let rows = under
            .iter()
            .zip(follows)
            .filter(|(line, next)| line.starts_with('|') && !is_divider(line) && !is_divider(next));
        let cells =
            |line: &str| line.trim_matches(['|', ' ']).split(" | ").map(str::to_owned).collect();
        rows.map(|(line, _)| cells(line)).collect()
    }

    /// What it consists of, in order.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut lines = (1_usize..).zip(self.text.lines());
        while let Some((line, text)) = lines.next() {
            let text = text.trim_start();
            if let Some(language) = text.strip_prefix(FENCE) {
                let language = language.trim().to_owned();
                let within = lines.by_ref().map(|(_, text)| text.trim_start());
                let within: Vec<&str> = within.take_while(|text| *text != FENCE).collect();
                parts.push(Part::Block { line, language, text: within.join("\n") });
            } else {
                say(&mut parts, line, text);
            }
        }
        parts
    }
}

/// A paragraph, an item, a row or a heading; or a block. Both know in which line they begin.
#[derive(Debug)]
pub(crate) enum Part {
    Prose { line: usize, text: String },
    Block { line: usize, language: String, text: String },
}

/// Every page that somebody reads to use Curfew or to take part in it.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> io::Result<Vec<Page>> {
    let mut paths = Vec::new();
    below(&top().join("docs"), &mut paths)?;
    for folder in [top(), top().join("packaging")] {
        let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        paths.extend(entries.collect::<io::Result<Vec<_>>>()?);
    }
    paths.retain(|path| path.extension().is_some_and(|end| end == "md"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path)?;
        let path = path.strip_prefix(top()).unwrap_or(&path).display().to_string();
        Ok(Page { path, text })
    };
    paths.into_iter().map(read).collect()
}

/// The folder with everything in it.
pub(crate) fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Goes on with the paragraph, or begins another one.
fn say(parts: &mut Vec<Part>, line: usize, text: &str) {
    let begins = text.is_empty() || ["|", "#", "- "].iter().any(|mark| text.starts_with(mark));
    match parts.last_mut() {
        Some(Part::Prose { text: said, .. })
            if !begins && !said.is_empty() && !said.starts_with('#') =>
        {
            said.push('\n');
            said.push_str(text);
        }
        _ => parts.push(Part::Prose { line, text: text.to_owned() }),
    }
}

const FENCE: &str = "```";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_its_heading() {
        let text = "# One\n| no | no |\n## Two\ntext\n\n| key | what |\n|---|---|\n| `a` | b |\n| `c` | d |\n\n## Three\n| no | no |\n";
        let page = Page::new("page.md", text);
        assert_eq!(page.rows("Two"), [["`a`", "b"], ["`c`", "d"]]);
        assert!(page.rows("Four").is_empty());
    }

    #[test]
    fn a_page_is_paragraphs_rows_and_blocks_with_their_lines() {
        let text = "# One\n\ntwo\nthree\n| a |\n| b |\n   ```sh\n   four\n   ```\nfive\n";
        let parts = Page::new("page.md", text).parts();
        let shown: Vec<String> = parts
            .iter()
            .map(|part| match part {
                Part::Prose { line, text } => format!("{line} {text}"),
                Part::Block { line, language, text } => format!("{line} {language}: {text}"),
            })
            .collect();
        let expected =
            ["1 # One", "2 ", "3 two\nthree", "5 | a |", "6 | b |", "7 sh: four", "10 five"];
        assert_eq!(shown, expected);
    }
}
