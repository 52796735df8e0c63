//! One picture of a terminal: cells that hold letters, and nothing that drives a terminal.

/// A terminal's size, within what is shown: at least one cell, at most [`MAX_COLUMNS`] by [`MAX_ROWS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    columns: u16,
    rows: u16,
}

/// What a terminal shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// How large it is.
    pub size: Size,
    /// Its rows, each as long as its cells are wide.
    pub rows: Vec<Vec<Cell>>,
    /// Where the cursor is, column and row from 0; nothing when it is hidden.
    pub cursor: Option<(u16, u16)>,
}

/// One letter, and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    letter: char,
    width: u8,
    /// How it looks.
    pub look: Look,
}

/// How a letter looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Its colour; the terminal's own when this is nothing.
    pub colour: Option<Colour>,
    /// The colour behind it.
    pub behind: Option<Colour>,
    /// What is done to it: [`BOLD`] and the others.
    pub marks: u8,
}

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// By its number among 256.
    Numbered(u8),
    /// By its parts: red, green, blue.
    Mixed(u8, u8, u8),
}

impl Size {
    /// The size that is nearest to this one.
    #[must_use]
    pub fn new(columns: u16, rows: u16) -> Self {
        Self { columns: columns.clamp(1, MAX_COLUMNS), rows: rows.clamp(1, MAX_ROWS) }
    }

    /// The size that terminals have when nobody says another.
    #[must_use]
    pub const fn usual() -> Self {
        Self { columns: 80, rows: 24 }
    }

    /// Columns, at least one.
    #[must_use]
    pub const fn columns(self) -> u16 {
        self.columns
    }

    /// Rows, at least one.
    #[must_use]
    pub const fn rows(self) -> u16 {
        self.rows
    }
}

impl Cell {
    /// This letter in one cell or two. One that would drive a terminal, change how its neighbours look, or take no room
    /// becomes `\u{fffd}`.
    #[must_use]
    pub fn new(letter: char, width: u8, look: Look) -> Self {
        Self { letter: harmless(letter), width: width.clamp(1, 2), look }
    }

    /// The letter: no control, and nothing that changes its surroundings.
    #[must_use]
    pub const fn letter(&self) -> char {
        self.letter
    }

    /// How many cells it takes: 1 or 2.
    #[must_use]
    pub const fn width(&self) -> u8 {
        self.width
    }
}

impl Frame {
    /// A row as text, without blanks at its end.
    #[must_use]
    pub fn text_of(row: &[Cell]) -> String {
        row.iter().map(Cell::letter).collect::<String>().trim_end().to_owned()
    }

    /// All rows as text.
    #[must_use]
    pub fn text(&self) -> Vec<String> {
        self.rows.iter().map(|row| Self::text_of(row)).collect()
    }
}

/// The letter, or `\u{fffd}` in place of one that would drive a terminal or change how its neighbours look.
#[must_use]
pub fn harmless(letter: char) -> char {
    if is_unsafe(letter) { '\u{fffd}' } else { letter }
}

/// Whether a character must never reach a reader's terminal: controls of either kind, and those that change or hide what
/// stands beside them.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Widest and highest terminal that is shown: wider ones are cut.
pub const MAX_COLUMNS: u16 = 500;
/// See [`MAX_COLUMNS`].
pub const MAX_ROWS: u16 = 300;

/// Bold letters.
pub const BOLD: u8 = 1;
/// Faint letters.
pub const FAINT: u8 = 2;
/// Slanted letters.
pub const ITALIC: u8 = 4;
/// Underlined letters.
pub const UNDERLINED: u8 = 8;
/// Letters that blink; they are shown as they are.
pub const BLINKING: u8 = 16;
/// Colours exchanged.
pub const INVERSE: u8 = 32;
/// Letters that are struck through.
pub const STRUCK: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_holds_what_drives_a_terminal() {
        for letter in
            ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{200b}', '\u{feff}', '\u{fe0f}', '\n']
        {
            assert_eq!(Cell::new(letter, 1, Look::default()).letter(), '\u{fffd}');
        }
        assert_eq!(Cell::new('ß', 1, Look::default()).letter(), 'ß');
        assert_eq!(Cell::new('漢', 2, Look::default()).width(), 2);
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(Size::new(0, u16::MAX), Size::new(1, MAX_ROWS));
    }
}
