//! Another key to log in with: asked for by its owner, approved by somebody else, and an entry at each step.

use std::time::Duration;

use ssh_key::{HashAlg, LineEnding};
use wire::api::{KeyRow, OrderProgress, RevokeKey, Whoami};
use wire::certificate::fingerprint;
use wire::identifier::Fingerprint;
use wire::key_request::{
    APPROVAL, CONSENT, KeyApproval, KeyApprovalAsk, KeyRequestAsk, KeyRequestState, KeyRequestView,
    KeyWish, POSSESSION, SignedKeyApproval, SignedWish,
};
use wire::log::Hash;
use wire::problem::{Code, Problem};
use wire::request::NoAsk;
use wire::time::Timestamp;

use crate::authority::{Authority, key};
use crate::policy::{entries, put};
use crate::postgres::Database;

/// ana (key 1), and two who may administer: ops (2) and cleo (3).
struct Site {
    authority: Authority,
    ana: String,
    ops: String,
    cleo: String,
}

fn print(seed: u8) -> Fingerprint {
    fingerprint(key(seed).public_key().key_data())
}

fn seal(seed: u8, namespace: &str, text: &str) -> String {
    let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
    seal.to_pem(LineEnding::LF).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(crate::issuer::now())
}

impl Site {
    async fn on(database: Option<Database>) -> Self {
        let authority = match database {
            None => Authority::start(),
            some => Authority::start_on(some),
        };
        authority.add("ana", 1, &[]);
        authority.add("ops", 2, &["--operator"]);
        authority.add("cleo", 3, &["--operator"]);
        let ana = authority.login("ana", 1).await.unwrap();
        let ops = authority.login("ops", 2).await.unwrap();
        let cleo = authority.login("cleo", 3).await.unwrap();
        Self { authority, ana, ops, cleo }
    }

    fn wish(&self, who: &str, seed: u8) -> KeyWish {
        KeyWish {
            version: wire::VERSION,
            authority: self.authority.fingerprint.clone(),
            identity: who.parse().unwrap(),
            public_key: key(seed).public_key().to_openssh().unwrap(),
            replaces: None,
            reason: "a new laptop".parse().unwrap(),
            at: now(),
        }
    }

    async fn send(&self, token: &str, ask: &KeyRequestAsk) -> Result<KeyRequestView, Problem> {
        self.authority.send("/v1/keys/requests", Some(token), ask).await
    }

    /// ana asks for the key of this seed, with her first one.
    async fn asked(&self, seed: u8) -> KeyRequestView {
        self.send(&self.ana, &signed(&self.wish("ana", seed), seed, Some(1))).await.unwrap()
    }

    fn approval(&self, view: &KeyRequestView, by: &str) -> KeyApproval {
        KeyApproval {
            version: wire::VERSION,
            authority: self.authority.fingerprint.clone(),
            request: view.request,
            hash: Hash::of(view.wish.as_bytes()),
            by: by.parse().unwrap(),
            at: view.now,
        }
    }

    async fn approve(
        &self,
        token: &str,
        said: &KeyApproval,
        (seed, namespace): (u8, &str),
    ) -> Result<KeyRequestView, Problem> {
        let approval = said.text().unwrap();
        let signature = seal(seed, namespace, &approval);
        let ask = KeyApprovalAsk { signed: SignedKeyApproval { approval, signature } };
        let path = format!("/v1/keys/requests/{}/approve", said.request);
        self.authority.send(&path, Some(token), &ask).await
    }

    async fn by_ops(&self, view: &KeyRequestView) -> Result<KeyRequestView, Problem> {
        self.approve(&self.ops, &self.approval(view, "ops"), (2, APPROVAL)).await
    }

    async fn end(&self, token: &str, number: u64) -> Result<KeyRequestView, Problem> {
        let ask = NoAsk { reason: "not that one".parse().unwrap() };
        self.authority.send(&format!("/v1/keys/requests/{number}/end"), Some(token), &ask).await
    }

