//! Whether a record fits a search, and which records need not be looked at.
//!
//! Pure. The index is a [`Filter`] over each block of records: it holds what a search can name, so that it says "none of these"
//! for certain or "perhaps". What it lets through is read and tested, so that nothing rests on it but speed: whoever
//! fills it with nonsense makes searches slower, and hides nothing.

use wire::identifier::{HostName, SessionId};
use wire::octets::Octets;
use wire::record::{Event, Exec, FileDeed, FileTouched, Network, NetworkDeed, Record};
use wire::search::Whose;
use wire::search::query::{Pattern, Query, Test, plain_path};
use wire::time::Timestamp;

mod filter;
mod terminal;

pub(crate) use filter::{Filter, Tokens};
pub(crate) use terminal::{Found, Scan, Sought};

/// A record with what surrounds it.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// The record.
    pub(crate) record: &'a Record,
    /// Its host.
    pub(crate) host: &'a HostName,
    /// Whose session it belongs to.
    pub(crate) whose: Option<&'a Whose>,
}

/// What a search can find in an event.
#[derive(Debug)]
pub(crate) struct Facets<'a> {
    kind: String,
    exec: Option<&'a Exec>,
    /// Where it connected to: the address, and the address with the port.
    connects: Vec<String>,
    /// Everything that is text in it, in small letters, one thing a line.
    text: Vec<u8>,
    /// What may hold paths.
    words: Vec<Vec<u8>>,
}

impl<'a> Facets<'a> {
    /// Those of an event; nothing when no search can find it.
    pub(crate) fn of(event: &'a Event) -> Result<Option<Self>, serde_json::Error> {
        let facets = match event {
            Event::Exit(_) | Event::AgentStarted(_) => return Ok(None),
            Event::Exec(exec) => Self::of_exec("exec".into(), exec, Vec::new()),
            Event::Network(network) => Self::of_network(network),
            Event::File(file) => Self::of_file(file),
            Event::Delegated(delegated) => {
                let about = delegated.login.iter().chain(&delegated.unit);
                let about = about.map(|text| text.as_bytes().to_vec()).collect();
                Self::of_exec("delegated".into(), &delegated.exec, about)
            }
            other => {
                let mut words = Vec::new();
                let mut kind = String::new();
                if let serde_json::Value::Object(body) = serde_json::to_value(other)? {
                    for (name, value) in body {
                        kind = name;
                        texts(&value, &mut words);
                    }
                }
                Self { kind, exec: None, connects: Vec::new(), text: joined(&words), words }
            }
        };
        Ok(Some(facets))
    }

    fn of_exec(kind: String, exec: &'a Exec, about: Vec<Vec<u8>>) -> Self {
        let mut words = vec![exec.path.as_bytes().to_vec()];
        let more = exec.program.iter().flat_map(|it| it.interpreter.iter().chain(&it.resolved));
        words.extend(more.map(|path| path.as_bytes().to_vec()));
        words.extend(exec.arguments.iter().map(|argument| argument.as_bytes().to_vec()));
        // Arguments stand on one line, so that a search for `rm -rf` finds them as they were typed.
        let line: Vec<&[u8]> = exec.arguments.iter().map(Octets::as_bytes).collect();
        let mut text = joined(&about);
        text.extend([exec.path.as_bytes(), b"\n", &line.join(&b' ')].concat());
        text.make_ascii_lowercase();
        Self { kind, exec: Some(exec), connects: Vec::new(), text, words }
    }

    /// `connect 10.0.0.9:443` on one line, so that a search for a text finds it as it is shown.
    fn of_network(network: &Network) -> Self {
        let deed = match network.what {
            NetworkDeed::Connect => "connect",
            NetworkDeed::Listen => "listen",
        };
        let place = network.place();
        let text =
            joined(&[format!("{deed} {place}").into_bytes(), network.program.as_bytes().to_vec()]);
        let address = network.address.map(|address| address.to_string());
        let connects = match network.what {
            NetworkDeed::Connect => address.into_iter().chain([place]).collect(),
            NetworkDeed::Listen => Vec::new(),
        };
        Self { kind: "network".into(), exec: None, connects, text, words: Vec::new() }
    }

