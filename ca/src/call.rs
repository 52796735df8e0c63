//! A command of the operator's that is told something: on its standard input, without a shell, as the authority's user, with nothing on
//! its command line and in its environment that a stranger chose.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Why a command was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
    /// It is not there, or is no program.
    #[error("it cannot be started: {0}")]
    Start(std::io::Error),
    /// It does not read.
    #[error("it cannot be told: {0}")]
    Told(std::io::Error),
    /// What became of it is not known.
    #[error("it cannot be waited for: {0}")]
    Wait(std::io::Error),
    /// It took too long.
    #[error("it was not done after {} s, and was ended", PATIENCE.as_secs())]
    Late,
    /// It says itself that it failed.
    #[error("it ended with {0}: {1}")]
    Failed(ExitStatus, String),
    /// There is nothing to tell it.
    #[error("what it is to be told cannot be written: {0}")]
    Form(#[from] serde_json::Error),
}

/// Runs the command with this on its standard input, and waits until it is done.
pub(crate) async fn call(command: &[String], said: &[u8]) -> Result<(), Silence> {
    let [program, words @ ..] = command else { return Ok(()) };
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
    let done = tokio::time::timeout(PATIENCE, talk(&mut child, said));
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
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Where the command finds others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of what it complains of.
const MAX_SAID: u64 = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str) -> Result<(), Silence> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        call(&words, b"{}").await
    }

    #[tokio::test]
    async fn a_command_hears_what_it_is_told_and_its_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("told").display().to_string();
        run(&format!("cat > {path}")).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{}");
        run("exec 0<&-; exit 0").await.unwrap();
        let failed = run("echo no modem >&2; exit 3").await.unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.ends_with("no modem"), "{failed}");
        let absent = call(&["/nowhere/page".to_owned()], b"").await.unwrap_err();
        assert!(matches!(absent, Silence::Start(_)), "{absent}");
        run(r#"[ -z "$CURFEW_LOG$HOME" ]"#).await.unwrap();
    }
}
