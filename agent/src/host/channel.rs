//! Channels of sessions: what runs in them, who relays their terminals, and what has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use tokio::sync::mpsc;
use wire::channel::{Answer, ChannelId, End, HOLD, Keep, Kept, Passed, Report, Standing, Start};
use wire::identifier::SessionId;
use wire::limits::{Level, Need, Recording};
use wire::octets::Octets;
use wire::options::FORCE_COMMAND;
use wire::record::{ChannelEvent, Event};
use wire::time::Uptime;

use super::{Host, session_of};
use crate::activity;
use crate::channel::{Asked, Said};
use crate::clock::Now;
use crate::recording::Of;
use crate::session::{Input, Monitor, Relayed, Session, State};
use crate::store;
use crate::terminal::{self, Recorder, Terminal};

/// Terminals that are relayed.
#[derive(Debug, Default)]
pub(super) struct Channels {
    open: BTreeMap<ChannelId, Channel>,
    /// Which channel a recorder's connection is about.
    connections: BTreeMap<u64, ChannelId>,
    /// Where words for recorders go.
    words: BTreeMap<u64, mpsc::Sender<u8>>,
}

impl Channels {
    /// The terminals of a session that are relayed: the number of each, and of its client's.
    pub(super) fn clients(&self, session: SessionId) -> BTreeMap<u32, u32> {
        let of = self.open.values().filter(|channel| channel.session == session);
        of.map(|channel| (channel.inner, channel.outer)).collect()
    }

    /// The recordings of channels that are open.
    pub(super) fn recordings(&self) -> BTreeSet<Of> {
        self.open.iter().map(|(id, channel)| (channel.session, *id)).collect()
    }

    /// Says a word to every recorder. One that does not listen hears the next.
    pub(super) fn say(&self, word: u8) {
        for to in self.words.values() {
            to.try_send(word).unwrap_or_default();
        }
    }
}

/// One of them.
#[derive(Debug)]
struct Channel {
    session: SessionId,
    outer: u32,
    inner: u32,
    passed: Passed,
    /// When its recorder was heard of last.
    heard: Uptime,
    /// Whether its recorder is connected.
    connected: bool,
}

/// What an asker is told, before anything is done about it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Outside,
    /// Nothing to relay.
    Run(Option<Octets>),
    /// To be relayed.
    Relay(Option<Octets>),
    Refuse(String),
}

/// Why a terminal is not relayed; said to the person where they may not go on without.
type Why = String;

impl Host {
    /// Takes what came in at the channels' socket.
    pub fn channel(&mut self, said: Said, now: Now) {
        match said {
            Said::Asked(asked) => self.channel_asked(asked, now),
            Said::Reporting { connection, words } => {
                if self.recordings.full().is_some() {
                    words.try_send(HOLD).unwrap_or_default();
                }
                self.channels.words.insert(connection, words);
            }
            Said::Reported { connection, report } => self.reported(connection, report, now),
            Said::Gone { connection } => {
                self.channels.words.remove(&connection);
                if let Some(channel) = self.channels.connections.remove(&connection) {
                    self.channel_over(channel, None, (End::Lost, None), now);
                }
            }
        }
    }

    /// Recorders that were never heard of again, or never at all, are gone.
    pub fn look_at_channels(&mut self, now: Now) {
        let is_lost =
            |channel: &Channel| !channel.connected && now.up.since(channel.heard) > UNHEARD;
        let lost: Vec<ChannelId> = self
            .channels
            .open
            .iter()
            .filter(|(_, channel)| is_lost(channel))
            .map(|(id, _)| *id)
            .collect();
        for channel in lost {
            self.channel_over(channel, None, (End::Lost, None), now);
        }
    }

