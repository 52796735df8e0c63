//! When a session's client did something last: pure. Output never counts, nor does anything else that comes from the host.
//!
//! A connection is idle for as long as no payload of the client reached any of its session channels. Two witnesses say
//! what reached them:
//!
//! * whoever relays a terminal says what was typed, without what the client's terminal answered by itself
//!   ([`Activity::typed`]): exact, for the channels that it relays;
//! * sshd's own accounts ([`Look`]) say how much it wrote into channels in all, for terminals that nobody relays, and what
//!   moved either way for commands and copies, which have no terminal. Keepalives, window changes and new keys are no
//!   payload and are in none of these accounts. Forwarded ports are taken out.
//!
//! Commands and copies count from [`FLOOR`] bytes a minute, so that a slow copy lives and a connection that is merely kept
//! open does not. Where a terminal is open beside them, only what the client sends counts: what comes from the host
//! cannot be told apart from the terminal's output.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::limits::Limits;
use wire::time::Uptime;

/// One channel of a connection, as whoever relays it numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Channel(pub u64);

/// What a relayed channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It has a terminal.
    Terminal,
    /// A command, a copy or a subsystem, without one.
    Command,
}

/// What sshd's accounts show of one connection at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// sshd's process whose accounts they are, by number and start: those of another one begin anew.
    pub server: Option<(i32, u64)>,
    /// Terminals that sshd holds.
    pub terminals: u32,
    /// Commands, copies and subsystems that sshd runs without one.
    pub commands: u32,
    /// Bytes that sshd wrote into channels so far, at least; never more than there were.
    pub put: u64,
    /// Bytes that sshd read from channels so far, at least.
    pub taken: u64,
    /// Bytes that sshd sent to the client so far.
    pub sent: u64,
}

/// What is known of a session's client.
///
/// Who can change this: root on the host, in `/run/curfew/sessions/`. Gains: a session that is idle longer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    /// When the session began.
    began: Uptime,
    /// When the client did something last.
    last: Uptime,
    /// Channels that somebody relays.
    channels: BTreeMap<Channel, Kind>,
    /// What sshd's accounts showed at most.
    server: Option<(i32, u64)>,
    terminals: u32,
    commands: u32,
    put: u64,
    taken: u64,
    sent: u64,
    /// Payload of commands and copies that has not reached the floor yet, and since when.
    moved: u64,
    moved_since: Uptime,
    /// The idle end that the person was warned of; a later one is warned of again.
    pub(crate) warned: Option<Uptime>,
    /// Until where a restart knows of it.
    #[serde(skip)]
    pub(crate) kept: Uptime,
}

impl Activity {
    /// A session that begins now: to log in is to do something.
    #[must_use]
    pub fn new(now: Uptime) -> Self {
        Self { began: now, last: now, moved_since: now, ..Self::default() }
    }

    /// When the session began.
    #[must_use]
    pub const fn began(&self) -> Uptime {
        self.began
    }

    /// When the client did something last.
    #[must_use]
    pub const fn last(&self) -> Uptime {
        self.last
    }

    /// Bytes that were sent to the client.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// A channel is relayed from now on.
    pub fn opened(&mut self, channel: Channel, kind: Kind, at: Uptime) {
        if self.channels.len() < MAX_CHANNELS {
            self.channels.insert(channel, kind);
        }
        self.active(at);
    }

    /// A channel is relayed no more.
    pub fn closed(&mut self, channel: Channel) {
        self.channels.remove(&channel);
    }

    /// So many bytes were typed into a relayed terminal, those left out that its client's terminal sent by itself.
    pub fn typed(&mut self, channel: Channel, bytes: u64, at: Uptime) {
        if bytes > 0 && self.channels.get(&channel) == Some(&Kind::Terminal) {
            self.active(at);
        }
    }

    /// So many bytes moved through a relayed channel without a terminal, either way.
    pub fn moved(&mut self, channel: Channel, (inward, outward): (u64, u64), at: Uptime) {
        if self.channels.get(&channel) == Some(&Kind::Command) {
            self.carried(inward.saturating_add(outward), at);
        }
    }

