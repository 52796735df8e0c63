//! Putting the agent into the login path, and taking it out again.
//!
//! Either all of it holds or none of it: each file is remembered before it is changed, and what does not pass its check
//! (sshd's own, and a real login through sshd) takes everything back. Logins that are under no authority of ours are
//! touched by nothing here. The order keeps them safe: the agent runs before PAM asks it, and PAM stops asking before
//! the agent goes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod breakglass;
mod file;
mod host;
pub mod pam;
mod probe;
pub mod sshd;

use crate::config::Config;
use crate::krl::shelf::Shelf;
use crate::renewal::disk::Certificates;
use file::Saved;
pub use host::{Host, Ran, System};
use sshd::{Effective, Version};

/// What was done, a line a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Steps, in their order, in words.
    pub done: Vec<String>,
}

/// Why the agent is not in the login path; nothing was left behind unless `left` says so.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {why}{}", left_line(left))]
pub struct InstallError {
    /// What was being done.
    pub step: &'static str,
    /// Why it failed, and what to do.
    pub why: String,
    /// What could not be taken back.
    pub left: Vec<String>,
}

/// What [`uninstall`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Enrolment, configuration and records that are not delivered.
    State,
    /// Nothing.
    Nothing,
}

/// Puts the agent into the login path of the host whose root folder is `root`; again is the same as once.
///
/// # Errors
/// The step that failed. Everything has been taken back then.
pub fn install(root: &Path, config: &Config, host: &mut dyn Host) -> Result<Report, InstallError> {
    let mut work = Work { root, host, undo: Vec::new(), report: Report::default() };
    match work.install(config) {
        Ok(()) => Ok(work.report),
        Err((step, why)) => Err(InstallError { step, why, left: work.take_back() }),
    }
}

/// Takes the agent out of the login path. Goes on where a step fails, so that as little as possible is left.
///
/// # Errors
/// The first step that failed; `left` names them all.
pub fn uninstall(
    root: &Path,
    config: &Config,
    host: &mut dyn Host,
    keep: Keep,
) -> Result<Report, InstallError> {
    let mut work = Work { root, host, undo: Vec::new(), report: Report::default() };
    let failed = work.uninstall(config, keep);
    let Some((step, why)) = failed.first().cloned() else {
        return Ok(work.report);
    };
    let rest = failed.iter().skip(1).map(|(step, why)| format!("{step}: {why}"));
    Err(InstallError { step, why, left: rest.collect() })
}

/// One installation while it happens.
struct Work<'a> {
    root: &'a Path,
    host: &'a mut dyn Host,
    undo: Vec<Undo>,
    report: Report,
}

/// How one step is taken back.
enum Undo {
    File(Saved),
    /// A folder that was not there before.
    Folder(PathBuf),
    Command(Vec<&'static str>),
}

impl Work<'_> {
    /// Every step, whatever becomes of the one before; gives those that failed.
    fn uninstall(&mut self, config: &Config, keep: Keep) -> Vec<(&'static str, String)> {
        let mut failed = Vec::new();
        let done = self.leave_pam();
        self.attempted("take the lines out of PAM", done, &mut failed);
        let done = self.leave_sshd(keep);
        self.attempted("take the settings out of sshd", done, &mut failed);
        let done = self.leave_breakglass();
        self.attempted("close break-glass", done, &mut failed);
        let done = self.leave_systemd();
        self.attempted("stop the units", done, &mut failed);
        let done = self.leave_list(config);
        self.attempted("take the list of revoked keys away", done, &mut failed);
        let done = self.leave_kernel(config);
        self.attempted("empty the kernel", done, &mut failed);
        if keep == Keep::Nothing {
            let done = self.forget(config);
            self.attempted("forget the enrolment", done, &mut failed);
        }
        failed
    }

