use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use tlog_tiles::{Hash as Node, HashReader, stored_hashes_for_record_hash, tree_hash};

use super::*;
use crate::log::{Checkpoint, KeyName, LogKey};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn signer() -> (Ed25519KeyPair, LogKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    (pair, LogKey::new(KeyName::try_new("log.test").unwrap(), public))
}

fn sign(head: Head) -> String {
    let (pair, key) = signer();
    let text = Checkpoint { origin: "log.test".into(), head }.text();
    let signature = pair.sign(text.as_bytes()).as_ref().try_into().unwrap();
    Note::new(text, vec![key.line(signature)]).unwrap().to_string()
}

fn policy() -> Policy {
    Policy { logs: vec![signer().1], ..Policy::default() }
}

fn entry(seq: u64) -> Entry {
    let (salt, is_certificate) = ([seq.to_le_bytes()[0]; 16], seq.is_multiple_of(3));
    let text =
        if is_certificate { format!("{{\"serial\":{seq}}}") } else { format!("{{\"n\":{seq}}}") };
    let body = Hash::of(&[&salt, text.as_bytes()].concat());
    let leaf = if is_certificate {
        Leaf::certificate(seq, NOW, body, Hash::of(b"tbs"))
    } else {
        Leaf::new(seq, NOW, "denial", body)
    };
    Entry::new(String::from_utf8(leaf.to_bytes().unwrap()).unwrap(), Some((&salt, text)))
}

/// An export of the entries `from..=to` of a ledger of `size`.
fn export(from: u64, to: u64, size: u64) -> Vec<Line> {
    let (mut edge, mut nodes) = (Edge::default(), Nodes(Vec::new()));
    let mut before = edge.clone();
    for (index, seq) in (0..).zip(1..=size) {
        if seq == from {
            before = edge.clone();
        }
        let leaf = leaf_hash(entry(seq).leaf.as_bytes());
        edge.push(leaf);
        nodes.0.extend(stored_hashes_for_record_hash(index, Node(leaf.0), &nodes).unwrap());
    }
    assert_eq!(tree_hash(size, &nodes).unwrap().0, edge.head().root.0);
    let path = tlog_tiles::prove_tree(size, to, &nodes).unwrap();
    let consistency = path.into_iter().map(|node| Hash(node.0)).collect();
    let mut lines = vec![Line::After(After { seq: before.size(), edge: before.peaks().to_vec() })];
    lines.extend((from..=to).map(|seq| Line::Entry(entry(seq))));
    lines.push(Line::Checkpoint(End { note: sign(edge.head()), consistency }));
    lines
}

struct Nodes(Vec<Node>);

impl HashReader for Nodes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Node>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

fn check(lines: Vec<Line>) -> Result<Verified, Fault> {
    verify(lines, &policy(), |_| ())
}

#[test]
fn whole_ledgers_and_ranges_hold() {
    for (from, to, size) in
        [(1, 1, 1), (1, 7, 7), (1, 300, 300), (4, 9, 20), (8, 8, 9), (256, 300, 301)]
    {
        let verified = check(export(from, to, size)).unwrap();
        assert_eq!((verified.first, verified.last, verified.head.size), (from, to, size));
        assert_eq!(verified.erased, 0);
    }
}

#[test]
fn an_erased_body_is_counted_and_every_proof_holds() {
    let mut lines = export(1, 10, 20);
    let Line::Entry(entry) = &mut lines[5] else { panic!() };
    entry.body = None;
    assert_eq!(check(lines).unwrap().erased, 1);
}

