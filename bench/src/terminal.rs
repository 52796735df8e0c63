//! `terminal`: what a recorder costs who sits at a terminal, compared with stock sshd in one run.
//!
//! The same client enters two hosts of one fleet with the same certificate: one under Curfew whose role has terminals
//! recorded, the other stock Debian. Latency is from a key that is typed until the terminal shows it, in pairs; throughput is
//! a file that is shown whole.

use anyhow::{Context as _, Result};
use tests::{Host, Terminal};

use crate::{
    bench::Verdict, clock::Stopwatch, login::stock_host, report::Row, sample::Sample, stage::Stage,
};

/// Keys, on each host.
pub(crate) const COUNT: usize = 500;

/// Measures both.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let stage = Stage::set_with(ROLES)?;
    stage.host.sh("echo 'recording_quota = \"8GiB\"' >> /etc/curfew/agent.toml")?.done()?;
    stage.host.run(["systemctl", "restart", "curfew-agent"])?.done()?;
    stage.site.wait_until_connected(stage.host.name())?;
    let stock = stock_host(&stage)?;
    let mut rows = latency(&stage, &stock, count)?;
    rows.extend(throughput(&stage, &stock)?);
    Ok(Verdict { rows, broken: Vec::new() })
}

fn latency(stage: &Stage, stock: &Host, count: usize) -> Result<Vec<Row>> {
    let mut shells = [shell(stage, stock)?, shell(stage, &stage.host)?];
    let mut taken: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for number in 0..count {
        let mark = format!("{}", number % 10);
        // In turns, so that what else the machine does falls on both alike.
        for (shell, taken) in shells.iter_mut().zip(&mut taken) {
            let stopwatch = Stopwatch::start();
            shell.type_text(&mark)?;
            shell.wait_for(&mark)?;
            taken.push(stopwatch.passed().as_secs_f64() * 1000.0);
        }
    }
    let [stock, ours] = taken;
    let added = Sample::new(ours.iter().zip(&stock).map(|(ours, stock)| ours - stock));
    let row = |case: &str, sample: &Sample| {
        Row::new("terminal", case)
            .counted("count", sample.count())
            .measured("p50_ms", sample.percentile(50))
            .measured("p99_ms", sample.percentile(99))
    };
    let (stock, ours) = (Sample::new(stock), Sample::new(ours));
    let difference = Row::new("terminal", "key, added")
        .counted("count", added.count())
        .measured("added_p50_ms", added.percentile(50))
        .measured("added_p99_ms", ours.percentile(99) - stock.percentile(99))
        .measured("paired_added_p99_ms", added.percentile(99));
    Ok(vec![row("key, stock sshd", &stock), row("key, recorded", &ours), difference])
}

/// A shell that echoes what is typed and does nothing else.
fn shell(stage: &Stage, host: &Host) -> Result<Terminal> {
    let mut shell = stage.ssh(host)?.terminal(["echo re''ady; exec cat > /dev/null"])?;
    shell.wait_for("ready")?;
    Ok(shell)
}

fn throughput(stage: &Stage, stock: &Host) -> Result<Vec<Row>> {
    let make = format!(
        "seq -f 'line %.0f of a log that somebody reads' 1000000000 | head -c {BYTES} > /tmp/big; chmod 644 /tmp/big"
    );
    let mut passed = Vec::new();
    for host in [stock, &stage.host] {
        host.sh(&make)?.done()?;
    }
    for host in [stock, &stage.host] {
        let ssh = stage.ssh(host)?.with(["-tt", "-e", "none"]);
        let stopwatch = Stopwatch::start();
        let said = ssh.run(["stty -opost; cat /tmp/big"])?;
        let seconds = stopwatch.passed().as_secs_f64();
        anyhow::ensure!(said.stdout.len() >= SHOWN, "{} bytes were shown", said.stdout.len());
        passed.push(seconds);
    }
    let [stock, ours] = <[f64; 2]>::try_from(passed).ok().context("two hosts were measured")?;
    let rate = |seconds: f64| MEGABYTES / seconds;
    Ok(vec![
        Row::new("terminal", "1 GB, stock sshd").measured("mb_per_s", rate(stock)),
        Row::new("terminal", "1 GB, recorded")
            .measured("mb_per_s", rate(ours))
            .measured("ratio_to_stock", stock / ours),
    ])
}

const BYTES: u64 = 1_000_000_000;
const SHOWN: usize = 1_000_000_000;
const MEGABYTES: f64 = 1_000.0;
const ROLES: &str = r#"[role.recorded]
members = ["ana@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
abilities = ["pty"]
recording = { level = "full", need = "required" }
"#;
