//! `curfew keys add`, `offer`, `bring`: to ask for another key.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use ssh_key::PublicKey;
use wire::identifier::{Fingerprint, Identity};
use wire::key_request::{CONSENT, KeyRequestAsk, KeyRequestView, KeyWish, POSSESSION, SignedWish};
use wire::request::Sentence;

use super::signed_by_mine;
use crate::client::Client;
use crate::clock;
use crate::command::login::agent;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::login_key::LoginKey;
use crate::render::{Screen, Tone};

/// Ask for another key to log in with; somebody else approves it
///
/// The new key and one that you log in with both sign the request. Who may administer approves it with `curfew keys approve`;
/// until then nothing changes. Whoever comes through an identity provider and has no key yet needs none to sign with. If you have
/// lost your key, see `curfew keys offer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    what: What,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Write down that you want a key, for an operator to bring: for whoever has lost the key that they log in with
///
/// Prints a few lines of text, signed by the new key, which an operator brings to the authority with `curfew keys bring`. They
/// hold no secret, and are of no use to anybody else; they are good for a day.
#[derive(Debug, clap::Args)]
pub(crate) struct Offer {
    #[command(flatten)]
    what: What,
    /// Who you are there, where you have not logged in from this machine before
    #[arg(long, requires = "fingerprint")]
    identity: Option<Identity>,
    /// The fingerprint of the authority's root, where you have not logged in from this machine before
    #[arg(long, value_name = "SHA256:…", requires = "identity")]
    fingerprint: Option<Fingerprint>,
}

/// Bring what somebody else has written with `curfew keys offer`
///
/// For operators. You sign that you know whose it is; somebody else than you approves it.
#[derive(Debug, clap::Args)]
pub(crate) struct Bring {
    /// The file of it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose it must be
    #[arg(long)]
    identity: Identity,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which key, and why.
#[derive(Debug, clap::Args)]
struct What {
    /// The new key: either half's file, in OpenSSH's form
    #[arg(value_name = "KEY")]
    key: PathBuf,
    /// Why
    #[arg(long)]
    reason: Sentence,
    /// The key that it takes the place of, as `curfew keys list` shows it: that one is given up when this one is approved
    #[arg(long, value_name = "SHA256:…")]
    replaces: Option<Fingerprint>,
}

impl Add {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let membership = home.membership()?;
        let mut client = Client::of(&home)?;
        let whose = (membership.identity.clone(), membership.fingerprint.clone());
        let signed = self.what.written(whose, screen)?;
        let text = (CONSENT, signed.wish.as_str());
        let consent = signed_by_mine(&mut client, &membership, text, screen)?;
        let view = client.post("/v1/keys/requests", &KeyRequestAsk { signed, consent })?;
        told(&view, self.json, screen)
    }
}

impl Offer {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let whose = match (self.identity, self.fingerprint) {
            (Some(identity), Some(fingerprint)) => (identity, fingerprint),
            _ => {
                let membership = Home::find()?.membership()?;
                (membership.identity, membership.fingerprint)
            }
        };
        let signed = self.what.written(whose, screen)?;
        screen.json(&signed)?;
        screen.note("Give these lines to an operator, who brings them with `curfew keys bring`.");
        Ok(Exit::Done)
    }
}

impl Bring {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let signed = read(&self.file)?;
        let (wish, _key) = signed.verify().with_context(|| {
            format!("{} is not what `curfew keys offer` writes", self.file.display())
        })?;
        let home = Home::find()?;
        let membership = home.membership()?;
        if wish.identity != self.identity || wish.authority != membership.fingerprint {
            bail!(
                "this is of {} for the authority {}; nothing was signed",
                wish.identity,
                wish.authority
            );
        }
        let mut client = Client::of(&home)?;
        let text = (CONSENT, signed.wish.as_str());
        let consent = signed_by_mine(&mut client, &membership, text, screen)?;
        let view = client.post("/v1/keys/requests", &KeyRequestAsk { signed, consent })?;
        told(&view, self.json, screen)
    }
}

impl What {
    /// What is wished for, signed by the key itself.
    fn written(
        &self,
        (identity, authority): (Identity, Fingerprint),
        screen: &Screen,
    ) -> Result<SignedWish> {
        let mut agent = agent(screen);
        let keys = LoginKey::candidates(Some(&self.key), agent.as_mut())?;
        let key = keys.first().context("there is no such key")?;
        let plain = PublicKey::from(key.public().key_data().clone());
        let wish = KeyWish {
            version: wire::VERSION,
            authority,
            identity,
            public_key: plain.to_openssh().context("the key cannot be written")?,
            replaces: self.replaces.clone(),
            reason: self.reason.clone(),
            at: clock::now(),
        };
        let text = wish.text().context("the request cannot be written")?;
        let possession = key.sign_for(POSSESSION, &text, agent.as_mut())?;
        Ok(SignedWish { wish: text, possession })
    }
}

/// The lines, which somebody sent.
fn read(path: &Path) -> Result<SignedWish> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_str(&text).map_err(|error| {
        Fault::Usage(format!("{shown} is not what `curfew keys offer` writes: {error}")).into()
    })
}

fn told(view: &KeyRequestView, json: bool, screen: &Screen) -> Result<Exit> {
    if json {
        screen.json(view)?;
        return Ok(Exit::Done);
    }
    let KeyRequestView { request, identity, key, .. } = view;
    screen
        .toned(Tone::Good, &format!("Request {request}: {identity} asks to log in with {key}."))?;
    screen.line(&format!(
        "It waits for somebody who may administer, and is not {identity} or you: curfew keys approve {request}"
    ))?;
    Ok(Exit::Done)
}
