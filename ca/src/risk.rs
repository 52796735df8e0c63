//! Risk in the authority: the weights in force, those that are only tried, and how a case comes about.
//!
//! Who can change this: root on the authority's machine. Gains: whatever policy grants to a low risk. A change is an entry in the
//! ledger, with the whole text.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use risk::{Case, DEFAULT, Marks, Otherwise, Past, Score, Use, Weights, WeightsFault, Who};
use serde::{Deserialize, Serialize};
use wire::identifier::{Fingerprint, Identity, Login};
use wire::identity::Kind;
use wire::options::Ability;
use wire::request::{Lower, RiskView};
use wire::sshsig::SealFlaw;
use wire::time::Timestamp;

use crate::access::Host;
use crate::access::backing::Requester;
use crate::role::Role;

/// The weights in force, and those that are only tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Risk {
    weights: Arc<Weights>,
    trial: Option<Arc<Weights>>,
    seals: Seals,
    /// Whether the weights in force come from a file; otherwise they came with the program.
    is_file: bool,
}

/// The armoured signatures that lie beside the files, whoever made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seals {
    /// Over the weights in force.
    pub(crate) weights: Option<Arc<str>>,
    /// Over those that are only tried.
    pub(crate) trial: Option<Arc<str>>,
}

/// Who signed weights, with what, so that it can be verified from the entry alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct WeightsSigned {
    /// Who.
    pub(crate) by: Identity,
    /// With which enrolled key.
    pub(crate) key: Fingerprint,
    /// The same in OpenSSH form.
    pub(crate) public_key: String,
    /// The armoured signature.
    pub(crate) signature: String,
}

/// Weights with who signed them, checked. Only [`crate::authority::Authority::vouch_for`] makes one.
#[derive(Debug, Clone)]
pub(crate) struct Vouched {
    /// The weights.
    pub(crate) risk: Risk,
    /// Who signed those in force.
    pub(crate) weights: Option<WeightsSigned>,
    /// Who signed those that are only tried.
    pub(crate) trial: Option<WeightsSigned>,
}

/// A case with its scores, as entries keep it. Only [`Risk::reckon`] makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reckoned {
    case: Case,
    /// The score that counts.
    in_force: Score,
    /// What the other weights say, where there are two files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<Score>,
}

/// Why there are no weights.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RiskError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is wrong.
    #[error("{path}:{fault}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Where, and what.
        fault: WeightsFault,
    },
    /// What lies beside the file is no signature.
    #[error("{path}: {flaw}")]
    Seal {
        /// Which.
        path: PathBuf,
        /// Why not.
        flaw: SealFlaw,
    },
    /// Weights that were only to be tried are in force for everybody.
    #[error("{0}: `pilot` is for weights that are only tried, in the file of `risk_trial_file`")]
    Pilot(PathBuf),
}

/// What the ledger knows that bears on a risk, as of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// Their sessions.
    pub(crate) own: Vec<Use>,
    /// Those of others of their teams.
    pub(crate) team: Vec<Use>,
    /// What is only counted.
    pub(crate) marks: Marks,
    /// For how many seconds they have been known.
    pub(crate) known_secs: Option<u64>,
    /// Whether the key of their login lies in a security key; absent, when they logged in without a key.
    pub(crate) hardware_key: Option<bool>,
}

/// What is asked for, as far as it bears on a risk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// By whom.
    pub(crate) identity: &'a Identity,
    /// As they stand now.
    pub(crate) who: &'a Requester,
    /// Where.
    pub(crate) hosts: &'a [Host],
    /// As whom.
    pub(crate) logins: &'a BTreeSet<Login>,
    /// Under which role.
    pub(crate) role: &'a Role,
    /// For how long.
    pub(crate) seconds: u64,
    /// When it is to begin.
    pub(crate) begins: Timestamp,
    /// From where it is asked.
    pub(crate) from: Option<IpAddr>,
    /// When they last showed a second factor.
    pub(crate) mfa_at: Option<Timestamp>,
    /// Whether they are on call.
    pub(crate) on_call: bool,
}

