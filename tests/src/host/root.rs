//! The root filesystem of a host, from outside: no path leaves it, whatever links lie in it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Dir, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::FleetError;

/// An open handle on `/` of a host.
#[derive(Debug)]
pub(crate) struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens the root of the host whose systemd has this process id.
    pub(crate) fn open(init: u32) -> Result<Self, FleetError> {
        let path = format!("/proc/{init}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(FleetError::io(format!("open {path}")))?;
        Ok(Self { dir })
    }

    /// Writes a file beside its place and renames it there.
    pub(crate) fn put(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = Path::new(path);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.make_dirs(path.parent().unwrap_or(Path::new("/")))?;
        let mut half_name = name.to_owned();
        half_name.push(".half");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &half_name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode))?;
        Ok(rustix::fs::renameat(&dir, &half_name, &dir, name)?)
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::from(self.open_at(Path::new(path), OFlags::RDONLY)?).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The names in a folder.
    pub(crate) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let dir = self.open_at(Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY)?;
        Dir::read_from(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Whether something is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.open_at(Path::new(path), OFlags::PATH).is_ok()
    }

    fn make_dirs(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open_at(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.make_dirs(path.parent().unwrap_or(Path::new("/")))?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => self.open_at(path, OFlags::PATH | OFlags::DIRECTORY),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        loop {
            // A rename elsewhere in the tree makes the kernel ask for another try.
            match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
            {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }
}
