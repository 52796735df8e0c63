//! A line that searches: any text is read, or refused with a column within it, and what is read is written back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::search::query::{Query, plain_path};
use wire::time::Timestamp;

fuzz_target!(|text: &str| {
    match Query::parse(text) {
        Ok(query) => {
            assert_eq!(Query::parse(&query.to_string()), Ok(query.clone()));
            let now = Timestamp::from_secs(1_800_000_000);
            let bounds = (query.since(now), query.until(now), query.sessions());
            if let Ok(reach) = query.reach() {
                // No recording is opened but within a time, or of sessions that are named.
                assert!(!reach.opens() || bounds.0.is_some() || bounds.2.is_some());
                assert!(reach.opens() || reach.records);
            }
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.column)),
    }
    if let Some(path) = plain_path(text) {
        assert!(path.is_empty() || path.starts_with('/'));
        assert_eq!(plain_path(&format!("{path}/")), Some(path));
    }
});
