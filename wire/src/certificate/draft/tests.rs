use super::*;
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use ssh_key::{PublicKey, SigningKey};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn sign(key: &impl SigningKey, message: &[u8]) -> Signature {
    key.try_sign(message).unwrap()
}

fn good() -> Draft {
    Draft {
        kind: Kind::User,
        subject: key(9).public_key().key_data().clone(),
        serial: Serial::try_new(7).unwrap(),
        key_id: "ana@example.com/g1/7".into(),
        principals: vec!["app@db1".into()],
        valid_after: Timestamp::from_secs(900),
        valid_before: Timestamp::from_secs(1_900),
        critical: BTreeMap::from([("source-address".into(), "10.0.0.0/8".into())]),
        extensions: BTreeMap::from([("permit-pty".into(), String::new())]),
    }
}

fn to_be_signed(draft: Draft) -> ToBeSigned {
    draft.check().unwrap().to_be_signed([3; 32], key(1).public_key().key_data()).unwrap()
}

#[test]
fn hostile_principals_and_key_ids_are_never_signed() {
    for text in [
        "", "a b", "a,root", "a\nb", "a\"b", "*", "ro?t", "!a", "-a", "@a", ".a", "é", "a'b",
        "a$b", "a\0", "a\tb", "a;b",
    ] {
        let draft = Draft { principals: vec!["app@db1".into(), text.into()], ..good() };
        assert!(matches!(draft.check(), Err(Unfit::Principal(_))), "{text:?}");
    }
    for text in ["", "ana (serial 8)", "ana\n", "a,b", "a\"b", "é", "a\0", "a*b", &"a".repeat(129)]
    {
        let draft = Draft { key_id: text.into(), ..good() };
        assert!(matches!(draft.check(), Err(Unfit::KeyId(_))), "{text:?}");
    }
}

#[test]
fn each_rule_of_the_draft_is_named() {
    let names = |count: usize| (0..count).map(|number| format!("app@db{number}")).collect();
    let long = ["a".repeat(254)].to_vec();
    let year = Timestamp::from_secs(900).after(MAX_LIFE);
    let subject = |line: &str| line.parse::<PublicKey>().unwrap().key_data().clone();
    let dsa = "ssh-dss AAAAB3NzaC1kc3MAAAABAwAAAAEDAAAAAQMAAAABAw==";
    let (window, forever) = (Timestamp::from_secs(900), Timestamp::from_secs(u64::MAX));
    let cases = [
        (Draft { principals: Vec::new(), ..good() }, "it names no principal"),
        (
            Draft { principals: names(257), ..good() },
            "it has 257 principals; OpenSSH reads at most 256",
        ),
        (
            Draft { principals: vec!["a".into(), "a".into()], ..good() },
            "the principal a is there twice",
        ),
        (Draft { principals: long, ..good() }, "is not 1 to 253 of letters"),
        (Draft { valid_before: window, ..good() }, "it would not be valid at any time"),
        (
            Draft { valid_before: Timestamp::from_millis(900_999), ..good() },
            "it would not be valid at any time",
        ),
        (
            Draft { valid_before: Timestamp::from_millis(year.millis() + 1), ..good() },
            "for more than 400 days",
        ),
        (Draft { valid_before: forever, ..good() }, "for more than 400 days"),
        (Draft { subject: subject(dsa), ..good() }, "keys of type ssh-dss are not used"),
    ];
    for (draft, words) in cases {
        let unfit = draft.check().unwrap_err().to_string();
        assert!(unfit.contains(words), "{unfit}");
    }
    assert!(Draft { principals: names(256), valid_before: year, ..good() }.check().is_ok());
}

#[test]
fn only_options_that_mean_what_they_say_are_signed() {
    let with = |is_critical: bool, name: &str, value: &str| {
        let options = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let draft = if is_critical {
            Draft { critical: options, ..good() }
        } else {
            Draft { extensions: options, ..good() }
        };
        draft.check().is_ok()
    };
    for (name, value) in [
        ("verify-required", ""),
        ("force-command", "env A=b,c run"),
        ("source-address", "::/0,10.0.0.0/8"),
    ] {
        assert!(with(true, name, value), "{name}={value}");
        assert!(!with(false, name, value), "{name} is no extension");
    }
    for (name, value) in [
        ("verify-required", "1"),
        ("force-command", ""),
        ("force-command", "a\nb"),
        ("source-address", ""),
        ("source-address", "10.0.0.1/8"),
        ("source-address", "10.0.0.0/33"),
        ("source-address", "10.0.0.0/8, 192.0.2.0/24"),
        ("permit-pty", ""),
        ("mine@example.com", "1"),
        ("", ""),
    ] {
        assert!(!with(true, name, value), "{name}={value}");
    }
    for (name, value) in
        [("permit-pty", ""), ("no-touch-required", ""), ("mine@example.com", "any\ntext")]
    {
        assert!(with(false, name, value), "{name}={value}");
    }
    for (name, value) in [
        ("permit-pty", "1"),
        ("permit-everything", ""),
        ("a b@x", ""),
        ("@x", ""),
        ("a@", ""),
        ("a@x", "\0"),
    ] {
        assert!(!with(false, name, value), "{name}={value}");
    }
}

