//! The configuration directory: what this person's `curfew` remembers between calls.
//!
//! Shape: `authority.json`, `session.json`, `hosts.json`, `learned.json`, `ledger.json`, `known_hosts`, `ssh_config`, `id/`; the directory is 0700.
//! Who can change this: the person, and whoever is that user on this machine. Gains: speaks to the authority as the
//! person until the login ends, or points the person at another authority. Cannot widen what the authority allows.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::api::{HostView, Token};
use wire::identifier::{Fingerprint, Identity};
use wire::time::Timestamp;

use crate::exit::Fault;
use crate::file;
use crate::url::Url;

/// The authority this person uses, and as whom.
///
/// Who can change this: the person. Gains: which authority is believed, so it holds no secret and is checked by its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Membership {
    /// Where the authority is.
    pub(crate) url: Url,
    /// The fingerprint that its root was pinned by.
    pub(crate) fingerprint: Fingerprint,
    /// Its root, PEM.
    pub(crate) root: String,
    /// Who the person is there.
    pub(crate) identity: Identity,
    /// The key file given with `--key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
}

/// What the authority last said of itself, and when it was last asked.
///
/// Who can change this: the person. Gains: which of their own certificates they try; the host decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Learned {
    /// When it was asked, answer or none.
    pub(crate) asked: Timestamp,
    /// The keys that hosts believe for logins, in OpenSSH's form.
    pub(crate) user_authorities: Vec<String>,
}

impl Learned {
    /// Whether it is time to ask again at `now`; a clock that was set back does not put it off.
    pub(crate) fn is_old(&self, now: Timestamp) -> bool {
        now < self.asked || now.since(self.asked) >= FRESH
    }
}

