//! A letter as a picture on the terminal, for a scanner or a telephone that gives its text to another custodian's program.
//!
//! Only made here, never read: what reads a picture is another device, and what it reads is text like any other, which the letter's
//! own checks refuse when a sign of it is wrong.

use std::io::{self, IsTerminal as _};

use anyhow::{Result, anyhow};
use breakglass::letter::Letter;
use qrcode::{Color, EcLevel, QrCode};

use crate::render::Screen;

/// Shows a letter as a QR code, dark on light whatever the terminal's colours are.
pub(super) fn show(letter: &Letter, screen: &Screen) -> Result<()> {
    let rows = picture(&letter.to_string())?;
    let (wide, high) = (rows.first().map_or(0, |row| row.chars().count()), rows.len());
    screen.note(&format!(
        "the same as a QR code; the window must be {wide} columns wide and {high} rows high:"
    ));
    let (before, after) =
        if io::stdout().is_terminal() { ("\u{1b}[30;107m", "\u{1b}[0m") } else { ("", "") };
    rows.iter().try_for_each(|row| screen.raw(format!("{before}{row}{after}\n").as_bytes()))
}

/// Two modules in a sign, one above the other, with the light border that scanners need.
fn picture(text: &str) -> Result<Vec<String>> {
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L)
        .map_err(|error| anyhow!("this letter fits into no QR code: {error}"))?;
    let (width, modules) = (code.width(), code.to_colors());
    let is_dark = |x: usize, y: usize| {
        let place = |at: usize| at.checked_sub(BORDER).filter(|at| *at < width);
        let (Some(x), Some(y)) = (place(x), place(y)) else { return false };
        let index = y.checked_mul(width).and_then(|row| row.checked_add(x));
        index.and_then(|index| modules.get(index)) == Some(&Color::Dark)
    };
    let whole = width.saturating_add(BORDER.saturating_mul(2));
    let row = |y: usize| {
        let sign = |x: usize| match (is_dark(x, y), is_dark(x, y.saturating_add(1))) {
            (true, true) => '\u{2588}',
            (true, false) => '\u{2580}',
            (false, true) => '\u{2584}',
            (false, false) => ' ',
        };
        (0..whole).map(sign).collect()
    };
    Ok((0..whole).step_by(2).map(row).collect())
}

/// Modules of light around a code (ISO/IEC 18004, 6.3.8).
const BORDER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use breakglass::letter::Kind;

    /// The modules that a picture shows, read back from its signs.
    fn modules(rows: &[String]) -> Vec<Vec<bool>> {
        let halves = |row: &String, upper: bool| -> Vec<bool> {
            row.chars()
                .map(|sign| {
                    matches!(
                        (sign, upper),
                        ('\u{2588}', _) | ('\u{2580}', true) | ('\u{2584}', false)
                    )
                })
                .collect()
        };
        rows.iter().flat_map(|row| [halves(row, true), halves(row, false)]).collect()
    }

    #[test]
    fn a_picture_shows_every_module_of_the_code_and_a_border() {
        let letter = Letter::new(Kind::Commitment, (0..98).collect()).to_string();
        let shown = modules(&picture(&letter).unwrap());
        let code = QrCode::with_error_correction_level(letter.as_bytes(), EcLevel::L).unwrap();
        let width = code.width();
        let colors = code.to_colors();
        for (y, row) in shown.iter().enumerate() {
            assert_eq!(row.len(), width + 2 * BORDER);
            for (x, is_dark) in row.iter().enumerate() {
                let inside = x >= BORDER && y >= BORDER && x < BORDER + width && y < BORDER + width;
                let expected = inside && colors[(y - BORDER) * width + x - BORDER] == Color::Dark;
                assert_eq!(*is_dark, expected, "{x} {y}");
            }
        }
    }

    #[test]
    fn letters_of_a_signing_fit_onto_the_terminal_of_a_laptop() {
        for (kind, bytes) in [(Kind::Commitment, 98), (Kind::Signature, 66), (Kind::Request, 210)] {
            let letter = Letter::new(kind, vec![0xa5; bytes]).to_string();
            let rows = picture(&letter).unwrap();
            assert!(rows.len() <= 45, "{kind}: {} rows", rows.len());
        }
        assert!(picture(&"x".repeat(5_000)).is_err());
    }
}
