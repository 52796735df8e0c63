//! Unpacking a backup into a folder of its own. Nothing of it is believed here but its hashes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::BackupError;
use super::archive;
use super::make::{create, failed, of_archive};
use super::manifest::{LEDGER, LeftOut, Manifest, Member, POLICY, STATE, Whereabouts};
use crate::key::{create_private, read_private};

/// A backup that was unpacked; the folder goes when this is dropped, unless it was kept.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// What it holds.
    pub(crate) manifest: Manifest,
    folder: PathBuf,
    is_kept: bool,
    /// Nobody else unpacks in the same place meanwhile.
    _held: File,
}

/// Reads what a backup says that it holds, and every hash.
pub(crate) fn read_manifest(path: &Path) -> Result<Manifest, BackupError> {
    let file = File::open(path).map_err(failed(path))?;
    let drain = |_: &Manifest, _: &Member, from: &mut dyn Read| {
        std::io::copy(from, &mut std::io::sink()).map(|_bytes| ())
    };
    archive::read(file, drain).map_err(|error| of_archive(path, error))
}

/// Unpacks a backup into `folder`: the files of the state folder under their own names, settings and roles beside them,
/// policies in a folder there. A
/// folder that is there is what a restore that was killed has left, and goes: none was ever served from there.
pub(crate) fn unpack(path: &Path, folder: &Path) -> Result<Unpacked, BackupError> {
    let file = File::open(path).map_err(failed(path))?;
    let place = super::make::folder(folder);
    let held = File::open(place).map_err(failed(place))?;
    held.try_lock().map_err(|error| failed(place)(error.into()))?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed(folder))?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(failed(folder))?;
    let mut guard = Guard(Some(folder.to_owned()));
    let write = |_: &Manifest, member: &Member, from: &mut dyn Read| {
        let to = folder.join(member.name.strip_prefix(STATE).unwrap_or(&member.name));
        if member.name.starts_with(POLICY) {
            std::fs::create_dir_all(folder.join(POLICY))?;
        }
        let mut to = create(&to).map_err(std::io::Error::other)?;
        std::io::copy(from, &mut to)?;
        to.sync_all()
    };
    let manifest = archive::read(file, write).map_err(|error| of_archive(path, error))?;
    guard.0 = None;
    Ok(Unpacked { manifest, folder: folder.into(), is_kept: false, _held: held })
}

impl Unpacked {
    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies private keys that the backup does not hold from the folder `keys`, and names those that are missing there.
    pub(crate) fn complete(&self, keys: Option<&Path>) -> Result<Vec<String>, BackupError> {
        let mut missing = Vec::new();
        let wanted = |left: &&LeftOut| left.whereabouts == Whereabouts::PlainFile;
        for LeftOut { key, .. } in self.manifest.left_out.iter().filter(wanted) {
            let is_name =
                key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
            match keys.filter(|_| is_name && !key.starts_with('.')).map(|keys| keys.join(key)) {
                Some(from) if from.exists() => {
                    let text = read_private(&from)?;
                    create_private(&self.folder.join(key), text.as_bytes())?;
                }
                _ => missing.push(key.clone()),
            }
        }
        Ok(missing)
    }

    /// Takes the ledger's file out of it, which has gone elsewhere.
    pub(crate) fn without_ledger(&self) -> Result<(), BackupError> {
        for beside in ["", "-wal", "-shm"] {
            let path = self.folder.join(format!("{LEDGER}{beside}"));
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(&path)(source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives the folder its name. It is whole there from the first moment on.
    pub(crate) fn keep(mut self, target: &Path) -> Result<(), BackupError> {
        match std::fs::remove_dir(target) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) if source.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                return Err(BackupError::Exists(target.into()));
            }
            removed => removed.map_err(failed(target))?,
        }
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed(&self.folder))?;
        std::fs::rename(&self.folder, target).map_err(failed(target))?;
        self.is_kept = true;
        super::make::sync_folder(target)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if !self.is_kept {
            discard(&self.folder);
        }
    }
}

/// Removes a folder that is not whole.
struct Guard(Option<PathBuf>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            discard(&folder);
        }
    }
}

fn discard(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "what was unpacked of a backup is still there; remove it");
    }
}
