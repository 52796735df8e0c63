//! What people, operators and accidents do, one thing at a time. Each leaves the scene as it found it, also when it fails.

use anyhow::{Context as _, Result, ensure};
use tests::{Host, Terminal, eventually};

use super::scene::{HOSTS, LOGIN, Scene};

/// A thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// A command over ssh.
    Command,
    /// A login on a terminal by somebody who types before the prompt is there.
    Typed,
    /// A request, its approval, a login under it, and giving it back.
    Ask,
    /// A grant of a minute, which ends by itself while somebody is in.
    Short,
    /// Somebody is locked who has left things behind, and comes back when the lock is lifted.
    Lock,
    /// A login while the host does not reach the authority.
    Cut,
    /// sshd is restarted under a session.
    RestartSshd,
    /// The agent is restarted under a session.
    RestartAgent,
    /// The agent is killed under a session.
    KillAgent,
    /// The authority is restarted under a session.
    RestartAuthority,
    /// The authority is killed under a session.
    KillAuthority,
}

impl Deed {
    /// All, what is frequent more often.
    pub(super) const ALL: [Self; 17] = [
        Self::Command,
        Self::Command,
        Self::Command,
        Self::Command,
        Self::Typed,
        Self::Typed,
        Self::Typed,
        Self::Typed,
        Self::Ask,
        Self::Short,
        Self::Lock,
        Self::Cut,
        Self::RestartSshd,
        Self::RestartAgent,
        Self::KillAgent,
        Self::RestartAuthority,
        Self::KillAuthority,
    ];
    /// Those that end none of our programs.
    pub(super) const KIND: [Self; 9] = [
        Self::Command,
        Self::Command,
        Self::Typed,
        Self::Typed,
        Self::Typed,
        Self::Ask,
        Self::Short,
        Self::Lock,
        Self::Cut,
    ];

    /// What it is called in a report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Command => "a command",
            Self::Typed => "a terminal, typed ahead",
            Self::Ask => "request, approval, login, given back",
            Self::Short => "a grant of a minute begins",
            Self::Lock => "a lock, and lifted",
            Self::Cut => "a login with the link cut",
            Self::RestartSshd => "sshd restarted",
            Self::RestartAgent => "agent restarted",
            Self::KillAgent => "agent killed",
            Self::RestartAuthority => "authority restarted",
            Self::KillAuthority => "authority killed",
        }
    }

    /// Does it, on that host where it is about one.
    pub(super) fn perform(self, scene: &mut Scene, host: usize) -> Result<()> {
        match self {
            Self::Command => command(scene, host),
            Self::Typed => typed(scene, host),
            Self::Ask => ask(scene, host),
            Self::Short => short(scene, host),
            Self::Lock => lock(scene, host),
            Self::Cut => cut(scene, host),
            Self::RestartSshd => under_a_session(scene, host, |_, host| Ok(host.restart("ssh")?)),
            Self::RestartAgent => {
                under_a_session(scene, host, |_, host| Ok(host.restart("curfew-agent")?))
            }
            Self::KillAgent => under_a_session(scene, host, kill_agent),
            Self::RestartAuthority => {
                under_a_session(scene, host, |site, _| Ok(site.authority.restart()?))
            }
            Self::KillAuthority => under_a_session(scene, host, |site, _| {
                site.authority.kill()?;
                Ok(site.authority.serve()?)
            }),
        }
    }
}

fn command(scene: &mut Scene, host: usize) -> Result<()> {
    let mark = scene.word();
    let said = scene.ana.ssh(LOGIN, scene.host(host)?).run(["/bin/echo", &mark])?.ok()?;
    ensure!(said.text() == mark, "it said {said:?}");
    scene.ran(mark);
    Ok(())
}

fn typed(scene: &mut Scene, host: usize) -> Result<()> {
    let word = scene.word();
    let mut shell = scene.ana.ssh(LOGIN, scene.host(host)?).shell()?;
    leave(&mut shell, &word)?;
    let screen = shell.screen();
    ensure!(!screen.contains("goes on without"), "its terminal had no recorder: {screen}");
    scene.ran(format!("{word}end"));
    Ok(())
}

/// Runs something to be found in the records, and ends the shell.
fn leave(shell: &mut Terminal, word: &str) -> Result<()> {
    // What is typed is echoed; the apostrophes tell the answer from it.
    shell.enter(&format!("/bin/echo {word}''end; exit 3"))?;
    shell.wait_for(&format!("{word}end"))?;
    let status = shell.wait()?;
    ensure!(status.code() == Some(3), "the shell ended with {status}: {}", shell.screen());
    Ok(())
}

