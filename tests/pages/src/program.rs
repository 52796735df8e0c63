//! The pages held against a program: it must understand what they show.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::page::Page;
use crate::shown::{Form, Shown};

/// How many commands of a program the pages show, and what is wrong with them.
#[derive(Debug)]
pub struct Held {
    /// How many commands were held against the program.
    pub shown: usize,
    /// A sentence for each one that it does not understand.
    pub faults: Vec<String>,
}

/// Holds what the pages show of a program against its own command line. Nothing is run.
///
/// A word that stands for something (`SESSION`, `SHA256:…`, `$NAME`) is taken for whatever the program takes there; `…` alone
/// says that something else may follow.
#[must_use]
pub fn held(program: &Command, pages: &[Page]) -> Held {
    let mut held = Held { shown: 0, faults: Vec::new() };
    for page in pages {
        match page.commands(program.get_name()) {
            Ok(shown) => {
                held.shown = held.shown.saturating_add(shown.len());
                held.faults.extend(shown.iter().filter_map(|shown| fault(program, shown)));
            }
            Err(fault) => held.faults.push(fault),
        }
    }
    held
}

fn fault(program: &Command, shown: &Shown) -> Option<String> {
    let mut words: Vec<Word> = shown.words.iter().map(|word| Word::new(word)).collect();
    let is_open = shown.form == Form::Part || words.iter().any(|word| word.is_rest());
    words.retain(|word| !word.is_rest());
    let mut last = 0;
    loop {
        let line = words.iter().map(|word| &word.now);
        let Err(error) = program.clone().try_get_matches_from(line) else { return None };
        if is_help(&error) || (is_open && is_for_want(&error)) {
            return None;
        }
        let (refused, known) = (refused(&error), known(&error));
        let stood_in = refused.as_deref().is_some_and(|refused| {
            // What was taken once is taken again: it is the one that was changed last, or one that never was.
            let again = words.get(last).is_some_and(|word| word.is_value(refused));
            let first = |word: &Word| word.tried == 0 && word.is_value(refused);
            last = if again { last } else { words.iter().position(first).unwrap_or(usize::MAX) };
            words.get_mut(last).is_some_and(|word| word.stand_in(known.as_deref()))
        });
        if !stood_in {
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
            return Some(format!("{}: {}: {said}", shown.place, shown.words.join(" ")));
        }
    }
}

/// A word as the page has it, and what it is taken for.
struct Word {
    shown: String,
    now: String,
    tried: usize,
}

impl Word {
    fn new(shown: &str) -> Self {
        Self { shown: shown.to_owned(), now: shown.to_owned(), tried: 0 }
    }

    fn is_rest(&self) -> bool {
        matches!(&*self.shown, "…" | "...")
    }

    fn is_value(&self, value: &str) -> bool {
        self.now == value || self.now.split_once('=').is_some_and(|(_, after)| after == value)
    }

    /// Takes it for a value that is known to be taken there, or else for the next thing that such a word could stand for; false when
    /// it stands for itself or nothing is left.
    fn stand_in(&mut self, known: Option<&str>) -> bool {
        let next = STAND_INS.get(self.tried).filter(|_| stands_for_something(&self.shown));
        let Some(next) = next else { return false };
        let next = known.unwrap_or(next);
        self.now = match self.shown.split_once('=').filter(|(name, _)| name.starts_with("--")) {
            Some((name, _)) => format!("{name}={next}"),
            None => next.to_owned(),
        };
        self.tried = self.tried.saturating_add(1);
        true
    }
}

/// `SESSION`, `SHA256:…`, `$NAME`, `/media/STICK`: a part of it is in capitals, or says that there is more.
fn stands_for_something(word: &str) -> bool {
    let parts = word.split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_long = |part: &str| part.len() > 1 || part == word;
    let in_capitals = |part: &str| is_long(part) && part.bytes().all(|it| it.is_ascii_uppercase());
    word.contains(['…', '$']) || parts.into_iter().any(in_capitals)
}

