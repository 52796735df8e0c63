//! Where it is measured: an authority, a host under it, and a person whose certificate is at hand.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use tests::{Host, Person, Site, Ssh};

/// One host with everything around it.
pub(crate) struct Stage {
    /// The authority and its fleet.
    pub(crate) site: Site,
    /// The host that is measured.
    pub(crate) host: Host,
    person: Person,
    config_path: PathBuf,
}

impl Stage {
    /// Boots all of it.
    pub(crate) fn set() -> Result<Self> {
        let site = Site::open()?;
        let host = site.host("db1")?;
        let person = site.person("ana@example.com")?;
        let config_path = person.client.ssh_dir().join("bench_config");
        let stage = Self { site, host, person, config_path };
        stage.prepare()?;
        Ok(stage)
    }

    /// Sees to it that the certificate is at hand and fresh, so that no login below waits for the authority.
    pub(crate) fn prepare(&self) -> Result<()> {
        let address = self.host.address().to_string();
        self.person.curfew(["ssh", "--prepare", &address, LOGIN])?.done()?;
        let ssh_dir = self.person.client.ssh_dir();
        let home = self.person.client.home_dir();
        let name = format!("{LOGIN}@{address}");
        let dir = identity_dir(home, &format!("{name}-cert.pub")).context("no certificate came")?;
        let (dir, ssh_dir) = (dir.display(), ssh_dir.display());
        let text = format!(
            "Host *\n\
             IdentityFile {dir}/{name}\n\
             CertificateFile {dir}/{name}-cert.pub\n\
             IdentitiesOnly yes\n\
             UserKnownHostsFile {ssh_dir}/bench_known_hosts\n\
             GlobalKnownHostsFile /dev/null\n\
             StrictHostKeyChecking accept-new\n\
             ControlMaster no\n\
             ControlPath none\n\
             LogLevel ERROR\n\
             ConnectTimeout 10\n"
        );
        fs::write(&self.config_path, text)
            .with_context(|| format!("cannot write {}", self.config_path.display()))
    }

    /// Stock `ssh` to a host with the certificate at hand.
    pub(crate) fn ssh(&self, host: &Host) -> Ssh<'_> {
        let config_path = self.config_path.display().to_string();
        self.person.ssh(LOGIN, host).with(["-F".to_owned(), config_path])
    }

    /// How many processes carry the environment of each connection: what the kernel says of who descends from it,
    /// without asking the agent.
    pub(crate) fn census(&self) -> Result<BTreeMap<String, usize>> {
        let said = self.host.run(["sh", "-c", CENSUS])?.ok()?;
        let mut alive = BTreeMap::new();
        for connection in said.stdout.split('\0').filter_map(|line| line.split_once('=')) {
            let count: &mut usize = alive.entry(connection.1.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        Ok(alive)
    }
}

/// The folder below `dir` that holds the file `name`.
fn identity_dir(dir: &std::path::Path, name: &str) -> Option<PathBuf> {
    if dir.join(name).is_file() {
        return Some(dir.to_owned());
    }
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).find_map(|path| identity_dir(&path, name))
}

/// The account that everybody enters.
pub(crate) const LOGIN: &str = "deploy";
/// A process that ends while it is looked at is no error.
const CENSUS: &str = "grep --no-messages -zah '^SSH_CONNECTION=' /proc/[0-9]*/environ; exit 0";
