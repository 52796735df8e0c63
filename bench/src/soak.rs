//! `soak`: many things one after the other for a long time, on three hosts, and at the end an account of all of it.
//!
//! In the first third everything happens: logins on a terminal and without, requests that are approved, grants that end, locks,
//! agents that are restarted and killed, an authority that is restarted, links that are cut. After it nobody is restarted, so
//! that what grows shows: what every program of ours takes is counted after the second third, when all have warmed up, and at
//! the end.
//!
//! A thing that goes wrong is noted with its place in the order and does not stop the rest. The order comes from a number that
//! is always the same, so that it can be repeated.

use std::time::Duration;

use anyhow::Result;

use crate::{bench::Verdict, clock::Stopwatch, report::Row, sample::Sample};

mod account;
mod deed;
mod leak;
mod scene;

use deed::Deed;
use leak::Census;
use scene::Scene;

/// Minutes.
pub(crate) const COUNT: usize = 30;

/// What came of all deeds of one kind.
#[derive(Debug, Default)]
struct Tally {
    took_ms: Vec<f64>,
    failed: usize,
}

/// How it went so far.
#[derive(Debug, Default)]
struct Course {
    tallies: Vec<(Deed, Tally)>,
    broken: Vec<String>,
    done: usize,
}

/// Goes on for so many minutes.
pub(crate) fn measure(minutes: usize) -> Result<Verdict> {
    let third = Duration::from_secs(u64::try_from(minutes)?.saturating_mul(20));
    let mut scene = Scene::set()?;
    let mut course = Course::default();
    let mut dice = Dice::default();
    course.go_on(&mut scene, &mut dice, (&Deed::ALL, third));
    course.go_on(&mut scene, &mut dice, (&Deed::KIND, third));
    scene.settle()?;
    let before = Census::of(&scene)?;
    course.go_on(&mut scene, &mut dice, (&Deed::KIND, third));
    scene.settle()?;
    let after = Census::of(&scene)?;
    let mut rows = course.rows();
    rows.extend(after.rows(&before));
    course.broken.extend(after.grown(&before));
    rows.push(account::check(&mut scene, &mut course.broken)?);
    Ok(Verdict { rows, broken: course.broken })
}

impl Course {
    /// Does one thing after the other until the time is over, each at least once.
    fn go_on(&mut self, scene: &mut Scene, dice: &mut Dice, (deeds, time): (&[Deed], Duration)) {
        let clock = Stopwatch::start();
        loop {
            let mut left = deeds.to_vec();
            while !left.is_empty() {
                let deed = left.swap_remove(dice.below(left.len()));
                self.one(scene, deed, dice.below(scene::HOSTS.len()));
            }
            if clock.passed() >= time {
                return;
            }
        }
    }

    fn one(&mut self, scene: &mut Scene, deed: Deed, host: usize) {
        let watch = Stopwatch::start();
        let done = deed.perform(scene, host);
        let took_ms = watch.passed().as_secs_f64() * 1000.0;
        self.done = self.done.saturating_add(1);
        let known = self.tallies.iter().position(|(of, _)| *of == deed);
        let at = known.unwrap_or_else(|| {
            self.tallies.push((deed, Tally::default()));
            self.tallies.len().saturating_sub(1)
        });
        let Some((_, tally)) = self.tallies.get_mut(at) else { return };
        tally.took_ms.push(took_ms);
        if let Err(error) = done {
            tally.failed = tally.failed.saturating_add(1);
            let place = self.done;
            self.broken.push(format!("number {place}, {} on host {host}: {error:#}", deed.name()));
        }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(deed, tally): &(Deed, Tally)| {
            let took = Sample::new(tally.took_ms.iter().copied());
            Row::new("soak", deed.name())
                .counted("count", took.count())
                .counted("failed", tally.failed)
                .measured("p50_ms", took.percentile(50))
                .measured("max_ms", took.max())
        };
        self.tallies.iter().map(row).collect()
    }
}

/// An order that looks like chance and is always the same (xorshift64, Marsaglia 2003).
#[derive(Debug)]
struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        Self(0x00C0_FFEE_D00D_F00D)
    }
}

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.0.checked_rem(end).unwrap_or_default()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_turn() {
        let mut dice = Dice::default();
        let mut turns = [0_usize; 3];
        for _ in 0..300 {
            turns[dice.below(3)] += 1;
        }
        assert!(turns.iter().all(|&turns| turns > 60), "{turns:?}");
        assert_eq!(dice.below(0), 0);
    }
}
