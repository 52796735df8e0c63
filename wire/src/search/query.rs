//! The language of searches: `exec:rm path:/etc who:ana -host:test1 since:7d "access denied"`.
//!
//! Shape: terms with blanks between them, all of which must fit; each is `field:value` or a bare text. A value may be several with commas
//! between them, of which one must fit; `-` before a term turns it round; quotes keep blanks and commas. `*` in
//! `exec:`, `arg:` and `connect:` stands for anything. Every line is read or refused with the column and, where one is near, what
//! was meant.

use std::fmt;
use std::time::Duration;

use crate::identifier::{HostName, Login, RoleName, SessionId};
use crate::time::Timestamp;

mod reach;

pub use reach::{Reach, ReachError};

/// A search that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Term>,
}

/// One condition of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Whether it must not fit.
    pub is_not: bool,
    /// Of these tests one must fit; there is at least one.
    pub any: Vec<Test>,
}

/// What a record is tested for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// A program was started: its name, or its whole path when the pattern has a slash.
    Exec(Pattern),
    /// A program was started with such an argument.
    Arg(Pattern),
    /// Something was connected to this: an address, or one with a port, as `10.0.0.9:443`.
    Connect(Pattern),
    /// A path occurs that is this one or lies below it; absolute, without a slash at its end.
    Path(String),
    /// This text occurs, in capitals or not.
    Text(String),
    /// The same, and it is looked for in what terminals showed and in what was typed as well.
    Anywhere(String),
    /// A terminal showed this text in a line, in capitals or not.
    Seen(String),
    /// This text was typed into a terminal, in capitals or not.
    Typed(String),
    /// It belongs to a session of this identity, or of one whose name before `@` is this.
    Who(String),
    /// It happened on this host.
    Host(HostName),
    /// It belongs to a session of this account.
    Login(Login),
    /// It belongs to a session under this role.
    Role(RoleName),
    /// It belongs to this session.
    Session(SessionId),
    /// It is of this kind, one of [`KINDS`].
    Kind(&'static str),
    /// A program ran as this user, really or effectively.
    Uid(u32),
    /// It happened then or later.
    Since(Moment),
    /// It happened before then.
    Until(Moment),
}

/// A moment as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long before the search.
    Ago(Duration),
    /// Then, UTC.
    At(Timestamp),
}

/// Text in which `*` stands for anything, also for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a search was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
    /// What may have been meant.
    pub meant: Option<String>,
}

impl Query {
    /// Reads a search.
    ///
    /// # Errors
    /// The first thing that is wrong, with its column.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY {
            return Err(wrong(1, format!("a search has at most {MAX_QUERY} bytes")));
        }
        let mut reader = Reader { text: text.chars().enumerate().collect(), at: 0 };
        let mut terms = Vec::new();
        while reader.skip_blanks() {
            if terms.len() == MAX_TERMS {
                return Err(wrong(
                    reader.column(),
                    format!("a search has at most {MAX_TERMS} terms"),
                ));
            }
            terms.push(reader.term()?);
        }
        if terms.is_empty() {
            return Err(wrong(1, "there is nothing to search for".into()));
        }
        Ok(Self { terms })
    }

    /// The conditions, all of which must hold.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The earliest moment that can fit, when the search began at `now`.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let bound = |test: &Test| match test {
            Test::Since(moment) => Some(moment.at(now)),
            _ => None,
        };
        let earliest = |term: &Term| term.any.iter().map(bound).min().flatten();
        self.terms.iter().filter(|term| !term.is_not).filter_map(earliest).max()
    }
}

impl Moment {
    /// As a moment, for a search that began at `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.before(span),
            Self::At(at) => at,
        }
    }
}

