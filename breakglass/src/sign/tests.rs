use super::*;
use proptest::prelude::*;
use rand_core::OsRng;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use std::sync::OnceLock;
use wire::breakglass::{is_of_breakglass, verify};
use wire::time::Timestamp;

use crate::keygen::tests::group_of;
use crate::terms::Terms;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn terms(names: &[&str]) -> Terms {
    Terms {
        drill: false,
        incident: "INC-42".parse().unwrap(),
        reason: "the authority and its network are gone".into(),
        hosts: vec!["db1".parse().unwrap(), "db2".parse().unwrap()],
        login: "breakglass".parse().unwrap(),
        from: NOW,
        secs: 1_800,
        custodians: names.iter().map(|name| name.parse().unwrap()).collect(),
        networks: Some(wire::network::Networks::from_option("10.0.0.0/8").unwrap()),
        subject: PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
            .public_key()
            .key_data()
            .clone(),
    }
}

/// 3 of 5, made once.
fn five() -> &'static [Share] {
    static SHARES: OnceLock<Vec<Share>> = OnceLock::new();
    SHARES.get_or_init(|| group_of(5, 3))
}

fn named<'a>(shares: &'a [Share], names: &[&str]) -> Vec<&'a Share> {
    shares.iter().filter(|share| names.contains(&share.name.as_str())).collect()
}

fn commit_all<'a>(shares: &[&'a Share], request: &'a Request) -> Vec<Committed<'a>> {
    let (mut all, letters): (Vec<_>, Vec<_>) = shares
        .iter()
        .map(|share| Committed::commit(share, request, &mut OsRng).unwrap())
        .map(|(committed, letter)| (committed, letter.to_string()))
        .unzip();
    for one in &mut all {
        for letter in &letters {
            one.take(letter).unwrap();
        }
    }
    all
}

fn respond_all(all: Vec<Committed<'_>>) -> (Vec<Responded>, Vec<String>) {
    all.into_iter()
        .map(|one| one.respond().map(|(one, letter)| (one, letter.to_string())).unwrap())
        .unzip()
}

fn signed(shares: &[&Share], request: &Request) -> Result<Signed, SignFlaw> {
    let (mut all, letters) = respond_all(commit_all(shares, request));
    let mut one = all.remove(0);
    for letter in &letters {
        one.take(letter)?;
    }
    one.finish()
}

fn request(shares: &[Share], names: &[&str]) -> Request {
    Request::new(&shares[0].group, terms(names), &mut OsRng).unwrap()
}

#[test]
fn any_three_of_five_sign_and_hosts_believe_it() {
    let shares = five();
    let all = ["ann", "bob", "cem", "dan", "eve"];
    let mut serials = std::collections::BTreeSet::new();
    for (first, second, third) in [(0, 1, 2), (0, 2, 4), (1, 3, 4), (2, 3, 4), (0, 1, 4)] {
        let names = [all[first], all[second], all[third]];
        let request = request(shares, &names);
        let signed = signed(&named(shares, &names), &request).unwrap();
        let keys = [shares[0].group.public_key()];
        let (login, host) = ("breakglass".parse().unwrap(), "db2".parse().unwrap());
        let opening = verify(&signed.certificate, &keys, &login, &host, NOW).unwrap();
        let custodians: Vec<&str> = opening.name.custodians.iter().map(Custodian::as_str).collect();
        assert_eq!(custodians, names);
        assert!(is_of_breakglass(signed.certificate.serial()));
        assert!(serials.insert(signed.certificate.serial()));
        let after = NOW.after(std::time::Duration::from_secs(1_800));
        assert!(verify(&signed.certificate, &keys, &login, &host, after).is_err());
    }
    let names = ["ann", "bob", "cem", "dan", "eve"];
    signed(&named(shares, &names), &request(shares, &names)).unwrap();
}

#[test]
fn two_of_three_do_not_sign() {
    let shares = five();
    let few = Request::new(&shares[0].group, terms(&["ann", "bob"]), &mut OsRng);
    assert!(matches!(few, Err(RequestFlaw::Few { found: 2, needed: 3 })));
    // Not by a request that was written by hand either.
    let mut forged = request(shares, &["ann", "bob", "cem"]);
    forged.terms.custodians.pop();
    let refused = Committed::commit(&shares[0], &forged, &mut OsRng).map(|_| ()).unwrap_err();
    assert!(matches!(refused, SignFlaw::Request(RequestFlaw::Few { .. })));
    // And the mathematics do not either: two parts of a signature of three make none.
    let request = request(shares, &["ann", "bob", "cem"]);
    let (mut all, letters) =
        respond_all(commit_all(&named(shares, &["ann", "bob", "cem"]), &request));
    let mut ann = all.remove(0);
    ann.take(&letters[1]).unwrap();
    let Responded { round, shares, .. } = ann;
    assert!(matches!(round.finish(&shares), Err(SignFlaw::Failed(_))));
}

