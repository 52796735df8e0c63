//! A model of all that can happen to a request, in any order: whatever is issued, the rules of that moment allow it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use wire::identifier::{GrantId, RequestId};
use wire::request::{Asked, State};
use wire::time::Timestamp;

use super::backing::{Approver, Backing, Requester, Rule, approved};
use super::tests::{ask, facts, rules};
use super::{Facts, Grant, Plan, Rules, Standing, decide};
use crate::approval::Candidate;
use crate::policy::Policy;
use crate::request::{Event, begin, settle, step};
use crate::role::Roles;

#[derive(Debug, Clone)]
enum Act {
    Approve(usize),
    Deny,
    Withdraw,
    Return,
    Pass(u64),
    Rules(usize),
    Policy(usize),
    Disable(usize),
    Enable(usize),
    Use,
}

/// People and their teams; the first one asks, and is in every team there is.
const PEOPLE: [(&str, &[&str]); 5] = [
    ("ana", &["dba", "security"]),
    ("bob", &["dba", "security"]),
    ("cleo", &["dba"]),
    ("dan", &["security"]),
    ("eve", &[]),
];
/// What a role requires, from nothing to nothing that anybody can give; with the seats by team, for the other count.
const REQUIRED: [(&str, &[&str]); 4] = [
    ("one = 1", &[]),
    ("requires=['one']\n[quorum.one]\nseats=[{team='dba'}]", &["dba"]),
    (
        "requires=['two']\n[quorum.two]\nseats=[{team='dba'},{team='security'}]",
        &["dba", "security"],
    ),
    ("requires=['no']\n[quorum.no]\nseats=[{team='nobody'}]", &["nobody"]),
];
/// What the policy demands besides: nothing, two approvals by anybody, a quorum of two, and that eve's and cleo's do not count.
const POLICIES: [&str; 4] = [
    "",
    r#"@id("many") @advice("two approvals")
forbid (principal, action == Curfew::Action::"issue", resource) unless { context.approvers >= 2 };"#,
    r#"@id("two") @advice("both teams")
forbid (principal, action == Curfew::Action::"issue", resource) unless { context.quorums.contains("both") };"#,
    r#"@id("not-they") @advice("somebody else")
forbid (principal, action == Curfew::Action::"approve", resource)
when { principal.name == "cleo" || principal.name == "eve" };"#,
];
const BOTH: &str = "\n[quorum.both]\nseats=[{team='dba'},{team='security'}]\n";
const NOW: Timestamp = Timestamp::from_secs(1_000);

struct World {
    asked: Asked,
    state: State,
    approvals: BTreeMap<usize, Timestamp>,
    disabled: BTreeSet<usize>,
    required: usize,
    policy: usize,
    now: Timestamp,
    grant: Option<Grant>,
    /// What the other count knows.
    is_over: bool,
    begun: Option<Timestamp>,
    was_approved: bool,
}

fn roles(required: usize) -> Roles {
    let text = REQUIRED[required].0.trim_start_matches("one = 1");
    Roles::of(&format!(
        "[role.deploy]\nmembers=['ana']\nlogins=['app']\nhosts=['env=prod']\nmax_duration='1h'\n{text}{BOTH}"
    ))
}

fn policy(which: usize) -> &'static Policy {
    static ALL: OnceLock<Vec<Policy>> = OnceLock::new();
    let read = |text: &&str| crate::policy::tests::of(&format!("{}\n{text}", policy::DEFAULT));
    &ALL.get_or_init(|| POLICIES.iter().map(read).collect())[which]
}

fn candidate(index: usize, disabled: &BTreeSet<usize>) -> Candidate {
    let (name, teams) = PEOPLE[index];
    Candidate {
        identity: name.parse().unwrap(),
        is_active: !disabled.contains(&index),
        teams: teams.iter().map(|team| team.parse().unwrap()).collect(),
    }
}

