//! The tracker's answer: a ticket serves only where the answer says in so many words that it is there, open, and theirs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wire::identifier::{Identity, Ticket};

#[path = "../../ca/src/tracker/answer.rs"]
mod answer;
use answer::Answer;

fuzz_target!(|body: &[u8]| {
    let ticket: Ticket = "OPS-1".parse().expect("a ticket");
    let ana: Identity = "ana@example.com".parse().expect("a name");
    let Ok(answer) = Answer::parse(body) else { return };
    let said: Value = serde_json::from_slice(body).expect("what was read is JSON");
    let is_plain =
        said["exists"] == true && said["open"] == true && said["assigned_to"] == ana.as_str();
    match answer.judge(&ticket, &ana) {
        Ok(()) => assert!(is_plain, "{said}"),
        Err(unfit) => {
            // What the tracker wrote is not in what we say.
            assert!(!is_plain && unfit.to_string().len() < 64, "{unfit}");
        }
    }
});
