//! The log as an outside monitor sees it, and the proof in every certificate: from public formats and one key alone.

use wire::certificate::Certificate;
use wire::ledger::Edge;
use wire::log::{EXTENSION, Evidence, Hash, Head, Leaf, Note, Policy, Proof, leaf_hash};

use crate::authority::Authority;
use crate::certificate::{ask, issue};

/// The proof in a certificate, believed; and the entry's number.
fn believed(text: &str, policy: &Policy) -> (u64, Head) {
    let certificate = Certificate::from_openssh(text).unwrap();
    let evidence = certificate.extensions().text(EXTENSION).unwrap().unwrap();
    let evidence: Evidence = std::str::from_utf8(evidence).unwrap().parse().unwrap();
    let bare = certificate.to_be_signed_without(EXTENSION).unwrap();
    let seq = evidence.leaf().seq;
    (seq, evidence.verify(Hash::of(&bare), policy).unwrap().head())
}

/// Every leaf of the tree, read from its bundles, and the tree that they make.
async fn leaves(authority: &Authority, size: u64) -> (Vec<Leaf>, Head) {
    let (mut edge, mut leaves) = (Edge::default(), Vec::new());
    for number in 0..size.div_ceil(256) {
        let width = size.saturating_sub(number.saturating_mul(256)).min(256);
        let part = if width < 256 { format!(".p/{width}") } else { String::new() };
        let bundle = authority.fetch(&format!("/tile/entries/{number:03}{part}")).await.unwrap();
        let hashes = authority.fetch(&format!("/tile/0/{number:03}{part}")).await.unwrap();
        let (mut rest, mut hashes) = (&bundle[..], hashes.chunks_exact(32));
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (leaf, more) = more.split_at(usize::from(u16::from_be_bytes(*length)));
            assert_eq!(leaf_hash(leaf).0, hashes.next().unwrap());
            edge.push(leaf_hash(leaf));
            leaves.push(Leaf::from_bytes(leaf).unwrap());
            rest = more;
        }
        assert!(hashes.next().is_none());
    }
    (leaves, edge.head())
}

#[tokio::test]
async fn a_certificate_carries_the_proof_and_a_monitor_finds_its_entry() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let policy = authority.log_policy().await;
    let token = authority.login("ana", 1).await.unwrap();
    let mut issued = Vec::new();
    for round in 0..4 {
        if round == 2 {
            authority.restart();
        }
        let reply = issue(&authority, &token, &ask("db1")).await.unwrap();
        issued.push(believed(&reply.certificate, &policy));
    }
    let note: Note = std::str::from_utf8(&authority.fetch("/checkpoint").await.unwrap())
        .unwrap()
        .parse()
        .unwrap();
    let newest = policy.attest(note).unwrap().head();
    let (leaves, head) = leaves(&authority, newest.size).await;
    assert_eq!(head, newest);
    for (seq, _) in issued {
        let leaf = &leaves[usize::try_from(seq).unwrap() - 1];
        assert_eq!((leaf.seq, leaf.kind.as_str()), (seq, "certificate"));
    }
    let text: Vec<String> =
        leaves.iter().map(|leaf| String::from_utf8(leaf.to_bytes().unwrap()).unwrap()).collect();
    for personal in ["ana", "db1", "deploy"] {
        assert!(!text.iter().any(|leaf| leaf.contains(personal)), "{text:?}");
    }
}

#[tokio::test]
async fn what_the_tree_does_not_reach_is_not_there_and_bodies_are_for_operators() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("olga", 2, &["--operator"]);
    for path in
        ["/tile/0/000", "/tile/1/000", "/tile/entries/000", "/tile/0/000.p/200", "/tile/0/0"]
    {
        assert!(authority.fetch(path).await.is_err(), "{path}");
    }
    assert!(authority.fetch("/tile/0/000.p/1").await.is_ok());
    assert!(authority.fetch("/v1/entries").await.is_err());
    let ana = authority.login("ana", 1).await.unwrap();
    assert!(authority.read::<wire::ledger::Page>("/v1/entries", &ana).await.is_err());
    let olga = authority.login("olga", 2).await.unwrap();
    let page: wire::ledger::Page =
        authority.read("/v1/entries?text=olga&kind=identity_added", &olga).await.unwrap();
    assert_eq!(page.entries.len(), 1);
}

#[tokio::test]
async fn a_proof_of_one_certificate_is_none_for_another() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let policy = authority.log_policy().await;
    let token = authority.login("ana", 1).await.unwrap();
    let [one, other] = [
        issue(&authority, &token, &ask("db1")).await.unwrap(),
        issue(&authority, &token, &ask("db1")).await.unwrap(),
    ]
    .map(|reply| Certificate::from_openssh(&reply.certificate).unwrap());
    let evidence = one.extensions().text(EXTENSION).unwrap().unwrap();
    let evidence: Evidence = std::str::from_utf8(evidence).unwrap().parse().unwrap();
    let bare = other.to_be_signed_without(EXTENSION).unwrap();
    assert!(evidence.clone().verify(Hash::of(&bare), &policy).is_err());
    let moved = Proof { index: evidence.proof().index + 1, ..evidence.proof().clone() };
    assert!(Evidence::new(evidence.leaf().clone(), moved).is_err());
}
