//! Logging in.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::authority::Authority;
use crate::person::{Person, complained, said};

#[test]
fn a_wrong_fingerprint_names_both_and_sends_nothing() {
    let (authority, other) = (Authority::start(), Authority::start());
    let person = Person::new();
    let output = person.curfew([
        "login",
        "--ca",
        &authority.url,
        "--fingerprint",
        other.fingerprint.as_str(),
        "--identity",
        "ana@example.com",
    ]);
    let text = complained(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains(&format!("expected root {}", other.fingerprint)), "{text}");
    assert!(text.contains(&format!("offered root  {}", authority.fingerprint)), "{text}");
    assert!(authority.calls().is_empty());
    assert!(!person.path("curfew").exists());
}

#[test]
fn after_the_first_login_the_word_alone_is_enough() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["login", "--install-ssh-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    assert!(
        said(&output).contains("Logged in as ana@example.com; the login ends in 59 min"),
        "{output:?}"
    );
    let mode = |name: &str| person.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("curfew"), mode("curfew/session.json")), (0o700, 0o600));
    let known_hosts = std::fs::read_to_string(person.path("curfew/known_hosts")).unwrap();
    assert!(known_hosts.contains("@cert-authority db1,127.0.0.1 ssh-ed25519 "), "{known_hosts}");
    assert!(!known_hosts.contains('*'));
    let config = std::fs::read_to_string(person.path(".ssh/config")).unwrap();
    assert_eq!(config, "Include ~/curfew/ssh_config\n");
}

#[test]
fn a_key_that_only_the_agent_holds_logs_in() {
    let authority = Authority::start();
    let person = Person::with_agent();
    let added = person.command("ssh-add").arg("-q").arg(person.path("key")).status().unwrap();
    assert!(added.success());
    std::fs::remove_file(person.path("key")).unwrap();
    authority.set(|state| state.enrolled = Some(person.public_key()));
    let output = person.curfew([
        "login",
        "--ca",
        &authority.url,
        "--fingerprint",
        authority.fingerprint.as_str(),
        "--identity",
        "ana@example.com",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
}

#[test]
fn an_unknown_key_is_named_and_the_code_says_denied() {
    let authority = Authority::start();
    let person = Person::new();
    let key = person.path("key");
    let output = person.curfew([
        "login",
        "--ca",
        &authority.url,
        "--fingerprint",
        authority.fingerprint.as_str(),
        "--identity",
        "ana@example.com",
        "--key",
        key.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(77));
    assert!(complained(&output).contains("the signature is by no key of theirs"), "{output:?}");
}

#[test]
fn a_login_that_has_ended_says_what_to_type() {
    let authority = Authority::start();
    authority.set(|state| state.login = Duration::ZERO);
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["whoami"]);
    assert_eq!(output.status.code(), Some(77));
    assert!(complained(&output).contains("run `curfew login`"), "{output:?}");
    assert!(authority.calls().is_empty());
}

#[test]
fn an_authority_with_another_root_is_sent_nothing() {
    let (authority, impostor) = (Authority::start(), Authority::start());
    let person = Person::new().log_in(&authority, &["app"]);
    let path = person.path("curfew/authority.json");
    let text = std::fs::read_to_string(&path).unwrap().replace(&authority.url, &impostor.url);
    std::fs::write(&path, text).unwrap();
    let output = person.curfew(["whoami"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complained(&output).contains("could not prove that it is your authority"),
        "{output:?}"
    );
    assert!(impostor.calls().is_empty());
}

#[test]
fn the_token_is_in_no_output() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    for arguments in
        [&["whoami"][..], &["hosts", "--json"], &["login"], &["status"], &["sessions", "--all"]]
    {
        let output = person.curfew(arguments);
        assert!(!format!("{}{}", said(&output), complained(&output)).contains("planted-token"));
    }
}
