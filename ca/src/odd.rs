//! What was odd in a session: what it did and where it was, held against what is usual under its role and for its owner.
//!
//! What is usual is what risks are reckoned by: sessions that a reviewer found in order, or that nobody objected to for 14 days
//! ([`risk::Use::is_usual`]). A flood of sessions that nobody looked at teaches nothing, and what guards who gets in is usual only
//! once a reviewer has found it in order. Where too little is known, that is a reason by itself.
//! Pure: what was done is read from records in [`deeds`]; what was before comes from the ledger; [`keep`] brings both together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use risk::{Use, hour_of_week};
use wire::identifier::{HostName, Identity, Login, RoleName};
use wire::octets::plain;
use wire::odd::{MAX_EVIDENCE, MAX_TEXT, Odd, Oddity, Reason};
use wire::time::Timestamp;

use crate::risk::network;

pub(crate) mod deeds;
pub(crate) mod keep;

pub(crate) use deeds::Deeds;

/// What sessions have in common, or not. Each is held against sessions of one role, or of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Facet {
    /// That there was a session under the role.
    Role,
    /// That there was a session of the person.
    Person,
    /// A person's host.
    Host,
    /// A person's login.
    Login,
    /// A person's network.
    Source,
    /// A person's hour of the day, in UTC.
    Hour,
    /// Whether a person works on a weekend.
    Weekend,
    /// A program of a role.
    Program,
    /// Where a role connects to: network and port.
    Connect,
    /// Which port a role listens at.
    Listen,
    /// A file of the system that a role writes.
    Written,
    /// A watched file that a role opens.
    Opened,
}

/// A session, as far as it bears on this.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// Whose.
    pub(crate) identity: Identity,
    /// Whether that is a program.
    pub(crate) is_program: bool,
    /// Where.
    pub(crate) host: HostName,
    /// As whom.
    pub(crate) login: Login,
    /// Under which role.
    pub(crate) role: RoleName,
    /// From where, as its host gave it.
    pub(crate) remote: String,
    /// When it began.
    pub(crate) began: Timestamp,
    /// Incidents that were raised over it, each with its number.
    pub(crate) incidents: Vec<(u64, String)>,
}

/// What is known of one thing from sessions before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whether there was any, whether it counts or not.
    pub(crate) ever: bool,
    /// How many there were that say what is usual; no more than was asked for.
    pub(crate) usual: u64,
    /// Whether a reviewer found one of them in order.
    pub(crate) approved: bool,
}

/// What is known of everything that a session is held against.
#[derive(Debug, Default)]
pub(crate) struct Before(pub(crate) BTreeMap<(Facet, String), Known>);

impl Facet {
    /// As tables have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Person => "person",
            Self::Host => "host",
            Self::Login => "login",
            Self::Source => "source",
            Self::Hour => "hour",
            Self::Weekend => "weekend",
            Self::Program => "program",
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Written => "written",
            Self::Opened => "opened",
        }
    }

    /// Whether it is held against sessions of the role; otherwise of the person.
    pub(crate) const fn is_of_role(self) -> bool {
        matches!(
            self,
            Self::Role
                | Self::Program
                | Self::Connect
                | Self::Listen
                | Self::Written
                | Self::Opened
        )
    }

    /// Whether it says what was done, and so goes with what is deleted of that.
    pub(crate) const fn is_activity(self) -> bool {
        self.is_of_role() && !matches!(self, Self::Role)
    }

    /// How many sessions are enough to know it.
    pub(crate) const fn enough(self) -> u64 {
        match self {
            Self::Role => ENOUGH,
            Self::Person => ENOUGH_FOR_HOURS,
            _ => 1,
        }
    }

    /// Every one.
    pub(crate) const ALL: [Self; 12] = [
        Self::Role,
        Self::Person,
        Self::Host,
        Self::Login,
        Self::Source,
        Self::Hour,
        Self::Weekend,
        Self::Program,
        Self::Connect,
        Self::Listen,
        Self::Written,
        Self::Opened,
    ];
}

impl Known {
    /// Made of sessions in any order.
    pub(crate) fn of(
        uses: impl IntoIterator<Item = Use>,
        (at, learn_until): (Timestamp, Option<u64>),
    ) -> Self {
        let mut known = Self::default();
        for one in uses {
            known.add(&one, (at, learn_until));
        }
        known
    }

    /// Counts one session.
    pub(crate) fn add(&mut self, one: &Use, (at, learn_until): (Timestamp, Option<u64>)) {
        self.ever |= one.began <= at.secs();
        if one.is_usual(at.secs(), learn_until) {
            self.usual = self.usual.saturating_add(1);
        }
        self.approved |= one.is_approved(at.secs(), learn_until);
    }
}