    async fn listed(&self, token: &str) -> Vec<KeyRequestView> {
        self.authority.read("/v1/keys/requests", token).await.unwrap()
    }

    async fn logs_in(&self, who: &str, seed: u8) -> bool {
        self.authority.login(who, seed).await.is_ok()
    }
}

/// What the wished key signed, and whoever brings it.
fn signed(wish: &KeyWish, wished: u8, consent: Option<u8>) -> KeyRequestAsk {
    let text = wish.text().unwrap();
    let possession = seal(wished, POSSESSION, &text);
    let consent = consent.map(|seed| seal(seed, CONSENT, &text));
    KeyRequestAsk { signed: SignedWish { wish: text, possession }, consent }
}

async fn added_and_replaced(database: Option<Database>) {
    let is_file = database.is_none();
    let site = Site::on(database).await;
    let view = site.asked(5).await;
    assert_eq!((view.state, view.key.clone()), (KeyRequestState::Waiting, print(5)));
    assert!(!view.yours_to_approve && !site.logs_in("ana", 5).await, "it only waits");
    for (token, yours) in [(&site.ops, true), (&site.cleo, true), (&site.ana, false)] {
        let all = site.listed(token).await;
        assert_eq!(all.iter().map(|one| one.yours_to_approve).collect::<Vec<_>>(), [yours]);
    }
    let approved = site.by_ops(&view).await.unwrap();
    assert_eq!(approved.state, KeyRequestState::Approved);
    assert_eq!(approved.decided.map(|(by, _)| by), Some("ops".into()));
    assert!(site.logs_in("ana", 5).await && site.logs_in("ana", 1).await);
    // In place of the first one: its logins end with it.
    let wish = KeyWish { replaces: Some(print(1)), ..site.wish("ana", 6) };
    let view = site.send(&site.ana, &signed(&wish, 6, Some(1))).await.unwrap();
    assert!(site.authority.read::<Whoami>("/v1/whoami", &site.ana).await.is_ok());
    site.by_ops(&view).await.unwrap();
    assert!(site.authority.read::<Whoami>("/v1/whoami", &site.ana).await.is_err());
    assert!(!site.logs_in("ana", 1).await && site.logs_in("ana", 6).await);
    let ana = site.authority.login("ana", 6).await.unwrap();
    let keys: Vec<KeyRow> = site.authority.read("/v1/keys", &ana).await.unwrap();
    assert_eq!(keys.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [print(5), print(6)]);
    let added = entries(&site.authority, "key_added");
    assert_eq!((&added[4]["by"], &added[4]["request"]), (&"ops".into(), &view.request.into()));
    assert!(site.authority.run(&["lock", "list"]).contains(print(1).as_str()));
    if is_file {
        let verified = site.authority.run(&["ledger", "verify"]);
        assert!(verified.contains("2 keys"), "{verified}");
        let rebuilt = site.authority.run(&["ledger", "rebuild"]);
        assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
    }
}

#[tokio::test]
async fn a_key_is_added_or_replaced_once_somebody_else_has_approved_it() {
    added_and_replaced(None).await;
}

#[tokio::test]
async fn a_key_is_added_or_replaced_on_a_server() {
    added_and_replaced(Some(Database::new())).await;
}

