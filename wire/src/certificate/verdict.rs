//! What a certificate of Curfew's proves, and why one opens nothing.

use std::collections::BTreeMap;

use ssh_key::PublicKey;

use crate::breakglass::pass::{self, Pass, PassFlaw};
use crate::identifier::{Fingerprint, HostName, KeyId, Login, NameError, Principal, RoleName};
use crate::limits::{self, Limits, LimitsFlaw};
use crate::lock::Subject;
use crate::octets::Octets;
use crate::time::Timestamp;

use super::{Certificate, Kind, OptionFlaw, Sealed, fingerprint};

/// What a checked certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who, under what, and where.
    pub subject: Subject,
    /// The certificate opens nothing from this moment on.
    pub valid_before: Timestamp,
    /// The grant's end: when a session begun with it ends.
    pub grant_until: Timestamp,
    /// What sshd holds the login to: each critical option with its text, which is empty for a flag.
    pub options: BTreeMap<String, Octets>,
    /// What the role says about the session besides; nothing, when the certificate says nothing.
    pub limits: Limits,
    /// The request for break-glass that it was issued under, if it was.
    pub pass: Option<Pass>,
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
    /// An option that is known is there twice or in a form that sshd refuses.
    #[error("its option {0} {1}")]
    Option(&'static str, OptionFlaw),
    /// Its key id is not ours.
    #[error("its key id is not of the form identity/grant/serial")]
    KeyId,
    /// Its serial and its key id disagree.
    #[error("its serial and its key id disagree")]
    Serial,
    /// An extension that every certificate of ours carries is missing or malformed.
    #[error("its {0} extension is missing or malformed")]
    Extension(&'static str),
    /// It sets limits that this host cannot read, and so cannot keep.
    #[error("it sets limits that this host cannot keep: {0}")]
    Limits(LimitsFlaw),
    /// It says that it is for break-glass, and this host cannot read for which.
    #[error("it is for break-glass, and for what cannot be read: {0}")]
    Pass(PassFlaw),
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
    certificate.verify_signature().map_err(|_flaw| Refusal::Signature)?;
    verify_rest(certificate, (login, host), now)
}

/// The same for a certificate whose signature was checked when it was made.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify_sealed(
    certificate: &Sealed,
    authorities: &[PublicKey],
    login: &Login,
    host: &HostName,
    now: Timestamp,
) -> Result<Facts, Refusal> {
    verify_signer(certificate, authorities)?;
    verify_rest(certificate, (login, host), now)
}

fn verify_rest(
    certificate: &Certificate,
    (login, host): (&Login, &HostName),
    now: Timestamp,
) -> Result<Facts, Refusal> {
    verify_window(certificate, now)?;
    verify_principal(certificate, login, host)?;
    let options = verify_options(certificate)?;
    let facts = Facts { options, ..read(certificate, login, host)? };
    if facts.grant_until <= now { Err(Refusal::GrantEnded) } else { Ok(facts) }
}

pub(crate) fn verify_signer(
    certificate: &Certificate,
    authorities: &[PublicKey],
) -> Result<(), Refusal> {
    if certificate.kind() != Kind::User {
        return Err(Refusal::Kind);
    }
    let signer = certificate.authority();
    if !authorities.iter().any(|authority| authority.key_data() == signer) {
        return Err(Refusal::Authority(fingerprint(signer)));
    }
    Ok(())
}

pub(crate) fn verify_window(certificate: &Certificate, now: Timestamp) -> Result<(), Refusal> {
    if now.secs() < certificate.valid_after() {
        return Err(Refusal::Early);
    }
    if now.secs() >= certificate.valid_before() { Err(Refusal::Expired) } else { Ok(()) }
}

pub(crate) fn verify_principal(
    certificate: &Certificate,
    login: &Login,
    host: &HostName,
) -> Result<(), Refusal> {
    let principals = certificate.principals();
    if principals.is_empty() {
        return Err(Refusal::NoPrincipal);
    }
    let wanted = Principal::of(login, host).map_err(|_unnamed: NameError| Refusal::NoPrincipal)?;
    if principals.iter().any(|principal| principal.as_bytes() == wanted.as_str().as_bytes()) {
        return Ok(());
    }
    let shown: Vec<String> = principals.iter().map(Octets::display).collect();
    Err(Refusal::Elsewhere(shown.join(" ")))
}

