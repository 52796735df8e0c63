use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn fresh(number: u32) -> Fresh {
    let fingerprint = print(number);
    Fresh { number, fingerprint, public_key: format!("key {number}") }
}

fn print(number: u32) -> Fingerprint {
    Fingerprint::of(&number.to_be_bytes())
}

fn host(name: &str, said: Confirmation) -> (HostName, Confirmation) {
    (name.parse().unwrap(), said)
}

fn all_confirmed() -> Facts {
    Facts { hosts: vec![host("db1", Confirmation::Confirmed)], ends: Vec::new() }
}

fn step(keys: &Keys, input: Input, facts: &Facts) -> Result<Keys, Refusal> {
    keys.step(input, (facts, &Exceptions::default()), NOW)
}

fn announced() -> Keys {
    step(&Keys::begin(fresh(1), NOW), Input::Announce(fresh(2)), &all_confirmed()).unwrap()
}

fn signing() -> Keys {
    step(&announced(), Input::Switch, &all_confirmed()).unwrap()
}

fn believed(keys: &Keys) -> Vec<u32> {
    keys.believed().map(|key| key.number).collect()
}

#[test]
fn a_rotation_runs_through_its_phases() {
    let steady = Keys::begin(fresh(1), NOW);
    assert_eq!((steady.phase(), believed(&steady)), ("steady", vec![1]));
    assert_eq!((announced().phase(), believed(&announced())), ("announced", vec![1, 2]));
    assert_eq!((signing().phase(), believed(&signing())), ("signing", vec![2, 1]));
    let retired = step(&signing(), Input::Retire, &all_confirmed()).unwrap();
    assert_eq!((retired.phase(), believed(&retired)), ("steady", vec![2]));
    assert_eq!(retired.next_number(), 3);
}

#[test]
fn a_host_that_has_not_confirmed_is_named_and_blocks() {
    let facts = Facts {
        hosts: vec![
            host("db1", Confirmation::Confirmed),
            host("db7", Confirmation::Behind),
            host("old", Confirmation::TooOld),
        ],
        ends: Vec::new(),
    };
    for (keys, input) in [(announced(), Input::Switch), (signing(), Input::Retire)] {
        let refused = step(&keys, input.clone(), &facts).unwrap_err().to_string();
        assert!(refused.contains("2 hosts have not confirmed"), "{refused}");
        assert!(refused.contains("db7, old (its agent is too old"), "{refused}");
        assert!(!refused.contains("db1"), "{refused}");
        let without = ["db7", "old"].map(|name| name.parse().unwrap()).into();
        let exceptions = Exceptions { without, early: false };
        assert!(keys.step(input, (&facts, &exceptions), NOW).is_ok());
    }
    let refused = step(&Keys::begin(fresh(1), NOW), Input::Announce(fresh(2)), &facts).unwrap_err();
    let old = vec![host("old", Confirmation::TooOld)];
    assert_eq!(refused, Refusal::Unconfirmed(old), "no order about keys reaches it unasked for");
    let exceptions = Exceptions { without: ["db9".parse().unwrap()].into(), early: false };
    let refused = announced().step(Input::Switch, (&facts, &exceptions), NOW);
    assert_eq!(refused, Err(Refusal::NoHost("db9".parse().unwrap())));
}

#[test]
fn a_key_ends_only_when_what_it_signed_is_over() {
    let valid = |end| Facts { ends: vec![(print(1), end)], ..all_confirmed() };
    let refused = step(&signing(), Input::Retire, &valid(NOW));
    assert!(matches!(refused, Err(Refusal::Outstanding(_))), "within the skew");
    let over = valid(NOW.before(crate::revocation::SKEW + Duration::from_secs(1)));
    assert!(step(&signing(), Input::Retire, &over).is_ok());
    let early = Exceptions { early: true, ..Exceptions::default() };
    assert!(signing().step(Input::Retire, (&valid(NOW), &early), NOW).is_ok());
}

#[test]
fn the_way_back_is_open_until_the_key_is_retired() {
    let back = step(&signing(), Input::Revert, &all_confirmed()).unwrap();
    assert_eq!((back.phase(), believed(&back)), ("announced", vec![1, 2]));
    let begun = step(&back, Input::Revert, &all_confirmed()).unwrap();
    assert_eq!((begun.phase(), believed(&begun)), ("steady", vec![1]));
    let refused = step(&begun, Input::Revert, &all_confirmed());
    assert_eq!(refused, Err(Refusal::NothingToRevert));
    let valid = Facts { ends: vec![(print(2), NOW)], ..all_confirmed() };
    let refused = step(&back, Input::Revert, &valid);
    assert!(matches!(refused, Err(Refusal::Outstanding(_))), "it signed while it was its turn");
}

