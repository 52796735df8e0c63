//! Lists of revoked keys on their way to a host: as a link could cut, reorder and forge them, and, behind a good
//! signature, as a newer or a wrong authority could write them. And whatever a host had as `RevokedKeys` before.
#![no_main]

use agent::krl::assembly::{Assembly, Next};
use curfew_fuzz::{key, raw};
use libfuzzer_sys::fuzz_target;
use wire::krl::Krl;
use wire::krl::signed::{KrlPart, SignedKrl, verify};

fuzz_target!(|input: &[u8]| {
    // Anything can be announced, and anything can follow.
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    if let Some(announced) =
        lines.next().and_then(|line| serde_json::from_slice::<SignedKrl>(line).ok())
        && let Ok(mut assembly) = Assembly::begin(announced.clone())
    {
        for part in lines.filter_map(|line| serde_json::from_slice::<KrlPart>(line).ok()) {
            assembly.add(&part);
        }
        if let (None, Next::Whole(whole)) = assembly.next() {
            assert_eq!(u64::try_from(whole.bytes.len()), Ok(announced.length));
            assert_eq!(whole.version, announced.version);
            let keys = [key(2).public_key().clone()];
            assert!(verify((whole.version, &whole.bytes), &whole.signature, &keys).is_err());
        }
    }
    // Signed, whatever it is: believed only if sshd would read it and it says its version.
    let order_key = key(2);
    let signed =
        SignedKrl::sign((3, input), order_key.public_key(), |message| raw(&order_key, message))
            .expect("the key signs");
    assert!(verify((3, input), &signed.signature, &[key(3).public_key().clone()]).is_err());
    if let Ok(list) = verify((3, input), &signed.signature, &[order_key.public_key().clone()]) {
        assert_eq!((list.version(), Krl::decode(input).ok()), (3, Some(list)));
    }
    // A list that the host had before is taken with ours, and the sum is still a list.
    if let Ok(theirs) = Krl::revoked_keys(input) {
        let mut ours = Krl::new(7, wire::time::Timestamp::from_secs(1));
        ours.absorb(theirs.clone());
        let back = Krl::decode(&ours.encode().expect("it can be written")).expect("it reads back");
        assert_eq!((back.extent(), back.version()), (theirs.extent(), 7));
    }
});