/// Critical options are known; those and the extensions that are known have the form in which sshd takes them.
pub(crate) fn verify_options(
    certificate: &Certificate,
) -> Result<BTreeMap<String, Octets>, Refusal> {
    let mut held = BTreeMap::new();
    let (critical, extensions) = (certificate.critical(), certificate.extensions());
    for (name, _) in critical.iter() {
        if !KNOWN_CRITICAL_OPTIONS.iter().any(|known| known.as_bytes() == name.as_bytes()) {
            return Err(Refusal::Critical(name.display()));
        }
    }
    for name in [FORCE_COMMAND, SOURCE_ADDRESS] {
        if let Some(text) = critical.text(name).map_err(|flaw| Refusal::Option(name, flaw))? {
            held.insert(name.to_owned(), Octets::new(text));
        }
    }
    let verify = critical.flag(VERIFY_REQUIRED);
    if verify.map_err(|flaw| Refusal::Option(VERIFY_REQUIRED, flaw))? {
        held.insert(VERIFY_REQUIRED.to_owned(), Octets::default());
    }
    for name in KNOWN_EXTENSIONS {
        extensions.flag(name).map_err(|flaw| Refusal::Option(name, flaw))?;
    }
    Ok(held)
}

fn read(certificate: &Certificate, login: &Login, host: &HostName) -> Result<Facts, Refusal> {
    let key_id = std::str::from_utf8(certificate.key_id().as_bytes()).ok();
    let key_id: KeyId = key_id.and_then(|text| text.parse().ok()).ok_or(Refusal::KeyId)?;
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
        key: fingerprint(certificate.subject()),
        role,
        login: login.clone(),
        host: host.clone(),
        authority: Some(fingerprint(certificate.authority())),
    };
    let valid_before = Timestamp::from_secs(certificate.valid_before());
    let (limits, pass) = (limits(certificate)?, read_pass(certificate)?);
    Ok(Facts { subject, valid_before, grant_until, options: BTreeMap::new(), limits, pass })
}

/// The pass, which says how loud its use is to be: one that cannot be read lets nobody in quietly.
fn read_pass(certificate: &Certificate) -> Result<Option<Pass>, Refusal> {
    let text = certificate.extensions().text(pass::EXTENSION);
    let Some(text) = text.map_err(|flaw| Refusal::Option(pass::EXTENSION, flaw))? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(text).map_err(|_odd| Refusal::Pass(PassFlaw::Form))?;
    Pass::from_extension(text).map(Some).map_err(Refusal::Pass)
}

/// The limits, of which every word must be understood.
fn limits(certificate: &Certificate) -> Result<Limits, Refusal> {
    let text = certificate.extensions().text(limits::EXTENSION);
    match text.map_err(|flaw| Refusal::Option(limits::EXTENSION, flaw))? {
        None => Ok(Limits::default()),
        Some(text) => {
            let text = std::str::from_utf8(text)
                .map_err(|odd| Refusal::Limits(LimitsFlaw::Form(odd.to_string())))?;
            Limits::from_extension(text).map_err(Refusal::Limits)
        }
    }
}

pub(crate) fn extension<'a>(
    certificate: &'a Certificate,
    name: &'static str,
) -> Result<&'a str, Refusal> {
    let text = certificate.extensions().text(name).ok().flatten();
    text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(Refusal::Extension(name))
}

/// The extension that carries the grant's end: seconds since 1970, decimal.
pub const GRANT_UNTIL: &str = "grant-until@curfew.internal";
/// The extension that carries the role's name.
pub const ROLE: &str = "role@curfew.internal";
/// Critical options that sshd enforces and that we may issue (PROTOCOL.certkeys); any other is refused.
pub const KNOWN_CRITICAL_OPTIONS: [&str; 3] = [FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED];
/// Extensions that sshd knows; each is a flag.
pub const KNOWN_EXTENSIONS: [&str; 6] = [
    "no-touch-required",
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];
pub(super) const FORCE_COMMAND: &str = "force-command";
pub(super) const SOURCE_ADDRESS: &str = "source-address";
pub(super) const VERIFY_REQUIRED: &str = "verify-required";

#[cfg(test)]
mod tests;
