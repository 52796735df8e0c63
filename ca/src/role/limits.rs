//! The keys of a role that say what holds for its sessions: `idle`, `longest_session`, `thresholds` and the like.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use wire::identifier::RoleName;
use wire::limits::{
    IDLE_SECS, LONGEST_SECS, Level, Limits, Measure, Need, Recording, Response, Rule, Steps,
    Thresholds,
};

use crate::config::{ConfigError, Source};

/// The keys as they are written.
pub(super) struct LimitsForm {
    pub(super) idle: Option<Spanned<String>>,
    pub(super) transfer_idle: Option<Spanned<String>>,
    pub(super) longest_session: Option<Spanned<String>>,
    pub(super) concurrency: Option<Spanned<u32>>,
    pub(super) recording: Option<RecordingForm>,
    pub(super) thresholds: Option<Spanned<ThresholdsForm>>,
}

/// `recording = { level = "full", need = "required" }`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RecordingForm {
    level: Level,
    need: Need,
}

/// `[role.NAME.thresholds]`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ThresholdsForm {
    execs_per_minute: StepsForm,
    distinct_paths: StepsForm,
    privilege_changes: StepsForm,
    bytes_out: StepsForm,
    files_written: StepsForm,
    forbidden: BTreeMap<Spanned<String>, Spanned<String>>,
}

type StepsForm = BTreeMap<Spanned<String>, Spanned<Amount>>;

/// A number, or bytes with their unit: `"200M"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

impl RecordingForm {
    fn checked(self) -> Recording {
        Recording { level: self.level, need: self.need }
    }
}

impl LimitsForm {
    /// Checks what is written.
    pub(super) fn checked(self, source: &Source, role: &RoleName) -> Result<Limits, ConfigError> {
        let at = self.transfer_idle.as_ref().map_or(0, |value| value.span().start);
        let idle_secs = secs(source, "idle", self.idle, &IDLE_SECS)?;
        let transfer_idle_secs = secs(source, "transfer_idle", self.transfer_idle, &IDLE_SECS)?;
        if let (Some(idle), Some(transfer)) = (idle_secs, transfer_idle_secs)
            && transfer < idle
        {
            let message = format!(
                "role {role}: transfer_idle is shorter than idle; commands and copies may be silent for longer, not shorter"
            );
            return Err(source.wrong(at, message));
        }
        let longest = self.longest_session;
        let thresholds = self.thresholds.map(|form| form.into_inner().checked(source, role));
        let concurrency_at = self.concurrency.as_ref().map_or(0, |value| value.span().start);
        let recording = self.recording.unwrap_or_default();
        let limits = Limits {
            idle_secs,
            transfer_idle_secs: transfer_idle_secs.or(idle_secs),
            longest_secs: secs(source, "longest_session", longest, &LONGEST_SECS)?,
            concurrency: self.concurrency.map(Spanned::into_inner),
            recording: recording.checked(),
            thresholds: thresholds.transpose()?.unwrap_or_default(),
        };
        // All else was held against its range where it stands.
        let checked = limits.check().and_then(|()| limits.to_extension());
        checked.map_err(|flaw| source.wrong(concurrency_at, format!("role {role}: {flaw}")))?;
        Ok(limits)
    }
}

impl ThresholdsForm {
    fn checked(self, source: &Source, role: &RoleName) -> Result<Thresholds, ConfigError> {
        let wrong = |at: usize, why: String| {
            source.wrong(at, format!("role {role}: thresholds: forbidden: {why}"))
        };
        let mut forbidden = BTreeMap::new();
        for (line, answer) in self.forbidden {
            let at = line.span().start;
            let rule: Rule = line
                .get_ref()
                .parse()
                .map_err(|flaw| wrong(at, format!("{:?}: {flaw}", line.get_ref())))?;
            let answer = answer.get_ref().parse().map_err(|why| wrong(answer.span().start, why))?;
            forbidden.insert(rule, answer);
        }
        let steps = |measure, form| steps(source, role, (measure, form));
        Ok(Thresholds {
            execs_per_minute: steps(Measure::ExecsPerMinute, self.execs_per_minute)?,
            distinct_paths: steps(Measure::DistinctPaths, self.distinct_paths)?,
            privilege_changes: steps(Measure::PrivilegeChanges, self.privilege_changes)?,
            bytes_out: steps(Measure::BytesOut, self.bytes_out)?,
            files_written: steps(Measure::FilesWritten, self.files_written)?,
            forbidden,
        })
    }
}

/// `{ alert = 300, kill = 3000 }`: each number within the range of what is counted, and harder answers later.
fn steps(
    source: &Source,
    role: &RoleName,
    (measure, form): (Measure, StepsForm),
) -> Result<Steps, ConfigError> {
    let at = form.keys().next().map_or(0, |key| key.span().start);
    let wrong =
        |at: usize, why: String| source.wrong(at, format!("role {role}: thresholds: {why}"));
    let mut steps = BTreeMap::new();
    for (answer, amount) in form {
        let named = |why: String| format!("{measure}: {why}");
        let answer: Response =
            answer.get_ref().parse().map_err(|why| wrong(answer.span().start, named(why)))?;
        let number = match amount.get_ref() {
            Amount::Number(number) => Ok(*number),
            Amount::Text(text) if measure == Measure::BytesOut => bytes(text),
            Amount::Text(text) => Err(format!("{text:?} is no number")),
        };
        let number = number.map_err(|why| wrong(amount.span().start, named(why)))?;
        let range = measure.range();
        if !range.contains(&number) {
            let why = format!("{number} is out of range; use {} to {}", range.start(), range.end());
            return Err(wrong(amount.span().start, named(why)));
        }
        steps.insert(answer, number);
    }
    let steps = Steps(steps);
    steps.check(measure).map_err(|flaw| wrong(at, flaw.to_string()))?;
    Ok(steps)
}

