//! `curfew-ca witness`: cosigns the ledger's checkpoints on another machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use wire::log::{KeyName, LogKey};

use super::say;
use crate::witness::{Witness, server};

/// What to do as a witness. It needs no authority and no settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the witness's key, once, and print what hosts pin
    Init {
        /// Its folder
        #[arg(long, value_name = "DIR", default_value = DIR)]
        dir: PathBuf,
        /// Its name, by custom an address without a scheme
        #[arg(long)]
        name: KeyName,
    },
    /// Cosign what continues (c2sp.org/tlog-witness), over HTTP
    Serve {
        /// Its folder
        #[arg(long, value_name = "DIR", default_value = DIR)]
        dir: PathBuf,
        /// Where it listens
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
        /// A log's key, as its signed notes' verifier key; several times for several
        #[arg(long, value_name = "KEY", required = true)]
        log: Vec<LogKey>,
    },
}

/// Does it.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Init { dir, name } => {
            Witness::create(dir, name)?;
            say(&Witness::open(dir, Vec::new())?.key().to_string())
        }
        Command::Serve { dir, listen, log } => {
            let witness = Arc::new(Witness::open(dir, log.clone())?);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("the runtime could not be started")?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(listen)
                    .await
                    .with_context(|| format!("cannot listen on {listen}"))?;
                let bound = listener.local_addr()?;
                say(&format!("witness {} listens on {bound}", witness.key().name()))?;
                axum::serve(listener, server::router(witness)).await?;
                anyhow::Ok(())
            })?;
            Ok(())
        }
    }
}

const DIR: &str = "/var/lib/curfew-witness";
