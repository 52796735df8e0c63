//! What was typed, as lines: keys that edit a line edit it here as well.
//!
//! Pure. Which program got the keys is not known. A line editor's keys are taken for what they mean to most (back, left, word
//! and line erased), and where they changed the line, it is told both ways: as it was edited, and as it was typed. A line from
//! a history that was gone through, and what a completion put in, are on the screen alone.

use std::time::Duration;

use wire::search::terminal::How;

use crate::emulator::decode;
use crate::frame::harmless;
use crate::text::Line;

/// A keyboard, as its terminal's program saw it.
#[derive(Debug, Default)]
pub struct Keys {
    /// The line as it was edited, and where its cursor is.
    line: Vec<char>,
    cursor: usize,
    /// What was cut from it last.
    cut: Vec<char>,
    /// The same line as it was typed, letters alone.
    plain: String,
    pending: Vec<u8>,
    state: State,
    /// Whether it is pasted: keys mean nothing then.
    is_pasted: bool,
    at: Duration,
    /// Which line it is.
    number: u64,
}

/// What the next character belongs to.
#[derive(Debug, Default)]
enum State {
    /// Nothing.
    #[default]
    Between,
    /// An escape.
    Escape,
    /// `ESC [` and what followed.
    Sequence(String),
    /// `ESC O`.
    Single,
    /// A text for the program, which ends with a bell or `ESC \`.
    Text(usize),
    /// So many bytes that say where a mouse is.
    Mouse(u8),
}

