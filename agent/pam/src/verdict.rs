//! What becomes of a login after the agent was asked; pure.

use std::error::Error;

use ask::AskError;
use wire::breakglass::UseName;
use wire::gate::Answer;

use crate::argument::AgentDown;

/// Where in a login we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Account,
    Session,
}

/// What PAM is told.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The agent says yes.
    Permit,
    /// The agent has no opinion.
    Outside,
    /// The agent could not be asked, and this host lets such a login pass; the log says so.
    Unasked { log: String },
    /// No: the line the user sees, and the one for the log where the agent has not logged it itself.
    Refuse { line: String, log: Option<String> },
}

impl Verdict {
    /// A refusal because something on this host is not as it must be.
    pub(crate) fn broken(what: &str) -> Self {
        Self::Refuse { line: UNAVAILABLE.to_owned(), log: Some(what.to_owned()) }
    }
}

/// From what the agent answered, or did not, to what PAM is told.
pub(crate) fn decide(
    phase: Phase,
    answer: Result<Answer, AskError>,
    agent_down: AgentDown,
) -> Verdict {
    let error = match answer {
        Ok(Answer::Permit) => return Verdict::Permit,
        Ok(Answer::Outside) => return Verdict::Outside,
        Ok(Answer::Refuse(line)) => return Verdict::Refuse { line, log: None },
        Ok(Answer::Principals(_) | Answer::Explained(_)) => {
            "it answered another question".to_owned()
        }
        Err(error) => chain(&error),
    };
    let phase = match phase {
        Phase::Account => "account",
        Phase::Session => "session",
    };
    match agent_down {
        AgentDown::Outside => Verdict::Unasked {
            log: format!(
                "curfew-agent could not be asked ({phase}): {error}; the login goes on UNCHECKED, as agent_down=outside says"
            ),
        },
        AgentDown::Refuse => Verdict::broken(&format!(
            "curfew-agent could not be asked ({phase}): {error}; the login is refused"
        )),
    }
}

/// What becomes of a break-glass login when nobody answers: its certificate decides. Word of it is left; where that fails it
/// goes on all the same, and the log says so.
pub(crate) fn unasked(
    opened: Result<UseName, String>,
    leave_word: impl FnOnce() -> std::io::Result<()>,
) -> Verdict {
    match opened {
        Err(why) => Verdict::broken(&format!(
            "curfew-agent could not be asked, and this is no break-glass login: {why}; it is refused"
        )),
        Ok(name) => {
            let word = match leave_word() {
                Ok(()) => "word of it is left for the agent".to_owned(),
                Err(error) => format!("NO WORD of it could be left for the agent: {error}"),
            };
            Verdict::Unasked {
                log: format!(
                    "BREAK-GLASS {name}: the login goes on while curfew-agent is down; {word}"
                ),
            }
        }
    }
}

/// Whether what sshd wrote in `SSH_AUTH_INFO_0` names a certificate: `publickey ssh-ed25519-cert-v01@openssh.com AAAA…`.
///
/// Any version of any kind of certificate: when the agent is silent, what might be one is refused.
pub(crate) fn names_a_certificate(auth_info: &[u8]) -> bool {
    auth_info.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE)
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}

/// `line` without control characters and cut to a length that a log line and a terminal can hold.
pub(crate) fn plain(line: &str) -> String {
    line.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_LINE)
        .collect()
}

const CERTIFICATE: &[u8] = b"-cert-v";
const UNAVAILABLE: &str = "Curfew: this host cannot check your login now, so it is refused. Its log (curfew-agent) says why.";
/// Longest line shown or logged, in characters: syslog cuts lines at about a thousand bytes.
const MAX_LINE: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_word_decides_whatever_the_fallback() {
        for agent_down in [AgentDown::Refuse, AgentDown::Outside] {
            for phase in [Phase::Account, Phase::Session] {
                let decided = |answer| decide(phase, Ok(answer), agent_down);
                assert_eq!(decided(Answer::Permit), Verdict::Permit);
                assert_eq!(decided(Answer::Outside), Verdict::Outside);
                let refused = Verdict::Refuse { line: "no".to_owned(), log: None };
                assert_eq!(decided(Answer::Refuse("no".to_owned())), refused);
            }
        }
    }

    #[test]
    fn without_an_answer_the_line_in_pam_d_decides() {
        for answer in [Err(AskError::Silent), Err(AskError::Closed), Ok(Answer::Principals(vec![]))]
        {
            let copy = match &answer {
                Err(AskError::Silent) => Err(AskError::Silent),
                Err(_) => Err(AskError::Closed),
                Ok(answer) => Ok(answer.clone()),
            };
            let refused = decide(Phase::Account, answer, AgentDown::Refuse);
            assert!(matches!(refused, Verdict::Refuse { log: Some(_), .. }));
            let passed = decide(Phase::Account, copy, AgentDown::Outside);
            assert!(matches!(passed, Verdict::Unasked { .. }));
        }
    }

    #[test]
    fn break_glass_goes_on_by_its_certificate_alone_and_loudly() {
        let name = "breakglass/INC-42/ann.bob/1800001800/6917529027641081863";
        let refused =
            unasked(Err("it has expired".to_owned()), || panic!("no word of what is refused"));
        assert!(
            matches!(refused, Verdict::Refuse { log: Some(log), .. } if log.contains("expired"))
        );
        for (word, words) in [
            (Ok(()), "word of it is left"),
            (Err(std::io::ErrorKind::StorageFull.into()), "NO WORD"),
        ] {
            let passed = unasked(Ok(name.parse().unwrap()), || word);
            assert!(
                matches!(passed, Verdict::Unasked { log } if log.contains(name) && log.contains(words))
            );
        }
    }

    #[test]
    fn certificates_are_recognised_among_methods() {
        let table: [(&[u8], bool); 7] = [
            (b"publickey ssh-ed25519-cert-v01@openssh.com AAAA", true),
            (b"keyboard-interactive/pam\npublickey sk-ssh-ed25519-cert-v01@openssh.com AAAA", true),
            (b"publickey ssh-mldsa44-cert-v02@openssh.com AAAA", true),
            (b"publickey ssh-ed25519 AAAA", false),
            (b"password", false),
            (b"\xff\xfe", false),
            (b"", false),
        ];
        for (auth_info, expected) in table {
            assert_eq!(names_a_certificate(auth_info), expected, "{auth_info:?}");
        }
    }

    #[test]
    fn a_line_cannot_drive_a_terminal_or_fill_a_log() {
        assert_eq!(plain("a\x1b[2J\n\0b"), "a [2J  b");
        assert_eq!(plain(&"x".repeat(5_000)).len(), MAX_LINE);
    }
}
