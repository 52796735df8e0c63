//! What must not be run or named: exact words, no patterns, so that holding a program against a rule takes one pass.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that is forbidden, as one line: `command shutdown -h` or `path /etc/shadow`.
///
/// A command's first word is the program: with a slash exactly this file, without one any file of this name. The words
/// after it must stand among the arguments, in this order. A path is forbidden to be run, and to stand among the
/// arguments, also behind `--option=`, and to be written; with a slash at its end also what is below it. Where the host sees
/// files it is no matter how one is written; else, and for what is only read, what a shell opens by itself, by a redirection,
/// by a relative name or by a copy of the program under another name is not seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule(What);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Command(Vec<String>),
    Path(String),
}

/// Why a line is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFlaw {
    /// It says neither what to run nor what to name.
    #[error("write \"command PROGRAM ARGUMENT…\" or \"path /AN/ABSOLUTE/PATH\"")]
    Form,
    /// Longer than what is kept of a program's path.
    #[error("it is {0} bytes long; at most {MAX_RULE} are allowed")]
    Length(usize),
    /// A character that nobody sees, or a blank where words would be split otherwise than they are read.
    #[error("it holds a control character, or a blank too many")]
    Blank,
    /// A path that depends on where somebody stands, or that can be written in several ways.
    #[error("the path must begin with / and have no empty, . or .. part")]
    Path,
}

impl Rule {
    /// Whether touching the file of this path breaks it, whoever did.
    #[must_use]
    pub fn forbids_path(&self, file: &[u8]) -> bool {
        match &self.0 {
            What::Command(_) => false,
            What::Path(path) => is_in(file, path),
        }
    }

    /// Whether a program that was started from one of `files`, with these arguments (its own name first), breaks it.
    #[must_use]
    pub fn is_broken_by<'a>(
        &self,
        files: &[&[u8]],
        mut arguments: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        match &self.0 {
            What::Command(words) => {
                let Some((program, rest)) = words.split_first() else { return false };
                let is_program = |file: &[u8]| {
                    let name = if program.contains('/') { file } else { base(file) };
                    name == program.as_bytes()
                };
                if !files.iter().any(|file| is_program(file)) {
                    return false;
                }
                arguments.next();
                rest.iter().all(|word| arguments.any(|argument| argument == word.as_bytes()))
            }
            What::Path(path) => {
                let is_named = |named: &[u8]| is_in(named, path);
                files.iter().any(|file| is_named(file))
                    || arguments.any(|argument| is_named(argument) || is_named(value(argument)))
            }
        }
    }
}

/// Whether `named` is this path, or lies below it where it ends with a slash.
fn is_in(named: &[u8], path: &str) -> bool {
    named == path.as_bytes()
        || (path.ends_with('/') && named.starts_with(path.as_bytes()))
        || path.strip_suffix('/').is_some_and(|folder| named == folder.as_bytes())
}

/// The name of a file without its folders.
fn base(file: &[u8]) -> &[u8] {
    file.rsplit(|byte| *byte == b'/').next().unwrap_or(file)
}

/// What stands behind the first `=` of an argument.
fn value(argument: &[u8]) -> &[u8] {
    let at = argument.iter().position(|byte| *byte == b'=');
    at.and_then(|at| argument.get(at.saturating_add(1)..)).unwrap_or_default()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            What::Command(words) => write!(f, "command {}", words.join(" ")),
            What::Path(path) => write!(f, "path {path}"),
        }
    }
}

impl FromStr for Rule {
    type Err = RuleFlaw;

    fn from_str(line: &str) -> Result<Self, RuleFlaw> {
        if line.len() > MAX_RULE {
            return Err(RuleFlaw::Length(line.len()));
        }
        let (kind, rest) = line.split_once(' ').ok_or(RuleFlaw::Form)?;
        if rest
            .chars()
            .any(|letter| letter.is_control() || (letter.is_whitespace() && letter != ' '))
        {
            return Err(RuleFlaw::Blank);
        }
        match kind {
            "command" => {
                let words: Vec<String> = rest.split(' ').map(str::to_owned).collect();
                if words.iter().any(String::is_empty) {
                    return Err(RuleFlaw::Blank);
                }
                Ok(Self(What::Command(words)))
            }
            "path" => {
                let Some(parts) = rest.strip_prefix('/') else { return Err(RuleFlaw::Path) };
                let parts = parts.strip_suffix('/').unwrap_or(parts);
                if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err(RuleFlaw::Path);
                }
                Ok(Self(What::Path(rest.to_owned())))
            }
            _ => Err(RuleFlaw::Form),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = RuleFlaw;

    fn try_from(line: String) -> Result<Self, RuleFlaw> {
        line.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

/// Longest rule, in bytes: what is kept of a program's path is as long.
const MAX_RULE: usize = 255;
