//! What is written to the reader's terminal: positions, colours and letters, and only these.

use crate::frame::{self, Cell, Colour, Frame, Look};

/// Which part of a frame is shown where it does not fit: so many columns and rows, from the top left, or so that the cursor
/// is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Columns that there are.
    pub columns: u16,
    /// Rows that there are.
    pub rows: u16,
}

impl Window {
    /// The first row that is shown of a frame.
    #[must_use]
    pub fn top(self, frame: &Frame) -> u16 {
        let lowest = frame.size.rows().saturating_sub(self.rows);
        let cursor = frame.cursor.map_or(0, |(_, row)| row);
        cursor.saturating_add(1).saturating_sub(self.rows).min(lowest)
    }
}

/// What turns a terminal that shows `before` into one that shows `after`; all of it when there was nothing before.
///
/// Every row that differs is written whole, each from a position of its own, so that no letter of unexpected width moves
/// another row.
#[must_use]
pub fn paint(before: Option<&Frame>, after: &Frame, window: Window) -> String {
    let top = window.top(after);
    let is_same_view = before.is_some_and(|before| window.top(before) == top);
    let mut text = String::from("\u{1b}[?25l");
    let rows =
        |frame: &Frame, row: u16| frame.rows.get(usize::from(top.saturating_add(row))).cloned();
    for row in 0..window.rows {
        let now = rows(after, row);
        let is_new = !is_same_view || before.and_then(|before| rows(before, row)) != now;
        if is_new {
            text.push_str(&format!("\u{1b}[{};1H\u{1b}[0m\u{1b}[2K", row.saturating_add(1)));
            write_row(&now.unwrap_or_default(), window.columns, &mut text);
        }
    }
    text.push_str("\u{1b}[0m");
    if let Some((column, row)) = after.cursor {
        let (row, column) = (row.saturating_sub(top), column.min(window.columns.saturating_sub(1)));
        let (row, column) = (row.saturating_add(1), column.saturating_add(1));
        text.push_str(&format!("\u{1b}[{row};{column}H\u{1b}[?25h"));
    }
    text
}

fn write_row(row: &[Cell], columns: u16, text: &mut String) {
    let mut look = Look::default();
    let mut room = columns;
    let last = row.iter().rposition(|cell| cell.letter() != ' ' || cell.look != Look::default());
    let used = last.map_or(0, |last| last.saturating_add(1));
    for cell in row.iter().take(used) {
        let Some(rest) = room.checked_sub(cell.width().into()) else { break };
        room = rest;
        if cell.look != look {
            look = cell.look;
            text.push_str(&sgr(look));
        }
        text.push(cell.letter());
    }
}

/// The sequence that sets a look, whatever it was before.
fn sgr(look: Look) -> String {
    let mut codes = vec!["0".to_owned()];
    let marks = [
        (frame::BOLD, "1"),
        (frame::FAINT, "2"),
        (frame::ITALIC, "3"),
        (frame::UNDERLINED, "4"),
        (frame::INVERSE, "7"),
        (frame::STRUCK, "9"),
    ];
    codes.extend(
        marks.iter().filter(|(mark, _)| look.marks & mark != 0).map(|(_, code)| (*code).to_owned()),
    );
    let colour = |kind: u8, colour: Colour| match colour {
        Colour::Numbered(number) => format!("{kind};5;{number}"),
        Colour::Mixed(red, green, blue) => format!("{kind};2;{red};{green};{blue}"),
    };
    codes.extend(look.colour.map(|it| colour(38, it)));
    codes.extend(look.behind.map(|it| colour(48, it)));
    format!("\u{1b}[{}m", codes.join(";"))
}

/// Whether a text is nothing but what [`paint`] writes: letters, and the sequences for position, colour, erasing a line and
/// the cursor. For tests, and for whoever wants to be sure before it is written.
#[must_use]
pub fn is_harmless(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\u{1b}' {
            if character.is_control() {
                return false;
            }
            continue;
        }
        if rest.next() != Some('[') {
            return false;
        }
        let private = rest.next_if_eq(&'?').is_some();
        let mut numbers = String::new();
        while let Some(part) = rest.next_if(|it| it.is_ascii_digit() || *it == ';') {
            numbers.push(part);
        }
        let is_known = match rest.next() {
            Some('m' | 'H') => !private,
            Some('K') => !private && numbers == "2",
            Some('h' | 'l') => private && numbers == "25",
            _ => false,
        };
        if !is_known {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::Emulator;
    use crate::frame::Size;
    use proptest::prelude::*;

    const WINDOW: Window = Window { columns: 20, rows: 4 };

    /// What a terminal shows after it was painted.
    fn shown(painted: &str) -> Frame {
        let mut emulator = Emulator::new(Size::new(20, 4));
        emulator.feed(painted.as_bytes());
        emulator.frame()
    }

    #[test]
    fn what_is_painted_looks_as_what_was_recorded() {
        let mut emulator = Emulator::new(Size::new(20, 4));
        emulator.feed(b"\x1b[1;38;5;200mone\x1b[0m\r\n\x1b[7m two \x1b[0m\xe6\xbc\xa2");
        let frame = emulator.frame();
        assert_eq!(shown(&paint(None, &frame, WINDOW)), frame);
        emulator.feed(b"\x1b[Hother");
        let next = emulator.frame();
        let change = paint(Some(&frame), &next, WINDOW);
        assert!(!change.contains("two"), "only what differs is written: {change:?}");
    }

    #[test]
    fn the_part_with_the_cursor_is_shown_where_not_all_fits() {
        let mut emulator = Emulator::new(Size::new(30, 10));
        emulator.feed(b"1\r\n2\r\n3\r\n4\r\n5\r\n6 and a line that is too long to fit\x1b[7;1H");
        let painted = shown(&paint(None, &emulator.frame(), WINDOW)).text();
        assert_eq!(painted, ["4", "5", "6 and a line that is", "to fit"]);
    }

    #[test]
    fn what_drives_a_terminal_is_told_from_what_does_not() {
        for text in [
            "\u{1b}]0;t\u{7}",
            "\u{1b}P",
            "\u{9b}0m",
            "a\r",
            "\u{1b}[5n",
            "\u{1b}[?1049h",
            "\u{1b}[2J",
            "\u{1b}c",
        ] {
            assert!(!is_harmless(text), "{text:?}");
        }
        assert!(is_harmless("\u{1b}[1;1H\u{1b}[0;38;5;1mß\u{1b}[2K\u{1b}[?25l"));
    }

    proptest! {
        #[test]
        fn nothing_that_a_recording_holds_drives_the_reader_s_terminal(
            bytes in proptest::collection::vec(
                prop_oneof![
                    3 => any::<u8>(),
                    1 => Just(0x1b), 1 => Just(b']'), 1 => Just(b'P'), 1 => Just(0x9b), 1 => Just(0xc2), 1 => Just(b'['),
                ],
                0..400,
            ),
        ) {
            let mut emulator = Emulator::new(Size::new(20, 4));
            let before = emulator.frame();
            emulator.feed(&bytes);
            let painted = paint(Some(&before), &emulator.frame(), WINDOW);
            prop_assert!(is_harmless(&painted), "{:?}", painted);
        }
    }
}
