//! `curfew sessions`: who is where, and what happened.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::tz::TimeZone;
use serde::Serialize;
use wire::api::{SessionDetail, SessionView};
use wire::identifier::{HostName, Identity, Login, RoleName, SessionId};
use wire::kill::{Kills, Seal};
use wire::record::EndReason;
use wire::retention::{Deleted, Remains};
use wire::review::Verdict;
use wire::time::Timestamp;

use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::Exit;
use crate::home::Home;
use crate::manner::{self, Manner, Whole};
use crate::render::{Cell, Screen, Table, Tone, count, moment, plain};
use crate::timeline::{self, Line};
use crate::url::query;

/// List sessions, or show what happened in one
///
/// You see your own; an operator sees everybody's.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Sessions {
    /// Show one session
    #[command(subcommand)]
    one: Option<One>,
    /// Also those that have ended
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which sessions.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only those of this identity
    #[arg(long)]
    identity: Option<Identity>,
    /// Only those on this host
    #[arg(long)]
    host: Option<HostName>,
    /// Only those as this account
    #[arg(long)]
    login: Option<Login>,
    /// Only those under this role
    #[arg(long)]
    role: Option<RoleName>,
    /// Only those that began in the last such span, as in 30m or 12h
    #[arg(long, value_name = "SPAN")]
    since: Option<Span>,
    /// Only those that began before the last such span
    #[arg(long, value_name = "SPAN")]
    before: Option<Span>,
    /// Only those that ended like this
    #[arg(long, value_name = "HOW", value_parser = EndReason::NAMES)]
    ended: Option<String>,
    /// Only those that were reviewed like this
    #[arg(long, value_name = "VERDICT", value_parser = Verdict::NAMES)]
    verdict: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 200)]
    limit: usize,
}

#[derive(Debug, clap::Subcommand)]
enum One {
    /// Show what happened in a session, as a timeline
    Show {
        /// The session, 16 hex digits
        #[arg(value_name = "ID")]
        session: SessionId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A session with who started what in it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    detail: &'a SessionDetail,
    /// Of the session; absent where nothing was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    manner: Option<Whole>,
    /// Of each program, by the number of its record.
    manners: BTreeMap<u64, Manner>,
}

impl<'a> Shown<'a> {
    fn of(detail: &'a SessionDetail) -> Self {
        let manners = manner::manners(&detail.records);
        Self { detail, manner: manner::whole(&manners), manners }
    }
}

impl Sessions {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        match self.one {
            Some(One::Show { session, json }) => {
                let detail: SessionDetail = client.get(&format!("/v1/sessions/{session}"))?;
                if json {
                    screen.json(&Shown::of(&detail))?;
                } else {
                    show(&detail, clock::now(), screen)?;
                }
            }
            None => {
                let all = self.all || self.which.ended.is_some() || self.which.verdict.is_some();
                let sessions = self.which.fetch(all, &mut client, clock::now())?;
                if self.json { screen.json(&sessions)? } else { list(&sessions, all, screen)? }
            }
        }
        Ok(Exit::Done)
    }
}

impl Which {
    /// Those that fit, page by page: live ones first, then the newest.
    fn fetch(&self, all: bool, client: &mut Client, now: Timestamp) -> Result<Vec<SessionView>> {
        let mut sessions: Vec<SessionView> = Vec::new();
        let asked = self.asked(all, now);
        loop {
            let mut asked = asked.clone();
            let missing = self.limit.saturating_sub(sessions.len()).min(PAGE);
            asked.push(("limit", missing.to_string()));
            if let Some(last) = sessions.last() {
                asked.push(("after_ended", last.ended.is_some().to_string()));
                asked.push(("after_began_millis", last.began.millis().to_string()));
                asked.push(("after_session", last.session.to_string()));
                asked.push(("after_host", last.host.to_string()));
            }
            let page: Vec<SessionView> = client.get(&format!("/v1/sessions{}", query(&asked)))?;
            let is_last = page.len() < missing;
            // One that ended between two pages comes again, as ended.
            for one in page {
                sessions.retain(|had| (had.session, &had.host) != (one.session, &one.host));
                sessions.push(one);
            }
            if is_last || sessions.len() >= self.limit {
                return Ok(sessions);
            }
        }
    }

