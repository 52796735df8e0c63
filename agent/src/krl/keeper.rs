//! The thread that keeps the list: it takes what the authority sends, and looks whenever a file changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use ssh_key::PublicKey;
use tokio::sync::mpsc::UnboundedSender;
use wire::krl::signed::KrlStanding;
use wire::record::KrlEvent;
use wire::time::Uptime;

use super::assembly::Received;
use super::shelf::{Placed, Shelf, ShelfError};
use crate::clock::now;
use crate::install::{Host, System, sshd};

/// What the thread has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it stands.
    pub standing: KrlStanding,
    /// What happened, if somebody should know.
    pub event: Option<KrlEvent>,
}

/// What the thread is asked to do.
#[derive(Debug)]
enum Job {
    /// Take this list, if one of these keys signed it.
    Take(Received, Vec<PublicKey>),
    /// Look at the files.
    Look,
    /// End.
    Stop,
}

/// The thread's door. The thread ends when this is dropped.
#[derive(Debug)]
pub struct Keeper {
    jobs: Sender<Job>,
}

/// The thread itself.
struct Work {
    shelf: Shelf,
    /// What tells sshd to read the list.
    drop_in: PathBuf,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    host: Box<dyn Host + Send>,
    version: u64,
    /// Why the newest list is not in place.
    refused: Option<String>,
}

impl Keeper {
    /// Puts in place what belongs there, then keeps it in place on a thread of its own, which says to `desk` what it did.
    /// The first report is given back: the host does not begin without its list, if there is one.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(
        state_dir: &Path,
        desk: UnboundedSender<Report>,
    ) -> std::io::Result<(Self, Report)> {
        let (jobs, waiting) = channel();
        let mut work = Work {
            shelf: Shelf::new(Path::new("/"), state_dir),
            drop_in: sshd::DROP_IN_PATH.into(),
            watcher: watcher(jobs.clone()),
            watched: BTreeSet::new(),
            host: Box::new(System),
            version: 0,
            refused: None,
        };
        // Before the first look, so that no change falls between.
        work.watch(work.folders(&[]));
        let first = work.look();
        let keeper = Self { jobs };
        std::thread::Builder::new()
            .name("krl".into())
            .spawn(move || work.run(&waiting, &desk))
            .map(|_thread| (keeper, first))
    }

    /// Takes this list, if one of these keys signed it; the report says what became of it.
    pub fn take(&self, received: Received, keys: Vec<PublicKey>) {
        self.ask(Job::Take(received, keys));
    }

    /// Looks at the files, whatever the watcher says.
    pub fn look(&self) {
        self.ask(Job::Look);
    }

    fn ask(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("nobody keeps the list of revoked keys any more; restart curfew-agent");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A thread that has ended already needs no telling.
        drop(self.jobs.send(Job::Stop));
    }
}

