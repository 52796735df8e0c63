//! Two custodians who sign: for the tests of the program, and of the room that reads what they signed.

use breakglass::keygen::{Dealing, Kept, Plan};
use breakglass::letter::Letter;
use breakglass::receipt::Receipt;
use breakglass::request::Request;
use breakglass::sign::Committed;
use breakglass::terms::Terms;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use wire::breakglass::{Alarm, Noticed, Use};
use wire::certificate::fingerprint;
use wire::identifier::Custodian;
use wire::time::Timestamp;

/// Ann and bob, with a key of their own each time.
pub(crate) struct Pair {
    kept: Vec<Kept>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let names: Vec<Custodian> = ["ann", "bob"].map(|name| name.parse().unwrap()).into();
        let plan = Plan::new(&names, 2, Timestamp::from_secs(1_900_000_000)).unwrap();
        let begun = names
            .iter()
            .map(|name| Dealing::begin(plan.clone(), name, None, &mut rand_core::OsRng).unwrap());
        let (mut dealings, letters) = split(begun);
        for dealing in &mut dealings {
            for letter in &letters {
                dealing.take(letter).unwrap();
            }
        }
        let (mut dealt, letters) = split(dealings.into_iter().map(|one| one.deal().unwrap()));
        for one in &mut dealt {
            for letter in &letters {
                one.take(letter).unwrap();
            }
        }
        Self { kept: dealt.into_iter().map(|one| one.finish().unwrap()).collect() }
    }

    pub(crate) fn group(&self) -> String {
        self.kept[0].share().group().letter().to_string()
    }

    /// The receipts of both, for half an hour on db1.
    pub(crate) fn sign(&self, from: Timestamp) -> Vec<String> {
        let terms = Terms {
            drill: false,
            incident: "INC-42".parse().unwrap(),
            reason: "all is down".into(),
            hosts: vec!["db1".parse().unwrap()],
            login: "breakglass".parse().unwrap(),
            from,
            secs: 1_800,
            custodians: ["ann", "bob"].map(|name| name.parse().unwrap()).into(),
            networks: None,
            subject: PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
                .public_key()
                .key_data()
                .clone(),
        };
        let random = &mut rand_core::OsRng;
        let request = Request::new(self.kept[0].share().group(), terms, random).unwrap();
        let begun = self
            .kept
            .iter()
            .map(|kept| Committed::commit(kept.share(), &request, &mut rand_core::OsRng).unwrap());
        let (mut all, letters) = split(begun);
        for one in &mut all {
            for letter in &letters {
                one.take(letter).unwrap();
            }
        }
        let (mut all, letters) = split(all.into_iter().map(|one| one.respond().unwrap()));
        for one in &mut all {
            for letter in &letters {
                one.take(letter).unwrap();
            }
        }
        all.into_iter()
            .map(|one| one.finish().unwrap().receipt.letter().unwrap().to_string())
            .collect()
    }
}

fn split<T>(all: impl Iterator<Item = (T, Letter)>) -> (Vec<T>, Vec<String>) {
    all.map(|(one, letter)| (one, letter.to_string())).unzip()
}

/// What a host says of a use of the certificate of that receipt.
pub(crate) fn used(receipt: &str) -> Use {
    let receipt = Receipt::read(receipt).unwrap();
    let terms = receipt.request().terms();
    Use {
        name: terms.name(receipt.request().serial()),
        login: terms.login.clone(),
        remote: "10.0.0.9".into(),
        key: Some(fingerprint(&terms.subject)),
        authority: fingerprint(&receipt.group().key_data()),
        reason: terms.reason.clone(),
        noticed: Noticed::Gate,
        at: terms.from,
        session: None,
        alarms: vec![Alarm { by: "journal".into(), fault: None, waits: false }],
    }
}
