//! Whether the programs of the host half are those that were installed; looks, and changes nothing but its own list.
//!
//! By inode, length and time of change, so that it can be done every few seconds. Whoever forges the time of a file that they
//! write in place is not seen here.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store;

/// The programs as they were when this version of the agent looked first.
///
/// Who can change this: root on the host. Gains: another program in a program's place is not told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The agent's version: another one came with other programs.
    agent_version: String,
    /// The boot: inodes are compared only within one.
    boot: String,
    /// By path; none where there was no file.
    files: BTreeMap<String, Option<Print>>,
}

/// What a file is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Print {
    inode: u64,
    bytes: u64,
    secs: i64,
    nanos: i64,
}

/// The list, and where it is kept.
#[derive(Debug)]
pub(super) struct Programs {
    path: PathBuf,
}

impl Programs {
    /// Kept at `path`. Without a file there the programs are taken as they are: `curfew-agent install` removes it.
    pub(super) const fn kept_at(path: PathBuf) -> Self {
        Self { path }
    }

    /// What is not as it was installed on the host whose root folder is `root`, a sentence each.
    pub(super) fn changed(&self, root: &Path) -> BTreeSet<String> {
        let is = Kept {
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot: std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned(),
            files: FILES.map(|path| (path.to_owned(), print(root, path))).into(),
        };
        let was: Kept = match store::read(&self.path) {
            Ok(kept) => kept,
            Err(error) => {
                if !error.is_absent() {
                    tracing::error!(%error, "which programs were installed is not known; they are taken as they are");
                }
                self.keep(&is);
                return BTreeSet::new();
            }
        };
        if was.agent_version != is.agent_version {
            let (from, to) = (&was.agent_version, &is.agent_version);
            tracing::info!(from, to, "the programs are those of another version now");
            self.keep(&is);
            return BTreeSet::new();
        }
        compare(&was, &is)
    }

    fn keep(&self, is: &Kept) {
        if let Err(error) = store::write(&self.path, is) {
            tracing::error!(%error, "a program in another's place will not be noticed");
        }
    }
}

/// What differs, a sentence each.
fn compare(was: &Kept, is: &Kept) -> BTreeSet<String> {
    let is_same_boot = was.boot == is.boot;
    let same = |one: &Print, other: &Print| {
        (one.bytes, one.secs, one.nanos) == (other.bytes, other.secs, other.nanos)
            && (!is_same_boot || one.inode == other.inode)
    };
    let differs = |(path, now): (&String, &Option<Print>)| {
        let before = was.files.get(path)?;
        match (before, now) {
            (None, Some(_)) => Some(format!("{path} was made")),
            (Some(_), None) => Some(format!("{path} was removed")),
            (Some(one), Some(other)) if !same(one, other) => {
                Some(format!("{path} is another than was installed"))
            }
            _ => None,
        }
    };
    is.files.iter().filter_map(differs).collect()
}

fn print(root: &Path, path: &str) -> Option<Print> {
    let file = std::fs::symlink_metadata(root.join(path.trim_start_matches('/'))).ok()?;
    Some(Print {
        inode: file.ino(),
        bytes: file.size(),
        secs: file.mtime(),
        nanos: file.mtime_nsec(),
    })
}

/// Our programs; and the file by which root loads a library into all of them.
const FILES: [&str; 7] = [
    "/usr/bin/curfew-agent",
    "/usr/bin/curfew-link",
    "/usr/lib/curfew/curfew-principals",
    "/usr/lib/curfew/curfew-pty",
    "/usr/lib/curfew/curfew-recorder",
    "/usr/lib/curfew/curfew-files",
    "/etc/ld.so.preload",
];
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_replaced_removed_or_made_is_named_until_it_is_installed_again() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path.trim_start_matches('/'));
        for path in FILES.iter().filter(|path| path.starts_with("/usr")) {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), "one").unwrap();
        }
        fs::create_dir_all(at("/etc")).unwrap();
        let programs = Programs::kept_at(root.path().join("programs.json"));
        assert!(programs.changed(root.path()).is_empty(), "taken as they are");
        assert!(programs.changed(root.path()).is_empty());
        fs::write(at("new"), "another").unwrap();
        fs::rename(at("new"), at(FILES[1])).unwrap();
        fs::remove_file(at(FILES[2])).unwrap();
        fs::write(at(FILES[6]), "/tmp/evil.so\n").unwrap();
        let found: Vec<String> = programs.changed(root.path()).into_iter().collect();
        assert_eq!(
            found,
            [
                "/etc/ld.so.preload was made",
                "/usr/bin/curfew-link is another than was installed",
                "/usr/lib/curfew/curfew-principals was removed",
            ]
        );
        fs::remove_file(root.path().join("programs.json")).unwrap();
        assert!(programs.changed(root.path()).is_empty());
    }

    #[test]
    fn inodes_count_within_a_boot_alone_and_another_version_comes_with_its_own() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("programs.json");
        let print = |inode| Some(Print { inode, bytes: 3, secs: 1, nanos: 2 });
        let of = |boot: &str, inode| Kept {
            agent_version: "1".into(),
            boot: boot.into(),
            files: BTreeMap::from([("/usr/bin/curfew-agent".to_owned(), print(inode))]),
        };
        assert!(compare(&of("a", 1), &of("b", 2)).is_empty());
        assert_eq!(compare(&of("a", 1), &of("a", 2)).len(), 1);
        store::write(&kept, &of("a", 1)).unwrap();
        let programs = Programs::kept_at(kept.clone());
        assert!(programs.changed(root.path()).is_empty(), "version 1 is not this one");
        assert_ne!(store::read::<Kept>(&kept).unwrap().agent_version, "1");
    }
}
