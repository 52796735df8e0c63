//! Whom the authority calls when break-glass is used: a command of the operator's, beside the incident and the log.
//!
//! It is told of each incident of break-glass, here or on a host, as soon as it is durable: one JSON object on its standard
//! input, an [`wire::incident::IncidentView`]. It runs as the authority's user, without a shell, with nothing on its command line
//! that a stranger chose. What it is told once it may be told again, after a restart or by another node: twice rather than never.
//! What becomes of it is said in the log and, until the next one goes out, in `curfew-ca status`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use wire::incident::IncidentView;

use crate::authority::Authority;
use crate::call::{Silence, call};
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::LedgerError;

/// The last alarm that did not go out, until one does.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<Option<String>>);

impl Alarms {
    /// What an operator should know of.
    pub(crate) fn concern(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, fault: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Tells of incidents as they come; where no command is set there is nothing to do.
pub(crate) async fn keep(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let mut news = authority.ledger.checkpoints();
    let mut told = None;
    loop {
        if !authority.config.breakglass_alarm.is_empty() {
            match pass(&authority, told).await {
                Ok(newest) => told = Some(newest),
                Err(error) => {
                    tracing::error!(%error, "whom to call for break-glass could not be read; trying again");
                }
            }
        }
        let next = async {
            tokio::time::sleep(PAUSE).await;
            // What another node wrote is no news here.
            let _waited = tokio::time::timeout(LONG, news.changed()).await;
        };
        if unless_stopped(&mut stop, next).await.is_none() {
            return;
        }
    }
}

/// Tells of all that came after the last one; says which that is now.
async fn pass(authority: &Authority, told: Option<u64>) -> Result<u64, LedgerError> {
    let mut newest = match told {
        Some(told) => told,
        // What came while nobody was here to tell of it.
        None => authority.ledger.incidents_before(clock::now().before(LATELY)).await?,
    };
    for incident in authority.ledger.alarming_incidents(newest).await? {
        let (number, host) = (incident.number, incident.host.clone());
        match tell(&authority.config.breakglass_alarm, &incident).await {
            Ok(()) => {
                tracing::warn!(incident = number, %host, "somebody was called for break-glass");
                authority.alarms.keep(None);
            }
            Err(error) => {
                tracing::error!(incident = number, %host, %error, "the command for alarms of break-glass failed: NOBODY WAS CALLED");
                authority.alarms.keep(Some(format!(
                    "nobody was called for incident {number}, break-glass on host {host}: the command `breakglass_alarm` failed, {error}"
                )));
            }
        }
        newest = number;
    }
    Ok(newest)
}

async fn tell(command: &[String], incident: &IncidentView) -> Result<(), Silence> {
    call(command, &serde_json::to_vec(incident)?).await
}

/// Between two looks: many commits become one.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it may take until what another node wrote is seen.
const LONG: Duration = Duration::from_secs(5);
/// How far back is looked at the start.
const LATELY: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn incident() -> IncidentView {
        IncidentView {
            number: 7,
            host: "db1".parse().unwrap(),
            first: wire::time::Timestamp::from_secs(1),
            last: wire::time::Timestamp::from_secs(1),
            count: 1,
            cause: wire::incident::Cause::BreakGlass {
                request: "r42".parse().unwrap(),
                identity: "ana@example.com".parse().unwrap(),
                role: "dba".parse().unwrap(),
                reason: "$(reboot)".parse().unwrap(),
            },
            settled: None,
        }
    }

    async fn run(script: &str) -> Result<(), Silence> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        tell(&words, &incident()).await
    }

    #[tokio::test]
    async fn the_command_hears_what_happened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("told").display().to_string();
        run(&format!("cat > {path}")).await.unwrap();
        let told: IncidentView = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(told, incident());
    }
}
