//! The files of the login path that `install` changes: what it puts in, it takes out again, to the last byte.
#![no_main]

use agent::config::OtherLogins;
use agent::install::{pam, sshd};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A last line without its end gets one.
    let text = format!("{}\n", text.trim_end_matches('\n'));
    let text = text.as_str();
    // What is there already counts as ours; the promise is about files that are not.
    if pam::without_lines(text) == text {
        for policy in [OtherLogins::Allow, OtherLogins::Refuse] {
            let changed = pam::with_lines(text, policy);
            assert_eq!(pam::without_lines(&changed), text);
            assert_eq!(pam::with_lines(&changed, policy), changed, "twice is once");
            assert_eq!(pam::flaw(&changed), None, "{changed}");
        }
    }
    if let Some(changed) = sshd::with_include(text)
        && sshd::without_include(text) == text
    {
        assert_eq!(sshd::without_include(&changed), text);
        assert_eq!(sshd::with_include(&changed), None, "twice is once");
    }
    drop(sshd::host_certificates(text));
    let version = sshd::Version::find(text);
    assert!(version.is_none() || text.contains("OpenSSH"));
    let effective = sshd::Effective::parse(text);
    drop((effective.overridden(), effective.rivals()));
});
