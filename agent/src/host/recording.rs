//! Recordings of terminals on their way: which are kept and how, and to the authority block by block, beside everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::Duration;

use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{PrivateKey, Signature, SigningKey};
use wire::channel::{ChannelId, End, HOLD, KEEP_ON, Keep};
use wire::hostlink::{RecordTo, RecordingStanding, ToAuthority};
use wire::log::LogKey;
use wire::octets::Octets;
use wire::order::Order;
use wire::record::{Event, Incident, Meddled};
use wire::recording::block::Block;
use wire::recording::lane::{Answer, PART_BYTES, Part, Refusal, Upload, WINDOW};
use wire::recording::statement::{BlockSaid, Closed, Received, Said, Signed};
use wire::time::Uptime;

use super::Host;
use crate::clock::Now;
use crate::config::{Config, Room};
use crate::recording::{Next, Of, Reel, Shelf};
use crate::session::Session;
use crate::store::{self, StoreError};

/// Every recording on this host.
#[derive(Debug)]
pub(super) struct Recordings {
    shelf: Shelf,
    reels: BTreeMap<Of, Reel>,
    /// Those that may have something for the authority.
    waiting: BTreeSet<Of>,
    under_way: Option<Box<UnderWay>>,
    /// The one that was sent last, so that each has its turn.
    turn: Option<Of>,
    /// Before this nothing is tried again that the authority cannot take now.
    not_before: Uptime,
    /// Whether this authority takes recordings.
    pub(super) taken: bool,
    /// Whether it takes records as they lie sealed.
    sealed: bool,
    /// Why nothing more is kept that need not be, while that is so.
    full: Option<String>,
    room: Room,
    next_look: Uptime,
    /// Channels of recordings from before, until their recorders are heard of.
    unheard: Option<Uptime>,
}

/// What is being sent.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them, behind a box")]
enum UnderWay {
    Block { of: Of, block: Block, said: Signed, sent: usize, taken: usize },
    Closing { of: Of },
}

impl UnderWay {
    const fn of(&self) -> Of {
        match self {
            Self::Block { of, .. } | Self::Closing { of } => *of,
        }
    }
}

impl Recordings {
    /// Takes up what lies on the disk.
    pub(super) fn open(config: &Config) -> Result<Self, StoreError> {
        let (shelf, reels) = Shelf::open(&config.state_dir)?;
        let reels: BTreeMap<Of, Reel> = reels.into_iter().map(|reel| (reel.of(), reel)).collect();
        Ok(Self {
            shelf,
            waiting: reels.keys().copied().collect(),
            reels,
            under_way: None,
            turn: None,
            not_before: Uptime::from_nanos(0),
            taken: false,
            sealed: false,
            full: None,
            room: config.room,
            next_look: Uptime::from_nanos(0),
            unheard: None,
        })
    }

    /// What stays free on the disk: what the settings say, or a twentieth of it, whichever is less.
    fn reserve(&self) -> u64 {
        let size = self.shelf.free().map_or(u64::MAX, |(_, size)| size / 20);
        self.room.reserve.min(size)
    }

    /// The link is new: what was under way begins anew.
    pub(super) fn begin_again(&mut self) {
        self.give_up();
        self.taken = false;
    }

    /// What is under way is not any more; it has its turn again.
    fn give_up(&mut self) {
        if let Some(sent) = self.under_way.take() {
            self.waiting.insert(sent.of());
        }
    }

    /// How many recordings the authority does not have to their end.
    pub(super) fn waiting(&self) -> usize {
        self.reels.len()
    }

    /// Why nothing more is kept that need not be.
    pub(super) fn full(&self) -> Option<&str> {
        self.full.as_deref()
    }
}

impl Host {
    /// How a terminal of this session is kept, and the file for it; why not, where that cannot be.
    pub(super) fn begin_recording(
        &mut self,
        session: &Session,
        (channel, term): (ChannelId, Option<String>),
        required: bool,
    ) -> Result<(Keep, File), String> {
        let Some(RecordTo { key, .. }) = self.trust.recording else {
            return Err("the authority has named no key to record to".into());
        };
        if self.upkeep.agent_key().is_none() {
            return Err(
                "this host enrolled before recordings; enrol it again (`curfew-agent enroll`)"
                    .into(),
            );
        }
        if let Some(full) = &self.recordings.full {
            return Err(full.clone());
        }
        let of = (session.id, channel);
        let (reel, file) = self
            .recordings
            .shelf
            .begin(of)
            .map_err(|error| format!("it cannot be kept: {error}"))?;
        self.recordings.reels.insert(of, reel);
        let reserve = self.recordings.reserve();
        let quota = self.recordings.room.one;
        Ok((Keep { key, quota, reserve, required, term }, file))
    }

