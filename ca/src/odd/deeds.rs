//! What was done in a session, read from its records: each different thing once, and of each kind no more than can matter.

use std::collections::BTreeMap;

use wire::octets::Octets;
use wire::record::{
    ChannelEvent, Event, Exec, FileDeed, FileTouched, Network, NetworkDeed, Record,
};

use super::Facet;
use crate::random::sha256;
use crate::risk::network;

/// What was done in a session.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    done: BTreeMap<(Facet, String), Deed>,
    /// The order in which they came, by kind.
    kinds: BTreeMap<Facet, Vec<String>>,
    /// Programs that had no name on any disk.
    pub(super) nameless: Vec<String>,
    /// What was lost of it.
    pub(super) unseen: Vec<String>,
    /// Processes that were alive when its host spoke of it last.
    pub(super) survivors: u32,
    /// Whether something in it had a terminal.
    pub(super) had_terminal: bool,
    /// How many records were read.
    pub(crate) records: u64,
    lost: u64,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    /// What it is held against.
    pub(crate) what: String,
    /// As people read it, escaped.
    pub(super) shown: String,
    /// Whether it is a file that guards who gets in.
    pub(super) is_guarded: bool,
}

impl Deeds {
    /// The different ones of a kind, in the order in which they came.
    pub(crate) fn of(&self, facet: Facet) -> impl Iterator<Item = &Deed> {
        let whats = self.kinds.get(&facet).into_iter().flatten();
        whats.filter_map(move |what| self.done.get(&(facet, what.clone())))
    }

    /// What they are held against.
    pub(crate) fn facets(&self) -> impl Iterator<Item = &(Facet, String)> {
        self.done.keys()
    }

    /// Reads the next record.
    pub(crate) fn take(&mut self, record: &Record) {
        self.records = self.records.saturating_add(1);
        match &record.event {
            Event::Exec(exec) => self.ran(exec),
            Event::Network(network) => self.reached(network),
            Event::File(file) => self.touched(file),
            Event::SessionEnded(ended) => self.survivors = ended.survivors,
            // What is not signed is an incident by itself.
            Event::Killed(signed) => {
                if let Ok(killed) = signed.read() {
                    self.survivors = killed.survivors;
                }
            }
            Event::Loss(loss) => self.lost = self.lost.saturating_add(loss.missing),
            Event::Unreadable { .. } => self.lost = self.lost.saturating_add(1),
            Event::FilesUnseen(unseen) => self.missed(format!("files: {}", unseen.why)),
            Event::Channel(ChannelEvent::Opened { .. }) => self.had_terminal = true,
            Event::Channel(ChannelEvent::Unrelayed { why, .. }) => {
                self.had_terminal = true;
                self.missed(format!("a terminal: {why}"));
            }
            _ => {}
        }
    }

    /// Says what was lost, once all is read.
    pub(crate) fn finish(mut self) -> Self {
        if self.lost > 0 {
            self.unseen.insert(0, format!("{} events were lost", self.lost));
        }
        self
    }

    fn missed(&mut self, what: String) {
        if self.unseen.len() < MAX_OF_A_KIND && !self.unseen.contains(&what) {
            self.unseen.push(what);
        }
    }

    fn ran(&mut self, exec: &Exec) {
        self.had_terminal |= exec.terminal.is_some();
        let resolved = exec.program.as_ref().and_then(|program| program.resolved.as_ref());
        let path = resolved.unwrap_or(&exec.path);
        if exec.nameless {
            let shown = path.display();
            if self.nameless.len() < MAX_OF_A_KIND && !self.nameless.contains(&shown) {
                self.nameless.push(shown);
            }
            return;
        }
        self.add(Facet::Program, key(path), path.display(), false);
    }

    fn reached(&mut self, done: &Network) {
        let by = done.program.display();
        match (done.what, done.address) {
            (NetworkDeed::Connect, Some(address)) => {
                let what = format!("{}:{}", network(address), done.port);
                self.add(Facet::Connect, what, format!("{} ({by})", done.place()), false);
            }
            (NetworkDeed::Listen, _) => {
                let what = done.port.to_string();
                self.add(Facet::Listen, what, format!("{} ({by})", done.place()), false);
            }
            // A socket that is of no version of IP stays on the host.
            (NetworkDeed::Connect, None) => {}
        }
    }

    fn touched(&mut self, file: &FileTouched) {
        let path = file.path.as_bytes();
        if file.nameless {
            return;
        }
        match file.what {
            FileDeed::Written if is_guarded(path) => {
                self.add(Facet::Written, key(&file.path), file.path.display(), true);
            }
            FileDeed::Written if is_of_the_system(path) => {
                self.add(Facet::Written, key(&file.path), file.path.display(), false);
            }
            FileDeed::Written => {}
            FileDeed::Opened => {
                self.add(Facet::Opened, key(&file.path), file.path.display(), false);
            }
        }
    }

    fn add(&mut self, facet: Facet, what: String, shown: String, is_guarded: bool) {
        let kind = self.kinds.entry(facet).or_default();
        if kind.len() >= MAX_OF_A_KIND || self.done.contains_key(&(facet, what.clone())) {
            return;
        }
        kind.push(what.clone());
        self.done.insert((facet, what.clone()), Deed { what, shown, is_guarded });
    }
}

/// A path as it is compared: whole, or its beginning with the hash of all of it where it is long.
fn key(path: &Octets) -> String {
    let shown = path.display();
    if shown.len() <= MAX_KEY {
        return shown;
    }
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[path.as_bytes()]);
    let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let beginning: String = shown.chars().take(MAX_KEY / 8).collect();
    format!("{beginning}…{hash:016x}")
}

/// Whether a file says who gets in, who is root, or what is started for whom.
fn is_guarded(path: &[u8]) -> bool {
    GUARDED.iter().any(|guarded| match guarded.strip_suffix(b"*") {
        Some(beginning) => path.starts_with(beginning),
        None => path == *guarded,
    }) || path.windows(KEYS.len()).any(|part| part == KEYS)
}

fn is_of_the_system(path: &[u8]) -> bool {
    SYSTEM.iter().any(|beginning| path.starts_with(beginning))
}

/// Most different things of a kind that are kept of one session; what is beyond never becomes usual by it.
const MAX_OF_A_KIND: usize = 300;
/// Longest path that is compared as it stands, in bytes.
const MAX_KEY: usize = 256;
/// Where accounts keep the keys that open them.
const KEYS: &[u8] = b"/.ssh/authorized_keys";
/// Files, or with a star what begins so.
const GUARDED: [&[u8]; 15] = [
    b"/etc/passwd",
    b"/etc/shadow",
    b"/etc/group",
    b"/etc/gshadow",
    b"/etc/sudoers",
    b"/etc/sudoers.d/*",
    b"/etc/ssh/*",
    b"/etc/pam.d/*",
    b"/etc/security/*",
    b"/etc/ld.so.preload",
    b"/etc/curfew/*",
    b"/var/lib/curfew/*",
    b"/etc/cron*",
    b"/var/spool/cron*",
    b"/etc/systemd/system/*",
];
const SYSTEM: [&[u8]; 8] =
    [b"/etc/", b"/usr/", b"/boot/", b"/bin/", b"/sbin/", b"/lib", b"/root/", b"/opt/"];
