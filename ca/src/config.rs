//! The authority's settings, `ca.toml`.
//!
//! Who can change this: root on the authority's machine. Gains: where it listens and how long certificates live,
//! within the ranges of [`SETTINGS`].

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

#[path = "config/behaviour.rs"]
pub(crate) mod behaviour;
#[path = "config/bucket.rs"]
pub(crate) mod bucket;
#[path = "config/identity.rs"]
pub(crate) mod identity;
#[path = "config/keys.rs"]
pub(crate) mod keys;
#[path = "config/ledger.rs"]
pub(crate) mod ledger;
#[path = "config/notify.rs"]
pub(crate) mod notify;
#[path = "config/retention.rs"]
pub(crate) mod retention;
#[path = "config/tracker.rs"]
pub(crate) mod tracker;
#[path = "config/witness.rs"]
pub(crate) mod witness;

use behaviour::BehaviourAt;
use bucket::{BucketAt, RecordingsForm};
use identity::{Oidc, OidcForm, Workload, WorkloadForm};
use keys::{Keys, KeysForm};
use ledger::LedgerForm;
use notify::{NotifyAt, NotifyForm};
use retention::{Retention, RetentionForm};
use tracker::{TrackerAt, TrackerForm};
use witness::{Cosigning, WitnessForm};

/// Every setting, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Keys and ledger.
    pub(crate) state_dir: PathBuf,
    /// Where people are served.
    pub(crate) listen: SocketAddr,
    /// Where hosts are served.
    pub(crate) hosts_listen: SocketAddr,
    /// Where figures are served, in the clear, on this machine; nowhere when absent.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Names in the server's TLS certificate; the first is the one that hosts are told.
    pub(crate) names: Vec<String>,
    /// The operator's socket on this machine.
    pub(crate) admin_socket: PathBuf,
    /// The roles.
    pub(crate) roles_file: PathBuf,
    /// Where recordings of terminals are kept.
    pub(crate) recordings_dir: PathBuf,
    /// The policies.
    pub(crate) policy_dir: PathBuf,
    /// The weights of risks.
    pub(crate) risk_file: PathBuf,
    /// Weights that are only tried.
    pub(crate) risk_trial_file: PathBuf,
    /// Whether weights count only when somebody who may administer signed them.
    pub(crate) risk_signed: bool,
    /// Where it is the day and the hour that policies speak of.
    pub(crate) time_zone: TimeZone,
    /// The bucket where they are kept instead, if one is named.
    pub(crate) bucket: Option<BucketAt>,
    /// How long what was recorded must be kept.
    pub(crate) retention: Retention,
    /// How long a user certificate opens anything.
    pub(crate) certificate_lifetime: Duration,
    /// How long before its issue a certificate's window begins.
    pub(crate) backdate: Duration,
    /// How long a host's SSH certificates live.
    pub(crate) host_certificate_lifetime: Duration,
    /// How long the certificate of a host's connection lives.
    pub(crate) link_certificate_lifetime: Duration,
    /// How long a login lasts.
    pub(crate) login_lifetime: Duration,
    /// Whether nobody does anything without a second factor.
    pub(crate) second_factor: bool,
    /// How long a challenge can be answered.
    pub(crate) challenge_lifetime: Duration,
    /// After how long a host is overdue on which break-glass was not tried.
    pub(crate) drills: Duration,
    /// What is started when break-glass is used: a program and its arguments; nothing when empty.
    pub(crate) breakglass_alarm: Vec<String>,
    /// How long requests wait.
    pub(crate) patience: Patience,
    /// Where the keys lie.
    pub(crate) keys: Keys,
    /// The server that keeps the ledger; without one it is a file in the state folder.
    pub(crate) ledger: Option<ledger::Server>,
    /// Who cosigns the ledger's checkpoints.
    pub(crate) witnesses: Cosigning,
    /// The identity provider of people.
    pub(crate) oidc: Option<Oidc>,
    /// Jobs that log in with tokens of their own.
    pub(crate) workloads: Vec<Workload>,
    /// Where tickets are looked up; nowhere, when absent.
    pub(crate) tracker: Option<TrackerAt>,
    /// The rules of behaviour that people sign; none, when absent.
    pub(crate) behaviour: Option<BehaviourAt>,
    /// Who is told of what goes on.
    pub(crate) notify: Vec<NotifyAt>,
}

