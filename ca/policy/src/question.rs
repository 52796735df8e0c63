//! What can be asked of the policy: who, what, under which circumstances. Every name was checked by whoever asks.

use std::collections::BTreeSet;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// A question. What is not known is left at its default, which is the value that asks for most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Question {
    /// Who asks.
    pub who: Who,
    /// What for.
    pub act: Act,
    /// When, and what holds at that moment.
    pub moment: Moment,
    /// Seconds since the second factor was shown; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_age: Option<u64>,
}

/// An identity, as far as policy goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Who {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Being,
    /// Its teams.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<String>,
    /// Its roles.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<String>,
    /// Whether it is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Whether it is an operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// Of what kind an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Being {
    /// A person.
    Person,
    /// A program with a name.
    Workload,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Ask for access.
    Request(Access),
    /// Be issued a certificate.
    Issue(Access),
    /// Take access in an emergency.
    Breakglass(Access),
    /// Approve a request.
    Approve(Pending),
    /// Judge a session afterwards.
    Review(Seen),
    /// Look into a session.
    Watch(Seen),
    /// Lock or unlock something.
    Lock,
    /// Change identities, hosts, keys.
    Administer,
    /// Take records out.
    Export,
}

impl Act {
    /// In words, as in "does not let ana …".
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Request(_) => "ask for that",
            Self::Issue(_) | Self::Breakglass(_) => "do that",
            Self::Approve(_) => "approve that",
            Self::Review(_) => "review that session",
            Self::Watch(_) => "look into that session",
            Self::Lock => "lock, unlock or end what is of others",
            Self::Administer => "administer Curfew",
            Self::Export => "read or take out what is recorded of others",
        }
    }
}

/// Access to one login on one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Access {
    /// Where.
    pub host: Place,
    /// Under which role.
    pub role: String,
    /// As whom.
    pub login: String,
    /// For how long, in all.
    pub seconds: u64,
    /// Whether a grant is under way and this is one more certificate of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renewal: bool,
    /// Why, in the words of who asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// 0 to 100; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
    /// What others have said for it.
    #[serde(default, skip_serializing_if = "Evidence::is_empty")]
    pub evidence: Evidence,
}

/// What speaks for an access besides who asks. By default nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// Distinct people whose approvals count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub approvers: u32,
    /// Names of the quorums that were met.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub quorums: BTreeSet<String>,
    /// The ticket that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Whether the tracker says that the ticket is open and theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ticket_open: bool,
    /// Whether who asks is on call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_call: bool,
    /// Whether it was asked for as urgent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

impl Evidence {
    /// Whether nothing speaks for it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A host, as far as policy goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its labels, `key=value`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
}

impl Place {
    /// How strictly it is guarded: the number of its one label `tier=N`. Without one, with several or with one that is
    /// no number it is [`STRICTEST`].
    #[must_use]
    pub fn tier(&self) -> u8 {
        let mut tiers = self.labels.iter().filter_map(|label| label.strip_prefix("tier="));
        match (tiers.next(), tiers.next()) {
            (Some(tier), None) => tier.parse().unwrap_or(STRICTEST),
            _ => STRICTEST,
        }
    }

    /// The teams that own it, by its labels `owner=TEAM`.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().filter_map(|label| label.strip_prefix("owner="))
    }
}

/// A request that waits for approvals, as one of its hosts sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pending {
    /// Its name.
    pub id: String,
    /// Who asked.
    pub requester: String,
    /// For whom.
    pub beneficiary: String,
    /// The teams of both.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<String>,
    /// The host.
    pub host: Place,
    /// The role.
    pub role: String,
    /// The login.
    pub login: String,
    /// How long it is to last.
    pub seconds: u64,
    /// 0 to 100; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
}

/// A session, as far as policy goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// Their teams.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<String>,
    /// Where.
    pub host: Place,
    /// Under which role.
    pub role: String,
    /// As whom.
    pub login: String,
}

/// A moment, with the day and the time of day that people there see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970, UTC.
    pub millis: i64,
    /// The day of the week there.
    pub day: Day,
    /// Minutes since midnight there.
    pub minute: u16,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// The first.
    Monday,
    /// The second.
    Tuesday,
    /// The third.
    Wednesday,
    /// The fourth.
    Thursday,
    /// The fifth.
    Friday,
    /// The sixth.
    Saturday,
    /// The seventh.
    Sunday,
}

impl Moment {
    /// The moment as it is in a time zone. One that no calendar has is as early as calendars go.
    #[must_use]
    pub fn at(millis: i64, zone: &TimeZone) -> Self {
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MIN);
        let local = at.to_zoned(zone.clone());
        let minute =
            i32::from(local.hour()).saturating_mul(60).saturating_add(local.minute().into());
        Self {
            millis: at.as_millisecond(),
            day: Day::of(local.weekday()),
            minute: u16::try_from(minute).unwrap_or(0),
        }
    }
}

impl Day {
    const fn of(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Monday,
            Weekday::Tuesday => Self::Tuesday,
            Weekday::Wednesday => Self::Wednesday,
            Weekday::Thursday => Self::Thursday,
            Weekday::Friday => Self::Friday,
            Weekday::Saturday => Self::Saturday,
            Weekday::Sunday => Self::Sunday,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Monday => "monday",
            Self::Tuesday => "tuesday",
            Self::Wednesday => "wednesday",
            Self::Thursday => "thursday",
            Self::Friday => "friday",
            Self::Saturday => "saturday",
            Self::Sunday => "sunday",
        }
    }
}

/// The tier of a host whose tier is not known.
pub const STRICTEST: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(labels: &[&str]) -> Place {
        Place { name: "db1".into(), labels: labels.iter().map(|&label| label.into()).collect() }
    }

    #[test]
    fn a_host_whose_tier_is_not_plain_is_of_the_strictest() {
        assert_eq!(place(&["tier=2"]).tier(), 2);
        for labels in [&["env=prod"][..], &["tier=2", "tier=3"], &["tier=x"], &["tier=256"], &[]] {
            assert_eq!(place(labels).tier(), STRICTEST, "{labels:?}");
        }
    }

    #[test]
    fn a_host_belongs_to_every_team_that_its_labels_name() {
        let place = place(&["owner=dba", "owner=sre", "env=prod"]);
        assert_eq!(place.owners().collect::<Vec<_>>(), ["dba", "sre"]);
    }

    #[test]
    fn the_day_and_the_minute_are_those_of_the_zone() {
        // 2026-11-30 23:30 UTC, a Monday.
        let millis = 1_796_081_400_000;
        let utc = Moment::at(millis, &TimeZone::UTC);
        assert_eq!((utc.day, utc.minute), (Day::Monday, 1_410));
        let east = Moment::at(millis, &TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!((east.day, east.minute), (Day::Tuesday, 30));
    }
}
