//! Showing a film: where it stands, how fast it goes, and what a key does. Pure: the shell says how much time went by.

use std::time::Duration;

use crate::emulator::Emulator;
use crate::film::{Film, What};
use crate::frame::Frame;

/// A film while it is shown.
#[derive(Debug)]
pub struct Player {
    film: Film,
    marks: Vec<Mark>,
    at: Duration,
    /// How many moments are over.
    over: usize,
    screen: Emulator,
    /// For a time that stood still already when nothing happened.
    idle: Duration,
    /// Times 100.
    speed: u32,
    is_paused: bool,
    skips_idle: bool,
}

/// A place to jump to: a command, and when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// How long after the beginning of the film.
    pub at: Duration,
    /// What it is called.
    pub name: String,
}

/// What the reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Stop, or go on.
    Pause,
    /// So much on.
    Forward(Duration),
    /// So much back.
    Back(Duration),
    /// To this moment.
    To(Duration),
    /// Twice as fast.
    Faster,
    /// Half as fast.
    Slower,
    /// Pass over times in which nothing happens, or not.
    Idle,
    /// To the next command.
    NextMark,
    /// To the one before.
    LastMark,
    /// To the next moment at which this is seen that was not seen before it.
    Find(String),
    /// One moment on.
    Step,
}

impl Player {
    /// Begins at the beginning.
    #[must_use]
    pub fn new(film: Film, marks: Vec<Mark>) -> Self {
        let mut player = Self {
            screen: film.screen_after(0),
            film,
            marks,
            at: Duration::ZERO,
            over: 0,
            idle: Duration::ZERO,
            speed: 100,
            is_paused: false,
            skips_idle: false,
        };
        player.go_to(Duration::ZERO);
        player
    }

    /// The film.
    #[must_use]
    pub const fn film(&self) -> &Film {
        &self.film
    }

    /// The film, to which more may come.
    pub const fn film_mut(&mut self) -> &mut Film {
        &mut self.film
    }

    /// Sets how fast it goes, in hundredths.
    pub fn set_speed(&mut self, hundredths: u32) {
        self.speed = hundredths.clamp(SLOWEST, FASTEST);
    }

    /// So much time went by.
    pub fn pass(&mut self, span: Duration) {
        if self.is_paused {
            return;
        }
        let span = span.saturating_mul(self.speed).checked_div(100).unwrap_or_default();
        self.idle = self.idle.saturating_add(span);
        let mut to = self.at.saturating_add(span);
        if self.skips_idle
            && self.idle >= PATIENCE
            && let Some(next) = self.film.moments().get(self.over)
        {
            to = to.max(next.at);
        }
        self.run_to(to.min(self.film.length()));
    }

    /// Does what the reader wants; whether there was such a place.
    pub fn act(&mut self, wish: &Wish) -> bool {
        match wish {
            Wish::Pause => self.is_paused = !self.is_paused,
            Wish::Forward(span) => self.go_to(self.at.saturating_add(*span)),
            Wish::Back(span) => self.go_to(self.at.saturating_sub(*span)),
            Wish::To(at) => self.go_to(*at),
            Wish::Faster => self.set_speed(self.speed.saturating_mul(2)),
            Wish::Slower => self.set_speed(self.speed / 2),
            Wish::Idle => self.skips_idle = !self.skips_idle,
            Wish::NextMark => {
                let next = self.marks.iter().find(|mark| mark.at > self.at);
                return self.jump(next.map(|mark| mark.at));
            }
            Wish::LastMark => {
                let last = self.marks.iter().rev().find(|mark| mark.at < self.at);
                return self.jump(last.map(|mark| mark.at));
            }
            Wish::Find(text) => return self.find(text),
            Wish::Step => {
                let next = self.film.moments().get(self.over).map(|moment| moment.at);
                self.is_paused = true;
                return self.jump(next);
            }
        }
        true
    }

    fn jump(&mut self, to: Option<Duration>) -> bool {
        to.inspect(|at| self.go_to(*at)).is_some()
    }

    fn go_to(&mut self, at: Duration) {
        self.at = at.min(self.film.length());
        self.idle = Duration::ZERO;
        self.over = self.film.over_at(self.at);
        self.screen = self.film.screen_after(self.over);
    }

    fn run_to(&mut self, at: Duration) {
        while let Some(moment) = self.film.moments().get(self.over).filter(|moment| moment.at <= at)
        {
            moment.what.show(&mut self.screen);
            self.over = self.over.saturating_add(1);
            self.idle = Duration::ZERO;
        }
        self.at = at.max(self.at);
    }

