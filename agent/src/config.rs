//! The agent's settings, `agent.toml`.
//!
//! Who can change this: root on the host. Gains: what becomes of logins that are not ours, and how well sessions are
//! told apart, within the ranges of [`SETTINGS`]. It holds no secret: `curfew-link`, which has no rights, reads it too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::identifier::Login;
use wire::limits::{IDLE_SECS, Limits};
use wire::log::WitnessKey;

use crate::gate::Others;
use crate::kernel::Attribution;

/// Every setting, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The authority's host listener, `name:port`.
    pub authority: String,
    /// What must outlive a restart of the host: trust, locks, spool.
    pub state_dir: PathBuf,
    /// Sockets, and what must outlive a restart of the agent.
    pub run_dir: PathBuf,
    /// What becomes of logins that are not under our authority.
    pub other_logins: OtherLogins,
    /// Whether a certificate needs a proof of the ledger, or one without is let in and reported.
    pub require_proof: bool,
    /// Witnesses whose word for the ledger counts here.
    pub witnesses: Vec<WitnessKey>,
    /// How many of them must have cosigned.
    pub quorum: usize,
    /// How sessions are told apart.
    pub attribution: Attribution,
    /// Where tags and programs are kept in the kernel.
    pub bpf_dir: PathBuf,
    /// The folder of this host's own locks.
    pub locks_dir: PathBuf,
    /// Whether an account that is locked, expired or removed ends its sessions.
    pub follow_accounts: bool,
    /// Whether work handed to daemons ends with the session that a lock ends.
    pub ends_handed: bool,
    /// How long before a session's end its terminals are told, longest first.
    pub warn_before: Vec<Duration>,
    /// After how long a silence of the authority nobody is let in any more; never, when absent.
    pub strict_silence: Option<Duration>,
    /// Limits that hold for every session of the host, whatever its role says.
    pub ceiling: Limits,
    /// How much room recordings of terminals may take.
    pub room: Room,
    /// How many bytes records may take that the authority does not have yet.
    pub records_quota: u64,
    /// The account that break-glass opens, where root has placed group keys.
    pub breakglass_login: Login,
    /// Files whose opening is recorded as well as their writing.
    pub sensitive_files: Vec<PathBuf>,
    /// What is started when break-glass is used: a program and its arguments; nothing when empty.
    pub breakglass_alarm: Vec<String>,
}

/// How much room recordings of terminals may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// One recording.
    pub one: u64,
    /// All that the authority does not have yet.
    pub all: u64,
    /// What stays free on the disk for records of what is run.
    pub reserve: u64,
}

/// What becomes of logins that are not under our authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherLogins {
    /// They pass, and the authority is told.
    Allow,
    /// They pass, and each is an incident at the authority.
    Alarm,
    /// They are refused; so are all logins while the agent is down.
    Refuse,
    /// They are refused, and those that come by other ways than sshd are ended.
    End,
}

/// One line of the table of settings.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// What holds when it is absent, as it is written; nothing where it must be given.
    pub default: Option<&'static str>,
    /// What may stand there.
    pub range: &'static str,
    /// What it is.
    pub sentence: &'static str,
}

