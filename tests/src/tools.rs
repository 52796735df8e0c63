//! What the machine must have before a host can boot: asked first, so that nothing stops in the middle.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    FleetError,
    command::{PATH, command, run},
};

/// Checks for root and every program that booting a host takes, and returns the cgroup v2 tree.
pub(crate) fn check() -> Result<PathBuf, FleetError> {
    if !rustix::process::geteuid().is_root() {
        return Err(FleetError::NotRoot);
    }
    TOOLS.iter().try_for_each(|(program, package)| require(program, package))?;
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(FleetError::io("read /proc/self/mounts"))?;
    cgroup2(&mounts).ok_or(FleetError::NoCgroup2)
}

/// Checks for one program.
pub(crate) fn require(program: &'static str, package: &'static str) -> Result<(), FleetError> {
    if PATH.split(':').any(|dir| Path::new(dir).join(program).is_file()) {
        return Ok(());
    }
    Err(FleetError::MissingProgram { program, package })
}

/// Translates a text in C into a program, or with `-shared` into a library, for hosts of a test: for what no program on them
/// does. `flags` are those of `cc`.
///
/// # Errors
/// Without `cc`, or when it refuses the text.
pub fn compile(source: &str, flags: &[&str]) -> Result<Vec<u8>, FleetError> {
    require("cc", "gcc")?;
    let folder = tempfile::tempdir().map_err(FleetError::io("make a folder"))?;
    let (text, made) = (folder.path().join("source.c"), folder.path().join("made"));
    fs::write(&text, source).map_err(FleetError::io("write what is to be compiled"))?;
    let mut compiler = command("cc");
    compiler.args(flags).args(["-O1", "-o"]).arg(&made).arg(&text);
    run(compiler, b"")?.done()?;
    fs::read(&made).map_err(FleetError::io("read what was compiled"))
}

fn cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|mount| {
        let mut fields = mount.split(' ').skip(1);
        let target = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(target))
    })
}

const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("find", "findutils"),
    ("flock", "util-linux"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("unshare", "util-linux"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_tree_is_found_in_both_layouts() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"), Some("/sys/fs/cgroup".into()));
        assert_eq!(cgroup2("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let missing = require("debootstrap-of-the-moon", "moon").expect_err("there is none");
        assert!(missing.to_string().contains("Debian package moon"), "{missing}");
    }
}
