//! `agent.toml`: any text is taken within the ranges of the table, or refused on a line that it has.
#![no_main]

use std::path::Path;
use std::time::Duration;

use agent::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::parse(Path::new("agent.toml"), text) {
        Ok(config) => {
            assert!(config.state_dir.is_absolute() && config.run_dir.is_absolute());
            assert!(config.bpf_dir.is_absolute());
            assert!(config.authority.contains(':'));
            assert!(config.warn_before.len() <= 8);
            let range = Duration::from_secs(1)..=Duration::from_secs(86_400);
            assert!(config.warn_before.iter().all(|length| range.contains(length)));
        }
        Err(error) => assert!(error.to_string().starts_with("agent.toml:"), "{error}"),
    }
});
