//! What somebody may do beside using their roles: whatever the policy in force says. On the authority's own machine, everything:
//! who is there could change the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use policy::{Act, Place, Question, Seen, Verdict, Who};
use wire::api::SessionView;
use wire::identifier::{HostName, Identity};
use wire::problem::Code;

use super::caller::Caller;
use super::refusal::Refusal;
use crate::access::Rules;
use crate::access::question::who;
use crate::authority::Authority;
use crate::clock;
use crate::policy::{Judged, Policy};
use crate::role::Holder;

/// What somebody may do now.
pub(crate) enum Power {
    /// Everything.
    All,
    /// What the policy says.
    Asked(Box<Asked>),
    /// Nothing: they are locked, and could lift the lock.
    Locked,
}

/// Somebody of whom the policy is asked.
pub(crate) struct Asked {
    policy: Policy,
    question: Question,
}

/// Somebody who looks at sessions, with what policy must know of these.
pub(crate) struct Onlooker {
    power: Power,
    own: Option<Identity>,
    hosts: BTreeMap<HostName, BTreeSet<String>>,
    teams: BTreeMap<Identity, BTreeSet<String>>,
}

/// May lock, unlock, and end what is of others.
#[derive(Debug, Clone)]
pub(crate) struct Locker(pub(crate) Caller);

/// May change what there is: identities, hosts, keys, incidents.
#[derive(Debug, Clone)]
pub(crate) struct Administrator(pub(crate) Caller);

/// May read and take out what is recorded of others.
#[derive(Debug, Clone)]
pub(crate) struct Exporter(pub(crate) Caller);

impl Power {
    /// Of whoever calls.
    pub(crate) async fn of(authority: &Authority, caller: &Caller) -> Result<Self, Refusal> {
        let login = match caller {
            Caller::Local => return Ok(Self::All),
            Caller::Person(login) if login.locked => return Ok(Self::Locked),
            Caller::Person(login) => login,
        };
        let teams = authority.ledger.teams_of(login.identity.clone()).await?;
        let (roles, policy, now) = (authority.roles(), authority.policy(), clock::now());
        let holder = Holder { identity: &login.identity, kind: login.kind, teams: &teams };
        // Whose login holds is not disabled.
        let who: Who = who(holder, (false, login.operator), &Rules::of(&roles, &policy));
        let mfa_age = login.mfa_at.map(|at| now.since(at).as_secs().saturating_add(1));
        let question = Question { who, act: Act::Lock, moment: policy.moment(now), mfa_age };
        Ok(Self::Asked(Box::new(Asked { policy, question })))
    }

    /// Whether they may do this.
    pub(crate) fn may(&self, act: Act) -> bool {
        match self {
            Self::All => true,
            Self::Asked(asked) => is_yes(&asked.judge(act)),
            Self::Locked => false,
        }
    }

    /// A refusal, unless they may do this. That somebody tried is an entry.
    pub(crate) async fn demand(
        &self,
        (authority, caller): (&Authority, &Caller),
        act: Act,
    ) -> Result<(), Refusal> {
        let judged = match self {
            Self::All => return Ok(()),
            Self::Locked => return Err(Refusal::new(Code::Denied, LOCKED)),
            Self::Asked(asked) => asked.judge(act),
        };
        if is_yes(&judged) {
            return Ok(());
        }
        let reason = judged.to_string();
        tracing::info!(by = caller.actor().as_str(), reason, "something was not allowed");
        authority.ledger.refuse_act(caller.actor(), judged, clock::now()).await?;
        Err(Refusal::new(Code::Denied, reason))
    }
}

impl Asked {
    fn judge(&self, act: Act) -> Judged {
        self.policy.judge(Question { act, ..self.question.clone() })
    }
}

impl Onlooker {
    /// Whoever calls; what is known of hosts and teams is read where the policy is asked.
    pub(crate) async fn of(authority: &Authority, caller: &Caller) -> Result<Self, Refusal> {
        let power = Power::of(authority, caller).await?;
        let own = match caller {
            Caller::Local => None,
            Caller::Person(login) => Some(login.identity.clone()),
        };
        let mut onlooker = Self { power, own, hosts: BTreeMap::new(), teams: BTreeMap::new() };
        if let Power::Asked(_) = onlooker.power {
            for host in authority.ledger.hosts().await? {
                let labels = host.labels.iter().map(ToString::to_string).collect();
                onlooker.hosts.insert(host.name, labels);
            }
            for row in authority.ledger.teams().await? {
                for member in row.members {
                    let teams = onlooker.teams.entry(member.identity).or_default();
                    teams.insert(row.team.to_string());
                }
            }
        }
        Ok(onlooker)
    }

