//! How custodians sign: two rounds, and the certificate.
//!
//! The nonces of the first round are in [`Committed`], which has no form in which it could be kept, copied or made again, and
//! [`Committed::respond`] takes it whole: they serve once. (Twice, and the share could be computed.) Whatever is interrupted
//! is begun anew with fresh ones.
//!
//! What is signed is built here, by each custodian from the request's terms: nobody hands anybody bytes to sign. The
//! certificate's own nonce is made of the request and of what every custodian committed to, so that no one chooses it.

use std::collections::BTreeMap;

use frost_ed25519::SigningPackage;
use frost_ed25519::round1::{NonceCommitment, SigningCommitments, SigningNonces, commit};
use frost_ed25519::round2::{SignatureShare, sign};
use rand_core::{CryptoRng, RngCore};
use sha2::{Digest as _, Sha256};
use ssh_key::{Algorithm, Signature};
use wire::certificate::{NONCE, Sealed, ToBeSigned, Unfit};
use wire::identifier::Custodian;

use crate::bytes::{Malformed, Reader, Writer};
use crate::group::{Group, GroupFlaw, identifier};
use crate::keygen::Taken;
use crate::letter::{Kind, Letter, LetterFlaw};
use crate::receipt::Receipt;
use crate::request::{Request, RequestFlaw};
use crate::share::Share;
use crate::terms::TermsFlaw;

/// Why a signature does not come about. What comes from a letter leaves the step as it was.
#[derive(Debug, thiserror::Error)]
pub enum SignFlaw {
    /// It is no letter.
    #[error(transparent)]
    Letter(#[from] LetterFlaw),
    /// Its content.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// The request.
    #[error(transparent)]
    Request(#[from] RequestFlaw),
    /// The terms.
    #[error(transparent)]
    Terms(#[from] TermsFlaw),
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupFlaw),
    /// This custodian is not asked.
    #[error("{0} is not among those who are asked to sign this")]
    Uninvolved(Custodian),
    /// The letter is about something else.
    #[error("{0} signs another request; compare its code")]
    Other(Custodian),
    /// The letter rests on other commitments.
    #[error("{0} has seen other commitments; all begin anew, with the same letters")]
    Commitments(Custodian),
    /// Two letters of one custodian that say different things.
    #[error(
        "{0} sent two different letters of one round: was it begun anew there? Then all begin anew"
    )]
    Contradicts(Custodian),
    /// Letters are missing.
    #[error("letters are missing from {0}")]
    Missing(String),
    /// A custodian's part is false.
    #[error(
        "the part of {0} is false: the certificate is not made. Begin anew with somebody else in place of {0}"
    )]
    Blame(String),
    /// The certificate is not what it should be.
    #[error("the certificate: {0}")]
    Unfit(#[from] Unfit),
    /// The mathematics failed.
    #[error("the signature failed ({0}); all begin anew")]
    Failed(String),
}

/// The first round is over for this custodian: its nonces are here, and serve once.
#[must_use = "a ceremony that is dropped has to be begun anew"]
pub struct Committed<'a> {
    share: &'a Share,
    request: &'a Request,
    nonces: SigningNonces,
    heard: BTreeMap<u8, SigningCommitments>,
}

/// The second round is over for this custodian: nothing secret is left.
#[derive(Debug)]
#[must_use = "the certificate comes from the letters of all"]
pub struct Responded {
    pub(crate) round: Round,
    me: u8,
    shares: BTreeMap<u8, SignatureShare>,
}

/// A request, and what everybody committed to.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) group: Group,
    pub(crate) request: Request,
    pub(crate) heard: BTreeMap<u8, SigningCommitments>,
}

/// What comes of it.
#[derive(Debug)]
pub struct Signed {
    /// The certificate: read back, compared with the terms, and its signature checked.
    pub certificate: Sealed,
    /// What each custodian's part was, for later.
    pub receipt: Receipt,
}

