//! `curfew breakglass show`: what a letter says, in words.

use std::path::PathBuf;

use anyhow::Result;
use breakglass::group::Group;
use breakglass::letter::{Kind, Letter};
use breakglass::receipt::Receipt;
use breakglass::request::Request;
use breakglass::share::Locked;
use wire::certificate::fingerprint;
use wire::identifier::Custodian;

use super::{exchange, place, qr};
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::render::{Screen, Tone};

/// Say what a letter, a group, a share or a receipt is
///
/// Checks it as well: a receipt that is shown is one that the custodians named in it have signed. No passphrase is needed.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show it as a QR code as well; a share is not shown so
    #[arg(long)]
    qr: bool,
}

impl Show {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let text = exchange::read(&self.file)?;
        let wrong = |error: &dyn std::error::Error| {
            Fault::Untrue(format!("{}: {error}", self.file.display()))
        };
        let letter = Letter::read(&text).map_err(|flaw| wrong(&flaw))?;
        match letter.kind {
            Kind::Group => group(&Group::read(&text).map_err(|flaw| wrong(&flaw))?, screen)?,
            Kind::Share => share(&Locked::read(&text).map_err(|flaw| wrong(&flaw))?, screen)?,
            Kind::Request => request(&Request::read(&text).map_err(|flaw| wrong(&flaw))?, screen)?,
            Kind::Receipt => receipt(&Receipt::read(&text).map_err(|flaw| wrong(&flaw))?, screen)?,
            kind => screen.line(&format!("a letter of the kind {kind}, copied correctly; its content is for the program that waits for it"))?,
        }
        match letter.kind {
            Kind::Share if self.qr => Err(Fault::Usage(
                "a share is not shown as a picture: cameras keep what they see".into(),
            )
            .into()),
            _ if self.qr => qr::show(&letter, screen).map(|()| Exit::Done),
            _ => Ok(Exit::Done),
        }
    }
}

/// A request in words, with the code by which it is agreed to.
pub(crate) fn request(request: &Request, screen: &Screen) -> Result<()> {
    let now = clock::now();
    screen.toned(Tone::Strong, "what is to be signed:")?;
    for (what, value) in request.terms().words(|moment| place::shown(moment, now)) {
        screen.line(&format!("  {what:<11}{value}"))?;
    }
    screen.line(&format!("  {:<11}{}", "serial", request.serial()))?;
    screen.line(&format!("  {:<11}{}", "code", request.code()))
}

fn group(group: &Group, screen: &Screen) -> Result<()> {
    let now = clock::now();
    let names: Vec<&str> = group.members().values().map(Custodian::as_str).collect();
    screen.line(&format!("custodians {}", names.join(", ")))?;
    screen.line(&format!("sign       {} of {}", group.threshold(), names.len()))?;
    screen.line(&format!("key        {}", fingerprint(&group.key_data())))?;
    screen.line(&format!("shares     generation {}", group.generation()))?;
    let line = format!("expires    {}", place::shown(group.expires(), now));
    let tone = if group.expires() <= now { Tone::Bad } else { Tone::Plain };
    screen.toned(tone, &line)?;
    screen.line(&group.public_key().to_openssh()?)
}

fn share(share: &Locked, screen: &Screen) -> Result<()> {
    let name = share.name().map(ToString::to_string).unwrap_or_default();
    screen.line(&format!("the share of {name}, under a passphrase"))?;
    group(share.group(), screen)
}

fn receipt(receipt: &Receipt, screen: &Screen) -> Result<()> {
    let keeper = receipt.kept_by().map(ToString::to_string).unwrap_or_default();
    screen.line(&format!("a receipt, kept by {keeper}; every custodian named below has signed"))?;
    screen.line(&format!("group key  {}", fingerprint(&receipt.group().key_data())))?;
    request(receipt.request(), screen)?;
    screen.line(&receipt.certificate()?.to_openssh())
}