impl Pattern {
    /// The pattern of this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether these bytes fit as a whole.
    #[must_use]
    pub fn fits(&self, bytes: &[u8]) -> bool {
        let mut parts = self.0.as_bytes().split(|byte| *byte == b'*');
        let Some(mut rest) = parts.next().and_then(|first| bytes.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            // The first place is as good as any: what follows can only be longer.
            match find(rest, part) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    /// The texts between the asterisks.
    pub fn fixed(&self) -> impl Iterator<Item = &str> {
        self.0.split('*')
    }
}

/// What follows the first `part` in `whole`.
fn find<'a>(whole: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    if part.is_empty() {
        return Some(whole);
    }
    let at = whole.windows(part.len()).position(|window| window == part)?;
    whole.get(at.saturating_add(part.len())..)
}

/// Goes through the characters, each with its place.
struct Reader {
    text: Vec<(usize, char)>,
    at: usize,
}

/// A piece of a value, and where it began.
struct Piece {
    column: usize,
    text: String,
    is_quoted: bool,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).map(|(_, character)| *character)
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at = self.at.saturating_add(usize::from(next.is_some()));
        next
    }

    const fn column(&self) -> usize {
        self.at.saturating_add(1)
    }

    /// Passes over blanks, and says whether there is more.
    fn skip_blanks(&mut self) -> bool {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at = self.at.saturating_add(1);
        }
        self.peek().is_some()
    }

    fn term(&mut self) -> Result<Term, QueryError> {
        let is_not = self.peek() == Some('-');
        if is_not {
            self.next();
        }
        let begin = self.at;
        let field = self.field();
        let Some(name) = field else {
            self.at = begin;
            let pieces = self.pieces()?;
            let any = pieces.into_iter().map(text_of).collect::<Result<_, _>>()?;
            return Ok(Term { is_not, any });
        };
        let column = begin.saturating_add(1);
        let Some(field) = FIELDS.iter().find(|field| field.0 == name) else {
            let known = FIELDS.iter().map(|field| field.0);
            let meant = nearest(&name, known).map(|near| format!("{near}:"));
            let reason =
                format!("{name:?} is no field; to search for the text itself, put it in quotes");
            return Err(QueryError { column, reason, meant });
        };
        let pieces = self.pieces()?;
        let any = pieces.into_iter().map(field.1).collect::<Result<_, _>>()?;
        Ok(Term { is_not, any })
    }

    /// The name before a colon, if the term begins with one.
    fn field(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(character) = self.next() {
            match character {
                ':' if !name.is_empty() => return Some(name),
                'a'..='z' | 'A'..='Z' | '_' => name.push(character),
                _ => return None,
            }
        }
        None
    }

    /// The values up to the next blank, between commas.
    fn pieces(&mut self) -> Result<Vec<Piece>, QueryError> {
        let mut pieces = Vec::new();
        loop {
            if pieces.len() == MAX_ALTERNATIVES {
                let reason = format!("a term has at most {MAX_ALTERNATIVES} values");
                return Err(wrong(self.column(), reason));
            }
            pieces.push(self.piece()?);
            match self.peek() {
                Some(',') => self.next(),
                _ => return Ok(pieces),
            };
        }
    }

    fn piece(&mut self) -> Result<Piece, QueryError> {
        let column = self.column();
        let (mut text, mut is_quoted) = (String::new(), false);
        while let Some(character) = self.peek() {
            match character {
                '"' => {
                    is_quoted = true;
                    self.quoted(&mut text)?;
                }
                ',' => break,
                blank if blank.is_whitespace() => break,
                other => {
                    text.push(other);
                    self.next();
                }
            }
        }
        if text.is_empty() {
            return Err(wrong(column, "a value is missing here".into()));
        }
        Ok(Piece { column, text, is_quoted })
    }

    fn quoted(&mut self, text: &mut String) -> Result<(), QueryError> {
        let column = self.column();
        self.next();
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some(kept @ ('"' | '\\')) => text.push(kept),
                    _ => {
                        let reason = "in quotes, a backslash stands before a quote or a backslash";
                        return Err(wrong(self.at, reason.into()));
                    }
                },
                Some(other) => text.push(other),
                None => return Err(wrong(column, "this quote is not closed".into())),
            }
        }
    }
}

