//! Installing on a folder that looks like a host.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const PAM: &str =
    "@include common-auth\n@include common-account\nsession optional pam_env.so user_readenv=1\n";
const SSHD: &str = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";

#[test]
fn a_host_is_installed_once_and_for_all() {
    let mut host = Fake::new();
    let report = host.install().unwrap();
    assert_eq!(report.done.last().unwrap(), "try a login");
    assert_eq!(pam::flaw(&host.read("/etc/pam.d/sshd")), None);
    let drop_in = host.read(sshd::DROP_IN_PATH);
    assert!(drop_in.contains("\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n"));
    assert!(drop_in.contains("\nForceCommand exec /usr/lib/curfew/curfew-pty\n"), "{drop_in}");
    assert!(drop_in.ends_with("\nMatch User git\nForceCommand none\n"), "{drop_in}");
    assert!(!drop_in.contains("ssh_host_rsa"), "a certificate without its key: {drop_in}");
    assert_eq!(host.read("/etc/ssh/sshd_config"), SSHD, "the Include is there already");
    assert_eq!(host.mode("/etc/pam.d/sshd"), 0o640);
    let once = host.files();
    host.install().unwrap();
    assert_eq!(host.files(), once);
}

#[test]
fn the_agent_runs_before_pam_asks_it() {
    let mut host = Fake::new();
    host.install().unwrap();
    let at = |line: &str| {
        host.ran
            .iter()
            .position(|ran| ran == line)
            .unwrap_or_else(|| panic!("{line}: {:?}", host.ran))
    };
    assert!(at("systemctl enable --now curfew-agent.service") < at("/usr/sbin/sshd -t"));
    assert!(at("/usr/sbin/sshd -t") < at("systemctl reload ssh.service"));
    assert!(at("systemctl reload ssh.service") < at("try_login"));
}

#[test]
fn whatever_fails_all_is_taken_back() {
    for failing in [
        "systemd-sysusers /usr/lib/sysusers.d/curfew.conf",
        "systemctl enable --now curfew-agent.service",
        "systemctl enable --now curfew-link.service",
        "systemctl is-active --quiet curfew-agent.service",
        "/usr/sbin/sshd -t",
        "systemctl reload ssh.service",
        "try_login",
    ] {
        let mut host = Fake::new();
        let before = host.files();
        host.failing = vec![failing];
        let error = host.install().unwrap_err();
        assert!(!error.why.is_empty());
        assert_eq!(host.files(), before, "{failing}: {error}");
        let enabled = host.ran.iter().filter(|ran| ran.starts_with("systemctl enable")).count();
        let disabled = host.ran.iter().filter(|ran| ran.starts_with("systemctl disable")).count();
        assert_eq!(enabled, disabled, "{failing}: {:?}", host.ran);
    }
}

#[test]
fn what_is_not_ready_is_named_and_nothing_is_touched() {
    type Spoil = fn(&mut Fake);
    let table: [(Spoil, &str); 8] = [
        (|host| host.release = "OpenSSH_8.1p1", "8.1 is too old"),
        (|host| host.release = "no such thing", "does not say its release"),
        (|host| host.remove("/var/lib/curfew/trust.json"), "run `curfew-agent enroll` first"),
        (|host| host.remove("/etc/curfew/user_ca.pub"), "run `curfew-agent enroll` first"),
        (|host| host.remove("/usr/lib/curfew/curfew-principals"), "install the package again"),
        (|host| host.remove("/usr/lib/curfew/curfew-pty"), "install the package again"),
        (
            |host| host.remove("/usr/lib/x86_64-linux-gnu/security/pam_curfew.so"),
            "pam_curfew.so is in none of",
        ),
        (
            |host| host.before = "trustedusercakeys /etc/ssh/teleport.pub\n",
            "sshd already has TrustedUserCAKeys /etc/ssh/teleport.pub",
        ),
    ];
    for (spoil, expected) in table {
        let mut host = Fake::new();
        spoil(&mut host);
        let before = host.files();
        let error = host.install().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(host.files(), before);
    }
}

#[test]
fn a_setting_that_does_not_hold_is_named() {
    let mut host = Fake::new();
    let before = host.files();
    host.spoilt = Some(("usepam yes", "usepam no"));
    let error = host.install().unwrap_err().to_string();
    assert!(error.contains("UsePAM should be yes and is no"), "{error}");
    assert_eq!(host.files(), before);
}

#[test]
fn an_include_that_comes_too_late_is_led_by_ours() {
    let mut host = Fake::new();
    host.write("/etc/ssh/sshd_config", "UsePAM no\n");
    host.install().unwrap();
    assert!(
        host.read("/etc/ssh/sshd_config")
            .contains("Include /etc/ssh/sshd_config.d/00-curfew.conf\nUsePAM no\n")
    );
    host.uninstall(Keep::State).unwrap();
    assert_eq!(host.read("/etc/ssh/sshd_config"), "UsePAM no\n");
}

