//! How the program ends: exit codes, which are stable, and the failures that choose one.

use std::process::ExitCode;

use wire::problem::{Code, Problem};

/// The exit codes, after `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was done.
    Done,
    /// It was not done, or not wholly; the message says why.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// What was checked does not hold.
    Untrue,
    /// The authority cannot be reached.
    Unreachable,
    /// The ledger contradicts what was seen of it before: it was forked, or went back.
    Contradicted,
    /// Nobody is logged in, or policy says no.
    Denied,
    /// Something in the configuration directory is missing or wrong.
    Config,
    /// ssh ended with this code, which is its own: 255 when ssh itself failed, else that of the command.
    Ssh(u8),
}

impl Exit {
    /// The code for `error`: that of the first [`Fault`] in its chain.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let fault = error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
        fault.map_or(Self::Failure, Fault::exit)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        let number: u8 = match exit {
            Exit::Done => 0,
            Exit::Failure => 1,
            Exit::Usage => 64,
            Exit::Untrue => 65,
            Exit::Unreachable => 69,
            Exit::Contradicted => 76,
            Exit::Denied => 77,
            Exit::Config => 78,
            Exit::Ssh(code) => code,
        };
        Self::from(number)
    }
}

/// A failure that says which exit code it deserves; every other failure is [`Exit::Failure`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The command line makes no sense; says why.
    #[error("{0}")]
    Usage(String),
    /// Nothing answers where the authority should be.
    #[error(
        "the authority at {place} cannot be reached: {reason}; certificates you hold go on working until they end"
    )]
    Unreachable {
        /// Where it should be.
        place: String,
        /// What the network said.
        reason: String,
    },
    /// Nobody is logged in; says what is the matter.
    #[error("{0}; run `curfew login`")]
    NotLoggedIn(String),
    /// The authority said no or failed.
    #[error("{}", crate::render::plain(&.0.message))]
    Refused(Problem),
    /// The configuration directory is not as it should be.
    #[error("{0}")]
    Config(String),
    /// What was checked does not hold.
    #[error("{0}")]
    Untrue(String),
    /// The ledger contradicts what was seen of it before.
    #[error(transparent)]
    Contradicted(Box<crate::ledger::Contradiction>),
}

impl Fault {
    const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::NotLoggedIn(_) => Exit::Denied,
            Self::Config(_) => Exit::Config,
            Self::Untrue(_) => Exit::Untrue,
            Self::Contradicted(_) => Exit::Contradicted,
            Self::Refused(problem) => match problem.code {
                Code::Unauthenticated | Code::Denied | Code::Expired => Exit::Denied,
                _ => Exit::Failure,
            },
        }
    }
}

/// Shows clap's message, which is help or a usage error, and gives the code for it.
pub(crate) fn on_usage(refusal: &clap::Error) -> ExitCode {
    let code = if refusal.use_stderr() { Exit::Usage } else { Exit::Done };
    match refusal.print() {
        Ok(()) => code.into(),
        Err(_closed_pipe) => Exit::Failure.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_first_fault_in_the_chain_chooses_the_code() {
        let fault = Fault::Config("the directory is open to others".into());
        let error = Err::<(), _>(fault).context("cannot read the session").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Config);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything else")), Exit::Failure);
    }

    #[test]
    fn policy_and_a_missing_login_share_a_code_and_a_broken_authority_does_not() {
        let refused = |code| Exit::of(&Fault::Refused(Problem::new(code, "no")).into());
        assert_eq!(refused(Code::Denied), Exit::Denied);
        assert_eq!(refused(Code::Expired), Exit::Denied);
        assert_eq!(refused(Code::Internal), Exit::Failure);
    }

    #[test]
    fn a_message_from_the_authority_cannot_drive_the_terminal() {
        let fault = Fault::Refused(Problem::new(Code::Denied, "it's\u{1b}[2J no"));
        assert_eq!(fault.to_string(), "it's\\u{1b}[2J no");
    }
}
