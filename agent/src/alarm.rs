//! Every way in which this host can raise the alarm by itself: its journal, syslog, its terminals, a command of the operator's.
//!
//! None may keep a login waiting, and none is believed to be enough: each is tried, and what became of it is recorded. The
//! command runs without a shell, outside the agent's sandbox, with one word more than the operator wrote: the path of a
//! file that says what happened. Nothing that a stranger chose is on its command line.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use serde::Serialize;
use wire::breakglass::{Alarm, AlarmEnded};
use wire::identifier::Serial;

use crate::config::Config;
use crate::install::{Host as _, System};
use crate::store;

/// The host's ways to raise the alarm.
#[derive(Debug)]
pub struct Siren {
    command: Vec<String>,
    folder: PathBuf,
}

impl Siren {
    /// As the settings have it.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { command: config.breakglass_alarm.clone(), folder: config.run_dir.join("alarms") }
    }

    /// Raises it by every way for the use of a certificate, and says what became of each. The command is under way then: how
    /// it ended is said at `ended`.
    #[must_use]
    pub fn raise(
        &self,
        serial: Serial,
        used: &(impl Serialize + fmt::Display),
        ended: &Sender<AlarmEnded>,
    ) -> Vec<Alarm> {
        // The journal is where our own log goes, and the caller has said it there.
        let mut alarms = vec![alarm("journal", Ok(()))];
        alarms.push(alarm("syslog", syslog(&format!("curfew: {used}"))));
        alarms.push(alarm("wall", wall(&format!("curfew: {used}"), Path::new("/dev/pts"))));
        if !self.command.is_empty() {
            let started = alarm("command", self.start(serial, used, ended.clone()));
            alarms.push(Alarm { waits: started.fault.is_none(), ..started });
        }
        alarms
    }

    fn start(
        &self,
        serial: Serial,
        used: &impl Serialize,
        ended: Sender<AlarmEnded>,
    ) -> io::Result<()> {
        match std::fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = self.folder.join(format!("{serial}.json"));
        store::write(&path, used).map_err(io::Error::other)?;
        let mut words: Vec<String> =
            ["--quiet", "--collect", "--wait", IN_TIME, "--"].map(str::to_owned).to_vec();
        words.extend(self.command.iter().map(|word| word.replace('$', "$$")));
        words.push(path.display().to_string());
        std::thread::Builder::new().name("alarm".into()).spawn(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let done = match System.run("/usr/bin/systemd-run", &words) {
                Ok(ran) if ran.ok => Ok(()),
                Ok(ran) => Err(io::Error::other(why(&ran.last_line()))),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            let over = AlarmEnded { serial, alarm: alarm("command", done) };
            if let Err(unheard) = ended.send(over) {
                tracing::error!(%unheard, "nobody heard how the command for alarms ended");
            }
        })?;
        Ok(())
    }
}

/// systemd-run says nothing where what it ran said nothing.
fn why(last: &str) -> &str {
    if last.is_empty() {
        "it failed, or was not done within a minute, and said nothing"
    } else {
        last
    }
}

fn alarm(by: &str, done: io::Result<()>) -> Alarm {
    let fault = done.err().map(|error| error.to_string());
    if let Some(fault) = &fault {
        tracing::error!(by, fault, "an alarm of break-glass did not go out");
    }
    Alarm { by: by.to_owned(), fault, waits: false }
}

/// One line to the host's syslog, as loud as there is (authpriv.alert).
fn syslog(line: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let line = format!("<{AUTHPRIV_ALERT}>curfew-agent[{}]: {line}", std::process::id());
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for path in ["/dev/log", "/run/systemd/journal/dev-log"] {
        match socket.send_to(line.as_bytes(), path) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One line on every terminal of the host, as wall(1) does; one that takes no output now is not waited for.
fn wall(line: &str, folder: &Path) -> io::Result<()> {
    let line = format!("\r\n\u{7}*** {line} ***\r\n");
    for entry in std::fs::read_dir(folder)?.flatten().take(MAX_TERMINALS) {
        let is_number =
            entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            continue;
        }
        let written = OpenOptions::new()
            .write(true)
            .custom_flags(OPEN_FLAGS)
            .open(entry.path())
            .and_then(|mut terminal| terminal.write_all(line.as_bytes()));
        if let Err(error) = written {
            tracing::debug!(terminal = %entry.path().display(), %error, "a terminal was not told");
        }
    }
    Ok(())
}

/// How long the command may take: it ends then, and counts as failed.
const IN_TIME: &str = "--property=RuntimeMaxSec=60";
/// Facility 10, severity 1 (RFC 5424, section 6.2.1).
const AUTHPRIV_ALERT: u32 = 81;
const MAX_TERMINALS: usize = 1_024;
/// Never becomes our terminal, never waits, never follows a link.
const OPEN_FLAGS: i32 = {
    let flags = rustix::fs::OFlags::NOCTTY
        .union(rustix::fs::OFlags::NONBLOCK)
        .union(rustix::fs::OFlags::NOFOLLOW);
    flags.bits().cast_signed()
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_reaches_every_terminal_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["0", "17", "ptmx"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        wall("BREAK-GLASS for INC-42", folder.path()).unwrap();
        let told = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(told("0").contains("BREAK-GLASS for INC-42") && told("17").contains("INC-42"));
        assert_eq!(told("ptmx"), "");
        assert!(wall("x", Path::new("/nowhere")).is_err());
    }
}
