//! How a group comes into being, and how its shares are made anew: every custodian deals, nobody ever holds the key.
//!
//! Three rounds. *Dealing*: each custodian tells all others what they committed to. Everybody then compares the code of all
//! dealings, aloud: with another one, somebody was lied to. *Parts*: each sends each other a part, sealed to a key from the
//! dealing and to that code. *Kept*: each says that the share is on its disk; only then is it put to use. A custodian who
//! deals falsely is named. New shares ([`Plan::renewal`]) work alike and leave the key as it is.
//!
//! Source: FROST's DKG (RFC 9591, appendix B; Pedersen's, with proofs of knowledge), X25519, HKDF-SHA-256, ChaCha20-Poly1305.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul as _;
use frost_ed25519::keys::dkg::{self, round1, round2};
use frost_ed25519::keys::{SigningShare, VerifiableSecretSharingCommitment, refresh};
use frost_ed25519::{Identifier, Signature};
use rand_core::{CryptoRng, RngCore};
use sha2::{Digest as _, Sha256};
use wire::identifier::Custodian;
use wire::time::Timestamp;
use zeroize::Zeroizing;

use crate::bytes::{Malformed, Reader, Writer};
use crate::group::{Group, GroupFlaw, check_members, identifier};
use crate::letter::{self, Kind, Letter, LetterFlaw};
use crate::share::Share;

/// What is to become of whom; the same for every custodian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    members: BTreeMap<u8, Custodian>,
    threshold: u8,
    expires: Timestamp,
    renews: Option<Group>,
}

/// Why a ceremony does not go on. Those that come from a letter leave the step as it was: the right letter still fits.
#[derive(Debug, thiserror::Error)]
pub enum KeygenFlaw {
    /// It is no letter.
    #[error(transparent)]
    Letter(#[from] LetterFlaw),
    /// Its content.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// The group that it would become.
    #[error(transparent)]
    Group(#[from] GroupFlaw),
    /// Somebody is not of the ceremony.
    #[error("{0} is not among the custodians of this ceremony")]
    Stranger(String),
    /// The share that is to be made anew is another's.
    #[error("the share that is to be made anew is not of this group and custodian")]
    Share,
    /// The others were told something else.
    #[error(
        "{0} takes part in another ceremony: members, threshold, end or the group differ; compare the commands"
    )]
    Plan(Custodian),
    /// A letter of an earlier round of others.
    #[error("{0} has seen other dealings than this machine has; compare the codes, and begin anew")]
    Transcript(Custodian),
    /// Two letters of one custodian that say different things.
    #[error("{0} sent two different letters of one round; begin anew, and ask {0} why")]
    Contradicts(Custodian),
    /// Letters are missing.
    #[error("letters are missing from {0}")]
    Missing(String),
    /// A custodian dealt falsely.
    #[error(
        "{0} dealt falsely: {1}. Begin anew without {0}, or find out what happened to that machine"
    )]
    Blame(Custodian, String),
    /// A custodian keeps another group than we do.
    #[error("{0} keeps a share of another group; begin anew")]
    Differs(Custodian),
    /// The cryptography of the system failed.
    #[error("the ceremony failed ({0}); begin anew")]
    Failed(String),
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    New,
    /// It is known: one's own, or one that was taken before.
    Known,
}

/// The first round. Its secrets are in memory alone.
pub struct Dealing {
    common: Common,
    secret: round1::SecretPackage,
    exchange: PrivateKey,
    heard: BTreeMap<u8, Heard>,
}

/// The second round.
pub struct Dealt {
    common: Common,
    secret: round2::SecretPackage,
    exchange: PrivateKey,
    heard: BTreeMap<u8, Heard>,
    parts: BTreeMap<u8, (Vec<u8>, round2::Package)>,
}

/// The third round: the share is there.
#[derive(Debug)]
pub struct Kept {
    common: Common,
    share: Share,
    kept: std::collections::BTreeSet<u8>,
}

