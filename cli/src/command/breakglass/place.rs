//! Files of break-glass: shares, groups, and moments as people write them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use breakglass::group::Group;
use breakglass::letter::{Kind, Letter};
use jiff::tz::TimeZone;
use wire::time::Timestamp;

use super::exchange;
use crate::exit::Fault;
use crate::file;
use crate::render::moment;

/// A moment as it is typed: `2026-11-30T07:15Z`, or a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no moment in UTC; write 2026-11-30 or 2026-11-30T07:15:00Z");
        let day = text.parse::<jiff::civil::Date>().ok().filter(|_| !text.contains(['T', ':']));
        let moment = match day {
            Some(day) => day.to_zoned(TimeZone::UTC).map_err(|_far| wrong())?.timestamp(),
            None => text.parse::<jiff::Timestamp>().map_err(|_odd| wrong())?,
        };
        let secs = u64::try_from(moment.as_second()).map_err(|_early| wrong())?;
        Ok(Self(Timestamp::from_secs(secs)))
    }
}

/// A moment in words, in UTC: custodians sit in different places.
pub(crate) fn shown(at: Timestamp, now: Timestamp) -> String {
    format!("{} UTC ({})", moment::clock(at, &TimeZone::UTC), moment::relative(at, now))
}

/// Reads a group: its own file, or any share of it.
pub(crate) fn group(path: &Path) -> Result<Group> {
    let text = exchange::read(path)?;
    let group = match Letter::read(&text).map(|letter| letter.kind) {
        Ok(Kind::Share) => breakglass::share::Locked::read(&text)?.group().clone(),
        _ => Group::read(&text).with_context(|| format!("{} is no group", path.display()))?,
    };
    Ok(group)
}

/// Refuses to write over a share.
pub(crate) fn must_be_free(path: &Path) -> Result<()> {
    if path.exists() {
        let line =
            format!("{} is there already; name another file, or move it away", path.display());
        return Err(Fault::Usage(line).into());
    }
    Ok(())
}

/// The name beside `path` under which a share waits until all have theirs.
pub(crate) fn waiting(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Puts a share that waited in its place.
pub(crate) fn settle(path: &Path) -> Result<()> {
    let from = waiting(path);
    if let Err(error) = std::fs::rename(&from, path) {
        bail!("the share is in {} and could not be renamed: {error}", from.display());
    }
    Ok(())
}

/// Writes a share for its owner alone.
pub(crate) fn write_share(path: &Path, letter: &Letter) -> Result<()> {
    file::write(path, letter.to_string().as_bytes(), file::SECRET)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_type_them_and_in_utc() {
        let secs = |text: &str| text.parse::<Moment>().map(|moment| moment.0.secs());
        assert_eq!(secs("2027-01-15"), Ok(1_799_971_200));
        assert_eq!(secs("2027-01-15T08:00:00Z"), Ok(1_800_000_000));
        assert_eq!(secs("2027-01-15T09:00:00+01:00"), Ok(1_800_000_000));
        for wrong in ["tomorrow", "2027-13-01", "08:00", "1960-01-01", "2027-01-15T08:00"] {
            assert!(secs(wrong).is_err(), "{wrong}");
        }
    }
}