    fn asked(&self, all: bool, now: Timestamp) -> Vec<(&'static str, String)> {
        let mut asked = Vec::new();
        asked.extend((!all).then(|| ("live", "true".to_owned())));
        asked.extend(self.identity.as_ref().map(|name| ("identity", name.to_string())));
        asked.extend(self.host.as_ref().map(|name| ("host", name.to_string())));
        asked.extend(self.login.as_ref().map(|name| ("login", name.to_string())));
        asked.extend(self.role.as_ref().map(|name| ("role", name.to_string())));
        let ago = |span: Span| now.before(span.duration()).millis().to_string();
        asked.extend(self.since.map(|span| ("since_millis", ago(span))));
        asked.extend(self.before.map(|span| ("before_millis", ago(span))));
        asked.extend(self.ended.as_ref().map(|how| ("how", how.clone())));
        asked.extend(self.verdict.as_ref().map(|verdict| ("verdict", verdict.clone())));
        asked
    }
}

fn list(sessions: &[SessionView], all: bool, screen: &Screen) -> Result<()> {
    if sessions.is_empty() {
        let hint = if all {
            "No such session was recorded."
        } else {
            "No session is alive; --all shows those that ended."
        };
        return screen.line(hint);
    }
    print(sessions, screen)
}

/// The sessions as a table.
pub(super) fn print(sessions: &[SessionView], screen: &Screen) -> Result<()> {
    screen.table(&table(sessions, clock::now()))
}

fn table(sessions: &[SessionView], now: Timestamp) -> Table {
    let mut table =
        Table::new(&["SESSION", "WHO", "WHERE", "ROLE", "BEGAN", "END", "EXECS", "LOST", "REVIEW"]);
    for session in sessions {
        table.row(vec![
            session.session.into(),
            Cell::toned(Tone::Strong, session.identity.as_str()),
            format!("{}@{}", session.login, session.host).into(),
            session.role.as_str().into(),
            moment::relative(session.began, now).into(),
            end(session, now),
            session.execs.into(),
            Cell::toned(
                if session.lost == 0 { Tone::Faint } else { Tone::Bad },
                session.lost.to_string(),
            ),
            review(session),
        ]);
    }
    table
}

fn review(session: &SessionView) -> Cell {
    match &session.review {
        Some(review) if review.verdict == Verdict::Ok => Cell::toned(Tone::Good, "ok"),
        Some(review) => Cell::toned(Tone::Bad, review.verdict.as_str()),
        None if session.ended.is_some() => Cell::toned(Tone::Faint, "due"),
        None => "".into(),
    }
}

fn end(session: &SessionView, now: Timestamp) -> Cell {
    match &session.ended {
        None => Cell::toned(Tone::Good, format!("due {}", moment::relative(session.until, now))),
        Some(ended) => {
            let tone = if ended.survivors == 0 { Tone::Plain } else { Tone::Bad };
            let why = timeline::reason(&ended.reason);
            Cell::toned(tone, format!("{}, {why}", moment::relative(ended.at, now)))
        }
    }
}

fn show(detail: &SessionDetail, now: Timestamp, screen: &Screen) -> Result<()> {
    head(&detail.session, now, screen)?;
    if let Some(view) = &detail.killed {
        let mut kills = Kills::default();
        kills.count(view);
        let is_whole = view.killed.is_over() && view.seal == Seal::Signed;
        let tone = if is_whole { Tone::Plain } else { Tone::Bad };
        screen.toned(tone, &timeline::killed(&view.killed, &kills))?;
    }
    kept(detail, now, screen)?;
    spoiled(detail, screen)?;
    odd(detail, screen)?;
    if let Some(whole) = manner::whole(&manner::manners(&detail.records)) {
        screen.toned(Tone::Faint, &whole.to_string())?;
    }
    screen.line("")?;
    let lines = timeline::lines(&detail.records);
    if lines.is_empty() {
        return screen.toned(Tone::Faint, "Nothing of it has arrived yet.");
    }
    for Line { offset, what, text, tone } in lines {
        let at = format!("+{}.{:03}", offset.as_secs(), offset.subsec_millis());
        let at = screen.paint(Tone::Faint, &format!("{at:>10}"));
        screen.line(&format!("{at}  {}", screen.paint(tone, &format!("{what:<7}  {text}"))))?;
    }
    Ok(())
}