    fn channel_asked(&mut self, asked: Asked, now: Now) {
        let Asked { peer, ask, with, connection } = asked;
        let tag = self.kernel.tag_of(peer.process.as_fd());
        let id = match tag {
            // A tag of handed work, or of a login outside any grant, is no session's.
            Ok(tag) => tag.map(session_of).filter(|id| !self.work.handed.holds(*id)),
            Err(error) => {
                tracing::error!(%error, "refused a channel: it is unknown whose it is");
                say(&connection, &Answer::Refuse("it is unknown whose login this is".into()));
                return;
            }
        };
        let session = id.map(|id| self.sessions.find(id).ok_or(()));
        let terminal = if ask.terminal { with.into_iter().next() } else { None };
        match (judge(session, ask.terminal), id, terminal) {
            (Verdict::Outside, ..) => say(&connection, &Answer::Outside),
            (Verdict::Refuse(line), ..) => say(&connection, &Answer::Refuse(line)),
            (Verdict::Relay(forced), Some(id), Some(outer)) => {
                self.relay((id, forced, peer.uid), (outer, ask.term), &connection, now);
            }
            (Verdict::Run(forced) | Verdict::Relay(forced), ..) => {
                say(&connection, &Answer::Run { forced });
            }
        }
    }

    /// Has the terminal relayed; where that cannot be, refuses it or says so, as the session's role has it.
    fn relay(
        &mut self,
        (id, forced, uid): (SessionId, Option<Octets>, u32),
        (outer, term): (OwnedFd, Option<String>),
        connection: &std::os::unix::net::UnixStream,
        now: Now,
    ) {
        let Some(session) = self.sessions.find(id) else { return };
        let session = session.clone();
        let (required, _) = recording(&session);
        let answer = Answer::Relay { forced: forced.clone(), required };
        let begun = match self.client_terminal(&session, &outer) {
            Ok(number) => {
                let taken = (number, outer, term);
                self.begin_relay((&session, uid), taken, (&answer, connection), now)
            }
            Err(why) => Err(why),
        };
        match begun {
            Ok((channel, kept)) => {
                let opened = self.channels.open.get(&channel);
                let terminal = opened.map_or(0, |opened| opened.inner);
                tracing::info!(session = %id, %channel, terminal, kept, "a terminal is relayed");
                let terminal = format!("pts/{terminal}");
                let event = ChannelEvent::Opened { channel, terminal, kept };
                self.record(Some(id), Event::Channel(event), now);
            }
            Err(why) => {
                tracing::error!(session = %id, required, "a terminal is not relayed: {why}");
                let event = ChannelEvent::Unrelayed { why: why.clone(), refused: required };
                self.record(Some(id), Event::Channel(event), now);
                let answer = if required {
                    Answer::Refuse(format!("this login needs a recorder for its terminal: {why}"))
                } else {
                    Answer::Run { forced }
                };
                say(connection, &answer);
            }
        }
    }

    /// The number of the client's terminal, if sshd made it for this session and nobody has it relayed.
    fn client_terminal(&self, session: &Session, outer: &OwnedFd) -> Result<u32, Why> {
        let number = terminal::number_of(outer).map_err(|error| error.to_string())?;
        let number = number.ok_or("what was handed over is no terminal of this host")?;
        let served = terminal::is_served_by(session.monitor.pid, number);
        if !served.map_err(|error| format!("sshd's terminals cannot be seen: {error}"))? {
            return Err("the terminal is not one that sshd made for this login".into());
        }
        if self.channels.open.values().any(|channel| channel.outer == number) {
            return Err("the terminal is relayed already".into());
        }
        Ok(number)
    }

