//! Whom the authority calls when break-glass is used: a command of the operator's, beside the incident and the log.
//!
//! It is told of each incident of break-glass, here or on a host, as soon as it is durable: one JSON object on its standard
//! input, an [`wire::incident::IncidentView`]. It runs as the authority's user, without a shell, with nothing on its command line
//! that a stranger chose. What it is told once it may be told again, after a restart or by another node: twice rather than never.
//! What becomes of it is said in the log and, until the next one goes out, in `curfew-ca status`.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use wire::incident::IncidentView;

use crate::authority::Authority;
use crate::clock;
use crate::http::listener::unless_stopped;
use crate::ledger::LedgerError;

/// The last alarm that did not go out, until one does.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<Option<String>>);

/// Why an alarm did not go out.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("it cannot be started: {0}")]
    Start(std::io::Error),
    #[error("it cannot be told: {0}")]
    Told(std::io::Error),
    #[error("it cannot be waited for: {0}")]
    Wait(std::io::Error),
    #[error("it was not done after {} s, and was ended", PATIENCE.as_secs())]
    Late,
    #[error("it ended with {0}: {1}")]
    Failed(std::process::ExitStatus, String),
    #[error("the incident cannot be written: {0}")]
    Form(#[from] serde_json::Error),
}

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
        match call(&authority.config.breakglass_alarm, &incident).await {
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

/// Runs the command with the incident, and waits until it is done.
async fn call(command: &[String], incident: &IncidentView) -> Result<(), Silence> {
    let [program, words @ ..] = command else { return Ok(()) };
    let body = serde_json::to_vec(incident)?;
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Silence::Start)?;
    let done = tokio::time::timeout(PATIENCE, talk(&mut child, &body));
    match done.await {
        Ok(done) => done,
        Err(_elapsed) => {
            let _gone = child.kill().await;
            Err(Silence::Late)
        }
    }
}

async fn talk(child: &mut Child, body: &[u8]) -> Result<(), Silence> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(body).await {
            // One that asks for nothing may end before it has read.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(Silence::Told(error));
            }
            _ => {}
        }
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MAX_SAID).read_to_end(&mut said).await.map_err(Silence::Wait)?;
    }
    let status = child.wait().await.map_err(Silence::Wait)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().last().unwrap_or_default();
    Err(Silence::Failed(status, wire::octets::plain(last)))
}

/// How long the command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks: many commits become one.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it may take until what another node wrote is seen.
const LONG: Duration = Duration::from_secs(5);
/// How far back is looked at the start.
const LATELY: Duration = Duration::from_secs(600);
/// Where the command finds others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what it complains of.
const MAX_SAID: u64 = 4 * 1024;

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
        call(&words, &incident()).await
    }

    #[tokio::test]
    async fn the_command_hears_what_happened_and_its_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("told").display().to_string();
        run(&format!("cat > {path}")).await.unwrap();
        let told: IncidentView = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(told, incident());
        run("exec 0<&-; exit 0").await.unwrap();
        let failed = run("echo no modem >&2; exit 3").await.unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.ends_with("no modem"), "{failed}");
        let absent = call(&["/nowhere/page".to_owned()], &incident()).await.unwrap_err();
        assert!(matches!(absent, Silence::Start(_)), "{absent}");
    }
}