impl World {
    fn new(start: Option<u64>) -> Self {
        let later = |secs| NOW.after(Duration::from_secs(secs));
        let asked = Asked {
            version: wire::VERSION,
            authority: wire::identifier::Fingerprint::of(b"root"),
            request: RequestId::try_new(1).unwrap(),
            identity: "ana".parse().unwrap(),
            role: "deploy".parse().unwrap(),
            logins: BTreeSet::from(["app".parse().unwrap()]),
            hosts: BTreeSet::from(["db1".parse().unwrap()]),
            duration_secs: 600,
            start: start.map(later),
            use_within_secs: 300,
            extends: None,
            reason: "why".parse().unwrap(),
            expected: None,
            ticket: None,
            urgent: false,
            breakglass: false,
            at: NOW,
            expires: later(400),
        };
        Self {
            state: begin(&asked),
            asked,
            approvals: BTreeMap::new(),
            disabled: BTreeSet::new(),
            required: 2,
            policy: 0,
            now: NOW,
            grant: None,
            is_over: false,
            begun: None,
            was_approved: false,
        }
    }

    fn backing(&self) -> Backing {
        let one = |(index, until): (&usize, &Timestamp)| Approver {
            candidate: candidate(*index, &self.disabled),
            operator: false,
            at: self.now,
            mfa_at: None,
            until: *until,
        };
        Backing {
            asked: self.asked.clone(),
            state: self.state,
            approvals: self.approvals.iter().map(one).collect(),
            who: Requester { standing: Standing::Active, ..Requester::default() },
            window: None,
            ticket_open: false,
            risk: None,
        }
    }

    fn facts(&self) -> Facts {
        let standing =
            if self.disabled.contains(&0) { Standing::Disabled } else { Standing::Active };
        let live = self.grant.iter().filter(|grant| self.now < grant.until).cloned();
        let requests = if self.state.is_live() { vec![self.backing()] } else { Vec::new() };
        Facts { standing, grants: live.collect(), requests, ..facts() }
    }

    fn happen(&mut self, event: Event) -> bool {
        match step(&self.asked, self.state, event, self.now) {
            Ok(state) => self.state = state,
            Err(_refused) => return false,
        }
        true
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        self.state = settle(self.state, self.now);
        match act {
            Act::Approve(index) => {
                self.approvals.insert(*index, self.asked.latest_start());
                let (roles, backing) = (roles(self.required), self.backing());
                let role = roles.find(&self.asked.role).unwrap();
                let rules = Rules { policy: policy(self.policy), ..rules(&roles) };
                let now = self.now;
                let rule = Rule { name: &self.asked.role, role, rules: &rules, longest: now, now };
                let host = facts().host.unwrap();
                if let Ok(state) = approved(&backing, &[host], (&rule, 600)) {
                    self.was_approved |= !matches!(state, State::Pending { .. });
                    self.state = state;
                }
            }
            Act::Deny => self.is_over |= self.happen(Event::Denied),
            Act::Withdraw => self.is_over |= self.happen(Event::Withdrawn),
            Act::Return => self.is_over |= self.happen(Event::Returned),
            Act::Pass(secs) => self.now = self.now.after(Duration::from_secs(*secs)),
            Act::Rules(index) => self.required = *index,
            Act::Policy(index) => self.policy = *index,
            Act::Disable(index) => drop(self.disabled.insert(*index)),
            Act::Enable(index) => drop(self.disabled.remove(index)),
            Act::Use => self.issue()?,
        }
        if self.is_over {
            // As the ledger does with it: what was begun under a request that was ended, ends.
            self.grant = None;
        }
        Ok(())
    }

