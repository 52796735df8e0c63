//! `curfew-ca principals`: what a machine without the agent lets in, as sshd's `AuthorizedPrincipalsFile`.

use clap::Args;
use wire::identifier::{HostName, Login, Principal};

use super::say;

/// Which machine, and which account there.
#[derive(Debug, Args)]
#[command(after_help = ON_THE_MACHINE)]
pub(crate) struct Arguments {
    /// The machine's name, as in its certificates
    #[arg(value_name = "HOST")]
    host: HostName,
    /// The account
    #[arg(long, value_name = "LOGIN")]
    login: Login,
}

/// Prints the file.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    say(Principal::of(&arguments.login, &arguments.host)?.as_str())
}

const ON_THE_MACHINE: &str = "\
Each account has a file of its own, for whoever a file lets in may be any account that reads it:

  curfew-ca principals db1 --login app > /etc/ssh/auth_principals/app

and in sshd_config on the machine:

  AuthorizedPrincipalsFile /etc/ssh/auth_principals/%u";
