//! Logins that no grant is for, and hands laid on the login path: seen, told, and ended where this host says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::octets::Octets;
use wire::record::{Event, Incident, Meddled, Outside};
use wire::time::Uptime;

use super::Host;
use crate::clock::Now;
use crate::config::OtherLogins;
use crate::kernel::Process;
use crate::kernel::kill::{end_below, end_login};
use crate::local::arrivals::Arrival;
use crate::local::logins::Login;
use crate::peer::Held;

/// What is known of logins beside sshd's gate.
#[derive(Debug)]
pub(super) struct Others {
    policy: OtherLogins,
    /// logind's names of those that were looked at, and whether they are to be gone.
    known: BTreeMap<String, bool>,
    /// Connections of daemons that ask nobody, and whether they are to be gone.
    arrived: BTreeMap<(u32, u64), bool>,
    /// What of the host's files is not in order, as it was read last.
    files: BTreeSet<String>,
    /// What is not in order, since when, and whether it was told: `curfew-agent install` passes through disorder.
    disorder: BTreeMap<String, (Uptime, bool)>,
}

impl Others {
    /// None seen yet; what becomes of them is this.
    pub(super) const fn of(policy: OtherLogins) -> Self {
        Self {
            policy,
            known: BTreeMap::new(),
            arrived: BTreeMap::new(),
            files: BTreeSet::new(),
            disorder: BTreeMap::new(),
        }
    }
}

impl Host {
    /// Records a login outside any grant as this host's policy has it.
    pub(super) fn say_outside(&mut self, outside: Outside, now: Now) {
        let by = outside.via.as_deref().unwrap_or_default();
        tracing::warn!(login = %outside.login.display(), remote = outside.remote, by, allowed = outside.allowed,
            ended = outside.ended, "a login that is not under our authority");
        let event = match self.others_seen.policy {
            OtherLogins::Allow | OtherLogins::Refuse => Event::Outside(outside),
            OtherLogins::Alarm | OtherLogins::End => {
                Event::Incident(Box::new(Incident::Outside(outside)))
            }
        };
        self.record(None, event, now);
    }

    /// Looks at the logins that logind knows: those whose first process has no tag did not come through our gate.
    pub(super) fn take_logins(&mut self, logins: &BTreeMap<String, Login>, now: Now) {
        self.others_seen.known.retain(|name, _| logins.contains_key(name));
        for (name, login) in logins {
            match self.others_seen.known.get(name) {
                Some(false) => {}
                Some(true) => self.end_login(login),
                None if is_probe(login) || self.is_tagged(login.leader) => {
                    self.others_seen.known.insert(name.clone(), false);
                }
                None => {
                    let ended = self.others_seen.policy == OtherLogins::End;
                    self.others_seen.known.insert(name.clone(), ended);
                    if ended {
                        self.end_login(login);
                    }
                    let outside = Outside {
                        login: Octets::new(login.user.as_str()),
                        remote: login.remote.clone(),
                        allowed: !ended,
                        via: Some(login.service.clone()),
                        ended,
                    };
                    self.say_outside(outside, now);
                }
            }
        }
    }

    /// Looks at those who are in by a daemon that asked neither PAM nor logind.
    pub(super) fn take_arrivals(&mut self, arrivals: &BTreeSet<Arrival>, now: Now) {
        let there = |name: &(u32, u64)| arrivals.iter().any(|it| it.connection == *name);
        self.others_seen.arrived.retain(|name, _| there(name));
        for arrival in arrivals {
            match self.others_seen.arrived.get(&arrival.connection) {
                Some(false) => {}
                Some(true) => self.end_arrival(arrival),
                None if self.is_tagged(arrival.pid) => {
                    self.others_seen.arrived.insert(arrival.connection, false);
                }
                None => self.say_arrival(arrival, now),
            }
        }
    }