    /// Asks for a certificate, and holds a yes against the other count.
    fn issue(&mut self) -> Result<(), TestCaseError> {
        let roles = roles(self.required);
        let rules = Rules { policy: policy(self.policy), ..rules(&roles) };
        let Ok(permit) = decide(ask(), &self.facts(), &rules, self.now) else {
            return Ok(());
        };
        prop_assert!(!self.disabled.contains(&0), "a disabled person got a certificate");
        prop_assert!(permit.valid_before() <= permit.plan().until());
        match permit.plan() {
            Plan::Begin(_) => {
                prop_assert!(REQUIRED[self.required].1.is_empty());
                prop_assert!(![1, 2].contains(&self.policy), "issued without what policy demands");
            }
            Plan::Reuse(_, until) | Plan::Under { until, .. } => {
                prop_assert!(!self.is_over, "issued under a request that is over");
                prop_assert!(self.was_approved, "issued under a request that nobody approved");
                prop_assert!(self.may_have_begun(), "issued before its time or after its end");
                prop_assert!(self.is_enough(), "issued without what the rules require now");
                let end = self.begun.unwrap_or(self.now).after(Duration::from_secs(600));
                prop_assert!(until <= end, "it lasts longer than was approved");
                if let Plan::Under { .. } = permit.plan() {
                    self.begun.get_or_insert(self.now);
                    self.happen(Event::Used);
                    let id = GrantId::try_new(1).unwrap();
                    let (role, request) = (self.asked.role.clone(), Some(self.asked.request));
                    self.grant = Some(Grant { id, role, from: self.now, until, request });
                }
            }
        }
        Ok(())
    }

    fn may_have_begun(&self) -> bool {
        let window = Duration::from_secs(600);
        match (self.asked.start, self.begun) {
            (Some(start), _) => start <= self.now && self.now < start.after(window),
            (None, Some(begun)) => self.now < begun.after(window),
            (None, None) => self.now < self.asked.latest_start(),
        }
    }

    /// Whether distinct people fill what is required now: every way is tried.
    fn is_enough(&self) -> bool {
        let people: Vec<usize> = self
            .approvals
            .keys()
            .copied()
            .filter(|index| *index != 0 && !self.disabled.contains(index))
            .filter(|index| self.policy != 3 || !["cleo", "eve"].contains(&PEOPLE[*index].0))
            .collect();
        let is_let = match self.policy {
            1 => people.len() >= 2,
            2 => seated(&["dba", "security"], &people),
            _ => true,
        };
        is_let && seated(REQUIRED[self.required].1, &people)
    }
}

fn seated(seats: &[&str], people: &[usize]) -> bool {
    let Some((seat, rest)) = seats.split_first() else { return true };
    people.iter().any(|person| {
        let others: Vec<usize> = people.iter().copied().filter(|other| other != person).collect();
        PEOPLE[*person].1.contains(seat) && seated(rest, &others)
    })
}

fn act() -> impl Strategy<Value = Act> {
    let person = 0..PEOPLE.len();
    prop_oneof![
        4 => person.clone().prop_map(Act::Approve),
        4 => Just(Act::Use),
        2 => (1u64..250).prop_map(Act::Pass),
        2 => (0..REQUIRED.len()).prop_map(Act::Rules),
        2 => (0..POLICIES.len()).prop_map(Act::Policy),
        1 => person.clone().prop_map(Act::Disable),
        1 => person.prop_map(Act::Enable),
        1 => prop_oneof![Just(Act::Deny), Just(Act::Withdraw), Just(Act::Return)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_gives_a_certificate_that_the_rules_of_the_moment_refuse(
        start in proptest::option::of(0u64..500),
        acts in proptest::collection::vec(act(), 1..24),
    ) {
        let mut world = World::new(start);
        for act in &acts {
            world.act(act)?;
        }
    }
}

#[test]
fn the_model_is_not_empty_the_straight_way_ends_in_a_certificate() {
    let mut world = World::new(None);
    for act in [Act::Use, Act::Approve(1), Act::Use, Act::Approve(2), Act::Use] {
        world.act(&act).unwrap();
    }
    assert!(matches!(world.state, State::Active { .. }), "{:?}", world.state);
    // And the same request does not, once one of the two is disabled: not even for a renewal.
    world.act(&Act::Disable(2)).unwrap();
    let denial = decide(ask(), &world.facts(), &rules(&roles(2)), world.now).unwrap_err();
    assert!(denial.to_string().contains("two (somebody of team"), "{denial}");
}
