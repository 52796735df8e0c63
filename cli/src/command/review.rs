//! `curfew review` and `curfew reviews`.

use anyhow::Result;
use wire::api::SessionView;
use wire::identifier::SessionId;
use wire::review::{Review as Kept, ReviewAsk, Verdict};

use super::sessions;
use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Screen, Tone};

/// Say whether what was done in a session fits what was granted
///
/// For operators, and for sessions of others that have ended. The verdict is an entry in the ledger; a later one takes its place, and both
/// stay there. The verdict `incident` opens an incident. `curfew reviews` lists what is due.
#[derive(Debug, clap::Args)]
pub(crate) struct Review {
    /// The session, 16 hex digits
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// What was found
    #[arg(long, value_name = "VERDICT", value_parser = Verdict::NAMES)]
    verdict: String,
    /// Why; needed unless everything is in order
    #[arg(long, default_value = "")]
    note: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// List sessions that have ended and have no verdict, the oldest first
#[derive(Debug, clap::Args)]
pub(crate) struct Reviews {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Review {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let verdict: Verdict =
            self.verdict.parse().map_err(|_odd| Fault::Usage("there is no such verdict".into()))?;
        if verdict != Verdict::Ok && self.note.trim().is_empty() {
            return Err(Fault::Usage(format!("say why it is {verdict}: --note")).into());
        }
        let ask = ReviewAsk { session: self.session, verdict, note: self.note };
        let kept: Kept = Client::of(&Home::find()?)?.post("/v1/reviews", &ask)?;
        if self.json {
            screen.json(&kept)?;
        } else {
            let tone = if verdict == Verdict::Ok { Tone::Good } else { Tone::Warning };
            screen.toned(tone, &format!("Session {} is reviewed: {verdict}.", self.session))?;
        }
        Ok(Exit::Done)
    }
}

impl Reviews {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let due: Vec<SessionView> = Client::of(&Home::find()?)?.get("/v1/reviews/due")?;
        if self.json {
            screen.json(&due)?;
        } else if due.is_empty() {
            screen.line("No review is due.")?;
        } else {
            sessions::print(&due, screen)?;
        }
        Ok(Exit::Done)
    }
}