impl Before {
    fn of(&self, facet: Facet, what: &str) -> Known {
        self.0.get(&(facet, what.to_owned())).copied().unwrap_or_default()
    }
}

impl Scene {
    /// What of the session itself becomes a habit, once it counts.
    pub(crate) fn own(&self) -> Vec<(Facet, String)> {
        let mut own = vec![
            (Facet::Role, String::new()),
            (Facet::Person, String::new()),
            (Facet::Host, self.host.to_string()),
            (Facet::Login, self.login.to_string()),
            (Facet::Hour, self.hour().to_string()),
        ];
        own.extend(self.source().map(|source| (Facet::Source, source)));
        own.extend(self.is_weekend().then(|| (Facet::Weekend, String::new())));
        own
    }

    /// What it is held against beside its own.
    pub(crate) fn asked(&self) -> Vec<(Facet, String)> {
        let near = (0..=2 * NEAR).map(|more| {
            let hour = self.hour().saturating_add(24 - NEAR).saturating_add(more) % 24;
            (Facet::Hour, hour.to_string())
        });
        near.collect()
    }

    /// The network that it came from.
    pub(crate) fn source(&self) -> Option<String> {
        let with_port = || self.remote.parse().ok().map(|socket: SocketAddr| socket.ip());
        let address: Option<IpAddr> = self.remote.parse().ok().or_else(with_port);
        address.map(network)
    }

    fn hour(&self) -> u8 {
        hour_of_week(self.began.secs()) % 24
    }

    /// The day of the week, 0 for the Thursday that everything begins with.
    fn day(&self) -> u8 {
        hour_of_week(self.began.secs()) / 24
    }

    fn is_weekend(&self) -> bool {
        matches!(self.day(), 2 | 3)
    }
}

/// What is odd in a session that did this, seen from what was before.
pub(crate) fn judge(scene: &Scene, deeds: &Deeds, before: &Before, as_of: Timestamp) -> Odd {
    let mut reasons = plainly(scene, deeds);
    reasons.extend(guarded(deeds, before));
    if before.of(Facet::Role, "").usual < ENOUGH {
        let says = format!(
            "little is known of role {}: fewer than {ENOUGH} sessions under it say yet what is usual",
            scene.role
        );
        reasons.push(reason(Oddity::UnknownRole, says));
    } else {
        reasons.extend(by_role(scene, deeds, before));
    }
    if before.of(Facet::Person, "").usual < ENOUGH {
        let says = format!(
            "little is known of {}: fewer than {ENOUGH} sessions of theirs say yet what is usual",
            scene.identity
        );
        reasons.push(reason(Oddity::UnknownPerson, says));
    } else {
        reasons.extend(by_person(scene, before));
    }
    Odd::new(reasons, as_of)
}

/// What is odd whatever was before.
fn plainly(scene: &Scene, deeds: &Deeds) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some((number, words)) = scene.incidents.first() {
        let named = scene.incidents.iter().map(|(number, words)| format!("{number}: {words}"));
        let says = format!("incident {number} was raised over it: {}", short(words));
        reasons.push(listed(Oddity::Incident, named.collect(), |_| says));
    }
    if deeds.survivors > 0 {
        let says = format!("{} of its processes outlived it", deeds.survivors);
        reasons.push(reason(Oddity::Survivors, says));
    }
    if scene.is_program && deeds.had_terminal {
        let says = format!(
            "{} is a workload, and somebody used a terminal in its session",
            scene.identity
        );
        reasons.push(reason(Oddity::ByHand, says));
    }
    if !deeds.nameless.is_empty() {
        let says = |named: String| format!("ran what has no name on any disk any more: {named}");
        reasons.push(listed(Oddity::Nameless, deeds.nameless.clone(), says));
    }
    if !deeds.unseen.is_empty() {
        let says = |named: String| format!("not all that was done in it was seen: {named}");
        reasons.push(listed(Oddity::Unseen, deeds.unseen.clone(), says));
    }
    reasons
}

/// Files that guard who gets in, unless a reviewer has found that in order before.
fn guarded(deeds: &Deeds, before: &Before) -> Option<Reason> {
    let of = deeds.of(Facet::Written).filter(|deed| deed.is_guarded);
    let odd: Vec<String> = of
        .filter(|deed| !before.of(Facet::Written, &deed.what).approved)
        .map(|deed| deed.shown.clone())
        .collect();
    let says = |named: String| format!("wrote what guards who gets in: {named}");
    (!odd.is_empty()).then(|| listed(Oddity::GuardedFile, odd, says))
}

