//! `ssh-keygen`: it reads ours, we read its own, and both say the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sha2::{Digest as _, Sha256};
use wire::certificate::Certificate;
use wire::identifier::Fingerprint;
use wire::krl::{Issuer, Krl, KrlError, MAX_BITS};

use super::set::{NOW, certificate, issuer, key, serial, serials, sha256};

/// A folder in which `ssh-keygen` is asked.
pub(crate) struct Desk(tempfile::TempDir);

/// What it says of a list and some keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It cannot read the list.
    Unreadable,
    /// For each key, whether it is revoked.
    Revoked(Vec<bool>),
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A plain key as a file.
    pub(crate) fn key(&self, seed: u8) -> PathBuf {
        let path = self.path(&format!("key{seed}.pub"));
        std::fs::write(&path, key(seed).public_key().to_openssh().unwrap()).unwrap();
        path
    }

    /// A certificate as a file.
    pub(crate) fn certificate(&self, certificate: &Certificate) -> PathBuf {
        let name = Fingerprint::of(certificate.as_bytes()).to_string().replace('/', "-");
        let path = self.path(&format!("{name}.pub"));
        std::fs::write(&path, certificate.to_openssh()).unwrap();
        path
    }

    /// `ssh-keygen -Q`
    pub(crate) fn ask(&self, list: &[u8], keys: &[PathBuf]) -> Answer {
        let path = self.path("asked");
        std::fs::write(&path, list).unwrap();
        let output = keygen(&["-Q", "-f"], &path, keys);
        let said = String::from_utf8(output.stdout).unwrap();
        let verdicts = said.lines().filter_map(|line| {
            let verdict = line.rsplit(": ").next();
            verdict.and_then(|word| {
                [("ok", false), ("REVOKED", true)].iter().find(|(w, _)| *w == word)
            })
        });
        let verdicts: Vec<bool> = verdicts.map(|(_, is_revoked)| *is_revoked).collect();
        if verdicts.len() == keys.len() {
            return Answer::Revoked(verdicts);
        }
        assert!(verdicts.is_empty(), "{said}");
        Answer::Unreadable
    }

    /// `ssh-keygen -Q -l`: what is in the list, in its words.
    fn listed(&self, list: &[u8]) -> String {
        let path = self.path("listed");
        std::fs::write(&path, list).unwrap();
        let output = keygen(&["-Q", "-l", "-f"], &path, &[]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `ssh-keygen -k`: a list of its own; it says itself whether it could.
    fn make(&self, specification: &str, authority: Option<u8>) -> Option<Vec<u8>> {
        let (list, wanted) = (self.path("made"), self.path("wanted"));
        std::fs::write(&wanted, specification).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-k", "-z", "812", "-f"]).arg(&list);
        if let Some(seed) = authority {
            command.arg("-s").arg(self.key(seed));
        }
        let output = command.arg(&wanted).output().unwrap();
        output.status.success().then(|| std::fs::read(&list).unwrap())
    }
}

fn keygen(before: &[&str], list: &Path, after: &[PathBuf]) -> Output {
    Command::new("ssh-keygen").args(before).arg(list).args(after).output().unwrap()
}

/// SHA-1 of a key, as OpenSSH prints it.
pub(crate) fn sha1(seed: u8) -> [u8; 20] {
    use base64::Engine as _;
    let desk = Desk::new();
    let output = keygen(&["-l", "-E", "sha1", "-f"], &desk.key(seed), &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    let text = said.split_once("SHA1:").unwrap().1.split(' ').next().unwrap();
    let hash = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).unwrap();
    hash.try_into().unwrap()
}

/// A list of the certificates of `key(1)`.
pub(crate) fn list_of(numbers: &[u64]) -> Krl {
    let (mut krl, issuer) = (Krl::new(812, NOW), issuer(1));
    numbers.iter().for_each(|number| krl.revoke_serial(&issuer, serial(*number)));
    krl
}

/// The runs of serials that `ssh-keygen -Q -l` names.
fn runs(listed: &str) -> Vec<(u64, u64)> {
    let serials = listed.lines().filter_map(|line| line.strip_prefix("serial: "));
    serials
        .map(|text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (first.trim().parse().unwrap(), last.trim().parse().unwrap())
        })
        .collect()
}

