//! Lists for machines without the agent: what they revoke, and that nothing is lost by writing them.

use std::process::Command;

use ssh_key::Certificate;
use wire::api::{CertificateAsk, CertificateReply, OrderProgress, UnlockAsk};
use wire::krl::{Axis, Extent, Krl};
use wire::lock::{Lock, Target};

use crate::authority::{Authority, key, run};

/// An authority with a host and two people who may enter it.
struct Site {
    authority: Authority,
    ops: String,
}

impl Site {
    async fn start() -> Self {
        let authority = Authority::start();
        authority.add("ana", 1, &[]);
        authority.add("bob", 2, &[]);
        authority.add("ops", 3, &["--operator"]);
        drop(authority.host("db1").await);
        let ops = authority.login("ops", 3).await.unwrap();
        Self { authority, ops }
    }

    async fn certify(&self, name: &str, seed: u8) -> CertificateReply {
        let token = self.authority.login(name, seed).await.unwrap();
        let ask = CertificateAsk {
            public_key: key(seed).public_key().to_openssh().unwrap(),
            host: "db1".parse().unwrap(),
            login: "deploy".parse().unwrap(),
            role: None,
            duration_secs: None,
            wishes: Default::default(),
            reason: None,
        };
        self.authority.send("/v1/certificates", Some(&token), &ask).await.unwrap()
    }

    async fn lock(&self, target: Target) {
        let lock = Lock { target, reason: "stolen".into(), until: None };
        let _: OrderProgress =
            self.authority.send("/v1/locks", Some(&self.ops), &lock).await.unwrap();
    }

    async fn unlock(&self, target: Target) {
        let ask = UnlockAsk { target, reason: "found".into() };
        let _: OrderProgress =
            self.authority.send("/v1/unlocks", Some(&self.ops), &ask).await.unwrap();
    }

    fn path(&self) -> String {
        self.authority.dir.path().join("revoked").display().to_string()
    }

    fn export(&self) -> Krl {
        self.authority.run(&["krl", "export", "--out", &self.path()]);
        Krl::decode(&std::fs::read(self.path()).unwrap()).unwrap()
    }
}

fn read(reply: &CertificateReply) -> Certificate {
    Certificate::from_openssh(&reply.certificate).unwrap()
}

#[tokio::test]
async fn each_kind_of_lock_is_on_the_list_until_it_is_lifted() {
    let site = Site::start().await;
    let (ana, bob) = (site.certify("ana", 1).await, site.certify("bob", 2).await);
    let (hers, his) = (read(&ana), read(&bob));
    let mut krl = site.export();
    assert_eq!(krl.extent(), Extent::default());
    assert!(!std::fs::read(site.path()).unwrap().is_empty());
    let subject = wire::certificate::fingerprint(hers.public_key());
    for (target, axis, is_his_too) in [
        (Target::Identity("ana".parse().unwrap()), Axis::Serial, false),
        (Target::Grant(ana.grant), Axis::Serial, false),
        (Target::Serial(ana.serial), Axis::Serial, false),
        (Target::Key(subject), Axis::Sha256, false),
        (Target::Host("db1".parse().unwrap()), Axis::Serial, true),
        (Target::Role("deploy".parse().unwrap()), Axis::Serial, true),
        (Target::Login("deploy".parse().unwrap()), Axis::Serial, true),
    ] {
        site.lock(target.clone()).await;
        let locked = site.export();
        assert!(locked.version() > krl.version(), "{target}");
        assert_eq!(locked.axis(&hers), Some(axis), "{target}");
        assert_eq!(locked.is_revoked(&his), is_his_too, "{target}");
        site.unlock(target.clone()).await;
        krl = site.export();
        assert!(krl.version() > locked.version(), "{target}");
        assert_eq!(krl.extent(), Extent::default(), "{target}");
    }
}

