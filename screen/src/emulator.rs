//! A terminal of cells, into which bytes go.
//!
//! What a recording can make it do is bounded: its size is set by the recording's own sizes and never by what is shown, a
//! repetition is no longer than the screen, and nothing is kept of what scrolls off but the text that asks for it.

use avt::parser::Function;
use avt::{Color, Line, Observation, Observer, Parser, Pen, Terminal};

use crate::frame::{self, Cell, Colour, Frame, Look, Size};

mod lines;

/// The emulator.
pub struct Emulator {
    size: Size,
    terminal: Terminal,
    parser: Parser,
    /// The beginning of a character whose end has not come.
    pending: Vec<u8>,
    /// Whether no sequence has begun.
    is_between: bool,
    gone: Gone,
    fresh: lines::Fresh,
}

/// All that is needed to go on from a moment: as small as its screen.
#[derive(Debug, Clone)]
pub struct Keyframe {
    size: Size,
    /// What sets an empty emulator to the same state. It goes into an emulator, and nowhere else.
    state: String,
    pending: Vec<u8>,
}

/// Lines that scrolled off, if they are kept.
#[derive(Default)]
struct Gone {
    are_kept: bool,
    lines: Vec<String>,
    /// The beginning of a line that was wrapped.
    wrapped: String,
}

impl Emulator {
    /// An empty screen.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            size,
            terminal: terminal(size),
            parser: Parser::new(),
            pending: Vec::new(),
            is_between: true,
            gone: Gone::default(),
            fresh: lines::Fresh::default(),
        }
    }

    /// The same, and lines that scroll off are kept until they are taken.
    #[must_use]
    pub fn keeping_lines(size: Size) -> Self {
        let mut emulator = Self::new(size);
        emulator.gone.are_kept = true;
        emulator
    }

    /// Goes on from a moment.
    #[must_use]
    pub fn from_keyframe(keyframe: &Keyframe) -> Self {
        let mut emulator = Self::new(keyframe.size);
        emulator.terminal.feed(keyframe.state.as_str());
        emulator.pending.clone_from(&keyframe.pending);
        emulator
    }

    /// This moment; nothing in the middle of a sequence.
    #[must_use]
    pub fn keyframe(&self) -> Option<Keyframe> {
        let (state, pending) = (self.terminal.dump(), self.pending.clone());
        self.is_between.then_some(Keyframe { size: self.size, state, pending })
    }

    /// What was sent to the terminal.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.decoded(bytes, &mut |emulator, text| emulator.text(text));
    }

    /// The terminal has another size.
    pub fn resize(&mut self, size: Size) {
        if size != self.size {
            self.size = size;
            let (columns, rows) = (usize::from(size.columns()), usize::from(size.rows()));
            self.terminal.resize_with(columns, rows, &mut self.gone);
        }
    }

    /// What it shows now.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let place = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let cursor = self.terminal.cursor().position();
        let cursor = cursor.map(|(column, row)| {
            (place(column).min(self.size.columns().saturating_sub(1)), place(row))
        });
        let rows = self.terminal.screen().visible_lines().map(cells).collect();
        Frame { size: self.size, rows, cursor }
    }

    /// The lines that scrolled off since they were taken last, as text.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gone.lines)
    }

    /// Hands over the bytes as text; the beginning of a character waits for its end.
    fn decoded(&mut self, bytes: &[u8], take: &mut dyn FnMut(&mut Self, &str)) {
        let mut pending = std::mem::take(&mut self.pending);
        decode(&mut pending, bytes, &mut |text| take(self, text));
        self.pending = pending;
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            if let Some(function) = self.function(character) {
                self.terminal.execute_with(function, &mut self.gone);
            }
        }
    }

    /// What the next character has the terminal do.
    fn function(&mut self, character: char) -> Option<Function> {
        let function = self.parser.feed(character);
        // What is done at a letter ends its sequence; a control may stand within one.
        self.is_between = function.is_some() && character >= ' ';
        match function? {
            // The recording says how large the terminal is, not what runs in it.
            Function::Xtwinops(_) => None,
            Function::Rep(times) => {
                let most = u32::from(self.size.columns()).saturating_mul(self.size.rows().into());
                Some(Function::Rep(times.min(u16::try_from(most).unwrap_or(u16::MAX))))
            }
            other => Some(other),
        }
    }
}

