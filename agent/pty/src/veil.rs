//! What of the input is kept, and of what only the length: passwords are typed where nothing is shown of them. Pure.
//!
//! Three cases, by the settings of the session's terminal at the moment the bytes pass:
//! - it echoes: kept, the screen shows it anyway;
//! - it does not echo, and still makes lines or returns of what is typed (`getpass`, `sudo`, `passwd`, also with asterisks;
//!   pagers, too): only the length;
//! - it does neither (line editors, vim, but also ssh to another machine, tmux, and sudo with a terminal of its own, in
//!   which somebody may be asked for a password): held until something is shown. A key that is answered at once is kept, a
//!   word or a line only if the answer shows it; what is not answered is a length.
//!
//! What this cannot know: a program that shows a password, or shows anything by itself in the moment in which a key of one
//! is typed.

use std::time::Duration;

use rustix::termios::{InputModes, LocalModes, Termios};
use wire::recording::record::Content;
use wire::time::Uptime;

/// Who shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// The terminal.
    Terminal,
    /// Nobody.
    Nobody,
    /// The program, if it wants to.
    Program,
}

impl Echo {
    /// By these settings.
    #[must_use]
    pub fn of(settings: &Termios) -> Self {
        if settings.local_modes.contains(LocalModes::ECHO) {
            Self::Terminal
        } else if settings.local_modes.contains(LocalModes::ICANON)
            || settings.input_modes.contains(InputModes::ICRNL)
        {
            Self::Nobody
        } else {
            Self::Program
        }
    }
}

/// Holds input back until it is known whether it is kept.
#[derive(Debug, Default)]
pub struct Veil {
    held: Vec<u8>,
    held_at: Uptime,
    /// Bytes that are not kept and not told of yet, and when the last of them came.
    hidden: u32,
    hidden_at: Uptime,
}

impl Veil {
    /// Takes input; `keep` gets what is decided by now, in order.
    pub fn input(
        &mut self,
        bytes: &[u8],
        echo: Echo,
        at: Uptime,
        keep: &mut impl FnMut(Uptime, Content),
    ) {
        // Nothing was shown since: what was held is not answered.
        self.hide_held();
        match echo {
            Echo::Terminal => {
                self.tell_hidden(keep);
                keep(at, Content::Input(bytes.to_vec()));
            }
            Echo::Nobody => self.hide(bytes.len(), at),
            Echo::Program => {
                self.held.extend_from_slice(bytes);
                self.held_at = at;
            }
        }
    }

    /// Something is about to be shown.
    pub fn output(&mut self, bytes: &[u8], at: Uptime, keep: &mut impl FnMut(Uptime, Content)) {
        if !self.held.is_empty() {
            if at.since(self.held_at) <= ANSWER && is_answered(&self.held, bytes) {
                self.tell_hidden(keep);
                keep(self.held_at, Content::Input(std::mem::take(&mut self.held)));
            } else {
                self.hide_held();
            }
        }
        self.tell_hidden(keep);
    }

    /// Decides what is open: before anything else is told, and at the end.
    pub fn settle(&mut self, keep: &mut impl FnMut(Uptime, Content)) {
        self.hide_held();
        self.tell_hidden(keep);
    }

    /// Tells of what nothing answered for so long that nothing will.
    pub fn look(&mut self, now: Uptime, keep: &mut impl FnMut(Uptime, Content)) {
        if now.since(self.held_at.max(self.hidden_at)) > ANSWER {
            self.settle(keep);
        }
    }

    /// Whether something is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.held.is_empty() || self.hidden > 0
    }

    fn hide_held(&mut self) {
        let (count, at) = (self.held.len(), self.held_at);
        self.held.clear();
        self.hide(count, at);
    }

    fn hide(&mut self, count: usize, at: Uptime) {
        if count > 0 {
            self.hidden = self.hidden.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            self.hidden_at = at;
        }
    }

    fn tell_hidden(&mut self, keep: &mut impl FnMut(Uptime, Content)) {
        let count = std::mem::take(&mut self.hidden);
        if count > 0 {
            keep(self.hidden_at, Content::Hidden(count));
        }
    }
}

/// Whether what is shown answers what was typed: any answer will do for a key, a word must stand in it.
fn is_answered(typed: &[u8], shown: &[u8]) -> bool {
    let word = longest_word(typed);
    if word.len() < 2 {
        return true;
    }
    let part = word.get(..word.len().min(SEEN)).unwrap_or(word);
    shown.windows(part.len()).any(|window| window == part)
}

/// The longest run of printable bytes outside of sequences that a key sends (ECMA-48: CSI and SS3).
fn longest_word(bytes: &[u8]) -> &[u8] {
    let (mut longest, mut rest): (&[u8], &[u8]) = (&[], bytes);
    while let Some((first, after)) = rest.split_first() {
        if *first == ESC {
            rest = after_key(after);
            continue;
        }
        let length = rest.iter().take_while(|byte| is_printable(**byte)).count();
        let (word, after) = rest.split_at(length.max(1).min(rest.len()));
        if length > longest.len() {
            longest = word;
        }
        rest = after;
    }
    longest
}

/// What follows the key that began with ESC.
fn after_key(bytes: &[u8]) -> &[u8] {
    match bytes.split_first() {
        Some((b'[', rest)) => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
            end.and_then(|end| rest.get(end.saturating_add(1)..)).unwrap_or_default()
        }
        Some((b'O', rest)) => rest.get(1..).unwrap_or_default(),
        Some((_, rest)) => rest,
        None => bytes,
    }
}

