//! The roles, `roles.toml`: who may become which account on which hosts, for how long, and with which abilities.
//!
//! Who can change this: root on the authority's machine. Gains: can give anybody access to anything. A change is an
//! entry in the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use wire::identifier::{HostName, Identity, Label, Login, QuorumName, RoleName, TeamName};
use wire::identity::Kind;
use wire::limits::Limits;
use wire::log::Hash;
use wire::network::{Network, Networks};
use wire::options::{Ability, Bounds, ForceCommand, KeyKind};

use crate::approval::{self, QuorumForm, Quorums, RotaForm};
use crate::config::{ConfigError, Source};

#[path = "role/limits.rs"]
mod limits;

use limits::{LimitsForm, RecordingForm, ThresholdsForm};

/// Every role, checked, and the quorums that roles require.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Roles {
    roles: BTreeMap<RoleName, Role>,
    #[serde(skip_serializing_if = "Quorums::is_empty")]
    approval: Quorums,
}

/// A bundle of abilities for a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Role {
    /// Who has it, by name.
    pub(crate) members: BTreeSet<Identity>,
    /// Whoever is in one of these teams has it too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) teams: BTreeSet<TeamName>,
    /// What kinds of identity can have it; both, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kinds: Option<BTreeSet<Kind>>,
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
    /// How long after a grant's end its owner may not begin another on the same host, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) cooling_off_secs: u64,
    /// What a session may do besides running commands.
    pub(crate) abilities: BTreeSet<Ability>,
    /// The quorums that must all approve a request for it; none of them means that it is there without a request.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) requires: BTreeSet<QuorumName>,
    /// Whether a request must name a ticket, which the tracker confirms; without a request there is nothing then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ticket: bool,
    /// Where logins may come from; anywhere, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_address: Option<Networks>,
    /// The one command that its certificates run; any, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) force_command: Option<ForceCommand>,
    /// Whether a security key must verify who touches it, at each login.
    #[serde(default)]
    pub(crate) verify_required: bool,
    /// What kinds of key its certificates can be over; any, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject_keys: Option<BTreeSet<KeyKind>>,
    /// Whether the terminals of its sessions say so when somebody watches them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) announce_watching: bool,
    /// What holds for its sessions besides the grant's end.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub(crate) limits: Limits,
}

/// Somebody, as far as it decides which roles they have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    /// Their name.
    pub(crate) identity: &'a Identity,
    /// What they are.
    pub(crate) kind: Kind,
    /// The teams that they are in.
    pub(crate) teams: &'a BTreeSet<TeamName>,
}

impl Role {
    /// Whether `who` has it: by name or by a team, and as what they are.
    pub(crate) fn is_had_by(&self, who: Holder<'_>) -> bool {
        let is_listed = self.members.contains(who.identity) || !self.teams.is_disjoint(who.teams);
        is_listed && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&who.kind))
    }

    /// Whether it opens `login` for `who`, somewhere.
    pub(crate) fn opens(&self, who: Holder<'_>, login: &Login) -> bool {
        self.is_had_by(who) && self.logins.contains(login)
    }

    /// Whether the host is one of its hosts: by name, or by all of its labels.
    pub(crate) fn reaches(&self, host: &HostName, labels: &BTreeSet<Label>) -> bool {
        self.host_names.contains(host) || (!self.hosts.is_empty() && self.hosts.is_subset(labels))
    }

    /// Whether it is there for who asks for a certificate without a request.
    pub(crate) fn is_free(&self) -> bool {
        self.requires.is_empty() && !self.ticket
    }

    /// A grant's length when nobody asks for less.
    pub(crate) const fn default_duration(&self) -> Duration {
        Duration::from_secs(self.default_secs)
    }

    /// How wide its certificates may be.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            abilities: self.abilities.clone(),
            lifetime: Duration::from_secs(self.max_secs),
            sources: self.source_address.clone(),
            command: self.force_command.clone(),
            verify_required: self.verify_required,
            keys: self.subject_keys.clone().unwrap_or_else(|| KeyKind::ALL.into()),
            limits: self.limits.clone(),
        }
    }
}

