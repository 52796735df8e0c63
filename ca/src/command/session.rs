//! `curfew-ca sessions`: sessions, live ones first.

use clap::Args;
use wire::api::SessionView;
use wire::record::EndReason;

use super::{say_json, say_table, shown};
use crate::admin::client::Client;

/// How to show them.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only those that are alive
    #[arg(long)]
    live: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Lists them.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut sessions: Vec<SessionView> = client.read("/v1/sessions").await?;
        sessions.retain(|session| !self.live || session.ended.is_none());
        if self.json {
            return say_json(&sessions);
        }
        let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
        let head = [
            "SESSION",
            "IDENTITY",
            "LOGIN@HOST",
            "ROLE",
            "GRANT",
            "BEGAN",
            "UNTIL",
            "STATE",
            "EXECS",
        ];
        say_table(&head, &rows)
    }
}

fn row(session: &SessionView) -> Vec<String> {
    let state = session.ended.as_ref().map_or_else(
        || "live".to_owned(),
        |ended| match &ended.reason {
            EndReason::Left => "left".into(),
            EndReason::GrantEnded => "grant ended".into(),
            EndReason::Idle { .. } => "idle".into(),
            EndReason::TooLong { .. } => "too long".into(),
            EndReason::Threshold(crossed) => format!("limit: {}", crossed.measure),
            EndReason::Locked { order, .. } => format!("locked by order {order}"),
            EndReason::LockedHere { source, .. } => format!("locked on the host by {source}"),
        },
    );
    vec![
        session.session.to_string(),
        session.identity.to_string(),
        format!("{}@{}", session.login, session.host),
        session.role.to_string(),
        session.grant.to_string(),
        shown(session.began),
        shown(session.until),
        state,
        session.execs.to_string(),
    ]
}
