//! The lines that a terminal shows, one after the other, as somebody reads them who misses none.
//!
//! A line is read when what was printed into it is about to be left, erased or written over: before the first thing that is
//! no letter and no colour. So a line that stood there for a moment is read as well, and so is one that was put together
//! from pieces all over the screen. Rows that the terminal itself wrapped are one line.

use std::time::Duration;

use avt::parser::Function;
use wire::search::terminal::How;

use super::Emulator;
use crate::frame::{Size, harmless};
use crate::text::Line;

/// What was printed and not read yet.
#[derive(Default)]
pub(super) struct Fresh {
    is_there: bool,
    /// How many cells it takes, roughly and at most.
    cells: usize,
    /// When its last letter came.
    at: Duration,
    /// Which line it is.
    number: u64,
    /// Room for the line.
    line: String,
}

impl Emulator {
    /// What was sent to the terminal at that moment; every line that it shows is handed over.
    pub fn feed_read(&mut self, bytes: &[u8], at: Duration, hand: &mut dyn FnMut(Line<'_>)) {
        self.decoded(bytes, &mut |emulator, text| emulator.read(text, at, hand));
    }

    /// The terminal has another size.
    pub fn resize_read(&mut self, size: Size, hand: &mut dyn FnMut(Line<'_>)) {
        if size != self.size {
            self.read_rest(hand);
            self.resize(size);
        }
    }

    /// Hands over the line that was begun last.
    pub fn read_rest(&mut self, hand: &mut dyn FnMut(Line<'_>)) {
        if !self.fresh.is_there {
            return;
        }
        let mut line = std::mem::take(&mut self.fresh.line);
        line.clear();
        self.line_at_cursor(&mut line);
        let text = line.trim_end();
        if !text.is_empty() {
            let Fresh { at, number, .. } = self.fresh;
            hand(Line { at, number, how: How::Seen, text });
        }
        (self.fresh.is_there, self.fresh.cells, self.fresh.line) = (false, 0, line);
    }

    fn read(&mut self, text: &str, at: Duration, hand: &mut dyn FnMut(Line<'_>)) {
        let room = self.room();
        for character in text.chars() {
            let Some(function) = self.function(character) else { continue };
            let prints = match function {
                Function::Print(letter) => {
                    if self.fresh.cells >= room {
                        // More would push its beginning off the screen.
                        self.read_rest(hand);
                    }
                    let cells = if letter.is_ascii() { 1 } else { 2 };
                    self.fresh.cells = self.fresh.cells.saturating_add(cells);
                    true
                }
                // Neither moves nor changes a letter.
                Function::Sgr(_)
                | Function::Osc(_)
                | Function::Si
                | Function::So
                | Function::Gzd4(_)
                | Function::G1d4(_) => false,
                // Letters come to stand beside others.
                Function::Rep(_) | Function::Dch(_) => {
                    self.read_rest(hand);
                    true
                }
                // Goes to and fro in the same line.
                Function::Cr
                | Function::Bs
                | Function::Cub(_)
                | Function::Cuf(_)
                | Function::Cha(_)
                | Function::Ht
                | Function::El(_)
                | Function::Ech(_)
                | Function::Ich(_)
                | Function::Decset(_)
                | Function::Decrst(_) => {
                    self.read_rest(hand);
                    false
                }
                _ => {
                    self.read_rest(hand);
                    self.fresh.number = self.fresh.number.saturating_add(1);
                    false
                }
            };
            self.terminal.execute_with(function, &mut self.gone);
            if prints {
                (self.fresh.is_there, self.fresh.at) = (true, at);
            }
        }
    }

    /// How much is printed at most before it is read, so that all of it is still on the screen.
    fn room(&self) -> usize {
        let (columns, rows) = (usize::from(self.size.columns()), usize::from(self.size.rows()));
        rows.saturating_sub(1).max(1).saturating_mul(columns).min(MAX_UNREAD)
    }

    /// The line in which the cursor is, with the rows that the terminal wrapped it to.
    fn line_at_cursor(&self, line: &mut String) {
        let screen = self.terminal.screen();
        let row = usize::try_from(self.terminal.cursor_position().row).unwrap_or_default();
        let is_wrapped = |row: usize| screen.line(row).is_some_and(avt::Line::is_wrapped);
        let around = MAX_AROUND.div_ceil(usize::from(self.size.columns()));
        let mut first = row;
        while row.saturating_sub(first) < around
            && let Some(above) = first.checked_sub(1)
            && is_wrapped(above)
        {
            first = above;
        }
        let mut last = row;
        while last.saturating_sub(row) < around && is_wrapped(last) {
            last = last.saturating_add(1);
        }
        let rows = last.saturating_sub(first).saturating_add(1);
        for row in screen.visible_lines().skip(first).take(rows) {
            line.extend(row.cells().iter().filter(|cell| cell.width() > 0).map(|cell| {
                let letter = cell.char();
                if letter.is_ascii_graphic() { letter } else { harmless(letter) }
            }));
        }
    }
}

/// Most cells that are printed before they are read: so many are read twice at most when a line has no end.
const MAX_UNREAD: usize = 1024;
/// So many cells of a wrapped line before the cursor's row, and after it, are read with it: more than is searched for.
const MAX_AROUND: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(size: Size, parts: &[&[u8]]) -> Vec<(u64, String)> {
        let mut emulator = Emulator::new(size);
        let mut lines = Vec::new();
        let mut hand = |line: Line<'_>| {
            lines.push((u64::try_from(line.at.as_millis()).unwrap(), line.text.to_owned()));
        };
        for (at, part) in (1..).zip(parts) {
            emulator.feed_read(part, Duration::from_millis(at), &mut hand);
        }
        emulator.read_rest(&mut hand);
        lines
    }

    fn shows(parts: &[&[u8]], text: &str) -> bool {
        read(Size::new(20, 4), parts).iter().any(|(_, line)| line.contains(text))
    }

    #[test]
    fn a_word_is_whole_however_it_came() {
        let long = format!("{}\x1b[5;1Hx", "secret word ".repeat(400));
        for parts in [
            [b"secret word\r\n".as_slice()].as_slice(),
            &[b"\x1b[31msec\x1b[1;44mret\x1b[0m wo\x1b]0;title\x07rd\r\n"],
            &[b"s", b"e", b"c", b"r", b"e", b"t", b" ", b"word"],
            &[b"secx\x08ret word\r\n"],
            &[b"word\x1b[1;3Hxx\r       word\rsecret"],
            &[b"secret word\r                    \r\n"],
            &[b"secret word\x1b[2Jother"],
            &[b"secret word\x1b[?1049hother"],
            &[b"secrXXet word\x1b[1;5H\x1b[2P"],
            &[b"....................secret\x1b[1;15H\r\n\r\n\r\n\r\n", b"123456789secret word"],
            &[long.as_bytes()],
            &[b"secret wor\xc3", b"\xa9 secret wo", b"rd"],
        ] {
            assert!(shows(parts, "secret word"), "{parts:?}: {:?}", read(Size::new(20, 4), parts));
        }
    }

    #[test]
    fn what_no_terminal_showed_is_no_line() {
        for parts in [
            [b"secret\r\nword".as_slice()].as_slice(),
            &[b"\x1b]0;secret word\x07x"],
            &[b"\x1b_secret word\x1b\\x"],
            &[b"secret\x1b[1;1Hxx word"],
        ] {
            assert!(!shows(parts, "secret word"), "{parts:?}");
        }
    }

    #[test]
    fn each_line_has_the_moment_of_its_last_letter() {
        let lines = read(Size::new(20, 4), &[b"one\r\ntw", b"o", b"\r\n", b"three"]);
        assert_eq!(lines, [(1, "one".into()), (2, "two".into()), (4, "three".into())]);
    }

    #[test]
    fn a_line_keeps_its_number_while_it_is_gone_on_with_and_the_next_has_another() {
        let mut emulator = Emulator::new(Size::new(20, 4));
        let mut numbers = Vec::new();
        let shown = b"a\rab\x08c\x1b[1Gabc\r\nb\r\n\x1b[1;1Hc";
        let mut hand = |line: Line<'_>| numbers.push(line.number);
        emulator.feed_read(shown, Duration::ZERO, &mut hand);
        emulator.read_rest(&mut hand);
        let same = |one: usize, other: usize| numbers[one] == numbers[other];
        assert_eq!(numbers.len(), 6, "{numbers:?}");
        assert!(same(0, 1) && same(1, 2) && same(2, 3) && !same(3, 4) && !same(4, 5));
    }

    #[test]
    fn of_a_line_without_end_nothing_is_missing_and_little_is_read_twice() {
        let text: String = (10_000..14_000).map(|number| number.to_string()).collect();
        for size in [Size::new(80, 24), Size::new(7, 1), Size::new(500, 2)] {
            let lines = read(size, &[text.as_bytes()]);
            for number in 10_000..14_000_u32 {
                let number = number.to_string();
                let has = |(_, line): &(u64, String)| line.contains(&number);
                // In one row of seven cells no word has more.
                assert!(size.rows() == 1 || lines.iter().any(has), "{number} {size:?}");
            }
            let read: usize = lines.iter().map(|(_, line)| line.len()).sum();
            assert!(read < text.len() * 5, "{read} {size:?}");
        }
    }

    proptest! {
        #[test]
        fn every_line_is_letters_and_the_screen_is_as_it_is_without_reading(
            bytes in proptest::collection::vec(prop_oneof![Just(0x1b_u8), Just(b'['), Just(b'H'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..400),
            columns in 1_u16..40, rows in 1_u16..20,
        ) {
            let mut plain = Emulator::new(Size::new(columns, rows));
            plain.feed(&bytes);
            let mut emulator = Emulator::new(Size::new(columns, rows));
            let mut hand = |line: Line<'_>| {
                assert!(!line.text.chars().any(|letter| harmless(letter) != letter), "{line:?}");
            };
            emulator.feed_read(&bytes, Duration::ZERO, &mut hand);
            emulator.read_rest(&mut hand);
            prop_assert_eq!(plain.frame(), emulator.frame());
        }
    }
}
