//! `curfew done`: give a grant back before its time.

use anyhow::Result;
use wire::api::{EndGrantAsk, GrantView, OrderProgress};
use wire::identifier::GrantId;

use super::lock::reason;
use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::identity_file;
use crate::progress::{self, Kind};
use crate::render::{Screen, Tone};

/// Give a grant back: its sessions end now, and its certificates open nothing any more
#[derive(Debug, clap::Args)]
pub(crate) struct Done {
    /// The grant; your only one, when left out
    grant: Option<GrantId>,
    /// Why, if there is more to say than that you are done
    #[arg(long, default_value = "checked in by its owner")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Done {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let grant = match self.grant {
            Some(grant) => grant,
            None => only(&mut client)?,
        };
        let ask = EndGrantAsk { reason: reason(self.reason)? };
        let progress: OrderProgress = client.post(&format!("/v1/grants/{grant}/end"), &ask)?;
        identity_file::forget(&home.identity_dir(), grant)?;
        if self.json {
            screen.json(&progress)?;
        } else {
            screen.line(&format!("Grant {grant} has ended (order {}).", progress.order))?;
            for (tone, sentence) in progress::unfinished(&progress, Kind::Lock) {
                screen.toned(tone, &format!("  {sentence}"))?;
            }
            let is_success = progress::is_success(&progress, Kind::Lock);
            let tone = if is_success { Tone::Good } else { Tone::Bad };
            screen.toned(tone, &progress::summary(&progress, Kind::Lock))?;
        }
        let is_success = progress::is_success(&progress, Kind::Lock);
        Ok(if is_success { Exit::Done } else { Exit::Failure })
    }
}

/// The one grant there is.
pub(crate) fn only(client: &mut Client) -> Result<GrantId> {
    let grants: Vec<GrantView> = client.get("/v1/grants")?;
    match grants.as_slice() {
        [] => Err(Fault::Usage("there is no grant that has not ended".into()).into()),
        [one] => Ok(one.grant),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|grant| format!("{} ({} on {})", grant.grant, grant.role, grant.host))
                .collect();
            let message = format!("which grant? there are {}", names.join(", "));
            Err(Fault::Usage(message).into())
        }
    }
}
