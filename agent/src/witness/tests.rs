//! The witness against ledgers that grow, go back, fork, and lie.

use proptest::prelude::*;

use super::grown::Ledger;
use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000);

/// One round of question and answer.
fn ask(witness: &mut Witness, ledger: &Ledger, size: u64) -> Result<Vec<u64>, Box<Dispute>> {
    let asked = witness.ask(true).unwrap();
    let taken = witness.take(&ledger.at(size), &ledger.answer(size, &asked), NOW);
    taken.map(Option::unwrap).inspect_err(|dispute| assert!(witness.open(dispute)))
}

fn fresh() -> Witness {
    Witness::resume(Kept::default(), Vec::new())
}

fn sizes(dispute: &Dispute) -> (u64, u64) {
    let size = |note: &Note| note.text().parse::<Checkpoint>().unwrap().head.size;
    (size(&dispute.known), size(&dispute.offered))
}

#[test]
fn a_growing_ledger_is_followed_and_its_certificates_are_shown() {
    let (ledger, mut witness) = (Ledger::new(60, 60), fresh());
    ask(&mut witness, &ledger, 10).unwrap();
    assert_eq!(witness.newest().unwrap().size, 10);
    assert_eq!(witness.weigh(&ledger.at(10), NOW), Weight::Shown);
    // A certificate that is newer, one that is older.
    for size in [25, 4] {
        assert_eq!(witness.weigh(&ledger.at(size), NOW), Weight::New);
        witness.remember(&ledger.at(size));
        assert_eq!(witness.weigh(&ledger.at(size), NOW), Weight::Waiting);
    }
    assert_eq!(witness.ask(false), Some(vec![10, 4, 25]));
    assert_eq!(witness.ask(true), None, "one question at a time");
    let answer = ledger.answer(40, &[10, 4, 25]);
    assert_eq!(witness.take(&ledger.at(40), &answer, NOW), Ok(Some(vec![4, 25])));
    assert_eq!(witness.take(&ledger.at(40), &answer, NOW), Ok(None), "nothing was asked");
    for size in [4, 10, 25, 40] {
        assert_eq!(witness.weigh(&ledger.at(size), NOW), Weight::Shown);
    }
    assert_eq!((witness.newest().unwrap().size, witness.waiting()), (40, 0));
    assert_eq!(witness.ask(false), None);
    ask(&mut witness, &ledger, 40).unwrap();
}

#[test]
fn a_tree_that_came_after_the_question_is_asked_about_next() {
    let (ledger, mut witness) = (Ledger::new(60, 60), fresh());
    ask(&mut witness, &ledger, 10).unwrap();
    let asked = witness.ask(true).unwrap();
    witness.remember(&ledger.at(30));
    witness.take(&ledger.at(20), &ledger.answer(20, &asked), NOW).unwrap();
    assert_eq!(witness.waiting(), 1);
    assert_eq!(witness.ask(false), Some(vec![20, 30]));
}

#[test]
fn each_contradiction_is_a_dispute_that_names_both_and_nothing_new_is_believed() {
    let (ledger, forked) = (Ledger::new(60, 60), Ledger::new(60, 5));
    let case = |quarrel, answer: &Ledger, size, waiting: Option<&Attested>| {
        let mut witness = fresh();
        ask(&mut witness, &ledger, 30).unwrap();
        if let Some(waiting) = waiting {
            witness.remember(waiting);
        }
        let dispute = ask(&mut witness, answer, size).unwrap_err();
        assert_eq!(dispute.quarrel, quarrel);
        assert_eq!(witness.dispute(), Some(&*dispute));
        // Known trees stay good, new ones of either ledger do not.
        assert_eq!(witness.weigh(&ledger.at(30), NOW), Weight::Shown);
        assert_eq!(witness.weigh(&ledger.at(45), NOW), Weight::Disputed);
        assert_eq!(witness.weigh(&forked.at(45), NOW), Weight::Disputed);
        assert_eq!(witness.ask(true), None);
        // A restart forgets nothing of it.
        let again = Witness::resume(witness.kept().clone(), Vec::new());
        assert_eq!(again.weigh(&ledger.at(45), NOW), Weight::Disputed);
        assert_eq!(again.newest(), witness.newest());
        let newest = witness.newest().unwrap().size;
        assert_eq!(again.weigh(&ledger.at(newest), NOW), Weight::Shown);
        sizes(&dispute)
    };
    assert_eq!(case(Quarrel::Rollback, &ledger, 20, None), (30, 20));
    assert_eq!(case(Quarrel::Fork, &forked, 30, None), (30, 30));
    assert_eq!(case(Quarrel::Discontinuity, &forked, 50, None), (30, 50));
    // A certificate from a fork that the authority does not show to hosts.
    assert_eq!(case(Quarrel::Stray, &ledger, 50, Some(&forked.at(40))), (40, 50));
    assert_eq!(case(Quarrel::Stray, &ledger, 50, Some(&forked.at(8))), (8, 50));
    assert_eq!(case(Quarrel::Stray, &ledger, 40, Some(&ledger.at(41))), (41, 40));
    assert_eq!(case(Quarrel::Stray, &ledger, 50, Some(&forked.at(50))), (50, 50));
}

