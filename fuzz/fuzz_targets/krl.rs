//! Key revocation lists as a stranger writes them: any bytes are refused, or are a set that is written and read again as
//! the same; and any set that can be built is written so that it reads back.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use curfew_fuzz::{NOW, certificate, key};
use libfuzzer_sys::fuzz_target;
use wire::certificate::Certificate;
use wire::identifier::Serial;
use wire::krl::{Axis, Issuer, Krl};

static OFFERED: LazyLock<Certificate> = LazyLock::new(certificate);
static AUTHORITY: LazyLock<Issuer> =
    LazyLock::new(|| Issuer::of(key(1).public_key().key_data()).expect("a plain key"));
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| some().encode().expect("it is sound"));
/// The serial of the certificate.
const SERIAL: u64 = 7;

/// What can be built.
#[derive(Debug, Arbitrary)]
struct Set<'a> {
    of_any: bool,
    serials: Vec<(u64, u16)>,
    key_ids: Vec<&'a [u8]>,
    hashes: Vec<[u8; 20]>,
}

fuzz_target!(|input: &[u8]| {
    read(input);
    // A good one with the input over one place of it.
    if let [at, with @ ..] = input {
        let mut altered = GOOD.clone();
        let from = usize::from(*at) * 3 % altered.len();
        for (place, byte) in altered.iter_mut().skip(from).zip(with) {
            *place = *byte;
        }
        read(&altered);
    }
    if let Ok(set) = Set::arbitrary(&mut Unstructured::new(input)) {
        build(set);
    }
});

fn build(set: Set<'_>) {
    let issuer = if set.of_any { &Issuer::ANY } else { &*AUTHORITY };
    let mut krl = Krl::new(3, NOW);
    let mut is_revoked = false;
    for (first, more) in set.serials {
        let first = first.max(1);
        let last = first.saturating_add(more.into());
        is_revoked |= (first..=last).contains(&SERIAL);
        krl.revoke_serials(issuer, serial(first), serial(last)).expect("in order");
    }
    for key_id in set.key_ids {
        let has_nul = key_id.contains(&0);
        assert_eq!(krl.revoke_key_id(issuer, key_id).is_err(), has_nul);
    }
    set.hashes.into_iter().for_each(|hash| krl.revoke_sha1(hash));
    let back = Krl::decode(&krl.encode().expect("it is sound")).expect("it reads back");
    let of_the_serial = [None, Some(Axis::Serial)];
    if of_the_serial.contains(&back.axis(&OFFERED)) {
        assert_eq!(back.axis(&OFFERED).is_some(), is_revoked);
    }
}

fn serial(number: u64) -> Serial {
    Serial::try_new(number).expect("at least 1")
}

fn read(bytes: &[u8]) {
    let Ok(krl) = Krl::decode(bytes) else { return };
    let written = krl.encode().expect("what was read can be written");
    let again = Krl::decode(&written).expect("what was written can be read");
    assert_eq!(again.axis(&OFFERED), krl.axis(&OFFERED));
    assert_eq!(again.encode().expect("again"), written);
}

/// A list with each kind of section.
fn some() -> Krl {
    let mut krl = Krl::new(3, NOW).with_comment("curfew").expect("no NUL");
    (1..40).for_each(|n| krl.revoke_serial(&AUTHORITY, serial(n * 3)));
    krl.revoke_serial(&AUTHORITY, serial(1 << 40));
    krl.revoke_serials(&AUTHORITY, serial(1 << 50), serial(1 << 51)).expect("in order");
    krl.revoke_key_id(&Issuer::ANY, "ana@example.com/g1/7").expect("no NUL");
    krl.revoke_key(key(4).public_key().key_data()).expect("a plain key");
    krl.revoke_sha1([5; 20]);
    krl.revoke_sha256([6; 32]);
    krl
}
