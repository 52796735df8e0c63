//! A recording in the reader's terminal: where it comes from, how it is shown, and what keys do.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use screen::film::Film;
use screen::player::{Mark, Player, Wish};
use wire::api::SessionDetail;
use wire::channel::ChannelId;
use wire::reading::{Passage, ReadAnswer, ReadAsk, RecordingView};
use wire::record::{ChannelEvent, Event};
use wire::recording::record::Record;

use crate::client::Client;
use crate::clock;
use crate::render::Screen;
use crate::timeline;

mod keys;
mod stage;

use keys::{Command, Keyboard};
use stage::Stage;

/// A recording that is being read.
pub(crate) struct Source {
    entry: u64,
    next: u64,
    ended: bool,
}

/// A session, and one of its recordings.
pub(crate) struct Chosen {
    /// The session, with its records.
    pub(crate) detail: SessionDetail,
    /// The recording.
    pub(crate) recording: RecordingView,
}

impl Chosen {
    /// The same of a session that goes on: one whose terminal has only just been opened has its first second still on its way.
    pub(crate) fn find_live(
        client: &mut Client,
        session: wire::identifier::SessionId,
        (number, screen): (Option<usize>, &Screen),
    ) -> Result<Self> {
        let begun = clock::instant();
        loop {
            let found = Self::find(client, session, number);
            let (is_absent, waited) =
                (found.is_err(), clock::instant().saturating_duration_since(begun));
            if !is_absent || waited >= FIRST || !is_coming(client, session)? {
                screen.progress("");
                return found;
            }
            screen.progress("waiting for the first of the recording");
            client.pause(LOOK);
        }
    }

    /// Finds the recording: the one that is named, or the one that there is; of several the one that was opened first.
    pub(crate) fn find(
        client: &mut Client,
        session: wire::identifier::SessionId,
        number: Option<usize>,
    ) -> Result<Self> {
        let (detail, recordings) = in_order(client, session)?;
        let count = recordings.len();
        if count == 0 {
            bail!(
                "session {session} has no recording: its role keeps none, or it opened no terminal; `curfew sessions show {session}` says what it did"
            );
        }
        let number = number.unwrap_or(1);
        let at = number.checked_sub(1);
        let recording = at.and_then(|at| recordings.into_iter().nth(at)).with_context(|| {
            format!(
                "session {session} has {}; --channel counts from 1",
                crate::render::count(u64::try_from(count).unwrap_or(u64::MAX), "recording")
            )
        })?;
        Ok(Self { detail, recording })
    }

    /// `ana@example.com as app@db1`
    pub(crate) fn title(&self) -> String {
        let session = &self.detail.session;
        format!("{} as {}@{}", session.identity, session.login, session.host)
    }

    /// The programs that were started on the recording's terminal, each at its place in the film.
    fn marks(&self, film: &Film) -> Vec<Mark> {
        let Some(began) = film.began_uptime() else { return Vec::new() };
        let terminal = opened(&self.detail)
            .into_iter()
            .find(|(channel, _)| *channel == self.recording.channel)
            .map(|(_, terminal)| terminal);
        let plain = |name: &str| name.replace('/', "");
        let mut marks = Vec::new();
        for record in &self.detail.records {
            let Event::Exec(exec) = &record.event else { continue };
            let is_here = match (&terminal, &exec.terminal) {
                (Some(here), Some(there)) => plain(here) == plain(there),
                (Some(_), None) => false,
                (None, _) => true,
            };
            if is_here && record.uptime >= began {
                let name = timeline::command(exec);
                marks.push(Mark { at: record.uptime.since(began), name });
            }
        }
        marks
    }
}

/// A session, and its recordings in the order in which they were opened, which `--channel` counts.
pub(crate) fn in_order(
    client: &mut Client,
    session: wire::identifier::SessionId,
) -> Result<(SessionDetail, Vec<RecordingView>)> {
    let detail: SessionDetail = client.get(&format!("/v1/sessions/{session}"))?;
    let mut recordings: Vec<RecordingView> =
        client.get(&format!("/v1/sessions/{session}/recordings"))?;
    let order = opened(&detail);
    let place = |channel: ChannelId| order.iter().position(|(known, _)| *known == channel);
    recordings.sort_by_key(|one| (place(one.channel).unwrap_or(usize::MAX), one.channel));
    Ok((detail, recordings))
}

/// Whether a session is alive, so that its host may be about to send what it records.
fn is_coming(client: &mut Client, session: wire::identifier::SessionId) -> Result<bool> {
    let detail: SessionDetail = client.get(&format!("/v1/sessions/{session}"))?;
    Ok(detail.session.ended.is_none())
}

/// The channels of a session with their terminals, in the order in which they were opened.
fn opened(detail: &SessionDetail) -> Vec<(ChannelId, String)> {
    let opened = detail.records.iter().filter_map(|record| match &record.event {
        Event::Channel(ChannelEvent::Opened { channel, terminal, .. }) => {
            Some((*channel, terminal.clone()))
        }
        _ => None,
    });
    opened.collect()
}

