//! `curfew audit search` with `text:`, `seen:` or `typed:`: the lines that terminals showed, and where to look at them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use jiff::tz::TimeZone;
use wire::channel::ChannelId;
use wire::identifier::SessionId;
use wire::search::MAX_HITS;
use wire::search::terminal::{Flaw, How, Line, Looked, Passed, TerminalAnswer, TerminalAsk};

use crate::client::Client;
use crate::duration::rough;
use crate::render::{Screen, Tone, count, moment, plain};
use crate::replay::in_order;

/// A search of what terminals showed.
pub(super) struct Terminals {
    /// What for.
    pub(super) query: String,
    /// The entry that it is already, when records were searched before.
    pub(super) entry: Option<u64>,
    /// At most so many.
    pub(super) limit: u64,
    /// Whether for programs.
    pub(super) json: bool,
}

/// What was looked at and what was not.
#[derive(Default)]
struct Account {
    found: u64,
    sessions: BTreeMap<SessionId, Vec<ChannelId>>,
    looked: Looked,
    passed: Passed,
    flaws: u64,
}

impl Terminals {
    pub(super) fn run(self, client: &mut Client, screen: &Screen) -> Result<()> {
        let (mut entry, mut next, mut account) = (self.entry, None, Account::default());
        loop {
            let limit = self.limit.saturating_sub(account.found).min(MAX_HITS);
            if limit == 0 {
                break;
            }
            let ask = TerminalAsk { query: self.query.clone(), limit, entry, next: next.take() };
            let answer: TerminalAnswer = client.post_slow("/v1/search/terminals", &ask, WAIT)?;
            screen.progress("");
            entry = Some(answer.entry);
            account.take(&answer);
            for line in &answer.lines {
                self.show(line, (client, &mut account), screen)?;
            }
            answer.flaws.iter().for_each(|flaw| account.note(flaw, screen));
            next = answer.next;
            let Some(next) = &next else { break };
            let back = moment::clock(next.began, &TimeZone::system());
            let sessions = count(account.looked.sessions, "session");
            screen.progress(&format!(
                "{sessions} looked at, back to {back}; {} found",
                account.found
            ));
        }
        screen.progress("");
        let (looked, left_out) = (account.looked(), account.passed());
        if !self.json {
            let more = if next.is_some() { "; there may be more: --limit" } else { "" };
            let found = count(account.found, "line");
            screen.note(&format!("{found} of terminals found; looked at {looked}{more}"));
        }
        left_out.iter().for_each(|what| screen.note(&format!("not looked at: {what}")));
        Ok(())
    }

    fn show(
        &self,
        line: &Line,
        (client, account): (&mut Client, &mut Account),
        screen: &Screen,
    ) -> Result<()> {
        if self.json {
            return screen.json_line(line);
        }
        let at = moment::clock(line.at, &TimeZone::system());
        let into = format!("+{}.{:03}", line.into_millis / 1_000, line.into_millis % 1_000);
        let head = screen.paint(Tone::Faint, &format!("{at}  {} {into}", line.session));
        let who = format!("{} {}@{}", line.whose.identity, line.whose.login, line.host);
        let how = match line.how {
            How::Seen => "seen",
            How::Typed => "typed",
        };
        let text = marked(line, screen);
        screen.line(&format!("{head}  {}  {how:<7}  {text}", screen.paint(Tone::Strong, &who)))?;
        let there = account.command(line, client)?;
        screen.line(&screen.paint(Tone::Faint, &format!("    {there}")))
    }
}

impl Account {
    fn take(&mut self, answer: &TerminalAnswer) {
        let found = u64::try_from(answer.lines.len()).unwrap_or(u64::MAX);
        self.found = self.found.saturating_add(found);
        self.looked = self.looked.and(answer.looked);
        self.passed = self.passed.and(answer.passed);
    }

    fn note(&mut self, flaw: &Flaw, screen: &Screen) {
        self.flaws = self.flaws.saturating_add(1);
        if self.flaws <= MAX_FLAWS {
            let Flaw { host, session, what, .. } = flaw;
            screen.note(&format!("a recording of session {session} on {host}: {what}"));
        }
    }

    /// What shows the moment.
    fn command(&mut self, line: &Line, client: &mut Client) -> Result<String> {
        let mut command = format!("curfew replay {}", line.session);
        // A span is at least a second.
        if let secs @ 1.. = line.into_millis / 1_000 {
            command.push_str(&format!(" --at {secs}s"));
        }
        if line.recordings > 1 {
            let channels = match self.sessions.get(&line.session) {
                Some(channels) => channels,
                None => {
                    let (_, recordings) = in_order(client, line.session)?;
                    let channels = recordings.iter().map(|one| one.channel).collect();
                    self.sessions.entry(line.session).or_insert(channels)
                }
            };
            let place = channels.iter().position(|channel| *channel == line.channel);
            if let Some(number) = place.map(|place| place.saturating_add(1)) {
                command.push_str(&format!(" --channel {number}"));
            }
        }
        Ok(command)
    }

    fn looked(&self) -> String {
        let Looked { sessions, recordings, bytes, millis } = self.looked;
        let (recordings, sessions) = (count(recordings, "recording"), count(sessions, "session"));
        let (span, size) = (rough(Duration::from_millis(millis)), size(bytes));
        format!("{recordings} of {sessions}, {span} and {size} of terminals")
    }

    /// What was not looked at, and why.
    fn passed(&self) -> Vec<String> {
        let Passed { closed, deleted, crowded } = self.passed;
        let mut left_out = Vec::new();
        if closed > 0 {
            left_out.push(format!("{} that you may not watch", count(closed, "session")));
        }
        if deleted > 0 {
            let sessions = count(deleted, "session");
            left_out.push(format!("{sessions} whose recordings were deleted"));
        }
        if crowded > 0 {
            let recordings = count(crowded, "recording");
            left_out.push(format!(
                "the rest of {recordings} with more lines than are told; name the session for more of them"
            ));
        }
        if let Some(more @ 1..) = self.flaws.checked_sub(MAX_FLAWS) {
            left_out
                .push(format!("{more} more parts of recordings; `curfew audit verify` says which"));
        }
        left_out
    }
}

/// The line with what was found in it, which stands out where colours are shown.
fn marked(line: &Line, screen: &Screen) -> String {
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (start, length) = (place(line.found.0), place(line.found.1));
    let part = |skip: usize, take: usize| -> String {
        plain(&line.text.chars().skip(skip).take(take).collect::<String>())
    };
    let after = start.saturating_add(length);
    let found = screen.paint(Tone::Warning, &part(start, length));
    format!("{}{found}{}", part(0, start), part(after, usize::MAX))
}

/// Bytes in the largest unit that still tells.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => count(bytes, "byte"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// How much longer than others a page may take: the authority opens recordings for some seconds, and may do so for somebody
/// else before.
const WAIT: Duration = Duration::from_secs(25);
/// So many flaws are told one by one.
const MAX_FLAWS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_their_largest_unit() {
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(83_999), "83 kB");
        assert_eq!(size(12_000_000), "12 MB");
    }
}
