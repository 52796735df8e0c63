//! `curfew-agent install` and `curfew-agent uninstall`.

use std::path::Path;

use super::{Exit, table};
use crate::config::Config;
use crate::install::{Keep, Report, System, install, uninstall};

pub(crate) fn perform(config: &Config) -> anyhow::Result<Exit> {
    be_root("install")?;
    anyhow::ensure!(
        config.state_dir.join("trust.json").exists(),
        "this host is not enrolled; run `curfew-agent enroll` first"
    );
    say(&install(Path::new("/"), config, &mut System)?)?;
    table::say(
        "Logins of this host now pass Curfew. Keep this connection open until you have tried one.",
    )?;
    Ok(Exit::Ok)
}

pub(crate) fn undo(config: &Config, purge: bool) -> anyhow::Result<Exit> {
    be_root("uninstall")?;
    let keep = if purge { Keep::Nothing } else { Keep::State };
    say(&uninstall(Path::new("/"), config, &mut System, keep)?)?;
    table::say("Logins of this host are as they were before Curfew.")?;
    Ok(Exit::Ok)
}

fn be_root(command: &str) -> anyhow::Result<()> {
    let root = rustix::process::geteuid().is_root();
    anyhow::ensure!(root, "curfew-agent {command} must be run by root");
    Ok(())
}

fn say(report: &Report) -> std::io::Result<()> {
    report.done.iter().try_for_each(|step| table::say(&format!("  {step}")))
}
