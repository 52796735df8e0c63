//! The room of the user and host keys, with one narrow door each: it signs what was recorded, and nothing else.

use std::sync::Arc;

use ssh_key::PublicKey;
use wire::certificate::{Certificate, Checked};
use wire::time::Timestamp;

use crate::certificate::{self, Unfit};
use crate::key::{Sign, SignError};
use crate::ledger::{Recorded, Vouched};
use crate::random::{self, NoRandomness};

/// Holds the keys that certify users and hosts.
pub(crate) struct Signer {
    user: Arc<dyn Sign>,
    host: Arc<dyn Sign>,
}

/// A certificate that was decided, recorded, signed, read back and compared.
#[derive(Debug)]
#[must_use = "a signed certificate is for whoever asked"]
pub(crate) struct Signed {
    text: String,
    recorded: Recorded,
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
    /// What came out is not what was to be signed; it is not released.
    #[error("the certificate that was signed is not the one that was recorded: {0}")]
    Differs(String),
}

impl Signer {
    /// A signer with these two keys, which differ.
    pub(crate) fn new(user: Arc<dyn Sign>, host: Arc<dyn Sign>) -> Self {
        Self { user, host }
    }

    /// The key that user certificates are checked against.
    pub(crate) fn user_authority(&self) -> &PublicKey {
        self.user.public()
    }

    /// The key that host certificates are checked against.
    pub(crate) fn host_authority(&self) -> &PublicKey {
        self.host.public()
    }

    /// Signs what was recorded.
    pub(crate) fn sign(&self, recorded: Recorded, now: Timestamp) -> Result<Signed, SignerError> {
        let certificate = sign_draft(certificate::user(&recorded)?, &*self.user)?;
        let permit = recorded.permit();
        let authorities = std::slice::from_ref(self.user.public());
        let (login, host) = (&permit.ask().login, permit.host());
        wire::certificate::verify(&certificate, authorities, login, host, now)
            .map_err(|refusal| SignerError::Differs(refusal.to_string()))?;
        Ok(Signed { text: certificate.to_openssh(), recorded })
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
        keys.iter()
            .map(|key| {
                let numbered = (vouched.entry(), vouched.window());
                let said = certificate::host(key, host, addresses, numbered)?;
                Ok(sign_draft(said, &*self.host)?.to_openssh())
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

/// Signs what was checked, under a nonce that nobody chose; what is read back is compared before it is released.
fn sign_draft(checked: Checked, key: &dyn Sign) -> Result<Certificate, SignerError> {
    let to_be_signed =
        checked.to_be_signed(random::bytes()?, key.public().key_data()).map_err(Unfit::Rule)?;
    let signature = key.sign(to_be_signed.as_bytes())?;
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
        let first = sign_draft(draft.clone(), &*key(2)).unwrap();
        let second = sign_draft(draft, &*key(2)).unwrap();
        assert_eq!(first.nonce().len(), 32);
        assert_ne!(first.nonce(), second.nonce());
    }

    #[test]
    fn nothing_signs_but_what_was_recorded() {
        // The only public ways in take `Recorded` and `Vouched`, which the ledger alone makes.
        let code = include_str!("signer.rs").split("#[cfg(test)]").next().unwrap();
        let doors: Vec<&str> = code
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("pub(crate) fn sign"))
            .collect();
        assert_eq!(doors.len(), 2, "{doors:?}");
        assert!(code.contains("fn sign(&self, recorded: Recorded,"));
        assert!(code.contains("vouched: &Vouched,"));
    }
}