fn is_help(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// That something which is needed is not there, and nothing else.
fn is_for_want(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::TooFewValues => true,
        ErrorKind::InvalidValue => refused(error).is_none_or(|value| value.is_empty()),
        _ => false,
    }
}

/// The value that was not taken.
fn refused(error: &Error) -> Option<String> {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => Some(value.clone()),
        _ => None,
    }
}

/// A value that would have been taken, where the program has a list of them.
fn known(error: &Error) -> Option<String> {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.first().cloned(),
        _ => None,
    }
}

/// What a word that stands for something is taken for, in turn.
const STAND_INS: [&str; 9] = [
    "1",
    "1h",
    "ana@example.com",
    "db1",
    "2026-12-01T20:00:00Z",
    "4f0c9a1be2d37781",
    "192.0.2.0/24",
    "name=value",
    "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
];

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction, value_parser};

    #[test]
    fn what_a_program_understands_is_no_fault() {
        for line in [
            "curfew lock ana --reason 'a b' --for 5",
            "curfew lock NAME --reason=\"…\" --for SECONDS",
            "curfew lock NAME --reason b --for N --how HOW",
            "curfew lock ana --reason b --for N --again SPAN",
            "curfew lock ana --reason …",
            "curfew lock ana …",
            "curfew lock --help",
            "curfew show",
            "curfew show --json   # everything",
            "$ curfew show",
        ] {
            assert_eq!(faults(&format!("```sh\n{line}\n```")), Vec::<String>::new(), "{line}");
        }
        for span in ["curfew lock", "curfew lock ana --for", "curfew", "curfew show | lock"] {
            assert_eq!(faults(&format!("As `{span}` says.")), Vec::<String>::new(), "{span}");
        }
    }

    #[test]
    fn what_it_does_not_understand_is_one_with_its_place() {
        for (line, said) in [
            ("curfew loc ana", "unrecognized subcommand 'loc'"),
            ("curfew show --jason", "unexpected argument '--jason' found"),
            ("curfew show more", "unexpected argument 'more' found"),
            ("curfew lock ana", "the following required arguments were not provided:"),
            ("curfew lock ana --reason b --for ever", "invalid value 'ever' for '--for <for>':"),
            ("sudo curfew show && curfew shows", "unrecognized subcommand 'shows'"),
        ] {
            let found = faults(&format!("one\n\n```sh\n{line}\n```"));
            assert!(matches!(&found[..], [one] if one.contains(said)), "{line}: {found:?}");
            assert!(found[0].starts_with("page.md:3: curfew "), "{found:?}");
        }
        for span in ["curfew loc", "curfew show --jason", "curfew lock | loc", "curfew lock a b"] {
            assert_eq!(faults(&format!("As `{span}` says.")).len(), 1, "{span}");
        }
    }

    #[test]
    fn what_was_held_is_counted() {
        let page = Page::new("page.md", "`curfew show` and\n\n```sh\ncurfew show\n```");
        assert_eq!(held(&program(), &[page]).shown, 2);
    }

    fn faults(text: &str) -> Vec<String> {
        held(&program(), &[Page::new("page.md", text)]).faults
    }

    fn program() -> Command {
        let seconds = Arg::new("for").long("for").value_parser(value_parser!(u64));
        let reason = Arg::new("reason").long("reason").required(true);
        let how = Arg::new("how").long("how").value_parser(["now", "later"]);
        let who = Arg::new("who").required(true);
        let again = |text: &str| if text == "1h" { Ok(()) } else { Err("no span") };
        let again = Arg::new("again").long("again").value_parser(again);
        let lock = Command::new("lock").args([who, reason, seconds, how, again]);
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
        let show = Command::new("show").arg(json);
        Command::new("curfew").subcommand_required(true).subcommand(lock).subcommand(show)
    }
}
