//! Who must approve, and whether those who did are enough: quorums of seats, filled by distinct people.
//!
//! One person fills one seat, whoever they are and whatever teams they are in: that all seats can be filled by different people
//! is decided by matching (augmenting paths), not by taking people as they come. Who asks fills no seat, operators included,
//! and who is disabled fills none. A quorum that nobody defined is not met.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::identifier::{Identity, QuorumName, RoleName, RotaName, TeamName};
use wire::time::Timestamp;

mod form;
#[cfg(test)]
mod tests;

pub(crate) use form::{QuorumForm, RotaForm, checked};

/// Every quorum and rota that the rules define.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quorums {
    /// The quorums.
    pub(crate) quorums: BTreeMap<QuorumName, Quorum>,
    /// Who is on call, and when.
    pub(crate) rotas: BTreeMap<RotaName, Vec<Shift>>,
}

/// Seats that must all be filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quorum {
    /// The seats; never none.
    pub(crate) seats: Vec<Seat>,
    /// Who is on call there when it is counted needs nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) automatic: Option<RotaName>,
    /// Who may fill seats besides, after a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wider: Option<Wider>,
    /// How few may do, after a while, when it cannot wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shrink: Option<Shrink>,
}

/// Fewer seats, for requests that are urgent, under the roles that are named, after a while in which nobody filled the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shrink {
    /// How long after it was asked, in seconds.
    pub(crate) after_secs: u64,
    /// The seats that are left; never none.
    pub(crate) seats: Vec<Seat>,
    /// The roles for which it is so.
    pub(crate) roles: BTreeSet<RoleName>,
}

/// A second circle: it fills seats as well, and there are as many seats as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wider {
    /// How long after it was asked, in seconds.
    pub(crate) after_secs: u64,
    /// Who.
    pub(crate) to: Vec<Seat>,
}

/// Who can fill a seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Seat {
    /// Somebody of a team that owns the host, by its labels `owner=TEAM`.
    Owner,
    /// Somebody of this team.
    Team(TeamName),
    /// Who is on call there.
    OnCall(RotaName),
    /// One of these people.
    People(BTreeSet<Identity>),
}

/// A time on call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shift {
    /// Who.
    pub(crate) who: Identity,
    /// From when.
    pub(crate) from: Timestamp,
    /// Until when.
    pub(crate) until: Timestamp,
}

/// Somebody who approved, or could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Who.
    pub(crate) identity: Identity,
    /// Whether they may approve at all: a person, not disabled, not locked.
    pub(crate) is_active: bool,
    /// Their teams.
    pub(crate) teams: BTreeSet<TeamName>,
}

/// What is counted for: one host of one request, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    /// Who asks.
    pub(crate) requester: &'a Identity,
    /// For which role.
    pub(crate) role: &'a RoleName,
    /// Whether it cannot wait.
    pub(crate) urgent: bool,
    /// The teams that own the host.
    pub(crate) owners: &'a BTreeSet<TeamName>,
    /// When it was asked.
    pub(crate) asked: Timestamp,
    /// When it is counted.
    pub(crate) now: Timestamp,
}

/// What a count came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Count {
    /// Every seat has a person of its own, in order of the seats.
    Met(Vec<Identity>),
    /// Who asks is on call, and the quorum says that this is enough.
    Automatic(RotaName),
    /// Not every seat has, and by now the few that have are enough: these people.
    Shrunk(Vec<Identity>),
    /// These seats are free, by their place.
    Open(Vec<usize>),
    /// There is no such quorum.
    Unknown,
}

