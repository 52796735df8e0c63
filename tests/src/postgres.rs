//! A PostgreSQL server of a test's own: made when it is needed, gone with it, and as durable as one is by default.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{
    FleetError, Running,
    command::{command, run},
    patience::eventually,
};

/// A running server with one empty database.
#[derive(Debug)]
pub struct Postgres {
    /// Dropped first: it is stopped before its folder goes.
    server: Serving,
    dir: tempfile::TempDir,
}

#[derive(Debug)]
struct Serving(Running);

impl Postgres {
    /// Makes one in a folder under `place`, which everybody must be able to enter.
    ///
    /// # Errors
    /// When Debian's server is not installed, or does not come up.
    pub fn start(place: &Path) -> Result<Self, FleetError> {
        let dir = tempfile::tempdir_in(place).map_err(FleetError::io("make a folder"))?;
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path(), open).map_err(FleetError::io("open a folder"))?;
        let (programs, data) = (programs()?, dir.path().join("data"));
        let mut made = as_server(&programs.join("initdb"));
        made.arg("-D").arg(&data).args(["-A", "trust", "-U", "postgres", "-E", "UTF8"]);
        run(made, b"")?.done()?;
        let mut server = as_server(&programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(dir.path());
        server.args(["-c", "listen_addresses=", "-c", "max_connections=200"]);
        let server = Serving(Running::start(server)?);
        let answers = || {
            let mut asked = command("setpriv");
            asked.arg(programs.join("pg_isready")).arg("-q").arg("-h").arg(dir.path());
            run(asked, b"").is_ok_and(|said| said.succeeded())
        };
        eventually("the database's server answers", answers)?;
        Ok(Self { server, dir })
    }

    /// Its database, as it stands in a `ca.toml`.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/postgres")
    }

    /// The table that names it there.
    #[must_use]
    pub fn setting(&self) -> String {
        format!("[ledger]\nurl = {:?}\n", self.url())
    }

    /// The processor time and such are counted for this process and those that it starts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.0.pid()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Fast, without waiting for connections; what does not end is killed.
        drop(self.0.signal(Signal::INT));
        drop(eventually("the database's server has ended", || !self.0.is_running()));
    }
}

/// The server refuses to run as root, and dies with the thread that started it.
fn as_server(program: &Path) -> Command {
    let mut command = command("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT"]).arg(program).current_dir("/");
    command
}

/// Where Debian has the newest server's programs.
fn programs() -> Result<PathBuf, FleetError> {
    let missing = || FleetError::MissingProgram { program: "postgres", package: "postgresql" };
    let found = fs::read_dir("/usr/lib/postgresql").map_err(|_none| missing())?;
    let mut found: Vec<PathBuf> =
        found.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    found.sort();
    found.pop().ok_or_else(missing)
}
