//! How much of what a terminal sends was typed; pure.
//!
//! A terminal answers by itself when a program on the host asks it (`\e[6n`, `\e[c`, a colour, its title), and tells where
//! the mouse is. Who wants a session never to be idle makes it answer for ever; so answers do not count:
//!
//! - reports that no key sends (device attributes, modes, focus, strings from ESC `]`, `P`, `_`, `^` or `X`) never count;
//! - reports that a key or a hand could send too (cursor position, which is Shift-F3; window size; mouse) do not count
//!   within [`ANSWER`] of a question that the host put;
//! - within [`ANSWER`] of an ENQ nothing counts: the answer to it is any text that the terminal was given.
//!
//! Everything else is typed, pasting too. A sequence counts when it is whole, or when it has waited for [`ANSWER`]: how
//! the bytes are cut into pieces changes nothing.

use std::time::Duration;

use wire::time::Uptime;

/// Counts what was typed on one terminal.
#[derive(Debug, Default)]
pub struct Scanner {
    asked: Option<Uptime>,
    enquired: Option<Uptime>,
    out: Out,
    keys: Keys,
    /// Bytes of the sequence that is not whole yet, and when it began.
    pending: u64,
    began: Option<Uptime>,
}

/// Where the scan of the output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Out {
    #[default]
    Ground,
    Escape,
    /// In a control sequence.
    Control,
    /// In a string.
    String,
}

/// Where the scan of the input is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Keys {
    #[default]
    Ground,
    Escape,
    /// In a control sequence: its first parameter byte, when that marks it as private, and whether a `$` was in it.
    Control {
        mark: u8,
        dollar: bool,
        begun: bool,
    },
    /// In the three bytes of an old mouse report.
    Mouse(u8),
    /// In a string that the terminal sends, and whether its last byte was ESC.
    String {
        escape: bool,
    },
    /// After ESC `/`: the answer of a VT52.
    Vt52,
}

/// What one byte of input made of the sequence before it.
enum Step {
    /// It goes on.
    More,
    /// It is whole, and was typed.
    Typed,
    /// It is whole, and no key sends it.
    Report,
    /// It is whole, and a key could have sent it.
    Either,
    /// It broke off: it was typed, and this byte begins anew.
    Again,
}

impl Scanner {
    /// Bytes that go to the terminal.
    pub fn output(&mut self, bytes: &[u8], now: Uptime) {
        for byte in bytes {
            // Most of what passes is text.
            if self.out == Out::Ground && *byte >= b' ' && !(0x80..0xa0).contains(byte) {
                continue;
            }
            self.put(*byte, now);
        }
    }

    fn put(&mut self, byte: u8, now: Uptime) {
        self.out = match (self.out, byte) {
            (_, ENQ) => {
                self.enquired = Some(now);
                self.out
            }
            (_, ESC) => Out::Escape,
            (_, 0x9b) | (Out::Escape, b'[') => Out::Control,
            (_, 0x90 | 0x98 | 0x9d | 0x9e | 0x9f)
            | (Out::Escape, b'P' | b'X' | b']' | b'^' | b'_') => {
                // Whatever is in it, a terminal may answer; a title is set no more often than a person types.
                self.asked = Some(now);
                Out::String
            }
            // DECID, and the same in one byte.
            (Out::Escape, b'Z') | (_, 0x9a) => {
                self.asked = Some(now);
                Out::Ground
            }
            (Out::Escape, b' '..=b'/') => Out::Escape,
            (
                Out::Control,
                b'c' | b'n' | b'x' | b'y' | b't' | b'p' | b'q' | b'u' | b'S' | b'h' | b'v',
            ) => {
                self.asked = Some(now);
                Out::Ground
            }
            (Out::Control, b'@'..=b'~') | (Out::Escape, _) => Out::Ground,
            (Out::String, BEL | 0x9c | CAN | SUB) | (Out::Control, CAN | SUB) => Out::Ground,
            (state, _) => state,
        };
    }

    /// Bytes that came from the terminal; gives how many were typed.
    pub fn input(&mut self, bytes: &[u8], now: Uptime) -> u64 {
        let mut typed: u64 = 0;
        // What began long ago is no answer: they come whole.
        if self.began.is_some_and(|began| now.since(began) > ANSWER) {
            typed = typed.saturating_add(self.settle(true));
            self.keys = Keys::Ground;
        }
        for byte in bytes {
            if matches!(self.step(*byte), Step::Again) {
                typed = typed.saturating_add(self.settle(!self.is_enquired(now)));
                self.keys = Keys::Ground;
                typed = typed.saturating_add(self.take(*byte, now));
            } else {
                typed = typed.saturating_add(self.take(*byte, now));
            }
        }
        typed
    }