/// What holds through all rounds.
struct Common {
    plan: Plan,
    me: u8,
    old: Option<Share>,
    /// Over all dealings; zeros before they are there.
    transcript: [u8; 32],
}

/// The dealing of one custodian.
struct Heard {
    body: Vec<u8>,
    exchange: [u8; 32],
    package: round1::Package,
}

impl Heard {
    /// Whether a part for `me` is what was committed to, in new shares, whose constant is zero: `s·B = Σ mᵏ·φₖ`, k from 1. FROST
    /// checks it too there, and does not say who it was.
    fn dealt_truly(&self, me: u8, part: &SigningShare) -> bool {
        let scalar: Option<[u8; 32]> = part.serialize().try_into().ok();
        let scalar = scalar.and_then(|bytes| Scalar::from_canonical_bytes(bytes).into_option());
        let commitments = self.package.commitment().serialize().unwrap_or_default();
        let point = |bytes: &Vec<u8>| CompressedEdwardsY::from_slice(bytes).ok()?.decompress();
        let points: Option<Vec<EdwardsPoint>> = commitments.iter().map(point).collect();
        let (Some(scalar), Some(points)) = (scalar, points) else { return false };
        let powers = (1..).take(points.len()).map(|power| u64::from(me).saturating_pow(power));
        let sum = EdwardsPoint::vartime_multiscalar_mul(powers.map(Scalar::from), points);
        EdwardsPoint::mul_base(&scalar) == sum
    }
}

impl Plan {
    /// A new group: these custodians, numbered in this order, of whom `threshold` sign.
    ///
    /// # Errors
    /// When that is no group.
    pub fn new(names: &[Custodian], threshold: u8, expires: Timestamp) -> Result<Self, GroupFlaw> {
        let members: BTreeMap<u8, Custodian> = (1..=u8::MAX).zip(names.iter().cloned()).collect();
        check_members(&members, threshold)?;
        Ok(Self { members, threshold, expires, renews: None })
    }

    /// New shares for those of `group` that stay; the key and the threshold are as they were.
    ///
    /// # Errors
    /// When too few stay, or one is a stranger.
    pub fn renewal(
        group: &Group,
        stay: &[Custodian],
        expires: Timestamp,
    ) -> Result<Self, KeygenFlaw> {
        if let Some(name) = stay.iter().find(|name| group.number(name).is_none()) {
            return Err(KeygenFlaw::Stranger(name.to_string()));
        }
        let members: BTreeMap<u8, Custodian> = group
            .members
            .iter()
            .filter(|(_, name)| stay.contains(name))
            .map(|(number, name)| (*number, name.clone()))
            .collect();
        check_members(&members, group.threshold)?;
        let renews = Some(group.clone());
        Ok(Self { members, threshold: group.threshold, expires, renews })
    }

