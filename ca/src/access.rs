//! Who may have a certificate for what, decided from facts alone: no I/O, no clock, no randomness.
//!
//! A [`Permit`] cannot be made anywhere else, cannot be copied, and is taken by the ledger by value. A "no" is a value
//! too, and is recorded like a "yes".

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use policy::Verdict;
use ssh_key::PublicKey;
use wire::breakglass::LONGEST;
use wire::breakglass::pass::{self, Pass};
use wire::identifier::{
    Address, Fingerprint, GrantId, HostName, Identity, Label, Login, RequestId, RoleName, TeamName,
};
use wire::identity;
use wire::lock::{Lock, Target};
use wire::log::Hash;
use wire::options::{Bounds, KeyKind, UnfitKey, Wider, Wishes};
use wire::request::State;
use wire::time::Timestamp;

use crate::config::shown;
use crate::policy::{Judged, Policy};
use crate::risk::{Access, Gathered, Reckoned, Risk};
use crate::role::{Holder, MIN_GRANT, Role, Roles};

pub(crate) mod backing;
pub(crate) mod demand;
#[cfg(test)]
mod interleaving;
pub(crate) mod question;

use backing::{Backing, Requester, Rule, is_free, under};

/// What is asked for, each part checked for its form.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Who asks.
    pub(crate) identity: Identity,
    /// The key to certify.
    pub(crate) key: PublicKey,
    /// The host, by its name or an address.
    pub(crate) host: Address,
    /// The account.
    pub(crate) login: Login,
    /// The role; the only one that fits, when absent.
    pub(crate) role: Option<RoleName>,
    /// The grant's length; the role's default, when absent.
    pub(crate) duration: Option<Duration>,
    /// What the certificate is to leave out of what the role allows.
    pub(crate) wishes: Wishes,
    /// Why.
    pub(crate) reason: Option<String>,
    /// The enrolled key by which who asks is logged in; none, when they are in another way.
    pub(crate) login_key: Option<Fingerprint>,
    /// When who asks last showed a second factor in this login; never, when absent.
    pub(crate) mfa_at: Option<Timestamp>,
    /// From where it is asked, when that is known.
    pub(crate) from: Option<IpAddr>,
}

/// What the ledger knows that bears on an ask, as of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Counts the changes that can turn a yes into a no; the ledger refuses a permit from before the newest.
    pub(crate) epoch: u64,
    /// Whether the identity exists, and whether it is active.
    pub(crate) standing: Standing,
    /// Whether the identity is a person or a workload.
    pub(crate) kind: identity::Kind,
    /// The teams that the identity is in.
    pub(crate) teams: BTreeSet<TeamName>,
    /// The rules of behaviour that it has signed.
    pub(crate) acknowledged: BTreeSet<Hash>,
    /// Whether it is an operator.
    pub(crate) operator: bool,
    /// The host, when there is one of that name or address.
    pub(crate) host: Option<Host>,
    /// Every lock in force.
    pub(crate) locks: Arc<Vec<Lock>>,
    /// The identity's grants on that host that have not ended.
    pub(crate) grants: Vec<Grant>,
    /// The identity's requests for that host that are not over.
    pub(crate) requests: Vec<Backing>,
    /// When its last grant on that host ended, under each role that it had one of.
    pub(crate) ended: BTreeMap<RoleName, Timestamp>,
    /// What bears on a risk, where it was read.
    pub(crate) gathered: Option<Gathered>,
}

impl Facts {
    /// Whom they are about, as far as roles go.
    pub(crate) const fn holder<'a>(&'a self, identity: &'a Identity) -> Holder<'a> {
        Holder { identity, kind: self.kind, teams: &self.teams }
    }
}

/// How an identity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// There is none of that name.
    #[default]
    Unknown,
    /// It may have access.
    Active,
    /// It may have none.
    Disabled,
}

/// A host, as far as access goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) name: HostName,
    /// Its labels.
    pub(crate) labels: BTreeSet<Label>,
}

/// A grant that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Its number.
    pub(crate) id: GrantId,
    /// Its role.
    pub(crate) role: RoleName,
    /// Its beginning.
    pub(crate) from: Timestamp,
    /// Its end.
    pub(crate) until: Timestamp,
    /// The request that it was begun under, if it was.
    pub(crate) request: Option<RequestId>,
}

/// What holds for every decision.
#[derive(Debug, Clone)]
pub(crate) struct Rules<'a> {
    /// The roles in force.
    pub(crate) roles: &'a Roles,
    /// The policy in force.
    pub(crate) policy: &'a Policy,
    /// The weights of risks, where risks are reckoned.
    pub(crate) risk: Option<&'a Risk>,
    /// The rules of behaviour that people must have signed, if there are any.
    pub(crate) behaviour: Option<Hash>,
    /// How long a certificate opens anything.
    pub(crate) lifetime: Duration,
    /// How long before now its window begins.
    pub(crate) backdate: Duration,
}

impl<'a> Rules<'a> {
    /// What holds for a decision that ends in no certificate.
    pub(crate) const fn of(roles: &'a Roles, policy: &'a Policy) -> Self {
        let (lifetime, backdate) = (Duration::ZERO, Duration::ZERO);
        Self { roles, policy, risk: None, behaviour: None, lifetime, backdate }
    }
}

/// Yes: what may be certified. Only [`decide`] makes one.
#[derive(Debug)]
#[must_use = "a permit opens nothing until it is recorded"]
pub(crate) struct Permit {
    ask: Ask,
    key: Fingerprint,
    host: HostName,
    role: RoleName,
    bounds: Bounds,
    plan: Plan,
    reuse_from: Timestamp,
    reuse_until: Timestamp,
    valid_after: Timestamp,
    valid_before: Timestamp,
    judged: Judged,
    risk: Option<Reckoned>,
    pass: Option<Pass>,
    epoch: u64,
}