/// Every setting there is, in reading order.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "authority",
        default: None,
        range: "\"name:port\"",
        sentence: "The authority's listener for hosts.",
    },
    Setting {
        key: "other_logins",
        default: Some("\"allow\""),
        range: "\"allow\", \"alarm\", \"refuse\" or \"end\"",
        sentence: "What becomes of logins without a certificate of the authority: they pass and are recorded; they pass and are an incident; sshd refuses them; or sshd refuses them, and those that come past it, such as at the console, are ended. With the last two, nobody gets in while the agent is down. Run `curfew-agent install` after a change.",
    },
    Setting {
        key: "proof",
        default: Some("\"require\""),
        range: "\"require\" or \"report\"",
        sentence: "What becomes of a certificate of the authority that does not prove that the ledger holds it: refused, or let in. Both are reported as an incident.",
    },
    Setting {
        key: "witnesses",
        default: Some("[]"),
        range: "at most 16 keys of witnesses, as `curfew-ca witness init` prints them",
        sentence: "Witnesses whose cosignature under the ledger's checkpoints counts on this host.",
    },
    Setting {
        key: "witness_quorum",
        default: Some("0"),
        range: "a number up to that of the witnesses",
        sentence: "How many of the witnesses must have cosigned the checkpoint that a certificate rests on. At most `quorum` in `[ledger]` of the authority's ca.toml: with more nobody gets in.",
    },
    Setting {
        key: "warn_before",
        default: Some("[\"5m\", \"1m\", \"10s\"]"),
        range: "at most 8 lengths of 1s to 24h, each a number with s, m or h",
        sentence: "How long before the end of a session its terminals are told.",
    },
    Setting {
        key: "closed_accounts",
        default: Some("\"end\""),
        range: "\"end\" or \"leave\"",
        sentence: "What becomes of the sessions of an account that is locked, expired or removed in /etc/passwd or /etc/shadow, or loses its shell: they end and nobody gets in, or nothing.",
    },
    Setting {
        key: "handed_work",
        default: Some("\"end\""),
        range: "\"end\" or \"leave\"",
        sentence: "What becomes of work that a login handed to a daemon (user units, at, cron) when a lock ends its session: it ends too, where nobody else had a session of the login since, or it goes on. It is recorded in any case.",
    },
    Setting {
        key: "locks_dir",
        default: Some("\"/etc/curfew/locks.d\""),
        range: "an absolute path",
        sentence: "This host's own locks, a file each, which hold without the authority. Root alone may write there.",
    },
    Setting {
        key: "strict_silence",
        default: Some("\"none\""),
        range: "\"none\" or a length of 20s to 24h",
        sentence: "After how long a silence of the authority nobody new is let in under it. Sessions that run go on and end on time.",
    },
    Setting {
        key: "idle",
        default: Some("\"none\""),
        range: "\"none\" or a length of 5s to 24h",
        sentence: "The longest time that any session on this host may be idle; a role can only be stricter. Commands and copies without a terminal have `transfer_idle`.",
    },
    Setting {
        key: "transfer_idle",
        default: Some("\"none\""),
        range: "\"none\" or a length of 5s to 24h",
        sentence: "The same while commands or copies run that have no terminal: less than 1 KiB a minute, either way, counts as nothing.",
    },
    Setting {
        key: "longest_session",
        default: Some("\"none\""),
        range: "\"none\" or a length of 5s to 24h",
        sentence: "The longest that any session on this host may last; a role can only be stricter.",
    },
    Setting {
        key: "recording_quota",
        default: Some("\"256MiB\""),
        range: "a number with MiB or GiB, 1MiB to 1024GiB",
        sentence: "The largest recording of one terminal. What passes beyond is counted and not kept; where the role requires the recording, the terminal ends.",
    },
    Setting {
        key: "recordings_quota",
        default: Some("\"2GiB\""),
        range: "a number with MiB or GiB, 1MiB to 1024GiB",
        sentence: "How much recordings of terminals take in `state_dir` that the authority does not have yet. Beyond, none is kept that need not be, and nobody gets in whose role requires one.",
    },
    Setting {
        key: "disk_reserve",
        default: Some("\"512MiB\""),
        range: "a number with MiB or GiB, 1MiB to 1024GiB",
        sentence: "What recordings of terminals leave free on the disk of `state_dir`, for records of what is run; a twentieth of the disk, where that is less. Those that are required may use three quarters of it.",
    },
    Setting {
        key: "records_quota",
        default: Some("\"4GiB\""),
        range: "a number with MiB or GiB, 16MiB to 1024GiB",
        sentence: "How much records of what is run take in `state_dir` that the authority does not have yet. Of the last sixteenth programs, connections and files take nothing: then they are counted and not kept, and nobody gets in, or stays, whose role requires a recording.",
    },
    Setting {
        key: "sensitive_files",
        default: Some(
            "[\"/etc/shadow\", \"/etc/gshadow\", \"/etc/sudoers\", \"/etc/ssh/ssh_host_ecdsa_key\", \"/etc/ssh/ssh_host_ed25519_key\", \"/etc/ssh/ssh_host_rsa_key\"]",
        ),
        range: "at most 64 absolute paths of files",
        sentence: "Files of which it is recorded that a session opened them, whatever for. That a session wrote a file is recorded of every file.",
    },
    Setting {
        key: "breakglass_login",
        default: Some("\"breakglass\""),
        range: "the name of an account that nothing else uses",
        sentence: "The account that break-glass opens, on a host where /etc/curfew/breakglass.pub holds group keys. Run `curfew-agent install` after a change.",
    },
    Setting {
        key: "breakglass_alarm",
        default: Some("[]"),
        range: "a program by its absolute path and at most 15 arguments",
        sentence: "What is started when break-glass is used, without a shell and as root, with the path of a JSON file that says what happened as its last argument: to page somebody, to send mail. The journal, syslog and every terminal are told in any case.",
    },
    Setting {
        key: "attribution",
        default: Some("\"auto\""),
        range: "\"auto\" or \"audit\"",
        sentence: "How sessions are told apart: by the best that this kernel has, or always by /proc alone, which is weaker and is reported to the authority as degraded.",
    },
    Setting {
        key: "state_dir",
        default: Some("\"/var/lib/curfew\""),
        range: "an absolute path",
        sentence: "What must outlive a restart of the host: trust, locks, records not yet delivered.",
    },
    Setting {
        key: "run_dir",
        default: Some("\"/run/curfew\""),
        range: "an absolute path",
        sentence: "The agent's sockets, and what must outlive a restart of the agent.",
    },
    Setting {
        key: "bpf_dir",
        default: Some("\"/sys/fs/bpf/curfew\""),
        range: "an absolute path in a BPF file system",
        sentence: "Where the kernel keeps the sessions' tags while the agent restarts.",
    },
];

