//! Files of weights: any text is taken within the ranges, or refused on a line that it has; and what is taken reckons within 0 to
//! 100 and the same each time.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use risk::{Case, Factor, Past, Weights, Who, otherwise, score};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Weights::parse(text) {
        Ok(weights) => {
            assert!(Factor::ALL.iter().all(|factor| weights.of(*factor).points <= 100));
            assert!(Factor::ALL.iter().any(|factor| weights.of(*factor).points > 0));
            let case = case();
            let found = score(&case, &weights);
            assert!(found.score <= 100 && found == score(&case, &weights));
            assert!(otherwise(&case, &weights).iter().all(|one| one.score < found.score));
        }
        Err(fault) => {
            assert!((1..=text.lines().count().max(1) + 1).contains(&fault.line), "{fault}")
        }
    }
    // What entries keep is read back from a database that others can write to.
    if let Ok(case) = serde_json::from_str::<Case>(text) {
        let weights = Weights::parse(risk::DEFAULT).expect("what is shipped is good");
        assert!(score(&case, &weights).score <= 100);
    }
});

fn case() -> Case {
    Case {
        at: 1_800_000_000,
        who: Who { name: "ana".into(), program: false, teams: BTreeSet::new(), known_secs: None },
        hosts: BTreeMap::from([("db1".into(), Some(1)), ("db2".into(), None)]),
        logins: BTreeSet::from(["root".into()]),
        forwarding: true,
        seconds: 7_200,
        role_seconds: 3_600,
        hour: 40,
        source: None,
        mfa_age: Some(4_000),
        hardware_key: Some(false),
        on_call: true,
        past: Past::default(),
    }
}
