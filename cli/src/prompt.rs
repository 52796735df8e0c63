//! A question on the terminal whose answer is not shown.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Asks on the controlling terminal, with the echo off; none when there is no terminal.
pub(crate) fn passphrase(question: &str) -> io::Result<Option<Zeroizing<String>>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    terminal.write_all(question.as_bytes())?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut answer = Zeroizing::new(String::with_capacity(LONGEST));
    let read = BufReader::new(&terminal).read_line(&mut answer);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    terminal.write_all(b"\n")?;
    read?;
    let length = answer.trim_end_matches(['\r', '\n']).len();
    answer.truncate(length);
    Ok(Some(answer))
}

/// Room for a passphrase, so that growing leaves no copies behind.
const LONGEST: usize = 1024;
