//! Limits: what is read, what meets, what is broken.

use proptest::prelude::*;

use super::*;

fn steps(list: &[(Response, u64)]) -> Steps {
    Steps(list.iter().copied().collect())
}

fn full() -> Limits {
    Limits {
        idle_secs: Some(900),
        transfer_idle_secs: Some(3_600),
        longest_secs: Some(28_800),
        concurrency: Some(3),
        recording: Recording { level: Level::Full, need: Need::Required },
        thresholds: Thresholds {
            execs_per_minute: steps(&[(Response::Alert, 600), (Response::Kill, 6_000)]),
            forbidden: BTreeMap::from([
                ("command shutdown -h".parse().unwrap(), Response::Kill),
                ("path /etc/shadow".parse().unwrap(), Response::Alert),
            ]),
            ..Thresholds::default()
        },
    }
}

#[test]
fn the_text_is_short_plain_and_reads_back() {
    let text = full().to_extension().unwrap().unwrap();
    assert_eq!(
        text,
        "{\"idle_secs\":900,\"transfer_idle_secs\":3600,\"longest_secs\":28800,\"concurrency\":3,\
         \"recording\":{\"level\":\"full\",\"need\":\"required\"},\"thresholds\":{\"execs_per_minute\":\
         {\"alert\":600,\"kill\":6000},\"forbidden\":{\"command shutdown -h\":\"kill\",\
         \"path /etc/shadow\":\"alert\"}}}"
    );
    assert_eq!(Limits::from_extension(&text), Ok(full()));
    assert_eq!(Limits::default().to_extension(), Ok(None));
}