/// The runs of sorted numbers.
fn runs_of(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

/// Writes a list of these serials and has `ssh-keygen` name every one, and judge some certificates on either side.
fn agrees(desk: &Desk, numbers: &[u64]) -> usize {
    let krl = list_of(numbers);
    let bytes = krl.encode().unwrap();
    let listed = desk.listed(&bytes);
    assert!(listed.contains("# KRL version 812"), "{listed:.200}");
    assert_eq!(runs(&listed), runs_of(numbers));
    let probes: Vec<u64> = numbers
        .iter()
        .step_by(numbers.len() / 2 + 1)
        .flat_map(|number| [*number, number.saturating_add(1)])
        .collect();
    let probes: Vec<Certificate> =
        probes.iter().map(|number| certificate(1, 9, *number, "x")).collect();
    let files: Vec<PathBuf> = probes.iter().map(|probe| desk.certificate(probe)).collect();
    let ours = probes.iter().map(|probe| krl.is_revoked(probe)).collect();
    if !files.is_empty() {
        assert_eq!(desk.ask(&bytes, &files), Answer::Revoked(ours));
    }
    bytes.len()
}

/// Numbers that are the same in every run: xorshift64*.
pub(crate) fn random(count: usize) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).max(1)
    };
    (0..count).map(|_| next()).collect()
}

/// One in ten of the numbers from 1, at random.
pub(crate) fn tenth(count: usize) -> Vec<u64> {
    let most = count as u64 * 10;
    (1..=most).zip(random(count * 10)).filter(|(_, coin)| coin % 10 == 0).map(|(n, _)| n).collect()
}

#[test]
fn openssh_reads_random_lists_as_we_mean_them() {
    let desk = Desk::new();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let done = TestRunner::new(config).run(&serials(2_000), |numbers| {
        agrees(&desk, &numbers);
        Ok(())
    });
    done.unwrap();
}