#[test]
fn whose_part_is_false_is_named_and_nothing_is_made() {
    let shares = five();
    let names = ["ann", "bob", "cem"];
    let request = request(shares, &names);
    let (mut all, letters) = respond_all(commit_all(&named(shares, &names), &request));
    let mut ann = all.remove(0);
    ann.take(&letters[2]).unwrap();
    let mut body = Letter::read(&letters[1]).unwrap().body;
    body[33] ^= 1;
    ann.take(&Letter::new(Kind::Signature, body).to_string()).unwrap();
    let blamed = ann.finish().unwrap_err();
    assert!(matches!(&blamed, SignFlaw::Blame(name) if name == "bob"), "{blamed}");
}

#[test]
fn a_share_of_another_group_is_of_no_use() {
    let (shares, others) = (five(), group_of(5, 3));
    let request = request(shares, &["ann", "bob", "cem"]);
    let refused = Committed::commit(&others[0], &request, &mut OsRng).map(|_| ()).unwrap_err();
    assert!(matches!(refused, SignFlaw::Request(RequestFlaw::Group)));
    let stranger = Committed::commit(&shares[4], &request, &mut OsRng).map(|_| ()).unwrap_err();
    assert!(matches!(stranger, SignFlaw::Uninvolved(name) if name.as_str() == "eve"));
}

#[test]
fn shares_from_before_new_ones_were_made_do_not_mix_with_them() {
    use crate::keygen::{
        Plan,
        tests::{END, ceremony, names},
    };
    use crate::share::Cost;
    let before = group_of(3, 2);
    let group = before[0].group.clone();
    let locked = before[0].lock("a passphrase!", Cost::least(), &mut OsRng).unwrap();
    let plan = Plan::renewal(&group, &names(3), END).unwrap();
    let after = ceremony(&plan, before.into_iter().map(Some).collect());
    let request = Request::new(&after[0].group, terms(&["ann", "bob"]), &mut OsRng).unwrap();
    let old = locked.open("a passphrase!").unwrap();
    let refused = Committed::commit(&old, &request, &mut OsRng).map(|_| ()).unwrap_err();
    assert!(matches!(refused, SignFlaw::Request(RequestFlaw::Group)));
    let signed = signed(&[&after[0], &after[1]], &request).unwrap();
    assert_eq!(*signed.certificate.authority(), group.key_data());
}

#[test]
fn a_changed_request_is_refused_by_the_others() {
    let shares = five();
    let names = ["ann", "bob", "cem"];
    let (one, mut other) = (request(shares, &names), terms(&names));
    other.hosts = vec!["db9".parse().unwrap()];
    let other = Request { terms: other, ..one.clone() };
    assert_ne!(one.code(), other.code());
    let (mut ann, _) = Committed::commit(&shares[0], &one, &mut OsRng).unwrap();
    let (_, letter) = Committed::commit(&shares[1], &other, &mut OsRng).unwrap();
    let refused = ann.take(&letter.to_string()).unwrap_err();
    assert!(matches!(&refused, SignFlaw::Other(name) if name.as_str() == "bob"), "{refused}");
    // A letter whose binding was rewritten makes a signature of nothing.
    let mut body = letter.body;
    body.splice(..32, one.digest());
    ann.take(&Letter::new(Kind::Commitment, body).to_string()).unwrap();
    assert_eq!(ann.missing().len(), 1);
}

#[test]
fn who_began_anew_is_noticed_and_no_nonce_serves_twice() {
    let shares = five();
    let names = ["ann", "bob", "cem"];
    let request = request(shares, &names);
    let mut all = commit_all(&named(shares, &names), &request);
    let (_, again) = Committed::commit(&shares[1], &request, &mut OsRng).unwrap();
    let refused = all[0].take(&again.to_string()).unwrap_err();
    assert!(matches!(&refused, SignFlaw::Contradicts(name) if name.as_str() == "bob"));
    // Committed is neither Clone nor made from anything that is kept: `respond` takes it. That is the proof; here, that
    // two ceremonies over one request share nothing.
    let (first, second) = (
        respond_all(commit_all(&named(shares, &names), &request)).1,
        respond_all(commit_all(&named(shares, &names), &request)).1,
    );
    assert_ne!(first[0], second[0]);
}

