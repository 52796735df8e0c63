//! How far the spool was written, beside it: on a file system that does not outlive the boot, so that a spool whose end was
//! cut off while no agent ran is found out by the next.
//!
//! Shape: the number of the newest record, eight bytes, and the hash of its frame. Who can change this: root on the host.
//! Gains: hides that the end of the spool was cut off since the last record that the authority has.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use wire::log::Hash;

/// The open file.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    /// Whether it was said that it cannot be written.
    is_told: bool,
}

impl Tail {
    /// Opens it, and says what an agent before left in it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<(u64, Hash)>)> {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = [0; LENGTH];
        let left = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => parts(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        Ok((Self { file, is_told: false }, left))
    }

    /// Notes the newest record.
    pub(super) fn note(&mut self, newest: u64, head: Hash) {
        let mut bytes = newest.to_be_bytes().to_vec();
        bytes.extend_from_slice(&head.0);
        if let Err(error) = self.file.write_all_at(&bytes, 0)
            && !std::mem::replace(&mut self.is_told, true)
        {
            tracing::warn!(%error, "how far the spool was written cannot be noted: whether its end is cut off is not known after a restart");
        }
    }
}

fn parts(bytes: &[u8; LENGTH]) -> Option<(u64, Hash)> {
    let (number, hash) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), Hash(hash.try_into().ok()?)))
}

const LENGTH: usize = 8 + 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_last_is_what_the_next_finds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tail");
        let (mut tail, left) = Tail::open(&path).unwrap();
        assert_eq!(left, None);
        tail.note(7, Hash([1; 32]));
        tail.note(8, Hash([2; 32]));
        assert_eq!(Tail::open(&path).unwrap().1, Some((8, Hash([2; 32]))));
        std::fs::write(&path, [0; 39]).unwrap();
        assert_eq!(Tail::open(&path).unwrap().1, None);
    }
}
