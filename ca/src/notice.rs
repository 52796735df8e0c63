//! What the authority tells others by itself: that somebody must approve, that something must be looked into, that rules changed.
//!
//! Shape: a notice follows from an entry of the ledger and from how the matter stands when it is told; it has that entry's number, so
//! that whoever is told twice knows. Told in the order of the entries, at least once: the ledger is the queue
//! ([`crate::ledger::Noted`]), and how far a receiver has been told lies beside it.
//! What a notice is, is decided here and is pure; [`receiver`] tells it, [`keep`] goes on until it was told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::api::SessionView;
use wire::identifier::{Fingerprint, HostName, Identity, RequestId, SessionId};
use wire::incident::Cause;
use wire::key_request::{KeyRequestState, KeyRequestView};
use wire::lock::Target;
use wire::octets::plain;
use wire::order::{Instruction, Order, SignedOrder};
use wire::request::{Asked, End, RequestDetail, RequestView, State};
use wire::retention::Class;
use wire::time::Timestamp;

pub(crate) use crate::config::notify::Event;
use crate::ledger::{Kind, Noted};

pub(crate) mod keep;
pub(crate) mod receiver;

/// What a receiver is told of.
#[derive(Debug, Clone)]
pub(crate) struct Interest<'a> {
    /// The events.
    pub(crate) events: &'a BTreeSet<Event>,
    /// The score from which a request is a risk.
    pub(crate) risk_from: u8,
    /// The weight from which that a session was odd is told.
    pub(crate) odd_from: u8,
}

/// What a receiver is sent, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Notice {
    /// The version of this format.
    version: u32,
    /// The authority, by its root.
    authority: Fingerprint,
    /// The entry that it follows from; the same number is the same notice, told again.
    entry: u64,
    /// When that was made.
    at: Timestamp,
    /// Of what it is.
    event: Event,
    /// In words, on one line; under the name that hooks of chat tools read.
    text: String,
    /// What to type next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Who can, as far as there are few.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    who: BTreeSet<Identity>,
    /// The same for programs.
    about: About,
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum About {
    Incident { number: u64, host: HostName, cause: Box<Cause> },
    Request { request: Box<RequestView>, risk: Option<u8> },
    Key { request: u64, identity: Identity, by: Identity, key: Fingerprint, until: Timestamp },
    Deletion { deletion: u64, by: Identity, class: Class, sessions: usize },
    Rules { what: &'static str, refused: Option<String> },
    Lock { target: Target, by: String, reason: String, lifted: bool },
    Refusal { by: String, reason: String },
    Session { session: Box<SessionView> },
    Nothing,
}

/// How the matter of an entry stands when it is told.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The request that the entry is about.
    pub(crate) request: Option<Box<RequestDetail>>,
    /// The request for a key.
    pub(crate) key: Option<Box<KeyRequestView>>,
    /// The session, with what was odd in it.
    pub(crate) session: Option<Box<SessionView>>,
}

/// What must be looked up before an entry can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// Nothing.
    Nothing,
    /// This request for access.
    Request(RequestId),
    /// This request for a key.
    Key(u64),
    /// This session.
    Session(SessionId),
}

/// An entry that says other things than its kind says.
#[derive(Debug, thiserror::Error)]
#[error("entry {entry} cannot be told of: {why}")]
pub(crate) struct Unreadable {
    entry: u64,
    why: serde_json::Error,
}

/// [`Kind::RequestMade`], as far as it matters here.
#[derive(Deserialize)]
struct Made {
    asked: String,
}

/// [`Kind::RequestMoved`].
#[derive(Deserialize)]
struct Moved {
    by: String,
    request: RequestId,
    state: State,
    reason: Option<String>,
}

/// [`Kind::Incident`].
#[derive(Deserialize)]
struct Happened {
    host: HostName,
    cause: Box<Cause>,
}

/// [`Kind::DeletionAsked`].
#[derive(Deserialize)]
struct Deleting {
    by: Identity,
    class: Class,
    reason: String,
    sessions: Vec<Value>,
}