impl Keys {
    /// What came from the keyboard at that moment.
    pub fn push(&mut self, bytes: &[u8], at: Duration, hand: &mut dyn FnMut(Line<'_>)) {
        if matches!(self.state, State::Escape) && at.saturating_sub(self.at) > TOGETHER {
            // The key by that name, and no part of another.
            self.state = State::Between;
            self.end(hand);
        }
        self.at = at;
        let mut pending = std::mem::take(&mut self.pending);
        decode(&mut pending, bytes, &mut |text| {
            text.chars().for_each(|key| self.key(key, hand));
        });
        self.pending = pending;
    }

    /// The line is over: it was entered, or what follows is not known.
    pub fn end(&mut self, hand: &mut dyn FnMut(Line<'_>)) {
        let edited: String = self.line.drain(..).collect();
        self.cursor = 0;
        for line in [Some(&edited), Some(&self.plain).filter(|plain| **plain != edited)] {
            if let Some(text) = line.filter(|line| !line.trim().is_empty()) {
                hand(Line { at: self.at, number: self.number, how: How::Typed, text });
            }
        }
        self.number = self.number.saturating_add(1);
        self.plain.clear();
    }

    fn key(&mut self, key: char, hand: &mut dyn FnMut(Line<'_>)) {
        match std::mem::take(&mut self.state) {
            State::Between => self.plain_key(key, hand),
            State::Escape => self.escaped(key, hand),
            State::Single => self.moved(key, "", hand),
            State::Sequence(sequence) => self.sequence(sequence, key, hand),
            State::Mouse(left) => {
                if let Some(left) = left.checked_sub(1).filter(|left| *left > 0) {
                    self.state = State::Mouse(left);
                }
            }
            State::Text(length) => {
                if key == '\u{1b}' {
                    // Ends it, with the backslash that follows.
                    self.state = State::Escape;
                } else if key != '\u{7}' && length < MAX_TEXT {
                    self.state = State::Text(length.saturating_add(1));
                }
            }
        }
    }

    fn plain_key(&mut self, key: char, hand: &mut dyn FnMut(Line<'_>)) {
        match key {
            '\u{1b}' => self.state = State::Escape,
            '\r' | '\n' => self.end(hand),
            '\t' => self.put('⇥', hand),
            _ if !key.is_control() => self.put(key, hand),
            _ if self.is_pasted => {}
            '\u{1}' => self.cursor = 0,
            '\u{2}' => self.cursor = self.cursor.saturating_sub(1),
            '\u{4}' if !self.line.is_empty() => self.erase_next(),
            '\u{5}' => self.cursor = self.line.len(),
            '\u{6}' => self.cursor = self.cursor.saturating_add(1).min(self.line.len()),
            '\u{8}' | '\u{7f}' => drop(self.take(self.cursor.saturating_sub(1)..self.cursor)),
            '\u{b}' => self.cut(self.cursor..self.line.len()),
            '\u{15}' => self.cut(0..self.cursor),
            '\u{17}' => self.cut(self.word_before(char::is_whitespace)..self.cursor),
            '\u{19}' => {
                for letter in self.cut.clone() {
                    self.put(letter, hand);
                }
            }
            // Interrupted, ended, stopped, or another line from the history.
            '\u{3}' | '\u{4}' | '\u{e}' | '\u{10}' | '\u{12}' | '\u{13}' | '\u{1a}' | '\u{1c}' => {
                self.end(hand);
            }
            _ => {}
        }
    }

    fn escaped(&mut self, key: char, hand: &mut dyn FnMut(Line<'_>)) {
        let is_between = |letter: char| !letter.is_alphanumeric();
        match key {
            '[' => self.state = State::Sequence(String::new()),
            'O' => self.state = State::Single,
            ']' | 'P' | '_' | '^' | 'X' => self.state = State::Text(0),
            '\\' => {}
            '\u{1b}' => self.state = State::Escape,
            'b' => self.cursor = self.word_before(is_between),
            'f' => self.cursor = self.word_after(is_between),
            'd' => self.cut(self.cursor..self.word_after(is_between)),
            '\u{8}' | '\u{7f}' => self.cut(self.word_before(is_between)..self.cursor),
            // The key by that name, and then this one.
            other => {
                self.end(hand);
                self.plain_key(other, hand);
            }
        }
    }

    fn sequence(&mut self, mut sequence: String, key: char, hand: &mut dyn FnMut(Line<'_>)) {
        match key {
            ' '..='?' if sequence.len() < MAX_SEQUENCE => {
                sequence.push(key);
                self.state = State::Sequence(sequence);
            }
            '~' => match sequence.split(';').next().unwrap_or_default() {
                "1" | "7" => self.cursor = 0,
                "4" | "8" => self.cursor = self.line.len(),
                "3" => self.erase_next(),
                "200" => self.is_pasted = true,
                "201" => self.is_pasted = false,
                _ => {}
            },
            'M' if sequence.is_empty() => self.state = State::Mouse(3),
            '@'..='}' => self.moved(key, &sequence, hand),
            other => self.plain_key(other, hand),
        }
    }

    /// A key of those that move, by its letter; with others held, words are passed.
    fn moved(&mut self, key: char, with: &str, hand: &mut dyn FnMut(Line<'_>)) {
        let is_between = |letter: char| !letter.is_alphanumeric();
        let by_word = with.contains(';');
        match key {
            'A' | 'B' => self.end(hand),
            'C' if by_word => self.cursor = self.word_after(is_between),
            'D' if by_word => self.cursor = self.word_before(is_between),
            'C' => self.cursor = self.cursor.saturating_add(1).min(self.line.len()),
            'D' => self.cursor = self.cursor.saturating_sub(1),
            'H' => self.cursor = 0,
            'F' => self.cursor = self.line.len(),
            _ => {}
        }
    }

    fn put(&mut self, letter: char, hand: &mut dyn FnMut(Line<'_>)) {
        if self.line.len().max(self.plain.chars().count()) >= MAX_LINE {
            // What is searched for may lie across the cut.
            let kept =
                |text: &[char]| text.iter().rev().take(MAX_LINE / 2).rev().copied().collect();
            let (line, plain): (Vec<char>, String) =
                (kept(&self.line), kept(&self.plain.chars().collect::<Vec<_>>()).iter().collect());
            self.end(hand);
            (self.cursor, self.line, self.plain) = (line.len(), line, plain);
        }
        let letter = harmless(letter);
        self.cursor = self.cursor.min(self.line.len());
        self.line.insert(self.cursor, letter);
        self.cursor = self.cursor.saturating_add(1);
        self.plain.push(letter);
    }

    fn erase_next(&mut self) {
        drop(self.take(self.cursor..self.cursor.saturating_add(1)));
    }

    /// Takes letters away.
    fn take(&mut self, which: std::ops::Range<usize>) -> Vec<char> {
        let end = which.end.min(self.line.len());
        let start = which.start.min(end);
        self.cursor = start;
        self.line.drain(start..end).collect()
    }

    /// The same, and keeps them to be put in again.
    fn cut(&mut self, which: std::ops::Range<usize>) {
        self.cut = self.take(which);
    }

    /// Where the word before the cursor begins.
    fn word_before(&self, is_between: fn(char) -> bool) -> usize {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let end = before.iter().rposition(|letter| !is_between(*letter));
        let end = end.map_or(0, |at| at.saturating_add(1));
        let start = before.get(..end).unwrap_or_default().iter().rposition(|it| is_between(*it));
        start.map_or(0, |at| at.saturating_add(1))
    }

    /// Where the word after the cursor ends.
    fn word_after(&self, is_between: fn(char) -> bool) -> usize {
        let mut after = self.line.iter().enumerate().skip(self.cursor);
        let begun = after.by_ref().find(|(_, letter)| !is_between(**letter));
        let end = begun.and_then(|_| after.find(|(_, letter)| is_between(**letter)));
        end.map_or(self.line.len(), |(at, _)| at)
    }
}

/// Bytes of one key come together; an escape after which nothing comes for so long is a key by itself.
const TOGETHER: Duration = Duration::from_millis(50);
/// Longest line; what is longer is told in parts.
const MAX_LINE: usize = 4096;
/// Longest sequence of a key.
const MAX_SEQUENCE: usize = 32;
/// Longest text that a terminal sends of itself.
const MAX_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut keyboard = Keys::default();
        for (at, key) in (1_u64..).zip(keys.split('|')) {
            // A bar is a while in which nothing is typed.
            let at = Duration::from_secs(at);
            keyboard.push(key.as_bytes(), at, &mut |line| lines.push(line.text.to_owned()));
        }
        keyboard.end(&mut |line| lines.push(line.text.to_owned()));
        lines
    }

    #[test]
    fn keys_that_edit_a_line_edit_it() {
        let table: [(&str, &[&str]); 17] = [
            ("ls -l\r", &["ls -l"]),
            ("ls\rpwd\n", &["ls", "pwd"]),
            ("lz\u{7f}s\r", &["ls", "lzs"]),
            ("l\u{7f}\u{7f}\u{7f}ls\r", &["ls", "lls"]),
            ("rm x\u{15}ls\r", &["ls", "rm xls"]),
            ("rm -rf /etc\u{17}/tmp\r", &["rm -rf /tmp", "rm -rf /etc/tmp"]),
            ("db1\u{1}ssh \u{5}.example\r", &["ssh db1.example", "db1ssh .example"]),
            ("DOP\u{1b}[D\u{1b}[DR\r", &["DROP", "DOPR"]),
            ("DOP\u{1b}OD\u{1b}ODR\r", &["DROP", "DOPR"]),
            ("one two\u{1b}[1;5Dx \r", &["one x two", "one twox "]),
            ("one two\u{1b}bx \r", &["one x two", "one twox "]),
            ("xls\u{1b}[H\u{1b}[3~\r", &["ls", "xls"]),
            ("rm a\u{b}\u{1}\u{b}ls\u{19}\r", &["lsrm a", "rm alsrm a"]),
            ("vi\u{1b}[A\r", &["vi"]),
            ("iDROP TABLE\u{1b}|:wq\r", &["iDROP TABLE", ":wq"]),
            ("\u{1b}[200~a\u{1}b\nc\u{1b}[201~\r", &["ab", "c"]),
            ("cat /et\tpas\r", &["cat /et⇥pas"]),
        ];
        for (keys, lines) in table {
            assert_eq!(typed(keys), lines, "{keys:?}");
        }
    }

    #[test]
    fn what_a_terminal_answers_by_itself_was_not_typed() {
        for keys in [
            "l\u{1b}[24;80Rs\r",
            "l\u{1b}[?62;cs\r",
            "l\u{1b}]11;rgb:0000/0000/0000\u{7}s\r",
            "l\u{1b}]11;rgb:0000\u{1b}\\s\r",
            "l\u{1b}P1$r0m\u{1b}\\s\r",
            "l\u{1b}[<0;1;1Ms\r",
            "l\u{1b}[M abs\r",
            "l\u{1b}[Is\r",
        ] {
            assert_eq!(typed(keys), ["ls"], "{keys:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_told_in_parts_and_nothing_of_it_is_missing() {
        let text: String = (10_000..14_000).map(|number| number.to_string()).collect();
        let lines = typed(&text);
        assert!(lines.len() > 2);
        for number in 10_000..14_000_u32 {
            assert!(lines.iter().any(|line| line.contains(&number.to_string())), "{number}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_told_as_letters(parts: Vec<Vec<u8>>) {
            let mut keys = Keys::default();
            let mut hand = |line: Line<'_>| {
                assert!(!line.text.chars().any(|letter| harmless(letter) != letter), "{line:?}");
            };
            for (at, part) in (0_u64..).zip(&parts) {
                keys.push(part, Duration::from_millis(at.saturating_mul(40)), &mut hand);
            }
            keys.end(&mut hand);
        }

        #[test]
        fn keys_that_move_and_erase_never_leave_the_line(keys in "[a-c \\x01-\\x1a\\x7f\\x1bbfdOADCH\\[~0-9;]{0,60}") {
            typed(&keys);
        }
    }
}
