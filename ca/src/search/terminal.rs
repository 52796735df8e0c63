//! Whether a line of a terminal fits a search, and what is told of it.
//!
//! Pure. Nothing that is read here is kept beside the recording: there is no index of what terminals showed, and what is
//! deleted or erased has no copy.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use screen::text::{Line, Text};
use wire::api::SessionView;
use wire::recording::record::Record;
use wire::search::query::{Query, Reach, Test};
use wire::search::terminal::How;
use wire::time::Timestamp;

use super::local;

/// What is searched for, as far as lines of terminals can fit it.
#[derive(Debug)]
pub(crate) struct Sought {
    reach: Reach,
    /// What a line must have; each of these, but for those that are turned round.
    terms: Vec<(bool, Vec<Part>)>,
    /// The same of its session.
    about: Vec<(bool, Vec<Test>)>,
}

/// One thing that a line may have.
#[derive(Debug)]
enum Part {
    /// This text in small letters, in a line of this kind or of either.
    Text(Option<How>, String),
    /// It came then or later.
    Since(Timestamp),
    /// It came before then.
    Until(Timestamp),
    /// What no line has.
    Never,
}

/// A recording that is looked through.
pub(crate) struct Scan {
    text: Text,
    finder: Finder,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// How long after the recording's beginning.
    pub(crate) into: Duration,
    /// When.
    pub(crate) at: Timestamp,
    /// Whether it was shown or typed.
    pub(crate) how: How,
    /// The line around it.
    pub(crate) text: String,
    /// Where in the text, and how long, in characters.
    pub(crate) found: (u64, u64),
}

/// Takes lines, and keeps those that fit.
struct Finder {
    sought: std::sync::Arc<Sought>,
    lines: Vec<Found>,
    /// Lines that fitted, and when they were shown last.
    known: BTreeMap<(How, String), Duration>,
    /// The number of the last line of each kind that fitted, and when that was.
    last: BTreeMap<How, (u64, Duration)>,
    /// At most so many are kept.
    most: usize,
    /// Whether there were more.
    is_crowded: bool,
    /// Whether nothing is kept yet.
    is_silent: bool,
    /// Room for a line in small letters.
    low: String,
}

impl Sought {
    /// By a search with this reach that began at `now`.
    pub(crate) fn of(query: &Query, reach: Reach, now: Timestamp) -> Self {
        let (mut terms, mut about) = (Vec::new(), Vec::new());
        for term in query.terms() {
            if term.any.iter().all(is_about) {
                about.push((term.is_not, term.any.clone()));
            } else {
                terms
                    .push((term.is_not, term.any.iter().map(|test| Part::of(test, now)).collect()));
            }
        }
        Self { reach, terms, about }
    }

    /// Whether lines of a session can fit.
    pub(crate) fn is_about(&self, session: &SessionView) -> bool {
        self.about
            .iter()
            .all(|(is_not, any)| any.iter().any(|test| is_of(test, session)) != *is_not)
    }

    /// Where in a line, given in small letters, what is searched for is; nothing when the line does not fit.
    fn find(&self, line: &Line<'_>, at: Timestamp, low: &str) -> Option<Range<usize>> {
        let mut place: Option<Range<usize>> = None;
        for (is_not, any) in &self.terms {
            let found = any.iter().find_map(|part| part.find(line.how, at, low));
            match (found, is_not) {
                (Some(found), false) if !found.is_empty() => {
                    place.get_or_insert(found);
                }
                (Some(_), false) | (None, true) => {}
                (None, false) | (Some(_), true) => return None,
            }
        }
        place
    }
}

impl Part {
    fn of(test: &Test, now: Timestamp) -> Self {
        let text = |how: Option<How>, text: &str| {
            let mut low = String::new();
            lower(text, &mut low);
            Self::Text(how, low)
        };
        match test {
            Test::Text(wanted) | Test::Anywhere(wanted) => text(None, wanted),
            Test::Seen(wanted) => text(Some(How::Seen), wanted),
            Test::Typed(wanted) => text(Some(How::Typed), wanted),
            Test::Since(moment) => Self::Since(moment.at(now)),
            Test::Until(moment) => Self::Until(moment.at(now)),
            _ => Self::Never,
        }
    }

