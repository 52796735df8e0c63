//! Bytes on their way from one terminal to the other: bounded, so that who does not read makes who writes wait.

use std::os::fd::AsFd;

use rustix::io::{Errno, read, write};

/// A bounded queue.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { bytes: vec![0; CAPACITY].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Queue {
    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether more may come.
    pub(super) const fn has_room(&self) -> bool {
        self.end.saturating_sub(self.start) < CAPACITY / 2
    }

    /// Reads what there is; nothing when there is nothing now. An end of file is an error, as is a hang-up.
    pub(super) fn fill(&mut self, from: impl AsFd) -> Result<Option<&[u8]>, Errno> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let count = match read(from, room) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
            Ok(0) => return Err(Errno::IO),
            other => other?,
        };
        let begin = self.end;
        self.end = self.end.saturating_add(count);
        Ok(self.bytes.get(begin..self.end))
    }

    /// Writes what is taken now.
    pub(super) fn flush(&mut self, to: impl AsFd) -> Result<(), Errno> {
        while !self.is_empty() {
            let waiting = self.bytes.get(self.start..self.end).unwrap_or_default();
            match write(&to, waiting) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                Ok(count) => self.start = self.start.saturating_add(count),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// As much as a pipe holds.
const CAPACITY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_pass_in_order_and_wait_for_room() {
        let (source, from) = UnixStream::pair().unwrap();
        let (to, sink) = UnixStream::pair().unwrap();
        to.set_nonblocking(true).unwrap();
        from.set_nonblocking(true).unwrap();
        source.set_nonblocking(true).unwrap();
        let pattern: Vec<u8> = (0..=250u8).cycle().take(3_000_000).collect();
        let (mut queue, mut sent, mut got) = (Queue::default(), 0, Vec::new());
        while got.len() < pattern.len() {
            sent += std::io::Write::write(&mut &source, &pattern[sent..]).unwrap_or(0);
            if queue.has_room() {
                queue.fill(&from).unwrap();
            }
            queue.flush(&to).unwrap();
            let mut bytes = [0; 1000];
            let count = std::io::Read::read(&mut &sink, &mut bytes).unwrap();
            got.extend_from_slice(&bytes[..count]);
        }
        assert!(got == pattern);
        drop(source);
        assert!(queue.fill(&from).is_err());
    }
}
