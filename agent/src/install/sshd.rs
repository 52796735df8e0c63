//! What sshd is told, and what it understood; pure.

use std::collections::BTreeMap;
use std::path::Path;

use wire::identifier::Login;

/// A release of OpenSSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// This release.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Finds the release in what `sshd -V` prints, which before 9.3 is a complaint and its usage.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("OpenSSH_")?;
        let (major, rest) = rest.split_once('.')?;
        let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl Version {
    /// Whether its listener reads host certificates once, when it starts, and hands them to each connection's process.
    #[must_use]
    pub fn keeps_host_certificates(self) -> bool {
        self >= Self { major: 9, minor: 8 }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The file that sshd reads before all others.
///
/// The tokens of the principals command are those that every release since [`OLDEST`] knows: sshd starts with one that
/// it does not know (`%C` before 9.4) and then refuses every login. In quotes nothing is kept back for later.
#[must_use]
pub fn drop_in(host_certificates: &[String], own_shells: &[String]) -> String {
    let mut text = String::from(
        "# Curfew. Written by `curfew-agent install`, removed by `curfew-agent uninstall`; edits are lost.\n# The first value that sshd reads is the one that holds; that is why this file's name begins with 00.\n",
    );
    for (keyword, value, why) in SETTINGS {
        text.push_str(&format!("\n# {why}\n{keyword} {value}\n"));
    }
    if !host_certificates.is_empty() {
        text.push_str("\n# The authority vouches for this host, so that nobody has to trust its key at first sight.\n");
    }
    for path in host_certificates {
        text.push_str(&format!("HostCertificate {path}\n"));
    }
    if !own_shells.is_empty() {
        text.push_str(&format!(
            "\n# The shells of these accounts start no other program; they get what they had before Curfew came.\nMatch User {}\nForceCommand none\n",
            own_shells.join(",")
        ));
    }
    text
}

/// Our settings with the block for the account that break-glass opens.
#[must_use]
pub fn with_breakglass(drop_in: &str, login: &Login) -> String {
    let mut text = format!(
        "{drop_in}\n# Break-glass: this account opens by a certificate of the group for this host, whether the agent runs or not, and by\n# nothing else; the authority's own key does not count.\n{MATCH}{login}\n"
    );
    for (keyword, value) in BREAKGLASS {
        text.push_str(&format!("{keyword} {value}\n"));
    }
    text
}

/// The account that a drop-in opens to break-glass.
#[must_use]
pub fn breakglass_login(drop_in: &str) -> Option<Login> {
    drop_in.lines().find_map(|line| line.strip_prefix(MATCH))?.parse().ok()
}

/// The accounts of `passwd` whose shell is none that would start our command: `git-shell`, a menu, a restricted shell.
/// Those that let nobody in are left out.
#[must_use]
pub fn own_shells(passwd: &str) -> Vec<String> {
    let account = |line: &str| {
        let mut fields = line.split(':');
        let (name, shell) = (fields.next()?.to_owned(), fields.nth(5)?.trim().to_owned());
        let program = shell.rsplit('/').next().unwrap_or_default();
        let starts_programs = shell.is_empty() || SHELLS.contains(&program);
        let is_plain = !name.is_empty()
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-$".contains(letter));
        (!starts_programs && !CLOSED.contains(&program) && is_plain).then_some(name)
    };
    passwd.lines().filter_map(account).collect()
}

/// The certificates that a drop-in names.
#[must_use]
pub fn host_certificates(drop_in: &str) -> Vec<String> {
    let paths = drop_in.lines().filter_map(|line| line.strip_prefix("HostCertificate "));
    paths.map(str::to_owned).collect()
}

/// The accounts that a drop-in excepts.
#[must_use]
pub fn excepted(drop_in: &str) -> Vec<String> {
    let names = drop_in.lines().find_map(|line| line.strip_prefix("Match User "));
    names.into_iter().flat_map(|names| names.split(',')).map(str::to_owned).collect()
}

/// Whether this drop-in has sshd read the list of revoked keys.
#[must_use]
pub fn reads_list(drop_in: &str) -> bool {
    drop_in.lines().any(|line| line == format!("RevokedKeys {}", crate::krl::REVOKED_KEYS_PATH))
}

/// sshd's configuration files on the host whose root folder is `root`, ours left out, in the order in which stock
/// configurations have them read; files of other folders are not looked for.
#[must_use]
pub fn files(root: &Path) -> Vec<(String, String)> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let folder = std::fs::read_dir(at(DROP_IN_FOLDER)).into_iter().flatten().flatten();
    let names = folder.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut paths: Vec<String> = names
        .filter(|name| name.ends_with(".conf") && !name.starts_with('.'))
        .map(|name| format!("{DROP_IN_FOLDER}/{name}"))
        .filter(|path| path != DROP_IN_PATH)
        .collect();
    paths.sort();
    paths.push(CONFIG_PATH.to_owned());
    let read = |path: String| std::fs::read_to_string(at(&path)).ok().map(|text| (path, text));
    paths.into_iter().filter_map(read).collect()
}

/// A `RevokedKeys` line of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedKeys {
    /// The files that it names.
    pub paths: Vec<String>,
    /// Whether it holds for some connections only.
    pub is_in_match: bool,
}