fn wrong(column: usize, reason: String) -> QueryError {
    QueryError { column, reason, meant: None }
}

fn text_of(piece: Piece) -> Result<Test, QueryError> {
    if !piece.is_quoted
        && let Some((name, _)) = piece.text.split_once('=')
        && FIELDS.iter().any(|field| field.0 == name)
    {
        let meant = Some(piece.text.replacen('=', ":", 1));
        let reason = "a field and its value have a colon between them".into();
        return Err(QueryError { column: piece.column, reason, meant });
    }
    Ok(Test::Text(piece.text))
}

/// A text to look for in lines of terminals, which are full of blanks.
fn shown(piece: Piece, of: fn(String) -> Test) -> Result<Test, QueryError> {
    if piece.text.chars().all(char::is_whitespace) {
        return Err(wrong(piece.column, "blanks alone are found in every line".into()));
    }
    Ok(of(piece.text))
}

fn path_of(piece: Piece) -> Result<Test, QueryError> {
    let Some(path) = plain_path(&piece.text) else {
        let reason = "a path begins with a slash";
        let meant = Some(format!("path:/{}", piece.text));
        return Err(QueryError { column: piece.column, reason: reason.into(), meant });
    };
    Ok(Test::Path(path))
}

/// An absolute path without empty parts, `.` and `..`; the root is the empty text.
#[must_use]
pub fn plain_path(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    Some(parts.iter().fold(String::new(), |whole, part| whole + "/" + part))
}

fn kind_of(piece: Piece) -> Result<Test, QueryError> {
    match KINDS.iter().find(|kind| **kind == piece.text) {
        Some(kind) => Ok(Test::Kind(kind)),
        None => Err(QueryError {
            column: piece.column,
            reason: format!(
                "{:?} is no kind of record; there are {}",
                piece.text,
                KINDS.join(", ")
            ),
            meant: nearest(&piece.text, KINDS.into_iter()).map(|near| format!("kind:{near}")),
        }),
    }
}

fn name_of<T>(piece: &Piece, of: fn(T) -> Test) -> Result<Test, QueryError>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    piece.text.parse().map(of).map_err(|error: T::Err| wrong(piece.column, error.to_string()))
}

fn uid_of(piece: Piece) -> Result<Test, QueryError> {
    let number =
        piece.text.parse().ok().filter(|_| piece.text.bytes().all(|it| it.is_ascii_digit()));
    let refused = || {
        let meant = (piece.text == "root").then(|| "uid:0".to_owned());
        let reason = format!("{:?} is no number of a user", piece.text);
        QueryError { column: piece.column, reason, meant }
    };
    number.map(Test::Uid).ok_or_else(refused)
}

fn who_of(piece: Piece) -> Result<Test, QueryError> {
    match crate::identifier::Identity::try_new(piece.text.as_str()) {
        Ok(_) => Ok(Test::Who(piece.text)),
        Err(error) => Err(wrong(piece.column, error.to_string())),
    }
}

fn moment_of(piece: &Piece) -> Result<Moment, QueryError> {
    let refused = || {
        let reason = format!(
            "{:?} is no moment; write a span before now as 90s, 30m, 12h, 7d or 2w, or 2026-11-30, or 2026-11-30T06:30 (UTC)",
            piece.text
        );
        wrong(piece.column, reason)
    };
    span(&piece.text)
        .map(Moment::Ago)
        .or_else(|| date(&piece.text).map(Moment::At))
        .ok_or_else(refused)
}

/// `90s`, `30m`, `12h`, `7d`, `2w`.
fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let secs: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count = digits(text.strip_suffix(unit)?)?;
    count.checked_mul(secs).map(Duration::from_secs)
}

