//! `roles.toml`: a role that is taken opens somewhere, for somebody named, and for a bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../ca/src"]
mod source {
    #![expect(dead_code, reason = "the program uses all of it, the target a part")]
    pub(crate) mod approval;
    pub(crate) mod config;
    pub(crate) mod role;
}
use source::{approval, config, role};

fuzz_target!(|text: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = dir.path().join("roles.toml");
    std::fs::write(&path, text).expect("memory is left");
    match role::Roles::read(&path) {
        Ok(roles) => {
            for (_, role) in roles.iter() {
                assert!(!role.logins.is_empty());
                assert!(!role.hosts.is_empty() || !role.host_names.is_empty());
                assert!(role.default_secs > 0 && role.default_secs <= role.max_secs);
            }
        }
        Err(error) => assert!(error.to_string().contains("roles.toml:"), "{error}"),
    }
});
