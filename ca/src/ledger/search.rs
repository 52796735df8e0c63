//! Searching records: blocks of them, each with a filter that says what it cannot hold, made beside the taking in.
//!
//! Records are written without a thought of searches. A block takes records of any hosts, in the order in which they came,
//! once there are enough or some have waited for a while; it is computed on a connection that reads, and its one row and
//! its ranges are a small job for the writer. Where several nodes make the same block, the second one finds the records
//! taken. Nothing is decided from these tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::identifier::HostName;
use wire::record::Record;
use wire::search::query::Query;
use wire::search::{Hit, Place, Whose};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column};
use crate::search::{Facets, Filter, Scene, Tokens, fits, may_fit};

/// What is searched for, and from where on.
#[derive(Debug)]
pub(crate) struct Quest {
    /// The conditions.
    pub(crate) query: Query,
    /// When the search began.
    pub(crate) now: Timestamp,
    /// At most so many hits.
    pub(crate) limit: u64,
    /// The block to begin with, and the place in it to begin after; the newest when this is nothing.
    pub(crate) from: Option<(u64, Option<Place>)>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Records that fit.
    pub(crate) hits: Vec<Hit>,
    /// Where to go on.
    pub(crate) next: Option<(u64, Option<Place>)>,
    /// How many records were read.
    pub(crate) read: u64,
}

/// A search that was begun.
#[derive(Debug, Deserialize)]
pub(crate) struct Begun {
    /// Who searches.
    pub(crate) by: String,
    /// What for.
    pub(crate) query: String,
}

/// Records of one enrolment that no block holds yet.
#[derive(Debug, Clone)]
struct Waiting {
    enrolment: u64,
    host: HostName,
    indexed: u64,
    last: u64,
    is_current: bool,
}

/// A block before it is kept.
#[derive(Default)]
struct Block {
    tokens: Tokens,
    ranges: Vec<(Waiting, u64)>,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    records: u64,
    weight: usize,
}

#[derive(Serialize)]
struct Searched<'a> {
    by: &'a Actor,
    query: &'a str,
}

impl Ledger {
    /// How many records no block holds yet.
    pub(crate) async fn unindexed(&self) -> Result<u64, LedgerError> {
        let waiting = self.read(waiting).await?;
        Ok(waiting.iter().map(|one| one.last.saturating_sub(one.indexed)).sum())
    }

    /// Makes one block of records that wait, and says how many it took.
    pub(crate) async fn index(&self) -> Result<u64, LedgerError> {
        let block = self.read(|connection| Block::read(&waiting(connection)?, connection)).await?;
        let records = block.records;
        if block.ranges.is_empty() {
            return Ok(0);
        }
        let filter = Filter::of(&block.tokens);
        let was_first = self.write(move |connection| block.keep(&filter, connection)).await?;
        Ok(if was_first { records } else { 0 })
    }

    /// Says in the ledger that somebody searches; the search has the entry's number.
    pub(crate) async fn begin_search(
        &self,
        by: Actor,
        query: String,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        self.write(move |connection| {
            entry::append(connection, Kind::Searched, now, &Searched { by: &by, query: &query })
        })
        .await
    }

    /// The search of that number, and when it began.
    pub(crate) async fn begun_search(
        &self,
        entry: u64,
    ) -> Result<Option<(Begun, Timestamp)>, LedgerError> {
        self.read(move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT at, body FROM entries JOIN bodies USING (seq) WHERE seq = ? AND kind = 'searched'",
                )?
                .query_row([entry], |row| Ok((column::moment(row, 0)?, row.get::<Vec<u8>>(1)?)))
                .optional()?;
            let found = found.map(|(at, body)| serde_json::from_slice(&body).map(|it| (it, at)));
            Ok(found.transpose()?)
        })
        .await
    }

    /// The next records that fit: the newest block first, and in each the latest first.
    pub(crate) async fn search(&self, quest: Quest) -> Result<Found, LedgerError> {
        self.read(move |connection| quest.page(connection)).await
    }
}