    /// Who takes part, by number.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<u8, Custodian> {
        &self.members
    }

    fn digest(&self) -> [u8; 32] {
        let mut to = Writer::default();
        to.u8(self.threshold).u64(self.expires.secs()).count(self.members.len());
        for (number, name) in &self.members {
            to.u8(*number).text(name.as_str().as_bytes());
        }
        to.raw(&self.renews.as_ref().map_or([0; 32], Group::digest));
        Sha256::new()
            .chain_update("curfew break-glass plan\0")
            .chain_update(to.done())
            .finalize()
            .into()
    }

    fn number(&self, name: &Custodian) -> Option<u8> {
        self.members.iter().find(|(_, member)| *member == name).map(|(number, _)| *number)
    }

    fn name(&self, number: u8) -> Result<Custodian, Malformed> {
        self.members.get(&number).cloned().ok_or(Malformed("nobody's number"))
    }

    fn count(&self) -> u16 {
        u16::try_from(self.members.len()).unwrap_or(u16::MAX)
    }

    fn generation(&self) -> u32 {
        self.renews.as_ref().map_or(0, |group| group.generation.saturating_add(1))
    }

    /// How many commitments a dealing holds: new shares leave the constant out, for it is zero.
    fn commitments(&self) -> usize {
        let threshold = usize::from(self.threshold);
        if self.renews.is_some() { threshold.saturating_sub(1) } else { threshold }
    }

    fn missing<T>(&self, me: u8, heard: &BTreeMap<u8, T>) -> Vec<Custodian> {
        let others = self.members.iter().filter(|(number, _)| **number != me);
        others
            .filter(|(number, _)| !heard.contains_key(number))
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Whom FROST means.
    fn blame(&self, error: &frost_ed25519::Error) -> KeygenFlaw {
        let is = |number: &u8, culprit: &Identifier| identifier(*number) == Some(*culprit);
        let culprits = error.culprits();
        let culprit = culprits.first();
        let found =
            culprit.and_then(|culprit| self.members.iter().find(|(number, _)| is(number, culprit)));
        match found {
            Some((_, name)) => KeygenFlaw::Blame(name.clone(), error.to_string()),
            None => KeygenFlaw::Failed(error.to_string()),
        }
    }
}

impl Dealing {
    /// Begins, and gives the letter for all others. `old` is the share that is made anew, where one is.
    ///
    /// # Errors
    /// When `me` takes no part, or the old share is another's.
    pub fn begin(
        plan: Plan,
        me: &Custodian,
        old: Option<Share>,
        random: &mut (impl RngCore + CryptoRng),
    ) -> Result<(Self, Letter), KeygenFlaw> {
        let me = plan.number(me).ok_or_else(|| KeygenFlaw::Stranger(me.to_string()))?;
        let fits = match (&plan.renews, &old) {
            (None, None) => true,
            (Some(group), Some(share)) => share.group == *group && share.number == me,
            _ => false,
        };
        if !fits {
            return Err(KeygenFlaw::Share);
        }
        let name = identifier(me).ok_or(Malformed("nobody's number"))?;
        let (count, threshold) = (plan.count(), u16::from(plan.threshold));
        let dealt = if plan.renews.is_some() {
            refresh::refresh_dkg_part1(name, count, threshold, &mut *random)
        } else {
            dkg::part1(name, count, threshold, &mut *random)
        };
        let (secret, package) = dealt.map_err(|error| plan.blame(&error))?;
        let mut seed = Zeroizing::new([0; 32]);
        random.fill_bytes(seed.as_mut_slice());
        let exchange = PrivateKey::from_private_key(&X25519, seed.as_slice());
        let exchange = exchange.map_err(|_odd| KeygenFlaw::Failed("no key".into()))?;
        let body = dealing(&plan, me, &exchange, &package)?;
        let heard = BTreeMap::from([(me, read_dealing(&plan, &body)?.1)]);
        let common = Common { plan, me, old, transcript: [0; 32] };
        Ok((Self { common, secret, exchange, heard }, Letter::new(Kind::Dealing, body)))
    }

