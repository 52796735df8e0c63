use super::*;
use crate::certificate::{Draft, Kind, NONCE};
use proptest::prelude::*;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use ssh_key::public::KeyData;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn private(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn name() -> UseName {
    UseName {
        drill: false,
        incident: "INC-42".parse().unwrap(),
        custodians: vec!["ann".parse().unwrap(), "bob".parse().unwrap()],
        until: NOW.after(Duration::from_secs(1_800)),
        serial: Serial::try_new(FIRST_SERIAL + 7).unwrap(),
    }
}

fn draft(name: &UseName) -> Draft {
    Draft {
        kind: Kind::User,
        subject: KeyData::from(private(2).public_key()),
        serial: name.serial,
        key_id: name.to_string(),
        principals: vec!["breakglass@db1".into()],
        valid_after: NOW.before(Duration::from_secs(30)),
        valid_before: name.until,
        critical: BTreeMap::new(),
        extensions: BTreeMap::from([(REASON.to_owned(), "the authority is gone".to_owned())]),
    }
}

fn signed(draft: Draft, by: u8) -> Certificate {
    let bytes = draft.check().unwrap();
    let bytes = bytes.to_be_signed([9; NONCE], private(by).public_key().key_data()).unwrap();
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[by; 32]).unwrap();
    let signature = pair.sign(bytes.as_bytes()).as_ref().to_vec();
    let signature = ssh_key::Signature::new(ssh_key::Algorithm::Ed25519, signature).unwrap();
    bytes.finish(&signature).unwrap().into_certificate()
}

fn judge(certificate: &Certificate, login: &str, host: &str) -> Result<Opening, Refusal> {
    let keys = [private(1).public_key().clone()];
    verify(certificate, &keys, &login.parse().unwrap(), &host.parse().unwrap(), NOW)
}

#[test]
fn a_certificate_of_the_group_opens_its_account_on_its_host() {
    let certificate = signed(draft(&name()), 1);
    let opening = judge(&certificate, "breakglass", "db1").unwrap();
    assert_eq!(opening.name, name());
    assert_eq!(opening.reason, "the authority is gone");
    assert_eq!(opening.subject.identity.as_str(), "breakglass:INC-42");
    assert_eq!(opening.subject.role.as_str(), ROLE);
}