    /// Takes one byte that does not break a sequence off; gives what it settled as typed.
    fn take(&mut self, byte: u8, now: Uptime) -> u64 {
        self.pending = self.pending.saturating_add(1);
        let counts = match self.step(byte) {
            Step::More => {
                self.began = self.began.or(Some(now));
                self.keys = self.next(byte);
                return 0;
            }
            Step::Report => false,
            Step::Either => self.asked.is_none_or(|asked| now.since(asked) > ANSWER),
            Step::Typed | Step::Again => true,
        };
        self.keys = Keys::Ground;
        self.settle(counts && !self.is_enquired(now))
    }

    fn is_enquired(&self, now: Uptime) -> bool {
        self.enquired.is_some_and(|enquired| now.since(enquired) <= ANSWER)
    }

    /// The sequence is over.
    fn settle(&mut self, counts: bool) -> u64 {
        self.began = None;
        let pending = std::mem::take(&mut self.pending);
        if counts { pending } else { 0 }
    }

    /// What `byte` makes of the sequence so far.
    fn step(&self, byte: u8) -> Step {
        match (self.keys, byte) {
            (Keys::Ground, ESC) => Step::More,
            (Keys::Ground, _) => Step::Typed,
            (Keys::Escape, b'[' | b']' | b'P' | b'_' | b'^' | b'X' | b'/') => Step::More,
            (Keys::Escape, ESC) => Step::Again,
            (Keys::Escape, _) => Step::Typed,
            (Keys::Vt52, b'A'..=b'Z') => Step::Report,
            (Keys::Vt52, _) | (Keys::Control { .. }, 0..b' ' | 0x7f..) => Step::Again,
            (Keys::Control { begun: false, .. }, b'M') => Step::More,
            (Keys::Control { .. }, b' '..=b'?') => Step::More,
            (Keys::Control { mark, dollar, begun }, last) => whole(mark, dollar, begun, last),
            (Keys::Mouse(0 | 1), _) => Step::Either,
            (Keys::Mouse(_), _) => Step::More,
            (Keys::String { escape: true }, b'\\') => Step::Report,
            (Keys::String { escape: true }, _) => Step::Again,
            (Keys::String { .. }, BEL) => Step::Report,
            (Keys::String { .. }, _) => Step::More,
        }
    }

    /// Where the scan goes with a byte that is part of a sequence.
    fn next(&self, byte: u8) -> Keys {
        match (self.keys, byte) {
            (Keys::Ground, _) => Keys::Escape,
            (Keys::Escape, b'[') => Keys::Control { mark: 0, dollar: false, begun: false },
            (Keys::Escape, b'/') => Keys::Vt52,
            (Keys::Escape, _) => Keys::String { escape: false },
            (Keys::Control { begun: false, .. }, b'M') => Keys::Mouse(3),
            (Keys::Control { mark, dollar, begun }, byte) => Keys::Control {
                mark: if begun { mark } else { private(byte) },
                dollar: dollar || byte == b'$',
                begun: true,
            },
            (Keys::Mouse(left), _) => Keys::Mouse(left.saturating_sub(1)),
            (Keys::String { .. }, byte) => Keys::String { escape: byte == ESC },
            (Keys::Vt52, _) => Keys::Vt52,
        }
    }
}

/// A byte that marks a control sequence as private, or 0.
const fn private(byte: u8) -> u8 {
    if matches!(byte, b'<'..=b'?') { byte } else { 0 }
}

/// What a whole control sequence is: its mark, whether there was a `$`, whether there was anything, and its last byte.
const fn whole(mark: u8, dollar: bool, begun: bool, last: u8) -> Step {
    match (mark, last) {
        (b'<', b'M' | b'm') => Step::Either,
        // Marked sequences are answers; no key sends one.
        (b'<'..=b'?', _) => Step::Report,
        // Focus comes and goes: a window was chosen, nothing was typed.
        (_, b'I' | b'O') if !begun => Step::Report,
        (_, b'c') => Step::Report,
        (_, b'y') if dollar => Step::Report,
        (_, b'R' | b'n' | b't' | b'x') if begun => Step::Either,
        _ => Step::Typed,
    }
}

