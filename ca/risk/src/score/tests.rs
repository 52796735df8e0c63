use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::case::{Past, Who};
use crate::history::{Asked, Marks, Use, Verdict, past};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn weights() -> Weights {
    Weights::parse(crate::DEFAULT).unwrap()
}

/// Somebody well known who does what they always do.
fn usual() -> Case {
    Case {
        at: NOW,
        who: Who {
            name: "ana".into(),
            program: false,
            teams: BTreeSet::from(["dba".into()]),
            known_secs: Some(400 * DAY),
        },
        hosts: BTreeMap::from([("db1".into(), Some(3))]),
        logins: BTreeSet::from(["postgres".into()]),
        forwarding: false,
        seconds: 3_600,
        role_seconds: 3_600,
        hour: crate::case::hour_of_week(NOW),
        source: Some("10.0.0.0/24".into()),
        mfa_age: Some(60),
        hardware_key: Some(true),
        on_call: false,
        past: known(&sessions()),
    }
}

fn sessions() -> Vec<Use> {
    (0_u64..60)
        .map(|number| Use {
            host: "db1".into(),
            login: "postgres".into(),
            source: Some("10.0.0.0/24".into()),
            began: NOW - (3 + number % 8) * 7 * DAY,
            ended: Some(NOW - 14 * DAY),
            seconds: 3_600,
            was_stopped: false,
            reviews: vec![(NOW - DAY, Verdict::Ok)],
        })
        .collect()
}

fn known(uses: &[Use]) -> Past {
    let (hosts, logins) = (BTreeSet::from(["db1".into()]), BTreeSet::from(["postgres".into()]));
    let asked = Asked {
        at: NOW,
        hosts: &hosts,
        logins: &logins,
        hour: crate::case::hour_of_week(NOW),
        source: Some("10.0.0.0/24"),
        learn_until: None,
    };
    past(uses, uses, &Marks::default(), &asked)
}

#[test]
fn what_is_usual_is_of_little_risk_and_what_nobody_knows_is_of_much() {
    let low = score(&usual(), &weights());
    let stranger = Case {
        who: Who { known_secs: None, ..usual().who },
        hosts: BTreeMap::from([("db1".into(), None)]),
        source: None,
        mfa_age: None,
        hardware_key: None,
        past: Past::default(),
        ..usual()
    };
    let high = score(&stranger, &weights());
    assert!(low.score < 20, "{low:?}");
    assert!(high.score >= 70, "{high:?}");
    assert!(low.missing.is_empty(), "{low:?}");
    assert_eq!(high.confidence, 0);
    for what in ["tier of db1", "network", "since when", "usual"] {
        assert!(high.missing.iter().any(|one| one.contains(what)), "{what}: {high:?}");
    }
}

#[test]
fn a_score_is_what_its_parts_come_to() {
    let stranger = Case { past: Past::default(), mfa_age: None, ..usual() };
    let score = score(&stranger, &weights());
    let sum: u32 = score.parts.iter().map(|part| part.milli).sum();
    assert_eq!(u32::from(score.score), sum.div_ceil(1_000).min(100));
    assert!(score.parts.iter().all(|part| !part.says.is_empty()));
}

#[test]
fn a_counterfactual_is_the_score_of_the_case_that_is_so() {
    let case = Case { mfa_age: None, hardware_key: Some(false), past: Past::default(), ..usual() };
    let all = otherwise(&case, &weights());
    let of = |factor| all.iter().find(|one| one.factor == factor).unwrap().score;
    assert_eq!(
        of(Factor::SecondFactor),
        score(&Case { mfa_age: Some(1), ..case.clone() }, &weights()).score
    );
    assert_eq!(
        of(Factor::PlainKey),
        score(&Case { hardware_key: Some(true), ..case.clone() }, &weights()).score
    );
    let now = score(&case, &weights()).score;
    assert!(all.iter().all(|one| one.score < now && !one.says.is_empty()));
    assert!(all.is_sorted_by_key(|one| one.score), "what helps most comes first");
}

