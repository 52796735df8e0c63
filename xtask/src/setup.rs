//! `setup`: what the build and the tests need from Debian, the OpenID provider that tests log in at, the judge of
//! SCIM, the judge of alert rules, and a store that speaks S3.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::step::{Failure, root, say, step};

/// Installs what is missing, and only that.
pub(crate) fn run() -> Result<(), Failure> {
    packages()?;
    promtool()?;
    provider()?;
    python("judge of SCIM", JUDGE, &cache()?.join("scim"))?;
    python("store that speaks S3", STORE, &cache()?.join("moto"))?;
    python("fuzzer of HTTP interfaces", FUZZER, &cache()?.join("openapi"))
}

/// Python packages, as the file of ours names them, in a virtual environment outside the repository.
fn python(name: &'static str, requirements: &str, folder: &Path) -> Result<(), Failure> {
    let wanted = fs::read_to_string(root().join(requirements)).unwrap_or_default();
    let mark = folder.join("installed");
    if !wanted.is_empty() && wanted == fs::read_to_string(&mark).unwrap_or_default() {
        say(&format!("── setup: the {name} is installed"));
        return Ok(());
    }
    step(name, Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let quiet =
        ["install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
    step(name, Command::new(folder.join("bin/pip")).args(quiet))?;
    fs::write(mark, wanted).map_err(|error| Failure::new(name, error.to_string()))
}

/// Where tests find what is not Debian's.
fn cache() -> Result<PathBuf, Failure> {
    let cache = env::var_os("CURFEW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache/curfew")));
    cache.ok_or_else(|| Failure::new("setup", "HOME is not set"))
}

/// The OpenID provider, as our lock file names it, in a folder outside the repository.
fn provider() -> Result<(), Failure> {
    let folder = cache()?.join("oidc");
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let (ours, theirs) =
        (root().join(PROVIDER).join("package-lock.json"), folder.join("installed"));
    let wanted = read(&ours);
    if !wanted.is_empty() && wanted == read(&theirs) {
        say("── setup: the OpenID provider of the tests is installed");
        return Ok(());
    }
    let failed = |error: std::io::Error| Failure::new("provider", error.to_string());
    fs::create_dir_all(&folder).map_err(failed)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root().join(PROVIDER).join(name), folder.join(name)).map_err(failed)?;
    }
    let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    step("provider", Command::new("npm").args(quiet).arg("--prefix").arg(&folder))?;
    fs::write(theirs, wanted).map_err(failed)
}

/// Prometheus' own judge of rules and figures, out of Debian's package: installed, that would start a server on this machine.
fn promtool() -> Result<(), Failure> {
    let folder = cache()?.join("prometheus");
    if folder.join(PROMTOOL).exists() {
        say("── setup: the judge of alert rules is there");
        return Ok(());
    }
    let failed = |error: std::io::Error| Failure::new("promtool", error.to_string());
    fs::create_dir_all(&folder).map_err(failed)?;
    // It downloads to where it is, as another user where that one may write, and says so at length where it may not.
    let download = || {
        let mut download = Command::new("env");
        download.arg("--chdir").arg(&folder).args(["apt-get", "--quiet=2"]);
        download.args(["-o", "APT::Sandbox::User=root", "download", "prometheus"]);
        step("promtool", &mut download)
    };
    // Lists that are missing or old name nothing that can be had.
    if download().is_err() {
        step("package lists", &mut apt_get(&["update"]))?;
        download()?;
    }
    for package in fs::read_dir(&folder).map_err(failed)?.flatten() {
        if package.path().extension().is_some_and(|end| end == "deb") {
            let mut extract = Command::new("dpkg-deb");
            extract.arg("--extract").arg(package.path()).arg(&folder);
            step("promtool", &mut extract)?;
            fs::remove_file(package.path()).map_err(failed)?;
        }
    }
    match folder.join(PROMTOOL).exists() {
        true => Ok(()),
        false => Err(Failure::new("promtool", format!("Debian's package has no {PROMTOOL}"))),
    }
}

/// What Debian has.
fn packages() -> Result<(), Failure> {
    let mut missing: Vec<_> = PACKAGES.iter().filter(|package| !is_installed(package)).collect();
    // A newer one than Debian's may be there, with npm in it.
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    missing.extend(["nodejs", "npm"].iter().filter(|_| !is_there("node") || !is_there("npm")));
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
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&settings, "create_main_cluster = false\n"));
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

/// Where Debian's package has it.
const PROMTOOL: &str = "usr/bin/promtool";
/// What the judge of SCIM consists of.
const JUDGE: &str = "ca/tests/scim/requirements.txt";
/// What the store for recordings consists of.
const STORE: &str = "ca/tests/bucket/requirements.txt";
/// What calls the authority with whatever its description allows, and does not.
const FUZZER: &str = "ca/tests/openapi/requirements.txt";
/// Where the provider's lock file and its script are.
const PROVIDER: &str = "ca/tests/oidc";
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
    // packages of our own
    "dpkg-dev",
    // tests of single programs
    "opensc",
    "openssh-client",
    "openssh-server",
    "pamtester",
    "postgresql",
    "python3",
    "python3-venv",
    "softhsm2",
    // the fleet
    "debootstrap",
    "iproute2",
    "libfaketime",
    "tmux",
];