impl<'a> Committed<'a> {
    /// Commits to a signature under `request`, which the custodian has read; gives the letter for the others.
    ///
    /// # Errors
    /// When the request is for others.
    pub fn commit(
        share: &'a Share,
        request: &'a Request,
        random: &mut (impl RngCore + CryptoRng),
    ) -> Result<(Self, Letter), SignFlaw> {
        request.fits(&share.group)?;
        if !request.terms.custodians.contains(&share.name) {
            return Err(SignFlaw::Uninvolved(share.name.clone()));
        }
        let (nonces, commitments) = commit(share.package.signing_share(), random);
        let mut to = Writer::default();
        to.raw(&request.digest()).u8(share.number).raw(&encode(&commitments)?);
        let heard = BTreeMap::from([(share.number, commitments)]);
        let letter = Letter::new(Kind::Commitment, to.done());
        Ok((Self { share, request, nonces, heard }, letter))
    }

    /// Takes the commitment of another custodian.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn take(&mut self, text: &str) -> Result<Taken, SignFlaw> {
        let body = Letter::read(text)?.expect(Kind::Commitment)?;
        let mut from = Reader::new(&body);
        let (digest, number): ([u8; 32], u8) = (from.array()?, from.u8()?);
        let name = signer(&self.share.group, self.request, number)?;
        if digest != self.request.digest() {
            return Err(SignFlaw::Other(name));
        }
        let commitments = decode(&mut from)?;
        from.end()?;
        match self.heard.get(&number) {
            Some(known) if *known == commitments => Ok(Taken::Known),
            Some(_) => Err(SignFlaw::Contradicts(name)),
            None => {
                self.heard.insert(number, commitments);
                Ok(Taken::New)
            }
        }
    }

    /// Whose commitments are not there yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Custodian> {
        missing(&self.share.group, self.request, &self.heard)
    }

    /// Signs; gives the letter for the others. Takes the nonces with it, whatever comes of it.
    ///
    /// # Errors
    /// When commitments are missing, or the mathematics fail.
    pub fn respond(self) -> Result<(Responded, Letter), SignFlaw> {
        complete(&self.missing())?;
        let Self { share, request, nonces, heard } = self;
        let round = Round { group: share.group.clone(), request: request.clone(), heard };
        let package = round.package(round.to_be_signed()?.as_bytes())?;
        let part = sign(&package, &nonces, &share.package);
        let part = part.map_err(|error| SignFlaw::Failed(error.to_string()))?;
        drop(nonces);
        let mut to = Writer::default();
        to.raw(&round.digest()?).u8(share.number).raw(&part.serialize());
        let shares = BTreeMap::from([(share.number, part)]);
        let letter = Letter::new(Kind::Signature, to.done());
        Ok((Responded { round, me: share.number, shares }, letter))
    }
}

/// Nonces are not shown.
impl std::fmt::Debug for Committed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Committed({})", self.share.name)
    }
}

impl Responded {
    /// Takes the part of another custodian. Whether it is true shows when all are there.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn take(&mut self, text: &str) -> Result<Taken, SignFlaw> {
        let body = Letter::read(text)?.expect(Kind::Signature)?;
        let mut from = Reader::new(&body);
        let (digest, number): ([u8; 32], u8) = (from.array()?, from.u8()?);
        let name = signer(&self.round.group, &self.round.request, number)?;
        if digest != self.round.digest()? {
            return Err(SignFlaw::Commitments(name));
        }
        let part = SignatureShare::deserialize(from.take(32)?);
        let part = part.map_err(|_odd| SignFlaw::Blame(name.to_string()))?;
        from.end()?;
        match self.shares.get(&number) {
            Some(known) if *known == part => Ok(Taken::Known),
            Some(_) => Err(SignFlaw::Contradicts(name)),
            None => {
                self.shares.insert(number, part);
                Ok(Taken::New)
            }
        }
    }

    /// Whose parts are not there yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Custodian> {
        missing(&self.round.group, &self.round.request, &self.shares)
    }

    /// Puts the parts together, and releases the certificate only when it says what was asked for and verifies.
    ///
    /// # Errors
    /// When parts are missing or false: their custodians are named.
    pub fn finish(self) -> Result<Signed, SignFlaw> {
        complete(&self.missing())?;
        let receipt = Receipt::of(self.round, self.me, self.shares);
        let certificate = receipt.certificate()?;
        Ok(Signed { certificate, receipt })
    }
}

impl Round {
    /// What all messages of the second round are bound to.
    pub(crate) fn digest(&self) -> Result<[u8; 32], SignFlaw> {
        let mut hash = Sha256::new_with_prefix("curfew break-glass round\0");
        hash.update(self.request.digest());
        for (number, commitments) in &self.heard {
            hash.update([*number]);
            hash.update(encode(commitments)?);
        }
        Ok(hash.finalize().into())
    }

