//! How the authority goes over from one key to the next, one purpose at a time: pure.
//!
//! Steady: one key signs. **Announced**: the next key is there, hosts are to believe it, and nothing is signed with it.
//! **Signing**: the next key signs, and the one before it is still believed. Then the former key is retired, and all is
//! steady again. Each phase is a set of keys that every host confirms; the next phase waits for all of them. Until a key is
//! retired, the way back is open.
//!
//! No login is refused on the way: a key signs only when every host believes it, and stops being believed only when
//! nothing that it signed is valid any more. Whoever lets a host be left behind, or a key end early, says so, and it is
//! recorded. A compromised key is the exception: it goes at once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wire::identifier::{Fingerprint, HostName};
use wire::time::Timestamp;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// It signs.
    Signing,
    /// Hosts are to believe it; it has not signed yet, or not for good.
    Next,
    /// It signed before; what it signed is still believed.
    Previous,
    /// It is believed by nobody, and its time was over.
    Retired,
    /// It is believed by nobody, because somebody else may have it.
    Compromised,
}

/// One key of a purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Its number among the keys of its purpose, from 1.
    pub(crate) number: u32,
    /// Its fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// The public key as hosts are told it.
    pub(crate) public_key: String,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// The keys of one purpose, lowest number first: one signs, and at most one other is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys(Vec<Key>);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Make this key known to hosts.
    Announce(Fresh),
    /// Let the announced key sign.
    Switch,
    /// One phase back.
    Revert,
    /// Stop believing the key that signed before.
    Retire,
    /// Stop believing this key at once; where nothing else can sign, this fresh one does.
    Compromise(Fingerprint, Option<Fresh>),
}

/// A key that was just made, or found where a step that was cut short had left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// Its number.
    pub(crate) number: u32,
    /// Its fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// The public key as hosts are told it.
    pub(crate) public_key: String,
}

/// What a step rests on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Every enrolled host, and whether it has the keys of now in force.
    pub(crate) hosts: Vec<(HostName, Confirmation)>,
    /// The end of the last certificate that the key signed which a step would drop, for each key that has any.
    pub(crate) ends: Vec<(Fingerprint, Timestamp)>,
}

/// Whether a host believes the keys of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Confirmation {
    /// It says that it does.
    Confirmed,
    /// It says that it believes others.
    Behind,
    /// Its agent is too old to be told.
    TooOld,
}

/// What whoever asks takes upon themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    /// Hosts that are not waited for.
    pub(crate) without: BTreeSet<HostName>,
    /// The key goes although certificates that it signed are still valid.
    pub(crate) early: bool,
}

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Hosts have not confirmed.
    #[error(
        "{} not confirmed the keys of now: {}; wait for them, remove those that are gone for good with \
         `curfew-ca host remove`, or leave them behind with --without",
        if .0.len() == 1 { "1 host has".to_owned() } else { format!("{} hosts have", .0.len()) },
        named(.0)
    )]
    Unconfirmed(Vec<(HostName, Confirmation)>),
    /// Certificates are still valid that the key signed.
    #[error(
        "certificates that this key signed are valid until {}; wait until then, or end them with --before-certificates-end",
        jiff_text(*.0)
    )]
    Outstanding(Timestamp),
    /// A rotation is under way already.
    #[error("this key is being rotated already: a key is {0}; finish that or go back first")]
    UnderWay(&'static str),
    /// No key waits to sign.
    #[error("no key is announced; begin with `curfew-ca keys rotate`")]
    NothingAnnounced,
    /// There is no way back.
    #[error("no rotation is under way; there is nothing to go back to")]
    NothingToRevert,
    /// No former key is believed.
    #[error("no former key is believed; there is nothing to retire")]
    NothingToRetire,
    /// The announced key is not the one that signs.
    #[error("the next key does not sign yet; let it sign first with `curfew-ca keys rotate`")]
    NotSigning,
    /// No such key.
    #[error("there is no such key: {0}; `curfew-ca keys list --all` names them")]
    NoKey(Fingerprint),
    /// A host that is not there is left behind.
    #[error("there is no host {0}")]
    NoHost(HostName),
    /// It stands already.
    #[error("key {0} was given up as compromised already")]
    Already(Fingerprint),
    /// Another key has the number or the fingerprint.
    #[error("key number {0} is taken")]
    Taken(u32),
}

