//! The pages that name tests name tests that there are.

use std::fs;
use std::path::Path;

#[test]
fn every_row_of_the_fail_matrix_names_a_test_that_there_is() {
    let page = read("docs/fail-matrix.md");
    let rows = rows(&page);
    assert!(rows.len() >= 15, "the matrix has lost rows: {}", rows.len());
    for row in rows {
        let named = named(row);
        assert!(!named.is_empty(), "no test holds the row {row}");
        let missing: Vec<_> = named.iter().filter(|(file, test)| !is_there(file, test)).collect();
        assert!(missing.is_empty(), "there is no such test: {missing:?}");
    }
}

#[test]
fn what_other_tests_hold_of_the_escapes_is_held() {
    let page = read("docs/escapes.md");
    let held = page.split("## Held by other tests").nth(1).unwrap_or_default();
    let rows = rows(held.split("\n## ").next().unwrap_or_default());
    assert!(rows.len() >= 20, "the page has lost rows: {}", rows.len());
    for (file, test) in rows.into_iter().flat_map(named) {
        assert!(is_there(&file, &test), "{file} has no test {test}");
    }
}

/// The rows of the tables of a text, without their heads.
fn rows(text: &str) -> Vec<&str> {
    let lines = text.lines().zip(text.lines().skip(1));
    let is_row = |line: &str| line.starts_with("| ");
    let is_head = |next: &str| next.starts_with("|---");
    lines.filter(|(line, next)| is_row(line) && !is_head(next)).map(|(line, _)| line).collect()
}

/// The tests that the last cell of a row names: `` `tests/e2e/lock.rs: a`, `b` `` are two of one file.
fn named(row: &str) -> Vec<(String, String)> {
    let cell = row.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap_or_default();
    let mut file = String::new();
    let mut named = Vec::new();
    for quoted in cell.split('`').skip(1).step_by(2) {
        match quoted.split_once(": ") {
            Some((path, test)) if path.ends_with(".rs") => {
                path.clone_into(&mut file);
                named.push((file.clone(), test.to_owned()));
            }
            None if !file.is_empty() && is_name(quoted) => {
                named.push((file.clone(), quoted.to_owned()));
            }
            _ => {}
        }
    }
    named
}

fn is_name(text: &str) -> bool {
    text.contains('_') && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_there(file: &str, test: &str) -> bool {
    read(file).contains(&format!("fn {test}("))
}

/// A file of the repository; nothing when there is none.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
        .unwrap_or_default()
}
