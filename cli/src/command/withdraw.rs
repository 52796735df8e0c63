//! `curfew withdraw`: take a request back.

use anyhow::Result;
use wire::identifier::RequestId;
use wire::request::{NoAsk, RequestDetail, Sentence};

use super::requests::stand;
use crate::client::Client;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::Screen;

/// Take a request of yours back before it is used
#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// The request, such as r42
    request: RequestId,
    /// Why, if there is more to say
    #[arg(long, default_value = "taken back by its owner")]
    reason: Sentence,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Withdraw {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let path = format!("/v1/requests/{}/withdraw", self.request);
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
