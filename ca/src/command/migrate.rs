//! `curfew-ca migrate`: moves the ledger from its file to a PostgreSQL server.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use wire::log::Policy;

use super::ledger::verify::stored_keys;
use super::say;
use crate::config::Config;
use crate::config::ledger::Server;
use crate::ledger::{Audit, Place, moving};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The database, as `postgres://USER@HOST/DATABASE`; it must have no ledger
    #[arg(long, value_name = "URL")]
    to: String,
    /// The database's password, in a file that only its owner can read
    #[arg(long, value_name = "FILE")]
    password_file: Option<std::path::PathBuf>,
    /// The certificates that sign the server's own, where it is on another machine
    #[arg(long, value_name = "FILE")]
    root_certificate: Option<std::path::PathBuf>,
}

/// Copies, compares, verifies, and then marks the file as moved.
pub(crate) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    if config.ledger.is_some() {
        bail!("the ledger is on a server already: ca.toml names it under [ledger]");
    }
    let socket = &config.admin_socket;
    ensure!(
        std::os::unix::net::UnixStream::connect(socket).is_err(),
        "an authority is serving on {}; stop it first: systemctl stop curfew-ca. Hosts go on meanwhile as they are",
        socket.display()
    );
    let files = (arguments.password_file.clone(), arguments.root_certificate.clone());
    let server = Server::named(&arguments.to, files).map_err(anyhow::Error::msg)?;
    let (from, to) = (Place::of(config)?, Place::at(&server)?);
    if moving::resume(&from, &to)? {
        say("The ledger was moved before, and that broke off at its end; it is finished now.")?;
        return tell(arguments, &server);
    }
    let policy = Policy { logs: stored_keys(config)?, ..Policy::default() };
    let copied = moving::copy(&from, &to).context("nothing was moved")?;
    let faults = faults(&to, &policy);
    match faults {
        Ok(faults) if faults.is_empty() => {}
        faulty => {
            // Nobody opens what is on the server, and the next try throws it away.
            drop(copied);
            for fault in faulty? {
                say(&format!("! {fault}"))?;
            }
            bail!(
                "what was copied does not hold, and nothing was moved; look with `curfew-ca ledger verify`"
            );
        }
    }
    let moved = copied.finish().context(
        "everything is on the server, but it could not be said that it is; run the same command again",
    )?;
    for (table, rows) in moved.tables.iter().filter(|(_, rows)| *rows > 0) {
        say(&format!("{table}: {rows} rows"))?;
    }
    say(
        "The ledger is on the server, every row is the same, and it verifies. The file is closed.",
    )?;
    tell(arguments, &server)
}

fn tell(arguments: &Arguments, server: &Server) -> anyhow::Result<()> {
    say("")?;
    say("Now write this into ca.toml, and start the authority:")?;
    say("")?;
    say("[ledger]")?;
    say(&format!("url = {:?}", arguments.to))?;
    for (key, file) in
        [("password_file", &server.password_file()), ("root_certificate", &server.root_certificate)]
    {
        if let Some(file) = file {
            say(&format!("{key} = {:?}", file.display().to_string()))?;
        }
    }
    Ok(())
}

/// What is wrong with the copy.
pub(super) fn faults(to: &Place, policy: &Policy) -> anyhow::Result<Vec<String>> {
    let report = Audit::open_unfinished(to)?.verify(policy, &[])?;
    let mut faults = report.faults;
    faults.extend(Audit::open_unfinished(to)?.compare()?.differences);
    if report.verified.is_none() && faults.is_empty() {
        faults.push("the copy has no checkpoint that holds".into());
    }
    Ok(faults)
}
