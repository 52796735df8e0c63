//! What the hook in PAM leaves behind when a break-glass login goes on although nobody answered at the gate.
//!
//! The agent is dead, and the login must be possible all the same; so the hook itself checks that the certificate is one of
//! the group's for this host, and leaves word where the agent's next start finds it: the certificate, as sshd gave it, and the
//! monitor. Without word that could be written the login goes on too: that is what break-glass is for, and the log says so.
//!
//! Who can change a word: root on the host. Gains: hides a use from the agent, not from sshd's log.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use wire::breakglass::{self, UseName};
use wire::certificate::Certificate;
use wire::gate::{Login, WORDS_DIR, Word, used_certificate};
use wire::identifier::{HostName, Principal};
use wire::octets::Octets;

/// The account that break-glass opens, and on which host: the argument `breakglass=LOGIN@HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door(Principal);

impl Door {
    /// Reads the argument.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(text).ok()?.parse().ok().map(Self)
    }

    /// Whether a login is to the account.
    pub(crate) fn is_for(&self, user: &Octets) -> bool {
        self.split().is_some_and(|(login, _)| login.as_bytes() == user.as_bytes())
    }

    /// Whether what sshd says was used opens the account here; says its name. The window is sshd's to check, and it has.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn opens(&self, auth_info: &[u8], keys_path: &Path) -> Result<UseName, String> {
        let (login, host) = self.split().ok_or("the account is none")?;
        let login = login.parse().map_err(|error| format!("{error}"))?;
        let host: HostName = host.parse().map_err(|error| format!("{error}"))?;
        let bytes = used_certificate(auth_info).ok_or("no certificate was used")?;
        let certificate = Certificate::from_bytes(&bytes).map_err(|error| error.to_string())?;
        let text = fs::read_to_string(keys_path)
            .map_err(|error| format!("{}: {error}", keys_path.display()))?;
        let keys = breakglass::keys(&text).map_err(|error| error.to_string())?;
        let keys: Vec<_> = keys.iter().map(|key| key.key().clone()).collect();
        let opening = breakglass::verify_afterwards(&certificate, &keys, &login, &host);
        opening.map(|opening| opening.name).map_err(|error| error.to_string())
    }

    fn split(&self) -> Option<(&str, &str)> {
        self.0.as_str().split_once('@')
    }
}

/// Leaves word of a login in `folder`.
///
/// # Errors
/// When it could not be written.
pub(crate) fn leave(folder: &Path, login: Login, auth_info: &[u8]) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let start_ticks = start_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let auth_info = Octets::new(auth_info);
    let word = Word { version: wire::VERSION, login, auth_info, pid, start_ticks, boot };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = folder.join(word.file_name());
    // Written beside and renamed, so that the agent never sees half a word.
    let beside = folder.join(format!(".{}", word.file_name()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&word.to_json())?;
    file.sync_all()?;
    fs::rename(&beside, &path)
}

/// Where words are left.
pub(crate) fn folder() -> &'static Path {
    Path::new(WORDS_DIR)
}

/// When a process started, in ticks after boot: field 22 of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            user: Octets::new("breakglass"),
            remote: Octets::new("10.0.0.9"),
            service: Octets::new("sshd"),
        }
    }

    #[test]
    fn the_account_is_exactly_the_one_that_is_named() {
        let door = Door::parse(b"breakglass@db1").unwrap();
        assert!(door.is_for(&Octets::new("breakglass")));
        for other in ["Breakglass", "breakglass2", "breakglas", "", "breakglass@db1", "root"] {
            assert!(!door.is_for(&Octets::new(other)), "{other}");
        }
        for wrong in [&b"breakglass"[..], b"@db1", b"a@b@c", b"\xff@db1", b""] {
            assert_eq!(Door::parse(wrong), None);
        }
    }

    #[test]
    fn whatever_is_no_certificate_of_the_group_does_not_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("breakglass.pub");
        let door = Door::parse(b"breakglass@db1").unwrap();
        for auth_info in [
            &b""[..],
            b"password",
            b"publickey ssh-ed25519 AAAA",
            b"publickey ssh-ed25519-cert-v01@openssh.com AAAA",
        ] {
            assert!(door.opens(auth_info, &keys).is_err());
        }
    }

    #[test]
    fn a_word_is_whole_and_for_root_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let words = folder.path().join("unasked");
        leave(&words, login(), b"publickey x y").unwrap();
        let found: Vec<_> = fs::read_dir(&words).unwrap().flatten().collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(found[0].path()).unwrap();
        let ticks = start_ticks(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(text.contains(&format!("\"start_ticks\":{ticks}")), "{text}");
        assert!(text.contains(&format!("\"pid\":{}", std::process::id())), "{text}");
    }
}
