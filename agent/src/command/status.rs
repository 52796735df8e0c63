//! `curfew-agent status`: the status socket, read and told.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use wire::frame::{Decoder, MAX_FRAME};
use wire::hostlink::ProofMode;
use wire::krl::signed::KrlStanding;
use wire::log::Note;
use wire::record::Tier;
use wire::renewal::Standing;
use wire::time::Timestamp;

use super::{Exit, table};
use crate::config::Config;
use crate::revocation::LocalLock;
use crate::status::{Extent, Files, Status};

/// The agent's status socket gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the agent does not answer on {path} ({source}); see `systemctl status curfew-agent`")]
pub(crate) struct NoAnswer {
    path: PathBuf,
    source: std::io::Error,
}

pub(crate) fn perform(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let status = read(config)?;
    if json {
        table::say_json(&status)?;
        return Ok(Exit::Ok);
    }
    let tier = match &status.tier {
        Tier::Full => "full".to_owned(),
        Tier::Degraded { reason } => format!("degraded: {reason}"),
    };
    let authority =
        if status.connected { "connected" } else { "out of reach; limits stay in force" };
    table::say(&format!(
        "host       {}\nauthority  {} ({authority})\nsees       {tier}\norders     up to {} in force, {} locks\n\
         KRL        {}\nledger     {}\nrecords    {}\nrecordings {}\nfiles      {}\ncertified  {}\nsessions   {}\nrefused    {}",
        status.host,
        config.authority,
        status.last_order,
        status.locks,
        krl(status.krl.as_ref()),
        ledger(&status),
        records(&status),
        recordings(&status),
        files(&status.files),
        life(&status.certificates, status.at),
        status.sessions.len(),
        denials(&status)
    ))?;
    for line in local(&status) {
        table::say(&line)?;
    }
    if let Some(concern) = &status.concern {
        table::say(&format!("\n! {concern}"))?;
    }
    if let Some(dispute) = &status.dispute {
        table::say(&format!(
            "  known:\n{}\n  offered:\n{}\n  decide with `curfew-agent settle --accept|--keep --reason …`",
            indented(&dispute.known),
            indented(&dispute.offered)
        ))?;
    }
    Ok(Exit::Ok)
}

/// How many records wait, and how much of the disk they take.
fn records(status: &Status) -> String {
    let waiting = format!("{} not yet at the authority", status.spooled);
    match status.spool {
        Some(Extent { bytes, quota }) if status.spooled > 0 => {
            format!("{waiting}; {} of {} MiB", bytes.div_ceil(1 << 20), quota >> 20)
        }
        _ => waiting,
    }
}

/// This host's own locks, each with what put it in force.
fn local(status: &Status) -> Vec<String> {
    let lock = |LocalLock { source, lock }: &LocalLock| {
        let ends = match lock.until {
            None => String::new(),
            Some(until) if lock.holds_at(status.at) => {
                format!(", for {} more", rough(until.since(status.at)))
            }
            Some(_) => ", which has ended".to_owned(),
        };
        let (target, reason) = (&lock.target, &lock.reason);
        format!("locked     {target}{ends}: {reason} ({})", source.escape_debug())
    };
    let refused =
        status.local_trouble.iter().map(|why| format!("\n! not in force: {}", why.escape_debug()));
    status.local_locks.iter().map(lock).chain(refused).collect()
}

/// Logins that were refused, and the newest of them.
fn denials(status: &Status) -> String {
    let total = status.denials.total;
    if total == 0 {
        return "no login since the agent started".to_owned();
    }
    let mut text = format!("{total} logins since the agent started; `curfew attempts` has all");
    for denied in status.denials.newest.iter().rev().take(3) {
        let refused = &denied.refused;
        text.push_str(&format!(
            "\n           {} ago, {} from {}: {}",
            table::span(status.at.since(denied.at)),
            refused.login.display(),
            if refused.remote.is_empty() { "somewhere" } else { &refused.remote },
            wire::octets::plain(&refused.reason)
        ));
    }
    text
}