/// Under which grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// One that is under way.
    Reuse(GrantId, Timestamp),
    /// A new one, until then.
    Begin(Timestamp),
    /// A new one under an approved request.
    Under {
        /// Which.
        request: RequestId,
        /// The grant's end.
        until: Timestamp,
        /// Where the request stood when it was decided; if it stands elsewhere by now, it is decided again.
        before: State,
    },
}

impl Plan {
    /// The grant's end.
    pub(crate) const fn until(self) -> Timestamp {
        match self {
            Self::Reuse(_, until) | Self::Begin(until) | Self::Under { until, .. } => until,
        }
    }
}

/// No, and why; each reason is a sentence for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[must_use = "a denial is recorded too"]
pub(crate) enum Denial {
    /// The identity is unknown or disabled.
    #[error("{0} has no access here: the identity is unknown or disabled")]
    Standing(Identity),
    /// They have not signed the rules of behaviour in force.
    #[error(
        "read and sign the rules of behaviour first: `curfew behaviour --sign`, once for each version of them"
    )]
    Unsigned,
    /// Nothing opens it; the same for a host that does not exist, so that nobody learns which do.
    #[error("no role lets {identity} be {login} on {host}")]
    NoRole {
        /// Who asked.
        identity: Identity,
        /// For which account.
        login: Login,
        /// Where.
        host: Address,
    },
    /// The role that was named does not open it; the same for a host that does not exist.
    #[error("role {role} does not let {identity} be {login} on {host}")]
    NotThisRole {
        /// The role.
        role: RoleName,
        /// Who asked.
        identity: Identity,
        /// For which account.
        login: Login,
        /// Where.
        host: Address,
    },
    /// Several roles open it.
    #[error("several roles let you do that; choose one: {0}")]
    Ambiguous(String),
    /// A lock is on it.
    #[error("{target} is locked: {reason}")]
    Locked {
        /// What is locked.
        target: Target,
        /// Why.
        reason: String,
    },
    /// The asked length is less than a certificate can say.
    #[error("a grant lasts at least 1 second")]
    TooShort,
    /// More was asked for than the role allows; a request can only leave out.
    #[error("role {role} {wider}")]
    Wider {
        /// The role.
        role: RoleName,
        /// What goes beyond it.
        wider: Wider,
    },
    /// The role does not certify this key.
    #[error("role {role} {unfit}")]
    Key {
        /// The role.
        role: RoleName,
        /// Why not.
        unfit: UnfitKey,
    },
    /// Its role does not let the owner be there any more.
    #[error(
        "grant {grant} cannot be extended: role {role} does not let {identity} on {host} any more"
    )]
    Withdrawn {
        /// The grant.
        grant: GrantId,
        /// Its role.
        role: RoleName,
        /// Its owner.
        identity: Identity,
        /// Where.
        host: HostName,
    },
    /// It lasts as long as its role allows already.
    #[error(
        "grant {grant} cannot be extended: role {role} allows no longer one; ask for a new grant when it has ended"
    )]
    Longest {
        /// The grant.
        grant: GrantId,
        /// Its role.
        role: RoleName,
    },
    /// The policy in force demands more, or lets nobody do that, or failed.
    #[error("role {role}: {judged}{}", .way.as_deref().map(|way| format!("; {way}")).unwrap_or_default())]
    Policy {
        /// The role.
        role: RoleName,
        /// What was asked of it, and what it says.
        judged: Box<Judged>,
        /// How to get what is missing, where others can give it.
        way: Option<String>,
        /// The risk that it was told of, where one was reckoned for this.
        risk: Option<Box<Reckoned>>,
    },
    /// The last grant of the role ended too lately.
    #[error(
        "role {role} rests on {host} for {} after a grant; it can be had again in {}",
        shown(*rest), shown(*left)
    )]
    Resting {
        /// The role.
        role: RoleName,
        /// Where.
        host: HostName,
        /// How long it rests after a grant's end.
        rest: Duration,
        /// How much of that is left.
        left: Duration,
    },
    /// Its role requires approvals that are not there.
    #[error(
        "role {role} on {host} needs approval: {missing} is missing; {}",
        .request.map_or_else(
            || format!("ask for it with `curfew request {role} --host {host} --reason …`"),
            |request| format!("request {request} waits for it: `curfew requests show {request}`")
        )
    )]
    Unapproved {
        /// The request, if there is one.
        request: Option<RequestId>,
        /// The role.
        role: RoleName,
        /// Where.
        host: HostName,
        /// What is missing, in words.
        missing: String,
    },
    /// Its role is there only for a ticket.
    #[error(
        "role {role} on {host} needs a ticket: ask for it with `curfew request {role} --host {host} --ticket … --reason …`"
    )]
    Unticketed {
        /// The role.
        role: RoleName,
        /// Where.
        host: HostName,
    },
    /// A request is approved, and its time has not come.
    #[error("request {request} cannot be used yet: {why}")]
    Waiting {
        /// Which.
        request: RequestId,
        /// What it waits for.
        why: String,
    },
    /// Its role requires approval for the whole time that it lasts.
    #[error(
        "grant {grant} cannot be extended without approval: ask for it with `curfew request {role} --extend {grant} --for … --reason …`"
    )]
    ExtensionUnapproved {
        /// The grant.
        grant: GrantId,
        /// Its role.
        role: RoleName,
    },
    /// It is under break-glass, and the login that asks shows no second factor.
    #[error(
        "request {0} is for break-glass, and this login has shown no second factor, or too long ago: log in again with one"
    )]
    Factor(RequestId),
    /// A key of a kind that no role certifies.
    #[error("keys of type {0} are not certified; use ed25519, ecdsa, rsa or a security key")]
    KeyKind(String),
}

