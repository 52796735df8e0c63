//! Searching what terminals showed and what was typed.

use std::time::Duration;

use wire::channel::End;
use wire::hostlink::ToAuthority;
use wire::ledger::Page;
use wire::problem::{Code, Problem};
use wire::recording::batch::Gatherer;
use wire::recording::block::{Block, Chain};
use wire::recording::record::{Begin, Content, Size};
use wire::recording::seal::Sealer;
use wire::retention::Class;
use wire::search::terminal::{How, Line, TerminalAnswer, TerminalAsk};
use wire::search::{SearchAnswer, SearchAsk};
use wire::time::{Timestamp, Uptime};

use crate::authority::{Authority, Host};
use crate::link::{acknowledged, began, greeted, record};
use crate::policy::put;
use crate::postgres::Database;
use crate::recording::{closed, of, send};
use crate::retention::{AT_ONCE, Operator, over};

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A recording in which each of these passed two seconds after the one before, each in a block of its own.
fn recording(host: &Host, contents: Vec<Content>) -> Vec<Block> {
    let to = host.enrolled.trust.recording.unwrap().key;
    let at = |number: u64| Uptime::from_nanos(7).after(Duration::from_secs(number * 2));
    let begin = Begin { at: AT, size: Size { columns: 60, rows: 10 }, term: None };
    let mut gatherer = Gatherer::new(begin, at(0));
    let mut sealer = Sealer::new(Chain::new(of().0, of().1), to);
    let block = |(number, content): (u64, Content)| {
        gatherer.push(at(number), content);
        let batch = gatherer.take_due(at(number + 1)).unwrap();
        sealer.seal(&batch).unwrap()
    };
    (1..).zip(contents).map(block).collect()
}

fn shown(text: &str) -> Content {
    Content::Output(text.as_bytes().to_vec())
}

fn typed(text: &str) -> Content {
    Content::Input(text.as_bytes().to_vec())
}

/// Somebody drops a table, types a password that is not shown, and writes what drives a terminal.
fn dropped() -> Vec<Content> {
    vec![
        shown("mysql> "),
        typed("drop tabel\u{7f}\u{7f}le users;\r"),
        shown("\r\x1b[1mmysql> DR\x1b[31mOP TA"),
        shown("\x1b[0mBLE users;\r\n\x1b]0;EVIL\x07gone\u{202e}\x1b[6n\r\nPassword: "),
        Content::Hidden(7),
        shown("\r\n"),
        Content::End(End::Exited),
    ]
}

/// An authority with a session of ana's on db1 that has this recording.
async fn recorded(authority: &Authority, contents: Vec<Content>) -> Host {
    authority.add("ana", 1, &[]);
    authority.add("bob", 3, &[]);
    authority.add("ops", 2, &["--operator"]);
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(authority, &host, 0).await;
    frames.send(&ToAuthority::Records(vec![record(1, began())])).await;
    acknowledged(&mut frames).await;
    let blocks = recording(&host, contents);
    for block in &blocks {
        send(&mut frames, &host, block).await;
    }
    closed(&mut frames, &host, blocks.last().unwrap()).await;
    host
}

fn ask(query: &str, limit: u64) -> TerminalAsk {
    TerminalAsk { query: query.into(), limit, entry: None, next: None }
}

async fn search(
    authority: &Authority,
    token: &str,
    ask: &TerminalAsk,
) -> Result<TerminalAnswer, Problem> {
    authority.send("/v1/search/terminals", Some(token), ask).await
}

/// Everything that is found, page by page, and all pages' accounts in one.
async fn all(
    authority: &Authority,
    token: &str,
    query: &str,
    limit: u64,
) -> (Vec<Line>, TerminalAnswer) {
    let (mut lines, mut next, mut entry) = (Vec::new(), None, None);
    let (mut looked, mut passed) = Default::default();
    loop {
        let page = TerminalAsk { query: query.into(), limit, entry, next };
        let answer = search(authority, token, &page).await.unwrap();
        lines.extend(answer.lines.clone());
        (entry, next) = (Some(answer.entry), answer.next.clone());
        (looked, passed) = (answer.looked.and(looked), answer.passed.and(passed));
        if next.is_none() {
            return (lines, TerminalAnswer { looked, passed, ..answer });
        }
    }
}