/// What nobody of the role does.
fn by_role(scene: &Scene, deeds: &Deeds, before: &Before) -> Vec<Reason> {
    let role = &scene.role;
    let kinds = [
        (Facet::Program, Oddity::NewProgram, "ran"),
        (Facet::Connect, Oddity::NewAddress, "connected to"),
        (Facet::Listen, Oddity::NewListener, "listened at"),
        (Facet::Written, Oddity::NewFile, "wrote"),
        (Facet::Opened, Oddity::NewOpened, "opened"),
    ];
    let of = |(facet, oddity, verb): (Facet, Oddity, &str)| {
        let deeds = deeds.of(facet).filter(|deed| !deed.is_guarded);
        let unusual = deeds.map(|deed| (deed, before.of(facet, &deed.what)));
        let odd: Vec<(&deeds::Deed, Known)> =
            unusual.filter(|(_, known)| known.usual == 0).collect();
        let is_new = odd.iter().all(|(_, known)| !known.ever);
        let named = odd.iter().map(|(deed, _)| deed.shown.clone()).collect::<Vec<_>>();
        let says = |named: String| {
            let which = if is_new {
                format!("nobody with role {role} did before")
            } else {
                format!("is not usual under role {role}")
            };
            format!("{verb} {named}, which {which}")
        };
        (!named.is_empty()).then(|| listed(oddity, named, says))
    };
    kinds.into_iter().filter_map(of).collect()
}

/// What is not usual for the person.
fn by_person(scene: &Scene, before: &Before) -> Vec<Reason> {
    let Scene { identity, host, login, remote, .. } = scene;
    let mut reasons = Vec::new();
    let mut look = |oddity, known: Known, (first, later): (String, String)| {
        if known.usual == 0 {
            reasons.push(reason(oddity, if known.ever { later } else { first }));
        }
    };
    let on_host = before.of(Facet::Host, host.as_str());
    look(
        Oddity::NewHost,
        on_host,
        (
            format!("first time of {identity} on {host}"),
            format!("on {host}, which is not usual for {identity} yet"),
        ),
    );
    let as_login = before.of(Facet::Login, login.as_str());
    look(
        Oddity::NewLogin,
        as_login,
        (
            format!("first time of {identity} as {login}"),
            format!("as {login}, which is not usual for {identity} yet"),
        ),
    );
    let source = scene.source();
    let known = source.as_deref().map(|source| before.of(Facet::Source, source));
    let from = format!("from {}", short(remote));
    look(
        Oddity::NewSource,
        known.unwrap_or_default(),
        (
            format!("{from}, a network that {identity} never came from"),
            format!("{from}, a network that is not usual for {identity} yet"),
        ),
    );
    reasons.extend(hour(scene, before));
    reasons
}

/// A time at which the person does not work, once enough is known of when they do.
fn hour(scene: &Scene, before: &Before) -> Option<Reason> {
    if before.of(Facet::Person, "").usual < ENOUGH_FOR_HOURS {
        return None;
    }
    let mut near = scene.asked().into_iter();
    let is_hour = near.any(|(facet, what)| before.of(facet, &what).usual > 0);
    let is_day = !scene.is_weekend() || before.of(Facet::Weekend, "").usual > 0;
    if is_hour && is_day {
        return None;
    }
    let minutes = scene.began.secs() / 60;
    let day = DAYS.get(usize::from(scene.day())).copied().unwrap_or("day");
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    let why = if is_day { "outside of the hours" } else { "on a weekend, outside of the days" };
    let says = format!(
        "began at {hour:02}:{minute:02} UTC on a {day}, {why} on which {} works",
        scene.identity
    );
    Some(reason(Oddity::NewHour, says))
}

fn reason(oddity: Oddity, says: String) -> Reason {
    Reason { oddity, weight: oddity.weight(), says: plain(&says), evidence: Vec::new(), more: 0 }
}

/// A reason with what it rests on, of which the first few are named.
fn listed(oddity: Oddity, all: Vec<String>, says: impl FnOnce(String) -> String) -> Reason {
    let evidence: Vec<String> = all.iter().take(MAX_EVIDENCE).map(|one| short(one)).collect();
    let more = u64::try_from(all.len().saturating_sub(evidence.len())).unwrap_or(u64::MAX);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    let named = format!("{}{rest}", evidence.join(", "));
    Reason { evidence, more, ..reason(oddity, says(named)) }
}

/// At most so much of what a stranger chose, safe for a terminal.
fn short(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() <= MAX_TEXT {
        return text;
    }
    let kept: String = text.chars().take(MAX_TEXT.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// How many sessions say what is usual under a role, or for a person.
const ENOUGH: u64 = 3;
/// How many of them say when a person works.
const ENOUGH_FOR_HOURS: u64 = 10;
/// By how many hours a usual hour may be missed.
const NEAR: u8 = 2;
/// From the day that everything begins with.
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

#[cfg(test)]
mod tests;