/// How long requests wait, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For approvals.
    pub(crate) approval: Duration,
    /// Approved, for their first use.
    pub(crate) first_use: Duration,
}

/// One line of the table of settings.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the file.
    pub(crate) key: &'static str,
    /// What holds when it is absent.
    pub(crate) default: &'static str,
    /// What may stand there.
    pub(crate) range: &'static str,
    /// What it is.
    pub(crate) sentence: &'static str,
}

/// Why a configuration file was refused: file, line, key, and what is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}:{line}: {message}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let source = Source::read(path)?;
        Self::parse(&source)
    }

    fn parse(source: &Source) -> Result<Self, ConfigError> {
        let mut form: Form = source.parse()?;
        let state_dir = form.state_dir.unwrap_or_else(|| "/var/lib/curfew-ca".into());
        Ok(Self {
            bucket: BucketAt::checked(source, form.recordings)?,
            retention: Retention::checked(source, form.retention)?,
            recordings_dir: form.recordings_dir.unwrap_or_else(|| state_dir.join("recordings")),
            state_dir,
            listen: form.listen.unwrap_or_else(|| everywhere(7442)),
            hosts_listen: form.hosts_listen.unwrap_or_else(|| everywhere(7443)),
            metrics_listen: near(source, form.metrics_listen)?,
            names: checked_names(source, form.names)?,
            admin_socket: form.admin_socket.unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into()),
            roles_file: form.roles_file.unwrap_or_else(|| "/etc/curfew/roles.toml".into()),
            policy_dir: form.policy_dir.unwrap_or_else(|| "/etc/curfew/policy".into()),
            risk_file: form.risk_file.unwrap_or_else(|| "/etc/curfew/risk.toml".into()),
            risk_trial_file: form.risk_trial_file.unwrap_or_else(|| DEFAULT_TRIAL.into()),
            risk_signed: form.risk_signed,
            time_zone: checked_zone(source, form.time_zone)?,
            certificate_lifetime: source.span(
                "certificate_lifetime",
                form.certificate_lifetime,
                minutes(15),
                &(minutes(1)..=minutes(60)),
            )?,
            backdate: source.span("backdate", form.backdate, secs(30), &(secs(0)..=minutes(5)))?,
            host_certificate_lifetime: source.span(
                "host_certificate_lifetime",
                form.host_certificate_lifetime,
                days(30),
                &(minutes(1)..=days(366)),
            )?,
            link_certificate_lifetime: source.span(
                "link_certificate_lifetime",
                form.link_certificate_lifetime,
                days(365),
                &(minutes(1)..=days(5 * 366)),
            )?,
            login_lifetime: source.span(
                "login_lifetime",
                form.login_lifetime,
                minutes(8 * 60),
                &(minutes(1)..=minutes(24 * 60)),
            )?,
            second_factor: form.second_factor,
            challenge_lifetime: challenges(source, form.challenge_lifetime)?,
            drills: drills(source, form.breakglass_drill_every)?,
            breakglass_alarm: alarm(source, form.breakglass_alarm)?,
            patience: Patience::checked(source, (form.approval_timeout, form.first_use_timeout))?,
            tracker: TrackerAt::checked(source, form.tracker)?,
            behaviour: form.behaviour,
            notify: NotifyAt::checked(source, form.notify)?,
            keys: Keys::checked(source, form.keys)?,
            witnesses: Cosigning::checked(
                source,
                (form.witness, form.ledger.as_mut().and_then(LedgerForm::quorum)),
            )?,
            ledger: ledger::Server::checked(source, form.ledger)?,
            oidc: Oidc::checked(source, form.oidc)?,
            workloads: Workload::checked(source, form.workload)?,
        })
    }
}

