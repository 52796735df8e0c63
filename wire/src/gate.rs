//! What the hooks in the login path say to `curfew-agent` on its gate socket, and what it answers.
//!
//! One frame each way, then the connection closes. Nothing here is believed for what it says of its sender: the agent
//! learns that from the kernel (`SO_PEERCRED`, then a pidfd of that process). Identity is proved by the certificate, not by the message.

use serde::{Deserialize, Serialize};

use crate::explain::Explanation;
use crate::identifier::Principal;
use crate::octets::Octets;

/// A question from the login path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// From `AuthorizedPrincipalsCommand`, twice a login and without proof of the key: which principals open this login?
    Principals {
        /// sshd's `%u`: the unix account.
        login: Octets,
        /// sshd's `%t`: the certificate's key type.
        key_type: Octets,
        /// sshd's `%k`: the certificate, base64.
        certificate: Octets,
    },
    /// From PAM's account phase, asked by sshd's monitor: may this login go on?
    Account(Login),
    /// From PAM's session phase, asked by sshd's monitor: tag me.
    Open {
        /// Who and from where.
        login: Login,
        /// PAM's `SSH_AUTH_INFO_0`: method, key type and certificate, as sshd wrote it.
        auth_info: Octets,
    },
    /// From PAM when the connection ends.
    Close,
    /// From `curfew-agent settle`, run by root: the dispute with the ledger is settled.
    Settle {
        /// On from the tree that was offered, or from the one that is known.
        accept: bool,
        /// Why, for the record.
        reason: String,
    },
    /// From `curfew-agent explain`, run by root: what does this process belong to?
    Explain {
        /// The process.
        pid: i32,
    },
}

/// What PAM knows of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// `PAM_USER`.
    pub user: Octets,
    /// `PAM_RHOST`.
    pub remote: Octets,
    /// `PAM_SERVICE`.
    pub service: Octets,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Question::Principals`]: names that open the login; sshd looks for one of them in the certificate.
    Principals(Vec<Principal>),
    /// Yes; the session, if one was asked for, is tagged.
    Permit,
    /// Yes, but it is none of ours: no certificate of our authority is involved, and the host's policy lets it pass.
    Outside,
    /// No, and the line to show.
    Refuse(String),
    /// To [`Question::Explain`].
    Explained(Box<Explanation>),
}

/// What PAM's hook leaves behind of a break-glass login that went on although nobody answered at the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// The version of this form.
    pub version: u32,
    /// Who and from where.
    pub login: Login,
    /// PAM's `SSH_AUTH_INFO_0`, with the certificate.
    pub auth_info: Octets,
    /// sshd's monitor.
    pub pid: i32,
    /// When it started, in the kernel's clock ticks after boot.
    pub start_ticks: u64,
    /// Which boot of the host, by the kernel's random name for it.
    pub boot: String,
}

impl Word {
    /// The name of its file, which no other word of the host has.
    #[must_use]
    pub fn file_name(&self) -> String {
        let boot: String = self.boot.chars().filter(char::is_ascii_alphanumeric).take(36).collect();
        format!("{}-{}-{boot}.json", self.pid, self.start_ticks)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Nothing in it has a form that JSON lacks.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The certificate in PAM's `SSH_AUTH_INFO_0`, if the login used one: lines of `method key-type base64`, newest first.
#[must_use]
pub fn used_certificate(auth_info: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = std::str::from_utf8(auth_info).ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (method, kind, key) = (words.next()?, words.next()?, words.next()?);
        let certificate = method == "publickey" && kind.ends_with("-cert-v01@openssh.com");
        certificate.then(|| base64::engine::general_purpose::STANDARD.decode(key).ok()).flatten()
    })
}

/// Where words are left; root's alone.
pub const WORDS_DIR: &str = "/var/lib/curfew/unasked";
/// Longest time a hook waits for its answer, in milliseconds; then it refuses.
pub const PATIENCE_MILLIS: u64 = 2_000;
/// Largest question, in bytes: a certificate of OpenSSH's largest size, in base64, with room.
pub const MAX_QUESTION: usize = 512 * 1024;
