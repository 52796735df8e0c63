//! `curfew review` and `curfew reviews`.

use anyhow::Result;
use wire::api::SessionView;
use wire::identifier::SessionId;
use wire::request::Sentence;
use wire::review::{Review as Kept, ReviewAsk, Verdict};
use wire::time::Timestamp;

use crate::client::Client;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment};

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
    /// What roles or policy let through and should not have, for whoever writes them; `curfew reviews --gaps` lists it
    #[arg(long, value_name = "TEXT")]
    gap: Option<Sentence>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// List sessions that have ended and have no verdict: the oddest first, then the oldest
///
/// Odd is what is not usual under the role or for the person, what an incident was raised over, and what could not be seen. It accuses nobody; the
/// weight, 0 to 100, says what to look at first. Only sessions that a reviewer found in order, or that nobody objected to for 14 days,
/// say what is usual. `curfew sessions show` has all reasons with what they rest on.
#[derive(Debug, clap::Args)]
pub(crate) struct Reviews {
    /// Instead those in whose review somebody found what roles or policy should not have let through
    #[arg(long)]
    gaps: bool,
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
        let ask = ReviewAsk { session: self.session, verdict, note: self.note, gap: self.gap };
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
        let path = if self.gaps { "/v1/reviews/gaps" } else { "/v1/reviews/due" };
        let due: Vec<SessionView> = Client::of(&Home::find()?)?.get(path)?;
        if self.json {
            screen.json(&due)?;
        } else if self.gaps {
            gaps(&due, screen)?;
        } else if due.is_empty() {
            screen.line("No review is due.")?;
        } else {
            screen.table(&table(&due, clock::now()))?;
        }
        Ok(Exit::Done)
    }
}

fn table(due: &[SessionView], now: Timestamp) -> Table {
    let mut table = Table::new(&["SESSION", "WHO", "WHERE", "ROLE", "ENDED", "ODD", "WHY"]);
    for session in due {
        let ended = session.ended.as_ref().map(|ended| moment::relative(ended.at, now));
        let (weight, why) = match &session.odd {
            None => (Cell::toned(Tone::Faint, "-"), String::new()),
            Some(odd) => {
                let tone = if odd.weight >= HEAVY { Tone::Bad } else { Tone::Warning };
                let more = odd.reasons.saturating_sub(1);
                let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
                (Cell::toned(tone, odd.weight.to_string()), format!("{}{more}", odd.first))
            }
        };
        table.row(vec![
            session.session.into(),
            Cell::toned(Tone::Strong, session.identity.as_str()),
            format!("{}@{}", session.login, session.host).into(),
            session.role.as_str().into(),
            ended.unwrap_or_default().into(),
            weight,
            why.into(),
        ]);
    }
    table
}

fn gaps(found: &[SessionView], screen: &Screen) -> Result<()> {
    if found.is_empty() {
        return screen.line("No review found a gap.");
    }
    let mut table = Table::new(&["SESSION", "IDENTITY", "LOGIN@HOST", "ROLE", "VERDICT", "GAP"]);
    for session in found {
        let Some(review) = &session.review else { continue };
        let gap = review.gap.as_ref().map_or("", Sentence::as_str);
        table.row(vec![
            session.session.into(),
            session.identity.as_str().into(),
            format!("{}@{}", session.login, session.host).into(),
            session.role.as_str().into(),
            review.verdict.as_str().into(),
            gap.into(),
        ]);
    }
    screen.table(&table)
}

/// From which weight on something is shown as wrong and not only as worth a look.
const HEAVY: u8 = 50;
