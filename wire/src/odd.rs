//! What was odd in a session, so that whoever reviews looks at it first: reasons in words, each with what it rests on.
//!
//! It accuses nobody and decides nothing. Whole numbers; the same records and the same past give the same reasons.
//! Who can change this: whoever has the ledger's database. Gains: a session that is looked at late, or first.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What was odd in a session; no reasons where nothing was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odd {
    /// The sum of the reasons' weights, at most 100.
    pub weight: u8,
    /// As of when the past was looked at.
    pub as_of: Timestamp,
    /// Why, the heaviest first.
    pub reasons: Vec<Reason>,
}

/// One thing that was odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What kind of thing.
    pub oddity: Oddity,
    /// How much it weighs.
    pub weight: u8,
    /// In words, on one line, safe for a terminal.
    pub says: String,
    /// What it rests on, escaped: at most [`MAX_EVIDENCE`], each of at most [`MAX_TEXT`] characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more: u64,
}

/// What is odd, as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance {
    /// The sum of all weights, at most 100.
    pub weight: u8,
    /// The heaviest reason in words.
    pub first: String,
    /// How many reasons there are.
    pub reasons: u64,
}

/// The kinds of things that are odd, the heaviest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oddity {
    /// An incident was raised over it.
    Incident,
    /// It wrote a file that guards who gets in or who is root.
    GuardedFile,
    /// Processes outlived it.
    Survivors,
    /// Somebody used a terminal in a session of a workload.
    ByHand,
    /// It connected to where nobody of its role does.
    NewAddress,
    /// It ran a file without a name.
    Nameless,
    /// It ran a program that nobody of its role does.
    NewProgram,
    /// It listened where nobody of its role does.
    NewListener,
    /// It wrote files of the system that nobody of its role does.
    NewFile,
    /// It opened a watched file that nobody of its role does.
    NewOpened,
    /// It came from where this person does not.
    NewSource,
    /// It was on a host where this person is not.
    NewHost,
    /// It was as an account that this person does not use.
    NewLogin,
    /// It was at a time at which this person does not work.
    NewHour,
    /// What was done in it was not all seen.
    Unseen,
    /// Too little is known of the role.
    UnknownRole,
    /// Too little is known of the person.
    UnknownPerson,
    /// A version after this one says something that this one does not know.
    #[serde(other)]
    Other,
}

impl Oddity {
    /// Its name, as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::GuardedFile => "guarded-file",
            Self::Survivors => "survivors",
            Self::ByHand => "by-hand",
            Self::NewAddress => "new-address",
            Self::Nameless => "nameless",
            Self::NewProgram => "new-program",
            Self::NewListener => "new-listener",
            Self::NewFile => "new-file",
            Self::NewOpened => "new-opened",
            Self::NewSource => "new-source",
            Self::NewHost => "new-host",
            Self::NewLogin => "new-login",
            Self::NewHour => "new-hour",
            Self::Unseen => "unseen",
            Self::UnknownRole => "unknown-role",
            Self::UnknownPerson => "unknown-person",
            Self::Other => "other",
        }
    }

    /// How much it weighs.
    #[must_use]
    pub const fn weight(self) -> u8 {
        match self {
            Self::Incident | Self::GuardedFile => 40,
            Self::Survivors | Self::ByHand => 30,
            Self::NewAddress | Self::Nameless => 25,
            Self::NewProgram
            | Self::NewListener
            | Self::NewFile
            | Self::NewOpened
            | Self::NewSource => 20,
            Self::NewHost | Self::NewLogin | Self::Unseen => 15,
            Self::NewHour | Self::UnknownRole | Self::UnknownPerson => 10,
            Self::Other => 0,
        }
    }
}

impl Odd {
    /// These reasons, the heaviest first.
    #[must_use]
    pub fn new(mut reasons: Vec<Reason>, as_of: Timestamp) -> Self {
        reasons.sort_by_key(|reason| (std::cmp::Reverse(reason.weight), reason.oddity));
        let weight = reasons.iter().map(|reason| reason.weight).fold(0, u8::saturating_add);
        Self { weight: weight.min(MAX_WEIGHT), as_of, reasons }
    }

    /// What a listing shows of it; nothing where nothing was odd.
    #[must_use]
    pub fn glance(&self) -> Option<Glance> {
        let first = self.reasons.first()?.says.clone();
        let reasons = u64::try_from(self.reasons.len()).unwrap_or(u64::MAX);
        Some(Glance { weight: self.weight, first, reasons })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_none(more: &u64) -> bool {
    *more == 0
}

/// The most that a session weighs.
pub const MAX_WEIGHT: u8 = 100;
/// From which weight on that a session was odd is an entry of its own, which can be told.
pub const TOLD_FROM: u8 = 30;
/// Most pieces of evidence that are named: a session may have thousands.
pub const MAX_EVIDENCE: usize = 5;
/// Longest of them, in characters: whoever runs a program chooses its path.
pub const MAX_TEXT: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(oddity: Oddity) -> Reason {
        let says = oddity.as_str().to_owned();
        Reason { oddity, weight: oddity.weight(), says, evidence: Vec::new(), more: 0 }
    }

    #[test]
    fn the_heaviest_reason_comes_first_and_the_sum_has_an_end() {
        let all = [Oddity::NewHour, Oddity::Incident, Oddity::NewHost, Oddity::GuardedFile];
        let odd = Odd::new(all.map(reason).into(), Timestamp::from_secs(1));
        assert_eq!(odd.weight, 100, "40 + 40 + 15 + 10 is more than all");
        let glance = odd.glance().unwrap();
        assert_eq!((glance.first.as_str(), glance.reasons), ("incident", 4));
        assert_eq!(Odd::new(Vec::new(), Timestamp::from_secs(1)).glance(), None);
    }

    #[test]
    fn oddities_have_one_name_everywhere_and_a_new_one_is_read_by_an_old_program() {
        for oddity in [Oddity::Incident, Oddity::ByHand, Oddity::NewAddress, Oddity::UnknownPerson]
        {
            let name = format!("\"{}\"", oddity.as_str());
            assert_eq!(serde_json::to_string(&oddity).unwrap(), name);
        }
        assert_eq!(serde_json::from_str::<Oddity>("\"new-moon\"").unwrap(), Oddity::Other);
    }
}