#[tokio::test]
async fn who_has_lost_their_key_has_one_operator_bring_another_and_a_second_approve_it() {
    let site = Site::on(None).await;
    let wish = site.wish("ana", 5);
    // She has a key, so her word alone is not enough; and bob is no operator.
    let alone = site.send(&site.ana, &signed(&wish, 5, None)).await.unwrap_err();
    assert!(alone.message.contains("curfew keys offer"), "{alone}");
    site.authority.add("bob", 4, &[]);
    let bob = site.authority.login("bob", 4).await.unwrap();
    let no = site.send(&bob, &signed(&wish, 5, Some(4))).await.unwrap_err();
    assert_eq!(no.code, Code::Denied);
    let view = site.send(&site.ops, &signed(&wish, 5, Some(2))).await.unwrap();
    assert_eq!((view.by.as_str(), view.identity.as_str()), ("ops", "ana"));
    let own = site.by_ops(&view).await.unwrap_err();
    assert!(own.message.contains("nobody approves their own request"), "{own}");
    let hers = site.approve(&site.ana, &site.approval(&view, "ana"), (1, APPROVAL)).await;
    assert_eq!(hers.unwrap_err().code, Code::Denied);
    let said = site.approval(&view, "cleo");
    assert!(site.approve(&site.cleo, &said, (3, APPROVAL)).await.is_ok());
    assert!(site.logs_in("ana", 5).await);
    // Who administers is the policy's to say.
    let view = site.asked(6).await;
    let nobody = "@id(\"all\") permit (principal, action == Curfew::Action::\"lock\", resource);";
    put(&site.authority, nobody).await;
    let no = site.by_ops(&view).await.unwrap_err();
    assert!(no.message.contains("does not let ops administer"), "{no}");
    site.authority.run(&["ledger", "verify"]);
}

#[tokio::test]
async fn no_request_that_is_not_right_is_taken() {
    let site = Site::on(None).await;
    let no = async |ask: KeyRequestAsk, why: &str| {
        let refused = site.send(&site.ana, &ask).await.unwrap_err();
        assert!(refused.message.contains(why), "{why}: {refused}");
    };
    let wish = site.wish("ana", 5);
    let text = wish.text().unwrap();
    let good = signed(&wish, 5, Some(1));
    let with = |possession: String| KeyRequestAsk {
        signed: SignedWish { wish: text.clone(), possession },
        consent: good.consent.clone(),
    };
    no(with(seal(1, POSSESSION, &text)), "by another key").await;
    no(with(seal(5, CONSENT, &text)), "another purpose").await;
    no(with("x".repeat(20_000)), "at most 16384 are read").await;
    let consent = |consent: String| KeyRequestAsk { consent: Some(consent), ..good.clone() };
    no(consent(seal(2, CONSENT, &text)), "by no key of yours").await;
    no(consent(seal(9, CONSENT, &text)), "by no key of yours").await;
    no(consent(seal(1, POSSESSION, &text)), "another purpose").await;
    no(consent(seal(1, wire::login::NAMESPACE, &text)), "another purpose").await;
    let elsewhere = KeyWish { authority: Fingerprint::of(b"x"), ..wish.clone() };
    no(signed(&elsewhere, 5, Some(1)), "another authority").await;
    let days = Duration::from_secs(3 * 24 * 3600);
    for at in [wish.at.before(days), wish.at.after(days)] {
        no(signed(&KeyWish { at, ..wish.clone() }, 5, Some(1)), "too long ago").await;
    }
    no(signed(&site.wish("ops", 5), 5, Some(1)), "a key of ops").await;
    no(signed(&site.wish("ana", 1), 1, Some(1)), "logs in with this key already").await;
    no(signed(&site.wish("ana", 2), 2, Some(1)), "another identity's").await;
    let replaces = Some(print(2));
    no(signed(&KeyWish { replaces, ..wish.clone() }, 5, Some(1)), "has no key").await;
    let spaced = KeyRequestAsk {
        signed: SignedWish { wish: format!("{text} "), possession: seal(5, POSSESSION, &text) },
        consent: None,
    };
    no(spaced, "not in the form").await;
    // A key that was given up does not come back.
    site.authority.add("ana", 7, &[]);
    let revoke = RevokeKey { key: print(7), reason: "lost".into() };
    let _: OrderProgress =
        site.authority.send("/v1/keys/revoke", Some(&site.ana), &revoke).await.unwrap();
    no(signed(&site.wish("ana", 7), 7, Some(1)), "given up or is locked").await;
    assert_eq!(site.listed(&site.cleo).await.len(), 0);
    assert!(!entries(&site.authority, "request_refused").is_empty(), "each no is an entry");
    // No more wait than somebody looks through, and none twice.
    for seed in 10..14 {
        site.asked(seed).await;
    }
    no(signed(&site.wish("ana", 10), 10, Some(1)), "waits already").await;
    no(signed(&site.wish("ana", 14), 14, Some(1)), "wait already").await;
}

