//! Hearing the authority through the link, and speaking to it.

use tokio::sync::mpsc;
use wire::hostlink::{Heartbeat, Hello, ToAuthority, ToHost, Welcome};
use wire::identifier::OrderNumber;
use wire::octets::Octets;
use wire::order::{Heard, Order, SignedOrder, Unread};
use wire::record::Receipt;
use wire::spool::Sealed;
use wire::time::Uptime;
use wire::trust::Keys;

use super::Host;
use crate::clock::Now;
use crate::feed::Fed;
use crate::revocation::{Revocation, Taken};
use crate::session::Input;
use crate::spool::{Piece, Wanted};
use crate::store;

/// The link as it stands.
#[derive(Debug)]
pub struct Link {
    connection: u64,
    out: mpsc::Sender<ToAuthority>,
    /// Whether the authority shows that the ledger's trees continue each other.
    shows_trees: bool,
    /// Set by the authority's welcome; nothing but the hello goes out before.
    upload: Option<Upload>,
    /// What an ask for certificates carries, from an authority that renews them.
    pub(super) challenge: Option<String>,
}

/// How far records have gone.
#[derive(Debug)]
struct Upload {
    sent: u64,
    acknowledged: u64,
    /// The newest generation of records that the authority reads.
    reads: u32,
    /// Whether it takes records as they lie sealed.
    sealed: bool,
    /// The segment whose beginning it knows, by its first record.
    segment: Option<u64>,
    /// Whether a record waits that it cannot read.
    held_back: bool,
}

impl Link {
    /// Whether the authority answers about trees.
    pub(super) const fn shows_trees(&self) -> bool {
        self.shows_trees
    }

    /// Whether records wait that this authority is too old to read.
    pub(super) fn holds_back(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.held_back)
    }

    /// Whether it takes more, and leaves room for what goes before.
    pub(super) fn has_room(&self) -> bool {
        self.out.capacity() > KEPT_FREE
    }

    /// Sends a frame; whether it was taken.
    pub(super) fn send(&self, frame: ToAuthority) -> bool {
        self.out.try_send(frame).is_ok()
    }

    /// Whether the authority has welcomed the host.
    #[must_use]
    pub const fn is_welcome(&self) -> bool {
        self.upload.is_some()
    }
}

impl Host {
    /// Takes what the link brings.
    pub fn hear(&mut self, fed: Fed, now: Now) {
        match fed {
            Fed::Connected { connection, out } => self.greet(connection, out, now),
            Fed::Gone { connection } => {
                if self.link.as_ref().is_some_and(|link| link.connection == connection) {
                    self.link = None;
                }
            }
            Fed::Frame { connection, frame } => {
                if self.link.as_ref().is_some_and(|link| link.connection == connection) {
                    self.take_frame(frame, now);
                }
            }
        }
    }

    fn greet(&mut self, connection: u64, out: mpsc::Sender<ToAuthority>, now: Now) {
        self.upkeep.renewal.unanswered();
        let hello = Hello {
            version: wire::VERSION,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            tier: self.tier.clone(),
            last_order: self.revocation.last_order,
            at: now.at,
            krl: self.lists.standing(),
            tree: self.witness.newest(),
            proof: Some(self.proofs.mode()),
            renews: true,
            keys: Some(self.trust.digest()),
            era: Some(self.witness.era()),
            recording: Some(self.recording_standing()),
        };
        match out.try_send(ToAuthority::Hello(hello)) {
            Ok(()) => {
                self.witness.hang_up();
                self.lists.begin_again();
                self.recordings.begin_again();
                let (shows_trees, upload, challenge) = (false, None, None);
                self.link = Some(Link { connection, out, shows_trees, upload, challenge });
            }
            Err(error) => tracing::warn!(%error, "a link took no hello"),
        }
    }

