//! A recording as it can be shown: its moments in order, and keyframes to go to any of them at once.

use std::time::Duration;

use wire::recording::record::{Content, Record};
use wire::time::{Timestamp, Uptime};

use crate::emulator::{Emulator, Keyframe};
use crate::frame::{Frame, Size};

/// A recording.
#[derive(Debug, Default)]
pub struct Film {
    began: Option<(Timestamp, Uptime)>,
    term: Option<String>,
    moments: Vec<Moment>,
    keyframes: Vec<(usize, Keyframe)>,
    /// At the end of what has come.
    last: Option<Emulator>,
    since_keyframe: usize,
    ended: bool,
}

/// What happened at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// How long after the beginning.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// The kinds of thing that happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The session wrote this.
    Output(Vec<u8>),
    /// The client typed this.
    Input(Vec<u8>),
    /// The client typed so many bytes that are not kept.
    Hidden(u32),
    /// The terminal has this size.
    Size(Size),
    /// Something was said about the session.
    Note(String),
    /// So many bytes passed and are not kept.
    Lost(u64),
    /// The channel ended.
    End(wire::channel::End),
}

impl Film {
    /// Takes the next record.
    pub fn push(&mut self, record: Record) {
        let began = match &record.content {
            Content::Begin(begin) => (begin.at, record.at),
            _ => self.began.unwrap_or((Timestamp::from_millis(0), record.at)),
        };
        self.began = Some(began);
        let before = self.length();
        // A recording never goes back; one that does is shown as if it stood still.
        let at = record.at.since(began.1).max(before);
        let what = match record.content {
            Content::Begin(begin) => {
                self.term = begin.term.map(|term| term.as_str().to_owned());
                What::Size(Size::new(begin.size.columns, begin.size.rows))
            }
            Content::Output(bytes) => What::Output(bytes),
            Content::Input(bytes) => What::Input(bytes),
            Content::Hidden(count) => What::Hidden(count),
            Content::Size(size) => What::Size(Size::new(size.columns, size.rows)),
            Content::Note(text) => What::Note(text),
            Content::Loss(lost) => What::Lost(lost.output.saturating_add(lost.input)),
            Content::End(end) => What::End(end),
        };
        self.add(Moment { at, what });
    }

    fn add(&mut self, moment: Moment) {
        self.ended |= matches!(moment.what, What::End(_));
        let emulator = self.last.get_or_insert_with(|| Emulator::new(USUAL));
        moment.what.show(emulator);
        if let What::Output(bytes) = &moment.what {
            self.since_keyframe = self.since_keyframe.saturating_add(bytes.len());
        }
        self.moments.push(moment);
        if self.since_keyframe >= KEYFRAME_BYTES
            && let Some(keyframe) = emulator.keyframe()
        {
            self.keyframes.push((self.moments.len(), keyframe));
            self.since_keyframe = 0;
        }
    }

    /// When it began, by the host's wall clock.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        self.began.map(|(at, _)| at)
    }

    /// The host's clock since boot when it began.
    #[must_use]
    pub fn began_uptime(&self) -> Option<Uptime> {
        self.began.map(|(_, at)| at)
    }

    /// What the session called its terminal.
    #[must_use]
    pub fn term(&self) -> Option<&str> {
        self.term.as_deref()
    }

    /// From its beginning to its last moment so far.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.moments.last().map_or(Duration::ZERO, |moment| moment.at)
    }

    /// Whether its end has come.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Its moments so far.
    #[must_use]
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// What is shown at the end of what has come.
    #[must_use]
    pub fn last_frame(&self) -> Option<Frame> {
        self.last.as_ref().map(Emulator::frame)
    }

    /// The screen after the first `count` moments.
    #[must_use]
    pub fn screen_after(&self, count: usize) -> Emulator {
        let known = self.keyframes.partition_point(|(at, _)| *at <= count);
        let known = known.checked_sub(1).and_then(|at| self.keyframes.get(at));
        let (from, mut emulator) = match known {
            Some((at, keyframe)) => (*at, Emulator::from_keyframe(keyframe)),
            None => (0, Emulator::new(USUAL)),
        };
        for moment in self.moments.get(from..count).unwrap_or_default() {
            moment.what.show(&mut emulator);
        }
        emulator
    }

    /// How many moments are over at this time.
    #[must_use]
    pub fn over_at(&self, at: Duration) -> usize {
        self.moments.partition_point(|moment| moment.at <= at)
    }

    /// Every line that was ever whole on the screen, each with the moment at which it was last seen: what scrolled off, what
    /// stood there before the screen was cleared for another program, and what is there at the end.
    #[must_use]
    pub fn lines(&self) -> Vec<(Duration, String)> {
        let mut emulator = Emulator::keeping_lines(USUAL);
        let mut lines = Vec::new();
        let mut at = Duration::ZERO;
        for moment in &self.moments {
            at = moment.at;
            moment.what.show(&mut emulator);
            lines.extend(emulator.take_lines().into_iter().map(|line| (at, line)));
        }
        lines.extend(emulator.frame().text().into_iter().map(|line| (at, line)));
        lines.retain(|(_, line)| !line.trim().is_empty());
        lines
    }
}

