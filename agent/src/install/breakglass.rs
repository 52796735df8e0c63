//! The account that break-glass opens: made, told to sshd and PAM, and taken out again.
//!
//! Only where root has placed group keys ([`KEYS_PATH`]). The account has no password and no keys of its own; a block of
//! sshd's settings makes the group's certificate for this very host the only thing that opens it, with or without the agent:
//! the authority's own key does not count there, and so cannot forge its principal.

use std::fs;
use std::path::Path;

use wire::breakglass::{self, KEYS_PATH};
use wire::hostlink::Trust;
use wire::identifier::{Login, Principal};

use super::file::{self, Saved};
use super::{Undo, Work, sshd};
use crate::config::Config;
use crate::store;

/// What is put in place for break-glass.
#[derive(Debug)]
pub(super) struct Door {
    login: Login,
    principal: Principal,
    lines: String,
}

impl Work<'_> {
    /// What break-glass asks for on this host; nothing where root has placed no key.
    pub(super) fn door(&self, config: &Config) -> Result<Option<Door>, String> {
        let path = self.at(Path::new(KEYS_PATH));
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| format!("{KEYS_PATH}: {error}"))?,
        };
        only_roots(&path).map_err(|why| format!("{KEYS_PATH} {why}"))?;
        let keys = breakglass::keys(&text).map_err(|error| format!("{KEYS_PATH}: {error}"))?;
        if keys.is_empty() {
            return Ok(None);
        }
        let trust: Trust =
            store::read(&config.state_dir.join("trust.json")).map_err(|error| error.to_string())?;
        let (login, host) = (config.breakglass_login.clone(), trust.host);
        let principal = Principal::of(&login, &host).map_err(|error| error.to_string())?;
        let mut lines = format!("{NOTE}\n");
        for key in &keys {
            let line = breakglass::authorized_line(key, &login, &host);
            lines.push_str(&line.map_err(|error| error.to_string())?);
            lines.push('\n');
        }
        Ok(Some(Door { login, principal, lines }))
    }

    /// Before sshd is told of it: the account, its keys, its rights.
    pub(super) fn enter_breakglass(&mut self, config: &Config) -> Result<(), String> {
        let Some(door) = self.door(config)? else {
            return self.leave_breakglass();
        };
        self.make_account(&door.login)?;
        self.change(Path::new(sshd::BREAKGLASS_KEYS_PATH), |_| Some(door.lines.clone()))?;
        if self.at(Path::new("/etc/sudoers.d")).is_dir() {
            let rule = format!("{NOTE}\n{} ALL=(ALL:ALL) NOPASSWD: ALL\n", door.login);
            self.change(Path::new(SUDOERS_PATH), |_| Some(rule))?;
            self.must("visudo", &["-c", "-q", "-f", SUDOERS_PATH])?;
        } else {
            self.report.done.push(format!(
                "sudo is not here: {} gets in by break-glass and cannot become root",
                door.login
            ));
        }
        self.report.done.push(format!(
            "break-glass: {} opens by a certificate of the group and by nothing else",
            door.principal
        ));
        Ok(())
    }

    /// sshd's settings with the block for the account.
    pub(super) fn with_door(&self, text: String, config: &Config) -> Result<String, String> {
        let door = self.door(config)?;
        Ok(door.map_or(text.clone(), |door| sshd::with_breakglass(&text, &door.login)))
    }

    /// What PAM is told; nothing where there is no break-glass.
    pub(super) fn pam_door(&self, config: &Config) -> Result<Option<Principal>, String> {
        Ok(self.door(config)?.map(|door| door.principal))
    }

    /// Whether sshd took it as it was meant: for the account nothing but our file counts.
    pub(super) fn check_door(&mut self, config: &Config) -> Result<(), String> {
        let Some(door) = self.door(config)? else { return Ok(()) };
        let effective = self.effective_for(door.login.as_str())?;
        for (keyword, wanted) in sshd::BREAKGLASS {
            let holds = effective.value(keyword);
            if !holds.eq_ignore_ascii_case(wanted) {
                return Err(format!(
                    "for {}, {keyword} should be {wanted} and is {holds}; look for a Match block before ours",
                    door.login
                ));
            }
        }
        for keyword in ["AllowUsers", "AllowGroups"] {
            if effective.value(keyword) != "none" {
                self.report.done.push(format!(
                    "{keyword} is set: see that it lets {} in, or break-glass does not open this host",
                    door.login
                ));
            }
        }
        Ok(())
    }

    /// Takes the account's keys and rights away; the account itself opens nothing without them, and stays.
    pub(super) fn leave_breakglass(&mut self) -> Result<(), String> {
        for path in [sshd::BREAKGLASS_KEYS_PATH, SUDOERS_PATH] {
            let saved =
                Saved::of(&self.at(Path::new(path))).map_err(|error| format!("{path}: {error}"))?;
            if saved.existed() {
                file::remove(&self.at(Path::new(path)))
                    .map_err(|error| format!("{path}: {error}"))?;
                self.undo.push(Undo::File(saved));
            }
        }
        Ok(())
    }

    fn make_account(&mut self, login: &Login) -> Result<(), String> {
        let passwd = fs::read_to_string(self.at(Path::new("/etc/passwd")));
        let passwd = passwd.map_err(|error| format!("/etc/passwd: {error}"))?;
        let line = passwd.lines().find(|line| line.split(':').next() == Some(login.as_str()));
        if let Some(line) = line {
            let is_ours = line.split(':').nth(4) == Some(GECOS);
            return if is_ours {
                Ok(())
            } else {
                Err(format!(
                    "the account {login} is there already and was not made for break-glass; name another with breakglass_login in agent.toml"
                ))
            };
        }
        // `*`: no password ever fits, and no tool takes it for an account that was locked.
        let words = [
            "--system",
            "--create-home",
            "--home-dir",
            HOME,
            "--shell",
            "/bin/bash",
            "--password",
            "*",
            "--comment",
            GECOS,
            login.as_str(),
        ];
        self.must("useradd", &words)
    }
}

/// Whoever else could write there could open the account.
fn only_roots(path: &Path) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path).map_err(|_unseen| "cannot be looked at")?;
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err("must be root's, and nobody else may write it (chown root; chmod 644)");
    }
    Ok(())
}

const SUDOERS_PATH: &str = "/etc/sudoers.d/curfew-breakglass";
const HOME: &str = "/var/lib/curfew-breakglass";
const GECOS: &str = "Curfew break-glass";
const NOTE: &str =
    "# Curfew. Written by `curfew-agent install` from /etc/curfew/breakglass.pub; edits are lost.";
