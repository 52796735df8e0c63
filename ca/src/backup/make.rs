//! Making a backup, beside an authority that serves.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tar::Builder;
use wire::identifier::Fingerprint;
use wire::log::{KeyName, LogKey, Note};
use wire::time::Timestamp;

use super::BackupError;
use super::archive::{self, ArchiveError, Hashing};
use super::manifest::{
    FORMAT, LEDGER, LeftOut, MANIFEST, Manifest, Member, POLICY, ROLES, SETTINGS, STATE, VERSION,
    Whereabouts,
};
use crate::key::{Kept, Store};
use crate::ledger::{Audit, Place, copy};
use crate::policy::{CASES, POLICIES};
use crate::x509::{ROOT, ROOT_KEY};

/// What to back up, and where to.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// The ledger.
    pub(crate) ledger: &'a Place,
    /// The state folder.
    pub(crate) state: &'a Path,
    /// The settings' file.
    pub(crate) settings: &'a Path,
    /// The roles' file.
    pub(crate) roles: &'a Path,
    /// The policies' folder, which need not be there.
    pub(crate) policy: &'a Path,
    /// The file to make, which must not be there.
    pub(crate) to: &'a Path,
    /// Whether private keys go along that no passphrase protects.
    pub(crate) plain_keys: bool,
    /// The entry that says that it was begun: the cut holds it.
    pub(crate) begun: u64,
    /// The authority's fingerprint.
    pub(crate) fingerprint: &'a Fingerprint,
    /// The keys that sign checkpoints.
    pub(crate) log_keys: &'a [LogKey],
    /// Now.
    pub(crate) at: Timestamp,
}

/// A backup that is whole and on the disk.
#[derive(Debug)]
pub(crate) struct Made {
    /// What it holds.
    pub(crate) manifest: Manifest,
    /// Its length, in bytes.
    pub(crate) bytes: u64,
}

/// A file to go into the backup.
struct Source {
    member: Member,
    file: File,
}

/// Makes it; `progress` hears how much of the ledger is copied, and of how much.
pub(crate) fn make(
    order: &Order<'_>,
    store: &Store,
    progress: impl FnMut(u64, u64),
) -> Result<Made, BackupError> {
    if order.to.exists() {
        return Err(BackupError::Exists(order.to.into()));
    }
    sweep(folder(order.to))?;
    let (part, cut) = (beside(order.to, PART), beside(order.to, CUT));
    let made = write(order, store, (&part, &cut), progress);
    // Whatever came of it, the copies beside it hold what a backup holds and must not stay.
    let left = clear(&part, &cut);
    let made = made?;
    left?;
    Ok(made)
}

fn write(
    order: &Order<'_>,
    store: &Store,
    (part, cut): (&Path, &Path),
    progress: impl FnMut(u64, u64),
) -> Result<Made, BackupError> {
    let held = create(cut)?;
    // Whoever sweeps leaves alone what somebody holds.
    held.try_lock().map_err(|error| failed(cut)(error.into()))?;
    copy(order.ledger, cut, progress)?;
    let (origin, checkpoint) = cut_of(cut, order.begun)?;
    let (kept, left_out) = private(store, order)?;
    let mut sources = vec![source(LEDGER, cut)?];
    for (name, path) in [(SETTINGS, order.settings), (ROLES, order.roles)] {
        if path.exists() {
            sources.push(source(name, path)?);
        }
    }
    sources.extend(policies(order.policy)?);
    for name in kept {
        sources.push(source(&format!("{STATE}{name}"), &order.state.join(&name))?);
    }
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        at: order.at,
        program: env!("CARGO_PKG_VERSION").into(),
        origin,
        fingerprint: order.fingerprint.clone(),
        checkpoint,
        log_keys: order.log_keys.to_vec(),
        files: sources.iter().map(|source| source.member.clone()).collect(),
        left_out,
    };
    let file = pack(part, &manifest, sources)?;
    let bytes = file.metadata().map_err(failed(part))?.len();
    verify(part, &manifest)?;
    // Under its name it is whole from the first moment on, and never takes the place of another.
    std::fs::hard_link(part, order.to).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists(order.to.into()),
        _ => BackupError::File { path: order.to.into(), source },
    })?;
    sync_folder(order.to)?;
    Ok(Made { manifest, bytes })
}

/// The policies and their cases; nothing where the default is in force.
fn policies(folder: &Path) -> Result<Vec<Source>, BackupError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(folder))?.path();
        // As the authority reads the folder: these, and nothing that is hidden.
        let is_meant = |name: &&str| {
            !name.starts_with('.') && [POLICIES, CASES].iter().any(|end| name.ends_with(end))
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(is_meant) else {
            continue;
        };
        if !archive::is_plain(name) {
            let reason = "a backup holds policies whose names are letters, digits and . _ - alone, at most 64; rename it";
            return Err(wrong(&path, reason));
        }
        paths.push((format!("{POLICY}{name}"), path));
    }
    paths.sort();
    paths.into_iter().map(|(name, path)| source(&name, &path)).collect()
}

/// Which ledger was copied, and its newest checkpoint, which must hold the entry of the backup itself.
fn cut_of(cut: &Path, begun: u64) -> Result<(KeyName, Note), BackupError> {
    let (name, note) = Audit::open(&Place::File(cut.into()))?.newest()?;
    let head = note.text().parse::<wire::log::Checkpoint>().map(|checkpoint| checkpoint.head);
    match head {
        Ok(head) if head.size >= begun => Ok((name, note)),
        _ => Err(wrong(cut, "the copy of the ledger lacks the entry of its own backup")),
    }
}

