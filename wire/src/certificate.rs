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
    let wanted = Principal::of(login, host).map_err(|_: NameError| Refusal::NoPrincipal)?;
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
    let key_id: KeyId = certificate.key_id().parse().map_err(|_: NameError| Refusal::KeyId)?;
    if key_id.serial.number() != certificate.serial() {
        return Err(Refusal::Serial);
    }
    let role: RoleName =
        extension(certificate, ROLE)?.parse().map_err(|_: NameError| Refusal::Extension(ROLE))?;
    let grant_until = extension(certificate, GRANT_UNTIL)?
        .parse()
        .map(Timestamp::from_secs)
        .map_err(|_: std::num::ParseIntError| Refusal::Extension(GRANT_UNTIL))?;
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