    /// Takes the dealing of another custodian.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn take(&mut self, text: &str) -> Result<Taken, KeygenFlaw> {
        let body = Letter::read(text)?.expect(Kind::Dealing)?;
        let (number, heard) = read_dealing(&self.common.plan, &body)?;
        match self.heard.get(&number) {
            Some(known) if known.body == body => Ok(Taken::Known),
            Some(_) => Err(KeygenFlaw::Contradicts(self.common.plan.name(number)?)),
            None => {
                self.heard.insert(number, heard);
                Ok(Taken::New)
            }
        }
    }

    /// Whose dealings are not there yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Custodian> {
        self.common.plan.missing(self.common.me, &self.heard)
    }

    /// Goes on to the second round, and gives the letter for all others. There is no way back.
    ///
    /// # Errors
    /// When dealings are missing, or one is false: its custodian is named.
    pub fn deal(self) -> Result<(Dealt, Letter), KeygenFlaw> {
        let Self { mut common, secret, exchange, heard } = self;
        complete(&common.plan.missing(common.me, &heard))?;
        let mut hash = Sha256::new_with_prefix("curfew break-glass dealings\0");
        for one in heard.values() {
            hash.update(u64::try_from(one.body.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(&one.body);
        }
        common.transcript = hash.finalize().into();
        let others = packages(common.me, &heard)?;
        let dealt = if common.plan.renews.is_some() {
            refresh::refresh_dkg_part2(secret, &others)
        } else {
            dkg::part2(secret, &others)
        };
        let (secret, parts) = dealt.map_err(|error| common.plan.blame(&error))?;
        let mut to = Writer::default();
        to.raw(&common.transcript).u8(common.me).count(parts.len());
        for (number, one) in heard.iter().filter(|(number, _)| **number != common.me) {
            let part = identifier(*number).and_then(|name| parts.get(&name));
            let part = part.ok_or(Malformed("no part"))?;
            let bytes = Zeroizing::new(part.signing_share().serialize());
            let sealed = common.seal(&exchange, (*number, &one.exchange), &bytes)?;
            to.u8(*number).raw(&sealed);
        }
        let letter = Letter::new(Kind::Parts, to.done());
        Ok((Dealt { common, secret, exchange, heard, parts: BTreeMap::new() }, letter))
    }
}

impl Dealt {
    /// What all custodians compare, aloud, before they go on.
    #[must_use]
    pub fn code(&self) -> String {
        letter::code(&self.common.transcript)
    }

    /// Takes the parts of another custodian, of which one is ours.
    ///
    /// # Errors
    /// What is wrong with them; nothing has changed then.
    pub fn take(&mut self, text: &str) -> Result<Taken, KeygenFlaw> {
        let body = Letter::read(text)?.expect(Kind::Parts)?;
        let mut from = Reader::new(&body);
        let (transcript, number): ([u8; 32], u8) = (from.array()?, from.u8()?);
        let name = self.common.plan.name(number)?;
        if transcript != self.common.transcript {
            return Err(KeygenFlaw::Transcript(name));
        }
        let mut mine = None;
        for _ in 0..from.u8()? {
            let (to, sealed) = (from.u8()?, from.array::<SEALED>()?);
            if to == self.common.me && mine.replace(sealed).is_some() {
                return Err(Malformed("two parts for one").into());
            }
        }
        from.end()?;
        if number == self.common.me {
            return Ok(Taken::Known);
        }
        match self.parts.get(&number) {
            Some((known, _)) if *known == body => return Ok(Taken::Known),
            Some(_) => return Err(KeygenFlaw::Contradicts(name)),
            None => {}
        }
        let exchange = self.heard.get(&number).ok_or(Malformed("nobody's number"))?.exchange;
        let sealed = mine.ok_or(Malformed("no part for this custodian"))?;
        let opened = self.common.open(&self.exchange, (number, &exchange), &sealed);
        let bad =
            || KeygenFlaw::Blame(name.clone(), "the part for this custodian does not open".into());
        let opened = opened.ok_or_else(bad)?;
        let share = SigningShare::deserialize(&opened).map_err(|_odd| bad())?;
        self.parts.insert(number, (body, round2::Package::new(share)));
        Ok(Taken::New)
    }

    /// Whose parts are not there yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Custodian> {
        self.common.plan.missing(self.common.me, &self.parts)
    }

    /// Puts the share together. There is no way back.
    ///
    /// # Errors
    /// When parts are missing, or one is false: its custodian is named.
    pub fn finish(self) -> Result<Kept, KeygenFlaw> {
        let Self { mut common, secret, heard, parts, .. } = self;
        complete(&common.plan.missing(common.me, &parts))?;
        let others = packages(common.me, &heard)?;
        let mut received = BTreeMap::new();
        for (number, (_, part)) in parts {
            received.insert(identifier(number).ok_or(Malformed("nobody's number"))?, part);
        }
        let made = match common.old.take() {
            None => dkg::part3(&secret, &others, &received),
            Some(old) => {
                let false_one = heard.iter().find(|(number, one)| {
                    let part = identifier(**number).and_then(|name| received.get(&name));
                    part.is_some_and(|part| !one.dealt_truly(common.me, part.signing_share()))
                });
                if let Some((number, _)) = false_one {
                    let why = "the part for this custodian is not of the dealing".into();
                    return Err(KeygenFlaw::Blame(common.plan.name(*number)?, why));
                }
                let known = old.group.package()?;
                refresh::refresh_dkg_shares(&secret, &others, &received, known, old.package.clone())
            }
        };
        let (package, public) = made.map_err(|error| common.plan.blame(&error))?;
        let plan = &common.plan;
        let of = (&plan.members, plan.threshold, plan.generation(), plan.expires);
        let group = Group::of(of, &public)?;
        if plan.renews.as_ref().is_some_and(|before| before.key != group.key) {
            return Err(KeygenFlaw::Failed("the key would be another".into()));
        }
        let share = Share::of(group, common.me, package)?;
        Ok(Kept { common, share, kept: std::collections::BTreeSet::new() })
    }
}

