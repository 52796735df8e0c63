//! What a request lacks: by its role and by the policy, and who could give it.

use std::collections::BTreeSet;

use wire::identifier::Identity;
use wire::request::{Asked, Demanded, Missing};
use wire::time::Timestamp;

use super::{backing, may_approve, people};
use crate::access::backing::{Backing, Rule, case, open, owners};
use crate::access::demand::{Demand, Voice, demand};
use crate::access::{Host, Rules};
use crate::approval::Candidate;
use crate::ledger::LedgerError;
use crate::ledger::request::{self, Kept};
use crate::ledger::sql::Connection;

/// Everybody who has not approved yet, and whether they are an operator.
struct Others {
    people: Vec<(Candidate, bool)>,
}

/// What is missing by the role, and what the policy demands besides.
pub(super) fn lacking(
    connection: &Connection,
    kept: &Kept,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<(Vec<Missing>, Vec<Demanded>), LedgerError> {
    let asked = &kept.asked;
    let Some(role) = rules.roles.find(&asked.role) else { return Ok(Default::default()) };
    let backing = backing(connection, kept, now)?;
    let rule = Rule { name: &asked.role, role, rules, longest: now, now };
    let (mut missing, mut demanded) = (Vec::new(), Vec::new());
    let hosts = request::hosts(connection, asked)?;
    let mut found = Vec::new();
    for host in &hosts {
        let counted = backing.counted(host, (rules, now));
        let demand = demand(&backing, ((host, rules), &counted, (asked.duration_secs, now)));
        found.push((host, backing.missing(host, &rule), counted, demand));
    }
    if found
        .iter()
        .all(|(_, missing, _, demand)| missing.is_empty() && *demand == Demand::default())
    {
        return Ok((missing, demanded));
    }
    let others = Others::of(connection, &backing, now)?;
    for (host, seats, counted, demand) in found {
        let asker = Asker { others: &others, backing: &backing, host, rules, now };
        missing.extend(seats.into_iter().map(|missing| asker.named(missing)));
        demanded.extend(asker.demanded(demand, &counted));
    }
    Ok((missing, demanded))
}

impl Others {
    fn of(connection: &Connection, backing: &Backing, now: Timestamp) -> Result<Self, LedgerError> {
        let given: BTreeSet<&Identity> =
            backing.approvals.iter().map(|one| &one.candidate.identity).collect();
        let mut others = Vec::new();
        for person in people(connection, now)? {
            if !given.contains(&person.identity) {
                let operator = crate::ledger::grant::is_operator(connection, &person.identity)?;
                others.push((person, operator));
            }
        }
        Ok(Self { people: others })
    }
}

/// One host of one request, at one moment.
struct Asker<'a> {
    others: &'a Others,
    backing: &'a Backing,
    host: &'a Host,
    rules: &'a Rules<'a>,
    now: Timestamp,
}

impl Asker<'_> {
    /// With the people who could take each seat.
    fn named(&self, mut missing: Missing) -> Missing {
        let owners = owners(&self.host.labels);
        let case = case(self.asked(), &owners, self.now);
        let quorums = self.rules.roles.approval();
        for seat in &mut missing.seats {
            let (quorum, place) = (&missing.quorum, [seat.seat]);
            seat.who = self.who(|one| quorums.could_fill((quorum, &place), one, &case));
        }
        missing
    }

    fn demanded(&self, demand: Demand, counted: &[Candidate]) -> Vec<Demanded> {
        let host = &self.host.name;
        let barred = demand.barred.map(|advice| Demanded {
            host: host.clone(),
            rule: None,
            advice,
            by_approval: false,
            quorums: Vec::new(),
            who: Vec::new(),
        });
        let owners = owners(&self.host.labels);
        let case = case(self.asked(), &owners, self.now);
        let quorums = self.rules.roles.approval();
        let one = |lacking: crate::access::demand::Lacking| Demanded {
            host: host.clone(),
            by_approval: lacking.is_by_approval(),
            who: if lacking.approvers { self.who(|_| true) } else { Vec::new() },
            quorums: lacking
                .quorums
                .iter()
                .filter_map(|name| open(quorums, name, (counted, host, &case)))
                .map(|missing| self.named(missing))
                .collect(),
            rule: Some(lacking.requirement.id),
            advice: lacking.requirement.advice,
        };
        barred.into_iter().chain(demand.lacking.into_iter().map(one)).collect()
    }

    /// The first of those who fit, other than who asks, and whom the policy lets approve.
    fn who(&self, fits: impl Fn(&Candidate) -> bool) -> Vec<Identity> {
        let may = |(candidate, operator): &&(Candidate, bool)| {
            let voice = Voice { candidate, operator: *operator, mfa_at: None, at: self.now };
            candidate.is_active
                && candidate.identity != self.asked().identity
                && fits(candidate)
                && may_approve(self.backing, &voice, (self.host, self.rules))
        };
        let people = self.others.people.iter().filter(may);
        people.take(TOLD).map(|(person, _)| person.identity.clone()).collect()
    }

    const fn asked(&self) -> &Asked {
        &self.backing.asked
    }
}

/// Most people named for a seat.
const TOLD: usize = 8;
