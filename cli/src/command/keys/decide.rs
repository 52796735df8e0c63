//! `curfew keys requests`, `approve`, `deny`, `withdraw`: what becomes of a request for a key.

use anyhow::{Context as _, Result};
use wire::identifier::Fingerprint;
use wire::key_request::{
    APPROVAL, KeyApproval, KeyApprovalAsk, KeyRequestState, KeyRequestView, KeyWish,
    SignedKeyApproval,
};
use wire::log::Hash;
use wire::request::{NoAsk, Sentence};

use super::signed_by_mine;
use crate::client::Client;
use crate::command::approve::confirmed;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment, plain};

/// List requests for keys: your own, and those that you can approve
#[derive(Debug, clap::Args)]
pub(crate) struct Requests {
    /// Also those that are over
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Approve that somebody logs in with another key: you are shown it, and sign that with your own
///
/// For who may administer, and neither whose key it is nor who brought it. The signature names the exact text of the request and
/// goes into the ledger. Ask the person, on another way, for the fingerprint.
#[derive(Debug, clap::Args)]
pub(crate) struct Approve {
    /// The request's number
    #[arg(value_name = "REQUEST")]
    request: u64,
    /// Do not ask whether you mean it
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Refuse a request for a key
#[derive(Debug, clap::Args)]
pub(crate) struct Deny {
    /// The request's number
    #[arg(value_name = "REQUEST")]
    request: u64,
    /// Why
    #[arg(long)]
    reason: Sentence,
}

/// Take your own request for a key back
#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// The request's number
    #[arg(value_name = "REQUEST")]
    request: u64,
    /// Why
    #[arg(long, default_value = "taken back")]
    reason: Sentence,
}

impl Requests {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let all = listed(&mut Client::of(&Home::find()?)?, self.all)?;
        if self.json {
            screen.json(&all)?;
        } else if all.is_empty() {
            screen.line("No request for a key waits.")?;
        } else {
            screen.table(&table(&all))?;
            for (number, command) in next(&all) {
                screen.line(&format!("{number} waits for you: {command}"))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Those that wait, or all.
pub(crate) fn listed(client: &mut Client, is_all: bool) -> Result<Vec<KeyRequestView>> {
    let mut all: Vec<KeyRequestView> = client.get(PATH)?;
    all.retain(|view| is_all || view.state == KeyRequestState::Waiting);
    Ok(all)
}

/// The requests for keys as people read them.
pub(crate) fn table(views: &[KeyRequestView]) -> Table {
    let mut table = Table::new(&["REQUEST", "STATE", "IDENTITY", "KEY", "ASKED", "BY"]);
    for view in views {
        let tone = if view.yours_to_approve { Tone::Warning } else { Tone::Plain };
        table.row(vec![
            Cell::toned(Tone::Strong, view.request.to_string()),
            Cell::toned(tone, view.state.as_str()),
            view.identity.as_str().into(),
            view.key.as_str().into(),
            moment::relative(view.at, view.now).into(),
            view.by.as_str().into(),
        ]);
    }
    table
}

/// Those that wait for whoever looks, and what they type next.
pub(crate) fn next(views: &[KeyRequestView]) -> impl Iterator<Item = (u64, String)> {
    let mine = views.iter().filter(|view| view.yours_to_approve).map(|view| view.request);
    mine.map(|number| (number, format!("curfew keys approve {number}")))
}

impl Approve {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let membership = home.membership()?;
        let mut client = Client::of(&home)?;
        let view = find(&mut client, self.request)?;
        let (wish, hash) = read(&view, &membership.fingerprint)?;
        if !self.json {
            show(&view, (&wish, hash), screen)?;
        }
        let question = format!("Sign that {} logs in with {}? [y/N] ", view.identity, view.key);
        if !self.yes && !confirmed(&question)? {
            screen.line("Nothing was signed.")?;
            return Ok(Exit::Failure);
        }
        let approval = KeyApproval {
            version: wire::VERSION,
            authority: membership.fingerprint.clone(),
            request: view.request,
            hash,
            by: membership.identity.clone(),
            at: view.now,
        };
        let text = approval.text().context("the approval cannot be written")?;
        let signature = signed_by_mine(&mut client, &membership, (APPROVAL, &text), screen)?;
        let signature = signature.ok_or_else(|| {
            Fault::Config("you have no key to sign with; ask for one: curfew keys add".into())
        })?;
        let signed = SignedKeyApproval { approval: text, signature };
        let path = format!("{PATH}/{}/approve", self.request);
        let view: KeyRequestView = client.post(&path, &KeyApprovalAsk { signed })?;
        if self.json {
            screen.json(&view)?;
            return Ok(Exit::Done);
        }
        let said = format!("Approved: {} logs in with {} from now on.", view.identity, view.key);
        screen.toned(Tone::Good, &said)?;
        if let Some(old) = &wish.replaces {
            screen.line(&format!("{old} is given up, and all that was obtained with it."))?;
        }
        Ok(Exit::Done)
    }
}

impl Deny {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        end(self.request, self.reason, screen)
    }
}

impl Withdraw {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        end(self.request, self.reason, screen)
    }
}

fn end(request: u64, reason: Sentence, screen: &Screen) -> Result<Exit> {
    let mut client = Client::of(&Home::find()?)?;
    let view: KeyRequestView = client.post(&format!("{PATH}/{request}/end"), &NoAsk { reason })?;
    screen.line(&format!("Request {request} is over: {}.", view.state.as_str()))?;
    Ok(Exit::Done)
}

fn find(client: &mut Client, request: u64) -> Result<KeyRequestView> {
    let all: Vec<KeyRequestView> = client.get(PATH)?;
    let found = all.into_iter().find(|view| view.request == request);
    found.with_context(|| format!("there is no request {request} for a key that you can approve"))
}

/// What will be approved, of this request and no other, for this authority and no other.
fn read(view: &KeyRequestView, authority: &Fingerprint) -> Result<(KeyWish, Hash)> {
    let (wish, hash) = view.read().context("the authority gave another text than it names")?;
    anyhow::ensure!(
        wish.authority == *authority,
        "the request is for another authority; nothing was signed"
    );
    Ok((wish, hash))
}

fn show(view: &KeyRequestView, (wish, hash): (&KeyWish, Hash), screen: &Screen) -> Result<()> {
    let kind = wish.public_key.split(' ').next().unwrap_or_default();
    let brought = match &view.consent {
        Some(key) => format!("{}, signed with {key}", view.by),
        None => format!("{}, who has no key yet, by a login through the provider", view.by),
    };
    let mut lines = vec![
        ("who", view.identity.to_string()),
        ("key", format!("{} ({})", view.key, plain(kind))),
        ("why", plain(wish.reason.as_str())),
        ("asked by", brought),
        ("hash", hash.to_string()),
    ];
    if let Some(old) = &wish.replaces {
        lines.insert(2, ("instead of", old.to_string()));
    }
    screen.line(&format!("Request {}: {}", view.request, view.state.as_str()))?;
    lines.iter().try_for_each(|(name, value)| screen.line(&format!("  {name:<10} {value}")))
}

const PATH: &str = "/v1/keys/requests";