    /// `wrote /etc/hosts` on one line, so that a search for a text finds it as it is shown.
    fn of_file(file: &FileTouched) -> Self {
        let deed = match file.what {
            FileDeed::Written => "wrote",
            FileDeed::Opened => "opened",
        };
        let line = [deed.as_bytes(), b" ", file.path.as_bytes()].concat();
        let program = file.program.iter().map(|program| program.as_bytes().to_vec());
        let about: Vec<Vec<u8>> = std::iter::once(line).chain(program).collect();
        let mut text = joined(&about);
        text.make_ascii_lowercase();
        let words = vec![file.path.as_bytes().to_vec()];
        Self { kind: "file".into(), exec: None, connects: Vec::new(), text, words }
    }

    /// How many bytes of text there are, which bounds what an index takes from it.
    pub(crate) fn weight(&self) -> usize {
        self.text.len()
    }

    /// Puts everything that a search can name into the index.
    pub(crate) fn index(&self, scene: &Scene<'_>, tokens: &mut Tokens) {
        tokens.text(&self.text);
        tokens.word(b'k', self.kind.as_bytes());
        tokens.word(b'h', scene.host.as_str().as_bytes());
        if let Some(session) = scene.record.session {
            tokens.word(b's', session.to_string().as_bytes());
        }
        if let Some(whose) = scene.whose {
            let who = whose.identity.as_str();
            tokens.word(b'w', who.as_bytes());
            tokens.word(b'w', local(who).as_bytes());
            tokens.word(b'l', whose.login.as_str().as_bytes());
            tokens.word(b'r', whose.role.as_str().as_bytes());
        }
        if let Some(exec) = self.exec {
            for name in names(exec) {
                tokens.word(b'x', name);
            }
            tokens.word(b'u', exec.uid.to_string().as_bytes());
            tokens.word(b'u', exec.euid.to_string().as_bytes());
        }
        for place in &self.connects {
            tokens.word(b'c', place.as_bytes());
        }
        let mut room = MAX_RELATIVE;
        self.any_path(&mut |path| {
            tokens.path(path);
            room = room.saturating_sub(path.len());
            room == 0
        });
        if room == 0 {
            // There are more than fit: no search for a path may pass over this block.
            tokens.word(b'P', b"");
        }
    }

    /// Hands over every path, until told that it is enough; says whether it was. What is relative lies in the folder that the
    /// program was started in, where that is known.
    fn any_path(&self, enough: &mut dyn FnMut(&str) -> bool) -> bool {
        if self.words.iter().any(|word| each_path(word, enough)) {
            return true;
        }
        let folder = self.exec.and_then(|exec| exec.program.as_ref()?.folder.as_ref());
        let (Some(exec), Some(folder)) = (self.exec, folder) else { return false };
        exec.arguments.iter().skip(1).map(Octets::as_bytes).any(|argument| {
            if argument.is_empty() || argument.starts_with(b"/") || argument.starts_with(b"-") {
                return false;
            }
            let whole = [folder.as_bytes(), b"/", argument].concat();
            plain_path(&String::from_utf8_lossy(&whole)).is_some_and(|path| enough(&path))
        })
    }

    fn fits(&self, test: &Test, scene: &Scene<'_>, now: Timestamp) -> bool {
        let whose = |is: &dyn Fn(&Whose) -> bool| scene.whose.is_some_and(is);
        match test {
            Test::Exec(pattern) => self.exec.is_some_and(|exec| ran(exec, pattern)),
            Test::Arg(pattern) => self.exec.is_some_and(|exec| {
                exec.arguments.iter().skip(1).any(|argument| pattern.fits(argument.as_bytes()))
            }),
            Test::Connect(pattern) => {
                self.connects.iter().any(|place| pattern.fits(place.as_bytes()))
            }
            Test::Path(path) => self.any_path(&mut |found| lies_in(found, path)),
            Test::Text(text) | Test::Anywhere(text) => {
                holds(&self.text, text.to_ascii_lowercase().as_bytes())
            }
            // No record is a line of a terminal.
            Test::Seen(_) | Test::Typed(_) => false,
            Test::Who(who) => whose(&|whose| {
                let identity = whose.identity.as_str();
                identity == who || local(identity) == who
            }),
            Test::Host(host) => scene.host == host,
            Test::Login(login) => whose(&|whose| whose.login == *login),
            Test::Role(role) => whose(&|whose| whose.role == *role),
            Test::Session(session) => scene.record.session == Some(*session),
            Test::Kind(kind) => self.kind == *kind,
            Test::Uid(uid) => self.exec.is_some_and(|exec| exec.uid == *uid || exec.euid == *uid),
            Test::Since(moment) => scene.record.at >= moment.at(now),
            Test::Until(moment) => scene.record.at < moment.at(now),
        }
    }
}

