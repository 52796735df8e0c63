//! Sessions as a test meets them: how they are begun, what the authority knows of them, and what they leave.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    FleetError, Host, Output, Person, Site, Ssh, Terminal, command::command, command::run,
    eventually_some,
};

impl Site {
    /// Waits until the authority knows a living session of `who` on `host`, and returns it as it is listed.
    ///
    /// # Errors
    /// When it does not within the patience.
    pub fn session(&self, who: &Person, host: &Host) -> Result<Value, FleetError> {
        eventually_some(&format!("{} is on {}", who.identity, host.name()), || {
            let sessions = self.listing(["sessions", "--live"]).ok()?;
            sessions.into_iter().find(|session| {
                session["identity"] == *who.identity && session["host"] == *host.name()
            })
        })
    }

    /// Waits until the authority knows that `count` sessions have been begun and all have ended, and returns the newest.
    ///
    /// # Errors
    /// When it does not within the patience.
    pub fn last_of(&self, count: usize) -> Result<Value, FleetError> {
        eventually_some(&format!("{count} sessions have ended"), || {
            let sessions = self.listing(["sessions"]).ok()?;
            let is_over = sessions.iter().all(|session| session["ended"].is_object());
            (is_over && sessions.len() == count).then(|| sessions.into_iter().next())?
        })
    }

    /// Waits until the authority knows that a session has ended, and returns it as it is listed.
    ///
    /// # Errors
    /// When it does not within the patience.
    pub fn ended(&self, session: &Value) -> Result<Value, FleetError> {
        eventually_some(&format!("the session {} has ended", session["session"]), || {
            let sessions = self.listing(["sessions"]).ok()?;
            sessions
                .into_iter()
                .find(|other| other["session"] == session["session"] && other["ended"].is_object())
        })
    }

    /// Signs a public key of `who` by the authority's own key for people, behind the authority's back: `args` are those of
    /// `ssh-keygen -s`.
    ///
    /// # Errors
    /// When `ssh-keygen` refuses.
    pub fn forge(&self, who: &Person, args: &[&str]) -> Result<Certified, FleetError> {
        who.sign(&self.authority.dir().join("state/user_ca"), args)
    }
}

impl Person {
    /// Opens a shell by plain `ssh` and waits for its prompt.
    ///
    /// # Errors
    /// When none appears.
    pub fn shell(&self, login: &str, host: &Host) -> Result<Terminal, FleetError> {
        let mut shell = self.ssh(login, host).shell()?;
        shell.wait_for(&format!("{login}@{}:", host.name()))?;
        Ok(shell)
    }

    /// Gets a certificate as plain `ssh` does, and puts it aside with its key.
    ///
    /// # Errors
    /// When the authority refuses.
    pub fn certificate(&self, login: &str, host: &Host) -> Result<Certified, FleetError> {
        let address = host.address().to_string();
        self.curfew(["ssh", "--prepare", &address, login])?.done()?;
        let name = format!("{login}@{address}");
        let source = self.client.home_dir().join(".config/curfew/id").join(&name);
        let key_path = self.client.ssh_dir().join(&name);
        for suffix in ["", "-cert.pub"] {
            let (from, to) = (with_suffix(&source, suffix), with_suffix(&key_path, suffix));
            fs::copy(&from, &to).map_err(FleetError::io(format!("copy {}", from.display())))?;
        }
        Ok(Certified { certificate_path: with_suffix(&key_path, "-cert.pub"), key_path })
    }

    /// Has a new key certified, which is called `name`; never a certificate that is there already.
    ///
    /// # Errors
    /// When the authority refuses.
    pub fn fresh(&self, name: &str, login: &str, host: &Host) -> Result<Certified, FleetError> {
        let key_path = self.client.make_key(name, "ed25519")?;
        let place = format!("{login}@{}", host.name());
        let key = key_path.display().to_string();
        self.curfew(["certificate", &place, "--key", &key])?.done()?;
        Ok(Certified { certificate_path: with_suffix(&key_path, "-cert.pub"), key_path })
    }

