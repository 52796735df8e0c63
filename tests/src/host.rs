//! One real host: how a test starts it, meets it and breaks it.

mod keeper;
mod process;
mod root;

use std::{ffi::OsStr, net::Ipv4Addr, path::PathBuf, process::Command, sync::Arc};

use keeper::Keeper;
pub use process::Process;
use root::Root;

use crate::{
    FleetError, Output, Running,
    command::{command, run},
    fleet::{Ground, JOIN},
    patience::{eventually, eventually_some},
};

/// A running host. Dropped, it is gone with everything on it.
#[derive(Debug)]
pub struct Host {
    name: String,
    index: u8,
    init: u32,
    root: Root,
    // Before the ground: a host is taken down before the network it stands on.
    _keeper: Keeper,
    ground: Arc<Ground>,
}

impl Host {
    pub(crate) fn boot(
        ground: Arc<Ground>,
        name: &str,
        index: u8,
        layers: &[PathBuf],
    ) -> Result<Self, FleetError> {
        let keeper = Keeper::start(&ground, name, index, layers)?;
        let init = keeper.wait_for_systemd()?;
        let root = Root::open(init)?;
        let host = Self { name: name.to_owned(), index, init, root, _keeper: keeper, ground };
        host.wait_until_running()?;
        Ok(host)
    }

    fn wait_until_running(&self) -> Result<(), FleetError> {
        let tests = self.ground.host_cgroup_dir(&self.name).join(TESTS_CGROUP);
        std::fs::create_dir_all(&tests)
            .map_err(FleetError::io(format!("create {}", tests.display())))?;
        eventually(&format!("the systemd of {} answers", self.name), || {
            self.root.has("/run/systemd/private")
        })?;
        let state = eventually_some(&format!("{} has booted", self.name), || {
            let said = self.run(["systemctl", "is-system-running", "--wait"]).ok()?;
            ["running", "degraded"].contains(&said.text()).then_some(said)
        })?;
        if state.text() == "running" {
            return Ok(());
        }
        let failed = self.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"])?;
        let why = format!("these units failed:\n{}", failed.text());
        Err(FleetError::Boot { name: self.name.clone(), why })
    }

