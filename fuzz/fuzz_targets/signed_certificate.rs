//! Certificates that the authority signed, with anything in them: one that opens says exactly what it opens.
#![no_main]

use arbitrary::Arbitrary;
use curfew_fuzz::{NOW, NOW_SECS, key};
use libfuzzer_sys::fuzz_target;
use ssh_key::certificate::{Builder, CertType};
use wire::certificate::{Certificate, GRANT_UNTIL, KNOWN_CRITICAL_OPTIONS, ROLE, verify};

#[derive(Debug, Arbitrary)]
struct Draft<'a> {
    is_host: bool,
    serial: u8,
    key_id: Text<'a>,
    /// Around now.
    window: (i8, i8),
    principals: Vec<Text<'a>>,
    critical: Vec<(Text<'a>, &'a str)>,
    until: Text<'a>,
    role: Text<'a>,
    extensions: Vec<(Text<'a>, &'a str)>,
}

/// Often a good one: chance alone would not find it.
#[derive(Debug, Arbitrary)]
enum Text<'a> {
    Good,
    Any(&'a str),
}

impl<'a> Text<'a> {
    fn or(&self, good: &'a str) -> &'a str {
        match self {
            Self::Good => good,
            Self::Any(text) => text,
        }
    }
}

fuzz_target!(|draft: Draft<'_>| {
    let Ok(certificate) = sign(&draft) else { return };
    // The builder signs text with a NUL in it, which is not read back.
    let Ok(certificate) = Certificate::from_bytes(&certificate.to_bytes().expect("bytes")) else {
        return;
    };
    let trusted = [key(1).public_key().clone()];
    let (login, host) = ("app".parse().expect("login"), "db1".parse().expect("host"));
    let Ok(facts) = verify(&certificate, &trusted, &login, &host, NOW) else { return };
    assert!(!draft.is_host);
    assert!(facts.grant_until > NOW && facts.valid_before > NOW);
    assert!(certificate.valid_after() <= NOW_SECS);
    assert_eq!(facts.subject.serial.number(), certificate.serial());
    let owner = format!("{}/", facts.subject.identity);
    assert!(certificate.key_id().as_bytes().starts_with(owner.as_bytes()));
    assert!(certificate.principals().iter().any(|principal| principal.as_bytes() == b"app@db1"));
    for (name, _) in certificate.critical().iter() {
        assert!(KNOWN_CRITICAL_OPTIONS.iter().any(|known| known.as_bytes() == name.as_bytes()));
    }
    assert!(verify(&certificate, &[key(3).public_key().clone()], &login, &host, NOW).is_err());
});

fn sign(draft: &Draft<'_>) -> Result<ssh_key::Certificate, ssh_key::Error> {
    let moment = |offset: i8| NOW_SECS.saturating_add_signed(offset.into());
    let (after, before) = (moment(draft.window.0), moment(draft.window.1));
    let mut builder = Builder::new([1; 16], key(9).public_key().clone(), after, before)?;
    builder.serial(draft.serial.into())?;
    builder.cert_type(if draft.is_host { CertType::Host } else { CertType::User })?;
    builder.key_id(draft.key_id.or("ana@example.com/g1/7"))?;
    if draft.principals.is_empty() {
        builder.all_principals_valid()?;
    }
    for principal in &draft.principals {
        builder.valid_principal(principal.or("app@db1"))?;
    }
    for (name, value) in &draft.critical {
        builder.critical_option(name.or("source-address"), *value)?;
    }
    builder.extension(GRANT_UNTIL, draft.until.or("5000"))?;
    builder.extension(ROLE, draft.role.or("deploy"))?;
    for (name, value) in &draft.extensions {
        builder.extension(name.or("permit-pty"), *value)?;
    }
    builder.sign(&key(1))
}
