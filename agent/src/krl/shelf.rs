//! The files: the authority's newest list, what was taken over, and what sshd reads, which is both together.
//!
//! Everything is done under a lock, for the installer and the agent both write here. A crash at any moment leaves a whole
//! list in place; the authority's is kept before what sshd reads is replaced, so that a restart never goes back.
//! Who can change these: root. Gains: un-revokes here until the agent notices.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ssh_key::PublicKey;
use wire::identifier::Fingerprint;
use wire::krl::signed::{SignedKrlError, verify};
use wire::krl::{Krl, KrlError, MAX_BYTES, RevokedKeysError};
use wire::time::Timestamp;

use super::adopted::Adopted;
use super::assembly::Received;
use super::trial;
use crate::install::Host;
use crate::store::{self, StoreError};

/// The folder of lists.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
    /// The host's root folder.
    root: PathBuf,
}

/// What is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The version of the authority's list in it; 0 for none.
    pub version: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// What names its bytes.
    pub digest: Fingerprint,
    /// What was found in its place, if it was not there already.
    pub found: Option<Found>,
    /// What is wrong with lists that were taken over.
    pub wrong: Vec<String>,
    /// The files that were taken over.
    pub sources: Vec<PathBuf>,
}

/// What was in place before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, and never was.
    New,
    /// The list before it, as we left it.
    Former,
    /// Something else; in words.
    Strange(String),
    /// Something, or nothing, with which sshd refuses everybody; in words.
    Refusing(String),
}

impl Found {
    /// What somebody else did to the file.
    #[must_use]
    pub fn meddled(&self) -> Option<&str> {
        match self {
            Self::New | Self::Former => None,
            Self::Strange(what) | Self::Refusing(what) => Some(what),
        }
    }
}

