//! Where it happens, and what must be found at the end.

use anyhow::{Context as _, Result};
use tests::{Host, Person, Running, Site, eventually};

/// The hosts.
pub(super) const HOSTS: [&str; 3] = ["db1", "db2", "web1"];
/// The account that everybody enters.
pub(super) const LOGIN: &str = "deploy";

/// An authority, three hosts under it, and three people.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) site: Site,
    pub(super) hosts: [Host; 3],
    /// Works all day.
    pub(super) ana: Person,
    /// Is locked out now and then, and asks for more.
    pub(super) bob: Person,
    /// Locks and approves.
    pub(super) ops: Person,
    /// Logins that were let in.
    pub(super) logins: usize,
    /// What was run in them, to be found in the records: each word once.
    pub(super) marks: Vec<String>,
    /// Sessions that end by themselves.
    pub(super) ending: Vec<Running>,
    count: usize,
}

impl Scene {
    /// Boots all of it.
    pub(super) fn set() -> Result<Self> {
        let site = Site::open()?;
        site.set_roles(ROLES)?;
        let hosts = site.hosts(HOSTS)?;
        let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
        let ops = site.operator("ops@example.com")?;
        let (marks, ending) = (Vec::new(), Vec::new());
        Ok(Self { site, hosts, ana, bob, ops, logins: 0, marks, ending, count: 0 })
    }

    pub(super) fn host(&self, number: usize) -> Result<&Host> {
        self.hosts.get(number).context("there is no such host")
    }

    /// A word that nobody has used yet.
    pub(super) fn word(&mut self) -> String {
        self.count = self.count.saturating_add(1);
        format!("soak-{}-", self.count)
    }

    /// Somebody was let in, and ran `/bin/echo` with this word.
    pub(super) fn ran(&mut self, mark: String) {
        self.logins = self.logins.saturating_add(1);
        self.marks.push(mark);
    }

    /// Waits until nothing is under way: nobody is on a host, and the authority has all that the hosts have recorded.
    pub(super) fn settle(&mut self) -> Result<()> {
        let hosts = &self.hosts;
        let wait = || {
            eventually("nobody is on a host, and all records have arrived", || {
                hosts.iter().all(|host| is_at_rest(host).unwrap_or(false))
            })
        };
        // As long as the shortest grant there is, and the patience besides.
        for _ in 0..PATIENCES {
            if wait().is_ok() {
                break;
            }
        }
        wait()?;
        self.ending.clear();
        Ok(())
    }
}

fn is_at_rest(host: &Host) -> Result<bool> {
    let status: serde_json::Value =
        serde_json::from_str(host.run(["curfew-agent", "status", "--json"])?.ok()?.text())?;
    let sessions = status.get("sessions").and_then(serde_json::Value::as_array);
    let has = |name: &str, value: serde_json::Value| status.get(name) == Some(&value);
    Ok(sessions.is_some_and(Vec::is_empty)
        && has("spooled", 0.into())
        && has("connected", true.into()))
}

/// How often 20 s are waited for.
const PATIENCES: usize = 4;
const ROLES: &str = r#"[role.deploy]
members = ["ana@example.com", "bob@example.com", "ops@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "4h"
max_duration = "8h"
abilities = ["pty"]

[role.dba]
members = ["bob@example.com"]
logins = ["app"]
hosts = ["env=prod"]
default_duration = "30m"
max_duration = "1h"
requires = ["one"]

[quorum.one]
seats = [{ people = ["ops@example.com"] }]
"#;
