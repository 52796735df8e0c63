//! Which entries a person wants to see, and how they are shown.

use anyhow::Result;
use jiff::tz::TimeZone;
use wire::ledger::{Entry, Line};
use wire::log::Leaf;
use wire::time::Timestamp;

use crate::render::{Screen, moment};

/// Which entries.
#[derive(Debug, clap::Args)]
pub(crate) struct Select {
    /// Only those that say this, such as a name
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Only of this kind, as `certificate` or `lock`
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only from this moment on, as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = instant)]
    pub(crate) since: Option<Timestamp>,
    /// Only before this moment
    #[arg(long, value_name = "MOMENT", value_parser = instant)]
    pub(crate) before: Option<Timestamp>,
}

impl Select {
    /// Whether this entry is wanted.
    pub(crate) fn fits(&self, leaf: &Leaf, entry: &Entry) -> bool {
        let says = |text: &String| {
            entry.body.as_ref().is_some_and(|body| body.text.contains(text.as_str()))
        };
        self.text.as_ref().is_none_or(says)
            && self.kind.as_ref().is_none_or(|kind| *kind == leaf.kind)
            && self.since.is_none_or(|since| since <= leaf.at)
            && self.before.is_none_or(|before| leaf.at < before)
    }

    /// The same as a query of the authority's.
    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in [("kind", &self.kind), ("text", &self.text)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", escaped(value)));
            }
        }
        for (name, value) in [("since_millis", self.since), ("before_millis", self.before)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", value.millis()));
            }
        }
        query
    }
}

/// Shows an entry on one line, as JSON or for a person.
pub(crate) fn show(entry: &Entry, json: bool, screen: &Screen) -> Result<()> {
    if json {
        return screen.json_line(&Line::Entry(entry.clone()));
    }
    let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
    let at = moment::clock(leaf.at, &TimeZone::system());
    let said = entry.body.as_ref().map_or("", |body| body.text.as_str());
    screen.short_line(&format!("{:>7}  {at}  {:<17}  {said}", leaf.seq, leaf.kind))
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| format!("{error}; write it as 2027-01-31T12:00:00Z"))?;
    u64::try_from(at.as_millisecond())
        .map(Timestamp::from_millis)
        .map_err(|_negative| "that is before 1970".into())
}

/// Text as it can stand in a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::log::Hash;

    fn select(text: Option<&str>, kind: Option<&str>, secs: (u64, u64)) -> Select {
        Select {
            text: text.map(str::to_owned),
            kind: kind.map(str::to_owned),
            since: Some(Timestamp::from_secs(secs.0)),
            before: Some(Timestamp::from_secs(secs.1)),
        }
    }

    #[test]
    fn an_entry_fits_when_all_that_was_asked_does() {
        let leaf = Leaf::new(7, Timestamp::from_secs(100), "lock", Hash::of(b""));
        let text = String::from_utf8(leaf.to_bytes().unwrap()).unwrap();
        let said = Entry::new(text.clone(), Some((b"s", r#"{"identity":"ana"}"#.into())));
        let erased = Entry::new(text, None);
        assert!(select(Some("ana"), Some("lock"), (100, 101)).fits(&leaf, &said));
        assert!(!select(Some("ana"), Some("lock"), (100, 101)).fits(&leaf, &erased));
        assert!(!select(Some("eve"), None, (0, 200)).fits(&leaf, &said));
        assert!(!select(None, Some("unlock"), (0, 200)).fits(&leaf, &said));
        assert!(!select(None, None, (101, 200)).fits(&leaf, &said));
        assert!(!select(None, None, (0, 100)).fits(&leaf, &said));
    }

    #[test]
    fn a_query_is_escaped() {
        let asked = select(Some("a&b ü"), Some("x=1"), (1, 2)).query();
        assert_eq!(asked, "&kind=x%3D1&text=a%26b%20%C3%BC&since_millis=1000&before_millis=2000");
        assert!(instant("2027-01-31T12:00:00Z").is_ok() && instant("soon").is_err());
    }
}
