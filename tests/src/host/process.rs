//! The processes of a host, read from its own `/proc`.

use std::io;

use super::root::Root;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id inside the host.
    pub pid: u32,
    /// Its parent's id inside the host.
    pub parent: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its arguments, program first; empty for a kernel thread or a zombie.
    pub args: Vec<String>,
}

impl Process {
    /// Its arguments with spaces between, to read and to search.
    #[must_use]
    pub fn line(&self) -> String {
        self.args.join(" ")
    }
}

/// Those that were there while we looked.
pub(super) fn list(root: &Root) -> io::Result<Vec<Process>> {
    let pids = root.list("/proc")?.into_iter().filter_map(|name| name.parse().ok());
    Ok(pids.filter_map(|pid| read(root, pid)).collect())
}

/// `None` when it has ended meanwhile.
fn read(root: &Root, pid: u32) -> Option<Process> {
    let status = root.read(&format!("/proc/{pid}/status")).ok()?;
    let cmdline = root.read(&format!("/proc/{pid}/cmdline")).ok()?;
    parse(pid, &String::from_utf8_lossy(&status), &cmdline)
}

fn parse(pid: u32, status: &str, cmdline: &[u8]) -> Option<Process> {
    let field = |name: &str, column| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(column)?.parse().ok()
    };
    let cmdline = String::from_utf8_lossy(cmdline);
    let args = match cmdline.strip_suffix('\0').unwrap_or(&cmdline) {
        "" => Vec::new(),
        args => args.split('\0').map(str::to_owned).collect(),
    };
    Some(Process { pid, parent: field("PPid:", 0)?, uid: field("Uid:", 1)?, args })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_two_files() {
        let status = "Name:\tsleep\nPPid:\t7\nUid:\t1000\t1001\t1000\t1000\n";
        let process = parse(9, status, b"sleep\x00600\0").expect("both files are whole");
        let args = vec!["sleep".to_owned(), "600".to_owned()];
        assert_eq!(process, Process { pid: 9, parent: 7, uid: 1001, args });
        assert_eq!(process.line(), "sleep 600");
    }

    #[test]
    fn an_empty_argument_is_kept_and_a_zombie_has_none() {
        let status = "PPid:\t1\nUid:\t0\t0\t0\t0\n";
        let args = |cmdline| parse(2, status, cmdline).expect("the status is whole").args;
        assert_eq!(args(b"printf\0\0"), ["printf", ""]);
        assert_eq!(args(b""), Vec::<String>::new());
    }
}
