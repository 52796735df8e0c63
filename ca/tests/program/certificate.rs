//! Certificates, read by the real `ssh-keygen`.

use std::process::Command;

use wire::api::{CertificateAsk, CertificateReply, HostView};
use wire::problem::{Code, Problem};

use crate::authority::{Authority, key};

pub(crate) fn ask(host: &str) -> CertificateAsk {
    CertificateAsk {
        public_key: key(7).public_key().to_openssh().unwrap(),
        host: host.parse().unwrap(),
        login: "deploy".parse().unwrap(),
        role: None,
        duration_secs: None,
        wishes: Default::default(),
        reason: None,
    }
}

pub(crate) async fn issue(
    authority: &Authority,
    token: &str,
    ask: &CertificateAsk,
) -> Result<CertificateReply, Problem> {
    authority.send("/v1/certificates", Some(token), ask).await
}

#[tokio::test]
async fn a_member_gets_a_certificate_that_ssh_keygen_reads_as_meant() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let reply = issue(&authority, &token, &ask("db1.example.com")).await.unwrap();
    let path = authority.dir.path().join("id-cert.pub");
    std::fs::write(&path, format!("{}\n", reply.certificate)).unwrap();
    let listed = Command::new("ssh-keygen").arg("-L").arg("-f").arg(&path).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for line in [
        "ssh-ed25519-cert-v01@openssh.com user certificate",
        "Key ID: \"ana/g1/1\"",
        "Serial: 1",
        "Critical Options: (none)",
        "permit-pty",
        "role@curfew.internal UNKNOWN OPTION",
    ] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    assert!(!listed.contains("forwarding"), "{listed}");
    let principals: Vec<&str> = listed
        .lines()
        .skip_while(|line| !line.contains("Principals"))
        .skip(1)
        .take(2)
        .map(str::trim)
        .collect();
    assert_eq!(principals, ["deploy@db1", "Critical Options: (none)"]);
    assert!(reply.valid_before <= reply.grant_until);
    let signing = listed.lines().find(|line| line.contains("Signing CA")).unwrap();
    let about: wire::api::Authority =
        authority.call(("GET", "/v1/authority"), None, &()).await.unwrap();
    let trusted: ssh_key::PublicKey = about.user_authorities.first().unwrap().parse().unwrap();
    assert!(signing.contains(&trusted.fingerprint(ssh_key::HashAlg::Sha256).to_string()));
}

#[tokio::test]
async fn what_was_read_lately_gives_nobody_more_or_less_than_what_holds_now() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _db1 = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    for _ in 0..3 {
        assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
        let denied = issue(&authority, &token, &ask("db2")).await.unwrap_err();
        assert_eq!(denied.code, Code::Denied);
    }
    let _db2 = authority.host("db2").await;
    assert!(issue(&authority, &token, &ask("db2")).await.is_ok());
    authority.run(&["host", "remove", "db1"]);
    let denied = issue(&authority, &token, &ask("db1")).await.unwrap_err();
    assert_eq!(denied.code, Code::Denied);
    assert!(issue(&authority, &token, &ask("db2")).await.is_ok());
    authority.run(&["identity", "disable", "ana"]);
    for _ in 0..2 {
        let refused = issue(&authority, &token, &ask("db2")).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    authority.run(&["identity", "enable", "ana"]);
    let refused = issue(&authority, &token, &ask("db2")).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated);
    let token = authority.login("ana", 1).await.unwrap();
    assert!(issue(&authority, &token, &ask("db2")).await.is_ok());
}

#[tokio::test]
async fn a_reason_for_access_drives_no_terminal() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let wanted = |reason: &str| CertificateAsk { reason: Some(reason.to_owned()), ..ask("db1") };
    let refused = issue(&authority, &token, &wanted("a\u{1b}[2J")).await.unwrap_err();
    assert_eq!(refused.code, Code::Malformed);
    assert!(issue(&authority, &token, &wanted("ticket 4")).await.is_ok());
}

#[tokio::test]
async fn serials_are_dense_and_a_grant_is_reused_also_after_a_crash() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let first = issue(&authority, &token, &ask("db1")).await.unwrap();
    let second = issue(&authority, &token, &ask("db1")).await.unwrap();
    authority.restart();
    let third = issue(&authority, &token, &ask("db1")).await.unwrap();
    let serials = [&first, &second, &third].map(|reply| reply.serial.number());
    assert_eq!(serials, [1, 2, 3]);
    assert!([&second, &third].iter().all(|reply| reply.grant == first.grant));
    let brief = CertificateAsk { duration_secs: Some(5), ..ask("db1") };
    let fourth = issue(&authority, &token, &brief).await.unwrap();
    assert_ne!(fourth.grant, first.grant);
    assert_eq!(fourth.valid_before, fourth.grant_until);
}

