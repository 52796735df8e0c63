//! `curfew incidents`: what must never happen, and a report of one.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use wire::incident::IncidentView;
use wire::octets::plain_json;
use wire::report::Report;

use crate::client::Client;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::file;
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment};
use crate::report::document;

/// List incidents, or write the report of one
///
/// For operators. `curfew-ca incident settle` on the authority's machine says that one was looked into.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Incidents {
    #[command(subcommand)]
    command: Option<Command>,
    /// Also those that are settled
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to do with one.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write all that is known of one into one document: who, when, on which hosts, under which grant and approvals, what was
    /// done, what was locked and what that ended, and which entries of the ledger say so
    ///
    /// The document is Markdown, in UTC, and names at most 50 different things of a kind for each session; it says how much is left out.
    /// For whom the policy lets take out what is recorded. That you read it is an entry in the ledger, before you do.
    Report {
        /// The incident's number
        #[arg(value_name = "NUMBER")]
        number: u64,
        /// Write it to this file, which must not be there yet and which you alone can read
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// JSON instead, with all that the document says
        #[arg(long)]
        json: bool,
    },
}

impl Incidents {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        if let Some(Command::Report { number, output, json }) = self.command {
            return report(&mut client, number, (output, json), screen);
        }
        let path = format!("/v1/incidents?all={}", self.all);
        let incidents: Vec<IncidentView> = client.get(&path)?;
        if self.json {
            screen.json(&incidents)?;
        } else if incidents.is_empty() {
            screen.line(if self.all {
                "There was no incident."
            } else {
                "No incident is open."
            })?;
        } else {
            screen.table(&table(&incidents))?;
        }
        Ok(Exit::Done)
    }
}

fn report(
    client: &mut Client,
    number: u64,
    (output, json): (Option<PathBuf>, bool),
    screen: &Screen,
) -> Result<Exit> {
    // Before it is asked for, which is an entry.
    if let Some(path) = output.as_deref().filter(|path| path.exists()) {
        let sentence = format!("{} is there already; name another file", path.display());
        return Err(Fault::Usage(sentence).into());
    }
    let report: Report = client.post(&format!("/v1/incidents/{number}/report"), &())?;
    let text = if json {
        let text = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        format!("{}\n", plain_json(&text))
    } else {
        document(&report)
    };
    let Some(path) = output else {
        screen.raw(text.as_bytes())?;
        return Ok(Exit::Done);
    };
    let shown = path.display().to_string();
    file::create(&path, text.as_bytes(), file::SECRET)
        .with_context(|| format!("cannot write {shown}"))?;
    screen.toned(Tone::Good, &format!("The report of incident {number} is in {shown}."))?;
    Ok(Exit::Done)
}

fn table(incidents: &[IncidentView]) -> Table {
    let mut table = Table::new(&["NUMBER", "HOST", "SEEN", "TIMES", "STATE", "WHAT"]);
    let now = clock::now();
    for incident in incidents {
        let state = match &incident.settled {
            None => Cell::toned(Tone::Bad, "open"),
            Some(settled) => Cell::toned(Tone::Faint, format!("settled by {}", settled.by)),
        };
        table.row(vec![
            incident.number.into(),
            Cell::toned(Tone::Strong, incident.host.as_str()),
            moment::relative(incident.first, now).into(),
            incident.count.into(),
            state,
            incident.cause.to_string().into(),
        ]);
    }
    table
}
