//! How the authority is: a page of figures for Prometheus, whether it lives, and whether it can do its work.
//!
//! The page names hosts and no people, and is served on a listener of its own, on this machine alone (`metrics_listen`).
//! `/healthz` and `/readyz` say no more than a word to whoever asks, so that what spreads people and hosts over several nodes
//! can ask them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use wire::ceremony::HostProof;

use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::HostRow;
use crate::metrics::Page;

/// What is served on this machine alone.
pub(crate) fn router(authority: Arc<Authority>) -> Router {
    Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(authority)
}

/// `GET /healthz`: it lives, for it answers.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it can issue and order, as far as can be seen without doing it.
pub(crate) async fn ready(State(authority): State<Arc<Authority>>) -> Response {
    match unready(&authority).await {
        None => "ready\n".into_response(),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

/// Why it cannot do its work. Who asks may be anybody: the log and `curfew-ca status` say more.
async fn unready(authority: &Authority) -> Option<&'static str> {
    match tokio::time::timeout(PATIENCE, authority.ledger.is_there()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "not ready");
            return Some("the ledger cannot be reached");
        }
        Err(_elapsed) => return Some("the ledger does not answer"),
    }
    let keyring = authority.keyring();
    if authority.ledger.absent(&keyring).iter().any(|(_, _, signs)| *signs) {
        return Some("a key is missing here that signs");
    }
    keyring.troubles().next().map(|_trouble| "a key does not sign")
}

/// `GET /metrics`
async fn page(State(authority): State<Arc<Authority>>) -> Result<Response, Refusal> {
    let mut page = Page::default();
    own(&authority, &mut page);
    ledger(&authority, &mut page).await?;
    hosts(&authority, &mut page).await?;
    drills(&authority, &mut page).await?;
    let head = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((head, page.finish()).into_response())
}

/// What this process has counted.
fn own(authority: &Authority, page: &mut Page) {
    let meter = authority.ledger.meter();
    let version = env!("CARGO_PKG_VERSION");
    page.gauges("curfew_ca_info", "The program, by its version.", [(("version", version), 1)]);
    page.histogram(
        "curfew_ca_certificate_seconds",
        "Certificates that were given out: from the request to the answer.",
        &meter.issued,
    );
    page.counters(
        "curfew_ca_certificates_refused_total",
        "Certificates that were not given out.",
        [(("why", "denied"), meter.denied.value()), (("why", "failed"), meter.failed.value())],
    );
    page.histogram(
        "curfew_ca_ledger_commit_seconds",
        "Transactions of the ledger, until they were durable.",
        &meter.commits,
    );
    page.counter(
        "curfew_ca_ledger_jobs_total",
        "Pieces of work that shared these transactions.",
        meter.jobs.value(),
    );
    page.counter(
        "curfew_ca_records_lost_total",
        "Records of what sessions did that hosts say they could not keep, and that this node was told of.",
        meter.lost.value(),
    );
    page.histogram(
        "curfew_ca_order_seconds",
        "Orders, from when they were durable until a connected host had done them.",
        &meter.done,
    );
    // Left out where it cannot be asked.
    if let Ok(found) = rustix::fs::statvfs(&authority.config.state_dir) {
        page.gauge(
            "curfew_ca_state_free_bytes",
            "What is free for the ledger and recordings, in the file system of the state folder.",
            found.f_bavail.saturating_mul(found.f_frsize),
        );
    }
    for (name, help, value) in process() {
        page.gauge(name, help, value);
    }
}

/// What the ledger says.
async fn ledger(authority: &Authority, page: &mut Page) -> Result<(), Refusal> {
    let ledger = &authority.ledger;
    let now = clock::now();
    let size = ledger.checkpoints().borrow().head().size;
    let order = *ledger.orders().borrow();
    let sessions = ledger.session_counts().await?;
    let locks = ledger.locks(now).await?.len();
    let (incidents, _) = ledger.open_incidents().await?;
    let survivors = ledger.survivors().await?.into_iter().map(|(_, _, alive)| alive).sum();
    let troubles = authority.keyring().troubles().count();
    for (name, help, value) in [
        ("curfew_ca_ledger_entries", "Entries of the ledger.", size),
        ("curfew_ca_order_newest", "The number of the newest order.", order),
        ("curfew_ca_sessions", "Sessions that hosts say are open.", sessions.alive),
        ("curfew_ca_sessions_unknown", "Of these, those under no grant of ours.", sessions.unknown),
        ("curfew_ca_locks", "Locks in force.", count(locks)),
        ("curfew_ca_incidents_open", "Incidents that nobody has settled.", incidents),
        (
            "curfew_ca_survivors",
            "Processes that a host could not end when it was ordered to.",
            survivors,
        ),
        ("curfew_ca_keys_in_trouble", "Keys that do not sign.", count(troubles)),
        (
            "curfew_ca_roles_refused",
            "1 while the roles file is refused and older roles are in force.",
            u64::from(authority.roles_refusal().is_some()),
        ),
        (
            "curfew_ca_policy_refused",
            "1 while the policy folder is refused and older policies are in force.",
            u64::from(authority.policy_refusal().is_some()),
        ),
    ] {
        page.gauge(name, help, value);
    }
    Ok(())
}

