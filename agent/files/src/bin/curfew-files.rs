//! `curfew-files serve`: watches which files are written, for `curfew-agent`. systemd starts it, with the socket at which
//! the agent connects as its standard input.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.len() != 1 || words.first().is_none_or(|word| word != "serve") {
        say("usage: curfew-files serve; systemd starts it");
        return ExitCode::from(64);
    }
    let input = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(input) => input,
        Err(error) => {
            say(&format!("no socket to serve: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match files::serve::serve(input) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Goes to the journal.
fn say(line: &str) {
    let shown = writeln!(io::stderr(), "curfew-files: {line}");
    drop(shown);
}
