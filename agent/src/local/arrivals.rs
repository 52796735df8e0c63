//! Logins by daemons that asked nobody: an sshd of its own settings without PAM, dropbear, telnetd. Neither PAM nor logind hears
//! of them, so they are looked for among the processes: whatever runs below such a daemon and is not the daemon itself.
//!
//! What this does not see: a daemon under another name, whoever is in for less than two seconds, and logins within containers,
//! which are the container's. What somebody starts within a session of ours carries its tag, whatever daemon it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use wire::time::Uptime;

use crate::kernel::{Look, Stat};

/// Somebody who came in by a daemon of logins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// The process that serves their connection, and when it started, in ticks after boot.
    pub connection: (u32, u64),
    /// The first process below that is not the daemon's own.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// What the daemon calls itself.
    pub daemon: String,
}

/// A process, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    parent: u32,
    start_ticks: u64,
    comm: String,
}

/// Everybody who is in by such a daemon now, whom logind does not know by one of the `leaders`.
#[must_use]
pub fn arrivals(leaders: &BTreeSet<u32>, now: Uptime) -> BTreeSet<Arrival> {
    let seen = everyone();
    let mut found = BTreeSet::new();
    for (connection, pid) in entered(&seen, now) {
        let Some(root) = seen.get(&connection) else { continue };
        if leaders.contains(&connection)
            || found.iter().any(|it: &Arrival| it.connection.0 == connection)
        {
            continue;
        }
        // Its user is read for few: those that are in.
        let Ok(Some(look)) = Look::at(pid) else { continue };
        if look.is_apart() {
            continue;
        }
        found.insert(Arrival {
            connection: (connection, root.start_ticks),
            pid,
            uid: look.uid(),
            daemon: root.comm.clone(),
        });
    }
    found
}

fn everyone() -> BTreeMap<u32, Seen> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = Stat::read(pid).ok()??;
        let (parent, start_ticks) = (stat.ppid, stat.process.start_ticks());
        let comm = stat.process.comm().to_owned();
        stat.is_alive().then_some((pid, Seen { parent, start_ticks, comm }))
    })
    .collect()
}

/// Connections of daemons, each with a process below that is none of the daemon's own and has been there for a while: what
/// sshd asks while somebody logs in is over sooner.
fn entered(seen: &BTreeMap<u32, Seen>, now: Uptime) -> Vec<(u32, u32)> {
    let is_daemon = |pid: u32| seen.get(&pid).is_some_and(|it| DAEMONS.contains(&it.comm.as_str()));
    let has_settled = |it: &Seen| {
        let began = Uptime::from_nanos(it.start_ticks.saturating_mul(NANOS_PER_TICK));
        now.since(began) >= SETTLED
    };
    let entered = seen
        .iter()
        .filter(|(pid, it)| is_daemon(it.parent) && !is_daemon(**pid) && has_settled(it));
    entered.map(|(pid, it)| (connection(seen, it.parent, &is_daemon), *pid)).collect()
}

/// From a daemon's process up to the one that serves this connection alone: below the one that listens for all.
fn connection(seen: &BTreeMap<u32, Seen>, daemon: u32, is_daemon: &impl Fn(u32) -> bool) -> u32 {
    let parent = |pid: u32| seen.get(&pid).map_or(0, |it| it.parent);
    let mut here = daemon;
    while is_daemon(parent(here)) && is_daemon(parent(parent(here))) {
        here = parent(here);
    }
    // `here` listens when nothing of the daemon is above it and something serves below: the daemon that asked is that.
    here
}

/// What daemons of logins call themselves (`/proc/PID/comm`).
const DAEMONS: [&str; 8] = [
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "tinysshd",
    "telnetd",
    "in.telnetd",
    "rlogind",
];
/// How long somebody must be in before they count.
const SETTLED: Duration = Duration::from_secs(2);
const NANOS_PER_TICK: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn world(rows: &[(u32, u32, &str)]) -> BTreeMap<u32, Seen> {
        let seen = |(pid, parent, comm): &(u32, u32, &str)| {
            (*pid, Seen { parent: *parent, start_ticks: 100, comm: (*comm).to_owned() })
        };
        rows.iter().map(seen).collect()
    }

    fn at(secs: u64) -> Uptime {
        Uptime::from_nanos(secs.saturating_mul(1_000_000_000))
    }

    #[test]
    fn who_runs_below_a_daemon_is_in_by_the_process_that_serves_them() {
        let openssh = [
            (1, 0, "systemd"),
            (10, 1, "sshd"),
            (20, 10, "sshd"),
            (21, 20, "sshd"),
            (22, 21, "bash"),
            (23, 22, "sleep"),
            (30, 10, "sshd"),
            (31, 30, "sshd"),
        ];
        assert_eq!(entered(&world(&openssh), at(60)), [(20, 22)]);
        let dropbear =
            [(1, 0, "systemd"), (10, 1, "dropbear"), (20, 10, "dropbear"), (21, 20, "sh")];
        assert_eq!(entered(&world(&dropbear), at(60)), [(20, 21)]);
        let alone = [(1, 0, "systemd"), (10, 1, "dropbear"), (21, 10, "sh")];
        assert_eq!(entered(&world(&alone), at(60)), [(10, 21)], "one that serves what came to it");
    }

    #[test]
    fn what_a_daemon_asks_while_somebody_logs_in_is_nobody() {
        let asking =
            [(1, 0, "systemd"), (10, 1, "sshd"), (20, 10, "sshd"), (22, 20, "curfew-principa")];
        assert_eq!(entered(&world(&asking), at(2)), []);
        assert_eq!(entered(&world(&asking), at(3)), [(20, 22)]);
        assert_eq!(
            entered(&world(&[(1, 0, "systemd"), (9, 1, "nginx"), (11, 9, "sh")]), at(9)),
            []
        );
    }
}
