//! What the targets share: the keys that sign, a certificate that holds, and the check that a value survives its text.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ssh_key::PrivateKey;
use ssh_key::certificate::Builder;
use ssh_key::private::Ed25519Keypair;
use wire::certificate::{Certificate, GRANT_UNTIL, ROLE};
use wire::time::Timestamp;

/// When every target runs, in seconds.
pub const NOW_SECS: u64 = 1_000;
/// When every target runs.
pub const NOW: Timestamp = Timestamp::from_secs(NOW_SECS);

/// The same key for the same seed.
#[must_use]
pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// A certificate that opens `app` on `db1` at [`NOW`], by the authority `key(1)`.
#[must_use]
pub fn certificate() -> Certificate {
    let mut builder =
        Builder::new([1; 16], key(9).public_key().clone(), 900, 1_900).expect("window");
    builder.serial(7).expect("serial").key_id("ana@example.com/g1/7").expect("key id");
    builder.valid_principal("app@db1").expect("principal");
    builder.extension(GRANT_UNTIL, "5000").expect("extension");
    builder.extension(ROLE, "deploy").expect("extension");
    let made = builder.sign(&key(1)).expect("signature");
    Certificate::from_bytes(&made.to_bytes().expect("bytes")).expect("what was signed can be read")
}

/// What [`seal`] is over.
pub const MESSAGE: &[u8] = b"curfew login v1\n";

/// A login signature by `key(9)` over [`MESSAGE`].
#[must_use]
pub fn seal() -> String {
    let made = key(9).sign(wire::login::NAMESPACE, ssh_key::HashAlg::Sha512, MESSAGE);
    made.expect("signature").to_pem(ssh_key::LineEnding::LF).expect("armour")
}

/// Whatever is read as JSON is written so that it reads back as the same.
pub fn survives_json<T: DeserializeOwned + Serialize + PartialEq + Debug>(json: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&value).expect("what was read can be written");
        let again: T = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, value);
    }
}

/// A name that is taken is safe in logs, files and terminals, and reads back as the same.
pub fn survives_text<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Debug,
{
    if let Ok(name) = text.parse::<T>() {
        let shown = name.to_string();
        assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown:?}");
        assert!(!shown.starts_with('-') && !shown.contains(['"', '\'', '\\', '`', '$', '*', ',']));
        assert_eq!(shown.parse::<T>().expect("it reads back"), name);
    }
}

/// Two inputs in one: a text that ends at the first NUL byte, and the bytes behind it.
#[must_use]
pub fn text_and_bytes(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == 0)?;
    let (text, bytes) = input.split_at(end);
    Some((std::str::from_utf8(text).ok()?, bytes.get(1..)?))
}

/// Signs these bytes as they are.
///
/// # Errors
/// When the key cannot sign.
pub fn raw(
    key: &impl ssh_key::SigningKey,
    message: &[u8],
) -> Result<ssh_key::Signature, ssh_key::Error> {
    Ok(key.try_sign(message)?)
}
