//! Certificates that were shown and by which nobody was let in.
//!
//! sshd asks us before it knows whether the key is proved, and checks `source-address` and a security key's flags by
//! itself: a login that ends there never reaches PAM. The connection's end is what says so.

use wire::identifier::Fingerprint;
use wire::record::{Refused, Refuser};

use super::{Book, Shown};
use crate::session::Monitor;

/// A connection that ended before anybody was let in.
#[derive(Debug)]
pub struct Unfinished {
    /// sshd's monitor of it.
    pub monitor: Monitor,
    /// An attempt for each certificate that it showed.
    pub attempts: Vec<Refused>,
}

impl Book {
    /// Something has been said of this monitor's connection: somebody was let in, or refused.
    pub fn decide(&mut self, monitor: Monitor) {
        let name = (monitor.pid, monitor.start_ticks);
        if self.seen.contains_key(&name) {
            self.decided.insert(name);
        }
    }

    /// Takes the connections out that have ended without a word about them.
    pub fn unfinished(&mut self, mut is_alive: impl FnMut(Monitor) -> bool) -> Vec<Unfinished> {
        let decided = &self.decided;
        let ended = self.seen.extract_if(.., |name, _| {
            let (pid, start_ticks) = *name;
            !decided.contains(name) && !is_alive(Monitor { pid, start_ticks })
        });
        ended
            .map(|((pid, start_ticks), seen)| {
                let shown = seen.into_iter().map(|seen| {
                    let login = wire::octets::Octets::new(seen.login);
                    let mut no = Shown::new(login, seen.bytes, String::new()).refused(UNFINISHED);
                    no.refused.by = Refuser::Unfinished;
                    no.refused
                });
                Unfinished { monitor: Monitor { pid, start_ticks }, attempts: shown.collect() }
            })
            .collect()
    }

    /// What a monitor of this number has shown: the certificate over `key`, or, without one, the last.
    #[must_use]
    pub fn shown_by(&self, pid: i32, key: Option<&Fingerprint>) -> Option<(Monitor, Refused)> {
        let ((pid, start_ticks), seen) = self.seen.iter().rfind(|((known, _), _)| *known == pid)?;
        let mut shown = seen.iter().map(|seen| {
            let login = wire::octets::Octets::new(seen.login.clone());
            Shown::new(login, seen.bytes.clone(), String::new()).refused(UNFINISHED).refused
        });
        let found = match key {
            Some(key) => shown.find(|refused| refused.key == *key),
            None => shown.next_back(),
        };
        found.map(|refused| (Monitor { pid: *pid, start_ticks: *start_ticks }, refused))
    }

    /// Whether there is anything of which [`Book::unfinished`] could tell.
    #[must_use]
    pub fn has_undecided(&self) -> bool {
        self.seen.len() > self.decided.len()
    }
}

/// Why nobody was let in, as far as the gate can know.
const UNFINISHED: &str = "it was shown to the gate, and the connection ended before anybody was let in: its key was not \
    proved, or sshd refused it by a rule of its own";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Seen;
    use wire::time::Uptime;

    fn monitor(pid: i32) -> Monitor {
        Monitor { pid, start_ticks: 5 }
    }

    fn book() -> Book {
        let mut book = Book::default();
        for pid in 1..4 {
            let seen =
                Seen { bytes: vec![0; 4], login: b"app".to_vec(), at: Uptime::from_nanos(1) };
            book.seen.insert((pid, 5), vec![seen]);
        }
        book
    }

    #[test]
    fn a_connection_that_ends_undecided_is_told_once() {
        let mut book = book();
        book.decide(monitor(1));
        assert!(book.has_undecided());
        let told = book.unfinished(|monitor| monitor.pid == 2);
        let [one] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((one.monitor, one.attempts.len()), (monitor(3), 1));
        assert_eq!(one.attempts[0].by, Refuser::Unfinished);
        assert!(book.unfinished(|monitor| monitor.pid == 2).is_empty());
        book.decide(monitor(2));
        assert!(!book.has_undecided() && book.unfinished(|_| false).is_empty());
        book.forget(monitor(1));
        assert!(book.decided.len() == 1 && book.shown_by(2, None).is_some());
        assert!(book.shown_by(9, None).is_none());
    }

    #[test]
    fn what_never_showed_anything_is_not_remembered_as_decided() {
        let mut book = Book::default();
        book.decide(monitor(7));
        assert!(book.decided.is_empty());
    }
}
