//! Where it is measured: an authority, a host under it, and a person whose certificate is at hand.

use std::collections::BTreeMap;

use anyhow::Result;
use tests::{Certified, Host, Person, Site, Ssh};

/// One host with everything around it.
pub(crate) struct Stage {
    /// The authority and its fleet.
    pub(crate) site: Site,
    /// The host that is measured.
    pub(crate) host: Host,
    person: Person,
    certified: Certified,
}

impl Stage {
    /// Boots all of it.
    pub(crate) fn set() -> Result<Self> {
        let site = Site::open()?;
        let host = site.host("db1")?;
        let person = site.person("ana@example.com")?;
        let certified = person.certificate(LOGIN, &host)?;
        Ok(Self { site, host, person, certified })
    }

    /// The same with these roles.
    pub(crate) fn set_with(roles: &str) -> Result<Self> {
        let site = Site::open()?;
        let host = site.host("db1")?;
        let person = site.person("ana@example.com")?;
        site.set_roles(roles)?;
        let certified = person.certificate(LOGIN, &host)?;
        Ok(Self { site, host, person, certified })
    }

    /// Sees to it that the certificate at hand is fresh, so that no login below waits for the authority.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        self.certified = self.person.certificate(LOGIN, &self.host)?;
        Ok(())
    }

    /// Stock `ssh` to a host with the certificate at hand.
    pub(crate) fn ssh(&self, host: &Host) -> Result<Ssh<'_>> {
        Ok(self.person.offering(&self.certified, LOGIN, host)?)
    }

    /// Events that were lost of all sessions, as the authority says.
    pub(crate) fn lost(&self) -> Result<u64> {
        let sessions = self.person.listing(["sessions", "--all"])?;
        let sessions = sessions.as_array().into_iter().flatten();
        Ok(sessions.filter_map(|session| session.get("lost")?.as_u64()).sum())
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

/// The account that everybody enters.
pub(crate) const LOGIN: &str = "deploy";
/// A process that ends while it is looked at is no error.
const CENSUS: &str = "grep --no-messages -zah '^SSH_CONNECTION=' /proc/[0-9]*/environ; exit 0";
