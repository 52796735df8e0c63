//! The thread that looks at the host's own files whenever one changes, and every few seconds whatever the watcher says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::unistd::User;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::UnboundedSender;
use wire::time::Uptime;

use super::account::{Account, Accounts};
use super::arrivals::{Arrival, arrivals};
use super::logins::{Login, logins, units};
use super::order::disorder;
use super::programs::Programs;
use super::{Found, shelf};
use crate::clock::now;
use crate::store;

/// What the thread looks at.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of local locks.
    pub locks: PathBuf,
    /// Where `passwd` and `shadow` are.
    pub etc: PathBuf,
    /// Whether accounts that are closed count as locks.
    pub follow_accounts: bool,
    /// Where logind keeps logins.
    pub logins: PathBuf,
    /// Where systemd keeps transient units.
    pub units: PathBuf,
    /// Where the host's files begin.
    pub root: PathBuf,
    /// Where it is kept what accounts were like before.
    pub kept: PathBuf,
    /// Where it is kept what our programs were like.
    pub programs: PathBuf,
}

/// What was found by one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The locks in the folder; or why none of them can be believed.
    pub locks: Result<Found, String>,
    /// The accounts that are closed; or why it is not known.
    pub accounts: Result<Found, String>,
    /// The host's own accounts, and their numbers.
    pub uids: BTreeMap<String, u32>,
    /// Logins as logind knows them.
    pub logins: BTreeMap<String, Login>,
    /// Logins by daemons that ask nobody.
    pub arrivals: BTreeSet<Arrival>,
    /// Transient units that are work somebody asked for.
    pub units: BTreeSet<String>,
    /// What of the login path is not as it was installed.
    pub disorder: BTreeSet<String>,
}

/// The thread's door. The thread ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    jobs: Sender<Job>,
}

#[derive(Debug)]
enum Job {
    Look,
    Stop,
}

struct Work {
    places: Places,
    accounts: Accounts,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    last: Option<Reading>,
}

impl Watch {
    /// Looks once, then goes on looking on a thread of its own, which says to `desk` what is news. The first reading is
    /// given back: nobody is let in before it is in force.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(
        places: Places,
        desk: UnboundedSender<Reading>,
    ) -> std::io::Result<(Self, Reading)> {
        let (jobs, waiting) = channel();
        let accounts = match store::read(&places.kept) {
            Ok(accounts) => accounts,
            Err(error) if error.is_absent() => Accounts::default(),
            Err(error) => {
                tracing::error!(%error, "what accounts were like before is not known; an account that was locked \
                    before counts as one that only keys open");
                Accounts::default()
            }
        };
        let watcher = watcher(jobs.clone());
        let mut work = Work { places, accounts, watcher, watched: BTreeSet::new(), last: None };
        // Before the first look, so that no change falls between.
        work.watch();
        let first = work.look();
        work.last = Some(first.clone());
        std::thread::Builder::new()
            .name("local".into())
            .spawn(move || work.run(&waiting, &desk))
            .map(|_thread| (Self { jobs }, first))
    }

    /// Looks, whatever the watcher says.
    pub fn look(&self) {
        if self.jobs.send(Job::Look).is_err() {
            tracing::error!("nobody looks at this host's own locks any more; restart curfew-agent");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A thread that has ended already needs no telling.
        drop(self.jobs.send(Job::Stop));
    }
}

