//! `setup`: what the build and the tests need from Debian.

use std::process::Command;

use crate::step::{Failure, say, step};

/// Installs the packages that are missing, and only those.
pub(crate) fn run() -> Result<(), Failure> {
    let missing: Vec<_> = PACKAGES.iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        say(&format!("── setup: all {} packages are installed", PACKAGES.len()));
        return Ok(());
    }
    step("package lists", &mut apt_get(&["update"]))?;
    let install = ["install", "--yes", "--no-install-recommends"];
    step("packages", apt_get(&install).args(missing))
}

fn apt_get(args: &[&str]) -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.arg("--quiet=2").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

fn is_installed(package: &str) -> bool {
    let said = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status}", package])
        .output();
    said.is_ok_and(|said| said.status.success() && said.stdout == b"installed")
}

/// What `dpkg-query` is asked for, and `apt-get` too.
const PACKAGES: &[&str] = &[
    // the kernel half and the PAM module
    "clang",
    "libbpf-dev",
    "libelf-dev",
    "libpam0g-dev",
    "llvm",
    "make",
    "pkg-config",
    "zlib1g-dev",
    // tests of single programs
    "opensc",
    "openssh-client",
    "openssh-server",
    "pamtester",
    "python3",
    "softhsm2",
    // the fleet
    "debootstrap",
    "iproute2",
    "tmux",
];
