//! `curfew-agent run`: opens, listens, and turns the one loop. It decides nothing.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::unistd::User;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use wire::hostlink::HEARTBEAT_SECS;
use wire::time::Uptime;

use crate::channel::{self, Said};
use crate::clock::now;
use crate::config::Config;
use crate::feed::{self, Fed};
use crate::files::{self, Word};
use crate::host::{Host, HostError, recorder_uid};
use crate::journal::Follower;
use crate::krl::keeper::{Keeper, Report};
use crate::local::PROGRAMS;
use crate::local::watch::{Places, Reading, Watch};
use crate::socket::{SocketError, listen, listen_to_all, write_frame};
use crate::sshd::{self, Asked};
use crate::sshd_log::Entry;
use crate::status::Status;
use crate::supervisor;

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Only root can tag, see and end sessions.
    #[error(
        "curfew-agent run must be started by root; systemd does (`systemctl start curfew-agent`)"
    )]
    NotRoot,
    /// The host's state cannot be opened.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A folder of the agent cannot be made, or the runtime fails.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// The doors through which the loop is fed.
struct Doors {
    gate: mpsc::Receiver<Asked>,
    feed: mpsc::Receiver<Fed>,
    status: mpsc::Receiver<oneshot::Sender<Status>>,
    lists: mpsc::UnboundedReceiver<Report>,
    local: mpsc::UnboundedReceiver<Reading>,
    log: mpsc::Receiver<Entry>,
    _follower: Follower,
    channels: mpsc::Receiver<Said>,
    files: mpsc::UnboundedReceiver<Word>,
    kernel: Option<AsyncFd<Readiness>>,
}

/// The kernel room's descriptor, borrowed for waiting; the room outlives it.
#[derive(Debug)]
struct Readiness(RawFd);

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Runs until it is told to stop.
///
/// # Errors
/// When it cannot begin. After that it goes on, whatever happens, and says what failed.
pub async fn run(config: &Config) -> Result<(), RunError> {
    if !rustix::process::geteuid().is_root() {
        return Err(RunError::NotRoot);
    }
    make_folders(config)?;
    let mut host = Host::open(config)?;
    let lists = keep_lists(config, &mut host)?;
    let local = keep_local(config, &mut host)?;
    let doors = open_doors(config, &host, (lists, local))?;
    let failed = |source| RunError::Io { what: "cannot hear signals", source };
    let mut stop = signal(SignalKind::terminate()).map_err(failed)?;
    supervisor::ready();
    tracing::info!("ready: {}", host.standing());
    let end = tokio::select! {
        end = turn(&mut host, doors) => end,
        _ = stop.recv() => Ok(()),
    };
    host.count_out(now());
    host.settle(now().up);
    host.sync();
    host.note_recordings();
    tracing::info!("stopping; sessions go on and are taken up again by the next start");
    end
}

fn make_folders(config: &Config) -> Result<(), RunError> {
    use std::os::unix::fs::DirBuilderExt as _;
    for (folder, mode) in [
        (config.run_dir.clone(), 0o755),
        (config.run_dir.join("sessions"), 0o700),
        (config.run_dir.join("logins"), 0o755),
        (config.run_dir.join("trees"), 0o700),
        (config.state_dir.join("spool"), 0o700),
    ] {
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(mode).create(folder);
        made.map_err(|source| RunError::Io { what: "cannot make the agent's folders", source })?;
    }
    Ok(())
}

/// Before anybody is let in: the list that sshd reads is in place.
fn keep_lists(
    config: &Config,
    host: &mut Host,
) -> Result<mpsc::UnboundedReceiver<Report>, RunError> {
    let (desk, lists) = mpsc::unbounded_channel();
    let (keeper, first) = Keeper::start(&config.state_dir, desk).map_err(|source| {
        RunError::Io { what: "cannot start the thread that keeps the list of revoked keys", source }
    })?;
    host.keep_lists(keeper, first, now());
    Ok(lists)
}

/// Before anybody is let in: the host's own locks are in force.
fn keep_local(
    config: &Config,
    host: &mut Host,
) -> Result<mpsc::UnboundedReceiver<Reading>, RunError> {
    let (desk, local) = mpsc::unbounded_channel();
    let places = Places {
        locks: config.locks_dir.clone(),
        etc: "/etc".into(),
        follow_accounts: config.follow_accounts,
        logins: "/run/systemd/sessions".into(),
        units: crate::host::TRANSIENT_UNITS.into(),
        root: "/".into(),
        kept: config.state_dir.join("accounts.json"),
        programs: config.state_dir.join(PROGRAMS),
    };
    let (watch, first) = Watch::start(places, desk).map_err(|source| RunError::Io {
        what: "cannot start the thread that looks at this host's own locks",
        source,
    })?;
    host.keep_local(watch, first, now());
    Ok(local)
}

