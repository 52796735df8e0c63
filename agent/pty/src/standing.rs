//! What is known of the login that this process is in, when the agent cannot be asked: sshd's monitor is among the
//! ancestors, and the agent has left a file under its name where only root writes.

use std::fs;
use std::io;
use std::path::Path;

use wire::channel::Standing;

/// Finds the standing of the login that process `pid` is in, by its ancestors; `proc` is `/proc`.
///
/// # Errors
/// When there is a file and it cannot be read, or a process cannot be looked at: then it is unknown whose login this is.
pub fn find(proc: &Path, folder: &Path, pid: u32) -> io::Result<Option<Standing>> {
    let mut pid = pid;
    for _ in 0..MAX_ANCESTORS {
        let Some((parent, start)) = lineage(&proc.join(pid.to_string()))? else {
            return Ok(None);
        };
        match fs::read(folder.join(format!("{pid}-{start}"))) {
            Ok(bytes) => return standing(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if parent <= 1 {
            return Ok(None);
        }
        pid = parent;
    }
    Ok(None)
}

fn standing(bytes: &[u8]) -> io::Result<Standing> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}

/// Parent and start of a process, from `stat`: its fields follow the last `)`. Nothing when it is not shown.
fn lineage(folder: &Path) -> io::Result<Option<(u32, u64)>> {
    let text = match fs::read(folder.join("stat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let strange = || io::Error::other("a process's stat is not in the expected form");
    let end = text.iter().rposition(|byte| *byte == b')').ok_or_else(strange)?;
    let rest = text.get(end.saturating_add(1)..).unwrap_or_default();
    let fields: Vec<&str> =
        std::str::from_utf8(rest).map_err(io::Error::other)?.split_ascii_whitespace().collect();
    // Field 3, the state, is the first after the name: 4 is the parent, 22 the start.
    let parent = fields.get(1).and_then(|field| field.parse().ok()).ok_or_else(strange)?;
    let start = fields.get(19).and_then(|field| field.parse().ok()).ok_or_else(strange)?;
    Ok(Some((parent, start)))
}

/// sshd's user process, a shell, and ourselves; with room.
const MAX_ANCESTORS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: u32, parent: u32, start: u64) {
        let folder = proc.join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let zeros = "0 ".repeat(17);
        fs::write(folder.join("stat"), format!("{pid} (a) b) c) S {parent} {zeros}{start} 0 0\n"))
            .unwrap();
    }

    #[test]
    fn a_login_is_known_by_its_monitor_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, logins) = (folder.path().join("proc"), folder.path().join("logins"));
        fs::create_dir_all(&logins).unwrap();
        process(&proc, 30, 20, 300);
        process(&proc, 20, 10, 200);
        process(&proc, 10, 1, 100);
        assert_eq!(find(&proc, &logins, 30).unwrap(), None);
        let text = br#"{"version":1,"required":true,"forced":"uptime"}"#;
        // Another process that had the monitor's number before.
        fs::write(logins.join("10-99"), text).unwrap();
        assert_eq!(find(&proc, &logins, 30).unwrap(), None);
        fs::write(logins.join("10-100"), text).unwrap();
        assert!(find(&proc, &logins, 30).unwrap().unwrap().required);
        fs::write(logins.join("10-100"), b"{").unwrap();
        assert!(find(&proc, &logins, 30).is_err());
    }

    #[test]
    fn this_process_is_in_no_login_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(Path::new("/proc"), folder.path(), std::process::id()).unwrap(), None);
    }
}