/// Why a configuration file was refused: file, line, key, and what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: {message}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// There is no such setting.
    #[error("{path}:{line}: there is no setting `{key}`; {hint}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        key: String,
        /// The nearest setting, or all of them.
        hint: String,
    },
    /// A setting is outside its range.
    #[error("{path}:{line}: `{key}` is {range}: {problem}")]
    Range {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The setting.
        key: &'static str,
        /// What may stand there.
        range: &'static str,
        /// What is wrong with what stands there.
        problem: String,
    },
    /// A setting that has no default is absent.
    #[error("{path}: `{key}` is not set; write {key} = {range}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: &'static str,
        /// What may stand there.
        range: &'static str,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The first thing that is wrong with it, by file, line and key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = fs::read_to_string(path);
        let text = read.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks `text`; `path` is what errors name.
    ///
    /// # Errors
    /// The first thing that is wrong with it, by file, line and key.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let page = Page { path, text };
        let table = page.table()?;
        page.no_strangers(&table)?;
        let witnesses = page.setting(&table, "witnesses", witnesses)?;
        Ok(Self {
            require_proof: page.setting(&table, "proof", proof)?,
            quorum: page.quorum(&table, witnesses.len())?,
            witnesses,
            authority: page.setting(&table, "authority", authority)?,
            state_dir: page.setting(&table, "state_dir", folder)?,
            run_dir: page.setting(&table, "run_dir", folder)?,
            other_logins: page.setting(&table, "other_logins", other_logins)?,
            attribution: page.setting(&table, "attribution", attribution)?,
            bpf_dir: page.setting(&table, "bpf_dir", folder)?,
            ends_handed: page.setting(&table, "handed_work", end_or)?,
            locks_dir: page.setting(&table, "locks_dir", folder)?,
            follow_accounts: page.setting(&table, "closed_accounts", end_or)?,
            warn_before: page.setting(&table, "warn_before", lengths)?,
            strict_silence: page.setting(&table, "strict_silence", silence)?,
            breakglass_login: page.setting(&table, "breakglass_login", account)?,
            breakglass_alarm: page.setting(&table, "breakglass_alarm", program)?,
            sensitive_files: page.setting(&table, "sensitive_files", paths)?,
            ceiling: Limits {
                idle_secs: page.setting(&table, "idle", limit)?,
                transfer_idle_secs: page.setting(&table, "transfer_idle", limit)?,
                longest_secs: page.setting(&table, "longest_session", limit)?,
                ..Limits::default()
            },
            room: Room {
                one: page.setting(&table, "recording_quota", size)?,
                all: page.setting(&table, "recordings_quota", size)?,
                reserve: page.setting(&table, "disk_reserve", size)?,
            },
            records_quota: page.setting(&table, "records_quota", quota)?,
        })
    }

    /// What the gate makes of [`Config::other_logins`].
    #[must_use]
    pub const fn others(&self) -> Others {
        match self.other_logins {
            OtherLogins::Allow | OtherLogins::Alarm => Others::Allow,
            OtherLogins::Refuse | OtherLogins::End => Others::Refuse,
        }
    }
}

