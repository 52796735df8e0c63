//! What needs no authority: usage, exit codes, and silence where nothing is ours.

use crate::authority::Authority;
use crate::person::{Person, complained, said};

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let person = Person::new();
    let code = |arguments: &[&str]| person.curfew(arguments).status.code().unwrap();
    assert_eq!(code(&["--version"]), 0);
    assert_eq!(code(&["ssh", "--help"]), 0);
    assert_eq!(code(&[]), 64);
    assert_eq!(code(&["ssh"]), 64);
    assert_eq!(code(&["ssh", "a b@db1"]), 64);
    assert_eq!(code(&["ssh", "--for", "soon", "db1"]), 64);
    assert_eq!(code(&["ssh", "--only", "tty", "db1"]), 64);
    assert_eq!(code(&["ssh", "--from", "10.0.0.1/8", "db1"]), 64);
    assert_eq!(code(&["certificate", "db1"]), 64, "whose key?");
    assert_eq!(code(&["certificate", "db1", "--key", "/nonexistent"]), 78);
    assert_eq!(code(&["lock", "ana@example.com"]), 64, "a lock needs a reason");
    assert_eq!(code(&["lock", "nonsense", "x", "--reason", "r"]), 64);
    assert_eq!(code(&["sessions", "show", "../whoami"]), 64);
    assert_eq!(code(&["login"]), 78);
    assert_eq!(code(&["whoami"]), 78);
    let nobody = [
        "login",
        "--ca",
        "https://127.0.0.1:1",
        "--identity",
        "ana@example.com",
        "--fingerprint",
        "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    assert_eq!(code(&nobody), 69);
}

#[test]
fn preparing_for_a_host_that_is_not_ours_is_silent_and_stays_off_the_network() {
    let authority = Authority::start();
    let stranger = Person::new();
    let member = Person::new().log_in(&authority, &["app"]);
    for person in [&stranger, &member] {
        for host in [
            "github.com",
            "",
            "-oProxyCommand=id",
            "--help",
            "a;id",
            "$(id)",
            "'",
            "*",
            "../../etc",
            "\u{e9}",
        ] {
            for login in ["git", "-l", "$(id)", ""] {
                let output = person.curfew(["ssh", "--prepare", host, login]);
                assert_eq!(output.status.code(), Some(1), "{host:?} {login:?}");
                assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
            }
        }
    }
    assert!(authority.calls().is_empty());
    assert!(!stranger.path("curfew").exists(), "nothing is made for a stranger");
}

#[test]
fn bytes_that_are_no_text_are_not_ours_either() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = std::ffi::OsStr::from_bytes(b"db1\xff");
    let output = Person::new().curfew(["ssh".as_ref(), "--prepare".as_ref(), odd, "app".as_ref()]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
}

#[test]
fn completions_and_manual_pages_come_from_the_command_line_itself() {
    let person = Person::new();
    assert!(said(&person.curfew(["completions", "bash"])).contains("_curfew()"));
    assert!(said(&person.curfew(["man"])).contains(".TH curfew 1"));
    std::fs::create_dir(person.path("man")).unwrap();
    let output = person.curfew(["man", "--out", person.path("man").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    assert!(person.path("man/curfew-ssh.1").exists());
}