impl Roles {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&Source::read(path)?)
    }

    fn parse(source: &Source) -> Result<Self, ConfigError> {
        let form: Form = source.parse()?;
        let approval = approval::checked(source, form.quorum, form.rota)?;
        let mut roles = BTreeMap::new();
        for (name, role) in form.role {
            let offset = role.span().start;
            let key =
                RoleName::try_new(name).map_err(|error| source.wrong(offset, error.to_string()))?;
            let role = role.into_inner();
            refuse_unknown(source, &key, (role.requires.as_ref(), &approval))?;
            let role = checked(source, &key, role, offset)?;
            roles.insert(key, role);
        }
        refuse_unknown_shrunk(source, &roles, &approval)?;
        Ok(Self { roles, approval })
    }

    /// Each role with its name, in order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RoleName, &Role)> {
        self.roles.iter()
    }

    /// One role.
    pub(crate) fn find(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name)
    }

    /// The quorums that roles require, and who is on call.
    pub(crate) const fn approval(&self) -> &Quorums {
        &self.approval
    }

    /// What names exactly these rules.
    pub(crate) fn digest(&self) -> Result<Hash, serde_json::Error> {
        Ok(Hash::of(&serde_json::to_vec(self)?))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.roles.len()
    }

    /// The same in the form that the ledger keeps.
    pub(crate) const fn as_map(&self) -> &BTreeMap<RoleName, Role> {
        &self.roles
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
    if form.members.is_none() && form.teams.is_empty() {
        let message = format!("role {name}: it names nobody; give members or teams");
        return Err(source.wrong(offset, message));
    }
    Ok(Role {
        members: form.members.unwrap_or_default(),
        teams: form.teams,
        kinds: kinds(source, name, form.kinds)?,
        logins: form.logins,
        hosts: form.hosts,
        host_names: form.host_names,
        default_secs: default.as_secs(),
        max_secs: max.as_secs(),
        cooling_off_secs: source
            .span("cooling_off", form.cooling_off, Duration::ZERO, &(MIN_GRANT..=MAX_COOLING_OFF))?
            .as_secs(),
        source_address: form.source_address.map(|list| networks(source, name, list)).transpose()?,
        force_command: form.force_command.map(|text| command(source, name, text)).transpose()?,
        subject_keys: keys(source, name, (form.subject_keys, form.verify_required))?,
        verify_required: form.verify_required,
        announce_watching: form.announce_watching,
        requires: form.requires.map(Spanned::into_inner).unwrap_or_default(),
        ticket: form.ticket,
        limits: LimitsForm {
            idle: form.idle,
            transfer_idle: form.transfer_idle,
            longest_session: form.longest_session,
            concurrency: form.concurrency,
            recording: form.recording,
            thresholds: form.thresholds,
        }
        .checked(source, name)?,
        abilities: match form.abilities {
            Some(list) => known(source, name, ("abilities", list))?,
            None => BTreeSet::from([Ability::Pty]),
        },
    })
}

fn kinds(
    source: &Source,
    name: &RoleName,
    list: Option<Words>,
) -> Result<Option<BTreeSet<Kind>>, ConfigError> {
    let Some(list) = list else {
        return Ok(None);
    };
    let at = list.span().start;
    let kinds: BTreeSet<Kind> = known(source, name, ("kinds", list))?;
    if kinds.is_empty() {
        let why = "no kind of identity is listed, so nobody could have it; leave the setting out";
        return Err(source.wrong(at, format!("role {name}: kinds: {why}")));
    }
    Ok(Some(kinds))
}

