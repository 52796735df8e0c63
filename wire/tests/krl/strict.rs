//! What sshd would refuse is refused, each with its reason; the real `ssh-keygen` is asked as well.

use wire::krl::{Krl, KrlError, MAX_BITS};

use super::incumbent::{Answer, Desk};
use super::set::{NOW, certificate, issuer, key, serial};

/// A header, then these sections.
fn list(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Krl::new(1, NOW).encode().unwrap();
    bytes.extend(sections.concat());
    bytes
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    [vec![kind], string(content)].concat()
}

/// A section about every authority's certificates.
fn certificates(sections: &[Vec<u8>]) -> Vec<u8> {
    section(1, &[string(b""), string(b""), sections.concat()].concat())
}

fn bitmap(from: u64, number: &[u8]) -> Vec<u8> {
    section(0x22, &[from.to_be_bytes().to_vec(), string(number)].concat())
}

fn extension(is_critical: u8) -> Vec<u8> {
    [string(b"x@example.com"), vec![is_critical], string(b"data")].concat()
}

fn refused(sections: &[Vec<u8>]) -> KrlError {
    Krl::decode(&list(sections)).unwrap_err()
}

#[test]
fn each_way_of_being_wrong_is_named_and_openssh_refuses_it_too() {
    let mut over = vec![0; 2_049];
    over[0] = 1;
    let mut cut = list(&[certificates(&[section(0x20, &7_u64.to_be_bytes())])]);
    cut.truncate(cut.len() - 1);
    let range =
        |low: u64, high: u64| section(0x21, &[low.to_be_bytes(), high.to_be_bytes()].concat());
    let cases = [
        (cut, "cut short"),
        (list(&[certificates(&[section(0x20, &0_u64.to_be_bytes())])]), "serial 0"),
        (list(&[certificates(&[range(0, 5)])]), "serial 0"),
        (list(&[certificates(&[bitmap(0, &[1])])]), "serial 0"),
        (list(&[certificates(&[range(5, 4)])]), "ends before"),
        (list(&[certificates(&[bitmap(1, &over)])]), "more than 16384 bits"),
        (list(&[certificates(&[bitmap(1, &[0; 2_050])])]), "more than 16384 bits"),
        (list(&[certificates(&[bitmap(1, &[0x80])])]), "negative"),
        (list(&[certificates(&[bitmap(u64::MAX, &[3])])]), "beyond the last"),
        (list(&[certificates(&[section(0x20, &[1; 9])])]), "cut short"),
        (list(&[certificates(&[section(0x21, &[1; 17])])]), "more than it should"),
        (list(&[certificates(&[section(0x24, b"")])]), "0x24"),
        (list(&[certificates(&[section(0x39, &extension(1))])]), "x@example.com"),
        (list(&[section(1, &[string(b"junk"), string(b"")].concat())]), "cannot be read"),
        (list(&[section(3, &string(&[1; 19]))]), "19 bytes"),
        (list(&[section(5, &string(&[1; 33]))]), "33 bytes"),
        (list(&[section(9, b"")]), "unknown type 9"),
        (list(&[section(255, &extension(1))]), "x@example.com"),
        ([b"SSHKRL\n\0".to_vec(), vec![0, 0, 0, 2]].concat(), "format version 2"),
        (b"SSHKRL\n\0".to_vec(), "cut short"),
    ];
    let desk = Desk::new();
    let plain = desk.key(8);
    for (bytes, reason) in cases {
        let error = Krl::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error:?} should say {reason:?}");
        assert_eq!(desk.ask(&bytes, std::slice::from_ref(&plain)), Answer::Unreadable, "{reason}");
    }
}

#[test]
fn every_cut_is_refused_or_is_a_shorter_list_of_whole_sections() {
    let mut krl = Krl::new(1, NOW);
    (1..60).for_each(|n| krl.revoke_serial(&issuer(1), serial(n * 3)));
    krl.revoke_key(key(1).public_key().key_data()).unwrap();
    let bytes = krl.encode().unwrap();
    let whole = (0..bytes.len()).filter(|length| Krl::decode(&bytes[..*length]).is_ok());
    // After the header, and after the first section.
    assert_eq!(whole.count(), 2);
}

#[test]
fn a_file_that_revokes_nothing_by_mistake_is_no_list() {
    assert!(matches!(Krl::decode(b""), Err(KrlError::Empty)));
    for text in ["\n", "# nothing\n", "<html>", "ssh-ed25519 AAAA"] {
        assert!(matches!(Krl::decode(text.as_bytes()), Err(KrlError::Magic)));
    }
    // sshd takes the first two for lists of no keys (the last of the tests with logins); ssh-keygen does not.
    let desk = Desk::new();
    assert_eq!(desk.ask(b"", &[desk.key(8)]), Answer::Unreadable);
}

#[test]
fn a_signature_is_refused_and_an_extension_that_can_be_ignored_is_ignored() {
    assert!(matches!(refused(&[section(4, b"key"), string(b"signature")]), KrlError::Signature));
    let revoked =
        certificates(&[section(0x39, &extension(0)), section(0x20, &7_u64.to_be_bytes())]);
    let krl = Krl::decode(&list(&[section(255, &extension(0)), revoked])).unwrap();
    assert!(krl.is_revoked(&certificate(1, 9, 7, "x")));
    let long = section(255, &[extension(0), vec![0]].concat());
    assert!(matches!(refused(&[long]), KrlError::Trailing));
}

#[test]
fn the_longest_bitmap_that_loads_is_16384_bits_here_and_there() {
    let number = |bits: u64| {
        let mut number = vec![0; usize::try_from(bits / 8 + 1).unwrap()];
        number[0] |= u8::try_from(1_u32 << (bits % 8) >> 1).unwrap();
        if bits.is_multiple_of(8) {
            number[1] = 0x80;
        }
        list(&[certificates(&[bitmap(1, &number)])])
    };
    let desk = Desk::new();
    let last = desk.certificate(&certificate(1, 9, MAX_BITS, "x"));
    let fits = number(MAX_BITS);
    assert!(Krl::decode(&fits).unwrap().is_revoked(&certificate(1, 9, MAX_BITS, "x")));
    assert_eq!(desk.ask(&fits, std::slice::from_ref(&last)), Answer::Revoked(vec![true]));
    let over = number(MAX_BITS + 1);
    assert!(matches!(Krl::decode(&over), Err(KrlError::Bitmap)));
    assert_eq!(desk.ask(&over, &[last]), Answer::Unreadable);
}

#[test]
fn a_bitmap_may_begin_at_0_and_have_zeros_before_it() {
    let bytes = list(&[certificates(&[bitmap(0, &[0, 0, 2])])]);
    let desk = Desk::new();
    let probe = desk.certificate(&certificate(1, 9, 1, "x"));
    assert!(Krl::decode(&bytes).unwrap().is_revoked(&certificate(1, 9, 1, "x")));
    assert_eq!(desk.ask(&bytes, &[probe]), Answer::Revoked(vec![true]));
    assert!(Krl::decode(&list(&[certificates(&[bitmap(3, b"")])])).is_ok(), "no bits");
}
