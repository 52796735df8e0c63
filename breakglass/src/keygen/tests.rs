use super::*;
use rand_core::OsRng;

use crate::share::{Cost, Locked, ShareFlaw};

pub(crate) const END: Timestamp = Timestamp::from_secs(1_900_000_000);

pub(crate) fn names(count: usize) -> Vec<Custodian> {
    ["ann", "bob", "cem", "dan", "eve"]
        .iter()
        .take(count)
        .map(|name| name.parse().unwrap())
        .collect()
}

fn begin(plan: &Plan, old: Vec<Option<Share>>) -> (Vec<Dealing>, Vec<String>) {
    let members = plan.members.values();
    let begun = members.zip(old).map(|(name, old)| {
        let (dealing, letter) = Dealing::begin(plan.clone(), name, old, &mut OsRng).unwrap();
        (dealing, letter.to_string())
    });
    begun.unzip()
}

/// Every custodian at one table.
pub(crate) fn ceremony(plan: &Plan, old: Vec<Option<Share>>) -> Vec<Share> {
    let (mut dealings, letters) = begin(plan, old);
    for dealing in &mut dealings {
        for letter in &letters {
            dealing.take(letter).unwrap();
        }
    }
    let (mut dealt, letters): (Vec<_>, Vec<_>) = dealings
        .into_iter()
        .map(|dealing| dealing.deal().map(|(dealt, letter)| (dealt, letter.to_string())).unwrap())
        .unzip();
    assert!(dealt.iter().all(|one| one.code() == dealt[0].code()));
    for one in &mut dealt {
        for letter in &letters {
            one.take(letter).unwrap();
        }
    }
    let mut kept: Vec<Kept> = dealt.into_iter().map(|dealt| dealt.finish().unwrap()).collect();
    let letters: Vec<String> = kept.iter().map(|kept| kept.letter().to_string()).collect();
    for one in &mut kept {
        for letter in &letters {
            one.take(letter).unwrap();
        }
        assert!(one.missing().is_empty());
    }
    kept.into_iter().map(|kept| kept.share).collect()
}

pub(crate) fn group_of(count: usize, threshold: u8) -> Vec<Share> {
    let plan = Plan::new(&names(count), threshold, END).unwrap();
    ceremony(&plan, (0..count).map(|_| None).collect())
}

#[test]
fn all_get_one_group_and_shares_of_their_own() {
    let shares = group_of(3, 2);
    for share in &shares {
        assert_eq!(share.group, shares[0].group);
        let text = share.group.letter().to_string();
        assert_eq!(Group::read(&text).unwrap(), share.group);
    }
    assert_eq!(shares[0].group.members.len(), 3);
    assert_ne!(shares[0].group.shares.get(&1), shares[0].group.shares.get(&2));
}

#[test]
fn a_share_opens_with_its_passphrase_alone_and_not_for_another_group() {
    let shares = group_of(2, 2);
    let locked = shares[0].lock("correct horse battery", Cost::least(), &mut OsRng).unwrap();
    let text = locked.letter().to_string();
    let read = Locked::read(&text).unwrap();
    assert_eq!(read, locked);
    let open = read.open("correct horse battery").unwrap();
    assert_eq!(open.package.signing_share(), shares[0].package.signing_share());
    assert!(matches!(read.open("correct horse batterY"), Err(ShareFlaw::Locked)));
    let mut weaker = read.clone();
    let bytes = weaker.letter();
    assert!(!format!("{:?}{:?}", weaker, bytes).contains("SigningShare"));
    // A smaller threshold, another name, another end: the share does not open for them.
    weaker = {
        let mut body = read.letter().body;
        let end = body.windows(8).position(|one| one == END.secs().to_be_bytes()).unwrap();
        body[end + 7] ^= 1;
        Locked::read(&Letter::new(Kind::Share, body).to_string()).unwrap()
    };
    assert!(matches!(weaker.open("correct horse battery"), Err(ShareFlaw::Locked)));
    assert!(matches!(
        shares[0].lock("short", Cost::least(), &mut OsRng),
        Err(ShareFlaw::Passphrase)
    ));
}