    /// The certificate that all sign.
    pub(crate) fn to_be_signed(&self) -> Result<ToBeSigned, SignFlaw> {
        let digest = self.digest()?;
        let nonce: [u8; NONCE] = Sha256::new_with_prefix("curfew break-glass nonce\0")
            .chain_update(digest)
            .finalize()
            .into();
        let draft = self.request.terms.draft(self.request.serial())?;
        Ok(draft.check()?.to_be_signed(nonce, &self.group.key_data())?)
    }

    pub(crate) fn package(&self, message: &[u8]) -> Result<SigningPackage, SignFlaw> {
        let mut commitments = BTreeMap::new();
        for (number, one) in &self.heard {
            commitments.insert(identifier(*number).ok_or(Malformed("nobody's number"))?, *one);
        }
        Ok(SigningPackage::new(commitments, message))
    }

    /// The certificate under the parts of all. Every part is checked by itself, also where the whole would verify: a receipt
    /// says who took part.
    pub(crate) fn finish(&self, shares: &BTreeMap<u8, SignatureShare>) -> Result<Sealed, SignFlaw> {
        let wrong = |error: frost_ed25519::Error| SignFlaw::Failed(error.to_string());
        let to_be_signed = self.to_be_signed()?;
        let package = self.package(to_be_signed.as_bytes())?;
        let public = self.group.package()?;
        let (mut parts, mut false_ones) = (BTreeMap::new(), Vec::new());
        for (number, part) in shares {
            let name = signer(&self.group, &self.request, *number)?;
            let one = identifier(*number).ok_or(Malformed("nobody's number"))?;
            let share = public.verifying_shares().get(&one).ok_or(GroupFlaw::Keys)?;
            let key = public.verifying_key();
            if frost_core::verify_signature_share(one, share, part, &package, key).is_err() {
                false_ones.push(name.to_string());
            }
            parts.insert(one, *part);
        }
        if !false_ones.is_empty() {
            return Err(SignFlaw::Blame(false_ones.join(", ")));
        }
        let signature = frost_ed25519::aggregate(&package, &parts, &public).map_err(wrong)?;
        let bytes = signature.serialize().map_err(wrong)?;
        let signature = Signature::new(Algorithm::Ed25519, bytes);
        let signature = signature.map_err(|error| SignFlaw::Failed(error.to_string()))?;
        Ok(to_be_signed.finish(&signature)?)
    }
}

pub(crate) fn encode(commitments: &SigningCommitments) -> Result<Vec<u8>, SignFlaw> {
    let wrong = |error: frost_ed25519::Error| SignFlaw::Failed(error.to_string());
    let mut bytes = commitments.hiding().serialize().map_err(wrong)?;
    bytes.extend(commitments.binding().serialize().map_err(wrong)?);
    Ok(bytes)
}

pub(crate) fn decode(from: &mut Reader<'_>) -> Result<SigningCommitments, Malformed> {
    let mut next = || {
        let point = NonceCommitment::deserialize(from.take(32)?);
        point.map_err(|_odd| Malformed("a commitment is no point"))
    };
    Ok(SigningCommitments::new(next()?, next()?))
}

/// The custodian of this number, who is asked to sign.
pub(crate) fn signer(group: &Group, request: &Request, number: u8) -> Result<Custodian, SignFlaw> {
    let name = group.members.get(&number).ok_or(Malformed("nobody's number"))?;
    if request.terms.custodians.contains(name) {
        Ok(name.clone())
    } else {
        Err(SignFlaw::Uninvolved(name.clone()))
    }
}

fn missing<T>(group: &Group, request: &Request, heard: &BTreeMap<u8, T>) -> Vec<Custodian> {
    let asked = request.terms.custodians.iter();
    let is_missing =
        |name: &&Custodian| group.number(name).is_none_or(|number| !heard.contains_key(&number));
    asked.filter(is_missing).cloned().collect()
}

fn complete(missing: &[Custodian]) -> Result<(), SignFlaw> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(Custodian::as_str).collect();
    Err(SignFlaw::Missing(names.join(", ")))
}

#[cfg(test)]
mod tests;
