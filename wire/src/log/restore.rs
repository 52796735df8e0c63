//! A ledger that was put back from a backup, and says so: it goes on from an earlier tree, in a new era.
//!
//! What was decided after the backup is lost to the ledger, and some of it was seen outside. So that no number is ever
//! given twice, all numbers of an era stand above a floor that no era before it can reach; and so that nobody takes a
//! restored ledger for a forged one, or a forged one for restored, the log's key signs which tree it goes on from.
//!
//! Shape: a signed note of eight lines ([`Statement`]), which no reader of checkpoints can take for one: its second line
//! is no number. Who can change this: the holder of the log key, and for hosts the holder of an order key beside it.
//! Gains: can make hosts let go of what they saw of the ledger after the tree that the statement names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    Checkpoint, FormError, Hash, Head, KeyName, LogKey, Note, Policy, Unproved, bounded, form,
    number,
};
use crate::time::Timestamp;

/// When a ledger began to number anew: the second of its restore, counted from 2026-01-01 UTC; 0 for one that never was.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Era(u64);

/// What the log says of its restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Which log.
    pub origin: KeyName,
    /// The era that begins.
    pub era: Era,
    /// The tree that the ledger goes on from.
    pub cut: Head,
    /// The newest order of that tree; 0 for none.
    pub last_order: u64,
    /// When.
    pub at: Timestamp,
    /// Why, on one line.
    pub reason: String,
}

/// A declared restore as it travels: the statement, and the checkpoint of the tree that it names. Not believed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// The [`Statement`], signed by the log's key.
    pub statement: Note,
    /// The newest checkpoint of the tree that the ledger goes on from, signed by the log's key.
    pub cut: Note,
}

/// A restore that a pinned key of the log declared. Only [`Declared::believe`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    statement: Statement,
    cut: Note,
}

impl Era {
    /// The one of a ledger that was never restored.
    pub const FIRST: Self = Self(0);

    /// The era that begins with a restore at `now`, after `self`; nothing when numbers have come to their end.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Option<Self> {
        let era = now.secs().saturating_sub(BEGINNING).max(self.0.saturating_add(1));
        (era <= MAX_ERA).then_some(Self(era))
    }

    /// The number of seconds.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Every serial, order, grant and list of this era has a number above this one, and those of eras before it do not
    /// reach it: that would take `RATE` of them in every second since those began.
    #[must_use]
    pub const fn floor(self) -> u64 {
        self.0.saturating_mul(RATE)
    }

    /// The number of this era's first order, which declares the restore.
    #[must_use]
    pub const fn first_order(self) -> u64 {
        self.floor().saturating_add(1)
    }
}

impl Statement {
    /// The note's text, which the log's key signs.
    ///
    /// # Errors
    /// When the reason is not one line of at most [`MAX_REASON`] bytes, or a number is beyond what a note can hold.
    pub fn text(&self) -> Result<String, FormError> {
        let text = self.to_string();
        if text.parse::<Self>()? == *self {
            Ok(text)
        } else {
            Err(form(STATEMENT, "reads back as another"))
        }
    }
}

impl Declared {
    /// What the statement says, before anybody believes it.
    ///
    /// # Errors
    /// When it is not of its form.
    pub fn read(&self) -> Result<Statement, FormError> {
        self.statement.text().parse()
    }

    /// Believes the restore, if these keys of the log declared it: one of them signed the statement, and one the checkpoint
    /// of the very tree that it names. A host that knows no key of the ledger believes no tree, and whom it believes for
    /// orders decides.
    ///
    /// # Errors
    /// When it is not of its form, no pinned key signed, or statement and checkpoint are about different trees.
    pub fn believe(&self, logs: &[LogKey]) -> Result<Restore, Unproved> {
        let statement = self.read()?;
        let checkpoint: Checkpoint = self.cut.text().parse()?;
        if !logs.is_empty() {
            let policy = Policy { logs: logs.to_vec(), ..Policy::default() };
            policy.attest(self.cut.clone())?;
            policy.signed(&self.statement, statement.origin.as_str())?;
        }
        if checkpoint.origin != statement.origin.as_str() || checkpoint.head != statement.cut {
            return Err(form(STATEMENT, "names another tree than its checkpoint").into());
        }
        Ok(Restore { statement, cut: self.cut.clone() })
    }
}

impl Restore {
    /// What was declared.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The checkpoint of the tree that the ledger goes on from.
    #[must_use]
    pub const fn cut(&self) -> &Note {
        &self.cut
    }
}

impl TryFrom<u64> for Era {
    type Error = FormError;
    fn try_from(era: u64) -> Result<Self, FormError> {
        if era <= MAX_ERA { Ok(Self(era)) } else { Err(form("era", "is beyond the last one")) }
    }
}

