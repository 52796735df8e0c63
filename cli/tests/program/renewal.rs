//! What `curfew` has from before, when the authority or the certificate is another by now.

use std::time::Duration;

use serde_json::{Value, json};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use wire::certificate::Certificate;
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::person::{Person, complained, said};

const ASKED_ANEW: [&str; 2] = ["GET /v1/authority", "GET /v1/hosts"];

impl Person {
    /// What was learned from the authority was learned long ago.
    fn forget_when_learned(&self) {
        self.change("learned.json", |learned| learned["asked"] = json!(Timestamp::from_secs(1)));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path("curfew").join(name);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
    }

    /// As ssh's `Match exec` asks; what was complained.
    fn prepare(&self) -> String {
        let output = self.curfew(["ssh", "--prepare", "db1", "app"]);
        assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
        complained(&output)
    }

    fn certificate(&self) -> Certificate {
        let path = self.path("curfew/id/app@db1-cert.pub");
        Certificate::from_openssh(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn listed_by_agent(&self) -> String {
        said(&self.command("ssh-add").arg("-L").output().unwrap())
    }
}

fn retire_user_key(authority: &Authority) -> PrivateKey {
    let next = PrivateKey::from(Ed25519Keypair::from_seed(&[103; 32]));
    authority.set(|state| state.signer = Some(next.clone()));
    next
}

#[test]
fn a_certificate_by_a_retired_key_is_replaced_before_ssh_tries_it() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    person.prepare();
    assert_eq!(authority.calls(), ["POST /v1/certificates"]);
    let next = retire_user_key(&authority);
    person.forget_when_learned();
    person.prepare();
    assert_eq!(authority.calls(), [&ASKED_ANEW[..], &["POST /v1/certificates"]].concat());
    assert_eq!(person.certificate().authority(), next.public_key().key_data());
    person.prepare();
    assert!(authority.calls().is_empty(), "asked a moment ago");
}

#[test]
fn other_names_of_a_host_are_known_without_another_login() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    person.prepare();
    let known = || std::fs::read_to_string(person.path("curfew/known_hosts")).unwrap();
    let change = |name: &'static str| {
        authority.set(|state| state.hosts[0]["addresses"] = json!([name]));
        person.forget_when_learned();
        authority.calls();
    };
    change("10.0.0.7");
    person.prepare();
    assert_eq!(authority.calls(), ASKED_ANEW, "the certificate serves on");
    assert!(known().contains("@cert-authority db1,10.0.0.7 ssh-ed25519 "), "{}", known());
    assert!(!known().contains("127.0.0.1"));
    change("10.0.0.8");
    // Fails at the host, which is not there; what is learned is learned before.
    person.curfew(["ssh", "app@db1", "--", "-o", "ProxyCommand=false"]);
    assert!(known().contains("@cert-authority db1,10.0.0.8 ssh-ed25519 "), "{}", known());
}

#[test]
fn a_host_out_of_reach_is_the_authoritys_to_refuse() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    person.prepare();
    authority.set(|state| state.hosts = json!([]));
    person.forget_when_learned();
    authority.calls();
    person.prepare();
    assert_eq!(authority.calls(), [&ASKED_ANEW[..], &["POST /v1/certificates"]].concat());
}

#[test]
fn a_good_certificate_serves_while_the_authority_is_away() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    person.prepare();
    person.forget_when_learned();
    person.change("authority.json", |membership| membership["url"] = json!("https://127.0.0.1:1"));
    let complaint = person.prepare();
    assert!(complaint.contains("going on with what the authority said before"), "{complaint}");
    assert_eq!(person.prepare(), "", "it is not asked again at once");
}

#[test]
fn what_is_replaced_leaves_the_agent_and_what_replaces_it_has_the_lifetime_of_the_certificate() {
    let authority = Authority::start();
    authority.set(|state| {
        (state.backdate, state.life) = (Duration::from_secs(600), Duration::from_secs(100));
    });
    let person = Person::with_agent().log_in(&authority, &["app"]);
    let own = person.command("ssh-add").arg("-q").arg(person.path("key")).status();
    assert!(own.unwrap().success());
    person.prepare();
    let former = person.certificate();
    // A seventh of its life is left, so that it is replaced.
    authority.set(|state| state.life = Duration::from_secs(3));
    person.prepare();
    let current = person.certificate();
    assert_ne!(former.subject(), current.subject());
    let blob = |text: &str| text.split(' ').nth(1).unwrap().to_owned();
    let key_of = |certificate: &Certificate| {
        blob(&ssh_key::PublicKey::from(certificate.subject().clone()).to_openssh().unwrap())
    };
    let listed = person.listed_by_agent();
    for gone in [blob(&former.to_openssh()), key_of(&former)] {
        assert!(!listed.contains(&gone), "{listed}");
    }
    for there in [blob(&current.to_openssh()), key_of(&current)] {
        assert!(listed.contains(&there), "{listed}");
    }
    let own = blob(&person.public_key().to_openssh().unwrap());
    assert!(listed.contains(&own), "a key of their own stays");
    assert_eq!(listed.lines().count(), 3);
    // The agent forgets both by itself; ten seconds are waited for three.
    crate::person::eventually(|| person.listed_by_agent().lines().count() == 1);
    assert!(person.listed_by_agent().contains(&own));
}