impl Source {
    /// Says that the recording is read, and may then read it.
    pub(crate) fn open(client: &mut Client, chosen: &Chosen, live: bool) -> Result<Self> {
        let ask = ReadAsk {
            session: chosen.detail.session.session,
            host: chosen.recording.host.clone(),
            channel: chosen.recording.channel,
            live,
        };
        let answer: ReadAnswer = client.post("/v1/readings", &ask)?;
        Ok(Self { entry: answer.entry, next: 1, ended: false })
    }

    /// Adds what has come to the film; whether anything had.
    pub(crate) fn read(&mut self, client: &mut Client, film: &mut Film) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let path = format!("/v1/readings/{}?block={}", self.entry, self.next);
        let passage: Passage = client.get(&path)?;
        let records = Record::read_all(passage.records.as_bytes())
            .context("the authority's answer holds no records of a recording")?;
        let is_more = passage.next > self.next;
        records.into_iter().for_each(|record| film.push(record));
        (self.next, self.ended) = (passage.next, passage.ended);
        Ok(is_more)
    }

    /// Adds everything that there is.
    pub(crate) fn read_all(
        &mut self,
        client: &mut Client,
        film: &mut Film,
        screen: &Screen,
    ) -> Result<()> {
        while self.read(client, film)? {
            screen.progress(&format!("{} of the recording read", rough(film.length())));
        }
        screen.progress("");
        Ok(())
    }
}

/// How a recording is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// How fast, in hundredths.
    pub(crate) speed: u32,
    /// Whether times in which nothing happens are passed over.
    pub(crate) skips_idle: bool,
    /// Where it begins.
    pub(crate) from: Duration,
    /// Whether it is watched while it goes on: at its end, and with what comes.
    pub(crate) live: bool,
}

/// Shows a recording until the reader has enough.
pub(crate) fn show(
    client: &mut Client,
    (chosen, source, film): (&Chosen, &mut Source, Film),
    manner: Manner,
) -> Result<()> {
    let marks = chosen.marks(&film);
    let mut player = Player::new(film, marks);
    player.set_speed(manner.speed);
    if manner.skips_idle {
        player.act(&Wish::Idle);
    }
    player.act(&Wish::To(manner.from));
    let mut follows = manner.live;
    let mut stage = Stage::enter()?;
    let (mut keyboard, mut said) = (Keyboard::default(), String::new());
    let (mut last, mut asked) = (clock::instant(), clock::instant());
    loop {
        if follows {
            player.act(&Wish::To(Duration::MAX));
        }
        let line = status(&chosen.title(), &player, (follows, &said), keyboard.is_typing());
        stage.show(player.frame(), &line)?;
        let keys = stage.keys(FRAME)?;
        for command in keyboard.take(&keys) {
            said.clear();
            match command {
                Command::Quit => return Ok(()),
                Command::End => {
                    follows = !source.ended;
                    player.act(&Wish::To(Duration::MAX));
                }
                Command::Typing(text) => {
                    said = if keyboard.is_typing() { format!("/{text}") } else { String::new() }
                }
                Command::Film(wish) => {
                    follows = false;
                    if !player.act(&wish) {
                        said = "there is none".to_owned();
                    }
                }
                Command::Nothing => {}
            }
        }
        let now = clock::instant();
        player.pass(now.saturating_duration_since(last));
        last = now;
        if manner.live && now.saturating_duration_since(asked) >= LOOK {
            asked = now;
            source.read(client, player.film_mut())?;
        }
    }
}

/// What stands below the picture.
fn status(title: &str, player: &Player, (follows, said): (bool, &str), is_typing: bool) -> String {
    if is_typing || !said.is_empty() {
        return format!(" {said}");
    }
    let pace = match (follows, player.film().is_ended(), player.is_over()) {
        (true, false, _) => "live".to_owned(),
        (_, _, true) => "at the end".to_owned(),
        _ => player.pace(),
    };
    let mark = player.mark().map(|mark| format!("  $ {}", mark.name)).unwrap_or_default();
    format!(
        " {}/{}  {pace}  {title}{mark}  |  space pause, arrows seek, < > speed, i idle, n p command, / find, q quit",
        clock_of(player.at()),
        clock_of(player.film().length())
    )
}

/// `1:02:03`, `02:03`.
fn clock_of(span: Duration) -> String {
    let secs = span.as_secs();
    let (hours, minutes, secs) = (secs / 3_600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{secs:02}")
    } else {
        format!("{minutes:02}:{secs:02}")
    }
}

fn rough(span: Duration) -> String {
    crate::duration::rough(span)
}

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// How long after a session began its first recording may come.
const FIRST: Duration = Duration::from_secs(5);
/// How often it is asked what has come.
const LOOK: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shown_as_clocks_have_them() {
        assert_eq!(clock_of(Duration::from_secs(63)), "01:03");
        assert_eq!(clock_of(Duration::from_secs(3_723)), "1:02:03");
    }
}
