//! Recordings on a host's connection: taken part by part beside everything else, and brought to the disk by a loop of their
//! own, so that nothing waits for it.

use std::sync::{Arc, Mutex, PoisonError};

use ssh_key::PublicKey;
use tokio::sync::mpsc;
use wire::hostlink::ToHost;
use wire::identifier::HostName;
use wire::recording::lane::{Answer, Arrived, Assembly, Upload};

use super::frames::LinkError;
use crate::authority::Authority;
use crate::clock;
use crate::recording::intake::{Brought, Intake};

/// One host's recordings.
pub(super) struct Lane<'a> {
    authority: &'a Authority,
    intake: Arc<Mutex<Intake>>,
}

impl<'a> Lane<'a> {
    /// Those of `host`, by the key of its agent.
    pub(super) fn open(authority: &'a Authority, host: HostName, agent_key: Option<&str>) -> Self {
        // A key that cannot be read signs nothing.
        let agent_key = agent_key.and_then(|text| text.parse::<PublicKey>().ok());
        let agent_key = agent_key.map(|key| key.key_data().clone());
        Self { authority, intake: Arc::new(Mutex::new(Intake::new(host, agent_key))) }
    }

    /// Brings what came to the disk, one after the other, and answers.
    pub(super) async fn keep(
        &self,
        mut came: mpsc::Receiver<Brought>,
        answers: &mpsc::Sender<ToHost>,
    ) -> Result<(), LinkError> {
        while let Some(brought) = came.recv().await {
            let signer = self.authority.log_key().map_err(std::io::Error::other)?;
            let (intake, recordings) =
                (Arc::clone(&self.intake), Arc::clone(&self.authority.recordings));
            let taken = tokio::task::spawn_blocking(move || {
                let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
                intake.take(brought, (&recordings, &*signer), clock::now())
            });
            // One that is not even its own is not answered: a host that goes on so is not one of ours.
            let answer = taken.await.map_err(std::io::Error::other)?.ok_or(LinkError::Closed)?;
            let answer = ToHost::Recording(Box::new(answer));
            answers.try_send(answer).map_err(|_full| LinkError::Stuck)?;
        }
        // The frames have ended, and with them all of it.
        std::future::pending().await
    }
}

/// Takes a part; says how much has arrived, or hands over what is whole.
pub(super) fn arrived(
    assembly: &mut Assembly,
    upload: Upload,
    whole: &mpsc::Sender<Brought>,
) -> Result<Option<ToHost>, LinkError> {
    let brought = match upload {
        Upload::Closed(said) => Brought::Closed(said),
        Upload::Part(part) => {
            let (channel, block) = (part.channel, part.block);
            match assembly.take(part)? {
                Arrived::More { upto } => {
                    let taken = Answer::Taken { channel, block, upto };
                    return Ok(Some(ToHost::Recording(Box::new(taken))));
                }
                Arrived::Whole { bytes, said } => Brought::Block(bytes, said),
            }
        }
    };
    // A host that does not wait for the word on a block before it sends the next is not waited for.
    whole.try_send(brought).map_err(|_full| LinkError::Stuck)?;
    Ok(None)
}
