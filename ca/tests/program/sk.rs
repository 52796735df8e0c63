//! A security key made by hand, whose signatures say of its holder what a test wants.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A `sk-ssh-ed25519@openssh.com` key.
pub(crate) struct SecurityKey(Ed25519KeyPair);

impl SecurityKey {
    /// The key of this seed.
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    /// Its public half, in OpenSSH form.
    pub(crate) fn public(&self) -> String {
        format!("{KIND} {}", STANDARD.encode(self.blob()))
    }

    /// An armoured signature with these flags: 1 for touched, 4 for verified.
    pub(crate) fn seal(&self, namespace: &str, message: &[u8], flags: u8) -> String {
        let hash = digest(&SHA512, message);
        let head = [&b"SSHSIG"[..], &string(namespace.as_bytes()), &string(b"")].concat();
        let signed = [&head[..], &string(b"sha512"), &string(hash.as_ref())].concat();
        let said = [&[flags][..], &7_u32.to_be_bytes()].concat();
        let application = digest(&SHA256, APPLICATION);
        let message = digest(&SHA256, &signed);
        let signature = self.0.sign(&[application.as_ref(), &said, message.as_ref()].concat());
        let signature = [&string(KIND.as_bytes())[..], &string(signature.as_ref()), &said].concat();
        let seal = [
            &b"SSHSIG"[..],
            &1_u32.to_be_bytes(),
            &string(&self.blob()),
            &string(namespace.as_bytes()),
            &string(b""),
            &string(b"sha512"),
            &string(&signature),
        ];
        let text = STANDARD.encode(seal.concat());
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            lines.join("\n")
        )
    }

    fn blob(&self) -> Vec<u8> {
        let public = self.0.public_key().as_ref();
        [string(KIND.as_bytes()), string(public), string(APPLICATION)].concat()
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

const KIND: &str = "sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";
