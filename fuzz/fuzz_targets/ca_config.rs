//! `ca.toml`: any text is taken within the ranges of the table, or refused on a line that it has.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

#[path = "../../ca/src/config.rs"]
#[expect(dead_code, reason = "the program uses all of it, the target a part")]
mod config;

fuzz_target!(|text: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = dir.path().join("ca.toml");
    std::fs::write(&path, text).expect("memory is left");
    match config::Config::read(&path) {
        Ok(config) => {
            let hour = Duration::from_secs(3600);
            assert!((hour / 60..=hour).contains(&config.certificate_lifetime));
            assert!((hour / 60..=hour * 24).contains(&config.login_lifetime));
            assert!(config.backdate <= hour / 12 && !config.names.is_empty());
        }
        Err(error) => assert!(error.to_string().contains("ca.toml:"), "{error}"),
    }
});
