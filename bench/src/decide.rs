//! `decide`: how long policy takes to answer, with 15, 100 and 1,000 policies and with the one that comes with the program,
//! and how long that many take to be read.
//!
//! `p50_us` and `p99_us` are of a question that is put anew; `again_p50_us` of one that was answered before.
//! The question is of one host; in the larger sets most policies are of other hosts, as they are where many teams write
//! them. Every one of them is evaluated all the same.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, ensure};
use policy::{
    Access, Act, Being, DEFAULT, Evidence, File, Moment, Place, PolicySet, Question,
    Verdict as Said, Who,
};

use crate::{bench::Verdict, clock::Stopwatch, report::Row, sample::Sample};

/// Decisions a case.
pub(crate) const COUNT: usize = 10_000;

/// Measures every set.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let mut verdict = Verdict { rows: Vec::new(), broken: Vec::new() };
    verdict.rows.push(row("default", DEFAULT.to_owned(), count)?);
    for size in [15, 100, 1_000] {
        verdict.rows.push(row(&size.to_string(), policies(size), count)?);
    }
    Ok(verdict)
}

fn row(case: &str, text: String, count: usize) -> Result<Row> {
    let reading = Stopwatch::start();
    let set = PolicySet::load(&[File { name: "bench.cedar".into(), text }])
        .map_err(|faults| anyhow!("{faults:?}"))?;
    let load_ms = reading.passed().as_secs_f64() * 1_000.0;
    let question = question();
    let fresh = sample(count, || set.put(&question))?;
    let again = sample(count, || set.decide(&question))?;
    Ok(Row::new("decide", format!("{case} policies"))
        .measured("p50_us", fresh.percentile(50))
        .measured("p99_us", fresh.percentile(99))
        .measured("again_p50_us", again.percentile(50))
        .measured("load_ms", load_ms))
}

/// How long it takes to be told yes, so many times.
fn sample(count: usize, decide: impl Fn() -> Said) -> Result<Sample> {
    let mut micros = Vec::with_capacity(count);
    for _ in 0..count {
        let deciding = Stopwatch::start();
        let said = decide();
        micros.push(deciding.passed().as_secs_f64() * 1_000_000.0);
        ensure!(matches!(said, Said::Allowed { .. }), "the policy says {said}");
    }
    Ok(Sample::new(micros))
}

/// So many policies: a third of them eligibilities, the rest requirements, each of one service's hosts.
fn policies(size: usize) -> String {
    let mut text = String::new();
    for number in 0..size {
        let group = format!("Curfew::HostGroup::\"service=s{}\"", number / 3);
        text.push_str(&match number % 3 {
            0 => format!(
                "@id(\"p{number}\") permit (principal, action in [Curfew::Action::\"request\", Curfew::Action::\"issue\"], resource in {group}) when {{ principal in context.role && context.seconds <= 14400 }};\n"
            ),
            1 => format!(
                "@id(\"p{number}\") @advice(\"an owner's approval\") forbid (principal, action == Curfew::Action::\"issue\", resource in {group}) when {{ resource.tier == 0 }} unless {{ context.quorums.contains(\"owner\") }};\n"
            ),
            _ => format!(
                "@id(\"p{number}\") @advice(\"a fresh second factor\") forbid (principal, action == Curfew::Action::\"issue\", resource in {group}) unless {{ context.mfaAge <= 600 || context.renewal }};\n"
            ),
        });
    }
    text
}

fn question() -> Question {
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    Question {
        who: Who {
            name: "ana@example.com".into(),
            kind: Being::Person,
            teams: set(&["sre", "engineers"]),
            roles: set(&["dba", "deploy"]),
            disabled: false,
            operator: false,
        },
        act: Act::Issue(Access {
            host: Place {
                name: "db1".into(),
                labels: set(&["env=prod", "service=s0", "tier=0", "owner=dba"]),
            },
            role: "dba".into(),
            login: "postgres".into(),
            seconds: 3_600,
            renewal: false,
            reason: "restore".into(),
            risk: Some(20),
            evidence: Evidence { approvers: 1, quorums: set(&["owner"]), ..Evidence::default() },
        }),
        moment: Moment { millis: 1_796_000_000_000, day: policy::Day::Monday, minute: 600 },
        mfa_age: Some(60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_is_as_large_as_it_says_and_says_yes() {
        for size in [15, 100] {
            let file = File { name: "bench.cedar".into(), text: policies(size) };
            let set = PolicySet::load(&[file]).unwrap();
            assert_eq!(set.len(), size);
            assert!(matches!(set.decide(&question()), Said::Allowed { .. }));
        }
    }
}
