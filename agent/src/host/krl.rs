//! Lists of revoked keys: taken from the authority part by part, handed to the keeper, and said to be in place.

use wire::hostlink::ToAuthority;
use wire::krl::signed::{KrlAsk, KrlPart, KrlStanding, SignedKrl};
use wire::record::{Event, KrlEvent};
use wire::time::Uptime;

use super::{Host, Link};
use crate::clock::Now;
use crate::krl::assembly::{Assembly, Next};
use crate::krl::keeper::{Keeper, Report};

/// How the host is with lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    keeper: Option<Keeper>,
    /// Said by the keeper; nothing where nobody keeps the list.
    standing: Option<KrlStanding>,
    /// The list that is coming.
    coming: Option<Assembly>,
    /// The newest version that was announced on this connection.
    announced: u64,
    /// When it was last asked for.
    asked: Option<Uptime>,
    /// What was recorded last, and when, so that who spoils the file again and again does not fill the spool.
    said: Option<(KrlEvent, Uptime)>,
}

impl Lists {
    /// How it stands with lists, as the authority is told.
    pub(super) fn standing(&self) -> Option<KrlStanding> {
        self.standing.clone()
    }

    /// A connection has begun: what was coming on the one before never comes.
    pub(super) fn begin_again(&mut self) {
        self.coming = None;
        self.announced = 0;
        self.asked = None;
    }
}

impl Host {
    /// From now on the list of revoked keys is kept by `keeper`, which has said `first`.
    pub fn keep_lists(&mut self, keeper: Keeper, first: Report, now: Now) {
        self.lists.keeper = Some(keeper);
        self.list_reported(first, now);
    }

    /// Takes what the keeper says. The authority is told at once.
    pub fn list_reported(&mut self, report: Report, now: Now) {
        let Report { standing, event } = report;
        if let Some(event) = event {
            self.record_list(event, (standing.version, now));
        }
        if self.lists.standing.as_ref() != Some(&standing) {
            self.lists.standing = Some(standing);
            self.beat(now);
        }
    }

    /// Only once an authority has sent a list: an older one would not know what this is.
    fn record_list(&mut self, event: KrlEvent, (version, now): (u64, Now)) {
        let is_known = version > 0 || matches!(event, KrlEvent::Refused { .. });
        let is_said = self
            .lists
            .said
            .as_ref()
            .is_some_and(|(said, at)| *said == event && now.up.since(*at) < SAID_AGAIN);
        if is_known && !is_said {
            self.lists.said = Some((event.clone(), now.up));
            self.record(None, Event::Krl(event), now);
        }
    }

    /// A newer list than ours is asked for; any other is passed over.
    pub(super) fn list_announced(&mut self, announced: SignedKrl, now: Now) {
        let Some(standing) = &self.lists.standing else { return };
        let version = announced.version;
        let standing_version = standing.version;
        self.lists.announced = self.lists.announced.max(version);
        if version <= standing_version {
            tracing::info!(
                version,
                "a list of revoked keys was announced that is not newer than ours"
            );
            return;
        }
        match Assembly::begin(announced) {
            Ok(assembly) => self.list_goes_on(assembly, now),
            Err(reason) => {
                tracing::error!(version, %reason, "a list of revoked keys was refused");
                let refused = KrlEvent::Refused { version, reason };
                self.record_list(refused, (standing_version, now));
            }
        }
    }

    pub(super) fn list_part(&mut self, part: &KrlPart, now: Now) {
        let Some(mut assembly) = self.lists.coming.take() else {
            tracing::warn!("a part of a list of revoked keys came that was not asked for");
            return;
        };
        assembly.add(part);
        self.list_goes_on(assembly, now);
    }

    fn list_goes_on(&mut self, assembly: Assembly, now: Now) {
        let (rest, next) = assembly.next();
        self.lists.coming = rest;
        self.lists.asked = Some(now.up);
        match next {
            Next::Ask(ask) => self.outbox.push(ToAuthority::KrlAsk(ask)),
            Next::Whole(received) => {
                let keys = self.believed.order_keys.iter().map(|key| key.key().clone());
                if let Some(keeper) = &self.lists.keeper {
                    keeper.take(received, keys.collect());
                }
            }
        }
    }

    /// From time to time: the files are looked at, and a list that did not come or was refused is asked for again.
    pub fn lists_look(&mut self, now: Now) {
        if let Some(keeper) = &self.lists.keeper {
            keeper.look();
        }
        let placed = self.lists.standing.as_ref().map_or(0, |standing| standing.version);
        let is_due = self.lists.asked.is_none_or(|at| now.up.since(at) > ASK_AGAIN);
        let is_behind = placed < self.lists.announced;
        if is_behind && is_due && self.link.as_ref().is_some_and(Link::is_welcome) {
            self.lists.asked = Some(now.up);
            self.lists.coming = None;
            let ask = KrlAsk { version: self.lists.announced, offset: 0 };
            self.outbox.push(ToAuthority::KrlAsk(ask));
        }
    }
}

/// After this without a step forward, a list is asked for from its beginning.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);
/// The same is recorded again after this.
const SAID_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
