//! The subcommands, one file each, and what they share: a runtime, a client, and output.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;
use wire::octets::{plain, plain_json};
use wire::time::Timestamp;

use crate::admin::client::Client;
use crate::config::Config;
use crate::key::guard;

pub(crate) mod access;
pub(crate) mod backup;
pub(crate) mod breakglass;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod grant;
pub(crate) mod host;
pub(crate) mod identity;
pub(crate) mod incident;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod krl;
pub(crate) mod ledger;
pub(crate) mod lock;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod notify;
pub(crate) mod policy;
pub(crate) mod principals;
pub(crate) mod restore;
pub(crate) mod risk;
pub(crate) mod role;
pub(crate) mod scim;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod team;
pub(crate) mod witness;

/// Serves until told to stop.
pub(crate) fn serve(config: Config) -> anyhow::Result<()> {
    // Before a key is read, and before there are threads.
    let open = guard::close();
    // The database's library would log what statements are given, which no log of ours may hold.
    let log = logging::begin(&["tokio_postgres=warn"]);
    for reason in open {
        tracing::warn!(%reason, "the keys are not guarded as they should be");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let served = runtime.block_on(async {
        tokio::spawn(log.heed());
        crate::serve::serve(config).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    served
}

/// Runs a command that asks the authority that serves on this machine.
pub(crate) fn talk(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let client = Client::new(&config.admin_socket);
    runtime.block_on(work(&client))
}

/// Writes a line to standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}

/// Writes bytes to standard output as they are.
pub(crate) fn say_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("standard output is closed")
}

/// Writes a value as JSON, on one line.
pub(crate) fn say_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    say(&plain_json(&serde_json::to_string(value)?))
}

/// Writes rows in columns, with a head. Hosts have a say in what stands there, and none in what the terminal does.
pub(crate) fn say_table(head: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let all = || std::iter::once(&head).chain(&rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in all() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Says what went wrong, on standard error.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut message = format!("curfew-ca: {error}");
    for source in error.chain().skip(1) {
        let source = source.to_string();
        if !message.ends_with(&source) {
            message.push_str(": ");
            message.push_str(&source);
        }
    }
    let message = message.lines().map(plain).collect::<Vec<_>>().join("\n");
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(std::io::stderr(), "{message}"));
}

/// A moment as people read it.
pub(crate) fn shown(at: Timestamp) -> String {
    i64::try_from(at.secs())
        .ok()
        .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
        .map_or_else(|| format!("{} s", at.secs()), |at| at.to_string())
}

/// Names with commas between them; a dash for none.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "-".into() } else { items.join(",") }
}