    /// Hands the terminal to a recorder; says which channel it is, and whether what passes is kept.
    fn begin_relay(
        &mut self,
        (session, uid): (&Session, u32),
        (number, outer, term): (u32, OwnedFd, Option<String>),
        (answer, connection): (&Answer, &std::os::unix::net::UnixStream),
        now: Now,
    ) -> Result<(ChannelId, bool), Why> {
        let id = session.id;
        let recorder_uid =
            self.recorder_uid.ok_or("there is no user curfew-rec; run `curfew-agent install`")?;
        let recorder =
            Recorder::reach().map_err(|error| format!("no recorder can be reached: {error}"))?;
        let inner =
            Terminal::make(uid).map_err(|error| format!("there is no terminal for it: {error}"))?;
        let channel = ChannelId::new(getrandom::u64().map_err(|error| error.to_string())?);
        let (keep, file) = self.keeping(session, (channel, term), now)?.unzip();
        let kept = keep.is_some();
        // From here on nobody of the user's can open the client's terminal.
        let owner = Some(rustix::fs::Uid::from_raw(recorder_uid));
        rustix::fs::fchown(&outer, owner, None)
            .map_err(|error| format!("the client's terminal cannot be taken over: {error}"))?;
        let start = Start {
            version: wire::VERSION,
            session: id,
            channel,
            outer: number,
            inner: inner.number,
            keep,
        };
        // The answer comes first on the connection; then it is the recorder's.
        say(connection, answer);
        let begun = recorder.begin(&start, connection, (&outer, &inner), file.as_ref());
        if let Err(error) = begun {
            self.forget_recording((id, channel));
            return Err(format!("the recorder took no terminal: {error}"));
        }
        let open = Channel {
            session: id,
            outer: number,
            inner: inner.number,
            passed: Passed::default(),
            heard: now.up,
            connected: false,
        };
        self.channels.open.insert(channel, open);
        self.counted(id, channel, now.up, now);
        Ok((channel, kept))
    }

    /// How what passes is kept; nothing where it is not to be. Where it should be and cannot, the terminal is refused or
    /// goes on without, as the session's role has it.
    fn keeping(
        &mut self,
        session: &Session,
        what: (ChannelId, Option<String>),
        now: Now,
    ) -> Result<Option<(Keep, File)>, Why> {
        let (required, keeps) = recording(session);
        if !keeps {
            return Ok(None);
        }
        match self.begin_recording(session, what, required) {
            Ok(kept) => Ok(Some(kept)),
            Err(why) if required => Err(why),
            Err(why) => {
                tracing::error!(session = %session.id, "a terminal is not kept: {why}");
                let event =
                    ChannelEvent::Unrelayed { why: format!("{NOT_KEPT}{why}"), refused: false };
                self.record(Some(session.id), Event::Channel(event), now);
                Ok(None)
            }
        }
    }

    fn reported(&mut self, connection: u64, report: Report, now: Now) {
        match report {
            Report::Here { session, channel, outer, inner, passed } => {
                if self.sessions.find(session).is_none() {
                    tracing::warn!(%session, %channel, "a recorder relays for a session that is not known");
                    return;
                }
                self.channels.connections.insert(connection, channel);
                let open = self.channels.open.entry(channel).or_insert_with(|| {
                    tracing::info!(%session, %channel, "a relayed terminal is taken up again");
                    Channel { session, outer, inner, passed, heard: now.up, connected: true }
                });
                open.connected = true;
                // It was opened before; what is known of its client is when something was typed last.
                self.counted(
                    session,
                    channel,
                    passed.typed_at.unwrap_or_default().min(now.up),
                    now,
                );
                self.passed(channel, passed, now);
            }
            Report::Passed(passed) => {
                if let Some(channel) = self.channels.connections.get(&connection).copied() {
                    self.passed(channel, passed, now);
                }
            }
            Report::Over { passed, end, kept } => {
                if let Some(channel) = self.channels.connections.remove(&connection) {
                    self.passed(channel, passed, now);
                    self.channel_over(channel, Some(passed), (end, kept), now);
                }
            }
        }
    }

    /// Takes what has passed so far; what was typed is told to whoever ends what is idle, at the moment it was typed.
    fn passed(&mut self, channel: ChannelId, passed: Passed, now: Now) {
        let Some(open) = self.channels.open.get_mut(&channel) else { return };
        let typed = passed.typed.saturating_sub(open.passed.typed);
        let grew = passed.kept > open.passed.kept;
        open.heard = now.up;
        open.passed = passed;
        let session = open.session;
        if grew {
            self.recording_grew((session, channel));
        }
        let at = passed.typed_at.unwrap_or(now.up).min(now.up);
        let word = Relayed::Typed(activity::Channel(channel.number()), typed);
        let actions = self.sessions.step(Input::Relayed { session, word }, at);
        self.perform(actions, now);
    }

