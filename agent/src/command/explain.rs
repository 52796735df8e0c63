//! `curfew-agent explain`: what a process belongs to, in words.

use anyhow::{Context as _, bail};
use wire::explain::{Belongs, Explanation};
use wire::gate::{Answer, Question};
use wire::identifier::SessionId;

use super::{Exit, status, table};
use crate::config::Config;
use crate::status::Status;

pub(crate) fn perform(config: &Config, pid: i32, json: bool) -> anyhow::Result<Exit> {
    let answer = ask::ask(&config.run_dir.join("gate.sock"), &Question::Explain { pid })
        .context("the agent was not reached; see `systemctl status curfew-agent`")?;
    let told = match answer {
        Answer::Explained(told) => told,
        Answer::Refuse(why) if why.is_empty() => bail!("only root may ask"),
        Answer::Refuse(why) => bail!("{why}"),
        Answer::Permit | Answer::Principals(_) | Answer::Outside => {
            bail!("the agent answered something else; is it as new as this program?")
        }
    };
    if json {
        table::say_json(&told)?;
    } else {
        table::say(&in_words(&told, &status::read(config)?))?;
    }
    Ok(Exit::Ok)
}

fn in_words(told: &Explanation, status: &Status) -> String {
    let program =
        told.program.as_ref().map_or_else(String::new, |path| format!(", {}", path.display()));
    let mut text = format!(
        "process {} ({}{program}), user {}, child of {}\n{}\n",
        told.pid,
        told.command.display(),
        told.uid,
        told.parent,
        belongs(&told.belongs, status)
    );
    let rows: Vec<Vec<String>> = told
        .evidence
        .iter()
        .map(|mark| {
            let names = mark.session.map_or_else(String::new, |session| format!("names {session}"));
            vec![format!("  {}", mark.mark.as_str()), mark.holds.clone(), names]
        })
        .collect();
    text.push_str(&table::align(&rows));
    for sentence in &told.disagreements {
        text.push_str(&format!("\n! {sentence}"));
    }
    text
}

fn belongs(belongs: &Belongs, status: &Status) -> String {
    match belongs {
        Belongs::Session(session) => format!("belongs to session {}", who(*session, status)),
        Belongs::Delegated { candidates } => {
            let names: Vec<String> = candidates.iter().map(|session| who(*session, status)).collect();
            format!("has no session's tag; work handed to a daemon, perhaps from {}", names.join(", or "))
        }
        Belongs::Outside { audit_session, login_uid } => format!(
            "belongs to a login that is not under the authority: audit session {audit_session}, of user {login_uid}"
        ),
        Belongs::Kernel => "is the kernel's own".to_owned(),
        Belongs::Container => {
            "lives in a process namespace of its own, and nothing says from which login: a container".to_owned()
        }
        Belongs::Host => "belongs to the host: no login started it".to_owned(),
    }
}

fn who(id: SessionId, status: &Status) -> String {
    match status.sessions.iter().find(|session| session.id == id) {
        Some(session) => format!(
            "{id}: {} as {} from {}, grant {}, certificate {}",
            session.subject.identity,
            session.subject.login,
            wire::octets::plain(&session.remote),
            session.subject.grant,
            session.subject.serial
        ),
        None => format!("{id}, of which the agent knows nothing more"),
    }
}
