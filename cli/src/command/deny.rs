//! `curfew deny`: say no to a request, or take away what it was granted.

use anyhow::Result;
use wire::identifier::RequestId;
use wire::request::{NoAsk, RequestDetail, Sentence};

use super::requests::stand;
use crate::client::Client;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::Screen;

/// Deny a request; one that was approved is taken away, and its sessions end
#[derive(Debug, clap::Args)]
pub(crate) struct Deny {
    /// The request, such as r42
    request: RequestId,
    /// Why; whoever asked is told
    #[arg(long)]
    reason: Sentence,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Deny {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let path = format!("/v1/requests/{}/deny", self.request);
        let ask = NoAsk { reason: self.reason };
        let detail: RequestDetail = Client::of(&Home::find()?)?.post(&path, &ask)?;
        if self.json {
            screen.json(&detail)?;
        } else {
            screen.line(&format!("Request {} is {}.", self.request, stand(&detail)))?;
        }
        Ok(Exit::Done)
    }
}