impl Keys {
    /// As an authority begins, or is taken over from a version that knew one key.
    pub(crate) fn begin(first: Fresh, now: Timestamp) -> Self {
        Self(vec![first.at(Stage::Signing, now)])
    }

    /// Reads what was kept; nothing unless exactly one key signs.
    pub(crate) fn kept(mut keys: Vec<Key>) -> Option<Self> {
        keys.sort_by_key(|key| key.number);
        let signing = keys.iter().filter(|key| key.stage == Stage::Signing).count();
        (signing == 1).then_some(Self(keys))
    }

    /// All of them, lowest number first.
    pub(crate) fn all(&self) -> &[Key] {
        &self.0
    }

    /// Those that hosts are to believe, the one that signs first.
    pub(crate) fn believed(&self) -> impl Iterator<Item = &Key> {
        let others = [Stage::Next, Stage::Previous].into_iter().filter_map(|stage| self.at(stage));
        self.at(Stage::Signing).into_iter().chain(others)
    }

    /// The key at this stage; of those that are over there may be several.
    pub(crate) fn at(&self, stage: Stage) -> Option<&Key> {
        self.0.iter().find(|key| key.stage == stage)
    }

    /// The number of the next key.
    pub(crate) fn next_number(&self) -> u32 {
        self.0.iter().map(|key| key.number).max().unwrap_or(0).saturating_add(1)
    }

    /// Where these keys are in a rotation, in one word.
    pub(crate) fn phase(&self) -> &'static str {
        if self.at(Stage::Next).is_some() {
            "announced"
        } else if self.at(Stage::Previous).is_some() {
            "signing"
        } else {
            "steady"
        }
    }

    /// The keys after the step, or why it is not taken.
    pub(crate) fn step(
        &self,
        input: Input,
        (facts, exceptions): (&Facts, &Exceptions),
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let known = |host: &&HostName| facts.hosts.iter().any(|(name, _)| name == *host);
        if let Some(host) = exceptions.without.iter().find(|host| !known(host)) {
            return Err(Refusal::NoHost(host.clone()));
        }
        match input {
            Input::Switch => self.expect_next()?,
            Input::Retire if self.at(Stage::Previous).is_none() => {
                return Err(self.nothing_to_retire());
            }
            _ => {}
        }
        match input {
            Input::Switch | Input::Retire => confirmed(facts, exceptions)?,
            _ => tellable(facts, exceptions)?,
        }
        let mut keys = self.clone();
        match input {
            Input::Announce(fresh) => keys.announce(fresh, now)?,
            Input::Switch => {
                keys.turn((Stage::Signing, Stage::Previous), now);
                keys.turn((Stage::Next, Stage::Signing), now);
            }
            Input::Revert => keys.revert((facts, exceptions), now)?,
            Input::Retire => {
                let previous = self.at(Stage::Previous).ok_or(Refusal::NothingToRetire)?;
                over(previous, (facts, exceptions), now)?;
                keys.turn((Stage::Previous, Stage::Retired), now);
            }
            Input::Compromise(key, fresh) => keys.give_up(&key, fresh, now)?,
        }
        Ok(keys)
    }

    /// Whether giving up this key takes a fresh one: it signs, and no other is believed.
    pub(crate) fn needs_fresh(&self, key: &Fingerprint) -> bool {
        self.at(Stage::Signing).is_some_and(|signing| signing.fingerprint == *key)
            && self.believed().count() == 1
    }

    fn announce(&mut self, fresh: Fresh, now: Timestamp) -> Result<(), Refusal> {
        if self.believed().count() > 1 {
            return Err(Refusal::UnderWay(self.phase()));
        }
        self.add(fresh.at(Stage::Next, now))
    }

    fn add(&mut self, key: Key) -> Result<(), Refusal> {
        let same = |other: &Key| other.number == key.number || other.fingerprint == key.fingerprint;
        if self.0.iter().any(same) {
            return Err(Refusal::Taken(key.number));
        }
        self.0.push(key);
        Ok(())
    }

    /// A key that signed and is announced once more may still have certificates: dropping it waits like retiring it.
    fn revert(&mut self, on: (&Facts, &Exceptions), now: Timestamp) -> Result<(), Refusal> {
        if self.at(Stage::Previous).is_some() {
            self.turn((Stage::Signing, Stage::Next), now);
            self.turn((Stage::Previous, Stage::Signing), now);
            return Ok(());
        }
        let next = self.at(Stage::Next).ok_or(Refusal::NothingToRevert)?;
        over(next, on, now)?;
        self.turn((Stage::Next, Stage::Retired), now);
        Ok(())
    }

    fn give_up(
        &mut self,
        key: &Fingerprint,
        fresh: Option<Fresh>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let found = self.0.iter().position(|known| known.fingerprint == *key);
        let found = found.and_then(|index| self.0.get_mut(index));
        let Some(found) = found else { return Err(Refusal::NoKey(key.clone())) };
        if found.stage == Stage::Compromised {
            return Err(Refusal::Already(key.clone()));
        }
        let signed = found.stage == Stage::Signing;
        (found.stage, found.since) = (Stage::Compromised, now);
        if !signed {
            return Ok(());
        }
        for stage in [Stage::Next, Stage::Previous] {
            if self.at(stage).is_some() {
                self.turn((stage, Stage::Signing), now);
                return Ok(());
            }
        }
        let fresh = fresh.ok_or(Refusal::NothingAnnounced)?;
        self.add(fresh.at(Stage::Signing, now))
    }

    fn turn(&mut self, (from, to): (Stage, Stage), now: Timestamp) {
        if let Some(key) = self.0.iter_mut().find(|key| key.stage == from) {
            (key.stage, key.since) = (to, now);
        }
    }

    fn expect_next(&self) -> Result<(), Refusal> {
        match (self.at(Stage::Next), self.at(Stage::Previous)) {
            (Some(_), _) => Ok(()),
            (None, Some(_)) => Err(Refusal::UnderWay(self.phase())),
            (None, None) => Err(Refusal::NothingAnnounced),
        }
    }

    fn nothing_to_retire(&self) -> Refusal {
        if self.at(Stage::Next).is_some() { Refusal::NotSigning } else { Refusal::NothingToRetire }
    }
}

