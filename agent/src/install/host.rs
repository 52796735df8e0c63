//! The host as the installer meets it, so that tests can meet another one.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command that ended.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// Whether it said yes.
    pub ok: bool,
    /// What it printed.
    pub out: String,
    /// What it complained.
    pub err: String,
}

impl Ran {
    /// Everything it said.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}\n{}", self.out, self.err)
    }

    /// The last thing it said.
    #[must_use]
    pub fn last_line(&self) -> String {
        let all = self.all();
        all.lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing")
            .to_owned()
    }
}

/// What an installation needs of the machine, files apart.
pub trait Host {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    fn run(&mut self, program: &str, words: &[&str]) -> io::Result<Ran>;

    /// Logs in through sshd as it is configured now, and says what was seen.
    ///
    /// # Errors
    /// Which part of the login path did not do its work.
    fn try_login(&mut self, root: &Path) -> Result<String, String>;
}

/// The machine this runs on.
#[derive(Debug)]
pub struct System;

impl Host for System {
    fn run(&mut self, program: &str, words: &[&str]) -> io::Result<Ran> {
        let output = command(program).args(words).output()?;
        Ok(Ran {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn try_login(&mut self, _root: &Path) -> Result<String, String> {
        super::probe::try_login()
    }
}

/// A program with nothing of our environment and no input.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.stdin(Stdio::null());
    command
}
