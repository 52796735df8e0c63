//! The gate against certificates that the ledger holds, and against those that it does not.

use ssh_key::PrivateKey;
use ssh_key::certificate::Builder;
use ssh_key::private::Ed25519Keypair;
use wire::log::{Evidence, Leaf};
use wire::record::Quarrel;
use wire::time::Timestamp;

use super::*;
use crate::witness::Kept;
use crate::witness::grown::Ledger;

const MONITOR: Monitor = Monitor { pid: 100, start_ticks: 5 };

fn now() -> Now {
    Now { at: Timestamp::from_secs(1_000), up: Uptime::from_nanos(1) }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// A certificate of our authority, with these parts and this proof.
fn certificate(serial: u64, until: u64, proof: Option<&str>) -> Vec<u8> {
    let mut builder = Builder::new([1; 16], key(9).public_key().clone(), 900, until).unwrap();
    let key_id = format!("ana@example.com/g1/{serial}");
    builder.serial(serial).unwrap().key_id(key_id).unwrap();
    builder.valid_principal("app@db1").unwrap();
    builder.extension(wire::certificate::GRANT_UNTIL, "5000").unwrap();
    builder.extension(wire::certificate::ROLE, "deploy").unwrap();
    builder.extension("permit-pty", "").unwrap();
    if let Some(proof) = proof {
        builder.extension(EXTENSION, proof).unwrap();
    }
    builder.sign(&key(1)).unwrap().to_bytes().unwrap()
}

/// Records the certificate of this serial as the ledger's next entry.
fn evidence(ledger: &mut Ledger, serial: u64, size: u64) -> Evidence {
    let bare = Certificate::from_bytes(&certificate(serial, 1_900, None)).unwrap();
    let tbs = wire::log::Hash::of(bare.to_be_signed());
    let body = wire::log::Hash::of(b"salted body");
    let leaf = Leaf::certificate(size.saturating_add(1), Timestamp::from_secs(1), body, tbs);
    ledger.push(&leaf.to_bytes().unwrap());
    Evidence::new(leaf, ledger.proof(size, size.saturating_add(1))).unwrap()
}

/// A certificate as the authority issues it, the 31st entry of a ledger.
fn issued(ledger: &mut Ledger) -> Vec<u8> {
    let evidence = evidence(ledger, 7, 30);
    certificate(7, 1_900, Some(&evidence.to_string()))
}

struct Host {
    name: HostName,
    authorities: Vec<PublicKey>,
    revocation: Revocation,
    proofs: Proofs,
    witness: Witness,
}

impl Host {
    fn new(require: bool) -> Self {
        let logs = vec![Ledger::new(0, 0).key()];
        Self {
            name: "db1".parse().unwrap(),
            authorities: vec![key(1).public_key().clone()],
            revocation: Revocation::joined(0, Vec::new()),
            proofs: Proofs::new(require, logs, (Vec::new(), 0)),
            witness: Witness::resume(Kept::default(), Vec::new()),
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            host: &self.name,
            authorities: &self.authorities,
            revocation: &self.revocation,
            proofs: &self.proofs,
            witness: &self.witness,
            others: Others::Allow,
        }
    }

    fn show(&self, bytes: &[u8]) -> Result<Vec<Principal>, Box<No>> {
        let shown = Shown::new(Octets::new("app"), bytes.to_vec(), String::new());
        Book::default().show(&self.rules(), MONITOR, &shown, now())
    }

    /// The whole login with a certificate that the gate has seen, whatever it said to it.
    fn open(&self, bytes: &[u8]) -> Result<Verdict, Box<No>> {
        use base64::Engine as _;
        let mut book = Book::default();
        let seen = Seen { bytes: bytes.to_vec(), login: b"app".to_vec(), at: now().up };
        book.seen.insert((MONITOR.pid, MONITOR.start_ticks), vec![seen]);
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        let auth_info = Octets::new(format!("publickey ssh-ed25519-cert-v01@openssh.com {text}\n"));
        let attempt = Attempt { login: Octets::new("app"), remote: String::new(), auth_info };
        let app = (&Octets::new("app"), "");
        assert_eq!(
            book.account(&self.rules(), MONITOR, app, now()).is_ok(),
            self.show(bytes).is_ok()
        );
        book.open(&self.rules(), MONITOR, &attempt, now())
    }
}

fn admission(verdict: Result<Verdict, Box<No>>) -> Admission {
    match verdict.unwrap() {
        Verdict::Permit(admission) => *admission,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_that_the_ledger_holds_is_let_in_and_brings_its_tree() {
    let mut ledger = Ledger::new(30, 30);
    let bytes = issued(&mut ledger);
    for require in [true, false] {
        let host = Host::new(require);
        assert_eq!(host.show(&bytes).unwrap()[0].as_str(), "app@db1");
        let admission = admission(host.open(&bytes));
        assert_eq!(admission.tree.unwrap().head(), ledger.at(31).head());
        assert_eq!(admission.despite, None);
    }
}

#[test]
fn a_stolen_authority_key_alone_opens_nothing_and_is_an_incident() {
    let mut ledger = Ledger::new(30, 30);
    let proof = evidence(&mut ledger, 7, 30).to_string();
    let mut strange = Ledger::new(30, 30).under(8);
    let forged = evidence(&mut strange, 7, 30).to_string();
    let cases = [
        ("no proof", None, 7, 1_900, "carries no proof"),
        (
            "another serial under an old proof",
            Some(proof.as_str()),
            8,
            1_900,
            "another certificate",
        ),
        ("another window under an old proof", Some(&proof), 7, 9_000, "another certificate"),
        ("a ledger of the thief's own", Some(&forged), 7, 1_900, "no pinned log key"),
        ("junk", Some("c2sp.org/tlog-proof@v1\n"), 7, 1_900, "not valid"),
        ("nothing", Some(""), 7, 1_900, "does not carry exactly one text"),
    ];
    for (name, proof, serial, until, words) in cases {
        let bytes = certificate(serial, until, proof);
        for host in [Host::new(true), Host::new(false)] {
            let require = host.proofs.mode() == ProofMode::Require;
            let no = if require {
                assert!(host.show(&bytes).is_err(), "{name}");
                *host.open(&bytes).unwrap_err()
            } else {
                assert!(host.show(&bytes).is_ok(), "{name}");
                *admission(host.open(&bytes)).despite.unwrap()
            };
            assert!(no.refused.reason.contains(words), "{name}: {}", no.refused.reason);
            assert!(no.refused.ours && no.trouble == Trouble::Unproved, "{name}");
            let event = no.event(!require);
            let Event::Incident(incident) = event else { panic!("{name}: {event:?}") };
            assert!(
                matches!(*incident, Incident::Unproved { admitted, .. } if admitted != require)
            );
        }
    }
}

#[test]
fn each_signed_byte_is_committed_to() {
    // A field that is not the proof, changed and signed anew by the stolen key: the entry knows another.
    let mut ledger = Ledger::new(30, 30);
    let good = issued(&mut ledger);
    let proof = Certificate::from_bytes(&good).unwrap();
    let proof = proof.extensions().text(EXTENSION).unwrap().unwrap().to_vec();
    let proof = String::from_utf8(proof).unwrap();
    let again = |change: fn(&mut Builder)| {
        let subject = key(9).public_key().clone();
        let mut builder = Builder::new([1; 16], subject, 900, 1_900).unwrap();
        builder.serial(7).unwrap().key_id("ana@example.com/g1/7").unwrap();
        builder.valid_principal("app@db1").unwrap();
        builder.extension(wire::certificate::GRANT_UNTIL, "5000").unwrap();
        builder.extension(wire::certificate::ROLE, "deploy").unwrap();
        builder.extension("permit-pty", "").unwrap();
        builder.extension(EXTENSION, proof.as_str()).unwrap();
        change(&mut builder);
        Host::new(true).open(&builder.sign(&key(1)).unwrap().to_bytes().unwrap())
    };
    assert!(again(|_| ()).is_ok());
    let changes: [fn(&mut Builder); 4] = [
        |builder| {
            builder.valid_principal("root@db1").unwrap();
        },
        |builder| {
            builder.extension("permit-port-forwarding", "").unwrap();
        },
        |builder| {
            builder.critical_option("force-command", "id").unwrap();
        },
        |builder| {
            builder.critical_option("source-address", "10.0.0.1").unwrap();
        },
    ];
    for changed in changes {
        assert_eq!(again(changed).unwrap_err().trouble, Trouble::Unproved);
    }
}

#[test]
fn a_certificate_that_opens_nothing_anyway_is_an_incident_all_the_same_when_it_is_forged() {
    let host = Host::new(true);
    let shown = |login: &str, bytes: &[u8]| {
        let shown = Shown::new(Octets::new(login), bytes.to_vec(), String::new());
        *Book::default().show(&host.rules(), MONITOR, &shown, now()).unwrap_err()
    };
    let forged = shown("root", &certificate(7, 1_900, None));
    assert!(forged.refused.reason.contains("for app@db1, and it carries no proof"));
    assert_eq!(forged.trouble, Trouble::Unproved);
    let mut ledger = Ledger::new(30, 30);
    let honest = shown("root", &issued(&mut ledger));
    assert!(honest.refused.ours && honest.trouble == Trouble::None);
    // One of another authority says nothing about our key.
    let foreign = Host { authorities: vec![key(2).public_key().clone()], ..Host::new(true) };
    let no = foreign.show(&certificate(7, 1_900, None)).unwrap_err();
    assert!(!no.refused.ours && no.trouble == Trouble::None);
}

#[test]
fn a_forked_ledger_is_refused_and_while_it_is_disputed_only_known_trees_open() {
    let mut ledger = Ledger::new(30, 30);
    let good = issued(&mut ledger);
    let mut forked = Ledger::new(30, 9);
    let bad = issued(&mut forked);
    let mut host = Host::new(true);
    // The host knows the true tree of this size.
    let known = Kept { newest: Some(ledger.note(31)), ..Kept::default() };
    host.witness = Witness::resume(known, Vec::new());
    assert!(host.open(&good).is_ok());
    let no = *host.open(&bad).unwrap_err();
    let Trouble::Fork(dispute) = &no.trouble else { panic!("{no:?}") };
    assert_eq!(dispute.quarrel, Quarrel::Fork);
    host.witness.open(dispute);
    assert!(host.open(&good).is_ok(), "what is known stays good");
    ledger.push(b"next");
    let later = Evidence::new(
        evidence(&mut Ledger::new(30, 30), 7, 30).leaf().clone(),
        ledger.proof(30, 32),
    );
    let later = certificate(7, 1_900, Some(&later.unwrap().to_string()));
    let no = host.open(&later).unwrap_err();
    assert!(no.refused.reason.contains("curfew-agent settle"), "{}", no.refused.reason);
    assert_eq!(no.trouble, Trouble::None);
}

#[test]
fn a_host_that_knows_no_key_of_the_ledger_lets_in_until_it_does() {
    let mut host = Host::new(true);
    let key = host.proofs.policy().logs.clone();
    host.proofs.rotate(Vec::new());
    let bytes = certificate(7, 1_900, None);
    assert_eq!(host.proofs.mode(), ProofMode::Unpinned);
    let admission = admission(host.open(&bytes));
    assert_eq!((admission.tree, admission.despite), (None, None));
    host.proofs.rotate(key);
    assert!(host.open(&bytes).is_err());
}

#[test]
fn a_quorum_of_witnesses_is_required_where_settings_say_so() {
    let mut ledger = Ledger::new(30, 30);
    let bytes = issued(&mut ledger);
    let witness = wire::log::WitnessKey::new("w1.example.com".parse().unwrap(), [3; 32]);
    let mut host = Host::new(true);
    host.proofs = Proofs::new(true, vec![ledger.key()], (vec![witness], 1));
    let no = host.open(&bytes).unwrap_err();
    assert!(no.refused.reason.contains("0 of the pinned witnesses cosigned"));
}
