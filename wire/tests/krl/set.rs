//! A list as a set: whatever is revoked is written, read back and answered, and nothing else is.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use ssh_key::certificate::Builder;
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use wire::certificate::Certificate;
use wire::identifier::{Fingerprint, Serial};
use wire::krl::{Axis, Extent, Issuer, Krl};
use wire::time::Timestamp;

use super::incumbent::sha1;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The key of this seed; each is made once, for that takes its time.
pub(crate) fn key(seed: u8) -> PrivateKey {
    static MADE: Mutex<BTreeMap<u8, PrivateKey>> = Mutex::new(BTreeMap::new());
    let made = || PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
    MADE.lock().unwrap().entry(seed).or_insert_with(made).clone()
}

pub(crate) fn serial(number: u64) -> Serial {
    Serial::try_new(number).unwrap()
}

/// By the authority of `signer`, for the key of `subject`.
pub(crate) fn certificate(signer: u8, subject: u8, serial: u64, key_id: &str) -> Certificate {
    let subject = key(subject).public_key().clone();
    let mut builder = Builder::new([7; 16], subject, 0, u64::MAX - 1).unwrap();
    builder.serial(serial).unwrap().key_id(key_id).unwrap();
    builder.valid_principal("app@db1").unwrap();
    Certificate::from_bytes(&builder.sign(&key(signer)).unwrap().to_bytes().unwrap()).unwrap()
}

/// The same for our own reading only, where the signature does not matter: making one takes its time.
fn offered(signer: u8, subject: u8, serial: u64, key_id: &str) -> Certificate {
    static SIGNED: Mutex<BTreeMap<(u8, u8), Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut signed = SIGNED.lock().unwrap();
    let made = || certificate(signer, subject, 1, "x").to_bytes();
    let bytes = signed.entry((signer, subject)).or_insert_with(made);
    // The type, the nonce and the key stand before the serial; the kind and the key id follow it.
    let at = 4 + "ssh-ed25519-cert-v01@openssh.com".len() + 4 + 16 + 4 + 32;
    assert_eq!(bytes[at..at + 8], 1_u64.to_be_bytes());
    let length = u32::try_from(key_id.len()).unwrap().to_be_bytes();
    let kind = &bytes[at + 8..at + 12];
    let parts: [&[u8]; 6] =
        [&bytes[..at], &serial.to_be_bytes(), kind, &length, key_id.as_bytes(), &bytes[at + 17..]];
    Certificate::from_bytes(&parts.concat()).unwrap()
}

pub(crate) fn issuer(seed: u8) -> Issuer {
    Issuer::of(key(seed).public_key().key_data()).unwrap()
}

/// A name, and one way to revoke.
pub(crate) struct Way<T>(pub(crate) T, pub(crate) fn(&mut Krl));

/// The fingerprint of the key of `seed`.
pub(crate) fn sha256(seed: u8) -> Fingerprint {
    wire::certificate::fingerprint(key(seed).public_key().key_data())
}

