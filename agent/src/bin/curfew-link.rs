//! `curfew-link run`: the agent's way to the authority.

use std::path::PathBuf;
use std::process::ExitCode;

use agent::config::Config;
use agent::link::{Ends, run};
use clap::Parser;

/// Carries orders and records between this host's agent and the authority.
#[derive(Debug, Parser)]
#[command(name = "curfew-link", version)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// The agent's configuration.
    #[arg(long, global = true, default_value = "/etc/curfew/agent.toml")]
    config: PathBuf,
    /// The folder with the host's TLS identity.
    #[arg(long, global = true, default_value = "/var/lib/curfew-link")]
    identity_dir: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Connect and carry, for ever.
    Run,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tokio::spawn(logging::begin(&[]).heed());
    let Arguments { command: Command::Run, config, identity_dir } = match agent::command::read() {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let config = match Config::load(&config) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(78);
        }
    };
    let agent_socket = config.run_dir.join("link.sock");
    let ends = Ends { authority: config.authority, agent_socket, identity_dir };
    agent::supervisor::ready();
    tokio::select! {
        end = run(&ends) => {
            let Err(error) = end;
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
        () = agent::supervisor::keep_watchdog() => ExitCode::FAILURE,
    }
}
