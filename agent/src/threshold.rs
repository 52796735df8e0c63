//! How much a session did, held against what its role allows: pure.
//!
//! What is counted is bounded: a minute in seconds, as many paths as the largest step, and nothing of what has no step.
//! Each step of a count is told once; something forbidden each time that the number of times has doubled, so that a loop
//! fills no spool. Before a count ends a session, the person is told at four fifths of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};

use serde::{Deserialize, Serialize};
use wire::limits::{Measure, Response, Rule, Thresholds};
use wire::octets::Octets;
use wire::record::Crossed;
use wire::time::Uptime;

use crate::kernel::event::Argv;

/// A program that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its file, as it was named.
    pub file: Vec<u8>,
    /// The file that runs: for a script its interpreter.
    pub interpreter: Vec<u8>,
    /// Its arguments.
    pub argv: Argv,
    /// Whether it runs with other rights than who started it.
    pub is_privileged: bool,
}

/// What a session did so far, as far as it is limited.
///
/// Who can change this: root on the host, in `/run/curfew/sessions/`. Gains: a session that does more than it may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Meter {
    /// Programs started, by second, of the last minute.
    seconds: BTreeMap<u64, u64>,
    /// Paths seen, by hash.
    paths: BTreeSet<u64>,
    privileged: u64,
    /// Files written, by hash of their paths.
    files: BTreeSet<u64>,
    /// Bytes that sshd had sent when it was first looked at.
    sent_before: Option<u64>,
    /// How often each rule was broken.
    broken: BTreeMap<Rule, u64>,
    /// The hardest answer that each measure has had.
    answered: BTreeMap<Measure, Response>,
    /// What the person has been told is near.
    nearing: BTreeSet<Measure>,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A step was reached.
    Crossed(Crossed),
    /// The session will be ended at `limit` of what it now has `count` of.
    Near {
        /// What is counted.
        measure: Measure,
        /// How many there are.
        count: u64,
        /// How many end it.
        limit: u64,
    },
}

impl Meter {
    /// Whether nothing was counted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A program was started.
    pub fn started(
        &mut self,
        thresholds: &Thresholds,
        program: &Started,
        at: Uptime,
    ) -> Vec<Verdict> {
        let mut verdicts = self.forbidden(thresholds, program);
        for (measure, count) in self.counts(thresholds, program, at) {
            let named = Some(Octets::new(program.file.clone()));
            verdicts.extend(self.hold(thresholds, (measure, count), named));
        }
        verdicts
    }

    /// A file was written.
    pub fn wrote(
        &mut self,
        thresholds: &Thresholds,
        path: &[u8],
        program: Option<Octets>,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (rule, response) in
            thresholds.forbidden.iter().filter(|(rule, _)| rule.forbids_path(path))
        {
            let file = Some(Octets::new(path.to_vec()));
            verdicts.extend(self.broke((rule, *response), program.clone(), file));
        }
        let known = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        if thresholds.files_written.largest().is_some_and(|largest| known < largest)
            && self.files.insert(hash(path))
        {
            let count = (Measure::FilesWritten, known.saturating_add(1));
            verdicts.extend(self.hold(thresholds, count, program));
        }
        verdicts
    }

    /// So many bytes were sent to the client by now, since sshd began to count.
    pub fn sent(&mut self, thresholds: &Thresholds, bytes: u64) -> Vec<Verdict> {
        if thresholds.bytes_out.is_empty() {
            return Vec::new();
        }
        let before = *self.sent_before.get_or_insert(bytes);
        self.hold(thresholds, (Measure::BytesOut, bytes.saturating_sub(before)), None)
    }

    /// Counts the program, in what has steps.
    fn counts(
        &mut self,
        thresholds: &Thresholds,
        program: &Started,
        at: Uptime,
    ) -> Vec<(Measure, u64)> {
        let mut counts = Vec::new();
        if !thresholds.execs_per_minute.is_empty() {
            let second = at.nanos().checked_div(SECOND).unwrap_or_default();
            let count = self.seconds.entry(second).or_default();
            *count = count.saturating_add(1);
            self.seconds.retain(|then, _| second.saturating_sub(*then) < 60);
            let within = self.seconds.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            counts.push((Measure::ExecsPerMinute, within));
        }
        if let Some(largest) = thresholds.distinct_paths.largest() {
            let known = u64::try_from(self.paths.len()).unwrap_or(u64::MAX);
            if known < largest && self.paths.insert(hash(&program.file)) {
                counts.push((Measure::DistinctPaths, known.saturating_add(1)));
            }
        }
        if program.is_privileged && !thresholds.privilege_changes.is_empty() {
            self.privileged = self.privileged.saturating_add(1);
            counts.push((Measure::PrivilegeChanges, self.privileged));
        }
        counts
    }

