//! Where tickets are looked up: the table `[tracker]`.
//!
//! Who can change this: root on the authority's machine. Gains: whose word counts for tickets.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Setting, Source};

/// The tracker, and how often it is asked again.
#[derive(Debug, Clone)]
pub(crate) struct TrackerAt {
    /// Where questions are sent.
    pub(crate) url: Uri,
    /// The roots that an https address is believed by; the system's when absent.
    pub(crate) root: Option<PathBuf>,
    /// How often the tickets of requests under way are looked up again.
    pub(crate) every: Duration,
}

/// `[tracker]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrackerForm {
    url: Spanned<String>,
    root: Option<PathBuf>,
    every: Option<Spanned<String>>,
}

impl TrackerAt {
    pub(super) fn checked(
        source: &Source,
        form: Option<TrackerForm>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(form) = form else { return Ok(None) };
        let url: Option<Uri> = form.url.get_ref().parse().ok().filter(is_good);
        let url = url.ok_or_else(|| {
            let why = format!(
                "tracker: url: {:?} is no http or https address; write it as https://tracker.example.com/curfew",
                form.url.get_ref()
            );
            source.wrong(form.url.span().start, why)
        })?;
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        let every = source.span("every", form.every, Duration::from_secs(60), &range)?;
        Ok(Some(Self { url, root: form.root, every }))
    }
}

fn is_good(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
}

/// The settings of the table, for `check --settings`.
pub(crate) const TRACKER_SETTINGS: [Setting; 3] = [
    Setting {
        key: "url",
        default: "https://tracker.example.com/curfew",
        range: "an http or https address",
        sentence: "Where to ask whether a ticket exists, is open, and is assigned to whoever asks for access.",
    },
    Setting {
        key: "root",
        default: "/etc/ssl/certs/ca-certificates.crt",
        range: "a file of PEM certificates",
        sentence: "The roots that an https address is believed by.",
    },
    Setting {
        key: "every",
        default: "1m",
        range: "1s to 1h",
        sentence: "How often tickets of requests under way are looked up again; one that was closed ends its request.",
    },
];

#[cfg(test)]
mod tests {
    use crate::config::{Config, Source};

    #[test]
    fn the_tracker_is_a_web_address() {
        let read = |text: &str| Config::parse(&Source::of(text)).map(|config| config.tracker);
        let tracker = read("[tracker]\nurl = \"http://127.0.0.1:9/look?x=1\"\nevery = \"5s\"");
        assert_eq!(tracker.unwrap().unwrap().every.as_secs(), 5);
        assert!(read("").unwrap().is_none());
        for (text, start) in [
            ("[tracker]\nurl = \"ftp://x/\"", "test.toml:2: tracker: url: \"ftp://x/\""),
            ("[tracker]\nurl = \"/look\"", "test.toml:2: tracker: url"),
            ("[tracker]\n", "test.toml:1: missing field `url`"),
            ("[tracker]\nurl = \"http://x/\"\nevery = \"0s\"", "test.toml:3: every: 0s is out"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