impl From<Era> for u64 {
    fn from(era: Era) -> Self {
        era.0
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Statement {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        let lines = text.strip_suffix('\n').map(|lines| lines.split('\n').collect::<Vec<_>>());
        let Some([TITLE, origin, era, size, root, last_order, at, reason]) = lines.as_deref()
        else {
            return Err(form(STATEMENT, "is not a title and seven lines"));
        };
        let after = |line: &'static str, text: &str| {
            let value = text.strip_prefix(line).and_then(|rest| rest.strip_prefix(' '));
            value.map(str::to_owned).ok_or(form(STATEMENT, "has lines in another order"))
        };
        let count = |line, text| number(STATEMENT, &after(line, text)?);
        let reason = after("reason", reason)?;
        bounded("reason of a restore", reason.len(), MAX_REASON)?;
        if reason.trim().is_empty() || reason.contains(char::is_control) {
            return Err(form("reason of a restore", "is empty or has control characters"));
        }
        let cut = Head { size: count("size", size)?, root: after("root", root)?.parse::<Hash>()? };
        let era = Era::try_from(count("era", era)?)?;
        if era == Era::FIRST {
            return Err(form("era", "is that of a ledger that was never restored"));
        }
        Ok(Self {
            origin: KeyName::try_new(after("ledger", origin)?)?,
            era,
            cut,
            last_order: count("last_order", last_order)?,
            at: Timestamp::from_millis(count("at", at)?),
            reason,
        })
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, era, cut, last_order, at, reason } = self;
        writeln!(f, "{TITLE}")?;
        writeln!(f, "ledger {}", origin.as_str())?;
        writeln!(f, "era {era}\nsize {}\nroot {}", cut.size, cut.root)?;
        writeln!(f, "last_order {last_order}\nat {}\nreason {reason}", at.millis())
    }
}

const STATEMENT: &str = "statement of a restore";
/// The first line of a statement.
const TITLE: &str = "restore/v1@curfew.internal";
/// Eras are counted from here: 2026-01-01T00:00:00Z, in seconds since 1970.
const BEGINNING: u64 = 1_767_225_600;
/// Numbers for each second of an era: no authority gives as many.
const RATE: u64 = 1 << 20;
/// The last era, so that all of its numbers stay below 2^63: some 139,000 years.
const MAX_ERA: u64 = 1 << 42;
/// Longest reason, in bytes.
pub const MAX_REASON: usize = 500;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn head(size: u64) -> Head {
        Head { size, root: Hash::of(&size.to_be_bytes()) }
    }

    fn origin() -> KeyName {
        KeyName::try_new("log.curfew.internal/test").unwrap()
    }

    fn statement() -> Statement {
        let era = Era::FIRST.next(NOW).unwrap();
        Statement {
            origin: origin(),
            era,
            cut: head(7),
            last_order: 3,
            at: NOW,
            reason: "disk died".into(),
        }
    }

    fn sign(seed: u8, text: &str) -> Note {
        let signature = pair(seed).sign(text.as_bytes());
        let line = key(seed).line(signature.as_ref().try_into().unwrap());
        Note::new(text, vec![line]).unwrap()
    }

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn key(seed: u8) -> LogKey {
        LogKey::new(origin(), pair(seed).public_key().as_ref().try_into().unwrap())
    }

    fn declared(statement: &Statement, cut: Head) -> Declared {
        let checkpoint = Checkpoint { origin: origin().as_str().to_owned(), head: cut };
        let text = statement.text().unwrap();
        Declared { statement: sign(1, &text), cut: sign(1, &checkpoint.text()) }
    }

    #[test]
    fn a_restore_is_believed_on_the_word_of_a_pinned_log_key_about_one_tree() {
        let said = statement();
        let good = declared(&said, head(7));
        assert_eq!(good.believe(&[key(1)]).unwrap().statement(), &said);
        assert!(matches!(good.believe(&[key(2)]), Err(Unproved::Unsigned { .. })));
        assert!(declared(&said, head(8)).believe(&[key(1)]).is_err(), "another tree");
        let forged = Declared { statement: sign(2, &said.text().unwrap()), ..good.clone() };
        assert!(matches!(forged.believe(&[key(1)]), Err(Unproved::Unsigned { .. })));
        // One signature cannot stand for the other.
        let swapped = Declared { statement: good.cut.clone(), cut: good.statement.clone() };
        assert!(swapped.believe(&[key(1)]).is_err());
        assert!(good.statement.text().parse::<Checkpoint>().is_err());
        let policy = Policy { logs: vec![key(1)], ..Policy::default() };
        assert!(policy.attest(good.statement).is_err());
    }

    #[test]
    fn a_reason_that_would_add_lines_is_refused() {
        for reason in ["", " ", "a\nera 9", "a\u{7f}", &"x".repeat(MAX_REASON + 1)] {
            let odd = Statement { reason: reason.into(), ..statement() };
            assert!(odd.text().is_err(), "{reason:?}");
        }
    }

    #[test]
    fn each_era_begins_above_all_that_could_be_given_before() {
        let first = Era::FIRST.next(NOW).unwrap();
        assert_eq!(first.number(), NOW.secs() - BEGINNING);
        let at_once = first.next(NOW).unwrap();
        assert_eq!(at_once.number(), first.number() + 1, "two restores in one second differ");
        assert_eq!(at_once.next(Timestamp::from_secs(0)).unwrap().number(), first.number() + 2);
        let year = Timestamp::from_secs(NOW.secs() + 365 * 86_400);
        let later = first.next(year).unwrap();
        // 100,000 a second, for a year.
        assert!(first.floor() + 100_000 * 365 * 86_400 < later.floor());
        assert!(later.floor() < i64::MAX.unsigned_abs() / 2);
        assert!(Era::try_from(MAX_ERA + 1).is_err());
        assert!(Era::try_from(MAX_ERA).unwrap().first_order() < i64::MAX.unsigned_abs());
    }

    proptest! {
        #[test]
        fn what_reads_is_written_again_as_the_same_bytes(text in "[ -~\n]{0,200}") {
            if let Ok(read) = text.parse::<Statement>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }

        #[test]
        fn a_statement_reads_back(size in 0..1_u64 << 62, order in 0..1_u64 << 62, reason in "[a-z][a-z ]{0,40}") {
            let said = Statement { cut: head(size), last_order: order, reason, ..statement() };
            prop_assert_eq!(said.text().unwrap().parse::<Statement>().unwrap(), said);
        }
    }
}