/// [`Kind::Lock`] and [`Kind::Unlock`].
#[derive(Deserialize)]
struct Ordered {
    by: String,
    reason: String,
    signed: SignedOrder,
}

/// [`Kind::SessionOdd`].
#[derive(Deserialize)]
struct Odd {
    session: SessionId,
    weight: u8,
}

/// Whatever was refused: a file, a request, an act, a certificate.
#[derive(Deserialize)]
struct Refused {
    #[serde(alias = "identity")]
    by: Option<String>,
    reason: String,
}

impl Event {
    /// The kinds of entries that it can follow from.
    pub(crate) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Incident => &[Kind::Incident],
            Self::Request | Self::Risk => &[Kind::RequestMade],
            Self::Decision => &[Kind::RequestMoved],
            Self::Key => &[Kind::KeyRequested],
            Self::Deletion => &[Kind::DeletionAsked],
            Self::Rules => &[
                Kind::RolesChanged,
                Kind::RolesRefused,
                Kind::PolicyChanged,
                Kind::PolicyRefused,
                Kind::RiskChanged,
                Kind::RiskRefused,
                Kind::BehaviourChanged,
            ],
            Self::Lock => &[Kind::Lock, Kind::Unlock],
            Self::Refusal => {
                &[Kind::Denial, Kind::RequestRefused, Kind::ActRefused, Kind::ExtensionDenied]
            }
            Self::Odd => &[Kind::SessionOdd],
            Self::Test => &[],
        }
    }
}

/// What to look up for an entry.
pub(crate) fn look_up(noted: &Noted) -> Result<LookUp, Unreadable> {
    let Some(body) = &noted.body else { return Ok(LookUp::Nothing) };
    Ok(match noted.kind {
        Kind::RequestMade => {
            let made: Made = read(noted, body)?;
            Asked::parse(&made.asked)
                .map_or(LookUp::Nothing, |asked| LookUp::Request(asked.request))
        }
        Kind::RequestMoved => LookUp::Request(read::<Moved>(noted, body)?.request),
        Kind::KeyRequested => LookUp::Key(noted.entry),
        Kind::SessionOdd => LookUp::Session(read::<Odd>(noted, body)?.session),
        _ => LookUp::Nothing,
    })
}

impl Notice {
    /// What there is to tell of an entry to whoever has this interest; nothing when that is nothing.
    pub(crate) fn of(
        authority: &Fingerprint,
        noted: &Noted,
        standing: &Standing,
        interest: &Interest<'_>,
    ) -> Result<Option<Self>, Unreadable> {
        // What was erased is told to nobody.
        let Some(body) = &noted.body else { return Ok(None) };
        let told = match noted.kind {
            Kind::Incident => Some(incident(noted.entry, read(noted, body)?)),
            Kind::RequestMade => standing.request.as_deref().and_then(|it| made(it, interest)),
            Kind::RequestMoved => {
                let moved: Moved = read(noted, body)?;
                standing.request.as_deref().and_then(|it| decided(it, &moved))
            }
            Kind::KeyRequested => standing.key.as_deref().and_then(wished),
            Kind::DeletionAsked => Some(deletion(noted.entry, read(noted, body)?)),
            Kind::Lock | Kind::Unlock => {
                locked(read(noted, body)?).map_err(|why| Unreadable { entry: noted.entry, why })?
            }
            Kind::SessionOdd => {
                let odd: Odd = read(noted, body)?;
                let is_theirs = odd.weight >= interest.odd_from;
                standing.session.as_deref().filter(|_| is_theirs).map(|it| reviewable(it, &odd))
            }
            kind if Event::Refusal.kinds().contains(&kind) => Some(refusal(read(noted, body)?)),
            kind => rules(kind, body),
        };
        let told = told.filter(|told| interest.events.contains(&told.event));
        Ok(told.map(|told| told.signed(authority, (noted.entry, noted.at))))
    }

    /// One by which it is tried whether a receiver can be told.
    pub(crate) fn test(authority: &Fingerprint, now: Timestamp) -> Self {
        let text = "This is a test: Curfew can tell you what goes on.".to_owned();
        Told::new(Event::Test, text, About::Nothing).signed(authority, (0, now))
    }