impl Fresh {
    fn at(self, stage: Stage, since: Timestamp) -> Key {
        let Self { number, fingerprint, public_key } = self;
        Key { number, fingerprint, public_key, stage, since }
    }
}

/// An agent that is too old to be told takes no order after one about keys, locks included: whoever leaves such a host
/// behind says so at every step.
fn tellable(facts: &Facts, exceptions: &Exceptions) -> Result<(), Refusal> {
    let too_old = |said: &Confirmation| *said == Confirmation::TooOld;
    missing(facts, exceptions, too_old)
}

fn confirmed(facts: &Facts, exceptions: &Exceptions) -> Result<(), Refusal> {
    missing(facts, exceptions, |said| *said != Confirmation::Confirmed)
}

fn missing(
    facts: &Facts,
    exceptions: &Exceptions,
    is_wanting: impl Fn(&Confirmation) -> bool,
) -> Result<(), Refusal> {
    let is_missing = |(host, said): &&(HostName, Confirmation)| {
        is_wanting(said) && !exceptions.without.contains(host)
    };
    let missing: Vec<_> = facts.hosts.iter().filter(is_missing).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(Refusal::Unconfirmed(missing)) }
}

/// Nothing that the key signed is valid any more, also by a clock that is behind ours.
fn over(
    key: &Key,
    (facts, exceptions): (&Facts, &Exceptions),
    now: Timestamp,
) -> Result<(), Refusal> {
    let end = facts.ends.iter().find(|(known, _)| *known == key.fingerprint);
    let end = end.map(|(_, end)| end.after(crate::revocation::SKEW));
    match end.filter(|end| *end >= now && !exceptions.early) {
        Some(end) => Err(Refusal::Outstanding(end)),
        None => Ok(()),
    }
}

/// A few names, and how many more.
fn named(hosts: &[(HostName, Confirmation)]) -> String {
    let mut names: Vec<String> = hosts
        .iter()
        .take(MAX_NAMED)
        .map(|(host, said)| match said {
            Confirmation::TooOld => format!("{host} (its agent is too old to be told)"),
            _ => host.to_string(),
        })
        .collect();
    if let Some(more) = hosts.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn jiff_text(at: Timestamp) -> String {
    crate::command::shown(at)
}

/// Most hosts that a message names; `keys list --json` names all.
const MAX_NAMED: usize = 20;

#[cfg(test)]
mod tests;