#[test]
fn a_certificate_on_another_tree_of_a_known_size_is_a_fork_at_once() {
    let (ledger, forked, mut witness) = (Ledger::new(60, 60), Ledger::new(60, 5), fresh());
    ask(&mut witness, &ledger, 30).unwrap();
    witness.remember(&ledger.at(40));
    for size in [30, 40] {
        let Weight::Fork(dispute) = witness.weigh(&forked.at(size), NOW) else {
            panic!("{size} is not seen as a fork")
        };
        assert_eq!((dispute.quarrel, sizes(&dispute)), (Quarrel::Fork, (size, size)));
    }
    // Before the entry where they part they are one.
    assert_eq!(witness.weigh(&forked.at(5), NOW), Weight::New);
}

#[test]
fn an_answer_without_the_path_is_a_dispute_and_nothing_is_believed() {
    let (ledger, mut witness) = (Ledger::new(60, 60), fresh());
    ask(&mut witness, &ledger, 30).unwrap();
    witness.ask(true).unwrap();
    let silent = ledger.answer(50, &[]);
    let dispute = witness.take(&ledger.at(50), &silent, NOW).unwrap_err();
    assert_eq!(dispute.quarrel, Quarrel::Discontinuity);
    assert_eq!(witness.newest().unwrap().size, 30);
}

#[test]
fn root_settles_a_dispute_either_way() {
    let (ledger, forked) = (Ledger::new(60, 60), Ledger::new(60, 5));
    for accept in [true, false] {
        let mut witness = fresh();
        assert_eq!(witness.settle(accept), None);
        ask(&mut witness, &ledger, 30).unwrap();
        let opened = ask(&mut witness, &forked, 50).unwrap_err();
        assert_eq!(witness.settle(accept), Some(*opened));
        let (good, size) = if accept { (&forked, 50) } else { (&ledger, 30) };
        assert_eq!(witness.newest(), Some(good.at(size).head()));
        ask(&mut witness, good, 55).unwrap();
        assert_eq!(witness.weigh(&good.at(55), NOW), Weight::Shown);
    }
}

#[test]
fn what_waits_and_what_was_shown_are_bounded() {
    let (ledger, mut witness) = (Ledger::new(2_000, 2_000), fresh());
    ask(&mut witness, &ledger, 1).unwrap();
    for size in 2..=1_025 {
        assert_eq!(witness.weigh(&ledger.at(size), NOW), Weight::New);
        witness.remember(&ledger.at(size));
    }
    assert_eq!(witness.weigh(&ledger.at(1_026), NOW), Weight::Full);
    while let Some(asked) = witness.ask(false) {
        assert!(asked.len() <= MAX_SIZES);
        witness.take(&ledger.at(1_500), &ledger.answer(1_500, &asked), NOW).unwrap();
    }
    assert_eq!(witness.waiting(), 0);
    assert!(witness.shown.len() <= MAX_SHOWN);
    assert_eq!(witness.newest().unwrap().size, 1_500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked and answered, in whatever order: an honest ledger is never disputed, and a fork that the host
    /// has seen both sides of always is.
    #[test]
    fn an_honest_ledger_is_never_disputed_and_a_fork_is_never_missed(
        steps in prop::collection::vec((0_u8..3, 1_u64..8), 1..20),
        parted in 1_u64..30,
    ) {
        let (ledger, forked) = (Ledger::new(200, 200), Ledger::new(200, parted));
        let (mut witness, mut size) = (fresh(), 1_u64);
        for (what, by) in steps {
            match what {
                0 => { size = size.saturating_add(by); ask(&mut witness, &ledger, size).unwrap(); }
                1 => {
                    size = size.saturating_add(by);
                    let weight = witness.weigh(&ledger.at(size), NOW);
                    prop_assert!(matches!(weight, Weight::New | Weight::Shown | Weight::Waiting));
                    if weight == Weight::New { witness.remember(&ledger.at(size)); }
                }
                _ => {
                    let old = size.saturating_sub(by).max(1);
                    if witness.weigh(&ledger.at(old), NOW) == Weight::New {
                        witness.remember(&ledger.at(old));
                    }
                }
            }
        }
        while let Some(asked) = witness.ask(false) {
            witness.take(&ledger.at(size), &ledger.answer(size, &asked), NOW).unwrap();
        }
        ask(&mut witness, &ledger, size.max(parted.saturating_add(1))).unwrap();
        let later = size.max(parted.saturating_add(1)).saturating_add(9);
        match witness.weigh(&forked.at(later), NOW) {
            Weight::New => {
                witness.remember(&forked.at(later));
                prop_assert!(ask(&mut witness, &ledger, later.saturating_add(3)).is_err());
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