const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// How long after a question what the terminal sends may be the answer.
pub const ANSWER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Uptime {
        Uptime::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// How much of `input` counts, `later` milliseconds after `output` came.
    fn typed(output: &[u8], input: &[u8], later: u64) -> u64 {
        let mut scanner = Scanner::default();
        scanner.output(output, at(0));
        scanner.input(input, at(later))
    }

    #[test]
    fn keys_count() {
        let keys: [&[u8]; 16] = [
            b"ls -l\r",
            b"\x03",
            b"\x1a",
            b"\x7f",
            "sch\u{f6}n".as_bytes(),
            b"\xff\x80\x9b",
            b"\x1b[A",
            b"\x1bOP",
            b"\x1b[15~",
            b"\x1b[1;5C",
            b"\x1b[200~paste\x1b[201~",
            b"\x1bx",
            b"\x1b[97;5u",
            b"\x1b[Z",
            b"\x1b[1;2R",
            b"\x1b[<0;3;4M",
        ];
        for key in keys {
            assert_eq!(typed(b"text", key, 0), u64::try_from(key.len()).unwrap(), "{key:?}");
        }
    }

    #[test]
    fn what_a_terminal_answers_does_not_count() {
        let table: [(&[u8], &[u8]); 16] = [
            (b"\x1b[6n", b"\x1b[24;80R"),
            (b"\x1b[5n", b"\x1b[0n"),
            (b"\x9b6n", b"\x1b[24;80R"),
            (b"\x1b[c", b"\x1b[?64;1;2c"),
            (b"\x1b[>c", b"\x1b[>41;354;0c"),
            (b"\x1b[?1004h", b"\x1b[I\x1b[O\x1b[I"),
            (b"\x1b[?1003h", b"\x1b[<35;7;7M\x1b[<35;8;7m"),
            (b"\x1b[?1000h", b"\x1b[M !!"),
            (b"\x1b]11;?\x1b\\", b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
            (b"\x1b]10;?\x07", b"\x1b]10;rgb:ffff/ffff/ffff\x07"),
            (b"\x1bP$qm\x1b\\", b"\x1bP1$r0m\x1b\\"),
            (b"\x1b[?2004$p", b"\x1b[?2004;1$y"),
            (b"\x1b[18t", b"\x1b[8;24;80t"),
            (b"\x1bZ", b"\x1b[?62c"),
            (b"\x05", b"PuTTYPuTTY"),
            (b"\x1b[x", b"\x1b[2;1;1;112;112;1;0x"),
        ];
        for (question, answer) in table {
            assert_eq!(typed(question, answer, 900), 0, "{question:?} {answer:?}");
        }
    }

    #[test]
    fn a_hand_counts_when_nobody_asked() {
        for input in [&b"\x1b[<64;3;4M"[..], b"\x1b[M !!", b"\x1b[1;2R"] {
            let len = u64::try_from(input.len()).unwrap();
            assert_eq!(typed(b"", input, 0), len);
            assert_eq!(typed(b"\x1b[6n", input, 1_001), len);
        }
        assert_eq!(typed(b"\x05", b"y", 1_001), 1);
    }

    #[test]
    fn what_only_looks_like_an_answer_counts_as_soon_as_none_can_come() {
        let mut scanner = Scanner::default();
        // Alt-] and then a sentence.
        assert_eq!(scanner.input(b"\x1b]", at(0)), 0);
        assert_eq!(scanner.input(b"hel", at(1_001)), 5);
        assert_eq!(scanner.input(b"lo", at(1_100)), 2);
        assert_eq!(scanner.input(b"\x1b", at(2_000)), 0);
        assert_eq!(scanner.input(b":wq\r", at(3_500)), 5);
        assert_eq!(scanner.input(b"\x1b\x1b\x1b[A", at(4_000)), 5);
    }

    #[test]
    fn an_answer_and_keys_beside_it_are_told_apart() {
        assert_eq!(typed(b"\x1b[6n", b"a\x1b[1;1Rb", 10), 2);
        assert_eq!(typed(b"\x1b[6n", b"\x1b[1;\rx", 10), 6);
    }

    proptest! {
        /// However the bytes are cut, the count is the same; and no more counts than came.
        #[test]
        fn cuts_change_nothing(
            output in proptest::collection::vec(piece(), 0..6),
            input in proptest::collection::vec(piece(), 0..12),
            cuts in proptest::collection::vec(1usize..5, 1..40),
            later in 0u64..2_000,
        ) {
            let (output, input) = (output.concat(), input.concat());
            let mut whole = Scanner::default();
            whole.output(&output, at(0));
            let expected = whole.input(&input, at(later));
            let mut cut = Scanner::default();
            for byte in &output {
                cut.output(std::slice::from_ref(byte), at(0));
            }
            let (mut rest, mut counted) = (&input[..], 0u64);
            for take in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, left) = rest.split_at((*take).min(rest.len()));
                counted = counted.saturating_add(cut.input(piece, at(later)));
                rest = left;
            }
            prop_assert_eq!(counted, expected);
            prop_assert!(counted <= u64::try_from(input.len()).unwrap());
        }

        /// Text always counts, whatever was written before, ENQ left out, and whatever came before it, once it is old.
        #[test]
        fn text_counts(noise in proptest::collection::vec(piece(), 0..8), output in proptest::collection::vec(piece(), 0..8)) {
            let mut scanner = Scanner::default();
            scanner.output(&output.concat(), at(0));
            scanner.input(&noise.concat(), at(0));
            prop_assert!(scanner.input(b"hello", at(2_000)) >= 5);
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..6),
            proptest::sample::select(vec![
                &b"\x1b[6n"[..],
                b"\x1b[24;80R",
                b"\x1b]11;?\x07",
                b"\x1b]11;rgb:0/0/0\x1b\\",
                b"\x1b[I",
                b"\x1b[M",
                b"\x1bP",
                b"\x1b\\",
                b"\x1b[<0;1;1M",
                b"\x1b[?1;2c",
                b"\x05",
                b"abc",
                b"\x1b[",
                b"\x1b",
                b"\x1b/Z",
            ])
            .prop_map(<[u8]>::to_vec),
        ]
    }
}