impl Quorums {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.quorums.is_empty() && self.rotas.is_empty()
    }

    /// Counts the people for a quorum. Neither their order nor that somebody stands there twice makes a difference.
    pub(crate) fn count(&self, name: &QuorumName, people: &[Candidate], case: &Case<'_>) -> Count {
        let Some(quorum) = self.quorums.get(name).filter(|quorum| !quorum.seats.is_empty()) else {
            return Count::Unknown;
        };
        if let Some(rota) = &quorum.automatic
            && self.is_on_call(rota, case.requester, case.now)
        {
            return Count::Automatic(rota.clone());
        }
        let distinct: BTreeMap<&Identity, &Candidate> = people
            .iter()
            .filter(|person| may_count(person, case))
            .map(|person| (&person.identity, person))
            .collect();
        let distinct: Vec<&Candidate> = distinct.into_values().collect();
        let fits = |seat: &Seat, person: &Candidate| self.fits(quorum, seat, person, case);
        let open = match seated(&quorum.seats, &distinct, fits) {
            Ok(by) => return Count::Met(by),
            Err(open) => open,
        };
        let few = quorum.shrink.as_ref().filter(|shrink| shrink.holds(case));
        let is_one = |seat: &Seat, person: &Candidate| self.is_one_of(seat, person, case);
        match few.map(|shrink| seated(&shrink.seats, &distinct, is_one)) {
            Some(Ok(by)) => Count::Shrunk(by),
            Some(Err(_)) | None => Count::Open(open),
        }
    }

    /// Whether a person could fill any of these seats of a quorum.
    pub(crate) fn could_fill(
        &self,
        (name, seats): (&QuorumName, &[usize]),
        person: &Candidate,
        case: &Case<'_>,
    ) -> bool {
        let Some(quorum) = self.quorums.get(name) else { return false };
        let mut seats = seats.iter().filter_map(|seat| quorum.seats.get(*seat));
        may_count(person, case) && seats.any(|seat| self.fits(quorum, seat, person, case))
    }

    /// The same for any seat at all: whether the person has a say.
    pub(crate) fn has_a_say(&self, name: &QuorumName, person: &Candidate, case: &Case<'_>) -> bool {
        let Some(quorum) = self.quorums.get(name) else { return false };
        let all: Vec<usize> = (0..quorum.seats.len()).collect();
        let mut few = quorum.shrink.iter().filter(|shrink| shrink.holds(case));
        let is_of_few =
            few.any(|shrink| shrink.seats.iter().any(|seat| self.is_one_of(seat, person, case)));
        self.could_fill((name, &all), person, case) || (may_count(person, case) && is_of_few)
    }

    /// What a seat is, in words.
    pub(crate) fn words(&self, name: &QuorumName, seat: usize, case: &Case<'_>) -> String {
        let Some(quorum) = self.quorums.get(name) else { return String::new() };
        let Some(seat) = quorum.seats.get(seat) else { return String::new() };
        let mut words = seat.to_string();
        if let Some(wider) = quorum.wider.as_ref().filter(|wider| wider.holds(case)) {
            for also in &wider.to {
                words.push_str(&format!(", or {also}"));
            }
        }
        words
    }

    /// When a second circle comes in, of those that have not yet.
    pub(crate) fn next_circle(&self, name: &QuorumName, case: &Case<'_>) -> Option<Timestamp> {
        let wider = self.quorums.get(name)?.wider.as_ref()?;
        Some(wider.since(case.asked)).filter(|at| case.now < *at)
    }

    /// When fewer seats do, if that is still ahead.
    pub(crate) fn shrinks(&self, name: &QuorumName, case: &Case<'_>) -> Option<Timestamp> {
        let shrink = self.quorums.get(name)?.shrink.as_ref()?;
        let at = shrink.since(case.asked);
        Some(at).filter(|at| case.now < *at && shrink.is_for(case))
    }

    /// Whether any quorum can do with fewer seats.
    pub(crate) fn can_shrink(&self) -> bool {
        self.quorums.values().any(|quorum| quorum.shrink.is_some())
    }

    fn fits(&self, quorum: &Quorum, seat: &Seat, person: &Candidate, case: &Case<'_>) -> bool {
        let wider = quorum.wider.iter().filter(|wider| wider.holds(case));
        std::iter::once(seat)
            .chain(wider.flat_map(|wider| &wider.to))
            .any(|seat| self.is_one_of(seat, person, case))
    }

    fn is_one_of(&self, seat: &Seat, person: &Candidate, case: &Case<'_>) -> bool {
        match seat {
            Seat::Owner => !case.owners.is_disjoint(&person.teams),
            Seat::Team(team) => person.teams.contains(team),
            Seat::OnCall(rota) => self.is_on_call(rota, &person.identity, case.now),
            Seat::People(names) => names.contains(&person.identity),
        }
    }

    fn is_on_call(&self, rota: &RotaName, who: &Identity, now: Timestamp) -> bool {
        let mut shifts = self.rotas.get(rota).into_iter().flatten();
        shifts.any(|shift| shift.who == *who && shift.from <= now && now < shift.until)
    }
}