fn challenges(source: &Source, life: Option<Spanned<String>>) -> Result<Duration, ConfigError> {
    source.span("challenge_lifetime", life, minutes(1), &(secs(5)..=minutes(5)))
}

fn drills(source: &Source, every: Option<Spanned<String>>) -> Result<Duration, ConfigError> {
    source.span("breakglass_drill_every", every, days(90), &(secs(1)..=days(366)))
}

fn alarm(source: &Source, words: Option<Spanned<Vec<String>>>) -> Result<Vec<String>, ConfigError> {
    words.map_or(Ok(Vec::new()), |words| command(source, "breakglass_alarm", words))
}

/// A program by its absolute path, and its arguments.
fn command(
    source: &Source,
    key: &str,
    words: Spanned<Vec<String>>,
) -> Result<Vec<String>, ConfigError> {
    let wrong = |why: String| source.wrong(words.span().start, format!("{key}: {why}"));
    let list = words.get_ref();
    if list.len() > MAX_WORDS || list.iter().any(|word| word.chars().any(char::is_control)) {
        return Err(wrong("it has too many words, or a control character".to_owned()));
    }
    match list.first() {
        Some(path) if !path.starts_with('/') => Err(wrong(format!("{path} is no absolute path"))),
        _ => Ok(words.into_inner()),
    }
}

impl Patience {
    fn checked(
        source: &Source,
        (approval, first_use): (Option<Spanned<String>>, Option<Spanned<String>>),
    ) -> Result<Self, ConfigError> {
        let range = secs(1)..=days(7);
        Ok(Self {
            approval: source.span("approval_timeout", approval, minutes(180), &range)?,
            first_use: source.span("first_use_timeout", first_use, minutes(60), &range)?,
        })
    }
}

/// A file's text with its name, so that whatever is wrong can say where.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Ok(Self { path: path.into(), text })
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self { path: "test.toml".into(), text: text.into() }
    }

    /// Reads the text as a `T`.
    pub(crate) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            self.wrong(offset, with_meant(error.message()))
        })
    }

    /// The complaint `message` about what begins at byte `offset`.
    pub(crate) fn wrong(&self, offset: usize, message: String) -> ConfigError {
        let before = self.text.bytes().take(offset);
        let line = before.filter(|byte| *byte == b'\n').count().saturating_add(1);
        ConfigError::Wrong { path: self.path.clone(), line, message }
    }

    /// A span of time such as `15m`, within `range`.
    pub(crate) fn span(
        &self,
        key: &str,
        value: Option<Spanned<String>>,
        default: Duration,
        range: &RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = value else {
            return Ok(default);
        };
        let offset = value.span().start;
        let span = duration(value.get_ref())
            .map_err(|reason| self.wrong(offset, format!("{key}: {reason}")))?;
        if range.contains(&span) {
            return Ok(span);
        }
        let message = format!(
            "{key}: {} is out of range; use {} to {}",
            value.get_ref(),
            shown(*range.start()),
            shown(*range.end())
        );
        Err(self.wrong(offset, message))
    }
}

/// Reads a span of time as people write it: `90s`, `15m`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time; write it as 90s, 15m, 1h or 2d");
    let span: jiff::Span = text.parse().map_err(|_source: jiff::Error| wrong())?;
    let span =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_source| wrong())?;
    Duration::try_from(span).map_err(|_negative| wrong())
}

/// A span of time as people read it.
pub(crate) fn shown(span: Duration) -> String {
    jiff::SignedDuration::try_from(span)
        .map_or_else(|_too_long| format!("{} s", span.as_secs()), |span| format!("{span:#}"))
}

/// Adds to the complaint about an unknown word which of the known ones was meant, if one is near.
fn with_meant(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let is_unknown = message.starts_with("unknown ");
    let meant = words.next().filter(|_| is_unknown).and_then(|word| policy::nearest(word, words));
    match meant {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message.to_owned(),
    }
}

