//! The process that holds a host and takes it down.
//!
//! It runs in a session of its own and ignores interrupts. It ends, and its host with it, when the
//! pipe to its standard input closes: by our drop, or by our death however it came.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use crate::{FleetError, command::command, fleet::Ground, patience::eventually_some};

#[derive(Debug)]
pub(super) struct Keeper {
    child: Child,
    name: String,
    holder: u32,
    console_path: PathBuf,
}

impl Keeper {
    /// Starts one host; it is not up yet when this returns.
    pub(super) fn start(
        ground: &Ground,
        name: &str,
        index: u8,
        layers: &[PathBuf],
    ) -> Result<Self, FleetError> {
        let failed = || FleetError::io::<io::Error>(format!("start the keeper of {name}"));
        let console_path = ground.dir().join(format!("{name}.console"));
        let console = File::create(&console_path).map_err(failed())?;
        let mut command = command("setsid");
        command
            .args(["bash", "-c", KEEPER, "keeper.sh", &ground.number().to_string(), name])
            .arg(index.to_string())
            .arg(ground.dir().join(format!("{name}.host")))
            .arg(ground.host_cgroup_dir(name))
            .arg(layers.iter().map(|layer| layer.to_string_lossy()).collect::<Vec<_>>().join(":"))
            .arg(ground.hosts_lock_path())
            .arg(BOOT);
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(console)
            .spawn()
            .map_err(failed())?;
        let mut keeper = Self { child, name: name.to_owned(), holder: 0, console_path };
        keeper.holder = keeper.read_holder()?;
        Ok(keeper)
    }

    fn read_holder(&mut self) -> Result<u32, FleetError> {
        let mut line = String::new();
        if let Some(stdout) = self.child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(FleetError::io(format!("hear from the keeper of {}", self.name)))?;
        }
        line.trim().parse().ok().ok_or_else(|| self.failure())
    }

    /// Waits until the host's first process has become its systemd, and returns its process id.
    pub(super) fn wait_for_systemd(&self) -> Result<u32, FleetError> {
        let children_path = format!("/proc/{0}/task/{0}/children", self.holder);
        let found = eventually_some(&format!("{} has a systemd", self.name), || {
            // No such file: the holder has died, and nobody will come up.
            let Ok(children) = fs::read_to_string(&children_path) else { return Some(None) };
            let init: u32 = children.trim().parse().ok()?;
            (comm(init)? == "systemd").then_some(Some(init))
        })?;
        found.ok_or_else(|| self.failure())
    }

    fn failure(&self) -> FleetError {
        let said = fs::read_to_string(&self.console_path).unwrap_or_default();
        FleetError::Boot { name: self.name.clone(), why: said.trim().to_owned() }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the keeper of {} cannot be waited for: {error}", self.name);
        }
    }
}

fn comm(pid: u32) -> Option<String> {
    let path = Path::new("/proc").join(pid.to_string()).join("comm");
    fs::read_to_string(path).ok().map(|comm| comm.trim().to_owned())
}

const KEEPER: &str = include_str!("../fleet/keeper.sh");
const BOOT: &str = include_str!("../fleet/boot.sh");