#[test]
fn whatever_is_not_right_opens_nothing() {
    let good = || draft(&name());
    let table: Vec<(Draft, &str)> = vec![
        (
            Draft { key_id: "ana@example.com/g1/7".into(), ..good() },
            "its key id is not of the form",
        ),
        (
            Draft { serial: Serial::try_new(FIRST_SERIAL + 8).unwrap(), ..good() },
            "its key id and its serial disagree",
        ),
        (
            Draft { valid_before: NOW.after(Duration::from_secs(60)), ..good() },
            "its key id and its end disagree",
        ),
        (
            Draft { valid_after: NOW.before(Duration::from_secs(3_000)), ..good() },
            "more than an hour",
        ),
        (Draft { extensions: BTreeMap::new(), ..good() }, "extension is missing"),
        (
            Draft {
                extensions: BTreeMap::from([(REASON.to_owned(), "two\nlines".to_owned())]),
                ..good()
            },
            "no reason of one line",
        ),
        (Draft { valid_after: NOW.after(Duration::from_secs(10)), ..good() }, "not valid yet"),
    ];
    for (draft, expected) in table {
        let error = judge(&signed(draft, 1), "breakglass", "db1").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let certificate = signed(good(), 1);
    for (login, host) in [("root", "db1"), ("breakglass", "db2")] {
        assert!(judge(&certificate, login, host).unwrap_err().to_string().contains("it is for"));
    }
    let foreign = judge(&signed(good(), 3), "breakglass", "db1").unwrap_err().to_string();
    assert!(foreign.contains("does not trust"), "{foreign}");
}

#[test]
fn serials_are_above_whatever_a_ledger_gives() {
    use crate::log::Era;
    let last = (0..70).fold(Era::FIRST, |era, _| {
        era.next(Timestamp::from_secs(era.number().saturating_mul(2).saturating_add(1_800_000_000)))
            .unwrap_or(era)
    });
    assert!(last.floor() <= 1 << 62);
    assert!(!is_of_breakglass(last.floor() + (1 << 60)));
    assert!(is_of_breakglass(FIRST_SERIAL) && is_of_breakglass(LAST_SERIAL));
    assert!(!is_of_breakglass(FIRST_SERIAL - 1) && !is_of_breakglass(LAST_SERIAL + 1));
}

#[test]
fn the_longest_name_fits_into_a_key_id() {
    let longest = UseName {
        drill: false,
        incident: "I".repeat(20).parse().unwrap(),
        custodians: ["a", "b", "c", "d", "e"].map(|one| one.repeat(12).parse().unwrap()).to_vec(),
        until: Timestamp::from_secs(9_999_999_999),
        serial: Serial::try_new(LAST_SERIAL).unwrap(),
    };
    assert!(longest.to_string().len() <= certificate::MAX_KEY_ID);
    assert_eq!(longest.to_string().parse::<UseName>().unwrap(), longest);
}

#[test]
fn names_of_another_form_are_refused() {
    let good = name().to_string();
    for wrong in [
        good.replace("breakglass", "Breakglass"),
        good.replace("ann.bob", "ann.ann"),
        good.replace("ann.bob", ""),
        good.replace("ann.bob", "ann.bob.c.d.e.f"),
        good.replace("/18", "/018"),
        good.replace("/18", "/+18"),
        format!("{good}/1"),
        good.replace(&(FIRST_SERIAL + 7).to_string(), "7"),
    ] {
        assert!(wrong.parse::<UseName>().is_err(), "{wrong}");
    }
}

#[test]
fn a_file_of_keys_holds_a_key_a_line() {
    let line = |seed| private(seed).public_key().to_openssh().unwrap();
    let text = format!("# group of 2026\n{} old\n\n{}\n", line(1), line(2));
    let found = keys(&text).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        authorized_line(&found[0], &"breakglass".parse().unwrap(), &"db1".parse().unwrap())
            .unwrap(),
        format!("cert-authority,principals=\"breakglass@db1\" {}", line(1))
    );
    assert!(keys("").unwrap().is_empty());
    for wrong in [
        format!("{}\n{}", line(1), line(1)),
        "ssh-ed25519 AAAA".to_owned(),
        format!("cert-authority {}", line(1)),
        (1..=4).map(|seed| line(seed) + "\n").collect(),
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGvM".to_owned(),
    ] {
        assert!(keys(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_use_says_what_it_is() {
    let mut used = Use {
        name: name(),
        login: "breakglass".parse().unwrap(),
        remote: "10.0.0.9".into(),
        key: None,
        authority: Fingerprint::of(b"group"),
        reason: "all is down".into(),
        noticed: Noticed::Word,
        at: NOW,
        session: None,
        alarms: vec![Alarm { by: "journal".into(), fault: None, waits: false }],
    };
    assert_eq!(
        used.to_string(),
        format!(
            "BREAK-GLASS for INC-42: breakglass from 10.0.0.9, signed by ann and bob (serial {}), while the agent was down: all is down",
            FIRST_SERIAL + 7
        )
    );
    assert!(used.is_loud());
    used.alarms.push(Alarm { by: "wall".into(), fault: Some("no terminal".into()), waits: false });
    assert!(!used.is_loud());
    let text = serde_json::to_string(&used).unwrap();
    assert_eq!(serde_json::from_str::<Use>(&text).unwrap(), used);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        drop((text.parse::<UseName>(), keys(&text)));
        assert!(!is_reason(&text) || text.is_ascii());
    }
}