#[test]
fn new_shares_leave_the_key_and_who_leaves_is_out() {
    let before = group_of(3, 2);
    let (ann, cem) = (before[0].name.clone(), before[2].name.clone());
    let group = before[0].group.clone();
    let plan = Plan::renewal(&group, &[ann, cem], END).unwrap();
    let old: Vec<Option<Share>> =
        before.into_iter().filter(|share| share.name.as_str() != "bob").map(Some).collect();
    let after = ceremony(&plan, old);
    assert_eq!(after[0].group.key, group.key);
    assert_eq!(after[0].group.generation, 1);
    assert_eq!(after[0].group.members.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_ne!(after[0].group.shares.get(&1), group.shares.get(&1));
    let strangers = Plan::renewal(&group, &["eve".parse().unwrap()], END);
    assert!(matches!(strangers, Err(KeygenFlaw::Stranger(_))));
    assert!(Plan::renewal(&group, &names(1), END).is_err());
}

#[test]
fn who_proves_nothing_is_named() {
    let plan = Plan::new(&names(3), 2, END).unwrap();
    let (mut dealings, letters) = begin(&plan, vec![None, None, None]);
    let mut body = Letter::read(&letters[1]).unwrap().body;
    body[32 + 1 + 32 + 40] ^= 1;
    let bad = Letter::new(Kind::Dealing, body).to_string();
    let mut ann = dealings.remove(0);
    ann.take(&letters[2]).unwrap();
    let blamed = match ann.take(&bad) {
        Err(error) => error,
        Ok(_) => ann.deal().map(|_| ()).unwrap_err(),
    };
    assert!(matches!(&blamed, KeygenFlaw::Blame(name, _) if name.as_str() == "bob"), "{blamed}");
}

#[test]
fn who_deals_falsely_is_named() {
    for renews in [false, true] {
        let (plan, old, other) = if renews {
            let before = group_of(3, 2);
            let plan = Plan::renewal(&before[0].group, &names(3), END).unwrap();
            let text: Vec<Locked> = before
                .iter()
                .map(|share| share.lock("a passphrase!", Cost::least(), &mut OsRng).unwrap())
                .collect();
            let again =
                text.iter().map(|locked| Some(locked.open("a passphrase!").unwrap())).collect();
            (plan, before.into_iter().map(Some).collect(), again)
        } else {
            let plan = Plan::new(&names(3), 2, END).unwrap();
            (plan, vec![None, None, None], vec![None, None, None])
        };
        let (mut dealings, letters) = begin(&plan, old);
        let (mut others, _) = begin(&plan, other);
        // Bob deals by another polynomial than the one he committed to.
        dealings[1].secret = others.remove(1).secret;
        for dealing in &mut dealings {
            for letter in &letters {
                dealing.take(letter).unwrap();
            }
        }
        let mut letters = Vec::new();
        let mut dealt: Vec<Dealt> = dealings
            .into_iter()
            .map(|dealing| {
                let (dealt, letter) = dealing.deal().unwrap();
                letters.push(letter.to_string());
                dealt
            })
            .collect();
        let mut ann = dealt.remove(0);
        for letter in &letters {
            ann.take(letter).unwrap();
        }
        let blamed = ann.finish().map(|_| ()).unwrap_err();
        assert!(
            matches!(&blamed, KeygenFlaw::Blame(name, _) if name.as_str() == "bob"),
            "{renews} {blamed}"
        );
    }
}

#[test]
fn who_is_lied_to_does_not_go_on() {
    let plan = Plan::new(&names(3), 2, END).unwrap();
    let (mut dealings, letters) = begin(&plan, vec![None, None, None]);
    let (_, others) = begin(&plan, vec![None, None, None]);
    let (mut ann, mut bob) = (dealings.remove(0), dealings.remove(0));
    // Somebody in the middle gives bob another letter of cem.
    ann.take(&letters[1]).unwrap();
    ann.take(&letters[2]).unwrap();
    bob.take(&letters[0]).unwrap();
    bob.take(&others[2]).unwrap();
    assert!(
        matches!(bob.take(&letters[2]), Err(KeygenFlaw::Contradicts(name)) if name.as_str() == "cem")
    );
    let ((mut ann, _), (bob, parts)) = (ann.deal().unwrap(), bob.deal().unwrap());
    assert_ne!(ann.code(), bob.code());
    let lied = ann.take(&parts.to_string());
    assert!(matches!(lied, Err(KeygenFlaw::Transcript(name)) if name.as_str() == "bob"));
}

#[test]
fn a_bad_letter_changes_nothing_and_the_right_one_still_fits() {
    let plan = Plan::new(&names(2), 2, END).unwrap();
    let (mut dealings, letters) = begin(&plan, vec![None, None]);
    let other = Plan::new(&names(3), 2, END).unwrap();
    let (_, foreign) = begin(&other, vec![None, None, None]);
    let ann = &mut dealings[0];
    assert!(ann.take("nothing").is_err());
    assert!(matches!(ann.take(&foreign[1]), Err(KeygenFlaw::Plan(_))));
    assert_eq!(ann.missing().len(), 1);
    assert_eq!(ann.take(&letters[0]).unwrap(), Taken::Known);
    assert_eq!(ann.take(&letters[1]).unwrap(), Taken::New);
    assert_eq!(ann.take(&letters[1]).unwrap(), Taken::Known);
    let early = dealings.remove(1).deal().map(|_| ()).unwrap_err();
    assert!(matches!(early, KeygenFlaw::Missing(names) if names == "ann"));
}

#[test]
fn a_group_is_two_to_ten_of_whom_two_to_five_sign() {
    assert!(Plan::new(&names(1), 2, END).is_err());
    for (count, threshold) in [(2, 1), (2, 3), (5, 6), (3, 0)] {
        assert!(Plan::new(&names(count), threshold, END).is_err(), "{count} {threshold}");
    }
    let twice: Vec<Custodian> = vec!["ann".parse().unwrap(), "ann".parse().unwrap()];
    assert!(Plan::new(&twice, 2, END).is_err());
}
