//! Lists for machines without the agent: what they revoke, and that nothing is lost by writing them.

use std::process::Command;

use ssh_key::PublicKey;
use wire::api::{CertificateAsk, CertificateReply, KrlStatus, OrderProgress, Status, UnlockAsk};
use wire::certificate::Certificate;
use wire::hostlink::{Heartbeat, ToAuthority, ToHost};
use wire::krl::signed::{KrlAsk, KrlPart, KrlStanding, MAX_PART, SignedKrl, verify};
use wire::krl::{Axis, Extent, Krl};
use wire::lock::{Lock, Target};
use wire::time::Timestamp;

use crate::authority::{Authority, Frames, Host, key, run};
use crate::link::hello;

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

    /// A host that says it knows lists and has this one.
    async fn host(&self, name: &str, version: u64) -> (Host, Frames) {
        let host = self.authority.host(name).await;
        let frames = self.link(&host, Some(version)).await;
        (host, frames)
    }

    async fn link(&self, host: &Host, version: Option<u64>) -> Frames {
        let mut frames = self.authority.link(Some(host)).await;
        let ToAuthority::Hello(mut hello) = hello(0) else { unreachable!("a hello") };
        hello.last_order = host.enrolled.trust.orders_from;
        hello.krl = version.map(|version| KrlStanding { version, trouble: None });
        frames.send(&ToAuthority::Hello(hello)).await;
        let Some(ToHost::Welcome(_)) = frames.next().await else { panic!("not welcome") };
        frames
    }

    fn order_key(host: &Host) -> PublicKey {
        host.enrolled.trust.order_key.parse().unwrap()
    }

    async fn status(&self) -> KrlStatus {
        let status: Status =
            self.authority.call(("GET", "/v1/status"), Some(&self.ops), &()).await.unwrap();
        status.krl.unwrap()
    }
}