/// Lists at the edges of what can be written, by name: of the bitmap, of the numbers, and of nothing at all.
pub(crate) fn edges() -> [(&'static str, Vec<u64>); 10] {
    let spaced = |by: u64| (1..=240).map(|n| n * by).collect::<Vec<u64>>();
    let every_other = |last: u64| (1..=last / 2 - 40).map(|n| n * 2 - 1).chain([last]).collect();
    [
        ("240 spaced by 70", spaced(70)),
        ("240 spaced by 60", spaced(60)),
        ("240 spaced by 63", spaced(63)),
        ("16,384 bits", every_other(MAX_BITS)),
        ("16,385 bits", every_other(MAX_BITS + 1)),
        ("one run", (1..=MAX_BITS).collect()),
        ("one in three", (1..=100_000).step_by(3).collect()),
        ("three far apart", vec![1, 1 << 63, u64::MAX]),
        ("the highest", (u64::MAX - 20_000..u64::MAX).step_by(2).chain([u64::MAX]).collect()),
        ("empty", Vec::new()),
    ]
}

#[test]
fn openssh_reads_the_edges_as_we_mean_them() {
    let desk = Desk::new();
    for (_, numbers) in edges() {
        agrees(&desk, &numbers);
    }
}

#[test]
fn openssh_reads_a_hundred_thousand_serials_as_we_mean_them() {
    let desk = Desk::new();
    let sparse = agrees(&desk, &random(100_000));
    assert!(sparse <= 100_000 * 8 + 200, "{sparse} bytes");
    let dense = agrees(&desk, &tenth(100_000));
    assert!(dense <= 100_000 * 13 / 10 + 200, "{dense} bytes");
}

#[test]
#[ignore = "half a minute of ssh-keygen; run it with --ignored"]
fn openssh_reads_a_million_serials_as_we_mean_them() {
    let desk = Desk::new();
    assert!(agrees(&desk, &random(1_000_000)) <= 8_000_200);
    assert!(agrees(&desk, &tenth(1_000_000)) <= 1_300_200);
}

#[test]
fn openssh_lists_every_kind_of_entry_as_we_mean_it() {
    let mut krl = Krl::new(812, NOW).with_comment("locked").unwrap();
    krl.revoke_serials(&issuer(1), serial(10), serial(400)).unwrap();
    krl.revoke_serial(&Issuer::ANY, serial(5));
    krl.revoke_key_id(&issuer(2), "ana@example.com/g1/7").unwrap();
    krl.revoke_key(key(3).public_key().key_data()).unwrap();
    krl.revoke_sha1(sha1(4));
    krl.revoke_fingerprint(&sha256(5)).unwrap();
    let desk = Desk::new();
    let bytes = krl.encode().unwrap();
    let listed = desk.listed(&bytes);
    let blob = key(5).public_key().to_bytes().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for line in [
        "# Comment: locked".to_owned(),
        format!("# CA key ssh-ed25519 {}", sha256(1)),
        "serial: 10-400".into(),
        "# Wildcard CA".into(),
        "serial: 5".into(),
        "id: ana@example.com/g1/7".into(),
        format!("hash: {} # ssh-ed25519", sha256(3)),
        format!("hash: SHA256:{}", hex(&Sha256::digest(blob))),
        format!("# hash SHA1:{}", hex(&sha1(4))),
    ] {
        assert!(listed.contains(&line), "{line:?} in {listed}");
    }
    let probes = [
        certificate(1, 9, 10, "x"),
        certificate(2, 9, 10, "x"),
        certificate(2, 9, 5, "x"),
        certificate(2, 9, 9, "ana@example.com/g1/7"),
        certificate(1, 9, 9, "ana@example.com/g1/7"),
        certificate(3, 9, 9, "x"),
        certificate(4, 9, 9, "x"),
        certificate(5, 9, 9, "x"),
        certificate(1, 3, 9, "x"),
        certificate(1, 4, 9, "x"),
        certificate(1, 5, 9, "x"),
        certificate(1, 6, 9, "x"),
    ];
    let ours: Vec<bool> = probes.iter().map(|probe| krl.is_revoked(probe)).collect();
    assert_eq!(ours.iter().filter(|is_revoked| **is_revoked).count(), 9);
    let files: Vec<PathBuf> = probes.iter().map(|probe| desk.certificate(probe)).collect();
    assert_eq!(desk.ask(&bytes, &files), Answer::Revoked(ours));
    let keys: Vec<PathBuf> = (1..=6).map(|seed| desk.key(seed)).collect();
    let ours = (1..=6).map(|seed| krl.is_revoked_key(key(seed).public_key().key_data()));
    assert_eq!(desk.ask(&bytes, &keys), Answer::Revoked(ours.collect()));
}

#[test]
fn a_list_by_ssh_keygen_reads_as_it_was_meant() {
    let desk = Desk::new();
    let print = sha256(5);
    let plain = key(3).public_key().to_openssh().unwrap();
    let wanted = format!(
        "serial: 5\nserial: 10-400\nserial: 1000\nserial: 1002\nserial: 1005\nserial: 1009\nserial: 18446744073709551615\n\
         id: ana@example.com/g1/7\nkey: {plain}\nhash: {print}\nsha1: {}\n",
        key(4).public_key().to_openssh().unwrap()
    );
    let krl = Krl::decode(&desk.make(&wanted, Some(1)).unwrap()).unwrap();
    let mut meant = Krl::new(812, krl.generated());
    for (first, last) in [
        (5, 5),
        (10, 400),
        (1000, 1000),
        (1002, 1002),
        (1005, 1005),
        (1009, 1009),
        (u64::MAX, u64::MAX),
    ] {
        meant.revoke_serials(&issuer(1), serial(first), serial(last)).unwrap();
    }
    meant.revoke_key_id(&issuer(1), "ana@example.com/g1/7").unwrap();
    meant.revoke_key(key(3).public_key().key_data()).unwrap();
    meant.revoke_fingerprint(&print).unwrap();
    meant.revoke_sha1(sha1(4));
    assert_eq!(krl, meant);
    assert_eq!(desk.listed(&krl.encode().unwrap()), desk.listed(&meant.encode().unwrap()));

    let empty = Krl::decode(&desk.make("", None).unwrap()).unwrap();
    assert_eq!(empty, Krl::new(812, empty.generated()));
}

#[test]
fn what_ssh_keygen_writes_and_cannot_load_is_refused_by_us_too() {
    let desk = Desk::new();
    let probe = desk.certificate(&certificate(1, 9, 70, "x"));
    let mut refused = 0;
    for count in [3_u64, 100, 235, 236, 240, 1_000] {
        let wanted: String = (1..=count).map(|n| format!("serial: {}\n", n * 70)).collect();
        let bytes = desk.make(&wanted, Some(1)).unwrap();
        match (desk.ask(&bytes, std::slice::from_ref(&probe)), Krl::decode(&bytes)) {
            (Answer::Unreadable, Err(KrlError::Bitmap)) => refused += 1,
            (Answer::Revoked(verdicts), Ok(krl)) => {
                assert_eq!(verdicts, [true]);
                assert_eq!(krl.extent().serials, count);
            }
            (theirs, ours) => panic!("{count} serials: {theirs:?}, {ours:?}"),
        }
        // The same ones by us always load.
        let ours = agrees(&desk, &(1..=count).map(|n| n * 70).collect::<Vec<_>>());
        assert!(ours <= bytes.len() + 60, "{ours} bytes to {}", bytes.len());
    }
    assert_eq!(refused, 3, "236, 240 and 1,000 are beyond 16,384 bits");
}

#[test]
fn lists_by_ssh_keygen_at_random_read_as_it_reads_them() {
    let desk = Desk::new();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let done = TestRunner::new(config).run(&serials(400), |numbers| {
        let wanted: String = numbers.iter().map(|number| format!("serial: {number}\n")).collect();
        let bytes = desk.make(&wanted, Some(1)).unwrap();
        let probe = desk.key(8);
        match (desk.ask(&bytes, &[probe]), Krl::decode(&bytes)) {
            (Answer::Unreadable, Err(KrlError::Bitmap)) => {}
            (Answer::Revoked(_), Ok(krl)) => {
                let listed = desk.listed(&krl.encode().unwrap());
                prop_assert_eq!(runs(&listed), runs_of(&numbers));
            }
            (theirs, ours) => panic!("{theirs:?}, {ours:?}"),
        }
        Ok(())
    });
    done.unwrap();
}
