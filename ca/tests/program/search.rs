//! Searching, listing and exporting what hosts recorded.

use wire::api::SessionView;
use wire::export::{ExportAnswer, ExportAsk};
use wire::hostlink::ToAuthority;
use wire::ledger::Page;
use wire::problem::Code;
use wire::record::{Event, Record};
use wire::search::{SearchAnswer, SearchAsk};

use crate::authority::{Authority, Host};
use crate::link::{acknowledged, began, ended, greeted, record};
use crate::postgres::Database;

fn exec(path: &str, arguments: &[&str]) -> Event {
    let exec = serde_json::json!({"sequence": 1, "pid": 5, "parent": 4, "uid": 1000, "euid": 0, "path": path,
        "arguments": arguments, "cut": 0});
    Event::Exec(serde_json::from_value(exec).unwrap())
}

async fn send(authority: &Authority, host: &Host, events: Vec<Event>) {
    let (mut frames, welcome) = greeted(authority, host, 0).await;
    let numbers = welcome.last_record.saturating_add(1)..;
    let records: Vec<Record> =
        numbers.zip(events).map(|(number, event)| record(number, event)).collect();
    let last = records.last().unwrap().number.number();
    frames.send(&ToAuthority::Records(records)).await;
    assert_eq!(acknowledged(&mut frames).await, last);
}

fn ask(query: &str, limit: u64) -> SearchAsk {
    SearchAsk { query: query.into(), limit, next: None }
}

async fn lived_in(database: Option<Database>) -> (Authority, String, Host) {
    let authority = Authority::start_on(database);
    authority.add("ana", 1, &[]);
    authority.add("ops", 2, &["--operator"]);
    let ops = authority.login("ops", 2).await.unwrap();
    let host = authority.host("db1").await;
    let events = vec![
        began(),
        exec("/usr/bin/rm", &["rm", "-rf", "/etc/nginx"]),
        exec("/usr/bin/ls", &["ls", "/tmp"]),
        exec("/usr/bin/rm", &["rm", "/srv/a b"]),
        ended(),
    ];
    send(&authority, &host, events).await;
    (authority, ops, host)
}

async fn searches_and_exports(database: Option<Database>) {
    let (authority, ops, host) = lived_in(database).await;
    let found: SearchAnswer = authority
        .send("/v1/search", Some(&ops), &ask("exec:rm path:/etc who:ana host:db1", 9))
        .await
        .unwrap();
    let [hit] = found.hits.as_slice() else { panic!("{found:?}") };
    let whose = hit.whose.as_ref().unwrap();
    assert_eq!((whose.identity.as_str(), hit.record.number.number()), ("ana", 2));
    assert_eq!((found.next.is_none(), found.unsearched), (true, 0));
    // What comes later is found by the next search at once.
    send(&authority, &host, vec![exec("/usr/bin/shred", &["shred", "/etc/x"])]).await;
    let found: SearchAnswer =
        authority.send("/v1/search", Some(&ops), &ask("path:/etc", 1)).await.unwrap();
    assert_eq!(found.hits.first().map(|hit| hit.record.number.number()), Some(6));
    let next = SearchAsk { next: found.next.clone(), ..ask("path:/etc", 9) };
    let rest: SearchAnswer = authority.send("/v1/search", Some(&ops), &next).await.unwrap();
    assert_eq!((rest.entry, rest.hits.len()), (found.entry, 1));
    // A further page is of the same search, by the same person.
    let other = SearchAsk { query: "path:/srv".into(), ..next.clone() };
    let refused = authority.send::<SearchAnswer>("/v1/search", Some(&ops), &other).await;
    assert_eq!(refused.unwrap_err().code, Code::NotFound);
    let page: Page = authority.read("/v1/entries?kind=searched", &ops).await.unwrap();
    let said: Vec<&str> =
        page.entries.iter().map(|entry| entry.body.as_ref().unwrap().text.as_str()).collect();
    assert_eq!(
        said,
        [
            r#"{"by":"ops","query":"exec:rm path:/etc who:ana host:db1"}"#,
            r#"{"by":"ops","query":"path:/etc"}"#
        ]
    );
    let export = ExportAsk { since: None, before: None, next: None };
    let first: ExportAnswer = authority.send("/v1/exports", Some(&ops), &export).await.unwrap();
    let again: ExportAnswer = authority.send("/v1/exports", Some(&ops), &export).await.unwrap();
    assert_eq!((first.records.len(), first.next), (6, None));
    assert_eq!(first.records, again.records);
    let later =
        ExportAsk { since: Some(wire::time::Timestamp::from_secs(2_000_000_000)), ..export };
    let none: ExportAnswer = authority.send("/v1/exports", Some(&ops), &later).await.unwrap();
    assert!(none.records.is_empty());
    let page: Page = authority.read("/v1/entries?kind=exported", &ops).await.unwrap();
    assert_eq!(page.entries.len(), 3);
}

