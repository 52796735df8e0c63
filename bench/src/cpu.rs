//! Whose processor time it was: ours, the authority's, and everybody else's on the machine (proc(5)).

use anyhow::{Context as _, Result};

/// Processor time that was used since some moment before, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    /// The process that is measured.
    pub(crate) measured: f64,
    /// This one, which makes the load.
    pub(crate) load: f64,
    /// The whole machine.
    pub(crate) machine: f64,
}

impl Cpu {
    /// So far, of the process `pid`.
    pub(crate) fn so_far(pid: u32) -> Result<Self> {
        Ok(Self { measured: of(&pid.to_string())?, load: of("self")?, machine: machine()? })
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            measured: self.measured - before.measured,
            load: self.load - before.load,
            machine: self.machine - before.machine,
        }
    }

    /// What others used meanwhile.
    pub(crate) fn others(self) -> f64 {
        (self.machine - self.measured - self.load).max(0.0)
    }
}

fn of(process: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .with_context(|| format!("process {process} is gone"))?;
    of_stat(&text)
}

/// Processor time of the process whose `/proc/PID/stat` this is, in seconds.
pub(crate) fn of_stat(text: &str) -> Result<f64> {
    // The name in the second field may hold spaces; it ends with the last parenthesis. utime and stime are 14 and 15.
    let rest = text.rsplit_once(") ").context("/proc/PID/stat has another form")?.1;
    seconds(rest.split(' ').skip(11).take(2))
}

/// All but what was idle or waited for the disk: user, nice, system, then irq, softirq and steal.
pub(crate) fn machine() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let used = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|at| fields.get(at).copied());
    seconds(used)
}

fn seconds<'a>(ticks: impl Iterator<Item = &'a str>) -> Result<f64> {
    let mut sum = 0.0;
    for field in ticks {
        let ticks: f64 = field.parse().context("no number in /proc")?;
        sum += ticks / TICKS_PER_SECOND;
    }
    Ok(sum)
}

/// `USER_HZ`, the same on all of Linux's machines that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_counted_as_its_own_and_the_machine_s() {
        let before = Cpu::so_far(std::process::id()).expect("it is there");
        let mut used = before.since(before);
        let mut number = 1_u64;
        while used.load < 0.05 {
            number = std::hint::black_box((0..1_000_000).fold(number, |sum, add| sum ^ add));
            used = Cpu::so_far(std::process::id()).expect("it is there").since(before);
        }
        assert!(used.measured >= 0.05 && used.machine > 0.0, "{used:?}");
    }
}
