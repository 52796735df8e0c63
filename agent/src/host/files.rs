//! Files that sessions touch: whose they were, what is recorded of them, and how it stands with seeing them.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use files::Watching;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wire::identifier::SessionId;
use wire::octets::Octets;
use wire::record::{Event, FileDeed, FileTouched, FilesUnseen};

use super::{Host, session_of};
use crate::clock::Now;
use crate::files::{Group, Read, Touched, Word};
use crate::session::Input;
use crate::status::Files;

/// What is seen of files.
#[derive(Debug, Default)]
pub(super) struct Seeing {
    group: Option<Group>,
    /// Whether more may be there that nobody will wake us for.
    behind: bool,
    standing: Files,
}

impl Host {
    /// Takes word of whether files are seen; gives a descriptor to wait on where there is a new one.
    pub fn hear_of_files(&mut self, word: Word, now: Now) -> Option<OwnedFd> {
        match word {
            Word::Watching(group, watching) => self.see_files(group, watching, now),
            Word::Blind(why) => {
                tracing::error!("files that sessions write are not seen: {why}");
                // What was watched goes on being told of.
                if self.seeing.group.is_none() {
                    self.seeing.standing = Files { trouble: Some(why), ..Files::default() };
                }
                None
            }
            Word::MakerGone => {
                tracing::warn!(
                    "curfew-files has gone: file systems that come now are not watched until it is back"
                );
                None
            }
        }
    }

    fn see_files(&mut self, group: Group, watching: Watching, now: Now) -> Option<OwnedFd> {
        let to_wait_on = match group.to_wait_on() {
            Ok(descriptor) => descriptor,
            Err(error) => {
                tracing::error!(%error, "files that sessions write are not seen");
                self.seeing.standing =
                    Files { trouble: Some(error.to_string()), ..Files::default() };
                return None;
            }
        };
        // What the one before still holds was seen before.
        self.take_files(now);
        for missed in &watching.missed {
            tracing::warn!("files there are not seen: {missed}");
        }
        tracing::info!(filesystems = watching.filesystems, "files that sessions write are seen");
        self.seeing.standing =
            Files { filesystems: watching.filesystems, missed: watching.missed, trouble: None };
        self.seeing.group = Some(group);
        Some(to_wait_on)
    }

    /// How it stands with seeing files.
    pub(super) fn files_standing(&self) -> Files {
        self.seeing.standing.clone()
    }

    /// Why none is seen, in one sentence for the operator.
    pub(super) fn files_trouble(&self) -> Option<String> {
        let why = self.seeing.standing.trouble.as_ref()?;
        Some(format!("files that sessions write are not seen: {why}"))
    }

    /// Whether word of files may wait that the kernel will not wake anybody for.
    #[must_use]
    pub const fn is_behind_on_files(&self) -> bool {
        self.seeing.behind
    }

    /// Takes what the kernel has to tell of files, after what it has to tell of processes: that says whose they are.
    pub fn drain_files(&mut self, now: Now) {
        self.drain(now);
        self.take_files(now);
        self.running.tidy(now.up);
    }

    /// Takes all that there was when a session ended: what it did last is recorded before its end.
    pub(super) fn take_last_files(&mut self, now: Now) {
        for _ in 0..MAX_PASSES {
            self.take_files(now);
            if !self.seeing.behind {
                break;
            }
        }
    }

    /// Records what is there to be told of files of sessions that are not over, up to a limit.
    pub(super) fn take_files(&mut self, now: Now) {
        let Some(group) = &self.seeing.group else { return };
        let Read { touched, overflowed, more } = match group.read() {
            Ok(read) => read,
            Err(error) => {
                self.seeing.group = None;
                self.seeing.behind = false;
                self.seeing.standing =
                    Files { trouble: Some(error.to_string()), ..Files::default() };
                return self.files_unseen(
                    format!("the kernel's word of files cannot be read: {error}"),
                    now,
                );
            }
        };
        self.seeing.behind = more;
        if overflowed {
            let why = "more files were touched on this host than the kernel could keep until they were read";
            self.files_unseen(why.into(), now);
        }
        for (touched, times) in touched {
            if let Some((session, program)) = self.toucher(touched.pid) {
                self.note_file(session, (touched, times), program, now);
            }
        }
    }

    /// From here on files of every session may be missing.
    fn files_unseen(&mut self, why: String, now: Now) {
        tracing::error!("files that sessions touched are missing: {why}");
        let all: BTreeSet<SessionId> = self.sessions.iter().map(|session| session.id).collect();
        for id in all {
            self.record(Some(id), Event::FilesUnseen(FilesUnseen { why: why.clone() }), now);
        }
    }

    /// The session of the process with this number, and what it calls itself: as it was seen last, or, of one that began
    /// before this agent, as the kernel knows it.
    fn toucher(&self, pid: u32) -> Option<(SessionId, Option<Octets>)> {
        if let Some((session, comm)) = self.running.owner(pid) {
            self.sessions.find(session)?;
            return Some((session, Some(Octets::new(comm))));
        }
        if self.sessions.is_empty() {
            return None;
        }
        let held =
            pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        let tag = self.kernel.tag_of(std::os::fd::AsFd::as_fd(&held)).ok()??;
        let session = session_of(tag);
        self.sessions.find(session)?;
        let comm = std::fs::read(format!("/proc/{pid}/comm")).ok();
        let comm = comm.map(|comm| Octets::new(comm.strip_suffix(b"\n").unwrap_or(&comm).to_vec()));
        Some((session, comm))
    }

    fn note_file(
        &mut self,
        id: SessionId,
        (touched, times): (Touched, u64),
        program: Option<Octets>,
        now: Now,
    ) {
        let Touched { pid, deed, path, inode, device, nameless } = touched;
        let event = FileTouched {
            pid: i32::try_from(pid).unwrap_or(0),
            program: program.clone(),
            what: deed,
            path: Octets::new(path.clone()),
            inode,
            device,
            nameless,
            times,
        };
        self.record(Some(id), Event::File(Box::new(event)), now);
        let metered =
            self.sessions.find(id).is_some_and(|session| !session.limits.thresholds.is_empty());
        if metered && deed == FileDeed::Written {
            let actions = self.sessions.step(Input::Wrote { session: id, path, program }, now.up);
            self.perform(actions, now);
        }
    }
}

/// Together these take more than the 16,384 events that the kernel keeps.
const MAX_PASSES: usize = 20;