#[tokio::test]
async fn records_are_found_and_exported_and_each_search_and_export_is_an_entry() {
    searches_and_exports(None).await;
}

#[tokio::test]
async fn the_same_on_a_server() {
    searches_and_exports(Some(Database::new())).await;
}

#[tokio::test]
async fn a_search_is_for_operators_and_one_that_makes_no_sense_says_where() {
    let (authority, ops, _host) = lived_in(None).await;
    let ana = authority.login("ana", 1).await.unwrap();
    let refused = authority.send::<SearchAnswer>("/v1/search", Some(&ana), &ask("rm", 9)).await;
    assert_eq!(refused.unwrap_err().code, Code::Denied);
    let refused =
        authority.send::<SearchAnswer>("/v1/search", Some(&ops), &ask("exce:rm", 9)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::Malformed);
    assert!(refused.message.contains("column 1") && refused.message.contains("exec:"), "{refused}");
    let page: Page = authority.read("/v1/entries?kind=searched", &ops).await.unwrap();
    assert!(page.entries.is_empty(), "what was refused searched nothing");
}

async fn lists(database: Option<Database>) {
    let (authority, ops, host) = lived_in(database).await;
    let began = |session: &str, at: u64| {
        let mut record = record(1, began());
        record.session = Some(session.parse().unwrap());
        record.at = wire::time::Timestamp::from_secs(1_800_000_000_u64.saturating_add(at));
        record
    };
    let (mut frames, welcome) = greeted(&authority, &host, 0).await;
    let sessions = [("00000000000000a1", 10), ("00000000000000a2", 10), ("00000000000000a3", 20)];
    let records: Vec<Record> = sessions
        .iter()
        .zip(welcome.last_record.saturating_add(1)..)
        .map(|((session, at), number)| {
            let number = wire::identifier::RecordNumber::try_new(number).unwrap();
            Record { number, ..began(session, *at) }
        })
        .collect();
    frames.send(&ToAuthority::Records(records)).await;
    acknowledged(&mut frames).await;
    let list = async |query: &str| -> Vec<String> {
        let path = format!("/v1/sessions{query}");
        let sessions: Vec<SessionView> = authority.read(&path, &ops).await.unwrap();
        sessions.iter().map(|session| session.session.to_string().split_off(14)).collect()
    };
    assert_eq!(list("").await, ["a3", "a1", "a2", "ed"], "live ones first, then the newest");
    assert_eq!(list("?live=true&limit=2").await, ["a3", "a1"]);
    let after = "?after_ended=false&after_began_millis=1800000010000&after_session=00000000000000a1&after_host=db1";
    assert_eq!(list(after).await, ["a2", "ed"]);
    assert_eq!(list("?how=left").await, ["ed"]);
    assert_eq!(list("?how=idle").await, [""; 0]);
    assert_eq!(list("?since_millis=1800000020000").await, ["a3"]);
    assert_eq!(list("?before_millis=1800000010000").await, ["ed"]);
    assert_eq!(list("?identity=bob").await, [""; 0]);
    assert_eq!(list("?identity=ana&host=db1&login=deploy&role=deploy&live=true").await.len(), 3);
    assert_eq!(list("?role=dba").await, [""; 0]);
    for odd in ["?how=bored", "?after_ended=true", "?limit=x", "?colour=red"] {
        let path = format!("/v1/sessions{odd}");
        let refused = authority.read::<Vec<SessionView>>(&path, &ops).await.unwrap_err();
        assert_eq!(refused.code, Code::Malformed, "{odd}");
    }
}

#[tokio::test]
async fn sessions_are_listed_by_who_where_when_and_how_they_ended() {
    lists(None).await;
}

#[tokio::test]
async fn the_same_listing_on_a_server() {
    lists(Some(Database::new())).await;
}

#[tokio::test]
async fn whatever_identity_a_person_asks_for_they_see_their_own_sessions() {
    let (authority, _ops, _host) = lived_in(None).await;
    authority.add("bob", 3, &[]);
    let bob = authority.login("bob", 3).await.unwrap();
    for path in ["/v1/sessions", "/v1/sessions?identity=ana"] {
        let sessions: Vec<SessionView> = authority.read(path, &bob).await.unwrap();
        assert!(sessions.is_empty(), "{path}");
    }
}