/// A file that says what each setting is and leaves it at its default, with this authority in it.
#[must_use]
pub fn sample(authority: &str) -> String {
    let mut text = String::from(
        "# The settings of curfew-agent and curfew-link on this host.\n# `curfew-agent check` says whether this file is right. A line that begins with # is a default.\n",
    );
    for setting in SETTINGS {
        text.push('\n');
        for line in wrapped(setting.sentence) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("# Allowed: {}.\n", setting.range));
        match setting.default {
            Some(default) => text.push_str(&format!("# {} = {default}\n", setting.key)),
            None => text.push_str(&format!("{} = \"{authority}\"\n", setting.key)),
        }
    }
    text
}

/// One file while it is read.
struct Page<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Page<'a> {
    fn table(&self) -> Result<DeTable<'a>, ConfigError> {
        let parsed = DeTable::parse(self.text);
        parsed.map(Spanned::into_inner).map_err(|error| ConfigError::Toml {
            path: self.path.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })
    }

    fn no_strangers(&self, table: &DeTable<'a>) -> Result<(), ConfigError> {
        let known = |key: &str| SETTINGS.iter().any(|setting| setting.key == key);
        // The first in the file, not the first in the alphabet.
        let strangers = table.keys().filter(|key| !known(key.get_ref()));
        let Some(key) = strangers.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        Err(ConfigError::Unknown {
            path: self.path.to_owned(),
            line: self.line(key.span().start),
            key: key.get_ref().to_string(),
            hint: hint(key.get_ref()),
        })
    }

    /// What the setting `key` says, from the file or from its default.
    fn setting<T>(
        &self,
        table: &DeTable<'_>,
        key: &'static str,
        read: fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let (range, default) = setting.map_or(("", None), |entry| (entry.range, entry.default));
        let wrong = |line, problem| ConfigError::Range {
            path: self.path.to_owned(),
            line,
            key,
            range,
            problem,
        };
        if let Some(value) = table.get(key) {
            return read(value.get_ref())
                .map_err(|problem| wrong(self.line(value.span().start), problem));
        }
        let Some(default) = default else {
            return Err(ConfigError::Missing { path: self.path.to_owned(), key, range });
        };
        let parsed = DeValue::parse(default);
        let value = parsed.map_err(|error| wrong(0, error.message().to_owned()))?;
        read(value.get_ref()).map_err(|problem| wrong(0, problem))
    }

    /// How many of so many witnesses must have cosigned.
    fn quorum(&self, table: &DeTable<'_>, witnesses: usize) -> Result<usize, ConfigError> {
        let quorum = self.setting(table, "witness_quorum", number)?;
        if quorum <= witnesses {
            return Ok(quorum);
        }
        let at = table.get("witness_quorum").map_or(0, |value| value.span().start);
        Err(ConfigError::Range {
            path: self.path.to_owned(),
            line: self.line(at),
            key: "witness_quorum",
            range: "a number up to that of the witnesses",
            problem: format!("{quorum} of {witnesses} can never cosign"),
        })
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    }
}

fn authority(value: &DeValue<'_>) -> Result<String, String> {
    let text = text(value)?;
    let (name, port) = text.rsplit_once(':').ok_or("it has no port")?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    wire::identifier::Address::try_new(name).map_err(|error| error.to_string())?;
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err(format!("the port {port:?} is not 1 to 65535")),
    }
}

fn folder(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    let plain = path.components().all(|part| {
        matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_))
    });
    if !path.is_absolute() || !plain || path.parent().is_none() {
        return Err(format!("{} is not a plain absolute path below /", path.display()));
    }
    Ok(path)
}