    /// Its name, which is its hostname too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address at which people and other hosts reach it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.ground.address(self.index)
    }

    /// The process id of its systemd, as the outer machine sees it.
    #[must_use]
    pub fn init_pid(&self) -> u32 {
        self.init
    }

    /// Its cgroup tree, as the outer machine sees it.
    #[must_use]
    pub fn cgroup_dir(&self) -> PathBuf {
        self.ground.host_cgroup_dir(&self.name)
    }

    /// Runs a command on the host as root, to its end.
    ///
    /// # Errors
    /// When it cannot be started; a failed command is an [`Output`].
    pub fn run<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output, FleetError> {
        run(self.command(args), b"")
    }

    /// Runs a command on the host as root, with `input` on its standard input.
    ///
    /// # Errors
    /// When it cannot be started; a failed command is an [`Output`].
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Result<Output, FleetError> {
        run(self.command(args), input)
    }

    /// Runs a script of the test in bash on the host, stopping at the first failure. Never build
    /// it from data: give those as arguments to [`Host::run`].
    ///
    /// # Errors
    /// When bash cannot be started; a failed script is an [`Output`].
    pub fn sh(&self, script: &str) -> Result<Output, FleetError> {
        self.run(["bash", "-euc", script])
    }

    /// Starts a command on the host as root, and lets it run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_command<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Running, FleetError> {
        Running::start(self.command(args))
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = command("sh");
        command.env("HOME", "/root").args(["-c", JOIN, "join"]);
        command.arg(self.cgroup_dir().join(TESTS_CGROUP).join("cgroup.procs"));
        command.args(["nsenter", "--all", "--target", &self.init.to_string(), "--"]).args(args);
        command
    }

    /// Writes a file, whole or not at all, with its folders.
    ///
    /// # Errors
    /// When the host's filesystem refuses.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<(), FleetError> {
        self.root
            .put(path, bytes.as_ref(), mode)
            .map_err(FleetError::io(format!("write {path} on {}", self.name)))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, FleetError> {
        self.root.read(path).map_err(FleetError::io(format!("read {path} on {}", self.name)))
    }

    /// Reads a file as text, invalid UTF-8 replaced.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_text(&self, path: &str) -> Result<String, FleetError> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether something is at `path`.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.root.has(path)
    }

    /// Adds a login with a home and bash.
    ///
    /// # Errors
    /// When `useradd` refuses.
    pub fn add_user(&self, login: &str) -> Result<(), FleetError> {
        self.run(["useradd", "--create-home", "--shell", "/bin/bash", "--", login])?.done()
    }

    /// Lets the holder of a plain public key log in, as stock sshd would.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn authorize(&self, login: &str, public_key: &str) -> Result<(), FleetError> {
        self.put(&format!("/home/{login}/.ssh/authorized_keys"), public_key, 0o644)
    }

    /// The host's public key, as a line of a known-hosts file holds it (without a name).
    ///
    /// # Errors
    /// When it has none.
    pub fn public_key(&self) -> Result<String, FleetError> {
        Ok(self.read_text("/etc/ssh/ssh_host_ed25519_key.pub")?.trim().to_owned())
    }

    /// Starts a unit, and returns when it is ready.
    ///
    /// # Errors
    /// When it fails; the error carries the end of its journal.
    pub fn start(&self, unit: &str) -> Result<(), FleetError> {
        self.systemctl("start", unit)
    }

    /// Stops a unit.
    ///
    /// # Errors
    /// When systemd refuses.
    pub fn stop(&self, unit: &str) -> Result<(), FleetError> {
        self.systemctl("stop", unit)
    }

    /// Restarts a unit, and returns when it is ready.
    ///
    /// # Errors
    /// When it fails; the error carries the end of its journal.
    pub fn restart(&self, unit: &str) -> Result<(), FleetError> {
        self.systemctl("restart", unit)
    }

    fn systemctl(&self, verb: &str, unit: &str) -> Result<(), FleetError> {
        let said = self.run(["systemctl", verb, "--", unit])?;
        if said.succeeded() {
            return Ok(());
        }
        let journal = self.journal(unit)?;
        let end: Vec<_> = journal.lines().rev().take(20).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        let why = format!("{}\n{}", said.stderr.trim_end(), end.join("\n"));
        Err(FleetError::Unit {
            host: self.name.clone(),
            verb: verb.to_owned(),
            unit: unit.to_owned(),
            why,
        })
    }

    /// Whether a unit is active.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    pub fn is_active(&self, unit: &str) -> Result<bool, FleetError> {
        Ok(self.run(["systemctl", "is-active", "--quiet", "--", unit])?.succeeded())
    }

    /// Sends a signal (`KILL`, `STOP`, …) to every process of a unit.
    ///
    /// # Errors
    /// When there is no such unit.
    pub fn kill_unit(&self, unit: &str, signal: &str) -> Result<(), FleetError> {
        let signal = format!("--signal={signal}");
        self.run(["systemctl", "kill", &signal, "--", unit])?.done()
    }

    /// The messages of a unit, oldest first, one a line.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn journal(&self, unit: &str) -> Result<String, FleetError> {
        let said =
            self.run(["journalctl", "--no-pager", "--quiet", "--output=cat", "--unit", unit])?;
        Ok(said.ok()?.stdout)
    }

    /// Every process of the host, with process ids as the host sees them.
    ///
    /// # Errors
    /// When its `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<Process>, FleetError> {
        process::list(&self.root)
            .map_err(FleetError::io(format!("list the processes of {}", self.name)))
    }

    /// The processes whose command line contains `text`.
    ///
    /// # Errors
    /// When its `/proc` cannot be read.
    pub fn processes_like(&self, text: &str) -> Result<Vec<Process>, FleetError> {
        let mut processes = self.processes()?;
        processes.retain(|process| process.line().contains(text));
        Ok(processes)
    }

    /// Cuts the link between the host and its authority: packets vanish in both directions, the
    /// interface stays up, nobody is told. People still reach the host.
    ///
    /// # Errors
    /// When the link does not exist.
    pub fn cut_link(&self) -> Result<(), FleetError> {
        self.set_authority_link(&["nomaster"])
    }

    /// Mends a cut link.
    ///
    /// # Errors
    /// When the link does not exist.
    pub fn mend_link(&self) -> Result<(), FleetError> {
        self.set_authority_link(&["master", &format!("cf{}a", self.ground.number())])
    }

    fn set_authority_link(&self, to: &[&str]) -> Result<(), FleetError> {
        let mut ip = command("ip");
        let device = format!("cf{}a{}", self.ground.number(), self.index);
        ip.args(["link", "set", &device]).args(to);
        run(ip, b"")?.done()
    }
}

/// Where the commands of tests run inside the host's cgroup tree, beside its units.
const TESTS_CGROUP: &str = "tests";
