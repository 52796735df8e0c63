//! A question in the language's own values, each checked against the schema: what is missing there is an error here.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
    Schema,
};

use crate::question::{Access, Act, Being, Pending, Place, Question, Seen, Who};

/// The names of the schema, read once.
#[derive(Debug)]
pub(crate) struct Words {
    person: EntityTypeName,
    workload: EntityTypeName,
    team: EntityTypeName,
    role: EntityTypeName,
    group: EntityTypeName,
    host: EntityTypeName,
    request: EntityTypeName,
    session: EntityTypeName,
    system: EntityTypeName,
    day: EntityTypeName,
    urgency: EntityTypeName,
    action: EntityTypeName,
}

/// Why a question cannot be put.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the question does not fit the schema: {0}")]
    Request(Box<cedar_policy::RequestValidationError>),
    #[error("the context cannot be made: {0}")]
    Context(Box<cedar_policy::ContextCreationError>),
    #[error("what policy is told of who and where does not fit the schema: {0}")]
    Entities(Box<cedar_policy::entities_errors::EntitiesError>),
    #[error("an attribute cannot be made: {0}")]
    Attribute(Box<cedar_policy::EntityAttrEvaluationError>),
}

impl Words {
    pub(crate) fn new() -> Result<Self, Box<cedar_policy::ParseErrors>> {
        let word = |name: &str| format!("Curfew::{name}").parse().map_err(Box::new);
        Ok(Self {
            person: word("Person")?,
            workload: word("Workload")?,
            team: word("Team")?,
            role: word("Role")?,
            group: word("HostGroup")?,
            host: word("Host")?,
            request: word("Request")?,
            session: word("Session")?,
            system: word("System")?,
            day: word("Day")?,
            urgency: word("Urgency")?,
            action: word("Action")?,
        })
    }

    /// The question and what it speaks of.
    pub(crate) fn put(
        &self,
        question: &Question,
        schema: &Schema,
    ) -> Result<(Request, Entities), BuildError> {
        let principal = self.principal(&question.who)?;
        let resource = self.resource(&question.act)?;
        let action = uid(&self.action, action(&question.act));
        let context = Context::from_pairs(self.context(question))
            .map_err(|error| BuildError::Context(Box::new(error)))?;
        let request = Request::new(principal.uid(), action, resource.uid(), context, Some(schema))
            .map_err(|error| BuildError::Request(Box::new(error)))?;
        let entities = Entities::from_entities([principal, resource], Some(schema))
            .map_err(|error| BuildError::Entities(Box::new(error)))?;
        Ok((request, entities))
    }

    fn principal(&self, who: &Who) -> Result<Entity, BuildError> {
        let kind = match who.kind {
            Being::Person => &self.person,
            Being::Workload => &self.workload,
        };
        let mut said = vec![("name", text(&who.name)), ("disabled", truth(who.disabled))];
        if who.kind == Being::Person {
            said.push(("operator", truth(who.operator)));
        }
        let teams = who.teams.iter().map(|team| uid(&self.team, team));
        let roles = who.roles.iter().map(|role| uid(&self.role, role));
        entity(uid(kind, &who.name), said, teams.chain(roles))
    }

    fn resource(&self, act: &Act) -> Result<Entity, BuildError> {
        match act {
            Act::Request(access) | Act::Issue(access) | Act::Breakglass(access) => {
                self.place(&access.host)
            }
            Act::Approve(pending) => self.pending(pending),
            Act::Review(seen) | Act::Watch(seen) => self.seen(seen),
            Act::Lock | Act::Administer | Act::Export => {
                entity(uid(&self.system, "curfew"), Vec::new(), std::iter::empty())
            }
        }
    }

    fn place(&self, host: &Place) -> Result<Entity, BuildError> {
        let said = vec![
            ("name", text(&host.name)),
            ("labels", RestrictedExpression::new_set(host.labels.iter().map(|label| text(label)))),
            ("tier", number(host.tier())),
            ("owners", self.teams(host.owners())),
        ];
        entity(uid(&self.host, &host.name), said, self.groups(host))
    }