    /// A recording that never began.
    pub(super) fn forget_recording(&mut self, of: Of) {
        let Some(reel) = self.recordings.reels.remove(&of) else { return };
        if let Err(error) = self.recordings.shelf.remove(&reel) {
            tracing::error!(%error, "a recording that never began is still there");
        }
    }

    /// More was written.
    pub(super) fn recording_grew(&mut self, of: Of) {
        if self.recordings.reels.contains_key(&of) {
            self.recordings.waiting.insert(of);
        }
    }

    /// Nothing more will be written; `end` says why where the recorder has not.
    pub(super) fn recording_ended(&mut self, of: Of, end: End) {
        if let Some(reel) = self.recordings.reels.get_mut(&of) {
            reel.end(Some(end));
            self.recordings.waiting.insert(of);
        }
    }

    /// Whether there is room, from time to time; and recordings from before whose recorders are gone are over.
    pub fn look_at_recordings(&mut self, now: Now) {
        let since = *self.recordings.unheard.get_or_insert(now.up);
        if now.up.since(since) > RECORDERS_COME_BACK {
            let open = self.channels.recordings();
            let over = |(of, reel): (&Of, &Reel)| {
                (reel.ended().is_none() && !open.contains(of)).then_some(*of)
            };
            let over: Vec<Of> = self.recordings.reels.iter().filter_map(over).collect();
            for of in over {
                self.recording_ended(of, End::Lost);
            }
        }
        if now.up < self.recordings.next_look {
            return;
        }
        self.recordings.next_look = now.up.after(LOOK);
        let full = self.room();
        if full.is_some() != self.recordings.full.is_some() {
            match &full {
                Some(why) => tracing::error!("terminals are not kept that need not be: {why}"),
                None => tracing::info!("there is room for recordings again"),
            }
            self.channels.say(if full.is_some() { HOLD } else { KEEP_ON });
        }
        self.recordings.full = full;
    }

    /// Why there is no room, when there is none.
    fn room(&self) -> Option<String> {
        let all = self.recordings.room.all;
        let used = self.recordings.shelf.used();
        if used > all {
            return Some(format!(
                "recordings that the authority does not have yet take {used} bytes of {all} (setting `recordings_quota`)"
            ));
        }
        match self.recordings.shelf.free() {
            Ok((free, _)) if free < self.recordings.reserve() => Some(format!(
                "the disk has {free} bytes left, which are kept for records (setting `disk_reserve`)"
            )),
            Ok(_) => None,
            Err(error) => Some(format!("the disk does not say how full it is: {error}")),
        }
    }

    /// Why a session that must be recorded cannot be; asked when it begins.
    pub(super) fn cannot_record(&self, keeps_terminals: bool) -> Option<String> {
        if let Some(full) = &self.recordings.full {
            return Some(full.clone());
        }
        if !self.spool.has_room() {
            return Some(
                "records wait for the authority, and take all that `records_quota` allows".into(),
            );
        }
        if !self.unwritten.is_empty() {
            return Some("the disk of this host takes no records".into());
        }
        if !keeps_terminals {
            return None;
        }
        match (self.trust.recording, self.upkeep.agent_key()) {
            (None, _) => Some("the authority has named no key to record terminals to".into()),
            (_, None) => Some("this host enrolled before recordings; enrol it again".into()),
            _ => None,
        }
    }

    /// What the host says in its hello.
    pub(super) fn recording_standing(&self) -> RecordingStanding {
        RecordingStanding { key: self.trust.recording.map(|to| to.key.name()) }
    }

    /// Records to another key, because an order says so: the next recordings, not those that run.
    pub(super) fn record_to(&mut self, order: &Order) {
        let Some(key) = order.recording else { return };
        let number = order.number.number();
        if self.trust.recording.is_some_and(|to| to.order >= number) {
            return;
        }
        let seals = self.recordings.sealed || self.trust.recording.is_some_and(|to| to.seals);
        let mut trust = self.trust.clone();
        trust.recording = Some(RecordTo { key, order: number, seals });
        match store::write(&self.places.trust, &trust) {
            Ok(()) => {
                tracing::warn!(order = number, %key, "terminals are recorded to another key");
                self.trust = trust;
                self.seal_records();
            }
            Err(error) => {
                tracing::error!(order = number, %error, "another key to record to could not be kept; it is told again");
            }
        }
    }

