//! The fleet's authority: `curfew-ca` as a process of the outer machine, at an address of its own.

use std::{
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{
    Fleet, FleetError, Output, Programs, Running,
    command::run,
    patience::{eventually, eventually_some},
};

/// A running authority, or one that a test has stopped. Dropped, it is killed.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    people: SocketAddr,
    hosts: SocketAddr,
    program_path: PathBuf,
    outside: PathBuf,
    environment: Vec<(String, String)>,
    fingerprint: String,
    serving: Option<Running>,
}

/// Where an authority's keys lie.
#[derive(Debug, Clone)]
pub struct KeySetup {
    /// What `ca.toml` says of them: `[keys.user]` and its kin.
    pub settings: String,
    /// What `curfew-ca init` is told.
    pub init: Vec<String>,
    /// What the authority's environment has besides.
    pub environment: Vec<(String, String)>,
}

/// Plain files.
impl Default for KeySetup {
    fn default() -> Self {
        let init = vec!["--unencrypted".to_owned()];
        Self { settings: String::new(), init, environment: Vec::new() }
    }
}

impl Authority {
    /// Writes a configuration, runs `curfew-ca init`, then `curfew-ca serve`.
    pub(crate) fn start(fleet: &Fleet, keys: &KeySetup) -> Result<Self, FleetError> {
        let program_path = match fleet.programs() {
            Some(programs) => programs.path("curfew-ca"),
            None => Programs::one("curfew-ca")?,
        };
        let address = fleet.authority_address();
        let mut authority = Self {
            dir: fleet.dir().join("authority"),
            people: SocketAddr::from((address, PEOPLE_PORT)),
            hosts: SocketAddr::from((address, HOSTS_PORT)),
            program_path,
            outside: fleet.outside_procs_path(),
            environment: keys.environment.clone(),
            fingerprint: String::new(),
            serving: None,
        };
        authority.configure(&keys.settings)?;
        let init = ["init".to_owned()].into_iter().chain(keys.init.iter().cloned());
        let said = authority.run(init)?.ok()?;
        let fingerprint = said.stdout.lines().find_map(|line| line.strip_prefix("Fingerprint: "));
        authority.fingerprint = fingerprint.unwrap_or_default().to_owned();
        authority.serve()?;
        Ok(authority)
    }

    /// Another node of it, which serves beside it at an address of its own: the same keys and roles, and the same ledger.
    ///
    /// # Errors
    /// When a file cannot be copied, or the node does not serve; its ledger must be on a server.
    pub fn node(&self, fleet: &Fleet) -> Result<Self, FleetError> {
        let address = fleet.other_address();
        let mut node = Self {
            dir: fleet.dir().join("authority-2"),
            people: SocketAddr::from((address, PEOPLE_PORT)),
            hosts: SocketAddr::from((address, HOSTS_PORT)),
            program_path: self.program_path.clone(),
            outside: self.outside.clone(),
            environment: self.environment.clone(),
            fingerprint: self.fingerprint.clone(),
            serving: None,
        };
        let mut copy = crate::command::command("cp");
        copy.arg("-a").arg(&self.dir).arg(&node.dir);
        run(copy, b"")?.done()?;
        let settings = fs::read_to_string(self.config_path());
        let settings = settings.map_err(FleetError::io("read ca.toml"))?;
        let (here, there) = (self.dir.display().to_string(), node.dir.display().to_string());
        let ours = (self.people.ip().to_string(), address.to_string());
        node.write("ca.toml", &settings.replace(&here, &there).replace(&ours.0, &ours.1))?;
        node.serve()?;
        Ok(node)
    }

    fn configure(&self, keys: &str) -> Result<(), FleetError> {
        let dir = self.dir.display();
        fs::create_dir_all(&self.dir).map_err(FleetError::io(format!("create {dir}")))?;
        self.write("roles.toml", "")?;
        let settings = format!(
            "state_dir = \"{dir}/state\"\n\
             listen = \"{people}\"\n\
             hosts_listen = \"{hosts}\"\n\
             names = [\"{address}\", \"authority\"]\n\
             admin_socket = \"{dir}/admin.sock\"\n\
             roles_file = \"{dir}/roles.toml\"\n\
             {keys}\n",
            people = self.people,
            hosts = self.hosts,
            address = self.people.ip(),
        );
        self.write("ca.toml", &settings)
    }

