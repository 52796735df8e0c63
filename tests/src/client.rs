//! A person's place: a home, a key, perhaps an ssh-agent, and the stock `ssh`.
//!
//! A client runs in the outer machine. `ssh` takes the home of its user from the password file and not
//! from `$HOME`, so it is given its configuration, keys and known hosts by path.

use std::{
    ffi::OsStr,
    fs,
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use crate::{
    FleetError, Host, Output, Programs, Running, Terminal,
    command::{PATH, command, run},
    fleet::{Ground, JOIN},
    patience::eventually,
};

/// One person with a home.
#[derive(Debug)]
pub struct Client {
    name: String,
    home_dir: PathBuf,
    programs_dir: Option<PathBuf>,
    ground: Arc<Ground>,
}

impl Client {
    pub(crate) fn create(
        ground: Arc<Ground>,
        name: &str,
        programs_dir: Option<PathBuf>,
    ) -> Result<Self, FleetError> {
        let home_dir = ground.dir().join(format!("{name}.home"));
        let client = Self { name: name.to_owned(), home_dir, programs_dir, ground };
        let ssh_dir = client.ssh_dir();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&ssh_dir)
            .map_err(FleetError::io(format!("create {}", ssh_dir.display())))?;
        client.make_key("id_ed25519", "ed25519")?;
        client.configure("")?;
        Ok(client)
    }

    /// The person's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The person's home.
    #[must_use]
    pub fn home_dir(&self) -> &Path {
        &self.home_dir
    }

    /// The person's `~/.ssh`.
    #[must_use]
    pub fn ssh_dir(&self) -> PathBuf {
        self.home_dir.join(".ssh")
    }

    /// The path of the private key that `ssh` offers by itself.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.ssh_dir().join("id_ed25519")
    }

    /// The public half of [`Client::key_path`], one line.
    ///
    /// # Errors
    /// When it is gone.
    pub fn public_key(&self) -> Result<String, FleetError> {
        let path = self.key_path().with_extension("pub");
        let key = fs::read_to_string(&path)
            .map_err(FleetError::io(format!("read {}", path.display())))?;
        Ok(key.trim().to_owned())
    }

    /// Makes another key in `~/.ssh` by `ssh-keygen`, without a passphrase, and returns its path.
    ///
    /// # Errors
    /// When `ssh-keygen` refuses.
    pub fn make_key(&self, name: &str, kind: &str) -> Result<PathBuf, FleetError> {
        let path = self.ssh_dir().join(name);
        let mut keygen = command("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", &self.name, "-t", kind, "-f"]).arg(&path);
        run(keygen, b"")?.done()?;
        Ok(path)
    }

    /// Makes another key in `~/.ssh` by `ssh-keygen` with options of its own, such as `["-t", "rsa", "-b", "3072"]`.
    /// Kinds that end in `-sk` live in a security key in software.
    ///
    /// # Errors
    /// When `ssh-keygen` refuses.
    pub fn make_key_with(&self, name: &str, options: &[&str]) -> Result<PathBuf, FleetError> {
        let path = self.ssh_dir().join(name);
        let mut keygen = self.command("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", &self.name]).args(options).arg("-f").arg(&path);
        run(keygen, b"")?.done()?;
        Ok(path)
    }

    /// Puts a private key that was made before into `~/.ssh`, its public half beside it, and returns its path.
    ///
    /// # Errors
    /// When it cannot be written, or `ssh-keygen` does not read it.
    pub fn take_key(&self, name: &str, private: &str) -> Result<PathBuf, FleetError> {
        let path = self.ssh_dir().join(name);
        let write = |path: &Path, text: &str| {
            fs::write(path, text).map_err(FleetError::io(format!("write {}", path.display())))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
                .map_err(FleetError::io(format!("close {}", path.display())))
        };
        write(&path, private)?;
        let mut keygen = self.command("ssh-keygen");
        keygen.arg("-y").arg("-f").arg(&path);
        let public = run(keygen, b"")?.ok()?.stdout;
        write(&path.with_extension("pub"), &public)?;
        Ok(path)
    }

    /// What `ssh -o` must be told to find the security key in software; unlike its kin, it does not look at the environment.
    #[must_use]
    pub fn security_key_option() -> String {
        format!("SecurityKeyProvider={}", Programs::security_key().display())
    }

    /// Writes `~/.ssh/config`: `lines` first, then what keeps this person apart from the machine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, lines: &str) -> Result<(), FleetError> {
        let ssh_dir = self.ssh_dir();
        let text = format!(
            "{lines}\n\
             Host *\n\
             UserKnownHostsFile {dir}/known_hosts\n\
             GlobalKnownHostsFile /dev/null\n\
             StrictHostKeyChecking accept-new\n\
             IdentityFile {dir}/id_ed25519\n\
             PasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n\
             ConnectTimeout 10\n",
            dir = ssh_dir.display(),
        );
        let path = self.config_path();
        fs::write(&path, text).map_err(FleetError::io(format!("write {}", path.display())))
    }

    /// The path of `~/.ssh/config`, for programs that take one by `-F`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.ssh_dir().join("config")
    }

    /// Starts this person's ssh-agent. From now on all that the person runs finds it, until the
    /// returned handle is dropped.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn agent(&self) -> Result<SshAgent, FleetError> {
        let socket_path = self.agent_socket_path();
        let mut agent = self.command("ssh-agent");
        agent.args(["-D", "-P"]).arg(Programs::security_key()).arg("-a").arg(&socket_path);
        let running = Running::start(agent)?;
        eventually("the ssh-agent listens", || socket_path.exists())?;
        Ok(SshAgent { _running: running, socket_path })
    }

    fn agent_socket_path(&self) -> PathBuf {
        self.home_dir.join("agent.sock")
    }

    /// Gets ready to `ssh` to a host.
    pub fn ssh<'a>(&'a self, login: &str, host: &Host) -> Ssh<'a> {
        Ssh { client: self, login: login.to_owned(), address: host.address(), options: Vec::new() }
    }

    /// Runs any program as this person, to its end. Our own programs are found by name.
    ///
    /// # Errors
    /// When it cannot be started; a failed program is an [`Output`].
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output, FleetError> {
        let mut command = self.command(program);
        command.args(args);
        run(command, b"")
    }

    /// Starts any program as this person, and lets it run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Running, FleetError> {
        let mut command = self.command(program);
        command.args(args);
        Running::start(command)
    }

    /// Runs any program as this person on a terminal.
    ///
    /// # Errors
    /// When there is no terminal to be had, or the program cannot be started.
    pub fn terminal<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Terminal, FleetError> {
        let mut command = self.command("setsid");
        command.args(["--ctty", program]).args(args);
        Terminal::open(command)
    }

    /// A program as this person would start it, for callers with wishes of their own. It ends with
    /// the fleet at the latest.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let path = match &self.programs_dir {
            Some(dir) => format!("{}:{PATH}", dir.display()),
            None => PATH.to_owned(),
        };
        let mut command = command("sh");
        command
            .env("PATH", path)
            .env("HOME", &self.home_dir)
            .env("USER", &self.name)
            .env("LOGNAME", &self.name)
            .env("TERM", "xterm-256color")
            // Asked only where a key of a security key is used.
            .env("SSH_SK_PROVIDER", Programs::security_key())
            .current_dir(&self.home_dir);
        if self.agent_socket_path().exists() {
            command.env("SSH_AUTH_SOCK", self.agent_socket_path());
        }
        command.args(["-c", JOIN, "join"]);
        command.arg(self.ground.outside_cgroup_dir().join("cgroup.procs")).arg(program);
        command
    }
}

