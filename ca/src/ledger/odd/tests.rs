use std::time::Duration;

use wire::octets::Octets;
use wire::record::{EndReason, Event, Exec};
use wire::review::Verdict;
use wire::time::Uptime;

use super::*;
use crate::ledger::tests::{NOW, ledger};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);

/// A session of ana's under role dba, so many days before now, that ran this.
struct Past {
    number: u64,
    days: u64,
    program: &'static str,
    verdict: Option<Verdict>,
}

fn past(number: u64, days: u64, program: &'static str) -> Past {
    Past { number, days, program, verdict: None }
}

fn id(number: u64) -> SessionId {
    format!("{number:016x}").parse().unwrap()
}

fn host() -> HostName {
    "db-1".parse().unwrap()
}

impl Past {
    fn write(&self, connection: &Connection) -> Result<(), LedgerError> {
        let began = NOW.before(DAY.saturating_mul(u32::try_from(self.days).unwrap()));
        let ended = wire::api::Ended {
            at: began.after(HOUR),
            reason: EndReason::Left,
            killed: 0,
            survivors: 0,
            took_micros: 0,
        };
        let review = self.verdict.map(|verdict| {
            serde_json::json!({"verdict": verdict, "by": "ops", "at": began.after(HOUR.saturating_mul(2)), "note": ""})
                .to_string()
        });
        let session = id(self.number).to_string();
        connection.execute(
            "INSERT INTO certificates (serial, grant_id, identity, login, host, key, issued, valid_before) \
             VALUES (?, 1, 'ana', 'postgres', 'db-1', 'k', ?, ?)",
            params![self.number, began.millis(), began.millis()],
        )?;
        connection.execute(
            "INSERT INTO sessions (session, host, identity, login, role, grant_id, serial, remote, began, until, ended, known, review) \
             VALUES (?, 'db-1', 'ana', 'postgres', 'dba', 1, ?, '10.0.0.9', ?, ?, ?, TRUE, ?)",
            params![
                session.as_str(),
                self.number,
                began.millis(),
                began.after(HOUR).millis(),
                serde_json::to_string(&ended)?,
                review
            ],
        )?;
        let record = Record {
            number: wire::identifier::RecordNumber::try_new(self.number).unwrap(),
            at: began,
            uptime: Uptime::from_nanos(1),
            session: Some(id(self.number)),
            event: Event::Exec(Exec {
                sequence: 1,
                pid: 5,
                parent: 4,
                uid: 0,
                euid: 0,
                path: Octets::new(self.program),
                arguments: Vec::new(),
                cut: 0,
                terminal: None,
                nameless: false,
                program: None,
            }),
        };
        connection.execute(
            "INSERT INTO records (enrolment, number, host, session, body) VALUES (1, ?, 'db-1', ?, ?)",
            params![self.number, session, serde_json::to_string(&record)?],
        )?;
        Ok(())
    }
}

async fn site(sessions: Vec<Past>) -> (tempfile::TempDir, Ledger) {
    let (dir, ledger) = ledger();
    let write = move |connection: &Connection| {
        connection.execute(
            "INSERT INTO grants (id, identity, role, host, began, until) VALUES (1, 'ana', 'dba', 'db-1', 1, 9)",
            (),
        )?;
        sessions.iter().try_for_each(|one| one.write(connection))
    };
    ledger.write(write).await.unwrap();
    (dir, ledger)
}

/// Looks at all that was not looked at, as the authority does.
async fn settle(ledger: &Ledger, now: Timestamp) {
    loop {
        let due = ledger.unjudged().await.unwrap();
        if due.is_empty() {
            return;
        }
        for one in due {
            let judged = ledger.judge(one, (None, now)).await.unwrap().unwrap();
            assert!(ledger.keep_odd(judged, now).await.unwrap());
        }
    }
}

async fn odd(ledger: &Ledger, number: u64) -> Odd {
    ledger.odd_of(id(number), host()).await.unwrap().unwrap()
}

fn kinds(odd: &Odd) -> Vec<Oddity> {
    odd.reasons.iter().map(|reason| reason.oddity).collect()
}

/// Enough that psql is usual under the role and the place for the person.
fn years() -> Vec<Past> {
    (61..=65).zip(1..).map(|(days, number)| past(number, days, "/usr/bin/psql")).collect()
}

#[tokio::test]
async fn what_was_left_alone_for_14_days_is_usual_and_a_flood_of_fresh_ones_teaches_nothing() {
    let mut sessions = years();
    sessions.extend((10..400).map(|number| past(number, 3, "/usr/bin/nc")));
    sessions.push(past(900, 0, "/usr/bin/nc"));
    sessions.push(past(901, 0, "/usr/bin/psql"));
    let (_dir, ledger) = site(sessions).await;
    settle(&ledger, NOW.after(DAY)).await;
    let flood = odd(&ledger, 900).await;
    assert_eq!(kinds(&flood), [Oddity::NewProgram]);
    assert_eq!(flood.reasons[0].says, "ran /usr/bin/nc, which is not usual under role dba");
    assert_eq!(kinds(&odd(&ledger, 10).await), [Oddity::NewProgram]);
    assert_eq!(kinds(&odd(&ledger, 901).await), []);
    // The very first had nothing before it.
    assert_eq!(kinds(&odd(&ledger, 5).await), [Oddity::UnknownRole, Oddity::UnknownPerson]);
}

