//! The page of capabilities: every line is there once, says how it stands, and names tests that exist. The page of controls: the
//! same, and what is left to others.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_capability_has_its_line_and_every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/capabilities.md")).unwrap();
    let known = tests_in(&root);
    let mut due = 1..=63;
    for line in page.lines().filter(|line| line.starts_with("| S")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, _, _, tests, state, _] = cells[..] else { panic!("{line}") };
        assert_eq!(number, format!("S{}", due.next().unwrap()), "the next line");
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        for name in &named {
            assert!(known.contains(*name), "{number}: there is no test {name}");
        }
        match state {
            "held" | "in part" => assert!(!named.is_empty(), "{number} names no test"),
            "**pending**" => assert!(named.is_empty(), "{number} is pending and names a test"),
            other => panic!("{number} is {other:?}"),
        }
    }
    assert_eq!(due.next(), None, "lines are missing");
}

#[test]
fn every_control_says_what_is_left_and_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/controls.md")).unwrap();
    let known = tests_in(&root);
    let heads = ["| control |", "| function |", "|---"];
    let is_row =
        |line: &&str| line.starts_with('|') && !heads.iter().any(|it| line.starts_with(it));
    let rows: Vec<&str> = page.lines().filter(is_row).collect();
    assert!(rows.len() >= 60, "the page has lost rows: {}", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, control, does, left, tests, _] = cells[..] else { panic!("{row}") };
        assert!(![control, does, left].contains(&""), "{control} leaves something unsaid");
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(tests == "–" || !named.is_empty(), "{control} names no test, and does not say so");
        for name in named {
            assert!(known.contains(name), "{control}: there is no test {name}");
        }
    }
}

/// The name of every function that is marked as a test, or stands in a macro of properties.
fn tests_in(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> =
        ["agent", "bench", "ca", "cli", "tests", "wire"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.extend(marked(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

fn marked(source: &str) -> Vec<String> {
    let mut is_marked = false;
    let mut names = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_marked = true;
        } else if is_marked && !line.starts_with('#') && !line.starts_with("//") {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            names.extend(name.and_then(|rest| rest.split('(').next()).map(str::to_owned));
            is_marked = false;
        }
    }
    names
}