/// A role that required what nobody defined would never be granted; better to say so while the file is read.
fn refuse_unknown(
    source: &Source,
    name: &RoleName,
    (requires, approval): (Option<&Spanned<BTreeSet<QuorumName>>>, &Quorums),
) -> Result<(), ConfigError> {
    let Some(requires) = requires else { return Ok(()) };
    let wrong =
        |why: &str| source.wrong(requires.span().start, format!("role {name}: requires: {why}"));
    if requires.get_ref().is_empty() {
        return Err(wrong("no quorum is named; leave the setting out to require none"));
    }
    match requires.get_ref().iter().find(|quorum| !approval.quorums.contains_key(quorum)) {
        None => Ok(()),
        Some(absent) => {
            Err(wrong(&format!("there is no quorum {absent}; define [quorum.{absent}]")))
        }
    }
}

/// Fewer seats for a role that there is not, or that does not require the quorum, would be a mistake that nobody sees before it matters.
fn refuse_unknown_shrunk(
    source: &Source,
    roles: &BTreeMap<RoleName, Role>,
    approval: &Quorums,
) -> Result<(), ConfigError> {
    for (name, quorum) in &approval.quorums {
        for role in quorum.shrink.iter().flat_map(|shrink| &shrink.roles) {
            let is_required = roles.get(role).is_some_and(|role| role.requires.contains(name));
            if !is_required {
                let why = format!("quorum {name}: shrink: no role {role} requires this quorum");
                return Err(source.wrong(0, why));
            }
        }
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(secs: &u64) -> bool {
    *secs == 0
}

fn networks(
    source: &Source,
    name: &RoleName,
    list: Spanned<Vec<Spanned<String>>>,
) -> Result<Networks, ConfigError> {
    let wrong =
        |at: usize, why: String| source.wrong(at, format!("role {name}: source_address: {why}"));
    let at = list.span().start;
    let parsed: Result<Vec<Network>, ConfigError> = list
        .into_inner()
        .into_iter()
        .map(|text| {
            let read: Result<Network, _> = text.get_ref().parse();
            read.map_err(|error| wrong(text.span().start, error.to_string()))
        })
        .collect();
    Networks::try_new(parsed?).map_err(|error| {
        wrong(at, format!("{error}; leave the setting out to let in from anywhere"))
    })
}

fn command(
    source: &Source,
    name: &RoleName,
    text: Spanned<String>,
) -> Result<ForceCommand, ConfigError> {
    let at = text.span().start;
    ForceCommand::try_new(text.into_inner())
        .map_err(|error| source.wrong(at, format!("role {name}: force_command: {error}")))
}

fn keys(
    source: &Source,
    name: &RoleName,
    (list, verify_required): (Option<Words>, bool),
) -> Result<Option<BTreeSet<KeyKind>>, ConfigError> {
    let Some(list) = list else {
        return Ok(None);
    };
    let at = list.span().start;
    let wrong = |why: &str| source.wrong(at, format!("role {name}: subject_keys: {why}"));
    let kinds: BTreeSet<KeyKind> = known(source, name, ("subject_keys", list))?;
    if kinds.is_empty() {
        return Err(wrong(
            "no kind of key is listed, so nothing could be certified; leave the setting out to allow every kind",
        ));
    }
    if verify_required && !kinds.iter().any(|kind| kind.is_security_key()) {
        return Err(wrong(
            "verify_required needs a security key; add \"sk-ed25519\" and \"sk-ecdsa\"",
        ));
    }
    Ok(Some(kinds))
}

/// Words of a closed list, each refused where it stands.
fn known<T: Ord + FromStr<Err: ToString>>(
    source: &Source,
    name: &RoleName,
    (key, list): (&str, Words),
) -> Result<BTreeSet<T>, ConfigError> {
    list.into_inner()
        .into_iter()
        .map(|word| {
            let at = word.span().start;
            let read: Result<T, T::Err> = word.get_ref().parse();
            read.map_err(|error| {
                source.wrong(at, format!("role {name}: {key}: {}", error.to_string()))
            })
        })
        .collect()
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    role: BTreeMap<String, Spanned<RoleForm>>,
    #[serde(default)]
    quorum: BTreeMap<String, Spanned<QuorumForm>>,
    #[serde(default)]
    rota: BTreeMap<String, Spanned<Vec<RotaForm>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleForm {
    members: Option<BTreeSet<Identity>>,
    #[serde(default)]
    teams: BTreeSet<TeamName>,
    kinds: Option<Words>,
    logins: BTreeSet<Login>,
    #[serde(default)]
    hosts: BTreeSet<Label>,
    #[serde(default)]
    host_names: BTreeSet<HostName>,
    default_duration: Option<Spanned<String>>,
    max_duration: Option<Spanned<String>>,
    cooling_off: Option<Spanned<String>>,
    abilities: Option<Words>,
    requires: Option<Spanned<BTreeSet<QuorumName>>>,
    #[serde(default)]
    ticket: bool,
    source_address: Option<Words>,
    force_command: Option<Spanned<String>>,
    #[serde(default)]
    verify_required: bool,
    #[serde(default)]
    announce_watching: bool,
    subject_keys: Option<Words>,
    idle: Option<Spanned<String>>,
    transfer_idle: Option<Spanned<String>>,
    longest_session: Option<Spanned<String>>,
    concurrency: Option<Spanned<u32>>,
    recording: Option<RecordingForm>,
    thresholds: Option<Spanned<ThresholdsForm>>,
}

/// A list in the file, and where each word of it stands.
type Words = Spanned<Vec<Spanned<String>>>;

/// The shortest grant: certificates count whole seconds.
pub(crate) const MIN_GRANT: Duration = Duration::from_secs(1);
/// The longest grant that a role can allow: two weeks, as the longest that peers allow.
const MAX_GRANT: Duration = Duration::from_secs(14 * 24 * 3600);
/// A week, which is long enough to be a rule about people and not a lock.
pub(crate) const MAX_COOLING_OFF: Duration = Duration::from_secs(7 * 24 * 3600);
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
    fn a_role_is_had_by_name_or_by_team_and_as_what_one_is() {
        let text = format!("{GOOD}teams = [\"sre\", \"dba\"]\nkinds = [\"person\"]");
        let (roles, plain) = (Roles::of(&text), Roles::of(GOOD));
        let (role, plain) = (roles.iter().next().unwrap().1, plain.iter().next().unwrap().1);
        let has = |role: &Role, name: &str, teams: &[&str], kind| {
            let teams = teams.iter().map(|team| team.parse().unwrap()).collect();
            let identity = &name.parse().unwrap();
            role.is_had_by(Holder { identity, kind, teams: &teams })
        };
        assert!(has(role, "ana", &[], Kind::Person) && has(role, "bob", &["dba"], Kind::Person));
        assert!(!has(role, "bob", &["web"], Kind::Person) && !has(role, "bob", &[], Kind::Person));
        for name in ["ana", "ci"] {
            assert!(!has(role, name, &["sre"], Kind::Workload));
        }
        assert!(has(plain, "ana", &[], Kind::Workload) && !has(plain, "b", &["sre"], Kind::Person));
    }

    #[test]
    fn what_binds_certificates_is_read_as_it_is_written() {
        let text = "source_address = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\nforce_command = \"env A=b,c run\"\nverify_required = true\nsubject_keys = [\"sk-ecdsa\"]\nabilities = []";
        let roles = Roles::of(&format!("{GOOD}{text}"));
        let bounds = roles.iter().next().unwrap().1.bounds();
        assert_eq!(bounds.sources.unwrap().to_string(), "10.0.0.0/8,192.0.2.0/24");
        assert_eq!(bounds.command.unwrap().as_str(), "env A=b,c run");
        assert!(bounds.verify_required && bounds.abilities.is_empty());
        assert_eq!(bounds.keys, BTreeSet::from([KeyKind::SkEcdsa]));
        let plain = Roles::of(GOOD).iter().next().unwrap().1.bounds();
        assert_eq!((plain.sources, plain.command, plain.verify_required), (None, None, false));
        assert_eq!(plain.keys, KeyKind::ALL.into());
    }

    #[test]
    fn what_the_pages_show_of_roles_is_read() {
        let mut shown = 0;
        for page in pages::all().unwrap() {
            for (_, text) in page.blocks("toml") {
                if text.starts_with("[role.") {
                    assert!(Roles::of(&text).iter().next().is_some(), "{}", page.path);
                    shown += 1;
                }
            }
        }
        assert!(shown >= 1, "no page shows a role");
    }

    #[test]
    fn a_role_in_a_ledger_of_before_is_read() {
        let old = r#"{"members":["ana"],"logins":["app"],"hosts":[],"host_names":["db1"],"default_secs":1,"max_secs":2,"abilities":["x11-forwarding"]}"#;
        let role: Role = serde_json::from_str(old).unwrap();
        assert_eq!(role.abilities, BTreeSet::from([Ability::X11Forwarding]));
        assert_eq!(role.bounds().critical_options(), BTreeMap::new());
    }

    #[test]
    fn a_role_requires_quorums_that_are_defined() {
        let text = "requires = [\"two\"]\n[quorum.two]\nseats = [\"owner\", { team = \"security\" }]\n\
                    automatic = \"sre\"\nwiden = { after = \"30m\", to = [{ on-call = \"sre\" }] }\n\
                    [[rota.sre]]\nwho = \"bob\"\nfrom = \"2026-11-30T08:00:00Z\"\nuntil = \"2026-11-30T16:00:00Z\"\n";
        let roles = Roles::of(&format!("{GOOD}{text}"));
        let two: QuorumName = "two".parse().unwrap();
        assert_eq!(roles.iter().next().unwrap().1.requires, BTreeSet::from([two.clone()]));
        let quorum = &roles.approval().quorums[&two];
        assert_eq!((quorum.seats.len(), quorum.wider.as_ref().unwrap().after_secs), (2, 1_800));
        assert_ne!(roles.digest().unwrap(), Roles::of(GOOD).digest().unwrap());
        // What the ledger kept of roles before there were quorums is still what it keeps.
        let before = serde_json::to_string(&Roles::of(GOOD)).unwrap();
        assert!(!before.contains("approval") && !before.contains("requires"), "{before}");
    }

    #[test]
    fn what_is_wrong_with_a_quorum_is_refused_with_its_line() {
        let table = [
            (
                format!("{GOOD}requires = [\"two\"]"),
                "test.toml:5: role deploy: requires: there is no quorum two; define",
            ),
            (format!("{GOOD}requires = []"), "test.toml:5: role deploy: requires: no quorum is"),
            (
                "[quorum.q]\nseats = []".to_owned(),
                "test.toml:2: quorum q: seats is empty, so nobody could ever approve",
            ),
            (
                "[quorum.q]\nseats = [{ people = [] }]".to_owned(),
                "test.toml:2: quorum q: seats: a seat names no people",
            ),
            (
                "[quorum.q]\nseats = [{ on-call = \"sre\" }]".to_owned(),
                "test.toml:2: quorum q: seats: there is no rota sre: there is none",
            ),
            ("[quorum.q]\nseats = [\"anybody\"]".to_owned(), "test.toml:2: unknown variant"),
            (
                "[quorum.q]\nseats = [\"owner\", \"owner\"]\n[quorum.q.shrink]\nafter = \"15m\"\nseats = []\nroles = [\"x\"]".to_owned(),
                "test.toml:5: quorum q: shrink.seats is empty",
            ),
            (
                "[quorum.q]\nseats = [\"owner\"]\n[quorum.q.shrink]\nafter = \"15m\"\nseats = [\"owner\"]\nroles = [\"x\"]".to_owned(),
                "test.toml:3: quorum q: shrink: it leaves as many seats",
            ),
            (
                "[quorum.q]\nseats = [\"owner\", \"owner\"]\n[quorum.q.shrink]\nafter = \"15m\"\nseats = [\"owner\"]\nroles = []".to_owned(),
                "test.toml:3: quorum q: shrink: it names no roles",
            ),
            (
                "[quorum.q]\nseats = [\"owner\", \"owner\"]\n[quorum.q.shrink]\nafter = \"15m\"\nseats = [\"owner\"]\nroles = [\"x\"]".to_owned(),
                "test.toml:1: quorum q: shrink: no role x requires this quorum",
            ),
            (
                format!("[quorum.q]\nseats = [{}]", "\"owner\",".repeat(11)),
                "test.toml:2: quorum q: 11 seats; at most 10",
            ),
            ("[quorum.Q]\nseats = [\"owner\"]".to_owned(), "test.toml:1: quorum holds 'Q'"),
            (
                "[[rota.a]]\nwho = \"a\"\nfrom = \"soon\"\nuntil = \"later\"".to_owned(),
                "test.toml:3: rota a: from: write a moment as",
            ),
            (
                "[[rota.a]]\nwho = \"a\"\nfrom = \"2026-11-30T08:00:00Z\"\nuntil = \"2026-11-30T08:00:00Z\""
                    .to_owned(),
                "test.toml:4: rota a: until is not after from",
            ),
        ];
        for (text, start) in table {
            let error = Roles::parse(&Source::of(&text)).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn a_short_maximum_shortens_the_default() {
        let roles = Roles::of(&format!("{GOOD}max_duration = \"10m\""));
        assert_eq!(roles.iter().next().unwrap().1.default_secs, 600);
    }

    #[test]
    fn a_role_rests_for_a_week_at_most() {
        let read = |text: &str| Roles::parse(&Source::of(&format!("{GOOD}cooling_off = {text:?}")));
        assert_eq!(read("2h").unwrap().iter().next().unwrap().1.cooling_off_secs, 7_200);
        let error = read("8d").unwrap_err().to_string();
        assert!(error.starts_with("test.toml:5: cooling_off: 8d is out of range"), "{error}");
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
            (
                GOOD.replace("members = [\"ana\"]\n", ""),
                "test.toml:1: role deploy: it names nobody; give members or teams",
            ),
            (
                GOOD.replace("members = [\"ana\"]", "teams = [\"a b\"]"),
                "test.toml:2: team holds ' '",
            ),
            (
                format!("{GOOD}kinds = [\"people\"]"),
                "test.toml:5: role deploy: kinds: there is no kind \"people\"; there are person",
            ),
            (format!("{GOOD}kinds = []"), "test.toml:5: role deploy: kinds: no kind of identity"),
            (
                format!("{GOOD}abilities = [\n \"pty\",\n \"tty\"]"),
                "test.toml:7: role deploy: abilities: there is no ability \"tty\"; there are pty, port",
            ),
            (
                format!("{GOOD}source_address = [\"10.0.0.0/8\",\n\"10.1.0.1/8\"]"),
                "test.toml:6: role deploy: source_address: \"10.1.0.1/8\" has bits beyond its prefix; did you mean 10.0.0.0/8?",
            ),
            (
                format!("{GOOD}source_address = []"),
                "test.toml:5: role deploy: source_address: the list of networks is empty, which would let in nobody; leave",
            ),
            (
                format!("{GOOD}force_command = \" ls\""),
                "test.toml:5: role deploy: force_command: the forced command begins or ends",
            ),
            (
                format!("{GOOD}subject_keys = []"),
                "test.toml:5: role deploy: subject_keys: no kind of key is listed",
            ),
            (
                format!("{GOOD}subject_keys = [\"sk\"]"),
                "test.toml:5: role deploy: subject_keys: there is no kind of key \"sk\"; there are ed25519",
            ),
            (
                format!("{GOOD}subject_keys = [\"rsa\"]\nverify_required = true"),
                "test.toml:5: role deploy: subject_keys: verify_required needs a security key",
            ),
            (format!("{GOOD}verify_required = \"yes\""), "test.toml:5: invalid type"),
        ];
        for (text, start) in table {
            let error = Roles::parse(&Source::of(&text)).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
