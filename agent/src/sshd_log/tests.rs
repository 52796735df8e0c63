use super::*;

const KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

fn key() -> Fingerprint {
    KEY.parse().unwrap()
}

fn failed_line(login: &str, key_id: &str) -> String {
    format!(
        "Failed publickey for {login} from 10.0.0.1 port 4242 ssh2: ED25519-CERT {KEY} ID {key_id} (serial 7) CA ED25519 {KEY}"
    )
}

#[test]
fn each_line_that_matters_is_read() {
    let revoked = format!(
        "error: Authentication key ED25519-CERT {KEY} revoked by file /var/lib/curfew/krl/revoked_keys"
    );
    assert_eq!(Line::parse(&revoked), Some(Line::Revoked { key: key() }));
    let Some(Line::Failed(failed)) = Line::parse(&failed_line("app", "ana@example.com/g1/7"))
    else {
        panic!("it is read");
    };
    assert_eq!(
        (failed.login.as_str(), failed.remote.as_str(), failed.serial),
        ("app", "10.0.0.1", 7)
    );
    assert_eq!(failed.key_id, "ana@example.com/g1/7");
    let elsewhere = "cert: Authentication tried for app with valid certificate but not from a permitted source address (10.0.0.1).";
    let (login, remote) = ("app".to_owned(), "10.0.0.1".to_owned());
    let read = Line::parse(elsewhere);
    assert_eq!(read, Some(Line::Elsewhere { login: login.clone(), remote: remote.clone() }));
    let unverified = format!(
        "error: public key ED25519-SK-CERT {KEY} signature for app from 10.0.0.1 port 7 rejected: user verification requirement not met "
    );
    assert!(matches!(Line::parse(&unverified), Some(Line::Unverified { .. })));
    let closed = "Connection closed by authenticating user app 10.0.0.1 port 4242 [preauth]";
    assert_eq!(Line::parse(closed), Some(Line::Closed { login, remote }));
    assert_eq!(
        Line::parse("Accepted publickey for app from 10.0.0.1 port 1 ssh2: ED25519 x"),
        None
    );
}

#[test]
fn who_chooses_a_name_or_a_key_id_forges_nothing() {
    // A login that looks like the rest of the line: what sshd put behind it counts.
    let forged = "root from 10.9.9.9 port 1 ssh2: ED25519-CERT x";
    let Some(Line::Failed(read)) = Line::parse(&failed_line(forged, "k")) else { panic!("read") };
    assert_eq!((read.remote.as_str(), read.serial), ("10.0.0.1", 7));
    assert!(read.login.starts_with("root from 10.9.9.9"), "{}", read.login);
    // Blanks in a key id move every field: nothing is read then.
    for key_id in ["a b", "x (serial 9) CA ED25519 SHA256:y", "", " "] {
        assert_eq!(Line::parse(&failed_line("app", key_id)), None, "{key_id:?}");
    }
    let closed = "Connection closed by invalid user root 10.9.9.9 port 1 10.0.0.1 port 22";
    let Some(Line::Closed { login, remote }) = Line::parse(closed) else { panic!("read") };
    assert_eq!((login.as_str(), remote.as_str()), ("root 10.9.9.9 port 1", "10.0.0.1"));
    for cut in ["Failed publickey for app from 10.0.0.1", "Authentication key ", "public key x", ""]
    {
        assert_eq!(Line::parse(cut), None, "{cut:?}");
    }
}

#[test]
fn only_what_root_wrote_counts() {
    let entry = |uid: &str| {
        format!(
            r#"{{"__CURSOR":"s=1","MESSAGE":"Connection closed by authenticating user app 10.0.0.1 port 9 [preauth]","_PID":"77","_UID":"{uid}","_BOOT_ID":"x"}}"#
        )
    };
    let read = Entry::parse(entry("0").as_bytes()).unwrap();
    assert_eq!((read.pid, read.cursor.as_str()), (77, "s=1"));
    assert_eq!(Entry::parse(entry("1000").as_bytes()), None);
    assert_eq!(Entry::parse(entry("0").replace("77", "-7").as_bytes()), None);
    assert_eq!(Entry::parse(br#"{"__CURSOR":"s","MESSAGE":[1,2],"_PID":"7","_UID":"0"}"#), None);
}

fn at(millis: u64) -> Uptime {
    Uptime::from_nanos(millis.saturating_mul(1_000_000))
}

fn said(watched: &mut Watched, text: &str) {
    let entry = Entry { cursor: String::new(), pid: 77, line: Line::parse(text).unwrap() };
    watched.note(entry, &[key()], at(0));
}

#[test]
fn lines_of_one_connection_become_one_attempt() {
    let mut watched = Watched::default();
    said(&mut watched, &format!("Authentication key ED25519-CERT {KEY} revoked by file /r"));
    said(&mut watched, &format!("Authentication key ED25519-CERT {KEY} revoked by file /r"));
    said(&mut watched, &failed_line("app", "ana/g1/7"));
    said(&mut watched, "Connection closed by authenticating user app 10.0.0.1 port 4242 [preauth]");
    assert!(watched.due(at(10)).is_empty());
    let due = watched.due(watched.next_due().unwrap());
    let [told] = due.as_slice() else { panic!("{due:?}") };
    let [heard] = told.attempts.as_slice() else { panic!("{told:?}") };
    let refused = &heard.refused;
    assert_eq!((told.pid, refused.serial, refused.key.as_str()), (77, 7, KEY));
    assert_eq!((refused.remote.as_str(), refused.by), ("10.0.0.1", Refuser::Sshd));
    assert!(refused.reason.contains("revoked") && !refused.ours);
    assert_eq!(watched.next_due(), None);
    assert_eq!(watched.who(77), Some(("app", "10.0.0.1")));
    assert!(watched.due(at(200_000)).is_empty() && watched.who(77).is_none());
}

#[test]
fn certificates_of_other_authorities_are_none_of_ours() {
    let mut watched = Watched::default();
    let entry = Entry {
        cursor: String::new(),
        pid: 1,
        line: Line::parse(&failed_line("app", "k")).unwrap(),
    };
    watched.note(entry, &[Fingerprint::of(b"other")], at(0));
    assert!(watched.due(at(5_000)).is_empty());
}

#[test]
fn what_the_gate_has_told_of_is_no_news() {
    let mut watched = Watched::default();
    watched.known(77, key(), at(0));
    said(&mut watched, &failed_line("app", "ana/g1/7"));
    assert!(watched.due(at(5_000)).is_empty());
    assert_eq!(watched.who(77), Some(("app", "10.0.0.1")));
}

#[test]
fn memory_is_bounded() {
    let mut watched = Watched::default();
    for pid in 1..5_000 {
        let line = Line::parse(&format!("Authentication key ED25519 {KEY} revoked by file /r"));
        watched.note(Entry { cursor: String::new(), pid, line: line.unwrap() }, &[], at(1));
    }
    assert!(watched.monitors.len() <= MAX_WATCHED);
}
