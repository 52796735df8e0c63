//! Letters between custodians, files of shares and groups, key ids, key files and passes of break-glass: any text is one thing that
//! reads back as itself, or refused. The first byte chooses a kind, so that content is reached behind the checks of its lines.
#![no_main]

use std::sync::OnceLock;

use breakglass::group::Group;
use breakglass::keygen::{Dealing, Plan};
use breakglass::letter::{Kind, Letter};
use breakglass::receipt::Receipt;
use breakglass::request::Request;
use breakglass::share::Locked;
use curfew_fuzz::survives_text;
use libfuzzer_sys::fuzz_target;
use wire::breakglass::UseName;
use wire::breakglass::pass::Pass;
use wire::time::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let kind = Kind::ALL[usize::from(*first) % Kind::ALL.len()];
    let letter = Letter::new(kind, body.to_vec());
    let text = letter.to_string();
    if body.len() <= breakglass::letter::MAX_BYTES {
        assert_eq!(Letter::read(&text).expect("what was written can be read"), letter);
    }
    read(&text);
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
        survives_text::<UseName>(text);
        drop(wire::breakglass::keys(text));
        if let Ok(pass) = Pass::from_extension(text) {
            assert_eq!(pass.to_extension().expect("it was read"), text);
        }
    }
});

fn read(text: &str) {
    if let Ok(group) = Group::read(text) {
        assert_eq!(Group::read(&group.letter().to_string()).expect("it reads back"), group);
    }
    if let Ok(request) = Request::read(text) {
        assert_eq!(Request::read(&request.letter().to_string()).expect("it reads back"), request);
        request.terms().check().expect("what was read breaks no rule");
    }
    if let Ok(share) = Locked::read(text) {
        assert_eq!(Locked::read(&share.letter().to_string()).expect("it reads back"), share);
    }
    drop(Receipt::read(text));
    let mut dealing = dealing();
    drop(dealing.take(text));
}

/// A ceremony that waits for its letters. Every run sees it fresh, and from the same dealings.
fn dealing() -> Dealing {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let names = ["ann", "bob"].map(|name| name.parse().expect("a name"));
        Plan::new(&names, 2, Timestamp::from_secs(1_900_000_000)).expect("a plan")
    });
    let ann = "ann".parse().expect("a name");
    Dealing::begin(plan.clone(), &ann, None, &mut rand_core::OsRng).expect("a dealing").0
}
