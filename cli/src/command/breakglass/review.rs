//! `curfew breakglass review`: say what a use of break-glass was, in one's own name.

use anyhow::Result;
use wire::ceremony::CeremonyReviewAsk;
use wire::identifier::{RequestId, Serial};
use wire::request::VerdictAsk;
use wire::review::{Review as Kept, Verdict};

use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Screen, Tone};

/// Say what a use of break-glass was, once it is over
///
/// For whom the policy lets review, and for nobody who took part: who took it does not review it, and no custodian reviews what
/// they signed. `ok` settles its incidents; any other verdict leaves them open. A later verdict takes its place, and both stay in the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Review {
    /// The request under which it was taken, such as r42; or, of custodians, the serial of its certificate
    #[arg(value_name = "REQUEST|SERIAL")]
    which: String,
    /// What was found
    #[arg(long, value_name = "VERDICT", value_parser = Verdict::NAMES)]
    verdict: String,
    /// What it was, and what was done
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Review {
    pub(super) fn run(self, screen: &Screen) -> Result<Exit> {
        let verdict: Verdict =
            self.verdict.parse().map_err(|_odd| Fault::Usage("there is no such verdict".into()))?;
        let (which, note, reviewer) = (self.which, self.note, None);
        let kept: Kept = match (which.parse::<RequestId>(), which.parse::<Serial>()) {
            (Ok(request), _) => {
                let ask = VerdictAsk { verdict, note, reviewer };
                Client::of(&Home::find()?)?.post(&format!("/v1/requests/{request}/review"), &ask)?
            }
            (Err(_), Ok(serial)) => {
                let ask = CeremonyReviewAsk { serial, verdict, note, reviewer };
                Client::of(&Home::find()?)?.post("/v1/breakglass/reviews", &ask)?
            }
            (Err(_), Err(_)) => {
                let line = format!("{which:?} is neither a request, such as r42, nor a serial");
                return Err(Fault::Usage(line).into());
            }
        };
        if self.json {
            screen.json(&kept)?;
        } else {
            let tone = if verdict == Verdict::Ok { Tone::Good } else { Tone::Warning };
            screen.toned(tone, &format!("Break-glass {which} is reviewed: {verdict}."))?;
        }
        Ok(Exit::Done)
    }
}