fn checked_names(
    source: &Source,
    names: Option<Vec<Spanned<String>>>,
) -> Result<Vec<String>, ConfigError> {
    let names = names.unwrap_or_else(|| {
        ["localhost", "127.0.0.1", "::1"].map(|name| untouched(name.to_owned())).into()
    });
    for name in &names {
        let text = name.get_ref();
        if text.parse::<std::net::IpAddr>().is_err()
            && wire::identifier::HostName::try_new(text.as_str()).is_err()
        {
            let message =
                format!("names: {text:?} is neither a lower-case DNS name nor an IP address");
            return Err(source.wrong(name.span().start, message));
        }
    }
    if names.is_empty() {
        return Err(source.wrong(0, "names: at least one name is needed".into()));
    }
    Ok(names.into_iter().map(Spanned::into_inner).collect())
}

fn checked_zone(source: &Source, name: Option<Spanned<String>>) -> Result<TimeZone, ConfigError> {
    let Some(name) = name else {
        return Ok(TimeZone::UTC);
    };
    TimeZone::get(name.get_ref()).map_err(|error| {
        let message = format!("time_zone: {error}; use a name such as Europe/Zurich, or UTC");
        source.wrong(name.span().start, message)
    })
}

/// Every address of this machine.
fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// An address of this machine alone: what is served there is in the clear and asks nobody who they are.
fn near(
    source: &Source,
    address: Option<Spanned<SocketAddr>>,
) -> Result<Option<SocketAddr>, ConfigError> {
    let Some(address) = address else {
        return Ok(None);
    };
    if address.get_ref().ip().is_loopback() {
        return Ok(Some(*address.get_ref()));
    }
    let message = format!(
        "metrics_listen: {} is not of this machine alone; name a loopback address such as 127.0.0.1:7444, and put what \
         fetches figures on this machine",
        address.get_ref()
    );
    Err(source.wrong(address.span().start, message))
}

