//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::authority::exit_for;
use crate::command::{
    self, grant, host, identity, incident, keys, krl, ledger, lock, policy, role, team,
};
use crate::config::{Config, DEFAULT_CONFIG};
use crate::exit::Exit;

/// Curfew's authority: it decides who may enter which host, records that, and signs.
///
/// Exit codes: 0 done, 1 failed, 64 the command line makes no sense, 78 a configuration file is wrong.
#[derive(Debug, Parser)]
#[command(name = "curfew-ca", version)]
struct Arguments {
    /// The settings
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the authority's keys and its ledger, once
    Init(command::init::Arguments),
    /// Serve people, hosts and the operator of this machine
    Serve,
    /// Check the settings, the roles and the policy
    Check(command::check::Arguments),
    /// Who there is
    #[command(subcommand)]
    Identity(identity::Command),
    /// Who is in which team
    #[command(subcommand)]
    Team(team::Command),
    /// Tokens of directories that say who there is (SCIM)
    #[command(subcommand)]
    Scim(command::scim::Command),
    /// Hosts, and tokens for new ones
    #[command(subcommand)]
    Host(host::Command),
    /// The roles in force
    #[command(subcommand)]
    Role(role::Command),
    /// What is required beside a role: check it, test it, hold it against the past
    #[command(subcommand)]
    Policy(policy::Command),
    /// How unusual and far-reaching an access is: check the weights, explain a score, compare weights
    #[command(subcommand)]
    Risk(command::risk::Command),
    /// Who can get where by which role, when it was last used, and what nobody uses
    ///
    /// What policy demands beside a role, and whom it shuts out, is not in it.
    Access(command::access::Arguments),
    /// Grants that have not ended: list them, extend one, end one
    #[command(subcommand)]
    Grant(grant::Command),
    /// Refuse someone or something, and end their sessions at once; or list what is locked
    Lock(lock::Arguments),
    /// Lift a lock
    Unlock(lock::UnlockArguments),
    /// The authority's own keys: list them, go over to the next ones, end one
    #[command(subcommand)]
    Keys(keys::Command),
    /// What is locked, for machines without the agent
    #[command(subcommand)]
    Krl(krl::Command),
    /// Print who may log in to an account of a machine without the agent
    Principals(command::principals::Arguments),
    /// The record of every decision
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Copy all that makes this authority into one file, while it serves
    ///
    /// The file holds the ledger as of one moment, the settings, the roles, the X.509 root and the private keys that are
    /// encrypted files. Private keys that are plain files, with an ssh-agent or on a token are not in it, and are named.
    /// Each backup is an entry in the ledger.
    Backup(command::backup::Arguments),
    /// Put a backup back where no authority is, and declare it to hosts
    ///
    /// Everything is verified before anything is written. The ledger goes on from the backup in a new era, so that no
    /// serial is given twice; hosts are told when they connect, and refuse certificates issued after the backup.
    Restore(command::restore::Arguments),
    /// Move the ledger from its file to a PostgreSQL server, which several authorities can share
    ///
    /// The authority must be stopped; hosts go on as they are. Every row is compared, the whole is verified, and then the
    /// file is marked, so that nobody serves it any more.
    Migrate(command::migrate::Arguments),
    /// Sessions, live ones first
    Sessions(command::session::Arguments),
    /// What must never happen: forged certificates, and a ledger that contradicts itself
    #[command(subcommand)]
    Incident(incident::Command),
    /// Break-glass, afterwards: receipts of custodians, what hosts saw, and whether the two agree
    #[command(subcommand)]
    Breakglass(command::breakglass::Command),
    /// Whom the authority tells what goes on: list them, and try whether they can be told
    #[command(subcommand)]
    Notify(command::notify::Command),
    /// What is there and what is wrong
    Status(command::status::Arguments),
    /// Cosign the ledger's checkpoints, on a machine that is not the authority's
    #[command(subcommand)]
    Witness(command::witness::Command),
    /// Print completions for a shell
    Completions(command::completions::Arguments),
    /// Print the manual page, or write all pages into a folder
    Man(command::man::Arguments),
}

/// Reads the command line, does what it says, and says how that went.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_understood(&error).into(),
    };
    match command(arguments) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            command::complain(&error);
            exit_for(&error).into()
        }
    }
}

fn not_understood(error: &clap::Error) -> Exit {
    let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    match error.print() {
        Ok(()) if is_asked_for => Exit::Done,
        Ok(()) => Exit::Usage,
        Err(_closed) => Exit::Failed,
    }
}

fn command(arguments: Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Check(check) => return command::check::run(&arguments.config, check),
        Command::Completions(shell) => {
            return command::completions::run(Arguments::command(), shell);
        }
        Command::Man(man) => return command::man::run(Arguments::command(), man),
        Command::Principals(principals) => return command::principals::run(principals),
        Command::Witness(witness) => return command::witness::run(witness),
        Command::Restore(restore) => return command::restore::run(&arguments.config, restore),
        _ => {}
    }
    let config = Config::read(&arguments.config)?;
    match arguments.command {
        Command::Check(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Principals(_)
        | Command::Restore(_)
        | Command::Witness(_) => Ok(()),
        Command::Init(init) => command::init::run(&config, &init),
        Command::Backup(backup) => command::backup::run(&config, (&arguments.config, &backup)),
        Command::Serve => command::serve(config),
        Command::Identity(command) => {
            command::talk(&config, async |client| command.run(client).await)
        }
        Command::Team(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Scim(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Host(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Role(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Grant(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Keys(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Krl(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Ledger(command) => command.run(&config),
        Command::Policy(command) => command.run(&config),
        Command::Risk(command) => command.run(&config),
        Command::Notify(command) => command.run(&config),
        Command::Migrate(migrate) => command::migrate::run(&config, &migrate),
        Command::Lock(command) => command::talk(&config, async |client| command.run(client).await),
        Command::Unlock(command) => {
            command::talk(&config, async |client| command.run(client).await)
        }
        Command::Access(command) => {
            command::talk(&config, async |client| command.run(client).await)
        }
        Command::Sessions(command) => {
            command::talk(&config, async |client| command.run(client).await)
        }
        Command::Incident(command) => {
            command::talk(&config, async |client| command.run(client).await)
        }
        Command::Breakglass(command) => {
            command::talk(&config, async |client| command.run(client).await)
        }
        Command::Status(command) => {
            command::talk(&config, async |client| command.run(client).await)
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