#[test]
fn a_receipt_says_who_signed_and_gives_the_certificate_again() {
    let shares = five();
    let names = ["bob", "dan", "eve"];
    let signed = signed(&named(shares, &names), &request(shares, &names)).unwrap();
    let text = signed.receipt.letter().unwrap().to_string();
    let receipt = Receipt::read(&text).unwrap();
    assert_eq!(receipt.certificate().unwrap(), signed.certificate);
    assert_eq!(receipt.kept_by().unwrap().as_str(), "bob");
    let body = Letter::read(&text).unwrap().body;
    for place in (0..body.len()).step_by(11) {
        let mut other = body.clone();
        other[place] ^= 0x10;
        if let Ok(read) = Receipt::read(&Letter::new(Kind::Receipt, other).to_string()) {
            // Who kept the copy is all that is not signed.
            assert_eq!(read.certificate().unwrap(), signed.certificate, "{place}");
            assert_ne!(read.kept_by(), receipt.kept_by());
        }
    }
}

#[test]
fn a_request_is_for_a_time_that_can_be() {
    let shares = five();
    let group = &shares[0].group;
    let request = request(shares, &["ann", "bob", "cem"]);
    let at = |secs: i64| Timestamp::from_secs(NOW.secs().checked_add_signed(secs).unwrap());
    assert!(request.timely(group, at(0)).is_ok());
    assert!(request.timely(group, at(-3_600)).is_ok(), "a clock that is an hour behind");
    assert!(matches!(request.timely(group, at(3_600)), Err(RequestFlaw::Over(1_800))));
    assert!(matches!(request.timely(group, at(-90_000)), Err(RequestFlaw::Ahead(_))));
    let mut later = request.clone();
    later.terms.from = Timestamp::from_secs(1_900_000_000);
    assert!(matches!(later.timely(group, at(100_000_000)), Err(RequestFlaw::Expired)));
}

#[test]
fn terms_that_break_a_rule_are_no_request() {
    let shares = five();
    let names = ["ann", "bob", "cem"];
    type Change = fn(&mut Terms);
    let table: [Change; 8] = [
        |terms| terms.secs = 3_600,
        |terms| terms.secs = 59,
        |terms| terms.hosts.clear(),
        |terms| terms.hosts.push("db1".parse().unwrap()),
        |terms| terms.reason = "two\nlines".into(),
        |terms| terms.reason = String::new(),
        |terms| terms.custodians.push("ann".parse().unwrap()),
        |terms| terms.custodians.push("zoe".parse().unwrap()),
    ];
    for (index, change) in table.into_iter().enumerate() {
        let mut terms = terms(&names);
        change(&mut terms);
        assert!(Request::new(&shares[0].group, terms, &mut OsRng).is_err(), "{index}");
    }
}

#[test]
fn the_words_say_all_of_it() {
    let words = terms(&["ann", "bob"]).words(|moment| moment.secs().to_string());
    let text: Vec<String> = words.iter().map(|(what, value)| format!("{what}: {value}")).collect();
    let text = text.join("\n");
    for part in [
        "IN EARNEST",
        "INC-42",
        "db1, db2",
        "breakglass",
        "1800001800",
        "10.0.0.0/8",
        "ann, bob",
        "SHA256:",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_request_reads_back_and_no_bit_of_a_letter_passes_unseen(
        place in 0usize..400, bit in 0u8..8, secs in 60u32..3_500,
    ) {
        let shares = five();
        let mut terms = terms(&["ann", "cem", "eve"]);
        terms.secs = secs;
        let request = Request::new(&shares[0].group, terms, &mut OsRng).unwrap();
        let letter = request.letter();
        prop_assert_eq!(&Request::read(&letter.to_string()).unwrap(), &request);
        let mut body = letter.body;
        let place = place.min(body.len().saturating_sub(1));
        body[place] ^= 1 << bit;
        if let Ok(other) = Request::read(&Letter::new(Kind::Request, body).to_string()) {
            prop_assert_ne!(other.digest(), request.digest());
        }
    }

    #[test]
    fn no_content_makes_a_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        for kind in Kind::ALL {
            let text = Letter::new(kind, body.clone()).to_string();
            drop((Group::read(&text), Request::read(&text), Receipt::read(&text)));
            drop(crate::share::Locked::read(&text));
        }
    }
}
