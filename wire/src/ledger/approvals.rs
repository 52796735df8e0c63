//! Approvals in a ledger, checked from its entries alone: whose key signed, over which request, before it counted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::signatures::{Keys, read};
use crate::identifier::{Fingerprint, Identity, RequestId};
use crate::log::Hash;
use crate::request::{Asked, SignedApproval, State};

/// What the entries so far say of requests that are not over.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    requests: BTreeMap<RequestId, (Hash, Identity)>,
    /// How many hold.
    pub(super) count: u64,
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
    pub(super) fn entry(
        &mut self,
        kind: &str,
        body: &str,
        (keys, is_whole): (&Keys, bool),
    ) -> Result<(), String> {
        match kind {
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
                self.approved(&read(body)?, (keys, is_whole))?;
                self.count = self.count.saturating_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn approved(&self, approved: &Approved, (keys, is_whole): (&Keys, bool)) -> Result<(), String> {
        let Approved { by, request, key, public_key, signed } = approved;
        let public = keys.of(by, (key, public_key), is_whole)?;
        let (said, _presence) = signed.verify(&public).map_err(|flaw| flaw.to_string())?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::signatures::tests::{NOW, added, check as checked, public, sealed};
    use super::*;
    use crate::request::{Approval, NAMESPACE};

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
            breakglass: false,
            at: NOW,
            expires: NOW,
        }
    }

    fn made() -> String {
        serde_json::json!({"by": "ana", "asked": asked().text().unwrap()}).to_string()
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
        let (key, public_key) = public(seed);
        serde_json::json!({
            "by": by, "request": 1, "key": key, "public_key": public_key,
            "signed": {"approval": text, "signature": sealed(seed, NAMESPACE, &text)},
        })
        .to_string()
    }

    fn check(approval: &str, is_whole: bool) -> Result<u64, String> {
        let entries = [
            ("key_added", added("ana", 1)),
            ("key_added", added("bob", 2)),
            ("request_made", made()),
            ("request_approved", approval.to_owned()),
        ];
        let (said, signed) = checked(&entries, is_whole);
        said.map(|()| signed.approvals)
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
        let alone = [("request_approved", approved("bob", 2, |_| ()))];
        assert_eq!(checked(&alone, false).0, Ok(()));
        assert!(checked(&alone, true).0.is_err());
    }
}
