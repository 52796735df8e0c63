//! sshd's log: no line names another address, serial or key than sshd put at its end.
#![no_main]

use agent::sshd_log::{Entry, Line, Watched};
use libfuzzer_sys::fuzz_target;
use wire::time::Uptime;

const KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (login, key_id, json) = input;
    let line = format!(
        "Failed publickey for {login} from 10.0.0.1 port 4242 ssh2: ED25519-CERT {KEY} ID {key_id} (serial 7) CA ED25519 {KEY}"
    );
    if let Some(Line::Failed(failed)) = Line::parse(&line) {
        assert_eq!((failed.remote.as_str(), failed.serial), ("10.0.0.1", 7));
        assert_eq!(failed.key_id, key_id);
    }
    let closed = format!("Connection closed by invalid user {login} 10.0.0.1 port 22 [preauth]");
    if let Some(Line::Closed { remote, .. }) = Line::parse(&closed) {
        assert_eq!(remote, "10.0.0.1");
    }
    let mut watched = Watched::default();
    if let Some(entry) = Entry::parse(json) {
        assert!(entry.pid > 0);
        watched.note(entry, &[KEY.parse().expect("a fingerprint")], Uptime::from_nanos(1));
    }
    for told in watched.due(Uptime::from_nanos(u64::MAX)) {
        assert!(told.attempts.iter().all(|heard| !heard.refused.ours));
    }
});