    /// The entry that it follows from.
    pub(crate) const fn entry(&self) -> u64 {
        self.entry
    }

    /// Of what it is.
    pub(crate) const fn event(&self) -> Event {
        self.event
    }
}

/// A notice before it has its number.
struct Told {
    event: Event,
    text: String,
    next: Option<String>,
    who: BTreeSet<Identity>,
    about: About,
}

impl Told {
    fn new(event: Event, text: String, about: About) -> Self {
        Self { event, text, next: None, who: BTreeSet::new(), about }
    }

    fn next(mut self, command: String) -> Self {
        self.next = Some(command);
        self
    }

    fn signed(self, authority: &Fingerprint, (entry, at): (u64, Timestamp)) -> Notice {
        let Self { event, text, next, who, about } = self;
        let mut text: String = plain(&text).chars().take(MAX_TEXT).collect();
        if let Some(next) = &next {
            text = format!("{text} — {next}");
        }
        let (version, authority) = (wire::VERSION, authority.clone());
        Notice { version, authority, entry, at, event, text, next, who, about }
    }
}

fn incident(number: u64, happened: Happened) -> Told {
    let Happened { host, cause } = happened;
    let text = format!("INCIDENT {number} on {host}: {cause}");
    Told::new(Event::Incident, text, About::Incident { number, host, cause })
        .next("curfew-ca incident list".to_owned())
}

/// A request that was made: a risk, or something that waits.
fn made(detail: &RequestDetail, interest: &Interest<'_>) -> Option<Told> {
    let score = detail.risk.as_ref().map(|risk| risk.score);
    let is_risky = score.is_some_and(|score| score >= interest.risk_from);
    let waits = matches!(detail.view.state, State::Pending { .. });
    let event = match (is_risky && interest.events.contains(&Event::Risk), waits) {
        (true, _) => Event::Risk,
        (false, true) => Event::Request,
        (false, false) => return None,
    };
    let view = &detail.view;
    let urgent = if view.urgent { "URGENT: " } else { "" };
    let risk = score.map_or_else(String::new, |score| format!(", risk {score} of 100"));
    let asks = asked(view);
    let text = format!("{urgent}{asks}{risk}: {}", view.reason);
    let told = Told::new(event, text, about(detail));
    if !waits {
        return Some(told.next(format!("curfew requests show {}", view.request)));
    }
    let mut told = told.next(format!("curfew approve {}", view.request));
    told.who = who(detail);
    Some(told)
}

/// What became of one; that it is used, or waits once more, is no decision.
fn decided(detail: &RequestDetail, moved: &Moved) -> Option<Told> {
    let became = match moved.state {
        State::Pending { .. } | State::Active { .. } => return None,
        State::Scheduled { .. } | State::Approved { .. } => "approved",
        State::Ended { how: End::Returned, .. } => "given back",
        State::Ended { how, .. } => how.word(),
    };
    let by = if moved.by.starts_with("local:") { "" } else { moved.by.as_str() };
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    let why = moved.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let text = format!("{became}{by}{why} — {}", asked(&detail.view));
    let next = format!("curfew requests show {}", detail.view.request);
    Some(Told::new(Event::Decision, text, about(detail)).next(next))
}

fn about(detail: &RequestDetail) -> About {
    let risk = detail.risk.as_ref().map(|risk| risk.score);
    About::Request { request: Box::new(detail.view.clone()), risk }
}

fn asked(view: &RequestView) -> String {
    let hosts: Vec<&str> = view.hosts.iter().map(HostName::as_str).collect();
    let RequestView { request, identity, role, .. } = view;
    format!("{request}: {identity} asks for {role} on {}", hosts.join(", "))
}

