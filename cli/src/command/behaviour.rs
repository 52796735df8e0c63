//! `curfew behaviour`: read the rules of behaviour, and sign them.

use anyhow::{Context as _, Result};
use wire::behaviour::{
    Acknowledgement, BehaviourAsk, BehaviourView, NAMESPACE, SignedAcknowledgement,
};
use wire::log::Hash;

use super::approve::{confirmed, is_about_key};
use super::login::{agent, is_refusal};
use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::{Home, Membership};
use crate::login_key::LoginKey;
use crate::render::{Screen, Tone, moment, plain};

/// Read the rules of behaviour, and sign that you act by them
///
/// Where an authority has such rules, there is no certificate before they are signed, once for each version of them. The
/// signature names the exact text and goes into the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Behaviour {
    /// Sign them with your login key, once you have read them
    #[arg(long)]
    sign: bool,
    /// Do not ask whether you mean it
    #[arg(long, requires = "sign")]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Behaviour {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let mut view: BehaviourView = client.get("/v1/behaviour")?;
        anyhow::ensure!(
            Hash::of(view.text.as_bytes()) == view.hash,
            "the authority gave another text than it names; nothing was signed"
        );
        if !self.json {
            view.text.lines().try_for_each(|line| screen.line(&plain(line)))?;
            screen.line(&format!("\nhash {}", view.hash))?;
        }
        if self.sign && view.acknowledged.is_none() {
            if !self.yes && !confirmed("Sign that you have read this and act by it? [y/N] ")? {
                screen.line("Nothing was signed.")?;
                return Ok(Exit::Failure);
            }
            view = sign(&mut client, &home.membership()?, &view, screen)?;
        }
        if self.json {
            screen.json(&view)?;
            return Ok(Exit::Done);
        }
        match view.acknowledged {
            Some(at) => {
                let when = moment::relative(at, view.now);
                screen.toned(Tone::Good, &format!("You signed this {when}."))?;
            }
            None => screen.toned(Tone::Warning, "Not signed yet: curfew behaviour --sign")?,
        }
        Ok(Exit::Done)
    }
}

/// Signs with the first key that the authority believes.
fn sign(
    client: &mut Client,
    membership: &Membership,
    view: &BehaviourView,
    screen: &Screen,
) -> Result<BehaviourView> {
    let said = Acknowledgement {
        version: wire::VERSION,
        authority: membership.fingerprint.clone(),
        by: membership.identity.clone(),
        text: view.hash,
        at: view.now,
    };
    let text = said.text().context("the acknowledgement cannot be written")?;
    let mut agent = agent(screen);
    let keys = LoginKey::candidates(membership.key.as_deref(), agent.as_mut())?;
    let mut refusal = None;
    for key in &keys {
        let signature = key.sign_for(NAMESPACE, &text, agent.as_mut())?;
        let signed = SignedAcknowledgement { acknowledgement: text.clone(), signature };
        match client.post("/v1/behaviour", &BehaviourAsk { signed }) {
            Ok(view) => return Ok(view),
            Err(error) if is_refusal(&error) && is_about_key(&error) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or_else(|| Fault::Config("there is no key to sign with".into()).into()))
}