#[tokio::test]
async fn many_at_once_get_distinct_serials_and_one_grant() {
    let authority = std::sync::Arc::new(Authority::start());
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let asks: Vec<_> = (0..16)
        .map(|_| {
            let (authority, token) = (std::sync::Arc::clone(&authority), token.clone());
            tokio::spawn(async move { issue(&authority, &token, &ask("db1")).await })
        })
        .collect();
    let mut serials = Vec::new();
    let mut grants = std::collections::BTreeSet::new();
    for ask in asks {
        let reply = ask.await.unwrap().unwrap();
        serials.push(reply.serial.number());
        grants.insert(reply.grant);
    }
    serials.sort_unstable();
    assert_eq!(serials, (1..=16).collect::<Vec<_>>());
    assert_eq!(grants.len(), 1);
}

#[tokio::test]
async fn what_was_answered_is_never_lost_by_a_crash() {
    let mut authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let mut answered = std::collections::BTreeSet::new();
    for round in 0..6u64 {
        let shared = std::sync::Arc::new(authority);
        let asks: Vec<_> = (0..8)
            .map(|_| {
                let (shared, token) = (std::sync::Arc::clone(&shared), token.clone());
                tokio::spawn(async move { issue(&shared, &token, &ask("db1")).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(round * 8)).await;
        shared.kill();
        for ask in asks {
            // A call that was cut off has no answer, and that is all that may be lost.
            if let Ok(Ok(reply)) = ask.await {
                assert!(answered.insert(reply.serial.number()), "a serial was given twice");
            }
        }
        authority = std::sync::Arc::into_inner(shared).unwrap();
        authority.restart();
        let next = issue(&authority, &token, &ask("db1")).await.unwrap().serial.number();
        assert!(answered.insert(next) && answered.iter().all(|serial| *serial <= next));
    }
}

#[tokio::test]
async fn what_no_role_opens_is_denied_and_a_stranger_sees_no_hosts() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    authority.add("eve", 2, &[]);
    let _host = authority.host("db1").await;
    let (ana, eve) =
        (authority.login("ana", 1).await.unwrap(), authority.login("eve", 2).await.unwrap());
    let root = CertificateAsk { login: "root".parse().unwrap(), ..ask("db1") };
    let denied = issue(&authority, &ana, &root).await.unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (Code::Denied, "no role lets ana be root on db1")
    );
    let hidden = issue(&authority, &eve, &ask("db1")).await.unwrap_err().message;
    let absent = issue(&authority, &eve, &ask("db9")).await.unwrap_err().message;
    assert_eq!(hidden.replace("db1", "db9"), absent);
    let hosts: Vec<HostView> = authority.read("/v1/hosts", &eve).await.unwrap();
    assert!(hosts.is_empty());
    let hosts: Vec<HostView> = authority.read("/v1/hosts", &ana).await.unwrap();
    assert_eq!(hosts.first().unwrap().logins.first().unwrap().login.as_str(), "deploy");
}

#[tokio::test]
async fn keys_that_are_weak_or_certificates_are_refused() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let certificate = issue(&authority, &token, &ask("db1")).await.unwrap().certificate;
    let weak = generated(&authority, &["-t", "rsa", "-b", "1024"]);
    for public_key in [certificate, weak, "ssh-ed25519 AAAA".to_owned(), String::new()] {
        let ask = CertificateAsk { public_key, ..ask("db1") };
        assert_eq!(issue(&authority, &token, &ask).await.unwrap_err().code, Code::Malformed);
    }
    for kind in [
        vec!["-t", "rsa", "-b", "2048"],
        vec!["-t", "ecdsa", "-b", "256"],
        vec!["-t", "ecdsa", "-b", "384"],
        vec!["-t", "ecdsa", "-b", "521"],
    ] {
        let ask = CertificateAsk { public_key: generated(&authority, &kind), ..ask("db1") };
        assert!(issue(&authority, &token, &ask).await.is_ok(), "{kind:?}");
    }
}

fn generated(authority: &Authority, kind: &[&str]) -> String {
    let path = authority.dir.path().join(kind.concat());
    let made =
        Command::new("ssh-keygen").args(["-q", "-N", "", "-f"]).arg(&path).args(kind).status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}

#[tokio::test]
async fn changed_roles_take_effect_and_a_bad_file_does_not() {
    let authority = Authority::start();
    authority.add("ana", 1, &[]);
    let _host = authority.host("db1").await;
    let token = authority.login("ana", 1).await.unwrap();
    let roles = authority.dir.path().join("roles.toml");
    let before = std::fs::read_to_string(&roles).unwrap();
    std::fs::write(&roles, "[role.deploy]\nmembers = 7\n").unwrap();
    eventually(|| authority.log().contains("the roles file is refused")).await;
    assert!(issue(&authority, &token, &ask("db1")).await.is_ok());
    assert!(authority.run(&["status"]).contains("older roles are in force"));
    std::fs::write(&roles, before.replace("\"ana\", ", "")).unwrap();
    eventually(|| authority.log().contains("other roles are in force")).await;
    eventually(|| !authority.run(&["role", "list", "--json"]).contains("ana")).await;
    assert_eq!(issue(&authority, &token, &ask("db1")).await.unwrap_err().code, Code::Denied);
}

pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("it never came to be");
}