fn told(lines: &[Line]) -> Vec<(How, u64, &str)> {
    lines.iter().map(|line| (line.how, line.into_millis, line.text.as_str())).collect()
}

async fn entries(authority: &Authority, token: &str, kind: &str) -> Vec<String> {
    let page: Page = authority.read(&format!("/v1/entries?kind={kind}"), token).await.unwrap();
    page.entries.iter().map(|entry| entry.body.as_ref().unwrap().text.clone()).collect()
}

/// What was shown and typed is found with its moment, whichever store it is in, and that it was looked for is recorded.
pub(crate) async fn finds(authority: &Authority) {
    recorded(authority, dropped()).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let answer =
        search(authority, &ops, &ask("text:\"drop table\" since:1d who:ana", 9)).await.unwrap();
    let seen = (How::Seen, 8_000, "mysql> DROP TABLE users;");
    let typed = (How::Typed, 4_000, "drop table users;");
    assert_eq!(told(&answer.lines), [typed, seen]);
    let line = answer.lines.last().unwrap();
    assert_eq!(
        (line.at, line.found, line.recordings),
        (AT.after(Duration::from_secs(8)), (7, 10), 1)
    );
    assert_eq!((line.whose.identity.as_str(), line.channel), ("ana", of().1));
    assert_eq!((answer.looked.sessions, answer.looked.recordings, answer.flaws.len()), (1, 1, 0));
    assert!(answer.looked.bytes > 100 && answer.looked.millis >= 12_000, "{answer:?}");
    for (query, lines) in [
        ("seen:\"DROP TABLE\" since:1d", vec![seen]),
        ("typed:\"drop table\" since:1d host:db1 login:deploy role:deploy", vec![typed]),
        ("text:drop -mysql since:1d", vec![typed]),
        ("seen:drop session:000000000000feed", vec![seen]),
        ("seen:drop,gone since:1d until:2027-01-15T08:00:05", vec![]),
        ("seen:drop since:1d until:2027-01-15T08:00:09", vec![seen]),
        ("text:drop since:1d -who:ana", vec![]),
        ("text:drop since:1d host:web1", vec![]),
        ("text:drop session:00000000000000a1", vec![]),
        // Neither the length of a password nor what only drives a terminal is text.
        ("text:hunter2 since:1d", vec![]),
        ("text:EVIL since:1d", vec![]),
        ("seen:gone since:1d", vec![(How::Seen, 8_000, "gone\u{fffd}")]),
    ] {
        let (lines_found, _) = all(authority, &ops, query, 9).await;
        assert_eq!(told(&lines_found), lines, "{query}");
    }
    // Records are searched for the same text, and it is one search.
    let records = SearchAsk { query: "text:nginx since:1d".into(), limit: 9, next: None };
    let found: SearchAnswer = authority.send("/v1/search", Some(&ops), &records).await.unwrap();
    let before = entries(authority, &ops, "searched").await.len();
    let again = TerminalAsk { entry: Some(found.entry), ..ask("text:nginx since:1d", 9) };
    assert_eq!(search(authority, &ops, &again).await.unwrap().entry, found.entry);
    assert_eq!(entries(authority, &ops, "searched").await.len(), before);
    let opened = entries(authority, &ops, "recordings_searched").await;
    let first = format!(
        r#"{{"by":"ops","search":{},"sessions":[{{"session":"000000000000feed","host":"db1"}}]}}"#,
        answer.entry
    );
    assert_eq!(opened.first(), Some(&first));
    assert!(!opened.iter().any(|entry| entry.contains("TABLE")), "{opened:?}");
}

#[tokio::test]
async fn what_terminals_showed_and_what_was_typed_is_found_and_each_opening_is_an_entry() {
    let authority = Authority::start();
    finds(&authority).await;
    authority.run(&["ledger", "verify"]);
    authority.stop();
    let rebuilt = authority.run(&["ledger", "rebuild"]);
    assert!(rebuilt.contains("the state is identical to what the entries say"), "{rebuilt}");
}

