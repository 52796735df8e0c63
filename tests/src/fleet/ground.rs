//! The ground a fleet stands on: its number, folder, bridges, and the cgroup of its outer processes.

use std::{
    ffi::OsStr,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::number::Number;
use crate::{
    FleetError, Programs,
    command::{command, run},
    patience::eventually,
};

/// Shared by the fleet and all that lives on it; the last one to go clears it.
#[derive(Debug)]
pub(crate) struct Ground {
    number: Number,
    dir: PathBuf,
    cgroup_dir: PathBuf,
    /// Our programs, laid out as a layer of the hosts' root filesystem.
    layer_dir: Option<PathBuf>,
}

impl Ground {
    /// Takes a free number, clears what killed fleets left, and puts up the bridges.
    pub(crate) fn claim(cgroup_dir: PathBuf) -> Result<Self, FleetError> {
        for number in Number::claim_abandoned()? {
            clear(&number, &cgroup_dir)?;
        }
        let number = Number::claim()?;
        let ground = Self { dir: number.dir(), number, cgroup_dir, layer_dir: None };
        for dir in [&ground.dir, &ground.outside_cgroup_dir()] {
            fs::create_dir_all(dir).map_err(FleetError::io(format!("create {}", dir.display())))?;
        }
        ground.put_up_bridges()?;
        Ok(ground)
    }

    fn put_up_bridges(&self) -> Result<(), FleetError> {
        let n = self.number();
        let batch = format!(
            "link add cf{n} type bridge\n\
             link add cf{n}a type bridge\n\
             addr add {people}/25 dev cf{n}\n\
             addr add {authority}/25 dev cf{n}a\n\
             addr add {other}/25 dev cf{n}a\n\
             link set cf{n} up\n\
             link set cf{n}a up\n",
            people = self.address(126),
            authority = self.authority_address(),
            other = self.other_address(),
        );
        let mut ip = command("ip");
        ip.args(["-batch", "-"]);
        run(ip, batch.as_bytes())?.done()
    }

    /// The fleet's number.
    pub(crate) fn number(&self) -> u8 {
        self.number.value()
    }

    /// An address of the fleet.
    pub(crate) fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.number(), last)
    }

    /// Where the authority answers.
    pub(crate) fn authority_address(&self) -> Ipv4Addr {
        self.address(254)
    }

    /// Where a second node of the authority answers.
    pub(crate) fn other_address(&self) -> Ipv4Addr {
        self.address(253)
    }

    /// The folder of this fleet.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lays our programs out for the hosts to come. The layer lies beside the build, so that it can
    /// consist of links.
    pub(crate) fn lay_out(&mut self, programs: &Programs) -> Result<(), FleetError> {
        let layer_dir = programs.dir().join("fleet-layers").join(self.number().to_string());
        let failed = || format!("remove {}", layer_dir.display());
        gone(fs::remove_dir_all(&layer_dir)).map_err(FleetError::io(failed()))?;
        programs.lay_out(&layer_dir)?;
        self.layer_dir = Some(layer_dir);
        Ok(())
    }

    /// Where our programs are laid out, if they are.
    pub(crate) fn layer_dir(&self) -> Option<&Path> {
        self.layer_dir.as_deref()
    }

    /// The lock that keepers hold shared.
    pub(crate) fn hosts_lock_path(&self) -> PathBuf {
        self.number.hosts_lock_path()
    }

    /// The cgroup of one host.
    pub(crate) fn host_cgroup_dir(&self, host: &str) -> PathBuf {
        self.cgroup_dir.join(format!("curfew-{}-{host}", self.number()))
    }

    /// The cgroup of the fleet's processes that belong to no host.
    pub(crate) fn outside_cgroup_dir(&self) -> PathBuf {
        self.host_cgroup_dir("outside.fleet")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let cleared = clear(&self.number, &self.cgroup_dir).and_then(|()| {
            let Some(dir) = &self.layer_dir else { return Ok(()) };
            gone(fs::remove_dir_all(dir))
                .map_err(FleetError::io(format!("remove {}", dir.display())))
        });
        if let Err(error) = cleared {
            // A drop cannot fail; the next fleet tries again, and the test's output says why.
            eprintln!("fleet {} left something behind: {error}", self.number());
        }
    }
}

/// Ends every process of the fleet, and removes its cgroups, network and folder.
fn clear(number: &Number, cgroup_dir: &Path) -> Result<(), FleetError> {
    let n = number.value();
    for cgroup in entries(cgroup_dir, |name| name.starts_with(&format!("curfew-{n}-")))? {
        clear_cgroup(&cgroup)?;
    }
    for netns in entries(Path::new("/run/netns"), |name| name.starts_with(&format!("curfew-{n}-")))?
    {
        ip(["netns", "del"].map(OsStr::new), &netns)?;
    }
    for device in entries(Path::new("/sys/class/net"), |name| is_device_of(name, n))? {
        ip(["link", "del"].map(OsStr::new), &device)?;
    }
    gone(fs::remove_dir_all(number.dir()))
        .map_err(FleetError::io(format!("remove {}", number.dir().display())))
}

fn clear_cgroup(cgroup: &Path) -> Result<(), FleetError> {
    let failed = || FleetError::io::<io::Error>(format!("clear {}", cgroup.display()));
    gone(fs::write(cgroup.join("cgroup.kill"), "1")).map_err(failed())?;
    eventually(&format!("{} is empty", cgroup.display()), || {
        fs::read_to_string(cgroup.join("cgroup.events"))
            .map_or(true, |events| events.lines().any(|line| line == "populated 0"))
    })?;
    remove_tree(cgroup).map_err(failed())
}

/// Cgroups are removed depth first, folders only: their files cannot be.
fn remove_tree(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    gone(fs::remove_dir(cgroup))
}

fn entries(dir: &Path, ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, FleetError> {
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(FleetError::io(format!("list {}", dir.display())))?,
    };
    Ok(listing
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(&ours))
        .map(|entry| entry.path())
        .collect())
}

/// Whether a network device is a bridge (`cfN`, `cfNa`) or the near end of a host's link
/// (`cfNhK`, `cfNaK`) of fleet N.
fn is_device_of(name: &str, number: u8) -> bool {
    name.strip_prefix(&format!("cf{number}"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['a', 'h']))
}

fn ip(verb: [&OsStr; 2], path: &Path) -> Result<(), FleetError> {
    let mut ip = command("ip");
    ip.args(verb).args(path.file_name());
    let said = run(ip, b"")?;
    // The kernel takes both ends of a link down together: the second one may be gone by now.
    if said.succeeded() || said.stderr.contains("Cannot find device") {
        return Ok(());
    }
    said.done()
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::is_device_of;

    #[test]
    fn a_fleet_knows_its_own_devices() {
        for name in ["cf1", "cf1a", "cf1h1", "cf1a120"] {
            assert!(is_device_of(name, 1), "{name}");
        }
        for name in ["cf12", "cf12a", "cf2", "eth0", "vcf1", "cf1x"] {
            assert!(!is_device_of(name, 1), "{name}");
        }
    }
}
