//! `curfew behaviour`: read the rules of behaviour, and sign them.

use anyhow::{Context as _, Result};
use wire::behaviour::{
    AcceptAsk, Acknowledgement, BehaviourAsk, BehaviourView, NAMESPACE, SignedAcknowledgement,
};
use wire::log::Hash;

use super::approve::confirmed;
use super::keys::signed_by_mine;
use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::{Home, Membership};
use crate::render::{Screen, Tone, moment, plain};

/// Read the rules of behaviour, and sign that you act by them
///
/// Where an authority has such rules, there is no certificate before they are signed, once for each version of them. The
/// signature names the exact text and goes into the ledger. Whoever comes through an identity provider and has no key accepts them by
/// that login, where the authority lets them.
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
            let question = if view.by_login {
                "Accept by your login, without a signature, that you have read this and act by it? [y/N] "
            } else {
                "Sign that you have read this and act by it? [y/N] "
            };
            if !self.yes && !confirmed(question)? {
                screen.line("Nothing was signed.")?;
                return Ok(Exit::Failure);
            }
            view = if view.by_login {
                client.post("/v1/behaviour/accept", &AcceptAsk { text: view.hash })?
            } else {
                sign(&mut client, &home.membership()?, &view, screen)?
            };
        }
        if self.json {
            screen.json(&view)?;
            return Ok(Exit::Done);
        }
        match view.acknowledged {
            Some(at) => {
                let when = moment::relative(at, view.now);
                let how = if view.by_login { "accepted" } else { "signed" };
                screen.toned(Tone::Good, &format!("You {how} this {when}."))?;
            }
            None => screen.toned(Tone::Warning, "Not signed yet: curfew behaviour --sign")?,
        }
        Ok(Exit::Done)
    }
}

/// Signs with a key that is enrolled.
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
    let signature = signed_by_mine(client, membership, (NAMESPACE, &text), screen)?;
    let signature = signature.ok_or_else(|| {
        let why = "you have no key to sign with; ask for one, which somebody else approves: curfew keys add KEY --reason WHY";
        Fault::Config(why.into())
    })?;
    let signed = SignedAcknowledgement { acknowledgement: text, signature };
    client.post("/v1/behaviour", &BehaviourAsk { signed })
}
