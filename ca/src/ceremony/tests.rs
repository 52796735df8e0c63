use super::*;
use breakglass::letter::{Kind, Letter};
use custodians::{Pair, used};

#[path = "../../tests/program/custodians.rs"]
mod custodians;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn view(pair: &Pair) -> GroupView {
    let said = Charter::read(&pair.group()).unwrap().said;
    let people = said.members.iter().map(|one| (one.clone(), who(&format!("{one}@example.com"))));
    let people = people.collect();
    GroupView { said, added: NOW, retired: None, people }
}

fn who(name: &str) -> Identity {
    name.parse().unwrap()
}

fn seen(used: Use) -> UseView {
    UseView {
        incident: 9,
        is_open: true,
        host: "db1".parse().unwrap(),
        first: NOW,
        count: 1,
        used,
        fault: None,
    }
}

fn later(secs: u64) -> Timestamp {
    NOW.after(Duration::from_secs(secs))
}

#[test]
fn a_receipt_counts_when_every_part_is_true_and_its_group_is_ours() {
    let (ours, others) = (Pair::new(), Pair::new());
    let groups = [view(&ours)];
    let receipts = ours.sign(NOW);
    for (text, name) in receipts.iter().zip(["ann", "bob"]) {
        let proven = Proven::read(text, &groups).unwrap();
        assert_eq!((proven.said.kept_by.as_str(), &proven.letter), (name, text));
        assert_eq!(proven.said.authority, groups[0].said.key);
    }
    let foreign = Proven::read(&others.sign(NOW)[0], &groups).unwrap_err();
    assert!(matches!(foreign, NoReceipt::Foreign(_)), "{foreign}");
    assert!(matches!(Proven::read(&receipts[0], &[]), Err(NoReceipt::Foreign(_))));
    assert!(matches!(Proven::read("CURFEW-1 RECEIPT", &groups), Err(NoReceipt::False(_))));
    assert!(matches!(Proven::read(&ours.group(), &groups), Err(NoReceipt::False(_))));
}

#[test]
fn no_byte_of_a_receipt_can_be_another() {
    let ours = Pair::new();
    let groups = [view(&ours)];
    let body = Letter::read(&ours.sign(NOW)[0]).unwrap().body;
    let truth = Proven::read(&Letter::new(Kind::Receipt, body.clone()).to_string(), &groups);
    let truth = truth.unwrap().said;
    // Every tenth byte, so that the test stays short: what is signed is bound as a whole.
    for place in (0..body.len()).step_by(10) {
        let mut forged = body.clone();
        forged[place] ^= 1;
        let forged = Letter::new(Kind::Receipt, forged).to_string();
        // Whose copy it is may be another's: that is no part of what was signed, and both of them did.
        if let Ok(read) = Proven::read(&forged, &groups) {
            assert_eq!(ReceiptSaid { kept_by: truth.kept_by.clone(), ..read.said }, truth);
        }
    }
}

#[test]
fn receipts_and_uses_join_by_serial_and_whatever_is_left_over_is_told() {
    let ours = Pair::new();
    let groups = [view(&ours)];
    let texts = [ours.sign(NOW), ours.sign(NOW), ours.sign(NOW)];
    let said = |texts: &[String]| -> Vec<(ReceiptSaid, Timestamp)> {
        let read = texts.iter().map(|text| Proven::read(text, &groups).unwrap().said);
        read.map(|said| (said, later(60))).collect()
    };
    let [first, second, third] = texts.each_ref().map(|texts| said(texts));
    let receipts = [first.clone(), second.clone()].concat();
    let uses = vec![seen(used(&texts[0][0])), seen(used(&texts[2][0]))];
    let all = join(Known { receipts, uses, ..Known::default() });
    let standing = |receipt: &ReceiptSaid| {
        all.iter().find(|one| one.name.serial == receipt.name.serial).unwrap()
    };
    let joined = standing(&first[0].0);
    assert_eq!((joined.standing, joined.receipts.len()), (Standing::Joined, 2));
    assert_eq!((joined.known, joined.due), (NOW, later(REVIEW_SECS)));
    assert_eq!(standing(&second[0].0).standing, Standing::Unused);
    assert_eq!(standing(&third[0].0).standing, Standing::Unreceipted);
    assert_eq!(of_ceremonies(&all, later(10)).len(), 1);
    assert_eq!(of_ceremonies(&all, later(REVIEW_SECS + 60)).len(), 4);
}

