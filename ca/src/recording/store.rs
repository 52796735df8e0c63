//! Where recordings are kept: a folder; anything else that can put, get and list.
//!
//! Who can change what is stored: root and the authority's user. Gains: can remove recordings, which is found when they
//! are verified; cannot make or alter one without a host's agent key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use wire::identifier::{HostName, SessionId};
use wire::recording::Place;

/// Keeps recordings. Every call may wait for a disk or a network: it stays off the async threads.
pub(crate) trait Store: Send + Sync {
    /// Keeps an object under its name; it is durable when this returns. The same object once more is fine.
    ///
    /// # Errors
    /// When another object has this name, or it could not be kept.
    fn put(&self, place: &Place, bytes: &[u8]) -> Result<(), StoreError>;

    /// The object of this name; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes an object for good; where there is none, that is fine.
    ///
    /// # Errors
    /// When it is still there.
    fn remove(&self, place: &Place) -> Result<(), StoreError>;

    /// Everything there is of a session's recordings on a host, in order: channel by channel, blocks by number, then the
    /// closing. What has another name is left out.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn list(&self, host: &HostName, session: SessionId) -> Result<Vec<Place>, StoreError>;
}

/// A store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The system says no.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bucket says no.
    #[error(transparent)]
    Bucket(#[from] crate::bucket::BucketError),
    /// Objects are written once.
    #[error("another object is stored as {0}")]
    Other(Place),
}

/// A folder, with a file an object.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder at this path; it is made when the first object comes.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, place: &Place) -> PathBuf {
        self.0.join(place.to_string())
    }
}

impl Store for Folder {
    fn put(&self, place: &Place, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(place);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let folder = path.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        make(folder).map_err(failed)?;
        match write(&path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.get(place)? {
                Some(stored) if stored == bytes => Ok(()),
                _ => Err(StoreError::Other(place.clone())),
            },
            written => written.map_err(failed),
        }
    }

    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(place);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    fn remove(&self, place: &Place) -> Result<(), StoreError> {
        let path = self.path(place);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(failed)?,
        }
        let folder = path.parent().unwrap_or(&path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    fn list(&self, host: &HostName, session: SessionId) -> Result<Vec<Place>, StoreError> {
        let name = Place::session_folder(host, session);
        let mut places = Vec::new();
        for channel in names(&self.0.join(&name))? {
            for object in names(&self.0.join(&name).join(&channel))? {
                places.extend(format!("{name}{channel}/{object}").parse::<Place>());
            }
        }
        places.sort();
        Ok(places)
    }
}

/// The names in a folder; none when there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |source| StoreError::Io { path: folder.into(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Makes a folder and those above it, durably.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(folder);
    make(above)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| File::open(above)?.sync_all()),
    }
}

/// Writes a new file, whole under its name from the first moment on, and durable.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    linked?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = [
        "db1/00000000000000ff/0000000000000001/0000000001.block",
        "db1/00000000000000ff/0000000000000001/0000000002.block",
        "db1/00000000000000ff/0000000000000001/closed",
        "db1/00000000000000ff/0000000000000002/0000000001.block",
    ];

    #[test]
    fn what_is_put_is_there_in_order_and_is_never_changed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("recordings"));
        let (host, session) = ("db1".parse().unwrap(), "00000000000000ff".parse().unwrap());
        assert_eq!(folder.list(&host, session).unwrap(), []);
        for name in NAMES.iter().rev() {
            let place = name.parse().unwrap();
            assert_eq!(folder.get(&place).unwrap(), None);
            folder.put(&place, name.as_bytes()).unwrap();
            folder.put(&place, name.as_bytes()).unwrap();
            assert!(matches!(folder.put(&place, b"other"), Err(StoreError::Other(_))));
            assert_eq!(folder.get(&place).unwrap().unwrap(), name.as_bytes());
        }
        let session_dir = dir.path().join("recordings/db1/00000000000000ff");
        fs::write(session_dir.join("0000000000000001/0000000003.block.new"), b"torn").unwrap();
        let listed = folder.list(&host, session).unwrap();
        assert_eq!(listed.iter().map(ToString::to_string).collect::<Vec<_>>(), NAMES);
        // One that was left half written is no obstacle.
        let third = "db1/00000000000000ff/0000000000000001/0000000003.block".parse().unwrap();
        folder.put(&third, b"whole").unwrap();
        assert_eq!(folder.list(&host, session).unwrap().len(), 5);
        folder.remove(&third).unwrap();
        folder.remove(&third).unwrap();
        let listed = folder.list(&host, session).unwrap();
        assert_eq!(listed.iter().map(ToString::to_string).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn what_cannot_be_written_is_not_said_to_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("recordings"), b"a file").unwrap();
        let folder = Folder::new(dir.path().join("recordings"));
        assert!(matches!(folder.put(&NAMES[0].parse().unwrap(), b"x"), Err(StoreError::Io { .. })));
    }
}
