//! A real sshd on loopback with a list of ours as its `RevokedKeys`.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use ssh_key::LineEnding;
use wire::identifier::Serial;
use wire::krl::{Issuer, Krl};

use super::incumbent::{Desk, edges, list_of, random, sha1, tenth};
use super::set::{NOW, Way, certificate, issuer, key, serial, sha256};

/// Trusts `key(1)` for certificates and knows `key(8)` as a plain key; runs until it is dropped.
struct Sshd {
    child: Child,
    port: u16,
    user: String,
    desk: Desk,
}

impl Sshd {
    fn start() -> Self {
        let desk = Desk::new();
        let said = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(said).unwrap().trim().to_owned();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let put = |name: &str, text: String| std::fs::write(desk.path(name), text).unwrap();
        key(50).write_openssh_file(desk.path("host"), LineEnding::LF).unwrap();
        put("user_ca.pub", key(1).public_key().to_openssh().unwrap());
        put("principals", "app@db1\n".into());
        put("authorized_keys", key(8).public_key().to_openssh().unwrap());
        let dir = desk.path("");
        let dir = dir.display();
        put(
            "config",
            format!(
                "ListenAddress 127.0.0.1:{port}\nLoginGraceTime 0\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nHostKey {dir}host\n\
                 AuthorizedKeysFile {dir}authorized_keys\nTrustedUserCAKeys {dir}user_ca.pub\n\
                 AuthorizedPrincipalsFile {dir}principals\nRevokedKeys {dir}revoked\n"
            ),
        );
        std::fs::write(desk.path("revoked"), Krl::new(1, NOW).encode().unwrap()).unwrap();
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = std::fs::File::create(desk.path("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(desk.path("config"))
            .stderr(log)
            .spawn()
            .unwrap();
        let sshd = Self { child, port, user, desk };
        sshd.wait();
        sshd
    }

    /// Until it listens; a connection that is refused takes no time, so it waits in the kernel instead.
    fn wait(&self) {
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            assert!(never.recv_timeout(std::time::Duration::from_millis(25)).is_err());
        }
        panic!("{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.desk.path("log")).unwrap()
    }

    /// Puts a list in place.
    fn revoke(&self, krl: &Krl) {
        self.put(&krl.encode().unwrap());
    }

    fn put(&self, bytes: &[u8]) {
        std::fs::write(self.desk.path("next"), bytes).unwrap();
        std::fs::rename(self.desk.path("next"), self.desk.path("revoked")).unwrap();
    }

    /// Puts a list of these serials in place: the first, middle and last are kept out because they are on it, and those
    /// beside them get in, so that the list was read.
    fn judges(&self, name: &str, numbers: &[u64]) {
        self.revoke(&list_of(numbers));
        let numbers: BTreeSet<u64> = numbers.iter().copied().collect();
        let middle = numbers.iter().nth(numbers.len() / 2);
        let listed: BTreeSet<&u64> =
            [numbers.first(), middle, numbers.last()].into_iter().flatten().collect();
        for number in &listed {
            let before = self.refusals();
            assert!(!self.lets_in(9, Some((**number, "x"))), "{name}: {number}: {}", self.log());
            assert!(self.refusals() > before, "{name}: {number}: {}", self.log());
        }
        let is_free = |number: &u64| !numbers.contains(number);
        let above = middle.and_then(|from| (*from..=u64::MAX).find(is_free));
        let below = numbers.last().and_then(|from| (1..*from).rev().find(is_free));
        let free: BTreeSet<u64> = [above, below].into_iter().flatten().collect();
        assert!(!free.is_empty() || numbers.len() < 2, "{name}");
        for number in free.into_iter().chain(numbers.is_empty().then_some(1)) {
            assert!(self.lets_in(9, Some((number, "x"))), "{name}: {number}: {}", self.log());
        }
        assert!(!self.log().contains("Error checking"), "{name}: {}", self.log());
    }

    /// How often sshd has said that a key is on the list.
    fn refusals(&self) -> usize {
        self.log().matches(" revoked by file ").count()
    }

    /// Whether the key of `seed` gets in, alone or with a certificate of `key(1)`.
    fn lets_in(&self, seed: u8, certified: Option<(u64, &str)>) -> bool {
        let identity = self.desk.path("identity");
        drop(std::fs::remove_file(&identity));
        key(seed).write_openssh_file(&identity, LineEnding::LF).unwrap();
        std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "IdentityAgent=none", "-o", "LogLevel=ERROR", "-i"])
            .arg(&identity);
        if let Some((serial, key_id)) = certified {
            let path = self.desk.certificate(&certificate(1, seed, serial, key_id));
            ssh.arg("-o").arg(format!("CertificateFile={}", path.display()));
        }
        let port = self.port.to_string();
        let output = ssh
            .args(["-p", &port, "-l", &self.user, "127.0.0.1", "echo in"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let is_in = output.stdout == b"in\n";
        assert!(
            is_in || String::from_utf8_lossy(&output.stderr).contains("Permission denied"),
            "{output:?}"
        );
        is_in
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn each_axis_alone_keeps_a_certificate_out_and_others_stay_in() {
    let sshd = Sshd::start();
    assert!(sshd.lets_in(9, Some((7, "ana/g1/7"))), "{}", sshd.log());
    assert!(sshd.lets_in(8, None), "{}", sshd.log());
    let ways: [Way<&str>; 8] = [
        Way("serial", |krl| krl.revoke_serial(&issuer(1), serial(7))),
        Way("serial of any", |krl| krl.revoke_serial(&Issuer::ANY, serial(7))),
        Way("range", |krl| krl.revoke_serials(&issuer(1), serial(1), serial(60)).unwrap()),
        Way("bitmap", |krl| {
            (1..=240).for_each(|n| krl.revoke_serial(&issuer(1), serial(n * 60 - 53)));
        }),
        Way("key id", |krl| krl.revoke_key_id(&issuer(1), "ana/g1/7").unwrap()),
        Way("key", |krl| krl.revoke_key(key(9).public_key().key_data()).unwrap()),
        Way("SHA-256", |krl| krl.revoke_fingerprint(&sha256(9)).unwrap()),
        Way("SHA-1", |krl| krl.revoke_sha1(sha1(9))),
    ];
    for (version, Way(axis, revoke)) in (2..).zip(ways) {
        let mut krl = Krl::new(version, NOW);
        revoke(&mut krl);
        sshd.revoke(&krl);
        assert!(!sshd.lets_in(9, Some((7, "ana/g1/7"))), "{axis}: {}", sshd.log());
        assert!(sshd.lets_in(10, Some((64, "bob/g2/64"))), "{axis}: {}", sshd.log());
        assert!(sshd.lets_in(8, None), "{axis}: {}", sshd.log());
    }
}

#[test]
fn a_revoked_authority_opens_nothing_and_plain_keys_stay_usable() {
    let sshd = Sshd::start();
    let mut krl = Krl::new(2, NOW);
    krl.revoke_key(key(1).public_key().key_data()).unwrap();
    sshd.revoke(&krl);
    assert!(!sshd.lets_in(9, Some((7, "ana/g1/7"))));
    assert!(sshd.lets_in(8, None), "{}", sshd.log());
    krl.revoke_key(key(8).public_key().key_data()).unwrap();
    sshd.revoke(&krl);
    assert!(!sshd.lets_in(8, None));
    sshd.revoke(&Krl::new(3, NOW));
    assert!(sshd.lets_in(9, Some((7, "ana/g1/7"))) && sshd.lets_in(8, None), "{}", sshd.log());
}

#[test]
fn every_serial_of_64_bits_can_be_kept_out_of_a_real_login() {
    let sshd = Sshd::start();
    let high = (1 << 63) + 5;
    let mut krl = Krl::new(2, NOW);
    for number in [high, u64::MAX] {
        krl.revoke_serial(&issuer(1), Serial::try_new(number).unwrap());
    }
    sshd.revoke(&krl);
    for (number, is_in) in [(high, false), (u64::MAX, false), (5, true), (high + 1, true)] {
        assert_eq!(sshd.lets_in(9, Some((number, "x"))), is_in, "{number}: {}", sshd.log());
    }
}

#[test]
fn a_real_sshd_loads_every_list_at_the_edges_and_keeps_out_whom_it_names() {
    let sshd = Sshd::start();
    let lists = [("sparse", random(10_000)), ("dense", tenth(10_000))].into_iter().chain(edges());
    for (name, numbers) in lists {
        sshd.judges(name, &numbers);
    }
}

#[test]
#[ignore = "sshd reads the list at every login, 20 s and more for the sparse one; run it with --ignored"]
fn a_real_sshd_loads_a_million_serials_and_keeps_out_whom_they_name() {
    let sshd = Sshd::start();
    for (name, numbers) in [("dense", tenth(1_000_000)), ("sparse", random(1_000_000))] {
        sshd.judges(name, &numbers);
    }
}

#[test]
fn what_we_refuse_to_read_would_have_locked_everybody_out() {
    let sshd = Sshd::start();
    let mut krl = Krl::new(2, NOW);
    krl.revoke_serial(&issuer(1), serial(7));
    let mut cut = krl.encode().unwrap();
    cut.pop();
    for bytes in [cut.as_slice(), b"<html>"] {
        assert!(Krl::decode(bytes).is_err());
        sshd.put(bytes);
        assert!(!sshd.lets_in(8, None), "{}", sshd.log());
    }
    // No bytes at all revoke nothing, which is worse.
    sshd.put(b"");
    assert!(Krl::decode(b"").is_err());
    assert!(sshd.lets_in(9, Some((7, "ana/g1/7"))), "{}", sshd.log());
}