/// Hands over as text what `pending` and `bytes` are together, and leaves in `pending` the beginning of a character whose
/// end has not come.
pub(crate) fn decode(pending: &mut Vec<u8>, bytes: &[u8], take: &mut dyn FnMut(&str)) {
    let mut whole = std::mem::take(pending);
    whole.extend_from_slice(bytes);
    let mut rest = whole.as_slice();
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                take(text);
                return;
            }
            Err(flaw) => {
                let (good, bad) = rest.split_at(flaw.valid_up_to());
                take(&String::from_utf8_lossy(good));
                let Some(length) = flaw.error_len() else {
                    // Its end may come with the next bytes.
                    *pending = bad.to_vec();
                    return;
                };
                take("\u{fffd}");
                rest = bad.get(length..).unwrap_or_default();
            }
        }
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Observer for Gone {
    type Output = ();

    fn evicted(&mut self, _context: &mut Observation<'_>, line: &Line) {
        if !self.are_kept {
            return;
        }
        let text: String = cells(line).iter().map(Cell::letter).collect();
        if line.is_wrapped() && self.wrapped.len() < MAX_LINE {
            self.wrapped.push_str(&text);
            return;
        }
        let mut whole = std::mem::take(&mut self.wrapped);
        whole.push_str(text.trim_end());
        self.lines.push(whole);
    }

    fn end(&mut self, _context: &mut Observation<'_>) {}
}

fn terminal(size: Size) -> Terminal {
    let (columns, rows) = (usize::from(size.columns()), usize::from(size.rows()));
    match Terminal::new(columns, rows) {
        Ok(terminal) => terminal,
        // A size has at least one cell; the smallest terminal there is stands for what cannot be.
        Err(_empty) => {
            Terminal::new(1, 1).unwrap_or_else(|_empty| unreachable!("1 by 1 is a size"))
        }
    }
}

fn cells(line: &Line) -> Vec<Cell> {
    let wide = line.cells().iter().filter(|cell| cell.width() > 0);
    wide.map(|cell| Cell::new(cell.char(), cell.width(), look(cell.pen()))).collect()
}

fn look(pen: &Pen) -> Look {
    let colour = |colour: Color| match colour {
        Color::Indexed(number) => Colour::Numbered(number),
        Color::RGB(rgb) => Colour::Mixed(rgb.r, rgb.g, rgb.b),
    };
    let marks = [
        (pen.is_bold(), frame::BOLD),
        (pen.is_faint(), frame::FAINT),
        (pen.is_italic(), frame::ITALIC),
        (pen.is_underline(), frame::UNDERLINED),
        (pen.is_blink(), frame::BLINKING),
        (pen.is_inverse(), frame::INVERSE),
        (pen.is_strikethrough(), frame::STRUCK),
    ];
    Look {
        colour: pen.foreground().map(colour),
        behind: pen.background().map(colour),
        marks: marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| mark).sum(),
    }
}

/// Longest line that wrapped rows are joined to.
const MAX_LINE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut emulator = Emulator::new(Size::new(20, 4));
        emulator.feed(bytes);
        emulator.frame().text()
    }

    #[test]
    fn letters_colours_and_the_cursor_are_where_they_were() {
        let mut emulator = Emulator::new(Size::new(10, 2));
        emulator.feed(b"a\x1b[1;31mb\x1b[0m\r\n\x1b[48;2;1;2;3mc\x1b[?25l");
        let frame = emulator.frame();
        assert_eq!(frame.text(), ["ab", "c"]);
        let red = Look { colour: Some(Colour::Numbered(1)), behind: None, marks: frame::BOLD };
        assert_eq!(frame.rows[0][1].look, red);
        assert_eq!(frame.rows[1][0].look.behind, Some(Colour::Mixed(1, 2, 3)));
        assert_eq!(frame.cursor, None);
    }

    #[test]
    fn characters_that_are_cut_in_two_are_whole() {
        let mut emulator = Emulator::new(Size::new(10, 1));
        for byte in "Grüße".bytes() {
            emulator.feed(&[byte]);
        }
        emulator.feed(b"\xff\xc3");
        emulator.feed(b"x");
        assert_eq!(emulator.frame().text(), ["Grüße\u{fffd}\u{fffd}x"]);
    }

    #[test]
    fn what_would_drive_a_terminal_shows_nothing() {
        for bytes in [
            b"a\x1b]52;c;cm0gLXJmIC8=\x07b".as_slice(),
            b"a\x1b]0;title\x1b\\b",
            b"a\x1b[21tb",
            b"a\x1b[6nb\x1b[c",
            b"a\x1bP$q q\x1b\\b",
            b"a\x1b_payload\x1b\\b",
            b"a\xc2\x9d0;t\xc2\x9cb",
            b"a\x1b[?1004h\x1b[?2004hb",
        ] {
            assert_eq!(shown(bytes)[0], "ab", "{bytes:?}");
        }
    }

    #[test]
    fn a_recording_cannot_make_the_screen_larger_nor_the_work() {
        let mut emulator = Emulator::new(Size::new(20, 4));
        emulator.feed(b"\x1b[8;60000;60000t");
        assert_eq!(emulator.frame().rows.len(), 4);
        emulator.feed(&b"x\x1b[65535b".repeat(1000));
        assert_eq!(emulator.frame().size, Size::new(20, 4));
    }

    #[test]
    fn lines_that_scroll_off_are_kept_when_they_are_wanted() {
        let mut emulator = Emulator::keeping_lines(Size::new(4, 2));
        emulator.feed(b"one\r\ntwo\r\nlonger line\r\nthe end");
        let mut lines = emulator.take_lines();
        lines.extend(emulator.frame().text());
        assert_eq!(lines, ["one", "two", "longer line", "the", "end"]);
        assert!(emulator.take_lines().is_empty());
    }

    proptest! {
        #[test]
        fn a_keyframe_goes_on_as_its_moment_did(
            before in proptest::collection::vec(prop_oneof![Just(0x1b_u8), Just(b'['), Just(b';'), any::<u8>()], 0..200),
            after in proptest::collection::vec(prop_oneof![Just(0x1b_u8), Just(b'['), Just(b'm'), any::<u8>()], 0..100),
        ) {
            let mut one = Emulator::new(Size::new(12, 5));
            one.feed(&before);
            let Some(keyframe) = one.keyframe() else { return Ok(()) };
            let mut other = Emulator::from_keyframe(&keyframe);
            one.feed(&after);
            other.feed(&after);
            prop_assert_eq!(one.frame().text(), other.frame().text());
        }

        #[test]
        fn whatever_comes_is_shown_as_letters(bytes: Vec<u8>, columns in 1_u16..40, rows in 1_u16..20) {
            let mut emulator = Emulator::new(Size::new(columns, rows));
            emulator.feed(&bytes);
            emulator.resize(Size::new(rows, columns));
            let frame = emulator.frame();
            prop_assert_eq!(frame.rows.len(), usize::from(columns));
            let letters: String = frame.text().concat();
            prop_assert!(!letters.chars().any(char::is_control));
        }
    }
}