#[test]
fn what_is_not_exactly_ours_is_refused() {
    let long = format!("{{\"idle_secs\":900}}{}", " ".repeat(MAX_EXTENSION));
    for (text, why) in [
        ("", "cannot be read"),
        ("{}", "one form"),
        ("null", "cannot be read"),
        ("{\"idle_secs\":900} ", "one form"),
        ("{\"idle_secs\":9e2}", "cannot be read"),
        ("{\"longest_secs\":60,\"idle_secs\":900}", "one form"),
        ("{\"idle_secs\":900,\"idle_secs\":900}", "cannot be read"),
        ("{\"idle_secs\":900,\"colour\":1}", "unknown field"),
        ("{\"idle_secs\":4}", "idle_secs is 4; it can be 5 to 604800"),
        ("{\"concurrency\":0}", "concurrency is 0; it can be 1"),
        ("{\"thresholds\":{\"bytes_out\":{\"kill\":1}}}", "bytes_out is 1; it can be 65536"),
        ("{\"thresholds\":{\"bytes_out\":{\"maim\":70000}}}", "unknown variant"),
        (
            "{\"thresholds\":{\"distinct_paths\":{\"alert\":9,\"kill\":9}}}",
            "\"alert\" at 9 never comes, because \"kill\" comes first",
        ),
        ("{\"thresholds\":{\"forbidden\":{\"path etc\":\"kill\"}}}", "must begin with /"),
        (&long, "at most 8192"),
    ] {
        let error = Limits::from_extension(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn too_many_rules_are_refused() {
    let mut limits = full();
    limits.thresholds.forbidden =
        (0..65).map(|n| (format!("command c{n}").parse().unwrap(), Response::Kill)).collect();
    assert_eq!(limits.to_extension(), Err(LimitsFlaw::Rules(65)));
}

#[test]
fn a_rule_is_broken_by_exactly_what_it_names() {
    let broken = |rule: &str, file: &str, arguments: &[&str]| {
        let rule: Rule = rule.parse().unwrap();
        rule.is_broken_by(&[file.as_bytes()], arguments.iter().map(|text| text.as_bytes()))
    };
    let cases: [(&str, &str, &[&str], bool); 14] = [
        ("command nc", "/usr/bin/nc", &["x"], true),
        ("command nc", "/usr/bin/ncat", &["nc"], false),
        ("command nc", "/tmp/nc", &["nc"], true),
        ("command /usr/bin/nc", "/usr/bin/nc", &["nc"], true),
        ("command /usr/bin/nc", "/bin/nc", &["nc"], false),
        ("command git push --force", "/usr/bin/git", &["git", "push", "o", "--force"], true),
        ("command git push --force", "/usr/bin/git", &["git", "--force", "push"], false),
        ("command git git", "/usr/bin/git", &["git"], false),
        ("path /etc/shadow", "/bin/cat", &["cat", "/etc/shadow"], true),
        ("path /etc/shadow", "/bin/dd", &["dd", "if=/etc/shadow"], true),
        ("path /etc/shadow", "/bin/cat", &["cat", "/etc/shadow.old"], false),
        ("path /etc/ssl/", "/bin/cat", &["cat", "/etc/ssl/key"], true),
        ("path /etc/ssl/", "/bin/ls", &["ls", "/etc/ssl"], true),
        ("path /opt/x", "/opt/x", &["anything"], true),
    ];
    for (rule, file, arguments, expected) in cases {
        assert_eq!(broken(rule, file, arguments), expected, "{rule}: {file} {arguments:?}");
    }
}

#[test]
fn what_is_no_rule_says_why() {
    for (line, flaw) in [
        ("nc", RuleFlaw::Form),
        ("run nc", RuleFlaw::Form),
        ("command ", RuleFlaw::Blank),
        ("command a  b", RuleFlaw::Blank),
        ("command a\tb", RuleFlaw::Blank),
        ("path etc", RuleFlaw::Path),
        ("path /", RuleFlaw::Path),
        ("path /a/../b", RuleFlaw::Path),
        ("path /a//b", RuleFlaw::Path),
    ] {
        assert_eq!(line.parse::<Rule>(), Err(flaw), "{line}");
    }
    let long = format!("command {}", "x".repeat(300));
    assert_eq!(long.parse::<Rule>(), Err(RuleFlaw::Length(308)));
}

#[test]
fn the_hardest_answer_that_was_reached_counts() {
    let steps = steps(&[(Response::Alert, 5), (Response::Warn, 8), (Response::Kill, 10)]);
    let reached = |count| steps.reached(count).map(|(response, _)| response);
    assert_eq!(reached(4), None);
    assert_eq!(reached(5), Some(Response::Alert));
    assert_eq!(reached(9), Some(Response::Warn));
    assert_eq!(reached(10), Some(Response::Kill));
}

fn some_steps(numbers: std::ops::Range<u64>) -> impl Strategy<Value = Steps> {
    proptest::collection::btree_map(
        proptest::sample::select(Response::ALL.to_vec()),
        numbers,
        0..=3,
    )
    .prop_map(|map| Steps::default().meet(&Steps(map)))
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    let steps = || some_steps(65_536..70_000);
    let rules = proptest::sample::select(vec!["command a", "command a b", "path /x", "path /y/"]);
    let forbidden = proptest::collection::btree_map(
        rules.prop_map(|line| line.parse().unwrap()),
        proptest::sample::select(Response::ALL.to_vec()),
        0..4,
    );
    (steps(), steps(), steps(), some_steps(1..10_000), forbidden).prop_map(
        |(execs_per_minute, privilege_changes, bytes_out, files_written, forbidden)| Thresholds {
            execs_per_minute,
            distinct_paths: Steps::default(),
            privilege_changes,
            bytes_out,
            files_written,
            forbidden,
        },
    )
}

/// Any limits.
pub(crate) fn limits() -> impl Strategy<Value = Limits> {
    let secs = || proptest::option::of(5_u64..604_800);
    let recording = (any::<bool>(), any::<bool>()).prop_map(|(full, required)| Recording {
        level: if full { Level::Full } else { Level::Commands },
        need: if required { Need::Required } else { Need::BestEffort },
    });
    (secs(), secs(), secs(), proptest::option::of(1_u32..9), recording, thresholds()).prop_map(
        |(idle_secs, transfer_idle_secs, longest_secs, concurrency, recording, thresholds)| {
            Limits {
                idle_secs,
                transfer_idle_secs,
                longest_secs,
                concurrency,
                recording,
                thresholds,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(limits in limits()) {
        match limits.to_extension().unwrap() {
            None => prop_assert!(limits.is_empty()),
            Some(text) => prop_assert_eq!(Limits::from_extension(&text), Ok(limits)),
        }
    }

    #[test]
    fn any_text_is_read_whole_or_refused(text in ".{0,200}") {
        if let Ok(limits) = Limits::from_extension(&text) {
            prop_assert_eq!(limits.to_extension().unwrap().unwrap(), text);
        }
    }

    #[test]
    fn meeting_only_narrows_and_no_order_matters(a in limits(), b in limits(), c in limits()) {
        let both = a.meet(&b);
        prop_assert_eq!(&both, &b.meet(&a));
        prop_assert!(both.is_within(&a) && both.is_within(&b));
        prop_assert_eq!(both.meet(&c), a.meet(&b.meet(&c)));
        prop_assert_eq!(&a.meet(&a), &a);
        prop_assert!(both.check().is_ok());
        for (measure, steps) in a.thresholds.counted() {
            for count in [65_535, 66_000, 68_000, 70_000] {
                let before = steps.reached(count).map(|(response, _)| response);
                let after = both.thresholds.steps(measure).unwrap().reached(count);
                prop_assert!(after.map(|(response, _)| response) >= before);
            }
        }
    }
}