/// What is known of each host.
async fn hosts(authority: &Authority, page: &mut Page) -> Result<(), Refusal> {
    let now = clock::now();
    let hosts = authority.ledger.hosts().await?;
    let newest = *authority.ledger.orders().borrow();
    let each = |of: &dyn Fn(&HostRow) -> Option<u64>| -> Vec<(String, u64)> {
        hosts.iter().filter_map(|host| Some((host.name.to_string(), of(host)?))).collect()
    };
    let presence = |host: &HostRow| authority.fleet.presence(&host.name);
    for (name, help, rows) in [
        (
            "curfew_ca_host_connected",
            "1 for a host that is connected, to this node or another.",
            each(&|host| Some(u64::from(presence(host).is_some() || host.is_elsewhere(now)))),
        ),
        (
            "curfew_ca_host_orders_outstanding",
            "Orders that a host does not have in force yet.",
            each(&|host| {
                let last = presence(host).map_or(host.last_order, |here| here.last_order);
                Some(newest.saturating_sub(last.max(host.last_order)))
            }),
        ),
        (
            "curfew_ca_host_clock_skew_seconds",
            "How far a host's clock is off, either way.",
            each(&|host| presence(host).map(|here| here.skew_secs)),
        ),
        (
            "curfew_ca_host_seen_timestamp_seconds",
            "When a host was heard of last.",
            each(&|host| Some(presence(host).map_or(host.seen, |here| Some(here.seen))?.secs())),
        ),
        (
            "curfew_ca_host_certificate_end_timestamp_seconds",
            "When a host's SSH certificates end, which it renews by itself.",
            each(&|host| Some(host.certified.as_ref()?.window?.until.secs())),
        ),
        (
            "curfew_ca_host_records_waiting",
            "Records at a host that it has not delivered yet, as it said last.",
            each(&|host| authority.fleet.waiting(&host.name)),
        ),
        (
            "curfew_ca_host_recording_trouble",
            "1 while a host says that it cannot record, or not see, what it should.",
            each(&|host| {
                presence(host).map(|_here| u64::from(authority.fleet.trouble(&host.name).is_some()))
            }),
        ),
    ] {
        page.gauges(name, help, rows.iter().map(|(host, value)| (("host", host.as_str()), *value)));
    }
    Ok(())
}

/// When break-glass was proved to work on each host: used there, or drilled.
async fn drills(authority: &Authority, page: &mut Page) -> Result<(), Refusal> {
    let known = (authority.config.drills, clock::now());
    let proofs = authority.ledger.breakglass(known).await?.hosts;
    let rows = |of: &dyn Fn(&HostProof) -> Option<u64>| -> Vec<(String, u64)> {
        proofs.iter().filter_map(|proof| Some((proof.host.to_string(), of(proof)?))).collect()
    };
    for (name, help, rows) in [
        (
            "curfew_ca_host_breakglass_proved_timestamp_seconds",
            "When somebody last got in on a host by break-glass, in earnest or as a drill.",
            rows(&|proof| Some(proof.alive.max(proof.dead)?.secs())),
        ),
        (
            "curfew_ca_host_breakglass_drill_overdue",
            "1 for a host on which break-glass should have been tried again by now.",
            rows(&|proof| Some(u64::from(proof.is_overdue))),
        ),
    ] {
        page.gauges(name, help, rows.iter().map(|(host, value)| (("host", host.as_str()), *value)));
    }
    Ok(())
}

/// Memory and descriptors, as the kernel counts them; what cannot be read is left out.
fn process() -> Vec<(&'static str, &'static str, u64)> {
    let mut figures = Vec::new();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    if let Some(kib) = resident {
        let bytes = kib.saturating_mul(1024);
        figures.push(("process_resident_memory_bytes", "Memory in use.", bytes));
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        figures.push(("process_open_fds", "Open file descriptors.", count(open.count())));
    }
    figures
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// How long the ledger may take to answer whoever asks whether it does.
const PATIENCE: Duration = Duration::from_secs(2);