    /// Whether they may look into a session: their own, or as the policy says.
    pub(crate) fn may_watch(&self, session: &SessionView) -> bool {
        self.own.as_ref() == Some(&session.identity)
            || self.power.may(Act::Watch(self.seen(session)))
    }

    /// Whether they may give a verdict on a session.
    pub(crate) fn may_review(&self, session: &SessionView) -> bool {
        self.power.may(Act::Review(self.seen(session)))
    }

    /// A refusal, unless they may give a verdict on a session.
    pub(crate) async fn demand_review(
        &self,
        with: (&Authority, &Caller),
        session: &SessionView,
    ) -> Result<(), Refusal> {
        self.power.demand(with, Act::Review(self.seen(session))).await
    }

    /// A refusal, unless they may give a verdict on what somebody did under a request, on each of its hosts.
    pub(crate) async fn demand_verdict(
        &self,
        with: (&Authority, &Caller),
        asked: &wire::request::Asked,
    ) -> Result<(), Refusal> {
        for host in &asked.hosts {
            let labels = self.hosts.get(host).cloned().unwrap_or_default();
            let login = asked.logins.iter().next().map(ToString::to_string);
            let seen = Seen {
                id: asked.request.to_string(),
                owner: asked.identity.to_string(),
                teams: self.teams.get(&asked.identity).cloned().unwrap_or_default(),
                host: Place { name: host.to_string(), labels },
                role: asked.role.to_string(),
                login: login.unwrap_or_default(),
            };
            self.power.demand(with, Act::Review(seen)).await?;
        }
        Ok(())
    }

    /// Whether there is a host on which they may look into what others do.
    pub(crate) fn sees_others(&self) -> bool {
        if let Power::All | Power::Locked = self.power {
            return matches!(self.power, Power::All);
        }
        let on = |name: &str, labels: &BTreeSet<String>| {
            let host = Place { name: name.to_owned(), labels: labels.clone() };
            let [id, owner, role, login] = [(); 4].map(|()| String::new());
            let seen = Seen { id, owner, teams: BTreeSet::new(), host, role, login };
            self.power.may(Act::Watch(seen))
        };
        self.hosts.iter().any(|(name, labels)| on(name.as_str(), labels))
            || on("", &BTreeSet::new())
    }

    fn seen(&self, session: &SessionView) -> Seen {
        // A host that is gone has no labels, and counts as one of the strictest.
        let labels = self.hosts.get(&session.host).cloned().unwrap_or_default();
        Seen {
            id: session.session.to_string(),
            owner: session.identity.to_string(),
            teams: self.teams.get(&session.identity).cloned().unwrap_or_default(),
            host: Place { name: session.host.to_string(), labels },
            role: session.role.to_string(),
            login: session.login.to_string(),
        }
    }
}

/// A caller who may do this, or a refusal.
async fn allowed(
    parts: &mut Parts,
    authority: &Arc<Authority>,
    act: Act,
) -> Result<Caller, Refusal> {
    let caller = Caller::from_request_parts(parts, authority).await?;
    let power = Power::of(authority, &caller).await?;
    power.demand((authority, &caller), act).await?;
    Ok(caller)
}

impl FromRequestParts<Arc<Authority>> for Locker {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        allowed(parts, authority, Act::Lock).await.map(Self)
    }
}

impl FromRequestParts<Arc<Authority>> for Administrator {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        allowed(parts, authority, Act::Administer).await.map(Self)
    }
}

impl FromRequestParts<Arc<Authority>> for Exporter {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        allowed(parts, authority, Act::Export).await.map(Self)
    }
}

const fn is_yes(judged: &Judged) -> bool {
    matches!(judged.verdict(), Verdict::Allowed { .. })
}

const LOCKED: &str = "you are locked; another operator can lift that, or `curfew-ca unlock` on the authority's machine";
