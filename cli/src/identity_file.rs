//! A key with its certificate as ssh finds them: `id/LOGIN@HOST`, `.pub`, `-cert.pub`.
//!
//! Who can change this: the person. Gains: nothing; each certificate is checked by the host. The private half is here
//! only where no ssh-agent took it, 0600, and goes when the certificate ends.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::FlockOperation;
use ssh_key::{LineEnding, PrivateKey, PublicKey};
use wire::certificate::Certificate;
use wire::identifier::{Address, GrantId, KeyId, Login};
use wire::time::Timestamp;

use crate::file;

/// The files for one account on one host. They need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityFile {
    private: PathBuf,
}

impl IdentityFile {
    /// The files in `dir` for `login` at `host`, by the name or address that ssh will use.
    pub(crate) fn of(dir: &Path, login: &Login, host: &Address) -> Self {
        Self { private: dir.join(format!("{login}@{host}")) }
    }

    /// What ssh calls `IdentityFile`; the file itself is missing when the key is in an agent.
    pub(crate) fn private_path(&self) -> &Path {
        &self.private
    }

    /// What ssh calls `CertificateFile`.
    pub(crate) fn certificate_path(&self) -> PathBuf {
        self.with_suffix(CERTIFICATE)
    }

    /// The certificate; none when it is missing or damaged.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let text = fs::read_to_string(self.certificate_path()).ok()?;
        Certificate::from_openssh(&text).ok()
    }

    /// Whether the private half is here, not in an agent.
    pub(crate) fn has_private(&self) -> bool {
        self.private.exists()
    }

    /// Puts the public files in place, and the private one when given; else none is left from before.
    pub(crate) fn put(
        &self,
        certificate: &Certificate,
        private: Option<&PrivateKey>,
    ) -> Result<()> {
        let shown = self.private.display();
        let public = PublicKey::from(certificate.subject().clone()).to_openssh()?;
        let certificate = certificate.to_openssh();
        match private {
            Some(key) => {
                file::write(&self.private, key.to_openssh(LineEnding::LF)?.as_bytes(), file::SECRET)
            }
            None => file::remove(&self.private),
        }
        .with_context(|| format!("cannot write {shown}"))?;
        let put = |suffix, line: String| {
            file::write(&self.with_suffix(suffix), format!("{line}\n").as_bytes(), file::PUBLIC)
        };
        put(PUBLIC, public).with_context(|| format!("cannot write {shown}{PUBLIC}"))?;
        put(CERTIFICATE, certificate).with_context(|| format!("cannot write {shown}{CERTIFICATE}"))
    }

    /// Points to a private half that is the person's own and stays where it is.
    pub(crate) fn link(&self, own: &Path) -> Result<()> {
        let shown = self.private.display();
        file::remove(&self.private).with_context(|| format!("cannot remove {shown}"))?;
        std::os::unix::fs::symlink(own, &self.private)
            .with_context(|| format!("cannot link {shown} to {}", own.display()))
    }

    /// Copies these files to `other`'s names, for a host that is called in two ways.
    pub(crate) fn mirror(&self, other: &Self) -> Result<()> {
        if self == other {
            return Ok(());
        }
        let certificate = self.certificate().context("the certificate is gone again")?;
        if let Ok(own) = fs::read_link(&self.private) {
            other.put(&certificate, None)?;
            return other.link(&own);
        }
        let private =
            self.has_private().then(|| PrivateKey::read_openssh_file(&self.private)).transpose()?;
        other.put(&certificate, private.as_ref())
    }

    fn remove(&self) -> io::Result<()> {
        file::remove(&self.private)?;
        file::remove(&self.with_suffix(PUBLIC))?;
        file::remove(&self.certificate_path())
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.private);
        name.push(suffix);
        PathBuf::from(name)
    }
}

/// Removes from `dir` every identity whose certificate has ended at `now` or cannot be read.
pub(crate) fn sweep(dir: &Path, now: Timestamp) -> Result<()> {
    remove_where(dir, |certificate| certificate.valid_before() <= now.secs())
}