/// The files of the state folder that go along, and private keys that do not.
fn private(store: &Store, order: &Order<'_>) -> Result<(Vec<String>, Vec<LeftOut>), BackupError> {
    let (mut names, mut left_out) = (vec![ROOT.to_owned()], Vec::new());
    let mut leave = |key: String, whereabouts| left_out.push(LeftOut { key, whereabouts });
    for (name, kept) in store.kept_recording()? {
        match kept {
            Kept::Plain if !order.plain_keys => leave(name, Whereabouts::PlainFile),
            _ => names.push(name),
        }
    }
    for (slot, kept) in store.kept()? {
        names.push(format!("{slot}.slot"));
        match kept {
            Kept::Encrypted => names.push(slot.to_string()),
            Kept::Plain if order.plain_keys => names.push(slot.to_string()),
            Kept::Plain => leave(slot.to_string(), Whereabouts::PlainFile),
            Kept::SshAgent => leave(slot.to_string(), Whereabouts::SshAgent),
            Kept::Token => leave(slot.to_string(), Whereabouts::Token),
        }
    }
    if order.plain_keys {
        names.push(ROOT_KEY.to_owned());
    } else {
        leave(ROOT_KEY.to_owned(), Whereabouts::PlainFile);
    }
    names.retain(|name| order.state.join(name).exists());
    Ok((names, left_out))
}

fn source(name: &str, path: &Path) -> Result<Source, BackupError> {
    let mut hashing = Hashing::new(File::open(path).map_err(failed(path))?);
    std::io::copy(&mut hashing, &mut std::io::sink()).map_err(failed(path))?;
    let (bytes, sha256) = hashing.sum().ok_or_else(|| wrong(path, "it has no hash"))?;
    let mut file = File::open(path).map_err(failed(path))?;
    file.rewind().map_err(failed(path))?;
    Ok(Source { member: Member { name: name.into(), bytes, sha256 }, file })
}

fn pack(part: &Path, manifest: &Manifest, sources: Vec<Source>) -> Result<File, BackupError> {
    let text = serde_json::to_vec(manifest)?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let mut tar = Builder::new(create(part)?);
    archive::put(&mut tar, (MANIFEST, length), text.as_slice()).map_err(failed(part))?;
    for Source { member, file } in sources {
        // Exactly as much as was hashed: a file that grows meanwhile must not spoil those after it.
        let from = file.take(member.bytes);
        archive::put(&mut tar, (&member.name, member.bytes), from).map_err(failed(part))?;
    }
    let file = tar.into_inner().map_err(failed(part))?;
    file.sync_all().map_err(failed(part))?;
    Ok(file)
}

/// Reads back what was written.
fn verify(part: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let file = File::open(part).map_err(failed(part))?;
    let drain = |_: &Manifest, _: &Member, from: &mut dyn Read| {
        std::io::copy(from, &mut std::io::sink()).map(|_bytes| ())
    };
    match archive::read(file, drain) {
        Ok(read) if read == *manifest => Ok(()),
        Ok(_) => Err(wrong(part, "it reads back as another")),
        Err(error) => Err(of_archive(part, error)),
    }
}

pub(super) fn of_archive(path: &Path, error: ArchiveError) -> BackupError {
    match error {
        ArchiveError::Io(source) => BackupError::File { path: path.into(), source },
        ArchiveError::Form(reason) => BackupError::Form { path: path.into(), reason },
        ArchiveError::Newer(version) => BackupError::Newer(version),
    }
}

pub(super) fn create(path: &Path) -> Result<File, BackupError> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(failed(path))
}

/// Removes what backups that were killed have left in a folder: it holds what a backup holds.
fn sweep(folder: &Path) -> Result<(), BackupError> {
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let cut = entry.map_err(failed(folder))?.path();
        let Some(name) = cut.to_str().and_then(|name| name.strip_suffix(CUT)) else { continue };
        let Ok(file) = File::open(&cut) else { continue };
        if file.try_lock().is_ok() {
            tracing::info!(file = name, "a backup was broken off; what it left is removed");
            clear(Path::new(&format!("{name}{PART}")), &cut)?;
        }
    }
    Ok(())
}

/// Removes a part, and the copy of the ledger with what the database's library may have put beside it. The copy itself goes
/// last: without it nobody would look for the others.
fn clear(part: &Path, cut: &Path) -> Result<(), BackupError> {
    remove(part)?;
    for suffix in ["-journal", "-wal", "-shm", ""] {
        remove(&beside(cut, suffix))?;
    }
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), BackupError> {
    let folder = folder(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

pub(super) fn failed(path: &Path) -> impl Fn(std::io::Error) -> BackupError {
    move |source| BackupError::File { path: path.into(), source }
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(BackupError::File { path: path.into(), source })
        }
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn wrong(path: &Path, reason: &str) -> BackupError {
    BackupError::Form { path: path.into(), reason: reason.into() }
}

/// What is after the name of a backup while it is written.
const PART: &str = ".making";
/// What is after it in the name of the copy of the ledger, beside it.
const CUT: &str = ".making-ledger";
