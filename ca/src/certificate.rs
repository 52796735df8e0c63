//! What a certificate of ours is to say: from what was decided, or from what is enrolled. Pure.
//!
//! The rules for what may be said, and the comparison of what was signed with it, are [`wire::certificate::Draft`]'s.

use std::collections::BTreeMap;

use ssh_key::PublicKey;
use wire::certificate::{Checked, Draft, GRANT_UNTIL, Kind, ROLE};
use wire::identifier::{Address, GrantId, HostName, KeyId, NameError, Principal, Serial};
use wire::renewal::{BACKDATE, Window};

use crate::access::Permit;

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The names do not make a principal, or the number no serial.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The session's limits cannot be said in it.
    #[error("the session's limits: {0}")]
    Limits(#[from] wire::limits::LimitsFlaw),
    /// What it is for cannot be said in it.
    #[error("what break-glass is for: {0}")]
    Pass(#[from] wire::breakglass::pass::PassFlaw),
    /// It breaks a rule for certificates.
    #[error("the certificate would be unfit: {0}")]
    Rule(#[from] wire::certificate::Unfit),
}

/// The user certificate for what was decided, under the grant and with the serial that it is recorded with.
pub(crate) fn user(permit: &Permit, grant: GrantId, serial: Serial) -> Result<Checked, Unfit> {
    let identity = permit.ask().identity.clone();
    let key_id = KeyId { identity, grant, serial };
    let until = permit.plan().until();
    let mut extensions = BTreeMap::from([
        (GRANT_UNTIL.to_owned(), until.secs().to_string()),
        (ROLE.to_owned(), permit.role().to_string()),
    ]);
    let bounds = permit.bounds();
    for ability in &bounds.abilities {
        extensions.insert(ability.extension().to_owned(), String::new());
    }
    if let Some(limits) = bounds.limits.to_extension()? {
        extensions.insert(wire::limits::EXTENSION.to_owned(), limits);
    }
    if let Some(pass) = permit.pass() {
        extensions.insert(wire::breakglass::pass::EXTENSION.to_owned(), pass.to_extension()?);
    }
    let critical = bounds.critical_options().into_iter();
    let draft = Draft {
        kind: Kind::User,
        subject: permit.ask().key.key_data().clone(),
        serial,
        key_id: key_id.to_string(),
        principals: vec![Principal::of(&permit.ask().login, permit.host())?.to_string()],
        valid_after: permit.valid_after(),
        valid_before: permit.valid_before().min(until),
        critical: critical.map(|(name, value)| (name.to_owned(), value)).collect(),
        extensions,
    };
    Ok(draft.check()?)
}

/// A host certificate for one of an enrolled host's keys.
pub(crate) fn host(
    key: &PublicKey,
    host: &HostName,
    addresses: &[Address],
    (entry, window): (u64, Window),
) -> Result<Checked, Unfit> {
    let mut principals = vec![host.to_string()];
    for address in addresses.iter().map(ToString::to_string) {
        if !principals.contains(&address) {
            principals.push(address);
        }
    }
    let draft = Draft {
        kind: Kind::Host,
        subject: key.key_data().clone(),
        serial: Serial::try_new(entry)?,
        key_id: format!("host/{host}/{entry}"),
        principals,
        valid_after: window.from.before(BACKDATE),
        valid_before: window.until,
        critical: BTreeMap::new(),
        extensions: BTreeMap::new(),
    };
    Ok(draft.check()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::given::key;
    use wire::time::Timestamp;

    const WINDOW: Window =
        Window { from: Timestamp::from_secs(100_000), until: Timestamp::from_secs(200_000) };

    #[test]
    fn a_host_certificate_names_the_host_and_its_addresses_only() {
        let name = "db1".parse().unwrap();
        let addresses = ["db1", "10.0.0.1", "10.0.0.1"].map(|address| address.parse().unwrap());
        let checked = host(key(1).public(), &name, &addresses, (4, WINDOW)).unwrap();
        assert_eq!(checked.draft().principals, ["db1", "10.0.0.1"]);
        assert_eq!(checked.draft().kind, Kind::Host);
        assert_eq!(checked.draft().serial.number(), 4);
    }

    #[test]
    fn nothing_is_numbered_zero() {
        let name = "db1".parse().unwrap();
        assert!(host(key(1).public(), &name, &[], (0, WINDOW)).is_err());
    }
}
