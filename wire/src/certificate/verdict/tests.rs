use super::*;
use ssh_key::PrivateKey;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::Ed25519Keypair;

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// The parts of a certificate that the tests vary.
struct Draft {
    kind: CertType,
    key_id: &'static str,
    serial: u64,
    window: (u64, u64),
    principal: Option<&'static str>,
    critical: Option<&'static str>,
    until: Option<&'static str>,
}

const GOOD: Draft = Draft {
    kind: CertType::User,
    key_id: "ana@example.com/g1/7",
    serial: 7,
    window: (900, 1_900),
    principal: Some("app@db1"),
    critical: None,
    until: Some("5000"),
};

impl Draft {
    fn sign(&self, authority: &PrivateKey) -> Certificate {
        let subject = key(9).public_key().clone();
        let mut builder = Builder::new([1; 16], subject, self.window.0, self.window.1).unwrap();
        builder.serial(self.serial).unwrap().key_id(self.key_id).unwrap();
        builder.cert_type(self.kind).unwrap();
        match self.principal {
            Some(principal) => builder.valid_principal(principal).unwrap(),
            None => builder.all_principals_valid().unwrap(),
        };
        if let Some(name) = self.critical {
            builder.critical_option(name, "x").unwrap();
        }
        if let Some(until) = self.until {
            builder.extension(GRANT_UNTIL, until).unwrap();
        }
        builder.extension(ROLE, "deploy").unwrap();
        Certificate::from_bytes(&builder.sign(authority).unwrap().to_bytes().unwrap()).unwrap()
    }

    fn verdict(&self) -> Result<Facts, Refusal> {
        let trusted = [key(1).public_key().clone()];
        let (login, host) = ("app".parse().unwrap(), "db1".parse().unwrap());
        verify(&self.sign(&key(1)), &trusted, &login, &host, NOW)
    }
}

#[test]
fn a_good_certificate_says_who_and_until_when() {
    let facts = GOOD.verdict().unwrap();
    assert_eq!(facts.subject.identity.as_str(), "ana@example.com");
    assert_eq!(facts.subject.role.as_str(), "deploy");
    assert_eq!(facts.grant_until, Timestamp::from_secs(5_000));
    assert_eq!(facts.valid_before, Timestamp::from_secs(1_900));
}

#[test]
fn each_broken_rule_is_named() {
    let cases = [
        (Draft { kind: CertType::Host, ..GOOD }, Refusal::Kind),
        (Draft { window: (1_001, 1_900), ..GOOD }, Refusal::Early),
        (Draft { window: (900, 1_000), ..GOOD }, Refusal::Expired),
        (Draft { principal: None, ..GOOD }, Refusal::NoPrincipal),
        (Draft { principal: Some("app@db2"), ..GOOD }, Refusal::Elsewhere("app@db2".into())),
        (Draft { principal: Some("root@db1"), ..GOOD }, Refusal::Elsewhere("root@db1".into())),
        (Draft { principal: Some("app"), ..GOOD }, Refusal::Elsewhere("app".into())),
        (Draft { critical: Some("x@y"), ..GOOD }, Refusal::Critical("x@y".into())),
        (Draft { key_id: "ana (serial 7)", ..GOOD }, Refusal::KeyId),
        (Draft { serial: 8, ..GOOD }, Refusal::Serial),
        (Draft { until: None, ..GOOD }, Refusal::Extension(GRANT_UNTIL)),
        (Draft { until: Some("-1"), ..GOOD }, Refusal::Extension(GRANT_UNTIL)),
        (Draft { until: Some("1000"), ..GOOD }, Refusal::GrantEnded),
    ];
    for (draft, refusal) in cases {
        assert_eq!(draft.verdict().unwrap_err(), refusal);
    }
}

#[test]
fn another_authority_and_an_altered_certificate_are_refused() {
    let (login, host) = ("app".parse().unwrap(), "db1".parse().unwrap());
    let trusted = [key(1).public_key().clone()];
    let foreign = GOOD.sign(&key(2));
    let refusal = verify(&foreign, &trusted, &login, &host, NOW).unwrap_err();
    assert!(matches!(refusal, Refusal::Authority(_)), "{refusal}");

    let mut bytes = GOOD.sign(&key(1)).to_bytes();
    let at = bytes.windows(7).position(|window| window == b"app@db1").unwrap();
    bytes[at] = b'A';
    let altered = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!(verify(&altered, &trusted, &login, &host, NOW).unwrap_err(), Refusal::Signature);
}