/// The `RevokedKeys` lines of a configuration file, ours left out.
#[must_use]
pub fn revoked_keys(text: &str) -> Vec<RevokedKeys> {
    let mut is_in_match = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (keyword, values) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        if keyword.eq_ignore_ascii_case("match") {
            is_in_match = !values.trim().eq_ignore_ascii_case("all");
        } else if keyword.eq_ignore_ascii_case("revokedkeys") {
            let words = values.split([' ', '\t', '=']).map(|word| word.trim_matches('"'));
            let paths: Vec<String> = words
                .filter(|word| !["", "none", crate::krl::REVOKED_KEYS_PATH].contains(word))
                .map(str::to_owned)
                .collect();
            if !paths.is_empty() {
                found.push(RevokedKeys { paths, is_in_match });
            }
        }
    }
    found
}

/// `sshd_config` with our `Include` first, or nothing when its own comes early enough to be the first to say anything.
#[must_use]
pub fn with_include(text: &str) -> Option<String> {
    let mut rules =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = rules.next().unwrap_or_default();
    let mut words = first.split_whitespace();
    let includes = words.next().is_some_and(|word| word.eq_ignore_ascii_case("include"));
    let reaches = |word: &str| {
        [DROP_IN_PATH, "/etc/ssh/sshd_config.d/*.conf", "/etc/ssh/sshd_config.d/*"]
            .contains(&word.trim_matches('"'))
    };
    if includes && words.next().is_some_and(reaches) {
        return None;
    }
    Some(format!("{NOTE}\nInclude {DROP_IN_PATH}\n{text}"))
}

/// `sshd_config` without our `Include`.
#[must_use]
pub fn without_include(text: &str) -> String {
    text.replace(&format!("{NOTE}\nInclude {DROP_IN_PATH}\n"), "")
}

/// What `sshd -T` says holds for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective(BTreeMap<String, Vec<String>>);

