//! `curfew-principals LOGIN KEY-TYPE CERTIFICATE`: sshd's `AuthorizedPrincipalsCommand`, with the tokens `%u %t %k`.
//!
//! Asks the agent's gate and prints one principal a line. sshd runs it twice for each login, before the key is proved,
//! and takes anything but exit 0 for no. It decides nothing, reads no environment and no file.
//!
//! Exit: 0 printed; 1 the agent refuses; 64 wrong arguments; 69 the agent gave no answer; 77 it runs with rights it
//! must not have.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{getegid, geteuid, getgroups};
use wire::gate::{Answer, Question};
use wire::identifier::Principal;
use wire::octets::Octets;

fn main() -> ExitCode {
    let answered = question(std::env::args_os().skip(1)).and_then(|question| {
        hold_nothing()?;
        principals(&question)
    });
    let failure = match answered.map(|principals| print(&principals)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => Failure::NoAnswer(format!("cannot print: {error}")),
        Err(failure) => failure,
    };
    let (code, line) = match failure {
        Failure::Usage => (64, "usage: curfew-principals LOGIN KEY-TYPE CERTIFICATE".to_owned()),
        Failure::Rights(line) => (77, line),
        Failure::NoAnswer(line) => (69, line),
        Failure::Refused(line) => (1, format!("refused: {line}")),
    };
    // sshd keeps this line at its debug level only; the exit code is what it acts on.
    let shown = writeln!(io::stderr(), "curfew-principals: {}", Octets::new(line).display());
    drop(shown);
    ExitCode::from(code)
}

/// Why nothing was printed.
enum Failure {
    Usage,
    Rights(String),
    NoAnswer(String),
    Refused(String),
}

fn question(mut words: impl Iterator<Item = OsString>) -> Result<Question, Failure> {
    let mut next = || words.next().map(|word| Octets::new(word.into_vec())).ok_or(Failure::Usage);
    let (login, key_type, certificate) = (next()?, next()?, next()?);
    if next().is_ok() {
        return Err(Failure::Usage);
    }
    Ok(Question::Principals { login, key_type, certificate })
}

/// OpenSSH 6.2 to 8.7 left sshd's own groups to the commands it runs (CVE-2021-41617): with them we do not go on.
fn hold_nothing() -> Result<(), Failure> {
    if geteuid().is_root() {
        let line = "runs as root; AuthorizedPrincipalsCommandUser must be curfew-gate";
        return Err(Failure::Rights(line.to_owned()));
    }
    let own = getegid();
    let groups = getgroups().map_err(|error| Failure::Rights(format!("getgroups: {error}")))?;
    match groups.into_iter().find(|group| *group != own) {
        None => Ok(()),
        Some(group) => Err(Failure::Rights(format!(
            "holds group {} beside its own; curfew-gate must be in no other group",
            group.as_raw()
        ))),
    }
}

fn principals(question: &Question) -> Result<Vec<Principal>, Failure> {
    match ask::ask(Path::new(ask::GATE_PATH), question) {
        Ok(Answer::Principals(principals)) => Ok(principals),
        Ok(Answer::Refuse(line)) => Err(Failure::Refused(line)),
        Ok(Answer::Outside) => Err(Failure::Refused("not a certificate of ours".to_owned())),
        Ok(Answer::Permit | Answer::Explained(_)) => {
            Err(Failure::NoAnswer("the gate answered another question".to_owned()))
        }
        Err(error) => Err(Failure::NoAnswer(error.to_string())),
    }
}

fn print(principals: &[Principal]) -> io::Result<()> {
    let text: String = principals.iter().map(|principal| format!("{principal}\n")).collect();
    io::stdout().write_all(text.as_bytes())
}