/// Nobody counts for themselves, and nobody who has no access counts at all.
fn may_count(person: &Candidate, case: &Case<'_>) -> bool {
    person.is_active && person.identity != *case.requester
}

/// The people of all seats, in order of the seats; or the seats that are free, by their place.
fn seated(
    seats: &[Seat],
    people: &[&Candidate],
    fits: impl Fn(&Seat, &Candidate) -> bool,
) -> Result<Vec<Identity>, Vec<usize>> {
    let fits: Vec<Vec<bool>> =
        seats.iter().map(|seat| people.iter().map(|person| fits(seat, person)).collect()).collect();
    let filled = matched(&fits, people.len());
    let open: Vec<usize> = (0..fits.len()).filter(|seat| !filled.contains(&Some(*seat))).collect();
    if !open.is_empty() {
        return Err(open);
    }
    let mut by: Vec<(usize, Identity)> = filled
        .iter()
        .zip(people)
        .filter_map(|(seat, person)| Some(((*seat)?, person.identity.clone())))
        .collect();
    by.sort();
    Ok(by.into_iter().map(|(_, identity)| identity).collect())
}

/// The most seats that can be filled at once, each by another person: the seat of each person. `fits` has a row for each seat.
fn matched(fits: &[Vec<bool>], people: usize) -> Vec<Option<usize>> {
    let mut filled = vec![None; people];
    for seat in 0..fits.len() {
        let mut seen = vec![false; people];
        // Whether it can be filled now or not, the seats before stay filled.
        let _is_filled = augment(fits, seat, &mut seen, &mut filled);
    }
    filled
}

/// Finds somebody for the seat; whoever sits elsewhere may go there if their seat finds somebody else.
fn augment(
    fits: &[Vec<bool>],
    seat: usize,
    seen: &mut [bool],
    filled: &mut Vec<Option<usize>>,
) -> bool {
    let Some(row) = fits.get(seat) else { return false };
    for (person, _) in row.iter().enumerate().filter(|(_, fits)| **fits) {
        match seen.get_mut(person) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let is_free = match filled.get(person).copied().flatten() {
            None => true,
            Some(other) => augment(fits, other, seen, filled),
        };
        if let Some(place) = filled.get_mut(person).filter(|_| is_free) {
            *place = Some(seat);
            return true;
        }
    }
    false
}

impl Wider {
    fn since(&self, asked: Timestamp) -> Timestamp {
        asked.after(Duration::from_secs(self.after_secs))
    }

    fn holds(&self, case: &Case<'_>) -> bool {
        self.since(case.asked) <= case.now
    }
}

impl Shrink {
    fn since(&self, asked: Timestamp) -> Timestamp {
        asked.after(Duration::from_secs(self.after_secs))
    }

    fn is_for(&self, case: &Case<'_>) -> bool {
        case.urgent && self.roles.contains(case.role)
    }

    fn holds(&self, case: &Case<'_>) -> bool {
        self.is_for(case) && self.since(case.asked) <= case.now
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("somebody of a team that owns the host"),
            Self::Team(team) => write!(f, "somebody of team {team}"),
            Self::OnCall(rota) => write!(f, "who is on call for {rota}"),
            Self::People(names) => {
                let names: Vec<&str> = names.iter().map(Identity::as_str).collect();
                write!(f, "{}", names.join(" or "))
            }
        }
    }
}

/// Most seats of a quorum: more people than that are not found in time by anybody.
pub(crate) const MAX_SEATS: usize = 10;