impl Work {
    fn run(mut self, waiting: &Receiver<Job>, desk: &UnboundedSender<Report>) {
        let mut due: Option<Uptime> = None;
        loop {
            let next = match due {
                None => waiting.recv().map_err(|_closed| RecvTimeoutError::Disconnected),
                Some(due) => waiting.recv_timeout(due.since(now().up)),
            };
            let report = match next {
                Ok(Job::Take(received, keys)) => self.take(&received, &keys),
                Ok(Job::Look) => {
                    // Whoever changes a file makes several events of it; who never stops is not waited for.
                    due = due.or_else(|| Some(now().up.after(SETTLE)));
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    due = None;
                    self.look()
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            if desk.send(report).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, received: &Received, keys: &[PublicKey]) -> Report {
        let began = now().up;
        match self.shelf.take(received, keys, self.host.as_mut()) {
            Ok(placed) => {
                self.refused = None;
                let is_new = placed.version > self.version;
                let took = now().up.since(began).as_micros();
                let event = is_new.then(|| KrlEvent::InPlace {
                    version: placed.version,
                    bytes: placed.bytes,
                    took_micros: u64::try_from(took).unwrap_or(u64::MAX),
                });
                if is_new {
                    tracing::info!(
                        version = placed.version,
                        bytes = placed.bytes,
                        took_micros = took,
                        "a list of revoked keys is in place"
                    );
                }
                self.placed(placed, event)
            }
            Err(error) => {
                let version = received.version;
                tracing::error!(version, %error, "a list of revoked keys was refused; the one from before stays");
                let reason = error.to_string();
                let is_news = self.refused.as_ref() != Some(&reason);
                self.refused = Some(reason.clone());
                let event = is_news.then_some(KrlEvent::Refused { version, reason });
                Report { standing: self.standing(Vec::new()), event }
            }
        }
    }

    fn look(&mut self) -> Report {
        match self.shelf.renew(self.host.as_mut()) {
            Ok(placed) => self.placed(placed, None),
            Err(error) => self.failed(&error),
        }
    }

    fn placed(&mut self, placed: Placed, event: Option<KrlEvent>) -> Report {
        self.version = placed.version;
        let meddled = placed.found.as_ref().and_then(|found| found.meddled());
        let event = event.or_else(|| {
            meddled.map(|found| KrlEvent::Restored {
                version: placed.version,
                found: found.to_owned(),
            })
        });
        if let Some(found) = meddled {
            tracing::error!(
                version = placed.version,
                found,
                "the list of revoked keys was changed by somebody else, and was put back"
            );
        }
        self.watch(self.folders(&placed.sources));
        Report { standing: self.standing(placed.wrong), event }
    }

    fn failed(&mut self, error: &ShelfError) -> Report {
        tracing::error!(%error, "the list of revoked keys cannot be kept in place");
        Report { standing: self.standing(vec![error.to_string()]), event: None }
    }

    fn standing(&self, mut wrong: Vec<String>) -> KrlStanding {
        wrong.extend(self.refused.clone());
        let drop_in = std::fs::read_to_string(&self.drop_in).unwrap_or_default();
        if !sshd::reads_list(&drop_in) {
            wrong.push("sshd is not told to read it; run `curfew-agent install`".into());
        }
        let trouble = (!wrong.is_empty()).then(|| wrong.join("; "));
        KrlStanding { version: self.version, trouble }
    }

    /// Where changes matter: our own folder, that of the drop-in, those of the lists that were taken over.
    fn folders(&self, sources: &[PathBuf]) -> BTreeSet<PathBuf> {
        let files = sources.iter().chain([&self.drop_in]);
        let folders = files.filter_map(|path| path.parent()).map(Path::to_owned);
        folders.chain([self.shelf.folder().to_owned()]).collect()
    }

    fn watch(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&folders) {
            if let Err(error) = watcher.unwatch(gone) {
                tracing::debug!(folder = %gone.display(), %error, "a folder is watched on");
            }
        }
        let mut watched: BTreeSet<PathBuf> = self.watched.intersection(&folders).cloned().collect();
        for folder in folders {
            // A folder that is not there yet is tried again at the next look.
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(folder);
                }
                Err(error) => {
                    tracing::debug!(folder = %folder.display(), %error, "a folder is not watched");
                }
            }
        }
        self.watched = watched;
    }
}

fn watcher(jobs: Sender<Job>) -> Option<RecommendedWatcher> {
    let told = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_change = event.map_or(true, |event| !event.kind.is_access() && !is_ours(&event));
        if is_change && jobs.send(Job::Look).is_err() {
            tracing::debug!("nobody keeps the list of revoked keys any more");
        }
    });
    told.inspect_err(|error| {
        tracing::error!(%error, "changes of the list of revoked keys are noticed every few seconds only");
    })
    .ok()
}

/// Files that only we write while the list is tried out.
fn is_ours(event: &notify::Event) -> bool {
    let is_passing = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| {
            ["lock", "probe.pub", "revoked_keys.trial"].contains(&name.as_str())
                || name.ends_with(".new")
        })
    };
    !event.paths.is_empty() && event.paths.iter().all(is_passing)
}

/// How long after its first change a file is looked at.
const SETTLE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio::sync::mpsc::UnboundedReceiver;

    #[tokio::test]
    async fn a_file_that_somebody_removes_or_empties_is_put_back_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let (_keeper, first) = Keeper::start(folder.path(), desk).unwrap();
        assert_eq!((first.standing.version, first.event), (0, None));
        let path = folder.path().join("krl/revoked_keys");
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let found = restored(&mut reports).await;
        assert!(found.contains("could not be read"), "{found}");
        assert_eq!(fs::read(&path).unwrap(), good);
        fs::write(&path, b"").unwrap();
        let found = restored(&mut reports).await;
        assert!(found.contains("empty"), "{found}");
        assert_eq!(fs::read(&path).unwrap(), good);
    }

    async fn restored(reports: &mut UnboundedReceiver<Report>) -> String {
        loop {
            let wait = Duration::from_secs(10);
            let report = tokio::time::timeout(wait, reports.recv()).await.unwrap().unwrap();
            if let Some(KrlEvent::Restored { found, .. }) = report.event {
                return found;
            }
        }
    }

    #[test]
    fn our_own_passing_files_are_no_news() {
        let event = |paths: &[&str]| notify::Event {
            paths: paths.iter().map(PathBuf::from).collect(),
            ..notify::Event::default()
        };
        assert!(is_ours(&event(&["/krl/lock"])));
        assert!(is_ours(&event(&["/krl/authority.krl.new"])));
        assert!(!is_ours(&event(&["/krl/revoked_keys"])));
        assert!(!is_ours(&event(&["/krl/revoked_keys.trial", "/krl/revoked_keys"])));
        assert!(!is_ours(&event(&[])));
    }
}
