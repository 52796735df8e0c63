//! Where the programs' own logs go: standard error, which systemd gives to the journal. Not the audit record.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Begins logging, at the level of `CURFEW_LOG` (default `info`).
pub fn begin() {
    let filter =
        EnvFilter::try_from_env("CURFEW_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    let on_terminal = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(on_terminal)
        .with_target(false);
    if on_terminal { format.init() } else { format.without_time().init() }
}
