//! `memory`: what the host half takes, idle and with live sessions.
//!
//! Two figures for each process, from `/proc/PID/smaps_rollup`: all that is resident, and its share when pages that are
//! also mapped elsewhere are divided among those who map them (the agent maps the kernel's rings twice, side by side, so that
//! `rss` has them twice). What the kernel keeps for us (maps, buffers) is in neither.

use anyhow::{Context as _, Result};
use tests::{Host, Running, eventually};

use crate::{bench::Verdict, report::Row, stage::Stage};

/// Live sessions in the last case.
pub(crate) const COUNT: usize = 100;

/// What one process takes, in kB.
#[derive(Debug, Clone, Copy)]
struct Taken {
    rss: f64,
    pss: f64,
}

/// Everything that runs all the time.
#[derive(Debug, Clone, Copy)]
struct Parts {
    agent: Taken,
    link: Taken,
    files: Taken,
}

impl Parts {
    const fn all(self) -> [Taken; 3] {
        [self.agent, self.link, self.files]
    }

    fn rss(self) -> f64 {
        self.all().iter().map(|part| part.rss).sum()
    }

    fn pss(self) -> f64 {
        self.all().iter().map(|part| part.pss).sum()
    }
}

/// Measures with 0, `count` / 10 and `count` sessions.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let stage = Stage::set()?;
    let idle = parts(&stage.host)?;
    let mut rows = vec![row(0, idle, idle)];
    let mut sessions = Vec::new();
    for wanted in [count.div_ceil(10), count] {
        open(&stage, &mut sessions, wanted)?;
        rows.push(row(wanted, parts(&stage.host)?, idle));
    }
    Ok(Verdict { rows, broken: Vec::new() })
}

fn open(stage: &Stage, sessions: &mut Vec<Running>, wanted: usize) -> Result<()> {
    while sessions.len() < wanted {
        let few = wanted.saturating_sub(sessions.len()).min(LOGINS_AT_ONCE);
        for _ in 0..few {
            sessions.push(stage.ssh(&stage.host)?.start(["sleep", "86400"])?);
        }
        let open = sessions.len();
        eventually("the sessions are open", || {
            stage.census().is_ok_and(|alive| alive.len() == open)
        })
        .map_err(|error| {
            let ended = sessions
                .iter_mut()
                .filter_map(|session| (!session.is_running()).then(|| session.stderr()));
            let said: String = ended.collect();
            let alive = stage.census().map_or(0, |alive| alive.len());
            anyhow::Error::from(error).context(format!("{alive} of {open} are; ssh said: {said}"))
        })?;
    }
    Ok(())
}

fn parts(host: &Host) -> Result<Parts> {
    let of = |unit| taken(host, unit);
    Ok(Parts { agent: of("curfew-agent")?, link: of("curfew-link")?, files: of("curfew-files")? })
}

fn taken(host: &Host, unit: &str) -> Result<Taken> {
    let pid = host.run(["systemctl", "show", "--property=MainPID", "--value", unit])?.ok()?;
    let rollup = host.read_text(&format!("/proc/{}/smaps_rollup", pid.text()))?;
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        number.with_context(|| format!("no {name} of {unit}"))
    };
    Ok(Taken { rss: field("Rss:")?, pss: field("Pss:")? })
}

fn row(sessions: usize, now: Parts, idle: Parts) -> Row {
    let grown = now.rss() - idle.rss();
    let each = u32::try_from(sessions).ok().filter(|&sessions| sessions > 0);
    Row::new("memory", format!("{sessions} sessions"))
        .counted("count", sessions)
        .measured("agent_rss_mb", now.agent.rss / KB_IN_MB)
        .measured("agent_pss_mb", now.agent.pss / KB_IN_MB)
        .measured("link_rss_mb", now.link.rss / KB_IN_MB)
        .measured("link_pss_mb", now.link.pss / KB_IN_MB)
        .measured("files_rss_mb", now.files.rss / KB_IN_MB)
        .measured("files_pss_mb", now.files.pss / KB_IN_MB)
        .measured("total_rss_mb", now.rss() / KB_IN_MB)
        .measured("total_pss_mb", now.pss() / KB_IN_MB)
        .measured("per_session_kb", each.map_or(0.0, |sessions| grown / f64::from(sessions)))
}

/// As `/proc` counts.
const KB_IN_MB: f64 = 1024.0;
/// sshd begins to drop connections at ten that have not logged in yet.
const LOGINS_AT_ONCE: usize = 5;