impl Denial {
    /// What the policy was asked, when it was the one to say no.
    pub(crate) fn judged(&self) -> Option<&Judged> {
        match self {
            Self::Policy { judged, .. } => Some(judged),
            _ => None,
        }
    }

    /// The risk that the policy was told of then, where one was reckoned for this.
    pub(crate) fn risk(&self) -> Option<&Reckoned> {
        match self {
            Self::Policy { risk, .. } => risk.as_deref(),
            _ => None,
        }
    }
}

/// Decides. A request can narrow what a role allows and can never widen it; what is not allowed is denied.
pub(crate) fn decide(
    ask: Ask,
    facts: &Facts,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Permit, Denial> {
    if facts.standing != Standing::Active {
        return Err(Denial::Standing(ask.identity));
    }
    refuse_unsigned(facts, rules)?;
    let (host, role_name, role) = choose(&ask, facts, rules.roles)?;
    let mut bounds = bounds(&ask, role_name, role)?;
    let reuse_until = now.after(bounds.lifetime);
    if ask.duration.is_some_and(|wanted| wanted < MIN_GRANT) {
        return Err(Denial::TooShort);
    }
    let rule = Rule { name: role_name, role, rules, longest: reuse_until, now };
    let plan = match under(&ask.identity, (host, facts), &rule)? {
        Some(plan) => plan,
        None => plan(&ask, facts, (role_name, role, bounds.lifetime), now),
    };
    let pass = question::pass_behind(facts, question::request_behind(facts, plan));
    match &pass {
        None => refuse_resting(facts, (host, role_name, role), (plan, now))?,
        Some(pass) => {
            refuse_unproved(&ask, (pass, plan), now)?;
            bounds.limits = bounds.limits.meet(&pass::limits());
        }
    }
    let key = wire::certificate::fingerprint(ask.key.key_data());
    refuse_locked((&ask, &key), host, role_name, (facts, now))?;
    let risk = reckon((&ask, facts, rules), (host, role), (plan, now));
    let score = risk.as_ref().map(Reckoned::score);
    let asked = question::issue((&ask, facts, rules), (host, role_name, score), (plan, now));
    let judged = rules.policy.judge(asked);
    let way = way(&judged, (facts, rules), (&host.name, role_name));
    let judged = match judged.verdict() {
        Verdict::Allowed { .. } => judged,
        Verdict::NotEligible | Verdict::Missing(_) | Verdict::Refused(_) => {
            let (role, judged) = (role_name.clone(), Box::new(judged));
            return Err(Denial::Policy { role, judged, way, risk: risk.map(Box::new) });
        }
    };
    // Certificates count whole seconds; what is said elsewhere is what the certificate says.
    let valid_before = Timestamp::from_secs(now.after(rules.lifetime).min(plan.until()).secs());
    Ok(Permit {
        host: host.name.clone(),
        role: role_name.clone(),
        bounds,
        plan,
        reuse_from: reuse_from(role, now),
        reuse_until,
        valid_after: now.before(rules.backdate),
        valid_before,
        judged,
        risk,
        pass,
        epoch: facts.epoch,
        ask,
        key,
    })
}

/// A grant that is under way, to be extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its number.
    pub(crate) grant: GrantId,
    /// Whose it is.
    pub(crate) identity: Identity,
    /// Its role.
    pub(crate) role: RoleName,
    /// Where.
    pub(crate) host: HostName,
    /// Its beginning.
    pub(crate) from: Timestamp,
    /// Its end.
    pub(crate) until: Timestamp,
    /// The request that stands behind it, or behind its extension.
    pub(crate) request: Option<RequestId>,
    /// The logins that it has opened.
    pub(crate) logins: BTreeSet<Login>,
    /// When who asks for it last showed a second factor.
    pub(crate) mfa_at: Option<Timestamp>,
}

