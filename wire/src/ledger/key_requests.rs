//! Requests for keys in a ledger, checked from its entries alone: who wished for which, who brought it, who approved it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::signatures::{Keys, read};
use crate::certificate::fingerprint;
use crate::identifier::{Fingerprint, Identity};
use crate::key_request::{SignedKeyApproval, SignedWish};
use crate::log::Hash;

/// Requests that are not over, and approved ones whose key is not added yet.
#[derive(Debug, Default)]
pub(super) struct KeyRequests {
    waiting: BTreeMap<u64, Waiting>,
    approved: BTreeMap<u64, (Identity, Fingerprint)>,
    /// How many approvals hold.
    pub(super) count: u64,
}

#[derive(Debug)]
struct Waiting {
    identity: Identity,
    by: Identity,
    key: Fingerprint,
    hash: Hash,
}

#[derive(Deserialize)]
struct Requested {
    by: Identity,
    identity: Identity,
    key: Fingerprint,
    signed: SignedWish,
    #[serde(default)]
    consent: Option<Consent>,
}

#[derive(Deserialize)]
struct Consent {
    key: Fingerprint,
    public_key: String,
    signature: String,
}

#[derive(Deserialize)]
struct Approved {
    by: Identity,
    request: u64,
    key: Fingerprint,
    public_key: String,
    signed: SignedKeyApproval,
}

#[derive(Deserialize)]
struct Ended {
    request: u64,
}

impl KeyRequests {
    pub(super) fn entry(
        &mut self,
        (seq, kind): (u64, &str),
        body: &str,
        with: (&Keys, bool),
    ) -> Result<(), String> {
        match kind {
            "key_requested" => self.requested(seq, read(body)?, with),
            "key_approved" => self.approved(&read(body)?, with),
            _ => {
                let Ended { request } = read(body)?;
                self.waiting.remove(&request);
                Ok(())
            }
        }
    }

    /// Whether a key was enrolled as it was approved.
    pub(super) fn enrolled(
        &mut self,
        request: u64,
        (identity, key): (&Identity, &Fingerprint),
        is_whole: bool,
    ) -> Result<(), String> {
        match self.approved.remove(&request) {
            Some((whose, which)) if whose == *identity && which == *key => Ok(()),
            None if !is_whole => Ok(()),
            _ => Err(format!(
                "nobody approved in request {request} that {identity} logs in with {key}"
            )),
        }
    }

    fn requested(
        &mut self,
        seq: u64,
        requested: Requested,
        (keys, is_whole): (&Keys, bool),
    ) -> Result<(), String> {
        let Requested { by, identity, key, signed, consent } = requested;
        let (wish, wished) = signed.verify().map_err(|flaw| flaw.to_string())?;
        if wish.identity != identity || fingerprint(wished.key_data()) != key {
            return Err("the wish is of another person, or for another key".into());
        }
        match &consent {
            Some(Consent { key, public_key, signature }) => {
                let public = keys.of(&by, (key, public_key), is_whole)?;
                let checked = signed.verify_consent(&public, signature);
                checked.map_err(|flaw| flaw.to_string())?;
            }
            None if by != identity || keys.has_any(&by) => {
                return Err(format!("{by} did not sign the request for a key of {identity}"));
            }
            None => {}
        }
        let hash = Hash::of(signed.wish.as_bytes());
        self.waiting.insert(seq, Waiting { identity, by, key, hash });
        Ok(())
    }