    fn take_frame(&mut self, frame: ToHost, now: Now) {
        self.heard_authority(now);
        match frame {
            ToHost::Welcome(welcome) => {
                self.welcomed(&welcome, now);
                self.look_after_certificates(now);
            }
            ToHost::Order(signed) => {
                self.take_order(&signed, now);
                self.look_whether_whole();
            }
            ToHost::Checkpoint(answer) => self.take_continuation(&answer, now),
            ToHost::Recording(answer) => self.hear_of_recordings(*answer, now),
            ToHost::Acknowledged(number) => self.acknowledged(number.number()),
            ToHost::Refused(problem) => {
                tracing::error!(%problem, "the authority refuses this host");
                self.link = None;
            }
            ToHost::Krl(announced) => self.list_announced(announced, now),
            ToHost::KrlPart(part) => self.list_part(&part, now),
            ToHost::RenewNow => self.urged_to_renew(now),
            ToHost::Renewed(answer) => self.take_certificates(answer, now),
            ToHost::Enrolled(_) | ToHost::LinkRenewed(_) => {
                tracing::warn!("the authority answered what was not asked");
            }
        }
    }

    fn welcomed(&mut self, welcome: &Welcome, now: Now) {
        if welcome.version != wire::VERSION {
            tracing::error!(
                theirs = welcome.version,
                ours = wire::VERSION,
                "the authority speaks another version"
            );
            self.link = None;
            return;
        }
        let last = welcome.last_record;
        if last > self.spool.newest() {
            // Our numbering went back: a host restored from an old image. Numbers are never given twice.
            let ours = self.spool.newest();
            tracing::error!(
                theirs = last,
                ours,
                "the authority knows records that are not here any more"
            );
            let what = format!(
                "the authority has records up to {last}, and the spool here ended with {ours}: the host went back to an older state, \
                 as after a loss of power or by an older image put back, or the spool's end was cut off"
            );
            if let Err(error) = self.spool.go_on_after(last) {
                tracing::error!(%error, "records cannot be numbered on");
                self.link = None;
                return;
            }
            self.tell_meddled(what, now);
        }
        let last = self.past_what_is_gone(last, welcome.era);
        if let Some(link) = &mut self.link {
            link.upload = Some(Upload {
                sent: last,
                acknowledged: last,
                reads: welcome.records,
                sealed: welcome.sealed,
                segment: None,
                held_back: false,
            });
            link.shows_trees = welcome.tree.is_some();
            link.challenge.clone_from(&welcome.challenge);
        }
        self.recordings.taken = welcome.recordings;
        self.told_to_seal(welcome.sealed);
        if let Some(signed) = &welcome.recording {
            self.told_again(signed);
        }
        self.told_newest(welcome.newest_order);
        self.followed = None;
        self.follow_ledger(now);
        self.acknowledged(welcome.last_record);
        self.outbox.extend(self.receipts.iter().cloned().map(ToAuthority::Receipt));
        tracing::info!(newest_order = welcome.newest_order, "the authority welcomes this host");
    }

    /// The authority has records up to `number`: of those that were sent to it, and no more.
    fn acknowledged(&mut self, number: u64) {
        let Some(upload) = self.link.as_mut().and_then(|link| link.upload.as_mut()) else {
            return;
        };
        if number > upload.sent {
            tracing::error!(
                number,
                sent = upload.sent,
                "an acknowledgement of what was never sent"
            );
            self.link = None;
            return;
        }
        upload.acknowledged = upload.acknowledged.max(number);
        if let Err(error) = self.spool.acknowledge(number) {
            tracing::warn!(%error, "records that the authority has could not be removed");
        }
    }

