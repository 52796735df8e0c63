//! How long what was recorded must be kept: the table `[retention]`.
//!
//! Who can change this: root on the authority's machine. Gains: lets operators delete sooner; two of them must still want it.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use wire::retention::Class;

use super::{ConfigError, Source, days, secs};

/// How long each class is kept after the end of a session and its grant; for good where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retention {
    terminals: Option<Duration>,
    activity: Option<Duration>,
}

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionForm {
    terminals: Option<Spanned<String>>,
    activity: Option<Spanned<String>>,
}

impl Retention {
    /// Reads the table.
    pub(super) fn checked(source: &Source, form: RetentionForm) -> Result<Self, ConfigError> {
        let read = |key: &str, value: Option<Spanned<String>>| {
            let read = |value| source.span(key, Some(value), Duration::ZERO, &(secs(0)..=LONGEST));
            value.map(read).transpose()
        };
        Ok(Self {
            terminals: read("retention.terminals", form.terminals)?,
            activity: read("retention.activity", form.activity)?,
        })
    }

    /// How long this is kept; nothing where it is for good.
    pub(crate) const fn of(self, class: Class) -> Option<Duration> {
        match class {
            Class::Terminals => self.terminals,
            Class::Activity => self.activity,
        }
    }
}

/// A century: whoever means longer leaves the setting out.
const LONGEST: Duration = days(36_525);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Retention, String> {
        let source = Source::of(text);
        let form = source.parse().map_err(|error| error.to_string())?;
        Retention::checked(&source, form).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_named_is_kept_for_good_and_a_wrong_time_is_refused_by_line() {
        let read_of = |text: &str| read(text).unwrap();
        assert_eq!(read_of("").of(Class::Terminals), None);
        let both = read_of("terminals = \"90d\"\nactivity = \"365d\"\n");
        assert_eq!(both.of(Class::Terminals), Some(days(90)));
        assert_eq!(both.of(Class::Activity), Some(days(365)));
        for wrong in ["terminals = \"200000d\"", "terminals = \"soon\"", "terminal = \"1d\""] {
            assert!(read(wrong).unwrap_err().starts_with("test.toml:1: "), "{wrong}");
        }
    }
}
