//! What would weaken or defeat the agent on this host. Looks, and changes nothing.
//!
//! What each text means is decided by pure functions, tested on texts; the shell below reads the host's. A file that
//! cannot be read is a finding too: nothing is taken for well because it was not seen.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod certificate;
mod sshd;

use serde::Serialize;
use wire::breakglass;
use wire::log::Policy;

use self::certificate::Setting;
use crate::config::Config;
use crate::install::{Host, pam, sshd as settings};
use crate::krl::shelf::Shelf;
use crate::local::shelf::{accounts, locks};
use crate::store;
use crate::witness::Kept;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What follows from it.
    pub why: &'static str,
    /// What to do.
    pub remedy: String,
}

/// How bad a finding is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Access can be had, or go on, that the agent knows nothing of; or nobody can log in.
    Defeated,
    /// A promise holds only in part.
    Weakened,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Defeated => "DEFEATED",
            Severity::Weakened => "weakened",
        };
        write!(
            f,
            "{severity}  {}\n          {}\n          Do: {}",
            self.what, self.why, self.remedy
        )
    }
}

/// Everything found on the host whose root folder is `root`, worst first. Empty when all is well.
#[must_use]
pub fn check(root: &Path, config_path: &Path, host: &mut dyn Host) -> Vec<Finding> {
    let mut look = Look {
        root,
        host,
        findings: Vec::new(),
        setting: Setting::default(),
        key_files: BTreeSet::new(),
    };
    if !rustix::process::geteuid().is_root() {
        look.find(defeated(
            "this does not run as root",
            "Most of what matters cannot be seen.",
            "run it with sudo",
        ));
        return look.findings;
    }
    let config = look.config(config_path);
    look.sshd();
    if let Some(config) = &config {
        look.lists(config);
    }
    look.pam();
    look.authorized_keys();
    look.agent(config.as_ref());
    look.local(config.as_ref());
    look.quorum(config.as_ref());
    look.kernel();
    look.findings.sort_by_key(|finding| finding.severity);
    look.findings
}

/// A finding of the worst kind.
fn defeated(what: impl Into<String>, why: &'static str, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Defeated, what: what.into(), why, remedy: remedy.into() }
}

/// A finding of the lesser kind.
fn weakened(what: impl Into<String>, why: &'static str, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Weakened, what: what.into(), why, remedy: remedy.into() }
}

/// One check while it looks.
struct Look<'a> {
    root: &'a Path,
    host: &'a mut dyn Host,
    findings: Vec<Finding>,
    setting: Setting,
    /// Where sshd looks for keys that open an account.
    key_files: BTreeSet<PathBuf>,
}