    fn pending(&self, pending: &Pending) -> Result<Entity, BuildError> {
        let said = vec![
            ("requester", text(&pending.requester)),
            ("beneficiary", text(&pending.beneficiary)),
            ("teams", self.teams(pending.teams.iter().map(String::as_str))),
            ("role", self.named(&self.role, &pending.role)),
            ("login", text(&pending.login)),
            ("host", text(&pending.host.name)),
            ("tier", number(pending.host.tier())),
            ("owners", self.teams(pending.host.owners())),
            ("seconds", number(pending.seconds)),
            ("risk", number(pending.risk.unwrap_or(UNKNOWN_RISK))),
        ];
        entity(uid(&self.request, &pending.id), said, self.groups(&pending.host))
    }

    fn seen(&self, seen: &Seen) -> Result<Entity, BuildError> {
        let said = vec![
            ("owner", text(&seen.owner)),
            ("teams", self.teams(seen.teams.iter().map(String::as_str))),
            ("role", self.named(&self.role, &seen.role)),
            ("login", text(&seen.login)),
            ("host", text(&seen.host.name)),
            ("tier", number(seen.host.tier())),
            ("owners", self.teams(seen.host.owners())),
        ];
        entity(uid(&self.session, &seen.id), said, self.groups(&seen.host))
    }

    fn context(&self, question: &Question) -> Vec<(String, RestrictedExpression)> {
        let moment = question.moment;
        let mut said = vec![
            ("mfaAge", number(question.mfa_age.unwrap_or(u64::MAX))),
            ("now", now(moment.millis)),
            ("day", self.named(&self.day, moment.day.name())),
            ("minute", number(moment.minute)),
        ];
        match &question.act {
            Act::Request(access) | Act::Issue(access) | Act::Breakglass(access) => {
                said.extend(self.access(access));
            }
            _ => {}
        }
        said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn access(&self, access: &Access) -> [(&'static str, RestrictedExpression); 12] {
        let evidence = &access.evidence;
        let quorums = evidence.quorums.iter().map(|name| text(name));
        [
            ("role", self.named(&self.role, &access.role)),
            ("login", text(&access.login)),
            ("seconds", number(access.seconds)),
            ("risk", number(access.risk.unwrap_or(UNKNOWN_RISK))),
            ("approvers", number(evidence.approvers)),
            ("quorums", RestrictedExpression::new_set(quorums)),
            (
                "urgency",
                self.named(&self.urgency, if evidence.urgent { "urgent" } else { "normal" }),
            ),
            ("reason", text(&access.reason)),
            ("ticket", text(evidence.ticket.as_deref().unwrap_or_default())),
            ("ticketOpen", truth(evidence.ticket_open)),
            ("onCall", truth(evidence.on_call)),
            ("renewal", truth(access.renewal)),
        ]
    }

    fn groups(&self, host: &Place) -> impl Iterator<Item = EntityUid> {
        host.labels.iter().map(|label| uid(&self.group, label))
    }

    fn teams<'a>(&self, names: impl Iterator<Item = &'a str>) -> RestrictedExpression {
        RestrictedExpression::new_set(names.map(|name| self.named(&self.team, name)))
    }

    fn named(&self, kind: &EntityTypeName, name: &str) -> RestrictedExpression {
        RestrictedExpression::new_entity_uid(uid(kind, name))
    }
}

fn entity(
    uid: EntityUid,
    said: Vec<(&str, RestrictedExpression)>,
    parents: impl Iterator<Item = EntityUid>,
) -> Result<Entity, BuildError> {
    let said = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Entity::new(uid, said, parents.collect())
        .map_err(|error| BuildError::Attribute(Box::new(error)))
}

/// The name of what is to be done, as policies write it.
pub(crate) const fn action(act: &Act) -> &'static str {
    match act {
        Act::Request(_) => "request",
        Act::Issue(_) => "issue",
        Act::Breakglass(_) => "breakglass",
        Act::Approve(_) => "approve",
        Act::Review(_) => "review",
        Act::Watch(_) => "watch",
        Act::Lock => "lock",
        Act::Administer => "administer",
        Act::Export => "export",
    }
}

fn uid(kind: &EntityTypeName, name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn truth(is: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(is)
}

fn number(number: impl Into<u64>) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(number.into()).unwrap_or(i64::MAX))
}

/// Whole seconds: no rule of a policy is finer.
fn now(millis: i64) -> RestrictedExpression {
    let at = jiff::Timestamp::from_second(millis.div_euclid(1_000)).unwrap_or(jiff::Timestamp::MIN);
    RestrictedExpression::new_datetime(at.to_string())
}

/// What is not known asks for more.
const UNKNOWN_RISK: u8 = 100;