#[test]
fn a_body_that_is_gone_without_a_word_is_found() {
    let (policy, salt) = (policy(), [1; 16]);
    for told in [true, false] {
        let mut verifier = Verifier::new(&policy);
        verifier.entry(&Entry { body: None, ..entry(1) });
        let text = format!("{{\"by\":\"x\",\"entries\":[{}],\"reason\":\"r\"}}", u8::from(told));
        let leaf = Leaf::new(2, NOW, "bodies_erased", Hash::of(&[&salt, text.as_bytes()].concat()));
        let leaf = String::from_utf8(leaf.to_bytes().unwrap()).unwrap();
        assert!(verifier.entry(&Entry::new(leaf, Some((&salt, text)))).is_empty());
        let end = End { note: sign(verifier.head()), consistency: Vec::new() };
        let verified = verifier.finish(&end);
        assert_eq!(verified.is_ok(), told, "{verified:?}");
    }
}

#[test]
fn every_change_is_found() {
    type Change = fn(&mut Vec<Line>);
    let changes: [(&str, Change); 13] = [
        ("a body changed", |lines| body(lines, 5).text.push(' ')),
        ("a salt changed", |lines| body(lines, 5).salt = "00".repeat(16)),
        ("two bodies swapped", |lines| {
            let (one, other) = (body(lines, 4).clone(), body(lines, 5).clone());
            *body(lines, 4) = other;
            *body(lines, 5) = one;
        }),
        ("a leaf changed with its body", |lines| {
            let other = entry(99);
            let leaf = other.leaf.replace("\"seq\":99", "\"seq\":5");
            lines[5] = Line::Entry(Entry { leaf, ..other });
        }),
        ("a body gone", |lines| {
            let Line::Entry(entry) = &mut lines[5] else { panic!() };
            entry.body = None;
        }),
        ("an entry deleted", |lines| drop(lines.remove(5))),
        ("the last entry deleted", |lines| drop(lines.remove(20))),
        ("an entry inserted", |lines| lines.insert(5, Line::Entry(entry(5)))),
        ("entries swapped", |lines| lines.swap(5, 6)),
        ("the end cut", |lines| drop(lines.pop())),
        ("another checkpoint", |lines| {
            let older = export(1, 19, 19).pop().unwrap();
            *lines.last_mut().unwrap() = older;
        }),
        ("a forged checkpoint", |lines| {
            let Some(Line::Checkpoint(end)) = lines.last_mut() else { panic!() };
            end.note = end.note.replacen("20\n", "21\n", 1);
        }),
        ("a forged edge", |lines| {
            lines[0] = Line::After(After { seq: 4, edge: vec![Hash::of(b"x")] });
            lines.drain(1..5);
        }),
    ];
    check(export(1, 20, 20)).unwrap();
    for (name, change) in changes {
        let mut lines = export(1, 20, 20);
        change(&mut lines);
        assert!(check(lines).is_err(), "{name}");
    }
}

#[test]
fn a_serial_that_comes_twice_is_found_even_where_the_tree_holds() {
    let policy = policy();
    let mut verifier = Verifier::new(&policy);
    for seq in 1..=6 {
        let mut entry = entry(seq);
        if seq == 6 {
            let body = Hash::of(&[[1; 16].as_slice(), b"{\"serial\":3}"].concat());
            let leaf = Leaf::certificate(6, NOW, body, Hash::of(b"tbs")).to_bytes().unwrap();
            let text = String::from_utf8(leaf).unwrap();
            entry = Entry::new(text, Some((&[1; 16], "{\"serial\":3}".into())));
        }
        let faults = verifier.entry(&entry);
        let expected = Fault::Serial { seq: 6, serial: 3, before: 3 };
        assert_eq!(faults, if seq == 6 { vec![expected] } else { vec![] });
    }
    verifier.checkpoint(&sign(verifier.head())).unwrap();
}

#[test]
fn lines_have_one_form_and_unknown_fields_are_refused() {
    for line in export(3, 5, 9) {
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        let more = text.replacen("\":{", "\":{\"more\":1,", 1);
        assert!(serde_json::from_str::<Line>(&more).is_err(), "{more}");
    }
}

fn body(lines: &mut [Line], at: usize) -> &mut Body {
    match &mut lines[at] {
        Line::Entry(entry) => entry.body.as_mut().unwrap(),
        other => panic!("{other:?}"),
    }
}