impl Look<'_> {
    fn find(&mut self, finding: Finding) {
        // The same setting, seen for one more account, is no news.
        let said = |finding: &Finding| finding.what.split(sshd::SEEN_FOR).next().map(str::to_owned);
        if !self.findings.iter().any(|known| said(known) == said(&finding)) {
            self.findings.push(finding);
        }
    }

    fn config(&mut self, path: &Path) -> Option<Config> {
        let text = self.read(path)?;
        match Config::parse(path, &text) {
            Ok(config) => Some(config),
            Err(error) => {
                self.find(defeated(
                    error.to_string(),
                    "The agent does not start with it.",
                    "correct the file",
                ));
                None
            }
        }
    }

    fn sshd(&mut self) {
        let said = self.host.run("/usr/sbin/sshd", &["-V"]).map(|ran| ran.all());
        self.setting.release = said.ok().and_then(|said| settings::Version::find(&said));
        // That it is missing is found elsewhere: sshd trusts nobody then.
        let trusted = fs::read_to_string(self.at(Path::new(settings::USER_AUTHORITIES_PATH)));
        self.setting.authorities = certificate::key_types(&trusted.unwrap_or_default());
        match self.setting.release {
            Some(release) if release < settings::OLDEST => self.find(defeated(
                format!("OpenSSH {release} is older than {}", settings::OLDEST),
                "It does not know `Include`, so our settings are not read.",
                "upgrade openssh-server",
            )),
            Some(_) => {}
            None => self.find(defeated(
                "sshd does not say its release",
                "Nothing about it is known.",
                "install openssh-server",
            )),
        }
        // Match blocks can say something else for anybody: root, a person, a stranger, from here and from afar.
        let person = |name: &str, home: &str| Person { name: name.into(), home: home.into() };
        let mut users =
            vec![person("root", "/root"), person("curfew-no-such-user", "/nonexistent")];
        users.extend(self.people().into_iter().take(MOST_PEOPLE));
        for user in users {
            for address in ["127.0.0.1", "192.0.2.1"] {
                self.sshd_for(&user, address);
            }
        }
    }

    /// Lists of revoked keys that are named beside ours.
    fn lists(&mut self, config: &Config) {
        let shelf = Shelf::new(self.root, &config.state_dir);
        let adopted = match shelf.sources() {
            Ok(adopted) => adopted,
            Err(error) => {
                return self.find(weakened(
                    error.to_string(),
                    "What the host revoked before Curfew is not known.",
                    "curfew-agent install",
                ));
            }
        };
        for (path, text) in settings::files(self.root) {
            for finding in sshd::other_lists(&path, &text, &adopted) {
                self.find(finding);
            }
        }
        let status = crate::command::status::read_at(&self.at(&config.run_dir.join("status.sock")));
        // An agent that does not answer is found elsewhere.
        let trouble = status.ok().and_then(|status| status.krl).and_then(|krl| krl.trouble);
        if let Some(trouble) = trouble {
            self.find(weakened(
                format!("the list of revoked keys: {trouble}"),
                "What is locked may still open wherever the agent is not asked.",
                "journalctl -u curfew-agent says more",
            ));
        }
    }

    fn sshd_for(&mut self, person: &Person, address: &str) {
        let user = &person.name;
        let connection = format!("user={user},host=unknown,addr={address}");
        let ran = match self.host.run("/usr/sbin/sshd", &["-T", "-C", &connection]) {
            Ok(ran) if ran.ok => ran,
            Ok(ran) => {
                return self.find(defeated(
                    format!("sshd cannot read its configuration: {}", ran.last_line()),
                    "After a restart nobody can log in.",
                    "correct sshd_config; `sshd -t` checks it",
                ));
            }
            Err(error) => {
                return self.find(defeated(
                    format!("sshd -T: {error}"),
                    "What holds is not known.",
                    "install openssh-server",
                ));
            }
        };
        let effective = settings::Effective::parse(&ran.out);
        let who = format!("{user} from {address}");
        let mut found = sshd::findings(&effective, &who);
        found.extend(certificate::findings(&effective, &self.setting, &who));
        if self.at(Path::new(breakglass::KEYS_PATH)).exists() {
            found.extend(sshd::penalties(&effective, &who));
        }
        found.into_iter().for_each(|finding| self.find(finding));
        let names = effective.value("AuthorizedKeysFile").split_whitespace();
        let names = names.filter(|name| *name != "none");
        self.key_files.extend(names.map(|name| person.key_file(name)));
        for path in effective.value("RevokedKeys").split_whitespace().filter(|path| *path != "none")
        {
            let bytes = fs::read(self.at(Path::new(path))).ok();
            if let Some(finding) = sshd::revoked_keys(path, bytes.as_deref()) {
                self.find(finding);
            }
        }
    }

    fn pam(&mut self) {
        let Some(text) = self.read(Path::new(pam::PAM_PATH)) else {
            return;
        };
        if let Some(flaw) = pam::flaw(&text) {
            self.find(defeated(
                format!("{}: {flaw}", pam::PAM_PATH),
                "Logins pass the agent by, or reach it with what the user wrote (pam_env user_readenv=1) in place of what sshd said.",
                "curfew-agent install",
            ));
        }
    }

    /// `cert-authority` lines trust an authority for one account, and past `TrustedUserCAKeys`.
    fn authorized_keys(&mut self) {
        for person in self.people() {
            let usual = USUAL_KEY_FILES.map(|name| person.key_file(name));
            self.key_files.extend(usual);
        }
        for path in std::mem::take(&mut self.key_files) {
            match fs::read_to_string(self.at(&path)) {
                Ok(text) if sshd::trusts_for_anybody(&text) => self.find(defeated(
                    format!("{} holds a cert-authority line without principals=", path.display()),
                    "That authority's certificates open this account without a grant; before OpenSSH 10.3 also one that names nobody.",
                    "take it out, or add principals=\"…\" to it",
                )),
                Ok(text) if sshd::trusts_an_authority(&text) => self.find(weakened(
                    format!("{} holds a cert-authority line", path.display()),
                    "That authority's certificates open this account without a grant; the agent treats them as other logins.",
                    "take it out, unless it is the break-glass line",
                )),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => self.find(weakened(
                    format!("{}: {error}", path.display()),
                    "It may trust an authority of its own.",
                    "look into it",
                )),
            }
        }
    }

    /// This host's own locks: what is none is not in force.
    fn local(&mut self, config: Option<&Config>) {
        let Some(config) = config else { return };
        let wrong = match locks(&self.at(&config.locks_dir)) {
            Err(why) => vec![why],
            Ok(found) => found
                .into_iter()
                .filter_map(|(path, lock)| lock.err().map(|why| format!("{path}: {why}")))
                .collect(),
        };
        for what in wrong {
            self.find(defeated(
                what,
                "Whoever it is to lock is not locked by it.",
                "correct the file, or the rights of the folder",
            ));
        }
        if config.follow_accounts
            && let Err(why) = accounts(&self.at(Path::new("/etc")))
        {
            self.find(weakened(
                why,
                "An account that is locked or removed on this host keeps its sessions.",
                "correct the file; pwck finds what is wrong",
            ));
        }
    }

    fn quorum(&mut self, config: Option<&Config>) {
        let Some(config) = config.filter(|config| config.quorum > 0) else { return };
        let kept = store::read::<Kept>(&self.at(&config.state_dir.join("ledger.json")));
        let Some(newest) = kept.ok().and_then(|kept| kept.newest) else { return };
        let (witnesses, quorum) = (config.witnesses.clone(), config.quorum);
        let policy = Policy { witnesses, quorum, ..Policy::default() };
        let found = policy.cosigned(&newest).map_or(0, |cosigned| cosigned.len());
        if found < quorum {
            self.find(defeated(
                format!(
                    "witness_quorum is {quorum}, and {found} of these witnesses cosigned the newest checkpoint that this host has"
                ),
                "A certificate with fewer cosignatures is not let in where `proof` is \"require\".",
                "let the authority ask these witnesses: `[[witness]]`, and `quorum` in `[ledger]`, in its ca.toml",
            ));
        }
    }

    fn agent(&mut self, config: Option<&Config>) {
        for (unit, why) in [
            ("curfew-agent.service", "Certificates open nothing, and sessions do not end on time."),
            (
                "curfew-link.service",
                "Orders such as a lock do not arrive, and records do not leave.",
            ),
        ] {
            let active = self.host.run("systemctl", &["is-active", "--quiet", unit]);
            if !active.is_ok_and(|ran| ran.ok) {
                self.find(defeated(
                    format!("{unit} does not run"),
                    why,
                    format!("systemctl status {unit}"),
                ));
            }
        }
        if let Some(config) = config
            && !self.at(&config.state_dir.join("trust.json")).is_file()
        {
            self.find(defeated(
                "this host is not enrolled",
                "The agent knows no authority.",
                "curfew-agent enroll",
            ));
        }
        let synced =
            self.host.run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
        if !synced.is_ok_and(|ran| ran.out.trim() == "yes") {
            self.find(weakened(
                "the clock is not kept by a time server",
                "Certificates are valid for minutes: with a wrong clock they open too late or too long. Ends of sessions are not touched.",
                "install and start systemd-timesyncd or chrony",
            ));
        }
    }

    fn kernel(&mut self) {
        if !self.at(Path::new("/sys/kernel/btf/vmlinux")).is_file() {
            self.find(weakened(
                "this kernel has no BTF (/sys/kernel/btf/vmlinux)",
                "Processes are told apart by /proc alone (degraded): what a session starts may be missed.",
                "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
            ));
        }
        if let Some(mounts) = self.read(Path::new("/proc/self/mounts"))
            && !mounts.lines().any(|line| line.split(' ').nth(2) == Some("bpf"))
        {
            self.find(weakened(
                "no BPF file system is mounted",
                "Tags cannot outlive a restart of the agent (degraded).",
                "mount -t bpf bpf /sys/fs/bpf",
            ));
        }
    }

    /// Accounts with a home folder.
    fn people(&mut self) -> Vec<Person> {
        let text = self.read(Path::new("/etc/passwd")).unwrap_or_default();
        people(&text)
    }

    /// The text of a file; that it cannot be read is a finding.
    fn read(&mut self, path: &Path) -> Option<String> {
        match fs::read_to_string(self.at(path)) {
            Ok(text) => Some(text),
            Err(error) => {
                self.find(defeated(
                    format!("{}: {error}", path.display()),
                    "What it says cannot be judged.",
                    "curfew-agent install, or look why it cannot be read",
                ));
                None
            }
        }
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// An account that somebody may log in to.
struct Person {
    name: String,
    home: PathBuf,
}

impl Person {
    /// Where sshd finds what it calls `name` for this account: with the tokens of `AuthorizedKeysFile`, else below home.
    fn key_file(&self, name: &str) -> PathBuf {
        // A percent sign for itself first, out of the way.
        let parts: Vec<String> = name
            .split("%%")
            .map(|part| part.replace("%h", &self.home.to_string_lossy()).replace("%u", &self.name))
            .collect();
        self.home.join(parts.join("%"))
    }
}

/// Accounts whose home folder is root's or lies where people live.
fn people(passwd: &str) -> Vec<Person> {
    let accounts = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, home) = (fields.next()?, fields.nth(4)?);
        Some(Person { name: name.to_owned(), home: PathBuf::from(home) })
    });
    accounts
        .filter(|person| {
            person.home == Path::new("/root")
                || person.home.starts_with("/home") && person.home != Path::new("/home")
        })
        .collect()
}

