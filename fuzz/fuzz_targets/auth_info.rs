//! `SSH_AUTH_INFO_0` as sshd hands it over: no text opens a session but one with the certificate that was shown.
#![no_main]

use std::sync::LazyLock;

use agent::clock::Now;
use agent::gate::{Attempt, Book, Others, Rules, Shown, Verdict};
use agent::proof::Proofs;
use agent::revocation::Revocation;
use agent::session::Monitor;
use agent::witness::{Kept, Witness};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use curfew_fuzz::{NOW, certificate, key};
use libfuzzer_sys::fuzz_target;
use wire::octets::Octets;
use wire::time::Uptime;

static SHOWN: LazyLock<Vec<u8>> = LazyLock::new(|| certificate().to_bytes());
static TEXT: LazyLock<String> = LazyLock::new(|| STANDARD.encode(&*SHOWN));

fuzz_target!(|input: (&[u8], &[u8], bool)| {
    let (before, login, is_offered) = input;
    let host = "db1".parse().expect("host");
    let authorities = [key(1).public_key().clone()];
    let revocation = Revocation::joined(0, Vec::new());
    // No key of a ledger is pinned: what stands around a certificate is asked here, not its proof.
    let proofs = Proofs::new(true, Vec::new(), (Vec::new(), 0));
    let witness = Witness::resume(Kept::default(), Vec::new());
    let rules = Rules {
        host: &host,
        authorities: &authorities,
        revocation: &revocation,
        proofs: &proofs,
        witness: &witness,
        others: Others::Allow,
    };
    let now = Now { at: NOW, up: Uptime::from_nanos(1) };
    let monitor = Monitor { pid: 100, start_ticks: 5 };
    let mut book = Book::default();
    let shown = Shown::new(Octets::new("app"), SHOWN.clone(), String::new());
    book.show(&rules, monitor, &shown, now).expect("a good certificate opens");

    let mut auth_info = before.to_vec();
    if is_offered {
        auth_info.extend_from_slice(b"publickey ssh-ed25519-cert-v01@openssh.com ");
        auth_info.extend_from_slice(TEXT.as_bytes());
        auth_info.push(b'\n');
    }
    let login = if login.is_empty() { b"app" } else { login };
    let attempt = Attempt {
        login: Octets::new(login),
        remote: "10.0.0.1".into(),
        auth_info: Octets::new(auth_info.clone()),
    };
    if let Ok(Verdict::Permit(admission)) = book.open(&rules, monitor, &attempt, now) {
        assert_eq!(login, b"app");
        assert_eq!(admission.facts.subject.serial.number(), 7);
        let text = String::from_utf8(auth_info).expect("only text is read");
        assert!(text.contains(TEXT.as_str()));
    }
    let stranger = Monitor { pid: 100, start_ticks: 6 };
    let verdict = book.open(&rules, stranger, &attempt, now);
    assert!(!matches!(verdict, Ok(Verdict::Permit(_))), "it showed nothing");
});
