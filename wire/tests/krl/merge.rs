//! Lists taken together, and the text form: whatever either revokes is revoked, and OpenSSH agrees.

use proptest::prelude::*;
use wire::krl::{Issuer, Krl, RevokedKeysError};

use super::incumbent::{Answer, Desk, sha1};
use super::set::{NOW, certificate, issuer, key, serial, serials, sha256};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_lists_together_revoke_what_either_does(one in serials(400), other in serials(400), hashes: Vec<[u8; 32]>) {
        let list = |numbers: &[u64]| {
            let mut krl = Krl::new(3, NOW);
            numbers.iter().for_each(|number| krl.revoke_serial(&issuer(1), serial(*number)));
            krl
        };
        let (mut left, mut right) = (list(&one), list(&other));
        for hash in &hashes {
            right.revoke_sha256(*hash);
        }
        let mut both = list(&[one.as_slice(), other.as_slice()].concat());
        hashes.iter().for_each(|hash| both.revoke_sha256(*hash));
        left.absorb(right);
        prop_assert_eq!(&left, &both);
        prop_assert_eq!(Krl::decode(&left.encode().unwrap()).unwrap(), both);
    }
}

#[test]
fn every_axis_of_both_lists_is_kept_and_openssh_reads_it() {
    let desk = Desk::new();
    let mut ours = Krl::new(812, NOW).with_comment("curfew").unwrap();
    ours.revoke_serial(&issuer(1), serial(7));
    let mut theirs = Krl::new(9_000, NOW).with_comment("theirs").unwrap();
    theirs.revoke_key_id(&Issuer::ANY, "bob").unwrap();
    theirs.revoke_key(key(11).public_key().key_data()).unwrap();
    theirs.revoke_sha1(sha1(12));
    theirs.revoke_fingerprint(&sha256(13)).unwrap();
    ours.absorb(theirs);
    assert_eq!((ours.version(), ours.comment().as_bytes()), (812, &b"curfew"[..]));
    let offered = [
        certificate(1, 9, 7, "ana"),
        certificate(1, 9, 8, "bob"),
        certificate(1, 11, 8, "ana"),
        certificate(1, 12, 8, "ana"),
        certificate(1, 13, 8, "ana"),
        certificate(1, 9, 8, "ana"),
    ];
    let files: Vec<_> = offered.iter().map(|offered| desk.certificate(offered)).collect();
    let expected = vec![true, true, true, true, true, false];
    let ours_says: Vec<bool> = offered.iter().map(|offered| ours.is_revoked(offered)).collect();
    assert_eq!(ours_says, expected);
    assert_eq!(desk.ask(&ours.encode().unwrap(), &files), Answer::Revoked(expected));
}

#[test]
fn a_text_of_keys_revokes_them_and_what_sshd_would_choke_on_is_refused() {
    let line = |seed: u8| key(seed).public_key().to_openssh().unwrap();
    let certificate_line = certificate(1, 10, 7, "ana").to_openssh();
    let text = format!("# stolen\n\n  {} of ana\n{certificate_line}\n{}\r\n", line(8), line(9));
    let krl = Krl::revoked_keys(text.as_bytes()).unwrap();
    for (seed, expected) in [(8, true), (9, true), (10, true), (11, false), (1, false)] {
        assert_eq!(krl.is_revoked_key(key(seed).public_key().key_data()), expected, "{seed}");
    }
    // An authority on a line revokes its certificates.
    let authority = Krl::revoked_keys(line(1).as_bytes()).unwrap();
    assert!(authority.is_revoked(&certificate(1, 9, 8, "ana")));
    let nothing = Krl::revoked_keys(b"# nothing yet\n \n").unwrap();
    assert_eq!(nothing.extent(), wire::krl::Extent::default());
    assert!(matches!(Krl::revoked_keys(b""), Err(RevokedKeysError::Empty)));
    assert!(matches!(Krl::revoked_keys(b"\xff\xfe"), Err(RevokedKeysError::NotText)));
    for (text, number) in [("<html>", 1), ("# a\nssh-ed25519 AAAA", 2), ("x y z", 1)] {
        let refused = Krl::revoked_keys(text.as_bytes()).unwrap_err();
        assert!(matches!(refused, RevokedKeysError::Line(line) if line == number), "{refused}");
    }
    let mut binary = krl.encode().unwrap();
    assert_eq!(Krl::revoked_keys(&binary).unwrap(), krl);
    binary.pop();
    assert!(matches!(Krl::revoked_keys(&binary), Err(RevokedKeysError::List(_))));
}