/// Where keys are looked for unless sshd says otherwise.
const USUAL_KEY_FILES: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
/// sshd is asked for at most so many accounts: each takes some milliseconds, and Match blocks are few.
const MOST_PEOPLE: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::Ran;

    /// A machine where nothing runs and sshd says what it is told to say.
    struct Fake(&'static str);

    impl Host for Fake {
        fn run(&mut self, program: &str, words: &[&str]) -> io::Result<Ran> {
            let out = match (program, words.first()) {
                ("/usr/sbin/sshd", Some(&"-V")) => "OpenSSH_9.2".to_owned(),
                ("/usr/sbin/sshd", _) => self.0.to_owned(),
                _ => String::new(),
            };
            Ok(Ran { ok: !out.is_empty(), out, err: String::new() })
        }

        fn try_login(&mut self, _root: &Path) -> Result<String, String> {
            unreachable!("a check logs in nowhere")
        }
    }

    #[test]
    fn a_bare_host_is_found_wanting_in_every_respect() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nana:x:1000:1000::/home/ana:/bin/sh\nmail:x:8:8::/var/mail:/bin/false\n",
        );
        write("etc/pam.d/sshd", "@include common-account\n");
        write("home/ana/.ssh/authorized_keys", "cert-authority ssh-ed25519 AAAA\n");
        write("etc/curfew/agent.toml", "authority = \"ca:1\"\ncolor = 1\n");
        write("proc/self/mounts", "proc /proc proc rw 0 0\n");
        let findings =
            check(root.path(), Path::new("/etc/curfew/agent.toml"), &mut Fake("usepam no\n"));
        let all: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        for expected in [
            "agent.toml:2: there is no setting `color`",
            "UsePAM is no",
            "no account line with pam_curfew.so",
            "/home/ana/.ssh/authorized_keys holds a cert-authority line",
            "curfew-agent.service does not run",
            "curfew-link.service does not run",
            "the clock is not kept",
            "has no BTF",
            "no BPF file system",
        ] {
            assert!(all.contains(expected), "{expected} is not in\n{all}");
        }
        assert!(findings.is_sorted_by_key(|finding| finding.severity));
    }

    #[test]
    fn a_quorum_that_no_certificate_can_reach_is_found() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/curfew");
        fs::create_dir_all(&folder).unwrap();
        let found = |text: &str| {
            fs::write(folder.join("agent.toml"), format!("authority = \"ca:1\"\n{text}")).unwrap();
            let path = Path::new("/etc/curfew/agent.toml");
            let findings = check(root.path(), path, &mut Fake("usepam yes\n"));
            let wrong = |finding: &&Finding| finding.what.contains("agent.toml");
            assert_eq!(findings.iter().find(wrong), None);
            let mut found = findings.into_iter();
            found.find(|finding| finding.what.contains("witness_quorum")).map(|it| it.severity)
        };
        let key = wire::log::WitnessKey::new("w1.example.com".parse().unwrap(), [3; 32]);
        let witnesses = format!("witnesses = [\"{key}\"]\n");
        assert_eq!(found(&format!("{witnesses}witness_quorum = 1")), None, "nothing is known yet");
        let ledger = crate::witness::grown::Ledger::new(3, u64::MAX);
        let kept = Kept { newest: Some(ledger.note(3)), ..Kept::default() };
        let state = root.path().join("var/lib/curfew");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("ledger.json"), serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(found(&format!("{witnesses}witness_quorum = 1")), Some(Severity::Defeated));
        assert_eq!(found(&format!("{witnesses}witness_quorum = 0")), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn keys_are_looked_for_where_sshd_looks() {
        let ana = Person { name: "ana".into(), home: "/home/ana".into() };
        for (name, path) in [
            (".ssh/authorized_keys", "/home/ana/.ssh/authorized_keys"),
            ("/etc/ssh/keys/%u", "/etc/ssh/keys/ana"),
            ("%h/keys", "/home/ana/keys"),
            ("/etc/100%%h/%u", "/etc/100%h/ana"),
        ] {
            assert_eq!(ana.key_file(name), Path::new(path), "{name}");
        }
    }

    #[test]
    fn people_are_those_with_a_home() {
        let names: Vec<String> = people("root:x:0:0::/root:/bin/sh\nbroken\nx:x:1:1::/home:/bin/sh\nana:x:9:9:Ana,,:/home/ana:/bin/sh\n").into_iter().map(|person| person.name).collect();
        assert_eq!(names, ["root", "ana"]);
    }
}
