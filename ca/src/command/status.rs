//! `curfew-ca status`: what is there and what is wrong.

use clap::Args;
use wire::api::{KrlBehind, Status};
use wire::octets::plain;

use super::{say, say_json};
use crate::admin::client::Client;

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Shows it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let status: Status = client.read("/v1/status").await?;
        if self.json {
            return say_json(&status);
        }
        say(&format!(
            "{} of {} hosts connected, {} sessions, {} locks (curfew-ca {})",
            status.connected, status.hosts, status.sessions, status.locks, status.authority_version
        ))?;
        say(&format!("fingerprint {}", status.fingerprint))?;
        if let Some(krl) = &status.krl {
            say(&format!(
                "KRL {}, {} certificates and {} keys, {} bytes",
                krl.in_words(),
                krl.certificates,
                krl.keys,
                krl.bytes
            ))?;
            let behind: Vec<String> = krl.behind.iter().map(KrlBehind::in_words).collect();
            if !behind.is_empty() {
                say(&format!("behind: {}", behind.join(", ")))?;
            }
        }
        for witness in &status.witnesses {
            say(&format!("witness {}", plain(&witness.in_words())))?;
        }
        for concern in &status.concerns {
            say(&format!("! {}", plain(concern)))?;
        }
        if status.concerns.is_empty() {
            say("nothing is wrong")?;
        }
        Ok(())
    }
}