    /// sshd's accounts were looked at.
    pub fn looked(&mut self, look: &Look, at: Uptime) {
        if look.server.is_some() && look.server != self.server {
            (self.server, self.put, self.taken) = (look.server, look.put, look.taken);
        }
        let put = look.put.saturating_sub(self.put);
        let taken = look.taken.saturating_sub(self.taken);
        self.put = self.put.max(look.put);
        self.taken = self.taken.max(look.taken);
        self.sent = self.sent.max(look.sent);
        // What holds the place of a relayed terminal is a child of sshd without one: its terminal is the recorder's now.
        let commands = look.commands.saturating_sub(self.relayed(Kind::Terminal));
        // A channel opens because the client asks for it.
        if look.terminals > self.terminals || commands > self.commands {
            self.active(at);
        }
        (self.terminals, self.commands) = (look.terminals, commands);
        if put > 0 && look.terminals > self.relayed(Kind::Terminal) {
            self.active(at);
        }
        if commands > self.relayed(Kind::Command) {
            let outward = if look.terminals == 0 { taken } else { 0 };
            self.carried(put.saturating_add(outward), at);
        }
    }

    /// When the connection has been idle for too long, if nothing comes until then, and how long that is.
    #[must_use]
    pub fn idle_end(&self, limits: &Limits) -> Option<(Uptime, Duration)> {
        let secs = match (self.terminals > 0, self.commands > 0) {
            (_, false) => limits.idle_secs?,
            (false, true) => limits.transfer_idle_secs?,
            // Each lives by its own limit: the connection ends when the last of them would.
            (true, true) => limits.idle_secs?.max(limits.transfer_idle_secs?),
        };
        let span = Duration::from_secs(secs);
        Some((self.last.after(span), span))
    }

    fn relayed(&self, kind: Kind) -> u32 {
        let relayed = self.channels.values().filter(|relayed| **relayed == kind).count();
        u32::try_from(relayed).unwrap_or(u32::MAX)
    }

    /// Payload of commands and copies: it counts once a minute's floor is reached.
    fn carried(&mut self, bytes: u64, at: Uptime) {
        if at.since(self.moved_since) > MINUTE {
            (self.moved, self.moved_since) = (0, at);
        }
        if self.moved == 0 {
            self.moved_since = at;
        }
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= FLOOR {
            self.moved = 0;
            self.active(at);
        }
    }

    fn active(&mut self, at: Uptime) {
        self.last = self.last.max(at);
    }
}

