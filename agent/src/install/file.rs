//! Files that are changed and can be put back: each write is whole or absent, and keeps mode and owner.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// A file as it was before we changed it.
#[derive(Debug)]
pub(crate) struct Saved {
    path: PathBuf,
    before: Option<Copy>,
}

#[derive(Debug)]
struct Copy {
    bytes: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Saved {
    /// Remembers the file at `path`, or that there is none. A link is followed: what it points to is what counts.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), before: None });
            }
            Err(error) => return Err(error),
        };
        let meta = fs::metadata(&path)?;
        let before = Copy {
            bytes: fs::read(&path)?,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        };
        Ok(Self { path, before: Some(before) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; nothing when there was no file.
    pub(crate) fn text(&self) -> io::Result<String> {
        let bytes = self.before.as_ref().map(|before| before.bytes.clone()).unwrap_or_default();
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    pub(crate) const fn existed(&self) -> bool {
        self.before.is_some()
    }

    /// Writes `text` in its place, with the mode and owner it had, or 0644.
    pub(crate) fn replace(&self, text: &str) -> io::Result<()> {
        let (mode, owner) = self
            .before
            .as_ref()
            .map_or((0o644, None), |before| (before.mode, Some((before.uid, before.gid))));
        write(&self.path, text.as_bytes(), mode, owner)
    }

    /// Puts back what was there.
    pub(crate) fn restore(&self) -> io::Result<()> {
        match &self.before {
            Some(before) => {
                write(&self.path, &before.bytes, before.mode, Some((before.uid, before.gid)))
            }
            None => remove(&self.path),
        }
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    // A leading dot: sshd includes *.conf and PAM reads by name, so neither ever sees the half-written file.
    let mut beside = tempfile::Builder::new().prefix(".curfew-").tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.as_file().set_permissions(Permissions::from_mode(mode))?;
    if let Some((uid, gid)) = owner {
        chown(beside.path(), Some(uid), Some(gid))?;
    }
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