impl Risk {
    /// Reads the files; where there is none of the first, the weights that come with this program are in force.
    pub(crate) fn read(file: &Path, trial: &Path) -> Result<Self, RiskError> {
        let found = text(file)?;
        let is_file = found.is_some();
        let weights = match &found {
            Some(text) => parse(file, text)?,
            None => parse(Path::new("risk.toml"), DEFAULT)?,
        };
        if weights.has_pilot() {
            return Err(RiskError::Pilot(file.into()));
        }
        let tried = text(trial)?.map(|text| parse(trial, &text)).transpose()?;
        let seals = Seals {
            weights: if is_file { seal(file)? } else { None },
            trial: if tried.is_some() { seal(trial)? } else { None },
        };
        Ok(Self { weights: Arc::new(weights), trial: tried.map(Arc::new), seals, is_file })
    }

    /// The signatures beside the files.
    pub(crate) const fn seals(&self) -> &Seals {
        &self.seals
    }

    /// Whether the weights in force come from a file.
    pub(crate) const fn is_file(&self) -> bool {
        self.is_file
    }

    /// The weights in force.
    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Those that are only tried.
    pub(crate) fn trial(&self) -> Option<&Weights> {
        self.trial.as_deref()
    }

    /// The score of an access, by both. For teams that the weights on trial name as pilots, these count.
    pub(crate) fn reckon(
        &self,
        access: &Access<'_>,
        gathered: &Gathered,
        now: Timestamp,
    ) -> Reckoned {
        let teams = access.who.teams.iter().map(ToString::to_string).collect();
        let trial = self.trial.as_deref();
        let is_piloted = trial.is_some_and(|trial| trial.is_piloted(&teams));
        let (first, second) = match trial {
            Some(trial) if is_piloted => (trial, Some(self.weights())),
            other => (self.weights(), other),
        };
        let case = case(access, gathered, (first, teams, now));
        let in_force = risk::score(&case, first);
        let other = second.map(|weights| risk::score(&case, weights));
        Reckoned { case, in_force, other }
    }

    /// Whether the weights that a score was made by are here.
    pub(crate) fn has(&self, reckoned: &Reckoned) -> bool {
        let all = [Some(self.weights()), self.trial()];
        all.into_iter().flatten().any(|one| one.hash() == reckoned.in_force.weights)
    }

    /// What would make a score lower, if the weights that it was made by are still here.
    pub(crate) fn otherwise(&self, reckoned: &Reckoned) -> Vec<Otherwise> {
        let all = [Some(self.weights()), self.trial()];
        let by = all.into_iter().flatten().find(|one| one.hash() == reckoned.in_force.weights);
        by.map(|weights| risk::otherwise(&reckoned.case, weights)).unwrap_or_default()
    }

    /// What people are shown of it.
    pub(crate) fn view(&self, reckoned: &Reckoned) -> RiskView {
        let score = reckoned.score();
        let mut parts: Vec<&risk::Part> = reckoned.in_force.parts.iter().collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.milli));
        let points = |milli: u32| milli.saturating_add(500) / 1_000;
        let told = parts.iter().filter(|part| points(part.milli) > 0).take(TOLD);
        let lower = self.otherwise(reckoned).into_iter().take(TOLD);
        RiskView {
            score,
            reasons: told.map(|part| format!("+{} {}", points(part.milli), part.says)).collect(),
            lower: lower
                .map(|one| Lower { by: score.saturating_sub(one.score), how: one.says })
                .collect(),
            missing: reckoned.in_force.missing.clone(),
        }
    }
}

impl Reckoned {
    /// The score that counts, from 0 to 100.
    pub(crate) const fn score(&self) -> u8 {
        self.in_force.score
    }