/// A number of bytes, with its unit.
fn size(value: &DeValue<'_>) -> Result<u64, String> {
    size_from(value, 1 << 20)
}

fn quota(value: &DeValue<'_>) -> Result<u64, String> {
    size_from(value, 1 << 24)
}

fn size_from(value: &DeValue<'_>, least: u64) -> Result<u64, String> {
    let text = text(value)?;
    let (number, unit) = match (text.strip_suffix("MiB"), text.strip_suffix("GiB")) {
        (Some(number), _) => (number, 1 << 20),
        (_, Some(number)) => (number, 1 << 30),
        _ => return Err(format!("{text:?} has neither MiB nor GiB")),
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let bytes =
        number.parse::<u64>().ok().filter(|_| plain).and_then(|count| count.checked_mul(unit));
    match bytes {
        Some(bytes) if (least..=1 << 40).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{text:?} is not within that")),
    }
}

fn other_logins(value: &DeValue<'_>) -> Result<OtherLogins, String> {
    match text(value)? {
        "allow" => Ok(OtherLogins::Allow),
        "alarm" => Ok(OtherLogins::Alarm),
        "refuse" => Ok(OtherLogins::Refuse),
        "end" => Ok(OtherLogins::End),
        other => Err(format!("{other:?} is none of them")),
    }
}

fn attribution(value: &DeValue<'_>) -> Result<Attribution, String> {
    match text(value)? {
        "auto" => Ok(Attribution::Probe),
        "audit" => Ok(Attribution::Audit),
        other => Err(format!("{other:?} is neither")),
    }
}

fn end_or(value: &DeValue<'_>) -> Result<bool, String> {
    match text(value)? {
        "end" => Ok(true),
        "leave" => Ok(false),
        other => Err(format!("{other:?} is neither")),
    }
}

fn proof(value: &DeValue<'_>) -> Result<bool, String> {
    match text(value)? {
        "require" => Ok(true),
        "report" => Ok(false),
        other => Err(format!("{other:?} is neither")),
    }
}

fn witnesses(value: &DeValue<'_>) -> Result<Vec<WitnessKey>, String> {
    let DeValue::Array(values) = value else {
        return Err("this is no list".to_owned());
    };
    if values.len() > MAX_WITNESSES {
        return Err(format!("these are {}", values.len()));
    }
    let mut keys: Vec<WitnessKey> = Vec::new();
    for value in values {
        let key: WitnessKey = text(value.get_ref())?.parse().map_err(|error| format!("{error}"))?;
        if keys.iter().any(|known| known.public() == key.public()) {
            return Err(format!("{key} is there twice"));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn number(value: &DeValue<'_>) -> Result<usize, String> {
    match value {
        DeValue::Integer(number) => {
            number.as_str().parse().map_err(|error| format!("{:?}: {error}", number.as_str()))
        }
        _ => Err("this is no number".to_owned()),
    }
}

fn lengths(value: &DeValue<'_>) -> Result<Vec<Duration>, String> {
    let DeValue::Array(values) = value else {
        return Err("this is no list".to_owned());
    };
    if values.len() > MAX_WARNINGS {
        return Err(format!("these are {}", values.len()));
    }
    let read = values.iter().map(|value| length(text(value.get_ref())?));
    let mut lengths = read.collect::<Result<Vec<_>, String>>()?;
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.dedup();
    Ok(lengths)
}

/// A length of time as it is written: `90s`, `5m`, `1h`.
fn length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no such length");
    let unit = text.strip_suffix('s').map(|number| (number, 1));
    let unit = unit.or_else(|| text.strip_suffix('m').map(|number| (number, 60)));
    let unit = unit.or_else(|| text.strip_suffix('h').map(|number| (number, 3_600)));
    let (number, secs) = unit.ok_or_else(wrong)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number = number.parse::<u64>().map_err(|error| format!("{text:?}: {error}"))?;
    let secs = number.saturating_mul(secs);
    if (1..=MAX_WARNING_SECS).contains(&secs) {
        Ok(Duration::from_secs(secs))
    } else {
        Err(wrong())
    }
}

/// A silence after which nobody is let in, or none.
fn silence(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    match text(value)? {
        "none" => Ok(None),
        text => match length(text)? {
            span if span >= SHORTEST_SILENCE => Ok(Some(span)),
            span => {
                Err(format!("{} s are over before the authority is asked again", span.as_secs()))
            }
        },
    }
}

/// A limit in seconds, or none.
fn limit(value: &DeValue<'_>) -> Result<Option<u64>, String> {
    match text(value)? {
        "none" => Ok(None),
        text => match length(text)?.as_secs() {
            secs if IDLE_SECS.contains(&secs) => Ok(Some(secs)),
            secs => Err(format!("{secs} s is too short to warn anybody")),
        },
    }
}

/// The name of an account.
fn account(value: &DeValue<'_>) -> Result<Login, String> {
    text(value)?.parse().map_err(|error: wire::identifier::NameError| error.to_string())
}

/// A program by its absolute path, and its arguments; nothing.
fn program(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(words) = value else {
        return Err("this is no list".to_owned());
    };
    let words: Vec<String> = words
        .iter()
        .map(|word| text(word.get_ref()).map(str::to_owned))
        .collect::<Result<_, _>>()?;
    if words.len() > MAX_WORDS || words.iter().any(|word| word.chars().any(char::is_control)) {
        return Err("it has too many words, or a control character".to_owned());
    }
    match words.first() {
        Some(path) if !path.starts_with('/') => Err(format!("{path} is no absolute path")),
        _ => Ok(words),
    }
}

/// Absolute paths.
fn paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
    let DeValue::Array(values) = value else {
        return Err("this is no list".to_owned());
    };
    if values.len() > MAX_PATHS {
        return Err(format!("these are {}", values.len()));
    }
    values.iter().map(|value| folder(value.get_ref())).collect()
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        _ => Err("this is no text in quotes".to_owned()),
    }
}

/// The setting that was meant, or all there are.
fn hint(key: &str) -> String {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let nearest = keys.clone().map(|known| (distance(key, known), known)).min();
    match nearest {
        Some((steps, known)) if steps <= MAX_SLIPS => format!("did you mean `{known}`?"),
        _ => format!("there are {}", keys.collect::<Vec<_>>().join(", ")),
    }
}

/// How many letters must be put in, taken out or changed to get from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, from) in from.chars().enumerate() {
        let mut next = vec![above.saturating_add(1)];
        for (index, to) in to.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX);
            let put = cell(&next, index).saturating_add(1);
            let taken = cell(&row, index.saturating_add(1)).saturating_add(1);
            let changed = cell(&row, index).saturating_add(usize::from(from != *to));
            next.push(put.min(taken).min(changed));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// A sentence in lines that fit beside code.
