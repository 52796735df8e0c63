//! Reading what a host says of itself: the folder of local locks, and its accounts. Reads, and changes nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::account::{self, Account};
use super::{Found, parse};

/// Reads every lock in the folder. A folder that is not there holds none.
///
/// # Errors
/// Why nothing in it can be believed: others than root can write it, or it cannot be read.
pub fn locks(folder: &Path) -> Result<Found, String> {
    let said = |error: io::Error| format!("{}: {error}", folder.display());
    let found = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::new()),
        other => other.map_err(said)?,
    };
    if !found.is_dir() {
        return Err(format!("{} is no folder", folder.display()));
    }
    is_roots(&found).map_err(|flaw| format!("{} {flaw}", folder.display()))?;
    let mut locks = Found::new();
    for entry in fs::read_dir(folder).map_err(said)? {
        let path = entry.map_err(said)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        // What editors lay beside a file ends otherwise, or begins with a dot.
        if !name.is_some_and(|name| name.ends_with(".toml") && !name.starts_with('.')) {
            continue;
        }
        if locks.len() >= MAX_FILES {
            return Err(format!("{} holds more than {MAX_FILES} locks", folder.display()));
        }
        let read = whole(&path, MAX_LOCK, Owner::Root);
        match read {
            // Gone between the listing and the reading.
            Err(Unread::Absent) => {}
            Err(Unread::Flaw(flaw)) => {
                locks.insert(path.display().to_string(), Err(flaw));
            }
            Ok(text) => {
                locks.insert(path.display().to_string(), parse(&text));
            }
        }
    }
    Ok(locks)
}

/// Reads the accounts below `etc`.
///
/// # Errors
/// Why they are not known; half of them would be worse than none.
pub fn accounts(etc: &Path) -> Result<Vec<Account>, String> {
    let read = |name: &str| {
        whole(&etc.join(name), MAX_ACCOUNTS_FILE, Owner::Anybody).map_err(|unread| match unread {
            Unread::Absent => format!("{} is not there", etc.join(name).display()),
            Unread::Flaw(flaw) => format!("{}: {flaw}", etc.join(name).display()),
        })
    };
    account::parse(&read("passwd")?, &read("shadow")?)
}

/// Whose a file must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Root,
    Anybody,
}

/// Why there is no text.
enum Unread {
    Absent,
    Flaw(String),
}

/// A plain file, from the descriptor that was looked at.
fn whole(path: &Path, limit: u64, owner: Owner) -> Result<String, Unread> {
    let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK);
    let open = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = open.map_err(|error| match error {
        absent if absent.kind() == io::ErrorKind::NotFound => Unread::Absent,
        link if link.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Unread::Flaw("it is a symbolic link; put the file itself here".into())
        }
        other => Unread::Flaw(other.to_string()),
    })?;
    read(&file, limit, owner).map_err(Unread::Flaw)
}

fn read(file: &File, limit: u64, owner: Owner) -> Result<String, String> {
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no file".into());
    }
    if owner == Owner::Root {
        is_roots(&found)?;
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(format!("it is longer than {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("it is no text: {error}"))
}

/// Whether root owns it and nobody else can write it.
fn is_roots(found: &fs::Metadata) -> Result<(), String> {
    if found.uid() != 0 {
        return Err(format!("belongs to the user {}, not to root; chown it to root", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!("can be written by others (mode {mode:o}); chmod it to go-w"));
    }
    Ok(())
}

/// Most locks of one host; each login is held against all of them.
const MAX_FILES: usize = 1_000;
/// Longest file of one lock, in bytes.
const MAX_LOCK: u64 = 16 * 1024;
/// Longest file of accounts, in bytes.
const MAX_ACCOUNTS_FILE: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_what_root_alone_can_write_is_believed() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ana.toml");
        let source = path.display().to_string();
        fs::write(&path, "identity = \"ana\"\nreason = \"r\"\n").unwrap();
        fs::write(folder.path().join(".ana.toml.swp"), "junk").unwrap();
        fs::write(folder.path().join("ana.toml~"), "junk").unwrap();
        mode(&path, 0o644);
        let found = locks(folder.path()).unwrap();
        assert!(found.len() == 1 && found[&source].is_ok(), "{found:?}");
        mode(&path, 0o664);
        assert!(locks(folder.path()).unwrap()[&source].as_ref().unwrap_err().contains("mode 664"));
        mode(&path, 0o600);
        std::os::unix::fs::chown(&path, Some(1000), None).unwrap();
        assert!(locks(folder.path()).unwrap()[&source].as_ref().unwrap_err().contains("user 1000"));
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        mode(folder.path(), 0o777);
        assert!(locks(folder.path()).unwrap_err().contains("can be written by others"));
        mode(folder.path(), 0o755);
        let link = folder.path().join("link.toml");
        symlink(&path, &link).unwrap();
        let found = locks(folder.path()).unwrap();
        let flaw = found[&link.display().to_string()].as_ref().unwrap_err().clone();
        assert!(flaw.contains("symbolic link"), "{flaw}");
        fs::remove_file(&link).unwrap();
        fs::write(&path, "x".repeat(20_000)).unwrap();
        assert!(locks(folder.path()).unwrap()[&source].as_ref().unwrap_err().contains("longer"));
        fs::write(&path, [0xff]).unwrap();
        assert!(locks(folder.path()).unwrap()[&source].as_ref().unwrap_err().contains("no text"));
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_lock_and_a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(locks(&folder.path().join("locks.d")), Ok(Found::new()));
        fs::write(folder.path().join("locks.d"), "").unwrap();
        assert!(locks(&folder.path().join("locks.d")).unwrap_err().contains("no folder"));
    }

    #[test]
    fn this_machines_own_accounts_can_be_read() {
        if rustix::process::geteuid().is_root() {
            let accounts = accounts(Path::new("/etc")).unwrap();
            assert!(accounts.iter().any(|account| account.name == "root"));
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(accounts(empty.path()).unwrap_err().contains("is not there"));
    }
}