    /// What it rests on.
    pub(crate) const fn case(&self) -> &Case {
        &self.case
    }

    /// The score with all that it is made of.
    pub(crate) const fn in_force(&self) -> &Score {
        &self.in_force
    }

    /// What the other weights say.
    pub(crate) const fn other(&self) -> Option<&Score> {
        self.other.as_ref()
    }
}

/// That weights should have been looked at again by now, and how.
pub(crate) fn overdue(weights: &Weights, now: Timestamp) -> Option<String> {
    let by = weights.review_by().filter(|by| *by <= now.secs())?;
    let day = i64::try_from(by).ok().and_then(|by| jiff::Timestamp::from_second(by).ok())?;
    let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
    let name = wire::octets::plain(weights.name());
    Some(format!(
        "the weights {name:?}, and the scores from which policy asks for more, were to be looked at again by {day}: hold them against \
         what was found (`curfew-ca risk verdicts`, `curfew-ca policy backtest`), then give them another `review_by`"
    ))
}

fn case(
    access: &Access<'_>,
    gathered: &Gathered,
    (weights, teams, now): (&Weights, BTreeSet<String>, Timestamp),
) -> Case {
    let hosts: BTreeSet<String> = access.hosts.iter().map(|host| host.name.to_string()).collect();
    let logins = access.logins.iter().map(ToString::to_string).collect();
    let source = access.from.map(network);
    let hour = risk::hour_of_week(access.begins.secs());
    let learn_until = weights.learn_until();
    let asked = risk::Asked {
        at: now.secs(),
        hosts: &hosts,
        logins: &logins,
        hour,
        source: source.as_deref(),
        learn_until,
    };
    let past: Past = risk::past(&gathered.own, &gathered.team, &gathered.marks, &asked);
    let forwards = |ability: &Ability| {
        matches!(
            ability,
            Ability::PortForwarding | Ability::AgentForwarding | Ability::X11Forwarding
        )
    };
    Case {
        at: now.secs(),
        who: Who {
            name: access.identity.to_string(),
            program: access.who.kind == Kind::Workload,
            teams,
            known_secs: gathered.known_secs,
        },
        hosts: access.hosts.iter().map(|host| (host.name.to_string(), tier(host))).collect(),
        logins,
        forwarding: access.role.abilities.iter().any(forwards),
        seconds: access.seconds,
        role_seconds: access.role.default_secs,
        hour,
        source,
        mfa_age: access.mfa_at.map(|at| now.since(at).as_secs()),
        hardware_key: gathered.hardware_key,
        on_call: access.on_call,
        past,
    }
}

/// The network of an address, as wide as people move about in: 256 addresses, or what one site has of IPv6.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("{}/24", Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => {
            format!("{}/48", Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 48_u32)))
        }
    }
}

/// A host's tier, where it has one and it is plain.
fn tier(host: &Host) -> Option<u8> {
    let mut tiers = host.labels.iter().filter_map(|label| label.as_str().strip_prefix("tier="));
    match (tiers.next(), tiers.next()) {
        (Some(tier), None) => tier.parse().ok(),
        _ => None,
    }
}

fn text(path: &Path) -> Result<Option<String>, RiskError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RiskError::Read { path: path.into(), source }),
    }
}

/// The signature beside a file, if there is one.
fn seal(file: &Path) -> Result<Option<Arc<str>>, RiskError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    let path = PathBuf::from(name);
    let Some(text) = text(&path)? else { return Ok(None) };
    match wire::sshsig::parse(&text) {
        Ok(_) => Ok(Some(text.into())),
        Err(flaw) => Err(RiskError::Seal { path, flaw }),
    }
}

fn parse(path: &Path, text: &str) -> Result<Weights, RiskError> {
    Weights::parse(text).map_err(|fault| RiskError::Wrong { path: path.into(), fault })
}

/// Most reasons that people are shown.
const TOLD: usize = 5;