/// The configuration directory.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// `$CURFEW_HOME`, else `~/.config/curfew`; need not exist, but must be nobody else's when it does.
    pub(crate) fn find() -> Result<Self> {
        let home = Self { dir: place()? };
        home.check()?;
        Ok(home)
    }

    /// Makes the directory where it is missing.
    pub(crate) fn create(&self) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for dir in [&self.dir, &self.identity_dir()] {
            builder.create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        self.check()
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where keys and certificates are kept for ssh.
    pub(crate) fn identity_dir(&self) -> PathBuf {
        self.dir.join("id")
    }

    /// What this person last saw of the ledger.
    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.dir.join("ledger.json")
    }

    /// The host authorities that ssh believes.
    pub(crate) fn known_hosts_path(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// The snippet for ssh.
    pub(crate) fn ssh_config_path(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// The authority, which a first login names.
    pub(crate) fn membership(&self) -> Result<Membership> {
        self.read("authority.json")?.ok_or_else(|| Fault::Config(NO_AUTHORITY.into()).into())
    }

    /// The authority, when one was named before.
    pub(crate) fn known_membership(&self) -> Result<Option<Membership>> {
        self.read("authority.json")
    }

    /// Remembers the authority.
    pub(crate) fn keep_membership(&self, membership: &Membership) -> Result<()> {
        self.write("authority.json", membership, file::SECRET)
    }

    /// The login that is in force at `now`.
    pub(crate) fn session(&self, now: Timestamp) -> Result<Token> {
        let token: Option<Token> = self.read("session.json")?;
        match token {
            Some(token) if now < token.expires => Ok(token),
            Some(token) => {
                let ago = crate::duration::rough(now.since(token.expires));
                Err(Fault::NotLoggedIn(format!("your login ended {ago} ago")).into())
            }
            None => Err(Fault::NotLoggedIn("you are not logged in".into()).into()),
        }
    }

    /// Forgets the login.
    pub(crate) fn forget_session(&self) -> Result<()> {
        let path = self.dir.join("session.json");
        file::remove(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Remembers a login.
    pub(crate) fn keep_session(&self, token: &Token) -> Result<()> {
        self.write("session.json", token, file::SECRET)
    }

    /// The hosts as the authority last listed them; none before the first login.
    pub(crate) fn hosts(&self) -> Result<Vec<HostView>> {
        Ok(self.read("hosts.json")?.unwrap_or_default())
    }

    /// Remembers the hosts.
    pub(crate) fn keep_hosts(&self, hosts: &[HostView]) -> Result<()> {
        self.write("hosts.json", &hosts, file::SECRET)
    }

    /// What the authority last said of itself; none before the first login.
    pub(crate) fn learned(&self) -> Result<Option<Learned>> {
        self.read("learned.json")
    }

    /// Remembers what the authority said of itself.
    pub(crate) fn keep_learned(&self, learned: &Learned) -> Result<()> {
        self.write("learned.json", learned, file::SECRET)
    }

    /// Nobody else may own, read or write it: it holds the login.
    fn check(&self) -> Result<()> {
        let Ok(facts) = fs::metadata(&self.dir) else { return Ok(()) };
        let shown = self.dir.display();
        if facts.uid() != rustix::process::geteuid().as_raw() {
            let sentence = format!(
                "{shown} belongs to another user; set CURFEW_HOME to a directory of your own"
            );
            return Err(Fault::Config(sentence).into());
        }
        if facts.mode() & 0o077 != 0 {
            let sentence = format!("{shown} is open to others; run: chmod 700 {shown}");
            return Err(Fault::Config(sentence).into());
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.dir.join(name);
        let text = file::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(text) = text else { return Ok(None) };
        // What cannot be read is not quoted: it may hold a token.
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let sentence = format!(
                "{} cannot be understood (line {}, column {}); remove it and run `curfew login` again",
                path.display(),
                error.line(),
                error.column()
            );
            Fault::Config(sentence).into()
        })
    }

    fn write<T: Serialize>(&self, name: &str, value: &T, mode: u32) -> Result<()> {
        let path = self.dir.join(name);
        let text = serde_json::to_vec_pretty(value).context("cannot write JSON")?;
        file::write(&path, &text, mode).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn place() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CURFEW_HOME").filter(|dir| !dir.is_empty()) {
        return std::path::absolute(dir).context("CURFEW_HOME is no path");
    }
    Ok(user_home()?.join(".config").join("curfew"))
}

/// The person's own directory.
pub(crate) fn user_home() -> Result<PathBuf> {
    std::env::home_dir()
        .filter(|dir| dir.is_absolute())
        .ok_or_else(|| Fault::Config("HOME is not set; set HOME or CURFEW_HOME".into()).into())
}

const NO_AUTHORITY: &str = "no authority is known here; run `curfew login --ca https://… --fingerprint SHA256:… \
     --identity you@example.com` once, with what your operator gave you";

/// For how long what was learned serves without asking: a retired key and a new address are known after that.
const FRESH: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A fresh home that goes away with its guard.
    pub(crate) fn fresh() -> (tempfile::TempDir, Home) {
        let guard = tempfile::tempdir().unwrap();
        let home = Home { dir: guard.path().join("curfew") };
        home.create().unwrap();
        (guard, home)
    }

    fn token(expires: u64) -> Token {
        Token { token: "planted-secret".into(), expires: Timestamp::from_secs(expires) }
    }

    #[test]
    fn what_is_kept_is_the_owners_alone() {
        let (_guard, home) = fresh();
        home.keep_session(&token(9)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.dir()), 0o700);
        assert_eq!(mode(&home.identity_dir()), 0o700);
        assert_eq!(mode(&home.dir().join("session.json")), 0o600);
    }

    #[test]
    fn a_directory_that_others_can_read_is_refused() {
        let (_guard, home) = fresh();
        fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = home.check().unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_login_ends_at_its_moment() {
        let (_guard, home) = fresh();
        home.keep_session(&token(100)).unwrap();
        assert!(home.session(Timestamp::from_millis(99_999)).is_ok());
        let error = home.session(Timestamp::from_secs(160)).unwrap_err();
        assert_eq!(error.to_string(), "your login ended 1 min ago; run `curfew login`");
    }

    #[test]
    fn a_broken_file_is_not_quoted_because_it_may_hold_a_secret() {
        let (_guard, home) = fresh();
        fs::write(home.dir().join("session.json"), "{\"token\": \"planted-secret\"").unwrap();
        let error = home.session(Timestamp::from_secs(0)).unwrap_err();
        assert!(!format!("{error:?}").contains("planted"), "{error:?}");
    }

    #[test]
    fn without_a_first_login_the_message_says_what_to_type() {
        let (_guard, home) = fresh();
        assert!(home.membership().unwrap_err().to_string().contains("curfew login --ca"));
        assert!(home.hosts().unwrap().is_empty());
    }
}