/// Removes every identity whose certificate is as said, or cannot be read.
fn remove_where(dir: &Path, is_over: impl Fn(&Certificate) -> bool) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(CERTIFICATE)) else {
            continue;
        };
        let identity = IdentityFile { private: dir.join(stem) };
        if identity.certificate().is_none_or(|certificate| is_over(&certificate)) {
            identity
                .remove()
                .with_context(|| format!("cannot remove {}", identity.private.display()))?;
        }
    }
    Ok(())
}

/// Removes from `dir` every identity whose certificate was issued under `grant`: it opens nothing any more.
pub(crate) fn forget(dir: &Path, grant: GrantId) -> Result<()> {
    remove_where(dir, |certificate| {
        let key_id = std::str::from_utf8(certificate.key_id().as_bytes()).ok();
        key_id.and_then(|text| text.parse::<KeyId>().ok()).is_some_and(|id| id.grant == grant)
    })
}

/// Waits until no other `curfew` works in `dir`, and keeps others out until it is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let held = OpenOptions::new().create(true).append(true).mode(file::SECRET).open(&path);
    let held = held.with_context(|| format!("cannot open {}", path.display()))?;
    rustix::fs::flock(&held, FlockOperation::LockExclusive)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(held)
}

const PUBLIC: &str = ".pub";
const CERTIFICATE: &str = "-cert.pub";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh_agent::tests::certified;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn identity(dir: &Path, host: &str) -> IdentityFile {
        IdentityFile::of(dir, &"app".parse().unwrap(), &host.parse().unwrap())
    }

    #[test]
    fn the_private_file_is_the_owners_and_goes_when_an_agent_takes_over() {
        let dir = tempfile::tempdir().unwrap();
        let (pair, certificate) = certified(5, 100);
        let identity = identity(dir.path(), "db1");
        identity.put(&certificate, Some(&PrivateKey::from(pair))).unwrap();
        assert_eq!(names(dir.path()), ["app@db1", "app@db1-cert.pub", "app@db1.pub"]);
        let mode = fs::metadata(identity.private_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        identity.put(&certificate, None).unwrap();
        assert_eq!(names(dir.path()), ["app@db1-cert.pub", "app@db1.pub"]);
        assert_eq!(identity.certificate().unwrap(), certificate);
    }

    #[test]
    fn a_second_name_of_the_host_gets_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let (pair, certificate) = certified(5, 100);
        let (first, second) = (identity(dir.path(), "db1"), identity(dir.path(), "fe80::1"));
        first.put(&certificate, Some(&PrivateKey::from(pair))).unwrap();
        first.mirror(&second).unwrap();
        assert_eq!(second.certificate().unwrap(), certificate);
        assert!(second.has_private());
    }

    #[test]
    fn a_key_of_ones_own_is_pointed_to_and_never_copied_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (_, certificate) = certified(5, 100);
        let own = dir.path().join("id_own");
        fs::write(&own, "the person's").unwrap();
        let (first, second) = (identity(dir.path(), "db1"), identity(dir.path(), "fe80::1"));
        first.put(&certificate, None).unwrap();
        first.link(&own).unwrap();
        first.mirror(&second).unwrap();
        for identity in [&first, &second] {
            assert!(identity.has_private());
            assert_eq!(fs::read_link(identity.private_path()).unwrap(), own);
        }
        sweep(dir.path(), Timestamp::from_secs(100)).unwrap();
        assert_eq!(names(dir.path()), ["id_own"]);
    }

    #[test]
    fn what_has_ended_or_is_damaged_is_swept_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        for (host, until) in [("ended", 100), ("alive", 101)] {
            let (pair, certificate) = certified(5, until);
            identity(dir.path(), host).put(&certificate, Some(&PrivateKey::from(pair))).unwrap();
        }
        fs::write(dir.path().join("app@odd-cert.pub"), "nonsense").unwrap();
        sweep(dir.path(), Timestamp::from_secs(100)).unwrap();
        assert_eq!(names(dir.path()), ["app@alive", "app@alive-cert.pub", "app@alive.pub"]);
        sweep(&dir.path().join("none"), Timestamp::from_secs(100)).unwrap();
    }
}