/// `2026-11-30`, `2026-11-30T06:30`, `2026-11-30T06:30:15`, each with a `Z` or without.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let [year, month, day] = fields(day, '-', &[4, 2, 2])?.try_into().ok()?;
    let mut time = match time.len() {
        5 => fields(time, ':', &[2, 2])?,
        _ => fields(time, ':', &[2, 2, 2])?,
    };
    time.resize(3, 0);
    let [hour, minute, second] = time.try_into().ok()?;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days_of = |month: u64| match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return None;
    }
    let years = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<u64>();
    let days = (1..month)
        .map(days_of)
        .sum::<u64>()
        .checked_add(years)?
        .checked_add(day)?
        .checked_sub(1)?;
    let hours = days.checked_mul(24)?.checked_add(hour)?;
    let secs = hours.checked_mul(60)?.checked_add(minute)?.checked_mul(60)?.checked_add(second)?;
    Some(Timestamp::from_secs(secs))
}

/// Numbers of just so many digits.
fn fields(text: &str, between: char, widths: &[usize]) -> Option<Vec<u64>> {
    let parts: Vec<&str> = text.split(between).collect();
    let fit = parts.len() == widths.len()
        && parts.iter().zip(widths).all(|(part, width)| part.len() == *width);
    if !fit {
        return None;
    }
    parts.into_iter().map(digits).collect()
}

fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// The known word that is at most two letters away.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 24 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let ranked = known.map(|near| (distance(&word, near), near));
    ranked.filter(|(far, near)| *far <= 2 && *far < near.len()).min().map(|(_, near)| near)
}