/// How recordings of terminals stand.
fn recordings(status: &Status) -> String {
    let waiting = format!("{} not yet whole at the authority", status.recordings);
    match &status.recordings_full {
        None => waiting,
        Some(why) => format!("{waiting}; NOTHING MORE IS KEPT that need not be: {why}"),
    }
}

/// Whether files that sessions write are seen.
fn files(files: &Files) -> String {
    match (&files.trouble, files.missed.len()) {
        (Some(trouble), _) => format!("NOT SEEN when they are written: {trouble}"),
        (None, 0) if files.filesystems == 0 => "not seen yet when they are written".to_owned(),
        (None, 0) => format!("seen when they are written, on {} file systems", files.filesystems),
        (None, _) => format!(
            "seen when they are written, on {} file systems, and not on: {}",
            files.filesystems,
            files.missed.join("; ")
        ),
    }
}

fn krl(standing: Option<&KrlStanding>) -> String {
    match standing {
        None => "nobody keeps the list of revoked keys; see the agent's log".to_owned(),
        Some(KrlStanding { version: 0, trouble: None }) => "none from the authority yet".to_owned(),
        Some(KrlStanding { version, trouble: None }) => format!("{version}, read by sshd"),
        Some(KrlStanding { version, trouble: Some(trouble) }) => format!("{version}; {trouble}"),
    }
}

fn ledger(status: &Status) -> String {
    let known = match status.tree {
        Some(head) => format!("{} entries under {}", head.size, head.root),
        None => "no checkpoint yet".to_owned(),
    };
    let waits = match status.unshown {
        0 => String::new(),
        count => format!(", {count} trees wait to be shown"),
    };
    let mode = match status.proof {
        Some(ProofMode::Require) => "; proofs are required",
        Some(ProofMode::Report) => "; proofs are only reported",
        Some(ProofMode::Unpinned) | None => "; proofs cannot be checked",
    };
    format!("{known}{waits}{mode}")
}

/// A checkpoint as it is signed, for comparing with what other hosts and witnesses have.
fn indented(note: &Note) -> String {
    let note = note.to_string();
    note.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// How long this host's SSH certificates are good for, and what keeps the next from coming.
fn life(standing: &Standing, now: Timestamp) -> String {
    let left = match standing.until {
        None => "this host has no SSH certificates".to_owned(),
        Some(until) if until <= now => {
            "SSH certificates have ended: ssh refuses this host".to_owned()
        }
        Some(until) => format!("SSH certificates end in {}", rough(until.since(now))),
    };
    match &standing.problem {
        None => left,
        Some(problem) => format!("{left}; {problem}"),
    }
}

/// Days, hours, minutes or seconds, the largest that there is one of.
fn rough(span: Duration) -> String {
    let secs = span.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(size, _)| secs >= *size).unwrap_or((1, "s"));
    format!("{} {}", secs.checked_div(unit.0).unwrap_or(secs), unit.1)
}

pub(crate) fn read(config: &Config) -> anyhow::Result<Status> {
    read_at(&config.run_dir.join("status.sock"))
}

/// What the agent says on this socket.
pub(crate) fn read_at(path: &Path) -> anyhow::Result<Status> {
    let no_answer = |source| NoAnswer { path: path.into(), source };
    let mut stream = UnixStream::connect(path).map_err(no_answer)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(no_answer)?;
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut bytes = [0; 4096];
    loop {
        if let Some(status) = decoder.take().context("the agent answered in another form")? {
            return Ok(status);
        }
        let count = stream.read(&mut bytes).map_err(no_answer)?;
        if count == 0 {
            return Err(no_answer(std::io::ErrorKind::UnexpectedEof.into()).into());
        }
        decoder.push(bytes.get(..count).unwrap_or_default());
    }
}