fn ask(scene: &mut Scene, host: usize) -> Result<()> {
    let mark = scene.word();
    let name = HOSTS.get(host).context("there is no such host")?;
    let words = ["request", "dba", "--host", name, "--for", "20m", "--reason", "it is stuck"];
    let made = scene.bob.curfew(words.iter().chain(&["--expect", "it answers", "--json"]))?.ok()?;
    let made: serde_json::Value = serde_json::from_str(made.text())?;
    let number = made.pointer("/view/request").context("the request has no number")?;
    let request = format!("r{number}");
    scene.ops.curfew(["approve", &request, "--yes"])?.done()?;
    let said = scene.bob.ssh("app", scene.host(host)?).run(["/bin/echo", &mark])?.ok()?;
    ensure!(said.text() == mark, "it said {said:?}");
    let grants = scene.bob.listing(["grants"])?;
    let grant = grants.as_array().into_iter().flatten().find(|grant| grant["role"] == "dba");
    let grant = grant.and_then(|grant| grant["grant"].as_u64()).context("there is no grant")?;
    scene.bob.curfew(["done", &format!("g{grant}")])?.done()?;
    scene.ran(mark);
    Ok(())
}

fn short(scene: &mut Scene, host: usize) -> Result<()> {
    let mark = scene.word();
    let address = scene.host(host)?.address();
    let place = format!("{LOGIN}@{address}");
    let line = format!("/bin/echo {mark}; sleep {SHORT_SLEEP}");
    let args = ["ssh", "--for", "1m", place.as_str(), "--", line.as_str()];
    let mut session = scene.ana.client.start("curfew", args)?;
    eventually("the short session has begun", || {
        session.stdout().contains(&mark) || !session.is_running()
    })?;
    ensure!(session.is_running(), "it ended at once: {}", session.stderr());
    scene.ending.push(session);
    scene.ran(mark);
    Ok(())
}

fn lock(scene: &mut Scene, host: usize) -> Result<()> {
    let mark = scene.word();
    let who = scene.bob.identity.clone();
    let line = format!(
        "setsid sleep {LOCK_SLEEP} & nohup sleep {LOCK_SLEEP} >/dev/null 2>&1 & /bin/echo {mark}; sleep {LOCK_SLEEP}"
    );
    let sleepers = format!("sleep {LOCK_SLEEP}");
    let mut session = scene.bob.ssh(LOGIN, scene.host(host)?).start([line])?;
    eventually("there is something to end", || session.stdout().contains(&mark))
        .with_context(|| session.stderr())?;
    scene.ran(mark);
    let locked = scene.ops.lock(&[&who])?;
    let left = scene.host(host)?.processes_like(&sleepers)?.len();
    let ended = eventually("the client is gone", || !session.is_running());
    scene.ops.unlock(&[&who])?;
    ensure!(locked.succeeded(), "the lock was not done everywhere: {locked:?}");
    ensure!(left == 0, "{left} processes outlived the lock: {locked:?}");
    ended?;
    let host = scene.host(host)?;
    eventually("whose lock is lifted gets in again", || {
        scene.bob.ssh(LOGIN, host).run(["true"]).is_ok_and(|said| said.succeeded())
    })?;
    scene.logins = scene.logins.saturating_add(1);
    Ok(())
}

fn cut(scene: &mut Scene, host: usize) -> Result<()> {
    scene.host(host)?.cut_link()?;
    let done = command(scene, host);
    let host = scene.host(host)?;
    host.mend_link()?;
    done?;
    Ok(scene.site.wait_until_connected(host.name())?)
}

fn kill_agent(_site: &mut tests::Site, host: &Host) -> Result<()> {
    host.kill_unit("curfew-agent", "KILL")?;
    Ok(eventually("the agent is back", || {
        host.run(["curfew-agent", "status"]).is_ok_and(|said| said.succeeded())
    })?)
}

/// Does something while somebody is in, who must not notice.
fn under_a_session(
    scene: &mut Scene,
    host: usize,
    accident: fn(&mut tests::Site, &Host) -> Result<()>,
) -> Result<()> {
    let word = scene.word();
    let mut shell = scene.ana.shell(LOGIN, scene.host(host)?)?;
    let on = scene.hosts.get(host).context("there is no such host")?;
    let happened = accident(&mut scene.site, on);
    let left = leave(&mut shell, &word);
    for host in HOSTS {
        scene.site.wait_until_connected(host)?;
    }
    happened?;
    left.context("the session did not outlive it")?;
    scene.ran(format!("{word}end"));
    Ok(())
}

/// What is looked for after a lock.
pub(super) const LOCK_SLEEP: u32 = 7301;
/// What a grant that ends leaves, if it leaves something.
pub(super) const SHORT_SLEEP: u32 = 7302;
