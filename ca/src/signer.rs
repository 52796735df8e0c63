//! The room of the user and host keys, with one narrow door each: it signs what was recorded, and nothing else.

use std::sync::Arc;

use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use wire::certificate::{Checked, Sealed, ToBeSigned};
use wire::identifier::Fingerprint;
use wire::log::{EXTENSION, Hash};
use wire::time::Timestamp;

use crate::certificate::{self, Unfit};
use crate::cosign::Witnessed;
use crate::key::{Ring, Sign, SignError};
use crate::ledger::{Recorded, Vouched};
use crate::random::{self, NoRandomness};

/// Holds the keys that certify users and hosts.
pub(crate) struct Signer {
    ring: Arc<Ring>,
}

/// A certificate that was decided, recorded, signed, read back and compared.
#[derive(Debug)]
#[must_use = "a signed certificate is for whoever asked"]
pub(crate) struct Signed {
    text: String,
    recorded: Recorded,
}

/// What a certificate has that nobody decides: its nonce, and the authority that is to sign it. Both are fixed before the
/// certificate is recorded, because the entry commits to them. Only [`Signer::blank`] makes one.
#[derive(Debug)]
#[must_use = "a blank is for one certificate"]
pub(crate) struct Blank {
    nonce: [u8; 32],
    authority: KeyData,
    fingerprint: Fingerprint,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignerError {
    /// What was recorded cannot be put into a certificate.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// No nonce.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The key whose turn it is is not there.
    #[error("the key {0} is not where keys are kept")]
    Absent(Fingerprint),
    /// What came out is not what was to be signed; it is not released.
    #[error("the certificate that was signed is not the one that was recorded: {0}")]
    Differs(String),
}

impl Signer {
    /// A signer with these keys; the ledger says which of them signs what.
    pub(crate) const fn new(ring: Arc<Ring>) -> Self {
        Self { ring }
    }

    fn key(&self, fingerprint: &Fingerprint) -> Result<Arc<dyn Sign>, SignerError> {
        let found = self.ring.now().find(fingerprint);
        found.ok_or_else(|| SignerError::Absent(fingerprint.clone()))
    }

    /// A nonce that nobody chose, and the key that is to sign: this one, which the ledger says signs now.
    pub(crate) fn blank(&self, authority: &Fingerprint) -> Result<Blank, SignerError> {
        let key = self.key(authority)?;
        Blank::new(&*key, authority)
    }

    /// Signs what was recorded and witnessed, with the proof that it was.
    pub(crate) fn sign(&self, witnessed: Witnessed, now: Timestamp) -> Result<Signed, SignerError> {
        let recorded = witnessed.recorded();
        let user = self.key(recorded.authority())?;
        let evidence = recorded.evidence();
        let checked = recorded
            .draft()
            .clone()
            .with_extension(EXTENSION, &evidence.to_string())
            .map_err(Unfit::Rule)?;
        let certificate = seal(checked, recorded.blank(), &*user)?;
        let unproved = certificate.to_be_signed_without(EXTENSION).as_deref().map(Hash::of);
        if unproved.is_none() || unproved != evidence.leaf().tbs {
            return Err(SignerError::Differs("it is not what its entry commits to".into()));
        }
        let permit = recorded.permit();
        let authorities = std::slice::from_ref(user.public());
        let (login, host) = (&permit.ask().login, permit.host());
        wire::certificate::verify_sealed(&certificate, authorities, login, host, now)
            .map_err(|refusal| SignerError::Differs(refusal.to_string()))?;
        Ok(Signed { text: certificate.to_openssh(), recorded: witnessed.into_recorded() })
    }

