//! A report of an incident as one document in Markdown, which is read on a terminal as well. Pure.
//!
//! All times are UTC. Whatever a stranger wrote is escaped: for terminals, and so that it makes no heading, link, picture, table or
//! HTML of the document.

use jiff::tz::TimeZone;
use wire::kill::Kills;
use wire::octets::plain;
use wire::report::{Deeds, EntryRef, Named, Relation, Report, ReportedOrder, ReportedSession};
use wire::request::{Asked, RequestDetail};
use wire::time::Timestamp;

use crate::command::sessions::deletion;
use crate::duration::{rough, took};
use crate::progress::{self, Kind};
use crate::render::{count, moment};
use crate::timeline;

/// The document, with a line end at the end.
pub(crate) fn document(report: &Report) -> String {
    let mut page = Page::default();
    page.head(report);
    page.sessions(report);
    page.requests(report);
    page.orders(report);
    page.ledger(report);
    page.0
}

/// The document as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.line(&format!("\n{title}\n"));
    }

    fn row(&mut self, cells: &[&str]) {
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    fn table(&mut self, heads: &[&str]) {
        self.row(heads);
        self.row(&vec!["---"; heads.len()]);
    }

    fn head(&mut self, report: &Report) {
        let incident = &report.incident;
        self.line(&format!("# Incident {} on {}\n", incident.number, word(incident.host.as_str())));
        self.line(&format!("- **what**: {}", word(&incident.cause.to_string())));
        let last = if incident.count > 1 {
            format!("; {} times, last at {}", incident.count, at(incident.last))
        } else {
            String::new()
        };
        self.line(&format!("- **seen**: {}{last}", at(incident.first)));
        self.line(&match &incident.settled {
            None => "- **settled**: not yet; it is open".to_owned(),
            Some(settled) => format!(
                "- **settled**: at {} by {}: {}",
                at(settled.at),
                word(&settled.by),
                word(&settled.reason)
            ),
        });
        self.line(&format!(
            "- **this report**: made at {} for {}, which is entry {} of the ledger; authority {}. All times are UTC.",
            at(report.made),
            word(&report.by),
            report.reading,
            code(report.authority.as_str())
        ));
    }

    fn sessions(&mut self, report: &Report) {
        self.title(match report.relation {
            Relation::Subject => "## Who, where, and what was done",
            Relation::Around => "## Who was on the host at that time",
        });
        if report.relation == Relation::Around {
            self.line("The incident is of the host. It says nothing of these sessions.\n");
        }
        if report.sessions.is_empty() {
            self.line("No session is known.");
        }
        for session in &report.sessions {
            self.session(session, report.made);
        }
        if report.more_sessions > 0 {
            self.line(&format!("\nLeft out: {}.", count(report.more_sessions, "session")));
        }
    }

    fn session(&mut self, told: &ReportedSession, made: Timestamp) {
        let view = &told.session;
        self.title(&format!("### Session {}", view.session));
        self.line(&format!(
            "- **who**: {} as {} on {}, under role {}, from {}",
            word(view.identity.as_str()),
            word(view.login.as_str()),
            word(view.host.as_str()),
            word(view.role.as_str()),
            word(&view.remote)
        ));
        let end = view.ended.as_ref().map_or_else(
            || format!("it goes on, and must end by {}", at(view.until)),
            |ended| format!("ended at {}: {}", at(ended.at), word(&timeline::ending(ended))),
        );
        self.line(&format!("- **when**: began at {}; {end}", at(view.began)));
        self.line(&format!("- **under**: {}", under(told)));
        if let Some(view) = &told.killed {
            let mut kills = Kills::default();
            kills.count(view);
            self.line(&format!("- **its end**: {}", word(&timeline::killed(&view.killed, &kills))));
        }
        if let Some(review) = &view.review {
            let note = if review.note.is_empty() { "" } else { ": " };
            self.line(&format!(
                "- **reviewed**: at {} by {}: {}{note}{}",
                at(review.at),
                word(&review.by),
                review.verdict,
                word(&review.note)
            ));
        }
        if let Some(odd) = told.odd.as_ref().filter(|odd| !odd.reasons.is_empty()) {
            self.line(&format!("- **odd**, {} of 100:", odd.weight));
            for reason in &odd.reasons {
                self.line(&format!("  - {}: {}", reason.weight, word(&reason.says)));
            }
        }
        for deleted in &told.deleted {
            let words = deletion(deleted, made, &TimeZone::UTC);
            self.line(&format!("- **deleted**: {}", word(&words)));
        }
        self.line(&format!("- **lost**: {}", count(view.lost, "event")));
        for deeds in &told.deeds {
            self.deeds(deeds);
        }
    }

    fn deeds(&mut self, deeds: &Deeds) {
        let kind = deeds.kind.as_str();
        self.line(&format!("\n{} {}:\n", capital(kind), count(deeds.total, "time")));
        self.table(&["first, by the host's clock", "times", kind]);
        for Named { what, times, first } in &deeds.named {
            let times = times.to_string();
            self.row(&[&at(*first), &times, &word(&what.display())]);
        }
        if deeds.more > 0 {
            self.line(&format!("\nLeft out: other things, {}.", count(deeds.more, "time")));
        }
    }

    fn requests(&mut self, report: &Report) {
        self.title("## Requests and approvals");
        if report.requests.is_empty() {
            self.line("No request: the role requires no approval, or none is known.");
        }
        for request in &report.requests {
            self.request(request);
        }
    }

    fn request(&mut self, detail: &RequestDetail) {
        let view = &detail.view;
        let hosts: Vec<String> = view.hosts.iter().map(|host| word(host.as_str())).collect();
        self.line(&format!(
            "- **{}**, {}: {} asked at {} for role {} on {} for {}: {}",
            view.request,
            view.state.word(),
            word(view.identity.as_str()),
            at(view.at),
            word(view.role.as_str()),
            hosts.join(", "),
            rough(std::time::Duration::from_secs(view.duration_secs)),
            word(view.reason.as_str())
        ));
        if view.breakglass {
            self.line("  - break-glass: nobody was asked");
        }
        if let Ok(asked) = Asked::parse(&detail.text) {
            if let Some(expected) = &asked.expected {
                self.line(&format!("  - expected: {}", word(expected.as_str())));
            }
            if let Some(ticket) = &asked.ticket {
                self.line(&format!("  - ticket: {}", word(ticket.as_str())));
            }
        }
        if let Some(risk) = &detail.risk {
            self.line(&format!("  - risk: {} of 100", risk.score));
        }
        for approval in &detail.approvals {
            let void = approval.void.as_ref();
            let void =
                void.map_or_else(String::new, |why| format!("; counts no more: {}", word(why)));
            self.line(&format!(
                "  - approved at {} by {} with key {}{void}",
                at(approval.at),
                word(approval.by.as_str()),
                word(approval.key.as_str())
            ));
        }
        if let Some(note) = &detail.note {
            self.line(&format!("  - ended: {}", word(note)));
        }
    }

    fn orders(&mut self, report: &Report) {
        self.title("## Locks, and what they ended");
        if report.orders.is_empty() {
            self.line("Nothing of this was locked.");
        }
        for order in &report.orders {
            self.order(order);
        }
        if report.more_orders > 0 {
            self.line(&format!("\nLeft out: {}.", count(report.more_orders, "order")));
        }
    }

    fn order(&mut self, told: &ReportedOrder) {
        let (verb, kind) =
            if told.lifted { ("unlocked", Kind::Unlock) } else { ("locked", Kind::Lock) };
        let why = told.reason.as_deref().unwrap_or("");
        let colon = if why.is_empty() { "" } else { ": " };
        self.line(&format!(
            "- **order {}**, at {}: {} {verb} by {}{colon}{}",
            told.order,
            at(told.at),
            word(&told.target.to_string()),
            word(&told.by),
            word(why)
        ));
        let Some(progress) = &told.progress else { return };
        let mut lines = progress::Teller::default().news(progress, kind);
        if kind == Kind::Lock {
            lines.extend(progress::steps(progress));
        }
        lines.extend(progress::unfinished(progress, kind));
        for (_, words) in lines {
            self.line(&format!("  - {}", word(&words)));
        }
        if told.more > 0 {
            self.line(&format!("  - left out: {}", count(told.more, "host")));
        }
        self.line(&format!(
            "  - done on {} of {}, the last receipt after {}",
            told.done,
            count(told.hosts, "host"),
            took(progress.took_micros)
        ));
    }

    fn ledger(&mut self, report: &Report) {
        self.title("## What the ledger says");
        self.table(&["entry", "at", "kind", "hash of its leaf"]);
        for EntryRef { entry, at: made, kind, hash } in &report.entries {
            let entry = entry.to_string();
            self.row(&[&entry, &at(*made), &code(kind), &code(&hash.to_string())]);
        }
        if report.more_entries > 0 {
            self.line(&format!("\nLeft out: {}.", count(report.more_entries, "entry")));
        }
        if report.unsearched {
            self.line("\nThere were too many entries in that time to look at all: later ones may be missing here.");
        }
        self.line(&format!(
            "\nThe tree had {} entries under {} when this report was made.",
            report.tree.size,
            code(&report.tree.root.to_string())
        ));
        let numbers = report.entries.iter().map(|entry| entry.entry);
        let (first, last) = (numbers.clone().min(), numbers.max());
        let (Some(first), Some(last)) = (first, last) else { return };
        let file = format!("incident-{}.jsonl", report.incident.number);
        self.line(&format!(
            "An operator takes these entries out with `curfew ledger export --after {} --to {last} > {file}`. Whoever has that file, and the \
             ledger's public keys from somebody they trust (`curfew ledger keys`), checks it anywhere, without asking anybody:\n",
            first.saturating_sub(1)
        ));
        self.line(&format!(
            "    curfew ledger verify --from {file} --entries {first}..{last} --keys KEYS"
        ));
        self.line(
            "\nThat file holds what every entry in between says, also of other matters. A mirror (`curfew ledger export --tiles DIR`, then \
             `--from DIR`) proves that the entries are there and says nothing of what they say.",
        );
    }
}