fn untouched(name: String) -> Spanned<String> {
    Spanned::new(0..0, name)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

const fn days(count: u64) -> Duration {
    minutes(count.saturating_mul(24 * 60))
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    state_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    hosts_listen: Option<SocketAddr>,
    metrics_listen: Option<Spanned<SocketAddr>>,
    names: Option<Vec<Spanned<String>>>,
    admin_socket: Option<PathBuf>,
    roles_file: Option<PathBuf>,
    recordings_dir: Option<PathBuf>,
    policy_dir: Option<PathBuf>,
    risk_file: Option<PathBuf>,
    risk_trial_file: Option<PathBuf>,
    #[serde(default)]
    risk_signed: bool,
    time_zone: Option<Spanned<String>>,
    certificate_lifetime: Option<Spanned<String>>,
    backdate: Option<Spanned<String>>,
    host_certificate_lifetime: Option<Spanned<String>>,
    link_certificate_lifetime: Option<Spanned<String>>,
    login_lifetime: Option<Spanned<String>>,
    #[serde(default)]
    second_factor: bool,
    challenge_lifetime: Option<Spanned<String>>,
    approval_timeout: Option<Spanned<String>>,
    first_use_timeout: Option<Spanned<String>>,
    breakglass_drill_every: Option<Spanned<String>>,
    breakglass_alarm: Option<Spanned<Vec<String>>>,
    keys: Option<KeysForm>,
    ledger: Option<LedgerForm>,
    recordings: Option<RecordingsForm>,
    #[serde(default)]
    retention: RetentionForm,
    witness: Option<Vec<Spanned<WitnessForm>>>,
    oidc: Option<Spanned<OidcForm>>,
    #[serde(default)]
    workload: Vec<Spanned<WorkloadForm>>,
    tracker: Option<TrackerForm>,
    behaviour: Option<BehaviourAt>,
    #[serde(default)]
    notify: Vec<Spanned<NotifyForm>>,
}

/// Where the settings are read from, unless `--config` says otherwise.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/curfew/ca.toml";
/// Most words of a command.
const MAX_WORDS: usize = 16;
/// Where weights that are only tried are, unless the settings say otherwise.
const DEFAULT_TRIAL: &str = "/etc/curfew/risk-trial.toml";
/// Where the operator's socket is, unless the settings say otherwise.
const DEFAULT_ADMIN_SOCKET: &str = "/run/curfew-ca/admin.sock";
/// Every setting, for `check --settings` and for whoever reads this file.
pub(crate) const SETTINGS: [Setting; 24] = [
    Setting {
        key: "state_dir",
        default: "/var/lib/curfew-ca",
        range: "a folder",
        sentence: "Where the keys and the ledger are.",
    },
    Setting {
        key: "listen",
        default: "0.0.0.0:7442",
        range: "address:port",
        sentence: "Where people are served, over HTTPS.",
    },
    Setting {
        key: "hosts_listen",
        default: "0.0.0.0:7443",
        range: "address:port",
        sentence: "Where hosts are served, over TLS.",
    },
    Setting {
        key: "metrics_listen",
        default: "",
        range: "a loopback address:port",
        sentence: "Where figures for Prometheus are served (`/metrics`, `/healthz`, `/readyz`), in the clear, on this machine; nowhere when absent.",
    },
    Setting {
        key: "names",
        default: "[\"localhost\", \"127.0.0.1\", \"::1\"]",
        range: "DNS names and IP addresses",
        sentence: "Names in the server's TLS certificate; the first is the one that hosts are told.",
    },
    Setting {
        key: "admin_socket",
        default: DEFAULT_ADMIN_SOCKET,
        range: "a path",
        sentence: "The operator's socket on this machine.",
    },
    Setting {
        key: "roles_file",
        default: "/etc/curfew/roles.toml",
        range: "a path",
        sentence: "The roles; read again when it changes.",
    },
    Setting {
        key: "recordings_dir",
        default: "recordings in state_dir",
        range: "a folder",
        sentence: "Where recordings of terminals are kept, encrypted; several authorities that share a ledger share it too.",
    },
    Setting {
        key: "policy_dir",
        default: "/etc/curfew/policy",
        range: "a folder",
        sentence: "The policies, *.cedar; read again when they change. Without the folder, members of a role get what it gives.",
    },
    Setting {
        key: "risk_file",
        default: "/etc/curfew/risk.toml",
        range: "a path",
        sentence: "The weights of risks; read again when it changes. Without the file, those that come with the program hold.",
    },
    Setting {
        key: "risk_trial_file",
        default: DEFAULT_TRIAL,
        range: "a path",
        sentence: "Weights that are tried beside them: their scores are recorded, and count for teams that the file names as pilots.",
    },
    Setting {
        key: "risk_signed",
        default: "false",
        range: "true or false",
        sentence: "Whether weights from a file count only with a signature beside it, FILE.sig, of somebody whom the policy lets administer: ssh-keygen -Y sign -n risk@curfew.internal -f KEY FILE.",
    },
    Setting {
        key: "time_zone",
        default: "UTC",
        range: "a name such as Europe/Zurich",
        sentence: "Where it is the day and the hour that policies speak of.",
    },
    Setting {
        key: "certificate_lifetime",
        default: "15m",
        range: "1m to 1h",
        sentence: "How long a user certificate opens anything; never beyond its grant.",
    },
    Setting {
        key: "backdate",
        default: "30s",
        range: "0s to 5m",
        sentence: "How long before its issue a certificate's window begins, for clocks that are slow.",
    },
    Setting {
        key: "host_certificate_lifetime",
        default: "30d",
        range: "1m to 366d",
        sentence: "How long a host's SSH certificates live; each host renews its own when two thirds are over.",
    },
    Setting {
        key: "link_certificate_lifetime",
        default: "365d",
        range: "1m to 1830d",
        sentence: "How long the TLS certificate of a host's connection lives; renewed in the same way. A host that is away for longer enrols again.",
    },
    Setting {
        key: "login_lifetime",
        default: "8h",
        range: "1m to 24h",
        sentence: "How long a login lasts.",
    },
    Setting {
        key: "second_factor",
        default: "false",
        range: "true or false",
        sentence: "Whether a login without a second factor is good for nothing: people log in with a security key that asks for touch and PIN, or through a provider that says it asked for one. Jobs are not asked, nor is root on the authority's machine.",
    },
    Setting {
        key: "challenge_lifetime",
        default: "1m",
        range: "5s to 5m",
        sentence: "How long a login challenge can be answered.",
    },
    Setting {
        key: "approval_timeout",
        default: "3h",
        range: "1s to 7d",
        sentence: "How long a request waits for approvals.",
    },
    Setting {
        key: "first_use_timeout",
        default: "1h",
        range: "1s to 7d",
        sentence: "How long an approved request without a start waits for its first login.",
    },
    Setting {
        key: "breakglass_drill_every",
        default: "90d",
        range: "1s to 366d",
        sentence: "After how long a host on which break-glass was not tried is told of, once a group is known.",
    },
    Setting {
        key: "breakglass_alarm",
        default: "[]",
        range: "a program by its absolute path and at most 15 arguments",
        sentence: "What is started when break-glass is used, here or on a host, and when a quorum shrank: without a shell, as the authority's user, with the incident as JSON on its standard input; to page the people who must know. The incident is there and the log says it in any case.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults_of_the_table() {
        let config = Config::parse(&Source::of("")).unwrap();
        assert_eq!(config.certificate_lifetime, minutes(15));
        assert_eq!(config.listen.to_string(), "0.0.0.0:7442");
    }

    #[test]
    fn the_readme_tells_of_every_setting() {
        let pages = pages::all().unwrap();
        let readme = pages.iter().find(|page| page.path == "README.md").unwrap();
        let settings: Vec<_> = SETTINGS
            .iter()
            .map(|setting| pages::Setting { key: setting.key, default: setting.default })
            .collect();
        let heading = "`/etc/curfew/ca.toml`, the authority";
        assert_eq!(pages::unlike(readme, heading, &settings), Vec::<String>::new());
    }

    #[test]
    fn what_the_pages_show_of_settings_is_read() {
        let mut shown = 0;
        for page in pages::all().unwrap() {
            for (line, text) in page.blocks("toml") {
                let first = text.lines().find_map(|line| line.strip_prefix('['));
                let first = first.unwrap_or_default().trim_matches(['[', ']']);
                if TABLES.contains(&first) {
                    let read = Config::parse(&Source::of(&text));
                    assert!(read.is_ok(), "{}:{line}: {}", page.path, read.unwrap_err());
                    shown += 1;
                }
            }
        }
        assert!(shown >= 7, "the pages show few settings: {shown}");
    }

    /// Tables of this file that pages show in blocks of their own.
    const TABLES: [&str; 8] =
        ["oidc", "workload", "notify", "tracker", "ledger", "retention", "recordings", "behaviour"];

    #[test]
    fn the_table_and_the_file_agree() {
        // What has no default is not there unless somebody writes it.
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            let is_plain = setting.default.starts_with('[') || setting.default == "false";
            let quoted = if is_plain {
                setting.default.to_owned()
            } else {
                format!("{:?}", setting.default)
            };
            Config::parse(&Source::of(&format!("{} = {quoted}", setting.key))).unwrap();
        }
    }

    #[test]
    fn the_key_that_was_meant_is_named() {
        let said = |text| Config::parse(&Source::of(text)).unwrap_err().to_string();
        assert!(said("backdatte = \"1m\"").ends_with("; did you mean `backdate`?"));
        assert!(!said("colour = 1").contains("did you mean"));
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, secs) in [("90s", 90), ("1h 30m", 5_400), ("2d", 172_800), ("1w", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in ["", "5", "-1h", "soon", "1y", "1mo"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_says_file_line_and_key() {
        let table = [
            ("\nlifetime = \"1m\"", "test.toml:2: unknown field `lifetime`"),
            ("\n\ncertificate_lifetime = \"2h\"", "test.toml:3: certificate_lifetime: 2h is out"),
            ("backdate = \"soon\"", "test.toml:1: backdate: \"soon\" is no span of time"),
            ("time_zone = \"Mars/Base\"", "test.toml:1: time_zone: "),
            ("names = [\"a b\"]", "test.toml:1: names: \"a b\" is neither"),
        ];
        for (text, start) in table {
            let error = Config::parse(&Source::of(text)).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