#[test]
fn a_host_certificate_carries_no_options_of_sshd() {
    let host = || Draft {
        kind: Kind::Host,
        critical: BTreeMap::new(),
        extensions: BTreeMap::new(),
        ..good()
    };
    assert!(host().check().is_ok());
    assert!(Draft { extensions: good().extensions, ..host() }.check().is_err());
    assert!(Draft { critical: good().critical, ..host() }.check().is_err());
    assert!(host().check().unwrap().with_extension("proof@curfew.internal", "x").is_ok());
}

#[test]
fn one_word_more_or_less_is_noticed() {
    let (made, other) = (to_be_signed(good()), Serial::try_new(8).unwrap());
    let changed = [
        ("kind", Draft { kind: Kind::Host, ..good() }),
        ("key", Draft { subject: key(8).public_key().key_data().clone(), ..good() }),
        ("serial", Draft { serial: other, ..good() }),
        ("key id", Draft { key_id: "bob@example.com/g1/7".into(), ..good() }),
        ("principals", Draft { principals: vec!["app@db1".into(), "root@db1".into()], ..good() }),
        ("beginning", Draft { valid_after: Timestamp::from_secs(901), ..good() }),
        ("end", Draft { valid_before: Timestamp::from_secs(1_901), ..good() }),
        ("critical options", Draft { critical: BTreeMap::new(), ..good() }),
        (
            "extensions",
            Draft { extensions: BTreeMap::from([("permit-pty".into(), "x".into())]), ..good() },
        ),
    ];
    let signature = sign(&key(1), made.as_bytes());
    for (field, draft) in changed {
        let meant = ToBeSigned { draft, ..made.clone() };
        assert_eq!(meant.finish(&signature), Err(Unfit::Differs(field)));
    }
    let nonce = ToBeSigned { nonce: [4; 32], ..made.clone() };
    assert_eq!(nonce.finish(&signature), Err(Unfit::Differs("nonce")));
    let authority =
        ToBeSigned { authority: key(2).public_key().key_data().clone(), ..made.clone() };
    assert_eq!(authority.finish(&signature), Err(Unfit::Differs("authority")));
    assert!(made.finish(&signature).is_ok());
}

#[test]
fn a_signature_by_another_key_or_over_something_else_is_never_released() {
    let made = to_be_signed(good());
    let foreign = sign(&key(2), made.as_bytes());
    assert_eq!(made.clone().finish(&foreign), Err(Unfit::Signature(SignatureFlaw::Wrong)));
    let elsewhere = sign(&key(1), b"something else");
    assert_eq!(made.finish(&elsewhere), Err(Unfit::Signature(SignatureFlaw::Wrong)));
}

#[test]
fn nothing_certifies_itself_and_no_certificate_certifies() {
    let checked = good().check().unwrap();
    let subject = good().subject;
    assert_eq!(checked.clone().to_be_signed([3; 32], &subject), Err(Unfit::Itself));
    let made = to_be_signed(good());
    let signature = sign(&key(1), made.as_bytes());
    let made = made.finish(&signature).unwrap();
    let certificate = PublicKey::from_bytes(made.as_bytes()).unwrap();
    assert!(certificate.key_data().is_certificate());
    let refused = checked.to_be_signed([3; 32], certificate.key_data()).unwrap_err();
    assert_eq!(refused, Unfit::Authority(SignatureFlaw::Key(KeyFlaw::Certificate)));
    let draft = Draft { subject: certificate.key_data().clone(), ..good() };
    assert_eq!(draft.check(), Err(Unfit::Subject(KeyFlaw::Certificate)));
}

#[test]
fn the_same_extension_is_not_added_twice() {
    let once = good().check().unwrap().with_extension("proof@curfew.internal", "a").unwrap();
    assert!(once.with_extension("proof@curfew.internal", "b").is_err());
}