/// `grant g17 (2026-… to 2026-…), certificate 7, request r3`
fn under(told: &ReportedSession) -> String {
    let view = &told.session;
    let window = told.grant.as_ref().map_or_else(
        || " (not known to the ledger)".to_owned(),
        |grant| format!(" ({} to {})", at(grant.from), at(grant.until)),
    );
    let request = told.grant.as_ref().and_then(|grant| grant.request);
    let request = request.map_or_else(String::new, |request| format!(", request {request}"));
    format!("grant {}{window}, certificate {}{request}", view.grant, view.serial)
}

fn at(moment: Timestamp) -> String {
    moment::clock(moment, &TimeZone::UTC)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// What is made of letters, digits and few signs alone, to be copied as it is.
fn code(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "+/=_:-.".contains(letter);
    if text.chars().all(is_plain) { format!("`{text}`") } else { word(text) }
}

/// Text from elsewhere, made safe for a terminal and for Markdown: what could begin something there has a backslash before it,
/// as `CommonMark` lets every sign of ASCII have.
fn word(text: &str) -> String {
    let text = plain(text);
    let mut shown = String::with_capacity(text.len());
    let mut before = ' ';
    for character in text.chars() {
        let makes_address = (character == '/' && before == '/')
            || (character == '.' && before.eq_ignore_ascii_case(&'w'))
            || (character == ':' && before.is_ascii_alphabetic());
        if "\\`*_{}[]<>()#+!|~&$@".contains(character) || makes_address {
            shown.push('\\');
        }
        shown.push(character);
        before = character;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_wrote_makes_nothing_of_the_document() {
        for (text, shown) in [
            ("/usr/bin/psql -c 1", "/usr/bin/psql -c 1"),
            ("a|b", "a\\|b"),
            ("x\n# heading", "x\\\\n\\# heading"),
            ("<img src=x>", "\\<img src=x\\>"),
            ("[a](http://x)", "\\[a\\]\\(http\\:/\\/x\\)"),
            ("www.example.com", "www\\.example.com"),
            ("ana@example.com", "ana\\@example.com"),
            ("`$(id)`\u{1b}[2J\u{202e}", "\\`\\$\\(id\\)\\`\\\\u\\{1b\\}\\[2J\\\\u\\{202e\\}"),
            ("![p](//e)", "\\!\\[p\\]\\(/\\/e\\)"),
        ] {
            assert_eq!(word(text), shown);
        }
    }
}