    /// Where it is; an empty place when it is no text.
    fn find(&self, how: How, at: Timestamp, low: &str) -> Option<Range<usize>> {
        match self {
            Self::Text(Some(wanted), _) if *wanted != how => None,
            Self::Text(_, text) => {
                let start = low.find(text.as_str())?;
                Some(start..start.saturating_add(text.len()))
            }
            Self::Since(since) => (at >= *since).then_some(0..0),
            Self::Until(until) => (at < *until).then_some(0..0),
            Self::Never => None,
        }
    }
}

impl Scan {
    /// Of a recording, for at most so many lines.
    pub(crate) fn new(sought: std::sync::Arc<Sought>, most: usize) -> Self {
        let text = Text::new(sought.reach.seen, sought.reach.typed);
        let finder = Finder {
            sought,
            lines: Vec::new(),
            known: BTreeMap::new(),
            last: BTreeMap::new(),
            most,
            is_crowded: false,
            is_silent: false,
            low: String::new(),
        };
        Self { text, finder }
    }

    /// Takes from its first record when it began, where it is looked through from a later one on.
    pub(crate) fn begin(&mut self, first: &Record) {
        self.text.begin(first);
    }

    /// What comes is only to know the screen by, until it is said otherwise.
    pub(crate) fn silence(&mut self, is_silent: bool) {
        self.finder.is_silent = is_silent;
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: &Record) {
        self.text.begin(record);
        let (finder, began) = (&mut self.finder, self.text.began());
        self.text.push(record, &mut |line| finder.take(&line, began));
    }

    /// There is no more.
    pub(crate) fn finish(&mut self) {
        let (finder, began) = (&mut self.finder, self.text.began());
        self.text.finish(&mut |line| finder.take(&line, began));
    }

    /// What was found.
    pub(crate) fn lines(&self) -> &[Found] {
        &self.finder.lines
    }

    /// Whether there is more than is kept.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.finder.is_crowded
    }

    /// How long it is as far as it was taken.
    pub(crate) const fn length(&self) -> Duration {
        self.text.length()
    }

    /// How much passed in it that was not kept.
    pub(crate) const fn lost(&self) -> u64 {
        self.text.lost()
    }

    /// Gives away what was found.
    pub(crate) fn into_lines(self) -> Vec<Found> {
        self.finder.lines
    }
}

impl Finder {
    fn take(&mut self, line: &Line<'_>, began: Option<Timestamp>) {
        let at = began.unwrap_or_else(|| Timestamp::from_millis(0)).after(line.at);
        let mut low = std::mem::take(&mut self.low);
        lower(line.text, &mut low);
        if let Some(found) = self.sought.find(line, at, &low)
            && self.is_new(line, &low)
            && !self.is_silent
        {
            if self.lines.len() >= self.most {
                self.is_crowded = true;
            } else {
                let (text, found) = excerpt(line.text, &found);
                self.lines.push(Found { into: line.at, at, how: line.how, text, found });
            }
        }
        self.low = low;
    }

    /// Whether the line did not fit a moment ago: whoever goes on with it, or draws the same screen again, shows it anew.
    fn is_new(&mut self, line: &Line<'_>, low: &str) -> bool {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let is_old = |before: Duration| line.at.saturating_sub(before) <= AGAIN;
        let goes_on = self.last.insert(line.how, (line.number, line.at));
        let goes_on = goes_on.is_some_and(|(last, at)| last == line.number && is_old(at));
        let before = self.known.insert((line.how, low.to_owned()), line.at);
        !goes_on && !before.is_some_and(is_old)
    }
}

/// Whether a test is one of a session, and not of what is in it.
const fn is_about(test: &Test) -> bool {
    matches!(test, Test::Who(_) | Test::Host(_) | Test::Login(_) | Test::Role(_) | Test::Session(_))
}

fn is_of(test: &Test, session: &SessionView) -> bool {
    match test {
        Test::Who(who) => {
            let identity = session.identity.as_str();
            identity == who || local(identity) == who
        }
        Test::Host(host) => session.host == *host,
        Test::Login(login) => session.login == *login,
        Test::Role(role) => session.role == *role,
        Test::Session(name) => session.session == *name,
        _ => false,
    }
}

/// A text in small letters, letter by letter.
fn lower(text: &str, into: &mut String) {
    into.clear();
    if text.is_ascii() {
        into.push_str(text);
        into.make_ascii_lowercase();
    } else {
        into.extend(text.chars().flat_map(char::to_lowercase));
    }
}

