//! Believing other keys, because an order says so.
//!
//! The order's number is kept with the keys, in one file: that file is what makes the order durable, so that a death at
//! any moment leaves the host before the order or after it. After it, the order is never asked for again, which matters
//! because the key that signed it may be one that it ended.

use std::path::Path;

use ssh_key::PublicKey;
use wire::hostlink::Trust;
use wire::identifier::OrderNumber;
use wire::trust::{AuthorityKey, Keys, KeysError};

use super::{Host, HostError};
use crate::install::sshd::USER_AUTHORITIES_PATH;
use crate::revocation::Revocation;
use crate::store::{self, StoreError};

/// The keys of the trust, read.
#[derive(Debug)]
pub(super) struct Believed {
    /// Keys that sign user certificates.
    pub(super) authorities: Vec<PublicKey>,
    /// Keys that sign orders.
    pub(super) order_keys: Vec<AuthorityKey>,
}

impl Believed {
    /// Reads the keys.
    pub(super) fn read(trust: &Trust) -> Result<Self, HostError> {
        let authorities =
            trust.user_authorities.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let authorities =
            authorities.map_err(|source| HostError::Key { what: "user authority", source })?;
        let order_keys =
            trust.order_keys().map_err(|source: KeysError| HostError::OrderKey { source })?;
        Ok(Self { authorities, order_keys })
    }
}

impl Host {
    /// Believes these keys and no others. When this returns they are in force, for sshd and for the gate, and durable;
    /// after an error those from before are.
    pub(super) fn believe(&mut self, keys: &Keys, order: OrderNumber) -> Result<(), HostError> {
        let trust = self.trust.with(keys, order);
        let believed = Believed::read(&trust)?;
        let logs = super::ledger::log_keys(&trust)?;
        // sshd first: the gate believes nothing that sshd does not, and a key that ends must end with sshd as well.
        write_user_authorities(Path::new(USER_AUTHORITIES_PATH), &trust)?;
        if let Err(error) = store::write(&self.places.trust, &trust) {
            write_user_authorities(Path::new(USER_AUTHORITIES_PATH), &self.trust)?;
            return Err(error.into());
        }
        self.trust = trust;
        self.believed = believed;
        self.proofs.rotate(logs);
        Ok(())
    }

    /// Gives sshd the keys of the last order once more, where something else has changed its file since.
    pub(super) fn mend_user_authorities(&self) {
        let path = Path::new(USER_AUTHORITIES_PATH);
        if self.trust.order.is_none()
            || std::fs::read(path)
                .is_ok_and(|text| text == user_authorities(&self.trust).as_bytes())
        {
            return;
        }
        match write_user_authorities(path, &self.trust) {
            Ok(()) => tracing::warn!(
                path = USER_AUTHORITIES_PATH,
                "the keys that sshd believes were not those of the \
                newest order, and are again"
            ),
            Err(error) => {
                tracing::error!(%error, "sshd believes other keys than the newest order says");
            }
        }
    }
}

/// Counts the order that brought the trust among those in force: the agent may have died before that was written too.
pub(super) fn catch_up(revocation: &mut Revocation, trust: &Trust) {
    let next = revocation.last_order.saturating_add(1);
    if trust.order.is_some_and(|order| order.number() == next) {
        revocation.last_order = next;
    }
}

fn write_user_authorities(path: &Path, trust: &Trust) -> Result<(), StoreError> {
    store::write_bytes(path, user_authorities(trust).as_bytes(), 0o644)
}

/// What sshd reads as `TrustedUserCAKeys`.
fn user_authorities(trust: &Trust) -> String {
    trust.user_authorities.iter().map(|key| format!("{}\n", key.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(order: Option<u64>) -> Trust {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kYHwzMLTGmB2pPp6fqvlnGsUYnMXRFkOwGhuYVwRE";
        let order = order.map_or("null".into(), |number| number.to_string());
        serde_json::from_str(&format!(
            r#"{{"version":1,"host":"db1","labels":[],"user_authorities":["{key}","{key} x"],"order_key":"{key}",
                "order":{order},"orders_from":3,"locks":[]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn the_order_of_the_trust_counts_when_it_is_the_next_and_not_otherwise() {
        for (order, expected) in [(None, 3), (Some(2), 3), (Some(3), 3), (Some(4), 4), (Some(6), 3)]
        {
            let mut revocation = Revocation::joined(3, Vec::new());
            catch_up(&mut revocation, &trust(order));
            assert_eq!(revocation.last_order, expected, "{order:?}");
        }
    }

    #[test]
    fn sshd_reads_one_key_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user_ca.pub");
        write_user_authorities(&path, &trust(None)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.parse::<PublicKey>().is_ok()), "{text}");
        assert_eq!(Believed::read(&trust(None)).unwrap().authorities.len(), 2);
    }
}
