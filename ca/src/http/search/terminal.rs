//! `POST /v1/search/terminals`: what terminals showed and what was typed, for whoever may take out what is recorded, in the sessions
//! that they may watch. To look through a recording is to read it: an entry names the sessions whose recordings were
//! opened, before the answer goes out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use wire::api::SessionView;
use wire::identifier::{HostName, SessionId};
use wire::problem::Code;
use wire::retention::Class;
use wire::search::terminal::{
    Flaw, Line, Looked, MAX_LINES, Passed, TerminalAnswer, TerminalAsk, TerminalNext, Within,
};
use wire::search::{MAX_HITS, Whose};
use wire::time::Timestamp;

use super::{begun, parsed};
use crate::authority::Authority;
use crate::clock;
use crate::http::body::Body;
use crate::http::power::{Exporter, Onlooker};
use crate::http::refusal::Refusal;
use crate::ledger::{LedgerError, Reached, SessionAt};
use crate::recording::sweep::{Listed, Sweep, Swept};
use crate::search::Sought;

/// `POST /v1/search/terminals`
pub(crate) async fn terminals(
    State(authority): State<Arc<Authority>>,
    Exporter(caller): Exporter,
    Body(ask): Body<TerminalAsk>,
) -> Result<Json<TerminalAnswer>, Refusal> {
    let (query, reach) = parsed(&ask.query)?;
    if !reach.opens() {
        let message =
            "the search: it is about records alone; text:, seen: and typed: look at terminals";
        return Err(Refusal::new(Code::Malformed, message));
    }
    let (entry, now) = match ask.entry {
        Some(entry) => (entry, begun(&authority, &caller, (&ask.query, entry)).await?),
        None => {
            let now = clock::now();
            let begin = authority.ledger.begin_search(caller.actor(), ask.query.clone(), now);
            (begin.await?, now)
        }
    };
    let busy = || Refusal::new(Code::Busy, "other searches open recordings just now; try again");
    let turn = tokio::time::timeout(TURN, authority.recordings.sweeps.acquire()).await;
    let _turn = turn.map_err(|_elapsed| busy())?.map_err(|_never_closed| busy())?;
    if ask.next.is_none() {
        tracing::info!(entry, by = caller.actor().as_str(), "somebody searches recordings");
    }
    let sought = Arc::new(Sought::of(&query, reach, now));
    let most = if query.sessions().is_some() { MAX_HITS } else { MAX_LINES };
    let mut page = Page {
        authority: &authority,
        onlooker: Onlooker::of(&authority, &caller).await?,
        sweep: Sweep::of(&authority, Arc::clone(&sought)),
        most,
        limit: usize::try_from(ask.limit.clamp(1, MAX_HITS)).unwrap_or(1),
        opened: Vec::new(),
        answer: TerminalAnswer {
            entry,
            lines: Vec::new(),
            next: None,
            looked: Looked::default(),
            passed: Passed::default(),
            flaws: Vec::new(),
        },
    };
    match query.sessions() {
        Some(named) => {
            let sessions = named_sessions(&authority, named, ask.next.as_ref()).await?;
            page.look_at(&sessions, (&sought, ask.next.as_ref())).await?;
        }
        None => {
            let until = query.until(now).unwrap_or_else(|| Timestamp::from_millis(u64::MAX));
            let between = (query.since(now).unwrap_or(now), until);
            page.look_between(between, (&sought, ask.next)).await?;
        }
    }
    page.leave_deleted().await?;
    let Page { opened, answer, .. } = page;
    if !opened.is_empty() {
        authority.ledger.tell_opened(caller.actor(), (entry, opened), clock::now()).await?;
    }
    Ok(Json(answer))
}

/// The sessions of these names, as the ledger believes them, the newest first, from there on.
async fn named_sessions(
    authority: &Authority,
    named: BTreeSet<SessionId>,
    from: Option<&TerminalNext>,
) -> Result<Vec<SessionView>, LedgerError> {
    let mut sessions = Vec::new();
    for name in named {
        sessions.extend(authority.ledger.session_head(name).await?);
    }
    sessions.sort_by_key(|view| (std::cmp::Reverse(view.began), view.session));
    if let Some(from) = from {
        let place = sessions.iter().position(|view| is_at(view, from)).unwrap_or(sessions.len());
        let place = place.saturating_add(usize::from(from.within.is_none()));
        sessions.drain(..place.min(sessions.len()));
    }
    Ok(sessions)
}

fn is_at(session: &SessionView, from: &TerminalNext) -> bool {
    (session.session, &session.host) == (from.session, &from.host)
}

/// That a session was looked at to its end, or up to there.
fn after(session: &SessionView, within: Option<Within>) -> TerminalNext {
    let SessionView { began, session, host, .. } = session.clone();
    TerminalNext { began, session, host, within }
}

/// An answer that is being put together.
struct Page<'a> {
    authority: &'a Authority,
    onlooker: Onlooker,
    sweep: Sweep,
    /// At most so many lines of one recording.
    most: u64,
    /// With so many lines it is long enough.
    limit: usize,
    /// Whose recordings were opened.
    opened: Vec<SessionAt>,
    answer: TerminalAnswer,
}