impl What {
    /// Does to the screen what it did.
    pub fn show(&self, emulator: &mut Emulator) {
        match self {
            Self::Output(bytes) => emulator.feed(bytes),
            Self::Size(size) => emulator.resize(*size),
            Self::Input(_) | Self::Hidden(_) | Self::Note(_) | Self::Lost(_) | Self::End(_) => {}
        }
    }
}

/// The size of a terminal before it is told.
const USUAL: Size = Size::usual();
/// After so much output the next moment between sequences is a keyframe.
const KEYFRAME_BYTES: usize = 64 * 1024;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::recording::record::{Begin, Size as Told};

    /// A film of outputs, each so many milliseconds after the beginning.
    pub(crate) fn film(outputs: &[(u64, &str)]) -> Film {
        let mut film = Film::default();
        let at =
            |millis: u64| Uptime::from_nanos(5_000_000_000).after(Duration::from_millis(millis));
        let size = Told { columns: 20, rows: 4 };
        let begin = Begin { at: Timestamp::from_secs(1_000), size, term: None };
        film.push(Record { number: 1, at: at(0), content: Content::Begin(begin) });
        for (number, (millis, text)) in (2_u64..).zip(outputs) {
            let content = Content::Output(text.as_bytes().to_vec());
            film.push(Record { number, at: at(*millis), content });
        }
        film
    }

    #[test]
    fn each_moment_shows_what_had_come_by_then() {
        let film = film(&[(100, "one"), (200, "\r\ntwo"), (900, "\x1b[2J\x1b[Hthree")]);
        let text = |millis: u64| {
            let count = film.over_at(Duration::from_millis(millis));
            film.screen_after(count).frame().text().join("|")
        };
        assert_eq!(text(0), "|||");
        assert_eq!(text(100), "one|||");
        assert_eq!(text(250), "one|two||");
        assert_eq!(text(900), "three|||");
        assert_eq!(film.length(), Duration::from_millis(900));
        assert_eq!(film.began(), Some(Timestamp::from_secs(1_000)));
    }

    #[test]
    fn lines_are_found_wherever_they_went() {
        let film =
            film(&[(1, "alpha\r\nbeta\r\n"), (2, "gamma\r\ndelta\r\n"), (3, "\x1b[2J\x1b[Hend")]);
        let lines: Vec<String> = film.lines().into_iter().map(|(_, line)| line).collect();
        for line in ["alpha", "beta", "gamma", "delta", "end"] {
            assert!(lines.iter().any(|known| known == line), "{line}: {lines:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn keyframes_change_nothing(parts in proptest::collection::vec("[a-z\\x1b\\[;0-9HmJK]{0,40}", 1..60), at in 0_usize..60) {
            let outputs: Vec<(u64, String)> = (0_u64..).zip(parts).map(|(at, part)| (at, part.repeat(400))).collect();
            let outputs: Vec<(u64, &str)> = outputs.iter().map(|(at, text)| (*at, text.as_str())).collect();
            let film = film(&outputs);
            let count = at.min(film.moments().len());
            let mut plain = Emulator::new(USUAL);
            film.moments().iter().take(count).for_each(|moment| moment.what.show(&mut plain));
            prop_assert_eq!(film.screen_after(count).frame().text(), plain.frame().text());
        }
    }
}