    /// The authority has said whether it takes records sealed. Once it did, they are sealed from then on, whatever a link
    /// says later.
    pub(super) fn told_to_seal(&mut self, sealed: bool) {
        self.recordings.sealed = sealed;
        let Some(to) = self.trust.recording.filter(|to| sealed && !to.seals) else { return };
        let mut trust = self.trust.clone();
        trust.recording = Some(RecordTo { seals: true, ..to });
        if let Err(error) = store::write(&self.places.trust, &trust) {
            tracing::error!(%error, "that records are sealed could not be kept; it is told again");
            return;
        }
        self.trust = trust;
        self.seal_records();
    }

    /// Seals records from now on, where the authority has said that it takes them so.
    pub(super) fn seal_records(&mut self) {
        let Some(to) = self.trust.recording.filter(|to| to.seals) else { return };
        let whose = (self.trust.host.clone(), self.upkeep.agent_key().cloned());
        match self.spool.seal_to(to.key, whose) {
            Ok(()) => tracing::info!(key = %to.key, "records are sealed to the authority's key"),
            Err(error) => tracing::error!(%error, "records cannot be sealed"),
        }
    }

    /// What was found in the spool that is not as it was written is an incident.
    pub(super) fn tell_found(&mut self, now: Now) {
        for what in self.spool.take_found() {
            self.tell_meddled(what, now);
        }
    }

    /// The order about it came before this agent knew what it says.
    pub(super) fn told_again(&mut self, signed: &wire::order::SignedOrder) {
        match signed.verify_any(&self.believed.order_keys) {
            Ok(order) if order.number.number() <= self.revocation.last_order => {
                self.record_to(&order);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "an order about recordings was not believed"),
        }
    }

    /// Takes what the authority says of recordings.
    pub(super) fn hear_of_recordings(&mut self, answer: Answer, now: Now) {
        match answer {
            Answer::Taken { channel, block, upto } => {
                if let Some(UnderWay::Block { of, block: sent, taken, .. }) =
                    self.recordings.under_way.as_deref_mut()
                    && (of.1, sent.header().number) == (channel, block)
                {
                    let upto = usize::try_from(upto).unwrap_or(usize::MAX);
                    *taken = upto.min(sent.bytes().len()).max(*taken);
                }
            }
            Answer::Received(signed) => self.received(&signed, now),
            Answer::Refused(refusal) => self.recording_refused(&refusal, now),
        }
    }