impl Effective {
    /// Reads the lines of `sshd -T`: a keyword in lower case, a blank, the value.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut settings = BTreeMap::<String, Vec<String>>::new();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            settings.entry(keyword.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
        }
        Self(settings)
    }

    /// The first value of `keyword`; `none` when there is none.
    #[must_use]
    pub fn value(&self, keyword: &str) -> &str {
        let values = self.0.get(&keyword.to_ascii_lowercase());
        values.and_then(|values| values.first()).map_or("none", String::as_str)
    }

    /// Every value of `keyword`, for those that are printed a line each.
    #[must_use]
    pub fn values(&self, keyword: &str) -> &[String] {
        self.0.get(&keyword.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The words of a value that is a list with commas; nothing when sshd does not print it.
    #[must_use]
    pub fn list(&self, keyword: &str) -> Option<Vec<&str>> {
        self.values(keyword).first().map(|value| value.split(',').collect())
    }

    /// Settings of ours that do not hold: keyword, what we say, what holds.
    #[must_use]
    pub fn overridden(&self) -> Vec<(&'static str, &'static str, String)> {
        let differs = |(keyword, value, _why): &(&'static str, &'static str, &str)| {
            let holds = self.value(keyword);
            (!holds.eq_ignore_ascii_case(value)).then(|| (*keyword, *value, holds.to_owned()))
        };
        SETTINGS.iter().filter_map(differs).collect()
    }

    /// Certificate settings of somebody else's that ours would push aside without a word.
    #[must_use]
    pub fn rivals(&self) -> Vec<(&'static str, String)> {
        let ours = |keyword: &str, holds: &str| {
            SETTINGS.iter().any(|(known, value, _)| *known == keyword && *value == holds)
        };
        [
            "TrustedUserCAKeys",
            "AuthorizedPrincipalsCommand",
            "AuthorizedPrincipalsFile",
            "ForceCommand",
        ]
        .into_iter()
        .map(|keyword| (keyword, self.value(keyword).to_owned()))
        .filter(|(keyword, holds)| holds != "none" && !ours(keyword, holds))
        .collect()
    }
}

/// What we tell sshd: keyword, value, why.
const SETTINGS: &[(&str, &str, &str)] = &[
    (
        "TrustedUserCAKeys",
        USER_AUTHORITIES_PATH,
        "Whose user certificates count; enrolment wrote the file.",
    ),
    (
        "RevokedKeys",
        crate::krl::REVOKED_KEYS_PATH,
        "What is locked, so that it opens nothing even while the agent is stopped; the agent keeps the file.",
    ),
    (
        "AuthorizedPrincipalsCommand",
        "/usr/lib/curfew/curfew-principals %u %t %k",
        "The agent says which principals open a login, so that none is open to every certificate.",
    ),
    (
        "AuthorizedPrincipalsCommandUser",
        "curfew-gate",
        "A user that may ask the agent, and nothing else.",
    ),
    (
        "AuthorizedPrincipalsFile",
        "none",
        "A file would be read before the agent is asked, and could let in whom it refuses.",
    ),
    (
        "ForceCommand",
        TERMINAL_COMMAND,
        "Asks the agent what runs, and has terminals relayed; a login that is not ours gets what it asked for.",
    ),
    ("UsePAM", "yes", "PAM carries our hook; without it no session is tagged."),
    ("PubkeyAuthentication", "yes", "Certificates are a kind of public key."),
    ("PermitUserEnvironment", "no", "The environment of a login is not the user's to write."),
    ("PermitUserRC", "no", "Nothing of the user's runs before what was asked for."),
    ("ExposeAuthInfo", "no", "Its file belongs to the user, so it proves nothing to anyone."),
    (
        "ClientAliveInterval",
        "30",
        "A peer that is gone is noticed: three probes without an answer end the connection.",
    ),
    ("ClientAliveCountMax", "3", "See above."),
];
/// What holds for the account that break-glass opens. The principals command stays (9.2p1 takes no other in a block) and is never asked:
/// it is for keys of `TrustedUserCAKeys`.
pub const BREAKGLASS: [(&str, &str); 10] = [
    ("AuthenticationMethods", "publickey"),
    ("PubkeyAuthentication", "yes"),
    ("AuthorizedKeysFile", BREAKGLASS_KEYS_PATH),
    ("AuthorizedKeysCommand", "none"),
    ("TrustedUserCAKeys", "none"),
    ("AuthorizedPrincipalsFile", "none"),
    ("RevokedKeys", crate::krl::REVOKED_KEYS_PATH),
    ("PasswordAuthentication", "no"),
    ("DisableForwarding", "yes"),
    ("PermitTTY", "yes"),
];
/// The group keys of this host as sshd reads them.
pub const BREAKGLASS_KEYS_PATH: &str = "/etc/curfew/breakglass_keys";
/// In small letters, so that it is told from the block of accounts with shells of their own.
const MATCH: &str = "Match user ";
/// What sshd starts in every channel. `exec`, so that the user's shell, which sshd starts it with, becomes it.
pub const TERMINAL_COMMAND: &str = "exec /usr/lib/curfew/curfew-pty";
/// What sshd reads as `TrustedUserCAKeys`: the keys that sign user certificates.
pub const USER_AUTHORITIES_PATH: &str = "/etc/curfew/user_ca.pub";
/// Our file. sshd takes the first value it reads, and reads these in the order of their names.
pub const DROP_IN_PATH: &str = "/etc/ssh/sshd_config.d/00-curfew.conf";
const DROP_IN_FOLDER: &str = "/etc/ssh/sshd_config.d";
/// sshd's own file.
pub const CONFIG_PATH: &str = "/etc/ssh/sshd_config";
/// Shells that become the program that they are told to `exec`.
const SHELLS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "ksh93", "mksh", "lksh", "ash", "busybox", "yash", "fish",
    "csh", "tcsh",
];
/// Shells of accounts that nobody logs in to.
const CLOSED: &[&str] = &["nologin", "false", "true", "sync", "halt", "shutdown"];
/// The oldest release that we work with: the first that knows `Include`.
pub const OLDEST: Version = Version { major: 8, minor: 2 };
const NOTE: &str = "# Curfew: must come first. Written by `curfew-agent install`, taken out by `curfew-agent uninstall`.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_found_wherever_they_are_printed() {
        let table = [
            ("OpenSSH_9.2, OpenSSL 3.0.19 27 Jan 2026", Some((9, 2))),
            (
                "unknown option -- V\nOpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1\nusage: sshd",
                Some((8, 4)),
            ),
            ("OpenSSH_10.0p2, LibreSSL", Some((10, 0))),
            ("sshd: command not found", None),
            ("OpenSSH_x.1", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(major, minor)| Version { major, minor });
            assert_eq!(Version::find(text), expected, "{text}");
        }
        assert!(Version { major: 10, minor: 0 } > OLDEST);
    }

    #[test]
    fn only_tokens_that_every_release_knows_are_used() {
        let text = drop_in(&[], &[]);
        let tokens: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| line.split('%').skip(1))
            .collect();
        assert!(tokens.iter().all(|token| token.starts_with(['u', 't', 'k'])), "{tokens:?}");
    }

    #[test]
    fn lists_that_others_named_are_found_and_ours_is_not() {
        let text = "# RevokedKeys /no\nrevokedkeys \"/etc/ssh/a\"\nRevokedKeys=/b /c\nRevokedKeys none\n\
                    Match User ana\n  RevokedKeys /d\nMatch all\nRevokedKeys\t/e\n";
        let line = |paths: &[&str], is_in_match| RevokedKeys {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            is_in_match,
        };
        let expected = [
            line(&["/etc/ssh/a"], false),
            line(&["/b", "/c"], false),
            line(&["/d"], true),
            line(&["/e"], false),
        ];
        assert_eq!(revoked_keys(text), expected);
        assert_eq!(revoked_keys(&drop_in(&[], &[])), []);
        assert!(reads_list(&drop_in(&[], &[])) && !reads_list(text));
    }

    #[test]
    fn accounts_whose_shell_starts_nothing_keep_what_they_had() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n\
                      git:x:5:5::/srv/git:/usr/bin/git-shell\nold:x:6:6::/:\nmenu:x:7:7::/:/opt/menu\n\
                      e*il:x:8:8::/:/opt/menu\nsync:x:4:65534:sync:/bin:/bin/sync\nshort:x\n";
        let accounts = own_shells(passwd);
        assert_eq!(accounts, ["git", "menu"]);
        let text = drop_in(&[], &accounts);
        assert!(text.ends_with("\nMatch User git,menu\nForceCommand none\n"), "{text}");
        assert_eq!(excepted(&text), accounts);
        assert!(excepted(&drop_in(&[], &[])).is_empty() && !drop_in(&[], &[]).contains("Match"));
    }

    #[test]
    fn the_account_of_break_glass_is_read_back_and_is_no_shell_of_its_own() {
        let login = "breakglass".parse().unwrap();
        let text = with_breakglass(&drop_in(&[], &["git".to_owned()]), &login);
        assert_eq!(breakglass_login(&text), Some(login));
        assert_eq!(excepted(&text), ["git"]);
        assert_eq!(breakglass_login(&drop_in(&[], &["git".to_owned()])), None);
        assert!(
            text.contains("\nMatch user breakglass\nAuthenticationMethods publickey\n"),
            "{text}"
        );
    }

    #[test]
    fn the_certificates_named_are_read_back() {
        let paths = ["/etc/ssh/ssh_host_ed25519_key-cert.pub".to_owned()];
        assert_eq!(host_certificates(&drop_in(&paths, &[])), paths);
    }

    #[test]
    fn the_include_is_added_only_where_it_is_missing_or_late() {
        let debian = "# comment\n\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n";
        assert_eq!(with_include(debian), None);
        for text in [
            "UsePAM no\nInclude /etc/ssh/sshd_config.d/*.conf\n",
            "UsePAM yes\n",
            "",
            "Include /etc/ssh/other/*.conf\n",
        ] {
            let with = with_include(text).unwrap();
            assert_eq!(with_include(&with), None, "{text}");
            assert_eq!(without_include(&with), text);
        }
    }

    #[test]
    fn what_holds_is_compared_with_what_we_say() {
        let all: String = SETTINGS
            .iter()
            .map(|(keyword, value, _)| format!("{} {value}\n", keyword.to_lowercase()))
            .collect();
        assert_eq!(Effective::parse(&all).overridden(), []);
        assert_eq!(Effective::parse(&all).rivals(), []);
        let worse = all.replace("usepam yes", "usepam no").replace(TERMINAL_COMMAND, "/bin/menu");
        let worse = Effective::parse(&worse);
        let menu = ("ForceCommand", TERMINAL_COMMAND, "/bin/menu".to_owned());
        assert_eq!(worse.overridden(), [menu, ("UsePAM", "yes", "no".to_owned())]);
        assert_eq!(worse.rivals(), [("ForceCommand", "/bin/menu".to_owned())]);
        let foreign = Effective::parse("trustedusercakeys /etc/ssh/ca.pub\n");
        assert_eq!(foreign.rivals(), [("TrustedUserCAKeys", "/etc/ssh/ca.pub".to_owned())]);
    }
}