    fn hold(
        &mut self,
        thresholds: &Thresholds,
        (measure, count): (Measure, u64),
        program: Option<Octets>,
    ) -> Vec<Verdict> {
        let Some(steps) = thresholds.steps(measure) else { return Vec::new() };
        if let Some((response, limit)) = steps.reached(count)
            && self.answered.get(&measure).is_none_or(|before| *before < response)
        {
            self.answered.insert(measure, response);
            let crossed =
                Crossed { measure, limit, count, response, rule: None, program, file: None };
            return vec![Verdict::Crossed(crossed)];
        }
        match steps.0.get(&Response::Kill) {
            Some(limit) if count >= near(*limit) && self.nearing.insert(measure) => {
                vec![Verdict::Near { measure, count, limit: *limit }]
            }
            _ => Vec::new(),
        }
    }

    fn forbidden(&mut self, thresholds: &Thresholds, program: &Started) -> Vec<Verdict> {
        let files = [program.file.as_slice(), program.interpreter.as_slice()];
        let mut verdicts = Vec::new();
        for (rule, response) in &thresholds.forbidden {
            if !rule.is_broken_by(&files, program.argv.args()) {
                continue;
            }
            let started = Some(Octets::new(program.file.clone()));
            verdicts.extend(self.broke((rule, *response), started, None));
        }
        verdicts
    }
}

impl Meter {
    /// A rule was broken once more, by a program that was started or that wrote a file; what is told of it, if it is.
    fn broke(
        &mut self,
        (rule, response): (&Rule, Response),
        program: Option<Octets>,
        file: Option<Octets>,
    ) -> Option<Verdict> {
        let times = self.broken.entry(rule.clone()).or_default();
        *times = times.saturating_add(1);
        times.is_power_of_two().then(|| {
            Verdict::Crossed(Crossed {
                measure: Measure::Forbidden,
                limit: 1,
                count: *times,
                response,
                rule: Some(rule.to_string()),
                program,
                file,
            })
        })
    }
}

/// Four fifths of it, and never before one is left.
fn near(limit: u64) -> u64 {
    limit.saturating_sub(limit.checked_div(5).unwrap_or_default()).max(1)
}

/// Paths are told apart by 64 bits: two that fall together are counted as one, which nobody gains much by.
fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path);
    hasher.finish()
}