/// Why a list is not in place. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not believed.
    #[error(transparent)]
    Signed(#[from] SignedKrlError),
    /// A list cannot be read or written.
    #[error("{0}")]
    Krl(#[from] KrlError),
    /// sshd would not read it.
    #[error("{0}")]
    Trial(String),
    /// It is older than what is in place.
    #[error("it has version {offered}, and {placed} is in place: versions never fall")]
    Older {
        /// The version that was offered.
        offered: u64,
        /// The version that is in place.
        placed: u64,
    },
}

impl Shelf {
    /// The lists in the state folder of the host whose root folder is `root`.
    #[must_use]
    pub fn new(root: &Path, state_dir: &Path) -> Self {
        let state_dir = root.join(state_dir.strip_prefix("/").unwrap_or(state_dir));
        Self { folder: state_dir.join(super::FOLDER), root: root.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lists of the host's own that were taken over.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn sources(&self) -> Result<Vec<PathBuf>, ShelfError> {
        Ok(self.adopted()?.sources.into_iter().map(|source| source.path).collect())
    }

    /// What sshd reads.
    #[must_use]
    pub fn list_path(&self) -> PathBuf {
        self.folder.join(LIST)
    }

    /// Takes the list over from the authority, unless it is in place already.
    ///
    /// # Errors
    /// Why it is not in place; the one before is.
    pub fn take<'a>(
        &self,
        received: &Received,
        keys: impl IntoIterator<Item = &'a PublicKey>,
        host: &mut dyn Host,
    ) -> Result<Placed, ShelfError> {
        let _lock = self.lock()?;
        let Received { version, bytes, signature } = received;
        let list = verify((*version, bytes), signature, keys)?;
        let placed = self.authority()?.map_or(0, |list| list.version());
        if *version < placed {
            return Err(ShelfError::Older { offered: *version, placed });
        }
        self.put((list, Some(bytes)), host)
    }

    /// Puts in place what belongs there, where it is not: after a restart, a change of what was taken over, or somebody's
    /// hand on the file.
    ///
    /// # Errors
    /// Why it is not in place; what was found is.
    pub fn renew(&self, host: &mut dyn Host) -> Result<Placed, ShelfError> {
        let _lock = self.lock()?;
        let list = self.authority()?.unwrap_or_else(nothing);
        self.put((list, None), host)
    }

    /// Takes over these lists of the host's own, and those alone, and puts them in place with the authority's.
    ///
    /// # Errors
    /// When one of them cannot be read and never was, or as [`Shelf::renew`].
    pub fn adopt(&self, paths: Vec<PathBuf>, host: &mut dyn Host) -> Result<Placed, ShelfError> {
        let _lock = self.lock()?;
        let mut adopted = self.adopted()?.of(paths);
        let wrong = adopted.read_again(&self.root);
        if let (Some(path), Some(why)) = (adopted.unread().next(), wrong.first()) {
            let path = path.display();
            return Err(ShelfError::Trial(format!(
                "{path} is what sshd refuses now and cannot be taken over ({why}); repair it, or take RevokedKeys out of sshd_config"
            )));
        }
        store::write(&self.folder.join(ADOPTED), &adopted)?;
        let list = self.authority()?.unwrap_or_else(nothing);
        self.put((list, None), host)
    }

    /// Puts the list, with what was taken over, where sshd reads it; `new` are its exact bytes if it is a new one.
    fn put(
        &self,
        (mut list, new): (Krl, Option<&Vec<u8>>),
        host: &mut dyn Host,
    ) -> Result<Placed, ShelfError> {
        let mut adopted = self.adopted()?;
        let before = adopted.clone();
        let wrong = adopted.read_again(&self.root);
        if adopted != before {
            store::write(&self.folder.join(ADOPTED), &adopted)?;
        }
        let version = list.version();
        adopted.add_to(&mut list)?;
        let bytes = list.encode()?;
        let mut placed = Placed {
            version,
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            digest: Fingerprint::of(&bytes),
            found: None,
            wrong,
            sources: adopted.sources.into_iter().map(|source| source.path).collect(),
        };
        let there = fs::read(self.list_path());
        if there.as_ref().is_ok_and(|there| *there == bytes) {
            self.keep(new)?;
            self.remember(&placed)?;
            return Ok(placed);
        }
        let found = self.judge(there);
        if let Err(why) = self.try_out(&bytes, host) {
            // Our own reader took it, and what is there serves nobody: nothing is lost by it.
            if !matches!(found, Found::Refusing(_)) {
                store::remove(&self.folder.join(NEXT))?;
                return Err(why);
            }
            placed.wrong.push(why.to_string());
        }
        self.keep(new)?;
        self.replace(&found)?;
        self.remember(&placed)?;
        placed.found = Some(found);
        Ok(placed)
    }

    /// What was in place.
    fn judge(&self, there: io::Result<Vec<u8>>) -> Found {
        let left = fs::read_to_string(self.folder.join(DIGEST)).ok();
        let there = match (there, &left) {
            (Ok(there), _) => there,
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => return Found::New,
            (Err(error), _) => {
                return Found::Refusing(format!("the file could not be read: {error}"));
            }
        };
        if left.as_deref() == Some(Fingerprint::of(&there).as_str()) {
            return Found::Former;
        }
        match Krl::revoked_keys(&there) {
            Err(RevokedKeysError::Empty) => {
                Found::Strange("the file was empty, so nothing was revoked".into())
            }
            Err(error) => Found::Refusing(format!("the file was damaged: {error}")),
            Ok(list) => {
                Found::Strange(format!("another list was in its place, version {}", list.version()))
            }
        }
    }

    fn try_out(&self, bytes: &[u8], host: &mut dyn Host) -> Result<(), ShelfError> {
        let (next, probe) = (self.folder.join(NEXT), self.folder.join(PROBE));
        store::write_bytes(&probe, trial::PROBE.as_bytes(), 0o600)?;
        store::write_bytes(&next, bytes, 0o600)?;
        trial::load(&next, &probe, host).map_err(ShelfError::Trial)
    }

    /// Keeps a new list of the authority's, before sshd reads it.
    fn keep(&self, new: Option<&Vec<u8>>) -> Result<(), ShelfError> {
        let path = self.folder.join(AUTHORITY);
        match new {
            Some(bytes) if fs::read(&path).ok().as_ref() != Some(bytes) => {
                Ok(store::write_bytes(&path, bytes, 0o600)?)
            }
            _ => Ok(()),
        }
    }

    /// What was tried out takes the file's place in one step. A good list that was there is kept beside it.
    fn replace(&self, found: &Found) -> Result<(), ShelfError> {
        let (list, last) = (self.list_path(), self.folder.join(LAST));
        let failed = |source| StoreError::Io { path: list.clone(), source };
        if *found == Found::Former {
            store::remove(&last)?;
            fs::hard_link(&list, &last).map_err(failed)?;
        }
        fs::rename(self.folder.join(NEXT), &list).map_err(failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(())
    }

    /// Remembers what was left in place, to know it from what somebody else leaves there.
    fn remember(&self, placed: &Placed) -> Result<(), ShelfError> {
        let path = self.folder.join(DIGEST);
        if fs::read_to_string(&path).is_ok_and(|left| left == placed.digest.as_str()) {
            return Ok(());
        }
        Ok(store::write_bytes(&path, placed.digest.as_str().as_bytes(), 0o600)?)
    }

    /// The authority's newest list. One that cannot be read is none: it is asked for again.
    fn authority(&self) -> Result<Option<Krl>, ShelfError> {
        let path = self.folder.join(AUTHORITY);
        match fs::metadata(&path) {
            Ok(meta) if usize::try_from(meta.len()).unwrap_or(usize::MAX) > MAX_BYTES => {
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let bytes = fs::read(&path).map_err(|source| StoreError::Io { path, source })?;
        match Krl::decode(&bytes) {
            Ok(list) => Ok(Some(list)),
            Err(error) => {
                tracing::error!(%error, "the authority's list of revoked keys is damaged here; it is asked for again");
                Ok(None)
            }
        }
    }

    fn adopted(&self) -> Result<Adopted, ShelfError> {
        match store::read(&self.folder.join(ADOPTED)) {
            Err(error) if error.is_absent() => Ok(Adopted::default()),
            other => Ok(other?),
        }
    }

    /// Holds until it is dropped.
    fn lock(&self) -> Result<File, ShelfError> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let path = self.folder.join(LOCK);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(failed)?;
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }
}

/// A header: nothing is revoked. Never zero bytes.
fn nothing() -> Krl {
    Krl::new(0, Timestamp::from_secs(0))
}

/// What sshd reads.
const LIST: &str = "revoked_keys";
/// The good list before it.
const LAST: &str = "revoked_keys.last";
/// What is to take its place, while it is tried out.
const NEXT: &str = "revoked_keys.trial";
/// What names the bytes that we left in place.
const DIGEST: &str = "revoked_keys.digest";
/// The authority's newest list, as it was signed.
const AUTHORITY: &str = "authority.krl";
const ADOPTED: &str = "adopted.json";
const PROBE: &str = "probe.pub";
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::{Ran, System};
    use ssh_key::private::Ed25519Keypair;
    use ssh_key::{PrivateKey, Signature, SigningKey};
    use wire::identifier::Serial;
    use wire::krl::Issuer;
    use wire::krl::signed::SignedKrl;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kYHwzMLTGmB2pPp6fqvlnGsUYnMXRFkOwGhuYVwRE old\n";

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn received(version: u64, serials: u64, seed: u8) -> Received {
        let mut list = Krl::new(version, Timestamp::from_secs(1));
        (1..=serials).for_each(|n| list.revoke_serial(&Issuer::ANY, Serial::try_new(n).unwrap()));
        let (bytes, key) = (list.encode().unwrap(), key(seed));
        let sign = |message: &[u8]| raw(&key, message);
        let signed = SignedKrl::sign((version, &bytes), key.public_key(), sign).unwrap();
        Received { version, bytes, signature: signed.signature }
    }

    struct Place {
        root: tempfile::TempDir,
        shelf: Shelf,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let shelf = Shelf::new(root.path(), Path::new("/state"));
            Self { root, shelf }
        }

        fn take(&self, received: &Received) -> Result<Placed, ShelfError> {
            self.shelf.take(received, [key(1).public_key()], &mut System)
        }

        fn renew(&self) -> Placed {
            self.shelf.renew(&mut System).unwrap()
        }

        fn list(&self) -> Krl {
            Krl::decode(&fs::read(self.shelf.list_path()).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_list_is_there_before_the_first_and_each_newer_one_takes_its_place() {
        let place = Place::new();
        assert_eq!(place.renew().found, Some(Found::New));
        assert_eq!((place.list().version(), place.list().extent().serials), (0, 0));
        let placed = place.take(&received(7, 3, 1)).unwrap();
        assert_eq!((placed.version, placed.found), (7, Some(Found::Former)));
        assert_eq!((place.list().version(), place.list().extent().serials), (7, 3));
        let last = fs::read(place.shelf.folder().join(LAST)).unwrap();
        assert_eq!(Krl::decode(&last).unwrap().version(), 0);
        // The same again changes nothing, also not after a restart.
        assert_eq!(place.take(&received(7, 3, 1)).unwrap().found, None);
        assert_eq!(place.renew().found, None);
    }

    #[test]
    fn what_is_older_forged_or_damaged_stays_out_and_the_last_good_one_stays() {
        let place = Place::new();
        place.take(&received(7, 3, 1)).unwrap();
        let good = fs::read(place.shelf.list_path()).unwrap();
        let mut cut = received(8, 3, 1);
        cut.bytes.pop();
        let mut renamed = received(8, 3, 1);
        renamed.version = 9;
        for (bad, why) in [
            (received(6, 9, 1), "versions never fall"),
            (received(8, 9, 2), "not by the pinned order key"),
            (cut, "not by the pinned order key"),
            (renamed, "9 was announced"),
        ] {
            let refused = place.take(&bad).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
            assert_eq!(fs::read(place.shelf.list_path()).unwrap(), good);
            assert_eq!(place.renew().version, 7);
        }
    }

    #[test]
    fn what_somebody_does_to_the_file_is_named_and_undone() {
        let place = Place::new();
        place.take(&received(7, 3, 1)).unwrap();
        let path = place.shelf.list_path();
        let put = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        let other = Krl::new(90, Timestamp::from_secs(1)).encode().unwrap();
        let deeds: [(&dyn Fn(), &str); 5] = [
            (&|| put(b""), "nothing was revoked"),
            (&|| put(b"<html>"), "was damaged"),
            (&|| fs::remove_file(&path).unwrap(), "could not be read"),
            (&|| put(&other), "version 90"),
            (&|| fs::copy(place.shelf.folder().join(AUTHORITY), &path).map(drop).unwrap(), ""),
        ];
        for (deed, what) in deeds {
            deed();
            let found = place.renew().found;
            let said = found.as_ref().and_then(Found::meddled).unwrap_or_default();
            assert!(said.contains(what), "{what}: {said}");
            assert_eq!(place.list().extent().serials, 3);
        }
        // Damage to what the authority sent is not believed to be a list of its.
        fs::write(place.shelf.folder().join(AUTHORITY), b"SSHKRL").unwrap();
        assert_eq!(place.renew().version, 0);
        assert_eq!(place.take(&received(7, 3, 1)).unwrap().version, 7);
    }

    #[test]
    fn what_the_host_revoked_before_stays_revoked_whatever_the_authority_sends() {
        let place = Place::new();
        let theirs = place.root.path().join("revoked");
        let adopt = |paths: &[&str]| {
            place.shelf.adopt(paths.iter().map(PathBuf::from).collect(), &mut System)
        };
        let refused = adopt(&["/revoked"]).unwrap_err().to_string();
        assert!(refused.contains("is what sshd refuses now"), "{refused}");
        fs::write(&theirs, KEY).unwrap();
        adopt(&["/revoked"]).unwrap();
        assert_eq!(place.list().extent().keys, 1);
        place.take(&received(7, 3, 1)).unwrap();
        assert_eq!((place.list().extent().keys, place.list().extent().serials), (1, 3));
        // Read again when it changes; kept when it is gone.
        fs::write(&theirs, "# none\n").unwrap();
        let placed = place.renew();
        assert_eq!((placed.found, place.list().extent().keys), (Some(Found::Former), 0));
        fs::write(&theirs, KEY).unwrap();
        place.renew();
        fs::remove_file(&theirs).unwrap();
        let placed = place.renew();
        assert!(placed.wrong[0].contains("stays revoked"), "{placed:?}");
        assert_eq!((place.list().extent().keys, placed.version), (1, 7));
        adopt(&[]).unwrap();
        assert_eq!(place.list().extent().keys, 0);
    }

    /// A host whose `ssh-keygen` reads nothing.
    struct Blind;

    impl Host for Blind {
        fn run(&mut self, _program: &str, _words: &[&str]) -> io::Result<Ran> {
            Ok(Ran { ok: false, out: String::new(), err: "no".into() })
        }

        fn try_login(&mut self, _root: &Path) -> Result<String, String> {
            unreachable!("no login is tried")
        }
    }

    #[test]
    fn what_does_not_load_stays_out_unless_sshd_refuses_everybody_already() {
        let place = Place::new();
        place.take(&received(7, 3, 1)).unwrap();
        let refused = place.shelf.take(&received(8, 4, 1), [key(1).public_key()], &mut Blind);
        assert!(matches!(refused, Err(ShelfError::Trial(_))));
        assert_eq!((place.list().version(), place.renew().version), (7, 7));
        fs::remove_file(place.shelf.list_path()).unwrap();
        let placed = place.shelf.renew(&mut Blind).unwrap();
        assert!(placed.wrong[0].contains("cannot read it"), "{placed:?}");
        assert_eq!(place.list().version(), 7);
    }
}