/// A person's ssh-agent. Dropped, it and the keys in it are gone.
#[derive(Debug)]
pub struct SshAgent {
    _running: Running,
    socket_path: PathBuf,
}

impl SshAgent {
    /// Where it listens.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket_path
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        // Killed, it leaves its socket: without it, programs know that there is no agent.
        drop(fs::remove_file(&self.socket_path));
    }
}

/// One use of `ssh`: to whom, as whom, with which options.
#[derive(Debug, Clone)]
#[must_use]
pub struct Ssh<'a> {
    client: &'a Client,
    login: String,
    address: Ipv4Addr,
    options: Vec<String>,
}

impl Ssh<'_> {
    /// Adds arguments of `ssh` itself, such as `["-o", "LogLevel=DEBUG"]` or `["-i", path]`.
    pub fn with<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.options.extend(args.into_iter().map(Into::into));
        self
    }

    /// Runs a command on the host without a terminal, to its end. `ssh` joins the words with
    /// spaces, and the login's shell reads them.
    ///
    /// # Errors
    /// When `ssh` cannot be started; a refused login is an [`Output`] with status 255.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Output, FleetError> {
        run(self.command("ssh", &["-T"], words), b"")
    }

    /// Starts a command on the host without a terminal, and lets it run.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Running, FleetError> {
        Running::start(self.command("ssh", &["-T"], words))
    }

    /// Opens an interactive shell on a terminal.
    ///
    /// # Errors
    /// When there is no terminal to be had, or `ssh` cannot be started.
    pub fn shell(&self) -> Result<Terminal, FleetError> {
        self.terminal([""; 0])
    }

    /// Runs a command on a terminal (`ssh -t`).
    ///
    /// # Errors
    /// When there is no terminal to be had, or `ssh` cannot be started.
    pub fn terminal<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Terminal, FleetError> {
        Terminal::open(self.command("setsid", &["--ctty", "ssh", "-t"], words))
    }

    fn command<S: AsRef<OsStr>>(
        &self,
        program: &str,
        first: &[&str],
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.client.command(program);
        command.args(first).arg("-F").arg(self.client.config_path()).args(&self.options);
        command.args(["-l", &self.login, "--", &self.address.to_string()]).args(words);
        command
    }
}