/// Whether a record fits a search that began at `now`.
pub(crate) fn fits(
    query: &Query,
    scene: &Scene<'_>,
    now: Timestamp,
) -> Result<bool, serde_json::Error> {
    let Some(facets) = Facets::of(&scene.record.event)? else {
        return Ok(false);
    };
    Ok(query
        .terms()
        .iter()
        .all(|term| term.any.iter().any(|test| facets.fits(test, scene, now)) != term.is_not))
}

/// Whether a block with this filter may hold something that fits.
pub(crate) fn may_fit(query: &Query, filter: &Filter) -> bool {
    query.terms().iter().filter(|term| !term.is_not).all(|term| {
        term.any.iter().any(|test| needed(test).is_held_by(filter) || is_crowded(test, filter))
    })
}

/// Whether a block holds more paths than its filter says.
fn is_crowded(test: &Test, filter: &Filter) -> bool {
    let mut more = Tokens::default();
    more.word(b'P', b"");
    matches!(test, Test::Path(_)) && more.is_held_by(filter)
}

/// What a block must hold for the test to fit anything in it.
fn needed(test: &Test) -> Tokens {
    let mut tokens = Tokens::default();
    match test {
        Test::Exec(pattern) if !pattern.as_str().contains(['*', '/']) => {
            tokens.word(b'x', pattern.as_str().as_bytes());
        }
        Test::Connect(pattern) if !pattern.as_str().contains('*') => {
            tokens.word(b'c', pattern.as_str().as_bytes());
        }
        Test::Exec(pattern) | Test::Arg(pattern) | Test::Connect(pattern) => {
            for text in pattern.fixed() {
                tokens.text(text.to_ascii_lowercase().as_bytes());
            }
        }
        Test::Path(path) => tokens.word(b'p', path.as_bytes()),
        Test::Text(text) | Test::Anywhere(text) => {
            tokens.text(text.to_ascii_lowercase().as_bytes());
        }
        // No block holds what no record is.
        Test::Seen(_) | Test::Typed(_) => tokens.word(b'!', b""),
        Test::Who(who) => tokens.word(b'w', who.as_bytes()),
        Test::Host(host) => tokens.word(b'h', host.as_str().as_bytes()),
        Test::Login(login) => tokens.word(b'l', login.as_str().as_bytes()),
        Test::Role(role) => tokens.word(b'r', role.as_str().as_bytes()),
        Test::Session(session) => tokens.word(b's', name(*session).as_bytes()),
        Test::Kind(kind) => tokens.word(b'k', kind.as_bytes()),
        Test::Uid(uid) => tokens.word(b'u', uid.to_string().as_bytes()),
        Test::Since(_) | Test::Until(_) => {}
    }
    tokens
}

fn name(session: SessionId) -> String {
    session.to_string()
}

/// The part of an identity before its `@`.
fn local(identity: &str) -> &str {
    identity.split_once('@').map_or(identity, |(local, _)| local)
}

fn ran(exec: &Exec, pattern: &Pattern) -> bool {
    if pattern.as_str().contains('/') {
        return pattern.fits(exec.path.as_bytes());
    }
    names(exec).any(|name| pattern.fits(name))
}

/// What a program is called: by its file, and by the name that it was given; a login shell's leading dash is no part of it.
fn names(exec: &Exec) -> impl Iterator<Item = &[u8]> {
    let base = |path: &'_ Octets| {
        let path = path.as_bytes();
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at.saturating_add(1));
        at..path.len()
    };
    let called = exec.arguments.first();
    let called = called.and_then(|name| name.as_bytes().get(base(name)));
    let called = called.map(|name| name.strip_prefix(b"-").unwrap_or(name));
    exec.path.as_bytes().get(base(&exec.path)).into_iter().chain(called)
}

fn lies_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|window| window == part)
}

/// Hands over the absolute paths in a word, without their detours, until told that it is enough; says whether it was. In
/// the order: the word from its first slash on, which may hold blanks, and the pieces between signs of a shell.
fn each_path(word: &[u8], enough: &mut dyn FnMut(&str) -> bool) -> bool {
    let mut take = |bytes: &[u8]| {
        plain_path(&String::from_utf8_lossy(bytes)).is_some_and(|path| enough(&path))
    };
    if let Some(at) = word.iter().position(|byte| *byte == b'/')
        && word.get(at..).is_some_and(&mut take)
    {
        return true;
    }
    word.split(|byte| SIGNS.contains(byte)).any(take)
}