impl Work {
    fn run(mut self, waiting: &Receiver<Job>, desk: &UnboundedSender<Reading>) {
        let mut due: Option<Uptime> = None;
        loop {
            let next = match due {
                None => waiting.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
                Some(due) => waiting.recv_timeout(due.since(now().up)),
            };
            match next {
                // Whoever changes a file makes several events of it; who never stops is not waited for.
                Ok(Job::Look) => due = due.or_else(|| Some(now().up.after(SETTLE))),
                Err(RecvTimeoutError::Timeout) => {
                    due = None;
                    self.watch();
                    let reading = self.look();
                    if self.last.as_ref() != Some(&reading) {
                        self.last = Some(reading.clone());
                        // Without a loop to tell there is no agent: the next job is to stop.
                        drop(desk.send(reading));
                    }
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) -> Reading {
        let locks = shelf::locks(&self.places.locks);
        let (accounts, uids) = match shelf::accounts(&self.places.etc) {
            Err(why) => (Err(why), BTreeMap::new()),
            Ok(all) => {
                let uids = all.iter().map(|account| (account.name.clone(), account.uid)).collect();
                (Ok(self.closed(&all)), uids)
            }
        };
        let (logins, units) = (logins(&self.places.logins), units(&self.places.units));
        let leaders = logins.values().map(|login| login.leader).collect();
        let arrivals = arrivals(&leaders, now().up);
        let mut disorder = disorder(&self.places.root);
        let programs = Programs::kept_at(self.places.programs.clone());
        disorder.extend(programs.changed(&self.places.root));
        Reading { locks, accounts, uids, logins, arrivals, units, disorder }
    }

    fn closed(&mut self, accounts: &[Account]) -> Found {
        if !self.places.follow_accounts {
            return Found::new();
        }
        let today = i64::try_from(now().at.secs() / SECS_A_DAY).unwrap_or(i64::MAX);
        let before = self.accounts.clone();
        // Not by name services that would be asked for each account: only for those that have gone.
        let elsewhere = |name: &str| !matches!(User::from_name(name), Ok(None));
        let closed = self.accounts.look(accounts, today, elsewhere);
        if self.accounts != before
            && let Err(error) = store::write(&self.places.kept, &self.accounts)
        {
            tracing::error!(%error, "a restart of the agent will not know what accounts were like before");
        }
        closed
    }

    /// The folders themselves and the ones above: a folder may come and go, and files are replaced rather than changed.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let above = self.places.locks.parent().map(Path::to_owned);
        let Places { locks, etc, logins, units, root, .. } = &self.places;
        let of_path = WATCHED.map(|path| root.join(path));
        let folders = [locks, etc, logins, units].map(Clone::clone);
        for folder in folders.into_iter().chain(above).chain(of_path) {
            let is_there = folder.is_dir();
            if !is_there && self.watched.remove(&folder) {
                if let Err(error) = watcher.unwatch(&folder) {
                    tracing::debug!(folder = %folder.display(), %error, "a folder that has gone is watched on");
                }
            } else if is_there && !self.watched.contains(&folder) {
                match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    Ok(()) => drop(self.watched.insert(folder)),
                    Err(error) => {
                        tracing::warn!(folder = %folder.display(), %error, "changes here are noticed every few seconds only");
                    }
                }
            }
        }
    }
}

fn watcher(jobs: Sender<Job>) -> Option<RecommendedWatcher> {
    let told = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_change = event.map_or(true, |event| !event.kind.is_access());
        if is_change && jobs.send(Job::Look).is_err() {
            tracing::debug!("nobody looks at this host's own locks any more");
        }
    });
    told.inspect_err(|error| {
        tracing::error!(%error, "changes of this host's own locks are noticed every few seconds only");
    })
    .ok()
}

/// How long after its first change a folder is looked at.
const SETTLE: Duration = Duration::from_millis(10);
/// Where the login path and our units are, below the root.
const WATCHED: [&str; 5] =
    ["etc/pam.d", "etc/ssh", "etc/ssh/sshd_config.d", "etc/systemd/system", "run/systemd/system"];
const SECS_A_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio::sync::mpsc::UnboundedReceiver;

    async fn next(readings: &mut UnboundedReceiver<Reading>) -> Reading {
        let wait = Duration::from_secs(10);
        tokio::time::timeout(wait, readings.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_noticed_when_it_comes_changes_and_goes_and_so_is_the_folder() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let account = |field: &str| {
            fs::write(etc.join("shadow.new"), format!("app:{field}:1:::::: \n").replace(' ', ""))
                .unwrap();
            fs::rename(etc.join("shadow.new"), etc.join("shadow")).unwrap();
        };
        fs::write(etc.join("passwd"), "app:x:1:1::/:/bin/sh\n").unwrap();
        account("*");
        let places = Places {
            locks: folder.path().join("curfew/locks.d"),
            etc: etc.clone(),
            follow_accounts: true,
            logins: folder.path().join("logins"),
            units: folder.path().join("units"),
            root: folder.path().to_owned(),
            kept: folder.path().join("accounts.json"),
            programs: folder.path().join("programs.json"),
        };
        fs::create_dir(folder.path().join("curfew")).unwrap();
        let (desk, mut readings) = tokio::sync::mpsc::unbounded_channel();
        let (_watch, first) = Watch::start(places.clone(), desk).unwrap();
        assert_eq!((first.locks, first.accounts), (Ok(Found::new()), Ok(Found::new())));
        assert_eq!(first.uids, BTreeMap::from([("app".to_owned(), 1)]));

        fs::create_dir(&places.locks).unwrap();
        fs::write(places.locks.join("a.toml"), "identity = \"ana\"\nreason = \"r\"\n").unwrap();
        let found = next(&mut readings).await.locks.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        fs::write(places.locks.join("b.toml.new"), "junk").unwrap();
        fs::rename(places.locks.join("b.toml.new"), places.locks.join("b.toml")).unwrap();
        let found = next(&mut readings).await.locks.unwrap();
        assert_eq!(found.values().filter(|lock| lock.is_err()).count(), 1);
        account("!*");
        assert!(next(&mut readings).await.accounts.unwrap().contains_key("account app"));
        fs::remove_dir_all(&places.locks).unwrap();
        while !next(&mut readings).await.locks.unwrap().is_empty() {}
        // Half a file is never taken for the whole.
        fs::write(etc.join("passwd"), "app:x:1").unwrap();
        assert!(next(&mut readings).await.accounts.is_err());
    }
}
