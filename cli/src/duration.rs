//! Spans as people type and read them: `20s`, `1h 30m`, `41 ms`.

use std::str::FromStr;
use std::time::Duration;

/// A span of at least a second, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(u64);

/// Why a span was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpanError {
    /// It cannot be read.
    #[error("is no span of time; write 20s, 15m or 1h30m")]
    Form,
    /// It is too short to mean anything.
    #[error("is shorter than a second")]
    Short,
}

impl Span {
    /// Whole seconds.
    pub(crate) const fn secs(self) -> u64 {
        self.0
    }

    /// As code wants it.
    pub(crate) const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let span: jiff::SignedDuration =
            text.parse().map_err(|_odd: jiff::Error| SpanError::Form)?;
        match u64::try_from(span.as_secs()) {
            Ok(0) | Err(_) => Err(SpanError::Short),
            Ok(secs) => Ok(Self(secs)),
        }
    }
}

/// How long something took, in the largest unit that still tells: `850 µs`, `41 ms`, `1.2 s`.
pub(crate) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// A span in its two largest units: `41 s`, `4 min`, `1 h 5 min`, `3 d 2 h`.
pub(crate) fn rough(span: Duration) -> String {
    let secs = span.as_secs();
    let (minutes, hours, days) = (secs / 60, secs / 3_600, secs / 86_400);
    let with = |large: String, small: u64, unit: &str| match small {
        0 => large,
        _ => format!("{large} {small} {unit}"),
    };
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 => with(format!("{hours} h"), minutes % 60, "min"),
        _ => with(format!("{days} d"), hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_type_them() {
        let secs = |text: &str| text.parse::<Span>().map(Span::secs);
        assert_eq!(secs("20s"), Ok(20));
        assert_eq!(secs("1h30m"), Ok(5_400));
        assert_eq!(secs("1h 30m"), Ok(5_400));
        assert_eq!(secs("0s"), Err(SpanError::Short));
        assert_eq!(secs("-5s"), Err(SpanError::Short));
        assert_eq!(secs("20"), Err(SpanError::Form));
        assert_eq!(secs("soon"), Err(SpanError::Form));
    }

    #[test]
    fn spans_are_shown_in_their_largest_units() {
        assert_eq!(took(850), "850 µs");
        assert_eq!(took(41_234), "41 ms");
        assert_eq!(took(1_260_000), "1.2 s");
        assert_eq!(rough(Duration::from_secs(59)), "59 s");
        assert_eq!(rough(Duration::from_secs(3_900)), "1 h 5 min");
        assert_eq!(rough(Duration::from_secs(86_400)), "1 d");
    }
}