    /// An order: verified, in force and acted upon, then durable, and only then said to be in force.
    fn take_order(&mut self, signed: &SignedOrder, now: Now) {
        let order = match signed.hear_any(&self.believed.order_keys) {
            Ok(Heard::Order(order)) => order,
            Ok(Heard::Unread(unread)) => return self.take_unread(&unread, now),
            Err(error) => {
                tracing::error!(%error, "an order was not believed");
                self.link = None;
                return;
            }
        };
        let before = self.revocation.clone();
        match self.revocation.take(&order) {
            Taken::Lock(lock) if lock.holds_at(now.at) => {
                tracing::info!(order = %order.number, target = %lock.target, "a lock is in force");
                let input = Input::Locked { order: order.number, lock };
                let actions = self.sessions.step(input, now.up);
                self.perform(actions, now);
            }
            Taken::Lock(_) | Taken::Unlock => {
                tracing::info!(order = %order.number, "an order is in force");
                self.record_to(&order);
                self.tell_watched(&order, now);
                self.receipt(nothing_ended(order.number));
            }
            Taken::Extend(extension) => {
                self.extend_grant((extension.grant, extension.until), order.number, now);
            }
            Taken::Trust(keys) => return self.take_trust(&keys, (order.number, before), now),
            Taken::Restored(declared) => return self.take_restore(&declared, order.number, now),
            Taken::Known => return,
            Taken::Gap { expected } => {
                tracing::warn!(order = %order.number, expected, "orders are missing; asking again");
                self.link = None;
                return;
            }
        }
        if let Err(error) = store::write(&self.places.revocation, &self.revocation) {
            tracing::error!(order = %order.number, %error, "an order is in force but not durable; asking again");
            // In force in memory, yet unknown by number: the authority sends it again, and is told nothing until then.
            self.revocation.last_order = before.last_order;
            self.outbox.retain(|frame| !matches!(frame, ToAuthority::Receipt(_)));
            self.receipts.retain(|receipt| receipt.order != order.number);
            self.link = None;
        }
    }

    /// Whom somebody watches is told so, on the terminals of the session.
    fn tell_watched(&mut self, order: &Order, now: Now) {
        let Some(watched) = &order.watched else { return };
        if self.sessions.find(watched.session).is_some() {
            let by = wire::octets::plain(&watched.by);
            self.tell(watched.session, format!("{by} is watching this session."), now);
        }
    }

    /// An order of a later version, which this one cannot read. It is not passed over in silence, for it may lock somebody,
    /// and it does not keep later orders from being taken: nobody is let in until the agent can read it.
    fn take_unread(&mut self, order: &Unread, now: Now) {
        let before = (self.revocation.last_order, self.revocation.unread);
        match self.revocation.take_unread(order) {
            Taken::Known => return,
            Taken::Gap { expected } => {
                tracing::warn!(order = %order.number, expected, "orders are missing; asking again");
                self.link = None;
                return;
            }
            _ => {}
        }
        if let Err(error) = store::write(&self.places.revocation, &self.revocation) {
            tracing::error!(order = %order.number, %error, "an order that cannot be read is not durable; asking again");
            (self.revocation.last_order, self.revocation.unread) = before;
            self.link = None;
            return;
        }
        tracing::error!(order = %order.number, passable = order.passable, "an order says what this version cannot read; \
            bring this host to the authority's release");
        // No receipt: it is not known what must be over for it to be done.
        self.look_for_disorder(now);
    }

    /// What is not known of orders, one sentence.
    pub(super) fn unread(&self) -> Option<String> {
        let number = self.revocation.unread?;
        Some(format!(
            "order {number} says what curfew-agent {} cannot read; nobody is let in under the authority until it is brought to the authority's release",
            env!("CARGO_PKG_VERSION")
        ))
    }

    /// Other keys: durable with their order's number, and only then said to be in force.
    fn take_trust(&mut self, keys: &Keys, (order, before): (OrderNumber, Revocation), now: Now) {
        if let Err(error) = self.believe(keys, order) {
            tracing::error!(%order, %error, "other keys are to be believed, and cannot be; asking again");
            self.revocation = before;
            self.link = None;
            return;
        }
        tracing::warn!(%order, keys = %self.trust.digest(), "other keys are believed");
        if let Err(error) = store::write(&self.places.revocation, &self.revocation) {
            tracing::error!(%order, %error, "an order is durable with its keys, and not yet with the locks");
        }
        // Which keys are believed is said before the receipt, so that nobody takes the one without the other.
        self.beat(now);
        self.receipt(nothing_ended(order));
    }