    fn approved(
        &mut self,
        approved: &Approved,
        (keys, is_whole): (&Keys, bool),
    ) -> Result<(), String> {
        let Approved { by, request, key, public_key, signed } = approved;
        let public = keys.of(by, (key, public_key), is_whole)?;
        let said = signed.verify(&public).map_err(|flaw| flaw.to_string())?;
        if said.by != *by || said.request != *request {
            return Err(format!("what {by} signed is about another request or by another person"));
        }
        match self.waiting.remove(request) {
            Some(waiting) if waiting.identity == *by || waiting.by == *by => {
                return Err(format!("{by} approved their own request"));
            }
            Some(waiting) if waiting.hash == said.hash => {
                self.approved.insert(*request, (waiting.identity, waiting.key));
            }
            None if !is_whole => {}
            _ => {
                return Err(format!("what {by} signed is not request {request} as it was brought"));
            }
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::signatures::tests::{NOW, added, check, public, sealed};
    use super::*;
    use crate::key_request::{APPROVAL, CONSENT, KeyApproval, KeyWish, POSSESSION};

    fn wish(who: &str, seed: u8) -> String {
        let wish = KeyWish {
            version: crate::VERSION,
            authority: Fingerprint::of(b"root"),
            identity: who.parse().unwrap(),
            public_key: public(seed).1,
            replaces: None,
            reason: "a new laptop".parse().unwrap(),
            at: NOW,
        };
        wish.text().unwrap()
    }

    /// What `who` wishes for, brought by `by` with the key of this seed, or without one.
    fn requested((who, wished): (&str, u8), (by, seed): (&str, Option<u8>)) -> String {
        let text = wish(who, wished);
        let consent = seed.map(|seed| {
            let (key, public_key) = public(seed);
            json!({"key": key, "public_key": public_key, "signature": sealed(seed, CONSENT, &text)})
        });
        let possession = sealed(wished, POSSESSION, &text);
        json!({"by": by, "identity": who, "key": public(wished).0, "method": "key", "consent": consent,
            "signed": {"wish": text, "possession": possession}})
        .to_string()
    }

    /// What `by` approved of request 4, which is for this wish, with the key of this seed.
    fn approved(by: &str, seed: u8, wish: &str) -> String {
        let said = KeyApproval {
            version: crate::VERSION,
            authority: Fingerprint::of(b"root"),
            request: 4,
            hash: Hash::of(wish.as_bytes()),
            by: by.parse().unwrap(),
            at: NOW,
        };
        let text = said.text().unwrap();
        let (key, public_key) = public(seed);
        json!({"by": by, "request": 4, "key": key, "public_key": public_key,
            "signed": {"approval": text, "signature": sealed(seed, APPROVAL, &text)}})
        .to_string()
    }

    fn enrolled(who: &str, seed: u8) -> String {
        let mut body: Value = serde_json::from_str(&added(who, seed)).unwrap();
        body["request"] = 4.into();
        body.to_string()
    }

    /// Three people with keys of their own, 1 to 3; then these.
    fn after(more: &[(&'static str, String)]) -> (Result<(), String>, u64) {
        let mut entries = vec![
            ("key_added", added("ana", 1)),
            ("key_added", added("bob", 2)),
            ("key_added", added("ops", 3)),
        ];
        entries.extend_from_slice(more);
        let (said, signed) = check(&entries, true);
        (said, signed.keys)
    }

    #[test]
    fn a_key_is_somebodys_once_another_approved_it() {
        let asked = requested(("ana", 5), ("ana", Some(1)));
        let good = [
            ("key_requested", asked),
            ("key_approved", approved("bob", 2, &wish("ana", 5))),
            ("key_added", enrolled("ana", 5)),
        ];
        assert_eq!(after(&good), (Ok(()), 1));
        // Brought by another, for somebody who has lost theirs; and by somebody who has none.
        assert_eq!(after(&[("key_requested", requested(("ana", 5), ("ops", Some(3))))]).0, Ok(()));
        assert_eq!(after(&[("key_requested", requested(("olga", 5), ("olga", None)))]).0, Ok(()));
    }

    #[test]
    fn an_invented_request_is_found_however_it_was_invented() {
        let no = |body: String| after(&[("key_requested", body)]).0.unwrap_err();
        assert!(no(requested(("ana", 5), ("ana", None))).contains("did not sign"));
        assert!(no(requested(("olga", 5), ("ops", None))).contains("did not sign"));
        assert!(no(requested(("ana", 5), ("ana", Some(2)))).contains("was no key of ana"));
        assert!(no(requested(("ana", 5), ("ana", Some(9)))).contains("was no key of ana"));
        let good = requested(("ana", 5), ("ana", Some(1)));
        let other = good.replacen("\"identity\":\"ana\"", "\"identity\":\"bob\"", 1);
        assert_ne!(other, good);
        assert!(no(other).contains("another person"));
        let mut stolen: Value = serde_json::from_str(&good).unwrap();
        stolen["signed"]["possession"] = sealed(1, POSSESSION, &wish("ana", 5)).into();
        assert!(no(stolen.to_string()).contains("wished key's own signature"));
    }

    #[test]
    fn an_invented_approval_is_found_however_it_was_invented() {
        let asked = ("key_requested", requested(("ana", 5), ("ops", Some(3))));
        let no =
            |approval: String| after(&[asked.clone(), ("key_approved", approval)]).0.unwrap_err();
        let text = wish("ana", 5);
        assert!(no(approved("ana", 1, &text)).contains("their own request"));
        assert!(no(approved("ops", 3, &text)).contains("their own request"));
        assert!(no(approved("bob", 1, &text)).contains("was no key of bob"));
        assert!(no(approved("bob", 2, &wish("ana", 6))).contains("not request 4"));
        let ended = ("key_request_ended", json!({"request": 4}).to_string());
        let late = [asked.clone(), ended, ("key_approved", approved("bob", 2, &text))];
        assert!(after(&late).0.unwrap_err().contains("not request 4"));
    }

    #[test]
    fn a_key_that_nobody_approved_is_not_enrolled_in_its_name() {
        let asked = ("key_requested", requested(("ana", 5), ("ana", Some(1))));
        let approval = ("key_approved", approved("bob", 2, &wish("ana", 5)));
        for more in [
            vec![("key_added", enrolled("ana", 5))],
            vec![asked.clone(), ("key_added", enrolled("ana", 5))],
            vec![asked.clone(), approval.clone(), ("key_added", enrolled("ana", 6))],
            vec![asked.clone(), approval.clone(), ("key_added", enrolled("bob", 5))],
        ] {
            assert!(after(&more).0.unwrap_err().contains("nobody approved"), "{more:?}");
        }
        let revoked = json!({"by": "bob", "identity": "bob", "key": public(2).0}).to_string();
        let said = after(&[asked, ("key_revoked", revoked), approval]).0;
        assert!(said.unwrap_err().contains("given up"));
    }
}
