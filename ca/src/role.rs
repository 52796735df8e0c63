//! The roles, `roles.toml`: who may become which account on which hosts, for how long, and with which abilities.
//!
//! Who can change this: root on the authority's machine. Gains: can give anybody access to anything. A change is an
//! entry in the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use wire::identifier::{HostName, Identity, Label, Login, RoleName};

use crate::config::{ConfigError, Source};

/// Every role, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roles(BTreeMap<RoleName, Role>);

/// A bundle of abilities for a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    /// Who has it.
    pub(crate) members: BTreeSet<Identity>,
    /// Accounts it opens.
    pub(crate) logins: BTreeSet<Login>,
    /// Labels that a host must all have; none of them means that no host is chosen by labels.
    pub(crate) hosts: BTreeSet<Label>,
    /// Hosts chosen by name.
    pub(crate) host_names: BTreeSet<HostName>,
    /// A grant's length, in seconds, when nobody asks for less.
    pub(crate) default_secs: u64,
    /// The longest grant, in seconds.
    pub(crate) max_secs: u64,
    /// What a session may do besides running commands.
    pub(crate) abilities: BTreeSet<Ability>,
}

/// What a certificate may allow besides running commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ability {
    /// A terminal.
    Pty,
    /// Forwarding of ports.
    PortForwarding,
    /// Forwarding of the ssh-agent.
    AgentForwarding,
    /// Forwarding of X11.
    X11Forwarding,
}

impl Ability {
    /// The certificate extension that allows it (PROTOCOL.certkeys).
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Pty => "permit-pty",
            Self::PortForwarding => "permit-port-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::X11Forwarding => "permit-X11-forwarding",
        }
    }
}

impl Role {
    /// Whether it opens `login` for `who`, somewhere.
    pub(crate) fn opens(&self, who: &Identity, login: &Login) -> bool {
        self.members.contains(who) && self.logins.contains(login)
    }

    /// Whether the host is one of its hosts: by name, or by all of its labels.
    pub(crate) fn reaches(&self, host: &HostName, labels: &BTreeSet<Label>) -> bool {
        self.host_names.contains(host) || (!self.hosts.is_empty() && self.hosts.is_subset(labels))
    }

    /// A grant's length when nobody asks for less.
    pub(crate) const fn default_duration(&self) -> Duration {
        Duration::from_secs(self.default_secs)
    }

    /// The longest grant.
    pub(crate) const fn max_duration(&self) -> Duration {
        Duration::from_secs(self.max_secs)
    }
}

impl Roles {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&Source::read(path)?)
    }

    fn parse(source: &Source) -> Result<Self, ConfigError> {
        let form: Form = source.parse()?;
        let mut roles = BTreeMap::new();
        for (name, role) in form.role {
            let offset = role.span().start;
            let key =
                RoleName::try_new(name).map_err(|error| source.wrong(offset, error.to_string()))?;
            let role = checked(source, &key, role.into_inner(), offset)?;
            roles.insert(key, role);
        }
        Ok(Self(roles))
    }

    /// Each role with its name, in order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RoleName, &Role)> {
        self.0.iter()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The same in the form that the ledger keeps.
    pub(crate) const fn as_map(&self) -> &BTreeMap<RoleName, Role> {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(&Source::of(text)).unwrap()
    }
}

fn checked(
    source: &Source,
    name: &RoleName,
    form: RoleForm,
    offset: usize,
) -> Result<Role, ConfigError> {
    let range = MIN_GRANT..=MAX_GRANT;
    let max_offset = form.max_duration.as_ref().map_or(offset, |value| value.span().start);
    let max = source.span("max_duration", form.max_duration, DEFAULT_MAX, &range)?;
    let default = source.span(
        "default_duration",
        form.default_duration,
        DEFAULT_DURATION.min(max),
        &range,
    )?;
    if default > max {
        let message = format!("role {name}: max_duration is shorter than default_duration");
        return Err(source.wrong(max_offset, message));
    }
    if form.hosts.is_empty() && form.host_names.is_empty() {
        let message = format!("role {name}: it names no hosts; give hosts or host_names");
        return Err(source.wrong(offset, message));
    }
    if form.logins.is_empty() {
        return Err(source.wrong(offset, format!("role {name}: it names no logins")));
    }
    Ok(Role {
        members: form.members,
        logins: form.logins,
        hosts: form.hosts,
        host_names: form.host_names,
        default_secs: default.as_secs(),
        max_secs: max.as_secs(),
        abilities: form.abilities.unwrap_or_else(|| BTreeSet::from([Ability::Pty])),
    })
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    role: BTreeMap<String, Spanned<RoleForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleForm {
    members: BTreeSet<Identity>,
    logins: BTreeSet<Login>,
    #[serde(default)]
    hosts: BTreeSet<Label>,
    #[serde(default)]
    host_names: BTreeSet<HostName>,
    default_duration: Option<Spanned<String>>,
    max_duration: Option<Spanned<String>>,
    abilities: Option<BTreeSet<Ability>>,
}

/// The shortest grant: certificates count whole seconds.
pub(crate) const MIN_GRANT: Duration = Duration::from_secs(1);
/// The longest grant that a role can allow: two weeks, as the longest that peers allow.
const MAX_GRANT: Duration = Duration::from_secs(14 * 24 * 3600);
const DEFAULT_DURATION: Duration = Duration::from_secs(3600);
const DEFAULT_MAX: Duration = Duration::from_secs(4 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[role.deploy]\nmembers = [\"ana\"]\nlogins = [\"app\"]\nhosts = [\"env=prod\", \"kind=web\"]\n";

    #[test]
    fn labels_must_all_match() {
        let roles = Roles::of(GOOD);
        let (_, role) = roles.iter().next().unwrap();
        let labels = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let host = "db1".parse().unwrap();
        assert!(role.reaches(&host, &labels(&["env=prod", "kind=web", "x=y"])));
        assert!(!role.reaches(&host, &labels(&["env=prod"])));
        assert!(!role.reaches(&host, &labels(&[])));
        assert_eq!(role.abilities, BTreeSet::from([Ability::Pty]));
    }

    #[test]
    fn a_short_maximum_shortens_the_default() {
        let roles = Roles::of(&format!("{GOOD}max_duration = \"10m\""));
        assert_eq!(roles.iter().next().unwrap().1.default_secs, 600);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line() {
        let table = [
            (format!("{GOOD}colour = \"red\""), "test.toml:5: unknown field `colour`"),
            (
                format!("{GOOD}default_duration = \"2h\"\nmax_duration = \"1h\""),
                "test.toml:6: role deploy: max_duration is shorter",
            ),
            (format!("{GOOD}max_duration = \"99w\""), "test.toml:5: max_duration: 99w is out"),
            (GOOD.replace("ana", "a b"), "test.toml:2: identity holds ' '"),
            (GOOD.replace("deploy", "De"), "test.toml:1: role holds 'D'"),
            (
                "[role.x]\nmembers = []\nlogins = [\"a\"]".to_owned(),
                "test.toml:1: role x: it names no hosts",
            ),
            (format!("{GOOD}abilities = [\"root\"]"), "test.toml:5: unknown variant `root`"),
        ];
        for (text, start) in table {
            let error = Roles::parse(&Source::of(&text)).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
