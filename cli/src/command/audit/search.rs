//! `curfew audit search`.

use anyhow::Result;
use jiff::tz::TimeZone;
use wire::search::query::Query;
use wire::search::{Hit, MAX_HITS, SearchAnswer, SearchAsk};

use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::render::{Screen, Tone, count, moment};
use crate::timeline;

mod terminals;

use terminals::Terminals;

/// Find what was done: commands, arguments, paths, what terminals showed, and what was typed
#[derive(Debug, clap::Args)]
#[command(long_about = LANGUAGE)]
pub(crate) struct Search {
    #[arg(value_name = "QUERY", required = true, num_args = 1.., help = EXAMPLE)]
    query: Vec<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

impl Search {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let text = self.query.join(" ");
        let wrong = |error: String| Fault::Usage(format!("the search: {error}"));
        let query = Query::parse(&text).map_err(|error| wrong(error.to_string()))?;
        let reach = query.reach().map_err(|error| wrong(error.to_string()))?;
        let mut client = Client::of(&Home::find()?)?;
        let entry = match reach.records {
            true => self.records(&mut client, &text, screen)?,
            false => None,
        };
        if query.could_open() && !self.json {
            screen.note("among records alone; with text: in front of it, what terminals showed is searched as well");
        }
        if reach.opens() {
            let search = Terminals { query: text, entry, limit: self.limit, json: self.json };
            search.run(&mut client, screen)?;
        }
        Ok(Exit::Done)
    }

    /// Looks among records, and says which entry the search is.
    fn records(&self, client: &mut Client, query: &str, screen: &Screen) -> Result<Option<u64>> {
        let (mut next, mut found, mut read, mut entry) = (None, 0_u64, 0_u64, None);
        loop {
            let limit = self.limit.saturating_sub(found).min(MAX_HITS);
            if limit == 0 {
                break;
            }
            let ask = SearchAsk { query: query.to_owned(), limit, next: next.take() };
            let answer: SearchAnswer = client.post("/v1/search", &ask)?;
            entry = Some(answer.entry);
            if answer.unsearched > 0 {
                let waits = count(answer.unsearched, "record");
                screen.note(&format!("{waits} are not indexed yet and were not searched"));
            }
            found = found.saturating_add(u64::try_from(answer.hits.len()).unwrap_or(u64::MAX));
            read = read.saturating_add(answer.read);
            screen.progress("");
            answer.hits.iter().try_for_each(|hit| self.show(hit, screen))?;
            next = answer.next;
            if next.is_none() {
                break;
            }
            screen.progress(&format!("{} read, {found} found", count(read, "record")));
        }
        screen.progress("");
        if !self.json {
            let more = if next.is_some() { "; there may be more: --limit" } else { "" };
            let read = count(read, "record");
            screen.note(&format!("{} found, {read} read{more}", count(found, "record")));
        }
        Ok(entry)
    }

    fn show(&self, hit: &Hit, screen: &Screen) -> Result<()> {
        if self.json {
            return screen.json_line(hit);
        }
        let at = moment::clock(hit.record.at, &TimeZone::system());
        let (who, place) = match (&hit.whose, hit.record.session) {
            (Some(whose), Some(session)) => {
                let into = hit.record.at.since(whose.began);
                let into = format!("+{}.{:03}", into.as_secs(), into.subsec_millis());
                (
                    format!("{} {}@{}", whose.identity, whose.login, hit.host),
                    format!("{session} {into}"),
                )
            }
            (_, Some(session)) => (hit.host.to_string(), session.to_string()),
            (_, None) => (hit.host.to_string(), "no session".to_owned()),
        };
        let line = timeline::line(&hit.record);
        let head = screen.paint(Tone::Faint, &format!("{at}  {place}"));
        let text = screen.paint(line.tone, &format!("{:<7}  {}", line.what, line.text));
        screen.line(&format!("{head}  {}  {text}", screen.paint(Tone::Strong, &who)))
    }
}

const EXAMPLE: &str = "What to find, as in 'exec:rm path:/etc who:ana since:7d'";
const LANGUAGE: &str = "\
Find what was done: commands, arguments, paths, what terminals showed, and what was typed

Records come first, the newest before the others, in the order in which the authority got them. Terms with blanks between them must all \
fit; a term is a text, or a field with its value:

  exec:rm           a program of this name; with a slash, of this path; * stands for anything
  arg:-rf           an argument as a whole; * stands for anything
  connect:10.0.0.9  a connection to this address, or to one with a port, as 10.0.0.9:443; * stands for anything
  path:/etc         a path that is this one or lies below it
  \"rm -rf\"         text in a record, in capitals or not
  text:\"rm -rf\"    the same, and in a line that a terminal showed or that was typed
  seen:\"rm -rf\"    in a line that a terminal showed; typed:\"rm -rf\" in one that was typed
  who:ana           the person, by the whole name or the part before the @
  host:db1, login:app, role:deploy, session:4f0c9a1be2d37781
  uid:0             a program that ran as this user
  kind:refused      a kind of record: exec, refused, incident, threshold, loss and others
  since:7d, until:2026-11-30T06:30

A value may be several with commas between them; a dash before a term turns it round. Where the first term has one, put -- before it.

For text:, seen: and typed:, recordings are opened, so say since when or which session; of each, the command to look at the moment is \
printed. Lines are read as they stood on the screen, whatever coloured or parted them. What was typed is told as keys edited it, and as it was \
typed; what a terminal did not show, such as a password, is in no recording. Only sessions that you may watch are looked into, and \
the ledger says which were. At the end it says what was looked at, and what was not.";