    /// Certifies the SSH keys that the ledger vouches for, for the host's name and addresses.
    pub(crate) fn sign_host(
        &self,
        vouched: &Vouched,
        keys: &[PublicKey],
    ) -> Result<Vec<String>, SignerError> {
        let (host, addresses) = (vouched.host(), vouched.addresses());
        let prints = keys.iter().map(|key| wire::certificate::fingerprint(key.key_data()));
        if !prints.eq(vouched.keys().iter().cloned()) {
            return Err(SignerError::Differs(format!("keys of host {host}")));
        }
        let authority = self.key(vouched.authority())?;
        keys.iter()
            .map(|key| {
                let numbered = (vouched.entry(), vouched.window());
                let said = certificate::host(key, host, addresses, numbered)?;
                let blank = Blank::new(&*authority, vouched.authority())?;
                Ok(seal(said, &blank, &*authority)?.to_openssh())
            })
            .collect()
    }
}

impl Signed {
    /// The certificate, in OpenSSH form, one line.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it rests on.
    pub(crate) const fn recorded(&self) -> &Recorded {
        &self.recorded
    }
}

impl Blank {
    fn new(key: &dyn Sign, fingerprint: &Fingerprint) -> Result<Self, SignerError> {
        let (nonce, authority) = (random::bytes()?, key.public().key_data().clone());
        Ok(Self { nonce, authority, fingerprint: fingerprint.clone() })
    }

    /// The fingerprint of the key that is to sign.
    pub(crate) const fn authority(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The bytes to be signed when the certificate says this.
    pub(crate) fn to_be_signed(&self, said: Checked) -> Result<ToBeSigned, Unfit> {
        Ok(said.to_be_signed(self.nonce, &self.authority)?)
    }
}

/// Signs what was checked; what is read back is compared before it is released.
fn seal(checked: Checked, blank: &Blank, key: &dyn Sign) -> Result<Sealed, SignerError> {
    if blank.authority != *key.public().key_data() {
        return Err(SignerError::Differs("it was recorded for another authority's key".into()));
    }
    let to_be_signed = blank.to_be_signed(checked)?;
    let sign = || key.sign(to_be_signed.as_bytes());
    let signature = if key.waits() { tokio::task::block_in_place(sign) } else { sign() }?;
    to_be_signed.finish(&signature).map_err(|unfit| SignerError::Differs(unfit.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::given::key;

    #[test]
    fn every_certificate_has_a_nonce_of_its_own() {
        let host = "db1".parse().unwrap();
        let (from, until) = (Timestamp::from_secs(100_000), Timestamp::from_secs(200_000));
        let window = wire::renewal::Window { from, until };
        let draft = certificate::host(key(1).public(), &host, &[], (4, window)).unwrap();
        let keyring = crate::key::given::keyring();
        let user = keyring.oldest(crate::key::Purpose::User).unwrap();
        let print = wire::certificate::fingerprint(user.public().key_data());
        let signer = Signer::new(Arc::new(Ring::new(keyring)));
        let [first, second] = [(); 2].map(|()| signer.blank(&print).unwrap());
        assert!(matches!(seal(draft.clone(), &first, &*key(3)), Err(SignerError::Differs(_))));
        let first = seal(draft.clone(), &first, &*user).unwrap();
        let second = seal(draft, &second, &*user).unwrap();
        assert_eq!(first.nonce().len(), 32);
        assert_ne!(first.nonce(), second.nonce());
    }

    #[test]
    fn nothing_signs_but_what_was_recorded() {
        // The only public ways in take `Witnessed`, which is made of a `Recorded` alone, and `Vouched`; the ledger alone
        // makes those.
        let code = include_str!("signer.rs").split("#[cfg(test)]").next().unwrap();
        let doors: Vec<&str> = code
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("pub(crate) fn sign"))
            .collect();
        assert_eq!(doors.len(), 2, "{doors:?}");
        assert!(code.contains("fn sign(&self, witnessed: Witnessed,"));
        let room = include_str!("cosign.rs");
        assert!(room.contains("pub(crate) struct Witnessed(Recorded);"));
        assert_eq!(room.matches("Ok(Witnessed(recorded))").count(), 2);
        assert_eq!(room.matches("Witnessed(").count(), 3, "the type, and the two ways to it");
        assert!(code.contains("vouched: &Vouched,"));
    }
}