#[test]
fn a_compromised_key_goes_at_once_and_another_signs() {
    let nobody = Facts { hosts: vec![host("db1", Confirmation::Behind)], ends: Vec::new() };
    let cases = [
        (Keys::begin(fresh(1), NOW), 1, vec![9]),
        (announced(), 1, vec![2]),
        (announced(), 2, vec![1]),
        (signing(), 1, vec![2]),
        (signing(), 2, vec![1]),
    ];
    for (keys, lost, expected) in cases {
        let fresh = keys.needs_fresh(&print(lost)).then(|| fresh(9));
        let after = step(&keys, Input::Compromise(print(lost), fresh), &nobody).unwrap();
        assert_eq!((after.phase(), believed(&after)), ("steady", expected), "{lost}");
        assert_eq!(after.all()[0].number, 1);
        let again = step(&after, Input::Compromise(print(lost), None), &nobody);
        assert_eq!(again, Err(Refusal::Already(print(lost))));
    }
    let unknown = step(&announced(), Input::Compromise(print(7), None), &nobody);
    assert_eq!(unknown, Err(Refusal::NoKey(print(7))));
}

#[test]
fn steps_out_of_turn_are_refused() {
    let steady = Keys::begin(fresh(1), NOW);
    let cases = [
        (&steady, Input::Switch, Refusal::NothingAnnounced),
        (&steady, Input::Retire, Refusal::NothingToRetire),
        (&announced(), Input::Retire, Refusal::NotSigning),
        (&announced(), Input::Announce(fresh(3)), Refusal::UnderWay("announced")),
        (&signing(), Input::Announce(fresh(3)), Refusal::UnderWay("signing")),
        (&signing(), Input::Switch, Refusal::UnderWay("signing")),
        (&steady, Input::Announce(fresh(1)), Refusal::Taken(1)),
    ];
    for (keys, input, refusal) in cases {
        assert_eq!(step(keys, input, &all_confirmed()), Err(refusal));
    }
}

#[test]
fn what_is_kept_reads_back_and_must_have_one_key_that_signs() {
    assert_eq!(Keys::kept(signing().all().iter().rev().cloned().collect()), Some(signing()));
    assert_eq!(Keys::kept(Vec::new()), None);
    let mut two = announced().all().to_vec();
    two[1].stage = Stage::Signing;
    assert_eq!(Keys::kept(two), None);
}

fn inputs() -> impl Strategy<Value = Vec<(u8, bool, bool, u64)>> {
    prop::collection::vec((0..6_u8, any::<bool>(), any::<bool>(), 0..2_000_u64), 0..40)
}

proptest! {
    /// Whatever is asked in whatever order: one key signs, at most two are believed, a key begins to sign only when all
    /// hosts believe it, and one with valid certificates is dropped by nobody but whoever gives it up.
    #[test]
    fn no_order_of_steps_refuses_a_login(steps in inputs()) {
        let mut keys = Keys::begin(fresh(1), NOW);
        let mut now = NOW;
        for (choice, is_confirmed, is_valid, secs) in steps {
            now = now.after(Duration::from_secs(secs));
            let said = if is_confirmed { Confirmation::Confirmed } else { Confirmation::Behind };
            let ends = keys.all().iter().filter(|_| is_valid);
            let ends = ends.map(|key| (key.fingerprint.clone(), now)).collect();
            let facts = Facts { hosts: vec![host("db1", said)], ends };
            let number = keys.next_number();
            let some = keys.all().iter().cycle().nth(usize::try_from(secs).unwrap()).unwrap().clone();
            let (input, gives_up) = match choice {
                0 | 1 => (Input::Announce(fresh(number)), false),
                2 => (Input::Switch, false),
                3 => (Input::Revert, false),
                4 => (Input::Retire, false),
                _ => (Input::Compromise(some.fingerprint.clone(), Some(fresh(number))), true),
            };
            let Ok(after) = keys.step(input, (&facts, &Exceptions::default()), now) else { continue };
            let signs = |keys: &Keys| keys.at(Stage::Signing).unwrap().number;
            prop_assert_eq!(after.all().iter().filter(|key| key.stage == Stage::Signing).count(), 1);
            prop_assert!(after.believed().count() <= 2);
            prop_assert!(after.all().len() >= keys.all().len(), "no key is forgotten");
            if !gives_up {
                if signs(&after) != signs(&keys) {
                    prop_assert!(believed(&keys).contains(&signs(&after)));
                    prop_assert!(is_confirmed || keys.at(Stage::Previous).is_some());
                }
                let dropped = believed(&keys).into_iter().any(|key| !believed(&after).contains(&key));
                prop_assert!(!(dropped && is_valid));
            }
            prop_assert_eq!(Keys::kept(after.all().to_vec()), Some(after.clone()));
            keys = after;
        }
    }
}
