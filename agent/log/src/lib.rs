//! Where the programs' own logs go: standard error, which systemd gives to the journal; and how much is logged, which can
//! be changed while a program runs. Not the audit record.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// A log that is being written.
#[derive(Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    begun: String,
    always: &'static [&'static str],
}

/// Begins logging at the level of `CURFEW_LOG` (`info`, or directives of `tracing_subscriber::EnvFilter`). What is in
/// `always` holds at every level: for libraries whose logs may hold what ours may not.
#[must_use]
pub fn begin(always: &'static [&'static str]) -> Log {
    let begun = std::env::var("CURFEW_LOG").unwrap_or_else(|_unset| DEFAULT.to_owned());
    let (begun, filter, wrong) = match filter(&begun, always) {
        Ok(filter) => (begun, filter, None),
        Err(error) => {
            let usual = filter(DEFAULT, always).unwrap_or_else(|_wrong| EnvFilter::new(DEFAULT));
            (DEFAULT.to_owned(), usual, Some(error))
        }
    };
    let (filter, handle) = reload::Layer::new(filter);
    let on_terminal = io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(on_terminal).with_target(false);
    let registry = Registry::default().with(filter);
    // Under systemd the journal adds the time.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        registry.with(lines.without_time()).init();
    } else {
        registry.with(lines).init();
    }
    if let Some(error) = wrong {
        tracing::warn!(%error, "CURFEW_LOG is no filter; the level is {DEFAULT}");
    }
    Log { filter: handle, begun, always }
}

impl Log {
    /// Changes the level as signals ask: `SIGUSR1`, everything down to `debug`; `SIGUSR2`, as it was at the start. Without
    /// end, unless signals cannot be heard, which is logged.
    pub async fn heed(self) {
        let (more, less) = (SignalKind::user_defined1(), SignalKind::user_defined2());
        let (mut more, mut less) = match (signal(more), signal(less)) {
            (Ok(more), Ok(less)) => (more, less),
            (Err(error), _) | (_, Err(error)) => {
                return tracing::error!(%error, "the level of this log cannot be changed by signals");
            }
        };
        loop {
            let level = tokio::select! {
                _ = more.recv() => MORE,
                _ = less.recv() => self.begun.as_str(),
            };
            let changed = filter(level, self.always).map_err(|error| error.to_string());
            let changed = changed
                .and_then(|filter| self.filter.reload(filter).map_err(|error| error.to_string()));
            match changed {
                // At a level that every filter shows but one that shows errors alone.
                Ok(()) => tracing::warn!(level, "the level of this log was changed by a signal"),
                Err(error) => tracing::error!(%error, level, "the level of this log stays"),
            }
        }
    }
}

fn filter(
    level: &str,
    always: &[&str],
) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let directives: Vec<&str> = std::iter::once(level).chain(always.iter().copied()).collect();
    EnvFilter::try_new(directives.join(","))
}

/// Without a setting.
const DEFAULT: &str = "info";
/// What `SIGUSR1` asks for.
const MORE: &str = "debug";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_holds_holds_at_every_level() {
        for level in [DEFAULT, MORE, "trace", "curfew=debug,warn"] {
            let filter = filter(level, &["tokio_postgres=warn"]).unwrap().to_string();
            assert!(filter.contains("tokio_postgres=warn"), "{filter}");
        }
        assert!(filter("loud=very", &[]).is_err());
    }
}
