//! What is to be run in a channel, from what the client asked for and what the certificate forces; pure.
//!
//! sshd with a `ForceCommand` leaves the client's wish in `SSH_ORIGINAL_COMMAND`: nothing for a shell, the command's
//! text, or a subsystem's command from `sshd_config`, of which `internal-sftp` exists inside sshd alone.

use wire::octets::Octets;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The login shell, as one.
    Login,
    /// This text, by the login shell.
    Command(Octets),
    /// OpenSSH's sftp server, with these words.
    Sftp(Vec<Octets>),
    /// Nothing: only sftp is allowed, and something else was asked for.
    OnlySftp,
}

impl Plan {
    /// What is to be run; what is `forced` takes the place of what the client asked for.
    #[must_use]
    pub fn of(asked: Option<&Octets>, forced: Option<&Octets>) -> Self {
        match (forced.map(|text| (text, sftp_words(text))), asked) {
            (Some((_, Some(words))), Some(asked)) if is_sftp(asked) => Self::Sftp(words),
            (Some((_, Some(_))), _) => Self::OnlySftp,
            (Some((text, None)), _) => Self::Command(text.clone()),
            (None, Some(asked)) => {
                sftp_words(asked).map_or_else(|| Self::Command(asked.clone()), Self::Sftp)
            }
            (None, None) => Self::Login,
        }
    }
}

/// The words after `internal-sftp`, parted at blanks as sshd parts them; nothing when it is another command.
fn sftp_words(text: &Octets) -> Option<Vec<Octets>> {
    let mut words = text.as_bytes().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    (words.next() == Some(INTERNAL_SFTP)).then(|| words.map(Octets::new).collect())
}

/// Whether the client asked for sftp: by sshd's own server, or by the program.
fn is_sftp(asked: &Octets) -> bool {
    let first = asked.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    first == INTERNAL_SFTP || first.ends_with(b"/sftp-server")
}

const INTERNAL_SFTP: &[u8] = b"internal-sftp";

/// Where distributions keep the sftp server.
pub const SFTP_SERVERS: &[&str] = &[
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forced_takes_the_place_of_what_was_asked_for() {
        let command = |text: &str| Plan::Command(Octets::new(text));
        let words =
            |words: &[&str]| Plan::Sftp(words.iter().map(|word| Octets::new(*word)).collect());
        let table = [
            (None, None, Plan::Login),
            (Some("id -u"), None, command("id -u")),
            (Some(""), None, command("")),
            (Some("id"), Some("uptime"), command("uptime")),
            (None, Some("uptime"), command("uptime")),
            (Some("internal-sftp -l INFO"), None, words(&["-l", "INFO"])),
            (Some("internal-sftp"), Some("uptime"), command("uptime")),
            (Some("/usr/lib/openssh/sftp-server"), Some("internal-sftp  -R"), words(&["-R"])),
            (Some("internal-sftp"), Some("internal-sftp"), words(&[])),
            (Some("id"), Some("internal-sftp"), Plan::OnlySftp),
            (None, Some("internal-sftp"), Plan::OnlySftp),
            (Some("internal-sftpd"), None, command("internal-sftpd")),
        ];
        for (asked, forced, expected) in table {
            let octets = |text: Option<&str>| text.map(Octets::new);
            let plan = Plan::of(octets(asked).as_ref(), octets(forced).as_ref());
            assert_eq!(plan, expected, "{asked:?} {forced:?}");
        }
    }
}