    /// Where people find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.people)
    }

    /// Where hosts find it.
    #[must_use]
    pub fn hosts_address(&self) -> SocketAddr {
        self.hosts
    }

    /// The fingerprint of its root, as `curfew-ca init` said it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its folder: `ca.toml`, `roles.toml`, `state/`, `admin.sock`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("ca.toml")
    }

    /// Replaces the roles.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_roles(&self, toml: &str) -> Result<(), FleetError> {
        self.write("roles.toml", toml)
    }

    /// Adds lines to its settings; they hold when it serves again.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn set(&self, settings: &str) -> Result<(), FleetError> {
        let path = self.config_path();
        let before = fs::read_to_string(&path);
        let before = before.map_err(FleetError::io(format!("read {}", path.display())))?;
        self.write("ca.toml", &format!("{before}{settings}\n"))
    }

    /// Runs an operator's command, such as `["host", "list"]`, with our `--config`.
    ///
    /// # Errors
    /// When it cannot be started; a failed command is an [`Output`].
    pub fn run<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output, FleetError> {
        run(self.command(args), b"")
    }

    /// The process that serves, if one does.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.serving.as_ref().map(Running::pid)
    }

    /// Starts to serve, and returns when it takes connections.
    ///
    /// # Errors
    /// When it ends instead; the error carries what it said.
    pub fn serve(&mut self) -> Result<(), FleetError> {
        let mut serving = Running::start(self.command(["serve"]))?;
        let addresses = [self.people, self.hosts];
        let ended = eventually_some("the authority takes connections", || {
            if !serving.is_running() {
                return Some(true);
            }
            let listens = addresses.iter().all(|address| TcpStream::connect(address).is_ok());
            listens.then_some(false)
        })?;
        if ended {
            return Err(FleetError::Authority { why: serving.stderr() });
        }
        self.serving = Some(serving);
        Ok(())
    }

    /// Ends it as systemd would, and waits.
    ///
    /// # Errors
    /// When it does not end within the patience.
    pub fn stop(&mut self) -> Result<(), FleetError> {
        let Some(mut serving) = self.serving.take() else { return Ok(()) };
        serving.signal(Signal::TERM)?;
        eventually("the authority has stopped", || !serving.is_running())
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<(), FleetError> {
        let Some(serving) = self.serving.take() else { return Ok(()) };
        serving.kill().map(drop)
    }

    /// Stops it and serves again.
    ///
    /// # Errors
    /// As [`Authority::stop`] and [`Authority::serve`].
    pub fn restart(&mut self) -> Result<(), FleetError> {
        self.stop()?;
        self.serve()
    }

    /// Stops it and serves again with its clock set off by so many seconds. The clock since boot stays right, as it does
    /// where somebody sets a wrong time.
    ///
    /// # Errors
    /// As [`Authority::restart`].
    pub fn set_clock_off(&mut self, secs: i64) -> Result<(), FleetError> {
        self.environment.retain(|(name, _)| !name.contains("FAKE") && name != "LD_PRELOAD");
        for (name, value) in [
            ("LD_PRELOAD", FAKETIME.to_owned()),
            ("FAKETIME", format!("{secs:+}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
        ] {
            self.environment.push((name.to_owned(), value));
        }
        self.restart()
    }

    /// What it has logged since it began to serve; nothing when it does not.
    #[must_use]
    pub fn log(&self) -> String {
        self.serving.as_ref().map_or_else(String::new, |serving| {
            let mut said = serving.stdout();
            said.push_str(&serving.stderr());
            said
        })
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = crate::fleet::outside_command(&self.outside, &self.program_path);
        command.args(args).arg("--config").arg(self.config_path());
        command.envs(self.environment.iter().cloned());
        command
    }

    /// By rename: whoever watches the file sees it whole.
    fn write(&self, name: &str, text: &str) -> Result<(), FleetError> {
        let path = self.dir.join(name);
        let half_path = self.dir.join(format!("{name}.half"));
        fs::write(&half_path, text)
            .and_then(|()| fs::rename(&half_path, &path))
            .map_err(FleetError::io(format!("write {}", path.display())))
    }
}

/// Debian's `libfaketime`, for programs with threads.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const PEOPLE_PORT: u16 = 7442;
const HOSTS_PORT: u16 = 7443;