    fn received(&mut self, signed: &Signed, now: Now) {
        let received: Received = match signed.read(&self.ledger_keys()) {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(%error, "an acknowledgement of a recording was not believed");
                self.link = None;
                return;
            }
        };
        if received.host != self.trust.host {
            return;
        }
        let of = (received.session, received.channel);
        if self.recordings.under_way.as_ref().is_some_and(|sent| sent.of() == of) {
            self.recordings.under_way = None;
        }
        let Some(reel) = self.recordings.reels.get_mut(&of) else { return };
        if let Err(why) = reel.received(&received) {
            self.set_aside(of, &why, now);
        } else if received.closed {
            if let Some(reel) = self.recordings.reels.remove(&of)
                && let Err(error) = self.recordings.shelf.remove(&reel)
            {
                tracing::error!(%error, "a recording that the authority has is still here");
            }
            self.recordings.waiting.remove(&of);
        } else {
            self.recordings.waiting.insert(of);
        }
    }

    fn recording_refused(&mut self, refusal: &Refusal, now: Now) {
        let of = (refusal.session, refusal.channel);
        self.recordings.give_up();
        if refusal.later {
            tracing::warn!(session = %of.0, channel = %of.1, why = refusal.why, "the authority cannot take a recording now");
            self.recordings.not_before = now.up.after(LATER);
        } else {
            self.set_aside(of, &refusal.why, now);
        }
    }

    /// One that is not what was written: it is moved aside with one alert, and no other waits for it.
    fn set_aside(&mut self, of: Of, why: &str, now: Now) {
        let Some(reel) = self.recordings.reels.remove(&of) else { return };
        tracing::error!(session = %of.0, channel = %of.1, why, "a recording is moved aside");
        self.recordings.shelf.set_aside(&reel);
        self.recordings.waiting.remove(&of);
        self.recordings.under_way.take_if(|sent| sent.of() == of);
        let what = format!(
            "the recording of channel {} of session {} is broken after block {}: {why}",
            of.1,
            of.0,
            reel.has().blocks()
        );
        let meddled = Meddled { what, mended: false };
        self.record(Some(of.0), Event::Incident(Box::new(Incident::Meddled(meddled))), now);
        let (end, broken) = (reel.ended().flatten(), true);
        let closed = self.closed(&reel, (end, 0, broken));
        if let (Some(signed), true) = (closed, self.recordings.taken) {
            self.outbox.push(ToAuthority::Recording(Box::new(Upload::Closed(signed))));
        }
    }

    /// Sends parts, as far as the authority has taken those before and the link has room for them.
    pub(super) fn send_recordings(&mut self, up: Uptime) {
        if !self.recordings.taken || up < self.recordings.not_before || self.link.is_none() {
            return;
        }
        if self.recordings.under_way.is_none() {
            self.take_up_next();
        }
        let Some(UnderWay::Block { of, block, said, sent, taken }) =
            self.recordings.under_way.as_deref_mut()
        else {
            return;
        };
        let Some(link) = &self.link else { return };
        let whole = block.bytes().len();
        while *sent < whole && sent.saturating_sub(*taken) < WINDOW && link.has_room() {
            let end = whole.min(sent.saturating_add(PART_BYTES));
            let Some(bytes) = block.bytes().get(*sent..end) else { return };
            let (Ok(at), Ok(length)) = (u32::try_from(*sent), u32::try_from(whole)) else { return };
            let part = Part {
                session: of.0,
                channel: of.1,
                block: block.header().number,
                whole: length,
                at,
                bytes: Octets::new(bytes),
                said: (end == whole).then(|| said.clone()),
            };
            if !link.send(ToAuthority::Recording(Box::new(Upload::Part(part)))) {
                return;
            }
            *sent = end;
        }
    }

    /// The next block of a recording whose turn it is, or its closing.
    fn take_up_next(&mut self) {
        while self.recordings.under_way.is_none() {
            let waiting = &self.recordings.waiting;
            let after = self.recordings.turn.and_then(|turn| {
                waiting.range((std::ops::Bound::Excluded(turn), std::ops::Bound::Unbounded)).next()
            });
            let Some(of) = after.or_else(|| waiting.first()).copied() else { return };
            self.recordings.turn = Some(of);
            self.recordings.waiting.remove(&of);
            let Some(reel) = self.recordings.reels.get(&of) else { continue };
            let next = match reel.next() {
                Ok(next) => next,
                Err(error) => Next::Broken(error.to_string()),
            };
            let torn = match next {
                Next::Block(block) => {
                    let said = Said::Block(BlockSaid::of(&self.trust.host, &block));
                    let Some(said) = self.signed(&said) else { return };
                    let block = UnderWay::Block { of, block, said, sent: 0, taken: 0 };
                    self.recordings.under_way = Some(Box::new(block));
                    return;
                }
                Next::Broken(why) => {
                    self.set_aside(of, &why, crate::clock::now());
                    continue;
                }
                Next::Nothing => 0,
                Next::Torn(bytes) => bytes,
            };
            let Some(end) = reel.ended() else { continue };
            let end = end.filter(|_| !reel.has().has_ended());
            let Some(signed) = self.closed(reel, (end, torn, false)) else { return };
            let closing = ToAuthority::Recording(Box::new(Upload::Closed(signed)));
            if !self.link.as_ref().is_some_and(|link| link.has_room() && link.send(closing)) {
                self.recordings.waiting.insert(of);
                return;
            }
            self.recordings.under_way = Some(Box::new(UnderWay::Closing { of }));
        }
    }

    fn closed(&self, reel: &Reel, (end, torn, broken): (Option<End>, u64, bool)) -> Option<Signed> {
        let (session, channel) = reel.of();
        let closed = Closed {
            version: wire::VERSION,
            host: self.trust.host.clone(),
            session,
            channel,
            blocks: reel.has().blocks(),
            head: reel.has().head(),
            end,
            torn,
            broken,
        };
        self.signed(&Said::Closed(closed))
    }

    /// Signed by the agent's key.
    fn signed(&self, said: &Said) -> Option<Signed> {
        let key: &PrivateKey = self.upkeep.agent_key()?;
        match Signed::make(said, key.public_key(), |message| raw(key, message)) {
            Ok(signed) => Some(signed),
            Err(error) => {
                tracing::error!(%error, "what is said of a recording could not be signed");
                None
            }
        }
    }

    /// The keys by which the authority says what it has.
    fn ledger_keys(&self) -> Vec<KeyData> {
        let keys = self.trust.log_keys.iter().filter_map(|text| text.parse::<LogKey>().ok());
        keys.map(|key| KeyData::Ed25519(Ed25519PublicKey(key.public()))).collect()
    }

    /// Before the agent ends: how far the authority has each recording.
    pub fn note_recordings(&mut self) {
        for reel in self.recordings.reels.values_mut() {
            reel.write_down();
        }
    }
}

fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
    Ok(key.try_sign(message)?)
}

/// An authority that cannot take a recording is asked again after this.
const LATER: Duration = Duration::from_secs(5);
/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_secs(5);
/// After this, recorders from before the agent's start have come back, or are gone: they try once a second.
const RECORDERS_COME_BACK: Duration = Duration::from_secs(10);
