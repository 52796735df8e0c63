//! A fleet: hosts and clients that share a network, and the place where their authority runs.
//!
//! Each fleet of the machine has a number N and two bridges in the outer network namespace. People
//! reach hosts over `10.99.N.0/25` (host K is `10.99.N.K`); hosts reach the authority over
//! `10.99.N.128/25` (it is `10.99.N.254`), so that a host can lose its authority and keep its people.

mod ground;
mod number;

use std::{
    net::Ipv4Addr,
    panic,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

pub(crate) use ground::Ground;

use crate::{
    Authority, Base, Client, Debian, FleetError, Host, KeySetup, Programs, Running,
    command::command, tools,
};

/// Any number of real hosts, and everything around them. Dropped, all of it is gone.
#[derive(Debug)]
pub struct Fleet {
    ground: Arc<Ground>,
    base: Base,
    programs: Option<Programs>,
    hosts: AtomicU8,
}

impl Fleet {
    /// A fleet whose hosts carry our programs, installed but not yet configured.
    ///
    /// # Errors
    /// When the machine lacks something (it says what), or a program has not been built.
    pub fn boot() -> Result<Self, FleetError> {
        Self::boot_on(Debian::chosen()?)
    }

    /// The same on this release.
    ///
    /// # Errors
    /// As [`Fleet::boot`].
    pub fn boot_on(debian: Debian) -> Result<Self, FleetError> {
        Self::with(debian, Some(Programs::built()?))
    }

    /// A fleet of plain Debian hosts, without anything of ours.
    ///
    /// # Errors
    /// When the machine lacks something (it says what).
    pub fn bare() -> Result<Self, FleetError> {
        Self::bare_on(Debian::chosen()?)
    }

    /// The same on this release.
    ///
    /// # Errors
    /// As [`Fleet::bare`].
    pub fn bare_on(debian: Debian) -> Result<Self, FleetError> {
        Self::with(debian, None)
    }

    fn with(debian: Debian, programs: Option<Programs>) -> Result<Self, FleetError> {
        let cgroup_dir = tools::check()?;
        let base = Base::build(debian)?;
        let mut ground = Ground::claim(cgroup_dir)?;
        if let Some(programs) = &programs {
            ground.lay_out(programs)?;
        }
        Ok(Self { ground: Arc::new(ground), base, programs, hosts: AtomicU8::new(0) })
    }

    /// Boots one host, and returns when its systemd says that all is running.
    ///
    /// # Errors
    /// When it does not come up within the patience; the error carries what it said.
    pub fn host(&self, name: &str) -> Result<Host, FleetError> {
        self.boot_as(self.next_index()?, name)
    }

    /// Boots several hosts side by side.
    ///
    /// # Errors
    /// When one of them does not come up; the others are taken down then.
    ///
    /// # Panics
    /// Never: there are as many hosts as names.
    #[expect(clippy::expect_used, reason = "the length is in the type")]
    pub fn hosts<const N: usize>(&self, names: [&str; N]) -> Result<[Host; N], FleetError> {
        let indexes: Vec<u8> = names.iter().map(|_| self.next_index()).collect::<Result<_, _>>()?;
        let booted: Vec<Host> = thread::scope(|scope| {
            let boots: Vec<_> = indexes
                .into_iter()
                .zip(names)
                .map(|(index, name)| scope.spawn(move || self.boot_as(index, name)))
                .collect();
            boots
                .into_iter()
                .map(|boot| boot.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
                .collect::<Result<_, _>>()
        })?;
        Ok(booted.try_into().expect("there are as many hosts as names"))
    }

    fn next_index(&self) -> Result<u8, FleetError> {
        let before = self.hosts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hosts| {
            hosts.checked_add(1).filter(|hosts| *hosts <= MOST_HOSTS)
        });
        before
            .map(|hosts| hosts.saturating_add(1))
            .map_err(|hosts| FleetError::NoHostLeft { hosts })
    }

    fn boot_as(&self, index: u8, name: &str) -> Result<Host, FleetError> {
        Host::boot(Arc::clone(&self.ground), name, index, &self.layers())
    }

    /// A place for one person: a home with `~/.ssh` and a key of its own.
    ///
    /// # Errors
    /// When the home or the key cannot be made.
    pub fn client(&self, name: &str) -> Result<Client, FleetError> {
        let programs_dir = self.programs.as_ref().map(|programs| programs.dir().to_owned());
        Client::create(Arc::clone(&self.ground), name, programs_dir)
    }

    /// Sets up the fleet's authority and starts it.
    ///
    /// # Errors
    /// When the fleet is bare, or `curfew-ca` refuses.
    pub fn authority(&self) -> Result<Authority, FleetError> {
        self.authority_with(&KeySetup::default())
    }

    /// The same with keys that lie elsewhere.
    ///
    /// # Errors
    /// As [`Fleet::authority`].
    pub fn authority_with(&self, keys: &KeySetup) -> Result<Authority, FleetError> {
        Authority::start(self, keys)
    }

    /// The address at which the hosts of this fleet find their authority. It is up, and nobody
    /// else on this machine uses it.
    #[must_use]
    pub fn authority_address(&self) -> Ipv4Addr {
        self.ground.authority_address()
    }

    /// Where a second node of the authority answers.
    #[must_use]
    pub fn other_address(&self) -> Ipv4Addr {
        self.ground.other_address()
    }

    /// A folder in the outer machine that lasts as long as the fleet.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.ground.dir()
    }

    /// Our programs, if the fleet carries them.
    #[must_use]
    pub fn programs(&self) -> Option<&Programs> {
        self.programs.as_ref()
    }

    /// A command for the outer machine that ends with the fleet, whatever becomes of the test.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        outside_command(&self.outside_procs_path(), program)
    }

    /// Starts such a command; dropped, it is killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, command: Command) -> Result<Running, FleetError> {
        Running::start(command)
    }

    /// The `cgroup.procs` of the fleet's processes that belong to no host.
    pub(crate) fn outside_procs_path(&self) -> PathBuf {
        self.ground.outside_cgroup_dir().join("cgroup.procs")
    }

    fn layers(&self) -> Vec<PathBuf> {
        let programs = self.ground.layer_dir();
        programs.into_iter().chain([self.base.root_dir()]).map(Path::to_owned).collect()
    }
}

/// A command that enters a cgroup first.
pub(crate) fn outside_command(procs_path: &Path, program: &Path) -> Command {
    let mut command = command("sh");
    command.args(["-c", JOIN, "join"]).arg(procs_path).arg(program);
    command
}

/// Enters the cgroup whose `cgroup.procs` is the first argument, and becomes the command after it.
pub(crate) const JOIN: &str = r#"echo $$ >"$1"; shift; exec "$@""#;

/// What fits between the first address of a network and the bridge's own.
const MOST_HOSTS: u8 = 120;
