//! Questions on the terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Asks on the controlling terminal, with the echo off; none when there is no terminal.
///
/// Ctrl-C comes as a character that ends the answer, not as a signal that would leave the terminal mute.
pub(crate) fn passphrase(question: &str) -> io::Result<Option<Zeroizing<String>>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
    // Silent first: what is typed at the sight of the question would be shown, or flushed away.
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let asked = terminal.write_all(question.as_bytes());
    let answer = asked.and_then(|()| line(&mut terminal));
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    terminal.write_all(b"\n")?;
    let answer = answer?;
    if answer.as_bytes().contains(&CTRL_C) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "given up"));
    }
    Ok(Some(answer))
}

/// Asks on the controlling terminal, as everything else that is typed there; none when there is no terminal.
pub(crate) fn answer(question: &str) -> io::Result<Option<String>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    terminal.write_all(question.as_bytes())?;
    line(&mut terminal).map(|line| Some(line.to_string()))
}

/// One line without its end. A terminal hands out a line at a time, so one read is enough.
fn line(terminal: &mut File) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; LONGEST]);
    let length = terminal.read(&mut *bytes)?;
    let line = bytes.get(..length).unwrap_or_default();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let text = str::from_utf8(line);
    let text = text.map_err(|_garbled| io::Error::other("the passphrase is no UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

const CTRL_C: u8 = 3;
/// The longest passphrase, in bytes, with its line end.
const LONGEST: usize = 1024;
