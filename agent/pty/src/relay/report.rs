//! Telling the agent what has passed: at most once a second, never waiting for it, and all over again when it comes back.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    socket_with,
};
use wire::channel::{CHANNEL_PATH, End, HOLD, KEEP_ON, Kept, Passed, Report, Start};
use wire::frame::encode;
use wire::time::Uptime;

/// The way to the agent.
#[derive(Debug)]
pub(super) struct Desk {
    start: Start,
    agent: Option<OwnedFd>,
    /// The rest of a frame that the agent has not taken.
    rest: Vec<u8>,
    /// What the agent was told last.
    told: Option<Passed>,
    /// When the agent may be told next, or tried again.
    next: Uptime,
    /// The agent's newest word on what is kept.
    held: Option<bool>,
}

impl Desk {
    /// Nothing has been told.
    pub(super) fn new(start: &Start, now: Uptime) -> Self {
        Self {
            start: start.clone(),
            agent: None,
            rest: Vec::new(),
            told: None,
            next: now,
            held: None,
        }
    }

    /// Tells the agent what has passed, if that is due and it listens.
    pub(super) fn tell(&mut self, passed: Passed, now: Uptime) {
        self.hear();
        if now < self.next {
            return;
        }
        self.next = now.after(EVERY);
        if self.agent.is_none() {
            self.rest.clear();
            self.told = None;
            self.agent = reach().ok();
            let Start { session, channel, outer, inner, .. } = self.start;
            self.say(&Report::Here { session, channel, outer, inner, passed });
            self.told = self.agent.is_some().then_some(passed);
        } else if self.told != Some(passed) && self.rest.is_empty() {
            self.say(&Report::Passed(passed));
            self.told = Some(passed);
        }
        self.push();
    }

    /// Whether the agent wants nothing kept that need not be, when it said so since this was asked last.
    pub(super) fn held(&mut self) -> Option<bool> {
        self.held.take()
    }

    /// How long until the agent is to be told or tried again; nothing when it knows everything.
    pub(super) fn due(&self, passed: Passed, now: Uptime) -> Option<Duration> {
        let knows = self.agent.is_some() && self.told == Some(passed) && self.rest.is_empty();
        (!knows).then(|| self.next.since(now))
    }

    /// The connection, to be watched for its end.
    pub(super) const fn agent(&self) -> Option<&OwnedFd> {
        self.agent.as_ref()
    }

    /// The last word. An agent that is not there learns from the processes that are gone.
    pub(super) fn close(mut self, passed: Passed, end: End, kept: Option<Kept>) {
        if self.agent.is_none() {
            self.next = Uptime::from_nanos(0);
            self.tell(passed, Uptime::from_nanos(0));
        }
        self.say(&Report::Over { passed, end, kept });
        let Some(agent) = &self.agent else { return };
        // Now it may wait, a moment.
        let waits = rustix::io::ioctl_fionbio(agent, false)
            .and_then(|()| set_socket_timeout(agent, Timeout::Send, Some(LAST)));
        if waits.is_ok() {
            self.push();
        }
    }

    /// Hears the agent: single bytes, or that it is gone.
    fn hear(&mut self) {
        let mut bytes = [0u8; 16];
        while let Some(agent) = &self.agent {
            match recv(agent, &mut bytes, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) | Ok((0, _)) => self.agent = None,
                Ok((count, _)) => {
                    let words = bytes.iter().take(count);
                    self.held = words.fold(self.held, |held, word| match *word {
                        HOLD => Some(true),
                        KEEP_ON => Some(false),
                        _ => held,
                    });
                }
            }
        }
    }

    fn say(&mut self, report: &Report) {
        // A report always has a form.
        self.rest.extend(encode(report).unwrap_or_default());
    }

    /// Sends what the agent takes now.
    fn push(&mut self) {
        let Some(agent) = &self.agent else { return };
        while !self.rest.is_empty() {
            match rustix::net::send(agent, &self.rest, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.rest.drain(..count.min(self.rest.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.agent = None;
                    return;
                }
            }
        }
    }
}

/// Connects to the agent, if root listens and has room.
fn reach() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let agent = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&agent, &SocketAddrUnix::new(CHANNEL_PATH)?)?;
    if socket_peercred(&agent)?.uid.is_root() { Ok(agent) } else { Err(Errno::ACCESS) }
}

/// How often at most the agent is told, and an agent that is gone is tried.
const EVERY: Duration = Duration::from_secs(1);
/// How long the last word may take.
const LAST: Duration = Duration::from_secs(1);