    /// Signs this person's own key by the authority at `authority_path`, with `args` of `ssh-keygen -s`.
    ///
    /// # Errors
    /// When `ssh-keygen` refuses.
    pub fn sign(
        &self,
        authority_path: &std::path::Path,
        args: &[&str],
    ) -> Result<Certified, FleetError> {
        let key_path = self.client.key_path();
        let mut keygen = command("ssh-keygen");
        keygen
            .arg("-q")
            .arg("-s")
            .arg(authority_path)
            .args(args)
            .arg(with_suffix(&key_path, ".pub"));
        run(keygen, b"")?.done()?;
        Ok(Certified { certificate_path: with_suffix(&key_path, "-cert.pub"), key_path })
    }

    /// `ssh` that offers this certificate and nothing else, and asks nobody for another.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn offering(
        &self,
        certified: &Certified,
        login: &str,
        host: &Host,
    ) -> Result<Ssh<'_>, FleetError> {
        let options = [
            "-o".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "-o".to_owned(),
            "IdentityAgent=none".to_owned(),
            "-o".to_owned(),
            format!("CertificateFile={}", certified.certificate_path.display()),
            "-i".to_owned(),
            certified.key_path.display().to_string(),
        ];
        Ok(self.without_curfew(login, host)?.with(options))
    }

    /// `ssh` of somebody who has never heard of Curfew, on this person's machine.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn without_curfew(&self, login: &str, host: &Host) -> Result<Ssh<'_>, FleetError> {
        let path = self.client.ssh_dir().join("config.plain");
        let known_hosts = self.client.ssh_dir().join("known_hosts.plain");
        let text = format!(
            "Host *\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nConnectTimeout 10\n",
            known_hosts.display()
        );
        // By rename: an ssh that was started a moment ago reads it whole.
        let beside = path.with_extension("new");
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(FleetError::io(format!("write {}", path.display())))?;
        Ok(self.ssh(login, host).with(["-F", &path.to_string_lossy()]))
    }

    /// Runs `curfew lock …`; what it says is part of what it promises.
    ///
    /// # Errors
    /// When it cannot be started; a lock that is not done everywhere is an [`Output`].
    pub fn lock(&self, target: &[&str]) -> Result<Output, FleetError> {
        self.curfew(["lock"].iter().chain(target).chain(&["--reason", REASON]))
    }

    /// Runs `curfew unlock …`.
    ///
    /// # Errors
    /// When it fails.
    pub fn unlock(&self, target: &[&str]) -> Result<(), FleetError> {
        self.curfew(["unlock"].iter().chain(target).chain(&["--reason", "found again"]))?.done()
    }

    /// What the authority has of a session, in order: `curfew sessions show`.
    ///
    /// # Errors
    /// When it fails.
    pub fn records(&self, session: &Value) -> Result<Vec<Value>, FleetError> {
        let id = session["session"].as_str().unwrap_or_default();
        let mut detail = self.listing(["sessions", "show", id])?;
        let records = detail.get_mut("records").and_then(Value::as_array_mut);
        Ok(records.map(std::mem::take).unwrap_or_default())
    }

    /// Waits until what the authority has of a session is as `is_whole` wants it, and returns it.
    ///
    /// # Errors
    /// When it does not become so within the patience.
    pub fn records_when(
        &self,
        session: &Value,
        is_whole: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>, FleetError> {
        eventually_some(&format!("all of {} has arrived", session["session"]), || {
            self.records(session).ok().filter(|records| is_whole(records))
        })
    }
}

/// A key with a certificate, in files.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The private key.
    pub key_path: PathBuf,
    /// The certificate.
    pub certificate_path: PathBuf,
}

impl Certified {
    /// What `ssh-keygen -L` says of it.
    ///
    /// # Errors
    /// When it cannot read it.
    pub fn text(&self) -> Result<String, FleetError> {
        let mut keygen = command("ssh-keygen");
        keygen.arg("-L").arg("-f").arg(&self.certificate_path);
        Ok(run(keygen, b"")?.ok()?.stdout)
    }
}

fn with_suffix(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The reason that [`Person::lock`] gives.
pub const REASON: &str = "left the company";