/// Whoever could fill a seat that is free, or approve what a policy demands.
fn who(detail: &RequestDetail) -> BTreeSet<Identity> {
    let by_policy = detail.demanded.iter().flat_map(|demanded| &demanded.quorums);
    let seats = detail.missing.iter().chain(by_policy).flat_map(|missing| &missing.seats);
    let named = seats.flat_map(|seat| &seat.who);
    let others = detail.demanded.iter().flat_map(|demanded| &demanded.who);
    named.chain(others).cloned().collect()
}

fn wished(view: &KeyRequestView) -> Option<Told> {
    if view.state != KeyRequestState::Waiting {
        return None;
    }
    let KeyRequestView { request, identity, by, key, until, .. } = view.clone();
    let brought = if identity == by { String::new() } else { format!(" (brought by {by})") };
    let text = format!("{identity} asks to log in with the key {key}{brought}");
    let about = About::Key { request, identity, by, key, until };
    Some(Told::new(Event::Key, text, about).next(format!("curfew keys approve {request}")))
}

fn deletion(number: u64, asked: Deleting) -> Told {
    let Deleting { by, class, reason, sessions } = asked;
    let sessions = sessions.len();
    let text = format!("{by} asks to delete {class} of {sessions} sessions: {reason}");
    Told::new(Event::Deletion, text, About::Deletion { deletion: number, by, class, sessions })
        .next(format!("curfew retention approve {number}"))
}

fn locked(ordered: Ordered) -> Result<Option<Told>, serde_json::Error> {
    let Ordered { by, reason, signed } = ordered;
    let order: Order = serde_json::from_str(&signed.order)?;
    let (target, lifted) = match order.instruction {
        Instruction::Lock(lock) => (lock.target, false),
        Instruction::Unlock(target) => (target, true),
        Instruction::Trust(_) | Instruction::Restored(_) => return Ok(None),
    };
    let word = if lifted { "unlocked" } else { "locked" };
    let text = format!("{target} is {word} by {by}: {reason}");
    Ok(Some(Told::new(Event::Lock, text, About::Lock { target, by, reason, lifted })))
}

/// A session in which something was odd. Why is said as it is known now: what was deleted meanwhile is told to nobody.
fn reviewable(view: &SessionView, odd: &Odd) -> Told {
    let SessionView { session, identity, login, host, role, .. } = view;
    let why = view.odd.as_ref().map_or("", |glance| glance.first.as_str());
    let weight = odd.weight;
    let text = format!(
        "odd ({weight} of 100): session {session} of {identity} as {login}@{host} under role {role}: {why}"
    );
    Told::new(Event::Odd, text, About::Session { session: Box::new(view.clone()) })
        .next(format!("curfew sessions show {session}"))
}

fn refusal(refused: Refused) -> Told {
    let Refused { by, reason } = refused;
    let by = by.unwrap_or_default();
    let text = format!("refused to {by}: {reason}");
    Told::new(Event::Refusal, text, About::Refusal { by, reason })
}

fn rules(kind: Kind, body: &Value) -> Option<Told> {
    let what = match kind {
        Kind::RolesChanged | Kind::RolesRefused => "the roles",
        Kind::PolicyChanged | Kind::PolicyRefused => "the policy",
        Kind::RiskChanged | Kind::RiskRefused => "the weights of risks",
        Kind::BehaviourChanged => "the rules of behaviour",
        _ => return None,
    };
    let is_refused = matches!(kind, Kind::RolesRefused | Kind::PolicyRefused | Kind::RiskRefused);
    let reason = body.get("reason").and_then(Value::as_str).unwrap_or_default();
    let refused = is_refused.then(|| reason.to_owned());
    let text = match &refused {
        None => format!("{what} changed"),
        Some(reason) => {
            format!("a change of {what} is refused, and what held before stays in force: {reason}")
        }
    };
    Some(Told::new(Event::Rules, text, About::Rules { what, refused }))
}

fn read<'a, T: Deserialize<'a>>(noted: &Noted, body: &'a Value) -> Result<T, Unreadable> {
    T::deserialize(body).map_err(|why| Unreadable { entry: noted.entry, why })
}

/// Longest line: a host has a say in what an incident says.
const MAX_TEXT: usize = 2_000;

#[cfg(test)]
mod tests;