/// Decides on a later end of a grant that nobody has approved: only where its role requires no approval.
pub(crate) fn extend(
    running: &Running,
    by: Duration,
    facts: &Facts,
    (rules, now): (&Rules<'_>, Timestamp),
) -> Result<Timestamp, Denial> {
    let held = rules.roles.find(&running.role);
    if held.is_some_and(|role| !role.is_free()) {
        let (grant, role) = (running.grant, running.role.clone());
        return Err(Denial::ExtensionUnapproved { grant, role });
    }
    extend_approved(running, by, facts, (rules, now))
}

/// Decides on a later end of a grant: what let it begin must still hold, and in all it lasts no longer than its role
/// allows. Where less is left than was asked for, it is extended by that.
pub(crate) fn extend_approved(
    running: &Running,
    by: Duration,
    facts: &Facts,
    (rules, now): (&Rules<'_>, Timestamp),
) -> Result<Timestamp, Denial> {
    if facts.standing != Standing::Active {
        return Err(Denial::Standing(running.identity.clone()));
    }
    let role = rules.roles.iter().find(|(name, _)| **name == running.role).map(|(_, role)| role);
    let reaches = |(role, host): &(&Role, &Host)| {
        role.is_had_by(facts.holder(&running.identity)) && role.reaches(&host.name, &host.labels)
    };
    let opened = role.zip(facts.host.as_ref()).filter(|_| !running.logins.is_empty());
    let Some((role, host)) = opened.filter(reaches) else {
        return Err(Denial::Withdrawn {
            grant: running.grant,
            role: running.role.clone(),
            identity: running.identity.clone(),
            host: running.host.clone(),
        });
    };
    let covers = |target: &Target| match target {
        Target::Identity(name) => *name == running.identity,
        Target::Grant(id) => *id == running.grant,
        Target::Host(name) => *name == running.host,
        Target::Role(name) => *name == running.role,
        _ => false,
    };
    if let Some(lock) = facts.locks.iter().find(|lock| lock.holds_at(now) && covers(&lock.target)) {
        let (target, reason) = (lock.target.clone(), lock.reason.clone());
        return Err(Denial::Locked { target, reason });
    }
    let longest = running.from.after(Duration::from_secs(role.max_secs));
    let until = Timestamp::from_secs(running.until.after(by).min(longest).secs());
    if until <= running.until {
        let (grant, role) = (running.grant, running.role.clone());
        return Err(Denial::Longest { grant, role });
    }
    // The policy is asked about the whole of it: what is granted in parts is not judged in parts.
    for login in &running.logins {
        let asked = question::extend((running, facts, rules), (host, login), (until, now));
        let judged = rules.policy.judge(asked);
        let ask = || {
            let (grant, role) = (running.grant, &running.role);
            format!("ask for it with `curfew request {role} --extend {grant} --for … --reason …`")
        };
        let way = demand::is_by_approval(&judged, rules).then(ask);
        let _allowed: Judged = consult(judged, &running.role, way)?;
    }
    Ok(until)
}

impl Permit {
    /// What was asked for.
    pub(crate) const fn ask(&self) -> &Ask {
        &self.ask
    }

    /// The fingerprint of the key that is to be certified.
    pub(crate) const fn key(&self) -> &Fingerprint {
        &self.key
    }

    /// Where.
    pub(crate) const fn host(&self) -> &HostName {
        &self.host
    }

    /// The role that lets it.
    pub(crate) const fn role(&self) -> &RoleName {
        &self.role
    }

    /// How wide the certificate is.
    pub(crate) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Under which grant.
    pub(crate) const fn plan(&self) -> Plan {
        self.plan
    }

    /// A grant that ends by then would not have been reused.
    pub(crate) const fn reuse_from(&self) -> Timestamp {
        self.reuse_from
    }

    /// A grant of the same role and host that ends by then would have been reused.
    pub(crate) const fn reuse_until(&self) -> Timestamp {
        self.reuse_until
    }

    /// When the certificate's window begins.
    pub(crate) const fn valid_after(&self) -> Timestamp {
        self.valid_after
    }

    /// When it ends.
    pub(crate) const fn valid_before(&self) -> Timestamp {
        self.valid_before
    }

    /// What the policy was asked, and that it allowed it.
    pub(crate) const fn judged(&self) -> &Judged {
        &self.judged
    }

    /// The risk that the policy was told of, where one was reckoned for this.
    pub(crate) const fn risk(&self) -> Option<&Reckoned> {
        self.risk.as_ref()
    }

    /// The request for break-glass that it is under, if it is.
    pub(crate) const fn pass(&self) -> Option<&Pass> {
        self.pass.as_ref()
    }

    /// As of which change it was decided.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// People sign the rules of behaviour, each version once. A workload reads nothing; who runs it does.
fn refuse_unsigned(facts: &Facts, rules: &Rules<'_>) -> Result<(), Denial> {
    match rules.behaviour {
        Some(text)
            if facts.kind == identity::Kind::Person && !facts.acknowledged.contains(&text) =>
        {
            Err(Denial::Unsigned)
        }
        _ => Ok(()),
    }
}

/// Who takes break-glass has shown a second factor in the login that asks: just now for what begins, and in time for the whole of
/// it for what goes on.
fn refuse_unproved(ask: &Ask, (pass, plan): (&Pass, Plan), now: Timestamp) -> Result<(), Denial> {
    let oldest = match plan {
        Plan::Begin(_) | Plan::Under { .. } => pass::FIRST_USE.saturating_add(pass::FACTOR_AGE),
        Plan::Reuse(..) => LONGEST.saturating_add(pass::FIRST_USE).saturating_add(pass::FACTOR_AGE),
    };
    match ask.mfa_at {
        Some(at) if now.since(at) <= oldest => Ok(()),
        _ => Err(Denial::Factor(pass.request)),
    }
}

/// Begins no grant too soon after the end of the last one of the same role on the same host.
fn refuse_resting(
    facts: &Facts,
    (host, name, role): (&Host, &RoleName, &Role),
    (plan, now): (Plan, Timestamp),
) -> Result<(), Denial> {
    let rest = Duration::from_secs(role.cooling_off_secs);
    if matches!(plan, Plan::Reuse(..)) || rest.is_zero() {
        return Ok(());
    }
    // What was read a while ago may have ended meanwhile.
    let since = facts.grants.iter().filter(|grant| grant.role == *name && grant.until <= now);
    let last = since.map(|grant| grant.until).chain(facts.ended.get(name).copied()).max();
    match last.map(|ended| ended.after(rest)) {
        Some(until) if now < until => {
            let (role, host) = (name.clone(), host.name.clone());
            Err(Denial::Resting { role, host, rest, left: until.since(now) })
        }
        _ => Ok(()),
    }
}

/// Whatever is not a plain yes of the policy is a no.
fn consult(judged: Judged, role: &RoleName, way: Option<String>) -> Result<Judged, Denial> {
    match judged.verdict() {
        Verdict::Allowed { .. } => Ok(judged),
        Verdict::NotEligible | Verdict::Missing(_) | Verdict::Refused(_) => {
            let (role, judged) = (role.clone(), Box::new(judged));
            Err(Denial::Policy { role, judged, way, risk: None })
        }
    }
}

/// How much of a risk access without a request is. Under a request it is what it was when that was asked for.
fn reckon(
    (ask, facts, rules): (&Ask, &Facts, &Rules<'_>),
    (host, role): (&Host, &Role),
    (plan, now): (Plan, Timestamp),
) -> Option<Reckoned> {
    let (risk, gathered) = rules.risk.zip(facts.gathered.as_ref())?;
    if question::request_behind(facts, plan).is_some() {
        return None;
    }
    let who = Requester {
        standing: facts.standing,
        kind: facts.kind,
        teams: facts.teams.clone(),
        operator: facts.operator,
    };
    let access = Access {
        identity: &ask.identity,
        who: &who,
        hosts: std::slice::from_ref(host),
        logins: &BTreeSet::from([ask.login.clone()]),
        role,
        seconds: plan.until().since(now).as_secs(),
        begins: now,
        from: ask.from,
        mfa_at: ask.mfa_at,
        on_call: question::is_on_call(&ask.identity, rules, now),
    };
    Some(risk.reckon(&access, gathered, now))
}

/// What to do about a no of the policy to which others could say yes.
fn way(
    judged: &Judged,
    (facts, rules): (&Facts, &Rules<'_>),
    (host, role): (&HostName, &RoleName),
) -> Option<String> {
    if !demand::is_by_approval(judged, rules) {
        return None;
    }
    let waits = |backing: &&Backing| backing.asked.role == *role && backing.state.is_live();
    Some(match facts.requests.iter().find(waits).map(|backing| backing.asked.request) {
        Some(id) => format!("request {id} waits for it: `curfew requests show {id}`"),
        None => format!("ask for it with `curfew request {role} --host {host} --reason …`"),
    })
}

fn choose<'a>(
    ask: &Ask,
    facts: &'a Facts,
    roles: &'a Roles,
) -> Result<(&'a Host, &'a RoleName, &'a Role), Denial> {
    let none = || match &ask.role {
        None => Denial::NoRole {
            identity: ask.identity.clone(),
            login: ask.login.clone(),
            host: ask.host.clone(),
        },
        Some(role) => Denial::NotThisRole {
            role: role.clone(),
            identity: ask.identity.clone(),
            login: ask.login.clone(),
            host: ask.host.clone(),
        },
    };
    let host = facts.host.as_ref().ok_or_else(none)?;
    let mut fitting = roles.iter().filter(|(_, role)| {
        role.opens(facts.holder(&ask.identity), &ask.login)
            && role.reaches(&host.name, &host.labels)
    });
    if let Some(wanted) = &ask.role {
        let (name, role) = fitting.find(|(name, _)| *name == wanted).ok_or_else(none)?;
        return Ok((host, name, role));
    }
    let fitting: Vec<_> = fitting.collect();
    match fitting.as_slice() {
        [] => Err(none()),
        [(name, role)] => Ok((host, name, role)),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err(Denial::Ambiguous(names.join(", ")))
        }
    }
}

/// What the role allows, less what the ask leaves out, for the key of the ask.
fn bounds(ask: &Ask, name: &RoleName, role: &Role) -> Result<Bounds, Denial> {
    let mut bounds = role
        .bounds()
        .narrowed(&ask.wishes)
        .map_err(|wider| Denial::Wider { role: name.clone(), wider })?;
    let key = ask.key.key_data();
    let kind = KeyKind::of(key).ok_or_else(|| Denial::KeyKind(key.algorithm().to_string()))?;
    bounds.admit(kind).map_err(|unfit| Denial::Key { role: name.clone(), unfit })?;
    bounds.lifetime = ask.duration.map_or(bounds.lifetime, |asked| asked.min(bounds.lifetime));
    Ok(bounds)
}

/// Reuses the longest grant of this role that ends no later than a new one could; else begins one.
fn plan(
    ask: &Ask,
    facts: &Facts,
    (role_name, role, longest): (&RoleName, &Role, Duration),
    now: Timestamp,
) -> Plan {
    let standing = facts
        .grants
        .iter()
        .filter(|grant| grant.role == *role_name && is_free(grant, role))
        .filter(|grant| reuse_from(role, now) < grant.until && grant.until <= now.after(longest))
        .max_by_key(|grant| grant.until);
    if let Some(grant) = standing {
        return Plan::Reuse(grant.id, grant.until);
    }
    let length = ask.duration.unwrap_or(role.default_duration()).min(longest);
    Plan::Begin(Timestamp::from_secs(now.after(length).secs()))
}

/// From when on a grant that is under way is of use. One that is as good as over opens nothing before it is, and another may begin;
/// but not where the role rests after its last: there the end is waited for.
fn reuse_from(role: &Role, now: Timestamp) -> Timestamp {
    if role.cooling_off_secs == 0 { now.after(AS_GOOD_AS_OVER) } else { now }
}

/// A lock on a grant of the same role and host denies, whichever grant the certificate would be under: else locking a
/// grant would only make its owner begin another.
fn refuse_locked(
    (ask, key): (&Ask, &Fingerprint),
    host: &Host,
    role: &RoleName,
    (facts, now): (&Facts, Timestamp),
) -> Result<(), Denial> {
    let covers = |target: &Target| match target {
        Target::Identity(name) => *name == ask.identity,
        Target::Key(name) => name == key,
        Target::Host(name) => *name == host.name,
        Target::Role(name) => name == role,
        Target::Login(name) => *name == ask.login,
        Target::Grant(id) => {
            facts.grants.iter().any(|grant| grant.id == *id && grant.role == *role)
        }
        // Whatever is asked for now is signed with another key.
        // From where it will be used is seen by the host alone.
        Target::Serial(_) | Target::Session(_) | Target::Authority(_) | Target::Network(_) => false,
    };
    match facts.locks.iter().find(|lock| lock.holds_at(now) && covers(&lock.target)) {
        None => Ok(()),
        Some(lock) => {
            Err(Denial::Locked { target: lock.target.clone(), reason: lock.reason.clone() })
        }
    }
}

/// What a grant must have left to be worth a certificate: time for a login.
const AS_GOOD_AS_OVER: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use ssh_key::private::{Ed25519Keypair, PrivateKey};

    const NOW: Timestamp = Timestamp::from_millis(1_000_500);

    pub(crate) fn ask() -> Ask {
        Ask {
            identity: "ana".parse().unwrap(),
            key: PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32])).public_key().clone(),
            host: "db1".parse().unwrap(),
            login: "app".parse().unwrap(),
            role: None,
            duration: None,
            wishes: Wishes::default(),
            reason: None,
            login_key: None,
            mfa_at: None,
            from: None,
        }
    }

    pub(crate) fn facts() -> Facts {
        Facts {
            standing: Standing::Active,
            host: Some(Host {
                name: "db1".parse().unwrap(),
                labels: BTreeSet::from(["env=prod".parse().unwrap()]),
            }),
            ..Facts::default()
        }
    }

    pub(crate) fn roles() -> Roles {
        Roles::of(
            "[role.deploy]\nmembers=['ana']\nlogins=['app']\nhosts=['env=prod']\ndefault_duration='10m'\nmax_duration='1h'\n",
        )
    }

    pub(crate) fn rules(roles: &Roles) -> Rules<'_> {
        let (lifetime, backdate) = (Duration::from_secs(900), Duration::from_secs(30));
        let policy = default_policy();
        Rules { roles, policy, risk: None, behaviour: None, lifetime, backdate }
    }

    fn default_policy() -> &'static Policy {
        static DEFAULT: std::sync::OnceLock<Policy> = std::sync::OnceLock::new();
        DEFAULT.get_or_init(crate::policy::tests::default)
    }

    fn locked(target: Target) -> Facts {
        let lock = Lock { target, reason: "stolen laptop".into(), until: None };
        Facts { locks: Arc::new(vec![lock]), grants: vec![grant("g4", 300)], ..facts() }
    }

    fn grant(id: &str, left: u64) -> Grant {
        Grant {
            id: id.parse().unwrap(),
            role: "deploy".parse().unwrap(),
            from: NOW.before(Duration::from_secs(60)),
            until: NOW.after(Duration::from_secs(left)),
            request: None,
        }
    }

    #[test]
    fn a_member_gets_the_default_at_once() {
        let permit = decide(ask(), &facts(), &rules(&roles()), NOW).unwrap();
        assert_eq!(permit.plan(), Plan::Begin(Timestamp::from_secs(1_600)));
        assert_eq!(permit.valid_before(), Timestamp::from_secs(1_600));
        assert_eq!(permit.valid_after(), Timestamp::from_millis(970_500));
    }

    #[test]
    fn each_thing_that_is_missing_denies() {
        let roles = roles();
        let rules = rules(&roles);
        let no = |ask: Ask, facts: Facts| decide(ask, &facts, &rules, NOW).unwrap_err();
        let stranger = Ask { identity: "bob".parse().unwrap(), ..ask() };
        assert!(matches!(no(stranger, facts()), Denial::NoRole { .. }));
        let root = Ask { login: "root".parse().unwrap(), ..ask() };
        assert!(matches!(no(root, facts()), Denial::NoRole { .. }));
        let other = Ask { role: Some("dba".parse().unwrap()), ..ask() };
        assert!(matches!(no(other, facts()), Denial::NotThisRole { .. }));
        let nowhere = Facts { host: None, ..facts() };
        assert!(matches!(no(ask(), nowhere.clone()), Denial::NoRole { .. }));
        // Naming a role tells nothing of which hosts there are.
        let named = Ask { role: Some("dba".parse().unwrap()), ..ask() };
        assert_eq!(no(named.clone(), nowhere), no(named, facts()));
        for standing in [Standing::Unknown, Standing::Disabled] {
            assert!(matches!(no(ask(), Facts { standing, ..facts() }), Denial::Standing(_)));
        }
        let instant = Ask { duration: Some(Duration::from_millis(999)), ..ask() };
        assert_eq!(no(instant, facts()), Denial::TooShort);
    }

    #[test]
    fn people_without_the_rules_of_now_signed_get_nothing_and_workloads_are_not_asked() {
        let roles = roles();
        let (now, before) = (Hash::of(b"now"), Hash::of(b"before"));
        let rules = Rules { behaviour: Some(now), ..rules(&roles) };
        let get = |facts: Facts| decide(ask(), &facts, &rules, NOW);
        assert_eq!(get(facts()).unwrap_err(), Denial::Unsigned);
        let signed = |text| Facts { acknowledged: BTreeSet::from([text]), ..facts() };
        assert_eq!(get(signed(before)).unwrap_err(), Denial::Unsigned);
        assert!(get(signed(now)).is_ok());
        assert!(get(Facts { kind: identity::Kind::Workload, ..facts() }).is_ok());
    }

    #[test]
    fn each_lock_alone_denies_and_its_neighbour_does_not() {
        let roles = roles();
        let key = wire::certificate::fingerprint(ask().key.key_data());
        let table = [
            (Target::Identity("ana".parse().unwrap()), Target::Identity("bob".parse().unwrap())),
            (Target::Key(key), Target::Key(Fingerprint::of(b"other"))),
            (Target::Host("db1".parse().unwrap()), Target::Host("db2".parse().unwrap())),
            (Target::Role("deploy".parse().unwrap()), Target::Role("dba".parse().unwrap())),
            (Target::Login("app".parse().unwrap()), Target::Login("root".parse().unwrap())),
            (Target::Grant("g4".parse().unwrap()), Target::Grant("g5".parse().unwrap())),
        ];
        for (hit, miss) in table {
            let denial = decide(ask(), &locked(hit.clone()), &rules(&roles), NOW).unwrap_err();
            assert_eq!(denial, Denial::Locked { target: hit, reason: "stolen laptop".into() });
            assert!(decide(ask(), &locked(miss), &rules(&roles), NOW).is_ok());
        }
    }

    #[test]
    fn a_lock_that_is_over_denies_nothing() {
        let mut facts = locked(Target::Identity("ana".parse().unwrap()));
        Arc::make_mut(&mut facts.locks)[0].until = Some(NOW);
        assert!(decide(ask(), &facts, &rules(&roles()), NOW).is_ok());
    }

    #[test]
    fn a_grant_under_way_is_reused_unless_less_is_wanted() {
        let roles = roles();
        let facts = Facts { grants: vec![grant("g4", 300), grant("g5", 200)], ..facts() };
        let reused = decide(ask(), &facts, &rules(&roles), NOW).unwrap();
        assert!(matches!(reused.plan(), Plan::Reuse(id, _) if id.number() == 4));
        let brief = Ask { duration: Some(Duration::from_secs(60)), ..ask() };
        let begun = decide(brief, &facts, &rules(&roles), NOW).unwrap();
        assert_eq!(begun.plan(), Plan::Begin(Timestamp::from_secs(1_060)));
    }

    #[test]
    fn a_grant_that_is_as_good_as_over_is_not_reused_unless_its_role_rests() {
        let (roles, facts) = (roles(), Facts { grants: vec![grant("g4", 5)], ..facts() });
        let begun = decide(ask(), &facts, &rules(&roles), NOW).unwrap();
        assert!(matches!(begun.plan(), Plan::Begin(_)), "{begun:?}");
        let facts = Facts { grants: vec![grant("g4", 6)], ..facts };
        let reused = decide(ask(), &facts, &rules(&roles), NOW).unwrap();
        assert!(matches!(reused.plan(), Plan::Reuse(..)), "{reused:?}");
        let text = "[role.deploy]\nmembers=['ana']\nlogins=['app']\nhosts=['env=prod']\ncooling_off='10m'\n";
        let facts = Facts { grants: vec![grant("g4", 5)], ..facts };
        let reused = decide(ask(), &facts, &rules(&Roles::of(text)), NOW).unwrap();
        assert!(matches!(reused.plan(), Plan::Reuse(..)), "{reused:?}");
    }

    #[test]
    fn a_role_rests_after_its_last_grant_and_no_other_role_does() {
        let text = "[role.deploy]\nmembers=['ana']\nlogins=['app']\nhosts=['env=prod']\ncooling_off='10m'\n";
        let roles = Roles::of(text);
        let ended = |role: &str, ago| {
            let at = NOW.before(Duration::from_secs(ago));
            Facts { ended: BTreeMap::from([(role.parse().unwrap(), at)]), ..facts() }
        };
        let denial = decide(ask(), &ended("deploy", 599), &rules(&roles), NOW).unwrap_err();
        assert!(
            denial
                .to_string()
                .starts_with("role deploy rests on db1 for 10m after a grant; it can be"),
            "{denial}"
        );
        assert!(decide(ask(), &ended("deploy", 600), &rules(&roles), NOW).is_ok());
        assert!(decide(ask(), &ended("dba", 1), &rules(&roles), NOW).is_ok());
        // One that is under way is taken up, and one that ended since it was read counts.
        let running = Facts { grants: vec![grant("g4", 300)], ..ended("deploy", 1) };
        assert!(decide(ask(), &running, &rules(&roles), NOW).is_ok());
        let later = NOW.after(Duration::from_secs(301));
        let denial = decide(
            ask(),
            &Facts { grants: vec![grant("g4", 300)], ..facts() },
            &rules(&roles),
            later,
        );
        assert!(matches!(denial, Err(Denial::Resting { .. })), "{denial:?}");
    }

    #[test]
    fn a_grant_longer_than_the_role_now_allows_is_not_reused() {
        let facts = Facts { grants: vec![grant("g4", 7_200)], ..facts() };
        let permit = decide(ask(), &facts, &rules(&roles()), NOW).unwrap();
        assert!(matches!(permit.plan(), Plan::Begin(_)));
    }

    #[test]
    fn two_fitting_roles_must_be_chosen_between() {
        let roles = Roles::of(
            "[role.a]\nmembers=['ana']\nlogins=['app']\nhost_names=['db1']\n[role.b]\nmembers=['ana']\nlogins=['app']\nhost_names=['db1']\n",
        );
        let denial = decide(ask(), &facts(), &rules(&roles), NOW).unwrap_err();
        assert_eq!(denial, Denial::Ambiguous("a, b".into()));
        let chosen = Ask { role: Some("b".parse().unwrap()), ..ask() };
        assert_eq!(decide(chosen, &facts(), &rules(&roles), NOW).unwrap().role().as_str(), "b");
    }

    const BOUND: &str = "[role.deploy]\nmembers=['ana']\nlogins=['app']\nhosts=['env=prod']\nabilities=['pty','port-forwarding']\nsource_address=['10.0.0.0/8']\nforce_command='backup --all'\n";

    #[test]
    fn a_request_takes_away_and_never_adds_or_replaces() {
        let roles = Roles::of(BOUND);
        let get = |wishes: Wishes| decide(Ask { wishes, ..ask() }, &facts(), &rules(&roles), NOW);
        let networks = |text| Some(wire::network::Networks::from_option(text).unwrap());
        let options = |permit: &Permit| permit.bounds().critical_options();
        let plain = get(Wishes::default()).unwrap();
        assert_eq!(options(&plain)["source-address"], "10.0.0.0/8");
        assert_eq!(options(&plain)["force-command"], "backup --all");
        // Vault's fault: one option that is asked for made the role's others go away.
        let narrowed =
            get(Wishes { sources: networks("10.1.0.0/16"), ..Wishes::default() }).unwrap();
        assert_eq!(options(&narrowed)["source-address"], "10.1.0.0/16");
        assert_eq!(options(&narrowed)["force-command"], "backup --all");
        let denied = |wishes: Wishes| get(wishes).unwrap_err().to_string();
        let wide = Wishes { sources: networks("0.0.0.0/0"), ..Wishes::default() };
        assert_eq!(
            denied(wide),
            "role deploy lets in from 10.0.0.0/8 only, and 0.0.0.0/0 is not within"
        );
        let other = Wishes { command: Some("sh".parse().unwrap()), ..Wishes::default() };
        assert!(denied(other).starts_with("role deploy forces the command \"backup --all\""));
        let more = BTreeSet::from([wire::options::Ability::AgentForwarding]);
        let more = Wishes { only: Some(more), ..Wishes::default() };
        assert_eq!(denied(more), "role deploy does not allow agent-forwarding");
    }

    #[test]
    fn where_a_security_key_is_demanded_a_plain_one_is_denied() {
        let base = "[role.deploy]\nmembers=['ana']\nlogins=['app']\nhosts=['env=prod']\n";
        for demand in ["verify_required=true", "subject_keys=['sk-ed25519','sk-ecdsa']"] {
            let roles = Roles::of(&format!("{base}{demand}"));
            let denial = decide(ask(), &facts(), &rules(&roles), NOW).unwrap_err();
            let said = denial.to_string();
            assert!(said.starts_with("role deploy ") && said.contains("--key"), "{said}");
            let sk = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdopAAAABHNzaDo=";
            let with = Ask { key: PublicKey::from_openssh(sk).unwrap(), ..ask() };
            let permit = decide(with, &facts(), &rules(&roles), NOW).unwrap();
            let verifies = permit.bounds().critical_options().contains_key("verify-required");
            assert_eq!(verifies, demand.starts_with("verify"));
        }
    }

    proptest! {
        #[test]
        fn no_certificate_outlives_its_grant_its_lifetime_or_its_role(
            asked in proptest::option::of(1u64..1_000_000),
            left in proptest::collection::vec(0u64..100_000, 0..4),
            lifetime in 60u64..3_600,
            millis in 0u64..10_000_000,
        ) {
            let now = Timestamp::from_millis(millis);
            let grants = left.iter().zip(1..).map(|(left, id)| Grant {
                id: GrantId::try_new(id).unwrap(),
                role: "deploy".parse().unwrap(),
                from: now,
                until: Timestamp::from_secs(now.after(Duration::from_secs(*left)).secs()),
                request: None,
            }).collect();
            let roles = roles();
            let rules = Rules { lifetime: Duration::from_secs(lifetime), ..rules(&roles) };
            let wanted = Ask { duration: asked.map(Duration::from_secs), ..ask() };
            let permit = decide(wanted, &Facts { grants, ..facts() }, &rules, now).unwrap();
            let until = permit.plan().until();
            prop_assert!(permit.valid_before() <= until);
            prop_assert!(permit.valid_before() <= now.after(rules.lifetime));
            prop_assert!(until > now);
            prop_assert!(until <= now.after(Duration::from_secs(3_600)));
            if let Some(asked) = asked {
                prop_assert!(until <= now.after(Duration::from_secs(asked)));
            }
        }

        #[test]
        fn empty_means_none(members in 0usize..2, logins in 0usize..2, labels in 0usize..2) {
            let role = Role {
                limits: wire::limits::Limits::default(), teams: BTreeSet::new(), kinds: None,
                members: if members == 0 { BTreeSet::new() } else { BTreeSet::from(["ana".parse().unwrap()]) },
                logins: if logins == 0 { BTreeSet::new() } else { BTreeSet::from(["app".parse().unwrap()]) },
                hosts: if labels == 0 { BTreeSet::new() } else { BTreeSet::from(["env=prod".parse().unwrap()]) },
                host_names: BTreeSet::new(), default_secs: 1, max_secs: 1, cooling_off_secs: 0, abilities: BTreeSet::new(),
                requires: BTreeSet::new(), ticket: false,
                source_address: None, force_command: None, verify_required: false, announce_watching: false, subject_keys: None,
            };
            let nobody = Facts::default();
            let ana = &"ana".parse().unwrap();
            let open = role.opens(nobody.holder(ana), &"app".parse().unwrap())
                && role.reaches(&"db1".parse().unwrap(), &BTreeSet::from(["env=prod".parse().unwrap()]));
            prop_assert_eq!(open, members == 1 && logins == 1 && labels == 1);
        }
    }

    #[test]
    fn what_decides_and_drafts_does_no_io() {
        for source in [
            include_str!("access.rs"),
            include_str!("access/backing.rs"),
            include_str!("access/demand.rs"),
            include_str!("access/question.rs"),
            include_str!("certificate.rs"),
        ] {
            let code = source.split("#[cfg(test)]").next().unwrap();
            for banned in
                ["std::fs", "std::net", "tokio", "rusqlite", "clock::", "random::", "async"]
            {
                assert!(!code.contains(banned), "{banned}");
            }
        }
    }
}