/// The part of a line around what was found in its small letters, and where it is there.
fn excerpt(text: &str, found: &Range<usize>) -> (String, (u64, u64)) {
    let mut bytes = 0_usize;
    let (mut start, mut end) = (0, 0);
    for (place, letter) in text.chars().enumerate() {
        let low: usize = letter.to_lowercase().map(char::len_utf8).sum();
        let next = bytes.saturating_add(low);
        if next <= found.start {
            start = place.saturating_add(1);
        }
        if bytes < found.end {
            end = place.saturating_add(1);
        }
        bytes = next;
    }
    let length = end.saturating_sub(start);
    let first = start.saturating_sub(BEFORE);
    let shown =
        length.min(LONGEST).saturating_add(AFTER).saturating_add(start).saturating_sub(first);
    let mut letters = text.chars().skip(first);
    let mut part = String::new();
    part.extend((first > 0).then_some('…'));
    part.extend(letters.by_ref().take(shown));
    part.extend(letters.next().map(|_| '…'));
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let start = start.saturating_sub(first).saturating_add(usize::from(first > 0));
    (part, (count(start), count(length.min(LONGEST))))
}

/// A line that was shown so lately is the same one.
const AGAIN: Duration = Duration::from_secs(60);
/// How many lines are known that fitted.
const MAX_KNOWN: usize = 1024;
/// Letters that are told before what was found.
const BEFORE: usize = 60;
/// Letters that are told after it.
const AFTER: usize = 100;
/// Letters that are told of it.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wire::recording::record::{Begin, Content, Size};
    use wire::time::Uptime;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn sought(query: &str) -> Arc<Sought> {
        let query = Query::parse(query).unwrap();
        let reach = query.reach().unwrap();
        Arc::new(Sought::of(&query, reach, NOW))
    }

    /// What is found when these are shown (or typed, with a `<` before them), a second after each other.
    fn found(query: &str, most: usize, parts: &[&str]) -> (Vec<Found>, bool) {
        let mut scan = Scan::new(sought(query), most);
        let size = Size { columns: 200, rows: 5 };
        let begin = Begin { at: NOW.before(Duration::from_secs(1_000)), size, term: None };
        let contents = parts.iter().map(|part| match part.strip_prefix('<') {
            Some(typed) => Content::Input(typed.as_bytes().to_vec()),
            None => Content::Output(part.as_bytes().to_vec()),
        });
        for (number, content) in (0..).zip(std::iter::once(Content::Begin(begin)).chain(contents)) {
            let at = Uptime::from_nanos(5).after(Duration::from_secs(number));
            scan.take(&Record { number, at, content });
        }
        scan.finish();
        let is_crowded = scan.is_crowded();
        (scan.into_lines(), is_crowded)
    }

    fn texts(query: &str, parts: &[&str]) -> Vec<(u64, String)> {
        let found = found(query, 99, parts).0;
        found.into_iter().map(|one| (one.into.as_secs(), one.text)).collect()
    }

    #[test]
    fn a_line_fits_as_its_terms_say() {
        let parts = [
            "mysql> \r\n",
            "<drop Table users;\r",
            "mysql> DR\x1b[31mOP TA\x1b[0mBLE users;\r\n",
            "gone\r\n",
        ];
        let (seen, typed) =
            ((3, "mysql> DROP TABLE users;".to_owned()), (2, "drop Table users;".to_owned()));
        let table = [
            ("text:\"drop table\" since:1d", vec![typed.clone(), seen.clone()]),
            ("seen:\"drop table\" since:1d", vec![seen.clone()]),
            ("typed:\"drop table\" since:1d", vec![typed.clone()]),
            ("seen:drop USERS since:1d", vec![seen.clone()]),
            ("text:drop -mysql since:1d", vec![typed.clone()]),
            ("text:drop -exec:ls -seen:x since:1d", vec![typed, seen.clone()]),
            ("seen:drop,create since:1d", vec![seen.clone()]),
            ("seen:drop since:999s", vec![seen.clone()]),
            ("seen:drop since:996s", vec![]),
            ("seen:drop since:1d until:998s", vec![]),
            ("seen:drop since:1d until:996s", vec![seen]),
            ("seen:users\\;gone since:1d", vec![]),
        ];
        for (query, lines) in table {
            assert_eq!(texts(query, &parts), lines, "{query}");
        }
    }

    #[test]
    fn who_and_where_are_of_the_session() {
        let view: SessionView = serde_json::from_value(serde_json::json!({"session": "00000000000000a1",
            "identity": "ana@example.com", "host": "db1", "login": "app", "role": "deploy", "grant": 17, "serial": 7,
            "remote": "10.0.0.9", "began": 1, "until": 2, "ended": null, "execs": 1, "lost": 0}))
        .unwrap();
        for (query, expected) in [
            ("text:x since:1d who:ana", true),
            ("text:x since:1d who:ana@example.com,bob host:db1 login:app role:deploy", true),
            ("text:x since:1d who:bob", false),
            ("text:x since:1d -who:ana", false),
            ("text:x since:1d -host:db2", true),
            ("text:x session:00000000000000a1", true),
            ("text:x session:00000000000000a2", false),
        ] {
            assert_eq!(sought(query).is_about(&view), expected, "{query}");
        }
    }

    #[test]
    fn a_line_that_grows_or_is_drawn_again_is_told_once() {
        let typing = ["$ echo secret", "\r$ echo secret w", "\r$ echo secret wo\r\n"];
        assert_eq!(texts("seen:secret since:1d", &typing), [(1, "$ echo secret".into())]);
        let drawn: Vec<&str> = std::iter::repeat_n("\x1b[2J\x1b[Hsecret 1\x1b[3;1H", 40).collect();
        assert_eq!(texts("seen:secret since:1d", &drawn).len(), 1);
        let mut later = vec!["secret\r\n"];
        later.extend(std::iter::repeat_n("x\r\n", 61));
        later.push("secret\r\n");
        assert_eq!(texts("seen:secret since:1d", &later).len(), 2);
        // What only begins alike is another line.
        for lines in [["secret 1\r\n", "secret 12\r\n"], ["secret 12\r\n", "secret 1\r\n"]] {
            assert_eq!(texts("seen:secret since:1d", &lines).len(), 2, "{lines:?}");
        }
        assert_eq!(texts("typed:secret since:1d", &["<secretx\u{7f}\r"]).len(), 1);
    }

    #[test]
    fn only_so_many_lines_are_told_and_that_there_are_more() {
        let lines = ["a 1\r\na 2\r\na 3\r\n"];
        for (most, told, crowded) in [(2, 2, true), (3, 3, false)] {
            let lines: Vec<String> = lines.iter().map(|it| (*it).to_owned()).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let (found, is_crowded) = found("seen:\" 1\",\" 2\",\" 3\" since:1d", most, &lines);
            assert_eq!((found.len(), is_crowded), (told, crowded));
        }
    }

    #[test]
    fn of_a_long_line_the_part_around_it_is_told() {
        let long = format!("{}İstanbul GRÜSSE {}", "ä".repeat(90), "z".repeat(90));
        let (found, _) = found("seen:grüsse since:1d", 9, &[&long]);
        let [one] = found.as_slice() else { panic!("{found:?}") };
        let (start, length) =
            (usize::try_from(one.found.0).unwrap(), usize::try_from(one.found.1).unwrap());
        let part: String = one.text.chars().skip(start).take(length).collect();
        assert_eq!(part, "GRÜSSE");
        assert!(one.text.starts_with('…') && one.text.chars().count() < 190, "{one:?}");
    }

    #[test]
    fn what_is_only_to_know_the_screen_by_is_not_told() {
        let mut scan = Scan::new(sought("seen:secret since:1d"), 9);
        let output = |number: u64, text: &str| {
            let content = Content::Output(text.as_bytes().to_vec());
            Record { number, at: Uptime::from_nanos(number), content }
        };
        let size = Size { columns: 80, rows: 24 };
        let content = Content::Begin(Begin { at: NOW, size, term: None });
        scan.begin(&Record { number: 1, at: Uptime::from_nanos(0), content });
        scan.silence(true);
        scan.take(&output(1, "secret\r\na sec"));
        scan.silence(false);
        scan.take(&output(2, "ret\r\n"));
        scan.finish();
        let texts: Vec<&str> = scan.lines().iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["a secret"]);
    }
}