/// Bytes within a minute from which commands and copies count as something that the client does.
pub const FLOOR: u64 = 1024;
const MINUTE: Duration = Duration::from_secs(60);
/// Channels remembered; stock sshd lets a connection have 10 sessions.
const MAX_CHANNELS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Uptime {
        Uptime::from_nanos(0).after(Duration::from_secs(secs))
    }

    fn limits() -> Limits {
        Limits { idle_secs: Some(60), transfer_idle_secs: Some(300), ..Limits::default() }
    }

    fn terminal(put: u64, taken: u64) -> Look {
        Look { server: Some((1, 1)), terminals: 1, commands: 0, put, taken, sent: taken }
    }

    fn command(put: u64, taken: u64) -> Look {
        Look { server: Some((1, 1)), terminals: 0, commands: 1, put, taken, sent: taken }
    }

    fn end(activity: &Activity) -> Uptime {
        activity.idle_end(&limits()).unwrap().0
    }

    #[test]
    fn output_never_counts_and_one_key_does() {
        let mut activity = Activity::new(at(0));
        activity.looked(&terminal(0, 0), at(0));
        for second in 1..50 {
            activity.looked(&terminal(0, second * 1_000_000), at(second));
        }
        assert_eq!(end(&activity), at(60));
        activity.looked(&terminal(1, 60_000_000), at(50));
        assert_eq!(end(&activity), at(110));
    }

    #[test]
    fn accounts_that_waver_are_no_news() {
        let mut activity = Activity::new(at(0));
        activity.looked(&terminal(500, 0), at(1));
        for second in 2..20 {
            activity.looked(&terminal(500 - second % 3, 0), at(second));
        }
        assert_eq!(activity.last(), at(1));
    }

    #[test]
    fn where_every_terminal_is_relayed_only_what_was_typed_counts() {
        let mut activity = Activity::new(at(0));
        activity.opened(Channel(1), Kind::Terminal, at(0));
        activity.looked(&terminal(10, 0), at(5));
        // The client's terminal answered a query: sshd wrote it, and nobody typed it.
        activity.looked(&terminal(20, 0), at(9));
        assert_eq!(activity.last(), at(5), "opening it was the last thing that was done");
        activity.typed(Channel(1), 0, at(10));
        activity.typed(Channel(2), 9, at(10));
        assert_eq!(activity.last(), at(5));
        activity.typed(Channel(1), 1, at(11));
        assert_eq!(activity.last(), at(11));
        // A second terminal that nobody relays is under sshd's accounts again.
        activity.looked(&Look { terminals: 2, ..terminal(20, 0) }, at(12));
        activity.looked(&Look { terminals: 2, ..terminal(21, 0) }, at(13));
        assert_eq!(activity.last(), at(13));
    }

    #[test]
    fn the_place_of_a_relayed_terminal_is_no_command() {
        let mut activity = Activity::new(at(0));
        activity.opened(Channel(1), Kind::Terminal, at(0));
        for second in 1..50 {
            let look = Look { commands: 1, ..terminal(0, second * 1_000_000) };
            activity.looked(&look, at(second));
        }
        assert_eq!(end(&activity), at(61), "by the terminal's limit, from its opening");
        activity.looked(&Look { commands: 2, ..terminal(0, 60_000_000) }, at(50));
        assert_eq!(end(&activity), at(350), "a command beside it has its own");
    }

    #[test]
    fn a_slow_copy_lives_and_a_trickle_does_not() {
        let (mut copy, mut trickle) = (Activity::new(at(0)), Activity::new(at(0)));
        for second in 0..600_u64 {
            copy.looked(&command(0, second * 40), at(second));
            trickle.looked(&command(second / 60 * 100, second / 60 * 400), at(second));
        }
        assert!(end(&copy) > at(850), "{:?}", end(&copy));
        assert_eq!(end(&trickle), at(300));
    }

    #[test]
    fn beside_a_terminal_output_does_not_keep_a_silent_command_open() {
        let mut activity = Activity::new(at(0));
        for second in 0..100 {
            let look = Look { terminals: 1, ..command(0, second * 1_000_000) };
            activity.looked(&look, at(second));
        }
        assert_eq!(end(&activity), at(300), "the longer of the two limits, from the beginning");
    }

    #[test]
    fn a_connection_without_channels_is_idle_from_its_beginning() {
        let mut activity = Activity::new(at(7));
        activity.looked(&Look::default(), at(40));
        assert_eq!(end(&activity), at(67));
        assert_eq!(activity.idle_end(&Limits::default()), None);
    }

    #[test]
    fn a_restart_knows_what_there_was_and_dates_what_came_since() {
        let mut activity = Activity::new(at(0));
        activity.looked(&terminal(100, 0), at(1));
        let kept = serde_json::to_string(&activity).unwrap();
        let mut same: Activity = serde_json::from_str(&kept).unwrap();
        same.looked(&terminal(100, 9), at(30));
        assert_eq!(same.last(), at(1));
        let mut typed: Activity = serde_json::from_str(&kept).unwrap();
        typed.looked(&terminal(101, 9), at(30));
        assert_eq!(typed.last(), at(30));
    }

    proptest! {
        #[test]
        fn nothing_that_a_host_does_moves_the_end_of_an_idle_terminal(
            looks in proptest::collection::vec((0_u64..1 << 40, 0_u64..1 << 40, 0_u64..60), 0..50),
        ) {
            let mut activity = Activity::new(at(0));
            activity.looked(&terminal(9, 0), at(0));
            for (taken, sent, second) in looks {
                activity.looked(&Look { sent, ..terminal(9, taken) }, at(second));
                activity.closed(Channel(1));
            }
            prop_assert_eq!(end(&activity), at(60));
        }

        #[test]
        fn the_client_only_ever_moves_the_end_on(
            steps in proptest::collection::vec((0_u8..4, 0_u64..5_000, 0_u64..100), 0..60),
        ) {
            let mut activity = Activity::new(at(0));
            activity.opened(Channel(1), Kind::Terminal, at(0));
            activity.opened(Channel(2), Kind::Command, at(0));
            for (which, bytes, second) in steps {
                let before = activity.last();
                match which {
                    0 => activity.typed(Channel(1), bytes, at(second)),
                    1 => activity.moved(Channel(2), (bytes, bytes), at(second)),
                    2 => activity.looked(&terminal(bytes, bytes), at(second)),
                    _ => activity.looked(&command(bytes, bytes), at(second)),
                }
                prop_assert!(activity.last() >= before && activity.last() <= before.max(at(second)));
            }
        }
    }
}