/// How many letters must be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, here) in one.chars().enumerate() {
        let mut corner = line;
        let mut left = line.saturating_add(1);
        let mut next = vec![left];
        for (there, above) in other.chars().zip(row.iter().skip(1)) {
            let changed = corner.saturating_add(usize::from(here != there));
            left = changed.min(left.saturating_add(1)).min(above.saturating_add(1));
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

impl std::error::Error for QueryError {}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at column {}: {}", self.column, self.reason)?;
        match &self.meant {
            Some(meant) => write!(f, "; did you mean {meant}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            write!(f, "{}{term}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_not {
            f.write_str("-")?;
        }
        for (at, test) in self.any.iter().enumerate() {
            let (field, value) = test.written();
            match at {
                0 if field.is_empty() => {}
                0 => write!(f, "{field}:")?,
                _ => f.write_str(",")?,
            }
            write!(f, "\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        Ok(())
    }
}

impl Test {
    /// The field, which is empty for text, and the value.
    fn written(&self) -> (&'static str, String) {
        match self {
            Self::Exec(pattern) => ("exec", pattern.0.clone()),
            Self::Arg(pattern) => ("arg", pattern.0.clone()),
            Self::Connect(pattern) => ("connect", pattern.0.clone()),
            Self::Path(path) if path.is_empty() => ("path", "/".into()),
            Self::Path(path) => ("path", path.clone()),
            Self::Text(text) => ("", text.clone()),
            Self::Anywhere(text) => ("text", text.clone()),
            Self::Seen(text) => ("seen", text.clone()),
            Self::Typed(text) => ("typed", text.clone()),
            Self::Who(who) => ("who", who.clone()),
            Self::Host(host) => ("host", host.to_string()),
            Self::Login(login) => ("login", login.to_string()),
            Self::Role(role) => ("role", role.to_string()),
            Self::Session(session) => ("session", session.to_string()),
            Self::Kind(kind) => ("kind", (*kind).into()),
            Self::Uid(uid) => ("uid", uid.to_string()),
            Self::Since(moment) => ("since", moment.written()),
            Self::Until(moment) => ("until", moment.written()),
        }
    }
}

impl Moment {
    fn written(self) -> String {
        match self {
            Self::Ago(span) => format!("{}s", span.as_secs()),
            Self::At(at) => civil(at.secs()),
        }
    }
}

/// Seconds since 1970 as a date and time.
fn civil(secs: u64) -> String {
    let (mut days, time) = (secs / 86_400, secs % 86_400);
    let mut year: u64 = 1970;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while let Some(rest) = days.checked_sub(if is_leap(year) { 366 } else { 365 }) {
        (days, year) = (rest, year.saturating_add(1));
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month: u64 = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        let Some(rest) = days.checked_sub(length) else { break };
        (days, month) = (rest, month.saturating_add(1));
    }
    let day = days.saturating_add(1);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A field's name, and how its value is read.
type Field = (&'static str, fn(Piece) -> Result<Test, QueryError>);

const FIELDS: [Field; 16] = [
    ("exec", |piece| Ok(Test::Exec(Pattern(piece.text)))),
    ("arg", |piece| Ok(Test::Arg(Pattern(piece.text)))),
    ("connect", |piece| Ok(Test::Connect(Pattern(piece.text)))),
    ("path", path_of),
    ("text", |piece| shown(piece, Test::Anywhere)),
    ("seen", |piece| shown(piece, Test::Seen)),
    ("typed", |piece| shown(piece, Test::Typed)),
    ("who", who_of),
    ("host", |piece| name_of(&piece, Test::Host)),
    ("login", |piece| name_of(&piece, Test::Login)),
    ("role", |piece| name_of(&piece, Test::Role)),
    ("session", |piece| name_of(&piece, Test::Session)),
    ("kind", kind_of),
    ("uid", uid_of),
    ("since", |piece| moment_of(&piece).map(Test::Since)),
    ("until", |piece| moment_of(&piece).map(Test::Until)),
];
/// The kinds of record that can be searched for, as records name them.
pub const KINDS: [&str; 22] = [
    "exec",
    "session_began",
    "ending",
    "session_ended",
    "warned",
    "refused",
    "outside",
    "incident",
    "dispute_settled",
    "loss",
    "unreadable",
    "threshold",
    "extended",
    "krl",
    "local_lock",
    "delegated",
    "delegated_ended",
    "meddled",
    "channel",
    "network",
    "file",
    "files_unseen",
];
/// Longest search: what a person types, with room.
pub const MAX_QUERY: usize = 1024;
/// Most terms of a search.
pub const MAX_TERMS: usize = 32;
/// Most values of a term.
pub const MAX_ALTERNATIVES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        Query::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_search_reads_as_it_is_typed() {
        let query =
            Query::parse(r#"exec:rm,shred path:/etc/ who:ana -host:db1 since:7d "a \"b\" c""#);
        let query = query.unwrap();
        let written: Vec<String> = query.terms().iter().map(ToString::to_string).collect();
        assert_eq!(
            written,
            [
                r#"exec:"rm","shred""#,
                r#"path:"/etc""#,
                r#"who:"ana""#,
                r#"-host:"db1""#,
                r#"since:"604800s""#,
                r#""a \"b\" c""#
            ]
        );
        let now = Timestamp::from_secs(10_000_000);
        assert_eq!(query.since(now), Some(Timestamp::from_secs(10_000_000 - 604_800)));
    }

    #[test]
    fn what_is_wrong_has_its_column_and_what_was_meant() {
        let table = [
            ("", "at column 1: there is nothing to search for"),
            (
                "who:ana exce:rm",
                "at column 9: \"exce\" is no field; to search for the text itself, put it in quotes; did you mean exec:",
            ),
            (
                "exec=rm",
                "at column 1: a field and its value have a colon between them; did you mean exec:rm",
            ),
            ("exec:", "at column 6: a value is missing here"),
            ("exec:rm,", "at column 9: a value is missing here"),
            ("-", "at column 2: a value is missing here"),
            ("path:etc", "at column 6: a path begins with a slash; did you mean path:/etc"),
            ("uid:root", "at column 5: \"root\" is no number of a user; did you mean uid:0"),
            ("a \"b", "at column 3: this quote is not closed"),
            ("host:DB1", "at column 6: "),
            ("session:1", "at column 9: "),
            ("since:soon", "at column 7: \"soon\" is no moment"),
            ("since:2026-02-29", "at column 7: \"2026-02-29\" is no moment"),
            ("kind:exek", "at column 6: \"exek\" is no kind of record"),
            ("seen:\" \"", "at column 6: blanks alone are found in every line"),
            ("a typed:", "at column 9: a value is missing here"),
            (
                "sene:x",
                "at column 1: \"sene\" is no field; to search for the text itself, put it in quotes; did you mean seen:",
            ),
        ];
        for (text, start) in table {
            let said = refused(text);
            assert!(said.starts_with(start), "{text}: {said}");
        }
        assert!(refused("kind:exek").ends_with("did you mean kind:exec"));
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(refused(&"a".repeat(MAX_QUERY + 1)).contains("1024"));
        assert!(refused(&"a ".repeat(MAX_TERMS + 1)).contains("32 terms"));
        assert!(refused(&format!("exec:a{}", ",a".repeat(MAX_ALTERNATIVES))).contains("16 values"));
    }

    #[test]
    fn moments_are_spans_or_dates() {
        let now = Timestamp::from_secs(1_800_000_000);
        let at = |text: &str| match Query::parse(&format!("since:{text}")).unwrap().since(now) {
            Some(at) => at.secs(),
            None => panic!("{text}"),
        };
        assert_eq!(at("90s"), 1_800_000_000 - 90);
        assert_eq!(at("2w"), 1_800_000_000 - 14 * 86_400);
        assert_eq!(at("1970-01-02"), 86_400);
        assert_eq!(at("2024-02-29T12:30"), 1_709_209_800);
        assert_eq!(at("2026-11-30T06:30:15Z"), 1_796_020_215);
    }

    #[test]
    fn of_two_moments_in_one_term_the_earlier_bounds_and_of_two_terms_the_later() {
        let now = Timestamp::from_secs(1_000_000);
        let since = |text: &str| Query::parse(text).unwrap().since(now).map(Timestamp::secs);
        assert_eq!(since("since:1h,2h"), Some(1_000_000 - 7_200));
        assert_eq!(since("since:1h since:2h"), Some(1_000_000 - 3_600));
        assert_eq!(since("-since:1h a"), None);
    }

    #[test]
    fn an_asterisk_stands_for_anything() {
        let fits = |pattern: &str, text: &str| Pattern::new(pattern).fits(text.as_bytes());
        assert!(fits("rm", "rm") && !fits("rm", "rmdir") && !fits("rm", "xrm"));
        assert!(fits("*shadow*", "/etc/shadow-") && fits("*", "") && fits("a*a", "aa"));
        assert!(!fits("a*a", "a") && fits("a*b*c", "axbxbxc") && !fits("a*b*c", "axc"));
    }

    #[test]
    fn paths_are_compared_without_their_detours() {
        assert_eq!(plain_path("/etc//./x/../shadow/").as_deref(), Some("/etc/shadow"));
        assert_eq!(plain_path("/../..").as_deref(), Some(""));
        assert_eq!(plain_path("etc"), None);
    }

    proptest! {
        #[test]
        fn every_text_is_read_or_refused_within_it(text in "\\PC{0,80}") {
            match Query::parse(&text) {
                Ok(query) => {
                    let again = query.to_string();
                    prop_assert_eq!(Query::parse(&again), Ok(query));
                }
                Err(error) => prop_assert!(error.column <= text.chars().count().saturating_add(1)),
            }
        }

        #[test]
        fn terms_survive_being_written(text in "-?(exec|arg|text|seen|typed|who|since):(\"[a-z ,\\\\\\\\*]{1,9}\"|[a-z0-9*]{1,9})( |,)?[a-z:]{0,6}") {
            if let Ok(query) = Query::parse(&text) {
                prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
            }
        }

        #[test]
        fn every_second_is_written_and_read_back(secs in 0_u64..200_000_000_000) {
            prop_assert_eq!(date(&civil(secs)), Some(Timestamp::from_secs(secs)));
        }
    }
}