impl Page<'_> {
    fn is_over(&self) -> bool {
        self.answer.lines.len() >= self.limit || self.sweep.is_over()
    }

    /// Looks at the sessions between two moments, from there on.
    async fn look_between(
        &mut self,
        (since, until): (Timestamp, Timestamp),
        (sought, mut from): (&Sought, Option<TerminalNext>),
    ) -> Result<(), Refusal> {
        loop {
            let reached = Reached { since, until, from: from.clone(), limit: AT_ONCE };
            let sessions = self.authority.ledger.sessions_reached(reached).await?;
            let Some(last) = sessions.last() else { return Ok(()) };
            self.look_at(&sessions, (sought, from.as_ref())).await?;
            if self.answer.next.is_some() {
                return Ok(());
            }
            from = Some(after(last, None));
        }
    }

    /// Looks at these sessions; at one of them from there on.
    async fn look_at(
        &mut self,
        sessions: &[SessionView],
        (sought, from): (&Sought, Option<&TerminalNext>),
    ) -> Result<(), Refusal> {
        for session in sessions {
            let within = from.filter(|from| is_at(session, from)).and_then(|from| from.within);
            if sought.is_about(session) {
                self.look_into(session, within).await?;
            }
            if self.answer.next.is_none() && self.is_over() {
                self.answer.next = Some(after(session, None));
            }
            if self.answer.next.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks through the recordings of a session, from there on.
    async fn look_into(
        &mut self,
        session: &SessionView,
        within: Option<Within>,
    ) -> Result<(), Refusal> {
        if !self.onlooker.may_watch(session) {
            self.answer.passed.closed = self.answer.passed.closed.saturating_add(1);
            return Ok(());
        }
        if self.is_deleted(session.session, &session.host).await? {
            self.answer.passed.deleted = self.answer.passed.deleted.saturating_add(1);
            return Ok(());
        }
        let recordings = self.sweep.list(session.host.clone(), session.session).await?;
        let count = u64::try_from(recordings.len()).unwrap_or(u64::MAX);
        if recordings.is_empty() {
            return Ok(());
        }
        let (host, name) = (session.host.clone(), session.session);
        self.opened.push(SessionAt { session: name, host });
        let is_first = u64::from(within.is_none());
        self.answer.looked.sessions = self.answer.looked.sessions.saturating_add(is_first);
        for listed in recordings {
            let begin = Within { channel: listed.channel, block: 1, told: 0 };
            let from = match within {
                Some(within) if listed.channel < within.channel => continue,
                Some(within) if listed.channel == within.channel => within,
                _ => begin,
            };
            if self.is_over() {
                self.answer.next = Some(after(session, Some(from)));
                return Ok(());
            }
            let room = (self.most, self.limit.saturating_sub(self.answer.lines.len()));
            let of = (&session.host, session.session, &listed);
            let swept = self.sweep.look(of, from, room).await?;
            let next = swept.next;
            self.tell((session, count), &listed, swept);
            if next.is_some() {
                self.answer.next = Some(after(session, next));
                return Ok(());
            }
        }
        Ok(())
    }

    fn tell(&mut self, (session, recordings): (&SessionView, u64), listed: &Listed, swept: Swept) {
        let SessionView { identity, login, role, began, .. } = session.clone();
        let whose = Whose { identity, login, role, began };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let channel = listed.channel;
        let lines = swept.lines.into_iter().map(|found| Line {
            host: session.host.clone(),
            session: session.session,
            channel,
            recordings,
            whose: whose.clone(),
            at: found.at,
            into_millis: millis(found.into),
            how: found.how,
            text: found.text,
            found: found.found,
        });
        self.answer.lines.extend(lines);
        let flaws = swept.flaws.into_iter().take(MAX_FLAWS).map(|what| Flaw {
            host: session.host.clone(),
            session: session.session,
            channel,
            what,
        });
        self.answer.flaws.extend(flaws);
        let recordings = u64::from(swept.next.is_none());
        let looked =
            Looked { sessions: 0, recordings, bytes: swept.bytes, millis: millis(swept.length) };
        self.answer.looked = self.answer.looked.and(looked);
        let crowded = u64::from(swept.is_crowded);
        self.answer.passed = self.answer.passed.and(Passed { crowded, ..Passed::default() });
    }

    /// Leaves out what was deleted while it was looked through.
    async fn leave_deleted(&mut self) -> Result<(), LedgerError> {
        let found: BTreeSet<(SessionId, HostName)> =
            self.answer.lines.iter().map(|line| (line.session, line.host.clone())).collect();
        for (session, host) in found {
            if self.is_deleted(session, &host).await? {
                self.answer.lines.retain(|line| (line.session, &line.host) != (session, &host));
                self.answer.passed.deleted = self.answer.passed.deleted.saturating_add(1);
            }
        }
        Ok(())
    }

    async fn is_deleted(&self, session: SessionId, host: &HostName) -> Result<bool, LedgerError> {
        let (_held, deleted) = self.authority.ledger.kept_of(session, host.clone()).await?;
        Ok(deleted.iter().any(|deleted| deleted.class == Class::Terminals))
    }
}

/// How long one search waits for another.
const TURN: Duration = Duration::from_secs(15);
/// Sessions that are asked for together.
const AT_ONCE: u64 = 200;
/// Most flaws that are told of one recording.
const MAX_FLAWS: usize = 10;