fn wrapped(sentence: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len().saturating_add(word.len()) < MAX_COLUMN => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Where the file lies on a host.
pub const CONFIG_PATH: &str = "/etc/curfew/agent.toml";
/// Most warnings a session gives; more would be noise on the terminal.
const MAX_WARNINGS: usize = 8;
/// Most witnesses; C2SP's own logs have fewer.
const MAX_WITNESSES: usize = 16;
/// Three questions to the authority, and time for their answers.
const SHORTEST_SILENCE: Duration = Duration::from_secs(20);
/// A day: no grant that people ask for is longer than a few.
const MAX_WARNING_SECS: u64 = 24 * 3_600;
/// A key with so many wrong letters still means a setting.
const MAX_SLIPS: usize = 3;
/// Most sensitive files.
const MAX_PATHS: usize = files::MAX_SENSITIVE;
/// Most words of a command.
const MAX_WORDS: usize = 16;
/// Where a comment's line ends.
const MAX_COLUMN: usize = 98;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("agent.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_authority_alone_is_enough() {
        let config = parse("authority = \"ca.example.com:7443\"").unwrap();
        assert_eq!(config.authority, "ca.example.com:7443");
        assert_eq!(config.state_dir, Path::new("/var/lib/curfew"));
        assert_eq!(config.run_dir, Path::new("/run/curfew"));
        assert_eq!(config.bpf_dir, Path::new("/sys/fs/bpf/curfew"));
        assert_eq!(config.other_logins, OtherLogins::Allow);
        assert_eq!(config.attribution, Attribution::Probe);
        assert_eq!(config.warn_before, [300, 60, 10].map(Duration::from_secs));
    }

    #[test]
    fn what_is_wrong_is_named_by_file_line_and_key() {
        let table = [
            ("", "agent.toml: `authority` is not set; write authority = \"name:port\""),
            ("authority = ", "agent.toml:1: "),
            ("\nauthority = \"ca\"", "agent.toml:2: `authority` is \"name:port\": it has no port"),
            ("authority = \"ca:0\"", "the port \"0\" is not 1 to 65535"),
            ("authority = \"c a:1\"", "address holds ' '"),
            ("authority = 7", "this is no text in quotes"),
            (
                "authority = \"a:1\"\nother_login = \"allow\"",
                "agent.toml:2: there is no setting `other_login`; did you mean `other_logins`?",
            ),
            (
                "authority = \"a:1\"\ncolour = 1",
                "agent.toml:2: there is no setting `colour`; there are authority, ",
            ),
            ("zzz = 1\nauthority = \"a:1\"\naaa = 1", "agent.toml:1: there is no setting `zzz`"),
            (
                "other_logins = \"no\"\nauthority = \"a:1\"",
                "agent.toml:1: `other_logins` is \"allow\", \"alarm\", \"refuse\" or \"end\": \"no\" is none of them",
            ),
            ("authority = \"a:1\"\nattribution = \"ebpf\"", "\"ebpf\" is neither"),
            ("authority = \"a:1\"\nstate_dir = \"lib\"", "lib is not a plain absolute path"),
            ("authority = \"a:1\"\nstate_dir = \"/\"", "/ is not a plain absolute path"),
            ("authority = \"a:1\"\nrun_dir = \"/run/../etc\"", "not a plain absolute path"),
            ("authority = \"a:1\"\nwarn_before = \"5m\"", "this is no list"),
            ("authority = \"a:1\"\nwarn_before = [\"5\"]", "\"5\" is no such length"),
            ("authority = \"a:1\"\nwarn_before = [\"0s\"]", "\"0s\" is no such length"),
            ("authority = \"a:1\"\nwarn_before = [\"+1s\"]", "\"+1s\" is no such length"),
            ("authority = \"a:1\"\nwarn_before = [\"25h\"]", "\"25h\" is no such length"),
            ("authority = \"a:1\"\nidle = \"4s\"", "4 s is too short"),
            ("authority = \"a:1\"\nbreakglass_login = \"a b\"", "login holds ' '"),
            ("authority = \"a:1\"\nbreakglass_alarm = [\"page\"]", "page is no absolute path"),
            ("authority = \"a:1\"\nbreakglass_alarm = \"/bin/page\"", "this is no list"),
            ("authority = \"a:1\"\nlongest_session = \"soon\"", "is no such length"),
            ("authority = \"a:1\"\nauthority = \"b:1\"", "agent.toml:2: duplicate key"),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn warnings_are_told_longest_first_and_once() {
        let text = "authority = \"a:1\"\nwarn_before = [\"10s\", \"1h\", \"60m\", \"2m\"]";
        let lengths = parse(text).unwrap().warn_before;
        assert_eq!(lengths, [3_600, 120, 10].map(Duration::from_secs));
    }

    #[test]
    fn the_shipped_sample_is_what_the_table_says() {
        let shipped = include_str!("../../packaging/agent.toml");
        assert_eq!(shipped, sample("ca.example.com:7443"));
        assert!(parse(shipped).is_ok());
    }

    #[test]
    fn every_default_in_the_sample_can_be_written_out() {
        let written: String = sample("ca.example.com:7443")
            .lines()
            .filter_map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if SETTINGS.iter().any(|s| rest.starts_with(&format!("{} = ", s.key))) =>
                {
                    Some(format!("{rest}\n"))
                }
                Some(_) => None,
                None => Some(format!("{line}\n")),
            })
            .collect();
        assert_eq!(parse(&written), parse("authority = \"ca.example.com:7443\""));
    }
}
