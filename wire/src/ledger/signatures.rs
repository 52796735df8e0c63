//! What people signed in a ledger, checked from its entries alone: by a key that was theirs at that moment, over what the entries say,
//! before it counted.
//!
//! What an erased body would have said is not held against the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use ssh_key::PublicKey;

use super::acknowledgements::Acknowledgements;
use super::approvals::Approvals;
use super::key_requests::KeyRequests;
use super::weights::Weights;
use crate::certificate::fingerprint;
use crate::identifier::{Fingerprint, Identity};

/// What the entries so far say of keys, and of what is signed with them.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    keys: Keys,
    approvals: Approvals,
    acknowledgements: Acknowledgements,
    key_requests: KeyRequests,
    weights: Weights,
}

/// How many signatures there are, each by a key of whoever gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signed {
    /// Approvals of requests for access.
    pub approvals: u64,
    /// Approvals of keys.
    pub keys: u64,
    /// Rules of behaviour that somebody signed.
    pub behaviour: u64,
    /// Weights of risks that somebody signed.
    pub weights: u64,
}

/// Whose each key is, at this point of the ledger.
#[derive(Debug, Default)]
pub(super) struct Keys {
    owners: BTreeMap<Fingerprint, Identity>,
    given_up: BTreeSet<Fingerprint>,
}

#[derive(Deserialize)]
struct KeyAdded {
    identity: Identity,
    key: Fingerprint,
    #[serde(default)]
    request: Option<u64>,
}

#[derive(Deserialize)]
struct KeyRevoked {
    key: Fingerprint,
}

impl Signatures {
    /// Takes an entry. `is_whole` says that every entry before was read, with its body.
    pub(super) fn entry(
        &mut self,
        (seq, kind): (u64, &str),
        body: &str,
        is_whole: bool,
    ) -> Result<(), String> {
        match kind {
            "key_added" => {
                let KeyAdded { identity, key, request } = read(body)?;
                let checked = match request {
                    Some(request) => {
                        self.key_requests.enrolled(request, (&identity, &key), is_whole)
                    }
                    None => Ok(()),
                };
                self.keys.given_up.remove(&key);
                self.keys.owners.insert(key, identity);
                checked
            }
            "key_revoked" => {
                let KeyRevoked { key } = read(body)?;
                self.keys.owners.remove(&key);
                self.keys.given_up.insert(key);
                Ok(())
            }
            "behaviour_changed" | "behaviour_acknowledged" | "behaviour_accepted" => {
                self.acknowledgements.entry(kind, body, (&self.keys, is_whole))
            }
            "key_requested" | "key_approved" | "key_request_ended" => {
                self.key_requests.entry((seq, kind), body, (&self.keys, is_whole))
            }
            "risk_changed" => self.weights.entry(body, (&self.keys, is_whole)),
            _ => self.approvals.entry(kind, body, (&self.keys, is_whole)),
        }
    }

    /// How many there are.
    pub(super) const fn count(&self) -> Signed {
        Signed {
            approvals: self.approvals.count,
            keys: self.key_requests.count,
            behaviour: self.acknowledgements.count,
            weights: self.weights.count,
        }
    }
}

impl Keys {
    /// Reads a key out of an entry, and checks that it is the one that the entry names, and was `who`'s.
    pub(super) fn of(
        &self,
        who: &Identity,
        (key, public_key): (&Fingerprint, &str),
        is_whole: bool,
    ) -> Result<PublicKey, String> {
        let public = PublicKey::from_openssh(public_key)
            .map_err(|_unreadable| format!("the key of {who} cannot be read"))?;
        if fingerprint(public.key_data()) != *key {
            return Err("the key is another than the entry names".into());
        }
        if self.given_up.contains(key) {
            return Err(format!("{key} had been given up"));
        }
        match self.owners.get(key) {
            Some(owner) if owner == who => Ok(public),
            None if !is_whole => Ok(public),
            _ => Err(format!("{key} was no key of {who}")),
        }
    }

    /// Whether `who` has a key at this point, as far as was read.
    pub(super) fn has_any(&self, who: &Identity) -> bool {
        self.owners.values().any(|owner| owner == who)
    }
}

pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| format!("its body cannot be read: {error}"))
}

#[cfg(test)]
pub(super) mod tests {
    use ssh_key::private::{Ed25519Keypair, PrivateKey};
    use ssh_key::{HashAlg, LineEnding};

    use super::*;
    use crate::time::Timestamp;

    pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    pub(crate) fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    /// The fingerprint of a key, and itself.
    pub(crate) fn public(seed: u8) -> (Fingerprint, String) {
        let public = key(seed).public_key().clone();
        (fingerprint(public.key_data()), public.to_openssh().unwrap())
    }

    pub(crate) fn sealed(seed: u8, namespace: &str, text: &str) -> String {
        let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
        seal.to_pem(LineEnding::LF).unwrap()
    }

    pub(crate) fn added(who: &str, seed: u8) -> String {
        let (key, public_key) = public(seed);
        serde_json::json!({"by": "local:root", "identity": who, "key": key, "public_key": public_key})
            .to_string()
    }

    /// What is said of the last of these entries; all before it must hold.
    pub(crate) fn check(
        entries: &[(&str, String)],
        is_whole: bool,
    ) -> (Result<(), String>, Signed) {
        let mut signatures = Signatures::default();
        let mut said = Ok(());
        for (seq, (kind, body)) in (1_u64..).zip(entries) {
            assert_eq!(said, Ok(()), "before {kind}");
            said = signatures.entry((seq, kind), body, is_whole);
        }
        (said, signatures.count())
    }

    #[test]
    fn a_key_counts_from_when_it_was_added_until_it_was_given_up() {
        let ana: Identity = "ana".parse().unwrap();
        let (print, text) = public(1);
        let mut all = Signatures::default();
        let of = |all: &Signatures, is_whole| all.keys.of(&ana, (&print, &text), is_whole);
        assert!(of(&all, true).is_err());
        assert!(of(&all, false).is_ok(), "it may have been added before");
        all.entry((1, "key_added"), &added("ana", 1), true).unwrap();
        assert!(of(&all, true).is_ok() && all.keys.has_any(&ana));
        let other = public(2).1;
        assert!(all.keys.of(&ana, (&print, &other), true).is_err(), "another key under its name");
        let revoked = serde_json::json!({"by": "ana", "identity": "ana", "key": print}).to_string();
        all.entry((2, "key_revoked"), &revoked, true).unwrap();
        for is_whole in [true, false] {
            assert!(of(&all, is_whole).unwrap_err().contains("given up"));
        }
        assert!(!all.keys.has_any(&ana));
    }
}