    /// Tells whoever ends what is idle that a terminal is relayed: what is typed on it is told from now on.
    fn counted(&mut self, session: SessionId, channel: ChannelId, at: Uptime, now: Now) {
        let channel = activity::Channel(channel.number());
        let word = Relayed::Opened(channel, activity::Kind::Terminal);
        let actions = self.sessions.step(Input::Relayed { session, word }, at);
        self.perform(actions, now);
    }

    fn channel_over(
        &mut self,
        channel: ChannelId,
        passed: Option<Passed>,
        (end, kept): (End, Option<Kept>),
        now: Now,
    ) {
        let Some(open) = self.channels.open.remove(&channel) else { return };
        let (session, word) = (open.session, Relayed::Closed(activity::Channel(channel.number())));
        let actions = self.sessions.step(Input::Relayed { session, word }, now.up);
        self.perform(actions, now);
        let passed = passed.unwrap_or(open.passed);
        self.recording_ended((session, channel), end);
        if end == End::Lost {
            tracing::error!(session = %open.session, %channel, "the recorder of a terminal is gone, and the terminal with it");
        }
        let event = ChannelEvent::Closed { channel, passed, end, kept };
        self.record(Some(open.session), Event::Channel(event), now);
    }

    /// Leaves word for `curfew-pty` of what a login may do, for when the agent cannot be asked.
    pub(super) fn leave_word(&self, session: &Session) -> Result<(), String> {
        let standing = Standing {
            version: wire::VERSION,
            required: recording(session).0,
            forced: session.forced.clone(),
        };
        let bytes = serde_json::to_vec(&standing).map_err(|error| error.to_string())?;
        store::write_bytes(&self.word_path(session.monitor), &bytes, 0o644)
            .map_err(|error| error.to_string())
    }

    pub(super) fn take_word_back(&self, monitor: Monitor) {
        if let Err(error) = store::remove(&self.word_path(monitor)) {
            tracing::error!(%error, "what was said of a login that is over still stands");
        }
    }

    fn word_path(&self, monitor: Monitor) -> PathBuf {
        self.places.logins.join(format!("{}-{}", monitor.pid, monitor.start_ticks))
    }
}

/// What is to run, and whether it is relayed.
fn judge(session: Option<Result<&Session, ()>>, terminal: bool) -> Verdict {
    match session {
        None => Verdict::Outside,
        Some(Err(())) => Verdict::Refuse("this session is not known; log in again".into()),
        Some(Ok(Session { state: State::Ending { .. }, .. })) => {
            Verdict::Refuse("this session is ending".into())
        }
        Some(Ok(session)) if terminal => Verdict::Relay(session.forced.clone()),
        Some(Ok(session)) => Verdict::Run(session.forced.clone()),
    }
}

/// Whether a session must be recorded, and whether what passes its terminals is kept.
fn recording(session: &Session) -> (bool, bool) {
    let Recording { level, need } = session.limits.recording;
    (need == Need::Required, level == Level::Full)
}

/// What the certificate of a login forces.
pub(super) fn forced(options: &BTreeMap<String, Octets>) -> Option<Octets> {
    options.get(FORCE_COMMAND).cloned()
}

fn say(connection: &std::os::unix::net::UnixStream, answer: &Answer) {
    if let Err(error) = pty::passing::send(connection, answer, &[]) {
        tracing::debug!(%error, "who asked about a channel did not wait for the answer");
    }
}

/// Before the reason why a terminal that is relayed is not kept.
const NOT_KEPT: &str = "what passes it is not kept: ";
/// After this, a recorder that is not connected is gone. It tries once a second.
const UNHEARD: std::time::Duration = std::time::Duration::from_secs(5);
