//! A request to custodians: terms, for one group, once.

use rand_core::{CryptoRng, RngCore};
use sha2::{Digest as _, Sha256};
use wire::breakglass::SERIAL_BITS;
use wire::identifier::Serial;
use wire::time::Timestamp;

use crate::bytes::{Malformed, Reader, Writer};
use crate::group::Group;
use crate::letter::{self, Kind, Letter, LetterFlaw};
use crate::terms::{Terms, TermsFlaw};

/// Terms that custodians of one group are asked to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) group: [u8; 32],
    pub(crate) terms: Terms,
    /// Makes it another request than any before, and its serial another serial.
    pub(crate) random: [u8; 16],
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestFlaw {
    /// It is no letter.
    #[error(transparent)]
    Letter(#[from] LetterFlaw),
    /// Its content.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// What it asks for.
    #[error(transparent)]
    Terms(#[from] TermsFlaw),
    /// It is for another group, or for shares from before new ones were made.
    #[error("the request is for another group, or for shares of another generation")]
    Group,
    /// Somebody is named who holds no share.
    #[error("{0} is no custodian of this group")]
    Stranger(String),
    /// Fewer than must sign.
    #[error("{found} custodians are named, and {needed} must sign")]
    Few {
        /// Those that are named.
        found: usize,
        /// Those that must.
        needed: u8,
    },
    /// They are not in their order.
    #[error("custodians are named in the order of the group")]
    Order,
    /// The time that it asks for is over.
    #[error("what it asks for ended {} seconds ago by this machine's clock; make a new request, or set the clock", .0)]
    Over(u64),
    /// It asks for a time that is far away.
    #[error("it begins {} seconds from now by this machine's clock, and at most {MAX_AHEAD} are allowed; make it later, or set the clock", .0)]
    Ahead(u64),
    /// The group is not to be used any more.
    #[error(
        "this group expired; its hosts should believe a newer key by now. Look for the newer kit"
    )]
    Expired,
}

impl Request {
    /// A request to `group`. Custodians are put in their order.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(
        group: &Group,
        mut terms: Terms,
        random: &mut (impl RngCore + CryptoRng),
    ) -> Result<Self, RequestFlaw> {
        terms.custodians.sort_by_key(|name| group.number(name));
        terms.check()?;
        let mut bytes = [0; 16];
        random.fill_bytes(&mut bytes);
        let request = Self { group: group.digest(), terms, random: bytes };
        request.fits(group)?;
        Ok(request)
    }

    /// Reads a request from its letter.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &str) -> Result<Self, RequestFlaw> {
        Self::decode(&Letter::read(text)?.expect(Kind::Request)?)
    }

    /// Whether `group` can sign it.
    ///
    /// # Errors
    /// Why not.
    pub fn fits(&self, group: &Group) -> Result<(), RequestFlaw> {
        if self.group != group.digest() {
            return Err(RequestFlaw::Group);
        }
        let mut last = 0;
        for name in &self.terms.custodians {
            let number =
                group.number(name).ok_or_else(|| RequestFlaw::Stranger(name.to_string()))?;
            if number <= last {
                return Err(RequestFlaw::Order);
            }
            last = number;
        }
        let found = self.terms.custodians.len();
        if found < usize::from(group.threshold()) {
            return Err(RequestFlaw::Few { found, needed: group.threshold() });
        }
        Ok(())
    }

    /// Whether its time is a time to sign it at, by a clock that may be wrong.
    ///
    /// # Errors
    /// When it is over, or far away, or the group is.
    pub fn timely(&self, group: &Group, now: Timestamp) -> Result<(), RequestFlaw> {
        let (from, until) = (self.terms.from, self.terms.until());
        if until <= now {
            return Err(RequestFlaw::Over(now.since(until).as_secs()));
        }
        let ahead = from.since(now).as_secs();
        if ahead > MAX_AHEAD {
            return Err(RequestFlaw::Ahead(ahead));
        }
        if group.expires() <= now { Err(RequestFlaw::Expired) } else { Ok(()) }
    }

    /// What is asked for.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The request as a letter.
    #[must_use]
    pub fn letter(&self) -> Letter {
        Letter::new(Kind::Request, self.encode())
    }

    /// What custodians compare, when they got the request in different ways.
    #[must_use]
    pub fn code(&self) -> String {
        letter::code(&self.digest())
    }

    /// What every message about it is bound to.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update("curfew break-glass request\0")
            .chain_update(self.encode())
            .finalize()
            .into()
    }

    /// The serial of its certificate: 61 bits of its hash, so that nobody chooses it, everybody gets the same, and two requests
    /// share one only by chance (one in 2^41 after a thousand requests).
    #[must_use]
    pub fn serial(&self) -> Serial {
        let [a, b, c, d, e, f, g, h, ..] = self.digest();
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) & SERIAL_BITS;
        wire::breakglass::serial(number)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.raw(&self.group).raw(&self.random).raw(&self.terms.encode());
        to.done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RequestFlaw> {
        let mut from = Reader::new(bytes);
        let (group, random) = (from.array()?, from.array()?);
        let terms = Terms::decode(&mut from)?;
        from.end()?;
        Ok(Self { group, terms, random })
    }
}

/// How far ahead a request may begin, in seconds: a day, for a maintenance that is planned while all is still up.
pub const MAX_AHEAD: u64 = 86_400;
