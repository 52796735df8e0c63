//! The rules of behaviour: there is no certificate before they are signed, once for each version.

use ssh_key::{HashAlg, LineEnding};
use wire::behaviour::{
    Acknowledgement, BehaviourAsk, BehaviourView, NAMESPACE, SignedAcknowledgement,
};
use wire::log::Hash;
use wire::problem::{Code, Problem};

use crate::authority::{Authority, key};
use crate::certificate::{ask, eventually, issue};
use crate::policy::entries;

struct Site {
    authority: Authority,
    token: String,
}

impl Site {
    async fn new() -> Self {
        let authority = Authority::start();
        let file = authority.dir.path().join("behaviour.txt");
        std::fs::write(&file, "Be kind.\n").unwrap();
        authority.configure(&format!("\n[behaviour]\nfile = {:?}\n", file.display().to_string()));
        authority.add("ana", 1, &[]);
        drop(authority.host("db1").await);
        let token = authority.login("ana", 1).await.unwrap();
        Self { authority, token }
    }

    async fn shown(&self) -> BehaviourView {
        self.authority.read("/v1/behaviour", &self.token).await.unwrap()
    }

    /// What ana would sign.
    async fn said(&self) -> Acknowledgement {
        let shown = self.shown().await;
        Acknowledgement {
            version: wire::VERSION,
            authority: self.authority.fingerprint.clone(),
            by: "ana".parse().unwrap(),
            text: shown.hash,
            at: shown.now,
        }
    }

    async fn send(&self, signed: SignedAcknowledgement) -> Result<BehaviourView, Problem> {
        self.authority.send("/v1/behaviour", Some(&self.token), &BehaviourAsk { signed }).await
    }

    async fn certificate(&self) -> Result<wire::api::CertificateReply, Problem> {
        issue(&self.authority, &self.token, &ask("db1")).await
    }
}

fn signed(said: &Acknowledgement, namespace: &str, seed: u8) -> SignedAcknowledgement {
    let text = said.text().unwrap();
    let seal = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
    let signature = seal.to_pem(LineEnding::LF).unwrap();
    SignedAcknowledgement { acknowledgement: text, signature }
}

#[tokio::test]
async fn there_is_no_certificate_before_the_rules_of_now_are_signed() {
    let site = Site::new().await;
    let refused = site.certificate().await.unwrap_err();
    assert_eq!(refused.code, Code::Denied);
    assert!(refused.message.contains("`curfew behaviour --sign`"), "{refused}");
    let shown = site.shown().await;
    assert_eq!((shown.text.as_str(), shown.acknowledged), ("Be kind.\n", None));
    let said = site.said().await;
    let seen = site.send(signed(&said, NAMESPACE, 1)).await.unwrap();
    assert!(seen.acknowledged.is_some());
    assert!(site.certificate().await.is_ok());
    // Once is enough, and is one entry, over a start too.
    site.send(signed(&said, NAMESPACE, 1)).await.unwrap();
    site.authority.restart();
    assert!(site.certificate().await.is_ok());
    assert_eq!(entries(&site.authority, "behaviour_acknowledged").len(), 1);
    // Another text is another version.
    let file = site.authority.dir.path().join("behaviour.txt");
    std::fs::write(&file, "Be kinder.\n").unwrap();
    eventually(|| site.authority.log().contains("other rules of behaviour are in force")).await;
    assert!(site.certificate().await.unwrap_err().message.contains("behaviour"));
    let old = site.send(signed(&said, NAMESPACE, 1)).await.unwrap_err();
    assert!(old.message.contains("are others by now"), "{old}");
    site.send(signed(&site.said().await, NAMESPACE, 1)).await.unwrap();
    assert!(site.certificate().await.is_ok());
    let texts = entries(&site.authority, "behaviour_changed");
    assert_eq!(texts[1]["text"], "Be kinder.\n");
    // A file that goes away asks for no less.
    std::fs::remove_file(&file).unwrap();
    eventually(|| site.authority.log().contains("rules of behaviour are refused")).await;
    assert!(site.authority.run(&["status"]).contains("older ones are in force"));
    site.authority.run(&["ledger", "verify"]);
    let rebuilt = site.authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("identical"), "{rebuilt}");
    site.authority.stop();
    let (code, said) = site.authority.refuse(&["serve"]);
    assert!(code == 78 && said.contains("behaviour.txt: "), "{code} {said}");
}

#[tokio::test]
async fn nothing_else_that_is_signed_counts_as_an_acknowledgement() {
    let site = Site::new().await;
    site.authority.add("bob", 2, &[]);
    let said = site.said().await;
    let no = async |signed: SignedAcknowledgement| site.send(signed).await.unwrap_err();
    let stranger = no(signed(&said, NAMESPACE, 9)).await;
    assert!(stranger.message.contains("by no key of yours"), "{stranger}");
    let bobs = no(signed(&said, NAMESPACE, 2)).await;
    assert!(bobs.message.contains("by no key of yours"), "a key of somebody else: {bobs}");
    let approval = no(signed(&said, wire::request::NAMESPACE, 1)).await;
    assert_eq!(approval.code, Code::Denied);
    let bob = Acknowledgement { by: "bob".parse().unwrap(), ..said.clone() };
    assert!(no(signed(&bob, NAMESPACE, 1)).await.message.contains("somebody else"));
    let root = wire::identifier::Fingerprint::of(b"other");
    let elsewhere = Acknowledgement { authority: root, ..said.clone() };
    assert!(no(signed(&elsewhere, NAMESPACE, 1)).await.message.contains("another authority"));
    let other = Acknowledgement { text: Hash::of(b"other"), ..said.clone() };
    assert!(no(signed(&other, NAMESPACE, 1)).await.message.contains("are others by now"));
    let hours = std::time::Duration::from_secs(7_200);
    for at in [said.at.before(hours), said.at.after(hours)] {
        let replayed = Acknowledgement { at, ..said.clone() };
        assert!(no(signed(&replayed, NAMESPACE, 1)).await.message.contains("just now"));
    }
    let altered = SignedAcknowledgement {
        acknowledgement: said.text().unwrap().replace("ana", "ann"),
        ..signed(&said, NAMESPACE, 1)
    };
    assert_eq!(no(altered).await.code, Code::Denied);
    assert!(site.certificate().await.is_err());
    assert!(entries(&site.authority, "behaviour_acknowledged").is_empty());
}

#[tokio::test]
async fn where_there_are_no_rules_nobody_is_asked() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    drop(authority.host("db1").await);
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    let none = authority.read::<BehaviourView>("/v1/behaviour", &token).await.unwrap_err();
    assert_eq!(none.code, Code::NotFound);
}
