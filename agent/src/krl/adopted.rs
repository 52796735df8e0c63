//! Lists of revoked keys that `sshd_config` named before Curfew's: sshd takes the first it reads, which is ours from then
//! on, so what they revoke is revoked by ours. They are read again whenever they change.
//!
//! A file that cannot be read any more keeps revoking what it revoked when it could be: sshd itself would have refused
//! everybody. Who can change what is stored: root. Gains: un-revokes here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wire::krl::{Krl, MAX_BYTES};
use wire::octets::Octets;

/// The lists that were taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// The version of this format.
    version: u32,
    /// The files, in the order in which `sshd_config` names them.
    pub sources: Vec<Source>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// What it revoked when it was last read, as a list.
    good: Option<Octets>,
}

impl Default for Adopted {
    fn default() -> Self {
        Self { version: wire::VERSION, sources: Vec::new() }
    }
}

impl Adopted {
    /// These files, with what is known of them.
    #[must_use]
    pub fn of(&self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let known = |path: &Path| self.sources.iter().find(|source| source.path == path).cloned();
        let sources =
            paths.into_iter().map(|path| known(&path).unwrap_or(Source { path, good: None }));
        Self { sources: sources.collect(), ..Self::default() }
    }

    /// Reads the files of the host whose root folder is `root` again; says what is wrong with those that cannot be read.
    pub fn read_again(&mut self, root: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        for source in &mut self.sources {
            if let Err(why) = source.read_again(root) {
                let path = source.path.display();
                wrong.push(format!(
                    "{path}, which sshd_config names as RevokedKeys: {why}; what it revoked before stays revoked"
                ));
            }
        }
        wrong
    }

    /// Adds what the files revoke.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn add_to(&self, list: &mut Krl) -> Result<(), wire::krl::KrlError> {
        for good in self.sources.iter().filter_map(|source| source.good.as_ref()) {
            list.absorb(Krl::decode(good.as_bytes())?);
        }
        Ok(())
    }

    /// Files that were never read: what they revoke is not known.
    pub fn unread(&self) -> impl Iterator<Item = &Path> {
        self.sources
            .iter()
            .filter(|source| source.good.is_none())
            .map(|source| source.path.as_path())
    }
}

impl Source {
    fn read_again(&mut self, root: &Path) -> Result<(), String> {
        let path = root.join(self.path.strip_prefix("/").unwrap_or(&self.path));
        let length = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
        if usize::try_from(length).unwrap_or(usize::MAX) > MAX_BYTES {
            return Err(format!("it has {length} bytes; sshd reads at most {MAX_BYTES}"));
        }
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        let list = Krl::revoked_keys(&bytes).map_err(|error| error.to_string())?;
        self.good = Some(Octets::new(list.encode().map_err(|error| error.to_string())?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::krl::Extent;
    use wire::time::Timestamp;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kYHwzMLTGmB2pPp6fqvlnGsUYnMXRFkOwGhuYVwRE old\n";

    fn extent(adopted: &Adopted) -> Extent {
        let mut list = Krl::new(1, Timestamp::from_secs(1));
        adopted.add_to(&mut list).unwrap();
        list.extent()
    }

    #[test]
    fn a_file_is_read_again_and_keeps_revoking_while_it_cannot_be() {
        let root = tempfile::tempdir().unwrap();
        let write = |text: &[u8]| std::fs::write(root.path().join("revoked"), text).unwrap();
        let mut adopted = Adopted::default().of(["/revoked".into()]);
        assert!(adopted.read_again(root.path())[0].contains("No such file"));
        assert_eq!(adopted.unread().count(), 1);
        write(KEY.as_bytes());
        assert!(adopted.read_again(root.path()).is_empty());
        assert_eq!((extent(&adopted).keys, adopted.unread().count()), (1, 0));
        for (bad, why) in
            [(&b""[..], "zero bytes"), (b"<html>", "line 1"), (b"SSHKRL\n\0", "short")]
        {
            write(bad);
            let wrong = adopted.read_again(root.path());
            assert!(wrong[0].contains(why) && wrong[0].contains("stays revoked"), "{wrong:?}");
            assert_eq!(extent(&adopted).keys, 1, "{why}");
        }
        let kept = serde_json::to_string(&adopted).unwrap();
        assert_eq!(serde_json::from_str::<Adopted>(&kept).unwrap(), adopted);
        // Nothing is meant when it says nothing and is not empty; and what is not named any more revokes no more.
        write(b"# nothing\n");
        assert!(adopted.read_again(root.path()).is_empty());
        assert_eq!(extent(&adopted), Extent::default());
        assert_eq!(adopted.of([]), Adopted::default());
    }
}
