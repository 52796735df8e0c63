//! What this process counts of its own work, and the page on which Prometheus reads that (text format 0.0.4).
//!
//! Counting never waits and never fails; what is counted is lost with the process, as Prometheus expects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Certificates that were given out, from the request to the answer.
    pub(crate) issued: Timed,
    /// Certificates that policy refused.
    pub(crate) denied: Count,
    /// Certificates that could not be decided, recorded, witnessed or signed.
    pub(crate) failed: Count,
    /// Transactions of the ledger, from their beginning until they were durable or undone.
    pub(crate) commits: Timed,
    /// Pieces of work that shared them.
    pub(crate) jobs: Count,
    /// Records of what sessions did that hosts say are lost.
    pub(crate) lost: Count,
    /// Orders that a host has done, from when they were durable.
    pub(crate) done: Timed,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

/// Spans of time, in buckets.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    /// How many fit each bound of [`BOUNDS`], and how many none; each is counted once.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A page while it is written.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Count {
    /// One more.
    pub(crate) fn one(&self) {
        self.more(1);
    }

    /// So many more.
    pub(crate) fn more(&self, by: usize) {
        self.add(u64::try_from(by).unwrap_or(u64::MAX));
    }

    /// So many more.
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// How many.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Timed {
    /// It took this long.
    pub(crate) fn took(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Page {
    /// A figure that rises and falls.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head((name, "gauge"), help);
        self.line(name, "", value);
    }

    /// A number that only rises.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head((name, "counter"), help);
        self.line(name, "", value);
    }

    /// A figure for each of several things. Names of things hold no quotes: they are names that were checked.
    pub(crate) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ((&'a str, &'a str), u64)>,
    ) {
        self.rows((name, "gauge"), help, rows);
    }

    /// A number that only rises for each of several things.
    pub(crate) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ((&'a str, &'a str), u64)>,
    ) {
        self.rows((name, "counter"), help, rows);
    }

    fn rows<'a>(
        &mut self,
        about: (&str, &str),
        help: &str,
        rows: impl IntoIterator<Item = ((&'a str, &'a str), u64)>,
    ) {
        self.head(about, help);
        for ((label, of), value) in rows {
            let of: String =
                of.chars().filter(|letter| !matches!(letter, '"' | '\\' | '\n')).collect();
            self.line(about.0, &format!("{{{label}=\"{of}\"}}"), value);
        }
    }

    /// Spans of time.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, timed: &Timed) {
        self.head((name, "histogram"), help);
        let mut so_far: u64 = 0;
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
        for (bucket, bound) in timed.buckets.iter().zip(bounds) {
            so_far = so_far.saturating_add(bucket.load(Ordering::Relaxed));
            self.line(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), so_far);
        }
        let sum = seconds(timed.micros.load(Ordering::Relaxed));
        self.line(&format!("{name}_sum"), "", sum);
        self.line(&format!("{name}_count"), "", so_far);
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, (name, kind): (&str, &str), help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{name}{labels} {value}\n"));
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bounds of the buckets, in microseconds: a certificate takes milliseconds, an order on a far host seconds.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_in_buckets_that_add_up() {
        let timed = Timed::default();
        for micros in [1, 500, 501, 50_000, 99_000_000] {
            timed.took(Duration::from_micros(micros));
        }
        let mut page = Page::default();
        page.histogram("x_seconds", "How long.", &timed);
        let text = page.finish();
        assert!(
            text.starts_with("# HELP x_seconds How long.\n# TYPE x_seconds histogram\n"),
            "{text}"
        );
        for line in [
            "x_seconds_bucket{le=\"0.0005\"} 2",
            "x_seconds_bucket{le=\"0.001\"} 3",
            "x_seconds_bucket{le=\"0.05\"} 4",
            "x_seconds_bucket{le=\"10\"} 4",
            "x_seconds_bucket{le=\"+Inf\"} 5",
            "x_seconds_sum 99.051002",
            "x_seconds_count 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_label_stays_one_label() {
        let mut page = Page::default();
        page.gauges("y", "Y.", [(("host", "a\"} 1\nz"), 7)]);
        assert!(page.finish().ends_with("y{host=\"a} 1z\"} 7\n"));
    }
}
