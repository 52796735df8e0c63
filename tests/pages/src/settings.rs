//! A table of settings, held against those of the program.

use std::collections::BTreeSet;

use crate::page::Page;

/// A setting as the program has it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// What holds when it is absent; quotes around it do not matter.
    pub default: &'static str,
}

/// Says what the table under this heading leaves out of these settings, has beyond them, or says otherwise of a default.
///
/// A row can have several keys. A default is looked at where its cell is one thing in backticks, and not where it is told in words.
#[must_use]
pub fn unlike(page: &Page, heading: &str, settings: &[Setting]) -> Vec<String> {
    let mut missing: BTreeSet<&str> = settings.iter().map(|setting| setting.key).collect();
    let mut found = Vec::new();
    for row in page.rows(heading) {
        let [keys, default, ..] = &row[..] else { continue };
        for key in keys.split('`').skip(1).step_by(2) {
            missing.remove(key);
            let Some(setting) = settings.iter().find(|setting| setting.key == key) else {
                found.push(format!("{key} is no setting"));
                continue;
            };
            if let Some(told) = one(default)
                && told != setting.default.trim_matches('"')
            {
                found.push(format!("{key} is {:?} by default, and not {told:?}", setting.default));
            }
        }
    }
    found.extend(missing.into_iter().map(|key| format!("{key} is not told")));
    found
}

/// What stands in a cell that holds one thing in backticks.
fn one(cell: &str) -> Option<&str> {
    let within = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!within.contains('`')).then(|| within.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_table_says_otherwise_is_found() {
        let text = "## S\n\n| key | default |\n|---|---|\n| `a` | `\"1m\"` |\n| `b`, `c` | `2` |\n| `d` | in words |\n| `e` | `3` |\n";
        let page = Page::new("page.md", text);
        let setting = |key, default| Setting { key, default };
        let right = [
            setting("a", "1m"),
            setting("b", "2"),
            setting("c", "2"),
            setting("d", "x"),
            setting("e", "3"),
        ];
        assert_eq!(unlike(&page, "S", &right), Vec::<String>::new());
        let other = [
            setting("a", "5m"),
            setting("b", "2"),
            setting("d", "x"),
            setting("e", "3"),
            setting("f", ""),
        ];
        let faults = ["a is \"5m\" by default, and not \"1m\"", "c is no setting", "f is not told"];
        assert_eq!(unlike(&page, "S", &other), faults);
        assert_eq!(unlike(&page, "T", &right).len(), 5);
    }
}