    /// Goes to the next moment after which the text is seen and before which it was not.
    fn find(&mut self, text: &str) -> bool {
        let wanted = text.to_lowercase();
        let is_seen = |screen: &Emulator| {
            screen.frame().text().iter().any(|row| row.to_lowercase().contains(&wanted))
        };
        let mut screen = self.film.screen_after(self.over);
        let mut was_seen = is_seen(&screen);
        for (at, moment) in self.film.moments().iter().enumerate().skip(self.over) {
            moment.what.show(&mut screen);
            if !matches!(moment.what, What::Output(_)) {
                continue;
            }
            let seen = is_seen(&screen);
            if seen && !was_seen {
                (self.at, self.over, self.screen) = (moment.at, at.saturating_add(1), screen);
                (self.idle, self.is_paused) = (Duration::ZERO, true);
                return true;
            }
            was_seen = seen;
        }
        false
    }

    /// What is shown.
    #[must_use]
    pub fn frame(&self) -> Frame {
        self.screen.frame()
    }

    /// Where it stands.
    #[must_use]
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// Whether everything was shown that there is.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over >= self.film.moments().len() && self.at >= self.film.length()
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The command that was started last.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        self.marks.iter().rev().find(|mark| mark.at <= self.at)
    }

    /// How it goes: `2x, without pauses`.
    #[must_use]
    pub fn pace(&self) -> String {
        let (whole, part) = (self.speed / 100, self.speed % 100);
        let speed = if part == 0 { format!("{whole}x") } else { format!("{whole}.{part:02}x") };
        let idle = if self.skips_idle { ", without pauses" } else { "" };
        let paused = if self.is_paused { ", paused" } else { "" };
        format!("{speed}{idle}{paused}")
    }
}

/// How fast it can go, in hundredths.
const SLOWEST: u32 = 25;
const FASTEST: u32 = 6_400;
/// How long nothing may happen before the rest of it is passed over.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::film::tests::film;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn player() -> Player {
        let outputs =
            [(1_000, "one"), (2_000, "\r\ntwo"), (60_000, "\r\nthree"), (61_000, "\r\nfour")];
        let marks = [(2, "ls"), (60, "rm")];
        let marks = marks.map(|(at, name)| Mark { at: secs(at), name: name.into() });
        Player::new(film(&outputs), marks.into())
    }

    fn text(player: &Player) -> String {
        player.frame().text().join("|")
    }

    #[test]
    fn it_goes_on_as_time_does_and_stands_still_when_it_is_told() {
        let mut player = player();
        player.pass(secs(1));
        assert_eq!(text(&player), "one|||");
        player.act(&Wish::Pause);
        player.pass(secs(10));
        assert_eq!((player.at(), player.pace().as_str()), (secs(1), "1x, paused"));
        player.act(&Wish::Pause);
        player.act(&Wish::Faster);
        player.pass(Duration::from_millis(500));
        assert_eq!((player.at(), text(&player).as_str()), (secs(2), "one|two||"));
    }

    #[test]
    fn times_in_which_nothing_happens_are_passed_over() {
        let mut player = player();
        player.act(&Wish::Idle);
        player.act(&Wish::To(secs(3)));
        player.pass(secs(1));
        assert_eq!(text(&player), "one|two|three|");
        assert!(!player.is_over());
        player.pass(secs(1));
        assert!(player.is_over());
    }

    #[test]
    fn commands_and_texts_are_gone_to() {
        let mut player = player();
        assert!(player.act(&Wish::NextMark) && player.act(&Wish::NextMark));
        assert_eq!((player.at(), player.mark().unwrap().name.as_str()), (secs(60), "rm"));
        assert!(!player.act(&Wish::NextMark));
        assert!(player.act(&Wish::LastMark));
        assert_eq!(player.at(), secs(2));
        assert!(player.act(&Wish::Find("FOUR".into())));
        assert_eq!((player.at(), player.is_paused()), (secs(61), true));
        assert!(!player.act(&Wish::Find("five".into())));
        player.act(&Wish::Back(secs(59)));
        assert_eq!(text(&player), "one|two||");
    }

    #[test]
    fn speeds_have_bounds() {
        let mut player = player();
        for _ in 0..20 {
            player.act(&Wish::Faster);
        }
        assert_eq!(player.pace(), "64x");
        for _ in 0..20 {
            player.act(&Wish::Slower);
        }
        assert_eq!(player.pace(), "0.25x");
    }
}
