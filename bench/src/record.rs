//! `record`: what recording costs a build that starts very many programs, compared with stock sshd in one run.
//!
//! The same script runs on two hosts of one fleet, one under Curfew and one of stock Debian, in turns. Counted are the time
//! that it takes, the processor time of the whole machine meanwhile, and that of the agent and the link, from the first
//! program until the authority has every record. Hosts in namespaces have no audit of the kernel's: auditd is not measured.

use anyhow::{Context as _, Result};
use tests::{Host, eventually};

use crate::{bench::Verdict, clock::Stopwatch, cpu, login::stock_host, report::Row, stage::Stage};

/// Programs that are started on each host.
pub(crate) const COUNT: usize = 20_000;

/// What the script took.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    seconds: f64,
    machine: f64,
}

/// Measures both.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let mut stage = Stage::set()?;
    let stock = stock_host(&stage)?;
    let each = count.div_ceil(ROUNDS);
    for host in [&stock, &stage.host] {
        host.put("/usr/local/bin/build", BUILD, 0o755)?;
        run(&stage, host, each.div_ceil(20))?;
    }
    let before = ours(&stage.host)?;
    let (mut plain, mut recorded) = (Took::default(), Took::default());
    for round in 0..ROUNDS {
        stage.prepare()?;
        let take = |took: &mut Took, host: &Host| -> Result<()> {
            let one = run(&stage, host, each)?;
            took.seconds += one.seconds;
            took.machine += one.machine;
            Ok(())
        };
        if round % 2 == 0 {
            take(&mut plain, &stock)?;
            take(&mut recorded, &stage.host)?;
        } else {
            take(&mut recorded, &stage.host)?;
            take(&mut plain, &stock)?;
        }
    }
    eventually("the authority has every record", || {
        let said = stage.host.run(["curfew-agent", "status", "--json"]);
        said.is_ok_and(|said| {
            said.text().contains("\"spooled\":0") || said.text().contains("\"spooled\": 0")
        })
    })?;
    let spent = ours(&stage.host)? - before;
    let lost: u64 = stage.lost()?;
    let started = u32::try_from(each.saturating_mul(ROUNDS)).context("fewer programs")?;
    let row = |case: &str, took: Took| {
        Row::new("record", case)
            .counted("count", each.saturating_mul(ROUNDS))
            .measured("seconds", took.seconds)
            .measured("machine_cpu_seconds", took.machine)
            .measured("exec_per_s", f64::from(started) / took.seconds)
    };
    let difference = Row::new("record", "added")
        .measured("ratio_of_time", recorded.seconds / plain.seconds)
        .measured("ratio_of_machine_cpu", recorded.machine / plain.machine)
        .measured("agent_and_link_cpu_seconds", spent)
        .measured("agent_and_link_share_percent", 100.0 * spent / plain.machine)
        .counted("lost", usize::try_from(lost).unwrap_or(usize::MAX));
    let rows = vec![row("stock sshd", plain), row("recorded", recorded), difference];
    Ok(Verdict { rows, broken: Vec::new() })
}

fn run(stage: &Stage, host: &Host, count: usize) -> Result<Took> {
    let ssh = stage.ssh(host)?;
    let (stopwatch, before) = (Stopwatch::start(), cpu::machine()?);
    ssh.run(["build", &count.to_string()])?.done()?;
    Ok(Took { seconds: stopwatch.passed().as_secs_f64(), machine: cpu::machine()? - before })
}

/// Processor time of the agent and the link so far, in seconds.
fn ours(host: &Host) -> Result<f64> {
    let mut sum = 0.0;
    for unit in ["curfew-agent", "curfew-link"] {
        let show = ["systemctl", "show", "--property=MainPID", "--value", unit];
        let pid = host.run(show)?.ok()?.text().to_owned();
        sum += cpu::of_stat(&host.read_text(&format!("/proc/{pid}/stat"))?)?;
    }
    Ok(sum)
}

/// Two of each, in turns.
const ROUNDS: usize = 4;
/// Starts so many programs, one after the other, as a build does.
const BUILD: &str =
    "#!/bin/sh\ni=0\nwhile [ $i -lt $1 ]; do /bin/true -c file$i.c -o file$i.o; i=$((i+1)); done\n";