/// The next list that comes; orders are passed over.
async fn announced(frames: &mut Frames) -> SignedKrl {
    loop {
        match frames.next().await {
            Some(ToHost::Krl(list)) => return list,
            Some(ToHost::Order(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The next part that comes; orders are passed over: the list that they are on may be there before the last of them.
async fn part(frames: &mut Frames) -> KrlPart {
    loop {
        match frames.next().await {
            Some(ToHost::KrlPart(part)) => return part,
            Some(ToHost::Order(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn beat(frames: &mut Frames, standing: Option<KrlStanding>) {
    let at = Timestamp::from_secs(0);
    let beat = Heartbeat {
        at,
        sessions: 0,
        spooled: 0,
        last_order: None,
        krl: standing,
        certificates: None,
        keys: None,
        trouble: None,
        group_keys: None,
    };
    frames.send(&ToAuthority::Heartbeat(beat)).await;
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
    let subject = wire::certificate::fingerprint(hers.subject());
    for (target, axis, is_his_too) in [
        (Target::Identity("ana".parse().unwrap()), Axis::Sha256, false),
        (Target::Grant(ana.grant), Axis::KeyId, false),
        (Target::Serial(ana.serial), Axis::KeyId, false),
        (Target::Key(subject), Axis::Sha256, false),
        (Target::Host("db1".parse().unwrap()), Axis::KeyId, true),
        (Target::Role("deploy".parse().unwrap()), Axis::KeyId, true),
        (Target::Login("deploy".parse().unwrap()), Axis::KeyId, true),
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
    assert!(said.contains("1 certificates and 1 keys revoked"), "{said}");
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
    assert_eq!(
        beside.filter(|name| name.to_string_lossy().contains("revoked")).count(),
        2,
        "the list and its signature"
    );
}

#[tokio::test]
async fn nothing_that_is_revoked_is_lost_by_an_export() {
    let site = Site::start().await;
    let version = site.export().version();
    let newer = Krl::new(version + 100, Timestamp::from_secs(1));
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

#[tokio::test]
async fn hosts_get_each_list_signed_and_the_authority_knows_who_has_it() {
    let site = Site::start().await;
    let hers = read(&site.certify("ana", 1).await);
    let (web, mut frames) = site.host("web1", 0).await;
    let first = announced(&mut frames).await;
    let empty = verify(
        (first.version, first.beginning.as_bytes()),
        &first.signature,
        &[Site::order_key(&web)],
    );
    assert_eq!(empty.unwrap().extent(), Extent::default());
    site.lock(Target::Identity("ana".parse().unwrap())).await;
    let second = announced(&mut frames).await;
    assert!(second.version > first.version);
    let list = (second.version, second.beginning.as_bytes());
    let locked = verify(list, &second.signature, &[Site::order_key(&web)]).unwrap();
    assert!(locked.is_revoked(&hers));
    // Keys of theirs serve nowhere, not even where an authorized_keys file names them.
    assert!(locked.is_revoked_key(key(1).public_key().key_data()));
    assert!(!locked.is_revoked_key(key(2).public_key().key_data()));
    let status = site.status().await;
    assert_eq!((status.version, status.current, status.hosts), (second.version, 0, 2));
    assert_eq!(status.certificates, 1);
    let standing = |version, trouble: Option<&str>| {
        Some(KrlStanding { version, trouble: trouble.map(str::to_owned) })
    };
    beat(&mut frames, standing(second.version, None)).await;
    let text = eventually(|| {
        let text = site.authority.run(&["status"]);
        text.contains(&format!("KRL {}: 1 of 2 hosts", second.version)).then_some(text)
    });
    assert!(text.await.contains("behind: db1 (its agent is too old)"));
    beat(&mut frames, standing(second.version, Some("no sshd"))).await;
    let text = eventually(|| {
        let text = site.authority.run(&["host", "list"]);
        text.contains(&format!("{} !", second.version)).then_some(text)
    });
    assert!(text.await.contains("web1"));
    // What it had when it left is remembered.
    beat(&mut frames, standing(second.version, None)).await;
    drop(frames);
    let gone = eventually(|| {
        let text = site.authority.run(&["host", "list"]);
        (text.contains("unreachable") && !text.contains('!')).then_some(text)
    });
    assert!(gone.await.contains(&second.version.to_string()));
    assert_eq!(site.status().await.current, 1);
}

#[tokio::test]
async fn a_host_that_knows_no_lists_gets_none_and_one_that_has_the_newest_neither() {
    let mut site = Site::start().await;
    let (web, mut frames) = site.host("web1", 0).await;
    let newest = announced(&mut frames).await;
    drop(frames);
    // The same list after a restart: nothing was revoked meanwhile, so the version stands.
    site.authority.restart();
    site.ops = site.authority.login("ops", 3).await.unwrap();
    for known in [None, Some(newest.version)] {
        let mut frames = site.link(&web, known).await;
        site.lock(Target::Session("00000000000000ff".parse().unwrap())).await;
        // A lock that no list can name changes none: what comes is the order, and then nothing but what is asked for.
        let Some(ToHost::Order(_)) = frames.next().await else { panic!("no order") };
        frames.send(&ToAuthority::KrlAsk(KrlAsk { version: newest.version, offset: 0 })).await;
        let again = announced(&mut frames).await;
        assert_eq!((again.version, &again.beginning), (newest.version, &newest.beginning));
        let web = site.authority.run(&["host", "list"]);
        assert!(web.contains("web1"));
        site.unlock(Target::Session("00000000000000ff".parse().unwrap())).await;
    }
}

#[tokio::test]
async fn a_long_list_comes_in_parts_that_are_asked_for_one_by_one() {
    let site = Site::start().await;
    let (web, mut frames) = site.host("web1", 0).await;
    let before = announced(&mut frames).await;
    // Serials that were never issued do not compress.
    let locks: Vec<u64> = (1..=600_u64).map(|n| n * 0x0001_0000_0001_0001).collect();
    for serial in &locks {
        let target = Target::Serial(wire::identifier::Serial::try_new(*serial).unwrap());
        site.lock(target).await;
        // So many locks may take longer than a host may be silent.
        beat(&mut frames, None).await;
    }
    let mut list = announced(&mut frames).await;
    let holds = |list: &SignedKrl| Krl::decode(list.beginning.as_bytes()).unwrap().extent().serials;
    while holds(&list) < 600 {
        list = announced(&mut frames).await;
    }
    assert!(list.version > before.version);
    let mut whole = list.beginning.as_bytes().to_vec();
    assert!(whole.len() <= MAX_PART);
    // As if only its head had come: the rest from there, and beyond its end the announcement.
    whole.truncate(100);
    frames.send(&ToAuthority::KrlAsk(KrlAsk { version: list.version, offset: 100 })).await;
    let KrlPart { version, offset, bytes } = part(&mut frames).await;
    assert_eq!((version, offset), (list.version, 100));
    whole.extend_from_slice(bytes.as_bytes());
    let krl = verify((list.version, &whole), &list.signature, &[Site::order_key(&web)]).unwrap();
    assert_eq!(krl.extent().serials, 600);
    for (version, offset) in [(list.version, u64::MAX), (before.version, 100)] {
        frames.send(&ToAuthority::KrlAsk(KrlAsk { version, offset })).await;
        assert_eq!(announced(&mut frames).await, list);
    }
}

#[tokio::test]
async fn versions_go_on_above_what_a_host_has_and_above_no_lie() {
    let site = Site::start().await;
    let (web, mut frames) = site.host("web1", 0).await;
    let first = announced(&mut frames).await;
    let ahead = first.version + 1_000;
    beat(&mut frames, Some(KrlStanding { version: ahead, trouble: None })).await;
    let above = announced(&mut frames).await;
    assert!(above.version > ahead, "{} is not above {ahead}", above.version);
    drop(frames);
    let mut frames = site.link(&web, Some(above.version)).await;
    beat(&mut frames, Some(KrlStanding { version: u64::MAX, trouble: None })).await;
    site.authority.restart();
    assert_eq!(site.export().version(), above.version, "also after a restart");
}

/// Looks again for some seconds.
async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it never came to pass")
}