fn texts(value: &serde_json::Value, into: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::String(text) => into.push(text.as_bytes().to_vec()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
        serde_json::Value::Object(body) => body.values().for_each(|value| texts(value, into)),
        _ => {}
    }
}

fn joined(words: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for word in words {
        text.extend_from_slice(word);
        text.push(b'\n');
    }
    text.make_ascii_lowercase();
    text
}

/// Most bytes of paths that one record brings into a filter.
const MAX_RELATIVE: usize = 1024 * 1024;
/// What stands between paths on a line that a shell reads.
const SIGNS: &[u8] = b" \t\n'\"=:,;|&<>()`";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::identifier::RecordNumber;
    use wire::time::Uptime;

    pub(crate) fn exec(path: &str, arguments: &[&str]) -> Event {
        let exec = serde_json::json!({"sequence": 1, "pid": 5, "parent": 4, "uid": 1000, "euid": 0, "path": path,
            "arguments": arguments, "cut": 0});
        Event::Exec(serde_json::from_value(exec).unwrap())
    }

    pub(crate) fn record(number: u64, event: Event) -> Record {
        Record {
            number: RecordNumber::try_new(number).unwrap(),
            at: Timestamp::from_secs(1_000_000),
            uptime: Uptime::from_nanos(number),
            session: Some("00000000000000a1".parse().unwrap()),
            event,
        }
    }

    fn whose() -> Whose {
        Whose {
            identity: "ana@example.com".parse().unwrap(),
            login: "app".parse().unwrap(),
            role: "deploy".parse().unwrap(),
            began: Timestamp::from_secs(1),
        }
    }

    /// Whether the event fits; and the filter over it must never say otherwise.
    fn found(text: &str, event: Event) -> bool {
        let (record, whose, host) = (record(1, event), whose(), "db1".parse().unwrap());
        let scene = Scene { record: &record, host: &host, whose: Some(&whose) };
        let query = Query::parse(text).unwrap();
        let fit = fits(&query, &scene, Timestamp::from_secs(1_000_060)).unwrap();
        let mut tokens = Tokens::default();
        if let Some(facets) = Facets::of(&record.event).unwrap() {
            facets.index(&scene, &mut tokens);
        }
        let filter = Filter::of(&tokens);
        assert!(!fit || may_fit(&query, &filter), "{text} fits, and the filter rules it out");
        fit
    }

    #[test]
    fn a_connection_is_found_by_address_port_and_text() {
        let socket = |what: &str, address: &str| {
            let network = serde_json::json!({"sequence": 1, "pid": 5, "program": "Curl", "what": what,
                "address": address, "port": 443});
            Event::Network(serde_json::from_value(network).unwrap())
        };
        let four = || socket("connect", "10.0.0.9");
        for text in [
            "connect:10.0.0.9",
            "connect:10.0.0.9:443",
            "connect:10.0.*",
            "connect:*:443",
            "connect:10.0.0.8,10.0.0.9",
            "kind:network",
            "curl",
            "\"connect 10.0.0.9:443\"",
        ] {
            assert!(found(text, four()), "{text}");
        }
        for text in ["connect:10.0.0", "connect:10.0.0.9:44", "connect:443", "exec:Curl", "path:/"]
        {
            assert!(!found(text, four()), "{text}");
        }
        let six = || socket("connect", "2001:db8::1");
        assert!(found("connect:2001:db8::1", six()) && found("connect:[2001:db8::1]:443", six()));
        assert!(!found("connect:10.0.0.9", socket("listen", "10.0.0.9")));
        assert!(found("\"listen 10.0.0.9:443\"", socket("listen", "10.0.0.9")));
    }

    #[test]
    fn commands_are_found_by_name_argument_path_and_text() {
        let event = || exec("/usr/bin/rm", &["rm", "-rf", "/etc//nginx/../Ana", "--x=/srv/b"]);
        for text in [
            "exec:rm",
            "exec:/usr/bin/rm",
            "exec:r*",
            "arg:-rf",
            "arg:-*",
            "path:/etc",
            "path:/etc/Ana",
            "path:/srv/b",
            "path:/usr",
            "path:/",
            "rm",
            "\"rm -rf\"",
            "ANA",
            "who:ana",
            "who:ana@example.com",
            "host:db1",
            "login:app",
            "role:deploy",
            "uid:0",
            "uid:1000",
            "session:00000000000000a1",
            "kind:exec",
            "since:2m",
            "until:30s",
            "-exec:ls",
            "exec:ls,rm",
            "exec:rm path:/etc who:ana host:db1 since:7d",
        ] {
            assert!(found(text, event()), "{text}");
        }
        for text in [
            "exec:rmdir",
            "exec:RM",
            "exec:/bin/rm",
            "arg:rf",
            "arg:rm",
            "path:/et",
            "path:/etc/nginx",
            "nowhere",
            "who:an",
            "who:bob",
            "host:db2",
            "login:root",
            "role:dba",
            "uid:5",
            "kind:channel",
            "-exec:rm",
            "session:00000000000000a2",
            "since:30s",
            "until:2m",
            "exec:rm path:/etc who:bob",
        ] {
            assert!(!found(text, event()), "{text}");
        }
    }

    #[test]
    fn a_path_within_a_shell_s_line_is_found_and_so_is_one_with_blanks() {
        let event = || exec("/bin/sh", &["sh", "-c", "cat </etc/shadow;ls '/srv/my files/a'"]);
        assert!(found("path:/etc/shadow", event()) && found("path:/srv/my", event()));
        let event = || exec("/bin/cat", &["-cat", "/srv/my files/a"]);
        assert!(found("path:\"/srv/my files\"", event()) && found("exec:cat", event()));
    }

    #[test]
    fn a_relative_path_lies_in_the_folder_that_the_program_was_started_in() {
        let event = || {
            let Event::Exec(mut exec) = exec("/usr/bin/rm", &["rm", "-f", "passwd", "../srv/b"])
            else {
                panic!("it is a program")
            };
            let folder = Some(Octets::new("/etc"));
            exec.program = Some(Box::new(wire::record::Program { folder, ..Default::default() }));
            Event::Exec(exec)
        };
        for text in ["path:/etc/passwd", "path:/etc", "path:/srv/b", "exec:rm path:/etc"] {
            assert!(found(text, event()), "{text}");
        }
        assert!(!found("path:/etc/-f", event()) && !found("path:/etc/shadow", event()));
    }

    #[test]
    fn more_paths_than_fit_into_a_filter_hide_none() {
        let many: Vec<String> = (0..80_000).map(|number| format!("/a/b/{number}")).collect();
        let mut arguments: Vec<&str> = many.iter().map(String::as_str).collect();
        arguments.push("/etc/shadow");
        assert!(found("path:/etc/shadow", exec("/usr/bin/rm", &arguments)));
    }

    #[test]
    fn what_is_no_command_is_found_by_its_words() {
        let event = || Event::Warned { message: "Ends in 5 min".into(), terminals: 1 };
        assert!(found("kind:warned", event()) && found("\"ends in\"", event()));
        assert!(!found("exec:rm", event()) && !found("uid:0", event()));
    }

    #[test]
    fn a_filter_rules_out_what_is_not_there() {
        let (record, host) = (record(1, exec("/bin/ls", &["ls", "/tmp"])), "db1".parse().unwrap());
        let scene = Scene { record: &record, host: &host, whose: None };
        let mut tokens = Tokens::default();
        Facets::of(&record.event).unwrap().unwrap().index(&scene, &mut tokens);
        let filter = Filter::of(&tokens);
        for text in ["exec:rm", "path:/etc", "nowhere", "who:ana", "host:db2", "arg:*shadow*"] {
            assert!(!may_fit(&Query::parse(text).unwrap(), &filter), "{text}");
        }
        for text in ["exec:ls", "-exec:ls", "a", "since:1d", "exec:rm,ls"] {
            assert!(may_fit(&Query::parse(text).unwrap(), &filter), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_filter_hides_what_fits(
            path in "/[a-z/.]{0,12}",
            arguments in proptest::collection::vec("[a-zA-Z /=:;.*-]{0,16}", 0..4),
            word in "[a-zA-Z /.-]{1,6}",
        ) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            for field in ["", "exec:", "arg:", "path:"] {
                let slash = if field == "path:" { "/" } else { "" };
                let text = format!("{field}\"{slash}{word}\"");
                found(&text, exec(&path, &arguments));
            }
            for argument in &arguments {
                if !argument.is_empty() {
                    let is_found = found(&format!("\"{argument}\""), exec(&path, &arguments));
                    prop_assert!(is_found, "{}", argument);
                }
            }
        }
    }
}
