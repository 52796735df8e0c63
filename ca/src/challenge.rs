//! Login challenges that cost the authority no memory until they are answered, and a brake on those who answer wrongly.
//!
//! Shape: 32 bytes: when it ends, 8 random bytes, and half of an HMAC over these and the identity, under a key that
//! lives only in this process, or in the ledger that several authorities share. Whoever asks for many fills nothing; an answered one is remembered until it would have
//! ended, so that it serves once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wire::api::Challenge;
use wire::identifier::Identity;
use wire::time::Timestamp;

use crate::random::{self, NoRandomness};

/// Makes challenges and takes each back once.
pub(crate) struct Challenges {
    key: hmac::Key,
    lifetime: Duration,
    /// Answered ones, until they would have ended.
    used: Mutex<BTreeMap<[u8; 32], Timestamp>>,
    /// Wrong answers by where they came from.
    failures: Mutex<BTreeMap<IpAddr, Failures>>,
}

/// Wrong answers from one address.
#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    since: Timestamp,
}

/// Why an answer is not even looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChallengeRefusal {
    /// It is not ours, is for another identity, or was altered.
    #[error("this challenge is not one of ours for this identity; ask for a new one")]
    Unknown,
    /// Its time is over.
    #[error("this challenge has expired; ask for a new one")]
    Expired,
    /// It was answered already.
    #[error("this challenge was answered already; ask for a new one")]
    Used,
    /// Too many wrong answers from one address, or too many answers altogether.
    #[error("too many login attempts; wait a minute")]
    Busy,
}

impl Challenges {
    /// With this key, which authorities that share a ledger share; one that is alone makes one for each run.
    pub(crate) fn new(lifetime: Duration, key: [u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Self { key, lifetime, used: Mutex::default(), failures: Mutex::default() }
    }

    /// A challenge for `identity`, whether there is such an identity or not.
    pub(crate) fn make(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Challenge, NoRandomness> {
        let expires = now.after(self.lifetime);
        let mut open = [0; 16];
        let random = random::bytes::<8>()?;
        for (to, from) in
            open.iter_mut().zip(expires.millis().to_be_bytes().into_iter().chain(random))
        {
            *to = from;
        }
        let bytes = [open, self.tag(identity, open)].concat();
        Ok(Challenge { challenge: URL_SAFE_NO_PAD.encode(bytes), expires })
    }

    /// Takes a challenge back, once, and says when it would have ended. Whatever its answer is worth, the challenge is spent.
    pub(crate) fn take(
        &self,
        identity: &Identity,
        challenge: &str,
        now: Timestamp,
    ) -> Result<Timestamp, ChallengeRefusal> {
        let bytes = URL_SAFE_NO_PAD.decode(challenge).ok();
        let bytes: [u8; 32] =
            bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(ChallengeRefusal::Unknown)?;
        let (open, tag) = halves(bytes);
        verify_slices_are_equal(&self.tag(identity, open), &tag)
            .map_err(|_unspecified| ChallengeRefusal::Unknown)?;
        let [a, b, c, d, e, f, g, h, ..] = open;
        let expires = Timestamp::from_millis(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        if expires <= now {
            return Err(ChallengeRefusal::Expired);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_USED {
            used.retain(|_, expires| now < *expires);
            if used.len() >= MAX_USED {
                return Err(ChallengeRefusal::Busy);
            }
        }
        if used.insert(bytes, expires).is_some() {
            Err(ChallengeRefusal::Used)
        } else {
            Ok(expires)
        }
    }

    /// Refuses whoever has answered wrongly too often within the last minute.
    pub(crate) fn admit(&self, from: IpAddr, now: Timestamp) -> Result<(), ChallengeRefusal> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&source(from)) {
            Some(known) if known.count >= MAX_FAILURES && now.since(known.since) < WINDOW => {
                Err(ChallengeRefusal::Busy)
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong answer.
    pub(crate) fn failed(&self, from: IpAddr, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_SOURCES {
            failures.retain(|_, known| now.since(known.since) < WINDOW);
            if failures.len() >= MAX_SOURCES {
                failures.pop_first();
            }
        }
        let known = failures.entry(source(from)).or_insert(Failures { count: 0, since: now });
        if now.since(known.since) >= WINDOW {
            *known = Failures { count: 0, since: now };
        }
        known.count = known.count.saturating_add(1);
    }

    fn tag(&self, identity: &Identity, open: [u8; 16]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&open);
        context.update(identity.as_str().as_bytes());
        let mut tag = [0; 16];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }
}

/// Whom to blame for an answer: who has one IPv6 address has the 2^64 beside it too.
fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        short @ IpAddr::V4(_) => short,
    }
}

fn halves(bytes: [u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut open, mut tag) = ([0; 16], [0; 16]);
    let parts = open.iter_mut().chain(tag.iter_mut());
    for (to, from) in parts.zip(bytes) {
        *to = from;
    }
    (open, tag)
}

/// Answered challenges that are remembered at once: 48 bytes each.
const MAX_USED: usize = 65_536;
/// Wrong answers a minute from one address.
const MAX_FAILURES: u32 = 20;
/// Addresses whose wrong answers are counted.
const MAX_SOURCES: usize = 16_384;
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn challenges() -> Challenges {
        Challenges::new(Duration::from_secs(60), random::bytes().unwrap())
    }

    #[test]
    fn a_challenge_serves_once_for_its_identity_in_its_time() {
        let all = challenges();
        let (ana, bob) = ("ana".parse().unwrap(), "bob".parse().unwrap());
        let made = all.make(&ana, NOW).unwrap();
        let take = |who, at| all.take(who, &made.challenge, at);
        assert_eq!(take(&bob, NOW), Err(ChallengeRefusal::Unknown));
        assert_eq!(take(&ana, made.expires), Err(ChallengeRefusal::Expired));
        assert_eq!(take(&ana, NOW), Ok(made.expires));
        assert_eq!(take(&ana, NOW), Err(ChallengeRefusal::Used));
    }

    #[test]
    fn another_process_s_or_an_altered_challenge_is_unknown() {
        let ana = "ana".parse().unwrap();
        let foreign = challenges().make(&ana, NOW).unwrap().challenge;
        for text in [foreign.as_str(), "", "AAAA", &"A".repeat(43)] {
            assert_eq!(challenges().take(&ana, text, NOW), Err(ChallengeRefusal::Unknown));
        }
    }

    #[test]
    fn wrong_answers_are_braked_by_address_and_only_for_a_while() {
        let all = challenges();
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..MAX_FAILURES {
            assert_eq!(all.admit(bad, NOW), Ok(()));
            all.failed(bad, NOW);
        }
        assert_eq!(all.admit(bad, NOW), Err(ChallengeRefusal::Busy));
        assert_eq!(all.admit(good, NOW), Ok(()));
        assert_eq!(all.admit(bad, NOW.after(WINDOW)), Ok(()));
    }

    #[test]
    fn another_address_of_the_same_network_gains_nothing() {
        let all = challenges();
        let at = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, low]);
        for (low, _) in (1..).zip(0..MAX_FAILURES) {
            all.failed(at(low), NOW);
        }
        assert_eq!(all.admit(at(0xffff), NOW), Err(ChallengeRefusal::Busy));
        let beside = IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]);
        assert_eq!(all.admit(beside, NOW), Ok(()));
    }
}