const fn is_printable(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f
}

const ESC: u8 = 0x1b;
/// How long after a key its answer may come; later it is something else.
const ANSWER: Duration = Duration::from_millis(500);
/// So many bytes of a word must be shown.
const SEEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is typed and shown, step by step.
    enum Step {
        Type(&'static [u8], Echo),
        Show(&'static [u8]),
        Wait(u64),
    }
    use Step::{Show, Type, Wait};

    fn kept(steps: &[Step]) -> Vec<String> {
        let (mut veil, mut told, mut millis) = (Veil::default(), Vec::new(), 1_000_u64);
        let mut keep = |_, content: Content| match content {
            Content::Input(bytes) => told.push(String::from_utf8(bytes).unwrap()),
            Content::Hidden(count) => told.push(format!("#{count}")),
            other => panic!("{other:?}"),
        };
        for step in steps {
            millis = millis.saturating_add(10);
            let at = Uptime::from_nanos(millis.saturating_mul(1_000_000));
            match step {
                Type(bytes, echo) => veil.input(bytes, *echo, at, &mut keep),
                Show(bytes) => veil.output(bytes, at, &mut keep),
                Wait(more) => millis = millis.saturating_add(*more),
            }
        }
        veil.settle(&mut keep);
        told
    }

    #[test]
    fn what_the_terminal_echoes_is_kept_and_what_nobody_does_is_a_length() {
        use Echo::{Nobody, Terminal};
        let steps = [
            Type(b"sudo id\r", Terminal),
            Show(b"[sudo] password: "),
            Type(b"hun", Nobody),
            Type(b"ter2\r", Nobody),
            Show(b"\r\n"),
            Type(b"ls\r", Terminal),
        ];
        assert_eq!(kept(&steps), ["sudo id\r", "#8", "ls\r"]);
    }

    #[test]
    fn in_a_line_editor_keys_are_kept_as_they_are_shown() {
        use Echo::Program;
        let steps = [
            Type(b"l", Program),
            Show(b"l"),
            Type(b"s", Program),
            Show(b"s"),
            Type(b"\x1b[A", Program),
            Show(b"\x1b[2Kid"),
            Type(b"\r", Program),
            Show(b"\r\n"),
            Type(b"echo pasted", Program),
            Show(b"\x1b[7mecho pasted\x1b[27m"),
            Type(b"\x1b[200~whoami\x1b[201~", Program),
            Show(b"whoami"),
        ];
        let expected = ["l", "s", "\x1b[A", "\r", "echo pasted", "\x1b[200~whoami\x1b[201~"];
        assert_eq!(kept(&steps), expected);
    }

    #[test]
    fn a_password_in_a_terminal_within_is_a_length() {
        use Echo::Program;
        let typed = [
            Show(b"\r\nlogin2's password: "),
            Type(b"h", Program),
            Type(b"u", Program),
            Type(b"n", Program),
            Type(b"ter2", Program),
            Type(b"\r", Program),
            Show(b"\r\nWelcome"),
        ];
        assert_eq!(kept(&typed), ["#7", "\r"]);
        let pasted = [Type(b"hunter2\r", Program), Show(b"\r\nWelcome")];
        assert_eq!(kept(&pasted), ["#8"]);
        // A clock in a status line answers nothing.
        let late = [Type(b"h", Program), Wait(600), Show(b"12:00")];
        assert_eq!(kept(&late), ["#1"]);
    }

    #[test]
    fn what_is_never_answered_is_told_of_in_time() {
        let mut veil = Veil::default();
        let mut told = Vec::new();
        let at = |millis: u64| Uptime::from_nanos(millis * 1_000_000);
        veil.input(b"xy", Echo::Program, at(0), &mut |_, _| panic!());
        veil.look(at(500), &mut |_, _| panic!());
        assert!(veil.is_open());
        veil.look(at(501), &mut |when, content| told.push((when, content)));
        assert_eq!(told, [(at(0), Content::Hidden(2))]);
        assert!(!veil.is_open());
    }

    proptest! {
        /// Every byte is told of once, kept or as a length.
        #[test]
        fn no_byte_is_told_twice_or_never(
            steps in proptest::collection::vec((any::<bool>(), 0u8..3, proptest::collection::vec(any::<u8>(), 0..9)), 0..40),
        ) {
            let (mut veil, mut told, mut typed) = (Veil::default(), 0_usize, 0_usize);
            let mut keep = |_, content: Content| {
                let count = match content {
                    Content::Input(bytes) => bytes.len(),
                    Content::Hidden(count) => usize::try_from(count).unwrap(),
                    other => panic!("{other:?}"),
                };
                told = told.saturating_add(count);
            };
            for (nanos, (is_input, echo, bytes)) in (0..).zip(&steps) {
                let at = Uptime::from_nanos(nanos);
                let echo = [Echo::Terminal, Echo::Nobody, Echo::Program][usize::from(*echo)];
                if *is_input {
                    typed = typed.saturating_add(bytes.len());
                    veil.input(bytes, echo, at, &mut keep);
                } else {
                    veil.output(bytes, at, &mut keep);
                }
            }
            veil.settle(&mut keep);
            prop_assert_eq!(told, typed);
        }
    }
}
