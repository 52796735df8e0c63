//! Weights of risks in a ledger: who signed those that somebody signed, checked from the entries alone.

use serde::Deserialize;

use super::signatures::{Keys, read};
use crate::identifier::{Fingerprint, Identity};
use crate::risk::NAMESPACE;
use crate::sshsig;

/// What was read of them.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// How many signatures hold.
    pub(super) count: u64,
}

#[derive(Deserialize)]
struct Changed {
    weights: String,
    #[serde(default)]
    trial: Option<String>,
    #[serde(default)]
    signed: Option<Signed>,
    #[serde(default)]
    trial_signed: Option<Signed>,
}

#[derive(Deserialize)]
struct Signed {
    by: Identity,
    key: Fingerprint,
    public_key: String,
    signature: String,
}

impl Weights {
    pub(super) fn entry(
        &mut self,
        body: &str,
        (keys, is_whole): (&Keys, bool),
    ) -> Result<(), String> {
        let Changed { weights, trial, signed, trial_signed } = read(body)?;
        let pairs = [(Some(weights), signed), (trial, trial_signed)];
        for (text, signed) in pairs {
            let Some(Signed { by, key, public_key, signature }) = signed else { continue };
            let text = text.ok_or("a signature stands by weights that are not there")?;
            let public = keys.of(&by, (&key, &public_key), is_whole)?;
            let checked = sshsig::parse(&signature).and_then(|seal| {
                sshsig::verify(&seal, public.key_data(), NAMESPACE, text.as_bytes())
            });
            checked.map_err(|flaw| format!("the weights: {flaw}"))?;
            self.count = self.count.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::signatures::tests::{added, check, public, sealed};
    use super::*;

    fn changed(signed_by: &str, (seed, namespace): (u8, &str), over: &str) -> String {
        let (key, public_key) = public(seed);
        let signature = sealed(seed, namespace, over);
        json!({"by": signed_by, "hash": "h", "name": "ours", "weights": "version = 1",
            "signed": {"by": signed_by, "key": key, "public_key": public_key, "signature": signature}})
        .to_string()
    }

    fn last(body: String) -> Result<(), String> {
        check(&[("key_added", added("ops", 3)), ("risk_changed", body)], true).0
    }

    #[test]
    fn weights_are_whose_they_say_or_nobodys() {
        let good = changed("ops", (3, NAMESPACE), "version = 1");
        let (said, signed) = check(&[("key_added", added("ops", 3)), ("risk_changed", good)], true);
        assert_eq!((said, signed.weights), (Ok(()), 1));
        let plain = json!({"hash": "h", "name": "ours", "weights": "version = 1"}).to_string();
        assert_eq!(last(plain), Ok(()), "of before, or unsigned");
        let no = |body| last(body).unwrap_err();
        assert!(no(changed("ops", (4, NAMESPACE), "version = 1")).contains("was no key of ops"));
        assert!(no(changed("ops", (3, NAMESPACE), "version = 2")).contains("does not verify"));
        let other = changed("ops", (3, crate::request::NAMESPACE), "version = 1");
        assert!(no(other).contains("another purpose"));
    }
}
