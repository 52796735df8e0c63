//! A real sshd on loopback that trusts the authority and has a host certificate of it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ssh_key::certificate::{Builder, CertType};
use ssh_key::{LineEnding, PrivateKey};

use crate::authority::{Authority, now};
use crate::person::eventually;

/// Runs until it is dropped.
pub(crate) struct Sshd {
    child: Child,
    pub(crate) port: u16,
    pub(crate) user: String,
    _dir: tempfile::TempDir,
}

impl Sshd {
    /// One whose host certificate is for `names`, signed by `signer`.
    pub(crate) fn start(authority: &Authority, signer: &PrivateKey, names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let user = said_by(Command::new("id").arg("-un"));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        host_certificate(dir.path(), signer, names);
        put("user_ca.pub", &authority.user_key.public_key().to_openssh().unwrap());
        put("principals", &format!("{user}@db1\n"));
        put("config", &config(dir.path(), port));
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.path().join("config"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, user, _dir: dir }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn host_certificate(dir: &Path, signer: &PrivateKey, names: &[&str]) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(dir.join("host"))
        .status();
    assert!(made.unwrap().success());
    let key = PrivateKey::read_openssh_file(dir.join("host")).unwrap();
    let (from, until) = (now().before(MINUTE), now().after(MINUTE));
    let mut builder = Builder::new([2; 16], key.public_key(), from.secs(), until.secs()).unwrap();
    builder.serial(1).unwrap().key_id("db1").unwrap().cert_type(CertType::Host).unwrap();
    for name in names {
        builder.valid_principal(*name).unwrap();
    }
    let certificate = builder.sign(signer).unwrap();
    std::fs::write(dir.join("host-cert.pub"), certificate.to_openssh().unwrap()).unwrap();
    key.write_openssh_file(dir.join("host"), LineEnding::LF).unwrap();
}

fn config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nAuthorizedKeysFile none\n\
         HostKey {dir}/host\nHostCertificate {dir}/host-cert.pub\n\
         TrustedUserCAKeys {dir}/user_ca.pub\nAuthorizedPrincipalsFile {dir}/principals\n"
    )
}

fn said_by(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
