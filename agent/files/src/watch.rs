//! The group and its marks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

use crate::mounts::watched;
use crate::{MAX_MISSED, VERSION, Watching};

/// A group of the kernel's with the marks that it has.
#[derive(Debug)]
pub struct Watch {
    group: Fanotify,
    sensitive: Vec<PathBuf>,
    /// Those of which it was said that they are not seen, so that it is said once.
    said: BTreeSet<PathBuf>,
}

impl Watch {
    /// A group without marks. Whoever reads it has each file opened that it is told of, without waiting for anything.
    ///
    /// # Errors
    /// When this process may not, or the kernel cannot.
    pub fn new() -> Result<Self, Errno> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_MARKS;
        let opened = EventFFlags::O_RDONLY
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_NONBLOCK;
        Ok(Self {
            group: Fanotify::init(flags, opened)?,
            sensitive: Vec::new(),
            said: BTreeSet::new(),
        })
    }

    /// The group, to hand on.
    #[must_use]
    pub const fn group(&self) -> &Fanotify {
        &self.group
    }

    /// From now on the opening of these files is told as well.
    pub fn be_told_of(&mut self, sensitive: Vec<PathBuf>) {
        self.sensitive = sensitive;
    }

    /// Marks every file system of `mountinfo` and every sensitive file that is there now. What has its mark keeps it.
    #[must_use]
    pub fn mark(&mut self, mountinfo: &[u8]) -> Watching {
        let mut watching = Watching { version: VERSION, ..Watching::default() };
        for point in watched(mountinfo) {
            match self.mark_filesystem(&point) {
                Ok(()) => watching.filesystems = watching.filesystems.saturating_add(1),
                // It went away meanwhile, or lies below something that hides it.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) if watching.missed.len() < MAX_MISSED => {
                    let name = point.display().to_string();
                    watching.missed.push(format!("{}: {error}", name.escape_debug()));
                }
                Err(_more) => {}
            }
        }
        self.mark_sensitive();
        watching
    }

    /// Marks the sensitive files anew: one that was replaced is another file.
    pub fn mark_sensitive(&mut self) {
        for path in &self.sensitive {
            let flags = MarkFlags::FAN_MARK_ADD;
            let marked =
                self.group.mark(flags, MaskFlags::FAN_OPEN, AT_FDCWD, Some(path.as_path()));
            if let Err(error) = marked
                && !matches!(error, Errno::ENOENT | Errno::ENOTDIR)
                && self.said.insert(path.clone())
            {
                crate::serve::say(&format!("{}: its opening is not seen: {error}", path.display()));
            }
        }
    }

    fn mark_filesystem(&self, point: &Path) -> Result<(), Errno> {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        self.group.mark(flags, MaskFlags::FAN_CLOSE_WRITE, AT_FDCWD, Some(point))
    }
}