#[test]
fn a_use_that_is_not_what_its_receipt_says_is_found() {
    let ours = Pair::new();
    let text = ours.sign(NOW).remove(0);
    let said = Proven::read(&text, &[view(&ours)]).unwrap().said;
    let other = Fingerprint::of(b"other");
    let host = |name: &str| name.parse::<HostName>().unwrap();
    let truth = used(&text);
    assert_eq!(fault(&said, (&host("db1"), &truth)), None);
    // Where only sshd's log is left of it, the key is not known.
    assert_eq!(fault(&said, (&host("db1"), &Use { key: None, ..truth.clone() })), None);
    assert!(fault(&said, (&host("db2"), &truth)).is_some());
    let mut elsewhere = truth.clone();
    elsewhere.name.until = later(9_999);
    for wrong in [
        Use { authority: other.clone(), ..truth.clone() },
        Use { key: Some(other), ..truth.clone() },
        Use { login: "root".parse().unwrap(), ..truth },
        elsewhere,
    ] {
        let receipts = vec![(said.clone(), NOW)];
        let all = join(Known { receipts, uses: vec![seen(wrong)], ..Known::default() });
        assert_eq!(all[0].standing, Standing::Contradicted);
        assert!(all[0].uses[0].fault.is_some());
    }
}

#[test]
fn a_verdict_waits_for_the_end_and_ok_for_the_receipts() {
    let ours = Pair::new();
    let text = ours.sign(NOW).remove(0);
    let (groups, dan) = ([view(&ours)], who("dan@example.com"));
    let said = Proven::read(&text, &groups).unwrap().said;
    let uses = || vec![seen(used(&text))];
    let receipts = vec![(said.clone(), NOW)];
    let serial = said.name.serial;
    let joined = join(Known { receipts: receipts.clone(), uses: uses(), ..Known::default() });
    let early = refuses((&joined[0], &groups), (Verdict::Ok, &dan), later(60)).unwrap();
    assert!(early.contains("still valid"), "{early}");
    assert_eq!(refuses((&joined[0], &groups), (Verdict::Ok, &dan), later(1_800)), None);
    let alive = [(serial, 1)].into();
    let alive = join(Known { receipts, uses: uses(), alive, ..Known::default() });
    assert!(refuses((&alive[0], &groups), (Verdict::Incident, &dan), later(1_800)).is_some());
    let bare = join(Known { uses: uses(), ..Known::default() });
    let why = refuses((&bare[0], &groups), (Verdict::Ok, &dan), later(1_800)).unwrap();
    assert!(why.contains("unreceipted"), "{why}");
    assert_eq!(refuses((&bare[0], &groups), (Verdict::Incident, &dan), later(1_800)), None);
    // A verdict does not cover what was heard of later.
    let verdict =
        |at| Review { verdict: Verdict::Ok, by: "ops".into(), at, note: "fine".into(), gap: None };
    for (at, counts) in [(NOW, true), (Timestamp::from_secs(1), false)] {
        let reviews = [(serial, verdict(at))].into();
        let all = join(Known { uses: uses(), reviews, ..Known::default() });
        assert_eq!(all[0].review.is_some(), counts);
    }
}