/// What waits, host by host.
fn waiting(connection: &Connection) -> Result<Vec<Waiting>, LedgerError> {
    let mut waiting = connection
        .prepare_cached(
            "SELECT h.enrolment, h.name, coalesce(s.indexed, 0), h.last_record FROM hosts h \
             LEFT JOIN streams s ON s.enrolment = h.enrolment \
             WHERE h.last_record > coalesce(s.indexed, 0) ORDER BY h.enrolment",
        )?
        .query_map((), |row| {
            Ok(Waiting {
                enrolment: row.get(0)?,
                host: column::name(row, 1)?,
                indexed: row.get(2)?,
                last: row.get(3)?,
                is_current: true,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    // Enrolments that are over: what is left of them, and that nothing more will come.
    let former = connection
        .prepare_cached(
            "SELECT s.enrolment, s.host, s.indexed, (SELECT coalesce(max(number), 0) FROM records r WHERE r.enrolment = s.enrolment) \
             FROM streams s LEFT JOIN hosts h ON h.name = s.host AND h.enrolment = s.enrolment \
             WHERE NOT s.closed AND h.name IS NULL ORDER BY s.enrolment LIMIT 100",
        )?
        .query_map((), |row| {
            let (indexed, last): (u64, u64) = (row.get(2)?, row.get(3)?);
            Ok(Waiting {
                enrolment: row.get(0)?,
                host: column::name(row, 1)?,
                indexed,
                last: last.max(indexed),
                is_current: false,
            })
        })?;
    for one in former {
        waiting.push(one?);
    }
    Ok(waiting)
}

impl Block {
    fn read(waiting: &[Waiting], connection: &Connection) -> Result<Self, LedgerError> {
        let mut block = Self::default();
        for one in waiting {
            let last = block.take(one, connection)?;
            if last > one.indexed || !one.is_current {
                block.ranges.push((one.clone(), last));
            }
            if block.is_full() {
                break;
            }
        }
        Ok(block)
    }

    /// Takes records of one host until the block is full, and says up to which.
    fn take(&mut self, from: &Waiting, connection: &Connection) -> Result<u64, LedgerError> {
        let mut reached = from.indexed;
        while reached < from.last && !self.is_full() {
            let upto = from.last.min(reached.saturating_add(AT_ONCE));
            for (record, whose) in records(connection, from.enrolment, (reached, upto), AT_ONCE)? {
                let scene = Scene { record: &record, host: &from.host, whose: whose.as_ref() };
                self.add(&scene)?;
                reached = record.number.number();
                if self.is_full() {
                    return Ok(reached);
                }
            }
            // What is not there any more was removed by retention.
            reached = upto;
        }
        Ok(reached)
    }

    fn add(&mut self, scene: &Scene<'_>) -> Result<(), LedgerError> {
        self.records = self.records.saturating_add(1);
        let at = scene.record.at;
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
        self.last_at = Some(self.last_at.map_or(at, |last| last.max(at)));
        if let Some(facets) = Facets::of(&scene.record.event)? {
            self.weight = self.weight.saturating_add(facets.weight());
            facets.index(scene, &mut self.tokens);
        }
        Ok(())
    }

    const fn is_full(&self) -> bool {
        self.records >= BLOCK || self.weight >= WEIGHT
    }

    /// Keeps the block, unless somebody else has taken one of its records meanwhile.
    fn keep(self, filter: &Filter, connection: &Connection) -> Result<bool, LedgerError> {
        let number: u64 = connection
            .prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM search_blocks")?
            .query_row((), |row| row.get(0))?;
        for (from, last) in &self.ranges {
            let indexed: Option<u64> = connection
                .prepare_cached("SELECT indexed FROM streams WHERE enrolment = ?")?
                .query_row([from.enrolment], |row| row.get(0))
                .optional()?;
            if indexed.unwrap_or(0) != from.indexed {
                return Ok(false);
            }
            let closed = !from.is_current && *last == from.last;
            connection
                .prepare_cached(
                    "INSERT INTO streams (enrolment, host, indexed, closed) VALUES (?, ?, ?, ?) ON CONFLICT (enrolment) \
                     DO UPDATE SET indexed = excluded.indexed, closed = excluded.closed",
                )?
                .execute(params![from.enrolment, from.host.as_str(), *last, closed])?;
            if *last > from.indexed {
                connection
                    .prepare_cached(
                        "INSERT INTO search_ranges (block, enrolment, first, last) VALUES (?, ?, ?, ?)",
                    )?
                    .execute(params![
                        number,
                        from.enrolment,
                        from.indexed.saturating_add(1),
                        *last
                    ])?;
            }
        }
        if let (Some(first), Some(last)) = (self.first_at, self.last_at) {
            connection
                .prepare_cached(
                    "INSERT INTO search_blocks (number, first_at, last_at, filter) VALUES (?, ?, ?, ?)",
                )?
                .execute(params![number, stored(first), stored(last), filter.as_bytes()])?;
        }
        Ok(true)
    }
}

/// A moment as the database can hold it: a host's clock can say anything.
pub(super) fn stored(at: Timestamp) -> u64 {
    at.millis().min(i64::MAX.unsigned_abs())
}

impl Quest {
    fn page(&self, connection: &Connection) -> Result<Found, LedgerError> {
        let since = self.query.since(self.now).map_or(0, stored);
        let mut found = Found::default();
        let mut upto = self.from.map_or(i64::MAX.unsigned_abs(), |(block, _)| block);
        loop {
            let blocks = connection
                .prepare_cached(
                    "SELECT number, filter FROM search_blocks WHERE number <= ? AND last_at >= ? \
                     ORDER BY number DESC LIMIT 32",
                )?
                .query_map(params![upto, since], |row| {
                    Ok((row.get::<u64>(0)?, Filter::from_bytes(row.get(1)?)))
                })?
                .collect::<Result<Vec<_>, _>>()?;
            let Some((last, _)) = blocks.last() else { return Ok(found) };
            upto = last.saturating_sub(1);
            for (number, filter) in blocks {
                if may_fit(&self.query, &filter) && !self.look(number, connection, &mut found)? {
                    return Ok(found);
                }
                if found.read >= BUDGET {
                    found.next = number.checked_sub(1).map(|before| (before, None));
                    return Ok(found);
                }
            }
        }
    }

    /// Looks through a block, and says whether there is room for more.
    fn look(
        &self,
        block: u64,
        connection: &Connection,
        found: &mut Found,
    ) -> Result<bool, LedgerError> {
        let mut fitting: BTreeMap<Place, Hit> = BTreeMap::new();
        let ranges = connection
            .prepare_cached(
                "SELECT r.enrolment, s.host, r.first, r.last FROM search_ranges r JOIN streams s ON s.enrolment = r.enrolment \
                 WHERE r.block = ?",
            )?
            .query_map([block], |row| {
                let range: (u64, u64) = (row.get(2)?, row.get(3)?);
                Ok((row.get::<u64>(0)?, column::name::<HostName>(row, 1)?, range))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        for (enrolment, host, (first, last)) in ranges {
            for (record, whose) in
                records(connection, enrolment, (first.saturating_sub(1), last), u64::MAX >> 1)?
            {
                found.read = found.read.saturating_add(1);
                let scene = Scene { record: &record, host: &host, whose: whose.as_ref() };
                if fits(&self.query, &scene, self.now)? {
                    let number = record.number.number();
                    let place = Place { at: record.at, enrolment, number };
                    fitting.insert(place, Hit { host: host.clone(), whose, record });
                }
            }
        }
        let after = self.from.filter(|(at, _)| *at == block).and_then(|(_, after)| after);
        let mut last = None;
        for (place, hit) in fitting.into_iter().rev() {
            if after.is_some_and(|after| place >= after) {
                continue;
            }
            if u64::try_from(found.hits.len()).is_ok_and(|count| count >= self.limit) {
                found.next = Some((block, last.or(after)));
                return Ok(false);
            }
            last = Some(place);
            found.hits.push(hit);
        }
        Ok(true)
    }
}

/// The first records of an enrolment after a number up to another, with whose they are.
pub(super) fn records(
    connection: &Connection,
    enrolment: u64,
    (after, upto): (u64, u64),
    limit: u64,
) -> Result<Vec<(Record, Option<Whose>)>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT r.body, s.identity, s.login, s.role, s.began FROM records r \
         LEFT JOIN sessions s ON s.session = r.session AND s.host = r.host \
         WHERE r.enrolment = ? AND r.number > ? AND r.number <= ? ORDER BY r.number LIMIT ?",
    )?;
    let rows = statement.query_map(params![enrolment, after, upto, limit], |row| {
        Ok((column::json(row, 0)?, whose(row, 1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whose session it is, from these columns on; nothing where no session was joined.
fn whose(row: &Row<'_>, column: usize) -> Result<Option<Whose>, SqlError> {
    let at = |more: usize| column.saturating_add(more);
    if row.get::<Option<String>>(column)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Whose {
        identity: column::name(row, at(0))?,
        login: column::name(row, at(1))?,
        role: column::name(row, at(2))?,
        began: column::moment(row, at(3))?,
    }))
}

/// Most records of one block, and most bytes of text in it.
pub(crate) const BLOCK: u64 = 1024;
const WEIGHT: usize = 2 * 1024 * 1024;
/// Records that are read together.
const AT_ONCE: u64 = 256;
/// How many records one page may read before it ends, found or not.
const BUDGET: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{NOW, ledger};
    use crate::search::tests::{exec, record};

    async fn host(ledger: &Ledger, name: &'static str, enrolment: u64) -> (HostName, u64) {
        ledger
            .write(move |connection| {
                connection.execute(
                    "INSERT INTO hosts (name, labels, addresses, enrolment, enrolled, orders_from) VALUES (?, '[]', '[]', ?, 0, 0) \
                     ON CONFLICT (name) DO UPDATE SET enrolment = excluded.enrolment, last_record = 0",
                    params![name, enrolment],
                )?;
                Ok(())
            })
            .await
            .unwrap();
        (name.parse().unwrap(), enrolment)
    }

    async fn take(ledger: &Ledger, whose: &(HostName, u64), commands: &[(u64, &str)]) {
        let records = commands.iter().map(|(number, name)| {
            record(*number, exec(&format!("/bin/{name}"), &[name, "/etc/x"]))
        });
        ledger.take_records(whose.clone(), records.collect(), NOW).await.unwrap();
    }

    async fn found(
        ledger: &Ledger,
        query: &str,
        (limit, from): (u64, Option<(u64, Option<Place>)>),
    ) -> Found {
        let query = Query::parse(query).unwrap();
        ledger.search(Quest { query, now: NOW, limit, from }).await.unwrap()
    }

    fn numbers(found: &Found) -> Vec<(String, u64)> {
        found.hits.iter().map(|hit| (hit.host.to_string(), hit.record.number.number())).collect()
    }

    #[tokio::test]
    async fn what_waits_goes_into_blocks_and_is_found_page_by_page() {
        let (_dir, ledger) = ledger();
        let (db1, web1) = (host(&ledger, "db1", 7).await, host(&ledger, "web1", 9).await);
        take(&ledger, &db1, &[(1, "rm"), (2, "ls"), (3, "rm")]).await;
        take(&ledger, &web1, &[(1, "rm")]).await;
        assert!(found(&ledger, "exec:rm", (9, None)).await.hits.is_empty(), "no block, no hit");
        assert_eq!((ledger.unindexed().await.unwrap(), ledger.index().await.unwrap()), (4, 4));
        assert_eq!((ledger.unindexed().await.unwrap(), ledger.index().await.unwrap()), (0, 0));
        take(&ledger, &db1, &[(4, "rm")]).await;
        assert_eq!(ledger.index().await.unwrap(), 1);
        let all = [("db1", 4), ("web1", 1), ("db1", 3), ("db1", 1)];
        let all: Vec<(String, u64)> = all.map(|(host, number)| (host.to_owned(), number)).into();
        assert_eq!(numbers(&found(&ledger, "exec:rm", (9, None)).await), all);
        let (mut pages, mut from) = (Vec::new(), None);
        loop {
            let page = found(&ledger, "exec:rm", (1, from)).await;
            pages.extend(numbers(&page));
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        assert_eq!(pages, all);
        let none = found(&ledger, "exec:shred", (9, None)).await;
        assert_eq!((none.hits.len(), none.read), (0, 0), "the filters rule it out unread");
    }

    #[tokio::test]
    async fn what_a_host_left_before_it_enrolled_anew_is_found() {
        let (_dir, ledger) = ledger();
        let before = host(&ledger, "db1", 7).await;
        take(&ledger, &before, &[(1, "rm")]).await;
        assert_eq!(ledger.index().await.unwrap(), 1);
        take(&ledger, &before, &[(2, "shred")]).await;
        let after = host(&ledger, "db1", 8).await;
        take(&ledger, &after, &[(1, "rm")]).await;
        while ledger.unindexed().await.unwrap() > 0 {
            ledger.index().await.unwrap();
        }
        assert_eq!(found(&ledger, "exec:shred", (9, None)).await.hits.len(), 1);
        assert_eq!(found(&ledger, "exec:rm host:db1", (9, None)).await.hits.len(), 2);
    }

    #[tokio::test]
    async fn a_search_is_an_entry_that_says_who_and_what_for() {
        let (_dir, ledger) = ledger();
        let by = Actor::person(&"ops@example.com".parse().unwrap());
        let entry = ledger.begin_search(by, "exec:rm".into(), NOW).await.unwrap();
        let (begun, at) = ledger.begun_search(entry).await.unwrap().unwrap();
        assert_eq!(
            (begun.by.as_str(), begun.query.as_str(), at),
            ("ops@example.com", "exec:rm", NOW)
        );
        assert!(ledger.begun_search(1).await.unwrap().is_none(), "another kind of entry");
    }

    /// Takes records in, and says how many, how many of them are not in the index yet, and how long it took.
    async fn taken_in(with_index: bool) -> (u64, u64, std::time::Duration) {
        let (_dir, ledger) = ledger();
        let ledger = std::sync::Arc::new(ledger);
        let whose = host(&ledger, "db1", 7).await;
        let indexing = std::sync::Arc::clone(&ledger);
        let index = async move {
            loop {
                if indexing.unindexed().await.unwrap() >= BLOCK {
                    indexing.index().await.unwrap();
                }
                tokio::time::sleep(crate::index::BETWEEN).await;
            }
        };
        let index = with_index.then(|| tokio::spawn(index));
        let begun = crate::clock::instant();
        let (batches, size) = (400_u64, 100_u64);
        for batch in 0..batches {
            let first = size.saturating_mul(batch).saturating_add(1);
            let records = (first..first.saturating_add(size)).map(|number| {
                let argument = format!("/srv/app/releases/{number}/config.yml");
                record(number, exec("/usr/bin/cat", &["cat", "-n", &argument]))
            });
            ledger.take_records(whose.clone(), records.collect(), NOW).await.unwrap();
        }
        let took = crate::clock::instant().saturating_duration_since(begun);
        if let Some(index) = index {
            index.abort();
        }
        (batches.saturating_mul(size), ledger.unindexed().await.unwrap(), took)
    }

    /// `cargo test --release … -- --ignored --nocapture`: how fast records are taken in, with and without the index.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement, for a quiet machine"]
    async fn how_fast_records_are_taken_in_beside_the_index() {
        for round in 0..3 {
            for with_index in [false, true] {
                let (all, left, took) = taken_in(with_index).await;
                let micros = u64::try_from(took.as_micros()).unwrap();
                let speed = all.saturating_mul(1_000_000).checked_div(micros).unwrap();
                println!(
                    "round {round}, index {with_index}: {speed} records/s, {left} of {all} not indexed"
                );
            }
        }
    }
}
