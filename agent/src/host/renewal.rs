//! Looking after the host's SSH certificates: asking in time, keeping what comes, and seeing that sshd offers it.

use std::path::Path;
use std::sync::mpsc::TryRecvError;

use ssh_key::{PrivateKey, PublicKey};
use wire::hostlink::ToAuthority;
use wire::renewal::{Answer, Ask};
use wire::time::Uptime;

use super::Host;
use crate::clock::Now;
use crate::renewal::disk::Certificates;
use crate::renewal::{Renewal, disk, offer};
use crate::store::StoreError;

impl Host {
    /// Asks for the next certificates when they are due, and sees from time to time that sshd offers those there are.
    pub(super) fn look_after_certificates(&mut self, now: Now) {
        self.hear_of_sshd(now.up);
        self.ask_for_certificates(now);
    }

    /// The authority says that what the certificates say has changed.
    pub(super) fn urged_to_renew(&mut self, now: Now) {
        self.upkeep.renewal.urge();
        self.ask_for_certificates(now);
    }

    fn ask_for_certificates(&mut self, now: Now) {
        let challenge = self.link.as_ref().and_then(|link| link.challenge.clone());
        let Some(challenge) = challenge else { return };
        let keys = match disk::host_keys(Path::new(SSH_DIR)) {
            Ok(keys) => keys,
            Err(error) => return self.upkeep.renewal.failed(error.to_string(), now.up),
        };
        if !self.upkeep.renewal.is_due(&keys, now) {
            return;
        }
        let lines = keys.iter().map(|key| key.key.to_openssh()).collect::<Result<_, _>>();
        let signed = lines.map_err(|error| error.to_string()).and_then(|host_keys| {
            let host = self.trust.host.clone();
            let ask = Ask { version: wire::VERSION, host, challenge, host_keys };
            ask.sign(self.upkeep.agent_key.as_ref()).map_err(|error| error.to_string())
        });
        match signed {
            Ok(signed) => {
                tracing::info!(host_keys = keys.len(), "asking for the next host certificates");
                self.upkeep.renewal.asked(keys, now.up);
                self.outbox.push(ToAuthority::Renew(signed));
            }
            Err(error) => self.upkeep.renewal.failed(error, now.up),
        }
    }

    /// The authority's answer.
    pub(super) fn take_certificates(&mut self, answer: Answer, now: Now) {
        let lines = match answer {
            Answer::Certified(lines) => lines,
            Answer::Refused(problem) => {
                tracing::warn!(%problem, "the authority does not certify this host's keys");
                return self.upkeep.renewal.refused(&problem, now.up);
            }
        };
        let authorities: Vec<PublicKey> =
            self.trust.host_authorities.iter().filter_map(|text| text.parse().ok()).collect();
        let fitting = self.upkeep.renewal.fitting(&lines, (&self.trust.host, &authorities));
        let kept = fitting.and_then(|fitting| {
            self.upkeep.certificates.replace(&fitting).map_err(|error| error.to_string())
        });
        match kept {
            Ok(held) => {
                let until = held.iter().map(|held| held.window.until.secs()).min();
                tracing::info!(certificates = held.len(), until, "host certificates were renewed");
                self.upkeep.renewal.renewed(held);
                self.look_at_sshd(true, now.up);
            }
            Err(why) => {
                tracing::error!(%why, "new host certificates are not used");
                self.upkeep.renewal.failed(why, now.up);
            }
        }
    }

    fn look_at_sshd(&mut self, is_new: bool, up: Uptime) {
        let held = self.upkeep.renewal.held();
        let paths: Vec<_> =
            held.iter().map(|held| self.upkeep.certificates.path(&held.name)).collect();
        // What an earlier look finds counts no more; one that had to reload sshd has to be repeated.
        let is_new = is_new || self.upkeep.look.take().is_some_and(|look| look.is_new);
        let outcome = offer::begin(paths, is_new);
        self.upkeep.look = Some(Look { outcome, is_new });
        self.upkeep.next_look = Some(up.after(LOOK_AGAIN));
    }

    /// Takes what a look at sshd found, and begins the next when it is time.
    fn hear_of_sshd(&mut self, up: Uptime) {
        if let Some(look) = &self.upkeep.look {
            let found = match look.outcome.try_recv() {
                Err(TryRecvError::Empty) => return,
                Ok(found) => found,
                Err(TryRecvError::Disconnected) => Err("the look at sshd was broken off".into()),
            };
            if let Err(why) = &found {
                if !self.upkeep.renewal.is_hidden() {
                    tracing::error!(%why, "sshd does not offer this host's certificates: ssh will refuse the host");
                }
                self.upkeep.next_look = Some(up.after(LOOK_SOON));
            }
            self.upkeep.renewal.offered(found);
            self.upkeep.look = None;
        }
        let is_time = self.upkeep.next_look.is_none_or(|next| next <= up);
        if is_time && !self.upkeep.renewal.held().is_empty() {
            // One that could not be told is told again.
            self.look_at_sshd(self.upkeep.renewal.is_hidden(), up);
        }
    }
}

/// What it takes to look after certificates.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) renewal: Renewal,
    certificates: Certificates,
    agent_key: Option<PrivateKey>,
    look: Option<Look>,
    next_look: Option<Uptime>,
}

impl Upkeep {
    /// The agent's own key; none on a host that enrolled before agents had one.
    pub(super) const fn agent_key(&self) -> Option<&PrivateKey> {
        self.agent_key.as_ref()
    }

    /// Reads what lies in the agent's state folder.
    pub(super) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let certificates = Certificates::in_state(state_dir);
        let renewal = Renewal::of(certificates.read()?);
        let agent_key = disk::agent_key(state_dir)?;
        Ok(Self { renewal, certificates, agent_key, look: None, next_look: None })
    }
}

/// A look at sshd that is under way.
#[derive(Debug)]
struct Look {
    outcome: std::sync::mpsc::Receiver<Result<(), String>>,
    is_new: bool,
}

const SSH_DIR: &str = "/etc/ssh";
/// sshd's configuration may change under us; looking costs two short processes.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(600);
const LOOK_SOON: std::time::Duration = std::time::Duration::from_secs(30);
