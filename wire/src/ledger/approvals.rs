//! Approvals in a ledger, checked from its entries alone: whose key signed, over which request, before it counted.
//!
//! What an erased body would have said is not held against the rest.

use std::collections::BTreeMap;

use serde::Deserialize;
use ssh_key::PublicKey;

use crate::certificate::fingerprint;
use crate::identifier::{Fingerprint, Identity, RequestId};
use crate::log::Hash;
use crate::request::{Asked, SignedApproval, State};

/// What the entries so far say of keys and of requests that are not over.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    keys: BTreeMap<Fingerprint, Identity>,
    requests: BTreeMap<RequestId, (Hash, Identity)>,
    /// How many hold.
    pub(super) count: u64,
}

#[derive(Deserialize)]
struct KeyAdded {
    identity: Identity,
    key: Fingerprint,
}

#[derive(Deserialize)]
struct Made {
    by: Identity,
    asked: String,
}

#[derive(Deserialize)]
struct Moved {
    request: RequestId,
    state: State,
}

#[derive(Deserialize)]
struct Approved {
    by: Identity,
    request: RequestId,
    key: Fingerprint,
    public_key: String,
    signed: SignedApproval,
}

impl Approvals {
    /// Takes an entry. `is_whole` says that every entry before was read, with its body.
    pub(super) fn entry(&mut self, kind: &str, body: &str, is_whole: bool) -> Result<(), String> {
        match kind {
            "key_added" => {
                let KeyAdded { identity, key } = read(body)?;
                self.keys.insert(key, identity);
            }
            "request_made" => {
                let Made { by, asked: text } = read(body)?;
                let asked = Asked::parse(&text).map_err(|flaw| format!("the request: {flaw}"))?;
                if asked.identity != by {
                    return Err(format!("{by} asked in the name of {}", asked.identity));
                }
                self.requests.insert(asked.request, (Hash::of(text.as_bytes()), by));
            }
            "request_moved" => {
                let Moved { request, state } = read(body)?;
                if !state.is_live() {
                    self.requests.remove(&request);
                }
            }
            "request_approved" => {
                self.approved(&read(body)?, is_whole)?;
                self.count = self.count.saturating_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn approved(&self, approved: &Approved, is_whole: bool) -> Result<(), String> {
        let Approved { by, request, key, public_key, signed } = approved;
        let public = PublicKey::from_openssh(public_key)
            .map_err(|_unreadable| "the approver's key cannot be read".to_owned())?;
        let (said, _presence) = signed.verify(&public).map_err(|flaw| flaw.to_string())?;
        if fingerprint(public.key_data()) != *key {
            return Err("the key is another than the entry names".into());
        }
        match self.keys.get(key) {
            Some(owner) if owner == by => {}
            None if !is_whole => {}
            _ => return Err(format!("{key} was no key of {by}")),
        }
        if said.by != *by || said.request != *request {
            return Err(format!("what {by} signed is about another request or by another person"));
        }
        match self.requests.get(request) {
            Some((_, owner)) if owner == by => Err(format!("{by} approved their own request")),
            Some((hash, _)) if *hash == said.hash => Ok(()),
            None if !is_whole => Ok(()),
            _ => Err(format!("what {by} signed is not request {request} as it was asked")),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| format!("its body cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ssh_key::private::{Ed25519Keypair, PrivateKey};
    use ssh_key::{HashAlg, LineEnding};

    use super::*;
    use crate::request::{Approval, NAMESPACE};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn asked() -> Asked {
        Asked {
            version: crate::VERSION,
            authority: Fingerprint::of(b"root"),
            request: RequestId::try_new(1).unwrap(),
            identity: "ana".parse().unwrap(),
            role: "dba".parse().unwrap(),
            logins: BTreeSet::new(),
            hosts: BTreeSet::from(["db1".parse().unwrap()]),
            duration_secs: 60,
            start: None,
            use_within_secs: 60,
            extends: None,
            reason: "why".parse().unwrap(),
            expected: None,
            ticket: None,
            urgent: false,
            at: NOW,
            expires: NOW,
        }
    }

    fn made() -> String {
        serde_json::json!({"by": "ana", "asked": asked().text().unwrap()}).to_string()
    }

    fn added(who: &str, seed: u8) -> String {
        let key = fingerprint(key(seed).public_key().key_data());
        serde_json::json!({"by": "local:root", "identity": who, "key": key, "public_key": "k"})
            .to_string()
    }

    /// An approval in the name of `by`, signed with the key of this seed.
    fn approved(by: &str, seed: u8, change: impl FnOnce(&mut Approval)) -> String {
        let mut approval = Approval {
            version: crate::VERSION,
            authority: Fingerprint::of(b"root"),
            request: RequestId::try_new(1).unwrap(),
            hash: Hash::of(asked().text().unwrap().as_bytes()),
            by: by.parse().unwrap(),
            duration_secs: 60,
            policy: Hash::of(b"rules"),
            at: NOW,
            until: NOW,
        };
        change(&mut approval);
        let text = approval.text().unwrap();
        let seal = key(seed).sign(NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
        let public = key(seed).public_key().clone();
        serde_json::json!({
            "by": by, "request": 1, "key": fingerprint(public.key_data()),
            "public_key": public.to_openssh().unwrap(),
            "signed": {"approval": text, "signature": seal.to_pem(LineEnding::LF).unwrap()},
        })
        .to_string()
    }

    fn check(approval: &str, is_whole: bool) -> Result<u64, String> {
        let mut approvals = Approvals::default();
        for (who, seed) in [("ana", 1), ("bob", 2)] {
            approvals.entry("key_added", &added(who, seed), is_whole).unwrap();
        }
        approvals.entry("request_made", &made(), is_whole).unwrap();
        approvals.entry("request_approved", approval, is_whole)?;
        Ok(approvals.count)
    }

    #[test]
    fn an_approval_holds_from_the_entries_alone() {
        assert_eq!(check(&approved("bob", 2, |_| ()), true), Ok(1));
    }

    #[test]
    fn an_invented_approval_is_found_however_it_was_invented() {
        let no = |approval: &str| check(approval, true).unwrap_err();
        // By whoever has the database, with a key of their own.
        assert!(no(&approved("bob", 9, |_| ())).contains("was no key of bob"));
        assert!(no(&approved("bob", 1, |_| ())).contains("was no key of bob"));
        assert!(no(&approved("ana", 1, |_| ())).contains("approved their own request"));
        let other = |approval: &mut Approval| approval.hash = Hash::of(b"another");
        assert!(no(&approved("bob", 2, other)).contains("not request r1 as it was asked"));
        let real = approved("bob", 2, |_| ());
        let longer = real.replacen("\\\"duration_secs\\\":60", "\\\"duration_secs\\\":61", 1);
        assert_ne!(longer, real);
        assert!(no(&longer).contains("does not verify"));
        let theirs = real.replacen("\"by\":\"bob\"", "\"by\":\"ana\"", 1);
        assert_ne!(theirs, real);
        assert!(no(&theirs).contains("was no key of ana"));
        assert!(no("{}").contains("cannot be read"));
    }

    #[test]
    fn what_was_erased_is_not_held_against_the_rest() {
        let mut approvals = Approvals::default();
        let approval = approved("bob", 2, |_| ());
        assert!(approvals.entry("request_approved", &approval, false).is_ok());
        assert!(Approvals::default().entry("request_approved", &approval, true).is_err());
    }
}