#[tokio::test]
async fn the_same_on_a_server() {
    finds(&Authority::start_on(Some(Database::new()))).await;
}

#[tokio::test]
async fn who_may_not_take_out_what_is_recorded_searches_nothing() {
    let authority = Authority::start();
    recorded(&authority, dropped()).await;
    for (name, seed) in [("bob", 3), ("ana", 1)] {
        let token = authority.login(name, seed).await.unwrap();
        for query in ["seen:drop since:1d", "seen:absent since:1d"] {
            let refused = search(&authority, &token, &ask(query, 9)).await.unwrap_err();
            assert_eq!(refused.code, Code::Denied, "{refused}");
            assert!(refused.message.contains("does not let"), "{refused}");
        }
    }
    let ops = authority.login("ops", 2).await.unwrap();
    for kind in ["searched", "recordings_searched"] {
        assert_eq!(entries(&authority, &ops, kind).await, [""; 0], "{kind}");
    }
}

#[tokio::test]
async fn who_may_export_and_not_watch_learns_of_no_word_whether_it_is_there() {
    let authority = Authority::start();
    recorded(&authority, dropped()).await;
    put(&authority, r#"@id("all") permit (principal, action, resource);
        @id("closed") @advice("nobody looks at db1") forbid (principal, action == Curfew::Action::"watch", resource) when { resource.host == "db1" };"#)
    .await;
    let ops = authority.login("ops", 2).await.unwrap();
    for query in ["since:1d", "session:000000000000feed"] {
        let mut answers = Vec::new();
        for word in ["drop", "absent"] {
            let answer = search(&authority, &ops, &ask(&format!("text:{word} {query}"), 9)).await;
            let answer = answer.unwrap();
            assert_eq!((answer.lines.len(), answer.passed.closed), (0, 1));
            answers.push(TerminalAnswer { entry: 0, ..answer });
        }
        assert_eq!(answers.first(), answers.last());
    }
    assert_eq!(entries(&authority, &ops, "recordings_searched").await, [""; 0]);
    // One's own is always there to look at.
    let ana = authority.login("ana", 1).await.unwrap();
    assert_eq!(all(&authority, &ana, "seen:drop since:1d", 9).await.0.len(), 1);
}

#[tokio::test]
async fn what_two_people_deleted_is_not_found_any_more() {
    let authority = Authority::start_with(AT_ONCE, None);
    let host = recorded(&authority, dropped()).await;
    let ops = Operator::new(&authority, "olga", 5).await;
    let eve = Operator::new(&authority, "eve", 4).await;
    let token = authority.login("ops", 2).await.unwrap();
    let query = "text:drop session:000000000000feed";
    assert_eq!(all(&authority, &token, query, 9).await.0.len(), 2);
    over(&authority, &host).await;
    let asked = ops.ask(Class::Terminals).await.unwrap().deletion;
    assert_eq!(all(&authority, &token, query, 9).await.0.len(), 2);
    eve.decide(asked, "approve").await.unwrap();
    eve.done(asked).await;
    let (lines, answer) = all(&authority, &token, query, 9).await;
    assert_eq!((told(&lines), answer.passed.deleted), (vec![], 1), "{answer:?}");
    assert_eq!((answer.looked.sessions, answer.flaws.len()), (0, 0));
}

#[tokio::test]
async fn a_recording_with_holes_is_searched_around_them_and_they_are_told() {
    let authority = Authority::start();
    recorded(&authority, dropped()).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let (session, channel) = of();
    let folder = authority.dir.path().join(format!("state/recordings/db1/{session}/{channel}"));
    let block = |number: u64| folder.join(format!("{number:010}.block"));
    let query = "text:\"drop table\" since:1d";
    let mut second = std::fs::read(block(2)).unwrap();
    let middle = second.len() / 3;
    second[middle] ^= 1;
    std::fs::write(block(2), &second).unwrap();
    std::fs::remove_file(block(5)).unwrap();
    let (lines, answer) = all(&authority, &ops, query, 9).await;
    assert_eq!(told(&lines), [(How::Seen, 8_000, "mysql> DROP TABLE users;")]);
    let flaws: Vec<&str> = answer.flaws.iter().map(|flaw| flaw.what.as_str()).collect();
    assert_eq!(flaws.len(), 2, "{flaws:?}");
    assert!(flaws.contains(&"block 5 is missing"), "{flaws:?}");
    assert!(flaws.iter().any(|flaw| flaw.starts_with("block 2 cannot be")), "{flaws:?}");
    std::fs::remove_file(folder.join("closed")).unwrap();
    let (_, answer) = all(&authority, &ops, query, 9).await;
    assert!(answer.flaws.iter().any(|flaw| flaw.what.starts_with("it goes on")), "{answer:?}");
}

#[tokio::test]
async fn a_long_recording_is_searched_in_pages_and_nothing_of_it_twice() {
    let authority = Authority::start();
    let lines = (100..150).map(|number| shown(&format!("row {number}\r\n")));
    recorded(&authority, lines.chain([Content::End(End::Exited)]).collect()).await;
    let ops = authority.login("ops", 2).await.unwrap();
    let expected: Vec<String> = (100..150).map(|number| format!("row {number}")).collect();
    for limit in [1, 7, 500] {
        let (found, last) = all(&authority, &ops, "seen:row session:000000000000feed", limit).await;
        let texts: Vec<&str> = found.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, expected, "{limit}");
        assert_eq!((last.looked.recordings, last.passed.crowded), (1, 0));
        let times: Vec<u64> = found.iter().map(|line| line.into_millis).collect();
        assert_eq!(times, (1..=50).map(|number| number * 2_000).collect::<Vec<_>>());
        // Of a session that is not named, some are told, and that there are more.
        let (found, last) = all(&authority, &ops, "seen:row since:1d", limit).await;
        assert_eq!((found.len(), last.passed.crowded), (20, 1), "{limit}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_a_page_is_of_one_s_own_search() {
    let authority = Authority::start();
    recorded(&authority, dropped()).await;
    let ops = authority.login("ops", 2).await.unwrap();
    for (query, part) in [
        ("seen:drop", "say since when"),
        ("seen:drop who:ana", "say since when"),
        ("drop since:1d", "about records alone"),
        ("text:drop exec:ls since:1d", "about records alone"),
        ("seen:a typed:b since:1d", "either seen or typed"),
        ("seen:a exec:ls since:1d", "it has no exec:"),
        ("sene:a", "did you mean seen:"),
        ("seen:\"a", "is not closed"),
        ("", "nothing to search for"),
    ] {
        let refused = search(&authority, &ops, &ask(query, 9)).await.unwrap_err();
        assert_eq!(refused.code, Code::Malformed, "{query}");
        assert!(refused.message.contains(part), "{query}: {refused}");
    }
    let records = SearchAsk { query: "seen:drop since:1d".into(), limit: 9, next: None };
    let refused = authority.send::<SearchAnswer>("/v1/search", Some(&ops), &records).await;
    assert_eq!(refused.unwrap_err().code, Code::Malformed);
    assert_eq!(entries(&authority, &ops, "searched").await, [""; 0]);
    let first = search(&authority, &ops, &ask("seen:drop since:1d", 9)).await.unwrap();
    let page = |query: &str, entry: u64| TerminalAsk { entry: Some(entry), ..ask(query, 9) };
    for other in [page("seen:gone since:1d", first.entry), page("seen:drop since:1d", 1)] {
        let refused = search(&authority, &ops, &other).await.unwrap_err();
        assert_eq!(refused.code, Code::NotFound, "{refused}");
    }
    authority.add("olga", 5, &["--operator"]);
    let olga = authority.login("olga", 5).await.unwrap();
    let refused = search(&authority, &olga, &page("seen:drop since:1d", first.entry)).await;
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
}
