//! What is left of a recording whose blocks were deleted, held against what was known of it: the host's signed last word and
//! the host's own record of the end, against what the ledger says was deleted. Pure.

use ssh_key::public::KeyData;

use crate::identifier::{HostName, SessionId};
use crate::log::Hash;
use crate::retention::RecordingWas;

use super::statement::{Said, Signed};
use super::stored::{Piece, Place};
use super::verify::{Fault, Finding, Spot};

/// A recording that was deleted, and whose it was.
#[derive(Debug)]
pub struct Remaining<'a> {
    /// The host.
    pub host: &'a HostName,
    /// The session.
    pub session: SessionId,
    /// What the ledger says that it was.
    pub was: &'a RecordingWas,
    /// The agent's keys that the host had.
    pub keys: &'a [KeyData],
    /// The hash of the last block by the record that the host made when the channel closed.
    pub recorded: Option<Hash>,
}

impl Remaining<'_> {
    /// Everything that is not as it should be, given the objects that are left of it.
    #[must_use]
    pub fn findings<'b>(
        &self,
        left: impl IntoIterator<Item = (&'b str, &'b [u8])>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |at, fault| findings.push(Finding { at, fault });
        let mut is_closed = false;
        for (name, bytes) in left {
            match name.parse::<Place>().map(|place| place.piece) {
                Ok(Piece::Closed) => {
                    is_closed = true;
                    if let Err(fault) = self.closing(bytes) {
                        find(Spot::Closing, fault);
                    }
                }
                Ok(Piece::Block(number)) => find(Spot::Block(number), Fault::StillThere),
                Err(_) => find(Spot::Object(name.to_owned()), Fault::Stray),
            }
        }
        if self.was.closed && !is_closed {
            find(Spot::Closing, Fault::Missing);
        }
        if let (Some(recorded), Some(head)) = (self.recorded, self.was.head)
            && recorded != head
        {
            find(Spot::Block(self.was.blocks), Fault::NotRecorded);
        }
        findings
    }

    /// Whether the host's last word is about the recording that was deleted.
    fn closing(&self, bytes: &[u8]) -> Result<(), Fault> {
        let unsigned = |error: String| Fault::Unsigned(error);
        let signed: Signed =
            serde_json::from_slice(bytes).map_err(|error| unsigned(error.to_string()))?;
        let said = signed.read::<Said>(self.keys).map_err(|error| unsigned(error.to_string()))?;
        let Said::Closed(closed) = said else {
            return Err(unsigned("it is about something else".into()));
        };
        let is_of = (&closed.host, closed.session, closed.channel)
            == (self.host, self.session, self.was.channel);
        if !is_of {
            return Err(unsigned("it is about something else".into()));
        }
        match self.was.head {
            Some(head) if (closed.blocks, closed.head) != (self.was.blocks, head) => {
                Err(Fault::OtherEnd { blocks: closed.blocks, found: self.was.blocks })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;

    use super::super::statement::Closed;
    use super::*;
    use crate::channel::ChannelId;

    fn key() -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[3; 32]))
    }

    fn head() -> Hash {
        Hash([7; 32])
    }

    fn word(blocks: u64, head: Hash, channel: u64) -> Vec<u8> {
        let closed = Closed {
            version: crate::VERSION,
            host: "db1".parse().unwrap(),
            session: "00000000000000a1".parse().unwrap(),
            channel: ChannelId::new(channel),
            blocks,
            head,
            end: None,
            torn: 0,
            broken: false,
        };
        let key = key();
        let signed =
            Signed::make(&Said::Closed(closed), key.public_key(), |message| raw(&key, message));
        serde_json::to_vec(&signed.unwrap()).unwrap()
    }

    fn raw(
        key: &impl ssh_key::SigningKey,
        message: &[u8],
    ) -> Result<ssh_key::Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn said(left: &[(&str, &[u8])], recorded: Option<Hash>, closed: bool) -> Vec<String> {
        let was = RecordingWas {
            channel: ChannelId::new(5),
            blocks: 4,
            bytes: 9,
            closed,
            head: Some(head()),
            findings: Vec::new(),
        };
        let keys = [key().public_key().key_data().clone()];
        let host = "db1".parse().unwrap();
        let session = "00000000000000a1".parse().unwrap();
        let remaining = Remaining { host: &host, session, was: &was, keys: &keys, recorded };
        let findings = remaining.findings(left.iter().copied());
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_left_must_be_the_end_of_what_was_deleted() {
        let name = "db1/00000000000000a1/0000000000000005/closed";
        let good = word(4, head(), 5);
        assert_eq!(said(&[(name, &good)], Some(head()), true), [""; 0]);
        assert_eq!(said(&[], None, false), [""; 0]);
        assert_eq!(said(&[], None, true), ["the host's last word: missing"]);
        assert_eq!(said(&[(name, &good)], Some(Hash([8; 32])), true).len(), 1);
        for bad in [word(5, head(), 5), word(4, Hash([8; 32]), 5), word(4, head(), 6)] {
            assert_eq!(said(&[(name, &bad)], None, true).len(), 1);
        }
        let mut changed = good.clone();
        let at = changed.len() / 4;
        changed[at] ^= 1;
        assert_eq!(said(&[(name, &changed)], None, true).len(), 1);
        let block = "db1/00000000000000a1/0000000000000005/0000000002.block";
        let found = said(&[(block, b""), (name, &good)], None, true);
        assert_eq!(found, ["block 2: is still stored, though it was deleted"]);
    }
}