impl Kept {
    /// The share, to be locked and put on a disk before [`Kept::letter`] is given to anybody.
    #[must_use]
    pub const fn share(&self) -> &Share {
        &self.share
    }

    /// "My share is on my disk."
    #[must_use]
    pub fn letter(&self) -> Letter {
        let mut to = Writer::default();
        to.raw(&self.common.transcript).u8(self.common.me).raw(&self.share.group.digest());
        Letter::new(Kind::Kept, to.done())
    }

    /// Takes another custodian's word that they keep their share.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn take(&mut self, text: &str) -> Result<Taken, KeygenFlaw> {
        let body = Letter::read(text)?.expect(Kind::Kept)?;
        let mut from = Reader::new(&body);
        let (transcript, number): ([u8; 32], u8) = (from.array()?, from.u8()?);
        let digest: [u8; 32] = from.array()?;
        from.end()?;
        let name = self.common.plan.name(number)?;
        if transcript != self.common.transcript {
            return Err(KeygenFlaw::Transcript(name));
        }
        if digest != self.share.group.digest() {
            return Err(KeygenFlaw::Differs(name));
        }
        let is_new = number != self.common.me && self.kept.insert(number);
        Ok(if is_new { Taken::New } else { Taken::Known })
    }

    /// Who has not said so yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Custodian> {
        let said: BTreeMap<u8, ()> = self.kept.iter().map(|number| (*number, ())).collect();
        self.common.plan.missing(self.common.me, &said)
    }
}

impl Common {
    fn seal(
        &self,
        mine: &PrivateKey,
        (to, theirs): (u8, &[u8; 32]),
        part: &[u8],
    ) -> Result<Vec<u8>, KeygenFlaw> {
        let failed = || KeygenFlaw::Failed("a part could not be sealed".into());
        let key = self.key(mine, theirs, (self.me, to)).ok_or_else(failed)?;
        let mut bytes = Zeroizing::new(part.to_vec());
        let tag = key.seal_in_place_separate_tag(once(), Aad::empty(), bytes.as_mut_slice());
        let tag = tag.map_err(|_failed| failed())?;
        let mut sealed = bytes.to_vec();
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    fn open(
        &self,
        mine: &PrivateKey,
        (from, theirs): (u8, &[u8; 32]),
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let key = self.key(mine, theirs, (from, self.me))?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(once(), Aad::empty(), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// The key between two custodians, for one direction of one ceremony.
    fn key(
        &self,
        mine: &PrivateKey,
        theirs: &[u8; 32],
        (from, to): (u8, u8),
    ) -> Option<LessSafeKey> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs);
        let mut key = Zeroizing::new([0; 32]);
        agree(mine, theirs, (), |secret| {
            let info = [b"curfew break-glass part".as_slice(), &[from, to]];
            let made = Salt::new(HKDF_SHA256, &self.transcript).extract(secret);
            let made = made.expand(&info, HKDF_SHA256).map_err(|_odd| ())?;
            made.fill(key.as_mut_slice()).map_err(|_odd| ())
        })
        .ok()?;
        UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).ok().map(LessSafeKey::new)
    }
}

