//! A file of `locks.d`, and the two files of accounts: any text is a lock within its bounds, or refused; and accounts are
//! read whole or not at all.
#![no_main]

use agent::local::account::{self, Accounts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(lock) = agent::local::parse(text) {
        assert!(!lock.reason.trim().is_empty() && lock.reason.len() <= 400);
        assert!(!lock.reason.chars().any(char::is_control));
    }
    let (passwd, shadow) = text.split_once("\n\n").unwrap_or((text, ""));
    if let Ok(accounts) = account::parse(passwd, shadow) {
        let mut known = Accounts::default();
        let first = known.look(&accounts, 20_000, |_| false);
        // What was seen twice and did not change is as it was.
        assert_eq!(known.look(&accounts, 20_000, |_| false), first);
    }
});
