//! Security keys as authorities and at logins, played by software; and what `ssh-keygen -Y` seals.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{HashAlg, LineEnding, Mpint, Signature, SshSig};
use wire::certificate::{Draft, Kind};
use wire::identifier::Serial;
use wire::signature::Presence;
use wire::sshsig::{self, SealFlaw};
use wire::time::Timestamp;

use super::desk::{Desk, string};
use super::listing::listing;

/// A security key in software: it signs whatever flags it is told.
enum Token {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

const APPLICATION: &str = "ssh:curfew";

impl Token {
    fn both() -> [Self; 2] {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let p256 =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        [Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap()), Self::P256(p256)]
    }

    fn public(&self) -> KeyData {
        match self {
            Self::Ed25519(pair) => {
                let point = Ed25519PublicKey(pair.public_key().as_ref().try_into().unwrap());
                SkEd25519::new(point, APPLICATION).into()
            }
            Self::P256(pair) => {
                let point = EcdsaPublicKey::from_sec1_bytes(pair.public_key().as_ref()).unwrap();
                let EcdsaPublicKey::NistP256(point) = point else { panic!("another curve") };
                SkEcdsaSha2NistP256::new(point, APPLICATION).into()
            }
        }
    }

    fn sign(&self, message: &[u8], flags: u8, counter: u32) -> Signature {
        let mut signed = digest(&SHA256, APPLICATION.as_bytes()).as_ref().to_vec();
        signed.push(flags);
        signed.extend(counter.to_be_bytes());
        signed.extend(digest(&SHA256, message).as_ref());
        let (name, raw) = match self {
            Self::Ed25519(pair) => {
                ("sk-ssh-ed25519@openssh.com", pair.sign(&signed).as_ref().to_vec())
            }
            Self::P256(pair) => {
                let fixed = pair.sign(&SystemRandom::new(), &signed).unwrap();
                let mut raw = Vec::new();
                for number in fixed.as_ref().chunks(32) {
                    string(&mut raw, Mpint::from_positive_bytes(number).as_bytes());
                }
                ("sk-ecdsa-sha2-nistp256@openssh.com", raw)
            }
        };
        let mut blob = Vec::new();
        string(&mut blob, name.as_bytes());
        string(&mut blob, &raw);
        blob.push(flags);
        blob.extend(counter.to_be_bytes());
        wire::signature::from_bytes(&blob).unwrap()
    }
}

fn draft(subject: KeyData) -> Draft {
    Draft {
        kind: Kind::User,
        subject,
        serial: Serial::try_new(7).unwrap(),
        key_id: "ana@example.com/g1/7".into(),
        principals: vec!["app@db1".into()],
        valid_after: Timestamp::from_secs(900),
        valid_before: Timestamp::from_secs(1_900),
        critical: BTreeMap::new(),
        extensions: BTreeMap::new(),
    }
}

#[test]
fn a_security_key_certifies_and_openssh_believes_it() {
    let desk = Desk::new();
    let subject = desk.pair("user", "ed25519", "256");
    for (token, flags) in
        Token::both().iter().flat_map(|token| [(token, 1), (token, 0), (token, 5)])
    {
        let checked = draft(subject.clone()).check().unwrap();
        let to_be_signed = checked.to_be_signed([3; 32], &token.public()).unwrap();
        let signature = token.sign(to_be_signed.as_bytes(), flags, 77);
        let made = to_be_signed.clone().finish(&signature).unwrap();
        let listed = desk.list(&made.to_openssh());
        assert!(listed.status.success(), "{listed:?}");
        assert_eq!(listed.stdout, listing("listed-cert.pub", &made));
        let mut bytes = made.to_bytes();
        *bytes.last_mut().unwrap() ^= 1;
        let altered = wire::certificate::Certificate::from_bytes(&bytes).unwrap();
        assert!(altered.verify_signature().is_err(), "the counter is signed");
        assert!(to_be_signed.finish(&token.sign(b"something else", flags, 77)).is_err());
    }
}

#[test]
fn a_login_needs_a_touch_and_says_whether_its_holder_was_verified() {
    for token in Token::both() {
        let (key, purpose, message) = (token.public(), "login@curfew.internal", b"hello");
        let signed = SshSig::signed_data(purpose, HashAlg::Sha512, message).unwrap();
        let seal = |flags| {
            let signature = token.sign(&signed, flags, 9);
            let seal = SshSig::new(key.clone(), purpose, HashAlg::Sha512, signature).unwrap();
            sshsig::parse(&seal.to_pem(LineEnding::LF).unwrap()).unwrap()
        };
        let touched = Presence { touched: true, verified: false, counter: 9 };
        assert_eq!(sshsig::verify(&seal(1), &key, purpose, message), Ok(Some(touched)));
        let verified = Presence { verified: true, ..touched };
        assert_eq!(sshsig::verify(&seal(5), &key, purpose, message), Ok(Some(verified)));
        for untouched in [0, 4] {
            let verdict = sshsig::verify(&seal(untouched), &key, purpose, message);
            assert_eq!(verdict, Err(SealFlaw::Untouched));
        }
    }
}

#[test]
fn what_ssh_keygen_seals_is_believed_for_its_key_purpose_and_message_only() {
    let desk = Desk::new();
    for (kind, bits) in
        [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")]
    {
        let name = format!("{kind}{bits}");
        let key = desk.pair(&name, kind, bits);
        for hash in ["hashalg=sha256", "hashalg=sha512"] {
            let file = format!("{name}.message");
            std::fs::write(desk.path(&file), "hello").unwrap();
            drop(std::fs::remove_file(desk.path(&format!("{file}.sig"))));
            let made =
                desk.keygen(&["-q", "-Y", "sign", "-n", "login@x", "-O", hash, "-f", &name, &file]);
            assert!(made.status.success(), "{made:?}");
            let text = std::fs::read_to_string(desk.path(&format!("{file}.sig"))).unwrap();
            let seal = sshsig::parse(&text).unwrap();
            assert_eq!(sshsig::verify(&seal, &key, "login@x", b"hello"), Ok(None), "{name}");
            assert_eq!(sshsig::verify(&seal, &key, "file", b"hello"), Err(SealFlaw::Namespace));
            assert!(sshsig::verify(&seal, &key, "login@x", b"hullo").is_err());
            let other = super::desk::rsa(2048);
            assert_eq!(sshsig::verify(&seal, &other, "login@x", b"hello"), Err(SealFlaw::Key));
        }
    }
}

#[test]
fn no_key_beyond_what_is_checked_is_taken_for_a_login() {
    use wire::signature::SignatureFlaw;
    let line = |bits| ssh_key::PublicKey::new(super::desk::rsa(bits), "").to_openssh().unwrap();
    assert!(sshsig::login_key(&line(8192)).is_ok());
    assert_eq!(sshsig::login_key(&line(8193)), Err(SignatureFlaw::LongRsa(8193)));
    assert!(wire::key::from_openssh(&line(16_384)).is_ok(), "it can be certified all the same");
}
