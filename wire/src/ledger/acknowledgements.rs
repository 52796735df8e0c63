//! The rules of behaviour in a ledger: each text, and who signed which, checked from the entries alone.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::signatures::{Keys, read};
use crate::behaviour::SignedAcknowledgement;
use crate::identifier::{Fingerprint, Identity};
use crate::log::Hash;

/// The texts so far.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    texts: BTreeSet<Hash>,
    /// How many signatures hold.
    pub(super) count: u64,
}

#[derive(Deserialize)]
struct Changed {
    #[serde(default)]
    hash: Option<Hash>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Acknowledged {
    by: Identity,
    text: Hash,
    key: Fingerprint,
    public_key: String,
    signed: SignedAcknowledgement,
}

#[derive(Deserialize)]
struct Accepted {
    by: Identity,
    text: Hash,
}

impl Acknowledgements {
    pub(super) fn entry(
        &mut self,
        kind: &str,
        body: &str,
        (keys, is_whole): (&Keys, bool),
    ) -> Result<(), String> {
        match kind {
            "behaviour_changed" => {
                let Changed { hash, text } = read(body)?;
                if text.as_deref().map(|text| Hash::of(text.as_bytes())) != hash {
                    return Err(
                        "the rules of behaviour are not the text that the entry names".into()
                    );
                }
                self.texts.extend(hash);
                Ok(())
            }
            "behaviour_acknowledged" => {
                let said: Acknowledged = read(body)?;
                let Acknowledged { by, text, key, public_key, signed } = &said;
                let public = keys.of(by, (key, public_key), is_whole)?;
                let acknowledged = signed.verify(&public).map_err(|flaw| flaw.to_string())?;
                if acknowledged.by != *by || acknowledged.text != *text {
                    return Err(format!("what {by} signed is of another person, or another text"));
                }
                self.known(text, is_whole)?;
                self.count = self.count.saturating_add(1);
                Ok(())
            }
            // Nothing is signed: only that there was such a text, and no key to sign with, can be checked.
            _ => {
                let Accepted { by, text } = read(body)?;
                if keys.has_any(&by) {
                    return Err(format!(
                        "{by} had a key, and accepted the rules of behaviour unsigned"
                    ));
                }
                self.known(&text, is_whole)
            }
        }
    }

    fn known(&self, text: &Hash, is_whole: bool) -> Result<(), String> {
        if self.texts.contains(text) || !is_whole {
            return Ok(());
        }
        Err("these rules of behaviour were never in force".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::signatures::tests::{NOW, added, check, public, sealed};
    use crate::behaviour::{Acknowledgement, NAMESPACE};
    use crate::identifier::Fingerprint;
    use crate::log::Hash;

    const TEXT: &str = "Be kind.\n";

    fn changed() -> String {
        json!({"hash": Hash::of(TEXT.as_bytes()), "text": TEXT}).to_string()
    }

    /// What `by` acknowledged of a text, with the key of this seed.
    fn acknowledged(by: &str, text: &str, (seed, namespace): (u8, &str)) -> String {
        let said = Acknowledgement {
            version: crate::VERSION,
            authority: Fingerprint::of(b"root"),
            by: by.parse().unwrap(),
            text: Hash::of(text.as_bytes()),
            at: NOW,
        };
        let (key, public_key) = public(seed);
        let signed = said.text().unwrap();
        let signature = sealed(seed, namespace, &signed);
        json!({"by": by, "text": said.text, "key": key, "public_key": public_key,
            "signed": {"acknowledgement": signed, "signature": signature}})
        .to_string()
    }

    fn last(kind: &str, body: String, is_whole: bool) -> (Result<(), String>, u64) {
        let entries = [
            ("key_added", added("ana", 1)),
            ("key_added", added("bob", 2)),
            ("behaviour_changed", changed()),
            (kind, body),
        ];
        let (said, signed) = check(&entries, is_whole);
        (said, signed.behaviour)
    }

    #[test]
    fn an_acknowledgement_holds_from_the_entries_alone() {
        let good = acknowledged("ana", TEXT, (1, NAMESPACE));
        assert_eq!(last("behaviour_acknowledged", good, true), (Ok(()), 1));
    }

    #[test]
    fn an_invented_acknowledgement_is_found_however_it_was_invented() {
        let no = |body: String| last("behaviour_acknowledged", body, true).0.unwrap_err();
        assert!(no(acknowledged("ana", TEXT, (9, NAMESPACE))).contains("was no key of ana"));
        assert!(no(acknowledged("ana", TEXT, (2, NAMESPACE))).contains("was no key of ana"));
        assert!(no(acknowledged("ana", "Be cruel.", (1, NAMESPACE))).contains("never in force"));
        let as_approval = acknowledged("ana", TEXT, (1, crate::request::NAMESPACE));
        assert!(no(as_approval).contains("made for another purpose"));
        let good = acknowledged("ana", TEXT, (1, NAMESPACE));
        let of_bob = acknowledged("bob", TEXT, (1, NAMESPACE));
        assert!(
            no(of_bob.replacen("\"by\":\"bob\"", "\"by\":\"ana\"", 1)).contains("another person")
        );
        let other = Hash::of(b"Be cruel.").to_string();
        let moved = good.replacen(&Hash::of(TEXT.as_bytes()).to_string(), &other, 1);
        assert_ne!(moved, good);
        assert!(last("behaviour_acknowledged", moved, true).0.is_err());
        let altered = json!({"hash": Hash::of(b"other"), "text": TEXT}).to_string();
        let (said, _) = check(&[("behaviour_changed", altered)], true);
        assert!(said.unwrap_err().contains("not the text"));
    }

    #[test]
    fn who_has_a_key_accepts_nothing_unsigned() {
        let accepted = |by: &str| json!({"by": by, "text": Hash::of(TEXT.as_bytes())}).to_string();
        assert_eq!(last("behaviour_accepted", accepted("olga"), true), (Ok(()), 0));
        let said = last("behaviour_accepted", accepted("ana"), true).0;
        assert!(said.unwrap_err().contains("had a key"));
    }

    #[test]
    fn what_was_erased_is_not_held_against_the_rest() {
        let good = acknowledged("ana", TEXT, (1, NAMESPACE));
        let (said, _) = check(&[("behaviour_acknowledged", good.clone())], false);
        assert_eq!(said, Ok(()));
        assert!(check(&[("behaviour_acknowledged", good)], true).0.is_err());
    }
}
