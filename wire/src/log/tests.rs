//! Each rule here against the crates that the authority uses, and against what a stranger can change.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::tlog;

use super::*;
use crate::time::Timestamp;

const LOG: &str = "ca.example.com/ledger";

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> [u8; 32] {
    pair(seed).public_key().as_ref().try_into().unwrap()
}

fn sign(seed: u8, message: &str) -> [u8; 64] {
    pair(seed).sign(message.as_bytes()).as_ref().try_into().unwrap()
}

fn log_key(seed: u8) -> LogKey {
    LogKey::new(LOG.parse().unwrap(), public(seed))
}

fn witness(seed: u8) -> WitnessKey {
    WitnessKey::new(format!("w{seed}.example.com").parse().unwrap(), public(seed))
}

fn signed(origin: &str, head: Head, seed: u8) -> Note {
    let text = Checkpoint { origin: origin.into(), head }.text();
    let key = LogKey::new(origin.parse().unwrap(), public(seed));
    let line = key.line(sign(seed, &text));
    Note::new(text, vec![line]).unwrap()
}

fn cosign(note: &Note, seed: u8, at: u64) -> Signature {
    let message = WitnessKey::message(note.text(), at);
    witness(seed).line(at, sign(seed, &message))
}

fn policy(witnesses: &[u8], quorum: usize) -> Policy {
    let witnesses = witnesses.iter().map(|seed| witness(*seed)).collect();
    Policy { logs: vec![log_key(1)], witnesses, quorum }
}

/// A tree held in memory by the crate that the authority uses.
#[derive(Default)]
struct Tree {
    stored: Vec<tlog::Hash>,
    size: u64,
}

impl tlog::HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|index| self.stored[usize::try_from(*index).unwrap()]).collect())
    }
}

impl Tree {
    fn of(size: u64) -> Self {
        let mut tree = Self::default();
        (0..size).for_each(|entry| tree.push(&entry.to_be_bytes()));
        tree
    }

    fn push(&mut self, entry: &[u8]) {
        let hashes = tlog::stored_hashes(self.size, entry, self).unwrap();
        self.stored.extend(hashes);
        self.size = self.size.saturating_add(1);
    }

    fn head(&self, size: u64) -> Head {
        let root = if size == 0 { tlog::EMPTY_HASH } else { tlog::tree_hash(size, self).unwrap() };
        Head { size, root: Hash(root.0) }
    }

    fn inclusion(&self, size: u64, index: u64) -> Vec<Hash> {
        ours(tlog::prove_record(size, index, self).unwrap())
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        if old == 0 { Vec::new() } else { ours(tlog::prove_tree(new, old, self).unwrap()) }
    }

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }
}

fn ours(path: Vec<tlog::Hash>) -> Vec<Hash> {
    path.into_iter().map(|hash| Hash(hash.0)).collect()
}

fn theirs(path: &[Hash]) -> Vec<tlog::Hash> {
    path.iter().map(|hash| tlog::Hash(hash.0)).collect()
}

fn leaf(seq: u64, tbs: Hash) -> Leaf {
    Leaf::certificate(seq, Timestamp::from_millis(1_700_000_000_123), Hash::of(b"salt, body"), tbs)
}

/// Evidence for a certificate that hashes to `tbs`, in a ledger of 11 entries, at place 5.
fn evidence(tbs: Hash) -> Evidence {
    let mut tree = Tree::of(5);
    let leaf = leaf(6, tbs);
    tree.push(&leaf.to_bytes().unwrap());
    (0..5_u64).for_each(|entry| tree.push(&entry.to_be_bytes()));
    let checkpoint = signed(LOG, tree.head(11), 1);
    let proof = Proof { extra: None, index: 5, path: tree.inclusion(11, 5), checkpoint };
    Evidence::new(leaf, proof).unwrap()
}

