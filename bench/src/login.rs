//! `login`: what we add to `ssh HOST true`, compared with stock sshd in pairs.
//!
//! The same client enters two hosts of one fleet with the same certificate. One is under Curfew; the other is stock
//! Debian that believes the same authority by `TrustedUserCAKeys` and a file of principals. A round enters stock, ours
//! and stock again, in alternating order: the two stock logins of a round say how much of a difference is noise.

use anyhow::{Result, ensure};
use tests::Host;

use crate::{
    bench::Verdict,
    clock::Stopwatch,
    report::Row,
    sample::Sample,
    stage::{LOGIN, Stage},
};

/// Pairs.
pub(crate) const COUNT: usize = 200;

/// One round, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Round {
    stock: f64,
    ours: f64,
    stock_again: f64,
}

/// Measures both.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let mut stage = Stage::set()?;
    let stock = stock_host(&stage)?;
    for host in [&stock, &stage.host, &stock, &stage.host] {
        enter(&stage, host)?;
    }
    let mut rounds = Vec::new();
    for number in 0..count {
        if number % 100 == 0 {
            stage.prepare()?;
        }
        rounds.push(round(&stage, &stock, number % 2 == 0)?);
    }
    Ok(Verdict { rows: rows(&rounds), broken: Vec::new() })
}

fn round(stage: &Stage, stock: &Host, stock_first: bool) -> Result<Round> {
    if stock_first {
        let first = enter(stage, stock)?;
        let ours = enter(stage, &stage.host)?;
        Ok(Round { stock: first, ours, stock_again: enter(stage, stock)? })
    } else {
        let stock_again = enter(stage, stock)?;
        let ours = enter(stage, &stage.host)?;
        Ok(Round { stock: enter(stage, stock)?, ours, stock_again })
    }
}

/// One login, in milliseconds.
fn enter(stage: &Stage, host: &Host) -> Result<f64> {
    let ssh = stage.ssh(host)?;
    let stopwatch = Stopwatch::start();
    let said = ssh.run(["true"])?;
    let passed = stopwatch.passed();
    said.done()?;
    Ok(passed.as_secs_f64() * 1000.0)
}

/// A host that never heard of Curfew, but believes the same authority.
pub(crate) fn stock_host(stage: &Stage) -> Result<Host> {
    let host = stage.site.fleet.host("stock1")?;
    host.add_user(LOGIN)?;
    host.put("/etc/ssh/user_ca.pub", stage.host.read("/etc/curfew/user_ca.pub")?, 0o644)?;
    let principal = format!("{LOGIN}@{}\n", stage.host.name());
    host.put(&format!("/etc/ssh/principals/{LOGIN}"), principal, 0o644)?;
    host.put("/etc/ssh/sshd_config.d/00-authority.conf", STOCK, 0o644)?;
    host.run(["systemctl", "reload", "ssh"])?.done()?;
    let sessions = stage.host.run(["systemctl", "is-active", "curfew-agent", "curfew-link"])?;
    ensure!(sessions.succeeded(), "the agent or the link is not active");
    Ok(host)
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let sample = |of: fn(&Round) -> f64| Sample::new(rounds.iter().map(of));
    let spread = |name, sample: &Sample| {
        Row::new("login", name)
            .counted("count", sample.count())
            .measured("p50_ms", sample.percentile(50))
            .measured("p99_ms", sample.percentile(99))
            .measured("max_ms", sample.max())
    };
    let added = sample(|round| round.ours - round.stock);
    let noise = sample(|round| round.stock_again - round.stock);
    let difference = Row::new("login", "added")
        .counted("count", added.count())
        .measured("added_p50_ms", added.percentile(50))
        .measured("added_p99_ms", added.percentile(99))
        .measured("promised_p99_ms", PROMISE_MS)
        .measured("noise_p50_ms", noise.percentile(50))
        .measured("noise_p99_ms", noise.percentile(99));
    vec![
        spread("stock sshd", &sample(|round| round.stock)),
        spread("with curfew", &sample(|round| round.ours)),
        difference,
    ]
}

/// The promise: what we add to a login.
const PROMISE_MS: f64 = 10.0;
/// How stock sshd believes an authority.
const STOCK: &str = "\
TrustedUserCAKeys /etc/ssh/user_ca.pub
AuthorizedPrincipalsFile /etc/ssh/principals/%u
";
