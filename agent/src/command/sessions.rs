//! `curfew-agent sessions`: who is on this host under the authority, and for how long.

use std::time::Duration;

use super::{Exit, status, table};
use crate::config::Config;
use crate::session::{Session, State};
use crate::status::Status;

pub(crate) fn perform(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let status = status::read(config)?;
    if json {
        table::say_json(&status.sessions)?;
        return Ok(Exit::Ok);
    }
    if status.sessions.is_empty() {
        table::say("No sessions.")?;
        return say_handed(&status);
    }
    let head = ["SESSION", "IDENTITY", "LOGIN", "FROM", "SERIAL", "SINCE", "ENDS IN", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.sessions.iter().map(|session| row(session, &status)));
    table::say(&table::align(&rows))?;
    say_handed(&status)
}

/// Work that belongs to a login and to none of its sessions.
fn say_handed(status: &Status) -> anyhow::Result<Exit> {
    for work in &status.handed {
        let owners: Vec<String> = work.owners.iter().map(ToString::to_string).collect();
        let ending = if work.ending { ", ending" } else { "" };
        table::say(&format!(
            "handed to daemons by {} ({}): {} tasks{ending}",
            work.login,
            owners.join(" or "),
            work.tasks
        ))?;
    }
    Ok(Exit::Ok)
}

fn row(session: &Session, status: &Status) -> Vec<String> {
    let ending = match &session.state {
        State::Live { .. } => String::new(),
        State::Ending { killed, .. } => format!("ending, {killed} killed"),
    };
    vec![
        session.id.to_string(),
        session.subject.identity.to_string(),
        session.subject.login.to_string(),
        session.remote.clone(),
        session.subject.serial.to_string(),
        table::span(status.at.since(session.began)),
        table::span(session.deadline.since(status.up).max(Duration::ZERO)),
        ending,
    ]
}