#[test]
fn being_on_call_helps_and_not_below_the_floor_of_the_strictest_hosts() {
    let at = |tier, on_call| {
        let hosts = BTreeMap::from([("db1".into(), Some(tier))]);
        let past = Past::default();
        score(&Case { hosts, on_call, past, mfa_age: None, ..usual() }, &weights())
    };
    let (points, floor) = weights().relief();
    assert!(points > 0 && floor > 0);
    let (off, on) = (at(2, false).score, at(2, true));
    assert_eq!(on.score, off - u8::try_from(points).unwrap());
    assert_eq!(on.relief, points);
    for case in
        [at(0, true), score(&Case { on_call: true, hosts: BTreeMap::new(), ..usual() }, &weights())]
    {
        let raw = u32::from(case.score) + case.relief;
        assert!(u32::from(case.score) >= raw.min(floor), "{case:?}");
    }
}

#[test]
fn a_flood_of_sessions_that_nobody_looked_at_teaches_nothing() {
    let (mut uses, now) = (sessions(), score(&usual(), &weights()));
    let odd = |verdict: Option<Verdict>| Use {
        host: "vault".into(),
        login: "root".into(),
        source: Some("203.0.113.0/24".into()),
        began: NOW - 3 * DAY,
        ended: Some(NOW - 2 * DAY),
        seconds: 60,
        was_stopped: false,
        reviews: verdict.map(|verdict| (NOW - DAY, verdict)).into_iter().collect(),
    };
    let ask = |uses: &[Use]| {
        let (hosts, logins) = (BTreeSet::from(["vault".into()]), BTreeSet::from(["root".into()]));
        let asked = Asked {
            at: NOW,
            hosts: &hosts,
            logins: &logins,
            hour: 0,
            source: Some("203.0.113.0/24"),
            learn_until: None,
        };
        let past = past(uses, &[], &Marks::default(), &asked);
        let hosts = BTreeMap::from([("vault".into(), Some(0))]);
        score(&Case { hosts, logins: logins.clone(), past, ..usual() }, &weights()).score
    };
    let before = ask(&uses);
    uses.extend((0..500).map(|_| odd(None)));
    assert_eq!(ask(&uses), before, "500 sessions of the attacker change nothing");
    assert_eq!(score(&Case { past: known(&uses), ..usual() }, &weights()).score, now.score);
    uses.extend((0..5).map(|_| odd(Some(Verdict::Bad))));
    assert!(ask(&uses) >= before, "and those that were found out of order raise it");
}

fn case() -> impl Strategy<Value = Case> {
    let who = (any::<bool>(), proptest::option::of(0u64..(900 * DAY)));
    let hosts = proptest::collection::btree_map("[a-d]", proptest::option::of(0u8..5), 1..6);
    let reach = (any::<bool>(), any::<bool>(), 1u64..200_000);
    let proof = (proptest::option::of(0u64..100_000), proptest::option::of(any::<bool>()));
    (who, hosts, reach, proof, any::<bool>(), any::<bool>(), before()).prop_map(
        |(
            (program, known_secs),
            hosts,
            (root, forwarding, seconds),
            (mfa_age, hardware_key),
            source,
            on_call,
            past,
        )| {
            let who = Who { program, known_secs, ..usual().who };
            let logins = BTreeSet::from([if root { "root".into() } else { "app".into() }]);
            let source = source.then(|| "10.0.0.0/24".to_owned());
            Case {
                who,
                hosts,
                logins,
                forwarding,
                seconds,
                source,
                mfa_age,
                hardware_key,
                on_call,
                past,
                ..usual()
            }
        },
    )
}

