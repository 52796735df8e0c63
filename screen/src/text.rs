//! The text of a recording: the lines that its terminal showed and those that were typed, each with its moment.

use std::time::Duration;

use wire::recording::record::{Content, Record};
use wire::search::terminal::How;
use wire::time::{Timestamp, Uptime};

use crate::emulator::Emulator;
use crate::frame::Size;
use crate::keys::Keys;

/// A recording that is read line by line; nothing is kept of it but its screen.
#[derive(Debug)]
pub struct Text {
    began: Option<(Timestamp, Uptime)>,
    at: Duration,
    screen: Option<Emulator>,
    keys: Option<Keys>,
    lost: u64,
}

/// A line: letters, and nothing that drives a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// How long after the beginning.
    pub at: Duration,
    /// Which of its kind it is: a line that is gone on with is handed over again under the same number.
    pub number: u64,
    /// Whether it was shown or typed.
    pub how: How,
    /// The line.
    pub text: &'a str,
}

impl Text {
    /// Of a recording that is to come; what is not wanted is not worked out.
    #[must_use]
    pub fn new(seen: bool, typed: bool) -> Self {
        Self {
            began: None,
            at: Duration::ZERO,
            screen: seen.then(|| Emulator::new(Size::usual())),
            keys: typed.then(Keys::default),
            lost: 0,
        }
    }

    /// Takes from its first record when the recording began, where what is pushed begins later.
    pub fn begin(&mut self, first: &Record) {
        let began = match &first.content {
            Content::Begin(begin) => begin.at,
            _ => Timestamp::from_millis(0),
        };
        self.began.get_or_insert((began, first.at));
    }

    /// Takes the next record.
    pub fn push(&mut self, record: &Record, hand: &mut dyn FnMut(Line<'_>)) {
        self.begin(record);
        let began = self.began.map_or(record.at, |(_, uptime)| uptime);
        // A recording never goes back; one that does is read as if it stood still.
        self.at = record.at.since(began).max(self.at);
        let at = self.at;
        match (&record.content, &mut self.screen) {
            (Content::Output(bytes), Some(screen)) => screen.feed_read(bytes, at, hand),
            (Content::Begin(begin), Some(screen)) => {
                screen.resize_read(Size::new(begin.size.columns, begin.size.rows), hand);
            }
            (Content::Size(size), Some(screen)) => {
                screen.resize_read(Size::new(size.columns, size.rows), hand);
            }
            _ => {}
        }
        match (&record.content, &mut self.keys) {
            (Content::Input(bytes), Some(keys)) => keys.push(bytes, at, hand),
            // What was not kept is no part of any line.
            (Content::Hidden(_), Some(keys)) => keys.end(hand),
            _ => {}
        }
        if let Content::Loss(lost) = &record.content {
            self.lost = self.lost.saturating_add(lost.output).saturating_add(lost.input);
        }
    }

    /// Hands over the lines that were begun and not ended.
    pub fn finish(&mut self, hand: &mut dyn FnMut(Line<'_>)) {
        if let Some(screen) = &mut self.screen {
            screen.read_rest(hand);
        }
        if let Some(keys) = &mut self.keys {
            keys.end(hand);
        }
    }

    /// When it began, by the host's wall clock.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        self.began.map(|(at, _)| at)
    }

    /// From its beginning to the last moment so far.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.at
    }

    /// Bytes that passed and were not kept.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::recording::record::{Begin, Lost, Size as Told, Why};

    #[test]
    fn what_was_shown_and_what_was_typed_are_told_apart_with_their_moments() {
        let size = Told { columns: 40, rows: 4 };
        let contents = [
            (0, Content::Begin(Begin { at: Timestamp::from_secs(1_000), size, term: None })),
            (100, Content::Output(b"$ ".to_vec())),
            (200, Content::Input(b"ls\r".to_vec())),
            (210, Content::Output(b"ls\r\nalpha\r\nPassword: ".to_vec())),
            (300, Content::Input(b"x".to_vec())),
            (300, Content::Hidden(8)),
            (310, Content::Loss(Lost { output: 5, input: 1, why: Why::Disk })),
            (400, Content::Output(b"\r\nok".to_vec())),
        ];
        let mut text = Text::new(true, true);
        let mut lines = Vec::new();
        let mut hand = |line: Line<'_>| {
            lines.push((line.at.as_millis(), line.how, line.text.to_owned()));
        };
        for (number, (millis, content)) in (1..).zip(contents) {
            let at = Uptime::from_nanos(7).after(Duration::from_millis(millis));
            text.push(&Record { number, at, content }, &mut hand);
        }
        text.finish(&mut hand);
        let expected = [
            (200, How::Typed, "ls"),
            (210, How::Seen, "$ ls"),
            (210, How::Seen, "alpha"),
            (300, How::Typed, "x"),
            (210, How::Seen, "Password:"),
            (400, How::Seen, "ok"),
        ];
        let told: Vec<_> = lines.iter().map(|(at, how, line)| (*at, *how, line.as_str())).collect();
        assert_eq!(told, expected);
        assert_eq!(text.began(), Some(Timestamp::from_secs(1_000)));
        assert_eq!((text.length(), text.lost()), (Duration::from_millis(400), 6));
    }
}
