//! `kill`: from the order to the last dead process of the session, on one host.
//!
//! Every session is ended by a lock of its own, one at a time, while others of its kind live beside it. Two spans are
//! taken: the host's, from the order's arrival to the last death, and the operator's, from the ledger to the receipt.
//! That nobody is left is not believed but looked up, in the environment of every process, as soon as the command is back.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::eventually_some;

use crate::{
    bench::Verdict,
    case::{Case, Client, Connection, Open},
    report::Row,
    sample::Sample,
    stage::Stage,
};

/// Sessions killed in each case but the storm.
pub(crate) const COUNT: usize = 70;

/// One session's end.
#[derive(Debug, Clone, Copy)]
struct Death {
    host_ms: f64,
    operator_ms: f64,
    killed: usize,
    survivors: usize,
}

/// Measures all cases.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let mut stage = Stage::set()?;
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for case in Case::ALL {
        case.install(&stage.host)?;
        let deaths = deaths(&mut stage, case, count)?;
        let survivors = total(&deaths, |death| death.survivors);
        if survivors > 0 {
            broken.push(format!("{survivors} processes survived: {}", case.name()));
        }
        rows.push(row(case, &deaths));
    }
    let left: usize = stage.census()?.values().sum();
    ensure!(left == 0 || !broken.is_empty(), "{left} processes of dead sessions are still alive");
    Ok(Verdict { rows, broken })
}

fn deaths(stage: &mut Stage, case: Case, count: usize) -> Result<Vec<Death>> {
    let (count, at_once) = match case {
        Case::Storm => (count.div_ceil(STORM_SHARE), 1),
        Case::Shell | Case::Tree | Case::Hidden => (count, AT_ONCE),
    };
    let mut deaths = Vec::new();
    while deaths.len() < count {
        stage.prepare()?;
        let batch = count.saturating_sub(deaths.len()).min(at_once);
        for (open, session) in sessions(stage, case, batch)? {
            deaths.push(death(stage, open.connection(), &session)?);
            drop(open);
        }
    }
    Ok(deaths)
}

/// Opens sessions, and returns when all their processes are there and the agent has named them.
fn sessions(stage: &Stage, case: Case, count: usize) -> Result<Vec<(Open, String)>> {
    let mut open = Vec::new();
    while open.len() < count {
        // No more at once than sshd takes without dropping some (MaxStartups).
        let few = count.saturating_sub(open.len()).min(LOGINS_AT_ONCE);
        let ssh = stage.ssh(&stage.host)?;
        let clients: Vec<Client> = (0..few).map(|_| case.start(&ssh)).collect::<Result<_>>()?;
        for client in clients {
            open.push(client.opened()?);
        }
    }
    eventually_some("every process of the sessions is there", || {
        let alive = stage.census().ok()?;
        let whole = |open: &Open| alive.get(&open.connection().ends) >= Some(&case.processes());
        open.iter().all(whole).then_some(())
    })?;
    let named = names(stage)?;
    open.into_iter()
        .map(|open| {
            let session = session_of(stage, open.connection(), &named)?;
            Ok((open, session.context("the agent does not know a session")?))
        })
        .collect()
}

/// The sessions that the agent knows, by their monitor.
fn names(stage: &Stage) -> Result<BTreeMap<u32, String>> {
    let said = stage.host.run(["curfew-agent", "sessions", "--json"])?.ok()?;
    let sessions: Vec<Value> = serde_json::from_str(said.text())?;
    let name = |session: &Value| {
        let pid = session.pointer("/monitor/pid")?.as_u64()?;
        Some((u32::try_from(pid).ok()?, session.get("id")?.as_str()?.to_owned()))
    };
    Ok(sessions.iter().filter_map(name).collect())
}

/// The session whose monitor is an ancestor of the connection's first process: sshd's half without rights is between them,
/// and what records terminals can be.
fn session_of(
    stage: &Stage,
    connection: &Connection,
    named: &BTreeMap<u32, String>,
) -> Result<Option<String>> {
    let mut pid = connection.parent;
    while pid > 1 {
        if let Some(session) = named.get(&pid) {
            return Ok(Some(session.clone()));
        }
        let status = stage.host.read_text(&format!("/proc/{pid}/status"))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid = parent
            .and_then(|text| text.trim().parse().ok())
            .context("a process without a parent")?;
    }
    Ok(None)
}

/// Kills one session, and looks whether anybody is left.
fn death(stage: &Stage, connection: &Connection, session: &str) -> Result<Death> {
    let lock = ["lock", "session", session, "--reason", "measured", "--json"];
    let said = stage.site.authority.run(lock)?.ok()?;
    let left = stage.census()?.get(&connection.ends).copied().unwrap_or_default();
    let progress: Value = serde_json::from_str(said.text())?;
    let receipt = progress.pointer("/hosts/0/receipt").context("the host gave no receipt")?;
    ensure!(receipt.get("done") == Some(&Value::Bool(true)), "not done: {progress}");
    ensure!(number(receipt, "sessions")? == 1, "the lock ended another number of sessions");
    let told = usize::try_from(number(receipt, "survivors")?)?;
    Ok(Death {
        host_ms: f64::from(number(receipt, "took_micros")?) / 1000.0,
        operator_ms: f64::from(number(&progress, "took_micros")?) / 1000.0,
        killed: usize::try_from(number(receipt, "killed")?)?,
        survivors: left.max(told),
    })
}

fn number(value: &Value, key: &str) -> Result<u32> {
    let number = value.get(key).and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok());
    number.with_context(|| format!("no {key} in {value}"))
}

fn row(case: Case, deaths: &[Death]) -> Row {
    let host = Sample::new(deaths.iter().map(|death| death.host_ms));
    let operator = Sample::new(deaths.iter().map(|death| death.operator_ms));
    Row::new("kill", case.name())
        .counted("count", deaths.len())
        .measured("p50_ms", host.percentile(50))
        .measured("p99_ms", host.percentile(99))
        .measured("max_ms", host.max())
        .measured("promised_p99_ms", case.promise_ms())
        .measured("operator_p50_ms", operator.percentile(50))
        .measured("operator_p99_ms", operator.percentile(99))
        .measured("operator_max_ms", operator.max())
        .counted("killed", total(deaths, |death| death.killed))
        .counted("survivors", total(deaths, |death| death.survivors))
}

fn total(deaths: &[Death], of: fn(&Death) -> usize) -> usize {
    deaths.iter().map(of).sum()
}

/// Sessions that live at the same time.
const AT_ONCE: usize = 20;
/// One storm for so many sessions of another kind: a storm takes seconds to build.
const STORM_SHARE: usize = 7;
/// sshd begins to drop connections at ten that have not logged in yet.
const LOGINS_AT_ONCE: usize = 5;
