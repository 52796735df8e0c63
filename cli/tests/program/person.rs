//! A person at a machine: a home of their own, perhaps an ssh-agent, and `curfew`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use ssh_key::PublicKey;

use crate::authority::Authority;

/// A person; their files and their agent go with them.
pub(crate) struct Person {
    dir: tempfile::TempDir,
    agent: Option<Child>,
}

impl Person {
    /// Somebody with a key in `~/key` and no ssh-agent.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(dir.path().join("key"))
            .status();
        assert!(made.unwrap().success());
        Self { dir, agent: None }
    }

    /// The same with an ssh-agent that holds nothing.
    pub(crate) fn with_agent() -> Self {
        let mut person = Self::new();
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(person.path("agent"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        person.agent = Some(child);
        eventually(|| person.path("agent").exists());
        person
    }

    /// Somebody who is logged in at `authority`, which knows one host, `db1`, where they may be `logins`.
    pub(crate) fn log_in(self, authority: &Authority, logins: &[&str]) -> Self {
        let logins: Vec<_> =
            logins.iter().map(|login| json!({"login": login, "role": "deploy"})).collect();
        let hosts = json!([{"name": "db1", "addresses": ["127.0.0.1"], "labels": ["env=prod"], "logins": logins,
            "seen": crate::authority::now(), "tier": "full", "connected": true, "last_order": 0}]);
        authority.set(|state| {
            state.enrolled = Some(self.public_key());
            state.hosts = hosts;
        });
        let fingerprint = authority.fingerprint.as_str();
        let key = self.path("key");
        let output = self.curfew([
            "login",
            "--ca",
            &authority.url,
            "--fingerprint",
            fingerprint,
            "--identity",
            "ana@example.com",
            "--key",
            key.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        authority.calls();
        self
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::read_openssh_file(self.path("key.pub")).unwrap()
    }

    /// A file of theirs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Calls curfew and waits for it.
    pub(crate) fn curfew<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        arguments: I,
    ) -> Output {
        self.command(env!("CARGO_BIN_EXE_curfew")).args(arguments).output().unwrap()
    }

    /// Any program, in this person's environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.dir.path())
            .env("CURFEW_HOME", self.path("curfew"))
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("CURFEW_PREPARED")
            .stdin(Stdio::null());
        if self.agent.is_some() {
            command.env("SSH_AUTH_SOCK", self.path("agent"));
        }
        command
    }

    /// The names in the identity directory.
    pub(crate) fn identities(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("curfew/id")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }
}

/// Lets a moment go by between two looks.
pub(crate) fn pause() {
    let (_silent, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(std::time::Duration::from_millis(25)).is_err());
}

/// Waits up to ten seconds for `ready`.
pub(crate) fn eventually(mut ready: impl FnMut() -> bool) {
    let (_silent, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..500 {
        if ready() {
            return;
        }
        assert!(never.recv_timeout(std::time::Duration::from_millis(20)).is_err());
    }
    panic!("not within ten seconds");
}

/// What a program said on standard output.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a program complained of.
pub(crate) fn complained(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