fn open_doors(
    config: &Config,
    host: &Host,
    (lists, local): (mpsc::UnboundedReceiver<Report>, mpsc::UnboundedReceiver<Reading>),
) -> Result<Doors, RunError> {
    let failed = |source| RunError::Io { what: "cannot wait for the kernel's events", source };
    let kernel = host.readiness().map(wait_on).transpose().map_err(failed)?;
    let (gate_in, gate) = mpsc::channel(64);
    let (feed_in, feed) = mpsc::channel(64);
    let (status_in, status) = mpsc::channel(4);
    let link_uid = User::from_name(LINK_USER).ok().flatten().map(|user| user.uid.as_raw());
    let listener = |name: &str, group| listen(&config.run_dir.join(name), group);
    tokio::task::spawn_local(sshd::serve(listener("gate.sock", Some(GATE_GROUP))?, gate_in));
    tokio::task::spawn_local(feed::serve(
        listener("link.sock", Some(LINK_USER))?,
        link_uid,
        feed_in,
    ));
    tokio::task::spawn_local(say_status(listener("status.sock", None)?, status_in));
    let (channels_in, channels) = mpsc::channel(64);
    let socket = listen_to_all(&config.run_dir.join("channel.sock"))?;
    tokio::task::spawn_local(channel::serve(socket, recorder_uid(), channels_in));
    let (log_in, log) = mpsc::channel(64);
    let follower = Follower::start(config.run_dir.join("journal.cursor"), log_in);
    let follower = follower.map_err(|source| RunError::Io {
        what: "cannot start the thread that follows sshd's log",
        source,
    })?;
    let (files_in, files) = mpsc::unbounded_channel();
    files::start(&config.run_dir, config.sensitive_files.clone(), files_in).map_err(|source| {
        RunError::Io { what: "cannot start the thread that asks for word of files", source }
    })?;
    Ok(Doors {
        channels,
        gate,
        feed,
        status,
        lists,
        local,
        log,
        files,
        _follower: follower,
        kernel,
    })
}

/// The kernel room's descriptor, made ready for waiting.
#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays open")]
fn wait_on(descriptor: RawFd) -> std::io::Result<AsyncFd<Readiness>> {
    // SAFETY: the kernel room keeps its epoll descriptor open as long as it lives; it is owned by the `Host` that
    // `run` drops after the `Doors` that hold this. `Readiness` gives the same number every time.
    let registered = unsafe { AsyncFd::register(Readiness(descriptor)) };
    registered.map_err(std::io::Error::other)
}

/// Turns for ever. What is due comes first, then orders, then questions, and the kernel's events, which may never stop,
/// last.
async fn turn(host: &mut Host, mut doors: Doors) -> Result<(), RunError> {
    let mut beat = tokio::time::interval(Duration::from_secs(HEARTBEAT_SECS));
    let alive_every = supervisor::watchdog_interval().unwrap_or(Duration::from_secs(3600));
    let mut alive = tokio::time::interval(alive_every);
    // Not in the turn that wrote, nor in any other: a login must not wait for a slow disk.
    let mut syncing: Option<JoinHandle<std::io::Result<()>>> = None;
    let mut disk = tokio::time::interval(SYNC_EVERY);
    disk.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut alarm = Alarm::default();
    let mut rested = now().up;
    let mut group: Option<AsyncFd<OwnedFd>> = None;
    let mut gathered = now().up;
    loop {
        let up = now().up;
        alarm.set(host.next_tick(up));
        if alarm.rings(up) {
            host.tick(now());
            alarm.set(host.next_tick(now().up));
        }
        let rest = rested.since(now().up);
        let file_rest = gathered.since(now().up);
        let wait = alarm.0.map_or(Duration::from_secs(3600), |at| at.since(now().up));
        tokio::select! {
            biased;
            Some(fed) = doors.feed.recv() => host.hear(fed, now()),
            Some(asked) = doors.gate.recv() => answer(host, asked),
            _ = disk.tick(), if host.is_dirty() && syncing.is_none() => {
                let file = host.to_sync();
                syncing = file.map(|file| tokio::task::spawn_blocking(move || file.sync_data()));
            }
            synced = finished(&mut syncing) => (syncing, ()) = (None, host.was_synced(synced)),
            Some(reply) = doors.status.recv() => drop(reply.send(host.status(now()))),
            Some(reading) = doors.local.recv() => host.take_local(reading, now()),
            Some(said) = doors.channels.recv() => host.channel(said, now()),
            Some(report) = doors.lists.recv() => host.list_reported(report, now()),
            Some(entry) = doors.log.recv() => host.log_says(entry, now()),
            Some(word) = doors.files.recv() => {
                let heard = host.hear_of_files(word, now());
                group = heard.map_or(group, wait_for_files);
            }
            _ = beat.tick() => look_around(host),
            _ = alive.tick() => {
                supervisor::alive();
                supervisor::standing(&host.standing());
            }
            () = ready(doors.kernel.as_ref(), host.is_behind(), rest) => {
                host.drain(now());
                rested = now().up.after(REST);
            }
            () = files_touched(group.as_ref(), host.is_behind_on_files(), file_rest) => {
                host.drain_files(now());
                gathered = now().up.after(GATHER);
            }
            () = tokio::time::sleep(wait) => {}
        }
        host.settle(now().up);
    }
}

