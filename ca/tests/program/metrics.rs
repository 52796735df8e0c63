//! Figures for Prometheus, and the words for what spreads people over nodes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wire::hostlink::{Heartbeat, ToAuthority, ToHost};
use wire::problem::Code;
use wire::record::{Event, Loss};

use crate::authority::{Authority, run, settings};
use crate::certificate::{ask, issue};
use crate::link::{greeted, now, record};
use crate::nodes::eventually;
use crate::postgres::{Database, Server};

const LISTEN: &str = "metrics_listen = \"127.0.0.1:0\"\n";

/// The value of a line of the page.
fn value(page: &str, line: &str) -> u64 {
    let found = page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{line} in {page}"))
}

#[tokio::test]
async fn what_was_issued_refused_and_ordered_is_counted() {
    let authority = Authority::start_with(LISTEN, None);
    authority.add("ana", 1, &[]);
    let host = authority.host("db1").await;
    let (_frames, _) = greeted(&authority, &host, 0).await;
    let token = authority.login("ana", 1).await.unwrap();
    for _ in 0..3 {
        issue(&authority, &token, &ask("db1")).await.unwrap();
    }
    let denied = issue(&authority, &token, &ask("elsewhere")).await.unwrap_err();
    assert_eq!(denied.code, Code::Denied);
    let (status, page) = authority.figures("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(value(&page, "curfew_ca_certificate_seconds_count"), 3);
    assert_eq!(value(&page, "curfew_ca_certificates_refused_total{why=\"denied\"}"), 1);
    assert_eq!(value(&page, "curfew_ca_host_connected{host=\"db1\"}"), 1);
    assert_eq!(value(&page, "curfew_ca_incidents_open"), 0);
    let size = authority.fetch("/checkpoint").await.unwrap();
    let size: u64 = std::str::from_utf8(&size).unwrap().lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(value(&page, "curfew_ca_ledger_entries"), size);
    assert!(value(&page, "curfew_ca_ledger_commit_seconds_bucket{le=\"+Inf\"}") > 3);
    // Every figure has its head, once, and nobody's name is on the page.
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert_eq!(page.matches(&format!("# TYPE {name} ")).count(), 1, "{line}");
    }
    assert!(!page.contains("ana"), "{page}");
    // An order that no host has yet.
    authority.run(&["lock", "identity", "ana", "--reason", "test"]);
    let (_, page) = authority.figures("/metrics").await;
    assert_eq!(value(&page, "curfew_ca_host_orders_outstanding{host=\"db1\"}"), 1);
    assert_eq!(value(&page, "curfew_ca_locks"), 1);
    assert_eq!(authority.figures("/v1/hosts").await.0, 404);
}

#[tokio::test]
async fn what_waits_at_a_host_what_it_lost_and_what_it_lacks_is_shown() {
    let authority = Authority::start_with(LISTEN, None);
    let host = authority.host("db1").await;
    let (mut frames, _) = greeted(&authority, &host, 0).await;
    let (_, page) = authority.figures("/metrics").await;
    assert!(!page.contains("curfew_ca_host_records_waiting{"), "it has not said");
    assert_eq!(value(&page, "curfew_ca_host_recording_trouble{host=\"db1\"}"), 0);
    assert_eq!(value(&page, "curfew_ca_host_breakglass_drill_overdue{host=\"db1\"}"), 0);
    let loss = |number| record(number, Event::Loss(Loss { after: 1, missing: 7 }));
    // One comes twice, as after a connection that broke.
    for records in [vec![loss(1)], vec![loss(1), loss(2)]] {
        frames.send(&ToAuthority::Records(records)).await;
        assert!(matches!(frames.next().await, Some(ToHost::Acknowledged(_))));
    }
    let beat = Heartbeat {
        at: now(&authority).await,
        sessions: 0,
        spooled: 41,
        last_order: None,
        krl: None,
        certificates: None,
        keys: None,
        trouble: Some("its disk takes no records".into()),
        group_keys: None,
    };
    frames.send(&ToAuthority::Heartbeat(beat)).await;
    eventually(async || {
        let (_, page) = authority.figures("/metrics").await;
        page.contains("curfew_ca_host_records_waiting{host=\"db1\"} 41\n")
    })
    .await;
    let (_, page) = authority.figures("/metrics").await;
    assert_eq!(value(&page, "curfew_ca_host_recording_trouble{host=\"db1\"}"), 1);
    assert_eq!(value(&page, "curfew_ca_records_lost_total"), 14);
}

#[tokio::test]
async fn a_node_without_its_database_lives_and_is_not_ready() {
    let database = Database::on(Server::start());
    let table = format!("{LISTEN}ledger = {{ url = {:?} }}\n", database.url());
    let authority = Authority::start_with(&table, Some(database.clone()));
    assert_eq!(authority.figures("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(authority.fetch("/readyz").await.unwrap(), "ready\n");
    database.server().halt();
    let (status, why) = authority.figures("/readyz").await;
    assert_eq!((status, why.as_str()), (503, "not ready: the ledger cannot be reached\n"));
    assert!(authority.fetch("/readyz").await.is_err());
    assert_eq!(authority.figures("/healthz").await.0, 200);
    database.server().resume();
    eventually(async || authority.figures("/readyz").await.0 == 200).await;
}

#[test]
fn figures_stay_on_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{}metrics_listen = \"0.0.0.0:7444\"\n", settings(dir.path()));
    std::fs::write(dir.path().join("ca.toml"), config).unwrap();
    let checked = run(dir.path(), &["check"]);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.contains("is not of this machine alone"), "{said}");
}

#[tokio::test]
async fn alert_rules_fire_when_they_should_on_figures_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring");
    judge(&folder, &["check", "rules", "curfew.rules.yml"], "");
    judge(&folder, &["test", "rules", "curfew.rules.test.yml"], "");
    let authority = Authority::start_with(LISTEN, None);
    let host = authority.host("db1").await;
    let (_frames, _) = greeted(&authority, &host, 0).await;
    let (_, page) = authority.figures("/metrics").await;
    judge(&folder, &["check", "metrics"], &page);
    let is_there = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let name = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        // A host of the tests has no certificates yet.
        page.contains(&format!("# TYPE {name} ")) || name.contains("host_certificate_end")
    };
    for file in ["curfew.rules.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let words = text.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
        let figures: Vec<&str> =
            words.filter(|word| word.starts_with("curfew_ca_") && word.len() > 10).collect();
        assert!(figures.len() > 10, "{file}: {figures:?}");
        for figure in figures {
            assert!(is_there(figure), "{file} speaks of {figure}, which is not on the page");
        }
    }
    let dashboard = std::fs::read(folder.join("grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

/// Prometheus' own judge has nothing against it.
fn judge(folder: &Path, arguments: &[&str], input: &str) {
    let cache = std::env::var_os("CURFEW_TEST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/curfew"))).unwrap();
    let promtool = cache.join("prometheus/usr/bin/promtool");
    assert!(promtool.exists(), "no promtool: cargo xtask setup");
    let mut child = Command::new(promtool)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "promtool {arguments:?}: {said:?}");
}
