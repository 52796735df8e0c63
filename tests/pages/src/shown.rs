//! A command that a page shows.

use crate::page::{Page, Part};
use crate::shell::{self, Token};

/// A command that a page shows, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The page, and the line in which its block or paragraph begins.
    pub place: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// How it is shown.
    pub form: Form,
}

/// How a command is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// To be typed: nothing may be missing.
    Whole,
    /// In a sentence, where what it needs besides may be left out.
    Part,
}

impl Page {
    /// Every command of `program` that the page shows.
    ///
    /// # Errors
    /// When a block of commands is not one: a quote does not end.
    pub fn commands(&self, program: &str) -> Result<Vec<Shown>, String> {
        let mut shown = Vec::new();
        for part in self.parts() {
            let (line, form, commands) = match part {
                Part::Prose { line, text } => (line, Form::Part, mentioned(&text)),
                Part::Block { line, language, text } => {
                    let place = |fault| format!("{}:{line}: {fault}", self.path);
                    (line, Form::Whole, typed(&language, &text).map_err(place)?)
                }
            };
            let ours = commands.into_iter().filter_map(|words| of(program, words));
            let place = format!("{}:{line}", self.path);
            shown.extend(ours.map(|words| Shown { place: place.clone(), words, form }));
        }
        Ok(shown)
    }
}

/// The commands of a block: of a script all lines, of what somebody saw on a terminal those behind a prompt.
fn typed(language: &str, text: &str) -> Result<Vec<Vec<String>>, String> {
    let prompted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let script = match language {
        "sh" if prompted.is_empty() => text.to_owned(),
        "sh" | "" => prompted.join("\n"),
        _ => return Ok(Vec::new()),
    };
    let tokens = shell::tokens(&script)?;
    let commands = tokens.split(|token| !matches!(token, Token::Word(_)));
    Ok(commands.map(words).filter(|words| !words.is_empty()).collect())
}

/// The commands of a paragraph, which stand in backticks. Backticks around what is no command are passed over.
fn mentioned(text: &str) -> Vec<Vec<String>> {
    let spans = text.split('`').skip(1).step_by(2);
    let plain = spans.map(|span| span.replace("\\|", "|").replace('\n', " "));
    let mut commands = Vec::new();
    for tokens in plain.filter_map(|span| shell::tokens(&span).ok()) {
        commands.extend(tokens.split(|token| *token == Token::End).flat_map(possibilities));
    }
    commands
}

/// `keys list | rotate` are two commands, and `[--all]` may be there or not: it is taken to be there.
fn possibilities(tokens: &[Token]) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut is_other = false;
    for token in tokens {
        let Token::Word(word) = token else {
            is_other = true;
            continue;
        };
        let word = word.trim_matches(['[', ']']);
        if is_other {
            let before = all.iter().filter_map(|words: &Vec<String>| {
                let (_, before) = words.split_last()?;
                Some(before.iter().cloned().chain([word.to_owned()]).collect())
            });
            let others: Vec<Vec<String>> = before.collect();
            all.extend(others);
        } else {
            all.iter_mut().for_each(|words| words.push(word.to_owned()));
        }
        is_other = false;
    }
    all.dedup();
    all
}

fn words(tokens: &[Token]) -> Vec<String> {
    let word = |token: &Token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Bar | Token::End => None,
    };
    tokens.iter().filter_map(word).collect()
}

/// The command of `program` in these words: they begin with it, or with something that starts it.
fn of(program: &str, words: Vec<String>) -> Option<Vec<String>> {
    let is_ours = |word: &String| named(word) == program;
    let mut words = words.into_iter().skip_while(|word| is_before(word)).peekable();
    let first = words.peek()?;
    if is_ours(first) {
        return Some(words.collect());
    }
    if !STARTERS.contains(&named(first)) {
        return None;
    }
    let words: Vec<String> = words.collect();
    let is_option = |word: &str| word.starts_with('-') && word != "--";
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let begins = pairs.position(|(before, word)| is_ours(word) && !is_option(before))?;
    Some(words.into_iter().skip(begins.saturating_add(1)).collect())
}

fn named(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_before(word: &str) -> bool {
    let is_set = word.split_once('=').is_some_and(|(name, _)| {
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    });
    is_set || ["if", "then", "else", "while", "until", "do", "!", "{"].contains(&word)
}

const STARTERS: [&str; 8] =
    ["sudo", "runuser", "systemd-run", "ssh", "env", "exec", "watch", "time"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_where_they_stand() {
        let page = Page::new(
            "page.md",
            "Then `curfew lock ana` ends it, `curfew-ca` does not; `curfew keys list | revoke\nKEY`, `curfew log [--all]`.\n\n\
             | `curfew a \\| b` | c |\n\n```sh\ncp curfew /usr/bin    # curfew no\nsudo -u curfew -- ./curfew \"x y\" | curfew z\n```\n\
             ```\n$ curfew seen\ncurfew is not a command here\n```\n```toml\ncurfew = 1\n```\n",
        );
        let shown = page.commands("curfew").unwrap();
        let shown: Vec<_> = shown.iter().map(|it| (&*it.place, it.words.join(","))).collect();
        let expected = [
            ("page.md:1", "curfew,lock,ana"),
            ("page.md:1", "curfew,keys,list,KEY"),
            ("page.md:1", "curfew,keys,revoke,KEY"),
            ("page.md:1", "curfew,log,--all"),
            ("page.md:4", "curfew,a"),
            ("page.md:4", "curfew,b"),
            ("page.md:6", "./curfew,x y"),
            ("page.md:6", "curfew,z"),
            ("page.md:10", "curfew,seen"),
        ];
        assert_eq!(shown, expected.map(|(place, words)| (place, words.to_owned())));
    }

    #[test]
    fn a_block_with_half_a_quote_is_told_with_its_place() {
        let page = Page::new("page.md", "one\n\n```sh\ncurfew lock 'ana\n```\n");
        assert_eq!(page.commands("curfew").unwrap_err(), "page.md:3: a quote does not end: 'ana");
    }
}