#[test]
fn the_hashes_are_those_of_rfc_6962() {
    assert_eq!(leaf_hash(b"x").0, tlog::record_hash(b"x").0);
    let (left, right) = (Hash::of(b"l"), Hash::of(b"r"));
    assert_eq!(
        node_hash(left, right).0,
        tlog::node_hash(tlog::Hash(left.0), tlog::Hash(right.0)).0
    );
    assert_eq!(Head::empty().root.0, tlog::EMPTY_HASH.0);
    assert_eq!(Hash::of(b"").to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn every_entry_of_every_small_tree_is_proved_at_its_own_place_and_no_other() {
    let tree = Tree::of(140);
    for size in 1..=140 {
        let head = tree.head(size);
        for index in 0..size {
            let path = tree.inclusion(size, index);
            verify_inclusion(Tree::leaf(index), index, &path, head).unwrap();
            assert!(verify_inclusion(Tree::leaf(index), index ^ 1, &path, head).is_err());
            assert!(verify_inclusion(Tree::leaf(index + 1), index, &path, head).is_err());
            let other = Head { size: size + 1, ..head };
            // The crate accepts the same wrong sizes: some paths are the same in both trees. Never with another root.
            let theirs = tlog::check_record(
                &theirs(&path),
                other.size,
                tlog::Hash(other.root.0),
                index,
                tlog::Hash(Tree::leaf(index).0),
            );
            let accepted = verify_inclusion(Tree::leaf(index), index, &path, other).is_ok();
            assert_eq!(accepted, theirs.is_ok(), "{index} of {size}");
        }
        assert!(verify_inclusion(Tree::leaf(0), size, &[], head).is_err());
    }
}

#[test]
fn every_small_tree_continues_every_smaller_one_and_no_fork_of_it() {
    let tree = Tree::of(100);
    for new in 0..=100 {
        for old in 0..=new {
            let path = tree.consistency(old, new);
            let (before, after) = (tree.head(old), tree.head(new));
            verify_consistency(before, after, &path).unwrap();
            let fork = Head { root: Hash::of(b"fork"), ..before };
            assert!(verify_consistency(fork, after, &path).is_err(), "{old} {new}");
            let fork = Head { root: Hash::of(b"fork"), ..after };
            // Every tree continues the tree of nothing.
            let accepted = verify_consistency(before, fork, &path).is_ok();
            assert_eq!(accepted, old == 0 && new > 0, "{old} {new}");
            let longer: Vec<_> = path.iter().copied().chain([Hash::of(b"")]).collect();
            assert!(verify_consistency(before, after, &longer).is_err(), "{old} {new}");
            if old < new {
                assert!(verify_consistency(after, before, &path).is_err(), "{new} {old}");
            }
            if let Some((_, shorter)) = path.split_last() {
                assert!(verify_consistency(before, after, shorter).is_err(), "{old} {new}");
            }
        }
    }
}

#[test]
fn a_tree_of_nothing_continues_only_as_itself_is_known() {
    let forged = Head { size: 0, root: Hash::of(b"x") };
    let some = Tree::of(3).head(3);
    assert!(verify_consistency(forged, some, &[]).is_err());
    assert!(verify_consistency(forged, forged, &[]).is_err());
    assert!(verify_consistency(Head::empty(), some, &[]).is_ok());
    assert!(verify_consistency(Head::empty(), some, &[Hash::of(b"")]).is_err());
}

#[test]
fn sizes_and_paths_at_the_limit_do_not_overflow() {
    let head = Head { size: u64::MAX, root: Hash::of(b"") };
    let path = vec![Hash::of(b""); 64];
    assert!(verify_inclusion(Hash::of(b""), u64::MAX - 1, &path, head).is_err());
    let head = Head { size: MAX_NUMBER, ..head };
    assert!(verify_inclusion(Hash::of(b""), MAX_NUMBER - 1, &path[..63], head).is_err());
    let old = Head { size: MAX_NUMBER - 1, ..head };
    assert!(verify_consistency(old, head, &path[..63]).is_err());
    assert!(verify_consistency(old, head, &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn proofs_of_large_trees_hold_and_one_wrong_byte_breaks_them(
        (new, old, index) in (2_u64..6_000).prop_flat_map(|new| (Just(new), 1..new, 0..new)),
        place: prop::sample::Index,
        bit in 0..256_usize,
    ) {
        thread_local!(static TREE: Tree = Tree::of(6_000));
        TREE.with(|tree| {
            let head = tree.head(new);
            let mut path = tree.inclusion(new, index);
            verify_inclusion(Tree::leaf(index), index, &path, head).unwrap();
            let wrong = place.index(path.len());
            path[wrong].0[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_inclusion(Tree::leaf(index), index, &path, head).is_err());
            let mut path = tree.consistency(old, new);
            verify_consistency(tree.head(old), head, &path).unwrap();
            let wrong = place.index(path.len());
            path[wrong].0[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_consistency(tree.head(old), head, &path).is_err());
        });
    }

    #[test]
    fn the_verdict_over_any_path_is_the_crates(
        size in 1_u64..40, index in 0_u64..40, old in 1_u64..40,
        path in prop::collection::vec(0_u64..6, 0..8),
    ) {
        // Few different hashes, so that wrong paths come near right ones.
        let path: Vec<Hash> = path.into_iter().map(Tree::leaf).collect();
        let tree = Tree::of(40);
        let head = tree.head(size);
        let (th, leaf) = (tlog::Hash(head.root.0), Tree::leaf(index));
        let record =
            tlog::check_record(&theirs(&path), size, th, index, tlog::Hash(leaf.0)).is_ok();
        prop_assert_eq!(verify_inclusion(leaf, index, &path, head).is_ok(), record);
        let before = tree.head(old);
        let theirs = tlog::check_tree(&theirs(&path), size, th, old, tlog::Hash(before.root.0));
        prop_assert_eq!(verify_consistency(before, head, &path).is_ok(), theirs.is_ok());
    }

    #[test]
    fn what_is_read_is_written_as_the_same_bytes(text in "(— a [A-Za-z0-9+/]{12}\n|\n|c2sp.org/tlog-proof@v1\n|extra YQ==\n|index [0-9]{1,3}\n|[A-Za-z0-9+/]{42}A=\n|x\n){1,9}") {
        if let Ok(note) = text.parse::<Note>() {
            prop_assert_eq!(note.to_string(), text.clone());
        }
        if let Ok(proof) = text.parse::<Proof>() {
            prop_assert_eq!(proof.to_string(), text.clone());
        }
        if let Ok(checkpoint) = text.parse::<Checkpoint>() {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
    }

    #[test]
    fn one_altered_byte_of_the_evidence_is_refused(place: prop::sample::Index, bit in 0..7_u8) {
        let tbs = Hash::of(b"certificate");
        let mut text = evidence(tbs).to_string().into_bytes();
        let at = place.index(text.len());
        text[at] ^= 1 << bit;
        let verdict = String::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<Evidence>().ok())
            .map(|evidence| evidence.verify(tbs, &policy(&[], 0)));
        prop_assert!(!matches!(verdict, Some(Ok(_))), "at {at}");
    }
}

#[test]
fn notes_are_those_of_the_crate() {
    let head = Tree::of(7).head(7);
    let ours = signed(LOG, head, 1).to_string();
    let seed = STANDARD.encode([&[1][..], &[1; 32]].concat());
    let key = log_key(1).to_string();
    let id = key.split('+').nth(1).unwrap();
    let signer = StandardSigner::new(&format!("PRIVATE+KEY+{LOG}+{id}+{seed}")).unwrap();
    let text = tlog_tiles::Checkpoint::new(LOG, 7, tlog::Hash(head.root.0), "").unwrap().to_bytes();
    let mut theirs = signed_note::Note::new(&text, &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    assert_eq!(theirs.to_bytes(), ours.as_bytes());
    let verifier = StandardVerifier::new(&key).unwrap();
    let known = VerifierList::new(vec![Box::new(verifier)]);
    signed_note::Note::from_bytes(ours.as_bytes()).unwrap().verify(&known).unwrap();
    let note = String::from_utf8(theirs.to_bytes()).unwrap().parse().unwrap();
    let attested = policy(&[], 0).attest(note).unwrap();
    assert_eq!(attested.head(), head);
    assert_eq!(attested.checkpoint().origin, LOG);
}

#[test]
fn the_published_examples_read_and_verify() {
    // From c2sp.org/signed-note and golang.org/x/mod/sumdb/note.
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let key: LogKey = key.parse().unwrap();
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let note: Note = note.parse().unwrap();
    assert!(key.verify(note.text(), &note.signatures()[0]));
    // It is a note, and no checkpoint.
    let policy = Policy { logs: vec![key], ..Policy::default() };
    assert!(matches!(policy.attest(note), Err(Unproved::Form(_))));
    // From c2sp.org/tlog-cosignature: the line's bytes are a key id, a time, a signature.
    let line = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
    let line: Signature = line.parse().unwrap();
    assert_eq!(line.bytes[..8], 1_679_315_147_u64.to_be_bytes());
    assert_eq!(line.bytes.len(), 72);
}

#[test]
fn keys_read_back_and_wrong_ones_are_refused() {
    let (log, cosigner) = (log_key(1).to_string(), witness(2).to_string());
    assert_eq!(log.parse::<LogKey>().unwrap(), log_key(1));
    assert_eq!(cosigner.parse::<WitnessKey>().unwrap(), witness(2));
    assert!(log.parse::<WitnessKey>().is_err(), "a log's key is no witness's");
    assert!(cosigner.parse::<LogKey>().is_err());
    let wrong = [
        String::new(),
        "a+b".into(),
        log.replace(LOG, "ca.example.com/other"),
        log.replace(LOG, "ca example"),
        log.chars().take(log.len() - 1).collect(),
        format!("{log} "),
        format!("{}{log}", "a".repeat(400)),
        log.to_uppercase(),
    ];
    for text in wrong {
        assert!(text.parse::<LogKey>().is_err(), "{text}");
    }
}

#[test]
fn only_a_pinned_key_of_the_same_log_is_believed() {
    let head = Tree::of(3).head(3);
    let by = |seed| signed(LOG, head, seed);
    assert!(policy(&[], 0).attest(by(1)).is_ok());
    assert_eq!(policy(&[], 0).attest(by(2)), Err(Unproved::Unsigned { origin: LOG.into() }));
    // A second, unknown line does no harm; a wrong line under a known key does.
    let both = by(2).with(by(1).signatures().to_vec()).unwrap();
    assert!(policy(&[], 0).attest(both).is_ok());
    let wrong = log_key(1).line(sign(2, by(1).text()));
    let wrong = by(1).with([wrong]).unwrap();
    assert_eq!(policy(&[], 0).attest(wrong), Err(Unproved::Signature { name: LOG.into() }));
    // The same key, a checkpoint of another name.
    let text = Checkpoint { origin: "other".into(), head }.text();
    let line = log_key(1).line(sign(1, &text));
    let other = policy(&[], 0).attest(Note::new(text, vec![line]).unwrap());
    assert!(matches!(other, Err(Unproved::Origin { .. })), "{other:?}");
    // In a rotation either key does.
    let two = Policy { logs: vec![log_key(1), log_key(2)], ..Policy::default() };
    assert!(two.attest(by(1)).is_ok() && two.attest(by(2)).is_ok());
}

#[test]
fn a_quorum_counts_distinct_pinned_witnesses() {
    let note = signed(LOG, Tree::of(3).head(3), 1);
    let quorum = |note: &Note, need| policy(&[2, 3, 4], need).attest(note.clone());
    assert_eq!(quorum(&note, 1), Err(Unproved::Witnesses { found: 0, needed: 1 }));
    let one =
        note.with([cosign(&note, 2, 50), cosign(&note, 2, 60), cosign(&note, 9, 50)]).unwrap();
    assert_eq!(quorum(&one, 1).unwrap().cosigned()[0].at, Timestamp::from_secs(50));
    assert_eq!(quorum(&one, 2), Err(Unproved::Witnesses { found: 1, needed: 2 }));
    let two = one.with([cosign(&note, 4, 70)]).unwrap();
    assert_eq!(quorum(&two, 2).unwrap().cosigned().len(), 2);
    // A cosignature is of one checkpoint and one time, and a log's signature is none.
    let other = signed(LOG, Tree::of(4).head(4), 1);
    let moved = other.with([cosign(&note, 2, 50)]).unwrap();
    assert!(matches!(quorum(&moved, 1), Err(Unproved::Signature { .. })));
    let mut late = cosign(&note, 2, 50);
    late.bytes[7] += 1;
    assert!(quorum(&note.with([late]).unwrap(), 1).is_err());
    let plain = witness(2).line(50, sign(2, note.text()));
    assert!(quorum(&note.with([plain]).unwrap(), 1).is_err());
    // Two names over one key are one witness.
    let again = WitnessKey::new("again.example.com".parse().unwrap(), public(2));
    let line = again.line(50, sign(2, &WitnessKey::message(note.text(), 50)));
    let twice = note.with([cosign(&note, 2, 50), line]).unwrap();
    let policy = Policy { witnesses: vec![witness(2), again], quorum: 2, ..policy(&[], 0) };
    assert_eq!(policy.attest(twice), Err(Unproved::Witnesses { found: 1, needed: 2 }));
}

#[test]
fn a_malformed_note_or_checkpoint_is_refused() {
    let good = signed(LOG, Tree::of(3).head(3), 1).to_string();
    assert!(good.parse::<Note>().is_ok());
    let root = Tree::of(3).head(3).root.to_string();
    let line = good.lines().last().unwrap().to_owned();
    let notes = [
        good.trim_end().to_owned(),
        good.replace("\n\n", "\n"),
        format!("{good}\n"),
        format!("{good}— {LOG} AAAA\n"),
        format!("{good}- {LOG} AAAAAAAA\n"),
        good.replace(LOG, "a\tb"),
        good.replace("— ", "—  "),
        format!("{}\n{}", good, "x".repeat(MAX_NOTE)),
        format!("text\n\n{}", format!("{line}\n").repeat(MAX_SIGNATURES + 1)),
    ];
    for note in notes {
        assert!(note.parse::<Note>().is_err(), "{note:?}");
    }
    let empty = Hash::of(b"");
    let checkpoints = [
        format!("{LOG}\n3\n{root}"),
        format!("{LOG}\n3\n{root}\nextension\n"),
        format!("{LOG}\n03\n{root}\n"),
        format!("{LOG}\n+3\n{root}\n"),
        format!("{LOG}\n\n{root}\n"),
        format!("\n3\n{root}\n"),
        format!("{LOG}\n9223372036854775808\n{root}\n"),
        format!("{LOG}\n0\n{root}\n"),
        format!("{LOG}\n3\n{}\n", root.replace('=', "")),
        format!("{LOG}\n3\n{root}=\n"),
        format!("{LOG}\n3\nAAAA\n"),
    ];
    for text in checkpoints {
        assert!(text.parse::<Checkpoint>().is_err(), "{text:?}");
    }
    assert!(format!("{LOG}\n0\n{empty}\n").parse::<Checkpoint>().is_ok());
    assert!(format!("{LOG}\n9223372036854775807\n{root}\n").parse::<Checkpoint>().is_ok());
}

#[test]
fn evidence_proves_its_own_certificate_and_no_other() {
    let tbs = Hash::of(b"certificate");
    let text = evidence(tbs).to_string();
    let read: Evidence = text.parse().unwrap();
    assert_eq!(read.to_string(), text);
    let attested = read.clone().verify(tbs, &policy(&[], 0)).unwrap();
    assert_eq!(attested.head().size, 11);
    assert_eq!(read.clone().verify(Hash::of(b"other"), &policy(&[], 0)), Err(Unproved::Other));
    let stranger = Policy { logs: vec![log_key(2)], ..Policy::default() };
    assert!(matches!(read.clone().verify(tbs, &stranger), Err(Unproved::Unsigned { .. })));
    // The entry says another certificate, and so is not the one in the tree.
    let other = Hash::of(b"other");
    let forged = Evidence::new(leaf(6, other), read.proof().clone()).unwrap();
    assert_eq!(
        forged.verify(other, &policy(&[], 0)),
        Err(Unproved::Inclusion { index: 5, size: 11 })
    );
    assert!(text.len() < 1_200, "{}", text.len());
}

#[test]
fn evidence_of_another_form_is_refused() {
    let tbs = Hash::of(b"certificate");
    let good = evidence(tbs);
    let text = good.to_string();
    let extra = text.lines().nth(1).unwrap().to_owned();
    let with = |entry: &str| {
        text.replace(&extra, &format!("extra {}", STANDARD.encode(entry))).parse::<Evidence>()
    };
    let entry = String::from_utf8(good.leaf().to_bytes().unwrap()).unwrap();
    assert!(with(&entry).is_ok());
    let wrong = [
        entry.replace("\"seq\":6", "\"seq\":7"),
        entry.replace("\"version\":2", "\"version\":1"),
        entry.replace("{\"", "{ \""),
        entry.replace("certificate", "denial"),
        entry.replace("\"kind\"", "\"who\":\"ana\",\"kind\""),
        entry.replace("\"at\":", "\"at\":0"),
        format!("{entry}\n"),
        String::from("{}"),
        format!("{entry}{}", " ".repeat(MAX_LEAF)),
    ];
    for entry in wrong {
        assert!(with(&entry).is_err(), "{entry}");
    }
    assert!(text.replace(&format!("{extra}\n"), "").parse::<Evidence>().is_err());
    assert!(text.replace("index 5", "index 05").parse::<Evidence>().is_err());
    assert!(text.replace("tlog-proof@v1", "tlog-proof@v2").parse::<Evidence>().is_err());
    let longer = text.replace("index 5\n", &format!("index 5\n{}", format!("{tbs}\n").repeat(61)));
    assert!(longer.parse::<Evidence>().is_err());
}

#[test]
fn the_canonical_entry_is_written_down() {
    let hash = Hash::of(b"");
    let entry = Leaf::certificate(7, Timestamp::from_millis(1_700_000_000_123), hash, hash);
    let text = "{\"version\":2,\"seq\":7,\"at\":1700000000123,\"kind\":\"certificate\",\
        \"body\":\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\",\
        \"tbs\":\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"}";
    assert_eq!(entry.to_bytes().unwrap(), text.as_bytes());
    assert_eq!(Leaf::from_bytes(text.as_bytes()).unwrap(), entry);
    assert_eq!(entry.hash().unwrap(), leaf_hash(text.as_bytes()));
    let entry = Leaf::new(8, Timestamp::from_millis(1), "host_enrolled", hash);
    let text = "{\"version\":2,\"seq\":8,\"at\":1,\"kind\":\"host_enrolled\",\
        \"body\":\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"}";
    assert_eq!(entry.to_bytes().unwrap(), text.as_bytes());
    for kind in ["", "Lock", "a b", &"a".repeat(33), CERTIFICATE] {
        assert!(Leaf::new(1, Timestamp::from_millis(1), kind, hash).to_bytes().is_err(), "{kind}");
    }
}
