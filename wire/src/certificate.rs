//! A user certificate as Curfew means it, on top of OpenSSH's own rules (PROTOCOL.certkeys).
//!
//! Parsing is not validating: what came over a wire is a [`ssh_key::Certificate`]; what was checked is [`Facts`].

use ssh_key::certificate::CertType;
use ssh_key::{Certificate, HashAlg, PublicKey};

use crate::identifier::{Fingerprint, HostName, KeyId, Login, NameError, Principal, RoleName};
use crate::lock::Subject;
use crate::time::Timestamp;

/// What a checked certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who, under what, and where.
    pub subject: Subject,
    /// The certificate opens nothing from this moment on.
    pub valid_before: Timestamp,
    /// The grant's end: when a session begun with it ends.
    pub grant_until: Timestamp,
}

/// Why a certificate opens nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is a host certificate.
    #[error("it is not a user certificate")]
    Kind,
    /// Another authority signed it.
    #[error("it is signed by an authority that this host does not trust ({0})")]
    Authority(Fingerprint),
    /// The signature is wrong.
    #[error("its signature does not verify")]
    Signature,
    /// Its window has not begun.
    #[error("it is not valid yet")]
    Early,
    /// Its window is over.
    #[error("it has expired")]
    Expired,
    /// It names nobody or nowhere.
    #[error("it names no principal")]
    NoPrincipal,
    /// It is for another login or host.
    #[error("it is for {0}")]
    Elsewhere(String),
    /// It carries a critical option that we do not know.
    #[error("it carries the unknown critical option {0:?}")]
    Critical(String),
    /// Its key id is not ours.
    #[error("its key id is not of the form identity/grant/serial")]
    KeyId,
    /// Its serial and its key id disagree.
    #[error("its serial and its key id disagree")]
    Serial,
    /// An extension that every certificate of ours carries is missing or malformed.
    #[error("its {0} extension is missing or malformed")]
    Extension(&'static str),
    /// The grant is over, whatever the window says.
    #[error("its grant has ended")]
    GrantEnded,
}

/// Checks that `certificate` opens `login` on `host` at `now`: trusted authority, signature, kind, window, principal,
/// options, key id, grant. Everything but locks and the ledger.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify(
    certificate: &Certificate,
    authorities: &[PublicKey],
    login: &Login,
    host: &HostName,
    now: Timestamp,
) -> Result<Facts, Refusal> {
    verify_signer(certificate, authorities)?;
    verify_window(certificate, now)?;
    verify_principal(certificate, login, host)?;
    for (name, _) in certificate.critical_options().iter() {
        if !KNOWN_CRITICAL_OPTIONS.contains(&name.as_str()) {
            return Err(Refusal::Critical(name.clone()));
        }
    }
    let facts = read(certificate, login, host)?;
    if facts.grant_until <= now { Err(Refusal::GrantEnded) } else { Ok(facts) }
}

fn verify_signer(certificate: &Certificate, authorities: &[PublicKey]) -> Result<(), Refusal> {
    if certificate.cert_type() != CertType::User {
        return Err(Refusal::Kind);
    }
    let signer = certificate.signature_key();
    if !authorities.iter().any(|authority| authority.key_data() == signer) {
        return Err(Refusal::Authority(fingerprint(signer)));
    }
    certificate.verify_signature().map_err(|_source| Refusal::Signature)
}

fn verify_window(certificate: &Certificate, now: Timestamp) -> Result<(), Refusal> {
    if now.secs() < certificate.valid_after() {
        return Err(Refusal::Early);
    }
    if now.secs() >= certificate.valid_before() { Err(Refusal::Expired) } else { Ok(()) }
}

fn verify_principal(
    certificate: &Certificate,
    login: &Login,
    host: &HostName,
) -> Result<(), Refusal> {
    let principals = certificate.valid_principals();
    if principals.is_empty() {
        return Err(Refusal::NoPrincipal);
    }
    let wanted = Principal::of(login, host).map_err(|_unnamed: NameError| Refusal::NoPrincipal)?;
    if principals.iter().any(|principal| principal == wanted.as_str()) {
        return Ok(());
    }
    let shown: Vec<String> = principals
        .iter()
        .map(|name| crate::octets::Octets::new(name.as_bytes()).display())
        .collect();
    Err(Refusal::Elsewhere(shown.join(" ")))
}

fn read(certificate: &Certificate, login: &Login, host: &HostName) -> Result<Facts, Refusal> {
    let key_id: KeyId =
        certificate.key_id().parse().map_err(|_unnamed: NameError| Refusal::KeyId)?;
    if key_id.serial.number() != certificate.serial() {
        return Err(Refusal::Serial);
    }
    let role: RoleName = extension(certificate, ROLE)?
        .parse()
        .map_err(|_unnamed: NameError| Refusal::Extension(ROLE))?;
    let grant_until = extension(certificate, GRANT_UNTIL)?
        .parse()
        .map(Timestamp::from_secs)
        .map_err(|_odd: std::num::ParseIntError| Refusal::Extension(GRANT_UNTIL))?;
    let subject = Subject {
        identity: key_id.identity,
        grant: key_id.grant,
        serial: key_id.serial,
        key: fingerprint(certificate.public_key()),
        role,
        login: login.clone(),
        host: host.clone(),
    };
    let valid_before = Timestamp::from_secs(certificate.valid_before());
    Ok(Facts { subject, valid_before, grant_until })
}

fn extension<'a>(certificate: &'a Certificate, name: &'static str) -> Result<&'a str, Refusal> {
    certificate
        .extensions()
        .iter()
        .find(|(key, _)| key.as_str() == name)
        .map(|(_, value)| value.as_str())
        .ok_or(Refusal::Extension(name))
}

/// The fingerprint of a public key, as OpenSSH prints it.
#[must_use]
pub fn fingerprint(key: &ssh_key::public::KeyData) -> Fingerprint {
    let printed = key.fingerprint(HashAlg::Sha256).to_string();
    Fingerprint::try_new(printed).unwrap_or_else(|_impossible| Fingerprint::of(b""))
}

/// The extension that carries the grant's end: seconds since 1970, decimal.
pub const GRANT_UNTIL: &str = "grant-until@curfew.internal";
/// The extension that carries the role's name.
pub const ROLE: &str = "role@curfew.internal";
/// Critical options that sshd enforces and that we may issue (PROTOCOL.certkeys); any other is refused.
pub const KNOWN_CRITICAL_OPTIONS: [&str; 3] =
    ["force-command", "source-address", "verify-required"];

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::certificate::Builder;
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
            builder.sign(authority).unwrap()
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

        let mut bytes = GOOD.sign(&key(1)).to_bytes().unwrap();
        let at = bytes.windows(7).position(|window| window == b"app@db1").unwrap();
        bytes[at] = b'A';
        let altered = Certificate::from_bytes(&bytes).unwrap();
        assert_eq!(verify(&altered, &trusted, &login, &host, NOW).unwrap_err(), Refusal::Signature);
    }
}