    /// "I am here", to be said every few seconds.
    pub fn beat(&mut self, now: Now) {
        self.look_after_certificates(now);
        if !self.link.as_ref().is_some_and(Link::is_welcome) {
            return;
        }
        self.follow_ledger(now);
        self.outbox.push(ToAuthority::Heartbeat(Heartbeat {
            at: now.at,
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            spooled: self.spool.waiting(),
            last_order: OrderNumber::try_new(self.revocation.last_order).ok(),
            krl: self.lists.standing(),
            certificates: Some(self.upkeep.renewal.standing()),
            keys: Some(self.trust.digest()),
            trouble: self.record_trouble().or_else(|| self.files_trouble()),
            group_keys: Some(self.doors.believed(&self.trust.host)),
        }));
    }

    /// Sends what waits, then records as far as the authority's acknowledgements allow.
    pub(super) fn send(&mut self, up: Uptime) {
        self.send_frames();
        self.send_recordings(up);
    }

    fn send_frames(&mut self) {
        let Some(link) = &mut self.link else {
            self.outbox.clear();
            return;
        };
        let Some(upload) = &mut link.upload else {
            return;
        };
        while let Some(frame) = self.outbox.first() {
            if link.out.try_send(frame.clone()).is_err() {
                return;
            }
            self.outbox.remove(0);
        }
        while upload.sent < self.spool.newest()
            && upload.sent.saturating_sub(upload.acknowledged) < WINDOW
            && link.out.capacity() > KEPT_FREE
            && !upload.held_back
        {
            let wanted = Wanted { bytes: BATCH_BYTES, reads: upload.reads };
            let piece = match self.spool.after(upload.sent, wanted) {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::error!(%error, "records could not be read back");
                    return;
                }
            };
            let Some((frame, last)) = upload.frame(piece) else { return };
            if link.out.try_send(frame).is_err() {
                return;
            }
            upload.sent = last;
        }
    }
}

impl Upload {
    /// A piece of the spool as it travels, and the number of its last record; nothing where there is none that can go.
    fn frame(&mut self, piece: Piece) -> Option<(ToAuthority, u64)> {
        match piece {
            Piece::Nothing => None,
            Piece::Records(records) => {
                let last = records.last()?.number.number();
                Some((ToAuthority::Records(records), last))
            }
            Piece::Sealed(piece) if self.sealed => {
                let is_known = self.segment.replace(piece.segment) == Some(piece.segment);
                let cover = (!is_known).then(|| Octets::new(piece.cover));
                let sealed = Sealed { cover, frames: Octets::new(piece.frames) };
                Some((ToAuthority::Sealed(Box::new(sealed)), piece.last))
            }
            Piece::Beyond | Piece::Sealed(_) => {
                // One that it cannot read would break the link again and again. Nothing is left out: it waits.
                tracing::error!(
                    "the authority is older than this host, or has no recording key, and cannot read its records; they wait here until it can"
                );
                self.held_back = true;
                None
            }
        }
    }
}

pub(super) const fn nothing_ended(order: OrderNumber) -> Receipt {
    Receipt { order, sessions: 0, killed: 0, survivors: 0, took_micros: 0, done: true, kills: 0 }
}

/// Records under way without an acknowledgement.
const WINDOW: u64 = 20_000;
/// Bytes of records in one frame, about; a frame may hold 2 MiB.
const BATCH_BYTES: u64 = 256 * 1024;
/// Places for receipts and heartbeats that records leave free.
const KEPT_FREE: usize = 16;