/// Sparse, dense, in blocks, and at both ends of the numbers.
pub(crate) fn serials(most: usize) -> impl Strategy<Value = Vec<u64>> {
    let near = |range: std::ops::Range<u64>| prop::collection::vec(range, 0..most);
    prop_oneof![
        prop::collection::vec(1..=u64::MAX, 0..most),
        near(1..2_000),
        near(1..100_000),
        near(u64::MAX - 50_000..u64::MAX),
        near((1 << 63) - 9_000..(1 << 63) + 9_000),
        (1..1_000_000_u64, 1..most.max(2))
            .prop_map(|(from, length)| { (from..from + length as u64).collect() }),
        (1..1_000_000_u64, 2..200_u64, 1..most.max(2)).prop_map(|(from, step, length)| {
            (0..length as u64).map(|n| from + n * step).collect()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_reads_back_as_the_same_in_whatever_order_it_was_revoked(
        by_name in serials(3_000),
        by_all in serials(50),
        hashes: Vec<[u8; 32]>,
        shorter: Vec<[u8; 20]>,
        key_ids in prop::collection::vec("[^\0]{0,40}", 0..20),
        version: u64,
    ) {
        let mut krl = Krl::new(version, NOW).with_comment("a list").unwrap();
        let mut other = krl.clone();
        let named = issuer(1);
        for number in &by_name {
            krl.revoke_serial(&named, serial(*number));
        }
        for number in by_name.iter().rev() {
            other.revoke_serial(&named, serial(*number));
        }
        for list in [&mut krl, &mut other] {
            by_all.iter().for_each(|number| list.revoke_serial(&Issuer::ANY, serial(*number)));
            hashes.iter().for_each(|hash| list.revoke_sha256(*hash));
            shorter.iter().for_each(|hash| list.revoke_sha1(*hash));
            for key_id in &key_ids {
                list.revoke_key_id(&issuer(2), key_id.as_str()).unwrap();
            }
        }
        let bytes = krl.encode().unwrap();
        prop_assert_eq!(&bytes, &other.encode().unwrap());
        let back = Krl::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &krl);
        prop_assert_eq!((back.version(), back.generated()), (version, NOW));
        for number in by_name.iter().take(50) {
            let near = [number.saturating_sub(1).max(1), *number, number.saturating_add(1)];
            for probe in near {
                let expected = by_name.contains(&probe) || by_all.contains(&probe);
                prop_assert_eq!(back.is_revoked(&offered(1, 9, probe, "x")), expected);
                let expected = by_all.contains(&probe);
                prop_assert_eq!(back.is_revoked(&offered(3, 9, probe, "x")), expected);
            }
        }
        for key_id in &key_ids {
            prop_assert_eq!(back.axis(&offered(2, 9, 0, key_id)), Some(Axis::KeyId));
            prop_assert_eq!(back.axis(&offered(3, 9, 0, key_id)), None);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_is_written(bytes: Vec<u8>, cut: usize, flip: u8) {
        drop(Krl::decode(&bytes));
        let mut krl = Krl::new(3, NOW);
        (1..400).for_each(|n| krl.revoke_serial(&issuer(1), serial(n * 7)));
        krl.revoke_key_id(&Issuer::ANY, "x").unwrap();
        krl.revoke_sha1([5; 20]);
        let mut altered = krl.encode().unwrap();
        let at = cut % altered.len();
        prop_assert!(Krl::decode(&altered[..at]).is_err() || at >= 44);
        altered[at] ^= flip;
        if let Ok(krl) = Krl::decode(&altered) {
            prop_assert_eq!(Krl::decode(&krl.encode().unwrap()).unwrap(), krl);
        }
    }
}

#[test]
fn nothing_revoked_is_a_header_and_never_no_bytes() {
    let krl = Krl::new(1, NOW);
    let bytes = krl.encode().unwrap();
    assert_eq!(bytes.len(), 8 + 4 + 8 + 8 + 8 + 4 + 4);
    assert_eq!(Krl::decode(&bytes).unwrap().extent(), Extent::default());
    assert!(!krl.is_revoked(&offered(1, 9, 7, "x")));
}

#[test]
fn each_axis_alone_revokes_and_its_neighbour_does_not() {
    let subject = offered(1, 9, 7, "ana/g1/7");
    let ways: [Way<Axis>; 7] = [
        Way(Axis::Serial, |krl| krl.revoke_serial(&issuer(1), serial(7))),
        Way(Axis::Serial, |krl| krl.revoke_serials(&Issuer::ANY, serial(6), serial(8)).unwrap()),
        Way(Axis::KeyId, |krl| krl.revoke_key_id(&issuer(1), "ana/g1/7").unwrap()),
        Way(Axis::Key, |krl| krl.revoke_key(key(9).public_key().key_data()).unwrap()),
        Way(Axis::Sha256, |krl| krl.revoke_fingerprint(&sha256(9)).unwrap()),
        Way(Axis::Sha1, |krl| krl.revoke_sha1(sha1(9))),
        Way(Axis::Authority, |krl| krl.revoke_key(key(1).public_key().key_data()).unwrap()),
    ];
    for Way(axis, revoke) in ways {
        let mut krl = Krl::new(1, NOW);
        revoke(&mut krl);
        let krl = Krl::decode(&krl.encode().unwrap()).unwrap();
        assert_eq!(krl.axis(&subject), Some(axis));
        let is_of_the_key = matches!(axis, Axis::Key | Axis::Sha1 | Axis::Sha256);
        assert_eq!(krl.is_revoked_key(key(9).public_key().key_data()), is_of_the_key, "{axis:?}");
        // Another authority, subject, serial and key id, each where it matters.
        assert_eq!(krl.axis(&offered(2, 8, 70, "bob/g2/70")), None, "{axis:?}");
        if axis == Axis::KeyId {
            assert_eq!(krl.axis(&offered(2, 9, 7, "ana/g1/7")), None);
            assert_eq!(krl.axis(&offered(1, 9, 7, "ana/g1/77")), None);
        }
    }
    let mut krl = Krl::new(1, NOW);
    krl.revoke_serial(&issuer(1), serial(7));
    assert_eq!(krl.axis(&offered(2, 9, 7, "ana/g1/7")), None, "another authority's 7");
}

#[test]
fn the_highest_bit_of_a_serial_survives() {
    let high = [1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    let mut krl = Krl::new(u64::MAX, NOW);
    high.iter().for_each(|number| krl.revoke_serial(&issuer(1), serial(*number)));
    let krl = Krl::decode(&krl.encode().unwrap()).unwrap();
    for number in high {
        assert!(krl.is_revoked(&offered(1, 9, number, "x")));
        assert!(!krl.is_revoked(&offered(1, 9, number & (u64::MAX >> 1), "x")));
    }
    let mut all = Krl::new(1, NOW);
    all.revoke_serials(&issuer(1), serial(1), serial(u64::MAX)).unwrap();
    assert_eq!(Krl::decode(&all.encode().unwrap()).unwrap().extent().serials, u64::MAX);
}

#[test]
fn what_cannot_be_meant_cannot_be_built() {
    let mut krl = Krl::new(1, NOW);
    assert!(krl.revoke_serials(&Issuer::ANY, serial(2), serial(1)).is_err());
    assert!(krl.revoke_key_id(&Issuer::ANY, "a\0b").is_err());
    assert!(krl.clone().with_comment("a\0").is_err());
    assert!(Serial::try_new(0).is_err());
    assert_eq!(krl, Krl::new(1, NOW));
}