#[test]
fn uninstalling_leaves_the_host_as_it_was_and_keeps_later_edits() {
    let mut host = Fake::new();
    let before = host.files();
    host.install().unwrap();
    host.uninstall(Keep::State).unwrap();
    assert_eq!(host.files(), before);
    assert!(!host.at("/etc/systemd/system/ssh.service.d").exists());
    host.install().unwrap();
    host.write("/etc/systemd/system/ssh.service.d/mine.conf", "[Unit]\n");
    host.uninstall(Keep::State).unwrap();
    assert_eq!(host.read("/etc/systemd/system/ssh.service.d/mine.conf"), "[Unit]\n");
    host.install().unwrap();
    let edited = host.read("/etc/pam.d/sshd") + "session required pam_mine.so\n";
    host.write("/etc/pam.d/sshd", &edited);
    host.uninstall(Keep::State).unwrap();
    assert_eq!(host.read("/etc/pam.d/sshd"), format!("{PAM}session required pam_mine.so\n"));
}

#[test]
fn pam_stops_asking_before_the_agent_stops() {
    let mut host = Fake::new();
    host.install().unwrap();
    host.ran.clear();
    host.failing = vec!["systemctl disable --now curfew-agent.service"];
    let error = host.uninstall(Keep::State).unwrap_err();
    assert_eq!(error.step, "stop the units");
    assert_eq!(host.read("/etc/pam.d/sshd"), PAM);
    assert!(!host.at("/etc/ssh/sshd_config.d/00-curfew.conf").exists());
}

#[test]
fn a_purge_forgets_the_enrolment() {
    let mut host = Fake::new();
    host.install().unwrap();
    host.uninstall(Keep::Nothing).unwrap();
    for path in
        ["/var/lib/curfew", "/etc/curfew/user_ca.pub", "/etc/ssh/ssh_host_ed25519_key-cert.pub"]
    {
        assert!(!host.at(path).exists(), "{path}");
    }
    assert!(host.at("/etc/ssh/ssh_host_ed25519_key").exists());
}

/// A folder with a host's files, and commands that do nothing but be noted.
struct Fake {
    root: tempfile::TempDir,
    ran: Vec<String>,
    failing: Vec<&'static str>,
    release: &'static str,
    before: &'static str,
    spoilt: Option<(&'static str, &'static str)>,
}

impl Fake {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let fake = Self {
            root,
            ran: Vec::new(),
            failing: Vec::new(),
            release: "unknown option -- V\nOpenSSH_9.2p1 Debian-2",
            before: "usepam no\n",
            spoilt: None,
        };
        for (path, text) in [
            ("/etc/pam.d/sshd", PAM),
            ("/etc/ssh/sshd_config", SSHD),
            ("/etc/ssh/ssh_host_ed25519_key", "key"),
            ("/etc/ssh/ssh_host_ed25519_key-cert.pub", "certificate"),
            ("/etc/ssh/ssh_host_rsa_key-cert.pub", "certificate"),
            ("/etc/curfew/user_ca.pub", "ssh-ed25519 AAAA"),
            ("/var/lib/curfew/trust.json", "{}"),
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\ngit:x:5:5::/srv/git:/usr/bin/git-shell\n",
            ),
            ("/usr/lib/curfew/curfew-principals", ""),
            ("/usr/lib/curfew/curfew-pty", ""),
            ("/usr/lib/curfew/curfew-recorder", ""),
            ("/usr/lib/curfew/curfew-files", ""),
            ("/usr/bin/curfew-agent", ""),
            ("/usr/lib/x86_64-linux-gnu/security/pam_curfew.so", ""),
        ] {
            fake.write(path, text);
        }
        fs::set_permissions(fake.at("/etc/pam.d/sshd"), fs::Permissions::from_mode(0o640)).unwrap();
        fake
    }

    fn install(&mut self) -> Result<Report, InstallError> {
        let root = self.root.path().to_owned();
        install(&root, &config(), self)
    }

    fn uninstall(&mut self, keep: Keep) -> Result<Report, InstallError> {
        let root = self.root.path().to_owned();
        uninstall(&root, &config(), self, keep)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.at(path)).unwrap();
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.at(path)).unwrap().permissions().mode() & 0o7777
    }

    /// Every file and what is in it.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read_to_string(&path).unwrap();
                    files.push((path, text));
                }
            }
        }
        files.sort();
        files
    }

    /// What sshd would make of the drop-in, if there is one.
    fn effective(&self) -> String {
        let Ok(text) = fs::read_to_string(self.at(sshd::DROP_IN_PATH)) else {
            return self.before.to_owned();
        };
        let global = text.split("\nMatch ").next().unwrap_or_default();
        let rules = global.lines().filter(|line| !line.starts_with('#'));
        let lines = rules.filter_map(|line| line.split_once(' '));
        let text: String =
            lines.map(|(key, value)| format!("{} {value}\n", key.to_lowercase())).collect();
        self.spoilt.map_or(text.clone(), |(from, to)| text.replace(from, to))
    }
}

impl Host for Fake {
    fn run(&mut self, program: &str, words: &[&str]) -> io::Result<Ran> {
        let line = format!("{program} {}", words.join(" "));
        let ok = !self.failing.contains(&line.as_str()) && !line.contains("is-enabled");
        let out = match words.first() {
            Some(&"-V") => self.release.to_owned(),
            Some(&"-T") => self.effective(),
            _ => String::new(),
        };
        self.ran.push(line);
        Ok(Ran { ok, out, err: "no".to_owned() })
    }

    fn try_login(&mut self, _root: &Path) -> Result<String, String> {
        self.ran.push("try_login".to_owned());
        if self.failing.contains(&"try_login") {
            Err("no".to_owned())
        } else {
            Ok("seen".to_owned())
        }
    }
}

fn config() -> Config {
    Config::parse(Path::new("agent.toml"), "authority = \"ca.example.com:7443\"").unwrap()
}
