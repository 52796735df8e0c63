//! What an operator types on a host: one file a subcommand.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::enrol::EnrolError;

mod check;
mod completions;
mod enroll;
mod explain;
mod install;
mod man;
mod sessions;
mod settle;
pub(crate) mod status;
mod table;

/// Ends access on time on this host: lets in, records, warns, and kills completely.
#[derive(Debug, Parser)]
#[command(name = "curfew-agent", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The agent's configuration.
    #[arg(long, global = true, default_value = "/etc/curfew/agent.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join this host to an authority with a one-time token (`curfew-ca host token`).
    Enroll(enroll::Enroll),
    /// Put the agent into the login path: sshd, PAM, systemd. Checked, and taken back if it does not work.
    Install,
    /// Take the agent out of the login path again.
    Uninstall {
        /// Forget the enrolment and everything kept, too.
        #[arg(long)]
        purge: bool,
    },
    /// Run the agent; systemd does this.
    Run,
    /// Look for what would weaken or defeat the agent, without changing anything.
    Check {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// How the agent stands.
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Decide a dispute with the ledger, when it went back, was forked, or could not show a tree as its own.
    ///
    /// `curfew-agent status` names both trees. Until this is decided the host believes nothing new of the ledger, and so lets
    /// in nobody with a new certificate. Find out first which tree is true: ask another host, a witness, or whoever restored
    /// the ledger.
    Settle(settle::Settle),
    /// Sessions that are not over.
    Sessions {
        /// A JSON array.
        #[arg(long)]
        json: bool,
    },
    /// What a process belongs to: which session and identity, by what evidence, and what does not agree.
    Explain {
        /// The process.
        pid: i32,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell.
    Completions(completions::Completions),
    /// Print the manual page, or write all pages into a folder.
    Man(man::Man),
}

/// How the program ends (sysexits.h where it has a number).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Ok = 0,
    /// It did not.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 64,
    /// The agent does not answer.
    Unavailable = 69,
    /// The configuration cannot be used.
    Config = 78,
}

impl Exit {
    /// The code for an error that ended the program.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        let enrolment = error.downcast_ref::<EnrolError>();
        if error.is::<ConfigError>() || matches!(enrolment, Some(EnrolError::Config(_))) {
            Self::Config
        } else if error.is::<status::NoAnswer>() {
            Self::Unavailable
        } else {
            Self::Failure
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            Exit::Usage => Self::from(64),
            Exit::Unavailable => Self::from(69),
            Exit::Config => Self::from(78),
        }
    }
}

/// Reads the command line of the program. What is printed instead, help or a complaint, decides its exit code.
///
/// # Errors
/// When there is nothing to do any more.
pub fn read<T: Parser>() -> Result<T, Exit> {
    T::try_parse().map_err(|error| {
        // Nobody is left to tell when the output is closed.
        drop(error.print());
        if error.use_stderr() { Exit::Usage } else { Exit::Ok }
    })
}

impl Arguments {
    /// Does what was asked.
    ///
    /// # Errors
    /// Why it could not; [`Exit::of`] gives the code.
    pub async fn perform(self) -> anyhow::Result<Exit> {
        let config = self.config;
        match self.command {
            Command::Enroll(enroll) => enroll.perform(config).await,
            Command::Run => {
                crate::run::run(&Config::load(&config)?).await?;
                Ok(Exit::Ok)
            }
            Command::Status { json } => status::perform(&Config::load(&config)?, json),
            Command::Settle(settle) => settle.perform(&Config::load(&config)?),
            Command::Sessions { json } => sessions::perform(&Config::load(&config)?, json),
            Command::Explain { pid, json } => explain::perform(&Config::load(&config)?, pid, json),
            Command::Install => install::perform(&Config::load(&config)?),
            Command::Uninstall { purge } => install::undo(&Config::load(&config)?, purge),
            Command::Check { json } => check::perform(&config, json),
            Command::Completions(completions) => completions.perform(Self::command()),
            Command::Man(man) => man.perform(Self::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_and_every_argument_is_explained() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        assert_eq!(unexplained(&command), Vec::<String>::new());
    }

    #[test]
    fn every_command_that_the_pages_show_is_understood() {
        let held = pages::held(&Arguments::command(), &pages::all().unwrap());
        assert_eq!(held.faults, Vec::<String>::new());
        assert!(held.shown >= 30, "the pages show few commands: {}", held.shown);
    }

    #[test]
    fn the_readme_tells_of_every_setting() {
        let pages = pages::all().unwrap();
        let readme = pages.iter().find(|page| page.path == "README.md").unwrap();
        let setting = |setting: &crate::config::Setting| pages::Setting {
            key: setting.key,
            default: setting.default.unwrap_or_default(),
        };
        let settings: Vec<_> = crate::config::SETTINGS.iter().map(setting).collect();
        let heading = "`/etc/curfew/agent.toml`, a host";
        assert_eq!(pages::unlike(readme, heading, &settings), Vec::<String>::new());
    }

    fn unexplained(command: &clap::Command) -> Vec<String> {
        let name = command.get_name();
        let mut found = Vec::new();
        if command.get_about().is_none() {
            found.push(name.to_owned());
        }
        let silent = command.get_arguments().filter(|argument| argument.get_help().is_none());
        found.extend(silent.map(|argument| format!("{name} {}", argument.get_id())));
        found.extend(command.get_subcommands().flat_map(unexplained));
        found
    }
}