#[test]
fn a_host_where_nobody_tried_for_long_is_told_and_only_what_was_loud_and_accounted_for_counts() {
    let ours = Pair::new();
    let groups = [view(&ours)];
    let text = ours.sign(NOW).remove(0);
    let said = Proven::read(&text, &groups).unwrap().said;
    let every = Duration::from_secs(1_000);
    let host = || vec![("db1".parse().unwrap(), NOW, None)];
    let at = |used: Use, first| {
        let receipts = vec![(said.clone(), NOW)];
        let uses = vec![UseView { first, ..seen(used) }];
        join(Known { receipts, uses, ..Known::default() })
    };
    let proof = |all: &[CeremonyView], now| proofs((&groups, all), host(), (every, now)).remove(0);
    assert!(!proof(&[], later(999)).is_overdue);
    assert!(proof(&[], later(1_000)).is_overdue);
    assert!(!proofs((&[], &[]), host(), (every, later(9_999)))[0].is_overdue);
    let good = proof(&at(used(&text), later(900)), later(1_800));
    assert_eq!((good.alive, good.dead, good.is_overdue), (Some(later(900)), None, false));
    let dead = Use { noticed: Noticed::Word, ..used(&text) };
    assert_eq!(proof(&at(dead, later(900)), later(1_800)).dead, Some(later(900)));
    let mut silent = used(&text);
    silent.alarms[0].fault = Some("nobody there".into());
    assert!(proof(&at(silent, later(900)), later(1_800)).is_overdue);
    let foreign = Use { login: "root".parse().unwrap(), ..used(&text) };
    assert!(proof(&at(foreign, later(900)), later(1_800)).is_overdue);
}

#[test]
fn who_signed_reviews_nothing_of_it_and_ok_needs_to_know_who_that_was() {
    let (ours, others) = (Pair::new(), Pair::new());
    let text = ours.sign(NOW).remove(0);
    let groups = [view(&others), view(&ours)];
    let said = Proven::read(&text, &groups).unwrap().said;
    let (receipts, uses) = (vec![(said, NOW)], vec![seen(used(&text))]);
    let one = join(Known { receipts, uses, ..Known::default() }).remove(0);
    let refused = |groups: &[GroupView], verdict, name: &str| {
        refuses((&one, groups), (verdict, &who(name)), later(1_800))
    };
    for verdict in [Verdict::Ok, Verdict::OutOfScope, Verdict::Incident] {
        for name in ["ann@example.com", "bob@example.com"] {
            let why = refused(&groups, verdict, name).unwrap();
            assert!(why.contains("signed it as"), "{why}");
        }
        assert_eq!(refused(&groups, verdict, "dan@example.com"), None);
    }
    // What other groups' custodians are called makes no difference, and a name of before counts as well.
    let (mut before, mut now) = (view(&ours), view(&ours));
    before.people.insert("ann".parse().unwrap(), who("dan@example.com"));
    now.said.generation = 1;
    assert!(refused(&[before.clone(), now], Verdict::Ok, "dan@example.com").is_some());
    before.people.clear();
    let why = refused(&[view(&others), before.clone()], Verdict::Ok, "eve@example.com").unwrap();
    assert!(why.contains("--custodian ann=IDENTITY"), "{why}");
    assert_eq!(refused(&[before], Verdict::Incident, "eve@example.com"), None);
}

#[test]
fn a_group_that_ends_soon_is_told_and_one_that_is_retired_is_not() {
    let mut group = view(&Pair::new());
    let state = |group: &GroupView, at| BreakGlass {
        groups: vec![group.clone()],
        ceremonies: Vec::new(),
        hosts: Vec::new(),
        passes: Vec::new(),
        at,
    };
    let end = group.said.expires;
    let before = Timestamp::from_secs(end.secs() - NOTICE_SECS);
    assert!(concerns(&state(&group, NOW)).is_empty());
    assert!(concerns(&state(&group, before))[0].contains("within a month"));
    assert!(concerns(&state(&group, end))[0].contains("has expired"));
    group.retired = Some(NOW);
    assert!(concerns(&state(&group, end)).is_empty());
}

#[test]
fn a_host_that_believes_a_retired_key_is_told_when_it_shows() {
    let ours = Pair::new();
    let text = ours.sign(NOW).remove(0);
    let mut group = view(&ours);
    let ceremonies = join(Known { uses: vec![seen(used(&text))], ..Known::default() });
    for (retired, is_told) in [(later(1), false), (Timestamp::from_secs(1), true)] {
        group.retired = Some(retired);
        let groups = vec![group.clone()];
        let (ceremonies, hosts) = (ceremonies.clone(), Vec::new());
        let state = BreakGlass { groups, ceremonies, hosts, passes: Vec::new(), at: NOW };
        let told = concerns(&state).iter().any(|one| one.contains("host db1 let somebody in by"));
        assert_eq!(told, is_told);
    }
}