    fn say_arrival(&mut self, arrival: &Arrival, now: Now) {
        let ended = self.others_seen.policy == OtherLogins::End;
        self.others_seen.arrived.insert(arrival.connection, ended);
        if ended {
            self.end_arrival(arrival);
        }
        let name = self.work.uids.iter().find(|(_, uid)| **uid == arrival.uid);
        let login = name.map_or_else(|| format!("uid {}", arrival.uid), |(name, _)| name.clone());
        let outside = Outside {
            login: Octets::new(login),
            remote: "an address that is not known".into(),
            allowed: !ended,
            via: Some(format!("{} without PAM", arrival.daemon)),
            ended,
        };
        self.say_outside(outside, now);
    }

    /// One pass; what is left is struck again at the next look.
    fn end_arrival(&mut self, arrival: &Arrival) {
        let (pid, start_ticks) = arrival.connection;
        let connection = Process::kept(pid, start_ticks);
        if let Err(error) = end_below(self.kernel.as_ref(), &connection) {
            tracing::error!(%error, uid = arrival.uid, "a login outside any grant could not be ended; it is tried again");
        }
    }

    /// Whether a process came through our gate, or is no more.
    fn is_tagged(&self, pid: u32) -> bool {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let Some(Ok(held)) = pid.map(Held::open) else { return true };
        match self.kernel.tag_of(std::os::fd::AsFd::as_fd(&held)) {
            Ok(tag) => tag.is_some(),
            Err(error) => {
                tracing::debug!(%error, "a login could not be looked at");
                true
            }
        }
    }

    /// One pass; what is left is struck again at the next look.
    fn end_login(&mut self, login: &Login) {
        if let Err(error) = end_login(self.kernel.as_ref(), login.leader) {
            tracing::error!(%error, user = login.user, "a login outside any grant could not be ended; it is tried again");
        }
    }

    /// Takes what of the host's files is not in order.
    pub(super) fn take_disorder(&mut self, found: BTreeSet<String>, now: Now) {
        self.others_seen.files = found;
        self.look_for_disorder(now);
    }

    /// Looks what is not in order: the host's files, what the kernel keeps for us, orders that cannot be read. What is in
    /// order again is told.
    pub fn look_for_disorder(&mut self, now: Now) {
        let mut found = self.others_seen.files.clone();
        found.extend(self.kernel.trouble());
        found.extend(self.unread());
        let known = std::mem::take(&mut self.others_seen.disorder);
        for what in &found {
            let since = known.get(what).copied().unwrap_or((now.up, false));
            self.others_seen.disorder.insert(what.clone(), since);
        }
        for (what, (_, told)) in known {
            if told && !found.contains(&what) {
                tracing::warn!(what, "this is in order again");
                self.record(None, Event::Meddled(Meddled { what, mended: true }), now);
            }
        }
        self.tell_disorder(now);
    }

    /// What was done by hand, at once: it cannot come into order again.
    pub(super) fn tell_meddled(&mut self, what: String, now: Now) {
        tracing::error!(what, "INCIDENT");
        let meddled = Meddled { what, mended: false };
        self.record(None, Event::Incident(Box::new(Incident::Meddled(meddled))), now);
    }

    /// What has not been in order for a while is an incident.
    fn tell_disorder(&mut self, now: Now) {
        let mut news = Vec::new();
        for (what, (since, told)) in &mut self.others_seen.disorder {
            if !*told && now.up.since(*since) >= PASSING {
                *told = true;
                news.push(what.clone());
            }
        }
        for what in news {
            self.tell_meddled(what, now);
        }
    }

    /// What is not in order, for the status.
    pub(super) fn disorder(&self) -> Option<String> {
        let (what, _) = self.others_seen.disorder.iter().find(|(_, (_, told))| *told)?;
        Some(format!("this host is not as it was installed: {what}"))
    }
}

/// The login by which `curfew-agent install` tries the login path, which comes from no address. Whoever else speaks to an
/// sshd of their own over a pipe is asked about at the gate.
fn is_probe(login: &Login) -> bool {
    login.service == "sshd" && login.remote == "UNKNOWN"
}

/// How long an installation may take to put everything in its place.
const PASSING: Duration = Duration::from_secs(5);