    fn attempted(
        &mut self,
        step: &'static str,
        done: Result<(), String>,
        failed: &mut Vec<(&'static str, String)>,
    ) {
        match done {
            Ok(()) => self.report.done.push(step.to_owned()),
            Err(why) => failed.push((step, why)),
        }
    }

    fn install(&mut self, config: &Config) -> Result<(), (&'static str, String)> {
        self.step("look at the host", Self::ready, config)?;
        self.step("make users and folders", Self::enter_users, config)?;
        self.step("start the units", Self::enter_systemd, config)?;
        self.step("put the list of revoked keys in place", Self::enter_list, config)?;
        self.step("look for break-glass", Self::enter_breakglass, config)?;
        self.step("tell sshd", Self::enter_sshd, config)?;
        self.step("put the lines into PAM", Self::enter_pam, config)?;
        self.step("reload sshd", |work, _| work.reload(), config)?;
        self.step("try a login", Self::try_login, config)
    }

    fn step(
        &mut self,
        name: &'static str,
        perform: fn(&mut Self, &Config) -> Result<(), String>,
        config: &Config,
    ) -> Result<(), (&'static str, String)> {
        perform(self, config).map_err(|why| (name, why))?;
        self.report.done.push(name.to_owned());
        Ok(())
    }

    fn ready(&mut self, config: &Config) -> Result<(), String> {
        let release =
            self.host.run("/usr/sbin/sshd", &["-V"]).map_err(|error| error.to_string())?;
        let release = Version::find(&release.all())
            .ok_or("sshd does not say its release; is openssh-server installed?")?;
        if release < sshd::OLDEST {
            return Err(format!(
                "OpenSSH {release} is too old: {} is the first with `Include`",
                sshd::OLDEST
            ));
        }
        let trust = config.state_dir.join("trust.json");
        for path in [trust.as_path(), Path::new(sshd::USER_AUTHORITIES_PATH)] {
            if !self.at(path).is_file() {
                return Err(format!(
                    "{} is missing; run `curfew-agent enroll` first",
                    path.display()
                ));
            }
        }
        for path in [HELPER, TERMINAL, RECORDER, FILES, AGENT].map(Path::new) {
            if !self.at(path).is_file() {
                return Err(format!("{} is missing; install the package again", path.display()));
            }
        }
        if !MODULE_DIRS.iter().any(|folder| self.at(Path::new(folder)).join(pam::MODULE).is_file())
        {
            return Err(format!(
                "{} is in none of {}; install the package again",
                pam::MODULE,
                MODULE_DIRS.join(", ")
            ));
        }
        self.no_rivals()
    }

    /// Another authority's settings stay in force: we do not push them aside, we say so.
    fn no_rivals(&mut self) -> Result<(), String> {
        match self.effective()?.rivals().first() {
            None => Ok(()),
            Some((keyword, value)) => Err(format!(
                "sshd already has {keyword} {value}, which Curfew's would replace; take it out of sshd_config first (keys of another authority: move them to `cert-authority` lines with their own principals)"
            )),
        }
    }

    fn enter_users(&mut self, _config: &Config) -> Result<(), String> {
        self.must("systemd-sysusers", &["/usr/lib/sysusers.d/curfew.conf"])?;
        self.must("systemd-tmpfiles", &["--create", "/usr/lib/tmpfiles.d/curfew.conf"])
    }

    fn enter_systemd(&mut self, config: &Config) -> Result<(), String> {
        // From now on the programs that are here are those that belong here.
        let programs = config.state_dir.join(crate::local::PROGRAMS);
        let forgotten = file::remove(&self.at(&programs));
        forgotten.map_err(|error| format!("{}: {error}", programs.display()))?;
        for path in UNIT_DROP_INS {
            self.change(Path::new(path), |_| Some(UNIT_DROP_IN.to_owned()))?;
        }
        self.undo.push(Undo::Command(vec!["systemctl", "daemon-reload"]));
        self.must("systemctl", &["daemon-reload"])?;
        for unit in UNITS {
            if !self.succeeds("systemctl", &["is-enabled", "--quiet", unit]) {
                self.undo.push(Undo::Command(vec!["systemctl", "disable", "--now", unit]));
            }
            self.must("systemctl", &["enable", "--now", unit])?;
        }
        if self.succeeds("systemctl", &["is-active", "--quiet", UNITS[0]]) {
            return Ok(());
        }
        Err(format!("{} does not run; `journalctl -u {}` says why", UNITS[0], UNITS[0]))
    }

    /// Before sshd is told of it: with a file that is not there it refuses everybody. A list that the host has already is
    /// taken over, for sshd reads ours in its place from now on.
    fn enter_list(&mut self, config: &Config) -> Result<(), String> {
        let shelf = Shelf::new(self.root, &config.state_dir);
        if config.state_dir.join(crate::krl::FOLDER).join("revoked_keys")
            != Path::new(crate::krl::REVOKED_KEYS_PATH)
        {
            return Err(format!(
                "sshd is to read {}, and state_dir is {}; leave state_dir as it was",
                crate::krl::REVOKED_KEYS_PATH,
                config.state_dir.display()
            ));
        }
        if !shelf.folder().exists() {
            self.undo.push(Undo::Folder(shelf.folder().to_owned()));
        }
        let in_force = self.effective()?.value("RevokedKeys").to_owned();
        let foreign: Vec<PathBuf> = if in_force == crate::krl::REVOKED_KEYS_PATH {
            // Ours hides it: of what the files say, sshd would take the first.
            let lines =
                sshd::files(self.root).into_iter().flat_map(|(_, text)| sshd::revoked_keys(&text));
            let first = lines.into_iter().find(|line| !line.is_in_match);
            first.map_or_else(Vec::new, |line| line.paths.into_iter().map(PathBuf::from).collect())
        } else {
            let paths = in_force.split_whitespace().filter(|path| *path != "none");
            paths.map(PathBuf::from).collect()
        };
        let count = foreign.len();
        let placed = shelf.adopt(foreign, self.host).map_err(|error| error.to_string())?;
        if count > 0 {
            let names: Vec<String> =
                placed.sources.iter().map(|path| path.display().to_string()).collect();
            self.report.done.push(format!(
                "taken over: what {} revokes stays revoked; sshd reads {} in its place",
                names.join(" and "),
                crate::krl::REVOKED_KEYS_PATH
            ));
        }
        Ok(())
    }

    fn enter_sshd(&mut self, config: &Config) -> Result<(), String> {
        let certificates =
            self.certificates(config).map_err(|error| format!("host certificates: {error}"))?;
        let passwd = fs::read_to_string(self.at(Path::new("/etc/passwd")));
        let own_shells =
            sshd::own_shells(&passwd.map_err(|error| format!("/etc/passwd: {error}"))?);
        let settings = self.with_door(sshd::drop_in(&certificates, &own_shells), config)?;
        self.change(Path::new(sshd::DROP_IN_PATH), |_| Some(settings))?;
        self.change(Path::new(sshd::CONFIG_PATH), sshd::with_include)?;
        self.must("/usr/sbin/sshd", &["-t"])?;
        match self.effective()?.overridden().first() {
            None => self.check_door(config),
            Some((keyword, ours, holds)) => Err(format!(
                "{keyword} should be {ours} and is {holds}; look for it in sshd_config, in files before 00-curfew.conf and in Match blocks"
            )),
        }
    }

    fn enter_pam(&mut self, config: &Config) -> Result<(), String> {
        if !self.at(Path::new(pam::PAM_PATH)).is_file() {
            return Err(format!("{} is missing; sshd here does not log in by PAM", pam::PAM_PATH));
        }
        let door = self.pam_door(config)?;
        self.change(Path::new(pam::PAM_PATH), |text| {
            let lines = pam::with_lines(text, config.other_logins);
            Some(door.map_or(lines.clone(), |door| pam::with_breakglass(&lines, &door)))
        })?;
        let text = fs::read_to_string(self.at(Path::new(pam::PAM_PATH)));
        match pam::flaw(&text.map_err(|error| error.to_string())?) {
            None => Ok(()),
            Some(flaw) => Err(flaw),
        }
    }

    fn try_login(&mut self, _config: &Config) -> Result<(), String> {
        let seen = self.host.try_login(self.root)?;
        self.report.done.push(seen);
        Ok(())
    }

    fn leave_pam(&mut self) -> Result<(), String> {
        self.change(Path::new(pam::PAM_PATH), |text| Some(pam::without_lines(text)))
    }

    fn leave_sshd(&mut self, keep: Keep) -> Result<(), String> {
        let path = self.at(Path::new(sshd::DROP_IN_PATH));
        let text = Saved::of(&path).and_then(|saved| saved.text());
        let certificates = sshd::host_certificates(&text.map_err(|error| error.to_string())?);
        file::remove(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        self.change(Path::new(sshd::CONFIG_PATH), |text| Some(sshd::without_include(text)))?;
        self.must("/usr/sbin/sshd", &["-t"])?;
        self.reload()?;
        for path in certificates.iter().filter(|_| keep == Keep::Nothing) {
            file::remove(&self.at(Path::new(path))).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }

    fn leave_systemd(&mut self) -> Result<(), String> {
        for unit in UNITS {
            self.must("systemctl", &["disable", "--now", unit])?;
        }
        for path in UNIT_DROP_INS {
            let place = self.at(Path::new(path));
            file::remove(&place).map_err(|error| format!("{path}: {error}"))?;
            place.parent().map_or(Ok(()), remove_if_empty)?;
        }
        self.must("systemctl", &["daemon-reload"])
    }

    /// After sshd: what it was told before, if anything, is in force again.
    fn leave_list(&mut self, config: &Config) -> Result<(), String> {
        let shelf = Shelf::new(self.root, &config.state_dir);
        self.clear_list(shelf.folder())
    }

    /// Removes the folder of lists, unless sshd still reads the one in it: it would refuse everybody.
    fn clear_list(&mut self, folder: &Path) -> Result<(), String> {
        let in_force = self.effective()?.value("RevokedKeys").to_owned();
        if in_force.split_whitespace().any(|path| path == crate::krl::REVOKED_KEYS_PATH) {
            return Err(format!(
                "sshd still reads {in_force} and would refuse everybody without it; take RevokedKeys out of sshd_config first"
            ));
        }
        remove_folder(folder)
    }

    /// Without its pins the kernel drops the programs and the tags; sessions that run go on without limits.
    fn leave_kernel(&self, config: &Config) -> Result<(), String> {
        self.clear(&config.bpf_dir)?;
        self.clear(&config.run_dir)
    }

    fn forget(&mut self, config: &Config) -> Result<(), String> {
        self.leave_list(config)?;
        for folder in [config.state_dir.as_path(), Path::new("/var/lib/curfew-link")] {
            self.clear(folder)?;
        }
        for path in [sshd::USER_AUTHORITIES_PATH, crate::config::CONFIG_PATH] {
            file::remove(&self.at(Path::new(path))).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }

    /// Writes what `edit` makes of the file, if that differs; remembers how to take it back.
    fn change(
        &mut self,
        path: &Path,
        edit: impl FnOnce(&str) -> Option<String>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let saved = Saved::of(&self.at(path)).map_err(failed)?;
        let text = saved.text().map_err(failed)?;
        match edit(&text) {
            Some(edited) if edited != text || !saved.existed() => {
                saved.replace(&edited).map_err(failed)?;
                self.undo.push(Undo::File(saved));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The agent's host certificates whose keys sshd has; on a host that enrolled before these had a folder of their own,
    /// those that lie beside their keys.
    fn certificates(&self, config: &Config) -> io::Result<Vec<String>> {
        let ours = Certificates::in_state(&config.state_dir);
        let found = self.certificates_in(ours.folder())?;
        if found.is_empty() { self.certificates_in(Path::new("/etc/ssh")) } else { Ok(found) }
    }

    fn certificates_in(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        let entries = match fs::read_dir(self.at(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
            other => other?,
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let key = name.strip_suffix("-cert.pub").filter(|key| key.starts_with("ssh_host_"));
            if key.is_some_and(|key| self.at(Path::new("/etc/ssh")).join(key).is_file()) {
                paths.push(folder.join(name).display().to_string());
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn effective(&mut self) -> Result<Effective, String> {
        self.effective_for("root")
    }

    fn effective_for(&mut self, user: &str) -> Result<Effective, String> {
        let connection = format!("user={user},host=localhost,addr=127.0.0.1");
        let ran = self.host.run("/usr/sbin/sshd", &["-T", "-C", &connection]);
        let ran = ran.map_err(|error| format!("sshd -T: {error}"))?;
        if ran.ok {
            Ok(Effective::parse(&ran.out))
        } else {
            Err(format!("sshd -T: {}", ran.last_line()))
        }
    }

    /// Reloads whichever unit runs sshd. Where none does, sshd starts by socket and reads its files each time.
    fn reload(&mut self) -> Result<(), String> {
        for unit in ["ssh.service", "sshd.service"] {
            if self.succeeds("systemctl", &["is-active", "--quiet", unit]) {
                self.undo.push(Undo::Command(vec!["systemctl", "reload", unit]));
                return self.must("systemctl", &["reload", unit]);
            }
        }
        Ok(())
    }

    fn must(&mut self, program: &'static str, words: &[&str]) -> Result<(), String> {
        let line = || format!("{program} {}", words.join(" "));
        match self.host.run(program, words) {
            Ok(ran) if ran.ok => Ok(()),
            Ok(ran) => Err(format!("`{}` failed: {}", line(), ran.last_line())),
            Err(error) => Err(format!("`{}`: {error}", line())),
        }
    }

    fn succeeds(&mut self, program: &str, words: &[&str]) -> bool {
        self.host.run(program, words).is_ok_and(|ran| ran.ok)
    }

    fn clear(&self, folder: &Path) -> Result<(), String> {
        remove_folder(&self.at(folder))
    }

    /// Takes back every step: files first, newest first, then the commands, so that these see the files as they were.
    fn take_back(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let steps = std::mem::take(&mut self.undo);
        for step in steps.iter().rev() {
            if let Undo::File(saved) = step
                && let Err(error) = saved.restore()
            {
                left.push(format!("{} is not as it was: {error}", saved.path().display()));
            }
        }
        for step in steps.iter().rev() {
            // The files went back before: sshd is not told of what is in it any more.
            if let Undo::Folder(folder) = step
                && let Err(why) = self.clear_list(folder)
            {
                left.push(why);
            }
        }
        for step in steps.iter().rev() {
            if let Undo::Command(words) = step
                && let Some((program, words)) = words.split_first()
                && let Err(why) = self.must(program, words)
            {
                left.push(why);
            }
        }
        left
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn remove_folder(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A folder that had to be made for a file of ours goes with it; one that holds something else stays.
fn remove_if_empty(folder: &Path) -> Result<(), String> {
    match fs::remove_dir(folder) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn left_line(left: &[String]) -> String {
    if left.is_empty() { String::new() } else { format!("; also: {}", left.join("; ")) }
}

const HELPER: &str = "/usr/lib/curfew/curfew-principals";
/// What sshd starts in channels.
const TERMINAL: &str = "/usr/lib/curfew/curfew-pty";
const RECORDER: &str = "/usr/lib/curfew/curfew-recorder";
/// What the kernel lets watch file systems.
const FILES: &str = "/usr/lib/curfew/curfew-files";
const AGENT: &str = "/usr/bin/curfew-agent";
/// Where distributions keep PAM's modules.
const MODULE_DIRS: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/security",
    "/usr/lib/aarch64-linux-gnu/security",
    "/usr/lib64/security",
    "/usr/lib/security",
    "/lib/x86_64-linux-gnu/security",
    "/lib/security",
];
const UNITS: [&str; 4] = [
    "curfew-agent.service",
    "curfew-link.service",
    "curfew-recorder.socket",
    "curfew-files.socket",
];
/// For both names that distributions give to sshd's unit.
const UNIT_DROP_INS: &[&str] = &[
    "/etc/systemd/system/ssh.service.d/curfew.conf",
    "/etc/systemd/system/sshd.service.d/curfew.conf",
];
const UNIT_DROP_IN: &str = "# Curfew: the agent is up before sshd asks it. Not Requires=: sshd must not stop when the agent does.\n[Unit]\nWants=curfew-agent.service\nAfter=curfew-agent.service\n";

#[cfg(test)]
mod tests;
