//! What custodians are asked to sign, in words and as a certificate: the only thing that this key ever signs.

use std::collections::BTreeMap;
use std::time::Duration;

use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use wire::breakglass::{self, LONGEST, MAX_SIGNERS, UseName};
use wire::certificate::{Draft, Kind, fingerprint};
use wire::identifier::{Custodian, HostName, IncidentName, Login, NameError, Principal, Serial};
use wire::key::KeyFlaw;
use wire::network::Networks;
use wire::time::Timestamp;

use crate::bytes::{Malformed, Reader, Writer};

/// What a certificate is to open, for whom, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether it is an exercise.
    pub drill: bool,
    /// What it is for.
    pub incident: IncidentName,
    /// Why, on one line.
    pub reason: String,
    /// The hosts that it opens.
    pub hosts: Vec<HostName>,
    /// The account on them.
    pub login: Login,
    /// From when on.
    pub from: Timestamp,
    /// For how long, in seconds.
    pub secs: u32,
    /// Who signs, in the order of their numbers.
    pub custodians: Vec<Custodian>,
    /// From where; anywhere when absent.
    pub networks: Option<Networks>,
    /// The key of whoever logs in.
    pub subject: KeyData,
}

/// Why terms are not signed.
#[derive(Debug, thiserror::Error)]
pub enum TermsFlaw {
    /// Their content.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// No host, too many, or one twice.
    #[error("1 to {MAX_HOSTS} different hosts are named, and not {0}")]
    Hosts(usize),
    /// Too short to get in, or longer than may be.
    #[error("it is for {0} seconds; a minute to an hour is allowed")]
    Length(u32),
    /// Nobody could read why.
    #[error("the reason is one line of 1 to {} letters of plain English", breakglass::MAX_REASON)]
    Reason,
    /// Nobody, too many, or one twice.
    #[error("2 to {MAX_SIGNERS} different custodians sign, and not {0}")]
    Custodians(usize),
    /// The key.
    #[error("the key that is to log in: {0}")]
    Key(#[from] KeyFlaw),
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Terms {
    /// Holds the terms against every rule.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn check(&self) -> Result<(), TermsFlaw> {
        let distinct: std::collections::BTreeSet<_> = self.hosts.iter().collect();
        if !(1..=MAX_HOSTS).contains(&self.hosts.len()) || distinct.len() != self.hosts.len() {
            return Err(TermsFlaw::Hosts(self.hosts.len()));
        }
        let longest =
            u32::try_from(LONGEST.as_secs()).unwrap_or(u32::MAX).saturating_sub(BACKDATED);
        if !(60..=longest).contains(&self.secs) {
            return Err(TermsFlaw::Length(self.secs));
        }
        if !breakglass::is_reason(&self.reason) {
            return Err(TermsFlaw::Reason);
        }
        let distinct: std::collections::BTreeSet<_> = self.custodians.iter().collect();
        if !(2..=MAX_SIGNERS).contains(&self.custodians.len())
            || distinct.len() != self.custodians.len()
        {
            return Err(TermsFlaw::Custodians(self.custodians.len()));
        }
        wire::key::check(&self.subject)?;
        Ok(())
    }

    /// When it ends.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.from.after(Duration::from_secs(u64::from(self.secs)))
    }

    /// What its certificate is called.
    #[must_use]
    pub fn name(&self, serial: Serial) -> UseName {
        UseName {
            drill: self.drill,
            incident: self.incident.clone(),
            custodians: self.custodians.clone(),
            until: self.until(),
            serial,
        }
    }