/// Secrets are not shown.
impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Common({} of {:?})", self.me, self.plan.members)
    }
}

/// Secrets are not shown.
impl std::fmt::Debug for Dealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dealing({:?})", self.common)
    }
}

/// Secrets are not shown.
impl std::fmt::Debug for Dealt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dealt({:?})", self.common)
    }
}

fn dealing(
    plan: &Plan,
    me: u8,
    exchange: &PrivateKey,
    package: &round1::Package,
) -> Result<Vec<u8>, KeygenFlaw> {
    let wrong = |error: frost_ed25519::Error| KeygenFlaw::Failed(error.to_string());
    let public = exchange.compute_public_key();
    let public = public.map_err(|_odd| KeygenFlaw::Failed("no key".into()))?;
    let commitments = package.commitment().serialize().map_err(wrong)?;
    let mut to = Writer::default();
    to.raw(&plan.digest()).u8(me).raw(public.as_ref());
    to.raw(&package.proof_of_knowledge().serialize().map_err(wrong)?);
    to.count(commitments.len());
    for commitment in commitments {
        to.raw(&commitment);
    }
    Ok(to.done())
}

fn read_dealing(plan: &Plan, body: &[u8]) -> Result<(u8, Heard), KeygenFlaw> {
    let mut from = Reader::new(body);
    let (digest, number): ([u8; 32], u8) = (from.array()?, from.u8()?);
    let known = plan.digest() == digest;
    let name = match plan.name(number) {
        Ok(name) if known => name,
        Ok(name) => return Err(KeygenFlaw::Plan(name)),
        Err(_) => return Err(KeygenFlaw::Stranger(format!("number {number}"))),
    };
    let (exchange, proof): ([u8; 32], [u8; 64]) = (from.array()?, from.array()?);
    let count = usize::from(from.u8()?);
    if count != plan.commitments() {
        return Err(KeygenFlaw::Blame(name, "another number of commitments".into()));
    }
    let commitments = (0..count).map(|_| from.array::<32>()).collect::<Result<Vec<_>, _>>()?;
    from.end()?;
    let wrong = |error: frost_ed25519::Error| KeygenFlaw::Blame(name.clone(), error.to_string());
    let commitment = VerifiableSecretSharingCommitment::deserialize(commitments).map_err(wrong)?;
    let proof = Signature::deserialize(&proof).map_err(wrong)?;
    let package = round1::Package::new(commitment, proof);
    Ok((number, Heard { body: body.to_vec(), exchange, package }))
}

fn packages(
    me: u8,
    heard: &BTreeMap<u8, Heard>,
) -> Result<BTreeMap<Identifier, round1::Package>, KeygenFlaw> {
    let others = heard.iter().filter(|(number, _)| **number != me);
    others
        .map(|(number, one)| {
            let name = identifier(*number).ok_or(Malformed("nobody's number"))?;
            Ok((name, one.package.clone()))
        })
        .collect()
}

fn complete(missing: &[Custodian]) -> Result<(), KeygenFlaw> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(Custodian::as_str).collect();
    Err(KeygenFlaw::Missing(names.join(", ")))
}

/// Each key seals one part: it is of one direction of one ceremony.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// A scalar and a tag.
const SEALED: usize = 32 + 16;

#[cfg(test)]
pub(crate) mod tests;
