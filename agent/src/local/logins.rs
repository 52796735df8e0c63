//! Who logged in by other ways than sshd's, and what transient units there are: as logind and systemd keep it in `/run`.
//!
//! Source: `/run/systemd/sessions/*`, a line a field, which `sd_session_get_*(3)` read; `/run/systemd/transient`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::handed::is_work;

/// A login as logind has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The account.
    pub user: String,
    /// The PAM service that let it in: `login`, `sshd`, `su-l`.
    pub service: String,
    /// The process that began it.
    pub leader: u32,
    /// Where it came from, if from elsewhere.
    pub remote: String,
}

/// Every login of a person in `folder`, by logind's name for it. Nothing where there is no logind.
#[must_use]
pub fn logins(folder: &Path) -> BTreeMap<String, Login> {
    names(folder)
        .filter_map(|name| {
            let login = parse(&whole(&folder.join(&name))?)?;
            Some((name, login))
        })
        .collect()
}

/// Transient units that are work somebody asked for.
#[must_use]
pub fn units(folder: &Path) -> BTreeSet<String> {
    names(folder).filter(|name| is_work(name)).collect()
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).take(MAX_NAMES)
}

/// The text of a plain file. Beside each lies a pipe (`4.ref`), on which reading would never return.
fn whole(path: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK);
    let open =
        fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = open.ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A login of a person: not of a service such as cron, not a user's manager, not a login screen.
fn parse(text: &str) -> Option<Login> {
    let field = |key: &str| {
        let of_key = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        text.lines().find_map(of_key)
    };
    if !field("CLASS").is_some_and(|class| class == "user" || class.starts_with("user-")) {
        return None;
    }
    Some(Login {
        user: field("USER").unwrap_or_default(),
        service: field("SERVICE").unwrap_or_default(),
        leader: field("LEADER")?.parse().ok()?,
        remote: field("REMOTE_HOST").unwrap_or_default(),
    })
}

/// Longest file of a login, in bytes; they have a few hundred.
const MAX_FILE: u64 = 16 * 1024;
/// Most entries that are looked at in one folder.
const MAX_NAMES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_from_services() {
        let text = |class: &str| {
            format!(
                "# This is private data. Do not parse.\nUID=1000\nUSER=app\nSTATE=active\nCLASS={class}\nSERVICE=login\n\
                 REMOTE_HOST=10.0.0.9\nLEADER=321\n"
            )
        };
        let login = parse(&text("user")).unwrap();
        assert_eq!(
            (login.user.as_str(), login.service.as_str(), login.leader),
            ("app", "login", 321)
        );
        assert_eq!(login.remote, "10.0.0.9");
        for class in ["background", "manager", "greeter", "lock-screen"] {
            assert_eq!(parse(&text(class)), None);
        }
        for broken in ["", "CLASS=user\n", "CLASS=user\nLEADER=x\n"] {
            assert_eq!(parse(broken), None);
        }
    }

    #[test]
    fn the_pipe_beside_a_login_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("4"), "CLASS=user\nUSER=app\nLEADER=3\n").unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("4.ref")).status();
        assert!(made.unwrap().success());
        // Somebody holds the other end and says nothing, as a login does.
        let _held = fs::OpenOptions::new().read(true).write(true).open(folder.path().join("4.ref"));
        assert_eq!(logins(folder.path()).len(), 1);
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let none = Path::new("/nonexistent");
        assert!(logins(none).is_empty() && units(none).is_empty());
    }
}