#[tokio::test]
async fn a_disabled_identity_stays_on_the_list_when_the_lock_on_it_is_lifted() {
    let site = Site::start().await;
    let hers = read(&site.certify("ana", 1).await);
    site.authority.run(&["identity", "disable", "ana", "--reason", "gone"]);
    assert!(site.export().is_revoked(&hers));
    site.unlock(Target::Identity("ana".parse().unwrap())).await;
    assert!(site.export().is_revoked(&hers));
    site.authority.run(&["identity", "enable", "ana"]);
    assert!(!site.export().is_revoked(&hers));
}

#[tokio::test]
async fn openssh_agrees_with_what_is_exported() {
    let site = Site::start().await;
    let (ana, bob) = (site.certify("ana", 1).await, site.certify("bob", 2).await);
    site.lock(Target::Identity("ana".parse().unwrap())).await;
    site.lock(Target::Session("00000000000000ff".parse().unwrap())).await;
    let said = site.authority.run(&["krl", "export", "--out", &site.path()]);
    assert!(said.contains("1 certificates and 0 keys revoked"), "{said}");
    assert!(said.contains("1 locked sessions left out"), "{said}");
    for (reply, verdict) in [(&ana, "REVOKED"), (&bob, "ok")] {
        let file = site.authority.dir.path().join("probe-cert.pub");
        std::fs::write(&file, &reply.certificate).unwrap();
        let asked = Command::new("ssh-keygen").args(["-Q", "-f", &site.path()]).arg(&file).output();
        let said = String::from_utf8(asked.unwrap().stdout).unwrap();
        assert!(said.trim_end().ends_with(verdict), "{said}");
    }
    let dir = site.authority.dir.path();
    let piped = run(dir, &["krl", "export"]);
    assert_eq!(Krl::decode(&piped.stdout).unwrap().extent().serials, 1);
    let json = site.authority.run(&["krl", "export", "--out", &site.path(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["holds"]["serials"], &json["locked_sessions"]), (&1.into(), &1.into()));
    // Readable by all, and nothing is left beside it.
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(site.path()).unwrap().permissions().mode() & 0o777, 0o644);
    let beside = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(beside.filter(|name| name.to_string_lossy().contains("revoked")).count(), 1);
}

#[tokio::test]
async fn nothing_that_is_revoked_is_lost_by_an_export() {
    let site = Site::start().await;
    let version = site.export().version();
    let newer = Krl::new(version + 100, wire::time::Timestamp::from_secs(1));
    let ours = newer.clone().with_comment("curfew").unwrap();
    let theirs = newer.with_comment("somebody").unwrap();
    let cases: [(&[u8], &str); 4] = [
        (&ours.encode().unwrap(), "is it an old backup?"),
        (&theirs.encode().unwrap(), "somebody else made"),
        (b"ssh-ed25519 AAAA stolen\n", "no list of ours"),
        (&ours.encode().unwrap()[..40], "no list of ours"),
    ];
    for (there, complaint) in cases {
        std::fs::write(site.path(), there).unwrap();
        let (code, said) = site.authority.refuse(&["krl", "export", "--out", &site.path()]);
        assert_eq!(code, 1);
        assert!(said.contains(complaint), "{said}");
        assert_eq!(std::fs::read(site.path()).unwrap(), there);
    }
    // No bytes revoke nothing, so there is nothing to lose.
    std::fs::write(site.path(), b"").unwrap();
    assert!(site.export().version() >= version);
    let (code, said) = site.authority.refuse(&["krl", "export", "--out", "/none/revoked"]);
    assert_eq!(code, 1);
    assert!(said.contains("/none/revoked cannot be written"), "{said}");
}

#[test]
fn principals_are_printed_without_the_authority_and_only_for_good_names() {
    let dir = tempfile::tempdir().unwrap();
    let said = run(dir.path(), &["principals", "db1.example.com", "--login", "app"]);
    assert_eq!(said.stdout, b"app@db1.example.com\n");
    for line in ["db1", "db1 --login app,root", "* --login app", "db1 --login app --login root"] {
        let arguments: Vec<&str> = ["principals"].into_iter().chain(line.split(' ')).collect();
        assert_eq!(run(dir.path(), &arguments).status.code(), Some(64), "{line}");
    }
}
