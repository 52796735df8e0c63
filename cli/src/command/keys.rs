//! `curfew keys`: the SSH keys that you log in with.

use anyhow::Result;
use clap::Subcommand;
use wire::api::{KeyRow, OrderProgress, RevokeKey};
use wire::identifier::Fingerprint;

use super::lock::reason;
use super::login::agent;
use crate::client::Client;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::home::{Home, Membership};
use crate::login_key::LoginKey;
use crate::progress::{self, Kind};
use crate::render::{Screen, Table, Tone, moment};

mod decide;
mod wish;

pub(super) use decide::{listed, next, table};

/// The SSH keys that you log in to the authority with
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give one up, at once: it logs in nowhere, and what was obtained with it is over
    ///
    /// Its logins end, its certificates and those that logins with it obtained open nothing any more, and their sessions
    /// end. A key that was lost or stolen is given up so; another one is asked for with `curfew keys add` or `curfew keys offer`.
    Revoke {
        /// Its fingerprint, as `curfew keys list` shows it
        key: Fingerprint,
        /// Why
        #[arg(long, default_value = "given up by its owner")]
        reason: String,
    },
    Add(wish::Add),
    Offer(wish::Offer),
    Bring(wish::Bring),
    Requests(decide::Requests),
    Approve(decide::Approve),
    Deny(decide::Deny),
    Withdraw(decide::Withdraw),
}

impl Keys {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        match self {
            Self::List { json } => list(json, screen),
            Self::Revoke { key, reason } => revoke(key, reason, screen),
            Self::Add(add) => add.run(screen),
            Self::Offer(offer) => offer.run(screen),
            Self::Bring(bring) => bring.run(screen),
            Self::Requests(requests) => requests.run(screen),
            Self::Approve(approve) => approve.run(screen),
            Self::Deny(deny) => deny.run(screen),
            Self::Withdraw(withdraw) => withdraw.run(screen),
        }
    }
}

fn list(json: bool, screen: &Screen) -> Result<Exit> {
    let keys: Vec<KeyRow> = Client::of(&Home::find()?)?.get("/v1/keys")?;
    if json {
        screen.json(&keys)?;
        return Ok(Exit::Done);
    }
    let now = clock::now();
    let mut table = Table::new(&["KEY", "TYPE", "ADDED"]);
    for row in keys {
        let kind = row.public_key.split(' ').next().unwrap_or_default().to_owned();
        let added = moment::relative(row.added, now);
        table.row(vec![row.key.as_str().into(), kind.into(), added.into()]);
    }
    screen.table(&table)?;
    Ok(Exit::Done)
}

fn revoke(key: Fingerprint, why: String, screen: &Screen) -> Result<Exit> {
    let ask = RevokeKey { key, reason: reason(why)? };
    let progress: OrderProgress = Client::of(&Home::find()?)?.post("/v1/keys/revoke", &ask)?;
    screen.line(&format!("{} is revoked (order {}).", ask.key, progress.order))?;
    for (tone, sentence) in progress::unfinished(&progress, Kind::Lock) {
        screen.toned(tone, &format!("  {sentence}"))?;
    }
    let is_success = progress::is_success(&progress, Kind::Lock);
    let tone = if is_success { Tone::Good } else { Tone::Bad };
    screen.toned(tone, &progress::summary(&progress, Kind::Lock))?;
    Ok(if is_success { Exit::Done } else { Exit::Failure })
}

/// Signs with a key at hand that is enrolled for whoever is logged in; nothing, when none of theirs is enrolled at all.
pub(super) fn signed_by_mine(
    client: &mut Client,
    membership: &Membership,
    (namespace, text): (&str, &str),
    screen: &Screen,
) -> Result<Option<String>> {
    let enrolled: Vec<KeyRow> = client.get("/v1/keys")?;
    if enrolled.is_empty() {
        return Ok(None);
    }
    let mut agent = agent(screen);
    let at_hand = LoginKey::candidates(membership.key.as_deref(), agent.as_mut())?;
    let mine = at_hand
        .iter()
        .find(|key| enrolled.iter().any(|row| row.key == key.fingerprint()))
        .ok_or_else(|| {
        Fault::Config(
            "none of the keys here is one that you log in with; log in again with --key PATH"
                .into(),
        )
    })?;
    mine.sign_for(namespace, text, agent.as_mut()).map(Some)
}