#[tokio::test]
async fn no_approval_that_is_not_right_enrols_a_key() {
    let site = Site::on(None).await;
    let (view, other) = (site.asked(5).await, site.asked(6).await);
    let good = site.approval(&view, "ops");
    let no = async |said: &KeyApproval, by: (u8, &str), why: &str| {
        let refused = site.approve(&site.ops, said, by).await.unwrap_err();
        assert!(refused.message.contains(why), "{why}: {refused}");
    };
    no(&good, (2, wire::request::NAMESPACE), "another purpose").await;
    no(&good, (2, CONSENT), "another purpose").await;
    no(&good, (3, APPROVAL), "by no key of yours").await;
    no(&good, (9, APPROVAL), "by no key of yours").await;
    no(&site.approval(&view, "cleo"), (2, APPROVAL), "names somebody else").await;
    let hash = Hash::of(other.wish.as_bytes());
    no(&KeyApproval { hash, ..good.clone() }, (2, APPROVAL), "another text").await;
    let authority = Fingerprint::of(b"x");
    no(&KeyApproval { authority, ..good.clone() }, (2, APPROVAL), "another authority").await;
    for at in [good.at.before(Duration::from_secs(7200)), good.at.after(Duration::from_secs(7200))]
    {
        no(&KeyApproval { at, ..good.clone() }, (2, APPROVAL), "just now").await;
    }
    no(&KeyApproval { request: 4711, ..good.clone() }, (2, APPROVAL), "no request 4711").await;
    // One that was signed for another request does not serve here.
    let approval = good.text().unwrap();
    let signature = seal(2, APPROVAL, &approval);
    let ask = KeyApprovalAsk { signed: SignedKeyApproval { approval, signature } };
    let path = format!("/v1/keys/requests/{}/approve", other.request);
    let crossed: Result<KeyRequestView, Problem> =
        site.authority.send(&path, Some(&site.ops), &ask).await;
    assert!(crossed.unwrap_err().message.contains("of another request"));
    for path in ["/v1/keys/requests/0/approve", "/v1/keys/requests/x/approve"] {
        let odd: Result<KeyRequestView, Problem> =
            site.authority.send(path, Some(&site.ops), &ask).await;
        assert_eq!(odd.unwrap_err().code, Code::Malformed);
    }
    // Taken back by its owner, refused by an operator; others do not see it. Neither is approved any more.
    let bob = {
        site.authority.add("bob", 4, &[]);
        site.authority.login("bob", 4).await.unwrap()
    };
    assert_eq!(site.end(&bob, view.request).await.unwrap_err().code, Code::NotFound);
    assert!(site.listed(&bob).await.is_empty());
    let withdrawn = site.end(&site.ana, view.request).await.unwrap();
    assert_eq!(withdrawn.state, KeyRequestState::Withdrawn);
    assert_eq!(site.end(&site.cleo, other.request).await.unwrap().state, KeyRequestState::Denied);
    for view in [&view, &other] {
        let over = site.by_ops(view).await.unwrap_err();
        assert_eq!((over.code, over.message.contains("is over")), (Code::Conflict, true), "{over}");
        assert_eq!(site.end(&site.cleo, view.request).await.unwrap_err().code, Code::Conflict);
    }
    // Once, and not when its owner is gone or the key that signed it.
    let view = site.asked(7).await;
    site.by_ops(&view).await.unwrap();
    assert!(site.by_ops(&view).await.unwrap_err().message.contains("is over: approved"));
    let view = site.asked(8).await;
    site.authority.run(&["identity", "key", "revoke", "ana", print(1).as_str()]);
    assert!(site.by_ops(&view).await.unwrap_err().message.contains("theirs no more"));
    site.authority.run(&["identity", "disable", "ana"]);
    assert!(site.by_ops(&view).await.unwrap_err().message.contains("ana is"));
    assert!(!site.logs_in("ana", 8).await);
    let rebuilt = site.authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}
