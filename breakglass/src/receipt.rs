//! What is kept of a signature: the request, what every custodian committed to, and every custodian's part.
//!
//! The signature alone does not say who made it. The parts do: each verifies under the public share of its custodian, and nobody
//! else can make it. So a receipt is evidence, whoever hands it in, and the certificate follows from it.
//!
//! Who can change this: whoever keeps it. Gains: can lose it, and then the use stays an incident; cannot forge one.

use std::collections::BTreeMap;

use frost_ed25519::round2::SignatureShare;
use wire::certificate::Sealed;
use wire::identifier::Custodian;

use crate::bytes::{Malformed, Reader, Writer};
use crate::group::Group;
use crate::letter::{Kind, Letter};
use crate::request::Request;
use crate::sign::{Round, SignFlaw, decode, encode, signer};

/// What is kept of a signature.
#[derive(Debug, Clone)]
pub struct Receipt {
    round: Round,
    kept_by: u8,
    shares: BTreeMap<u8, SignatureShare>,
}

impl Receipt {
    pub(crate) const fn of(
        round: Round,
        kept_by: u8,
        shares: BTreeMap<u8, SignatureShare>,
    ) -> Self {
        Self { round, kept_by, shares }
    }

    /// Reads a receipt from its letter, and checks that the custodians of its group made every part.
    ///
    /// # Errors
    /// The first thing that is wrong, or whose part is false.
    pub fn read(text: &str) -> Result<Self, SignFlaw> {
        let receipt = Self::decode(&Letter::read(text)?.expect(Kind::Receipt)?)?;
        drop(receipt.certificate()?);
        Ok(receipt)
    }

    /// What was asked for.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.round.request
    }

    /// Whose key signed. That a host believes it is another question.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.round.group
    }

    /// Who kept this copy.
    #[must_use]
    pub fn kept_by(&self) -> Option<&Custodian> {
        self.round.group.members.get(&self.kept_by)
    }

    /// The certificate that was signed.
    ///
    /// # Errors
    /// When a part is false.
    pub fn certificate(&self) -> Result<Sealed, SignFlaw> {
        self.round.finish(&self.shares)
    }

    /// The receipt as a letter.
    ///
    /// # Errors
    /// Never for what was signed.
    pub fn letter(&self) -> Result<Letter, SignFlaw> {
        let mut to = Writer::default();
        to.text(&self.round.group.encode()).text(&self.round.request.encode());
        to.u8(self.kept_by).count(self.shares.len());
        for (number, share) in &self.shares {
            let commitments = self.round.heard.get(number).ok_or(Malformed("no commitment"))?;
            to.u8(*number).raw(&encode(commitments)?).raw(&share.serialize());
        }
        Ok(Letter::new(Kind::Receipt, to.done()))
    }

    fn decode(body: &[u8]) -> Result<Self, SignFlaw> {
        let mut from = Reader::new(body);
        let group = Group::decode(from.bytes()?)?;
        let request = Request::decode(from.bytes()?)?;
        request.fits(&group)?;
        let (kept_by, count) = (from.u8()?, from.u8()?);
        signer(&group, &request, kept_by)?;
        let (mut heard, mut shares) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..count {
            let number = from.u8()?;
            let name = signer(&group, &request, number)?;
            heard.insert(number, decode(&mut from)?);
            let share = SignatureShare::deserialize(from.take(32)?);
            let share = share.map_err(|_odd| SignFlaw::Blame(name.to_string()))?;
            if shares.insert(number, share).is_some() {
                return Err(SignFlaw::Contradicts(name));
            }
        }
        from.end()?;
        if shares.len() != request.terms.custodians.len() {
            return Err(Malformed("another number of custodians").into());
        }
        Ok(Self { round: Round { group, request, heard }, kept_by, shares })
    }
}
