//! The command line.

use clap::{Parser, Subcommand};

use crate::command;

/// Access to hosts that ends on time: log in once, then get on the hosts you may enter.
///
/// Exit codes: 0 done, 1 failure, 64 usage, 65 what was checked does not hold, 69 the authority cannot be reached,
/// 76 the ledger was forked or went back, 77 not logged in or denied, 78 configuration.
#[derive(Debug, Parser)]
#[command(name = "curfew", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every subcommand, one file each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Login(command::login::Login),
    Logout(command::logins::Logout),
    Logins(command::logins::Logins),
    #[command(subcommand)]
    Keys(command::keys::Keys),
    Whoami(command::whoami::Whoami),
    Behaviour(command::behaviour::Behaviour),
    Hosts(command::hosts::Hosts),
    Ssh(command::ssh::Ssh),
    Certificate(command::certificate::Certificate),
    Request(command::request::Request),
    Requests(command::requests::Requests),
    Approve(command::approve::Approve),
    Deny(command::deny::Deny),
    Withdraw(command::withdraw::Withdraw),
    Grants(command::grants::Grants),
    Extend(command::extend::Extend),
    Done(command::done::Done),
    Sessions(command::sessions::Sessions),
    Replay(command::replay::Replay),
    Watch(command::watch::Watch),
    Review(command::review::Review),
    Reviews(command::review::Reviews),
    Retention(command::retention::Retention),
    Attempts(command::attempts::Attempts),
    Incidents(command::incidents::Incidents),
    #[command(subcommand)]
    Audit(command::audit::Audit),
    Lock(command::lock::Lock),
    Unlock(command::unlock::Unlock),
    Locks(command::locks::Locks),
    #[command(subcommand)]
    Ledger(command::ledger::Ledger),
    Breakglass(command::breakglass::Breakglass),
    Status(command::status::Status),
    Completions(command::completions::Completions),
    Man(command::man::Man),
}

const AFTER: &str = "Files are kept in $CURFEW_HOME, else ~/.config/curfew.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_subcommand_and_every_argument_is_explained() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        assert_eq!(unexplained(&command), Vec::<String>::new());
    }

    #[test]
    fn every_command_that_the_pages_show_is_understood() {
        let held = pages::held(&Args::command(), &pages::all().unwrap());
        assert_eq!(held.faults, Vec::<String>::new());
        assert!(held.shown >= 100, "the pages show few commands: {}", held.shown);
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
