//! `setup`: what the build and the tests need from Debian.

use std::path::Path;
use std::process::Command;

use crate::step::{Failure, say, step};

/// Installs the packages that are missing, and only those.
pub(crate) fn run() -> Result<(), Failure> {
    let missing: Vec<_> = PACKAGES.iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        say(&format!("── setup: all {} packages are installed", PACKAGES.len()));
        return Ok(());
    }
    no_database_of_the_machine()?;
    step("package lists", &mut apt_get(&["update"]))?;
    let install = ["install", "--yes", "--no-install-recommends"];
    step("packages", apt_get(&install).args(missing))
}

/// Tests start databases of their own; the package is not to make and start one for the whole machine.
fn no_database_of_the_machine() -> Result<(), Failure> {
    let folder = Path::new("/etc/postgresql-common");
    let settings = folder.join("createcluster.conf");
    if settings.exists() {
        return Ok(());
    }
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&settings, "create_main_cluster = false\n"));
    written.map_err(|error| Failure::new("packages", format!("{}: {error}", settings.display())))
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
    "postgresql",
    "python3",
    "softhsm2",
    // the fleet
    "debootstrap",
    "iproute2",
    "libfaketime",
    "tmux",
];
