//! The real ssh: started by `curfew ssh`, and typed by a person whose configuration includes the snippet.

use std::process::{Command, Output};

use crate::authority::Authority;
use crate::person::{Person, complained, said};
use crate::sshd::Sshd;

/// Plain ssh as the person types it, with their own configuration only.
fn plain_ssh(person: &Person, sshd: &Sshd, host: &str, more: &[&str]) -> Output {
    let mut ssh: Command = person.command("ssh");
    // ssh finds the home of the account, not $HOME, so the person's configuration is named.
    ssh.arg("-F").arg(person.path(".ssh/config")).args([
        "-p",
        &sshd.port.to_string(),
        "-l",
        &sshd.user,
    ]);
    ssh.args(["-o", "BatchMode=yes"]).args(more).arg(host);
    ssh.arg("echo in as $(id -un)").output().unwrap()
}

fn at_db1(person: Person, authority: &Authority) -> (Person, Sshd) {
    let sshd = Sshd::start(authority, &authority.host_key, &["db1", "127.0.0.1"]);
    let person = person.log_in(authority, &[&sshd.user]);
    let installed = person.curfew(["login", "--install-ssh-config"]);
    assert_eq!(installed.status.code(), Some(0), "{}", complained(&installed));
    authority.calls();
    (person, sshd)
}

#[test]
fn curfew_ssh_gets_in_with_the_key_in_the_agent_only() {
    let authority = Authority::start();
    let (person, sshd) = at_db1(Person::with_agent(), &authority);
    let port = sshd.port.to_string();
    // With the snippet included, ssh asks `--prepare` again, which must not ask for a second certificate.
    let config = person.path(".ssh/config");
    let output = person.curfew([
        "ssh",
        "db1",
        "--for",
        "20s",
        "--",
        "-F",
        config.to_str().unwrap(),
        "-p",
        &port,
        "echo",
        "in",
        "as",
        "$(id -un)",
    ]);
    assert_eq!(said(&output), format!("in as {}\n", sshd.user), "{}", complained(&output));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(authority.calls(), ["GET /v1/authority", "GET /v1/hosts", "POST /v1/certificates"]);
    let name = format!("{}@db1", sshd.user);
    assert_eq!(person.identities(), [format!("{name}-cert.pub"), format!("{name}.pub")]);
    let held = person.command("ssh-add").arg("-L").output().unwrap();
    assert!(said(&held).contains("ssh-ed25519-cert-v01@openssh.com "), "{held:?}");
}

#[test]
fn curfew_ssh_gets_in_without_an_agent_and_hands_back_the_exit_code() {
    let authority = Authority::start();
    let (person, sshd) = at_db1(Person::new(), &authority);
    let destination = format!("{}@db1", sshd.user);
    let port = sshd.port.to_string();
    let output = person.curfew(["ssh", &destination, "--", "-p", &port, "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{}", complained(&output));
    assert!(complained(&output).contains("no ssh-agent is running"), "{output:?}");
    assert!(person.identities().contains(&destination));
}

#[test]
fn plain_ssh_gets_in_and_the_certificate_serves_twice() {
    for person in [Person::with_agent(), Person::new()] {
        let authority = Authority::start();
        let (person, sshd) = at_db1(person, &authority);
        let first = plain_ssh(&person, &sshd, "127.0.0.1", &[]);
        assert_eq!(said(&first), format!("in as {}\n", sshd.user), "{}", complained(&first));
        assert_eq!(authority.calls(), ["POST /v1/certificates"]);
        let second = plain_ssh(&person, &sshd, "127.0.0.1", &[]);
        assert_eq!(second.status.code(), Some(0), "{}", complained(&second));
        assert!(authority.calls().is_empty(), "the certificate from before serves again");
    }
}

#[test]
fn a_host_that_is_not_ours_keeps_its_own_configuration() {
    let authority = Authority::start();
    let (person, _sshd) = at_db1(Person::new(), &authority);
    let output = person
        .command("ssh")
        .arg("-G")
        .arg("-F")
        .arg(person.path(".ssh/config"))
        .arg("github.com")
        .output();
    let settings = said(&output.unwrap());
    assert!(!settings.contains("curfew/known_hosts"), "{settings}");
    assert!(settings.contains("identitiesonly no"), "{settings}");
    assert!(authority.calls().is_empty());
}

#[test]
fn a_host_key_that_the_authority_did_not_certify_is_refused_and_not_offered() {
    let authority = Authority::start();
    let forger = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[66; 32]));
    for (signer, names) in [(&forger, ["db1"]), (&authority.host_key, ["web1"])] {
        let sshd = Sshd::start(&authority, signer, &names);
        let person = Person::with_agent().log_in(&authority, &[&sshd.user]);
        let port = sshd.port.to_string();
        let output = person.curfew(["ssh", "db1", "--", "-p", &port, "echo in"]);
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        assert!(said(&output).is_empty());
        assert!(complained(&output).contains("Host key verification failed"), "{output:?}");
    }
}

#[test]
fn a_denial_is_the_authoritys_sentence_and_leaves_nothing_behind() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app", "forbidden"]);
    let output = person.curfew(["ssh", "forbidden@db1"]);
    assert_eq!(output.status.code(), Some(77));
    assert!(complained(&output).contains("no role lets you be forbidden@db1"), "{output:?}");
    assert!(person.identities().is_empty());
}
