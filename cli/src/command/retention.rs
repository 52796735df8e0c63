//! `curfew retention`: how long what was recorded is kept, what is held, and deletions by two people.

use std::time::Duration;

use anyhow::Result;
use wire::api::SessionView;
use wire::identifier::SessionId;
use wire::retention::{
    Class, ClassView, DeletionAsk, DeletionState, DeletionView, HoldAsk, HoldView, MAX_SESSIONS,
    RetentionView,
};

use super::sessions;
use crate::client::Client;
use crate::clock;
use crate::duration::rough;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, count, moment};

/// Show or change what is kept of what was recorded, for how long, and what is deleted
///
/// For operators. Nothing is deleted before its time (`[retention]` in ca.toml), nothing that is held, and nothing by one person alone:
/// who asks for a deletion needs another operator to approve it. Every step is an entry in the ledger, which itself is kept for good.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Retention {
    #[command(subcommand)]
    what: Option<What>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the sessions of which something can be deleted, the oldest first
    Due {
        /// What of them
        #[arg(value_name = "CLASS", value_parser = Class::NAMES)]
        class: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold a session: nothing of it is deleted until it is released
    ///
    /// Deletions that were asked for before, or approved and not done yet, are not good for it any more, also after it is released.
    Hold(Reasoned),
    /// Release a session that is held
    Release(Reasoned),
    /// Ask for a deletion, which another operator must approve
    Delete {
        /// What of the sessions: `terminals` are recordings, `activity` is which programs ran
        #[arg(value_name = "CLASS", value_parser = Class::NAMES)]
        class: String,
        /// The sessions, 16 hex digits each
        #[arg(value_name = "SESSION", required_unless_present = "due", num_args = 1..)]
        sessions: Vec<SessionId>,
        /// Everything of this class that can be deleted now, at most 500 sessions
        #[arg(long, conflicts_with = "sessions")]
        due: bool,
        /// Why; it is kept for good
        #[arg(long)]
        reason: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Approve a deletion that somebody else asked for: it is done then, and cannot be undone
    Approve(Numbered),
    /// Take a deletion back that is not approved yet, or refuse it
    Withdraw(Numbered),
}

#[derive(Debug, clap::Args)]
struct Reasoned {
    /// The session, 16 hex digits
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Why; it is kept for good
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct Numbered {
    /// The deletion's number
    #[arg(value_name = "NUMBER")]
    number: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Retention {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        match self.what {
            None => {
                let view: RetentionView = client.get("/v1/retention")?;
                if self.json { screen.json(&view)? } else { show(&view, screen)? }
            }
            Some(What::Due { class, json }) => {
                let due = due(&mut client, class_of(&class)?)?;
                match (json, due.is_empty()) {
                    (true, _) => screen.json(&due)?,
                    (false, true) => screen.line("Nothing of this can be deleted now.")?,
                    (false, false) => sessions::print(&due, screen)?,
                }
            }
            Some(What::Hold(Reasoned { session, reason })) => {
                let ask = HoldAsk { session, reason };
                let held: HoldView = client.post("/v1/retention/holds", &ask)?;
                screen.toned(Tone::Good, &format!("Session {} is held.", held.session))?;
            }
            Some(What::Release(Reasoned { session, reason })) => {
                let () = client.post("/v1/retention/releases", &HoldAsk { session, reason })?;
                screen.toned(Tone::Warning, &format!("Session {session} is held no more."))?;
            }
            Some(What::Delete { class, sessions, due: is_due, reason, json }) => {
                let class = class_of(&class)?;
                let sessions = if is_due { names(&due(&mut client, class)?)? } else { sessions };
                let ask = DeletionAsk { class, sessions, reason };
                let asked: DeletionView = client.post("/v1/retention/deletions", &ask)?;
                told(&asked, json, screen)?;
            }
            Some(What::Approve(Numbered { number, json })) => {
                let path = format!("/v1/retention/deletions/{number}/approve");
                told(&client.post(&path, &())?, json, screen)?;
            }
            Some(What::Withdraw(Numbered { number, json })) => {
                let path = format!("/v1/retention/deletions/{number}/withdraw");
                told(&client.post(&path, &())?, json, screen)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn class_of(text: &str) -> Result<Class> {
    Ok(text
        .parse()
        .map_err(|odd: wire::retention::NoClass| Fault::Usage(format!("{text} {odd}")))?)
}

fn due(client: &mut Client, class: Class) -> Result<Vec<SessionView>> {
    client.get(&format!("/v1/retention/due?class={class}"))
}

fn names(due: &[SessionView]) -> Result<Vec<SessionId>> {
    if due.is_empty() {
        return Err(Fault::Usage("nothing of this can be deleted now".into()).into());
    }
    Ok(due.iter().take(MAX_SESSIONS).map(|one| one.session).collect())
}

fn told(deletion: &DeletionView, json: bool, screen: &Screen) -> Result<()> {
    if json {
        return screen.json(deletion);
    }
    let number = deletion.deletion;
    let what = format!("{} of {}", deletion.class, sessions_of(deletion));
    match deletion.state {
        DeletionState::Asked => screen.toned(
            Tone::Warning,
            &format!("Deletion {number}, {what}, waits for another operator: `curfew retention approve {number}`."),
        ),
        DeletionState::Withdrawn => {
            screen.toned(Tone::Plain, &format!("Deletion {number} is withdrawn."))
        }
        DeletionState::Approved | DeletionState::Done => {
            let line = format!("Deletion {number}, {what}, is approved and is being done.");
            screen.toned(Tone::Warning, &line)
        }
    }
}

fn sessions_of(deletion: &DeletionView) -> String {
    count(u64::try_from(deletion.sessions.len()).unwrap_or(u64::MAX), "session")
}

fn show(view: &RetentionView, screen: &Screen) -> Result<()> {
    for ClassView { class, keep_secs } in &view.classes {
        let keep = keep_secs.map_or("kept for good".to_owned(), |secs| {
            format!(
                "kept for {} after the end of a session and its grant",
                rough(Duration::from_secs(secs))
            )
        });
        screen.line(&format!("{class:<9}  {keep}"))?;
    }
    let now = clock::now();
    if !view.holds.is_empty() {
        screen.line("")?;
        let mut table = Table::new(&["HELD", "ON", "BY", "SINCE", "WHY"]);
        for hold in &view.holds {
            table.row(vec![
                hold.session.into(),
                hold.host.as_str().into(),
                hold.by.as_str().into(),
                moment::relative(hold.at, now).into(),
                hold.reason.as_str().into(),
            ]);
        }
        screen.table(&table)?;
    }
    if !view.deletions.is_empty() {
        screen.line("")?;
        screen.table(&deletions(&view.deletions))?;
    }
    Ok(())
}

fn deletions(deletions: &[DeletionView]) -> Table {
    let now = clock::now();
    let mut table =
        Table::new(&["DELETION", "WHAT", "ASKED BY", "ASKED", "STANDS", "DECIDED BY", "WHY"]);
    for one in deletions {
        let tone = match one.state {
            DeletionState::Asked => Tone::Warning,
            DeletionState::Withdrawn => Tone::Faint,
            DeletionState::Approved | DeletionState::Done => Tone::Plain,
        };
        let stands = match one.state {
            DeletionState::Approved | DeletionState::Done => {
                format!("{}, {} deleted", one.state.as_str(), one.deleted)
            }
            state => state.as_str().to_owned(),
        };
        table.row(vec![
            one.deletion.into(),
            format!("{} of {}", one.class, sessions_of(one)).into(),
            one.asked_by.as_str().into(),
            moment::relative(one.asked_at, now).into(),
            Cell::toned(tone, stands),
            one.decided.as_ref().map_or("", |decided| &decided.by).into(),
            one.reason.as_str().into(),
        ]);
    }
    table
}