#[tokio::test]
async fn one_that_a_reviewer_found_in_order_is_usual_at_once_and_one_that_was_not_never_is() {
    let mut sessions = years();
    sessions.push(Past { verdict: Some(Verdict::Ok), ..past(10, 3, "/usr/bin/nc") });
    sessions.push(Past { verdict: Some(Verdict::OutOfScope), ..past(11, 40, "/usr/bin/socat") });
    sessions.push(past(900, 0, "/usr/bin/nc"));
    sessions.push(past(901, 0, "/usr/bin/socat"));
    let (_dir, ledger) = site(sessions).await;
    settle(&ledger, NOW.after(DAY)).await;
    assert_eq!(kinds(&odd(&ledger, 900).await), []);
    assert_eq!(kinds(&odd(&ledger, 901).await), [Oddity::NewProgram]);
}

#[tokio::test]
async fn it_comes_out_the_same_again_whatever_came_later() {
    let mut sessions = years();
    sessions.push(past(10, 20, "/usr/bin/nc"));
    let (_dir, ledger) = site(sessions).await;
    settle(&ledger, NOW).await;
    let first = odd(&ledger, 10).await;
    assert_eq!(kinds(&first), [Oddity::NewProgram]);
    let later: Vec<Past> = (20..30).map(|number| past(number, 19, "/usr/bin/nc")).collect();
    let write =
        move |connection: &Connection| later.iter().try_for_each(|one| one.write(connection));
    ledger.write(write).await.unwrap();
    settle(&ledger, NOW).await;
    let year = NOW.after(DAY.saturating_mul(100));
    let again = ledger.judge((id(10), host()), (None, year)).await.unwrap().unwrap();
    assert_eq!(again.into_odd(), first);
    // Nothing is learnt from a time that the weights exclude.
    let frozen = (Some(NOW.before(DAY.saturating_mul(90)).secs()), year);
    let frozen = ledger.judge((id(10), host()), frozen).await.unwrap().unwrap();
    assert_eq!(kinds(&frozen.into_odd()), [Oddity::UnknownRole, Oddity::UnknownPerson]);
}

#[tokio::test]
async fn a_host_whose_clock_is_wrong_makes_nothing_usual_before_its_time() {
    let mut sessions = years();
    sessions.push(past(10, 40, "/usr/bin/nc"));
    sessions.push(past(900, 0, "/usr/bin/nc"));
    let (_dir, ledger) = site(sessions).await;
    // The session says that it is 40 days old; its certificate was issued two hours ago.
    ledger
        .write(|connection| {
            let issued = NOW.before(HOUR.saturating_mul(2)).millis();
            connection.execute("UPDATE certificates SET issued = ? WHERE serial = 10", [issued])?;
            Ok(())
        })
        .await
        .unwrap();
    settle(&ledger, NOW.after(DAY)).await;
    assert_eq!(kinds(&odd(&ledger, 900).await), [Oddity::NewProgram]);
}

#[tokio::test]
async fn what_is_deleted_teaches_nothing_any_more_and_is_said_nowhere() {
    let mut sessions = years();
    sessions.push(past(10, 40, "/usr/bin/nc"));
    sessions.push(past(900, 0, "/usr/bin/nc"));
    let (_dir, ledger) = site(sessions).await;
    settle(&ledger, NOW.after(DAY)).await;
    assert_eq!(kinds(&odd(&ledger, 900).await), [], "40 days are long enough");
    let left = ledger
        .write(|connection| {
            let host = host();
            forget_deeds(connection, (id(10), &host))?;
            connection.execute("DELETE FROM records WHERE session = ?", [id(10).to_string()])?;
            look_again(connection, (id(900), &host))?;
            Ok(connection.query_row(
                "SELECT (SELECT count(*) FROM habits WHERE session = ?1 AND what LIKE '%nc%') \
                 + (SELECT count(*) FROM sessions WHERE session = ?1 AND odd IS NOT NULL)",
                [id(10).to_string()],
                |row| row.get::<u64>(0),
            )?)
        })
        .await
        .unwrap();
    assert_eq!(left, 0);
    settle(&ledger, NOW.after(DAY)).await;
    assert_eq!(kinds(&odd(&ledger, 900).await), [Oddity::NewProgram]);
    assert_eq!(kinds(&odd(&ledger, 10).await), [], "what is left of it is usual");
}

#[tokio::test]
async fn more_that_comes_while_it_is_looked_at_is_not_passed_over() {
    let (_dir, ledger) = site(vec![past(1, 0, "/usr/bin/psql")]).await;
    let judged = ledger.judge((id(1), host()), (None, NOW)).await.unwrap().unwrap();
    ledger
        .write(|connection| {
            connection.execute(
                "INSERT INTO records (enrolment, number, host, session, body) SELECT 1, 99, host, session, body FROM records",
                (),
            )?;
            Ok(())
        })
        .await
        .unwrap();
    assert!(!ledger.keep_odd(judged, NOW).await.unwrap());
    assert_eq!(ledger.unjudged().await.unwrap().len(), 1);
    assert!(ledger.judge((id(77), host()), (None, NOW)).await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "a measurement: 20,000 sessions of one role are made first"]
async fn a_session_is_looked_at_in_milliseconds_beside_20_000_others() {
    let sessions =
        (1..=20_000).map(|number| past(number, number.rem_euclid(170), "/usr/bin/psql")).collect();
    let (_dir, ledger) = site(sessions).await;
    let judged = |number| ledger.judge((id(number), host()), (None, NOW));
    let began = crate::clock::instant();
    settle(&ledger, NOW).await;
    let took = crate::clock::instant().saturating_duration_since(began);
    println!("all looked at in {took:?}");
    let began = crate::clock::instant();
    for number in 1..=100 {
        drop(judged(number).await.unwrap());
    }
    println!("100 in {:?}", crate::clock::instant().saturating_duration_since(began));
    let began = crate::clock::instant();
    assert_eq!(ledger.due().await.unwrap().len(), 1_000);
    println!("1,000 listed in {:?}", crate::clock::instant().saturating_duration_since(began));
}