/// What is looked at now and then.
fn look_around(host: &mut Host) {
    host.lists_look(now());
    host.local_look();
    host.look_for_unfinished(now());
    host.look_for_disorder(now());
    host.look_for_words(now());
    host.look_at_channels(now());
    host.look_at_recordings(now());
    host.beat(now());
}

fn answer(host: &mut Host, asked: Asked) {
    let answer = host.answer(asked.question, asked.peer, now());
    if asked.reply.send(answer).is_err() {
        tracing::warn!("a question at the gate was answered too late");
    }
}

/// When the host is looked at next. The earliest moment that was asked for stands until it has come: a sleep that
/// began anew after each event would never end on a host whose events never stop, and no deadline would be kept.
#[derive(Debug, Default)]
struct Alarm(Option<Uptime>);

impl Alarm {
    fn set(&mut self, next: Option<Uptime>) {
        self.0 = [self.0, next].into_iter().flatten().min();
    }

    /// Whether the moment has come; asked once, it is over.
    fn rings(&mut self, up: Uptime) -> bool {
        self.0.take_if(|at| *at <= up).is_some()
    }
}

/// Returns when the kernel has events, never where it brings none. Who is behind does not wait to be woken: others have
/// a turn between. Who has just taken some rests: a build that starts a thousand programs a second is not woken for, written
/// down, sent and acknowledged a program at a time.
async fn ready(kernel: Option<&AsyncFd<Readiness>>, behind: bool, rest: Duration) {
    if behind {
        return tokio::task::yield_now().await;
    }
    let Some(kernel) = kernel else {
        return std::future::pending().await;
    };
    tokio::time::sleep(rest).await;
    match kernel.readable().await {
        Ok(mut guard) => guard.clear_ready(),
        Err(error) => {
            tracing::error!(%error, "cannot wait for the kernel's events");
            std::future::pending::<()>().await;
        }
    }
}

/// Where the kernel tells of files, made ready for waiting.
#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays open")]
fn wait_for_files(descriptor: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what waits on it, and stays open as long.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    if let Err(error) = &registered {
        tracing::error!(%error, "cannot wait for word of files: it is taken when sessions end");
    }
    registered.ok()
}

/// Returns when the kernel has something to tell of files. Who has just taken some rests, so that it is taken together: the
/// kernel says the same thing of the same process once as long as nobody has read it.
async fn files_touched(group: Option<&AsyncFd<OwnedFd>>, behind: bool, rest: Duration) {
    if behind {
        return tokio::task::yield_now().await;
    }
    let Some(group) = group else {
        return std::future::pending().await;
    };
    tokio::time::sleep(rest).await;
    match group.readable().await {
        Ok(mut guard) => guard.clear_ready(),
        Err(error) => {
            tracing::error!(%error, "cannot wait for word of files: it is taken when sessions end");
            std::future::pending::<()>().await;
        }
    }
}

/// Returns when what was under way is done; never where nothing is.
async fn finished(syncing: &mut Option<JoinHandle<std::io::Result<()>>>) -> std::io::Result<()> {
    match syncing {
        None => std::future::pending().await,
        Some(syncing) => syncing.await.map_err(std::io::Error::other)?,
    }
}

/// Answers each connection with the status, once.
async fn say_status(listener: UnixListener, desk: mpsc::Sender<oneshot::Sender<Status>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let desk = desk.clone();
        tokio::task::spawn_local(async move {
            let (reply, status) = oneshot::channel();
            if desk.send(reply).await.is_err() {
                return;
            }
            let Ok(status) = status.await else { return };
            if let Err(error) = write_frame(&mut stream, &status).await {
                tracing::debug!(%error, "who asked for the status did not wait for it");
            }
        });
    }
}

/// How long the kernel's events gather after some were taken. Its ring holds 2 MiB, of which this is a small part.
const REST: Duration = Duration::from_millis(10);
/// How long word of files gathers; the kernel keeps 16,384 of them.
const GATHER: Duration = Duration::from_millis(50);
/// Longest time that a record waits to be brought to the disk.
const SYNC_EVERY: Duration = Duration::from_millis(20);
const LINK_USER: &str = "curfew-link";
const GATE_GROUP: &str = "curfew-gate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_never_stop_do_not_put_off_what_is_due() {
        let at = |millis: u64| Uptime::from_nanos(millis.saturating_mul(1_000_000));
        let mut alarm = Alarm::default();
        let mut rung = 0;
        // Each turn asks again for "5 ms from now", as a session that is ending does.
        for millis in 0..20 {
            alarm.set(Some(at(millis + 5)));
            rung += u32::from(alarm.rings(at(millis)));
        }
        assert_eq!(rung, 3);
        assert!(!Alarm::default().rings(at(1)));
    }
}
