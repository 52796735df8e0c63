//! `curfew breakglass request`: what custodians are asked to sign.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use breakglass::request::Request;
use breakglass::terms::{self, Terms};
use rand_core::OsRng;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};
use wire::breakglass::LOGIN;
use wire::identifier::{Custodian, HostName, IncidentName, Login};
use wire::network::{Network, Networks};
use zeroize::Zeroizing;

use super::exchange;
use super::place::{self, Moment};
use super::show;
use crate::clock;
use crate::duration::Span;
use crate::exit::{Exit, Fault};
use crate::file;
use crate::render::{Screen, Tone};

/// Ask custodians for a certificate
///
/// Anybody can ask; only custodians can sign. Writes a letter that goes to every custodian who is named, and without --key a key of its
/// own beside it.
#[derive(Debug, clap::Args)]
#[command(name = "request")]
pub(crate) struct Ask {
    /// The group, from the kit; a share of it does as well
    #[arg(long, value_name = "FILE", default_value = "breakglass-group.txt")]
    group: PathBuf,
    /// The hosts to get in to, by their names under Curfew (1 to 16)
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<HostName>,
    /// The account on them that break-glass opens
    #[arg(long, value_name = "LOGIN", default_value = LOGIN)]
    login: String,
    /// For how long (a minute to 59 minutes)
    #[arg(long = "for", value_name = "SPAN", default_value = "30m")]
    span: Span,
    /// From when on, in UTC (default: now)
    #[arg(long, value_name = "MOMENT")]
    at: Option<Moment>,
    /// What the incident is called
    #[arg(long, value_name = "NAME")]
    incident: IncidentName,
    /// Why, on one line; it stands in the certificate
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who signs: as many as the group asks for
    #[arg(long = "custodian", value_name = "CUSTODIAN", required = true)]
    custodians: Vec<Custodian>,
    /// Only from these networks: 10.0.0.0/8
    #[arg(long = "from", value_name = "NETWORK")]
    networks: Vec<String>,
    /// The public key of whoever logs in (default: a new key, beside the request)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// An exercise: alarms and records say so
    #[arg(long)]
    drill: bool,
    /// Where to put the request
    #[arg(long, value_name = "FILE", default_value = "request.txt")]
    out: PathBuf,
}

impl Ask {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let group = place::group(&self.group)?;
        let now = clock::now();
        let (subject, key_path) = match &self.key {
            Some(path) => (terms::subject(&exchange::read(path)?)?, None),
            None => {
                let path = self.out.with_extension("key");
                place::must_be_free(&path)?;
                (make_key(&path)?, Some(path))
            }
        };
        let terms = Terms {
            drill: self.drill,
            incident: self.incident,
            reason: self.reason,
            hosts: self.hosts,
            login: self.login.parse::<Login>().map_err(|error| Fault::Usage(error.to_string()))?,
            from: self.at.map_or(now, |moment| moment.0),
            secs: u32::try_from(self.span.secs()).unwrap_or(u32::MAX),
            custodians: self.custodians,
            networks: networks(&self.networks)?,
            subject,
        };
        let request = Request::new(&group, terms, &mut OsRng)
            .and_then(|request| request.timely(&group, now).map(|()| request))
            .map_err(|flaw| Fault::Usage(flaw.to_string()))?;
        exchange::write(&self.out, &request.letter())?;
        show::request(&request, screen)?;
        screen.toned(
            Tone::Strong,
            &format!("written: {}; it goes to every custodian who is named", self.out.display()),
        )?;
        if let Some(path) = key_path {
            screen.line(&format!("the key that will log in: {}; keep it here", path.display()))?;
        }
        Ok(Exit::Done)
    }
}

fn networks(texts: &[String]) -> Result<Option<Networks>> {
    if texts.is_empty() {
        return Ok(None);
    }
    let wrong = |error: &dyn std::error::Error| Fault::Usage(error.to_string());
    let networks: Vec<Network> = texts
        .iter()
        .map(|text| Network::try_new(text).map_err(|error| wrong(&error)))
        .collect::<Result<_, _>>()?;
    Ok(Some(Networks::try_new(networks).map_err(|error| wrong(&error))?))
}

/// A key for one certificate; it is worth nothing when that is over, so no passphrase keeps it.
fn make_key(path: &Path) -> Result<ssh_key::public::KeyData> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|error| anyhow::anyhow!("no random key: {error}"))?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    file::write(path, key.to_openssh(LineEnding::LF)?.as_bytes(), file::SECRET)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key.public_key().key_data().clone())
}