/// What its host made while it was alive, and is not what was written: some of it may have been its own.
pub(crate) fn spoiled(detail: &SessionDetail, screen: &Screen) -> Result<()> {
    if detail.spoiled.is_empty() {
        return Ok(());
    }
    screen.toned(Tone::Bad, "NOT whole: of what its host recorded while it was alive, this is spoiled, and may have been its own:")?;
    for spoiled in &detail.spoiled {
        screen.toned(Tone::Bad, &format!("  {spoiled}"))?;
    }
    Ok(())
}

/// What was odd in it, for whoever may review it.
fn odd(detail: &SessionDetail, screen: &Screen) -> Result<()> {
    let Some(odd) = &detail.odd else { return Ok(()) };
    if odd.reasons.is_empty() {
        return screen.toned(Tone::Faint, "nothing in it is odd");
    }
    let so_far = if detail.session.ended.is_some() { "" } else { " so far" };
    screen.toned(Tone::Warning, &format!("odd{so_far}, {} of 100:", odd.weight))?;
    for reason in &odd.reasons {
        screen.line(&format!("  {:>+3} {}", reason.weight, plain(&reason.says)))?;
    }
    Ok(())
}

/// Who holds it, and what of it is not there any more.
fn kept(detail: &SessionDetail, now: Timestamp, screen: &Screen) -> Result<()> {
    let zone = TimeZone::system();
    if let Some(hold) = &detail.held {
        let at = moment::both(hold.at, now, &zone);
        let line = format!("held since {at} by {}: {}", plain(&hold.by), plain(&hold.reason));
        screen.toned(Tone::Warning, &line)?;
    }
    for deleted in &detail.deleted {
        screen.toned(Tone::Warning, &deletion(deleted, now, &zone))?;
    }
    Ok(())
}

/// `activity was deleted on … by ops@example.com and eve@example.com: its time is over (14 records)`
pub(crate) fn deletion(deleted: &Deleted, now: Timestamp, zone: &TimeZone) -> String {
    let [one, other] = &deleted.by;
    let what = match &deleted.what {
        Remains::Recordings(was) => {
            let blocks = was.iter().map(|was| was.blocks).fold(0, u64::saturating_add);
            let of = count(u64::try_from(was.len()).unwrap_or(u64::MAX), "recording");
            format!("{of}, {}", count(blocks, "block"))
        }
        Remains::Records { count: records, .. } => count(*records, "record"),
    };
    format!(
        "{} deleted {} by {} and {}: {} ({what})",
        deleted.class,
        moment::both(deleted.at, now, zone),
        plain(one),
        plain(other),
        plain(&deleted.reason)
    )
}

fn head(session: &SessionView, now: Timestamp, screen: &Screen) -> Result<()> {
    let zone = TimeZone::system();
    let title = format!(
        "{} as {}@{}, session {}",
        session.identity, session.login, session.host, session.session
    );
    screen.toned(Tone::Strong, &title)?;
    screen.line(&format!(
        "certificate {}, grant {}, role {}, from {}",
        session.serial,
        session.grant,
        session.role,
        plain(&session.remote)
    ))?;
    screen.line(&format!("began {}", moment::both(session.began, now, &zone)))?;
    match &session.ended {
        None => screen.toned(
            Tone::Good,
            &format!("alive; must end {}", moment::both(session.until, now, &zone)),
        )?,
        Some(ended) => {
            let at = moment::both(ended.at, now, &zone);
            let tone = if ended.survivors == 0 { Tone::Plain } else { Tone::Bad };
            screen.toned(tone, &format!("ended {at}: {}", timeline::ending(ended)))?;
        }
    }
    if let Some(review) = &session.review {
        let tone = if review.verdict == Verdict::Ok { Tone::Good } else { Tone::Bad };
        let note = if review.note.is_empty() {
            String::new()
        } else {
            format!(": {}", plain(&review.note))
        };
        let at = moment::both(review.at, now, &zone);
        screen.toned(
            tone,
            &format!("reviewed {at} by {}: {}{note}", plain(&review.by), review.verdict),
        )?;
    }
    let execs = count(session.execs, "program");
    if session.lost == 0 {
        return screen.line(&format!("{execs} started, no event lost"));
    }
    screen.toned(Tone::Bad, &format!("{execs} started, {} lost", count(session.lost, "event")))
}

/// Most sessions of one answer.
const PAGE: usize = 500;
