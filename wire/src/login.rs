//! How a person proves who they are with an SSH key: an SSHSIG signature over a challenge.

use crate::identifier::{Fingerprint, Identity};

/// The exact bytes to sign: which authority, who, and its challenge, so that a signature for one serves nowhere else.
#[must_use]
pub fn message(authority: &Fingerprint, identity: &Identity, challenge: &str) -> String {
    format!("curfew login v1\nauthority {authority}\nidentity {identity}\nchallenge {challenge}\n")
}

/// The SSHSIG namespace of logins.
pub const NAMESPACE: &str = "login@curfew.internal";
