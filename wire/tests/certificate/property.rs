//! What holds for every certificate there could be.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ssh_key::SigningKey;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, PrivateKey};
use wire::certificate::{Certificate, Draft, Kind, ToBeSigned};
use wire::identifier::Serial;
use wire::time::Timestamp;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn finish(to_be_signed: ToBeSigned, authority: &impl SigningKey) -> Certificate {
    let signature = authority.try_sign(to_be_signed.as_bytes()).unwrap();
    to_be_signed.finish(&signature).unwrap().into_certificate()
}

fn map(name: &'static str) -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(name, "[^\0]{0,40}", 0..5)
}

prop_compose! {
    fn draft()(
        is_host: bool,
        serial in 1_u64..,
        key_id in "[A-Za-z0-9@._:=/-]{1,128}",
        principals in proptest::collection::btree_set("[A-Za-z0-9_:][A-Za-z0-9@._:-]{0,60}", 1..20),
        from in 0..4_000_000_000_u64,
        life in 1..34_000_000_u64,
        extensions in map("[a-z][a-z-]{0,10}@[a-z]{1,8}\\.example"),
        flags: (bool, bool),
    ) -> Draft {
        let mut extensions = extensions;
        if flags.0 && !is_host {
            extensions.insert("permit-pty".into(), String::new());
        }
        let critical = (flags.1 && !is_host).then(|| ("force-command".into(), "id; ls".into()));
        Draft {
            kind: if is_host { Kind::Host } else { Kind::User },
            subject: key(9).public_key().key_data().clone(),
            serial: Serial::try_new(serial).unwrap(),
            key_id,
            principals: principals.into_iter().collect(),
            valid_after: Timestamp::from_secs(from),
            valid_before: Timestamp::from_secs(from + life),
            critical: critical.into_iter().collect(),
            extensions,
        }
    }
}

proptest! {
    #[test]
    fn what_is_signed_reads_back_in_both_forms(draft in draft(), nonce: [u8; 32]) {
        let authority = key(1);
        let checked = draft.check().unwrap();
        let made = finish(checked.to_be_signed(nonce, authority.public_key().key_data()).unwrap(), &authority);
        prop_assert_eq!(&Certificate::from_bytes(made.as_bytes()).unwrap(), &made);
        prop_assert_eq!(&Certificate::from_openssh(&made.to_openssh()).unwrap(), &made);
        prop_assert_eq!(made.nonce(), nonce);
    }

    #[test]
    fn without_an_extension_the_bytes_are_those_of_the_draft_without_it(draft in draft(), nonce: [u8; 32], value in "[^\0]{1,200}") {
        let (authority, name) = (key(1), "proof@curfew.internal");
        let checked = draft.check().unwrap();
        let bare = checked.clone().to_be_signed(nonce, authority.public_key().key_data()).unwrap();
        let with = checked.with_extension(name, &value).unwrap();
        let made = finish(with.to_be_signed(nonce, authority.public_key().key_data()).unwrap(), &authority);
        prop_assert_eq!(made.to_be_signed_without(name).unwrap(), bare.as_bytes());
        prop_assert_eq!(made.to_be_signed_without("other@curfew.internal"), None);
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        drop(Certificate::from_bytes(&bytes));
        drop((wire::key::from_bytes(&bytes), wire::signature::from_bytes(&bytes)));
        let text = String::from_utf8_lossy(&bytes);
        drop((Certificate::from_openssh(&text), wire::key::from_openssh(&text), wire::sshsig::parse(&text)));
    }

    #[test]
    fn an_altered_length_makes_nothing_panic(draft in draft(), at: prop::sample::Index, with: [u8; 4]) {
        let authority = key(1);
        let to_be_signed = draft.check().unwrap().to_be_signed([3; 32], authority.public_key().key_data()).unwrap();
        let mut bytes = finish(to_be_signed, &authority).to_bytes();
        let at = at.index(bytes.len() - 4);
        bytes[at..at + 4].copy_from_slice(&with);
        drop(Certificate::from_bytes(&bytes));
    }

    #[test]
    fn no_principal_and_no_key_id_beyond_the_allowed_is_signed(draft in draft(), text in "\\PC{0,20}") {
        let is_plain = |more: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte));
        let named = Draft { key_id: text.clone(), ..draft.clone() };
        prop_assert_eq!(named.check().is_ok(), is_plain("@._:=/-"));
        let opening = Draft { principals: vec![text.clone()], ..draft };
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || "_:".contains(first));
        prop_assert_eq!(opening.check().is_ok(), begins && is_plain("@._:-"));
    }
}

/// Every bit of it, turned alone.
fn assert_no_other_byte_verifies(certificate: &Certificate) {
    assert_eq!(certificate.verify_signature(), Ok(()));
    let good = certificate.to_bytes();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            let verdict = Certificate::from_bytes(&bytes).map(|read| read.verify_signature());
            assert!(!matches!(verdict, Ok(Ok(()))), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn no_certificate_with_another_bit_verifies() {
    let draft = Draft {
        kind: Kind::User,
        subject: key(9).public_key().key_data().clone(),
        serial: Serial::try_new(7).unwrap(),
        key_id: "ana@example.com/g1/7".into(),
        principals: vec!["app@db1".into()],
        valid_after: Timestamp::from_secs(900),
        valid_before: Timestamp::from_secs(1_900),
        critical: BTreeMap::from([("source-address".into(), "10.0.0.0/8".into())]),
        extensions: BTreeMap::from([("permit-pty".into(), String::new())]),
    };
    let checked = draft.check().unwrap();
    let ed25519 = key(1);
    let to_be_signed =
        checked.clone().to_be_signed([3; 32], ed25519.public_key().key_data()).unwrap();
    assert_no_other_byte_verifies(&finish(to_be_signed, &ed25519));
    let p256 = EcdsaKeypair::random(
        &mut ssh_key::rand_core::UnwrapErr(ssh_key::getrandom::SysRng),
        ssh_key::EcdsaCurve::NistP256,
    )
    .unwrap();
    let p256 = PrivateKey::from(p256);
    let to_be_signed = checked.to_be_signed([3; 32], p256.public_key().key_data()).unwrap();
    assert_no_other_byte_verifies(&finish(to_be_signed, &p256));
}
