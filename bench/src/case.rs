//! What runs in a session when it is killed.

use ::tests::{Host, Running, Ssh, Terminal, eventually_some};
use anyhow::{Context as _, Result};

/// A kind of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// A shell on a terminal that does nothing.
    Shell,
    /// 50 processes that wait, one in the other.
    Tree,
    /// Processes that left the terminal: tmux, nohup, setsid, double forks, stopped ones, ones that ignore signals.
    Hidden,
    /// 1,000 processes while more are being started, as fast as they come.
    Storm,
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Open {
    connection: Connection,
    /// The process that holds the session open on the client; dropped, it is killed.
    _client: Client,
}

/// Who the session is, as its first process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The parent of the first process: sshd's half without rights.
    pub(crate) parent: u32,
    /// `SSH_CONNECTION`, which all that descend from it inherit.
    pub(crate) ends: String,
}

/// The client of a session that is being opened.
#[derive(Debug)]
pub(crate) enum Client {
    Terminal(Box<Terminal>),
    Command(Box<Running>),
}

impl Case {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Shell, Self::Tree, Self::Hidden, Self::Storm];

    /// What it is called in a report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shell => "idle shell",
            Self::Tree => "tree of 50",
            Self::Hidden => "tmux, nohup, double forks",
            Self::Storm => "storm of 1000",
        }
    }

    /// The fewest processes that make it this case.
    pub(crate) const fn processes(self) -> usize {
        match self {
            Self::Shell => 1,
            Self::Tree => 50,
            Self::Hidden => 9,
            Self::Storm => 1000,
        }
    }

    /// The promise: 99 of 100 are dead within this, in milliseconds.
    pub(crate) const fn promise_ms(self) -> f64 {
        match self {
            Self::Storm => 500.0,
            Self::Shell | Self::Tree | Self::Hidden => 100.0,
        }
    }

    /// Puts its script on the host.
    pub(crate) fn install(self, host: &Host) -> Result<()> {
        if let Some(script) = self.script() {
            host.put(&self.path(), script, 0o755)?;
        }
        Ok(())
    }

    /// Begins to log in; [`Client::opened`] waits for it.
    pub(crate) fn start(self, ssh: &Ssh<'_>) -> Result<Client> {
        Ok(match self.script() {
            None => Client::Terminal(Box::new(ssh.shell()?)),
            Some(_) => Client::Command(Box::new(ssh.start(["exec", &self.path()])?)),
        })
    }

    fn path(self) -> String {
        format!("/usr/local/bin/bench-{self:?}").to_lowercase()
    }

    const fn script(self) -> Option<&'static str> {
        match self {
            Self::Shell => None,
            Self::Tree => Some(TREE),
            Self::Hidden => Some(HIDDEN),
            Self::Storm => Some(STORM),
        }
    }
}

impl Client {
    /// Waits until the session is there.
    pub(crate) fn opened(self) -> Result<Open> {
        match self {
            Self::Terminal(mut terminal) => {
                terminal.wait_for("deploy@")?;
                // As typed it is echoed, too; the apostrophes tell the answer from the question.
                terminal.enter("echo 'open'ed=$PPID $SSH_CONNECTION\\;")?;
                terminal.wait_for("opened=")?;
                let connection = Connection::parse(&terminal.wait_for(";")?)?;
                Ok(Open { connection, _client: Self::Terminal(terminal) })
            }
            Self::Command(mut command) => {
                let said = eventually_some("the session has begun", || {
                    let said = command.stdout();
                    (said.contains(';') || !command.is_running()).then_some(said)
                })?;
                let answer = said.split_once("opened=").and_then(|(_, rest)| rest.split_once(';'));
                let answer = answer.with_context(|| command.stderr())?.0;
                let connection = Connection::parse(answer)?;
                Ok(Open { connection, _client: Self::Command(command) })
            }
        }
    }
}

impl Open {
    /// Who it is.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Connection {
    fn parse(text: &str) -> Result<Self> {
        let read = || {
            let (parent, ends) = text.split_once(' ')?;
            Some(Self { parent: parent.parse().ok()?, ends: ends.to_owned() })
        };
        read().with_context(|| format!("the session said {text:?} of itself"))
    }
}

/// 1 + 7 + 7 × 6
const TREE: &str = "#!/bin/bash
for branch in {1..7}; do
  (for leaf in {1..6}; do sleep 86400 & done; wait) &
done
echo \"opened=$PPID $SSH_CONNECTION;\"
wait
";

/// A tmux server and its window, five sleeps, one of them stopped, and a shell that ignores what can be ignored.
const HIDDEN: &str = "#!/bin/bash
tmux -L \"bench$$\" new-session -d 'exec sleep 86400'
nohup sleep 86400 >/dev/null 2>&1 &
setsid sleep 86400 &
( (setsid sleep 86400 &) & )
setsid --fork bash -c 'trap \"\" HUP INT TERM; while :; do sleep 86400; done' >/dev/null 2>&1
sleep 86400 &
kill -STOP $!
echo \"opened=$PPID $SSH_CONNECTION;\"
wait
";

/// 1 + 8 + 8 × 124 that wait, and eight that start a program after the other.
const STORM: &str = "#!/bin/bash
for worker in {1..8}; do
  (for sleeper in {1..124}; do sleep 86400 & done; while :; do /bin/true; done) &
done
echo \"opened=$PPID $SSH_CONNECTION;\"
wait
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_says_who_it_is() {
        let ends = "10.99.1.126 50000 10.99.1.1 22".to_owned();
        let connection = Connection::parse(&format!("71 {ends}")).expect("it is whole");
        assert_eq!(connection, Connection { parent: 71, ends });
        assert!(Connection::parse("").is_err());
    }
}