    /// The certificate, before it is signed.
    ///
    /// # Errors
    /// When a host and the login are too long together.
    pub fn draft(&self, serial: Serial) -> Result<Draft, TermsFlaw> {
        let principals = self.hosts.iter().map(|host| {
            Principal::of(&self.login, host).map(|principal| principal.as_str().to_owned())
        });
        let networks = self
            .networks
            .as_ref()
            .map(|networks| ("source-address".to_owned(), networks.to_string()));
        Ok(Draft {
            kind: Kind::User,
            subject: self.subject.clone(),
            serial,
            key_id: self.name(serial).to_string(),
            principals: principals.collect::<Result<_, _>>()?,
            valid_after: self.from.before(Duration::from_secs(u64::from(BACKDATED))),
            valid_before: self.until(),
            critical: networks.into_iter().collect(),
            extensions: BTreeMap::from([
                (breakglass::REASON.to_owned(), self.reason.clone()),
                ("permit-pty".to_owned(), String::new()),
            ]),
        })
    }

    /// What is signed, in words: what it is and its value, a line each. Times are left to whoever shows them.
    #[must_use]
    pub fn words(&self, moment: impl Fn(Timestamp) -> String) -> Vec<(&'static str, String)> {
        let list = |names: Vec<&str>| names.join(", ");
        let networks = self.networks.as_ref();
        let kind = if self.drill { "a DRILL: nothing is wrong" } else { "IN EARNEST" };
        vec![
            ("kind", kind.to_owned()),
            ("incident", self.incident.to_string()),
            ("reason", self.reason.clone()),
            ("hosts", list(self.hosts.iter().map(HostName::as_str).collect())),
            ("account", self.login.to_string()),
            ("from", moment(self.from)),
            ("until", moment(self.until())),
            ("for", format!("{} minutes {} seconds", self.secs / 60, self.secs % 60)),
            ("comes from", networks.map_or_else(|| "anywhere".to_owned(), ToString::to_string)),
            ("key", fingerprint(&self.subject).to_string()),
            ("signed by", list(self.custodians.iter().map(Custodian::as_str).collect())),
        ]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(u8::from(self.drill)).text(self.incident.as_str().as_bytes());
        to.text(self.reason.as_bytes()).count(self.hosts.len());
        for host in &self.hosts {
            to.text(host.as_str().as_bytes());
        }
        to.text(self.login.as_str().as_bytes()).u64(self.from.secs()).u32(self.secs);
        to.count(self.custodians.len());
        for custodian in &self.custodians {
            to.text(custodian.as_str().as_bytes());
        }
        to.text(self.networks.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes());
        to.text(&wire::key::to_bytes(&self.subject).unwrap_or_default());
        to.done()
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, TermsFlaw> {
        let drill = match from.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("neither a drill nor in earnest").into()),
        };
        let (incident, reason) = (from.name("the incident")?, from.text()?.to_owned());
        let hosts = (0..from.u8()?).map(|_| from.name("a host")).collect::<Result<_, _>>()?;
        let (login, at, secs) = (from.name("the login")?, from.u64()?, from.u32()?);
        let custodians =
            (0..from.u8()?).map(|_| from.name("a custodian")).collect::<Result<_, _>>()?;
        let networks = match from.text()? {
            "" => None,
            text => Some(Networks::from_option(text).map_err(|_odd| Malformed("the networks"))?),
        };
        let subject = wire::key::from_bytes(from.bytes()?)?;
        let terms = Self {
            drill,
            incident,
            reason,
            hosts,
            login,
            from: Timestamp::from_secs(at),
            secs,
            custodians,
            networks,
            subject,
        };
        terms.check()?;
        Ok(terms)
    }
}

/// The key of whoever logs in, from a line as in a `.pub` file.
///
/// # Errors
/// When it is none that can be certified.
pub fn subject(line: &str) -> Result<KeyData, KeyFlaw> {
    wire::key::from_openssh(line).map(|key: PublicKey| key.key_data().clone())
}

/// Most hosts of one certificate: what a person can read and mean.
pub const MAX_HOSTS: usize = 16;
/// How much earlier a certificate begins than is said, in seconds: clocks differ.
pub const BACKDATED: u32 = 60;
