//! `curfew audit export`.

use anyhow::Result;
use wire::export::{ExportAnswer, ExportAsk};

use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::Exit;
use crate::home::Home;
use crate::ocsf;
use crate::render::{Screen, count};

/// Print records as JSON lines, for other programs
///
/// Host by host, each host's in its own order: the same records come out the same, whenever they are asked for. Each export is an entry in
/// the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// As the records are, or as events of the Open Cybersecurity Schema Framework
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Only those of the last such span, as in 12h or 7d
    #[arg(long, value_name = "SPAN")]
    since: Option<Span>,
    /// Only those from before the last such span
    #[arg(long, value_name = "SPAN")]
    before: Option<Span>,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Records, each with its host and whose session it is
    Jsonl,
    /// OCSF events; records without a class are left out and counted
    Ocsf,
}

impl Export {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let now = clock::now();
        let ago = |span: Option<Span>| span.map(|span| now.before(span.duration()));
        let mut ask = ExportAsk { since: ago(self.since), before: ago(self.before), next: None };
        let (mut written, mut left_out) = (0_u64, 0_u64);
        loop {
            let answer: ExportAnswer = client.post("/v1/exports", &ask)?;
            for record in &answer.records {
                match self.format {
                    Format::Jsonl => screen.json_line(record)?,
                    Format::Ocsf => match ocsf::event(record) {
                        Some(event) => screen.json_line(&event)?,
                        None => {
                            left_out = left_out.saturating_add(1);
                            continue;
                        }
                    },
                }
                written = written.saturating_add(1);
            }
            ask.next = answer.next;
            if ask.next.is_none() {
                break;
            }
            screen.progress(&format!("{written} written"));
        }
        screen.progress("");
        if left_out > 0 {
            let left_out = count(left_out, "record");
            screen.note(&format!(
                "{written} written; {left_out} of kinds that OCSF has no class for"
            ));
        }
        Ok(Exit::Done)
    }
}