const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use wire::limits::Steps;

    fn at(secs: u64) -> Uptime {
        Uptime::from_nanos(0).after(Duration::from_secs(secs))
    }

    fn program(words: &[&str]) -> Started {
        let bytes: Vec<u8> =
            words.iter().flat_map(|word| [word.as_bytes(), &[0]].concat()).collect();
        let file = words[0].as_bytes().to_vec();
        let total = u32::try_from(bytes.len()).unwrap();
        let count = u32::try_from(words.len()).unwrap();
        let argv = Argv { bytes, total, count };
        Started { interpreter: file.clone(), file, argv, is_privileged: false }
    }

    fn steps(list: &[(Response, u64)]) -> Steps {
        Steps(list.iter().copied().collect())
    }

    fn responses(verdicts: &[Verdict]) -> Vec<Option<Response>> {
        let response = |verdict: &Verdict| match verdict {
            Verdict::Crossed(crossed) => Some(crossed.response),
            Verdict::Near { .. } => None,
        };
        verdicts.iter().map(response).collect()
    }

    #[test]
    fn each_step_is_answered_once_and_the_end_is_announced() {
        let execs = steps(&[(Response::Alert, 3), (Response::Kill, 10)]);
        let thresholds = Thresholds { execs_per_minute: execs, ..Thresholds::default() };
        let mut meter = Meter::default();
        let all: Vec<_> = (0..12)
            .flat_map(|_| responses(&meter.started(&thresholds, &program(&["/bin/true"]), at(5))))
            .collect();
        assert_eq!(all, [Some(Response::Alert), None, Some(Response::Kill)]);
    }

    #[test]
    fn a_minute_slides() {
        let execs = steps(&[(Response::Alert, 60)]);
        let thresholds = Thresholds { execs_per_minute: execs, ..Thresholds::default() };
        let mut meter = Meter::default();
        let slow =
            (0..600).map(|second| meter.started(&thresholds, &program(&["x"]), at(second * 2)));
        assert!(slow.flatten().next().is_none());
        assert!(meter.seconds.len() <= 60);
        let fast =
            (1200..1300).map(|second| meter.started(&thresholds, &program(&["x"]), at(second)));
        assert_eq!(fast.flatten().count(), 1);
    }

    #[test]
    fn paths_are_counted_once_each_and_no_further_than_it_matters() {
        let paths = steps(&[(Response::Warn, 3)]);
        let thresholds = Thresholds { distinct_paths: paths, ..Thresholds::default() };
        let mut meter = Meter::default();
        for (name, expected) in
            [("a", None), ("a", None), ("b", None), ("a", None), ("c", Some(Response::Warn))]
        {
            let got = responses(&meter.started(&thresholds, &program(&[name]), at(0)));
            assert_eq!(got, expected.map(Some).into_iter().collect::<Vec<_>>(), "{name}");
        }
        for number in 0..100 {
            meter.started(&thresholds, &program(&[&number.to_string()]), at(0));
        }
        assert_eq!(meter.paths.len(), 3);
    }

    #[test]
    fn what_is_forbidden_is_answered_each_time_that_it_has_doubled() {
        let forbidden = BTreeMap::from([("command nc -l".parse().unwrap(), Response::Alert)]);
        let thresholds = Thresholds { forbidden, ..Thresholds::default() };
        let mut meter = Meter::default();
        let mut times = Vec::new();
        for _ in 0..100 {
            for verdict in meter.started(&thresholds, &program(&["/bin/nc", "-l", "9"]), at(0)) {
                let Verdict::Crossed(crossed) = verdict else { panic!("{verdict:?}") };
                assert_eq!(crossed.rule.as_deref(), Some("command nc -l"));
                times.push(crossed.count);
            }
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 64]);
        assert!(meter.started(&thresholds, &program(&["/bin/nc", "x"]), at(0)).is_empty());
    }

    #[test]
    fn files_are_counted_once_each_and_those_that_are_forbidden_are_told() {
        let forbidden = BTreeMap::from([
            ("path /etc/".parse().unwrap(), Response::Alert),
            ("command hosts".parse().unwrap(), Response::Kill),
        ]);
        let files_written = steps(&[(Response::Alert, 2), (Response::Kill, 5)]);
        let thresholds = Thresholds { forbidden, files_written, ..Thresholds::default() };
        let mut meter = Meter::default();
        let mut wrote = |path: &str| responses(&meter.wrote(&thresholds, path.as_bytes(), None));
        assert!(wrote("/tmp/a").is_empty() && wrote("/tmp/a").is_empty());
        assert_eq!(wrote("/etc/hosts"), [Some(Response::Alert), Some(Response::Alert)]);
        assert_eq!(wrote("/etc/hosts"), [Some(Response::Alert)], "the rule, for the second time");
        assert!(wrote("/tmp/b").is_empty());
        assert_eq!(wrote("/tmp/c"), [None], "one is left");
        assert_eq!(wrote("/tmp/d"), [Some(Response::Kill)]);
        for number in 0..100 {
            assert!(wrote(&format!("/tmp/{number}")).is_empty());
        }
        assert_eq!(meter.files.len(), 5);
        let crossed = |meter: &mut Meter| meter.wrote(&thresholds, b"/etc/x", None);
        let told = (0..2).flat_map(|_| crossed(&mut meter)).next();
        let Some(Verdict::Crossed(crossed)) = told else { panic!("{told:?}") };
        assert_eq!(crossed.to_string(), "a file was written that is forbidden (path /etc/)");
        assert!(Meter::default().wrote(&Thresholds::default(), b"/etc/x", None).is_empty());
    }

    #[test]
    fn bytes_count_from_the_first_look_and_across_a_restart() {
        let bytes_out = steps(&[(Response::Kill, 100_000)]);
        let thresholds = Thresholds { bytes_out, ..Thresholds::default() };
        let mut meter = Meter::default();
        assert!(meter.sent(&thresholds, 5_000).is_empty());
        let kept = serde_json::to_string(&meter).unwrap();
        let mut meter: Meter = serde_json::from_str(&kept).unwrap();
        assert_eq!(responses(&meter.sent(&thresholds, 90_000)), [None]);
        assert_eq!(responses(&meter.sent(&thresholds, 105_000)), [Some(Response::Kill)]);
        assert!(meter.sent(&thresholds, 200_000).is_empty());
    }

    #[test]
    fn only_what_has_steps_is_counted() {
        let mut meter = Meter::default();
        let mut sudo = program(&["sudo"]);
        sudo.is_privileged = true;
        assert!(meter.started(&Thresholds::default(), &sudo, at(0)).is_empty());
        assert!(meter.sent(&Thresholds::default(), 9).is_empty());
        assert!(meter.is_empty());
        let changes = steps(&[(Response::Alert, 2)]);
        let thresholds = Thresholds { privilege_changes: changes, ..Thresholds::default() };
        assert!(meter.started(&thresholds, &sudo, at(0)).is_empty());
        assert!(meter.started(&thresholds, &program(&["ls"]), at(0)).is_empty());
        assert_eq!(responses(&meter.started(&thresholds, &sudo, at(0))), [Some(Response::Alert)]);
    }

    proptest! {
        #[test]
        fn a_kill_comes_exactly_when_its_number_is_reached(
            limit in 1_u64..40, times in proptest::collection::vec(0_u64..200, 0..80),
        ) {
            let execs = steps(&[(Response::Kill, limit)]);
            let thresholds = Thresholds { execs_per_minute: execs, ..Thresholds::default() };
            let mut times = times;
            times.sort_unstable();
            let mut meter = Meter::default();
            let mut killed = false;
            for (index, second) in times.iter().enumerate() {
                let within = times[..=index].iter().filter(|then| second.saturating_sub(**then) < 60).count();
                killed |= u64::try_from(within).unwrap() >= limit;
                meter.started(&thresholds, &program(&["x"]), at(*second));
                prop_assert_eq!(meter.answered.contains_key(&Measure::ExecsPerMinute), killed);
            }
        }
    }
}