fn before() -> impl Strategy<Value = Past> {
    let habit = || {
        (0u64..90_000, 0u64..90_000, 1u64..20, 0u64..9_000).prop_map(
            |(weight, seen, kinds, common)| Habit { weight, seen: seen.min(weight), kinds, common },
        )
    };
    let habits = || {
        (habit(), habit(), habit(), habit()).prop_map(|(host, login, hour, source)| Habits {
            weight: host.weight,
            host,
            login,
            hour,
            source,
        })
    };
    let counts = (0u32..9, 0u32..30, 0u32..9, 0u32..9, proptest::option::of(0u32..5));
    let outcomes = || (0u64..30, 0u64..30).prop_map(|(ok, bad)| Outcomes { ok, bad });
    (habits(), habits(), proptest::option::of(1u64..90_000), counts, outcomes(), outcomes())
        .prop_map(
            |(
                own,
                team,
                usual_seconds,
                (requests_hour, requests_day, refusals, concurrent, incidents),
                outcomes,
                team_outcomes,
            )| Past {
                own,
                team,
                usual_seconds,
                requests_hour,
                requests_day,
                refusals,
                concurrent,
                outcomes,
                team_outcomes,
                incidents,
            },
        )
}

/// The same case with one more thing that speaks against it.
fn worse(case: &Case, which: u8) -> Case {
    let mut case = case.clone();
    let past = &mut case.past;
    match which {
        0 => drop(case.hosts.insert("more".into(), Some(3))),
        1 => {
            let tiers = case.hosts.values_mut();
            tiers.for_each(|tier| *tier = tier.map(|tier| tier.saturating_sub(1)));
        }
        2 => case.hosts.values_mut().for_each(|tier| *tier = None),
        3 => drop(case.logins.insert("root".into())),
        4 => case.forwarding = true,
        5 => case.seconds += 1_000,
        6 => case.source = None,
        7 => case.mfa_age = case.mfa_age.map(|age| age + 1_000),
        8 => case.mfa_age = None,
        9 => case.hardware_key = None,
        10 => case.who.known_secs = case.who.known_secs.map(|secs| secs / 2),
        11 => case.who.known_secs = None,
        12 => drop(case.who.teams.insert("contractors".into())),
        13 => case.on_call = false,
        14 => past.requests_hour += 1,
        15 => past.requests_day += 1,
        16 => past.refusals += 1,
        17 => past.concurrent += 1,
        18 => past.outcomes.bad += 1,
        19 => past.team_outcomes.bad += 1,
        20 => past.own.host.seen /= 2,
        21 => past.own.login.seen = 0,
        22 => past.team.source.seen = 0,
        23 => past.incidents = past.incidents.map(|count| count + 1),
        24 => past.incidents = None,
        _ => past.own.hour.seen = 0,
    }
    case
}

proptest! {
    #[test]
    fn one_more_thing_that_speaks_against_it_never_lowers_the_score(case in case(), which in 0u8..26) {
        let (before, after) = (score(&case, &weights()), score(&worse(&case, which), &weights()));
        prop_assert!(after.score >= before.score, "{which}: {before:?} {after:?}");
    }

    #[test]
    fn a_score_is_bounded_and_the_same_whenever_it_is_reckoned(case in case()) {
        let first = score(&case, &weights());
        prop_assert!(first.score <= 100 && first.confidence <= 100);
        prop_assert!(first.parts.iter().all(|part| part.value <= 1_000));
        // As it is kept in the ledger, and read back by another program on another day.
        let kept: Case = serde_json::from_str(&serde_json::to_string(&case).unwrap()).unwrap();
        prop_assert_eq!(&kept, &case);
        prop_assert_eq!(score(&kept, &weights()), first);
    }
}

#[test]
fn a_golden_case_has_the_score_that_it_always_had() {
    let golden = Case {
        hosts: BTreeMap::from([("db1".into(), Some(1)), ("db2".into(), Some(2))]),
        logins: BTreeSet::from(["root".into()]),
        mfa_age: Some(4_200),
        hardware_key: Some(false),
        ..usual()
    };
    let found = score(&golden, &weights());
    let parts: Vec<(&str, u32)> =
        found.parts.iter().map(|part| (part.factor.name(), part.milli)).collect();
    let golden = [
        ("tier", 13_320),
        ("hosts", 1_110),
        ("root", 10_000),
        ("second-factor", 1_524),
        ("plain-key", 5_000),
    ];
    assert_eq!((found.score, parts.as_slice()), (31, golden.as_slice()));
}
