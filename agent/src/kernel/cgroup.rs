//! Control groups as a means to kill: v2 only, and only those that hold nobody else.
//!
//! Source: `cgroup.kill`, `cgroup.procs` in the kernel's `cgroup-v2` document.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::KernelError;
use super::process::{is_gone, proc_path, read_if_there};

/// The cgroup v2 hierarchy of this host.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchy {
    root: PathBuf,
}

impl Hierarchy {
    /// Finds where it is mounted. `None`: nowhere.
    pub(crate) fn find() -> Result<Option<Self>, KernelError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let text =
            fs::read_to_string(&path).map_err(|source| KernelError::File { path, source })?;
        Ok(mount_point(&text).map(|root| Self { root }))
    }

    /// The folder of a cgroup path as `/proc/PID/cgroup` has it; `None` for the root, which cannot
    /// be killed, and for paths that lead out of the hierarchy.
    pub(crate) fn folder(&self, path: &str) -> Option<PathBuf> {
        let inner = path.strip_prefix('/')?;
        let leads_out = inner.split('/').any(|part| part == ".." || part.is_empty());
        (!leads_out).then(|| self.root.join(inner))
    }
}

/// The v2 cgroup of a process: the `0::` line. `None`: the process is gone.
pub(crate) fn path_of(pid: u32) -> Result<Option<String>, KernelError> {
    let Some(bytes) = read_if_there(&proc_path(pid, "cgroup"))? else { return Ok(None) };
    Ok(String::from_utf8_lossy(&bytes)
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned))
}

/// The processes in a cgroup and below it; 0 stands for one outside the agent's pid namespace.
/// Empty when the cgroup is gone.
pub(crate) fn processes(folder: &Path) -> Result<Vec<u32>, KernelError> {
    let mut pids = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let path = folder.join("cgroup.procs");
        let Some(bytes) = read_if_there(&path)? else { continue };
        for line in String::from_utf8_lossy(&bytes).lines() {
            let pid = line.parse().map_err(|error| KernelError::File {
                path: path.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
            pids.push(pid);
        }
        folders.extend(children(&folder)?);
    }
    Ok(pids)
}

/// Kills everything in a cgroup and below it, forks that are under way included.
pub(crate) fn kill(folder: &Path) -> Result<(), KernelError> {
    let path = folder.join("cgroup.kill");
    let written =
        fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(b"1"));
    match written {
        Err(error) if !is_gone(&error) => Err(KernelError::File { path, source: error }),
        _ => Ok(()),
    }
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let failed = |source| KernelError::File { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        match entry.and_then(|entry| Ok((entry.file_type()?.is_dir(), entry.path()))) {
            Ok((true, path)) => folders.push(path),
            Ok((false, _)) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(folders)
}

/// The fields after ` - ` start with the type; field 5 is the mount point.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_v2 = kind.split(' ').next()? == "cgroup2";
        is_v2.then(|| mount.split(' ').nth(4)).flatten().map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_layout_names_the_v2_mount() {
        let text = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
39 30 0:35 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(text), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("1 2 0:3 / / rw - ext4 /dev/root rw\n"), None);
    }

    #[test]
    fn root_and_paths_that_lead_out_have_no_folder() {
        let hierarchy = Hierarchy { root: PathBuf::from("/cg") };
        for path in ["/", "", "/../other", "/a/../../b", "a", "//a", "/a//b"] {
            assert_eq!(hierarchy.folder(path), None, "{path}");
        }
        assert_eq!(
            hierarchy.folder("/a.slice/b.scope"),
            Some(PathBuf::from("/cg/a.slice/b.scope"))
        );
    }
}