fn secs(
    source: &Source,
    key: &str,
    value: Option<Spanned<String>>,
    range: &RangeInclusive<u64>,
) -> Result<Option<u64>, ConfigError> {
    if value.is_none() {
        return Ok(None);
    }
    let range = Duration::from_secs(*range.start())..=Duration::from_secs(*range.end());
    let span = source.span(key, value, Duration::ZERO, &range)?;
    Ok(Some(span.as_secs()))
}

/// Bytes as people write them: `500K`, `200M`, `2G`, in steps of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no number of bytes; write it as 500K, 200M or 2G");
    let (number, shift) = [('K', 10), ('M', 20), ('G', 30), ('T', 40)]
        .into_iter()
        .find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number, shift)))
        .unwrap_or((text, 0));
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_too_long| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::Roles;
    use super::*;

    const GOOD: &str =
        "[role.deploy]\nmembers = [\"ana\"]\nlogins = [\"app\"]\nhosts = [\"env=prod\"]\n";

    fn limits(text: &str) -> Limits {
        Roles::of(&format!("{GOOD}{text}")).iter().next().unwrap().1.limits.clone()
    }

    #[test]
    fn a_role_says_what_holds_for_its_sessions() {
        let limits = limits(
            "idle = \"15m\"\ntransfer_idle = \"1h\"\nlongest_session = \"8h\"\nconcurrency = 3\n\
             recording = { level = \"commands\", need = \"required\" }\n[role.deploy.thresholds]\n\
             execs_per_minute = { alert = 600, kill = 6000 }\nbytes_out = { warn = \"200M\", kill = \"2G\" }\n\
             forbidden = { \"command shutdown\" = \"kill\", \"path /etc/shadow\" = \"alert\" }\n",
        );
        assert_eq!((limits.idle_secs, limits.transfer_idle_secs), (Some(900), Some(3_600)));
        assert_eq!((limits.longest_secs, limits.concurrency), (Some(28_800), Some(3)));
        assert_eq!(limits.recording, Recording { level: Level::Commands, need: Need::Required });
        assert_eq!(limits.thresholds.bytes_out.largest(), Some(2 << 30));
        assert_eq!(limits.thresholds.forbidden.len(), 2);
    }

    #[test]
    fn copies_may_be_silent_as_long_as_terminals_where_nothing_else_is_said() {
        assert_eq!(limits("idle = \"15m\"").transfer_idle_secs, Some(900));
        assert_eq!(limits("transfer_idle = \"15m\"").idle_secs, None);
        assert!(limits("").is_empty());
    }

    #[test]
    fn a_role_can_have_terminals_recorded() {
        let recording = limits("recording = { level = \"full\", need = \"required\" }").recording;
        assert_eq!(recording, Recording { level: Level::Full, need: Need::Required });
        let level = limits("recording = { level = \"full\" }").recording;
        assert_eq!(level, Recording { level: Level::Full, need: Need::BestEffort });
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line() {
        let table = [
            ("idle = \"4s\"", "test.toml:5: idle: 4s is out of range; use 5s to"),
            ("idle = \"5\"", "test.toml:5: idle: \"5\" is no span"),
            (
                "idle = \"1h\"\ntransfer_idle = \"1m\"",
                "test.toml:6: role deploy: transfer_idle is shorter",
            ),
            ("longest_session = \"99d\"", "test.toml:5: longest_session: 99d is out"),
            ("concurrency = 0", "test.toml:5: role deploy: concurrency is 0; it can be 1 to"),
            ("recording = { level = \"all\" }", "test.toml:5: unknown variant `all`"),
            ("thresholds = { forks = {} }", "test.toml:5: unknown field `forks`"),
            (
                "thresholds = { execs_per_minute = { maim = 1 } }",
                "test.toml:5: role deploy: thresholds: execs_per_minute: there is no answer \"maim\"; there are alert",
            ),
            (
                "[role.deploy.thresholds]\nbytes_out = { kill = \"1K\" }",
                "test.toml:6: role deploy: thresholds: bytes_out: 1024 is out of range; use 65536",
            ),
            (
                "thresholds = { bytes_out = { kill = \"2X\" } }",
                "bytes_out: \"2X\" is no number of bytes",
            ),
            (
                "thresholds = { distinct_paths = { alert = 9, kill = 8 } }",
                "distinct_paths: \"alert\" at 9 never comes",
            ),
            (
                "[role.deploy.thresholds]\nfiles_written = { kill = 99999 }",
                "test.toml:6: role deploy: thresholds: files_written: 99999 is out of range; use 1 to 10000",
            ),
            (
                "[role.deploy.thresholds.forbidden]\n\"path x\" = \"kill\"",
                "test.toml:6: role deploy: thresholds: forbidden: \"path x\": the path must begin with /",
            ),
        ];
        for (text, start) in table {
            let file = format!("{GOOD}{text}");
            let error = Roles::parse(&Source::of(&file)).unwrap_err().to_string();
            assert!(error.contains(start), "{text}: {error}");
        }
    }
}
